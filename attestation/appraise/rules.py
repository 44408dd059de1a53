"""What every appraisal is made of: one rule, one check, with what was expected and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attestation.check import Check, Outcome, Stage
from attestation.policy import ReferenceSet


def rule(check_id: str, holds: bool, expected: str, found: str, reference: str) -> Check:
    """A check that passes or fails."""
    return judged(check_id, Outcome.PASS if holds else Outcome.FAIL, expected, found, reference)


def judged(check_id: str, outcome: Outcome, expected: str, found: str, reference: str) -> Check:
    """A check with another outcome than pass or fail."""
    return Check(check_id, Stage.APPRAISE, outcome, expected, found, reference)


def member(check_id: str, found: bytes, allowed: Iterable[bytes], reference: str) -> Check:
    """The value has to be listed."""
    listed = frozenset(allowed)
    return rule(check_id, found in listed, hexes(listed), found.hex(), reference)


def member_or_zeros(check_id: str, found: bytes, allowed: frozenset[bytes], reference: str) -> Check:
    """The value has to be listed; if nothing is listed it has to be absent, which is all zeros."""
    return member(check_id, found, allowed or {bytes(len(found))}, reference)


def switch(check_id: str, on: bool, accepted: Iterable[bool], reference: str) -> Check:
    """A bit that has to have one of the accepted positions."""
    wanted = frozenset(accepted)
    expected = "any" if len(wanted) == 2 else listed(on_off(position) for position in wanted)
    return rule(check_id, on in wanted, expected, on_off(on), reference)


def matching_set(
    sets: Iterable[ReferenceSet], measured: Mapping[str, bytes], unjudged: frozenset[str] = frozenset()
) -> ReferenceSet | None:
    """The first set of which every register matches; a register that a set does not state has to be zeros."""
    judged_here = {name: value for name, value in measured.items() if name not in unjudged}
    for candidate in sets:
        wanted = candidate.values
        if all(value == wanted.get(name, bytes(len(value))) for name, value in judged_here.items()):
            return candidate
    return None


def on_off(value: bool) -> str:
    """A bit in words."""
    return "on" if value else "off"


def listed(values: Iterable[str] | None) -> str:
    """A list in words; None means that anything is accepted."""
    return "any" if values is None else ", ".join(sorted(values)) or "none named"


def hexes(values: Iterable[bytes] | None) -> str:
    """Byte strings in words."""
    return listed(None if values is None else (value.hex() for value in values))
