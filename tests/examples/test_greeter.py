"""The smallest program: three lines, and a test that constructs it."""

from collections.abc import Callable
from types import ModuleType

from hanse import App, Node


async def test_the_greeter_greets_whoever_calls(example: Callable[[str], ModuleType]) -> None:
    greet = example("greeter/greet.py")
    async with Node(App("hello", greet.Greeter)) as node:
        assert await node.client(greet.Greeter).hello("Ada") == "Hello, Ada!"


async def test_a_service_is_a_plain_class(example: Callable[[str], ModuleType]) -> None:
    assert await example("greeter/greet.py").Greeter().hello("Ada") == "Hello, Ada!"
