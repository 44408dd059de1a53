"""Drafts: nothing is believed before somebody has confirmed it, and everything is there once they have."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestation.appraise import appraise_hardware
from attestation.check import DECIDES_NOTHING_BAD
from attestation.errors import PolicyInvalid
from attestation.formats.manifest import parse_manifest
from attestation.model import Collateral, Tcb, Verdict
from attestation.policy.draft import MARK, draft_policy
from attestation.policy.model import Policy
from attestation.policy.settings import read_settings
from attestation.policy.toml import parse_policy
from attestation.snp.abi import guest_policy
from attestation.verify import verify
from tests.fakes.amd import DEBUG_POLICY, NOW, World
from tests.fakes.claims import AnyClaims, real_claims, snp_claims, tdx_claims, vtpm_claims
from tests.fakes.evidence import DEVELOPMENT_TABLE, NONCE, Scene, config, provider
from tests.fakes.intel import IntelWorld
from tests.fakes.tpm import TpmWorld, azure_snp, azure_tdx

ONES = b"\x01" * 48

REAL = [
    "snp-milan-v2-vcek-aci",
    "snp-milan-v2-vlek-aws-use2-vmpl1",
    "snp-milan-v3-vlek-aws-use2-vmpl1",
    "snp-milan-v3-vcek-dstack",
    "snp-genoa-v3-vcek-aci",
    "snp-genoa-v5-vcek-oak",
    "snp-turin-v5-vcek-aci",
    "snp-turin-v5-vcek-openanolis",
    "az-snp-milan-v0",
    "az-snp-milan-v2report",
    "az-snp-genoa",
    "az-tdx-v0",
    "tdx-v4-gcp-cos113-ccel",
    "tdx-v4-module3-outofdate",
    "tdx-v4-outofdate-gcp",
    "tdx-v5-google-2026",
]


def confirmed(draft: str) -> Policy:
    """The policy, once somebody has compared every line and taken its mark away."""
    return parse_policy(re.sub(f"  {MARK}.*", "", draft).encode())


def objections(claims: AnyClaims, policy: Policy, now: Any = NOW) -> list[str]:
    """Ids of the checks that would not let this evidence pass."""
    checks = appraise_hardware(claims, policy, now=now)
    return [check.id for check in checks if check.outcome not in DECIDES_NOTHING_BAD]


def values(draft: str) -> list[str]:
    """The lines that state a value, without the format's."""
    lines = [line for line in draft.splitlines() if line and line[0] not in "#["]
    assert lines[0] == 'format = "casemate/policy/1"'
    return lines[1:]


@pytest.mark.parametrize("name", REAL)
def test_a_draft_is_refused_until_confirmed_and_then_accepts_the_evidence_it_came_from(
    evidence_dir: Path, name: str
) -> None:
    claims, now = real_claims(evidence_dir, name)
    assert claims is not None
    draft = draft_policy(claims, source="the collection")
    assert all(MARK in line for line in values(draft))
    with pytest.raises(PolicyInvalid, match="unconfirmed"):
        parse_policy(draft.encode())
    assert objections(claims, confirmed(draft), now) == []


@pytest.mark.parametrize("name", REAL[4:8])
def test_one_line_left_to_confirm_refuses_the_whole_draft(evidence_dir: Path, name: str) -> None:
    claims, _ = real_claims(evidence_dir, name)
    assert claims is not None
    draft = draft_policy(claims)
    for kept in values(draft):
        others = draft.replace(f"  {MARK}", "  # compared").replace(kept.replace(MARK, "# compared"), kept)
        with pytest.raises(PolicyInvalid, match="unconfirmed"):
            parse_policy(others.encode())


def test_a_draft_of_a_strict_machine_says_nothing_weaker_than_the_default(genoa: World) -> None:
    draft = draft_policy(snp_claims(genoa.issue(crls=(genoa.crl(),))))
    assert [line.split(" = ")[0] for line in values(draft)] == [
        "tees",
        "measurements",
        "products",
        "chip_ids",
    ]
    assert "weaker" not in draft


