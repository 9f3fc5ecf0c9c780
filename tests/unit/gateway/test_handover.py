"""Who of a view's readers has been told how far: everything once and in order, however feeds and readers race."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings as tuned, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hanse.gateway.handover import Budget, Handover
from hanse.gateway.place import Place

LOGS = ("log", "other")


@dataclass(frozen=True)
class Change:
    """A change as a log has it; `life` tells apart what one position was given to before and after a power cut."""

    seq: int
    life: int
    log: int = 0
    matches: bool = True
    size: int = 10


@dataclass(frozen=True)
class Sign:
    """What is told beside changes; with the place where it all begins anew, where it does."""

    name: str
    place: Place | None = None
    size: int = 1


@dataclass(eq=False)
class Reader:
    """Somebody: where it began, or was told to begin anew; what it has been told since; its cursor."""

    group: str
    place: Place
    base: Place | None = None
    heard: list[Change] = field(default_factory=list)
    epoch: int = 0
    joined: bool = False
    full: bool = False
    gone: bool = False
    lost: bool = False
    misled: bool = False  # it knows something that a power cut has cost; no cursor can tell: it is another matter

    def __post_init__(self) -> None:
        self.base = self.base or self.place

    def hears(self, what: Change | Sign, place: Place | None) -> None:
        if isinstance(what, Sign):
            self.heard, self.lost = [], what.place is None
            if what.place is not None:
                self.base = self.place = what.place
                self.misled = False
        elif not self.lost and place is not None:
            assert all(one.seq < what.seq for one in self.heard if one.log == what.log), (self.heard, what)
            assert place.covers(self.place), "its cursor goes back"
            assert place.seqs[what.log] == what.seq
            self.heard.append(what)
            self.place = place


def at(*seqs: int, log: str = "log") -> Place:
    return Place((log, *LOGS[1:])[: len(seqs)], seqs)


def reader(*seqs: int, group: str = "a", log: str = "log") -> Reader:
    return Reader(group, at(*seqs or (0,), log=log))


def opened(count_max: int = 100, bytes_max: int = 10_000, *seqs: int) -> Handover[str, Reader, Change | Sign]:
    handover: Handover[str, Reader, Change | Sign] = Handover(
        lambda one: one.group, count_max, bytes_max, Budget(1_000_000)
    )
    handover.opened()
    handover.arrived(at(*seqs or (0,)))
    return handover


def tell(handover: Handover[str, Reader, Change | Sign], *seqs: int) -> list[Reader]:
    return [one for seq in seqs for one in handover.told(Change(seq, 0), at(seq))]


def seqs(told: list[Change | Sign]) -> list[int]:
    return [one.seq for one in told if isinstance(one, Change)]


def due(handover: Handover[str, Reader, Change | Sign], one: Reader, bytes_max: int = 1_000) -> list[int]:
    return seqs([what for what, _ in handover.due(one, bytes_max)])


def test_before_the_view_knows_where_it_is_nobody_joins() -> None:
    handover: Handover[str, Reader, Change | Sign] = Handover(lambda one: one.group, 9, 99, Budget(9))

    assert not handover.join(reader(), at(0))


@pytest.mark.parametrize(("log", "seq", "epoch"), [("other", 5, 1), ("log", 2, 1), ("log", 9, 0), ("log", 9, 2)])
def test_who_would_miss_something_does_not_join(log: str, seq: int, epoch: int) -> None:
    handover = opened(100, 10_000, 3)
    tell(handover, 5)

    assert not handover.join(reader(), at(seq, log=log), epoch)
    assert len(handover) == 0


def test_who_comes_back_gets_what_was_told_meanwhile_and_then_the_rest_with_all_others() -> None:
    handover, one = opened(), reader(2)
    tell(handover, 1, 2, 3, 4)
    handover.out(1_000)
    assert handover.join(one, one.place)

    assert due(handover, one, 10) == [3]
    assert due(handover, one, 10) == [4]
    assert (handover.due(one, 10), list(handover.level["a"])) == ([], [one])


def test_who_is_ahead_is_not_told_again_what_it_has_read() -> None:
    handover, one = opened(), reader(7)
    assert handover.join(one, one.place, handover.epoch)
    tell(handover, 3, 7, 9)
    handover.out(1_000)

    assert due(handover, one, 1_000) == [9]


def test_who_has_read_what_is_about_to_go_out_does_not_get_it_again() -> None:
    handover, one = opened(), reader(1)
    tell(handover, 1)
    handover.join(one, one.place)
    assert handover.due(one, 1_000) == []
    assert handover.level == {}
    handover.out(1_000)

    assert handover.due(one, 1_000) == []
    assert list(handover.level["a"]) == [one]


def test_who_was_ahead_of_a_feed_that_broke_has_to_read_again() -> None:
    handover, one = opened(), reader(7)
    handover.join(one, one.place, handover.epoch)

    assert handover.opened() == [(one, at(7))]
    assert len(handover) == 0


def test_who_takes_nothing_falls_out_of_what_is_kept() -> None:
    handover, slow = opened(count_max=2), reader(0)
    handover.join(slow, slow.place)
    handover.due(slow, 1)
    handover.rest(slow)
    fallen: list[Reader] = []
    for seq in range(1, 5):
        fallen += tell(handover, seq)
        handover.out(1_000)

    assert fallen == [slow]
    assert not handover.join(slow, at(1))
    assert handover.join(slow, at(2))


def test_what_has_not_gone_out_is_kept_whatever_it_weighs() -> None:
    handover, one = opened(count_max=1), reader(0)
    handover.join(one, one.place)
    handover.due(one, 1)
    tell(handover, 1, 2, 3)

    assert seqs(handover.out(1_000)) == [1, 2, 3]
    assert not handover.pending


def test_a_log_that_was_shortened_leaves_no_trace_in_who_may_join() -> None:
    handover, one = opened(count_max=2), reader(4)
    tell(handover, 90, 91)
    handover.lost()
    handover.told(Sign("reset"))
    handover.arrived(at(3))
    tell(handover, 4, 5)
    handover.out(1_000)
    tell(handover, 6)

    assert handover.join(one, one.place)
    handover.out(1_000)
    assert due(handover, one, 1_000) == [5, 6]


def test_who_has_read_what_comes_after_a_loss_is_not_told_what_came_before_it() -> None:
    handover, one = opened(), reader(3)
    tell(handover, 1)
    handover.lost()
    handover.told(Sign("reset"))
    handover.told(Sign("ready", at(3)))
    handover.arrived(at(3))
    assert handover.join(one, one.place)

    assert handover.due(one, 1_000) == []
    assert handover.level == {}
    handover.out(1_000)
    assert handover.due(one, 1_000) == []
    assert list(handover.level["a"]) == [one]


def both(handover: Handover[str, Reader, Change | Sign], *told: tuple[int, int, int]) -> None:
    """Changes of the first or the second log, each with the places in both after it."""
    for log, first, second in told:
        handover.told(Change((first, second)[log], 0, log), at(first, second))
    handover.out(1_000)


def test_who_has_more_of_one_log_is_told_what_it_misses_of_the_other_with_a_cursor_of_its_own() -> None:
    handover, one = opened(100, 10_000, 0, 0), reader(2, 0)
    both(handover, (0, 1, 0), (1, 1, 1), (0, 2, 1), (1, 2, 2))
    assert handover.join(one, one.place)

    told = handover.due(one, 1_000)
    assert [(what.seq, what.log) for what, _ in told if isinstance(what, Change)] == [(1, 1), (2, 1)]
    assert [place and place.cursor for _, place in told] == ["log.2,other.1", None]
    assert list(handover.level["a"]) == [one]


def test_who_is_ahead_in_one_log_is_told_of_the_other_and_is_level_once_the_view_has_come_there() -> None:
    handover, one, lazy = opened(100, 10_000, 0, 0), reader(0, 9), reader(0, 9, group="b")
    for who in (one, lazy):
        assert handover.join(who, who.place, handover.epoch)
        assert handover.due(who, 1_000) == []
    both(handover, (0, 1, 0))
    assert [place and place.cursor for _, place in handover.due(one, 1_000)] == ["log.1,other.9"]
    assert [(who, place.cursor) for who, place in handover.ahead()] == [(one, "log.1,other.9")]
    handover.passed(at(1, 9))

    assert (list(handover.level), handover.late()) == (["a"], [lazy])
    assert [place for _, place in handover.due(lazy, 1_000)] == [at(1, 9)]


def test_who_is_ahead_in_one_log_and_behind_in_the_other_when_the_feed_breaks_has_to_read_both_again() -> None:
    handover, one = opened(100, 10_000, 0, 0), reader(0, 9)
    both(handover, (0, 1, 0), (0, 2, 0), (0, 3, 0))
    handover.join(one, one.place, handover.epoch)
    due(handover, one, 10)

    assert handover.opened() == [(one, at(1, 9))]


def test_views_share_what_they_may_keep() -> None:
    budget = Budget(15)
    views = [Handover[str, Reader, Change](lambda one: one.group, 100, 10_000, budget) for _ in range(2)]
    for view in views:
        view.arrived(at(0))
        for seq in (1, 2, 3):
            view.told(Change(seq, 0), at(seq))
            view.out(1_000)
    assert budget.used <= 30
    for view in views:
        view.close()

    assert budget.used == 0


@dataclass
class Log:
    """The log of an owner that may be killed, and lose the end of what it had."""

    entries: list[Change] = field(default_factory=list)
    trimmed: int = 0
    life: int = 0

    @property
    def head(self) -> int:
        return self.entries[-1].seq if self.entries else self.trimmed

    def after(self, seq: int) -> list[Change]:
        return [one for one in self.entries if one.seq > seq]

    def reaches(self, seq: int) -> bool:
        return self.trimmed <= seq <= self.head


class Races(RuleBasedStateMachine):
    """Two logs, a view's feed and readers of their own, each as far as chance has it."""

    def __init__(self) -> None:
        super().__init__()
        self.logs = [Log(), Log()]
        self.handover: Handover[str, Reader, Change | Sign] = Handover(lambda one: one.group, 4, 60, Budget(70))
        self.readers: list[Reader] = []
        self.lives: list[int] = []  # of the owners that the view's feed is connected to
        self.at = [0, 0]
        self.left = [0, 0]  # of each log, at its last power cut
        self.places: dict[int, Place | None] = {}  # after each thing that was told, by its identity
        self.told: list[Change | Sign] = []
        self.open()

    @property
    def heads(self) -> Place:
        return Place(LOGS, tuple(log.head for log in self.logs))

    @property
    def connected(self) -> bool:
        return self.lives == [log.life for log in self.logs]

    # The owners.

    @rule(which=st.integers(0, 1), count=st.integers(1, 3), matches=st.sampled_from([True, True, False]))
    def write(self, which: int, count: int, matches: bool) -> None:
        log = self.logs[which]
        # What gets the position of a lost change, that the view has told before its feed broke, no cursor tells apart.
        if self.connected or self.at[which] <= self.left[which]:
            for _ in range(count):
                log.entries.append(Change(log.head + 1, log.life, which, matches))

    @rule(which=st.integers(0, 1), count=st.integers(1, 2))
    def trim(self, which: int, count: int) -> None:
        log = self.logs[which]
        for one in log.entries[:count]:
            log.trimmed = one.seq
        del log.entries[:count]

    @rule(which=st.integers(0, 1), lost=st.integers(0, 2))
    def power_cut(self, which: int, lost: int) -> None:
        """Its end is lost, and feeds break: the view learns of it when it opens its own again."""
        log = self.logs[which]
        kept = max(0, len(log.entries) - lost)
        del log.entries[kept:]
        log.life += 1
        self.left[which] = log.head
        for one in self.readers:
            one.misled = one.misled or one.place.seqs[which] > log.head

    # The view.

    @precondition(lambda self: not self.connected)
    @rule()
    def open(self) -> None:
        first = self.handover.place is None
        self.lives = [log.life for log in self.logs]
        for one, place in self.handover.opened():
            one.joined, one.place = False, place
        if first:
            self.at = list(self.heads.seqs)
            self.handover.arrived(self.heads)
        else:
            self.reset_if_lost()

    def reset_if_lost(self) -> None:
        lost = [which for which, log in enumerate(self.logs) if not log.reaches(self.at[which])]
        if lost:
            self.handover.lost()
            self._told(Sign("reset"), None)
            for which in lost:
                self.at[which] = self.logs[which].head
            place = Place(LOGS, tuple(self.at))
            self._told(Sign("ready", place), None)
            self.handover.arrived(place)

    @precondition(lambda self: self.connected)
    @rule(which=st.integers(0, 1), count=st.integers(1, 3))
    def feed(self, which: int, count: int) -> None:
        self.reset_if_lost()
        for one in self.logs[which].after(self.at[which])[:count]:
            self.at[which] = one.seq
            place = Place(LOGS, tuple(self.at))
            if one.matches:
                self._told(one, place)
            else:
                self.handover.passed(place)

    def _told(self, what: Change | Sign, place: Place | None) -> None:
        for one in self.handover.told(what, place):
            one.gone = True
        self.told.append(what)
        self.places[id(what)] = place

    @rule()
    def round(self) -> None:
        while told := self.handover.out(25):
            for group, readers in self.handover.level.items():
                for one in list(readers):
                    assert one.group == group
                    for what in told:
                        one.hears(what, self.places[id(what)])
        for one in self.handover.late():
            self.serve(one)

    def serve(self, one: Reader) -> None:
        while not one.full and (due := self.handover.due(one, 15)):
            for what, own in due:
                one.hears(what, own or self.places[id(what)])

    @rule()
    def beat(self) -> None:
        """Who waits is told how far the logs have come, and may go on from there."""
        if self.handover.pending or self.handover.place is None:
            return
        waiting = [(one, self.handover.place) for readers in self.handover.level.values() for one in readers]
        for one, place in [*waiting, *self.handover.ahead()]:
            assert place.covers(one.place)
            one.place = place

    # Readers.

    @precondition(lambda self: len(self.readers) < 6)
    @rule(group=st.sampled_from("ab"), back=st.tuples(st.integers(0, 3), st.integers(0, 3)), reads=st.booleans())
    def come(self, group: str, back: tuple[int, int], reads: bool) -> None:
        """Somebody comes with a cursor that it once had of these logs, or that they have just given, and may join."""
        places = [max(log.trimmed, log.head - less) for log, less in zip(self.logs, back, strict=True)]
        epoch = self.handover.epoch if back == (0, 0) else 0
        self.readers.append(Reader(group, Place(LOGS, tuple(places)), epoch=epoch))
        waiting = len([one for one in self.readers if not one.joined and not one.gone])
        if reads:
            self.read_alone(waiting - 1)
        self.join(waiting - 1)

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 5))
    def come_back(self, pick: int) -> None:
        """A connection breaks; who had it comes with the last cursor that it was told."""
        joined = [one for one in self.readers if one.joined and not one.lost]
        if joined:
            one = joined[pick % len(joined)]
            if not one.gone:
                self.handover.leave(one)
            one.joined, one.gone, one.full, one.epoch = False, False, False, 0

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 5))
    def read_alone(self, pick: int) -> None:
        """A feed of its own, up to now; it is told when it has to begin anew."""
        one = self._waiting(pick)
        if one is None:
            return
        one.epoch = self.handover.epoch
        if not one.misled and all(map(Log.reaches, self.logs, one.place.seqs)):
            for log, seq in zip(self.logs, one.place.seqs, strict=True):
                one.heard += [change for change in log.after(seq) if change.matches]
        else:
            one.heard, one.base, one.misled = [], self.heads, False
        one.place = self.heads

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 5))
    def join(self, pick: int) -> None:
        one = self._waiting(pick)
        if one is not None and not one.misled:
            one.joined = self.handover.join(one, one.place, one.epoch)
            self.serve(one)

    def _waiting(self, pick: int) -> Reader | None:
        waiting = [one for one in self.readers if not one.joined and not one.gone]
        return waiting[pick % len(waiting)] if waiting else None

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 5), full=st.booleans())
    def take(self, pick: int, full: bool) -> None:
        """A reader takes no more for a while, or more again."""
        joined = [one for one in self.readers if one.joined and not one.gone]
        if joined:
            one = joined[pick % len(joined)]
            one.full = full
            if full:
                self.handover.rest(one)
            else:
                self.serve(one)

    @precondition(lambda self: self.readers)
    @rule(pick=st.integers(0, 5))
    def leave(self, pick: int) -> None:
        if self.readers:
            one = self.readers.pop(pick % len(self.readers))
            self.handover.leave(one)

    # What has to hold.

    @rule()
    def everybody_is_told_everything(self) -> None:
        """With the world at rest, who has joined knows what the logs have, from where it began: no gap, no double."""
        if not self.connected:
            self.open()
        self.reset_if_lost()
        for which, log in enumerate(self.logs):
            while log.after(self.at[which]):
                self.feed(which, 3)
                self.round()
        self.round()
        for one in self.readers:
            if one.joined and not one.gone and not one.full:
                self._knows_all(one)

    def _knows_all(self, one: Reader) -> None:
        assert one.base is not None
        for which, log in enumerate(self.logs):
            heard = [change for change in one.heard if change.log == which and change.seq > log.trimmed]
            assert heard == [change for change in log.after(one.base.seqs[which]) if change.matches]

    @invariant()
    def only_so_much_is_kept(self) -> None:
        assert len(self.handover) <= len(self.readers)


TestRaces = Races.TestCase
TestRaces.settings = tuned(max_examples=300, stateful_step_count=50, deadline=None)
