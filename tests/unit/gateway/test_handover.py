"""Who of a view's readers has been told how far: everything once and in order, however feeds and readers race."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings as tuned, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hanse.gateway.handover import Budget, Handover, Place


@dataclass(frozen=True)
class Change:
    """A change as the log has it; `life` tells apart what one position was given to before and after a power cut."""

    seq: int
    life: int
    size: int = 10


@dataclass(frozen=True)
class Sign:
    """What is told beside changes."""

    name: str
    state: tuple[Change, ...] = ()
    size: int = 1


@dataclass(eq=False)
class Reader:
    """Somebody, and what it has been told since it came, or since the last reset."""

    group: str
    heard: list[Change]
    place: Place
    epoch: int = 0
    joined: bool = False
    full: bool = False
    gone: bool = False

    def hears(self, what: Change | Sign) -> None:
        if isinstance(what, Change):
            assert not self.heard or self.heard[-1].seq < what.seq, (self.heard, what)
            self.heard.append(what)
        elif what.name == "reset":
            self.heard = []
        else:
            self.heard = list(what.state)


def reader(seq: int = 0, group: str = "a", log: str = "log") -> Reader:
    return Reader(group, [], Place(log, seq))


def opened(count_max: int = 100, bytes_max: int = 10_000, at: int = 0) -> Handover[str, Reader, Change | Sign]:
    handover: Handover[str, Reader, Change | Sign] = Handover(
        lambda one: one.group, count_max, bytes_max, Budget(1_000_000)
    )
    handover.opened()
    handover.arrived(Place("log", at))
    return handover


def tell(handover: Handover[str, Reader, Change | Sign], *seqs: int) -> list[Reader]:
    return [one for seq in seqs for one in handover.told(Change(seq, 0), seq)]


def seqs(told: list[Change | Sign]) -> list[int]:
    return [one.seq for one in told if isinstance(one, Change)]


def test_before_the_view_knows_where_it_is_nobody_joins() -> None:
    handover: Handover[str, Reader, Change | Sign] = Handover(lambda one: one.group, 9, 99, Budget(9))

    assert not handover.join(reader(), Place("log", 0))


@pytest.mark.parametrize(("log", "seq", "epoch"), [("other", 5, 1), ("log", 2, 1), ("log", 9, 0), ("log", 9, 2)])
def test_who_would_miss_something_does_not_join(log: str, seq: int, epoch: int) -> None:
    handover = opened(at=3)
    tell(handover, 5)

    assert not handover.join(reader(), Place(log, seq), epoch)
    assert len(handover) == 0


def test_who_comes_back_gets_what_was_told_meanwhile_and_then_the_rest_with_all_others() -> None:
    handover, one = opened(), reader(2)
    tell(handover, 1, 2, 3, 4)
    handover.out(1_000)
    assert handover.join(one, one.place)

    assert seqs(handover.due(one, 10)) == [3]
    assert seqs(handover.due(one, 10)) == [4]
    assert (handover.due(one, 10), list(handover.level["a"])) == ([], [one])


def test_who_is_ahead_is_not_told_again_what_it_has_read() -> None:
    handover, one = opened(), reader(7)
    assert handover.join(one, one.place, handover.epoch)
    tell(handover, 3, 7, 9)
    handover.out(1_000)

    assert seqs(handover.due(one, 1_000)) == [9]


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

    assert handover.opened() == [(one, Place("log", 7))]
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
    assert not handover.join(slow, Place("log", 1))
    assert handover.join(slow, Place("log", 2))


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
    handover.arrived(Place("log", 3))
    tell(handover, 4, 5)
    handover.out(1_000)
    tell(handover, 6)

    assert handover.join(one, one.place)
    handover.out(1_000)
    assert seqs(handover.due(one, 1_000)) == [5, 6]


def test_views_share_what_they_may_keep() -> None:
    budget = Budget(15)
    views = [Handover[str, Reader, Change](lambda one: one.group, 100, 10_000, budget) for _ in range(2)]
    for view in views:
        view.arrived(Place("log", 0))
        for seq in (1, 2, 3):
            view.told(Change(seq, 0), seq)
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
    """A log, a view's feed and readers of their own, each as far as chance has it."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.handover: Handover[str, Reader, Change | Sign] = Handover(lambda one: one.group, 4, 60, Budget(70))
        self.readers: list[Reader] = []
        self.life: int | None = None  # of the owner that the view's feed is connected to
        self.at = 0
        self.left = 0  # of the log, at the last power cut

    # The owner.

    # What gets the position of a lost change, that the view has told before its feed broke, no cursor tells apart.
    @precondition(lambda self: self.life == self.log.life or self.at <= self.left)
    @rule(count=st.integers(1, 3))
    def write(self, count: int) -> None:
        for _ in range(count):
            self.log.entries.append(Change(self.log.head + 1, self.log.life))

    @rule(count=st.integers(0, 2))
    def trim(self, count: int) -> None:
        for one in self.log.entries[:count]:
            self.log.trimmed = one.seq
        del self.log.entries[:count]

    @rule(lost=st.integers(0, 2))
    def power_cut(self, lost: int) -> None:
        """Its end is lost, and feeds break: the view learns of it when it opens its own again."""
        kept = max(0, len(self.log.entries) - lost)
        del self.log.entries[kept:]
        self.log.life += 1
        self.left = self.log.head

    # The view.

    @precondition(lambda self: self.life != self.log.life)
    @rule()
    def open(self) -> None:
        first = self.handover.place is None
        self.life = self.log.life
        for one, place in self.handover.opened():
            one.joined, one.place = False, place
        if first:
            self.at = self.log.head
            self.handover.arrived(Place("log", self.at))
        elif not self.log.reaches(self.at):
            self.reset()

    def reset(self) -> None:
        self.handover.lost()
        self._told(Sign("reset"), 0)
        self.at = self.log.head
        self._told(Sign("snapshot", tuple(self.log.entries)), 0)
        self.handover.arrived(Place("log", self.at))

    @precondition(lambda self: self.life == self.log.life)
    @rule(count=st.integers(1, 3))
    def feed(self, count: int) -> None:
        if not self.log.reaches(self.at):
            self.reset()
        for one in self.log.after(self.at)[:count]:
            self.at = one.seq
            self._told(one, one.seq)

    def _told(self, what: Change | Sign, seq: int) -> None:
        for one in self.handover.told(what, seq):
            one.gone = True

    @rule()
    def round(self) -> None:
        while told := self.handover.out(25):
            for group, readers in self.handover.level.items():
                for one in list(readers):
                    assert one.group == group
                    for what in told:
                        one.hears(what)
        for one in self.handover.behind():
            self.serve(one)

    def serve(self, one: Reader) -> None:
        while not one.full and (due := self.handover.due(one, 15)):
            for what in due:
                one.hears(what)

    # Readers.

    @precondition(lambda self: len(self.readers) < 6)
    @rule(group=st.sampled_from("ab"), back=st.integers(0, 3))
    def come(self, group: str, back: int) -> None:
        """Somebody comes back with a cursor that it once had of this log."""
        seq = max(self.log.trimmed, self.log.head - back)
        heard = [one for one in self.log.entries if one.seq <= seq]
        self.readers.append(Reader(group, heard, Place("log", seq)))

    @rule(pick=st.integers(0, 5))
    def read_alone(self, pick: int) -> None:
        """A feed of its own, up to now; it is told when it has to begin anew."""
        one = self._waiting(pick)
        if one is None:
            return
        one.epoch = self.handover.epoch
        if self.log.reaches(one.place.seq) and self._is_of_this_life(one):
            for change in self.log.after(one.place.seq):
                one.hears(change)
        else:
            one.heard = list(self.log.entries)
        one.place = Place("log", self.log.head)

    @rule(pick=st.integers(0, 5))
    def join(self, pick: int) -> None:
        one = self._waiting(pick)
        if one is not None and self._is_of_this_life(one):
            one.joined = self.handover.join(one, one.place, one.epoch)
            self.serve(one)

    def _is_of_this_life(self, one: Reader) -> bool:
        """What a power cut lost, and a reader has seen, no cursor can tell: it is another matter."""
        return all(change in self.log.entries or change.seq <= self.log.trimmed for change in one.heard)

    def _waiting(self, pick: int) -> Reader | None:
        waiting = [one for one in self.readers if not one.joined and not one.gone]
        return waiting[pick % len(waiting)] if waiting else None

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

    @rule(pick=st.integers(0, 5))
    def leave(self, pick: int) -> None:
        if self.readers:
            one = self.readers.pop(pick % len(self.readers))
            self.handover.leave(one)

    # What has to hold.

    @precondition(lambda self: self.life is not None)
    @rule()
    def everybody_is_told_everything(self) -> None:
        """With the world at rest, who has joined knows what the log has, from where it began: no gap, nothing twice."""
        if self.life != self.log.life:
            self.open()
        if not self.log.reaches(self.at):
            self.reset()
        while self.log.after(self.at):
            self.feed(3)
            self.round()
        self.round()
        for one in self.readers:
            if one.joined and not one.gone and not one.full:
                begin = one.heard[0].seq if one.heard else self.log.head + 1
                now = [change for change in self.log.entries if change.seq >= begin]
                assert [change for change in one.heard if change.seq > self.log.trimmed] == now

    @invariant()
    def only_so_much_is_kept(self) -> None:
        assert len(self.handover) <= len(self.readers)


TestRaces = Races.TestCase
TestRaces.settings = tuned(max_examples=200, stateful_step_count=40, deadline=None)
