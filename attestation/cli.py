"""The `casemate` command: verify, inspect and proxy here; the server adds its own through entry points.

Exit codes: 0 accepted, 1 refused, 2 could not decide (no usable policy, no evidence), 3 accepted as insecure
development only.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from attestation.document import Evidence, announces_insecure, parse_document
from attestation.errors import AttestationError, CannotDecide, MalformedEvidence, PolicyInvalid
from attestation.members import hex_value
from attestation.model import Collateral
from attestation.policy import Policy, parse_policy
from attestation.report import exit_code, printable, render_json, render_text
from attestation.verify import verify as decide

GROUP = "casemate.commands"
REFUSED, UNDECIDED = 1, 2
_URL_HINT = "an endpoint is named with https://"
_HELP = """Verify what runs behind an endpoint before anything is sent to it.

Exit codes of verify: 0 accepted, 1 refused, 2 could not decide (no usable policy, no evidence), 3 accepted as
insecure development only.
"""

PolicyOption = Annotated[Path | None, typer.Option("--policy", "-p", help="What you accept (TOML).")]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca", exists=True, dir_okay=False, help="PEM authority that must vouch for the endpoint."),
]


def verify(
    target: Annotated[str, typer.Argument(help="https:// URL of a gateway, or a saved evidence document.")],
    policy: PolicyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the appraisal as JSON.")] = False,
    at: Annotated[
        str | None, typer.Option("--at", help="Decide as of this time (ISO 8601); default: now.")
    ] = None,
    nonce: Annotated[
        str | None, typer.Option("--nonce", help="64 hex digits that the evidence must answer.")
    ] = None,
    ca: CaOption = None,
) -> None:
    """Decide whether an endpoint, or a saved document, satisfies a policy."""
    rules = _load_policy(policy)
    now = _time(at)
    wanted = _nonce(nonce)
    connection: bytes | None = None
    if "://" in target:
        wanted = wanted or secrets.token_bytes(32)
        document, connection = _fetch(target, wanted, ca)
    else:
        document = _read(Path(target))
    appraisal = decide(
        document, Collateral(), rules, nonce=wanted, now=now, connection_spki_sha256=connection
    )
    sys.stdout.write(render_json(appraisal) if as_json else render_text(appraisal))
    raise typer.Exit(exit_code(appraisal.verdict))


def inspect(
    file: Annotated[Path, typer.Argument(help="A saved evidence document.")],
) -> None:
    """Show what a document says, without deciding anything."""
    raw = _read(file)
    try:
        evidence = parse_document(raw)
        insecure = announces_insecure(raw)
    except MalformedEvidence as error:
        _stop(str(error), "this is not a casemate evidence document", REFUSED)
    sys.stdout.write("\n".join(_summary(evidence, insecure=insecure)) + "\n")


def proxy(
    url: Annotated[str, typer.Argument(help="https:// URL of a gateway.")],
    policy: PolicyOption = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Local port to listen on.")] = 8080,
    host: Annotated[str, typer.Option("--host", help="Local address to listen on.")] = "127.0.0.1",
    ca: CaOption = None,
) -> None:
    """Turn any OpenAI program into a verified client: a local port, forwarding only to what was verified."""
    rules = _load_policy(policy)
    _refuse_plain(url)
    from attestation.proxy import run_proxy  # here: only this command needs it

    try:
        run_proxy(url, rules, host, port, ca)
    except (AttestationError, OSError, ValueError) as error:
        _give_up(f"no proxy for {printable(url)}", error)


def build_app(entries: Iterable[EntryPoint] = ()) -> typer.Typer:
    """Assemble the command line; `entries` are further commands, each a plain function."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=_HELP)
    app.command("verify")(verify)
    app.command("inspect")(inspect)
    app.command("proxy")(proxy)
    for entry in entries:
        _add(app, entry)
    return app


