"""Say in plain words what a policy accepts, what it refuses, and where it was made weaker than the default.

For a reader who answers for the policy but does not know the fields: one statement a line, grouped by the
question that it answers. A line that starts with `!` accepts something that the default refuses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from attestation.model import Tcb
from attestation.pins import write_pin
from attestation.policy import BUILT_IN, AzurePolicy, Operator, Policy, ReferenceSet, SnpPolicy, TdxPolicy
from attestation.provider_table import PROVIDER_HOSTS

_PLATFORMS = {
    "sev-snp": "AMD SEV-SNP guests, measured by the processor",
    "tdx": "Intel TDX guests, measured by the processor",
    "azure-snp": "Azure guests on AMD SEV-SNP",
    "azure-tdx": "Azure guests on Intel TDX",
}
_WEAKER, _SAME = "! ", "- "


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
    return "\n".join(f"{title}\n" + "".join(f"  {line}\n" for line in lines) for title, lines in sections)


_ALWAYS = (
    "- evidence that no genuine processor signed, or under certificates that were revoked",
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
            f"{_SAME}anyone's: nothing here says where a machine stands, and whoever can touch a machine may"
            " break it",
            f"{_SAME}but no AMD Milan, and no machine that only a cloud provider vouches for (VLEK)",
        ]
    return [f"{_SAME}{one.name}: {_machines(one)}" for one in operators]


def _machines(operator: Operator) -> str:
    kinds = (
        (len(operator.chip_ids), "AMD processors"),
        (len(operator.ppids) + len(operator.platform_instance_ids), "Intel platforms"),
    )
    named = [f"{count} {what} by name" for count, what in kinds if count]
    return _joined([*named, *(f"all that {csp} vouches for" for csp in sorted(operator.csp_ids))])


def _snp(snp: SnpPolicy) -> list[str]:
    default = BUILT_IN.snp
    return [
        *_running(len(snp.measurements), snp.sets),
        *_if(snp.trust_id_key, "any guest that one of the listed ID keys signed, whatever it measures"),
        _compared(snp.products <= default.products, f"processors: {_joined(sorted(snp.products))}"),
        *_if("Milan" in snp.products, "Milan's root secret was extracted: its operator has to be named too"),
        _compared(snp.signing_keys == {"vcek"}, f"signed by {_joined(sorted(snp.signing_keys)).upper()}"),
        *(_floor(product, snp.minimum_tcb[product]) for product in sorted(snp.products)),
        *_if(snp.vmpl != 0, f"a report by privilege level {snp.vmpl}, below another part of the guest"),
        *_launch_data("ID key", snp.id_key_digests),
        *_launch_data("author key", snp.author_key_digests),
        *_launch_data("host data", snp.host_data),
        *_bits(snp),
        *(f"{_SAME}on {name}, the mitigations {mask:#x}" for name, mask in snp.required_mitigations.items()),
        *([f"{_SAME}guest version {snp.minimum_guest_svn} or later"] if snp.minimum_guest_svn else []),
        *([f"{_SAME}firmware interface {_dotted(snp.minimum_abi)} or later"] if any(snp.minimum_abi) else []),
    ]


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


# field: what True means in words, what False means in words
_BITS: Mapping[str, tuple[str, str]] = {
    "allow_smt": ("two threads may share a core", "no two threads share a core"),
    "allow_migration": ("an agent may move the guest to another machine", "the guest cannot be moved"),
    "allow_cxl": ("memory on CXL devices", "no memory on CXL devices"),
    "allow_provisional_firmware": (
        "firmware that can be exchanged for an older one",
        "only firmware that is committed, so that it cannot be rolled back",
    ),
    "require_alias_check": (
        "memory was checked for aliases (BadRAM)",
        "memory unchecked for aliases (BadRAM)",
    ),
    "require_ecc": ("memory with error correction", "memory without error correction"),
    "require_crl": ("a list of revoked certificates must be there", "no list of revoked certificates needed"),
    "require_single_socket": ("one socket only", "several sockets"),
    "require_aes_256_xts": ("memory encrypted with AES-256-XTS", "memory encrypted with AES-128 or AES-256"),
    "require_rapl_disabled": ("power metering (RAPL) off", "power metering (RAPL) on or off"),
    "require_ciphertext_hiding": ("ciphertext hidden from the host", "ciphertext visible to the host or not"),
    "require_page_swap_disabled": ("the host cannot swap pages", "the host may swap encrypted pages"),
    "require_tsme": ("all memory encrypted against who takes the modules", "other memory encrypted or not"),
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
    return _compared(tcb.at_least(shipped), f"{product} firmware from {levels} on")


def _launch_data(what: str, listed: Collection[bytes]) -> list[str]:
    return [f"{_SAME}{what}: one of {len(listed)} listed values" if listed else f"{_SAME}no {what} at all"]


def _running(plain: int, sets: Collection[ReferenceSet]) -> list[str]:
    if not plain and not sets:
        return [f"{_SAME}NOTHING: no reference value is named, so everything is refused"]
    listed = [f"{_SAME}{plain} launch measurements"] if plain else []
    return [*listed, *(f"{_SAME}the reference set {one.name} ({_joined(one.values)})" for one in sets)]


def _tdx(tdx: TdxPolicy) -> list[str]:
    default = BUILT_IN.tdx
    modules = "any TDX module that Intel finds good"
    named = None if tdx.mrseams is None else f"{len(tdx.mrseams)} listed TDX modules"
    allowed = sorted(tdx.allow_attributes)
    return [
        *_running(0, tdx.sets),
        *_unjudged(tdx.unjudged_registers),
        f"{_SAME}{named or modules}",
        _compared(
            tdx.statuses <= default.statuses, f"platforms that Intel calls {_joined(sorted(tdx.statuses))}"
        ),
        *_if(bool(tdx.advisories), f"with the open advisories {_joined(sorted(tdx.advisories))}"),
        _compared(
            tdx.minimum_evaluation_number >= default.minimum_evaluation_number,
            f"by Intel's evaluation number {tdx.minimum_evaluation_number} or later",
        ),
        *_launch_data("MRCONFIGID", tdx.mrconfigids),
        *_launch_data("MROWNER", tdx.mrowners),
        *_launch_data("MROWNERCONFIG", tdx.mrownerconfigs),
        *_launch_data("service TD", tdx.mrservicetds),
        *_if(bool(allowed), f"the attributes {_joined(allowed)}"),
        *_if(tdx.allow_migration, "a guest that can be moved to another machine"),
        *_if(
            not tdx.require_sept_ve_disable, "a guest that may be interrupted when its memory is taken away"
        ),
        *([] if tdx.allow_smt else [f"{_SAME}no two threads share a core"]),
    ]


def _unjudged(registers: Iterable[str]) -> list[str]:
    names = sorted(registers)
    return _if(bool(names), f"{_joined(names)}: not looked at, so whatever they measured may have run")


def _azure_sections(policy: Policy) -> list[tuple[str, list[str]]]:
    sections = [("What may run below Azure's paravisor", _azure(policy.azure))]
    if "azure-snp" in policy.tees:
        sections.append(("Which paravisor on AMD SEV-SNP", _snp(policy.azure.snp)))
    if "azure-tdx" in policy.tees:
        sections.append(("Which paravisor on Intel TDX", _tdx(policy.azure.tdx)))
    return sections


def _azure(azure: AzurePolicy) -> list[str]:
    issuers = _joined(sorted(azure.maa.issuers))
    opinion = "has to" if azure.maa.required else "may"
    return [
        *_running(0, azure.sets),
        *_unjudged(azure.unjudged_registers),
        _compared(
            azure.require_secure_boot,
            "secure boot on" if azure.require_secure_boot else "secure boot on or off",
        ),
        f"{_SAME}{'no console' if azure.require_console_disabled else 'a console for the host, or none'}",
        *([f"{_SAME}a token of {issuers} {opinion} agree"] if issuers else []),
        f"{_SAME}PCRs 16 to 23 are not looked at",
    ]


def _config(policy: Policy) -> list[str]:
    config = policy.config
    hosts = sorted(PROVIDER_HOSTS if config.providers is None else config.providers)
    how = "each with at least two pins" if config.providers is None else "each by the pins that are listed"
    listed = (
        [] if config.sha384 is None else [f"{_SAME}exactly one of {len(config.sha384)} listed configurations"]
    )
    return [
        *listed,
        f"{_SAME}prompts may go to {_joined(hosts) or 'nobody'}, {how}",
        *_if(config.insecure_development, "INSECURE: development doors may be open"),
        f"{_SAME}prices, limits and plans may change freely",
    ]


def _manifest(policy: Policy) -> list[str]:
    manifest = policy.manifest
    rollback = manifest.rollback
    kept = "any protection against old ledgers" if rollback is None else _joined(sorted(rollback))
    return [
        _compared(
            manifest.root_sources <= BUILT_IN.manifest.root_sources,
            f"durable keys from: {_joined(sorted(manifest.root_sources))}",
        ),
        _compared(rollback is None or "none" not in rollback, f"against old ledgers: {kept}"),
        *([] if manifest.services is None else [f"{_SAME}labelled {_joined(sorted(manifest.services))}"]),
        *(
            []
            if manifest.minimum_ledger_epoch is None
            else [f"{_SAME}ledger epoch {manifest.minimum_ledger_epoch} or later"]
        ),
    ]


def _evidence(policy: Policy) -> list[str]:
    evidence, default = policy.evidence, BUILT_IN.evidence
    return [
        *_if(
            evidence.accept_without_nonce, "evidence of any age, if the verifier asked no question of its own"
        ),
        *(
            []
            if evidence.accept_without_nonce
            else [f"{_SAME}an answer to the verifier's own question (nonce)"]
        ),
        _compared(
            evidence.max_age_seconds <= default.max_age_seconds,
            f"keys that live for at most {evidence.max_age_seconds} seconds from now",
        ),
        _compared(
            evidence.max_collateral_age_seconds <= default.max_collateral_age_seconds,
            f"Intel's collateral at most {evidence.max_collateral_age_seconds} seconds old",
        ),
    ]


def _compared(as_strict: bool, words: str) -> str:
    return (_SAME if as_strict else _WEAKER) + words


def _if(weakened: bool, words: str) -> list[str]:
    return [_WEAKER + words] if weakened else []


def _joined(values: Iterable[str]) -> str:
    return ", ".join(values)
