"""What verifiers and auditors read: evidence for a fresh nonce, and the exact bytes that were attested."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from attestation.ehbp import MEDIA_TYPE, key_config
from attestation.formats.document import Evidence, Inclusion, build_document
from gateway import problems
from gateway.context import AppContext
from gateway.errors import GatewayError
from gateway.keeper.messages import Quote, Quoted
from gateway.routes.openai import ask

EVIDENCE_TYPE = "application/cmw+json"
_NONCE = re.compile(r"[0-9a-f]{64}\Z")


def trust_routes(context: AppContext) -> list[HTTPRouteHandler]:
    """Evidence, manifest, configuration and HPKE keys."""

    @get("/.well-known/attestation", summary="Evidence for a fresh nonce", tags=["trust"])
    async def evidence(request: Request[Any, Any, Any]) -> Response[bytes]:
        nonce = parse_nonce(request.query_params.getall("nonce", []))
        return exact(await evidence_document(context, nonce), EVIDENCE_TYPE)

    @get("/.well-known/casemate/manifest", summary="The attested manifest", tags=["trust"])
    async def manifest() -> Response[bytes]:
        return exact(context.manifest, "application/json")

    @get("/.well-known/casemate/manifest/{digest:str}", summary="A manifest by digest", tags=["trust"])
    async def manifest_by_digest(digest: FromPath[str]) -> Response[bytes]:
        if digest != context.manifest_sha384.hex():
            raise GatewayError(problems.NOT_FOUND)
        return exact(context.manifest, "application/json")

    @get("/.well-known/casemate/config", summary="The attested configuration", tags=["trust"])
    async def config() -> Response[bytes]:
        return exact(context.config_bytes, "application/toml")

    @get("/.well-known/hpke-keys", summary="Key to seal bodies to", tags=["trust"])
    async def hpke_keys() -> Response[bytes]:
        return exact(key_config(context.serving.hpke_public), MEDIA_TYPE)

    return [evidence, manifest, manifest_by_digest, config, hpke_keys]


def parse_nonce(values: list[str]) -> bytes | None:
    """None without a nonce; 32 bytes of 64 lower-case hex digits. Raises GatewayError (400) otherwise."""
    if not values:
        return None
    if len(values) > 1 or not _NONCE.match(values[0]):
        raise problems.bad_request("'nonce' is not 64 lower-case hex digits.", "nonce")
    return bytes.fromhex(values[0])


async def evidence_document(context: AppContext, nonce: bytes | None) -> bytes:
    """Have the nonce bound into a hardware report and pack everything needed offline. Raises GatewayError."""
    quoted = await ask(context, Quote(nonce=nonce, manifest_sha384=context.manifest_sha384))
    if not isinstance(quoted, Quoted):
        raise GatewayError(problems.UNAVAILABLE)
    evidence = Evidence(
        statement=quoted.statement,
        inclusion=Inclusion(quoted.index, quoted.size, quoted.path),
        manifest=context.manifest,
        config=context.config_bytes,
        hardware=replace(context.endorsements, report=quoted.report),
    )
    return build_document(evidence, insecure=context.insecure)


def exact(body: bytes, media_type: str) -> Response[bytes]:
    """These very bytes under this very content type: clients compare the whole string."""
    return Response(body, headers={"content-type": media_type}, media_type=media_type)
