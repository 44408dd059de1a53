"""Bounded memory of accounts and keys over the ledger. What is ahead of the books is never dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from msgspec import Struct

from gateway.ledger import KeyRecord, Ledger


class Account(Struct):
    """An account in memory: its balance after every charge decided so far, durable or not.

    `held` is the sum of its holds. `pins` counts holds and changes under way; while there are any, memory is
    the truth and the books may be behind.
    """

    account: str
    balance: int
    requests_per_minute: int
    held: int = 0
    pins: int = 0

    @property
    def available(self) -> int:
        """What may still be reserved, nano-dollars; never negative."""
        return self.balance - self.held


class Cache:
    """Least recently used entries leave first; reads of the ledger happen on a miss only."""

    def __init__(self, ledger: Ledger, capacity: int) -> None:
        self._ledger = ledger
        self._capacity = capacity
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        self._keys: OrderedDict[bytes, KeyRecord] = OrderedDict()

    def key(self, digests: Sequence[bytes]) -> KeyRecord | None:
        """The live key with one of these digests. Unknown ones aren't remembered: guesses fill no memory."""
        for digest in digests:
            found = self._keys.get(digest)
            if found is not None:
                self._keys.move_to_end(digest)
                return found
        for digest in digests:
            found = self._ledger.key(digest)
            if found is not None:
                self._keys[digest] = found
                if len(self._keys) > self._capacity:
                    self._keys.popitem(last=False)
                return found
        return None

    def forget_key(self, account: str, name: str) -> None:
        """Drop a key that was revoked."""
        gone = [digest for digest, key in self._keys.items() if (key.account, key.name) == (account, name)]
        for digest in gone:
            del self._keys[digest]

    def forget_digest(self, digest: bytes) -> None:
        """Drop a digest that moved to a newer pepper."""
        self._keys.pop(digest, None)

    def account(self, name: str) -> Account | None:
        """The account of this id, from memory or the books."""
        found = self._accounts.get(name)
        if found is not None:
            self._accounts.move_to_end(name)
            return found
        record = self._ledger.account(name)
        if record is None:
            return None
        self._make_room()
        found = self._accounts[name] = Account(name, record.balance, record.requests_per_minute)
        return found

    def _make_room(self) -> None:
        """Drop idle entries, oldest first, before the new one comes: it must not be the one to go.

        Pinned ones are passed over, so the bound is soft: at most what is in flight above it.
        """
        for _ in range(len(self._accounts)):
            if len(self._accounts) < self._capacity:
                return
            name = next(iter(self._accounts))
            if self._accounts[name].pins:
                self._accounts.move_to_end(name)
            else:
                del self._accounts[name]
