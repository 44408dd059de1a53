import os
import stat

import pytest

from enclave.errors import SealBroken
from enclave.keyring import Keyring, load_or_create, save, with_new_pepper
from enclave.secret import Secret

ROOT = Secret(b"\x31" * 32)
OTHER_ROOT = Secret(b"\x32" * 32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keyring"


def contents(keyring):
    peppers = {version: key.reveal() for version, key in keyring.pepper.items()}
    return keyring.ledger_key.reveal(), peppers, keyring.current_pepper


def test_the_first_boot_makes_random_keys_and_the_next_one_finds_them(path, tmp_path):
    first = load_or_create(path, ROOT)
    assert contents(load_or_create(path, ROOT)) == contents(first)
    ledger_key, peppers, current = contents(first)
    assert (list(peppers), current) == ([1], 1)
    assert len({ledger_key, peppers[1], contents(load_or_create(tmp_path / "other", ROOT))[0]}) == 3
    assert len(ledger_key) == len(peppers[1]) == 32


def test_the_file_is_private_complete_and_alone(path, tmp_path):
    load_or_create(path, ROOT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["keyring"]


def test_no_key_stands_in_the_file(path):
    ledger_key, peppers, _ = contents(load_or_create(path, ROOT))
    raw = path.read_bytes()
    assert ledger_key not in raw
    assert peppers[1] not in raw
    assert b"pepper" not in raw


def test_another_root_is_refused_with_a_way_out_and_the_file_is_left_alone(path):
    load_or_create(path, ROOT)
    before = path.read_bytes()
    with pytest.raises(SealBroken) as refusal:
        load_or_create(path, OTHER_ROOT)
    assert "another root secret" in str(refusal.value)
    assert "backup" in refusal.value.hint
    assert path.read_bytes() == before


def test_one_flipped_bit_anywhere_is_refused(path):
    load_or_create(path, ROOT)
    raw = path.read_bytes()
    for position in range(len(raw)):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :])
        with pytest.raises(SealBroken):
            load_or_create(path, ROOT)
    path.write_bytes(raw)
    load_or_create(path, ROOT)


@pytest.mark.parametrize("length", [0, 1, 18, 19, 50, 51, 66, -1])
def test_a_truncated_file_is_refused_and_never_replaced_by_new_keys(path, length):
    load_or_create(path, ROOT)
    cut = path.read_bytes()[:length]
    path.write_bytes(cut)
    with pytest.raises(SealBroken):
        load_or_create(path, ROOT)
    assert path.read_bytes() == cut


def test_appended_bytes_are_refused(path):
    load_or_create(path, ROOT)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(SealBroken):
        load_or_create(path, ROOT)


def test_two_writes_of_the_same_keys_share_no_wrapping_key(path):
    keyring = load_or_create(path, ROOT)
    first = path.read_bytes()
    save(path, keyring, ROOT)
    second = path.read_bytes()
    assert first[:19] == second[:19]
    assert first[19:51] != second[19:51]
    assert first[51:67] != second[51:67]


def test_rewrapping_moves_the_same_keys_under_another_root(path):
    keyring = load_or_create(path, ROOT)
    save(path, keyring, OTHER_ROOT)
    assert contents(load_or_create(path, OTHER_ROOT)) == contents(keyring)
    with pytest.raises(SealBroken):
        load_or_create(path, ROOT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_pepper_becomes_current_and_the_old_one_stays(path):
    old = load_or_create(path, ROOT)
    save(path, with_new_pepper(old), ROOT)
    new = load_or_create(path, ROOT)
    assert (sorted(new.pepper), new.current_pepper) == ([1, 2], 2)
    assert new.pepper[1].reveal() == old.pepper[1].reveal()
    assert new.pepper[2].reveal() != old.pepper[1].reveal()
    assert new.ledger_key.reveal() == old.ledger_key.reveal()


def test_pepper_versions_end_where_their_byte_does():
    full = Keyring(Secret(b"\0" * 32), {255: Secret(b"\0" * 32)}, 255)
    with pytest.raises(ValueError, match="used up"):
        with_new_pepper(full)


def test_bytes_reach_the_disk_before_the_name_does(path, monkeypatch):
    happened = []
    for name in ("fsync", "link", "replace"):
        real = getattr(os, name)

        def noted(*arguments, name=name, real=real):
            happened.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, noted)
    keyring = load_or_create(path, ROOT)
    assert happened == ["fsync", "link", "fsync"]
    save(path, keyring, ROOT)
    assert happened[3:] == ["fsync", "replace", "fsync"]


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_write_that_fails_midway_leaves_the_old_keyring_and_no_litter(path, tmp_path, monkeypatch, step):
    old = load_or_create(path, ROOT)

    def full(*arguments):
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, full)
        with pytest.raises(OSError, match="no space"):
            save(path, with_new_pepper(old), ROOT)
    assert contents(load_or_create(path, ROOT)) == contents(old)
    assert [item.name for item in tmp_path.iterdir()] == ["keyring"]


def test_a_keyring_that_appears_meanwhile_is_not_replaced(path, tmp_path, monkeypatch):
    real = os.link

    def overtaken(source, target):
        path.write_bytes(b"another process was faster")
        real(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    with pytest.raises(FileExistsError):
        load_or_create(path, ROOT)
    assert path.read_bytes() == b"another process was faster"
    assert [item.name for item in tmp_path.iterdir()] == ["keyring"]
