"""Group commit, counted by SQLite itself."""

from __future__ import annotations

import asyncio

from gateway.keeper import messages as m
from gateway.keeper.local import LocalKeeper
from gateway.ledger.sqlcipher import SqlcipherLedger
from tests.gateway.keeper_kit import admit, keeper, stocked


async def test_sqlite_itself_sees_few_commits_for_64_settlements_and_64_for_64_in_turn(tmp_path):
    books = SqlcipherLedger(tmp_path / "ledger.db", bytes(32))
    stocked(books)
    asker = LocalKeeper(keeper(books))

    async def settle():
        return await asker.ask(m.Settle((await asker.ask(admit())).hold, 1, "small"))

    before = commits(tmp_path)
    await asyncio.gather(*(settle() for _ in range(64)))
    together = commits(tmp_path) - before
    for _ in range(64):
        await settle()
    in_turn = commits(tmp_path) - before - together
    assert books.account("acme").balance == 1_000_000 - 128
    await asker.close()
    assert 1 <= together <= 3
    assert in_turn == 64


def commits(directory):
    """Commit frames in the write-ahead log: those whose header gives the database's size after a commit."""
    log = (directory / "ledger.db-wal").read_bytes()
    headers = range(32, len(log), 24 + 4096)
    return sum(int.from_bytes(log[start + 4 : start + 8], "big") > 0 for start in headers)
