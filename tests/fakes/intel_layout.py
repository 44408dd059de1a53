"""Byte layouts of Intel TDX evidence for the forger: TD and QE reports, quotes, TDREPORTs, PCK extensions.

Written from the published layouts (Intel TDX DCAP Quoting Library API, Intel SGX PCK certificate profile) and
compared with real quotes, never with the code under test: a parser must not be the judge of its own input.
Integers are little-endian; signatures and keys big-endian.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

TDX_TEE = 0x81
SEPT_VE_DISABLE = 1 << 28
MIGRATABLE = 1 << 29
DEBUG = 1
QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
QE_MRSIGNER = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
SGX_EXTENSION = "1.2.840.113741.1.13.1"
BODY_SIZES = {1: 384, 2: 584, 3: 648, 4: 885}
SVNS = (8, 8, 2, 2, 4, 1, 0, 6, *(0,) * 8)
PCESVN = 11
PCEID = bytes(2)
FMSPC = bytes.fromhex("00806f050000")
QE_CPU_SVN = bytes((8, 8, 0x19, 0x1B, 4, 0xFF, 0, 6)) + bytes(8)
_SGX_ARC = bytes.fromhex("2a864886f84d010d01")  # 1.2.840.113741.1.13.1 as an OID's content

Pieces = list[tuple[str, bytes]]
Regions = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class TdFields:
    """One TD report; the last two groups exist from TDX 1.5 on and in its extended form only."""

    tee_tcb_svn: bytes = bytes((8, 1, 8)) + bytes(13)
    mrseam: bytes = b"\x5e" * 48
    mrsignerseam: bytes = bytes(48)
    seam_attributes: bytes = bytes(8)
    td_attributes: int = SEPT_VE_DISABLE
    xfam: int = 0x0602E7
    mrtd: bytes = b"\x4d" * 48
    mrconfigid: bytes = bytes(48)
    mrowner: bytes = bytes(48)
    mrownerconfig: bytes = bytes(48)
    rtmrs: tuple[bytes, ...] = (b"\xa0" * 48, b"\xa1" * 48, b"\xa2" * 48, bytes(48))
    report_data: bytes = bytes(range(64))

    tee_tcb_svn2: bytes = bytes((8, 1, 8)) + bytes(13)
    mrservicetd: bytes = bytes(48)

    vmid: bytes = bytes(1)
    td_id: bytes = b"\x1d" * 32
    device_info: bytes = bytes(48)
    initial_servtd_hash: bytes = bytes(48)
    initial_servtd_attributes: bytes = bytes(8)
    initial_cpu_svn: bytes = bytes(SVNS)
    initial_tee_tcb_svn: bytes = bytes((8, 1, 8)) + bytes(13)
    initial_platform: bytes = bytes(12)
    servtd_hash: bytes = bytes(48)
    servtd_attributes: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class QuoteFields:
    """Header, sizes and the quoting enclave's report. None: as it should be, computed while writing."""

    version: int = 4
    body_type: int = 3  # version 5 only
    body_size: int | None = None
    key_type: int = 2
    tee_type: int = TDX_TEE
    header_reserved: bytes = bytes(4)
    qe_vendor: bytes = QE_VENDOR
    user_data: bytes = bytes(20)
    signature_size: int | None = None
    outer_type: int = 6
    outer_size: int | None = None
    qe_cpu_svn: bytes = QE_CPU_SVN
    qe_miscselect: bytes = bytes(4)
    qe_attributes: bytes = bytes((0x15, 0, 0, 0, 0, 0, 0, 0, 0xE7)) + bytes(7)
    qe_mrenclave: bytes = b"\xe1" * 32
    qe_mrsigner: bytes = QE_MRSIGNER
    qe_isvprodid: int = 2
    qe_isvsvn: int = 7
    qe_report_data: bytes | None = None
    auth_data: bytes = bytes(range(32))
    auth_size: int | None = None
    inner_type: int = 5
    chain_size: int | None = None
    padding: bytes = b""


