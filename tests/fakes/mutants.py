"""Deterministic mutants of byte strings, and what a verifier made of them: same bytes, same list.

A mutant that is accepted is a hole. A mutant that is refused by the wrong layer is luck: another rule
happened to object, and will not always. `examine` finds both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

MALFORMED = "malformed"  # stands for evidence.parse where a suite calls the authenticator below it
_MASKS = (0x01, 0x80, 0x10, 0x04, 0x40, 0x02, 0xFF, 0x08, 0x7F)

T = TypeVar("T")
Mutant = tuple[str, T]


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict: whether it would do, and the ids of the checks that failed or could not be decided."""

    accepted: bool
    against: frozenset[str]


@dataclass(frozen=True, slots=True)
class Survey:
    """How many mutants were judged, and every one that got through or was refused by the wrong layer."""

    count: int
    problems: tuple[str, ...]


def examine(mutants: Iterable[Mutant[T]], judge: Callable[[T], Judged], *layers: str) -> Survey:
    """Judge every mutant; at least one objecting check has to begin with one of `layers`."""
    count, problems = 0, []
    for name, mutant in mutants:
        count += 1
        judged = judge(mutant)
        if judged.accepted:
            problems.append(f"{name}: accepted")
        elif not any(check.startswith(layers) for check in judged.against):
            problems.append(f"{name}: refused by {', '.join(sorted(judged.against))}")
    return Survey(count, tuple(problems))


def flips(raw: bytes, start: int = 0, end: int | None = None, *, step: int = 1) -> Iterator[Mutant[bytes]]:
    """One byte changed, for every `step`-th byte of [start, end) and its last; the changed bits vary."""
    stop = len(raw) if end is None else end
    for offset in sorted({*range(start, stop, step), stop - 1}):
        mask = _MASKS[offset % len(_MASKS)]
        changed = bytearray(raw)
        changed[offset] ^= mask
        yield f"byte {offset} xor {mask:#04x}", bytes(changed)


def numbers(raw: bytes, start: int, end: int, *, big: bool = False) -> Iterator[Mutant[bytes]]:
    """Other values of the unsigned integer at [start, end): off by one, nothing, twice, half, the largest."""
    order = "big" if big else "little"
    value = int.from_bytes(raw[start:end], order)  # type: ignore[arg-type]
    largest = (1 << 8 * (end - start)) - 1
    near = {value - 1, value + 1, value - 4, value + 4}
    for other in sorted({0, 1, value // 2, value * 2, largest // 2, largest, *near} - {value}):
        if 0 <= other <= largest:
            written = other.to_bytes(end - start, order)  # type: ignore[arg-type]
            yield f"{other} in place of {value} at {start}", raw[:start] + written + raw[end:]


def cuts(raw: bytes, *, step: int = 1) -> Iterator[Mutant[bytes]]:
    """Truncated after every `step`-th byte, and by one byte; never empty, which means absent."""
    for length in sorted({*range(1, len(raw), step), len(raw) - 1}):
        yield f"cut to {length} bytes", raw[:length]


def growths(raw: bytes, fillings: Iterable[bytes] = (b"\0", b"\1", b"\xff" * 64)) -> Iterator[Mutant[bytes]]:
    """Something appended, or put in front."""
    for filling in fillings:
        yield f"{filling[:4].hex()} appended", raw + filling
        yield f"{filling[:4].hex()} in front", filling + raw


def moves(raw: bytes, *, step: int) -> Iterator[Mutant[bytes]]:
    """One byte taken away or doubled: everything behind it moves."""
    for offset in range(0, len(raw), step):
        yield f"byte {offset} gone", raw[:offset] + raw[offset + 1 :]
        yield f"byte {offset} twice", raw[: offset + 1] + raw[offset:]


def within(mutants: Iterable[Mutant[bytes]], put: Callable[[bytes], T]) -> Iterator[Mutant[T]]:
    """The whole that each mutant of a part makes."""
    return ((name, put(mutant)) for name, mutant in mutants)
