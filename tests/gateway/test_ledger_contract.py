"""The sentences of `Ledger`, run by every ledger."""

from __future__ import annotations

import threading

import pytest

from gateway.ledger import (
    MAX_BALANCE,
    AddCredit,
    AddKey,
    Charge,
    Ledger,
    LedgerFailed,
    OpenAccount,
    Outcome,
    Revoke,
    Totals,
)
from gateway.ledger.memory import MemoryLedger
from gateway.ledger.sqlcipher import SqlcipherLedger
from tests.gateway.keeper_kit import DAY, digest, stocked


@pytest.fixture(params=["memory", "sqlcipher"])
def ledger(request, tmp_path):
    made: Ledger = (
        MemoryLedger()
        if request.param == "memory"
        else SqlcipherLedger(tmp_path / "ledger.db", bytes(range(32)))
    )
    yield made
    made.close()


def charge(amount, *, key="main", model="small", day=DAY, account="acme", seed=1, newest=None, **more):
    return Charge(day, account, key, digest(seed), newest or digest(seed), model, amount, **more)


def refusals(ledger, *changes):
    return [outcome.refused for outcome in ledger.apply(changes)]


def test_every_read_shows_what_an_apply_did(ledger):
    stocked(ledger, balance=500, per_minute=60)
    record = ledger.account("acme")
    assert (record.name, record.balance, record.requests_per_minute) == ("Acme", 500, 60)
    key = ledger.key(digest(1))
    assert (key.account, key.name) == ("acme", "main")
    assert ledger.account("nobody") is None
    assert ledger.key(digest(2)) is None


def test_outcomes_come_in_order_and_a_refused_change_spoils_no_other(ledger):
    stocked(ledger)
    assert refusals(
        ledger,
        OpenAccount(DAY, "acme", "Again", 1, 1),
        AddKey("nobody", "k", digest(5)),
        AddKey("acme", "main", digest(6)),
        AddKey("acme", "second", digest(1)),
        AddKey("acme", "second", digest(7)),
        Revoke("acme", "nothing"),
        AddCredit(DAY, "nobody", 5, "r"),
    ) == ["exists", "unknown_account", "exists", "exists", "", "unknown_key", "unknown_account"]
    assert ledger.key(digest(7)).name == "second"
    assert ledger.account("acme").balance == 1_000_000


def test_a_credit_is_applied_once_per_reference_for_ever(ledger):
    stocked(ledger, balance=0)
    assert ledger.apply([AddCredit(DAY, "acme", 70, "inv-1")]) == [Outcome()]
    assert ledger.apply([AddCredit(DAY + 9, "acme", 70, "inv-1")]) == [Outcome(repeated=True)]
    assert refusals(ledger, AddCredit(DAY, "acme", 71, "inv-1")) == ["exists"]
    stocked_other = OpenAccount(DAY, "other", "Other", 0, 1)
    assert refusals(ledger, stocked_other, AddCredit(DAY, "other", 70, "inv-1")) == ["", "exists"]
    assert ledger.account("acme").balance == 70
    assert ledger.account("other").balance == 0


def test_a_credit_repeated_within_one_transaction_counts_once(ledger):
    stocked(ledger, balance=0)
    credit = AddCredit(DAY, "acme", 70, "inv-1")
    assert ledger.apply([credit, credit]) == [Outcome(), Outcome(repeated=True)]
    assert ledger.account("acme").balance == 70


def test_the_opening_balance_is_a_credit_that_nobody_can_take_again(ledger):
    stocked(ledger, balance=5)
    assert refusals(ledger, AddCredit(DAY, "acme", 6, "opening:acme")) == ["exists"]
    assert ledger.apply([AddCredit(DAY, "acme", 5, "opening:acme")]) == [Outcome(repeated=True)]
    assert ledger.account("acme").balance == 5


def test_no_credit_takes_a_balance_beyond_what_the_books_can_hold(ledger):
    stocked(ledger, balance=MAX_BALANCE - 1)
    assert refusals(ledger, AddCredit(DAY, "acme", 2, "r")) == ["out_of_range"]
    assert refusals(ledger, AddCredit(DAY, "acme", -1, "r")) == ["out_of_range"]
    assert refusals(ledger, AddCredit(DAY, "acme", 1, "r")) == [""]
    assert refusals(ledger, OpenAccount(DAY, "b", "B", -1, 1)) == ["out_of_range"]
    assert ledger.account("b") is None


