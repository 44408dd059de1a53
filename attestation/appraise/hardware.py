"""Which kind of machine, whose, and then everything that its own platform's tables say."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from attestation.appraise.rules import listed, rule
from attestation.appraise.snp import appraise_snp
from attestation.appraise.tdx import appraise_tdx
from attestation.appraise.vtpm import appraise_vtpm
from attestation.azure.verify import VtpmClaims
from attestation.check import Check
from attestation.policy.model import Operator, Policy, SnpPolicy, TdxPolicy
from attestation.snp.verify import SnpClaims
from attestation.tdx.verify import TdxClaims

Direct: TypeAlias = SnpClaims | TdxClaims

_TOP = "docs/spec/policy.md#top-level"
_OPERATORS = "docs/spec/policy.md#operators"


def appraise_hardware(
    claims: SnpClaims | TdxClaims | VtpmClaims, policy: Policy, *, now: datetime
) -> list[Check]:
    """Appraise authentic hardware of any kind. `now` is an aware time.

    Below a paravisor, the hardware's claims are about the paravisor, and `[azure.snp]` or `[azure.tdx]` judge
    them; the guest is judged by what the virtual TPM measured.
    """
    if isinstance(claims, VtpmClaims):
        return [
            *_kind(f"azure-{_family(claims.hardware)}", "paravisor-vtpm", policy),
            *_operator(claims.hardware, policy),
            *appraise_direct(claims.hardware, policy.azure.snp, policy.azure.tdx, policy, now=now),
            *appraise_vtpm(claims, policy.azure, now=now),
        ]
    tee = "tdx" if isinstance(claims, TdxClaims) else "sev-snp"
    return [
        *_kind(tee, "direct-boot", policy),
        *_operator(claims, policy),
        *appraise_direct(claims, policy.snp, policy.tdx, policy, now=now),
    ]


def _family(claims: Direct) -> str:
    return "tdx" if isinstance(claims, TdxClaims) else "snp"


def appraise_direct(
    claims: Direct, snp: SnpPolicy, tdx: TdxPolicy, policy: Policy, *, now: datetime
) -> list[Check]:
    """Appraise a processor's claims by one pair of tables: the guest's, or those for a paravisor."""
    if isinstance(claims, TdxClaims):
        return appraise_tdx(claims, tdx, policy.evidence, now=now)
    return appraise_snp(claims, snp, policy.evidence, now=now)


def _kind(tee: str, trust_class: str, policy: Policy) -> list[Check]:
    classes = policy.trust_classes
    return [
        rule("platform.tee", tee in policy.tees, listed(policy.tees), tee, _TOP),
        rule("platform.trust_class", trust_class in classes, listed(classes), trust_class, _TOP),
    ]


def _operator(claims: Direct, policy: Policy) -> list[Check]:
    """Physical attacks leave no trace in evidence: the answer is a list of machines whose place is known.

    Without a list any chip will do, but a VLEK vouches for no chip, only for the provider that it names.
    """
    operator = next((one for one in policy.operators if _owns(one, claims)), None)
    is_vlek = isinstance(claims, SnpClaims) and claims.signing_key == "vlek"
    anyone = not policy.operators and not is_vlek
    named = listed(one.name for one in policy.operators)
    checks = [
        rule(
            "platform.operator",
            operator is not None or anyone,
            "any" if anyone else named,
            _machine(claims) if operator is None else f"{operator.name}: {_machine(claims)}",
            _OPERATORS,
        )
    ]
    return checks if isinstance(claims, TdxClaims) else [*checks, _milan(claims, operator, named)]


def _milan(claims: SnpClaims, operator: Operator | None, named: str) -> Check:
    """Whoever has a Milan's root seed signs any report: all that still counts is who owns the machine."""
    return rule(
        "snp.milan",
        claims.product != "Milan" or operator is not None,
        f"another product, or an operator that the policy names: {named}",
        claims.product if operator is None else f"{claims.product} of {operator.name}",
        f"{_OPERATORS}; arXiv 2605.12990",
    )


def _owns(operator: Operator, claims: Direct) -> bool:
    if isinstance(claims, TdxClaims):
        pck = claims.pck
        return pck.ppid in operator.ppids or pck.platform_instance_id in operator.platform_instance_ids
    if claims.signing_key == "vlek":
        return claims.csp_id in operator.csp_ids
    return claims.report.chip_id in operator.chip_ids


def _machine(claims: Direct) -> str:
    if isinstance(claims, TdxClaims):
        instance = claims.pck.platform_instance_id
        shown = "none" if instance is None else instance.hex()
        return f"PPID {claims.pck.ppid.hex()}, platform instance {shown}"
    if claims.signing_key == "vlek":
        return f"provider {claims.csp_id}"
    return f"chip {claims.report.chip_id.hex()}"
