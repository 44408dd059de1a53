"""The supervisor keeps exactly one keeper and the wished number of workers, and leaves nobody behind."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.supervisor import ROTATE, Roles, Supervisor, Timing

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20.0


class Supervised:
    """A handle on tests.gateway.supervised: what it told so far, and who lives."""

    def __init__(self, **wish: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.gateway.supervised", json.dumps(wish)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self._output = self.process.stdout
        self._rest = b""

    def next(self) -> list[Any]:
        """The next thing told, whenever it comes."""
        limit = time.monotonic() + PATIENCE
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._output], [], [], max(limit - time.monotonic(), 0))
            assert ready, "the supervisor said nothing more"
            data = os.read(self._output.fileno(), 4096)
            assert data, "the supervisor has ended"
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)

    def expect(self, *told: tuple[str, str]) -> list[int]:
        """Read as many events as given, in any order within them; return their PIDs in the order given."""
        events = [self.next() for _ in told]
        assert sorted((e[0], e[1]) for e in events) == sorted(told), events
        pids = []
        for event, role in told:
            found = next(e for e in events if (e[0], e[1]) == (event, role))
            events.remove(found)
            pids.append(found[2])
        return pids

    def started(self) -> list[int]:
        """PIDs of the keeper and two workers, once all three were started."""
        return self.expect(("started", "keeper"), ("started", "worker"), ("started", "worker"))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def has_ended(pid: int) -> bool:
    """True once a process that is not our child has gone; waits for that as long as is reasonable."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(pid)
        try:
            return bool(select.select([fd], [], [], PATIENCE)[0])
        finally:
            os.close(fd)
    return True


@pytest.fixture
def supervised() -> Iterator[Any]:
    made: list[Supervised] = []

    def start(**wish: Any) -> Supervised:
        made.append(Supervised(**wish))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.wait()
        one._output.close()


def test_replaces_a_worker_that_was_killed_and_leaves_the_others_alone(supervised: Any) -> None:
    one = supervised()
    keeper, first, second = one.started()
    os.kill(first, signal.SIGKILL)
    died, new = one.expect(("died", "worker"), ("started", "worker"))
    assert died == first
    assert new not in (keeper, first, second)
    os.kill(second, 0)
    os.kill(keeper, 0)


def test_stops_every_worker_at_once_when_the_keeper_dies_and_starts_all_anew(supervised: Any) -> None:
    one = supervised(worker="ignore")  # workers that would not go by themselves
    keeper, first, second = one.started()
    os.kill(keeper, signal.SIGKILL)
    assert one.expect(("died", "keeper"))[0] == keeper
    assert set(one.expect(("stopped", "worker"), ("stopped", "worker"))) == {first, second}
    assert one.next() == ["no old keys"]  # nobody remembers any more which requests were opened with them
    assert set(one.started()).isdisjoint({keeper, first, second})


def test_gives_up_when_no_keeper_can_live(supervised: Any) -> None:
    one = supervised(keeper="fail")
    assert one.process.wait(PATIENCE) == 1
    told = [json.loads(line) for line in one._output.read().splitlines()]
    assert told[-1][:2] == ["gave_up", "keeper"]
    assert ["failed", "RuntimeError"] in told
    assert sum(t[:2] == ["started", "keeper"] for t in told) == 5


def test_a_worker_that_cannot_start_is_tried_again_ever_more_slowly(supervised: Any) -> None:
    one = supervised(worker="fail")
    deaths = []
    while len(deaths) < 6:
        if one.next()[:2] == ["died", "worker"]:
            deaths.append(time.monotonic())
    # Waits of 0.2, 0.4, 0.8 and 1.6 s put the sixth at 2 s; the first wait each time, at 0.4 s.
    assert deaths[-1] - deaths[0] > 1.2


def test_stops_workers_and_keeper_when_told_and_leaves_with_status_0(supervised: Any) -> None:
    one = supervised()
    pids = one.started()
    assert one.stop() == 0
    assert all(has_ended(pid) for pid in pids)


def test_kills_a_worker_that_does_not_finish_within_the_drain_time(supervised: Any) -> None:
    one = supervised(worker="ignore", timing={"drain": 0.2})
    pids = one.started()
    began = time.monotonic()
    assert one.stop() == 0
    assert 0.2 <= time.monotonic() - began < PATIENCE / 2
    told = [json.loads(line) for line in one._output.read().splitlines()]
    assert [(event, role, status) for event, role, _, status in told] == [
        ("stopped", "worker", -signal.SIGKILL),
        ("stopped", "worker", -signal.SIGKILL),
        ("stopped", "keeper", 0),  # the books are closed last, and in order
    ]
    assert all(has_ended(pid) for pid in pids)


def test_a_second_signal_ends_the_drain_at_once(supervised: Any) -> None:
    one = supervised(worker="ignore", timing={"drain": 1_000.0})
    pids = one.started()
    one.process.send_signal(signal.SIGINT)
    assert one.stop() == 0
    last = json.loads(one._output.read().splitlines()[-1])
    assert (last[0], last[1], last[3]) == ("stopped", "keeper", 0)
    assert all(has_ended(pid) for pid in pids)


def test_nobody_outlives_a_supervisor_that_was_killed(supervised: Any) -> None:
    one = supervised(worker="ignore")
    pids = one.started()
    one.process.kill()
    assert all(has_ended(pid) for pid in pids)


def test_at_the_end_of_an_epoch_new_workers_start_before_old_ones_are_told_to_stop(supervised: Any) -> None:
    one = supervised(timing={"epoch": 0.5})
    keeper, *old = one.started()
    assert one.next() == ["new keys"]
    new = one.expect(("started", "worker"), ("started", "worker"))
    assert one.next()[0] == "rotated"
    assert set(one.expect(("stopped", "worker"), ("stopped", "worker"))) == set(old)
    assert keeper not in new
    os.kill(keeper, 0)


def test_the_keepers_call_for_new_keys_ends_the_epoch_before_its_time(supervised: Any) -> None:
    one = supervised()
    one.started()
    one.process.send_signal(ROTATE)
    assert one.next() == ["new keys"]
    one.expect(("started", "worker"), ("started", "worker"))
    assert one.next()[0] == "rotated"


def test_a_child_whose_parent_is_gone_already_does_not_go_on() -> None:
    script = "from gateway.process import die_with_parent; die_with_parent(1)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False)
    assert b"Orphaned" in done.stderr
    assert done.returncode == 1


def test_an_epoch_that_ends_while_no_keeper_lives_is_waited_out_asleep() -> None:
    """Nothing is due before the next keeper: the supervisor must not ask for signals without pause."""
    roles = Roles(*[lambda: None] * 4)
    one = Supervisor(
        roles,
        workers=1,
        timing=Timing(epoch=0.0),
        tell=lambda *told: None,
        report=lambda error: None,
        clock=lambda: 100.0,
    )
    one._keeper_due = 103.0
    assert one._seconds_until_due() == 3.0
