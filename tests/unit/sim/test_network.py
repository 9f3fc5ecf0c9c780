"""The simulated network: what it does to packets, and that no incident changes more than it has to."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, strategies as st

from hanse.sim.chance import Draws
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.network import COPY_SECONDS_MAX, KEEPALIVE_SECONDS, RESEND_SECONDS, Link, Network, Port
from hanse.sim.plan import Delay, Loss, Repeat
from hanse.sim.trace import Trace

NAMES = ("a", "b", "c")


class Ear:
    """Notes what it hears of other ports."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.gone: list[tuple[float, str, int]] = []

    def lost(self, port: Port, /) -> None:
        self.gone.append((self.loop.now, port.name, port.life))


class Net:
    """Machines on a network, and what arrived where."""

    def __init__(self, seed: int = 7) -> None:
        self.loop = Loop(seed)
        self.network = Network(self.loop, Trace(keep=True), seed)
        self.ears: dict[str, Ear] = {}
        self.ports: dict[str, Port] = {}
        self.arrived: list[tuple[float, str, bytes]] = []
        for name in NAMES:
            self.born(name)

    def born(self, name: str) -> Port:
        self.ears[name] = Ear(self.loop)
        port = self.ports[name] = Port(Lane(self.loop, name), self.ears[name])
        self.network.join(port)
        return port

    def note(self, way: str) -> Callable[[bytes], None]:
        return lambda body: self.arrived.append((self.loop.now, way, body))

    def send(self, way: str, body: bytes, *, repeats: bool = False) -> None:
        ports = self.ports
        self.network.send(ports[way[0]], ports[way[1]], "packet", body, self.note(way), repeats=repeats)

    def carry(self, way: str, body: bytes) -> None:
        ports = self.ports
        self.network.carry(ports[way[0]], ports[way[1]], "piece", body, self.note(way))

    def link(self, way: str) -> Link:
        return self.network.link(*way)

    def pass_time(self, seconds: float) -> None:
        self.loop.at(self.loop.now + seconds, self.loop.stop)
        self.loop.run_forever()

    def bodies(self, way: str) -> list[bytes]:
        return [body for _, there, body in self.arrived if there == way]


def loss(share: float) -> Loss:
    return Loss(at=0.0, seconds=1.0, machine="a", share=share)


def delay(most: float, *, reorder: bool = False) -> Delay:
    return Delay(at=0.0, seconds=1.0, machine="a", most=most, reorder=reorder)


def repeat(share: float) -> Repeat:
    return Repeat(at=0.0, seconds=1.0, machine="a", share=share)


COUNT = [b"%d" % n for n in range(200)]


# What goes wrong.


def test_a_cut_goes_one_way() -> None:
    net = Net()
    net.network.cut([net.link("ab")])
    net.send("ab", b"1")
    net.send("ba", b"2")
    net.pass_time(1)
    assert [(way, body) for _, way, body in net.arrived] == [("ba", b"2")]


def test_a_cut_loses_what_is_under_way() -> None:
    net = Net()
    net.send("ab", b"1")
    net.network.cut([net.link("ab")])
    net.pass_time(1)
    net.network.mend([net.link("ab")])
    net.send("ab", b"2")
    net.pass_time(1)
    assert net.bodies("ab") == [b"2"]
    assert net.network.under_way == 0


def test_two_cuts_are_mended_twice() -> None:
    net = Net()
    link = net.link("ab")
    net.network.cut([link])
    net.network.cut([link])
    net.network.mend([link])
    net.send("ab", b"1")
    net.network.mend([link])
    net.network.mend([link])
    net.send("ab", b"2")
    net.pass_time(1)
    assert net.bodies("ab") == [b"2"]


