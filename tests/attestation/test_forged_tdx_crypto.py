"""Forged TDX evidence whose cryptography is odd: other curves, other digests, degenerate numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.intel import PCK, PLATFORM_CA, IntelSigned, IntelWorld, certify, derived_key
from tests.fakes.judges import tdx_objections

N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def _put(signed: IntelSigned, region: str, value: bytes) -> IntelSigned:
    start, end = signed.regions[region]
    assert end - start == len(value)
    return replace(signed, quote=signed.quote[:start] + value + signed.quote[end:])


@pytest.mark.parametrize("region", ["signature", "qe.signature"])
@pytest.mark.parametrize(
    ("r", "s"), [(0, 0), (0, 1), (1, 0), (1, 1), (N, 1), (1, N), (N, N), (2**256 - 1, 2**256 - 1)]
)
def test_refuses_degenerate_signatures(intel: IntelWorld, region: str, r: int, s: int) -> None:
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    check = "tdx.quote.signature" if region == "signature" else "tdx.qe.signature"
    assert tdx_objections(_put(intel.issue(), region, raw)) == {check: "fail"}


@pytest.mark.parametrize("region", ["signature", "qe.signature"])
def test_the_other_signature_with_n_minus_s_verifies_too_so_that_quotes_identify_nothing(
    intel: IntelWorld, region: str
) -> None:
    signed = intel.issue()
    start, end = signed.regions[region]
    raw = signed.quote[start:end]
    other = raw[:32] + (N - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    assert other != raw
    assert tdx_objections(_put(signed, region, other)) == {}


@pytest.mark.parametrize("point", [bytes(64), b"\xff" * 64, bytes(63) + b"\1"])
def test_refuses_an_attestation_key_that_is_no_point_of_the_curve(intel: IntelWorld, point: bytes) -> None:
    against = tdx_objections(_put(intel.issue(), "attestation_key", point))
    assert against == {"tdx.quote.signature": "fail", "tdx.qe.binding": "fail"}


def test_refuses_a_platform_key_on_another_curve(intel: IntelWorld) -> None:
    extension = intel.issue().pck.certificate.extensions[-1].value
    for curve in (ec.SECP384R1(), ec.SECP256K1()):
        key = ec.generate_private_key(curve)
        odd = certify("forged", PCK, intel.ca, key=key, extension=extension)
        against = tdx_objections(intel.issue(pck=odd, qe_signer=derived_key("any")))
        assert against["tdx.qe.signature"] == "fail"


def test_refuses_an_authority_on_another_curve(intel: IntelWorld) -> None:
    odd = certify(
        "forged", PLATFORM_CA, intel.root, path_length=0, key=ec.generate_private_key(ec.SECP384R1())
    )
    assert tdx_objections(intel.issue(issuer=odd))["tdx.pck.signatures"] == "fail"


@pytest.mark.parametrize("digest", [hashes.SHA384(), hashes.SHA512(), hashes.SHA224()])
def test_refuses_certificates_signed_over_another_digest(
    intel: IntelWorld, digest: hashes.HashAlgorithm
) -> None:
    odd = certify("forged", PLATFORM_CA, intel.root, path_length=0, digest=digest)
    assert tdx_objections(intel.issue(issuer=odd))["tdx.pck.signatures"] == "fail"
    signing = certify("forged", "Intel SGX TCB Signing", intel.root, digest=digest)
    chain = (signing.der, intel.root.der)
    assert tdx_objections(intel.issue(tcb_info_chain=chain))["tdx.tcb_info.signature"] == "fail"


def test_refuses_a_critical_extension_that_nobody_understands(intel: IntelWorld) -> None:
    odd = certify("forged", PLATFORM_CA, intel.root, path_length=0, extension=STRANGE, critical=True)
    assert tdx_objections(intel.issue(issuer=odd))["tdx.pck.authorities"] == "fail"
    signing = certify("forged", "Intel SGX TCB Signing", intel.root, extension=STRANGE, critical=True)
    chain = (signing.der, intel.root.der)
    assert tdx_objections(intel.issue(qe_identity_chain=chain))["tdx.qe_identity.signature"] == "fail"


def test_passes_over_an_extension_that_is_not_critical(intel: IntelWorld) -> None:
    plain = certify("forged", PLATFORM_CA, intel.root, path_length=0, extension=STRANGE)
    assert tdx_objections(intel.issue(issuer=plain)) == {}


def test_a_certificate_in_a_chain_of_its_own_making_is_no_shortcut(intel: IntelWorld) -> None:
    """The root vouches for one intermediate: another one between CA and PCK exceeds its path length."""
    between = certify("between", PLATFORM_CA, intel.ca, path_length=0)
    signed = intel.issue(issuer=between)
    assert tdx_objections(signed)["tdx.pck.signatures"] == "fail"
    leaf = intel.issue(issuer=between).pck
    chain = leaf.pem + between.pem + intel.ca.pem + b"\0"
    against = tdx_objections(intel.issue(pck=leaf, chain=chain))
    assert against["tdx.pck.root"] == "fail"
    assert against["tdx.pck.names"] == "fail"


def test_stray_bits_in_a_certificates_base64_are_refused(intel: IntelWorld) -> None:
    """Where the last character carries bits that say nothing, only one spelling of them is taken."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    quote = intel.issue().quote
    ends = [place for place in range(len(quote)) if quote[place : place + 2] == b"=\n"]
    assert ends
    for end in ends:
        last = end - 1 if quote[end - 1 : end] != b"=" else end - 2
        value = alphabet.index(quote[last])
        stray = quote[:last] + alphabet[value + 1 : value + 2] + quote[last + 1 :]
        assert tdx_objections(replace(intel.issue(), quote=stray))["tdx.pck.signatures"] == "fail"


@pytest.mark.parametrize("bits", range(1, 8))
def test_refuses_a_signature_that_claims_unused_bits(intel: IntelWorld, bits: int) -> None:
    """The count before a signature's bytes is signed by nobody, and libraries pass over it."""
    der = bytearray(intel.signing.der)
    der[-len(intel.signing.certificate.signature) - 1] = bits
    chain = (bytes(der), intel.root.der)
    signed = intel.issue().with_collateral(tcb_info_chain=chain)
    assert tdx_objections(signed)["tdx.tcb_info.signature"] == "fail"
    crl = bytearray(intel.issue().collateral.root_crl)
    crl[-len(x509.load_der_x509_crl(bytes(crl)).signature) - 1] = bits
    assert tdx_objections(intel.issue().with_collateral(root_crl=bytes(crl))) == {"tdx.crl.root": "fail"}
