"""An OpenAI-compatible provider that lies on demand: TLS, its own process, and honest books about what it
produced.

`python -m tests.fakes.provider --port 0` prints one JSON line (`port`, `control_port`, `pin`,
`backup_pin`, `ca_pem`) and serves until its standard input closes. The model id of a request is the
script to play; see `MODES`. The control port speaks plain HTTP and answers every GET with the statistics
as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import ssl
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from attestation.pinned_tls import format_pin, spki_sha256

MODES = {
    "plain": "role, words, finish, bare usage chunk, [DONE]",
    "slow": "as plain, with a pause between events",
    "endless": "words until the connection is cut",
    "error400-echo": "400 that repeats the whole request body",
    "error401": "401",
    "error404": "404",
    "error408": "408",
    "error429": "429 with Retry-After: 7",
    "error500": "500 that repeats the whole request body",
    "redirect": "307 to itself",
    "no-usage": "as plain without usage",
    "usage-on-finish": "usage rides on the finish chunk",
    "greedy": "usage on the finish chunk, of a billion tokens each way",
    "usage-before-finish": "usage rides on the chunk before the finish chunk",
    "disconnect": "some words, then the connection is cut",
    "truncated": "some words, then a clean end without finish or [DONE]",
    "no-done": "as plain, but the stream ends without [DONE]",
    "error-event": "some words, then an error event that repeats the request",
    "error-first": "an error event at once",
    "huge": "one event of 2 MB",
    "tools": "a tool call in pieces",
    "never": "headers, then nothing",
    "never-headers": "nothing at all",
    "json": "ignores `stream` and answers with one JSON object",
    "crlf": "as plain, with CRLF line ends and comments",
    "chunkless-first": "begins with a chunk that has no choices",
    "gzip": "claims a content encoding",
    "two": "two choices, interleaved",
}

WORDS = ("The", " capital", " of", " France", " is", " Paris", ".")


@dataclass
class Produced:
    """What one request cost this provider. `input` and `output` are tokens."""

    model: str
    input: int
    output: int = 0
    finished: bool = False
    cut: bool = False


@dataclass
class Books:
    """Everything a test wants to know."""

    http_bytes: int = 0
    connections: int = 0
    requests: dict[str, Produced] = field(default_factory=dict)
    last_request: object = None
    last_headers: dict[str, str] = field(default_factory=dict)


class Left(Exception):  # noqa: N818
    """The script ends by cutting the connection."""


class Exchange:
    """One request being answered."""

    def __init__(
        self, writer: asyncio.StreamWriter, request: dict, raw: bytes, books: Produced, pause: float
    ) -> None:
        self.writer = writer
        self.request = request
        self.raw = raw
        self.books = books
        self.pause = pause
        self.end = b"\n\n"

    async def head(self, status: int, content_type: str, *more: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", "transfer-encoding: chunked", *more]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def finish(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()
        self.books.finished = True

    async def event(self, value: object) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        await self.send(b"data: " + text.encode() + self.end)

    async def chunk(self, delta: dict, finish: str | None = None, *, index: int = 0, **more: object) -> None:
        if any(delta.get(name) for name in ("content", "tool_calls")):
            self.books.output += 1
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        await self.event(self.envelope([choice]) | more)
        if self.pause:
            await asyncio.sleep(self.pause)

    def envelope(self, choices: list) -> dict:
        return {
            "id": "chatcmpl-fake",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": self.request["model"],
            "choices": choices,
        }

    def usage(self) -> dict:
        return {
            "prompt_tokens": self.books.input,
            "completion_tokens": self.books.output,
            "total_tokens": self.books.input + self.books.output,
            "prompt_tokens_details": {"cached_tokens": 1},
        }

    async def words(self, count: int = len(WORDS)) -> None:
        await self.chunk({"role": "assistant", "content": ""})
        for word in WORDS[:count]:
            await self.chunk({"content": word})


async def play_stream(x: Exchange, mode: str) -> None:
    """Scripts that answer with an event stream."""
    await x.head(200, "text/event-stream", *(["content-encoding: gzip"] if mode == "gzip" else []))
    if mode == "never":
        await asyncio.sleep(3600)
    if mode == "error-first":
        await x.event({"error": {"message": x.raw.decode()}})
    if mode == "chunkless-first":
        await x.event(x.envelope([]) | {"prompt_filter_results": []})
    if mode == "crlf":
        x.end = b"\r\n\r\n"
        await x.send(b": keep-alive\r\n\r\n")
    if mode == "huge":
        await x.chunk({"content": "x" * 2_000_000})
    elif mode == "tools":
        await play_tools(x)
        return
    elif mode == "endless":
        while True:
            await x.chunk({"content": " word"})
    elif mode in ("disconnect", "truncated", "error-event"):
        await x.words(3)
        await asyncio.sleep(0.1)  # so that the words are read before the cut
        if mode == "disconnect":
            raise Left
        if mode == "error-event":
            await x.event({"error": {"message": x.raw.decode(), "code": 500}})
        await x.finish()
        return
    elif mode == "two":
        for word in WORDS:
            await x.chunk({"content": word}, index=0)
            await x.chunk({"content": word.upper()}, index=1)
        await x.chunk({}, "stop", index=0)
    else:
        await x.words()
    await end_stream(x, mode)


async def end_stream(x: Exchange, mode: str) -> None:
    if mode == "usage-before-finish":
        await x.chunk({"content": "!"}, usage=None)
        await x.chunk({}, usage=x.usage())
    on_finish = {"usage": x.usage()} if mode == "usage-on-finish" else {}
    if mode == "greedy":
        on_finish = {"usage": {"prompt_tokens": 10**9, "completion_tokens": 10**9}}
    await x.chunk({}, "stop", index=1 if mode == "two" else 0, **on_finish)
    if mode not in ("no-usage", "usage-on-finish", "usage-before-finish", "greedy"):
        await x.event(x.envelope([]) | {"usage": x.usage()})
    if mode != "no-done":
        await x.event("[DONE]")
    await x.finish()


async def play_tools(x: Exchange) -> None:
    await x.chunk({"role": "assistant", "content": None})
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    await x.chunk({"tool_calls": [first]})
    for piece in ('{"ci', 'ty":', '"Paris"}'):
        await x.chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    await x.chunk({}, "tool_calls")
    await x.event(x.envelope([]) | {"usage": x.usage()})
    await x.event("[DONE]")
    await x.finish()


async def play(x: Exchange, mode: str) -> None:
    """Play the script named by the model id."""
    if mode == "never-headers":
        await asyncio.sleep(3600)
    elif mode.startswith("error") and mode[5:8].isdigit():
        more = ["retry-after: 7"] if mode == "error429" else []
        await x.head(int(mode[5:8]), "application/json", "x-provider-secret: shown", *more)
        await x.send(json.dumps({"error": {"message": x.raw.decode("utf-8", "replace")}}).encode())
        await x.finish()
    elif mode == "redirect":
        await x.head(307, "text/plain", "location: /v1/chat/completions")
        await x.finish()
    elif mode == "json":
        x.books.output = len(WORDS)
        message = {"role": "assistant", "content": "".join(WORDS)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        await x.head(200, "application/json")
        await x.send(json.dumps(x.envelope([choice]) | {"usage": x.usage()}).encode())
        await x.finish()
    else:
        await play_stream(x, mode)


class Provider:
    """The TLS server. `pause` is the time between events of the slow scripts, in seconds."""

    def __init__(self, pause: float) -> None:
        self.books = Books()
        self._pause = pause

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.books.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, Left, ssl.SSLError):
            while await self._request(reader, writer):
                pass
        writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.read(1)
        self.books.http_bytes += len(first)
        if not first:
            return False
        head = first + await reader.readuntil(b"\r\n\r\n")
        self.books.http_bytes += len(head) - 1
        target, headers = parse_head(head)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.books.http_bytes += len(body)
        if not target.endswith("/chat/completions"):
            await self._models(writer)
            return True
        self.books.last_headers = headers
        await self._chat(reader, writer, body)
        return True

    async def _chat(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
        request = json.loads(body)
        self.books.last_request = request
        mode = request["model"]
        text = "".join(str(message.get("content") or "") for message in request["messages"])
        produced = Produced(mode, max(1, len(text) // 4))
        name = str(request.get("test_id", len(self.books.requests)))
        self.books.requests[name] = produced
        pause = self._pause if mode in ("slow", "endless") else 0.0
        playing = asyncio.ensure_future(play(Exchange(writer, request, body, produced, pause), mode))
        leaving = asyncio.ensure_future(reader.read(1))
        await asyncio.wait([playing, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            produced.cut = True
            playing.cancel()
            raise Left
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        playing.result()

    async def _models(self, writer: asyncio.StreamWriter) -> None:
        entries = [{"id": name, "object": "model", "created": 1, "owned_by": "fake"} for name in MODES]
        body = json.dumps({"object": "list", "data": entries}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            body = json.dumps(asdict(self.books)).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n")
            writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
        writer.close()


def parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    """Target and lower-case headers of a request."""
    first, *rest = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in rest if line)
    return first.split(" ")[1], {name.lower(): value.strip() for name, _, value in pairs}


@dataclass
class Identity:
    """A server context, the CA to trust, and the pins of leaf and CA."""

    context: ssl.SSLContext
    ca_pem: str
    pin: str
    ca_pin: str


def make_identity() -> Identity:
    """A CA and a leaf for localhost and 127.0.0.1, both made now."""
    ca_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fake provider CA")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    ca = _builder(ca_name, ca_name, ca_key).add_extension(x509.BasicConstraints(True, 0), critical=True)
    ca_cert = ca.sign(ca_key, hashes.SHA256())
    leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    leaf = (
        _builder(leaf_name, ca_name, leaf_key)
        .add_extension(names, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "leaf.pem"
        key = leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(key + leaf.public_bytes(serialization.Encoding.PEM))
        context.load_cert_chain(path)
    pins = [format_pin(spki_sha256(c.public_bytes(serialization.Encoding.DER))) for c in (leaf, ca_cert)]
    return Identity(context, ca_cert.public_bytes(serialization.Encoding.PEM).decode(), *pins)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
    )


async def main(port: int, pause: float) -> None:
    """Serve until standard input closes."""
    identity, provider = make_identity(), Provider(pause)
    server = await asyncio.start_server(provider.connection, "127.0.0.1", port, ssl=identity.context)
    control = await asyncio.start_server(provider.control, "127.0.0.1", 0)
    told = {
        "port": server.sockets[0].getsockname()[1],
        "control_port": control.sockets[0].getsockname()[1],
        "pin": identity.pin,
        "backup_pin": identity.ca_pin,
        "ca_pem": identity.ca_pem,
    }
    print(json.dumps(told), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    server.close()
    control.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.05)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.port, arguments.pause))
