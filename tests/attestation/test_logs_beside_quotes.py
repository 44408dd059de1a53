"""Event logs beside real quotes that are refused or undecided: shown all the same, and able to refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from attestation.appraise.baseline import Baseline
from attestation.hardware import TdxEvidence
from attestation.model import Appraisal, Collateral
from attestation.raw_files import read_hardware
from attestation.verify import verify_hardware

LONG_AFTER = datetime(2040, 1, 1, tzinfo=UTC)


def read(evidence_dir: Path, case: str) -> TdxEvidence:
    """One case's evidence."""
    evidence = read_hardware("tdx", evidence_dir / case)
    assert isinstance(evidence, TdxEvidence)
    return evidence


def judge(evidence: TdxEvidence, now: datetime) -> Appraisal:
    """The baseline's answer."""
    return verify_hardware(evidence, Collateral(), Baseline(), now=now)


def failed(appraisal: Appraisal) -> list[str]:
    """Ids of the checks that failed."""
    return [check.id for check in appraisal.checks if check.outcome == "fail"]


def test_the_log_of_a_refused_quote_is_shown_all_the_same(evidence_dir: Path) -> None:
    now = datetime(2026, 8, 28, 5, 21, 24, tzinfo=UTC)
    appraisal = judge(read(evidence_dir, "tdx-v4-dstack-example-2024"), now)
    assert appraisal.verdict == "refused"
    assert failed(appraisal) == ["tdx.tcb.level"]
    assert isinstance(log := appraisal.facts["event_log"], dict)
    assert log["events"] == 28


def test_a_log_that_contradicts_its_quote_refuses_it_whatever_collateral_is_missing(
    evidence_dir: Path,
) -> None:
    evidence = read(evidence_dir, "tdx-v4-dstack-eventlog")
    assert evidence.dstack_log is not None
    assert judge(evidence, LONG_AFTER).verdict == "refused"  # its certificates have expired by then
    bare = replace(evidence, collateral=replace(evidence.collateral, tcb_info=b"", tcb_info_chain=()))
    now = datetime(2026, 3, 5, 10, 50, 3, tzinfo=UTC)
    assert judge(bare, now).verdict == "undecided"
    events = json.loads(evidence.dstack_log)[:-1]
    appraisal = judge(replace(bare, dstack_log=json.dumps(events).encode()), now)
    assert appraisal.verdict == "refused"
    assert failed(appraisal) == ["eventlog.replay"]


def test_an_enclaves_quote_has_no_registers_to_compare_a_log_with(evidence_dir: Path) -> None:
    log = read(evidence_dir, "tdx-v4-dstack-eventlog").dstack_log
    enclave = replace(read(evidence_dir, "sgx-v3-not-a-td"), dstack_log=log)
    appraisal = judge(enclave, datetime(2026, 11, 21, tzinfo=UTC))
    assert "tdx.quote.tee" in failed(appraisal)
    assert not any(check.id.startswith("eventlog.") for check in appraisal.checks)
