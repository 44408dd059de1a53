"""QE identity version 2: what Intel's TD quoting enclave looks like, and how good each of its versions is.

Source: Intel PCS API version 4, "Get TDX QE Identity". Masked fields are compared in the report's byte order.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from attestation.errors import MalformedEvidence
from attestation.tdx.body import SgxReport
from attestation.tdx.signed import (
    member_bytes,
    member_integer,
    member_text,
    member_time,
    parse_signed,
)
from attestation.tdx.tcb import SvnLevel, parse_svn_levels


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """One QE identity, with the exact bytes that Intel signed and the signature (r and s)."""

    signed: bytes
    signature: bytes
    issue_date: datetime
    next_update: datetime
    evaluation_number: int
    miscselect: bytes
    miscselect_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isvprodid: int
    levels: tuple[SvnLevel, ...]


def parse_qe_identity(raw: bytes) -> QeIdentity:
    """Parse a QE identity as the PCS serves it, signature included. Raises MalformedEvidence."""
    envelope = parse_signed(raw, "enclaveIdentity")
    identity = envelope.members
    if (member_text(identity, "id"), member_integer(identity, "version")) != ("TD_QE", 2):
        raise MalformedEvidence("not an identity of version 2 of the TD quoting enclave")
    return QeIdentity(
        signed=envelope.signed,
        signature=envelope.signature,
        issue_date=member_time(identity, "issueDate"),
        next_update=member_time(identity, "nextUpdate"),
        evaluation_number=member_integer(identity, "tcbEvaluationDataNumber"),
        miscselect=member_bytes(identity, "miscselect", 4),
        miscselect_mask=member_bytes(identity, "miscselectMask", 4),
        attributes=member_bytes(identity, "attributes", 16),
        attributes_mask=member_bytes(identity, "attributesMask", 16),
        mrsigner=member_bytes(identity, "mrsigner", 32),
        isvprodid=member_integer(identity, "isvprodid", 0xFFFF),
        levels=parse_svn_levels(identity),
    )


def masked_equal(value: bytes, mask: bytes, wanted: bytes) -> bool:
    """Whether `value`, where `mask` has ones, is `wanted`. All three are of one length."""
    return bytes(have & bits for have, bits in zip(value, mask, strict=True)) == wanted


def identity_problem(report: SgxReport, identity: QeIdentity) -> str | None:
    """Why this report is not one of Intel's TD quoting enclave; None if it is."""
    differing = [
        name
        for name, same in (
            ("signer", report.mrsigner == identity.mrsigner),
            ("product", report.isvprodid == identity.isvprodid),
            (
                "MISCSELECT",
                masked_equal(report.miscselect, identity.miscselect_mask, identity.miscselect),
            ),
            (
                "attributes",
                masked_equal(report.attributes, identity.attributes_mask, identity.attributes),
            ),
        )
        if not same
    ]
    return f"another {', '.join(differing)}" if differing else None
