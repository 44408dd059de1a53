"""Exceptions keep every frame they passed, with its variables: a prompt could outlive its request so."""

from __future__ import annotations

import traceback


def forget(error: BaseException) -> None:
    """Empty the frames that an exception and its causes hold on to, and cut the chain between them.

    Call it where an exception has been dealt with. Reference counting frees the rest; without this, cycles
    through tracebacks would keep request bodies until the garbage collector happens to run.
    """
    waiting: list[BaseException | None] = [error]
    while waiting:
        current = waiting.pop()
        if current is None:
            continue
        waiting += [current.__cause__, current.__context__]
        current.__cause__ = current.__context__ = None
        passed, current.__traceback__ = current.__traceback__, None
        traceback.clear_frames(passed)
