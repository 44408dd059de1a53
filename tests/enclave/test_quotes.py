import asyncio
import secrets
import threading

import pytest

from attestation.errors import MalformedEvidence
from attestation.formats.merkle import leaf_hash, root_from_path
from attestation.formats.statement import parse_statement
from enclave import quotes
from enclave.errors import NoTee, QuoteFailed, QuotesBusy
from enclave.quotes import QuoteQueue
from tests.enclave.fake_tee import REPORT_PREFIX, RecordingTee

MANIFEST = b"\x22" * 48


class FakeTime:
    def __init__(self):
        self.now = 1_000.0

    def clock(self):
        return self.now

    async def pause(self, seconds):
        assert seconds > 0
        self.now += seconds
        await asyncio.sleep(0)


class Gate:
    """Holds device calls until opened, and tells when the first one has arrived."""

    def __init__(self, only_call=None):
        self.entered, self.opened, self.only_call = threading.Event(), threading.Event(), only_call

    def __call__(self, call):
        if self.only_call in (None, call):
            self.entered.set()
            assert self.opened.wait(30)

    async def reached(self):
        assert await asyncio.to_thread(self.entered.wait, 30)


def queue_for(tee, *, interval=0.0, time=None):
    time = time or FakeTime()
    return QuoteQueue(tee, interval_seconds=interval, clock=time.clock, pause=time.pause)


def signed_root(quote):
    return root_from_path(leaf_hash(quote.statement), quote.index, quote.size, quote.path)


async def ask(queue, count):
    nonces = [secrets.token_bytes(32) for _ in range(count)]
    answers = [asyncio.create_task(queue.quote("attestation", nonce, MANIFEST)) for nonce in nonces]
    await asyncio.sleep(0)
    return nonces, answers


async def test_a_thousand_concurrent_nonces_cost_a_few_reports_and_every_one_is_bound():
    tee = RecordingTee()
    queue = queue_for(tee)
    nonces, answers = await ask(queue, 1_000)
    for nonce, quote in zip(nonces, await asyncio.gather(*answers), strict=True):
        statement = parse_statement(quote.statement)
        assert (statement.nonce, statement.purpose) == (nonce, "attestation")
        assert statement.manifest_sha384 == MANIFEST
        root = signed_root(quote)
        assert root in tee.signed
        assert quote.report == REPORT_PREFIX + root
    assert 1 <= len(tee.signed) <= 24
    assert tee.most_at_once == 1


async def test_callers_who_trickle_in_while_the_device_works_share_the_next_report():
    gate = Gate(only_call=1)
    tee = RecordingTee(before_report=gate)
    queue = queue_for(tee)
    _, first = await ask(queue, 1)
    await gate.reached()
    late = [(await ask(queue, 1))[1][0] for _ in range(50)]
    gate.opened.set()
    assert (await first[0]).size == 1
    assert {quote.size for quote in await asyncio.gather(*late)} == {50}
    assert len(tee.signed) == 2
    assert tee.most_at_once == 1


async def test_a_quote_without_a_nonce_says_so():
    tee = RecordingTee()
    quote = await queue_for(tee).quote("attestation", None, MANIFEST)
    assert parse_statement(quote.statement).nonce is None
    assert signed_root(quote) == tee.signed[0]


@pytest.mark.parametrize("trouble", [NoTee("device is gone"), OSError(5, "EIO"), RuntimeError("a bug")])
async def test_a_failing_device_call_fails_its_batch_and_no_other(trouble):
    gate = Gate(only_call=1)

    def fail_first(call):
        gate(call)
        if call == 1:
            raise trouble

    tee = RecordingTee(before_report=fail_first)
    queue = queue_for(tee)
    _, first = await ask(queue, 30)
    await gate.reached()
    _, second = await ask(queue, 20)
    gate.opened.set()
    failures = await asyncio.gather(*first, return_exceptions=True)
    assert all(isinstance(failure, QuoteFailed) and failure.hint for failure in failures)
    assert len(failures) == 30
    assert {signed_root(quote) for quote in await asyncio.gather(*second)} == {tee.signed[1]}
    assert signed_root(await queue.quote("attestation", None, MANIFEST)) == tee.signed[2]


async def test_the_queue_refuses_what_exceeds_its_bound_and_recovers(monkeypatch):
    monkeypatch.setattr(quotes, "MAX_WAITING", 5)
    gate = Gate(only_call=1)
    queue = queue_for(RecordingTee(before_report=gate))
    _, under_way = await ask(queue, 2)
    await gate.reached()
    _, waiting = await ask(queue, 3)
    with pytest.raises(QuotesBusy):
        await queue.quote("attestation", None, MANIFEST)
    gate.opened.set()
    assert len(await asyncio.gather(*under_way, *waiting)) == 5
    assert await queue.quote("attestation", None, MANIFEST)


def test_the_bound_is_what_the_design_says():
    assert quotes.MAX_WAITING == 20_000


async def test_reports_keep_their_interval_whether_they_succeed_or_fail():
    time, asked_at = FakeTime(), []

    def note(call):
        asked_at.append(time.now)
        time.now += 0.25  # the device takes its time
        if call == 2:
            raise OSError

    queue = queue_for(RecordingTee(before_report=note), interval=2.0, time=time)
    await queue.quote("attestation", None, MANIFEST)
    with pytest.raises(QuoteFailed):
        await queue.quote("attestation", None, MANIFEST)
    await queue.quote("attestation", None, MANIFEST)
    assert asked_at == [1_000.0, 1_002.25, 1_004.5]


async def test_a_caller_who_waits_long_after_the_last_report_is_served_at_once():
    time = FakeTime()
    queue = queue_for(RecordingTee(), interval=2.0, time=time)
    await queue.quote("attestation", None, MANIFEST)
    time.now += 60
    before = time.now
    await queue.quote("attestation", None, MANIFEST)
    assert time.now == before


async def test_a_caller_who_left_takes_nobody_along():
    gate = Gate(only_call=1)
    tee = RecordingTee(before_report=gate)
    queue = queue_for(tee)
    _, under_way = await ask(queue, 2)
    await gate.reached()
    _, waiting = await ask(queue, 3)
    under_way[0].cancel()
    waiting[1].cancel()
    gate.opened.set()
    left = [under_way[1], waiting[0], waiting[2]]
    assert [quote.size for quote in await asyncio.gather(*left)] == [2, 2, 2]
    assert under_way[0].cancelled()
    assert waiting[1].cancelled()


async def test_a_statement_that_would_not_parse_is_never_bound():
    tee = RecordingTee()
    with pytest.raises(MalformedEvidence):
        await queue_for(tee).quote("anything", None, MANIFEST)
    assert tee.signed == []
