"""The evidence document: a RATS conceptual message wrapper collection (RFC 9999), JSON, self-contained.

Specification: docs/spec/evidence.md. Every record is `["<media type>", "<base64url>", <indicator>]`. The set
of labels is closed: what this version does not know it cannot have checked, so it is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from attestation.errors import MalformedEvidence
from attestation.members import integer, require_members
from attestation.reader import b64url_decode, b64url_encode, parse_json_object

MEDIA_TYPE = "application/cmw+json"
COLLECTION_TYPE = "tag:casemate,2026:evidence/1"
INSECURE_LABEL = "insecure-development"
INSECURE_NOTICE = b"INSECURE DEVELOPMENT EVIDENCE: a simulated TEE signed this. It protects nothing.\n"
MAX_BYTES = 4 * 1024 * 1024
MAX_CERTIFICATES = 8

# RFC 9999 section 3.1, indicator bits: 2 endorsements, 4 evidence.
_ENDORSEMENT, _EVIDENCE = 2, 4
_RECORDS: dict[str, tuple[str, int]] = {
    "statement": ("application/json", _EVIDENCE),
    "inclusion": ("application/json", _EVIDENCE),
    "manifest": ("application/json", _EVIDENCE),
    "config": ("application/toml", _EVIDENCE),
    "snp-report": ("application/vnd.casemate.sev-snp-report", _EVIDENCE),
    "snp-certs": ("application/pem-certificate-chain", _ENDORSEMENT),
    INSECURE_LABEL: ("text/plain", _EVIDENCE),
}
_REQUIRED = ("statement", "inclusion", "manifest", "config")
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]{1,16384})\n-----END CERTIFICATE-----\n", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Inclusion:
    """Where the statement stands in the Merkle tree; `path` holds 64-byte hashes, lowest first."""

    index: int
    size: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A document's parts as exact bytes; certificates are DER, the VEK first. Nothing is verified yet"""

    statement: bytes
    inclusion: Inclusion
    manifest: bytes
    config: bytes
    snp_report: bytes | None = None
    snp_certs: tuple[bytes, ...] = ()


def build_document(evidence: Evidence, *, insecure: bool) -> bytes:
    """Return the document's bytes; `insecure` adds the notice that a simulated TEE signed it."""
    parts = {
        "statement": evidence.statement,
        "inclusion": _encode_inclusion(evidence.inclusion),
        "manifest": evidence.manifest,
        "config": evidence.config,
    }
    if evidence.snp_report is not None:
        parts["snp-report"] = evidence.snp_report
    if evidence.snp_certs:
        parts["snp-certs"] = encode_pem_chain(evidence.snp_certs)
    if insecure:
        parts[INSECURE_LABEL] = INSECURE_NOTICE
    collection: dict[str, object] = {"__cmwc_t": COLLECTION_TYPE}
    for label, value in parts.items():
        media_type, indicator = _RECORDS[label]
        collection[label] = [media_type, b64url_encode(value), indicator]
    return json.dumps(collection, separators=(",", ":")).encode()


def parse_document(raw: bytes) -> Evidence:
    """Take a document apart. Raises MalformedEvidence, and nothing else, for any other bytes."""
    records = _records(raw)
    return Evidence(
        statement=records["statement"],
        inclusion=_parse_inclusion(records["inclusion"]),
        manifest=records["manifest"],
        config=records["config"],
        snp_report=records.get("snp-report"),
        snp_certs=parse_pem_chain(records["snp-certs"]) if "snp-certs" in records else (),
    )


def announces_insecure(raw: bytes) -> bool:
    """Whether the document carries the notice. For display: trust comes from the chain's root alone."""
    return INSECURE_LABEL in _records(raw)


def _records(raw: bytes) -> dict[str, bytes]:
    if len(raw) > MAX_BYTES:
        raise MalformedEvidence("document: longer than 4 MiB")
    collection = parse_json_object(raw, max_depth=3)
    if collection.pop("__cmwc_t", None) != COLLECTION_TYPE:
        raise MalformedEvidence(f"document: __cmwc_t is not {COLLECTION_TYPE}")
    missing = [label for label in _REQUIRED if label not in collection]
    if missing:
        raise MalformedEvidence(f"document: missing {', '.join(missing)}")
    if not collection.keys() <= _RECORDS.keys():
        raise MalformedEvidence("document: unknown label")
    return {label: _record(label, value) for label, value in collection.items()}


def _record(label: str, value: object) -> bytes:
    media_type, indicator = _RECORDS[label]
    match value:
        case [str(found), str(payload), int(bits)] if found == media_type and bits == indicator:
            return b64url_decode(payload)
        case _:
            raise MalformedEvidence(f'document: {label} must be ["{media_type}", base64url, {indicator}]')


def _encode_inclusion(inclusion: Inclusion) -> bytes:
    path = [b64url_encode(node) for node in inclusion.path]
    value = {"index": inclusion.index, "size": inclusion.size, "path": path}
    return json.dumps(value, separators=(",", ":")).encode()


def _parse_inclusion(raw: bytes) -> Inclusion:
    obj = parse_json_object(raw, max_depth=2)
    require_members(obj, frozenset({"index", "size", "path"}), "inclusion")
    path = obj["path"]
    if not isinstance(path, list) or len(path) > 20:
        raise MalformedEvidence("inclusion: path must be a list of at most 20 hashes")
    nodes = tuple(b64url_decode(node) for node in path)
    if any(len(node) != 64 for node in nodes):
        raise MalformedEvidence("inclusion: every hash of the path has 64 bytes")
    return Inclusion(integer(obj, "index", "inclusion"), integer(obj, "size", "inclusion"), nodes)


def encode_pem_chain(certificates: tuple[bytes, ...]) -> bytes:
    """Return DER certificates as a PEM chain (RFC 7468 strict form: 64 columns, one newline after each)."""
    return b"".join(
        b"-----BEGIN CERTIFICATE-----\n" + _columns(der) + b"\n-----END CERTIFICATE-----\n"
        for der in certificates
    )


def _columns(der: bytes) -> bytes:
    text = base64.b64encode(der)
    return b"\n".join(text[start : start + 64] for start in range(0, len(text), 64))


def parse_pem_chain(raw: bytes) -> tuple[bytes, ...]:
    """Return the DER of up to 8 certificates. Raises MalformedEvidence if anything else stands between."""
    found: list[bytes] = []
    offset = 0
    while offset < len(raw):
        block = _PEM.match(raw, offset)
        if block is None or len(found) == MAX_CERTIFICATES:
            raise MalformedEvidence("document: snp-certs must be a PEM chain of at most 8 certificates")
        found.append(_der(block.group(1)))
        offset = block.end()
    return tuple(found)


def _der(body: bytes) -> bytes:
    try:
        return base64.b64decode(body.replace(b"\n", b""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedEvidence("document: a certificate is not base64") from error
