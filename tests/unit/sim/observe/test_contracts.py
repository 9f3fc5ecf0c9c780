"""Only what contracts allow is on the wire."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Protocol, cast

import msgspec
import pytest

from hanse import App, Collection, Contract, Event, Fault, Invalid, NotFound, Resource, Service, World, on, rpc
from hanse.kernel.codec import encode
from hanse.kernel.message import Headers, Kind, Message
from hanse.sim.observe.contracts import RIGHT_MAX
from hanse.sim.plan import Replace
from hanse.sim.setup import Setup
from hanse.sim.transport import SimTransport

Watch = Callable[..., list[str]]
Size = Annotated[int, msgspec.Meta(ge=0)]


class TooHeavy(Fault, detail="{kilos} are too many"):
    kilos: int


class TooOld(Fault, detail="{years} are too many"):
    years: int


class FarTooHeavy(TooHeavy, detail="{kilos} are far too many"):
    pass


class Parcel(Resource):
    size: Size = 0


class Sent(Event):
    size: Size


class Post(Contract, Protocol):
    @rpc(faults=(TooHeavy,))
    async def send(self, size: Size) -> Parcel: ...

    @rpc
    def track(self, count: int) -> AsyncIterator[Size]: ...

    @rpc
    async def ask(self) -> None: ...


class PostService(Service, Post, name="post"):
    parcels: Collection[Parcel]

    async def send(self, size: Size) -> Parcel:
        if size > 100:
            raise FarTooHeavy(size)
        if size > 10:
            raise TooHeavy(size)
        await self.emit(Sent(size=size))
        return await self.parcels.create(Parcel(size=size))

    async def track(self, count: int) -> AsyncIterator[Size]:
        for number in range(count):
            yield number

    async def ask(self) -> None:
        raise TooOld(7)


class Careless(Service, Post, name="post"):
    """Does not look at what it says."""

    async def send(self, size: Size) -> Parcel:
        if size == 1:
            raise TooOld(1)
        if size == 2:
            await self.emit(Sent(size=-2))
        return Parcel(size=-size) if size > 2 else cast("Parcel", [size])

    async def track(self, count: int) -> AsyncIterator[Size]:
        yield -count

    async def ask(self) -> None: ...


class Clerk(Service):
    post: Post
    heard: int = 0

    @rpc
    async def post_it(self, size: int) -> None:
        _ = await self.post.send(size)

    @on(Sent)
    async def hear(self, event: Sent) -> None:
        pass


class NewPost(PostService, name="post"):
    """Answers with more than it used to."""


right = App("post", PostService, Clerk)
careless = App("post", Careless, Clerk)


def test_what_is_said_in_good_order_is_right(watch: Watch) -> None:
    async def story(world: World) -> None:
        post = world.client(Post)
        _ = await post.send(3)
        assert [item async for item in post.track(3)] == [0, 1, 2]
        for size, fault in ((20, TooHeavy), (200, FarTooHeavy)):
            with pytest.raises(fault):
                _ = await post.send(size)
        with pytest.raises(NotFound):
            _ = await world.collection(Parcel).get("nobody's")
        # It lists no faults at all, and says nothing about them by that.
        with pytest.raises(TooOld):
            await post.ask()

    assert watch(right, story) == []


def test_the_story_may_say_what_is_refused(watch: Watch) -> None:
    async def story(world: World) -> None:
        with pytest.raises(Invalid):
            _ = await world.client(Post).send(-1)

    assert watch(right, story) == []


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (0, "post answers post.send 0"),
        (3, "with what its contract does not allow/size: expected 0 or more, got -3"),
        (1, "with too_old, and its contract lists far_too_heavy, too_heavy only; add it to its faults"),
        (2, "post tells of the event sent 0"),
    ],
)
def test_a_service_that_says_what_it_must_not_is_told(watch: Watch, size: int, problem: str) -> None:
    async def story(world: World) -> None:
        try:
            _ = await world.client(Post).send(size)
        finally:
            await world.settle()

    told = watch(careless, story)
    assert told[0].startswith("contracts: ")
    assert problem in "".join(told)


def test_an_item_of_a_stream_is_looked_at(watch: Watch) -> None:
    async def story(world: World) -> None:
        _ = [item async for item in world.client(Post).track(3)]

    told = watch(careless, story)
    assert "post answers post.track" in told[0]
    assert "with what its contract does not allow: expected 0 or more, got -3" in told[0]


def test_what_is_wrong_is_told_also_after_much_that_was_right(watch: Watch) -> None:
    class Tired(PostService, name="post"):
        async def track(self, count: int) -> AsyncIterator[Size]:
            for number in range(count):
                yield number
            yield -1

    async def story(world: World) -> None:
        _ = [item async for item in world.client(Post).track(RIGHT_MAX + 1)]

    [told] = watch(App("post", Tired, Clerk), story)
    assert "expected 0 or more, got -1" in told


def test_a_service_that_calls_with_what_is_not_allowed_is_told(watch: Watch) -> None:
    async def story(world: World) -> None:
        with pytest.raises(Invalid):
            await world.client(Clerk).post_it(-1)

    [told] = watch(right, story)
    assert told.startswith("contracts: clerk calls post.send 0")
    assert told.endswith("with what its contract does not allow/size: expected 0 or more, got -1")


def test_a_fake_is_held_to_the_contract_as_well(watch: Watch) -> None:
    class Fake:
        async def send(self, size: Size) -> Parcel:
            return Parcel(size=-1)

        async def ask(self) -> None: ...

        async def track(self, count: int) -> AsyncIterator[Size]:
            yield count

    async def story(world: World) -> None:
        world.fake(Post, Fake())
        _ = await world.client(Post).send(1)

    told = watch(right, story)
    assert "client answers post.send" in told[0]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (
            Message(Kind.REPLY, "m", "", body=encode(None)),
            "has served post.send m, with arguments that it has to refuse",
        ),
        (Message(Kind.REPLY, "x", "", body=encode(None)), "answers post.send m under the id x"),
        (Message(Kind.FAULT, "m", "", body=encode("no")), "with no fault that anybody could read: expected object"),
        (
            Message(Kind.FAULT, "m", "", headers=Headers(type="too_old"), body=encode({"code": "bad", "text": ""})),
            "refuses post.send m with bad, and counts it as too_old",
        ),
    ],
)
def test_an_answer_that_no_server_of_ours_would_give_is_told(watch: Watch, reply: Message, problem: str) -> None:
    class Rude:
        async def serve(self, message: Message) -> Message:
            return reply

        async def serve_stream(self, message: Message) -> AsyncIterator[Message]:
            yield reply

    async def rude(world: World) -> None:
        world.net.forget("post")
        transport = SimTransport(world.net, world.loop.home)
        transport.listen("post", Rude())
        _ = await transport.request(Message(Kind.CALL, "m", "post.send", 5.0, body=encode({"size": -1})))

    told = watch(right, rude)
    assert problem in "".join(told)


def test_where_versions_meet_one_of_them_has_to_allow_it(watch: Watch) -> None:
    class Parcel2(Resource, collection="parcels"):
        size: int = -1

    class Post2(Contract, Protocol, name="post"):
        @rpc
        async def send(self, size: int) -> Parcel2: ...

    class PostService2(Service, Post2, name="post"):
        parcels: Collection[Parcel2]

        async def send(self, size: int) -> Parcel2:
            return await self.parcels.create(Parcel2(size=-size))

    async def story(world: World) -> None:
        await world.advance("10s")
        answer = await world.client(Post).send(3)
        assert answer.size == -3

    told = watch(
        Setup(app=right, upgrade=App("post", PostService2)), story, plan=(Replace(at=1.0, seconds=2.0, machine="post"),)
    )
    assert [one for one in told if one.startswith("contracts")] == []
