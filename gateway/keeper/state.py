"""The keeper's decisions: who may spend what. No socket, no thread, no clock; the ledger is only read here.

A question becomes an answer, or a change that has to be made durable first (`Pending`); `conclude` turns the
change's outcome into the answer. In between, memory already counts a charge, so no concurrency can spend it
twice.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from datetime import UTC, datetime
from typing import assert_never

from msgspec import Struct

from gateway.keeper import messages as m
from gateway.keeper.cache import Account, Cache
from gateway.keeper.clock import Moment
from gateway.keeper.replay import ReplayMemory
from gateway.ledger import (
    AddCredit,
    AddKey,
    Change,
    Charge,
    KeyRecord,
    Ledger,
    OpenAccount,
    Outcome,
    Revoke,
    Totals,
)
from gateway.limits import gcra
from gateway.prices import MAX_TOKENS

Owner = Hashable
"""Whose hold it is: one value per worker connection."""
MAX_LOSS = 1_000_000_000_000_000
"""Cap on what one request may book as operator loss: a million dollars."""
SECOND = 1_000_000_000


class Hold(Struct, frozen=True):
    """Money reserved for one request in flight, in memory only."""

    owner: Owner
    key: KeyRecord
    newest: bytes
    model: str
    granted: int


class Pending(Struct, frozen=True):
    """A change that must be durable before it is answered."""

    change: Change


class KeeperState:
    """Holds, rates and the cache over one ledger. `models` are the catalogue's ids; no other is booked."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        models: Collection[str],
        replays: ReplayMemory,
        first_hold: int = 1,
        cache_entries: int = 10_000,
    ) -> None:
        self._ledger = ledger
        self._models = frozenset(models)
        self._cache = Cache(ledger, cache_entries)
        self._holds: dict[int, Hold] = {}
        self._owned: dict[Owner, set[int]] = {}
        self._rates: dict[tuple[str, str], int] = {}
        self._sweep_at = cache_entries
        self._cache_entries = cache_entries
        self._next_hold = first_hold
        self._replays = replays

    @property
    def holds(self) -> int:
        """How many holds exist."""
        return len(self._holds)

    def decide(
        self, question: m.Question, owner: Owner, now: Moment
    ) -> m.Admitted | m.Settled | m.Caller | m.Usage | m.Remembered | m.Refused | Pending:
        """Answer, or say what must be durable first. Quotes are not the state's business."""
        match question:
            case m.Admit():
                return self._admit(question, owner, now)
            case m.Settle():
                return self._settle(question, owner, now)
            case m.WhoIs():
                return self._whois(question)
            case m.AskUsage():
                return self._usage(question, now)
            case m.Remember():
                seen = self._replays.remember(question.key_id, question.digest, now.steady)
                return m.Remembered(seen)
            case m.CreateAccount():
                return Pending(
                    OpenAccount(
                        now.day,
                        question.account,
                        question.name,
                        question.balance,
                        question.requests_per_minute,
                    )
                )
            case m.CreateKey():
                return Pending(AddKey(question.account, question.name, question.digest))
            case m.RevokeKey():
                return Pending(Revoke(question.account, question.name))
            case m.Credit():
                return self._credit(question, now)
            case m.Quote():
                return m.Refused("unavailable")
            case _:
                assert_never(question)

    def conclude(self, pending: Pending, outcome: Outcome) -> m.Settled | m.Done | m.Refused:
        """The durable answer. Must be called once for every Pending, in any order."""
        change = pending.change
        match change:
            case Charge():
                return self._charged(change)
            case AddCredit():
                return self._credited(change, outcome)
            case OpenAccount() | AddKey():
                return (
                    m.Refused(outcome.refused) if outcome.refused else m.Done(self._balance(change.account))
                )
            case Revoke():
                self._cache.forget_key(change.account, change.name)
                return (
                    m.Refused(outcome.refused) if outcome.refused else m.Done(self._balance(change.account))
                )
            case _:
                assert_never(change)

    def release(self, owner: Owner) -> int:
        """A worker is gone: nothing of its holds remains. Returns how many there were."""
        gone = self._owned.pop(owner, set())
        for number in gone:
            hold = self._holds.pop(number)
            self._unhold(self._pinned(hold.key.account), hold)
        return len(gone)

    # --- money --------------------------------------------------------------------------------------------

    def _admit(self, question: m.Admit, owner: Owner, now: Moment) -> m.Admitted | m.Refused:
        key = self._cache.key(question.digests)
        account = None if key is None else self._cache.account(key.account)
        if key is None or account is None:
            return m.Refused("invalid_api_key")
        if question.model not in self._models:
            return m.Refused("unknown_model")
        theoretical, rate = gcra(
            self._rates.get((key.account, key.name), 0), now.steady, account.requests_per_minute
        )
        if not rate.allowed:
            return m.Refused("rate_limit", retry_after=rate.retry_after / SECOND, limit=rate.limit)
        self._remember_rate((key.account, key.name), theoretical, now.steady)
        granted = min(question.hold_max, account.available)
        if granted < question.hold_min:
            return m.Refused("insufficient_credits")
        hold = Hold(owner, key, question.digests[0], question.model, granted)
        return m.Admitted(
            hold=self._book(hold, account),
            granted=granted,
            account=key.account,
            key_name=key.name,
            limit=rate.limit,
            remaining=rate.remaining,
            reset_seconds=rate.reset / SECOND,
        )

    def _book(self, hold: Hold, account: Account) -> int:
        number = self._next_hold
        self._next_hold += 1
        self._holds[number] = hold
        self._owned.setdefault(hold.owner, set()).add(number)
        account.held += hold.granted
        account.pins += 1
        return number

    def _settle(self, question: m.Settle, owner: Owner, now: Moment) -> m.Settled | m.Refused | Pending:
        hold = self._holds.get(question.hold)
        if hold is None or hold.owner != owner:
            return m.Refused("unknown_hold")
        del self._holds[question.hold]
        self._owned[owner].discard(question.hold)
        account = self._pinned(hold.key.account)
        self._unhold(account, hold)
        tokens = question.input_tokens or question.output_tokens
        if question.cost == 0 and not (question.complete and tokens):
            return m.Settled(0, account.available)
        charged = min(question.cost, account.available)
        account.balance -= charged
        account.pins += 1
        return Pending(_charge(question, hold, self._booked_model(question, hold), charged, now.day))

    def _booked_model(self, question: m.Settle, hold: Hold) -> str:
        """Failover may end at another model; a name outside the catalogue never reaches the books."""
        return question.model if question.model in self._models else hold.model

    def _charged(self, charge: Charge) -> m.Settled:
        account = self._pinned(charge.account)
        account.pins -= 1
        if charge.digest != charge.newest:
            self._cache.forget_digest(charge.digest)
        return m.Settled(charge.charged, account.available)

    def _credit(self, question: m.Credit, now: Moment) -> m.Refused | Pending:
        account = self._cache.account(question.account)
        if account is None:
            return m.Refused("unknown_account")
        account.pins += 1
        return Pending(AddCredit(now.day, question.account, question.amount, question.reference))

    def _credited(self, change: AddCredit, outcome: Outcome) -> m.Done | m.Refused:
        account = self._pinned(change.account)
        account.pins -= 1
        if outcome.refused:
            return m.Refused(outcome.refused)
        if not outcome.repeated:
            account.balance += change.amount
        return m.Done(account.available)

    def _unhold(self, account: Account, hold: Hold) -> None:
        account.held -= hold.granted
        account.pins -= 1

    def _pinned(self, name: str) -> Account:
        account = self._cache.account(name)
        if account is None:
            raise LookupError("an account with money in flight has left the books")
        return account

    def _balance(self, name: str) -> int:
        account = self._cache.account(name)
        return 0 if account is None else account.available

    # --- questions that change nothing --------------------------------------------------------------------

    def _whois(self, question: m.WhoIs) -> m.Caller | m.Refused:
        key = self._cache.key(question.digests)
        account = None if key is None else self._cache.account(key.account)
        if key is None or account is None:
            return m.Refused("invalid_api_key")
        return m.Caller(key.account, key.name, account.available)

    def _usage(self, question: m.AskUsage, now: Moment) -> m.Usage | m.Refused:
        caller = self._whois(m.WhoIs(question.digests))
        if isinstance(caller, m.Refused):
            return caller
        found = self._ledger.usage(caller.account, _first_of_month(now), now.day)
        return m.Usage(
            account=caller.account,
            balance=caller.balance,
            today_requests=found.today_requests,
            month_requests=found.month.requests,
            month_input_tokens=found.month.input_tokens,
            month_output_tokens=found.month.output_tokens,
            month_cost=found.month.cost,
            keys=tuple(map(_line, found.keys)),
            models=tuple(map(_line, found.models)),
        )

    def _remember_rate(self, key: tuple[str, str], theoretical: int, now: int) -> None:
        """Keep every rate that still matters; sweep the rest when there are many."""
        self._rates[key] = theoretical
        if len(self._rates) > self._sweep_at:
            self._rates = {known: arrival for known, arrival in self._rates.items() if arrival > now}
            self._sweep_at = max(self._cache_entries, 2 * len(self._rates))


def _charge(question: m.Settle, hold: Hold, model: str, charged: int, day: int) -> Charge:
    return Charge(
        day=day,
        account=hold.key.account,
        key=hold.key.name,
        digest=hold.key.digest,
        newest=hold.newest,
        model=model,
        charged=charged,
        operator_loss=min(question.cost - charged, MAX_LOSS),
        input_tokens=min(question.input_tokens, MAX_TOKENS),
        cached_tokens=min(question.cached_tokens, MAX_TOKENS),
        output_tokens=min(question.output_tokens, MAX_TOKENS),
        reasoning_tokens=min(question.reasoning_tokens, MAX_TOKENS),
        estimated=question.estimated,
    )


def _first_of_month(now: Moment) -> int:
    date = datetime.fromtimestamp(now.wall, UTC)
    return now.day - (date.day - 1)


def _line(totals: Totals) -> m.UsageLine:
    return m.UsageLine(totals.name, totals.requests, totals.input_tokens, totals.output_tokens, totals.cost)
