"""A value that must not be seen: no printing, comparing, copying, pickling; wiped when asked or dropped."""

from __future__ import annotations

from typing import Any, NoReturn, final


@final
class Secret:
    """Secret bytes behind a door that only `reveal()` opens, so every use can be found by searching for it.

    The bytes live in one mutable buffer that `wipe()` overwrites. What `reveal()` returns is an ordinary
    immutable copy that Python frees like any other: keep it in a local name, as briefly as possible, and see
    `enclave.memory` for what makes freed memory unreadable.
    """

    __slots__ = ("_buffer", "_wiped")

    def __init__(self, value: bytes | bytearray) -> None:
        self._buffer = bytearray(value)
        self._wiped = False

    def reveal(self) -> bytes:
        """Return a copy of the bytes. Raises ValueError once wiped, so that zeros are never used as a key."""
        if self._wiped:
            raise ValueError("this secret was wiped")
        return bytes(self._buffer)

    def wipe(self) -> None:
        """Overwrite the buffer in place; may be called again."""
        self._wiped = True
        self._buffer[:] = bytes(len(self._buffer))

    def __del__(self) -> None:
        buffer = getattr(self, "_buffer", None)
        if buffer is not None:
            buffer[:] = bytes(len(buffer))

    def __repr__(self) -> str:
        return "<secret>"

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> NoReturn:
        """Refuse: `==` is not constant-time, and a silent False would hide the mistake."""
        raise TypeError("secrets cannot be compared; reveal() both and use hmac.compare_digest")

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuse pickle and copy alike: both make bytes that nobody wipes."""
        raise TypeError("secrets cannot be pickled or copied")
