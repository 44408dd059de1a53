"""Who may sign Intel's collateral and revocation lists, and how little of a long list has to be read."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.errors import MalformedEvidence
from attestation.x509 import (
    MAX_CRL,
    crl_problem,
    ecdsa_signature_problem,
    load_certificate,
    load_crl,
    revoked_by,
    signature_problem,
)
from tests.fakes.amd import NOW, World
from tests.fakes.intel import (
    PCK,
    TCB_SIGNING,
    IntelWorld,
    certify,
    derived_key,
)
from tests.fakes.intel_collateral import Authority, revocation_list
from tests.fakes.intel_layout import der
from tests.fakes.judges import authenticate_tdx, tdx_objections


def _collateral_chains(world: IntelWorld) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Chains that come with collateral, and what each of them is refused for."""
    stranger = IntelWorld.forge("stranger")
    authority = certify(world.label, TCB_SIGNING, world.root, path_length=0)
    other_curve = certify(world.label, TCB_SIGNING, world.root, key=ec.derive_private_key(5, ec.SECP384R1()))
    unsigned = certify(world.label, "Intel SGX Root CA", None, path_length=1, signer=derived_key("nobody"))
    info, identity = {"tdx.tcb_info.signature": "fail"}, {"tdx.qe_identity.signature": "fail"}
    rated = {"tdx.module.identity": "undecided", "tdx.tcb.level": "undecided"}
    judged = {"tdx.qe.identity": "undecided", "tdx.tcb.level": "undecided"}
    read = {"tdx.tcb_info.current": "fail"}
    root = world.root.der
    return [
        ({"tcb_info_chain": (world.signing.der,)}, {}),
        ({"tcb_info_chain": (world.signing.der, stranger.root.der)}, info | rated),
        ({"tcb_info_chain": (world.signing.der, unsigned.der)}, info | rated),
        ({"tcb_info_chain": (world.ca.der, root)}, info | rated),
        ({"tcb_info_chain": (authority.der, root), "tcb_info_signer": authority.key}, info | rated),
        ({"tcb_info_chain": (other_curve.der, root)}, info | rated),
        ({"tcb_info_chain": (world.signing.der, root, root)}, info | read | rated),
        ({"tcb_info_chain": (b"no certificate", root)}, info | read | rated),
        ({"qe_identity_chain": (stranger.signing.der, root)}, identity | judged),
        ({"pck_crl_chain": ()}, {}),
        ({"pck_crl_chain": (world.ca.der,)}, {}),
        ({"pck_crl_chain": (stranger.ca.der, root)}, {"tdx.crl.pck": "fail"}),
        ({"pck_crl_chain": (world.ca.der, stranger.root.der)}, {"tdx.crl.pck": "fail"}),
        ({"pck_crl_chain": (world.signing.der, root)}, {"tdx.crl.pck": "fail"}),
        ({"pck_crl_chain": (b"no certificate",)}, {"tdx.crl.pck": "fail"}),
    ]


def test_a_chain_that_comes_with_collateral_has_to_lead_to_the_same_root(intel: IntelWorld) -> None:
    for change, expected in _collateral_chains(intel):
        assert tdx_objections(intel.issue(**change)) == expected, change.keys()


def _crl(issuer: Authority, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(NOW - timedelta(days=1))
        .next_update(NOW + timedelta(days=1))
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical=critical)
    crl = builder.sign(issuer.key, hashes.SHA256(), ecdsa_deterministic=True)
    return crl.public_bytes(serialization.Encoding.DER)


def test_a_revocation_list_with_a_critical_extension_is_not_understood(intel: IntelWorld) -> None:
    """An indirect list says so in one: its entries may be about other issuers' certificates."""
    point = x509.IssuingDistributionPoint(None, None, False, False, None, True, False)
    signed = intel.issue()
    assert tdx_objections(signed.with_collateral(pck_crl=_crl(intel.ca, (x509.CRLNumber(2), False)))) == {}
    against = tdx_objections(signed.with_collateral(pck_crl=_crl(intel.ca, (point, True))))
    assert against == {"tdx.crl.pck": "fail"}


