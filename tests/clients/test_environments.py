"""An environment that is absent, half made or out of date is a failure that says what to do, never a skip."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.environments import NODE_PROJECT, PYTHONS, ClientEnvironment, EnvironmentMissing, ensure


@pytest.fixture
def environment(tmp_path: Path) -> ClientEnvironment:
    """One that nobody has made yet."""
    source = tmp_path / "requirements.txt"
    source.write_text("one==1\n")
    home = tmp_path / "home"
    home.mkdir()
    return ClientEnvironment("sample", home, home / "python", (source,))


def make(environment: ClientEnvironment) -> None:
    """Stands in for venv and pip."""
    environment.interpreter.write_text("")


def test_an_absent_environment_is_refused_with_the_command_that_makes_it(
    environment: ClientEnvironment,
) -> None:
    with pytest.raises(EnvironmentMissing, match="make clients"):
        environment.require()


def test_a_made_environment_is_kept_until_what_it_was_made_from_changes(
    environment: ClientEnvironment,
) -> None:
    assert "made in" in ensure(environment, make)
    assert "current" in ensure(environment, make)
    assert environment.require() == environment.interpreter
    environment.sources[0].write_text("one==2\n")
    with pytest.raises(EnvironmentMissing):
        environment.require()


def test_an_interrupted_environment_does_not_count_as_made(environment: ClientEnvironment) -> None:
    def interrupted(_: ClientEnvironment) -> None:
        raise EnvironmentMissing("pip failed")

    ensure(environment, make)
    environment.sources[0].write_text("one==2\n")
    with pytest.raises(EnvironmentMissing):
        ensure(environment, interrupted)
    environment.sources[0].write_text("one==1\n")
    assert not environment.is_current()


def test_everything_that_is_installed_is_pinned_by_a_hash_and_names_no_registry() -> None:
    for made in PYTHONS:
        pinned = made.sources[0].read_text()
        assert pinned.count("==") <= pinned.count("--hash=sha256:")
        assert "://" not in pinned
    lock = (NODE_PROJECT / "package-lock.json").read_text()
    assert lock.count('"integrity"') == lock.count('"node_modules/')
    assert '"resolved"' not in lock
