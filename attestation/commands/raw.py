"""Raw evidence of one machine, out of a folder: what `--tee` and `--dir` name, put before the verifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from attestation.appraise.baseline import Baseline
from attestation.check import Check, Outcome, Stage
from attestation.commands.online import Supplement, Supplied
from attestation.decide import Subject
from attestation.errors import CannotDecide, MalformedEvidence
from attestation.hardware import Tee
from attestation.model import Appraisal, Collateral
from attestation.policy.model import Policy
from attestation.raw_files import read_hardware
from attestation.report.text import printable
from attestation.verify import verify_hardware

_REFERENCE = "docs/operate/verify.md#folders"


@dataclass(frozen=True, slots=True)
class Judged:
    """An appraisal, with which collateral it was made, and a way out if there is one that no check names."""

    appraisal: Appraisal
    supplied: Supplied
    hint: str = ""


def judge_raw(
    tee: Tee,
    directory: Path,
    rules: Policy | Baseline,
    supplement: Supplement,
    *,
    now: datetime,
    report_data: bytes | None,
) -> Judged:
    """Appraise a folder. One that cannot be read gets an appraisal too, so that a script finds one answer."""
    nothing = Supplied(directory=supplement.directory)
    try:
        hardware = read_hardware(tee, directory)
    except MalformedEvidence as error:
        return Judged(_unread(Outcome.FAIL, tee, error, rules, now), nothing)
    except CannotDecide as error:
        unread = _unread(Outcome.UNDECIDED, tee, error, rules, now)
        return Judged(unread, nothing, f"evidence.parse is undecided: {error.hint}")
    supplied = supplement.gather(hardware, now)
    appraisal = verify_hardware(hardware, supplied.collateral, rules, now=now, report_data=report_data)
    return Judged(appraisal, supplied)


def _unread(
    outcome: Outcome,
    tee: Tee,
    error: CannotDecide | MalformedEvidence,
    rules: Policy | Baseline,
    now: datetime,
) -> Appraisal:
    """The appraisal of a folder that yielded no evidence."""
    expected = f"a folder that holds {tee} evidence"
    check = Check("evidence.parse", Stage.PARSE, outcome, expected, printable(str(error)), _REFERENCE)
    return replace(Subject(now, {}, Collateral(), rules).decide([check]), evidence_sha256=None)
