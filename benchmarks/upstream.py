"""A provider as fast as Python can be: OpenAI-shaped answers over TLS 1.3, in a process of its own.

`python -m benchmarks.upstream CERTIFICATE KEY` prints `{"port": N}` once it listens. The model's name says
how a stream is paced: `bench-0ms` or `bench-10ms` between events. Answers are made once, before any request.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from dataclasses import dataclass, field
from typing import cast

import httptools
import uvloop

MODELS = ("bench-0ms", "bench-10ms")
EVENTS = 50
ANSWER_BYTES = 2_048
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n"


def _usage() -> dict[str, int]:
    return {"prompt_tokens": 100, "completion_tokens": EVENTS, "total_tokens": 100 + EVENTS}


def _json_answer(model: str) -> bytes:
    """A chat completion of about ANSWER_BYTES, as one HTTP response."""
    message = {"role": "assistant", "content": "lorem ipsum " * 145}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps(
        {
            "id": "chatcmpl-benchmark",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": model,
            "choices": [choice],
            "usage": _usage(),
        }
    ).encode()
    return _HEAD % b"application/json" + b"content-length: %d\r\n\r\n" % len(body) + body


def _models_answer() -> bytes:
    listed = [{"id": model, "object": "model", "created": 1, "owned_by": "benchmark"} for model in MODELS]
    body = json.dumps({"object": "list", "data": listed}).encode()
    return _HEAD % b"application/json" + b"content-length: %d\r\n\r\n" % len(body) + body


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(model: str, choices: list[dict[str, object]], **more: object) -> bytes:
    head = {"id": "chatcmpl-benchmark", "object": "chat.completion.chunk", "created": 1_760_000_000}
    return b"data: " + json.dumps(head | {"model": model, "choices": choices} | more).encode() + b"\n\n"


def _stream_answer(model: str, with_usage: bool) -> tuple[bytes, ...]:
    """The writes of one stream: headers with the first event, then one event each; EVENTS with content."""
    events = [
        _event(model, [{"index": 0, "delta": {"content": f"token{number:03d} "}, "finish_reason": None}])
        for number in range(EVENTS)
    ]
    events.append(_event(model, [{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    if with_usage:
        events.append(_event(model, [], usage=_usage()))
    writes = [_http_chunk(event) for event in events]
    writes[0] = _HEAD % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n" + writes[0]
    # The end is no event of its own: it leaves with whatever is last, as providers do it.
    writes[-1] += _http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    return tuple(writes)


@dataclass(frozen=True, slots=True)
class Answers:
    """Every possible response, made before the first request."""

    models: bytes = field(default_factory=_models_answer)
    whole: dict[str, bytes] = field(default_factory=lambda: {model: _json_answer(model) for model in MODELS})
    streams: dict[tuple[str, bool], tuple[bytes, ...]] = field(
        default_factory=lambda: {
            (m, usage): _stream_answer(m, usage) for m in MODELS for usage in (True, False)
        }
    )


class Provider(asyncio.Protocol):
    """One connection: keep-alive, one request at a time."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._body = bytearray()
        self._timer: asyncio.Handle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class has its methods only

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Called by httptools."""
        self._body += body

    def on_message_complete(self) -> None:
        """Called by httptools once the request is whole."""
        body = bytes(self._body)
        self._body.clear()
        if self._parser.get_method() == b"GET":
            self._transport.write(self._answers.models)
            return
        model = MODELS[1] if b'"bench-10ms"' in body else MODELS[0]
        flat = body.replace(b" ", b"")
        if b'"stream":true' in flat:
            self._send(self._answers.streams[model, b'"include_usage":true' in flat], 0, model)
        else:
            self._transport.write(self._answers.whole[model])

    def _send(self, writes: tuple[bytes, ...], number: int, model: str) -> None:
        """Write one event, and let the loop or the clock call for the next."""
        self._transport.write(writes[number])
        number += 1
        if number == len(writes):
            self._timer = None
        elif model == MODELS[1]:
            self._timer = self._loop.call_later(0.010, self._send, writes, number, model)
        else:
            self._timer = self._loop.call_soon(self._send, writes, number, model)


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.3 only, like everything else in the comparison."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    return context


async def serve(certificate: str, key: str) -> None:
    """Listen on a free port, say which, and serve until the process is ended."""
    answers = Answers()
    loop = asyncio.get_running_loop()
    context = server_context(certificate, key)
    server = await loop.create_server(lambda: Provider(answers), "127.0.0.1", 0, ssl=context, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2]))
