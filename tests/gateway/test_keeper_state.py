"""The keeper's decisions, without socket or thread."""

from __future__ import annotations

import pytest

from gateway.keeper import messages as m
from gateway.keeper.cache import Cache
from gateway.keeper.clock import Moment
from gateway.keeper.replay import ReplayMemory
from gateway.keeper.state import KeeperState, Pending
from gateway.ledger import AddKey, Charge, OpenAccount
from gateway.ledger.memory import MemoryLedger
from tests.gateway.keeper_kit import DAY, MODELS, HandClock, admit, digest, stocked


class ReadOnly(MemoryLedger):
    """Counts what is asked of it, and refuses to write when told."""

    def __init__(self):
        super().__init__()
        self.reads = 0
        self.sealed = False

    def key(self, digest):
        self.reads += 1
        return super().key(digest)

    def account(self, account):
        self.reads += 1
        return super().account(account)

    def apply(self, changes):
        assert not self.sealed, "a decision wrote to the books"
        return super().apply(changes)


@pytest.fixture
def ledger():
    return ReadOnly()


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def state(ledger):
    return KeeperState(ledger, models=MODELS, replays=ReplayMemory(print), first_hold=50)


def durable(state, ledger, decided):
    """Do what the keeper does with a Pending."""
    if not isinstance(decided, Pending):
        return decided
    return state.conclude(decided, ledger.apply([decided.change])[0])


def ask(state, ledger, clock, question, owner="w"):
    return durable(state, ledger, state.decide(question, owner, clock()))


def test_an_admission_reserves_in_memory_and_writes_nothing(state, ledger, clock):
    stocked(ledger, balance=1_000, per_minute=10)
    ledger.sealed = True
    answer = state.decide(admit(high=300), "w", clock())
    assert isinstance(answer, m.Admitted)
    assert (answer.granted, answer.account, answer.key_name) == (300, "acme", "main")
    assert (answer.limit, answer.remaining, answer.reset_seconds) == (10, 9, 6.0)
    assert state.decide(m.WhoIs((digest(1),)), "w", clock()).balance == 700


def test_lookups_after_the_first_stay_in_memory(state, ledger, clock):
    stocked(ledger)
    for _ in range(5):
        state.decide(admit(), "w", clock())
    assert ledger.reads == 2


def test_the_last_money_is_granted_in_part_and_below_the_minimum_refused(state, ledger, clock):
    stocked(ledger, balance=150)
    assert state.decide(admit(low=10, high=100), "w", clock()).granted == 100
    assert state.decide(admit(low=50, high=100), "w", clock()).granted == 50
    assert state.decide(admit(low=1, high=100), "w", clock()) == m.Refused("insufficient_credits")


def test_missing_unknown_and_revoked_keys_get_one_answer(state, ledger, clock):
    stocked(ledger)
    assert ask(state, ledger, clock, m.RevokeKey("acme", "main")) == m.Done(1_000_000)
    answers = {
        state.decide(question, "w", clock())
        for question in (
            admit(),
            admit(seed=9),
            m.Admit((), "small", 1, 1),
            m.WhoIs((digest(1),)),
            m.AskUsage(()),
        )
    }
    assert answers == {m.Refused("invalid_api_key")}


def test_revocation_reaches_a_key_that_is_in_memory(state, ledger, clock):
    stocked(ledger)
    assert isinstance(state.decide(admit(), "w", clock()), m.Admitted)
    ask(state, ledger, clock, m.RevokeKey("acme", "main"))
    assert state.decide(admit(), "w", clock()) == m.Refused("invalid_api_key")


def test_a_name_outside_the_catalogue_is_neither_admitted_nor_booked(state, ledger, clock):
    stocked(ledger)
    assert state.decide(admit(model="please summarise my diary"), "w", clock()) == m.Refused("unknown_model")
    hold = state.decide(admit(), "w", clock()).hold
    decided = state.decide(m.Settle(hold, 5, "please summarise my diary"), "w", clock())
    assert decided.change.model == "small"
    hold = state.decide(admit(), "w", clock()).hold
    assert state.decide(m.Settle(hold, 5, "large"), "w", clock()).change.model == "large"


