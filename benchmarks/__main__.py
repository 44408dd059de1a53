"""`python -m benchmarks`: start everything, measure in interleaved rounds, print and keep the result."""

from __future__ import annotations

import argparse
import datetime
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.certificates import make_identity
from benchmarks.measure import Cell, Sample, interleaved, take
from benchmarks.processes import CannotMeasure, module, pinned, running
from benchmarks.report import machine, markdown, write
from benchmarks.summary import summarise
from benchmarks.targets import Target, divide_cores, gateway, nginx, upstream

Child = subprocess.Popen[bytes]
CONCURRENCY = (1, 32, 256)
RESULTS = Path(__file__).resolve().parent / "results"
FILES = 8_192  # descriptors: 256 connections on each side of a proxy, and room


def full_cells() -> list[Cell]:
    """Everything: JSON, and streams of 50 events at 10 ms and at full speed."""
    cells = [Cell("JSON", "bench-0ms", False, count, 2.0) for count in CONCURRENCY]
    cells += [Cell("stream, 10 ms pace", "bench-10ms", True, count, 2.5) for count in CONCURRENCY]
    return cells + [Cell("stream, no pace", "bench-0ms", True, count, 2.0) for count in CONCURRENCY]


def quick_cells() -> list[Cell]:
    """Enough to see a regression, in about a minute."""
    cells = [Cell("JSON", "bench-0ms", False, count, 0.8) for count in CONCURRENCY]
    cells.append(Cell("stream, 10 ms pace", "bench-10ms", True, 32, 1.0))
    return [*cells, Cell("stream, no pace", "bench-0ms", True, 32, 0.8)]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about one minute instead of about eight")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default: 3, with --quick 2)")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers to compare"
    )
    parser.add_argument("--only", default="", help="only loads whose name contains this, such as 'JSON, 32'")
    parser.add_argument("--without-nginx", action="store_true", help="measure without the reference")
    parser.add_argument("--without-gateway", action="store_true", help="measure the reference alone")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="directory for the Markdown and JSON files"
    )
    return parser.parse_args()


@contextmanager
def everything(wanted: argparse.Namespace, directory: Path) -> Iterator[tuple[Sequence[Target], Child]]:
    """Upstream, proxies and load generator, all running; ended in reverse order."""
    cores = divide_cores(sorted(os.sched_getaffinity(0)))
    identity = make_identity(directory)
    with ExitStack() as stack:
        log = stack.enter_context((directory / "log").open("wb"))
        provider = stack.enter_context(upstream(identity, cores, log))
        targets = [provider]
        for workers in wanted.workers:
            if not wanted.without_nginx:
                place = directory / f"nginx{workers}"
                targets.append(stack.enter_context(nginx(provider, identity, workers, cores, place, log)))
            if not wanted.without_gateway:
                place = directory / f"gateway{workers}"
                targets.append(stack.enter_context(gateway(provider, identity, workers, cores, place, log)))
        load = running(pinned(cores.load, module("benchmarks.load")), log=log, pipes=True)
        yield targets, stack.enter_context(load)


def run(wanted: argparse.Namespace, directory: Path) -> list[Sample]:
    """All measurements, with a line of progress for each."""
    rounds = wanted.rounds or (2 if wanted.quick else 3)
    cells = [c for c in (quick_cells() if wanted.quick else full_cells()) if wanted.only in c.title]
    samples = []
    with everything(wanted, directory) as (targets, load):
        total = len(cells) * rounds * len(targets)
        for number, cell, target in interleaved(targets, cells, rounds):
            sample = take(load, target, cell, number)
            samples.append(sample)
            note = f"  ERRORS {sample.errors}" if sample.errors else ""
            name = f"{target.name} x{target.workers}" if target.workers else target.name
            print(
                f"[{len(samples)}/{total}] {cell.title}: {name}: {sample.rate:.0f}/s{note}",
                file=sys.stderr,
                flush=True,
            )
    return samples


def allow_descriptors() -> None:
    """Children inherit the limit on open files; raise it as far as it may go."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def main() -> int:
    """Exit 0 with a result, 1 if requests failed, 2 if something that is needed is missing."""
    wanted = arguments()
    allow_descriptors()
    with tempfile.TemporaryDirectory(prefix="casemate-benchmark-") as name:
        try:
            samples = run(wanted, Path(name))
        except CannotMeasure as error:
            tail = Path(name, "log").read_bytes()[-3000:].decode("utf-8", "replace")
            print(f"{tail}\npython -m benchmarks: {error}", file=sys.stderr)
            return 2
    rows = summarise(samples)
    facts = machine(max(sample.round for sample in samples) + 1)
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    path = write(wanted.output, stamp, samples, rows, facts)
    print(markdown(rows, facts))
    print(f"kept in {path} and the JSON file beside it", file=sys.stderr)
    return 1 if any(row.errors for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
