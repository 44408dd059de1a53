"""Third-party EHBP clients, unmodified, against the gateway itself: what they seal is opened, once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.environments import EHBP, NODE, NODE_PROJECT
from tests.clients.served import PROGRAMS, Answer, Served, client_environment, run_program

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def from_python(served: Served) -> dict[str, Any]:
    """One run of the tinfoil-ehbp program."""
    settings = client_environment(served.gateway_url, served)
    return run_program(EHBP.require(), PROGRAMS / "ehbp_chat.py", environment=settings)


@pytest.fixture(scope="module")
def from_node(served: Served) -> dict[str, Any]:
    """One run of the npm ehbp program."""
    settings = client_environment(served.gateway_url, served, NODE_EXTRA_CA_CERTS=str(served.ca))
    return run_program(NODE.require(), NODE_PROJECT / "ehbp_chat.mjs", environment=settings)


def assert_replay_refused(result: dict[str, Any], expected: Answer) -> None:
    assert result["replay"] == {"status": 409, "billed": 0}
    assert result["after_replay"] == {"text": expected.text, "tokens": expected.tokens}


def test_tinfoil_ehbp_under_the_openai_sdk_gets_the_real_answer_buffered_and_streaming(
    from_python: dict[str, Any], expected: Answer
) -> None:
    assert from_python["complete"] == {"text": expected.text, "tokens": expected.tokens}
    assert from_python["stream"]["text"] == expected.text
    assert from_python["stream"]["pieces"] > 1
    assert from_python["asynchronous"] == {
        "complete": {"text": expected.text},
        "stream": {"text": expected.text},
    }


def test_tinfoil_ehbp_sends_no_plaintext_and_every_answer_is_sealed(from_python: dict[str, Any]) -> None:
    assert from_python["plaintext_sent"] is False
    assert from_python["sealed_answers"] == 2


def test_a_replayed_sealed_request_of_tinfoil_ehbp_gets_409_and_is_not_billed(
    from_python: dict[str, Any], expected: Answer
) -> None:
    assert_replay_refused(from_python, expected)


def test_an_error_after_the_body_was_opened_comes_back_sealed_in_openai_form(
    from_python: dict[str, Any],
) -> None:
    assert from_python["refused"] == {"status": 400, "type": "invalid_request_error", "nonce": True}


def test_tinfoil_ehbp_understands_that_its_key_is_stale(from_python: dict[str, Any]) -> None:
    assert from_python["stale_key"] == "KeyConfigMismatchError"


def test_npm_ehbp_gets_the_real_answer_by_itself_and_under_the_openai_sdk(
    from_node: dict[str, Any], expected: Answer
) -> None:
    assert from_node["bare"] == {"text": expected.text, "tokens": expected.tokens}
    assert from_node["complete"] == {"text": expected.text, "tokens": expected.tokens}
    assert from_node["stream"]["text"] == expected.text
    assert from_node["stream"]["pieces"] > 1


def test_npm_ehbp_seals_every_request(from_node: dict[str, Any]) -> None:
    assert from_node["sealed_requests"] == 3
    assert from_node["plaintext_sent"] is False


def test_a_replayed_sealed_request_of_npm_ehbp_gets_409_and_is_not_billed(
    from_node: dict[str, Any], expected: Answer
) -> None:
    assert_replay_refused(from_node, expected)
