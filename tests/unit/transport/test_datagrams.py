"""What comes over the network: read, refused, and never a reason to fall over or to grow."""

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from hanse.kernel.host import Host
from hanse.transport.discovery import Announcement
from hanse.transport.members.datagram import (
    DATAGRAM_BYTES_MAX,
    TAKEN_BYTES_MAX,
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
    Refused,
    Span,
    Tell,
    Want,
    encode,
)
from hanse.transport.members.fetch import ASSEMBLIES_MAX, PIECE_BYTES
from hanse.transport.members.machine import Members
from hanse.transport.members.outbox import SENDS_MAX, Outbox
from hanse.transport.members.probes import PROBES_MAX, RELAYED_MAX, Probes
from hanse.transport.members.record import PLACES, Member, Record, Rumour, State, announcement_of, blob_of, digest_of
from hanse.transport.members.rhythm import Rhythm
from hanse.transport.members.roster import MEMBERS_MAX, TOMBS_MAX, Roster
from hanse.transport.members.rumours import Rumours, tells_for

from .lan import Lan, record

HERE = "10.0.0.1:7420"
SOURCE = "10.0.0.2:7420"

places = st.integers(0, PLACES)
names = st.sampled_from(["here", "b", "c", "d" * 128])
records = st.builds(
    Record,
    names,
    st.integers(1, 2**53),
    st.sampled_from([HERE, SOURCE, "", "nonsense", "10.0.0.3:1"]),
    st.binary(min_size=8, max_size=8),
)
rumours = st.builds(Rumour, st.sampled_from(State), records, places)
spans = st.builds(Span, places, places, places, st.integers(0, 2**31 - 1))
blobs = st.one_of(
    st.binary(max_size=50),
    st.builds(blob_of, st.builds(Announcement, names, st.text(max_size=5))),
)
numbers = st.integers(0, 2**53 - 1)


def some(what: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(what, max_size=5).map(tuple)


acts = st.one_of(
    st.builds(Hello, st.booleans(), places, blobs),
    st.builds(Ping, numbers, names, places),
    st.builds(Ack, numbers, places),
    st.builds(Ask, numbers, names, st.sampled_from([HERE, SOURCE, ""])),
    st.builds(Nack, numbers),
    st.just(Tell()),
    st.builds(Compare, some(spans)),
    st.builds(Pull, some(spans)),
    st.builds(Page, places, places, places, some(records)),
    st.builds(Accuse, some(rumours)),
    st.builds(Want, some(names)),
    st.builds(Have, some(blobs)),
    st.builds(
        Part, names, st.binary(min_size=8, max_size=8), st.integers(0, 99), st.integers(0, 99), st.binary(max_size=99)
    ),
)


def members(**options: object) -> Members:
    here = Announcement("here", "tcp://10.0.0.1:1")
    return Members(here, HERE, Host.fixed(wall=0.0, seed=1), **options)  # type: ignore[arg-type]


def frame(act: Act, *rumours: Rumour, sender: Record | None = None) -> bytes:
    told = [encode(rumour) for rumour in rumours]
    return Envelope("").pack(encode(sender or record("b", address=SOURCE)), encode(act), told)


@given(st.binary(max_size=2000))
def test_bytes_of_anybody_raise_nothing(datagram: bytes) -> None:
    machine = members()
    for prefix in (b"", frame(Tell())[:8], frame(Tell())[:12]):
        assert machine.receive(prefix + datagram, SOURCE, 0.0).news == ()
        assert isinstance(Envelope("shop", (b"key",)).open(prefix + datagram), Refused)


@pytest.mark.usefixtures("untraced")
@settings(max_examples=300)
@given(st.lists(st.tuples(records, acts, st.lists(rumours, max_size=4)), max_size=30), st.integers(0, 2**32))
def test_lies_raise_nothing_and_answers_stay_small(told: list[tuple[Record, Act, list[Rumour]]], seed: int) -> None:
    machine = Members(Announcement("here", "tcp://a:1"), HERE, Host.fixed(wall=0.0, seed=seed))
    now = 0.0
    for sender, act, rumours in told:
        now += 0.1
        sends = [
            *machine.receive(frame(act, *rumours, sender=sender), SOURCE, now).sends,
            *machine.tick(now).sends,
        ]
        assert all(len(datagram) <= DATAGRAM_BYTES_MAX for _, datagram in sends)
        assert len(sends) <= 100
    assert machine.leave().sends is not None


@given(records, acts, st.lists(rumours, max_size=4))
def test_what_is_packed_is_opened(sender: Record, act: Act, rumours: list[Rumour]) -> None:
    envelope = Envelope("shop", (b"key" * 50,))
    packed = envelope.pack(encode(sender), encode(act), [encode(rumour) for rumour in rumours])
    if len(packed) <= TAKEN_BYTES_MAX:
        assert envelope.open(packed) == Frame(sender, act, tuple(rumours))


@pytest.mark.parametrize(
    ("datagram", "ours", "why"),
    [
        (b"", False, "another program"),
        (b"NOTIFY * HTTP/1.1\r\n", False, "another program"),
        (b"HNS\x02" + bytes(20), True, "format 02, expected 01"),
        (b"HNS\x01" + bytes(20), False, "another app"),
        (frame(Tell()) + b"\xc0", True, "cannot be read"),
        (frame(Tell())[:-1], True, "cannot be read"),
        (frame(Tell()) + bytes(TAKEN_BYTES_MAX), False, "another program"),
    ],
)
def test_what_is_not_read_is_told_by_its_head(datagram: bytes, why: str, *, ours: bool) -> None:
    refused = Envelope("").open(datagram)
    assert isinstance(refused, Refused)
    assert (refused.ours, why in refused.why) == (ours, True)


def test_one_byte_that_changes_breaks_the_signature() -> None:
    envelope = Envelope("shop", (b"key",))
    packed = envelope.pack(encode(record("a")), encode(Nack(1)))
    for at in range(len(packed)):
        changed = packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]
        assert isinstance(envelope.open(changed), Refused)


