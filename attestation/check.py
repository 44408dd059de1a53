"""One rule and what came of it: the value that exceptions, the command line and reports all render."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Outcome of one check. `NOTED` shows something to the reader and decides nothing."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNDECIDED = "undecided"
    INSECURE = "insecure"
    NOTED = "noted"


DECIDES_NOTHING_BAD = frozenset({Outcome.PASS, Outcome.INSECURE, Outcome.NOTED})


class Stage(StrEnum):
    """Which step of verification a check belongs to; decides which error a failure raises."""

    PARSE = "parse"
    AUTHENTICATE = "authenticate"
    BIND = "bind"
    APPRAISE = "appraise"


@dataclass(frozen=True, slots=True)
class Check:
    """One rule: what it wanted, what it saw, and where the rule comes from (spec and section)."""

    id: str
    stage: Stage
    outcome: Outcome
    expected: str
    found: str
    reference: str
