"""A writer of boot logs for tests, made from the formats' descriptions and not from their reader."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SHA256, SHA384 = 0x0B, 0x0C
RUNTIME = 0x08000001
SEPARATOR, TAG, IPL = 0x04, 0x06, 0x0D
DRIVER_CONFIG, BOOT, BOOT2, AUTHORITY = 0x80000001, 0x80000002, 0x8000000C, 0x800000E0
APPLICATION, GPT, ACTION = 0x80000003, 0x80000006, 0x80000007
GUID = bytes(range(16))
ZERO = bytes(48)


def sha384(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


@dataclass(frozen=True, slots=True)
class Record:
    """One event to write. `digest` None: of the payload."""

    rtmr: int
    kind: int
    payload: bytes
    digest: bytes | None = None
    name: str = ""

    @property
    def measured(self) -> bytes:
        return sha384(self.payload) if self.digest is None else self.digest


def variable(name: str, data: bytes, *, spare: bytes = b"") -> bytes:
    """UEFI_VARIABLE_DATA."""
    return GUID + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data + spare


def header(
    *,
    signature: bytes = b"Spec ID Event03\0",
    kind: int = 3,
    sha1: bytes = bytes(20),
    algorithms: Sequence[tuple[int, int]] = ((SHA384, 48),),
    count: int | None = None,
    vendor: bytes = b"",
    spare: bytes = b"",
) -> bytes:
    """The first record of a CCEL."""
    event = signature + struct.pack("<IBBBB", 0, 0, 2, 0, 2)
    event += struct.pack("<I", len(algorithms) if count is None else count)
    event += b"".join(struct.pack("<HH", *one) for one in algorithms)
    event += bytes([len(vendor)]) + vendor + spare
    return struct.pack("<II", 1, kind) + sha1 + struct.pack("<I", len(event)) + event


def event(
    index: int, kind: int, payload: bytes, digests: Sequence[tuple[int, bytes]], size: int | None = None
) -> bytes:
    """One TCG_PCR_EVENT2."""
    written = struct.pack("<III", index, kind, len(digests))
    written += b"".join(struct.pack("<H", algorithm) + digest for algorithm, digest in digests)
    return written + struct.pack("<I", len(payload) if size is None else size) + payload


def ccel(records: Sequence[Record], *, padding: bytes = b"\xff" * 64) -> bytes:
    """A whole CCEL data area."""
    events = [event(r.rtmr + 1, r.kind, r.payload, [(SHA384, r.measured)]) for r in records]
    return header() + b"".join(events) + padding


def dstack_digest(name: str, payload: bytes) -> bytes:
    return sha384(struct.pack("<I", RUNTIME) + b":" + name.encode() + b":" + payload)


def runtime(name: str, payload: bytes, rtmr: int = 3) -> Record:
    """One of dstack's own events."""
    return Record(rtmr, RUNTIME, payload, dstack_digest(name, payload), name)


def member(record: Record, **changes: Any) -> dict[str, Any]:
    """One event of a dstack log, as JSON has it."""
    return {
        "imr": record.rtmr,
        "event_type": record.kind,
        "digest": record.measured.hex(),
        "event": record.name,
        "event_payload": record.payload.hex(),
    } | changes


def dstack(records: Sequence[Record]) -> bytes:
    """A whole dstack log."""
    return json.dumps([member(record) for record in records]).encode()


def rtmrs(records: Sequence[Record]) -> list[bytes]:
    """The registers that hardware would hold after these events."""
    registers = [ZERO] * 4
    for record in records:
        registers[record.rtmr] = sha384(registers[record.rtmr] + record.measured)
    return registers
