"""What forged evidence says of itself never reaches a reader as more than short, printable text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from attestation.azure.maa import check_maa
from attestation.check import Check
from attestation.errors import MalformedEvidence
from attestation.eventlog.replay import check_event_logs
from tests.fakes.amd import NOW, World
from tests.fakes.intel import IntelWorld, certify
from tests.fakes.judges import authenticate_azure, authenticate_tdx
from tests.fakes.maa import MaaWorld
from tests.fakes.tpm import TpmWorld, azure_snp, azure_tdx

# A terminal's escape sequence, HTML, a character that turns the direction of text, a line break.
EVIL = "\x1b[31m<script>\u202e\n" + "A" * 20
LONGEST = 600


def told(judge: Callable[[], list[Check]]) -> list[str]:
    """Every text that a reader would see."""
    try:
        checks = judge()
    except MalformedEvidence as error:
        return [str(error), error.hint]
    return [text for check in checks for text in (check.found, check.expected, check.reference)]


def assert_harmless(texts: list[str]) -> None:
    """Nothing that a terminal obeys, nothing that fills a screen."""
    assert texts
    assert [text for text in texts if text and not text.isprintable()] == []
    assert [text[:80] for text in texts if len(text) > LONGEST] == []


def _edit(part: str, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    return {f"{part}_edit": change}


@pytest.mark.parametrize(
    "changes",
    [
        {"pck_name": EVIL},
        {"pck_name": EVIL, "revoked": frozenset({"pck"})},
        {"pck_name": "A" * 64},
        {"platform_status": EVIL},
        {"platform_advisories": (EVIL,)},
        {"platform_status": "OutOfDate", "platform_advisories": tuple(str(n) for n in range(3000))},
        _edit("tcb_info", lambda inner: inner.update(fmspc=EVIL)),
        _edit("tcb_info", lambda inner: inner.update(issueDate=EVIL)),
        _edit("tcb_info", lambda inner: inner.update({EVIL: 1})),
        _edit("tcb_info", lambda inner: inner.update(tcbEvaluationDataNumber=10**300)),
        _edit("tcb_info", lambda inner: inner.update(nextUpdate="9999-12-31T23:59:59Z")),
        _edit("tcb_info", lambda inner: inner.update(issueDate="0001-01-01T00:00:00Z")),
        _edit("tcb_info", lambda inner: inner["tdxModuleIdentities"][0].update(id=EVIL)),
        _edit("qe_identity", lambda inner: inner.update(id=EVIL)),
        {"pck_extension": EVIL.encode()},
        {"chain": EVIL.encode() * 50},
        {"auth_data": EVIL.encode() * 50},
    ],
)
def test_of_intels_evidence(intel: IntelWorld, changes: dict[str, Any]) -> None:
    assert_harmless(told(lambda: authenticate_tdx(intel.issue(**changes))[0]))


def test_of_an_authoritys_name(intel: IntelWorld) -> None:
    odd = certify("forged", EVIL, intel.root, path_length=0)
    for revoked in (frozenset[str](), frozenset({"ca"})):
        assert_harmless(told(lambda r=revoked: authenticate_tdx(intel.issue(issuer=odd, revoked=r))[0]))


def test_of_amds_evidence(genoa: World) -> None:
    named = genoa.vcek(name=EVIL), genoa.vlek(csp_id="CN=\x1b[31m<script>"), genoa.vlek(csp_id="A" * 200)
    assert_harmless(told(lambda: genoa.issue(named[0]).authenticate()[0]))
    for vek in named[1:]:
        assert_harmless(told(lambda v=vek: genoa.issue_vlek(v).authenticate()[0]))
    odd = genoa.intermediate(name=EVIL)
    revoking = genoa.crl(odd.certificate)
    signed = genoa.issue(genoa.vcek(issuer_name=EVIL), issuer=odd, crls=[revoking])
    assert_harmless(told(lambda: signed.authenticate()[0]))


@pytest.mark.parametrize(
    "changes",
    [
        {"vm_unique_id": EVIL},
        {"runtime_edit": lambda runtime: runtime["keys"].append({"kid": EVIL, "kty": EVIL})},
        {"runtime_edit": lambda runtime: runtime["vm-configuration"].update({EVIL: EVIL})},
        {"runtime_edit": lambda runtime: runtime.update({"keys": EVIL})},
        {"runtime_edit": lambda runtime: runtime.update({"user-data": EVIL})},
        {"extra_data": EVIL.encode() * 1000},
    ],
)
def test_of_azures_evidence(genoa: World, intel: IntelWorld, tpm: TpmWorld, changes: dict[str, Any]) -> None:
    for forge, world in ((azure_snp, genoa), (azure_tdx, intel)):
        signed = forge(world, tpm, **changes)  # type: ignore[operator]
        assert_harmless(told(lambda s=signed: authenticate_azure(s)[0]))


@pytest.mark.parametrize(
    "changes",
    [
        {"claims": {"iss": EVIL}},
        {"claims": {"iss": "x" * 5000}},
        {"claims": {"exp": 2**53 - 1}},
        {"header": {"kid": EVIL}},
        {"header": {"alg": EVIL}},
        {"hardware": {"x-ms-runtime": {"keys": EVIL}}},
        {"hardware": {"x-ms-sevsnpvm-launchmeasurement": EVIL}},
        {"hardware": {"x-ms-attestation-type": EVIL * 1000}},
    ],
)
def test_of_a_second_opinion(genoa: World, tpm: TpmWorld, maa: MaaWorld, changes: dict[str, Any]) -> None:
    signed = azure_snp(genoa, tpm)
    _, claims, _ = authenticate_azure(signed)
    assert claims is not None
    token = maa.token(signed, **changes)
    assert_harmless(told(lambda: check_maa(token, maa.keys, claims, maa.issuers, now=NOW)))


@pytest.mark.parametrize("kind", [0x08000001, 0x0A, 0xFFFFFFFF])
def test_of_an_event_log(kind: int) -> None:
    event = {"imr": 0, "event_type": kind, "digest": "00" * 48, "event": EVIL, "event_payload": "1b5b33"}
    log = json.dumps([event] * 100).encode()
    assert_harmless(told(lambda: check_event_logs(EVIL.encode() * 9, log, [bytes(48)] * 4)[0]))
