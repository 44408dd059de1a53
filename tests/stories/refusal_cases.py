"""Everything that can be wrong with a gateway, or on the way to one, as something to send a client to.

Where only the policy differs, the gateway is the running one behind a tap that reads the lengths of TLS
records; where the evidence differs, a peer with TLS of its own plays the gateway.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from attestation.ehbp import key_config
from attestation.fetch import fetch_evidence
from attestation.formats.document import build_document
from attestation.pins import write_pin
from enclave.tee.dev import MEASUREMENT
from tests.fakes.amd import DEBUG_POLICY, World
from tests.fakes.evidence import TLS_KEY
from tests.fakes.gateway_peer import POLICY, Answer, Gateway, running_gateway
from tests.fakes.tls_peer import Chain, RecordingPeer
from tests.stories.conftest import Story
from tests.stories.peers import Tap, TcpPeer, answering, beyond_client_hellos
from tests.stories.verifiers import SECRET

REFUSED, UNDECIDED, ACCEPTED_INSECURE = 1, 2, 3
HOUR = 3_600
PLAIN_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/cmw+json\r\ncontent-length: 2\r\n\r\n{}"


@dataclass(frozen=True, slots=True)
class Stage:
    """What cases are built from: the running gateway, and forged ones that are valid now."""

    story: Story
    world: World
    stranger: World
    chain: Chain

    @contextmanager
    def forged(self, **manifest: object) -> Iterator[Gateway]:
        """A gateway on forged hardware whose evidence is in order today, but for `manifest`."""
        now = datetime.now(UTC)
        lasting = {"not_after": int(now.timestamp()) + HOUR}
        with running_gateway(self.world, self.chain, **lasting | manifest) as gateway:
            gateway.scene = replace(gateway.scene, report={"vek": self.world.vcek(now=now)})
            yield gateway


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client is sent, with which policy, and how many bytes of a request arrived there."""

    url: str
    policy: bytes
    request_bytes: Callable[[], int]
    ca: str | None = None


Case = Callable[[Stage], AbstractContextManager[Target]]


# --- the running gateway, and a policy that does not accept it ----------------------------------------------


@contextmanager
def tapped(story: Story, policy: bytes) -> Iterator[Target]:
    with Tap(story.port) as tap:
        url = f"https://localhost:{tap.peer.port}"
        before = story.served()

        def request_bytes() -> int:
            tap.peer.settle()
            assert tap.peer.received, "no connection was made at all"
            return tap.request_bytes(len(evidence_request(url))) + (story.served() != before)

        yield Target(url, policy, request_bytes)


def evidence_request(url: str) -> bytes:
    """The only request that may precede the verdict, with a nonce of the right length."""
    path = "/.well-known/attestation?nonce=" + "0" * 64
    host = url.removeprefix("https://")
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: application/cmw+json\r\n\r\n".encode()


def policy_with(change: Callable[[Stage], tuple[str, str]]) -> Case:
    """The running gateway's policy with one text in it replaced."""

    def case(stage: Stage) -> AbstractContextManager[Target]:
        was, becomes = change(stage)
        policy = stage.story.policy.decode()
        assert was in policy
        return tapped(stage.story, policy.replace(was, becomes).encode())

    return case


def root_line(stage: Stage) -> str:
    return next(line for line in stage.story.policy.decode().splitlines() if line.startswith("insecure_dev"))


def host_of(stage: Stage) -> str:
    return f"localhost:{stage.story.provider.port}"


another_measurement = policy_with(lambda stage: (MEASUREMENT.hex(), "ab" * 48))
another_root = policy_with(
    lambda stage: (
        root_line(stage),
        f'insecure_development_root = "{write_pin(stage.stranger.hierarchy.ark.spki_sha256)}"',
    )
)
no_development_root = policy_with(lambda stage: (root_line(stage), ""))
another_provider = policy_with(lambda stage: (host_of(stage), "api.openai.com"))
another_provider_pin = policy_with(lambda stage: (stage.story.provider.pin, stage.story.provider.backup_pin))
no_development_config = policy_with(lambda stage: ("insecure_development = true", ""))
no_development_keys = policy_with(lambda stage: ('["insecure-development"]', '["hardware"]'))


# --- a peer that plays the gateway, and says something wrong ------------------------------------------------


def target_of(gateway: Gateway, policy: bytes, ca: str | None = None) -> Target:
    def request_bytes() -> int:
        gateway.peer.settle()
        assert gateway.nonces, "the evidence was not asked for at all"
        assert not any(SECRET.encode() in record for record in gateway.peer.received)
        return gateway.request_bytes

    return Target(gateway.peer.url, policy, request_bytes, ca)


def forged(change: Callable[[Stage, Gateway], object], **manifest: object) -> Case:
    """A forged gateway that its own policy would accept, after one change."""

    @contextmanager
    def case(stage: Stage) -> Iterator[Target]:
        with stage.forged(**manifest) as gateway:
            policy = gateway.scene.policy(POLICY)
            change(stage, gateway)
            yield target_of(gateway, policy)

    return case


def be_debugged(_: Stage, gateway: Gateway) -> None:
    gateway.scene = replace(gateway.scene, report={**gateway.scene.report, "policy": DEBUG_POLICY})


def repeat_evidence(_: Stage, gateway: Gateway) -> None:
    recorded = gateway.document(b"\x01" * 32)
    gateway.evidence = lambda nonce: recorded


def answer_another_purpose(_: Stage, gateway: Gateway) -> None:
    gateway.evidence = lambda nonce: gateway.scene.document(nonce=nonce, purpose="peer")


