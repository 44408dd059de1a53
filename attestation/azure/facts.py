"""What Azure's evidence says, by the names of docs/spec/facts.md: for display, whatever the verdict is."""

from __future__ import annotations

from collections.abc import Mapping

from attestation.azure.hcl import HclReport
from attestation.azure.tpm import TPM_GENERATED, TPM_ST_ATTEST_QUOTE, PcrSelection, TpmQuote
from attestation.model import Fact


def hcl_facts(hcl: HclReport, report_data: bytes) -> Mapping[str, Fact]:
    """Facts of an HCL report. `report_data`: the 64 bytes in the hardware's report inside it."""
    user_data = hcl.runtime.user_data
    return {
        "header_version": hcl.header_version,
        "report_size": hcl.report_size,
        "request_type": hcl.request_type,
        "report_type": hcl.report_type,
        "hash_type": hcl.hash_type,
        "claims_size": len(hcl.runtime_data),
        "runtime_data_bound_to_report_data": hcl.bound_report_data == report_data,
        "report_data": report_data.hex(),
        "vm_configuration": dict(hcl.runtime.vm_configuration),
        "user_data": None if user_data is None else user_data.hex(),
        "key_ids": [key.kid for key in hcl.runtime.keys],
    }


def quote_facts(quote: TpmQuote, *, signed: bool, pcrs_match: bool | None) -> Mapping[str, Fact]:
    """Facts of a TPM quote. `pcrs_match` is None if no PCR values came with it."""
    return {
        "signature_valid_with_hcl_ak": signed,
        "pcr_digest_matches": pcrs_match,
        "extra_data_hex": quote.extra_data.hex(),
        "extra_data_ascii": _printable(quote.extra_data),
        "pcr_selection": [_selection(selection) for selection in quote.selections],
        "firmware": hex(quote.firmware_version),
        "clock": quote.clock,
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "safe": quote.safe,
        "magic": hex(TPM_GENERATED),
        "type": hex(TPM_ST_ATTEST_QUOTE),
    }


def _selection(selection: PcrSelection) -> Mapping[str, Fact]:
    return {"alg": hex(selection.algorithm), "pcrs": list(selection.pcrs)}


def _printable(data: bytes) -> str | None:
    """The text that the bytes are, if all of them are printable ASCII."""
    return data.decode("ascii") if all(0x20 <= byte < 0x7F for byte in data) else None
