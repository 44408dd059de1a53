"""`casemate collateral`: fetch what vendors publish, so that evidence can be verified offline later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attestation.commands.common import (
    UNDECIDED,
    AtOption,
    CaOption,
    DirOption,
    TargetArgument,
    TeeOption,
    make_folder,
    stop,
    tell,
    time_of,
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
    at: AtOption = None,
) -> None:
    """Write the current collateral for a piece of evidence into a folder, for `verify --collateral`.

    Written is only what was fetched now and is valid; with --at what was valid then, the evidence's too.
    Nothing is decided here. Exit codes: 0 all of it was written, 2 some or all could not be had.
    """
    if out is None:
        stop("--out is missing", "name the folder that the files go into: --out DIR", UNDECIDED)
    now = time_of(at)
    services = Services(pccs, pccs_ca, cache)
    services.check()
    hardware = given_evidence(target, tee, directory, ca)
    fetched = services.fetch(hardware, at=now, renew=at is None, only_valid=True)
    files = collateral_files(fetched.collateral)
    if not files:
        stop("no collateral that is valid could be had, so nothing was written", "", UNDECIDED)
    make_folder(out, "--out")
    for name, raw in files.items():
        write_file(out / name, raw)
        tell(f"wrote {printable(str(out / name))}, {len(raw)} bytes")
    if fetched.missing:
        hint = "what was written is valid; evidence stays undecided until the rest is there too"
        lacking = printable(", ".join(fetched.missing), 1000)
        stop(f"not all collateral could be had, missing: {lacking}", hint, UNDECIDED)
