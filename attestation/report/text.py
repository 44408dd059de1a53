"""One list of checks, rendered for a terminal or for a program. A development root never reads as a pass.

Plain text without colour: the same bytes go to a terminal, a file and a ticket. Texts that came out of
evidence are made printable first, so that no document can write control sequences to a terminal. The report
for an auditor's file is `attestation.report.html`; all three say the same (docs/spec/appraisal.md).
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from attestation.check import Check, Outcome, Stage
from attestation.model import Appraisal, Fact, Facts, Rules, Verdict
from attestation.report.explain import LAYERS, by_layer, explain
from attestation.report.weaknesses import WORDS as WEAKNESSES
from attestation.report.weaknesses import weaknesses

FORMAT = "casemate/appraisal/1"

EXIT_CODES: dict[Verdict, int] = {
    Verdict.ACCEPTED: 0,
    Verdict.REFUSED: 1,
    Verdict.UNDECIDED: 2,
    Verdict.ACCEPTED_INSECURE: 3,
}

_HEADLINES: dict[Verdict, str] = {
    Verdict.ACCEPTED: "ACCEPTED: genuine hardware{kind}, and everything that was demanded of it holds",
    Verdict.REFUSED: "REFUSED: do not send data to this endpoint",
    Verdict.UNDECIDED: "UNDECIDED: something needed for a decision is missing; treat it as refused",
    Verdict.ACCEPTED_INSECURE: "ACCEPTED-INSECURE: a simulation for development. NOTHING IS PROTECTED",
}
_BASELINE = (
    "ACCEPTED: genuine hardware{kind}. NO POLICY WAS APPLIED, only the baseline: neither "
    "software nor AMD's firmware level was looked at"
)
_SIMULATIONS: dict[Verdict, str] = {
    Verdict.REFUSED: "REFUSED, and a simulation: NOTHING IS PROTECTED. Do not send data to this endpoint",
    Verdict.UNDECIDED: "UNDECIDED, and a simulation: NOTHING IS PROTECTED. Treat it as refused",
}
TRUST_CLASSES: dict[str, str] = {
    "direct-boot": "direct-boot (the processor itself measured the guest)",
    "paravisor-vtpm": "paravisor-vtpm (weaker: a paravisor vouches for the guest)",
}
RULES: dict[Rules, str] = {
    "policy": "a policy",
    "built-in": "the built-in policy",
    "baseline": "the baseline alone: no policy was applied",
}
_MARKS: dict[Outcome, str] = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "FAIL",
    Outcome.UNDECIDED: "UNDECIDED",
    Outcome.INSECURE: "INSECURE",
    Outcome.NOTED: "noted",
}
_ANSWERS: dict[Outcome, str] = {
    Outcome.PASS: "yes",
    Outcome.FAIL: "NO",
    Outcome.UNDECIDED: "UNDECIDED",
    Outcome.INSECURE: "NO: a simulation",
    Outcome.NOTED: "nothing decided",
}
RESERVATION = ", as far as it was judged"
_LEFT_OUT = (".unjudged", ".paravisor")
_WORST_FIRST = (Outcome.FAIL, Outcome.UNDECIDED, Outcome.INSECURE, Outcome.PASS, Outcome.NOTED)
_EXPLAIN_FULLY = (Outcome.FAIL, Outcome.UNDECIDED, Outcome.INSECURE)
_BANNER = "!" * 78
_INLINE = 60
_ONE_LINE, _WIDTH, _LONG = 160, 112, 4_096
_HASH = re.compile(r"(?<=\w) (?=[0-9a-f]{32})")  # what stands before a digest is its name, and stays with it
_CUT = " (cut here; the JSON form has all of it)"
_MOST_ROWS = 400

# Questions whose absence a reader has to be told of: nobody looked.
MAIN_QUESTIONS = ("hardware", "question", "machine", "software", "gateway")

LIMITS = (
    "a commercial provider still sees the prompt",
    "attestation proves a genuine processor of a type, not where it stands or who can touch it",
    "devices between processor and memory, and processor flaws that nobody has published, do not show",
    "Python cannot erase every copy of a text from memory",
)


def exit_code(verdict: Verdict) -> int:
    """0 accepted, 1 refused, 2 could not decide, 3 accepted as insecure development only."""
    return EXIT_CODES[verdict]


def render_text(appraisal: Appraisal) -> str:
    """Render for people: verdict first, then every check, the facts, and what none of it proves."""
    lines = [*_headline(appraisal), *_record(appraisal), *_weak(appraisal)]
    lines += [*_checks(appraisal), *_facts(appraisal)]
    return "\n".join([*lines, *_limits(), ""])


def render_json(appraisal: Appraisal) -> str:
    """Render for programs; docs/spec/appraisal.md lists the members. Equal appraisals give equal bytes."""
    insecure = is_insecure(appraisal)
    value = {
        "format": FORMAT,
        "verdict": appraisal.verdict.value,
        "insecure": insecure,
        "authentic": hardware_vouches(appraisal),
        "trust_class": trust_class(appraisal),
        "rules": appraisal.rules,
        "decided_at": write_time(appraisal.decided_at),
        "evidence_sha256": _hex(appraisal.evidence_sha256),
        "policy_sha256": _hex(appraisal.policy_sha256),
        "inputs": dict(appraisal.inputs),
        "weaknesses": vouched_weaknesses(appraisal),
        "checks": [_as_object(check, insecure=insecure) for check in appraisal.checks],
        "facts": as_plain(appraisal.facts),
        "not_proven": list(LIMITS),
    }
    return json.dumps(value, indent=2, ensure_ascii=True) + "\n"


def hardware_vouches(appraisal: Appraisal) -> bool:
    """Whether genuine hardware signed the evidence: what a simulation signed, nobody vouches for."""
    return appraisal.authentic and not is_insecure(appraisal)


def is_insecure(appraisal: Appraisal) -> bool:
    """Whether a simulated root, or an open development door, is part of it: then nothing may read as a pass,
    whatever the verdict."""
    insecure = any(check.outcome is Outcome.INSECURE for check in appraisal.checks)
    return insecure or appraisal.verdict is Verdict.ACCEPTED_INSECURE


def outcome_word(outcome: Outcome, *, insecure: bool) -> str:
    """An outcome for programs. Inside a simulation nothing passes: what holds there is `simulated`."""
    return "simulated" if insecure and outcome is Outcome.PASS else outcome.value


def trust_class(appraisal: Appraisal) -> str | None:
    """What the evidence stands on, if genuine hardware vouches for it: a key of `TRUST_CLASSES`, or None."""
    found = appraisal.facts.get("trust_class")
    known = isinstance(found, str) and found in TRUST_CLASSES
    return str(found) if known and hardware_vouches(appraisal) else None


def printable(text: str, limit: int = 160) -> str:
    """Return `text` without control or non-ASCII characters, cut to `limit` characters."""
    safe = "".join(char if " " <= char <= "~" else "?" for char in text[: limit + 1])
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def write_time(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC, with a fraction of a second if there is one: the time that decided, and no other."""
    return None if moment is None else f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def worst(checks: Iterable[Check]) -> Outcome:
    """The outcome that decides for a non-empty group of checks."""
    outcomes = {check.outcome for check in checks}
    return next(outcome for outcome in _WORST_FIRST if outcome in outcomes)


