"""Which kind of machine, whose, and then everything that its own platform's tables say."""

from __future__ import annotations

from datetime import datetime

from attestation.appraise.rules import listed, rule
from attestation.appraise.snp import appraise_snp
from attestation.check import Check
from attestation.policy import Operator, Policy
from attestation.snp.verify import SnpClaims

_TOP = "docs/spec/policy.md#top-level"
_OPERATORS = "docs/spec/policy.md#operators"


def appraise_hardware(claims: SnpClaims, policy: Policy, *, now: datetime) -> list[Check]:
    """Appraise authentic hardware of any kind. `now` is an aware time."""
    return [
        *_kind("sev-snp", "direct-boot", policy),
        *_operator(claims, policy),
        *appraise_snp(claims, policy.snp),
    ]


def _kind(tee: str, trust_class: str, policy: Policy) -> list[Check]:
    return [
        rule("platform.tee", tee in policy.tees, listed(policy.tees), tee, _TOP),
        rule(
            "platform.trust_class",
            trust_class in policy.trust_classes,
            listed(policy.trust_classes),
            trust_class,
            _TOP,
        ),
    ]


def _operator(claims: SnpClaims, policy: Policy) -> list[Check]:
    """Physical attacks leave no trace in evidence: the answer is a list of machines whose place is known.

    Without a list any chip will do, but a VLEK vouches for no chip, only for the provider that it names.
    """
    operator = next((one for one in policy.operators if _owns(one, claims)), None)
    anyone = not policy.operators and claims.signing_key != "vlek"
    machine = (
        f"provider {claims.csp_id}" if claims.signing_key == "vlek" else f"chip {claims.report.chip_id.hex()}"
    )
    named = listed(one.name for one in policy.operators)
    is_milan = claims.product == "Milan"
    return [
        rule(
            "platform.operator",
            operator is not None or anyone,
            "any" if anyone else named,
            machine if operator is None else f"{operator.name}, {machine}",
            _OPERATORS,
        ),
        rule(
            "snp.milan",
            not is_milan or operator is not None,
            f"another product, or an operator that the policy names: {named}",
            claims.product if operator is None else f"{claims.product} of {operator.name}",
            f"{_OPERATORS}; arXiv 2605.12990",
        ),
    ]


def _owns(operator: Operator, claims: SnpClaims) -> bool:
    if claims.signing_key == "vlek":
        return claims.csp_id in operator.csp_ids
    return claims.report.chip_id in operator.chip_ids
