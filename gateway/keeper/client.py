"""A worker's side of the socket: many questions under way, answers matched by number."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import cast

from gateway.keeper import messages as m
from gateway.keeper import wire
from gateway.keeper.errors import KeeperGone
from gateway.keeper.outbox import Outbox

__all__ = ["KeeperClient", "KeeperGone"]


class KeeperClient:
    """One connection to the keeper; its end releases every hold taken through it."""

    def __init__(self, line: _Line) -> None:
        self._line = line

    @classmethod
    async def connect(cls, address: Path | str | socket.socket) -> KeeperClient:
        """Connect to the keeper's socket by path, or an inherited connected one. Raises KeeperGone."""
        loop = asyncio.get_running_loop()
        try:
            if isinstance(address, socket.socket):
                _, line = await loop.create_unix_connection(_Line, sock=address)
            else:
                _, line = await loop.create_unix_connection(_Line, str(address))
        except OSError as error:
            raise KeeperGone("no keeper answers at its socket") from error
        return cls(line)

    async def ask(self, question: m.Question) -> m.Answer:
        """Ask and wait. Raises KeeperGone when the connection ends first, WireError for an unfit question.

        A question that was sent counts, even if its asker is cancelled; money granted to a cancelled asker is
        given back at once.
        """
        line = self._line
        await line.writable.wait()
        answer = line.send(question)
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                line.give_back(answer.result())
            raise

    @property
    def gone(self) -> asyncio.Event:
        """Set once the connection has ended: a worker stops then."""
        return self._line.gone

    async def close(self) -> None:
        """End the connection; the keeper releases what is still held."""
        self._line.close()
        await self._line.gone.wait()


class _Line(asyncio.Protocol):
    """The connection itself: numbers questions, matches answers, and knows when it is over."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.writable = asyncio.Event()
        self._frames = wire.answers()
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, asyncio.Future[m.Answer]] = {}
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to ask."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's have the methods, not the base class
        self._outbox = Outbox(self._transport)
        self.writable.set()

    def send(self, question: m.Question) -> asyncio.Future[m.Answer]:
        """Send now; the future is the answer to come."""
        if self._transport is None or self._transport.is_closing():
            raise KeeperGone("the keeper is gone")
        self._number += 1
        frame = wire.encode(self._number, question)
        answer: asyncio.Future[m.Answer] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = answer
        self._outbox.put(frame)
        return answer

    def give_back(self, answer: m.Answer) -> None:
        """Release a hold that nobody waits for any more."""
        if (
            isinstance(answer, m.Admitted)
            and self._transport is not None
            and not self._transport.is_closing()
        ):
            released = self.send(m.Settle(answer.hold, 0, "-", complete=False))
            released.add_done_callback(lambda one: one.cancelled() or one.exception())

    def data_received(self, data: bytes) -> None:
        """Hand each answer to its asker."""
        try:
            for number, answer in self._frames.feed(data):
                self._hand_over(number, answer)
        except wire.WireError:
            self.close()

    def _hand_over(self, number: int, answer: m.Answer) -> None:
        asker = self._waiting.pop(number, None)
        if asker is None or asker.cancelled():
            self.give_back(answer)
        else:
            asker.set_result(answer)

    def pause_writing(self) -> None:
        """The keeper doesn't read: new questions wait."""
        self.writable.clear()

    def resume_writing(self) -> None:
        """It reads again."""
        self.writable.set()

    def close(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody waits for ever."""
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for asker in waiting.values():
            if not asker.done():
                asker.set_exception(KeeperGone("the keeper is gone"))
        self.writable.set()
        self.gone.set()
