"""API keys: random, checkable by eye and tool, known to the ledger by keyed digests alone."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from enclave.keyring import Keyring
from enclave.secret import Secret
from gateway.authority import Authority, hash_api_key, new_api_key, well_formed

OLD, NEW = Secret(b"o" * 32), Secret(b"n" * 32)


def authority(*versions: int) -> Authority:
    peppers = {version: Secret(bytes([version]) * 32) for version in versions}
    return Authority(Keyring(Secret(bytes(32)), peppers, versions[-1]))


def test_a_new_key_has_256_random_bits_and_a_check_that_finds_every_single_slip() -> None:
    key = new_api_key()
    assert key.startswith("zima-")
    assert len(key) == 5 + 43 + 6
    assert well_formed(key)
    assert len({new_api_key() for _ in range(100)}) == 100
    slips = [key[:i] + ("0" if key[i] != "0" else "1") + key[i + 1 :] for i in range(5, len(key))]
    assert not any(well_formed(slip) for slip in slips)


def test_the_prefix_can_be_another() -> None:
    assert new_api_key("acme-").startswith("acme-")


def test_a_digest_is_the_pepper_version_and_keyed_blake2b() -> None:
    expected = hashlib.blake2b(b"a key", digest_size=32, key=b"n" * 32, person=b"casemate api key").digest()
    assert hash_api_key("a key", 7, NEW) == b"\x07" + expected
    assert hash_api_key("a key", 7, OLD)[1:] != expected


def test_digests_come_newest_pepper_first() -> None:
    assert [digest[0] for digest in authority(1, 3, 2).digests("x")] == [2, 3, 1]


def test_missing_and_malformed_keys_take_the_same_steps_as_any_other() -> None:
    for presented in (None, "", "nonsense", "zima-" + "x" * 49, "\udcff", "x" * 100_000):
        digests = authority(1, 2).digests(presented)
        assert [len(digest) for digest in digests] == [33, 33]


def test_no_long_key_has_the_digest_of_a_shorter_one_that_exists() -> None:
    key = new_api_key()
    assert hash_api_key(key + "x" * 1_000, 1, NEW) != hash_api_key(key, 1, NEW)
    assert hash_api_key("x" * 1_000, 1, NEW) == hash_api_key("", 1, NEW)


@given(st.text(max_size=60), st.text(max_size=60))
def test_different_keys_have_different_digests(one: str, other: str) -> None:
    assert (hash_api_key(one, 1, NEW) == hash_api_key(other, 1, NEW)) == (one == other)
