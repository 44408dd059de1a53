"""The report that is filed: complete, readable, honest, and unable to load or run anything."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.check import Check, Outcome, Stage
from attestation.model import Appraisal, Facts, Verdict
from attestation.report.html import render_html
from attestation.report.style import STYLE
from attestation.report.text import LIMITS, render_json

VOID = {"meta", "use", "path", "circle"}
HOSTILE = "</style></title><script src=//evil.example>alert(1)</script>\"'&\u202e\x1b"
FACTS: Facts = {"product": "Genoa", "policy": {"debug": False}, "rtmrs": ["01" * 48, "02" * 48]}


@dataclass
class Page(HTMLParser):
    """What a browser would see: tags balanced, every identifier, link and text."""

    opened: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    attributes: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            elif name == "href":
                self.links.append(value or "")
            elif name == "class":
                self.classes += (value or "").split()
        if tag not in VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.opened and self.opened[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, as a reader sees it."""
        return " ".join(" ".join(self.texts).split())


def check(
    check_id: str = "snp.debug", outcome: Outcome = Outcome.PASS, expected: str = "off", found: str = "off"
) -> Check:
    """One check."""
    return Check(check_id, Stage.APPRAISE, outcome, expected, found, "docs/spec/policy.md#snp")


def appraisal(verdict: Verdict = Verdict.ACCEPTED, *checks: Check) -> Appraisal:
    """An appraisal of `checks`, or of three that fit the verdict."""
    outcome = {
        Verdict.ACCEPTED: Outcome.PASS,
        Verdict.REFUSED: Outcome.FAIL,
        Verdict.UNDECIDED: Outcome.UNDECIDED,
        Verdict.ACCEPTED_INSECURE: Outcome.INSECURE,
    }[verdict]
    made = checks or (check("snp.chain.root", outcome, "a pinned key", "ab" * 32), check("snp.debug"))
    return Appraisal(verdict, made, None, FACTS)


def html(judged: Appraisal, **how: str) -> str:
    """Its report."""
    return render_html(judged, **({"subject": "https://gateway.example"} | how))


def page(document: str) -> Page:
    """The document, read to its end."""
    read = Page()
    read.feed(document)
    read.close()
    assert read.opened == []
    return read


@pytest.mark.parametrize("verdict", Verdict)
def test_the_document_is_whole_and_refers_to_nothing_but_itself(verdict: Verdict) -> None:
    document = html(appraisal(verdict))
    read = page(document)
    assert document.startswith("<!doctype html>")
    assert set(read.tags).isdisjoint({"script", "link", "img", "iframe", "object", "form", "base", "a:"})
    assert not {name for name in read.attributes if name.startswith("on") or name in ("src", "style")}
    assert all(link.startswith("#") for link in read.links)
    assert {link[1:] for link in read.links} <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    assert "url(" not in document
    assert "@import" not in document


def test_the_content_policy_allows_this_style_sheet_and_nothing_else() -> None:
    document = html(appraisal())
    style = document.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'" in document


@pytest.mark.parametrize(
    ("verdict", "word", "advice"),
    [
        (Verdict.ACCEPTED, "Accepted", "everything that was demanded of it holds"),
        (Verdict.REFUSED, "Refused", "Do not send data there"),
        (Verdict.UNDECIDED, "Not decided", "treat this as refused"),
        (Verdict.ACCEPTED_INSECURE, "A simulation. Nothing is protected", "do not file it as one"),
    ],
)
def test_the_verdict_stands_first_in_words_and_on_every_printed_page(
    verdict: Verdict, word: str, advice: str
) -> None:
    document = html(appraisal(verdict))
    text = page(document).text
    assert text.startswith(
        f"{word}: https://gateway.example Attestation report https://gateway.example {word}"
    )
    assert advice in text[:900]
    assert f'@top-left{{content:"Attestation report: {word}"' in document


def test_a_simulation_looks_like_a_pass_nowhere() -> None:
    document = html(appraisal(Verdict.ACCEPTED_INSECURE))
    read = page(document)
    assert {"pass", "fail"}.isdisjoint(read.classes)
    assert "Passed" not in read.text
    assert "Accepted" not in read.text
    assert "Yes" not in read.text
    assert "Simulated Debug mode Would show, on genuine hardware: " in read.text
    assert "accepted-insecure" in read.text


