"""An independent verifier of TDX quotes (dcap-qvl, in Rust) before forged evidence: a second pair of eyes."""

from __future__ import annotations

import json

import dcap_qvl
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.fakes.amd import NOW
from tests.fakes.intel import IntelSigned


def _pem(chain: tuple[bytes, ...]) -> str:
    loaded = (x509.load_der_x509_certificate(der) for der in chain)
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in loaded)


def _inner(wire: bytes) -> tuple[str, str]:
    """The signed object's exact text, and the signature."""
    text = wire.decode()
    return text[text.index(":") + 1 : text.rindex(',"signature"')], json.loads(text)["signature"]


def judge_with_dcap_qvl(signed: IntelSigned, root: bytes) -> str:
    """The status that dcap-qvl finds under our root at NOW; raises ValueError if it refuses."""
    c = signed.collateral
    tcb_info, tcb_signature = _inner(c.tcb_info)
    identity, identity_signature = _inner(c.qe_identity)
    published = {
        "pck_crl_issuer_chain": _pem(c.pck_crl_chain),
        "root_ca_crl": c.root_crl.hex(),
        "pck_crl": c.pck_crl.hex(),
        "tcb_info_issuer_chain": _pem(c.tcb_info_chain),
        "tcb_info": tcb_info,
        "tcb_info_signature": tcb_signature,
        "qe_identity_issuer_chain": _pem(c.qe_identity_chain),
        "qe_identity": identity,
        "qe_identity_signature": identity_signature,
    }
    collateral = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(published))
    report = dcap_qvl.verify_with_root_ca(signed.quote, collateral, root, int(NOW.timestamp()))
    return str(report.status)
