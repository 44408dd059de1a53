"""In whatever order: money is conserved, no balance is below zero, no hold outlives its worker."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.keeper import messages as m
from gateway.keeper.replay import ReplayMemory
from gateway.keeper.state import KeeperState, Pending
from gateway.ledger.sqlcipher import SqlcipherLedger
from tests.gateway.keeper_kit import DAY, MODELS, HandClock, digest

KEY = bytes(range(32))
ACCOUNTS = ("acme", "zeta")
WORKERS = ("w1", "w2", "w3")
MONEY = st.integers(0, 120)


class Books(RuleBasedStateMachine):
    """The real state over a real SQLCipher file, beside a model that only adds and subtracts."""

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "ledger.db"
        self.clock = HandClock()
        self.queue: list[Pending] = []
        self.holds: dict[int, tuple[str, str, int]] = {}
        self.used: set[int] = set()
        self.credited = dict.fromkeys(ACCOUNTS, 0)
        self.charged = dict.fromkeys(ACCOUNTS, 0)
        self.answered = 0
        self.losses = 0
        self.live = set(ACCOUNTS)
        self.applied: set[str] = set()
        self.references: dict[str, tuple[str, int]] = {}
        self.next_hold = 1
        self.open()

    def open(self):
        self.ledger = SqlcipherLedger(self.path, KEY)
        self.state = KeeperState(
            self.ledger,
            models=MODELS,
            replays=ReplayMemory(print),
            first_hold=self.next_hold,
            cache_entries=1,
        )

    def teardown(self):
        self.ledger.close()
        self.directory.cleanup()

    def ask(self, question, owner="admin"):
        return self.state.decide(question, owner, self.clock())

    @initialize(opening=MONEY)
    def found(self, opening):
        for number, account in enumerate(ACCOUNTS):
            self.queue.append(self.ask(m.CreateAccount(account, account, opening, 10**9)))
            self.queue.append(self.ask(m.CreateKey(account, "main", digest(number))))
            self.credited[account] += opening
        self.commit()

    @rule(account=st.sampled_from(ACCOUNTS), worker=st.sampled_from(WORKERS), low=MONEY, more=MONEY)
    def admit(self, account, worker, low, more):
        before = self.available(account)
        answer = self.ask(m.Admit((digest(ACCOUNTS.index(account)),), "small", low, low + more), worker)
        if account not in self.live:
            assert answer == m.Refused("invalid_api_key")
        elif low > before:
            assert answer == m.Refused("insufficient_credits")
        else:
            assert answer.granted == min(low + more, before)
            assert answer.hold not in self.used
            self.used.add(answer.hold)
            self.next_hold = max(self.next_hold, answer.hold + 1)
            self.holds[answer.hold] = (account, worker, answer.granted)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), cost=MONEY, complete=st.booleans())
    def settle(self, data, cost, complete):
        hold = data.draw(st.sampled_from(sorted(self.holds)))
        account, worker, _ = self.holds.pop(hold)
        spendable = self.available(account)
        decided = self.ask(m.Settle(hold, cost, "small", complete=complete), worker)
        if cost == 0:
            assert isinstance(decided, m.Settled)
        else:
            assert decided.change.charged == min(cost, spendable)
            assert decided.change.charged + decided.change.operator_loss == cost
            self.queue.append(decided)
        assert self.ask(m.Settle(hold, cost, "small"), worker) == m.Refused("unknown_hold")

    @rule(account=st.sampled_from(ACCOUNTS), amount=MONEY, reference=st.sampled_from("abcdef"))
    def credit(self, account, amount, reference):
        self.queue.append(self.ask(m.Credit(account, amount, reference)))

    @rule(account=st.sampled_from(ACCOUNTS))
    def revoke(self, account):
        self.queue.append(self.ask(m.RevokeKey(account, "main")))
        self.commit()
        self.live.discard(account)

    @rule(worker=st.sampled_from(WORKERS))
    def worker_dies(self, worker):
        mine = [hold for hold, (_, owner, _) in self.holds.items() if owner == worker]
        assert self.state.release(worker) == len(mine)
        for hold in mine:
            del self.holds[hold]
            assert self.ask(m.Settle(hold, 1, "small"), worker) == m.Refused("unknown_hold")

    @rule()
    def commit(self):
        batch, self.queue = self.queue, []
        outcomes = self.ledger.apply([pending.change for pending in batch])
        for pending, outcome in zip(batch, outcomes, strict=True):
            self.book(pending.change, self.state.conclude(pending, outcome))

    def book(self, change, answer):
        if isinstance(answer, m.Settled):
            self.charged[change.account] += answer.charged
            self.losses += change.operator_loss
            self.answered += 1
        elif hasattr(change, "reference"):
            known = self.references.setdefault(change.reference, (change.account, change.amount))
            assert isinstance(answer, m.Done) == (known == (change.account, change.amount))
            if isinstance(answer, m.Done) and change.reference not in self.applied:
                self.credited[change.account] += change.amount
                self.applied.add(change.reference)

    @rule()
    def crash_and_reopen(self):
        self.queue.clear()
        self.holds.clear()
        self.ledger.close()
        self.open()

    def available(self, account):
        held = sum(granted for owner, _, granted in self.holds.values() if owner == account)
        queued = sum(getattr(pending.change, "charged", 0) for pending in self.queue_of(account))
        return self.credited[account] - self.charged[account] - held - queued

    def queue_of(self, account):
        return [pending for pending in self.queue if pending.change.account == account]

    @invariant()
    def no_balance_is_below_zero_and_memory_agrees_with_the_model(self):
        for account in ACCOUNTS:
            if self.ledger.account(account) is None:
                continue
            known = self.state._cache.account(account)
            assert known.available == self.available(account) >= 0
            assert self.ledger.account(account).balance >= 0

    @invariant()
    def money_is_conserved_in_the_books(self):
        for account in ACCOUNTS:
            record = self.ledger.account(account)
            if record is not None:
                usage = self.ledger.usage(account, DAY - 40, DAY)
                assert record.balance == self.credited[account] - self.charged[account]
                assert usage.month.cost == self.charged[account]
        booked = self.ledger._reader.execute(
            "SELECT sum(requests), sum(operator_loss) FROM daily_usage"
        ).fetchone()
        assert (booked[0] or 0, booked[1] or 0) == (self.answered, self.losses)

    @invariant()
    def no_hold_outlives_its_worker(self):
        assert self.state.holds == len(self.holds)


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
