"""kill -9 of a keeper process under load: what was answered is in the books once, what was never sent isn't.

Each settlement costs a power of two that no other settlement of its model costs, so the sum in a model's one
row tells exactly which settlements it holds, and the row's request count that none is in it twice.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.keeper import messages as m
from gateway.keeper.client import KeeperClient, KeeperGone
from gateway.ledger.sqlcipher import SqlcipherLedger
from tests.gateway.keeper_kit import Tally, digest
from tests.gateway.keeper_process import MODELS

KEY = bytes(range(32))
BITS = 40
REPOSITORY = Path(__file__).parents[2]
WORKERS = 4
TASKS = 12
OPENING = 10**17


@asynccontextmanager
async def keeper_process(directory):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.gateway.keeper_process",
        str(directory),
        stdin=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    process.stdin.write(KEY)
    process.stdin.close()
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def connect(directory):
    async with asyncio.timeout(20):
        while True:
            try:
                client = await KeeperClient.connect(directory / "run" / "keeper.sock")
                await client.ask(m.WhoIs(()))
            except KeeperGone:
                await asyncio.sleep(0.02)
            else:
                return client


async def settle_all(client, todo, tally, enough):
    """One task of a worker: admit and settle until the keeper dies."""
    while todo:
        model, bit = todo.pop()
        try:
            admitted = await client.ask(m.Admit((digest(1),), model, 1, 1 << bit))
            tally.sent.add((model, bit))
            settled = await client.ask(m.Settle(admitted.hold, 1 << bit, model, output_tokens=1))
        except KeeperGone:
            return
        assert settled.charged == 1 << bit
        tally.answered.add((model, bit))
        if len(tally.answered) >= enough:
            return


async def load(directory, todo, tally, enough):
    """Several workers at once; returns when so many are answered, with requests of all of them under way."""
    clients = [await connect(directory) for _ in range(WORKERS)]
    tasks = [
        asyncio.create_task(settle_all(client, todo, tally, enough))
        for client in clients
        for _ in range(TASKS)
    ]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return clients, tasks


def booked(ledger):
    rows = ledger._reader.execute("SELECT model, requests, cost FROM daily_usage").fetchall()
    settled = {(model, bit) for model, _, cost in rows for bit in range(BITS + 8) if cost >> bit & 1}
    return settled, sum(requests for _, requests, _ in rows), sum(cost for _, _, cost in rows)


def check(directory, tally):
    ledger = SqlcipherLedger(directory / "ledger.db", KEY)
    settled, requests, cost = booked(ledger)
    balance = ledger.account("acme").balance
    ledger.close()
    assert tally.answered <= settled, "an answered settlement is missing"
    assert settled <= tally.sent, "something was booked that nobody sent"
    assert requests == len(settled), "a settlement was booked twice"
    assert balance == OPENING - cost
    return len(settled)


@pytest.mark.parametrize("victims", [pytest.param(3, id="three kills of the keeper under load")])
async def test_every_answered_settlement_is_in_the_books_exactly_once_after_kill_9(tmp_path, victims):
    tally = Tally()
    todo = [(model, bit) for bit in range(BITS) for model in MODELS]
    for round_number in range(victims):
        async with keeper_process(tmp_path) as process:
            first = await connect(tmp_path)
            if round_number == 0:
                assert await first.ask(m.CreateAccount("acme", "Acme", OPENING, 10**9)) == m.Done(OPENING)
                assert await first.ask(m.CreateKey("acme", "main", digest(1))) == m.Done(OPENING)
            clients, tasks = await load(tmp_path, todo, tally, 300 * (round_number + 1))
            process.kill()
            assert await process.wait() == -signal.SIGKILL
            await asyncio.gather(*tasks)
            assert all(client.gone.is_set() for client in clients)
        assert check(tmp_path, tally) >= 300 * (round_number + 1)
    assert len(tally.sent) > len(tally.answered), "nothing was under way when the keeper died"


async def test_kill_9_of_a_worker_releases_its_holds_and_the_keeper_serves_on(tmp_path):
    script = (
        "import asyncio, sys\n"
        "from gateway.keeper import messages as m\n"
        "from gateway.keeper.client import KeeperClient\n"
        "async def main():\n"
        "    client = await KeeperClient.connect(sys.argv[1])\n"
        "    key = bytes([1]) + (1).to_bytes(32, 'big')\n"
        "    print((await client.ask(m.Admit((key,), 'model-0', 1, 700))).granted, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    async with keeper_process(tmp_path):
        client = await connect(tmp_path)
        await client.ask(m.CreateAccount("acme", "Acme", 1_000, 10**9))
        await client.ask(m.CreateKey("acme", "main", digest(1)))
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            script,
            tmp_path / "run" / "keeper.sock",
            stdout=asyncio.subprocess.PIPE,
            cwd=REPOSITORY,
        )
        assert await worker.stdout.readline() == b"700\n"
        assert (await client.ask(m.WhoIs((digest(1),)))).balance == 300
        worker.kill()
        await worker.wait()
        async with asyncio.timeout(5):
            while (await client.ask(m.WhoIs((digest(1),)))).balance != 1_000:
                await asyncio.sleep(0)
        await client.close()


async def test_a_keeper_that_cannot_open_the_books_ends_at_once(tmp_path):
    SqlcipherLedger(tmp_path / "ledger.db", bytes(32)).close()
    async with keeper_process(tmp_path) as process:
        async with asyncio.timeout(20):
            assert await process.wait() == 1
