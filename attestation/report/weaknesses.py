"""Known weaknesses that genuine hardware shows, and that the rules in force live with.

Nothing is decided here: a policy that minds a weakness refuses it in a check of its own. But an attestation
result must not affirm hardware in which one shows. docs/spec/appraisal.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attestation.check import Outcome
from attestation.model import Appraisal, Fact, Facts
from attestation.policy.model import SHIPPED_TCB_FLOORS
from attestation.snp.facts import tcb_facts

_SOUND = frozenset({None, "UpToDate"})
_WEAK_PRODUCTS = frozenset({"Milan"})
_LEVELS = ("reported_tcb", "committed_tcb", "launch_tcb")
_NO_AGENT = "ff" * 32


WORDS: Mapping[str, str] = MappingProxyType(
    {
        "status": "Intel does not rate the machine up to date",
        "advisories": "Intel names open security advisories for the machine",
        "revocation": "no list of revoked AMD certificates was enforced",
        "migration": "the guest may be moved or served by another virtual machine",
        "milan": "EPYC Milan's secrets can be extracted by software, so that its owner may sign any report",
        "firmware": "a firmware level is below the lowest one seen in patched fleets of 2026",
        "aliases": "the machine has not completed its check against aliased memory (BadRAM)",
        "ecc": "memory without error correction",
        "paravisor": "nobody compared the paravisor's measurement, so any guest may play its part",
        "provisional": "provisional firmware, which may be rolled back",
    }
)


def weaknesses(appraisal: Appraisal) -> list[str]:
    """Names of those that show in authentic evidence; below a paravisor, in the machine's.

    Fails closed: what a report's facts leave out counts as a weakness.
    """
    facts = appraisal.facts
    shown = {
        "status": facts.get("tcb_status") not in _SOUND,
        "advisories": bool(facts.get("advisory_ids")),
        "revocation": _noted(appraisal, "snp.crl"),
        "paravisor": _noted(appraisal, "baseline.paravisor"),
        "migration": bool(_table(facts, "attr_flags").get("migratable")),
    }
    if "product" in facts:
        shown |= _of_amd(facts)
    return [name for name, shows in shown.items() if shows]


def _noted(appraisal: Appraisal, check_id: str) -> bool:
    return any(check.id == check_id and check.outcome is Outcome.NOTED for check in appraisal.checks)


def _of_amd(facts: Facts) -> dict[str, bool]:
    """What a report says of chip, firmware and machine, beside what any verifier can look up."""
    guest, machine = _table(facts, "policy"), _table(facts, "platform_info")
    committed = _same(facts, "current_version", "committed_version") and (
        _same(facts, "current_tcb", "committed_tcb")
    )
    return {
        "milan": facts["product"] in _WEAK_PRODUCTS,
        "firmware": not all(_reaches_floor(facts, level) for level in _LEVELS),
        "aliases": machine.get("alias_check_complete") is not True,
        "ecc": machine.get("ecc_en") is not True,
        "provisional": not committed,
        "migration": guest.get("migrate_ma") is not False or facts.get("report_id_ma") != _NO_AGENT,
    }


def _reaches_floor(facts: Facts, level: str) -> bool:
    """Whether every component reaches the floor that is shipped for the product, whatever the policy's is."""
    floor, found = SHIPPED_TCB_FLOORS.get(str(facts["product"])), _table(facts, level)
    if floor is None:
        return False
    return all(_number(found.get(name)) >= _number(wanted) for name, wanted in tcb_facts(floor).items())


def _same(facts: Facts, one: str, other: str) -> bool:
    return one in facts and other in facts and facts[one] == facts[other]


def _table(facts: Facts, name: str) -> Facts:
    found = facts.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(fact: Fact) -> int:
    return fact if isinstance(fact, int) else -1
