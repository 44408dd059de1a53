"""Requests and responses as the engine sees them: neither httpx's nor httpx2's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import h11

from attestation import ehbp
from attestation.transport.completeness import Incomplete, NothingToWatch, Watch, watch_for
from attestation.transport.connection import Body, Connection, Timeouts
from attestation.transport.evidence import Trust

Headers = list[tuple[bytes, bytes]]

_NEVER_SENT = frozenset(
    {b"host", b"connection", b"keep-alive", b"proxy-authorization", b"upgrade", b"te", b"expect"}
)
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_SEALING = frozenset({b"ehbp-encapsulated-key", b"ehbp-response-nonce"})
_DECIDING = frozenset({b"content-type", b"content-encoding", b"ehbp-response-nonce"})
MAX_PROBLEM_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request. `new_body` starts the body from its beginning; `replayable` says if it can do so twice."""

    method: bytes
    target: bytes
    headers: Headers
    has_body: bool
    new_body: Callable[[], Body]
    replayable: bool
    timeouts: Timeouts

    def head(self, host: str, sealer: ehbp.RequestSealer | None) -> h11.Request:
        """The head as sent: our own Host, and for a sealed body the framing that EHBP asks for."""
        dropped = _NEVER_SENT | _SEALING
        if sealer is not None:
            # What comes back is checked for completeness, which compressed bytes would not show.
            dropped = dropped | _FRAMING | {b"accept-encoding"}
        kept = [(name, value) for name, value in self.headers if name.lower() not in dropped]
        if sealer is not None:
            kept += [
                (b"Transfer-Encoding", b"chunked"),
                (b"Accept-Encoding", b"identity"),
                (ehbp.ENCAPSULATED_KEY_HEADER.encode(), sealer.encapsulated_key.encode()),
            ]
        return h11.Request(method=self.method, target=self.target, headers=[(b"Host", host.encode()), *kept])


class SealedBody:
    """Seals a body chunk by chunk as it is sent."""

    def __init__(self, plain: Body, sealer: ehbp.RequestSealer) -> None:
        self._plain = plain
        self._sealer = sealer

    async def next_chunk(self) -> bytes | None:
        """See `Body.next_chunk`."""
        chunk = await self._plain.next_chunk()
        return None if chunk is None else self._sealer.seal(chunk)


class BufferedBody:
    """A body that was already read whole."""

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data

    async def next_chunk(self) -> bytes | None:
        """See `Body.next_chunk`."""
        data, self._data = self._data, None
        return data or None


class ReceivedBody:
    """The response body: opened if sealed, watched for completeness, raw otherwise."""

    def __init__(
        self,
        connection: Connection,
        timeout: float | None,
        opener: ehbp.ResponseOpener | None,
        watch: Watch,
        *,
        must_prove: bool,
    ) -> None:
        self._must_prove = must_prove  # an empty body would say nothing about who made the response
        self._connection = connection
        self._timeout = timeout
        self._opener = opener
        self._watch = watch
        self.complete = False  # True once the end was reached and nothing was missing

    async def next_chunk(self) -> bytes | None:
        """See `Body.next_chunk`. Raises EhbpError or Incomplete instead of a false end."""
        while not self.complete:
            raw = await self._connection.receive_chunk(self._timeout)
            if raw is None:
                self._finish()
                return None
            plain = raw if self._opener is None else self._opener.feed(raw)
            if plain:
                self._watch.feed(plain)
                return plain
        return None

    def _finish(self) -> None:
        if self._opener is not None:
            self._opener.finish()
            if self._must_prove and not self._opener.opened:
                raise ehbp.EhbpError("a sealed response holds nothing that shows who sealed it")
        self._watch.finish()
        self.complete = True


@dataclass(frozen=True, slots=True)
class Incoming:
    """One response head with its body still to be read."""

    status: int
    reason: bytes
    http_version: bytes
    headers: Headers
    body: ReceivedBody | BufferedBody
    sealed: bool
    trust: Trust


def receive(
    connection: Connection,
    response: h11.Response,
    sealer: ehbp.RequestSealer | None,
    trust: Trust,
    timeouts: Timeouts,
) -> Incoming:
    """Decide how to read a response. Raises EhbpError for one that is not sealed though the request was.

    A refusal (4xx, 5xx) may come unsealed: the gateway could not open the request. It still came over the
    attested connection.
    """
    fields = _single(response)
    successful = 200 <= response.status_code < 300
    if 300 <= response.status_code < 400 and response.status_code != 304:
        raise Incomplete("the gateway answered with a redirect, which is never followed")
    nonce = fields.get(b"ehbp-response-nonce")
    opener = None
    if sealer is not None and nonce is not None:
        opener = sealer.response_opener(nonce.decode("latin-1"))
        if fields.get(b"content-encoding", b"identity") != b"identity":
            raise ehbp.EhbpError("a sealed response is compressed though that was not asked for")
    elif sealer is not None and not 400 <= response.status_code < 600:
        raise ehbp.EhbpError("the response to a sealed request is not sealed")
    content_type = fields.get(b"content-type", b"").decode("latin-1")
    watch = watch_for(content_type, sealed=opener is not None) if successful else NothingToWatch()
    headers = [
        (name, value)
        for name, value in response.headers.raw_items()
        if opener is None or name.lower() not in _FRAMING | _SEALING
    ]
    must_prove = successful and response.status_code != 204
    body = ReceivedBody(connection, timeouts.read, opener, watch, must_prove=must_prove)
    version = b"HTTP/" + response.http_version
    return Incoming(response.status_code, response.reason, version, headers, body, opener is not None, trust)


def _single(response: h11.Response) -> dict[bytes, bytes]:
    """The fields that decide here. Raises h11.RemoteProtocolError if one is there twice.

    What reads the response after us might choose the other one.
    """
    found = [(name, value) for name, value in response.headers if name in _DECIDING]
    if len(dict(found)) != len(found):
        raise h11.RemoteProtocolError("a response with two values for how it is to be read")
    return dict(found)


async def is_stale_key(incoming: Incoming) -> tuple[bool, bytes]:
    """Read a 422 and tell if it says that the gateway no longer holds the key; also return what was read."""
    raw = bytearray()
    while (chunk := await incoming.body.next_chunk()) is not None:
        raw += chunk
        if len(raw) > MAX_PROBLEM_BYTES:
            raise Incomplete("the gateway's 422 answer is larger than 64 KB")
    try:
        problem = json.loads(raw)
    except (ValueError, RecursionError):
        return False, bytes(raw)
    return isinstance(problem, dict) and problem.get("type") == ehbp.KEY_PROBLEM, bytes(raw)
