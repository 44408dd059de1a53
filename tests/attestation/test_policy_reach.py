"""A policy that can accept nothing says so first, and why, and says nothing that sounds otherwise."""

from __future__ import annotations

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

DIGEST = frozenset({bytes(48)})
NONE: frozenset[Any] = frozenset()
MEASURED = SnpPolicy(measurements=DIGEST)
TD = TdxPolicy(sets=(ReferenceSet("td", {"mrtd": bytes(48)}),))
PCRS = (ReferenceSet("guest", {"pcr0": bytes(32)}),)
AMD = Operator("amd", chip_ids=frozenset({bytes(64)}))
CLOUD = Operator("cloud", csp_ids=frozenset({"CN=cloud"}))
INTEL = Operator("intel", ppids=frozenset({bytes(16)}))
INSTANCE = Operator("intel", platform_instance_ids=frozenset({bytes(16)}))


def only(tee: str, **changes: Any) -> Policy:
    """A policy for one platform that accepts something there, with changes."""
    azure = AzurePolicy(sets=PCRS, snp=MEASURED, tdx=TD)
    trust = "paravisor-vtpm" if tee.startswith("azure") else "direct-boot"
    policy = replace(BUILT_IN, tees=frozenset({tee}), trust_classes=frozenset({trust}))
    fitting: dict[str, Any] = {"snp": MEASURED, "tdx": TD, "azure": azure}
    return replace(policy, **(fitting | changes))


def snp(**changes: Any) -> Policy:
    """A policy for direct boot on AMD with changes in `[snp]`."""
    return only("sev-snp", snp=replace(MEASURED, **changes))


def first_line(policy: Policy) -> str:
    """The first line of the explanation."""
    return explain_policy(policy).splitlines()[0]


@pytest.mark.parametrize("tee", ["sev-snp", "tdx", "azure-snp", "azure-tdx"])
def test_a_policy_that_accepts_something_does_not_say_otherwise(tee: str) -> None:
    text = explain_policy(only(tee))
    assert "NOTHING" not in text
    assert "EVERY" not in text
    assert "NO GATEWAY" not in text


NOTHING: list[tuple[Policy, str]] = [
    (BUILT_IN, "guests on AMD SEV-SNP: no reference value is named; "),
    (BUILT_IN, "guests on Intel TDX: no reference value is named"),
    (replace(BUILT_IN, tees=NONE), "Accepts NOTHING: no platform is listed"),
    (replace(BUILT_IN, trust_classes=NONE), "the trust class direct-boot is not listed"),
    (replace(BUILT_IN, tees=frozenset({"azure-snp"})), "the trust class paravisor-vtpm is not listed"),
    (snp(products=NONE), "no processor is listed"),
    (snp(products=frozenset({"Milan"})), "no processor is listed that this policy could accept"),
    (snp(signing_keys=NONE), "no signing key is listed"),
    (snp(signing_keys=frozenset({"vlek"})), "no signing key is listed that a machine of the named"),
    (replace(snp(), operators=(CLOUD,)), "no signing key is listed that a machine of the named"),
    (replace(snp(), operators=(INTEL,)), "no signing key is listed that a machine of the named"),
    (snp(measurements=NONE, trust_id_key=True), "no reference value is named"),
    (snp(measurements=NONE, id_key_digests=DIGEST), "no reference value is named"),
    (snp(family_ids=NONE), "no family ID is accepted"),
    (snp(image_ids=NONE), "no image ID is accepted"),
    (replace(only("tdx"), operators=(AMD,)), "no named operator has an Intel machine"),
    (only("tdx", tdx=replace(TD, statuses=NONE)), "no standing with Intel is accepted"),
    (only("tdx", tdx=replace(TD, mrseams=NONE)), "no TDX module is accepted"),
    (only("tdx", tdx=replace(TD, xfams=NONE)), "no XFAM is accepted"),
    (only("azure-snp", azure=AzurePolicy(sets=PCRS)), "of the paravisor: no reference value is named"),
    (only("azure-tdx", azure=AzurePolicy(sets=PCRS)), "of the paravisor: no reference value is named"),
    (
        only("azure-snp", azure=AzurePolicy(snp=MEASURED)),
        "Azure guests on AMD SEV-SNP: no reference value is named",
    ),
]


@pytest.mark.parametrize(("policy", "reason"), NOTHING, ids=[reason for _, reason in NOTHING])
def test_a_policy_that_accepts_nothing_says_so_first(policy: Policy, reason: str) -> None:
    line = first_line(policy)
    assert line.startswith("Accepts NOTHING: ")
    assert reason in line
    text = explain_policy(policy)
    assert "- accepts guests" not in text
    assert "! accepts Azure guests" not in text


