"""The event log that dstack guests write: a JSON list that names RTMRs directly.

Each event has `imr` (0 to 3), `event_type`, `digest` (96 hexadecimal digits), `event` (a name) and
`event_payload` (hexadecimal). Firmware's events stand beside dstack's own of type 0x08000001, which
applications add to while they run. A shortened log leaves digests of the latter, and payloads of the former,
empty.
"""

from __future__ import annotations

from typing import Any

from attestation.errors import MalformedEvidence
from attestation.eventlog.events import (
    DIGEST_SIZE,
    DSTACK_RUNTIME,
    EV_NO_ACTION,
    MAX_LOG,
    REGISTERS,
    Event,
    dstack_measured,
    firmware_measured,
    sha384,
)
from attestation.reader import hex_bytes, parse_json_array

_MAX_NAME = 256


def parse_dstack_log(raw: bytes) -> tuple[Event, ...]:
    """Read a log; members that we do not know are ignored. Raises MalformedEvidence."""
    if len(raw) > MAX_LOG:
        raise MalformedEvidence(f"an event log of more than {MAX_LOG} bytes")
    return tuple(_event(member) for member in parse_json_array(raw, max_depth=3))


def _event(member: Any) -> Event:
    if not isinstance(member, dict):
        raise MalformedEvidence("an event is not an object")
    register, kind = _integer(member.get("imr"), REGISTERS), _integer(member.get("event_type"), 1 << 32)
    name, payload = _name(member.get("event")), _hex(member.get("event_payload"))
    logged = member.get("digest")
    if kind == DSTACK_RUNTIME:
        measured = dstack_measured(kind, name, payload)
        digest = sha384(measured) if logged == "" else _hex(logged, DIGEST_SIZE)
        return Event(register, kind, name, payload, digest, None if ":" in name else measured)
    digest = _hex(logged, DIGEST_SIZE)
    if kind == EV_NO_ACTION:
        return Event(None, kind, name, payload, digest, None)
    return Event(register, kind, name, payload, digest, firmware_measured(kind, payload))


def _integer(value: Any, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
        raise MalformedEvidence(f"an event's number is not from 0 to {limit - 1}")
    return value


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_NAME:
        raise MalformedEvidence(f"an event's name is not a text of at most {_MAX_NAME} characters")
    return value


def _hex(value: Any, size: int | None = None) -> bytes:
    """Lowercase hexadecimal, of any length unless `size` bytes are wanted."""
    if not isinstance(value, str):
        raise MalformedEvidence("an event's digest or payload is not a text")
    return hex_bytes(value, len(value) // 2 if size is None else size)
