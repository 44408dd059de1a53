"""A whole gateway and its provider as real processes: what `casemate dev` runs, without model and proxy.

The gateway is `gateway.dev.node`: the production code, in the enclave's environment, on a simulated TEE. Its
processes are found by what its supervisor logs, and its books are opened with the simulated chip's secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from enclave.keyring import load_or_create
from enclave.secret import Secret
from enclave.tee.dev import SimulatedTee
from gateway.dev.children import Child, spawn
from gateway.ledger.sqlcipher_file import open_connection
from tests.conftest import REPOSITORY

START_SECONDS = 60.0
RECOVERY_SECONDS = 20.0
STEP_SECONDS = 0.02
INPUT_PRICE, OUTPUT_PRICE = 100_000_007, 400_000_009
"""Nano-dollars per million tokens; odd on purpose, so that rounding is seen."""
CHAT = "/api/v1/chat/completions"
TABLES = ("accounts", "api_keys", "credits", "daily_usage")


async def until(happened: Callable[[], bool], what: str, seconds: float = RECOVERY_SECONDS) -> None:
    """Wait for another process's doing, which can only be looked for; fails when it takes too long."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(STEP_SECONDS)


# --- the provider -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Provider:
    """Handle on tests.fakes.counting_provider."""

    port: int
    pins: tuple[str, ...]
    ca_pem: str
    control: str

    async def produced(self) -> dict[str, dict[str, Any]]:
        """What each request cost, by its `test_id`."""
        async with aiohttp.ClientSession() as session, session.get(self.control) as response:
            return await response.json()

    async def finished(self) -> int:
        """How many answers were produced to their end so far."""
        return sum(one["finished"] for one in (await self.produced()).values())

    async def wait(self, what: str, count: int, *, seconds: float = RECOVERY_SECONDS) -> None:
        """Wait until so many answers in all are `finished`, or so many are `holding`. Raises TimeoutError."""
        query = f"{self.control}{what}?count={count}"
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session, session.get(query):
            return

    async def release(self) -> None:
        """Let every held answer go on."""
        async with aiohttp.ClientSession() as session, session.post(f"{self.control}release"):
            return


