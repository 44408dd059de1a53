"""What a client gets of a provider's stream, without I/O.

The data of events leaves byte for byte, but for three: the chunk with the finish reason waits until the books
are closed and then carries `billing`; chunks without choices are dropped unless the client asked for usage;
`[DONE]` comes after all. Nothing else of a provider's events leaves: comments become empty ones, other fields
(`id`, `event`, `retry`) are dropped, and `billing` is ours to say.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import UNSET, Raw

from gateway.wire.json_guard import MemberName
from gateway.wire.sse import DONE, Event, EventTooLarge, SseParser, encode_event
from gateway.wire.usage import Chunk, Meter, usage_object

_CHUNK = msgspec.json.Decoder(Chunk)
_MEMBERS = msgspec.json.Decoder(dict[MemberName, Raw])
KEEP_ALIVE = b":\n\n"
"""Stands for a provider's comment: it keeps connections open, but a provider has nothing to say in
comments."""

MAX_CHOICES = 128
"""A choice with a higher index than any request can ask for is no choice."""
_ENVELOPE = ("id", "object", "created", "model", "system_fingerprint")


class ProviderFault(Exception):  # noqa: N818 - whose fault it is
    """The provider's stream reports an error, breaks its format, or ends too early. Carries no content."""


class ChunkReader:
    """Bytes in, decoded chunks out; knows when the answer is whole."""

    def __init__(self, meter: Meter) -> None:
        self._parser = SseParser()
        self._meter = meter
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._done = False
        self.began = False

    def feed(self, data: bytes) -> Iterator[tuple[Event, Chunk | None]]:
        """Yield each event with its chunk, or with None if it is a comment. Raises ProviderFault."""
        try:
            for event in self._parser.feed(data):
                if not self._ends(event):
                    yield event, self._chunk(event)
        except EventTooLarge as error:
            raise ProviderFault from error

    def finish(self) -> Iterator[tuple[Event, Chunk | None]]:
        """The provider closed: yield what is left. Raises ProviderFault if the answer is not whole."""
        for event in self._parser.finish():
            if not self._ends(event):
                yield event, self._chunk(event)
        if not self.complete:
            raise ProviderFault

    @property
    def done(self) -> bool:
        """The end marker was seen: nothing after it counts."""
        return self._done

    @property
    def complete(self) -> bool:
        """The end marker was seen, or every choice that began has its finish reason."""
        return self._done or (bool(self._finished) and self._open <= self._finished)

    def _ends(self, event: Event) -> bool:
        """True for the end marker and for whatever follows it."""
        if not self._done and event.data is not None and event.data.startswith(DONE):
            if not self._open:
                raise ProviderFault  # nothing was answered: nobody is to pay for it
            self._done = True
        return self._done

    def _chunk(self, event: Event) -> Chunk | None:
        if event.data is None:
            return None
        chunk = decode_chunk(event.data)
        self.began = True
        self._meter.observe(chunk)
        self._note(chunk)
        return chunk

    def _note(self, chunk: Chunk) -> None:
        for choice in chunk.choices:
            if not 0 <= choice.index < MAX_CHOICES:
                raise ProviderFault  # else whoever counts without end fills our memory
            self._open.add(choice.index)
            if choice.finish_reason is not None:
                self._finished.add(choice.index)


def decode_chunk(data: bytes) -> Chunk:
    """Decode one chunk. Raises ProviderFault if it is an error object or not a chunk."""
    try:
        chunk = _CHUNK.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderFault from error
    if chunk.error is not UNSET and bytes(chunk.error) != b"null":
        raise ProviderFault
    return chunk


class ChatStream:
    """Turns a provider's bytes into the client's, holding back the finish chunk."""

    def __init__(self, meter: Meter, *, include_usage: bool) -> None:
        self._reader = ChunkReader(meter)
        self._meter = meter
        self._include_usage = include_usage
        self._held: tuple[bytes, dict[str, Raw]] | None = None
        self._envelope: dict[str, Raw] | None = None
        self._usage: dict[str, Raw] | None = None

    @property
    def began(self) -> bool:
        """True once the first chunk has arrived."""
        return self._reader.began

    @property
    def done(self) -> bool:
        """True once the provider said `[DONE]`."""
        return self._reader.done

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now. Raises ProviderFault."""
        return self._relay(self._reader.feed(data))

    def finish(self) -> bytes:
        """The provider closed: return what may leave. Raises ProviderFault if the answer is not whole."""
        return self._relay(self._reader.finish())

    def _relay(self, events: Iterator[tuple[Event, Chunk | None]]) -> bytes:
        ready = bytearray()
        for event, chunk in events:
            if chunk is None:
                ready += KEEP_ALIVE if self.began else b""
                continue
            if not chunk.choices:
                self._usage = _members(event.data or b"{}")
                continue
            data = _ours_only(event.data or b"{}", chunk)
            if self._envelope is None:
                self._envelope = _members(data)
            if self._held is not None:
                ready += encode_event(self._held[0])
                self._held = None
            if any(choice.finish_reason is not None for choice in chunk.choices):
                self._held = data, _members(data)
            else:
                ready += encode_event(data)
        return bytes(ready)

    def closing(self, billing: bytes) -> bytes:
        """The rest, once the books are closed.

        Finish chunk with `billing`, usage chunk if asked for, `[DONE]`.
        """
        rest = bytearray()
        if self._held is not None:
            rest += encode_event(msgspec.json.encode({**self._held[1], "billing": Raw(billing)}))
        if self._include_usage:
            rest += encode_event(self._usage_chunk(billing))
        return bytes(rest + encode_event(DONE))

    def _usage_chunk(self, billing: bytes) -> bytes:
        usage = Raw(msgspec.json.encode(usage_object(self._meter.usage())))
        members = self._usage if self._usage is not None else self._envelope or {}
        if self._usage is not None and bytes(self._usage.get("usage", Raw(b"null"))) != b"null":
            usage = self._usage["usage"]
        kept = {name: members[name] for name in _ENVELOPE if name in members}
        return msgspec.json.encode({**kept, "choices": Raw(b"[]"), "usage": usage, "billing": Raw(billing)})


def _ours_only(data: bytes, chunk: Chunk) -> bytes:
    """A chunk's data without any `billing` of the provider's own."""
    if chunk.billing is UNSET:
        return data
    return msgspec.json.encode({name: value for name, value in _members(data).items() if name != "billing"})


def _members(data: bytes) -> dict[str, Raw]:
    """The top level of a chunk that was decoded before. Raises ProviderFault for names that are not text."""
    try:
        return _MEMBERS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderFault from error
