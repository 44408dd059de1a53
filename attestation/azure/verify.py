"""Is this Azure evidence authentic? Hardware measured a paravisor, whose virtual TPM vouches for the guest.

One table of rules, each of which becomes a check; no policy here.

The links: a genuine processor signed a report (the inner hardware's own checks); its REPORT_DATA is a digest
of the runtime data; these name the TPM's attestation key; that key signed a quote over a caller's nonce and
the PCRs. The report was made at boot and may be replayed: only the quote is fresh. Everything rests on
Microsoft's paravisor, so this is a trust class of its own. Specification: docs/spec/azure.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from attestation.azure.facts import hcl_facts, quote_facts
from attestation.azure.hcl import AK_KID, REPORT_SNP, REPORT_TDX, HclReport, parse_hcl
from attestation.azure.inner import Inner, Trust, authenticate_inner
from attestation.azure.tpm import (
    TpmQuote,
    parse_attest,
    parse_pcrs,
    parse_signature,
    pcr_digest,
    quoted_pcrs,
)
from attestation.check import DECIDES_NOTHING_BAD, Check, Outcome
from attestation.errors import CannotDecide, MalformedEvidence
from attestation.hardware import VtpmEvidence
from attestation.model import Collateral, Fact, Facts
from attestation.rule import Finding, Rule, evaluate, holds
from attestation.snp.verify import SnpClaims
from attestation.tdx.body import TdReport
from attestation.tdx.verify import TdxClaims

_HCL, _TPM = "docs/spec/azure.md#hcl-report", "TCG TPM 2.0 part 2, TPMS_ATTEST"
_REPORT_TYPES = {"azure-snp": REPORT_SNP, "azure-tdx": REPORT_TDX}
_MIN_RSA_BITS, _MAX_RSA_BITS, _RSA_EXPONENT = 2048, 4096, 65537


@dataclass(frozen=True, slots=True)
class VtpmClaims:
    """What an authentic paravisor and its virtual TPM said about the guest.

    `hardware` are the claims of the processor below, about the paravisor, not about the guest. `extra_data`
    is the caller's nonce that the TPM signed. `pcrs` has exactly the SHA-256 PCRs that the quote covers, or
    is None if no values were supplied. Of the configuration, what is not stated counts as the worse: secure
    boot off, console on. `maa_token` and `maa_keys` have not been looked at (azure/maa.py does).
    """

    hardware: SnpClaims | TdxClaims
    quote: TpmQuote
    extra_data: bytes
    pcrs: Mapping[int, bytes] | None
    secure_boot: bool
    console_enabled: bool
    tpm_enabled: bool
    tpm_persisted: bool
    vm_unique_id: str | None
    vm_configuration: Mapping[str, Fact]
    user_data: bytes | None
    attestation_key: tuple[int, int]
    maa_token: bytes
    maa_keys: bytes

    @property
    def insecure(self) -> bool:
        """Whether a development root vouches for the hardware, so that nothing is proven."""
        return self.hardware.insecure


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that one piece of evidence is judged by. What is missing raises CannotDecide where asked."""

    evidence: VtpmEvidence
    hcl: HclReport
    inner: Inner

    @property
    def quote(self) -> TpmQuote:
        """The TPM's quote. Raises MalformedEvidence too."""
        if not self.evidence.tpm_quote:
            raise CannotDecide("no TPM quote was supplied")
        return parse_attest(self.evidence.tpm_quote)

    @property
    def attestation_key(self) -> tuple[int, int]:
        """Modulus and exponent of the TPM's attestation key. Raises MalformedEvidence for an unfit one."""
        found = [key for key in self.hcl.runtime.keys if key.kid == AK_KID]
        if len(found) != 1:
            raise MalformedEvidence(f"{len(found)} keys are named {AK_KID}")
        modulus, exponent = found[0].modulus, found[0].exponent
        if not _MIN_RSA_BITS <= modulus.bit_length() <= _MAX_RSA_BITS or exponent != _RSA_EXPONENT:
            raise MalformedEvidence(f"{AK_KID} is not an RSA key that we accept")
        return modulus, exponent


