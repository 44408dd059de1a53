"""Alive, and ready: ready means that the gateway's own evidence verifies (DESIGN section 4)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from attestation.authenticate import authenticate, is_debuggable, signed_data
from attestation.bind import check_binding, check_connection
from attestation.check import DECIDES_NOTHING_BAD
from attestation.errors import AttestationError
from attestation.formats.document import parse_document
from attestation.formats.manifest import parse_manifest
from attestation.formats.statement import parse_statement
from attestation.hardware import SnpEvidence
from attestation.model import Collateral
from attestation.pinned_tls import spki_sha256
from gateway import problems
from gateway.context import AppContext
from gateway.errors import GatewayError
from gateway.routes.trust import evidence_document

READY_SECONDS = 30.0


def health_routes(context: AppContext) -> list[HTTPRouteHandler]:
    """`/healthz` says that the process runs; `/readyz` that it should get traffic."""
    readiness = Readiness(context)

    @get("/healthz", summary="Alive", tags=["operations"])
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @get("/readyz", summary="Own evidence verifies", tags=["operations"])
    async def readyz() -> Response[dict[str, str]]:
        failed = await readiness.check()
        body = {"status": "not ready", "check": failed} if failed else {"status": "ready"}
        return Response(body, status_code=503 if failed else 200)

    return [healthz, readyz]


class Readiness:
    """Remembers the last answer for READY_SECONDS; callers meanwhile wait for one check."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._lock = asyncio.Lock()
        self._answer: str | None = None
        self._until = 0.0

    async def check(self) -> str | None:
        """None if ready, else the id of the first check that failed."""
        async with self._lock:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._until:
                self._answer = await self._verify()
                self._until = loop.time() + READY_SECONDS
            return self._answer

    async def _verify(self) -> str | None:
        try:
            document = await evidence_document(self._context, None)
            return failed_check(document, self._context, self._context.clock())
        except GatewayError as error:
            return error.problem.code or problems.UNAVAILABLE.code
        except AttestationError as error:
            return type(error).__name__


def failed_check(raw: bytes, context: AppContext, now: datetime) -> str | None:
    """Signature, digests, keys and debug state of our own evidence. Policies are for relying parties."""
    evidence = parse_document(raw)
    manifest = parse_manifest(evidence.manifest)
    # Without revocation lists: a stale one is for relying parties to judge, and takes no service down.
    own = evidence.hardware
    bare = replace(own, crls=()) if isinstance(own, SnpEvidence) else own
    hardware = authenticate(bare, Collateral(), development_root=_own_root(context), now=now)
    if hardware.claims is None:
        return next(check.id for check in hardware.checks if check.outcome not in DECIDES_NOTHING_BAD)
    signed = signed_data(hardware.claims)
    checks = check_binding(evidence, signed, parse_statement(evidence.statement), manifest)
    checks.append(check_connection(manifest, context.serving.tls.spki_sha256))
    for check in checks:
        if check.outcome not in DECIDES_NOTHING_BAD:
            return check.id
    if context.serving.hpke_public not in manifest.hpke_x25519:
        return "manifest.hpke"
    return "snp.debug" if is_debuggable(hardware.claims) else None


def _own_root(context: AppContext) -> bytes | None:
    """The simulated root, in development only: the last certificate is its own issuer."""
    if not context.insecure:
        return None
    return spki_sha256(context.endorsements.certificates[-1])
