"""The keeper in the worker's own process: tests, development and `workers = 0` run the very same code."""

from __future__ import annotations

import asyncio

from gateway.keeper import messages as m
from gateway.keeper import wire
from gateway.keeper.errors import KeeperGone
from gateway.keeper.service import Keeper
from gateway.ledger import LedgerError

MAX_PENDING = 4_096
"""Questions under way at once; the next one waits."""


class LocalKeeper:
    """Asks as a KeeperClient does. Each question passes the wire format, so the same bounds hold."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._slots = asyncio.Semaphore(MAX_PENDING)
        self._closed = False

    async def ask(self, question: m.Question) -> m.Answer:
        """Answer. Raises KeeperGone once the books failed or are closed, WireError for an unfit question."""
        frames = list(wire.questions().feed(wire.encode(0, question)))
        async with self._slots:
            if self._closed or self._keeper.failed.is_set():
                raise KeeperGone("the keeper is closed")
            answer = self._keeper.handle(frames[0][1], self)
            if not isinstance(answer, asyncio.Future):
                return answer
            try:
                return await answer
            except LedgerError as error:
                raise KeeperGone("the books have failed") from error

    async def close(self) -> None:
        """Release every hold, make everything queued durable, close the books."""
        if not self._closed:
            self._closed = True
            self._keeper.leave(self)
            await self._keeper.close()
