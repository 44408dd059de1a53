"""The story: take the document apart, authenticate the hardware, bind it to the question, appraise it.

Pure: bytes, collateral, policy, nonce and `now` come in, an Appraisal goes out; same input, same answer, for
ever. Each stage only runs on what the stage before it has established.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from attestation.appraise import appraise_config, appraise_manifest, appraise_snp
from attestation.authenticate import Authenticated, authenticate, signed_data, trust_class
from attestation.bind import check_binding, check_connection, check_question
from attestation.check import Check, Outcome, Stage
from attestation.document import Evidence, parse_document
from attestation.errors import MalformedEvidence
from attestation.manifest import Manifest, parse_manifest
from attestation.model import Appraisal, Collateral, Fact, Facts, Verdict
from attestation.policy import Policy
from attestation.statement import Statement, parse_statement


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
    subject = Subject(_aware(now), hashlib.sha256(evidence).digest(), policy.sha256)
    try:
        parts, statement, manifest = _parse(evidence)
        hardware = authenticate(
            parts.hardware, collateral, development_root=policy.insecure_development_root, now=now
        )
    except MalformedEvidence as error:
        return subject.decide([_parsed(Outcome.FAIL, str(error))])
    checks = [_parsed(Outcome.PASS, "casemate/evidence/1"), *hardware.checks]
    facts = _facts(hardware)
    if hardware.claims is None:
        return subject.decide(checks, facts=facts)

    checks += check_question(
        statement, purpose=purpose, nonce=nonce, exporter=exporter, rules=policy.evidence
    )
    checks += check_binding(parts, signed_data(hardware.claims), statement, manifest)
    if connection_spki_sha256 is not None:
        checks.append(check_connection(manifest, connection_spki_sha256))
    if any(check.outcome is Outcome.FAIL for check in checks):
        return subject.decide(checks, facts=facts, authentic=True)

    checks += appraise_snp(hardware.claims, policy.snp)
    checks += appraise_manifest(manifest, policy.manifest, policy.evidence, purpose=purpose, now=now)
    checks += appraise_config(parts.config, manifest.config_sha384, policy.config)
    facts = facts | _manifest_facts(manifest)
    return subject.decide(checks, facts=facts, authentic=True, complete=True, manifest=manifest)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged, when, by which policy: the same for every way in which a judgement may end."""

    now: datetime
    evidence_sha256: bytes
    policy_sha256: bytes

    def decide(
        self,
        checks: list[Check],
        *,
        facts: Facts | None = None,
        authentic: bool = False,
        complete: bool = False,
        manifest: Manifest | None = None,
    ) -> Appraisal:
        """The worst outcome is the verdict. What was not looked at to the end is never accepted."""
        outcomes = {check.outcome for check in checks}
        if Outcome.FAIL in outcomes:
            verdict = Verdict.REFUSED
        elif Outcome.UNDECIDED in outcomes or not complete:
            verdict = Verdict.UNDECIDED
        else:
            verdict = Verdict.ACCEPTED_INSECURE if Outcome.INSECURE in outcomes else Verdict.ACCEPTED
        return Appraisal(
            verdict,
            tuple(checks),
            manifest,
            facts or {},
            authentic,
            self.now,
            self.evidence_sha256,
            self.policy_sha256,
        )


def _aware(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ValueError("now must carry a time zone")
    return now


def _parse(raw: bytes) -> tuple[Evidence, Statement, Manifest]:
    parts = parse_document(raw)
    return parts, parse_statement(parts.statement), parse_manifest(parts.manifest)


def _parsed(outcome: Outcome, found: str) -> Check:
    return Check(
        "evidence.parse",
        Stage.PARSE,
        outcome,
        "a complete document of format casemate/evidence/1",
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
