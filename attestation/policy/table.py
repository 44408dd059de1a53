"""Reading a policy's TOML: tables read key by key, and one small reader for each kind of value.

Every reader takes what TOML gave and raises MalformedEvidence, without repeating the value, if it is not of
its kind. What nobody read is an unknown key, and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from attestation.errors import MalformedEvidence
from attestation.members import hex_value
from attestation.pins import read_pin
from attestation.policy.settings import host_of

T = TypeVar("T")

MAX_SETS = 1024


class Table:
    """A TOML table that is read key by key; what nobody took is an unknown key."""

    __slots__ = ("_left", "where")

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise MalformedEvidence(f"{where} must be a table")
        self.where = where
        self._left: dict[str, object] = dict(value)

    def take(self, key: str, read: Callable[[object], T], default: T) -> T:
        """Read one key, or return its strict default if it is not set."""
        if key not in self._left:
            return default
        try:
            return read(self._left.pop(key))
        except MalformedEvidence as error:
            raise MalformedEvidence(f"[{self.where}] {key}: {error}") from error

    def table(self, key: str) -> Table:
        """Open a table below this one; an absent one reads like an empty one."""
        return Table(key if self.where == "policy" else f"{self.where}.{key}", self._left.pop(key, {}))

    def tables(self, key: str) -> list[tuple[str, Table]]:
        """Open the named tables below one key, in the file's order. At most 1024; each name is a label."""
        value = self._left.pop(key, {})
        if not isinstance(value, dict) or len(value) > MAX_SETS:
            raise MalformedEvidence(f"[{self.where}] {key} must hold at most {MAX_SETS} tables")
        return [(label(name), Table(f"{self.where}.{key}.{name}", entry)) for name, entry in value.items()]

    def end(self) -> None:
        """Refuse what was not read. TOML keys are safe to name: a policy is the reader's own file."""
        if self._left:
            raise MalformedEvidence(f"[{self.where}] unknown key {sorted(self._left)[0]!a:.80}")


def text(value: object) -> str:
    """A text."""
    if not isinstance(value, str):
        raise MalformedEvidence("must be a text")
    return value


def label(value: object) -> str:
    """A short printable ASCII text: names reach terminals and reports."""
    found = text(value)
    if not 1 <= len(found) <= 100 or not (found.isascii() and found.isprintable()):
        raise MalformedEvidence("a name has 1 to 100 printable ASCII characters")
    return found


def boolean(value: object) -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise MalformedEvidence("must be true or false")
    return value


def between(low: int, high: int) -> Callable[[object], int]:
    """An integer within bounds; `true` is none."""

    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise MalformedEvidence(f"must be an integer from {low} to {high}")
        return value

    return read


def texts(value: object) -> frozenset[str]:
    """A list of texts that are not empty."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise MalformedEvidence("must be a list of texts")
    return frozenset(value)


def subset(allowed: frozenset[str]) -> Callable[[object], frozenset[str]]:
    """A list of texts out of a closed list."""

    def read(value: object) -> frozenset[str]:
        found = texts(value)
        if not found <= allowed:
            raise MalformedEvidence(f"must be among {', '.join(sorted(allowed))}")
        return found

    return read


def hex_of(length: int) -> Callable[[object], bytes]:
    """`length` bytes as lowercase hexadecimal digits."""
    return lambda value: hex_value(value, length, "the value")


def hex_set(length: int) -> Callable[[object], frozenset[bytes]]:
    """A list of byte strings of `length` bytes each."""

    def read(value: object) -> frozenset[bytes]:
        if not isinstance(value, list):
            raise MalformedEvidence("must be a list")
        return frozenset(hex_value(item, length, "every entry") for item in value)

    return read


def pins(value: object) -> frozenset[bytes]:
    """A list of at least one pin."""
    if not isinstance(value, list) or not value:
        raise MalformedEvidence("needs a list of at least one pin")
    return frozenset(read_pin(pin) for pin in value)


def providers(value: object) -> Mapping[str, frozenset[bytes]]:
    """`host[:port]` to pins."""
    if not isinstance(value, dict):
        raise MalformedEvidence("must be a table of host = [pins]")
    for host in value:
        if host_of(f"https://{host}") != host:
            raise MalformedEvidence("every host is written host or host:port, without 443")
    return {host: pins(entry) for host, entry in value.items()}


def issuers(value: object) -> Mapping[str, frozenset[bytes]]:
    """Issuer URL (https, no path) to pins of its signing keys."""
    if not isinstance(value, dict):
        raise MalformedEvidence("must be a table of issuer = [pins]")
    for issuer in value:
        if f"https://{host_of(issuer)}" != issuer:
            raise MalformedEvidence("every issuer is written https://host, without a path")
    return {issuer: pins(entry) for issuer, entry in value.items()}
