"""What a process is given before it serves: a parent that it does not outlive, and enough descriptors."""

from __future__ import annotations

import ctypes
import os
import resource
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


def allow_descriptors(wanted: int) -> None:
    """Raise the soft limit on open files to `wanted`, or to the hard limit if that is lower. Never lowers it.

    The usual soft limit of 1024 exists for programs that use select(); with it some thousand silent clients
    would keep everybody else out. Inherited by forks.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
