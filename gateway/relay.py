"""From the provider to the client, piece by piece.

First event within its limit, books closed before the last byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from gateway import problems
from gateway.billing import Bill
from gateway.errors import GatewayError, Problem
from gateway.exchange import Exchange, through
from gateway.upstream import Answer, Upstream
from gateway.wire.assemble import Assembly, Whole
from gateway.wire.chat import ChatRequest
from gateway.wire.stream import ChatStream, ProviderFault

_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
_JSON = [(b"content-type", b"application/json")]


class Sink(Protocol):
    """What the provider's bytes go into: ChatStream, Assembly or Whole."""

    @property
    def began(self) -> bool:
        """The first chunk has arrived."""

    @property
    def done(self) -> bool:
        """The end marker has arrived."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes in, return what may leave now."""

    def finish(self) -> bytes:
        """No more bytes will come: return what may leave."""

    def closing(self, billing: bytes) -> bytes:
        """The rest, once the books are closed."""


async def relay(
    exchange: Exchange,
    upstream: Upstream,
    body: bytes,
    request: ChatRequest,
    bill: Bill,
    *,
    first_event_seconds: float,
) -> None:
    """Send, relay, settle, finish. Raises GatewayError for whatever is the provider's fault."""
    answer: Answer | None = None
    try:
        async with asyncio.timeout(exchange.context.config.limits.response_seconds):
            try:
                async with asyncio.timeout(first_event_seconds):
                    answer = await upstream.send(body)
                    bill.reached_provider = True
                    sink = _sink(answer, request, bill)
                    pieces = answer.pieces()
                    ready = await _until_began(sink, pieces)
            except TimeoutError as error:
                raise GatewayError(problems.NO_FIRST_EVENT) from error
            if request.stream:
                await exchange.start(200, _EVENTS, streaming=True)
            await _relay_rest(exchange, sink, pieces, ready)
        billing = await through(bill.settle(complete=True))
        last = sink.closing(billing)
        if request.stream:
            await exchange.write(last, more=False)
        else:
            await exchange.reply(200, _JSON, last)
        await answer.drain()
    except (TimeoutError, ProviderFault, GatewayError) as error:
        if not exchange.status:
            bill.reached_provider = False  # the client gets nothing, so it pays nothing
        if isinstance(error, GatewayError):
            raise
        raise GatewayError(_problem(error)) from error
    finally:
        if answer is not None:
            await through(answer.aclose())


def _problem(error: TimeoutError | ProviderFault) -> Problem:
    return problems.TOO_SLOW if isinstance(error, TimeoutError) else problems.UPSTREAM_ERROR


async def _until_began(sink: Sink, pieces: AsyncIterator[bytes]) -> bytes:
    """Wait for the first chunk; what came before it (comments, keep-alives) is not relayed."""
    async for piece in pieces:
        ready = sink.feed(piece)
        if sink.began or sink.done:
            return ready
    return sink.finish()


async def _relay_rest(exchange: Exchange, sink: Sink, pieces: AsyncIterator[bytes], ready: bytes) -> None:
    if ready:
        await exchange.write(ready)
    while not sink.done:
        piece = await anext(pieces, None)
        ready = sink.finish() if piece is None else sink.feed(piece)
        if ready:
            await exchange.write(ready)
        if piece is None:
            return


def _sink(answer: Answer, request: ChatRequest, bill: Bill) -> Sink:
    if answer.content_type == "text/event-stream":
        if request.stream:
            return ChatStream(bill.meter, include_usage=request.include_usage)
        return Assembly(bill.meter)
    if answer.content_type == "application/json" and not request.stream:
        return Whole(bill.meter)
    raise ProviderFault
