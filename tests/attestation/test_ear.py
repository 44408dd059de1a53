"""An EAR never says more than the appraisal that it was made from."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from attestation.check import Check, Outcome, Stage
from attestation.model import Appraisal, Facts, Verdict
from attestation.report.ear import PROFILE, build_ear, sign_ear, tier, trust_vector

NOW = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
NONCE = b"\x6e" * 32
PASSED = {
    "snp.signature": Stage.AUTHENTICATE,
    "snp.chain.root": Stage.AUTHENTICATE,
    "snp.crl": Stage.AUTHENTICATE,
    "statement.nonce": Stage.BIND,
    "snp.tcb.reported": Stage.APPRAISE,
    "snp.measurement": Stage.APPRAISE,
    "snp.debug": Stage.APPRAISE,
    "config.digest": Stage.APPRAISE,
}
# What a Genoa without a weakness says of itself, as far as a result depends on it.
LEVELS = {"bl": 10, "tee": 0, "snp": 23, "ucode": 84}
GENOA: Facts = {
    "product": "Genoa",
    "policy": {"migrate_ma": False},
    "report_id_ma": "ff" * 32,
    "platform_info": {"alias_check_complete": True, "ecc_en": True},
    "current_version": "1.55.40",
    "committed_version": "1.55.40",
    **dict.fromkeys(("current_tcb", "reported_tcb", "committed_tcb", "launch_tcb"), LEVELS),
}
AFFIRMING = {
    "instance-identity": 2,
    "configuration": 2,
    "executables": 3,
    "hardware": 2,
    "runtime-opaque": 2,
}


def appraisal(verdict: Verdict = Verdict.ACCEPTED, /, **outcomes: Outcome) -> Appraisal:
    """Everything passes, but for `outcomes` (with __ for the dots of an id)."""
    changed = {name.replace("__", "."): outcome for name, outcome in outcomes.items()}
    checks = tuple(
        Check(name, stage, changed.get(name, Outcome.PASS), "this", "that", "there")
        for name, stage in PASSED.items()
    )
    return Appraisal(verdict, checks, facts=GENOA, authentic=True)


def only(verdict: Verdict, *ids: str, outcome: Outcome = Outcome.PASS) -> Appraisal:
    """An appraisal of these checks alone."""
    made = (Check(name, PASSED.get(name, Stage.APPRAISE), outcome, "", "", "") for name in ids)
    return Appraisal(verdict, tuple(made))


def ear(judged: Appraisal, nonce: bytes | None = NONCE) -> dict[str, Any]:
    """Its EAR."""
    return build_ear(judged, nonce=nonce, now=NOW, developer="https://example.com", build="casemate 1")


def record(judged: Appraisal, nonce: bytes | None = NONCE) -> dict[str, Any]:
    """Its only submodule's record."""
    (found,) = ear(judged, nonce)["submods"].values()
    assert isinstance(found, dict)
    return found


def test_an_accepted_appraisal_affirms_what_was_looked_at() -> None:
    made = ear(appraisal())
    assert made["eat_profile"] == PROFILE == "tag:ietf.org,2026:rats/ear#04"
    assert made["iat"] == int(NOW.timestamp())
    assert made["ear_verifier_id"] == {"developer": "https://example.com", "build": "casemate 1"}
    assert made["ear_status"] == "affirming"
    assert made["eat_nonce"] == base64.urlsafe_b64encode(NONCE).rstrip(b"=").decode()
    assert list(made["submods"]) == ["direct-boot"]
    inner = made["submods"]["direct-boot"]
    assert inner["ear_status"] == "affirming"
    assert inner["ear_trustworthiness_vector"] == AFFIRMING
    assert inner["eat_nonce"] == made["eat_nonce"]
    assert inner["ear_attester_claims"] == GENOA
    assert inner["ear_verifier_claims"]["verdict"] == "accepted"
    assert inner["ear_verifier_claims"]["checks"]["snp.debug"] == "pass"
    assert "a commercial provider still sees the prompt" in inner["ear_verifier_claims"]["not_proven"]


def test_a_simulation_is_never_affirming_or_a_mere_warning() -> None:
    judged = appraisal(Verdict.ACCEPTED_INSECURE, snp__chain__root=Outcome.INSECURE)
    assert set(map(tier, trust_vector(judged).values())) == {"contraindicated"}
    made = ear(judged)
    assert made["ear_status"] == "contraindicated"
    assert record(judged)["ear_status"] == "contraindicated"
    assert record(judged)["ear_verifier_claims"]["insecure"] is True
    assert "affirming" not in json.dumps(made)


@pytest.mark.parametrize("check_id", PASSED)
def test_whatever_fails_the_result_is_contraindicated(check_id: str) -> None:
    judged = appraisal(Verdict.REFUSED, **{check_id.replace(".", "__"): Outcome.FAIL})
    assert ear(judged)["ear_status"] == "contraindicated"
    vector = trust_vector(judged)
    assert max(vector.values()) >= 96
    assert not [value for value in vector.values() if tier(value) == "affirming"]


