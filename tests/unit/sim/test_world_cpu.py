"""`@cpu` in a world: the work is done in place, so that a seed decides over all of it."""

from hanse import App, Service, cpu, rpc, simulate
from hanse.sim.run import run


@cpu
def square(number: int) -> int:
    return number * number


class Squares(Service):
    @rpc
    async def square(self, number: int) -> int:
        return await square(number)


def test_work_for_processes_is_done_in_place() -> None:
    async def story() -> int:
        async with simulate(App("squares", Squares)) as world:
            return await world.client(Squares).square(7)

    assert run(story()) == 49
