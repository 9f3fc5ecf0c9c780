"""Retries, events under way, handlers and packets stay within their bounds."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from hanse import App, Event, Fault, Service, World, on, rpc
from hanse.delivery.relay import WINDOW_MAX
from hanse.kernel.codec import encode
from hanse.kernel.message import Headers, Kind, Message
from hanse.kernel.settings import NodeSettings, Settings
from hanse.sim.observe.bounds import PACKETS_MAX
from hanse.sim.setup import STORE, Setup
from hanse.sim.transport import SimTransport

Watch = Callable[..., list[str]]


class Rang(Event):
    pass


class Bell(Service):
    @rpc(idempotent=True)
    async def ring(self) -> None:
        await asyncio.sleep(1.0)

    @on(Rang)
    async def hear(self, event: Rang) -> None:
        await asyncio.sleep(10.0)


app = App("bell", Bell)
narrow = Setup(app=app, settings=Settings(node=NodeSettings(store=STORE, calls_max=20)))


def call(id: str, attempt: int = 1) -> Message:
    """One try of a call."""
    return Message(Kind.CALL, f"caller-{id}", "bell.ring", 5.0, Headers(attempt=attempt), encode({}))


def event(id: str) -> Message:
    """One delivery of an event."""
    body = encode({"op": "emitted", "name": "rang", "after": b"{}"})
    return Message(Kind.EVENT, id, "on/bell.hear.handle", 5.0, body=body)


async def say(world: World, *messages: Message) -> None:
    """Have a client of the test's own say something, and wait for the answers."""
    transport = SimTransport(world.net, world.loop.home)
    async with asyncio.TaskGroup() as group:
        for message in messages:
            _ = group.create_task(say_one(transport, message))


async def say_one(transport: SimTransport, message: Message) -> None:
    with suppress(Fault):
        _ = await transport.request(message)


@pytest.mark.parametrize("seed", range(6))
def test_clients_of_ours_keep_to_their_budget_on_bad_days(watch: Watch, seed: int) -> None:
    async def ring(world: World) -> None:
        with suppress(Fault):
            await world.client(Bell).ring()

    async def story(world: World) -> None:
        async with asyncio.TaskGroup() as group:
            async for _ in world.arrivals(rate=20.0):
                _ = group.create_task(ring(world))

    assert watch(narrow, story, plan=None, profile="hostile", seed=seed) == []


def test_a_call_that_is_tried_too_often_is_told(watch: Watch) -> None:
    told = watch(app, lambda world: say(world, *(call("a", attempt) for attempt in range(1, 8))))
    [one] = told
    assert one == "bounds: client tries bell.ring caller-a for the time 5; expected 3 retries at most"


def test_a_call_that_is_repeated_under_one_attempt_is_counted_as_well(watch: Watch) -> None:
    told = watch(app, lambda world: say(world, *(call("a") for _ in range(5))))
    assert "for the time 5" in told[0]


def test_retries_that_nobody_pays_for_are_told_once(watch: Watch) -> None:
    told = watch(app, lambda world: say(world, *(call(str(number), 2) for number in range(40))))
    [one] = told
    assert one.startswith("bounds: client retries bell.ring caller-2")
    assert one.endswith("has overdrawn its budget by 10.8; expected at most 10 and one for each 10 calls")


def test_many_calls_are_no_retries(watch: Watch) -> None:
    assert watch(app, lambda world: say(world, *(call(str(number)) for number in range(900)))) == []


def test_calls_of_long_ago_are_forgotten(watch: Watch) -> None:
    async def story(world: World) -> None:
        for start in range(0, 10_100, 505):
            await say(world, *(call(str(number)) for number in range(start, start + 505)))

    assert watch(app, story) == []


def test_more_events_than_a_window_holds_are_told(watch: Watch) -> None:
    told = watch(app, lambda world: say(world, *(event(str(number)) for number in range(WINDOW_MAX + 9))))
    bounds = [one for one in told if one.startswith("bounds")]
    most = f"{WINDOW_MAX + 1} events under way to on/bell.hear.handle; expected {WINDOW_MAX}"
    assert bounds[0] == f"bounds: client has {most}"


def test_more_handlers_than_a_node_may_run_are_told(watch: Watch) -> None:
    async def story(world: World) -> None:
        node = world.machines["bell"].node
        assert node is not None
        # A server that forgot its limit.
        node._server._calls_max = 1_000
        await say(world, *(call(str(number)) for number in range(30)))

    [told] = watch(narrow, story)
    assert told == "bounds: bell runs 29 handlers at once; expected 20 at most"


def test_a_flood_of_packets_is_told_once(watch: Watch) -> None:
    async def story(world: World) -> None:
        world.net.under_way += PACKETS_MAX
        await say(world, *(call(str(number)) for number in range(30)))
        world.net.under_way -= PACKETS_MAX

    [told] = watch(app, story)
    assert told == f"bounds: {PACKETS_MAX + 1} packets are under way at once; expected {PACKETS_MAX} at most"
