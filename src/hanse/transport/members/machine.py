"""Membership, decided: who is there, by datagrams, ticks and draws that come in, and datagrams and news that go out.

It is SWIM (Das, Gupta, Motivala 2002) with what Lifeguard added (Dadgar, Phillips, Currey 2018), and these of our own:

- A suspicion is a rumour, too: whoever hears it, and does not hear it refuted in time, gives the member up.
      alive -> (no answer by any way) -> suspect -> (not refuted in time) -> dead; or left, when it said goodbye
- Only a member itself counts its version up. Of two rumours about one member the higher version is right; of two with
  the same version the worse, so that who hears that it is dead refutes it by a higher one.
- The dead keep a tomb, so that old news does not bring them back; who tells of them is accused (`accusing`). So both
  sides of a partition that heals find one another, and nobody is given up for it.
- The dead who said no goodbye are greeted now and then, as seeds are (`greeting`): partitions heal with nobody's help.
- All that a member is known by is a record of some 80 bytes; what it says of itself is asked for by its digest, from
  whoever told of it, who passes a record on only when it knows the rest itself.
- Whatever got lost is found when two compare the prints of what they know (`comparing`).

Nothing here waits, logs, or reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hanse.kernel.host import Host
from hanse.transport.discovery import Announcement
from hanse.transport.members.accusing import Accusing
from hanse.transport.members.comparing import Comparing
from hanse.transport.members.datagram import (
    Accuse,
    Ack,
    Act,
    Ask,
    Compare,
    Envelope,
    Frame,
    Have,
    Hello,
    Nack,
    Page,
    Part,
    Ping,
    Pull,
    Tell,
    Want,
)
from hanse.transport.members.fetch import Fetching
from hanse.transport.members.greeting import Greeting
from hanse.transport.members.outbox import Outbox, Send
from hanse.transport.members.own import Own
from hanse.transport.members.probes import Probe, Probes, Relayed
from hanse.transport.members.record import (
    Gone,
    Member,
    News,
    Record,
    Rumour,
    State,
    Tomb,
    announcement_of,
    digest_of,
    place_of,
)
from hanse.transport.members.rhythm import Rhythm
from hanse.transport.members.roster import MEMBERS_MAX, TOMB_SECONDS, Roster
from hanse.transport.members.suspicions import Suspicions

LATE_SECONDS = 0.05
"""A tick that comes later than this has found its process asleep, or busy with something else."""


class Outcome(msgspec.Struct, frozen=True):
    """What came of something.

    Attributes:
        sends: Datagrams, and the addresses that they are for.
        news: What is to be told, in order.
    """

    sends: Sequence[Send] = ()
    news: Sequence[News] = ()


class Members:
    """One member of a cluster.

    Example:
        >>> host = Host.fixed(wall=0.0, seed=1)
        >>> a = Members(Announcement("a", "tcp://a:1"), "10.0.0.1:7420", host)
        >>> b = Members(Announcement("b", "tcp://b:1"), "10.0.0.2:7420", host)
        >>> ends = {"10.0.0.1:7420": a, "10.0.0.2:7420": b}
        >>> sends = [("10.0.0.1:7420", to, what) for to, what in a.seed(["10.0.0.2:7420"], 0.0).sends]
        >>> while sends:
        ...     source, to, what = sends.pop(0)
        ...     outcome = ends[to].receive(what, source, 0.0)
        ...     sends += [(to, other, answer) for other, answer in outcome.sends]
        ...     for news in outcome.news:
        ...         print(to, "hears of", news.instance)
        10.0.0.2:7420 hears of a
        10.0.0.1:7420 hears of b
    """

    def __init__(
        self,
        here: Announcement,
        address: str,
        host: Host,
        *,
        group: str = "",
        keys: Sequence[bytes] = (),
        rhythm: Rhythm | None = None,
    ) -> None:
        """Begin alone.

        Args:
            here: What this member says of itself.
            address: Where it takes datagrams, as others reach it: `host:port`.
            host: Draws.
            group: Members of other groups are passed over, see `Envelope`.
            keys: Sign datagrams, see `Envelope`.
            rhythm: Times; those of a LAN if None.

        Raises:
            Misconfigured: The name of the instance, or what it says of itself, is too long.
        """
        self.roster: Roster = Roster()
        self.envelope: Envelope = Envelope(here.app, keys, group=group)
        self.rhythm: Rhythm = rhythm or Rhythm()
        self._host = host
        self._instance = here.instance
        self._app = here.app
        self._suspicions = Suspicions(self.rhythm)
        self._outbox = Outbox(self.envelope, self.roster)
        self._rumours = self._outbox.rumours
        self._fetching = Fetching(self.roster, self._outbox, host)
        self._comparing = Comparing(self.roster, self._outbox)
        self._own = Own(here.instance, address, self.roster, self._outbox)
        self._greeting = Greeting(address, self._own, self.roster, self._outbox, self.rhythm, host)
        self._accusing = Accusing(self._outbox)
        self._probes = Probes(self.rhythm, host)
        self._news: list[News] = []
        self._ticked_at: float | None = None
        self._sync_at = 0.0
        self._own.say(here, here.version)

    # What happens to it.

    def seed(self, seeds: Sequence[str], now: float, everybody: Sequence[str] = ()) -> Outcome:
        """These are addresses to find others at; they are greeted now, and again and again.

        Args:
            seeds: Of members, or of who may become one.
            now: Of a clock that never goes back.
            everybody: Those of them at which all listen, such as a multicast group.
        """
        self._greeting.know(seeds, everybody, now)
        self._greeting.greet(now)
        return self._outcome()

    def receive(self, datagram: bytes, source: str, now: float) -> Outcome:
        """A datagram came; whatever it is, this raises nothing."""
        frame = self.envelope.open(datagram)
        return self.take(frame, source, now) if isinstance(frame, Frame) else Outcome()

    def take(self, frame: Frame, source: str, now: float) -> Outcome:
        """A datagram came, and was opened by `envelope`."""
        if frame.sender.instance == self._instance:
            self._of_me(Rumour(State.ALIVE, frame.sender), source)
            return self._outcome()
        shy = isinstance(frame.act, Hello) and not self._greeting.answers(frame.act)
        if self._meet(frame, source, shy=shy):
            # Rumours first: an answer that refutes one of them is newer than it.
            for rumour in frame.rumours:
                self._hear(rumour, source, now)
            if not shy:
                self._act(frame, source, now)
            self._accusing.send(source)
            self._fetching.ask(now)
        return self._outcome()

    def tick(self, now: float) -> Outcome:
        """Time has passed: about `rhythm.tick` seconds."""
        self._forgive(now)
        for probe in self._probes.failed(now):
            self._fail(probe, now)
        for number, probe in self._probes.asking(now):
            self._ask_others(number, probe)
        for relayed in self._probes.unanswered(now):
            self._outbox.send(relayed.origin, Nack(relayed.number))
        for instance in self._suspicions.due(now):
            self._bury(self.roster.members[instance].record, State.DEAD, "it did not answer", now)
        self.roster.forget(now)
        wanted = self._probes.choose(self.roster, self._instance, self._suspicions, self._host)
        if wanted is not None:
            self._ping(wanted, now)
        self._fetching.ask(now)
        self._greeting.greet(now)
        if len(self._rumours):
            for member in self.roster.some(self.rhythm.fanout, self._host, self._instance):
                self._outbox.send(member.record.address, Tell())
        return self._outcome()

    def announce(self, here: Announcement) -> Outcome:
        """This member says something else of itself.

        Raises:
            Misconfigured: It is too long.
        """
        self._own.say(here, max(here.version, self._own.record.version + 1))
        self._greeting.changed()
        return self._outcome()

    def suspect(self, instance: str, now: float) -> Outcome:
        """Somebody's connection to a member broke: see whether it lives, quickly."""
        if instance != self._instance and instance in self.roster.members:
            self._ping(instance, now, witnessed=True)
        return self._outcome()

    def leave(self) -> Outcome:
        """Say goodbye."""
        self._own.leaving = True
        self._greeting.goodbye()
        return self._outcome()

    def trouble(self) -> str:
        """What a person has to put right; empty where there is nothing."""
        return self._own.twin

    # What it hears of others.

    def _meet(self, frame: Frame, source: str, *, shy: bool) -> bool:
        """Whoever sends lives, or so it says; whether it is a member."""
        sender = frame.sender
        tomb = self.roster.tombs.get(sender.instance)
        if tomb is not None and sender.version <= tomb.record.version:
            if isinstance(frame.act, Accuse):
                # Each takes the other for dead. To accuse in turn would never end: one refutes, and then the other.
                for rumour in frame.act.rumours:
                    if rumour.record.instance == self._instance:
                        self._of_me(rumour, source)
            elif not shy:
                self._accusing.of(tomb)
                self._accusing.send(source)
            return False
        blob = frame.act.blob if isinstance(frame.act, Hello) else b""
        if shy and not blob and not self._knows(sender):
            # All hear this at once: who asks for the rest is one of a few, and they tell the others.
            return False
        self._alive(sender, source, spread=True)
        if blob:
            self._announced(blob)
        return sender.instance in self.roster.members

    def _knows(self, record: Record) -> bool:
        member = self.roster.members.get(record.instance)
        return member is not None and member.record.digest == record.digest

    def _of_me(self, rumour: Rumour, source: str) -> None:
        if self._own.heard(rumour, source):
            # Whoever is taken for dead is slow, or badly connected: it waits longer before it says so of others.
            self._probes.distrust()

    def _hear(self, rumour: Rumour, source: str, now: float) -> None:
        record = rumour.record
        if record.instance == self._instance:
            self._of_me(rumour, source)
            return
        match rumour.state:
            case State.ALIVE:
                self._alive(record, source, spread=True)
            case State.SUSPECT:
                self._alive(record, source, spread=True)
                self._suspected(record, rumour.by, now)
            case State.DEAD:
                self._doomed(rumour, now)
            case State.LEFT:
                self._bury(record, State.LEFT, "it said goodbye", now)

    def _alive(self, record: Record, source: str, *, spread: bool) -> None:
        """A member lives, somebody says."""
        tomb = self.roster.tombs.get(record.instance)
        known = self.roster.members.get(record.instance)
        if tomb is not None and record.version <= tomb.record.version:
            self._accusing.of(tomb)
            return
        if known is not None and record.version <= known.record.version:
            return
        if known is None:
            if len(self.roster) >= MEMBERS_MAX:
                return
            self._probes.met(record.instance, self._host)
        member = Member.of(record, known)
        self.roster.put(member)
        self._suspicions.clear(record.instance)
        if not member.whole:
            self._rumours.drop(record.instance)
            self._fetching.want(record.instance, source, spread=spread)
        elif spread:
            self._rumours.add(Rumour(State.ALIVE, record))

    def _announced(self, blob: bytes) -> None:
        """Somebody's announcement came: it is told, if it is the one that its record stands for."""
        found = announcement_of(blob)
        member = self.roster.members.get(found.instance) if found is not None else None
        if found is None or member is None or member.whole or digest_of(blob) != member.record.digest:
            return
        record = member.record
        self.roster.put(msgspec.structs.replace(member, told=record.digest, blob=blob))
        wanted = self._fetching.drop(record.instance)
        if wanted is not None and wanted.spread and record.instance not in self._suspicions:
            self._rumours.add(Rumour(State.ALIVE, record))
        if found.app == self._app:
            self._news.append(msgspec.structs.replace(found, version=record.version))

    def _suspected(self, record: Record, by: int, now: float) -> None:
        """Somebody suspects a member."""
        member = self.roster.members.get(record.instance)
        if member is None or record.version < member.record.version:
            return
        if self._suspicions.heard(record.instance, by, len(self.roster) - 2, now):
            self._rumours.add(Rumour(State.SUSPECT, member.record, by))

    def _doomed(self, rumour: Rumour, now: float) -> None:
        """Somebody has given a member up."""
        record = rumour.record
        member = self.roster.members.get(record.instance)
        if member is None or self._suspicions.named(record.instance):
            self._bury(record, State.DEAD, "it did not answer others", now)
        elif record.version >= member.record.version and self._suspicions.warned(record.instance, now):
            self._rumours.add(rumour)

    def _bury(self, record: Record, state: State, why: str, now: float) -> None:
        """A member has gone."""
        instance = record.instance
        member, tomb = self.roster.members.get(instance), self.roster.tombs.get(instance)
        known = member.record if member else tomb.record if tomb else None
        # At the same version, what a tomb says stands.
        if known is not None and record.version < known.version + (member is None):
            return
        self.roster.remove(instance)
        self.roster.bury(Tomb(record, state is State.LEFT, now + TOMB_SECONDS))
        self._suspicions.clear(instance)
        self._fetching.drop(instance)
        self._probes.drop(instance)
        if member is None:
            # Nobody here to take leave of: that others hear of it is the care of those who knew it.
            return
        self._rumours.add(Rumour(state, record))
        if member.told:
            self._news.append(Gone(instance, why))

    # What it is asked.

    def _act(self, frame: Frame, source: str, now: float) -> None:
        match frame.act:
            case Ping(number, to, theirs):
                if to == self._instance:
                    self._outbox.send(source, Ack(number, self.roster.print), self._doubts_of(frame.sender.instance))
                    self._differ(theirs, source, now)
            case Ack(number, theirs):
                self._answered(number, theirs, source, now)
            case Ask(number, to, address):
                own = self._probes.relay(source, number, now)
                if own is not None:
                    self._outbox.send(address, Ping(own, to, self.roster.print), self._doubts_of(to))
            case Nack(number):
                self._probes.nack(number)
            case Accuse(rumours):
                for rumour in rumours:
                    self._accused(rumour, source, now)
            case act:
                self._exchange(act, source)

    def _exchange(self, act: Act, source: str) -> None:
        """Two tell each other what they know."""
        match act:
            case Hello():
                if act.print != self.roster.print:
                    self._comparing.begin(source)
            case Compare(spans):
                self._comparing.answer(spans, source)
            case Pull(spans):
                self._comparing.serve(spans, source)
            case Page():
                self._read(act, source)
            case Want(instances):
                self._fetching.answer(instances, source)
            case Have(blobs):
                for blob in blobs:
                    self._announced(blob)
            case Part():
                self._announced(self._fetching.assemble(act) or b"")
            case _:
                pass

    def _answered(self, number: int, theirs: int, source: str, now: float) -> None:
        match self._probes.answered(number):
            case Probe():
                self._differ(theirs, source, now)
            case Relayed() as relayed:
                self._outbox.send(relayed.origin, Ack(relayed.number, theirs))
            case None:
                pass

    def _differ(self, theirs: int, source: str, now: float) -> None:
        """Compare with a member that knows something else, unless that was done just now."""
        if theirs != self.roster.print and now >= self._sync_at:
            self._sync_at = now + self.rhythm.sync
            self._comparing.begin(source)

    def _read(self, page: Page, source: str) -> None:
        for record in page.records:
            if record.instance == self._instance:
                self._of_me(Rumour(State.ALIVE, record), source)
            else:
                # Not to be passed on: whoever lacks it finds that out by comparing.
                self._alive(record, source, spread=False)
        self._comparing.turn(page, source)

    def _accused(self, rumour: Rumour, source: str, now: float) -> None:
        """Somebody heard that a member has gone which lives, as far as is known here: ask it."""
        record = rumour.record
        member = self.roster.members.get(record.instance)
        if rumour.state is State.LEFT or record.instance == self._instance:
            self._hear(rumour, source, now)
        elif member is not None and record.version >= member.record.version:
            self._ping(record.instance, now, first=[rumour])

    # What it does by itself.

    def _forgive(self, now: float) -> None:
        """Time that this process lost, because it was stopped or busy, is nobody else's fault."""
        late = 0.0 if self._ticked_at is None else now - self._ticked_at - self.rhythm.tick
        self._ticked_at = now
        if late > LATE_SECONDS:
            self._probes.shift(late)
            self._suspicions.shift(late)
        if late > self.rhythm.tick:
            self._probes.distrust()

    def _ping(self, instance: str, now: float, *, witnessed: bool = False, first: Sequence[Rumour] = ()) -> None:
        number = self._probes.begin(instance, now, witnessed=witnessed)
        if number is not None:
            address = self.roster.members[instance].record.address
            rumours = first or self._doubts_of(instance)
            self._outbox.send(address, Ping(number, instance, self.roster.print), rumours)

    def _doubts_of(self, instance: str) -> list[Rumour]:
        """What a member has to hear first: that it is suspected, so that it can refute that."""
        if instance not in self._suspicions:
            return []
        return [Rumour(State.SUSPECT, self.roster.members[instance].record, place_of(self._instance))]

    def _ask_others(self, number: int, probe: Probe) -> None:
        relays = self.roster.some(self.rhythm.relays, self._host, self._instance, probe.instance)
        address = self.roster.members[probe.instance].record.address
        # Whoever is alone with it asks nobody, once.
        probe.asked = max(1, len(relays))
        for relay in relays:
            self._outbox.send(relay.record.address, Ask(number, probe.instance, address))

    def _fail(self, probe: Probe, now: float) -> None:
        record = self.roster.members[probe.instance].record
        self._suspected(record, place_of(self._instance), now)
        if probe.witnessed:
            self._suspicions.hurry(probe.instance)
        # It is told at once: it may have been busy, and live.
        self._outbox.send(record.address, Tell(), self._doubts_of(probe.instance))

    def _outcome(self) -> Outcome:
        news, self._news = self._news, []
        return Outcome(self._outbox.taken(), news)
