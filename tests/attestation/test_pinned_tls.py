"""A wrong pin sends no application byte, whichever client library opens the connection."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import httpx
import httpx2
import pytest
import uvloop

from attestation.errors import MalformedEvidence
from attestation.pinned_tls import (
    UntrustedPeer,
    client_context,
    format_pin,
    parse_pin,
    pinned_context,
    spki_sha256,
)
from tests.fakes.tls_peer import Certified, Chain, RecordingPeer, certify

WRONG_PIN = b"\x5a" * 32


@pytest.fixture(scope="module")
def chain() -> Chain:
    return Chain.forge()


@pytest.fixture
def peer(chain: Chain) -> Iterator[RecordingPeer]:
    with RecordingPeer(chain.context()) as running:
        yield running


async def by_asyncio(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    try:
        return await reader.readuntil(b"hello")
    finally:
        writer.close()
        await writer.wait_closed()


async def by_httpx(port: int, context: ssl.SSLContext) -> bytes:
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        return (await client.get(f"https://127.0.0.1:{port}/")).content


async def by_httpx2(port: int, context: ssl.SSLContext) -> bytes:
    async with httpx2.AsyncClient(verify=context, trust_env=False) as client:
        return (await client.get(f"https://127.0.0.1:{port}/")).content


async def by_aiohttp(port: int, context: ssl.SSLContext) -> bytes:
    url = f"https://127.0.0.1:{port}/"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as response:
        return await response.read()


def by_socket(port: int, context: ssl.SSLContext) -> bytes:
    plain = socket.create_connection(("127.0.0.1", port), 10)
    with plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        return tls.recv(4096)


def by_http_client(port: int, context: ssl.SSLContext) -> bytes:
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def by_httpx_sync(port: int, context: ssl.SSLContext) -> bytes:
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.get(f"https://127.0.0.1:{port}/").content


def by_httpx2_sync(port: int, context: ssl.SSLContext) -> bytes:
    with httpx2.Client(verify=context, trust_env=False) as client:
        return client.get(f"https://127.0.0.1:{port}/").content


Ask = Callable[[int, ssl.SSLContext], bytes]


def on_asyncio(ask: Callable[[int, ssl.SSLContext], Awaitable[bytes]]) -> Ask:
    return lambda port, context: asyncio.run(ask(port, context))  # type: ignore[arg-type]


def on_uvloop(ask: Callable[[int, ssl.SSLContext], Awaitable[bytes]]) -> Ask:
    return lambda port, context: uvloop.run(ask(port, context))  # type: ignore[arg-type]


CLIENTS = {
    "asyncio": on_asyncio(by_asyncio),
    "uvloop": on_uvloop(by_asyncio),
    "httpx async": on_asyncio(by_httpx),
    "httpx async on uvloop": on_uvloop(by_httpx),
    "httpx2 async": on_asyncio(by_httpx2),
    "httpx2 async on uvloop": on_uvloop(by_httpx2),
    "aiohttp": on_asyncio(by_aiohttp),
    "aiohttp on uvloop": on_uvloop(by_aiohttp),
    "socket": by_socket,
    "http.client": by_http_client,
    "httpx sync": by_httpx_sync,
    "httpx2 sync": by_httpx2_sync,
}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_wrong_pin_sends_no_application_byte(name: str, chain: Chain, peer: RecordingPeer) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - every library wraps it in an error of its own
        CLIENTS[name](peer.port, pinned_context([WRONG_PIN], ca_pem=chain.root.pem))
    assert _caused_by(caught.value, "pinned")
    peer.settle()
    assert len(peer.received) >= 1
    assert peer.application_bytes == 0


def _caused_by(error: BaseException | None, word: str) -> bool:
    while error is not None:
        if word in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@pytest.mark.parametrize("name", CLIENTS)
def test_a_right_pin_is_served(name: str, chain: Chain, peer: RecordingPeer) -> None:
    context = pinned_context([WRONG_PIN, chain.leaf.pin], ca_pem=chain.root.pem)
    assert CLIENTS[name](peer.port, context).endswith(b"hello")


@pytest.mark.parametrize("which", ["leaf", "intermediate", "root"])
@pytest.mark.parametrize("name", ["asyncio", "socket"])
def test_every_key_of_the_validated_chain_can_be_the_pin(
    which: str, name: str, chain: Chain, peer: RecordingPeer
) -> None:
    pinned: Certified = getattr(chain, which)
    assert CLIENTS[name](peer.port, pinned_context([pinned.pin], ca_pem=chain.root.pem))


@pytest.mark.parametrize("name", ["asyncio", "socket"])
def test_a_certificate_that_is_merely_presented_matches_no_pin(name: str, chain: Chain) -> None:
    decoy = certify("the pinned authority, with no part in this chain", ca=True)
    with RecordingPeer(chain.context(decoy)) as peer:
        with pytest.raises(ssl.SSLError):
            CLIENTS[name](peer.port, pinned_context([decoy.pin], ca_pem=chain.root.pem))
        peer.settle()
        assert peer.application_bytes == 0


@pytest.mark.parametrize("name", ["asyncio", "socket", "httpx sync", "httpx2 async", "aiohttp"])
def test_the_right_pin_does_not_excuse_an_unknown_authority(
    name: str, chain: Chain, peer: RecordingPeer
) -> None:
    stranger = certify("another root", ca=True)
    with pytest.raises((ssl.SSLError, httpx.ConnectError, httpx2.ConnectError, aiohttp.ClientError)):
        CLIENTS[name](peer.port, pinned_context([chain.leaf.pin], ca_pem=stranger.pem))
    peer.settle()
    assert peer.application_bytes == 0


@pytest.mark.parametrize("name", ["asyncio", "socket"])
def test_the_right_pin_does_not_excuse_another_host_name(name: str) -> None:
    elsewhere = Chain.forge(hosts=("elsewhere.example",))
    with RecordingPeer(elsewhere.context()) as peer:
        with pytest.raises(ssl.SSLCertVerificationError):
            CLIENTS[name](peer.port, pinned_context([elsewhere.leaf.pin], ca_pem=elsewhere.root.pem))
        peer.settle()
        assert peer.application_bytes == 0


@pytest.mark.parametrize("name", ["asyncio", "socket"])
def test_without_webpki_only_the_leaf_can_be_pinned(name: str, chain: Chain, peer: RecordingPeer) -> None:
    assert CLIENTS[name](peer.port, pinned_context([chain.leaf.pin], verify_webpki=False))
    with pytest.raises(UntrustedPeer):
        CLIENTS[name](peer.port, pinned_context([chain.intermediate.pin], verify_webpki=False))


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_reconnect_of_a_pool_is_checked_again(library: object, chain: Chain) -> None:
    root = chain.root
    impostor = Chain.forge(root)
    with RecordingPeer(chain.context()) as peer:
        context = pinned_context([chain.leaf.pin], ca_pem=root.pem)
        with library.Client(verify=context, trust_env=False) as client:  # type: ignore[attr-defined]
            assert client.get(peer.url).content == b"hello"
            assert client.get(peer.url).content == b"hello"
            assert len(peer.received) == 1  # pool reuse: one handshake, one check
            before = peer.application_bytes
            peer.context = impostor.context()
            peer.drop_connections()
            peer.settle()
            with pytest.raises(library.ConnectError):  # type: ignore[attr-defined]
                client.get(peer.url)
        peer.settle()
        assert len(peer.received) == 2
        assert peer.application_bytes == before


def test_a_socket_that_skips_the_handshake_cannot_write(chain: Chain, peer: RecordingPeer) -> None:
    context = pinned_context([WRONG_PIN], ca_pem=chain.root.pem)
    with socket.create_connection(("127.0.0.1", peer.port), 10) as plain:
        tls = context.wrap_socket(plain, server_hostname="127.0.0.1", do_handshake_on_connect=False)
        with tls:
            for write in (tls.send, tls.sendall, tls.write):
                with pytest.raises(UntrustedPeer):
                    write(b"secret")
    peer.settle()
    assert peer.application_bytes == 0


def test_an_object_that_skips_the_handshake_cannot_write(chain: Chain) -> None:
    context = pinned_context([WRONG_PIN], ca_pem=chain.root.pem)
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
    with pytest.raises(UntrustedPeer):
        tls.write(b"secret")
    assert outgoing.pending == 0


def test_no_read_asks_for_more_memory_than_a_record_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(ssl.SSLObject, "read", lambda _, size, buffer=None: asked.append(size))
    tls = pinned_context([bytes(32)]).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
    tls.read(262_144)
    assert asked == [16_384]


@pytest.mark.parametrize("name", ["asyncio", "socket"])
def test_a_peer_that_speaks_tls_12_only_is_refused(name: str, chain: Chain) -> None:
    old = chain.context()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with RecordingPeer(old) as peer:
        with pytest.raises(ssl.SSLError):
            CLIENTS[name](peer.port, pinned_context([chain.leaf.pin], ca_pem=chain.root.pem))
        peer.settle()
        assert peer.application_bytes == 0


@pytest.mark.parametrize("pins", [[], [b"short"], [b"\x00" * 33]])
def test_no_pins_or_pins_of_another_length_make_no_context(pins: list[bytes]) -> None:
    with pytest.raises(ValueError, match="pin"):
        pinned_context(pins)


def test_the_environment_adds_no_roots_and_no_key_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, chain: Chain
) -> None:
    log, roots = f"{tmp_path}/keys", f"{tmp_path}/roots.pem"
    with open(roots, "w") as file:
        file.write(chain.root.pem)
    monkeypatch.setenv("SSLKEYLOGFILE", log)
    monkeypatch.setenv("SSL_CERT_FILE", roots)
    context = client_context()
    assert context.keylog_filename is None
    assert chain.root.der not in context.get_ca_certs(binary_form=True)
    assert len(context.get_ca_certs()) > 50


def test_pins_are_written_one_way_only(chain: Chain) -> None:
    pin = spki_sha256(chain.leaf.der)
    assert parse_pin(format_pin(pin)) == pin
    for text in (format_pin(pin).rstrip("="), "sha1/" + "A" * 28, "sha256/", format_pin(pin) + "\n"):
        with pytest.raises(MalformedEvidence):
            parse_pin(text)
