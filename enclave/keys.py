"""Serving keys: random, made inside, per boot and epoch, never derived from anything and never stored.

So nobody who learns a root secret, and no later boot with another configuration, can open what was sealed to
them (DESIGN section 3.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from enclave.secret import Secret
from enclave.tls import TlsIdentity, new_tls_identity

EPOCH = timedelta(hours=24)
"""How long keys are handed out, at most, before the next ones replace them."""

MANIFEST_LIFE = timedelta(hours=25)
"""How long a manifest may be relied on: an epoch, and an hour for clients to notice the next."""

OPENING_GRACE = timedelta(minutes=10)
"""How much longer than its manifest a key still opens what was sealed to it, for requests under way."""


@dataclass(frozen=True, slots=True, eq=False)
class HpkeKey:
    """One X25519 key pair, both halves raw 32 bytes; it opens requests until `dies_at`."""

    private: Secret
    public: bytes
    dies_at: datetime


@dataclass(frozen=True, slots=True, eq=False)
class ServingKeys:
    """What this boot serves with in one epoch.

    `hpke` is newest first: clients seal to the first, the others open what was sealed before the last
    rotation. `receipt_ed25519` is None until receipts exist.
    """

    hpke: tuple[HpkeKey, ...]
    tls: TlsIdentity
    not_after: datetime
    receipt_ed25519: Secret | None = None

    @property
    def hpke_public(self) -> bytes:
        """The 32 bytes that the manifest lists and clients seal to."""
        return self.hpke[0].public

    @property
    def hpke_private(self) -> tuple[Secret, ...]:
        """Every private key kept for opening, newest first: try them in this order."""
        return tuple(key.private for key in self.hpke)


def new_serving_keys(
    hostnames: Sequence[str], *, now: datetime, previous: Sequence[HpkeKey] = ()
) -> ServingKeys:
    """Make fresh keys for the epoch that starts at `now`, keeping those of `previous` still alive."""
    not_after = now + MANIFEST_LIFE
    return ServingKeys(
        hpke=(_new_hpke_key(not_after), *(key for key in previous if key.dies_at > now)),
        tls=new_tls_identity(hostnames, now=now, not_after=not_after + OPENING_GRACE),
        not_after=not_after,
    )


def with_another_hpke_key(keys: ServingKeys) -> ServingKeys:
    """The same TLS key and end, but a fresh HPKE key, and none that opens what was sealed before."""
    return replace(keys, hpke=(_new_hpke_key(keys.not_after),))


def _new_hpke_key(not_after: datetime) -> HpkeKey:
    private = X25519PrivateKey.generate()
    return HpkeKey(
        private=Secret(private.private_bytes_raw()),
        public=private.public_key().public_bytes_raw(),
        dies_at=not_after + OPENING_GRACE,
    )
