"""Environments of their own for the clients that we promise to work with: one per SDK, nothing shared.

`python -m tests.clients.environments` makes whatever is missing or out of date under .venvs/ and in
tests/clients/node/node_modules. Python packages are pinned by hash, npm's by the lock file's integrity.
A finished environment carries a stamp: the digest of what it was made from. An interrupted one has none.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NODE_PROJECT = Path(__file__).resolve().parent / "node"
OLDEST_NODE = 24


class EnvironmentMissing(Exception):  # noqa: N818 - what is missing
    """A client's environment is absent, out of date or cannot be made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ClientEnvironment:
    """One interpreter with one client installed: where it lives, and the files that define its content."""

    name: str
    home: Path
    interpreter: Path
    sources: tuple[Path, ...]

    @property
    def stamp(self) -> Path:
        """Written last, so that its presence means a whole environment."""
        return self.home / ".made-from"

    def digest(self) -> str:
        """What the environment has to be made from, now."""
        state = hashlib.sha256(sys.version.encode())
        for source in self.sources:
            state.update(source.read_bytes())
        return state.hexdigest()

    def is_current(self) -> bool:
        """True if a whole environment made from today's sources is there."""
        return self.stamp.is_file() and self.stamp.read_text() == self.digest() and self.interpreter.is_file()

    def require(self) -> Path:
        """The interpreter. Raises EnvironmentMissing: a client we cannot run is a failure, not a skip."""
        if not self.is_current():
            raise EnvironmentMissing(f"{self.name}: no current environment in {self.home}; run: make clients")
        return self.interpreter


def python_environment(name: str) -> ClientEnvironment:
    """The virtual environment for requirements/clients-NAME.txt."""
    home = REPOSITORY / ".venvs" / name
    requirements = REPOSITORY / "requirements" / f"clients-{name}.txt"
    return ClientEnvironment(
        name, home, home / "bin" / "python", (requirements, REPOSITORY / "pyproject.toml")
    )


def node_environment() -> ClientEnvironment:
    """The npm project; its interpreter is the one that npm's `node` package brings, not the machine's."""
    modules = NODE_PROJECT / "node_modules"
    sources = (NODE_PROJECT / "package.json", NODE_PROJECT / "package-lock.json")
    return ClientEnvironment("node", modules, modules / "node" / "bin" / "node", sources)


OPENAI_1 = python_environment("openai1")
OPENAI_2 = python_environment("openai2")
OPENAI_3 = python_environment("openai3")
EHBP = python_environment("ehbp")
NODE = node_environment()
PYTHONS = (OPENAI_1, OPENAI_2, OPENAI_3, EHBP)


def _run(command: Sequence[str | Path], cwd: Path) -> None:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise EnvironmentMissing(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def make_python(environment: ClientEnvironment) -> None:
    """A fresh venv: the SDK as published, then our own client on top without touching its dependencies."""
    pip = [
        environment.interpreter,
        "-m",
        "pip",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "install",
    ]
    _run([sys.executable, "-m", "venv", "--clear", environment.home], REPOSITORY)
    _run([*pip, "--only-binary", ":all:", "--require-hashes", "-r", environment.sources[0]], REPOSITORY)
    _run([*pip, "--no-deps", "--no-build-isolation", "--no-index", "--editable", "."], REPOSITORY)


def make_node(environment: ClientEnvironment) -> None:
    """`npm ci` with any npm at hand; the tests then run under the Node that it installed, 24 or newer."""
    if shutil.which("npm") is None:
        raise EnvironmentMissing(
            "node: npm is not on PATH; the Node suites need any npm to install their own Node"
        )
    _run(["npm", "ci", "--no-audit", "--no-fund"], NODE_PROJECT)
    answer = subprocess.run(
        [environment.interpreter, "--version"], capture_output=True, text=True, check=True
    )
    if int(answer.stdout.lstrip("v").split(".")[0]) < OLDEST_NODE:
        raise EnvironmentMissing(f"node: {answer.stdout.strip()} is older than {OLDEST_NODE}")


def ensure(environment: ClientEnvironment, make: Callable[[ClientEnvironment], None]) -> str:
    """Make one environment unless it is current; returns a line that says which of the two happened."""
    if environment.is_current():
        return f"{environment.name}: current"
    started = time.monotonic()
    environment.stamp.unlink(missing_ok=True)
    make(environment)
    environment.stamp.write_text(environment.digest())
    return f"{environment.name}: made in {time.monotonic() - started:.0f} s"


def main() -> int:
    """Make all of them, two at a time; exit 1 and say which ones could not be made."""
    failures = 0
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        jobs = [pool.submit(ensure, environment, make_python) for environment in PYTHONS]
        jobs.append(pool.submit(ensure, NODE, make_node))
        for job in jobs:
            try:
                print(job.result(), flush=True)
            except EnvironmentMissing as error:
                print(error, file=sys.stderr, flush=True)
                failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
