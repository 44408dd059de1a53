"""What each check proves and what it leaves open, in words for someone who is not a cryptographer.

One source for the text, JSON and HTML reports and for docs/audit/checks.md; a test holds all of them against
the checks that exist in code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType

from attestation.check import Check
from attestation.report.explanations import azure, gateway, platform, snp, tdx


@dataclass(frozen=True, slots=True)
class Explanation:
    """One check for people. `title` names what is looked at; `proves` holds if, and only if, it passed."""

    layer: str
    title: str
    proves: str
    leaves_open: str


@dataclass(frozen=True, slots=True)
class Layer:
    """A group of checks that answer one question. `name` is what explanations refer to."""

    name: str
    question: str
    about: str


LAYERS: tuple[Layer, ...] = (
    Layer("reading", "Can the evidence be read?", "Evidence that cannot be read completely is refused."),
    Layer(
        "hardware",
        "Is the hardware genuine?",
        "A processor signs its evidence with a key for which its maker vouches. These checks follow that "
        "chain, from the maker's root key down to the signature.",
    ),
    Layer(
        "vtpm",
        "Does the hardware vouch for the virtual TPM?",
        "On Azure the hardware measures Microsoft's paravisor, and the paravisor's virtual TPM measures the "
        "guest. Both layers have to hold, and Microsoft's software has to be trusted in addition.",
    ),
    Layer(
        "question",
        "Does the evidence answer this question?",
        "Genuine evidence can be old, or somebody else's. These checks tie it to the question that was asked "
        "and to the keys that are in use.",
    ),
    Layer(
        "eventlog",
        "Does the log of what was started agree?",
        "The log says in detail what was loaded, but anybody could have written it. Played back it has to "
        "give the fingerprints that the hardware signed.",
    ),
    Layer(
        "machine",
        "Is the machine acceptable?",
        "Genuine hardware can still be outdated, or of a kind or an operator that the policy does not "
        "accept.",
    ),
    Layer(
        "software",
        "Is it the software that was named?",
        "The hardware takes a fingerprint of what it starts. These checks compare it with the fingerprints "
        "that the policy lists, and make sure that nobody can look inside or change it afterwards.",
    ),
    Layer(
        "gateway",
        "Are its keys and settings acceptable?",
        "The same software can be told to do different things. These checks look at what this one was told, "
        "and at the keys that it uses.",
    ),
    Layer(
        "opinion",
        "Does the second opinion agree?",
        "Microsoft's attestation service judged the same evidence. It is compared, and never trusted alone.",
    ),
    Layer("connection", "Does the connection end there?", "These checks are made on every new connection."),
    Layer(
        "baseline",
        "Does it meet the baseline?",
        "No policy was applied. These are the least demands that any genuine machine must meet; they say "
        "nothing about which software runs.",
    ),
    Layer("other", "Further checks", "Checks that have no explanation here."),
)


def _merge(*tables: Mapping[str, tuple[str, str, str, str]]) -> Mapping[str, Explanation]:
    return MappingProxyType({name: Explanation(*texts) for table in tables for name, texts in table.items()})


EXPLANATIONS: Mapping[str, Explanation] = _merge(
    gateway.ENTRIES, snp.ENTRIES, tdx.ENTRIES, azure.ENTRIES, platform.ENTRIES
)
_UNKNOWN = Explanation("other", "A check without explanation", "Unknown.", "Unknown.")


def explain(check_id: str) -> Explanation:
    """The explanation of a check; for an unknown id one that says so."""
    return EXPLANATIONS.get(check_id, _UNKNOWN)


def by_layer(checks: Iterable[Check]) -> list[tuple[Layer, list[Check]]]:
    """Checks in the order of the questions that they answer, each group in the order they were made."""
    place = {layer.name: index for index, layer in enumerate(LAYERS)}

    def layer_index(check: Check) -> int:
        return place[explain(check.id).layer]

    ordered = sorted(checks, key=layer_index)
    return [(LAYERS[index], list(group)) for index, group in groupby(ordered, key=layer_index)]
