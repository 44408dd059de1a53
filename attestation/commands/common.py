"""What several commands share: how they read, how they stop, and the spelling of their options.

Machine output goes to stdout, everything else to stderr. Whoever stops says what to do next.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn, get_args

import typer
from rich.console import Console

from attestation.errors import AttestationError, CannotDecide, PolicyInvalid
from attestation.hardware import Tee
from attestation.policy.model import Policy
from attestation.policy.toml import parse_policy
from attestation.report.text import printable

REFUSED, UNDECIDED = 1, 2
POLICY_BYTES = 1024 * 1024
RELEASE_BYTES = 1024 * 1024
_HEX = re.compile(r"[0-9a-fA-F]*")
# RFC 3339 section 5.6, with the zone optional. No leap second: nobody's certificates know one.
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])(\.[0-9]{1,12})?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)
_YEARS = range(1970, 9999)
_URL_HINT = "an endpoint is named with https://"

_TEES: dict[str, Tee] = {tee: tee for tee in get_args(Tee)}


def _tee(text: str) -> Tee:
    if text not in _TEES:
        raise typer.BadParameter(f"it is one of {', '.join(_TEES)}")
    return _TEES[text]


TargetArgument = Annotated[
    str | None, typer.Argument(help="https:// URL of a gateway, or a saved evidence document.")
]
NonceOption = Annotated[
    str | None,
    typer.Option("--nonce", metavar="HEX", help="64 hex digits that the document has to answer."),
]
PolicyOption = Annotated[
    Path | None, typer.Option("--policy", "-p", metavar="FILE", help="What you accept (TOML).")
]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca", exists=True, dir_okay=False, help="PEM authority that must vouch for the endpoint."),
]
TeeOption = Annotated[
    Tee | None,
    typer.Option(
        "--tee",
        parser=_tee,
        metavar=f"[{'|'.join(_TEES)}]",
        help="The kind of hardware that made it.",
        rich_help_panel="Raw evidence",
    ),
]
DirOption = Annotated[
    Path | None,
    typer.Option("--dir", metavar="DIR", help="The folder that holds it.", rich_help_panel="Raw evidence"),
]
AtOption = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="Decide as of this time (RFC 3339); default: now.")
]


def stop(message: str, hint: str, code: int) -> NoReturn:
    """Say on stderr what happened and what to do next, and leave with `code`."""
    sys.stderr.write(f"casemate: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    raise typer.Exit(code)


def give_up(what: str, error: Exception) -> NoReturn:
    """Evidence that is wrong is a refusal; anything else means that nothing could be decided."""
    refused = isinstance(error, AttestationError) and not isinstance(error, CannotDecide | PolicyInvalid)
    hint = getattr(error, "hint", "") or "nothing was sent but a nonce"
    stop(f"{what}: {printable(str(error))}", hint, REFUSED if refused else UNDECIDED)


def tell(message: str) -> None:
    """One line of progress, on stderr."""
    sys.stderr.write(f"{message}\n")


@contextmanager
def working(message: str) -> Iterator[None]:
    """Show on a terminal that something is under way; say nothing in a script."""
    with Console(stderr=True).status(message):
        yield


def read_file(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a file that the user named; stops if it cannot be read, or is longer than `limit`."""
    try:
        with path.open("rb") as file:
            raw = file.read() if limit is None else file.read(limit + 1)
    except OSError as error:
        hint = _URL_HINT if ":" in str(path) else ""
        stop(f"cannot read {printable(str(path))}: {error.strerror}", hint, UNDECIDED)
    if limit is not None and len(raw) > limit:
        stop(f"{printable(str(path))} is longer than {limit} bytes", "is it the right file?", UNDECIDED)
    return raw


def write_file(path: Path, raw: bytes) -> None:
    """Write a file that the user named; stops if that is impossible."""
    try:
        path.write_bytes(raw)
    except OSError as error:
        hint = "choose another place; nothing was printed, so that no half result is taken for a whole one"
        stop(f"cannot write {printable(str(path))}: {error.strerror}", hint, UNDECIDED)


