"""A provider that counts what it produced, request by request, and repeats everything it was told.

`python -m tests.fakes.counting_provider` prints one JSON line (`port`, `control_port`, `pins`, `ca_pem`) and
serves until its standard input closes. Tests count both sides of a crash with it: what it says of a request
is what a real provider would charge. The model id of a request names the script; the member `test_id` names
the request, `test_words` the length of its answer. The control port speaks plain HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.provider import make_identity

PACED, LONG, GREEDY = "paced", "long", "greedy"
"""Words at a pace; more words than anybody waits for; a usage far above what was produced."""
ECHO, TOOLS, HELD = "echo", "tools", "held"
"""The request itself as the answer; as arguments of a tool call; its first half until it is let go."""
BAD_REQUEST, BROKEN, CUT, FAULT, GARBAGE = "bad-request", "broken", "cut", "fault", "garbage"
"""400 and 500 that repeat the request; half of it, then: nothing, an error event, one that is no JSON."""
SCRIPTS = (PACED, LONG, GREEDY, ECHO, TOOLS, HELD, BAD_REQUEST, BROKEN, CUT, FAULT, GARBAGE)

PAUSE = 0.008
LONG_WORDS = 4_000
GREEDY_TOKENS = 1_000_000
PIECE = 480
CHARACTERS_PER_TOKEN = 4


@dataclass
class Produced:
    """What one request cost this provider, in tokens. `times` is how often it came."""

    script: str
    input: int
    output: int = 0
    times: int = 1
    finished: bool = False


@dataclass
class Record:
    """Everything produced, and what tests wait for."""

    requests: dict[str, Produced] = field(default_factory=dict)
    finished: int = 0
    holding: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def receive(self, request: dict[str, Any]) -> Produced:
        """Book the input of a request that arrived whole."""
        name = str(request.get("test_id", len(self.requests)))
        known = self.requests.get(name)
        if known is not None:
            known.times += 1
            return known
        tokens = max(1, len(json.dumps(request["messages"])) // CHARACTERS_PER_TOKEN)
        self.requests[name] = Produced(str(request["model"]), tokens)
        return self.requests[name]

    async def tell(self) -> None:
        """Wake whoever waits for something to happen here."""
        async with self.changed:
            self.changed.notify_all()


class Answering:
    """One request being answered as an event stream."""

    def __init__(self, record: Record, request: web.Request, asked: dict[str, Any], text: str) -> None:
        self.record = record
        self.asked = asked
        self.text = text
        self.produced = record.receive(asked)
        self._request = request
        self._response = web.StreamResponse(headers={"content-type": "text/event-stream"})

    async def play(self) -> web.StreamResponse:
        """Play the script that the model id names."""
        script = self.produced.script
        await self._response.prepare(self._request)
        await self._chunk({"role": "assistant", "content": ""})
        if script in (PACED, LONG, GREEDY):
            await self._words(LONG_WORDS if script == LONG else int(self.asked.get("test_words", 12)))
        else:
            await self._repeat(script)
        if script in (CUT, FAULT, GARBAGE):
            return self._response
        await self._end("tool_calls" if script == TOOLS else "stop")
        return self._response

    async def _words(self, count: int) -> None:
        for number in range(count):
            await self._produce({"content": f" word{number}"})
            await asyncio.sleep(PAUSE)

    async def _repeat(self, script: str) -> None:
        pieces = list(_pieces(self.text))
        half = max(1, len(pieces) // 2)
        for number, piece in enumerate(pieces):
            if number == half and script == HELD:
                await self._hold()
            if number == half and script in (CUT, FAULT, GARBAGE):
                await self._break_off(script)
                return
            await self._produce(_tool_call(piece) if script == TOOLS else {"content": piece})
        if len(pieces) == 1 and script == HELD:
            await self._hold()

    async def _hold(self) -> None:
        self.record.holding += 1
        await self.record.tell()
        await self.record.released.wait()

    async def _break_off(self, script: str) -> None:
        if script == FAULT:
            told = json.dumps({"error": {"message": self.text, "code": 500}})
            await self._event(f"{told}\n\ndata: {told}")  # the second one is more than anybody reads
        elif script == GARBAGE:
            await self._event('{"choices": [' + self.text)
        transport = self._request.transport
        if script == CUT and transport is not None:
            transport.abort()

    async def _end(self, reason: str) -> None:
        await self._chunk({}, reason)
        tokens = (self.produced.input, self.produced.output)
        if self.produced.script == GREEDY:
            tokens = (GREEDY_TOKENS, GREEDY_TOKENS)
        usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
        await self._event(json.dumps(self._envelope([]) | {"usage": usage}))
        self.produced.finished = True
        self.record.finished += 1
        await self.record.tell()
        await self._event("[DONE]")
        await self._response.write_eof()

    async def _produce(self, delta: dict[str, Any]) -> None:
        self.produced.output += 1
        await self._chunk(delta)

    async def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> None:
        await self._event(
            json.dumps(
                self._envelope([{"index": 0, "delta": delta, "finish_reason": reason}]), ensure_ascii=False
            )
        )

    def _envelope(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        spoken = (
            str(self.asked["messages"])[:200] if self.produced.script not in (PACED, LONG, GREEDY) else "x"
        )
        head = {"id": f"chatcmpl-{spoken}", "object": "chat.completion.chunk", "created": 1, "model": spoken}
        return head | {"system_fingerprint": spoken, "choices": choices}

    async def _event(self, data: str) -> None:
        await self._response.write(b"data: " + data.encode() + b"\n\n")


def _tool_call(piece: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": piece}}]}


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE]


def make_app(record: Record) -> web.Application:
    """The provider itself."""

    async def chat(request: web.Request) -> web.StreamResponse:
        text = (await request.read()).decode()
        asked = json.loads(text)
        if asked["model"] in (BAD_REQUEST, BROKEN):
            record.receive(asked)
            status = 400 if asked["model"] == BAD_REQUEST else 500
            echo = text.encode().hex()[:2_000]
            return web.json_response({"error": {"message": text}}, status=status, headers={"x-echo": echo})
        return await Answering(record, request, asked, text).play()

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": name} for name in SCRIPTS]})

    app = web.Application(client_max_size=1 << 26)
    app.add_routes([web.post("/v1/chat/completions", chat), web.get("/v1/models", models)])
    return app


def make_control(record: Record) -> web.Application:
    """How a test waits for things, reads the record, and lets held answers go."""

    async def read(_: web.Request) -> web.Response:
        return web.json_response({name: asdict(one) for name, one in record.requests.items()})

    async def wait(request: web.Request) -> web.Response:
        """Answer once so many requests are `finished`, or `holding`."""
        what, count = request.match_info["what"], int(request.query["count"])
        async with record.changed:
            await record.changed.wait_for(lambda: getattr(record, what) >= count)
        return web.json_response(getattr(record, what))

    async def release(_: web.Request) -> web.Response:
        record.released.set()
        record.released = asyncio.Event()
        record.holding = 0
        return web.Response()

    app = web.Application()
    app.add_routes(
        [web.get("/", read), web.get("/{what:finished|holding}", wait), web.post("/release", release)]
    )
    return app


async def serve() -> None:
    """Serve until standard input closes."""
    logging.disable(logging.CRITICAL)  # clients that are killed are the point, not a surprise
    identity, record = make_identity(), Record()
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for app, context in ((make_app(record), identity.context), (make_control(record), None)):
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            ports.append(runner.addresses[0][1])
        told = {"port": ports[0], "control_port": ports[1], "ca_pem": identity.ca_pem}
        print(json.dumps(told | {"pins": [identity.pin, identity.ca_pin]}), flush=True)
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(serve())