SOMETHING: list[Policy] = [
    snp(products=frozenset({"Milan", "Genoa"})),
    replace(snp(products=frozenset({"Milan"})), operators=(AMD,)),
    replace(snp(signing_keys=frozenset({"vlek"})), operators=(CLOUD,)),
    snp(signing_keys=frozenset({"vlek", "vcek"})),
    snp(measurements=NONE, sets=(ReferenceSet("a", {"measurement": bytes(48)}),)),
    snp(measurements=NONE, trust_id_key=True, id_key_digests=DIGEST),
    replace(only("tdx"), operators=(INTEL,)),
    replace(only("tdx"), operators=(INSTANCE,)),
    replace(only("tdx"), tees=frozenset({"tdx", "azure-snp"})),
]


@pytest.mark.parametrize("policy", SOMETHING, ids=str)
def test_one_thing_that_is_accepted_is_enough(policy: Policy) -> None:
    assert "NOTHING" not in explain_policy(policy)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"manifest": ManifestPolicy(root_sources=NONE)}, "no source of durable keys is accepted"),
        ({"manifest": ManifestPolicy(rollback=NONE)}, "no protection against old ledgers is accepted"),
        ({"manifest": ManifestPolicy(services=NONE)}, "no label is accepted"),
        ({"config": ConfigPolicy(sha384=NONE)}, "no configuration is accepted"),
    ],
)
def test_a_policy_that_accepts_no_gateway_says_so_first(changes: dict[str, Any], reason: str) -> None:
    assert first_line(replace(snp(), **changes)) == f"Accepts NO GATEWAY: {reason}"


def test_one_platform_of_two_that_accepts_nothing_is_said_where_it_stands() -> None:
    text = explain_policy(replace(BUILT_IN, snp=MEASURED))
    assert not text.startswith("Accepts NOTHING")
    assert "  - accepts guests on AMD SEV-SNP" in text
    assert "  - refuses EVERY guest on Intel TDX: no reference value is named\n" in text


def test_milan_is_either_accepted_or_refused() -> None:
    listed = snp(products=frozenset({"Milan", "Genoa"}))
    alone, owned = explain_policy(listed), explain_policy(replace(listed, operators=(AMD,)))
    assert "- refuses the processors Milan, which are listed, as no operator is named for them" in alone
    assert "accepts the processors Genoa\n" in alone
    assert "warns" not in alone
    assert "! accepts the processors Genoa, Milan\n" in owned
    assert "refuses AMD Milan" not in owned
    assert "refuses the processors" not in owned


def test_a_kind_of_key_that_no_machine_can_have_is_not_said_to_be_accepted() -> None:
    both = snp(signing_keys=frozenset({"vcek", "vlek"}))
    nobody = explain_policy(both)
    assert "- accepts reports signed by a VCEK\n" in nobody
    assert "- refuses reports signed by a VLEK, which is listed, as no named operator has one" in nobody
    cloud = explain_policy(replace(both, operators=(CLOUD,)))
    assert "! accepts reports signed by a VLEK\n" in cloud
    assert "- refuses reports signed by a VCEK, which is listed, as no named operator has one" in cloud
    assert "! accepts reports signed by a VCEK or a VLEK\n" in explain_policy(
        replace(both, operators=(CLOUD, AMD))
    )


def test_evidence_without_a_question_and_for_another_question_are_told_apart() -> None:
    text = explain_policy(replace(BUILT_IN, evidence=EvidencePolicy(accept_without_nonce=True)))
    assert "! accepts evidence of any age if the verifier asked no question of its own\n" in text
    assert "- an answer to another question than the verifier asked, if it asked one\n" in text


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        (ReferencePolicy(), "- takes reference values from this file alone"),
        (
            ReferencePolicy(release_keys=frozenset({bytes(32)})),
            "- names keys of releases (1), but no release that they could sign",
        ),
        (
            ReferencePolicy(("a",), NONE, 0, (UsedRelease("a", bytes(32), 3, "1.0", 0),)),
            "- takes reference values from a: release 1.0, number 3, of 1970-01-01",
        ),
        (ReferencePolicy(("a",), NONE, 0), "! accepts releases of any number, however old"),
        (ReferencePolicy(("a",), NONE, 2), "- refuses releases with a number below 2"),
    ],
)
def test_where_reference_values_come_from_is_said(reference: ReferencePolicy, line: str) -> None:
    assert f"  {line}\n" in explain_policy(replace(BUILT_IN, reference=reference))
