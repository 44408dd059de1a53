"""What the verified transports do once the gateway is verified: seal, reuse, verify anew, notice a cut."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from attestation.ehbp import EhbpError
from attestation.model import Verdict
from attestation.transport.binding import APPRAISAL_EXTENSION
from attestation.transport.engine import MAX_IDLE
from tests.attestation.sessions import KINDS, BlockingSession, LoopSession, session
from tests.fakes.amd import NOW, World
from tests.fakes.gateway_peer import Answer, Gateway, running_gateway
from tests.fakes.tls_peer import Chain

CHAT = "/api/v1/chat/completions"
EVENTS = "text/event-stream; charset=utf-8"


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain.forge()


@pytest.fixture
def gateway(genoa: World, chain: Chain) -> Iterator[Gateway]:
    with running_gateway(genoa, chain) as running:
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_is_sealed_in_both_directions_and_arrives_whole(kind: str, gateway: Gateway) -> None:
    big = "A canary in a large prompt. " * 10_000
    gateway.answer = lambda asked: Answer((json.dumps({"echo": big}).encode(),))
    with session(kind, gateway.peer.url, gateway.policy) as client:
        response = client.send("POST", CHAT + "?a=b", json={"prompt": big}, headers={"x-mine": "kept"})
    assert response.json() == {"echo": big}
    [asked] = gateway.asked
    assert (asked.method, asked.target, asked.sealed) == ("POST", CHAT + "?a=b", True)
    assert json.loads(asked.body) == {"prompt": big}
    assert asked.headers["x-mine"] == "kept"
    assert asked.headers["host"] == f"127.0.0.1:{gateway.peer.port}"
    assert "content-length" not in asked.headers
    assert b"canary" not in b"".join(gateway.peer.received)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_caller_says_about_sealing_or_host_is_not_believed(kind: str, gateway: Gateway) -> None:
    forged = {"ehbp-encapsulated-key": "0" * 64, "host": "elsewhere.example", "expect": "100-continue"}
    with session(kind, gateway.peer.url, gateway.policy) as client:
        client.send("POST", CHAT, content=b"{}", headers=forged)
    [asked] = gateway.asked
    assert asked.headers["ehbp-encapsulated-key"] != "0" * 64
    assert asked.headers["host"] == f"127.0.0.1:{gateway.peer.port}"
    assert "expect" not in asked.headers
    assert b"".join(gateway.peer.received).lower().count(b"ehbp-encapsulated-key:") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_requests_without_a_body_go_unsealed_inside_the_verified_connection(
    kind: str, gateway: Gateway
) -> None:
    with session(kind, gateway.peer.url, gateway.policy) as client:
        assert client.send("GET", "/v1/models").json() == {"ok": True}
        assert client.send("POST", "/v1/nothing").json() == {"ok": True}
    assert [asked.sealed for asked in gateway.asked] == [False, False]


@pytest.mark.parametrize("kind", KINDS)
def test_one_connection_is_verified_once_and_reused(kind: str, gateway: Gateway) -> None:
    with session(kind, gateway.peer.url, gateway.policy) as client:
        for _ in range(3):
            client.send("POST", CHAT, json={})
    assert len(gateway.peer.received) == 1
    assert len(gateway.nonces) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_the_server_closed_is_replaced_by_a_newly_verified_one(
    kind: str, gateway: Gateway
) -> None:
    with session(kind, gateway.peer.url, gateway.policy) as client:
        client.send("POST", CHAT, json={"n": 1})
        gateway.peer.drop_connections()
        gateway.peer.settle()
        client.send("POST", CHAT, json={"n": 2})
    assert [json.loads(asked.body)["n"] for asked in gateway.asked] == [1, 2]
    first, second = gateway.nonces
    assert first != second


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", [Answer((), cut=True), Answer(silent=True)], ids=["cut", "silent"])
def test_a_request_that_broke_after_it_was_sent_is_not_sent_again(
    kind: str, answer: Answer, gateway: Gateway
) -> None:
    gateway.answer = lambda asked: answer
    with (
        session(kind, gateway.peer.url, gateway.policy) as client,
        pytest.raises(client.http.RemoteProtocolError),
    ):
        client.send("POST", CHAT, json={})
    assert len(gateway.asked) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_is_not_reused_once_its_keys_have_expired(kind: str, gateway: Gateway) -> None:
    clock = [NOW]
    with session(kind, gateway.peer.url, gateway.policy, now=lambda: clock[0]) as client:
        client.send("POST", CHAT, json={})
        clock[0] = NOW + timedelta(hours=26)
        gateway.scene.manifest["not_after"] = int(clock[0].timestamp()) + 3600
        client.send("POST", CHAT, json={})
    assert len(gateway.nonces) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_sealing_key_costs_one_new_verification_and_no_error(kind: str, gateway: Gateway) -> None:
    with session(kind, gateway.peer.url, gateway.policy) as client:
        client.send("POST", CHAT, json={"n": 1})
        gateway.rotate()
        assert client.send("POST", CHAT, json={"n": 2}).status_code == 200
    assert [json.loads(asked.body)["n"] for asked in gateway.asked] == [1, 2]
    assert len(gateway.nonces) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_that_cannot_be_produced_twice_is_answered_with_the_422_and_the_key_is_forgotten(
    kind: str, gateway: Gateway
) -> None:
    with session(kind, gateway.peer.url, gateway.policy) as client:
        client.send("POST", CHAT, json={})
        gateway.rotate()
        body = _once_async() if kind.endswith("async") else iter([b"{", b"}"])
        assert client.send("POST", CHAT, content=body).status_code == 422
        body = _once_async() if kind.endswith("async") else iter([b"{", b"}"])
        assert client.send("POST", CHAT, content=body).status_code == 200
    assert [asked.body for asked in gateway.asked] == [b"{}", b"{}"]


async def _once_async() -> AsyncIterator[bytes]:
    yield b"{"
    yield b"}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_sealed_success_without_a_frame_is_an_error(kind: str, gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer((), content_type="text/plain")
    with session(kind, gateway.peer.url, gateway.policy) as client, pytest.raises(EhbpError):
        client.send("POST", CHAT, json={})


@pytest.mark.parametrize("kind", KINDS)
def test_a_gateway_that_never_knows_its_own_key_is_asked_twice_and_no_more(
    kind: str, gateway: Gateway
) -> None:
    policy, scene = gateway.policy, gateway.scene
    gateway.rotate()
    gateway.scene = scene
    with session(kind, gateway.peer.url, policy) as client:
        response = client.send("POST", CHAT, json={})
    assert (response.status_code, len(gateway.nonces)) == (422, 2)
    assert response.json()["type"] == "urn:ietf:params:ehbp:error:key-config"


@pytest.mark.parametrize("kind", KINDS)
def test_an_unsealed_success_to_a_sealed_request_is_an_error(kind: str, gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer(sealed=False)
    with session(kind, gateway.peer.url, gateway.policy) as client, pytest.raises(EhbpError):
        client.send("POST", CHAT, json={})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [304, 600])
def test_only_a_refusal_may_come_unsealed(kind: str, status: int, gateway: Gateway) -> None:
    raw = f"HTTP/1.1 {status} Strange\r\ncontent-length: 0\r\n\r\n"
    gateway.answer = lambda asked: Answer(raw=raw.encode())
    with session(kind, gateway.peer.url, gateway.policy) as client, pytest.raises(EhbpError):
        client.send("POST", CHAT, json={})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("second", [("content-type", "text/plain"), ("Content-Encoding", "identity")])
def test_a_response_that_can_be_read_in_two_ways_is_an_error(
    kind: str, second: tuple[str, str], gateway: Gateway
) -> None:
    first = (("content-encoding", "gzip"),) if second[0] == "Content-Encoding" else ()
    gateway.answer = lambda asked: Answer((b"data: {}\n\n",), content_type=EVENTS, headers=(*first, second))
    with (
        session(kind, gateway.peer.url, gateway.policy) as client,
        pytest.raises(client.http.RemoteProtocolError, match="two values"),
    ):
        client.send("POST", CHAT, json={})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_refusal_is_passed_on_sealed_or_not(kind: str, sealed: bool, gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer((b'{"error":{}}',), 401, sealed=sealed)
    with session(kind, gateway.peer.url, gateway.policy) as client:
        response = client.send("POST", CHAT, json={})
    assert (response.status_code, response.json()) == (401, {"error": {}})


@pytest.mark.parametrize("kind", KINDS)
def test_a_redirect_is_not_followed(kind: str, gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer((), 307, headers=(("location", "https://elsewhere.example/"),))
    with (
        session(kind, gateway.peer.url, gateway.policy) as client,
        pytest.raises(client.http.RemoteProtocolError, match="redirect"),
    ):
        client.send("POST", CHAT, json={}, follow_redirects=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_passed_on_event_by_event_while_it_still_runs(kind: str, gateway: Gateway) -> None:
    go_on = threading.Event()

    def slow() -> Iterator[bytes]:
        yield b'data: {"n":1}\n\n'
        assert go_on.wait(10)
        yield b"data: [DONE]\n\n"

    gateway.answer = lambda asked: Answer(slow(), content_type=EVENTS)
    with session(kind, gateway.peer.url, gateway.policy) as client:
        lines = client.lines(CHAT, seen=lambda line: go_on.set(), json={"stream": True})
    assert [line for line in lines if line] == ['data: {"n":1}', "data: [DONE]"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("last", [b"data: [DONE]\n\n", b'data: {"error":{"message":"x"}}\n\n'])
def test_a_stream_that_says_that_it_ended_is_whole(kind: str, last: bytes, gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer((b"data: {}\n\n", last), content_type=EVENTS)
    with session(kind, gateway.peer.url, gateway.policy) as client:
        assert len(client.lines(CHAT, json={})) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_that_stops_without_saying_so_is_an_error(kind: str, gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer((b"data: {}\n\n", b"data: {}\n\n"), content_type=EVENTS)
    read: list[str] = []
    with (
        session(kind, gateway.peer.url, gateway.policy) as client,
        pytest.raises(client.http.RemoteProtocolError, match="end marker"),
    ):
        client.lines(CHAT, seen=read.append, json={})
    assert read == ["data: {}", "", "data: {}", ""]


@pytest.mark.parametrize("kind", KINDS)
def test_a_json_answer_cut_at_a_frame_border_is_an_error(kind: str, gateway: Gateway) -> None:
    gateway.answer = lambda asked: Answer((b'{"ok":',))
    with (
        session(kind, gateway.peer.url, gateway.policy) as client,
        pytest.raises(client.http.RemoteProtocolError, match="cut short"),
    ):
        client.send("POST", CHAT, json={})


@pytest.mark.parametrize("kind", KINDS)
def test_a_response_that_only_closing_would_end_is_cut(kind: str, gateway: Gateway) -> None:
    raw = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[1]"
    gateway.answer = lambda asked: Answer(raw=raw)
    with (
        session(kind, gateway.peer.url, gateway.policy) as client,
        pytest.raises(client.http.RemoteProtocolError, match="before its response ended"),
    ):
        client.send("GET", "/v1/models")


@pytest.mark.parametrize("kind", KINDS)
def test_a_response_left_early_closes_its_connection(kind: str, gateway: Gateway) -> None:
    endless = (b"data: {}\n\n" for _ in range(1_000_000))
    gateway.answer = lambda asked: Answer(endless, content_type=EVENTS)
    with session(kind, gateway.peer.url, gateway.policy) as client:
        with pytest.raises(ZeroDivisionError):
            client.lines(CHAT, seen=lambda line: 1 // 0, json={})
        gateway.peer.settle()  # returns: the server noticed that its client had gone
        gateway.answer = lambda asked: Answer()
        client.send("POST", CHAT, json={})
    assert len(gateway.nonces) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_appraisal_says_how_the_connection_was_accepted(kind: str, gateway: Gateway) -> None:
    with session(kind, gateway.peer.url, gateway.policy) as client:
        assert client.transport.appraisal is None
        response = client.send("GET", "/v1/models")
        assert client.transport.appraisal.verdict is Verdict.ACCEPTED_INSECURE
        assert response.extensions[APPRAISAL_EXTENSION] is client.transport.appraisal


@pytest.mark.parametrize("kind", ["httpx", "httpx2"])
def test_many_threads_share_one_transport(kind: str, gateway: Gateway) -> None:
    with session(kind, gateway.peer.url, gateway.policy) as client, ThreadPoolExecutor(8) as pool:
        sent = list(range(60))
        gateway.answer = lambda asked: Answer((asked.body,))
        answers = list(pool.map(lambda n: client.send("POST", CHAT, json={"n": n}).json()["n"], sent))
        assert answers == sent
        assert len(gateway.nonces) == len(gateway.peer.received) <= 8


@pytest.mark.parametrize("kind", ["httpx", "httpx2"])
def test_idle_connections_are_bounded_and_closed_with_the_transport(kind: str, gateway: Gateway) -> None:
    many = MAX_IDLE + 4
    together = threading.Barrier(many, timeout=30)

    def wait_for_all(_: object) -> Answer:
        together.wait()
        return Answer()

    gateway.answer = wait_for_all
    with session(kind, gateway.peer.url, gateway.policy) as client, ThreadPoolExecutor(many) as pool:
        list(pool.map(lambda n: client.send("POST", CHAT, json={"n": n}).json(), range(many)))
        engine = client.transport._engine
        assert len(engine._idle) == len(engine._open) == MAX_IDLE
    gateway.peer.settle()
    assert len(gateway.peer.received) == many
    assert not engine._open


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_transport_sends_nothing(kind: str, gateway: Gateway) -> None:
    with session(kind, gateway.peer.url, gateway.policy) as client:
        client.send("GET", "/v1/models")
        if isinstance(client, BlockingSession):
            client.transport.close()
        elif isinstance(client, LoopSession):
            client.runner.run(client.transport.aclose())
        with pytest.raises(RuntimeError, match="closed"):
            client.send("GET", "/v1/models")
    assert len(gateway.asked) == len(gateway.peer.received) == 1


@pytest.mark.parametrize(("ours", "other"), [("httpx", "httpx2"), ("httpx2", "httpx")])
def test_either_library_is_enough(ours: str, other: str) -> None:
    cores = {"httpx": "httpcore", "httpx2": "httpcore2"}
    program = (
        f"import sys; sys.modules[{other!r}] = sys.modules[{cores[other]!r}] = None\n"
        f"import attestation.transport.{ours}_transport as t; print(t.VerifiedTransport.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "VerifiedTransport"), done.stderr
