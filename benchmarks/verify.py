"""`python -m benchmarks.verify`: what one verification costs, ours beside other verifiers', in one run.

The others live in an environment of their own (requirements/oracles.txt), made on first use. Exit 0 with a
result; 1 if our own verifier refused a case, or needs more CPU than we promise; 2 if there is no environment.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.report import machine
from benchmarks.verify_cases import write_cases
from benchmarks.verify_oracles import OURS
from tests.clients.environments import REPOSITORY, ClientEnvironment, EnvironmentMissing, ensure, make_python

RESULTS = Path(__file__).resolve().parent / "results"
PROMISED_US = {"SNP report": 2_000, "SNP document": 2_000, "TDX quote": 5_000}
_HEAD = "| evidence | verifier | CPU µs | ours is so many times its CPU (range) | checks |"


def environment() -> ClientEnvironment:
    """Where the other verifiers live."""
    home = REPOSITORY / ".venvs" / "oracles"
    sources = (REPOSITORY / "requirements" / "oracles.txt", REPOSITORY / "pyproject.toml")
    return ClientEnvironment("oracles", home, home / "bin" / "python", sources)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float] | None:
    """Median, least and greatest ratio of the two samples of each round."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)] if theirs else []
    return (statistics.median(ratios), min(ratios), max(ratios)) if ratios else None


def rows(measured: Mapping[str, Any]) -> Iterator[str]:
    """Markdown rows of one case."""
    verifiers = measured["verifiers"]
    ours = verifiers[OURS]["cpu_us"]
    for name, found in verifiers.items():
        told = f"{statistics.median(found['cpu_us']):,.0f}" if found["cpu_us"] else "-"
        ratio = paired(ours, found["cpu_us"]) if ours and name != OURS else None
        spread = f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})" if ratio else "-"
        checks = f"cannot: {found['refusal']}" if found["refusal"] else found["checks"]
        evidence = f"{measured['kind']}, {measured['case']}"
        yield f"| {evidence} | {name} | {told} | {spread} | {checks.replace('|', '/')} |"


def markdown(results: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Facts about the machine, then one table."""
    lines = ["# Verification", "", *(f"- {name}: {value}" for name, value in facts.items()), "", _HEAD]
    lines.append("|" + "---|" * (_HEAD.count("|") - 1))
    return "\n".join([*lines, *(row for measured in results for row in rows(measured))]) + "\n"


def broken_promises(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Cases that we refuse, or that cost more than we promise."""
    found = []
    for measured in results:
        ours, limit = measured["verifiers"][OURS], PROMISED_US[measured["kind"]]
        if ours["refusal"]:
            found.append(f"{measured['case']}: {ours['refusal']}")
        elif statistics.median(ours["cpu_us"]) > limit:
            found.append(f"{measured['case']}: more than {limit} µs")
    return found


def run(interpreter: Path, cases: Path, rounds: int) -> list[dict[str, Any]]:
    """Measure in the other environment; its progress goes to standard error."""
    order = [interpreter, "-m", "benchmarks.verify_run", cases, "--rounds", str(rounds)]
    done = subprocess.run(list(map(str, order)), cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def main() -> int:
    """Make, forge, measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds")
    wanted = parser.parse_args()
    place, rounds = environment(), 3 if wanted.quick else 15
    try:
        print(ensure(place, make_python), file=sys.stderr, flush=True)
    except EnvironmentMissing as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="casemate-benchmark-") as name:
        cases = Path(name, "cases.json")
        write_cases(cases)
        results = run(place.interpreter, cases, rounds)
    report = markdown(results, machine(rounds))
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / f"verify-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    kept.with_suffix(".md").write_text(report)
    kept.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    print(report)
    broken = broken_promises(results)
    print("\n".join(broken), file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
