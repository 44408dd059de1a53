"""From checks to a verdict, with what was judged, when, and by which rules."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from attestation.appraise.baseline import Baseline
from attestation.check import Check, Outcome
from attestation.formats.manifest import Manifest
from attestation.formats.records import encode_collateral, records_of
from attestation.hardware import SnpEvidence
from attestation.model import Appraisal, Collateral, Facts, Rules, Verdict
from attestation.pem import encode_pem
from attestation.policy.model import Policy

_FIRST_YEAR, _LAST_YEAR = 1970, 9998  # so that every certificate's time can be compared, in any zone


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged, when, by which rules: the same for every way in which a judgement may end.

    `now` is an aware time from 1970 to 9998. `evidence` names the evidence's parts: `document`, or the labels
    that its parts would have in one. `collateral` is what the verifier supplied beside it.
    """

    now: datetime
    evidence: Mapping[str, bytes]
    collateral: Collateral
    rules: Policy | Baseline

    def __post_init__(self) -> None:
        if self.now.tzinfo is None or not _FIRST_YEAR <= self.now.year <= _LAST_YEAR:
            raise ValueError("now must carry a time zone, and lie between 1970 and 9998")

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
        evidence = {name: _sha256(part) for name, part in self.evidence.items()}
        return Appraisal(
            verdict,
            tuple(checks),
            manifest,
            facts or {},
            authentic,
            self.now,
            one_digest(evidence),
            self.rules.sha256 if isinstance(self.rules, Policy) else b"",
            _kind(self.rules),
            evidence | _supplied(self.collateral) | _releases(self.rules),
        )


def one_digest(parts: Mapping[str, str]) -> bytes:
    """One SHA-256 for evidence: a document's own; for parts, that of `label SP hex LF` lines, sorted."""
    if "document" in parts:
        return bytes.fromhex(parts["document"])
    listing = "".join(f"{label} {digest}\n" for label, digest in sorted(parts.items()))
    return hashlib.sha256(listing.encode()).digest()


def _supplied(collateral: Collateral) -> dict[str, str]:
    """What the verifier added, under the labels that it would have in a document."""
    records = records_of(SnpEvidence(b"", collateral.certificates, collateral.crls))
    if collateral.tdx is not None:
        records["tdx-collateral"] = encode_collateral(collateral.tdx)
        records["tdx-crls"] = encode_pem(collateral.tdx.further_crls, "X509 CRL")
    return {f"supplied {label}": _sha256(value) for label, value in records.items() if value}


def _releases(rules: Policy | Baseline) -> dict[str, str]:
    """The release files of a policy, which its own digest does not cover."""
    if isinstance(rules, Baseline):
        return {}
    return {f"release {name}": digest.hex() for name, digest in rules.reference.digests.items()}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _kind(rules: Policy | Baseline) -> Rules:
    if isinstance(rules, Baseline):
        return "baseline"
    return "policy" if rules.sha256 else "built-in"
