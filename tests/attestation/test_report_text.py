"""One list of checks in every output; a development root never reads as a pass."""

from __future__ import annotations

import json

import pytest

from attestation.check import Check, Outcome, Stage
from attestation.model import Appraisal, Verdict
from attestation.report import EXIT_CODES, exit_code, printable, render_json, render_text


def appraisal(verdict: Verdict, outcome: Outcome = Outcome.PASS, found: str = "that") -> Appraisal:
    """An appraisal of one check."""
    check = Check("snp.debug", Stage.APPRAISE, outcome, "this", found, "docs/spec/policy.md#snp")
    return Appraisal(verdict, (check,), None, {"product": "Genoa"})


@pytest.mark.parametrize(
    ("verdict", "code"),
    [("accepted", 0), ("refused", 1), ("undecided", 2), ("accepted-insecure", 3)],
)
def test_every_verdict_has_its_exit_code(verdict: str, code: int) -> None:
    assert exit_code(Verdict(verdict)) == code
    assert set(EXIT_CODES) == set(Verdict)


def test_a_development_root_never_reads_as_a_pass() -> None:
    text = render_text(appraisal(Verdict.ACCEPTED_INSECURE, Outcome.INSECURE))
    assert text.startswith("!!!!")
    assert "ACCEPTED-INSECURE" in text.splitlines()[1]
    assert "NOTHING IS PROTECTED" in text.splitlines()[1]
    assert "ACCEPTED:" not in text
    value = json.loads(render_json(appraisal(Verdict.ACCEPTED_INSECURE, Outcome.INSECURE)))
    assert value["verdict"] == "accepted-insecure"
    assert value["insecure"] is True


def test_the_verdict_comes_first_and_tells_what_to_do() -> None:
    first = {verdict: render_text(appraisal(verdict)).splitlines()[0] for verdict in Verdict}
    assert first[Verdict.ACCEPTED].startswith("ACCEPTED:")
    assert "do not send" in first[Verdict.REFUSED]
    assert "treat it as refused" in first[Verdict.UNDECIDED]


def test_a_failed_check_shows_expected_found_and_reference() -> None:
    text = render_text(appraisal(Verdict.REFUSED, Outcome.FAIL))
    for part in ("FAIL", "snp.debug", "that", "expected: this", "see: docs/spec/policy.md#snp"):
        assert part in text


def test_every_output_says_what_is_not_proven() -> None:
    assert "a commercial provider still sees the prompt" in render_text(appraisal(Verdict.ACCEPTED))
    assert json.loads(render_json(appraisal(Verdict.ACCEPTED)))["not_proven"]


def test_the_json_form_has_every_check_in_full() -> None:
    value = json.loads(render_json(appraisal(Verdict.REFUSED, Outcome.FAIL)))
    assert value["format"] == "casemate/appraisal/1"
    assert value["checks"] == [
        {
            "id": "snp.debug",
            "stage": "appraise",
            "outcome": "fail",
            "expected": "this",
            "found": "that",
            "reference": "docs/spec/policy.md#snp",
        }
    ]


def test_evidence_cannot_write_control_sequences_to_a_terminal() -> None:
    text = render_text(appraisal(Verdict.REFUSED, Outcome.FAIL, found="\x1b[2J\r\nACCEPTED: yes\u202e"))
    assert "\x1b" not in text
    assert "\nACCEPTED: yes" not in text
    assert "\u202e" not in text
    assert printable("x" * 500) == "x" * 157 + "..."
