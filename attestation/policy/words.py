"""How an explanation is written: one statement a line, `!` before what accepts more than the default."""

from __future__ import annotations

from collections.abc import Iterable

WEAKER, SAME = "! ", "- "


def compared(as_strict: bool, words: str) -> str:
    """A statement, marked unless it accepts no more than the strict default does."""
    return (SAME if as_strict else WEAKER) + words


def weaker_if(weakened: bool, words: str) -> list[str]:
    """A marked statement, or none."""
    return [WEAKER + words] if weakened else []


def same_if(holds: bool, words: str) -> list[str]:
    """A plain statement, or none."""
    return [SAME + words] if holds else []


def joined(values: Iterable[str]) -> str:
    """A list, in its own order."""
    return ", ".join(values)


def span(seconds: int) -> str:
    """A number of seconds in the largest unit that says it exactly."""
    for length, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} seconds"
