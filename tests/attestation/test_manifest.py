"""Manifests have exactly the members of the specification, each in its one form."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attestation.errors import MalformedEvidence
from attestation.formats.manifest import Manifest, encode_manifest, parse_manifest
from tests.fakes.evidence import manifest

MANIFEST = manifest(b"")
VALUE: dict[str, Any] = json.loads(encode_manifest(MANIFEST))

BAD_MEMBERS: list[tuple[str, Any]] = [
    ("format", "casemate/manifest/2"),
    ("phase", "starting"),
    ("phase", None),
    ("service", ""),
    ("service", "x" * 201),
    ("service", "a\x1b[2Jb"),
    ("service", "café"),
    ("release", 1),
    ("config_sha384", "00" * 47),
    ("config_sha384", None),
    ("ledger_schema_sha384", "AB" * 48),
    ("ledger_epoch", -1),
    ("ledger_epoch", True),
    ("ledger_epoch", 2**53),
    ("rollback", 5),
    ("root_source", "trust me"),
    ("keys", []),
    ("keys", None),
    ("key_epoch", None),
    ("key_epoch", "1"),
    ("not_after", -1),
    ("not_after", None),
]
BAD_KEYS: list[tuple[str, Any]] = [
    ("tls_spki_sha256", None),
    ("tls_spki_sha256", "00" * 32),
    ("tls_spki_sha256", ["00" * 31]),
    ("tls_spki_sha256", ["00" * 32, "00" * 32]),
    ("tls_spki_sha256", [f"{i:064x}" for i in range(17)]),
    ("hpke_x25519", [None]),
    ("ohttp_key_config", "00" * 40),
    ("receipt_ed25519", "00" * 31),
    ("private_key", None),
]


def test_the_wire_form_is_the_one_of_the_specification() -> None:
    assert list(VALUE) == [
        "format",
        "phase",
        "service",
        "release",
        "config_sha384",
        "ledger_schema_sha384",
        "ledger_epoch",
        "rollback",
        "root_source",
        "keys",
        "key_epoch",
        "not_after",
    ]
    assert list(VALUE["keys"]) == ["tls_spki_sha256", "hpke_x25519", "ohttp_key_config", "receipt_ed25519"]
    assert VALUE["ledger_epoch"] is None
    assert VALUE["keys"]["ohttp_key_config"] is None


keys32 = st.lists(st.binary(min_size=32, max_size=32), max_size=4, unique=True).map(tuple)
labels = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=200)


@given(
    tls=keys32,
    hpke=keys32,
    label=labels,
    number=st.integers(0, 2**53 - 1),
    ohttp=st.none() | st.binary(min_size=41, max_size=41),
    phase=st.sampled_from(["serving", "provisioning"]),
)
def test_what_is_encoded_reads_back(
    tls: Any, hpke: Any, label: str, number: int, ohttp: Any, phase: str
) -> None:
    changed: Manifest = replace(
        MANIFEST,
        tls_spki_sha256=tls,
        hpke_x25519=hpke,
        service=label,
        ohttp_key_config=ohttp,
        receipt_ed25519=ohttp and ohttp[:32],
        ledger_epoch=number,
        rollback=label,
        not_after=number,
        phase=phase,
    )
    assert parse_manifest(encode_manifest(changed)) == changed


@pytest.mark.parametrize(("member", "value"), BAD_MEMBERS)
def test_refuses_a_member_in_another_form(member: str, value: Any) -> None:
    with pytest.raises(MalformedEvidence):
        parse_manifest(json.dumps(VALUE | {member: value}).encode())


@pytest.mark.parametrize(("member", "value"), BAD_KEYS)
def test_refuses_keys_in_another_form(member: str, value: Any) -> None:
    keys = VALUE["keys"] | {member: value}
    with pytest.raises(MalformedEvidence):
        parse_manifest(json.dumps(VALUE | {"keys": keys}).encode())


@pytest.mark.parametrize("member", list(VALUE))
def test_refuses_a_missing_member(member: str) -> None:
    left = {name: value for name, value in VALUE.items() if name != member}
    with pytest.raises(MalformedEvidence):
        parse_manifest(json.dumps(left).encode())


def test_refuses_unknown_and_duplicate_members() -> None:
    with pytest.raises(MalformedEvidence):
        parse_manifest(json.dumps(VALUE | {"more": None}).encode())
    with pytest.raises(MalformedEvidence):
        parse_manifest(encode_manifest(MANIFEST).replace(b'{"format"', b'{"key_epoch":1,"format"'))


def test_refuses_more_than_64_kibibytes() -> None:
    with pytest.raises(MalformedEvidence):
        parse_manifest(encode_manifest(MANIFEST) + b" " * 65_536)


def test_does_not_encode_what_it_would_not_read() -> None:
    with pytest.raises(MalformedEvidence):
        encode_manifest(replace(MANIFEST, config_sha384=b"short"))


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(
        lambda value: json.dumps(VALUE | {"keys": value}).encode()
    )
)
@settings(deadline=None)
def test_any_bytes_give_a_manifest_or_the_typed_error(raw: bytes) -> None:
    try:
        parse_manifest(raw)
    except MalformedEvidence:
        return
