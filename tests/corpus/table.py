"""Run `casemate verify` over the whole collection and print what came of it, beside what was expected.

    python -m tests.corpus.table [CASE ...]

Each case runs twice as a process of its own: with `--baseline` (only the manifest's rule; verdict,
facts and the layer that refused are compared), and with the built-in policy (what it refuses or leaves open
beyond that, and why). Cases with several times also run at the others, in the same way. Each has one column.
Exit code 1 if anything differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY, find_evidence
from tests.corpus.cases import ACCEPTED, WORDS, Run, differences, read_runs

SECONDS = 120.0
REASON = 48
FIRST, SECOND = 38, 78


@dataclass(frozen=True)
class Answer:
    """What one process said."""

    exit_code: int
    value: dict[str, Any]
    stderr: str

    def ids(self, outcome: str) -> list[str]:
        """Ids of the checks with that outcome, in order."""
        return [check["id"] for check in self.value.get("checks", []) if check["outcome"] == outcome]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    run: Run
    baseline: Answer
    built_in: Answer
    problems: tuple[str, ...]


def ask(run: Run, collection: Path, *rules: str) -> Answer:
    """Run the command once, with nothing of this process's environment but the search path."""
    done = subprocess.run(
        [sys.executable, "-m", "attestation.cli", *run.arguments(collection), *rules],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=REPOSITORY,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)},
    )
    try:
        value = json.loads(done.stdout)
    except ValueError:
        value = {}
    return Answer(done.returncode, value, done.stderr)


def judge(run: Run, collection: Path) -> Row:
    """Both columns of one run."""
    baseline, built_in = ask(run, collection, "--baseline"), ask(run, collection)
    problems = [*_compare(run, baseline), *_stricter(baseline, built_in)]
    return Row(run, baseline, built_in, tuple(problems))


def _compare(run: Run, answer: Answer) -> list[str]:
    """Where the answer differs from the manifest."""
    problems = list(differences(run.facts, answer.value.get("facts", {})))
    if answer.exit_code != run.exit_code:
        problems.append(f"exit code: expected {run.exit_code}, found {answer.exit_code}")
    if answer.value.get("verdict") != WORDS[run.exit_code]:
        problems.append(f"verdict: expected {WORDS[run.exit_code]}, found {answer.value.get('verdict')}")
    failed = answer.ids("fail")
    problems += [
        f"{layer} should have failed; failed: {failed}" for layer in run.failing if layer not in failed
    ]
    if run.exit_code == ACCEPTED and answer.stderr:
        problems.append("an accepted case wrote to stderr")
    return problems


# What the baseline's own checks are called where a policy makes them.
_AS_POLICY = {
    "baseline.debug": {"snp.debug", "tdx.debug"},
    "baseline.migration": {"snp.migration"},
    "baseline.tcb_status": {"tdx.tcb.status"},
    "baseline.service_td": {"tdx.service_td"},
}


def _stricter(baseline: Answer, built_in: Answer) -> list[str]:
    """The built-in policy has no reference values: it must accept nothing, nor forget a failure."""
    problems = []
    if built_in.exit_code not in (1, 2) or built_in.value.get("verdict") != WORDS[built_in.exit_code]:
        problems.append(f"built-in policy: exit code {built_in.exit_code}, {built_in.stderr[:200]}")
    failed = set(built_in.ids("fail"))
    lost = [name for name in baseline.ids("fail") if not failed & _AS_POLICY.get(name, {name})]
    return problems + [f"built-in policy lost the failure of {name}" for name in lost]


def lines(row: Row) -> list[str]:
    """The row as text, both columns beside each other, then every difference."""
    run = row.run
    expected = WORDS[run.exit_code] + (f" ({run.note})" if run.note else "")
    mark = "DIFFERS" if row.problems else "ok"
    first, second = _first(row), _second(row.built_in)
    found = [f"{one:<{FIRST}} {two}".rstrip() for one, two in zip_longest(first, second, fillvalue="")]
    head = f"{mark:<8}{run.case:<35}{run.at:<22}{expected:<20} "
    rest = [f"{'':<{len(head)}}{line}" for line in found[1:]]
    return [head + found[0], *rest, *(f"        !! {problem}" for problem in row.problems)]


def _first(row: Row) -> list[str]:
    """The first column: the baseline's verdict, and the checks that made it."""
    answer = row.baseline
    made = [] if row.run.exit_code == ACCEPTED else answer.ids("fail") or answer.ids("undecided")
    return _column(answer, made, FIRST)


def _second(answer: Answer) -> list[str]:
    """The second column: the built-in policy's verdict, every failure with its reason, what was left open."""
    checks = answer.value.get("checks", [])
    reasons = [f"{check['id']} ({_short(check['found'])})" for check in checks if check["outcome"] == "fail"]
    left = answer.ids("undecided")
    return _column(answer, [*reasons, *([f"undecided: {', '.join(left)}"] if left else [])], SECOND)


def _column(answer: Answer, said: Sequence[str], width: int) -> list[str]:
    text = f"{answer.value.get('verdict', f'exit {answer.exit_code}')}: {'; '.join(said)}"
    return textwrap.wrap(text.removesuffix(": "), width, subsequent_indent="  ")


def _short(text: str) -> str:
    return text if len(text) <= REASON else text[: REASON - 3] + "..."


def run_table(collection: Path, names: Sequence[str] = ()) -> list[Row]:
    """Judge all runs, or those of the cases named, as many at once as there are processors."""
    runs = [run for run in read_runs(collection) if not names or run.case in names]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(lambda run: judge(run, collection), runs))


def render(rows: Sequence[Row]) -> str:
    """The whole table."""
    where = f"{'':<8}{'case':<35}{'judged at':<22}{'expected':<20} "
    columns = "baseline: failing checks", "built-in policy: what it refuses or leaves open, and why"
    head = f"{where}{columns[0]:<{FIRST}} {columns[1]}"
    cases = {row.run.case for row in rows}
    differ = {row.run.case for row in rows if row.problems}
    total = f"{len(cases)} cases, {len(rows)} runs by each of both, {len(differ)} cases differ"
    return "\n".join([head, *(line for row in rows for line in lines(row)), "", total, ""])


def main(names: Sequence[str]) -> int:
    """Print the table; 0 only if everything is as the manifest says."""
    collection = find_evidence()
    if collection is None:
        sys.stderr.write("no evidence collection: set CASEMATE_EVIDENCE to one\n")
        return 2
    sys.stderr.write("running the command over the whole collection; this takes a minute\n")
    rows = run_table(collection, names)
    if not rows:
        sys.stderr.write("no case of that name in the collection\n")
        return 2
    sys.stdout.write(render(rows))
    return int(any(row.problems for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
