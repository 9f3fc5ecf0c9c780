"""The dead letters of an app that does not run: its stores are opened, and nothing is served, relayed or carried out.

What is asked for is kept as a row, as ever; replays and drops are carried out when the service runs again. A rehearsal
runs the handler here, on an object that was constructed and not started.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.message import Headers
from hanse.kernel.settings import ServiceSettings, Settings
from hanse.kernel.tasks import Tasks
from hanse.mesh.client import Caller
from hanse.node.app import App, parts_named
from hanse.node.events import subscriptions_by_address
from hanse.node.hosted import Hosted
from hanse.node.letters_served import LettersOf
from hanse.node.stores import open_store, url_for
from hanse.transport.memory import MemoryTransport

T = TypeVar("T")


async def asked_at_rest(
    app: App, settings: Settings, service: str, call: Callable[[LettersOf], Awaitable[T]], headers: Headers
) -> T:
    """The answer of one operation on the dead letters of a service.

    Args:
        app: The services.
        settings: Where their stores are.
        service: Whose.
        call: Asks.
        headers: Who does.

    Raises:
        Misconfigured: The app has no such service, or a setting cannot be used.
        CouldNotStart, Unavailable: A store refuses, or cannot be reached.
    """
    host = Host.system()
    async with letters_at_rest(app, settings, host) as found:
        if service not in found:
            raise Misconfigured(f"expected a service of the app {app.name!r}, got {service!r}; it has {[*found]}")
        letters = found[service]
        context = Context(host, headers)
        context.store = letters.store
        token = ambient.set(context)
        try:
            answer = await call(letters)
            if context.work is not None:
                await context.work.commit()
        finally:
            ambient.reset(token)
        return answer


@asynccontextmanager
async def letters_at_rest(app: App, settings: Settings, host: Host) -> AsyncGenerator[Mapping[str, LettersOf]]:
    """The dead letters of each service, by its name, straight from its store.

    Args:
        app: The services.
        settings: Where their stores are.
        host: Clocks and ids.

    Raises:
        Misconfigured: A setting cannot be used.
        CouldNotStart: A store refuses.
        Unavailable: A store cannot be reached.
    """
    app.check()
    found: dict[str, LettersOf] = {}
    subscriptions = subscriptions_by_address(app)
    async with AsyncExitStack() as opened, Tasks(lambda _: None) as tasks:
        caller = Caller(MemoryTransport(), host, tasks, timeout=settings.node.timeout)
        for part in parts_named(app, settings.node.services):
            store = open_store(url_for(settings, part.name))
            values = settings.services.get(part.name, ServiceSettings()).settings
            hosted = Hosted(app, part, store, caller, values, host)
            opened.push_async_callback(store.close)
            await store.open(hosted.schemas())
            found[part.name] = LettersOf(hosted, subscriptions, host)
        yield found
