"""Every real SEV-SNP report that was collected, against facts and verdicts computed elsewhere."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from attestation.check import Outcome
from attestation.model import Tcb
from attestation.snp.abi import Report, decode_tcb, parse_report, product_of_cpuid
from attestation.snp.kds import vcek_url, vek_extensions
from attestation.snp.roots import AMD_ROOTS
from attestation.snp.verify import authenticate_report
from attestation.x509 import load_certificate, spki_digest
from tests.conftest import find_evidence

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_AT_COLLECTION = "2026-11-21T00:00:00Z"
_SIMPLE_FACTS = [
    *("version", "guest_svn", "vmpl", "author_key_en", "mask_chip_key", "signing_key", "reserved_nonzero"),
    *("family_id", "image_id", "report_data", "measurement", "host_data", "id_key_digest"),
    *("author_key_digest", "report_id", "report_id_ma", "chip_id"),
]


def _snp_cases() -> list[dict[str, Any]]:
    place = find_evidence()
    if place is None:
        return []
    cases = json.loads((place / "MANIFEST.json").read_text())["cases"]
    return [case for case in cases if case["tee"] == "sev-snp" and case["id"].startswith("snp-")]


def _each(cases: list[dict[str, Any]]) -> pytest.MarkDecorator:
    """Once per case. Without a collection once, so that `evidence_dir` tells why nothing was tried."""
    there = cases or [{"id": "no collection"}]
    return pytest.mark.parametrize("case", there, ids=[case["id"] for case in there])


_CASES = _snp_cases()
every_case = _each(_CASES)
every_authentic_case = _each([case for case in _CASES if case["expected"]["authentic"]])


def _files(evidence_dir: Path, case: dict[str, Any]) -> tuple[Report, list[bytes]]:
    """The report and all certificates, DER."""
    report, certificates = None, []
    for file in case["files"]:
        content = (evidence_dir / file["path"]).read_bytes()
        if file["role"] == "report":
            report = parse_report(content)
        elif file["role"].endswith("chain"):
            certificates += [base64.b64decode(body) for body in _PEM.findall(content.decode())]
        else:
            certificates.append(content)
    assert report is not None
    return report, certificates


def _time(case: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(
        (case["expected"].get("verify_at") or _AT_COLLECTION).replace("Z", "+00:00")
    )


def _tcb(fact: dict[str, int]) -> Tcb:
    return Tcb(fact["bl"], fact["tee"], fact["snp"], fact["ucode"], fact.get("fmc"))


def test_the_collection_has_the_eighteen_reports_that_this_suite_was_written_for(evidence_dir: Path) -> None:
    assert evidence_dir.is_dir()
    assert len(_CASES) == 18


@every_case
def test_every_field_reads_as_others_read_it(case: dict[str, Any], evidence_dir: Path) -> None:
    facts = case["expected"]["facts"]
    report, _ = _files(evidence_dir, case)
    read = {name: getattr(report, name) for name in _SIMPLE_FACTS}
    read = {name: value.hex() if isinstance(value, bytes) else value for name, value in read.items()}
    assert read == {name: facts[name] for name in _SIMPLE_FACTS}
    assert report.signature_algo == facts["sig_algo"]
    assert report.reported_tcb_raw.hex() == facts["reported_tcb_raw"]
    assert str(report.current_version) == facts["current_version"]
    assert str(report.committed_version) == facts["committed_version"]
    assert hex(report.flags) == facts["flags_raw"]
    assert (report.cpuid._asdict() if report.cpuid else None) == facts["cpuid"]


@every_case
def test_every_bit_of_policy_and_platform_reads_as_others_read_it(
    case: dict[str, Any], evidence_dir: Path
) -> None:
    facts = case["expected"]["facts"]
    report, _ = _files(evidence_dir, case)
    assert hex(report.policy.raw) == facts["policy_raw"]
    assert hex(report.platform_info.raw) == facts["platform_info_raw"]
    policy = {k: v for k, v in facts["policy"].items() if k != "reserved1"}
    assert {name: getattr(report.policy, name) for name in policy} == policy
    platform = {k: v for k, v in facts["platform_info"].items() if k != "reserved_6"}
    assert {name: getattr(report.platform_info, name) for name in platform} == platform


@every_case
def test_every_tcb_reads_in_the_order_of_its_product(case: dict[str, Any], evidence_dir: Path) -> None:
    facts = case["expected"]["facts"]
    report, _ = _files(evidence_dir, case)
    for name in ("current", "reported", "committed", "launch"):
        decoded = decode_tcb(getattr(report, f"{name}_tcb_raw"), facts["product"])
        assert decoded == _tcb(facts[f"{name}_tcb"]), name
    if report.cpuid:
        assert product_of_cpuid(report.cpuid) == facts["product"]


@every_case
def test_mitigation_vectors_read_as_others_read_them(case: dict[str, Any], evidence_dir: Path) -> None:
    facts = case["expected"]["facts"]
    report, _ = _files(evidence_dir, case)
    vectors = (report.launch_mit_vector, report.current_mit_vector)
    read = [None if vector is None else hex(vector) for vector in vectors]
    assert read == [facts["launch_mit_vector"], facts["current_mit_vector"]]


@every_case
def test_the_verdict_and_its_reasons_are_those_of_others(case: dict[str, Any], evidence_dir: Path) -> None:
    expected = case["expected"]
    report, certificates = _files(evidence_dir, case)
    checks, claims, _ = authenticate_report(
        report, certificates, roots=AMD_ROOTS, development_root=None, now=_time(case)
    )
    by_id = {check.id: check.outcome for check in checks}
    chain = {outcome for name, outcome in by_id.items() if name.startswith("snp.chain.")}
    assert (claims is not None) is bool(expected["authentic"])
    _agrees({by_id["snp.signature"]}, expected["signature_valid"])
    _agrees(chain, expected["chain_valid"])
    _agrees({by_id["snp.vek.tcb"]}, expected.get("tcb_ext_match"))
    if report.signing_key == "vcek":  # a VLEK names no chip, so others leave this verdict open
        _agrees({by_id["snp.vek.chip"]}, expected.get("hwid_match"))
    assert claims is None or claims.product == expected["facts"]["product"]
    assert claims is None or not claims.insecure


def _agrees(outcomes: set[Outcome], expected: bool | None) -> None:
    """None means that a certificate is missing: undecided, never passed."""
    if expected is None:
        assert outcomes == {Outcome.UNDECIDED}
    else:
        assert (outcomes == {Outcome.PASS}) is expected
        assert expected or Outcome.FAIL in outcomes


@every_case
def test_extensions_of_the_signing_key_read_as_others_read_them(
    case: dict[str, Any], evidence_dir: Path
) -> None:
    facts = case["expected"]["vek_extensions"] if case["expected"].get("vek_extensions") else None
    if facts is None:
        assert "no-vcek" in case["id"]
        return
    _, certificates = _files(evidence_dir, case)
    read = vek_extensions(load_certificate(certificates[0]))
    levels = Tcb(facts["spl1"], facts["spl2"], facts["spl3"], facts["spl8"], facts.get("spl9"))
    assert read.tcb == levels
    assert read.product_name == facts["product"]
    assert read.struct_version == facts["struct_version"]
    assert (read.hwid.hex() if read.hwid else None) == facts.get("hwid")
    assert read.csp_id == facts.get("csp_id")


@every_authentic_case
def test_one_changed_bit_anywhere_in_the_signed_bytes_breaks_a_real_report(
    case: dict[str, Any], evidence_dir: Path
) -> None:
    report, certificates = _files(evidence_dir, case)
    for offset in (0x004, 0x00A, 0x050, 0x08F, 0x090, 0x0C0, 0x180, 0x1A0, 0x1E0):
        changed = bytearray(report.raw)
        changed[offset] ^= 1
        _, claims, _ = authenticate_report(
            parse_report(bytes(changed)),
            certificates,
            roots=AMD_ROOTS,
            development_root=None,
            now=_time(case),
        )
        assert claims is None


@every_authentic_case
def test_a_real_report_is_not_authentic_once_its_certificates_have_expired(
    case: dict[str, Any], evidence_dir: Path
) -> None:
    report, certificates = _files(evidence_dir, case)
    far = datetime(2060, 1, 1, tzinfo=UTC)
    _, claims, _ = authenticate_report(report, certificates, roots=AMD_ROOTS, development_root=None, now=far)
    assert claims is None


def test_the_pinned_roots_are_the_keys_of_the_collected_certificates(evidence_dir: Path) -> None:
    for product, pins in AMD_ROOTS.items():
        pem = (evidence_dir / "roots" / f"amd-ark-{product.lower()}.pem").read_text()
        ark = load_certificate(base64.b64decode(_PEM.findall(pem)[0]))
        assert pins == {spki_digest(ark)}


@_each([case for case in _CASES if "genoa-v3" in case["id"]])
def test_a_real_revocation_list_is_enforced_and_must_be_current(
    case: dict[str, Any], evidence_dir: Path
) -> None:
    report, certificates = _files(evidence_dir, case)
    crl = (evidence_dir / "roots" / "amd-crl-genoa-2024.der").read_bytes()

    def outcome(now: datetime) -> str:
        checks, _, _ = authenticate_report(
            report, certificates, [crl], roots=AMD_ROOTS, development_root=None, now=now
        )
        return next(check.outcome for check in checks if check.id == "snp.crl")

    assert outcome(datetime(2025, 1, 1, tzinfo=UTC)) == "pass"
    assert outcome(datetime(2026, 3, 7, tzinfo=UTC)) == "undecided"
    assert outcome(datetime(2024, 1, 1, tzinfo=UTC)) == "undecided"


def test_key_distribution_urls_follow_the_shape_of_each_product() -> None:
    chip = bytes(range(64))
    milan = vcek_url("Milan", chip, Tcb(4, 0, 24, 219))
    turin = vcek_url("Turin", chip, Tcb(3, 2, 5, 97, fmc=1))
    levels = "blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219"
    assert milan == f"https://kdsintf.amd.com/vcek/v1/Milan/{chip.hex()}?{levels}"
    levels = "fmcSPL=1&blSPL=3&teeSPL=2&snpSPL=5&ucodeSPL=97"
    assert turin == f"https://kdsintf.amd.com/vcek/v1/Turin/0001020304050607?{levels}"
