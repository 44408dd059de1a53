"""Certificates from strangers: damaged anywhere, they are malformed or refused, never an accident."""

from __future__ import annotations

import threading
import warnings
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.x509 import (
    MAX_DER,
    common_name,
    issuer_of,
    load_certificate,
    load_crl,
    signature_problem,
    spki_digest,
    validity_problem,
)
from tests.fakes.amd import NOW, Signed, World
from tests.fakes.intel import IntelWorld, certify

ORGANISATION_OID, COUNTRY_OID = bytes.fromhex("060355040a"), bytes.fromhex("0603550406")


@pytest.fixture(scope="module")
def signed(genoa: World) -> Signed:
    """One report with its chain and a revocation list that revokes the intermediate."""
    return genoa.issue(crls=[genoa.crl(genoa.hierarchy.ask.certificate)])


@given(st.binary(max_size=400))
def test_any_bytes_are_a_certificate_or_malformed(der: bytes) -> None:
    for load in (load_certificate, load_crl):
        with pytest.raises(MalformedEvidence):
            load(der)


@settings(deadline=None)
@given(data=st.data())
def test_a_certificate_damaged_anywhere_is_never_authentic_and_never_an_unexpected_error(
    data: st.DataObject, signed: Signed
) -> None:
    which = data.draw(st.integers(0, 2))
    der = bytearray(signed.certificates[which])
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = list(signed.certificates)
    damaged[which] = bytes(der)
    _, claims = replace(signed, certificates=tuple(damaged), crls=()).authenticate()
    assert claims is None


@settings(deadline=None)
@given(data=st.data())
def test_a_revocation_list_damaged_anywhere_never_passes_for_enforced(
    data: st.DataObject, signed: Signed
) -> None:
    der = bytearray(signed.crls[0])
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    _, claims = replace(signed, crls=(bytes(der),)).authenticate()
    assert claims is None or claims.crl_this_update is None


def test_a_certificate_of_absurd_size_is_not_even_parsed() -> None:
    with pytest.raises(MalformedEvidence, match="more than"):
        load_certificate(bytes(MAX_DER + 1))


def test_reading_a_certificate_turns_no_warning_of_another_thread_into_an_error(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = x509.load_der_x509_certificate
    raised: list[Warning] = []

    def warn() -> None:
        try:
            warnings.warn("somebody else's", UserWarning, stacklevel=1)
        except UserWarning as warning:
            raised.append(warning)

    def parse_while_another_thread_warns(der: bytes) -> x509.Certificate:
        other = threading.Thread(target=warn)
        other.start()
        other.join()
        return parse(der)

    monkeypatch.setattr(x509, "load_der_x509_certificate", parse_while_another_thread_warns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load_certificate(signed.certificates[0])
    assert raised == []


def test_what_the_parser_merely_warns_about_is_malformed(genoa: World) -> None:
    """A country of 35 letters, for example; only a serial number of 0, as in every VCEK, is let through."""
    der = genoa.hierarchy.ark.der.replace(ORGANISATION_OID, COUNTRY_OID)
    with pytest.raises(MalformedEvidence):
        load_certificate(der)


def test_an_extension_over_which_the_parser_stumbles_is_malformed(intel: IntelWorld) -> None:
    """RFC 7633 leaves the numbers of TLS features open; the library looks them up in a table of two."""
    tls_feature = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.24")
    unknown = x509.UnrecognizedExtension(tls_feature, bytes.fromhex("3003020107"))
    der = certify("a stranger", "anybody", intel.root, extension=unknown).der
    with pytest.raises(MalformedEvidence):
        load_certificate(der)


def test_a_signature_counts_only_under_the_issuers_own_name_and_key(genoa: World) -> None:
    vek = load_certificate(genoa.vcek().certificate)
    ask, ark = genoa.hierarchy.ask.certificate, genoa.hierarchy.ark.certificate
    assert signature_problem(vek, ask) is None
    assert signature_problem(ask, ark) is None
    assert signature_problem(vek, ark) == "the issuer's name is another"
    assert signature_problem(vek, vek) is not None
    assert issuer_of(vek, [ark, ask]) is ask
    assert issuer_of(vek, [ark]) is None


def test_an_elliptic_issuer_is_no_amd_authority(genoa: World) -> None:
    stranger = genoa.vcek(name="SEV-Genoa")
    vek = load_certificate(genoa.vcek().certificate)
    assert (
        signature_problem(vek, load_certificate(stranger.certificate)) == "the issuer's key is not RSA-4096"
    )


def test_a_pin_is_the_digest_of_the_key_not_of_the_certificate(genoa: World) -> None:
    assert spki_digest(genoa.hierarchy.ark.certificate) == genoa.hierarchy.ark.spki_sha256
    assert spki_digest(genoa.hierarchy.ask.certificate) != genoa.hierarchy.ark.spki_sha256


def test_validity_includes_both_of_its_ends_and_nothing_beyond(genoa: World) -> None:
    ark = genoa.hierarchy.ark.certificate
    first, last, second = ark.not_valid_before_utc, ark.not_valid_after_utc, timedelta(seconds=1)
    assert validity_problem(ark, first) is None
    assert validity_problem(ark, last) is None
    assert validity_problem(ark, first - second) is not None
    assert validity_problem(ark, last + second) is not None
    assert validity_problem(ark, NOW) is None


def test_a_name_without_exactly_one_common_name_has_none(genoa: World) -> None:
    subject = genoa.hierarchy.ark.certificate.subject
    assert common_name(subject) == "ARK-Genoa"
    assert common_name(type(subject)([*subject, *subject])) is None
    assert common_name(type(subject)([])) is None
