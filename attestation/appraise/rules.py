"""What every appraisal is made of: one rule, one check, with what was expected and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from attestation.check import Check, Outcome, Stage
from attestation.policy.model import ReferenceSet

SETS_SHOWN, VALUES_SHOWN = 4, 32
EVIDENCE = "docs/spec/policy.md#evidence"


def rule(check_id: str, holds: bool, expected: str, found: str, reference: str) -> Check:
    """A check that passes or fails."""
    return judged(check_id, Outcome.PASS if holds else Outcome.FAIL, expected, found, reference)


def judged(check_id: str, outcome: Outcome, expected: str, found: str, reference: str) -> Check:
    """A check with another outcome than pass or fail."""
    return Check(check_id, Stage.APPRAISE, outcome, expected, found, reference)


def member_or_zeros(check_id: str, found: bytes, allowed: frozenset[bytes], reference: str) -> Check:
    """The value has to be listed; if nothing is listed it has to be absent, which is all zeros."""
    holds = found in allowed if allowed else not any(found)
    expected = hexes(allowed) if allowed else "zeros"
    return rule(check_id, holds, expected, found.hex() if any(found) else "zeros", reference)


def recent(check_id: str, issued: datetime, limit: int, now: datetime) -> Check:
    """A publication that is at most `limit` seconds old, however long its own dates let it live.

    Who sends evidence chooses among all publications in force, and so can hold back news for that long.
    """
    seconds = int((now - issued).total_seconds())
    found = f"{seconds} s ago, {issued.isoformat()}"
    return rule(check_id, seconds <= limit, f"issued at most {limit} s ago", found, EVIDENCE)


def member_or_any(check_id: str, found: bytes, allowed: frozenset[bytes] | None, reference: str) -> Check:
    """The value has to be listed, if there is a list."""
    return rule(check_id, allowed is None or found in allowed, hexes(allowed), found.hex(), reference)


def switch(check_id: str, on: bool, accepted: Iterable[bool], reference: str) -> Check:
    """A bit that has to have one of the accepted positions."""
    wanted = frozenset(accepted)
    expected = "any" if len(wanted) == 2 else listed(on_off(position) for position in wanted)
    return rule(check_id, on in wanted, expected, on_off(on), reference)


def reference_set(
    check_id: str,
    sets: Sequence[ReferenceSet],
    measured: Mapping[str, bytes],
    unjudged: frozenset[str],
    reference: str,
) -> Check:
    """All registers of one set have to match together; one that the set does not state has to be zeros.

    A refusal names the set that comes closest, and the registers in which it differs.
    """
    values = {name: value for name, value in measured.items() if name not in unjudged}
    ranked = sorted(sets, key=lambda one: len(_differing(one, values)))
    differing = _differing(ranked[0], values) if ranked else []
    matches = bool(ranked) and not differing
    closest = f"{ranked[0].name} differs in {', '.join(differing)}" if ranked else "no set is named"
    verdict = f"as in {ranked[0].name}" if matches else closest
    ignored = f"; not judged: {listed(unjudged)}" if unjudged else ""
    return rule(
        check_id, matches, _described(ranked) + ignored, f"{verdict}: {_registers(values)}", reference
    )


def all_judged(check_id: str, unjudged: frozenset[str], reference: str) -> Check:
    """What a policy does not look at may have measured anything: that is noted, and never passes."""
    outcome = Outcome.NOTED if unjudged else Outcome.PASS
    found = f"not judged: {listed(unjudged)}" if unjudged else "every register judged"
    return judged(check_id, outcome, "every register judged", found, reference)


def _differing(candidate: ReferenceSet, values: Mapping[str, bytes]) -> list[str]:
    wanted = candidate.values
    return [name for name, value in values.items() if value != wanted.get(name, bytes(len(value)))]


def _described(sets: Sequence[ReferenceSet]) -> str:
    shown = [f"{one.name} ({_registers(one.values)}, others zero)" for one in sets[:SETS_SHOWN]]
    return "; ".join([*shown, *_more(len(sets), SETS_SHOWN)]) or "none named"


def _registers(values: Mapping[str, bytes]) -> str:
    return ", ".join(f"{name} {value.hex()}" for name, value in values.items())


def _more(count: int, shown: int) -> list[str]:
    return [f"{count - shown} more"] if count > shown else []


def on_off(value: bool) -> str:
    """A bit in words."""
    return "on" if value else "off"


def listed(values: Iterable[str] | None) -> str:
    """A list in words, cut where nobody reads on; None means that anything is accepted."""
    if values is None:
        return "any"
    names = sorted(values)
    return ", ".join([*names[:VALUES_SHOWN], *_more(len(names), VALUES_SHOWN)]) or "none named"


def hexes(values: Iterable[bytes] | None) -> str:
    """Byte strings in words."""
    return listed(None if values is None else (value.hex() for value in values))
