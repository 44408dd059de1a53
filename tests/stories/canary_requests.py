"""A canary through every field of a chat request, and every way in which such a request can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from attestation.ehbp import ENCAPSULATED_KEY_HEADER, RESPONSE_NONCE_HEADER, RequestSealer, parse_key_config
from tests.fakes.canary import Canary
from tests.fakes.counting_provider import BAD_REQUEST, BROKEN, CUT, ECHO, FAULT, GARBAGE, TOOLS
from tests.stories.machine import CHAT, Machine

ENDINGS = ("", " é", " ☂", " 🕊", ' "quoted\\\n')
"""Each makes Python keep the text in another way: 1, 2 or 4 bytes a character, or escaped in JSON."""
EVERY = 128
MOMENT = 0.3


@dataclass(frozen=True, slots=True)
class Shot:
    """One request. `echoed` says whether the canary must come back (None: does not matter)."""

    name: str
    body: bytes
    statuses: tuple[int, ...] = (200,)
    echoed: bool | None = False
    headers: dict[str, str] = field(default_factory=dict)
    target: str = CHAT
    method: str = "POST"
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What came back: status, headers as text, and the opened body."""

    shot: Shot
    status: int
    head: str
    body: bytes


class Shots:
    """Makes requests for one canary; `planted` is in the ids of the models, which are no secret."""

    def __init__(self, canary: Canary, planted: Canary) -> None:
        self._canary = canary
        self._planted = planted
        self._count = 0

    def text(self) -> str:
        """The canary, numbered, so that a finding tells whose it is."""
        self._count += 1
        return f"{self._canary.core}-{self._count:03d}{ENDINGS[self._count % len(ENDINGS)]}"

    def long_text(self, size: int) -> str:
        """About so many characters, with the canary in every EVERY of them."""
        return "".join(self.text().ljust(EVERY, ".") for _ in range(size // EVERY))

    def model(self, script: str) -> str:
        """The id of the model that plays this script."""
        return f"{script}:{self._planted.core}"

    def body(self, script: str = ECHO, /, **members: Any) -> bytes:
        """A chat request; `members` replace or add."""
        asked = {
            "model": self.model(script),
            "messages": [{"role": "user", "content": "Say something."}],
            "max_tokens": 4_000,
        }
        return json.dumps(asked | members, ensure_ascii=self._count % 2 == 0).encode()

    def everywhere(self) -> dict[str, Any]:
        """All fields at once."""
        members: dict[str, Any] = {}
        for _, one in [*self.forwarded(), *self.stripped()]:
            members |= one
        return members | {"messages": [m for _, one in self.forwarded() for m in one.get("messages", ())]}

    def forwarded(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Members that reach the provider, by the name of what holds the canary."""
        user = {"role": "user", "content": "Go on."}
        call = {"id": self.text(), "type": "function", "function": {"name": "f", "arguments": self.text()}}
        function = {
            "name": "f",
            "description": self.text(),
            "parameters": {"type": "object", "x": self.text()},
        }
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{self.text()}"}}
        yield "content", {"messages": [{"role": "user", "content": self.text()}]}
        yield "parts", {"messages": [{"role": "user", "content": [{"type": "text", "text": self.text()}]}]}
        yield "image", {"messages": [{"role": "user", "content": [image]}]}
        yield "system", {"messages": [{"role": "system", "content": self.text()}, user]}
        yield "name", {"messages": [user | {"name": self.text()}]}
        yield "call", {"messages": [user, {"role": "assistant", "content": None, "tool_calls": [call]}]}
        yield "result", {"messages": [user, {"role": "tool", "tool_call_id": "1", "content": self.text()}]}
        yield "role", {"messages": [user | {"role": self.text()}]}
        yield "tools", {"tools": [{"type": "function", "function": function}]}
        yield "choice", {"tool_choice": {"type": "function", "function": {"name": self.text()}}}
        yield "stop", {"stop": [self.text(), "x"]}
        yield "unknown", {"unknown_to_us": {"deep": [self.text()]}}
        yield "unknown name", {self.text(): 1}
        yield "format", {"response_format": {"type": "json_schema", "json_schema": {"name": self.text()}}}
        yield "bias", {"logit_bias": {self.text(): 1}}
        yield "prediction", {"prediction": {"type": "content", "content": self.text()}}
        yield "options", {"stream_options": {"x": self.text()}}

    def stripped(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Members that identify or retain: not even the provider may see them."""
        yield "metadata", {"metadata": {"session": self.text()}}
        yield "user", {"user": self.text()}
        yield "cache key", {"prompt_cache_key": self.text()}
        yield "safety", {"safety_identifier": self.text()}

    def answered(self) -> Iterator[Shot]:
        """Requests that succeed, streamed and not."""
        for stream in (True, False):
            how = "stream" if stream else "whole"
            for name, members in self.forwarded():
                yield Shot(f"{name} {how}", self.body(stream=stream, **members), echoed=True)
            for name, members in self.stripped():
                yield Shot(f"{name} {how}", self.body(stream=stream, **members))
            for size in (200, 4_096, 65_536, 300_000):
                content = [{"role": "user", "content": self.long_text(size)}]
                yield Shot(f"{size} {how}", self.body(stream=stream, messages=content), echoed=True)
            yield Shot(f"tool call {how}", self.body(TOOLS, stream=stream, **self.everywhere()), echoed=True)
            everything = self.body(stream=stream, **self.everywhere())
            yield Shot(f"alias {how}", everything, target="/api/v1/chat", echoed=True)
            yield Shot(f"query {how}", self.body(stream=stream), target=f"{CHAT}?q={self._canary.core}")
            yield Shot(f"headers {how}", self.body(stream=stream), headers=self._headers())

    def _headers(self) -> dict[str, str]:
        core = self._canary.core
        names = ("User-Agent", "Cookie", "Referer", "X-Request-Id", "Traceparent", "X-Forwarded-For", core)
        return {**dict.fromkeys(names, core), "Content-Type": f"application/json; charset={core}"}

    def broken(self) -> Iterator[Shot]:
        """Requests at which the provider fails; its words are the canary."""
        for stream in (True, False):
            how = "stream" if stream else "whole"
            cut = ((200, 502), None) if stream else ((502,), False)
            for script, (statuses, echoed) in {
                BAD_REQUEST: ((400,), False),
                BROKEN: ((502,), False),
                CUT: cut,
                FAULT: cut,
                GARBAGE: cut,
            }.items():
                members = self.everywhere() | {"padding": self.long_text(4_096)}
                body = self.body(script, stream=stream, **members)
                yield Shot(f"{script} {how}", body, statuses, echoed)

    def refused(self) -> Iterator[Shot]:
        """Requests that the gateway refuses by what is in them; each is a 4xx and repeats nothing."""
        deep = b"[" * 200 + json.dumps(self.text()).encode() + b"]" * 200
        yield Shot("cut JSON", self.body(x=self.text())[:-3], (400,))
        yield Shot("no JSON", self.text().encode(), (400,))
        yield Shot("invalid UTF-8", self.text().encode() + b"\xff", (400,))
        yield Shot("deep", b'{"model": "m", "messages": ' + deep + b"}", (400,))
        yield Shot("unknown model", self.body(model=self.text()), (400,))
        yield Shot("background", self.body(background=self.text()), (400,))
        yield Shot("agent", self.body(agentId=self.text()), (404,))
        for name in ("messages", "stream", "max_tokens", "n", "stream_options", "model"):
            yield Shot(f"wrong {name}", self.body(**{name: [{"role": 1, "x": self.text()}]}), (400,))
        yield Shot(
            "wrong content", self.body(messages=[{"role": "user", "content": {self.text(): 1}}]), (400,)
        )

    def refused_early(self) -> Iterator[Shot]:
        """Requests that the gateway refuses by their headers or target; none of these can be sealed."""
        body, core = self.body(x=self.text()), self._canary.core
        yield Shot("wrong key", body, (401,), headers={"Authorization": f"Bearer {core}"})
        yield Shot("wrong scheme", body, (401,), headers={"Authorization": f"Basic {core}"})
        yield Shot("wrong type", body, (415,), headers={"Content-Type": f"text/{core}"})
        yield Shot("encoded", body, (415,), headers={"Content-Encoding": core})
        yield Shot("no seal", body, (400,), headers={ENCAPSULATED_KEY_HEADER: core})
        yield Shot("false seal", body, (400, 422), headers={ENCAPSULATED_KEY_HEADER: "09" + "0" * 62})
        yield Shot("path", body, (404,), target=f"/api/v1/{core}")
        yield Shot("other path", b"", (404,), target=f"/api/v1/models/{core}", method="GET")
        yield Shot("nonce", b"", (400,), target=f"/.well-known/attestation?nonce={core}", method="GET")
        yield Shot("method", body, (405,), method="PUT")
        yield Shot("large", b" " * 20_000_001, (413,), headers={"X-Custom": core})
        yield Shot("admin", body, (401,), target="/admin/v1/accounts", headers={"Authorization": core})

    def sealed(self) -> Iterator[Shot]:
        """The same again, sealed."""
        for shot in [*self.answered(), *self.broken(), *self.refused()]:
            yield replace(shot, name=f"{shot.name} sealed", sealed=True)

    def junk(self) -> Iterator[tuple[str, bytes]]:
        """What is no whole request: sent as it is, after which the client resets."""
        core = self._canary.core.encode()
        head = b"POST /api/v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer KEY\r\n"
        yield "half a body", head + b"content-length: 90000\r\n\r\n" + self.body(x=self.long_text(40_000))
        yield "a request, then a reset", head + b"x-custom: " + core + b"\r\ncontent-length: 2\r\n\r\n{}"
        yield "half a head", head + b"x-custom: " + core
        yield "no HTTP", core + b" " + core + b"\r\n\r\n"
        yield "large head", head + b"x-custom: " + core * 3_000 + b"\r\n\r\n"
        yield "no chunk", head + b"transfer-encoding: chunked\r\n\r\n5\r\n" + core + b"\r\n0\r\n\r\n"
        yield "two lengths", head + b"content-length: 5\r\ncontent-length: 9\r\n\r\n" + core
        frame = (8_000).to_bytes(4, "big") + core * 9
        seal = ENCAPSULATED_KEY_HEADER.encode() + b": " + b"0" * 62 + b"09\r\n"
        yield "half a frame", head + seal + b"content-length: 8004\r\n\r\n" + frame


async def fire(machine: Machine, key: str, shot: Shot, sealing_key: bytes) -> Seen:
    """Send one request over a connection of its own, read the answer to its end, and close."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | shot.headers
    body, sealer = shot.body, None
    if shot.sealed:
        sealer = RequestSealer(sealing_key)
        headers[ENCAPSULATED_KEY_HEADER] = sealer.encapsulated_key
        body = sealer.seal(body)
    async with machine.session() as session:
        asked = session.request(
            shot.method, shot.target, data=io.BytesIO(body) if body else None, headers=headers
        )
        async with asked as response:
            received = await _read(response)
            head = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
            nonce = response.headers.get(RESPONSE_NONCE_HEADER)
    if sealer is not None:
        assert nonce is not None, f"{shot.name}: the answer to a sealed request is not sealed"
        received = sealer.response_opener(nonce).feed(received)
    return Seen(shot, response.status, head, received)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Whatever comes: a stream that breaks off is an answer, too."""
    received = b""
    with contextlib.suppress(aiohttp.ClientPayloadError):
        async for piece in response.content.iter_any():
            received += piece
    return received


async def throw(machine: Machine, key: str, data: bytes, *, tls: bool = True) -> bytes:
    """Send these bytes, take what comes back within a moment, and reset the connection."""
    secured = {"ssl": machine.tls, "server_hostname": "localhost"} if tls else {}
    reader, writer = await asyncio.open_connection("127.0.0.1", machine.port, **secured)
    received = b""
    try:
        writer.write(data.replace(b"KEY", key.encode()))
        async with asyncio.timeout(MOMENT):
            while piece := await reader.read(1 << 16):
                received += piece
    except OSError:
        return received  # a closed connection, or silence, is an answer, too
    finally:
        _reset(writer)
    return received


def _reset(writer: asyncio.StreamWriter) -> None:
    """End without a farewell: the server sees an error instead of an end."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def sealing_key(machine: Machine) -> bytes:
    """The key that sealed bodies are for."""
    async with machine.session() as session, session.get("/.well-known/hpke-keys") as response:
        return parse_key_config(await response.read())
