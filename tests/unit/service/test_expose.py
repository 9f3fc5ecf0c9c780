"""Objects that know nothing of Hanse as services: what cannot be told first."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from hanse import (
    App,
    Contract,
    Fault,
    Internal,
    Invalid,
    Misconfigured,
    Misdeclared,
    Node,
    Service,
    Settings,
    expose,
    rpc,
    scope,
)
from hanse.kernel.settings import ServiceSettings

Value = Any


class Calculator:
    """Adds."""

    factor = 2

    def __init__(self) -> None:
        self.last = 0

    def add(self, left: int, right: int = 1) -> int:
        """The sum."""
        self.last = left + right
        return self.last

    async def scaled(self, number: int) -> int:
        return number * self.factor

    @staticmethod
    def half(number: float, /, *, digits: int = 2) -> float:
        return round(number / 2, digits)

    @classmethod
    def named(cls) -> str:
        return cls.__name__

    def upto(self, number: int) -> Iterator[int]:
        yield from range(number)

    async def later(self, number: int) -> AsyncIterator[int]:
        for item in range(number):
            yield item

    def fail(self) -> None:
        raise ZeroDivisionError("secret")

    def refuse(self) -> None:
        raise Refused

    @property
    def secret(self) -> int:
        return 1

    def _hidden(self) -> None: ...


class Refused(Fault):
    """No."""


class Hopeless:
    def bare(self, left) -> int: ...  # type: ignore[no-untyped-def,empty-body]  # noqa: ANN001
    def silent(self): ...  # type: ignore[no-untyped-def]  # noqa: ANN201
    def many(self, *each: int) -> None: ...
    def odd(self, lock: threading.Thread) -> None: ...
    def lost(self) -> "Missing": ...  # type: ignore[name-defined]  # noqa: F821
    def emit(self) -> None: ...
    def fine(self) -> None: ...


class Odd:
    def __init__(self, one, *rest: int) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001
    def fine(self) -> None: ...


@dataclass
class Greeter:
    greeting: str
    mark: str = "!"

    def hello(self, name: str) -> str:
        return f"{self.greeting}, {name}{self.mark}"


@contextlib.asynccontextmanager
async def client(service: type[Service], settings: Settings | None = None) -> AsyncIterator[Value]:
    async with Node(App("calc", service), settings or Settings()) as node:
        yield node.client(service)


def test_all_that_cannot_be_exposed_is_told_at_once() -> None:
    with pytest.raises(Misdeclared) as caught:
        expose(Hopeless())

    for told in (
        "bare takes 'left', which has no type hint",
        "silent does not say what it returns",
        "many takes *each: int, which has no schema",
        "odd cannot be called from elsewhere (lock: Thread has no schema",
        "lost has a hint that names 'Missing'",
        "emit is what every service has",
        "only=['fine']",
    ):
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (3, "expected an object with typed methods"),
        (len, "expected an object with typed methods"),
        (threading, "expected an object with typed methods"),
        (type("Empty", (), {})(), "Empty cannot be exposed: it has no public methods"),
        (type("Own", (Service,), {}), "Own is a Service already"),
        (Odd, "its constructor takes 'one' without a type.*its constructor takes .rest: int; expose an object"),
    ],
)
def test_what_is_no_such_object_is_refused(target: object, told: str) -> None:
    with pytest.raises(Misdeclared, match=told):
        expose(target)


def test_what_is_asked_for_has_to_be_there() -> None:
    with pytest.raises(Misdeclared, match="it has no method 'subtract', but add, fail"):
        expose(Calculator(), only=["subtract"])
    with pytest.raises(Misdeclared, match="expected at least one thread"):
        expose(Calculator(), threads=0)


async def test_a_failure_inside_stays_inside() -> None:
    async with client(expose(Calculator())) as calculator:
        with pytest.raises(Internal):
            await calculator.fail()
        with pytest.raises(Refused):
            await calculator.refuse()
        with pytest.raises(Invalid):
            await calculator.add("two")


def test_public_methods_become_operations() -> None:
    service = expose(Calculator(), name="sums", allow=scope("sums"))
    description = Node(App("calc", service)).descriptions[0]

    assert (description.name, description.doc) == ("sums", "Adds.")
    assert set(description.operations) == {"add", "scaled", "half", "named", "upto", "later", "fail", "refuse"}
    assert description.operations["add"].doc == "The sum."
    assert all(operation.options.allow is not None for operation in description.operations.values())
    assert set(Node(App("calc", expose(Calculator, only=["add"]))).descriptions[0].operations) == {"add"}
    assert service.__module__ == __name__


async def test_methods_of_each_kind_are_called() -> None:
    target = Calculator()
    async with client(expose(target)) as calculator:
        assert await calculator.add(2, right=3) == 5
        assert await calculator.add(2) == 3
        assert await calculator.scaled(4) == 8
        assert await calculator.half(3, digits=1) == 1.5
        assert await calculator.named() == "Calculator"
        assert [item async for item in calculator.upto(3)] == [0, 1, 2]
        assert [item async for item in calculator.later(3)] == [0, 1, 2]

    assert target.last == 3


class Gate:
    """Tells whether a call came in while another was there."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        self.all_in = threading.Barrier(3)

    def wait(self) -> None:
        self.entered.set()
        self.opened.wait(10)

    def after(self) -> bool:
        return self.opened.is_set()

    async def soon_after(self) -> bool:
        return self.opened.is_set()

    def meet(self) -> None:
        self.all_in.wait(10)


