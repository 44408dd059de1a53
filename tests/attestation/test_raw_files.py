"""Raw evidence out of a folder: which file becomes which part, and what happens to files that are no use."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from attestation.errors import CannotDecide, MalformedEvidence
from attestation.hardware import SnpEvidence, TdxEvidence, Tee, VtpmEvidence
from attestation.model import Collateral, TdxCollateral
from attestation.pem import encode_pem
from attestation.raw_files import (
    COLLATERAL_NAMES,
    MAX_FILE,
    MAX_LOG,
    collateral_files,
    read_collateral,
    read_hardware,
)

ONE, TWO, THREE = b"\x30one", b"\x30two", b"\x30three"
CHAIN = encode_pem((ONE, TWO), "CERTIFICATE")
INTEL = {
    "tcb_info.json": b"{info}",
    "tcb_signing_chain.pem": CHAIN,
    "qe_identity.json": b"{identity}",
    "pck_crl.der": b"pck crl",
    "pck_crl_issuer_chain.pem": encode_pem((THREE, TWO), "CERTIFICATE"),
    "root_ca_crl.der": b"root crl",
}
INTEL_READ = TdxCollateral(
    tcb_info=b"{info}",
    tcb_info_chain=(ONE, TWO),
    qe_identity=b"{identity}",
    qe_identity_chain=(ONE, TWO),
    pck_crl=b"pck crl",
    pck_crl_chain=(THREE, TWO),
    root_crl=b"root crl",
)
AZURE = {
    "hcl_report.bin": b"hcl",
    "runtime_data.json": b"{}",
    "tpm_quote.msg": b"message",
    "tpm_quote.sig": b"signature",
    "tpm_pcrs.json": b"[]",
    "maa_token.jwt": b"a.b.c",
    "maa_certs.json": b'{"keys":[]}',
}


def folder(place: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files."""
    for name, raw in files.items():
        (place / name).write_bytes(raw)
    return place


def test_an_snp_folder_gives_report_certificates_and_revocation_lists(tmp_path: Path) -> None:
    files = {
        "report.bin": b"report",
        "vcek.der": THREE,
        "ca_chain.pem": CHAIN,
        "amd_crl.der": b"list",
        "crl.der": b"another list",
    }
    found = read_hardware("sev-snp", folder(tmp_path, files))
    assert found == SnpEvidence(b"report", (THREE, ONE, TWO), (b"list", b"another list"))


def test_a_vlek_is_taken_as_a_vcek_is(tmp_path: Path) -> None:
    found = read_hardware("sev-snp", folder(tmp_path, {"report.bin": b"report", "vlek.der": THREE}))
    assert found == SnpEvidence(b"report", (THREE,))


def test_a_tdx_folder_gives_quote_collateral_and_both_logs(tmp_path: Path) -> None:
    files = {"quote.bin": b"quote", "ccel_data.bin": b"ccel", "event_log.json": b"[]"} | INTEL
    found = read_hardware("tdx", folder(tmp_path, files))
    assert found == TdxEvidence(b"quote", INTEL_READ, b"ccel", b"[]")


def test_a_log_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_hardware("tdx", folder(tmp_path, {"quote.bin": b"q"})) == TdxEvidence(b"q", ccel=None)
    folder(tmp_path, {"ccel_data.bin": b"log"})
    assert read_hardware("tdx", tmp_path) == TdxEvidence(b"q", ccel=b"log")


@pytest.mark.parametrize("tee", ["sev-snp", "tdx", "azure-snp", "azure-tdx"])
def test_an_empty_file_is_as_good_as_none_whatever_its_name(tee: Tee, tmp_path: Path) -> None:
    needed = {"report.bin": b"r", "quote.bin": b"q", "hcl_report.bin": b"h"}
    names = {*COLLATERAL_NAMES, *AZURE, "ccel_data.bin", "event_log.json"} - needed.keys()
    bare = read_hardware(tee, folder(tmp_path, needed))
    folder(tmp_path, dict.fromkeys(names, b""))
    assert read_hardware(tee, tmp_path) == bare
    assert read_collateral(tmp_path) == Collateral()
    folder(tmp_path, dict.fromkeys(needed, b""))
    with pytest.raises(CannotDecide, match="missing or empty"):
        read_hardware(tee, tmp_path)


