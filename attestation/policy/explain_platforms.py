"""Say in plain words what `[snp]`, `[tdx]` and `[azure]` accept: every field, whether it is set or not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from attestation.model import Tcb
from attestation.policy.model import (
    BUILT_IN,
    TD_ATTRIBUTES,
    AzurePolicy,
    Operator,
    ReferenceSet,
    SnpPolicy,
    TdxPolicy,
)
from attestation.policy.reach import NO_REFERENCE, usable_keys, usable_products
from attestation.policy.words import SAME, WEAKER, compared, joined, same_if, weaker_if


def snp_lines(snp: SnpPolicy, operators: Collection[Operator]) -> list[str]:
    """What `[snp]`, or `[azure.snp]`, accepts of machines of these operators."""
    return [
        *_running(len(snp.measurements), snp.sets, len(snp.id_key_digests) if snp.trust_id_key else 0),
        *_limited("family ID", snp.family_ids),
        *_limited("image ID", snp.image_ids),
        *_products(snp, operators),
        *_keys(snp, operators),
        *(_floor(product, snp.minimum_tcb[product]) for product in sorted(snp.products)),
        *_level(snp.vmpl),
        *_launch_data("ID key", snp.id_key_digests),
        *_launch_data("author key", snp.author_key_digests),
        *_launch_data("host data", snp.host_data),
        *_bits(snp),
        *_minima(snp),
    ]


def _limited(what: str, values: Collection[bytes] | None) -> list[str]:
    if values is None:
        return [f"{SAME}accepts any {what}"]
    return [f"{SAME}requires one of the listed values ({len(values)}) as {what}"]


def _products(snp: SnpPolicy, operators: Collection[Operator]) -> list[str]:
    usable = usable_products(snp, operators)
    return [
        compared(
            usable <= BUILT_IN.snp.products, f"accepts the processors {joined(sorted(usable)) or 'none'}"
        ),
        *same_if(
            usable != snp.products,
            f"refuses the processors {joined(sorted(snp.products - usable))}, which are listed, as no "
            "operator is named for them",
        ),
        *weaker_if(
            "Milan" in usable,
            "warns: Milan's root secret was extracted, so that only its named operator vouches for it",
        ),
    ]


def _keys(snp: SnpPolicy, operators: Collection[Operator]) -> list[str]:
    usable = usable_keys(snp, operators)
    kinds = " or a ".join(sorted(key.upper() for key in usable))
    return [
        compared("vlek" not in usable, f"accepts reports signed by {f'a {kinds}' if kinds else 'no key'}"),
        *(
            f"{SAME}refuses reports signed by a {key.upper()}, which is listed, as no named operator has one"
            for key in sorted(snp.signing_keys - usable)
        ),
    ]


def _level(vmpl: int) -> list[str]:
    if vmpl == 0:
        return [f"{SAME}accepts only reports of privilege level 0, above which nothing in the guest stands"]
    return [
        f"{WEAKER}accepts reports of privilege level {vmpl}, above which another part of the guest stands"
    ]


def _minima(snp: SnpPolicy) -> list[str]:
    masks = [
        f"{SAME}requires on {name} the mitigations {mask:#x}"
        for name, mask in snp.required_mitigations.items()
    ]
    major, minor = snp.minimum_abi
    interface = f"requires firmware interface {major}.{minor} or later"
    version = f"requires guest version {snp.minimum_guest_svn} or later"
    return [
        *(masks or [f"{SAME}requires no mitigations by name"]),
        SAME + (version if snp.minimum_guest_svn else "accepts any guest version"),
        SAME + (interface if any(snp.minimum_abi) else "accepts any firmware interface"),
    ]


# field: what true means, what false means
_BITS: Mapping[str, tuple[str, str]] = {
    "allow_smt": ("accepts two threads on one core (SMT)", "refuses two threads on one core (SMT)"),
    "allow_migration": (
        "accepts that an agent moves the guest to another machine",
        "refuses guests that can be moved to another machine",
    ),
    "allow_cxl": ("accepts memory on CXL devices", "refuses memory on CXL devices"),
    "allow_tio": (
        "accepts devices inside the guest's protected memory (SEV-TIO)",
        "refuses devices inside the guest's protected memory (SEV-TIO)",
    ),
    "allow_provisional_firmware": (
        "accepts firmware that can still be exchanged for an older one",
        "refuses firmware that can still be exchanged for an older one",
    ),
    "require_alias_check": (
        "requires that memory was checked for aliases (BadRAM)",
        "accepts memory that nobody checked for aliases (BadRAM)",
    ),
    "require_ecc": ("requires memory with error correction", "accepts memory without error correction"),
    "require_crl": (
        "requires AMD's list of revoked certificates to be there",
        "accepts that AMD's list of revoked certificates is missing",
    ),
    "require_single_socket": ("requires a single socket", "accepts several sockets"),
    "require_aes_256_xts": (
        "requires memory encrypted with AES-256-XTS",
        "accepts memory encrypted with AES-128 as well as AES-256",
    ),
    "require_rapl_disabled": (
        "requires power metering (RAPL) to be off",
        "accepts power metering (RAPL), which may tell what is computed",
    ),
    "require_ciphertext_hiding": (
        "requires that the host cannot read encrypted memory",
        "accepts that the host reads encrypted memory, and sees when it changes",
    ),
    "require_page_swap_disabled": (
        "requires that the host cannot move encrypted pages",
        "accepts that the host moves encrypted pages",
    ),
    "require_tsme": (
        "requires that all other memory is encrypted too",
        "accepts that other memory is not encrypted",
    ),
}


def _bits(snp: SnpPolicy) -> list[str]:
    return [
        compared(_is_strict(name, getattr(snp, name)), words[0] if getattr(snp, name) else words[1])
        for name, words in _BITS.items()
    ]


def _is_strict(name: str, value: bool) -> bool:
    """Whether a switch accepts no more than the default does."""
    default: bool = getattr(BUILT_IN.snp, name)
    return value == default or value == name.startswith("require_")


def _floor(product: str, tcb: Tcb) -> str:
    shipped = BUILT_IN.snp.minimum_tcb[product]
    fmc = "" if tcb.fmc is None else f"fmc {tcb.fmc}, "
    levels = f"{fmc}boot loader {tcb.bootloader}, TEE {tcb.tee}, SNP {tcb.snp}, microcode {tcb.microcode}"
    return compared(tcb.at_least(shipped), f"requires on {product} at least {levels}")


def _launch_data(what: str, listed: Collection[bytes]) -> list[str]:
    wanted = f"requires one of the listed values ({len(listed)}) as" if listed else "refuses any"
    return [f"{SAME}{wanted} {what}"]


def _running(plain: int, sets: Collection[ReferenceSet], id_keys: int = 0) -> list[str]:
    named = (f"{SAME}accepts the reference set {one.name} ({joined(one.values)})" for one in sets)
    by_key = f"accepts whatever a listed ID key signed ({id_keys}), whatever it measures"
    accepted = [
        *same_if(plain > 0, f"accepts the listed launch measurements ({plain})"),
        *named,
        *weaker_if(id_keys > 0, by_key),
    ]
    return accepted or [f"{SAME}refuses whatever was started, as {NO_REFERENCE}"]


def tdx_lines(tdx: TdxPolicy) -> list[str]:
    """What `[tdx]`, or `[azure.tdx]`, accepts."""
    default = BUILT_IN.tdx
    modules = None if tdx.mrseams is None else f"only the listed TDX modules ({len(tdx.mrseams)})"
    return [
        *_running(0, tdx.sets),
        *_unjudged(tdx.unjudged_registers, "MRTD and RTMRs 0 to 3"),
        f"{SAME}accepts {modules or 'any TDX module that Intel finds good'}",
        *_limited("XFAM (processor features)", tdx.xfams),
        compared(
            tdx.statuses <= default.statuses,
            f"accepts platforms that Intel calls {joined(sorted(tdx.statuses)) or 'nothing'}",
        ),
        _advisories(tdx.advisories),
        compared(
            tdx.minimum_evaluation_number >= default.minimum_evaluation_number,
            f"requires Intel's evaluation {tdx.minimum_evaluation_number} or later",
        ),
        *_launch_data("MRCONFIGID", tdx.mrconfigids),
        *_launch_data("MROWNER", tdx.mrowners),
        *_launch_data("MROWNERCONFIG", tdx.mrownerconfigs),
        _service_tds(len(tdx.mrservicetds)),
        *_tdx_bits(tdx),
    ]


def _advisories(advisories: Collection[str]) -> str:
    if not advisories:
        return f"{SAME}refuses platforms for which an advisory of Intel's is open"
    return f"{WEAKER}accepts the open advisories {joined(sorted(advisories))}, and no others"


def _tdx_bits(tdx: TdxPolicy) -> list[str]:
    allowed, refused = sorted(tdx.allow_attributes), sorted(TD_ATTRIBUTES - tdx.allow_attributes)
    moving = "accepts" if tdx.allow_migration else "refuses"
    strict = tdx.require_sept_ve_disable
    threads = "accepts" if tdx.allow_smt else "refuses"
    return [
        *weaker_if(bool(allowed), f"accepts the attributes {joined(allowed)}"),
        *same_if(bool(refused), f"refuses the attributes {joined(refused)}"),
        compared(not tdx.allow_migration, f"{moving} guests that can be moved to another machine"),
        compared(
            strict,
            f"{'refuses' if strict else 'accepts'} that the host interrupts the guest by taking its memory "
            "away (SEPT_VE_DISABLE)",
        ),
        f"{SAME}{threads} two threads on one core (SMT)",
    ]


def _service_tds(count: int) -> str:
    if not count:
        return f"{SAME}refuses service TDs, which may move or change the guest"
    return f"{WEAKER}accepts one of the listed service TDs ({count}), which may move or change the guest"


def _unjudged(registers: Iterable[str], everything: str) -> list[str]:
    names = sorted(registers)
    judged = f"judges {f'the others of {everything}' if names else everything}"
    return [
        *weaker_if(bool(names), f"does not look at {joined(names)}: whatever they measured may have run"),
        f"{SAME}{judged}: one that a reference set does not state has to be zeros",
    ]


def azure_lines(azure: AzurePolicy) -> list[str]:
    """What `[azure]` accepts of the guest, whatever the paravisor below it is."""
    issuers = joined(sorted(azure.maa.issuers))
    console = "refuses" if azure.require_console_disabled else "accepts"
    opinion = "is there and agrees" if azure.maa.required else "agrees, if there is one"
    return [
        *_running(0, azure.sets),
        *_unjudged(azure.unjudged_registers, "PCRs 0 to 15"),
        compared(
            azure.require_secure_boot,
            "requires secure boot" if azure.require_secure_boot else "accepts that secure boot is off",
        ),
        f"{SAME}{console} a console that the host can reach",
        SAME
        + (f"requires that a token of {issuers} {opinion}" if issuers else "looks at no token of Azure's"),
        f"{SAME}does not look at PCRs 16 to 23, which the guest itself may reset",
    ]
