"""What the bytes of an SEV-SNP attestation report say. No opinion on whether they are true or acceptable.

Source: AMD 56860 (SEV Secure Nested Paging Firmware ABI), ATTESTATION_REPORT and TCB_VERSION. The report is
1184 bytes in every version from 2 to 5; integers are little-endian.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from attestation.errors import MalformedEvidence
from attestation.model import Tcb

REPORT_SIZE = 1184
SIGNED_SIZE = 0x2A0
SIGNATURE_ECDSA_P384_SHA384 = 1

Product = Literal["Milan", "Genoa", "Turin"]
SigningKey = Literal["vcek", "vlek", "none"]

PRODUCTS: tuple[Product, ...] = ("Milan", "Genoa", "Turin")
_SIGNING_KEYS: MappingProxyType[int, SigningKey] = MappingProxyType({0: "vcek", 1: "vlek", 7: "none"})
_COMPONENT = 48  # bytes of r or s that mean something
_SLOT = 72  # bytes each of them occupies
_POLICY_RESERVED_ONE = 1 << 17
_POLICY_KNOWN = (1 << 26) - 1
_FLAGS_KNOWN = (1 << 5) - 1
_PLATFORM_KNOWN = (1 << 8) - 1
_SINCE_CPUID = 3
_SINCE_MITIGATIONS = 5

# Byte ranges [start, end) that must be zero, by report version. Nothing signs the last three, so they could
# carry anything: the high bytes of r and of s, and what follows them.
_ALWAYS_RESERVED = ((0x04C, 0x050), (0x18B, 0x1A0), (0x1EB, 0x1EC), (0x1EF, 0x1F0), (0x208, SIGNED_SIZE))
_RESERVED = MappingProxyType(
    {
        2: (*_ALWAYS_RESERVED, (0x188, 0x18B), (0x1F8, 0x208)),
        3: (*_ALWAYS_RESERVED, (0x1F8, 0x208)),
        4: (*_ALWAYS_RESERVED, (0x1F8, 0x208)),
        5: _ALWAYS_RESERVED,
    }
)
_SIGNATURE_PADDING = (
    (SIGNED_SIZE + _COMPONENT, SIGNED_SIZE + _SLOT),
    (SIGNED_SIZE + _SLOT + _COMPONENT, SIGNED_SIZE + 2 * _SLOT),
    (SIGNED_SIZE + 2 * _SLOT, REPORT_SIZE),
)


class Cpuid(NamedTuple):
    """Combined CPUID family, model and stepping, as reports from version 3 on carry them."""

    family: int
    model: int
    stepping: int


class FirmwareVersion(NamedTuple):
    """Version of the SNP firmware."""

    major: int
    minor: int
    build: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.build}"


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """POLICY (offset 0x008): what the guest's owner allowed at launch. It is not in MEASUREMENT."""

    raw: int
    abi_minor: int
    abi_major: int
    smt: bool
    migrate_ma: bool
    debug: bool
    single_socket: bool
    cxl_allow: bool
    mem_aes_256_xts: bool
    rapl_dis: bool
    ciphertext_hiding: bool
    page_swap_disable: bool


@dataclass(frozen=True, slots=True)
class PlatformInfo:
    """PLATFORM_INFO (offset 0x040): how the machine is configured.

    Bit 6 is reserved in the published ABI yet set in real version 5 reports: it is not demanded to be zero.
    """

    raw: int
    smt_en: bool
    tsme_en: bool
    ecc_en: bool
    rapl_dis: bool
    ciphertext_hiding_dram_en: bool
    alias_check_complete: bool
    tio_en: bool

    @property
    def unknown(self) -> int:
        """Bits 8 to 63, where they stand: no published ABI describes them."""
        return self.raw & ~_PLATFORM_KNOWN


@dataclass(frozen=True, slots=True)
class Report:
    """One attestation report, field by field. `*_tcb_raw` are 8 bytes whose order depends on the product."""

    raw: bytes
    version: int
    guest_svn: int
    policy: GuestPolicy
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algo: int
    current_tcb_raw: bytes
    platform_info: PlatformInfo
    flags: int
    author_key_en: bool
    mask_chip_key: bool
    signing_key: SigningKey
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb_raw: bytes
    cpuid: Cpuid | None
    chip_id: bytes
    committed_tcb_raw: bytes
    current_version: FirmwareVersion
    committed_version: FirmwareVersion
    launch_tcb_raw: bytes
    launch_mit_vector: int | None
    current_mit_vector: int | None
    reserved_nonzero: bool
    signature_r: int
    signature_s: int
    signature_padding_nonzero: bool

    @property
    def signed(self) -> bytes:
        """The 672 bytes that the signature covers."""
        return self.raw[:SIGNED_SIZE]


