"""One list of checks, rendered for a terminal or for a program. A development root never reads as a pass.

Plain text without colour: the same bytes go to a terminal, a file and a ticket. Texts that came out of
evidence are made printable first, so that no document can write control sequences to a terminal.
"""

from __future__ import annotations

import json

from attestation.check import Check, Outcome
from attestation.model import Appraisal, Verdict

FORMAT = "casemate/appraisal/1"

EXIT_CODES: dict[Verdict, int] = {
    Verdict.ACCEPTED: 0,
    Verdict.REFUSED: 1,
    Verdict.UNDECIDED: 2,
    Verdict.ACCEPTED_INSECURE: 3,
}

_HEADLINES: dict[Verdict, str] = {
    Verdict.ACCEPTED: "ACCEPTED: genuine hardware runs what the policy names",
    Verdict.REFUSED: "REFUSED: do not send data to this endpoint",
    Verdict.UNDECIDED: "UNDECIDED: something needed for a decision is missing; treat it as refused",
    Verdict.ACCEPTED_INSECURE: "ACCEPTED-INSECURE: a simulation for development. NOTHING IS PROTECTED",
}
_MARKS: dict[Outcome, str] = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "FAIL",
    Outcome.UNDECIDED: "UNDECIDED",
    Outcome.INSECURE: "INSECURE",
}
_BANNER = "!" * 78

LIMITS = (
    "a commercial provider still sees the prompt",
    "attestation proves a genuine CPU of a type, not where it stands",
    "physical bus interposers and undisclosed CPU flaws are outside what evidence can show",
    "Python cannot erase every copy of a text from memory",
)


def exit_code(verdict: Verdict) -> int:
    """0 accepted, 1 refused, 2 could not decide, 3 accepted as insecure development only."""
    return EXIT_CODES[verdict]


def render_text(appraisal: Appraisal) -> str:
    """Render for people: verdict first, then every check, the facts, and what none of it proves."""
    return "\n".join(
        [*_headline(appraisal.verdict), "", *_checks(appraisal), *_facts(appraisal), *_limits(), ""]
    )


def render_json(appraisal: Appraisal) -> str:
    """Render for programs; `docs/spec/policy.md` lists the members."""
    value = {
        "format": FORMAT,
        "verdict": appraisal.verdict.value,
        "insecure": appraisal.verdict is Verdict.ACCEPTED_INSECURE,
        "checks": [_as_object(check) for check in appraisal.checks],
        "facts": appraisal.facts,
        "not_proven": list(LIMITS),
    }
    return json.dumps(value, indent=2, ensure_ascii=True) + "\n"


def printable(text: str, limit: int = 160) -> str:
    """Return `text` without control or non-ASCII characters, cut to `limit` characters."""
    safe = "".join(char if " " <= char <= "~" else "?" for char in text)
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def _headline(verdict: Verdict) -> list[str]:
    line = _HEADLINES[verdict]
    return [_BANNER, line, _BANNER] if verdict is Verdict.ACCEPTED_INSECURE else [line]


def _checks(appraisal: Appraisal) -> list[str]:
    lines: list[str] = []
    for check in appraisal.checks:
        lines.append(f"  {_MARKS[check.outcome]:<9}  {check.id:<28} {printable(check.found)}")
        if check.outcome is not Outcome.PASS:
            lines.append(f"{'':13}expected: {printable(check.expected)}")
            lines.append(f"{'':13}see: {printable(check.reference)}")
    return lines


def _facts(appraisal: Appraisal) -> list[str]:
    if not appraisal.facts:
        return []
    return [
        "",
        "Established:",
        *(f"  {name:<18} {printable(text)}" for name, text in appraisal.facts.items()),
    ]


def _limits() -> list[str]:
    return ["", "Not proven by any of this:", *(f"  - {limit}" for limit in LIMITS)]


def _as_object(check: Check) -> dict[str, str]:
    return {
        "id": check.id,
        "stage": check.stage.value,
        "outcome": check.outcome.value,
        "expected": check.expected,
        "found": check.found,
        "reference": check.reference,
    }
