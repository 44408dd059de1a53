"""Bad input over raw TLS: a 4xx in OpenAI form or a closed connection; never a 500, never an echo."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from enclave.tee.dev import SimulatedTee
from tests.gateway.served import ServedGateway, config_text, fake_provider, served_gateway

CANARY = "canary-77b3"
LIMITS = {
    "body_bytes": 2_000_000,
    "inflight_body_bytes": 3_000_000,
    "header_seconds": 0.6,
    "body_silence_seconds": 0.6,
    "body_seconds": 2.0,
    "write_stall_seconds": 0.6,
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGateway]:
    tee = SimulatedTee.forge(now=datetime.now(UTC), chip_secret=b"s" * 32)
    with fake_provider(pause=0.0) as provider:
        config = config_text(provider, **LIMITS)
        with served_gateway(config, tee, tmp_path_factory.mktemp("gateway")) as running:
            yield running


@pytest.fixture(scope="module")
def key(gateway: ServedGateway) -> str:
    return gateway.new_key()


def connect(gateway: ServedGateway) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
    return gateway.tls.wrap_socket(plain, server_hostname="localhost")


def read_all(tls: ssl.SSLSocket) -> bytes:
    received = b""
    try:
        while piece := tls.recv(65_536):
            received += piece
    except (ConnectionError, ssl.SSLError):
        pass
    return received


def exchange(gateway: ServedGateway, raw: bytes) -> bytes:
    with connect(gateway) as tls:
        try:
            tls.sendall(raw)
        except (ConnectionError, ssl.SSLError):
            return b""
        return read_all(tls)


def head(key: str, *lines: str) -> bytes:
    first = ["POST /api/v1/chat/completions HTTP/1.1", "host: localhost", f"authorization: Bearer {key}"]
    return "\r\n".join([*first, "content-type: application/json", *lines]).encode() + b"\r\n\r\n"


def refused(raw: bytes) -> int:
    """The status of a refusal in OpenAI form; 0 for a closed connection."""
    assert CANARY.encode() not in raw
    if not raw:
        return 0
    top, _, body = raw.partition(b"\r\n\r\n")
    assert set(json.loads(body)["error"]) == {"type", "message", "code", "param"}
    return int(top.split(b" ")[1])


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01 not http " + CANARY.encode() + b"\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/chat HTTP/1.1\r\nhost: x\r\ncontent-length: " + CANARY.encode() + b"\r\n\r\n",
        b"POST /api/v1/chat HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nna me: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nname: a\x00b\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(gateway: ServedGateway, raw: bytes) -> None:
    assert refused(exchange(gateway, raw)) in (0, 400)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nbig: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nbig: " + b"x" * 40_000,
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
    ],
)
def test_headers_beyond_the_cap_are_431(gateway: ServedGateway, raw: bytes) -> None:
    assert refused(exchange(gateway, raw)) in (0, 431)


def test_headers_just_over_the_cap_get_their_answer(gateway: ServedGateway) -> None:
    assert (
        refused(exchange(gateway, b"GET / HTTP/1.1\r\nhost: x\r\nbig: " + b"x" * 33_000 + b"\r\n\r\n")) == 431
    )


def test_a_large_body_in_the_same_packet_is_not_taken_for_headers(gateway: ServedGateway, key: str) -> None:
    body = json.dumps({"model": "plain", "messages": [{"role": "user", "content": "x" * 60_000}]}).encode()
    with connect(gateway) as tls:
        tls.sendall(head(key, f"content-length: {len(body)}", "connection: close") + body)
        assert b" 200 OK\r\n" in read_all(tls)[:20]


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: x\r\n"])
def test_headers_that_do_not_arrive_in_time_close_the_connection(gateway: ServedGateway, sent: bytes) -> None:
    began = time.monotonic()
    with connect(gateway) as tls:
        if sent:
            tls.sendall(sent)
        assert read_all(tls) == b""
    assert 0.4 < time.monotonic() - began < 4


def test_headers_that_trickle_in_do_not_hold_a_connection_either(gateway: ServedGateway) -> None:
    began = time.monotonic()
    with connect(gateway) as tls:
        tls.settimeout(0.1)
        closed = False
        while not closed and time.monotonic() - began < 5:
            try:
                tls.sendall(b"a")
                closed = tls.recv(1) == b""
            except TimeoutError:
                continue
            except (ConnectionError, ssl.SSLError):
                closed = True
    assert closed
    assert time.monotonic() - began < 4


def test_the_time_limit_holds_for_a_second_request_on_a_connection(gateway: ServedGateway) -> None:
    with connect(gateway) as tls:
        tls.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200 OK" in tls.recv(65_536)
        tls.sendall(b"GET /healthz HT")
        began = time.monotonic()
        read_all(tls)
    assert time.monotonic() - began < 4


def test_a_body_that_stops_arriving_is_408_and_the_connection_closes(
    gateway: ServedGateway, key: str
) -> None:
    answer = exchange(gateway, head(key, "content-length: 1000") + b'{"model":')
    assert refused(answer) == 408
    assert b"connection: close" in answer.lower()


def test_a_body_that_trickles_in_is_408_as_well(gateway: ServedGateway, key: str) -> None:
    """Never silent for long, and never done: the body as a whole has its time, too."""
    began = time.monotonic()
    with connect(gateway) as tls:
        tls.sendall(head(key, "content-length: 1000"))
        tls.settimeout(0.2)
        answer = b""
        while not answer and time.monotonic() - began < 8:
            tls.sendall(b" ")
            try:
                answer = tls.recv(65_536)
            except TimeoutError:
                continue
        answer += read_all(tls)
    assert refused(answer) == 408
    assert 1.5 < time.monotonic() - began < 6


def test_a_refused_clients_body_is_not_waited_for_for_ever(gateway: ServedGateway) -> None:
    with connect(gateway) as tls:
        tls.sendall(head("zima-wrong", "content-length: 1000000") + b"x")
        began = time.monotonic()
        answer = read_all(tls)
    assert refused(answer) == 401
    assert time.monotonic() - began < 4


def test_an_announced_body_beyond_the_limit_is_refused_unread(gateway: ServedGateway, key: str) -> None:
    with connect(gateway) as tls:
        tls.sendall(head(key, "content-length: 30000000"))
        assert b" 413 " in tls.recv(65_536)[:20]


def test_a_chunked_body_is_refused_as_soon_as_it_exceeds_the_limit(gateway: ServedGateway, key: str) -> None:
    with connect(gateway) as tls:
        tls.sendall(head(key, "transfer-encoding: chunked"))
        chunk = b"%x\r\n%s\r\n" % (100_000, b"x" * 100_000)
        for _ in range(21):
            tls.sendall(chunk)
        assert b" 413 " in tls.recv(65_536)[:20]


def test_a_thirty_megabyte_body_sent_whole_is_413(gateway: ServedGateway, key: str) -> None:
    with gateway.client(key) as client:
        answer = client.post(
            "/api/v1/chat/completions",
            content=b"x" * 30_000_000,
            headers={"content-type": "application/json"},
        )
    assert answer.status_code == 413


def test_bodies_in_flight_are_bounded_and_given_back(gateway: ServedGateway, key: str) -> None:
    with connect(gateway) as first, connect(gateway) as second:
        for tls in (first, second):
            tls.sendall(head(key, "content-length: 1900000", "connection: close") + b"x" * 1_700_000)
        answers = [refused(read_all(tls)) for tls in (first, second)]
    assert sorted(answers) == [408, 503]
    body = json.dumps({"model": "plain", "messages": [{"role": "user", "content": "x" * 1_900_000}]})
    with gateway.client(key) as client:
        headers = {"content-type": "application/json"}
        for _ in range(3):
            assert client.post("/v1/chat/completions", content=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic abc",
        "zima-x",
        "Bearer a b",
        "Bearer " + "x" * 20_000,
        "Bearer \xff\xfe",
    ],
)
def test_every_bad_key_gets_one_and_the_same_answer(gateway: ServedGateway, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    with gateway.client() as client:
        answer = client.post("/api/v1/chat/completions", content=b"{", headers=headers)
        usage = client.get("/api/v1/usage", headers=headers)
    assert answer.status_code == usage.status_code == 401
    assert answer.json() == usage.json()
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_scheme_of_a_key_may_be_written_in_any_case(gateway: ServedGateway, key: str) -> None:
    with gateway.client() as client:
        for scheme in ("bearer", "BEARER"):
            body = {"model": "plain", "messages": [{"role": "user", "content": "x"}]}
            headers = {"authorization": f"{scheme} {key}"}
            assert client.post("/v1/chat", json=body, headers=headers).status_code == 200
            assert client.get("/v1/usage", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
        ("text/plain", 415),
        ("x" + CANARY, 415),
    ],
)
def test_only_json_is_taken(gateway: ServedGateway, key: str, content_type: str, status: int) -> None:
    body = json.dumps({"model": "plain", "messages": [{"role": "user", "content": "x"}]})
    with gateway.client(key) as client:
        answer = client.post("/v1/chat", content=body, headers={"content-type": content_type})
    assert answer.status_code == status
    assert CANARY not in answer.text


def test_other_methods_and_paths_are_refused_in_the_same_form(gateway: ServedGateway, key: str) -> None:
    cases = [
        ("GET", "/api/v1/chat/completions", 405),
        ("DELETE", "/v1/chat", 405),
        ("POST", "/api/v1/models", 405),
        ("PATCH", "/", 405),
        ("GET", "/" + CANARY, 404),
        ("POST", "/api/v1/chat/completions/", 404),
        ("GET", "/api/v1/models/" + CANARY, 404),
        ("GET", "/.well-known/casemate/manifest/" + "0" * 96, 404),
        ("GET", "/.well-known/attestation?nonce=" + CANARY, 400),
        ("GET", "/.well-known/attestation?nonce=" + "A" * 64, 400),
        ("GET", f"/.well-known/attestation?nonce={'a' * 64}&nonce={'b' * 64}", 400),
    ]
    with gateway.client(key) as client:
        for method, path, status in cases:
            answer = client.request(method, path)
            assert answer.status_code == status, (method, path)
            assert set(answer.json()["error"]) == {"type", "message", "code", "param"}
            assert CANARY not in answer.text


@pytest.mark.parametrize(
    "host", ["localhost/api/v1/chat?x=", "evil.invalid", "a/../../admin", "", "localhost:1#"]
)
def test_the_host_header_takes_no_part_in_dispatch_or_authorisation(
    gateway: ServedGateway, host: str
) -> None:
    raw = f"GET /api/v1/usage HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode()
    assert refused(exchange(gateway, raw)) in (400, 401)
    chat = raw.replace(b"GET /api/v1/usage", b"POST /v1/chat")
    assert refused(exchange(gateway, chat)) == 401


def test_bodies_of_every_broken_kind_are_400_over_the_wire(gateway: ServedGateway, key: str) -> None:
    messages = b'{"role":"user","content":"x"},'
    bodies = [
        b'{"model":"plain","messages":[' + messages * 100_000 + b"]}",
        b'{"model":"plain","messages":[' + messages * 60_000 + messages[:-1] + b"]}",
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b'{"model":"plain","messages":"\xff\xfe"}',
        b'{"model":"' + CANARY.encode() + b'","messages":[{"role":"user","content":"x"}]}',
        b"\x00" * 1000,
    ]
    with gateway.client(key) as client:
        for body in bodies:
            answer = client.post("/v1/chat", content=body, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 413), body[:40]
            assert CANARY not in answer.text


def test_a_client_that_does_not_read_is_cut_off(gateway: ServedGateway, key: str) -> None:
    body = json.dumps(
        {"model": "endless", "messages": [{"role": "user", "content": "x"}], "stream": True}
    ).encode()
    with connect(gateway) as tls:
        tls.sendall(head(key, f"content-length: {len(body)}") + body)
        until = time.monotonic() + 10
        while time.monotonic() < until and gateway.usage(key)["models"].__repr__().count("endless") == 0:
            time.sleep(0.1)
        assert "endless" in repr(gateway.usage(key)["models"])


def test_through_all_of_this_nothing_of_ours_broke(gateway: ServedGateway) -> None:
    lines = [json.loads(line) for line in gateway.log.getvalue().splitlines()]
    assert [line for line in lines if line["event"] == "Fault" or line.get("status") == 500] == []
    assert CANARY not in gateway.log.getvalue().decode()
    with gateway.client() as client:
        assert client.get("/healthz").status_code == httpx.codes.OK
