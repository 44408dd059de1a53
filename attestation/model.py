"""Frozen values that every other module speaks in. No behaviour beyond reading them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias

from attestation.check import Check, Outcome, Stage
from attestation.errors import (
    AttestationError,
    BindingMismatch,
    CannotDecide,
    MalformedEvidence,
    NotAuthentic,
    PolicyRefused,
)
from attestation.formats.manifest import Manifest


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


Rules = Literal["policy", "built-in", "baseline"]
Fact: TypeAlias = "bool | int | str | Sequence[Fact] | Mapping[str, Fact] | None"
Facts: TypeAlias = Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class TdxCollateral:
    """What Intel publishes about one TDX platform. Empty means: not supplied.

    `tcb_info` and `qe_identity` are the exact JSON bytes as served, signature included; chains are DER, leaf
    first; CRLs are DER. Source: Intel PCS API version 4 (docs/spec/collateral.md).

    `further_crls` are older or other lists of the root or of the PCK's CA, DER, any order: whatever a genuine
    one revokes is revoked, and those that are not genuine are passed over. In no document: a verifier's own.
    """

    tcb_info: bytes = b""
    tcb_info_chain: tuple[bytes, ...] = ()
    qe_identity: bytes = b""
    qe_identity_chain: tuple[bytes, ...] = ()
    pck_crl: bytes = b""
    pck_crl_chain: tuple[bytes, ...] = ()
    root_crl: bytes = b""
    further_crls: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Collateral:
    """What vendors publish, supplied by the caller; it adds to what the evidence carries.

    `certificates` and `crls` are AMD's, DER, any order; `tdx`, if set, replaces the evidence's own, but what
    the evidence's own lists revoke stays revoked.
    """

    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    tdx: TdxCollateral | None = None


_RAISES: dict[Stage, type[AttestationError]] = {
    Stage.PARSE: MalformedEvidence,
    Stage.AUTHENTICATE: NotAuthentic,
    Stage.BIND: BindingMismatch,
    Stage.APPRAISE: PolicyRefused,
}


@dataclass(frozen=True, slots=True)
class Appraisal:
    """All checks and the overall verdict.

    `manifest` is set only if it was bound into authentic evidence (whatever the policy said). `facts` is what
    the evidence says (docs/spec/facts.md), for display only: `authentic` tells whether hardware vouches for
    it. The rest says what was judged, when, by which rules. `inputs` names everything that went in, with the
    SHA-256 of each in hexadecimal (docs/spec/appraisal.md#inputs); `evidence_sha256` is one digest for all of
    the evidence, `policy_sha256` that of the policy's file, empty if there was none.
    """

    verdict: Verdict
    checks: tuple[Check, ...]
    manifest: Manifest | None = None
    facts: Facts = field(default_factory=dict)
    authentic: bool = False
    decided_at: datetime | None = None
    evidence_sha256: bytes | None = None
    policy_sha256: bytes | None = None
    rules: Rules = "policy"
    inputs: Mapping[str, str] = field(default_factory=dict)

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
