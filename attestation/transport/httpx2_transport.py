"""Verified transports for httpx2, e.g. under `openai` 3.x. Everything they do is in `engine`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime

import httpcore2
import httpx2

from attestation.model import Appraisal
from attestation.policy.model import Policy
from attestation.transport.binding import AwaitedBody, Library, PulledBody
from attestation.transport.connection import Timeouts, run_now
from attestation.transport.engine import Reply, build_engine
from attestation.transport.networks import AsyncNetwork, BlockingNetwork

_LIBRARY = Library(httpx2, httpcore2)
_START = Timeouts(connect=10.0, read=30.0, write=30.0)


class VerifiedTransport(httpx2.BaseTransport):
    """`httpx2.Client(transport=VerifiedTransport(url, policy))`: no byte of a request before the proof.

    Thread-safe. Every new connection is verified with a fresh nonce before it carries a request; bodies are
    sealed to its attested key as well. Requests to any other origin are refused, redirects are not followed.

    `ca` (PEM text or path) demands a valid certificate chain in addition; without it the attested key alone
    decides. Raises PolicyInvalid without a policy, ValueError for a URL that is not https; requests raise an
    `attestation.errors.AttestationError` if the evidence is refused, and httpx2's own errors for the network.
    """

    def __init__(
        self,
        url: str,
        policy: Policy,
        *,
        ca: str | os.PathLike[str] | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._engine = build_engine(url, policy, BlockingNetwork(httpcore2), ca, now)

    @property
    def appraisal(self) -> Appraisal | None:
        """Verdict and checks of the newest verified connection; None before the first."""
        return self._engine.appraisal

    def verify(self) -> Appraisal:
        """Connect and verify now, instead of at the first request."""
        with _LIBRARY.errors(None):
            return run_now(self._engine.verify_now(_START))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; see the class."""
        outgoing = _LIBRARY.outgoing(request, self._engine.origin, PulledBody)
        with _LIBRARY.errors(request):
            reply = run_now(self._engine.handle(outgoing))
        response: httpx2.Response = _LIBRARY.response(reply, _BlockingStream(reply, request))
        return response

    def close(self) -> None:
        """Close every connection."""
        run_now(self._engine.close())


class AsyncVerifiedTransport(httpx2.AsyncBaseTransport):
    """`httpx2.AsyncClient(transport=AsyncVerifiedTransport(url, policy))`; see `VerifiedTransport`."""

    def __init__(
        self,
        url: str,
        policy: Policy,
        *,
        ca: str | os.PathLike[str] | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._engine = build_engine(url, policy, AsyncNetwork(httpcore2), ca, now)

    @property
    def appraisal(self) -> Appraisal | None:
        """Verdict and checks of the newest verified connection; None before the first."""
        return self._engine.appraisal

    async def verify(self) -> Appraisal:
        """Connect and verify now, instead of at the first request."""
        with _LIBRARY.errors(None):
            return await self._engine.verify_now(_START)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; see the class."""
        outgoing = _LIBRARY.outgoing(request, self._engine.origin, AwaitedBody)
        with _LIBRARY.errors(request):
            reply = await self._engine.handle(outgoing)
        response: httpx2.Response = _LIBRARY.response(reply, _AsyncStream(reply, request))
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        await self._engine.close()


class _BlockingStream(httpx2.SyncByteStream):
    def __init__(self, reply: Reply, request: httpx2.Request) -> None:
        self._reply = reply
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        with _LIBRARY.errors(self._request):
            while (chunk := run_now(self._reply.next_chunk())) is not None:
                yield chunk

    def close(self) -> None:
        run_now(self._reply.aclose())


class _AsyncStream(httpx2.AsyncByteStream):
    def __init__(self, reply: Reply, request: httpx2.Request) -> None:
        self._reply = reply
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _LIBRARY.errors(self._request):
            while (chunk := await self._reply.next_chunk()) is not None:
                yield chunk

    async def aclose(self) -> None:
        await self._reply.aclose()
