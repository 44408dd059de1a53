"""`python -m benchmarks.verify_run CASES --rounds N`: run by benchmarks.verify; prints JSON.

One process and one thread: what is counted is its own CPU time. In each round every verifier takes its turn
on the same case, in reverse order every other round, so that ratios are of neighbours in time.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.verify_oracles import VERIFIERS, Verifier, quiet

SAMPLE_NS = 25_000_000
WARM_UP = 3


def cpu_of(once: Callable[[], object], times: int) -> float:
    """CPU microseconds of one call, over `times` calls."""
    gc.collect()
    gc.disable()
    try:
        started = time.process_time_ns()
        for _ in range(times):
            once()
        return (time.process_time_ns() - started) / times / 1e3
    finally:
        gc.enable()


def prepare(case: dict[str, Any], verifier: Verifier) -> tuple[Callable[[], object] | None, str]:
    """A warmed-up function, or why this verifier cannot judge this case."""
    try:
        once = verifier.prepare(case)
        for _ in range(WARM_UP):
            once()
    except Exception as error:  # noqa: BLE001 - whatever another verifier raises: it cannot
        return None, f"{type(error).__name__}: {error}"[:160]
    return once, ""


def measure(case: dict[str, Any], rounds: int) -> dict[str, Any]:
    """All verifiers of this kind of evidence on one case."""
    able: dict[str, Callable[[], object]] = {}
    results: dict[str, dict[str, Any]] = {}
    for verifier in VERIFIERS:
        if case["kind"] in verifier.kinds:
            once, refusal = prepare(case, verifier)
            results[verifier.name] = {"checks": verifier.checks, "refusal": refusal, "cpu_us": []}
            if once is not None:
                able[verifier.name] = once
    times = {name: max(1, int(SAMPLE_NS / 1e3 / cpu_of(once, 5))) for name, once in able.items()}
    for number in range(rounds):
        for name in list(able) if number % 2 == 0 else list(reversed(able)):
            results[name]["cpu_us"].append(cpu_of(able[name], times[name]))
    return {"case": case["name"], "kind": case["kind"], "verifiers": results}


def main(given: Sequence[str] | None = None) -> int:
    """Measure every case of a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify_run", description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    wanted = parser.parse_args(given)
    quiet()
    measured = []
    for case in json.loads(wanted.cases.read_text()):
        measured.append(measure(case, wanted.rounds))
        print(f"{case['kind']}, {case['name']}", file=sys.stderr, flush=True)
    json.dump(measured, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
