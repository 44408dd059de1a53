"""Azure Attestation's tokens: by a pinned key, current, about our evidence, and otherwise refused."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from attestation.azure.maa import check_maa
from attestation.azure.token import MAX_KEYS, MAX_TOKEN
from attestation.azure.verify import VtpmClaims
from tests.fakes.amd import NOW, World
from tests.fakes.intel import IntelWorld
from tests.fakes.judges import authenticate_azure
from tests.fakes.maa import ISSUER, MaaWorld, hardware_claims
from tests.fakes.tpm import AzureSigned, TpmWorld, azure_snp, azure_tdx, b64url, jwk

ALL = {"azure.maa.signature", "azure.maa.issuer", "azure.maa.time", "azure.maa.agreement"}


@pytest.fixture(scope="module")
def maa() -> MaaWorld:
    return MaaWorld.forge()


@pytest.fixture(scope="module")
def tpm() -> TpmWorld:
    return TpmWorld.forge()


@pytest.fixture(scope="module")
def snp(genoa: World, tpm: TpmWorld) -> AzureSigned:
    return azure_snp(genoa, tpm)


@pytest.fixture(scope="module")
def tdx(tpm: TpmWorld) -> AzureSigned:
    return azure_tdx(IntelWorld.forge(), tpm)


def claims_of(signed: AzureSigned) -> VtpmClaims:
    _, claims, _ = authenticate_azure(signed)
    assert claims is not None
    return claims


def judged(
    maa: MaaWorld,
    signed: AzureSigned,
    token: bytes,
    *,
    keys: bytes | None = None,
    issuers: dict[str, frozenset[bytes]] | None = None,
    now: Any = NOW,
) -> dict[str, tuple[str, str]]:
    """Outcome and finding of every check that does not pass; each check is made once."""
    checks = check_maa(
        token,
        maa.keys if keys is None else keys,
        claims_of(signed),
        maa.issuers if issuers is None else issuers,
        now=now,
    )
    assert [check.id for check in checks] == [*dict.fromkeys(check.id for check in checks)]
    assert {check.id for check in checks} == ALL
    return {check.id: (check.outcome.value, check.found) for check in checks if check.outcome != "pass"}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def certificate(public: Any, signer: Any) -> str:
    """A self-signed certificate in Base64, as the issuer publishes its keys."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .sign(signer, hashes.SHA256())
    )
    return base64.b64encode(built.public_bytes(serialization.Encoding.DER)).decode()


@pytest.mark.parametrize("nested", [True, False])
def test_a_token_about_this_evidence_passes_in_both_forms(
    maa: MaaWorld, snp: AzureSigned, tdx: AzureSigned, nested: bool
) -> None:
    for signed in (snp, tdx):
        assert judged(maa, signed, maa.token(signed, nested=nested)) == {}


def test_a_newline_around_the_token_does_no_harm(maa: MaaWorld, snp: AzureSigned) -> None:
    assert judged(maa, snp, b"\n" + maa.token(snp) + b"\n") == {}


def test_the_key_may_come_as_a_certificate(maa: MaaWorld, snp: AzureSigned) -> None:
    published = {"kid": maa.key_id, "kty": "RSA", "x5c": [certificate(maa.key.public_key(), maa.key)]}
    assert judged(maa, snp, maa.token(snp), keys=key_set(published)) == {}


def test_refuses_a_token_by_another_key(maa: MaaWorld, snp: AzureSigned) -> None:
    other = MaaWorld.forge()
    forged = judged(maa, snp, maa.token(snp, signer=other.key))
    assert {name: outcome for name, (outcome, _) in forged.items()} == {"azure.maa.signature": "fail"}


def test_refuses_a_key_set_of_the_senders_own(maa: MaaWorld, snp: AzureSigned) -> None:
    """Whoever sends the evidence chooses the key set, so only pins decide."""
    other = MaaWorld.forge()
    against = judged(maa, snp, other.token(snp), keys=other.keys)
    assert set(against) == {"azure.maa.issuer"}


def test_refuses_an_issuer_that_is_not_pinned_or_is_no_text(maa: MaaWorld, snp: AzureSigned) -> None:
    for name in ("https://evil.example", 7, None, ["x"]):
        against = judged(maa, snp, maa.token(snp, claims={"iss": name}))
        assert against == {"azure.maa.issuer": ("fail", "an issuer that is not pinned")}
    assert set(judged(maa, snp, maa.token(snp), issuers={})) == {"azure.maa.issuer"}


