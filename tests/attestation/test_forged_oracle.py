"""Forged TDX evidence before two verifiers, ours and dcap-qvl: each disagreement has its reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from attestation.appraise.hardware import appraise_hardware
from attestation.check import Outcome
from attestation.policy.model import Policy, TdxPolicy
from tests.fakes.amd import NOW
from tests.fakes.dcap_qvl import judge_with_dcap_qvl
from tests.fakes.documents import td_set
from tests.fakes.intel import PCK, PLATFORM_CA, PROCESSOR_CA, IntelWorld, certify, derived_key
from tests.fakes.intel_collateral import Level
from tests.fakes.intel_layout import DEBUG, MIGRATABLE, SEPT_VE_DISABLE
from tests.fakes.judges import authenticate_tdx

HOUR = timedelta(hours=1)
STRANGER = derived_key("a stranger")
WORLD = IntelWorld.forge("two verifiers")
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
EXTENSION = WORLD.issue().pck.certificate.extensions[-1].value


def _under(name: str, **how: Any) -> dict[str, Any]:
    return {"issuer": certify("forged", name, WORLD.root, **how)}


def _set(part: str, name: str, value: object) -> dict[str, Any]:
    return {f"{part}_edit": lambda inner: inner.update({name: value})}


ACCEPTED_BY_BOTH: tuple[dict[str, Any], ...] = (
    {},
    {"version": 5, "body_type": 2},
    {"version": 5, "body_type": 3},
    {"version": 5, "body_type": 4},
    {"padding": bytes(70)},
    {"header_reserved": b"\1\2\3\4"},
    {"revoked": frozenset({"bystander"})},
    {"tee_tcb_svn": bytes((5, 0, 8)) + bytes(13)},
    {"sgx_type": 0},
    _under(PROCESSOR_CA, path_length=0) | {"platform_instance_id": None, "configuration": None},
    {"platform_status": "SWHardeningNeeded"},
    {"platform_status": "ConfigurationNeeded", "module_status": "OutOfDate"},
    {"platform_status": "SWHardeningNeeded", "qe_status": "OutOfDate"},
    {"platform_status": "OutOfDateConfigurationNeeded"},
    {"module_status": "OutOfDate"},
    {"qe_status": "OutOfDate"},
)

REFUSED_BY_BOTH: tuple[dict[str, Any], ...] = (
    {"qe_signer": STRANGER},
    {"attestation_signer": STRANGER},
    {"qe_report_data": bytes(64)},
    {"qe_vendor": bytes(16)},
    {"inner_type": 6},
    {"qe_mrsigner": bytes(32)},
    {"qe_isvprodid": 1},
    {"qe_miscselect": b"\0\0\0\1"},
    {"qe_attributes": bytes((0x17,)) + bytes(15)},
    {"qe_isvsvn": 3},
    _under(PLATFORM_CA),
    _under(PLATFORM_CA, path_length=0, extension=STRANGE, critical=True),
    {"pck": certify("forged", PCK, WORLD.ca, path_length=0, extension=EXTENSION)},
    {"pck_made": NOW - 2 * HOUR, "pck_until": NOW - HOUR},
    {"pck_made": NOW + HOUR},
    {"revoked": frozenset({"pck"})},
    {"revoked": frozenset({"ca"})},
    {"revoked": frozenset({"signing"})},
    {"pck_crl_signer": STRANGER},
    {"root_crl_signer": STRANGER},
    {"tcb_info_signer": STRANGER},
    {"qe_identity_signer": STRANGER},
    {"tcb_info_until": NOW - HOUR},
    {"qe_identity_until": NOW - HOUR},
    {"pck_crl_until": NOW - HOUR},
    {"root_crl_until": NOW - HOUR},
    {"tcb_info_issued": NOW + HOUR},
    {"qe_identity_issued": NOW + HOUR},
    {"tcb_fmspc": bytes(6)},
    _set("tcb_info", "id", "SGX"),
    _set("tcb_info", "version", 2),
    _set("qe_identity", "id", "QE"),
    {"platform_status": "Revoked"},
    {"module_status": "Revoked"},
    {"qe_status": "Revoked"},
    {"levels": ()},
    {"levels": (Level(pcesvn=12),)},
    {"tee_tcb_svn": bytes((1, 1, 8)) + bytes(13)},
    {"tee_tcb_svn": bytes((8, 9, 8)) + bytes(13)},
    {"mrsignerseam": b"\1" * 48},
    {"seam_attributes": b"\1" + bytes(7)},
)

OURS_IS_STRICTER: tuple[tuple[dict[str, Any], str], ...] = (
    ({"outer_type": 5}, "nobody signs the outer certification type, but only 6 has this layout"),
    ({"outer_type": 7}, "the same"),
    ({"padding": b"\1"}, "behind the quote only zeros are padding; anything else is data that nobody signed"),
    (
        {"pck_name": "Other"},
        "a key under another name was issued for another use",
    ),
    (_under("Intel SGX PCK Other CA", path_length=0), "there are two authorities for platform keys"),
    ({"issuer": WORLD.root}, "the root certifies authorities, never platforms"),
    (
        {
            "tcb_info_signer": WORLD.issue().pck.key,
            "tcb_info_chain": (
                certify("forged", PCK, WORLD.root, key=WORLD.issue().pck.key).der,
                WORLD.root.der,
            ),
        },
        "TCB info is signed by the certificate named for that, not by any key below the root",
    ),
    ({"pck_crl_issued": NOW + HOUR}, "a list from the future says that the clock or the list is wrong"),
    ({"tcb_pceid": b"\0\1"}, "TCB info is for one FMSPC and one PCEID"),
    (_set("qe_identity", "version", 3), "another version may mean other things by the same names"),
    (
        {"svns": (0,) * 16, "cpu_svn": b"\xff" * 16},
        "levels are compared with the sixteen numbers that Intel's rule names, not with CPUSVN's bytes",
    ),
)

LEFT_TO_THE_POLICY: tuple[tuple[dict[str, Any], str], ...] = (
    ({"td_attributes": SEPT_VE_DISABLE | DEBUG}, "tdx.debug"),
    ({"version": 5, "td_attributes": SEPT_VE_DISABLE | MIGRATABLE}, "tdx.migration"),
    ({"td_attributes": 0}, "tdx.sept_ve"),  # genuine Azure machines run so
    ({"version": 5, "mrservicetd": b"\1" * 48}, "tdx.service_td"),
)

THE_SAME_LEVELS_TWICE = {"cpu_svn": bytes(16)}


def _ours(changes: dict[str, Any]) -> str | None:
    _, claims, _ = authenticate_tdx(WORLD.issue(**changes))
    return None if claims is None else claims.status


def _theirs(changes: dict[str, Any]) -> str | None:
    try:
        return judge_with_dcap_qvl(WORLD.issue(**changes), WORLD.root.der)
    except ValueError:
        return None


def _each(table: tuple[Any, ...], holds: Callable[[Any], bool]) -> list[Any]:
    """Those of the table for which it does not hold."""
    return [entry for entry in table if not holds(entry)]


def test_both_accept_the_same_with_the_same_status() -> None:
    assert _each(ACCEPTED_BY_BOTH, lambda one: _ours(one) == _theirs(one) is not None) == []


def test_both_refuse_the_same() -> None:
    assert _each(REFUSED_BY_BOTH, lambda one: _ours(one) is None and _theirs(one) is None) == []


def test_where_ours_alone_refuses_there_is_a_reason() -> None:
    entries = _each(OURS_IS_STRICTER, lambda one: _ours(one[0]) is None and _theirs(one[0]) == "UpToDate")
    assert entries == []
    assert all(reason for _, reason in OURS_IS_STRICTER)


@pytest.mark.parametrize(("changes", "check"), LEFT_TO_THE_POLICY)
def test_what_the_other_one_always_refuses_is_authentic_here_and_refused_by_a_named_rule(
    changes: dict[str, Any], check: str
) -> None:
    """Whether a debug TD is genuine and whether it is acceptable are two questions, with two answers."""
    assert (_ours(changes), _theirs(changes)) == ("UpToDate", None)
    _, claims, _ = authenticate_tdx(WORLD.issue(**changes))
    assert claims is not None
    appraised = appraise_hardware(claims, Policy(tdx=TdxPolicy(sets=(td_set(),))), now=NOW)
    assert [one.id for one in appraised if one.outcome is Outcome.FAIL] == [check]


def test_ours_accepts_alone_only_what_intel_never_issues() -> None:
    """A certificate that contradicts itself: its sixteen numbers are good, its CPUSVN's bytes are zero."""
    assert (_ours(THE_SAME_LEVELS_TWICE), _theirs(THE_SAME_LEVELS_TWICE)) == ("UpToDate", None)


@pytest.mark.parametrize("offset_seconds", [0, 1])
def test_both_draw_the_same_line_at_the_end_of_collaterals_life(offset_seconds: int) -> None:
    """`nextUpdate` itself is still current, one second later nothing is."""
    edge = {"tcb_info_until": NOW - timedelta(seconds=offset_seconds)}
    assert (_ours(edge) is None, _theirs(edge) is None) == (bool(offset_seconds),) * 2
