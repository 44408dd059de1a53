"""What the built-in policy makes of real machines: a well-run one of 2026 needs only to be named.

Every reason below was compared with the manifest's findings. `snp.measurement` or `tdx.measurement` is always
there, because the built-in policy names nothing; no AMD revocation list came with any case.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from attestation.appraise import appraise_hardware
from attestation.policy.model import BUILT_IN, Policy, ReferenceSet
from attestation.snp.verify import SnpClaims
from attestation.tdx.verify import TdxClaims
from tests.fakes.claims import case_of, real_claims

OLD_MILAN = "snp.ecc snp.tcb.reported snp.tcb.committed snp.tcb.launch snp.alias_check"
MILAN = "snp.milan snp.product.allowed"
AZURE = "platform.tee platform.trust_class azure.measurement"

# What the built-in policy refuses beside the reference value that it does not know.
REFUSED: dict[str, str] = {
    "snp-genoa-v5-vcek-oak": "",
    "snp-turin-v5-vcek-openanolis": "",
    "snp-genoa-v3-vcek-aci": "snp.id_key snp.host_data",
    "snp-turin-v5-vcek-aci": "snp.id_key snp.host_data",
    "snp-milan-v3-vcek-gcp-oak": MILAN,
    "snp-milan-v3-vcek-aci": f"{MILAN} snp.id_key snp.host_data",
    "snp-milan-v3-vcek-dstack": f"{MILAN} snp.host_data snp.tcb.reported snp.tcb.committed snp.tcb.launch",
    "snp-milan-v2-vcek-baremetal": f"{MILAN} {OLD_MILAN}",
    "snp-milan-v2-vcek-debug": f"{MILAN} {OLD_MILAN} snp.debug",
    "snp-milan-v2-vcek-good-trustee": f"{MILAN} {OLD_MILAN} snp.id_key snp.provisional",
    "snp-milan-v2-vlek-aws-use2-vmpl1": (f"{MILAN} {OLD_MILAN} platform.operator snp.vmpl snp.signing_key"),
    "snp-milan-v3-vlek-aws-use2-vmpl1": (
        f"{MILAN} platform.operator snp.vmpl snp.signing_key snp.tcb.reported snp.provisional"
    ),
    "az-snp-genoa": f"{AZURE} snp.id_key",
    "az-snp-milan-v0": f"{AZURE} {MILAN} snp.id_key",
    "az-tdx-v0": f"{AZURE} tdx.sept_ve tdx.tcb.status tdx.tcb.advisories",
    "tdx-v5-google-2026": "",
    "tdx-v4-gcp-flashbots": "",
    "tdx-v4-dstack-eventlog": "",
    "tdx-v4-phala-uptodate": "tdx.tcb.evaluation",
    "tdx-v4-gcp-cos113-ccel": "tdx.tcb.evaluation",
    "tdx-v4-outofdate-gcp": "tdx.tcb.evaluation tdx.tcb.status tdx.tcb.advisories",
    "tdx-v4-module3-outofdate": "tdx.tcb.evaluation tdx.tcb.status tdx.config_id",
    "tdx-v4-debug": "tdx.tcb.evaluation tdx.debug",
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_built_in_policy_refuses_real_evidence_for_exactly_these_reasons(
    evidence_dir: Path, name: str
) -> None:
    claims, now = real_claims(evidence_dir, name)
    assert claims is not None
    checks = appraise_hardware(claims, BUILT_IN, now=now)
    found = {check.id for check in checks if check.outcome.value == "fail"}
    unnamed = {"tdx.measurement"} if "tdx" in name else {"snp.measurement"}
    assert found == set(REFUSED[name].split()) | unnamed
    open_questions = {check.id for check in checks if check.outcome.value == "undecided"}
    assert open_questions == (set() if "tdx" in name else {"snp.crl.present"})
    noted = {check.id for check in checks if check.outcome.value == "noted"}
    assert ("snp.crl.age" in noted) is ("tdx" not in name)


WELL_RUN = [name for name, reasons in REFUSED.items() if not reasons]


def named(claims: object) -> Policy:
    """The built-in policy with one reference value, and a revocation list that no case came with."""
    if isinstance(claims, SnpClaims):
        measured = frozenset({claims.report.measurement})
        return replace(BUILT_IN, snp=replace(BUILT_IN.snp, measurements=measured, require_crl=False))
    assert isinstance(claims, TdxClaims)
    names = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
    values = dict(zip(names, (claims.body.mrtd, *claims.body.rtmrs), strict=True))
    return replace(BUILT_IN, tdx=replace(BUILT_IN.tdx, sets=(ReferenceSet("live", values),)))


@pytest.mark.parametrize("name", WELL_RUN)
def test_a_well_run_machine_is_accepted_as_soon_as_its_reference_value_is_named(
    evidence_dir: Path, name: str
) -> None:
    claims, now = real_claims(evidence_dir, name)
    checks = appraise_hardware(claims, named(claims), now=now)  # type: ignore[arg-type]
    others = {check.id: check.outcome.value for check in checks if check.outcome.value != "pass"}
    assert others == ({"snp.crl.age": "noted"} if isinstance(claims, SnpClaims) else {})


def test_genoa_turin_and_intel_are_among_the_well_run(evidence_dir: Path) -> None:
    cases = [case_of(evidence_dir, name) for name in WELL_RUN]
    assert {case["product"] for case in cases if case["tee"] == "sev-snp"} == {"Genoa", "Turin"}
    assert len([case for case in cases if case["tee"] == "tdx"]) == 3
