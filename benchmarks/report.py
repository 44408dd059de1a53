"""The result for people (Markdown) and for machines (JSON)."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Sample
from benchmarks.summary import Row

_HEAD = (
    "| load | target | requests/s | p50 µs | added p50 | added p99 | added first p50 | added first p99 "
    "| CPU µs a request | cores used | RSS MB | requests/s of nginx | CPU of nginx (range) | errors |"
)


def machine(rounds: int) -> dict[str, Any]:
    """What a reader needs to know about where the numbers come from."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    version = (
        subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False).stderr
        if nginx
        else "absent"
    )
    return {
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "nginx": version.strip(),
        "rounds": rounds,
    }


def _number(value: float | None, digits: int = 0, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+,.{digits}f}" if signed else f"{value:,.{digits}f}"


def _cells(row: Row) -> list[str]:
    name = row.target if row.workers == 0 else f"{row.target} x{row.workers}"
    spread = row.cpu_of_nginx_range
    return [
        row.cell,
        name,
        _number(row.rate),
        _number(row.p50),
        _number(row.added_p50, signed=True),
        _number(row.added_p99, signed=True),
        _number(row.added_first_p50, signed=True),
        _number(row.added_first_p99, signed=True),
        _number(row.cpu_us),
        _number(row.cores_used, 2),
        _number(row.rss_mb),
        _number(row.rate_of_nginx, 2),
        _number(row.cpu_of_nginx, 2) + (f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else ""),
        str(row.errors),
    ]


def markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """One table; `added` is the median difference to `direct`, `of nginx` the median ratio, paired."""
    lines = ["# Benchmark", "", *(f"- {name}: {value}" for name, value in facts.items()), "", _HEAD]
    lines.append("|" + "---|" * (_HEAD.count("|") - 1))
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write(
    directory: Path, name: str, samples: Sequence[Sample], rows: Sequence[Row], facts: dict[str, Any]
) -> Path:
    """Both forms under one name; returns the Markdown file's path."""
    directory.mkdir(parents=True, exist_ok=True)
    whole = {
        "machine": facts,
        "rows": [dataclasses.asdict(row) for row in rows],
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }
    (directory / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n")
    path = directory / f"{name}.md"
    path.write_text(markdown(rows, facts))
    return path
