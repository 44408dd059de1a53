"""Time for the keeper, passed in everywhere below its entry point."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

DAY = 86_400


class Moment(Struct, frozen=True):
    """`wall` is Unix seconds and decides the day a charge belongs to; the host may set it.

    `steady` is nanoseconds since boot, sleep included, and decides rates and lives.
    """

    wall: int
    steady: int

    @property
    def day(self) -> int:
        """Days since 1970-01-01 UTC."""
        return self.wall // DAY


Clock = Callable[[], Moment]


def machine_clock() -> Moment:
    """The real clocks; used by the process entry only."""
    return Moment(int(time.time()), time.clock_gettime_ns(time.CLOCK_BOOTTIME))