def test_evidence_that_cannot_be_read_is_contraindicated_without_any_claim() -> None:
    judged = only(Verdict.REFUSED, "evidence.parse", outcome=Outcome.FAIL)
    assert set(trust_vector(judged).values()) == {0}
    assert ear(judged)["ear_status"] == record(judged)["ear_status"] == "contraindicated"


@pytest.mark.parametrize(
    ("check_id", "claims"),
    [
        ("snp.signature", dict.fromkeys(AFFIRMING, 99)),
        ("snp.crl", {"hardware": 96}),
        ("snp.tcb.reported", {"hardware": 96}),
        ("snp.measurement", {"executables": 96}),
        ("snp.debug", {"executables": 96, "runtime-opaque": 96}),
        ("statement.nonce", {"instance-identity": 99}),
        ("config.digest", {"configuration": 96}),
    ],
)
def test_a_failure_shows_in_its_own_claim(check_id: str, claims: dict[str, int]) -> None:
    judged = appraisal(Verdict.REFUSED, **{check_id.replace(".", "__"): Outcome.FAIL})
    assert {name: value for name, value in trust_vector(judged).items() if value} == claims


@pytest.mark.parametrize("check_id", PASSED)
def test_an_undecided_appraisal_claims_nothing(check_id: str) -> None:
    judged = appraisal(Verdict.UNDECIDED, **{check_id.replace(".", "__"): Outcome.UNDECIDED})
    assert ear(judged)["ear_status"] == "none"
    assert set(trust_vector(judged).values()) == {0}


@pytest.mark.parametrize("facts", [{"tcb_status": "SWHardeningNeeded"}, {"product": "Milan"}])
def test_known_weaknesses_that_a_policy_accepts_are_a_warning(facts: dict[str, str]) -> None:
    judged = replace(appraisal(), facts=facts)
    assert trust_vector(judged)["hardware"] == 32
    assert ear(judged)["ear_status"] == "warning"
    refused = replace(appraisal(Verdict.REFUSED, snp__tcb__reported=Outcome.FAIL), facts=facts)
    assert trust_vector(refused)["hardware"] == 96
    current = replace(appraisal(), facts={"tcb_status": "UpToDate"})
    assert trust_vector(current)["hardware"] == 2


def test_an_instance_that_nobody_asked_is_not_affirmed() -> None:
    unasked = only(Verdict.ACCEPTED, "statement.purpose", "statement.manifest")
    assert trust_vector(unasked)["instance-identity"] == 0
    asked = only(Verdict.ACCEPTED, "statement.purpose", "statement.nonce")
    assert trust_vector(asked)["instance-identity"] == 2


@pytest.mark.parametrize("check_id", ["tdx.unjudged", "azure.unjudged"])
def test_software_of_which_something_was_left_out_is_not_affirmed(check_id: str) -> None:
    judged = appraisal()
    for outcome, value in ((Outcome.NOTED, 0), (Outcome.PASS, 3)):
        unjudged = Check(check_id, Stage.APPRAISE, outcome, "", "", "")
        assert trust_vector(replace(judged, checks=(*judged.checks, unjudged)))["executables"] == value
        other = appraisal(Verdict.REFUSED, snp__measurement=Outcome.FAIL)
        assert trust_vector(replace(other, checks=(*other.checks, unjudged)))["executables"] == 96


def test_what_was_not_looked_at_is_not_claimed() -> None:
    judged = only(Verdict.ACCEPTED, "snp.signature", "baseline.debug")
    assert trust_vector(judged) == {
        "instance-identity": 0,
        "configuration": 0,
        "executables": 0,
        "hardware": 2,
        "runtime-opaque": 2,
    }


@pytest.mark.parametrize(("outcome", "value"), [(Outcome.FAIL, 96), (Outcome.PASS, 0)])
def test_an_event_log_alone_can_speak_against_software_but_not_for_it(outcome: Outcome, value: int) -> None:
    verdict = Verdict.ACCEPTED if outcome is Outcome.PASS else Verdict.REFUSED
    assert trust_vector(only(verdict, "eventlog.replay", outcome=outcome))["executables"] == value


def test_a_check_that_decides_nothing_affirms_nothing() -> None:
    assert trust_vector(only(Verdict.ACCEPTED, "config.digest", outcome=Outcome.NOTED))["configuration"] == 0


@pytest.mark.parametrize("order", [1, -1])
def test_a_rule_that_was_applied_twice_is_stated_by_its_worst_outcome(order: int) -> None:
    made = [
        Check("config.provider.host", Stage.APPRAISE, outcome, "", "", "")
        for outcome in (Outcome.FAIL, Outcome.PASS)[::order]
    ]
    judged = Appraisal(Verdict.REFUSED, tuple(made))
    assert record(judged)["ear_verifier_claims"]["checks"] == {"config.provider.host": "fail"}


