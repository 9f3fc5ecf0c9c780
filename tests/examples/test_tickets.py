"""The tickets in one process: what is refused, what is undone, and what one reference finds."""

from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

import httpx2 as httpx
import pytest

from hanse import Headers, Node, NotFound, Settings, Unauthenticated, policy
from hanse.delivery.action import Selection
from hanse.kernel.settings import ServiceSettings

Settle = dict[str, object]

EMPTY = "4000000000000002"
ADA = "ada@example.org"


class Theatre:
    """The example's names, a node that runs it, and a show that is on."""

    def __init__(self, names: ModuleType, node: Node) -> None:
        self.names: Any = names
        self.node = node
        self.users: Any = node.client(names.Users)
        self.bookings: Any = node.client(names.Bookings)
        self.office: Any = node.client(names.Office)

    def staff(self) -> Any:  # noqa: ANN401 - a context manager
        return self.node.context(Headers(identity=self.names.KEYS["office"]))

    async def stage(self) -> None:
        with self.staff():
            _ = await self.office.stage("hamlet", "Hamlet", 2, 2500)

    async def mails(self) -> list[str]:
        await self.node.settle()
        return [mail.text async for mail in self.node.collection(self.names.Mail).scan()]

    async def sign_up(self, email: str = ADA, card: str = "4242") -> None:
        id = await self.users.begin(email)
        code = (await self.mails())[-1].removeprefix("Your code is ").rstrip(".")
        assert await self.users.prove(id, code)
        _ = await self.users.finish(id, email, card)

    async def statuses(self) -> list[str]:
        return [booking.status async for booking in self.node.collection(self.names.Booking).scan()]

    async def transfers(self) -> list[int]:
        return [transfer.cents async for transfer in self.node.collection(self.names.Transfer).scan()]


@pytest.fixture
def names(example: Callable[[str], ModuleType]) -> ModuleType:
    return example("tickets/tickets.py")


@pytest.fixture
def settings() -> dict[str, Settle]:
    """Those of services; a test may add some. The bank has a good day."""
    return {"bank": {"out": 0.0}}


@pytest.fixture
async def theatre(names: ModuleType, settings: dict[str, Settle]) -> AsyncIterator[Theatre]:
    services = {name: ServiceSettings(settings=values) for name, values in settings.items()}
    async with Node(names.app, Settings(services=services)) as node:
        theatre = Theatre(names, node)
        await theatre.stage()
        yield theatre


async def test_a_page_of_the_wizard_cannot_be_left_out(theatre: Theatre) -> None:
    id = await theatre.users.begin(ADA)
    assert not await theatre.users.prove(id, "guess")
    with pytest.raises(theatre.names.NotProven, match=f"the address {ADA} is not proven"):
        await theatre.users.finish(id, "Ada", "4242")


async def test_only_the_office_reads_what_somebody_was_sent(theatre: Theatre) -> None:
    await theatre.sign_up()
    with pytest.raises(Unauthenticated):
        await theatre.office.mailed(ADA)
    with theatre.staff():
        assert [mail.text for mail in (await theatre.office.mailed(ADA)).items] == await theatre.mails()


async def test_who_has_not_signed_up_books_nothing(theatre: Theatre) -> None:
    with pytest.raises(NotFound):
        await theatre.bookings.book(ADA, "hamlet", 1)
    assert await theatre.statuses() == []


@pytest.mark.parametrize("seat", [0, 3])
async def test_a_seat_that_is_not_there_cannot_be_had(theatre: Theatre, seat: int) -> None:
    await theatre.sign_up()
    with pytest.raises(theatre.names.NoSeat):
        await theatre.bookings.book(ADA, "hamlet", seat)


async def test_what_is_not_paid_for_is_given_up_and_can_be_had_by_others(theatre: Theatre) -> None:
    await theatre.sign_up(card=EMPTY)
    await theatre.sign_up("bob@example.org")
    with pytest.raises(theatre.names.Declined):
        await theatre.bookings.book(ADA, "hamlet", 1)
    assert (await theatre.bookings.book("bob@example.org", "hamlet", 1)).status == "confirmed"
    assert sorted(await theatre.statuses()) == ["confirmed", "given up"]
    assert await theatre.transfers() == [2500]
    assert (await theatre.mails())[-2:] == ["Seat 1 of hamlet is not to be had.", "Seat 1 of hamlet is yours."]


