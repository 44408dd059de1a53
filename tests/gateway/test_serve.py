"""A whole gateway process: new keys every epoch, with one listening socket and one set of books
throughout."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx
import pytest

from attestation.pinned_tls import client_context
from attestation.policy.model import Policy
from attestation.policy.toml import parse_policy
from attestation.transport.httpx_transport import VerifiedTransport
from gateway.dev.files import config_text, policy_text
from gateway.dev.state import State, write
from gateway.serve import Gateway, listen
from gateway.supervisor import Timing
from tests.conftest import REPOSITORY

T = TypeVar("T")
ADMIN_KEY = "an operator's key"
EPOCH_SECONDS = 4.0


class Node:
    """A gateway whose announcements are read one by one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def announcement(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the gateway has ended"
        told: dict[str, Any] = json.loads(line)
        return told


@contextmanager
def node(directory: Path, workers: int) -> Iterator[Node]:
    state = State(directory)
    state.keep_chip()
    write(state.config, config_text([], port=0, workers=workers, admin_key=ADMIN_KEY).encode())
    command = [sys.executable, "-m", "tests.gateway.rotating_node", str(os.getpid()), str(directory)]
    with subprocess.Popen(
        [*command, str(EPOCH_SECONDS)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONMALLOC": "malloc"},
    ) as process:
        try:
            yield Node(process)
        finally:
            process.kill()
    state.release()


def client(told: dict[str, Any]) -> httpx.Client:
    return httpx.Client(
        base_url=f"https://localhost:{told['port']}", verify=client_context(told["ca_pem"]), trust_env=False
    )


def key_epoch(told: dict[str, Any]) -> int:
    """As attested, over a connection that only this epoch's key can have made."""
    return _ask(told, lambda http: int(http.get("/.well-known/casemate/manifest").json()["key_epoch"]))


@pytest.mark.parametrize("workers", [0, 1])
def test_every_epoch_brings_new_attested_keys_on_the_same_port(tmp_path: Path, workers: int) -> None:
    with node(tmp_path, workers) as running:
        first = running.announcement()
        assert key_epoch(first) == 1
        second = running.announcement()
        assert second["port"] == first["port"]
        assert second["ca_pem"] != first["ca_pem"]
        assert second["root"] == first["root"]
        _until_served(second)
        policy = parse_policy(
            policy_text([], root=second["root"], measurement=second["measurement"]).encode()
        )
        # Old workers, and their evidence, are good until they have left; soon nobody else is there.
        assert any(_ask(second, lambda _: _attested_epoch(second["port"], policy)) == 2 for _ in range(200))


def test_an_account_made_before_the_keys_changed_is_still_there_after(tmp_path: Path) -> None:
    with node(tmp_path, 1) as running:
        first = running.announcement()
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        with client(first) as http:
            account = http.post(
                "/admin/v1/accounts", headers=headers, json={"name": "a", "credit_usd": 3}
            ).json()
            body = {"account": account["account"], "name": "k"}
            key = http.post("/admin/v1/keys", headers=headers, json=body).json()["api_key"]
        second = running.announcement()
        _until_served(second)
        bearer = {"Authorization": f"Bearer {key}"}
        usage = _ask(second, lambda http: http.get("/api/v1/usage", headers=bearer).json())
    assert usage["balance"]["remaining_credits"] == 3


def test_stops_with_status_0_and_leaves_closed_books(tmp_path: Path) -> None:
    with node(tmp_path, 0) as running:
        told = running.announcement()
        _until_served(told)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) == 0
    assert not (tmp_path / "data" / "ledger.db-wal").exists()


async def test_a_signal_that_comes_while_an_epoch_ends_stops_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With everything in one process the server that is ending would take it, and the next one go on."""

    class Ending:
        should_exit = False

        def handle_exit(self, _number: int, _frame: object) -> None:
            self.should_exit = True

        async def serve(self, sockets: list[socket.socket]) -> None:
            while not self.should_exit:
                await asyncio.sleep(0)
            signal.raise_signal(signal.SIGTERM)  # as uvicorn does with those that came while it served
            sockets[0].close()

    @asynccontextmanager
    async def server(*_: object) -> AsyncIterator[Ending]:
        ending = Ending()
        signal.signal(signal.SIGTERM, ending.handle_exit)
        yield ending

    monkeypatch.setattr("gateway.serve.http_server", server)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    anything: Any = SimpleNamespace(timing=Timing(epoch=0.0))
    gateway = Gateway(anything, anything, Path(), anything, anything, anything)
    try:
        with listen("127.0.0.1:0") as listener:
            service: Any = SimpleNamespace(listener=listener)
            assert not await gateway._serve_epoch_alone(service, anything, asyncio.Event())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_says_loudly_when_freed_memory_stays_readable(tmp_path: Path) -> None:
    with node(tmp_path, 0) as running:
        _until_served(running.announcement())
        running.process.kill()
        assert running.process.stderr is not None
        assert b"INSECURE DEVELOPMENT: the C allocator" in running.process.stderr.read()


def test_listens_where_it_is_told_and_nowhere_else() -> None:
    with listen("127.0.0.1:0") as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    with listen("[::1]:0") as listener:
        assert listener.family == socket.AF_INET6
    for wrong in ("127.0.0.1:http", "127.0.0.1:70000", "no-such-host.invalid:1"):
        with pytest.raises((OSError, ValueError, OverflowError)):
            listen(wrong)


def _until_served(told: dict[str, Any]) -> None:
    _ask(told, lambda http: http.get("/healthz"))


def _ask(told: dict[str, Any], question: Callable[[httpx.Client], T]) -> T:
    """Ask whoever serves with the announced keys; for a moment old workers accept beside new ones."""
    for _ in range(200):
        with client(told) as http:
            try:
                return question(http)
            except httpx.TransportError:
                continue
    raise AssertionError("nobody serves with the announced keys")


def _attested_epoch(port: int, policy: Policy) -> int:
    with VerifiedTransport(f"https://localhost:{port}", policy) as transport:
        manifest = transport.verify().manifest
    assert manifest is not None
    return manifest.key_epoch
