"""A supervisor whose children only wait, in a process of its own: python -m tests.gateway.supervised JSON.

Everything that the supervisor tells is written to standard output, one JSON list a line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from gateway.supervisor import Roles, Supervisor, Timing

EARLY: list[int] = []
"""SIGTERM that came before this process waited for it."""


def say(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


def wait_for_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if not EARLY:
        signal.sigwait({signal.SIGTERM})


def ignore_sigterm() -> None:
    while True:
        signal.pause()


def fail() -> None:
    raise RuntimeError("refused to start")


BEHAVIOUR = {"wait": wait_for_sigterm, "ignore": ignore_sigterm, "fail": fail}


def main() -> int:
    wish = json.loads(sys.argv[1])
    # Before any fork, so that no signal comes too early.
    signal.signal(signal.SIGTERM, lambda number, _: EARLY.append(number))
    supervisor = Supervisor(
        Roles(
            keeper=BEHAVIOUR[wish.get("keeper", "wait")],
            worker=BEHAVIOUR[wish.get("worker", "wait")],
            rotate=lambda: say("new keys"),
            forget_keys=lambda: say("no old keys"),
        ),
        workers=2,
        timing=Timing(**wish.get("timing", {})),
        tell=say,
        report=lambda error: say("failed", type(error).__name__),
    )
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
