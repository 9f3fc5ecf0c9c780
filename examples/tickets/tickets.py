"""Tickets: people sign up, book seats and pay for them, or get neither; one reference finds all that became of it.

hanse run examples/tickets/tickets.py --store sqlite:///data

KEY="x-api-key: office"
curl -H "$KEY" -X PUT --json '{"title": "Hamlet", "seats": 80, "price": 2500}' http://127.0.0.1:8000/office/shows/hamlet
curl --json '{"email": "ada@example.org"}' http://127.0.0.1:8000/sign-ups                        # answers with an id
curl -H "$KEY" http://127.0.0.1:8000/office/mails/ada@example.org                    # no mail leaves: the code is here
curl --json '{"code": "CODE"}' http://127.0.0.1:8000/sign-ups/ID/code
curl --json '{"name": "Ada", "card": "4242"}' http://127.0.0.1:8000/sign-ups/ID/user
curl --json '{"email": "ada@example.org", "show": "hamlet", "seat": 12}' http://127.0.0.1:8000/bookings
curl -H "$KEY" http://127.0.0.1:8000/office/bookings/REFERENCE         # all that became of it; or see /office
hanse deadletters list --tag booking=REFERENCE                                            # what failed of it
hanse sagas list --tag booking=REFERENCE --store sqlite:///data --app examples/tickets/tickets.py

A booking is a saga of three steps: a seat is held, it is paid for, it is confirmed. Where one of them cannot be done,
those before it are undone, the last one first. Whoever dies on the way, whatever gets lost, comes late or comes twice:

- No seat is sold to two, and what is held or sold belongs to a booking.
- The bank takes the price of a booking once at most, and nothing without a booking.

And in the end:

- Every booking is confirmed and paid, or given up; then the bank has given back what it took.
- Everybody has had one mail about each thing that they were to be told, and the numbers agree with the bookings.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from hanse import (
    App,
    Collection,
    Conflict,
    DeadlineExceeded,
    Deleted,
    Event,
    Fault,
    Gateway,
    Held,
    Identity,
    Model,
    NotFound,
    Page,
    Replica,
    Resource,
    Saga,
    Service,
    Terminal,
    Unavailable,
    current,
    on,
    policy,
    replica,
    rpc,
    rule,
    saga,
    scope,
)
from hanse.delivery.action import Selection
from hanse.delivery.saga_rows import State
from hanse.node.letters import LetterLine, Letters, letters_of
from hanse.node.saga_runs import SagaLine, SagaPage, SagaRuns, SagaSelection, SagaShown, sagas_of

Cents = Annotated[int, Meta(ge=0)]
Email = Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=100)]


# Users: a wizard of three pages, at the end of which there is a user.
class NotProven(Fault, status=409, detail="the address {email} is not proven; send the code that was mailed to it"):
    """A page was left out."""

    email: str


class User(Resource):
    """Somebody who may book. The id is their address."""

    name: str
    card: str


class SignUp(Resource):
    """Somebody on the way to being a user: a row, so that it outlives whoever serves the pages."""

    email: str
    code: str
    at: float
    proven: bool = False


class CodeMade(Event):
    """An address is to be proven."""

    email: str
    code: str


class Users(Service, events=(CodeMade,), owns=(User,)):
    users: Collection[User]
    sign_ups: Collection[SignUp]
    patience: float = 86_400.0
    """Seconds after which a wizard is forgotten."""

    @rpc(route="POST /sign-ups")
    async def begin(self, email: Email) -> str:
        """Page one: tell an address. A code is mailed to it."""
        host = current().host
        sign_up = await self.sign_ups.create(SignUp(email=email, code=host.new_id()[-6:], at=host.now()))
        await self.emit(CodeMade(email=email, code=sign_up.code))
        return sign_up.id

    @rpc(route="POST /sign-ups/{id}/code", idempotent=True)
    async def prove(self, id: str, code: str) -> bool:
        """Page two: tell the code; whether it is right."""
        sign_up = await self.sign_ups.get(id)
        if sign_up.code == code:
            await self.sign_ups.patch(id, proven=True)
        return sign_up.code == code

    @rpc(route="POST /sign-ups/{id}/user", faults=(NotProven,), idempotent=True)
    async def finish(self, id: str, name: str, card: str) -> User:
        """Page three: tell a name and a card. The wizard stays until it is forgotten, so this may be sent again."""
        sign_up = await self.sign_ups.get(id)
        if not sign_up.proven:
            raise NotProven(sign_up.email)
        return await self.users.put(User(id=sign_up.email, name=name, card=card))

    @rule(SignUp, every="1h")
    async def forget(self, sign_up: Held[SignUp]) -> None:
        if current().host.now() - sign_up.value.at > self.patience:
            await sign_up.delete()


# Payments: ours, and the bank, which is not.
class Declined(Fault, status=402, detail="the bank declines the card"):
    """The bank has said no, and means it."""


class Transfer(Resource):
    """Money that the bank took from a card; or gave back, where it is less than nothing."""

    booking: str
    card: str
    cents: int


class Bank(Service, owns=(Transfer,)):
    """Stands for somebody else's: whoever asks twice is charged twice, and every so often it is out.

    It is so by intention, and says so. Give it better days with `services.bank.settings.out = 0`.
    """

    transfers: Collection[Transfer]
    out: float = 0.2
    """How often it refuses to answer, of all times that it is asked."""
    empty: tuple[str, ...] = ("4000000000000002",)
    """Cards that there is no money on."""

    @rpc(faults=(Declined,))
    async def transfer(self, booking: str, card: str, cents: int) -> Transfer:
        if current().host.chance.random() < self.out:
            raise Unavailable("the bank is out; try again")
        if card in self.empty:
            raise Declined
        return await self.transfers.create(Transfer(booking=booking, card=card, cents=cents))


class Payment(Resource):
    """What a booking cost, whose reference it has."""

    card: str
    cents: Cents
    status: Literal["taken", "given back"] = "taken"


class Payments(Service, owns=(Payment,)):
    bank: Bank
    payments: Collection[Payment]

    @rpc(faults=(Declined,))
    async def charge(self, booking: str, card: str, cents: Cents) -> Payment:
        """Take the price of a booking from a card."""
        # Should this die between the bank's answer and its own commit, it is asked for again, and asks the bank under
        # the same key: then it is told what was done already.
        bank = policy(self.bank, idempotency_key=f"{booking}.charge")
        await bank.transfer(booking, card, cents)
        return await self.payments.create(Payment(id=booking, card=card, cents=cents))

    @rpc
    async def refund(self, booking: str) -> None:
        """Give the price of a booking back."""
        payment = await self.payments.get(booking)
        bank = policy(self.bank, idempotency_key=f"{booking}.refund")
        await bank.transfer(booking, payment.card, -payment.cents)
        await self.payments.patch(booking, status="given back")


# Bookings: a seat and its price, or neither.
class NotPaid(Fault, status=503, detail="the bank does not answer; booking {booking} is given up, and costs nothing"):
    """Asking again begins another booking."""

    booking: str


class NoSeat(Fault, status=409, detail="seat {seat} of {show} cannot be had"):
    """Somebody has it, or it is not there."""

    show: str
    seat: int


class Show(Resource):
    """What is on."""

    title: str
    seats: int
    price: Cents


class Seat(Resource):
    """A seat that is held or sold. Its id says which, so that there are no two of it."""

    booking: str


Status = Literal["held", "confirmed", "given up"]


class Booking(Resource):
    """Somebody wants a seat, since second `at`. The id is the reference that all of its story is tagged with."""

    email: str
    show: str
    seat: int
    price: Cents
    at: float
    status: Status = "held"


class Ended(Event):
    """A booking has come to its end, well or not."""

    booking: Booking


class Bookings(Service, events=(Ended,), owns=(Show, Booking)):
    payments: Payments
    users: Collection[User]
    shows: Collection[Show]
    seats: Collection[Seat]
    bookings: Collection[Booking]
    patience: float = 30.0
    """Seconds that a payment may take."""

    @rpc(route="POST /bookings", faults=(NoSeat, Declined, NotPaid), timeout="1m")
    @saga
    async def book(self, s: Saga, email: str, show: str, seat: int) -> Booking:
        """Book a seat, and pay for it."""
        reference = s.new_id()[:8].upper()
        current().tag(booking=reference)
        user = await s.step(self._payer, email)
        booking = await s.step(self._hold, reference, email, show, seat).undo(self._give_up, reference)
        paying = s.step(self.payments.charge, reference, user.card, booking.price).within(self.patience)
        try:
            await paying.undo(self.payments.refund, reference)
        except DeadlineExceeded:
            # Nobody knows whether the bank has the money. It is asked until it says so, and then gives it back.
            raise NotPaid(reference) from None
        return await s.step(self._confirm, reference)

    async def _payer(self, email: str) -> User:
        return await self.users.get(email)

    async def _hold(self, reference: str, email: str, show: str, seat: int) -> Booking:
        wanted = await self.shows.get(show)
        if not 1 <= seat <= wanted.seats:
            raise NoSeat(show, seat)
        try:
            await self.seats.create(Seat(id=f"{show}.{seat}", booking=reference))
        except Conflict:
            raise NoSeat(show, seat) from None
        held = Booking(id=reference, email=email, show=show, seat=seat, price=wanted.price, at=current().host.now())
        return await self.bookings.create(held)

    async def _confirm(self, reference: str) -> Booking:
        booking = await self.bookings.patch(reference, status="confirmed")
        await self.emit(Ended(booking=booking))
        return booking

    async def _give_up(self, reference: str) -> None:
        booking = await self.bookings.patch(reference, status="given up")
        await self.seats.delete(f"{booking.show}.{booking.seat}")
        await self.emit(Ended(booking=booking))


# Who looks on: mails, numbers, and the people in the office.
class Mail(Resource):
    """What somebody was sent."""

    to: str
    text: str
    booking: str = ""


class Notifications(Service, owns=(Mail,)):
    mails: Collection[Mail]
    blocked: tuple[str, ...] = ()
    """Domains that take no mail from us. What is for them is a dead letter, until somebody has talked to them."""

    @on(CodeMade, key=lambda event: event.email)
    async def send_code(self, event: CodeMade) -> None:
        await self._send(event.email, f"Your code is {event.code}.")

    @on(Ended, key=lambda event: event.booking.id)
    async def tell(self, event: Ended) -> None:
        booking = event.booking
        had = "yours" if booking.status == "confirmed" else "not to be had"
        await self._send(booking.email, f"Seat {booking.seat} of {booking.show} is {had}.", booking.id)

    async def _send(self, to: str, text: str, booking: str = "") -> None:
        if (domain := to.partition("@")[2]) in self.blocked:
            raise Terminal(f"{domain} takes no mail from us")
        await self.mails.create(Mail(to=to, text=text, booking=booking))


class Sold(Resource):
    """What the numbers need of a booking: a copy without names."""

    show: str
    price: Cents


class Numbers(Service):
    """Counts what was sold in rows of its own, so that no question of its holds up a booking."""

    sold: Replica[Sold] = replica(Sold, of=Booking, where=lambda booking: booking.status == "confirmed")

    @rpc(idempotent=True, route="GET /numbers/{show}")
    async def takings(self, show: str) -> Cents:
        """What a show has brought so far."""
        return sum([sold.price async for sold in self.sold.scan(lambda sold: sold.show == show)])


STAFF = scope("office")


class Story(Model):
    """All that became of a booking."""

    booking: Booking
    payment: Payment | None
    transfers: list[Transfer]
    mails: list[Mail]
    unsent: list[LetterLine]
    sagas: list[SagaShown]


class News(Model):
    """What the office's page is told: a booking, a cursor to go on from, or both."""

    booking: Booking | None = None
    cursor: str = ""


