"""Every verifier behind one shape: give it a case, get a function that verifies it once, or raise.

All start from the same bytes. What each one leaves out stands in `VERIFIERS`: a smaller number is no virtue
if less was checked. Those that would fetch something are given it instead.
"""

from __future__ import annotations

import base64
import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Once = Callable[[], object]
CaseParts = dict[str, Any]  # a verify_cases.Case as JSON carries it


class Refused(Exception):  # noqa: N818 - a verdict
    """The verifier did not accept the evidence."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """One verifier: its name, which kinds of evidence it reads, what it checks, and how it is called."""

    name: str
    kinds: tuple[str, ...]
    checks: str
    prepare: Callable[[CaseParts], Once]


def _bytes(case: CaseParts, name: str) -> bytes:
    return base64.b64decode(case["parts"][name])


def _chain(case: CaseParts) -> list[bytes]:
    return [base64.b64decode(der) for der in case["parts"]["certificates"]]


def _now(case: CaseParts) -> datetime:
    return datetime.fromtimestamp(case["seconds"], UTC)


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def _accepted(condition: object, what: str) -> None:
    if not condition:
        raise Refused(what)


def our_report(case: CaseParts) -> Once:
    """Casemate, from the report's bytes to claims."""
    from attestation.snp.abi import parse_report
    from attestation.snp.roots import AMD_ROOTS
    from attestation.snp.verify import authenticate_report
    from attestation.x509 import common_name, load_certificate, spki_digest

    report, certificates, now = _bytes(case, "report"), _chain(case), _now(case)
    root = load_certificate(certificates[-1])
    product = (common_name(root.subject) or "").removeprefix("ARK-")
    roots = {product: frozenset({spki_digest(root)})} if case["forged"] else AMD_ROOTS

    def once() -> None:
        _, claims, _ = authenticate_report(
            parse_report(report), certificates, roots=roots, development_root=None, now=now
        )
        _accepted(claims, "no claims")

    return once


def our_document(case: CaseParts) -> Once:
    """Casemate, a whole document by a policy: statement, manifest and configuration too."""
    from attestation.model import Collateral
    from attestation.policy.toml import parse_policy
    from attestation.verify import verify

    document, nonce, now = _bytes(case, "document"), _bytes(case, "nonce"), _now(case)
    policy = parse_policy(_bytes(case, "policy"))

    def once() -> None:
        verdict = verify(document, Collateral(), policy, nonce=nonce, now=now).verdict
        _accepted(verdict.value == "accepted-insecure", verdict.value)

    return once


def our_quote(case: CaseParts) -> Once:
    """Casemate, from the quote's and collateral's bytes to claims."""
    from attestation.model import TdxCollateral
    from attestation.tdx.abi import parse_quote
    from attestation.tdx.roots import INTEL_ROOTS
    from attestation.tdx.verify import authenticate_quote
    from attestation.x509 import load_certificate, spki_digest

    given = {
        name: tuple(map(base64.b64decode, value)) if isinstance(value, list) else base64.b64decode(value)
        for name, value in case["parts"]["ours"].items()
    }
    quote, collateral, now = _bytes(case, "quote"), TdxCollateral(**given), _now(case)
    forged = frozenset({spki_digest(load_certificate(_bytes(case, "root")))})
    roots = forged if case["forged"] else INTEL_ROOTS

    def once() -> None:
        checks, claims, _ = authenticate_quote(
            parse_quote(quote), collateral, roots=roots, development_root=None, now=now
        )
        _accepted(claims, "; ".join(c.id for c in checks if c.outcome.value in ("fail", "undecided")))

    return once


def dcap_qvl(case: CaseParts) -> Once:
    """Rust; the same collateral and time."""
    import dcap_qvl

    quote, root = _bytes(case, "quote"), _bytes(case, "root")
    collateral = dcap_qvl.QuoteCollateralV3.from_json(json.dumps(case["parts"]["common"]))
    return lambda: dcap_qvl.verify_with_root_ca(quote, collateral, root, case["seconds"])


def cvm_attest_snp(case: CaseParts) -> Once:
    """Signature and chain."""
    from cvm_attest.snp.verify import _verify_report_signature

    report, certificates = _bytes(case, "report"), _chain(case)
    chain = b"".join(map(_pem, certificates[1:]))

    def once() -> None:
        found = _verify_report_signature(report, certificates[0], chain)
        _accepted(found == (True, True), str(found))

    return once


def cvm_attest_tdx(case: CaseParts) -> Once:
    """Signatures and chain, no collateral."""
    from cvm_attest.tdx import verify

    quote = _bytes(case, "quote")

    def once() -> None:
        section = verify._extract_signature_section(quote)
        _accepted(section, "not understood")
        certificates = verify._extract_pck_certs(section)
        found = verify._verify_full_chain(quote, section, certificates, fetch_root_ca=False)
        _accepted(found[:2] == (True, True), str(found[:2]))

    return once


def omne_attest(case: CaseParts) -> Once:
    """Signature, chain, chip, TCB."""
    from omne_attest import snp

    report, (vcek, ask, ark) = _bytes(case, "report"), _chain(case)
    pin, policy = hashlib.sha256(ark).digest(), snp.Policy(max_vmpl=3, reject_debug=False)
    return lambda: snp.verify(report, vcek, ask, ark, pin, policy)


def dk_tee_attestation(case: CaseParts) -> Once:
    """Signature, chain, chip, TCB; certificates come from memory, not from AMD."""
    from cryptography import x509
    from dk_tee_attestation.amd_sev_snp_attestation_report_verification_utils import AmdSevSnpVerifier

    report, (vcek, ask, ark) = _bytes(case, "report"), _chain(case)
    expected = report[0x50:0x90]
    load = x509.load_der_x509_certificate

    def once() -> None:
        AmdSevSnpVerifier._request_cert_chain = staticmethod(lambda product: (load(ark), load(ask)))
        AmdSevSnpVerifier._request_vcek = staticmethod(lambda *asked: load(vcek))
        AmdSevSnpVerifier.verify_amd_sev_snp_attestation_report(report, expected)

    return once


OURS = "casemate"
VERIFIERS: tuple[Verifier, ...] = (
    Verifier(
        OURS, ("SNP report",), "18 rules: chain by pinned key, CRL, chip, TCB, names, dates", our_report
    ),
    Verifier(OURS, ("SNP document",), "all of that, then binding, policy, manifest, config", our_document),
    Verifier(OURS, ("TDX quote",), "22 rules: signatures, chains, CRLs, TCB, module, QE, dates", our_quote),
    Verifier("dcap-qvl", ("TDX quote",), "signatures, chains, CRLs, TCB, module, QE, dates", dcap_qvl),
    Verifier("cvm-attest", ("SNP report",), "signature and chain", cvm_attest_snp),
    Verifier("cvm-attest", ("TDX quote",), "signatures and chain; no collateral, no pin", cvm_attest_tdx),
    Verifier("omne-attest", ("SNP report",), "signature, chain, chip, TCB; no dates, no CRL", omne_attest),
    Verifier(
        "dk-tee-attestation",
        ("SNP report",),
        "signature, chain, chip, TCB; no pin, no CRL",
        dk_tee_attestation,
    ),
)


def quiet() -> None:
    """Others warn about AMD's serial numbers at every certificate."""
    warnings.simplefilter("ignore")
