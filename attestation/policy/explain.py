"""Say in plain words what a policy accepts, what it refuses, and where it accepts more than the default.

For a reader who answers for the policy but does not know its fields: one statement a line, grouped by the
question that it answers, whether its field is set or not. A line that starts with `!` accepts something that
the strict default refuses. A policy that can accept nothing at all says so in its first line.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from attestation.pins import write_pin
from attestation.policy.explain_platforms import azure_lines, snp_lines, tdx_lines
from attestation.policy.model import BUILT_IN, Operator, Policy, ReferencePolicy, UsedRelease
from attestation.policy.providers import PROVIDER_HOSTS
from attestation.policy.reach import gateway_obstacles, obstacle
from attestation.policy.words import SAME, WEAKER, compared, joined, same_if, span, weaker_if

_PLATFORMS = {
    "sev-snp": "guests on AMD SEV-SNP",
    "tdx": "guests on Intel TDX",
    "azure-snp": "Azure guests on AMD SEV-SNP",
    "azure-tdx": "Azure guests on Intel TDX",
}
_DIRECT = ("sev-snp", "tdx")
_LEGEND = "Every statement has to hold. A line with ! accepts more than the strict default does.\n\n"
_ALWAYS = (
    "- evidence under other root keys than AMD's and Intel's (and the one above, if there is one)",
    "- evidence under certificates that were revoked",
    "- a guest whose host may look into it (debugging)",
    "- features of a guest or a machine that nobody has described",
    "- an answer to another question than the verifier asked, if it asked one",
    "- evidence for another purpose or another connection",
    "- Intel platforms that Intel calls revoked or does not know",
)


def explain_policy(policy: Policy) -> str:
    """Return the explanation: sections with one statement a line, ending in a newline."""
    sections: list[tuple[str, list[str]]] = [
        ("In short", _short(policy)),
        ("Where reference values come from", _reference(policy.reference)),
        ("Whose machines", _operators(policy.operators)),
        *_platforms(policy),
        ("What the gateway was told", _config(policy)),
        ("Its keys and its ledger", _manifest(policy)),
        ("How fresh it has to be", _evidence(policy)),
        ("Refused whatever a policy says", list(_ALWAYS)),
    ]
    told = (f"{title}\n" + "".join(f"  {line}\n" for line in lines) for title, lines in sections)
    return _nothing(policy) + _LEGEND + "\n".join(told)


def _nothing(policy: Policy) -> str:
    """The first line, if the policy can accept nothing at all, or no gateway."""
    reasons = {tee: obstacle(policy, tee) for tee in sorted(policy.tees)}
    gateway = gateway_obstacles(policy)
    if not reasons:
        return "Accepts NOTHING: no platform is listed\n\n"
    if all(reasons.values()):
        told = "; ".join(f"{_PLATFORMS[tee]}: {reason}" for tee, reason in reasons.items())
        return f"Accepts NOTHING: {told}\n\n"
    return f"Accepts NO GATEWAY: {'; '.join(gateway)}\n\n" if gateway else ""


def _short(policy: Policy) -> list[str]:
    told = [_platform(policy, tee) for tee in _DIRECT]
    azure = [_platform(policy, tee) for tee in sorted(policy.tees.difference(_DIRECT))]
    told += azure or [f"{SAME}refuses guests below a cloud's paravisor, such as Azure's"]
    if policy.insecure_development_root is not None:
        root = write_pin(policy.insecure_development_root)
        told.append(f"{WEAKER}INSECURE: accepts simulated hardware under the key {root}; it protects nothing")
    if policy.version is not None:
        told.append(f"{SAME}is version {policy.version} of its owner's policy")
    return told


def _platform(policy: Policy, tee: str) -> str:
    guests, reason = _PLATFORMS[tee], obstacle(policy, tee)
    if tee not in policy.tees:
        return f"{SAME}refuses {guests}"
    if reason:
        return f"{SAME}refuses EVERY {guests.replace('guests', 'guest')}: {reason}"
    if tee in _DIRECT:
        return f"{SAME}accepts {guests}, which the processor itself measured"
    return f"{WEAKER}accepts {guests}, below Microsoft's paravisor"


def _reference(reference: ReferencePolicy) -> list[str]:
    keys, minimum = sorted(key.hex() for key in reference.release_keys), reference.minimum_release_number
    if not reference.releases:
        idle = f"names keys of releases ({len(keys)}), but no release that they could sign"
        return [f"{SAME}takes reference values from this file alone", *same_if(bool(keys), idle)]
    return [
        f"{SAME}takes reference values from this file",
        *map(_release, reference.used),
        f"{SAME}refuses releases with a number below {minimum}"
        if minimum
        else f"{WEAKER}accepts releases of any number, however old",
        *(
            f"{WEAKER}accepts reference values that this key signed, which we did not ship: {key}"
            for key in keys
        ),
    ]


def _release(used: UsedRelease) -> str:
    day = f"{datetime.fromtimestamp(used.issued, UTC):%Y-%m-%d}"
    says = f"release {used.release}, number {used.number}, of {day}"
    return f"{SAME}takes reference values from {used.file}: {says}"


def _operators(operators: Collection[Operator]) -> list[str]:
    if not operators:
        return [
            f"{SAME}accepts anyone's machine: nothing says where it stands, and who touches it may break it",
            f"{SAME}refuses AMD Milan, and machines that only a cloud provider vouches for (VLEK)",
        ]
    named = [f"{SAME}accepts machines of {one.name}: {_machines(one)}" for one in operators]
    return [*named, f"{SAME}refuses anybody else's machine"]


def _machines(operator: Operator) -> str:
    kinds = (
        (len(operator.chip_ids), "AMD processors"),
        (len(operator.ppids) + len(operator.platform_instance_ids), "Intel platforms"),
    )
    named = [f"{what} by number ({count})" for count, what in kinds if count]
    return joined([*named, *(f"all that {csp} vouches for" for csp in sorted(operator.csp_ids))])


def _platforms(policy: Policy) -> list[tuple[str, list[str]]]:
    """The platforms that are listed, under trust classes that are."""
    named = policy.tees if "direct-boot" in policy.trust_classes else policy.tees.difference(_DIRECT)
    found: list[tuple[str, list[str]]] = []
    if "sev-snp" in named:
        found.append(("What may run on AMD SEV-SNP", snp_lines(policy.snp, policy.operators)))
    if "tdx" in named:
        found.append(("What may run on Intel TDX", tdx_lines(policy.tdx)))
    azure = named.difference(_DIRECT) if "paravisor-vtpm" in policy.trust_classes else frozenset()
    if azure:
        found.append(("What may run below Azure's paravisor", azure_lines(policy.azure)))
    if "azure-snp" in azure:
        found.append(("Which paravisor on AMD SEV-SNP", snp_lines(policy.azure.snp, policy.operators)))
    if "azure-tdx" in azure:
        found.append(("Which paravisor on Intel TDX", tdx_lines(policy.azure.tdx)))
    return found


def _config(policy: Policy) -> list[str]:
    config = policy.config
    hosts = sorted(PROVIDER_HOSTS if config.providers is None else config.providers)
    how = "each with at least two pins" if config.providers is None else "each by the pins that are listed"
    listed = (
        "accepts any configuration of which all that follows is true"
        if config.sha384 is None
        else f"requires one of the listed configurations ({len(config.sha384)})"
    )
    return [
        SAME + listed,
        f"{SAME}accepts that prompts go to {joined(hosts) or 'nobody'}, {how}",
        *weaker_if(config.insecure_development, "INSECURE: accepts open development doors"),
        *same_if(not config.insecure_development, "refuses open development doors"),
        f"{SAME}accepts any prices, limits and plans",
    ]


def _manifest(policy: Policy) -> list[str]:
    manifest = policy.manifest
    rollback = manifest.rollback
    kept = "any that the gateway names" if rollback is None else joined(sorted(rollback)) or "nothing"
    return [
        compared(
            manifest.root_sources <= BUILT_IN.manifest.root_sources,
            f"accepts durable keys from: {joined(sorted(manifest.root_sources)) or 'nowhere'}",
        ),
        compared(
            rollback is None or "none" not in rollback, f"accepts as protection against old ledgers: {kept}"
        ),
        SAME
        + (
            "accepts any label"
            if manifest.services is None
            else f"requires the label {' or '.join(sorted(manifest.services)) or 'none'}"
        ),
        SAME
        + (
            "accepts any ledger epoch"
            if manifest.minimum_ledger_epoch is None
            else f"requires ledger epoch {manifest.minimum_ledger_epoch} or later"
        ),
    ]


def _evidence(policy: Policy) -> list[str]:
    evidence, default = policy.evidence, BUILT_IN.evidence
    return [
        *weaker_if(
            evidence.accept_without_nonce,
            "accepts evidence of any age if the verifier asked no question of its own",
        ),
        *(
            []
            if evidence.accept_without_nonce
            else [f"{SAME}requires an answer to the verifier's own question (nonce)"]
        ),
        compared(
            evidence.max_age_seconds <= default.max_age_seconds,
            f"accepts keys that live for {span(evidence.max_age_seconds)} from now at most",
        ),
        compared(
            evidence.max_collateral_age_seconds <= default.max_collateral_age_seconds,
            f"accepts what Intel published {span(evidence.max_collateral_age_seconds)} ago at most",
        ),
        compared(
            evidence.max_crl_age_seconds <= default.max_crl_age_seconds,
            "accepts AMD's and Intel's lists of revoked authorities of "
            f"{span(evidence.max_crl_age_seconds)} ago at most",
        ),
    ]
