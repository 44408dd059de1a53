"""One queue before the one device: whoever waits shares the next hardware report.

Reports are slow, serial and throttled by firmware. So statements that wait become the leaves of one
Merkle tree whose root is the report data (DESIGN section 4.1): a thousand fresh nonces cost a handful of
reports, and no caller can exhaust the device.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from attestation.formats.merkle import inclusion_paths, leaf_hash
from attestation.formats.statement import build_statement
from enclave.errors import QuoteFailed, QuotesBusy
from enclave.tee import Tee

MAX_WAITING = 20_000
"""Statements that may wait or be under way at once; more are refused at the door."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A report, and where `statement` stands in the tree of `size` leaves whose root is its 64 bytes."""

    statement: bytes
    index: int
    size: int
    path: tuple[bytes, ...]
    report: bytes


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    statement: bytes
    answer: asyncio.Future[Quote]


class QuoteQueue:
    """Belongs to one event loop. One report at a time, in a thread, at least `interval_seconds` apart.

    `clock` is monotonic seconds; `pause` waits for so many of them (given together in tests).
    """

    def __init__(
        self,
        tee: Tee,
        *,
        interval_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tee = tee
        self._interval = interval_seconds
        self._clock = clock
        self._pause = pause
        self._not_before = float("-inf")
        self._waiting: list[_Waiting] = []
        self._under_way = 0
        self._worker: asyncio.Task[None] | None = None

    async def quote(self, purpose: str, nonce: bytes | None, manifest_sha384: bytes) -> Quote:
        """Return fresh evidence for this statement.

        Raises QuotesBusy when too many wait, QuoteFailed if the device failed this batch: retry either.
        """
        if len(self._waiting) + self._under_way >= MAX_WAITING:
            raise QuotesBusy("too many quotes are waiting", hint="retry in a few seconds")
        statement = build_statement(purpose, nonce, manifest_sha384)
        waiting = _Waiting(statement, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await waiting.answer

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._pause_until_allowed()
                batch = [waiting for waiting in self._waiting if not waiting.answer.done()]
                self._waiting = []
                if batch:
                    await self._answer(batch)
        finally:
            self._worker = None
            _abandon(self._waiting)

    async def _pause_until_allowed(self) -> None:
        delay = self._not_before - self._clock()
        if delay > 0:
            await self._pause(delay)

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        """Ask the device once for the whole batch. Whatever goes wrong is told to this batch only."""
        self._under_way = len(batch)
        try:
            quotes = await asyncio.to_thread(_quote_all, self._tee, [waiting.statement for waiting in batch])
            for waiting, quote in zip(batch, quotes, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(quote)
        except Exception as reason:  # noqa: BLE001 - a device may raise anything; nobody may wait for ever
            _fail(batch, reason)
        finally:
            _abandon(batch)
            self._under_way = 0
            self._not_before = self._clock() + self._interval


def _fail(batch: Sequence[_Waiting], reason: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            failure = QuoteFailed("the hardware did not answer with a report", hint="retry in a few seconds")
            failure.__cause__ = reason
            waiting.answer.set_exception(failure)


def _abandon(waiting: Sequence[_Waiting]) -> None:
    """Cancel whoever has no answer: only at shutdown is there anybody."""
    for one in waiting:
        one.answer.cancel()


def _quote_all(tee: Tee, statements: Sequence[bytes]) -> list[Quote]:
    """Runs in a thread: blocking and hashing alike stay off the event loop."""
    root, paths = inclusion_paths([leaf_hash(statement) for statement in statements])
    report = tee.report(root)
    return [
        Quote(statement, index, len(statements), path, report)
        for index, (statement, path) in enumerate(zip(statements, paths, strict=True))
    ]
