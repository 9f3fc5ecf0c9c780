"""A webhook has another id each time that it is sent.
Who receives it twice cannot tell."""

from collections.abc import Sequence

from hanse import World, simulation
from hanse.gateway.webhooks import delivering, signature

from . import hooks, instead


@instead(delivering)
def headers_of(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> dict[str, str]:
    return signature.headers_of(secrets, f"{id}.{timestamp}", timestamp, body)


@simulation(hooks.setup, seconds=hooks.SECONDS)
async def webhook_id_anew(world: World) -> None:
    await hooks.story(world)
