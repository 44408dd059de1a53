"""The story end to end on forged hardware: each stage refuses its own kind of lie, and only that."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attestation import authenticate
from attestation.check import Outcome
from attestation.decide import Subject
from attestation.errors import (
    AttestationError,
    BindingMismatch,
    CannotDecide,
    MalformedEvidence,
    NotAuthentic,
    PolicyRefused,
)
from attestation.formats.document import Evidence, Inclusion, build_document
from attestation.formats.manifest import Manifest, encode_manifest, manifest_sha384
from attestation.formats.merkle import inclusion_paths, leaf_hash
from attestation.formats.statement import build_statement
from attestation.hardware import SnpEvidence
from attestation.model import Appraisal, Collateral, Verdict
from attestation.policy.model import Policy
from attestation.policy.toml import parse_policy
from attestation.verify import verify
from tests.fakes.amd import NOW, World
from tests.fakes.evidence import HPKE_KEY, NONCE, TLS_KEY, Scene, config, manifest, outcomes, provider


@pytest.fixture(scope="session")
def scene(genoa: World) -> Scene:
    """A gateway on forged Genoa hardware in which everything is right."""
    return Scene(genoa)


def refused(appraisal: Appraisal, *ids: str) -> None:
    """Exactly these checks failed, and the verdict says so."""
    assert outcomes(appraisal) == dict.fromkeys(ids, "fail")
    assert appraisal.verdict is Verdict.REFUSED
    with pytest.raises(AttestationError) as error:
        appraisal.require()
    assert [check.id for check in error.value.checks] == list(ids)


def rebuilt(evidence: Evidence, **changes: Any) -> bytes:
    """A document with one part replaced after everything was signed."""
    return build_document(replace(evidence, **changes), insecure=True)


# The verdict


def test_a_development_root_is_accepted_as_insecure_and_never_as_a_pass(scene: Scene) -> None:
    appraisal = scene.appraise()
    assert outcomes(appraisal) == {}
    assert appraisal.verdict is Verdict.ACCEPTED_INSECURE
    root = next(check for check in appraisal.checks if check.id == "snp.chain.root")
    assert root.outcome is Outcome.INSECURE


def test_the_same_evidence_under_a_pinned_root_is_accepted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pins are AMD's: a forgery reaches this verdict only if a test replaces the table itself."""
    monkeypatch.setattr(authenticate, "AMD_ROOTS", scene.world.roots)
    policy = replace(parse_policy(scene.policy()), insecure_development_root=None)
    appraisal = verify(scene.document(), Collateral(), policy, nonce=NONCE, now=NOW)
    assert appraisal.verdict is Verdict.ACCEPTED
    assert {check.outcome for check in appraisal.checks} == {Outcome.PASS}


def test_refuses_a_simulation_whose_root_no_policy_names(scene: Scene) -> None:
    policy = replace(parse_policy(scene.policy()), insecure_development_root=None)
    appraisal = verify(scene.document(), Collateral(), policy, nonce=NONCE, now=NOW)
    assert appraisal.verdict is Verdict.REFUSED
    assert [check.id for check in appraisal.checks if check.outcome is Outcome.FAIL] == ["snp.chain.root"]


def test_refuses_a_simulation_under_the_name_of_another_root(scene: Scene) -> None:
    policy = replace(parse_policy(scene.policy()), insecure_development_root=bytes(32))
    appraisal = verify(scene.document(), Collateral(), policy, nonce=NONCE, now=NOW)
    assert appraisal.verdict is Verdict.REFUSED
    with pytest.raises(NotAuthentic):
        appraisal.require()
    assert appraisal.manifest is None


def test_an_empty_policy_accepts_nothing(scene: Scene) -> None:
    assert verify(scene.document(), Collateral(), Policy(), nonce=NONCE, now=NOW).verdict is Verdict.REFUSED


def test_the_manifest_of_an_accepted_appraisal_is_the_one_that_was_bound(scene: Scene) -> None:
    appraisal = scene.appraise()
    assert isinstance(appraisal.manifest, Manifest)
    assert appraisal.manifest.tls_spki_sha256 == (TLS_KEY,)
    assert appraisal.manifest.hpke_x25519 == (HPKE_KEY,)
    assert appraisal.facts["product"] == "Genoa"
    assert "simulated" in str(appraisal.facts["source"])


def test_the_same_input_gives_the_same_answer(scene: Scene) -> None:
    document = scene.document()
    assert scene.appraise(document=document) == scene.appraise(document=document)


def test_a_time_without_a_zone_is_the_callers_mistake(scene: Scene) -> None:
    with pytest.raises(ValueError, match="time zone"):
        scene.appraise(now=datetime(2026, 11, 21))  # noqa: DTZ001 - the very mistake


@pytest.mark.parametrize("year", [1, 1969, 9999])
def test_a_time_at_an_end_of_the_calendar_is_the_callers_mistake(scene: Scene, year: int) -> None:
    with pytest.raises(ValueError, match="1970"):
        scene.appraise(now=datetime(year, 1, 1, tzinfo=UTC))


