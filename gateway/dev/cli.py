"""`casemate dev`: one command from nothing to a verified chat, on a simulated TEE, and loud about that."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from gateway.dev.account import GatewayRefused
from gateway.dev.children import ChildFailed
from gateway.dev.session import Options, PortTaken, Running, Session
from gateway.dev.sources import SourceError
from gateway.dev.state import StateError

BANNER = "INSECURE DEVELOPMENT: the TEE is simulated. Nothing here protects anyone; send no real data."
QUESTION = "What is the capital of France?"


def dev(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the gateway; 0: any.")] = 8443,
    proxy_port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the proxy; 0: any.")] = 8080,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Worker processes; 0: all in one process.")] = 1,
    upstream_url: Annotated[
        str | None, typer.Option(help="https://HOST:PORT/v1 of a server that takes the local model's place.")
    ] = None,
    upstream_pin: Annotated[
        list[str] | None, typer.Option(help="sha256/… of its leaf or issuer; may be given again.")
    ] = None,
    upstream_ca: Annotated[Path | None, typer.Option(help="PEM authority of that server.")] = None,
    state_dir: Annotated[Path, typer.Option(help="Keeps account, key and balance.")] = Path(".casemate/dev"),
    no_model: Annotated[bool, typer.Option("--no-model", help="Start no local model.")] = False,
) -> None:
    """Start a gateway, a verifying proxy and a local model; Ctrl-C stops them all. INSECURE: development
    only."""
    console = Console()
    options = Options(
        port=port,
        proxy_port=proxy_port,
        workers=workers,
        upstream_url=upstream_url,
        upstream_pins=tuple(upstream_pin or ()),
        upstream_ca=upstream_ca,
        state_dir=state_dir,
        model=not no_model,
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell's background jobs begin with SIGINT ignored
        signal.signal(number, _interrupt)
    try:
        _run(options, console)
    except KeyboardInterrupt:
        console.print("stopped", highlight=False)
    except (ChildFailed, PortTaken, SourceError, StateError, GatewayRefused) as error:
        console.print(f"\ncasemate dev: {error}", markup=False, highlight=False, soft_wrap=True, style="red")
        raise typer.Exit(1) from None


def _run(options: Options, console: Console) -> NoReturn:
    console.print(BANNER, style="bold white on red", highlight=False, soft_wrap=True)
    with Session(options, console) as session:
        try:
            running = session.start()
            for line in _instructions(running):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            console.print(BANNER, style="bold white on red", highlight=False, soft_wrap=True)
            raise session.watch().failure("ended")
        finally:
            # From here on processes are being stopped, each within a bounded time: not to be interrupted.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _instructions(running: Running) -> list[str]:
    """What to do now, ready to be pasted."""
    account, model = running.account, running.models[0] if running.models else "MODEL"
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "{QUESTION}"}}]}}'
    return [
        "",
        f"Gateway   {running.base_url}  (certificates: {running.ca})",
        f"Proxy     {running.proxy_url}  (verifies the gateway on every new connection)",
        f"Account   {'new' if account.created else 'kept'}, ${account.balance_usd:.6f} left",
        f"Models    {', '.join(running.models[:10]) or 'none'}",
        f"Settings  {running.env}",
        "",
        "Any OpenAI program, verified: change base URL and key.",
        "",
        f"curl {running.proxy_url}/chat/completions \\",
        f"  -H 'Authorization: Bearer {account.api_key}' -H 'Content-Type: application/json' \\",
        f"  -d '{body}'",
        "",
        f"{sys.executable} - <<'END'",
        "import httpx",
        f"answer = httpx.post('{running.proxy_url}/chat/completions', timeout=60,",
        f"    headers={{'Authorization': 'Bearer {account.api_key}'}}, json={body})",
        "print(answer.json()['choices'][0]['message']['content'])",
        "END",
        "",
        "from openai import OpenAI  # any version",
        f"client = OpenAI(base_url='{running.proxy_url}', api_key='{account.api_key}')",
        "",
        "Ready. Ctrl-C stops everything.",
    ]


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
