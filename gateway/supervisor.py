"""The parent of all processes: it forks, waits and replaces; it serves nothing itself.

Single-threaded and without an event loop, so that fork() is safe. It keeps the enclave's keys, for it must
be able to make any child anew; what a child must not have is taken from it right after the fork, by its
role. A worker that dies is replaced. When the keeper dies, every worker is stopped at once and all start
anew: the promise is that money is never guessed at, so nobody goes on without the one who counts (docs/adr).
Every `epoch` seconds, or when the keeper asks, the serving keys are replaced: new workers start with new
keys, old ones finish what they have.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NoReturn

from enclave.keys import EPOCH
from gateway.process import die_with_parent

STOPPING = frozenset({signal.SIGTERM, signal.SIGINT})
ROTATE = signal.SIGUSR1
"""From the keeper: this epoch's keys have sealed so much that they have to be replaced before their time."""
WATCHED = STOPPING | {signal.SIGCHLD, ROTATE}
QUICK_SECONDS = 2.0
"""A child that lived no longer than this died at once: its successor waits, twice as long each time."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0
KEEPER_TRIES = 5
"""So many keepers may die at once in a row; then the machine's operator has to look."""
KEEPER_STOP_SECONDS = 10.0
LONGEST_SLEEP = 60.0
"""Seconds; bounds how late an epoch can end after the machine was suspended."""

Role = Literal["keeper", "worker"]
Event = Literal["started", "died", "stopped", "gave_up", "rotated"]
Tell = Callable[[Event, Role, int, int], None]
"""Told (event, role, pid, status); status as from os.waitstatus_to_exitcode."""


