"""The keeper process: opens the books after the fork, serves workers until cancelled, closes the books."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

from enclave.quotes import QuoteQueue
from enclave.secret import Secret
from enclave.tee import Tee
from gateway.config import Config
from gateway.keeper.clock import Clock, machine_clock
from gateway.keeper.server import KeeperServer
from gateway.keeper.service import Keeper
from gateway.ledger.sqlcipher import SqlcipherLedger

LEDGER_FILE = "ledger.db"


def open_keeper(
    directory: Path,
    ledger_key: Secret,
    tee: Tee,
    config: Config,
    *,
    crowded: Callable[[], None],
    clock: Clock = machine_clock,
) -> Keeper:
    """Open the books in `directory` and put a keeper before them; inside a running loop, after any fork.

    `crowded` is called when new serving keys are due (gateway.keeper.replay). Raises LedgerRefused.
    `LocalKeeper(open_keeper(...))` is the one-process form.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ledger = SqlcipherLedger(directory / LEDGER_FILE, ledger_key.reveal())
    quotes = QuoteQueue(tee, interval_seconds=config.platform.report_interval_seconds)
    return Keeper(ledger, models=config.models.keys(), quotes=quotes, clock=clock, crowded=crowded)


async def run_keeper(
    listener: socket.socket,
    *,
    directory: Path,
    ledger_key: Secret,
    tee: Tee,
    config: Config,
    crowded: Callable[[], None],
    clock: Clock = machine_clock,
) -> None:
    """Serve on a listening Unix socket (`bind_keeper_socket`) until cancelled; then settle what is queued.

    Raises LedgerRefused at once if the books can't be opened, LedgerFailed if a commit fails: either way the
    whole gateway stops, as money is never guessed at.
    """
    async with contextlib.AsyncExitStack() as stack:
        keeper = open_keeper(directory, ledger_key, tee, config, crowded=crowded, clock=clock)
        stack.push_async_callback(keeper.close)
        await KeeperServer(keeper).serve(listener)
