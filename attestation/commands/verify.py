"""`casemate verify`: decide, and say why."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
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
from attestation.commands.evidence import both
from attestation.commands.online import (
    CacheOption,
    CollateralOption,
    OnlineOption,
    PccsCaOption,
    PccsOption,
    Services,
    Supplement,
)
from attestation.commands.outputs import EarKeyOption, EarOption, HtmlOption, JsonOption, choose_outputs
from attestation.commands.raw import judge_raw
from attestation.errors import MalformedEvidence
from attestation.formats.document import parse_document
from attestation.hardware import Hardware, Tee
from attestation.model import Appraisal
from attestation.policy.model import BUILT_IN, Policy
from attestation.report.text import exit_code, printable
from attestation.verify import verify as decide

_REPORT_DATA_BYTES = 64
_RAW = "Raw evidence"

SaveOption = Annotated[
    Path | None, typer.Option("--save", metavar="FILE", help="Keep the document that a URL answered with.")
]
BaselineOption = Annotated[
    bool,
    typer.Option(
        "--baseline",
        help="Instead of a policy: genuine, no debugging, TCB in order. Says nothing about what runs.",
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
    as_json: JsonOption = False,
    html: HtmlOption = None,
    ear: EarOption = None,
    ear_key: EarKeyOption = None,
) -> None:
    """Decide whether an endpoint, a saved document, or raw evidence in a folder satisfies a policy.

    Exit codes: 0 accepted, 1 refused, 2 could not decide, 3 accepted as insecure development only.
    """
    outputs = choose_outputs(as_json, html, ear, ear_key)
    services = Services(pccs, pccs_ca, cache) if online else None
    question = Question(
        time_of(at), hex_option(nonce, "--nonce", 32, 32), Supplement(collateral, services), ca, save
    )
    rules: dict[str, object] = {"--policy": policy, "--baseline": baseline, "--collateral": collateral}
    if target is None:
        asked = hex_option(report_data, "--report-data", 1, _REPORT_DATA_BYTES)
        appraisal = _raw(tee, directory, _raw_rules(policy, baseline), question, asked)
        subject = f"{tee} evidence in {directory}"
        given = {"--tee": tee, "--dir": directory, "--report-data": asked} | rules
    else:
        _refuse_raw_options(tee, directory, baseline, report_data)
        appraisal, asked = _document(target, load_policy(policy), question)
        subject = target
        given = {"": save or ("EVIDENCE" if "://" in target else target), "--nonce": asked} | rules
    outputs.write(appraisal, subject=subject, nonce=asked, again=_again(given, question.now))
    raise typer.Exit(exit_code(appraisal.verdict))


def _again(options: Mapping[str, object], now: datetime) -> str:
    """The command that decides the same once more, at the same time, without a network."""
    words = ["casemate", "verify"]
    for name, value in options.items():
        if value is not None and value is not False:
            words += [name] if name else []
            words += [value.hex() if isinstance(value, bytes) else str(value)] if value is not True else []
    return shlex.join([*words, "--at", f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"])


@dataclass(frozen=True, slots=True)
class Question:
    """As of when, with which nonce, with what further collateral; and how to reach a URL."""

    now: datetime
    nonce: bytes | None
    supplement: Supplement
    ca: Path | None
    save: Path | None


def _raw(
    tee: Tee | None,
    directory: Path | None,
    rules: Policy | Baseline,
    question: Question,
    report_data: bytes | None,
) -> Appraisal:
    kind, place = both(tee, directory)
    if question.nonce is not None:
        stop("--nonce belongs to documents", "raw evidence is compared with --report-data", UNDECIDED)
    if question.save is not None:
        stop("--save keeps what a URL answered", "raw evidence is in its folder already", UNDECIDED)
    return judge_raw(kind, place, rules, question.supplement, now=question.now, report_data=report_data)


def _raw_rules(policy: Path | None, baseline: bool) -> Policy | Baseline:
    if policy is not None and baseline:
        stop("--policy and --baseline exclude each other", "choose one of the two", UNDECIDED)
    if baseline:
        return Baseline()
    return BUILT_IN if policy is None else load_policy(policy)


def _refuse_raw_options(
    tee: Tee | None, directory: Path | None, baseline: bool, report_data: str | None
) -> None:
    named = {
        "--tee": tee is not None,
        "--dir": directory is not None,
        "--baseline": baseline,
        "--report-data": report_data is not None,
    }
    given = [name for name, there in named.items() if there]
    if given:
        hint = "leave out the URL or file, or leave out " + ", ".join(given)
        stop(f"{given[0]} is for raw evidence in a folder", hint, UNDECIDED)


def _document(target: str, rules: Policy, question: Question) -> tuple[Appraisal, bytes | None]:
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
    appraisal = decide(
        document,
        question.supplement.gather(hardware, question.now),
        rules,
        nonce=wanted,
        now=question.now,
        connection_spki_sha256=connection,
    )
    return appraisal, wanted


def _hardware_of(document: bytes) -> Hardware | None:
    """What a document is about, if it can be read; the verifier itself says what is wrong with it."""
    try:
        return parse_document(document).hardware
    except MalformedEvidence:
        return None
