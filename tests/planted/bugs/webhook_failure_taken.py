"""Whatever a receiver answers, its webhook counts as delivered.
What it refused for a moment never comes again."""

from hanse import World, simulation
from hanse.gateway.webhooks import delivering
from hanse.gateway.webhooks.schedule import Answer, Delivered, Verdict

from . import hooks, instead


@instead(delivering)
def verdict(answer: Answer, attempt: int, draw: float) -> Verdict:
    return Delivered()


@simulation(hooks.setup, seconds=hooks.SECONDS)
async def webhook_failure_taken(world: World) -> None:
    await hooks.story(world)
