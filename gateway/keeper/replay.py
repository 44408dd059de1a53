"""Memory for replays of sealed requests: digests seen under each key id, as long as that key may live.

Fails closed: when a key's memory is full, when its time is over, or when too many keys came after it, nothing
is fresh under it any more. Before that happens it calls for new keys, once per key. It need not survive the
keeper: every key that sealed requests were opened with dies with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

LIFE = 26 * 3600 * 1_000_000_000
"""Nanoseconds from a key's first use: above `not_after` (25 h) and the ten minutes of grace (DESIGN 3.5)."""
CROWDED_AT = 0.8
"""Share of a key's memory at which new keys are called for; the rest is for clients that hold the old one."""

Seen = Literal["never", "before", "full"]


class _Seen(Struct):
    since: int
    digests: set[bytes]


class ReplayMemory:
    """Remembers at most `per_key` digests for each of at most `keys` live key ids."""

    def __init__(
        self,
        crowded: Callable[[], None],
        *,
        per_key: int = 1_000_000,
        keys: int = 8,
        life: int = LIFE,
    ) -> None:
        """`crowded` is called when a key has used up most of its memory."""
        self._crowded = crowded
        self._per_key = per_key
        self._keys = keys
        self._life = life
        self._live: dict[bytes, _Seen] = {}
        self._retired: set[bytes] = set()

    def remember(self, key_id: bytes, digest: bytes, now: int) -> Seen:
        """`never` exactly once per digest and key, while it lives and there is room. `now` in steady ns."""
        self._retire(now)
        seen = self._live.get(key_id)
        if seen is None:
            if key_id in self._retired:
                return "full"
            seen = self._live[key_id] = _Seen(now, set())
            if len(self._live) > self._keys:
                self._end(next(iter(self._live)))
        if digest in seen.digests:
            return "before"
        if len(seen.digests) >= self._per_key:
            return "full"
        seen.digests.add(digest)
        if len(seen.digests) == max(1, int(self._per_key * CROWDED_AT)):
            self._crowded()
        return "never"

    def held(self) -> int:
        """How many digests are in memory."""
        return sum(len(seen.digests) for seen in self._live.values())

    def _retire(self, now: int) -> None:
        for key_id in [key_id for key_id, seen in self._live.items() if now - seen.since > self._life]:
            self._end(key_id)

    def _end(self, key_id: bytes) -> None:
        del self._live[key_id]
        self._retired.add(key_id)
