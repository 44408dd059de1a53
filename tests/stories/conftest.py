"""One running gateway for every story that only uses it, and a provider that keeps books behind it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from attestation.pinned_tls import client_context
from tests.gateway.served import FakeProvider, fake_provider
from tests.stories.dev import Dev, casemate_dev

UNLIMITED_PER_MINUTE = 1_000_000
USUAL_FILES = 1_024
"""The soft limit that a shell or a service manager gives to what it starts."""


@dataclass(frozen=True, slots=True)
class Story:
    """A running gateway, the provider behind it, and an API key of an account of its own."""

    dev: Dev
    provider: FakeProvider
    api_key: str

    @property
    def url(self) -> str:
        """The gateway, without a path."""
        return self.dev.env["CASEMATE_BASE_URL"].removesuffix("/api/v1")

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return httpx.URL(self.url).port or 443

    @property
    def policy(self) -> bytes:
        """The policy that accepts it."""
        return Path(self.dev.env["CASEMATE_POLICY"]).read_bytes()

    @property
    def ca_pem(self) -> str:
        """Its certificates' authority."""
        return Path(self.dev.env["CASEMATE_CA"]).read_text()

    def client(self) -> httpx.Client:
        """Plain HTTPS straight to it, with the key."""
        return _client(self.dev, self.api_key)

    def served(self) -> tuple[int, int]:
        """Requests that it billed to this account, and HTTP bytes that reached the provider."""
        with self.client() as client:
            today = client.get("/api/v1/usage").raise_for_status().json()["today"]["used"]
        return today, self.provider.stats()["http_bytes"]


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Started once for all of these stories; none of them stops it."""
    place = tmp_path_factory.mktemp("story")
    with fake_provider(pause=0.0) as provider:
        (place / "upstream-ca.pem").write_text(provider.ca_pem)
        upstream = ("--upstream-url", f"https://localhost:{provider.port}/v1", "--upstream-pin", provider.pin)
        options = (*upstream, "--upstream-ca", str(place / "upstream-ca.pem"))
        with ExitStack() as stack:
            with files_at_once(USUAL_FILES):
                dev = stack.enter_context(casemate_dev(place / "state", *options))
            yield Story(dev, provider, new_key(dev))


@contextmanager
def files_at_once(count: int) -> Iterator[None]:
    """This process, and what it starts, may have so many files open; no more than the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (count if hard == resource.RLIM_INFINITY else min(count, hard), hard)
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def new_key(dev: Dev) -> str:
    """An API key of a new account with credit and without a rate limit to speak of."""
    with _client(dev, dev.env["CASEMATE_ADMIN_KEY"]) as admin:
        body = {"name": "story", "credit_usd": 100, "requests_per_minute": UNLIMITED_PER_MINUTE}
        account = admin.post("/admin/v1/accounts", json=body).raise_for_status().json()["account"]
        made = admin.post("/admin/v1/keys", json={"account": account, "name": "story"})
    return str(made.raise_for_status().json()["api_key"])


def _client(dev: Dev, key: str) -> httpx.Client:
    return httpx.Client(
        base_url=dev.env["CASEMATE_BASE_URL"].removesuffix("/api/v1"),
        headers={"authorization": f"Bearer {key}"},
        verify=client_context(Path(dev.env["CASEMATE_CA"]).read_text()),
        trust_env=False,
        timeout=60.0,
    )
