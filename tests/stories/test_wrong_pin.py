"""A provider with another key than the pinned one receives nothing, whoever asks.

The running gateway learnt to reach a provider; then another server answers at that address. Its certificate
is valid for the name, under the authority that the configuration names: only the pin tells the two apart.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11
import httpx
import httpx2
import pytest

from attestation.pinned_tls import UntrustedPeer, format_pin
from gateway.config import parse_config
from gateway.errors import GatewayError
from gateway.problems import UPSTREAM_UNTRUSTED
from gateway.upstream import AiohttpUpstream
from tests.fakes.tls_peer import Chain, RecordingPeer
from tests.stories.dev import Dev, casemate_dev, launch

MODEL, QUESTION = "recorded", "the prompt that must not leave"
CHUNKS = (
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}},
)
ENVELOPE = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
EVENTS = [b"data: " + json.dumps(ENVELOPE | chunk).encode() + b"\n\n" for chunk in CHUNKS]


@dataclass(slots=True)
class Upstream:
    """The recording provider, the identity that is pinned, and others that are not."""

    peer: RecordingPeer
    pinned: Chain
    unpinned: Chain

    def show(self, context: ssl.SSLContext) -> None:
        """From the next connection on, complete handshakes with this identity."""
        self.peer.context = context
        self.peer.drop_connections()
        self.peer.settle()
        self.peer.received.clear()

    def http_bytes(self) -> int:
        """What arrived after handshakes since `show`; at least one connection must have been tried."""
        self.peer.settle()
        assert self.peer.received
        return self.peer.application_bytes


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway that was started while the pinned provider was there."""

    dev: Dev
    upstream: Upstream

    def ask(self, *, stream: bool) -> httpx.Response:
        """One chat request, straight to the gateway."""
        return self.dev.chat(MODEL, QUESTION, proxy=False, stream=stream)

    def provider(self) -> AiohttpUpstream:
        """The gateway's own client, made from the gateway's own configuration."""
        config = parse_config((self.dev.state / "gateway.toml").read_bytes())
        return AiohttpUpstream(config.providers["upstream"], None)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    place = tmp_path_factory.mktemp("pins")
    pinned = Chain.forge()
    unpinned = Chain.forge(pinned.root)
    (place / "ca.pem").write_text(pinned.root.pem)
    with RecordingPeer(pinned.context(), serve=provide) as peer:
        url = f"https://localhost:{peer.port}/v1"
        options = ("--upstream-url", url, "--upstream-pin", format_pin(pinned.leaf.pin))
        with casemate_dev(place / "state", *options, "--upstream-ca", str(place / "ca.pem")) as dev:
            yield Scene(dev, Upstream(peer, pinned, unpinned))


def provide(tls: ssl.SSLSocket, record: bytearray) -> None:
    """An OpenAI-compatible provider with one model and one answer."""
    connection = h11.Connection(h11.SERVER)
    while isinstance(request := _next(connection, tls, record), h11.Request):
        while isinstance(_next(connection, tls, record), h11.Data):
            pass
        chat = request.method == b"POST"
        kind = "text/event-stream" if chat else "application/json"
        body = (
            b"".join([*EVENTS, b"data: [DONE]\n\n"]) if chat else b'{"data": [{"id": "%s"}]}' % MODEL.encode()
        )
        headers = [("content-type", kind), ("content-length", str(len(body)))]
        tls.sendall(connection.send(h11.Response(status_code=200, headers=headers)) or b"")
        tls.sendall(
            (connection.send(h11.Data(data=body)) or b"") + (connection.send(h11.EndOfMessage()) or b"")
        )
        connection.start_next_cycle()


def _next(connection: h11.Connection, tls: ssl.SSLSocket, record: bytearray) -> Any:
    while (event := connection.next_event()) is h11.NEED_DATA:
        data = tls.recv(65_536)
        record += data
        connection.receive_data(data)
    return event


def unpinned_leaf(upstream: Upstream) -> ssl.SSLContext:
    return upstream.unpinned.context()


def pinned_certificate_beside(upstream: Upstream) -> ssl.SSLContext:
    """The pinned certificate is shown as well, behind a chain that does not need it."""
    return upstream.unpinned.context(upstream.pinned.leaf)


def unknown_authority(_: Upstream) -> ssl.SSLContext:
    return Chain.forge().context()


def another_name(upstream: Upstream) -> ssl.SSLContext:
    return Chain.forge(upstream.pinned.root, hosts=("elsewhere.invalid",)).context()


