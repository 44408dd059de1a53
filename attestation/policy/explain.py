"""Say in plain words what a policy accepts, what it refuses, and where it accepts more than the default.

For a reader who answers for the policy but does not know its fields: one statement a line, grouped by the
question that it answers. A line that starts with `!` accepts something that the strict default refuses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from attestation.model import Tcb
from attestation.pins import write_pin
from attestation.policy.model import (
    BUILT_IN,
    AzurePolicy,
    Operator,
    Policy,
    ReferenceSet,
    SnpPolicy,
    TdxPolicy,
)
from attestation.policy.providers import PROVIDER_HOSTS

_PLATFORMS = {
    "sev-snp": "guests on AMD SEV-SNP, which the processor itself measured",
    "tdx": "guests on Intel TDX, which the processor itself measured",
    "azure-snp": "Azure guests on AMD SEV-SNP",
    "azure-tdx": "Azure guests on Intel TDX",
}
_WEAKER, _SAME = "! ", "- "
_LEGEND = "Every statement has to hold. A line with ! accepts more than the strict default does.\n\n"


def explain_policy(policy: Policy) -> str:
    """Return the explanation: sections with one statement a line, ending in a newline."""
    sections: list[tuple[str, list[str]]] = [
        ("In short", _short(policy)),
        ("Whose machines", _operators(policy.operators)),
    ]
    if "sev-snp" in policy.tees:
        sections.append(("What may run on AMD SEV-SNP", _snp(policy.snp)))
    if "tdx" in policy.tees:
        sections.append(("What may run on Intel TDX", _tdx(policy.tdx)))
    if _allows_azure(policy):
        sections += _azure_sections(policy)
    sections += [
        ("What the gateway was told", _config(policy)),
        ("Its keys and its ledger", _manifest(policy)),
        ("How fresh it has to be", _evidence(policy)),
        ("Refused whatever a policy says", list(_ALWAYS)),
    ]
    told = (f"{title}\n" + "".join(f"  {line}\n" for line in lines) for title, lines in sections)
    return _LEGEND + "\n".join(told)


_ALWAYS = (
    "- evidence under other root keys than AMD's and Intel's (and the one above, if there is one)",
    "- evidence under certificates that were revoked",
    "- a guest whose host may look into it (debugging)",
    "- evidence for another question, another purpose or another connection",
    "- Intel platforms that Intel calls revoked or does not know",
)


def _allows_azure(policy: Policy) -> bool:
    return "paravisor-vtpm" in policy.trust_classes and any(tee.startswith("azure") for tee in policy.tees)


def _short(policy: Policy) -> list[str]:
    accepted = [f"{_SAME}accepts {_PLATFORMS[tee]}" for tee in sorted(policy.tees & BUILT_IN.tees)]
    if _allows_azure(policy):
        below = [_PLATFORMS[tee] for tee in sorted(policy.tees - BUILT_IN.tees)]
        accepted += [f"{_WEAKER}accepts {name}, below Microsoft's paravisor" for name in below]
    else:
        accepted.append(f"{_SAME}refuses guests below a cloud's paravisor, such as Azure's")
    if policy.insecure_development_root is not None:
        root = write_pin(policy.insecure_development_root)
        accepted.append(
            f"{_WEAKER}INSECURE: accepts simulated hardware under the key {root}; it protects nothing"
        )
    if policy.version is not None:
        accepted.append(f"{_SAME}is version {policy.version} of its owner's policy")
    if policy.reference.releases:
        names = _joined(policy.reference.releases)
        accepted.append(f"{_SAME}takes reference values from the signed release files {names}")
    return accepted


def _operators(operators: Collection[Operator]) -> list[str]:
    if not operators:
        return [
            f"{_SAME}accepts anyone's machine: nothing says where it stands, and who touches it may break it",
            f"{_SAME}refuses AMD Milan, and machines that only a cloud provider vouches for (VLEK)",
        ]
    named = [f"{_SAME}accepts machines of {one.name}: {_machines(one)}" for one in operators]
    return [*named, f"{_SAME}refuses anybody else's machine"]


def _machines(operator: Operator) -> str:
    kinds = (
        (len(operator.chip_ids), "AMD processors"),
        (len(operator.ppids) + len(operator.platform_instance_ids), "Intel platforms"),
    )
    named = [f"{what} by number ({count})" for count, what in kinds if count]
    return _joined([*named, *(f"all that {csp} vouches for" for csp in sorted(operator.csp_ids))])


def _snp(snp: SnpPolicy) -> list[str]:
    default = BUILT_IN.snp
    return [
        *_running(len(snp.measurements), snp.sets, len(snp.id_key_digests) if snp.trust_id_key else 0),
        _compared(
            snp.products <= default.products,
            f"accepts the processors {_joined(sorted(snp.products)) or 'none'}",
        ),
        *_if(
            "Milan" in snp.products,
            "warns: Milan's root secret was extracted, so that only its named operator vouches for it",
        ),
        _compared(
            snp.signing_keys == {"vcek"},
            f"accepts reports signed by a {' or a '.join(sorted(key.upper() for key in snp.signing_keys))}",
        ),
        *(_floor(product, snp.minimum_tcb[product]) for product in sorted(snp.products)),
        *_if(
            snp.vmpl != 0,
            f"accepts reports of privilege level {snp.vmpl}, above which another part of the guest stands",
        ),
        *_launch_data("ID key", snp.id_key_digests),
        *_launch_data("author key", snp.author_key_digests),
        *_launch_data("host data", snp.host_data),
        *_bits(snp),
        *(
            f"{_SAME}requires on {name} the mitigations {mask:#x}"
            for name, mask in snp.required_mitigations.items()
        ),
        *(
            [f"{_SAME}requires guest version {snp.minimum_guest_svn} or later"]
            if snp.minimum_guest_svn
            else []
        ),
        *(
            [f"{_SAME}requires firmware interface {_dotted(snp.minimum_abi)} or later"]
            if any(snp.minimum_abi)
            else []
        ),
    ]


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


# field: what true means, what false means
_BITS: Mapping[str, tuple[str, str]] = {
    "allow_smt": ("accepts two threads on one core (SMT)", "refuses two threads on one core (SMT)"),
    "allow_migration": (
        "accepts that an agent moves the guest to another machine",
        "refuses guests that can be moved to another machine",
    ),
    "allow_cxl": ("accepts memory on CXL devices", "refuses memory on CXL devices"),
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
        _compared(_is_strict(name, getattr(snp, name)), words[0] if getattr(snp, name) else words[1])
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
    return _compared(tcb.at_least(shipped), f"requires on {product} at least {levels}")


def _launch_data(what: str, listed: Collection[bytes]) -> list[str]:
    wanted = f"requires one of the listed values ({len(listed)}) as" if listed else "refuses any"
    return [f"{_SAME}{wanted} {what}"]


def _running(plain: int, sets: Collection[ReferenceSet], id_keys: int = 0) -> list[str]:
    if not plain and not sets and not id_keys:
        return [f"{_SAME}accepts NOTHING: no reference value is named, so that every guest is refused"]
    listed = [f"{_SAME}accepts the listed launch measurements ({plain})"] if plain else []
    named = (f"{_SAME}accepts the reference set {one.name} ({_joined(one.values)})" for one in sets)
    by_key = _if(id_keys > 0, f"accepts whatever a listed ID key signed ({id_keys}), whatever it measures")
    return [*listed, *named, *by_key]


def _tdx(tdx: TdxPolicy) -> list[str]:
    default = BUILT_IN.tdx
    modules = "any TDX module that Intel finds good"
    named = None if tdx.mrseams is None else f"only the listed TDX modules ({len(tdx.mrseams)})"
    allowed = sorted(tdx.allow_attributes)
    return [
        *_running(0, tdx.sets),
        *_unjudged(tdx.unjudged_registers),
        f"{_SAME}accepts {named or modules}",
        _compared(
            tdx.statuses <= default.statuses,
            f"accepts platforms that Intel calls {_joined(sorted(tdx.statuses)) or 'nothing'}",
        ),
        *_if(bool(tdx.advisories), f"accepts the open advisories {_joined(sorted(tdx.advisories))}"),
        _compared(
            tdx.minimum_evaluation_number >= default.minimum_evaluation_number,
            f"requires Intel's evaluation {tdx.minimum_evaluation_number} or later",
        ),
        *_launch_data("MRCONFIGID", tdx.mrconfigids),
        *_launch_data("MROWNER", tdx.mrowners),
        *_launch_data("MROWNERCONFIG", tdx.mrownerconfigs),
        *_service_tds(len(tdx.mrservicetds)),
        *_if(bool(allowed), f"accepts the attributes {_joined(allowed)}"),
        *_if(tdx.allow_migration, "accepts guests that can be moved to another machine"),
        *_if(
            not tdx.require_sept_ve_disable,
            "accepts that the host interrupts the guest by taking its memory away",
        ),
        *([] if tdx.allow_smt else [f"{_SAME}refuses two threads on one core (SMT)"]),
    ]


def _service_tds(count: int) -> list[str]:
    if not count:
        return [f"{_SAME}refuses service TDs, which may move or change the guest"]
    return [f"{_WEAKER}accepts one of the listed service TDs ({count}), which may move or change the guest"]


def _unjudged(registers: Iterable[str]) -> list[str]:
    names = sorted(registers)
    return _if(bool(names), f"does not look at {_joined(names)}: whatever they measured may have run")


def _azure_sections(policy: Policy) -> list[tuple[str, list[str]]]:
    sections = [("What may run below Azure's paravisor", _azure(policy.azure))]
    if "azure-snp" in policy.tees:
        sections.append(("Which paravisor on AMD SEV-SNP", _snp(policy.azure.snp)))
    if "azure-tdx" in policy.tees:
        sections.append(("Which paravisor on Intel TDX", _tdx(policy.azure.tdx)))
    return sections


def _azure(azure: AzurePolicy) -> list[str]:
    issuers = _joined(sorted(azure.maa.issuers))
    console = "refuses" if azure.require_console_disabled else "accepts"
    opinion = "is there and agrees" if azure.maa.required else "agrees, if there is one"
    return [
        *_running(0, azure.sets),
        *_unjudged(azure.unjudged_registers),
        _compared(
            azure.require_secure_boot,
            "requires secure boot" if azure.require_secure_boot else "accepts that secure boot is off",
        ),
        f"{_SAME}{console} a console that the host can reach",
        *([f"{_SAME}requires that a token of {issuers} {opinion}"] if issuers else []),
        f"{_SAME}does not look at PCRs 16 to 23, which the guest itself may reset",
    ]


def _config(policy: Policy) -> list[str]:
    config = policy.config
    hosts = sorted(PROVIDER_HOSTS if config.providers is None else config.providers)
    how = "each with at least two pins" if config.providers is None else "each by the pins that are listed"
    listed = (
        []
        if config.sha384 is None
        else [f"{_SAME}requires one of the listed configurations ({len(config.sha384)})"]
    )
    return [
        *listed,
        f"{_SAME}accepts that prompts go to {_joined(hosts) or 'nobody'}, {how}",
        *_if(config.insecure_development, "INSECURE: accepts open development doors"),
        f"{_SAME}accepts any prices, limits and plans",
    ]


def _manifest(policy: Policy) -> list[str]:
    manifest = policy.manifest
    rollback = manifest.rollback
    kept = "any that the gateway names" if rollback is None else _joined(sorted(rollback)) or "nothing"
    return [
        _compared(
            manifest.root_sources <= BUILT_IN.manifest.root_sources,
            f"accepts durable keys from: {_joined(sorted(manifest.root_sources)) or 'nowhere'}",
        ),
        _compared(
            rollback is None or "none" not in rollback, f"accepts as protection against old ledgers: {kept}"
        ),
        *(
            []
            if manifest.services is None
            else [f"{_SAME}requires the label {' or '.join(sorted(manifest.services)) or 'none'}"]
        ),
        *(
            []
            if manifest.minimum_ledger_epoch is None
            else [f"{_SAME}requires ledger epoch {manifest.minimum_ledger_epoch} or later"]
        ),
    ]


def _evidence(policy: Policy) -> list[str]:
    evidence, default = policy.evidence, BUILT_IN.evidence
    return [
        *_if(
            evidence.accept_without_nonce,
            "accepts evidence of any age if the verifier asked no question of its own",
        ),
        *(
            []
            if evidence.accept_without_nonce
            else [f"{_SAME}requires an answer to the verifier's own question (nonce)"]
        ),
        _compared(
            evidence.max_age_seconds <= default.max_age_seconds,
            f"accepts keys that live for {_span(evidence.max_age_seconds)} from now at most",
        ),
        _compared(
            evidence.max_collateral_age_seconds <= default.max_collateral_age_seconds,
            f"accepts what Intel published {_span(evidence.max_collateral_age_seconds)} ago at most",
        ),
        _compared(
            evidence.max_crl_age_seconds <= default.max_crl_age_seconds,
            "accepts AMD's and Intel's lists of revoked authorities of "
            f"{_span(evidence.max_crl_age_seconds)} ago at most",
        ),
    ]


def _span(seconds: int) -> str:
    """A number of seconds in the largest unit that says it exactly."""
    for length, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} seconds"


def _compared(as_strict: bool, words: str) -> str:
    return (_SAME if as_strict else _WEAKER) + words


def _if(weakened: bool, words: str) -> list[str]:
    return [_WEAKER + words] if weakened else []


def _joined(values: Iterable[str]) -> str:
    return ", ".join(values)
