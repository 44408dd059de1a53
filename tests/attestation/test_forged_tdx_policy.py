"""Authentic TDs that no collected quote shows, before policies that name them or not, and the baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attestation.appraise.baseline import Baseline, appraise_baseline
from attestation.appraise.hardware import appraise_hardware
from attestation.check import DECIDES_NOTHING_BAD, Check
from attestation.model import Collateral, Verdict
from attestation.policy.model import BUILT_IN, Policy, TdxPolicy
from attestation.verify import verify_hardware
from tests.fakes.amd import NOW
from tests.fakes.documents import td_set
from tests.fakes.intel import IntelWorld, spki_sha256
from tests.fakes.intel_layout import DEBUG, MIGRATABLE, SEPT_VE_DISABLE
from tests.fakes.judges import authenticate_tdx

NAMED = TdxPolicy(sets=(td_set(),))


def refusals(intel: IntelWorld, tdx: TdxPolicy, **changes: Any) -> tuple[set[str], set[str]]:
    """Ids of the checks that object: by a policy with this [tdx] table, and by the baseline."""
    _, claims, _ = authenticate_tdx(intel.issue(**changes))
    assert claims is not None
    by_policy = appraise_hardware(claims, Policy(tdx=tdx), now=NOW)
    return _bad(by_policy), _bad(appraise_baseline(claims))


def _bad(checks: list[Check]) -> set[str]:
    return {check.id for check in checks if check.outcome not in DECIDES_NOTHING_BAD}


def test_a_good_td_is_accepted_by_both(intel: IntelWorld) -> None:
    assert refusals(intel, NAMED) == (set(), set())


@pytest.mark.parametrize("form", [{"version": 4}, *({"version": 5, "body_type": n} for n in (2, 3, 4))])
def test_every_form_of_quote_is_appraised_alike(intel: IntelWorld, form: dict[str, int]) -> None:
    assert refusals(intel, NAMED, **form) == (set(), set())
    debug = {"td_attributes": SEPT_VE_DISABLE | DEBUG}
    assert refusals(intel, NAMED, **form, **debug) == ({"tdx.debug"}, {"baseline.debug"})


@pytest.mark.parametrize("bit", range(1, 8))
def test_every_bit_of_the_debug_byte_counts_as_debugging(intel: IntelWorld, bit: int) -> None:
    """TUD: bits 1 to 7 are reserved for further kinds of debugging."""
    attributes = {"td_attributes": SEPT_VE_DISABLE | 1 << bit}
    assert refusals(intel, NAMED, **attributes) == ({"tdx.debug"}, {"baseline.debug"})


def test_a_migratable_td_is_refused_unless_the_policy_allows_migration(intel: IntelWorld) -> None:
    attributes = {"version": 5, "td_attributes": SEPT_VE_DISABLE | MIGRATABLE}
    assert refusals(intel, NAMED, **attributes) == ({"tdx.migration"}, set())
    assert refusals(intel, replace(NAMED, allow_migration=True), **attributes) == (set(), set())


@pytest.mark.parametrize("served_by", [bytes(48), b"\x77" * 48])
@pytest.mark.parametrize("form", [{"version": 4}, {"version": 5, "body_type": 2}])
def test_a_form_of_quote_without_the_field_does_not_hide_who_may_move_a_td(
    intel: IntelWorld, form: dict[str, int], served_by: bytes
) -> None:
    """The host chooses the quote's form: what a longer one would have said is not known to be nothing."""
    hidden = {"td_attributes": SEPT_VE_DISABLE | MIGRATABLE, "mrservicetd": served_by} | form
    by_default = refusals(intel, NAMED, **hidden)
    assert by_default == ({"tdx.migration", "tdx.service_td"}, {"baseline.service_td"})
    movable = replace(NAMED, allow_migration=True)
    assert refusals(intel, movable, **hidden) == ({"tdx.service_td"}, {"baseline.service_td"})
    named = replace(movable, mrservicetds=frozenset({b"\x77" * 48}))
    assert refusals(intel, named, **hidden)[0] == {"tdx.service_td"}