def main() -> None:
    """Run the command line. The server's commands cost a second to load: not if one of ours was asked for."""
    own = {"verify", "inspect", "proxy"}
    further = () if own & set(sys.argv[1:2]) else sorted(entry_points(group=GROUP), key=lambda e: e.name)
    build_app(further)()


def _add(app: typer.Typer, entry: EntryPoint) -> None:
    """Register one command. Without the server's packages it still appears, and says what it needs."""
    try:
        app.command(entry.name)(entry.load())
    except ImportError as error:
        missing = error.name or "a package"

        def unavailable() -> None:
            _stop(f"{entry.name} needs {missing}", "pip install 'casemate[server]'", UNDECIDED)

        anything = {"ignore_unknown_options": True, "allow_extra_args": True}
        about = escape("Not installed: needs casemate[server].")
        app.command(entry.name, help=about, context_settings=anything)(unavailable)


def _load_policy(path: Path | None) -> Policy:
    if path is None:
        _stop(
            "no policy, so nothing can be accepted and nothing is sent",
            "write one (docs/spec/policy.md) and pass it with --policy",
            UNDECIDED,
        )
    try:
        return parse_policy(_read(path))
    except PolicyInvalid as error:
        _stop(printable(str(error)), error.hint, UNDECIDED)


def _fetch(url: str, nonce: bytes, ca: Path | None) -> tuple[bytes, bytes]:
    """Document and leaf key of the one connection that brought it."""
    _refuse_plain(url)
    from attestation.fetch import fetch_evidence  # here: only this command needs it

    try:
        return fetch_evidence(url, nonce, ca=ca)
    except (AttestationError, OSError, ValueError) as error:
        _give_up(f"no evidence from {printable(url)}", error)


def _refuse_plain(url: str) -> None:
    if not url.startswith("https://"):
        _stop("only https:// endpoints can be verified", "nothing was sent", UNDECIDED)


def _give_up(what: str, error: Exception) -> NoReturn:
    """Evidence that is wrong is a refusal; anything else means that nothing could be decided."""
    refused = isinstance(error, AttestationError) and not isinstance(error, CannotDecide | PolicyInvalid)
    hint = getattr(error, "hint", "") or "nothing was sent but a nonce"
    _stop(f"{what}: {printable(str(error))}", hint, REFUSED if refused else UNDECIDED)


def _time(at: str | None) -> datetime:
    if at is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        _stop("--at is not an ISO 8601 time", "for example 2026-11-21T12:00:00Z", UNDECIDED)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _nonce(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return hex_value(text, 32, "--nonce")
    except MalformedEvidence as error:
        _stop(str(error), "", UNDECIDED)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _stop(
            f"cannot read {printable(str(path))}: {error.strerror}",
            _URL_HINT if ":" in str(path) else "",
            UNDECIDED,
        )


def _summary(evidence: Evidence, *, insecure: bool) -> list[str]:
    notice = ["INSECURE DEVELOPMENT EVIDENCE: a simulated TEE signed this"] if insecure else []
    report = evidence.snp_report or b""
    return [
        "NOT VERIFIED: this is what the document says about itself",
        *notice,
        f"statement   {_json(evidence.statement)}",
        f"inclusion   leaf {evidence.inclusion.index} of {evidence.inclusion.size}",
        f"manifest    {_json(evidence.manifest)}",
        f"config      {len(evidence.config)} bytes",
        f"snp-report  {len(report)} bytes, measurement {report[0x90:0xC0].hex() or 'absent'}",
        f"snp-certs   {len(evidence.snp_certs)} certificates",
    ]


def _json(raw: bytes) -> str:
    try:
        return json.dumps(json.loads(raw), ensure_ascii=True)
    except (ValueError, RecursionError):
        return f"{len(raw)} bytes that are not JSON"


def _stop(message: str, hint: str, code: int) -> NoReturn:
    sys.stderr.write(f"casemate: {message}\n" + (f"hint: {hint}\n" if hint else ""))
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