def demands_nothing(check: Check) -> bool:
    """Whether the rules in force take whatever is found there: that it passes says nothing."""
    return check.stage is Stage.APPRAISE and check.outcome is Outcome.PASS and check.expected == "any"


def has_reservation(checks: Iterable[Check]) -> bool:
    """Whether a group that passes leaves something out that its question seems to ask."""
    return any(check.id.endswith(_LEFT_OUT) and check.outcome is Outcome.NOTED for check in checks)


def as_plain(fact: Fact) -> Any:
    """The same value in dicts and lists, as `json` wants it."""
    if isinstance(fact, Mapping):
        return {name: as_plain(value) for name, value in fact.items()}
    if fact is None or isinstance(fact, bool | int | str):
        return fact
    return [as_plain(value) for value in fact]


def flatten(fact: Fact, name: str = "") -> Iterator[tuple[str, str]]:
    """Name and text of every single value, depth first: `policy.debug`, `rtmrs[0]`. A short list, and an
    entry of a list, stand in one text."""
    if isinstance(fact, Mapping):
        for key, value in fact.items():
            yield from flatten(value, f"{name}.{key}" if name else key)
    elif fact is None or isinstance(fact, bool | int | str):
        yield name, _single(fact)
    else:
        texts = [_entry(value) for value in fact]
        if len(shown := ", ".join(texts)) <= _INLINE:
            yield name, shown or "none"
        else:
            yield from ((f"{name}[{index}]", text) for index, text in enumerate(texts))


def fact_rows(facts: Facts) -> list[tuple[str, str]]:
    """What `flatten` gives, at most 400 rows and then how many are left out: logs can be long."""
    rows = list(flatten(facts))
    left = len(rows) - _MOST_ROWS
    return (
        rows
        if left <= 0
        else [*rows[:_MOST_ROWS], ("...", f"{left} more values, all of them in the JSON form")]
    )


def _entry(fact: Fact) -> str:
    """One entry of a list, in one text."""
    return ", ".join(f"{name} {text}" if name else text for name, text in flatten(fact))


def _single(fact: bool | int | str | None) -> str:
    if fact is None:
        return "none"
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    return str(fact) or "(empty)"


