"""`casemate policy`: draft a policy from live evidence, and say in plain words what one accepts."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from attestation.authenticate import Claims, authenticate
from attestation.azure.verify import VtpmClaims
from attestation.check import Check, Outcome, Stage
from attestation.commands.common import (
    POLICY_BYTES,
    REFUSED,
    UNDECIDED,
    AtOption,
    CaOption,
    DirOption,
    NonceOption,
    TargetArgument,
    TeeOption,
    fetch,
    hex_option,
    parse_policy_file,
    read_file,
    stop,
    tell,
    time_of,
)
from attestation.commands.evidence import both, kind_of, one_way, read_raw, refuse_misplaced
from attestation.commands.hints import next_steps
from attestation.commands.online import (
    CacheOption,
    CollateralOption,
    OnlineOption,
    PccsCaOption,
    PccsOption,
    Services,
    Supplement,
    choose_supplement,
)
from attestation.errors import MalformedEvidence
from attestation.formats.document import parse_document
from attestation.formats.manifest import Manifest, parse_manifest
from attestation.hardware import Hardware, Tee
from attestation.model import Appraisal, Collateral
from attestation.pins import read_pin
from attestation.policy.draft import draft_policy
from attestation.policy.explain import explain_policy
from attestation.policy.model import BUILT_IN, Policy
from attestation.policy.settings import Settings, read_settings
from attestation.report.text import printable
from attestation.verify import verify, verify_hardware

_UNCONFIRMED = re.compile(rb"unconfirmed", re.IGNORECASE)
_ESTABLISHED = frozenset({Stage.PARSE, Stage.AUTHENTICATE, Stage.BIND})
_BAD = frozenset({Outcome.FAIL, Outcome.UNDECIDED})
# Whose question it answers decides nothing about a draft, whose every value gets compared anyway.
_NOT_ASKED = frozenset({"statement.nonce", "evidence.report_data"})
_ROOTS = frozenset({"snp.chain.root", "tdx.pck.root"})
_DEVELOPMENT = "--insecure-development-root PIN"
_PCRS = "put them beside the TPM's quote as tpm_pcrs.json: a list of hexadecimal values, from PCR 0 on"

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="What you accept: draft it from live evidence, and read in plain words what it says.",
)


@app.command("init")
def init_policy(
    target: TargetArgument = None,
    at: AtOption = None,
    nonce: NonceOption = None,
    ca: CaOption = None,
    development_root: Annotated[
        str | None,
        typer.Option(
            "--insecure-development-root", metavar="PIN", help="Root of a simulated TEE to draft for."
        ),
    ] = None,
    tee: TeeOption = None,
    directory: DirOption = None,
    collateral: CollateralOption = None,
    online: OnlineOption = False,
    pccs: PccsOption = None,
    pccs_ca: PccsCaOption = None,
    cache: CacheOption = None,
) -> None:
    """Draft a policy from evidence and print it, every value marked unconfirmed: compare it, then unmark it.

    Only evidence that is authentic is drafted from. Exit codes: 0 drafted, 1 refused, 2 could not decide.
    """
    one_way(target, tee, directory)
    refuse_misplaced(kind_of(target), nonce=nonce, ca=ca)
    supplement = choose_supplement(collateral, Services(pccs, pccs_ca, cache), online=online)
    judge = _Judge(
        time_of(at), supplement, replace(BUILT_IN, insecure_development_root=_root(development_root))
    )
    if target is None:
        drafted = judge.raw(*both(tee, directory))
    else:
        drafted = judge.document(target, hex_option(nonce, "--nonce", 32, 32), ca)
    sys.stdout.write(drafted)
    tell("a draft: compare each line marked unconfirmed with a source of its own, then take off its mark")


@app.command("explain")
def explain(
    file: Annotated[
        Path | None, typer.Argument(help="A policy (TOML); without one: what holds if none is named.")
    ] = None,
) -> None:
    """Say in plain words what a policy accepts and refuses, its strict defaults included."""
    if file is None:
        sys.stdout.write("The built-in policy, which holds for raw evidence if no other is named\n\n")
        sys.stdout.write(explain_policy(BUILT_IN))
        return
    raw = read_file(file, POLICY_BYTES)
    marks = len(_UNCONFIRMED.findall(raw))
    policy = parse_policy_file(_UNCONFIRMED.sub(b"", raw), file.parent)
    if marks:
        sys.stdout.write(
            f"A DRAFT: {marks} marks say unconfirmed; while one is left, nothing is accepted\n\n"
        )
    sys.stdout.write(explain_policy(policy))


@dataclass(frozen=True, slots=True)
class _Judge:
    """Establishes that evidence is authentic and bound, which is all that a draft asks for."""

    now: datetime
    supplement: Supplement
    rules: Policy

    def raw(self, tee: Tee, directory: Path) -> str:
        """A draft from a folder: nothing is known there of a manifest or a configuration."""
        hardware = read_raw(tee, directory)
        collateral = self.supplement.gather(hardware, self.now).collateral
        appraisal = verify_hardware(hardware, collateral, self.rules, now=self.now)
        claims = self._claims(appraisal, hardware, collateral)
        return draft_policy(claims, source=f"{tee} in {directory}", now=self.now)

    def document(self, target: str, nonce: bytes | None, ca: Path | None) -> str:
        """A draft from a document, or from what a URL answers to a fresh nonce."""
        connection: bytes | None = None
        if "://" in target:
            nonce = nonce or secrets.token_bytes(32)
            raw, connection = fetch(target, nonce, ca)
        else:
            raw = read_file(Path(target))
        try:
            parts = parse_document(raw)
            manifest, settings = _told(parts.manifest, parts.config)
        except MalformedEvidence as error:
            stop(f"this evidence cannot be read: {printable(str(error))}", error.hint, REFUSED)
        collateral = self.supplement.gather(parts.hardware, self.now).collateral
        appraisal = verify(
            raw, collateral, self.rules, nonce=nonce, now=self.now, connection_spki_sha256=connection
        )
        claims = self._claims(appraisal, parts.hardware, collateral)
        return draft_policy(claims, manifest=manifest, settings=settings, source=target, now=self.now)

    def _claims(self, appraisal: Appraisal, hardware: Hardware, collateral: Collateral) -> Claims:
        """The claims behind an appraisal, or an end that names what stands in their way."""
        problems = [check for check in appraisal.checks if _stands_in_the_way(check)]
        root = self.rules.insecure_development_root
        if not problems:
            claims = authenticate(hardware, collateral, development_root=root, now=self.now).claims
            if isinstance(claims, VtpmClaims) and claims.pcrs is None:
                stop("the PCR values are missing, which a policy names the guest by", _PCRS, UNDECIDED)
            if claims is not None:
                return claims
        _refuse(problems)


def _stands_in_the_way(check: Check) -> bool:
    undecided_question = check.id in _NOT_ASKED and check.outcome is Outcome.UNDECIDED
    return check.stage in _ESTABLISHED and check.outcome in _BAD and not undecided_question


def _refuse(problems: Sequence[Check]) -> NoReturn:
    for check in problems:
        tell(f"{check.outcome.value}: {check.id}: {printable(check.found)}")
    refused = any(check.outcome is Outcome.FAIL for check in problems)
    steps = "" if refused else "; ".join(next_steps(problems))
    if any(check.id in _ROOTS and check.outcome is Outcome.FAIL for check in problems):
        steps = "the root is not the vendor's; a development gateway's is named with " + _DEVELOPMENT
    steps = steps or "`casemate verify` shows every check"
    stop("no policy is drafted from evidence that is not authentic", steps, REFUSED if refused else UNDECIDED)


def _told(manifest: bytes, config: bytes) -> tuple[Manifest, Settings]:
    return parse_manifest(manifest), read_settings(config)


def _root(pin: str | None) -> bytes | None:
    if pin is None:
        return None
    try:
        return read_pin(pin)
    except MalformedEvidence as error:
        hint = "`casemate dev` writes it into the policy of its state directory"
        stop(f"--insecure-development-root: {printable(str(error))}", hint, UNDECIDED)
