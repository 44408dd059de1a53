"""What httpx and httpx2 share on the way in and out: their names are the same, their modules are not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import h11

from attestation.transport.completeness import Incomplete
from attestation.transport.connection import Body, Timeouts
from attestation.transport.engine import Origin, Reply
from attestation.transport.messages import Outgoing

APPRAISAL_EXTENSION = "casemate.appraisal"
STALE_KEY_EXTENSION = "casemate.stale_key"  # True: the gateway could not open the request, send it again


@dataclass(frozen=True, slots=True)
class Library:
    """`httpx` with `httpcore`, or `httpx2` with `httpcore2`."""

    http: ModuleType
    core: ModuleType

    @contextmanager
    def errors(self, request: Any) -> Iterator[None]:
        """Turn network and protocol errors into the library's own; errors of trust pass as they are."""
        core, http = self.core, self.http
        try:
            yield
        except (core.TimeoutException, core.NetworkError, core.ProtocolError) as error:
            kind = getattr(http, type(error).__name__, http.TransportError)
            raise kind(str(error), request=request) from error
        except (h11.RemoteProtocolError, Incomplete) as error:
            raise http.RemoteProtocolError(str(error), request=request) from error
        except h11.LocalProtocolError as error:
            raise http.LocalProtocolError(str(error), request=request) from error
        except OSError as error:
            raise http.NetworkError(str(error), request=request) from error

    def outgoing(self, request: Any, origin: Origin, body_of: Callable[[Any], Body]) -> Outgoing:
        """Translate a request. Raises the library's UnsupportedProtocol for any other origin."""
        url = request.url
        wanted = ("https", origin.host.encode("ascii"), origin.port)
        if (url.scheme, url.raw_host, url.port or 443) != wanted:  # as on the wire, where names are ASCII
            raise self.http.UnsupportedProtocol(
                "this transport speaks to its verified origin only", request=request
            )
        headers = request.headers
        seconds = request.extensions.get("timeout", {})
        return Outgoing(
            method=request.method.encode("ascii"),
            target=url.raw_path,
            headers=list(headers.raw),
            has_body="transfer-encoding" in headers or headers.get("content-length", "0") != "0",
            new_body=lambda: body_of(request.stream),
            replayable=isinstance(request.stream, self.http.ByteStream),
            timeouts=Timeouts(seconds.get("connect"), seconds.get("read"), seconds.get("write")),
        )

    def response(self, reply: Reply, stream: Any) -> Any:
        """Build the library's response; `extensions` carry the appraisal of the connection it came over."""
        incoming = reply.incoming
        return self.http.Response(
            status_code=incoming.status,
            headers=incoming.headers,
            stream=stream,
            extensions={
                "http_version": incoming.http_version,
                "reason_phrase": incoming.reason,
                APPRAISAL_EXTENSION: incoming.trust.appraisal,
                STALE_KEY_EXTENSION: reply.stale_key,
            },
        )


class PulledBody:
    """A request body from an ordinary iterable."""

    def __init__(self, chunks: Any) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)

    async def next_chunk(self) -> bytes | None:
        """See `Body.next_chunk`."""
        return next(self._chunks, None)


class AwaitedBody:
    """A request body from an asynchronous iterable."""

    def __init__(self, chunks: Any) -> None:
        self._chunks: AsyncIterator[bytes] = aiter(chunks)

    async def next_chunk(self) -> bytes | None:
        """See `Body.next_chunk`."""
        return await anext(self._chunks, None)
