"""Where money is durable: the protocol every ledger keeps, and the values that cross it. No I/O here.

Money is integer nano-dollars, days are days since 1970-01-01 UTC, digests are 33 bytes: one version byte and
32 bytes of keyed BLAKE2b. There is no row per request: a charge is added to its day's aggregate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

MAX_BALANCE = 4_000_000_000_000_000_000
"""Above any real balance, below what SQLite's 64-bit integers hold, also after one addition."""


class LedgerError(Exception):
    """Base: the books cannot be used. Messages never carry names, digests or amounts."""


class LedgerRefused(LedgerError):  # noqa: N818 - field term
    """These books are not ours to open: wrong key, unencrypted, other schema, or in use by another keeper."""


class LedgerFailed(LedgerError):  # noqa: N818
    """A transaction did not become durable. The keeper must stop: memory is ahead of the books."""


# --- what is read -------------------------------------------------------------------------------------------


class KeyRecord(Struct, frozen=True):
    """An API key that is not revoked."""

    digest: bytes
    account: str
    name: str


class AccountRecord(Struct, frozen=True):
    """An account as the books have it."""

    account: str
    name: str
    balance: int
    requests_per_minute: int


class Totals(Struct, frozen=True):
    """One sum over aggregates; `name` is a key's or a model's name, or empty for the whole."""

    name: str = ""
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0


class UsageRecord(Struct, frozen=True):
    """An account's aggregates: requests today, and the month as a whole, by key and by model."""

    today_requests: int
    month: Totals
    keys: tuple[Totals, ...]
    models: tuple[Totals, ...]


# --- what is changed ----------------------------------------------------------------------------------------


class Charge(Struct, frozen=True):
    """One request's contribution to its day. `charged` leaves the balance, `operator_loss` doesn't.

    `digest` is the key's digest as found, `newest` the same key under the newest pepper: the books move
    to it.
    """

    day: int
    account: str
    key: str
    digest: bytes
    newest: bytes
    model: str
    charged: int
    operator_loss: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False


class OpenAccount(Struct, frozen=True):
    """A new account; its opening balance is a credit like any other. Refused: `exists`."""

    day: int
    account: str
    name: str
    balance: int
    requests_per_minute: int


class AddKey(Struct, frozen=True):
    """A new key. Refused: `unknown_account`, or `exists` (this digest, or a live key of this name)."""

    account: str
    name: str
    digest: bytes


class Revoke(Struct, frozen=True):
    """End a live key. Refused: `unknown_key`."""

    account: str
    name: str


class AddCredit(Struct, frozen=True):
    """Add money once per reference.

    Refused: `unknown_account`; `out_of_range`; `exists` if the reference was used for another account or
    amount.
    """

    day: int
    account: str
    amount: int
    reference: str


Change = Charge | OpenAccount | AddKey | Revoke | AddCredit


class Outcome(Struct, frozen=True):
    """What became of a change. `refused` is empty or a code; `repeated` says that it had been made before."""

    refused: str = ""
    repeated: bool = False


DONE = Outcome()


class Ledger(Protocol):
    """Durable accounts. One contract suite (tests/gateway/test_ledger_contract.py) is run by every ledger.

    Every implementation must:
    - make all changes of one `apply` durable in one transaction, or none, and return only when they are;
    - return one outcome per change, in order; a refused change alters nothing and spoils no other;
    - raise LedgerFailed, and change nothing, when any balance would leave 0..MAX_BALANCE by a charge;
    - apply a credit once per reference, for ever;
    - show in every read whatever an `apply` that has returned did;
    - answer alike for a key that is revoked and one that never was;
    - add charges to one row per (day, account, key, model), never one per request;
    - bear reads from one thread while `apply` runs in another.
    """

    def key(self, digest: bytes) -> KeyRecord | None:
        """The live key with this digest."""

    def account(self, account: str) -> AccountRecord | None:
        """The account of this id."""

    def usage(self, account: str, first_day: int, today: int) -> UsageRecord:
        """Aggregates of the days `first_day`..`today`, both included; zeros for an unknown account."""

    def apply(self, changes: Sequence[Change]) -> list[Outcome]:
        """Make these changes durable, together. Credits and keys come before charges. Raises LedgerFailed."""

    def close(self) -> None:
        """Give the books back. Nothing may be called afterwards."""
