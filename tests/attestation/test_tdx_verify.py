"""Rules about TDX quotes where the layout is right and the meaning is not; and what is said about it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.check import Check, Outcome, Stage
from attestation.errors import MalformedEvidence
from attestation.model import TdxCollateral
from attestation.tdx.chain import parse_pem_chain
from attestation.tdx.verify import RULES
from attestation.x509 import (
    MAX_CRL,
    crl_problem,
    display_name,
    ecdsa_signature_problem,
    load_certificate,
    load_crl,
    revoked_by,
    signature_problem,
)
from tests.fakes.amd import NOW, World
from tests.fakes.intel import (
    PCK,
    PLATFORM_CA,
    TCB_SIGNING,
    IntelSigned,
    IntelWorld,
    certify,
    derived_key,
    spki_sha256,
)
from tests.fakes.intel_collateral import Authority, revocation_list
from tests.fakes.intel_layout import der
from tests.fakes.judges import authenticate_tdx, tdx_objections

COLLATERAL_PARTS = [field.name for field in fields(TdxCollateral)]
ALL_IDS = [
    *("tdx.quote.tee", "tdx.quote.header", "tdx.quote.padding", "tdx.quote.signature"),
    *("tdx.qe.binding", "tdx.qe.signature", "tdx.qe.identity"),
    *("tdx.pck.root", "tdx.pck.signatures", "tdx.pck.authorities", "tdx.pck.names"),
    *("tdx.pck.validity", "tdx.pck.extension", "tdx.crl.root", "tdx.crl.pck"),
    *("tdx.tcb_info.signature", "tdx.tcb_info.current", "tdx.tcb_info.platform"),
    *("tdx.qe_identity.signature", "tdx.qe_identity.current", "tdx.module.identity", "tdx.tcb.level"),
]


def found(checks: list[Check], check_id: str) -> str:
    """What one check says it found."""
    return next(check.found for check in checks if check.id == check_id)


def test_every_rule_makes_one_check_whatever_comes_of_it(intel: IntelWorld) -> None:
    for signed in (intel.issue(), intel.issue(chain=b"", padding=b"x")):
        checks, _, _ = authenticate_tdx(signed.with_collateral(tcb_info=b"{}", root_crl=b"0"))
        assert sorted(check.id for check in checks) == sorted(ALL_IDS)
        assert [check.id for check in checks] == [rule.id for rule in RULES]
        assert {check.stage for check in checks} == {Stage.AUTHENTICATE}
        assert all(check.expected and check.found and check.reference for check in checks)


# --- the certificates in the quote -------------------------------------------------------------------------


def _blocks(signed: IntelSigned) -> list[bytes]:
    chain = signed.quote[slice(*signed.regions["chain"])].rstrip(b"\0")
    return [
        block + b"-----END CERTIFICATE-----\n" for block in chain.split(b"-----END CERTIFICATE-----\n")[:-1]
    ]


def test_three_pem_blocks_are_read_with_either_line_end_and_trailing_zeros(intel: IntelWorld) -> None:
    signed = intel.issue()
    chain = b"".join(_blocks(signed))
    read = parse_pem_chain(chain)
    assert read == [signed.pck.der, intel.ca.der, intel.root.der]
    assert parse_pem_chain(chain.replace(b"\n", b"\r\n")) == read
    assert parse_pem_chain(chain.rstrip(b"\n") + bytes(3)) == read


@pytest.mark.parametrize(
    "change",
    [
        lambda one, two, three: one + two,
        lambda one, two, three: one + two + three + three,
        lambda one, two, three: one + two + three + b"\0x",
        lambda one, two, three: b" " + one + two + three,
        lambda one, two, three: one + b"\n" + two + three,
        lambda one, two, three: one + two + three.replace(b"BEGIN CERT", b"BEGIN CRT"),
        lambda one, two, three: (
            one.replace(b"CERTIFICATE-----\n", b"CERTIFICATE-----\nAAA=\n", 1) + two + three
        ),
        lambda one, two, three: one.replace(b"CERTIFICATE-----\n", b"CERTIFICATE-----\nA\n", 1) + two + three,
        lambda one, two, three: one.replace(b"M", b"-", 1) + two + three,
        lambda one, two, three: b"",
    ],
)
def test_anything_else_than_three_pem_blocks_is_malformed(
    intel: IntelWorld, change: Callable[[bytes, bytes, bytes], bytes]
) -> None:
    with pytest.raises(MalformedEvidence):
        parse_pem_chain(change(*_blocks(intel.issue())))


def test_base64_with_stray_bits_is_not_another_spelling_of_a_certificate(intel: IntelWorld) -> None:
    padded = intel.root.der + bytes(3 - len(intel.root.der) % 3 + 1)  # so that two characters fill up
    text = base64.b64encode(padded)
    assert text.endswith(b"A==")
    stray = text[:-3] + b"B=="
    assert base64.b64decode(stray) == padded
    lines = b"\n".join(stray[place : place + 64] for place in range(0, len(stray), 64))
    block = b"-----BEGIN CERTIFICATE-----\n%b\n-----END CERTIFICATE-----\n" % lines
    with pytest.raises(MalformedEvidence, match="stray"):
        parse_pem_chain(block * 3)


def test_without_a_readable_chain_collateral_is_undecided_and_the_chain_refused(intel: IntelWorld) -> None:
    for signed in (intel.issue(chain=b"nothing"), intel.issue(inner_type=4)):
        against = tdx_objections(signed)
        assert {name for name, outcome in against.items() if outcome == "fail"} >= {
            *("tdx.qe.signature", "tdx.pck.root", "tdx.pck.signatures", "tdx.pck.extension"),
        }
        for name in ("tdx.tcb_info.signature", "tdx.qe_identity.signature", "tdx.crl.root", "tdx.tcb.level"):
            assert against[name] == "undecided"


def test_an_attestation_key_that_is_no_point_of_the_curve_is_refused(intel: IntelWorld) -> None:
    checks, claims, _ = authenticate_tdx(intel.issue().with_byte("attestation_key"))
    assert claims is None
    assert found(checks, "tdx.quote.signature") == "the attestation key is no point of P-256"


def test_a_platform_key_on_another_curve_cannot_sign_a_quoting_enclaves_report(intel: IntelWorld) -> None:
    other = ec.derive_private_key(5, ec.SECP384R1())
    good = intel.issue().pck.certificate.extensions.get_extension_for_oid(
        x509.ObjectIdentifier("1.2.840.113741.1.13.1")
    )
    pck = certify(intel.label, PCK, intel.ca, key=other, extension=good.value)
    assert tdx_objections(intel.issue(pck=pck, qe_signer=derived_key("any"))) == {"tdx.qe.signature": "fail"}


def test_a_development_root_is_insecure_and_makes_claims_that_say_so(intel: IntelWorld) -> None:
    signed = replace(intel.issue(), roots=frozenset())
    named = spki_sha256(intel.root)
    checks, claims, _ = authenticate_tdx(signed, development_root=named)
    assert {check.id for check in checks if check.outcome is not Outcome.PASS} == {"tdx.pck.root"}
    assert claims is not None
    assert (claims.insecure, claims.root_spki_sha256) == (True, named)
    _, refused, _ = authenticate_tdx(signed, development_root=bytes(32))
    assert refused is None
    _, pinned, _ = authenticate_tdx(replace(signed, roots=intel.roots), development_root=named)
    assert pinned is not None
    assert not pinned.insecure


def test_a_module_of_a_version_that_tcb_info_does_not_know_is_refused(intel: IntelWorld) -> None:
    checks, _, facts = authenticate_tdx(intel.issue(tee_tcb_svn=bytes((8, 0x1A, 8)) + bytes(13)))
    assert found(checks, "tdx.module.identity") == "TCB info knows no module of version 26"
    assert facts["tdx_module"] == ["TDX_1A", None]


def test_a_module_is_known_by_its_version_in_two_hexadecimal_digits(intel: IntelWorld) -> None:
    version_26 = {"tee_tcb_svn": bytes((8, 0x1A, 8)) + bytes(13)}

    def rename(inner: dict[str, Any]) -> None:
        inner["tdxModuleIdentities"][1]["id"] = "TDX_1A"

    _, claims, facts = authenticate_tdx(intel.issue(tcb_info_edit=rename, **version_26))
    assert claims is not None
    assert facts["tdx_module"] == ["TDX_1A", "UpToDate"]


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity", "pck_crl"])
def test_collateral_is_as_old_as_its_oldest_piece(intel: IntelWorld, part: str) -> None:
    oldest = NOW - timedelta(days=9)
    _, claims, _ = authenticate_tdx(intel.issue(**{f"{part}_issued": oldest}))
    assert claims is not None
    assert claims.collateral_issued == oldest


def test_a_name_that_could_harm_a_terminal_is_not_shown(intel: IntelWorld) -> None:
    for name, shown in ((chr(27) + "[2J", "(unprintable)"), ("Intel", "Intel")):
        checks, _, _ = authenticate_tdx(intel.issue(pck_name=name))
        assert found(checks, "tdx.pck.names").startswith(shown + " < " + PLATFORM_CA)
    assert display_name(x509.Name([])) == "(none)"


# --- collateral -------------------------------------------------------------------------------------------


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


def test_collateral_without_its_signers_chain_is_undecided(intel: IntelWorld) -> None:
    against = tdx_objections(intel.issue(tcb_info_chain=(), qe_identity_chain=()))
    assert set(against.values()) == {"undecided"}
    assert {name.rpartition(".")[0] for name in against} == {
        *("tdx.tcb_info", "tdx.qe_identity", "tdx.qe", "tdx.module", "tdx.tcb"),
    }


@pytest.mark.parametrize("part", ["tcb_info", "qe_identity"])
def test_collateral_from_the_future_is_undecided_and_says_when_it_begins(
    intel: IntelWorld, part: str
) -> None:
    later = NOW + timedelta(hours=1)
    checks, claims, facts = authenticate_tdx(intel.issue(**{f"{part}_issued": later}))
    assert claims is None
    assert found(checks, f"tdx.{part}.current") == f"issued {later:%Y-%m-%dT%H:%M:%SZ}"
    assert (facts["collateral_valid"], facts["error"]) == (False, "collateral not yet valid")


def test_the_ends_of_a_period_belong_to_it(intel: IntelWorld) -> None:
    signed, second = intel.issue(), timedelta(seconds=1)
    first, last = NOW - timedelta(days=1), NOW + timedelta(days=29)
    assert tdx_objections(signed, now=first) == tdx_objections(signed, now=last) == {}
    assert tdx_objections(signed, now=first - second)["tdx.tcb_info.current"] == "undecided"
    assert tdx_objections(signed, now=last + second)["tdx.qe_identity.current"] == "undecided"


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


def test_facts_about_collateral_are_there_as_far_as_it_can_be_read(intel: IntelWorld) -> None:
    signed = intel.issue(qe_evaluation_number=19)
    _, _, whole = authenticate_tdx(signed)
    assert (whole["collateral_valid"], whole["tcb_status"], whole["qe_eval_number"]) == (True, "UpToDate", 19)
    _, _, without_info = authenticate_tdx(signed.with_collateral(tcb_info=b""))
    assert "collateral_valid" not in without_info
    assert "tcb_status" not in without_info
    assert (without_info["qe_identity_match"], without_info["qe_status"]) == (True, "UpToDate")
    _, _, bare = authenticate_tdx(replace(signed, collateral=TdxCollateral()))
    assert bare["qe_isvsvn"] == 7
    assert not {"qe_status", "collateral_valid", "tcb_status", "valid_until"} & bare.keys()


def test_forged_collateral_is_not_told_as_fact(intel: IntelWorld) -> None:
    _, _, facts = authenticate_tdx(intel.issue(tcb_info_signer=derived_key("nobody")))
    assert facts["collateral_valid"] is False
    assert "tcb_status" not in facts


def test_facts_of_the_longest_report_are_all_told_and_of_a_broken_chain_none(intel: IntelWorld) -> None:
    _, _, facts = authenticate_tdx(intel.issue(version=5, body_type=4, vmid=b"\x07", chain=b""))
    assert (facts["vmid"], facts["body_type"], facts["body_size"]) == (7, 4, 885)
    assert facts["init_fmspc"] == "00" * 12
    assert not {"pck", "pck_not_before"} & facts.keys()


def test_a_platform_without_an_instance_id_is_told_as_such(intel: IntelWorld) -> None:
    _, claims, facts = authenticate_tdx(intel.issue(platform_instance_id=None, configuration=None))
    assert claims is not None
    assert claims.pck.platform_instance_id is None
    assert isinstance(facts["pck"], dict)
    assert facts["pck"]["piid"] is None


def test_a_module_before_identities_has_no_status(intel: IntelWorld) -> None:
    checks, claims, facts = authenticate_tdx(
        intel.issue(
            tee_tcb_svn=bytes((5, 0, 8)) + bytes(13),
            tcb_info_edit=lambda inner: inner.pop("tdxModuleIdentities"),
        )
    )
    assert claims is not None
    assert claims.module_status is None
    assert facts["tdx_module"] is None
    assert found(checks, "tdx.tcb.level") == "UpToDate (platform UpToDate, QE UpToDate)"


def test_what_rates_nothing_is_told_as_not_supported(intel: IntelWorld) -> None:
    checks, claims, facts = authenticate_tdx(intel.issue(tee_tcb_svn=bytes((1, 1, 8)) + bytes(13)))
    assert claims is None
    assert facts["tcb_status"] == "TcbNotSupported (no TCB level matches)"
    assert (facts["tdx_module"], facts["advisory_ids"]) == (["TDX_01", None], None)
    assert found(checks, "tdx.tcb.level").endswith("TDX_01 without level)")


@pytest.mark.parametrize("part", COLLATERAL_PARTS)
def test_collateral_that_is_garbage_never_makes_a_quote_authentic(intel: IntelWorld, part: str) -> None:
    garbage: Any = (b"garbage", b"garbage") if part.endswith("_chain") else b"garbage"
    checks, claims, _ = authenticate_tdx(intel.issue().with_collateral(**{part: garbage}))
    assert claims is None
    assert any(check.outcome is Outcome.FAIL for check in checks)


# --- Intel's way of signing -------------------------------------------------------------------------------


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