WRONG: dict[str, Callable[[Upstream], ssl.SSLContext]] = {
    "a key that is not pinned": unpinned_leaf,
    "a key that is not pinned, with the pinned certificate beside it": pinned_certificate_beside,
    "an unknown authority": unknown_authority,
    "a certificate for another name": another_name,
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wrong", WRONG)
def test_the_gateway_answers_502_and_sends_nothing_to(wrong: str, stream: bool, scene: Scene) -> None:
    upstream = scene.upstream
    balance = scene.dev.balance()
    upstream.show(WRONG[wrong](upstream))
    answer = scene.ask(stream=stream)
    assert answer.status_code == 502
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("upstream_error", "upstream_untrusted", None)
    assert upstream.http_bytes() == 0
    assert scene.dev.balance() == balance


@pytest.mark.parametrize("stream", [False, True])
def test_the_gateway_recovers_as_soon_as_the_pinned_key_is_back(stream: bool, scene: Scene) -> None:
    """The control: what was counted as nothing above is counted here."""
    upstream = scene.upstream
    upstream.show(unpinned_leaf(upstream))
    assert scene.ask(stream=stream).status_code == 502
    upstream.show(upstream.pinned.context())
    answer = scene.ask(stream=stream)
    assert answer.status_code == 200, answer.text
    assert "Hello" in answer.text
    upstream.peer.drop_connections()
    assert upstream.http_bytes() > 0
    assert any(QUESTION.encode() in record for record in upstream.peer.received)


@pytest.mark.parametrize("wrong", WRONG)
def test_the_gateways_asynchronous_client_sends_nothing_to(wrong: str, scene: Scene) -> None:
    upstream = scene.upstream
    upstream.show(WRONG[wrong](upstream))
    with pytest.raises(GatewayError) as caught:
        asyncio.run(_send(scene.provider()))
    assert caught.value.problem is UPSTREAM_UNTRUSTED
    assert upstream.http_bytes() == 0


async def _send(provider: AiohttpUpstream) -> None:
    try:
        await provider.send(QUESTION.encode())
    finally:
        await provider.aclose()


def with_http_client(url: httpx.URL, context: ssl.SSLContext) -> None:
    connection = http.client.HTTPSConnection(url.host, url.port, timeout=10, context=context)
    try:
        connection.request("POST", url.path, QUESTION)
        connection.getresponse().read()
    finally:
        connection.close()


def with_httpx(url: httpx.URL, context: ssl.SSLContext) -> None:
    with httpx.Client(verify=context, trust_env=False) as client:
        client.post(url, content=QUESTION)


def with_httpx2(url: httpx.URL, context: ssl.SSLContext) -> None:
    with httpx2.Client(verify=context, trust_env=False) as client:
        client.post(str(url), content=QUESTION)


BLOCKING = {"http.client": with_http_client, "httpx": with_httpx, "httpx2": with_httpx2}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("library", BLOCKING)
def test_a_blocking_client_with_the_gateways_context_sends_nothing_to(
    library: str, wrong: str, scene: Scene
) -> None:
    upstream = scene.upstream
    upstream.show(WRONG[wrong](upstream))
    url = httpx.URL(f"https://localhost:{upstream.peer.port}/v1/chat/completions")
    with pytest.raises((UntrustedPeer, ssl.SSLError, httpx.ConnectError, httpx2.ConnectError)):
        BLOCKING[library](url, scene.provider()._tls)
    assert upstream.http_bytes() == 0


@pytest.mark.parametrize("library", BLOCKING)
def test_the_same_blocking_client_sends_to_the_pinned_key(library: str, scene: Scene) -> None:
    upstream = scene.upstream
    upstream.show(upstream.pinned.context())
    url = httpx.URL(f"https://localhost:{upstream.peer.port}/v1/chat/completions")
    BLOCKING[library](url, scene.provider()._tls)
    assert upstream.http_bytes() > len(QUESTION)


def test_a_start_with_a_wrong_pin_is_refused_before_a_byte_is_sent(scene: Scene, tmp_path: Path) -> None:
    """`casemate dev` itself asks the provider for its models: over the same kind of context."""
    upstream = scene.upstream
    upstream.show(upstream.pinned.context())
    (tmp_path / "ca.pem").write_text(upstream.pinned.root.pem)
    wrong = format_pin(upstream.unpinned.leaf.pin)
    url = f"https://localhost:{upstream.peer.port}/v1"
    options = ("--upstream-url", url, "--upstream-pin", wrong, "--upstream-ca", str(tmp_path / "ca.pem"))
    refused = launch(tmp_path / "state", *options)
    assert refused.process.wait(60) == 1
    assert "does not show a key that is pinned" in refused.said()
    assert upstream.http_bytes() == 0
