"""Nothing of a prompt or an answer stays anywhere (DESIGN section 5), and each search finds what was planted.

The planted text is in the model ids, which are no secret: it passes through the same files, log, books,
keeper traffic and memory as a request does, and is found there by the same search in the same run.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.canary import find
from tests.stories.aftermath import Aftermath, run

EVENTS = {"Served", "Fault", "Insecure", "Supervised"}
PLACES = ("files", "temporary files", "log", "output", "ledger", "traffic")
CONTROLLED = ("files", "log", "ledger", "traffic")


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Aftermath:
    """Played once; each test looks at one place."""
    return asyncio.run(run(tmp_path_factory.mktemp("canary"), print))


@pytest.fixture
def readable(after: Aftermath) -> Aftermath:
    """For what is decided by reading other processes' memory."""
    if after.unreadable:
        pytest.skip(after.unreadable)
    return after


def test_every_request_ended_as_it_should(after: Aftermath) -> None:
    wrong = [(seen.shot.name, seen.status) for seen in after.seen if seen.status not in seen.shot.statuses]
    assert not wrong
    assert len(after.seen) > 150


def test_the_canary_came_back_where_the_provider_repeats_it_and_nowhere_else(after: Aftermath) -> None:
    wrong = [
        seen.shot.name
        for seen in after.seen
        if seen.shot.echoed is not None and bool(find(after.canary, seen.body, "answer")) != seen.shot.echoed
    ]
    assert not wrong
    assert sum(bool(seen.shot.echoed) for seen in after.seen) > 60


def test_no_header_of_an_answer_and_no_answer_to_junk_repeats_anything(after: Aftermath) -> None:
    assert not [seen.shot.name for seen in after.seen if find(after.canary, seen.head.encode(), "headers")]
    assert not [name for name, answer in after.junk.items() if find(after.canary, answer, "answer")]


@pytest.mark.parametrize("place", PLACES)
def test_nothing_of_it_is_left(after: Aftermath, place: str) -> None:
    assert after.left[place] == []


@pytest.mark.parametrize("place", CONTROLLED)
def test_what_was_planted_is_found_by_the_same_search(after: Aftermath, place: str) -> None:
    assert after.planted_left[place]


def test_the_log_holds_nothing_but_its_own_events(after: Aftermath) -> None:
    assert {event.get("event") for event in after.log} == EVENTS - {"Fault"}
    assert all("text" not in event for event in after.log)


def test_while_requests_are_in_flight_their_text_is_in_the_memory_of_workers_alone(
    readable: Aftermath,
) -> None:
    assert readable.in_flight["worker"]
    assert readable.in_flight["keeper"] == readable.in_flight["supervisor"] == []


@pytest.mark.parametrize("role", ["worker", "keeper", "supervisor"])
def test_once_responses_have_ended_and_connections_closed_no_memory_holds_it(
    readable: Aftermath, role: str
) -> None:
    assert readable.memory[role] == []
    assert readable.planted_memory[role]


def test_no_memory_holds_the_api_key_of_a_request_that_has_ended(readable: Aftermath) -> None:
    assert readable.keys_in_memory == {"supervisor": [], "keeper": [], "worker": []}


def test_a_process_that_aborts_in_the_middle_of_a_request_leaves_no_core(after: Aftermath) -> None:
    assert {tuple(line.split()[4:6]) for line in after.core_limits} == {("0", "0")}
    ends = {event["pid"]: event["status"] for event in after.log if event.get("what") == "died"}
    assert [ends[pid] for pid in after.aborted] == [-6, -6]
