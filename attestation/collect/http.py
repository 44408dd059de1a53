"""One GET at a time from the few hosts that publish collateral, for command lines and tools at the edge.

What comes back is a stranger's bytes, bounded in size and in time; it is judged elsewhere. There are no
redirects, no cookies, no compression, no proxies and nothing from the environment, because none of that
exists at the level of `httpcore2` that this is built on. Every request has a connection of its own, so that
one deadline bounds it from the first packet to the last byte, however slowly those come.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import httpcore2

from attestation.errors import CannotDecide
from attestation.model import Collateral
from attestation.pinned_tls import client_context

Clock = Callable[[], datetime]
Sleep = Callable[[float], None]
Address = tuple[str, int]
NO_ROUTES: Mapping[str, Address] = MappingProxyType({})

_BUSY = frozenset({429, 503})
_ABSENT = frozenset({404, 410})
_HTTPS = 443
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # for TLS 1.2; 1.3 has no others


class CollateralUnavailable(CannotDecide):
    """Something that a vendor publishes could not be had.

    `partial` is what could, to decide without it; `missing` names what could not, for people.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        partial: Collateral | None = None,
        missing: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.partial = partial or Collateral()
        self.missing = missing


class NotPublished(CollateralUnavailable):
    """The host answered that there is no such thing (404, 410)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of our time and memory a host gets; seconds and bytes.

    `interval` lies between two requests to one host; `longest_wait` bounds all waiting that a host may ask
    for with Retry-After before one answer; `deadline` bounds one request from connecting to its last byte.
    """

    interval: float = 0.5
    attempts: int = 4
    longest_wait: float = 60.0
    deadline: float = 20.0
    body: int = 1024 * 1024


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (names in lower case) and exact body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, *names: str) -> str | None:
        """The value of the one header that has one of these names; None if there is none, or several."""
        wanted = {name.lower() for name in names}
        values = [value for name, value in self.headers if name in wanted]
        return values[0] if len(values) == 1 else None


def read_authorities(ca: str | os.PathLike[str] | None) -> str | None:
    """PEM text, from PEM text or the path of a PEM file."""
    if ca is None or (isinstance(ca, str) and "-----BEGIN" in ca):
        return ca
    return Path(ca).read_text("ascii")


