"""Rules about the quote itself: header, signatures, and the chain of the platform's key up to Intel's root.

They need no collateral, so a quote alone is enough to judge them.
"""

from __future__ import annotations

import hashlib

from attestation.check import Outcome
from attestation.rule import Finding, Rule, first_problem, holds
from attestation.tdx.abi import CERT_PCK_CHAIN, CERT_QE_REPORT, TEE_TDX
from attestation.tdx.chain import Case, attestation_key, present, raw_signature_verifies
from attestation.x509 import (
    authority_problem,
    common_name,
    display_name,
    ecdsa_signature_problem,
    leaf_problem,
    p256_key,
    spki_digest,
    validity_problem,
)

INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
PCK_NAME, ROOT_NAME = "Intel SGX PCK Certificate", "Intel SGX Root CA"
AUTHORITY_NAMES = ("Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA")

_QUOTE, _PCK = "Intel TDX DCAP quoting library API", "Intel SGX PCK certificate and CRL profile"
_MODULE = "Intel TDX module ABI, TEE_TCB_SVN and TEE_TCB_SVN_2"


def _tee(case: Case) -> Finding:
    is_td = case.quote.tee_type == TEE_TDX
    return holds(is_td, f"{case.quote.tee_type:#x} ({'TDX' if is_td else 'SGX: an enclave, not a TD'})")


def _header(case: Case) -> Finding:
    quote, signature = case.quote, case.quote.signature
    types = signature.cert_type, signature.inner_cert_type
    vendor = quote.qe_vendor == INTEL_QE_VENDOR
    shown = f"version {quote.version}, {'Intel' if vendor else 'another vendor'}, certification types {types}"
    return holds(quote.version in (4, 5) and vendor and types == (CERT_QE_REPORT, CERT_PCK_CHAIN), shown)


def _padding(case: Case) -> Finding:
    trailing = case.quote.trailing
    stray = any(trailing)
    return holds(not stray, f"{len(trailing)} bytes{', not all zero' if stray else ''}")


def _quote_signature(case: Case) -> Finding:
    signature = case.quote.signature
    key = attestation_key(signature.attestation_key)
    verifies = raw_signature_verifies(key, signature.quote_signature, case.quote.signed)
    return holds(verifies, "verifies" if verifies else "does not verify")


def _module_running(case: Case) -> Finding:
    """A module is exchanged while TDs run; TCB info rates the one at launch, so that of now may not be older.

    Byte 1 is the module's version, byte 0 its SVN in that version; the others count up each by itself.
    """
    launch, now = case.body.tee_tcb_svn, case.body.tee_tcb_svn2
    if now is None:
        return Outcome.PASS, "not stated"
    module = (now[1], now[0]) >= (launch[1], launch[0])
    others = all(svn >= before for svn, before in zip(now[2:], launch[2:], strict=True))
    return holds(module and others, f"{launch.hex()} at launch, {now.hex()} now")


def _qe_binding(case: Case) -> Finding:
    signature = case.quote.signature
    digest = hashlib.sha256(signature.attestation_key + signature.qe_auth_data).digest()
    bound = signature.qe_report.report_data == digest.ljust(64, b"\0")
    return holds(bound, "the enclave's report names the key" if bound else "the report names another key")


def _qe_signature(case: Case) -> Finding:
    key, signature = p256_key(case.pck), case.quote.signature
    if key is None:
        return Outcome.FAIL, "the PCK is not P-256"
    verifies = raw_signature_verifies(key, signature.qe_report_signature, signature.qe_report.raw)
    return holds(verifies, "verifies" if verifies else "does not verify")


def _root(case: Case) -> Finding:
    digest = spki_digest(case.root)
    if case.is_development:
        return Outcome.INSECURE, f"the development root {digest.hex()}: proves nothing about hardware"
    return holds(digest in case.roots, digest.hex())


def _chain_signatures(case: Case) -> Finding:
    links = (
        ("PCK", case.pck, case.authority),
        ("CA", case.authority, case.root),
        ("root", case.root, case.root),
    )
    problems = [(whose, ecdsa_signature_problem(signed, issuer)) for whose, signed, issuer in links]
    return first_problem(problems, "three signatures verify")


def _authorities(case: Case) -> Finding:
    problems = [
        ("root", authority_problem(case.root, authorities_below=1)),
        ("CA", authority_problem(case.authority, authorities_below=0)),
        ("PCK", leaf_problem(case.pck)),
    ]
    return first_problem(problems, "as Intel issues them")


def _names(case: Case) -> Finding:
    subjects = [certificate.subject for certificate in (case.pck, case.authority, case.root)]
    pck, authority, root = (common_name(subject) for subject in subjects)
    shown = " < ".join(display_name(subject) for subject in subjects)
    return holds(pck == PCK_NAME and authority in AUTHORITY_NAMES and root == ROOT_NAME, shown)


def _validity(case: Case) -> Finding:
    chain = (("PCK", case.pck), ("CA", case.authority), ("root", case.root))
    problems = [(whose, validity_problem(certificate, case.now)) for whose, certificate in chain]
    return first_problem(problems, "all valid")


def _extension(case: Case) -> Finding:
    extension = present(case.extension)
    return Outcome.PASS, f"FMSPC {extension.fmspc.hex()}, PCEID {extension.pceid.hex()}"


_RUNNING = "no component of the module that runs now is older than at launch"
_BINDING = "the QE's REPORTDATA is SHA-256 of attestation key and QE authentication data, then zeros"
_TYPES = "version 4 or 5, Intel's quoting enclave, certification data 6 around 5"
_CHAIN_SIGNATURES = "PCK, CA and root signed with ECDSA P-256, SHA-256, by their issuers' keys"

QUOTE_RULES: tuple[Rule[Case], ...] = (
    Rule("tdx.quote.tee", "0x81 (TDX)", f"{_QUOTE}, header", _tee),
    Rule("tdx.quote.header", _TYPES, f"{_QUOTE}, header", _header),
    Rule("tdx.quote.padding", "nothing, or zeros, after the signature data", _QUOTE, _padding),
    Rule("tdx.quote.signature", "the attestation key signed header and body", _QUOTE, _quote_signature),
    Rule("tdx.module.running", _RUNNING, _MODULE, _module_running),
    Rule("tdx.qe.binding", _BINDING, f"{_QUOTE}, QE report", _qe_binding),
    Rule(
        "tdx.qe.signature", "the platform's PCK signed the QE report", f"{_QUOTE}, QE report", _qe_signature
    ),
    Rule("tdx.pck.root", "a root key that is pinned", _PCK, _root),
    Rule("tdx.pck.signatures", _CHAIN_SIGNATURES, _PCK, _chain_signatures),
    Rule("tdx.pck.authorities", "root and CA may issue, PCK may not", "RFC 5280 section 4.2", _authorities),
    Rule("tdx.pck.names", "PCK Certificate < PCK Platform or Processor CA < SGX Root CA", _PCK, _names),
    Rule("tdx.pck.validity", "every certificate valid now", "RFC 5280 section 4.1.2.5", _validity),
    Rule("tdx.pck.extension", "Intel's SGX extension, well formed", _PCK, _extension),
)
