"""A forged gateway for tests: documents that are right, and in which one part at a time can be made wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from attestation.formats.document import Evidence, Inclusion, build_document
from attestation.formats.manifest import Manifest, encode_manifest, manifest_sha384
from attestation.formats.merkle import inclusion_paths, leaf_hash
from attestation.formats.statement import build_statement
from attestation.model import Appraisal, Collateral
from attestation.pins import write_pin
from attestation.policy.toml import parse_policy
from attestation.verify import verify
from enclave.tee.dev import MEASUREMENT
from tests.fakes.amd import NOW, Signed, World

NONCE = b"\x6e" * 32
TLS_KEY = b"\x71" * 32
HPKE_KEY = b"\x72" * 32
PINS = (write_pin(b"\x01" * 32), write_pin(b"\x02" * 32))
DEVELOPMENT_TABLE = '\n[insecure_development]\nadmin_key_sha256 = "00"\n'


def provider(host: str = "api.openai.com", pins: tuple[str, ...] = PINS, **fields: str) -> str:
    """A [providers.…] table of a configuration."""
    lines = "".join(f'{name} = "{text}"\n' for name, text in fields.items())
    listed = ", ".join(f'"{pin}"' for pin in pins)
    return f'[providers.upstream]\nurl = "https://{host}/v1"\npins = [{listed}]\n{lines}'


def config(providers: str | None = None, extra: str = "") -> bytes:
    """Configuration bytes, as a gateway's operator would write them."""
    table = provider() if providers is None else providers
    head = 'format = "casemate/config/1"\nservice = "test"\n'
    model = '[models.small]\nprovider = "upstream"\ninput_nano_per_million = 1\noutput_nano_per_million = 1\n'
    return f"{head}{table}{model}{extra}".encode()


def manifest(config_bytes: bytes, **changes: Any) -> Manifest:
    """A serving manifest with a day and an hour to live, with `changes`."""
    fitting = Manifest(
        phase="serving",
        service="test",
        release="1",
        config_sha384=hashlib.sha384(config_bytes).digest(),
        ledger_schema_sha384=bytes(48),
        ledger_epoch=None,
        rollback="counter",
        root_source="hardware",
        tls_spki_sha256=(TLS_KEY,),
        hpke_x25519=(HPKE_KEY,),
        ohttp_key_config=None,
        receipt_ed25519=None,
        key_epoch=0,
        not_after=int(NOW.timestamp()) + 90_000,
    )
    return replace(fitting, **changes)


@lru_cache(maxsize=8)
def _empty_crl(world: World) -> bytes:
    """Signing with RSA-4096 takes long enough to be done once."""
    return world.crl()


@dataclass(frozen=True, slots=True)
class Scene:
    """One gateway and its hardware. Every field may be made wrong with `replace`."""

    world: World
    config: bytes = field(default_factory=config)
    manifest: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    vlek: bool = False
    others: tuple[bytes, ...] = ()

    def evidence(
        self,
        *,
        nonce: bytes | None = NONCE,
        purpose: str = "attestation",
        exporter: bytes | None = None,
    ) -> Evidence:
        """The parts of a document whose statement shares a report with `others`."""
        encoded = encode_manifest(manifest(self.config, **self.manifest))
        statement = build_statement(purpose, nonce, manifest_sha384(encoded), exporter=exporter)
        leaves = [leaf_hash(data) for data in (statement, *self.others)]
        root, paths = inclusion_paths(leaves)
        signed = self.sign(root)
        place = Inclusion(0, len(leaves), paths[0])
        return Evidence(statement, place, encoded, self.config, signed.evidence)

    def sign(self, report_data: bytes) -> Signed:
        """A report of this scene's hardware over 64 bytes."""
        fields = {"report_data": report_data, "measurement": MEASUREMENT} | self.report
        fields = {"crls": (_empty_crl(self.world),)} | fields
        return self.world.issue_vlek(**fields) if self.vlek else self.world.issue(**fields)

    def document(self, **question: Any) -> bytes:
        """A whole document; `question` as in `evidence`."""
        return build_document(self.evidence(**question), insecure=True)

    def policy(self, toml: str = "") -> bytes:
        """A policy that accepts this scene and names its root; `toml`: further keys first, then tables."""
        named = write_pin(self.world.hierarchy.ark.spki_sha256)
        head = f'format = "casemate/policy/1"\ninsecure_development_root = "{named}"\n'
        measured = f'[snp]\nmeasurements = ["{MEASUREMENT.hex()}"]\n'
        if "[snp]\n" in toml:
            return (head + toml.replace("[snp]\n", measured)).encode()
        top, opening, tables = f"\n{toml}".partition("\n[")
        return f"{head}{top[1:]}\n{measured}{opening}{tables}".encode()

    def appraise(self, toml: str = "", *, document: bytes | None = None, **how: Any) -> Appraisal:
        """Verify this scene's document (or another) against `policy(toml)`; `how` as in `verify`."""
        question = {"nonce": NONCE, "now": NOW} | how
        crls = question.pop("crls", ())
        raw = self.document() if document is None else document
        return verify(raw, Collateral(crls=crls), parse_policy(self.policy(toml)), **question)


def outcomes(appraisal: Appraisal) -> dict[str, str]:
    """Outcome by check id, without those that passed and without the development root."""
    return {
        check.id: check.outcome.value
        for check in appraisal.checks
        if check.outcome.value not in ("pass", "noted") and check.id != "snp.chain.root"
    }
