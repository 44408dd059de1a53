"""What the client programs talk to: a whole `casemate dev`, and the same model asked directly, to compare."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.dev.model_server import MODEL_ID
from tests.clients.environments import REPOSITORY

QUESTION = "What is the capital of France? Answer in one sentence."
START_SECONDS = 90
PROGRAM_SECONDS = 100
PROGRAMS = Path(__file__).resolve().parent / "programs"


class DidNotStart(Exception):  # noqa: N818 - a state
    """A process ended or stayed silent instead of serving; the message carries the end of its output."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a chat completion said, and its token counts (prompt, completion)."""

    text: str
    tokens: list[int]


@dataclass(frozen=True, slots=True)
class Served:
    """The KEY=VALUE lines that `casemate dev` leaves for scripts."""

    gateway_url: str
    proxy_url: str
    api_key: str
    ca: Path
    policy: Path


@contextmanager
def stopped_at_exit(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """Yield the process; then ask it to stop, and end it if it doesn't."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def model_server() -> Iterator[str]:
    """Base URL (plain HTTP, loopback) of a model server of our own: the truth to compare answers with."""
    command = [sys.executable, "-m", "gateway.dev.model_server", str(os.getpid())]
    started = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with stopped_at_exit(started) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise DidNotStart(f"model server: exit code {process.wait(timeout=20)}")
        yield f"http://127.0.0.1:{json.loads(line)['port']}/v1"


def ask_directly(model_url: str) -> Answer:
    """The client programs' own question, past gateway and SDK."""
    asked = {"model": MODEL_ID, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 24}
    body = json.dumps(asked | {"temperature": 0, "seed": 7}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{model_url}/chat/completions", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=PROGRAM_SECONDS) as response:
        completion = json.load(response)
    usage = completion["usage"]
    tokens = [usage["prompt_tokens"], usage["completion_tokens"]]
    return Answer(completion["choices"][0]["message"]["content"], tokens)


def _env_file(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _wait_for_env(process: subprocess.Popen[Any], path: Path, output: Path) -> dict[str, str]:
    """The env file is written once everything answers; another process's file can only be polled for."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if path.is_file() and "CASEMATE_POLICY" in (values := _env_file(path)):
            return values
        time.sleep(0.05)
    raise DidNotStart(f"casemate dev (exit code {process.poll()}):\n{output.read_text()[-4000:]}")


@contextmanager
def casemate_dev(state: Path, *arguments: str) -> Iterator[Served]:
    """`casemate dev` on free ports, with its output beside the state directory."""
    script = Path(sys.executable).with_name("casemate")
    command = [str(script), "dev", "--port", "0", "--proxy-port", "0", "--state-dir", str(state), *arguments]
    output = state.with_suffix(".log")
    with output.open("wb") as log:
        started = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT)
    with stopped_at_exit(started) as process:
        values = _wait_for_env(process, state / "env", output)
        yield Served(
            gateway_url=values["CASEMATE_BASE_URL"],
            proxy_url=values["CASEMATE_PROXY_URL"],
            api_key=values["CASEMATE_API_KEY"],
            ca=Path(values["CASEMATE_CA"]),
            policy=Path(values["CASEMATE_POLICY"]),
        )


def run_program(
    interpreter: Path, program: Path, *arguments: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """Run one client program with exactly this environment; its JSON, or a failure with its output."""
    command = [str(interpreter), str(program), *arguments]
    done = subprocess.run(
        command, env=dict(environment), capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=False
    )
    assert done.returncode == 0, f"{program.name}: {done.stdout[-1000:]}\n{done.stderr[-3000:]}"
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def client_environment(base_url: str, served: Served, **more: str) -> dict[str, str]:
    """What a user sets: base URL and key. The rest is the test's own question, and where trust comes from."""
    return {
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": served.api_key,
        "CHAT_MODEL": MODEL_ID,
        "CHAT_QUESTION": QUESTION,
        "CHAT_CA": str(served.ca),
        "CHAT_POLICY": str(served.policy),
        **more,
    }
