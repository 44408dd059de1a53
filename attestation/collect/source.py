"""Where collateral comes from: from the evidence if that suffices, from the cache, or from a vendor.

One rule holds for all three: nothing is used, and nothing is kept, whose signature does not lead to a root
that we pin, and nothing is preferred to a newer issue that we have seen and that was valid at the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from attestation.collect.http import Answer, Client, Clock, CollateralUnavailable, NotPublished
from attestation.collect.store import Entry, Kept, Store
from attestation.errors import MalformedEvidence
from attestation.model import Collateral

ABSENT_FOR = timedelta(minutes=5)
PAST = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds of something whose signature was checked.

    `order` rises with every newer issue: an evaluation number if there is one, and the time of issue.
    """

    order: tuple[int, datetime]
    valid_from: datetime
    valid_until: datetime

    def covers(self, moment: datetime) -> bool:
        """Whether `moment` (aware) lies in its validity, ends included."""
        return self.valid_from <= moment <= self.valid_until


@dataclass(frozen=True, slots=True)
class Item:
    """One published thing. `name` is safe as a file's name; `what` is for people.

    `read` normalises an answer, `judge` checks its signature and that it is what was asked for; both raise
    MalformedEvidence. A cached copy is used for `fresh_for`, and never beyond its own validity. `lasting`:
    one copy is as good as another, so the sender's own will do; else he would choose the one that suits him.
    """

    name: str
    what: str
    url: str
    read: Callable[[Answer], Kept]
    judge: Callable[[Kept], Standing]
    fresh_for: timedelta
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was had, and what was not and why, for people; each problem begins with a name and a colon."""

    collateral: Collateral
    problems: tuple[str, ...] = ()
    hint: str = "try again later, name a PCCS, or supply the collateral from files"


@dataclass(frozen=True, slots=True)
class _Held:
    """A cached copy whose content was judged again."""

    kept: Kept
    standing: Standing
    fetched_at: datetime


@dataclass(frozen=True, slots=True)
class Source:
    """`at` is when the evidence will be judged. The clock tells how old cached copies are.

    A moment in the past, more than `PAST` ago, is judged by what was valid then: what is published today is
    not. `renew` asks the vendor whatever there is already. `only_valid`: what is not valid at `at` is no use,
    nor is anything in place of what could not be asked for.
    """

    client: Client
    clock: Clock
    at: datetime
    store: Store | None = None
    renew: bool = False
    only_valid: bool = False

    def obtain(self, item: Item, *given: Kept) -> Kept:
        """The thing: one of `given` that suffices, else cached or fetched. Raises CollateralUnavailable."""
        return self.gather(item, *given)[0]

    def gather(self, item: Item, *given: Kept) -> tuple[Kept, ...]:
        """As `obtain`, and behind it whatever else is genuine of `given` and of the vendor's answer.

        An older revocation list may name what a newer one lacks.
        """
        held = self._held(item)
        if not self.renew:
            for one in given:
                if self._suffices(item, one, held):
                    return (one,)
            if held is not None and (self._is_fresh(item, held) or self._was_valid_then(held)):
                return self._newest_first(item, held.kept, given)
            self._refuse_absent(item)
        return self._newest_first(item, self._fetch(item), given)

    def _fetch(self, item: Item) -> Kept:
        try:
            answer = self.client.get(item.url)
        except NotPublished:
            self._remember_absent(item)
            raise
        try:
            kept = item.read(answer)
            standing = item.judge(kept)
        except MalformedEvidence as error:
            raise CollateralUnavailable(f"what came is not it: {error}") from error
        return self._settle(item, kept, standing)

    def _newest_first(self, item: Item, found: Kept, given: Sequence[Kept]) -> tuple[Kept, ...]:
        """A sender's issue if it is newer than the vendor's answer, which a cache on the way may hold back.

        It is not remembered: Intel publishes some issues early, and one sender's would then stand in the way
        of what everybody else is judged by.
        """
        newest, order, others = found, item.judge(found).order, list[Kept]()
        for one, standing in _genuine(item, given):
            if standing.covers(self.at) and standing.order > order:
                others.append(newest)
                newest, order = one, standing.order
            else:
                others.append(one)
        return newest, *others

    def newer_than(self, item: Item, *given: Kept) -> tuple[Kept, ...]:
        """What was seen before, if something genuine in `given` is older than it, and that behind it.

        For when nothing can be fetched: the sender's older issue is not to be what remains. To hand over the
        newer one allows him nothing, since he could have sent that one too.
        """
        held = None if self.only_valid else self._held(item)
        if held is None:
            return ()
        older = [one for one, standing in _genuine(item, given) if standing.order < held.standing.order]
        return (held.kept, *older) if older else ()

    def is_of_use(self, item: Item, kept: Kept) -> bool:
        """Whether something genuine may be handed over: a caching service may keep what ran out long ago."""
        return not self.only_valid or item.judge(kept).covers(self.at)

    def _suffices(self, item: Item, given: Kept, held: _Held | None) -> bool:
        """Genuine, valid at the time in question, not the sender's choice, and not older than what we saw."""
        try:
            standing = item.judge(given)
        except MalformedEvidence:
            return False
        if not standing.covers(self.at) or not (item.lasting or self._is_about_the_past()):
            return False
        if held is None or standing.order >= held.standing.order:
            return True
        return self._is_about_the_past() and not held.standing.covers(self.at)

    def _is_about_the_past(self) -> bool:
        return self.clock() - self.at > PAST

    def _was_valid_then(self, held: _Held) -> bool:
        return self._is_about_the_past() and held.standing.covers(self.at)

    def _held(self, item: Item) -> _Held | None:
        """The cached copy; whatever does not hold is as good as absent, and is fetched again."""
        entry = self.store.read(item.name) if self.store else None
        if entry is None or entry.kept is None:
            return None
        try:
            return _Held(entry.kept, item.judge(entry.kept), entry.fetched_at)
        except MalformedEvidence:
            return None

    def _is_fresh(self, item: Item, held: _Held) -> bool:
        now = self.clock()
        return held.fetched_at <= now < held.fetched_at + item.fresh_for and now <= held.standing.valid_until

    def _settle(self, item: Item, kept: Kept, standing: Standing) -> Kept:
        """Keep what was fetched, unless we have seen a newer issue: then that one, while it is valid."""
        if self.store is None:
            return kept
        with self.store.locked():
            newest = self._held(item)
            if newest is None or standing.order >= newest.standing.order:
                self.store.write(Entry(item.name, self.clock(), kept))
                return kept
        if self.clock() <= newest.standing.valid_until:
            return newest.kept
        raise CollateralUnavailable(
            "what came is older than what was seen before",
            hint="ask another host; if the newer issue was withdrawn, remove it from the cache",
        )

    def _refuse_absent(self, item: Item) -> None:
        """Spare the host a question that it answered minutes ago."""
        entry = self.store.read(_absent(item)) if self.store else None
        if entry and entry.kept is None and entry.fetched_at <= self.clock() < entry.fetched_at + ABSENT_FOR:
            raise NotPublished("the host knew of no such thing minutes ago")

    def _remember_absent(self, item: Item) -> None:
        if self.store is not None:
            self.store.write(Entry(_absent(item), self.clock(), None))


