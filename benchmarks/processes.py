"""Processes of one run: started here, measured through /proc, ended by their own handle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).resolve().parent.parent


class CannotMeasure(Exception):  # noqa: N818 - a state
    """Something that a benchmark needs is missing or did not start; the message says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What some processes have used: CPU in nanoseconds since each began, resident memory in bytes now."""

    cpu_ns: int
    rss_bytes: int


def _children() -> dict[int, list[int]]:
    """Every process's children, by PID."""
    tree: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended while we looked
            parent = int(stat.rpartition(")")[2].split()[1])
            tree.setdefault(parent, []).append(int(entry.name))
    return tree


def descendants(root: int) -> list[int]:
    """The process and all below it."""
    tree, found = _children(), [root]
    for pid in found:  # grows while it is walked
        found.extend(tree.get(pid, ()))
    return found


def command_of(pid: int) -> str:
    """A process's command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def usage(pids: Sequence[int]) -> Usage:
    """Sum over processes and their threads, from schedstat (exact, unlike the ticks in stat)."""
    cpu = rss = 0
    for pid in pids:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                cpu += int((task / "schedstat").read_text().split()[0])
            resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        rss += resident * os.sysconf("SC_PAGE_SIZE")
    return Usage(cpu, rss)


def pinned(cpus: Sequence[int], command: Sequence[str]) -> list[str]:
    """The same command, on these CPUs only; anywhere if none are named."""
    if not cpus:
        return list(command)
    return ["taskset", "-c", ",".join(map(str, cpus)), *command]


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: IO[bytes],
    environment: Mapping[str, str] | None = None,
    pipes: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process, asked to stop at the end, and then made to."""
    pipe = subprocess.PIPE if pipes else None
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdin=pipe, stdout=pipe or log, stderr=log, env=environment, bufsize=0
    )
    try:
        yield process
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)


def read_line(process: subprocess.Popen[bytes], what: str) -> dict[str, Any]:
    """One line of JSON from a child. Raises CannotMeasure if it ended instead."""
    assert process.stdout is not None
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = process.stdout.read(1) if not line else process.stdout.read(4096)
        if not piece:
            raise CannotMeasure(f"{what} ended with exit code {process.wait(timeout=20)}")
        line += piece
    answer: dict[str, Any] = json.loads(line)
    return answer


def ask(process: subprocess.Popen[bytes], what: str, order: Mapping[str, Any]) -> dict[str, Any]:
    """One order to a child that speaks JSON lines, and its answer."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")
    return read_line(process, what)


def module(name: str, *arguments: str) -> list[str]:
    """The command for a module of this project under this interpreter."""
    return [sys.executable, "-m", name, *arguments]
