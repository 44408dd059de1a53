"""GCRA, the leaky bucket that needs one number per key. Pure: state and time in, state and verdict out.

All times are integer nanoseconds of a steady clock, so the arithmetic is exact. A key may burst its whole
minute at once and then earns requests back evenly: at most `per_minute` at an instant, and `per_minute` a
minute in the long run.
"""

from __future__ import annotations

from msgspec import Struct

MINUTE = 60_000_000_000


class Verdict(Struct, frozen=True):
    """What GCRA says about one request; waits are nanoseconds, zero when nothing has to be waited for.

    `retry_after` is the wait until one request would pass, `reset` the wait until the bucket is full again.
    """

    allowed: bool
    limit: int
    remaining: int
    retry_after: int
    reset: int


def gcra(theoretical: int, now: int, per_minute: int) -> tuple[int, Verdict]:
    """Return the key's next theoretical arrival time and the verdict on a request at `now`.

    `theoretical` is the value returned last time (0 for a key never seen). A refused request changes nothing.
    `per_minute` must be at least 1.
    """
    interval = max(1, MINUTE // per_minute)
    tolerance = interval * per_minute
    start = max(theoretical, now)
    arrival = start + interval
    if arrival - now > tolerance:
        wait = arrival - now - tolerance
        return theoretical, Verdict(False, per_minute, 0, wait, start - now)
    left = (tolerance - (arrival - now)) // interval
    return arrival, Verdict(True, per_minute, left, 0, arrival - now)
