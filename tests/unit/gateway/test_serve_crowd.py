"""What our server does with all of its connections does not hold up those who ask, however many there are."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from hanse.gateway.asgi import Receive, Scope, Send
from hanse.gateway.callers import LOOKS_EACH, Callers
from hanse.gateway.limits import Limits
from hanse.gateway.serve import SWEEP_SLICE, _Server
from hanse.gateway.streams import ABORT


class Line(asyncio.Transport):
    """A connection that remembers whether it was cut."""

    cut = False

    def abort(self) -> None:
        self.cut = True


class Looked:
    """A connection that counts how often it was looked at, and whom it saw go."""

    def __init__(self, looked: Callable[["Looked"], None]) -> None:
        self.keep_alive = lambda now, limits: looked(self)


def cycle_on(transport: asyncio.Transport) -> RequestResponseCycle:
    log = logging.getLogger("test")
    scope = cast("Any", {"type": "http", "method": "GET", "path": "/", "headers": []})
    return RequestResponseCycle(
        scope, transport, FlowControl(transport), log, log, False, [], asyncio.Event(), False, True, lambda: None
    )


async def nothing(scope: Scope, receive: Receive, send: Send) -> None: ...


async def test_the_power_to_cut_is_over_one_connection_only() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)

    server = _Server(app, Limits(), 1.0)
    lines = [Line(), Line()]
    for line in lines:
        cycle = cycle_on(line)
        # Both of a socket without addresses, such as a unix one.
        scope: Scope = {"type": "http", "client": None}
        await server._lending(app)(scope, cast("Receive", cycle.receive), cast("Send", cycle.send))
    cut = cast("Callable[[], None]", cast("dict[str, object]", scopes[0]["extensions"])[ABORT])
    cut()

    assert [line.cut for line in lines] == [True, False]


async def test_what_sends_by_other_means_is_lent_no_power() -> None:
    async def send(message: object) -> None: ...

    scope: Scope = {"type": "http", "client": None}
    await _Server(nothing, Limits(), 1.0)._lending(nothing)(scope, cast("Receive", send), cast("Send", send))

    assert ABORT not in cast("dict[str, object]", scope["extensions"])


async def test_a_look_at_all_connections_gives_others_their_turn() -> None:
    server, seen = _Server(nothing, Limits(), 1.0), list[Looked]()
    crowd = {Looked(seen.append) for _ in range(10 * SWEEP_SLICE)}
    server.server_state.connections = cast("Any", crowd)
    most, before = 0, 0

    async with asyncio.TaskGroup() as group:
        sweep = group.create_task(server._sweep())
        while not sweep.done():
            await asyncio.sleep(0)
            most, before = max(most, len(seen) - before), len(seen)

    assert set(seen) == crowd
    assert len(seen) == len(crowd)
    assert 0 < most <= SWEEP_SLICE


async def test_who_goes_meanwhile_is_looked_at_no_more() -> None:
    server, seen = _Server(nothing, Limits(), 1.0), list[Looked]()
    crowd: set[Looked] = set()

    def look(one: Looked) -> None:
        seen.append(one)
        crowd.clear()

    crowd |= {Looked(look) for _ in range(3)}
    server.server_state.connections = cast("Any", crowd)
    await server._sweep()

    assert len(seen) == 1


def test_refusing_many_looks_at_few() -> None:
    looks = 0

    def is_open() -> bool:
        nonlocal looks
        looks += 1
        return True

    callers = Callers(Limits(connections_local=40 * LOOKS_EACH))
    for _ in range(40 * LOOKS_EACH):
        assert callers.admits("127.0.0.1", is_open)
    looks = 0
    for _ in range(80):
        assert not callers.admits("127.0.0.1", is_open)
    assert 0 < looks <= 80 * LOOKS_EACH