def test_the_rate_limit_says_when_to_come_back_and_belongs_to_the_key(state, ledger, clock):
    stocked(ledger, per_minute=2)
    ledger.apply([AddKey("acme", "second", digest(2))])
    assert [type(state.decide(admit(), "w", clock())) for _ in range(3)] == [
        m.Admitted,
        m.Admitted,
        m.Refused,
    ]
    refused = state.decide(admit(), "w", clock())
    assert refused == m.Refused("rate_limit", retry_after=30.0, limit=2)
    assert isinstance(state.decide(admit(seed=2), "w", clock()), m.Admitted)
    clock.advance(refused.retry_after)
    assert isinstance(state.decide(admit(), "w", clock()), m.Admitted)


def test_rates_that_no_longer_matter_are_forgotten_and_those_that_do_are_kept(ledger, clock):
    state = KeeperState(ledger, models=MODELS, replays=ReplayMemory(print), cache_entries=4)
    stocked(ledger, per_minute=1)
    ledger.apply([AddKey("acme", f"k{seed}", digest(seed)) for seed in range(2, 40)])
    for seed in range(2, 20):
        state.decide(admit(seed=seed), "w", clock())
    clock.advance(61)
    state.decide(admit(seed=1), "w", clock())
    for seed in range(20, 40):
        state.decide(admit(seed=seed), "w", clock())
    assert len(state._rates) <= 22
    assert state.decide(admit(seed=1), "w", clock()).code == "rate_limit"


def test_settling_charges_the_cost_and_frees_the_rest_of_the_hold(state, ledger, clock):
    stocked(ledger, balance=1_000)
    hold = state.decide(admit(high=800), "w", clock()).hold
    assert ask(state, ledger, clock, m.Settle(hold, 30, "small", 5, 1, 7, 2)) == m.Settled(30, 970)
    assert ledger.account("acme").balance == 970
    usage = ask(state, ledger, clock, m.AskUsage((digest(1),)))
    assert (usage.today_requests, usage.month_input_tokens, usage.month_output_tokens) == (1, 5, 7)
    assert usage.month_cost == 30
    assert usage.keys == (m.UsageLine("main", 1, 5, 7, 30),)
    assert usage.models == (m.UsageLine("small", 1, 5, 7, 30),)


def test_a_hold_settles_once(state, ledger, clock):
    stocked(ledger)
    hold = state.decide(admit(), "w", clock()).hold
    ask(state, ledger, clock, m.Settle(hold, 30, "small"))
    assert state.decide(m.Settle(hold, 30, "small"), "w", clock()) == m.Refused("unknown_hold")
    assert state.decide(m.Settle(12345, 30, "small"), "w", clock()) == m.Refused("unknown_hold")
    assert ledger.account("acme").balance == 999_970


def test_nobody_settles_another_workers_hold(state, ledger, clock):
    stocked(ledger)
    hold = state.decide(admit(), "one", clock()).hold
    assert state.decide(m.Settle(hold, 0, "small"), "two", clock()) == m.Refused("unknown_hold")
    assert state.holds == 1


def test_cost_above_the_hold_takes_the_free_balance_and_then_the_operator_pays(state, ledger, clock):
    stocked(ledger, balance=100)
    first = state.decide(admit(high=40), "w", clock()).hold
    state.decide(admit(high=40), "w", clock())
    decided = state.decide(m.Settle(first, 90, "small"), "w", clock())
    assert (decided.change.charged, decided.change.operator_loss) == (60, 30)
    assert durable(state, ledger, decided) == m.Settled(60, 0)
    assert ledger.account("acme").balance == 40
    assert ledger._books.loss == 30


def test_a_charge_that_is_not_durable_yet_cannot_be_spent_again(state, ledger, clock):
    stocked(ledger, balance=100)
    hold = state.decide(admit(high=100), "w", clock()).hold
    pending = state.decide(m.Settle(hold, 70, "small"), "w", clock())
    assert isinstance(pending, Pending)
    assert state.decide(admit(low=31, high=100), "w", clock()) == m.Refused("insufficient_credits")
    assert state.decide(admit(low=1, high=100), "w", clock()).granted == 30
    assert durable(state, ledger, pending) == m.Settled(70, 0)