def _headline(appraisal: Appraisal) -> list[str]:
    if is_insecure(appraisal):
        line = _SIMULATIONS.get(appraisal.verdict, _HEADLINES[Verdict.ACCEPTED_INSECURE])
        return [_BANNER, line, _BANNER]
    by_baseline = appraisal.verdict is Verdict.ACCEPTED and appraisal.rules == "baseline"
    line = _BASELINE if by_baseline else _HEADLINES[appraisal.verdict]
    kind = trust_class(appraisal)
    return [line.format(kind=f", {TRUST_CLASSES[kind]}" if kind else "")]


def _record(appraisal: Appraisal) -> list[str]:
    """When, on what and by which rules; each only if it is known. Inputs one by one are in the JSON form."""
    evidence, policy = _hex(appraisal.evidence_sha256), _hex(appraisal.policy_sha256)
    named = (
        ("decided as of", write_time(appraisal.decided_at)),
        ("trust class", TRUST_CLASSES.get(trust_class(appraisal) or "")),
        ("evidence", evidence and f"sha256 {evidence}"),
        ("rules", f"policy, sha256 {policy}" if policy else RULES[appraisal.rules]),
    )
    return [f"  {name:<14} {text}" for name, text in named if text]


def vouched_weaknesses(appraisal: Appraisal) -> list[str]:
    """Names of the known weaknesses of genuine hardware; a simulation has others."""
    return weaknesses(appraisal) if hardware_vouches(appraisal) else []


def shown_weaknesses(appraisal: Appraisal) -> list[str]:
    """The same in words, for people."""
    return [WEAKNESSES[name] for name in vouched_weaknesses(appraisal)]


def _weak(appraisal: Appraisal) -> list[str]:
    found = shown_weaknesses(appraisal)
    return ["", "Known weaknesses that show in it:", *(f"  - {each}" for each in found)] if found else []


def _checks(appraisal: Appraisal) -> list[str]:
    lines: list[str] = []
    insecure = is_insecure(appraisal)
    groups = by_layer(appraisal.checks)
    for layer, checks in groups:
        outcome = worst(checks)
        answer = "simulated" if insecure and outcome is Outcome.PASS else _ANSWERS[outcome]
        answer += RESERVATION if has_reservation(checks) and answer == "yes" else ""
        lines += ["", f"{layer.question}  {answer}"]
        for check in checks:
            lines += _check(check, insecure=insecure)
    seen = {layer.name for layer, _ in groups}
    unseen = [layer.question for layer in LAYERS if layer.name in MAIN_QUESTIONS and layer.name not in seen]
    return [*lines, *(f"\n{question}  not looked at" for question in unseen)]


def _check(check: Check, *, insecure: bool) -> list[str]:
    """One line, more if much was found, and three more if it did not pass. Inside a simulation nothing
    passes, it only holds there."""
    told = explain(check.id)
    mark = "simulated" if insecure and check.outcome is Outcome.PASS else _MARKS[check.outcome]
    mark = "any" if mark == "pass" and demands_nothing(check) else mark
    lines = _in_full(f"  {mark:<9}  {printable(check.id):<27} {told.title}:", check.found)
    if check.outcome not in _EXPLAIN_FULLY:
        return lines
    return [
        *lines,
        *_in_full(f"{'':13}expected:", check.expected),
        f"{'':13}would show: {told.proves}",
        f"{'':13}see: {printable(check.reference)}",
    ]


def _in_full(head: str, text: str) -> list[str]:
    """What was found or expected, beside its head or in lines below it; what is cut says so."""
    shown = printable(text, _LONG)
    if len(shown) <= _ONE_LINE:
        return [f"{head} {shown}"]
    kept = _HASH.sub("\xa0", shown + (_CUT if len(text) > _LONG else ""))
    lines = textwrap.wrap(kept, _WIDTH, break_on_hyphens=False)
    return [head, *(f"{'':15}{line}".replace("\xa0", " ") for line in lines)]


def _facts(appraisal: Appraisal) -> list[str]:
    rows = fact_rows(appraisal.facts)
    if not rows:
        return []
    heading = "Established:" if hardware_vouches(appraisal) else "Claimed by the evidence, NOT established:"
    return ["", heading, *(f"  {printable(name):<32} {printable(text, 220)}" for name, text in rows)]


def _limits() -> list[str]:
    return ["", "Not proven by any of this:", *(f"  - {limit}" for limit in LIMITS)]


def _as_object(check: Check, *, insecure: bool) -> dict[str, str]:
    return {
        "id": check.id,
        "stage": check.stage.value,
        "outcome": outcome_word(check.outcome, insecure=insecure),
        "title": explain(check.id).title,
        "expected": check.expected,
        "found": check.found,
        "reference": check.reference,
    }


def _hex(digest: bytes | None) -> str | None:
    """Empty stands for rules that have no file: the built-in policy and the baseline."""
    return digest.hex() if digest else None
