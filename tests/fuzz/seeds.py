"""What each target starts from: forged by the tests' own fakes, here and now. Evidence is never copied."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509

from attestation.pem import encode_pem
from attestation.reader import b64url_encode
from attestation.snp.kds import AMD_ARC
from enclave.tee import dev
from tests.fakes.amd import World
from tests.fakes.evidence import DEVELOPMENT_TABLE, Scene, config, provider
from tests.fuzz.targets import AMD_SUFFIXES, TARGETS, triples

Seeds = Sequence[bytes]


class Forge:
    """Everything forged once; RSA-4096 hierarchies take seconds each."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World.forge("Genoa")
        self.scene = Scene(self.world)
        self.evidence = self.scene.evidence()
        self.signed = self.world.issue()
        self.by_provider = self.world.issue_vlek()

    def json(self) -> Seeds:
        """Members of every kind, nesting and escapes."""
        value = {"a": [1, -2, True, None, "\u00fc", {"b": "\\"}], "n": 2**53}
        return [json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode(), b"{}"]

    def base64url(self) -> Seeds:
        """Each remainder of the length."""
        return [b64url_encode(bytes(range(size))).encode() for size in (0, 1, 2, 3, 64)]

    def pem(self) -> Seeds:
        """One and three certificates."""
        return [encode_pem(self.signed.certificates[:count], "CERTIFICATE") for count in (1, 3)]

    def document(self) -> Seeds:
        """A VCEK's and a VLEK's document."""
        return [self.scene.document(), Scene(self.world, vlek=True).document()]

    def statement(self) -> Seeds:
        """With and without an exporter."""
        session = self.scene.evidence(purpose="session", exporter=bytes(32))
        return [self.evidence.statement, session.statement]

    def manifest(self) -> Seeds:
        """With what may be absent, and without."""
        whole = {"ledger_epoch": 3, "rollback": "witness", "ohttp_key_config": bytes(41)}
        return [self.evidence.manifest, Scene(self.world, manifest=whole).evidence().manifest]

    def settings(self) -> Seeds:
        """A plain configuration, and one with everything that a verifier reads."""
        return [config(), config(provider("api.openai.com:8443", ca_pem="x"), DEVELOPMENT_TABLE)]

    def policy(self) -> Seeds:
        """A short policy, and one with tables."""
        tables = '[evidence]\naccept_without_nonce = true\n[config]\nproviders = ["api.openai.com"]\n[snp]\n'
        return [self.scene.policy(), self.scene.policy(tables)]

    def snp_report(self) -> Seeds:
        """Every version, both kinds of key."""
        versions = [dev.encode_report(self.world.fields(version=version)) for version in (2, 3, 4, 5)]
        return [self.signed.report, self.by_provider.report, *(body + bytes(512) for body in versions)]

    def vek_extensions(self) -> Seeds:
        """AMD's extensions of both kinds of key."""
        found = []
        for der in (self.signed.certificates[0], self.by_provider.certificates[0]):
            values = {}
            for extension in x509.load_der_x509_certificate(der).extensions:
                suffix = extension.oid.dotted_string.removeprefix(AMD_ARC)
                if suffix in AMD_SUFFIXES and isinstance(extension.value, x509.UnrecognizedExtension):
                    values[AMD_SUFFIXES.index(suffix)] = extension.value.value
            found.append(triples(values))
        return found

    def certificate(self) -> Seeds:
        """Leaf, intermediate, root; VLEK."""
        return [*self.signed.certificates, self.by_provider.certificates[0]]

    def crl(self) -> Seeds:
        """Empty, with an entry, with an extension that nobody knows."""
        ask = self.world.hierarchy.ask.certificate
        return [self.world.crl(), self.world.crl(ask), self.world.crl(ask, critical=True)]


def seeds_of(forge: Forge, name: str) -> Seeds:
    """What the target `name` starts from."""
    make: Callable[[], Seeds] = getattr(forge, name.replace("-", "_"))
    return make()


def write_seeds(directory: Path) -> None:
    """Write all seeds, a directory for each target."""
    forge = Forge()
    for target in TARGETS:
        place = directory / target.name
        place.mkdir(parents=True)
        for number, seed in enumerate(seeds_of(forge, target.name)):
            (place / f"seed-{number}").write_bytes(seed)
