"""What SDKs and customers read: the catalogue and their own usage."""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from gateway import problems
from gateway.authority import Authority, bearer_key
from gateway.catalogue import catalogue, describe, find_model
from gateway.context import AppContext
from gateway.errors import GatewayError
from gateway.keeper.messages import Answer, AskUsage, Question, Refused, Usage, UsageLine
from gateway.prices import dollars

BASES = ("/api/v1", "/v1")


def openai_routes(context: AppContext) -> list[HTTPRouteHandler]:
    """GET models, models/{id} and usage, under both bases."""

    @get([f"{base}/models" for base in BASES], summary="List models", tags=["models"])
    async def models() -> dict[str, Any]:
        return catalogue(context.config)

    @get([f"{base}/models/{{model_id:path}}" for base in BASES], summary="Retrieve a model", tags=["models"])
    async def model(model_id: FromPath[str]) -> dict[str, Any]:
        name = model_id.removeprefix("/")
        found = find_model(context.config, name)
        if found is None:
            raise GatewayError(problems.MODEL_NOT_FOUND)
        return describe(context.config, name, found)

    @get([f"{base}/usage" for base in BASES], summary="Balance and usage", tags=["usage"])
    async def usage(request: Request[Any, Any, Any]) -> dict[str, Any]:
        answer = await ask(context, AskUsage(digests=digests_of(context.authority, request)))
        if not isinstance(answer, Usage):
            raise GatewayError(problems.UNAVAILABLE)
        return usage_view(answer)

    return [models, model, usage]


def digests_of(authority: Authority, request: Request[Any, Any, Any]) -> tuple[bytes, ...]:
    """The digests of the request's bearer key."""
    return authority.digests(bearer_key(request.scope["headers"]))


async def ask(context: AppContext, question: Question) -> Answer:
    """Ask the keeper; a refusal, or its absence, becomes what a client is told. Raises GatewayError."""
    answer = await context.ask(question)
    if isinstance(answer, Refused):
        raise GatewayError(problems.from_refusal(answer.code, answer.retry_after))
    return answer


def usage_view(usage: Usage) -> dict[str, Any]:
    """The shape of the product documents (DESIGN section 6)."""
    return {
        "today": {"used": usage.today_requests, "limit": None},
        "month": {
            "requests": usage.month_requests,
            "tokensIn": usage.month_input_tokens,
            "tokensOut": usage.month_output_tokens,
            "cost": dollars(usage.month_cost),
        },
        "plan": None,
        "balance": {"remaining_credits": dollars(usage.balance)},
        "keys": [_line(line) for line in usage.keys],
        "models": [_line(line) for line in usage.models],
    }


def _line(line: UsageLine) -> dict[str, Any]:
    return {
        "name": line.name,
        "requests": line.requests,
        "tokensIn": line.input_tokens,
        "tokensOut": line.output_tokens,
        "cost": dollars(line.cost),
    }
