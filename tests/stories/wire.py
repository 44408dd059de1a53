"""Raw bytes to a running gateway over TLS, and what came back; and how much memory its processes hold."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from attestation.pinned_tls import client_context
from tests.stories.conftest import Story

CANARY = "canary-5f0e-1c77"
MEMBERS = {"message", "type", "code", "param"}
CHAT_LINE = "POST /api/v1/chat/completions HTTP/1.1"
ANSWER_SECONDS, QUIET_SECONDS = 10.0, 0.2
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Response:
    """One response, read by its content length."""

    status: int
    head: str
    body: bytes


@contextmanager
def connected(story: Story, seconds: float = ANSWER_SECONDS) -> Iterator[ssl.SSLSocket]:
    """An open connection."""
    plain = socket.create_connection(("127.0.0.1", story.port), timeout=seconds)
    with client_context(story.ca_pem).wrap_socket(plain, server_hostname="localhost") as tls:
        yield tls


def exchange(story: Story, pieces: bytes | Iterable[bytes]) -> list[Response]:
    """Send, and read until the gateway closes or has answered and is quiet. Empty: it just closed.

    Raises TimeoutError if it does neither.
    """
    with connected(story) as tls:
        with suppress(ConnectionError, ssl.SSLError):  # it may answer and close before all was sent
            for piece in [pieces] if isinstance(pieces, bytes) else pieces:
                tls.sendall(piece)
        return responses(read(tls))


def read(tls: ssl.SSLSocket) -> bytes:
    """All that arrives until the end, or until a whole response is followed by silence."""
    received = b""
    with suppress(ConnectionError, ssl.SSLError):
        while True:
            whole = bool(received) and responses(received) != []
            tls.settimeout(QUIET_SECONDS if whole else ANSWER_SECONDS)
            try:
                piece = tls.recv(65_536)
            except TimeoutError:
                if whole:
                    return received
                raise
            if not piece:
                return received
            received += piece
    return received


def responses(received: bytes) -> list[Response]:
    """Every whole response in what was received."""
    found = []
    while HEAD_END in received:
        head, _, rest = received.partition(HEAD_END)
        size = _length(head)
        if len(rest) < size:
            break
        found.append(Response(int(head.split(b" ")[1]), head.decode("latin-1"), rest[:size]))
        received = rest[size:]
    return found


def _length(head: bytes) -> int:
    fields = (line.partition(b":") for line in head.lower().split(b"\r\n")[1:])
    return next((int(value) for name, _, value in fields if name == b"content-length"), 0)


def require_refusal(status: int, text: str) -> None:
    """A 4xx in OpenAI form that repeats nothing of what was sent."""
    assert 400 <= status < 500, (status, text[:300])
    error = json.loads(text)["error"]
    assert set(error) == MEMBERS
    assert CANARY not in text


def chat_head(story: Story, *lines: str, first: str = CHAT_LINE) -> bytes:
    """The head of a chat request with a good key and these further lines."""
    fields = ["host: localhost", f"authorization: Bearer {story.api_key}", "content-type: application/json"]
    return "\r\n".join([first, *fields, *lines]).encode("latin-1") + HEAD_END


def chat_body(content: str = "Hello") -> bytes:
    """A body that is in order."""
    return json.dumps({"model": "plain", "messages": [{"role": "user", "content": content}]}).encode()


def resident(pids: Iterable[int], field: str = "VmRSS") -> dict[int, int]:
    """Bytes of memory by process; `VmHWM` is the most that it ever was."""
    return {pid: _status(pid, field) for pid in pids}


def _status(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024
