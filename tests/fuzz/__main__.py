"""`python -m tests.fuzz --seconds N`: every target for N seconds, as many at once as there are processors.

Makes the fuzzer's environment first if need be. Exit 1 if a target broke its rule; the input is then kept
under .casemate/fuzz/, with the command that shows it again.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.clients.environments import REPOSITORY, ClientEnvironment, EnvironmentMissing, ensure, make_python
from tests.fuzz.seeds import write_seeds
from tests.fuzz.targets import TARGETS, Target

KEPT = REPOSITORY / ".casemate" / "fuzz"
MEGABYTES = 600  # of the whole process; what Python allocates is held to the input's size besides
SLOW_SECONDS = 10  # for a single input
LARGEST_INPUT = 65_536
_EXECUTIONS = re.compile(r"number_of_executed_units: (\d+)")
_COVERED = re.compile(r"\bcov: (\d+)")


@dataclass(frozen=True, slots=True)
class Result:
    """One target's run. `broke` is the end of the fuzzer's output, empty if nothing was found."""

    name: str
    executions: int
    covered: int
    seconds: float
    broke: str


def environment() -> ClientEnvironment:
    """Where atheris lives: requirements/fuzz.txt, beside the clients' environments."""
    home = REPOSITORY / ".venvs" / "fuzz"
    sources = (REPOSITORY / "requirements" / "fuzz.txt", REPOSITORY / "pyproject.toml")
    return ClientEnvironment("fuzz", home, home / "bin" / "python", sources)


def command(interpreter: Path, target: Target, seconds: int, seeds: Path, found: Path) -> list[str]:
    """The fuzzer's command line; `found` takes new inputs, `seeds` is only read."""
    keep = KEPT / target.name
    options = {
        "max_total_time": seconds,
        "timeout": SLOW_SECONDS,
        "rss_limit_mb": MEGABYTES,
        "max_len": LARGEST_INPUT,
        "print_final_stats": 1,
        "artifact_prefix": f"{keep}/",
    }
    spelled = [f"-{name}={value}" for name, value in options.items()]
    return [str(interpreter), "-m", "tests.fuzz.one", target.name, *spelled, str(found), str(seeds)]


def run(interpreter: Path, target: Target, seconds: int, directory: Path) -> Result:
    """Run one target to the end of its time, or to its first finding."""
    (KEPT / target.name).mkdir(parents=True, exist_ok=True)
    found = directory / "found" / target.name
    found.mkdir(parents=True)
    order = command(interpreter, target, seconds, directory / "seeds" / target.name, found)
    started = time.monotonic()
    done = subprocess.run(
        order, cwd=REPOSITORY, capture_output=True, text=True, errors="replace", check=False
    )
    output = done.stdout + done.stderr
    covered = [int(number) for number in _COVERED.findall(output)]
    executions = _EXECUTIONS.search(output)
    broke = "" if done.returncode == 0 else output[-4000:] or f"exit status {done.returncode}"
    return Result(
        target.name,
        int(executions.group(1)) if executions else 0,
        max(covered, default=0),
        time.monotonic() - started,
        broke,
    )


def show(result: Result) -> None:
    """One line, or everything that is known of a finding."""
    verdict = "BROKEN" if result.broke else "held"
    numbers = f"{result.executions:>9,} inputs {result.covered:>6,} edges {result.seconds:>5.0f} s"
    print(f"{result.name:<18} {verdict:<6} {numbers}", flush=True)
    if result.broke:
        print(result.broke, file=sys.stderr)
        again = f"{environment().interpreter} -m tests.fuzz.one {result.name} {KEPT / result.name}/<file>"
        print(f"to see it again: {again}", file=sys.stderr, flush=True)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--only", default="", help="only targets whose name contains this")
    return parser.parse_args(given)


def main() -> int:
    """Exit 0 if every target held its rule, 1 if one broke, 2 if the fuzzer cannot be had."""
    wanted = arguments()
    place = environment()
    try:
        print(ensure(place, make_python), flush=True)
    except EnvironmentMissing as error:
        print(error, file=sys.stderr)
        return 2
    chosen = [target for target in TARGETS if wanted.only in target.name]
    with tempfile.TemporaryDirectory(prefix="casemate-fuzz-") as name:
        directory = Path(name)
        write_seeds(directory / "seeds")
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            jobs = [pool.submit(run, place.interpreter, each, wanted.seconds, directory) for each in chosen]
            results = [job.result() for job in jobs]
    for result in results:
        show(result)
    return 1 if any(result.broke or not result.executions for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
