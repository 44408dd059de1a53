"""What a request costs, in integer nano-dollars. Pure; every division rounds up, once, at the end."""

from __future__ import annotations

from msgspec import Struct

from gateway.config import Model

NANO = 1_000_000_000
MILLION = 1_000_000
MAX_TOKENS = 1_000_000_000
"""No request has more; a provider that reports more is not believed."""
TEMPLATE_TOKENS = 256
"""What a provider's chat template may add to a prompt that we cannot see."""


class TokenUsage(Struct, frozen=True):
    """Tokens of one request. `cached` is a part of `input`, `reasoning` a part of `output`."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0


def cached_price(model: Model) -> int:
    """Nano-dollars per million cached input tokens; without a price of their own they cost as any other."""
    if model.cached_input_nano_per_million is None:
        return model.input_nano_per_million
    return model.cached_input_nano_per_million


def cost(model: Model, usage: TokenUsage) -> int:
    """Price of what was used, rounded up to a whole nano-dollar.

    Counts come from a provider: they are clamped to 0..MAX_TOKENS, and no more is cached than was
    input.
    """
    total = _count(usage.input)
    cached = min(_count(usage.cached), total)
    millionths = (
        (total - cached) * model.input_nano_per_million
        + cached * cached_price(model)
        + _count(usage.output) * model.output_nano_per_million
    )
    return _ceil_million(millionths)


def worst_case(model: Model, body_bytes: int, max_tokens: int | None, n: int = 1) -> int:
    """The most a request can cost before anything was counted: what a hold should reserve.

    A token is at least one byte of the body, a prompt never exceeds the model's context, and each of `n`
    answers is at most `max_tokens` long (the model's own limit if none is given).
    """
    prompt = min(max(0, body_bytes) + TEMPLATE_TOKENS, model.context_tokens)
    longest = (
        model.max_output_tokens if max_tokens is None else max(0, min(max_tokens, model.max_output_tokens))
    )
    dearest = max(model.input_nano_per_million, cached_price(model))
    return _ceil_million(prompt * dearest + max(1, n) * longest * model.output_nano_per_million)


def dollars(nano: int) -> float:
    """For output only: books and comparisons stay in integers."""
    return nano / NANO


def _count(tokens: int) -> int:
    return min(max(0, tokens), MAX_TOKENS)


def _ceil_million(millionths: int) -> int:
    return -(-millionths // MILLION)
