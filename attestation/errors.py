"""One tree, split by what the caller can do about it (DESIGN section 9)."""

from __future__ import annotations

from attestation.check import Check


class AttestationError(Exception):
    """Base of everything this package raises on purpose.

    `hint` says what to do next; `checks` carries every check that did not pass, so that an exception,
    the command line and an auditor's report render one list.
    """

    def __init__(self, message: str, *, hint: str = "", checks: tuple[Check, ...] = ()) -> None:
        super().__init__(message)
        self.hint = hint
        self.checks = checks


class MalformedEvidence(AttestationError):  # noqa: N818 - a field term, not a verb phrase
    """Their bytes are wrong: truncated, over-long, unknown version, duplicate members."""


class NotAuthentic(AttestationError):  # noqa: N818
    """Signature, certificate chain or revocation says that no genuine hardware signed this."""


class BindingMismatch(AttestationError):  # noqa: N818
    """Genuine hardware, but not for this nonce, manifest, purpose, key or connection."""


class PolicyRefused(AttestationError):  # noqa: N818
    """Authentic and bound, but not what the policy accepts."""


class CannotDecide(AttestationError):  # noqa: N818
    """Collateral is missing or out of date: try again with newer collateral."""


class PolicyInvalid(AttestationError):  # noqa: N818
    """The policy itself cannot be used: absent, malformed, or with lines still unconfirmed."""
