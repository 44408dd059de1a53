"""The `casemate` command: the client's own commands; the server adds its own through entry points.

Exit codes: 0 accepted, 1 refused, 2 could not decide (no usable policy, no evidence), 3 accepted as insecure
development only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from importlib.metadata import version as installed
from typing import Annotated

import typer
from rich.markup import escape

from attestation.commands import collateral, policy
from attestation.commands.common import UNDECIDED, stop
from attestation.commands.inspect import inspect
from attestation.commands.proxy import proxy
from attestation.commands.verify import verify

GROUP = "casemate.commands"
_OWN: dict[str, Callable[..., None]] = {"verify": verify, "inspect": inspect, "proxy": proxy}
_GROUPS = {"collateral": collateral.app, "policy": policy.app}
_HELP = (
    "Verify what runs behind an endpoint before anything is sent to it.\n\n"
    "Exit codes of verify: 0 accepted, 1 refused, 2 could not decide (no usable policy, no evidence), "
    "3 accepted as insecure development only."
)


def build_app(entries: Iterable[EntryPoint] = ()) -> typer.Typer:
    """Assemble the command line; `entries` are further commands, each a plain function."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=_HELP)
    app.callback()(_options)
    for name, command in _OWN.items():
        app.command(name)(command)
    for name, group in _GROUPS.items():
        app.add_typer(group, name=name)
    for entry in entries:
        _add(app, entry)
    return app


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"casemate {installed('casemate')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop."),
    ] = False,
) -> None:
    """Options before any command."""


def main() -> None:
    """Run the command line. The server's commands cost a second to load: not if one of ours was asked for."""
    own = _OWN.keys() | _GROUPS.keys()
    further = () if own & set(sys.argv[1:2]) else sorted(entry_points(group=GROUP), key=lambda e: e.name)
    build_app(further)(prog_name="casemate")


def _add(app: typer.Typer, entry: EntryPoint) -> None:
    """Register one command. Without the server's packages it still appears, and says what it needs."""
    try:
        app.command(entry.name)(entry.load())
    except ImportError as error:
        missing = error.name or "a package"

        def unavailable() -> None:
            stop(f"{entry.name} needs {missing}", "pip install 'casemate[server]'", UNDECIDED)

        anything = {"ignore_unknown_options": True, "allow_extra_args": True}
        about = escape("Not installed: needs casemate[server].")
        app.command(entry.name, help=about, context_settings=anything)(unavailable)


if __name__ == "__main__":
    main()
