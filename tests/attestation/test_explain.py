"""Words, code and audit document name the same checks."""

from __future__ import annotations

import pytest

from attestation.check import Check, Outcome, Stage
from attestation.report.explain import EXPLANATIONS, LAYERS, Explanation, by_layer, explain
from attestation.report.explanations import azure, gateway, platform, snp, tdx
from tests.attestation.audit_table import CHECKS_FILE, render
from tests.attestation.test_check_ids import IDS, ROOT


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


# No policy can switch these off, so that they hold whatever it says.
UNCONDITIONAL = {"snp.debug", "tdx.debug", "snp.platform.unknown"}


def judged_by_policy() -> list[str]:
    """Ids of the rules that hold a machine against a policy."""
    files = [ROOT / "attestation" / "appraise" / f"{name}.py" for name in ("hardware", "snp", "tdx", "vtpm")]
    text = "\n".join(path.read_text("utf-8") for path in files)
    return [check_id for check_id in IDS if f'"{check_id}"' in text]


@pytest.mark.parametrize("check_id", judged_by_policy())
def test_what_a_policy_can_switch_off_is_explained_as_depending_on_it(check_id: str) -> None:
    """A check that passes because nobody demanded anything must not read as if a machine had shown it."""
    assert ("policy" in explain(check_id).proves) is (check_id not in UNCONDITIONAL)


def test_the_rules_that_depend_on_a_policy_are_found() -> None:
    found = judged_by_policy()
    assert len(found) > 50
    assert {"snp.alias_check", "snp.crl.present", "tdx.sept_ve", "azure.console"} <= set(found)