def test_an_azure_folder_gives_the_files_of_its_own_hardware_only(tmp_path: Path) -> None:
    files = AZURE | INTEL | {"vcek.der": THREE, "ca_chain.pem": CHAIN, "crl.der": b"list", "quote.bin": b"td"}
    folder(tmp_path, files)
    common = {
        "hcl_report": b"hcl",
        "tpm_quote": b"message",
        "tpm_signature": b"signature",
        "tpm_pcrs": b"[]",
        "runtime_data": b"{}",
        "maa_token": b"a.b.c",
        "maa_keys": b'{"keys":[]}',
    }
    snp = VtpmEvidence("azure-snp", certificates=(THREE, ONE, TWO), crls=(b"list",), **common)
    tdx = VtpmEvidence("azure-tdx", td_quote=b"td", collateral=INTEL_READ, **common)
    assert read_hardware("azure-snp", tmp_path) == snp
    assert read_hardware("azure-tdx", tmp_path) == tdx


def test_files_of_other_names_count_for_nothing(tmp_path: Path) -> None:
    files = {"report.bin": b"report", "notes.txt": b"-----BEGIN", "quote.bin": b"quote", "vcek.pem": CHAIN}
    assert read_hardware("sev-snp", folder(tmp_path, files)) == SnpEvidence(b"report")


def test_a_folder_under_a_needed_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "report.bin").mkdir()
    with pytest.raises(CannotDecide, match=r"report\.bin is no file") as caught:
        read_hardware("sev-snp", tmp_path)
    assert "in the place of report.bin" in caught.value.hint


def test_a_link_that_leads_nowhere_is_no_absent_file(tmp_path: Path) -> None:
    folder(tmp_path, {"report.bin": b"report"})
    (tmp_path / "vcek.der").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CannotDecide, match=r"vcek\.der is no file"):
        read_hardware("sev-snp", tmp_path)


@pytest.mark.parametrize(
    ("tee", "name"),
    [
        ("sev-snp", "report.bin"),
        ("tdx", "quote.bin"),
        ("azure-snp", "hcl_report.bin"),
        ("azure-tdx", "hcl_report.bin"),
    ],
)
def test_without_the_signed_file_nothing_can_be_decided_and_its_name_is_said(
    tee: Tee, name: str, tmp_path: Path
) -> None:
    with pytest.raises(CannotDecide, match=name) as caught:
        read_hardware(tee, tmp_path)
    assert name in caught.value.hint


def test_a_folder_that_is_not_there_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(CannotDecide, match="--dir"):
        read_hardware("sev-snp", tmp_path / "absent")
    with pytest.raises(CannotDecide, match="--collateral"):
        read_collateral(tmp_path / "absent")


def test_a_folder_that_nobody_may_look_at_is_said_to_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(CannotDecide, match="--dir"):
        read_hardware("sev-snp", tmp_path)


def test_a_file_that_cannot_be_read_leaves_it_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    folder(tmp_path, {"report.bin": b"report"})
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CannotDecide, match=r"report\.bin: Permission denied") as caught:
        read_hardware("sev-snp", tmp_path)
    assert "report.bin" in caught.value.hint


@pytest.mark.parametrize(("name", "limit"), [("quote.bin", MAX_FILE), ("event_log.json", MAX_LOG)])
def test_no_file_may_be_longer_than_its_limit(name: str, limit: int, tmp_path: Path) -> None:
    folder(tmp_path, {"quote.bin": b"quote", name: bytes(limit)})
    read_hardware("tdx", tmp_path)
    folder(tmp_path, {name: bytes(limit + 1)})
    with pytest.raises(MalformedEvidence, match=name):
        read_hardware("tdx", tmp_path)


@pytest.mark.parametrize(
    "spelling",
    [
        CHAIN,
        CHAIN.replace(b"\n", b"\r\n"),
        CHAIN.rstrip(b"\n"),
        CHAIN + b"\0",
        CHAIN.replace(b"-----\n-----B", b"-----\n\n-----B"),
    ],
)
def test_chains_come_with_any_line_end_and_intels_zero_byte(spelling: bytes, tmp_path: Path) -> None:
    found = read_hardware("sev-snp", folder(tmp_path, {"report.bin": b"r", "ca_chain.pem": spelling}))
    assert found == SnpEvidence(b"r", (ONE, TWO))


