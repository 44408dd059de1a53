"""THE STORY: one chat request, from its first byte until it is forgotten (DESIGN section 3.3)."""

from __future__ import annotations

from gateway import problems
from gateway.billing import Bill
from gateway.callers import Callers
from gateway.catalogue import find_model
from gateway.context import AppContext
from gateway.envelope import Bodies, receive_body, refuse_replay
from gateway.errors import GatewayError
from gateway.exchange import Exchange, Presence, through
from gateway.log import Served
from gateway.relay import relay
from gateway.wire.chat import parse_chat, upstream_body


async def serve(context: AppContext, exchange: Exchange, callers: Callers, bodies: Bodies) -> Served:
    """Serve one chat request and say, without content, what happened.

    Raises GatewayError for everything a client is to be told, ClientLeft when there is nobody to tell.
    Whatever happens after a hold exists, `bill.close()` ends it, shielded from cancellation; a response
    that left whole was settled durably before its last byte did.
    """
    limits = context.config.limits
    with bodies.lease() as lease:
        # Who: before a byte of the body is read.
        digests = await callers.identify(exchange)

        # What: opened if it is sealed, bounded, decoded as far as we decide by it.
        request = parse_chat(await receive_body(exchange, lease), limits)

        # Where: the route, its provider and price.
        model = find_model(context.config, request.model)
        if model is None:
            raise GatewayError(problems.UNKNOWN_MODEL)
        upstream = context.upstreams[model.provider]

        bill = Bill(exchange, request.model, model, request)
        try:
            # May it: one question to the keeper, which reserves the worst case in memory.
            await through(bill.open(digests))
            await refuse_replay(exchange)

            # Forward and relay; settle durably, then let the last byte go. A client that leaves stops it all.
            body = upstream_body(
                request, model=model.upstream_model or request.model, max_tokens=bill.max_tokens
            )
            seconds = model.first_event_seconds or limits.first_event_seconds
            async with Presence(exchange):
                await relay(exchange, upstream, body, request, bill, first_event_seconds=seconds)
        finally:
            await through(bill.close())

    # Forget: nothing of the request outlives this frame.
    return Served(
        request=exchange.request_id,
        route="chat",
        status=exchange.status,
        milliseconds=exchange.milliseconds,
        model=request.model,
        streamed=request.stream,
        sealed=exchange.sealed,
        input_tokens=bill.usage.input,
        output_tokens=bill.usage.output,
        cost=bill.settled.charged if bill.settled else 0,
    )