async def test_asking_again_under_one_key_books_and_charges_once(theatre: Theatre) -> None:
    await theatre.sign_up()
    bookings = policy(theatre.bookings, idempotency_key="once")
    assert (await bookings.book(ADA, "hamlet", 1)).id == (await bookings.book(ADA, "hamlet", 1)).id
    assert await theatre.transfers() == [2500]


async def test_the_numbers_follow(theatre: Theatre) -> None:
    await theatre.sign_up()
    for seat in (1, 2):
        await theatre.bookings.book(ADA, "hamlet", seat)
    await theatre.node.settle()
    [copy] = next(hosted for hosted in theatre.node.hosted if hosted.part.name == "numbers").replicas
    await copy.caught_up()
    numbers: Any = theatre.node.client(theatre.names.Numbers)
    assert await numbers.takings("hamlet") == 5000


async def test_strangers_see_nothing_of_the_office(theatre: Theatre) -> None:
    with pytest.raises(Unauthenticated):
        await theatre.office.list()


async def test_one_reference_finds_the_whole_story(theatre: Theatre) -> None:
    await theatre.sign_up()
    booking = await theatre.bookings.book(ADA, "hamlet", 1)
    await theatre.node.settle()
    door = httpx.ASGITransport(theatre.names.gateway.asgi(theatre.node))
    async with httpx.AsyncClient(transport=door, base_url="http://theatre", headers={"x-api-key": "office"}) as client:
        told = (await client.get(f"/office/bookings/{booking.id}")).json()
        listed = (await client.get("/office/bookings?status=confirmed")).json()
    assert [one["cents"] for one in told["transfers"]] == [2500]
    assert (told["payment"]["status"], told["booking"]["status"]) == ("taken", "confirmed")
    assert [mail["text"] for mail in told["mails"]] == ["Seat 1 of hamlet is yours."]
    assert [one["id"] for one in listed["items"]] == [booking.id]
    [saga] = told["sagas"]
    assert (saga["line"]["state"], saga["line"]["tags"]) == ("done", {"booking": booking.id})
    assert [step["name"] for step in saga["steps"]] == ["payer", "hold", "payments.charge", "confirm"]


async def test_the_news_are_what_is_held_and_then_each_change_once(theatre: Theatre) -> None:
    names = theatre.names
    bookings = theatre.node.collection(names.Booking)
    waits = names.Booking(id="WAITS", email=ADA, show="hamlet", seat=1, price=2500, at=1.0)
    await bookings.create(waits)
    await bookings.create(
        names.Booking(id="ENDED", email=ADA, show="hamlet", seat=2, price=2500, at=1.0, status="given up")
    )
    with theatre.staff():
        news = theatre.office.news()
        held, ready = await anext(news), await anext(news)
        assert (held.booking.id, ready.booking) == ("WAITS", None)
        await bookings.patch("WAITS", status="confirmed")
        told = await anext(news)
        assert (told.booking.id, told.booking.status) == ("WAITS", "confirmed")
        later = theatre.office.news(after=ready.cursor)  # whoever comes back
        assert [await anext(later), await anext(later)] == [ready, told]


async def test_strangers_hear_no_news_and_get_the_page_without_any(theatre: Theatre) -> None:
    door = httpx.ASGITransport(theatre.names.gateway.asgi(theatre.node))
    async with httpx.AsyncClient(transport=door, base_url="http://theatre") as client:
        page = await client.get("/office", follow_redirects=True)
        news = await client.get("/office/news", headers={"x-api-key": "guessed"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (news.status_code, news.json()["code"]) == (401, "unauthenticated")


@pytest.fixture
def blocked(settings: dict[str, Settle]) -> None:
    settings["notifications"] = {"blocked": ["lost.example"]}


@pytest.mark.usefixtures("blocked")
async def test_a_mail_that_nobody_takes_is_a_dead_letter_of_its_booking(theatre: Theatre) -> None:
    user = theatre.names.User(id="eve@lost.example", name="Eve", card="4242")
    await theatre.node.collection(theatre.names.User).put(user)
    booking = await theatre.bookings.book(user.id, "hamlet", 1)
    await theatre.node.settle()
    operator = Headers(identity=theatre.names.Identity("operator", scopes=frozenset({"deadletters:write"})))
    with theatre.node.context(operator):
        letters = theatre.node.letters("notifications")
        found = await letters.find(Selection(tags={"booking": booking.id}))
    assert [(letter.group, letter.text) for letter in found.items] == [
        ("notifications.tell", "lost.example takes no mail from us")
    ]
    with theatre.staff():
        story = await theatre.office.story(booking.id)
    assert (story.mails, story.unsent) == ([], found.items)
