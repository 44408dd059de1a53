"""What a worker is made of. Assembled once in `gateway.worker`, passed down, changed by nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from attestation.hardware import SnpEvidence
from enclave.keys import ServingKeys
from gateway.authority import Authority
from gateway.config import Config
from gateway.errors import GatewayError
from gateway.keeper.messages import Answer, Question
from gateway.log import Log
from gateway.problems import UNAVAILABLE
from gateway.upstream import Upstream


class Keeper(Protocol):
    """Whoever answers for money, limits and quotes: `KeeperClient` or `LocalKeeper`."""

    async def ask(self, question: Question) -> Answer:
        """Raises ConnectionError when the keeper is gone."""


@dataclass(frozen=True, slots=True, eq=False)
class AppContext:
    """`endorsements` are the TEE's (`tee.endorsements()`): evidence that lacks only the report.

    `clock` gives aware UTC times; `upstreams` is by provider.
    """

    config: Config
    config_bytes: bytes
    manifest: bytes
    manifest_sha384: bytes
    endorsements: SnpEvidence
    insecure: bool
    serving: ServingKeys
    authority: Authority
    keeper: Keeper
    upstreams: Mapping[str, Upstream]
    log: Log
    clock: Callable[[], datetime]

    async def ask(self, question: Question) -> Answer:
        """Ask the keeper. Raises GatewayError (503) when it is gone."""
        try:
            return await self.keeper.ask(question)
        except ConnectionError as error:
            raise GatewayError(UNAVAILABLE) from error
