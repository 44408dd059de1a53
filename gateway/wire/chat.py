"""A chat request: decode only what we decide by, forward the rest as the client's own bytes.

The body's top level is kept as `dict[str, msgspec.Raw]` and encoded anew, so each member goes upstream
exactly once whatever was repeated, and its value byte for byte. The tables below say what may not go
upstream (DESIGN section 5).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from gateway.config import Limits
from gateway.errors import GatewayError
from gateway.problems import AGENT_NOT_FOUND, bad_request
from gateway.wire.json_guard import MemberName, guard

MAX_CHOICES = 128

OURS = frozenset({"agentId", "announceSwitches", "enable4thWall", "user_cache_secret"})
"""Extensions addressed to a gateway; a provider would not know them, and must not see the last."""

IDENTIFYING = frozenset(
    {"metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "user"}
)
"""Members that make a provider retain a request or tie it to a person: stripped."""

RETAINING = frozenset({"background"})
"""Members that cannot work without retention: refused if set."""

_DECIDING = {
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "model",
    "n",
    "store",
    "stream",
    "stream_options",
}
_EXACT = {name.casefold(): name for name in OURS | IDENTIFYING | RETAINING | _DECIDING}
_EXACT_OPTIONS = {"include_usage": "include_usage"}
_NULL = Raw(b"null")
_TRUE = Raw(b"true")
_FALSE = Raw(b"false")
_FALSY = (b"null", b"false")
_OBJECT = msgspec.json.Decoder(dict[MemberName, Raw])
_T = TypeVar("_T")


class _Part(Struct, frozen=True):
    text: str | None = None


class _Message(Struct, frozen=True):
    role: str
    content: str | list[_Part] | None = None


_MESSAGES = msgspec.json.Decoder(list[_Message])


class ChatRequest(Struct, frozen=True):
    """What the gateway decides by. `content_chars` counts the characters of all text content."""

    model: str
    fields: dict[str, Raw]
    stream: bool
    include_usage: bool
    max_tokens: int | None
    choices: int
    content_chars: int
    body_bytes: int


def parse_chat(body: bytes, limits: Limits) -> ChatRequest:
    """Decode and check a body. Raises GatewayError that names the field, never its value."""
    guard(body, nesting=limits.nesting)
    fields = _decode_object(body)
    _require_exact(fields, _EXACT)
    for name in RETAINING & fields.keys():
        if bytes(fields[name]) not in _FALSY:
            raise bad_request("This gateway retains nothing, so this parameter cannot be used.", name)
    if bytes(fields.get("agentId", _NULL)) != b"null":
        raise GatewayError(AGENT_NOT_FOUND)  # none exists yet, and leaving it out would answer something else
    stream = _scalar(fields, "stream", bool) or False
    include_usage = _include_usage(fields)
    return ChatRequest(
        model=_required(fields, "model", str),
        fields=fields,
        stream=stream,
        include_usage=stream and include_usage,
        max_tokens=_max_tokens(fields),
        choices=_bounded(fields, "n", MAX_CHOICES) or 1,
        content_chars=_count_content(fields, limits.messages),
        body_bytes=len(body),
    )


def upstream_body(request: ChatRequest, *, model: str, max_tokens: int) -> bytes:
    """The body for the provider: streamed always, usage always asked for, nothing stored."""
    fields = {k: v for k, v in request.fields.items() if k not in OURS | IDENTIFYING | RETAINING}
    fields["model"] = Raw(msgspec.json.encode(model))
    fields["store"] = _FALSE
    fields["stream"] = _TRUE
    fields["stream_options"] = _with_usage(fields.get("stream_options", _NULL))
    for name in ("max_tokens", "max_completion_tokens"):
        if bytes(fields.get(name, _NULL)) != b"null":
            fields[name] = _limit(fields[name], max_tokens)
    if request.max_tokens is None:
        fields.pop("max_completion_tokens", None)
        fields["max_tokens"] = Raw(str(max_tokens).encode())
    return msgspec.json.encode(fields)


def _limit(value: Raw, most: int) -> Raw:
    return value if msgspec.json.decode(value, type=int) <= most else Raw(str(most).encode())


def _with_usage(options: Raw) -> Raw:
    members = {} if bytes(options) == b"null" else _OBJECT.decode(options)
    return Raw(msgspec.json.encode({**members, "include_usage": _TRUE}))


def _decode_object(body: bytes) -> dict[str, Raw]:
    try:
        return _OBJECT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request("The body is not a JSON object.") from error


def _require_exact(fields: dict[str, Raw], known: dict[str, str]) -> None:
    """Some providers read names in any case, and would take `Store` for the `store` that we decided on."""
    for name in fields:
        exact = known.get(name.casefold(), name)
        if exact != name:
            raise bad_request(f"The name of '{exact}' is written in another case.", exact)


def _decode(raw: Raw, name: str, decoder: msgspec.json.Decoder[_T]) -> _T:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"'{name}' has the wrong type or form.", name) from error


def _scalar(fields: dict[str, Raw], name: str, kind: type[_T]) -> _T | None:
    raw = fields.get(name)
    if raw is None or bytes(raw) == b"null":
        return None
    return _decode(raw, name, msgspec.json.Decoder(kind))


def _required(fields: dict[str, Raw], name: str, kind: type[_T]) -> _T:
    value = _scalar(fields, name, kind)
    if value is None:
        raise bad_request(f"'{name}' is missing.", name)
    return value


def _bounded(fields: dict[str, Raw], name: str, most: int | None = None) -> int | None:
    value = _scalar(fields, name, int)
    if value is not None and (value < 1 or (most is not None and value > most)):
        raise bad_request(f"'{name}' is out of range.", name)
    return value


def _max_tokens(fields: dict[str, Raw]) -> int | None:
    named = [_bounded(fields, name) for name in ("max_tokens", "max_completion_tokens")]
    return min((value for value in named if value is not None), default=None)


def _include_usage(fields: dict[str, Raw]) -> bool:
    options = fields.get("stream_options")
    if options is None or bytes(options) == b"null":
        return False
    members = _decode(options, "stream_options", _OBJECT)
    _require_exact(members, _EXACT_OPTIONS)
    return _scalar(members, "include_usage", bool) or False


def _count_content(fields: dict[str, Raw], most: int) -> int:
    raw = fields.get("messages")
    if raw is None:
        raise bad_request("'messages' is missing.", "messages")
    messages = _decode(raw, "messages", _MESSAGES)
    if not messages:
        raise bad_request("'messages' is empty.", "messages")
    if len(messages) > most:
        raise bad_request(f"'messages' has more than {most} items.", "messages")
    return sum(_content_chars(message.content) for message in messages)


def _content_chars(content: str | list[_Part] | None) -> int:
    if isinstance(content, str):
        return len(content)
    return sum(len(part.text or "") for part in content or ())