class Office(Service):
    """What the people in the back office do and see."""

    shows: Collection[Show]
    bookings: Collection[Booking]
    payments: Collection[Payment]
    transfers: Collection[Transfer]
    mails: Collection[Mail]
    letters: Letters = letters_of(Notifications)
    sagas: SagaRuns = sagas_of(Bookings)

    @rpc(idempotent=True, route="PUT /office/shows/{id}", allow=STAFF)
    async def stage(self, id: str, title: str, seats: int, price: Cents) -> Show:
        """Put a show on."""
        return await self.shows.put(Show(id=id, title=title, seats=seats, price=price))

    @rpc(idempotent=True, route="GET /office/bookings", allow=STAFF)
    async def list(self, status: Status = "held", cursor: str | None = None) -> Page[Booking]:
        """Bookings in some state; those that are held for long wait for something: `hanse sagas` says for what."""
        return await self.bookings.find(lambda booking: booking.status == status, cursor=cursor)

    @rpc(idempotent=True, route="GET /office/news", allow=STAFF)
    async def news(self, after: str = "") -> AsyncIterator[News]:
        """Bookings that are held, then a cursor, then each change of any; `after` is the last cursor that one has."""
        after = after or await self.bookings.cursor()
        async for held in self.bookings.scan(lambda booking: booking.status == "held"):
            yield News(booking=held)
        yield News(cursor=after)
        async for change in self.bookings.changes(after=after):
            if not isinstance(change, Deleted):
                yield News(booking=change.after, cursor=change.cursor)

    @rpc(idempotent=True, route="GET /office/bookings/{reference}", allow=STAFF)
    async def story(self, reference: str) -> Story:
        """All that became of a booking, whoever has the rows."""
        booking, payment = await self.bookings.get(reference), None
        with suppress(NotFound):
            payment = await self.payments.get(reference)
        transfers = await self.transfers.find(lambda transfer: transfer.booking == reference)
        mails = await self.mails.find(lambda mail: mail.booking == reference)
        unsent = (await self.letters.find(Selection(tags={"booking": reference}))).items
        lines = (await self.sagas.find(SagaSelection(tags={"booking": reference}))).items
        return Story(
            booking=booking,
            payment=payment,
            transfers=transfers.items,
            mails=mails.items,
            unsent=unsent,
            sagas=[await self.sagas.get(line.id) for line in lines],
        )

    @rpc(idempotent=True, route="GET /office/sagas", allow=STAFF)
    async def under_way(self, state: State = "stuck", begun_before: float = 0.0, cursor: str | None = None) -> SagaPage:
        """What bookings are at, by the sagas that do them: those in a state, begun before some moment."""
        return await self.sagas.find(SagaSelection(states=(state,), begun_before=begun_before), cursor=cursor)

    @rpc(route="POST /office/sagas/{id}/resume", allow=STAFF)
    async def go_on(self, id: str) -> SagaLine:
        """Have a booking that is stuck go on, once its cause is mended."""
        return await self.sagas.resume(id)

    @rpc(route="POST /office/sagas/{id}/abort", allow=STAFF)
    async def turn_back(self, id: str) -> SagaLine:
        """Have a booking turn back: what it did is undone."""
        return await self.sagas.abort(id)

    @rpc(idempotent=True, route="GET /office/mails/{to}", allow=STAFF)
    async def mailed(self, to: Email) -> Page[Mail]:
        """What somebody was sent. No mail leaves this example, so the codes of sign-ups are read here."""
        return await self.mails.find(lambda mail: mail.to == to)


KEYS = {"office": Identity(subject="office", scopes=frozenset({"office", "deadletters:read", "sagas:write"}))}
"""Who may what. In a real program they are a collection, and only their digests are stored."""


async def by_key(headers: Mapping[str, str]) -> Identity:
    return KEYS.get(headers.get("x-api-key", ""), Identity())


gateway = Gateway(identify=by_key).resources(Show, path="/shows", write=False)
gateway.rpc(Users).rpc(Bookings).rpc(Numbers).rpc(Office)
gateway.static("/office", Path(__file__).parent / "page")

app = App("tickets", Users, Bank, Payments, Bookings, Notifications, Numbers, Office, gateway=gateway)
