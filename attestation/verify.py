"""The story: take the document apart, authenticate the hardware, bind it to the question, appraise it.

Pure: bytes, collateral, policy, nonce and `now` come in, an Appraisal goes out; same input, same answer, for
ever. Each stage only runs on what the stage before it has established.
"""

from __future__ import annotations

from datetime import datetime

from attestation.appraise import appraise_config, appraise_manifest, appraise_snp
from attestation.bind import check_binding, check_connection, check_question
from attestation.check import Check, Outcome, Stage
from attestation.document import Evidence, parse_document
from attestation.errors import MalformedEvidence
from attestation.manifest import Manifest, parse_manifest
from attestation.model import Appraisal, Collateral, Verdict
from attestation.policy import Policy
from attestation.snp.abi import Report, parse_report
from attestation.snp.roots import AMD_ROOTS
from attestation.snp.verify import SnpClaims, authenticate_report
from attestation.statement import Statement, parse_statement

_PARSED = tuple[Evidence, Report, Statement, Manifest]


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
    if now.tzinfo is None:
        raise ValueError("now must carry a time zone")
    try:
        parts, report, statement, manifest = _parse(evidence)
    except MalformedEvidence as error:
        return _decide([_parsed(Outcome.FAIL, str(error))])
    checks = [_parsed(Outcome.PASS, "casemate/evidence/1, sev-snp")]

    authenticity, claims = authenticate_report(
        report,
        parts.snp_certs + collateral.certificates,
        collateral.crls,
        roots=AMD_ROOTS,
        development_root=policy.insecure_development_root,
        now=now,
    )
    checks += authenticity
    if claims is None:
        return _decide(checks)

    checks += check_question(
        statement, purpose=purpose, nonce=nonce, exporter=exporter, rules=policy.evidence
    )
    checks += check_binding(parts, report.report_data, statement, manifest)
    if connection_spki_sha256 is not None:
        checks.append(check_connection(manifest, connection_spki_sha256))
    if any(check.outcome is Outcome.FAIL for check in checks):
        return _decide(checks)

    checks += appraise_snp(claims, policy.snp)
    checks += appraise_manifest(manifest, policy.manifest, policy.evidence, purpose=purpose, now=now)
    checks += appraise_config(parts.config, manifest.config_sha384, policy.config)
    return _decide(checks, manifest=manifest, facts=_facts(claims, manifest))


def _parse(raw: bytes) -> _PARSED:
    parts = parse_document(raw)
    if parts.snp_report is None:
        raise MalformedEvidence("document: no hardware report of a kind that this verifier knows")
    return (
        parts,
        parse_report(parts.snp_report),
        parse_statement(parts.statement),
        parse_manifest(parts.manifest),
    )


def _parsed(outcome: Outcome, found: str) -> Check:
    return Check(
        "evidence.parse",
        Stage.PARSE,
        outcome,
        "a complete document of format casemate/evidence/1",
        found,
        "docs/spec/evidence.md#document",
    )


def _decide(
    checks: list[Check], *, manifest: Manifest | None = None, facts: dict[str, str] | None = None
) -> Appraisal:
    """The worst outcome is the verdict. Without a bound manifest nothing is ever accepted."""
    outcomes = {check.outcome for check in checks}
    if Outcome.FAIL in outcomes:
        verdict = Verdict.REFUSED
    elif Outcome.UNDECIDED in outcomes or manifest is None:
        verdict = Verdict.UNDECIDED
    else:
        verdict = Verdict.ACCEPTED_INSECURE if Outcome.INSECURE in outcomes else Verdict.ACCEPTED
    return Appraisal(verdict, tuple(checks), manifest, facts or {})


def _facts(claims: SnpClaims, manifest: Manifest) -> dict[str, str]:
    """What was established, for display; decisions were made above."""
    report = claims.report
    return {
        "platform": "AMD SEV-SNP (simulated, insecure development)" if claims.insecure else "AMD SEV-SNP",
        "product": claims.product,
        "report_version": str(report.version),
        "measurement": report.measurement.hex(),
        "vmpl": str(report.vmpl),
        "chip_id": report.chip_id.hex(),
        "signing_key": report.signing_key,
        "service (label)": manifest.service,
        "release (label)": manifest.release,
        "phase": manifest.phase,
        "root_source": manifest.root_source,
        "config_sha384": manifest.config_sha384.hex(),
        "not_after": str(manifest.not_after),
        "tls_spki_sha256": ", ".join(key.hex() for key in manifest.tls_spki_sha256),
    }
