"""A forged Azure for tests: paravisor reports, a virtual TPM that quotes, and every wrong variant of both.

`TpmWorld.forge()` makes the TPM's two RSA-2048 keys; `azure_snp` and `azure_tdx` wrap a forged AMD's or
Intel's report in an HCL report and quote PCRs beside it. Layouts: Azure's guest attestation library, TPM 2.0
Library, Part 2 (TPMS_ATTEST, big-endian), compared with real evidence, never with the code under test.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from attestation.hardware import VtpmEvidence
from attestation.model import TdxCollateral
from tests.fakes.amd import World
from tests.fakes.intel import IntelSigned, IntelWorld
from tests.fakes.intel_layout import Pieces, Regions, little, regions_of, tdreport

HARDWARE_AREA = 1184
SNP_REPORT, TDX_REPORT = 2, 4
SHA256 = 0x000B
NONCE = bytes(range(48))
PCRS = tuple(hashlib.sha256(b"register %d" % index).digest() for index in range(24))


@dataclass(frozen=True, slots=True)
class HclFields:
    """The HCL report. None: as it should be, computed while writing."""

    magic: bytes = b"HCLA"
    hcl_version: int = 2
    hcl_report_size: int | None = None
    request_type: int = 2
    hcl_status: int = 0
    hcl_reserved: bytes = bytes(12)
    data_size: int | None = None
    data_version: int = 1
    report_type: int | None = None
    hash_type: int = 1
    runtime_size: int | None = None
    file_size: int = 2600
    tail: bytes = b""  # what follows the runtime data, before the zero padding
    hardware_tail: bytes = b""  # what follows a TDREPORT in its area

    secure_boot: bool = True
    console_enabled: bool = False
    tpm_persisted: bool = True
    vm_unique_id: str = "390CBCF5-6C67-4D9B-98EF-C3F1699CC8FC"
    user_data: bytes = bytes(64)
    runtime_edit: Callable[[dict[str, Any]], object] | None = None
    runtime: bytes | None = None  # exact bytes, bound in REPORT_DATA as they are
    bound_runtime: bytes | None = None  # REPORT_DATA binds these bytes instead
    report_data: bytes | None = None  # all 64 bytes
    ak: rsa.RSAPublicKey | None = None


@dataclass(frozen=True, slots=True)
class TpmFields:
    """TPMS_ATTEST, its signature and the values supplied with it. None: as it should be."""

    attest_magic: int = 0xFF544347
    attest_type: int = 0x8018
    qualified_signer: bytes = b"\x00\x0b" + b"\x51" * 32
    extra_data: bytes = NONCE
    clock: int = 1_413_298_427
    reset_count: int = 53
    restart_count: int = 0
    safe: int = 1
    firmware: int = 0x2020031200120003
    pcr_banks: tuple[tuple[int, tuple[int, ...]], ...] = ((SHA256, tuple(range(24))),)
    pcrs: tuple[bytes, ...] = PCRS
    pcr_digest: bytes | None = None
    attest_tail: bytes = b""
    tpm_signer: rsa.RSAPrivateKey | None = None
    signature_hash: hashes.HashAlgorithm = field(default_factory=hashes.SHA256)
    signature_padding: padding.AsymmetricPadding = field(default_factory=padding.PKCS1v15)
    supplied_pcrs: tuple[bytes, ...] | None = None


@dataclass(frozen=True, slots=True)
class AzureSigned:
    """Evidence of one Azure guest, with the pins that trust it and maps of its two byte strings."""

    evidence: VtpmEvidence
    amd_roots: Mapping[str, frozenset[bytes]]
    intel_roots: frozenset[bytes]
    hcl_regions: Regions
    quote_regions: Regions
    intel: IntelSigned | None = None

    def changed(self, **changes: Any) -> AzureSigned:
        """The same with parts of the evidence replaced (`td_quote=b""` takes the TD quote away)."""
        return replace(self, evidence=replace(self.evidence, **changes))

    def with_byte(self, part: str, offset: int, value: int = 1) -> AzureSigned:
        """The same with one byte of one of the evidence's byte strings xored."""
        raw = bytearray(getattr(self.evidence, part))
        raw[offset] ^= value
        return self.changed(**{part: bytes(raw)})