def test_a_revocation_list_that_names_no_end_is_never_current(intel: IntelWorld) -> None:
    whole = _crl(intel.ca, (x509.CRLNumber(2), False))
    content = load_crl(whole).tbs_certlist_bytes[3:]
    end = content.rindex(b"\x17\x0d")
    unsigned = der(0x30, content[:end] + content[end + 15 :])
    signature = intel.ca.key.sign(unsigned, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    endless = der(
        0x30, unsigned + der(0x30, bytes.fromhex("06082a8648ce3d040302")) + der(3, b"\0" + signature)
    )
    against = tdx_objections(intel.issue().with_collateral(pck_crl=endless))
    assert against == {"tdx.crl.pck": "undecided"}
    _, _, facts = authenticate_tdx(intel.issue().with_collateral(pck_crl=endless))
    assert facts["collateral_valid"] is False


def test_an_ecdsa_signature_counts_only_under_the_issuers_own_name_and_key(intel: IntelWorld) -> None:
    root, ca = intel.root.certificate, intel.ca.certificate
    assert ecdsa_signature_problem(ca, root) is None
    assert ecdsa_signature_problem(ca, ca) == "the issuer's name is another"
    stranger = IntelWorld.forge("stranger").root.certificate
    assert ecdsa_signature_problem(ca, stranger) == "the signature does not verify"
    other_curve = certify(
        "x", "Intel SGX Root CA", None, path_length=1, key=ec.derive_private_key(5, ec.SECP384R1())
    )
    assert ecdsa_signature_problem(ca, other_curve.certificate) == "the issuer's key is not P-256"


def test_another_digest_than_sha_256_does_not_count(intel: IntelWorld) -> None:
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(intel.ca.certificate.subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=1))
        .sign(intel.ca.key, hashes.SHA384())
    )
    assert ecdsa_signature_problem(crl, intel.ca.certificate) == "not ECDSA with SHA-256"


def test_each_vendors_signature_is_none_in_the_others_way(intel: IntelWorld, genoa: World) -> None:
    root, ark = intel.root.certificate, genoa.hierarchy.ark.certificate
    assert signature_problem(root, root) == "the issuer's key is not RSA-4096"
    assert ecdsa_signature_problem(ark, ark) == "the issuer's key is not P-256"
    crl = load_crl(intel.issue().collateral.root_crl)
    assert crl_problem(crl, root) == "the issuer's key is not RSA-4096"
    assert crl_problem(crl, root, signed_by=ecdsa_signature_problem) is None


def test_a_damaged_entry_spoils_a_whole_revocation_list_though_entries_are_not_decoded(
    intel: IntelWorld,
) -> None:
    """Loading parses every entry's number and date; only the reasons, which change nothing, stay raw."""
    serials = tuple(range(1000, 1200))
    listed = revocation_list(intel.ca, serials, made=NOW, until=NOW + timedelta(days=1))
    assert len(load_crl(listed)) == 200
    entry = listed.index(b"\x02\x02" + (1100).to_bytes(2, "big"))
    for offset in (-2, -1, 0, 1, 4, 5, 6, 19):
        damaged = bytearray(listed)
        damaged[entry + offset] ^= 0x55
        with pytest.raises(MalformedEvidence):
            load_crl(bytes(damaged))


def test_a_revoked_certificate_is_refused_whatever_stands_for_a_reason(intel: IntelWorld) -> None:
    listed = revocation_list(intel.ca, (5,), made=NOW, until=NOW + timedelta(days=1))
    reason = listed.index(bytes.fromhex("0a0101"))
    unknown = load_crl(listed[: reason + 2] + b"\x63" + listed[reason + 3 :])
    revoked = certify(intel.label, PCK, intel.ca, serial=5).certificate
    assert revoked_by(unknown, [revoked]) == [PCK]
    assert revoked_by(unknown, [certify(intel.label, PCK, intel.ca, serial=6).certificate]) == []


def test_a_long_revocation_list_is_read_and_an_absurd_one_is_not(intel: IntelWorld) -> None:
    listed = revocation_list(intel.ca, tuple(range(1, 3000)), made=NOW, until=NOW + timedelta(days=1))
    assert len(listed) > 64 * 1024
    assert len(load_crl(listed)) == 2999
    with pytest.raises(MalformedEvidence, match="more than"):
        load_crl(bytes(MAX_CRL + 1))
    with pytest.raises(MalformedEvidence, match="more than"):
        load_certificate(listed)
