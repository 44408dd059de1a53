"""The CCEL data area: the log that firmware and boot loader of a TD keep, in TCG's crypto-agile form.

Sources: ACPI 6.5 (CCEL), UEFI 2.10 section 38.4.1 (index 0 is MRTD, 1 to 4 are RTMR0 to RTMR3), TCG PC Client
Platform Firmware Profile 1.06 section 10 (TCG_PCR_EVENT, TCG_PCR_EVENT2). Integers are little-endian.
"""

from __future__ import annotations

from attestation.errors import MalformedEvidence
from attestation.eventlog.events import (
    DIGEST_SIZE,
    EV_NO_ACTION,
    MAX_EVENTS,
    MAX_LOG,
    REGISTERS,
    Event,
    firmware_measured,
)
from attestation.reader import Cursor

_ALG_SHA384 = 0x0C
_SPEC_ID = b"Spec ID Event03\0"
_MAX_ALGORITHMS = 8
_MAX_DIGEST = 64
_SHA1_SIZE = 20


def parse_ccel(raw: bytes) -> tuple[tuple[Event, ...], int]:
    """The events, without the header that describes the log, and how many bytes they take.

    After them may stand only bytes FF, or only zeros, to the end. Raises MalformedEvidence.
    """
    if len(raw) > MAX_LOG:
        raise MalformedEvidence(f"an event log of more than {MAX_LOG} bytes")
    raw = bytes(raw)
    unpadded = min(len(raw.rstrip(b"\xff")), len(raw.rstrip(b"\0")))
    cursor = Cursor(raw)
    sizes = _header(cursor)
    events: list[Event] = []
    while len(raw) - cursor.remaining < unpadded:
        if len(events) == MAX_EVENTS:
            raise MalformedEvidence(f"an event log of more than {MAX_EVENTS} events")
        events.append(_event(cursor, sizes))
    return tuple(events), len(raw) - cursor.remaining


def _header(cursor: Cursor) -> dict[int, int]:
    """The first record, in the old form: says which digests the others carry, by algorithm and size."""
    cursor.u32()  # firmware writes 0 or 1 here; nothing is extended
    kind, digest = cursor.u32(), cursor.take(_SHA1_SIZE)
    event = Cursor(cursor.take(cursor.u32()))
    if kind != EV_NO_ACTION or any(digest) or event.take(len(_SPEC_ID)) != _SPEC_ID:
        raise MalformedEvidence("not a crypto-agile event log")
    event.take(8)  # platform class, version of the specification, size of an integer
    count = event.u32()
    if count > _MAX_ALGORITHMS:
        raise MalformedEvidence(f"an event log with more than {_MAX_ALGORITHMS} digest algorithms")
    sizes = dict((event.u16(), event.u16()) for _ in range(count))
    event.take(event.u8())  # whatever the vendor wishes to say
    event.end()
    if sizes.get(_ALG_SHA384) != DIGEST_SIZE or max(sizes.values()) > _MAX_DIGEST:
        raise MalformedEvidence("an event log without SHA-384 digests")
    return sizes


def _event(cursor: Cursor, sizes: dict[int, int]) -> Event:
    index, kind, count = cursor.u32(), cursor.u32(), cursor.u32()
    if count > _MAX_ALGORITHMS:
        raise MalformedEvidence(f"an event with more than {_MAX_ALGORITHMS} digests")
    digests = [_digest(cursor, sizes) for _ in range(count)]
    payload = cursor.take(cursor.u32())
    sha384 = [digest for algorithm, digest in digests if algorithm == _ALG_SHA384]
    if len(sha384) != 1:
        raise MalformedEvidence("an event without one SHA-384 digest")
    if kind == EV_NO_ACTION:
        return Event(None, kind, "", payload, sha384[0], None)
    if not 1 <= index <= REGISTERS:
        raise MalformedEvidence("an event of a register that nothing extends")
    return Event(index - 1, kind, "", payload, sha384[0], firmware_measured(kind, payload))


def _digest(cursor: Cursor, sizes: dict[int, int]) -> tuple[int, bytes]:
    algorithm = cursor.u16()
    if algorithm not in sizes:
        raise MalformedEvidence("a digest of an algorithm that the log did not announce")
    return algorithm, cursor.take(sizes[algorithm])