def test_colour_is_never_alone_every_mark_has_a_shape_and_a_word() -> None:
    words = {
        Outcome.PASS: ("Passed", "Yes"),
        Outcome.FAIL: ("Failed", "No"),
        Outcome.UNDECIDED: ("Not decided", "Not decided"),
        Outcome.INSECURE: ("Insecure", "No, simulated"),
        Outcome.NOTED: ("Noted", "Nothing decided"),
    }
    for outcome in Outcome:
        document = html(appraisal(Verdict.REFUSED, check("snp.debug", outcome)))
        mark, answer = words[outcome]
        icon = f'<svg aria-hidden="true"><use href="#i-{outcome.value}"/></svg>'
        assert f'<p class="mark">{icon}{mark}</p>' in document
        assert f'<span class="mark">{icon}{answer}</span>' in document


@pytest.mark.parametrize(
    ("verdict", "heading"),
    [
        (Verdict.REFUSED, "What failed"),
        (Verdict.UNDECIDED, "What is missing"),
        (Verdict.ACCEPTED_INSECURE, "Why"),
    ],
)
def test_the_reasons_are_told_in_words_beside_the_verdict(verdict: Verdict, heading: str) -> None:
    text = page(html(appraisal(verdict))).text
    assert (
        f"{heading} AMD's root key It would show: The chain of certificates ends at AMD's own root key"
        in text
    )
    assert f"Expected: a pinned key Found: {'ab' * 32} In short" in text


def test_only_the_first_reasons_are_listed_and_the_rest_counted() -> None:
    many = [check(f"no.{index}", Outcome.FAIL) for index in range(11)]
    assert "and 3 more, marked below." in page(html(appraisal(Verdict.REFUSED, *many))).text
    assert "more, marked below" not in page(html(appraisal(Verdict.REFUSED, *many[:8]))).text


def test_an_accepted_report_lists_no_reasons() -> None:
    assert "What failed" not in html(appraisal())
    assert '<ul class="reasons"' not in html(appraisal())


def test_a_baseline_verdict_says_that_no_software_was_looked_at() -> None:
    judged = replace(
        appraisal(Verdict.ACCEPTED, check("baseline.debug")), rules="baseline", policy_sha256=b""
    )
    text = page(html(judged)).text
    assert "and nowhere which software runs." in text
    assert "Rules the baseline alone: no policy was applied Policy, SHA-256 none" in text
    assert "not looked at." not in page(html(appraisal())).text


def test_every_question_is_answered_or_named_as_not_looked_at() -> None:
    text = page(html(appraisal())).text
    assert "Yes Is the hardware genuine? 1 check" in text
    assert "Yes Is it the software that was named? 1 check" in text
    assert "Not looked at Are its keys and settings acceptable?" in text
    assert "Does the second opinion agree?" not in text
    two = appraisal(Verdict.ACCEPTED, check("snp.debug"), check("snp.vmpl"))
    assert "Is it the software that was named? 2 checks" in page(html(two)).text


def test_an_event_log_is_no_answer_to_which_software_runs() -> None:
    judged = appraisal(Verdict.ACCEPTED, check("baseline.debug"), check("eventlog.replay"))
    text = page(html(judged)).text
    assert "Yes Does the log of what was started agree? 1 check" in text
    assert "Not looked at Is it the software that was named?" in text


def test_every_check_is_there_with_all_its_parts() -> None:
    text = page(html(appraisal(Verdict.REFUSED))).text
    assert f"Expected a pinned key Found {'ab' * 32}" in text
    assert "As expected off" in text
    assert "Leaves open: Doors that the software itself may offer." in text
    assert "snp.debug · docs/spec/policy.md#snp" in text
    assert "2 checks, each shown whether it passed or not." in text


def test_the_limits_stand_in_every_report() -> None:
    for verdict in Verdict:
        text = page(html(appraisal(verdict))).text
        assert all(f"{limit[0].upper()}{limit[1:]}." in text for limit in LIMITS)


