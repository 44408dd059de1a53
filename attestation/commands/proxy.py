"""`casemate proxy`: a local port that forwards only to what was verified."""

from __future__ import annotations

from typing import Annotated

import typer

from attestation.commands.common import CaOption, PolicyOption, give_up, load_policy, refuse_plain
from attestation.errors import AttestationError
from attestation.report.text import printable


def proxy(
    url: Annotated[str, typer.Argument(help="https:// URL of a gateway.")],
    policy: PolicyOption = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Local port to listen on.")] = 8080,
    host: Annotated[str, typer.Option("--host", help="Local address to listen on.")] = "127.0.0.1",
    ca: CaOption = None,
) -> None:
    """Turn any OpenAI program into a verified client: a local port, forwarding only to what was verified."""
    rules = load_policy(policy)
    refuse_plain(url)
    from attestation.proxy import run_proxy  # here: only this command needs it

    try:
        run_proxy(url, rules, host, port, ca)
    except (AttestationError, OSError, ValueError) as error:
        give_up(f"no proxy for {printable(url)}", error)
