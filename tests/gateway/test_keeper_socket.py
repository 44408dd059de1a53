"""Workers and keeper over real sockets, and the keeper in one process: the same answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat

import pytest

from enclave.errors import EnclaveError
from gateway.keeper import messages as m
from gateway.keeper import wire
from gateway.keeper.client import KeeperClient, KeeperGone
from gateway.keeper.commit import Committer
from gateway.keeper.local import LocalKeeper
from gateway.keeper.server import KeeperServer, bind_keeper_socket
from gateway.keeper.service import MAX_QUOTES
from gateway.ledger import Charge, LedgerFailed
from gateway.ledger.memory import MemoryLedger
from tests.gateway.keeper_kit import DAY, FakeQuote, Gate, admit, digest, keeper, stocked, until


@pytest.fixture
def ledger():
    gate = Gate()
    stocked(gate, balance=1_000_000)
    gate.batches.clear()
    gate.entered.clear()
    return gate


@pytest.fixture
async def serving(ledger, tmp_path):
    """A keeper behind its socket; gives (keeper, connect)."""
    served = keeper(ledger)
    listener = bind_keeper_socket(tmp_path / "run")
    task = asyncio.create_task(KeeperServer(served, max_pending=8).serve(listener))
    clients = []

    async def connect():
        clients.append(await KeeperClient.connect(tmp_path / "run" / "keeper.sock"))
        return clients[-1]

    yield served, connect
    ledger.open.set()
    for client in clients:
        await client.close()
    task.cancel()
    await asyncio.wait([task])
    await served.close()


async def raw_connection(tmp_path):
    return await asyncio.open_unix_connection(str(tmp_path / "run" / "keeper.sock"))


async def test_many_questions_under_way_each_get_their_own_answer(serving):
    _, connect = serving
    client = await connect()
    holds = await asyncio.gather(*(client.ask(admit(high=n)) for n in range(1, 40)))
    assert [hold.granted for hold in holds] == list(range(1, 40))
    settled = await asyncio.gather(*(client.ask(m.Settle(h.hold, h.granted, "small")) for h in holds))
    assert [one.charged for one in settled] == list(range(1, 40))


@pytest.mark.parametrize("local", [True, False])
async def test_local_and_remote_keepers_tell_one_story(ledger, tmp_path, local):
    served = keeper(ledger)
    ours, theirs = socket.socketpair()
    if local:
        asker = LocalKeeper(served)
        ours.close()
        theirs.close()
    else:
        await KeeperServer(served).attach(ours)
        asker = await KeeperClient.connect(theirs)
    admitted = await asker.ask(admit(high=50))
    assert (admitted.granted, admitted.key_name) == (50, "main")
    assert await asker.ask(m.Settle(admitted.hold, 20, "small")) == m.Settled(20, 999_980)
    assert await asker.ask(m.WhoIs((digest(1),))) == m.Caller("acme", "main", 999_980)
    assert await asker.ask(m.Credit("acme", 20, "r")) == m.Done(1_000_000)
    assert (await asker.ask(m.AskUsage((digest(1),)))).month_cost == 20
    quoted = await asker.ask(m.Quote(bytes(32), bytes(48)))
    assert quoted.statement == b"attestation" + bytes(80)
    fresh = [await asker.ask(m.Remember(bytes(32), b"k")) for _ in range(2)]
    assert fresh == [m.Remembered("never"), m.Remembered("before")]
    assert await asker.ask(m.CreateAccount("b", "B", 1, 1)) == m.Done(1)
    assert await asker.ask(m.CreateKey("b", "k", digest(2))) == m.Done(1)
    assert await asker.ask(m.RevokeKey("b", "k")) == m.Done(1)
    await asker.close()
    if not local:
        await until(lambda: served.state.holds == 0)
        await served.close()
    with pytest.raises(KeeperGone):
        await asker.ask(m.WhoIs(()))


async def test_a_settlement_is_answered_only_after_it_is_durable(serving, ledger):
    _, connect = serving
    client = await connect()
    hold = (await client.ask(admit())).hold
    ledger.open.clear()
    settling = asyncio.create_task(client.ask(m.Settle(hold, 30, "small")))
    await asyncio.to_thread(ledger.entered.wait, 5)
    assert isinstance(await client.ask(admit()), m.Admitted), "admission must not wait for the disk"
    assert not settling.done()
    assert ledger.account("acme").balance == 1_000_000
    ledger.open.set()
    assert await settling == m.Settled(30, 1_000_000 - 30 - 100)
    assert ledger.account("acme").balance == 999_970


async def test_what_queues_up_during_a_commit_becomes_one_transaction(serving, ledger):
    served, connect = serving
    clients = [await connect() for _ in range(16)]
    holds = [(client, (await client.ask(admit())).hold) for client in clients for _ in range(4)]
    ledger.open.clear()
    settling = [asyncio.create_task(client.ask(m.Settle(hold, 1, "small"))) for client, hold in holds]
    await until(lambda: served.state.holds == 0)
    ledger.open.set()
    await asyncio.gather(*settling)
    assert sum(ledger.batches) == 64
    assert len(ledger.batches) <= 3


async def test_a_worker_that_disconnects_leaves_no_hold_behind(serving):
    served, connect = serving
    one, two = await connect(), await connect()
    for _ in range(5):
        await one.ask(admit())
    kept = await two.ask(admit())
    await one.close()
    await until(lambda: served.state.holds == 1)
    assert await two.ask(m.Settle(kept.hold, 1, "small")) == m.Settled(1, 999_999)


async def test_a_settlement_sent_before_the_worker_died_is_booked_once(serving, ledger):
    _, connect = serving
    client = await connect()
    hold = (await client.ask(admit())).hold
    ledger.open.clear()
    settling = asyncio.create_task(client.ask(m.Settle(hold, 30, "small")))
    await asyncio.to_thread(ledger.entered.wait, 5)
    await client.close()
    with pytest.raises(KeeperGone):
        await settling
    ledger.open.set()
    await until(lambda: ledger.batches == [1])
    other = await connect()
    assert await other.ask(m.WhoIs((digest(1),))) == m.Caller("acme", "main", 999_970)


@pytest.mark.parametrize(
    "junk", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", (70_000).to_bytes(4, "big") + bytes(70_000)]
)
async def test_a_malformed_frame_ends_that_connection_only_and_releases_its_holds(serving, tmp_path, junk):
    served, connect = serving
    good = await connect()
    await good.ask(admit())
    reader, writer = await raw_connection(tmp_path)
    writer.write(wire.encode(1, admit()))
    assert await reader.readexactly(4)
    assert served.state.holds == 2
    writer.write(junk)
    await until(lambda: served.state.holds == 1)
    while await reader.read(1000):
        pass
    writer.close()
    assert isinstance(await good.ask(admit()), m.Admitted)


async def test_questions_before_a_malformed_frame_are_still_answered_for_good(serving, tmp_path, ledger):
    reader, writer = await raw_connection(tmp_path)
    writer.write(wire.encode(1, m.Credit("acme", 5, "r")) + b"\xff\xff\xff\xff")
    assert await reader.read() == b""
    await until(lambda: ledger.account("acme").balance == 1_000_005)
    writer.close()


async def test_a_worker_with_too_much_under_way_is_not_read_from_until_it_is_done(serving, ledger, tmp_path):
    served, _ = serving
    reader, writer = await raw_connection(tmp_path)
    ledger.open.clear()
    total = 20_000
    for number in range(total):
        writer.write(wire.encode(number, m.Credit("acme", 1, f"r{number}")))
    await asyncio.to_thread(ledger.entered.wait, 5)
    for _ in range(200):
        await asyncio.sleep(0)
    queued = len(served._committer._queue)
    assert queued < total / 2
    ledger.open.set()
    answers, received = wire.answers(), 0
    while received < total:
        received += len(list(answers.feed(await reader.read(65_536))))
    assert ledger.account("acme").balance == 1_000_000 + total
    writer.close()


async def test_a_worker_that_never_reads_its_answers_does_not_fill_the_keepers_memory(ledger):
    served = keeper(ledger)
    server = KeeperServer(served)
    ours, theirs = socket.socketpair()
    await server.attach(ours)
    (worker,) = server._workers
    theirs.setblocking(False)
    frame = wire.encode(1, m.WhoIs((digest(1),))) * 1_000
    for _ in range(1_000):
        with contextlib.suppress(BlockingIOError):
            theirs.send(frame)
        await asyncio.sleep(0)
    assert worker._stalled
    assert worker._transport.get_write_buffer_size() < 1_000_000
    theirs.close()
    await until(lambda: not server._workers)
    await served.close()


async def test_money_granted_to_an_asker_that_was_cancelled_is_given_back(serving):
    served, connect = serving
    client = await connect()
    asking = asyncio.create_task(client.ask(admit()))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert isinstance(await client.ask(m.WhoIs((digest(1),))), m.Caller)
    await until(lambda: served.state.holds == 0)


async def test_money_is_given_back_even_if_the_answer_and_the_cancellation_meet(serving):
    served, connect = serving
    client = await connect()
    line, answers = client._line, []
    send = line.send

    def cancel_as_the_answer_comes(question):
        answers.append(send(question))
        answers[-1].add_done_callback(lambda _: asking.cancel())
        return answers[-1]

    line.send = cancel_as_the_answer_comes
    asking = asyncio.create_task(client.ask(admit()))
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert isinstance(answers[0].result(), m.Admitted)
    await until(lambda: served.state.holds == 0)


async def test_when_the_keeper_dies_nobody_waits_for_ever(serving, ledger):
    _, connect = serving
    client = await connect()
    hold = (await client.ask(admit())).hold
    ledger.broken = True
    with pytest.raises(KeeperGone):
        await client.ask(m.Settle(hold, 30, "small"))
    assert client.gone.is_set()
    with pytest.raises(KeeperGone):
        await client.ask(m.WhoIs(()))


async def test_failed_books_stop_the_server_and_refuse_everything_after(ledger, tmp_path):
    served = keeper(ledger)
    task = asyncio.create_task(KeeperServer(served).serve(bind_keeper_socket(tmp_path / "run")))
    asker = LocalKeeper(served)
    ledger.broken = True
    with pytest.raises(KeeperGone):
        await asker.ask(m.Credit("acme", 1, "r"))
    with pytest.raises(LedgerFailed):
        await task
    with pytest.raises(KeeperGone):
        await asker.ask(m.WhoIs((digest(1),)))
    await asker.close()


async def test_a_ledger_that_raises_anything_at_all_counts_as_failed():
    class Wild(MemoryLedger):
        def apply(self, changes):
            raise ZeroDivisionError

    committer = Committer(Wild())
    with pytest.raises(LedgerFailed):
        await committer.submit(Charge(DAY, "a", "k", digest(1), digest(1), "m", 1))
    assert committer.failed.is_set()
    with pytest.raises(LedgerFailed):
        await committer.submit(Charge(DAY, "a", "k", digest(1), digest(1), "m", 1))
    await committer.close()


async def test_closing_lets_everything_queued_become_durable_first(ledger):
    served = keeper(ledger)
    asker = LocalKeeper(served)
    ledger.open.clear()
    asking = [asyncio.create_task(asker.ask(m.Credit("acme", 1, f"r{n}"))) for n in range(20)]
    await asyncio.to_thread(ledger.entered.wait, 5)
    closing = asyncio.create_task(asker.close())
    await asyncio.sleep(0)
    ledger.open.set()
    await closing
    assert set(await asyncio.gather(*asking)) <= {m.Done(1_000_000 + n) for n in range(21)}
    assert ledger.account("acme").balance == 1_000_020


async def test_a_device_that_fails_or_a_flood_of_nonces_never_holds_up_money(ledger, tmp_path):
    class Stuck:
        def __init__(self):
            self.fail = asyncio.Event()

        async def quote(self, purpose, nonce, manifest_sha384):
            await self.fail.wait()
            raise EnclaveError("no report")

    served = keeper(ledger)
    served._quotes = stuck = Stuck()
    ours, theirs = socket.socketpair()
    await KeeperServer(served, max_pending=8).attach(ours)
    client = await KeeperClient.connect(theirs)
    flood = [asyncio.create_task(client.ask(m.Quote(None, bytes(48)))) for _ in range(MAX_QUOTES + 10)]
    hold = (await client.ask(admit())).hold
    assert await client.ask(m.Settle(hold, 1, "small")) == m.Settled(1, 999_999)
    assert sum(one.done() for one in flood) == 10
    stuck.fail.set()
    answers = set(await asyncio.gather(*flood))
    assert answers == {m.Refused("unavailable", retry_after=1.0)}
    await client.close()
    await served.close()


async def test_quotes_of_a_worker_that_left_are_dropped(ledger):
    class Never:
        async def quote(self, purpose, nonce, manifest_sha384):
            await asyncio.Event().wait()
            return FakeQuote()

    served = keeper(ledger)
    served._quotes = Never()
    ours, theirs = socket.socketpair()
    await KeeperServer(served).attach(ours)
    client = await KeeperClient.connect(theirs)
    asking = asyncio.create_task(client.ask(m.Quote(None, bytes(48))))
    await until(lambda: any(served._quoting.values()))
    await client.close()
    with pytest.raises(KeeperGone):
        await asking
    await until(lambda: not served._quoting)
    await served.close()


async def test_unfit_questions_are_refused_locally_as_on_the_socket(ledger):
    asker = LocalKeeper(keeper(ledger))
    with pytest.raises(wire.WireError):
        await asker.ask(m.Credit("acme", -5, "r"))
    await asker.close()


def test_the_socket_is_for_its_owner_only(tmp_path):
    listener = bind_keeper_socket(tmp_path / "run")
    assert stat.S_IMODE(os.stat(tmp_path / "run").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "run" / "keeper.sock").st_mode) == 0o600
    listener.close()
    bind_keeper_socket(tmp_path / "run").close()


async def test_another_user_is_not_served(ledger, monkeypatch):
    monkeypatch.setattr("gateway.keeper.server.os.getuid", lambda: -5)
    served = keeper(ledger)
    ours, theirs = socket.socketpair()
    await KeeperServer(served).attach(ours)
    client = await KeeperClient.connect(theirs)
    with pytest.raises(KeeperGone):
        await client.ask(admit())
    await served.close()


async def test_connecting_where_no_keeper_is_says_so(tmp_path):
    with pytest.raises(KeeperGone):
        await KeeperClient.connect(tmp_path / "keeper.sock")
