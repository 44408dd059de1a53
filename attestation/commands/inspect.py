"""`casemate inspect`: what a saved document says about itself. Nothing is decided."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from attestation.commands.common import REFUSED, read_file, stop
from attestation.errors import MalformedEvidence
from attestation.formats.document import Evidence, announces_insecure, parse_document
from attestation.formats.records import records_of
from attestation.hardware import Hardware, SnpEvidence, TdxEvidence
from attestation.report.text import printable
from attestation.snp.abi import parse_report
from attestation.tdx.abi import parse_quote
from attestation.tdx.body import TdReport


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
        f"measurement     {_measurement(evidence.hardware)}",
    ]


def _measurement(hardware: Hardware) -> str:
    """What the processor's report says it started; on Azure that is the paravisor."""
    try:
        if isinstance(hardware, SnpEvidence):
            return parse_report(hardware.report).measurement.hex()
        if isinstance(hardware, TdxEvidence):
            body = parse_quote(hardware.quote).body
            return body.mrtd.hex() if isinstance(body, TdReport) else "none: not a TD"
        return f"of the guest: in the virtual TPM's PCRs ({len(hardware.tpm_pcrs)} bytes)"
    except MalformedEvidence as error:
        return f"cannot be read: {printable(str(error))}"


def _json(raw: bytes) -> str:
    try:
        return json.dumps(json.loads(raw), ensure_ascii=True)
    except (ValueError, RecursionError):
        return f"{len(raw)} bytes that are not JSON"
