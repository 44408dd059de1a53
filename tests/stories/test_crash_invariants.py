"""Money under `kill -9` and in a hurry (DESIGN section 3.3): both sides are counted, no gateway is asked.

The provider says what each request cost, the clients what they received whole, and the books are opened after
the fact. Each request has an API key of its own, so the books show what became of it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.counting_provider import GREEDY, GREEDY_TOKENS, LONG, PACED
from tests.stories.load import MAX_TOKENS, Call, Load, calls
from tests.stories.machine import (
    CHAT,
    Account,
    Machine,
    Provider,
    machine,
    provider_process,
    true_cost,
    until,
    worst_case,
)

WORKERS = 2
DOLLAR = 1_000_000_000


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with provider_process() as running:
        yield running


@pytest.fixture
async def gateway(provider: Provider, tmp_path: Path) -> AsyncIterator[Machine]:
    async with machine(tmp_path / "state", provider, (PACED, LONG, GREEDY), workers=WORKERS) as running:
        yield running


# --- kill -9 ------------------------------------------------------------------------------------------------


async def test_every_response_received_whole_is_billed_once_and_no_other_above_its_cost_whatever_is_killed(
    gateway: Machine, provider: Provider
) -> None:
    accounts = [await gateway.account(name, DOLLAR, keys=400) for name in ("north", "south", "east")]
    load = Load(gateway, calls(accounts))
    under_load = asyncio.create_task(load.run())
    await kill_the_keeper(gateway, load)
    await kill_the_keeper_while_settlements_wait(gateway, load, provider)
    # Workers last: what a dead worker's holds leave behind would not outlive a keeper.
    await kill_workers(gateway, load, rounds=4)
    await kill_a_worker_while_its_settlements_wait(gateway, load, provider)
    await load.more(20)
    load.stopping = True
    await under_load

    for account in accounts:
        await no_hold_is_left(gateway, account)
    gateway.child.stop(20)
    books, produced = gateway.books(), await provider.produced()
    interrupted = [call for call in load.made if call.test_id in produced and not call.whole]
    assert len(interrupted) >= 20, "the kills hit next to nobody: this run shows nothing"
    for account in accounts:
        check_one_by_one(account, load.made, produced, books)
        check_the_sums(account, load.made, produced, books)


async def kill_workers(gateway: Machine, load: Load, rounds: int) -> None:
    """At a moment that nobody chose, one of the workers."""
    for _ in range(rounds):
        await load.more(random.randint(3, 20))
        await gateway.kill("worker", random.choice(gateway.living("worker")))
        await gateway.recover(WORKERS)


async def kill_a_worker_while_its_settlements_wait(gateway: Machine, load: Load, provider: Provider) -> None:
    """The keeper stands still; answers end at the provider; a worker dies; the keeper goes on.

    Nobody is admitted meanwhile, so only what was on its way can end: how much that is, is luck.
    """
    await load.more(5)
    [keeper] = gateway.living("keeper")
    ended = await provider.finished()
    os.kill(keeper, signal.SIGSTOP)
    try:
        with contextlib.suppress(TimeoutError):
            await provider.wait("finished", ended + 4, seconds=2.0)
        await gateway.kill("worker", random.choice(gateway.living("worker")))
    finally:
        os.kill(keeper, signal.SIGCONT)
    await gateway.recover(WORKERS)


async def kill_the_keeper(gateway: Machine, load: Load) -> None:
    """Everything ends and starts anew."""
    await load.more(random.randint(3, 20))
    await gateway.kill("keeper", *gateway.living("keeper"))
    await gateway.recover(WORKERS)


async def kill_the_keeper_while_settlements_wait(gateway: Machine, load: Load, provider: Provider) -> None:
    """The disk takes nothing, answers end at the provider, the keeper dies: nobody got them whole."""
    await load.more(5)
    with contextlib.closing(gateway.open_books()) as disk:
        disk.execute("BEGIN IMMEDIATE")
        await provider.wait("finished", 6 + await provider.finished())
        await gateway.kill("keeper", *gateway.living("keeper"))
        disk.execute("ROLLBACK")
    await gateway.recover(WORKERS)


async def no_hold_is_left(gateway: Machine, account: Account) -> None:
    """What may be spent is what was paid in less what was booked: holds of the dead are not kept."""
    key = next(iter(account.keys.values()))
    seen: dict[str, Any] = {}
    for _ in range(200):
        seen = await gateway.usage(key)
        if nano(seen["balance"]["remaining_credits"]) == account.credit - nano(seen["month"]["cost"]):
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"money stays reserved although nobody asks any more: {seen['balance']}, {seen['month']}")


def check_one_by_one(
    account: Account, made: list[Call], produced: Mapping[str, Mapping[str, Any]], books: Any
) -> None:
    billed = account.billed(books)
    for call in made:
        if call.account is not account:
            continue
        found, cost = billed.get(call.key), produced.get(call.test_id)
        if cost is None:
            assert found is None, f"{call}: billed although it never reached the provider"
            assert not call.whole
            continue
        assert cost["times"] == 1, f"{call}: sent to the provider more than once"
        if call.whole:
            assert cost["finished"], call
            assert found is not None, f"{call}: received whole and not billed"
            assert (found.requests, found.cost) == (1, true_cost(cost)), call
        elif found is not None:
            assert found.requests == 1, f"{call}: billed more than once"
            assert 0 < found.cost <= true_cost(cost), call


def check_the_sums(
    account: Account, made: list[Call], produced: Mapping[str, Mapping[str, Any]], books: Any
) -> None:
    """Received in full <= books <= produced, in money and in requests; the balance is what remains."""
    ours = [call for call in made if call.account is account]
    whole = [true_cost(produced[call.test_id]) for call in ours if call.whole]
    worth = [true_cost(produced[call.test_id]) for call in ours if call.test_id in produced]
    billed = account.billed(books).values()
    cost, requests = sum(one.cost for one in billed), sum(one.requests for one in billed)
    assert len(whole) >= 20
    assert sum(whole) <= cost <= sum(worth)
    assert len(whole) <= requests <= len(worth)
    assert account.balance(books) == account.credit - cost >= 0
    assert all(one.operator_loss == 0 for one in billed)


def nano(dollars: float) -> int:
    return round(dollars * 1e9)


# --- haste --------------------------------------------------------------------------------------------------


async def test_however_many_ask_at_once_a_balance_never_falls_below_zero_and_pays_for_all_that_was_served(
    gateway: Machine, provider: Provider
) -> None:
    body = len(json.dumps(Call(1, Account("acct_0123456789abcdef", 0, {}), "small-0", True).body()).encode())
    small = await gateway.account("small", 7 * worst_case(bytes(body), MAX_TOKENS), keys=90)
    keeper = gateway.living("keeper")
    made = list(calls([small]))
    async with gateway.session() as session:
        for start in range(0, len(made), 45):
            await asyncio.gather(*(call.send(session) for call in made[start : start + 45]))
    await no_hold_is_left(gateway, small)

    books, produced = gateway.books(), await provider.produced()
    served = [call for call in made if call.whole]
    assert {call.status for call in made} == {200, 402}
    assert len(served) >= 7
    assert all(call.test_id not in produced for call in made if call.status == 402)
    check_one_by_one(small, made, produced, books)
    cost = sum(true_cost(produced[call.test_id]) for call in served)
    assert cost == sum(one.cost for one in small.billed(books).values())
    assert small.balance(books) == small.credit - cost >= 0
    assert gateway.living("keeper") == keeper, "the books refused a charge"


async def test_a_provider_that_charges_beyond_hold_and_balance_is_the_operators_loss_and_not_a_debt(
    gateway: Machine, provider: Provider
) -> None:
    poor = await gateway.account("poor", DOLLAR // 200, keys=24)
    made = list(calls([poor]))
    async with gateway.session() as session:
        await asyncio.gather(*(call.send(session, GREEDY) for call in made))

    books, produced = gateway.books(), await provider.produced()
    billed = poor.billed(books)
    served = [call for call in made if call.whole]
    claimed = true_cost({"input": GREEDY_TOKENS, "output": GREEDY_TOKENS})
    for call in served:
        one = billed[call.key]
        assert one.requests == 1
        assert true_cost(produced[call.test_id]) <= one.cost + one.operator_loss <= claimed
    paid, lost = sum(one.cost for one in billed.values()), sum(one.operator_loss for one in billed.values())
    assert len(served) > 5
    assert lost > 0
    assert poor.balance(books) == poor.credit - paid >= 0


# --- leaving early ------------------------------------------------------------------------------------------


async def test_leaving_before_the_end_costs_something_and_never_more_than_was_produced(
    gateway: Machine, provider: Provider
) -> None:
    hasty = await gateway.account("hasty", DOLLAR, keys=12)
    made = list(calls([hasty]))
    await asyncio.gather(*(leave_early(gateway, provider, call) for call in made))
    await no_hold_is_left(gateway, hasty)
    await until(lambda: len(hasty.billed(gateway.books())) == len(made), "every early leaver's bill", 5)

    billed, produced = hasty.billed(gateway.books()), await provider.produced()
    for call in made:
        cost, one = produced[call.test_id], billed[call.key]
        assert not cost["finished"], "the provider went on although nobody listened"
        assert one.requests == 1
        assert 0 < one.cost <= true_cost(cost)
    assert hasty.balance(gateway.books()) == hasty.credit - sum(one.cost for one in billed.values())


async def leave_early(gateway: Machine, provider: Provider, call: Call) -> None:
    """Close the connection after some words: those read, or for an answer in one piece those produced."""
    async with gateway.session() as session:
        asked = asyncio.create_task(
            session.post(
                CHAT, json=call.body(LONG) | {"max_tokens": 4_096}, headers=call.headers()
            ).__aenter__()
        )
        if call.streamed:
            response = await asked
            for _ in range(6):
                assert await response.content.readuntil(b"\n\n")
            response.close()
        else:
            while (await provider.produced()).get(call.test_id, {"output": 0})["output"] < 6:
                await asyncio.sleep(0.02)
            asked.cancel()
