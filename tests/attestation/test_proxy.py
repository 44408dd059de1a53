"""The local proxy: plain HTTP in, verified and sealed out, for this machine only."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

import httpx
import pytest
import uvicorn

from attestation.errors import AttestationError, CannotDecide
from attestation.policy.model import Policy
from attestation.proxy import ProxyApp, _serve, run_proxy, server_config
from attestation.transport.httpx2_transport import AsyncVerifiedTransport
from tests.fakes.amd import NOW, World
from tests.fakes.evidence import TLS_KEY
from tests.fakes.gateway_peer import Answer, Gateway, running_gateway
from tests.fakes.tls_peer import Chain

CHAT = "/api/v1/chat/completions"
EVENTS = "text/event-stream"


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain.forge()


@pytest.fixture
def gateway(genoa: World, chain: Chain) -> Iterator[Gateway]:
    with running_gateway(genoa, chain) as running:
        yield running


@dataclass(frozen=True)
class Running:
    client: httpx.AsyncClient
    port: int


@asynccontextmanager
async def proxy(url: str, policy: Policy) -> AsyncIterator[Running]:
    """A proxy before the gateway, and a plain client of it."""
    transport = AsyncVerifiedTransport(url, policy, now=lambda: NOW)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(server_config(ProxyApp(transport, url, port)))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    local = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10)
    try:
        async with local as client:
            yield Running(client, port)
    finally:
        server.should_exit = True
        await serving
        await transport.aclose()
        listener.close()


async def test_a_plain_program_is_served_over_a_verified_and_sealed_connection(gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer(
        (asked.body,), headers=(("x-request-id", "r1"), ("set-cookie", "a=b"))
    )
    async with proxy(gateway.peer.url, gateway.policy) as running:
        headers = {"authorization": "Bearer zima-key", "cookie": "a=b", "x-forwarded-for": "10.0.0.1"}
        response = await running.client.post(CHAT + "?a=%20b", json={"prompt": "canary"}, headers=headers)
    assert response.json() == {"prompt": "canary"}
    assert response.headers["casemate-attestation"] == "accepted-insecure"
    assert response.headers["x-request-id"] == "r1"
    assert {"set-cookie", "ehbp-response-nonce"}.isdisjoint(response.headers)
    [asked] = gateway.asked
    assert asked.sealed
    assert asked.target == CHAT + "?a=%20b"
    assert asked.headers["authorization"] == "Bearer zima-key"
    assert {"cookie", "x-forwarded-for", "content-length"}.isdisjoint(asked.headers)
    assert b"canary" not in b"".join(gateway.peer.received)


async def test_what_the_gateway_says_about_its_own_attestation_is_replaced(gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer(headers=(("Casemate-Attestation", "accepted"),))
    async with proxy(gateway.peer.url, gateway.policy) as running:
        response = await running.client.get("/v1/models")
    assert response.headers.get_list("casemate-attestation") == ["accepted-insecure"]


async def test_models_are_listed_under_both_prefixes(gateway: Gateway) -> None:
    async with proxy(gateway.peer.url, gateway.policy) as running:
        for path in ("/api/v1/models", "/v1/models"):
            assert (await running.client.get(path)).json() == {"ok": True}
    assert [asked.target for asked in gateway.asked] == ["/api/v1/models", "/v1/models"]


async def test_events_pass_one_by_one_while_the_answer_still_runs(gateway: Gateway) -> None:
    go_on = threading.Event()

    def slow() -> Iterator[bytes]:
        yield b'data: {"n":1}\n\n'
        assert go_on.wait(10)
        yield b"data: [DONE]\n\n"

    gateway.answer = lambda asked: Answer(slow(), content_type=EVENTS)
    seen = []
    async with (
        proxy(gateway.peer.url, gateway.policy) as running,
        running.client.stream("POST", CHAT, json={}) as response,
    ):
        async for line in response.aiter_lines():
            seen.append(line)
            go_on.set()
    assert seen == ['data: {"n":1}', "", "data: [DONE]", ""]


async def test_an_answer_that_breaks_off_is_not_ended_as_if_it_were_whole(gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer((b"data: {}\n\n",), content_type=EVENTS)
    async with proxy(gateway.peer.url, gateway.policy) as running:
        with pytest.raises(httpx.RemoteProtocolError):
            await running.client.post(CHAT, json={})


async def test_a_program_that_could_not_notice_a_cut_answer_is_refused(gateway: Gateway) -> None:
    async with proxy(gateway.peer.url, gateway.policy) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"GET /v1/models HTTP/1.0\r\nHost: localhost:{running.port}\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert b" 505 " in answer.partition(b"\r\n")[0]
    assert gateway.peer.received == []


async def test_a_large_body_is_streamed_through(gateway: Gateway) -> None:
    body = b'"' + b"x" * 3_000_000 + b'"'
    async with proxy(gateway.peer.url, gateway.policy) as running:
        assert (await running.client.post(CHAT, content=body)).status_code == 200
    assert gateway.asked[0].body == body


async def test_a_changed_sealing_key_is_not_seen_by_the_program(gateway: Gateway) -> None:
    async with proxy(gateway.peer.url, gateway.policy) as running:
        await running.client.post(CHAT, json={})
        gateway.rotate()
        assert (await running.client.post(CHAT, json={})).status_code == 200
    assert len(gateway.nonces) == 2


async def test_a_changed_sealing_key_in_the_middle_of_a_streamed_body_may_be_retried(
    gateway: Gateway,
) -> None:
    body = b'"' + b"x" * 2_000_000 + b'"'
    async with proxy(gateway.peer.url, gateway.policy) as running:
        await running.client.post(CHAT, json={})
        gateway.rotate()
        first = await running.client.post(CHAT, content=body)
        second = await running.client.post(CHAT, content=body)
    assert (first.status_code, first.headers["x-should-retry"]) == (503, "true")
    assert first.json()["error"]["code"] == "gateway_key_changed"
    assert second.status_code == 200


async def test_an_unverified_gateway_is_a_502_that_names_the_check_and_must_not_be_retried(
    gateway: Gateway,
) -> None:
    policy = gateway.policy
    gateway.scene = replace(gateway.scene, report={"measurement": b"\x66" * 48})
    async with proxy(gateway.peer.url, policy) as running:
        response = await running.client.post(CHAT, json={"prompt": "canary"})
    error = response.json()["error"]
    assert (response.status_code, response.headers["x-should-retry"]) == (502, "false")
    assert (error["type"], error["code"], error["param"]) == ("upstream_error", "gateway_unverified", None)
    assert "snp.measurement" in error["message"]
    gateway.peer.settle()
    assert gateway.request_bytes == 0


async def test_a_response_that_is_not_sealed_is_discarded(gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer((b'{"stolen":1}',), sealed=False)
    async with proxy(gateway.peer.url, gateway.policy) as running:
        response = await running.client.post(CHAT, json={})
    assert response.json()["error"]["code"] == "gateway_response_refused"
    assert b"stolen" not in response.content


async def test_an_unreachable_gateway_is_a_502_that_may_be_retried(gateway: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with proxy(f"https://127.0.0.1:{port}", gateway.policy) as running:
        response = await running.client.post(CHAT, json={})
    assert (response.status_code, response.json()["error"]["code"]) == (502, "gateway_unreachable")
    assert "x-should-retry" not in response.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "rebound.example"},
        {"host": "rebound.example:{port}"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1:1"},
        {"host": "127.0.0.1:{port}.rebound.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_web_pages_and_rebound_names_are_refused(headers: dict[str, str], gateway: Gateway) -> None:
    async with proxy(gateway.peer.url, gateway.policy) as running:
        filled = {name: value.format(port=running.port) for name, value in headers.items()}
        response = await running.client.post(CHAT, json={}, headers=filled)
    assert response.status_code == 403
    assert set(response.json()["error"]) == {"message", "type", "code", "param"}
    assert gateway.peer.received == []


async def test_a_program_that_names_the_proxy_localhost_is_served(gateway: Gateway) -> None:
    async with proxy(gateway.peer.url, gateway.policy) as running:
        local = f"localhost:{running.port}"
        headers = {"host": local, "origin": f"http://{local}", "sec-fetch-site": "same-origin"}
        assert (await running.client.get("/v1/models", headers=headers)).status_code == 200
    assert "origin" not in gateway.asked[0].headers


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/admin/v1/accounts",
        "/.well-known/attestation",
        "/v1",
        "/api/v1x/models",
        "/v1/%2e%2e/admin",
        "//v1/x",
    ],
)
async def test_only_the_api_is_forwarded(path: str, gateway: Gateway) -> None:
    async with proxy(gateway.peer.url, gateway.policy) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{running.port}\r\n\r\n".encode())
        assert b" 404 " in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert gateway.peer.received == []


@pytest.mark.parametrize("when", ["before the answer", "within the answer"])
async def test_a_program_that_leaves_cancels_its_request_upstream(when: str, gateway: Gateway) -> None:
    reached = threading.Event()
    left = threading.Event()

    def endless() -> Iterator[bytes]:
        reached.set()
        while when == "before the answer" and not left.wait(0.01):
            pass
        yield from (b"data: {}\n\n" for _ in range(10_000_000))

    gateway.answer = lambda asked: Answer(endless(), content_type=EVENTS)
    async with proxy(gateway.peer.url, gateway.policy) as running:
        request = asyncio.create_task(running.client.post(CHAT, json={}))
        await asyncio.to_thread(reached.wait, 10)
        request.cancel()
        with suppress(asyncio.CancelledError):
            await request
        left.set()
        # Returns only because the proxy hung up: the answer has no end.
        await asyncio.to_thread(gateway.peer.settle)
        assert not any(thread.is_alive() for thread in gateway.peer._threads[1:])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_the_proxy_listens_on_loopback_only(host: str, gateway: Gateway) -> None:
    with pytest.raises(CannotDecide, match="loopback"):
        run_proxy(gateway.peer.url, gateway.policy, host, 0)


def test_a_gateway_refused_at_the_start_is_not_proxied(gateway: Gateway) -> None:
    gateway.scene.manifest["tls_spki_sha256"] = (TLS_KEY,)
    with pytest.raises(AttestationError):
        run_proxy(gateway.peer.url, gateway.policy, "127.0.0.1", 0)


def test_a_gateway_that_cannot_be_reached_at_the_start_is_told(gateway: Gateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(CannotDecide, match="cannot reach"):
        run_proxy(f"https://127.0.0.1:{port}", gateway.policy, "127.0.0.1", 0)


async def test_insecure_acceptance_is_announced_at_the_start(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    transport = AsyncVerifiedTransport(gateway.peer.url, gateway.policy, now=lambda: NOW)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(_serve(transport, gateway.peer.url, listener))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            assert (await client.get("/v1/models")).status_code == 200
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
    shown = capsys.readouterr().err
    assert "INSECURE DEVELOPMENT" in shown
    assert "accepted-insecure" in shown
    assert f"base_url = {url}/api/v1" in shown


def test_problems_are_json_objects_of_four_members() -> None:
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    app = ProxyApp(AsyncVerifiedTransport("https://127.0.0.1:1", Policy()), "https://127.0.0.1:1", 8080)
    scope = {"type": "http", "headers": [], "path": "/", "query_string": b"", "method": "GET"}
    asyncio.run(app(scope, None, send))  # type: ignore[arg-type]
    assert json.loads(sent[1]["body"])["error"].keys() == {"message", "type", "code", "param"}  # type: ignore[arg-type]
