"""`casemate inspect`: what a saved document says about itself. Nothing is decided."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from attestation.commands.common import REFUSED, read_file, stop
from attestation.document import Evidence, announces_insecure, parse_document
from attestation.errors import MalformedEvidence
from attestation.records import records_of


def inspect(
    file: Annotated[Path, typer.Argument(help="A saved evidence document.")],
) -> None:
    """Show what a document says, without deciding anything."""
    raw = read_file(file)
    try:
        evidence = parse_document(raw)
        insecure = announces_insecure(raw)
    except MalformedEvidence as error:
        stop(str(error), "this is not a casemate evidence document", REFUSED)
    sys.stdout.write("\n".join(_summary(evidence, insecure=insecure)) + "\n")


def _summary(evidence: Evidence, *, insecure: bool) -> list[str]:
    notice = ["INSECURE DEVELOPMENT EVIDENCE: a simulated TEE signed this"] if insecure else []
    return [
        "NOT VERIFIED: this is what the document says about itself",
        *notice,
        f"statement       {_json(evidence.statement)}",
        f"inclusion       leaf {evidence.inclusion.index} of {evidence.inclusion.size}",
        f"manifest        {_json(evidence.manifest)}",
        f"config          {len(evidence.config)} bytes",
        *(f"{label:<15} {len(value)} bytes" for label, value in records_of(evidence.hardware).items()),
    ]


def _json(raw: bytes) -> str:
    try:
        return json.dumps(json.loads(raw), ensure_ascii=True)
    except (ValueError, RecursionError):
        return f"{len(raw)} bytes that are not JSON"
