"""Forged opinions of Microsoft's attestation service: only a pinned, current, agreeing one counts."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from attestation.azure.maa import check_maa
from attestation.azure.verify import VtpmClaims
from attestation.check import Outcome
from tests.fakes.amd import NOW, World
from tests.fakes.intel import IntelWorld
from tests.fakes.judges import authenticate_azure
from tests.fakes.maa import ISSUER, MaaWorld, hardware_claims
from tests.fakes.mutants import Judged, cuts, examine, flips, moves, within
from tests.fakes.tpm import AzureSigned, TpmWorld, azure_snp, azure_tdx, b64url, jwk

STRANGER = MaaWorld.forge()
IDS = {"azure.maa.signature", "azure.maa.issuer", "azure.maa.time", "azure.maa.agreement"}


def claims_of(signed: AzureSigned) -> VtpmClaims:
    """The claims of evidence that is accepted."""
    _, claims, _ = authenticate_azure(signed)
    assert claims is not None
    return claims


@pytest.fixture(params=["snp", "tdx"])
def signed(request: pytest.FixtureRequest, genoa: World, intel: IntelWorld, tpm: TpmWorld) -> AzureSigned:
    """Evidence of either platform."""
    return azure_snp(genoa, tpm) if request.param == "snp" else azure_tdx(intel, tpm)


def against(
    maa: MaaWorld, signed: AzureSigned, token: bytes, *, keys: bytes | None = None, now: datetime = NOW
) -> dict[str, str]:
    """Outcome by id of the checks that object to a token about this evidence."""
    found = check_maa(token, maa.keys if keys is None else keys, claims_of(signed), maa.issuers, now=now)
    assert {check.id for check in found} == IDS
    return {check.id: check.outcome.value for check in found if check.outcome is not Outcome.PASS}


@pytest.mark.parametrize("nested", [True, False])
def test_accepts_a_token_about_the_whole_guest_or_about_its_hardware(
    maa: MaaWorld, signed: AzureSigned, nested: bool
) -> None:
    assert against(maa, signed, maa.token(signed, nested=nested)) == {}


def test_refuses_a_token_that_another_key_signed_in_the_pinned_ones_name(
    maa: MaaWorld, signed: AzureSigned
) -> None:
    token = maa.token(signed, signer=STRANGER.key)
    assert against(maa, signed, token) == {"azure.maa.signature": "fail"}


def test_refuses_a_token_whose_key_came_beside_it_and_is_not_pinned(
    maa: MaaWorld, signed: AzureSigned
) -> None:
    """The host delivers token and key set alike: a key is trusted by its pin, never by coming along."""
    token = maa.token(signed, signer=STRANGER.key)
    assert against(maa, signed, token, keys=STRANGER.keys) == {"azure.maa.issuer": "fail"}


@pytest.mark.parametrize("issuer", ["https://attacker.example", ISSUER + "/", ISSUER.upper(), "", None, 7])
def test_refuses_an_issuer_that_no_policy_names(maa: MaaWorld, signed: AzureSigned, issuer: object) -> None:
    token = maa.token(signed, claims={"iss": issuer})
    assert against(maa, signed, token) == {"azure.maa.issuer": "fail"}


def test_the_tokens_own_address_of_keys_means_nothing(maa: MaaWorld, signed: AzureSigned) -> None:
    token = maa.token(signed, header={"jku": "https://attacker.example/certs"}, signer=STRANGER.key)
    assert "azure.maa.signature" in against(maa, signed, token)
    assert "azure.maa.issuer" in against(maa, signed, token, keys=STRANGER.keys)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS384", "PS256", "rs256", None])
def test_refuses_every_other_algorithm(maa: MaaWorld, signed: AzureSigned, algorithm: object) -> None:
    token = maa.token(signed, header={"alg": algorithm})
    assert against(maa, signed, token)["azure.maa.signature"] == "fail"


def test_refuses_a_header_that_demands_to_be_understood(maa: MaaWorld, signed: AzureSigned) -> None:
    token = maa.token(signed, header={"crit": ["b64"], "b64": False})
    assert against(maa, signed, token)["azure.maa.signature"] == "fail"


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"issued": NOW + timedelta(minutes=1)}, "azure.maa.time"),
        ({"issued": NOW - timedelta(hours=9)}, "azure.maa.time"),
        ({"claims": {"exp": None}}, "azure.maa.time"),
        ({"claims": {"nbf": "2026"}}, "azure.maa.time"),
        ({"claims": {"exp": 10**14}}, "azure.maa.time"),
        ({"claims": {"nbf": -1}}, "azure.maa.time"),
        ({"claims": {"nbf": True}}, "azure.maa.time"),
        ({"without": ("exp",)}, "azure.maa.time"),
    ],
)
def test_refuses_a_token_outside_its_life_or_without_one(
    maa: MaaWorld, signed: AzureSigned, change: dict[str, Any], check: str
) -> None:
    assert against(maa, signed, maa.token(signed, **change)) == {check: "fail"}


def test_names_every_claim_of_the_hardware_that_contradicts_the_evidence(
    maa: MaaWorld, signed: AzureSigned
) -> None:
    """One claim at a time says something else; the check names it, so that a reader can ask about it."""
    for name, value in hardware_claims(signed).items():
        if name in ("x-ms-runtime", "dbgstat"):
            continue
        wrong = _another(value)
        token = maa.token(signed, hardware={name: wrong})
        found = check_maa(token, maa.keys, claims_of(signed), maa.issuers, now=NOW)
        failed = {check.id: check.found for check in found if check.outcome is Outcome.FAIL}
        assert failed.keys() == {"azure.maa.agreement"}, name
        assert name in failed["azure.maa.agreement"]


def _another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value[:-1] + ("1" if value[-1] != "1" else "2")


@pytest.mark.parametrize("kind", [1, 0, "true", "false", None, [], {}])
def test_a_claim_of_another_type_is_a_contradiction(maa: MaaWorld, signed: AzureSigned, kind: object) -> None:
    name = "tdx_td_attributes_debug" if signed.intel else "x-ms-sevsnpvm-is-debuggable"
    token = maa.token(signed, hardware={name: kind})
    assert against(maa, signed, token) == {"azure.maa.agreement": "fail"}


def test_a_token_about_another_machine_is_refused(
    maa: MaaWorld, genoa: World, intel: IntelWorld, tpm: TpmWorld
) -> None:
    """A genuine token, pinned and current, but the host took it from a neighbour with the same image."""
    other = TpmWorld.forge()
    for forge, world in ((azure_snp, genoa), (azure_tdx, intel)):
        mine, theirs = forge(world, tpm), forge(world, other)  # type: ignore[operator]
        assert against(maa, theirs, maa.token(theirs)) == {}
        assert against(maa, mine, maa.token(theirs)) == {"azure.maa.agreement": "fail"}


@pytest.mark.parametrize("nested", [True, False])
def test_a_token_that_leaves_out_what_matters_is_refused(
    maa: MaaWorld, signed: AzureSigned, nested: bool
) -> None:
    essential = (
        ("tdx_mrtd", "tdx_report_data", "tdx_td_attributes_debug")
        if signed.intel
        else ("x-ms-sevsnpvm-launchmeasurement", "x-ms-sevsnpvm-reportdata", "x-ms-sevsnpvm-is-debuggable")
    )
    for name in essential:
        token = maa.token(signed, nested=nested, without=(name,))
        assert against(maa, signed, token) == {"azure.maa.agreement": "fail"}


def test_a_runtime_claim_with_another_attestation_key_is_refused(maa: MaaWorld, signed: AzureSigned) -> None:
    runtime = json.loads(signed.evidence.runtime_data)
    runtime["keys"][0] = jwk("HCLAkPub", "sign", STRANGER.key.public_key())
    token = maa.token(signed, hardware={"x-ms-runtime": runtime})
    assert against(maa, signed, token) == {"azure.maa.agreement": "fail"}


@pytest.mark.parametrize("missing", ["token", "keys"])
def test_a_missing_token_or_key_set_is_undecided_and_never_passes(
    maa: MaaWorld, signed: AzureSigned, missing: str
) -> None:
    token = b"" if missing == "token" else maa.token(signed)
    found = against(maa, signed, token, keys=b"" if missing == "keys" else None)
    assert set(found.values()) == {"undecided"}
    assert found["azure.maa.signature"] == "undecided"


@pytest.mark.parametrize("keys", [b"[]", b"{}", b'{"keys":{}}', b'{"keys":[{"kid":"forged-key"}]}', b"\xff"])
def test_a_key_set_without_the_tokens_key_is_refused(maa: MaaWorld, signed: AzureSigned, keys: bytes) -> None:
    assert against(maa, signed, maa.token(signed), keys=keys)["azure.maa.signature"] == "fail"


def test_two_keys_of_one_id_are_refused(maa: MaaWorld, signed: AzureSigned) -> None:
    keys = json.loads(maa.keys)["keys"] + json.loads(STRANGER.keys)["keys"]
    found = against(maa, signed, maa.token(signed), keys=json.dumps({"keys": keys}).encode())
    assert found["azure.maa.signature"] == "fail"


def test_no_character_of_a_token_may_change(maa: MaaWorld, genoa: World, tpm: TpmWorld) -> None:
    signed = azure_snp(genoa, tpm)
    claims, token = claims_of(signed), maa.token(signed)

    def judge(raw: bytes) -> Judged:
        found = check_maa(raw, maa.keys, claims, maa.issuers, now=NOW)
        ids = frozenset(check.id for check in found if check.outcome is not Outcome.PASS)
        return Judged(not ids, ids)

    assert judge(token).accepted
    for mutants in (flips(token, step=3), cuts(token, step=101), moves(token, step=53)):
        assert examine(within(mutants, bytes), judge, "azure.maa.signature").problems == ()


def test_stray_bits_at_the_end_of_a_part_are_refused(maa: MaaWorld, signed: AzureSigned) -> None:
    """Base64url of 256 bytes ends in four bits that say nothing: only one spelling of them is a token."""
    head, payload, signature = maa.token(signed).split(b".")
    raw = base64.urlsafe_b64decode(signature + b"==")
    assert b64url(raw).encode() == signature
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(signature[-1])
    for other in range(last + 1, last + 16):
        stray = signature[:-1] + alphabet[other : other + 1]
        assert "azure.maa.signature" in against(maa, signed, b".".join((head, payload, stray)))
