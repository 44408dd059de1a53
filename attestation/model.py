"""Frozen values that every other module speaks in. No behaviour beyond reading them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from attestation.check import Check, Outcome, Stage
from attestation.errors import (
    AttestationError,
    BindingMismatch,
    CannotDecide,
    MalformedEvidence,
    NotAuthentic,
    PolicyRefused,
)
from attestation.manifest import Manifest


class Verdict(StrEnum):
    """Overall outcome. `ACCEPTED_INSECURE` means: a development root signed this; never show it as a pass."""

    ACCEPTED = "accepted"
    ACCEPTED_INSECURE = "accepted-insecure"
    REFUSED = "refused"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Tcb:
    """Security patch levels, one component each; compare component-wise, never as one integer.

    `fmc` exists on Turin only and is None elsewhere. Source: AMD 56860 (SNP firmware ABI), TCB_VERSION.
    """

    bootloader: int
    tee: int
    snp: int
    microcode: int
    fmc: int | None = None

    def at_least(self, floor: Tcb) -> bool:
        """True if every component reaches the floor's (an absent fmc counts as 0)."""
        mine = (self.bootloader, self.tee, self.snp, self.microcode, self.fmc or 0)
        needed = (floor.bootloader, floor.tee, floor.snp, floor.microcode, floor.fmc or 0)
        return all(have >= want for have, want in zip(mine, needed, strict=True))


@dataclass(frozen=True, slots=True)
class Collateral:
    """What the vendor publishes, supplied by the caller: DER bytes. Empty means: use what the document
    carries."""

    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()


_RAISES: dict[Stage, type[AttestationError]] = {
    Stage.PARSE: MalformedEvidence,
    Stage.AUTHENTICATE: NotAuthentic,
    Stage.BIND: BindingMismatch,
    Stage.APPRAISE: PolicyRefused,
}


@dataclass(frozen=True, slots=True)
class Appraisal:
    """All checks and the overall verdict.

    `manifest` and `config` are set only if they were bound into authentic evidence (whatever the policy
    said). `facts` are human-readable claims (measurement, product, TCB...), for display only.
    """

    verdict: Verdict
    checks: tuple[Check, ...]
    manifest: Manifest | None = None
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[Check, ...]:
        """Checks that failed or could not be decided, in the order they were made."""
        return tuple(c for c in self.checks if c.outcome in (Outcome.FAIL, Outcome.UNDECIDED))

    def require(self) -> Appraisal:
        """Return self if the verdict is accepted or accepted-insecure; else raise the error of the first
        failed stage."""
        if self.verdict in (Verdict.ACCEPTED, Verdict.ACCEPTED_INSECURE):
            return self
        failed = self.failed
        names = ", ".join(c.id for c in failed)
        if self.verdict is Verdict.UNDECIDED:
            hint = "ask with a fresh nonce, or supply the collateral that the check names"
            raise CannotDecide(f"cannot decide: {names}", hint=hint, checks=failed)
        first = next(c for c in failed if c.outcome is Outcome.FAIL)
        raise _RAISES[first.stage](
            f"evidence refused: {first.id}: expected {first.expected}, found {first.found} (all: {names})",
            hint="do not send data to this endpoint; compare its evidence with your policy",
            checks=failed,
        )
