"""Debugging is told on every platform, also below a paravisor and whatever else the evidence is."""

from __future__ import annotations

import pytest

from attestation import authenticate
from attestation.appraise.baseline import Baseline
from attestation.authenticate import is_debuggable
from attestation.definite import definite_failures
from attestation.hardware import Hardware, TdxEvidence
from attestation.model import Collateral
from attestation.policy.model import Policy
from tests.fakes.amd import DEBUG_POLICY, NOW, World
from tests.fakes.intel import IntelWorld
from tests.fakes.intel_layout import DEBUG, SEPT_VE_DISABLE
from tests.fakes.tpm import TpmWorld, azure_snp, azure_tdx

PLATFORMS = ("sev-snp", "tdx", "azure-snp", "azure-tdx")


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_guest_is_debuggable_exactly_if_its_hardware_says_so(
    platform: str,
    debug: bool,
    genoa: World,
    intel: IntelWorld,
    tpm: TpmWorld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(authenticate, "AMD_ROOTS", genoa.roots)
    monkeypatch.setattr(authenticate, "INTEL_ROOTS", intel.roots)
    snp = {"policy": DEBUG_POLICY} if debug else {}
    tdx = {"td_attributes": SEPT_VE_DISABLE | DEBUG} if debug else {}
    made: dict[str, Hardware] = {
        "sev-snp": genoa.issue(**snp).evidence,
        "tdx": intel.issue(**tdx).evidence,
        "azure-snp": azure_snp(genoa, tpm, **snp).evidence,
        "azure-tdx": azure_tdx(intel, tpm, **tdx).evidence,
    }
    found = authenticate.authenticate(made[platform], Collateral(), development_root=None, now=NOW)
    assert found.claims is not None
    assert is_debuggable(found.claims) is debug


@pytest.mark.parametrize("rules", [Baseline(), Policy()])
def test_an_sgx_quote_says_nothing_about_a_td_to_judge(rules: Baseline | Policy, intel: IntelWorld) -> None:
    """It is refused for what it is, by the rule about its kind; no rule about TDs is asked."""
    td = intel.issue().quote
    report = bytes(384)
    enclave = TdxEvidence(td[:4] + bytes(4) + td[8:48] + report + td[48 + 584 :])
    assert definite_failures(enclave, Collateral(), rules, now=NOW) == []
    found = authenticate.authenticate(enclave, Collateral(), development_root=None, now=NOW)
    assert {check.id for check in found.checks if check.outcome.value == "fail"} >= {"tdx.quote.tee"}
