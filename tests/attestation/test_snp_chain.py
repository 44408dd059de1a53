"""Forged chains and revocation lists: for every rule something that only this rule refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from attestation.check import Outcome
from attestation.snp.chain import MAX_CERTIFICATES
from attestation.snp.roots import AMD_ROOTS
from enclave.tee import dev
from tests.fakes.amd import NOW, World

YEAR = timedelta(days=366)


def test_refuses_a_root_that_is_not_pinned_however_well_it_is_named(genoa: World) -> None:
    outcomes = replace(genoa.issue(), roots=AMD_ROOTS).outcomes()
    assert outcomes["snp.chain.root"] == "fail"
    assert outcomes["snp.vek.tcb"] == "undecided"  # nothing trusted says which product this is


def test_a_development_root_counts_only_when_it_is_named_and_then_as_insecure(genoa: World) -> None:
    signed = replace(genoa.issue(crls=[genoa.crl()]), roots=AMD_ROOTS)
    checks, claims = signed.authenticate(development_root=genoa.hierarchy.ark.spki_sha256)
    outcomes = {check.id: check.outcome for check in checks}
    assert outcomes.pop("snp.chain.root") is Outcome.INSECURE
    assert set(outcomes.values()) == {Outcome.PASS}
    assert claims is not None
    assert claims.insecure
    assert claims.product == "Genoa"
    _, claims = signed.authenticate(development_root=bytes(32))
    assert claims is None


def test_naming_a_development_root_does_not_make_real_evidence_insecure(genoa: World) -> None:
    for named in (bytes(32), genoa.hierarchy.ark.spki_sha256):  # the latter is pinned as well
        _, claims = genoa.issue().authenticate(development_root=named)
        assert claims is not None
        assert not claims.insecure


def test_refuses_a_pinned_key_in_a_certificate_that_it_did_not_sign(genoa: World) -> None:
    """Anyone can put the root's public key into a certificate of their own."""
    ark = genoa.hierarchy.ark
    key = genoa.asvk.key
    builder = dev.certificate_builder("ARK-Genoa", "ARK-Genoa", ark.key.public_key(), now=NOW)
    imitation = dev.Issuer(ark.key, dev.sign_pss(dev.as_authority(builder, path_length=None), key))
    assert genoa.issue(ark=imitation).outcomes() == {"snp.chain.signatures": "fail"}


def test_refuses_a_signing_key_certificate_that_the_intermediate_did_not_sign(genoa: World) -> None:
    vek = genoa.vcek(issuer=genoa.asvk)  # the name is right, the key is not
    assert genoa.issue(vek).outcomes() == {"snp.chain.signatures": "fail"}


def test_refuses_an_intermediate_that_the_root_did_not_sign(genoa: World) -> None:
    stranger = dev.Issuer(genoa.asvk.key, genoa.hierarchy.ark.certificate)
    ask = dev.forge_intermediate(stranger, "SEV-Genoa", "ARK-Genoa", now=NOW, key=genoa.hierarchy.ask.key)
    assert genoa.issue(issuer=ask).outcomes() == {"snp.chain.signatures": "fail"}


def test_of_two_intermediates_with_one_name_the_one_that_signed_is_used(genoa: World) -> None:
    other = dev.forge_intermediate(genoa.hierarchy.ark, "SEV-Genoa", "ARK-Genoa", now=NOW, key=genoa.asvk.key)
    signed = genoa.issue()
    assert replace(signed, certificates=(other.der, *signed.certificates)).outcomes() == {}


@pytest.mark.parametrize("salt", [0, 32, 64])
def test_refuses_pss_with_another_salt_length(genoa: World, salt: int) -> None:
    ask = _intermediate(genoa, padding.PSS(padding.MGF1(hashes.SHA384()), salt), hashes.SHA384())
    assert genoa.issue(issuer=ask).outcomes() == {"snp.chain.signatures": "fail"}


