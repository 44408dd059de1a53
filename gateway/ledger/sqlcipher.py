"""The default ledger: one SQLCipher file, one writer, one transaction for whatever has queued up.

Open it after forking only; a connection never crosses a fork. Reads have a connection of their own, so that a
lookup doesn't wait for a commit (WAL).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, assert_never

from sqlcipher3 import dbapi2

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
from gateway.ledger.schema import SCHEMA_SHA384
from gateway.ledger.sqlcipher_file import lock_books, open_connection, require_schema

__all__ = ["SCHEMA_SHA384", "SqlcipherLedger"]

_UPSERT = """
INSERT INTO daily_usage (account, day, key, model, requests, estimated, input_tokens, cached_tokens,
                         output_tokens, reasoning_tokens, cost, operator_loss)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, day, key, model) DO UPDATE SET
    requests = requests + excluded.requests,
    estimated = estimated + excluded.estimated,
    input_tokens = input_tokens + excluded.input_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
    cost = cost + excluded.cost,
    operator_loss = operator_loss + excluded.operator_loss
"""
_SUMS = "sum(requests), sum(input_tokens), sum(output_tokens), sum(cost)"
_MONTH = "FROM daily_usage WHERE account = ? AND day BETWEEN ? AND ?"


class SqlcipherLedger:
    """`Ledger` in a SQLCipher file of mode 0600. Raises LedgerRefused if the file can't be used as ours."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._lock = lock_books(path)
        try:
            self._writer = open_connection(path, key)
            require_schema(self._writer)
            self._reader = open_connection(path, key)
            self._reader.execute("PRAGMA query_only = ON")
        except BaseException:
            os.close(self._lock)
            raise

    def key(self, digest: bytes) -> KeyRecord | None:
        """The live key with this digest."""
        row = self._reader.execute(
            "SELECT account, name FROM api_keys WHERE digest = ? AND revoked = 0", (digest,)
        ).fetchone()
        return None if row is None else KeyRecord(digest, row[0], row[1])

    def account(self, account: str) -> AccountRecord | None:
        """The account of this id."""
        row = self._reader.execute(
            "SELECT account, name, balance, requests_per_minute FROM accounts WHERE account = ?", (account,)
        ).fetchone()
        return None if row is None else AccountRecord(*row)

    def usage(self, account: str, first_day: int, today: int) -> UsageRecord:
        """Aggregates of the days `first_day`..`today`, from one snapshot."""
        days = (account, first_day, today)
        self._reader.execute("BEGIN")
        try:
            month = self._totals(f"SELECT '', {_SUMS} {_MONTH}", days)[0]
            by_key = self._totals(f"SELECT key, {_SUMS} {_MONTH} GROUP BY key ORDER BY key", days)
            by_model = self._totals(f"SELECT model, {_SUMS} {_MONTH} GROUP BY model ORDER BY model", days)
            now = self._totals(f"SELECT '', {_SUMS} {_MONTH}", (account, today, today))[0]
        finally:
            self._reader.execute("COMMIT")
        return UsageRecord(now.requests, month, by_key, by_model)

    def _totals(self, query: str, days: tuple[str, int, int]) -> tuple[Totals, ...]:
        rows = self._reader.execute(query, days)
        return tuple(Totals(row[0], *(value or 0 for value in row[1:])) for row in rows)

    def apply(self, changes: Sequence[Change]) -> list[Outcome]:
        """One transaction, on disk when this returns (synchronous=FULL). Raises LedgerFailed."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            outcomes = [DONE if isinstance(change, Charge) else self._change(change) for change in changes]
            self._charge([change for change in changes if isinstance(change, Charge)])
            self._writer.execute("COMMIT")
        except dbapi2.Error as error:
            self._undo()
            raise LedgerFailed(f"a transaction was not made durable ({type(error).__name__})") from None
        except BaseException:
            self._undo()
            raise
        return outcomes

    def _undo(self) -> None:
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def _change(self, change: OpenAccount | AddKey | Revoke | AddCredit) -> Outcome:
        match change:
            case OpenAccount():
                return self._open(change)
            case AddKey():
                return self._add_key(change)
            case Revoke():
                return self._revoke(change)
            case AddCredit():
                return self._credit(change)
            case _:
                assert_never(change)

    def _one(self, query: str, *values: Any) -> Any:
        return self._writer.execute(query, values).fetchone()

    def _open(self, change: OpenAccount) -> Outcome:
        reference = f"opening:{change.account}"
        if self._one("SELECT 1 FROM accounts WHERE account = ?", change.account) or self._one(
            "SELECT 1 FROM credits WHERE reference = ?", reference
        ):
            return Outcome("exists")
        if not 0 <= change.balance <= MAX_BALANCE:
            return Outcome("out_of_range")
        self._writer.execute(
            "INSERT INTO accounts (account, name, balance, requests_per_minute, created_day) "
            "VALUES (?, ?, ?, ?, ?)",
            (change.account, change.name, change.balance, change.requests_per_minute, change.day),
        )
        self._writer.execute(
            "INSERT INTO credits (reference, account, amount, day) VALUES (?, ?, ?, ?)",
            (reference, change.account, change.balance, change.day),
        )
        return DONE

    def _add_key(self, change: AddKey) -> Outcome:
        if not self._one("SELECT 1 FROM accounts WHERE account = ?", change.account):
            return Outcome("unknown_account")
        if self._one(
            "SELECT 1 FROM api_keys WHERE digest = ? OR (account = ? AND name = ? AND revoked = 0)",
            change.digest,
            change.account,
            change.name,
        ):
            return Outcome("exists")
        self._writer.execute(
            "INSERT INTO api_keys (digest, version, name, account, revoked) VALUES (?, ?, ?, ?, 0)",
            (change.digest, change.digest[0], change.name, change.account),
        )
        return DONE

    def _revoke(self, change: Revoke) -> Outcome:
        cursor = self._writer.execute(
            "UPDATE api_keys SET revoked = 1 WHERE account = ? AND name = ? AND revoked = 0",
            (change.account, change.name),
        )
        return DONE if cursor.rowcount else Outcome("unknown_key")

    def _credit(self, change: AddCredit) -> Outcome:
        found = self._one("SELECT balance FROM accounts WHERE account = ?", change.account)
        if found is None:
            return Outcome("unknown_account")
        known = self._one("SELECT account, amount FROM credits WHERE reference = ?", change.reference)
        if known is not None:
            same = tuple(known) == (change.account, change.amount)
            return Outcome(repeated=True) if same else Outcome("exists")
        if change.amount < 0 or found[0] + change.amount > MAX_BALANCE:
            return Outcome("out_of_range")
        self._writer.execute(
            "INSERT INTO credits (reference, account, amount, day) VALUES (?, ?, ?, ?)",
            (change.reference, change.account, change.amount, change.day),
        )
        self._writer.execute(
            "UPDATE accounts SET balance = balance + ? WHERE account = ?", (change.amount, change.account)
        )
        return DONE

    def _charge(self, charges: Sequence[Charge]) -> None:
        owed: dict[str, int] = {}
        for charge in charges:
            owed[charge.account] = owed.get(charge.account, 0) + charge.charged
        for account, amount in owed.items():
            cursor = self._writer.execute(
                "UPDATE accounts SET balance = balance - ? WHERE account = ?", (amount, account)
            )
            if cursor.rowcount != 1:
                raise LedgerFailed("a charge for no account")
        self._writer.executemany(_UPSERT, map(_row, charges))
        self._writer.executemany(
            "UPDATE OR IGNORE api_keys SET digest = ?, version = ?, last_used_day = ? "
            "WHERE digest = ? AND revoked = 0 "
            "AND (last_used_day IS NULL OR last_used_day <> ? OR digest <> ?)",
            _uses(charges),
        )

    def close(self) -> None:
        """Fold the write-ahead log into the file and close both handles."""
        self._reader.close()
        self._writer.close()
        os.close(self._lock)


def _row(charge: Charge) -> tuple[Any, ...]:
    return (
        charge.account,
        charge.day,
        charge.key,
        charge.model,
        1,
        int(charge.estimated),
        charge.input_tokens,
        charge.cached_tokens,
        charge.output_tokens,
        charge.reasoning_tokens,
        charge.charged,
        charge.operator_loss,
    )


def _uses(charges: Sequence[Charge]) -> Iterable[tuple[Any, ...]]:
    """Each key once a batch: its use today, and its move to the newest pepper."""
    for digest, newest, day in {(charge.digest, charge.newest, charge.day) for charge in charges}:
        yield (newest, newest[0], day, digest, day, newest)
