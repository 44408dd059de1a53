"""Start over with an environment of our own: the host's says nothing that we would listen to.

Variables decide before the first line of Python runs which allocator, libraries, proxies, key logs and
modules a process uses. So the first process replaces itself, once, by one that has exactly `ENVIRONMENT`.
The flags are `-s -P` and not `-I` or `-E`, which would make Python ignore PYTHONMALLOC.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NoReturn

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # Every Python object through malloc, every freed block overwritten, no cache that is not:
        # measured to leave no plaintext behind (DESIGN section 5); enclave.memory checks the effect. Large
        # bodies get pages of their own, always (by default glibc stops that after the first), and these go
        # back to the kernel at once: neither plaintext nor hundreds of megabytes stay.
        "PYTHONMALLOC": "malloc",
        "GLIBC_TUNABLES": (
            "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0:glibc.malloc.mmap_threshold=1048576"
        ),
        # No engines, providers, ciphers or key files of the host's choosing.
        "OPENSSL_CONF": "/dev/null",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
    }
)


def clean_command(argv: Sequence[str]) -> list[str]:
    """Return the full command line for `argv`, a module name and its arguments."""
    return [sys.executable, "-s", "-P", "-m", *argv]


def is_clean(environment: Mapping[str, str]) -> bool:
    """True if a process with this environment came from `exec_clean` or may as well have."""
    return dict(environment) == dict(ENVIRONMENT)


def exec_clean(argv: Sequence[str]) -> NoReturn:
    """Replace this process by `python -m argv…` with `ENVIRONMENT` and the three standard streams only.

    Call it before any secret exists and before starting threads. Raises OSError if Python cannot be run.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    _keep_only_standard_streams()
    command = clean_command(argv)
    os.execve(command[0], command, dict(ENVIRONMENT))  # noqa: S606 - no shell is the point


def _keep_only_standard_streams() -> None:
    """Mark every other descriptor to close on exec: a shell or a host agent may have left some open."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            _close_on_exec(int(name))


def _close_on_exec(fd: int) -> None:
    try:
        os.set_inheritable(fd, False)
    except OSError:
        # the listing's own descriptor is gone by now
        return