def tls_context(ca: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """TLS 1.2 or newer (Intel and AMD serve 1.2); `ca` replaces the public roots. Never without a check.

    Raises ValueError for a `ca` that is no PEM authority.
    """
    try:
        context = client_context(read_authorities(ca))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError("the authority for collateral hosts is not a readable PEM certificate") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    return context


@dataclass(slots=True)
class _Turn:
    """Whose turn it is with one host, and when the last request to it began."""

    lock: Lock = field(default_factory=Lock)
    last: datetime | None = None


class Client:
    """Fetches from `hosts` (as in a URL: `name`, or `name:port`) and from nowhere else.

    `clock` gives aware times and `sleep` waits some seconds. `routes` says where to connect for a host, for
    networks without its name; TLS proves the name all the same. Thread-safe: one request per host at a time.
    """

    def __init__(
        self,
        hosts: Collection[str],
        *,
        ca: str | os.PathLike[str] | None = None,
        clock: Clock,
        sleep: Sleep,
        routes: Mapping[str, Address] = NO_ROUTES,
        limits: Limits = LIMITS,
    ) -> None:
        self._turns = {host: _Turn() for host in hosts}
        self._tls = tls_context(ca)
        self._clock, self._sleep = clock, sleep
        self._routes, self._limits = routes, limits

    def get(self, url: str) -> Answer:
        """The answer with status 200, after as much waiting as the host asks for and the limits allow.

        Raises NotPublished, and CollateralUnavailable for everything else.
        """
        host = self._allowed(url)
        with self._turns[host].lock:
            left = self._limits.longest_wait
            for attempt in count(1):
                self._take_turn(self._turns[host])
                answer = self._ask(url, host)
                if answer.status not in _BUSY:
                    return _accepted(answer, host)
                wait = self._wait(answer, attempt)
                if wait > left or attempt >= self._limits.attempts:
                    break
                left -= wait
                self._sleep(wait)
        raise CollateralUnavailable(
            f"{host} is busy ({answer.status}) and wants {wait:.0f} s of patience",
            hint="try again later, or supply the collateral from files",
        )

    def _allowed(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.netloc not in self._turns:
            raise CollateralUnavailable(
                "collateral comes from the vendors' https hosts and a named PCCS only"
            )
        return parts.netloc

    def _take_turn(self, turn: _Turn) -> None:
        """Leave `interval` between requests, also when the clock was set back meanwhile."""
        if turn.last is not None:
            passed = (self._clock() - turn.last).total_seconds()
            if (pause := self._limits.interval - max(passed, 0.0)) > 0:
                self._sleep(pause)
        turn.last = self._clock()

    def _wait(self, answer: Answer, attempt: int) -> float:
        """Seconds that Retry-After asks for, as a number or a date (RFC 9110, 10.2.3); else 2, 4, 8, …"""
        asked = answer.header("retry-after") or ""
        if asked.isascii() and asked.isdigit() and len(asked) < 10:
            return float(asked)
        try:
            moment = parsedate_to_datetime(asked)
        except (ValueError, OverflowError):
            return float(2**attempt)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max((moment - self._clock()).total_seconds(), 0.0)

    def _ask(self, url: str, host: str) -> Answer:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port or _HTTPS
        network = _Network(self._routes.get(host), time.monotonic() + self._limits.deadline)
        headers = [("Host", host), ("User-Agent", "casemate"), ("Accept-Encoding", "identity")]
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        where = httpcore2.URL(scheme=b"https", host=name.encode(), port=port, target=target.encode())
        try:
            with (
                httpcore2.ConnectionPool(self._tls, network_backend=_untyped(network)) as pool,
                pool.stream("GET", where, headers=headers) as response,
            ):
                return _read(response, host, self._limits.body)
        except (
            httpcore2.NetworkError,
            httpcore2.TimeoutException,
            httpcore2.ProtocolError,
            ssl.SSLError,
            ValueError,  # a name that cannot be looked up or put into a handshake
        ) as error:
            raise CollateralUnavailable(
                f"no answer from {host}: {_reason(error)}",
                hint="check the network, the name and the certificate",
            ) from error


def _untyped(value: object) -> Any:
    """`httpcore2` names base classes for its network; ours has their shape without inheriting from them."""
    return value


def _read(response: httpcore2.Response, host: str, limit: int) -> Answer:
    headers = tuple(
        (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.headers
    )
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > limit:
            raise CollateralUnavailable(f"{host} sent more than {limit} bytes")
    return Answer(response.status, headers, bytes(body))


def _accepted(answer: Answer, host: str) -> Answer:
    """Status 200, nothing encoded: anything else is not what was asked for."""
    if answer.status in _ABSENT:
        raise NotPublished(f"{host} knows of no such thing ({answer.status})")
    if 300 <= answer.status < 400:
        raise CollateralUnavailable(f"{host} points elsewhere ({answer.status}); redirects are not followed")
    if answer.status != 200:
        raise CollateralUnavailable(f"{host} answered {answer.status}")
    if answer.header("content-encoding") not in (None, "identity"):
        raise CollateralUnavailable(f"{host} sent a compressed answer that nobody asked for")
    return answer


def _reason(error: Exception) -> str:
    """Why, in a few words of ours: an exception's text may hold what a server wrote."""
    chain = (error, error.__cause__, error.__context__)
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate does not hold (code {cause.verify_code})"
    if isinstance(error, httpcore2.TimeoutException):
        return "too slow"
    if isinstance(error, ssl.SSLError) or any(isinstance(cause, ssl.SSLError) for cause in chain):
        return "no TLS"
    return "not HTTP" if isinstance(error, httpcore2.ProtocolError) else "no connection"


class _Network:
    """Opens connections, each operation of which ends by one deadline (a `time.monotonic` value)."""

    def __init__(self, route: Address | None, deadline: float) -> None:
        self._route, self._deadline = route, deadline
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **_: Any) -> _Stream:
        host, port = self._route or (host, port)
        left = _left(self._deadline)
        return _Stream(self._backend.connect_tcp(host, port, timeout=left, socket_options=[]), self._deadline)


class _Stream:
    def __init__(self, stream: httpcore2.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        left = _left(self._deadline)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore2.ReadTimeout
    return left
