"""`python -m tests.cover [pytest arguments]`: every branch of the trust core, or exit 1 and the missing ones.

Runs tests/attestation alone: what decides on trust is tested by its own suite, not by accident of another.
"""

from __future__ import annotations

import subprocess
import sys

from tests.trust_core import ROOT, core_files


def main() -> int:
    """The suite's exit status if it failed, else the report's."""
    coverage = [sys.executable, "-m", "coverage"]
    (ROOT / ".casemate").mkdir(exist_ok=True)
    ran = subprocess.run(
        [*coverage, "run", "-m", "pytest", "tests/attestation", *sys.argv[1:]], cwd=ROOT, check=False
    )
    if ran.returncode:
        return ran.returncode
    core = ",".join(str(path.relative_to(ROOT)) for path in core_files())
    return subprocess.run([*coverage, "report", f"--include={core}"], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
