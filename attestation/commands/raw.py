"""Raw evidence of one machine, out of a folder: what `--tee` and `--dir` name, put before the verifier."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from attestation.appraise.baseline import Baseline
from attestation.check import Check, Outcome, Stage
from attestation.commands.online import Supplement
from attestation.errors import CannotDecide, MalformedEvidence
from attestation.hardware import Tee
from attestation.model import Appraisal, Verdict
from attestation.policy.model import Policy
from attestation.raw_files import read_hardware
from attestation.report.text import printable
from attestation.verify import verify_hardware

_REFERENCE = "docs/operate/verify.md#folders"


def judge_raw(
    tee: Tee,
    directory: Path,
    rules: Policy | Baseline,
    supplement: Supplement,
    *,
    now: datetime,
    report_data: bytes | None,
) -> Appraisal:
    """Appraise a folder. One that cannot be read gets an appraisal too, so that a script finds one answer."""
    try:
        hardware = read_hardware(tee, directory)
    except MalformedEvidence as error:
        return _unread(Verdict.REFUSED, Outcome.FAIL, tee, error, now)
    except CannotDecide as error:
        return _unread(Verdict.UNDECIDED, Outcome.UNDECIDED, tee, error, now)
    collateral = supplement.gather(hardware, now)
    return verify_hardware(hardware, collateral, rules, now=now, report_data=report_data)


def _unread(
    verdict: Verdict, outcome: Outcome, tee: Tee, error: CannotDecide | MalformedEvidence, now: datetime
) -> Appraisal:
    """The appraisal of a folder that yielded no evidence."""
    expected = f"a folder that holds {tee} evidence"
    check = Check("evidence.parse", Stage.PARSE, outcome, expected, printable(str(error)), _REFERENCE)
    return Appraisal(verdict, (check,), decided_at=now)
