"""Does an event log lead to the RTMRs that hardware signed? Three checks, and the log if all of them hold.

Replaying starts at zeros and extends each digest into its register: RTMR = SHA-384(RTMR || digest) (Intel TDX
module ABI, TDG.MR.RTMR.EXTEND). The log may come from anybody; hardware vouches for the result alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from attestation.check import DECIDES_NOTHING_BAD, Check, Outcome, Stage
from attestation.errors import MalformedEvidence
from attestation.eventlog.ccel import parse_ccel
from attestation.eventlog.dstack import parse_dstack_log
from attestation.eventlog.events import DIGEST_SIZE, REGISTERS, Event, label, sha384
from attestation.model import Fact, Facts

_ZERO = bytes(DIGEST_SIZE)
_OTHER_NAMES = {"TCG CCEL": "event_log_ccel", "dstack JSON": "event_log_dstack"}
_SPEC = "docs/spec/eventlog.md"
_EXPECTED = {
    "eventlog.parse": "an event log, if there is one, can be read",
    "eventlog.digests": "each digest that can be recomputed from its payload is the one logged",
    "eventlog.replay": "the events lead to the RTMRs that hardware signed",
}

Finding = tuple[Outcome, str]


@dataclass(frozen=True, slots=True)
class EventLog:
    """Events in the order of their log, and the four RTMRs (48 bytes each) that replaying them gives.

    Of an event only its digest is proven by that, and `Event.measured` where `Event.recomputed` says so.
    """

    format: Literal["TCG CCEL", "dstack JSON"]
    events: tuple[Event, ...]
    replay: tuple[bytes, ...]
    used_bytes: int

    @property
    def registers(self) -> frozenset[int]:
        """The RTMRs that at least one event extends: about the others the log says nothing."""
        return frozenset(event.register for event in self.events if event.register is not None)


def replay(events: Sequence[Event]) -> tuple[bytes, ...]:
    """Four RTMRs from zeros. Events that extend nothing are passed over."""
    registers = [_ZERO] * REGISTERS
    for event in events:
        if event.register is not None:
            registers[event.register] = sha384(registers[event.register] + event.digest)
    return tuple(registers)


def check_event_logs(
    ccel: bytes | None, dstack_log: bytes | None, rtmrs: Sequence[bytes]
) -> tuple[list[Check], EventLog | None, Facts]:
    """Compare the logs that there are with the four RTMRs of an authentic quote.

    Without a log every check is noted, and decides nothing. With both, each has to lead to the same RTMRs,
    and the one that covers more of them is returned; of equals dstack's, which says more. An RTMR that is not
    zero and that no log speaks about leaves the replay undecided. The log is returned only if nothing
    objects; facts whatever the outcome.
    """
    logs, unreadable = _read(ccel, dstack_log)
    if not logs and not unreadable:
        return [_check(name, (Outcome.NOTED, "no event log was supplied")) for name in _EXPECTED], None, {}
    checks = [
        _check("eventlog.parse", _parsed(logs, unreadable)),
        _check("eventlog.digests", _digests(logs)),
        _check("eventlog.replay", _replayed(logs, rtmrs)),
    ]
    holds = all(check.outcome in DECIDES_NOTHING_BAD for check in checks)
    fullest = max(reversed(logs), key=lambda log: len(log.registers), default=None)
    facts = {_fact_name(log, fullest): _facts(log, rtmrs) for log in logs}
    return checks, fullest if holds else None, facts


def _check(name: str, finding: Finding) -> Check:
    outcome, found = finding
    return Check(name, Stage.BIND, outcome, _EXPECTED[name], found, f"{_SPEC}#checks")


def _read(ccel: bytes | None, dstack_log: bytes | None) -> tuple[list[EventLog], list[str]]:
    """The logs that can be read, dstack's last, and what is wrong with the others."""
    logs, unreadable = [], []
    try:
        if ccel is not None:
            events, used = parse_ccel(ccel)
            logs.append(EventLog("TCG CCEL", events, replay(events), used))
    except MalformedEvidence as error:
        unreadable.append(f"CCEL: {error}")
    try:
        if dstack_log is not None:
            events = parse_dstack_log(dstack_log)
            logs.append(EventLog("dstack JSON", events, replay(events), len(dstack_log)))
    except MalformedEvidence as error:
        unreadable.append(f"dstack: {error}")
    return logs, unreadable


def _parsed(logs: list[EventLog], unreadable: list[str]) -> Finding:
    if unreadable:
        return Outcome.FAIL, "; ".join(unreadable)
    return Outcome.PASS, "; ".join(f"{log.format}, {len(log.events)} events" for log in logs)


def _digests(logs: list[EventLog]) -> Finding:
    if not logs:
        return Outcome.UNDECIDED, "no log could be read"
    events = [event for log in logs for event in log.events]
    wrong = [event for event in events if event.contradicts_itself]
    if wrong:
        first, are = events.index(wrong[0]), "is" if len(wrong) == 1 else "are"
        return Outcome.FAIL, f"{len(wrong)} {are} not; the first is event {first}, {wrong[0].type_name}"
    return Outcome.PASS, f"{sum(event.recomputed for event in events)} of {len(events)} were recomputed"


def _replayed(logs: list[EventLog], rtmrs: Sequence[bytes]) -> Finding:
    if not logs:
        return Outcome.UNDECIDED, "no log could be read"
    differing = sorted({n for log in logs for n in log.registers if log.replay[n] != rtmrs[n]})
    if differing:
        return Outcome.FAIL, f"{_names(differing)}: the signed value is another"
    if any(rtmr != _ZERO for rtmr in rtmrs) and not all(log.registers for log in logs):
        idle = " and ".join(log.format for log in logs if not log.registers)
        return Outcome.FAIL, f"RTMRs are not zero, and {idle} is a log that extends no register"
    told = frozenset[int]().union(*(log.registers for log in logs))
    silent = [n for n in range(REGISTERS) if n not in told and rtmrs[n] != _ZERO]
    if silent:
        return Outcome.UNDECIDED, f"{_names(silent)} was extended, but no event tells with what"
    return Outcome.PASS, f"{_names(sorted(told)) or 'no register'} as signed, any other zero"


def _names(registers: Sequence[int]) -> str:
    return ", ".join(f"RTMR{n}" for n in registers)


def _fact_name(log: EventLog, fullest: EventLog | None) -> str:
    """The fullest log stands for both; the other one is named by its kind."""
    return "event_log" if log is fullest else _OTHER_NAMES[log.format]


def _facts(log: EventLog, rtmrs: Sequence[bytes]) -> Fact:
    return {
        "format": log.format,
        "events": len(log.events),
        "used_bytes": log.used_bytes,
        "recomputed": sum(event.recomputed for event in log.events),
        "replay": {f"rtmr{n}": value.hex() for n, value in enumerate(log.replay)},
        "replay_matches_quote": [log.replay[n] == rtmrs[n] for n in range(REGISTERS)],
        "entries": [_entry(event) for event in log.events if event.register is not None],
    }


def _entry(event: Event) -> Fact:
    """No digest covers an event's type: it is what the log states."""
    return {
        "register": event.register,
        "stated_type": event.type_name,
        "label": label(event),
        "digest": event.digest.hex(),
        "recomputed": event.recomputed,
    }
