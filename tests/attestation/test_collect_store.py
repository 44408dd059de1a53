"""The cache is for its owner alone, whole or not at all, and a stranger's bytes when it is read."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attestation.collect.store import Entry, Kept, Store
from attestation.errors import CannotDecide
from tests.fakes.amd import NOW

ENTRY = Entry("amd-crl", NOW, Kept(b"\x00body\xff", (b"leaf", b"root")))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "some" / "cache"


@pytest.fixture
def store(directory: Path) -> Store:
    return Store(directory)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_written_is_read_again(store: Store) -> None:
    store.write(ENTRY)
    assert store.read("amd-crl") == ENTRY
    assert store.read("another") is None


def test_that_something_is_absent_is_an_entry_too(store: Store) -> None:
    store.write(Entry("gone", NOW, None))
    assert store.read("gone") == Entry("gone", NOW, None)


def test_a_fraction_of_a_second_is_never_rounded_into_the_future(store: Store) -> None:
    store.write(Entry("x", NOW + timedelta(microseconds=999_999), None))
    assert store.read("x") == Entry("x", NOW, None)


def test_directory_and_files_are_for_the_owner_alone(directory: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(directory)
        store.write(ENTRY)
        with store.locked():
            pass
    finally:
        os.umask(before)
    assert mode(directory) == 0o700
    assert {mode(path) for path in directory.iterdir()} == {0o600}


@pytest.mark.parametrize("rights", [0o777, 0o770, 0o702])
def test_a_directory_that_others_can_write_to_is_refused(rights: int, tmp_path: Path) -> None:
    tmp_path.chmod(rights)
    with pytest.raises(CannotDecide, match="others can write"):
        Store(tmp_path)


def test_a_directory_that_others_can_write_to_later_is_refused_later(store: Store, directory: Path) -> None:
    store.write(ENTRY)
    directory.chmod(0o770)
    for operation in (lambda: store.read("amd-crl"), lambda: store.write(ENTRY), store.locked().__enter__):
        with pytest.raises(CannotDecide, match="others can write"):
            operation()


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(CannotDecide, match="others can write"):
        Store(tmp_path)


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_bytes(b"")
    with pytest.raises(CannotDecide, match="cannot be used"):
        Store(blocker / "cache")
    with pytest.raises(CannotDecide, match="cannot be used"):
        Store(blocker)


def test_a_disk_that_does_not_take_it_leaves_nothing_behind(
    store: Store, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(ENTRY)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CannotDecide, match="No space left"):
        store.write(Entry("amd-crl", NOW, None))
    assert [path.name for path in directory.iterdir()] == ["amd-crl.json"]
    assert store.read("amd-crl") == ENTRY


def test_writers_at_once_leave_one_whole_entry(store: Store) -> None:
    entries = [Entry("amd-crl", NOW, Kept(bytes([n]) * 50_000)) for n in range(8)]
    threads = [threading.Thread(target=store.write, args=(entry,)) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read("amd-crl") in entries


def test_the_lock_keeps_others_out(store: Store, directory: Path) -> None:
    order: list[str] = []

    def other() -> None:
        with Store(directory).locked():
            order.append("other")

    with store.locked():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


def test_a_disk_that_knows_no_locks_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(CannotDecide, match="No locks available"), store.locked():
        pass


def test_a_lock_that_is_a_link_is_not_followed(store: Store, directory: Path, tmp_path: Path) -> None:
    (directory / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotDecide), store.locked():
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "casemate/collateral/2"},
        {"name": "another"},
        {"name": None},
        {"fetched_at": None},
        {"fetched_at": True},
        {"fetched_at": -1},
        {"fetched_at": 1 << 40},
        {"fetched_at": "0"},
        {"body": 1},
        {"body": "a==="},
        {"body": "é"},
        {"body": None},
        {"chain": None},
        {"chain": "AAAA"},
        {"chain": [1]},
        {"chain": ["!"]},
        {"chain": ["AAAA"] * 9},
    ],
)
def test_a_file_with_anything_wrong_is_as_good_as_absent(
    changes: dict[str, Any], store: Store, directory: Path
) -> None:
    store.write(ENTRY)
    path = directory / "amd-crl.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert store.read("amd-crl") is None


@pytest.mark.parametrize(
    "content", [b"", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 900, b"{}" * 9]
)
def test_a_file_of_anything_is_as_good_as_absent(content: bytes, store: Store, directory: Path) -> None:
    (directory / "amd-crl.json").write_bytes(content)
    assert store.read("amd-crl") is None


def test_a_large_file_is_not_read(store: Store, directory: Path) -> None:
    store.write(ENTRY)
    path = directory / "amd-crl.json"
    path.write_bytes(path.read_bytes() + b" " * 4 * 1024 * 1024)
    assert store.read("amd-crl") is None


def test_a_file_that_others_can_write_to_is_as_good_as_absent(store: Store, directory: Path) -> None:
    store.write(ENTRY)
    (directory / "amd-crl.json").chmod(0o620)
    assert store.read("amd-crl") is None


def test_a_link_is_not_followed(store: Store, directory: Path, tmp_path: Path) -> None:
    store.write(ENTRY)
    (directory / "amd-crl.json").rename(tmp_path / "elsewhere.json")
    (directory / "amd-crl.json").symlink_to(tmp_path / "elsewhere.json")
    assert store.read("amd-crl") is None
    store.write(ENTRY)
    assert store.read("amd-crl") == ENTRY
    assert not (directory / "amd-crl.json").is_symlink()


def test_a_pipe_in_the_place_of_a_file_does_not_hang(store: Store, directory: Path) -> None:
    os.mkfifo(directory / "amd-crl.json", 0o600)
    assert store.read("amd-crl") is None


def test_a_folder_in_the_place_of_a_file_is_said_when_writing(store: Store, directory: Path) -> None:
    (directory / "amd-crl.json").mkdir()
    assert store.read("amd-crl") is None
    with pytest.raises(CannotDecide, match="cannot be used"):
        store.write(ENTRY)
    assert [path.name for path in directory.iterdir()] == ["amd-crl.json"]
