"""Provider hosts that a configuration may name when the policy says nothing about providers.

A host here is not vouched for: it is a public model provider whose name a WebPKI certificate must prove, with
at least two stated pins on top and no private certificate authority. Every other host, port or authority has
to be named by the policy itself (`[config].providers`). docs/spec/policy.md repeats this list.
"""

from __future__ import annotations

MINIMUM_PINS = 2

PROVIDER_HOSTS: frozenset[str] = frozenset(
    {
        "api.anthropic.com",
        "api.deepseek.com",
        "api.fireworks.ai",
        "api.groq.com",
        "api.mistral.ai",
        "api.openai.com",
        "api.together.xyz",
        "api.x.ai",
        "generativelanguage.googleapis.com",
        "openrouter.ai",
    }
)
