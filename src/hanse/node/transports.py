"""From URLs to transports, and to how nodes find each other.

Adapters are found by the URL's scheme: our own here, anybody's through the entry point groups `hanse.transports` and
`hanse.discoveries` (callables that take the URL and a `Place`, and give a `Transport` or a `Discovery`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings
from hanse.transport.base import Transport
from hanse.transport.discovery import Announcement, Discovery

TRANSPORTS = "hanse.transports"
DISCOVERIES = "hanse.discoveries"

T = TypeVar("T")


class Place(msgspec.Struct, frozen=True):
    """Where a transport is to work.

    Attributes:
        here: What the node says of itself: the app, its instance, release and zone.
        host: Its clocks and chance.
        settings: How it hosts.
    """

    here: Announcement
    host: Host
    settings: NodeSettings


def place_of(app: str, settings: NodeSettings, host: Host) -> Place:
    """Where a node of an app is.

    Args:
        app: The app's name.
        settings: How it hosts; an instance that has no name gets one of its own at each start.
        host: Its clocks and chance.
    """
    instance = settings.instance or f"{host.name}-{host.new_id()}"
    return Place(Announcement(instance, "", app=app, release=settings.release, zone=settings.zone), host, settings)


def open_transport(url: str, place: Place) -> Transport:
    """The transport that a URL names, not yet open.

    Raises:
        Misconfigured: The URL cannot be used, or nothing installed knows its scheme.
    """
    return _made(url, place, _TRANSPORTS, TRANSPORTS)


def open_discovery(url: str, place: Place) -> Discovery:
    """How nodes find each other, as a URL names it.

    Raises:
        Misconfigured: The URL cannot be used, or nothing installed knows its scheme.
    """
    return _made(url, place, _DISCOVERIES, DISCOVERIES)


def _made(url: str, place: Place, ours: Mapping[str, Callable[[str, Place], T]], group: str) -> T:
    scheme = url.partition(":")[0]
    make = ours.get(scheme)
    if make is None:
        from importlib.metadata import entry_points

        found = entry_points(group=group, name=scheme)
        if not found:
            what = group.rpartition(".")[2]
            known = ", ".join(f"{name}:" for name in sorted(ours))
            raise Misconfigured(f"{scheme + ':'!r} names none of the {what} that are installed: {known}")
        make = cast("Callable[[str, Place], T]", next(iter(found)).load())
    return make(url, place)


def _memory(url: str, place: Place) -> Transport:
    from hanse.transport.memory import MemoryTransport

    del place
    if url != "memory:":
        raise Misconfigured(f"expected memory: and nothing behind it, got {url!r}")
    return MemoryTransport()


def _stream(url: str, place: Place) -> Transport:
    from hanse.mesh.routed import Routed
    from hanse.transport.memory import MemoryTransport
    from hanse.transport.stream.direct import StreamDirect

    direct = StreamDirect(url, place.host, instance=place.here.instance)
    discovery = open_discovery(place.settings.discovery or (url if url.startswith("unix:") else "udp://"), place)
    return Routed(place.here, MemoryTransport(), direct, discovery, host=place.host)


def _zmq(url: str, place: Place) -> Transport:
    from hanse.mesh.routed import Routed
    from hanse.transport.memory import MemoryTransport
    from hanse.transport.zmq.direct import zmq_direct

    direct = zmq_direct(url, place.host, instance=place.here.instance)
    scheme, _, rest = url.partition(":")
    discovery = place.settings.discovery or (f"unix:{rest}" if scheme == "zmq+ipc" else "udp://")
    return Routed(place.here, MemoryTransport(), direct, open_discovery(discovery, place), host=place.host)


def _folder(url: str, place: Place) -> Discovery:
    from hanse.transport.folder import FolderDiscovery

    del place
    return FolderDiscovery(url.removeprefix("unix:"))


def _udp(url: str, place: Place) -> Discovery:
    from hanse.transport.udp import discovery

    return discovery(url, place.host, interface=place.settings.interface, keys=_keys(place))


def _seeds(url: str, place: Place) -> Discovery:
    from hanse.transport.seeds import discovery

    return discovery(url, place.host, interface=place.settings.interface, keys=_keys(place))


def _keys(place: Place) -> list[bytes]:
    return [key.encode() for key in place.settings.discovery_keys]


def _nats(url: str, place: Place) -> Transport:
    from hanse.transport.nats.login import Options
    from hanse.transport.nats.transport import NatsTransport

    return NatsTransport(url, place.host, Options(app=place.here.app))


_TRANSPORTS: Mapping[str, Callable[[str, Place], Transport]] = {
    "memory": _memory,
    "nats": _nats,
    "tcp": _stream,
    "tls": _nats,
    "unix": _stream,
    "zmq": _zmq,
    "zmq+ipc": _zmq,
}
_DISCOVERIES: Mapping[str, Callable[[str, Place], Discovery]] = {
    "dns": _seeds,
    "static": _seeds,
    "udp": _udp,
    "unix": _folder,
}
