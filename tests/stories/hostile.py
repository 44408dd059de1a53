"""Requests that no client of ours would send: what is refused, and what may be served but never believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypothesis import strategies as st

from tests.stories.conftest import Story
from tests.stories.wire import CANARY, CHAT_LINE, chat_body, chat_head

Raw = bytes | Callable[[Story], bytes]

_MARK = CANARY.encode()
_LIST = b"GET /api/v1/models HTTP/1.1\r\n"
_SECOND = b"GET /api/v1/models?" + _MARK + b" HTTP/1.1\r\nhost: x\r\n\r\n"
"""What a smuggler hides in a body: a request whose answer would show that it was taken for one."""


def with_head(*lines: str, body: bytes = b"", first: str = CHAT_LINE) -> Callable[[Story], bytes]:
    """A chat request with a good key, these lines in its head, and this body."""
    return lambda story: chat_head(story, *lines, first=first) + body


def _chunked(framing: bytes) -> Callable[[Story], bytes]:
    return with_head("transfer-encoding: chunked", "connection: close", body=framing)


def _get(target: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    head = [method + b" " + target + b" HTTP/1.1", b"host: x", *lines, b"connection: close"]
    return b"\r\n".join(head) + b"\r\n\r\n"


NOT_HTTP: Mapping[str, Raw] = {
    "TLS within TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + _MARK * 60,
    "every byte": bytes(range(256)) * 4,
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version that is none": b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
    "a method that is none": b"CANARY / HTTP/1.1\r\nhost: x\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nhost: x\r\n\r\n",
    "a very long method": b"X" * 100_000 + b" / HTTP/1.1\r\nhost: x\r\n\r\n",
    "a target with a space": _get(b"/" + _MARK + b" b"),
    "a target with NUL": _get(b"/" + _MARK + b"\x00"),
    "a target beyond ASCII": _get(b"/" + _MARK + b"\xff\xfe"),
    "an authority without a port": _get(b"http://u:p@" + _MARK + b":99999/"),
    "a tunnel": _get(_MARK + b":443", method=b"CONNECT"),
    "a bare LF": b"GET / HTTP/1.1\nhost: " + _MARK + b"\n\n",
    "a bare CR": b"GET / HTTP/1.1\rhost: " + _MARK + b"\r\r",
    "a folded header": _get(b"/", b"x: a\r\n " + _MARK),
    "a header with NUL": _get(b"/", b"x: " + _MARK + b"\x00b"),
    "a header name with a space": _get(b"/", b"na me: " + _MARK),
    "a header without a colon": _get(b"/", _MARK),
}

FRAMING: Mapping[str, Raw] = {
    "a length and chunks": with_head(
        "content-length: 5", "transfer-encoding: chunked", body=b"0\r\n\r\n" + _SECOND
    ),
    "chunks and a length": with_head(
        "transfer-encoding: chunked", "content-length: 4", body=b"5c\r\n" + _SECOND
    ),
    "two transfer encodings": with_head(
        "transfer-encoding: chunked", "transfer-encoding: identity", body=b"0\r\n\r\n" + _SECOND
    ),
    "chunked, but not last": with_head("transfer-encoding: chunked, identity", body=b"0\r\n\r\n" + _SECOND),
    "an unknown transfer encoding": with_head("transfer-encoding: xchunked", body=b"0\r\n\r\n" + _SECOND),
    "a space before the colon": with_head("transfer-encoding : chunked", body=b"0\r\n\r\n" + _SECOND),
    "a control character in the encoding": with_head(
        "transfer-encoding: \x0bchunked", body=b"0\r\n\r\n" + _SECOND
    ),
    "two lengths": with_head("content-length: 0", "content-length: 9", body=_SECOND),
    "a list of lengths": with_head("content-length: 0, 9", body=_SECOND),
    "a negative length": with_head("content-length: -1", body=_SECOND),
    "a length with a sign": with_head("content-length: +9", body=_SECOND),
    "a length in another base": with_head("content-length: 0x9", body=_SECOND),
    "a length of forty digits": with_head("content-length: " + "9" * 40),
    "the longest length that is a number": with_head("content-length: 9223372036854775807"),
    "a length that is a word": with_head("content-length: " + CANARY),
    "a chunk size that is a word": _chunked(b"zz\r\nhello\r\n0\r\n\r\n"),
    "a negative chunk size": _chunked(b"-5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size beyond 64 bits": _chunked(b"F" * 17 + b"\r\nhello\r\n0\r\n\r\n"),
    "a chunk size with a prefix": _chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size after a space": _chunked(b" 5\r\nhello\r\n0\r\n\r\n"),
    "an empty chunk size": _chunked(b"\r\nhello\r\n0\r\n\r\n"),
    "a chunk that ends elsewhere": _chunked(b"5\r\nhelloX0\r\n\r\n" + _SECOND),
    "chunks with bare LF": _chunked(b"5\nhello\n0\n\n" + _SECOND),
    "a chunk extension of 100 KB": _chunked(b"5;" + _MARK * 6_000 + b"\r\nhello\r\n0\r\n\r\n"),
    "trailers of 200 KB": _chunked(b"0\r\na: " + _MARK * 12_000 + b"\r\n\r\n"),
    "a hundred thousand trailers": _chunked(b"0\r\n" + b"a: b\r\n" * 100_000 + b"\r\n"),
}

TOO_MUCH: Mapping[str, Raw] = {
    "three thousand headers": with_head(*(f"x-{number}: {CANARY}" for number in range(3_000))),
    "a header of 100 KB": with_head("x: " + CANARY * 6_000),
    "a target of 100 KB": _get(b"/" + _MARK * 6_000),
    "a key of 30 KB": _get(b"/api/v1/usage", b"authorization: Bearer " + _MARK * 1_800),
    "an announced body of 30 MB": with_head("expect: 100-continue", "content-length: 30000000"),
    "a compressed body": with_head(
        "content-encoding: gzip", "content-length: 3", "connection: close", body=b"\x1f\x8b\x08"
    ),
}

STATUSES = {
    "three thousand headers": 431,
    "a header of 100 KB": 431,
    "a target of 100 KB": 431,
    "a key of 30 KB": 401,
    "an announced body of 30 MB": 413,
    "the longest length that is a number": 413,
    "a compressed body": 415,
}
"""Where it is one certain 4xx."""

REFUSED: Mapping[str, Raw] = NOT_HTTP | FRAMING | TOO_MUCH
"""A 4xx or a closed connection, and at most one answer."""

_FORWARDED = (
    b"x-forwarded-host: " + _MARK,
    b"x-forwarded-proto: " + _MARK,
    b"x-forwarded-for: " + _MARK,
    b"forwarded: host=" + _MARK,
)
_UPGRADE = (b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-key: " + _MARK)
_BODY = chat_body(CANARY)
_LENGTH = f"content-length: {len(_BODY)}"

HARMLESS: Mapping[str, Raw] = {
    "HTTP/0.9": b"GET /api/v1/models\r\n\r\n",
    "HTTP/1.0": b"GET /api/v1/models HTTP/1.0\r\n\r\n",
    "no host": _LIST + b"connection: close\r\n\r\n",
    "two hosts": _get(b"/api/v1/models", b"host: " + _MARK),
    "a hostile host": _LIST + b"host: " + _MARK + b"/../?#@\r\nconnection: close\r\n\r\n",
    "a foreign host": _LIST + b"host: " + _MARK + b".invalid\r\nconnection: close\r\n\r\n",
    "forwarding headers": _get(b"/", *_FORWARDED),
    "an absolute target": _get(b"http://" + _MARK + b".invalid/api/v1/models"),
    "every server": _get(b"*", method=b"OPTIONS"),
    "an upgrade": _LIST + b"host: x\r\n" + b"\r\n".join(_UPGRADE) + b"\r\n\r\n",
    "an upgrade to HTTP/2": _LIST + b"host: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    "empty lines first": b"\r\n" * 2_000 + _get(b"/api/v1/models"),
    "300 headers": with_head(
        *(f"x-{n}: {CANARY}" for n in range(300)), _LENGTH, "connection: close", body=_BODY
    ),
    "an unknown expectation": with_head(f"expect: {CANARY}", _LENGTH, "connection: close", body=_BODY),
    "a path that climbs": _get(b"/api/v1/models/../../" + _MARK),
    "a path that climbs in escapes": _get(b"/%2e%2e/" + _MARK),
    "a path that is no text": _get(b"/api/v1/models/%ff%00" + _MARK),
    "three thousand slashes": _get(b"/api/v1/models/" + b"%2f" * 3_000 + _MARK),
    "a query that is no nonce": _get(b"/.well-known/attestation?nonce=%ff" + _MARK),
    "a manifest that is no digest": _get(b"/.well-known/casemate/manifest/%2f" + _MARK),
    "five thousand parameters": _get(b"/api/v1/models?" + b"a=b&" * 5_000 + _MARK),
    **{
        f"{method.decode()} {path.decode()}": _get(path, b"x: " + _MARK, method=method)
        for method in (b"TRACE", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND", b"QUERY")
        for path in (b"/api/v1/chat/completions", b"/api/v1/models", b"/" + _MARK)
    },
}
"""May be served like any other request, or refused; believed in nothing."""


# --- bodies -------------------------------------------------------------------------------------------------


def _chat(messages: bytes, more: bytes = b"") -> bytes:
    return b'{"model": "plain", ' + more + b'"messages": ' + messages + b"}"


_MESSAGE = b'{"role": "user", "content": "' + _MARK + b'"}'

BODIES: Mapping[str, bytes] = {
    "nothing": b"",
    "white space": b" \r\n\t",
    "null": b"null",
    "a number": b"1",
    "a string": b'"' + _MARK + b'"',
    "a list": b"[" + _MESSAGE + b"]",
    "an empty object": b"{}",
    "half an object": _chat(b"[" + _MESSAGE),
    "an object and more": _chat(b"[" + _MESSAGE + b"]") + _MARK,
    "two objects": _chat(b"[" + _MESSAGE + b"]") * 2,
    "single quotes": b"{'model': '" + _MARK + b"'}",
    "a comment": b"/* " + _MARK + b" */" + _chat(b"[" + _MESSAGE + b"]"),
    "a trailing comma": _chat(b"[" + _MESSAGE + b",]"),
    "NaN": _chat(b"[" + _MESSAGE + b"]", b'"max_tokens": NaN, '),
    "a byte order mark": b"\xef\xbb\xbf" + _chat(b"[" + _MESSAGE + b"]"),
    "UTF-16": _chat(b"[" + _MESSAGE + b"]").decode().encode("utf-16"),
    "UTF-8 that is none": _chat(b'[{"role": "user", "content": "' + _MARK + b'\xff\xfe"}]'),
    "UTF-8 that is none, in what is forwarded": _chat(
        b"[" + _MESSAGE + b"]", b'"x": "' + _MARK + b'\xff\xfe", '
    ),
    "UTF-8 of a surrogate": _chat(b'[{"role": "user", "content": "' + _MARK + b'\xed\xa0\x80"}]'),
    "UTF-8 that is too long": _chat(b'[{"role": "user", "content": "' + _MARK + b'\xc0\xaf"}]'),
    "UTF-8 that is cut": _chat(b'[{"role": "user", "content": "' + _MARK + b'"}]')[:-1] + b"\xe2\x82",
    "a lone surrogate": _chat(b'[{"role": "user", "content": "' + _MARK + b'\\ud800"}]'),
    "a lone surrogate as the model": b'{"model": "\\udc00' + _MARK + b'", "messages": [' + _MESSAGE + b"]}",
    "NUL bytes": b"\x00" * 1_000 + _MARK,
    "NUL within a string": _chat(b'[{"role": "user", "content": "' + _MARK + b'\x00"}]'),
    "no model": b'{"messages": [' + _MESSAGE + b"]}",
    "an unknown model": b'{"model": "' + _MARK + b'", "messages": [' + _MESSAGE + b"]}",
    "a model with NUL": b'{"model": "\\u0000' + _MARK + b'", "messages": [' + _MESSAGE + b"]}",
    "the model twice, the last unknown": b'{"model": "plain", "model": "'
    + _MARK
    + b'", "messages": ['
    + _MESSAGE
    + b"]}",
    "no messages": b'{"model": "plain", "x": "' + _MARK + b'"}',
    "messages twice, the last wrong": _chat(b'"' + _MARK + b'"', b'"messages": [' + _MESSAGE + b"], "),
    "no message": _chat(b"[]"),
    "a number of 100,000 digits": _chat(b"[" + _MESSAGE + b"]", b'"n": ' + b"9" * 100_000 + b", "),
    "a number beyond any float": _chat(b"[" + _MESSAGE + b"]", b'"max_tokens": 1e999, '),
    "no choice": _chat(b"[" + _MESSAGE + b"]", b'"n": 0, '),
    "129 choices": _chat(b"[" + _MESSAGE + b"]", b'"n": 129, '),
    "less than one token": _chat(b"[" + _MESSAGE + b"]", b'"max_tokens": -1, '),
    "100,000 messages": _chat(b"[" + b", ".join([_MESSAGE] * 100_000) + b"]"),
    "100,000 empty messages": _chat(b"[" + b", ".join([b"{}"] * 100_000) + b"]"),
    "a million values": _chat(b"[" + _MESSAGE + b"]", b'"x": [' + b"{}, " * 1_000_000 + b"{}], "),
    "five million lists": _chat(b"[" + _MESSAGE + b"]", b'"x": [' + b"[]," * 5_000_000 + b"[]], "),
    "100 levels": _chat(b"[" + _MESSAGE + b"]", b'"x": ' + b"[" * 100 + b"]" * 100 + b", "),
    "100,000 levels": _chat(b"[" + _MESSAGE + b"]", b'"x": ' + b"[" * 100_000 + b"]" * 100_000 + b", "),
    "100,000 levels of objects": _chat(
        b"[" + _MESSAGE + b"]", b'"x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b", "
    ),
    "100,000 levels within a message": _chat(
        b'[{"role": "user", "content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]"
    ),
    "brackets that never close": b"[" * 10_000_000,
    "quotation marks that never close": b'{"' * 5_000_000,
    "escapes without end": b'{"model": "' + b"\\" * 10_000_001,
}
"""Each is a 4xx, whatever the key may do."""

_TEXT = st.text(st.characters(codec="utf-8"), max_size=12).map(lambda text: CANARY + text)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
_KEYS = st.sampled_from(["role", "content", "type", "text", "include_usage", CANARY])
VALUES = st.recursive(
    _SCALARS | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=5,
)
"""Any JSON value; every text in it carries the canary."""
