"""The hardware's part of evidence, as each platform delivers it: bytes, nothing verified yet.

`SnpEvidence` and `TdxEvidence` come from a guest that hardware measured directly (trust class `direct-boot`).
`VtpmEvidence` comes from an Azure guest below Microsoft's paravisor: hardware measured the paravisor, whose
virtual TPM measured the guest (trust class `paravisor-vtpm`). The two are never presented as equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from attestation.model import TdxCollateral

Tee = Literal["sev-snp", "tdx", "azure-snp", "azure-tdx"]
TrustClass = Literal["direct-boot", "paravisor-vtpm"]


@dataclass(frozen=True, slots=True)
class SnpEvidence:
    """An ATTESTATION_REPORT (1,184 bytes) with certificates and CRLs as DER, in any order."""

    report: bytes
    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class TdxEvidence:
    """A TDX quote (its PCK chain is inside), collateral, and event logs if there are any.

    `ccel` is the data area of the ACPI table CCEL; `dstack_log` is JSON as dstack guests write it.
    """

    quote: bytes
    collateral: TdxCollateral = field(default_factory=TdxCollateral)
    ccel: bytes | None = None
    dstack_log: bytes | None = None


@dataclass(frozen=True, slots=True)
class VtpmEvidence:
    """Azure: the HCL report (it holds the SNP report or TDREPORT) and a quote by the virtual TPM.

    `tee` says which hardware the sender claims. `certificates` and `crls` are for SNP, `td_quote` and
    `collateral` for TDX. `tpm_quote` is a bare TPMS_ATTEST, `tpm_signature` 256 bytes of RSASSA, `tpm_pcrs`
    a JSON list of hexadecimal SHA-256 values from PCR 0 on. `runtime_data`, if given, is a copy that has to
    equal the one inside the HCL report. The MAA token is a second opinion, with the JWK set to check it.
    """

    tee: Literal["azure-snp", "azure-tdx"]
    hcl_report: bytes
    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    td_quote: bytes = b""
    collateral: TdxCollateral = field(default_factory=TdxCollateral)
    tpm_quote: bytes = b""
    tpm_signature: bytes = b""
    tpm_pcrs: bytes = b""
    runtime_data: bytes = b""
    maa_token: bytes = b""
    maa_keys: bytes = b""


Hardware: TypeAlias = SnpEvidence | TdxEvidence | VtpmEvidence
