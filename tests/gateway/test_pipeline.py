"""The story over real sockets: a gateway with TLS, keeper and books, before a provider in its own process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from attestation.pinned_tls import format_pin
from enclave.tee.dev import SimulatedTee
from tests.gateway.served import (
    CREDENTIAL,
    FakeProvider,
    ServedGateway,
    config_text,
    fake_provider,
    served_gateway,
)

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
CANARY = "canary-5e1b7c"


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with fake_provider() as running:
        yield running


@pytest.fixture(scope="module")
def tee() -> SimulatedTee:
    return SimulatedTee.forge(now=datetime.now(UTC), chip_secret=b"s" * 32)


@pytest.fixture(scope="module")
def gateway(
    provider: FakeProvider, tee: SimulatedTee, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedGateway]:
    with served_gateway(config_text(provider), tee, tmp_path_factory.mktemp("gateway")) as running:
        yield running


def ask(client: httpx.Client, model: str, text: str = QUESTION, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}]} | more
    return client.post("/api/v1/chat/completions", json=body)


def events(response: httpx.Response) -> list[Any]:
    lines = [
        line.removeprefix("data:").strip() for line in response.text.splitlines() if line.startswith("data:")
    ]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < until:
        time.sleep(0.02)
    return met


def spent(gateway: ServedGateway, key: str) -> float:
    return gateway.usage(key)["month"]["cost"]


@pytest.mark.parametrize(
    "path", ["/api/v1/chat/completions", "/api/v1/chat", "/v1/chat/completions", "/v1/chat"]
)
def test_a_chat_is_answered_and_billed_at_its_price(gateway: ServedGateway, path: str) -> None:
    key = gateway.new_key(credit_usd=1.0)
    with gateway.client(key) as client:
        answer = client.post(
            path, json={"model": "plain", "messages": [{"role": "user", "content": QUESTION}]}
        )
    whole = answer.raise_for_status().json()
    assert whole["choices"][0]["message"]["content"] == ANSWER
    assert whole["usage"]["prompt_tokens"] == whole["usage"]["completion_tokens"] == 7
    assert whole["billing"] == {"cost_usd": 0.000021, "remaining_credits": 0.999979, "api_key_name": "first"}
    usage = gateway.usage(key)
    assert usage["balance"] == {"remaining_credits": 0.999979}
    assert usage["today"] == {"used": 1, "limit": None}
    assert usage["keys"][0] == {
        "name": "first",
        "requests": 1,
        "tokensIn": 7,
        "tokensOut": 7,
        "cost": 0.000021,
    }


def test_a_stream_ends_with_billing_on_the_finish_chunk_and_done(gateway: ServedGateway) -> None:
    key = gateway.new_key()
    with gateway.client(key) as client:
        answer = ask(client, "plain", stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *chunks, finish, done = events(answer)
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == ANSWER
    assert all("billing" not in c for c in chunks)
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert finish["billing"]["cost_usd"] == 0.000021 == spent(gateway, key)
    assert done == "[DONE]"


@pytest.mark.parametrize(
    "model", ["plain", "usage-on-finish", "usage-before-finish", "no-usage", "no-done", "crlf"]
)
@pytest.mark.parametrize("wanted", [True, False])
def test_usage_is_shown_to_those_who_asked_and_to_nobody_else(
    gateway: ServedGateway, model: str, wanted: bool
) -> None:
    with gateway.client(gateway.new_key()) as client:
        answer = ask(client, model, stream=True, stream_options={"include_usage": wanted})
    *chunks, done = events(answer)
    assert done == "[DONE]"
    assert [bool(c["choices"]) for c in chunks].count(False) == wanted
    if wanted:
        assert chunks[-1]["usage"]["completion_tokens"] >= 7
        assert chunks[-1]["billing"] == chunks[-2]["billing"]


def test_the_provider_sees_the_clients_words_and_our_credential_but_not_the_client(
    gateway: ServedGateway, provider: FakeProvider
) -> None:
    key = gateway.new_key()
    with gateway.client(key) as client:
        secret = {
            "user": CANARY,
            "metadata": {"a": CANARY},
            "user_cache_secret": CANARY,
            "safety_identifier": CANARY,
        }
        ask(client, "plain", temperature=0.25, store=True, **secret).raise_for_status()
    stats = provider.stats()
    assert stats["last_request"]["temperature"] == 0.25
    assert stats["last_request"]["store"] is False
    assert CANARY not in json.dumps(stats)
    assert stats["last_headers"]["authorization"] == f"Bearer {CREDENTIAL}"
    assert key not in json.dumps(stats)
    assert set(stats["last_headers"]) == {
        "host", "accept", "accept-encoding", "content-type", "authorization", "content-length",
    }  # fmt: skip


def test_connections_to_a_provider_are_used_again(gateway: ServedGateway, provider: FakeProvider) -> None:
    with gateway.client(gateway.new_key()) as client:
        ask(client, "plain", stream=True)
        before = provider.stats()["connections"]
        for stream in (True, False, True):
            ask(client, "plain", stream=stream)
    assert provider.stats()["connections"] == before


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("error400-echo", 400, None),
        ("error401", 502, "upstream_error"),
        ("error404", 502, "upstream_error"),
        ("error408", 408, "request_timeout"),
        ("error429", 429, "rate_limit"),
        ("error500", 502, "upstream_error"),
        ("redirect", 502, "upstream_error"),
        ("gzip", 502, "upstream_error"),
        ("huge", 502, "upstream_error"),
        ("error-first", 502, "upstream_error"),
        ("never", 408, "request_timeout"),
        ("never-headers", 408, "request_timeout"),
        ("no such model " + CANARY, 400, "model_not_found"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_a_failure_is_told_from_our_own_table_and_costs_nothing(
    gateway: ServedGateway, model: str, status: int, code: str | None, stream: bool
) -> None:
    key = gateway.new_key()
    with gateway.client(key) as client:
        answer = ask(client, model, text=CANARY * 20, stream=stream)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"type", "message", "code", "param"}
    assert error["code"] == code
    assert CANARY not in answer.text
    assert "x-provider-secret" not in answer.headers
    assert spent(gateway, key) == 0
    assert answer.headers.get("x-should-retry") == ("false" if status == 408 else None)
    if status == 429:
        assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("7", "7000")


@pytest.mark.parametrize("model", ["disconnect", "truncated"])
def test_a_stream_that_breaks_off_ends_with_an_error_event_and_without_done(
    gateway: ServedGateway, model: str
) -> None:
    key = gateway.new_key()
    with gateway.client(key) as client:
        streamed = events(ask(client, model, stream=True))
        whole = ask(client, model)
    assert streamed[-1]["error"]["code"] == "upstream_error"
    assert "[DONE]" not in streamed
    assert whole.status_code == 502
    # the stream: three words at 2,000 nano-dollars, one token of input at 1,000; the other cost nothing
    assert spent(gateway, key) == 0.000007


def test_a_client_that_leaves_stops_the_provider_and_pays_for_what_was_produced_at_most(
    gateway: ServedGateway, provider: FakeProvider
) -> None:
    key = gateway.new_key()
    body = {
        "model": "endless",
        "messages": [{"role": "user", "content": QUESTION}],
        "stream": True,
        "test_id": "left",
    }
    with (
        gateway.client(key) as client,
        client.stream("POST", "/api/v1/chat/completions", json=body) as answer,
    ):
        received = 0
        for line in answer.iter_lines():
            received += "word" in line
            if received == 3:
                break
    assert eventually(lambda: provider.stats()["requests"]["left"]["cut"])
    assert eventually(lambda: gateway.usage(key)["today"]["used"] == 1)
    produced = provider.stats()["requests"]["left"]
    cost = spent(gateway, key)
    assert received * 2e-6 <= cost <= produced["output"] * 2e-6 + produced["input"] * 1e-6


def test_a_client_that_leaves_before_a_whole_answer_stops_the_provider_too(
    gateway: ServedGateway, provider: FakeProvider
) -> None:
    key = gateway.new_key()
    with gateway.client(key) as client, pytest.raises(httpx.ReadTimeout):
        client.post(
            "/api/v1/chat/completions",
            json={
                "model": "endless",
                "messages": [{"role": "user", "content": QUESTION}],
                "test_id": "left-whole",
            },
            timeout=0.5,
        )
    assert eventually(lambda: provider.stats()["requests"]["left-whole"]["cut"])
    assert eventually(lambda: gateway.usage(key)["today"]["used"] == 1)


def test_no_hold_outlives_its_request(gateway: ServedGateway) -> None:
    assert gateway.keeper is not None
    assert eventually(lambda: gateway.keeper is not None and gateway.keeper._keeper.state.holds == 0)


def test_a_wrong_pin_is_untrusted_and_the_provider_receives_not_one_byte(
    provider: FakeProvider, tee: SimulatedTee, tmp_path: Path
) -> None:
    with (
        fake_provider() as fresh,
        served_gateway(config_text(fresh, pin=format_pin(bytes(32))), tee, tmp_path) as wrong,
    ):
        key = wrong.new_key()
        with wrong.client(key) as client:
            for stream in (True, False):
                answer = ask(client, "plain", stream=stream)
                assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_untrusted")
        stats = fresh.stats()
        assert (stats["http_bytes"], stats["requests"]) == (0, {})
        assert spent(wrong, key) == 0


def test_a_pinned_key_without_a_valid_chain_is_untrusted_too(tee: SimulatedTee, tmp_path: Path) -> None:
    with fake_provider() as right, fake_provider() as other:
        config = config_text(right).replace(right.ca_pem.encode(), other.ca_pem.encode())
        with served_gateway(config, tee, tmp_path) as gateway, gateway.client(gateway.new_key()) as client:
            answer = ask(client, "plain")
        assert answer.json()["error"]["code"] == "upstream_untrusted"
        assert right.stats()["http_bytes"] == 0


def test_a_backup_pin_on_the_issuing_ca_is_enough(
    provider: FakeProvider, tee: SimulatedTee, tmp_path: Path
) -> None:
    config = config_text(provider, pin=provider.backup_pin)
    with served_gateway(config, tee, tmp_path) as gateway, gateway.client(gateway.new_key()) as client:
        ask(client, "plain").raise_for_status()


def test_a_provider_that_is_not_there_is_an_upstream_error(tee: SimulatedTee, tmp_path: Path) -> None:
    with fake_provider() as gone:
        config = config_text(gone)
    with served_gateway(config, tee, tmp_path) as gateway, gateway.client(gateway.new_key()) as client:
        answer = ask(client, "plain")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")


def test_a_redirect_is_not_followed(gateway: ServedGateway, provider: FakeProvider) -> None:
    def redirected() -> int:
        return sum(request["model"] == "redirect" for request in provider.stats()["requests"].values())

    before = redirected()
    with gateway.client(gateway.new_key()) as client:
        ask(client, "redirect")
    assert redirected() == before + 1


def test_without_credit_nothing_is_sent_upstream(gateway: ServedGateway, provider: FakeProvider) -> None:
    before = len(provider.stats()["requests"])
    with gateway.client(gateway.new_key(credit_usd=0.00001)) as client:
        answer = ask(client, "plain")
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "insufficient_credits")
    assert len(provider.stats()["requests"]) == before


def test_a_small_balance_buys_a_shorter_answer(gateway: ServedGateway, provider: FakeProvider) -> None:
    with gateway.client(gateway.new_key(credit_usd=0.001)) as client:
        ask(client, "plain").raise_for_status()
    assert 64 <= provider.stats()["last_request"]["max_tokens"] < 400


def test_a_provider_that_reports_more_than_the_model_can_take_or_make_does_not_empty_the_account(
    gateway: ServedGateway,
) -> None:
    with gateway.client(gateway.new_key()) as client:
        told = ask(client, "greedy", max_tokens=10).json()["billing"]
    assert told["cost_usd"] == pytest.approx(8_192 * 1e-6 + 4_096 * 2e-6)  # its context, its longest answer


def test_a_rate_beyond_the_keys_is_refused_with_advice(gateway: ServedGateway) -> None:
    with gateway.client(gateway.new_key(requests_per_minute=1)) as client:
        first, second = ask(client, "plain"), ask(client, "plain")
    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limit")
    assert 1 <= int(second.headers["retry-after"]) <= 60
    assert second.headers["x-ratelimit-remaining-requests"] == "0"


def test_every_response_names_the_request_and_the_development_and_is_not_to_be_stored(
    gateway: ServedGateway,
) -> None:
    with gateway.client(gateway.new_key()) as client:
        answers = [
            ask(client, "plain"),
            ask(client, "plain", stream=True),
            ask(client, "x"),
            client.get("/nowhere"),
        ]
        answers += [client.get("/"), client.get("/api/v1/models"), client.get("/api/v1/chat")]
    names = {answer.headers["x-request-id"] for answer in answers}
    assert len(names) == len(answers)
    for answer in answers:
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["casemate-attestation"] == "development"
        assert "server" not in answer.headers


def test_the_log_holds_no_content_no_key_and_no_unknown_name(gateway: ServedGateway) -> None:
    key = gateway.new_key()
    with gateway.client(key) as client:
        ask(client, "plain", text=CANARY)
        ask(client, "error400-echo", text=CANARY, stream=True)
        ask(client, "model-" + CANARY)
        client.get("/" + CANARY)
    lines = gateway.log.getvalue()
    assert b'"model":"plain"' in lines
    assert CANARY.encode() not in lines
    assert key.encode() not in lines
    for line in lines.splitlines():
        assert json.loads(line)["event"] == "Served"