@contextmanager
def provider_process() -> Iterator[Provider]:
    """A provider until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.counting_provider"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, "the provider did not start"
            told = json.loads(line)
            control = f"http://127.0.0.1:{told['control_port']}/"
            yield Provider(told["port"], tuple(told["pins"]), told["ca_pem"], control)
        finally:
            process.kill()


# --- the gateway --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """A running gateway: where it is, who its processes are, and how to get at its books."""

    state: Path
    child: Child
    port: int
    tls: ssl.SSLContext
    admin_key: str

    @property
    def url(self) -> str:
        """Without a path."""
        return f"https://localhost:{self.port}"

    def log(self) -> list[dict[str, Any]]:
        """Every whole line of its log so far; lines that are no JSON object count as such a member `text`."""
        lines = self.child.log.read_bytes().split(b"\n")[:-1]
        return [_event(line) for line in lines]

    def living(self, role: str) -> list[int]:
        """PIDs of this role's processes that run, by what the supervisor told."""
        told = [event for event in self.log() if event.get("event") == "Supervised" and event["role"] == role]
        gone = {event["pid"] for event in told if event["what"] in ("died", "stopped")}
        return [event["pid"] for event in told if event["what"] == "started" and event["pid"] not in gone]

    def processes(self) -> dict[int, str]:
        """Every process of the gateway by PID."""
        children = {pid: role for role in ("keeper", "worker") for pid in self.living(role)}
        return {self.child.process.pid: "supervisor", **children}

    async def kill(self, role: str, pid: int) -> None:
        """kill -9, and wait until the supervisor has noticed."""
        os.kill(pid, signal.SIGKILL)
        await until(lambda: pid not in self.living(role), f"the end of a {role}")

    async def recover(self, workers: int) -> None:
        """Wait until everybody is there again and the gateway's own evidence verifies."""
        await until(
            lambda: len(self.living("worker")) == workers and len(self.living("keeper")) == 1, "new processes"
        )
        deadline = time.monotonic() + RECOVERY_SECONDS
        async with self.session() as session:
            while not await _answers(session, "/readyz"):
                assert time.monotonic() < deadline, "the gateway did not get ready again"
                await asyncio.sleep(STEP_SECONDS)

    def session(self, **more: Any) -> aiohttp.ClientSession:
        """A client that trusts this gateway's authority."""
        connector = aiohttp.TCPConnector(ssl=self.tls, limit=0)
        return aiohttp.ClientSession(self.url, connector=connector, **more)

    async def admin(self, session: aiohttp.ClientSession, what: str, body: Mapping[str, Any]) -> Any:
        """One administrative request."""
        headers = {"authorization": f"Bearer {self.admin_key}"}
        async with session.post(f"/admin/v1/{what}", json=body, headers=headers) as response:
            assert response.status in (200, 201), (what, response.status)
            return await response.json()

    async def account(self, name: str, credit: int, *, keys: int = 1, per_minute: int = 1_000_000) -> Account:
        """Open an account with `credit` nano-dollars and keys named `NAME-0`, `NAME-1` and so on."""
        opening = {"name": name, "credit_usd": credit / 1e9, "requests_per_minute": per_minute}
        async with self.session() as session:
            account = (await self.admin(session, "accounts", opening))["account"]
            wanted = [{"account": account, "name": f"{name}-{number}"} for number in range(keys)]
            made = await asyncio.gather(*(self.admin(session, "keys", body) for body in wanted))
        named = {body["name"]: answer["api_key"] for body, answer in zip(wanted, made, strict=True)}
        return Account(account, credit, named)

    async def usage(self, api_key: str) -> dict[str, Any]:
        """What the gateway tells the customer."""
        headers = {"authorization": f"Bearer {api_key}"}
        async with self.session() as session, session.get("/api/v1/usage", headers=headers) as response:
            assert response.status == 200
            return await response.json()

    def books(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table of the ledger."""
        with contextlib.closing(self.open_books()) as connection:
            return {table: _rows(connection, table) for table in TABLES}

    def open_books(self) -> Any:
        """A connection of our own to the ledger, opened with its key; the keeper may have it open as well."""
        chip = Secret((self.state / "chip.key").read_bytes())
        tee = SimulatedTee(None, None, b"", b"", chip)  # type: ignore[arg-type] # only its key counts
        data = self.state / "data"
        keyring = load_or_create(data / "keyring", tee.hardware_key("casemate/keyring/1"))
        return open_connection(data / "ledger.db", keyring.ledger_key.reveal())


@dataclass(frozen=True, slots=True)
class Account:
    """An account's id, what was paid in (nano-dollars), and its API keys by name."""

    id: str
    credit: int
    keys: dict[str, str] = field(repr=False)

    def balance(self, books: Mapping[str, list[dict[str, Any]]]) -> int:
        """What the books say is left."""
        return next(row["balance"] for row in books["accounts"] if row["account"] == self.id)

    def billed(self, books: Mapping[str, list[dict[str, Any]]]) -> dict[str, Billed]:
        """What the books say of each of its keys, over all days and models."""
        found: dict[str, Billed] = {}
        for row in books["daily_usage"]:
            if row["account"] == self.id:
                found[row["key"]] = found.get(row["key"], Billed()).plus(row)
        return found


@dataclass(frozen=True, slots=True)
class Billed:
    """Requests, nano-dollars charged, and nano-dollars that the operator lost."""

    requests: int = 0
    cost: int = 0
    operator_loss: int = 0

    def plus(self, row: Mapping[str, Any]) -> Billed:
        """Add one row of the books."""
        return Billed(
            self.requests + row["requests"],
            self.cost + row["cost"],
            self.operator_loss + row["operator_loss"],
        )


def true_cost(produced: Mapping[str, Any]) -> int:
    """Nano-dollars that a request is worth by the provider's own count, rounded up once."""
    return -(-(produced["input"] * INPUT_PRICE + produced["output"] * OUTPUT_PRICE) // 1_000_000)


def worst_case(body: bytes, max_tokens: int) -> int:
    """The documented hold: a token per byte and 256 for the template, and the longest answer."""
    return -(-((len(body) + 256) * INPUT_PRICE + max_tokens * OUTPUT_PRICE) // 1_000_000)


@asynccontextmanager
async def machine(
    state: Path, provider: Provider, models: tuple[str, ...], *, workers: int = 2
) -> AsyncIterator[Machine]:
    """A gateway with these models until the end of the block; stopped in order, then by force."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    admin_key = secrets.token_urlsafe(24)
    (state / "gateway.toml").write_text(_configuration(provider, models, admin_key, workers))
    (state / "chip.key").write_bytes(secrets.token_bytes(32))
    with contextlib.chdir(state):  # a core file would appear in the working directory
        child = spawn(
            "gateway", ["gateway.dev.node", str(os.getpid()), str(state)], state / "logs", hardened=True
        )
    try:
        told = child.ready(START_SECONDS)
        tls = ssl.create_default_context(cadata=told["ca_pem"])
        running = Machine(state, child, told["port"], tls, admin_key)
        await running.recover(workers)
        yield running
    finally:
        child.stop(20)


def _configuration(provider: Provider, models: tuple[str, ...], admin_key: str, workers: int) -> str:
    tables = [
        'format = "casemate/config/1"\nservice = "story"',
        f'[server]\nlisten = "127.0.0.1:0"\nworkers = {workers}',
        '[platform]\ntee = "insecure-development"\nreport_interval_seconds = 0.01',
        f'[insecure_development]\nadmin_key_sha256 = "{hashlib.sha256(admin_key.encode()).hexdigest()}"',
        f'[providers.story]\nurl = "https://localhost:{provider.port}/v1"\n'
        f"pins = {json.dumps(provider.pins)}\nca_pem = {json.dumps(provider.ca_pem)}",
    ]
    prices = f"input_nano_per_million = {INPUT_PRICE}\noutput_nano_per_million = {OUTPUT_PRICE}"
    tables += [
        f'[models."{model}"]\nprovider = "story"\n{prices}\nupstream_model = "{model.partition(":")[0]}"'
        for model in models
    ]
    return "\n\n".join(tables) + "\n"


async def _answers(session: aiohttp.ClientSession, path: str) -> bool:
    try:
        async with session.get(path) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {"text": line.decode("utf-8", "replace")}


def _rows(connection: Any, table: str) -> list[dict[str, Any]]:
    cursor = connection.execute(f"SELECT * FROM {table}")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]
