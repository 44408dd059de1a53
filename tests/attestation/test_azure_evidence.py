"""Every real piece of Azure evidence that was collected, against facts and verdicts computed elsewhere."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from attestation.azure.verify import VtpmClaims, authenticate_vtpm
from attestation.check import Check, Outcome
from attestation.hardware import VtpmEvidence
from attestation.model import Collateral, Facts, TdxCollateral
from attestation.snp.roots import AMD_ROOTS
from attestation.snp.verify import SnpClaims
from attestation.tdx.roots import INTEL_ROOTS
from attestation.tdx.verify import TdxClaims
from tests.conftest import find_evidence

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_AT_COLLECTION = "2026-11-21T00:00:00Z"
_TEES = {"azure-vtpm-snp": "azure-snp", "azure-vtpm-tdx": "azure-tdx"}
_NEVER_QUOTED = {"az-snp-hcl-only-kinvolk", "az-tdx-hcl-only-kinvolk", "az-tdx-openpcc-dcesv5"}
_AUTHENTIC = {
    *("az-snp-milan-v0", "az-snp-genoa", "az-snp-milan-v2report", "az-snp-milan-hcl2048", "az-tdx-v0"),
}


@lru_cache
def _cases() -> list[dict[str, Any]]:
    place = find_evidence()
    if place is None:
        return []
    cases = json.loads((place / "MANIFEST.json").read_text())["cases"]
    return [case for case in cases if case["tee"] in _TEES]


def _each() -> pytest.MarkDecorator:
    """Once per case. Without a collection once, so that `evidence_dir` tells why nothing was tried."""
    there = _cases() or [{"id": "no collection"}]
    return pytest.mark.parametrize("case", there, ids=[case["id"] for case in there])


every_case = _each()


def _chain(pem: bytes) -> tuple[bytes, ...]:
    return tuple(base64.b64decode(body) for body in _PEM.findall(pem.decode()))


def _evidence(evidence_dir: Path, case: dict[str, Any]) -> VtpmEvidence:
    """All files of a case; what it lacks is empty."""

    def read(name: str) -> bytes:
        path = evidence_dir / case["id"] / name
        return path.read_bytes() if path.is_file() else b""

    signing = _chain(read("tcb_signing_chain.pem"))
    vcek = (read("vcek.der"),) if read("vcek.der") else ()
    return VtpmEvidence(
        tee=_TEES[case["tee"]],  # type: ignore[arg-type]
        hcl_report=read("hcl_report.bin"),
        certificates=vcek + _chain(read("ca_chain.pem")),
        td_quote=read("quote.bin"),
        collateral=TdxCollateral(
            tcb_info=read("tcb_info.json"),
            tcb_info_chain=signing,
            qe_identity=read("qe_identity.json"),
            qe_identity_chain=signing,
            pck_crl=read("pck_crl.der"),
            pck_crl_chain=_chain(read("pck_crl_issuer_chain.pem")),
            root_crl=read("root_ca_crl.der"),
        ),
        tpm_quote=read("tpm_quote.msg"),
        tpm_signature=read("tpm_quote.sig"),
        tpm_pcrs=read("tpm_pcrs.json"),
        runtime_data=read("runtime_data.json"),
    )


def _time(case: dict[str, Any]) -> datetime:
    """When the case's collateral holds, if it ever does."""
    expected = case["expected"]
    evaluations = expected.get("evaluations") or [{}]
    at = expected.get("verify_at") or evaluations[0].get("at") or _AT_COLLECTION
    return datetime.fromisoformat(at.replace("Z", "+00:00"))


def _judge(evidence: VtpmEvidence, now: datetime) -> tuple[list[Check], VtpmClaims | None, Facts]:
    return authenticate_vtpm(
        evidence,
        collateral=Collateral(),
        amd_roots=AMD_ROOTS,
        intel_roots=INTEL_ROOTS,
        development_root=None,
        now=now,
    )


def _differing(expected: Any, found: Any, path: str = "") -> list[str]:
    """Where `found`, which may say more, does not say what was expected."""
    if not isinstance(expected, dict):
        return [] if found == expected else [path]
    members = found if isinstance(found, dict) else {}
    return [
        where
        for name, value in expected.items()
        for where in _differing(value, members.get(name, "absent"), f"{path}.{name}")
    ]


def test_the_collection_has_the_nine_cases_that_this_suite_was_written_for(evidence_dir: Path) -> None:
    assert evidence_dir.is_dir()
    assert len(_cases()) == 9


@every_case
def test_every_fact_reads_as_others_read_it(case: dict[str, Any], evidence_dir: Path) -> None:
    _, _, facts = _judge(_evidence(evidence_dir, case), _time(case))
    assert _differing(case["expected"].get("facts", {}), facts) == []
    assert _differing(case["azure"], facts["azure"]) == []


