"""The event-stream parser: how bytes were cut never matters, nothing is unbounded, nothing is changed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.sse import DONE, EventTooLarge, SseParser

PIECES = st.sampled_from(
    [
        b"data: x",
        b"data:y",
        b"data",
        b": note",
        b"event: e",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"a",
        b"\xff",
    ]
)
STREAMS = st.lists(PIECES, max_size=30).map(b"".join)


def parse(*chunks: bytes, limit: int = 1_000_000) -> list[tuple[bytes, bytes | None]]:
    parser = SseParser(limit)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return [(event.raw, event.data) for event in [*events, *parser.finish()]]


@given(STREAMS, st.data())
def test_any_chunking_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    bounds = [0, *cuts, len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(bounds)]
    assert parse(*chunks) == parse(stream) == parse(*(bytes([byte]) for byte in stream))


@given(STREAMS)
def test_the_bytes_of_all_events_together_are_the_stream(stream: bytes) -> None:
    parser = SseParser()
    raw = b"".join(event.raw for event in parser.feed(stream))
    assert stream.startswith(raw)
    rest = list(parser.finish())
    assert stream == raw or rest[0].raw.startswith(stream[len(raw) :])


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_of_the_standard_is_understood(end: bytes) -> None:
    stream = (
        b"data: one" + end + b"data:two" + end + end + b": comment" + end + end + b"data: [DONE]" + end + end
    )
    assert [data for _, data in parse(stream)] == [b"one\ntwo", None, DONE]


def test_a_byte_order_mark_does_not_hide_the_first_event() -> None:
    assert parse(b"\xef\xbb\xbfdata: one\n\n")[0][1] == b"one"


def test_an_event_whose_blank_line_never_came_is_given_at_the_end() -> None:
    assert parse(b"data: [DONE]\n") == [(b"data: [DONE]\n\n\n", DONE)]


def test_an_event_beyond_the_bound_is_refused_however_it_arrives() -> None:
    stream = b"data: 1\n\ndata: " + b"x" * 100 + b"\n\n"
    for chunks in ([stream], [stream[i : i + 7] for i in range(0, len(stream), 7)]):
        parser, seen = SseParser(50), []

        def feed(chunks: list[bytes] = chunks, parser: SseParser = parser, seen: list = seen) -> None:
            for chunk in chunks:
                for event in parser.feed(chunk):
                    seen.append(event.data)

        with pytest.raises(EventTooLarge):
            feed()
        assert seen == [b"1"]


def test_endless_bytes_without_a_line_end_are_not_collected() -> None:
    parser = SseParser(1000)
    assert list(parser.feed(b"x" * 1000)) == []
    with pytest.raises(EventTooLarge):
        list(parser.feed(b"x"))