@dataclass(frozen=True, slots=True)
class PckFields:
    """What Intel certifies about a platform in the SGX extension of its PCK certificate."""

    ppid: bytes = b"\x99" * 16
    svns: tuple[int, ...] = SVNS
    pcesvn: int = PCESVN
    cpu_svn: bytes | None = None  # the same levels as bytes
    pceid: bytes = PCEID
    fmspc: bytes = FMSPC
    sgx_type: int = 1
    platform_instance_id: bytes | None = b"\x1f" * 16
    configuration: tuple[bool, bool, bool] | None = (True, True, True)  # dynamic, cached keys, SMT


def little(size: int, value: int) -> bytes:
    """An unsigned integer of `size` bytes."""
    return value.to_bytes(size, "little")


def regions_of(pieces: Pieces) -> Regions:
    """Name to [start, end) of every piece that is not empty."""
    ends = list(accumulate(len(data) for _, data in pieces))
    spans = zip(pieces, ends, strict=True)
    return {name: (end - len(data), end) for (name, data), end in spans if data}


def body_pieces(td: TdFields, body_type: int) -> Pieces:
    """A TD report of body type 2 (TDX 1.0), 3 (1.5) or 4 (1.5 extended)."""
    pieces: Pieces = [
        ("body.tee_tcb_svn", td.tee_tcb_svn),
        ("body.mrseam", td.mrseam),
        ("body.mrsignerseam", td.mrsignerseam),
        ("body.seam_attributes", td.seam_attributes),
        ("body.td_attributes", little(8, td.td_attributes)),
        ("body.xfam", little(8, td.xfam)),
        ("body.mrtd", td.mrtd),
        ("body.mrconfigid", td.mrconfigid),
        ("body.mrowner", td.mrowner),
        ("body.mrownerconfig", td.mrownerconfig),
        *((f"body.rtmr{index}", value) for index, value in enumerate(td.rtmrs)),
        ("body.report_data", td.report_data),
    ]
    if body_type >= 3:
        pieces += [("body.tee_tcb_svn2", td.tee_tcb_svn2), ("body.mrservicetd", td.mrservicetd)]
    if body_type >= 4:
        pieces += [
            ("body.vmid", td.vmid),
            ("body.td_id", td.td_id),
            ("body.device_info", td.device_info),
            ("body.initial_servtd_hash", td.initial_servtd_hash),
            ("body.initial_servtd_attributes", td.initial_servtd_attributes),
            ("body.initial_cpu_svn", td.initial_cpu_svn),
            ("body.initial_tee_tcb_svn", td.initial_tee_tcb_svn),
            ("body.initial_platform", td.initial_platform),
            ("body.servtd_hash", td.servtd_hash),
            ("body.servtd_attributes", td.servtd_attributes),
        ]
    return pieces


def signed_pieces(td: TdFields, quote: QuoteFields) -> Pieces:
    """Header and body: what the attestation key signs (in version 5 with the body's type and size)."""
    header: Pieces = [
        ("header.version", little(2, quote.version)),
        ("header.key_type", little(2, quote.key_type)),
        ("header.tee_type", little(4, quote.tee_type)),
        ("header.reserved", quote.header_reserved),
        ("header.qe_vendor", quote.qe_vendor),
        ("header.user_data", quote.user_data),
    ]
    if quote.version < 5:
        return [*header, *body_pieces(td, 2)]
    size = BODY_SIZES.get(quote.body_type, 0) if quote.body_size is None else quote.body_size
    described: Pieces = [("body.type", little(2, quote.body_type)), ("body.size", little(4, size))]
    return [*header, *described, *body_pieces(td, quote.body_type)]


def qe_report(quote: QuoteFields, attestation_key: bytes) -> bytes:
    """The quoting enclave's SGX report body, 384 bytes: it binds the attestation key and the auth data."""
    bound = hashlib.sha256(attestation_key + quote.auth_data).digest() + bytes(32)
    return b"".join(
        (
            quote.qe_cpu_svn + quote.qe_miscselect + bytes(28),
            quote.qe_attributes + quote.qe_mrenclave + bytes(32),
            quote.qe_mrsigner + bytes(32 + 64),
            little(2, quote.qe_isvprodid) + little(2, quote.qe_isvsvn) + bytes(60),
            bound if quote.qe_report_data is None else quote.qe_report_data,
        )
    )