@pytest.mark.parametrize(
    "broken",
    [
        b"not PEM",
        b"\n",
        CHAIN[:-10],
        CHAIN + b"-----BEGIN CERTIFICATE-----\nAAAA\n",
        CHAIN + b"-----END CERTIFICATE-----\n",
        CHAIN + b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        b"-----BEGIN CERTIFICATE-----\n" + CHAIN,
        CHAIN.replace(b"CERTIFICATE", b"PUBLIC KEY"),
        encode_pem((b"\x30" * 5,), "CERTIFICATE").replace(b"=", b""),
        b"-----BEGIN CERTIFICATE-----\nAA==AAAA\n-----END CERTIFICATE-----\n",
        encode_pem((ONE,) * 9, "CERTIFICATE"),
    ],
)
def test_a_chain_that_is_anything_else_is_refused_by_its_name(broken: bytes, tmp_path: Path) -> None:
    folder(tmp_path, {"report.bin": b"report", "ca_chain.pem": broken})
    with pytest.raises(MalformedEvidence, match=r"ca_chain\.pem"):
        read_hardware("sev-snp", tmp_path)


@pytest.mark.parametrize(
    "around",
    [
        CHAIN + b"more",
        b"before\n" + CHAIN,
        b"CONNECTED(00000003)\n---\nCertificate chain\n 0 s:CN = SEV-VCEK\n" + CHAIN + b"---\n",
        CHAIN.replace(b"-----\n-----B", b"-----\nCertificate:\n    Data:\n\xff\n-----B"),
    ],
)
def test_text_for_people_around_the_blocks_of_a_chain_counts_for_nothing(
    around: bytes, tmp_path: Path
) -> None:
    found = read_hardware("sev-snp", folder(tmp_path, {"report.bin": b"r", "ca_chain.pem": around}))
    assert found == SnpEvidence(b"r", (ONE, TWO))


def test_a_very_long_chain_of_nothing_is_refused_at_once(tmp_path: Path) -> None:
    head = b"-----BEGIN CERTIFICATE-----\n"
    folder(tmp_path, {"report.bin": b"report", "ca_chain.pem": head + b"A" * (MAX_FILE - len(head))})
    with pytest.raises(MalformedEvidence):
        read_hardware("sev-snp", tmp_path)


def test_collateral_is_written_and_read_back_the_same(tmp_path: Path) -> None:
    vcek = b"\x30 ... SEV-VCEK ..."
    other_chain = TdxCollateral(tcb_info_chain=(ONE,), qe_identity_chain=(TWO,))
    further = TdxCollateral(further_crls=(b"\x30 a list", b"\x30 another"))
    for index, tdx in enumerate((INTEL_READ, other_chain, further)):
        place = tmp_path / str(index)
        place.mkdir()
        collateral = Collateral((vcek, ONE, TWO), (b"list",), tdx)
        assert read_collateral(folder(place, collateral_files(collateral))) == collateral


def test_collateral_is_written_under_the_names_that_evidence_has(tmp_path: Path) -> None:
    vlek = b"\x30 ... SEV-VLEK ..."
    files = collateral_files(Collateral((vlek, ONE), (b"list",), INTEL_READ))
    assert files.keys() == {"vlek.der", "ca_chain.pem", "amd_crl.der"} | INTEL.keys()
    assert {name: files[name] for name in INTEL} == INTEL
    assert collateral_files(Collateral()) == {}


def test_a_folder_without_anything_of_intels_replaces_nothing(tmp_path: Path) -> None:
    assert read_collateral(folder(tmp_path, {"vcek.der": THREE})) == Collateral((THREE,))


def test_every_folder_of_the_collection_can_be_read(evidence_dir: Path) -> None:
    for place in sorted(evidence_dir.iterdir()):
        tees: list[Tee] = ["sev-snp", "tdx", "azure-snp", "azure-tdx"]
        for tee in tees:
            with suppress(CannotDecide):
                read_hardware(tee, place)
