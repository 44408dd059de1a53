"""Controls for the canary suite: what is planted is found, in every form and in every kind of place."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.fakes.canary import (
    BLOCK,
    Canary,
    find,
    find_in_files,
    find_in_memory,
    find_in_open_files,
    variety,
)


@pytest.fixture
def canary() -> Canary:
    return Canary.new()


def test_every_form_is_found_wherever_it_begins(canary: Canary) -> None:
    planted = variety(canary)
    assert planted.keys() == canary.forms().keys()
    for form, written in planted.items():
        for lead in range(4):
            assert [f.form for f in find(canary, bytes(lead) + written, "here")] == [form]


def test_another_canary_is_not_found(canary: Canary) -> None:
    assert not [f for written in variety(Canary.new()).values() for f in find(canary, written, "here")]


def test_files_are_searched_by_name_and_by_content_in_every_folder(canary: Canary, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    for form, written in variety(canary).items():
        (tmp_path / "a" / "b" / form.replace("+", "-")).write_bytes(b"before" + written + b"after")
    (tmp_path / "a" / canary.core).touch()
    found = find_in_files(canary, [tmp_path])
    assert {f.form for f in found} == canary.forms().keys()
    assert any(f.place.startswith("the name of") for f in found)


def test_a_file_that_was_deleted_while_it_is_open_is_searched(canary: Canary) -> None:
    with (
        tempfile.TemporaryFile() as unnamed,
        subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=unnamed) as process,
    ):
        unnamed.write(canary.core.encode())
        unnamed.flush()
        assert [f.form for f in find_in_open_files(canary, process.pid)] == ["raw"]
        process.kill()


@pytest.mark.parametrize("size", [200, 4_096, 65_536, BLOCK + 4_096])
def test_the_memory_of_a_hardened_process_is_searched(canary: Canary, size: int) -> None:
    held = b"\x01" * (size - len(canary.core)) + canary.core.encode() + b"\n"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.canary"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(held)
        process.stdin.flush()
        try:
            assert process.stdout.readline() == b"%d\n" % len(held)
            found = find_in_memory(canary, process.pid, "control")
            assert not find_in_memory(Canary.new(), process.pid, "control")
        except PermissionError:
            pytest.skip("the memory of an undumpable process is open to root alone")
        finally:
            process.kill()
    assert "raw" in {f.form for f in found}
