"""A webhook that comes in is told without the key that its id makes.
One that comes again, as its sender did not hear the answer, takes effect again."""

from hanse import World, simulation
from hanse.contract.model import topic_of
from hanse.gateway.asgi import Request, Response
from hanse.gateway.body import read_body
from hanse.gateway.cloud_events import plain
from hanse.gateway.webhooks.receive import Receiver
from hanse.kernel.context import current

from . import hooks, instead


@instead(Receiver)
async def __call__(self: Receiver, request: Request) -> Response:  # noqa: N807 - it is what is replaced
    body = await read_body(request, self._limits)
    one = self._received
    _ = one.scheme.verify(request.headers(), body, current().host.now())
    _ = await self._first.emit(topic_of(one.kind), plain(body, one.kind).value)
    return Response(204, b"", (), "")


@simulation(hooks.setup, seconds=hooks.SECONDS)
async def received_without_key(world: World) -> None:
    await hooks.story(world)
