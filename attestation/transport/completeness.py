"""Was a response cut short? EHBP marks no end, so what was inside has to show it (DESIGN section 4.3)."""

from __future__ import annotations

import json
from typing import Protocol

MAX_EVENT_BYTES = 16 * 1024 * 1024
MAX_JSON_BYTES = 128 * 1024 * 1024

# How streams end: OpenAI chat with [DONE]; OpenAI responses and Anthropic messages with a named event.
_LAST_DATA = b"[DONE]"
_LAST_EVENTS = frozenset(
    {
        b"error",
        b"message_stop",
        b"response.completed",
        b"response.failed",
        b"response.incomplete",
    }
)


class Incomplete(Exception):  # noqa: N818 - a field term
    """The response ended before its own end marker."""


class Watch(Protocol):
    """Sees the plaintext of one response go by, unchanged."""

    def feed(self, data: bytes) -> None:
        """Look at the next piece."""

    def finish(self) -> None:
        """Raises Incomplete if what went by was not whole."""


class NothingToWatch:
    """For bodies whose end only the transfer encoding can show."""

    def feed(self, data: bytes) -> None:
        """Look at nothing."""

    def finish(self) -> None:
        """Find nothing."""


class JsonWatch:
    """A JSON body is whole if it parses."""

    def __init__(self) -> None:
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        """Keep the piece. Raises Incomplete beyond 128 MB, which no answer of this API reaches."""
        self._body += data
        if len(self._body) > MAX_JSON_BYTES:
            raise Incomplete("a JSON response is too large to be checked for completeness")

    def finish(self) -> None:
        """See `Watch.finish`."""
        try:
            json.loads(self._body)
        except (ValueError, RecursionError) as error:
            raise Incomplete("a JSON response was cut short") from error


class EventWatch:
    """A server-sent event stream is whole if its last complete event says so, or reports an error."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._event = b""
        self._data = bytearray()
        self._ended = False
        self._after_cr = False

    def feed(self, data: bytes) -> None:
        """Look at the next piece; it may be split anywhere, also between CR and LF."""
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        *lines, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._take_line(bytes(self._line) + line)
            self._line.clear()
        self._line += rest
        if len(self._line) + len(self._data) > MAX_EVENT_BYTES:
            raise Incomplete("a server-sent event is too large")

    def finish(self) -> None:
        """See `Watch.finish`."""
        if not self._ended:
            raise Incomplete("a stream ended without its end marker ([DONE] or an error event)")

    def _take_line(self, line: bytes) -> None:
        if not line:
            self._dispatch()
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = value
        elif name == b"data":
            self._data += b"\n" + value if self._data else value

    def _dispatch(self) -> None:
        data, event = bytes(self._data), self._event
        self._data.clear()
        self._event = b""
        if data or event:
            self._ended = data == _LAST_DATA or event in _LAST_EVENTS or _reports_error(data)


def watch_for(content_type: str, *, sealed: bool) -> Watch:
    """Choose how the completeness of a successful response is judged."""
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == "text/event-stream":
        return EventWatch()
    if media_type == "application/json" and sealed:
        return JsonWatch()
    return NothingToWatch()


def _reports_error(data: bytes) -> bool:
    if b'"error"' not in data:
        return False
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and isinstance(value.get("error"), dict)
