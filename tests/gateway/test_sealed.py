"""EHBP at the gateway: sealed in and out, errors too; stale, malformed, empty and replayed told apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from attestation.ehbp import MEDIA_TYPE, RequestSealer, parse_key_config
from enclave.tee.dev import SimulatedTee
from tests.gateway.served import ServedGateway, config_text, fake_provider, served_gateway

PROBLEM = "urn:ietf:params:ehbp:error:key-config"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGateway]:
    tee = SimulatedTee.forge(now=datetime.now(UTC), chip_secret=b"s" * 32)
    with fake_provider() as provider:
        config = config_text(provider, body_bytes=300_000)
        with served_gateway(config, tee, tmp_path_factory.mktemp("gateway")) as running:
            yield running


@pytest.fixture
def client(gateway: ServedGateway) -> Iterator[httpx.Client]:
    with gateway.client(gateway.new_key()) as client:
        yield client


def key_of(client: httpx.Client) -> bytes:
    answer = client.get("/.well-known/hpke-keys")
    assert answer.headers["content-type"] == MEDIA_TYPE
    return parse_key_config(answer.content)


def question(model: str = "plain", **more: Any) -> bytes:
    return json.dumps(
        {"model": model, "messages": [{"role": "user", "content": "Hello there"}]} | more
    ).encode()


def post(client: httpx.Client, sealer: RequestSealer, body: bytes, **headers: str) -> httpx.Response:
    sent = {"ehbp-encapsulated-key": sealer.encapsulated_key, "content-type": "application/json"} | headers
    return client.post("/api/v1/chat/completions", content=body, headers=sent)


def opened(sealer: RequestSealer, answer: httpx.Response) -> bytes:
    opener = sealer.response_opener(answer.headers["ehbp-response-nonce"])
    plain = opener.feed(answer.content)
    opener.finish()
    return plain


@pytest.mark.parametrize("stream", [True, False])
def test_a_sealed_request_gets_a_sealed_answer(client: httpx.Client, stream: bool) -> None:
    sealer = RequestSealer(key_of(client))
    answer = post(client, sealer, sealer.seal(question(stream=stream)))
    assert answer.status_code == 200
    assert b"Paris" not in answer.content
    assert "content-length" not in answer.headers
    plain = opened(sealer, answer)
    assert b"Paris" in plain
    assert plain.endswith(b"data: [DONE]\n\n") if stream else b'"billing"' in plain


def test_a_body_in_many_frames_is_one_body(client: httpx.Client) -> None:
    sealer = RequestSealer(key_of(client))
    body = question(padding="x" * 200_000)
    frames = b"".join(sealer.seal(body[i : i + 777]) for i in range(0, len(body), 777))
    assert b"Paris" in opened(sealer, post(client, sealer, frames))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{nonsense", 400),
        (question("no-such-model"), 400),
        (question("error500"), 502),
        (question("never"), 408),
    ],
)
def test_errors_are_sealed_once_there_is_a_context(client: httpx.Client, body: bytes, status: int) -> None:
    sealer = RequestSealer(key_of(client))
    answer = post(client, sealer, sealer.seal(body))
    assert answer.status_code == status
    assert b"error" not in answer.content
    assert set(json.loads(opened(sealer, answer))["error"]) == {"type", "message", "code", "param"}


def test_a_replayed_request_is_refused_and_not_forwarded(gateway: ServedGateway) -> None:
    key = gateway.new_key()
    with gateway.client(key) as client:
        sealer = RequestSealer(key_of(client))
        body = sealer.seal(question())
        assert post(client, sealer, body).status_code == 200
        again = post(client, sealer, body)
    assert again.status_code == 409
    assert json.loads(opened(sealer, again))["error"]["code"] == "replayed"
    assert gateway.usage(key)["today"]["used"] == 1


def test_a_key_whose_memory_is_full_is_answered_like_a_stale_one_so_that_clients_verify_again(
    gateway: ServedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gateway.keeper is not None
    key = gateway.new_key()
    monkeypatch.setattr(gateway.keeper._keeper.state._replays, "_per_key", 0)
    with gateway.client(key) as client:
        sealer = RequestSealer(key_of(client))
        answer = post(client, sealer, sealer.seal(question()))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["type"] == PROBLEM
    assert gateway.usage(key)["today"]["used"] == 0


def test_only_what_was_admitted_fills_the_memory_for_replays(gateway: ServedGateway) -> None:
    assert gateway.keeper is not None
    memory = gateway.keeper._keeper.state._replays
    with gateway.client(gateway.new_key(credit_usd=0)) as poor:
        before = memory.held()
        for body, status in ((question(), 402), (question("nobody"), 400), (b"{", 400)):
            sealer = RequestSealer(key_of(poor))
            assert post(poor, sealer, sealer.seal(body)).status_code == status
    assert memory.held() == before


def test_a_request_sealed_to_another_key_gets_the_answer_that_makes_clients_verify_again(
    client: httpx.Client,
) -> None:
    sealer = RequestSealer(X25519PrivateKey.generate().public_key().public_bytes_raw())
    answer = post(client, sealer, sealer.seal(question()))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["type"] == PROBLEM
    assert "ehbp-response-nonce" not in answer.headers


def test_malformed_sealed_bodies_are_400(client: httpx.Client) -> None:
    public = key_of(client)
    cut, changed, short = RequestSealer(public), RequestSealer(public), RequestSealer(public)
    assert post(client, cut, cut.seal(question())[:-1]).status_code == 400
    frames = changed.seal(b"{") + bytes(reversed(changed.seal(question())))
    assert post(client, changed, frames).status_code == 400
    assert post(client, short, b"\x00\x00\x00\x01x").status_code == 400
    assert post(client, RequestSealer(public), b"").status_code == 400
    sealer = RequestSealer(public)
    for header in ("", "00", "zz" * 32, sealer.encapsulated_key.upper() + "0", "00" * 32):
        answer = post(client, sealer, sealer.seal(question()), **{"ehbp-encapsulated-key": header})
        assert answer.status_code == 400, header


def test_a_sealed_body_is_bound_by_the_same_limits(client: httpx.Client) -> None:
    sealer = RequestSealer(key_of(client))
    assert post(client, sealer, sealer.seal(question(x="y" * 300_000))).status_code == 413


def test_a_refusal_in_the_middle_of_a_sealed_body_is_sealed_too(client: httpx.Client) -> None:
    sealer = RequestSealer(key_of(client))

    def frames() -> Iterator[bytes]:
        for _ in range(5):
            yield sealer.seal(b"x" * 65_000)

    headers = {"ehbp-encapsulated-key": sealer.encapsulated_key, "content-type": "application/json"}
    answer = client.post("/api/v1/chat", content=frames(), headers=headers)
    assert answer.status_code == 413
    assert json.loads(opened(sealer, answer))["error"]["code"] == "body_too_large"


def test_a_bad_key_is_refused_before_the_body_is_opened(gateway: ServedGateway) -> None:
    with gateway.client("zima-wrong") as client:
        sealer = RequestSealer(key_of(client))
        answer = post(client, sealer, sealer.seal(question()))
    assert answer.status_code == 401
    assert "ehbp-response-nonce" not in answer.headers
