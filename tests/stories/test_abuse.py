"""Bad input to the running gateway: a 4xx in OpenAI form or a closed connection, and no harm done.

Every input carries a canary. No answer and no log line may repeat it, no process may die or grow.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy

from attestation.ehbp import KEY_PROBLEM, RequestSealer, parse_key_config
from tests.stories.conftest import Story
from tests.stories.hostile import BODIES, HARMLESS, REFUSED, STATUSES, VALUES, Raw
from tests.stories.verifiers import CHAT
from tests.stories.wire import CANARY, MEMBERS, chat_body, chat_head, exchange, require_refusal, resident

MEGABYTE = 1_000_000
MOST_GROWTH = 150 * MEGABYTE
"""Beyond what each process held before. Bodies in flight are bounded at 64 MB, and decoded one by one."""
LEFT_BEHIND = 40 * MEGABYTE
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module", autouse=True)
def _unharmed(story: Story) -> Iterator[None]:
    """After all of it: the same processes, of bounded size, and a log without faults and canaries."""
    still_serves(story)
    processes = story.dev.descendants()
    before = resident(processes)
    yield
    still_serves(story)
    assert story.dev.descendants() == processes
    peak, after = resident(processes, "VmHWM"), resident(processes)
    assert max(peak[pid] - before[pid] for pid in processes) < MOST_GROWTH, (before, peak)
    assert max(after[pid] - before[pid] for pid in processes) < LEFT_BEHIND, (before, after)
    log = (story.dev.state / "logs" / "gateway.log").read_text()
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [event for event in events if event["event"] == "Fault" or event.get("status") == 500] == []
    assert any(event["event"] == "Served" for event in events)
    assert CANARY not in log


@pytest.fixture(autouse=True)
def _served_after_each(story: Story) -> Iterator[None]:
    yield
    still_serves(story)


def still_serves(story: Story) -> None:
    """A normal request."""
    with story.client() as client:
        answer = client.post(CHAT, content=chat_body(), headers=JSON)
    assert answer.status_code == 200, answer.text


def bytes_of(raw: Raw, story: Story) -> bytes:
    return raw if isinstance(raw, bytes) else raw(story)


# --- HTTP ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED)
def test_over_the_wire_is_refused(name: str, story: Story) -> None:
    answers = exchange(story, bytes_of(REFUSED[name], story))
    assert len(answers) <= 1  # a second one would be to a request that was smuggled in
    for answer in answers:
        require_refusal(answer.status, answer.body.decode())
        assert answer.status == STATUSES.get(name, answer.status)
        assert CANARY not in answer.head


@pytest.mark.parametrize("name", HARMLESS)
def test_over_the_wire_is_not_believed(name: str, story: Story) -> None:
    answers = exchange(story, bytes_of(HARMLESS[name], story))
    assert len(answers) == 1
    [answer] = answers
    assert CANARY not in answer.head
    if answer.status >= 300:
        require_refusal(answer.status, answer.body.decode())
    assert CANARY.encode() not in answer.body


def test_requests_in_a_row_get_as_many_answers_in_that_order(story: Story) -> None:
    """The control of the smuggling cases: what was sent as two requests is answered twice."""
    first = chat_head(story, "content-length: 2") + b"{}"
    second = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert [answer.status for answer in exchange(story, first + second)] == [400, 200]


# --- bodies -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_refused_that_is(name: str, story: Story) -> None:
    with story.client() as client:
        answer = client.post(CHAT, content=BODIES[name], headers=JSON)
    require_refusal(answer.status_code, answer.text)


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def _is_count(value: object, most: int = 2**70) -> bool:
    return _is_whole(value) or (isinstance(value, int) and value is not True and 1 <= value <= most)


def _is_content(value: object) -> bool:
    parts = isinstance(value, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str | None) for part in value
    )
    return parts or isinstance(value, str | None)


def _is_message(value: object) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("role"), str) and _is_content(value.get("content"))
    )


RIGHT: dict[str, Callable[[Any], bool]] = {
    "model": lambda value: False,  # no text that carries the canary names one
    "messages": lambda value: isinstance(value, list) and value != [] and all(map(_is_message, value)),
    "stream": lambda value: isinstance(value, bool | None),
    "stream_options": lambda value: (
        value is None or (isinstance(value, dict) and isinstance(value.get("include_usage"), bool | None))
    ),
    "max_tokens": lambda value: value is None or _is_count(value),
    "max_completion_tokens": lambda value: value is None or _is_count(value),
    "n": lambda value: value is None or _is_count(value, 128),
    "background": lambda value: value is None or value is False,
    "a message": _is_message,
    "a role": lambda value: isinstance(value, str),
    "a content": _is_content,
    "a part": lambda value: isinstance(value, dict) and isinstance(value.get("text"), str | None),
}
FORWARDED = (
    *("temperature", "tools", "tool_choice", "response_format", "stop", "seed", "logprobs", "user"),
    *("metadata", "store", "logit_bias", "prediction", "safety_identifier", "service_tier", CANARY),
)


def body_with(field: str, value: object) -> dict[str, object]:
    """A chat request that is in order but for one field, or for one within its message."""
    message: dict[str, object] = {"role": "user", "content": CANARY}
    places: dict[str, dict[str, object]] = {
        "a message": {"messages": [message, value]},
        "a role": {"messages": [message | {"role": value}]},
        "a content": {"messages": [message | {"content": value}]},
        "a part": {"messages": [message | {"content": [value]}]},
    }
    return {"model": "plain", "messages": [message]} | places.get(field, {field: value})


def for_many(values: SearchStrategy[Any], check: Callable[[Any], None], examples: int = 30) -> None:
    """Run `check` for values of a strategy; the same ones each time."""
    bounded = settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    bounded(given(values)(check))()


@pytest.mark.parametrize("field", RIGHT)
def test_no_value_of_the_wrong_type_passes_as(field: str, story: Story) -> None:
    with story.client() as client:

        def check(value: object) -> None:
            answer = client.post(CHAT, json=body_with(field, value))
            require_refusal(answer.status_code, answer.text)

        for_many(VALUES.filter(lambda value: not RIGHT[field](value)), check)


@pytest.mark.parametrize("field", FORWARDED)
def test_whatever_is_forwarded_breaks_nothing_here(field: str, story: Story) -> None:
    """What the gateway does not decide by is the provider's to judge: this one takes anything."""
    with story.client() as client:

        def check(value: object) -> None:
            answer = client.post(CHAT, json=body_with(field, value))
            assert answer.status_code == 200, answer.text
            assert CANARY not in answer.text

        for_many(VALUES, check, examples=8)


