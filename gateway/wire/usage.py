"""Counting tokens on the side of a stream: what the provider says, else a lower bound of our own.

Where usage appears differs: a bare trailing chunk (OpenAI, vLLM), the finish chunk, or the last but one.
All are taken, the latest wins. Without any, the estimate never exceeds what the provider produced: one
token per sixteen characters of input, one per non-empty delta.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from gateway.prices import TokenUsage

INPUT_CHARS_PER_TOKEN = 16
MOST_TOKENS = 1_000_000_000
_EMPTY = frozenset({b"null", b'""', b"[]", b"{}", b""})


class _InputDetails(Struct, frozen=True):
    cached_tokens: int | None = None


class _OutputDetails(Struct, frozen=True):
    reasoning_tokens: int | None = None


class WireUsage(Struct, frozen=True):
    """OpenAI's usage object, as far as it is priced. `prompt_tokens` includes cached ones."""

    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class Delta(Struct, frozen=True, gc=False):
    """The members that carry generated tokens."""

    content: Raw = Raw(b"")
    reasoning_content: Raw = Raw(b"")
    reasoning: Raw = Raw(b"")
    refusal: Raw = Raw(b"")
    tool_calls: Raw = Raw(b"")
    function_call: Raw = Raw(b"")

    def produced(self) -> bool:
        """True if any member holds something."""
        members = (
            self.content,
            self.reasoning_content,
            self.reasoning,
            self.refusal,
            self.tool_calls,
            self.function_call,
        )
        return not _EMPTY.issuperset(map(bytes, members))


class Choice(Struct, frozen=True, gc=False):
    """One choice of a chunk."""

    index: int = 0
    delta: Delta = Delta()
    finish_reason: str | None = None


class Chunk(Struct, frozen=True, gc=False):
    """What is read of each chunk of a stream."""

    choices: list[Choice] = []
    usage: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    billing: Raw | UnsetType = UNSET


class Meter:
    """Counts one response."""

    def __init__(self, content_chars: int) -> None:
        self._input_floor = content_chars // INPUT_CHARS_PER_TOKEN
        self._deltas = 0
        self._reported: TokenUsage | None = None

    def observe(self, chunk: Chunk) -> None:
        """Take note of one chunk."""
        for choice in chunk.choices:
            self._deltas += choice.delta.produced()
        if chunk.usage is not UNSET:
            self._reported = read_usage(chunk.usage) or self._reported

    @property
    def estimated(self) -> bool:
        """True while the provider has not said."""
        return self._reported is None

    def usage(self) -> TokenUsage:
        """The provider's count, else the lower bound."""
        return self._reported or TokenUsage(input=self._input_floor, output=self._deltas)


def read_usage(raw: Raw | UnsetType) -> TokenUsage | None:
    """Decode a usage object; None where there is none or it makes no sense."""
    if raw is UNSET or bytes(raw) == b"null":
        return None
    try:
        wire = msgspec.json.decode(raw, type=WireUsage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    cached = (wire.prompt_tokens_details or _InputDetails()).cached_tokens or 0
    reasoning = (wire.completion_tokens_details or _OutputDetails()).reasoning_tokens or 0
    counts = (wire.prompt_tokens, wire.completion_tokens, cached, reasoning)
    if min(counts) < 0 or max(counts) > MOST_TOKENS:
        return None
    if not wire.prompt_tokens and not wire.completion_tokens:
        return None  # a placeholder: no request uses nothing, and a whole answer isn't free
    return TokenUsage(
        input=wire.prompt_tokens,
        cached=min(cached, wire.prompt_tokens),
        output=wire.completion_tokens,
        reasoning=min(reasoning, wire.completion_tokens),
    )


def usage_object(usage: TokenUsage) -> dict[str, object]:
    """OpenAI's form of a count."""
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
