"""A world on another twin: a post office, a broker which all messages go through, and which forgets as it restarts.

It differs from the twin that worlds have by themselves in what brokers differ in: nobody knows who will answer, what
nobody serves at the moment is held for whoever comes, an event that a dead process has taken is handed out again, and a
broker that is gone takes all with it that was under way.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Literal, cast, final

import msgspec
import pytest

from hanse import (
    App,
    Collection,
    DeadlineExceeded,
    Event,
    Fault,
    Misconfigured,
    Resource,
    Service,
    Setup,
    Unavailable,
    UnknownOperation,
    World,
    on,
    policy,
    rpc,
)
from hanse.kernel.message import Kind, Message
from hanse.kernel.settings import NodeSettings
from hanse.mesh.fault import fault_message
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.network import Network, Port
from hanse.sim.plan import Cut, Kill, Plan
from hanse.sim.run import Outcome, run_once
from hanse.sim.simulation import Simulation, Story
from hanse.sim.token import Token
from hanse.sim.trace import Trace
from hanse.sim.twin import Appliance, Medium, Twin
from hanse.testing.transport_broken import RestartTests
from hanse.transport.base import Features, Receiver, Transport, service_of

OFFICE = "office"
AHEAD = 8
RECONNECT_SECONDS = 0.25


class Letter(msgspec.Struct, frozen=True):
    """What goes between an office and a customer, as bytes. A customer is a port: one life of a machine.

    `sender` and `id` name a conversation: who asked, and its count.
    """

    verb: Literal["serve", "leave", "ask", "answer", "nobody", "lost", "more", "end"]
    sender: str = ""
    id: int = 0
    service: str = ""
    message: Message | None = None


_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(Letter).decode


def name_of(port: Port) -> str:
    return f"{port.name}#{port.life}"


@final
class Office:
    """One life of the broker: all that it holds is gone with it."""

    def __init__(self, post: "Post", lane: Lane) -> None:
        self.port = Port(lane, self)
        self.post = post
        self.customers: dict[str, Port] = {}
        self.serving: dict[str, list[str]] = {}
        self.held: dict[str, deque[Letter]] = {}
        self.under_way: dict[tuple[str, int], tuple[str, Letter]] = {}

    def take(self, source: Port, body: bytes) -> None:
        letter = _decode(body)
        self.customers[name_of(source)] = source
        match letter.verb:
            case "serve":
                self.post.known.add(letter.service)
                self.serving.setdefault(letter.service, []).append(name_of(source))
                for waiting in self.held.pop(letter.service, ()):
                    self.ask(waiting)
            case "leave":
                self.serving[letter.service].remove(name_of(source))
            case "ask":
                self.ask(letter)
            case "answer":
                self.answer(letter)
            case _:
                # What an asker says to whoever answers it.
                self.hand(self.under_way.get((letter.sender, letter.id), ("", letter))[0], letter)
                if letter.verb == "end":
                    self.under_way.pop((letter.sender, letter.id), None)

    def ask(self, letter: Letter) -> None:
        assert letter.message is not None
        service = service_of(letter.message.address)
        names = self.serving.get(service)
        if service not in self.post.known:
            self.hand(letter.sender, Letter("nobody", letter.sender, letter.id, ", ".join(sorted(self.post.known))))
        elif not names:
            self.held.setdefault(service, deque()).append(letter)
        else:
            names.append(names.pop(0))
            self.under_way[letter.sender, letter.id] = names[-1], letter
            self.hand(names[-1], letter)
            if self.post.hasty and letter.message.kind is Kind.EVENT:
                self.answer(
                    Letter("answer", letter.sender, letter.id, message=Message(Kind.REPLY, letter.message.id, ""))
                )

    def answer(self, letter: Letter) -> None:
        assert letter.message is not None
        if letter.message.kind is not Kind.ITEM:
            self.under_way.pop((letter.sender, letter.id), None)
        self.hand(letter.sender, letter)

    def hand(self, name: str, letter: Letter) -> None:
        customer = self.customers.get(name)
        if customer is None:
            return
        if letter.verb == "ask" and letter.message is not None and self.post.network.heard is not None:
            self.post.network.heard(letter.sender.partition("#")[0], customer.name, letter.message, None)
        arrive = partial(cast("Customer", customer.end).take, self.port)
        self.post.network.carry(self.port, customer, f"{letter.verb} to {name}", _encode(letter), arrive)

    def lost(self, port: Port, /) -> None:
        """A customer is gone: events that it had taken go to the next, calls have failed."""
        name = name_of(port)
        self.customers.pop(name, None)
        for names in self.serving.values():
            names[:] = [other for other in names if other != name]
        for key, (server, letter) in list(self.under_way.items()):
            assert letter.message is not None
            if letter.sender == name:
                del self.under_way[key]
                self.hand(server, Letter("end", *key))
            elif server == name:
                del self.under_way[key]
                if letter.message.kind is Kind.EVENT:
                    self.ask(letter)
                else:
                    self.hand(letter.sender, Letter("lost", *key))


@final
class Talk:
    """A conversation, as the asker has it."""

    def __init__(self) -> None:
        self.replies = asyncio.Queue[Message | Fault]()

    async def take(self) -> Message:
        reply = await self.replies.get()
        if isinstance(reply, Fault):
            raise reply
        return reply


@final
class Customer:
    """The twin of a client of that broker."""

    features = Features(durable=False, balances=True)

    def __init__(self, post: "Post", lane: Lane) -> None:
        self.port = Port(lane, self)
        self.post = post
        self.lane = lane
        self.office: Port | None = None
        self.receivers: dict[str, Receiver] = {}
        self.talks: dict[int, Talk] = {}
        self.work: dict[tuple[str, int], asyncio.Task[None]] = {}
        self.room: dict[tuple[str, int], asyncio.Semaphore] = {}
        self.count = 0
        post.network.join(self.port)
        self.connect()

    def connect(self) -> None:
        """Go on trying until there is an office."""
        if self.port.alive and not self.found():
            loop = self.post.network.loop
            loop.at(loop.now + RECONNECT_SECONDS, self.connect)

    def found(self) -> bool:
        """Whether there is an office; a new one is told of everything that is served here."""
        process = self.post.office.process
        if self.office is None and process is not None:
            self.office = process.port
            for service in self.receivers:
                self.say(Letter("serve", service=service))
        return self.office is not None

    def trouble(self) -> str:
        return "" if self.port.open and self.found() else "the post office is closed"

    def serving(self, more_than: int = 0) -> int:
        del more_than
        requests = [task for key, task in self.work.items() if key not in self.room]
        coroutines = [cast("Any", task.get_coro()) for task in requests]
        return sum(inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED for coroutine in coroutines)

    async def open(self) -> None:
        self.port.open = True

    async def close(self) -> None:
        self.port.open = False
        self.post.network.left(self.port)
        self.give_up("the transport is closed")

    def listen(self, service: str, receiver: Receiver, /) -> None:
        self.receivers[service] = receiver
        self.say(Letter("serve", service=service))

    def leave(self, service: str, /) -> None:
        self.receivers.pop(service, None)
        self.say(Letter("leave", service=service))

    async def request(self, message: Message, /) -> Message:
        id, talk = await self.begin(message)
        try:
            async with asyncio.timeout(message.timeout or None):
                return await talk.take()
        except TimeoutError:
            raise DeadlineExceeded(message.address) from None
        except asyncio.CancelledError:
            self.say(Letter("end", name_of(self.port), id))
            raise
        finally:
            del self.talks[id]

    async def stream(self, message: Message, /) -> AsyncGenerator[Message]:
        id, talk = await self.begin(message)
        over = False
        try:
            while not over:
                reply = await talk.take()
                over = reply.kind is not Kind.ITEM
                yield reply
                self.say(Letter("more", name_of(self.port), id))
        finally:
            del self.talks[id]
            if not over:
                self.say(Letter("end", name_of(self.port), id))

    async def begin(self, message: Message) -> tuple[int, Talk]:
        if not self.port.open or not self.found():
            await asyncio.sleep(self.post.network.latency_low)
            raise Unavailable("the post office is closed")
        self.count += 1
        talk = self.talks[self.count] = Talk()
        self.say(Letter("ask", name_of(self.port), self.count, message=message))
        return self.count, talk

    def say(self, letter: Letter) -> None:
        if self.office is not None:
            arrive = partial(cast("Office", self.office.end).take, self.port)
            what = f"{letter.verb} {letter.message.address if letter.message else letter.service}"
            self.post.network.carry(self.port, self.office, what, _encode(letter), arrive)

    def take(self, source: Port, body: bytes) -> None:
        del source
        letter = _decode(body)
        key, talk = (letter.sender, letter.id), self.talks.get(letter.id)
        match letter.verb:
            case "ask":
                if letter.message is not None and letter.message.kind is Kind.STREAM:
                    self.room[key] = asyncio.Semaphore(AHEAD)
                work = self.work[key] = self.lane.start(self.handle(letter), letter.service)
                work.add_done_callback(partial(self.done, key), context=self.lane.context)
            case "more" if key in self.room:
                self.room[key].release()
            case "end" if key in self.work:
                self.work[key].cancel()
            case "answer" if talk is not None and letter.message is not None:
                talk.replies.put_nowait(letter.message)
            case "nobody" if talk is not None:
                talk.replies.put_nowait(UnknownOperation(f"nobody serves that; there are {letter.service}"))
            case "lost" if talk is not None:
                talk.replies.put_nowait(Unavailable("who was asked went away"))
            case _:
                # Nobody waits for it any more.
                pass

    def done(self, key: tuple[str, int], work: asyncio.Task[None]) -> None:
        del work
        del self.work[key]
        self.room.pop(key, None)

    async def handle(self, letter: Letter) -> None:
        message = letter.message
        assert message is not None
        receiver = self.receivers.get(service_of(message.address))
        if receiver is None:
            self.answer(letter, fault_message(Unavailable("it is not served here any more"), message.id))
        elif message.kind is not Kind.STREAM:
            self.answer(letter, await receiver.serve(message))
        else:
            async with aclosing(cast("AsyncGenerator[Message]", receiver.serve_stream(message))) as replies:
                async for reply in replies:
                    await self.room[letter.sender, letter.id].acquire()
                    self.answer(letter, reply)

    def answer(self, letter: Letter, reply: Message) -> None:
        heard = self.post.network.heard
        if heard is not None and self.port.alive and letter.message is not None:
            heard(self.port.name, letter.sender.partition("#")[0], reply, letter.message)
        self.say(Letter("answer", letter.sender, letter.id, message=reply))

    def lost(self, port: Port, /) -> None:
        """The office is gone, with all that was under way; there may be another by now."""
        if port is self.office:
            self.give_up("the post office went away")
            self.office = None
            self.connect()

    def give_up(self, why: str) -> None:
        for talk in self.talks.values():
            talk.replies.put_nowait(Unavailable(why))
        for work in self.work.values():
            work.cancel()


@final
class Post:
    """The whole of it: an office, and what is left of it when it restarts, the names of what was ever served."""

    def __init__(self, network: Network, trace: Trace, seed: int, /, *, hasty: bool = False) -> None:
        del seed
        self.network = network
        self.hasty = hasty
        self.known: set[str] = set()
        self.office = Appliance(OFFICE, partial(Office, self), network, trace)
        self.appliances: Mapping[str, Appliance] = {OFFICE: self.office}

    @property
    def idle(self) -> bool:
        process = self.office.process
        return process is None or not any(cast("Office", process).held.values())

    def join(self, lane: Lane, settings: NodeSettings, /) -> Customer:
        del settings
        return Customer(self, lane)

    def forget(self, service: str, /) -> None:
        process = self.office.process
        if process is not None:
            cast("Office", process).serving[service] = []


_medium: type[Medium] = Post
_twin: type[Twin] = Customer


# The world.


class Note(Resource):
    text: str


class Told(Event):
    note_id: str


class Heard(Resource):
    times: int


class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def write(self, text: str) -> Note:
        note = await self.notes.create(Note(text=text))
        await self.emit(Told(note_id=note.id))
        return note

    @rpc
    async def wait(self) -> int:
        await asyncio.sleep(3)
        return 3

    @rpc
    async def count(self, upto: int) -> AsyncIterator[int]:
        for n in range(upto):
            yield n


class Listener(Service):
    heard: Collection[Heard]

    @on(Told)
    async def hear(self, event: Told) -> None:
        await asyncio.sleep(1)
        await self.heard.create(Heard(id=event.note_id, times=1))


app = App("notes", Notes, Listener)
careful = Setup(app=app, transport=Post)
hasty = Setup(app=app, transport=partial(Post, hasty=True))


def tell(story: Story, of: Setup = careful, *, plan: Plan | None = (), profile: str = "calm", seed: int = 0) -> Outcome:
    simulation = Simulation(name="told", story=story, setup=of, profile=profile, seeds=1, seconds=15.0)
    return run_once(simulation, Token(profile=profile, seed=seed, plan=plan), keep=True)


def wrong(outcome: Outcome) -> list[str]:
    return [f"{one.check}: {one.detail}" for one in outcome.violations]


async def busy(world: World) -> None:
    """Write now and then, whatever comes of it."""
    notes = policy(world.client(Notes), timeout="3s")
    world.eventually("all are heard of", lambda: {one.id for one in world.rows(Note)} == {*heard(world)})
    async for n in world.arrivals(rate=2.0):
        try:
            await notes.write(f"{n}")
        except Fault:
            world.sometimes("refused")


def heard(world: World) -> list[str]:
    return [one.id for one in world.rows(Heard)]


# All goes by the office.


def test_every_message_goes_through_the_office() -> None:
    async def story(world: World) -> None:
        note = await world.client(Notes).write("a")
        assert [n async for n in world.client(Notes).count(50)] == list(range(50))
        await world.settle()
        assert heard(world) == [note.id]

    outcome = tell(story)
    assert wrong(outcome) == []
    sent = {(effect.machine, effect.peer) for effect in outcome.effects if effect.kind == "send"}
    assert sent
    assert all(OFFICE in pair for pair in sent)


def test_what_does_not_exist_is_known_at_once() -> None:
    async def story(world: World) -> None:
        with pytest.raises(UnknownOperation, match=r"there are .*notes"):
            await world.medium.join(world.loop.home, NodeSettings()).request(Message(Kind.CALL, "1", "nothing.go"))

    assert wrong(tell(story)) == []


def test_a_fake_takes_the_place_of_a_service() -> None:
    class Fake:
        async def write(self, text: str) -> Note:
            return Note(id="1", text=text.upper())

        async def wait(self) -> int:
            return 0

        async def count(self, upto: int) -> AsyncIterator[int]:
            yield upto

    async def story(world: World) -> None:
        world.fake(Notes, Fake())
        assert (await world.client(Notes).write("a")).text == "A"

    assert wrong(tell(story)) == []


def test_a_call_that_is_given_up_ends_where_it_is_handled() -> None:
    async def story(world: World) -> None:
        machine = world.machines["notes"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await world.client(Notes).wait()
        await asyncio.sleep(0.1)
        assert machine.serving() == 0
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(world.client(Notes).wait())
            await asyncio.sleep(0.1)
            assert (machine.serving(), machine.serving(more_than=1)) == (3, 3)

    assert wrong(tell(story)) == []


# The office is a machine like any other.


def test_a_call_is_held_until_somebody_serves_it() -> None:
    async def story(world: World) -> None:
        world.crash(Notes)
        await asyncio.sleep(3)
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(world.client(Notes).write("a"))
            await asyncio.sleep(1)
            assert not world.medium.idle
            await world.restart(Notes)
        assert writing.result().text == "a"
        assert world.medium.idle

    assert wrong(tell(story)) == []


def test_an_office_that_restarts_has_lost_what_it_held() -> None:
    async def story(world: World) -> None:
        world.crash(Notes)
        await asyncio.sleep(3)
        notes = policy(world.client(Notes), retry=False)
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(refused(notes.write("lost")))
            await asyncio.sleep(1)
            world.crash(OFFICE)
            assert "went away" in await writing
        assert "closed" in await refused(notes.write("too soon"))
        await world.restart(OFFICE)
        await world.restart(Notes)
        await asyncio.sleep(1)
        await notes.write("b")
        assert [note.text for note in world.rows(Note)] == ["b"]

    assert wrong(tell(story)) == []


async def refused(call: Any) -> str:  # noqa: ANN401 - whatever a client gives to await
    with pytest.raises(Unavailable) as told:
        await call
    return told.value.detail


def test_an_office_can_be_broken_as_any_machine() -> None:
    async def story(world: World) -> None:
        notes = policy(world.client(Notes), timeout="30s", retry=True)
        began = world.time
        world.pause(OFFICE, "2s")
        await asyncio.sleep(3)
        world.network.cut(Notes, OFFICE)
        await asyncio.sleep(1)
        world.network.mend(Notes, OFFICE)
        await notes.write("a")
        world.power_cut(OFFICE)
        assert (world.medium.appliances[OFFICE].up, world.medium.appliances[OFFICE].state) == (False, "down")
        await asyncio.sleep(6)
        await world.restart(OFFICE)
        await world.restart(OFFICE)
        await asyncio.sleep(1)
        await notes.write("b")
        assert world.time > began
        world.crash(OFFICE)
        world.crash(OFFICE)

    outcome = tell(story)
    assert wrong(outcome) == []
    office = [effect.kind for effect in outcome.effects if effect.machine == OFFICE]
    lived = [kind for kind in office if kind in ("start", "pause", "kill", "dark")]
    # The last two are the world's, which heals and ends.
    assert lived == ["start", "pause", "dark", "start", "kill", "start", "kill"]


@pytest.mark.parametrize("name", ["client", "notes"])
def test_no_other_machine_has_the_name_of_an_appliance(name: str) -> None:
    class Strange:
        def __init__(self, network: Network, trace: Trace, seed: int, /) -> None:
            post = Post(network, trace, seed)
            self.appliances: Mapping[str, Appliance] = {name: post.office}
            self.idle = True
            self.join = post.join
            self.forget = post.forget

    with pytest.raises(Misconfigured, match=f"the transport has a machine '{name}'"):
        tell(busy, Setup(app=app, transport=Strange))


def test_an_appliance_has_no_environment() -> None:
    async def story(world: World) -> None:
        with pytest.raises(Misconfigured, match="there is no machine 'office'"):
            await world.restart(OFFICE, environment={})

    assert wrong(tell(story)) == []


# Whoever looks on sees as much.


async def restless(world: World) -> None:
    """Break the office while there is much to do."""
    async with asyncio.TaskGroup() as group:
        group.create_task(busy(world))
        for _ in range(5):
            await asyncio.sleep(2 * world.chance.random())
            world.crash(OFFICE)
            await asyncio.sleep(world.chance.random())
            await world.restart(OFFICE)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_with_an_office_that_restarts(seed: int) -> None:
    outcome = tell(restless, seed=seed, plan=None, profile="hostile")
    assert wrong(outcome) == []
    assert outcome.incidents > 0


@pytest.mark.parametrize("seed", range(3))
def test_observers_find_what_an_office_loses_that_says_too_early_that_it_was_taken(seed: int) -> None:
    told = wrong(tell(restless, hasty, seed=seed))
    assert any(line.startswith("effects: ") and "has never" in line for line in told), told


def test_observers_find_handlers_beyond_the_limit() -> None:
    async def story(world: World) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(world.client(Notes).wait())
            await asyncio.sleep(1)
            # As if its node let in more than it says.
            machine = world.machines["notes"]
            node = msgspec.structs.replace(machine.settings.node, calls_max=1)
            machine.settings = msgspec.structs.replace(machine.settings, node=node)

    assert [line.partition(":")[0] for line in wrong(tell(story))] == ["bounds"]


def test_observers_read_the_feeds_by_way_of_the_office() -> None:
    async def story(world: World) -> None:
        await world.client(Notes).write("a")
        await asyncio.sleep(3)

    outcome = tell(story)
    assert wrong(outcome) == []
    assert ("(observer)", OFFICE) in {(effect.machine, effect.peer) for effect in outcome.effects}


def test_one_seed_does_one_thing() -> None:
    plan = (Kill(at=1.0, seconds=1.0, machine="notes"), Cut(at=4.0, seconds=6.0, machines=("notes",), others=(OFFICE,)))
    first, again, other = (tell(restless, seed=seed, plan=plan) for seed in (1, 1, 2))
    assert wrong(first) == []
    assert first.hash == again.hash != other.hash


# What the suite of transports says of it.


@pytest.mark.virtual_time
class TestThroughAnOffice(RestartTests):
    """An office comes back, and everybody goes on by themselves."""

    def setup_method(self) -> None:
        self.posts: list[Post] = []
        self.lanes = 0

    async def join(self) -> Transport:
        if not self.posts:
            trace = Trace()
            network = Network(cast("Loop", asyncio.get_running_loop()), trace, 7)
            self.posts.append(Post(network, trace, 7))
            self.posts[0].office.start()
        self.lanes += 1
        return self.posts[0].join(Lane(self.posts[0].network.loop, f"node-{self.lanes}"), NodeSettings())

    async def restart(self) -> None:
        self.posts[0].office.kill()
        await asyncio.sleep(1.0)
        self.posts[0].office.start()