def test_all_heals_at_once() -> None:
    net = Net()
    net.network.loss = 1.0
    for way in ("ab", "ba"):
        net.network.cut([net.link(way), net.link(way)])
        net.link(way).spoil(1.0, 100.0)
    net.network.heal()
    net.send("ab", b"1")
    net.carry("ba", b"2")
    net.pass_time(1)
    assert sorted((way, body) for _, way, body in net.arrived) == [("ab", b"1"), ("ba", b"2")]
    assert net.loop.now == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_packets_gets_lost(share: float) -> None:
    net = Net()
    net.link("ab").disturb(loss(share))
    for body in COUNT:
        net.send("ab", body)
    net.pass_time(1)
    got = net.bodies("ab")
    assert got == [body for body in COUNT if body in got]
    assert abs(len(got) / len(COUNT) - (1 - share)) < 0.1


def test_a_connection_loses_nothing_but_time() -> None:
    net = Net()
    net.link("ab").disturb(loss(0.5))
    for body in COUNT:
        net.carry("ab", body)
    net.pass_time(1)
    assert net.bodies("ab") == COUNT
    assert net.arrived[-1][0] >= RESEND_SECONDS


def test_copies_come_later_and_hold_up_nobody() -> None:
    net = Net()
    net.link("ab").disturb(repeat(1.0))
    for body in COUNT:
        net.send("ab", body, repeats=True)
    net.pass_time(1)
    firsts = list(dict.fromkeys(net.bodies("ab")))
    assert firsts == COUNT
    assert sorted(net.bodies("ab")) == sorted(COUNT * 2)
    assert max(moment for moment, _, _ in net.arrived) <= COPY_SECONDS_MAX + 0.002


def test_packets_come_in_order_however_long_they_take() -> None:
    net = Net()
    net.link("ab").disturb(delay(5.0))
    for body in COUNT:
        net.send("ab", body)
    net.pass_time(10)
    assert net.bodies("ab") == COUNT


def test_packets_overtake_where_they_may() -> None:
    net = Net()
    net.link("ab").disturb(delay(5.0, reorder=True))
    for body in COUNT:
        net.send("ab", body)
        net.carry("ab", body)
    net.pass_time(10)
    got = net.bodies("ab")
    assert sorted(got) == sorted(COUNT * 2)
    assert got != sorted(got, key=COUNT.index)


def test_connections_never_overtake() -> None:
    net = Net()
    net.link("ab").disturb(delay(5.0, reorder=True))
    for body in COUNT:
        net.carry("ab", body)
    net.pass_time(10)
    assert net.bodies("ab") == COUNT


def test_what_is_taken_back_leaves_nothing_behind() -> None:
    link = Link(7, "a", "b")
    incidents: list[Delay | Loss | Repeat] = [loss(0.1), delay(0.3, reorder=True), repeat(0.2), loss(0.7), delay(0.1)]
    for incident in incidents:
        link.disturb(incident)
    assert (link.loss, link.delay, link.repeat, link.reorder) == (0.1 + 0.7, 0.3 + 0.1, 0.2, True)
    link.calm(incidents[1])
    assert (link.delay, link.reorder) == (0.1, False)
    for incident in incidents:
        link.calm(incident)
    assert (link.loss, link.delay, link.repeat) == (0.0, 0.0, 0.0)


def test_what_a_story_spoils_is_beside_the_incidents() -> None:
    link = Link(7, "a", "b")
    link.disturb(loss(0.25))
    link.spoil(0.5, 1.0)
    link.spoil(0.125, 2.0)
    assert (link.loss, link.delay) == (0.375, 2.0)
    link.calm(loss(0.25))
    assert (link.loss, link.delay) == (0.125, 2.0)


# Connections through cuts.


def test_a_connection_resumes_after_a_short_cut_in_order() -> None:
    net = Net()
    link = net.link("ab")
    for n, body in enumerate(COUNT):
        net.carry("ab", body)
        if n == 50:
            net.network.cut([link])
        if n == 150:
            net.pass_time(1)
            net.network.mend([link])
        net.pass_time(0.01)
    net.pass_time(1)
    assert net.bodies("ab") == COUNT
    assert net.ears["a"].gone == net.ears["b"].gone == []


