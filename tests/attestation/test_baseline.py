"""The baseline accepts what the collection's own rule accepts: no less, and nothing by other rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attestation import authenticate
from attestation.appraise.baseline import Baseline, appraise_baseline
from attestation.check import Outcome
from attestation.model import Collateral, Verdict
from attestation.policy.model import Policy
from attestation.report.ear import build_ear
from attestation.report.explain import explain
from attestation.report.html import render_html
from attestation.report.text import render_text
from attestation.snp.abi import guest_policy
from attestation.verify import verify_hardware
from tests.conftest import find_evidence
from tests.fakes.amd import NOW, World
from tests.fakes.claims import AnyClaims, real_claims, snp_claims, tdx_claims, vtpm_claims
from tests.fakes.intel import IntelWorld
from tests.fakes.tpm import TpmWorld, azure_snp, azure_tdx


def failed(claims: AnyClaims) -> list[str]:
    """Ids of the checks that failed."""
    checks = appraise_baseline(claims)
    assert all(check.expected and check.found and check.reference for check in checks)
    return [check.id for check in checks if check.outcome.value == "fail"]


def _timed() -> list[str]:
    """Cases with a time at which they can be judged."""
    evidence = find_evidence()
    if evidence is None:
        return []
    cases = json.loads((evidence / "MANIFEST.json").read_text("utf-8"))["cases"]
    return [c["id"] for c in cases if "verify_at" in c["expected"] or c["expected"].get("evaluations")]


def test_there_are_cases_to_judge(evidence_dir: Path) -> None:
    assert len(_timed()) > 30


@pytest.mark.parametrize("name", _timed())
def test_agrees_with_the_manifest_about_real_evidence(evidence_dir: Path, name: str) -> None:
    cases = json.loads((evidence_dir / "MANIFEST.json").read_text("utf-8"))["cases"]
    expected = next(case["expected"]["strict_accept"] for case in cases if case["id"] == name)
    claims, _ = real_claims(evidence_dir, name)
    assert (claims is not None and failed(claims) == []) is expected


@pytest.mark.parametrize(
    ("policy", "agent", "expected"),
    [
        (1 << 17, b"\xff" * 32, []),
        (1 << 17 | 1 << 16 | 1 << 21, b"\xff" * 32, []),
        (1 << 17 | 1 << 19, b"\xff" * 32, ["baseline.debug"]),
        (1 << 17 | 1 << 18, b"\xff" * 32, ["baseline.migration"]),
        (1 << 17, bytes(32), ["baseline.migration"]),
    ],
)
def test_an_amd_guest_may_not_be_debugged_or_moved(
    genoa: World, policy: int, agent: bytes, expected: list[str]
) -> None:
    claims = snp_claims(genoa.issue())
    report = replace(claims.report, policy=guest_policy(policy), report_id_ma=agent)
    assert failed(replace(claims, report=report)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"version": 5}, []),
        ({"td_attributes": 1 << 29}, ["baseline.service_td"]),
        ({"version": 5, "body_type": 2, "td_attributes": 1 << 29}, ["baseline.service_td"]),
        ({"version": 5, "body_type": 3, "td_attributes": 1 << 29}, []),
        ({"version": 5, "body_type": 4, "td_attributes": 1 << 29}, []),
        ({"td_attributes": 1}, ["baseline.debug"]),
        ({"td_attributes": 4}, ["baseline.debug"]),
        ({"version": 5, "mrservicetd": b"\x01" * 48}, ["baseline.service_td"]),
        ({"platform_status": "SWHardeningNeeded", "platform_advisories": ("INTEL-SA-1",)}, []),
        ({"platform_status": "ConfigurationNeeded"}, ["baseline.tcb_status"]),
        ({"platform_status": "ConfigurationAndSWHardeningNeeded"}, ["baseline.tcb_status"]),
        ({"platform_status": "OutOfDate"}, ["baseline.tcb_status"]),
        ({"qe_status": "OutOfDate"}, ["baseline.tcb_status"]),
    ],
)
def test_an_intel_guest_needs_a_platform_that_intel_finds_good(
    intel: IntelWorld, changes: dict[str, Any], expected: list[str]
) -> None:
    assert failed(tdx_claims(intel.issue(**changes))) == expected


def test_shows_what_it_found(genoa: World, intel: IntelWorld) -> None:
    still = snp_claims(genoa.issue())
    moving = replace(still, report=replace(still.report, report_id_ma=bytes(32)))
    assert [check.found for check in appraise_baseline(still)] == ["off", "no migration agent"]
    assert [check.found for check in appraise_baseline(moving)] == ["off", "possible"]
    found = [check.found for check in appraise_baseline(tdx_claims(intel.issue()))]
    assert found == ["off", "not stated: cannot be migrated", "UpToDate"]
    stated = [check.found for check in appraise_baseline(tdx_claims(intel.issue(version=5)))]
    assert stated == ["off", "00" * 48, "UpToDate"]
    movable = tdx_claims(intel.issue(td_attributes=1 << 29))
    assert appraise_baseline(movable)[1].found == "not stated, and the TD is migratable"


def test_below_a_paravisor_its_hardware_is_judged(genoa: World, intel: IntelWorld, tpm: TpmWorld) -> None:
    assert failed(vtpm_claims(azure_snp(genoa, tpm))) == []
    assert failed(vtpm_claims(azure_tdx(intel, tpm, td_attributes=1))) == ["baseline.debug"]


def test_what_the_paravisor_measures_is_shown_because_nothing_compared_it(
    genoa: World, intel: IntelWorld, tpm: TpmWorld
) -> None:
    """Any guest at VMPL 0 could have made up a TPM of its own: only a policy knows the paravisor."""
    anybody = b"\x99" * 48
    for claims, name in (
        (vtpm_claims(azure_snp(genoa, tpm, measurement=anybody)), "MEASUREMENT"),
        (vtpm_claims(azure_tdx(intel, tpm, mrtd=anybody)), "MRTD"),
    ):
        checks = appraise_baseline(claims)
        assert [check.id for check in checks] == [
            *(check.id for check in appraise_baseline(claims.hardware)),
            "baseline.paravisor",
        ]
        assert checks[-1].outcome is Outcome.NOTED
        assert checks[-1].found == f"{name} {anybody.hex()}, compared with nothing"


def test_every_report_shows_that_the_paravisor_was_compared_with_nothing(
    genoa: World, tpm: TpmWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rented guest with a made-up TPM: genuine hardware, every link holds, and nobody was named."""
    monkeypatch.setattr(authenticate, "AMD_ROOTS", genoa.roots)
    signed = azure_snp(genoa, tpm, measurement=b"\x99" * 48)
    appraisal = verify_hardware(signed.evidence, Collateral(), Baseline(), now=NOW)
    assert appraisal.verdict is Verdict.ACCEPTED
    assert "99" * 48 + ", compared with nothing" in render_text(appraisal)
    assert explain("baseline.paravisor").title in render_html(appraisal, subject="a guest")
    ear = build_ear(appraisal, nonce=None, now=NOW, developer="https://example.com", build="1")
    record = ear["submods"]["paravisor-vtpm"]
    assert record["ear_verifier_claims"]["checks"]["baseline.paravisor"] == "noted"
    refused = verify_hardware(signed.evidence, Collateral(), Policy(), now=NOW)
    assert "snp.measurement" in {check.id for check in refused.failed}
