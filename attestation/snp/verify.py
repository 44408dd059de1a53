"""Is this SEV-SNP report authentic? One table of rules, each of which becomes a check; no policy here.

A report is authentic if a key signed it that AMD certified for this chip (or this provider) at exactly the
REPORTED_TCB, under a root key that we pin. Sources: AMD 56860 (report), AMD 57230 (certificates), RFC 5280.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec

from attestation.check import DECIDES_NOTHING_BAD, Check, Outcome
from attestation.model import Facts, Tcb
from attestation.rule import Finding, Rule, evaluate, first_problem, holds
from attestation.snp.abi import (
    SIGNATURE_ECDSA_P384_SHA384,
    Report,
    SigningKey,
    decode_tcb,
    encode_tcb,
    product_of_cpuid,
)
from attestation.snp.chain import VEK_NAMES, Case, build_case, signature_verifies
from attestation.snp.facts import snp_facts
from attestation.x509 import (
    authority_problem,
    common_name,
    crl_is_current,
    crl_problem,
    display_name,
    leaf_problem,
    revoked_by,
    signature_problem,
    spki_digest,
    validity_problem,
)

_REPORT, _CERTIFICATES = "AMD 56860 ATTESTATION_REPORT", "AMD 57230"
_OPEN = "(the policy decides whether one is needed)"


@dataclass(frozen=True, slots=True)
class SnpClaims:
    """What authentic hardware said. `insecure`: a development root signed it, so it proves nothing.

    `hwid` and `csp_id` come from the certificate: a chip's id under a VCEK, a cloud provider's name under a
    VLEK. `crl_this_update` is when the newest enforced CRL was made, None if none was supplied.
    """

    report: Report
    product: str
    signing_key: SigningKey
    reported_tcb: Tcb
    current_tcb: Tcb
    committed_tcb: Tcb
    launch_tcb: Tcb
    hwid: bytes | None
    csp_id: str | None
    root_spki_sha256: bytes
    crl_this_update: datetime | None
    insecure: bool


def authenticate_report(
    report: Report,
    certificates: Sequence[bytes],
    crls: Sequence[bytes] = (),
    *,
    roots: Mapping[str, frozenset[bytes]],
    development_root: bytes | None,
    now: datetime,
) -> tuple[list[Check], SnpClaims | None, Facts]:
    """Judge a report by every rule; claims only if none of them objects; facts whatever the outcome.

    `certificates` and `crls` are DER in any order; `roots` maps a product to SHA-256 digests of ARK keys;
    `development_root` is the digest of the one simulated ARK that a policy named; `now` is an aware time.
    A missing certificate makes a check undecided, never passed. A missing CRL is noted, and so is one of
    another root: whether one is required is for the policy, which finds its age in the claims; a supplied CRL
    of this root is enforced.
    """
    case = build_case(report, certificates, crls, roots=roots, development_root=development_root, now=now)
    checks = [evaluate(rule, case) for rule in RULES]
    authentic = all(check.outcome in DECIDES_NOTHING_BAD for check in checks)
    return checks, _claims(case) if authentic else None, snp_facts(case)


def _claims(case: Case) -> SnpClaims:
    report, product, extensions = case.report, case.product, case.extensions
    enforced = [crl.last_update_utc for crl in case.crls if crl.issuer == case.root.subject]
    return SnpClaims(
        report=report,
        product=product,
        signing_key=report.signing_key,
        reported_tcb=decode_tcb(report.reported_tcb_raw, product),
        current_tcb=decode_tcb(report.current_tcb_raw, product),
        committed_tcb=decode_tcb(report.committed_tcb_raw, product),
        launch_tcb=decode_tcb(report.launch_tcb_raw, product),
        hwid=extensions.hwid,
        csp_id=extensions.csp_id,
        root_spki_sha256=spki_digest(case.root),
        crl_this_update=max(enforced, default=None),
        insecure=case.is_development,
    )


def _reserved(case: Case) -> Finding:
    nonzero = case.report.reserved_nonzero
    return holds(not nonzero, "unknown bits are set" if nonzero else "as fixed")


def _algorithm(case: Case) -> Finding:
    found = case.report.signature_algo
    return holds(found == SIGNATURE_ECDSA_P384_SHA384, str(found))


def _mask_chip_key(case: Case) -> Finding:
    return holds(not case.report.mask_chip_key, "set" if case.report.mask_chip_key else "clear")


def _encoding(case: Case) -> Finding:
    stray = case.report.signature_padding_nonzero
    return holds(not stray, "unsigned bytes are not zero" if stray else "zero")


def _readable(case: Case) -> Finding:
    return holds(not case.unreadable, "; ".join(case.unreadable) or f"{len(case.certificates)} certificates")


def _root(case: Case) -> Finding:
    digest = spki_digest(case.root).hex()
    if case.is_development:
        return Outcome.INSECURE, f"the development root {digest}: proves nothing about hardware"
    return holds(case.pinned_product is not None, digest)


def _chain_signatures(case: Case) -> Finding:
    links = (("VEK", case.vek, case.issuer), ("ASK", case.issuer, case.root), ("ARK", case.root, case.root))
    problems = [(whose, signature_problem(signed, issuer)) for whose, signed, issuer in links]
    return first_problem(problems, "three signatures verify")


def _authorities(case: Case) -> Finding:
    problems = [
        ("ARK", authority_problem(case.root, authorities_below=1)),
        ("ASK", authority_problem(case.issuer, authorities_below=0)),
        ("VEK", leaf_problem(case.vek)),
    ]
    return first_problem(problems, "as AMD issues them")


def _names(case: Case) -> Finding:
    product = case.product
    vek = common_name(case.vek.subject)
    issuer = f"SEV-VLEK-{product}" if vek == VEK_NAMES["vlek"] else f"SEV-{product}"
    found = [display_name(certificate.subject) for certificate in (case.vek, case.issuer, case.root)]
    shown = " < ".join(found)
    return holds(found == [vek, issuer, f"ARK-{product}"] and vek in VEK_NAMES.values(), shown)


def _validity(case: Case) -> Finding:
    chain = (("VEK", case.vek), ("ASK", case.issuer), ("ARK", case.root))
    problems = [(whose, validity_problem(certificate, case.now)) for whose, certificate in chain]
    return first_problem(problems, "all valid")


def _crl(case: Case) -> Finding:
    """Enforce every list in the name of the root or of the VEK's issuer; what was revoked stays revoked.

    AMD's lists are the root's and name intermediates; what an intermediate would revoke are VEKs. One list
    of each authority has to be current; if several are, all of them count.
    """
    if not case.crls:
        return Outcome.NOTED, f"none supplied {_OPEN}"
    authorities = (case.root, case.issuer)
    ours = [(crl, one) for crl in case.crls for one in authorities if crl.issuer == one.subject]
    if not ours:
        return Outcome.NOTED, f"none of this chain's among {len(case.crls)} supplied {_OPEN}"
    for crl, authority in ours:
        problem = crl_problem(crl, authority)
        revoked = revoked_by(crl, (case.vek, case.issuer, case.root))
        if problem or revoked:
            return Outcome.FAIL, problem or f"revoked: {', '.join(revoked)}"
    current = {crl.issuer for crl, _ in ours if crl_is_current(crl, case.now)}
    if any(crl.issuer not in current for crl, _ in ours):
        return Outcome.UNDECIDED, "no current CRL"
    return Outcome.PASS, f"{len(ours)} enforced, of {len(case.crls)} supplied"


def _vek_kind(case: Case) -> Finding:
    if case.report.signing_key == "none":
        return Outcome.FAIL, "the report says that no key signed it"
    found = display_name(case.vek.subject)
    return holds(found == VEK_NAMES[case.report.signing_key], f"{case.report.signing_key}, CN {found}")


def _vek_key(case: Case) -> Finding:
    key = case.vek.public_key()
    is_p384 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
    return holds(is_p384, "P-384" if is_p384 else "another key")


def _signature(case: Case) -> Finding:
    verifies = signature_verifies(case.report, case.vek)
    return holds(verifies, "verifies" if verifies else "does not verify")


def _extensions(case: Case) -> Finding:
    extensions = case.extensions
    return Outcome.PASS, f"{extensions.product_name}, structure version {extensions.struct_version}"


def _product(case: Case) -> Finding:
    """Root, certificate and (from version 3 on) the report's CPUID must name one product."""
    named = {"root": case.product, "VEK": case.extensions.product}
    if case.report.cpuid is not None:
        named["CPUID"] = product_of_cpuid(case.report.cpuid) or "unknown"
    shown = ", ".join(f"{whose} {product}" for whose, product in named.items())
    return holds(len(set(named.values())) == 1, shown)


