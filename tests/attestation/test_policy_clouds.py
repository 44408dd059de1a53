"""The specification's table of what each cloud needs says what the built-in policy makes of real evidence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attestation.appraise.tdx import appraise_body
from attestation.policy.model import BUILT_IN
from attestation.tdx.abi import parse_quote
from tests.attestation.test_policy_corpus import REFUSED

ROOT = Path(__file__).resolve().parent.parent.parent
SECTION = "## What your cloud needs"
NEAR = "tdx-v4-nearai-emr-no-collateral"  # no collateral of its time: only what the quote itself says


def rows() -> dict[str, tuple[set[str], set[str]]]:
    """By where it runs: the cases, and the ids of the checks that the row names."""
    text = (ROOT / "docs/spec/policy.md").read_text("utf-8")
    section = text[text.index(SECTION) :].split("\n## ")[0]
    cells = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {row[0]: (quoted(row[1]), quoted(row[2])) for row in cells[1:]}


def quoted(cell: str) -> set[str]:
    """What stands between backticks."""
    return set(re.findall(r"`([^`]+)`", cell))


def objections(case: str, folder: Path) -> set[str]:
    """What the built-in policy refuses beside the reference value."""
    if case != NEAR:
        return set(REFUSED[case].split())
    body = parse_quote((folder / case / "quote.bin").read_bytes()).body
    checks = appraise_body(body, BUILT_IN.tdx)  # type: ignore[arg-type]
    return {check.id for check in checks if check.outcome.value == "fail"} - {"tdx.measurement"}


ROWS = rows()


@pytest.mark.parametrize("where", sorted(ROWS))
def test_a_cloud_needs_what_the_table_says_and_nothing_else(where: str, evidence_dir: Path) -> None:
    cases, checks = ROWS[where]
    assert cases
    assert checks == set().union(*(objections(case, evidence_dir) for case in cases))


def test_every_kind_of_place_is_in_the_table() -> None:
    text = " ".join(ROWS)
    for place in (
        "Bare metal",
        "Google",
        "AWS",
        "Azure Container Instances",
        "Azure, AMD",
        "Azure, Intel",
        "dstack",
    ):
        assert place in text


def test_whoever_the_sentence_calls_accepted_needs_nothing_more() -> None:
    nothing = {case for cases, checks in ROWS.values() if not checks for case in cases}
    assert nothing == {case for case, refused in REFUSED.items() if not refused}
