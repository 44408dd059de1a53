"""Every real case in every form: whole documents, and no form that says more than the verdict."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from attestation.appraise.baseline import Baseline
from attestation.errors import CannotDecide
from attestation.model import Appraisal, Collateral, Verdict
from attestation.policy.model import BUILT_IN, Policy
from attestation.raw_files import read_hardware
from attestation.report.ear import build_ear, tier
from attestation.report.html import render_html
from attestation.report.text import render_json, render_text
from attestation.verify import verify_hardware
from tests.attestation.test_report_html import page

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TEES = {"azure-vtpm-snp": "azure-snp", "azure-vtpm-tdx": "azure-tdx", "sgx": "tdx"}


def cases(place: Path) -> list[dict[str, Any]]:
    """All cases of the collection."""
    found = json.loads((place / "MANIFEST.json").read_bytes())["cases"]
    assert len(found) > 40
    return list(found)


def judge(place: Path, case: dict[str, Any], rules: Policy | Baseline) -> Appraisal | None:
    """Its appraisal at a time at which its collateral holds, if the collection names one."""
    expected = case["expected"]
    at = expected.get("verify_at") or next((one["at"] for one in expected.get("evaluations", ())), None)
    now = datetime.fromisoformat(at) if isinstance(at, str) else NOW
    try:
        hardware = read_hardware(TEES.get(case["tee"], case["tee"]), place / case["id"])
    except CannotDecide:
        return None
    return verify_hardware(hardware, Collateral(), rules, now=now)


@pytest.mark.parametrize("rules", [Baseline(), BUILT_IN], ids=["baseline", "built-in"])
def test_real_evidence_is_shown_in_every_form_and_none_says_more_than_the_verdict(
    evidence_dir: Path, rules: Policy | Baseline
) -> None:
    seen: set[Verdict] = set()
    shown = 0
    for case in cases(evidence_dir):
        judged = judge(evidence_dir, case, rules)
        if judged is None:
            continue
        seen.add(judged.verdict)
        shown += 1
        accepted = judged.verdict is Verdict.ACCEPTED
        assert render_text(judged).startswith("ACCEPTED:") is accepted
        assert json.loads(render_json(judged))["verdict"] == judged.verdict.value
        text = page(render_html(judged, subject=case["id"])).text
        assert text.startswith(f"Accepted by the baseline only: {case['id']}") is accepted
        assert text.startswith("Accepted") is accepted
        ear = build_ear(judged, nonce=None, now=NOW, developer="d", build="b")
        (record,) = ear["submods"].values()
        tiers = {tier(value) for value in record["ear_trustworthiness_vector"].values()}
        assert ("affirming" in tiers) <= accepted
        assert (ear["ear_status"] in ("affirming", "warning")) is accepted
        json.dumps(ear)
    assert shown > 35
    assert Verdict.REFUSED in seen
    assert (Verdict.ACCEPTED in seen) is isinstance(rules, Baseline)
