"""The story: take the document apart, authenticate the hardware, bind it to the question, appraise it.

Pure: bytes, collateral, policy, nonce and `now` come in, an Appraisal goes out; same input, same answer, for
ever. Each stage only runs on what the stage before it has established.
"""

from __future__ import annotations

from datetime import datetime

from attestation.appraise import appraise_config, appraise_hardware, appraise_manifest
from attestation.appraise.baseline import Baseline, appraise_baseline
from attestation.authenticate import Authenticated, authenticate, signed_data, trust_class
from attestation.bind import check_binding, check_connection, check_question, check_report_data
from attestation.check import Check, Outcome, Stage
from attestation.decide import Subject
from attestation.definite import claimed_data, definite_failures
from attestation.errors import MalformedEvidence
from attestation.formats.document import Evidence, parse_document
from attestation.formats.manifest import Manifest, parse_manifest
from attestation.formats.records import records_of
from attestation.formats.statement import Statement, parse_statement
from attestation.hardware import Hardware, SnpEvidence
from attestation.model import Appraisal, Collateral, Fact
from attestation.pem import encode_pem
from attestation.policy.model import Policy


def verify(
    evidence: bytes,
    collateral: Collateral,
    policy: Policy,
    *,
    nonce: bytes | None,
    now: datetime,
    purpose: str = "attestation",
    exporter: bytes | None = None,
    connection_spki_sha256: bytes | None = None,
) -> Appraisal:
    """Decide whether `evidence` (a document's bytes) satisfies `policy`. Never raises for bad evidence.

    `nonce`: the 32 bytes this verifier chose, or None, which leaves the age undecided unless the policy takes
    it so. `now`: an aware datetime. `exporter`: the TLS exporter, for purpose `session`.
    `connection_spki_sha256`: pin of the leaf that the document's connection showed, if there was one.
    """
    subject = Subject(now, {"document": evidence}, collateral, policy)
    try:
        parts, statement, manifest = _parse(evidence)
        hardware = authenticate(
            parts.hardware, collateral, development_root=policy.insecure_development_root, now=now
        )
    except MalformedEvidence as error:
        return subject.decide([_parsed(Outcome.FAIL, str(error))])
    checks = [_parsed(Outcome.PASS, "casemate/evidence/1"), *hardware.checks]
    facts = _facts(hardware)

    claims = hardware.claims
    signed = claimed_data(parts.hardware) if claims is None else signed_data(claims)
    bound = check_question(statement, purpose=purpose, nonce=nonce, exporter=exporter, rules=policy.evidence)
    bound += check_binding(parts, signed, statement, manifest)
    if connection_spki_sha256 is not None:
        bound.append(check_connection(manifest, connection_spki_sha256))
    if claims is None:
        if all(check.outcome is not Outcome.FAIL for check in checks):
            checks += definite_failures(parts.hardware, collateral, policy, now=now, bound=bound)
        return subject.decide(checks, facts=facts)
    checks += bound
    if any(check.outcome is Outcome.FAIL for check in checks):
        return subject.decide(checks, facts=facts, authentic=True)

    checks += appraise_hardware(claims, policy, now=now)
    checks += appraise_manifest(manifest, policy.manifest, policy.evidence, purpose=purpose, now=now)
    checks += appraise_config(parts.config, manifest.config_sha384, policy.config)
    facts = facts | _manifest_facts(manifest)
    return subject.decide(checks, facts=facts, authentic=True, complete=True, manifest=manifest)


def verify_hardware(
    hardware: Hardware,
    collateral: Collateral,
    rules: Policy | Baseline,
    *,
    now: datetime,
    report_data: bytes | None = None,
) -> Appraisal:
    """Decide about bare evidence, as a platform delivers it, without a document around it. Never raises.

    `report_data`: the bytes that must have been signed (64; what a TPM was asked on Azure), or None, which
    leaves it undecided whose evidence this is and how old, unless the rules take it so.
    """
    subject = Subject(now, _parts(hardware), collateral, rules)
    root = rules.insecure_development_root if isinstance(rules, Policy) else None
    try:
        found = authenticate(hardware, collateral, development_root=root, now=now)
    except MalformedEvidence as error:
        return subject.decide([_parsed(Outcome.FAIL, str(error))])
    checks = [_parsed(Outcome.PASS, "all of it"), *found.checks]
    if found.claims is None:
        if all(check.outcome is not Outcome.FAIL for check in checks):
            checks += definite_failures(hardware, collateral, rules, now=now)
        return subject.decide(checks, facts=_facts(found))

    unasked_is_fine = isinstance(rules, Baseline) or rules.evidence.accept_without_nonce
    checks.append(check_report_data(signed_data(found.claims), report_data, unasked_is_fine=unasked_is_fine))
    if isinstance(rules, Baseline):
        checks += appraise_baseline(found.claims)
    else:
        checks += appraise_hardware(found.claims, rules, now=now)
    return subject.decide(checks, facts=_facts(found), authentic=True, complete=True)


def _parts(hardware: Hardware) -> dict[str, bytes]:
    """The labels of bare evidence, and the lists beside it for which a document has no label."""
    further = () if isinstance(hardware, SnpEvidence) else hardware.collateral.further_crls
    return records_of(hardware) | ({"tdx-crls": encode_pem(further, "X509 CRL")} if further else {})


def _parse(raw: bytes) -> tuple[Evidence, Statement, Manifest]:
    parts = parse_document(raw)
    return parts, parse_statement(parts.statement), parse_manifest(parts.manifest)


def _parsed(outcome: Outcome, found: str) -> Check:
    return Check(
        "evidence.parse",
        Stage.PARSE,
        outcome,
        "evidence that can be read completely",
        found,
        "docs/spec/evidence.md#document",
    )


def _facts(hardware: Authenticated) -> dict[str, Fact]:
    """What the hardware's evidence says; whom it stands on only once that is established."""
    if hardware.claims is None:
        return dict(hardware.facts)
    simulated = "simulated, insecure development" if hardware.claims.insecure else "hardware"
    return {"trust_class": trust_class(hardware.claims), "source": simulated, **hardware.facts}


def _manifest_facts(manifest: Manifest) -> dict[str, Fact]:
    """What was bound, for display; decisions were made above."""
    return {
        "service (label)": manifest.service,
        "release (label)": manifest.release,
        "phase": manifest.phase,
        "root_source": manifest.root_source,
        "config_sha384": manifest.config_sha384.hex(),
        "not_after": manifest.not_after,
        "tls_spki_sha256": [key.hex() for key in manifest.tls_spki_sha256],
    }
