"""The model list: what each model costs, how much it takes, and what its provider says it keeps."""

from __future__ import annotations

from typing import Any

from gateway.config import Config, Model
from gateway.prices import cached_price, dollars


def find_model(config: Config, model_id: str) -> Model | None:
    """The catalogue's entry, or None."""
    return config.models.get(model_id)


def describe(config: Config, model_id: str, model: Model) -> dict[str, Any]:
    """One entry in OpenAI's form, with ours beside it. Prices are US dollars per million tokens."""
    provider = config.providers[model.provider]
    return {
        "id": model_id,
        "object": "model",
        "created": model.created,
        "owned_by": model.provider,
        "provider": model.provider,
        "pricing": {
            "currency": "USD",
            "unit": "per million tokens",
            "input": dollars(model.input_nano_per_million),
            "cached_input": dollars(cached_price(model)),
            "output": dollars(model.output_nano_per_million),
        },
        "limits": {"context_tokens": model.context_tokens, "max_output_tokens": model.max_output_tokens},
        "access": True,
        "upstream": {
            "tier": provider.tier,
            "retention": provider.retention,
            "training": provider.training,
            "region": provider.region,
        },
    }


def catalogue(config: Config) -> dict[str, Any]:
    """The list, in OpenAI's form."""
    entries = [describe(config, model_id, model) for model_id, model in config.models.items()]
    return {"object": "list", "data": entries}