def test_refuses_pss_with_another_digest_or_mask_and_plain_pkcs1(genoa: World) -> None:
    weaker = padding.PSS(padding.MGF1(hashes.SHA256()), 48)
    mixed = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    cases = ((weaker, hashes.SHA256()), (weaker, hashes.SHA384()), (mixed, hashes.SHA256()))
    for scheme, digest in (*cases, (padding.PKCS1v15(), hashes.SHA384())):
        ask = _intermediate(genoa, scheme, digest)
        assert genoa.issue(issuer=ask).outcomes() == {"snp.chain.signatures": "fail"}


def _intermediate(
    world: World, scheme: padding.PSS | padding.PKCS1v15, digest: hashes.SHA256 | hashes.SHA384
) -> dev.Issuer:
    """The ASK signed in another way, honestly, by the right key."""
    key = world.hierarchy.ask.key
    builder = dev.certificate_builder("SEV-Genoa", "ARK-Genoa", key.public_key(), now=NOW)
    builder = dev.as_authority(builder, path_length=0)
    certificate = builder.sign(world.hierarchy.ark.key, digest, rsa_padding=scheme)
    return dev.Issuer(key, certificate)


@pytest.mark.parametrize(("name", "ark_name"), [("SEV-Milan", "ARK-Genoa"), ("SEV-VLEK-Genoa", "ARK-Genoa")])
def test_refuses_an_intermediate_of_another_name(genoa: World, name: str, ark_name: str) -> None:
    key = genoa.hierarchy.ask.key
    ask = dev.forge_intermediate(genoa.hierarchy.ark, name, ark_name, now=NOW, key=key)
    vek = genoa.vcek(issuer=ask, issuer_name=name)
    assert genoa.issue(vek, issuer=ask).outcomes() == {"snp.chain.names": "fail"}


def test_refuses_a_signing_key_issued_straight_by_the_root(genoa: World) -> None:
    ark = genoa.hierarchy.ark
    vek = genoa.vcek(issuer=ark, issuer_name="ARK-Genoa")
    assert genoa.issue(vek, issuer=ark).outcomes()["snp.chain.names"] == "fail"


def test_refuses_an_authority_below_the_intermediate(genoa: World) -> None:
    """A stolen or misissued leaf must not be able to issue: its certificate says no CA."""
    hierarchy = genoa.hierarchy
    builder = dev.certificate_builder("SEV-Genoa", "ARK-Genoa", hierarchy.ask.key.public_key(), now=NOW)
    leaf = dev.Issuer(hierarchy.ask.key, dev.sign_pss(builder, hierarchy.ark.key))
    assert genoa.issue(issuer=leaf).outcomes() == {"snp.chain.authorities": "fail"}


def test_refuses_a_signing_key_whose_certificate_is_an_authority(genoa: World) -> None:
    assert genoa.issue(_vek_with(genoa, ca=True)).outcomes() == {"snp.chain.authorities": "fail"}


def test_refuses_an_unknown_critical_extension(genoa: World) -> None:
    assert genoa.issue(_vek_with(genoa, ca=False)).outcomes() == {"snp.chain.authorities": "fail"}


def _vek_with(world: World, *, ca: bool) -> dev.Vek:
    """A VCEK that is an authority, or has a critical extension that nobody knows."""
    key = ec.generate_private_key(ec.SECP384R1())
    builder = dev.certificate_builder("SEV-VCEK", "SEV-Genoa", key.public_key(), now=NOW)
    for oid, value in dev.vek_extensions("Genoa", world.tcb, hwid=world.hwid).items():
        builder = builder.add_extension(_unknown(oid, value), critical=False)
    if ca:
        builder = dev.as_authority(builder, path_length=0)
    else:
        builder = builder.add_extension(_unknown("1.2.3.4", b"\x05\x00"), critical=True)
    return dev.Vek(key, dev.sign_pss(builder, world.hierarchy.ask.key).public_bytes(Encoding.DER))


