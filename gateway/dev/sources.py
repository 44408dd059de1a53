"""Where `casemate dev` gets its models from: the local model, a server named on the command line, real
providers.

Each becomes a Source: one provider table of the configuration, the models it serves, and what a policy has
to allow.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from attestation.pinned_tls import (
    UntrustedPeer,
    client_context,
    format_pin,
    parse_pin,
    pinned_context,
    spki_sha256,
    validated_chain,
)
from attestation.policy.settings import host_of
from gateway.config import Model, Provider
from gateway.dev.model_server import CONTEXT_TOKENS, MODEL_ID, REPLY_TOKENS
from gateway.dev.presets import PRESETS, PresetModel, public_root_pins

TEST_INPUT_PRICE, TEST_OUTPUT_PRICE = 100_000_000, 400_000_000
"""Nano-dollars per million tokens ($0.10 and $0.40): small, and large enough to see a balance move."""
TIMEOUT_SECONDS = 10.0
LARGEST_LIST = 4 << 20
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
SLOW_FIRST_EVENT_SECONDS = 60.0


class SourceError(Exception):
    """A server named on the command line cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """One provider and its models, by the id that clients use."""

    name: str
    provider: Provider
    models: Mapping[str, Model]

    @property
    def host(self) -> str:
        """As a policy writes it: `host`, or `host:port` if the port is not 443."""
        return host_of(self.provider.url)


def local_model(port: int, pins: Iterable[str], ca_pem: str) -> Source:
    """The model of this machine behind its relay."""
    provider = Provider(
        url=f"https://localhost:{port}/v1",
        pins=tuple(pins),
        ca_pem=ca_pem,
        retention="none: runs on this machine",
        training="none",
        region="this machine",
    )
    model = Model(
        provider="local",
        input_nano_per_million=TEST_INPUT_PRICE,
        output_nano_per_million=TEST_OUTPUT_PRICE,
        context_tokens=CONTEXT_TOKENS,
        max_output_tokens=REPLY_TOKENS,
        first_event_seconds=SLOW_FIRST_EVENT_SECONDS,
    )
    return Source("local", provider, {MODEL_ID: model})


def real_providers(credentials: Collection[str]) -> list[Source]:
    """Those of the presets whose key is there. Raises SourceError for a key that belongs to none of them."""
    unknown = sorted(set(credentials) - PRESETS.keys() - {"upstream"})
    if unknown:
        raise SourceError(f"secrets.toml names {unknown[0]!r}; known are upstream, {', '.join(PRESETS)}")
    pins = public_root_pins()
    return [_preset(name, pins) for name in PRESETS if name in credentials]


def _preset(name: str, pins: tuple[str, ...]) -> Source:
    preset = PRESETS[name]
    provider = Provider(
        url=preset.url, pins=pins, credential=name, retention=preset.retention, training=preset.training
    )
    return Source(name, provider, {model.id: _preset_model(name, model) for model in preset.models})


def _preset_model(provider: str, model: PresetModel) -> Model:
    return Model(
        provider=provider,
        input_nano_per_million=model.input_price,
        output_nano_per_million=model.output_price,
        context_tokens=model.context_tokens,
        max_output_tokens=model.max_output_tokens,
        first_event_seconds=SLOW_FIRST_EVENT_SECONDS,
    )


def upstream(url: str, pins: Collection[str], ca: Path | None, api_key: str | None) -> Source:
    """Any OpenAI-compatible HTTPS server: every model that it lists, at a test price.

    Without `pins`, the leaf's and its issuer's are learnt from one connection whose certificate was validated
    against `ca` or the public roots. Raises SourceError.
    """
    try:
        host_of(url)
        ca_pem = ca.read_text("ascii") if ca else ""
        known = tuple(pins) or learn_pins(url, ca_pem)
        models = list_models(url, known, ca_pem, api_key)
    except UntrustedPeer:
        raise SourceError(f"{url} does not show a key that is pinned with --upstream-pin") from None
    except ssl.SSLCertVerificationError as error:
        raise SourceError(f"{url}: {error.verify_message}; name its authority with --upstream-ca") from None
    except Exception as error:
        raise SourceError(f"{url} cannot be used: {error}") from error
    provider = Provider(url=url, pins=known, ca_pem=ca_pem, credential="upstream" if api_key else "")
    model = Model(
        provider="upstream",
        input_nano_per_million=TEST_INPUT_PRICE,
        output_nano_per_million=TEST_OUTPUT_PRICE,
    )
    return Source("upstream", provider, dict.fromkeys(models, model))


def learn_pins(url: str, ca_pem: str) -> tuple[str, ...]:
    """Pins of the leaf and of its issuer, from a connection that WebPKI validation accepted. Raises
    OSError."""
    parts = urlsplit(url)
    context = client_context(ca_pem or None)
    with (
        socket.create_connection((parts.hostname, parts.port or 443), TIMEOUT_SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=parts.hostname) as tls,
    ):
        chain = validated_chain(tls)
    return tuple(dict.fromkeys(format_pin(spki_sha256(certificate)) for certificate in chain[:2]))


def list_models(url: str, pins: Collection[str], ca_pem: str, api_key: str | None) -> list[str]:
    """Ids that `GET {url}/models` lists. Raises OSError, ValueError, http.client.HTTPException."""
    parts = urlsplit(url)
    context = pinned_context([parse_pin(pin) for pin in pins], ca_pem=ca_pem or None)
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 443, timeout=TIMEOUT_SECONDS, context=context
    )
    headers = {"Accept": "application/json", **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/models", headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(f"its model list answers with status {response.status}")
        listed = json.loads(response.read(LARGEST_LIST))
    finally:
        connection.close()
    return [_model_id(entry) for entry in listed["data"]]


def _model_id(entry: Mapping[str, object]) -> str:
    name = entry["id"]
    if not isinstance(name, str) or MODEL_NAME.fullmatch(name) is None:
        raise ValueError("it lists a model whose id is not a plain name")
    return name
