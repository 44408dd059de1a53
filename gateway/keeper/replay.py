"""Memory for replays of sealed requests: digests seen under each key id, as long as that key may live.

Fails closed: when a key's memory is full, when its time is over, or when too many keys came after it, nothing
is fresh under it any more, and only a rotation helps. It need not survive the keeper: every serving key dies
with it.
"""

from __future__ import annotations

from msgspec import Struct

LIFE = 26 * 3600 * 1_000_000_000
"""Nanoseconds from a key's first use: above `not_after` (25 h) and the ten minutes of grace (DESIGN 3.5)."""


class _Seen(Struct):
    since: int
    digests: set[bytes]


class ReplayMemory:
    """Remembers at most `per_key` digests for each of at most `keys` live key ids."""

    def __init__(self, *, per_key: int = 1_000_000, keys: int = 8, life: int = LIFE) -> None:
        self._per_key = per_key
        self._keys = keys
        self._life = life
        self._live: dict[bytes, _Seen] = {}
        self._retired: set[bytes] = set()

    def remember(self, key_id: bytes, digest: bytes, now: int) -> bool:
        """True exactly once per digest and key, while the key lives and there is room. `now` in steady ns."""
        self._retire(now)
        seen = self._live.get(key_id)
        if seen is None:
            if key_id in self._retired:
                return False
            seen = self._live[key_id] = _Seen(now, set())
            if len(self._live) > self._keys:
                self._end(next(iter(self._live)))
        if digest in seen.digests or len(seen.digests) >= self._per_key:
            return False
        seen.digests.add(digest)
        return True

    def held(self) -> int:
        """How many digests are in memory."""
        return sum(len(seen.digests) for seen in self._live.values())

    def _retire(self, now: int) -> None:
        for key_id in [key_id for key_id, seen in self._live.items() if now - seen.since > self._life]:
            self._end(key_id)

    def _end(self, key_id: bytes) -> None:
        del self._live[key_id]
        self._retired.add(key_id)
