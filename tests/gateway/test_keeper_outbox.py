"""What waits for the end of a turn of the loop before it goes to the other process."""

from __future__ import annotations

import asyncio

from gateway.keeper.outbox import Outbox


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.ended = False

    def is_closing(self) -> bool:
        return self.ended

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))


async def test_frames_of_one_turn_leave_in_one_write_in_their_order() -> None:
    wire = Wire()
    outbox = Outbox(wire)
    for frame in (b"one", b"two", b"three"):
        outbox.put(frame)
    assert wire.writes == []
    await asyncio.sleep(0)
    outbox.put(b"four")
    await asyncio.sleep(0)
    assert wire.writes == [b"onetwothree", b"four"]


async def test_nothing_is_written_to_a_connection_that_ended_meanwhile() -> None:
    wire = Wire()
    Outbox(wire).put(b"late")
    wire.ended = True
    await asyncio.sleep(0)
    assert wire.writes == []
