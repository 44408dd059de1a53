"""The comparison of verifiers: pairing, promises, and every verifier over evidence forged for it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from benchmarks.verify import broken_promises, markdown, paired
from benchmarks.verify_cases import DOCUMENT, SNP, TDX, Case, forged_cases
from benchmarks.verify_oracles import OURS, VERIFIERS, Refused, Verifier
from benchmarks.verify_run import measure


def _result(cpu_us: list[float], refusal: str = "") -> dict[str, Any]:
    theirs = {"checks": "less", "refusal": "", "cpu_us": [100.0, 50.0, 200.0]}
    ours = {"checks": "all", "refusal": refusal, "cpu_us": cpu_us}
    return {"case": "a case", "kind": SNP, "verifiers": {OURS: ours, "other": theirs}}


def test_ratios_are_of_the_two_samples_of_one_round() -> None:
    assert paired([200.0, 100.0, 300.0], [100.0, 50.0, 200.0]) == (2.0, 1.5, 2.0)
    assert paired([200.0], []) is None


def test_the_table_names_both_sides_and_what_the_other_leaves_out() -> None:
    table = markdown([_result([200.0, 100.0, 300.0])], {"cpus": 2})
    assert "| SNP report, a case | casemate | 200 | - | all |" in table
    assert "| SNP report, a case | other | 100 | 2.00 (1.50 to 2.00) | less |" in table


def test_a_refusal_of_ours_and_a_broken_promise_are_told() -> None:
    assert broken_promises([_result([1_999.0])]) == []
    assert "more than 2000" in broken_promises([_result([2_001.0])])[0]
    assert "refused it" in broken_promises([_result([], "refused it")])[0]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Everything that is forged, as the measuring process reads it."""
    return [Case(**json.loads(json.dumps(asdict(case)))) for case in forged_cases()]


def _ours(case: Case) -> Verifier:
    return next(each for each in VERIFIERS if each.name == OURS and case.kind in each.kinds)


def test_ours_accepts_every_forged_case_by_its_forged_roots(cases: list[Case]) -> None:
    assert {case.kind for case in cases} == {SNP, TDX, DOCUMENT}
    for case in cases:
        _ours(case).prepare(asdict(case))()


def test_ours_is_not_measured_on_what_it_refuses(cases: list[Case]) -> None:
    for case in cases:
        with pytest.raises(Refused):
            _ours(case).prepare(asdict(replace(case, seconds=case.seconds + 40 * 365 * 86_400)))()


def test_a_measurement_has_one_sample_a_round_and_tells_who_cannot(cases: list[Case]) -> None:
    measured = measure(asdict(next(case for case in cases if case.kind == SNP)), rounds=2)
    assert len(measured["verifiers"][OURS]["cpu_us"]) == 2
    for name in ("cvm-attest", "omne-attest", "dk-tee-attestation"):  # not installed here
        assert "ModuleNotFoundError" in measured["verifiers"][name]["refusal"]
        assert measured["verifiers"][name]["cpu_us"] == []