class NotSingleThreaded(RuntimeError):  # noqa: N818 - a state, not a mishap
    """Forking now could leave a lock held for ever in the child."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What children do. Each runs in its own process until SIGTERM, and returns then; any error ends the
    child.

    `rotate` makes the next epoch's serving keys, which workers forked from then on have. `forget_keys`
    replaces those that sealed requests were opened with, at once: the keeper that remembered them is gone.
    """

    keeper: Callable[[], None]
    worker: Callable[[], None]
    rotate: Callable[[], None]
    forget_keys: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `drain`: for requests under way when told to stop; `retire`: when replaced by a new epoch."""

    drain: float = 30.0
    retire: float = 610.0
    epoch: float = EPOCH.total_seconds()


@dataclass(frozen=True, slots=True)
class Child:
    """A running process and when it must have ended (infinity: not asked to)."""

    pid: int
    role: Role
    started: float
    deadline: float = float("inf")


def boot_clock() -> float:
    """Seconds since boot, counted through suspension: the host owns every other clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Supervisor:
    """Call `run()` once, in a process that has one thread."""

    def __init__(
        self,
        roles: Roles,
        *,
        workers: int,
        timing: Timing,
        tell: Tell,
        report: Callable[[BaseException], None],
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._roles = roles
        self._report = report
        self._wanted = workers
        self._timing = timing
        self._tell = tell
        self._clock = clock
        self._keeper: Child | None = None
        self._workers: list[Child] = []
        self._retiring: list[Child] = []
        self._vacancies: list[float] = []
        self._keeper_due = 0.0
        self._quick: dict[Role, int] = {"keeper": 0, "worker": 0}
        self._epoch_ends = clock() + timing.epoch

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT. Returns the exit status: 0, or 1 when the keeper could not be
        kept."""
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        self._vacancies = [0.0] * self._wanted
        while True:
            self._start_due()
            received = signal.sigtimedwait(WATCHED, self._seconds_until_due())
            if received is not None and received.si_signo in STOPPING:
                self._stop()
                return 0
            if received is not None and received.si_signo == ROTATE:
                self._epoch_ends = self._clock()
            self._reap()
            if self._keeper is None and self._quick["keeper"] >= KEEPER_TRIES:
                self._tell("gave_up", "keeper", 0, 1)
                return 1
            self._end_epoch_if_due()
            self._kill_overdue()

    # --- starting -----------------------------------------------------------------------------------------

    def _start_due(self) -> None:
        now = self._clock()
        if self._keeper is None and now >= self._keeper_due:
            self._keeper = self._fork("keeper", self._roles.keeper)
        if self._keeper is None:
            return
        due = [at for at in self._vacancies if at <= now]
        self._vacancies = [at for at in self._vacancies if at > now]
        self._workers += [self._fork("worker", self._roles.worker) for _ in due]

    def _fork(self, role: Role, work: Callable[[], None]) -> Child:
        require_single_thread()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_child(parent, work, self._report)
        self._tell("started", role, pid, 0)
        return Child(pid, role, self._clock())

    def _seconds_until_due(self) -> float:
        times = [child.deadline for child in self._retiring]
        times += [self._epoch_ends, *self._vacancies] if self._keeper else [self._keeper_due]
        return min(max(min(times) - self._clock(), 0.0), LONGEST_SLEEP)

    # --- ending -------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Notice who has ended. The keeper first: without it, workers are not replaced but stopped."""
        if self._keeper and self._ended(self._keeper):
            self._lose_keeper(self._keeper)
        self._retiring = [child for child in self._retiring if not self._ended(child)]
        for child in [child for child in self._workers if self._ended(child)]:
            self._workers.remove(child)
            self._vacancies.append(self._clock() + self._wait_after(child))

    def _ended(self, child: Child) -> bool:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid == 0:
            return False
        event: Event = "stopped" if child.deadline != float("inf") else "died"
        self._tell(event, child.role, pid, os.waitstatus_to_exitcode(status))
        return True

    def _lose_keeper(self, keeper: Child) -> None:
        self._keeper = None
        self._end(self._workers + self._retiring, signal.SIGKILL)
        self._workers, self._retiring = [], []
        self._roles.forget_keys()
        self._keeper_due = self._clock() + self._wait_after(keeper)
        self._vacancies = [self._keeper_due] * self._wanted

    def _wait_after(self, child: Child) -> float:
        """Seconds before a successor: none, unless this one and those before it died at once."""
        quick = self._clock() - child.started < QUICK_SECONDS
        self._quick[child.role] = self._quick[child.role] + 1 if quick else 0
        return min(FIRST_WAIT * 2.0 ** self._quick[child.role], LONGEST_WAIT) if quick else 0.0

    def _end(self, children: Iterable[Child], number: signal.Signals) -> None:
        """Signal, and for SIGKILL wait until the kernel has let go: their sockets are closed then."""
        for child in children:
            os.kill(child.pid, number)  # never a stranger's: an ended child keeps its PID until waited for
            if number is signal.SIGKILL:
                _, status = os.waitpid(child.pid, 0)
                self._tell("stopped", child.role, child.pid, os.waitstatus_to_exitcode(status))

    def _kill_overdue(self) -> None:
        now = self._clock()
        overdue = [child for child in self._retiring if child.deadline <= now]
        self._retiring = [child for child in self._retiring if child.deadline > now]
        self._end(overdue, signal.SIGKILL)

    def _retire_workers(self, seconds: float) -> None:
        deadline = self._clock() + seconds
        retiring = [Child(child.pid, child.role, child.started, deadline) for child in self._workers]
        self._workers = []
        self._end(retiring, signal.SIGTERM)
        self._retiring += retiring

    def _end_epoch_if_due(self) -> None:
        """New keys, new workers, and only then the old ones' farewell: at no time does nobody accept."""
        now = self._clock()
        if now < self._epoch_ends or self._keeper is None:
            return
        self._epoch_ends = now + self._timing.epoch
        self._roles.rotate()
        old, self._workers = self._workers, []
        self._vacancies = [now] * self._wanted
        self._start_due()
        new, self._workers = self._workers, old
        self._retire_workers(self._timing.retire)
        self._workers = new
        self._tell("rotated", "worker", 0, 0)

    def _stop(self) -> None:
        """Let workers finish within the drain time, then the keeper; a second signal shortens the wait."""
        self._retire_workers(self._timing.drain)
        deadline = self._clock() + self._timing.drain
        while self._retiring and self._keeper and (left := deadline - self._clock()) > 0:
            received = signal.sigtimedwait(WATCHED, left)
            if received is not None and received.si_signo in STOPPING:
                break
            self._reap()
        self._end(self._retiring, signal.SIGKILL)
        self._retiring = []
        if self._keeper:
            self._stop_keeper(self._keeper)

    def _stop_keeper(self, keeper: Child) -> None:
        keeper = Child(keeper.pid, keeper.role, keeper.started, self._clock() + KEEPER_STOP_SECONDS)
        self._end([keeper], signal.SIGTERM)
        while (left := keeper.deadline - self._clock()) > 0:
            if self._ended(keeper):
                return
            signal.sigtimedwait({signal.SIGCHLD}, left)
        self._end([keeper], signal.SIGKILL)


def require_single_thread() -> None:
    """Raise NotSingleThreaded unless the kernel knows exactly one thread of this process, whoever made
    others."""
    if len(os.listdir("/proc/self/task")) != 1:
        raise NotSingleThreaded("the supervisor must not have threads when it forks")


def _be_child(parent: int, work: Callable[[], None], report: Callable[[BaseException], None]) -> NoReturn:
    """Everything a forked child does; never returns. Status 1 tells the supervisor that an error ended it.

    `report` runs in the child and decides how much of the error may be told.
    """
    status = 1
    try:
        die_with_parent(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        work()
        status = 0
    except BaseException as error:  # noqa: BLE001 - a child must never fall back into the supervisor's code
        report(error)
    finally:
        sys.stderr.flush()
        os._exit(status)