def test_a_connection_breaks_in_a_long_cut_at_both_ends() -> None:
    net = Net()
    net.carry("ab", b"1")
    net.network.cut([net.link("ab")])
    net.carry("ab", b"2")
    net.pass_time(KEEPALIVE_SECONDS + 1)
    net.network.mend([net.link("ab")])
    net.pass_time(1)
    assert net.bodies("ab") == []
    assert net.ears["a"].gone == [(KEEPALIVE_SECONDS, "b", 1)]
    assert net.ears["b"].gone == [(KEEPALIVE_SECONDS, "a", 1)]
    assert net.ears["c"].gone == []
    assert net.network.under_way == 0


def test_a_second_cut_counts_from_its_own_beginning() -> None:
    net = Net()
    link = net.link("ab")
    net.network.cut([link])
    net.pass_time(3)
    net.network.mend([link])
    net.pass_time(1)
    net.network.cut([link])
    net.pass_time(KEEPALIVE_SECONDS - 0.5)
    assert net.ears["a"].gone == []
    net.pass_time(1)
    assert [moment for moment, _, _ in net.ears["a"].gone] == [4 + KEEPALIVE_SECONDS]


def test_a_cut_between_the_mending_and_the_next_try_holds_on() -> None:
    net = Net()
    link = net.link("ab")
    net.network.cut([link])
    net.carry("ab", b"1")
    net.pass_time(1)
    net.network.mend([link])
    net.pass_time(RESEND_SECONDS / 2)
    net.network.cut([link])
    net.pass_time(1)
    assert net.bodies("ab") == []
    net.network.mend([link])
    net.carry("ab", b"2")
    net.pass_time(1)
    assert net.bodies("ab") == [b"1", b"2"]


# Who is there.


def test_who_is_killed_is_missed_and_then_known_to_be_gone() -> None:
    net = Net()
    net.network.listen("things", net.ports["a"])
    net.ports["a"].lane.kill()
    net.network.died(net.ports["a"], dark=False)
    assert net.network.choose("things", "b") is net.ports["a"]
    net.pass_time(2.1)
    assert net.network.choose("things", "b") is None
    assert net.network.services == ["things"]
    assert [ear.gone[0][1:] for ear in (net.ears["b"], net.ears["c"])] == [("a", 1)] * 2
    assert net.ears["b"].gone[0][0] < 0.01


def test_who_is_behind_a_cut_learns_of_a_death_by_silence() -> None:
    net = Net()
    net.network.cut([net.link("ab")])
    net.ports["a"].lane.kill()
    net.network.died(net.ports["a"], dark=False)
    net.pass_time(KEEPALIVE_SECONDS - 0.1)
    assert net.ears["b"].gone == []
    net.pass_time(0.2)
    assert len(net.ears["b"].gone) == 1


def test_who_says_goodbye_is_gone_at_once_and_after_what_it_said() -> None:
    net = Net()
    net.link("ab").disturb(delay(3.0))
    net.network.listen("things", net.ports["a"])
    for body in COUNT:
        net.carry("ab", body)
    net.ports["a"].open = False
    net.network.left(net.ports["a"])
    net.network.left(net.ports["a"])
    assert net.network.choose("things", "b") is None
    net.pass_time(5)
    assert net.bodies("ab") == COUNT
    assert len(net.ears["b"].gone) == 1
    assert net.ears["b"].gone[0][0] >= net.arrived[-1][0]


def test_the_next_life_of_a_machine_is_another_port() -> None:
    net = Net()
    old = net.ports["a"]
    old.lane.kill()
    net.network.died(old, dark=False)
    new = net.born("a")
    net.network.listen("things", new)
    net.pass_time(3)
    assert (old.life, new.life) == (1, 2)
    assert net.network.choose("things", "b") is new
    assert net.ears["a"].gone == []


