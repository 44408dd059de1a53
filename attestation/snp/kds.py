"""What AMD's Key Distribution Service publishes: the extensions of a VCEK or VLEK, and where to ask.

Source: AMD 57230 (VCEK certificate and KDS interface). No I/O: URLs are built here and fetched elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509

from attestation.errors import MalformedEvidence
from attestation.model import Tcb
from attestation.snp.abi import PRODUCTS, SigningKey

KDS_HOST = "kdsintf.amd.com"
AMD_ARC = "1.3.6.1.4.1.3704.1"
TURIN_HWID_SIZE = 8
HWID_SIZE = 64

_INTEGER, _OCTETS, _IA5 = 0x02, 0x04, 0x16
_SPL = {"bootloader": ".3.1", "tee": ".3.2", "snp": ".3.3", "microcode": ".3.8"}
_RESERVED_SPLS = (".3.4", ".3.5", ".3.6", ".3.7")
_FMC, _HWID, _CSP = ".3.9", ".4", ".5"


@dataclass(frozen=True, slots=True)
class VekExtensions:
    """AMD's part of a VCEK or VLEK: for which product, patch level and chip (or provider) it is.

    `hwid` is 64 bytes (8 on Turin) and absent from a VLEK; `csp_id` is there only in a VLEK.
    `reserved_spls` are the numbers of the reserved patch levels that are present, all of them zero.
    """

    struct_version: int
    product_name: str
    product: str
    tcb: Tcb
    hwid: bytes | None
    csp_id: str | None
    reserved_spls: tuple[int, ...] = ()


def vek_extensions(certificate: x509.Certificate) -> VekExtensions:
    """Read AMD's extensions of a certificate. Raises MalformedEvidence."""
    values: dict[str, bytes] = {}
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.UnrecognizedExtension):
            values[extension.oid.dotted_string] = extension.value.value
    return parse_extension_values(values)


def parse_extension_values(values: Mapping[str, bytes]) -> VekExtensions:
    """Read extension values by dotted OID. Raises MalformedEvidence for anything that AMD does not issue."""
    product_name = _ia5(_required(values, ".2"))
    product = product_name.partition("-")[0]
    if product not in PRODUCTS:
        raise MalformedEvidence("the certificate names an unknown product")
    reserved = [oid for oid in _RESERVED_SPLS if AMD_ARC + oid in values]
    if any(_integer(values[AMD_ARC + oid]) for oid in reserved):
        raise MalformedEvidence("a reserved patch level is not zero")
    return VekExtensions(
        struct_version=_integer(_required(values, ".1")),
        product_name=product_name,
        product=product,
        tcb=_tcb(values, product),
        hwid=_hwid(values, product),
        csp_id=_ia5(values[AMD_ARC + _CSP]) if AMD_ARC + _CSP in values else None,
        reserved_spls=tuple(int(oid[-1]) for oid in reserved),
    )


def _required(values: Mapping[str, bytes], suffix: str) -> bytes:
    if AMD_ARC + suffix not in values:
        raise MalformedEvidence(f"the certificate lacks AMD's extension {AMD_ARC}{suffix}")
    return values[AMD_ARC + suffix]


def _tcb(values: Mapping[str, bytes], product: str) -> Tcb:
    """Patch levels; the FMC's exists on Turin and nowhere else."""
    has_fmc = AMD_ARC + _FMC in values
    if has_fmc is not (product == "Turin"):
        raise MalformedEvidence("an FMC patch level belongs to Turin, and to no other product")
    levels = {name: _integer(_required(values, suffix)) for name, suffix in _SPL.items()}
    return Tcb(**levels, fmc=_integer(values[AMD_ARC + _FMC]) if has_fmc else None)


def _hwid(values: Mapping[str, bytes], product: str) -> bytes | None:
    """The hardware id, written raw by AMD; a DER OCTET STRING around it is understood too."""
    raw = values.get(AMD_ARC + _HWID)
    if raw is None:
        return None
    size = TURIN_HWID_SIZE if product == "Turin" else HWID_SIZE
    if len(raw) != size:
        raw = _content(raw, _OCTETS)
    if len(raw) != size:
        raise MalformedEvidence(f"a {product} hardware id has {size} bytes")
    return raw


def _content(raw: bytes, tag: int) -> bytes:
    """The content of one DER value with a short length, with nothing after it."""
    if len(raw) < 2 or raw[0] != tag or raw[1] >= 0x80 or len(raw) != 2 + raw[1]:
        raise MalformedEvidence("an AMD extension is not the DER value that it should be")
    return raw[2:]


def _integer(raw: bytes) -> int:
    """A DER INTEGER from 0 to 255; above 127 DER puts a zero byte first."""
    content = _content(raw, _INTEGER)
    value = int.from_bytes(content, "big")
    if not content or value > 0xFF or len(content) != value.bit_length() // 8 + 1:
        raise MalformedEvidence("an AMD extension is not an INTEGER from 0 to 255")
    return value


def _ia5(raw: bytes) -> str:
    content = _content(raw, _IA5)
    if not content or any(not 0x20 <= byte < 0x7F for byte in content):
        raise MalformedEvidence("an AMD extension is not printable IA5")
    return content.decode("ascii")


def vcek_url(product: str, hwid: bytes, tcb: Tcb) -> str:
    """Where KDS serves a chip's VCEK (DER) at a TCB. `hwid` may be a whole CHIP_ID. KDS throttles: cache."""
    levels = f"blSPL={tcb.bootloader}&teeSPL={tcb.tee}&snpSPL={tcb.snp}&ucodeSPL={tcb.microcode}"
    if product == "Turin":
        hwid, levels = hwid[:TURIN_HWID_SIZE], f"fmcSPL={tcb.fmc or 0}&{levels}"
    return f"https://{KDS_HOST}/vcek/v1/{_known(product)}/{hwid.hex()}?{levels}"


def cert_chain_url(product: str, signing_key: SigningKey) -> str:
    """Where KDS serves ASK (or ASVK) and ARK, PEM."""
    return f"https://{KDS_HOST}/{_kind(signing_key)}/v1/{_known(product)}/cert_chain"


def crl_url(product: str, signing_key: SigningKey) -> str:
    """Where KDS serves the CRL, DER, signed by the ARK."""
    return f"https://{KDS_HOST}/{_kind(signing_key)}/v1/{_known(product)}/crl"


def _known(product: str) -> str:
    if product not in PRODUCTS:
        raise MalformedEvidence("KDS knows no such product")
    return product


def _kind(signing_key: SigningKey) -> str:
    if signing_key == "none":
        raise MalformedEvidence("a report that no key signed has no certificates")
    return signing_key
