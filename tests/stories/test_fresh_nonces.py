"""A thousand verifiers at once: each gets evidence for its own nonce, from a few dozen hardware reports."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from attestation.formats.document import parse_document
from attestation.model import Collateral, Verdict
from attestation.pinned_tls import client_context, leaf_certificate, spki_sha256
from attestation.policy.toml import parse_policy
from attestation.verify import verify
from tests.stories.conftest import Story, files_at_once

VERIFIERS = 1_000
MOST_REPORTS = 48
DESCRIPTORS = VERIFIERS + 200
HANDSHAKES_AT_ONCE = 50
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Verifier:
    """One connection of its own, and the nonce that only it knows."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    nonce: bytes

    def ask(self) -> None:
        """Send the question; nothing is read yet."""
        path = f"/.well-known/attestation?nonce={self.nonce.hex()}"
        self.writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())

    async def answer(self) -> bytes:
        """The document."""
        head = await self.reader.readuntil(HEAD_END)
        lines = head.decode("ascii").lower().split("\r\n")
        assert lines[0] == "http/1.1 200 ok", head
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        assert fields["content-type"] == "application/cmw+json"
        return await self.reader.readexactly(int(fields["content-length"]))

    @property
    def connection_key(self) -> bytes:
        """The key that completed this connection's handshake."""
        return spki_sha256(leaf_certificate(self.writer.get_extra_info("ssl_object")))


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """As many open connections as the test makes."""
    with files_at_once(DESCRIPTORS):
        yield


@asynccontextmanager
async def connected(story: Story, count: int) -> AsyncIterator[list[Verifier]]:
    """So many open TLS connections."""
    tls = client_context(story.ca_pem)
    turn = asyncio.Semaphore(HANDSHAKES_AT_ONCE)

    async def connect() -> Verifier:
        async with turn:
            reader, writer = await asyncio.open_connection("localhost", story.port, ssl=tls)
        return Verifier(reader, writer, secrets.token_bytes(32))

    verifiers = await asyncio.gather(*(connect() for _ in range(count)))
    try:
        yield verifiers
    finally:
        for verifier in verifiers:
            verifier.writer.transport.abort()
        await asyncio.sleep(0)


async def test_a_thousand_concurrent_nonces_are_answered_from_few_reports(story: Story) -> None:
    async with connected(story, VERIFIERS) as verifiers, asyncio.timeout(20):
        for verifier in verifiers:
            verifier.ask()
        documents = await asyncio.gather(*(verifier.answer() for verifier in verifiers))
        keys = [verifier.connection_key for verifier in verifiers]
    policy, now = parse_policy(story.policy), datetime.now(UTC)
    reports = set()
    for verifier, document, key in zip(verifiers, documents, keys, strict=True):
        appraisal = verify(
            document, Collateral(), policy, nonce=verifier.nonce, now=now, connection_spki_sha256=key
        )
        assert appraisal.verdict is Verdict.ACCEPTED_INSECURE, appraisal.failed
        reports.add(parse_document(document).hardware.report)
    assert len(set(documents)) == VERIFIERS
    assert len(reports) <= MOST_REPORTS


async def test_evidence_shared_with_others_answers_no_other_nonce(story: Story) -> None:
    """The control: statements of one report stand side by side, and each is for one verifier only."""
    async with connected(story, 40) as verifiers, asyncio.timeout(20):
        for verifier in verifiers:
            verifier.ask()
        documents = await asyncio.gather(*(verifier.answer() for verifier in verifiers))
    evidence = [parse_document(document) for document in documents]
    assert max(one.inclusion.size for one in evidence) > 1
    policy, now = parse_policy(story.policy), datetime.now(UTC)
    for verifier, document in zip(verifiers, documents[1:] + documents[:1], strict=True):
        appraisal = verify(document, Collateral(), policy, nonce=verifier.nonce, now=now)
        assert appraisal.verdict is Verdict.REFUSED
        assert "statement.nonce" in {check.id for check in appraisal.failed}


async def test_a_repeated_nonce_gets_a_fresh_report(story: Story) -> None:
    """Nothing is cached by nonce: whoever asks again later gets another report."""
    async with connected(story, 1) as [verifier], asyncio.timeout(20):
        found = []
        for _ in range(2):
            verifier.ask()
            found.append(parse_document(await verifier.answer()))
    assert found[0].statement == found[1].statement
    assert found[0].hardware.report != found[1].hardware.report
