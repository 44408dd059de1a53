"""Authentic claims for tests of policies: from forged hardware, and from the collection's real evidence."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from attestation.azure.verify import VtpmClaims, authenticate_vtpm
from attestation.hardware import SnpEvidence, TdxEvidence
from attestation.model import Collateral
from attestation.raw_files import read_hardware
from attestation.snp.abi import parse_report
from attestation.snp.roots import AMD_ROOTS
from attestation.snp.verify import SnpClaims, authenticate_report
from attestation.tdx.abi import parse_quote
from attestation.tdx.roots import INTEL_ROOTS
from attestation.tdx.verify import TdxClaims, authenticate_quote
from tests.fakes.amd import NOW, Signed
from tests.fakes.intel import IntelSigned
from tests.fakes.tpm import AzureSigned

AnyClaims = SnpClaims | TdxClaims | VtpmClaims
_TEES = {"azure-vtpm-snp": "azure-snp", "azure-vtpm-tdx": "azure-tdx"}


def snp_claims(signed: Signed) -> SnpClaims:
    """Claims of a forged SNP report."""
    checks, claims = signed.authenticate()
    assert claims is not None, checks
    return claims


def tdx_claims(signed: IntelSigned) -> TdxClaims:
    """Claims of a forged TDX quote."""
    checks, claims, _ = authenticate_quote(
        parse_quote(signed.quote), signed.collateral, roots=signed.roots, development_root=None, now=NOW
    )
    assert claims is not None, checks
    return claims


def vtpm_claims(signed: AzureSigned) -> VtpmClaims:
    """Claims of a forged Azure guest."""
    checks, claims, _ = authenticate_vtpm(
        signed.evidence,
        collateral=Collateral(),
        amd_roots=signed.amd_roots,
        intel_roots=signed.intel_roots,
        development_root=None,
        now=NOW,
    )
    assert claims is not None, checks
    return claims


def case_of(evidence: Path, name: str) -> dict[str, Any]:
    """A case of the collection's manifest."""
    cases = json.loads((evidence / "MANIFEST.json").read_text("utf-8"))["cases"]
    found: dict[str, Any] = next(case for case in cases if case["id"] == name)
    return found


def time_of(case: dict[str, Any]) -> datetime:
    """When a case is to be judged."""
    expected = case["expected"]
    return datetime.fromisoformat(expected.get("verify_at") or expected["evaluations"][0]["at"])


def real_claims(evidence: Path, name: str) -> tuple[AnyClaims | None, datetime]:
    """Claims of real evidence and the time of judgement; None if it is not authentic."""
    case = case_of(evidence, name)
    now = time_of(case)
    hardware = read_hardware(_TEES.get(case["tee"], case["tee"]), evidence / name)  # type: ignore[arg-type]
    if isinstance(hardware, SnpEvidence):
        claims: AnyClaims | None = authenticate_report(
            parse_report(hardware.report),
            hardware.certificates,
            hardware.crls,
            roots=AMD_ROOTS,
            development_root=None,
            now=now,
        )[1]
    elif isinstance(hardware, TdxEvidence):
        quote = parse_quote(hardware.quote)
        claims = authenticate_quote(
            quote, hardware.collateral, roots=INTEL_ROOTS, development_root=None, now=now
        )[1]
    else:
        claims = authenticate_vtpm(
            hardware,
            collateral=Collateral(),
            amd_roots=AMD_ROOTS,
            intel_roots=INTEL_ROOTS,
            development_root=None,
            now=now,
        )[1]
    return claims, now
