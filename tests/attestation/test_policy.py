"""Policies: strict where nothing is said, and every field read from its own key."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import pytest

from attestation.errors import PolicyInvalid
from attestation.model import Tcb
from attestation.policy.model import (
    BUILT_IN,
    SHIPPED_EVALUATION_NUMBER,
    SHIPPED_TCB_FLOORS,
    AzurePolicy,
    ConfigPolicy,
    EvidencePolicy,
    MaaPolicy,
    ManifestPolicy,
    Operator,
    Policy,
    ReferencePolicy,
    ReferenceSet,
    SnpPolicy,
    TdxPolicy,
)
from tests.fakes.policies import FULL, HEAD, parse


def test_everything_that_is_not_set_is_strict() -> None:
    policy = parse(HEAD)
    assert policy == Policy() == BUILT_IN
    assert policy.insecure_development_root is None
    assert policy.tees == {"sev-snp", "tdx"}
    assert policy.trust_classes == {"direct-boot"}
    assert policy.snp.measurements == frozenset()
    assert policy.snp.products == {"Genoa", "Turin"}
    assert (policy.snp.vmpl, policy.snp.signing_keys) == (0, {"vcek"})
    assert policy.snp.minimum_tcb == SHIPPED_TCB_FLOORS
    assert policy.tdx.statuses == {"UpToDate"}
    assert policy.tdx.minimum_evaluation_number == SHIPPED_EVALUATION_NUMBER
    assert policy.tdx.require_sept_ve_disable
    assert policy.azure.require_secure_boot
    assert policy.azure.maa.issuers == {}
    assert policy.manifest.root_sources == {"hardware"}
    assert policy.manifest.rollback is None
    assert policy.config.providers is None
    assert not policy.config.insecure_development
    assert not policy.evidence.accept_without_nonce
    assert policy.evidence.max_collateral_age_seconds == 32 * 24 * 3600
    assert policy.evidence.max_crl_age_seconds == 400 * 24 * 3600


def test_every_switch_of_the_default_is_the_strict_one_unless_no_real_machine_has_it() -> None:
    """The exceptions are what the collected reports of well-run machines of 2026 do not offer."""
    switches = {
        field.name: getattr(Policy().snp, field.name)
        for field in dataclasses.fields(SnpPolicy)
        if field.name.startswith(("allow_", "require_", "trust_"))
    }
    lenient = {name for name, value in switches.items() if value != name.startswith("require_")}
    assert lenient == {
        "allow_smt",
        "require_single_socket",
        "require_aes_256_xts",
        "require_rapl_disabled",
        "require_ciphertext_hiding",
        "require_page_swap_disabled",
        "require_tsme",
    }


def test_the_policy_remembers_the_digest_of_its_file_and_does_not_compare_by_it() -> None:
    assert parse(HEAD).sha256 == hashlib.sha256(HEAD.encode()).digest()
    assert BUILT_IN.sha256 == b""
    assert parse(HEAD) == parse(HEAD + "# a remark\n")


SNP = SnpPolicy(
    measurements=frozenset({b"\xab" * 48}),
    sets=(ReferenceSet("8 vCPU", {"measurement": b"\x0a" * 48}),),
    products=frozenset({"Milan", "Turin"}),
    vmpl=2,
    signing_keys=frozenset({"vlek"}),
    minimum_tcb=dict(SHIPPED_TCB_FLOORS) | {"Turin": Tcb(2, 3, 4, 5, 1)},
    minimum_guest_svn=65547,
    minimum_abi=(1, 31),
    required_mitigations={"Turin": 63},
    id_key_digests=frozenset({b"\x01" * 48}),
    author_key_digests=frozenset({b"\x02" * 48}),
    host_data=frozenset({b"\x03" * 32}),
    family_ids=frozenset({b"\x0f" * 16}),
    image_ids=frozenset({b"\x1f" * 16}),
    trust_id_key=True,
    allow_smt=False,
    allow_migration=True,
    allow_cxl=True,
    allow_tio=True,
    allow_provisional_firmware=True,
    require_alias_check=False,
    require_ecc=False,
    require_crl=False,
    require_single_socket=True,
    require_aes_256_xts=True,
    require_rapl_disabled=True,
    require_ciphertext_hiding=True,
    require_page_swap_disabled=True,
    require_tsme=True,
)
TDX = TdxPolicy(
    sets=(ReferenceSet("c3", {"mrtd": b"\x0b" * 48, "rtmr2": b"\x0c" * 48}),),
    unjudged_registers=frozenset({"rtmr3"}),
    mrseams=frozenset({b"\x11" * 48}),
    xfams=frozenset({b"\xe7" * 8}),
    mrconfigids=frozenset({b"\x12" * 48}),
    mrowners=frozenset({b"\x13" * 48}),
    mrownerconfigs=frozenset({b"\x14" * 48}),
    mrservicetds=frozenset({b"\x15" * 48}),
    statuses=frozenset({"UpToDate", "SWHardeningNeeded"}),
    advisories=frozenset({"INTEL-SA-00960"}),
    minimum_evaluation_number=20,
    allow_attributes=frozenset({"pks"}),
    allow_migration=True,
    allow_smt=False,
    require_sept_ve_disable=False,
)
AZURE = AzurePolicy(
    sets=(ReferenceSet("DC8", {"pcr0": b"\x0d" * 32, "pcr15": b"\x0e" * 32}),),
    unjudged_registers=frozenset({"pcr5"}),
    require_secure_boot=False,
    require_console_disabled=True,
    snp=SnpPolicy(measurements=frozenset({b"\x16" * 48})),
    tdx=TdxPolicy(sets=(ReferenceSet("paravisor", {"mrtd": b"\x17" * 48}),)),
    maa=MaaPolicy({"https://sharedeus2.eus2.attest.azure.net": frozenset({b"\x05" * 32})}, required=True),
)


def test_every_field_is_read() -> None:
    assert parse(FULL) == Policy(
        version=3,
        tees=frozenset({"tdx", "azure-snp"}),
        trust_classes=frozenset({"direct-boot", "paravisor-vtpm"}),
        snp=SNP,
        tdx=TDX,
        azure=AZURE,
        operators=(
            Operator(
                "Rack 7",
                frozenset({b"\x04" * 64}),
                frozenset({"CN=cc-us-east-2.amazonaws.com"}),
                frozenset({b"\x05" * 16}),
                frozenset({b"\x06" * 16}),
            ),
            Operator("other", ppids=frozenset({b"\x07" * 16})),
        ),
        manifest=ManifestPolicy(frozenset({"a"}), frozenset({"operator"}), frozenset({"witness"}), 9),
        config=ConfigPolicy(frozenset({b"\x06" * 48}), {"127.0.0.1:9": frozenset({b"\x05" * 32})}, True),
        evidence=EvidencePolicy(True, 60, 61, 62),
        reference=ReferencePolicy((), frozenset({b"\x08" * 32}), 4),
        insecure_development_root=b"\x05" * 32,
    )


def test_this_file_says_something_else_than_the_default_about_every_field() -> None:
    """Else a field that is read from the wrong key would go unnoticed."""
    found = parse(FULL)
    for value in (found.snp, found.tdx, found.azure, found.manifest, found.config, found.evidence):
        default = type(value)()
        same = {
            f.name for f in dataclasses.fields(value) if getattr(value, f.name) == getattr(default, f.name)
        }
        assert same == set()


def test_there_is_no_field_that_accepts_a_debug_guest() -> None:
    every = (*dataclasses.fields(SnpPolicy), *dataclasses.fields(TdxPolicy), *dataclasses.fields(AzurePolicy))
    assert not [field.name for field in every if "debug" in field.name]
    with pytest.raises(PolicyInvalid):
        parse(f"{HEAD}[snp]\ninsecure_allow_debug = true\n")


@pytest.mark.parametrize(
    ("toml", "read", "value"),
    [
        ("version = 0", lambda p: p.version, 0),
        (f"version = {2**53 - 1}", lambda p: p.version, 2**53 - 1),
        ("[snp]\nvmpl = 0", lambda p: p.snp.vmpl, 0),
        ("[snp]\nvmpl = 3", lambda p: p.snp.vmpl, 3),
        ("[snp]\nminimum_guest_svn = 0", lambda p: p.snp.minimum_guest_svn, 0),
        (f"[snp]\nminimum_guest_svn = {2**32 - 1}", lambda p: p.snp.minimum_guest_svn, 2**32 - 1),
        ('[snp]\nminimum_abi = "0.255"', lambda p: p.snp.minimum_abi, (0, 255)),
        ('[snp]\nminimum_abi = "255.0"', lambda p: p.snp.minimum_abi, (255, 0)),
        (
            "[snp.minimum_tcb.Genoa]\nbootloader = 0\ntee = 255\nsnp = 0\nmicrocode = 0",
            lambda p: p.snp.minimum_tcb["Genoa"],
            Tcb(0, 255, 0, 0),
        ),
        ("[snp.required_mitigations]\nGenoa = 0", lambda p: p.snp.required_mitigations, {}),
        (
            f"[snp.required_mitigations]\nGenoa = {2**64 - 1}",
            lambda p: p.snp.required_mitigations,
            {"Genoa": 2**64 - 1},
        ),
        (
            "[tdx]\nunjudged_registers = ['rtmr0']",
            lambda p: p.tdx.unjudged_registers,
            frozenset({"rtmr0"}),
        ),
        (
            "[azure]\nunjudged_registers = ['pcr0', 'pcr15']",
            lambda p: p.azure.unjudged_registers,
            frozenset({"pcr0", "pcr15"}),
        ),
        ("[tdx]\nminimum_evaluation_number = 0", lambda p: p.tdx.minimum_evaluation_number, 0),
        ("[manifest]\nminimum_ledger_epoch = 0", lambda p: p.manifest.minimum_ledger_epoch, 0),
        ("[evidence]\nmax_age_seconds = 1", lambda p: p.evidence.max_age_seconds, 1),
        ("[evidence]\nmax_age_seconds = 31622400", lambda p: p.evidence.max_age_seconds, 31_622_400),
        ("[evidence]\nmax_collateral_age_seconds = 1", lambda p: p.evidence.max_collateral_age_seconds, 1),
        ("[evidence]\nmax_crl_age_seconds = 1", lambda p: p.evidence.max_crl_age_seconds, 1),
        ("[evidence]\nmax_crl_age_seconds = 63158400", lambda p: p.evidence.max_crl_age_seconds, 63_158_400),
        ("[reference]\nminimum_release_number = 0", lambda p: p.reference.minimum_release_number, 0),
        (f"[operators.{'a' * 100}]\nppids = ['{'00' * 16}']", lambda p: p.operators[0].name, "a" * 100),
        (f"[operators.a]\nppids = ['{'00' * 16}']", lambda p: p.operators[0].name, "a"),
    ],
)
def test_the_ends_of_a_range_belong_to_it(toml: str, read: Callable[[Policy], object], value: object) -> None:
    assert read(parse(f"{HEAD}{toml}\n")) == value


def test_up_to_1024_sets_of_one_platform_are_read() -> None:
    sets = "".join(f'[tdx.sets.s{number}]\nmrtd = "{number:096x}"\n' for number in range(1024))
    assert len(parse(HEAD + sets).tdx.sets) == 1024
    with pytest.raises(PolicyInvalid, match="at most 1024 tables"):
        parse(f'{HEAD}{sets}[tdx.sets.more]\nmrtd = "{"00" * 48}"\n')


@pytest.mark.parametrize(
    ("table", "first"),
    [("snp", "measurement"), ("tdx", "mrtd"), ("azure", "pcr0"), ("azure.snp", "measurement")],
)
def test_a_set_that_lacks_its_first_register_is_told_which_one(table: str, first: str) -> None:
    with pytest.raises(PolicyInvalid, match=f"must state {first}$"):
        parse(f"{HEAD}[{table}.sets.a]\n")