def test_the_next_life_is_found_where_the_last_one_was() -> None:
    net = Net()
    for name in ("a", "b"):
        net.network.listen("things", net.ports[name])
    net.network.died(net.ports["a"], dark=False)
    net.network.listen("things", new := net.born("a"))
    assert {net.network.choose("things", "c") for _ in range(50)} == {new, net.ports["b"]}


def test_a_service_is_served_by_whoever_says_so() -> None:
    net = Net()
    network, ports = net.network, net.ports
    assert network.choose("things", "c") is None
    for name in ("a", "b", "a"):
        network.listen("things", ports[name])
    assert {network.choose("things", "c") for _ in range(50)} == {ports["a"], ports["b"]}
    network.leave("things", ports["a"])
    network.leave("things", ports["a"])
    assert network.choose("things", "c") is ports["b"]
    network.forget("things")
    assert network.choose("things", "c") is None


def test_the_links_of_a_machine_go_both_ways() -> None:
    net = Net()
    links = net.network.links_of("a", NAMES)
    assert [(link.source, link.peer) for link in links] == [("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")]


# What one incident changes.

Traffic = Sequence[tuple[str, bool]]


def arrivals(traffic: Traffic, spoil: Callable[[Net], None]) -> dict[str, list[tuple[float, bytes]]]:
    """When what arrives on each link, with something wrong."""
    net = Net()
    spoil(net)
    for n, (way, kept) in enumerate(traffic):
        if kept:
            net.carry(way, b"%d" % n)
        else:
            net.send(way, b"%d" % n, repeats=True)
        net.pass_time(0.05)
    net.pass_time(20)
    ways = {way for way, _ in traffic}
    return {way: [(moment, body) for moment, there, body in net.arrived if there == way] for way in ways}


def spoilers() -> list[Callable[[Net], None]]:
    return [
        lambda net: net.network.cut([net.link("ab")]),
        lambda net: net.link("ab").disturb(loss(0.5)),
        lambda net: net.link("ab").disturb(delay(1.0, reorder=True)),
        lambda net: net.link("ab").disturb(repeat(0.5)),
    ]


ways = st.sampled_from(["ab", "ba", "ac", "ca", "bc", "cb"])


@given(st.lists(st.tuples(ways, st.booleans()), max_size=40), st.integers(0, 3))
def test_what_is_wrong_with_one_link_leaves_all_others_as_they_were(traffic: Traffic, which: int) -> None:
    with_it = arrivals(traffic, spoilers()[which])
    without = arrivals(traffic, lambda _: None)
    assert {way: got for way, got in with_it.items() if way != "ab"} == {
        way: got for way, got in without.items() if way != "ab"
    }


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 3))
def test_a_packet_costs_the_same_draws_whatever_is_wrong(kinds: list[bool], which: int) -> None:
    states = list[float]()
    for spoil in (spoilers()[which], lambda _: None):
        net = Net()
        spoil(net)
        for kept in kinds:
            if kept:
                net.carry("ab", b"")
            else:
                net.send("ab", b"", repeats=True)
        net.pass_time(0.1)
        net.network.mend([net.link("ab")])
        net.pass_time(1)
        states.append(net.link("ab").draws.draw())
    assert states[0] == states[1]


def test_a_death_changes_no_later_packet_and_no_later_choice() -> None:
    def later(*, death: bool) -> tuple[list[tuple[float, str, bytes]], list[str], float]:
        net = Net()
        for name in ("a", "b"):
            net.network.listen("things", net.ports[name])
        if death:
            net.network.died(net.born("d"), dark=True)
        for n in range(30):
            net.send("ab", b"%d" % n)
            net.pass_time(0.1)
        chosen = [port.name for _ in range(30) if (port := net.network.choose("things", "c")) is not None]
        return net.arrived, chosen, Draws(7, "notice", "d", 1).draw()

    assert later(death=True) == later(death=False)
