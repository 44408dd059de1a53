"""Real providers that `casemate dev` serves when their key is in the state directory's `secrets.toml`.

A convenience for development, not a catalogue: addresses, a few models, and prices that may be out of date
(what a request is billed at here, not what the provider charges). Production states providers, pins and
prices itself.

Pins are those of public root authorities, taken from the same set of roots that WebPKI validation uses: a
provider may change its certificate, or move between these authorities, without breaking anything. What they
keep out is every other authority of the world.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from attestation.pinned_tls import client_context, format_pin, spki_sha256

ROOTS = (
    "GTS Root R1",
    "GTS Root R3",
    "GTS Root R4",
    "ISRG Root X1",
    "ISRG Root X2",
    "DigiCert Global Root G2",
    "DigiCert Global Root G3",
    "Amazon Root CA 1",
    "Amazon Root CA 3",
    "SSL.com Root Certification Authority ECC",
    "SSL.com TLS ECC Root CA 2022",
    "GlobalSign Root R46",
    "GlobalSign Root E46",
)
"""Common names of the roots behind the large clouds and content networks that serve these providers."""


@dataclass(frozen=True, slots=True)
class PresetModel:
    """Prices in nano-dollars per million tokens."""

    id: str
    input_price: int
    output_price: int
    context_tokens: int = 128_000
    max_output_tokens: int = 16_384


@dataclass(frozen=True, slots=True)
class Preset:
    """Base URL and models of one provider; what it says of retention and training, as of writing."""

    url: str
    models: tuple[PresetModel, ...]
    retention: str = "up to 30 days"
    training: str = "not by default"


_CENT = 10_000_000

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "openai": Preset(
            "https://api.openai.com/v1",
            (
                PresetModel("gpt-4o-mini", 15 * _CENT, 60 * _CENT),
                PresetModel("gpt-4.1-mini", 40 * _CENT, 160 * _CENT, 1_000_000, 32_768),
                PresetModel("gpt-4.1", 200 * _CENT, 800 * _CENT, 1_000_000, 32_768),
            ),
        ),
        "groq": Preset(
            "https://api.groq.com/openai/v1",
            (
                PresetModel("llama-3.1-8b-instant", 5 * _CENT, 8 * _CENT),
                PresetModel("llama-3.3-70b-versatile", 59 * _CENT, 79 * _CENT),
            ),
        ),
        "mistral": Preset(
            "https://api.mistral.ai/v1",
            (PresetModel("mistral-small-latest", 10 * _CENT, 30 * _CENT),),
        ),
        "deepseek": Preset(
            "https://api.deepseek.com/v1",
            (PresetModel("deepseek-chat", 27 * _CENT, 110 * _CENT, 64_000, 8_192),),
            retention="unknown",
            training="unknown",
        ),
        "together": Preset(
            "https://api.together.xyz/v1",
            (PresetModel("meta-llama/Llama-3.3-70B-Instruct-Turbo", 88 * _CENT, 88 * _CENT),),
        ),
        "openrouter": Preset(
            "https://openrouter.ai/api/v1",
            (PresetModel("openai/gpt-4o-mini", 15 * _CENT, 60 * _CENT),),
            retention="as the provider it chooses",
            training="as the provider it chooses",
        ),
    }
)


def public_root_pins() -> tuple[str, ...]:
    """Pins of ROOTS as found among the public roots that our clients trust; sorted."""
    context = client_context()
    named = zip(context.get_ca_certs(), context.get_ca_certs(binary_form=True), strict=True)
    return tuple(sorted(format_pin(spki_sha256(der)) for facts, der in named if _common_name(facts) in ROOTS))


def _common_name(facts: Mapping[str, Any]) -> str:
    """`ssl` tells a subject as a tuple of RDNs, each a tuple of (name, value) pairs."""
    pairs = [pair for names in facts["subject"] for pair in names]
    return next((value for name, value in pairs if name == "commonName"), "")
