"""One way to drive four clients: httpx and httpx2, blocking and asynchronous, over our transports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

import httpx
import httpx2

from attestation.transport import httpx2_transport, httpx_transport
from tests.fakes.amd import NOW

KINDS = ("httpx", "httpx async", "httpx2", "httpx2 async")


class Session(Protocol):
    """A client; `http` is its library, for its error classes."""

    http: ModuleType
    transport: Any

    def send(self, method: str, path: str, **how: Any) -> Any:
        """Send a request and read the response to its end."""

    def lines(self, path: str, seen: Callable[[str], object] = str, **how: Any) -> list[str]:
        """POST and read the response as lines, each shown to `seen` as it arrives."""


class BlockingSession:
    def __init__(self, http: ModuleType, transport: Any, url: str) -> None:
        self.http, self.transport = http, transport
        self._client = http.Client(transport=transport, base_url=url, timeout=10)

    def send(self, method: str, path: str, **how: Any) -> Any:
        return self._client.request(method, path, **how)

    def lines(self, path: str, seen: Callable[[str], object] = str, **how: Any) -> list[str]:
        lines = []
        with self._client.stream("POST", path, **how) as response:
            for line in response.iter_lines():
                seen(line)
                lines.append(line)
        return lines

    def close(self) -> None:
        self._client.close()


class LoopSession:
    def __init__(self, http: ModuleType, transport: Any, url: str) -> None:
        self.http, self.transport = http, transport
        self._client = http.AsyncClient(transport=transport, base_url=url, timeout=10)
        self.runner = asyncio.Runner()

    def send(self, method: str, path: str, **how: Any) -> Any:
        return self.runner.run(self._client.request(method, path, **how))

    def lines(self, path: str, seen: Callable[[str], object] = str, **how: Any) -> list[str]:
        return self.runner.run(self._lines(path, seen, **how))

    async def _lines(self, path: str, seen: Callable[[str], object], **how: Any) -> list[str]:
        lines = []
        async with self._client.stream("POST", path, **how) as response:
            async for line in response.aiter_lines():
                seen(line)
                lines.append(line)
        return lines

    def close(self) -> None:
        self.runner.run(self._client.aclose())
        self.runner.close()


def transport_for(kind: str, url: str, policy: Any, **options: Any) -> Any:
    """A verified transport of that kind, at the time for which evidence is forged."""
    module = httpx2_transport if kind.startswith("httpx2") else httpx_transport
    name = "AsyncVerifiedTransport" if kind.endswith("async") else "VerifiedTransport"
    make: Callable[..., Any] = getattr(module, name)
    return make(url, policy, **({"now": lambda: NOW} | options))


@contextmanager
def session(kind: str, url: str, policy: Any, **options: Any) -> Iterator[Session]:
    """A client of that kind, closed at the end."""
    transport = transport_for(kind, url, policy, **options)
    wrap = LoopSession if kind.endswith("async") else BlockingSession
    opened = wrap(httpx2 if kind.startswith("httpx2") else httpx, transport, url)
    try:
        yield opened
    finally:
        opened.close()
