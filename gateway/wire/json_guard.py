"""Bounds on the shape of a stranger's JSON, checked before anything is built from it.

No tree is made: a few passes at C speed over the bytes, so that a hostile 20 MB body costs time in
proportion and next to no memory. Whether it is JSON at all is msgspec's to say; this only promises that
decoding cannot explode.
"""

from __future__ import annotations

import codecs
import re
from typing import Annotated

from msgspec import Meta

from gateway.problems import bad_request

MemberName = Annotated[str, Meta(min_length=0)]
"""The name of a member of a stranger's object. Its constraint says nothing, on purpose: msgspec keeps short
names without one in a cache that outlives the request, and a name can be content."""
MAX_STRINGS = 1_000_000
MAX_CONTAINERS = 200_000
MAX_MEMBERS = 300_000

_SLICE = 1 << 16
_STRING = re.compile(rb'"[^"]*"')
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def guard(body: bytes, *, nesting: int) -> None:
    """Refuse (400) what is not UTF-8, nests deeper than `nesting`, or holds absurdly many values."""
    require_utf8(body)
    if body.count(b"[") + body.count(b"{") <= nesting and body.count(b":") <= MAX_MEMBERS:
        return
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * MAX_STRINGS:
        raise bad_request("The body holds too many values.")
    outside = _STRING.sub(b"", plain)
    if outside.count(b":") > MAX_MEMBERS:  # one for each member, now that no string holds any
        raise bad_request("The body holds too many values.")
    brackets = outside.translate(None, _NOT_BRACKETS)
    if brackets.count(b"{") + brackets.count(b"[") > MAX_CONTAINERS:
        raise bad_request("The body holds too many values.")
    if deeper_than(brackets, nesting):
        raise bad_request("The body is nested too deeply, or its brackets do not match.")


def deeper_than(brackets: bytes, nesting: int) -> bool:
    """True unless the brackets pair up within `nesting` levels: each round removes the innermost pairs."""
    rest = brackets.translate(_ONE_KIND)
    for _ in range(nesting):
        if not rest:
            return False
        rest = rest.replace(b"[]", b"")
    return bool(rest)


def require_utf8(body: bytes) -> None:
    """Refuse (400) bytes that are not UTF-8, slice by slice: no second copy of the whole is made."""
    if body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(body), _SLICE):
            decoder.decode(body[start : start + _SLICE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise bad_request("The body is not valid UTF-8.") from error
