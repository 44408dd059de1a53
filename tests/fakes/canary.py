"""A random text, and a search for it: in bytes, files, open descriptors and the memory of any process.

Every place is searched by the same routine, `find`, so that a control which finds a planted canary vouches
for the search that finds none. As a program (`python -m tests.fakes.canary`) it is such a control: it makes
itself undumpable as the gateway does, keeps what it read from standard input, and waits.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import stat
import string
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ALPHABET = string.ascii_lowercase + string.digits
LENGTH = 24
BLOCK = 1 << 22
CONTEXT = 40
LARGEST_FILE = 1 << 28
_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)\s*(.*)")


@dataclass(frozen=True, slots=True)
class Finding:
    """Where it was, in which form, and the bytes around."""

    place: str
    form: str
    around: bytes


@dataclass(frozen=True, slots=True)
class Canary:
    """`core` is in every text made of it and nowhere else in the world: 24 random characters."""

    core: str

    @classmethod
    def new(cls) -> Canary:
        """A fresh one."""
        return cls("".join(secrets.choice(ALPHABET) for _ in range(LENGTH)))

    def forms(self) -> dict[str, bytes]:
        """How it may be written: as sent, as Python keeps wide strings, and in the usual encodings."""
        raw = self.core.encode()
        return {
            "raw": raw,
            "utf-16": self.core.encode("utf-16-le"),
            "utf-32": self.core.encode("utf-32-le"),
            **{f"base64+{shift}": _base64_middle(raw, shift) for shift in range(3)},
            "hex": raw.hex().encode(),
            "HEX": raw.hex().upper().encode(),
            "json": "".join(f"\\u{ord(letter):04x}" for letter in self.core).encode(),
            "url": "".join(f"%{byte:02X}" for byte in raw).encode(),
        }


def _base64_middle(raw: bytes, shift: int) -> bytes:
    """The characters that `raw` alone decides when it begins `shift` bytes after a multiple of three."""
    text = base64.b64encode(bytes(shift) + raw + bytes(3))
    return text[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]


def find(canary: Canary, data: bytes, place: str) -> list[Finding]:
    """The first occurrence of every form in these bytes."""
    found = []
    for form, needle in canary.forms().items():
        at = data.find(needle)
        if at >= 0:
            found.append(Finding(place, form, data[max(0, at - CONTEXT) : at + len(needle) + CONTEXT]))
    return found


# --- files --------------------------------------------------------------------------------------------------


def find_in_files(
    canary: Canary, roots: Iterable[Path], *, changed_since: float = 0.0, deep: bool = True
) -> list[Finding]:
    """In the names and contents of all regular files of ours in these folders, and below them if `deep`."""
    found = []
    for path in _files(roots, deep):
        found += find(canary, os.fsencode(path), f"the name of {path}")
        try:
            status = path.lstat()
            ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()
            if ours and status.st_mtime >= changed_since:
                found += find(canary, _read(path), str(path))
        except FileNotFoundError:
            continue  # somebody else's, gone meanwhile
    return found


def _files(roots: Iterable[Path], deep: bool) -> Iterator[Path]:
    for root in roots:
        for folder, folders, names in os.walk(root):
            yield from (Path(folder, name) for name in names)
            if not deep:
                folders.clear()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST_FILE)


def find_in_open_files(canary: Canary, pid: int) -> list[Finding]:
    """In every regular file that a process has open, deleted and memory-only ones included."""
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if stat.S_ISREG(link.stat().st_mode):
                found += find(canary, _read(link), f"{link} -> {os.readlink(link)}")
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


# --- memory -------------------------------------------------------------------------------------------------


def find_in_memory(canary: Canary, pid: int, role: str) -> list[Finding]:
    """In every readable page of a process that it or its libraries could have written.

    Raises PermissionError where the kernel denies it: an undumpable process is open to root alone.
    """
    found: dict[tuple[str, str], Finding] = {}
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end, name in _writable(pid):
            for data in _blocks(memory.fileno(), start, end):
                for finding in find(canary, data, f"{role} {name or 'anonymous memory'}"):
                    found.setdefault((finding.place, finding.form), finding)
    return list(found.values())


def _writable(pid: int) -> Iterator[tuple[int, int, str]]:
    """Mappings that may hold data: writable or anonymous, as opposed to program text."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        parts = _MAPPING.match(line)
        assert parts is not None, line
        start, end, mode, inode, name = parts.groups()
        if mode[0] == "r" and (mode[1] == "w" or inode == "0") and name not in ("[vvar]", "[vsyscall]"):
            yield int(start, 16), int(end, 16), name


def _blocks(memory: int, start: int, end: int) -> Iterator[bytes]:
    """The mapping in blocks that overlap by more than any form is long."""
    overlap = 8 * LENGTH
    while start < end:
        try:
            data = os.pread(memory, min(BLOCK, end - start), start)
        except OSError:
            return  # unmapped meanwhile, or a device's
        if not data:
            return
        yield data
        start += len(data) if start + len(data) >= end else max(1, len(data) - overlap)


# --- the control --------------------------------------------------------------------------------------------


def variety(canary: Canary) -> Mapping[str, bytes]:
    """Each form as it comes to be: encoded together with what may stand before and after it."""
    text = f"xy{canary.core}z"
    return {
        "raw": text.encode(),
        "utf-16": f"{text}☂".encode("utf-16-le"),
        "utf-32": f"{text}🕊".encode("utf-32-le"),
        **{
            f"base64+{(len(lead) + 2) % 3}": base64.b64encode((lead + text).encode())
            for lead in ("", "1", "12")
        },
        "hex": text.encode().hex().encode(),
        "HEX": text.encode().hex().upper().encode(),
        "json": "".join(f"\\u{ord(letter):04x}" for letter in text).encode(),
        "url": "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    }


def main() -> None:
    """Hold whatever came on the first line of standard input until the end of it."""
    from enclave.memory import harden_process

    harden_process()
    held = sys.stdin.buffer.readline()
    sys.stdout.write(f"{len(held)}\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    sys.stdout.write(f"{len(held)}\n")


if __name__ == "__main__":
    main()
