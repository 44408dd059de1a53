"""Durable keys: random, versioned, kept in one file that only this machine's root secret opens.

File: `magic ‖ salt(32) ‖ AES-256-GCM(key, nonce = 12 zero bytes, plaintext, aad = magic ‖ salt)`, where
key = HKDF-SHA256(root, salt, info = magic). A fresh salt, hence a fresh key, for every write: the fixed nonce
is used once per key. The plaintext is JSON with base64 keys and stays inside this module.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from enclave.errors import SealBroken
from enclave.secret import Secret

_MAGIC = b"casemate/keyring/1\n"
_SALT_BYTES = 32
_NONCE = bytes(12)
_KEY_BYTES = 32
_MAX_FILE_BYTES = 1 << 20
_HINT = (
    "the keyring opens only on the machine, in the enclave image and with the firmware that made it; "
    "restore that one or the keyring's backup, or, if accounts and balances may be lost, "
    "move keyring and ledger away together and start anew"
)


@dataclass(frozen=True, slots=True, eq=False)
class Keyring:
    """`ledger_key` opens the database (32 bytes); `pepper` keys the API-key hashes, by version (1..255).

    A hash carries its pepper's version in one byte, so old versions stay for as long as hashes use them.
    """

    ledger_key: Secret
    pepper: Mapping[int, Secret]
    current_pepper: int


def load_or_create(path: Path, root: Secret) -> Keyring:
    """Open the keyring, or make it if there is no file at all (the first boot).

    Raises SealBroken if a file is there that does not open: it is never replaced, since the ledger behind it
    would be lost with it.
    """
    try:
        sealed = _read(path)
    except FileNotFoundError:
        return _create(path, root)
    return _unseal(sealed, root)


def save(path: Path, keyring: Keyring, root: Secret) -> None:
    """Write the keyring under `root`, replacing the file in one step: used to rewrap before an upgrade."""
    temporary = _write_beside(path, _seal(keyring, root))
    try:
        os.replace(temporary, path)
    except OSError:
        temporary.unlink()
        raise
    _sync_directory(path.parent)


def with_new_pepper(keyring: Keyring) -> Keyring:
    """Return a keyring whose newest pepper is fresh; hashes move to it when they are next used."""
    version = max(keyring.pepper) + 1
    if version > 255:
        raise ValueError("pepper versions are used up: a hash holds its version in one byte")
    return Keyring(keyring.ledger_key, {**keyring.pepper, version: _random_key()}, version)


def _create(path: Path, root: Secret) -> Keyring:
    keyring = Keyring(ledger_key=_random_key(), pepper={1: _random_key()}, current_pepper=1)
    temporary = _write_beside(path, _seal(keyring, root))
    try:
        # link, unlike rename, refuses to replace what another process made in the meantime
        os.link(temporary, path)
    finally:
        temporary.unlink()
    _sync_directory(path.parent)
    return keyring


def _random_key() -> Secret:
    return Secret(secrets.token_bytes(_KEY_BYTES))


# --- sealing -----------------------------------------------------------------------------------------------


def _wrapping_key(root: Secret, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), _KEY_BYTES, salt, _MAGIC).derive(root.reveal()))


def _seal(keyring: Keyring, root: Secret) -> bytes:
    header = _MAGIC + secrets.token_bytes(_SALT_BYTES)
    return header + _wrapping_key(root, header[len(_MAGIC) :]).encrypt(_NONCE, _encode(keyring), header)


def _unseal(sealed: bytes, root: Secret) -> Keyring:
    header = sealed[: len(_MAGIC) + _SALT_BYTES]
    if not header.startswith(_MAGIC):
        raise SealBroken("this file is not a keyring of this version", hint=_HINT)
    try:
        plain = _wrapping_key(root, header[len(_MAGIC) :]).decrypt(_NONCE, sealed[len(header) :], header)
    except (InvalidTag, ValueError):
        raise SealBroken(
            "the keyring does not open: another root secret made it, or it was changed", hint=_HINT
        ) from None
    return _decode(plain)


def _encode(keyring: Keyring) -> bytes:
    return json.dumps(
        {
            "ledger_key": _text(keyring.ledger_key),
            "pepper": {str(version): _text(key) for version, key in keyring.pepper.items()},
            "current_pepper": keyring.current_pepper,
        }
    ).encode()


def _decode(plain: bytes) -> Keyring:
    """Authentic by now, so a wrong shape means another release wrote it: refused all the same."""
    try:
        members: dict[str, Any] = json.loads(plain)
        keyring = Keyring(
            ledger_key=_key(members.pop("ledger_key")),
            pepper={int(version): _key(text) for version, text in members.pop("pepper").items()},
            current_pepper=members.pop("current_pepper"),
        )
        if members or keyring.current_pepper not in keyring.pepper:
            raise ValueError
    except (KeyError, ValueError, TypeError, AttributeError):
        raise SealBroken("the keyring's content is not what this release writes", hint=_HINT) from None
    return keyring


def _text(key: Secret) -> str:
    return base64.b64encode(key.reveal()).decode()


def _key(text: str) -> Secret:
    raw = base64.b64decode(text, validate=True)
    if len(raw) != _KEY_BYTES:
        raise ValueError
    return Secret(raw)


# --- files -------------------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
        return file.read(_MAX_FILE_BYTES)


def _write_beside(path: Path, data: bytes) -> Path:
    """Write a durable 0600 file next to `path`, on the same file system, and return its name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink()
        raise
    return temporary


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
