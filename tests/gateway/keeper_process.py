"""A keeper process to be killed: `python -m tests.gateway.keeper_process DIRECTORY`, ledger key on stdin."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from enclave.secret import Secret
from gateway.config import Config, Model, Platform
from gateway.keeper.main import run_keeper
from gateway.keeper.server import bind_keeper_socket

MODELS = tuple(f"model-{number}" for number in range(60))


class NoDevice:
    """A Tee that has nothing to say; the crash test asks for no quotes."""

    platform = "none"
    insecure = True

    def report(self, report_data: bytes) -> bytes:
        raise NotImplementedError

    def certificates(self) -> tuple[bytes, ...]:
        return ()

    def hardware_key(self, label: str) -> Secret | None:
        return None


def config() -> Config:
    models = {name: Model("none", 1, 1) for name in MODELS}
    return Config(
        "casemate/config/1", "crash test", {}, models, platform=Platform(report_interval_seconds=0.0)
    )


def main() -> None:
    directory = Path(sys.argv[1])
    key = Secret(sys.stdin.buffer.read(32))
    listener = bind_keeper_socket(directory / "run")
    asyncio.run(
        run_keeper(
            listener, directory=directory, ledger_key=key, tee=NoDevice(), config=config(), crowded=print
        )
    )


if __name__ == "__main__":
    main()
