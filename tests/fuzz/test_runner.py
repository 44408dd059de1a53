"""The runner tells a target that held from one that broke, and from one that never ran."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fakes.amd import World
from tests.fuzz.__main__ import KEPT, Result, command, environment, run, show
from tests.fuzz.seeds import Forge, seeds_of
from tests.fuzz.targets import TARGETS, joined, pairs, sections, target_named, triples


def test_each_target_has_a_name_of_its_own_and_seeds(genoa: World) -> None:
    forge = Forge(genoa)
    assert len({target.name for target in TARGETS}) == len(TARGETS)
    assert all(seeds_of(forge, target.name) for target in TARGETS)


def test_the_fuzzer_is_told_its_limits_and_where_to_keep_what_it_finds() -> None:
    order = command(Path("python"), target_named("crl"), 7, Path("seeds"), Path("found"))
    assert order[:4] == ["python", "-m", "tests.fuzz.one", "crl"]
    assert {"-max_total_time=7", "-timeout=10", "-rss_limit_mb=600"} <= set(order)
    assert f"-artifact_prefix={KEPT / 'crl'}/" in order
    assert order[-2:] == ["found", "seeds"]


def test_a_fuzzer_that_cannot_start_is_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This interpreter has no atheris: the run ends at once, and says why."""
    (tmp_path / "seeds" / "crl").mkdir(parents=True)
    result = run(Path(sys.executable), target_named("crl"), 1, tmp_path)
    assert (result.executions, result.covered) == (0, 0)
    assert "atheris" in result.broke
    show(result)
    shown = capsys.readouterr()
    assert "BROKEN" in shown.out
    assert "to see it again" in shown.err


def test_a_target_that_held_takes_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(Result("crl", 12_345, 67, 8.0, ""))
    assert capsys.readouterr().out.split() == ["crl", "held", "12,345", "inputs", "67", "edges", "8", "s"]


def test_the_environment_is_made_from_the_pinned_requirements_alone() -> None:
    names = {source.name for source in environment().sources}
    assert names == {"fuzz.txt", "pyproject.toml"}


def test_framings_of_several_values_read_back() -> None:
    values = {0: b"a", 7: b"", 255: bytes(200)}
    assert pairs(triples(values)) == values
    assert pairs(triples(values)[:-1])[255] == bytes(199)
    assert pairs(b"\x00") == {}
    take = sections(joined(b"one", b"", b"three") + b"\xff")
    assert [next(take) for _ in range(6)] == [b"one", b"", b"three", b"", b"", b""]
