"""A hop on the keeper's own socket path that records both directions, byte for byte.

No seam of the product is used: the socket is renamed, the hop listens under its name, and workers that start
from then on connect to it. They notice nothing, and neither does the keeper, since it runs as the same user.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

CHUNK = 65_536


@asynccontextmanager
async def keeper_tap(directory: Path) -> AsyncIterator[bytearray]:
    """Record until the end of the block; `directory` holds `keeper.sock`. Workers must be started anew."""
    recorded = bytearray()
    carrying: set[asyncio.Task[None]] = set()
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    short = Path(f"/proc/self/fd/{fd}")  # a socket's path has at most 107 bytes
    (short / "keeper.sock").rename(short / "behind.sock")

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(short / "behind.sock"))
        for pump in (_pump(reader, inner_writer, recorded), _pump(inner_reader, writer, recorded)):
            task = asyncio.create_task(pump)
            carrying.add(task)
            task.add_done_callback(carrying.discard)

    server = await asyncio.start_unix_server(carry, str(short / "keeper.sock"))
    try:
        yield recorded
    finally:
        server.close()
        for task in list(carrying):
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        os.close(fd)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, recorded: bytearray) -> None:
    try:
        while data := await reader.read(CHUNK):
            recorded += data
            writer.write(data)
            await writer.drain()
    except OSError:
        return  # one of them was killed: the other is to notice
    finally:
        writer.close()