@pytest.mark.parametrize(
    "settle", [{"complete": False}, {"complete": False, "input_tokens": 9}, {"complete": True}]
)
def test_a_release_frees_the_hold_and_leaves_no_trace(state, ledger, clock, settle):
    stocked(ledger, balance=100)
    ledger.sealed = True
    hold = state.decide(admit(high=100), "w", clock()).hold
    assert state.decide(m.Settle(hold, 0, "small", **settle), "w", clock()) == m.Settled(0, 100)
    assert state.holds == 0


def test_a_whole_answer_of_a_free_model_and_a_broken_one_that_cost_both_count(state, ledger, clock):
    stocked(ledger, balance=100)
    for settle in (m.Settle(50, 0, "small", input_tokens=3), m.Settle(51, 9, "small", complete=False)):
        assert state.decide(admit(), "w", clock()).hold == settle.hold
        ask(state, ledger, clock, settle)
    assert ask(state, ledger, clock, m.AskUsage((digest(1),))).today_requests == 2


def test_a_worker_that_leaves_takes_its_holds_along_but_not_its_settlements(state, ledger, clock):
    stocked(ledger, balance=100)
    pending = state.decide(
        m.Settle(state.decide(admit(high=50), "a", clock()).hold, 20, "small"), "a", clock()
    )
    state.decide(admit(high=50), "a", clock())
    kept = state.decide(admit(high=10), "b", clock()).hold
    assert state.release("a") == 1
    assert state.release("a") == 0
    assert durable(state, ledger, pending) == m.Settled(20, 70)
    assert ask(state, ledger, clock, m.Settle(kept, 10, "small"), "b") == m.Settled(10, 70)


def test_administration_answers_with_the_balance_or_the_reason(state, ledger, clock):
    assert ask(state, ledger, clock, m.CreateAccount("acme", "Acme", 5, 60)) == m.Done(5)
    assert ask(state, ledger, clock, m.CreateAccount("acme", "Acme", 5, 60)) == m.Refused("exists")
    assert ask(state, ledger, clock, m.CreateKey("none", "k", digest(1))) == m.Refused("unknown_account")
    assert ask(state, ledger, clock, m.CreateKey("acme", "k", digest(1))) == m.Done(5)
    assert ask(state, ledger, clock, m.CreateKey("acme", "k", digest(2))) == m.Refused("exists")
    assert ask(state, ledger, clock, m.RevokeKey("acme", "other")) == m.Refused("unknown_key")
    assert ask(state, ledger, clock, m.Credit("none", 7, "r")) == m.Refused("unknown_account")
    assert ask(state, ledger, clock, m.Credit("acme", 7, "r")) == m.Done(12)
    assert ask(state, ledger, clock, m.Credit("acme", 7, "r")) == m.Done(12)
    assert ask(state, ledger, clock, m.Credit("acme", 8, "r")) == m.Refused("exists")


def test_a_credit_during_a_request_is_counted_once_in_memory_and_in_the_books(state, ledger, clock):
    stocked(ledger, balance=100)
    hold = state.decide(admit(high=100), "w", clock()).hold
    credit = state.decide(m.Credit("acme", 50, "r"), "w", clock())
    settle = state.decide(m.Settle(hold, 120, "small"), "w", clock())
    assert (settle.change.charged, settle.change.operator_loss) == (100, 20)
    assert durable(state, ledger, credit) == m.Done(50)
    assert durable(state, ledger, settle) == m.Settled(100, 50)
    assert ledger.account("acme").balance == 50


def test_a_key_found_under_an_old_pepper_is_booked_under_the_newest(state, ledger, clock):
    stocked(ledger)
    both = (digest(1, version=2), digest(1))
    hold = state.decide(m.Admit(both, "small", 1, 10), "w", clock()).hold
    ask(state, ledger, clock, m.Settle(hold, 1, "small"))
    assert ledger.key(digest(1)) is None
    assert ledger.key(digest(1, version=2)) is not None
    assert isinstance(state.decide(m.Admit(both, "small", 1, 10), "w", clock()), m.Admitted)


