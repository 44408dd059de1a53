"""One request's money: a hold before anything is sent, its true cost before the last byte leaves, exactly
once.
"""

from __future__ import annotations

import msgspec

from gateway import problems
from gateway.config import Model
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.keeper.messages import Admit, Admitted, Settle, Settled
from gateway.prices import MILLION, TokenUsage, cost, dollars, worst_case
from gateway.wire.chat import ChatRequest
from gateway.wire.usage import Meter

LEAST_OUTPUT = 64
"""Output tokens that a balance must afford when the client set no limit of its own."""


class Bill:
    """Between `open` and `close` an amount is reserved; `close` ends that, whatever happened."""

    def __init__(self, exchange: Exchange, model_id: str, model: Model, request: ChatRequest) -> None:
        self.meter = Meter(request.content_chars)
        self.reached_provider = False
        self.settled: Settled | None = None
        self.usage = TokenUsage()
        self._exchange = exchange
        self._id = model_id
        self._model = model
        self._request = request
        self._admitted: Admitted | None = None

    async def open(self, digests: tuple[bytes, ...]) -> None:
        """Reserve the worst case, or what the account has down to a useful least. Raises GatewayError."""
        named = self._request.max_tokens
        most = self._worst_case(named)
        least = (
            most if named is not None else self._worst_case(min(LEAST_OUTPUT, self._model.max_output_tokens))
        )
        answer = await self._exchange.context.ask(
            Admit(digests=digests, model=self._id, hold_min=least, hold_max=most)
        )
        if not isinstance(answer, Admitted):
            code, retry_after = getattr(answer, "code", ""), getattr(answer, "retry_after", 0.0)
            self._exchange.extra += _refusal_headers(code, getattr(answer, "limit", 0), retry_after)
            raise GatewayError(problems.from_refusal(code, retry_after))
        self._admitted = answer
        self._exchange.extra += _rate_headers(answer.limit, answer.remaining, answer.reset_seconds)

    @property
    def max_tokens(self) -> int:
        """Output tokens that the hold affords, within the client's limit and the model's."""
        longest = self._model.max_output_tokens
        if self._request.max_tokens is not None:
            return min(self._request.max_tokens, longest)
        price = self._model.output_nano_per_million * self._request.choices
        if self._admitted is None or price == 0:
            return longest
        spare = max(0, self._admitted.granted - self._worst_case(0))
        return max(1, min(longest, spare * MILLION // price))

    async def settle(self, *, complete: bool) -> bytes:
        """Book what was counted, durably; return the `billing` object as JSON. Raises GatewayError."""
        if self._admitted is None:
            raise GatewayError(problems.UNAVAILABLE)
        self.usage = self._believed(self.meter.usage()) if self.reached_provider else TokenUsage()
        answer = await self._exchange.context.ask(
            Settle(
                hold=self._admitted.hold,
                cost=cost(self._model, self.usage),
                model=self._id,
                input_tokens=self.usage.input,
                cached_tokens=self.usage.cached,
                output_tokens=self.usage.output,
                reasoning_tokens=self.usage.reasoning,
                estimated=self.meter.estimated,
                complete=complete,
            )
        )
        if not isinstance(answer, Settled):
            raise GatewayError(problems.UNAVAILABLE)
        self.settled = answer
        return msgspec.json.encode(
            {
                "cost_usd": dollars(answer.charged),
                "remaining_credits": dollars(answer.balance),
                "api_key_name": self._admitted.key_name,
            }
        )

    async def close(self) -> None:
        """End the hold if nothing has: with what was seen, or nothing if the provider never answered."""
        if self._admitted is not None and self.settled is None:
            await self.settle(complete=False)

    def _believed(self, told: TokenUsage) -> TokenUsage:
        """No more than the model can take and make: a provider's word alone takes nobody's balance.

        Above the client's own limit it counts all the same: some providers count reasoning apart from it.
        """
        tokens_in = min(told.input, self._model.context_tokens)
        tokens_out = min(told.output, self._request.choices * self._model.max_output_tokens)
        return TokenUsage(
            input=tokens_in,
            cached=min(told.cached, tokens_in),
            output=tokens_out,
            reasoning=min(told.reasoning, tokens_out),
        )

    def _worst_case(self, max_tokens: int | None) -> int:
        return worst_case(self._model, self._request.body_bytes, max_tokens, self._request.choices)


def _rate_headers(limit: int, remaining: int, reset_seconds: float) -> problems.Headers:
    return [
        (b"x-ratelimit-limit-requests", str(limit).encode()),
        (b"x-ratelimit-remaining-requests", str(remaining).encode()),
        (b"x-ratelimit-reset-requests", f"{reset_seconds:.3f}s".encode()),
    ]


def _refusal_headers(code: str, limit: int, retry_after: float) -> problems.Headers:
    return _rate_headers(limit, 0, retry_after) if code == "rate_limit" else []
