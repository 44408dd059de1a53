"""What a report and its VEK say, by the names of docs/spec/facts.md: for display, whatever the verdict is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from attestation.errors import MalformedEvidence
from attestation.model import Fact, Facts, Tcb
from attestation.snp.abi import GuestPolicy, PlatformInfo, Report, decode_tcb, product_of_cpuid
from attestation.snp.chain import Case

_LAST_MILAN_BOOTLOADER = 6


def snp_facts(case: Case) -> Facts:
    """Facts of a report and, if its certificate was found, of that. Nothing here has been verified."""
    return report_facts(case.report, _certified_product(case)) | _vek_facts(case)


def report_facts(report: Report, certified: str | None = None) -> dict[str, Fact]:
    """Facts of a report alone. `certified`: the product that its certificate names, if there is one."""
    product, source = _product(report, certified)
    tcbs = {
        "current_tcb": report.current_tcb_raw,
        "reported_tcb": report.reported_tcb_raw,
        "committed_tcb": report.committed_tcb_raw,
        "launch_tcb": report.launch_tcb_raw,
    }
    return {
        "version": report.version,
        "guest_svn": report.guest_svn,
        "product": product,
        "product_source": source,
        "policy_raw": hex(report.policy.raw),
        "policy": _policy_bits(report.policy),
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "vmpl": report.vmpl,
        "sig_algo": report.signature_algo,
        "platform_info_raw": hex(report.platform_info.raw),
        "platform_info": _platform_bits(report.platform_info),
        "flags_raw": hex(report.flags),
        "author_key_en": report.author_key_en,
        "mask_chip_key": report.mask_chip_key,
        "signing_key": report.signing_key,
        "report_data": report.report_data.hex(),
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "report_id": report.report_id.hex(),
        "report_id_ma": report.report_id_ma.hex(),
        "reported_tcb_raw": report.reported_tcb_raw.hex(),
        "cpuid": None if report.cpuid is None else {**report.cpuid._asdict()},
        "chip_id": report.chip_id.hex(),
        "current_version": str(report.current_version),
        "committed_version": str(report.committed_version),
        "launch_mit_vector": _vector(report.launch_mit_vector),
        "current_mit_vector": _vector(report.current_mit_vector),
        "reserved_nonzero": report.reserved_nonzero,
        **{name: tcb_facts(decode_tcb(raw, product)) for name, raw in tcbs.items()},
    }


def tcb_facts(tcb: Tcb) -> dict[str, Fact]:
    """Patch levels under the short names that vendors' tools use."""
    levels: dict[str, Fact] = {
        "bl": tcb.bootloader,
        "tee": tcb.tee,
        "snp": tcb.snp,
        "ucode": tcb.microcode,
    }
    return levels if tcb.fmc is None else {"fmc": tcb.fmc, **levels}


def _product(report: Report, certified: str | None) -> tuple[str, str]:
    """The processor's own word first; reports of version 2 lack it, so then the certificate's.

    With neither, the boot loader's number tells the two products apart that wrote version 2: a guess, and
    marked as one.
    """
    by_cpuid = None if report.cpuid is None else product_of_cpuid(report.cpuid)
    if by_cpuid is not None:
        return by_cpuid, "report"
    if certified is not None:
        return certified, "certificate"
    is_milan = report.reported_tcb_raw[0] <= _LAST_MILAN_BOOTLOADER
    return "Milan" if is_milan else "Genoa", "guessed from patch levels"


def _policy_bits(policy: GuestPolicy) -> Mapping[str, Fact]:
    bits = {field.name: getattr(policy, field.name) for field in fields(policy) if field.name != "raw"}
    return {**bits, "reserved1": policy.raw >> 17 & 1}


def _platform_bits(info: PlatformInfo) -> Mapping[str, Fact]:
    bits = {field.name: getattr(info, field.name) for field in fields(info) if field.name != "raw"}
    return {**bits, "reserved_6": info.raw >> 6 & 1}


def _vector(value: int | None) -> str | None:
    return None if value is None else hex(value)


def _certified_product(case: Case) -> str | None:
    try:
        return None if case.found_vek is None else case.extensions.product
    except MalformedEvidence:
        return None


def _vek_facts(case: Case) -> dict[str, Fact]:
    if case.found_vek is None:
        return {}
    validity: dict[str, Fact] = {
        "vek_not_before": f"{case.vek.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "vek_not_after": f"{case.vek.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
    }
    try:
        return {"vek_extensions": _extension_facts(case)} | validity
    except MalformedEvidence:
        return validity


def _extension_facts(case: Case) -> Mapping[str, Fact]:
    """AMD's extensions; patch levels by the number of their OID (57230, table 9)."""
    found, tcb = case.extensions, case.extensions.tcb
    levels: dict[str, Fact] = {
        "spl1": tcb.bootloader,
        "spl2": tcb.tee,
        "spl3": tcb.snp,
        "spl8": tcb.microcode,
        **{f"spl{number}": 0 for number in found.reserved_spls},
    }
    if tcb.fmc is not None:
        levels["spl9"] = tcb.fmc
    names: dict[str, Fact] = {"struct_version": found.struct_version, "product": found.product_name}
    if found.hwid is not None:
        names["hwid"] = found.hwid.hex()
    if found.csp_id is not None:
        names["csp_id"] = found.csp_id
    return names | levels
