"""The keeper without a socket: state, group commit and quotes behind one method."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection
from typing import Protocol

from enclave.errors import EnclaveError
from gateway.keeper import messages as m
from gateway.keeper.clock import Clock
from gateway.keeper.commit import Committer
from gateway.keeper.replay import ReplayMemory
from gateway.keeper.state import KeeperState, Owner, Pending
from gateway.ledger import Ledger, Outcome

MAX_QUOTES = 5_000
"""Quotes one worker may have waiting; more are refused at once, so that they never hold up money."""
QUOTE_RETRY_SECONDS = 1.0


class BoundQuote(Protocol):
    """What the quote queue gives back (enclave.quotes.Quote)."""

    @property
    def statement(self) -> bytes: ...
    @property
    def index(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def path(self) -> tuple[bytes, ...]: ...
    @property
    def report(self) -> bytes: ...


class Quotes(Protocol):
    """The one queue before the device (enclave.quotes.QuoteQueue)."""

    async def quote(self, purpose: str, nonce: bytes | None, manifest_sha384: bytes) -> BoundQuote:
        """Fresh evidence; raises EnclaveError when busy or failed."""


class Keeper:
    """Answers every question, at once or by a future. Must be made inside the event loop it serves."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        models: Collection[str],
        quotes: Quotes,
        clock: Clock,
        crowded: Callable[[], None],
        cache_entries: int = 10_000,
    ) -> None:
        """`crowded` is called when a sealing key has been used so often that new keys are due."""
        self.state = KeeperState(
            ledger,
            models=models,
            replays=ReplayMemory(crowded),
            first_hold=1 + secrets.randbits(61),
            cache_entries=cache_entries,
        )
        self._ledger = ledger
        self._clock = clock
        self._quotes = quotes
        self._committer = Committer(ledger)
        self._quoting: dict[Owner, set[asyncio.Task[m.Answer]]] = {}

    @property
    def failed(self) -> asyncio.Event:
        """Set when a transaction did not become durable: stop everything, memory is ahead of the books."""
        return self._committer.failed

    def handle(self, question: m.Question, owner: Owner) -> m.Answer | asyncio.Future[m.Answer]:
        """Answer at once where nothing has to be durable. The future may raise LedgerFailed."""
        if isinstance(question, m.Quote):
            return self._quote(question, owner)
        decided = self.state.decide(question, owner, self._clock())
        return self._commit(decided) if isinstance(decided, Pending) else decided

    def _commit(self, pending: Pending) -> asyncio.Future[m.Answer]:
        answer: asyncio.Future[m.Answer] = asyncio.get_running_loop().create_future()

        def conclude(durable: asyncio.Future[Outcome]) -> None:
            failure = durable.exception()
            reply = None if failure else self.state.conclude(pending, durable.result())
            if answer.done():
                return
            if reply is None:
                answer.set_exception(failure or RuntimeError("no outcome"))
            else:
                answer.set_result(reply)

        self._committer.submit(pending.change).add_done_callback(conclude)
        return answer

    def _quote(self, question: m.Quote, owner: Owner) -> m.Answer | asyncio.Future[m.Answer]:
        tasks = self._quoting.setdefault(owner, set())
        if len(tasks) >= MAX_QUOTES:
            return m.Refused("unavailable", retry_after=QUOTE_RETRY_SECONDS)
        task = asyncio.create_task(self._bind(question))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    async def _bind(self, question: m.Quote) -> m.Answer:
        try:
            bound = await self._quotes.quote("attestation", question.nonce, question.manifest_sha384)
        except EnclaveError:
            return m.Refused("unavailable", retry_after=QUOTE_RETRY_SECONDS)
        return m.Quoted(bound.statement, bound.index, bound.size, bound.path, bound.report)

    def leave(self, owner: Owner) -> int:
        """A worker is gone: release its holds, forget its quotes. Its settlements under way still count."""
        for task in self._quoting.pop(owner, set()):
            task.cancel()
        return self.state.release(owner)

    async def close(self) -> None:
        """Make everything queued durable and close the books."""
        for owner in list(self._quoting):
            self.leave(owner)
        await self._committer.close()
        self._ledger.close()
