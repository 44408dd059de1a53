"""The report that an auditor files: one HTML document that loads nothing, runs nothing and prints well.

Plain words first, then every check by the question that it answers, then the facts. Written for a reader who
is not a cryptographer; the words come from `attestation.report.explain`. Everything that came out of evidence
is made printable and escaped, and the document's own content policy forbids scripts and network all the same.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

from attestation.check import Check, Outcome
from attestation.model import Appraisal, Verdict
from attestation.report.explain import LAYERS, Layer, by_layer, explain
from attestation.report.style import ICONS, STYLE, page_style
from attestation.report.text import (
    LIMITS,
    MAIN_QUESTIONS,
    RESERVATION,
    RULES,
    TRUST_CLASSES,
    demands_nothing,
    fact_rows,
    hardware_vouches,
    has_reservation,
    is_insecure,
    printable,
    render_json,
    shown_weaknesses,
    trust_class,
    worst,
    write_time,
)
from attestation.report.words import ANSWERS, MARKS, NOT_DEMANDED, SIMULATED, WORDS, Voice, choose_voice

_LONG = 4_096
_SHORT = 240
_REASONS = 8


def render_html(
    appraisal: Appraisal,
    *,
    subject: str,
    title: str = "Attestation report",
    verifier: str = "casemate",
    command: str = "",
    notes: Sequence[str] = (),
) -> str:
    """One self-contained document. `subject`: what was judged, for the reader (an address or a file name).

    `verifier` names the program and its version, `command` the exact command that repeats it; without
    one the report shows its general form. `notes` say what that command needs beyond what was kept.
    Equal arguments give equal bytes.
    """
    insecure = is_insecure(appraisal)
    voice = choose_voice(appraisal.verdict, appraisal.rules, insecure=insecure)
    style = STYLE + page_style(f"{title}: {voice.word}" if _is_plain(title) else voice.word)
    body = [
        _opening(appraisal, subject, title),
        _verdict(appraisal, voice),
        _answers(appraisal),
        _limits(),
        _record(appraisal, subject, verifier),
        _checks(appraisal),
        _facts(appraisal),
        _again(appraisal, command, notes),
        _glossary(),
    ]
    return "".join(
        [_head(f"{voice.word}: {subject}", style), *body, _footer(appraisal), "</main></body></html>\n"]
    )


def _head(title: str, style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="referrer" content="no-referrer">'
        f"<title>{_safe(title, _SHORT)}</title><style>{style}</style></head><body>{ICONS}<main>"
    )


def _opening(appraisal: Appraisal, subject: str, title: str) -> str:
    moment = write_time(appraisal.decided_at)
    when = f'<p class="lede">Decided as of {_moment(moment)}</p>' if moment else ""
    kicker = f'<p class="kicker">{_safe(title, _SHORT)}</p>'
    return f"<header>{kicker}<h1>{_safe(subject, _SHORT)}</h1>{when}</header>"


def _verdict(appraisal: Appraisal, voice: Voice) -> str:
    kind = trust_class(appraisal) if appraisal.verdict is Verdict.ACCEPTED else None
    means = (f"Trust class: {TRUST_CLASSES[kind]}.", *voice.means) if kind else voice.means
    paragraphs = "".join(f"<p>{escape(text)}</p>" for text in means)
    return (
        f'<section class="verdict {voice.style}" aria-label="Verdict">'
        f'<p class="word">{_icon(voice.style)}<span>{escape(voice.word)}</span></p>{paragraphs}'
        f"{_reasons(appraisal, voice)}{_weak(appraisal)}</section>"
    )


def _weak(appraisal: Appraisal) -> str:
    found = shown_weaknesses(appraisal)
    items = "".join(f"<li>{escape(each[0].upper() + each[1:])}.</li>" for each in found)
    return (
        f'<p class="why">Known weaknesses that show in it</p><ul class="reasons">{items}</ul>'
        if found
        else ""
    )


def _reasons(appraisal: Appraisal, voice: Voice) -> str:
    """The checks that made the verdict, in a sentence each, the first few of them."""
    wanted = {Verdict.REFUSED: Outcome.FAIL, Verdict.UNDECIDED: Outcome.UNDECIDED}.get(appraisal.verdict)
    told = (wanted, Outcome.INSECURE)
    checks = [(index, check) for index, check in enumerate(appraisal.checks) if check.outcome in told]
    if not checks:
        return ""
    items = [
        f'<li><a href="#c{index}">{_safe(explain(check.id).title, _SHORT)}</a>'
        f"<span>It would show: {escape(explain(check.id).proves)}</span>"
        f'<span class="value">Expected: {_safe(check.expected, _SHORT)}</span>'
        f'<span class="value">Found: {_safe(check.found, _SHORT)}</span></li>'
        for index, check in checks[:_REASONS]
    ]
    further = len(checks) - _REASONS
    more = f"<li>and {further} more, marked below.</li>" if further > 0 else ""
    return f'<p class="why">{escape(voice.reasons)}</p><ul class="reasons">{"".join(items)}{more}</ul>'


def _answers(appraisal: Appraisal) -> str:
    """The questions with their answers; a main question that nobody looked at is named as such."""
    groups = {layer.name: checks for layer, checks in by_layer(appraisal.checks)}
    shown = [layer for layer in LAYERS if layer.name in groups or layer.name in MAIN_QUESTIONS]
    insecure = is_insecure(appraisal)
    rows = "".join(_answer(layer, groups.get(layer.name, []), insecure=insecure) for layer in shown)
    return f'<section><h2>In short</h2><ul class="answers">{rows}</ul></section>'


def _answer(layer: Layer, checks: list[Check], *, insecure: bool) -> str:
    if not checks:
        return (
            f'<li class="unseen"><span class="mark">{_icon("unseen")}Not looked at</span>'
            f'<span class="ask">{escape(layer.question)}</span><span class="count"></span></li>'
        )
    outcome = worst(checks)
    hollow = insecure and outcome is Outcome.PASS
    style, text = ("hollow", "Simulated") if hollow else (outcome.value, ANSWERS[outcome])
    text += RESERVATION if has_reservation(checks) and text == "Yes" else ""
    count = f"{len(checks)} check{'s' if len(checks) > 1 else ''}"
    return (
        f'<li class="{style}"><span class="mark">{_icon(style)}{text}</span>'
        f'<span class="ask"><a href="#{layer.name}">{escape(layer.question)}</a></span>'
        f'<span class="count">{count}</span></li>'
    )


def _limits() -> str:
    items = "".join(f"<li>{escape(limit[0].upper() + limit[1:])}.</li>" for limit in LIMITS)
    return (
        "<section><h2>What no such report can show</h2>"
        f'<p class="lede">Whatever the verdict, these remain.</p><ul class="limits">{items}</ul></section>'
    )


def _record(appraisal: Appraisal, subject: str, verifier: str) -> str:
    """What identifies this decision, so that it can be filed, found and compared."""
    vouched = "yes" if hardware_vouches(appraisal) else "no: what it says is only claimed"
    kind = TRUST_CLASSES.get(trust_class(appraisal) or "", "not established")
    rows = [
        ("Judged", _safe(subject, _SHORT)),
        ("Verdict", f"<code>{appraisal.verdict.value}</code>"),
        ("As of", _moment(write_time(appraisal.decided_at) or "unknown")),
        ("Hardware vouches", vouched),
        ("Trust class", escape(kind)),
        ("Rules", RULES[appraisal.rules]),
        ("Policy, SHA-256", "none" if appraisal.policy_sha256 == b"" else _digest(appraisal.policy_sha256)),
        ("Evidence, SHA-256", _digest(appraisal.evidence_sha256)),
        *(
            (f"Input {_safe(name, _SHORT)}, SHA-256", f"<code>{_safe(digest, _SHORT)}</code>")
            for name, digest in appraisal.inputs.items()
        ),
        ("Same decision as JSON, SHA-256", _digest(hashlib.sha256(render_json(appraisal).encode()).digest())),
        ("Judged by", _safe(verifier, _SHORT)),
    ]
    return f'<section class="record"><h2>The record</h2>{_rows(rows)}</section>'


def _checks(appraisal: Appraisal) -> str:
    place = {id(check): index for index, check in enumerate(appraisal.checks)}
    insecure = is_insecure(appraisal)
    groups = "".join(
        f'<h3 id="{layer.name}">{escape(layer.question)}</h3><p class="lede">{escape(layer.about)}</p>'
        + "".join(_check(check, place[id(check)], insecure=insecure) for check in checks)
        for layer, checks in by_layer(appraisal.checks)
    )
    return f"<section><h2>Every check</h2>{groups}</section>"


def _check(check: Check, index: int, *, insecure: bool) -> str:
    told = explain(check.id)
    hollow = insecure and check.outcome is Outcome.PASS
    style, word, leads = SIMULATED if hollow else (check.outcome.value, *MARKS[check.outcome])
    if demands_nothing(check) and not hollow:
        style, word, leads = NOT_DEMANDED
    return (
        f'<article class="check {style}" id="c{index}"><p class="mark">{_icon(style)}{word}</p><div>'
        f"<h4>{_safe(told.title, _SHORT)}</h4>"
        f'<p class="says">{leads}{escape(told.proves)}</p>{_pair(check)}'
        f'<p class="open">Leaves open: {escape(told.leaves_open)}</p>'
        f'<p class="ref"><code>{_safe(check.id, _SHORT)}</code> &middot; {_safe(check.reference, _SHORT)}</p>'
        "</div></article>"
    )


def _pair(check: Check) -> str:
    rows = (
        [("As expected", check.found)]
        if check.found == check.expected
        else [("Expected", check.expected), ("Found", check.found)]
    )
    inner = "".join(f'<dt>{name}</dt><dd class="value">{_safe(text, _LONG)}</dd>' for name, text in rows)
    return f'<dl class="pair">{inner}</dl>'


def _facts(appraisal: Appraisal) -> str:
    rows = [
        (f"<code>{_safe(name, _SHORT)}</code>", f'<span class="value">{_safe(text, _LONG)}</span>')
        for name, text in fact_rows(appraisal.facts)
    ]
    if not rows:
        return ""
    about = (
        "Genuine hardware vouches for this. It is shown for information; decisions were made above."
        if hardware_vouches(appraisal)
        else "Nothing vouches for this: it is only what the evidence claims. Rely on none of it."
    )
    return f'<section><h2>What the evidence says</h2><p class="lede">{about}</p>{_rows(rows)}</section>'


def _again(appraisal: Appraisal, command: str, notes: Sequence[str]) -> str:
    at = write_time(appraisal.decided_at) or "TIME"
    general = f"casemate verify EVIDENCE --policy POLICY --at {at}"
    lacking = "".join(f"<p>{_safe(note, _LONG)}</p>" for note in notes)
    return (
        "<section><h2>Decide it again</h2>"
        "<p>The decision needs no network and no trust in whoever made this report: the same inputs, rules, "
        "time and (if one was chosen) nonce give the same answer on any machine, also in years. Compare the "
        "SHA-256 values of the policy and of every input with yours first: the evidence&#x27;s own digest "
        "does not cover what was supplied beside it.</p>"
        f"{lacking}<pre>{_safe(command or general, _LONG)}</pre></section>"
    )


def _glossary() -> str:
    return f"<section><h2>Words</h2>{_rows((escape(word), escape(text)) for word, text in WORDS)}</section>"


def _footer(appraisal: Appraisal) -> str:
    return (
        f"<footer><p>{len(appraisal.checks)} checks, each shown whether it passed or not. The file "
        "<code>docs/audit/checks.md</code> of Casemate's source explains every one of them.</p>"
        "<p>This page loads nothing, runs nothing and sends nothing.</p></footer>"
    )


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    """A list of names and values; both are HTML already."""
    return f'<dl class="rows">{"".join(f"<div><dt>{n}</dt><dd>{v}</dd></div>" for n, v in rows)}</dl>'


def _icon(name: str) -> str:
    return f'<svg aria-hidden="true"><use href="#i-{name}"/></svg>'


def _moment(text: str) -> str:
    return escape(text.replace("T", " ").replace("Z", " UTC"))


def _digest(digest: bytes | None) -> str:
    return f"<code>{digest.hex()}</code>" if digest else "not recorded"


def _safe(text: str, limit: int) -> str:
    return escape(printable(text, limit))


def _is_plain(title: str) -> bool:
    """Whether a title may stand inside the style sheet: letters, digits and spaces only."""
    return all(char.isascii() and (char.isalnum() or char == " ") for char in title)
