"""What a relay could not send, as it was too large, is mended and replayed like any other dead letter."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest
from tests.unit.transport.keeping import BYTES_MAX, Keeping, Medium

from hanse import App, Event, Identity, Node, Service, on, rpc
from hanse.delivery.action import LetterAction, Selection
from hanse.kernel.faults import Conflict, Invalid, TooLarge
from hanse.kernel.message import EVENT, Headers, Message
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.letters import Letters, Waits
from hanse.node.rehearsal import NotInRehearsal

pytestmark = pytest.mark.virtual_time

OPERATOR = Headers(identity=Identity("ada", scopes=frozenset({"deadletters:write"})))
LARGE = "x" * 1_000
LOOKS_MAX = 10_000


class Drawn(Event):
    studio: str
    picture: str


class Studio(Service, events=(Drawn,)):
    @rpc
    async def draw(self, studio: str, pictures: list[str]) -> None:
        for picture in pictures:
            await self.emit(Drawn(studio=studio, picture=picture))

    @on(Drawn, group="studio.copies")
    async def copy(self, drawn: Drawn) -> None:
        SHOWN.append(("copy", drawn.picture))


class Gallery(Service):
    @on(Drawn, key=lambda drawn: drawn.studio, attempts=3)
    async def show(self, drawn: Drawn) -> None:
        SHOWN.append((drawn.studio, drawn.picture))
        if FAILING:
            raise FAILING.pop()


SHOWN: list[tuple[str, str]] = []
FAILING: list[Exception] = []
APP = App("art", Studio, Gallery)


class Narrow(Keeping):
    """Carries what is told only where it is small."""

    def __init__(self) -> None:
        super().__init__(Medium())
        self.carries = 700

    async def request(self, message: Message, /) -> Message:
        if message.kind is EVENT and len(message.body) > self.carries:
            raise TooLarge(f"the message to {message.address}", f"{self.carries} bytes")
        return await super().request(message)


@asynccontextmanager
async def art(settings: Settings | None = None) -> AsyncGenerator[tuple[Node, Narrow, Letters]]:
    """The app, and the dead letters of its studio, for an operator."""
    SHOWN.clear()
    FAILING.clear()
    transport = Narrow()
    async with Node(APP, settings or Settings(), transport=transport) as node:
        with node.context(OPERATOR):
            yield node, transport, node.letters("studio")


async def over(letters: Letters, action: LetterAction) -> LetterAction:
    for _ in range(LOOKS_MAX):
        if action.state != "running":
            return action
        await asyncio.sleep(0.1)
        action = await letters.action(action.id)
    raise AssertionError("it has not come to its end")


async def draw(node: Node, *pictures: str) -> None:
    await node.client(Studio).draw("eve", list(pictures))
    await node.settle()


GALLERY = Selection(group="gallery.show")


async def test_it_is_sent_again_once_it_can_be_and_its_key_goes_on_in_order() -> None:
    async with art() as (node, transport, letters):
        await draw(node, LARGE, "small")
        failed, waiting = (await letters.find(GALLERY)).items
        assert (failed.code, waiting.waits_for) == ("too_large", failed.id)
        with pytest.raises(Waits):
            _ = await letters.replay(Selection(ids=(waiting.id,)))
        SHOWN.clear()
        transport.carries = BYTES_MAX
        action = await over(letters, await letters.replay(GALLERY))
        assert (action.state, action.succeeded) == ("done", 2)
        assert SHOWN == [("eve", LARGE), ("eve", "small")]
        await draw(node, "next")
        assert ("eve", "next") in SHOWN
        assert await letters.count(GALLERY) == 0


async def test_one_that_is_too_large_still_fails_again() -> None:
    async with art() as (node, _, letters):
        await draw(node, LARGE)
        action = await over(letters, await letters.replay(GALLERY))
        assert (action.succeeded, action.failed) == (0, 1)
        [letter] = (await letters.find(GALLERY)).items
        assert (letter.code, letter.attempts) == ("too_large", 2)


async def test_it_is_edited_by_the_contract_and_sent() -> None:
    async with art() as (node, _, letters):
        await draw(node, LARGE)
        [letter] = (await letters.find(GALLERY)).items
        with pytest.raises(Invalid):
            _ = await letters.edit(letter.id, b'{"picture": 7}', patch=True)
        _ = await letters.edit(letter.id, b'{"picture": "cut"}', patch=True)
        with pytest.raises(NotInRehearsal, match=r"it would be sent to on/gallery\.show\.handle"):
            _ = await letters.rehearse(letter.id)
        action = await over(letters, await letters.replay(GALLERY))
        assert (action.succeeded, SHOWN[-1]) == (1, ("eve", "cut"))


async def test_what_its_handler_fails_at_is_tried_and_parked_where_it_is_handled() -> None:
    async with art() as (node, transport, letters):
        await draw(node, LARGE)
        transport.carries = BYTES_MAX
        FAILING[:] = [ValueError("no wall")] * 3
        action = await over(letters, await letters.replay(GALLERY))
        assert (action.succeeded, action.failed, await letters.count(GALLERY)) == (1, 0, 0)
        [parked] = (await node.letters("gallery").find(Selection())).items
        assert (parked.code, parked.attempts) == ("ValueError", 3)


async def test_one_that_the_teller_itself_hears_of_is_handled_once() -> None:
    async with art() as (node, transport, letters):
        await draw(node, LARGE)
        transport.carries = BYTES_MAX
        action = await over(letters, await letters.replay(Selection(topic="drawn")))
        assert action.succeeded == 2
        assert sorted(SHOWN) == [("copy", LARGE), ("eve", LARGE)]


async def test_one_that_a_broker_did_not_take_is_cut_and_published() -> None:
    async with art(Settings(node=NodeSettings(events="broker"))) as (node, transport, letters):
        transport.carries = 2 * BYTES_MAX
        transport.features = msgspec.structs.replace(Narrow.features, bytes_max=0)
        await draw(node, "x" * BYTES_MAX)
        [letter] = (await letters.find(Selection())).items
        assert (letter.group, letter.code) == ("published", "too_large")
        _ = await letters.edit(letter.id, b'{"picture": "cut"}', patch=True)
        action = await over(letters, await letters.replay(Selection()))
        await node.settle()
        assert (action.succeeded, sorted(SHOWN)) == (1, [("copy", "cut"), ("eve", "cut")])


async def test_one_that_nobody_handles_any_more_says_so() -> None:
    async with art() as (node, _, letters):
        await draw(node, LARGE)
        [letter] = (await letters.find(GALLERY)).items
        node.hosted[0].relays.clear()
        with pytest.raises(Conflict, match="nobody handles on/gallery"):
            _ = await letters.rehearse(letter.id)
        action = await over(letters, await letters.replay(GALLERY))
        assert action.failed == 1
        assert "nobody handles" in (await letters.get(letter.id)).line.text
