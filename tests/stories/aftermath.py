"""Everything that a canary went through in a whole gateway, and every place where it could have stayed.

The run: a gateway with two workers whose keeper traffic is recorded; requests held in flight, as the control
for the search of memory; then every request of `canary_requests`; then memory; then workers that abort in the
middle of a request; then the end of all processes, and the search of what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.fakes.canary import Canary, Finding, find, find_in_files, find_in_memory, find_in_open_files
from tests.fakes.counting_provider import HELD, SCRIPTS
from tests.stories.canary_requests import Seen, Shot, Shots, fire, sealing_key, throw
from tests.stories.keeper_tap import keeper_tap
from tests.stories.machine import Machine, Provider, machine, provider_process, until

WORKERS = 2
AT_ONCE = 8
DOLLAR = 1_000_000_000
MEMORY_SECONDS = 5.0
HELD_CHARACTERS = 65_536
HELD_AT_ONCE = 6
SERVED = ("01", "08")
"""States in the kernel's table: established, and closed by the client but not yet by us."""

Places = dict[str, list[Finding]]


@dataclass
class Aftermath:
    """What was sent and seen, and what was found of canary and planted text, by kind of place.

    `in_flight` and `memory` go by process role; both stay empty if the kernel keeps memory from us.
    """

    canary: Canary
    planted: Canary
    seen: list[Seen] = field(default_factory=list, repr=False)
    junk: dict[str, bytes] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list, repr=False)
    in_flight: Places = field(default_factory=dict)
    memory: Places = field(default_factory=dict)
    keys_in_memory: Places = field(default_factory=dict)
    left: Places = field(default_factory=dict)
    planted_memory: Places = field(default_factory=dict)
    planted_left: Places = field(default_factory=dict)
    core_limits: set[str] = field(default_factory=set)
    aborted: list[int] = field(default_factory=list)
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """The steps of one run; `result` grows."""

    gateway: Machine
    provider: Provider
    shots: Shots
    key: str
    result: Aftermath

    async def hold(self, number: int, seal: bytes) -> None:
        """A request that stays in flight, with the canary in it, until the provider lets it go."""
        content = [{"role": "user", "content": self.shots.long_text(HELD_CHARACTERS)}]
        body = self.shots.body(HELD, stream=number % 2 == 0, messages=content)
        with contextlib.suppress(aiohttp.ClientError):
            await fire(self.gateway, self.key, Shot("held", body, sealed=number >= HELD_AT_ONCE // 2), seal)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Several requests in flight within the block: streamed and not, plain and sealed."""
        seal = await sealing_key(self.gateway)
        tasks = [asyncio.create_task(self.hold(number, seal)) for number in range(HELD_AT_ONCE)]
        await self.provider.wait("holding", HELD_AT_ONCE)
        try:
            yield tasks
        finally:
            await self.provider.release()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def find_in_flight(self) -> None:
        """The control: while requests are in flight, their text is in the memory of whoever serves them."""
        async with self.held():
            self.result.in_flight = self._search_memory(self.result.canary)

    async def leave(self) -> None:
        """Clients that close their connection in the middle of an answer."""
        async with self.held() as tasks:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.quiet()

    async def fire_all(self, poor: str, hasty: str) -> None:
        """Every request that can be thought of, some at a time; keys `poor` and `hasty` are refused."""
        seal = await sealing_key(self.gateway)
        shots = self.shots
        waiting = [(self.key, shot) for shot in (*shots.answered(), *shots.broken(), *shots.refused())]
        waiting += [(self.key, shot) for shot in (*shots.refused_early(), *shots.sealed())]
        waiting += [(poor, Shot("poor", shots.body(**shots.everywhere()), (402,)))]
        room = asyncio.Semaphore(AT_ONCE)

        async def one(key: str, shot: Shot) -> None:
            async with room:
                self.result.seen.append(await fire(self.gateway, key, shot, seal))

        await asyncio.gather(*(one(key, shot) for key, shot in waiting))
        for status in (200, 429):  # one request a minute
            await one(hasty, Shot(f"hasty {status}", shots.body(**shots.everywhere()), (status,), None))

    async def throw_junk(self) -> None:
        """What is no request, also without TLS."""
        for name, data in self.shots.junk():
            self.result.junk[name] = await throw(self.gateway, self.key, data)
        plain = f"GET /{self.result.canary.core} HTTP/1.1\r\n\r\n".encode()
        self.result.junk["no TLS"] = await throw(self.gateway, self.key, plain, tls=False)

    async def quiet(self) -> None:
        """Wait until every connection of a client has closed."""
        await until(lambda: connections(self.gateway.port) == 0, "clients' connections to close")

    async def find_left_in_memory(self) -> None:
        """Nothing may be there once responses have ended and connections are closed."""
        await self.quiet()
        deadline = time.monotonic() + MEMORY_SECONDS
        while True:
            self.result.memory = self._search_memory(self.result.canary)
            if not any(self.result.memory.values()) or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)  # the last connection's task may be about to end
        self.result.keys_in_memory = self._search_memory(Canary(self.key))
        self.result.planted_memory = self._search_memory(self.result.planted)

    async def abort_workers(self) -> None:
        """SIGABRT, which wants to leave a core file, while the canary is in memory."""
        for pid in self.gateway.processes():
            limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
            self.result.core_limits |= {line for line in limits if line.startswith("Max core file size")}
        async with self.held():
            self.result.aborted = self.gateway.living("worker")
            for pid in self.result.aborted:
                os.kill(pid, signal.SIGABRT)
        await self.gateway.recover(WORKERS)

    def _search_memory(self, canary: Canary) -> Places:
        found: Places = {"supervisor": [], "keeper": [], "worker": []}
        try:
            for pid, role in self.gateway.processes().items():
                found[role] += find_in_memory(canary, pid, role) + find_in_open_files(canary, pid)
        except PermissionError:
            self.result.unreadable = "the memory of an undumpable process is open to root alone"
            return {}
        return found

    def search_what_is_left(self, traffic: bytes, output: bytes, began: float, export: Path) -> None:
        """Files, log, output, ledger and keeper traffic, for the canary and for what was planted."""
        state, temporary = self.gateway.state, Path(tempfile.gettempdir())
        books = self.export_books(export)
        for canary, places in (
            (self.result.canary, self.result.left),
            (self.result.planted, self.result.planted_left),
        ):
            places["files"] = find_in_files(canary, [state])
            places["temporary files"] = find_recent(canary, temporary, began)
            places["log"] = find(canary, self.gateway.child.log.read_bytes(), "log")
            places["output"] = find(canary, output, "output")
            places["ledger"] = find(canary, books, "ledger")
            places["traffic"] = find(canary, traffic, "keeper traffic")

    def export_books(self, export: Path) -> bytes:
        """The whole ledger, decrypted into a file: tables, indexes, and whatever else SQLite keeps."""
        with contextlib.closing(self.gateway.open_books()) as books:
            books.execute("ATTACH DATABASE ? AS plain KEY ''", (str(export),))
            books.execute("SELECT sqlcipher_export('plain')")
            books.execute("DETACH DATABASE plain")
        return export.read_bytes()


def find_recent(canary: Canary, folder: Path, began: float) -> list[Finding]:
    """In files that appeared or changed in a shared temporary folder, or one folder below it."""
    folders = [folder, *(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())]
    found = []
    for one in folders:
        with contextlib.suppress(PermissionError, FileNotFoundError):
            found += find_in_files(canary, [one], changed_since=began, deep=False)
    return found


def connections(port: int) -> int:
    """How many connections this loopback port has, as the kernel sees it: the server's side of each."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ours = (line.split() for line in lines)
    return sum(one[1].endswith(f":{port:04X}") and one[3] in SERVED for one in ours)


async def run(folder: Path, tell: Callable[[str], None]) -> Aftermath:
    """The whole story; `tell` hears how long each step took."""
    result = Aftermath(Canary.new(), Canary.new())
    shots = Shots(result.canary, result.planted)
    models = tuple(shots.model(script) for script in SCRIPTS)
    began = time.time()
    with provider_process() as provider:
        async with machine(folder / "state", provider, models, workers=WORKERS) as gateway:
            async with keeper_tap(gateway.state / "data" / "run") as traffic:
                for pid in gateway.living("worker"):
                    await gateway.kill("worker", pid)
                await gateway.recover(WORKERS)
                rich, poor = await gateway.account("rich", DOLLAR), await gateway.account("poor", 0)
                hasty = await gateway.account("hasty", DOLLAR, per_minute=1)
                steps = Run(gateway, provider, shots, rich.keys["rich-0"], result)
                for step in (
                    steps.find_in_flight(),
                    steps.fire_all(poor.keys["poor-0"], hasty.keys["hasty-0"]),
                    steps.throw_junk(),
                    steps.leave(),
                    steps.find_left_in_memory(),
                    steps.abort_workers(),
                ):
                    started = time.monotonic()
                    await step
                    tell(f"{step.__name__}: {time.monotonic() - started:.1f} s")
                output = stop(gateway)
            result.log = gateway.log()
            steps.search_what_is_left(bytes(traffic), output, began, folder / "books")
    return result


def stop(gateway: Machine) -> bytes:
    """Stop the gateway in order and return what it wrote to standard output meanwhile."""
    process = gateway.child.process
    assert process.stdout is not None
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    return process.stdout.read()