def test_fields_of_later_releases_are_passed_over() -> None:
    later = msgspec.msgpack.encode({"instance": "b", "address": "tcp://b:1", "colour": "green"})
    assert announcement_of(later, 3) == Announcement("b", "tcp://b:1", version=3)
    assert announcement_of(b"\xc1") is None


@pytest.mark.usefixtures("untraced")
def test_a_flood_of_names_ends_at_the_limits() -> None:
    machine = members()
    for number in range(MEMBERS_MAX + 100):
        _ = machine.receive(frame(Tell(), sender=record(f"made-up-{number}")), SOURCE, 0.0)
    assert len(machine.roster) == MEMBERS_MAX
    for number in range(TOMBS_MAX + 100):
        gone = Rumour(State.DEAD, record(f"gone-{number}"))
        _ = machine.receive(frame(Tell(), gone, sender=record("made-up-1")), SOURCE, 0.0)
    assert len(machine.roster.tombs) == TOMBS_MAX
    sends = machine.tick(0.2).sends
    assert len(sends) <= 20
    assert all(len(datagram) <= DATAGRAM_BYTES_MAX for _, datagram in sends)


def test_tombs_are_opened_after_an_hour() -> None:
    machine = members()
    _ = machine.receive(frame(Tell(), Rumour(State.LEFT, record("c"))), SOURCE, 0.0)
    _ = machine.tick(3599.0)
    assert len(machine.roster.tombs) == 1
    _ = machine.tick(3600.5)
    assert not machine.roster.tombs


def test_what_waits_is_bounded() -> None:
    host = Host.fixed(wall=0.0, seed=1)
    probes = Probes(Rhythm(), host)
    begun = [probes.begin(f"node-{number}", 0.0) for number in range(PROBES_MAX + 1)]
    relayed = [probes.relay(SOURCE, number, 0.0) for number in range(RELAYED_MAX + 1)]
    assert (begun[-1], relayed[-1]) == (None, None)
    assert None not in (*begun[:-1], *relayed[:-1])
    outbox = Outbox(Envelope(""), Roster())
    outbox.sign(record("here"))
    for _ in range(SENDS_MAX + 1):
        outbox.send(SOURCE, Tell())
    assert len(outbox.taken()) == SENDS_MAX


