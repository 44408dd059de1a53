"""Books, clocks and quotes for the keeper's tests."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

from gateway.keeper import messages as m
from gateway.keeper.clock import Moment
from gateway.keeper.service import Keeper
from gateway.ledger import AddKey, Ledger, LedgerFailed, OpenAccount
from gateway.ledger.memory import MemoryLedger

MODELS = ("small", "large")
DAY = 20_000
NOON = DAY * 86_400 + 43_200


def digest(seed: int, version: int = 1) -> bytes:
    """A key digest of the right form."""
    return bytes([version]) + seed.to_bytes(32, "big")


@dataclass
class HandClock:
    """Stands until it is moved."""

    wall: int = NOON
    steady: int = 10**12

    def __call__(self) -> Moment:
        return Moment(self.wall, self.steady)

    def advance(self, seconds: float) -> None:
        self.wall += int(seconds)
        self.steady += int(seconds * 1_000_000_000)


@dataclass(frozen=True)
class FakeQuote:
    statement: bytes = b"statement"
    index: int = 0
    size: int = 1
    path: tuple[bytes, ...] = ()
    report: bytes = b"report"


class FakeQuotes:
    """Answers every quote at once."""

    async def quote(self, purpose: str, nonce: bytes | None, manifest_sha384: bytes) -> FakeQuote:
        return FakeQuote(statement=purpose.encode() + (nonce or b"") + manifest_sha384)


def stocked(
    ledger: Ledger, *, balance: int = 1_000_000, per_minute: int = 1_000_000, account: str = "acme"
) -> None:
    """Book one account with one key, `digest(1)`, named `main`."""
    changes = [
        OpenAccount(DAY, account, account.title(), balance, per_minute),
        AddKey(account, "main", digest(1)),
    ]
    assert all(not outcome.refused for outcome in ledger.apply(changes))


def keeper(ledger: Ledger, *, clock: HandClock | None = None, models: tuple[str, ...] = MODELS) -> Keeper:
    return Keeper(
        ledger, models=models, quotes=FakeQuotes(), clock=clock or HandClock(), crowded=lambda: None
    )


def admit(*, seed: int = 1, low: int = 1, high: int = 100, model: str = "small") -> m.Admit:
    return m.Admit((digest(seed),), model, low, high)


@dataclass
class Tally:
    """What a load test sent, and what it was told."""

    sent: set[tuple[str, int]] = field(default_factory=set)
    answered: set[tuple[str, int]] = field(default_factory=set)


class Gate(MemoryLedger):
    """A disk that takes its time: commits wait until the gate is open, and are counted."""

    def __init__(self):
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.batches = []
        self.broken = False

    def apply(self, changes):
        self.entered.set()
        assert self.open.wait(10)
        if self.broken:
            raise LedgerFailed("disk full")
        self.batches.append(len(changes))
        return super().apply(changes)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
