"""A token of Microsoft Azure Attestation, taken apart: a compact JWS (RFC 7515), and the key set beside it.

Only RS256 is read. Nothing here says whether the token is true, or its key known; no URL in it is followed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from attestation.azure.hcl import rsa_integer
from attestation.errors import MalformedEvidence
from attestation.reader import b64url_decode, parse_json_object
from attestation.x509 import load_certificate

MAX_TOKEN = 64 * 1024
MAX_KEYS = 256 * 1024
_MAX_NESTING = 8
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 4096


@dataclass(frozen=True, slots=True)
class Token:
    """A token's parts. `signed` is what its signature covers; `kid` names the key that made it."""

    kid: str
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def parse_token(raw: bytes) -> Token:
    """Take a compact JWS with algorithm RS256 apart. Raises MalformedEvidence."""
    if len(raw) > MAX_TOKEN:
        raise MalformedEvidence(f"a token of more than {MAX_TOKEN} bytes")
    parts = bytes(raw).strip().split(b".")
    if len(parts) != 3 or not raw.isascii():
        raise MalformedEvidence("not a token of three parts")
    header, payload, signature = (b64url_decode(part.decode("ascii")) for part in parts)
    members = parse_json_object(header, max_depth=_MAX_NESTING)
    if members.get("alg") != "RS256" or "crit" in members:
        raise MalformedEvidence("a token that is not signed with RS256, or asks for more than that")
    if not isinstance(members.get("kid"), str):
        raise MalformedEvidence("a token that does not name its key")
    claims = parse_json_object(payload, max_depth=_MAX_NESTING)
    return Token(members["kid"], claims, b".".join(parts[:2]), signature)


def signing_key(raw: bytes, kid: str) -> rsa.RSAPublicKey:
    """The one key of a JWK set (RFC 7517 section 5) that has this `kid`. Raises MalformedEvidence."""
    if len(raw) > MAX_KEYS:
        raise MalformedEvidence(f"a key set of more than {MAX_KEYS} bytes")
    keys = parse_json_object(raw, max_depth=_MAX_NESTING).get("keys")
    if not isinstance(keys, list):
        raise MalformedEvidence("a key set without a list of keys")
    named = [key for key in keys if isinstance(key, dict) and key.get("kid") == kid]
    if len(named) != 1:
        raise MalformedEvidence(f"{len(named)} keys of the set have the token's key id")
    key = _public_key(named[0])
    if not isinstance(key, rsa.RSAPublicKey) or not _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        raise MalformedEvidence("the token's key is not an RSA key that we accept")
    return key


def _public_key(key: Mapping[str, Any]) -> object:
    """From the certificate, as Microsoft publishes keys, else from modulus and exponent."""
    chain = key.get("x5c")
    if isinstance(chain, list) and chain:
        return load_certificate(_base64(chain[0])).public_key()
    try:
        return rsa.RSAPublicNumbers(rsa_integer(key.get("e")), rsa_integer(key.get("n"))).public_key()
    except ValueError as error:
        raise MalformedEvidence("numbers that are no RSA key") from error


def _base64(text: Any) -> bytes:
    """A certificate in `x5c` is in plain Base64 (RFC 7517 section 4.7)."""
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError) as error:
        raise MalformedEvidence("a certificate that is not Base64") from error


def key_digest(key: rsa.RSAPublicKey) -> bytes:
    """SHA-256 over the DER SubjectPublicKeyInfo: what pins compare."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(encoding, form)).digest()


def verifies(token: Token, key: rsa.RSAPublicKey) -> bool:
    """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3)."""
    try:
        key.verify(token.signature, token.signed, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True
