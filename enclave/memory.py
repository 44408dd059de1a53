"""What can be read of this process from outside, and what freed memory still says inside.

Two duties. `harden_process` keeps core dumps, debuggers and /proc readers out. `check_allocator` shows that
freed memory is overwritten, by looking at freed memory: a variable that is set but has no effect (another
libc, a preloaded allocator, a Python built otherwise) does not pass.
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Callable, Sequence

from enclave.errors import UnsafeProcess

_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4

_MARK = b"casemate:freed?!"
"""16 bytes that are not a secret: what the allocator check looks for where it was freed."""

_HEAP_SIZES = (64, 208, 1_040, 16_384)
"""Bytes: below, around and above glibc's fast bins and thread cache; below its mmap threshold."""

_OBJECT_SIZES = (64, 400, 2_048)
"""Payload bytes: two that Python's own allocator would take (up to 512 with header), one not."""

_ROUNDS = 24
"""Blocks per size: enough that reuse of one or two during the check hides nothing."""

_BYTES_HEADER = bytes.__basicsize__ - 1
"""Where a bytes object's payload begins (its struct ends with one byte for the terminator)."""

_HINT = "start it through `casemate serve` or `casemate dev`, which set the allocator before Python starts"


def harden_process() -> None:
    """No core dumps, not dumpable: no debugger or /proc reader of the same user gets in. Inherited by forks.

    Raises UnsafeProcess if either does not take effect. `exec` undoes the second: call it after.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = _libc()
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0 or resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        raise UnsafeProcess("this process stays open to debuggers or core dumps", hint="see prctl(2)")


def check_allocator() -> None:
    """Raise UnsafeProcess if anything freed can be read again, in C's heap or in Python's objects."""
    libc = _libc()
    if any(_heap_keeps(libc, size) for size in _HEAP_SIZES):
        raise UnsafeProcess("the C allocator leaves freed memory readable", hint=_HINT)
    if any(_objects_keep(size) for size in _OBJECT_SIZES):
        raise UnsafeProcess("Python's allocator leaves freed memory readable", hint=_HINT)


def _heap_keeps(libc: ctypes.CDLL, size: int) -> bool:
    """Fill and free blocks, each before one that stays, so that the heap cannot shrink meanwhile."""
    blocks, neighbours = _malloc_pairs(libc, size)
    for block in blocks:
        ctypes.memmove(block, _MARK * (size // len(_MARK)), size)
    found = _readable_after(lambda: _free_all(libc, blocks), blocks, size)
    _free_all(libc, neighbours)
    return found


def _malloc_pairs(libc: ctypes.CDLL, size: int) -> tuple[list[int], list[int]]:
    addresses = [libc.malloc(size) for _ in range(2 * _ROUNDS)]
    if not all(addresses):
        raise UnsafeProcess("no memory left to check the allocator with")
    return addresses[::2], addresses[1::2]


def _free_all(libc: ctypes.CDLL, addresses: Sequence[int]) -> None:
    for address in addresses:
        libc.free(address)


def _objects_keep(size: int) -> bool:
    """The same with Python objects: every second one stays, so that no arena is unmapped under our eyes."""
    objects: list[bytes | None] = [_MARK * (size // len(_MARK)) for _ in range(2 * _ROUNDS)]
    payloads = [id(item) + _BYTES_HEADER for item in objects[::2]]

    def drop() -> None:
        objects[::2] = [None] * _ROUNDS

    return _readable_after(drop, payloads, size)


def _readable_after(free: Callable[[], None], addresses: Sequence[int], size: int) -> bool:
    """Copy what `addresses` hold right after `free`, into memory set aside before, and look for the mark."""
    copy = ctypes.create_string_buffer(size * len(addresses))
    start = ctypes.addressof(copy)
    free()
    for index, address in enumerate(addresses):
        ctypes.memmove(start + index * size, address, size)
    return _MARK in copy.raw


def _libc() -> ctypes.CDLL:
    """The functions that this process really uses, preloaded ones included, with their exact types."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free.restype = None
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return libc
