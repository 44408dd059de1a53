"""Patch levels of forged platforms: which of Intel's ratings is found, and how three become one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.intel import IntelWorld
from tests.fakes.intel_collateral import Level
from tests.fakes.intel_layout import SVNS
from tests.fakes.judges import authenticate_tdx, objections, tdx_objections


@pytest.mark.parametrize(
    ("statuses", "overall"),
    [
        (("SWHardeningNeeded", "UpToDate", "UpToDate"), "SWHardeningNeeded"),
        (("ConfigurationNeeded", "UpToDate", "UpToDate"), "ConfigurationNeeded"),
        (("UpToDate", "OutOfDate", "UpToDate"), "OutOfDate"),
        (("UpToDate", "UpToDate", "OutOfDate"), "OutOfDate"),
        (("ConfigurationNeeded", "OutOfDate", "UpToDate"), "OutOfDateConfigurationNeeded"),
        (("SWHardeningNeeded", "OutOfDate", "UpToDate"), "OutOfDate"),
        (("ConfigurationAndSWHardeningNeeded", "UpToDate", "UpToDate"), "ConfigurationAndSWHardeningNeeded"),
        (("OutOfDateConfigurationNeeded", "UpToDate", "UpToDate"), "OutOfDateConfigurationNeeded"),
        (("OutOfDate", "OutOfDate", "OutOfDate"), "OutOfDate"),
    ],
)
def test_the_worst_of_platform_module_and_quoting_enclave_is_told(
    intel: IntelWorld, statuses: tuple[str, str, str], overall: str
) -> None:
    platform, module, enclave = statuses
    signed = intel.issue(platform_status=platform, module_status=module, qe_status=enclave)
    checks, claims, _ = authenticate_tdx(signed)
    assert objections(checks) == {}
    assert claims is not None
    assert claims.status == overall
    assert (claims.platform_status, claims.module_status, claims.qe_status) == statuses


def test_advisories_of_all_three_are_told(intel: IntelWorld) -> None:
    named = {"platform_advisories": ("INTEL-SA-1",), "module_advisories": ("INTEL-SA-2",)}
    signed = intel.issue(platform_status="OutOfDate", qe_advisories=("INTEL-SA-3",), **named)
    _, claims, _ = authenticate_tdx(signed)
    assert claims is not None
    assert set(claims.advisory_ids) >= {"INTEL-SA-1", "INTEL-SA-2", "INTEL-SA-3"}


@pytest.mark.parametrize("part", ["platform_status", "module_status", "qe_status"])
def test_refuses_a_revoked_level_of_any_part(intel: IntelWorld, part: str) -> None:
    assert tdx_objections(intel.issue(**{part: "Revoked"})) == {"tdx.tcb.level": "fail"}


@pytest.mark.parametrize("place", range(16))
def test_a_platform_one_step_below_in_any_component_reaches_only_the_older_level(
    intel: IntelWorld, place: int
) -> None:
    higher = tuple(svn + (index == place) for index, svn in enumerate(SVNS))
    levels = (Level(svns=higher), Level("OutOfDate"))
    _, claims, _ = authenticate_tdx(intel.issue(levels=levels))
    assert claims is not None
    assert claims.platform_status == "OutOfDate"
    assert tdx_objections(intel.issue(levels=levels[:1])) == {"tdx.tcb.level": "fail"}


@pytest.mark.parametrize("place", range(2, 16))
def test_a_td_one_step_below_in_any_tdx_component_reaches_no_level(intel: IntelWorld, place: int) -> None:
    higher = tuple(svn + (index == place) for index, svn in enumerate((0, 0, 8, *(0,) * 13)))
    assert tdx_objections(intel.issue(levels=(Level(tdx=higher),))) == {"tdx.tcb.level": "fail"}


def test_a_platform_below_in_pcesvn_reaches_no_level(intel: IntelWorld) -> None:
    assert tdx_objections(intel.issue(levels=(Level(pcesvn=12),))) == {"tdx.tcb.level": "fail"}


def test_without_any_level_nothing_is_accepted(intel: IntelWorld) -> None:
    checks, _, facts = authenticate_tdx(intel.issue(levels=()))
    assert objections(checks) == {"tdx.tcb.level": "fail"}
    assert facts["tcb_status"] == "TcbNotSupported (no TCB level matches)"


@pytest.mark.parametrize("svn", [(0, 1), (1, 1)])
def test_a_module_below_every_level_is_refused(intel: IntelWorld, svn: tuple[int, int]) -> None:
    signed = intel.issue(tee_tcb_svn=bytes((*svn, 8)) + bytes(13))
    assert tdx_objections(signed) == {"tdx.tcb.level": "fail"}


def test_an_older_quoting_enclave_than_every_level_is_refused(intel: IntelWorld) -> None:
    assert tdx_objections(intel.issue(qe_isvsvn=3)) == {"tdx.tcb.level": "fail"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"mrsignerseam": b"\1" * 48},
        {"seam_attributes": b"\1" + bytes(7)},
        {"tee_tcb_svn": bytes((8, 9, 8)) + bytes(13)},
        {"module_mrsigner": b"\1" * 48},
    ],
)
def test_refuses_a_tdx_module_that_intel_does_not_know(intel: IntelWorld, wrong: dict[str, Any]) -> None:
    assert tdx_objections(intel.issue(**wrong))["tdx.module.identity"] == "fail"


def test_a_module_from_before_identities_is_judged_by_the_first_two_components(intel: IntelWorld) -> None:
    old = {"tee_tcb_svn": bytes((5, 0, 8)) + bytes(13)}
    _, claims, _ = authenticate_tdx(intel.issue(**old))
    assert claims is not None
    assert (claims.module_status, claims.status) == (None, "UpToDate")
    older = {"tee_tcb_svn": bytes((4, 0, 8)) + bytes(13)}
    assert tdx_objections(intel.issue(levels=(Level(),), **older)) == {"tdx.tcb.level": "fail"}


LAUNCHED = bytes((8, 1)) + b"\x08" * 14


def running(intel: IntelWorld, now: bytes, **changes: Any) -> tuple[dict[str, str], str]:
    """Objections to a TD launched at `LAUNCHED` whose module is at `now`, and what the check found."""
    forms = {"version": 5, "tee_tcb_svn": LAUNCHED, "tee_tcb_svn2": now} | changes
    checks, _, _ = authenticate_tdx(intel.issue(**forms))
    return objections(checks), next(check.found for check in checks if check.id == "tdx.module.running")


@pytest.mark.parametrize("body_type", [3, 4])
@pytest.mark.parametrize("now", [(8, 1), (9, 1), (255, 1), (0, 2), (7, 2)])
def test_a_module_may_be_newer_than_the_one_that_launched_the_td(
    intel: IntelWorld, now: tuple[int, int], body_type: int
) -> None:
    svns = bytes(now) + LAUNCHED[2:]
    assert running(intel, svns, body_type=body_type) == ({}, f"{LAUNCHED.hex()} at launch, {svns.hex()} now")


@pytest.mark.parametrize("body_type", [3, 4])
@pytest.mark.parametrize("now", [(7, 1), (0, 1), (8, 0), (255, 0), (0, 0)])
def test_refuses_an_older_module_than_the_one_that_launched_the_td(
    intel: IntelWorld, now: tuple[int, int], body_type: int
) -> None:
    """The version comes first: a high SVN of an older version is older."""
    svns = bytes(now) + LAUNCHED[2:]
    objected, found = running(intel, svns, body_type=body_type)
    assert objected == {"tdx.module.running": "fail"}
    assert found == f"{LAUNCHED.hex()} at launch, {svns.hex()} now"


@pytest.mark.parametrize("place", range(2, 16))
def test_no_other_component_may_fall_while_a_td_runs(intel: IntelWorld, place: int) -> None:
    """Not even if the module itself is newer."""
    for svn, against in ((7, {"tdx.module.running": "fail"}), (8, {}), (9, {})):
        now = bytearray(LAUNCHED)
        now[0], now[place] = 9, svn
        assert running(intel, bytes(now))[0] == against


@pytest.mark.parametrize("form", [{"version": 4}, {"version": 5, "body_type": 2}])
def test_a_quote_that_does_not_state_the_module_of_now_is_not_refused_for_it(
    intel: IntelWorld, form: dict[str, int]
) -> None:
    assert running(intel, bytes(16), **form) == ({}, "not stated")


def test_the_lower_evaluation_number_of_the_two_is_told(intel: IntelWorld) -> None:
    for numbers in ((19, 21), (21, 19)):
        signed = intel.issue(tcb_evaluation_number=numbers[0], qe_evaluation_number=numbers[1])
        _, claims, _ = authenticate_tdx(signed)
        assert claims is not None
        assert claims.evaluation_number == 19