def _unknown(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def _authority(
    world: World,
    name: str,
    key: rsa.RSAPrivateKey,
    *,
    ca: bool = True,
    path_length: int | None = None,
    critical: bool = True,
    cert_sign: bool = True,
    crl_sign: bool = True,
    now: datetime = NOW,
) -> dev.Issuer:
    """An ARK or ASK, honestly signed by the ARK, with constraints of one's choice."""
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    unused = dict.fromkeys((*names, "key_agreement", "encipher_only", "decipher_only"), False)
    constraints = x509.BasicConstraints(ca=ca, path_length=path_length)
    usage = x509.KeyUsage(key_cert_sign=cert_sign, crl_sign=crl_sign, **unused)
    builder = dev.certificate_builder(name, "ARK-Genoa", key.public_key(), now=now)
    builder = builder.add_extension(constraints, critical=critical).add_extension(usage, critical=True)
    return dev.Issuer(key, dev.sign_pss(builder, world.hierarchy.ark.key))


_WRONG_AUTHORITIES = [{"ca": False}, {"critical": False}, {"cert_sign": False}]


@pytest.mark.parametrize("wrong", [*_WRONG_AUTHORITIES, {"path_length": 0}], ids=str)
def test_refuses_a_root_that_may_not_issue_intermediates(genoa: World, wrong: dict[str, Any]) -> None:
    ark = _authority(genoa, "ARK-Genoa", genoa.hierarchy.ark.key, **wrong)
    assert genoa.issue(ark=ark).outcomes() == {"snp.chain.authorities": "fail"}


@pytest.mark.parametrize("wrong", _WRONG_AUTHORITIES, ids=str)
def test_refuses_an_intermediate_that_may_not_issue_signing_keys(genoa: World, wrong: dict[str, Any]) -> None:
    ask = _authority(genoa, "SEV-Genoa", genoa.hierarchy.ask.key, **wrong)
    assert genoa.issue(issuer=ask).outcomes() == {"snp.chain.authorities": "fail"}


def test_refuses_a_list_of_a_root_that_may_not_sign_lists(genoa: World) -> None:
    ark = _authority(genoa, "ARK-Genoa", genoa.hierarchy.ark.key, crl_sign=False)
    assert genoa.issue(ark=ark).outcomes() == {}
    assert genoa.issue(ark=ark, crls=[genoa.crl()]).outcomes() == {"snp.crl": "fail"}


def test_refuses_an_expired_root_or_intermediate_under_a_valid_signing_key(genoa: World) -> None:
    then = NOW - YEAR - timedelta(days=1)
    ark = _authority(genoa, "ARK-Genoa", genoa.hierarchy.ark.key, now=then)
    ask = _authority(genoa, "SEV-Genoa", genoa.hierarchy.ask.key, now=then)
    assert genoa.issue(ark=ark).outcomes() == {"snp.chain.validity": "fail"}
    assert genoa.issue(issuer=ask).outcomes() == {"snp.chain.validity": "fail"}


def test_refuses_an_intermediate_with_a_shorter_key(genoa: World) -> None:
    ask = _authority(genoa, "SEV-Genoa", rsa.generate_private_key(65537, 2048))
    assert genoa.issue(genoa.vcek(issuer=ask), issuer=ask).outcomes() == {"snp.chain.signatures": "fail"}


@pytest.mark.parametrize("salt", [32, 64])
def test_refuses_a_certificate_that_declares_other_parameters_than_it_was_signed_with(
    genoa: World, salt: int
) -> None:
    ask = _intermediate(genoa, padding.PSS(padding.MGF1(hashes.SHA384()), salt), hashes.SHA384())
    expected = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
    body = ask.certificate.tbs_certificate_bytes
    signature = genoa.hierarchy.ark.key.sign(body, expected, hashes.SHA384())
    certificate = x509.load_der_x509_certificate(ask.der[: -len(signature)] + signature)
    relabelled = dev.Issuer(ask.key, certificate)
    assert genoa.issue(issuer=relabelled).outcomes() == {"snp.chain.signatures": "fail"}


def test_refuses_a_chain_outside_its_validity(genoa: World) -> None:
    signed = genoa.issue()
    assert signed.outcomes(now=NOW + YEAR) == {"snp.chain.validity": "fail"}
    assert signed.outcomes(now=NOW - timedelta(days=2)) == {"snp.chain.validity": "fail"}


def test_refuses_an_expired_signing_key_under_a_valid_chain(genoa: World) -> None:
    vek = genoa.vcek(now=NOW - YEAR - timedelta(days=1))
    assert genoa.issue(vek).outcomes() == {"snp.chain.validity": "fail"}


# --- unreadable and too many ------------------------------------------------------------------------------


@pytest.mark.parametrize("junk", [b"", b"\x30\x03\x02\x01", b"not a certificate"])
def test_refuses_a_certificate_or_list_that_cannot_be_read(genoa: World, junk: bytes) -> None:
    signed = genoa.issue()
    with_junk = replace(signed, certificates=(*signed.certificates, junk))
    assert with_junk.outcomes() == {"snp.certificates": "fail"}
    assert replace(signed, crls=(junk,)).outcomes()["snp.certificates"] == "fail"


def test_refuses_a_flood_of_certificates(genoa: World) -> None:
    signed = genoa.issue()
    flood = tuple(genoa.vcek().certificate for _ in range(MAX_CERTIFICATES))
    after = replace(signed, certificates=signed.certificates + flood).outcomes()
    assert after == {"snp.certificates": "fail"}
    before = replace(signed, certificates=flood + signed.certificates).outcomes()
    assert before["snp.chain.root"] == "undecided"  # what lies beyond the bound is not even looked at


# --- revocation -------------------------------------------------------------------------------------------


def test_a_current_list_that_revokes_nothing_of_ours_passes_and_is_told(genoa: World) -> None:
    made = NOW - timedelta(days=3)
    _, claims = genoa.issue(crls=[genoa.crl(genoa.asvk.certificate, made=made)]).authenticate()
    assert claims is not None
    assert claims.crl_this_update == made


def test_without_a_list_the_claims_say_so(genoa: World) -> None:
    _, claims = genoa.issue().authenticate()
    assert claims is not None
    assert claims.crl_this_update is None


def test_refuses_a_revoked_intermediate_even_when_the_list_is_stale(genoa: World) -> None:
    ask = genoa.hierarchy.ask.certificate
    stale = genoa.crl(ask, made=NOW - timedelta(days=9), until=NOW - timedelta(days=8))
    for crl in (genoa.crl(ask), stale):
        assert genoa.issue(crls=[crl]).outcomes() == {"snp.crl": "fail"}


def test_a_list_that_is_not_current_leaves_the_question_open(genoa: World) -> None:
    stale = genoa.crl(made=NOW - timedelta(days=9), until=NOW - timedelta(days=8))
    future = genoa.crl(made=NOW + timedelta(days=1))
    for crl in (stale, future):
        assert genoa.issue(crls=[crl]).outcomes() == {"snp.crl": "undecided"}


def test_a_current_list_beside_an_old_one_decides_and_the_old_ones_revocations_stay(genoa: World) -> None:
    made, until = NOW - timedelta(days=9), NOW - timedelta(days=8)
    old = genoa.crl(made=made, until=until)
    assert genoa.issue(crls=[old, genoa.crl()]).outcomes() == {}
    revoking = genoa.crl(genoa.hierarchy.ask.certificate, made=made, until=until)
    assert genoa.issue(crls=[genoa.crl(), revoking]).outcomes() == {"snp.crl": "fail"}


def test_refuses_a_list_in_the_roots_name_that_the_root_did_not_sign(genoa: World) -> None:
    forged = genoa.crl(signer=genoa.hierarchy.ask)
    assert genoa.issue(crls=[forged]).outcomes() == {"snp.crl": "fail"}
    assert genoa.issue(crls=[genoa.crl(salt=32)]).outcomes() == {"snp.crl": "fail"}


def test_refuses_a_list_with_a_critical_extension_that_we_do_not_understand(genoa: World) -> None:
    assert genoa.issue(crls=[genoa.crl(critical=True)]).outcomes() == {"snp.crl": "fail"}


def test_a_list_of_another_root_neither_helps_nor_harms(worlds: dict[str, World]) -> None:
    foreign = worlds["Milan"].crl(worlds["Genoa"].hierarchy.ask.certificate)
    checks, claims = worlds["Genoa"].issue(crls=[foreign]).authenticate()
    assert claims is not None
    assert claims.crl_this_update is None
    enforced = next(check for check in checks if check.id == "snp.crl")
    assert enforced.outcome.value == "noted"
    assert enforced.found.startswith("none of this chain's among 1 supplied")