def test_checks_that_all_pass_accept_nothing_without_a_bound_manifest(scene: Scene) -> None:
    passing = [check for check in scene.appraise().checks if check.outcome is Outcome.PASS]
    assert Subject(NOW, {}, Collateral(), Policy()).decide(passing).verdict is Verdict.UNDECIDED


# Parse


def test_refuses_a_document_without_hardware_evidence(scene: Scene) -> None:
    records = json.loads(scene.document())
    del records["snp-report"]
    appraisal = scene.appraise(document=json.dumps(records).encode())
    refused(appraisal, "evidence.parse")
    with pytest.raises(MalformedEvidence):
        appraisal.require()


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b"\xff", b'{"__cmwc_t":1}'])
def test_refuses_bytes_that_are_no_document(scene: Scene, raw: bytes) -> None:
    refused(scene.appraise(document=raw), "evidence.parse")


@pytest.mark.parametrize("part", ["statement", "manifest"])
def test_refuses_a_part_that_cannot_be_read(scene: Scene, part: str) -> None:
    refused(scene.appraise(document=rebuilt(scene.evidence(), **{part: b"{}"})), "evidence.parse")


def test_refuses_a_report_that_cannot_be_read(scene: Scene) -> None:
    refused(scene.appraise(document=rebuilt(scene.evidence(), hardware=SnpEvidence(b"{}"))), "evidence.parse")


# Authenticate


def test_refuses_a_report_whose_signed_bytes_were_changed(scene: Scene) -> None:
    evidence = scene.evidence()
    changed = bytearray(evidence.hardware.report)
    changed[0x90] ^= 1
    other = replace(evidence.hardware, report=bytes(changed))
    appraisal = scene.appraise(document=rebuilt(evidence, hardware=other))
    refused(appraisal, "snp.signature")
    with pytest.raises(NotAuthentic):
        appraisal.require()


def test_missing_certificates_leave_it_undecided(scene: Scene) -> None:
    evidence = scene.evidence()
    bare = replace(evidence.hardware, certificates=())
    appraisal = scene.appraise(document=rebuilt(evidence, hardware=bare))
    assert appraisal.verdict is Verdict.UNDECIDED
    assert appraisal.manifest is None
    with pytest.raises(CannotDecide):
        appraisal.require()


def test_certificates_may_come_as_collateral(scene: Scene) -> None:
    evidence = scene.evidence()
    document = rebuilt(evidence, hardware=replace(evidence.hardware, certificates=()))
    policy = parse_policy(scene.policy())
    appraisal = verify(document, Collateral(evidence.hardware.certificates), policy, nonce=NONCE, now=NOW)
    assert appraisal.verdict is Verdict.ACCEPTED_INSECURE


# Bind: hardware is genuine, but was it asked this?


def test_refuses_a_stale_nonce(scene: Scene) -> None:
    appraisal = scene.appraise(nonce=b"\x01" * 32)
    refused(appraisal, "statement.nonce")
    assert appraisal.manifest is None
    with pytest.raises(BindingMismatch):
        appraisal.require()


def test_refuses_a_statement_without_nonce_if_one_was_sent(scene: Scene) -> None:
    refused(scene.appraise(document=scene.document(nonce=None)), "statement.nonce")


@pytest.mark.parametrize("in_statement", [None, NONCE])
def test_without_a_nonce_the_age_is_undecided(scene: Scene, in_statement: bytes | None) -> None:
    appraisal = scene.appraise(document=scene.document(nonce=in_statement), nonce=None)
    assert outcomes(appraisal) == {"statement.nonce": "undecided"}
    assert appraisal.verdict is Verdict.UNDECIDED


def test_without_a_nonce_a_policy_may_take_the_age_as_unproven(scene: Scene) -> None:
    toml = "[evidence]\naccept_without_nonce = true\n"
    appraisal = scene.appraise(toml, document=scene.document(nonce=None), nonce=None)
    assert outcomes(appraisal) == {}
    (unasked,) = [check for check in appraisal.checks if check.id == "statement.nonce"]
    assert unasked.outcome is Outcome.NOTED  # nobody asked, so nothing was answered
    refused(scene.appraise(toml, document=scene.document(nonce=None)), "statement.nonce")


@pytest.mark.parametrize("purpose", ["provision", "peer"])
def test_refuses_a_statement_for_another_purpose(scene: Scene, purpose: str) -> None:
    refused(scene.appraise(document=scene.document(purpose=purpose)), "statement.purpose")


def test_a_session_statement_needs_this_very_connections_exporter(scene: Scene) -> None:
    document = scene.document(purpose="session", exporter=b"e" * 32)
    how: dict[str, Any] = {"document": document, "purpose": "session"}
    assert outcomes(scene.appraise(exporter=b"e" * 32, **how)) == {}
    refused(scene.appraise(exporter=b"f" * 32, **how), "statement.exporter")
    refused(scene.appraise(**how), "statement.exporter")
    refused(scene.appraise(document=document), "statement.purpose", "statement.exporter")


