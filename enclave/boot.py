"""How an enclave comes to life: root, durable keys, serving keys, manifest, in this order, on one screen.

Call `enclave.memory.harden_process()` before and fork after: nothing here opens a thread, a socket or a
database. Time is passed in; callers count it on the boot-time clock, since the host owns the other one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from attestation.formats.manifest import Manifest, encode_manifest, parse_manifest
from enclave.errors import NoTee
from enclave.keyring import Keyring, load_or_create
from enclave.keys import ServingKeys, new_serving_keys, with_another_hpke_key
from enclave.secret import Secret
from enclave.tee import Tee

_ROOT_LABEL = "casemate/keyring/1"


@dataclass(frozen=True, slots=True, eq=False)
class Enclave:
    """Everything a running gateway holds. `manifest` is the exact bytes that evidence binds."""

    tee: Tee
    serving: ServingKeys
    keyring: Keyring
    manifest: bytes
    insecure: bool

    @property
    def manifest_sha384(self) -> bytes:
        """The 48 bytes that statements name."""
        return hashlib.sha384(self.manifest).digest()


def boot(
    *,
    tee: Tee,
    config: bytes,
    service: str,
    release: str,
    hostnames: Sequence[str],
    ledger_schema_sha384: bytes,
    keyring_path: Path,
    now: datetime,
) -> Enclave:
    """Boot once per machine start. Raises NoTee without a hardware root, SealBroken if the keyring is shut.

    `key_epoch` counts from 1 within one boot: a client that remembers keys compares the keys, not the number.
    """
    root = _root_secret(tee)
    try:
        keyring = load_or_create(keyring_path, root)
    finally:
        root.wipe()
    serving = new_serving_keys(hostnames, now=now)
    manifest = Manifest(
        phase="serving",
        service=service,
        release=release,
        config_sha384=hashlib.sha384(config).digest(),
        ledger_schema_sha384=ledger_schema_sha384,
        ledger_epoch=None,
        rollback=None,
        root_source="insecure-development" if tee.insecure else "hardware",
        tls_spki_sha256=(serving.tls.spki_sha256,),
        hpke_x25519=(serving.hpke_public,),
        ohttp_key_config=None,
        receipt_ed25519=None,
        key_epoch=1,
        not_after=int(serving.not_after.timestamp()),
    )
    return Enclave(tee, serving, keyring, encode_manifest(manifest), tee.insecure)


def next_epoch(enclave: Enclave, now: datetime) -> Enclave:
    """Return the enclave with new serving keys and their manifest; everything else stays.

    Earlier HPKE keys still open requests until ten minutes after the manifest that named them expired, and
    are wiped then. The new manifest lists only what clients may newly use.
    """
    old = enclave.serving
    return _serving_with(enclave, new_serving_keys(old.tls.hostnames, now=now, previous=old.hpke))


def without_old_hpke_keys(enclave: Enclave) -> Enclave:
    """Return the enclave with another HPKE key, and with none of those that it had: these are wiped.

    For when the memory of sealed requests is lost: what was sealed to the old keys could be played again.
    """
    return _serving_with(enclave, with_another_hpke_key(enclave.serving))


def _serving_with(enclave: Enclave, serving: ServingKeys) -> Enclave:
    for key in enclave.serving.hpke:
        if key not in serving.hpke:
            key.private.wipe()
    before = parse_manifest(enclave.manifest)
    manifest = replace(
        before,
        tls_spki_sha256=(serving.tls.spki_sha256,),
        hpke_x25519=(serving.hpke_public,),
        key_epoch=before.key_epoch + 1,
        not_after=int(serving.not_after.timestamp()),
    )
    return replace(enclave, serving=serving, manifest=encode_manifest(manifest))


def _root_secret(tee: Tee) -> Secret:
    root = tee.hardware_key(_ROOT_LABEL)
    if root is None:
        raise NoTee(
            f"platform {tee.platform} has no hardware-derived key to open the keyring with",
            hint="run on a platform that has one; other root sources are not supported by this release",
        )
    return root