def test_a_draft_of_a_careless_amd_machine_names_every_weakness(genoa: World) -> None:
    claims = snp_claims(
        genoa.issue(vmpl=1, id_key_digest=ONES, author_key_digest=ONES, host_data=b"\x01" * 32)
    )
    report = replace(
        claims.report,
        policy=guest_policy(1 << 17 | 1 << 18 | 1 << 21),
        platform_info=replace(claims.report.platform_info, alias_check_complete=False, ecc_en=False),
    )
    low = replace(claims.committed_tcb, snp=3)
    careless = replace(claims, report=report, committed_tcb=low)
    draft = draft_policy(careless)
    weak = [line.split(" = ")[0] for line in values(draft) if line.endswith("weaker than the default")]
    assert weak == [
        "allow_migration",
        "allow_cxl",
        "allow_provisional_firmware",
        "require_alias_check",
        "require_ecc",
        "require_crl",
        *("bootloader", "tee", "snp", "microcode"),
    ]
    assert objections(careless, confirmed(draft)) == []
    assert confirmed(draft).snp.minimum_tcb["Genoa"] == Tcb(bootloader=10, tee=0, snp=3, microcode=84)


def test_a_floor_of_turin_names_its_fmc_too(worlds: dict[str, World]) -> None:
    claims = snp_claims(worlds["Turin"].issue())
    old = replace(claims, launch_tcb=replace(claims.launch_tcb, microcode=80))
    assert confirmed(draft_policy(old)).snp.minimum_tcb["Turin"] == Tcb(3, 2, 5, 80, fmc=1)


def test_a_draft_says_where_its_evidence_was_found(genoa: World) -> None:
    claims = snp_claims(genoa.issue())
    assert "# Drafted from https://gateway.example\n" in draft_policy(
        claims, source="https://gateway.example"
    )
    assert "Drafted from" not in draft_policy(claims)


def test_a_draft_of_a_strict_intel_machine_says_nothing_weaker_than_the_default(intel: IntelWorld) -> None:
    draft = draft_policy(tdx_claims(intel.issue(tcb_evaluation_number=18)))
    keys = [line.split(" = ")[0] for line in values(draft)]
    assert keys == ["tees", "mrtd", "rtmr0", "rtmr1", "rtmr2", "ppids"]
    assert "NO POLICY" not in draft


@pytest.mark.parametrize(("rollback", "warned"), [(None, True), ("none", True), ("counter", False)])
def test_a_draft_warns_where_nothing_keeps_old_ledgers_out(
    genoa: World, rollback: str | None, warned: bool
) -> None:
    draft = drafted(Scene(genoa, manifest={"rollback": rollback}))
    assert ("the host may bring back an old ledger" in draft) is warned


def test_a_draft_says_that_milan_rests_on_its_operator(worlds: dict[str, World]) -> None:
    drafts = {name: draft_policy(snp_claims(world.issue())) for name, world in worlds.items()}
    assert {name for name, draft in drafts.items() if "root secret was extracted" in draft} == {"Milan"}


def test_a_draft_of_a_careless_intel_machine_names_every_weakness(intel: IntelWorld) -> None:
    careless = tdx_claims(
        intel.issue(
            version=5,
            td_attributes=1 << 29 | 1 << 30 | 1 << 63,
            mrconfigid=ONES,
            mrowner=ONES,
            mrownerconfig=ONES,
            mrservicetd=ONES,
            platform_status="OutOfDate",
            platform_advisories=("INTEL-SA-1",),
            tcb_evaluation_number=4,
        )
    )
    draft = draft_policy(careless)
    weak = [line.split(" = ")[0] for line in values(draft) if line.endswith("weaker than the default")]
    assert weak == [
        "mrservicetds",
        "statuses",
        "advisories",
        "minimum_evaluation_number",
        "allow_attributes",
        "allow_migration",
        "require_sept_ve_disable",
    ]
    assert objections(careless, confirmed(draft)) == []
    assert confirmed(draft).tdx.statuses == {"OutOfDate", "UpToDate"}
    assert objections(replace(careless, status="UpToDate", advisory_ids=()), confirmed(draft)) == []


@pytest.mark.parametrize("secure_boot", [True, False])
def test_a_draft_of_an_azure_guest_names_the_paravisor_and_the_guest(
    genoa: World, intel: IntelWorld, tpm: TpmWorld, secure_boot: bool
) -> None:
    for claims in (
        vtpm_claims(azure_snp(genoa, tpm, secure_boot=secure_boot)),
        vtpm_claims(azure_tdx(intel, tpm, secure_boot=secure_boot)),
    ):
        draft = draft_policy(claims)
        assert "Microsoft's paravisor is trusted as well" in draft
        assert ("require_secure_boot = false" in draft) is not secure_boot
        assert objections(claims, confirmed(draft)) == []


def test_without_pcr_values_a_draft_accepts_no_azure_guest(genoa: World, tpm: TpmWorld) -> None:
    claims = replace(vtpm_claims(azure_snp(genoa, tpm)), pcrs=None)
    assert objections(claims, confirmed(draft_policy(claims))) == ["azure.measurement"]


