"""Event logs: what CCEL data and dstack's JSON say, and which bytes are neither."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from attestation.errors import MalformedEvidence
from attestation.eventlog.ccel import parse_ccel
from attestation.eventlog.dstack import parse_dstack_log
from attestation.eventlog.events import MAX_LOG, EfiVariable, label, parse_variable
from tests.attestation.logs import (
    ACTION,
    APPLICATION,
    AUTHORITY,
    BOOT,
    BOOT2,
    DRIVER_CONFIG,
    GPT,
    GUID,
    IPL,
    RUNTIME,
    SEPARATOR,
    SHA256,
    SHA384,
    TAG,
    ZERO,
    Record,
    ccel,
    dstack,
    dstack_digest,
    event,
    header,
    member,
    runtime,
    sha384,
    variable,
)

BOOTED = Record(1, ACTION, b"Exit Boot Services Invocation")


def test_a_ccel_reads_as_it_was_written() -> None:
    records = [BOOTED, Record(0, SEPARATOR, bytes(4)), Record(3, 0x7777, b"?", bytes(range(48)))]
    raw = ccel(records)
    events, used = parse_ccel(raw)
    assert used == len(raw) - 64
    assert [(e.register, e.kind, e.payload, e.digest) for e in events] == [
        (r.rtmr, r.kind, r.payload, r.measured) for r in records
    ]
    assert [e.type_name for e in events] == ["EV_EFI_ACTION", "EV_SEPARATOR", "0x7777"]


@pytest.mark.parametrize("padding", [b"", b"\xff", b"\xff" * 4096, b"\0", bytes(4096)])
def test_after_the_events_may_stand_padding_to_the_end(padding: bytes) -> None:
    events, used = parse_ccel(ccel([BOOTED], padding=padding))
    assert [e.payload for e in events] == [BOOTED.payload]
    assert used == len(ccel([BOOTED], padding=b""))


@pytest.mark.parametrize("payload", [b"\xff" * 4, bytes(4)])
@pytest.mark.parametrize("padding", [b"", b"\xff" * 9, bytes(9)])
def test_an_event_that_ends_like_padding_is_read_whole(payload: bytes, padding: bytes) -> None:
    events, _ = parse_ccel(ccel([BOOTED, Record(1, SEPARATOR, payload)], padding=padding))
    assert events[-1].payload == payload


@pytest.mark.parametrize("padding", [b"\xff\0", b"\0\xff", b"\0\0\x01", b"\xff" * 16 + b"\xfe"])
def test_refuses_anything_else_after_the_events(padding: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_ccel(ccel([BOOTED], padding=padding))


def test_a_log_without_events_is_read() -> None:
    assert parse_ccel(header(vendor=b"OVMF")) == ((), len(header(vendor=b"OVMF")))


@pytest.mark.parametrize(
    "first",
    [
        b"",
        header()[:-1],
        header(signature=b"Spec ID Event02\0"),
        header(signature=b"StartupLocality\0"),
        header(kind=4),
        header(sha1=bytes(19) + b"\x01"),
        header(algorithms=((SHA256, 32),)),
        header(algorithms=((SHA384, 32),)),
        header(algorithms=((SHA384, 48), (0x99, 65))),
        header(algorithms=((SHA384, 48),) * 9),
        header(algorithms=()),
        header(count=2),
        header(spare=b"\0"),
    ],
)
def test_refuses_a_log_that_does_not_begin_as_one_with_sha384(first: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_ccel(first + event(1, ACTION, b"x", [(SHA384, sha384(b"x"))]))


def test_other_digests_beside_sha384_are_passed_over() -> None:
    first = header(algorithms=((SHA256, 32), (SHA384, 48)))
    both = [(SHA256, bytes(32)), (SHA384, sha384(b"x"))]
    events, _ = parse_ccel(first + event(1, ACTION, b"x", both))
    assert events[0].digest == sha384(b"x")


@pytest.mark.parametrize(
    "digests",
    [
        [],
        [(SHA256, bytes(32))],
        [(SHA384, ZERO), (SHA384, ZERO)],
        [(0x04, bytes(20)), (SHA384, ZERO)],
        [(SHA384, ZERO)] * 9,
    ],
)
def test_refuses_an_event_without_exactly_one_sha384_digest(digests: list[tuple[int, bytes]]) -> None:
    first = header(algorithms=((SHA256, 32), (SHA384, 48)))
    with pytest.raises(MalformedEvidence):
        parse_ccel(first + event(1, ACTION, b"x", digests))


@pytest.mark.parametrize("index", [0, 5, 0xFFFFFFFF])
def test_refuses_events_of_a_register_that_nothing_extends(index: int) -> None:
    with pytest.raises(MalformedEvidence, match="nothing extends"):
        parse_ccel(header() + event(index, ACTION, b"x", [(SHA384, sha384(b"x"))]))
    events, _ = parse_ccel(header() + event(index, 3, b"note", [(SHA384, ZERO)]))
    assert (events[0].register, events[0].measured) == (None, None)


def test_refuses_a_payload_that_runs_past_the_end() -> None:
    for size in (2, 1 << 20, 0xFFFFFFFF):
        with pytest.raises(MalformedEvidence):
            parse_ccel(header() + event(1, ACTION, b"x", [(SHA384, ZERO)], size))


def test_refuses_every_truncation_between_two_events() -> None:
    whole = ccel([BOOTED, BOOTED], padding=b"")
    ends = {len(header()), len(ccel([BOOTED], padding=b""))}
    for length in range(len(whole)):
        if length not in ends:
            with pytest.raises(MalformedEvidence):
                parse_ccel(whole[:length])


def test_refuses_logs_without_bounds() -> None:
    with pytest.raises(MalformedEvidence, match="bytes"):
        parse_ccel(b"\xff" * (MAX_LOG + 1))
    with pytest.raises(MalformedEvidence, match="bytes"):
        parse_dstack_log(b" " * (MAX_LOG + 1))
    tiny = event(1, 0x7777, b"", [(SHA384, ZERO)])
    parse_ccel(header() + tiny * 10_000)
    with pytest.raises(MalformedEvidence, match="events"):
        parse_ccel(header() + tiny * 10_001)


@pytest.mark.parametrize(
    ("kind", "payload", "measured"),
    [
        (SEPARATOR, bytes(4), bytes(4)),
        (SEPARATOR, b"\xff" * 4, b"\xff" * 4),
        (SEPARATOR, b"\x01\0\0\0", None),
        (SEPARATOR, b"", None),
        (ACTION, b"Calling EFI Application", b"Calling EFI Application"),
        (GPT, b"EFI PART...", b"EFI PART..."),
        (DRIVER_CONFIG, variable("SecureBoot", b"\x01"), variable("SecureBoot", b"\x01")),
        (BOOT2, variable("Boot0001", b"\x01"), variable("Boot0001", b"\x01")),
        (AUTHORITY, variable("Shim", b"\x01"), variable("Shim", b"\x01")),
        (BOOT, variable("BootOrder", b"\x01\x00"), b"\x01\x00"),
        (BOOT, variable("BootOrder", b""), b""),
        (BOOT, variable("BootOrder", b"\x01", spare=b"\0"), variable("BootOrder", b"\x01", spare=b"\0")),
        (IPL, b"grub_cmd: set timeout=0\0", b"set timeout=0"),
        (IPL, b"kernel_cmdline: /vmlinuz ro\0", b"/vmlinuz ro"),
        (IPL, b"module_cmdline: /initrd\0", b"/initrd"),
        (IPL, b"grub_cmd: set timeout=0", None),
        (IPL, b"/efi/boot/grub.cfg\0", None),
        (IPL, b"MokList\0", None),
        (TAG, struct.pack("<II", 0x8F3B22ED, 1) + b"\0", None),
        (APPLICATION, bytes(32), None),
        (0x0A, b"ACPI DATA", None),
        (0x8000000A, b"(Fv)", None),
    ],
)
def test_what_was_measured_is_told_exactly_where_a_rule_is_exact(
    kind: int, payload: bytes, measured: bytes | None
) -> None:
    (firmware,), _ = parse_ccel(ccel([Record(0, kind, payload, ZERO)]))
    (told,) = parse_dstack_log(dstack([Record(0, kind, payload, ZERO)]))
    assert firmware.measured == told.measured == measured
    assert not firmware.recomputed
    assert firmware.contradicts_itself is (measured is not None)
    if measured is not None:
        (right,), _ = parse_ccel(ccel([Record(0, kind, payload, sha384(measured))]))
        assert right.recomputed
        assert not right.contradicts_itself


def test_a_dstack_log_reads_as_it_was_written() -> None:
    records = [BOOTED, runtime("app-id", b"\x37\x63"), runtime("system-ready", b"")]
    events = parse_dstack_log(dstack(records))
    assert [(e.register, e.kind, e.name, e.payload, e.digest) for e in events] == [
        (r.rtmr, r.kind, r.name, r.payload, r.measured) for r in records
    ]
    assert all(e.recomputed for e in events)


def test_the_name_and_type_of_a_runtime_event_are_part_of_its_digest() -> None:
    honest = runtime("compose-hash", b"\x01")
    (renamed,) = parse_dstack_log(json.dumps([member(honest, event="rootfs-hash")]).encode())
    (changed,) = parse_dstack_log(json.dumps([member(honest, event_payload="02")]).encode())
    assert renamed.contradicts_itself
    assert changed.contradicts_itself


def test_a_name_with_a_colon_proves_nothing_because_it_could_be_read_in_two_ways() -> None:
    one, other = runtime("a:b", b"c"), runtime("a", b"b:c")
    assert one.digest == other.digest
    (event_,) = parse_dstack_log(dstack([one]))
    assert not event_.recomputed
    assert not event_.contradicts_itself


def test_an_empty_digest_is_filled_in_for_runtime_events_alone() -> None:
    (filled,) = parse_dstack_log(json.dumps([member(runtime("app-id", b"\x01"), digest="")]).encode())
    assert filled.digest == dstack_digest("app-id", b"\x01")
    assert filled.recomputed
    with pytest.raises(MalformedEvidence):
        parse_dstack_log(json.dumps([member(BOOTED, digest="")]).encode())


def test_an_event_that_extends_nothing_has_no_register_in_either_format() -> None:
    (event_,) = parse_dstack_log(dstack([Record(0, 3, b"note", ZERO)]))
    assert event_.register is None


def test_members_that_we_do_not_know_are_ignored() -> None:
    (event_,) = parse_dstack_log(json.dumps([member(BOOTED, extra={"a": 1})]).encode())
    assert event_.payload == BOOTED.payload


@pytest.mark.parametrize(
    "changes",
    [
        *({"imr": 4}, {"imr": -1}, {"imr": True}, {"imr": "0"}, {"imr": None}),
        *({"event_type": 1 << 32}, {"event_type": -1}, {"event_type": "4"}),
        *({"event": None}, {"event": 7}, {"event": "x" * 257}),
        *({"event_payload": None}, {"event_payload": "0"}, {"event_payload": "0G"}, {"event_payload": "AA"}),
        *({"digest": None}, {"digest": "00"}, {"digest": "00" * 49}, {"digest": 7}),
    ],
)
@pytest.mark.parametrize("record", [BOOTED, runtime("app-id", b"\x01")])
def test_refuses_events_of_another_shape(record: Record, changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedEvidence):
        parse_dstack_log(json.dumps([member(record, **changes)]).encode())


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"[[]]", b"[", b"[{}]", b'"x"', b"[1.5]"])
def test_refuses_text_that_is_no_dstack_log(text: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_dstack_log(text)


def test_a_variable_reads_as_it_was_written_and_not_otherwise() -> None:
    assert parse_variable(variable("Boot0000", b"\x09")) == EfiVariable(GUID, "Boot0000", b"\x09")
    endless = GUID + b"\xff" * 16
    half_a_pair = GUID + struct.pack("<QQ", 1, 0) + b"\x00\xd8"
    for broken in (b"", variable("x", b"y")[:-1], variable("x", b"y", spare=b"z"), endless, half_a_pair):
        with pytest.raises(MalformedEvidence):
            parse_variable(broken)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (runtime("app-id", b"\x01"), "app-id"),
        (Record(0, DRIVER_CONFIG, variable("SecureBoot", b"\x01")), "SecureBoot"),
        (Record(0, DRIVER_CONFIG, b"?"), ""),
        (Record(0, DRIVER_CONFIG, variable("SecureBoot", b"\x01"), name="approved"), "SecureBoot"),
        (Record(0, DRIVER_CONFIG, variable("SecureBoot", b"\x01"), sha384(b"other")), ""),
        (Record(1, BOOT, variable("Boot0000", b"\x09"), sha384(b"\x09"), name="approved"), ""),
        (Record(2, IPL, b"grub_cmd: ls\0", sha384(b"ls")), "ls"),
        (Record(2, IPL, b"x" * 121, name="approved"), ""),
        (Record(0, ACTION, b"x" * 121), "x" * 120),
        (Record(0, ACTION, b"a\x1b[2Jb"), ""),
        (Record(0, ACTION, b"a\xff"), ""),
        (runtime("bell\x07", b""), ""),
    ],
)
def test_a_label_is_short_and_printable_and_says_only_what_the_digest_proves(
    record: Record, words: str
) -> None:
    (event_,) = parse_dstack_log(dstack([record]))
    assert label(event_) == words


def test_runtime_events_are_told_apart_from_firmware_by_their_type_alone() -> None:
    (event_,) = parse_dstack_log(dstack([Record(0, RUNTIME, b"x", dstack_digest("", b"x"))]))
    assert (event_.register, event_.recomputed) == (0, True)
