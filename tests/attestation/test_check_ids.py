"""A check that nobody documented or tested is a check that nobody can rely on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MAKERS = {"Check", "Rule", "_rule", "_tcb", "_same", "_check", "_required"} | {
    "rule",
    "recent",
    "judged",
    "member_or_any",
    "member_or_zeros",
    "switch",
    "reference_set",
    "all_judged",
}


def check_ids() -> list[str]:
    """The first argument of every call, anywhere in the package, that makes a check."""
    found: set[str] = set()
    for path in sorted((ROOT / "attestation").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return sorted(found)


IDS = check_ids()


def texts(folder: str, pattern: str) -> str:
    """All files of a folder as one text."""
    return "\n".join(path.read_text("utf-8") for path in sorted((ROOT / folder).rglob(pattern)))


def test_the_search_finds_the_checks() -> None:
    assert len(IDS) > 45
    assert {"evidence.parse", "statement.nonce", "snp.debug", "snp.chain.root", "connection.key"} <= set(IDS)


@pytest.mark.parametrize("check_id", IDS)
def test_every_check_is_in_the_specification(check_id: str) -> None:
    assert f"`{check_id}`" in texts("docs/spec", "*.md")


@pytest.mark.parametrize("check_id", IDS)
def test_every_check_is_in_a_test(check_id: str) -> None:
    assert f'"{check_id}"' in texts("tests", "test_*.py")


def test_the_specification_names_no_check_that_does_not_exist() -> None:
    table = [line for line in texts("docs/spec", "*.md").splitlines() if line.startswith("| `")]
    named = {line.split("`")[1] for line in table if line.count(" | ") >= 1 and "." in line.split("`")[1]}
    checks = {name for name in named if name.split(".")[0] in {"evidence", "snp", "statement", "connection"}}
    assert checks <= set(IDS) | POLICY_FIELDS


# Fields of a policy are written in the same tables' style; they are not checks.
POLICY_FIELDS = frozenset({"evidence.accept_without_nonce", "evidence.max_age_seconds"})
