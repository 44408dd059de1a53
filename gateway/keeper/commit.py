"""Group commit: one writer thread makes durable, in one transaction, whatever has queued up meanwhile."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from gateway.ledger import Change, Ledger, LedgerError, LedgerFailed, Outcome

MAX_BATCH = 4_096
"""Changes in one transaction, so that no commit holds the others up for long."""

_Waiting = tuple[Change, "asyncio.Future[Outcome]"]


class Committer:
    """Belongs to one event loop; owns the only thread that writes. A failed transaction ends it for good."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._queue: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._failure: LedgerError | None = None
        self.failed = asyncio.Event()

    def submit(self, change: Change) -> asyncio.Future[Outcome]:
        """Queue a change; the future ends when it is durable, or with LedgerFailed."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            future.set_exception(self._failure)
            return future
        self._queue.append((change, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        return future

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue and self._failure is None:
                batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                await self._commit(loop, batch)
        finally:
            self._task = None

    async def _commit(self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting]) -> None:
        try:
            outcomes = await loop.run_in_executor(self._thread, self._ledger.apply, [one for one, _ in batch])
        except LedgerError as error:
            self._fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may believe it was booked
            self._fail(batch, LedgerFailed(f"the ledger failed ({type(error).__name__})"))
        else:
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)

    def _fail(self, batch: list[_Waiting], failure: LedgerError) -> None:
        self._failure = failure
        lost, self._queue = batch + self._queue, []
        for _, future in lost:
            if not future.done():
                future.set_exception(failure)
        self.failed.set()

    async def close(self) -> None:
        """Let what was queued become durable, then end the thread."""
        while self._task is not None:
            await asyncio.wait([self._task])
        self._thread.shutdown()
