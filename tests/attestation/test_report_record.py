"""Every form says what was judged, on what it stands and by which rules; text shows all that was found."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from attestation.appraise.baseline import Baseline
from attestation.check import Check, Outcome, Stage
from attestation.model import Appraisal, Collateral, Rules, Verdict
from attestation.raw_files import read_hardware
from attestation.report.ear import build_ear
from attestation.report.html import render_html
from attestation.report.text import render_json, render_text
from attestation.verify import verify_hardware
from tests.attestation.test_report_html import page

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WEAKER = "paravisor-vtpm (weaker: a paravisor vouches for the guest)"
INPUTS = {"hcl-report": "01" * 32, "supplied snp-crls": "02" * 32}


def appraisal(
    verdict: Verdict = Verdict.ACCEPTED, rules: Rules = "policy", trust_class: str | None = "paravisor-vtpm"
) -> Appraisal:
    """Genuine hardware, of which everything passed that was looked at."""
    ids = ("snp.signature", "azure.ak" if trust_class == "paravisor-vtpm" else "snp.crl")
    checks = [Check(name, Stage.AUTHENTICATE, Outcome.PASS, "this", "that", "there") for name in ids]
    checks.append(Check("snp.debug", Stage.APPRAISE, Outcome.PASS, "off", "off", "there"))
    facts = {} if trust_class is None else {"trust_class": trust_class}
    digest = b"\xff" * 32 if rules == "policy" else b""
    return Appraisal(
        verdict, tuple(checks), None, facts, True, NOW, b"\x03" * 32, digest, rules=rules, inputs=INPUTS
    )


def record(judged: Appraisal) -> dict[str, Any]:
    """The record in its EAR."""
    made = build_ear(judged, nonce=None, now=NOW, developer="d", build="b")
    (found,) = made["submods"].values()
    assert made["ear_status"] == found["ear_status"]
    return dict(found)


def headline(judged: Appraisal) -> str:
    """The first line of its text."""
    return render_text(judged).splitlines()[0]


def html(judged: Appraisal) -> str:
    """The text of its report."""
    return page(render_html(judged, subject="there")).text


def test_the_headline_of_an_accepted_appraisal_names_its_trust_class() -> None:
    assert headline(appraisal()) == (
        f"ACCEPTED: genuine hardware, {WEAKER}, and everything that was demanded of it holds"
    )
    direct = appraisal(trust_class="direct-boot")
    assert "genuine hardware, direct-boot (the processor itself measured the guest), and" in headline(direct)
    untold = appraisal(trust_class=None)
    assert headline(untold) == "ACCEPTED: genuine hardware, and everything that was demanded of it holds"
    assert f"Trust class: {WEAKER}." in html(appraisal()).split("In short")[0]
    assert "Trust class: direct-boot" in html(direct).split("In short")[0]
    assert "Trust class" not in html(untold).split("In short")[0]


@pytest.mark.parametrize("verdict", [Verdict.ACCEPTED, Verdict.REFUSED, Verdict.UNDECIDED])
def test_the_trust_class_is_part_of_the_record_whatever_the_verdict(verdict: Verdict) -> None:
    judged = appraisal(verdict)
    assert f"\n  trust class    {WEAKER}\n" in render_text(judged)
    assert f"Trust class {WEAKER}" in html(judged)
    assert json.loads(render_json(judged))["trust_class"] == "paravisor-vtpm"
    assert record(judged)["ear_verifier_claims"]["trust_class"] == "paravisor-vtpm"


@pytest.mark.parametrize("changes", [{"authentic": False}, {"facts": {}}, {"facts": {"trust_class": 7}}])
def test_a_trust_class_that_is_not_established_is_not_told(changes: dict[str, Any]) -> None:
    judged = replace(appraisal(Verdict.REFUSED), **changes)
    assert "trust class  " not in render_text(judged)
    assert "Trust class not established" in html(judged)
    assert json.loads(render_json(judged))["trust_class"] is None
    assert record(judged)["ear_verifier_claims"]["trust_class"] is None


def test_hardware_below_a_paravisor_is_a_warning_at_best() -> None:
    below, direct = record(appraisal()), record(appraisal(trust_class="direct-boot"))
    assert below["ear_trustworthiness_vector"]["hardware"] == 32
    assert below["ear_status"] == "warning"
    assert direct["ear_trustworthiness_vector"]["hardware"] == 2
    assert direct["ear_status"] == "affirming"


def test_a_paravisor_makes_no_failure_smaller() -> None:
    judged = appraisal(Verdict.REFUSED)
    bad = Check("snp.crl", Stage.AUTHENTICATE, Outcome.FAIL, "this", "that", "there")
    failed = replace(judged, checks=(*judged.checks, bad))
    assert record(failed)["ear_trustworthiness_vector"]["hardware"] == 96


@pytest.mark.parametrize(
    ("rules", "text", "in_html", "policy_id"),
    [
        ("policy", f"policy, sha256 {'ff' * 32}", "Rules a policy", f"ni:///sha-256;{'_' * 42}8"),
        (
            "built-in",
            "the built-in policy",
            "Rules the built-in policy",
            "tag:casemate,2026:appraisal/1/built-in",
        ),
        (
            "baseline",
            "the baseline alone: no policy was applied",
            "Rules the baseline alone: no policy was applied",
            "tag:casemate,2026:appraisal/1/baseline",
        ),
    ],
)
@pytest.mark.parametrize("verdict", [Verdict.ACCEPTED, Verdict.REFUSED, Verdict.UNDECIDED])
def test_every_form_says_by_which_rules(
    verdict: Verdict, rules: Rules, text: str, in_html: str, policy_id: str
) -> None:
    judged = appraisal(verdict, rules)
    assert f"\n  rules          {text}\n" in render_text(judged)
    assert in_html in html(judged)
    assert json.loads(render_json(judged))["rules"] == rules
    assert record(judged)["ear_appraisal_policy_ids"] == [policy_id]
    assert record(judged)["ear_verifier_claims"]["rules"] == rules


def test_accepted_under_the_baseline_is_never_more_than_that() -> None:
    judged = appraisal(rules="baseline", trust_class="direct-boot")
    assert headline(judged).startswith("ACCEPTED: genuine hardware, direct-boot (")
    line = headline(judged)
    assert ". NO POLICY WAS APPLIED, only the baseline: " in line
    assert line.endswith("neither software nor AMD's firmware level was looked at")
    document = render_html(judged, subject="there")
    assert page(document).text.startswith("Accepted by the baseline only: there")
    assert "Attestation report: Accepted by the baseline only" in document
    assert "No policy was applied" in page(document).text[:300]
    assert "everything that was demanded" not in page(document).text
    assert record(judged)["ear_status"] == "warning"
    assert record(judged)["ear_trustworthiness_vector"]["hardware"] == 2
    assert record(appraisal(Verdict.REFUSED, "baseline"))["ear_status"] == "contraindicated"
    assert record(appraisal(Verdict.UNDECIDED, "baseline"))["ear_status"] == "none"


def test_other_rules_are_not_called_the_baseline() -> None:
    for rules in ("policy", "built-in"):
        judged = appraisal(rules=rules, trust_class="direct-boot")
        assert "POLICY WAS APPLIED" not in headline(judged)
        assert html(judged).startswith("Accepted: there")


def test_every_input_is_listed_with_its_digest() -> None:
    judged = appraisal()
    assert json.loads(render_json(judged))["inputs"] == INPUTS
    assert record(judged)["ear_verifier_claims"]["inputs"] == INPUTS
    shown = html(judged)
    assert f"Input hcl-report, SHA-256 {'01' * 32} Input supplied snp-crls, SHA-256 {'02' * 32}" in shown
    assert "Compare the SHA-256 values of the policy and of every input with yours first" in shown
    assert "the evidence's own digest does not cover what was supplied beside it." in shown


def test_real_evidence_without_collateral_is_filed_under_the_baseline_and_by_its_inputs(
    evidence_dir: Path,
) -> None:
    hardware = read_hardware("tdx", evidence_dir / "tdx-v4-nearai-emr-no-collateral")
    judged = verify_hardware(hardware, Collateral(), Baseline(), now=NOW)
    assert judged.verdict is Verdict.UNDECIDED
    assert "built-in" not in render_text(judged) + html(judged) + json.dumps(record(judged))
    assert record(judged)["ear_appraisal_policy_ids"] == ["tag:casemate,2026:appraisal/1/baseline"]
    assert "tdx-quote" in json.loads(render_json(judged))["inputs"]


def test_registers_that_passed_are_shown_to_the_last_digit() -> None:
    registers = {"mrtd": "a1", "rtmr0": "b2", "rtmr1": "c3", "rtmr2": "d4", "rtmr3": "e5"}
    found = "as in guest: " + ", ".join(f"{name} {byte * 48}" for name, byte in registers.items())
    passed = Check("tdx.measurement", Stage.APPRAISE, Outcome.PASS, "listed", found, "there")
    lines = render_text(Appraisal(Verdict.ACCEPTED, (passed,))).splitlines()
    for name, byte in registers.items():
        assert [line for line in lines if f"{name} {byte * 48}" in line]
    assert all(len(line) <= 130 for line in lines if "5e5" in line or "mrtd" in line)
    assert "  pass       tdx.measurement             Measurement of the software:" in lines


def test_what_is_expected_is_shown_in_full_if_it_was_not_found() -> None:
    wanted = "; ".join("ab" * 48 for _ in range(6))
    failed = Check("tdx.measurement", Stage.APPRAISE, Outcome.FAIL, wanted, "that", "there")
    text = render_text(Appraisal(Verdict.REFUSED, (failed,)))
    assert text.count("ab" * 48) == 6


def test_a_text_that_is_cut_says_so() -> None:
    def shown(found: str) -> str:
        check = Check("snp.debug", Stage.APPRAISE, Outcome.PASS, "this", found, "there")
        return render_text(Appraisal(Verdict.ACCEPTED, (check,)))

    assert shown("x" * 4096).count("x") == 4096 + shown("").count("x")
    assert "cut" not in shown("x" * 4096)
    assert shown("x" * 4097).count("x") < 4096 + shown("").count("x")
    assert "... (cut here; the JSON form has all of it)" in shown("x" * 4097)
