"""Words, code and audit document name the same checks."""

from __future__ import annotations

import pytest

from attestation.check import Check, Outcome, Stage
from attestation.report.explain import EXPLANATIONS, LAYERS, Explanation, by_layer, explain
from attestation.report.explanations import azure, gateway, platform, snp, tdx
from tests.attestation.audit_table import CHECKS_FILE, render
from tests.attestation.test_check_ids import IDS


def test_every_check_in_code_is_explained() -> None:
    assert set(IDS) - set(EXPLANATIONS) == set()


def test_nothing_is_explained_that_no_code_checks() -> None:
    assert set(EXPLANATIONS) - set(IDS) == set()


def test_the_audit_document_says_the_same() -> None:
    assert CHECKS_FILE.read_text("utf-8") == render(), "run python -m tests.attestation.audit_table"
    assert all(f"| `{check_id}` |" in render() for check_id in IDS)


def test_no_table_hides_an_entry_of_another() -> None:
    tables = (gateway.ENTRIES, snp.ENTRIES, tdx.ENTRIES, azure.ENTRIES, platform.ENTRIES)
    assert sum(len(table) for table in tables) == len(EXPLANATIONS)


@pytest.mark.parametrize("told", EXPLANATIONS.values(), ids=EXPLANATIONS)
def test_an_explanation_is_short_and_made_of_sentences(told: Explanation) -> None:
    assert told.layer in {layer.name for layer in LAYERS}
    assert 0 < len(told.title) <= 48
    assert not told.title.endswith(".")
    for text in (told.proves, told.leaves_open):
        assert text[0].isupper()
        assert text.endswith(".")
        assert len(text) <= 200
        assert text.isascii()
        assert "|" not in text


def test_titles_are_unique_within_a_question() -> None:
    titles = [(told.layer, told.title, name.split(".")[0]) for name, told in EXPLANATIONS.items()]
    assert len(set(titles)) == len(titles)


def test_an_unknown_check_is_shown_as_unexplained_and_last() -> None:
    def made(check_id: str) -> Check:
        return Check(check_id, Stage.APPRAISE, Outcome.PASS, "", "", "")

    assert explain("no.such").layer == "other"
    checks = [made("no.such"), made("snp.debug"), made("snp.signature"), made("snp.vmpl"), made("no.other")]
    grouped = [(layer.name, [check.id for check in group]) for layer, group in by_layer(checks)]
    assert grouped == [
        ("hardware", ["snp.signature"]),
        ("software", ["snp.debug", "snp.vmpl"]),
        ("other", ["no.such", "no.other"]),
    ]
    assert by_layer([]) == []
