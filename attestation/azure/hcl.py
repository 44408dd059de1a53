"""What Azure's HCL report says: the hardware's report and the runtime data that it vouches for.

Microsoft's paravisor keeps this structure in the virtual TPM's NV index 0x01400001. Layout, little-endian:
a header of 32 bytes, the hardware report's area of 1,184 bytes, 20 bytes about the runtime data, its JSON,
then zeros. Nothing signs the structure: only the area is the processor's, and only what its REPORT_DATA
hashes is bound to it. Specification: docs/spec/azure.md, from Microsoft's azure-cvm-tooling and real reports.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from attestation.errors import MalformedEvidence
from attestation.model import Fact
from attestation.reader import Cursor, b64url_decode, hex_bytes, parse_json_object

MAX_HCL_REPORT = 16 * 1024  # real ones have 2,048 or 2,600 bytes
AK_KID = "HCLAkPub"
REPORT_SNP, REPORT_TDX = 2, 4
TDREPORT_SIZE = 1024

_SIGNATURE = b"HCLA"
_VERSIONS = (1, 2)
_REQUEST_REPORT = 2
_AREA = 1184
_HEADER_SIZE = 0x4D4  # everything before the JSON
_DATA_HEADER_SIZE = 20
_DATA_VERSION = 1
_AREA_USED = MappingProxyType({REPORT_SNP: _AREA, REPORT_TDX: TDREPORT_SIZE})
_HASHES = MappingProxyType({1: "sha256", 2: "sha384", 3: "sha512"})
_MAX_KEYS = 8
_MAX_RSA_BYTES = 1024
_MAX_USER_DATA = 64
_MAX_NESTING = 6


@dataclass(frozen=True, slots=True)
class HclKey:
    """A key in the runtime data. `modulus` and `exponent` are 0 unless it is an RSA key."""

    kid: str
    modulus: int
    exponent: int


@dataclass(frozen=True, slots=True)
class RuntimeData:
    """What the paravisor says about the virtual machine, in JSON. `user_data` is up to 64 bytes, or None."""

    keys: tuple[HclKey, ...]
    vm_configuration: Mapping[str, Fact]
    user_data: bytes | None


@dataclass(frozen=True, slots=True)
class HclReport:
    """One HCL report. `hardware_report` is 1,184 bytes of SNP report or 1,024 of TDREPORT by `report_type`.

    `runtime_data` is the JSON byte for byte, because a digest of exactly these bytes is in the hardware
    report; `runtime` is what it says.
    """

    header_version: int
    report_size: int
    request_type: int
    report_type: int
    hash_type: int
    hardware_report: bytes
    runtime_data: bytes
    runtime: RuntimeData

    @property
    def bound_report_data(self) -> bytes:
        """The 64 bytes that REPORT_DATA has to be: a digest of the runtime data, then zeros."""
        return hashlib.new(_HASHES[self.hash_type], self.runtime_data).digest().ljust(64, b"\0")


def parse_hcl(raw: bytes) -> HclReport:
    """Parse an HCL report whole. Raises MalformedEvidence."""
    if not _HEADER_SIZE <= len(raw) <= MAX_HCL_REPORT:
        raise MalformedEvidence(f"an HCL report has {_HEADER_SIZE} to {MAX_HCL_REPORT} bytes")
    cursor = Cursor(bytes(raw))
    version, report_size, request_type = _header(cursor)
    area = cursor.take(_AREA)
    data_size, data_version, report_type, hash_type, json_size = (cursor.u32() for _ in range(5))
    if report_type not in _AREA_USED or hash_type not in _HASHES or data_version != _DATA_VERSION:
        raise MalformedEvidence("HCL report: an unknown kind of hardware report, digest or runtime data")
    if data_size != json_size + _DATA_HEADER_SIZE or report_size != json_size + _HEADER_SIZE:
        raise MalformedEvidence("HCL report: its lengths contradict each other")
    used = _AREA_USED[report_type]
    runtime_data = cursor.take(json_size)
    if any(area[used:]) or any(cursor.take(cursor.remaining)):
        raise MalformedEvidence("HCL report: padding is not zero")
    return HclReport(
        header_version=version,
        report_size=report_size,
        request_type=request_type,
        report_type=report_type,
        hash_type=hash_type,
        hardware_report=area[:used],
        runtime_data=runtime_data,
        runtime=parse_runtime_data(runtime_data),
    )


def _header(cursor: Cursor) -> tuple[int, int, int]:
    """Version, report size and request type; the status has to be success, reserved bytes zero."""
    signature, version, report_size = cursor.take(4), cursor.u32(), cursor.u32()
    request_type, status, reserved = cursor.u32(), cursor.u32(), cursor.take(12)
    if signature != _SIGNATURE or version not in _VERSIONS:
        raise MalformedEvidence("not an HCL report of version 1 or 2")
    if request_type != _REQUEST_REPORT or status or any(reserved):
        raise MalformedEvidence("HCL report: its header is not that of a successful report request")
    return version, report_size, request_type


def parse_runtime_data(raw: bytes) -> RuntimeData:
    """Read the runtime data's JSON. Raises MalformedEvidence. Members that we do not know are ignored."""
    return read_runtime_data(parse_json_object(raw, max_depth=_MAX_NESTING))


def read_runtime_data(members: Mapping[str, Any]) -> RuntimeData:
    """Read runtime data that are decoded already, such as those in a token. Raises MalformedEvidence."""
    keys, configuration = members.get("keys"), members.get("vm-configuration", {})
    if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
        raise MalformedEvidence(f"runtime data: `keys` is not a list of at most {_MAX_KEYS}")
    if not isinstance(configuration, dict):
        raise MalformedEvidence("runtime data: `vm-configuration` is not an object")
    return RuntimeData(
        keys=tuple(_key(key) for key in keys),
        vm_configuration=MappingProxyType(configuration),
        user_data=_user_data(members.get("user-data")),
    )


def _key(member: Any) -> HclKey:
    """A JSON Web Key (RFC 7517); its `key_ops` are not read, because older reports have them wrong."""
    if not isinstance(member, dict) or not isinstance(member.get("kid"), str):
        raise MalformedEvidence("runtime data: a key without a `kid`")
    if member.get("kty") != "RSA":
        return HclKey(member["kid"], 0, 0)
    return HclKey(member["kid"], rsa_integer(member.get("n")), rsa_integer(member.get("e")))


def rsa_integer(text: Any) -> int:
    """A Base64urlUInt (RFC 7518 section 6.3.1) of at most 8,192 bits. Raises MalformedEvidence."""
    value = b64url_decode(text)
    if not 0 < len(value) <= _MAX_RSA_BYTES:
        raise MalformedEvidence(f"an RSA number has 1 to {_MAX_RSA_BYTES} bytes")
    return int.from_bytes(value, "big")


def _user_data(text: Any) -> bytes | None:
    if text is None:
        return None
    if not isinstance(text, str) or len(text) > 2 * _MAX_USER_DATA:
        raise MalformedEvidence(f"runtime data: `user-data` is not a text of at most {_MAX_USER_DATA} bytes")
    return hex_bytes(text.lower(), len(text) // 2)
