"""`casemate collateral`: fetch what vendors publish, so that evidence can be verified offline later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attestation.commands.common import (
    UNDECIDED,
    CaOption,
    DirOption,
    TargetArgument,
    TeeOption,
    stop,
    tell,
    write_file,
)
from attestation.commands.evidence import given_evidence
from attestation.commands.online import CacheOption, PccsCaOption, PccsOption, Services
from attestation.raw_files import collateral_files
from attestation.report.text import printable

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="What AMD and Intel publish about a machine: certificates, revocation lists, TCB levels.",
)


@app.callback()
def _group() -> None:
    """Keeps `fetch` a command of its own, also while it is the only one."""


@app.command("fetch")
def fetch_collateral(
    target: TargetArgument = None,
    tee: TeeOption = None,
    directory: DirOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to write the files; made if absent.")
    ] = None,
    pccs: PccsOption = None,
    pccs_ca: PccsCaOption = None,
    cache: CacheOption = None,
    ca: CaOption = None,
) -> None:
    """Write the current collateral for a piece of evidence into a folder, for `verify --collateral`.

    Nothing is decided here. Exit codes: 0 something was written, 2 nothing could be had.
    """
    if out is None:
        stop("--out is missing", "name the folder that the files go into: --out DIR", UNDECIDED)
    hardware = given_evidence(target, tee, directory, ca)
    files = collateral_files(Services(pccs, pccs_ca, cache).fetch(hardware, renew=True))
    if not files:
        stop("no collateral could be had, so nothing was written", "", UNDECIDED)
    _make(out)
    for name, raw in files.items():
        write_file(out / name, raw)
        tell(f"wrote {printable(str(out / name))}, {len(raw)} bytes")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"cannot make {printable(str(folder))}: {error.strerror}", "choose another --out", UNDECIDED)
