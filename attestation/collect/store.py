"""A cache on disk for what vendors publish: one file per thing, written atomically, for its owner alone.

A file here is a stranger's bytes like any other: one that cannot be read, names another thing, or comes from
the future is treated as absent. Whoever uses a file judges its content again. The directory must be one that
nobody else can write to, because the newest issue seen so far is remembered in these files too.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from attestation.errors import CannotDecide, MalformedEvidence
from attestation.reader import b64url_decode, b64url_encode, parse_json_object

FORMAT = "casemate/collateral/1"
_MAX_FILE = 4 * 1024 * 1024  # the largest answer, in Base64, with room for its chain
_MAX_CHAIN = 8
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Kept:
    """One published thing: its bytes, and the certificates that came with it (DER, leaf first)."""

    body: bytes
    chain: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file says. Without `kept`: at `fetched_at` the host knew of no such thing."""

    name: str
    fetched_at: datetime
    kept: Kept | None


class Store:
    """Files in one directory, which is made if it is not there. Raises CannotDecide if it cannot be used.

    Every operation opens the directory anew, looks at whose it is, and then works inside what it looked at:
    a directory that somebody puts in its place meanwhile is never written to or read from unseen.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with _usable():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._opened():
                pass

    def read(self, name: str) -> Entry | None:
        """The entry of this name; None if there is none that can be read."""
        with _usable(), self._opened() as folder:
            try:
                return _decode(_content(folder, _file(name)), name)
            except (OSError, MalformedEvidence):
                return None

    def write(self, entry: Entry) -> None:
        """Put an entry in place, whole or not at all. Raises CannotDecide if the disk does not take it."""
        temporary = f".{token_hex(8)}"
        with _usable(), self._opened() as folder:
            try:
                with os.fdopen(os.open(temporary, _CREATE, 0o600, dir_fd=folder), "wb") as file:
                    file.write(_encode(entry))
                os.replace(temporary, _file(entry.name), src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing meanwhile, so that none puts an older issue over a newer one."""
        with _usable(), self._opened() as folder:
            handle = os.open(".lock", _LOCK, 0o600, dir_fd=folder)
        try:
            with _usable():
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """The directory, if it is ours and nobody else can write to it."""
        handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
                raise CannotDecide(
                    "the collateral cache is a directory that others can write to",
                    hint="name a directory of your own, with mode 0700",
                )
            yield handle
        finally:
            os.close(handle)


def _file(name: str) -> str:
    return f"{name}.json"


def _content(folder: int, file_name: str) -> bytes:
    """A file's content: a regular file of ours, of a sane size; links are not followed, pipes not awaited."""
    with os.fdopen(os.open(file_name, _READ, dir_fd=folder), "rb") as file:
        status = os.fstat(file.fileno())
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if not ours or status.st_mode & _OTHERS_WRITE or status.st_size > _MAX_FILE:
            raise MalformedEvidence("not a cache file of ours")
        return file.read(_MAX_FILE)


@contextmanager
def _usable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CannotDecide(
            f"the collateral cache cannot be used: {error.strerror or 'unknown reason'}",
            hint="name another directory, or go without a cache",
        ) from error


def _encode(entry: Entry) -> bytes:
    value: dict[str, Any] = {
        "format": FORMAT,
        "name": entry.name,
        "fetched_at": int(entry.fetched_at.timestamp()),
    }
    if entry.kept is not None:
        value["body"] = b64url_encode(entry.kept.body)
        value["chain"] = [b64url_encode(der) for der in entry.kept.chain]
    return json.dumps(value, indent=1).encode("ascii")


def _decode(raw: bytes, name: str) -> Entry:
    value = parse_json_object(raw)
    moment = value.get("fetched_at")
    if value.get("format") != FORMAT or value.get("name") != name or type(moment) is not int:
        raise MalformedEvidence("not this cache entry")
    if not 0 <= moment < 1 << 36:
        raise MalformedEvidence("a cache entry from no time")
    return Entry(name, datetime.fromtimestamp(moment, UTC), _kept(value))


def _kept(value: dict[str, Any]) -> Kept | None:
    if "body" not in value:
        return None
    chain = value.get("chain")
    if not isinstance(chain, list) or len(chain) > _MAX_CHAIN:
        raise MalformedEvidence("not the chain of a cache entry")
    return Kept(b64url_decode(value["body"]), tuple(b64url_decode(text) for text in chain))