def test_the_record_names_what_was_judged_by_digest_and_the_json_twin() -> None:
    plain = page(html(appraisal())).text
    assert "As of unknown Hardware vouches no: what it says is only claimed" in plain
    assert "Rules a policy Policy, SHA-256 not recorded Evidence, SHA-256 not recorded Same" in plain
    assert "--at TIME" in plain
    moment = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
    judged = replace(
        appraisal(),
        authentic=True,
        decided_at=moment,
        evidence_sha256=b"\x01" * 32,
        policy_sha256=b"\x02" * 32,
    )
    text = page(html(judged, verifier="casemate 9.9")).text
    assert "Decided as of 2026-11-22 01:02:03 UTC" in text
    assert "Hardware vouches yes Trust class not established Rules a policy" in text
    assert f"Rules a policy Policy, SHA-256 {'02' * 32} Evidence, SHA-256 {'01' * 32}" in text
    assert f"as JSON, SHA-256 {hashlib.sha256(render_json(judged).encode()).hexdigest()}" in text
    assert "Judged by casemate 9.9" in text
    assert "casemate verify EVIDENCE --policy POLICY --at 2026-11-22T01:02:03Z" in text


def test_the_exact_command_is_shown_if_it_is_known() -> None:
    command = "casemate verify --tee tdx --dir case --at 2026-11-22T01:02:03Z"
    text = page(html(appraisal(), command=command)).text
    assert command in text
    assert "EVIDENCE --policy" not in text


def test_what_the_command_lacks_is_said_before_it() -> None:
    text = page(html(appraisal(), command="casemate verify EVIDENCE", notes=("<b>kept</b> nowhere",))).text
    assert text.index("<b>kept</b> nowhere") < text.index("casemate verify EVIDENCE")


def test_facts_say_whether_hardware_vouches_for_them() -> None:
    claimed = page(html(appraisal())).text
    assert "Nothing vouches for this" in claimed
    assert f"policy.debug no rtmrs[0] {'01' * 48}" in claimed
    vouched = page(html(replace(appraisal(), authentic=True))).text
    assert "Genuine hardware vouches for this" in vouched
    assert "What the evidence says" not in html(replace(appraisal(), facts={}))


def test_nobody_vouches_for_what_a_simulation_signed() -> None:
    text = page(html(replace(appraisal(Verdict.ACCEPTED_INSECURE), authentic=True))).text
    assert "Nothing vouches for this" in text
    assert "Hardware vouches no: what it says is only claimed" in text


def test_nothing_that_evidence_says_becomes_markup() -> None:
    hostile = Check(HOSTILE, Stage.APPRAISE, Outcome.FAIL, HOSTILE, HOSTILE, HOSTILE)
    judged = replace(appraisal(Verdict.REFUSED, hostile), facts={HOSTILE: HOSTILE})
    document = html(judged, subject=HOSTILE, title=HOSTILE, verifier=HOSTILE, command=HOSTILE)
    read = page(document)
    assert set(read.tags).isdisjoint({"script", "img"})
    assert read.tags.count("style") == 1
    assert "\u202e" not in document
    assert "\x1b" not in document
    assert "<script src=//evil.example>alert(1)</script>" in read.text
    assert '@top-left{content:"Refused"' in document


@given(st.text(max_size=60))
def test_any_text_anywhere_gives_a_whole_document(text: str) -> None:
    one = Check(text, Stage.PARSE, Outcome.FAIL, text, text, text)
    judged = replace(appraisal(Verdict.REFUSED, one), facts={text: text})
    read = page(html(judged, subject=text, title=text, verifier=text, command=text))
    assert "script" not in read.tags


def test_equal_arguments_give_equal_bytes() -> None:
    assert html(appraisal()) == html(appraisal())


def themes() -> dict[str, dict[str, str]]:
    """Colours by name, for each of the three media."""
    light, dark, paper = (
        dict(re.findall(r"--([a-z-]+):(#[0-9a-f]{3,6})", part))
        for part in re.split(r"@media \(prefers-color-scheme:dark\)|@media print", STYLE)
    )
    return {"light": light, "dark": light | dark, "paper": light | paper}


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    digits = colour[1:] if len(colour) == 7 else "".join(char * 2 for char in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio, WCAG 2.2: 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark", "paper"])
def test_every_text_has_the_contrast_that_wcag_asks_for(theme: str) -> None:
    colours = themes()[theme]
    grounds = [colours[name] for name in ("paper", "wash")]
    for ground in grounds:
        for text in ("ink", "soft"):
            assert contrast(colours[text], ground) >= 4.5
    for outcome in ("pass", "fail", "undecided", "insecure", "noted"):
        ground = colours[f"{outcome}-wash"]
        for text in (outcome, "ink", "soft"):
            assert contrast(colours[text], ground) >= 4.5, (theme, outcome, text)
        assert contrast(colours[outcome], colours["paper"]) >= 4.5


def test_contrast_is_measured_as_wcag_does() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)
