"""Policies: closed, strict where nothing is said, refused while a line is unconfirmed."""

from __future__ import annotations

import base64
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import PolicyInvalid
from attestation.model import Tcb
from attestation.pins import write_pin
from attestation.policy import SHIPPED_TCB_FLOORS, Policy, SnpPolicy
from attestation.policy_toml import parse_policy
from attestation.provider_table import PROVIDER_HOSTS

HEAD = 'format = "casemate/policy/1"\n'
PIN = write_pin(b"\x05" * 32)

FULL = f"""{HEAD}insecure_development_root = "{PIN}"
[snp]
measurements = ["{"ab" * 48}"]
products = ["Milan", "Turin"]
vmpl = 2
signing_keys = ["vlek"]
id_key_digests = ["{"01" * 48}"]
author_key_digests = ["{"02" * 48}"]
host_data = ["{"03" * 32}"]
chip_ids = ["{"04" * 64}"]
csp_ids = ["CN=cc-us-east-2.amazonaws.com"]
allow_smt = false
allow_migration = true
require_alias_check = false
require_crl = true
[snp.minimum_tcb.Turin]
fmc = 1
bootloader = 2
tee = 3
snp = 4
microcode = 5
[manifest]
services = ["a"]
root_sources = ["operator"]
[config]
sha384 = ["{"06" * 48}"]
providers = {{ "127.0.0.1:9" = ["{PIN}"] }}
insecure_development = true
[evidence]
accept_without_nonce = true
max_age_seconds = 60
"""


def parse(text: str) -> Policy:
    """Parse a policy from text."""
    return parse_policy(text.encode())


def test_everything_that_is_not_set_is_strict() -> None:
    policy = parse(HEAD)
    assert policy == Policy()
    assert policy.insecure_development_root is None
    assert policy.snp.measurements == frozenset()
    assert policy.snp.products == {"Genoa", "Turin"}
    assert (policy.snp.vmpl, policy.snp.signing_keys) == (0, {"vcek"})
    assert (policy.snp.allow_smt, policy.snp.allow_migration) == (True, False)
    assert policy.snp.require_alias_check
    assert policy.snp.minimum_tcb == SHIPPED_TCB_FLOORS
    assert policy.manifest.root_sources == {"hardware"}
    assert policy.config.providers is None
    assert not policy.config.insecure_development
    assert not policy.evidence.accept_without_nonce


def test_every_field_is_read() -> None:
    policy = parse(FULL)
    assert policy.insecure_development_root == b"\x05" * 32
    assert policy.snp == SnpPolicy(
        measurements=frozenset({b"\xab" * 48}),
        products=frozenset({"Milan", "Turin"}),
        vmpl=2,
        signing_keys=frozenset({"vlek"}),
        minimum_tcb=dict(SHIPPED_TCB_FLOORS) | {"Turin": Tcb(2, 3, 4, 5, 1)},
        id_key_digests=frozenset({b"\x01" * 48}),
        author_key_digests=frozenset({b"\x02" * 48}),
        host_data=frozenset({b"\x03" * 32}),
        chip_ids=frozenset({b"\x04" * 64}),
        csp_ids=frozenset({"CN=cc-us-east-2.amazonaws.com"}),
        allow_smt=False,
        allow_migration=True,
        require_alias_check=False,
        require_crl=True,
    )
    assert policy.manifest.services == {"a"}
    assert policy.manifest.root_sources == {"operator"}
    assert policy.config.sha384 == {b"\x06" * 48}
    assert policy.config.providers == {"127.0.0.1:9": {b"\x05" * 32}}
    assert policy.config.insecure_development
    assert (policy.evidence.accept_without_nonce, policy.evidence.max_age_seconds) == (True, 60)


def test_there_is_no_field_that_accepts_a_debug_guest() -> None:
    assert not [name.name for name in dataclasses.fields(SnpPolicy) if "debug" in name.name]
    with pytest.raises(PolicyInvalid):
        parse(f"{HEAD}[snp]\ninsecure_allow_debug = true\n")