@dataclass(frozen=True, slots=True)
class TpmWorld:
    """The keys of one virtual TPM: attestation key (signs quotes) and endorsement key (only shown)."""

    ak: rsa.RSAPrivateKey
    ek: rsa.RSAPublicKey

    @classmethod
    def forge(cls, *, bits: int = 2048, exponent: int = 65537) -> TpmWorld:
        """Make both keys: a fraction of a second."""
        ek = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return cls(rsa.generate_private_key(public_exponent=exponent, key_size=bits), ek.public_key())


def azure_snp(amd: World, tpm: TpmWorld, **changes: Any) -> AzureSigned:
    """An SEV-SNP guest; `changes` are fields of HclFields or TpmFields, or what `World.issue` takes."""
    hcl, quote, rest = _grouped(changes)
    runtime = runtime_data(hcl, tpm)
    signed = amd.issue(report_data=_report_data(hcl, runtime), **rest)
    return _assemble(
        hcl,
        quote,
        tpm,
        VtpmEvidence("azure-snp", b"", signed.certificates, signed.crls),
        hardware=signed.report,
        runtime=runtime,
        amd_roots=signed.roots,
    )


def azure_tdx(
    intel: IntelWorld, tpm: TpmWorld, *, tdreport_changes: Mapping[str, Any] | None = None, **changes: Any
) -> AzureSigned:
    """A TDX guest; `changes` are fields of HclFields or TpmFields, or what `IntelWorld.issue` takes.

    `tdreport_changes` make the TDREPORT say something else than the TD quote (fields of TdFields).
    """
    hcl, quote, rest = _grouped(changes)
    runtime = runtime_data(hcl, tpm)
    signed = intel.issue(report_data=_report_data(hcl, runtime), **rest)
    return _assemble(
        hcl,
        quote,
        tpm,
        VtpmEvidence("azure-tdx", b"", td_quote=signed.quote, collateral=signed.collateral),
        hardware=tdreport(replace(signed.td, **(tdreport_changes or {}))) + hcl.hardware_tail,
        runtime=runtime,
        intel_roots=signed.roots,
        intel=signed,
    )


def _grouped(changes: Mapping[str, Any]) -> tuple[HclFields, TpmFields, dict[str, Any]]:
    rest = dict(changes)
    known = [{field.name for field in fields(group)} for group in (HclFields, TpmFields)]
    hcl, quote = ({name: rest.pop(name) for name in names & rest.keys()} for names in known)
    return HclFields(**hcl), TpmFields(**quote), rest


def _report_data(hcl: HclFields, runtime: bytes) -> bytes:
    if hcl.report_data is not None:
        return hcl.report_data
    bound = runtime if hcl.bound_runtime is None else hcl.bound_runtime
    algorithm = {2: hashlib.sha384, 3: hashlib.sha512}.get(hcl.hash_type, hashlib.sha256)
    return algorithm(bound).digest().ljust(64, b"\0")


def _assemble(
    hcl: HclFields,
    quote: TpmFields,
    tpm: TpmWorld,
    evidence: VtpmEvidence,
    *,
    hardware: bytes,
    runtime: bytes,
    amd_roots: Mapping[str, frozenset[bytes]] | None = None,
    intel_roots: frozenset[bytes] = frozenset(),
    intel: IntelSigned | None = None,
) -> AzureSigned:
    kind = SNP_REPORT if evidence.tee == "azure-snp" else TDX_REPORT
    hcl_parts, quote_parts = hcl_pieces(hcl, kind, hardware, runtime), attest_pieces(quote)
    attested = b"".join(data for _, data in quote_parts)
    signer = quote.tpm_signer or tpm.ak
    supplied = quote.pcrs if quote.supplied_pcrs is None else quote.supplied_pcrs
    whole = replace(
        evidence,
        hcl_report=b"".join(data for _, data in hcl_parts),
        tpm_quote=attested,
        tpm_signature=signer.sign(attested, quote.signature_padding, quote.signature_hash),
        tpm_pcrs=json.dumps([value.hex() for value in supplied], indent=1).encode(),
        runtime_data=runtime,
    )
    return AzureSigned(
        whole, amd_roots or {}, intel_roots, regions_of(hcl_parts), regions_of(quote_parts), intel
    )


