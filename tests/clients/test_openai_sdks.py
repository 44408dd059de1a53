"""The official OpenAI SDKs, unmodified: base URL and key change, and the model's real answer comes back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.dev.model_server import MODEL_ID
from tests.clients.environments import NODE, NODE_PROJECT, OPENAI_1, OPENAI_2, OPENAI_3, ClientEnvironment
from tests.clients.served import PROGRAMS, Answer, Served, client_environment, run_program

pytestmark = pytest.mark.clients

SDKS = [
    pytest.param(env, major, id=env.name) for major, env in enumerate((OPENAI_1, OPENAI_2, OPENAI_3), start=1)
]
PYTHON_PROGRAM = PROGRAMS / "openai_chat.py"


def assert_real_answers(result: dict[str, Any], expected: Answer) -> None:
    """Complete, stream, and stream with usage: each the model's own words and token counts."""
    assert "refused" not in result, result["refused"]
    assert result["complete"] == {"text": expected.text, "tokens": expected.tokens}
    assert result["stream"]["text"] == expected.text
    assert result["stream"]["pieces"] > 1
    assert result["usage"] == {"text": expected.text, "tokens": expected.tokens}
    assert MODEL_ID in result["models"]
    assert result["wrong_key"] == {"status": 401, "code": "invalid_api_key"}


def test_the_model_asked_directly_knows_the_answer(expected: Answer) -> None:
    assert "Paris" in expected.text
    assert min(expected.tokens) > 0


@pytest.mark.parametrize(("environment", "major"), SDKS)
def test_python_sdk_gets_the_real_answer_through_the_proxy_with_only_url_and_key_changed(
    environment: ClientEnvironment, major: int, served: Served, expected: Answer
) -> None:
    settings = client_environment(served.proxy_url, served)
    result = run_program(environment.require(), PYTHON_PROGRAM, "url", environment=settings)
    assert result["sdk"].startswith(f"{major}.")
    assert_real_answers(result, expected)
    assert result["asynchronous"]["complete"] == {"text": expected.text, "tokens": expected.tokens}
    assert result["asynchronous"]["stream"]["text"] == expected.text


@pytest.mark.parametrize(("environment", "major"), SDKS)
def test_python_sdk_gets_the_real_answer_over_our_transport_straight_from_the_gateway(
    environment: ClientEnvironment, major: int, served: Served, expected: Answer
) -> None:
    assert served.gateway_url.startswith("https://")
    settings = client_environment(served.gateway_url, served)
    result = run_program(environment.require(), PYTHON_PROGRAM, "transport", environment=settings)
    assert result["sdk"].startswith(f"{major}.")
    assert_real_answers(result, expected)
    assert result["asynchronous"]["complete"] == {"text": expected.text, "tokens": expected.tokens}
    assert result["asynchronous"]["stream"]["text"] == expected.text


@pytest.mark.parametrize(("environment", "major"), SDKS)
def test_python_sdk_refuses_with_a_reason_if_the_policy_names_another_measurement(
    environment: ClientEnvironment, major: int, served: Served, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    told = served.policy.read_text()
    policy.write_text(re.sub(r'"[0-9a-f]{96}"', f'"{"0" * 96}"', told))
    assert policy.read_text() != told
    settings = client_environment(served.gateway_url, served, CHAT_POLICY=str(policy))
    result = run_program(environment.require(), PYTHON_PROGRAM, "transport", environment=settings)
    assert "complete" not in result
    assert any("PolicyRefused" in line and "snp.measurement" in line for line in result["refused"]), result


def test_npm_sdk_gets_the_real_answer_through_the_proxy_with_only_url_and_key_changed(
    served: Served, expected: Answer
) -> None:
    settings = client_environment(served.proxy_url, served)
    result = run_program(NODE.require(), NODE_PROJECT / "openai_chat.mjs", environment=settings)
    assert int(result["node"].split(".")[0]) >= 24
    assert_real_answers(result, expected)
