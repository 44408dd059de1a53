"""What checks show: an auditor reads expected and found, so both have to be right whatever the outcome is."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from attestation.appraise import appraise_config, appraise_hardware, appraise_manifest
from attestation.policy.toml import parse_policy
from attestation.snp.verify import SnpClaims
from enclave.tee.dev import MEASUREMENT
from tests.fakes.amd import CSP, NOW, World
from tests.fakes.claims import AnyClaims, snp_claims, tdx_claims, vtpm_claims
from tests.fakes.evidence import DEVELOPMENT_TABLE, PINS, config, manifest, provider
from tests.fakes.intel import IntelWorld
from tests.fakes.tpm import PCRS, TpmWorld, azure_snp

TRUST = f'trust_id_key = true\nfamily_ids = ["{"00" * 16}"]\nimage_ids = ["{"00" * 16}"]\n'
ONES = "01" * 48
LEVELS = "fmc 1, bootloader 3, tee 2, snp 5, microcode 97"
HIGH = "fmc = 1\nbootloader = 4\ntee = 2\nsnp = 5\nmicrocode = 97\n"

Words = tuple[str, str, str, str]  # check id, tables of the policy, expected, found

SNP: list[Words] = [
    ("platform.tee", "", "sev-snp, tdx", "sev-snp"),
    ("platform.tee", "tees = []", "none named", "sev-snp"),
    ("platform.operator", "", "any", f"chip {bytes(range(1, 9)).hex()}{'00' * 56}"),
    ("snp.milan", "", "another product, or an operator that the policy names: none named", "Turin"),
    ("snp.measurement", "", "none named", MEASUREMENT.hex()),
    (
        "snp.measurement",
        f'[snp]\nmeasurements = ["{MEASUREMENT.hex()}", "{ONES}"]',
        f"listed {ONES}, listed {MEASUREMENT.hex()}",
        f"listed {MEASUREMENT.hex()}",
    ),
    (
        "snp.measurement",
        f'[snp]\n{TRUST}[snp.sets.big]\nmeasurement = "{ONES}"',
        f"any that a listed ID key signed, big {ONES}",
        MEASUREMENT.hex(),
    ),
    ("snp.migration", "", "off, no migration agent", "off, no migration agent"),
    ("snp.migration", "[snp]\nallow_migration = true", "any", "off, no migration agent"),
    ("snp.smt", "", "any", "off"),
    ("snp.smt", "[snp]\nallow_smt = false", "off", "off"),
    ("snp.ecc", "", "on", "on"),
    ("snp.ecc", "[snp]\nrequire_ecc = false", "any", "on"),
    ("snp.abi", '[snp]\nminimum_abi = "1.55"', "at least 1.55", "0.0"),
    ("snp.host_data", "", "zeros", "zeros"),
    ("snp.host_data", f'[snp]\nhost_data = ["{"01" * 32}"]', "01" * 32, "zeros"),
    ("snp.guest_svn", "[snp]\nminimum_guest_svn = 3", "at least 3", "0"),
    ("snp.tcb.launch", f"[snp.minimum_tcb.Turin]\n{HIGH}", LEVELS.replace("3", "4"), LEVELS),
    (
        "snp.provisional",
        "",
        "current firmware is committed",
        f"current 1.55.40 ({LEVELS}), committed 1.55.40 ({LEVELS})",
    ),
    (
        "snp.provisional",
        "[snp]\nallow_provisional_firmware = true",
        "any",
        f"current 1.55.40 ({LEVELS}), committed 1.55.40 ({LEVELS})",
    ),
    ("snp.mitigations", "", "any", "launch 0x1, current 0x1"),
    (
        "snp.mitigations",
        "[snp]\nrequired_mitigations = { Turin = 255 }",
        "0xff in both vectors",
        "launch 0x1, current 0x1",
    ),
    ("snp.product.allowed", "", "Genoa, Turin", "Turin"),
    ("snp.signing_key", "", "vcek", "vcek"),
    ("snp.alias_check", "", "complete", "complete"),
    ("snp.alias_check", "[snp]\nrequire_alias_check = false", "any", "complete"),
    ("snp.crl.present", "", "enforced", "made 2026-11-20T12:00:00+00:00"),
    ("snp.crl.present", "[snp]\nrequire_crl = false", "any", "made 2026-11-20T12:00:00+00:00"),
    ("snp.crl.age", "", "issued at most 34560000 s ago", "86400 s ago, 2026-11-20T12:00:00+00:00"),
]

TDX: list[Words] = [
    ("platform.operator", "", "any", f"PPID {'99' * 16}, platform instance {'1f' * 16}"),
    (
        "platform.operator",
        f'[operators.a]\nppids = ["{"99" * 16}"]',
        "a",
        f"a: PPID {'99' * 16}, platform instance {'1f' * 16}",
    ),
    ("tdx.mrseam", "", "any", "5e" * 48),
    ("tdx.attributes", "", "none", "none"),
    ("tdx.attributes", '[tdx]\nallow_attributes = ["pks", "kl"]', "at most kl, pks", "none"),
    ("tdx.config_id", f'[tdx]\nmrconfigids = ["{ONES}"]', ONES, "zeros"),
    ("tdx.service_td", "", "none", "not stated: cannot be migrated"),
    ("tdx.service_td", f'[tdx]\nmrservicetds = ["{ONES}"]', ONES, "not stated: cannot be migrated"),
    ("tdx.tcb.status", "", "UpToDate", "UpToDate (platform UpToDate, module UpToDate, QE UpToDate)"),
    ("tdx.tcb.advisories", "", "none", "none"),
    ("tdx.tcb.advisories", '[tdx]\nadvisories = ["INTEL-SA-1"]', "none but INTEL-SA-1", "none"),
    ("tdx.tcb.evaluation", "", "at least 18", "20"),
    ("tdx.smt", "", "any", "on"),
    ("tdx.smt", "[tdx]\nallow_smt = false", "off", "on"),
    ("tdx.collateral.age", "", "issued at most 2764800 s ago", "86400 s ago, 2026-11-20T12:00:00+00:00"),
    ("tdx.crl.age", "", "issued at most 34560000 s ago", "86400 s ago, 2026-11-20T12:00:00+00:00"),
]


def words(claims: AnyClaims, check_id: str, toml: str) -> tuple[str, str]:
    """Expected and found of one check."""
    policy = parse_policy(f'format = "casemate/policy/1"\n{toml}\n'.encode())
    checks = appraise_hardware(claims, policy, now=NOW)
    return next((check.expected, check.found) for check in checks if check.id == check_id)


@pytest.fixture(scope="module")
def turin(worlds: dict[str, World]) -> SnpClaims:
    """A Turin machine."""
    return snp_claims(worlds["Turin"].issue(measurement=MEASUREMENT, crls=(worlds["Turin"].crl(),)))


@pytest.mark.parametrize(("check_id", "toml", "expected", "found"), SNP)
def test_amd_checks_show(turin: SnpClaims, check_id: str, toml: str, expected: str, found: str) -> None:
    assert words(turin, check_id, toml) == (expected, found)


@pytest.mark.parametrize(("check_id", "toml", "expected", "found"), TDX)
def test_intel_checks_show(intel: IntelWorld, check_id: str, toml: str, expected: str, found: str) -> None:
    assert words(tdx_claims(intel.issue()), check_id, toml) == (expected, found)


@pytest.mark.parametrize(
    ("changes", "check_id", "found"),
    [
        ({"td_attributes": 1 << 28 | 1 << 30 | 1 << 40}, "tdx.attributes", "pks, reserved 0x10000000000"),
        ({"version": 5}, "tdx.service_td", "none"),
        ({"version": 5, "mrservicetd": b"\x01" * 48}, "tdx.service_td", ONES),
        ({"td_attributes": 1 << 28 | 1 << 29}, "tdx.service_td", "not stated, and the TD is migratable"),
        (
            {"platform_advisories": ("INTEL-SA-2", "INTEL-SA-1")},
            "tdx.tcb.advisories",
            "INTEL-SA-1, INTEL-SA-2",
        ),
        ({"configuration": None}, "tdx.smt", "unknown"),
        ({"configuration": (True, True, False)}, "tdx.smt", "off"),
        ({"platform_instance_id": None}, "platform.operator", f"PPID {'99' * 16}, platform instance none"),
    ],
)
def test_unusual_intel_machines_show(
    intel: IntelWorld, changes: dict[str, Any], check_id: str, found: str
) -> None:
    assert words(tdx_claims(intel.issue(**changes)), check_id, "")[1] == found


def test_a_module_without_an_identity_of_its_own_is_part_of_the_platform(intel: IntelWorld) -> None:
    old = replace(tdx_claims(intel.issue()), module_status=None)
    assert "module part of the platform" in words(old, "tdx.tcb.status", "")[1]


def test_unusual_amd_machines_show(genoa: World, turin: SnpClaims) -> None:
    report = replace(turin.report, launch_mit_vector=None, current_mit_vector=None)
    old = replace(turin, report=report, crl_this_update=None)
    assert words(old, "snp.mitigations", "")[1] == "no vectors"
    assert words(old, "snp.crl.present", "")[1] == "none supplied"
    assert words(old, "snp.crl.age", "") == ("issued at most 34560000 s ago", "none enforced")
    moving = replace(turin, report=replace(turin.report, report_id_ma=bytes(32)))
    assert words(moving, "snp.migration", "")[1] == "possible"
    platform = replace(turin.report.platform_info, alias_check_complete=False)
    unchecked = replace(turin, report=replace(turin.report, platform_info=platform))
    assert words(unchecked, "snp.alias_check", "")[1] == "not done"
    by_key = f'[snp]\n{TRUST}id_key_digests = ["{ONES}"]'
    signed = replace(turin, report=replace(turin.report, id_key_digest=b"\x01" * 48))
    assert words(signed, "snp.measurement", by_key)[1] == f"by its ID key {MEASUREMENT.hex()}"
    vlek = snp_claims(genoa.issue_vlek())
    assert words(vlek, "platform.operator", "") == ("none named", f"provider {CSP}")
    named = f'[operators.cloud]\ncsp_ids = ["{CSP}"]'
    assert words(vlek, "platform.operator", named) == ("cloud", f"cloud: provider {CSP}")
    assert words(vlek, "snp.milan", named)[1] == "Genoa of cloud"


@pytest.mark.parametrize(
    ("check_id", "rollback", "epoch", "toml", "expected", "found"),
    [
        ("manifest.rollback", None, None, "", "any but none", "none"),
        ("manifest.rollback", "counter", None, "", "any but none", "counter"),
        ("manifest.rollback", "counter", None, 'rollback = ["witness", "none"]', "none, witness", "counter"),
        ("manifest.ledger_epoch", None, None, "", "any", "none"),
        ("manifest.ledger_epoch", None, 0, "minimum_ledger_epoch = 3", "at least 3", "0"),
    ],
)
def test_manifest_checks_show(
    check_id: str, rollback: str | None, epoch: int | None, toml: str, expected: str, found: str
) -> None:
    policy = parse_policy(f'format = "casemate/policy/1"\n[manifest]\n{toml}\n'.encode())
    stated = manifest(config(), rollback=rollback, ledger_epoch=epoch)
    checks = appraise_manifest(stated, policy.manifest, policy.evidence, purpose="attestation", now=NOW)
    assert next((c.expected, c.found) for c in checks if c.id == check_id) == (expected, found)


def test_azure_checks_show(genoa: World, tpm: TpmWorld) -> None:
    claims = vtpm_claims(azure_snp(genoa, tpm))
    assert words(claims, "platform.tee", "")[1] == "azure-snp"
    assert words(claims, "azure.secure_boot", "") == ("on", "on")
    assert words(claims, "azure.secure_boot", "[azure]\nrequire_secure_boot = false") == ("any", "on")
    assert words(claims, "azure.console", "") == ("any", "off")
    assert words(claims, "azure.maa.present", "") == ("not asked for", "none supplied")
    one = f'[azure.sets.one]\npcr0 = "{"01" * 32}"'
    expected, found = words(claims, "azure.measurement", one)
    assert expected == f"one (pcr0 {'01' * 32}, others zero)"
    assert found.startswith("one differs in pcr0, pcr1, ")
    assert f"pcr15 {PCRS[15].hex()}" in found
    assert words(replace(claims, pcrs=None), "azure.measurement", one) == (
        "PCRs 0 to 15 of one",
        "not supplied or not quoted: " + ", ".join(map(str, range(16))),
    )


OPEN = "[config]\ninsecure_development = true\n"
NAMED = f'[config]\nproviders = {{ "api.openai.com" = ["{PINS[0]}", "{PINS[1]}"] }}\n'
PIN_DIGITS = f"{'01' * 32}, {'02' * 32}"


@pytest.mark.parametrize(
    ("check_id", "raw", "toml", "expected", "found"),
    [
        ("config.digest", config(), "", "any", hashlib.sha384(config()).hexdigest()),
        ("config.readable", config(), "", "casemate/config/1", "casemate/config/1"),
        ("config.readable", b"x", "", "casemate/config/1", "TOML: cannot be parsed"),
        ("config.insecure_development", config(), "", "absent", "absent"),
        ("config.insecure_development", config(), OPEN, "absent, though the policy allows it", "absent"),
        ("config.insecure_development", config(extra=DEVELOPMENT_TABLE), "", "absent", "present"),
        ("config.provider.host", config(), NAMED, "api.openai.com", "api.openai.com"),
        ("config.provider.pins", config(), "", "api.openai.com: at least 2 pins", PIN_DIGITS),
        ("config.provider.pins", config(), NAMED, f"api.openai.com: {PIN_DIGITS}", PIN_DIGITS),
        ("config.provider.tier", config(), "", "tls-pinned", "tls-pinned"),
        ("config.provider.authority", config(), "", "WebPKI", "WebPKI"),
        ("config.provider.authority", config(provider(ca_pem="own")), "", "WebPKI", "its own"),
        ("config.provider.authority", config(), NAMED, "any, its pins are named", "WebPKI"),
    ],
)
def test_configuration_checks_show(check_id: str, raw: bytes, toml: str, expected: str, found: str) -> None:
    policy = parse_policy(f'format = "casemate/policy/1"\n{toml}'.encode())
    checks = appraise_config(raw, hashlib.sha384(raw).digest(), policy.config)
    assert next((c.expected, c.found) for c in checks if c.id == check_id) == (expected, found)


def test_keys_are_counted() -> None:
    policy = parse_policy(b'format = "casemate/policy/1"\n')
    stated = manifest(config(), hpke_x25519=(), tls_spki_sha256=(b"\x01" * 32, b"\x02" * 32))
    checks = appraise_manifest(stated, policy.manifest, policy.evidence, purpose="attestation", now=NOW)
    shown = next(check for check in checks if check.id == "manifest.keys")
    assert (shown.outcome.value, shown.found) == ("fail", "2 TLS, 0 HPKE")