def b64url(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def jwk(key_id: str, operation: str, key: rsa.RSAPublicKey) -> dict[str, Any]:
    """An RSA key as the paravisor writes it."""
    numbers = key.public_numbers()
    exponent, modulus = (
        number.to_bytes((number.bit_length() + 7) // 8, "big") for number in (numbers.e, numbers.n)
    )
    return {"kid": key_id, "key_ops": [operation], "kty": "RSA", "e": b64url(exponent), "n": b64url(modulus)}


def runtime_data(hcl: HclFields, tpm: TpmWorld) -> bytes:
    """The JSON that REPORT_DATA binds: the TPM's keys and how the machine is configured."""
    if hcl.runtime is not None:
        return hcl.runtime
    value: dict[str, Any] = {
        "keys": [
            jwk("HCLAkPub", "sign", hcl.ak or tpm.ak.public_key()),
            jwk("HCLEkPub", "encrypt", tpm.ek),
        ],
        "vm-configuration": {
            "console-enabled": hcl.console_enabled,
            "root-cert-thumbprint": "6nZZnYaJc4KqUZ_yvA-mucFdYNouvlPnITnNMXsHl-0",
            "secure-boot": hcl.secure_boot,
            "tpm-enabled": True,
            "tpm-persisted": hcl.tpm_persisted,
            "vmUniqueId": hcl.vm_unique_id,
        },
        "user-data": hcl.user_data.hex(),
    }
    if hcl.runtime_edit is not None:
        hcl.runtime_edit(value)
    return json.dumps(value, separators=(",", ":")).encode()


def _stated(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def hcl_pieces(hcl: HclFields, kind: int, hardware: bytes, runtime: bytes) -> Pieces:
    """Header (32 bytes), hardware area (1184), header of the runtime data (20), the JSON, zero padding."""
    whole = 32 + HARDWARE_AREA + 20 + len(runtime)
    pieces: Pieces = [
        ("magic", hcl.magic),
        ("version", little(4, hcl.hcl_version)),
        ("report_size", little(4, _stated(hcl.hcl_report_size, whole))),
        ("request_type", little(4, hcl.request_type)),
        ("status", little(4, hcl.hcl_status)),
        ("reserved", hcl.hcl_reserved),
        ("hardware", hardware),
        ("hardware_padding", bytes(HARDWARE_AREA - len(hardware))),
        ("data_size", little(4, _stated(hcl.data_size, 20 + len(runtime)))),
        ("data_version", little(4, hcl.data_version)),
        ("report_type", little(4, _stated(hcl.report_type, kind))),
        ("hash_type", little(4, hcl.hash_type)),
        ("runtime_size", little(4, _stated(hcl.runtime_size, len(runtime)))),
        ("runtime", runtime),
        ("tail", hcl.tail),
    ]
    return [*pieces, ("padding", bytes(max(0, hcl.file_size - whole - len(hcl.tail))))]


def pcr_digest(pcrs: tuple[bytes, ...], banks: tuple[tuple[int, tuple[int, ...]], ...]) -> bytes:
    """SHA-256 over the selected values in the order of the selection."""
    chosen = [pcrs[index] for _, indexes in banks for index in sorted(indexes)]
    return hashlib.sha256(b"".join(chosen)).digest()


def _big(size: int, value: int) -> bytes:
    return value.to_bytes(size, "big")


def _sized(value: bytes) -> bytes:
    return _big(2, len(value)) + value


def attest_pieces(quote: TpmFields) -> Pieces:
    """TPMS_ATTEST of type quote."""
    digest = pcr_digest(quote.pcrs, quote.pcr_banks) if quote.pcr_digest is None else quote.pcr_digest
    selections = [
        _big(2, bank) + b"\x03" + sum(1 << index for index in indexes).to_bytes(3, "little")
        for bank, indexes in quote.pcr_banks
    ]
    return [
        ("magic", _big(4, quote.attest_magic)),
        ("type", _big(2, quote.attest_type)),
        ("qualified_signer", _sized(quote.qualified_signer)),
        ("extra_data", _sized(quote.extra_data)),
        ("clock", _big(8, quote.clock)),
        ("reset_count", _big(4, quote.reset_count)),
        ("restart_count", _big(4, quote.restart_count)),
        ("safe", _big(1, quote.safe)),
        ("firmware", _big(8, quote.firmware)),
        ("selection", _big(4, len(selections)) + b"".join(selections)),
        ("pcr_digest", _sized(digest)),
        ("tail", quote.attest_tail),
    ]


def no_collateral(signed: AzureSigned) -> AzureSigned:
    """The same without anything that Intel publishes."""
    return signed.changed(collateral=TdxCollateral())
