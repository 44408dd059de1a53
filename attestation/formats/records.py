"""The hardware's records of a document: one platform's labels in, one value out, and back.

Specification: docs/spec/evidence.md#hardware. Exactly one platform speaks in a document, and no label of
another one may stand beside it: what no rule looks at must not be there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from attestation.errors import MalformedEvidence
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence, VtpmEvidence
from attestation.members import require_members
from attestation.model import TdxCollateral
from attestation.pem import encode_pem, parse_pem
from attestation.reader import b64url_decode, b64url_encode, parse_json_object

# RFC 9999 section 3.1, indicator bits: 2 endorsements, 4 evidence, 8 attestation results.
ENDORSEMENT, EVIDENCE, RESULT = 2, 4, 8
_COLLATERAL_TYPE = "application/vnd.casemate.tdx-collateral+json"
HARDWARE_RECORDS: dict[str, tuple[str, int]] = {
    "snp-report": ("application/vnd.casemate.sev-snp-report", EVIDENCE),
    "snp-certs": ("application/pem-certificate-chain", ENDORSEMENT),
    "snp-crls": ("application/x-pem-file", ENDORSEMENT),
    "tdx-quote": ("application/vnd.casemate.tdx-quote", EVIDENCE),
    "tdx-collateral": (_COLLATERAL_TYPE, ENDORSEMENT),
    "event-log": ("application/vnd.casemate.ccel", EVIDENCE),
    "dstack-log": ("application/vnd.casemate.dstack-log+json", EVIDENCE),
    "hcl-report": ("application/vnd.casemate.hcl-report", EVIDENCE),
    "tpm-quote": ("application/vnd.casemate.tpm-quote+json", EVIDENCE),
    "maa-token": ("application/eat+jwt", RESULT),
    "maa-keys": ("application/jwk-set+json", ENDORSEMENT),
}
_SNP = frozenset({"snp-report", "snp-certs", "snp-crls"})
_TDX = frozenset({"tdx-quote", "tdx-collateral", "event-log", "dstack-log"})
_AZURE = frozenset({"hcl-report", "tpm-quote", "maa-token", "maa-keys"})
_AZURE_SNP = _AZURE | frozenset({"snp-certs", "snp-crls"})
_AZURE_TDX = _AZURE | frozenset({"tdx-quote", "tdx-collateral"})

_BYTES = ("tcb_info", "qe_identity", "pck_crl", "root_crl")
_CHAINS = ("tcb_info_chain", "qe_identity_chain", "pck_crl_chain")
_QUOTE = ("message", "signature", "pcrs")


def hardware_of(records: Mapping[str, bytes]) -> Hardware:
    """Read the labels of exactly one platform. Raises MalformedEvidence for none, or for a mixture."""
    if "hcl-report" in records:
        return _read_azure(records)
    if "tdx-quote" in records:
        return _read_tdx(_only(records, _TDX))
    if "snp-report" in records:
        return _read_snp(_only(records, _SNP))
    raise MalformedEvidence("document: no hardware report of a kind that this verifier knows")


def records_of(hardware: Hardware) -> dict[str, bytes]:
    """Write the labels of one platform; what is empty gets none."""
    if isinstance(hardware, SnpEvidence):
        records = {"snp-report": hardware.report} | _snp_endorsements(hardware)
    elif isinstance(hardware, TdxEvidence):
        records = {
            "tdx-quote": hardware.quote,
            "tdx-collateral": encode_collateral(hardware.collateral),
            "event-log": hardware.ccel or b"",
            "dstack-log": hardware.dstack_log or b"",
        }
    else:
        records = {
            "hcl-report": hardware.hcl_report,
            "tpm-quote": _encode_tpm_quote(hardware),
            "maa-token": hardware.maa_token,
            "maa-keys": hardware.maa_keys,
            "tdx-quote": hardware.td_quote,
            "tdx-collateral": encode_collateral(hardware.collateral),
        } | _snp_endorsements(hardware)
    return {label: value for label, value in records.items() if value}


def encode_collateral(collateral: TdxCollateral) -> bytes:
    """Intel's collateral as one JSON object; nothing at all if there is none.

    Further CRLs are no part of it: they are a verifier's own memory.
    """
    if collateral == TdxCollateral(further_crls=collateral.further_crls):
        return b""
    value: dict[str, object] = {name: b64url_encode(getattr(collateral, name)) for name in _BYTES}
    value |= {name: [b64url_encode(der) for der in getattr(collateral, name)] for name in _CHAINS}
    return json.dumps(value, separators=(",", ":")).encode()


def parse_collateral(raw: bytes) -> TdxCollateral:
    """Read what `encode_collateral` writes. Raises MalformedEvidence."""
    obj = parse_json_object(raw, max_depth=2)
    require_members(obj, frozenset(_BYTES + _CHAINS), "tdx-collateral")
    for name in _CHAINS:
        if not isinstance(obj[name], list) or len(obj[name]) > 4:
            raise MalformedEvidence(f"tdx-collateral: {name} must be a list of at most 4 certificates")
    single = {name: b64url_decode(obj[name]) for name in _BYTES}
    chains = {name: tuple(b64url_decode(der) for der in obj[name]) for name in _CHAINS}
    return TdxCollateral(
        tcb_info=single["tcb_info"],
        tcb_info_chain=chains["tcb_info_chain"],
        qe_identity=single["qe_identity"],
        qe_identity_chain=chains["qe_identity_chain"],
        pck_crl=single["pck_crl"],
        pck_crl_chain=chains["pck_crl_chain"],
        root_crl=single["root_crl"],
    )


def _snp_endorsements(hardware: SnpEvidence | VtpmEvidence) -> dict[str, bytes]:
    return {
        "snp-certs": encode_pem(hardware.certificates, "CERTIFICATE"),
        "snp-crls": encode_pem(hardware.crls, "X509 CRL"),
    }


def _only(records: Mapping[str, bytes], labels: frozenset[str]) -> Mapping[str, bytes]:
    if records.keys() & HARDWARE_RECORDS.keys() - labels:
        raise MalformedEvidence("document: records of two platforms")
    return records


def _read_snp(records: Mapping[str, bytes]) -> SnpEvidence:
    return SnpEvidence(records["snp-report"], _certificates(records), _crls(records))


def _certificates(records: Mapping[str, bytes]) -> tuple[bytes, ...]:
    return parse_pem(records.get("snp-certs", b""), "CERTIFICATE", "document: snp-certs")


def _crls(records: Mapping[str, bytes]) -> tuple[bytes, ...]:
    return parse_pem(records.get("snp-crls", b""), "X509 CRL", "document: snp-crls")


def _read_tdx(records: Mapping[str, bytes]) -> TdxEvidence:
    return TdxEvidence(
        records["tdx-quote"], _collateral(records), records.get("event-log"), records.get("dstack-log")
    )


def _collateral(records: Mapping[str, bytes]) -> TdxCollateral:
    return parse_collateral(records["tdx-collateral"]) if "tdx-collateral" in records else TdxCollateral()


def _read_azure(records: Mapping[str, bytes]) -> VtpmEvidence:
    is_tdx = "tdx-quote" in records
    _only(records, _AZURE_TDX if is_tdx else _AZURE_SNP)
    quote = _parse_tpm_quote(records["tpm-quote"]) if "tpm-quote" in records else {}
    return VtpmEvidence(
        tee="azure-tdx" if is_tdx else "azure-snp",
        hcl_report=records["hcl-report"],
        certificates=_certificates(records),
        crls=_crls(records),
        td_quote=records.get("tdx-quote", b""),
        collateral=_collateral(records),
        tpm_quote=quote.get("message", b""),
        tpm_signature=quote.get("signature", b""),
        tpm_pcrs=quote.get("pcrs", b""),
        maa_token=records.get("maa-token", b""),
        maa_keys=records.get("maa-keys", b""),
    )


def _encode_tpm_quote(hardware: VtpmEvidence) -> bytes:
    if not hardware.tpm_quote:
        return b""
    parts = (hardware.tpm_quote, hardware.tpm_signature, hardware.tpm_pcrs)
    return json.dumps({name: b64url_encode(part) for name, part in zip(_QUOTE, parts, strict=True)}).encode()


def _parse_tpm_quote(raw: bytes) -> dict[str, bytes]:
    obj = parse_json_object(raw, max_depth=1)
    require_members(obj, frozenset(_QUOTE), "tpm-quote")
    return {name: b64url_decode(obj[name]) for name in _QUOTE}
