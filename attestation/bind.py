"""Is this evidence about *that* question? Each check compares what hardware signed with what was asked.

Specification: docs/spec/statement.md. The hardware signs 64 bytes; everything else hangs on them by digests:
report data = Merkle root <- statement <- manifest <- configuration.
"""

from __future__ import annotations

import hashlib
import hmac

from attestation.check import Check, Outcome, Stage
from attestation.errors import MalformedEvidence
from attestation.formats.document import Evidence
from attestation.formats.manifest import Manifest, manifest_sha384
from attestation.formats.merkle import leaf_hash, root_from_path
from attestation.formats.statement import Statement
from attestation.hardware import VtpmEvidence
from attestation.policy.model import EvidencePolicy

_SPEC = "docs/spec/statement.md"


def check_binding(
    evidence: Evidence, signed: bytes | None, statement: Statement, manifest: Manifest
) -> list[Check]:
    """Compare every digest on the way from the signed bytes to the configuration.

    `signed`: 64 bytes of report data, or the 32 bytes that a virtual TPM signed for them (ADR 0010); None if
    nobody has said yet what was signed.
    """
    return [
        _signed_root(evidence, signed),
        _same(
            "statement.manifest",
            statement.manifest_sha384,
            manifest_sha384(evidence.manifest),
            f"{_SPEC}#members",
        ),
        _same(
            "manifest.config",
            manifest.config_sha384,
            hashlib.sha384(evidence.config).digest(),
            "docs/spec/manifest.md#members",
        ),
    ]


def check_question(
    statement: Statement, *, purpose: str, nonce: bytes | None, exporter: bytes | None, rules: EvidencePolicy
) -> list[Check]:
    """Compare purpose, nonce and connection with what this verifier asked for."""
    as_asked = Outcome.PASS if statement.purpose == purpose else Outcome.FAIL
    found = "none" if statement.exporter is None else statement.exporter.hex()
    wanted = "none" if exporter is None else exporter.hex()
    same_connection = Outcome.PASS if hmac.compare_digest(found, wanted) else Outcome.FAIL
    return [
        Check("statement.purpose", Stage.BIND, as_asked, purpose, statement.purpose, f"{_SPEC}#purposes"),
        _nonce(statement.nonce, nonce, rules),
        Check("statement.exporter", Stage.BIND, same_connection, wanted, found, f"{_SPEC}#purposes"),
    ]


def check_connection(manifest: Manifest, spki_sha256: bytes) -> Check:
    """The key of the connection that brought the document must be in the manifest (DESIGN 4.2, case 2)."""
    return Check(
        "connection.key",
        Stage.BIND,
        Outcome.PASS if spki_sha256 in manifest.tls_spki_sha256 else Outcome.FAIL,
        "one of " + ", ".join(key.hex() for key in manifest.tls_spki_sha256),
        spki_sha256.hex(),
        "docs/spec/manifest.md#keys",
    )


def check_report_data(signed: bytes, wanted: bytes | None, *, unasked_is_fine: bool) -> Check:
    """Bare evidence is bound to nothing but the bytes that it was made for, if the verifier knows them."""
    if wanted is None:
        outcome = Outcome.NOTED if unasked_is_fine else Outcome.UNDECIDED
    else:
        outcome = Outcome.PASS if hmac.compare_digest(signed, wanted) else Outcome.FAIL
    unasked = "any: neither age nor owner proven" if unasked_is_fine else "bytes that this verifier chose"
    expected = unasked if wanted is None else wanted.hex()
    return Check("evidence.report_data", Stage.BIND, outcome, expected, signed.hex(), f"{_SPEC}#age")


def _nonce(found: bytes | None, wanted: bytes | None, rules: EvidencePolicy) -> Check:
    """Without our own nonce nothing here proves an age: reports carry no time, the host owns the clock."""
    if wanted is not None:
        outcome = Outcome.PASS if found is not None and hmac.compare_digest(found, wanted) else Outcome.FAIL
    else:
        outcome = Outcome.NOTED if rules.accept_without_nonce else Outcome.UNDECIDED
    unasked = "any, age unproven" if rules.accept_without_nonce else "a nonce that this verifier chose"
    return Check(
        "statement.nonce",
        Stage.BIND,
        outcome,
        unasked if wanted is None else wanted.hex(),
        "none" if found is None else found.hex(),
        f"{_SPEC}#age",
    )


def _signed_root(evidence: Evidence, signed: bytes | None) -> Check:
    wanted, reference = _bound(evidence), f"{_SPEC}#binding"
    if signed is not None:
        return _same("statement.report_data", signed, wanted, reference)
    return Check(
        "statement.report_data", Stage.BIND, Outcome.UNDECIDED, wanted.hex(), "nothing signed", reference
    )


def _bound(evidence: Evidence) -> bytes:
    """What must have been signed: the root, or its SHA-256 where a TPM, which takes less, signs."""
    root = _claimed_root(evidence)
    return hashlib.sha256(root).digest() if isinstance(evidence.hardware, VtpmEvidence) and root else root


def _claimed_root(evidence: Evidence) -> bytes:
    """The root that this statement and its path lead to; empty, so never equal, if they lead nowhere."""
    place = evidence.inclusion
    try:
        return root_from_path(leaf_hash(evidence.statement), place.index, place.size, place.path)
    except MalformedEvidence:
        return b""


def _same(check_id: str, expected: bytes, found: bytes, reference: str) -> Check:
    outcome = Outcome.PASS if hmac.compare_digest(expected, found) else Outcome.FAIL
    return Check(check_id, Stage.BIND, outcome, expected.hex(), found.hex() or "no such leaf", reference)
