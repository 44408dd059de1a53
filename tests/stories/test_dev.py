"""What a developer is promised: one command, a verified chat, and an account that survives everything."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.dev.model_server import MODEL_ID
from tests.conftest import REPOSITORY
from tests.stories.dev import Dev, casemate_dev, has_ended, launch, read_env

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider that any OpenAI-compatible server might be."""

    url: str
    pin: str
    ca: Path

    def options(self) -> tuple[str, ...]:
        return ("--upstream-url", self.url, "--upstream-ca", str(self.ca))


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    ca = tmp_path_factory.mktemp("upstream") / "ca.pem"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.provider", "--port", "0"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        ca.write_text(told["ca_pem"])
        yield Upstream(f"https://localhost:{told['port']}/v1", told["pin"], ca)
        process.kill()


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Dev]:
    """One that is only used, never stopped, by its tests."""
    with casemate_dev(tmp_path_factory.mktemp("dev") / "state", *upstream.options()) as running:
        yield running


def test_the_first_chat_goes_through_the_proxy_and_is_billed(dev: Dev) -> None:
    before = dev.balance()
    answer = dev.chat("plain", QUESTION)
    assert answer.status_code == 200, answer.text
    assert answer.headers["casemate-attestation"].endswith("accepted-insecure")
    assert answer.json()["choices"][0]["message"]["content"] == ANSWER
    assert dev.balance() == pytest.approx(before - answer.json()["billing"]["cost_usd"], abs=1e-12)
    assert answer.json()["billing"]["cost_usd"] > 0


def test_the_gateway_answers_directly_to_whoever_trusts_its_authority(dev: Dev) -> None:
    assert dev.chat("plain", QUESTION, proxy=False).json()["choices"][0]["message"]["content"] == ANSWER
    with pytest.raises(httpx.ConnectError):
        httpx.get(dev.env["CASEMATE_BASE_URL"] + "/models", trust_env=False)


def test_every_model_that_the_upstream_lists_is_served(dev: Dev, upstream: Upstream) -> None:
    listed = httpx.get(upstream.url + "/models", verify=_context(upstream)).json()["data"]
    with dev.client() as client:
        served = client.get("models").json()["data"]
    assert {entry["id"] for entry in served} == {entry["id"] for entry in listed}


def test_the_pasted_curl_line_works(dev: Dev) -> None:
    said = dev.said()
    command = said[said.index("curl ") : said.index("\n\n", said.index("curl "))]
    command = command.replace('"model": "', '"model": "plain", "x": "', 1)  # any of the served models
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert ANSWER in done.stdout


def test_the_pasted_python_lines_work(dev: Dev) -> None:
    said = dev.said()
    start = said.index("import httpx")
    program = said[start : said.index("\nEND", start)].replace('"model": "', '"model": "plain", "x": "', 1)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ANSWER + "\n"


def test_it_is_loud_about_being_insecure(dev: Dev) -> None:
    assert dev.said().count("INSECURE DEVELOPMENT") == 2
    assert "INSECURE DEVELOPMENT" in (dev.state / "logs" / "gateway.log").read_text()
    policy, ca = dev.env["CASEMATE_POLICY"], dev.env["CASEMATE_CA"]
    url = dev.env["CASEMATE_BASE_URL"].removesuffix("/api/v1")
    command = [sys.executable, "-m", "attestation.cli", "verify", url, "--policy", policy, "--ca", ca]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "INSECURE" in done.stdout


def test_says_which_pins_it_learnt_when_none_was_given(dev: Dev, upstream: Upstream) -> None:
    assert f"no --upstream-pin: learnt {upstream.pin}" in dev.said()


