import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from attestation.formats.manifest import parse_manifest
from enclave.boot import boot, next_epoch, without_old_hpke_keys
from enclave.errors import NoTee, SealBroken
from enclave.keys import EPOCH
from tests.enclave.fake_tee import RecordingTee

NOW = datetime(2026, 11, 21, 22, 30, tzinfo=UTC)
CONFIG = b'format = "casemate/config/1"\n'
SCHEMA = hashlib.sha384(b"schema").digest()


@pytest.fixture
def start(tmp_path):
    def start_with(tee=None, now=NOW):
        return boot(
            tee=tee or RecordingTee(),
            config=CONFIG,
            service="test",
            release="0.1.0",
            hostnames=("localhost",),
            ledger_schema_sha384=SCHEMA,
            keyring_path=tmp_path / "keyring",
            now=now,
        )

    return start_with


def opens(private, public):
    return X25519PrivateKey.from_private_bytes(private.reveal()).public_key().public_bytes_raw() == public


def test_the_manifest_names_every_key_in_use_and_what_the_enclave_was_told(start):
    enclave = start()
    manifest = parse_manifest(enclave.manifest)
    assert manifest.phase == "serving"
    assert (manifest.service, manifest.release) == ("test", "0.1.0")
    assert manifest.config_sha384 == hashlib.sha384(CONFIG).digest()
    assert manifest.ledger_schema_sha384 == SCHEMA
    assert manifest.tls_spki_sha256 == (enclave.serving.tls.spki_sha256,)
    assert manifest.hpke_x25519 == (enclave.serving.hpke_public,)
    assert manifest.receipt_ed25519 is None
    assert manifest.ohttp_key_config is None
    assert manifest.key_epoch == 1
    assert manifest.not_after == int((NOW + timedelta(hours=25)).timestamp())
    assert enclave.manifest_sha384 == hashlib.sha384(enclave.manifest).digest()


def test_the_private_half_opens_what_is_sealed_to_the_public_one(start):
    serving = start().serving
    assert opens(serving.hpke_private[0], serving.hpke_public)


@pytest.mark.parametrize(("insecure", "source"), [(True, "insecure-development"), (False, "hardware")])
def test_the_manifest_says_where_the_root_comes_from(start, insecure, source):
    enclave = start(RecordingTee(insecure=insecure))
    assert parse_manifest(enclave.manifest).root_source == source
    assert enclave.insecure is insecure


def test_serving_keys_are_new_at_every_boot_and_durable_keys_are_not(start):
    first, second = start(), start()
    assert first.serving.hpke_public != second.serving.hpke_public
    assert first.serving.tls.spki_sha256 != second.serving.tls.spki_sha256
    assert first.keyring.ledger_key.reveal() == second.keyring.ledger_key.reveal()
    assert first.keyring.pepper[1].reveal() == second.keyring.pepper[1].reveal()


def test_another_machine_does_not_open_the_keyring(start):
    start()
    with pytest.raises(SealBroken):
        start(RecordingTee(root=b"\x99" * 32))


def test_a_platform_without_a_hardware_key_does_not_start_and_leaves_no_keyring(start, tmp_path):
    with pytest.raises(NoTee) as refusal:
        start(RecordingTee(root=None))
    assert refusal.value.hint
    assert list(tmp_path.iterdir()) == []


def test_the_root_secret_is_wiped_once_the_keyring_is_open(start, monkeypatch):
    tee = RecordingTee()
    given = []
    real = RecordingTee.hardware_key
    monkeypatch.setattr(
        RecordingTee, "hardware_key", lambda self, label: given.append(real(self, label)) or given[0]
    )
    start(tee)
    (root,) = given
    with pytest.raises(ValueError, match="wiped"):
        root.reveal()


def test_booting_asks_the_device_for_no_report(start):
    tee = RecordingTee()
    start(tee)
    assert tee.signed == []


def test_the_next_epoch_seals_to_a_new_key_and_still_opens_the_old_one(start):
    first = start()
    second = next_epoch(first, NOW + EPOCH)
    manifest = parse_manifest(second.manifest)
    assert manifest.hpke_x25519 == (second.serving.hpke_public,)
    assert manifest.tls_spki_sha256 == (second.serving.tls.spki_sha256,)
    assert manifest.tls_spki_sha256 != (first.serving.tls.spki_sha256,)
    assert manifest.key_epoch == 2
    assert manifest.not_after == int((NOW + EPOCH + timedelta(hours=25)).timestamp())
    assert manifest.config_sha384 == hashlib.sha384(CONFIG).digest()
    newest, older = second.serving.hpke_private
    assert opens(newest, second.serving.hpke_public)
    assert opens(older, first.serving.hpke_public)
    assert second.keyring is first.keyring
    assert second.serving.tls.hostnames == ("localhost",)


def test_a_key_opens_until_its_manifest_expired_and_ten_minutes_more_and_is_wiped_then(start):
    first = start()
    last_moment = NOW + timedelta(hours=25, minutes=10)
    alive = next_epoch(first, last_moment - timedelta(seconds=1))
    assert len(alive.serving.hpke_private) == 2
    first_key = first.serving.hpke_private[0]
    assert first_key.reveal()
    dead = next_epoch(first, last_moment)
    assert len(dead.serving.hpke_private) == 1
    with pytest.raises(ValueError, match="wiped"):
        first_key.reveal()


def test_once_the_memory_of_replays_is_lost_no_earlier_key_opens_anything(start):
    second = next_epoch(start(), NOW + EPOCH)
    earlier = second.serving.hpke_private
    fresh = without_old_hpke_keys(second)
    manifest = parse_manifest(fresh.manifest)
    (only,) = fresh.serving.hpke_private
    assert opens(only, fresh.serving.hpke_public)
    assert manifest.hpke_x25519 == (fresh.serving.hpke_public,)
    assert manifest.tls_spki_sha256 == (second.serving.tls.spki_sha256,)
    assert (manifest.key_epoch, manifest.not_after) == (3, parse_manifest(second.manifest).not_after)
    for key in earlier:
        with pytest.raises(ValueError, match="wiped"):
            key.reveal()


def test_keys_of_three_epochs_are_tried_newest_first(start):
    epochs = [start()]
    for step in (1, 2):
        epochs.append(next_epoch(epochs[-1], NOW + step * timedelta(hours=6)))
    privates = epochs[-1].serving.hpke_private
    publics = [enclave.serving.hpke_public for enclave in reversed(epochs)]
    assert all(opens(private, public) for private, public in zip(privates, publics, strict=True))
    assert parse_manifest(epochs[-1].manifest).key_epoch == 3
