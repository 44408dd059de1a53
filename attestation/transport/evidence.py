"""The one request that a new connection carries before it is trusted: fresh evidence, checked on the spot."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import h11

from attestation.check import Check, Outcome, Stage
from attestation.errors import BindingMismatch, CannotDecide, MalformedEvidence
from attestation.formats.manifest import Manifest
from attestation.model import Appraisal
from attestation.pinned_tls import leaf_certificate, spki_sha256
from attestation.pins import write_pin
from attestation.transport.connection import Connection, Timeouts

EVIDENCE_PATH = "/.well-known/attestation"
EVIDENCE_TYPE = "application/cmw+json"
MAX_EVIDENCE_BYTES = 4 * 1024 * 1024

# verify() with policy, collateral and purpose bound in: (document, *, nonce, now, leaf_spki_sha256).
Appraise = Callable[..., Appraisal]


@dataclass(frozen=True, slots=True)
class Trust:
    """What a connection was found to be: valid for that connection only, until `manifest.not_after`."""

    appraisal: Appraisal
    manifest: Manifest
    sealing_key: bytes


async def read_evidence(
    connection: Connection, host: str, nonce: bytes | None, timeouts: Timeouts, *, seconds: float
) -> bytes:
    """Fetch the evidence document over `connection`, within `seconds` in all and 4 MB.

    Raises CannotDecide if the server has none to give, MalformedEvidence for the wrong type or size.
    """
    remaining = partial(_remaining, time.monotonic() + seconds)
    target = EVIDENCE_PATH if nonce is None else f"{EVIDENCE_PATH}?nonce={nonce.hex()}"
    head = h11.Request(method="GET", target=target, headers=[("Host", host), ("Accept", EVIDENCE_TYPE)])
    await connection.send(head, None, timeouts.write)
    response = await connection.receive_head(remaining)
    headers = dict(response.headers)
    if response.status_code != 200:
        raise CannotDecide(
            f"the server gave no evidence (HTTP status {response.status_code})",
            hint="check that the URL is a Casemate gateway, and try again if it is starting or busy",
        )
    if headers.get(b"content-type", b"").split(b";")[0].strip().lower() != EVIDENCE_TYPE.encode():
        raise MalformedEvidence(f"the server's evidence is not of type {EVIDENCE_TYPE}")
    document = bytearray()
    while (chunk := await connection.receive_chunk(remaining)) is not None:
        document += chunk
        if len(document) > MAX_EVIDENCE_BYTES:
            raise MalformedEvidence("the server's evidence is larger than 4 MB")
    return bytes(document)


def decide(appraise: Appraise, document: bytes, *, nonce: bytes, now: datetime, tls: Any) -> Trust:
    """Appraise `document` for this connection. Raises an AttestationError: then nothing may be sent.

    What ties evidence to the connection is checked here once more, whatever the verifier looked at.
    """
    leaf = leaf_pin(tls)
    appraisal = appraise(document, nonce=nonce, now=now, leaf_spki_sha256=leaf).require()
    manifest = appraisal.manifest
    if not isinstance(manifest, Manifest):
        raise BindingMismatch("the evidence binds no manifest, so no key of this server is attested")
    checks = (
        _check(
            "transport.tls.key", leaf in manifest.tls_spki_sha256, "a key in the manifest", write_pin(leaf)
        ),
        _check("transport.tls.resumed", not tls.session_reused, "a full handshake", "a resumed session"),
        _check("transport.phase", manifest.phase == "serving", "serving", manifest.phase),
        _check("transport.not_after", now.timestamp() < manifest.not_after, "keys in force", "expired keys"),
        _check("transport.hpke.key", bool(manifest.hpke_x25519), "a sealing key in the manifest", "none"),
    )
    failed = tuple(check for check in checks if check.outcome is Outcome.FAIL)
    if failed:
        names = ", ".join(check.id for check in failed)
        raise BindingMismatch(
            f"genuine evidence, but not for this connection: {names}",
            hint="something stands between you and the gateway, or it is not serving yet: send it no data",
            checks=failed,
        )
    return Trust(appraisal, manifest, manifest.hpke_x25519[0])


def leaf_pin(tls: Any) -> bytes:
    """Pin of the key that completed this handshake. Raises MalformedEvidence if it cannot be read."""
    try:
        return spki_sha256(leaf_certificate(tls))
    except ValueError as error:
        raise MalformedEvidence("the server's certificate cannot be read") from error


def _check(name: str, holds: bool, expected: str, found: str) -> Check:
    outcome = Outcome.PASS if holds else Outcome.FAIL
    return Check(name, Stage.BIND, outcome, expected, expected if holds else found, "docs/spec/transport.md")


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise CannotDecide("the server took too long to give its evidence", hint="try again later")
    return left
