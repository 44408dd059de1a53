"""What a client sees of a stream: bytes untouched, the finish chunk last, usage wherever a provider puts
it."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.prices import TokenUsage
from gateway.wire.assemble import Assembly, Whole, merge
from gateway.wire.sse import SseParser
from gateway.wire.stream import ChatStream, ProviderFault
from gateway.wire.usage import Meter, read_usage

BILLING = b'{"cost_usd":0.1,"remaining_credits":1.0,"api_key_name":"k"}'
USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
COUNT = TokenUsage(input=9, cached=3, output=4)


def chunk(text: str | None = None, *, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    delta = {} if text is None else {"content": text}
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return event({"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]} | more)


def event(value: Any) -> bytes:
    return b"data:  " + json.dumps(value).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
BARE_USAGE = event({"id": "1", "choices": [], "usage": USAGE})


def play(*events: bytes, include_usage: bool = False) -> tuple[bytes, bytes, Meter]:
    meter = Meter(160)
    stream = ChatStream(meter, include_usage=include_usage)
    before = b"".join(stream.feed(piece) for piece in events)
    if not stream.done:
        before += stream.finish()
    return before, stream.closing(BILLING), meter


def payloads(raw: bytes) -> list[Any]:
    lines = [line[5:].strip() for line in raw.split(b"\n") if line.startswith(b"data:")]
    return [line if line == b"[DONE]" else json.loads(line) for line in lines]


def test_events_leave_byte_for_byte_and_the_finish_chunk_waits_for_the_books() -> None:
    before, after, _ = play(chunk("a"), chunk("b"), chunk(finish="stop"), BARE_USAGE, DONE)
    assert before == chunk("a") + chunk("b")
    finish, done = payloads(after)
    assert finish["choices"][0]["finish_reason"] == "stop"
    assert finish["billing"]["api_key_name"] == "k"
    assert done == b"[DONE]"


@pytest.mark.parametrize(
    "events",
    [
        (chunk("a"), chunk(finish="stop"), BARE_USAGE, DONE),
        (chunk("a"), chunk(finish="stop", usage=USAGE), DONE),
        (chunk("a"), chunk("", usage=USAGE), chunk(finish="stop"), DONE),
        (
            chunk("a", usage={"prompt_tokens": 9, "completion_tokens": 1}),
            chunk(finish="stop", usage=USAGE),
            DONE,
        ),
        (chunk("a"), chunk(finish="stop"), BARE_USAGE),
    ],
)
def test_usage_is_found_wherever_a_provider_puts_it(events: tuple[bytes, ...]) -> None:
    meter = play(*events)[2]
    assert (meter.usage(), meter.estimated) == (COUNT, False)


def test_a_chunk_without_choices_is_never_sent_unless_asked_for() -> None:
    before, after, _ = play(
        event({"choices": [], "x": 1}), chunk("a"), chunk(finish="stop"), BARE_USAGE, DONE
    )
    assert all(p == b"[DONE]" or p["choices"] for p in payloads(before + after))


@pytest.mark.parametrize("trailing", [BARE_USAGE, b""])
def test_the_usage_chunk_that_was_asked_for_has_openais_form_and_carries_billing(trailing: bytes) -> None:
    more = {} if trailing else {"usage": USAGE}
    after = play(chunk("a"), chunk(finish="stop", **more), trailing + DONE, include_usage=True)[1]
    finish, usage, done = payloads(after)
    assert usage["choices"] == []
    assert (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"]) == (9, 4)
    assert usage["billing"] == finish["billing"]
    assert done == b"[DONE]"


def test_without_usage_the_estimate_is_a_lower_bound() -> None:
    meter = play(chunk(""), chunk("a"), chunk("b"), chunk(finish="stop"), DONE)[2]
    assert (meter.usage(), meter.estimated) == (TokenUsage(input=10, output=2), True)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1},
        {"prompt_tokens": "9"},
        {"prompt_tokens": 10**18},
        [],
        {"prompt_tokens": 1.5},
        {"prompt_tokens": 0, "completion_tokens": 0},
        "x",
    ],
)
def test_a_senseless_count_is_none_at_all(usage: Any) -> None:
    meter = play(chunk("a"), chunk(finish="stop", usage=usage), DONE)[2]
    assert meter.estimated


def test_a_placeholder_of_zeros_does_not_take_back_what_was_reported() -> None:
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert play(chunk("a", usage=USAGE), chunk(finish="stop", usage=zeros), DONE)[2].usage() == COUNT


def test_more_cached_than_input_counts_as_all_cached() -> None:
    meter = play(
        chunk(finish="stop", usage={"prompt_tokens": 2, "prompt_tokens_details": {"cached_tokens": 5}})
    )[2]
    assert meter.usage() == TokenUsage(input=2, cached=2)


@pytest.mark.parametrize(
    "events",
    [
        (chunk("a"), event({"error": {"message": "secret"}})),
        (chunk("a"),),
        (chunk("a"), b"data: {nonsense\n\n"),
        (chunk("a"), b'data: {"choices": 7}\n\n'),
        (chunk("a"), b"data: " + b"x" * 2_000_000),
        (chunk("a", index=0), chunk("b", index=1), chunk(finish="stop", index=0)),
        (DONE,),
        (event({"choices": []}), DONE),
        (chunk("a", index=128),),
        (chunk("a", index=-1),),
        (chunk("a"), b'data: {"choices": [{"finish_reason": "stop"}], "\xff": 1}\n\n', DONE),
        (chunk("a"), b'data: {"choices": [], "\xff": 1}\n\n', DONE),
        (),
    ],
)
def test_a_stream_that_breaks_off_lies_or_reports_an_error_is_the_providers_fault(
    events: tuple[bytes, ...],
) -> None:
    with pytest.raises(ProviderFault):
        play(*events)


def test_only_the_last_of_several_finish_chunks_is_held_back() -> None:
    first, second = chunk(finish="stop", index=0), chunk(finish="stop", index=1)
    before, after, _ = play(chunk("a"), chunk("b", index=1), first, second, DONE)
    assert before.endswith(first)
    assert payloads(after)[0]["choices"][0]["index"] == 1


def test_a_providers_comments_keep_the_connection_alive_but_say_nothing() -> None:
    before, _, _ = play(
        b": early\n\n", chunk("a"), b": inference-receipt forged\n\n", chunk(finish="stop"), DONE
    )
    assert before == chunk("a") + b":\n\n"


FORGED = b'{"choices": [{"delta": {"content": "a"}}], "b\\u0069lling": {"cost_usd": 0}, "billing": 1}'


def test_a_provider_can_neither_forge_billing_nor_say_anything_beside_its_data() -> None:
    hidden = b": inference-receipt forged\r\nid: 1\r\nevent: error\r\nretry: 1\r\ndata: " + FORGED
    before, after, _ = play(hidden + b"\r\n\r\n", chunk(finish="stop", billing=7), DONE)
    assert before == b'data: {"choices":[{"delta": {"content": "a"}}]}\n\n'
    assert payloads(after)[0]["billing"]["api_key_name"] == "k"


def test_an_event_of_several_lines_stays_one_event_and_none_of_its_lines_becomes_a_comment() -> None:
    lines = [b'{"choices": [{"finish_reason": "stop"}], "x": {"y"', b': "inference-receipt forged"', b"}}"]
    split = b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
    for events in ((chunk("a"), split, DONE), (chunk("a"), split, chunk(finish="stop"), DONE)):
        before, after, _ = play(*events)
        said = list(SseParser().feed(before + after))
        assert not any(line.startswith(b":") for line in (before + after).split(b"\n"))
        assert all(one.data == b"[DONE]" or json.loads(one.data or b"")["choices"] for one in said)


@given(st.lists(st.text(max_size=5), max_size=6), st.data())
def test_how_a_provider_cuts_its_bytes_changes_nothing(words: list[str], data: st.DataObject) -> None:
    stream = b"".join(chunk(word) for word in words) + chunk(finish="stop") + BARE_USAGE + DONE
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6))), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(cuts)]
    before, after, meter = play(*pieces)
    assert before == b"".join(chunk(word) for word in words)
    assert (after, meter.usage()) == (play(stream)[1], COUNT)


def assemble(*events: bytes) -> dict[str, Any]:
    assembly = Assembly(Meter(0))
    for piece in events:
        assembly.feed(piece)
    if not assembly.done:
        assembly.finish()
    return json.loads(assembly.closing(BILLING))


def test_a_completion_put_together_has_every_required_member() -> None:
    whole = assemble(chunk("Hel"), chunk("lo"), chunk(finish="length"), BARE_USAGE, DONE)
    assert whole["object"] == "chat.completion"
    assert whole["usage"] == USAGE
    assert whole["billing"]["cost_usd"] == 0.1
    (choice,) = whole["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello", "refusal": None}
    assert (choice["finish_reason"], choice["logprobs"]) == ("length", None)


def test_parallel_tool_calls_in_pieces_are_put_together_by_their_index() -> None:
    def call(index: int, **more: Any) -> bytes:
        delta = {"tool_calls": [{"index": index} | more]}
        return event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    whole = assemble(
        call(0, id="a", type="function", function={"name": "f", "arguments": ""}),
        call(1, id="b", type="function", function={"name": "g", "arguments": "{"}),
        call(0, function={"arguments": "[1"}),
        call(1, function={"arguments": "}"}),
        call(0, function={"arguments": "]"}),
        chunk(finish="tool_calls"),
        DONE,
    )
    calls = whole["choices"][0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls] == [
        ("a", "f", "[1]"),
        ("b", "g", "{}"),
    ]
    assert "index" not in calls[0]


def test_a_whole_json_answer_keeps_its_bytes_and_gains_billing() -> None:
    whole = Whole(Meter(0))
    whole.feed(b'{"id": "1", "choices": [ {"index":0} ], "usage": {"prompt_tokens": 1, ')
    whole.feed(b'"completion_tokens": 2}}')
    whole.finish()
    assert b'[ {"index":0} ]' in whole.closing(BILLING)
    assert b'"billing"' in whole.closing(BILLING)


@pytest.mark.parametrize(
    "body", [b"", b'{"choices":"x"}', b"[]", b"{}", b'{"choices":[]}', b'{"choices":[1],"error":{}}', b"\xff"]
)
def test_a_json_answer_that_is_no_completion_is_the_providers_fault(body: bytes) -> None:
    whole = Whole(Meter(0))
    whole.feed(body)
    with pytest.raises(ProviderFault):
        whole.finish()


def test_usage_that_is_null_is_none() -> None:
    assert read_usage(msgspec.Raw(b"null")) is None


@pytest.mark.parametrize(
    "delta",
    [
        {"tool_calls": "x"},
        {"tool_calls": [7]},
        {"tool_calls": {"index": 0}},
        {"tool_calls": [{"index": number} for number in range(1_025)]},
        {"tool_calls": [{"index": []}]},
        {"parts": [*([1] * 1_025), {"index": 0}]},
    ],
)
def test_what_cannot_be_put_together_is_found_before_the_books_are_closed(delta: Any) -> None:
    first = event({"choices": [{"index": 0, "delta": delta}]})
    for last in (chunk(finish="stop") + DONE, chunk(finish="stop")):
        with pytest.raises(ProviderFault):
            assemble(first, last)


def test_a_choice_whose_message_is_no_object_is_found_before_the_books_are_closed() -> None:
    with pytest.raises(ProviderFault):
        assemble(event({"choices": [{"index": 0, "message": "x"}]}), chunk(finish="stop"), DONE)


def test_thousands_of_pieces_of_tool_calls_in_one_event_do_not_stop_the_worker() -> None:
    calls = [{"index": number % 1_000} for number in range(60_000)]
    began = time.process_time()
    assemble(event({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}), chunk(finish="stop"), DONE)
    assert time.process_time() - began < 2.0


def test_a_text_in_two_hundred_thousand_pieces_is_joined_in_linear_time() -> None:
    """Appending to a growing text copied it each time: this took half a minute."""
    whole: dict[str, Any] = {}
    began = time.process_time()
    for _ in range(200_000):
        merge(whole, {"content": "four" * 4})
    assert time.process_time() - began < 5
    assert len(whole["content"].parts) == 200_000


def test_log_probabilities_in_thousands_of_pieces_are_put_together_in_linear_time() -> None:
    """Each piece looked at all before it again: an answer of 40,000 tokens took half a minute."""
    whole: dict[str, Any] = {}
    began = time.process_time()
    for number in range(40_000):
        merge(whole, {"logprobs": {"content": [{"token": number}]}})
    assert time.process_time() - began < 5
    assert [one["token"] for one in whole["logprobs"]["content"]] == list(range(40_000))
