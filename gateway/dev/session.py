"""One run of `casemate dev`, from the state directory to the last process stopped; the story is
`Session.start`."""

from __future__ import annotations

import json
import os
import secrets
import select
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from gateway.dev.account import Account, LocalGateway
from gateway.dev.children import Child, spawn
from gateway.dev.files import config_text, policy_text
from gateway.dev.sources import Source, local_model, real_providers, upstream
from gateway.dev.state import ADMIN_KEY, API_KEY, State, read_credentials, write

MODEL_SECONDS, RELAY_SECONDS, GATEWAY_SECONDS, PROXY_SECONDS = 60.0, 20.0, 60.0, 30.0
STOP_SECONDS = 10.0
STEPS = 5


class PortTaken(Exception):  # noqa: N818 - a state
    """Another program listens where this one should; the message names the option that avoids it."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of `casemate dev`."""

    port: int
    proxy_port: int
    workers: int
    upstream_url: str | None
    upstream_pins: tuple[str, ...]
    upstream_ca: Path | None
    state_dir: Path
    model: bool


@dataclass(frozen=True, slots=True)
class Running:
    """What a developer needs to know once everything answers."""

    base_url: str
    proxy_url: str
    account: Account
    models: list[str]
    ca: Path
    policy: Path
    env: Path


class Session:
    """Starts the processes in order and stops them in reverse; use as a context manager."""

    def __init__(self, options: Options, console: Console) -> None:
        self._options = options
        self._console = console
        self._state = State(options.state_dir)
        self._children: list[Child] = []
        self._sources: list[Source] = []
        self._gateway: Child | None = None
        self._step = 0

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children):
            child.stop(STOP_SECONDS)
        self._state.release()

    def start(self) -> Running:
        """Bring everything up. Raises ChildFailed, PortTaken, SourceError, StateError, GatewayRefused."""
        require_free("--port", self._options.port)
        require_free("--proxy-port", self._options.proxy_port)
        state, kept = self._state, self._state.kept()
        admin_key = kept.get(ADMIN_KEY) or secrets.token_urlsafe(32)
        state.keep_chip()
        state.write_env({**kept, ADMIN_KEY: admin_key})  # no addresses until they answer
        with self._progress("models"):
            self._sources = self._find_sources()
        with self._progress("gateway on a simulated TEE"):
            told = self._start_gateway(admin_key)
        with self._progress("gateway checks its own evidence"):
            gateway = self._wait_until_ready(told)
        with self._progress("account"):
            account = gateway.account(kept.get(API_KEY), admin_key)
            models = gateway.models(account.api_key)
            gateway.close()
            state.write_env({API_KEY: account.api_key, ADMIN_KEY: admin_key})
        with self._progress("proxy verifies the gateway"):
            proxy_port = self._start_proxy(told["port"])
        return self._finish(told["port"], proxy_port, account, models, admin_key)

    def watch(self) -> Child:
        """Wait until a child ends, and return it; meanwhile keep ca.pem and policy.toml current."""
        outputs = {child.output: child for child in self._children}
        while True:
            readable, _, _ = select.select(list(outputs), [], [])
            for output in readable:
                data = os.read(output.fileno(), 1 << 20)
                if not data:
                    return outputs[output]
                if outputs[output] is self._gateway:
                    self._publish(json.loads(data.splitlines()[-1]))

    # --- steps

    def _find_sources(self) -> list[Source]:
        options, credentials = self._options, read_credentials(self._state.directory)
        sources = real_providers(credentials)
        if options.upstream_url:
            found = upstream(
                options.upstream_url, options.upstream_pins, options.upstream_ca, credentials.get("upstream")
            )
            if not options.upstream_pins:
                self._say(f"      no --upstream-pin: learnt {' and '.join(found.provider.pins)}")
            return [found, *sources]
        return [self._start_model(), *sources] if options.model else sources

    def _start_model(self) -> Source:
        model = self._spawn("model", "gateway.dev.model_server", str(os.getpid()))
        port = model.ready(MODEL_SECONDS)["port"]
        relay = self._spawn("relay", "gateway.dev.relay", str(os.getpid()), str(port))
        told = relay.ready(RELAY_SECONDS)
        return local_model(told["port"], told["pins"], told["ca_pem"])

    def _start_gateway(self, admin_key: str) -> dict[str, Any]:
        options, state = self._options, self._state
        text = config_text(self._sources, port=options.port, workers=options.workers, admin_key=admin_key)
        write(state.config, text.encode())
        self._gateway = self._spawn(
            "gateway", "gateway.dev.node", str(os.getpid()), str(state.directory), hardened=True
        )
        told = self._gateway.ready(GATEWAY_SECONDS)
        self._publish(told)
        return told

    def _publish(self, told: Mapping[str, Any]) -> None:
        """What clients trust: anew at every start, and after every epoch of the gateway's keys."""
        policy = policy_text(self._sources, root=told["root"], measurement=told["measurement"])
        write(self._state.policy, policy.encode())
        write(self._state.ca, told["ca_pem"].encode())

    def _wait_until_ready(self, told: Mapping[str, Any]) -> LocalGateway:
        gateway = LocalGateway(told["port"], told["ca_pem"])
        if not gateway.wait_until_ready(GATEWAY_SECONDS, self._children[-1].running):
            gateway.close()
            raise self._children[-1].failure("does not find itself ready")
        return gateway

    def _start_proxy(self, port: int) -> int:
        url, policy = f"https://localhost:{port}", str(self._state.policy)
        proxy = self._spawn(
            "proxy", "gateway.dev.proxy", str(os.getpid()), url, policy, str(self._options.proxy_port)
        )
        return int(proxy.ready(PROXY_SECONDS)["port"])

    def _finish(
        self, port: int, proxy_port: int, account: Account, models: list[str], admin_key: str
    ) -> Running:
        state = self._state
        running = Running(
            base_url=f"https://localhost:{port}/api/v1",
            proxy_url=f"http://127.0.0.1:{proxy_port}/api/v1",
            account=account,
            models=models,
            ca=state.ca,
            policy=state.policy,
            env=state.env,
        )
        state.write_env(
            {
                "CASEMATE_BASE_URL": running.base_url,
                "CASEMATE_PROXY_URL": running.proxy_url,
                API_KEY: account.api_key,
                ADMIN_KEY: admin_key,
                "CASEMATE_CA": str(state.ca),
                "CASEMATE_POLICY": str(state.policy),
            }
        )
        return running

    # --- helpers

    def _spawn(self, name: str, *module: str, hardened: bool = False) -> Child:
        child = spawn(name, module, self._state.logs, hardened=hardened)
        self._children.append(child)
        return child

    @contextmanager
    def _progress(self, what: str) -> Iterator[None]:
        """Say what is going on before it goes on, and how long it took."""
        self._step += 1
        began = time.monotonic()
        self._console.print(f"[{self._step}/{STEPS}] {what} … ", end="", markup=False, highlight=False)
        yield
        self._say(f"{time.monotonic() - began:.1f} s")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def require_free(option: str, port: int) -> None:
    """Find out before anything starts whether a loopback port can be had; 0 always can. Raises PortTaken."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise PortTaken(f"port {port}: {reason}; name another with {option} (0: any)") from None
