"""What a transport carries: whole messages, whatever stands in them, to whatever address."""

from __future__ import annotations

import asyncio

import pytest

from hanse.kernel.faults import Overloaded, TooLarge, Unavailable, UnknownOperation
from hanse.kernel.message import Headers, Identity
from hanse.testing.transport_hooks import TransportHooks, ask, call, fate, read, stream
from hanse.testing.transport_things import Things, told
from hanse.transport.base import Transport

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102

BIG = 1_048_576
"""Bytes of a body that any transport has to carry that names no limit of its own."""

ALL = bytes(range(256))

EVERYTHING = Headers(
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    tracestate="vendor=1,other=x",
    tags={"booking_ref": "ABC123", "stadt": "Lübeck", "": "empty", "line": "one\ntwo\r\n: three"},
    identity=Identity("ada", "acme", frozenset({"orders:write", "*"}), on_behalf_of="grace"),
    type="order_placed",
    version="2",
    producer="orders/1.0/a1",
    attempt=3,
    idempotency_key="a key, with spaces",
    causation_id="c-1",
    correlation_id="c-0",
    key="order-7",
    expires=1_700_000_000.5,
    shadow=True,
    extra={"x-of-tomorrow": "1", "Ünknown": "välue"},
)

NAMES = (
    "rows/orders",
    "events/shop_orders",
    "on/mailer.receipt",
    "on/a.b/c-d",
    "Things",
    "things.more",
    "thing",
    "rows/a b",
    "rows/größe",
    "rows/x*>#?[1]",
    'rows/"quoted"%20\\',
)
"""Names that services and collections have or may have, and some that begin or end as others do."""


class HeadersTests(TransportHooks):
    """All but the body."""

    async def test_every_header_is_carried(self) -> None:
        async with self.pair() as pair:
            message = call("echo", b"tea", headers=EVERYTHING)
            assert await ask(pair.one, message) == b"tea"
            assert [told(came) for came in pair.things.came] == [told(message)]

    async def test_every_header_of_a_stream_is_carried(self) -> None:
        async with self.pair() as pair:
            message = stream("count", b"1").with_headers(EVERYTHING)
            assert await read(pair.one, message) == [b"0"]
            assert [told(came) for came in pair.things.came] == [told(message)]

    async def test_headers_that_say_nothing_say_nothing_there(self) -> None:
        async with self.pair() as pair:
            assert await ask(pair.one, call("echo")) == b""
            assert pair.things.came[0].headers == Headers()


