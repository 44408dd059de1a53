"""From checks to a verdict, with what was judged, when, and by which policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from attestation.check import Check, Outcome
from attestation.formats.manifest import Manifest
from attestation.model import Appraisal, Facts, Verdict


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged, when, by which policy: the same for every way in which a judgement may end.

    `now` is an aware time; digests are SHA-256 of exact bytes, that of the policy empty if it has none.
    """

    now: datetime
    evidence_sha256: bytes
    policy_sha256: bytes

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise ValueError("now must carry a time zone")

    def decide(
        self,
        checks: list[Check],
        *,
        facts: Facts | None = None,
        authentic: bool = False,
        complete: bool = False,
        manifest: Manifest | None = None,
    ) -> Appraisal:
        """The worst outcome is the verdict. What was not looked at to the end is never accepted."""
        outcomes = {check.outcome for check in checks}
        if Outcome.FAIL in outcomes:
            verdict = Verdict.REFUSED
        elif Outcome.UNDECIDED in outcomes or not complete:
            verdict = Verdict.UNDECIDED
        else:
            verdict = Verdict.ACCEPTED_INSECURE if Outcome.INSECURE in outcomes else Verdict.ACCEPTED
        return Appraisal(
            verdict,
            tuple(checks),
            manifest,
            facts or {},
            authentic,
            self.now,
            self.evidence_sha256,
            self.policy_sha256,
        )