@pytest.mark.parametrize("given_up", [False, True], ids=["awaited", "given up"])
async def test_one_call_at_a_time_reaches_the_object(given_up: bool) -> None:
    target = Gate()
    async with client(expose(target)) as gate, asyncio.TaskGroup() as group:
        waiting = group.create_task(gate.wait())
        await asyncio.to_thread(target.entered.wait, 10)
        if given_up:
            waiting.cancel()
        others = [group.create_task(call()) for call in (gate.after, gate.soon_after)]
        for _ in range(20):
            await asyncio.sleep(0)
        target.opened.set()

    assert [other.result() for other in others] == [True, True]


async def test_as_many_as_it_says_reach_it_at_once() -> None:
    async with client(expose(Gate(), threads=3)) as gate:
        await asyncio.gather(*(gate.meet() for _ in range(3)))


async def test_a_constructor_takes_settings() -> None:
    service = expose(Greeter)
    settings = Settings(services={"greeter": ServiceSettings(settings={"greeting": "Moin"})})

    async with client(service, settings) as greeter:
        assert await greeter.hello("Ada") == "Moin, Ada!"
    with pytest.raises(Misconfigured, match=r"Greeter\.greeting has no value"):
        async with client(service):
            raise AssertionError


async def test_a_stream_that_is_left_is_closed() -> None:
    class Source:
        closed = False

        def items(self) -> Iterator[int]:
            try:
                yield 1
                yield 2
            finally:
                self.closed = True

    source = Source()
    async with client(expose(source)) as opened:
        items = opened.items()
        assert await anext(items) == 1
        await items.aclose()

    assert source.closed


class Untyped:
    def add(self, left, right=1):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return left + right

    async def upto(self, number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        for item in range(number):
            yield item

    def down(self, number):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        yield from range(number, 0, -1)

    async def later(self) -> str:
        return "later"

    def beside(self, what):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return what


class Sums(Contract, Protocol):
    @rpc(idempotent=True)
    async def add(self, left: int, right: int = 1) -> int:
        """The sum."""
        ...

    @rpc
    def upto(self, number: int) -> AsyncIterator[int]: ...
    @rpc
    def down(self, number: int) -> AsyncIterator[int]: ...
    @rpc
    async def later(self) -> str: ...


async def test_a_contract_says_what_an_object_does_not() -> None:
    service = expose(Untyped(), contract=Sums)
    async with Node(App("sums", service)) as node:
        sums = node.client(Sums)
        assert list(node.descriptions[0].operations) == ["add", "upto", "down", "later"]
        assert node.descriptions[0].name == "sums"
        assert await sums.add(2) == 3
        assert [item async for item in sums.upto(2)] == [0, 1]
        assert [item async for item in sums.down(2)] == [2, 1]
        assert await sums.later() == "later"


def test_what_a_contract_promises_has_to_be_there() -> None:
    with pytest.raises(Misdeclared, match="it has no method 'upto', which Sums promises; it has no method 'down'"):
        expose(Gate(), contract=Sums)
    with pytest.raises(Misdeclared, match="only and allow are what Sums says"):
        expose(Untyped(), contract=Sums, only=["add"])


async def test_what_is_exposed_is_a_dependency_like_any_other() -> None:
    calculator = expose(Calculator())

    class Desk(Service):
        sums: calculator  # type: ignore[valid-type]

        @rpc
        async def double(self, number: int) -> int:
            sums: Value = self.sums
            return int(await sums.add(number, number))

    async with Node(App("desk", Desk, calculator)) as node:
        assert await node.client(Desk).double(4) == 8
