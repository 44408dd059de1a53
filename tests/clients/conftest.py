"""One gateway with the real model for the whole client matrix, and that model asked directly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.served import Answer, Served, ask_directly, casemate_dev, model_server


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running `casemate dev` with one worker."""
    with casemate_dev(tmp_path_factory.mktemp("clients") / "state", "--workers", "1") as running:
        yield running


@pytest.fixture(scope="session")
def expected() -> Answer:
    """The model's own answer: same weights, same question, temperature 0, no gateway."""
    with model_server() as url:
        return ask_directly(url)