def test_of_members_that_repeat_one_is_forwarded_once(story: Story) -> None:
    body = chat_body().replace(b"{", b'{"seed": "' + CANARY.encode() + b'", "seed": 7, ', 1)
    with story.client() as client:
        answer = client.post(CHAT, content=body, headers=JSON)
    assert answer.status_code == 200
    assert story.provider.stats()["last_request"]["seed"] == 7


# --- large bodies -------------------------------------------------------------------------------------------


def _thirty_megabytes(body: bytes) -> Iterator[bytes]:
    for _ in range(30):
        yield body[:MEGABYTE]


@pytest.mark.parametrize("framing", ["a length", "chunks"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        (CHAT, 413),
        ("/api/v1/chat", 413),
        ("/admin/v1/accounts", 401),
        ("/api/v1/models", 405),
        ("/nowhere", 404),
    ],
)
def test_thirty_megabytes_are_refused_with(framing: str, path: str, status: int, story: Story) -> None:
    piece = (CANARY * 60_000).encode()[:MEGABYTE]
    content = piece * 30 if framing == "a length" else _thirty_megabytes(piece)
    with story.client() as client:
        try:
            answer = client.post(path, content=content, headers=JSON)
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            return  # closed while it was still being sent
    require_refusal(answer.status_code, answer.text)
    assert answer.status_code == status


