"""What to do next about a check that could not be decided. Printed on stderr, never part of a result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attestation.check import Check, Outcome

_AMD = (
    "the chip's certificates are missing: let --online fetch them, name a folder that has vcek.der (or "
    "vlek.der) and ca_chain.pem with --collateral, or put both beside the report"
)
_AMD_CRL = (
    "AMD's revocation list is missing or out of date: let --online fetch it, name a folder that has "
    "amd_crl.der with --collateral, or put it beside the report"
)
_INTEL = (
    "Intel's collateral is missing or out of date: let --online fetch it, name a folder that has it with "
    "--collateral (`casemate collateral fetch` writes one), or judge as of an earlier time with --at"
)
_TPM = "the virtual TPM's quote is missing: put tpm_quote.msg and tpm_quote.sig beside the HCL report"
_HINTS: dict[str, str] = {
    "statement.nonce": "say with --nonce which nonce this evidence was asked for, or name the gateway's URL "
    "instead of a file: then a fresh one is asked",
    "evidence.report_data": "say with --report-data which bytes the hardware was asked to sign: without them "
    "nobody knows whose evidence this is, nor how old",
    "snp.crl": _AMD_CRL,
    "snp.crl.present": _AMD_CRL,
    "azure.tdreport": "an HCL report alone proves nothing on TDX: put the TD's quote beside it as quote.bin",
    "azure.quote.type": _TPM,
    "azure.quote.signature": _TPM,
    "azure.quote.pcrs": "the quoted PCR values are missing: put them beside the quote as tpm_pcrs.json",
}
_BY_LAYER = {"snp": _AMD, "tdx": _INTEL}


def next_steps(checks: Iterable[Check]) -> Iterator[str]:
    """One line for each way out of what is undecided, each line once, in the order of the checks."""
    said: set[str] = set()
    for check in checks:
        if check.outcome is not Outcome.UNDECIDED:
            continue
        hint = _HINTS.get(check.id) or _BY_LAYER.get(check.id.split(".")[0], "")
        if hint and hint not in said:
            said.add(hint)
            yield f"{check.id} is undecided: {hint}"
