"""Whatever the verdict, no form shows anything that a development root vouches for as a pass."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from attestation.check import Check, Outcome, Stage
from attestation.model import Appraisal, Verdict
from attestation.report.ear import build_ear, tier
from attestation.report.html import render_html
from attestation.report.text import is_insecure, render_json, render_text
from tests.attestation.test_report_html import page
from tests.fakes.amd import World
from tests.fakes.documents import snp_gateway
from tests.fakes.evidence import NONCE

WORST = {Verdict.REFUSED: Outcome.FAIL, Verdict.UNDECIDED: Outcome.UNDECIDED}


def simulated(verdict: Verdict) -> Appraisal:
    """A development root, which vouches for a machine and software that pass, and what made the verdict."""
    made = [
        ("snp.chain.root", Stage.AUTHENTICATE, Outcome.INSECURE),
        ("snp.signature", Stage.AUTHENTICATE, Outcome.PASS),
        ("statement.nonce", Stage.BIND, WORST.get(verdict, Outcome.PASS)),
        ("snp.tcb.reported", Stage.APPRAISE, Outcome.PASS),
        ("snp.measurement", Stage.APPRAISE, Outcome.PASS),
        ("snp.debug", Stage.APPRAISE, Outcome.PASS),
        ("config.digest", Stage.APPRAISE, Outcome.PASS),
    ]
    checks = tuple(Check(name, stage, outcome, "this", "that", "there") for name, stage, outcome in made)
    return Appraisal(verdict, checks, facts={"trust_class": "direct-boot"}, authentic=True)


def ear(judged: Appraisal) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its EAR, and the record in it."""
    made = build_ear(judged, nonce=NONCE, now=datetime(2026, 11, 22, tzinfo=UTC), developer="d", build="b")
    (record,) = made["submods"].values()
    return made, record


def expect_no_pass(judged: Appraisal) -> None:
    """No form of it reads as a pass."""
    text = render_text(judged)
    first, second = text.splitlines()[:2]
    assert first == "!" * 78
    assert "NOTHING IS PROTECTED" in second
    assert "ACCEPTED:" not in text
    assert not re.search(r"^  pass |  yes$", text, re.MULTILINE)
    assert "Is it the software that was named?  simulated" in text

    value = json.loads(render_json(judged))
    assert value["insecure"] is True
    assert value["authentic"] is False
    assert value["trust_class"] is None
    assert "pass" not in {check["outcome"] for check in value["checks"]}
    assert "simulated" in {check["outcome"] for check in value["checks"]}

    read = page(render_html(judged, subject="there"))
    assert "pass" not in read.classes
    assert "A simulation" in read.text[:80]
    assert "Simulated Is it the software that was named?" in read.text
    assert not re.search(r"\b(Passed|Accepted|Yes|Shows:)", read.text)
    assert "no genuine hardware behind it" in read.text[:500]

    made, record = ear(judged)
    vector = record["ear_trustworthiness_vector"]
    assert vector["hardware"] == 97
    assert {tier(number) for number in vector.values()} == {"contraindicated"}
    assert made["ear_status"] == record["ear_status"] == "contraindicated"
    assert record["ear_verifier_claims"]["insecure"] is True
    assert "pass" not in record["ear_verifier_claims"]["checks"].values()
    assert record["ear_verifier_claims"]["checks"]["snp.signature"] == "simulated"
    assert "ear_attester_claims" not in record


@pytest.mark.parametrize("verdict", Verdict)
def test_whatever_the_verdict_a_simulation_reads_as_a_pass_in_no_form(verdict: Verdict) -> None:
    assert is_insecure(simulated(verdict))
    expect_no_pass(simulated(verdict))


@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        ({}, Verdict.ACCEPTED_INSECURE),
        ({"nonce": None}, Verdict.UNDECIDED),
        ({"nonce": b"\x01" * 32}, Verdict.REFUSED),
    ],
)
def test_a_real_simulation_is_shown_as_one_whatever_comes_of_it(
    genoa: World, how: dict[str, Any], verdict: Verdict
) -> None:
    judged = snp_gateway(genoa).appraise(**how)
    assert judged.verdict is verdict
    assert is_insecure(judged)
    assert '"pass"' not in render_json(judged)
    assert ear(judged)[1]["ear_trustworthiness_vector"]["hardware"] == 97
    assert render_text(judged).startswith("!!!!")
    assert "pass" not in page(render_html(judged, subject="there")).classes


def test_a_verdict_that_says_insecure_is_enough() -> None:
    bare = Appraisal(Verdict.ACCEPTED_INSECURE, simulated(Verdict.ACCEPTED).checks[1:], authentic=True)
    assert is_insecure(bare)
    expect_no_pass(bare)


@pytest.mark.parametrize(
    ("verdict", "word", "headline"),
    [
        (Verdict.REFUSED, "A simulation, and refused", "REFUSED, and a simulation"),
        (Verdict.UNDECIDED, "A simulation, and not decided", "UNDECIDED, and a simulation"),
        (Verdict.ACCEPTED_INSECURE, "A simulation. Nothing is protected", "ACCEPTED-INSECURE: a simulation"),
    ],
)
def test_a_simulations_verdict_is_told_as_well(verdict: Verdict, word: str, headline: str) -> None:
    judged = simulated(verdict)
    assert render_text(judged).splitlines()[1].startswith(headline)
    document = render_html(judged, subject="there")
    read = page(document)
    assert read.text.startswith(f"{word}: there")
    assert f'@top-left{{content:"Attestation report: {word}"' in document
    assert "Why AMD's root key It would show" in read.text
    assert json.loads(render_json(judged))["verdict"] == verdict.value


@pytest.mark.parametrize("verdict", [Verdict.ACCEPTED, Verdict.REFUSED, Verdict.UNDECIDED])
def test_genuine_hardware_is_called_no_simulation(verdict: Verdict) -> None:
    judged = simulated(verdict)
    genuine = replace(judged, checks=judged.checks[1:])
    assert not is_insecure(genuine)
    assert "imulat" not in render_text(genuine)
    assert "imulat" not in page(render_html(genuine, subject="there")).text
    value = json.loads(render_json(genuine))
    assert (value["insecure"], value["authentic"], value["trust_class"]) == (False, True, "direct-boot")
    assert value["checks"][0]["outcome"] == "pass"
