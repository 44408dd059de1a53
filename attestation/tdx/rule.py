"""One rule of those that make a TDX quote authentic, and how it becomes a check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attestation.check import Check, Outcome, Stage
from attestation.errors import CannotDecide, MalformedEvidence
from attestation.tdx.chain import Case

Finding = tuple[Outcome, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that must hold. `judge` may raise CannotDecide (a thing is missing) or MalformedEvidence."""

    id: str
    expected: str
    reference: str
    judge: Callable[[Case], Finding]


def evaluate(rule: Rule, case: Case) -> Check:
    """Turn one rule into a check, whatever happens."""
    try:
        outcome, found = rule.judge(case)
    except CannotDecide as reason:
        outcome, found = Outcome.UNDECIDED, str(reason)
    except MalformedEvidence as reason:
        outcome, found = Outcome.FAIL, str(reason)
    return Check(rule.id, Stage.AUTHENTICATE, outcome, rule.expected, found, rule.reference)


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
