"""What Intel certifies about one platform: the SGX extension of a PCK certificate.

Source: Intel SGX PCK certificate and CRL profile specification, section 1.3.5 (OID 1.2.840.113741.1.13.1).
The extension is DER: a SEQUENCE of (OID, value) pairs, two of them nested once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509

from attestation.errors import MalformedEvidence

SGX_EXTENSION = x509.ObjectIdentifier("1.2.840.113741.1.13.1")

_ARC = bytes.fromhex("2a864886f84d010d01")  # the same OID as DER content; members continue it
_BOOLEAN, _INTEGER, _OCTETS, _OID, _ENUMERATED, _SEQUENCE = 0x01, 0x02, 0x04, 0x06, 0x0A, 0x30
_PPID, _TCB, _PCEID, _FMSPC, _SGX_TYPE, _INSTANCE, _CONFIGURATION = 1, 2, 3, 4, 5, 6, 7
_COMPONENTS, _PCESVN, _CPUSVN = 16, 17, 18

_Value = tuple[int, bytes]  # tag and content


@dataclass(frozen=True, slots=True)
class PckExtensions:
    """Intel's description of the platform that a PCK belongs to.

    `ppid` (16 bytes) names the processor, `platform_instance_id` (16) the set of processors as registered;
    `fmspc` (6) and `pceid` (2) select the TCB info; `components` are the 16 SVNs and `pcesvn` the one that
    its levels are compared with. The last four exist only in certificates of the Platform CA.
    """

    ppid: bytes
    components: tuple[int, ...]
    pcesvn: int
    cpusvn: bytes
    pceid: bytes
    fmspc: bytes
    sgx_type: int
    platform_instance_id: bytes | None
    dynamic_platform: bool | None
    cached_keys: bool | None
    smt_enabled: bool | None


def pck_extensions(certificate: x509.Certificate) -> PckExtensions:
    """Read the SGX extension of a certificate. Raises MalformedEvidence, also if there is none."""
    try:
        value = certificate.extensions.get_extension_for_oid(SGX_EXTENSION).value
    except x509.ExtensionNotFound as error:
        raise MalformedEvidence("the certificate lacks Intel's SGX extension") from error
    return parse_extension(value.public_bytes())


def parse_extension(raw: bytes) -> PckExtensions:
    """Read the SGX extension's value, DER. Raises MalformedEvidence for anything Intel does not issue."""
    members = _members(_whole(raw, _SEQUENCE), ())
    tcb = _members(_content(members, _TCB, _SEQUENCE), (_TCB,))
    configuration: Mapping[int, _Value] = {}
    if _CONFIGURATION in members:
        configuration = _members(_content(members, _CONFIGURATION, _SEQUENCE), (_CONFIGURATION,))
    return PckExtensions(
        ppid=_octets(members, _PPID, 16),
        components=tuple(_integer(tcb, index, 0xFF) for index in range(1, _COMPONENTS + 1)),
        pcesvn=_integer(tcb, _PCESVN, 0xFFFF),
        cpusvn=_octets(tcb, _CPUSVN, 16),
        pceid=_octets(members, _PCEID, 2),
        fmspc=_octets(members, _FMSPC, 6),
        sgx_type=_small(_content(members, _SGX_TYPE, _ENUMERATED), 0xFF),
        platform_instance_id=_octets(members, _INSTANCE, 16) if _INSTANCE in members else None,
        dynamic_platform=_boolean(configuration, 1),
        cached_keys=_boolean(configuration, 2),
        smt_enabled=_boolean(configuration, 3),
    )


def _take(raw: bytes, offset: int) -> tuple[int, bytes, int]:
    """One DER value at `offset`: tag, content, and where the next one starts. Lengths below 65,536."""
    head = raw[offset : offset + 4].ljust(4, b"\0")
    tag, length, start = head[0], head[1], offset + 2
    if length == 0x81:
        length, start = head[2], offset + 3
    elif length == 0x82:
        length, start = head[2] << 8 | head[3], offset + 4
    shortest = 2 + (length > 0x7F) + (length > 0xFF)
    end = start + length
    if start - offset != shortest or end > len(raw):
        raise MalformedEvidence("the SGX extension is not DER")
    return tag, raw[start:end], end


def _whole(raw: bytes, tag: int) -> bytes:
    """The content of the one value that `raw` is."""
    found, content, end = _take(raw, 0)
    if found != tag or end != len(raw):
        raise MalformedEvidence("the SGX extension is not one SEQUENCE")
    return content


def _members(raw: bytes, path: tuple[int, ...]) -> dict[int, _Value]:
    """Pairs of a SEQUENCE by the last number of their OID, which continues Intel's arc and `path`.

    A member with another OID is none that we know, and is passed over; one that comes twice is refused.
    """
    prefix, found = _ARC + bytes(path), dict[int, _Value]()
    offset = 0
    while offset < len(raw):
        tag, pair, offset = _take(raw, offset)
        oid_tag, oid, value_at = _take(pair, 0)
        value_tag, value, end = _take(pair, value_at)
        if (tag, oid_tag, end) != (_SEQUENCE, _OID, len(pair)):
            raise MalformedEvidence("a member of the SGX extension is not a pair of OID and value")
        if oid[:-1] != prefix:
            continue
        if oid[-1] in found:
            raise MalformedEvidence("a member of the SGX extension comes twice")
        found[oid[-1]] = value_tag, value
    return found


def _content(members: Mapping[int, _Value], number: int, tag: int) -> bytes:
    found, content = members.get(number, (None, b""))
    if found != tag:
        raise MalformedEvidence(f"member {number} of the SGX extension is missing or of another type")
    return content


def _octets(members: Mapping[int, _Value], number: int, size: int) -> bytes:
    content = _content(members, number, _OCTETS)
    if len(content) != size:
        raise MalformedEvidence(f"member {number} of the SGX extension has not {size} bytes")
    return content


def _integer(members: Mapping[int, _Value], number: int, limit: int) -> int:
    return _small(_content(members, number, _INTEGER), limit)


def _small(content: bytes, limit: int) -> int:
    """An INTEGER or ENUMERATED from 0 to `limit`; DER puts a zero byte before a first bit that is one."""
    value = int.from_bytes(content, "big")
    if value > limit or len(content) != value.bit_length() // 8 + 1:
        raise MalformedEvidence(f"a number of the SGX extension is not from 0 to {limit}")
    return value


def _boolean(members: Mapping[int, _Value], number: int) -> bool | None:
    if number not in members:
        return None
    content = _content(members, number, _BOOLEAN)
    if content not in (b"\x00", b"\xff"):
        raise MalformedEvidence("a truth value of the SGX extension is neither true nor false")
    return content == b"\xff"
