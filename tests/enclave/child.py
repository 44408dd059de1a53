"""Run Python in a process of its own: what concerns a whole process cannot be tried inside pytest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def run_child(
    code: str, *, environment: Mapping[str, str] | None = None, cwd: Path = REPOSITORY, python_path: str = ""
) -> Any:
    """Run `code`, which prints one JSON value as its last line, and return that value."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{REPOSITORY}{python_path}", **(environment or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
