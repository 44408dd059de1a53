"""Collateral beyond what evidence brings: from a folder, and on request from AMD's and Intel's services."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from attestation.commands.common import UNDECIDED, stop, tell, working
from attestation.errors import CannotDecide, MalformedEvidence
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence
from attestation.model import Collateral, TdxCollateral
from attestation.raw_files import read_collateral
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


@dataclass(frozen=True, slots=True)
class Services:
    """Which services are asked, and where their answers are kept."""

    pccs: str | None = None
    authority: Path | None = None
    cache: Path | None = None

    def fetch(self, hardware: Hardware, *, at: datetime | None = None, renew: bool = False) -> Collateral:
        """Ask for what this evidence needs. What could not be had is told, and stays undecided."""
        from attestation.collect import CollateralUnavailable, collect  # here: only who asks needs it

        try:
            with working("fetching what the hardware's vendor publishes about this evidence"):
                return collect(
                    hardware,
                    cache_dir=self.cache or default_cache(),
                    pccs=self.pccs,
                    ca=self.authority,
                    at=at,
                    renew=renew,
                )
        except CollateralUnavailable as error:
            tell(f"casemate: {printable(str(error), 1000)}")
            tell(f"hint: {error.hint}")
            return error.partial
        except MalformedEvidence as error:
            tell(f"casemate: nothing to fetch for evidence that cannot be read: {printable(str(error))}")
            return Collateral()
        except (CannotDecide, OSError, ValueError) as error:
            stop(
                f"no collateral can be fetched: {printable(str(error))}",
                getattr(error, "hint", ""),
                UNDECIDED,
            )


@dataclass(frozen=True, slots=True)
class Supplement:
    """A folder of collateral, if one was named, and services to ask, if that was wanted."""

    directory: Path | None = None
    services: Services | None = None

    def gather(self, hardware: Hardware | None, at: datetime) -> Collateral:
        """Both together. Of Intel's sets, which are never mixed, the one that suffices at `at`."""
        supplied = self._supplied()
        if hardware is None or self.services is None:
            return supplied
        fetched = self.services.fetch(_with(hardware, supplied), at=at)
        return Collateral(
            supplied.certificates + fetched.certificates,
            supplied.crls + fetched.crls,
            fetched.tdx or supplied.tdx,
        )

    def _supplied(self) -> Collateral:
        """What the folder holds. Stops if it is of no use: the user named it, the evidence did not."""
        if self.directory is None:
            return Collateral()
        try:
            return read_collateral(self.directory)
        except (CannotDecide, MalformedEvidence) as error:
            stop(f"--collateral: {printable(str(error))}", error.hint, UNDECIDED)


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
            certificates=hardware.certificates + supplied.certificates,
            crls=hardware.crls + supplied.crls,
        )
    if isinstance(hardware, TdxEvidence):
        return replace(hardware, collateral=supplied.tdx or hardware.collateral)
    return replace(
        hardware,
        certificates=hardware.certificates + supplied.certificates,
        crls=hardware.crls + supplied.crls,
        collateral=tdx if supplied.tdx else hardware.collateral,
    )
