"""From samples to what they say: medians, differences to upstream and ratios to nginx, paired."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.measure import Sample

Value = Callable[[Sample], float | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One target under one load: medians over rounds. `added` is against `direct` in the same round."""

    target: str
    workers: int
    cell: str
    rate: float | None
    p50: float | None
    added_p50: float | None
    added_p99: float | None
    added_first_p50: float | None
    added_first_p99: float | None
    cpu_us: float | None
    cores_used: float | None
    rss_mb: float | None
    rate_of_nginx: float | None
    cpu_of_nginx: float | None
    cpu_of_nginx_range: tuple[float, float] | None
    errors: int


def median(values: Iterable[float | None]) -> float | None:
    """The median of what is there; None of nothing."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def paired(
    ours: Sequence[Sample], theirs: Sequence[Sample], value: Value, how: Callable[[float, float], float]
) -> list[float]:
    """Combine the two samples of each round; a round that lacks one of them says nothing."""
    other = {sample.round: value(sample) for sample in theirs}
    found = []
    for sample in ours:
        mine, reference = value(sample), other.get(sample.round)
        if mine is not None and reference:
            found.append(how(mine, reference))
    return found


def _minus(ours: float, theirs: float) -> float:
    return ours - theirs


def _over(ours: float, theirs: float) -> float:
    return ours / theirs


def _row(ours: Sequence[Sample], direct: Sequence[Sample], nginx: Sequence[Sample]) -> Row:
    head = ours[0]
    cpu = paired(ours, nginx, lambda s: s.cpu_us, _over)
    rss = median(sample.rss_bytes for sample in ours)
    return Row(
        target=head.target,
        workers=head.workers,
        cell=head.cell,
        rate=median(sample.rate for sample in ours),
        p50=median(sample.p50 for sample in ours),
        added_p50=median(paired(ours, direct, lambda s: s.p50, _minus)),
        added_p99=median(paired(ours, direct, lambda s: s.p99, _minus)),
        added_first_p50=median(paired(ours, direct, lambda s: s.first_p50, _minus)),
        added_first_p99=median(paired(ours, direct, lambda s: s.first_p99, _minus)),
        cpu_us=median(sample.cpu_us for sample in ours),
        cores_used=median(sample.cores_used for sample in ours),
        rss_mb=None if rss is None else rss / 1e6,
        rate_of_nginx=median(paired(ours, nginx, lambda s: s.rate, _over)),
        cpu_of_nginx=median(cpu),
        cpu_of_nginx_range=(min(cpu), max(cpu)) if cpu else None,
        errors=sum(sum(sample.errors.values()) for sample in ours),
    )


def summarise(samples: Sequence[Sample]) -> list[Row]:
    """One row for each target, number of workers and load, in the order of first appearance."""
    groups: dict[tuple[str, str, int], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.cell, sample.target, sample.workers), []).append(sample)
    return [
        _row(ours, groups.get((cell, "direct", 0), []), groups.get((cell, "nginx", workers), []))
        for (cell, _, workers), ours in groups.items()
    ]
