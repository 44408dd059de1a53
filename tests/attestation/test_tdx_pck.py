"""Intel's SGX extension of a PCK certificate: read strictly, and never past what DER allows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.tdx.pck import parse_extension, pck_extensions
from tests.fakes.intel import IntelWorld
from tests.fakes.intel_layout import PckFields, der, pck_extension

_ARC = bytes.fromhex("2a864886f84d010d01")
_FIELDS = PckFields(
    ppid=bytes(range(16)),
    svns=tuple(range(120, 136)),  # on both sides of where DER adds a zero byte
    pcesvn=0x8001,
    cpu_svn=b"\x0c" * 16,
    pceid=b"\x0d\x0e",
    fmspc=b"\x0f\x10\x11\x12\x13\x14",
    sgx_type=2,
    platform_instance_id=b"\x15" * 16,
    configuration=(True, False, True),
)


def pair(suffix: bytes, value: bytes) -> bytes:
    """One member: OID and value."""
    return der(0x30, der(0x06, _ARC + suffix) + value)


def with_member(member: bytes) -> bytes:
    """A good extension with one more member behind it."""
    good = pck_extension(_FIELDS)
    return der(0x30, good[4:] + member)


def test_every_member_is_read() -> None:
    found = parse_extension(pck_extension(_FIELDS))
    assert found.ppid == _FIELDS.ppid
    assert found.components == _FIELDS.svns
    assert (found.pcesvn, found.cpusvn) == (0x8001, b"\x0c" * 16)
    assert (found.pceid, found.fmspc, found.sgx_type) == (_FIELDS.pceid, _FIELDS.fmspc, 2)
    assert found.platform_instance_id == b"\x15" * 16
    assert (found.dynamic_platform, found.cached_keys, found.smt_enabled) == (True, False, True)


def test_a_processor_authoritys_certificate_lacks_the_last_two_members() -> None:
    found = parse_extension(pck_extension(replace(_FIELDS, platform_instance_id=None, configuration=None)))
    assert found.platform_instance_id is None
    assert (found.dynamic_platform, found.cached_keys, found.smt_enabled) == (None, None, None)


def test_a_certificate_without_the_extension_is_malformed(intel: IntelWorld) -> None:
    with pytest.raises(MalformedEvidence, match="lacks"):
        pck_extensions(intel.root.certificate)


def test_a_member_that_intel_adds_one_day_is_passed_over() -> None:
    good = parse_extension(pck_extension(_FIELDS))
    assert parse_extension(with_member(pair(b"\x08", der(0x04, b"new")))) == good
    assert parse_extension(with_member(der(0x30, der(0x06, b"\x55\x04\x03") + der(0x0C, b"x")))) == good


@pytest.mark.parametrize(
    "wrong",
    [
        replace(_FIELDS, ppid=bytes(15)),
        replace(_FIELDS, fmspc=bytes(7)),
        replace(_FIELDS, pceid=b""),
        replace(_FIELDS, svns=(256, *_FIELDS.svns[1:])),
        replace(_FIELDS, svns=_FIELDS.svns[1:]),
        replace(_FIELDS, pcesvn=0x10000),
        replace(_FIELDS, cpu_svn=bytes(17)),
        replace(_FIELDS, platform_instance_id=bytes(17)),
    ],
)
def test_a_member_missing_or_of_another_size_is_malformed(wrong: PckFields) -> None:
    with pytest.raises(MalformedEvidence, match="SGX extension"):
        parse_extension(pck_extension(wrong))


@pytest.mark.parametrize(
    ("reason", "raw"),
    [
        ("not DER", b""),
        ("not one SEQUENCE", pck_extension(_FIELDS) + b"\0"),
        ("not one SEQUENCE", b"\x31" + pck_extension(_FIELDS)[1:]),
        ("comes twice", with_member(pair(b"\x01", der(0x04, bytes(16))))),
        ("not a pair", with_member(der(0x31, der(0x06, _ARC + b"\x09") + der(0x04, b"")))),
        ("not a pair", with_member(der(0x30, der(0x04, _ARC + b"\x09") + der(0x04, b"")))),
        ("not a pair", with_member(der(0x30, der(0x06, _ARC + b"\x09") + der(0x04, b"") * 2))),
        ("not DER", with_member(der(0x30, der(0x06, _ARC + b"\x09")))),
        ("not DER", with_member(b"\x30\x80\0\0")),
        ("not DER", with_member(b"\x30\x83\0\0\0")),
        ("not DER", with_member(b"\x30\x81\x02\x06\0")),
        ("not DER", with_member(b"\x30\x82\0\x02\x06\0")),
        ("not DER", with_member(b"\x30\x05\x06\0")),
        ("not DER", with_member(b"\x30")),
    ],
)
def test_what_is_not_one_sequence_of_pairs_is_malformed(reason: str, raw: bytes) -> None:
    with pytest.raises(MalformedEvidence, match=reason):
        parse_extension(raw)


@pytest.mark.parametrize(
    "value",
    [der(0x02, b""), der(0x02, b"\0\x01"), der(0x02, b"\xff"), der(0x02, b"\x01\0"), der(0x04, b"\x01")],
)
def test_an_svn_in_another_spelling_or_type_is_malformed(value: bytes) -> None:
    levels = b"".join(pair(bytes((2, place)), der(0x02, b"\x01")) for place in range(2, 18))
    levels += pair(b"\x02\x12", der(0x04, bytes(16))) + pair(b"\x02\x01", value)
    members = pair(b"\x01", der(0x04, bytes(16))) + pair(b"\x02", der(0x30, levels))
    with pytest.raises(MalformedEvidence, match="SGX extension"):
        parse_extension(der(0x30, members))


def test_a_truth_value_is_true_or_false_in_its_der_spelling() -> None:
    plain = pck_extension(replace(_FIELDS, configuration=None))
    for content in (b"\x01", b"", b"\xff\xff"):
        flags = der(0x30, pair(b"\x07\x03", der(0x01, content)))
        with pytest.raises(MalformedEvidence, match="truth value"):
            parse_extension(der(0x30, plain[4:] + pair(b"\x07", flags)))


@given(st.binary(max_size=200))
def test_any_bytes_are_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedEvidence):
        parse_extension(raw)


@given(data=st.data())
def test_an_extension_damaged_anywhere_is_read_or_malformed(data: st.DataObject) -> None:
    raw = bytearray(pck_extension(_FIELDS))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = parse_extension(bytes(raw))
    except MalformedEvidence:
        return
    assert len(found.components) == 16
