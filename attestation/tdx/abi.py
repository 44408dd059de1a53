"""What the bytes of a DCAP quote say: header, body, signature data. No opinion on whether they are true.

Versions 4 and 5 carry TDs; version 3 is SGX, and is read so far that it can be shown and refused. Sources:
Intel TDX DCAP quoting library API, appendix A.3 and A.4; Intel SGX ECDSA quote library API, appendix A.4.
Integers are little-endian, signatures and keys big-endian.
"""

from __future__ import annotations

from dataclasses import dataclass

from attestation.errors import MalformedEvidence
from attestation.reader import Cursor
from attestation.tdx.body import (
    SGX_REPORT_SIZE,
    TD_REPORT_10_SIZE,
    TD_REPORT_15_SIZE,
    TD_REPORT_15EX_SIZE,
    SgxReport,
    TdAttributes,
    TdReport,
    parse_sgx_report,
    parse_td_attributes,
    parse_td_report,
    parse_tdreport,
)

__all__ = [
    "Quote",
    "SgxReport",
    "SignatureData",
    "TdAttributes",
    "TdReport",
    "parse_quote",
    "parse_sgx_report",
    "parse_td_attributes",
    "parse_td_report",
    "parse_tdreport",
]

MAX_QUOTE = 64 * 1024
TEE_SGX, TEE_TDX = 0x00, 0x81
KEY_ECDSA_P256 = 2
CERT_PCK_CHAIN, CERT_QE_REPORT = 5, 6
HEADER_SIZE = 48

_BODIES = {  # type of a version 5 body: its size, and what kind of machine it describes
    1: (SGX_REPORT_SIZE, TEE_SGX),
    2: (TD_REPORT_10_SIZE, TEE_TDX),
    3: (TD_REPORT_15_SIZE, TEE_TDX),
    4: (TD_REPORT_15EX_SIZE, TEE_TDX),
}
_SIZE_BEFORE_5 = {TEE_SGX: SGX_REPORT_SIZE, TEE_TDX: TD_REPORT_10_SIZE}


@dataclass(frozen=True, slots=True)
class SignatureData:
    """Who signed the quote: the attestation key, the quoting enclave's report about it, Intel's certificates.

    Signatures are r and s, 32 bytes each; `attestation_key` is x and y. `cert_type` says how the enclave's
    report is wrapped (None in version 3, which has no wrapping), `inner_cert_type` what `cert_data` is.
    """

    size: int
    quote_signature: bytes
    attestation_key: bytes
    cert_type: int | None
    qe_report: SgxReport
    qe_report_signature: bytes
    qe_auth_data: bytes
    inner_cert_type: int
    cert_data: bytes


@dataclass(frozen=True, slots=True)
class Quote:
    """One quote, field by field. `signed` is header and body; `trailing` what follows the signature data."""

    raw: bytes
    version: int
    att_key_type: int
    tee_type: int
    qe_vendor: bytes
    user_data: bytes
    body_type: int | None
    body_offset: int
    body: TdReport | SgxReport
    signature: SignatureData
    trailing: bytes

    @property
    def signed(self) -> bytes:
        """The bytes that the attestation key signed: from the start to the end of the body."""
        return self.raw[: self.body_offset + len(self.body.raw)]


def parse_quote(raw: bytes) -> Quote:
    """Parse a quote of version 3 (SGX), 4 or 5. Raises MalformedEvidence, and nothing else, for any bytes.

    What follows the signature data is kept as `trailing`: whoever pads quotes pads them with zeros, which
    the check `tdx.quote.padding` demands.
    """
    if len(raw) > MAX_QUOTE:
        raise MalformedEvidence(f"a quote of more than {MAX_QUOTE} bytes")
    raw = bytes(raw)
    cursor = Cursor(raw)
    version, att_key_type, tee_type = cursor.u16(), cursor.u16(), cursor.u32()
    if version not in (3, 4, 5):
        raise MalformedEvidence(f"quote version {version} is not known (3, 4 and 5 are)")
    if att_key_type != KEY_ECDSA_P256:
        raise MalformedEvidence(f"attestation key type {att_key_type} is not known (2, ECDSA P-256, is)")
    cursor.take(4)  # SVNs of quoting and provisioning enclave in version 3, reserved since: signed, unused
    qe_vendor, user_data = cursor.take(16), cursor.take(20)
    body_type, body_size = _body_layout(cursor, version, tee_type)
    body_offset = len(raw) - cursor.remaining
    body_raw = cursor.take(body_size)
    return Quote(
        raw=raw,
        version=version,
        att_key_type=att_key_type,
        tee_type=tee_type,
        qe_vendor=qe_vendor,
        user_data=user_data,
        body_type=body_type,
        body_offset=body_offset,
        body=parse_sgx_report(body_raw) if tee_type == TEE_SGX else parse_td_report(body_raw),
        signature=_signature_data(cursor.take(cursor.u32()), version),
        trailing=cursor.take(cursor.remaining),
    )


def _body_layout(cursor: Cursor, version: int, tee_type: int) -> tuple[int | None, int]:
    """Type (from version 5 on) and size of the body, which have to agree with each other and the TEE."""
    if tee_type not in _SIZE_BEFORE_5 or (version == 3 and tee_type != TEE_SGX):
        raise MalformedEvidence(f"TEE type {tee_type:#x} is not known in a quote of version {version}")
    if version < 5:
        return None, _SIZE_BEFORE_5[tee_type]
    body_type, size = cursor.u16(), cursor.u32()
    if _BODIES.get(body_type) != (size, tee_type):
        raise MalformedEvidence(f"body type {body_type}, its size and the TEE type do not belong together")
    return body_type, size


def _signature_data(raw: bytes, version: int) -> SignatureData:
    """Read the signature data whole: every length inside it must add up exactly."""
    cursor = Cursor(raw)
    quote_signature, attestation_key = cursor.take(64), cursor.take(64)
    cert_type = None
    if version > 3:
        cert_type, wrapped = cursor.u16(), cursor.take(cursor.u32())
        cursor.end()
        cursor = Cursor(wrapped)
    qe_report = parse_sgx_report(cursor.take(SGX_REPORT_SIZE))
    qe_report_signature, qe_auth_data = cursor.take(64), cursor.take(cursor.u16())
    inner_cert_type, cert_data = cursor.u16(), cursor.take(cursor.u32())
    cursor.end()
    return SignatureData(
        size=len(raw),
        quote_signature=quote_signature,
        attestation_key=attestation_key,
        cert_type=cert_type,
        qe_report=qe_report,
        qe_report_signature=qe_report_signature,
        qe_auth_data=qe_auth_data,
        inner_cert_type=inner_cert_type,
        cert_data=cert_data,
    )
