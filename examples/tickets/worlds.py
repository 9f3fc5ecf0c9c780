"""The worst evenings of a theatre, for a test and for the command line:

    hanse sim examples/tickets/worlds.py:premiere --seeds 100 --profile hostile

More people than there are seats sign up and book while machines die, disks fill up, clocks jump and packets vanish, and
the bank is out whenever it likes. What is promised is checked from outside: on the rows as they stand in the files.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tickets import (
    KEYS,
    Booking,
    Bookings,
    Declined,
    Mail,
    NoSeat,
    NotPaid,
    Numbers,
    Office,
    Payment,
    Seat,
    SignUp,
    Sold,
    Transfer,
    Users,
    app,
)

from hanse import Fault, Headers, Settings, Setup, World, policy, simulation
from hanse.kernel.settings import NodeSettings, ServiceSettings

T = TypeVar("T")

SEATS, PRICE = 30, 25_00
CARDS = ("4242424242424242", "4242424242424242", "4000000000000002")
TRIES = 200


hurried = Settings(
    node=NodeSettings(store="sqlite:///{service}.db?synchronous=full"),
    services={"bookings": ServiceSettings(settings={"patience": 3.0})},
)
"""Nobody waits for the bank for long, so that it is often asked to give back what it took."""


@simulation(
    Setup(app=app, settings=hurried),
    seconds=15.0,
    sometimes=("booked", "declined", "no seat", "not paid", "given back", "asked again"),
)
async def premiere(world: World) -> None:
    booked: dict[str, Booking] = {}
    world.always("no seat is sold to two", lambda: seats_are_right(world))
    world.always("the bank takes a price once, for a booking", lambda: transfers_are_right(world))
    world.eventually("a booking is paid once, or given up", lambda: bookings_are_right(world, booked))
    world.eventually("everybody is told once", lambda: mails_are_right(world))
    world.eventually("the numbers agree", lambda: numbers_are_right(world))
    await stage(world)
    async with asyncio.TaskGroup() as guests:
        async for number in world.arrivals(rate=3.0):
            guests.create_task(come(world, booked, f"guest-{number}@example.org"))


async def insist(world: World, call: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer: whoever gets none cannot know what came of it."""
    for _ in range(TRIES):
        try:
            return await call()
        except (Declined, NoSeat, NotPaid):
            raise
        except Fault:
            world.sometimes("asked again")
            await asyncio.sleep(world.chance.uniform(0.1, 2.0))
    raise AssertionError(f"nobody answers, however often one asks: {call}")


async def stage(world: World) -> None:
    with world.context(Headers(identity=KEYS["office"])):
        await insist(world, lambda: world.client(Office).stage("hamlet", "Hamlet", SEATS, PRICE))


async def come(world: World, booked: dict[str, Booking], email: str) -> None:
    """Somebody signs up, reads their mail, and books. Whatever is asked, is asked under a key until it is answered."""
    users = policy(world.client(Users), idempotency_key=email)
    bookings = policy(world.client(Bookings), idempotency_key=email)
    card, seat = world.chance.choice(CARDS), world.chance.randint(1, SEATS)
    sign_up = await insist(world, lambda: users.begin(email))
    code = await mailed(world, email)
    assert await insist(world, lambda: users.prove(sign_up, code))
    await insist(world, lambda: users.finish(sign_up, email, card))
    try:
        booking = await insist(world, lambda: bookings.book(email, "hamlet", seat))
    except Declined:
        world.sometimes("declined")
    except NoSeat:
        world.sometimes("no seat")
    except NotPaid:
        world.sometimes("not paid")
    else:
        world.sometimes("booked")
        booked[booking.id] = booking


async def mailed(world: World, email: str) -> str:
    """The code that somebody finds in their mail."""
    for _ in range(TRIES):
        for mail in world.rows(Mail):
            if mail.to == email:
                return mail.text.split()[-1].rstrip(".")
        await asyncio.sleep(1.0)
    raise AssertionError(f"no mail came to {email}")


def seats_are_right(world: World) -> None:
    seats = {seat.id: seat.booking for seat in world.rows(Seat)}
    wanted = [booking for booking in world.rows(Booking) if booking.status != "given up"]
    for booking in wanted:
        has = seats.get(f"{booking.show}.{booking.seat}")
        assert has == booking.id, f"{booking.id} has seat {booking.seat}, and so has {has}"
    assert len(wanted) == len(seats), f"{len(wanted)} bookings have {len(seats)} seats"


def transfers_are_right(world: World) -> None:
    bookings = {booking.id: booking for booking in world.rows(Booking)}
    moved = Counter((transfer.booking, transfer.cents) for transfer in world.rows(Transfer))
    for (reference, cents), count in moved.items():
        assert reference in bookings, f"{cents} were taken for {reference}, which is no booking"
        assert abs(cents) == bookings[reference].price, f"{reference} costs {bookings[reference].price}, not {cents}"
        if cents < 0:
            world.sometimes("given back")
        assert count == 1, f"{cents} were moved {count} times for {reference}"


def bookings_are_right(world: World, booked: dict[str, Booking]) -> None:
    payments = {payment.id: payment.status for payment in world.rows(Payment)}
    paid = Counter[str]()
    for transfer in world.rows(Transfer):
        paid[transfer.booking] += transfer.cents
    bookings = {booking.id: booking for booking in world.rows(Booking)}
    for booking in bookings.values():
        confirmed = booking.status == "confirmed"
        assert booking.status != "held", f"{booking.id} is held, for ever"
        assert paid[booking.id] == confirmed * booking.price, (
            f"{booking.id} is {booking.status}, paid {paid[booking.id]}"
        )
        known = payments.get(booking.id, "given back")
        assert known == ("taken" if confirmed else "given back"), f"{booking.id} is {booking.status}, its price {known}"
    for reference in booked:
        assert bookings[reference].status == "confirmed", f"{reference} was answered, and is given up"


def mails_are_right(world: World) -> None:
    sent = Counter((mail.to, mail.text) for mail in world.rows(Mail))
    wanted = Counter((sign_up.email, f"Your code is {sign_up.code}.") for sign_up in world.rows(SignUp))
    for booking in world.rows(Booking):
        told = "yours" if booking.status == "confirmed" else "not to be had"
        wanted[booking.email, f"Seat {booking.seat} of {booking.show} is {told}."] += 1
    assert sent == wanted, f"too many mails: {sent - wanted}; too few: {wanted - sent}"


def numbers_are_right(world: World) -> None:
    sold = {row.id: (row.show, row.price) for row in world.rows(Sold, of=Numbers)}
    confirmed = [booking for booking in world.rows(Booking) if booking.status == "confirmed"]
    there = {booking.id: (booking.show, booking.price) for booking in confirmed}
    assert sold == there, f"the numbers know of {sold}, there is {there}"
