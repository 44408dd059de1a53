"""Whether a policy can accept anything at all, and if not, why: lists that are empty, and fields that exclude
each other. For explanations; the rules themselves are in `attestation.appraise`.
"""

from __future__ import annotations

from collections.abc import Collection

from attestation.policy.model import Operator, Policy, SnpPolicy, TdxPolicy

NO_REFERENCE = "no reference value is named"
_CLASSES = {
    "sev-snp": "direct-boot",
    "tdx": "direct-boot",
    "azure-snp": "paravisor-vtpm",
    "azure-tdx": "paravisor-vtpm",
}


def obstacle(policy: Policy, tee: str) -> str:
    """Why no evidence of this platform can be accepted; empty if some can."""
    if tee not in policy.tees:
        return "the platform is not listed"
    if _CLASSES[tee] not in policy.trust_classes:
        return f"the trust class {_CLASSES[tee]} is not listed"
    if tee in ("sev-snp", "tdx"):
        return _snp(policy.snp, policy.operators) if tee == "sev-snp" else _tdx(policy.tdx, policy.operators)
    below = (
        _snp(policy.azure.snp, policy.operators)
        if tee == "azure-snp"
        else _tdx(policy.azure.tdx, policy.operators)
    )
    return f"of the paravisor: {below}" if below else "" if policy.azure.sets else NO_REFERENCE


def gateway_obstacles(policy: Policy) -> list[str]:
    """Why no gateway can be accepted, whatever it runs on."""
    manifest = policy.manifest
    empty = (
        (manifest.root_sources, "no source of durable keys is accepted"),
        (manifest.rollback, "no protection against old ledgers is accepted"),
        (manifest.services, "no label is accepted"),
        (policy.config.sha384, "no configuration is accepted"),
    )
    return [reason for values, reason in empty if values is not None and not values]


def usable_products(snp: SnpPolicy, operators: Collection[Operator]) -> frozenset[str]:
    """The products that are listed, without Milan if nobody is named who would own it."""
    return snp.products if operators else snp.products - {"Milan"}


def usable_keys(snp: SnpPolicy, operators: Collection[Operator]) -> frozenset[str]:
    """The kinds of keys that are listed and that some machine of the named operators can have."""
    found = set()
    if not operators or any(one.chip_ids for one in operators):
        found.add("vcek")
    if any(one.csp_ids for one in operators):
        found.add("vlek")
    return snp.signing_keys & found


def _snp(snp: SnpPolicy, operators: Collection[Operator]) -> str:
    by_key = snp.trust_id_key and snp.id_key_digests
    if not (snp.measurements or snp.sets or by_key):
        return NO_REFERENCE
    if not usable_products(snp, operators):
        return "no processor is listed that this policy could accept"
    if not usable_keys(snp, operators):
        return "no signing key is listed that a machine of the named operators could have"
    return _empty(("family ID", snp.family_ids), ("image ID", snp.image_ids))


def _tdx(tdx: TdxPolicy, operators: Collection[Operator]) -> str:
    if not tdx.sets:
        return NO_REFERENCE
    if operators and not any(one.ppids or one.platform_instance_ids for one in operators):
        return "no named operator has an Intel machine"
    statuses = _empty(("standing with Intel", tdx.statuses))
    return statuses or _empty(("TDX module", tdx.mrseams), ("XFAM", tdx.xfams))


def _empty(*lists: tuple[str, Collection[object] | None]) -> str:
    """What is first found to be limited to a list without entries."""
    return next((f"no {what} is accepted" for what, values in lists if values is not None and not values), "")
