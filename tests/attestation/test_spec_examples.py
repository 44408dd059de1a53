"""The worked examples of docs/spec are what the code does."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from attestation.formats.document import Evidence, Inclusion, build_document
from attestation.formats.manifest import Manifest, encode_manifest, manifest_sha384
from attestation.formats.merkle import inclusion_paths, leaf_hash
from attestation.formats.statement import build_statement
from attestation.hardware import SnpEvidence
from attestation.policy.model import SHIPPED_TCB_FLOORS
from attestation.policy.providers import PROVIDER_HOSTS
from attestation.policy.toml import parse_policy

SPEC = Path(__file__).resolve().parent.parent.parent / "docs" / "spec"
CONFIG = b'format = "casemate/config/1"\n'
MANIFEST = Manifest(
    phase="serving",
    service="example",
    release="0.1.0",
    config_sha384=hashlib.sha384(CONFIG).digest(),
    ledger_schema_sha384=bytes(48),
    ledger_epoch=None,
    rollback=None,
    root_source="hardware",
    tls_spki_sha256=(b"\x71" * 32,),
    hpke_x25519=(b"\x72" * 32,),
    ohttp_key_config=None,
    receipt_ed25519=None,
    key_epoch=0,
    not_after=1795348800,
)
ENCODED = encode_manifest(MANIFEST)
STATEMENTS = [
    build_statement("attestation", bytes([byte]) * 32, manifest_sha384(ENCODED))
    for byte in (0x6E, 0x6F, 0x70)
]


def spec(name: str) -> str:
    """One page of the specification."""
    return (SPEC / name).read_text("utf-8")


def test_the_manifest_example() -> None:
    assert ENCODED.decode() in spec("manifest.md")
    assert manifest_sha384(ENCODED).hex() in spec("manifest.md")


def test_the_statement_example() -> None:
    leaves = [leaf_hash(raw) for raw in STATEMENTS]
    assert STATEMENTS[0].decode() in spec("statement.md")
    for value in (*leaves, inclusion_paths(leaves)[0]):
        assert value.hex() in spec("statement.md")


def test_the_document_example() -> None:
    _, paths = inclusion_paths([leaf_hash(raw) for raw in STATEMENTS])
    evidence = Evidence(STATEMENTS[2], Inclusion(2, 3, paths[2]), ENCODED, CONFIG, SnpEvidence(b"r"))
    document = build_document(evidence, insecure=False).decode()
    shown = re.findall(r"```(?:json)?\n(.*?)\n```", spec("evidence.md"), re.DOTALL)
    assert len(shown) == 2
    assert document.startswith(shown[0])
    assert f'"config":{shown[1]}' in document


def test_the_policy_examples_can_be_used() -> None:
    examples = re.findall(r"```toml\n(.*?)```", spec("policy.md"), re.DOTALL)
    policies = [parse_policy(text.encode()) for text in examples]
    assert [policy.insecure_development_root is None for policy in policies] == [True, False, True]


def test_the_specification_repeats_the_shipped_tables() -> None:
    page = spec("policy.md")
    assert all(f"`{host}`" in page for host in PROVIDER_HOSTS)
    for product, tcb in SHIPPED_TCB_FLOORS.items():
        levels = f"| {product} | {tcb.bootloader} | {tcb.tee} | {tcb.snp} | {tcb.microcode} |"
        assert levels in page
