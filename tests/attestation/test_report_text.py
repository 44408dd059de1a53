"""One list of checks in every output; a development root never reads as a pass."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest

from attestation.check import Check, Outcome, Stage
from attestation.model import Appraisal, Facts, Verdict
from attestation.report.html import render_html
from attestation.report.text import (
    EXIT_CODES,
    LIMITS,
    as_plain,
    exit_code,
    fact_rows,
    flatten,
    printable,
    render_json,
    render_text,
    worst,
    write_time,
)

FACTS: Facts = {"product": "Genoa", "policy": {"debug": False, "abi_major": 1}, "fmc": None}


def check(outcome: Outcome = Outcome.PASS, found: str = "that", check_id: str = "snp.debug") -> Check:
    """One check of the policy."""
    return Check(check_id, Stage.APPRAISE, outcome, "this", found, "docs/spec/policy.md#snp")


def appraisal(verdict: Verdict, outcome: Outcome = Outcome.PASS, found: str = "that") -> Appraisal:
    """An appraisal of one check."""
    return Appraisal(verdict, (check(outcome, found),), None, FACTS)


@pytest.mark.parametrize(
    ("verdict", "code"),
    [("accepted", 0), ("refused", 1), ("undecided", 2), ("accepted-insecure", 3)],
)
def test_every_verdict_has_its_exit_code(verdict: str, code: int) -> None:
    assert exit_code(Verdict(verdict)) == code
    assert set(EXIT_CODES) == set(Verdict)


def test_a_development_root_never_reads_as_a_pass() -> None:
    insecure = Appraisal(
        Verdict.ACCEPTED_INSECURE, (check(Outcome.INSECURE, check_id="snp.chain.root"), check())
    )
    text = render_text(insecure)
    assert text.startswith("!!!!")
    assert "ACCEPTED-INSECURE" in text.splitlines()[1]
    assert "NOTHING IS PROTECTED" in text.splitlines()[1]
    assert "ACCEPTED:" not in text
    assert "Is the hardware genuine?  NO: a simulation" in text
    assert "Is it the software that was named?  simulated" in text
    assert "pass" not in text
    assert "  yes" not in text
    value = json.loads(render_json(insecure))
    assert value["verdict"] == "accepted-insecure"
    assert value["insecure"] is True


def test_the_verdict_comes_first_and_tells_what_to_do() -> None:
    first = {verdict: render_text(appraisal(verdict)).splitlines()[0] for verdict in Verdict}
    assert first[Verdict.ACCEPTED].startswith("ACCEPTED:")
    assert "do not send" in first[Verdict.REFUSED]
    assert "treat it as refused" in first[Verdict.UNDECIDED]


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.UNDECIDED, Outcome.INSECURE])
def test_a_check_that_did_not_pass_shows_expected_found_and_reference(outcome: Outcome) -> None:
    text = render_text(appraisal(Verdict.REFUSED, outcome))
    for part in ("snp.debug", "Debug mode: that", "expected: this", "see: docs/spec/policy.md#snp"):
        assert part in text
    assert "would show: The host cannot use the debugging interface" in text


@pytest.mark.parametrize("outcome", [Outcome.PASS, Outcome.NOTED])
def test_a_check_that_passed_or_decides_nothing_takes_one_line(outcome: Outcome) -> None:
    text = render_text(appraisal(Verdict.ACCEPTED, outcome))
    assert "snp.debug" in text
    assert "expected" not in text


def test_questions_are_answered_by_their_worst_check() -> None:
    order = [Outcome.FAIL, Outcome.UNDECIDED, Outcome.INSECURE, Outcome.PASS, Outcome.NOTED]
    for index, outcome in enumerate(order):
        assert worst(check(each) for each in order[index:]) is outcome
        assert worst(check(each) for each in reversed(order[index:])) is outcome
    answers = {
        outcome: render_text(appraisal(Verdict.REFUSED, outcome)).split("was named?  ")[1].splitlines()[0]
        for outcome in order
    }
    assert answers == {
        Outcome.FAIL: "NO",
        Outcome.UNDECIDED: "UNDECIDED",
        Outcome.INSECURE: "NO: a simulation",
        Outcome.PASS: "yes",
        Outcome.NOTED: "nothing decided",
    }


@pytest.mark.parametrize("left_out", ["tdx.unjudged", "azure.unjudged", "baseline.paravisor"])
def test_a_yes_says_so_if_the_policy_left_something_out(left_out: str) -> None:
    beside = {"tdx": "tdx.measurement", "azure": "azure.measurement", "baseline": "azure.ak"}
    judged = check(check_id=beside[left_out.partition(".")[0]])
    for outcome, reserved in ((Outcome.NOTED, True), (Outcome.PASS, False)):
        made = Appraisal(Verdict.ACCEPTED, (judged, check(outcome, check_id=left_out)))
        assert ("?  yes, as far as it was judged" in render_text(made)) is reserved
        assert ("Yes, as far as it was judged" in render_html(made, subject="x")) is reserved


def test_a_main_question_that_nobody_looked_at_is_named() -> None:
    text = render_text(appraisal(Verdict.ACCEPTED))
    assert "Is the hardware genuine?  not looked at" in text
    assert "Is it the software that was named?  not looked at" not in text
    assert "Does the second opinion agree?" not in text


def test_every_output_says_what_is_not_proven() -> None:
    assert "a commercial provider still sees the prompt" in LIMITS
    for verdict in Verdict:
        text = render_text(appraisal(verdict))
        assert all(f"- {limit}" in text for limit in LIMITS)
        assert json.loads(render_json(appraisal(verdict)))["not_proven"] == list(LIMITS)


def test_facts_that_no_hardware_vouches_for_are_shown_as_claims() -> None:
    claimed = appraisal(Verdict.REFUSED)
    assert "Claimed by the evidence, NOT established:" in render_text(claimed)
    vouched = Appraisal(Verdict.REFUSED, claimed.checks, None, FACTS, authentic=True)
    assert "\nEstablished:\n  product" in render_text(vouched)
    assert "stablished" not in render_text(Appraisal(Verdict.REFUSED, claimed.checks))
    simulated = Appraisal(Verdict.REFUSED, (check(Outcome.INSECURE),), None, FACTS, authentic=True)
    assert "NOT established:" in render_text(simulated)
    assert json.loads(render_json(simulated))["authentic"] is False


def test_the_json_form_has_every_check_in_full() -> None:
    value = json.loads(render_json(appraisal(Verdict.REFUSED, Outcome.FAIL)))
    assert value["format"] == "casemate/appraisal/1"
    assert value["checks"] == [
        {
            "id": "snp.debug",
            "stage": "appraise",
            "outcome": "fail",
            "title": "Debug mode",
            "expected": "this",
            "found": "that",
            "reference": "docs/spec/policy.md#snp",
        }
    ]


def test_the_json_form_says_what_was_judged_when_and_by_which_rules() -> None:
    one = appraisal(Verdict.ACCEPTED)
    value = json.loads(render_json(one))
    assert [value[name] for name in ("authentic", "decided_at", "evidence_sha256", "policy_sha256")] == [
        False,
        None,
        None,
        None,
    ]
    moment = datetime(2026, 11, 22, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    stamped = Appraisal(Verdict.ACCEPTED, one.checks, None, FACTS, True, moment, b"\x01" * 32, b"\x02" * 32)
    value = json.loads(render_json(stamped))
    assert value["authentic"] is True
    assert value["decided_at"] == "2026-11-22T01:04:05Z"
    assert value["evidence_sha256"] == "01" * 32
    assert value["policy_sha256"] == "02" * 32
    assert value["facts"] == FACTS
    text = render_text(stamped)
    assert "decided as of  2026-11-22T01:04:05Z" in text
    assert f"evidence       sha256 {'01' * 32}" in text
    assert f"rules          policy, sha256 {'02' * 32}" in text
    assert "sha256" not in render_text(one)
    built_in = Appraisal(Verdict.ACCEPTED, one.checks, policy_sha256=b"")
    assert json.loads(render_json(built_in))["policy_sha256"] is None
    assert "sha256" not in render_text(built_in)


def test_equal_appraisals_give_equal_bytes() -> None:
    assert render_json(appraisal(Verdict.ACCEPTED)) == render_json(appraisal(Verdict.ACCEPTED))


def test_facts_of_any_shape_become_plain_json() -> None:
    facts = MappingProxyType({"a": ({"b": (1, None)}, "c"), "d": MappingProxyType({"e": True})})
    assert as_plain(facts) == {"a": [{"b": [1, None]}, "c"], "d": {"e": True}}


def test_nested_facts_are_shown_value_by_value() -> None:
    facts: Facts = {
        "smt": True,
        "debug": False,
        "fmc": None,
        "svn": 3,
        "short": ["UpToDate", 1],
        "label": "",
        "nothing": [],
        "rtmrs": ["01" * 48, "02" * 48],
        "nested": {"deep": {"x": "y"}},
        "events": [{"n": 1, "d": "03" * 32, "c": {"deep": [1, 2]}}, {"n": 2}],
        "few": [{"n": 1}, {"n": 2}],
    }
    assert list(flatten(facts)) == [
        ("smt", "yes"),
        ("debug", "no"),
        ("fmc", "none"),
        ("svn", "3"),
        ("short", "UpToDate, 1"),
        ("label", "(empty)"),
        ("nothing", "none"),
        ("rtmrs[0]", "01" * 48),
        ("rtmrs[1]", "02" * 48),
        ("nested.deep.x", "y"),
        ("events[0]", f"n 1, d {'03' * 32}, c.deep 1, 2"),
        ("events[1]", "n 2"),
        ("few", "n 1, n 2"),
    ]


def test_no_log_of_thousands_of_entries_fills_a_report() -> None:
    facts: Facts = {f"f{index}": index for index in range(401)}
    assert fact_rows(facts)[-2:] == [("f399", "399"), ("...", "1 more values, all of them in the JSON form")]
    assert len(fact_rows({f"f{index}": index for index in range(400)})) == 400
    assert "1 more values" in render_text(Appraisal(Verdict.REFUSED, (check(),), None, facts))


def test_evidence_cannot_write_control_sequences_to_a_terminal() -> None:
    hostile = "\x1b[2J\r\nACCEPTED: yes\u202e"
    facts: Facts = {hostile: hostile}
    text = render_text(Appraisal(Verdict.REFUSED, (check(Outcome.FAIL, hostile, hostile),), None, facts))
    assert "\x1b" not in text
    assert "\nACCEPTED: yes" not in text
    assert "\u202e" not in text
    assert printable("x" * 500) == "x" * 157 + "..."
    assert printable("x" * 160) == "x" * 160


def test_times_are_written_in_utc() -> None:
    assert write_time(None) is None
    assert write_time(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05Z"
    assert write_time(datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)) == "2026-01-02T03:04:05.000678Z"