def test_the_policy_is_named_by_its_digest() -> None:
    named = replace(appraisal(), policy_sha256=b"\xff" * 32)
    assert record(named)["ear_appraisal_policy_ids"] == [f"ni:///sha-256;{'_' * 42}8"]
    for digest in (None, b""):
        built_in = replace(appraisal(), policy_sha256=digest, rules="built-in")
        assert record(built_in)["ear_appraisal_policy_ids"] == ["tag:casemate,2026:appraisal/1/built-in"]


@pytest.mark.parametrize(
    ("ids", "label"),
    [
        (("snp.signature",), "direct-boot"),
        (("tdx.quote.signature",), "direct-boot"),
        (("snp.signature", "azure.ak"), "paravisor-vtpm"),
        (("evidence.parse",), "unreadable"),
    ],
)
def test_the_label_is_the_trust_class(ids: tuple[str, ...], label: str) -> None:
    assert list(ear(only(Verdict.REFUSED, *ids, outcome=Outcome.FAIL))["submods"]) == [label]


def test_facts_stand_under_the_attesters_name_only_if_hardware_vouches() -> None:
    assert "ear_attester_claims" not in record(replace(appraisal(), authentic=False))
    assert "ear_attester_claims" not in record(replace(appraisal(), facts={}))
    simulated = appraisal(Verdict.ACCEPTED_INSECURE, snp__chain__root=Outcome.INSECURE)
    assert "ear_attester_claims" not in record(simulated)


def test_the_nonce_of_the_evidence_is_stated_only_if_it_answered() -> None:
    judged = appraisal(Verdict.REFUSED, statement__nonce=Outcome.FAIL)
    assert "eat_nonce" in ear(judged)
    assert "eat_nonce" not in record(judged)
    assert "eat_nonce" not in ear(appraisal(), None)
    assert "eat_nonce" not in record(appraisal(), None)


def test_what_was_judged_and_when_is_in_the_verifiers_claims() -> None:
    empty = record(appraisal())["ear_verifier_claims"]
    assert (empty["decided_at"], empty["evidence_sha256"]) == (None, None)
    stamped = replace(appraisal(), decided_at=NOW, evidence_sha256=b"\x01" * 32)
    claims = record(stamped)["ear_verifier_claims"]
    assert (claims["decided_at"], claims["evidence_sha256"]) == ("2026-11-22T01:02:03Z", "01" * 32)


@pytest.mark.parametrize("length", [0, 7, 65])
def test_a_nonce_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="8 to 64"):
        ear(appraisal(), bytes(length))


@pytest.mark.parametrize("length", [8, 64])
def test_a_nonce_of_the_drafts_lengths_is_taken(length: int) -> None:
    assert 12 - 1 <= len(ear(appraisal(), bytes(length))["eat_nonce"]) <= 88


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        build_ear(appraisal(), nonce=None, now=datetime(2026, 1, 1), developer="d", build="b")  # noqa: DTZ001


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "none"),
        (1, "none"),
        (2, "affirming"),
        (31, "affirming"),
        (32, "warning"),
        (95, "warning"),
        (96, "contraindicated"),
        (127, "contraindicated"),
    ],
)
def test_tiers_have_the_bounds_of_ar4si(value: int, expected: str) -> None:
    assert tier(value) == expected


def decode(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Header, payload, signed bytes, signature."""
    head, body, signature = token.split(".")
    raw = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (head, body, signature)]
    return json.loads(raw[0]), json.loads(raw[1]), f"{head}.{body}".encode(), raw[2]


def test_an_ed25519_signature_verifies() -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    made = ear(appraisal())
    header, payload, signed, signature = decode(sign_ear(made, key))
    key.public_key().verify(signature, signed)
    assert (header["alg"], header["typ"]) == ("EdDSA", "eat+jwt")
    assert payload == made


def test_the_key_id_is_the_thumbprint_of_rfc_8037_appendix_a() -> None:
    seed = base64.urlsafe_b64decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
    header, *_ = decode(sign_ear({}, ed25519.Ed25519PrivateKey.from_private_bytes(seed)))
    assert header["kid"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_p256_signature_verifies_and_is_64_bytes() -> None:
    key = ec.derive_private_key(7, ec.SECP256R1())
    header, _, signed, signature = decode(sign_ear(ear(appraisal()), key))
    assert header["alg"] == "ES256"
    assert len(signature) == 64
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    key.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))
    assert sign_ear({}, key) == sign_ear({}, key)


def test_another_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="P-256"):
        sign_ear({}, ec.derive_private_key(7, ec.SECP384R1()))
