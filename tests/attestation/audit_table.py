"""Write docs/audit/checks.md from the explanations: `python -m tests.attestation.audit_table`."""

from __future__ import annotations

from pathlib import Path

from attestation.report.explain import EXPLANATIONS, LAYERS, Layer

CHECKS_FILE = Path(__file__).resolve().parent.parent.parent / "docs" / "audit" / "checks.md"

_HEAD = """# Every check, and what it proves

One row for each check id that a report can show, grouped by the question that it answers. "Proves" holds
if, and only if, the check passed. The same words stand in the HTML report; the exact rules, with their
sources, are in [docs/spec](../spec/). [README.md](README.md) says how to read and repeat a decision.

This file is written by `python -m tests.attestation.audit_table` from `attestation/report/explain.py`; a test
holds it against the checks in code.
"""


def render() -> str:
    """The whole file."""
    return _HEAD + "".join(_section(layer) for layer in LAYERS)


def _section(layer: Layer) -> str:
    rows = [
        f"| `{check_id}` | {told.title} | {told.proves} | {told.leaves_open} |\n"
        for check_id, told in EXPLANATIONS.items()
        if told.layer == layer.name
    ]
    if not rows:
        return ""
    head = "| check | what is looked at | proves | leaves open |\n|---|---|---|---|\n"
    return f"\n## {layer.question}\n\n{layer.about}\n\n{head}{''.join(rows)}"


if __name__ == "__main__":
    CHECKS_FILE.write_text(render(), "utf-8")
