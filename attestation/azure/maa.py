"""A second opinion: is a token of Microsoft Azure Attestation signed by a pinned key, current, and about us?

The token can only refuse. Whatever it says has been established from raw evidence before, and each of its
claims that we can compare has to agree. Sources: Microsoft's documentation of Azure Attestation (claim sets),
RFC 7515 (JWS), RFC 7518 (RS256), RFC 7519 (JWT).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from attestation.azure.opinion import disagreements
from attestation.azure.token import Token, key_digest, parse_token, signing_key, verifies
from attestation.azure.verify import VtpmClaims
from attestation.check import Check, Outcome, Stage
from attestation.errors import CannotDecide
from attestation.rule import Finding, Rule, evaluate, holds

_LATEST = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class Case:
    """A token, the key set beside it, and what they are judged by. What is missing raises CannotDecide."""

    raw_token: bytes
    raw_keys: bytes
    claims: VtpmClaims
    issuers: Mapping[str, frozenset[bytes]]
    now: datetime

    @property
    def token(self) -> Token:
        """The token, taken apart. Raises MalformedEvidence too."""
        if not self.raw_token:
            raise CannotDecide("no token was supplied")
        return parse_token(self.raw_token)

    @property
    def key(self) -> rsa.RSAPublicKey:
        """The key that the token names, from the supplied set alone. Raises MalformedEvidence too."""
        if not self.raw_keys:
            raise CannotDecide("the issuer's keys were not supplied")
        return signing_key(self.raw_keys, self.token.kid)


def check_maa(
    token: bytes,
    keys: bytes,
    claims: VtpmClaims,
    issuers: Mapping[str, frozenset[bytes]],
    *,
    now: datetime,
) -> list[Check]:
    """Judge a token (compact JWS) about evidence whose claims have been established.

    `keys`: a JWK set, supplied with the evidence and trusted only as far as `issuers` pins its keys: issuer
    URL -> SHA-256 digests of SubjectPublicKeyInfo. `now`: an aware time. Never raises for bad bytes.
    """
    case = Case(token, keys, claims, issuers, now)
    return [evaluate(rule, case, Stage.APPRAISE) for rule in RULES]


def _signature(case: Case) -> Finding:
    valid = verifies(case.token, case.key)
    return holds(valid, "verifies" if valid else "does not verify with the key that the token names")


def _issuer(case: Case) -> Finding:
    """The name decides which pins count, and the key has to be among them: a name alone is anybody's."""
    issuer = case.token.claims.get("iss")
    pins = case.issuers.get(issuer) if isinstance(issuer, str) else None
    if pins is None:
        return Outcome.FAIL, "an issuer that is not pinned"
    digest = key_digest(case.key)
    return holds(digest in pins, f"{issuer}, key {digest.hex()}")


def _time(case: Case) -> Finding:
    start, end = (_seconds(case.token.claims.get(name)) for name in ("nbf", "exp"))
    if start is None or end is None:
        return Outcome.FAIL, "the token does not say when it is valid"
    return holds(start <= case.now.timestamp() < end, f"valid from {_shown(start)} until {_shown(end)}")


def _seconds(value: Any) -> int | None:
    """Seconds since 1970 of a NumericDate that a calendar has."""
    return value if type(value) is int and 0 <= value < _LATEST else None


def _shown(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _agreement(case: Case) -> Finding:
    differing = disagreements(case.token.claims, case.claims)
    return holds(not differing, ", ".join(differing) or "every claim that can be compared")


_SPEC = "docs/spec/azure.md#microsofts-second-opinion"
_KEYS = "the token's key is one pinned for its issuer"

RULES: tuple[Rule[Case], ...] = (
    Rule("azure.maa.signature", "RS256 by the key that the token names", "RFC 7515 section 5.2", _signature),
    Rule("azure.maa.issuer", _KEYS, _SPEC, _issuer),
    Rule("azure.maa.time", "nbf <= now < exp", "RFC 7519 section 4.1", _time),
    Rule("azure.maa.agreement", "its claims are what the evidence says", _SPEC, _agreement),
)
