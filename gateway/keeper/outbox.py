"""Frames of one turn of the event loop leave in one write: every write wakes the process at the other end."""

from __future__ import annotations

import asyncio


class Outbox:
    """Belongs to one connection. What it holds when that is cut is dropped, as in the socket."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []

    def put(self, frame: bytes) -> None:
        """Send in this turn of the loop, after whatever else runs in it."""
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(frame)

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(frames))