class Attempts:
    """Tries one thing after another, and notes for people what could not be had."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._problems: list[str] = []
        self.is_absent = False

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be had, and why."""
        return tuple(self._problems)

    def note(self, problem: str) -> None:
        """Add what cannot be had from anybody."""
        self._problems.append(problem)

    def obtain(self, item: Item, *given: Kept) -> Kept | None:
        """As `Source.obtain`; if that fails, what is known to be newer than `given`, or None.

        `is_absent` then says whether the host knows of no such thing.
        """
        return next(iter(self.gather(item, *given)), None)

    def gather(self, item: Item, *given: Kept) -> tuple[Kept, ...]:
        """As `Source.gather`, and empty where `obtain` has None."""
        self.is_absent = False
        try:
            found = self._source.gather(item, *given)
        except CollateralUnavailable as reason:
            self.is_absent = isinstance(reason, NotPublished)
            self.note(f"{item.what}: {reason}")
            return self._source.newer_than(item, *given)
        if self._source.is_of_use(item, found[0]):
            return found
        self.note(f"{item.what}: what is published is not valid at that time")
        return ()


def require(condition: bool, otherwise: str) -> None:
    """Raise MalformedEvidence unless it holds."""
    if not condition:
        raise MalformedEvidence(otherwise)


def _genuine(item: Item, given: Sequence[Kept]) -> Iterator[tuple[Kept, Standing]]:
    for one in given:
        try:
            yield one, item.judge(one)
        except MalformedEvidence:
            continue


def _absent(item: Item) -> str:
    """Another file than the thing's own, which remembers the newest issue seen; one for every host asked."""
    return f"{item.name}.absent-{sha256(item.url.encode()).hexdigest()[:16]}"
