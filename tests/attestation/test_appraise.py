"""Every rule of a policy, with a case that it refuses and a case that it accepts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attestation.check import Check, Outcome
from attestation.model import Tcb
from attestation.policy.providers import PROVIDER_HOSTS
from attestation.snp.abi import encode_tcb
from tests.fakes.amd import CSP, DEBUG_POLICY, NOW, World
from tests.fakes.evidence import DEVELOPMENT_TABLE, PINS, Scene, config, outcomes, provider

SMT = 1 << 17 | 1 << 16
MIGRATE = 1 << 17 | 1 << 18
END = int(NOW.timestamp())
PROVISIONAL = "[snp]\nallow_provisional_firmware = true\n"
VLEK = 'signing_keys = ["vlek"]\n'
CHIP = bytes(range(1, 65)).hex()
NAMED = f"[config]\nproviders = {{ 'model.example:8443' = ['{PINS[0]}', '{PINS[1]}'] }}\n"


def old(product: str = "Genoa", **levels: int) -> bytes:
    """A TCB that is too low in one component."""
    fitting = {"bootloader": 10, "tee": 0, "snp": 25, "microcode": 84} | levels
    return encode_tcb(Tcb(**fitting), product)


@pytest.fixture(scope="session")
def scene(genoa: World) -> Scene:
    """A gateway in which everything is right."""
    return Scene(genoa)


def changed(scene: Scene, wrong: dict[str, Any]) -> Scene:
    """The scene with some of its fields replaced."""
    return replace(scene, **wrong)


Case = tuple[str, dict[str, Any], str]

# check id, what is wrong with the scene, policy tables
REFUSED: list[Case] = [
    ("snp.debug", {"report": {"policy": DEBUG_POLICY}}, ""),
    ("snp.measurement", {"report": {"measurement": bytes(48)}}, ""),
    ("snp.vmpl", {"report": {"vmpl": 1}}, ""),
    ("snp.vmpl", {"report": {"vmpl": 0xFFFFFFFF}}, ""),
    ("snp.vmpl", {}, "[snp]\nvmpl = 1\n"),
    ("snp.migration", {"report": {"policy": MIGRATE}}, ""),
    ("snp.migration", {"report": {"report_id_ma": bytes(32)}}, ""),
    ("snp.smt", {"report": {"policy": SMT}}, "[snp]\nallow_smt = false\n"),
    ("snp.product.allowed", {}, '[snp]\nproducts = ["Turin"]\n'),
    ("snp.tcb.committed", {"report": {"committed_tcb_raw": old(snp=22)}}, PROVISIONAL),
    ("snp.tcb.committed", {"report": {"committed_tcb_raw": old(microcode=83)}}, PROVISIONAL),
    ("snp.provisional", {"report": {"committed_tcb_raw": old(snp=24)}}, ""),
    ("snp.alias_check", {"report": {"platform_info": 0x04}}, ""),
    ("snp.id_key", {"report": {"id_key_digest": b"\x01" * 48}}, ""),
    ("snp.id_key", {}, f'[snp]\nid_key_digests = ["{"01" * 48}"]\n'),
    ("snp.author_key", {"report": {"author_key_digest": b"\x01" * 48}}, ""),
    ("snp.host_data", {"report": {"host_data": b"\x01" * 32}}, ""),
    ("snp.signing_key", {}, '[snp]\nsigning_keys = ["vlek"]\n'),
    ("platform.operator", {}, f'[operators.a]\nchip_ids = ["{"00" * 64}"]\n'),
    ("platform.operator", {"vlek": True}, f"[snp]\n{VLEK}"),
    ("platform.operator", {"vlek": True}, f'[snp]\n{VLEK}[operators.a]\ncsp_ids = ["CN=another"]\n'),
    ("manifest.phase", {"manifest": {"phase": "provisioning"}}, ""),
    ("manifest.service", {}, '[manifest]\nservices = ["another"]\n'),
    ("manifest.root_source", {"manifest": {"root_source": "operator"}}, ""),
    ("manifest.root_source", {"manifest": {"root_source": "ephemeral"}}, ""),
    ("manifest.root_source", {"manifest": {"root_source": "insecure-development"}}, ""),
    ("manifest.rollback", {"manifest": {"rollback": None}}, ""),
    ("manifest.rollback", {"manifest": {"rollback": "none"}}, ""),
    ("manifest.rollback", {}, '[manifest]\nrollback = ["none", "witness"]\n'),
    ("manifest.ledger_epoch", {}, "[manifest]\nminimum_ledger_epoch = 0\n"),
    (
        "manifest.ledger_epoch",
        {"manifest": {"ledger_epoch": 6}},
        "[manifest]\nminimum_ledger_epoch = 7\n",
    ),
    ("platform.tee", {}, 'tees = ["tdx"]\n'),
    ("platform.trust_class", {}, 'trust_classes = ["paravisor-vtpm"]\n'),
    ("manifest.keys", {"manifest": {"tls_spki_sha256": ()}}, ""),
    ("manifest.keys", {"manifest": {"hpke_x25519": ()}}, ""),
    ("manifest.not_after", {"manifest": {"not_after": END}}, ""),
    ("manifest.max_age", {"manifest": {"not_after": END + 90_000 + 301}}, ""),
    ("manifest.max_age", {}, "[evidence]\nmax_age_seconds = 60\n"),
    ("config.digest", {}, f'[config]\nsha384 = ["{"00" * 48}"]\n'),
    ("config.readable", {"config": b"not toml"}, ""),
    ("config.readable", {"config": config(extra="[unknown]\n")}, ""),
    ("config.insecure_development", {"config": config(extra=DEVELOPMENT_TABLE)}, ""),
    ("config.provider.host", {"config": config(provider("evil.example"))}, ""),
    ("config.provider.host", {"config": config(provider("api.openai.com:8443"))}, ""),
    ("config.provider.pins", {"config": config(provider(pins=PINS[:1]))}, ""),
    ("config.provider.pins", {"config": config(provider(pins=()))}, ""),
    ("config.provider.tier", {"config": config(provider(tier="tls-webpki"))}, ""),
    ("config.provider.authority", {"config": config(provider(ca_pem="private"))}, ""),
    (
        "config.provider.pins",
        {"config": config(provider("model.example:8443", pins=("sha256/" + "A" * 43 + "=",)))},
        NAMED,
    ),
    ("config.provider.pins", {"config": config(provider("model.example:8443", pins=()))}, NAMED),
]

ACCEPTED: list[Case] = [
    ("snp.debug", {}, ""),
    ("snp.measurement", {}, ""),
    ("snp.vmpl", {"report": {"vmpl": 1}}, "[snp]\nvmpl = 1\n"),
    ("snp.migration", {"report": {"policy": MIGRATE}}, "[snp]\nallow_migration = true\n"),
    ("snp.migration", {"report": {"report_id_ma": bytes(32)}}, "[snp]\nallow_migration = true\n"),
    ("snp.smt", {"report": {"policy": SMT}}, ""),
    ("snp.smt", {}, "[snp]\nallow_smt = false\n"),
    ("snp.product.allowed", {}, '[snp]\nproducts = ["Genoa"]\n'),
    ("snp.tcb.reported", {}, ""),
    (
        "snp.tcb.committed",
        {"report": {"committed_tcb_raw": old(snp=22)}},
        f"{PROVISIONAL}[snp.minimum_tcb.Genoa]\nbootloader = 10\ntee = 0\nsnp = 22\nmicrocode = 84\n",
    ),
    ("snp.provisional", {"report": {"committed_tcb_raw": old(snp=24)}}, PROVISIONAL),
    ("snp.alias_check", {"report": {"platform_info": 0x04}}, "[snp]\nrequire_alias_check = false\n"),
    (
        "snp.id_key",
        {"report": {"id_key_digest": b"\x01" * 48}},
        f'[snp]\nid_key_digests = ["{"01" * 48}"]\n',
    ),
    (
        "snp.author_key",
        {"report": {"author_key_digest": b"\x01" * 48}},
        f'[snp]\nauthor_key_digests = ["{"01" * 48}"]\n',
    ),
    ("snp.host_data", {"report": {"host_data": b"\x01" * 32}}, f'[snp]\nhost_data = ["{"01" * 32}"]\n'),
    ("snp.signing_key", {}, '[snp]\nsigning_keys = ["vcek", "vlek"]\n'),
    ("platform.operator", {}, f'[operators.a]\nchip_ids = ["{CHIP}"]\n'),
    ("platform.operator", {"vlek": True}, f'[snp]\n{VLEK}[operators.a]\ncsp_ids = ["{CSP}"]\n'),
    ("snp.crl.present", {}, ""),
    ("manifest.service", {}, '[manifest]\nservices = ["test"]\n'),
    (
        "manifest.root_source",
        {"manifest": {"root_source": "operator"}},
        '[manifest]\nroot_sources = ["operator"]\n',
    ),
    ("manifest.rollback", {"manifest": {"rollback": None}}, '[manifest]\nrollback = ["none"]\n'),
    ("manifest.rollback", {"manifest": {"rollback": "witness"}}, '[manifest]\nrollback = ["witness"]\n'),
    (
        "manifest.ledger_epoch",
        {"manifest": {"ledger_epoch": 7}},
        "[manifest]\nminimum_ledger_epoch = 7\n",
    ),
    ("platform.tee", {}, 'tees = ["sev-snp"]\n'),
    ("manifest.not_after", {"manifest": {"not_after": END + 1}}, ""),
    ("manifest.max_age", {"manifest": {"not_after": END + 90_000 + 300}}, ""),
    ("config.readable", {}, ""),
    ("config.readable", {"config": config("[providers]\n")}, ""),
    ("config.provider.pins", {"config": config(provider("model.example:8443"))}, NAMED),
    ("config.provider.pins", {"config": config(provider("model.example:8443", pins=PINS[1:]))}, NAMED),
    ("config.provider.tier", {"config": config(provider(tier="tls-pinned"))}, ""),
    (
        "config.provider.authority",
        {"config": config(provider("model.example:8443", ca_pem="private"))},
        NAMED,
    ),
]


def only(scene: Scene, case: Case) -> tuple[dict[str, str], list[Check]]:
    """What did not pass, and every check of that id."""
    check_id, wrong, toml = case
    appraisal = changed(scene, wrong).appraise(toml)
    return outcomes(appraisal), [check for check in appraisal.checks if check.id == check_id]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case[0])
def test_refuses_by_exactly_this_rule(scene: Scene, case: Case) -> None:
    failed, checks = only(scene, case)
    assert failed == {case[0]: "fail"}
    assert all(check.reference and check.expected and check.found for check in checks)


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case[0])
def test_accepts_what_the_rule_allows(scene: Scene, case: Case) -> None:
    failed, checks = only(scene, case)
    assert failed == {}
    assert checks


def test_refuses_a_debug_guest_even_if_its_measurement_matches(scene: Scene) -> None:
    appraisal = replace(scene, report={"policy": DEBUG_POLICY}).appraise()
    found = {check.id: check.outcome for check in appraisal.checks}
    assert found["snp.measurement"] is Outcome.PASS
    assert found["snp.debug"] is Outcome.FAIL


def test_refuses_a_reported_level_below_the_floor(genoa: World) -> None:
    """REPORTED_TCB is certified by the VEK, so the whole hardware has to be old."""
    low = Tcb(bootloader=10, tee=0, snp=22, microcode=84)
    signed_by = genoa.vcek(tcb=low)
    scene = Scene(genoa, report={"vek": signed_by, "reported_tcb_raw": encode_tcb(low, "Genoa")})
    assert outcomes(scene.appraise()) == {"snp.tcb.reported": "fail"}
    toml = "[snp]\n[snp.minimum_tcb.Genoa]\nbootloader = 10\ntee = 0\nsnp = 22\nmicrocode = 84\n"
    assert outcomes(scene.appraise(toml)) == {}


def test_turin_is_appraised_by_its_own_layout_and_floor(worlds: dict[str, World]) -> None:
    assert outcomes(Scene(worlds["Turin"]).appraise()) == {}


def test_milan_needs_to_be_named_and_its_operator_too(worlds: dict[str, World]) -> None:
    """Its root seed was extracted by software: any Milan report may be forged, at any patch level."""
    scene = Scene(worlds["Milan"])
    product, operator = '[snp]\nproducts = ["Milan"]\n', f'[operators.ours]\nchip_ids = ["{CHIP}"]\n'
    assert outcomes(scene.appraise()) == {"snp.product.allowed": "fail", "snp.milan": "fail"}
    assert outcomes(scene.appraise(product)) == {"snp.milan": "fail"}
    assert outcomes(scene.appraise(operator)) == {"snp.product.allowed": "fail"}
    assert outcomes(scene.appraise(product + operator)) == {}


def test_a_revocation_list_that_is_missing_leaves_it_undecided_unless_the_policy_says_otherwise(
    scene: Scene,
) -> None:
    without = replace(scene, report={"crls": ()})
    assert outcomes(without.appraise()) == {"snp.crl.present": "undecided"}
    assert outcomes(without.appraise("[snp]\nrequire_crl = false\n")) == {}
    assert outcomes(without.appraise(crls=(scene.world.crl(),))) == {}


def test_development_doors_that_a_policy_opens_are_insecure_and_not_a_pass(scene: Scene) -> None:
    open_doors = replace(
        scene,
        config=config(extra=DEVELOPMENT_TABLE),
        manifest={"root_source": "insecure-development"},
    )
    toml = '[manifest]\nroot_sources = ["insecure-development"]\n[config]\ninsecure_development = true\n'
    assert outcomes(open_doors.appraise(toml)) == {
        "manifest.root_source": "insecure",
        "config.insecure_development": "insecure",
    }


@pytest.mark.parametrize("host", sorted(PROVIDER_HOSTS))
def test_the_shipped_table_accepts_its_hosts_with_two_pins_and_webpki(scene: Scene, host: str) -> None:
    assert outcomes(replace(scene, config=config(provider(host))).appraise()) == {}


def test_a_policy_that_names_providers_replaces_the_shipped_table(scene: Scene) -> None:
    assert set(outcomes(scene.appraise(NAMED))) == {"config.provider.host", "config.provider.pins"}


def test_every_provider_of_a_configuration_is_appraised(scene: Scene) -> None:
    second = provider("evil.example").replace("upstream", "second")
    appraisal = replace(scene, config=config(provider() + second)).appraise()
    hosts = [check for check in appraisal.checks if check.id == "config.provider.host"]
    assert [check.outcome for check in hosts] == [Outcome.PASS, Outcome.FAIL]


def test_prices_and_limits_may_change_freely(scene: Scene) -> None:
    other = config(extra="[limits]\nbody_bytes = 7\n")
    assert outcomes(replace(scene, config=other).appraise()) == {}
