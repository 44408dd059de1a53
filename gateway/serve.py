"""A gateway from configuration to running processes: boot, bind, fork, in this order, on one screen.

Composition happens here, in gateway.worker and in gateway.keeper.main, nowhere else. Until the first fork the
process has one thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import uvloop

from enclave.boot import Enclave, boot, next_epoch, without_old_hpke_keys
from enclave.errors import UnsafeProcess
from enclave.memory import check_allocator, harden_process
from enclave.tee import Tee
from gateway.config import Config, parse_config
from gateway.keeper.local import LocalKeeper
from gateway.keeper.main import open_keeper, run_keeper
from gateway.keeper.server import bind_keeper_socket
from gateway.ledger.schema import SCHEMA_SHA384
from gateway.log import Fault, Log, Supervised, where
from gateway.process import allow_descriptors
from gateway.supervisor import ROTATE, STOPPING, Roles, Supervisor, Timing
from gateway.worker import BACKLOG, Service, http_server, run, run_worker

KEYRING_FILE = "keyring"
RUN_DIRECTORY = "run"
DESCRIPTORS_PER_CONNECTION = 2  # one to the client, one to its provider
SPARE_DESCRIPTORS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Launch:
    """What a gateway is started with. `credentials`: providers' API keys by the name the configuration uses.

    `announce` is told the enclave and the real port once the socket is bound, and again after every epoch.
    """

    config_path: Path
    config_bytes: bytes
    tee: Tee
    credentials: Mapping[str, str] = field(default_factory=dict)
    announce: Callable[[Enclave, int], None] = lambda _enclave, _port: None
    timing: Timing = field(default_factory=Timing)


def serve(launch: Launch) -> int:
    """Serve until SIGTERM; returns the exit status.

    Raises ConfigError, EnclaveError (no TEE, broken seal, unsafe process), OSError if the address is taken.
    """
    log = Log()
    harden_process()
    _require_allocator(launch.tee)
    config = parse_config(launch.config_bytes)
    allow_descriptors(DESCRIPTORS_PER_CONNECTION * config.limits.connections + SPARE_DESCRIPTORS)
    directory = _private_directory(launch.config_path.parent / config.storage.directory)
    enclave = boot(
        tee=launch.tee,
        config=launch.config_bytes,
        service=config.service,
        release=version("casemate"),
        hostnames=config.server.hostnames,
        ledger_schema_sha384=SCHEMA_SHA384,
        keyring_path=directory / KEYRING_FILE,
        now=datetime.now(UTC),
    )
    listener = listen(config.server.listen)
    launch.announce(enclave, listener.getsockname()[1])
    gateway = Gateway(launch, config, directory, enclave, listener, log)
    return gateway.alone() if config.server.workers == 0 else gateway.supervised()


class Gateway:
    """A booted enclave and its sockets, about to be served. `_enclave` changes with every epoch; `_stopping`
    becomes true when one process that is everything was told to stop."""

    def __init__(
        self,
        launch: Launch,
        config: Config,
        directory: Path,
        enclave: Enclave,
        listener: socket.socket,
        log: Log,
    ) -> None:
        self._launch = launch
        self._config = config
        self._directory = directory
        self._enclave = enclave
        self._listener = listener
        self._log = log
        self._stopping = False

    def supervised(self) -> int:
        """One keeper and the configured number of workers, each in its own process."""
        keeper_listener, address = _keeper_socket(self._directory)
        service = self._service(address)
        supervisor = Supervisor(
            Roles(
                keeper=partial(self._keep, keeper_listener),
                worker=partial(self._work, service, keeper_listener),
                rotate=self._rotate,
                forget_keys=self._forget_keys,
            ),
            workers=self._config.server.workers,
            timing=self._launch.timing,
            tell=lambda *told: self._log.write(Supervised(*told)),
            report=self._report,
        )
        return supervisor.run()

    def alone(self) -> int:
        """Everything in this one process: the same code, without isolation between money and prompts."""
        run(self._serve_alone(self._service("")), self._log)
        return 0

    def _service(self, keeper_address: str) -> Service:
        return Service(
            config=self._config,
            config_bytes=self._launch.config_bytes,
            credentials=self._launch.credentials,
            endorsements=self._launch.tee.endorsements(),
            listener=self._listener,
            keeper_address=keeper_address,
            log=self._log,
        )

    def _keep(self, keeper_listener: socket.socket) -> None:
        """The keeper's role. It needs the ledger's key and the TEE, and neither socket nor keys that
        serve."""
        self._listener.close()
        for key in self._enclave.serving.hpke:
            key.private.wipe()
        keyring = self._enclave.keyring
        for pepper in keyring.pepper.values():
            pepper.wipe()
        work = run_keeper(
            keeper_listener,
            directory=self._directory,
            ledger_key=keyring.ledger_key,
            tee=self._launch.tee,
            config=self._config,
            crowded=partial(os.kill, os.getppid(), ROTATE),
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_sigterm(work))

    def _work(self, service: Service, keeper_listener: socket.socket) -> None:
        """A worker's role. The ledger's key is wiped from its copy of memory before it serves anyone."""
        keeper_listener.close()
        self._enclave.keyring.ledger_key.wipe()
        run_worker(service, self._enclave)

    def _rotate(self) -> None:
        self._enclave = next_epoch(self._enclave, datetime.now(UTC))
        self._launch.announce(self._enclave, self._listener.getsockname()[1])

    def _forget_keys(self) -> None:
        self._enclave = without_old_hpke_keys(self._enclave)
        self._launch.announce(self._enclave, self._listener.getsockname()[1])

    def _report(self, error: BaseException) -> None:
        self._log.write(Fault(request="-", kind=type(error).__name__, where=where(error)))

    async def _serve_alone(self, service: Service) -> None:
        keyring = self._enclave.keyring
        crowded = asyncio.Event()
        books = open_keeper(
            self._directory, keyring.ledger_key, self._launch.tee, self._config, crowded=crowded.set
        )
        keeper = LocalKeeper(books)
        try:
            while await self._serve_epoch_alone(service, keeper, crowded):
                self._rotate()
        finally:
            await keeper.close()

    async def _serve_epoch_alone(self, service: Service, keeper: LocalKeeper, crowded: asyncio.Event) -> bool:
        """Serve until told to stop (False) or until the epoch's end (True), which `crowded` brings early."""
        crowded.clear()
        async with http_server(service, self._enclave, keeper) as server:

            def stop(number: int, frame: FrameType | None) -> None:
                self._stopping = True
                server.handle_exit(number, frame)

            async def end() -> None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(crowded.wait(), self._launch.timing.epoch)
                server.should_exit = True

            for number in STOPPING:
                signal.signal(number, stop)  # the server passes on to it what came while it served
            server.should_exit |= self._stopping  # told while no server was there
            ending = asyncio.create_task(end())
            await server.serve(sockets=[service.listener.dup()])  # a copy, since the server closes it
            ending.cancel()
            return not self._stopping


def listen(address: str) -> socket.socket:
    """Bind `host:port` (port 0: any free one; IPv6 in brackets). Raises OSError, ValueError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except (OSError, ValueError, OverflowError):
        listener.close()
        raise
    return listener


def _keeper_socket(directory: Path) -> tuple[socket.socket, str]:
    """Listen in a private directory. Its name goes through a descriptor, as socket paths end at 107 bytes."""
    run_directory = _private_directory(directory / RUN_DIRECTORY)
    fd = os.open(run_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    short = Path(f"/proc/self/fd/{fd}")
    return bind_keeper_socket(short), str(short / "keeper.sock")


def _private_directory(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _require_allocator(tee: Tee) -> None:
    """Production does not start where freed memory stays readable; development says so and goes on."""
    try:
        check_allocator()
    except UnsafeProcess as error:
        if not tee.insecure:
            raise
        sys.stderr.write(f"INSECURE DEVELOPMENT: {error}; {error.hint}\n")


async def _until_sigterm(work: Coroutine[Any, Any, None]) -> None:
    """Run `work` and cancel it on SIGTERM. Ctrl-C is the supervisor's to handle: books are closed last."""
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(work)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