class BodyTests(TransportHooks):
    """Bodies, of which no transport knows what they are."""

    async def test_bodies_are_carried_to_the_byte(self) -> None:
        async with self.pair() as pair:
            for body in (b"", b"\x00", b"\r\n\r\n", ALL, ALL * 400, b"\xff" * 65_536):
                assert await ask(pair.one, call("echo", body)) == body

    async def test_items_are_carried_to_the_byte(self) -> None:
        async with self.pair() as pair:
            sizes = [0, 1, 0, 65_536, 3, 0]
            body = b" ".join(b"%d" % size for size in sizes)
            assert await read(pair.one, stream("swell", body)) == [bytes(size) for size in sizes]

    async def test_a_body_of_the_most_bytes_goes_both_ways(self) -> None:
        async with self.pair() as pair:
            most = _most(pair.one)
            body = (ALL * (most // 256 + 1))[:most]
            assert await ask(pair.one, call("echo", body, headers=EVERYTHING)) == body
            assert await read(pair.one, stream("swell", b"%d 1" % most)) == [bytes(most), bytes(1)]

    async def test_big_bodies_at_once_arrive_whole_or_are_refused(self) -> None:
        # Both ways at once: a node that only writes while it has something to write waits for one that does the same.
        async with self.pair() as pair:
            back = Things("back")
            await self.listen([pair.one, pair.other], {"back": back.server}, at=pair.one)
            bodies = [bytes([n]) * min(BIG, _most(pair.one)) for n in range(16)]
            there = [fate(pair.one, call("echo", body)) for body in bodies]
            here = [fate(pair.other, call("back.echo", body)) for body in bodies]
            fates = await asyncio.gather(*there, *here)
            refused = (Overloaded, Unavailable)
            assert all(got == body or isinstance(got, refused) for got, body in zip(fates, bodies * 2, strict=True))
            # Refused is what has not been sent: what was handled is answered, however much there is to say.
            assert len([got for got in fates if isinstance(got, bytes)]) == len(pair.things.came) + len(back.came)

    async def test_a_body_over_the_limit_is_refused_before_it_is_sent(self) -> None:
        async with self.pair() as pair:
            over = bytes(_limit(pair.one) + 1)
            with pytest.raises(TooLarge):
                await ask(pair.one, call("echo", over))
            with pytest.raises(TooLarge):
                await read(pair.one, call("count", over))
            assert pair.things.came == []
            assert await ask(pair.one, call("echo", b"well")) == b"well"

    async def test_an_answer_over_the_limit_is_a_fault_at_the_caller(self) -> None:
        async with self.pair() as pair:
            with pytest.raises(TooLarge):
                await ask(pair.one, call("grow", b"%d" % (_limit(pair.one) + 1)))
            assert await ask(pair.one, call("echo", b"well")) == b"well"

    async def test_an_item_over_the_limit_ends_its_stream_with_a_fault(self) -> None:
        async with self.pair() as pair:
            items: list[bytes] = []
            with pytest.raises(TooLarge):
                await read(pair.one, stream("swell", b"1 %d 1" % (_limit(pair.one) + 1)), items)
            assert items == [bytes(1)]
            await pair.things.until(lambda: pair.things.closed == 1)
            assert await ask(pair.one, call("echo", b"well")) == b"well"


class AddressTests(TransportHooks):
    """Who is meant."""

    async def test_one_node_serves_several_services(self) -> None:
        async with self.nodes(2) as (one, other):
            served = {name: Things(name) for name in ("orders", "stock", "rows/orders")}
            await self.listen([one, other], {name: things.server for name, things in served.items()}, at=other)
            for name, things in served.items():
                assert await ask(one, call(f"{name}.echo", name.encode())) == name.encode()
                assert [message.address for message in things.came] == [f"{name}.echo"]

    async def test_services_of_several_nodes_are_told_apart(self) -> None:
        async with self.nodes(3) as nodes:
            for n, node in enumerate(nodes):
                await self.listen(nodes, {f"s{n}": Things(f"s{n}").server}, at=node)
            for node in nodes:
                assert [await ask(node, call(f"s{n}.echo", b"%d" % n)) for n in range(3)] == [b"0", b"1", b"2"]

    async def test_any_name_is_an_address(self) -> None:
        async with self.pair() as pair:
            served = {name: Things(name) for name in NAMES}
            await self.listen([pair.one, pair.other], {name: it.server for name, it in served.items()}, at=pair.other)
            for name, things in served.items():
                assert await ask(pair.one, call(f"{name}.echo", name.encode())) == name.encode()
                assert await read(pair.one, stream(f"{name}.count", b"2")) == [b"0", b"1"]
                assert [message.address for message in things.came] == [f"{name}.echo", f"{name}.count"]
            assert pair.things.came == []

    async def test_a_name_that_begins_as_another_is_another(self) -> None:
        async with self.pair() as pair:
            # `things` is served; who serves it does not serve what only looks like it.
            for address in ("things.more.echo", "thing.echo", "things2.echo", "Things.echo", "*.echo", ">.echo"):
                with pytest.raises(UnknownOperation):
                    await ask(pair.one, call(address))
            assert pair.things.came == []


def _limit(node: Transport) -> int:
    if not node.features.bytes_max:
        pytest.skip("the transport's features say that it has no limit of its own")
    return node.features.bytes_max


def _most(node: Transport) -> int:
    return node.features.bytes_max or BIG
