"""The forgers write what real hardware writes: real evidence, rebuilt from its own fields, byte for byte.

A forger that shared a mistake with the parser would prove nothing, so it is held against the collection and,
for quotes, against an independent verifier (dcap-qvl), which has to accept what we forge under our root.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from tests.fakes.dcap_qvl import judge_with_dcap_qvl
from tests.fakes.intel import IntelWorld
from tests.fakes.intel_layout import (
    SGX_EXTENSION,
    PckFields,
    QuoteFields,
    SignatureParts,
    TdFields,
    pck_extension,
    qe_report,
    signature_pieces,
    signed_pieces,
    tdreport,
)
from tests.fakes.tpm import HclFields, TpmFields, attest_pieces, hcl_pieces, pcr_digest

QUOTES = ("tdx-v4-phala-uptodate", "tdx-v5-google-2026", "tdx-v5-preprod-root", "az-tdx-v0", "tdx-v4-debug")
AZURE = ("az-tdx-v0", "az-tdx-openpcc-dcesv5", "az-snp-genoa", "az-snp-milan-hcl2048", "az-snp-milan-v0")


def _case(evidence_dir: Path, name: str) -> dict[str, Any]:
    manifest = json.loads((evidence_dir / "MANIFEST.json").read_text())
    found: dict[str, Any] = next(case for case in manifest["cases"] if case["id"] == name)
    return found


def _td_fields(facts: dict[str, Any]) -> TdFields:
    """The manifest's facts, which were read from real quotes by other programs, as forger's fields."""
    text = ("mrseam", "mrsignerseam", "mrtd", "mrconfigid", "mrowner", "mrownerconfig", "report_data")
    values: dict[str, Any] = {name: bytes.fromhex(facts[name]) for name in (*text, "tee_tcb_svn")}
    values |= {"seam_attributes": bytes.fromhex(facts["seam_attributes"])}
    values |= {"rtmrs": tuple(bytes.fromhex(value) for value in facts["rtmrs"])}
    for name, fact in (("td_attributes", "td_attributes"), ("xfam", "xfam")):
        values[name] = int.from_bytes(bytes.fromhex(facts[fact]), "little")
    if "mrservicetd" in facts:
        values["tee_tcb_svn2"] = bytes.fromhex(facts["tee_tcb_svn2"])
        values["mrservicetd"] = bytes.fromhex(facts["mrservicetd"])
    return TdFields(**values)


def _joined(pieces: list[tuple[str, bytes]]) -> bytes:
    return b"".join(data for _, data in pieces)


@pytest.mark.parametrize("name", QUOTES)
def test_a_real_quote_comes_back_from_the_facts_that_others_read_in_it(evidence_dir: Path, name: str) -> None:
    facts = _case(evidence_dir, name)["expected"]["facts"]
    raw = (evidence_dir / name / "quote.bin").read_bytes()
    header = raw[8:12]
    quote = QuoteFields(
        version=facts["version"],
        header_reserved=header,
        user_data=bytes.fromhex(facts["user_data"]),
        padding=bytes(facts["trailing"]),
    )
    body = _joined(signed_pieces(_td_fields(facts), quote))
    assert body == raw[: len(body)]
    rest = raw[len(body) + 4 :]
    auth_size = int.from_bytes(rest[582:584], "little")
    chain = rest[590 + auth_size : facts["sig_len"]]
    parts = SignatureParts(rest[:64], rest[64:128], rest[134:518], rest[518:582], chain)
    quote = QuoteFields(auth_data=rest[584 : 584 + auth_size], padding=bytes(facts["trailing"]))
    assert _joined(signature_pieces(quote, parts)) == raw[len(body) :]


@pytest.mark.parametrize("name", QUOTES)
def test_a_real_quoting_enclave_report_comes_back_with_the_binding_that_we_compute(
    evidence_dir: Path, name: str
) -> None:
    facts = _case(evidence_dir, name)["expected"]["facts"]
    raw = (evidence_dir / name / "quote.bin").read_bytes()
    rest = raw[facts["body_off"] + facts["body_size"] + 4 :]
    report, auth_size = rest[134:518], int.from_bytes(rest[582:584], "little")
    quote = QuoteFields(
        qe_cpu_svn=report[:16],
        qe_miscselect=report[16:20],
        qe_attributes=report[48:64],
        qe_mrenclave=report[64:96],
        qe_isvsvn=int.from_bytes(report[258:260], "little"),
        qe_mrsigner=report[128:160],
        auth_data=rest[584 : 584 + auth_size],
    )
    assert qe_report(quote, rest[64:128]) == report


@pytest.mark.parametrize("name", QUOTES)
def test_a_real_pck_extension_comes_back_from_the_facts_that_others_read_in_it(
    evidence_dir: Path, name: str
) -> None:
    facts = _case(evidence_dir, name)["expected"]["pck"]
    raw = (evidence_dir / name / "quote.bin").read_bytes()
    leaf = x509.load_pem_x509_certificate(raw[raw.index(b"-----BEGIN") :].rstrip(b"\0"))
    real = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(SGX_EXTENSION)).value
    assert isinstance(real, x509.UnrecognizedExtension)
    pck = PckFields(
        ppid=bytes.fromhex(facts["ppid"]),
        svns=tuple(facts["svns"]),
        pcesvn=facts["pcesvn"],
        pceid=bytes.fromhex(facts["pceid"]),
        fmspc=bytes.fromhex(facts["fmspc"]),
        sgx_type=facts["sgxtype"],
        platform_instance_id=bytes.fromhex(facts["piid"]),
        configuration=tuple(value == 0xFF for value in real.value[-37::18]),  # type: ignore[arg-type]
    )
    assert pck_extension(pck) == real.value


def test_a_real_tdreport_comes_back_from_its_td_quote_with_both_digests_computed(evidence_dir: Path) -> None:
    raw = (evidence_dir / "az-tdx-v0" / "td_report.bin").read_bytes()
    td = _td_fields(_case(evidence_dir, "az-tdx-v0")["expected"]["facts"])
    from_quote = TdFields(
        **{name: getattr(td, name) for name in TdFields.__slots__} | {"tee_tcb_svn2": td.tee_tcb_svn}
    )
    assert tdreport(from_quote, cpu_svn=raw[16:32], mac=raw[0xE0:0x100]) == raw


@pytest.mark.parametrize("name", AZURE)
def test_a_real_hcl_report_comes_back_from_its_parts(evidence_dir: Path, name: str) -> None:
    raw = (evidence_dir / name / "hcl_report.bin").read_bytes()
    case = _case(evidence_dir, name)["azure"]["hcl"]
    is_tdx = case["report_type"] == 4
    hardware = (evidence_dir / name / ("td_report.bin" if is_tdx else "report.bin")).read_bytes()
    runtime = (evidence_dir / name / "runtime_data.json").read_bytes()
    hcl = HclFields(hcl_version=case["header_version"], file_size=len(raw))
    assert _joined(hcl_pieces(hcl, case["report_type"], hardware, runtime)) == raw


@pytest.mark.parametrize("name", ["az-tdx-v0", "az-snp-genoa", "az-snp-milan-v0"])
def test_a_real_vtpm_quote_comes_back_with_the_pcr_digest_that_we_compute(
    evidence_dir: Path, name: str
) -> None:
    raw = (evidence_dir / name / "tpm_quote.msg").read_bytes()
    case = _case(evidence_dir, name)["azure"]["tpm_quote"]
    pcrs = tuple(
        bytes.fromhex(value) for value in json.loads((evidence_dir / name / "tpm_pcrs.json").read_text())
    )
    signer_size = int.from_bytes(raw[6:8], "big")
    after = raw[8 + signer_size + 2 + len(case["extra_data_hex"]) // 2 :]
    quote = TpmFields(
        qualified_signer=raw[8 : 8 + signer_size],
        extra_data=bytes.fromhex(case["extra_data_hex"]),
        clock=int.from_bytes(after[:8], "big"),
        reset_count=case["reset_count"],
        restart_count=case["restart_count"],
        safe=case["safe"],
        firmware=int(case["firmware"], 16),
        pcrs=pcrs,
    )
    assert _joined(attest_pieces(quote)) == raw
    assert raw.endswith(pcr_digest(pcrs, quote.pcr_banks))


# --- an independent verifier accepts what we forge --------------------------------------------------------


FORMS = [{"version": 4}, *({"version": 5, "body_type": body_type} for body_type in (2, 3, 4))]


@pytest.mark.parametrize("form", FORMS)
def test_an_independent_verifier_accepts_every_form_of_quote_that_we_forge(form: dict[str, int]) -> None:
    world = IntelWorld.forge()
    assert judge_with_dcap_qvl(world.issue(**form), world.root.der) == "UpToDate"


@pytest.mark.parametrize(
    "status",
    ["SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate"],
)
def test_an_independent_verifier_reads_the_status_that_we_forge(status: str) -> None:
    world = IntelWorld.forge()
    assert judge_with_dcap_qvl(world.issue(platform_status=status), world.root.der) == status


@pytest.mark.parametrize("wrong", [{"revoked": frozenset({"pck"})}, {"svns": (0,) * 16}, {"fmspc": bytes(6)}])
def test_an_independent_verifier_refuses_what_we_forge_wrongly(wrong: dict[str, Any]) -> None:
    world = IntelWorld.forge()
    with pytest.raises(ValueError, match="Verification failed"):
        judge_with_dcap_qvl(world.issue(**wrong), world.root.der)
