"""Six clients that verify before they send, driven alike: four transports and two commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from attestation.policy.toml import parse_policy
from tests.attestation.sessions import KINDS, session

CHAT = "/api/v1/chat/completions"
SECRET = "the prompt that must not leave"
BODY = {"model": "plain", "messages": [{"role": "user", "content": SECRET}]}
COMMANDS = ("proxy", "verify")
VERIFIERS = (*KINDS, *COMMANDS)
SENDERS = (*KINDS, "proxy")
SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a client would not send; `code` is a command's exit status, None for a transport."""

    reason: str
    code: int | None


def refusal(verifier: str, place: Path, url: str, policy: bytes, ca: str | None, api_key: str) -> Refusal:
    """Have one client try to send a secret to `url`, and return why it did not."""
    if verifier in COMMANDS:
        return _command(verifier, *_arguments(place, url, policy, ca))
    try:
        with session(verifier, url, parse_policy(policy), ca=ca, now=None) as client:
            answer = client.send("POST", CHAT, json=BODY, headers={"authorization": f"Bearer {api_key}"})
    except Exception as error:  # noqa: BLE001 - every client has its own; the caller looks at the reason
        names = " ".join(check.id for check in getattr(error, "checks", ()))
        return Refusal(f"{type(error).__name__}: {error} {names}", None)
    raise AssertionError(f"sent, and answered with status {answer.status_code}")


def _arguments(place: Path, url: str, policy: bytes, ca: str | None) -> list[str]:
    (place / "policy.toml").write_bytes(policy)
    arguments = [url, "--policy", str(place / "policy.toml")]
    if ca is not None:
        (place / "ca.pem").write_text(ca)
        arguments += ["--ca", str(place / "ca.pem")]
    return arguments


def _command(name: str, *arguments: str) -> Refusal:
    done = subprocess.run(
        command_line(name, *arguments), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert "Traceback" not in done.stderr
    return Refusal(_failed(done.stdout) + done.stderr, done.returncode)


def _failed(appraisal: str) -> str:
    """Names of the checks that did not pass; those that passed are printed as well."""
    checks = json.loads(appraisal)["checks"] if appraisal else []
    return " ".join(
        check["id"] for check in checks if check["outcome"] not in ("pass", "simulated", "insecure")
    )


def command_line(name: str, *arguments: str) -> list[str]:
    """A `casemate` command; a proxy takes any free port, and a verdict comes as JSON."""
    more = {"proxy": ["--port", "0"], "verify": ["--json"]}
    return [sys.executable, "-m", "attestation.cli", name, *arguments, *more[name]]


class ProxySession:
    """A plain program behind a running `casemate proxy`."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def send(self, method: str, path: str, **how: Any) -> httpx.Response:
        """A request through the proxy."""
        return self._client.request(method, path, **how)


@contextmanager
def sender(kind: str, place: Path, url: str, policy: bytes) -> Iterator[Any]:
    """A client that has `send`: a transport's, or a program's behind a proxy process."""
    if kind != "proxy":
        with session(kind, url, parse_policy(policy), now=None) as client:
            yield client
        return
    command = command_line("proxy", *_arguments(place, url, policy, None))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            with httpx.Client(base_url=_base_url(process), trust_env=False, timeout=SECONDS) as client:
                yield ProxySession(client)
        finally:
            process.kill()


def _base_url(process: subprocess.Popen[str]) -> str:
    """From the line with which the proxy says that it listens."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "base_url = " in line:
            return line.rpartition("base_url = ")[2].strip().removesuffix("/api/v1")
    raise AssertionError("the proxy did not start: " + "".join(said))
