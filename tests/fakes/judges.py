"""Forged evidence before the code under test: which checks object, without those that pass or only note."""

from __future__ import annotations

from datetime import datetime

from attestation.azure.verify import VtpmClaims, authenticate_vtpm
from attestation.check import DECIDES_NOTHING_BAD, Check, Outcome
from attestation.errors import MalformedEvidence
from attestation.model import Collateral, Facts
from attestation.tdx.abi import parse_quote
from attestation.tdx.verify import TdxClaims, authenticate_quote
from tests.fakes.amd import NOW
from tests.fakes.intel import IntelSigned
from tests.fakes.mutants import MALFORMED, Judged
from tests.fakes.tpm import AzureSigned


def authenticate_tdx(
    signed: IntelSigned, *, now: datetime = NOW, development_root: bytes | None = None
) -> tuple[list[Check], TdxClaims | None, Facts]:
    """Run the TDX verifier. Raises MalformedEvidence for a quote that cannot be read."""
    return authenticate_quote(
        parse_quote(signed.quote),
        signed.collateral,
        roots=signed.roots,
        development_root=development_root,
        now=now,
    )


def authenticate_azure(
    signed: AzureSigned, *, now: datetime = NOW, development_root: bytes | None = None
) -> tuple[list[Check], VtpmClaims | None, Facts]:
    """Run the Azure verifier. Raises MalformedEvidence for reports that cannot be read."""
    return authenticate_vtpm(
        signed.evidence,
        collateral=Collateral(),
        amd_roots=signed.amd_roots,
        intel_roots=signed.intel_roots,
        development_root=development_root,
        now=now,
    )


def objections(checks: list[Check]) -> dict[str, str]:
    """Outcome by id of everything that keeps evidence from being accepted, insecure ones included."""
    return {
        check.id: check.outcome.value
        for check in checks
        if check.outcome not in DECIDES_NOTHING_BAD or check.outcome is Outcome.INSECURE
    }


def tdx_objections(signed: IntelSigned, **how: datetime) -> dict[str, str]:
    """What objects to a TDX quote; claims have to be there exactly if nothing does."""
    checks, claims, _ = authenticate_tdx(signed, **how)
    against = objections(checks)
    assert (claims is None) == bool(against)
    return against


def azure_objections(signed: AzureSigned, **how: datetime) -> dict[str, str]:
    """What objects to Azure evidence; claims have to be there exactly if nothing does."""
    checks, claims, _ = authenticate_azure(signed, **how)
    against = objections(checks)
    assert (claims is None) == bool(against)
    return against


def judge_tdx(signed: IntelSigned) -> Judged:
    """For `mutants.examine`."""
    try:
        checks, claims, _ = authenticate_tdx(signed)
    except MalformedEvidence:
        return Judged(False, frozenset({MALFORMED}))
    return Judged(claims is not None, frozenset(objections(checks)))


def judge_azure(signed: AzureSigned) -> Judged:
    """For `mutants.examine`."""
    try:
        checks, claims, _ = authenticate_azure(signed)
    except MalformedEvidence:
        return Judged(False, frozenset({MALFORMED}))
    return Judged(claims is not None, frozenset(objections(checks)))
