"""What the collection's manifest expects of `casemate verify`: arguments, exit code, facts and named layers.

The manifest states facts and one baseline verdict (`strict_accept`) with reasons in words. Here words become
exit codes and check ids; nothing else is added to what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ACCEPTED, REFUSED, UNDECIDED = 0, 1, 2
WORDS = {ACCEPTED: "accepted", REFUSED: "refused", UNDECIDED: "undecided"}
MANIFEST_DATE = "2026-11-21T00:00:00Z"

# How the manifest names platforms, and how the command does. An SGX quote is handed in as if it were a TD's.
_TEES = {"azure-vtpm-snp": "azure-snp", "azure-vtpm-tdx": "azure-tdx", "sgx": "tdx"}

# Every reason for a refusal in the manifest, and the check that has to say it. Absent material is undecided.
_LAYERS: Mapping[str, str] = {
    "debug policy bit set (strict)": "baseline.debug",
    "TD debug attribute set": "baseline.debug",
    "report signature invalid": "snp.signature",
    "certificate chain invalid": "snp.chain.signatures",
    "TCB extensions do not match REPORTED_TCB": "snp.vek.tcb",
    "HWID does not match CHIP_ID": "snp.vek.chip",
    "runtime data / TPM quote check failed": "azure.quote.signature",
    "TCB status OutOfDate": "baseline.tcb_status",
    "TCB status TcbNotSupported (no TCB level matches)": "tdx.tcb.level",
    "PCK chain does not end in the production Intel SGX Root CA": "tdx.pck.root",
    "tee_type is SGX, not TDX": "tdx.quote.tee",
}
_ABSENCES = ("no VCEK/VLEK available", "no collateral in this case", "no TD quote:", "no TPM quote")

# Members of an evaluation that are not facts about the evidence, and the manifest's own remarks.
_NO_FACTS = frozenset({"at", "error", "oracle_dcap_qvl"})
_BESIDE_FACTS = (
    "vek_extensions",
    "vek_not_before",
    "vek_not_after",
    "pck",
    "pck_not_before",
    "pck_not_after",
)


@dataclass(frozen=True)
class Run:
    """One call of the command, and what it has to answer. `failing`: ids of checks that must have failed."""

    case: str
    tee: str
    at: str
    exit_code: int
    facts: Mapping[str, Any] = field(default_factory=dict)
    failing: tuple[str, ...] = ()
    note: str = ""

    def arguments(self, collection: Path) -> list[str]:
        """The raw-evidence command, without the choice of rules."""
        place = str(collection / self.case)
        return ["verify", "--tee", self.tee, "--dir", place, "--at", self.at, "--json"]


def read_runs(collection: Path) -> list[Run]:
    """Every run of every case: the time at which its verdict holds first, then the others."""
    cases = json.loads((collection / "MANIFEST.json").read_text())["cases"]
    return [run for case in cases for run in _runs(case)]


def _runs(case: Mapping[str, Any]) -> Iterator[Run]:
    expected = case["expected"]
    evaluations = expected.get("evaluations", [])
    tee = _TEES.get(case["tee"], case["tee"])
    first = evaluations[0] if evaluations else {"at": expected.get("verify_at") or MANIFEST_DATE}
    exit_code, failing = _verdict(expected)
    facts = _facts(case) | _evaluated(first)
    yield Run(case["id"], tee, first["at"], exit_code, facts, failing)
    for later in evaluations[1:]:
        yield _expired(case["id"], tee, later, expected)


def _expired(name: str, tee: str, evaluation: Mapping[str, Any], expected: Mapping[str, Any]) -> Run:
    """Collateral past its time decides nothing, so neither does what was concluded from it."""
    assert evaluation["error"] == "collateral expired"
    lasting = tuple(_LAYERS[reason] for reason in expected["reject_reasons"] if reason in _LAST)
    exit_code = REFUSED if lasting else UNDECIDED
    return Run(name, tee, evaluation["at"], exit_code, _evaluated(evaluation), lasting, "expired")


# Reasons for which no collateral of Intel's is needed.
_LAST = frozenset({"TD debug attribute set", "tee_type is SGX, not TDX"})


def _verdict(expected: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """A definite failure beats missing material; only without either is evidence accepted."""
    reasons: Sequence[str] = expected["reject_reasons"]
    unknown = [reason for reason in reasons if reason not in _LAYERS and not reason.startswith(_ABSENCES)]
    assert not unknown, f"the manifest gives reasons that this script does not know: {unknown}"
    failing = tuple(_LAYERS[reason] for reason in reasons if reason in _LAYERS)
    if expected["strict_accept"]:
        return ACCEPTED, ()
    return (REFUSED, failing) if failing else (UNDECIDED, ())


def _facts(case: Mapping[str, Any]) -> dict[str, Any]:
    """Facts under the names that the command has to use: the manifest's, one level deep."""
    expected = case["expected"]
    beside = {name: expected[name] for name in _BESIDE_FACTS if name in expected}
    whole = {name: case[name] for name in ("azure", "event_log") if name in case}
    return {**expected.get("facts", {}), **beside, **whole}


def _evaluated(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in evaluation.items() if name not in _NO_FACTS}


def differences(expected: Any, found: Any, where: str = "facts") -> Iterator[str]:
    """Members of `expected` that `found` lacks or has otherwise. What `found` has beyond does not matter."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name, value in expected.items():
            if name in found:
                yield from differences(value, found[name], f"{where}.{name}")
            else:
                yield f"{where}.{name} is missing"
    elif type(expected) is not type(found) or expected != found:
        yield f"{where}: expected {expected!r}, found {found!r}"
