"""Explanations: every field of a policy changes a word, and what is weaker than the default is marked."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from attestation.policy.explain import explain_policy
from attestation.policy.model import (
    BUILT_IN,
    AzurePolicy,
    ConfigPolicy,
    EvidencePolicy,
    ManifestPolicy,
    Operator,
    Policy,
    ReferencePolicy,
    ReferenceSet,
    SnpPolicy,
    TdxPolicy,
    UsedRelease,
)
from tests.fakes.policies import FULL, HEAD, parse

EVERYTHING = parse(
    FULL.replace('tees = ["tdx", "azure-snp"]', 'tees = ["sev-snp", "tdx", "azure-snp", "azure-tdx"]')
)
CHANGED_TABLES = [
    (name, field.name)
    for name in ("snp", "tdx", "azure", "manifest", "config", "evidence")
    for field in dataclasses.fields(getattr(BUILT_IN, name))
]
UNSAID = {"sha256"}
USED = UsedRelease("1.4.0.jws", bytes(32), 7, "1.4.0", 0)
RELEASED = [
    ReferencePolicy(("1.4.0.jws",), frozenset(), 1, (USED,)),
    ReferencePolicy(("1.4.0.jws",), frozenset({bytes(32)}), 1, (USED,)),
    ReferencePolicy(("1.4.0.jws",), frozenset(), 2, (USED,)),
    ReferencePolicy(("1.4.0.jws",), frozenset(), 1, (replace(USED, number=8),)),
]
MINE = Operator("mine", chip_ids=frozenset({bytes(64)}), csp_ids=frozenset({"CN=a"}))
PARAVISOR = TdxPolicy(sets=(ReferenceSet("a", {"mrtd": bytes(48)}),))


def marked(policy: Policy) -> list[str]:
    """The statements that accept more than the default."""
    return [line.strip()[2:] for line in explain_policy(policy).splitlines() if line.startswith("  !")]


def test_the_built_in_policy_accepts_nothing_and_is_nowhere_weaker_than_itself() -> None:
    text = explain_policy(BUILT_IN)
    assert marked(BUILT_IN) == []
    assert text.startswith("Accepts NOTHING: ")
    assert text.count("refuses EVERY guest on") == 2
    assert "refuses guests below a cloud's paravisor" in text
    assert "refuses AMD Milan" in text
    assert text.endswith("\n")


@pytest.mark.parametrize(("table", "field"), CHANGED_TABLES)
def test_every_field_changes_what_is_said(table: str, field: str) -> None:
    """Each value of the full policy is put back to its default, one at a time."""
    part = getattr(EVERYTHING, table)
    restored = replace(part, **{field: getattr(type(part)(), field)})
    assert explain_policy(replace(EVERYTHING, **{table: restored})) != explain_policy(EVERYTHING)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Policy) if f.name not in UNSAID])
def test_every_table_changes_what_is_said(field: str) -> None:
    if field == "reference":
        for changed in RELEASED:
            assert explain_policy(replace(BUILT_IN, reference=changed)) != explain_policy(
                replace(BUILT_IN, reference=RELEASED[0] if changed is not RELEASED[0] else ReferencePolicy())
            )
        return
    restored = replace(EVERYTHING, **{field: getattr(BUILT_IN, field)})
    assert explain_policy(restored) != explain_policy(EVERYTHING)


WEAKENED: list[tuple[dict[str, Any], str]] = [
    ({"snp": SnpPolicy(trust_id_key=True, id_key_digests=frozenset({bytes(48)}))}, "whatever it measures"),
    (
        {"snp": SnpPolicy(products=frozenset({"Milan"})), "operators": (MINE,)},
        "accepts the processors Milan",
    ),
    (
        {"snp": SnpPolicy(signing_keys=frozenset({"vcek", "vlek"})), "operators": (MINE,)},
        "a VCEK or a VLEK",
    ),
    ({"snp": SnpPolicy(allow_tio=True)}, "devices inside the guest's protected memory"),
    ({"reference": RELEASED[1]}, "this key signed"),
    ({"reference": replace(RELEASED[0], minimum_release_number=0)}, "of any number"),
    ({"snp": SnpPolicy(vmpl=1)}, "privilege level 1"),
    ({"snp": SnpPolicy(allow_migration=True)}, "moves the guest"),
    ({"snp": SnpPolicy(allow_cxl=True)}, "accepts memory on CXL"),
    ({"snp": SnpPolicy(allow_provisional_firmware=True)}, "exchanged for an older one"),
    ({"snp": SnpPolicy(require_alias_check=False)}, "nobody checked for aliases"),
    ({"snp": SnpPolicy(require_ecc=False)}, "without error correction"),
    ({"snp": SnpPolicy(require_crl=False)}, "revoked certificates is missing"),
    ({"tdx": TdxPolicy(unjudged_registers=frozenset({"rtmr3"}))}, "does not look at rtmr3"),
    ({"tdx": TdxPolicy(statuses=frozenset({"OutOfDate"}))}, "calls OutOfDate"),
    ({"tdx": TdxPolicy(advisories=frozenset({"INTEL-SA-1"}))}, "open advisories INTEL-SA-1"),
    ({"tdx": TdxPolicy(minimum_evaluation_number=3)}, "evaluation 3 or later"),
    ({"tdx": TdxPolicy(allow_attributes=frozenset({"perfmon"}))}, "attributes perfmon"),
    ({"tdx": TdxPolicy(allow_migration=True)}, "moved to another machine"),
    ({"tdx": TdxPolicy(require_sept_ve_disable=False)}, "taking its memory away"),
    ({"manifest": ManifestPolicy(root_sources=frozenset({"operator"}))}, "durable keys from: operator"),
    ({"manifest": ManifestPolicy(rollback=frozenset({"none"}))}, "old ledgers: none"),
    ({"config": ConfigPolicy(insecure_development=True)}, "INSECURE"),
    ({"evidence": EvidencePolicy(accept_without_nonce=True)}, "of any age"),
    ({"evidence": EvidencePolicy(max_age_seconds=90_001)}, "90001 seconds"),
    ({"evidence": EvidencePolicy(max_collateral_age_seconds=33 * 86_400)}, "33 days"),
    ({"evidence": EvidencePolicy(max_crl_age_seconds=401 * 86_400)}, "authorities of 401 days ago"),
    ({"insecure_development_root": bytes(32)}, "INSECURE: accepts simulated hardware"),
]


@pytest.mark.parametrize(
    ("changes", "words"), WEAKENED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_accepts_more_than_the_default_is_marked(changes: dict[str, Any], words: str) -> None:
    lines = marked(replace(BUILT_IN, **changes))
    assert any(words in line for line in lines)


STRICTER: list[dict[str, Any]] = [
    {"snp": SnpPolicy(allow_smt=False, require_tsme=True, require_ciphertext_hiding=True)},
    {"snp": SnpPolicy(products=frozenset({"Turin"}), minimum_guest_svn=3, minimum_abi=(1, 0))},
    {"snp": SnpPolicy(required_mitigations={"Turin": 3}, host_data=frozenset({bytes(32)}))},
    {"tdx": TdxPolicy(minimum_evaluation_number=30, allow_smt=False, mrseams=frozenset({bytes(48)}))},
    {"tdx": TdxPolicy(statuses=frozenset())},
    {"manifest": ManifestPolicy(rollback=frozenset({"witness"}), minimum_ledger_epoch=4)},
    {"evidence": EvidencePolicy(max_age_seconds=60, max_collateral_age_seconds=3600)},
    {"evidence": EvidencePolicy(max_crl_age_seconds=32 * 86_400)},
    {"operators": (Operator("ours", chip_ids=frozenset({bytes(64)})),)},
    {"tees": frozenset({"tdx"})},
    {"tees": frozenset()},
    {"version": 4},
]


@pytest.mark.parametrize("changes", STRICTER, ids=lambda changes: ", ".join(changes))
def test_what_is_stricter_than_the_default_is_said_and_not_marked(changes: dict[str, Any]) -> None:
    policy = replace(BUILT_IN, **changes)
    assert marked(policy) == []
    assert explain_policy(policy) != explain_policy(BUILT_IN)


def test_azure_is_said_only_if_both_its_platform_and_its_trust_class_are_named() -> None:
    only_tee = replace(BUILT_IN, tees=frozenset({"azure-tdx"}))
    both = replace(only_tee, trust_classes=frozenset({"paravisor-vtpm"}))
    assert "paravisor on Intel TDX" not in explain_policy(only_tee)
    assert "Which paravisor on Intel TDX" in explain_policy(both)
    assert marked(both) == []
    azure = AzurePolicy(sets=(ReferenceSet("a", {"pcr0": bytes(32)}),), tdx=PARAVISOR)
    useful = replace(both, azure=azure)
    assert marked(useful) == ["accepts Azure guests on Intel TDX, below Microsoft's paravisor"]


def test_an_id_key_that_is_trusted_but_not_listed_lets_nothing_run() -> None:
    trusted = SnpPolicy(trust_id_key=True)
    assert explain_policy(replace(BUILT_IN, snp=trusted)) == explain_policy(BUILT_IN)
    listed = explain_policy(replace(BUILT_IN, snp=replace(trusted, id_key_digests=frozenset({bytes(48)}))))
    assert not listed.startswith("Accepts NOTHING")
    assert listed.count("refuses EVERY guest on") == 1


def test_a_token_of_microsoft_is_said_to_agree_or_to_be_needed() -> None:
    maa = replace(EVERYTHING.azure.maa, required=False)
    lenient = replace(EVERYTHING, azure=replace(EVERYTHING.azure, maa=maa))
    assert "is there and agrees" in explain_policy(EVERYTHING)
    assert "agrees, if there is one" in explain_policy(lenient)


def test_the_same_policy_is_always_said_in_the_same_words() -> None:
    assert explain_policy(parse(FULL)) == explain_policy(parse(FULL))
    assert explain_policy(parse(HEAD)) == explain_policy(BUILT_IN)
    assert AzurePolicy() == BUILT_IN.azure
