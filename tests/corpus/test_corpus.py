"""The whole collection through the command: what `make corpus` prints, held to the manifest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus.cases import ACCEPTED, REFUSED, UNDECIDED, WORDS, differences, read_runs
from tests.corpus.table import SECOND, Answer, Row, judge, lines, main, render, run_table


@pytest.fixture(scope="module")
def rows(evidence_dir: Path) -> list[Row]:
    """Every run, once."""
    return run_table(evidence_dir)


@pytest.mark.timeout(600)
def test_every_case_gives_its_verdict_its_facts_and_the_layer_that_refused(rows: list[Row]) -> None:
    differing = [row for row in rows if row.problems]
    assert not differing, "\n" + render(differing)
    assert len({row.run.case for row in rows}) == 42


def test_the_table_has_all_three_verdicts_and_a_second_column_for_each_run(rows: list[Row]) -> None:
    text = render(rows)
    assert {row.baseline.value["verdict"] for row in rows} == set(WORDS.values())
    head, *table = text.splitlines()
    at = head.index("built-in policy")
    starts = [line for line in table if line.startswith("ok ")]
    assert len(starts) == len(rows) > 42
    assert all(line[at:].split(":")[0] in ("refused", "undecided") for line in starts)
    assert max(map(len, table)) <= at + SECOND
    by_case = {row.run.case: lines(row) for row in rows if not row.run.note}
    told = " ".join(line[at:].strip() for line in by_case["snp-milan-v3-vcek-gcp-oak"])
    assert "snp.milan" in told
    assert "snp.product.allowed (Milan" in told


def test_a_run_beyond_the_time_of_its_collateral_is_put_before_the_built_in_policy_too(
    rows: list[Row],
) -> None:
    later = [row for row in rows if row.run.note]
    assert later
    assert all(row.built_in.ids("fail") or row.built_in.ids("undecided") for row in later)


def test_the_table_counts_cases_and_differences(rows: list[Row]) -> None:
    text = render(rows)
    assert "42 cases" in text
    assert "0 cases differ" in text


def test_the_built_in_policy_names_what_it_refuses_beyond_the_baseline(rows: list[Row]) -> None:
    refused = {row.run.case: row.built_in.ids("fail") for row in rows if not row.run.note}
    assert "snp.milan" in refused["snp-milan-v3-vcek-gcp-oak"]
    assert "snp.measurement" in refused["snp-genoa-v5-vcek-oak"]
    assert "tdx.measurement" in refused["tdx-v5-google-2026"]
    assert "platform.trust_class" in refused["az-snp-genoa"]


def test_no_case_of_the_manifest_is_left_out(evidence_dir: Path) -> None:
    cases = json.loads((evidence_dir / "MANIFEST.json").read_text())["cases"]
    runs = read_runs(evidence_dir)
    assert [run.case for run in runs if not run.note] == [case["id"] for case in cases]
    expected = {case["id"]: case["expected"]["strict_accept"] for case in cases}
    assert {run.case: run.exit_code == ACCEPTED for run in runs if not run.note} == expected


def test_every_fact_of_the_manifest_is_compared(evidence_dir: Path) -> None:
    cases = json.loads((evidence_dir / "MANIFEST.json").read_text())["cases"]
    runs = {run.case: run for run in read_runs(evidence_dir) if not run.note}
    for case in cases:
        expected = case["expected"].get("facts", {})
        assert {name: runs[case["id"]].facts[name] for name in expected} == expected
        assert ("azure" in case) is ("azure" in runs[case["id"]].facts)
        assert ("event_log" in case) is ("event_log" in runs[case["id"]].facts)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"exit_code": REFUSED}, "exit code"),
        ({"exit_code": UNDECIDED}, "verdict"),
        ({"facts": {"product": "Milan"}}, "facts.product"),
        ({"facts": {"policy": {"debug": True}}}, "facts.policy.debug"),
        ({"facts": {"no_such_fact": None}}, "facts.no_such_fact is missing"),
        ({"failing": ("snp.signature",)}, "snp.signature should have failed"),
    ],
)
def test_a_difference_is_found_and_told(changes: dict[str, object], told: str, evidence_dir: Path) -> None:
    run = next(run for run in read_runs(evidence_dir) if run.case == "snp-genoa-v5-vcek-oak")
    row = judge(replace(run, **changes), evidence_dir)  # type: ignore[arg-type]
    assert any(told in problem for problem in row.problems)
    assert "DIFFERS" in render([row])


def test_facts_are_compared_exactly_and_in_depth() -> None:
    found = {"a": 1, "b": [1, 2], "c": {"d": None}, "more": 1}
    assert list(differences({"a": 1, "b": [1, 2], "c": {"d": None}}, found)) == []
    assert list(differences({"a": True}, found)) == ["facts.a: expected True, found 1"]
    assert list(differences({"b": [2, 1]}, found)) == ["facts.b: expected [2, 1], found [1, 2]"]
    assert list(differences({"c": {"d": 0, "e": 0}}, found)) == [
        "facts.c.d: expected 0, found None",
        "facts.c.e is missing",
    ]
    assert list(differences({"a": {"b": 1}}, found)) == ["facts.a: expected {'b': 1}, found 1"]


def test_an_answer_without_json_is_no_answer() -> None:
    assert Answer(1, {}, "Traceback").ids("fail") == []


def test_a_name_that_is_no_case_is_told(evidence_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evidence_dir.is_dir()
    assert main(["no-such-case"]) == 2
    assert "no case" in capsys.readouterr().err
