"""A stream's chunks put together into one completion, for clients that did not ask for a stream.

Upstream everything is streamed, so that the limit on the first event means the same for both (DESIGN
section 6).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from gateway.wire.json_guard import MemberName
from gateway.wire.sse import Event
from gateway.wire.stream import ChunkReader, ProviderFault
from gateway.wire.usage import Chunk, Meter, usage_object

MAX_BYTES = 32_000_000
_KEPT = ("id", "created", "model", "system_fingerprint", "service_tier", "citations")
_FIXED = frozenset({"index", "type", "role", "id", "name", "finish_reason"})
_ANY = msgspec.json.Decoder(dict[str, Any])
_MISSHAPEN = (
    msgspec.DecodeError,
    UnicodeError,
    RecursionError,
    AttributeError,
    KeyError,
    TypeError,
)
MAX_ITEMS = 1_024
"""Items in a list that has some with an index, such as tool calls; nobody makes more in one answer."""


class _Text:
    """A text that grows: joined once, at the end, since `known + value` copies all of it for each delta."""

    def __init__(self, *parts: str) -> None:
        self.parts = list(parts)


def _joined(value: Any) -> str:
    if isinstance(value, _Text):
        return "".join(value.parts)
    raise TypeError


_ENCODER = msgspec.json.Encoder(enc_hook=_joined)


class Assembly:
    """Collects one completion in memory, up to MAX_BYTES of events."""

    def __init__(self, meter: Meter) -> None:
        self._reader = ChunkReader(meter)
        self._meter = meter
        self._head: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: Raw | None = None
        self._answer = b"{}"
        self._bytes = 0

    @property
    def began(self) -> bool:
        """True once the first chunk has arrived."""
        return self._reader.began

    @property
    def done(self) -> bool:
        """True once the provider said `[DONE]`."""
        return self._reader.done

    def feed(self, data: bytes) -> bytes:
        """Take bytes in; nothing leaves before the end. Raises ProviderFault."""
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise ProviderFault
        return self._take(self._reader.feed(data))

    def finish(self) -> bytes:
        """The provider closed. Raises ProviderFault if the answer is not whole."""
        self._take(self._reader.finish())
        return self._put_together()

    def closing(self, billing: bytes) -> bytes:
        """The completion as one JSON object, with `usage` and `billing`."""
        return self._answer[:-1] + b',"billing":' + billing + b"}"

    def _put_together(self) -> bytes:
        """Before the books are closed, since an answer that cannot be told must not be billed."""
        try:
            answer = {
                "object": "chat.completion",
                **self._head,
                "choices": [_choice(self._choices[index]) for index in sorted(self._choices)],
                "usage": self._usage or usage_object(self._meter.usage()),
            }
            self._answer = _ENCODER.encode(answer)
        except _MISSHAPEN as error:
            raise ProviderFault from error
        return b""

    def _take(self, events: Iterator[tuple[Event, Chunk | None]]) -> bytes:
        for event, chunk in events:
            if chunk is None:
                continue
            if isinstance(chunk.usage, Raw) and bytes(chunk.usage) != b"null":
                self._usage = chunk.usage.copy()
            try:
                self._add(_ANY.decode(event.data or b"{}"))
            except _MISSHAPEN as error:
                raise ProviderFault from error
        return self._put_together() if self._reader.done else b""

    def _add(self, chunk: dict[str, Any]) -> None:
        for name in _KEPT:
            if name in chunk:
                self._head.setdefault(name, chunk[name])
        for part in chunk.get("choices") or ():
            choice = self._choices.setdefault(
                part.get("index", 0), {"index": part.get("index", 0), "message": {}}
            )
            merge(choice["message"], part.get("delta") or {})
            merge(choice, {k: v for k, v in part.items() if k not in ("delta", "index")})


def merge(whole: dict[str, Any], part: dict[str, Any]) -> None:
    """Add one delta: texts grow, lists with an `index` merge item by item, other lists extend, the rest is
    replaced.
    """
    for name, value in part.items():
        known = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(known, _Text) and isinstance(value, str):
            known.parts.append(value)
        elif isinstance(known, str) and isinstance(value, str) and name not in _FIXED:
            whole[name] = _Text(known, value)
        elif isinstance(known, dict) and isinstance(value, dict):
            merge(known, value)
        elif isinstance(value, list):
            whole[name] = _merge_items(known if isinstance(known, list) else [], value)
        elif known is None or value != "":
            whole[name] = value


def _merge_items(known: list[Any], items: list[Any]) -> list[Any]:
    """Raises TypeError for more items beside indexed ones than any answer has: each costs time for every
    later one.
    """
    if not any(map(_has_index, items)):  # such as log probabilities: thousands, in as many deltas
        known += items
        return known
    by_index = {item["index"]: item for item in known if _has_index(item)}
    for item in items:
        if not _has_index(item):
            known.append(item)
        elif item["index"] in by_index:
            merge(by_index[item["index"]], item)
        else:
            known.append(item)
            by_index[item["index"]] = item
    if len(known) > MAX_ITEMS:
        raise TypeError
    return known


def _has_index(item: Any) -> bool:
    return isinstance(item, dict) and item.get("index") is not None


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "refusal": None, **choice["message"]}
    for call in message.get("tool_calls") or ():
        call.pop("index", None)
    return {"logprobs": None, "finish_reason": "stop", **choice, "message": message}


class Whole:
    """A provider that answers with one JSON object although a stream was asked for: taken as it is."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._body = bytearray()
        self._members: dict[str, Raw] = {}

    @property
    def began(self) -> bool:
        """True once the first bytes have arrived."""
        return bool(self._body)

    @property
    def done(self) -> bool:
        """Only the end of the body ends it."""
        return False

    def feed(self, data: bytes) -> bytes:
        """Take bytes in; nothing leaves before the end. Raises ProviderFault."""
        self._body += data
        if len(self._body) > MAX_BYTES:
            raise ProviderFault
        return b""

    def finish(self) -> bytes:
        """The body is complete. Raises ProviderFault if it is not a completion."""
        self._members = decode_members(bytes(self._body))
        choices = bytes(self._members.get("choices", Raw(b"null")))
        if not choices.startswith(b"[") or choices == b"[]":
            raise ProviderFault
        self._meter.observe(Chunk(usage=self._members.get("usage", Raw(b"null"))))
        return b""

    def closing(self, billing: bytes) -> bytes:
        """The provider's object with `billing`; members byte for byte."""
        usage = self._members.get("usage", Raw(b"null"))
        if bytes(usage) == b"null":
            usage = Raw(msgspec.json.encode(usage_object(self._meter.usage())))
        return msgspec.json.encode({**self._members, "usage": usage, "billing": Raw(billing)})


def decode_members(body: bytes) -> dict[str, Raw]:
    """The top level of a completion. Raises ProviderFault if it is no object, or an error object."""
    try:
        members = msgspec.json.decode(body, type=dict[MemberName, Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderFault from error
    if bytes(members.get("error", Raw(b"null"))) != b"null":
        raise ProviderFault
    return members
