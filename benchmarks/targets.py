"""What is compared: the upstream itself, nginx before it, and the gateway before it, all over TLS 1.3."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from benchmarks.certificates import Identity
from benchmarks.processes import CannotMeasure, command_of, descendants, module, pinned, read_line, running

CHAT = "/v1/chat/completions"
GATEWAY_PROCESS = "gateway.dev.node"  # supervisor, keeper and workers: forks, so all have its command line
START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and whose CPU they cost."""

    name: str
    workers: int
    port: int
    ca: Path
    path: str
    key: str
    root: int

    def processes(self) -> list[int]:
        """The server's processes. Of `casemate dev` only the gateway's: what starts it, and the verifying
        proxy beside it, serve no request that is measured."""
        everything = descendants(self.root)
        return [pid for pid in everything if GATEWAY_PROCESS in command_of(pid)] or everything


@dataclass(frozen=True, slots=True)
class Cores:
    """Which CPUs serve and which ones load: apart if there are enough, so that neither starves the other."""

    load: tuple[int, ...]
    one: tuple[int, ...]
    several: tuple[int, ...]

    def serving(self, workers: int) -> tuple[int, ...]:
        """CPUs for a target with that many workers; empty: any."""
        return self.one if workers == 1 else self.several


def divide_cores(available: Sequence[int]) -> Cores:
    """One worker gets a core of its own; several get two of four or more, or share everything."""
    if len(available) < 2 or shutil.which("taskset") is None:
        return Cores((), (), ())
    if len(available) < 4:
        return Cores((available[-1],), (available[0],), tuple(available))
    return Cores(tuple(available[2:]), (available[0],), tuple(available[:2]))


@contextmanager
def upstream(identity: Identity, cores: Cores, log: IO[bytes]) -> Iterator[Target]:
    """The mock provider; as a target it is `direct`."""
    command = module("benchmarks.upstream", str(identity.certificate), str(identity.key))
    with running(pinned(cores.load, command), log=log, pipes=True) as process:
        port = read_line(process, "the mock upstream")["port"]
        yield Target("direct", 0, port, identity.ca, CHAT, "none", process.pid)


NGINX = """
daemon off;
{user}
pid {directory}/nginx.pid;
error_log stderr error;
worker_processes {workers};
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  upstream provider {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=1024;
    keepalive_requests 1000000000;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    location / {{
      proxy_pass https://provider;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host localhost;
      proxy_buffering off;
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_verify on;
      proxy_ssl_trusted_certificate {ca};
      proxy_ssl_name localhost;
      proxy_ssl_server_name on;
    }}
  }}
}}
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _wait_for_port(port: int, process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise CannotMeasure(f"{what} does not listen on its port (exit code {process.poll()})")


@contextmanager
def nginx(
    provider: Target, identity: Identity, workers: int, cores: Cores, directory: Path, log: IO[bytes]
) -> Iterator[Target]:
    """nginx as TLS reverse proxy that verifies the upstream, keeps connections and buffers nothing."""
    binary = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise CannotMeasure(
            "nginx is not installed (Debian and Ubuntu: apt install nginx); or say --without-nginx"
        )
    directory.mkdir()
    port = _free_port()
    settings = directory / "nginx.conf"
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    text = NGINX.format(
        user=user,
        directory=directory,
        workers=workers,
        upstream=provider.port,
        port=port,
        certificate=identity.certificate,
        key=identity.key,
        ca=identity.ca,
    )
    settings.write_text(text)
    command = [binary, "-p", str(directory), "-e", "stderr", "-c", str(settings)]
    with running(pinned(cores.serving(workers), command), log=log) as process:
        _wait_for_port(port, process, "nginx")
        yield Target("nginx", workers, port, identity.ca, CHAT, "none", process.pid)


def _gateway_settings(process: subprocess.Popen[bytes], path: Path) -> dict[str, str]:
    """The KEY=VALUE lines that `casemate dev` writes once everything answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if path.is_file():
            values = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
            if "CASEMATE_POLICY" in values:
                return values
        time.sleep(0.05)
    raise CannotMeasure(f"casemate dev did not start (exit code {process.poll()}); see the log")


def _administer(values: Mapping[str, str], path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    base = urlsplit(values["CASEMATE_BASE_URL"])
    headers = {"Authorization": f"Bearer {values['CASEMATE_ADMIN_KEY']}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"https://{base.netloc}/admin/v1/{path}", data=json.dumps(body).encode(), headers=headers
    )
    context = ssl.create_default_context(cafile=values["CASEMATE_CA"])
    with urllib.request.urlopen(request, context=context, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def _benchmark_key(values: Mapping[str, str]) -> str:
    """A key of an account that neither its balance nor its rate limit stops."""
    wanted = {"name": "benchmark", "credit_usd": 1_000_000, "requests_per_minute": 1_000_000}
    account = _administer(values, "accounts", wanted)["account"]
    key: str = _administer(values, "keys", {"account": account, "name": "benchmark"})["api_key"]
    return key


@contextmanager
def gateway(
    provider: Target, identity: Identity, workers: int, cores: Cores, directory: Path, log: IO[bytes]
) -> Iterator[Target]:
    """The gateway as `casemate dev` runs it: authentication, pins, durable billing, simulated TEE."""
    command = [
        *(str(Path(sys.executable).with_name("casemate")), "dev", "--no-model"),
        *("--upstream-url", f"https://127.0.0.1:{provider.port}/v1", "--upstream-ca", str(identity.ca)),
        *("--workers", str(workers), "--port", "0", "--proxy-port", "0", "--state-dir", str(directory)),
    ]
    with running(pinned(cores.serving(workers), command), log=log) as process:
        values = _gateway_settings(process, directory / "env")
        base = urlsplit(values["CASEMATE_BASE_URL"])
        assert base.port is not None
        path = f"{base.path.rstrip('/')}/chat/completions"
        key = _benchmark_key(values)
        yield Target("gateway", workers, base.port, Path(values["CASEMATE_CA"]), path, key, process.pid)
