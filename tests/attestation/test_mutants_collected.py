"""Mutants of real evidence: whatever of the collection is accepted is refused with any one byte changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from attestation.appraise.baseline import Baseline
from attestation.hardware import Hardware
from attestation.model import Collateral, Verdict
from attestation.raw_files import read_hardware
from attestation.verify import verify_hardware
from tests.conftest import find_evidence
from tests.fakes.mutants import Judged, Mutant, examine, flips

PER_PART = 24
TEES = {"sev-snp": "sev-snp", "tdx": "tdx", "azure-vtpm-snp": "azure-snp", "azure-vtpm-tdx": "azure-tdx"}
# Not here: logs, of whose events only digests are vouched for; lists of PCR values, whose white space is
# free; and HCL reports, of which test_mutants_azure says byte by byte what counts.
LEFT_OUT = {"ccel", "dstack_log", "tpm_pcrs", "hcl_report", "maa_token", "maa_keys"}
LAYERS = ("evidence.parse", "snp.", "tdx.", "azure.")


@lru_cache(maxsize=1)
def _accepted() -> dict[str, tuple[str, datetime]]:
    """Cases that the manifest accepts: the platform, and a time at which it does."""
    place = find_evidence()
    if place is None:
        return {}
    cases = json.loads((place / "MANIFEST.json").read_text())["cases"]
    return {
        case["id"]: (TEES[case["tee"]], _moment(case["expected"]))
        for case in cases
        if case["expected"].get("strict_accept")
    }


def _moment(expected: dict[str, Any]) -> datetime:
    valid = [one["at"] for one in expected.get("evaluations", ()) if one.get("collateral_valid")]
    return datetime.fromisoformat(valid[0] if valid else expected["verify_at"])


def _parts(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], bytes]]:
    """Every byte string of evidence that is not empty, with the way to it."""
    if isinstance(value, bytes) and value:
        yield path, value
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _parts(item, (*path, index))
    elif is_dataclass(value):
        for field in fields(value):
            if field.name not in LEFT_OUT:
                yield from _parts(getattr(value, field.name), (*path, field.name))


def _put(value: Any, path: tuple[str | int, ...], raw: bytes) -> Any:
    if not path:
        return raw
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        return (*value[:step], _put(value[step], rest, raw), *value[step + 1 :])
    return replace(value, **{step: _put(getattr(value, step), rest, raw)})


@pytest.mark.parametrize("name", sorted(_accepted()))
def test_one_changed_byte_anywhere_in_real_evidence_is_refused(evidence_dir: Path, name: str) -> None:
    tee, now = _accepted()[name]
    hardware = read_hardware(tee, evidence_dir / name)  # type: ignore[arg-type]

    def judge(mutant: Hardware) -> Judged:
        appraisal = verify_hardware(mutant, Collateral(), Baseline(), now=now)
        return Judged(
            appraisal.verdict is Verdict.ACCEPTED, frozenset(check.id for check in appraisal.failed)
        )

    def mutants() -> Iterator[Mutant[Hardware]]:
        for path, raw in _parts(hardware):
            end = len(raw.rstrip(b"\0"))  # behind a quote zeros may follow, as many as one likes
            for change, mutant in flips(raw, 0, end, step=max(1, end // PER_PART)):
                yield f"{path}: {change}", _put(hardware, path, mutant)

    assert judge(hardware).accepted
    survey = examine(mutants(), judge, *LAYERS)
    assert survey.problems == ()
    assert survey.count > 3 * PER_PART


def test_the_collection_has_evidence_that_is_accepted(evidence_dir: Path) -> None:
    """Otherwise the test above would be empty, and nobody would notice."""
    assert (evidence_dir / "MANIFEST.json").is_file()
    assert len(_accepted()) >= 15


@pytest.mark.parametrize("name", sorted(_accepted()))
def test_no_byte_between_the_signed_part_of_a_real_certificate_and_its_signature_may_change(
    evidence_dir: Path, name: str
) -> None:
    """The second name of the algorithm, which nobody signs: AMD's has more fields than we would write."""
    tee, now = _accepted()[name]
    hardware = read_hardware(tee, evidence_dir / name)  # type: ignore[arg-type]

    def judge(mutant: Hardware) -> Judged:
        appraisal = verify_hardware(mutant, Collateral(), Baseline(), now=now)
        accepted = appraisal.verdict is Verdict.ACCEPTED
        return Judged(accepted, frozenset(check.id for check in appraisal.failed))

    for path, der in _parts(hardware):
        if der.startswith(b"\x30\x82"):
            start, end = _between(der)
            mutants = [
                (f"{path}: {change}", _put(hardware, path, raw)) for change, raw in flips(der, start, end)
            ]
            survey = examine(mutants, judge, *LAYERS)
            assert survey.problems == ()


def _between(der: bytes) -> tuple[int, int]:
    """Where the signed part of a certificate or CRL ends, and where the signature's own bytes begin."""
    body = der.index(b"\x30", 1)
    size, head = (
        (int.from_bytes(der[body + 2 : body + 4], "big"), 4) if der[body + 1] == 0x82 else (der[body + 2], 3)
    )
    end = body + head + size
    algorithm = end + 2 + der[end + 1]
    return end, algorithm + {0x82: 5, 0x81: 4}.get(der[algorithm + 1], 3)
