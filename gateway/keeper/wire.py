"""Frames between workers and the keeper: u32be length, then MessagePack of `[request id, message]`. No I/O.

Whoever breaks the format has broken the connection: nothing after a malformed frame is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from gateway.keeper.messages import Answer, Question

MAX_FRAME = 65_536
"""Bytes after the length; the largest real message is a quote with a 15-step path, about 3 KB."""
_HEADER = 4

T = TypeVar("T")


class WireError(Exception):
    """The peer's bytes are not a frame of ours, or a message is too large. Never says what they were."""


class Frames(Generic[T]):
    """Takes bytes as they come, gives whole messages. After WireError it takes nothing more."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[tuple[int, T]]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()
        self._broken = False

    def feed(self, data: bytes) -> Iterator[tuple[int, T]]:
        """Yield every `(request id, message)` that is complete by now. Raises WireError."""
        if self._broken:
            raise WireError("frame after a malformed one")
        self._buffer += data
        start = 0
        try:
            while (body := self._body(start)) is not None:
                start += _HEADER + len(body)
                yield self._decode(body)
        except WireError:
            self._broken = True
            self._buffer.clear()
            raise
        finally:
            del self._buffer[:start]

    def _body(self, start: int) -> bytes | None:
        if len(self._buffer) < start + _HEADER:
            return None
        length = int.from_bytes(self._buffer[start : start + _HEADER], "big")
        if length > MAX_FRAME:
            raise WireError("frame too large")
        end = start + _HEADER + length
        return bytes(self._buffer[start + _HEADER : end]) if len(self._buffer) >= end else None

    def _decode(self, body: bytes) -> tuple[int, T]:
        try:
            number, message = self._decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise WireError("malformed frame") from None
        if number < 0:
            raise WireError("malformed frame")
        return number, message


def questions() -> Frames[Question]:
    """What the keeper reads."""
    return Frames(msgspec.msgpack.Decoder(tuple[int, Question]))


def answers() -> Frames[Answer]:
    """What a worker reads."""
    return Frames(msgspec.msgpack.Decoder(tuple[int, Answer]))


def encode(number: int, message: Question | Answer) -> bytes:
    """One frame. Raises WireError for a message that no peer would take."""
    try:
        body = msgspec.msgpack.encode((number, message))
    except (OverflowError, TypeError):
        raise WireError("message cannot be encoded") from None
    if len(body) > MAX_FRAME:
        raise WireError("message too large")
    return len(body).to_bytes(_HEADER, "big") + body
