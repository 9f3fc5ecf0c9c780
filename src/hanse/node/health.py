"""How each thing is that a node needs: its stores, its transport, its services by their own word, and its relays."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from hanse.contract.declare import options_of
from hanse.delivery.relay import Relay
from hanse.kernel.faults import Fault
from hanse.kernel.host import Host
from hanse.node.background import as_unit
from hanse.node.figures import lag_of
from hanse.node.hosted import Hosted
from hanse.service.replicated import ReplicaOf
from hanse.service.service import Service
from hanse.transport.base import TellsTrouble, Transport

_log = logging.getLogger("hanse.node")

LOOK_SECONDS = 2.0
"""How long a store or a service may take to say how it is."""

State = Literal["ok", "behind", "failing"]
"""A node with something that fails is not ready; what is only behind will be made up for."""


class Condition(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one of them is.

    Attributes:
        state: `failing` keeps the node from being ready.
        since: When it was first seen so, by somebody who looked.
        why: What is wrong; empty where nothing is.
        lag: Of a relay, entries of the log that are not known to be handled; of a replica, positions of its owner's log
            that it has not come to, whatever they tell of.
    """

    state: State
    since: datetime
    why: str = ""
    lag: int = 0


class _Seen(msgspec.Struct, frozen=True):
    name: str
    state: State = "ok"
    why: str = ""
    lag: int = 0


class Health:
    """Looks at what a node needs, and remembers since when it has been so.

    Args of the constructor:
        host: Whose clock tells since when.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._last: dict[str, Condition] = {}

    async def look(self, transport: Transport, hosted: Sequence[Hosted], *, started: bool) -> dict[str, Condition]:
        """How all are, by name: `transport`, `store:orders`, `service:orders`, `relay:orders/mailer.receipt`.

        What takes from a broker to a service is a `subscriber:mailer/mailer.receipt`. A group that fails at everything
        is there as `group:mailer/mailer.receipt`, as long as it does: its relay may be another node's.

        Args:
            transport: That of the node.
            hosted: The services that it hosts.
            started: Whether these have started, so that they may be asked too.
        """
        looks = await asyncio.gather(*(_look(one, self._host, started=started) for one in hosted))
        found = [*_transport(transport), *(seen for look in looks for seen in look)]
        self._last = {seen.name: self._dated(seen) for seen in found}
        return self._last

    def _dated(self, seen: _Seen) -> Condition:
        last = self._last.get(seen.name)
        fresh = last is None or last.state != seen.state
        since = datetime.fromtimestamp(self._host.now(), UTC) if fresh else last.since  # type: ignore[union-attr]
        return Condition(seen.state, since, seen.why, seen.lag)


def _transport(transport: Transport) -> Iterator[_Seen]:
    if isinstance(transport, TellsTrouble):
        why = transport.trouble()
        yield _Seen("transport", "failing" if why else "ok", why)


async def _look(hosted: Hosted, host: Host, *, started: bool) -> list[_Seen]:
    name, head = hosted.part.name, 0

    async def ask_store() -> str:
        nonlocal head
        head = await hosted.store.head()
        return ""

    why = await _asked(f"the store of {name}", ask_store)
    found = [_Seen(f"store:{name}", "failing" if why else "ok", why)]
    if started and (unready := _own_word(hosted.instance)) is not None:

        async def ask_service() -> str:
            told = ""

            async def in_unit() -> None:
                nonlocal told
                told = await unready()

            await as_unit(f"{name}.unready", hosted, host, in_unit)
            return told

        own = await _asked(name, ask_service)
        found.append(_Seen(f"service:{name}", "failing" if own else "ok", own))
    if why:
        return found
    for relay in hosted.relays:
        await relay.look()
    _ = await asyncio.gather(*(subscriber.look() for subscriber in hosted.subscribers))
    copies = [await _replica(name, replica) for replica in hosted.replicas]
    relays = [_relay(name, relay, head) for relay in hosted.relays]
    return [*found, *relays, *_subscribers(hosted), *_groups(hosted), *copies]


def _subscribers(hosted: Hosted) -> Iterator[_Seen]:
    for one in hosted.subscribers:
        state: State = "behind" if one.trouble else "ok"
        yield _Seen(f"subscriber:{hosted.part.name}/{one.name}", state, one.trouble, one.lag)


def _groups(hosted: Hosted) -> Iterator[_Seen]:
    for inbox in hosted.inboxes:
        if inbox.held:
            why = "it fails at everything that it is given; one message at a time is tried"
            yield _Seen(f"group:{hosted.part.name}/{inbox.group}", "behind", why)


def _relay(service: str, relay: Relay, head: int) -> _Seen:
    return _Seen(
        f"relay:{service}/{relay.name}", "behind" if relay.trouble else "ok", relay.trouble, lag_of(relay, head)
    )


async def _replica(service: str, replica: ReplicaOf[Any]) -> _Seen:
    """A copy that is behind keeps nobody from reading it: that is what it is for."""
    lag = 0

    async def ask_owner() -> str:
        nonlocal lag
        lag = await replica.lag()
        return ""

    why = replica.trouble or await _asked("its owner", ask_owner)
    if not why and not (await replica.state()).whole:
        why = "its first snapshot is not whole"
    return _Seen(f"replica:{service}/{replica.name}", "behind" if why else "ok", why, lag)


def _own_word(instance: Service) -> Callable[[], Awaitable[str]] | None:
    """How a service says what keeps it from serving, where it does; an operation of that name is something else."""
    method: object = type(instance).unready
    own = callable(method) and method is not Service.unready and options_of(method) is None
    return instance.unready if own else None


async def _asked(what: str, ask: Callable[[], Awaitable[str]]) -> str:
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await ask()
    except TimeoutError:
        return f"no answer in {LOOK_SECONDS:g} s"
    except Fault as fault:
        return fault.detail
    except Exception as error:  # noqa: BLE001 - whatever is in its way, its neighbours are told of
        _log.exception("%s could not be asked how it is", what)
        return f"an unexpected error: {type(error).__qualname__}"