def _vek_tcb(case: Case) -> Finding:
    """Eight raw bytes are compared: every component, and the reserved bytes, which must be zero."""
    product, certified = case.product, case.extensions.tcb
    reported = decode_tcb(case.report.reported_tcb_raw, product)
    same = encode_tcb(certified, product) == case.report.reported_tcb_raw
    shown = f"certified {describe_tcb(certified)}; reported {describe_tcb(reported)}"
    return holds(same, shown)


def describe_tcb(tcb: Tcb) -> str:
    """A TCB for people."""
    fmc = f"fmc {tcb.fmc}, " if tcb.fmc is not None else ""
    return f"{fmc}boot loader {tcb.bootloader}, TEE {tcb.tee}, SNP {tcb.snp}, microcode {tcb.microcode}"


def _vek_chip(case: Case) -> Finding:
    """A VCEK names this chip (Turin: 8 bytes, then zeros); a VLEK names a provider and no chip."""
    extensions = case.extensions
    if common_name(case.vek.subject) == VEK_NAMES["vlek"]:
        well_formed = extensions.hwid is None and extensions.csp_id is not None
        return holds(well_formed, f"no chip; provider {extensions.csp_id or 'not named'}")
    if extensions.hwid is None or extensions.csp_id is not None:
        return Outcome.FAIL, "a VCEK without a hardware id, or with a provider"
    padded = extensions.hwid.ljust(len(case.report.chip_id), b"\0")
    return holds(padded == case.report.chip_id, f"certified for {extensions.hwid.hex()}")


