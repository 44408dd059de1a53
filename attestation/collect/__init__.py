"""Fetch what vendors publish about a piece of evidence: the edge for `casemate verify --online` and tools.

Everything fetched is handed on as bytes and verified again by the trust core. What is judged here, signatures
included, is judged for one purpose only: that a cache never keeps, and never prefers, what a vendor did not
sign, nor something older than what it has seen. Formats, hosts and cache: docs/spec/collateral.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from attestation.azure.hcl import parse_hcl
from attestation.collect.amd import fetch_amd
from attestation.collect.http import (
    NO_ROUTES,
    Address,
    Client,
    Clock,
    CollateralUnavailable,
    NotPublished,
    Sleep,
)
from attestation.collect.intel import Service, fetch_intel, service_at
from attestation.collect.source import Gathered, Source
from attestation.collect.store import Store
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence
from attestation.model import Collateral
from attestation.snp.kds import KDS_HOST
from attestation.snp.roots import AMD_ROOTS
from attestation.tdx.roots import INTEL_ROOTS

__all__ = ["CollateralUnavailable", "NotPublished", "collect"]


def _now() -> datetime:
    return datetime.now(UTC)


def collect(
    hardware: Hardware,
    *,
    cache_dir: Path | None = None,
    pccs: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    clock: Clock = _now,
    sleep: Sleep = time.sleep,
    at: datetime | None = None,
    renew: bool = False,
    only_valid: bool = False,
    routes: Mapping[str, Address] = NO_ROUTES,
    amd_roots: Mapping[str, frozenset[bytes]] = AMD_ROOTS,
    intel_roots: frozenset[bytes] = INTEL_ROOTS,
) -> Collateral:
    """Fetch from AMD or Intel what a piece of evidence lacks, so that it can be verified.

    `cache_dir` keeps what was fetched (none: nothing is kept, and rollback is not noticed). `pccs` is the
    https URL of a caching service to ask instead of Intel. `ca` (PEM text or path) replaces the public roots
    for whichever hosts are asked. `clock` is the real time, whatever `at` is: the time at which the evidence
    will be judged, for which its own collateral may suffice. `renew` asks the vendor all the same.
    `only_valid` hands over nothing that is not valid at `at`, nor what was at hand where asking failed.
    `routes` gives other addresses (host, port) for hosts; their certificates must hold nevertheless.

    Raises CollateralUnavailable, whose `partial` is what was had; CannotDecide for a cache that cannot be
    used; MalformedEvidence for evidence that cannot be read; ValueError for a URL or authority of no use.
    """
    store = Store(cache_dir) if cache_dir else None
    service = service_at(pccs)
    client = Client((KDS_HOST, *service.hosts), ca=ca, clock=clock, sleep=sleep, routes=routes)
    source = Source(client, clock, at or clock(), store, renew, only_valid)
    gathered = _gather(hardware, source, service, amd_roots, intel_roots)
    if gathered.problems:
        raise CollateralUnavailable(
            f"not all collateral could be had: {'; '.join(gathered.problems)}",
            hint=gathered.hint,
            partial=gathered.collateral,
            missing=tuple(problem.partition(": ")[0] for problem in gathered.problems),
        )
    return gathered.collateral


def _gather(
    hardware: Hardware,
    source: Source,
    service: Service,
    amd_roots: Mapping[str, frozenset[bytes]],
    intel_roots: frozenset[bytes],
) -> Gathered:
    if isinstance(hardware, SnpEvidence):
        return fetch_amd(hardware.report, hardware.certificates, hardware.crls, source, amd_roots)
    if isinstance(hardware, TdxEvidence):
        return fetch_intel(hardware.quote, hardware.collateral, source, intel_roots, service)
    if hardware.tee == "azure-snp":
        report = parse_hcl(hardware.hcl_report).hardware_report
        return fetch_amd(report, hardware.certificates, hardware.crls, source, amd_roots)
    if not hardware.td_quote:
        return Gathered(Collateral(), ("the evidence has no TD quote, which would say which platform it is",))
    return fetch_intel(hardware.td_quote, hardware.collateral, source, intel_roots, service)
