"""Collateral beyond what evidence brings: from a folder, and on request from AMD's and Intel's services."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from attestation.commands.common import UNDECIDED, make_folder, stop, tell, working, write_file
from attestation.errors import CannotDecide, MalformedEvidence
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence
from attestation.model import Collateral, TdxCollateral
from attestation.raw_files import COLLATERAL_NAMES, collateral_files, read_collateral
from attestation.report.text import printable

_PANEL = "Collateral"

CollateralOption = Annotated[
    Path | None,
    typer.Option(
        "--collateral", metavar="DIR", help="A folder of further collateral.", rich_help_panel=_PANEL
    ),
]
OnlineOption = Annotated[
    bool,
    typer.Option(
        "--online", help="Fetch what is missing from AMD's and Intel's services.", rich_help_panel=_PANEL
    ),
]

PccsOption = Annotated[
    str | None,
    typer.Option("--pccs", metavar="URL", help="Ask this PCCS instead of Intel.", rich_help_panel=_PANEL),
]
PccsCaOption = Annotated[
    Path | None,
    typer.Option(
        "--pccs-ca",
        exists=True,
        dir_okay=False,
        help="PEM authority that must vouch for the services asked, instead of the public ones.",
        rich_help_panel=_PANEL,
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Where fetched collateral is kept; default: casemate/collateral in your cache folder.",
        rich_help_panel=_PANEL,
    ),
]
KeepOption = Annotated[
    Path | None,
    typer.Option(
        "--keep",
        metavar="DIR",
        help="Keep what was fetched in this folder, so that the same can be decided without a network.",
        rich_help_panel=_PANEL,
    ),
]


_NOTHING = Collateral()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What services answered; `missing` names for people what they did not."""

    collateral: Collateral = _NOTHING
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Services:
    """Which services are asked, and where their answers are kept."""

    pccs: str | None = None
    authority: Path | None = None
    cache: Path | None = None

    def check(self) -> None:
        """Stop if no service can have the name that was given for one."""
        from attestation.collect.intel import service_at  # here: only who asks needs it

        try:
            service_at(self.pccs)
        except ValueError as error:
            stop(f"--pccs: {printable(str(error))}", "for example https://localhost:8081", UNDECIDED)

    def fetch(
        self, hardware: Hardware, *, at: datetime, renew: bool = False, only_valid: bool = False
    ) -> Fetched:
        """Ask for what this evidence needs. What could not be had is told, and stays undecided."""
        from attestation.collect import CollateralUnavailable, collect  # here: only who asks needs it

        try:
            with working("fetching what the hardware's vendor publishes about this evidence"):
                found = collect(
                    hardware,
                    cache_dir=self.cache or default_cache(),
                    pccs=self.pccs,
                    ca=self.authority,
                    at=at,
                    renew=renew,
                    only_valid=only_valid,
                )
                return Fetched(found)
        except CollateralUnavailable as error:
            tell(f"casemate: {printable(str(error), 1000)}")
            tell(f"hint: {error.hint}")
            return Fetched(error.partial, error.missing)
        except MalformedEvidence as error:
            tell(f"casemate: nothing to fetch for evidence that cannot be read: {printable(str(error))}")
            return Fetched(missing=("everything",))
        except (CannotDecide, OSError, ValueError) as error:
            stop(
                f"no collateral can be fetched: {printable(str(error))}",
                getattr(error, "hint", ""),
                UNDECIDED,
            )


@dataclass(frozen=True, slots=True)
class Supplied:
    """Collateral beside the evidence's own, and the folder that has all of it.

    `is_lost`: something was fetched that no folder has, so that nobody can decide the same again.
    """

    collateral: Collateral = _NOTHING
    directory: Path | None = None
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Supplement:
    """A folder of collateral, if one was named; services to ask, and a folder to keep answers, if wanted."""

    directory: Path | None = None
    services: Services | None = None
    keep: Path | None = None

    def gather(self, hardware: Hardware | None, at: datetime) -> Supplied:
        """Both together. Of Intel's sets, which are never mixed, the one that suffices at `at`."""
        supplied = _read(self.directory, "--collateral")
        if hardware is None or self.services is None:
            return Supplied(supplied, self.directory)
        whole = _with(hardware, supplied)
        fetched = self.services.fetch(whole, at=at).collateral
        together = Collateral(
            tuple(dict.fromkeys(fetched.certificates + supplied.certificates)),
            tuple(dict.fromkeys(fetched.crls + supplied.crls)),
            fetched.tdx or supplied.tdx,
        )
        if self.keep is None:
            return Supplied(together, self.directory, is_lost=_with(whole, fetched) != whole)
        make_folder(self.keep, "--keep")
        for name, raw in collateral_files(together).items():
            write_file(self.keep / name, raw)
        tell(f"kept {printable(str(self.keep))}; to decide the same again, name it with --collateral")
        return Supplied(_read(self.keep, "--keep"), self.keep)  # judged is what was kept, and nothing else


def choose_supplement(
    directory: Path | None, services: Services, *, online: bool, keep: Path | None = None
) -> Supplement:
    """Check that the options fit together before anything is read or asked."""
    named = {"--pccs": services.pccs, "--pccs-ca": services.authority, "--cache": services.cache}
    given = [name for name, value in {**named, "--keep": keep}.items() if value is not None]
    if not online:
        if given:
            hint = f"ask with --online, or leave out {', '.join(given)}"
            stop(f"{given[0]} means nothing while nobody is asked", hint, UNDECIDED)
        return Supplement(directory)
    services.check()
    if keep is not None and any((keep / name).exists() for name in COLLATERAL_NAMES):
        stop("--keep names a folder that has collateral already", "name one that is empty", UNDECIDED)
    return Supplement(directory, services, keep)


def _read(directory: Path | None, option: str) -> Collateral:
    """What a folder holds. Stops if it is of no use: the user named it, the evidence did not."""
    if directory is None:
        return Collateral()
    try:
        return read_collateral(directory)
    except (CannotDecide, MalformedEvidence) as error:
        stop(f"{option}: {printable(str(error))}", error.hint, UNDECIDED)


def _union(some: tuple[bytes, ...], more: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return some + tuple(der for der in more if der not in some)


def default_cache() -> Path:
    """Where the user's programs keep what they can fetch again."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if Path(named).is_absolute() else Path.home() / ".cache"
    return base / "casemate" / "collateral"


def _with(hardware: Hardware, supplied: Collateral) -> Hardware:
    """The evidence as if it had brought the folder's collateral along, so that only what lacks is fetched."""
    tdx = supplied.tdx or TdxCollateral()
    if isinstance(hardware, SnpEvidence):
        return replace(
            hardware,
            certificates=_union(hardware.certificates, supplied.certificates),
            crls=_union(hardware.crls, supplied.crls),
        )
    if isinstance(hardware, TdxEvidence):
        return replace(hardware, collateral=supplied.tdx or hardware.collateral)
    return replace(
        hardware,
        certificates=_union(hardware.certificates, supplied.certificates),
        crls=_union(hardware.crls, supplied.crls),
        collateral=tdx if supplied.tdx else hardware.collateral,
    )
