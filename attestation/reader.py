"""Strict readers for bytes that a stranger wrote: exact lengths, one spelling per value, nothing left over.

Everything here raises `MalformedEvidence` and nothing else, whatever the input. Messages name what was
expected, never what was found.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, NoReturn

from attestation.errors import MalformedEvidence

_B64URL = re.compile(r"[A-Za-z0-9_-]*\Z")
_HEX = re.compile(r"[0-9a-f]*\Z")
_MAX_INTEGER_DIGITS = 20
_MAX_TOKENS = 10_000  # no format of ours has a thousand; millions would hold up an event loop for seconds


class Cursor:
    """Reads little-endian fields from the front of a byte string; refuses to read past its end."""

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._offset

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count < 0 or count > self.remaining:
            raise MalformedEvidence(f"truncated: {count} bytes wanted, {self.remaining} left")
        start = self._offset
        self._offset += count
        return self._data[start : self._offset]

    def u8(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two bytes, little-endian."""
        return int.from_bytes(self.take(2), "little")

    def u32(self) -> int:
        """Four bytes, little-endian."""
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        """Eight bytes, little-endian."""
        return int.from_bytes(self.take(8), "little")

    def end(self) -> None:
        """Refuse anything that was not read."""
        if self.remaining:
            raise MalformedEvidence(f"{self.remaining} bytes after the end")


def parse_json_object(raw: bytes, *, max_depth: int = 8) -> dict[str, Any]:
    """Parse one JSON object: strict UTF-8, no duplicate members, integers only, bounded nesting and size.

    Floats are refused because no format of ours has one, and two parsers may read them differently.
    """
    value = _parse_json(raw, max_depth)
    if not isinstance(value, dict):
        raise MalformedEvidence("not a JSON object")
    return value


def parse_json_array(raw: bytes, *, max_depth: int = 8) -> list[Any]:
    """Parse one JSON array by the same rules."""
    value = _parse_json(raw, max_depth)
    if not isinstance(value, list):
        raise MalformedEvidence("not a JSON array")
    return value


def _parse_json(raw: bytes, max_depth: int) -> Any:
    _refuse_depth(raw, max_depth)
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique_members,
            parse_constant=_refuse_number,
            parse_float=_refuse_number,
            parse_int=_bounded_integer,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise MalformedEvidence("not strict UTF-8 JSON") from error
    _refuse_surrogates(value)
    return value


def _refuse_depth(raw: bytes, max_depth: int) -> None:
    """Count brackets outside strings before parsing, so that nesting never reaches the parser's own stack.

    A string that never ends is one token up to the end of the input: else each of its quotes would start
    another scan, and the time would grow with the square of the length. Repetitions are possessive: a place
    to return to for every byte of a string would take a hundred times the memory of the input.
    """
    depth = 0
    tokens = re.finditer(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', raw, re.DOTALL)
    for count, token in enumerate(tokens, 1):
        if count > _MAX_TOKENS:
            raise MalformedEvidence(f"more than {_MAX_TOKENS} strings and brackets")
        byte = token.group()[:1]
        if byte in b"[{":
            depth += 1
            if depth > max_depth:
                raise MalformedEvidence(f"nested deeper than {max_depth} levels")
        elif byte in b"]}":
            depth -= 1


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedEvidence("duplicate member in a JSON object")
    return members


def _refuse_number(_: str) -> NoReturn:
    raise MalformedEvidence("a number that is not an integer")


def _bounded_integer(digits: str) -> int:
    if len(digits) > _MAX_INTEGER_DIGITS:
        raise MalformedEvidence("an integer of more than 64 bits")
    return int(digits)


def _refuse_surrogates(value: Any) -> None:
    """JSON escapes can spell lone surrogates, which no strict UTF-8 text has."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise MalformedEvidence("a lone surrogate in a JSON string") from error
    elif isinstance(value, dict):
        for name, member in value.items():
            _refuse_surrogates(name)
            _refuse_surrogates(member)
    elif isinstance(value, list):
        for item in value:
            _refuse_surrogates(item)


def b64url_encode(data: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Base64url without padding, in its one canonical spelling."""
    if not isinstance(text, str) or not _B64URL.match(text) or len(text) % 4 == 1:
        raise MalformedEvidence("not base64url without padding")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64url_encode(data) != text:
        raise MalformedEvidence("base64url with stray bits")
    return data


def hex_bytes(text: str, length: int) -> bytes:
    """Exactly `length` bytes in lowercase hexadecimal."""
    if not isinstance(text, str) or len(text) != 2 * length or not _HEX.match(text):
        raise MalformedEvidence(f"not {length} bytes of lowercase hexadecimal")
    return bytes.fromhex(text)
