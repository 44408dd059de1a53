"""Where a verdict goes: text, JSON, a report in HTML, an attestation result (EAR).

Files are written before anything is printed, so that whoever reads stdout finds all of it done.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from attestation.commands.common import UNDECIDED, read_file, stop, tell, write_file
from attestation.commands.hints import next_steps
from attestation.model import Appraisal, Verdict
from attestation.report.text import render_json, render_text

EarKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_KEY_HINT = "an Ed25519 or P-256 key, unencrypted, as `openssl genpkey -algorithm ed25519` writes it"
_KEY_BYTES = 16 * 1024
_SHORTEST_EAR_NONCE = 8
_PANEL = "Output"

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the appraisal as JSON.", rich_help_panel=_PANEL)
]
HtmlOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Also write a report to file away.", rich_help_panel=_PANEL),
]
EarOption = Annotated[
    str | None,
    typer.Option(
        "--ear", metavar="FILE|-", help="Also write an attestation result (EAR).", rich_help_panel=_PANEL
    ),
]
EarKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--ear-key",
        metavar="FILE",
        help="Sign the EAR with this key (PEM, Ed25519 or P-256).",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True, slots=True)
class Again:
    """The command that decides the same once more, and what else a reader has to know for that."""

    command: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outputs:
    """What to write, and where. `ear` is a path, or `-` for stdout; without a key it stays unsigned JSON."""

    as_json: bool = False
    html: Path | None = None
    ear: str | None = None
    ear_key: EarKey | None = None

    def write(
        self, appraisal: Appraisal, *, subject: str, nonce: bytes | None, again: Again, hint: str = ""
    ) -> None:
        """Write files, then stdout, then what to do next, `hint` first.

        `subject` names what was judged, `again` how the same is decided once more.
        """
        ear = None if self.ear is None else self._ear(appraisal, nonce)
        if self.html is not None:
            from attestation.report.html import render_html  # here: only --html needs it

            page = render_html(
                appraisal, subject=subject, verifier=_verifier(), command=again.command, notes=again.notes
            )
            write_file(self.html, page.encode())
        if ear is not None and self.ear not in (None, "-"):
            write_file(Path(str(self.ear)), ear.encode())
        sys.stdout.write(ear if ear is not None and self.ear == "-" else self._result(appraisal))
        if hint:
            tell(f"hint: {hint}")
        if self.html is not None or self.ear is not None or self.as_json:  # somebody may file it
            for note in again.notes:
                tell(f"hint: {note}")
        if appraisal.verdict is Verdict.UNDECIDED:  # more material does not change a refusal
            for step in next_steps(appraisal.checks):
                tell(f"hint: {step}")

    def _result(self, appraisal: Appraisal) -> str:
        return render_json(appraisal) if self.as_json else render_text(appraisal)

    def _ear(self, appraisal: Appraisal, nonce: bytes | None) -> str:
        from attestation.report.ear import build_ear, sign_ear  # here: only --ear needs it

        result = build_ear(
            appraisal,
            nonce=nonce if nonce is not None and len(nonce) >= _SHORTEST_EAR_NONCE else None,
            now=datetime.now(UTC),
            developer="Casemate",
            build=_verifier(),
        )
        if self.ear_key is None:
            return json.dumps(result, indent=2, ensure_ascii=True) + "\n"
        return sign_ear(result, self.ear_key) + "\n"


def choose_outputs(as_json: bool, html: Path | None, ear: str | None, ear_key: Path | None) -> Outputs:
    """Check that the options fit together, and read the key, before anything else is done."""
    if ear == "-" and as_json:
        stop(
            "--json and --ear - both want stdout",
            "write the EAR to a file: --ear FILE",
            UNDECIDED,
        )
    if ear_key is not None and ear is None:
        stop("--ear-key without --ear signs nothing", "say where the result goes: --ear FILE", UNDECIDED)
    return Outputs(as_json, html, ear, None if ear_key is None else _read_key(ear_key))


def _read_key(path: Path) -> EarKey:
    try:
        key = load_pem_private_key(read_file(path, _KEY_BYTES), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        stop("--ear-key is no private key in PEM that can be read", _KEY_HINT, UNDECIDED)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    stop("--ear-key is of a kind that no EAR is signed with", _KEY_HINT, UNDECIDED)


def _verifier() -> str:
    try:
        return f"casemate {version('casemate')}"
    except PackageNotFoundError:
        return "casemate, unreleased"
