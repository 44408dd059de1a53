"""The development gateway with epochs of seconds: `python -m tests.gateway.rotating_node PARENT DIRECTORY
SECONDS`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from gateway.dev.node import prepare
from gateway.process import die_with_parent
from gateway.serve import serve
from gateway.supervisor import Timing

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    launch = prepare(Path(sys.argv[2]))
    sys.exit(serve(replace(launch, timing=Timing(drain=2.0, retire=5.0, epoch=float(sys.argv[3])))))