@pytest.mark.parametrize("mark", ["# unconfirmed", "# UNCONFIRMED: ask the vendor", "#unconfirmed"])
def test_one_unconfirmed_line_refuses_the_whole_policy(mark: str) -> None:
    with pytest.raises(PolicyInvalid, match="unconfirmed"):
        parse(FULL.replace("vmpl = 2", f"vmpl = 2 {mark}"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        'format = "casemate/policy/2"\n',
        "format = 1\n",
        HEAD + "debug = true\n",
        HEAD + "[tdx]\n",
        HEAD + "[snp]\nmeasurement = []\n",
        HEAD + "[manifest]\nrelease = 1\n",
        HEAD + "[config]\nprovider = {}\n",
        HEAD + "[evidence]\nnonce = 1\n",
        HEAD + "snp = 5\n",
        HEAD + "[[snp]]\nvmpl = 0\n",
        HEAD + "[snp.minimum_tcb.Naples]\n",
        HEAD + "[snp.minimum_tcb.Genoa]\nbootloader = 1\ntee = 0\nsnp = 1\n",
        HEAD + "[snp.minimum_tcb.Genoa]\nbootloader = 1\ntee = 0\nsnp = 1\nmicrocode = 1\nfmc = 1\n",
        HEAD + "[snp.minimum_tcb.Turin]\nbootloader = 1\ntee = 0\nsnp = 1\nmicrocode = 1\n",
        HEAD + "[snp.minimum_tcb.Genoa]\nbootloader = 256\ntee = 0\nsnp = 1\nmicrocode = 1\n",
        HEAD + "vmpl = 0\n",
        HEAD + "[snp]\nvmpl = 0\nvmpl = 1\n",
    ],
)
def test_refuses_unknown_keys_and_incomplete_tables(text: str) -> None:
    with pytest.raises(PolicyInvalid):
        parse(text)


@pytest.mark.parametrize(
    "line",
    [
        "[snp]\nvmpl = 4",
        "[snp]\nvmpl = true",
        '[snp]\nvmpl = "0"',
        "[snp]\nproducts = ['Naples']",
        "[snp]\nproducts = 'Genoa'",
        "[snp]\nsigning_keys = ['none']",
        f"[snp]\nmeasurements = '{'ab' * 48}'",
        f"[snp]\nmeasurements = ['{'AB' * 48}']",
        f"[snp]\nmeasurements = ['{'ab' * 47}']",
        "[snp]\nallow_smt = 1",
        "[snp]\ncsp_ids = ['']",
        "[manifest]\nroot_sources = ['any']",
        "[manifest]\nservices = [5]",
        "[config]\nproviders = ['a']",
        "[config]\nproviders = { 'a.example' = [] }",
        "[config]\nproviders = { 'a.example' = 'x' }",
        f"[config]\nproviders = {{ 'a.example:443' = ['{PIN}'] }}",
        f"[config]\nproviders = {{ 'https://a.example' = ['{PIN}'] }}",
        f"[config]\nproviders = {{ 'A.example' = ['{PIN}'] }}",
        f"[config]\nproviders = {{ 'a.example/v1' = ['{PIN}'] }}",
        "[config]\nsha384 = 5",
        "[evidence]\nmax_age_seconds = 0",
        "[evidence]\nmax_age_seconds = 1.5",
        "[evidence]\naccept_without_nonce = 'yes'",
    ],
)
def test_refuses_values_of_another_kind(line: str) -> None:
    with pytest.raises(PolicyInvalid):
        parse(f"{HEAD}{line}\n")


@pytest.mark.parametrize(
    "root", ["true", "'any'", "''", f"'{base64.b64encode(bytes(32)).decode()}'", "'sha256/AAAA'", "[]"]
)
def test_a_development_root_is_one_named_key(root: str) -> None:
    with pytest.raises(PolicyInvalid):
        parse(f"{HEAD}insecure_development_root = {root}\n")


def test_a_stated_floor_replaces_that_of_its_product_only() -> None:
    text = f"{HEAD}[snp.minimum_tcb.Genoa]\nbootloader = 1\ntee = 2\nsnp = 3\nmicrocode = 4\n"
    floors = parse(text).snp.minimum_tcb
    assert floors["Genoa"] == Tcb(1, 2, 3, 4)
    assert floors["Turin"] == SHIPPED_TCB_FLOORS["Turin"]


def test_the_shipped_provider_table_is_the_public_one() -> None:
    assert "api.openai.com" in PROVIDER_HOSTS
    assert len(PROVIDER_HOSTS) == 10


def test_an_error_names_the_key_and_says_where_to_look() -> None:
    with pytest.raises(PolicyInvalid, match=r"\[snp\] vmpl") as refused:
        parse(f"{HEAD}[snp]\nvmpl = 9\n")
    assert "policy.md" in refused.value.hint


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: (HEAD + text).encode()))
@settings(deadline=None)
def test_any_bytes_give_a_policy_or_the_typed_error(raw: bytes) -> None:
    try:
        parse_policy(raw)
    except PolicyInvalid:
        return


KEYS = [line.partition(" = ")[0] for line in FULL.splitlines() if " = " in line and line[0].islower()]


@given(
    st.sampled_from(sorted(set(KEYS))),
    st.sampled_from(
        ["0", "-1", "true", "''", "[]", "[[]]", "{}", "1.5", "1979-05-27", "['x']", "{a=1}", "nan"]
    ),
)
@settings(deadline=None, max_examples=200)
def test_any_value_of_any_key_gives_a_policy_or_the_typed_error(key: str, value: str) -> None:
    lines = [f"{key} = {value}" if line.startswith(f"{key} = ") else line for line in FULL.splitlines()]
    try:
        parse("\n".join(lines))
    except PolicyInvalid:
        return