def test_refuses_another_manifest_beside_genuine_evidence(scene: Scene) -> None:
    other = encode_manifest(manifest(scene.config, tls_spki_sha256=(b"\x66" * 32,)))
    appraisal = scene.appraise(document=rebuilt(scene.evidence(), manifest=other))
    refused(appraisal, "statement.manifest")
    assert appraisal.manifest is None


def test_refuses_another_configuration_beside_genuine_evidence(scene: Scene) -> None:
    refused(scene.appraise(document=rebuilt(scene.evidence(), config=scene.config + b"#")), "manifest.config")


def test_refuses_a_statement_that_the_hardware_never_saw(scene: Scene) -> None:
    evidence = scene.evidence()
    raw = build_statement("attestation", b"\x02" * 32, manifest_sha384(evidence.manifest))
    appraisal = scene.appraise(document=rebuilt(evidence, statement=raw), nonce=b"\x02" * 32)
    refused(appraisal, "statement.report_data")


def test_one_report_answers_every_statement_of_its_batch(scene: Scene) -> None:
    encoded = encode_manifest(manifest(scene.config))
    nonces = [bytes([index]) * 32 for index in range(7)]
    statements = [build_statement("attestation", nonce, manifest_sha384(encoded)) for nonce in nonces]
    root, paths = inclusion_paths([leaf_hash(raw) for raw in statements])
    signed = scene.sign(root)
    for index, nonce in enumerate(nonces):
        place = Inclusion(index, 7, paths[index])
        parts = Evidence(statements[index], place, encoded, scene.config, signed.evidence)
        assert outcomes(scene.appraise(document=build_document(parts, insecure=True), nonce=nonce)) == {}


@pytest.mark.parametrize(
    "lie",
    [Inclusion(1, 2, (bytes(64),)), Inclusion(0, 1, ()), Inclusion(5, 2, ()), Inclusion(0, 2, (bytes(64),))],
)
def test_refuses_a_path_that_does_not_lead_to_the_signed_root(scene: Scene, lie: Inclusion) -> None:
    evidence = replace(scene, others=(b"another statement",)).evidence()
    refused(scene.appraise(document=rebuilt(evidence, inclusion=lie)), "statement.report_data")


def test_refuses_a_connection_whose_key_is_not_in_the_manifest(scene: Scene) -> None:
    assert outcomes(scene.appraise(connection_spki_sha256=TLS_KEY)) == {}
    appraisal = scene.appraise(connection_spki_sha256=b"\x55" * 32)
    refused(appraisal, "connection.key")
    assert appraisal.manifest is None


def test_nothing_is_appraised_before_it_is_bound(scene: Scene) -> None:
    """A refusal for a wrong nonce says nothing about the policy: those bytes may be anybody's."""
    appraisal = scene.appraise("[config]\nproviders = {}\n", nonce=bytes(32))
    assert not [check for check in appraisal.checks if check.id.startswith("config.")]


# Appraise, where it spans several rules


def test_a_policy_refusal_names_every_rule_and_raises_policy_refused(scene: Scene) -> None:
    wrong = replace(
        scene, report={"vmpl": 1, "measurement": bytes(48)}, config=config(provider("evil.example"))
    )
    appraisal = wrong.appraise()
    refused(appraisal, "snp.measurement", "snp.vmpl", "config.provider.host")
    with pytest.raises(PolicyRefused, match=r"snp\.measurement"):
        appraisal.require()
    assert isinstance(appraisal.manifest, Manifest)


def test_provisioning_evidence_is_for_provisioning_only(scene: Scene) -> None:
    waiting = replace(scene, manifest={"phase": "provisioning", "tls_spki_sha256": ()})
    provision = waiting.document(purpose="provision")
    assert outcomes(waiting.appraise(document=provision, purpose="provision")) == {}
    refused(waiting.appraise(), "manifest.phase", "manifest.keys")


# Any bytes


def _flip(document: bytes, position: int, byte: int) -> bytes:
    changed = bytearray(document)
    changed[position % len(changed)] = byte
    return bytes(changed)


@given(position=st.integers(0, 20_000), byte=st.integers(0, 255))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_byte_makes_another_document_acceptable(scene: Scene, position: int, byte: int) -> None:
    document = scene.document()
    changed = _flip(document, position, byte)
    appraisal = scene.appraise(document=changed)
    if appraisal.verdict is Verdict.ACCEPTED_INSECURE:
        assert appraisal.manifest == scene.appraise(document=document).manifest


@given(raw=st.binary(max_size=400))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused_without_an_exception(scene: Scene, raw: bytes) -> None:
    assert scene.appraise(document=raw).verdict is Verdict.REFUSED


@pytest.mark.parametrize("year", [1970, 2030, 9998])
def test_any_time_gives_a_verdict(scene: Scene, year: int) -> None:
    assert scene.appraise(now=datetime(year, 1, 1, tzinfo=UTC)).verdict is not Verdict.ACCEPTED


def test_expired_evidence_is_refused_whatever_signed_it(scene: Scene) -> None:
    refused(scene.appraise(now=NOW + timedelta(hours=26)), "manifest.not_after")