_ZEROS = "bytes above r and s and after them are zero"
_PSS = "VEK, ASK and ARK signed with RSASSA-PSS, SHA-384, salt 48, by their issuers' RSA-4096 keys"

RULES: tuple[Rule[Case], ...] = (
    Rule("snp.report.reserved", "reserved fields have their fixed values", _REPORT, _reserved),
    Rule("snp.report.algorithm", "1 (ECDSA P-384 with SHA-384)", _REPORT, _algorithm),
    Rule("snp.report.mask_chip_key", "clear: the chip's key signs reports", _REPORT, _mask_chip_key),
    Rule("snp.certificates", "every certificate and CRL can be read", "RFC 5280 section 4", _readable),
    Rule("snp.chain.root", "a root key that is pinned", _CERTIFICATES, _root),
    Rule("snp.chain.signatures", _PSS, _CERTIFICATES, _chain_signatures),
    Rule("snp.chain.authorities", "ARK and ASK may issue, VEK may not", "RFC 5280 section 4.2", _authorities),
    Rule("snp.chain.names", "VEK < SEV-product < ARK-product of the root", _CERTIFICATES, _names),
    Rule("snp.chain.validity", "every certificate valid now", "RFC 5280 section 4.1.2.5", _validity),
    Rule(
        "snp.crl",
        "supplied CRLs of the chain's authorities are theirs, current, and revoke none",
        "RFC 5280 section 5",
        _crl,
    ),
    Rule("snp.vek.kind", "SIGNING_KEY agrees with the certificate's CN", _REPORT, _vek_kind),
    Rule("snp.vek.key", "P-384", _CERTIFICATES, _vek_key),
    Rule("snp.signature.encoding", _ZEROS, f"{_REPORT}, SIGNATURE", _encoding),
    Rule("snp.signature", "the VEK signed the report", f"{_REPORT}, SIGNATURE", _signature),
    Rule("snp.vek.extensions", "AMD's extensions, well formed", _CERTIFICATES, _extensions),
    Rule("snp.vek.product", "root, VEK and CPUID name one product", _CERTIFICATES, _product),
    Rule("snp.vek.tcb", "certified for exactly REPORTED_TCB", _CERTIFICATES, _vek_tcb),
    Rule("snp.vek.chip", "certified for CHIP_ID (VCEK) or a provider (VLEK)", _CERTIFICATES, _vek_chip),
)