def authenticate_vtpm(
    evidence: VtpmEvidence,
    *,
    collateral: Collateral,
    amd_roots: Mapping[str, frozenset[bytes]],
    intel_roots: frozenset[bytes],
    development_root: bytes | None,
    now: datetime,
) -> tuple[list[Check], VtpmClaims | None, Facts]:
    """Judge the inner hardware, then every link from it to the TPM's quote; claims only if nothing objects.

    `amd_roots` maps a product to SPKI SHA-256 digests of root keys, `intel_roots` is a set of them;
    `collateral` adds to what the evidence carries; `now` is an aware time. Raises MalformedEvidence if the
    HCL report, the hardware's report in it, or the TD quote cannot be read; an unreadable TPM quote or list
    of PCR values is a failed check. Facts are there whatever the outcome.
    """
    hcl = parse_hcl(evidence.hcl_report)
    trust = Trust(amd_roots, intel_roots, development_root, collateral, now)
    inner = authenticate_inner(hcl, evidence, trust)
    case = Case(evidence, hcl, inner)
    checks = [*inner.checks, *(evaluate(rule, case) for rule in RULES[hcl.report_type])]
    authentic = all(check.outcome in DECIDES_NOTHING_BAD for check in checks)
    claims = _claims(case, inner.claims) if authentic and inner.claims is not None else None
    return checks, claims, {**inner.facts, "azure": _facts(case, checks)}


def _claims(case: Case, hardware: SnpClaims | TdxClaims) -> VtpmClaims:
    quote, configuration = case.quote, case.hcl.runtime.vm_configuration
    unique_id = configuration.get("vmUniqueId")
    return VtpmClaims(
        hardware=hardware,
        quote=quote,
        extra_data=quote.extra_data,
        pcrs=_pcr_values(case, quote),
        secure_boot=configuration.get("secure-boot") is True,
        console_enabled=configuration.get("console-enabled") is not False,
        tpm_enabled=configuration.get("tpm-enabled") is True,
        tpm_persisted=configuration.get("tpm-persisted") is True,
        vm_unique_id=unique_id if isinstance(unique_id, str) else None,
        vm_configuration=configuration,
        user_data=case.hcl.runtime.user_data,
        attestation_key=case.attestation_key,
        maa_token=case.evidence.maa_token,
        maa_keys=case.evidence.maa_keys,
    )


def _pcr_values(case: Case, quote: TpmQuote) -> Mapping[int, bytes] | None:
    """The values that the quote covers, and no other that stands in the list."""
    if not case.evidence.tpm_pcrs:
        return None
    values = parse_pcrs(case.evidence.tpm_pcrs)
    return {index: values[index] for index in quoted_pcrs(quote)}


def _facts(case: Case, checks: list[Check]) -> Facts:
    outcomes = {check.id: check.outcome for check in checks}
    return {
        "hcl": hcl_facts(case.hcl, case.inner.report_data),
        "tpm_quote": _quote_facts(case, outcomes),
        **_join_facts(case),
    }


def _join_facts(case: Case) -> Facts:
    """Whether TD quote and TDREPORT agree where it matters most; nothing without both."""
    tdreport, quote = case.inner.tdreport, case.inner.td_quote
    if tdreport is None or quote is None or not isinstance(quote.body, TdReport):
        return {}
    return {
        "quote_report_data_equals_tdreport": quote.body.report_data == tdreport.report_data,
        "quote_mrtd_equals_tdreport": quote.body.mrtd == tdreport.mrtd,
    }


def _quote_facts(case: Case, outcomes: Mapping[str, Outcome]) -> Facts | None:
    try:
        quote = case.quote
    except (CannotDecide, MalformedEvidence):
        return None
    return quote_facts(
        quote,
        signed=outcomes["azure.quote.signature"] is Outcome.PASS,
        pcrs_match=outcomes["azure.quote.pcrs"] is Outcome.PASS if case.evidence.tpm_pcrs else None,
    )


def _hcl_type(case: Case) -> Finding:
    expected = _REPORT_TYPES[case.evidence.tee]
    return holds(case.hcl.report_type == expected, f"{case.evidence.tee}, type {case.hcl.report_type}")


def _runtime_data(case: Case) -> Finding:
    bound = case.hcl.bound_report_data == case.inner.report_data
    return holds(bound, "bound" if bound else "REPORT_DATA is not the digest of these runtime data")


def _runtime_data_copy(case: Case) -> Finding:
    if not case.evidence.runtime_data:
        return Outcome.NOTED, "no copy was supplied"
    same = case.evidence.runtime_data == case.hcl.runtime_data
    return holds(same, "the same bytes" if same else "other bytes")


