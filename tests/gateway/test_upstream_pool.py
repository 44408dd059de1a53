"""An idle connection to a provider keeps nothing of the answer before: what nobody read is dropped."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.config import Provider
from gateway.errors import GatewayError
from gateway.upstream import AiohttpUpstream
from tests.fakes.counting_provider import BAD_REQUEST, ECHO
from tests.stories import machine
from tests.stories.machine import until


@pytest.fixture(scope="module")
def provider() -> Iterator[machine.Provider]:
    with machine.provider_process() as running:
        yield running


@pytest.fixture
async def upstream(provider: machine.Provider) -> AsyncIterator[AiohttpUpstream]:
    url = f"https://localhost:{provider.port}/v1"
    made = AiohttpUpstream(Provider(url=url, pins=provider.pins, ca_pem=provider.ca_pem), None)
    yield made
    await made.aclose()


def idle(upstream: AiohttpUpstream) -> int:
    """How many connections wait to be used again."""
    assert upstream._session is not None
    pool = upstream._session.connector._conns  # type: ignore[union-attr]
    return sum(protocol.is_connected() for waiting in pool.values() for protocol, _ in waiting)


def asked(model: str) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "A secret."}]}).encode()


async def test_an_answer_that_was_left_unread_is_emptied_before_its_connection_serves_again(
    upstream: AiohttpUpstream,
) -> None:
    answer = await upstream.send(asked(ECHO))
    body = answer._response.content  # type: ignore[attr-defined]
    await until(body.is_eof, "the whole answer")
    await answer.aclose()
    assert idle(upstream) == 1
    assert body.at_eof()


async def test_a_refusals_connection_is_cut_and_another_answers_next(upstream: AiohttpUpstream) -> None:
    with pytest.raises(GatewayError):
        await upstream.send(asked(BAD_REQUEST))
    assert idle(upstream) == 0
    answer = await upstream.send(asked(ECHO))
    assert b"A secret." in b"".join([piece async for piece in answer.pieces()])
    await answer.aclose()
