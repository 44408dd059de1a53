"""A cut response is noticed by what was inside it, however its bytes were split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.transport.completeness import EventWatch, Incomplete, JsonWatch, NothingToWatch, watch_for

WHOLE = [
    b"data: {}\n\ndata: [DONE]\n\n",
    b"data: {}\r\n\r\ndata:[DONE]\r\n\r\n",
    b"data: {}\r\rdata: [DONE]\r\r",
    b": comment\n\ndata: [DONE]\n\n: inference-receipt abc\n\n",
    b'data: {"error":{"message":"x"}}\n\n',
    b"event: error\ndata: {}\n\n",
    b"event: message_stop\ndata: {}\n\n",
    b"event: response.completed\ndata: {}\n\n",
]
CUT = [
    b"",
    b"data: {}\n\n",
    b"data: [DONE]\n",
    b"data: [DONE]",
    b"data: [DONE]\n\ndata: {}\n\n",
    b'data: {"content":"data: [DONE]"}\n\n',
    b'data: {"content":"the \\"error\\" was"}\n\n',
    b'data: {"error":null}\n\n',
    b"data: {}\ndata: [DONE]\n\n",
    b"x: [DONE]\n\n",
]


def watched(data: bytes, size: int) -> EventWatch:
    watch = EventWatch()
    for start in range(0, len(data), size):
        watch.feed(data[start : start + size])
    return watch


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("data", WHOLE)
def test_a_stream_with_an_end_is_whole(data: bytes, size: int) -> None:
    watched(data, size).finish()


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("data", CUT)
def test_a_stream_without_its_end_is_cut(data: bytes, size: int) -> None:
    with pytest.raises(Incomplete):
        watched(data, size).finish()


@given(st.integers(0, len(WHOLE[0]) - 1))
def test_no_shorter_beginning_of_a_stream_is_whole(length: int) -> None:
    with pytest.raises(Incomplete):
        watched(WHOLE[0][:length], 7).finish()


def test_an_event_without_end_is_given_up() -> None:
    watch = EventWatch()
    watch.feed(b"x" * 8 * 1024 * 1024)
    with pytest.raises(Incomplete, match="too large"):
        watch.feed(b"x" * 9 * 1024 * 1024)


def test_json_is_whole_if_it_parses() -> None:
    watch = JsonWatch()
    watch.feed(b'{"a":[1,')
    with pytest.raises(Incomplete):
        watch.finish()
    watch.feed(b"2]}")
    watch.finish()


@pytest.mark.parametrize(
    ("content_type", "sealed", "expected"),
    [
        ("text/event-stream", False, EventWatch),
        ("Text/Event-Stream; charset=utf-8", True, EventWatch),
        ("application/json", True, JsonWatch),
        ("application/json", False, NothingToWatch),
        ("audio/mpeg", True, NothingToWatch),
    ],
)
def test_what_is_watched_follows_from_the_media_type(
    content_type: str, sealed: bool, expected: type[object]
) -> None:
    assert isinstance(watch_for(content_type, sealed=sealed), expected)
