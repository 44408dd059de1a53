"""Reading a request's body, sealed or not, within every bound.

And the EHBP rules around it (DESIGN section 4.3).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager

from attestation.ehbp import ENCAPSULATED_KEY_HEADER, EhbpError, EhbpKeyMismatch, RequestOpener
from enclave.keys import ServingKeys
from gateway import problems
from gateway.config import Limits
from gateway.errors import GatewayError
from gateway.exchange import ClientLeft, Exchange
from gateway.keeper.messages import Remember, Remembered

_HEADER = ENCAPSULATED_KEY_HEADER.lower().encode()
_REPLAY_LABEL = b"casemate/ehbp-replay/1"


class Lease:
    """The bytes that one request holds of the worker's budget."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.held = 0

    def grow(self, size: int) -> None:
        """Take more. Raises GatewayError (503) when the worker's budget is spent."""
        if self._bodies.in_flight + size > self._bodies.limit:
            raise GatewayError(problems.BUSY)
        self._bodies.in_flight += size
        self.held += size


class Bodies:
    """Bytes of request bodies in flight in this worker, and their limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Give back, at the end, whatever was taken."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self.in_flight -= lease.held


async def receive_body(exchange: Exchange, lease: Lease) -> bytes:
    """The request's body as plain bytes. Raises GatewayError, ClientLeft."""
    context = exchange.context
    refuse_early(exchange, context.config.limits)
    encapsulated = exchange.header(_HEADER)
    if encapsulated is None:
        body = await _read(exchange, lease, None)
    else:
        opener = make_opener(context.serving, encapsulated)
        body = await _read(exchange, lease, opener)
    if not body:
        raise GatewayError(problems.EMPTY_BODY)
    return body


def refuse_early(exchange: Exchange, limits: Limits) -> None:
    """Refuse by headers alone: a wrong type (415), an announced length beyond the limit (413)."""
    media_type = (exchange.header(b"content-type") or b"application/json").split(b";")[0].strip().lower()
    if media_type != b"application/json" or exchange.header(b"content-encoding") not in (None, b"identity"):
        raise GatewayError(problems.WRONG_TYPE)
    announced = exchange.header(b"content-length") or b"0"
    if len(announced) > 18 or (announced.isdigit() and int(announced) > limits.body_bytes):
        raise GatewayError(problems.TOO_LARGE)


def make_opener(serving: ServingKeys, encapsulated: bytes) -> RequestOpener:
    """An opener that tries the newest key first. Raises GatewayError (400) for a malformed header."""
    newest, *older = (key.reveal() for key in serving.hpke_private)
    try:
        return RequestOpener(newest, encapsulated.decode("latin-1"), older_keys=older)
    except EhbpError as error:
        raise GatewayError(problems.BAD_SEAL) from error


async def _read(exchange: Exchange, lease: Lease, opener: RequestOpener | None) -> bytes:
    limits = exchange.context.config.limits
    body = bytearray()
    received, more = 0, True
    deadline = time.monotonic() + limits.body_seconds
    while more:
        left = deadline - time.monotonic()
        data, more = await _next(exchange, min(limits.body_silence_seconds, left))
        received += len(data)
        if received > limits.body_bytes:
            raise GatewayError(problems.TOO_LARGE)
        lease.grow(len(data))
        body += data if opener is None else _open(exchange, opener, data)
    if opener is not None:
        _finish(exchange, opener)
    return bytes(body)


async def _next(exchange: Exchange, silence_seconds: float) -> tuple[bytes, bool]:
    try:
        async with asyncio.timeout(silence_seconds):
            message = await exchange.receive()
    except TimeoutError as error:
        raise GatewayError(problems.SLOW_BODY) from error
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return message.get("body", b""), message.get("more_body", False)


def _open(exchange: Exchange, opener: RequestOpener, data: bytes) -> bytes:
    try:
        plain = opener.feed(data)
    except EhbpKeyMismatch as error:
        raise GatewayError(problems.STALE_KEY) from error
    except EhbpError as error:
        raise GatewayError(problems.BAD_SEAL) from error
    if plain and not exchange.sealed:
        exchange.seal_with(opener.response_sealer(), opener.opened_by)
    return plain


def _finish(exchange: Exchange, opener: RequestOpener) -> None:
    try:
        opener.finish()
    except EhbpError as error:
        raise GatewayError(problems.BAD_SEAL) from error
    if not exchange.sealed:
        exchange.seal_with(opener.response_sealer(), opener.opened_by)


async def refuse_replay(exchange: Exchange) -> None:
    """409 for a sealed request seen before under the key that opened it; 422 when that key's memory is full.

    To be asked after admission: the memory is finite, and only what rates and credit bound may fill it.
    Raises GatewayError.
    """
    encapsulated = exchange.header(_HEADER)
    if encapsulated is None or exchange.opened_by is None:
        return
    key = exchange.context.serving.hpke[exchange.opened_by]
    digest = hmac.digest(key.private.reveal(), _REPLAY_LABEL + encapsulated, "sha256")
    key_id = hashlib.sha256(key.public).digest()[:16]
    answer = await exchange.context.ask(Remember(digest=digest, key_id=key_id))
    if not isinstance(answer, Remembered):
        raise GatewayError(problems.UNAVAILABLE)
    if answer.seen == "before":
        raise GatewayError(problems.REPLAYED)
    if answer.seen == "full":
        exchange.unseal()
        raise GatewayError(problems.STALE_KEY)
