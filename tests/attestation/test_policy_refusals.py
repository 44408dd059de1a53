"""What is no policy: unknown keys, values of another kind, lines that nobody has confirmed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import PolicyInvalid
from attestation.model import Tcb
from attestation.policy.model import (
    SHIPPED_TCB_FLOORS,
)
from attestation.policy.providers import PROVIDER_HOSTS
from attestation.policy.toml import parse_policy
from tests.fakes.policies import FULL, HEAD, PIN, parse


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
        HEAD + "[sgx]\n",
        HEAD + "[snp]\nchip_ids = []\n",
        HEAD + "[tdx]\nmeasurements = []\n",
        HEAD + "[tdx.sets.a]\n",
        HEAD + f"[tdx.sets.a]\nrtmr0 = '{'01' * 48}'\n",
        HEAD + f"[tdx.sets.a]\nmrtd = '{'01' * 48}'\nrtmr4 = '{'01' * 48}'\n",
        HEAD + f"[snp.sets.'']\nmeasurement = '{'01' * 48}'\n",
        HEAD + f"[snp.sets.'{'a' * 101}']\nmeasurement = '{'01' * 48}'\n",
        HEAD + f"[snp.sets.'\u00e4']\nmeasurement = '{'01' * 48}'\n",
        HEAD + "[snp]\nsets = []\n",
        HEAD + "[snp.sets]\n" + "".join(f"a{n} = {{}}\n" for n in range(1025)),
        HEAD + "[azure]\nmeasurements = []\n",
        HEAD + "[azure.sgx]\n",
        HEAD + f"[azure.sets.a]\npcr0 = '{'01' * 32}'\npcr16 = '{'01' * 32}'\n",
        HEAD + "[azure.maa]\nrequired = true\n",
        HEAD + "[operators.a]\n",
        HEAD + "[operators.a]\nchip_ids = []\n",
        HEAD + "[operators.a]\nhosts = []\n",
        HEAD + "operators = 5\n",
        HEAD + "[reference]\nkeys = []\n",
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
        "[operators.a]\ncsp_ids = ['']",
        "[operators.a]\nppids = ['00']",
        "[snp]\nminimum_abi = 1",
        "[snp]\nminimum_abi = '1'",
        "[snp]\nminimum_abi = '1.'",
        "[snp]\nminimum_abi = '1.256'",
        "[snp]\nminimum_abi = '256.1'",
        "[snp]\nminimum_abi = '0001.1'",
        "[snp]\nminimum_abi = '-1.1'",
        "[snp]\nrequired_mitigations = { Rome = 1 }",
        "[snp]\nrequired_mitigations = { Genoa = -1 }",
        f"[snp]\nrequired_mitigations = {{ Genoa = {2**64} }}",
        "[snp]\nrequired_mitigations = 3",
        "[tdx]\nunjudged_registers = ['mrtd']",
        "[tdx]\nstatuses = ['Revoked']",
        "[tdx]\nallow_attributes = ['debug']",
        "[azure]\nunjudged_registers = ['pcr16']",
        f"[azure]\nunjudged_registers = {[f'pcr{index}' for index in range(16)]}",
        "[azure.maa]\nissuers = ['https://a.example']",
        f"[azure.maa]\nissuers = {{ 'a.example' = ['{PIN}'] }}",
        f"[azure.maa]\nissuers = {{ 'https://a.example/x' = ['{PIN}'] }}",
        "[azure.maa]\nissuers = { 'https://a.example' = [] }",
        "[reference]\nreleases = 'a'",
        "[reference]\nreleases = ['']",
        "[reference]\nreleases = ['../a']",
        "[reference]\nreleases = ['.a']",
        "[reference]\nreleases = ['a/b']",
        "[manifest]\nminimum_ledger_epoch = -1",
        "[manifest]\nrollback = 'none'",
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
        "version = -1",
        f"version = {2**53}",
        "[snp]\nvmpl = -1",
        f"[snp]\nminimum_guest_svn = {2**32}",
        "[evidence]\nmax_age_seconds = 31622401",
        "[evidence]\nmax_age_seconds = 0",
        "[evidence]\nmax_collateral_age_seconds = 31622401",
        "[evidence]\nmax_crl_age_seconds = 63158401",
        "[evidence]\nmax_crl_age_seconds = 0",
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
