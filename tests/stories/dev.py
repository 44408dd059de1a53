"""A handle on `casemate dev` as a developer runs it: its own process, free ports, a state directory to look
into."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from attestation.pinned_tls import client_context

START_SECONDS = 60.0
STOP_SECONDS = 30.0
STEP_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Dev:
    """A running `casemate dev`."""

    process: subprocess.Popen[bytes]
    state: Path
    output: Path

    @property
    def env(self) -> dict[str, str]:
        """What it tells scripts."""
        return read_env(self.state)

    def said(self) -> str:
        """Everything it printed so far."""
        return self.output.read_text()

    def descendants(self) -> list[int]:
        """PIDs of every process below it, however deep."""
        return _below(self.process.pid)

    def chat(self, model: str, text: str, *, proxy: bool = True, **more: Any) -> httpx.Response:
        """One chat request by plain httpx, with the developer's key."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        with self.client(proxy=proxy) as client:
            return client.post("chat/completions", json=body)

    def balance(self) -> float:
        """What the account may still spend, in dollars."""
        with self.client() as client:
            answer = client.get("usage")
        assert answer.status_code == 200, answer.text
        return float(answer.json()["balance"]["remaining_credits"])

    def client(self, *, proxy: bool = True) -> httpx.Client:
        """Through the proxy, or straight to the gateway trusting the CA file."""
        env = self.env
        verify = client_context(Path(env["CASEMATE_CA"]).read_text())
        return httpx.Client(
            base_url=env["CASEMATE_PROXY_URL" if proxy else "CASEMATE_BASE_URL"] + "/",
            headers={"Authorization": f"Bearer {env['CASEMATE_API_KEY']}"},
            verify=verify,
            trust_env=False,
            timeout=60.0,
        )

    def interrupt(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def casemate_dev(state: Path, *options: str) -> Iterator[Dev]:
    """Start and wait until it says that it is ready; afterwards nothing of it is left."""
    dev = launch(state, *options)
    try:
        _wait_until_ready(dev)
        yield dev
    finally:
        left = dev.descendants()
        if dev.process.poll() is None:
            dev.process.kill()
        dev.process.wait(STOP_SECONDS)
        assert all(has_ended(pid) for pid in left)


def launch(state: Path, *options: str) -> Dev:
    """Start without waiting for anything."""
    state.parent.mkdir(parents=True, exist_ok=True)
    output = state.with_suffix(".out")
    command = [sys.executable, "-m", "attestation.cli", "dev", "--port", "0", "--proxy-port", "0"]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--state-dir", str(state), *options], stdout=file, stderr=subprocess.STDOUT
        )
    return Dev(process, state, output)


def read_env(state: Path) -> dict[str, str]:
    """The KEY=VALUE lines of the state directory's `env`."""
    return dict(line.split("=", 1) for line in (state / "env").read_text().splitlines())


def has_ended(pid: int) -> bool:
    """True once a process that is not ours has gone; waits for that as long as is reasonable."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            return bool(select.select([fd], [], [], STOP_SECONDS)[0])
        finally:
            os.close(fd)
    return True


def _wait_until_ready(dev: Dev) -> None:
    """Its output is a file, as a terminal's would be read: it can only be looked at again."""
    limit = time.monotonic() + START_SECONDS
    while "Ready." not in dev.said():
        assert dev.process.poll() is None, dev.said()
        assert time.monotonic() < limit, dev.said()
        time.sleep(STEP_SECONDS)


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread or process may end while we look
            for child in map(int, children.read_text().split()):
                found += [child, *_below(child)]
    return found
