"""Where a worker is put together: the one place that knows application, keeper, providers and server at once.

A worker ends TLS, sees prompts and owns nothing durable. It has neither the ledger's key nor the TEE:
whatever needs them is asked of the keeper.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uvicorn
import uvloop

from attestation.hardware import SnpEvidence
from enclave.boot import Enclave
from gateway.app import build_app
from gateway.authority import Authority
from gateway.config import Config
from gateway.context import AppContext, Keeper
from gateway.http_protocol import http_protocol
from gateway.keeper.client import KeeperClient
from gateway.log import Fault, Insecure, Log, where
from gateway.upstream import make_upstreams

KEEP_ALIVE_SECONDS = 75
HANDSHAKE_SECONDS = 10.0
BACKLOG = 2_048


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """What every worker of one gateway starts from. `endorsements` are the TEE's, public, for the
    evidence."""

    config: Config
    config_bytes: bytes
    credentials: Mapping[str, str]
    endorsements: SnpEvidence
    listener: socket.socket
    keeper_address: str
    log: Log


class _Loop(uvloop.Loop):
    """uvloop with a time limit on TLS handshakes, which uvicorn has no setting for (the default is 60 s)."""

    async def create_server(self, *args: Any, **kwargs: Any) -> asyncio.AbstractServer:  # type: ignore[override]
        if kwargs.get("ssl") is not None:
            kwargs.setdefault("ssl_handshake_timeout", HANDSHAKE_SECONDS)
        return await super().create_server(*args, **kwargs)


def run_worker(service: Service, enclave: Enclave) -> None:
    """Serve until SIGTERM, then finish what is under way. Returns early if the keeper's connection ends."""
    run(_work(service, enclave), service.log)


def run(work: Coroutine[Any, Any, None], log: Log) -> None:
    """Run a process's one coroutine on uvloop. Libraries' own loggers are silenced: they may quote
    content."""
    logging.disable(logging.CRITICAL)
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.get_loop().set_exception_handler(_exception_handler(log))
        runner.run(work)


async def _work(service: Service, enclave: Enclave) -> None:
    keeper = await KeeperClient.connect(service.keeper_address)
    async with http_server(service, enclave, keeper) as server:
        gc.collect()
        gc.freeze()  # what a worker starts with stays: no need to look through it again and again
        leaving = asyncio.create_task(_stop_without(keeper.gone, server))
        await server.serve(sockets=[service.listener])
        leaving.cancel()
    await keeper.close()


async def _stop_without(gone: asyncio.Event, server: uvicorn.Server) -> None:
    await gone.wait()
    server.should_exit = True


@asynccontextmanager
async def http_server(service: Service, enclave: Enclave, keeper: Keeper) -> AsyncIterator[uvicorn.Server]:
    """A server for this epoch's keys, not yet serving. SIGTERM and SIGINT stop it, also before it serves."""
    context = make_context(service, enclave, keeper)
    if enclave.insecure:
        service.log.write(Insecure())
    server = uvicorn.Server(_settings(service, enclave, build_app(context)))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    try:
        yield server
    finally:
        for upstream in context.upstreams.values():
            await upstream.aclose()


def make_context(service: Service, enclave: Enclave, keeper: Keeper) -> AppContext:
    """Everything that handlers may use. Raises KeyError, ValueError for providers that cannot be used."""
    return AppContext(
        config=service.config,
        config_bytes=service.config_bytes,
        manifest=enclave.manifest,
        manifest_sha384=enclave.manifest_sha384,
        endorsements=service.endorsements,
        insecure=enclave.insecure,
        serving=enclave.serving,
        authority=Authority(enclave.keyring),
        keeper=keeper,
        upstreams=make_upstreams(service.config, service.credentials),
        log=service.log,
        clock=_utc_now,
    )


def _settings(service: Service, enclave: Enclave, app: Any) -> uvicorn.Config:
    """uvicorn without any feature that reads the environment, writes text, or trusts a forwarded header."""
    return uvicorn.Config(
        app,
        loop="none",
        http=http_protocol(service.config.limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=service.config.limits.connections,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ssl_context_factory=lambda _config, _default: enclave.serving.tls.context,
    )


def _exception_handler(log: Log) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """What nobody caught becomes a typed event: asyncio would print the exception's text, and that may be
    content."""

    def handle(_loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        error = told.get("exception")
        if isinstance(error, BaseException):
            log.write(Fault(request="-", kind=type(error).__name__, where=where(error)))

    return handle


def _utc_now() -> datetime:
    return datetime.now(UTC)