def parse_report(raw: bytes) -> Report:
    """Parse 1184 bytes of version 2 to 5. Raises MalformedEvidence for any other length or version."""
    if len(raw) != REPORT_SIZE:
        raise MalformedEvidence(f"an SNP report has {REPORT_SIZE} bytes, these are {len(raw)}")
    raw = bytes(raw)
    version, flags = _integer(raw, 0x000, 4), _integer(raw, 0x048, 4)
    if version not in _RESERVED:
        raise MalformedEvidence(f"SNP report version {version} is not known (2 to 5 are)")
    return Report(
        raw=raw,
        version=version,
        guest_svn=_integer(raw, 0x004, 4),
        policy=guest_policy(_integer(raw, 0x008, 8)),
        family_id=raw[0x010:0x020],
        image_id=raw[0x020:0x030],
        vmpl=_integer(raw, 0x030, 4),
        signature_algo=_integer(raw, 0x034, 4),
        current_tcb_raw=raw[0x038:0x040],
        platform_info=platform_info(_integer(raw, 0x040, 8)),
        flags=flags,
        author_key_en=_bit(flags, 0),
        mask_chip_key=_bit(flags, 1),
        signing_key=_signing_key(flags),
        report_data=raw[0x050:0x090],
        measurement=raw[0x090:0x0C0],
        host_data=raw[0x0C0:0x0E0],
        id_key_digest=raw[0x0E0:0x110],
        author_key_digest=raw[0x110:0x140],
        report_id=raw[0x140:0x160],
        report_id_ma=raw[0x160:0x180],
        reported_tcb_raw=raw[0x180:0x188],
        cpuid=Cpuid(*raw[0x188:0x18B]) if version >= _SINCE_CPUID else None,
        chip_id=raw[0x1A0:0x1E0],
        committed_tcb_raw=raw[0x1E0:0x1E8],
        current_version=FirmwareVersion(raw[0x1EA], raw[0x1E9], raw[0x1E8]),
        committed_version=FirmwareVersion(raw[0x1EE], raw[0x1ED], raw[0x1EC]),
        launch_tcb_raw=raw[0x1F0:0x1F8],
        launch_mit_vector=_integer(raw, 0x1F8, 8) if version >= _SINCE_MITIGATIONS else None,
        current_mit_vector=_integer(raw, 0x200, 8) if version >= _SINCE_MITIGATIONS else None,
        reserved_nonzero=_reserved_nonzero(raw, version),
        signature_r=_integer(raw, SIGNED_SIZE, _COMPONENT),
        signature_s=_integer(raw, SIGNED_SIZE + _SLOT, _COMPONENT),
        signature_padding_nonzero=any(any(raw[start:end]) for start, end in _SIGNATURE_PADDING),
    )


def _integer(raw: bytes, offset: int, size: int) -> int:
    return int.from_bytes(raw[offset : offset + size], "little")


def _reserved_nonzero(raw: bytes, version: int) -> bool:
    """Whether reserved bytes, reserved flags, or reserved policy bits differ from what the ABI fixes.

    Policy bit 17 is reserved as one, bits 26 and up as zero: an unknown bit is an unknown promise.
    """
    policy, flags = _integer(raw, 0x008, 8), _integer(raw, 0x048, 4)
    policy_well_formed = bool(policy & _POLICY_RESERVED_ONE) and policy <= _POLICY_KNOWN
    reserved = any(any(raw[start:end]) for start, end in _RESERVED[version])
    return reserved or flags > _FLAGS_KNOWN or not policy_well_formed


def guest_policy(raw: int) -> GuestPolicy:
    """Spell out the 64-bit POLICY field."""
    return GuestPolicy(
        raw=raw,
        abi_minor=raw & 0xFF,
        abi_major=raw >> 8 & 0xFF,
        smt=_bit(raw, 16),
        migrate_ma=_bit(raw, 18),
        debug=_bit(raw, 19),
        single_socket=_bit(raw, 20),
        cxl_allow=_bit(raw, 21),
        mem_aes_256_xts=_bit(raw, 22),
        rapl_dis=_bit(raw, 23),
        ciphertext_hiding=_bit(raw, 24),
        page_swap_disable=_bit(raw, 25),
    )


def platform_info(raw: int) -> PlatformInfo:
    """Spell out the 64-bit PLATFORM_INFO field."""
    return PlatformInfo(
        raw=raw,
        smt_en=_bit(raw, 0),
        tsme_en=_bit(raw, 1),
        ecc_en=_bit(raw, 2),
        rapl_dis=_bit(raw, 3),
        ciphertext_hiding_dram_en=_bit(raw, 4),
        alias_check_complete=_bit(raw, 5),
        tio_en=_bit(raw, 7),
    )


def _bit(value: int, index: int) -> bool:
    return bool(value >> index & 1)


def _signing_key(flags: int) -> SigningKey:
    code = flags >> 2 & 7
    if code not in _SIGNING_KEYS:
        raise MalformedEvidence(f"SIGNING_KEY {code} is reserved")
    return _SIGNING_KEYS[code]


def product_of_cpuid(cpuid: Cpuid) -> Product | None:
    """Milan, Genoa (with Bergamo and Siena) or Turin; None for a processor we do not know."""
    family, model = cpuid.family, cpuid.model
    if family == 0x19 and model <= 0x0F:
        return "Milan"
    if family == 0x19 and (0x10 <= model <= 0x1F or 0xA0 <= model <= 0xAF):
        return "Genoa"
    if family == 0x1A and model <= 0x1F:
        return "Turin"
    return None


def decode_tcb(raw: bytes, product: str) -> Tcb:
    """Components of an 8-byte TCB_VERSION. The order follows the product, never the report's version.

    Reserved bytes are not part of the value: who needs them to be zero compares with `encode_tcb`.
    """
    if len(raw) != 8:
        raise MalformedEvidence(f"a TCB_VERSION has 8 bytes, these are {len(raw)}")
    if product == "Turin":
        return Tcb(fmc=raw[0], bootloader=raw[1], tee=raw[2], snp=raw[3], microcode=raw[7])
    if product in PRODUCTS:
        return Tcb(bootloader=raw[0], tee=raw[1], snp=raw[6], microcode=raw[7])
    raise MalformedEvidence("TCB_VERSION of an unknown product")


def encode_tcb(tcb: Tcb, product: str) -> bytes:
    """The 8 bytes of TCB_VERSION in the product's order, reserved bytes zero."""
    if product == "Turin":
        return bytes([tcb.fmc or 0, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode])
    if product in PRODUCTS:
        return bytes([tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode])
    raise MalformedEvidence("TCB_VERSION of an unknown product")
