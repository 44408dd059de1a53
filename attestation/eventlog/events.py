"""One event of a boot log, and what its payload says its digest has to be.

A log is the host's or guest's word. What hardware signed are the RTMRs, and a replay compares only digests
with them: a payload beside a digest proves something only if the digest was computed again from the payload.
That is possible for those events whose rule is exact, which are here, and for no others. A digest does not
cover an event's type or register (dstack's do cover the type), so a rule says what was measured, never why.

Sources: TCG PC Client Platform Firmware Profile 1.06 section 10 (event types), UEFI 2.10 section 38 (TDX
registers), GRUB's manual ("Measuring boot components"), dstack's attestation guide; each was compared with
real logs (docs/spec/eventlog.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from attestation.errors import MalformedEvidence
from attestation.reader import Cursor

DIGEST_SIZE = 48
REGISTERS = 4
MAX_LOG = 1 << 20
MAX_EVENTS = 10_000

EV_NO_ACTION = 0x03
DSTACK_RUNTIME = 0x08000001
_VARIABLE_BOOT = 0x80000002
_VARIABLES = frozenset({0x80000001, _VARIABLE_BOOT, 0x8000000C, 0x800000E0})
_SEPARATORS = (bytes(4), b"\xff" * 4)
_GRUB_PREFIXES = (b"grub_cmd: ", b"kernel_cmdline: ", b"module_cmdline: ")
_MAX_LABEL = 120

TYPE_NAMES: Mapping[int, str] = MappingProxyType(
    {
        0x01: "EV_POST_CODE",
        EV_NO_ACTION: "EV_NO_ACTION",
        0x04: "EV_SEPARATOR",
        0x05: "EV_ACTION",
        0x06: "EV_EVENT_TAG",
        0x08: "EV_S_CRTM_VERSION",
        0x0A: "EV_PLATFORM_CONFIG_FLAGS",
        0x0D: "EV_IPL",
        DSTACK_RUNTIME: "dstack runtime event",
        0x80000001: "EV_EFI_VARIABLE_DRIVER_CONFIG",
        _VARIABLE_BOOT: "EV_EFI_VARIABLE_BOOT",
        0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
        0x80000006: "EV_EFI_GPT_EVENT",
        0x80000007: "EV_EFI_ACTION",
        0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB",
        0x8000000A: "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
        0x8000000B: "EV_EFI_HANDOFF_TABLES2",
        0x8000000C: "EV_EFI_VARIABLE_BOOT2",
        0x800000E0: "EV_EFI_VARIABLE_AUTHORITY",
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `digest` is 48 bytes (SHA-384); `name` is dstack's, else empty.

    `register` is the RTMR, 0 to 3, that the digest was extended into, or None for an event that extends none.
    `measured` are the bytes whose digest this has to be, as name and payload tell them, or None where no
    exact rule says. They are often less than the payload: a policy may rely on these bytes of an event that
    was `recomputed`, and on nothing else of any event.
    """

    register: int | None
    kind: int
    name: str
    payload: bytes
    digest: bytes
    measured: bytes | None

    @property
    def recomputed(self) -> bool:
        """Whether `measured` is proven to be what was measured."""
        return self.measured is not None and sha384(self.measured) == self.digest

    @property
    def contradicts_itself(self) -> bool:
        """Whether the digest is not that of what the event says was measured."""
        return self.measured is not None and sha384(self.measured) != self.digest

    @property
    def type_name(self) -> str:
        """The event type's name, or its number in hexadecimal."""
        return TYPE_NAMES.get(self.kind, hex(self.kind))


@dataclass(frozen=True, slots=True)
class EfiVariable:
    """UEFI_VARIABLE_DATA: whose variable it is (GUID, 16 bytes as logged), its name and contents."""

    guid: bytes
    name: str
    data: bytes


def parse_variable(payload: bytes) -> EfiVariable:
    """Read UEFI_VARIABLE_DATA whole. Raises MalformedEvidence."""
    cursor = Cursor(payload)
    guid, name_length, data_length = cursor.take(16), cursor.u64(), cursor.u64()
    name, data = cursor.take(2 * name_length), cursor.take(data_length)
    cursor.end()
    try:
        return EfiVariable(guid, name.decode("utf-16-le"), data)
    except UnicodeDecodeError as error:
        raise MalformedEvidence("an EFI variable's name is not UTF-16") from error


def sha384(data: bytes) -> bytes:
    """SHA-384."""
    return hashlib.sha384(data).digest()


def firmware_measured(kind: int, payload: bytes) -> bytes | None:
    """What a firmware or boot loader event must have measured; None where no rule is exact.

    An empty payload gives None too: logs that were made shorter leave payloads out.
    """
    rule = _RULES.get(kind)
    return rule(payload) if rule is not None and payload else None


def dstack_measured(kind: int, name: str, payload: bytes) -> bytes:
    """What a dstack runtime event measures: type, name and payload, with colons between them.

    It can be read in one way only as long as no name contains a colon.
    """
    return kind.to_bytes(4, "little") + b":" + name.encode() + b":" + payload


def _whole(payload: bytes) -> bytes:
    return payload


def _separator(payload: bytes) -> bytes | None:
    """Other payloads than the two tell of an error, where the digest is that of an error code."""
    return payload if payload in _SEPARATORS else None


def _boot_variable(payload: bytes) -> bytes:
    """Only the variable's contents are measured, not its name: so the name proves nothing."""
    try:
        return parse_variable(payload).data
    except MalformedEvidence:
        return payload


def _grub(payload: bytes) -> bytes | None:
    """GRUB measures a command or command line without the prefix and the end mark that it logs around it.

    Other events of this type name a file whose contents were measured, or are another boot loader's.
    """
    for prefix in _GRUB_PREFIXES:
        if payload.startswith(prefix) and payload.endswith(b"\0"):
            return payload[len(prefix) : -1]
    return None


_RULES: Mapping[int, Callable[[bytes], bytes | None]] = MappingProxyType(
    {
        0x04: _separator,
        0x0D: _grub,
        0x80000001: _whole,
        _VARIABLE_BOOT: _boot_variable,
        0x80000006: _whole,
        0x80000007: _whole,
        0x8000000C: _whole,
        0x800000E0: _whole,
    }
)


def label(event: Event) -> str:
    """A few words for people, printable and short: of what the digest proves, and of nothing else.

    Whoever delivers a log may write any name beside a digest that does not cover it.
    """
    measured = event.measured if event.recomputed else None
    if measured is None or event.kind == _VARIABLE_BOOT:
        return ""
    if event.kind == DSTACK_RUNTIME:
        text = event.name
    elif event.kind in _VARIABLES:
        text = _variable_name(measured)
    else:
        text = measured.rstrip(b"\0").decode("utf-8", "replace")
    return text[:_MAX_LABEL] if text.isprintable() and "\ufffd" not in text else ""


def _variable_name(payload: bytes) -> str:
    try:
        return parse_variable(payload).name
    except MalformedEvidence:
        return ""