def _ak(case: Case) -> Finding:
    modulus, _ = case.attestation_key
    return Outcome.PASS, f"RSA-{modulus.bit_length()}"


def _vmpl(case: Case) -> Finding:
    """The paravisor runs at VMPL 0; the guest, which must not speak in its name, at a higher number."""
    return holds(case.inner.vmpl == 0, str(case.inner.vmpl))


def _tdreport(case: Case) -> Finding:
    """Every field that both have. What only the TDREPORT has is nobody's word: it must not be a bad one."""
    if case.inner.td_quote is None:
        raise CannotDecide("no TD quote was supplied, and a TDREPORT alone proves nothing")
    body, tdreport = case.inner.td_quote.body, case.inner.tdreport
    names = [field.name for field in fields(TdReport) if field.name != "raw"]
    pairs = [(name, getattr(body, name, b""), getattr(tdreport, name)) for name in names]
    differing = [name for name, left, right in pairs if None not in (left, right) and left != right]
    if getattr(body, "mrservicetd", b"") is None and any(getattr(tdreport, "mrservicetd", None) or b""):
        differing.append("mrservicetd, which the quote leaves out")
    return holds(not differing, ", ".join(differing) or "every common field is equal")


def _quote_type(case: Case) -> Finding:
    quote = case.quote
    return Outcome.PASS, f"a quote with {len(quote.extra_data)} bytes of qualifying data"


def _quote_signature(case: Case) -> Finding:
    if not case.evidence.tpm_quote or not case.evidence.tpm_signature:
        raise CannotDecide("no TPM quote with its signature was supplied")
    modulus, exponent = case.attestation_key
    signature = parse_signature(case.evidence.tpm_signature)
    verifies = _rsassa_verifies(modulus, exponent, signature, case.evidence.tpm_quote)
    return holds(verifies, "verifies" if verifies else f"does not verify with {AK_KID}")


def _rsassa_verifies(modulus: int, exponent: int, signature: bytes, signed: bytes) -> bool:
    """RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2)."""
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):  # ValueError: a modulus that is none, such as an even one
        return False
    return True


def _quote_pcrs(case: Case) -> Finding:
    """Values that the quote does not cover are nobody's word, whatever the list says: they are not used."""
    quote = case.quote
    selected = quoted_pcrs(quote)
    if not case.evidence.tpm_pcrs:
        return Outcome.NOTED, f"{len(selected)} PCRs are quoted, their values were not supplied"
    same = pcr_digest(selected, parse_pcrs(case.evidence.tpm_pcrs)) == quote.pcr_digest
    return holds(same, f"{len(selected)} PCRs" if same else "other values than those that the TPM signed")


_TYPE = Rule("azure.hcl.type", "a report of the hardware that the sender names", _HCL, _hcl_type)
_BOUND = "REPORT_DATA is the digest of the runtime data, then zeros"
_RUNTIME_DATA = Rule("azure.runtime_data", _BOUND, _HCL, _runtime_data)
_COPY = Rule("azure.runtime_data.copy", "a copy is the same bytes", _HCL, _runtime_data_copy)
_AK = Rule("azure.ak", f"one {AK_KID}: RSA, 2048 to 4096 bits, exponent 65537", _HCL, _ak)
_VMPL = Rule("azure.vmpl", "0, the paravisor's", "AMD 56860 ATTESTATION_REPORT", _vmpl)
_SAME_TD = "TD quote and TDREPORT speak of one TD: all their fields are equal"
_TDREPORT = Rule("azure.tdreport", _SAME_TD, "Intel TDX module ABI, TDREPORT_STRUCT", _tdreport)
_QUOTE: tuple[Rule[Case], ...] = (
    Rule("azure.quote.type", "a quote that a TPM made", _TPM, _quote_type),
    Rule("azure.quote.signature", f"RSASSA with SHA-256 by {AK_KID}", _TPM, _quote_signature),
    Rule("azure.quote.pcrs", "the SHA-256 PCR values are those signed", _TPM, _quote_pcrs),
)
_JOINED = (_TYPE, _RUNTIME_DATA, _COPY, _AK)
RULES: Mapping[int, tuple[Rule[Case], ...]] = {
    REPORT_SNP: (*_JOINED, _VMPL, *_QUOTE),
    REPORT_TDX: (*_JOINED, _TDREPORT, *_QUOTE),
}
