"""Event streams without I/O: bytes in, events out, each with the very bytes it came in.

WHATWG HTML, section 9.2 (server-sent events). Lines end with CRLF, LF or CR; a blank line ends an event.
How the bytes were cut into chunks never changes what comes out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

MAX_EVENT_BYTES = 1_000_000
DONE = b"[DONE]"

_LINE_END = re.compile(rb"\r\n|\n|\r")
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_USUAL_END = b"\n\n"
_BOM = b"\xef\xbb\xbf"


class Event(Struct, frozen=True, gc=False):
    """One event: its exact bytes, and its data lines joined by LF (None if it has none: a comment)."""

    raw: bytes
    data: bytes | None


class EventTooLarge(Exception):  # noqa: N818 - a field term
    """An event exceeds the bound; nothing after it can be trusted."""


class SseParser:
    """Holds at most one unfinished event."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield every event that `data` completes. Raises EventTooLarge after the events before it."""
        if not self._buffer and b"\r" not in data:  # the usual form: cut at once, without a search per event
            *whole, data = data.split(_USUAL_END)
            for part in whole:
                yield self._bounded(part + _USUAL_END)
            if not data:
                return
        self._buffer += data
        while (end := self._next_end()) is not None:
            raw = bytes(self._buffer[:end])
            del self._buffer[:end]
            self._searched = 0
            yield self._bounded(raw)
        if len(self._buffer) > self._limit:
            raise EventTooLarge

    def finish(self) -> Iterator[Event]:
        """Yield what is left at the end of the stream: an event whose blank line never came."""
        if self._buffer:
            raw = bytes(self._buffer)
            self._buffer.clear()
            yield Event(raw if raw.endswith((b"\n\n", b"\r\r")) else raw + b"\n\n", event_data(raw))

    def _bounded(self, raw: bytes) -> Event:
        if len(raw) > self._limit:
            raise EventTooLarge
        return Event(raw, event_data(raw))

    def _next_end(self) -> int | None:
        found = _EVENT_END.search(self._buffer, self._searched)
        if found is None:
            self._searched = max(0, len(self._buffer) - 3)
            return None
        if found.end() == len(self._buffer) and self._buffer.endswith(b"\r"):
            self._searched = found.start()
            return None  # a LF may follow and belong to this line end
        return found.end()


def event_data(raw: bytes) -> bytes | None:
    """The data of one event, or None. The common one-line form is cut out without splitting."""
    if (
        raw.startswith(b"data: ")
        and raw.find(b"\n") == len(raw) - 2
        and raw[-1:] == b"\n"
        and b"\r" not in raw
    ):
        return raw[6:-2]
    lines = [
        value for line in _LINE_END.split(raw.removeprefix(_BOM)) if (value := _data_line(line)) is not None
    ]
    return b"\n".join(lines) if lines else None


def _data_line(line: bytes) -> bytes | None:
    name, _, value = line.partition(b":")
    return value.removeprefix(b" ") if name == b"data" else None


def encode_event(data: bytes) -> bytes:
    """One event that says `data` and nothing else; a line end in it begins another line of data."""
    return b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"