@pytest.mark.parametrize("filler", ["text", "numbers", "messages"])
def test_the_largest_bodies_at_once_stay_within_bounds(filler: str, story: Story) -> None:
    """Eight bodies of just under 20 MB: those beyond the budget shall come back, the others are judged."""
    fillers = {
        "text": b'{"model": "' + CANARY.encode() + b'", "x": "' + b"y" * 19_900_000 + b'"}',
        "numbers": b'{"model": "' + CANARY.encode() + b'", "x": [' + b"1," * 9_900_000 + b"1]}",
        "messages": b'{"model": "plain", "messages": ['
        + b'{"role":"user","content":"x"},' * 199_000 * 3
        + b"1]}",
    }

    def send(_: int) -> httpx.Response:
        with story.client() as client:
            return client.post(CHAT, content=fillers[filler], headers=JSON)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    assert {answer.status_code for answer in answers} <= {400, 413, 503}
    assert any(answer.status_code == 400 for answer in answers)
    for answer in answers:
        assert set(answer.json()["error"]) == MEMBERS
        assert CANARY not in answer.text


# --- sealed garbage -----------------------------------------------------------------------------------------


def _stranger() -> str:
    return X25519PrivateKey.generate().public_key().public_bytes_raw().hex()


KEYS = {
    "no hexadecimal": CANARY,
    "nothing": "",
    "too short": "ab" * 31,
    "too long": "ab" * 33,
    "in upper case": "AB" * 32,
    "of 20 KB": "ab" * 10_000,
    "a point of low order": "00" * 32,
    "another point of low order": "01" + "00" * 31,
    "a number beyond the field": "ff" * 32,
    "somebody else's": _stranger(),
}
FRAMES = {
    "nothing": b"",
    "plain JSON": chat_body(CANARY),
    "half a length": b"\x00\x00",
    "a frame that is cut": (1_000).to_bytes(4, "big") + CANARY.encode(),
    "a frame of 4 GB": b"\xff\xff\xff\xff" + CANARY.encode(),
    "a frame of 60 MB, announced": (60_000_000).to_bytes(4, "big") + CANARY.encode(),
    "a frame of noise": (64).to_bytes(4, "big") + secrets.token_bytes(64),
    "a million empty frames": bytes(4_000_000),
}


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("key", KEYS)
def test_sealed_garbage_is_refused_under_a_key_that_is(key: str, frames: str, story: Story) -> None:
    with story.client() as client:
        headers = JSON | {"ehbp-encapsulated-key": KEYS[key]}
        answer = client.post(CHAT, content=FRAMES[frames], headers=headers)
    assert CANARY not in answer.text
    if answer.status_code == 422:
        assert answer.json()["type"] == KEY_PROBLEM
    elif "ehbp-response-nonce" in answer.headers:
        assert answer.status_code == 400
    else:
        require_refusal(answer.status_code, answer.text)


@pytest.mark.parametrize(
    "what", ["malformed JSON", "a changed frame", "a moved frame", "a cut frame", "noise after it"]
)
def test_what_was_sealed_and_then_spoilt_is_refused(what: str, story: Story) -> None:
    with story.client() as client:
        sealer = RequestSealer(parse_key_config(client.get("/.well-known/hpke-keys").content))
        whole = chat_body(CANARY)
        first, second = sealer.seal(whole[:20]), sealer.seal(whole[20:])
        bodies = {
            "malformed JSON": first,
            "a changed frame": first + second[:-1] + bytes([second[-1] ^ 1]),
            "a moved frame": second + first,
            "a cut frame": first + second[:-1],
            "noise after it": first + second + b"\x00\x00\x00\x20" + bytes(32),
        }
        headers = JSON | {"ehbp-encapsulated-key": sealer.encapsulated_key}
        answer = client.post(CHAT, content=bodies[what], headers=headers)
    if answer.status_code == 422:  # the first frame does not open: it may have been sealed to an older key
        assert answer.json()["type"] == KEY_PROBLEM
        return
    nonce = answer.headers.get("ehbp-response-nonce")  # a refusal of what never opened comes as it is
    plain = sealer.response_opener(nonce).feed(answer.content) if nonce else answer.content
    require_refusal(answer.status_code, plain.decode())
