"""The keeper's side of the socket: one connection per worker, answers as they become true.

A worker that breaks the format loses its own connection and, like any worker that leaves, its holds. Pressure
flows back through the socket: a worker with too many changes under way, or one that doesn't read its answers,
isn't read from.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from functools import partial
from pathlib import Path
from typing import cast

from gateway.keeper import messages as m
from gateway.keeper import wire
from gateway.keeper.outbox import Outbox
from gateway.keeper.service import Keeper
from gateway.ledger import LedgerError, LedgerFailed

MAX_PENDING = 1_024
"""Changes one worker may have under way before the keeper stops reading from it."""
BACKLOG = 256


def bind_keeper_socket(directory: Path) -> socket.socket:
    """Listen at `directory`/keeper.sock; the directory becomes 0700. For the supervisor, before it forks."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    path = directory / "keeper.sock"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


class KeeperServer:
    """Serves one Keeper to any number of workers."""

    def __init__(self, keeper: Keeper, *, max_pending: int = MAX_PENDING) -> None:
        self._keeper = keeper
        self._max_pending = max_pending
        self._workers: set[_Worker] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Accept and answer until cancelled. Raises LedgerFailed when the books fail."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(self._worker, sock=listener)
        try:
            await self._keeper.failed.wait()
            raise LedgerFailed("the books have failed")
        finally:
            server.close()
            for worker in list(self._workers):
                worker.abort()
            await asyncio.sleep(0)

    async def attach(self, connected: socket.socket) -> None:
        """Serve one worker over a connected socket, such as one end of a socketpair."""
        await asyncio.get_running_loop().create_unix_connection(self._worker, sock=connected)

    def _worker(self) -> _Worker:
        return _Worker(self._keeper, self._max_pending, self._workers)


class _Worker(asyncio.Protocol):
    """One worker's connection; itself the owner of that worker's holds."""

    def __init__(self, keeper: Keeper, max_pending: int, register: set[_Worker]) -> None:
        self._keeper = keeper
        self._max_pending = max_pending
        self._register = register
        self._frames = wire.questions()
        self._transport: asyncio.Transport | None = None
        self._pending = 0
        self._stalled = False
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the worker in, if it runs as the same user."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's have the methods, not the base class
        self._outbox = Outbox(self._transport)
        self._register.add(self)
        if _peer_user(transport.get_extra_info("socket")) != os.getuid():
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer every whole question; a malformed frame ends this connection only."""
        try:
            for number, question in self._frames.feed(data):
                self._take(number, question)
        except wire.WireError:
            self.abort()
        self._throttle()

    def _take(self, number: int, question: m.Question) -> None:
        answer = self._keeper.handle(question, self)
        if not isinstance(answer, asyncio.Future):
            self._send(number, answer)
            return
        counted = not isinstance(question, m.Quote)
        self._pending += counted
        answer.add_done_callback(partial(self._later, number, counted))

    def _later(self, number: int, counted: bool, answer: asyncio.Future[m.Answer]) -> None:
        self._pending -= counted
        if not answer.cancelled():
            failure = answer.exception()
            if failure is None:
                self._send(number, answer.result())
            elif not isinstance(failure, LedgerError):
                self.abort()
        self._throttle()

    def _send(self, number: int, answer: m.Answer) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._outbox.put(wire.encode(number, answer))

    def _throttle(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        wanted = self._stalled or self._pending >= self._max_pending
        if wanted and not self._paused:
            self._transport.pause_reading()
        elif self._paused and not wanted:
            self._transport.resume_reading()
        self._paused = wanted

    def pause_writing(self) -> None:
        """The worker doesn't read its answers: take no more questions."""
        self._stalled = True
        self._throttle()

    def resume_writing(self) -> None:
        """It reads again."""
        self._stalled = False
        self._throttle()

    def abort(self) -> None:
        """Cut the connection; `connection_lost` does the rest."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing that this worker reserved remains."""
        self._transport = None
        self._register.discard(self)
        self._keeper.leave(self)


def _peer_user(connection: socket.socket) -> int:
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)
