"""What goes upstream: the client's own bytes, but for what a table says; and what is refused, without an
echo."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Limits
from gateway.errors import GatewayError
from gateway.wire.chat import IDENTIFYING, OURS, RETAINING, parse_chat, upstream_body
from gateway.wire.json_guard import deeper_than, guard

LIMITS = Limits()
MESSAGES = [{"role": "user", "content": "Hello"}]
SECRET = "canary-3f9a"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
DECIDED = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "store",
}

CONTROLLED = {name.casefold() for name in DECIDED | OURS | IDENTIFYING | RETAINING}


def encode(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": MESSAGES} | fields).encode()


def upstream(body: bytes, max_tokens: int = 100) -> dict[str, Any]:
    return json.loads(upstream_body(parse_chat(body, LIMITS), model="theirs", max_tokens=max_tokens))


def refusal(body: bytes, limits: Limits = LIMITS) -> tuple[int, str | None]:
    with pytest.raises(GatewayError) as caught:
        parse_chat(body, limits)
    assert SECRET not in caught.value.problem.message
    return caught.value.problem.status, caught.value.problem.param


@given(st.dictionaries(st.text(max_size=10).filter(lambda name: name.casefold() not in CONTROLLED), JSON))
def test_members_that_we_do_not_know_go_upstream_with_their_own_bytes(fields: dict[str, Any]) -> None:
    members = ",".join(f"{json.dumps(k)} :  {json.dumps(v, indent=1)}" for k, v in fields.items())
    body = f'{{"model":"m","messages":{json.dumps(MESSAGES)}{"," if members else ""}{members}}}'.encode()
    sent = upstream_body(parse_chat(body, LIMITS), model="theirs", max_tokens=100)
    raw = msgspec.json.decode(sent, type=dict[str, msgspec.Raw])
    for name, value in fields.items():
        assert bytes(raw[name]) == json.dumps(value, indent=1).encode()


def test_upstream_is_told_to_stream_to_report_usage_and_to_store_nothing() -> None:
    sent = upstream(encode(store=True, stream=False, stream_options={"include_usage": False, "other": 1}))
    assert (sent["store"], sent["stream"], sent["model"]) == (False, True, "theirs")
    assert sent["stream_options"] == {"include_usage": True, "other": 1}


@pytest.mark.parametrize("name", sorted((OURS | IDENTIFYING) - {"agentId"}))
def test_members_that_identify_or_are_ours_never_reach_the_provider(name: str) -> None:
    assert name not in upstream(encode(**{name: SECRET}))


def test_an_agent_that_cannot_exist_is_not_found_rather_than_left_out() -> None:
    assert refusal(encode(agentId=SECRET)) == (404, "agentId")
    assert "agentId" not in upstream(encode(agentId=None))


def test_a_member_that_needs_retention_is_refused_by_name() -> None:
    assert refusal(encode(background=True)) == (400, "background")
    assert "background" not in upstream(encode(background=False))


def test_of_repeated_members_one_goes_upstream_and_it_is_the_one_that_was_checked() -> None:
    body = b'{"model":"a","model":"b","messages":[],"messages":[{"role":"user"}],"store":false,"store":true}'
    request = parse_chat(body, LIMITS)
    assert request.model == "b"
    sent = upstream_body(request, model="theirs", max_tokens=5)
    assert sent.count(b'"model"') == sent.count(b'"messages"') == sent.count(b'"store"') == 1
    assert b'"store":false' in sent


@pytest.mark.parametrize(
    "name",
    ["Store", "MAX_TOKENS", "max_Completion_tokens", "N", "\u017ftream", "User", "agentid", "BACKGROUND"],
)
def test_a_name_that_a_careless_provider_would_take_for_one_of_ours_is_refused(name: str) -> None:
    status, param = refusal(encode(**{name: 1}))
    assert (status, param in DECIDED | OURS | IDENTIFYING | RETAINING) == (400, True)


def test_the_order_for_usage_cannot_be_taken_back_in_another_case() -> None:
    options = {"include_usage": True, "Include_Usage": False}
    assert refusal(encode(stream_options=options)) == (400, "include_usage")


def test_a_limit_on_tokens_is_set_where_the_client_named_none_and_lowered_where_it_named_too_many() -> None:
    assert upstream(encode(), 77)["max_tokens"] == 77
    assert upstream(encode(max_tokens=10_000), 77)["max_tokens"] == 77
    assert upstream(encode(max_tokens=7), 77)["max_tokens"] == 7
    sent = upstream(encode(max_completion_tokens=7), 77)
    assert sent["max_completion_tokens"] == 7
    assert "max_tokens" not in sent


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'"' + SECRET.encode() + b'"', None),
        (b'{"model":"\xff"}', None),
        (b'{"model":"\xed\xa0\x80","messages":[]}', None),
        (b'{"model":"\\ud800","messages":[]}', None),
        (encode(model=7), "model"),
        (encode(model=None), "model"),
        (encode(messages=SECRET), "messages"),
        (encode(messages=[]), "messages"),
        (encode(messages=[SECRET]), "messages"),
        (encode(messages=[{"role": 1}]), "messages"),
        (encode(messages=[{"role": "user", "content": {"x": SECRET}}]), "messages"),
        (encode(stream=SECRET), "stream"),
        (encode(stream=1), "stream"),
        (encode(stream=True, stream_options=[]), "stream_options"),
        (encode(stream=True, stream_options={"include_usage": SECRET}), "include_usage"),
        (encode(n=0), "n"),
        (encode(n=10**30), "n"),
        (encode(max_tokens=-1), "max_tokens"),
        (encode(max_tokens="9" + SECRET), "max_tokens"),
        (encode(max_tokens=1.5), "max_tokens"),
    ],
)
def test_wrong_input_is_a_400_that_names_the_field_and_never_its_value(
    body: bytes, param: str | None
) -> None:
    assert refusal(body) == (400, param)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_as_the_clients_fault(body: bytes) -> None:
    assert refusal(body)[0] == 400


@given(st.dictionaries(st.sampled_from(sorted(DECIDED)), JSON))
def test_arbitrary_values_in_known_members_are_served_or_refused_but_never_break(
    fields: dict[str, Any],
) -> None:
    problem = None
    try:
        upstream_body(parse_chat(encode(**fields), LIMITS), model="theirs", max_tokens=10)
    except GatewayError as error:
        problem = error.problem
    assert problem is None or problem.status == 400


def test_nesting_is_allowed_to_the_limit_and_refused_beyond() -> None:
    def nested(levels: int) -> bytes:
        return b'{"model":"m","messages":[{"role":"user"}],"x":' + b"[" * levels + b"]" * levels + b"}"

    assert parse_chat(nested(63), LIMITS).model == "m"
    assert refusal(nested(64))[0] == 400
    assert refusal(nested(1_000_000))[0] == 400
    assert refusal(b'{"a":' * 100_000)[0] == 400


def test_brackets_inside_strings_are_no_nesting() -> None:
    text = '[{"\\' * 5000
    assert parse_chat(encode(messages=[{"role": "user", "content": text}]), LIMITS).content_chars == len(text)


@given(st.lists(st.sampled_from([b"[", b"]", b"{", b"}"]), max_size=40).map(b"".join))
def test_the_depth_of_brackets_is_that_of_a_plain_count(brackets: bytes) -> None:
    depth = deepest = 0
    for byte in brackets:
        depth += 1 if byte in b"[{" else -1
        deepest = max(deepest, depth)
        if depth < 0:
            break
    assert deeper_than(brackets, 5) == (depth != 0 or deepest > 5)


def test_more_messages_than_the_limit_are_refused() -> None:
    body = encode(messages=[{"role": "user", "content": "x"}] * 10_001)
    assert refusal(body) == (400, "messages")
    assert parse_chat(body, Limits(messages=10_001)).content_chars == 10_001


def test_absurdly_many_values_are_refused_before_anything_is_built() -> None:
    with pytest.raises(GatewayError):
        guard(b'{"messages":[' + b"{}," * 300_000 + b"{}]}", nesting=64)
    with pytest.raises(GatewayError):
        guard(b"{" + b",".join(b'"%x":1' % number for number in range(400_000)) + b"}", nesting=64)
    guard(b'{"content":"' + b":" * 400_000 + b'"}', nesting=64)
    with pytest.raises(GatewayError):
        guard(b'{"x":[' + b'"",' * 1_100_000 + b'""],' + b'"y":[' + b"[]," * 64 + b"[]]}", nesting=64)


def test_only_text_counts_towards_the_estimate_of_the_input() -> None:
    parts = [
        {"type": "text", "text": "four"},
        {"type": "image_url", "image_url": {"url": "data:" + "x" * 1000}},
    ]
    assert parse_chat(encode(messages=[{"role": "user", "content": parts}]), LIMITS).content_chars == 4