def test_charges_leave_the_balance_and_add_up_in_one_row_per_day_key_and_model(ledger):
    stocked(ledger, balance=1_000)
    ledger.apply([AddKey("acme", "second", digest(2))])
    ledger.apply(
        [
            charge(10, input_tokens=3, output_tokens=4),
            charge(20, input_tokens=5),
            charge(30, model="large"),
            charge(40, key="second", seed=2),
            charge(50, day=DAY - 1, output_tokens=1),
        ]
    )
    ledger.apply([charge(1, day=DAY - 40)])
    assert ledger.account("acme").balance == 1_000 - 151
    usage = ledger.usage("acme", DAY - 5, DAY)
    assert usage.today_requests == 4
    assert usage.month == Totals("", 5, 8, 5, 150)
    assert usage.keys == (Totals("main", 4, 8, 5, 110), Totals("second", 1, 0, 0, 40))
    assert usage.models == (Totals("large", 1, 0, 0, 30), Totals("small", 4, 8, 5, 120))


def test_an_account_without_use_shows_zeros(ledger):
    assert ledger.usage("nobody", DAY, DAY).month == Totals()


def test_usage_never_shows_another_account(ledger):
    stocked(ledger)
    ledger.apply([OpenAccount(DAY, "other", "Other", 10, 1), charge(7)])
    assert ledger.usage("other", DAY, DAY).month == Totals()


def test_a_charge_below_zero_fails_and_changes_nothing_at_all(ledger):
    stocked(ledger, balance=100)
    with pytest.raises(LedgerFailed):
        ledger.apply([AddCredit(DAY, "acme", 5, "r"), charge(60), charge(60)])
    assert ledger.account("acme").balance == 100
    assert ledger.usage("acme", DAY, DAY).month == Totals()
    assert ledger.apply([AddCredit(DAY, "acme", 5, "r")]) == [Outcome()]


def test_a_charge_for_no_account_fails_the_transaction(ledger):
    stocked(ledger, balance=100)
    with pytest.raises(LedgerFailed):
        ledger.apply([charge(1), charge(1, account="nobody")])
    assert ledger.account("acme").balance == 100


def test_a_credit_in_the_same_transaction_pays_for_a_charge_before_it(ledger):
    stocked(ledger, balance=0)
    ledger.apply([charge(60), AddCredit(DAY, "acme", 60, "r")])
    assert ledger.account("acme").balance == 0


def test_a_revoked_key_looks_like_one_that_never_was_and_its_name_is_free_again(ledger):
    stocked(ledger)
    assert refusals(ledger, Revoke("acme", "main"), Revoke("acme", "main")) == ["", "unknown_key"]
    assert ledger.key(digest(1)) is None
    assert refusals(ledger, AddKey("acme", "main", digest(1))) == ["exists"]
    assert refusals(ledger, AddKey("acme", "main", digest(2))) == [""]
    assert ledger.key(digest(2)).name == "main"


def test_a_charge_after_revocation_still_counts_and_revives_nothing(ledger):
    stocked(ledger, balance=100)
    ledger.apply([Revoke("acme", "main"), charge(30, newest=digest(1, version=2))])
    assert ledger.account("acme").balance == 70
    assert ledger.key(digest(1)) is None
    assert ledger.key(digest(1, version=2)) is None
    assert refusals(ledger, AddKey("acme", "main", digest(1, version=2))) == [""]


def test_a_key_moves_to_the_newest_pepper_when_it_is_used(ledger):
    stocked(ledger, balance=100)
    newest = digest(1, version=2)
    ledger.apply([charge(1, newest=newest), charge(1, newest=newest)])
    assert ledger.key(digest(1)) is None
    assert ledger.key(newest).name == "main"
    ledger.apply([charge(1, newest=newest)])
    assert ledger.account("acme").balance == 97


def test_reads_may_run_in_another_thread_than_apply(ledger):
    stocked(ledger, balance=1_000)
    done = threading.Event()

    def write():
        for _ in range(50):
            ledger.apply([charge(1)])
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    while not done.is_set():
        seen.append(ledger.account("acme").balance)
    thread.join()
    assert seen == sorted(seen, reverse=True)
    assert ledger.account("acme").balance == 950