@dataclass(frozen=True, slots=True)
class SignatureParts:
    """What surrounds a quote's body once everything is signed: raw r||s signatures, x||y key, PEM chain."""

    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_signature: bytes
    chain: bytes


def _size(stated: int | None, data: bytes) -> int:
    return len(data) if stated is None else stated


def signature_pieces(quote: QuoteFields, parts: SignatureParts) -> Pieces:
    """The signature section with its nested sizes, then whatever padding follows."""
    inner: Pieces = [
        ("qe.report", parts.qe_report),
        ("qe.signature", parts.qe_signature),
        ("auth.size", little(2, _size(quote.auth_size, quote.auth_data))),
        ("auth.data", quote.auth_data),
        ("inner.type", little(2, quote.inner_type)),
        ("inner.size", little(4, _size(quote.chain_size, parts.chain))),
        ("chain", parts.chain),
    ]
    certified = b"".join(data for _, data in inner)
    outer: Pieces = [
        ("signature", parts.signature),
        ("attestation_key", parts.attestation_key),
        ("outer.type", little(2, quote.outer_type)),
        ("outer.size", little(4, _size(quote.outer_size, certified))),
        *inner,
    ]
    section = b"".join(data for _, data in outer)
    size = ("signature.size", little(4, _size(quote.signature_size, section)))
    return [size, *outer, ("padding", quote.padding)]


def tdreport(td: TdFields, *, cpu_svn: bytes = QE_CPU_SVN, mac: bytes = b"\x3a" * 32) -> bytes:
    """TDREPORT_STRUCT, 1024 bytes: REPORTMACSTRUCT, TEE_TCB_INFO, 17 reserved bytes, TDINFO.

    The MAC is made up: only the processor could check it, which is why a TD quote must carry the same report.
    """
    tcb_info = b"".join(
        (
            bytes.fromhex("ff01030000000000"),
            td.tee_tcb_svn + td.mrseam + td.mrsignerseam + td.seam_attributes + td.tee_tcb_svn2,
            bytes(95),
        )
    )
    info = b"".join(
        (
            little(8, td.td_attributes) + little(8, td.xfam) + td.mrtd,
            td.mrconfigid + td.mrowner + td.mrownerconfig + b"".join(td.rtmrs),
            td.mrservicetd + bytes(64),
        )
    )
    digests = hashlib.sha384(tcb_info).digest() + hashlib.sha384(info).digest()
    head = little(4, TDX_TEE) + bytes(12) + cpu_svn + digests + td.report_data + bytes(32) + mac
    return head + tcb_info + bytes(17) + info


def der(tag: int, content: bytes) -> bytes:
    """One DER value of any length."""
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _pair(suffix: Sequence[int], value: bytes) -> bytes:
    return der(0x30, der(0x06, _SGX_ARC + bytes(suffix)) + value)


def _integer(value: int) -> bytes:
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def pck_extension(pck: PckFields) -> bytes:
    """The SGX extension's value; a processor CA's certificates lack the last two members."""
    levels = [_pair((2, place), _integer(svn)) for place, svn in enumerate(pck.svns, 1)]
    cpu_svn = bytes(pck.svns) if pck.cpu_svn is None else pck.cpu_svn
    levels += [_pair((2, 17), _integer(pck.pcesvn)), _pair((2, 18), der(0x04, cpu_svn))]
    members = [
        _pair((1,), der(0x04, pck.ppid)),
        _pair((2,), der(0x30, b"".join(levels))),
        _pair((3,), der(0x04, pck.pceid)),
        _pair((4,), der(0x04, pck.fmspc)),
        _pair((5,), der(0x0A, bytes((pck.sgx_type,)))),
    ]
    if pck.platform_instance_id is not None:
        members.append(_pair((6,), der(0x04, pck.platform_instance_id)))
    if pck.configuration is not None:
        flags = [
            _pair((7, place), der(0x01, b"\xff" if flag else b"\0"))
            for place, flag in enumerate(pck.configuration, 1)
        ]
        members.append(_pair((7,), der(0x30, b"".join(flags))))
    return der(0x30, b"".join(members))
