"""A definite failure beats missing material: what no certificate could mend is refused, not left open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from attestation import authenticate
from attestation.appraise.baseline import Baseline
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence, VtpmEvidence
from attestation.model import Appraisal, Collateral, TdxCollateral, Verdict
from attestation.policy.model import Policy, SnpPolicy
from attestation.verify import verify_hardware
from enclave.tee.dev import MEASUREMENT
from tests.fakes.amd import DEBUG_POLICY, NOW, World
from tests.fakes.intel import IntelWorld
from tests.fakes.intel_layout import DEBUG
from tests.fakes.tpm import TpmWorld, azure_snp, azure_tdx

RULES = [Baseline(), Policy()]


def judge(hardware: Hardware, rules: Baseline | Policy) -> Appraisal:
    return verify_hardware(hardware, Collateral(), rules, now=NOW)


def failed(appraisal: Appraisal) -> set[str]:
    return {check.id for check in appraisal.checks if check.outcome.value == "fail"}


@pytest.fixture(scope="session")
def debug_snp(genoa: World) -> SnpEvidence:
    return genoa.issue(policy=DEBUG_POLICY).evidence


@pytest.mark.parametrize("rules", RULES)
def test_a_debuggable_guest_is_refused_even_without_any_certificate(
    debug_snp: SnpEvidence, rules: Baseline | Policy
) -> None:
    appraisal = judge(replace(debug_snp, certificates=()), rules)
    assert appraisal.verdict is Verdict.REFUSED
    assert failed(appraisal) >= ({"baseline.debug"} if isinstance(rules, Baseline) else {"snp.debug"})
    assert not appraisal.authentic


def test_missing_certificates_alone_leave_the_baseline_undecided(genoa: World) -> None:
    bare = replace(genoa.issue().evidence, certificates=())
    appraisal = judge(bare, Baseline())
    assert (appraisal.verdict, failed(appraisal)) == (Verdict.UNDECIDED, set())
    assert appraisal.facts["product"] == "Genoa"


def test_without_certificates_a_measurement_that_no_policy_names_is_refused(genoa: World) -> None:
    appraisal = judge(replace(genoa.issue().evidence, certificates=()), Policy())
    assert appraisal.verdict is Verdict.REFUSED
    assert "snp.measurement" in failed(appraisal)


@pytest.mark.parametrize("rules", RULES)
def test_a_debuggable_td_is_refused_even_without_collateral(
    intel: IntelWorld, rules: Baseline | Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticate, "INTEL_ROOTS", intel.roots)
    signed = intel.issue(td_attributes=DEBUG)
    appraisal = judge(TdxEvidence(signed.quote), rules)
    assert appraisal.verdict is Verdict.REFUSED
    assert failed(appraisal) >= ({"baseline.debug"} if isinstance(rules, Baseline) else {"tdx.debug"})


def test_missing_collateral_alone_leaves_the_baseline_undecided(
    intel: IntelWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticate, "INTEL_ROOTS", intel.roots)
    appraisal = judge(TdxEvidence(intel.issue().quote), Baseline())
    assert (appraisal.verdict, failed(appraisal)) == (Verdict.UNDECIDED, set())


def test_a_failure_to_authenticate_is_not_joined_by_what_the_report_claims(debug_snp: SnpEvidence) -> None:
    forged = replace(debug_snp, report=debug_snp.report[:-400] + b"\1" + debug_snp.report[-399:])
    assert not any(check_id.startswith("baseline.") for check_id in failed(judge(forged, Baseline())))


@pytest.fixture
def azure(
    genoa: World, intel: IntelWorld, tpm: TpmWorld, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., VtpmEvidence]:
    """Azure evidence whose processor is pinned, without the TPM's quote."""
    monkeypatch.setattr(authenticate, "INTEL_ROOTS", intel.roots)
    monkeypatch.setattr(authenticate, "AMD_ROOTS", genoa.roots)

    def issue(kind: str, **changes: Any) -> VtpmEvidence:
        signed = azure_tdx(intel, tpm, **changes) if kind == "tdx" else azure_snp(genoa, tpm, **changes)
        return replace(signed.evidence, tpm_quote=b"", tpm_signature=b"")

    return issue


def test_below_a_paravisor_an_out_of_date_processor_is_refused_although_the_tpm_quote_is_missing(
    azure: Callable[..., VtpmEvidence],
) -> None:
    appraisal = judge(azure("tdx", platform_status="OutOfDate"), Baseline())
    assert failed(appraisal) == {"baseline.tcb_status"}
    assert judge(azure("tdx"), Baseline()).verdict is Verdict.UNDECIDED


def test_below_a_paravisor_the_policy_for_paravisors_counts(azure: Callable[..., VtpmEvidence]) -> None:
    named = replace(SnpPolicy(), measurements=frozenset({MEASUREMENT}))
    for evidence, check_id in ((azure("snp"), "snp.measurement"), (azure("tdx"), "tdx.measurement")):
        policy = replace(Policy(), snp=named)
        assert check_id in failed(judge(evidence, policy))
        bare = replace(evidence, certificates=(), collateral=TdxCollateral())
        assert check_id in failed(judge(bare, policy))


def test_a_tdreport_alone_is_nobodys_word(azure: Callable[..., VtpmEvidence]) -> None:
    appraisal = judge(replace(azure("tdx", td_attributes=DEBUG), td_quote=b""), Baseline())
    assert (appraisal.verdict, failed(appraisal)) == (Verdict.UNDECIDED, set())
