"""The theatre apart: a process for each part, each killed while people book; and what its files say in the end."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgspec
import pytest

from .fleet import Fleet, fleet, hanse, medium

EXAMPLE = Path(__file__).parents[2] / "examples" / "tickets" / "tickets.py"
PARTS = ("bookings", "payments,bank", "users,notifications,numbers", "gateway,office")
DOOR = PARTS[-1]
ADA, BOB = "ada@example.org", "bob@example.org"
CARDS = {ADA: "4242", BOB: "4000000000000002"}
PRICE = 2500
ROUND = 6
"""Bookings that are under way as a part is killed."""
TRIES = 300
FINAL = {"no_seat", "declined", "not_paid"}
"""What is an answer, and not the lack of one."""

UNAVAILABLE = 500
"""The least status that says that one may ask again."""

Value = Any
Played = tuple[Fleet, Path, str]


@pytest.fixture(params=["unix", "nats"])
def theatre(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Played]:
    with medium(request.param, tmp_path) as wanted:
        options = (*wanted, "--store", "sqlite:///data")
        with fleet(EXAMPLE, PARTS[:-1], tmp_path, *options) as parts:
            yield parts, tmp_path, parts.start(DOOR)


async def moment() -> None:
    _ = await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.1)


async def insist(ask: Callable[[], Awaitable[httpx.Response]]) -> Value:
    """Ask until there is an answer."""
    told = ""
    for _ in range(TRIES):
        try:
            answer = await ask()
            told = answer.text
            if answer.is_success or answer.json()["code"] in FINAL:
                return answer.json()
            assert answer.status_code >= UNAVAILABLE, told
        except httpx.TransportError as error:
            told = repr(error)
        await moment()
    raise AssertionError(f"nobody answers: {told}")


def rows(folder: Path, service: str, collection: str) -> list[dict[str, Value]]:
    """The rows of a service, as they stand in its file."""
    file = sqlite3.connect(f"file:{folder}/data/{service}.db?mode=ro", uri=True)
    try:
        found = file.execute(f'SELECT id, CAST(value AS BLOB) FROM "rows:{collection}"').fetchall()
    finally:
        file.close()
    return [{**msgspec.json.decode(value), "id": id} for id, value in found]


async def until(true: Callable[[], bool]) -> None:
    for _ in range(TRIES):
        if true():
            return
        await moment()
    raise AssertionError("it never came to that")


async def sign_up(client: httpx.AsyncClient, folder: Path, email: str) -> None:
    id = await insist(lambda: client.post("/sign-ups", json={"email": email}, headers={"idempotency-key": email}))

    def codes() -> list[str]:
        return [row["text"][-7:-1] for row in rows(folder, "notifications", "mails") if row["to"] == email]

    await until(lambda: bool(codes()))
    assert await insist(lambda: client.post(f"/sign-ups/{id}/code", json={"code": codes()[0]}))
    _ = await insist(lambda: client.post(f"/sign-ups/{id}/user", json={"name": email, "card": CARDS[email]}))


async def book(client: httpx.AsyncClient, email: str, seat: int) -> Value:
    asked = {"email": email, "show": "hamlet", "seat": seat}
    return await insist(lambda: client.post("/bookings", json=asked, headers={"idempotency-key": f"{email}/{seat}"}))


def is_right(folder: Path) -> bool:
    """Whether each booking is paid once, or given up; and everybody was told once."""
    paid, wanted = Counter[str](), Counter[str]()
    for transfer in rows(folder, "bank", "transfers"):
        paid[transfer["booking"]] += transfer["cents"]
    for booking in rows(folder, "bookings", "bookings"):
        wanted[booking["id"]] = PRICE * (booking.get("status") == "confirmed")
    told = Counter(mail["booking"] for mail in rows(folder, "notifications", "mails") if mail.get("booking"))
    return +paid == +wanted and told == dict.fromkeys(wanted, 1)


@pytest.mark.timeout(200)
async def test_whoever_is_killed_each_booking_is_paid_once_or_given_up(theatre: Played) -> None:
    parts, folder, url = theatre
    async with httpx.AsyncClient(base_url=url, timeout=90.0) as client:
        show = {"title": "Hamlet", "seats": 100, "price": PRICE}
        staff = {"x-api-key": "office"}
        _ = await insist(lambda: client.put("/office/shows/hamlet", json=show, headers=staff))
        for email in CARDS:
            await sign_up(client, folder, email)
        answers: list[Value] = []
        for number, killed in enumerate(PARTS):
            seats = range(1 + number * ROUND, 1 + (number + 1) * ROUND)
            async with asyncio.TaskGroup() as group:
                booking = [group.create_task(book(client, BOB if seat % ROUND == 0 else ADA, seat)) for seat in seats]
                _ = await asyncio.wait(booking, return_when=asyncio.FIRST_COMPLETED)
                _ = await asyncio.to_thread(parts.again, killed)
            answers += [one.result() for one in booking]
        await until(lambda: is_right(folder))
        confirmed = {one["id"] for one in rows(folder, "bookings", "bookings") if one.get("status") == "confirmed"}
        assert {answer["id"] for answer in answers if "id" in answer} == confirmed
        assert {answer.get("code", "booked") for answer in answers} >= {"booked", "declined"}
        reference = next(iter(confirmed))
        story = await insist(lambda: client.get(f"/office/bookings/{reference}", headers=staff))
    assert [transfer["cents"] for transfer in story["transfers"]] == [PRICE]
    assert story["unsent"] == []
    where = ("--app", str(EXAMPLE), "--store", "sqlite:///data")
    listed = hanse(folder, "sagas", "list", "--tag", f"booking={reference}", "--json", *where)
    assert [row["state"] for row in msgspec.json.decode(listed.stdout)] == ["done"], listed.stderr
