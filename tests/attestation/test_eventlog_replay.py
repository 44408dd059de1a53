"""Replaying logs: real ones lead to the registers that hardware signed, and no changed one does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attestation.check import Check, Stage
from attestation.eventlog.replay import EventLog, check_event_logs, replay
from attestation.model import Facts
from tests.attestation.logs import (
    ACTION,
    APPLICATION,
    DRIVER_CONFIG,
    SEPARATOR,
    ZERO,
    Record,
    ccel,
    dstack,
    member,
    rtmrs,
    runtime,
    sha384,
    variable,
)

IDS = ["eventlog.parse", "eventlog.digests", "eventlog.replay"]
CCEL_CASE = "tdx-v4-gcp-cos113-ccel"
DSTACK_CASES = ["tdx-v4-dstack-eventlog", "tdx-v4-dstack-example-2024"]
RECORDS = [
    Record(0, DRIVER_CONFIG, variable("SecureBoot", b"\x01")),
    Record(1, APPLICATION, b"path", sha384(b"image")),
    Record(2, SEPARATOR, bytes(4)),
    runtime("app-id", b"\x37\x63"),
    runtime("compose-hash", b"\x01" * 32),
]
FIRMWARE = [record for record in RECORDS if record.rtmr < 3]

Result = tuple[list[Check], EventLog | None, Facts]


def outcomes(result: Result) -> dict[str, str]:
    """Outcome by check that does not pass; the log is there exactly if all pass."""
    checks, log, _ = result
    assert [check.id for check in checks] == IDS
    assert {check.stage for check in checks} == {Stage.BIND}
    against = {check.id: check.outcome.value for check in checks if check.outcome != "pass"}
    assert (log is None) is bool(against)
    return against


def case(evidence_dir: Path, name: str) -> tuple[dict[str, Any], list[bytes]]:
    """What others found in a real log, and the registers of the quote beside it."""
    cases = json.loads((evidence_dir / "MANIFEST.json").read_text())["cases"]
    found = next(entry for entry in cases if entry["id"] == name)
    return found["event_log"], [bytes.fromhex(value) for value in found["expected"]["facts"]["rtmrs"]]


def test_a_real_ccel_leads_to_the_registers_of_its_quote(evidence_dir: Path) -> None:
    expected, registers = case(evidence_dir, CCEL_CASE)
    raw = (evidence_dir / CCEL_CASE / "ccel_data.bin").read_bytes()
    result = check_event_logs(raw, None, registers)
    assert outcomes(result) == {}
    facts = result[2]["event_log"]
    assert isinstance(facts, dict)
    assert {name: facts[name] for name in expected} == expected
    assert facts["recomputed"] == 31


@pytest.mark.parametrize("name", DSTACK_CASES)
def test_a_real_dstack_log_leads_to_the_registers_of_its_quote(evidence_dir: Path, name: str) -> None:
    expected, registers = case(evidence_dir, name)
    raw = (evidence_dir / name / "event_log.json").read_bytes()
    result = check_event_logs(None, raw, registers)
    assert outcomes(result) == {}
    facts = result[2]["event_log"]
    assert isinstance(facts, dict)
    assert {member_: facts[member_] for member_ in expected} == expected
    assert facts["recomputed"] == 20


@pytest.mark.parametrize("name", DSTACK_CASES)
def test_a_real_log_without_its_runtime_digests_leads_there_too(evidence_dir: Path, name: str) -> None:
    """What dstack calls the lite log: digests of RTMR3 are left out."""
    _, registers = case(evidence_dir, name)
    events = json.loads((evidence_dir / name / "event_log.json").read_text())
    lite = [event | {"digest": ""} if event["imr"] == 3 else event for event in events]
    assert outcomes(check_event_logs(None, json.dumps(lite).encode(), registers)) == {}
    lite[-1]["event_payload"] = "00"
    against = outcomes(check_event_logs(None, json.dumps(lite).encode(), registers))
    assert against == {"eventlog.replay": "fail"}


@pytest.mark.parametrize("name", DSTACK_CASES)
def test_every_real_event_counts(evidence_dir: Path, name: str) -> None:
    """Left out, doubled, moved to another register, or with its payload changed."""
    _, registers = case(evidence_dir, name)
    events = json.loads((evidence_dir / name / "event_log.json").read_text())

    def against(changed: list[dict[str, Any]]) -> dict[str, str]:
        return outcomes(check_event_logs(None, json.dumps(changed).encode(), registers))

    for n, event in enumerate(events):
        before, after = events[:n], events[n + 1 :]
        assert against([*before, *after])["eventlog.replay"] == "fail"
        assert against([*before, event, event, *after])["eventlog.replay"] == "fail"
        assert (
            against([*before, event | {"imr": (event["imr"] + 1) % 4}, *after])["eventlog.replay"] == "fail"
        )
        changed = event | {"digest": "00" * 48}
        assert against([*before, changed, *after])["eventlog.replay"] == "fail"


def test_every_changed_byte_of_a_real_payload_that_is_measured_is_found(evidence_dir: Path) -> None:
    _, registers = case(evidence_dir, CCEL_CASE)
    raw = (evidence_dir / CCEL_CASE / "ccel_data.bin").read_bytes()
    used = 18_101
    _, log, _ = check_event_logs(raw, None, registers)
    assert log is not None
    for event in log.events:
        if not event.measured:
            continue
        place = raw.index(event.payload, 0, used) + len(event.payload) - 2
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        assert check_event_logs(changed, None, registers)[1] is None


def test_one_changed_byte_anywhere_in_a_real_ccel_is_refused_or_says_so(evidence_dir: Path) -> None:
    """Bytes that no digest covers may change: they never belong to what an event proves."""
    _, registers = case(evidence_dir, CCEL_CASE)
    raw = (evidence_dir / CCEL_CASE / "ccel_data.bin").read_bytes()
    _, log, _ = check_event_logs(raw, None, registers)
    assert log is not None
    proven = [(event.register, event.measured) for event in log.events if event.recomputed]
    silent = 0
    for place in range(0, 18_101, 23):
        changed = raw[:place] + bytes([raw[place] ^ 0x10]) + raw[place + 1 :]
        _, other, _ = check_event_logs(changed, None, registers)
        if other is None:
            continue
        silent += 1
        assert [event.digest for event in other.events] == [event.digest for event in log.events]
        assert {(e.register, e.measured) for e in other.events if e.recomputed} <= set(proven)
    assert silent < 150


def test_a_forged_log_of_each_kind_passes() -> None:
    assert outcomes(check_event_logs(ccel(FIRMWARE), None, rtmrs(FIRMWARE))) == {}
    assert outcomes(check_event_logs(None, dstack(RECORDS), rtmrs(RECORDS))) == {}


def test_without_a_log_every_check_is_noted() -> None:
    result = check_event_logs(None, None, [ZERO] * 4)
    assert outcomes(result) == dict.fromkeys(IDS, "noted")
    assert result[2] == {}


def test_extending_starts_at_zeros_and_passes_over_what_extends_nothing() -> None:
    result = check_event_logs(ccel([Record(1, 3, b"", ZERO), Record(1, 0x7777, b"", ZERO)]), None, [ZERO] * 4)
    _, _, facts = result
    log = facts["event_log"]
    assert isinstance(log, dict)
    assert log["replay"]["rtmr1"] == sha384(ZERO + ZERO).hex()  # type: ignore[index,call-overload]
    assert log["replay_matches_quote"] == [True, False, True, True]
    assert replay([]) == (ZERO,) * 4


def test_refuses_a_payload_that_is_not_what_its_digest_says() -> None:
    lying = [replace(RECORDS[0], payload=variable("SecureBoot", b"\0"), digest=RECORDS[0].measured)]
    checks, log, _ = check_event_logs(ccel(lying), None, rtmrs(lying))
    assert log is None
    failed = [check for check in checks if check.outcome == "fail"]
    assert [check.id for check in failed] == ["eventlog.digests"]
    assert failed[0].found == "1 is not; the first is event 0, EV_EFI_VARIABLE_DRIVER_CONFIG"
    twice, _, _ = check_event_logs(ccel(lying * 2), None, rtmrs(lying * 2))
    assert "2 are not; the first is event 0, " in twice[1].found


def test_the_order_of_events_within_a_register_counts() -> None:
    turned = [*RECORDS[:3], RECORDS[4], RECORDS[3]]
    assert outcomes(check_event_logs(None, dstack(turned), rtmrs(RECORDS))) == {"eventlog.replay": "fail"}


@pytest.mark.parametrize("missing", range(len(RECORDS)))
def test_a_log_with_one_event_missing_never_passes(missing: int) -> None:
    less = [record for n, record in enumerate(RECORDS) if n != missing]
    against = outcomes(check_event_logs(None, dstack(less), rtmrs(RECORDS)))
    assert set(against) == {"eventlog.replay"}


def test_a_register_that_was_extended_but_is_in_no_log_leaves_it_undecided() -> None:
    registers = rtmrs(RECORDS)
    against = outcomes(check_event_logs(ccel(FIRMWARE), None, registers))
    assert against == {"eventlog.replay": "undecided"}


def test_a_log_that_extends_no_register_is_not_that_of_a_machine_that_extended_some() -> None:
    """Alone, or beside a real one, whose place it would take."""
    registers = rtmrs(RECORDS)
    idle = dstack([Record(3, 3, b"compose-hash = the good one")])
    for logs in ((None, b"[]"), (None, idle), (ccel([Record(0, 3, b"")]), dstack(RECORDS))):
        checks, log, _ = check_event_logs(*logs, registers)
        assert log is None
        (refused,) = [check for check in checks if check.outcome == "fail"]
        assert refused.id == "eventlog.replay"
        assert refused.found.endswith("a log that extends no register")
    assert outcomes(check_event_logs(None, b"[]", [ZERO] * 4)) == {}
    assert outcomes(check_event_logs(None, idle, [ZERO] * 4)) == {}


def test_an_idle_log_beside_a_real_one_is_refused_and_shown_apart(evidence_dir: Path) -> None:
    _, registers = case(evidence_dir, CCEL_CASE)
    raw = (evidence_dir / CCEL_CASE / "ccel_data.bin").read_bytes()
    idle = dstack([Record(3, 3, b"compose-hash 1234 audited")])
    result = check_event_logs(raw, idle, registers)
    assert outcomes(result) == {"eventlog.replay": "fail"}
    _, _, facts = result
    assert facts.keys() == {"event_log", "event_log_dstack"}
    assert facts["event_log"]["events"] == 43  # type: ignore[index,call-overload]


def test_the_log_that_covers_more_registers_stands_for_both() -> None:
    own = [*RECORDS[3:], runtime("instance-id", b"\x02"), runtime("system-ready", b"")]
    result = check_event_logs(ccel(FIRMWARE), dstack(own), rtmrs([*FIRMWARE, *own]))
    assert outcomes(result) == {}
    _, log, facts = result
    assert log is not None
    assert (log.format, log.registers) == ("TCG CCEL", {0, 1, 2})
    assert facts["event_log"]["format"] == "TCG CCEL"  # type: ignore[index,call-overload]
    assert facts["event_log_dstack"]["format"] == "dstack JSON"  # type: ignore[index,call-overload]


def test_of_two_logs_that_cover_as_much_dstacks_stands_for_both() -> None:
    """It says more: its runtime events have names."""
    result = check_event_logs(ccel(FIRMWARE), dstack(FIRMWARE), rtmrs(FIRMWARE))
    assert outcomes(result) == {}
    _, log, facts = result
    assert log is not None
    assert log.format == "dstack JSON"
    assert facts["event_log"]["format"] == "dstack JSON"  # type: ignore[index,call-overload]
    assert facts["event_log_ccel"]["format"] == "TCG CCEL"  # type: ignore[index,call-overload]


def test_two_logs_have_to_lead_to_the_same_registers() -> None:
    other = [Record(0, ACTION, b"another boot")]
    against = outcomes(check_event_logs(ccel(other), dstack(RECORDS), rtmrs(RECORDS)))
    assert against == {"eventlog.replay": "fail"}


def test_an_unreadable_log_fails_and_the_other_one_is_still_judged() -> None:
    unread = {"eventlog.digests": "undecided", "eventlog.replay": "undecided"}
    assert outcomes(check_event_logs(b"", None, [ZERO] * 4)) == {"eventlog.parse": "fail", **unread}
    assert outcomes(check_event_logs(None, b"", [ZERO] * 4)) == {"eventlog.parse": "fail", **unread}
    both = check_event_logs(b"", dstack(RECORDS), rtmrs(RECORDS))
    assert outcomes(both) == {"eventlog.parse": "fail"}
    assert set(both[2]) == {"event_log"}


def test_each_event_is_shown_with_whether_its_payload_is_proven() -> None:
    records = [*RECORDS, runtime("with:colon", b"")]
    _, _, facts = check_event_logs(None, dstack(records), rtmrs(records))
    log = facts["event_log"]
    assert isinstance(log, dict)
    entries = log["entries"]
    assert isinstance(entries, list)
    assert [entry["recomputed"] for entry in entries] == [True, False, True, True, True, False]
    assert entries[3] == {
        "register": 3,
        "stated_type": "dstack runtime event",
        "label": "app-id",
        "digest": RECORDS[3].measured.hex(),
        "recomputed": True,
    }


def test_events_that_extend_nothing_are_counted_and_not_shown() -> None:
    """Anybody may add them: no register tells that they are there."""
    records = [*RECORDS, Record(3, 3, b"compose-hash = the good one")]
    checks, _, facts = check_event_logs(None, dstack(records), rtmrs(RECORDS))
    assert {check.outcome.value for check in checks} == {"pass"}
    log = facts["event_log"]
    assert isinstance(log, dict)
    entries = log["entries"]
    assert isinstance(entries, list)
    assert (log["events"], len(entries)) == (len(RECORDS) + 1, len(RECORDS))


def test_a_log_that_says_it_differently_but_extends_the_same_still_has_to_explain_itself() -> None:
    """The right digests with another event's payload: a replay alone would pass."""
    swapped = [member(RECORDS[3]), member(RECORDS[4], event="app-id", event_payload="00")]
    registers = rtmrs(RECORDS[3:])
    against = outcomes(check_event_logs(None, json.dumps(swapped).encode(), registers))
    assert against == {"eventlog.digests": "fail"}
