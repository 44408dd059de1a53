"""The ledger without a disk: the contract's second witness, and books for tests of everything above it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

import msgspec

from gateway.ledger import (
    DONE,
    MAX_BALANCE,
    AccountRecord,
    AddCredit,
    AddKey,
    Change,
    Charge,
    KeyRecord,
    LedgerFailed,
    OpenAccount,
    Outcome,
    Revoke,
    Totals,
    UsageRecord,
)

_Row = tuple[int, str, str, str]


class _Books(msgspec.Struct):
    """Everything there is; copied before a transaction, so that a failed one leaves no trace."""

    accounts: dict[str, AccountRecord]
    keys: dict[bytes, KeyRecord]
    revoked: set[bytes]
    credits: dict[str, tuple[str, int]]
    rows: dict[_Row, Totals]
    loss: int = 0

    def copy(self) -> _Books:
        return _Books(
            dict(self.accounts),
            dict(self.keys),
            set(self.revoked),
            dict(self.credits),
            dict(self.rows),
            self.loss,
        )


class MemoryLedger:
    """Forgets everything when dropped; otherwise keeps the whole contract of `Ledger`."""

    def __init__(self) -> None:
        self._books = _Books({}, {}, set(), {}, {})
        self._lock = threading.Lock()

    def key(self, digest: bytes) -> KeyRecord | None:
        """The live key with this digest."""
        return self._books.keys.get(digest)

    def account(self, account: str) -> AccountRecord | None:
        """The account of this id."""
        return self._books.accounts.get(account)

    def usage(self, account: str, first_day: int, today: int) -> UsageRecord:
        """Aggregates of the days `first_day`..`today`."""
        rows = [
            (row, totals)
            for row, totals in self._books.rows.items()
            if row[1] == account and first_day <= row[0] <= today
        ]
        return UsageRecord(
            today_requests=sum(totals.requests for row, totals in rows if row[0] == today),
            month=_sum("", (totals for _, totals in rows)),
            keys=_grouped(rows, lambda row: row[2]),
            models=_grouped(rows, lambda row: row[3]),
        )

    def apply(self, changes: Sequence[Change]) -> list[Outcome]:
        """Apply to a copy, then swap it in: all or nothing."""
        with self._lock:
            books = self._books.copy()
            outcomes = [DONE if isinstance(change, Charge) else _change(books, change) for change in changes]
            for change in changes:
                if isinstance(change, Charge):
                    _charge(books, change)
            self._books = books
            return outcomes

    def close(self) -> None:
        """Nothing to give back."""


def _change(books: _Books, change: OpenAccount | AddKey | Revoke | AddCredit) -> Outcome:
    match change:
        case OpenAccount():
            return _open(books, change)
        case AddKey():
            return _add_key(books, change)
        case Revoke():
            return _revoke(books, change)
        case AddCredit():
            return _credit(books, change)
        case _:
            assert_never(change)


def _open(books: _Books, change: OpenAccount) -> Outcome:
    reference = f"opening:{change.account}"
    if change.account in books.accounts or reference in books.credits:
        return Outcome("exists")
    if not 0 <= change.balance <= MAX_BALANCE:
        return Outcome("out_of_range")
    books.accounts[change.account] = AccountRecord(
        change.account, change.name, change.balance, change.requests_per_minute
    )
    books.credits[reference] = (change.account, change.balance)
    return DONE


def _add_key(books: _Books, change: AddKey) -> Outcome:
    if change.account not in books.accounts:
        return Outcome("unknown_account")
    taken = any(key.account == change.account and key.name == change.name for key in books.keys.values())
    if taken or change.digest in books.keys or change.digest in books.revoked:
        return Outcome("exists")
    books.keys[change.digest] = KeyRecord(change.digest, change.account, change.name)
    return DONE


def _revoke(books: _Books, change: Revoke) -> Outcome:
    for digest, key in books.keys.items():
        if (key.account, key.name) == (change.account, change.name):
            del books.keys[digest]
            books.revoked.add(digest)
            return DONE
    return Outcome("unknown_key")


def _credit(books: _Books, change: AddCredit) -> Outcome:
    account = books.accounts.get(change.account)
    if account is None:
        return Outcome("unknown_account")
    known = books.credits.get(change.reference)
    if known is not None:
        same = known == (change.account, change.amount)
        return Outcome(repeated=True) if same else Outcome("exists")
    if change.amount < 0 or account.balance + change.amount > MAX_BALANCE:
        return Outcome("out_of_range")
    books.credits[change.reference] = (change.account, change.amount)
    books.accounts[change.account] = msgspec.structs.replace(account, balance=account.balance + change.amount)
    return DONE


def _charge(books: _Books, charge: Charge) -> None:
    account = books.accounts.get(charge.account)
    if account is None or not 0 <= account.balance - charge.charged <= MAX_BALANCE:
        raise LedgerFailed("a charge does not fit its account")
    books.accounts[charge.account] = msgspec.structs.replace(
        account, balance=account.balance - charge.charged
    )
    row = (charge.day, charge.account, charge.key, charge.model)
    here = Totals("", 1, charge.input_tokens, charge.output_tokens, charge.charged)
    books.rows[row] = _sum("", (books.rows.get(row, Totals()), here))
    books.loss += charge.operator_loss
    key = books.keys.pop(charge.digest, None)
    if key is not None:
        books.keys[charge.newest] = msgspec.structs.replace(key, digest=charge.newest)


def _sum(name: str, parts: Iterable[Totals]) -> Totals:
    total = Totals(name)
    for part in parts:
        total = Totals(
            name,
            total.requests + part.requests,
            total.input_tokens + part.input_tokens,
            total.output_tokens + part.output_tokens,
            total.cost + part.cost,
        )
    return total


def _grouped(rows: list[tuple[_Row, Totals]], name_of: Callable[[_Row], str]) -> tuple[Totals, ...]:
    names = sorted({name_of(row) for row, _ in rows})
    return tuple(_sum(name, (totals for row, totals in rows if name_of(row) == name)) for name in names)
