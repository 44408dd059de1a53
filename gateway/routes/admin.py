"""Administration with a bearer key: in development only, absent (404) without the config's insecure table."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, delete, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Meta, Struct

from gateway import problems
from gateway.authority import bearer_key, new_api_key
from gateway.context import AppContext
from gateway.errors import GatewayError, Problem
from gateway.keeper.messages import (
    CreateAccount,
    CreateKey,
    Credit,
    Done,
    Question,
    Refused,
    RevokeKey,
)
from gateway.prices import NANO

MAX_BODY = 65_536
MAX_USD = 1_000_000
_NAME = re.compile(r"[\w .@+-]{1,64}\Z")
_CONFLICT = Problem(409, "invalid_request_error", "exists", "It exists already, with other contents.")
_UNKNOWN = Problem(404, "invalid_request_error", "not_found", "No such account or key.")
_T = TypeVar("_T")
_Request = Request[Any, Any, Any]

Name = Annotated[str, Meta(pattern=r"\A[\w .@+-]{1,64}\Z")]
Usd = Annotated[float, Meta(ge=0, le=MAX_USD)]


class NewAccount(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /admin/v1/accounts."""

    name: Name
    credit_usd: Usd = 0.0
    requests_per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] = 600


class NewKey(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /admin/v1/keys."""

    account: Name
    name: Name


class NewCredit(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /admin/v1/credits; the same `reference` counts once."""

    account: Name
    amount_usd: Usd
    reference: Name


def admin_routes(context: AppContext) -> list[HTTPRouteHandler]:
    """Accounts, keys and credits. Empty unless the configuration is an insecure development one."""
    if context.config.insecure_development is None:
        return []

    @post("/admin/v1/accounts", summary="Create an account", tags=["development"])
    async def create_account(request: _Request) -> dict[str, str]:
        wanted = await _body(context, request, NewAccount)
        account = "acct_" + secrets.token_hex(8)
        balance = nano(wanted.credit_usd)
        await _change(context, CreateAccount(account, wanted.name, balance, wanted.requests_per_minute))
        return {"account": account}

    @post("/admin/v1/keys", summary="Create an API key", tags=["development"])
    async def create_key(request: _Request) -> dict[str, str]:
        wanted = await _body(context, request, NewKey)
        api_key = new_api_key()
        digest = context.authority.digests(api_key)[0]
        await _change(context, CreateKey(wanted.account, wanted.name, digest))
        return {"api_key": api_key}

    @post("/admin/v1/credits", summary="Add credit", tags=["development"])
    async def add_credit(request: _Request) -> dict[str, float]:
        wanted = await _body(context, request, NewCredit)
        done = await _change(context, Credit(wanted.account, nano(wanted.amount_usd), wanted.reference))
        return {"remaining_credits": done.balance / NANO}

    @delete("/admin/v1/keys/{account:str}/{name:str}", summary="Revoke a key", tags=["development"])
    async def revoke_key(request: _Request, account: FromPath[str], name: FromPath[str]) -> None:
        require_admin(context, request)
        if not (_NAME.match(account) and _NAME.match(name)):
            raise GatewayError(_UNKNOWN)
        await _change(context, RevokeKey(account, name))

    return [create_account, create_key, add_credit, revoke_key]


def require_admin(context: AppContext, request: _Request) -> None:
    """Compare the bearer key's SHA-256 with the configuration's. Raises GatewayError (401)."""
    table = context.config.insecure_development
    key = bearer_key(request.scope["headers"]) or ""
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    if table is None or not hmac.compare_digest(digest, table.admin_key_sha256.lower()):
        raise GatewayError(problems.INVALID_KEY)


def nano(usd: float) -> int:
    """Whole nano-dollars of an amount typed by an operator."""
    return round(usd * NANO)


async def _body(context: AppContext, request: _Request, kind: type[_T]) -> _T:
    require_admin(context, request)
    try:
        async with asyncio.timeout(context.config.limits.body_silence_seconds):
            raw = await _read(request)
    except TimeoutError as error:
        raise GatewayError(problems.SLOW_BODY) from error
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise problems.bad_request("The body is not what this path takes.") from error


async def _read(request: _Request) -> bytes:
    raw = bytearray()
    async for piece in request.stream():
        raw += piece
        if len(raw) > MAX_BODY:
            raise GatewayError(problems.TOO_LARGE)
    return bytes(raw)


async def _change(context: AppContext, question: Question) -> Done:
    answer = await context.ask(question)
    if isinstance(answer, Done):
        return answer
    code = answer.code if isinstance(answer, Refused) else ""
    known = {"exists": _CONFLICT, "unknown_account": _UNKNOWN, "unknown_key": _UNKNOWN}
    raise GatewayError(known.get(code, problems.UNAVAILABLE))
