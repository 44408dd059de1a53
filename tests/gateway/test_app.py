"""The control plane: what verifiers, customers, operators and people get."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from attestation.formats.document import announces_insecure, parse_document
from attestation.formats.manifest import parse_manifest
from attestation.formats.merkle import leaf_hash, root_from_path
from attestation.formats.statement import parse_statement
from attestation.snp.abi import parse_report
from enclave.tee.dev import SimulatedTee
from gateway.app import HOT_PATHS, build_app
from gateway.config import parse_config
from gateway.keeper.errors import KeeperGone
from gateway.log import Log
from gateway.routes.health import failed_check
from gateway.routes.page import render
from tests.gateway.served import ADMIN_KEY, ServedGateway, config_text, fake_provider, served_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedGateway]:
    tee = SimulatedTee.forge(now=datetime.now(UTC), chip_secret=b"s" * 32)
    with (
        fake_provider() as provider,
        served_gateway(config_text(provider), tee, tmp_path_factory.mktemp("gateway")) as running,
    ):
        yield running


@pytest.fixture
def client(gateway: ServedGateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


def test_evidence_binds_the_nonce_the_manifest_and_the_configuration(
    gateway: ServedGateway, client: httpx.Client
) -> None:
    nonce = "0123456789abcdef" * 4
    answer = client.get("/.well-known/attestation", params={"nonce": nonce})
    assert answer.headers["content-type"] == "application/cmw+json"
    evidence = parse_document(answer.content)
    assert announces_insecure(answer.content)
    statement = parse_statement(evidence.statement)
    assert (statement.purpose, statement.nonce) == ("attestation", bytes.fromhex(nonce))
    assert statement.manifest_sha384 == hashlib.sha384(evidence.manifest).digest()
    inclusion = evidence.inclusion
    root = root_from_path(leaf_hash(evidence.statement), inclusion.index, inclusion.size, inclusion.path)
    assert parse_report(evidence.hardware.report).report_data == root
    manifest = parse_manifest(evidence.manifest)
    assert manifest.config_sha384 == hashlib.sha384(evidence.config).digest()
    assert manifest.tls_spki_sha256 == (gateway.enclave.serving.tls.spki_sha256,)


def test_evidence_without_a_nonce_says_so(client: httpx.Client) -> None:
    evidence = parse_document(client.get("/.well-known/attestation").content)
    assert parse_statement(evidence.statement).nonce is None


def test_manifest_and_configuration_are_the_exact_bytes_that_were_attested(
    gateway: ServedGateway, client: httpx.Client
) -> None:
    manifest = client.get("/.well-known/casemate/manifest").content
    assert manifest == gateway.enclave.manifest
    by_digest = client.get(f"/.well-known/casemate/manifest/{hashlib.sha384(manifest).hexdigest()}")
    assert by_digest.content == manifest
    config = client.get("/.well-known/casemate/config").content
    assert hashlib.sha384(config).digest() == parse_manifest(manifest).config_sha384
    assert parse_config(config) == gateway.config


@pytest.mark.parametrize("base", ["/api/v1", "/v1"])
def test_the_catalogue_states_prices_limits_and_what_the_provider_keeps(
    client: httpx.Client, base: str
) -> None:
    models = client.get(f"{base}/models").json()
    assert models["object"] == "list"
    entry = next(model for model in models["data"] if model["id"] == "plain")
    assert entry["pricing"]["input"] == 1.0
    assert entry["limits"]["max_output_tokens"] == 4096
    assert set(entry["upstream"]) == {"tier", "retention", "training", "region"}
    assert client.get(f"{base}/models/plain").json() == entry
    assert client.get(f"{base}/models/none").json()["error"]["code"] == "model_not_found"


def test_readiness_follows_the_gateways_own_evidence(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


def test_evidence_for_other_keys_is_not_ready(gateway: ServedGateway, client: httpx.Client) -> None:
    document = client.get("/.well-known/attestation").content
    context = gateway.context
    now = datetime.now(UTC)
    assert failed_check(document, context, now) is None
    other_tls = replace(context.serving.tls, spki_sha256=bytes(32))
    tls = replace(context, serving=replace(context.serving, tls=other_tls))
    assert failed_check(document, tls, now) == "connection.key"
    other_hpke = replace(context.serving.hpke[0], public=bytes(32))
    hpke = replace(context, serving=replace(context.serving, hpke=(other_hpke,)))
    assert failed_check(document, hpke, now) == "manifest.hpke"
    other_root = SimulatedTee.forge(now=now, chip_secret=b"o" * 32)
    assert (
        failed_check(document, replace(context, endorsements=other_root.endorsements()), now)
        == "snp.chain.root"
    )
    assert failed_check(document, context, now + timedelta(days=365 * 100)) is not None


def test_the_page_is_loud_about_development_and_loads_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "INSECURE DEVELOPMENT" in page.text

    class Links(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "img", "iframe")
            self.found += [value or "" for name, value in attrs if name in ("href", "src")]

    parser = Links()
    parser.feed(page.text)
    assert "/.well-known/casemate/manifest" in parser.found
    for path in parser.found:
        assert path.startswith("/")
        assert client.get(path).status_code == 200
    assert "<code>plain</code>" in page.text


def test_names_from_the_configuration_are_escaped_on_the_page(gateway: ServedGateway) -> None:
    config = parse_config(gateway.context.config_bytes.replace(b"test gateway", b"<script>x</script>"))
    assert "<script>" not in render(replace(gateway.context, config=config))


def test_the_api_description_lists_the_hot_routes_too(client: httpx.Client) -> None:
    paths = client.get("/docs/openapi.json").json()["paths"]
    for path in HOT_PATHS:
        assert "post" in paths[path]
        assert "402" in paths[path]["post"]["responses"]
    assert "get" in paths["/api/v1/usage"]


def test_the_admin_key_creates_accounts_keys_and_credit_and_revokes(gateway: ServedGateway) -> None:
    with gateway.client(ADMIN_KEY) as admin:
        account = admin.post("/admin/v1/accounts", json={"name": "A", "credit_usd": 0.5}).json()["account"]
        key = admin.post("/admin/v1/keys", json={"account": account, "name": "one"}).json()["api_key"]
        credit = {"account": account, "amount_usd": 1.25, "reference": "r1"}
        assert admin.post("/admin/v1/credits", json=credit).json() == {"remaining_credits": 1.75}
        assert admin.post("/admin/v1/credits", json=credit).json() == {"remaining_credits": 1.75}
        assert gateway.usage(key)["balance"] == {"remaining_credits": 1.75}
        assert admin.post("/admin/v1/keys", json={"account": "none", "name": "one"}).status_code == 404
        assert admin.delete(f"/admin/v1/keys/{account}/one").status_code == 204
        assert admin.delete(f"/admin/v1/keys/{account}/one").status_code == 404
    body = {"model": "plain", "messages": [{"role": "user", "content": "x"}]}
    with gateway.client(key) as client:
        assert client.get("/api/v1/usage").status_code == 401
        assert client.post("/api/v1/chat", json=body).status_code == 401


def test_a_key_revoked_after_it_was_used_stops_working_at_once(gateway: ServedGateway) -> None:
    body = {"model": "plain", "messages": [{"role": "user", "content": "x"}]}
    with gateway.client(ADMIN_KEY) as admin:
        account = admin.post("/admin/v1/accounts", json={"name": "A", "credit_usd": 1}).json()["account"]
        key = admin.post("/admin/v1/keys", json={"account": account, "name": "one"}).json()["api_key"]
        with gateway.client(key) as client:
            assert client.post("/api/v1/chat", json=body).status_code == 200
            admin.delete(f"/admin/v1/keys/{account}/one")
            assert client.post("/api/v1/chat", json=body).status_code == 401


@pytest.mark.parametrize("key", [None, "", "wrong", ADMIN_KEY + "x"])
def test_nobody_else_administers(gateway: ServedGateway, key: str | None) -> None:
    with gateway.client(key) as client:
        for path in ("accounts", "keys", "credits"):
            assert client.post(f"/admin/v1/{path}", json={"name": "A"}).status_code == 401
        assert client.delete("/admin/v1/keys/a/b").status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"name": 1}',
        b'{"name": ""}',
        b'{"name": "a", "x": 1}',
        b'{"name":"a","credit_usd":-1}',
        b"\xff",
        b'{"name":"a/b"}',
        b'{"name":"a","credit_usd":1e400}',
        b'{"name":"' + b"x" * 70_000 + b'"}',
    ],
)
def test_administration_refuses_malformed_bodies(gateway: ServedGateway, body: bytes) -> None:
    with gateway.client(ADMIN_KEY) as admin:
        assert admin.post("/admin/v1/accounts", content=body).status_code in (400, 413)


class Gone:
    async def ask(self, question: object) -> Any:
        raise KeeperGone("gone")


async def call(app: Any, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    sent: list[Any] = []
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {
        "headers": [(b"host", b"x"), (b"authorization", b"Bearer k")],
        "http_version": "1.1",
        "scheme": "https",
    }
    scope |= {"client": None, "server": None, "root_path": "", "state": {}, "extensions": {}}

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(b"".join(m.get("body", b"") for m in sent[1:]))


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/chat"), ("GET", "/v1/usage"), ("GET", "/readyz"), ("GET", "/.well-known/attestation")],
)
async def test_without_a_keeper_nothing_is_served_and_it_is_said(
    gateway: ServedGateway, method: str, path: str
) -> None:
    app = build_app(replace(gateway.context, keeper=Gone()))
    status, answer = await call(app, method, path)
    assert status == 503
    assert answer.get("error", {}).get("code", "unavailable") == "unavailable"


async def test_administration_does_not_exist_outside_development(gateway: ServedGateway) -> None:
    text = gateway.context.config_bytes.decode()
    start = text.index("[insecure_development]")
    config = parse_config((text[:start] + text[text.index("[platform]") :]).encode())
    app = build_app(replace(gateway.context, config=config, insecure=False))
    status, _ = await call(app, "POST", "/admin/v1/accounts", b'{"name":"A"}')
    assert status == 404


async def test_a_bug_of_ours_is_a_500_that_says_nothing_and_a_log_line_that_says_where(
    gateway: ServedGateway,
) -> None:

    class Broken:
        async def ask(self, question: object) -> Any:
            raise ZeroDivisionError("canary-secret")

    sink = io.BytesIO()
    app = build_app(replace(gateway.context, keeper=Broken(), log=Log(sink)))
    for method, path in (("POST", "/v1/chat"), ("GET", "/v1/usage")):
        status, answer = await call(app, method, path)
        assert (status, answer["error"]["code"]) == (500, "internal_error")
        assert "canary" not in json.dumps(answer)
    faults = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert [line["kind"] for line in faults if line["event"] == "Fault"] == ["ZeroDivisionError"] * 2
    assert b"tests.gateway.test_app:" in sink.getvalue()
    assert b"canary" not in sink.getvalue()