def test_the_pins_of_one_issuer_are_not_those_of_another(maa: MaaWorld, snp: AzureSigned) -> None:
    pins = {ISSUER: frozenset({bytes(32)}), "https://other.example": frozenset({maa.pin})}
    assert set(judged(maa, snp, maa.token(snp), issuers=pins)) == {"azure.maa.issuer"}


def test_a_token_is_valid_from_nbf_until_just_before_exp(maa: MaaWorld, snp: AzureSigned) -> None:
    token = maa.token(snp, issued=NOW)
    second, life = timedelta(seconds=1), timedelta(hours=8)
    assert judged(maa, snp, token, now=NOW) == {}
    assert judged(maa, snp, token, now=NOW + life - second) == {}
    assert set(judged(maa, snp, token, now=NOW - second)) == {"azure.maa.time"}
    assert set(judged(maa, snp, token, now=NOW + life)) == {"azure.maa.time"}


@pytest.mark.parametrize("value", ["1", True, -1, 10**18, None])
def test_refuses_times_that_no_calendar_has(maa: MaaWorld, snp: AzureSigned, value: Any) -> None:
    for name in ("nbf", "exp"):
        assert set(judged(maa, snp, maa.token(snp, claims={name: value}))) == {"azure.maa.time"}
        assert set(judged(maa, snp, maa.token(snp, without=(name,)))) == {"azure.maa.time"}


def other_than(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else "00" * 5


COMPARED = [
    *("authorkeydigest", "familyId", "guestsvn", "hostdata", "idkeydigest", "imageId", "is-debuggable"),
    *("launchmeasurement", "migration-allowed", "reportdata", "reportid", "smt-allowed", "vmpl"),
    *("bootloader-svn", "microcode-svn", "snpfw-svn", "tee-svn"),
]


@pytest.mark.parametrize("name", [f"x-ms-sevsnpvm-{name}" for name in COMPARED])
def test_refuses_a_claim_about_another_snp_report_and_names_it(
    maa: MaaWorld, snp: AzureSigned, name: str
) -> None:
    changed = maa.token(snp, hardware={name: other_than(hardware_claims(snp)[name])})
    assert judged(maa, snp, changed) == {"azure.maa.agreement": ("fail", name)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((f"tdx_{name}", "00" * 5) for name in ("mrtd", "mrseam", "mrsignerseam", "mrconfigid", "mrowner")),
        *((f"tdx_{name}", "00" * 5) for name in ("mrownerconfig", "report_data", "seam_attributes", "xfam")),
        *((f"tdx_rtmr{n}", "00" * 5) for n in range(4)),
        *(("tdx_td_attributes", "00" * 5), ("tdx_tee_tcb_svn", "00" * 5), ("tdx_seamsvn", 1)),
        *((f"tdx_td_attributes_{name}", True) for name in ("debug", "key_locker", "perfmon")),
        *(("tdx_td_attributes_protection_keys", True), ("tdx_td_attributes_septve_disable", False)),
    ],
)
def test_refuses_a_claim_about_another_td_and_names_it(
    maa: MaaWorld, tdx: AzureSigned, name: str, value: Any
) -> None:
    changed = maa.token(tdx, hardware={name: value})
    assert judged(maa, tdx, changed) == {"azure.maa.agreement": ("fail", name)}


def test_the_module_version_is_read_as_microsoft_writes_it(maa: MaaWorld, tdx: AzureSigned) -> None:
    """A published token has 269 beside a patch level that begins with 0d01."""
    svn = int.from_bytes(tdx.intel.td.tee_tcb_svn[:2], "little")  # type: ignore[union-attr]
    assert judged(maa, tdx, maa.token(tdx, hardware={"tdx_seamsvn": svn})) == {}


def test_a_truth_value_is_not_a_number(maa: MaaWorld, snp: AzureSigned) -> None:
    changed = maa.token(snp, hardware={"x-ms-sevsnpvm-is-debuggable": 0})
    assert judged(maa, snp, changed) == {"azure.maa.agreement": ("fail", "x-ms-sevsnpvm-is-debuggable")}


