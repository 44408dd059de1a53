"""What the measured part of a quote says: a TD report (three layouts), a TDREPORT, or an SGX report.

No opinion on whether it is true or acceptable. Sources: Intel TDX DCAP quoting library API (TD quote body),
Intel TDX module ABI (TDREPORT_STRUCT), Intel SDM (SGX REPORT). Integers are little-endian.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from attestation.errors import MalformedEvidence
from attestation.reader import Cursor

SGX_REPORT_SIZE = 384
TD_REPORT_10_SIZE, TD_REPORT_15_SIZE, TD_REPORT_15EX_SIZE = 584, 648, 885
TDREPORT_SIZE = 1024

_TEE_TDX = 0x81
_TDREPORT_TCB, _TDREPORT_TCB_END, _TDREPORT_TD = 256, 256 + 239, 512


@dataclass(frozen=True, slots=True)
class TdAttributes:
    """TDATTRIBUTES: how this TD runs. `reserved` holds the bits that no published layout names.

    `debug` opens the TD to its host. `other_tud` are the remaining bits of the group "TD under debug" (1 to
    7): any of them means that the TD cannot be trusted.
    """

    raw: bytes
    debug: bool
    other_tud: int
    lass: bool
    sept_ve_disable: bool
    migratable: bool
    pks: bool
    kl: bool
    perfmon: bool
    reserved: int


_DEBUG, _LASS, _SEPT_VE_DISABLE, _MIGRATABLE, _PKS, _KL, _PERFMON = 0, 27, 28, 29, 30, 31, 63
_TUD = 0xFE
_NAMED = 0xFF | sum(1 << bit for bit in (_LASS, _SEPT_VE_DISABLE, _MIGRATABLE, _PKS, _KL, _PERFMON))


def parse_td_attributes(raw: bytes) -> TdAttributes:
    """Spell out the 8 bytes of TDATTRIBUTES. Raises MalformedEvidence for any other length."""
    if len(raw) != 8:
        raise MalformedEvidence(f"TDATTRIBUTES has 8 bytes, these are {len(raw)}")
    value = int.from_bytes(raw, "little")

    def bit(index: int) -> bool:
        return bool(value >> index & 1)

    return TdAttributes(
        raw=bytes(raw),
        debug=bit(_DEBUG),
        other_tud=value & _TUD,
        lass=bit(_LASS),
        sept_ve_disable=bit(_SEPT_VE_DISABLE),
        migratable=bit(_MIGRATABLE),
        pks=bit(_PKS),
        kl=bit(_KL),
        perfmon=bit(_PERFMON),
        reserved=value & ~_NAMED,
    )


@dataclass(frozen=True, slots=True)
class TdReport:
    """The body of a TD quote. Fields that a shorter layout lacks are None.

    Measurements are SHA-384 (48 bytes); `tee_tcb_svn*` 16 bytes; `xfam` and `seam_attributes` 8;
    `report_data` 64. From 1.5 on: `tee_tcb_svn2` is the patch level of the module that runs now, while
    `tee_tcb_svn` is of the one at launch; `mrservicetd` is the digest over service TDs, such as a migration
    TD. From 1.5 extended on: the last ten, where `init_*` is what held before a migration; `init_fmspc` is
    12 bytes, FMSPC first.
    """

    raw: bytes
    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: bytes
    td_attributes: TdAttributes
    xfam: bytes
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    tee_tcb_svn2: bytes | None = None
    mrservicetd: bytes | None = None
    vmid: int | None = None
    td_id: bytes | None = None
    device_info: bytes | None = None
    init_servicetd_hash: bytes | None = None
    init_servicetd_attributes: bytes | None = None
    init_cpusvn: bytes | None = None
    init_tee_tcb_svn: bytes | None = None
    init_fmspc: bytes | None = None
    current_servicetd_hash: bytes | None = None
    current_servicetd_attributes: bytes | None = None

    @property
    def hides_service_td(self) -> bool:
        """Whether a service TD may be bound that this body leaves out.

        The host chooses the version of a quote, and a 1.0 body has no MRSERVICETD whatever module made it.
        All that a service TD does is to migrate, so one is bound to no TD that cannot be migrated.
        """
        return self.mrservicetd is None and self.td_attributes.migratable


def parse_td_report(raw: bytes) -> TdReport:
    """Parse 584 (1.0), 648 (1.5) or 885 (1.5 extended) bytes. Raises MalformedEvidence for other lengths."""
    if len(raw) not in (TD_REPORT_10_SIZE, TD_REPORT_15_SIZE, TD_REPORT_15EX_SIZE):
        raise MalformedEvidence(f"a TD report has 584, 648 or 885 bytes, these are {len(raw)}")
    take = Cursor(bytes(raw)).take
    since_15 = len(raw) >= TD_REPORT_15_SIZE
    extended = len(raw) == TD_REPORT_15EX_SIZE
    return TdReport(
        raw=bytes(raw),
        tee_tcb_svn=take(16),
        mrseam=take(48),
        mrsignerseam=take(48),
        seam_attributes=take(8),
        td_attributes=parse_td_attributes(take(8)),
        xfam=take(8),
        mrtd=take(48),
        mrconfigid=take(48),
        mrowner=take(48),
        mrownerconfig=take(48),
        rtmrs=(take(48), take(48), take(48), take(48)),
        report_data=take(64),
        tee_tcb_svn2=take(16) if since_15 else None,
        mrservicetd=take(48) if since_15 else None,
        vmid=take(1)[0] if extended else None,
        td_id=take(32) if extended else None,
        device_info=take(48) if extended else None,
        init_servicetd_hash=take(48) if extended else None,
        init_servicetd_attributes=take(8) if extended else None,
        init_cpusvn=take(16) if extended else None,
        init_tee_tcb_svn=take(16) if extended else None,
        init_fmspc=take(12) if extended else None,
        current_servicetd_hash=take(48) if extended else None,
        current_servicetd_attributes=take(8) if extended else None,
    )


def parse_tdreport(raw: bytes) -> TdReport:
    """Parse a TDREPORT_STRUCT (1024 bytes), as a TD gets it from its own processor, into the same fields.

    It is authenticated by a MAC that only the same machine can check, so it proves nothing by itself: compare
    it with a quote. Here its own two digests must agree with what they are over, the rest must be zero. The
    1.5 fields come from bytes that a 1.0 module leaves zero. Raises MalformedEvidence.
    """
    if len(raw) != TDREPORT_SIZE:
        raise MalformedEvidence(f"a TDREPORT has {TDREPORT_SIZE} bytes, these are {len(raw)}")
    raw = bytes(raw)
    tcb, td = raw[_TDREPORT_TCB:_TDREPORT_TCB_END], raw[_TDREPORT_TD:]
    if raw[0] != _TEE_TDX:
        raise MalformedEvidence("a TDREPORT is of type 0x81")
    if any(raw[4:16]) or any(raw[192:224]) or any(raw[_TDREPORT_TCB_END:_TDREPORT_TD]):
        raise MalformedEvidence("reserved bytes of a TDREPORT are not zero")
    if hashlib.sha384(tcb).digest() != raw[32:80] or hashlib.sha384(td).digest() != raw[80:128]:
        raise MalformedEvidence("a TDREPORT's digests are not those of its parts")
    return TdReport(
        raw=raw,
        tee_tcb_svn=tcb[8:24],
        mrseam=tcb[24:72],
        mrsignerseam=tcb[72:120],
        seam_attributes=tcb[120:128],
        td_attributes=parse_td_attributes(td[0:8]),
        xfam=td[8:16],
        mrtd=td[16:64],
        mrconfigid=td[64:112],
        mrowner=td[112:160],
        mrownerconfig=td[160:208],
        rtmrs=(td[208:256], td[256:304], td[304:352], td[352:400]),
        report_data=raw[128:192],
        tee_tcb_svn2=tcb[128:144],
        mrservicetd=td[400:448],
    )


@dataclass(frozen=True, slots=True)
class SgxReport:
    """The report of an SGX enclave: Intel's quoting enclave, or what an SGX quote is about."""

    raw: bytes
    cpusvn: bytes
    miscselect: bytes
    attributes: bytes
    mrenclave: bytes
    mrsigner: bytes
    isvprodid: int
    isvsvn: int
    report_data: bytes


def parse_sgx_report(raw: bytes) -> SgxReport:
    """Parse 384 bytes. Raises MalformedEvidence for any other length."""
    if len(raw) != SGX_REPORT_SIZE:
        raise MalformedEvidence(f"an SGX report has {SGX_REPORT_SIZE} bytes, these are {len(raw)}")
    raw = bytes(raw)
    return SgxReport(
        raw=raw,
        cpusvn=raw[0:16],
        miscselect=raw[16:20],
        attributes=raw[48:64],
        mrenclave=raw[64:96],
        mrsigner=raw[128:160],
        isvprodid=int.from_bytes(raw[256:258], "little"),
        isvsvn=int.from_bytes(raw[258:260], "little"),
        report_data=raw[320:384],
    )
