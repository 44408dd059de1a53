"""`casemate verify`: decide, and say why."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from attestation.appraise.baseline import Baseline
from attestation.commands.common import (
    UNDECIDED,
    AtOption,
    CaOption,
    DirOption,
    NonceOption,
    PolicyOption,
    TargetArgument,
    TeeOption,
    fetch,
    hex_option,
    load_policy,
    read_file,
    stop,
    tell,
    time_of,
    write_file,
)
from attestation.commands.evidence import Kind, both, kind_of, refuse_misplaced
from attestation.commands.online import (
    CacheOption,
    CollateralOption,
    KeepOption,
    OnlineOption,
    PccsCaOption,
    PccsOption,
    Services,
    Supplement,
    Supplied,
    choose_supplement,
)
from attestation.commands.outputs import (
    Again,
    EarKeyOption,
    EarOption,
    HtmlOption,
    JsonOption,
    choose_outputs,
)
from attestation.commands.raw import Judged, judge_raw
from attestation.errors import MalformedEvidence
from attestation.formats.document import parse_document
from attestation.hardware import Hardware
from attestation.policy.model import BUILT_IN, Policy
from attestation.report.text import exit_code, printable, write_time
from attestation.verify import verify as decide

_REPORT_DATA_BYTES = 64
_RAW = "Raw evidence"
_NO_DOCUMENT = (
    "What the address answered was kept nowhere, so nobody can decide this again: in the command for it, "
    "EVIDENCE stands for the document. Ask once more with --save FILE, which keeps it."
)
_NO_COLLATERAL = (
    "What was fetched from vendors was kept in no folder, and without it nobody can decide this again: in "
    "the command for it, COLLATERAL stands for that folder. Verify again with --keep DIR, which writes it."
)
_NO_CONNECTION = (
    "The key of the connection was compared while it was open; a saved document has none, so that the check "
    "connection.key is absent when this is decided again."
)

SaveOption = Annotated[
    Path | None, typer.Option("--save", metavar="FILE", help="Keep the document that a URL answered with.")
]
BaselineOption = Annotated[
    bool,
    typer.Option(
        "--baseline",
        help="Instead of a policy: genuine, no debugging. Says nothing about what runs.",
        rich_help_panel=_RAW,
    ),
]
ReportDataOption = Annotated[
    str | None,
    typer.Option(
        "--report-data",
        metavar="HEX",
        help="What the hardware has to have signed for you (on Azure: what the TPM was asked).",
        rich_help_panel=_RAW,
    ),
]


def verify(
    target: TargetArgument = None,
    policy: PolicyOption = None,
    at: AtOption = None,
    nonce: NonceOption = None,
    ca: CaOption = None,
    save: SaveOption = None,
    tee: TeeOption = None,
    directory: DirOption = None,
    baseline: BaselineOption = False,
    report_data: ReportDataOption = None,
    collateral: CollateralOption = None,
    online: OnlineOption = False,
    pccs: PccsOption = None,
    pccs_ca: PccsCaOption = None,
    cache: CacheOption = None,
    keep: KeepOption = None,
    as_json: JsonOption = False,
    html: HtmlOption = None,
    ear: EarOption = None,
    ear_key: EarKeyOption = None,
) -> None:
    """Decide whether an endpoint, a saved document, or raw evidence in a folder satisfies a policy.

    Exit codes: 0 accepted, 1 refused, 2 could not decide, 3 accepted as insecure development only.
    """
    outputs = choose_outputs(as_json, html, ear, ear_key)
    kind = kind_of(target)
    refuse_misplaced(kind, tee=tee, dir=directory, baseline=baseline, report_data=report_data)
    refuse_misplaced(kind, nonce=nonce, save=save, ca=ca)
    supplement = choose_supplement(collateral, Services(pccs, pccs_ca, cache), online=online, keep=keep)
    question = Question(time_of(at), hex_option(nonce, "--nonce", 32, 32), supplement, ca, save)
    rules: dict[str, object] = {"--policy": policy, "--baseline": baseline}
    if target is None:
        least = 1 if tee in ("azure-snp", "azure-tdx") else _REPORT_DATA_BYTES
        asked = hex_option(report_data, "--report-data", least, _REPORT_DATA_BYTES)
        judged = judge_raw(
            *both(tee, directory),
            _raw_rules(policy, baseline),
            supplement,
            now=question.now,
            report_data=asked,
        )
        subject = f"{tee} evidence in {directory}"
        given = {"--tee": tee, "--dir": directory, "--report-data": asked} | rules
    else:
        judged, asked = _document(target, load_policy(policy), question)
        subject = target
        given = {"": save or ("EVIDENCE" if kind == "url" else target), "--nonce": asked} | rules
    again = _again(given, judged.supplied, question, kind)
    outputs.write(judged.appraisal, subject=subject, nonce=asked, again=again, hint=judged.hint)
    raise typer.Exit(exit_code(judged.appraisal.verdict))


def _again(options: Mapping[str, object], supplied: Supplied, question: Question, kind: Kind) -> Again:
    """The command that decides the same once more, at the same time, without a network."""
    collateral = "COLLATERAL" if supplied.is_lost else supplied.directory
    words = ["casemate", "verify"]
    for name, value in {**options, "--collateral": collateral}.items():
        if value is not None and value is not False:
            words += [name] if name else []
            words += [value.hex() if isinstance(value, bytes) else str(value)] if value is not True else []
    command = shlex.join([*words, "--at", str(write_time(question.now))])
    told = {
        _NO_DOCUMENT: kind == "url" and question.save is None,
        _NO_COLLATERAL: supplied.is_lost,
        _NO_CONNECTION: kind == "url" and question.save is not None,
    }
    return Again(command, tuple(note for note, holds in told.items() if holds))


@dataclass(frozen=True, slots=True)
class Question:
    """As of when, with which nonce, with what further collateral; and how to reach a URL."""

    now: datetime
    nonce: bytes | None
    supplement: Supplement
    ca: Path | None
    save: Path | None


def _raw_rules(policy: Path | None, baseline: bool) -> Policy | Baseline:
    if policy is not None and baseline:
        stop("--policy and --baseline exclude each other", "choose one of the two", UNDECIDED)
    if baseline:
        return Baseline()
    return BUILT_IN if policy is None else load_policy(policy)


def _document(target: str, rules: Policy, question: Question) -> tuple[Judged, bytes | None]:
    """Judge a gateway's evidence; the nonce that it was asked with comes back too."""
    wanted, connection = question.nonce, None
    if "://" in target:
        wanted = wanted or secrets.token_bytes(32)
        document, connection = fetch(target, wanted, question.ca)
        if question.save is not None:
            write_file(question.save, document)
            tell(f"kept {printable(str(question.save))}; to judge it again, add --nonce {wanted.hex()}")
    else:
        document = read_file(Path(target))
    hardware = _hardware_of(document)
    if hardware is None and connection is None:
        tell("hint: this is no evidence document; raw evidence in a folder is named with --tee and --dir")
    supplied = question.supplement.gather(hardware, question.now)
    appraisal = decide(
        document,
        supplied.collateral,
        rules,
        nonce=wanted,
        now=question.now,
        connection_spki_sha256=connection,
    )
    return Judged(appraisal, supplied), wanted


def _hardware_of(document: bytes) -> Hardware | None:
    """What a document is about, if it can be read; the verifier itself says what is wrong with it."""
    try:
        return parse_document(document).hardware
    except MalformedEvidence:
        return None