def test_parts_that_nobody_asked_for_are_dropped() -> None:
    machine = members()
    for number in range(ASSEMBLIES_MAX + 10):
        name = f"node-{number}"
        _ = machine.receive(frame(Tell(), sender=record(name)), SOURCE, 0.0)
        part = Part(name, digest_of(name.encode()), 0, 3, b"x" * PIECE_BYTES)
        for wrong in (
            part,
            msgspec.structs.replace(part, instance="nobody"),
            msgspec.structs.replace(part, digest=bytes(8)),
            msgspec.structs.replace(part, index=3),
            msgspec.structs.replace(part, count=1000),
        ):
            _ = machine.receive(frame(wrong, sender=record(name)), SOURCE, 0.0)
    assert len(machine._fetching._assemblies) == ASSEMBLIES_MAX
    # Whole, but not what the record stands for.
    last = [Part(name, digest_of(name.encode()), index, 3, b"x") for index in range(3)]
    assert not [news for part in last for news in machine.receive(frame(part), SOURCE, 0.0).news]


def test_an_announcement_of_somebody_else_is_not_believed() -> None:
    machine = members()
    blob = blob_of(Announcement("b", "tcp://evil:1"))
    _ = machine.receive(frame(Tell()), SOURCE, 0.0)
    assert not machine.receive(frame(Have((blob,))), SOURCE, 0.0).news


def test_an_announcement_of_another_app_is_not_told() -> None:
    machine = members()
    blob = blob_of(Announcement("b", "tcp://b:1", app="bank"))
    sender = Record("b", 1, SOURCE, digest_of(blob))
    assert not machine.receive(frame(Hello(everybody=False, print=0, blob=blob), sender=sender), SOURCE, 0.0).news


def test_only_who_is_meant_answers_a_ping() -> None:
    machine = members()

    def acks(to: str) -> int:
        sends = machine.receive(frame(Ping(1, to, 0)), SOURCE, 0.0).sends
        opened = [Envelope("").open(datagram) for _, datagram in sends]
        return sum(isinstance(one, Frame) and isinstance(one.act, Ack) for one in opened)

    assert (acks("here"), acks("somebody who had this address before")) == (1, 0)


def test_rumours_are_told_so_often_and_the_least_told_first() -> None:
    told = Rumours()
    first, second = (Rumour(State.ALIVE, record(name)) for name in "ab")
    told.add(first)
    assert told.take(1000, 3) == [encode(first)]
    told.add(second)
    assert told.take(len(encode(second)), 3) == [encode(second)]
    assert sum(len(told.take(1000, 3)) for _ in range(20)) == 2 * (tells_for(3) - 1)
    assert len(told) == 0


def test_of_one_member_only_the_last_rumour_is_told() -> None:
    told = Rumours()
    told.add(Rumour(State.SUSPECT, record("a")))
    told.add(Rumour(State.ALIVE, record("a", 2)))
    assert told.take(1000, 3) == [encode(Rumour(State.ALIVE, record("a", 2)))]


@given(st.sets(st.integers(0, 500), max_size=60), st.sets(st.integers(0, 500), max_size=60))
def test_the_print_of_a_roster_is_that_of_who_is_in_it(came: set[int], left: set[int]) -> None:
    roster, fresh = Roster(), Roster()
    for number in came:
        roster.put(Member.of(record(f"node-{number}", 1)))
        roster.put(Member.of(record(f"node-{number}", 2)))
    for number in left:
        assert (roster.remove(f"node-{number}") is not None) == (number in came)
    for number in sorted(came - left, reverse=True):
        fresh.put(Member.of(record(f"node-{number}", 2)))
    assert roster.print == fresh.print
    whole = roster.span(0, PLACES)
    assert (whole.print, whole.count) == (roster.print, len(came - left))
    parts = roster.split(whole, 16)
    assert sum(part.count for part in parts) == whole.count
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]


def test_whoever_hears_from_nobody_trusts_itself_less() -> None:
    probes = Probes(Rhythm(), Host.fixed(wall=0.0, seed=1))
    for round_ in range(10):
        _ = probes.begin("a", float(round_ * 10))
        _ = probes.failed(round_ * 10 + 9.0)
    assert probes.doubt == 3
    number = probes.begin("a", 200.0)
    assert number is not None
    assert probes.failed(201.0) == []
    assert probes.answered(number) is not None
    assert probes.doubt == 2


def test_those_who_know_the_same_compare_nothing() -> None:
    lan = Lan()
    lan.multicast = False
    _ = lan.grown(30)
    lan.run(1.0)
    assert lan.bytes_sent / lan.sent < 150
