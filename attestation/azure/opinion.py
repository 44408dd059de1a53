"""What a token of Microsoft Azure Attestation has to say if it speaks of the evidence that we hold.

Names of claims: Microsoft's documentation of Azure Attestation ("Claim sets", "TDX EAT profile"), compared
with a published token. The other side of each comparison is evidence that we have verified ourselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attestation.azure.hcl import AK_KID, read_runtime_data
from attestation.azure.verify import VtpmClaims
from attestation.errors import MalformedEvidence
from attestation.model import Fact, Tcb
from attestation.snp.verify import SnpClaims
from attestation.tdx.verify import TdxClaims

Accepted = Mapping[str, Sequence[Fact]]

_TYPE, _COMPLIANCE = "x-ms-attestation-type", "x-ms-compliance-status"
_INNER, _RUNTIME, _VMID = "x-ms-isolation-tee", "x-ms-runtime", "x-ms-azurevm-vmid"
_COMPLIANT = "azure-compliant-cvm"
_SNP = "x-ms-sevsnpvm-"
_SECURE_BOOT = "secureboot"
_SNP_REQUIRED = (_TYPE, _COMPLIANCE, f"{_SNP}launchmeasurement", f"{_SNP}reportdata", f"{_SNP}is-debuggable")
_TDX_REQUIRED = (_TYPE, _COMPLIANCE, "tdx_mrtd", "tdx_report_data", "tdx_td_attributes_debug")


def disagreements(token: Mapping[str, Any], claims: VtpmClaims) -> list[str]:
    """Names of claims that contradict the evidence, or that have to be there and are not.

    A token about a whole virtual machine (attested by its guest) has the hardware's part in a claim of its
    own, one about the hardware alone has it at the top. Claims that we cannot compare are passed over.
    """
    inner = token.get(_INNER, token)
    if not isinstance(inner, Mapping):
        return [_INNER]
    hardware = claims.hardware
    is_snp = isinstance(hardware, SnpClaims)
    accepted = _snp_accepted(hardware) if isinstance(hardware, SnpClaims) else _tdx_accepted(hardware)
    missing = [name for name in (_SNP_REQUIRED if is_snp else _TDX_REQUIRED) if name not in inner]
    other = [name for name, values in accepted.items() if name in inner and not _among(inner[name], values)]
    if claims.vm_unique_id and not _among(
        token.get(_VMID, claims.vm_unique_id), [claims.vm_unique_id.lower()]
    ):
        other.append(_VMID)
    if not _among(token.get(_SECURE_BOOT, claims.secure_boot), [claims.secure_boot]):
        other.append(_SECURE_BOOT)
    return missing + other + _runtime_disagreements(inner.get(_RUNTIME), claims)


def _among(found: Any, accepted: Sequence[Fact]) -> bool:
    """Same type and value; the case of letters says nothing in digests and ids."""
    value = found.lower() if isinstance(found, str) else found
    return any(type(value) is type(one) and value == one for one in accepted)


def _snp_accepted(claims: SnpClaims) -> Accepted:
    """For each claim the values that agree with the report.

    Microsoft does not say which of the report's TCBs its patch levels are: reported or current will do.
    """
    report = claims.report
    tcbs: tuple[Tcb, ...] = (claims.reported_tcb, claims.current_tcb)
    values: dict[str, Sequence[Fact]] = {
        "authorkeydigest": [report.author_key_digest.hex()],
        "chipid": [report.chip_id.hex()],
        "familyId": [report.family_id.hex()],
        "guestsvn": [report.guest_svn],
        "hostdata": [report.host_data.hex()],
        "idkeydigest": [report.id_key_digest.hex()],
        "imageId": [report.image_id.hex()],
        "is-debuggable": [report.policy.debug],
        "launchmeasurement": [report.measurement.hex()],
        "migration-allowed": [report.policy.migrate_ma],
        "reportdata": [report.report_data.hex()],
        "reportid": [report.report_id.hex()],
        "smt-allowed": [report.policy.smt],
        "vmpl": [report.vmpl],
        "bootloader-svn": [tcb.bootloader for tcb in tcbs],
        "microcode-svn": [tcb.microcode for tcb in tcbs],
        "snpfw-svn": [tcb.snp for tcb in tcbs],
        "tee-svn": [tcb.tee for tcb in tcbs],
    }
    accepted = {f"{_SNP}{name}": value for name, value in values.items()}
    return accepted | {_TYPE: ["sevsnpvm"], _COMPLIANCE: [_COMPLIANT]}


def _tdx_accepted(claims: TdxClaims) -> Accepted:
    """For each claim the values that agree with the quote.

    The TCB status is Microsoft's own judgement, by collateral of its own: a worse one than ours disagrees.
    """
    body, attributes = claims.body, claims.body.td_attributes
    registers: dict[str, Sequence[Fact]] = {
        f"tdx_rtmr{n}": [value.hex()] for n, value in enumerate(body.rtmrs)
    }
    return registers | {
        "attester_tcb_status": ["uptodate", claims.status.lower()],
        "tdx_mrconfigid": [body.mrconfigid.hex()],
        "tdx_mrowner": [body.mrowner.hex()],
        "tdx_mrownerconfig": [body.mrownerconfig.hex()],
        "tdx_mrseam": [body.mrseam.hex()],
        "tdx_mrsignerseam": [body.mrsignerseam.hex()],
        "tdx_mrtd": [body.mrtd.hex()],
        "tdx_report_data": [body.report_data.hex()],
        "tdx_seam_attributes": [body.seam_attributes.hex()],
        "tdx_seamsvn": [int.from_bytes(body.tee_tcb_svn[:2], "little")],
        "tdx_td_attributes": [attributes.raw.hex()],
        "tdx_td_attributes_debug": [attributes.debug],
        "tdx_td_attributes_key_locker": [attributes.kl],
        "tdx_td_attributes_perfmon": [attributes.perfmon],
        "tdx_td_attributes_protection_keys": [attributes.pks],
        "tdx_td_attributes_septve_disable": [attributes.sept_ve_disable],
        "tdx_tee_tcb_svn": [body.tee_tcb_svn.hex()],
        "tdx_xfam": [body.xfam.hex()],
        _TYPE: ["tdxvm"],
        _COMPLIANCE: [_COMPLIANT],
    }


def _runtime_disagreements(runtime: Any, claims: VtpmClaims) -> list[str]:
    """The token's copy of the runtime data, if it has one, names our attestation key and configuration."""
    if not isinstance(runtime, Mapping) or "keys" not in runtime:
        return []
    try:
        read = read_runtime_data(runtime)
    except MalformedEvidence:
        return [_RUNTIME]
    keys = [(key.modulus, key.exponent) for key in read.keys if key.kid == AK_KID]
    ours = claims.vm_configuration
    problems = [] if keys == [claims.attestation_key] else [f"{_RUNTIME}.keys"]
    if any(name in ours and ours[name] != value for name, value in read.vm_configuration.items()):
        problems.append(f"{_RUNTIME}.vm-configuration")
    if read.user_data not in (None, claims.user_data):
        problems.append(f"{_RUNTIME}.user-data")
    return problems
