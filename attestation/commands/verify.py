"""`casemate verify`: decide, and say why."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from attestation.commands.common import (
    AtOption,
    CaOption,
    PolicyOption,
    fetch,
    hex_option,
    load_policy,
    read_file,
    time_of,
)
from attestation.model import Collateral
from attestation.report import exit_code, render_json, render_text
from attestation.verify import verify as decide


def verify(
    target: Annotated[str, typer.Argument(help="https:// URL of a gateway, or a saved evidence document.")],
    policy: PolicyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the appraisal as JSON.")] = False,
    at: AtOption = None,
    nonce: Annotated[
        str | None, typer.Option("--nonce", help="64 hex digits that the evidence must answer.")
    ] = None,
    ca: CaOption = None,
) -> None:
    """Decide whether an endpoint, or a saved document, satisfies a policy."""
    rules = load_policy(policy)
    now = time_of(at)
    wanted = hex_option(nonce, "--nonce", 32, 32)
    connection: bytes | None = None
    if "://" in target:
        wanted = wanted or secrets.token_bytes(32)
        document, connection = fetch(target, wanted, ca)
    else:
        document = read_file(Path(target))
    appraisal = decide(
        document, Collateral(), rules, nonce=wanted, now=now, connection_spki_sha256=connection
    )
    sys.stdout.write(render_json(appraisal) if as_json else render_text(appraisal))
    raise typer.Exit(exit_code(appraisal.verdict))