@pytest.mark.parametrize("form", [{"body_type": 3}, {"body_type": 4}])
def test_a_service_td_is_refused_unless_the_policy_names_it(intel: IntelWorld, form: dict[str, int]) -> None:
    bound = {"version": 5, "mrservicetd": b"\5" * 48} | form
    assert refusals(intel, NAMED, **bound) == ({"tdx.service_td"}, {"baseline.service_td"})
    named = replace(NAMED, mrservicetds=frozenset({b"\5" * 48}))
    assert refusals(intel, named, **bound)[0] == set()
    assert refusals(intel, named)[0] == {"tdx.service_td"}


@pytest.mark.parametrize("field", ["initial_servtd_hash", "servtd_hash"])
def test_the_extended_reports_further_digests_of_service_tds_count_as_well(
    intel: IntelWorld, field: str
) -> None:
    extended = {"version": 5, "body_type": 4, field: b"\6" * 48}
    assert refusals(intel, NAMED, **extended)[0] == {"tdx.service_td"}


@pytest.mark.parametrize(
    ("status", "by_baseline"),
    [
        ("SWHardeningNeeded", set()),
        ("ConfigurationNeeded", {"baseline.tcb_status"}),
        ("ConfigurationAndSWHardeningNeeded", {"baseline.tcb_status"}),
        ("OutOfDate", {"baseline.tcb_status"}),
        ("OutOfDateConfigurationNeeded", {"baseline.tcb_status"}),
    ],
)
def test_a_status_that_wants_something_done_is_refused_unless_the_policy_names_it(
    intel: IntelWorld, status: str, by_baseline: set[str]
) -> None:
    assert refusals(intel, NAMED, platform_status=status) == ({"tdx.tcb.status"}, by_baseline)
    named = replace(NAMED, statuses=frozenset({"UpToDate", status}))
    assert refusals(intel, named, platform_status=status)[0] == set()


def test_advisories_have_to_be_named_one_by_one(intel: IntelWorld) -> None:
    hardened = {"platform_status": "SWHardeningNeeded", "platform_advisories": ("INTEL-SA-1", "INTEL-SA-2")}
    statuses = frozenset({"UpToDate", "SWHardeningNeeded"})
    one = replace(NAMED, statuses=statuses, advisories=frozenset({"INTEL-SA-1"}))
    both = replace(one, advisories=frozenset({"INTEL-SA-1", "INTEL-SA-2"}))
    assert refusals(intel, one, **hardened)[0] == {"tdx.tcb.advisories"}
    assert refusals(intel, both, **hardened)[0] == set()


def test_a_falling_evaluation_number_is_refused_whichever_of_the_two_falls(intel: IntelWorld) -> None:
    for numbers in ({"tcb_evaluation_number": 17}, {"qe_evaluation_number": 17}):
        assert refusals(intel, NAMED, **numbers)[0] == {"tdx.tcb.evaluation"}


@pytest.mark.parametrize("bit", [27, 30, 31, 63, 8, 20, 32, 62])
def test_an_attribute_that_no_policy_allows_is_refused(intel: IntelWorld, bit: int) -> None:
    attributes = {"td_attributes": SEPT_VE_DISABLE | 1 << bit}
    assert refusals(intel, NAMED, **attributes) == ({"tdx.attributes"}, set())


def test_the_built_in_rules_and_the_baseline_agree_on_what_is_never_accepted(intel: IntelWorld) -> None:
    root = spki_sha256(intel.root)
    rules = replace(BUILT_IN, tdx=NAMED, insecure_development_root=root)
    good = intel.issue()
    asked = {"now": NOW, "report_data": good.td.report_data}
    accepted = verify_hardware(good.evidence, Collateral(), rules, **asked)
    assert accepted.verdict is Verdict.ACCEPTED_INSECURE
    for wrong in ({"td_attributes": SEPT_VE_DISABLE | DEBUG}, {"revoked": frozenset({"pck"})}):
        evidence = intel.issue(**wrong).evidence
        assert verify_hardware(evidence, Collateral(), rules, **asked).verdict is Verdict.REFUSED
        # The baseline names no development root: to it this Intel is nobody.
        assert verify_hardware(evidence, Collateral(), Baseline(), **asked).verdict is Verdict.REFUSED
