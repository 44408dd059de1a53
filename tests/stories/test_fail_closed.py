"""Whatever is wrong with a gateway, or on the way to it: a clear reason, and not one byte of a request."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attestation.errors import PolicyInvalid
from enclave.tee import dev
from tests.attestation.sessions import KINDS, transport_for
from tests.fakes.amd import World
from tests.fakes.gateway_peer import Gateway, running_gateway
from tests.fakes.tls_peer import Chain
from tests.stories.conftest import Story
from tests.stories.peers import Tap
from tests.stories.refusal_cases import (
    ACCEPTED_INSECURE,
    CASES,
    UNDECIDED,
    Stage,
    announce_keys_beside,
    evidence_request,
    forged,
    nothing_else,
    relayed,
    tapped,
)
from tests.stories.verifiers import (
    BODY,
    CHAT,
    COMMANDS,
    SECRET,
    SENDERS,
    VERIFIERS,
    command_line,
    refusal,
    sender,
)


@pytest.fixture(scope="module")
def stage(story: Story) -> Stage:
    now = datetime.now(UTC)
    worlds = [World(dev.forge_hierarchy("Genoa", now=now)) for _ in range(2)]
    return Stage(story, *worlds, Chain.forge())


@pytest.mark.parametrize("verifier", VERIFIERS)
@pytest.mark.parametrize("case", CASES)
def test_no_request_goes_to(case: str, verifier: str, stage: Stage, tmp_path: Path) -> None:
    make, reason, code = CASES[case]
    with make(stage) as target:
        refused = refusal(verifier, tmp_path, target.url, target.policy, target.ca, stage.story.api_key)
        assert reason in refused.reason
        assert refused.code in (None, code)
        assert target.request_bytes() == 0


# --- without a policy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", [None, b"", {}, "accept everything"])
def test_without_a_policy_there_is_no_transport(kind: str, policy: object, stage: Stage) -> None:
    with Tap(stage.story.port) as tap:
        with pytest.raises(PolicyInvalid):
            transport_for(kind, f"https://localhost:{tap.peer.port}", policy, now=None)
        assert tap.peer.received == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_that_says_nothing_accepts_nothing(kind: str, stage: Stage, tmp_path: Path) -> None:
    policy = b'format = "casemate/policy/1"\n'
    with tapped(stage.story, policy) as target:
        refused = refusal(kind, tmp_path, target.url, policy, None, stage.story.api_key)
        assert "snp.chain.root" in refused.reason
        assert target.request_bytes() == 0


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("policy", [None, "", "format = 1", "# unconfirmed"])
def test_without_a_policy_a_command_exits_2(
    command: str, policy: str | None, stage: Stage, tmp_path: Path
) -> None:
    given: list[str] = []
    if policy is not None:
        (tmp_path / "policy.toml").write_text(policy)
        given = ["--policy", str(tmp_path / "policy.toml")]
    with Tap(stage.story.port) as tap:
        line = command_line(command, f"https://localhost:{tap.peer.port}", *given)
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == UNDECIDED
        assert "policy" in done.stderr
        assert tap.peer.received == []


# --- controls: the same clients do send to the same gateway, and the tap does see it ------------------------


@pytest.mark.parametrize("kind", SENDERS)
def test_the_tap_counts_a_request_that_was_sent(kind: str, stage: Stage, tmp_path: Path) -> None:
    story = stage.story
    headers = {"authorization": f"Bearer {story.api_key}"}
    with Tap(story.port) as tap:
        url = f"https://localhost:{tap.peer.port}"
        with sender(kind, tmp_path, url, story.policy) as client:
            assert client.send("POST", CHAT, json=BODY, headers=headers).status_code == 200
        tap.peer.settle()
        assert tap.request_bytes(len(evidence_request(url))) > len(SECRET)


@pytest.mark.parametrize("change", [nothing_else, announce_keys_beside])
def test_the_forged_gateway_is_accepted_as_long_as_nothing_is_wrong(
    change: Callable[[Stage, Gateway], None], stage: Stage, tmp_path: Path
) -> None:
    with forged(change)(stage) as target:
        done = refusal("verify", tmp_path, target.url, target.policy, None, "")
        assert done.code == ACCEPTED_INSECURE
        with sender("httpx", tmp_path, target.url, target.policy) as client:
            client.send("GET", "/api/v1/models")
        assert target.request_bytes() > 0


# --- trust is for one connection ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SENDERS)
def test_a_client_that_is_diverted_after_it_has_verified_sends_nothing_more(
    kind: str, stage: Stage, tmp_path: Path
) -> None:
    """The next connection ends at a peer that relays fresh genuine evidence; the one after it is genuine."""
    story = stage.story
    question = {"json": BODY, "headers": {"authorization": f"Bearer {story.api_key}"}}
    with Tap(story.port) as tap, running_gateway(stage.world, stage.chain) as gateway:
        gateway.evidence = relayed(story)
        url = f"https://localhost:{tap.peer.port}"
        with sender(kind, tmp_path, url, story.policy) as client:
            assert client.send("POST", CHAT, **question).status_code == 200
            tap.target = gateway.peer.port
            tap.peer.drop_connections()
            assert "connection.key" in _diverted(client, question)
            gateway.peer.settle()
            assert len(gateway.nonces) == 1
            assert gateway.request_bytes == 0
            tap.target = story.port
            assert client.send("POST", CHAT, **question).status_code == 200


def _diverted(client: object, question: dict[str, object]) -> str:
    """Why the request was not sent: a transport raises, a proxy answers."""
    try:
        answer = client.send("POST", CHAT, **question)  # type: ignore[attr-defined]
    except Exception as error:  # noqa: BLE001 - every client has its own; the caller looks at the reason
        return str(error)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "false")
    assert answer.json()["error"]["code"] == "gateway_unverified"
    return str(answer.json()["error"]["message"])
