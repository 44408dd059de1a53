"""The developer's account: made on the first start through the gateway's own admin paths, kept from then
on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from attestation.pinned_tls import client_context

CREDIT_USD = 10.0
ACCOUNT_NAME, KEY_NAME = "developer", "dev"
POLL_SECONDS = 0.1


class GatewayRefused(Exception):  # noqa: N818 - what happened
    """The gateway answered, but not as expected; the message holds the path and the status."""


@dataclass(frozen=True, slots=True)
class Account:
    """The key that clients use, what it may still spend, and whether this start made it."""

    api_key: str
    balance_usd: float
    created: bool


class LocalGateway:
    """The gateway's own HTTPS, trusted by this start's authority; nothing is taken from the environment."""

    def __init__(self, port: int, ca_pem: str) -> None:
        self._client = httpx.Client(
            base_url=f"https://localhost:{port}", verify=client_context(ca_pem), trust_env=False, timeout=30.0
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def is_ready(self) -> bool:
        """True once the gateway finds its own evidence in order."""
        try:
            return self._client.get("/readyz", timeout=10.0).status_code == 200
        except httpx.TransportError:
            return False

    def wait_until_ready(self, seconds: float, running: Callable[[], bool]) -> bool:
        """Ask until it is ready; there is no event to wait for in another program. False if it never was."""
        limit = time.monotonic() + seconds
        while not self.is_ready():
            if time.monotonic() > limit or not running():
                return False
            time.sleep(POLL_SECONDS)
        return True

    def account(self, api_key: str | None, admin_key: str) -> Account:
        """The kept account if its key is still known, else a new one with credit. Raises GatewayRefused."""
        balance = self._balance(api_key) if api_key else None
        if api_key and balance is not None:
            return Account(api_key, balance, created=False)
        made = self._admin(admin_key, "accounts", {"name": ACCOUNT_NAME, "credit_usd": CREDIT_USD})
        key = self._admin(admin_key, "keys", {"account": made["account"], "name": KEY_NAME})
        return Account(str(key["api_key"]), CREDIT_USD, created=True)

    def models(self, api_key: str) -> list[str]:
        """Ids of the models that are served."""
        answer = self._get("/api/v1/models", api_key)
        return [str(entry["id"]) for entry in _expect(answer)["data"]]

    def _balance(self, api_key: str) -> float | None:
        answer = self._get("/api/v1/usage", api_key)
        if answer.status_code == 401:
            return None
        return float(_expect(answer)["balance"]["remaining_credits"])

    def _get(self, path: str, key: str) -> httpx.Response:
        return self._client.get(path, headers={"Authorization": f"Bearer {key}"})

    def _admin(self, key: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        return _expect(self._client.post(f"/admin/v1/{what}", headers=headers, json=body))


def _expect(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise GatewayRefused(f"{answer.request.url.path} answered with status {answer.status_code}")
    body: dict[str, Any] = answer.json()
    return body
