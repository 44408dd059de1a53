"""A real gateway on a real socket, in a thread: uvicorn, TLS, LocalKeeper, SQLCipher, simulated TEE."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import uvloop

from attestation.pinned_tls import format_pin
from enclave.boot import Enclave, boot
from enclave.tee.dev import SimulatedTee
from gateway.app import build_app
from gateway.authority import Authority
from gateway.config import Config, parse_config
from gateway.context import AppContext
from gateway.http_protocol import http_protocol
from gateway.keeper.local import LocalKeeper
from gateway.keeper.main import open_keeper
from gateway.log import Log
from gateway.upstream import make_upstreams
from tests.fakes.provider import MODES

ADMIN_KEY = "the admin key of the tests"
CREDENTIAL = "sk-provider-credential"


@dataclass
class FakeProvider:
    """The provider's process, from outside."""

    process: subprocess.Popen[str]
    port: int
    control_port: int
    pin: str
    backup_pin: str
    ca_pem: str

    def stats(self) -> dict[str, Any]:
        """What the provider counted so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.control_port}/stats", timeout=5) as answer:
            return json.load(answer)


@contextmanager
def fake_provider(pause: float = 0.05) -> Iterator[FakeProvider]:
    """Start the provider as a process of its own; it ends when its standard input closes."""
    command = [sys.executable, "-m", "tests.fakes.provider", "--port", "0", "--pause", str(pause)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            yield FakeProvider(process, **json.loads(process.stdout.readline()))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=10)


def config_text(provider: FakeProvider, *, pin: str | None = None, extra: str = "", **limits: float) -> bytes:
    """A configuration that serves every script of the fake provider, `prefix/` models included."""
    limit_lines = "\n".join(f"{name} = {value}" for name, value in limits.items())
    models = "\n".join(
        f'[models."{name}"]\nprovider = "fake"\ninput_nano_per_million = 1000000000\n'
        "output_nano_per_million = 2000000000\nfirst_event_seconds = 1.0\nmax_output_tokens = 4096\n"
        for name in MODES
    )
    digest = hashlib.sha256(ADMIN_KEY.encode()).hexdigest()
    return f'''
format = "casemate/config/1"
service = "test gateway"
[insecure_development]
admin_key_sha256 = "{digest}"
[platform]
tee = "insecure-development"
report_interval_seconds = 0.01
[limits]
{limit_lines}
[providers.fake]
url = "https://127.0.0.1:{provider.port}/v1"
pins = ["{pin or provider.pin}"]
credential = "fake"
ca_pem = """{provider.ca_pem}"""
{models}
{extra}
'''.encode()


class ServedGateway:
    """Serves until `stop`. `log` holds the log's bytes."""

    def __init__(self, config: bytes, tee: SimulatedTee, directory: Path) -> None:
        self.config: Config = parse_config(config)
        self.enclave: Enclave = boot(
            tee=tee,
            config=config,
            service="test",
            release="0",
            hostnames=("localhost",),
            ledger_schema_sha384=bytes(48),
            keyring_path=directory / "keyring",
            now=datetime.now(UTC),
        )
        self.log = io.BytesIO()
        self.port = 0
        self._config_bytes = config
        self._directory = directory
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self.keeper: LocalKeeper | None = None
        self.context: AppContext
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> ServedGateway:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def stop(self) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(20)

    @property
    def tls(self) -> ssl.SSLContext:
        """A client context that trusts this gateway's own CA."""
        return ssl.create_default_context(cadata=self.enclave.serving.tls.ca_pem.decode())

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def client(self, api_key: str | None = None, **more: Any) -> httpx.Client:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        return httpx.Client(
            base_url=self.url, verify=self.tls, headers=headers, timeout=20, trust_env=False, **more
        )

    def new_key(self, credit_usd: float = 100.0, requests_per_minute: int = 100_000) -> str:
        """A fresh account's key."""
        with self.client(ADMIN_KEY) as admin:
            body = {"name": "Test", "credit_usd": credit_usd, "requests_per_minute": requests_per_minute}
            account = admin.post("/admin/v1/accounts", json=body).raise_for_status().json()["account"]
            answer = admin.post("/admin/v1/keys", json={"account": account, "name": "first"})
            return answer.raise_for_status().json()["api_key"]

    def usage(self, api_key: str) -> dict[str, Any]:
        with self.client(api_key) as client:
            return client.get("/api/v1/usage").raise_for_status().json()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        keyring = self.enclave.keyring
        self.keeper = LocalKeeper(
            open_keeper(
                self._directory, keyring.ledger_key, self.enclave.tee, self.config, crowded=lambda: None
            )
        )
        upstreams = make_upstreams(self.config, {"fake": CREDENTIAL})
        context = self.context = AppContext(
            config=self.config,
            config_bytes=self._config_bytes,
            manifest=self.enclave.manifest,
            manifest_sha384=self.enclave.manifest_sha384,
            endorsements=self.enclave.tee.endorsements(),
            insecure=True,
            serving=self.enclave.serving,
            authority=Authority(keyring),
            keeper=self.keeper,
            upstreams=upstreams,
            log=Log(self.log),
            clock=lambda: datetime.now(UTC),
        )
        settings = uvicorn.Config(
            build_app(context),
            host="127.0.0.1",
            port=0,
            http=http_protocol(self.config.limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_context_factory=lambda _config, _default: self.enclave.serving.tls.context,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(settings, self._ready)
        await self._server.serve()
        for upstream in upstreams.values():
            await upstream.aclose()
        await self.keeper.close()

    @property
    def pin(self) -> str:
        return format_pin(self.enclave.serving.tls.spki_sha256)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    def install_signal_handlers(self) -> None:
        """Threads have none."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self._ready.set()

    @property
    def bound_port(self) -> int:
        return self.servers[0].sockets[0].getsockname()[1]


@contextmanager
def served_gateway(config: bytes, tee: SimulatedTee, directory: Path) -> Iterator[ServedGateway]:
    """A running gateway; stopped at the end."""
    gateway = ServedGateway(config, tee, directory)
    gateway.start()
    assert isinstance(gateway._server, _Server)
    gateway.port = gateway._server.bound_port
    try:
        yield gateway
    finally:
        gateway.stop()
