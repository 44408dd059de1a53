"""One measurement, and the order in which measurements are taken."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.processes import ask, usage
from benchmarks.targets import Target

QUESTION = "Explain in two sentences why the sky is blue. " * 8  # with the rest about 500 bytes of request


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of load: what is asked, by how many at once, for how long."""

    kind: str
    model: str
    stream: bool
    connections: int
    seconds: float

    @property
    def title(self) -> str:
        """How the report calls it."""
        return f"{self.kind}, {self.connections} at once"


@dataclass(frozen=True, slots=True)
class Sample:
    """One target under one load in one round; times in microseconds, memory in bytes."""

    target: str
    workers: int
    cell: str
    round: int
    requests: int
    rate: float
    p50: float | None
    p99: float | None
    first_p50: float | None
    first_p99: float | None
    cpu_us: float | None
    cores_used: float
    rss_bytes: int
    errors: dict[str, int]


def _body(cell: Cell) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    return {
        "model": cell.model,
        "messages": messages,
        "temperature": 0,
        "max_tokens": 256,
        "stream": cell.stream,
    }


def take(load: subprocess.Popen[bytes], target: Target, cell: Cell, number: int) -> Sample:
    """Connect and warm up, then count requests and the CPU that the target spent on them."""
    order = {"port": target.port, "ca": str(target.ca), "path": target.path, "key": target.key}
    ask(load, "the load generator", order | _request(cell))
    processes = target.processes()
    before = usage(processes)
    told = ask(load, "the load generator", {"seconds": cell.seconds})
    after = usage(processes)
    spent = (after.cpu_ns - before.cpu_ns) / 1e3
    return Sample(
        target=target.name,
        workers=target.workers,
        cell=cell.title,
        round=number,
        requests=told["requests"],
        rate=told["requests"] / told["seconds"],
        p50=told["p50"],
        p99=told["p99"],
        first_p50=told["first_p50"],
        first_p99=told["first_p99"],
        cpu_us=spent / told["requests"] if told["requests"] else None,
        cores_used=spent / 1e6 / told["seconds"],
        rss_bytes=after.rss_bytes,
        errors=told["errors"],
    )


def _request(cell: Cell) -> dict[str, Any]:
    return {"body": _body(cell), "stream": cell.stream, "connections": cell.connections}


def interleaved(
    targets: Sequence[Target], cells: Sequence[Cell], rounds: int
) -> Iterator[tuple[int, Cell, Target]]:
    """All targets right after one another in each round, in reverse order every other round.

    A machine's speed drifts (clock, neighbours, caches); what is compared has to be measured close together.
    """
    for cell in cells:
        for number in range(rounds):
            ordered = targets if number % 2 == 0 else tuple(reversed(targets))
            for target in ordered:
                yield number, cell, target
