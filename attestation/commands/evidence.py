"""Evidence that a command was given: a URL, a saved document, or a folder of raw evidence."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal

from attestation.commands.common import REFUSED, UNDECIDED, fetch, read_file, stop
from attestation.errors import CannotDecide, MalformedEvidence
from attestation.formats.document import parse_document
from attestation.hardware import Hardware, Tee
from attestation.raw_files import read_hardware
from attestation.report.text import printable

Kind = Literal["url", "file", "folder"]

# Options that mean something for some kinds of evidence only; what is wrong for the others, and what helps.
_RAW_ONLY = "is for raw evidence in a folder", "leave it out, or leave out the URL or file"
_ASKED_ONLY = "is for a gateway that is asked, by its URL"
_MISPLACED: dict[str, tuple[frozenset[Kind], str, str]] = {
    "--tee": (frozenset({"folder"}), *_RAW_ONLY),
    "--dir": (frozenset({"folder"}), *_RAW_ONLY),
    "--baseline": (frozenset({"folder"}), *_RAW_ONLY),
    "--report-data": (frozenset({"folder"}), *_RAW_ONLY),
    "--nonce": (
        frozenset({"url", "file"}),
        "belongs to documents",
        "raw evidence is compared with --report-data",
    ),
    "--save": (frozenset({"url"}), _ASKED_ONLY, "files are kept already: leave it out"),
    "--ca": (frozenset({"url"}), _ASKED_ONLY, "files come over no connection: leave it out"),
}


def kind_of(target: str | None) -> Kind:
    """What an argument names; without one it is the folder of --dir."""
    return "folder" if target is None else "url" if "://" in target else "file"


def refuse_misplaced(kind: Kind, **options: object) -> None:
    """Stop if one of the options was given (is neither None nor False) that means nothing for this kind.

    Each is named as on the command line, without its dashes at the front and with underscores inside.
    """
    for argument, value in options.items():
        name = f"--{argument.replace('_', '-')}"
        kinds, wrong, hint = _MISPLACED[name]
        if kind not in kinds and value is not None and value is not False:
            stop(f"{name} {wrong}", hint, UNDECIDED)


def given_evidence(target: str | None, tee: Tee | None, directory: Path | None, ca: Path | None) -> Hardware:
    """Read what was named, one way or the other. Stops if it cannot be read."""
    one_way(target, tee, directory)
    refuse_misplaced(kind_of(target), ca=ca)
    if target is None:
        return read_raw(*both(tee, directory))
    try:
        return parse_document(_bytes_of(target, ca)).hardware
    except MalformedEvidence as error:
        stop(f"this evidence cannot be read: {printable(str(error))}", error.hint, REFUSED)


def one_way(target: str | None, tee: Tee | None, directory: Path | None) -> None:
    """Stop unless evidence is named in exactly one of the two ways."""
    if (target is None) == (tee is None and directory is None):
        stop(
            "name either a URL or a saved document, or raw evidence with --tee and --dir",
            "--help shows both",
            UNDECIDED,
        )


def read_raw(tee: Tee, directory: Path) -> Hardware:
    """Raw evidence out of a folder. Stops if it cannot be read."""
    try:
        return read_hardware(tee, directory)
    except MalformedEvidence as error:
        stop(f"this evidence cannot be read: {printable(str(error))}", error.hint, REFUSED)
    except CannotDecide as error:
        stop(printable(str(error)), error.hint, UNDECIDED)


def both(tee: Tee | None, directory: Path | None) -> tuple[Tee, Path]:
    """The two options of raw evidence, of which neither is any use alone."""
    if tee is None or directory is None:
        missing = "--tee" if tee is None else "--dir"
        stop(
            f"nothing to verify: {missing} is missing" if tee or directory else "nothing to verify",
            "name a URL or a saved document, or raw evidence with both --tee and --dir",
            UNDECIDED,
        )
    return tee, directory


def _bytes_of(target: str, ca: Path | None) -> bytes:
    if "://" in target:
        return fetch(target, secrets.token_bytes(32), ca)[0]
    return read_file(Path(target))
