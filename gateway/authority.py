"""Who may ask: API keys, and the keyed digests under which the ledger knows them.

A key is `zima-`, 43 random base62 characters (256 bits) and six that check the others (CRC-32 in base62), so
that a scanner or a person can tell a mistyped key without asking anyone. The gateway never looks at that
check: a malformed key, an unknown key and no key at all take the same steps and get the same answer.
"""

from __future__ import annotations

import secrets
import string
import zlib
from collections.abc import Iterable

from nacl.encoding import RawEncoder
from nacl.hash import blake2b

from enclave.keyring import Keyring
from enclave.secret import Secret

PREFIX = "zima-"
RANDOM_CHARACTERS = 43
CHECK_CHARACTERS = 6
DIGEST_BYTES = 32
MAX_KEY_BYTES = 512

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PERSON = b"casemate api key"  # BLAKE2b personalisation: 16 bytes, so a digest means nothing elsewhere


def new_api_key(prefix: str = PREFIX) -> str:
    """Return a fresh random key; the only copy, as the ledger keeps a digest alone."""
    body = prefix + "".join(secrets.choice(_BASE62) for _ in range(RANDOM_CHARACTERS))
    return body + _check(body)


def well_formed(api_key: str) -> bool:
    """True if the last six characters check the rest: for tools and people, never for the gateway's
    decision."""
    return (
        len(api_key) > CHECK_CHARACTERS and _check(api_key[:-CHECK_CHARACTERS]) == api_key[-CHECK_CHARACTERS:]
    )


def hash_api_key(api_key: str, version: int, pepper: Secret) -> bytes:
    """Return one version byte (1..255) followed by the key's BLAKE2b-256 under that version's pepper: 33
    bytes.

    Keys longer than MAX_KEY_BYTES count as empty: no stored key is, and hashing is not to be a way to cost
    us time.
    """
    raw = api_key.encode("utf-8", "surrogatepass")
    digest = blake2b(
        raw if len(raw) <= MAX_KEY_BYTES else b"",
        digest_size=DIGEST_BYTES,
        key=pepper.reveal(),
        person=_PERSON,
        encoder=RawEncoder,
    )
    return bytes([version]) + digest


def bearer_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key of the first `Authorization: Bearer`, scheme in any case (RFC 9110 section 11.1); else None.

    `headers` as ASGI gives them: names in lower case.
    """
    header = next((value for name, value in headers if name == b"authorization"), b"")
    scheme, _, key = header.partition(b" ")
    key = key.strip()
    return key.decode("latin-1") if scheme.lower() == b"bearer" and key else None


class Authority:
    """Turns what a client sent into the digests under which the ledger may know it."""

    def __init__(self, keyring: Keyring) -> None:
        newest = keyring.current_pepper
        versions = [newest, *sorted((v for v in keyring.pepper if v != newest), reverse=True)]
        self._peppers = tuple((version, keyring.pepper[version]) for version in versions)

    def digests(self, api_key: str | None) -> tuple[bytes, ...]:
        """One digest for each pepper in use, newest first; the same work for no key as for any other."""
        return tuple(hash_api_key(api_key or "", version, pepper) for version, pepper in self._peppers)


def _check(body: str) -> str:
    number = zlib.crc32(body.encode("utf-8", "surrogatepass"))
    characters = []
    for _ in range(CHECK_CHARACTERS):
        number, digit = divmod(number, 62)
        characters.append(_BASE62[digit])
    return "".join(reversed(characters))