def test_the_case_of_letters_in_a_digest_says_nothing(maa: MaaWorld, snp: AzureSigned) -> None:
    claims = hardware_claims(snp)
    upper = {name: value.upper() for name, value in claims.items() if name.endswith("measurement")}
    assert upper
    assert judged(maa, snp, maa.token(snp, hardware=upper)) == {}


@pytest.mark.parametrize(
    "name",
    [
        *("x-ms-sevsnpvm-launchmeasurement", "x-ms-sevsnpvm-reportdata", "x-ms-sevsnpvm-is-debuggable"),
        "x-ms-attestation-type",
    ],
)
def test_refuses_a_token_that_leaves_out_what_counts(maa: MaaWorld, snp: AzureSigned, name: str) -> None:
    token = maa.token(snp, without=(name,), nested=False)
    assert judged(maa, snp, token) == {"azure.maa.agreement": ("fail", name)}


def test_a_td_token_must_say_that_it_is_about_a_td(maa: MaaWorld, snp: AzureSigned, tdx: AzureSigned) -> None:
    _, found = judged(maa, tdx, maa.token(snp))["azure.maa.agreement"]
    assert {"tdx_mrtd", "tdx_report_data", "x-ms-attestation-type"} <= set(found.split(", "))
    less = maa.token(snp, without=("x-ms-sevsnpvm-hostdata", "x-ms-runtime"))
    assert judged(maa, snp, less) == {}


def test_refuses_a_machine_that_microsoft_does_not_call_compliant(maa: MaaWorld, snp: AzureSigned) -> None:
    changed = maa.token(snp, hardware={"x-ms-compliance-status": "none"})
    assert judged(maa, snp, changed) == {"azure.maa.agreement": ("fail", "x-ms-compliance-status")}


def test_refuses_a_token_that_holds_no_opinion_or_another_about_secure_boot(
    maa: MaaWorld, snp: AzureSigned
) -> None:
    silent = maa.token(snp, without=("x-ms-compliance-status",))
    assert judged(maa, snp, silent) == {"azure.maa.agreement": ("fail", "x-ms-compliance-status")}
    off = maa.token(snp, claims={"secureboot": False})
    assert judged(maa, snp, off) == {"azure.maa.agreement": ("fail", "secureboot")}


def test_refuses_a_token_about_another_virtual_machine(maa: MaaWorld, snp: AzureSigned) -> None:
    ours = snp.evidence.runtime_data.decode()
    vmid = json.loads(ours)["vm-configuration"]["vmUniqueId"]
    assert judged(maa, snp, maa.token(snp, claims={"x-ms-azurevm-vmid": vmid.lower()})) == {}
    changed = maa.token(snp, claims={"x-ms-azurevm-vmid": "88543EA6-88B0-42E3-ABB6-0CA34DF51AD9"})
    assert judged(maa, snp, changed) == {"azure.maa.agreement": ("fail", "x-ms-azurevm-vmid")}


def runtime_of(signed: AzureSigned, **changes: Any) -> dict[str, Any]:
    return {"x-ms-runtime": json.loads(signed.evidence.runtime_data) | changes}


def test_refuses_runtime_data_of_another_machine(maa: MaaWorld, snp: AzureSigned) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    cases = {
        "x-ms-runtime.keys": {"keys": [jwk("HCLAkPub", "sign", other)]},
        "x-ms-runtime.vm-configuration": {"vm-configuration": {"secure-boot": False}},
        "x-ms-runtime.user-data": {"user-data": "01"},
        "x-ms-runtime": {"keys": 7},
    }
    for name, changes in cases.items():
        token = maa.token(snp, hardware=runtime_of(snp, **changes))
        assert judged(maa, snp, token) == {"azure.maa.agreement": ("fail", name)}


def test_runtime_data_may_say_less_or_something_else_altogether(maa: MaaWorld, snp: AzureSigned) -> None:
    less = runtime_of(snp)
    del less["x-ms-runtime"]["user-data"]
    less["x-ms-runtime"]["vm-configuration"] = {"a-new-setting": 1, "secure-boot": True}
    for hardware in (less, {"x-ms-runtime": {"my-claim": "x"}}, {"x-ms-runtime": 7}):
        assert judged(maa, snp, maa.token(snp, hardware=hardware)) == {}


