"""Who asks: the bearer key of a request, checked before its body is read."""

from __future__ import annotations

import asyncio

from gateway import problems
from gateway.authority import bearer_key
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.keeper.messages import Caller, WhoIs

REMEMBER_SECONDS = 30.0
CAPACITY = 10_000


class Callers:
    """Remembers for a moment which digests belong to a key, to spare the keeper a question for each request.

    That is safe, because admission asks again with the same digests: a key revoked meanwhile gets its 401
    there.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], float] = {}

    async def identify(self, exchange: Exchange) -> tuple[bytes, ...]:
        """The caller's key digests. Raises GatewayError: 401, one answer for every kind of bad key."""
        digests = exchange.context.authority.digests(bearer_key(exchange.scope["headers"]))
        now = asyncio.get_running_loop().time()
        if self._known.get(digests, 0.0) > now:
            return digests
        answer = await exchange.context.ask(WhoIs(digests=digests))
        if not isinstance(answer, Caller):
            raise GatewayError(problems.from_refusal(getattr(answer, "code", ""), 1.0))
        if len(self._known) >= CAPACITY:
            self._known.clear()
        self._known[digests] = now + REMEMBER_SECONDS
        return digests
