"""Processes that `casemate dev` starts and answers for: each by its own handle, none left behind.

Each child gets its own session, so that Ctrl-C reaches the parent alone, which then stops them in order. A
child tells that it is ready by one JSON line on standard output; standard error goes to a file in the state
directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from enclave.launcher import ENVIRONMENT, clean_command

PLAIN_ENVIRONMENT: Mapping[str, str] = {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
"""For helpers that hold no secrets of ours: the ordinary, faster allocator, and nothing inherited."""
MAX_LINE = 1 << 20
TAIL_LINES = 15


class ChildFailed(Exception):  # noqa: N818 - a state
    """A child ended or stayed silent. The message names it and carries the end of its log."""


@dataclass(frozen=True, slots=True, eq=False)
class Child:
    """A started process, what it is called, and where its standard error goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> IO[bytes]:
        """Its standard output, which ends when the last process behind it has."""
        assert self.process.stdout is not None  # noqa: S101 - `spawn` always pipes it
        return self.process.stdout

    def ready(self, seconds: float) -> dict[str, Any]:
        """Wait for the line with which the child tells that it is ready. Raises ChildFailed."""
        line, limit = b"", time.monotonic() + seconds
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([self.output], [], [], max(limit - time.monotonic(), 0.0))
            data = os.read(self.output.fileno(), 65_536) if readable else b""
            if not data or len(line) > MAX_LINE:
                raise self.failure("did not get ready")
            line += data
        told: dict[str, Any] = json.loads(line)
        return told

    def running(self) -> bool:
        """True while the process lives."""
        return self.process.poll() is None

    def failure(self, what: str) -> ChildFailed:
        """An error that says what went wrong with this child."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.5)  # one that just closed its output is about to have an exit status
        status = self.process.poll()
        ended = "" if status is None else f" (exit status {status})"
        lines = self.log.read_text("utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        return ChildFailed("\n".join([f"the {self.name} {what}{ended}; the end of {self.log}:", *lines]))

    def stop(self, seconds: float) -> None:
        """Ask the process to end, and end it if it has not within so many seconds."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.output.close()


def spawn(name: str, module: Sequence[str], logs: Path, *, hardened: bool = False) -> Child:
    """Start `python -m module…`; `hardened` gives it the enclave's environment (allocator included).

    It gets no tie to this process: each module ties itself to the parent whose PID it is given.
    """
    command = clean_command(module) if hardened else [sys.executable, "-s", "-P", "-m", *module]
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = logs / f"{name.replace(' ', '-')}.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=dict(ENVIRONMENT if hardened else PLAIN_ENVIRONMENT),
            start_new_session=True,
        )
    return Child(name, process, log)