def make_folder(path: Path, option: str) -> None:
    """Make a folder that the user named with `option`, if it is not there; stops if that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stop(f"cannot make {printable(str(path))}: {error.strerror}", f"choose another {option}", UNDECIDED)


def load_policy(path: Path | None) -> Policy:
    """The policy of `--policy`, with the release files that it names beside it."""
    if path is None:
        stop(
            "no policy, so nothing can be accepted and nothing is sent",
            "draft one with `casemate policy init URL`, confirm its lines, and pass it with --policy",
            UNDECIDED,
        )
    return parse_policy_file(read_file(path, POLICY_BYTES), path.parent)


def parse_policy_file(raw: bytes, folder: Path) -> Policy:
    """A policy's bytes as a value; release files are looked for in `folder`. Stops if it cannot be used."""
    try:
        return parse_policy(raw, _releases(raw, folder))
    except PolicyInvalid as error:
        stop(printable(str(error)), error.hint, UNDECIDED)


def _releases(raw: bytes, folder: Path) -> dict[str, bytes]:
    """The release files that a policy names: plain names, found beside the policy and nowhere else."""
    try:
        table = tomllib.loads(raw.decode()).get("reference", {})
    except ValueError:
        return {}  # the policy's own reader says what is wrong with it
    names = table.get("releases", []) if isinstance(table, dict) else []
    plain = [name for name in names if isinstance(name, str) and Path(name).name == name]
    return {name: _release(folder / name) for name in plain}


def _release(path: Path) -> bytes:
    if not path.is_file():
        stop(
            f"the policy names the release file {printable(path.name)}, which is not beside it",
            f"put it into {printable(str(path.parent))}, or take its name out of [reference] releases",
            UNDECIDED,
        )
    return read_file(path, RELEASE_BYTES)


def refuse_plain(url: str) -> None:
    """Stop unless `url` is https."""
    if not url.startswith("https://"):
        stop("only https:// endpoints can be verified", "nothing was sent", UNDECIDED)


def fetch(url: str, nonce: bytes, ca: Path | None) -> tuple[bytes, bytes]:
    """Document and leaf key of the one connection that brought it."""
    refuse_plain(url)
    from attestation.fetch import fetch_evidence  # here: only who asks a gateway needs it

    try:
        with working(f"asking {printable(url)} for evidence"):
            return fetch_evidence(url, nonce, ca=ca)
    except (AttestationError, OSError, ValueError) as error:
        give_up(f"no evidence from {printable(url)}", error)


def time_of(at: str | None) -> datetime:
    """The time of `--at` in UTC, to the microsecond, or this second. A time without a zone is UTC."""
    if at is None:
        return datetime.now(UTC).replace(microsecond=0)
    parts = _TIME.fullmatch(at)
    try:
        moment = _moment(*parts.groups(default="")) if parts else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.year not in _YEARS:
        hint = "for example 2026-11-21T12:00:00Z; from 1970 to 9998, leap seconds are not known"
        stop("--at is not an RFC 3339 time", hint, UNDECIDED)
    return moment


def _moment(date: str, time: str, fraction: str, zone: str) -> datetime:
    """Raises ValueError for a day that no calendar has, OverflowError beyond the years that can be told."""
    offset = zone if zone[1:] else "+00:00"
    return datetime.fromisoformat(f"{date}T{time}{fraction[:7]}{offset}").astimezone(UTC)


def hex_option(text: str | None, name: str, least: int, most: int) -> bytes | None:
    """The bytes of an option in hexadecimal digits, `least` to `most` of them; None if it is absent."""
    if text is None:
        return None
    if len(text) % 2 or not 2 * least <= len(text) <= 2 * most or not _HEX.fullmatch(text):
        size = f"{2 * least}" if least == most else f"{2 * least} to {2 * most}"
        stop(f"{name} must be {size} hexadecimal digits", "it is compared byte for byte", UNDECIDED)
    return bytes.fromhex(text)