def test_the_month_starts_on_its_first_day_in_utc(state, ledger):
    stocked(ledger)
    first = DAY - 3  # 2024-10-01 is day 19_997
    days = {first - 1: 1, first: 2, DAY: 4}
    ledger.apply([Charge(d, "acme", "main", digest(1), digest(1), "small", cost) for d, cost in days.items()])
    usage = state.decide(m.AskUsage((digest(1),)), "w", Moment(DAY * 86_400 + 86_399, 0))
    assert (usage.month_cost, usage.month_requests, usage.today_requests) == (6, 2, 1)


def test_absurd_figures_of_a_provider_are_capped_before_they_reach_the_books(state, ledger, clock):
    stocked(ledger, balance=100)
    hold = state.decide(admit(high=10), "w", clock()).hold
    top = 2**63 - 1
    decided = state.decide(m.Settle(hold, top, "small", top, top, top, top), "w", clock())
    assert decided.change.charged == 100
    assert decided.change.operator_loss == 10**15
    assert decided.change.input_tokens == decided.change.output_tokens == 10**9


def test_the_cache_is_bounded_but_never_drops_what_is_ahead_of_the_books(ledger):
    ledger.apply([OpenAccount(DAY, f"a{i}", "A", 100, 1) for i in range(10)])
    cache = Cache(ledger, 3)
    pinned = cache.account("a0")
    pinned.pins, pinned.balance = 1, 40
    for i in range(1, 10):
        cache.account(f"a{i}")
    assert cache.account("a0") is pinned
    assert len(cache._accounts) == 3


def test_an_account_that_was_just_looked_up_is_never_the_one_that_is_dropped(ledger):
    ledger.apply([OpenAccount(DAY, name, "A", 100, 1) for name in ("a", "b")])
    cache = Cache(ledger, 1)
    cache.account("a").pins = 1
    assert cache.account("b") is cache.account("b")


def test_the_key_cache_is_bounded_and_guesses_do_not_fill_it(ledger):
    stocked(ledger)
    ledger.apply([AddKey("acme", f"k{seed}", digest(seed)) for seed in range(2, 10)])
    cache = Cache(ledger, 3)
    for seed in range(1, 10):
        assert cache.key((digest(seed),)) is not None
        assert cache.key((digest(seed + 1_000),)) is None
    assert len(cache._keys) == 3


def test_a_digest_is_fresh_once_per_key():
    memory = ReplayMemory(print)
    assert [memory.remember(b"k", b"d", 0), memory.remember(b"k", b"d", 1)] == ["never", "before"]
    assert memory.remember(b"other", b"d", 2) == "never"


def test_a_full_memory_takes_nothing_more_and_keeps_what_it_has():
    memory = ReplayMemory(print, per_key=2)
    assert [memory.remember(b"k", bytes([i]), 0) for i in (0, 1, 2, 1)] == [
        "never",
        "never",
        "full",
        "before",
    ]
    assert memory.held() == 2


def test_new_keys_are_called_for_once_per_key_while_there_is_still_room():
    calls = []
    memory = ReplayMemory(lambda: calls.append(memory.held()), per_key=10)
    for key in (b"a", b"b"):
        for i in range(10):
            memory.remember(key, bytes([i]), 0)
    assert calls == [8, 18]


def test_an_expired_key_id_is_dropped_and_never_accepted_again():
    memory = ReplayMemory(print, life=100)
    assert memory.remember(b"k", b"d", 0) == "never"
    assert memory.remember(b"k", b"e", 100) == "never"
    assert memory.remember(b"k", b"f", 101) == "full"
    assert memory.held() == 0
    assert memory.remember(b"k", b"d", 102) == "full"


def test_too_many_keys_retire_the_oldest_only():
    memory = ReplayMemory(print, keys=2)
    assert [memory.remember(key, b"d", 0) for key in (b"a", b"b", b"c")] == ["never"] * 3
    assert memory.remember(b"a", b"new", 1) == "full"
    assert memory.remember(b"b", b"new", 1) == "never"
    assert memory.held() == 3
