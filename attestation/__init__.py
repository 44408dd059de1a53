"""Decide what to trust, before anything is sent. `attestation.verify.verify` tells the whole story.

These names are the vocabulary that callers share; everything else is imported from its own module.
"""

from __future__ import annotations

from attestation.check import Check, Outcome
from attestation.errors import (
    AttestationError,
    BindingMismatch,
    CannotDecide,
    MalformedEvidence,
    NotAuthentic,
    PolicyInvalid,
    PolicyRefused,
)
from attestation.model import Appraisal, Collateral, Verdict
from attestation.policy.model import Policy
from attestation.policy.toml import parse_policy

__all__ = [
    "Appraisal",
    "AttestationError",
    "BindingMismatch",
    "CannotDecide",
    "Check",
    "Collateral",
    "MalformedEvidence",
    "NotAuthentic",
    "Outcome",
    "Policy",
    "PolicyInvalid",
    "PolicyRefused",
    "Verdict",
    "parse_policy",
]
