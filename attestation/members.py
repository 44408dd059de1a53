"""Reading a JSON object whose members are all known, with one typed error for everything else.

Used where bytes are bound into evidence: a member that this version does not know may change what the rest
means, so it is refused rather than ignored.
"""

from __future__ import annotations

from collections.abc import Mapping

from attestation.errors import MalformedEvidence
from attestation.reader import hex_bytes

MAX_SAFE_INTEGER = 2**53 - 1


def require_members(obj: Mapping[str, object], names: frozenset[str], what: str) -> None:
    """Refuse `obj` unless its members are exactly `names`. The message never repeats an unknown name."""
    missing = sorted(names - obj.keys())
    if missing:
        raise MalformedEvidence(f"{what}: missing {', '.join(missing)}")
    if len(obj) != len(names):
        raise MalformedEvidence(f"{what}: unknown member")


def text(obj: Mapping[str, object], name: str, what: str) -> str:
    """Return a short printable ASCII text: such values reach terminals and reports."""
    value = obj[name]
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise MalformedEvidence(f"{what}: {name} must be a text of 1 to 200 characters")
    if not (value.isascii() and value.isprintable()):
        raise MalformedEvidence(f"{what}: {name} must be printable ASCII")
    return value


def one_of(obj: Mapping[str, object], name: str, allowed: frozenset[str], what: str) -> str:
    """Return a text out of a closed list."""
    value = obj[name]
    if not isinstance(value, str) or value not in allowed:
        raise MalformedEvidence(f"{what}: {name} is not one of {', '.join(sorted(allowed))}")
    return value


def integer(obj: Mapping[str, object], name: str, what: str) -> int:
    """Return an integer from 0 to 2^53 - 1 (JSON's safe range; `true` is no integer)."""
    value = obj[name]
    if type(value) is not int or not 0 <= value <= MAX_SAFE_INTEGER:
        raise MalformedEvidence(f"{what}: {name} must be an integer from 0 to 2^53 - 1")
    return value


def digest(obj: Mapping[str, object], name: str, length: int, what: str) -> bytes:
    """Return `length` bytes written as lowercase hexadecimal digits."""
    return hex_value(obj[name], length, f"{what}: {name}")


def hex_value(value: object, length: int, what: str) -> bytes:
    """Return `length` bytes from a lowercase hexadecimal text."""
    if not isinstance(value, str) or len(value) != 2 * length or value != value.lower():
        raise MalformedEvidence(f"{what} must be {2 * length} lowercase hexadecimal digits")
    return hex_bytes(value, length)


def digests(obj: Mapping[str, object], name: str, length: int, what: str) -> tuple[bytes, ...]:
    """Return up to 16 distinct byte strings of `length` bytes each."""
    value = obj[name]
    if not isinstance(value, list) or len(value) > 16:
        raise MalformedEvidence(f"{what}: {name} must be a list of at most 16 entries")
    found = tuple(hex_value(entry, length, f"{what}: {name}") for entry in value)
    if len(set(found)) != len(found):
        raise MalformedEvidence(f"{what}: {name} repeats an entry")
    return found
