"""The provider hop: pinned TLS 1.3, nothing from the environment, no redirects, no cookies, no decompression.

The seam is one method (`Upstream.send`), so that a leaner pool can take aiohttp's place (DESIGN section 3.2).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import aiohttp
from aiohttp.connector import Connection

from attestation.pinned_tls import parse_pin, pinned_context
from gateway import problems
from gateway.config import Config, Provider
from gateway.errors import GatewayError, Problem

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 30.0
CONNECTIONS = 1_024
MAX_RETRY_AFTER = 86_400.0
ONE_WRITE = 1 << 20
DRAIN_PIECES = 16
DRAIN_SECONDS = 1.0


class Answer(Protocol):
    """A provider's 200, with its body still to come."""

    @property
    def content_type(self) -> str:
        """Media type, without parameters, in lower case."""

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises GatewayError if it breaks off."""

    async def drain(self) -> None:
        """The answer is whole: read the rest of the framing, so that the connection serves again."""

    async def aclose(self) -> None:
        """Stop: if the body has not ended, the connection is cut, so that the provider stops too."""


class Upstream(Protocol):
    """One provider.

    Every implementation must:
    - have checked the provider's pin, in the handshake, before any byte of `body` leaves;
    - raise GatewayError for anything but a 200, without a word of the provider's;
    - be safe to cancel at any await, cutting the connection then.
    """

    async def send(self, body: bytes) -> Answer:
        """Send a chat request and return as soon as the response's headers are there."""

    async def aclose(self) -> None:
        """Close idle connections, at the end of the worker."""


class _Response(aiohttp.ClientResponse):
    """Cuts the connection of every answer but a 200.

    Refusals may repeat the prompt, and are not read. An idle connection would keep its last answer's headers
    and whatever of the body nobody read.
    """

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        wire = connection.protocol  # a short answer's connection is back in the pool when this returns
        await super().start(connection)
        if self.status != 200 and wire is not None:
            wire.close()
        return self


class _AiohttpAnswer:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._pieces = response.content.iter_any()

    @property
    def content_type(self) -> str:
        return self._response.content_type.lower()

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except (aiohttp.ClientError, OSError) as error:
            raise GatewayError(problems.UPSTREAM_ERROR) from error

    async def drain(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            async with asyncio.timeout(DRAIN_SECONDS):
                for _ in range(DRAIN_PIECES):
                    if self._response.content.at_eof():
                        return
                    await self._response.content.readany()

    async def aclose(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            self._response.content.read_nowait()  # an idle connection would keep what nobody has read
        self._response.close()


class AiohttpUpstream:
    """An OpenAI-compatible provider over aiohttp.

    The session is made at first use: it belongs to one event loop.
    """

    def __init__(self, provider: Provider, credential: str | None) -> None:
        self._url = provider.url.rstrip("/") + "/chat/completions"
        self._tls = pinned_context([parse_pin(pin) for pin in provider.pins], ca_pem=provider.ca_pem or None)
        self._headers = {
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
        }
        if credential is not None:
            self._headers["Authorization"] = f"Bearer {credential}"
        self._session: aiohttp.ClientSession | None = None

    async def send(self, body: bytes) -> Answer:
        data = body if len(body) <= ONE_WRITE else io.BytesIO(body)  # in pieces, not to block the loop
        try:
            response = await self._open().post(self._url, data=data, allow_redirects=False)
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
            raise GatewayError(problems.UPSTREAM_UNTRUSTED) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise GatewayError(problems.UPSTREAM_ERROR) from error
        problem = _problem(response)
        if problem is not None:
            response.close()
            raise GatewayError(problem)
        return _AiohttpAnswer(response)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls, limit=CONNECTIONS, keepalive_timeout=IDLE_SECONDS
                ),
                headers=self._headers,
                skip_auto_headers=("User-Agent",),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                response_class=_Response,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            )
        return self._session


def _problem(response: aiohttp.ClientResponse) -> Problem | None:
    if response.status != 200:
        return problems.from_provider(response.status, _retry_after(response.headers.get("Retry-After")))
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return problems.UPSTREAM_ERROR
    return None


def _retry_after(value: str | None) -> float | None:
    """Seconds; a date, or nonsense, counts as absent."""
    if value is None or not value.isascii() or not value.isdigit():
        return None
    return min(float(value[:9]), MAX_RETRY_AFTER)


def make_upstreams(config: Config, credentials: Mapping[str, str]) -> dict[str, Upstream]:
    """One upstream for each provider; `credentials` maps the provider's `credential` name to its secret.

    Raises KeyError for a credential that is named and missing, ValueError for unusable pins.
    """
    return {
        name: AiohttpUpstream(provider, credentials[provider.credential] if provider.credential else None)
        for name, provider in config.providers.items()
    }