@every_case
def test_what_others_found_authentic_is_and_nothing_else(case: dict[str, Any], evidence_dir: Path) -> None:
    checks, claims, _ = _judge(_evidence(evidence_dir, case), _time(case))
    assert (claims is not None) is (case["id"] in _AUTHENTIC)
    assert len({check.id for check in checks}) == len(checks)
    if case["expected"]["strict_accept"]:
        assert claims is not None


@every_case
def test_the_reason_against_a_case_names_the_right_layer(case: dict[str, Any], evidence_dir: Path) -> None:
    checks, _, _ = _judge(_evidence(evidence_dir, case), _time(case))
    outcomes = {check.id: check.outcome for check in checks}
    failed = {name for name, outcome in outcomes.items() if outcome is Outcome.FAIL}
    undecided = {name for name, outcome in outcomes.items() if outcome is Outcome.UNDECIDED}
    assert failed == ({"azure.quote.signature"} if "wrong-ak" in case["id"] else set())
    unquoted = {"azure.quote.type", "azure.quote.signature", "azure.quote.pcrs"}
    assert (unquoted <= undecided) is (case["id"] in _NEVER_QUOTED)
    assert ("azure.tdreport" in undecided) is (case["id"] == "az-tdx-hcl-only-kinvolk")
    assert ("snp.signature" in undecided) is (case["id"] == "az-snp-hcl-only-kinvolk")
    assert ("azure.vmpl" in outcomes) is (case["tee"] == "azure-vtpm-snp")
    assert ("azure.tdreport" in outcomes) is (case["tee"] == "azure-vtpm-tdx")


@every_case
def test_claims_of_authentic_cases_are_what_the_guest_said(case: dict[str, Any], evidence_dir: Path) -> None:
    _, claims, _ = _judge(_evidence(evidence_dir, case), _time(case))
    if claims is None:
        assert case["id"] not in _AUTHENTIC
        return
    azure = case["azure"]
    configuration = azure["hcl"]["vm_configuration"]
    assert claims.extra_data.hex() == azure["tpm_quote"]["extra_data_hex"]
    assert claims.secure_boot is configuration["secure-boot"]
    assert claims.console_enabled is configuration["console-enabled"]
    assert claims.tpm_enabled is configuration["tpm-enabled"]
    assert claims.tpm_persisted is configuration.get("tpm-persisted", False)
    assert claims.vm_unique_id == configuration["vmUniqueId"]
    assert (claims.user_data.hex() if claims.user_data is not None else None) == azure["hcl"]["user_data"]
    assert isinstance(claims.hardware, TdxClaims if case["tee"].endswith("tdx") else SnpClaims)
    assert not claims.insecure
    if azure["tpm_quote"]["pcr_digest_matches"] is None:
        assert claims.pcrs is None
    else:
        values = json.loads((evidence_dir / case["id"] / "tpm_pcrs.json").read_text())
        assert claims.pcrs == {n: bytes.fromhex(value) for n, value in enumerate(values)}


@every_case
def test_a_real_quote_of_another_machine_never_fits(case: dict[str, Any], evidence_dir: Path) -> None:
    """Every other machine's quote, signature and PCRs, all genuine, beside this one's hardware."""
    ours = _evidence(evidence_dir, case)
    keys = {other["id"]: (evidence_dir / other["id"] / "ak_pub.pem").read_text() for other in _cases()}
    for other in _cases():
        theirs = _evidence(evidence_dir, other)
        if keys[other["id"]] == keys[case["id"]] or not theirs.tpm_quote or "wrong-ak" in other["id"]:
            continue
        mixed = replace(
            ours,
            tpm_quote=theirs.tpm_quote,
            tpm_signature=theirs.tpm_signature,
            tpm_pcrs=theirs.tpm_pcrs,
        )
        checks, claims, _ = _judge(mixed, _time(case))
        assert claims is None
        assert Outcome.FAIL in {check.outcome for check in checks if check.id == "azure.quote.signature"}


@every_case
def test_a_changed_byte_of_real_runtime_data_is_no_longer_bound(
    case: dict[str, Any], evidence_dir: Path
) -> None:
    ours = _evidence(evidence_dir, case)
    changed = ours.hcl_report.replace(b'"secure-boot":', b'"Secure-boot":')
    assert changed != ours.hcl_report
    checks, claims, facts = _judge(replace(ours, hcl_report=changed), _time(case))
    outcomes = {check.id: check.outcome for check in checks}
    assert claims is None
    assert outcomes["azure.runtime_data"] is Outcome.FAIL
    assert outcomes["azure.runtime_data.copy"] is Outcome.FAIL
    assert not facts["azure"]["hcl"]["runtime_data_bound_to_report_data"]  # type: ignore[call-overload,index]