def exchange_the_manifest(_: Stage, gateway: Gateway) -> None:
    own = gateway.scene
    other = replace(own, manifest=own.manifest | {"release": "2"}).evidence().manifest
    gateway.evidence = lambda nonce: build_document(
        replace(own.evidence(nonce=nonce), manifest=other), insecure=True
    )


def exchange_the_config(_: Stage, gateway: Gateway) -> None:
    own = gateway.scene
    other = own.config.replace(b"api.openai.com", b"api.mistral.ai")
    gateway.evidence = lambda nonce: build_document(
        replace(own.evidence(nonce=nonce), config=other), insecure=True
    )


def announce_keys_beside(_: Stage, gateway: Gateway) -> None:
    beside = key_config(gateway.key.public_key().public_bytes_raw())
    gateway.answer = lambda asked: Answer((beside,), content_type="application/ohttp-keys")


def nothing_else(_: Stage, gateway: Gateway) -> None:
    """What is wrong is in the manifest already."""


@contextmanager
def impostor(
    stage: Stage, evidence: Callable[[bytes | None], bytes], ca: str | None = None
) -> Iterator[Target]:
    """Ends TLS with a key of its own, and shows evidence of the running gateway."""
    with running_gateway(stage.world, stage.chain) as gateway:
        gateway.evidence = evidence
        yield target_of(gateway, stage.story.policy, ca)


def relayed(story: Story) -> Callable[[bytes | None], bytes]:
    """Genuine evidence, fresh for the very nonce that the client sent."""
    return lambda nonce: fetch_evidence(story.url, nonce)[0]


def diverted(stage: Stage) -> AbstractContextManager[Target]:
    return impostor(stage, relayed(stage.story))


def diverted_under_the_same_authority(stage: Stage) -> AbstractContextManager[Target]:
    return impostor(stage, relayed(stage.story), stage.chain.root.pem)


def replayed(stage: Stage) -> AbstractContextManager[Target]:
    recorded = relayed(stage.story)(b"\x01" * 32)
    return impostor(stage, lambda nonce: recorded)


# --- a downgrade --------------------------------------------------------------------------------------------


@contextmanager
def plain_url(stage: Stage) -> Iterator[Target]:
    with TcpPeer(answering(PLAIN_ANSWER)) as peer:
        yield Target(f"http://127.0.0.1:{peer.port}", stage.story.policy, lambda: len(peer.received))


@contextmanager
def plain_server(stage: Stage) -> Iterator[Target]:
    with TcpPeer(answering(PLAIN_ANSWER)) as peer:

        def request_bytes() -> int:
            peer.settle()
            assert peer.received
            return beyond_client_hellos(peer)

        yield Target(f"https://127.0.0.1:{peer.port}", stage.story.policy, request_bytes)


@contextmanager
def redirect_to_plain(stage: Stage) -> Iterator[Target]:
    with TcpPeer(answering(PLAIN_ANSWER)) as plain:
        head = f"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:{plain.port}/\r\ncontent-length: 0\r\n\r\n"

        def serve(tls: ssl.SSLSocket, record: bytearray) -> None:
            while data := tls.recv(65_536):
                record += data
                tls.sendall(head.encode())

        with RecordingPeer(stage.chain.context(), serve=serve) as peer:

            def request_bytes() -> int:
                peer.settle()
                return peer.application_bytes - len(evidence_request(peer.url)) + len(plain.received)

            yield Target(peer.url, stage.story.policy, request_bytes)


@contextmanager
def older_tls(stage: Stage) -> Iterator[Target]:
    context = stage.chain.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with RecordingPeer(context) as peer:

        def request_bytes() -> int:
            peer.settle()
            assert peer.received
            return peer.application_bytes

        yield Target(peer.url, stage.story.policy, request_bytes)


CASES: dict[str, tuple[Case, str, int]] = {
    "another measurement": (another_measurement, "snp.measurement", REFUSED),
    "another root": (another_root, "snp.chain.root", REFUSED),
    "a simulated root that no policy named": (no_development_root, "snp.chain.root", REFUSED),
    "a provider that the policy does not allow": (another_provider, "config.provider.host", REFUSED),
    "a provider key that the policy does not allow": (another_provider_pin, "config.provider.pins", REFUSED),
    "a development door": (no_development_config, "config.insecure_development", REFUSED),
    "durable keys of another origin": (no_development_keys, "manifest.root_source", REFUSED),
    "a debug guest": (forged(be_debugged), "snp.debug", REFUSED),
    "evidence for an older nonce": (forged(repeat_evidence), "statement.nonce", REFUSED),
    "recorded evidence of the running gateway": (replayed, "statement.nonce", REFUSED),
    "a statement for another purpose": (forged(answer_another_purpose), "statement.purpose", REFUSED),
    "a statement for another manifest": (forged(exchange_the_manifest), "statement.manifest", REFUSED),
    "a manifest for another configuration": (forged(exchange_the_config), "manifest.config", REFUSED),
    "a sealing key beside the evidence": (
        forged(announce_keys_beside, hpke_x25519=()),
        "manifest.keys",
        REFUSED,
    ),
    "a TLS key beside the evidence": (
        forged(nothing_else, tls_spki_sha256=(TLS_KEY,)),
        "connection.key",
        REFUSED,
    ),
    "a diverted connection": (diverted, "connection.key", REFUSED),
    "a diverted connection with a valid certificate": (
        diverted_under_the_same_authority,
        "connection.key",
        REFUSED,
    ),
    "an http URL": (plain_url, "https", UNDECIDED),
    "a server that speaks plain HTTP": (plain_server, "SSL", UNDECIDED),
    "a redirect to plain HTTP": (redirect_to_plain, "HTTP status 307", UNDECIDED),
    "a server that knows TLS 1.2 only": (older_tls, "SSL", UNDECIDED),
}
