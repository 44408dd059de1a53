"""What a parent and its child processes owe each other: nothing may outlive the one that answers for it."""

from __future__ import annotations

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1


class Orphaned(Exception):  # noqa: N818 - a state, not a mishap
    """The parent was gone before this child could tie itself to it."""


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the process `parent` (its PID) ends, however it ends.

    The kernel's signal survives execve but not fork, so every child asks for itself. Between fork and this
    call the parent may already have died; then nothing would ever be sent, hence the second look. Raises
    Orphaned, OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent:
        raise Orphaned("the parent process has ended")
