"""What an operator does in a world: the dead letters of a service, asked with an identity that may.

And what a dead letter becomes that was exported: the same is told in a world, and its handler has to cope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, cast, final

import msgspec

from hanse.delivery.action import Selection
from hanse.kernel.context import Context, ambient
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Identity
from hanse.mesh.client import Caller
from hanse.node.app import App
from hanse.node.hosted import events_client, rows_named
from hanse.node.letters import Letters, letters_client
from hanse.service.service import may_emit_topic

OPERATOR = Headers(identity=Identity("operator", scopes=frozenset({"deadletters:write"})))
"""Who acts."""


@final
class _Acting:
    """Asks as the operator, whoever's work it is a part of."""

    def __init__(self, letters: Letters, host: Host) -> None:
        self._letters = letters
        self._host = host

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        ask: Callable[..., Awaitable[object]] = getattr(self._letters, name)

        async def call(*args: object, **kwargs: object) -> object:
            token = ambient.set(Context(self._host, OPERATOR))
            try:
                return await ask(*args, **kwargs)
            finally:
                ambient.reset(token)

        return call


def acting(letters: Letters, host: Host) -> Letters:
    """The same dead letters, asked by an operator."""
    return cast("Letters", _Acting(letters, host))


class Told(msgspec.Struct, frozen=True):
    """What a message told, so that it is told again in a world.

    Attributes:
        op: `emitted` for an event; what became of a row otherwise.
        name: The topic, or the collection.
        value: The event, or the row since, in JSON.
        before: The row until then, in JSON; empty where there was none.
        id: Of the row.
    """

    op: Literal["emitted", "created", "updated", "deleted"]
    name: str
    value: str = ""
    before: str = ""
    id: str = ""


class InWorld(Protocol):
    """What of a world is needed to tell something in it."""

    @property
    def app(self) -> App:
        """Its services."""
        ...

    @property
    def caller(self) -> Caller:
        """What clients outside of all services call with."""
        ...

    async def settle(self) -> None:
        """Wait until all that was told is handled."""
        ...


async def tell(world: InWorld, told: Told) -> None:
    """Tell something in a world, as it was told outside, and wait until all is handled that it leads to.

    Raises:
        AssertionError: No service of the app tells of such an event.
    """
    if told.op == "emitted":
        tellers = [part.name for part in world.app.parts if may_emit_topic(part.cls, told.name)]
        assert tellers, f"no service of {world.app.name} tells of {told.name!r}"
        _ = await events_client(tellers[0], world.caller).emit(told.name, told.value.encode())
    else:
        rows = rows_named(told.name, world.caller)
        if told.before:
            _ = await rows.put(told.id, told.before.encode())
            await world.settle()
        if told.op == "deleted":
            await rows.delete(told.id)
        else:
            _ = await rows.put(told.id, told.value.encode())
    await world.settle()


async def copes(world: InWorld, service: str, group: str, told: Told) -> None:
    """Tell something in a world, and make sure that a group of subscribers handles it.

    Args:
        world: Where.
        service: The one whose group it is.
        group: Such as `mailer.receipt`.
        told: What is told.

    Raises:
        AssertionError: The group could not handle it; says with what it failed.
    """
    await tell(world, told)
    letters = acting(letters_client(service, world.caller), world.caller.host)
    left = (await letters.find(Selection(group=group))).items
    assert not left, f"{group} failed with {left[0].code}: {left[0].text}"
