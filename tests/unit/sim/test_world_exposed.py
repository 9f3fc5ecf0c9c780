"""Plain functions in a world: an exposed object, and a route of one's own, need no threads there."""

from collections.abc import Iterator

from hanse import App, Gateway, expose, simulate
from hanse.sim.run import run


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def more(self, by: int = 1) -> int:
        self.count += by
        return self.count

    def upto(self, number: int) -> Iterator[int]:
        yield from range(number)


def double(number: int) -> int:
    return number * 2


def test_plain_functions_run_on_the_lane() -> None:
    service, gateway = expose(Counter), Gateway()
    gateway.get("/double/{number}")(double)

    async def story() -> list[object]:
        async with simulate(App("counter", service, gateway=gateway)) as world:
            counter = world.client(service)
            told = [await counter.more(2), await counter.more()]  # type: ignore[attr-defined]
            items = [item async for item in counter.upto(2)]  # type: ignore[attr-defined]
            async with world.http() as http:
                return [*told, items, (await http.request("GET", "/double/4")).body]

    assert run(story()) == [2, 3, [0, 1], b"8"]