def test_files_with_keys_are_for_their_owner_only(dev: Dev) -> None:
    for name in ("env", "chip.key", "gateway.toml", "data/keyring", "data/ledger.db"):
        assert stat.S_IMODE((dev.state / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(dev.state.stat().st_mode) == 0o700


def test_no_process_listens_beyond_this_machine(dev: Dev) -> None:
    ports = {httpx.URL(dev.env[name]).port for name in ("CASEMATE_BASE_URL", "CASEMATE_PROXY_URL")}
    found = {port: address for address, port, _ in _listening() if port in ports}
    assert found == dict.fromkeys(ports, "0100007F")  # 127.0.0.1, as /proc/net/tcp writes it


def test_a_second_one_on_the_same_state_directory_is_refused(dev: Dev) -> None:
    second = launch(dev.state, "--no-model")
    assert second.process.wait(30) == 1
    assert "another `casemate dev` uses" in second.said()


def test_key_and_balance_survive_kill_9_of_every_process(tmp_path: Path, upstream: Upstream) -> None:
    state = tmp_path / "state"
    with casemate_dev(state, *upstream.options()) as first:
        key = first.env["CASEMATE_API_KEY"]
        assert first.chat("plain", QUESTION).status_code == 200
        balance = first.balance()
        everybody = [first.process.pid, *first.descendants()]
        assert len(everybody) == 5  # itself, supervisor, keeper, worker, proxy
        for pid in everybody:
            os.kill(pid, signal.SIGKILL)
    with casemate_dev(state, *upstream.options()) as second:
        assert second.env["CASEMATE_API_KEY"] == key
        assert second.balance() == balance < 10
        assert second.chat("plain", QUESTION).status_code == 200
        assert second.balance() < balance
        assert "Account   kept" in second.said()


def test_nothing_is_left_when_only_the_command_itself_was_killed(tmp_path: Path, upstream: Upstream) -> None:
    with casemate_dev(tmp_path / "state", *upstream.options(), "--workers", "2") as running:
        others = running.descendants()
        assert len(others) == 5
        running.process.kill()
        assert all(has_ended(pid) for pid in others)


@pytest.mark.parametrize("inherited", [signal.SIG_DFL, signal.SIG_IGN], ids=["foreground", "background"])
def test_ctrl_c_stops_everything_and_keeps_the_keys(tmp_path: Path, inherited: signal.Handlers) -> None:
    """A shell's background jobs begin with SIGINT ignored; they are stopped by it all the same."""
    with ExitStack() as stack:
        before = signal.signal(signal.SIGINT, inherited)
        try:
            running = stack.enter_context(casemate_dev(tmp_path / "state", "--no-model"))
        finally:
            signal.signal(signal.SIGINT, before)
        key = running.env["CASEMATE_API_KEY"]
        others = running.descendants()
        assert running.interrupt() == 0
        assert all(has_ended(pid) for pid in others)
    assert read_env(tmp_path / "state")["CASEMATE_API_KEY"] == key


def test_without_model_and_upstream_it_serves_evidence_and_an_empty_catalogue(tmp_path: Path) -> None:
    with casemate_dev(tmp_path / "state", "--no-model", "--workers", "0") as running:
        with running.client() as client:
            assert client.get("models").json()["data"] == []
        assert running.chat("plain", QUESTION).status_code == 400
        root = running.env["CASEMATE_BASE_URL"].removesuffix("/api/v1")
        with running.client(proxy=False) as client:
            evidence = client.get(root + "/.well-known/attestation?nonce=" + "00" * 32)
        assert evidence.headers["content-type"] == "application/cmw+json"


def test_says_which_process_ended_and_stops_the_others(tmp_path: Path) -> None:
    with casemate_dev(tmp_path / "state", "--no-model") as running:
        others = running.descendants()
        os.kill(_with_module(others, "gateway.dev.proxy"), signal.SIGKILL)
        assert running.process.wait(30) == 1
        assert "the proxy ended (exit status -9)" in running.said()
        assert all(has_ended(pid) for pid in others)


def test_refuses_an_upstream_whose_authority_it_does_not_know(tmp_path: Path, upstream: Upstream) -> None:
    assert "--upstream-ca" in _refusal(tmp_path, "--upstream-url", upstream.url)


def test_refuses_an_upstream_that_does_not_show_the_pinned_key(tmp_path: Path, upstream: Upstream) -> None:
    wrong = "sha256/" + "A" * 43 + "="
    assert "does not show a key that is pinned" in _refusal(
        tmp_path, *upstream.options(), "--upstream-pin", wrong
    )


def test_refuses_a_plain_upstream(tmp_path: Path) -> None:
    assert "https" in _refusal(tmp_path, "--upstream-url", "http://localhost:1/v1")


@pytest.mark.parametrize("option", ["--port", "--proxy-port"])
def test_says_so_when_a_port_is_taken_and_starts_nothing(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = _refusal(tmp_path, "--no-model", option, str(taken.getsockname()[1]))
    assert "Address already in use" in said
    assert f"name another with {option}" in said
    assert "[1/5]" not in said


def test_shows_the_end_of_the_log_of_a_process_that_did_not_get_ready(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "data").mkdir(parents=True, mode=0o700)
    (state / "data" / "keyring").write_bytes(b"no keyring")
    said = _refusal(tmp_path, "--no-model")
    assert "the gateway did not get ready (exit status 1); the end of" in said
    assert "keyring" in said


def test_help_lists_the_options_that_are_promised() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "attestation.cli", "dev", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    wanted = ["port", "proxy-port", "workers", "upstream-url", "upstream-pin", "upstream-ca", "state-dir"]
    found = [word.strip("│,") for word in done.stdout.split() if word.startswith("--")]
    assert sorted(set(found)) == sorted(f"--{name}" for name in [*wanted, "no-model", "help"])


@pytest.mark.model
def test_the_real_model_answers_as_if_it_had_been_asked_directly(tmp_path: Path) -> None:
    question = {"temperature": 0, "seed": 7, "max_tokens": 32}
    with casemate_dev(tmp_path / "state") as running:
        through = running.chat(MODEL_ID, QUESTION, **question).json()
        port = _model_port(running)
        body = {"model": MODEL_ID, "messages": [{"role": "user", "content": QUESTION}], **question}
        direct = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=60).json()
        with running.client() as client:
            body["stream"] = True
            text = client.post("chat/completions", json=body).text
    said = through["choices"][0]["message"]["content"]
    assert "Paris" in said
    assert said == direct["choices"][0]["message"]["content"]
    assert {name: through["usage"][name] for name in ("prompt_tokens", "completion_tokens")} == {
        name: direct["usage"][name] for name in ("prompt_tokens", "completion_tokens")
    }
    assert _streamed(text) == said


def _refusal(tmp_path: Path, *options: str) -> str:
    """Start with these options, see it give up with status 1, and return what it said."""
    refused = launch(tmp_path / "state", *options)
    assert refused.process.wait(60) == 1
    assert "Traceback" not in refused.said()
    return refused.said()


def _context(upstream: Upstream) -> Any:
    from attestation.pinned_tls import client_context

    return client_context(upstream.ca.read_text())


def _with_module(pids: list[int], module: str) -> int:
    return next(pid for pid in pids if module in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))


def _model_port(running: Dev) -> int:
    """The model server's only listening port."""
    pid = _with_module(running.descendants(), "gateway.dev.model_server")
    links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return next(port for _, port, inode in _listening() if f"socket:[{inode}]" in links)


def _listening() -> list[tuple[str, int, str]]:
    """Address, port and inode of every listening TCP socket of this machine."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    places = [(row[1].split(":"), row[9]) for row in rows if row[3] == "0A"]
    return [(address, int(port, 16), inode) for (address, port), inode in places]


def _streamed(text: str) -> str:
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
