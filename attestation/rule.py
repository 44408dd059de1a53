"""One rule that evidence has to obey, and how it becomes a check: the same on every platform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from attestation.check import Check, Outcome, Stage
from attestation.errors import CannotDecide, MalformedEvidence

C = TypeVar("C")
Finding = tuple[Outcome, str]


@dataclass(frozen=True, slots=True)
class Rule(Generic[C]):
    """One thing that must hold. `judge` may raise CannotDecide (a thing is missing) or MalformedEvidence.

    `reference` is specification and section.
    """

    id: str
    expected: str
    reference: str
    judge: Callable[[C], Finding]


def evaluate(rule: Rule[C], case: C, stage: Stage = Stage.AUTHENTICATE) -> Check:
    """Turn one rule into a check, whatever happens."""
    try:
        outcome, found = rule.judge(case)
    except CannotDecide as reason:
        outcome, found = Outcome.UNDECIDED, str(reason)
    except MalformedEvidence as reason:
        outcome, found = Outcome.FAIL, str(reason)
    return Check(rule.id, stage, outcome, rule.expected, found, rule.reference)


def holds(condition: bool, found: str) -> Finding:
    """Pass or fail, with what was found."""
    return (Outcome.PASS if condition else Outcome.FAIL), found


def no_problem(problem: str | None, otherwise: str) -> Finding:
    """Fail with the problem, or pass with `otherwise`."""
    return holds(problem is None, problem or otherwise)


def first_problem(problems: Sequence[tuple[str, str | None]], otherwise: str) -> Finding:
    """Fail with every problem named by whose it is, or pass with `otherwise`."""
    found = "; ".join(f"{whose}: {problem}" for whose, problem in problems if problem)
    return holds(not found, found or otherwise)