def test_a_machine_without_an_id_of_its_own_contradicts_none(
    maa: MaaWorld, genoa: World, tpm: TpmWorld
) -> None:
    signed = azure_snp(genoa, tpm, vm_unique_id="")
    assert judged(maa, signed, maa.token(signed, claims={"x-ms-azurevm-vmid": "any"})) == {}


def test_refuses_a_hardware_part_that_is_no_object(maa: MaaWorld, snp: AzureSigned) -> None:
    token = maa.token(snp, claims={"x-ms-isolation-tee": 7}, nested=False)
    assert judged(maa, snp, token) == {"azure.maa.agreement": ("fail", "x-ms-isolation-tee")}


@pytest.mark.parametrize(
    "header",
    [
        *({"alg": "none"}, {"alg": "HS256"}, {"alg": "RS384"}, {"alg": "PS256"}, {"alg": None}),
        *({"crit": ["b64"]}, {"kid": 7}, {"kid": None}),
    ],
)
def test_refuses_every_other_header(maa: MaaWorld, snp: AzureSigned, header: dict[str, Any]) -> None:
    assert set(judged(maa, snp, maa.token(snp, header=header))) == ALL


def test_keys_and_urls_that_the_token_carries_are_never_used(maa: MaaWorld, snp: AzureSigned) -> None:
    other = MaaWorld.forge()
    header = {
        "jku": "https://evil.example/certs",
        "jwk": jwk("forged-key", "verify", other.key.public_key()),
        "x5c": [certificate(other.key.public_key(), other.key)],
    }
    assert set(judged(maa, snp, maa.token(snp, header=header, signer=other.key))) == {"azure.maa.signature"}


def test_without_token_or_keys_nothing_is_decided(maa: MaaWorld, snp: AzureSigned) -> None:
    absent = judged(maa, snp, b"")
    assert {name: outcome for name, (outcome, _) in absent.items()} == dict.fromkeys(ALL, "undecided")
    keyless = judged(maa, snp, maa.token(snp), keys=b"")
    assert {name: outcome for name, (outcome, _) in keyless.items()} == {
        "azure.maa.signature": "undecided",
        "azure.maa.issuer": "undecided",
    }


@pytest.mark.parametrize(
    "token",
    [
        b"a",
        b"a.b",
        b"a.b.c.d",
        b"!.e30.AA",
        b"e30=.e30.AA",
        b"e30.e30.AA",
        "ä.e30.AA".encode(),
        b"x" * (MAX_TOKEN + 1),
    ],
)
def test_bytes_that_are_no_token_fail_every_check(maa: MaaWorld, snp: AzureSigned, token: bytes) -> None:
    assert {outcome for outcome, _ in judged(maa, snp, token).values()} == {"fail"}


def test_refuses_a_token_whose_claims_are_ambiguous(maa: MaaWorld, snp: AzureSigned) -> None:
    """Two members of one name: parsers differ about which of them counts."""
    head = b64url(json.dumps({"alg": "RS256", "kid": maa.key_id}).encode())
    body = b64url(b'{"iss":"a","iss":"b"}')
    signature = maa.key.sign(f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    assert set(judged(maa, snp, f"{head}.{body}.{b64url(signature)}".encode())) == ALL


def test_refuses_key_sets_without_one_fit_key_of_that_id(maa: MaaWorld, snp: AzureSigned) -> None:
    good = jwk(maa.key_id, "verify", maa.key.public_key())
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    curve = ec.generate_private_key(ec.SECP256R1())
    sets = [
        *(b"x" * (MAX_KEYS + 1), b"[]", b"{}", b'{"keys":{}}', key_set()),
        key_set(good, good),
        key_set(good | {"kid": "other"}),
        key_set(good | {"n": "AQ"}),
        key_set({"kid": maa.key_id}),
        key_set(jwk(maa.key_id, "verify", weak)),
        key_set(good | {"x5c": [certificate(curve.public_key(), curve)]}),
        key_set(good | {"x5c": ["%%"]}),
        key_set(good | {"x5c": [7]}),
        key_set(good | {"x5c": ["AAAA"]}),
    ]
    for keys in sets:
        against = judged(maa, snp, maa.token(snp), keys=keys)
        assert set(against) == {"azure.maa.signature", "azure.maa.issuer"}
    assert judged(maa, snp, maa.token(snp), keys=key_set(good | {"x5c": []})) == {}
