"""Rules about TDX quotes where the layout is right and the meaning is not: certificates, keys, names."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from attestation.check import Check, Outcome, Stage
from attestation.errors import MalformedEvidence
from attestation.tdx.chain import parse_pem_chain
from attestation.tdx.verify import RULES
from attestation.x509 import (
    display_name,
)
from tests.fakes.intel import (
    PCK,
    PLATFORM_CA,
    IntelSigned,
    IntelWorld,
    certify,
    derived_key,
    spki_sha256,
)
from tests.fakes.judges import authenticate_tdx, tdx_objections

ALL_IDS = [
    *("tdx.quote.tee", "tdx.quote.header", "tdx.quote.padding", "tdx.quote.signature"),
    *("tdx.module.running", "tdx.qe.binding", "tdx.qe.signature", "tdx.qe.identity"),
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


def test_a_name_that_could_harm_a_terminal_is_not_shown(intel: IntelWorld) -> None:
    for name, shown in ((chr(27) + "[2J", "(unprintable)"), ("Intel", "Intel")):
        checks, _, _ = authenticate_tdx(intel.issue(pck_name=name))
        assert found(checks, "tdx.pck.names").startswith(shown + " < " + PLATFORM_CA)
    assert display_name(x509.Name([])) == "(none)"