@pytest.mark.parametrize("attributes", [1 << 28 | 1, 1 << 28 | 2])
def test_a_draft_says_first_that_no_policy_accepts_a_guest_under_debug(
    genoa: World, intel: IntelWorld, attributes: int
) -> None:
    for claims in (
        snp_claims(genoa.issue(policy=DEBUG_POLICY)),
        tdx_claims(intel.issue(td_attributes=attributes)),
    ):
        draft = draft_policy(claims)
        assert "NO POLICY ACCEPTS THIS GUEST" in draft
        assert objections(claims, confirmed(draft)) in (["snp.debug"], ["tdx.debug"])


def test_a_draft_says_first_that_no_policy_accepts_a_td_whose_quote_hides_who_may_move_it(
    intel: IntelWorld,
) -> None:
    hidden = tdx_claims(intel.issue(td_attributes=1 << 28 | 1 << 29))
    draft = draft_policy(hidden)
    assert "# NO POLICY ACCEPTS THIS GUEST: it can be moved" in draft
    assert objections(hidden, confirmed(draft)) == ["tdx.service_td"]
    stated = tdx_claims(intel.issue(version=5, td_attributes=1 << 28 | 1 << 29))
    assert "NO POLICY" not in draft_policy(stated)
    assert objections(stated, confirmed(draft_policy(stated))) == []


@pytest.mark.parametrize(("days", "named"), [(399, False), (401, True), (730, True)])
def test_a_draft_names_the_age_of_an_old_revocation_list(
    genoa: World, intel: IntelWorld, tpm: TpmWorld, days: int, named: bool
) -> None:
    made = NOW - timedelta(days=days, seconds=-1)
    crls = (genoa.crl(made=made),)
    for claims in (
        snp_claims(genoa.issue(crls=crls)),
        tdx_claims(intel.issue(root_crl_issued=made)),
        vtpm_claims(azure_snp(genoa, tpm, crls=crls)),
    ):
        draft = draft_policy(claims, now=NOW)
        assert (f"max_crl_age_seconds = {days * 86_400}  {MARK}: weaker" in draft) is named
        assert objections(claims, confirmed(draft)) == []
        assert "max_crl_age" not in draft_policy(claims)


def test_a_draft_states_no_age_that_no_policy_may_state(intel: IntelWorld) -> None:
    ancient = tdx_claims(intel.issue(root_crl_issued=NOW - timedelta(days=800)))
    draft = draft_policy(ancient, now=NOW)
    assert "max_crl_age" not in draft
    assert objections(ancient, confirmed(draft)) == ["tdx.crl.age"]


def drafted(scene: Scene) -> str:
    """A draft from a whole document, as `casemate policy init URL` makes it."""
    parts = scene.evidence()
    root = scene.world.hierarchy.ark.spki_sha256
    signed = scene.sign(bytes(64))
    claims = replace(snp_claims(signed), root_spki_sha256=root, insecure=True)
    return draft_policy(
        claims, manifest=parse_manifest(parts.manifest), settings=read_settings(parts.config), source="a test"
    )


@pytest.mark.parametrize(
    ("manifest", "configuration"),
    [
        ({}, config()),
        ({"rollback": None, "root_source": "insecure-development"}, config(extra=DEVELOPMENT_TABLE)),
        ({"ledger_epoch": 5}, config(provider("127.0.0.1:9443", ca_pem="private"))),
        ({}, config("[providers]\n")),
    ],
)
def test_a_confirmed_draft_of_a_development_gateway_accepts_its_documents_and_never_as_a_pass(
    genoa: World, manifest: dict[str, Any], configuration: bytes
) -> None:
    scene = Scene(genoa, config=configuration, manifest=manifest)
    draft = drafted(scene)
    assert "simulated hardware, which protects nothing" in draft
    appraisal = verify(scene.document(), Collateral(), confirmed(draft), nonce=NONCE, now=NOW)
    assert appraisal.failed == ()
    assert appraisal.verdict is Verdict.ACCEPTED_INSECURE


def test_no_value_can_end_its_line_or_hide_a_mark(genoa: World) -> None:
    claims = snp_claims(genoa.issue_vlek())
    hostile = replace(claims, csp_id='"]\nformat = "x"  # \\ \u00e4 \U0001f600 \x7f')
    draft = draft_policy(hostile, source="https://a.example\nvmpl = 3")
    assert all(MARK in line for line in values(draft))
    assert confirmed(draft).operators[0].csp_ids == {hostile.csp_id}
    assert confirmed(draft).snp.vmpl == 0
