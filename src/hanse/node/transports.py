"""From URLs to transports, and to how nodes find each other.

Adapters are found by the URL's scheme: our own here, anybody's through the entry point groups `hanse.transports` and
`hanse.discoveries` (callables that take the URL and a `Place`, and give a `Transport` or a `Discovery`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings
from hanse.kernel.settings_resources import SCHEME, not_there
from hanse.transport.base import Transport
from hanse.transport.direct import Direct
from hanse.transport.discovery import Announcement, Discovery

if TYPE_CHECKING:
    from ssl import SSLContext

    from hanse.transport.stream.tls import Tls

TRANSPORTS = "hanse.transports"
DISCOVERIES = "hanse.discoveries"

T = TypeVar("T")

_log = logging.getLogger("hanse.node")

LOOPBACK = "127.0.0.1"
_TLS_WANTED = "set node.tls_certificate, tls_key and tls_authority"
_KEYS_WANTED = "set node.zmq_secret and zmq_allowed"


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
    here = Announcement(instance, "", app=app, release=settings.release, zone=settings.zone, since=host.now())
    return Place(here, host, settings)


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
        if url.startswith(SCHEME):
            raise Misconfigured(not_there(url))
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
    from hanse.transport.stream.direct import StreamDirect

    url, tls = _on_interface(url, "tcp://", place), _tls(url, place.settings)
    _warn(url, "" if tls else _TLS_WANTED)
    direct = StreamDirect(url, place.host, instance=place.here.instance, tls=tls)
    return _routed(direct, url if url.startswith("unix:") else "udp://", place)


def _zmq(url: str, place: Place) -> Transport:
    from hanse.transport.zmq.curve import Curve
    from hanse.transport.zmq.direct import zmq_direct

    secret, allowed = place.settings.zmq_secret, place.settings.zmq_allowed
    if bool(secret) is not bool(allowed):
        raise Misconfigured("expected node.zmq_secret and node.zmq_allowed, or neither: a key, and whose are believed")
    url, curve = _on_interface(url, "zmq://", place), Curve(secret=secret, allowed=allowed) if secret else None
    _warn(url, "" if curve else _KEYS_WANTED)
    direct = zmq_direct(url, place.host, instance=place.here.instance, curve=curve)
    scheme, _, folder = url.partition(":")
    return _routed(direct, f"unix:{folder}" if scheme == "zmq+ipc" else "udp://", place)


def _routed(direct: Direct, discovery: str, place: Place) -> Transport:
    """What goes to others directly, with the discovery that the settings name, or else this."""
    from hanse.mesh.routed import Routed
    from hanse.transport.memory import MemoryTransport

    found = open_discovery(place.settings.discovery or discovery, place)
    return Routed(place.here, MemoryTransport(), direct, found, host=place.host)


def _on_interface(url: str, nowhere: str, place: Place) -> str:
    """The URL; where it names no place, that of the interface on which others are found: they have to reach it too."""
    from hanse.transport.members.interface import find_interface

    if url != nowhere or not place.settings.interface:
        return url
    return f"{nowhere}{_bracketed(find_interface(place.settings.interface).address)}:0"


def _warn(url: str, wanted: str) -> None:
    """Say that anybody can call, and what is wanted against that."""
    if wanted and url.startswith(("tcp:", "zmq:")) and not is_loopback(urlsplit(url).hostname or LOOPBACK):
        _log.warning("whoever reaches %s may call everything; %s", url, wanted)


def _tls(url: str, settings: NodeSettings) -> Tls | None:
    """TLS as the settings have it.

    Raises:
        Misconfigured: They have half of it.
    """
    from hanse.transport.stream.tls import Tls

    given = (settings.tls_certificate, settings.tls_key, settings.tls_authority)
    if not url.startswith("tcp:") or not any(given):
        return None
    if not all(given):
        raise Misconfigured(
            "expected node.tls_certificate, node.tls_key and node.tls_authority, all three or none: each node shows "
            "who it is, and believes those whom the authority has signed"
        )
    return Tls(certificate=given[0], key=given[1], authority=given[2])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    Example:
        >>> is_loopback("127.0.0.2"), is_loopback("localhost"), is_loopback("10.0.0.7"), is_loopback("shop.example")
        (True, True, False, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


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

    settings = place.settings
    return NatsTransport(
        url,
        place.host,
        Options(app=place.here.app, credentials=settings.credentials, tls=_broker_tls(settings)),
        here=place.here,
    )


def _broker_tls(settings: NodeSettings) -> SSLContext | None:
    """How servers are verified, and what the node shows them; None where the settings say nothing of it.

    Raises:
        Misconfigured: A file cannot be used, or a certificate has no key.
    """
    import ssl

    certificate, key, authority = settings.tls_certificate, settings.tls_key, settings.tls_authority
    if bool(certificate) != bool(key):
        raise Misconfigured("expected node.tls_certificate and node.tls_key, both or none")
    if not certificate and not authority:
        return None
    try:
        context = ssl.create_default_context(cafile=authority or None)
        if certificate:
            context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"node.tls_certificate, tls_key or tls_authority cannot be used: {error}") from None
    return context


def _redis(url: str, place: Place) -> Transport:
    from hanse.transport.redis.options import Options
    from hanse.transport.redis.transport import RedisTransport

    settings = place.settings
    options = Options(app=place.here.app, tls=_broker_tls(settings), keeps=settings.events == "broker")
    return RedisTransport(url, place.host, options, here=place.here)


def _amqp(url: str, place: Place) -> Transport:
    try:
        from hanse.transport.amqp.options import Options
        from hanse.transport.amqp.transport import AmqpTransport
    except ModuleNotFoundError as error:
        raise Misconfigured(f"amqp:// needs a codec of its protocol ({error}): pip install 'hanse[amqp]'") from None

    options = Options(app=place.here.app, tls=_broker_tls(place.settings))
    return AmqpTransport(url, place.host, options, here=place.here)


_TRANSPORTS: Mapping[str, Callable[[str, Place], Transport]] = {
    "amqp": _amqp,
    "amqps": _amqp,
    "memory": _memory,
    "nats": _nats,
    "redis": _redis,
    "rediss": _redis,
    "tcp": _stream,
    "tls": _nats,
    "unix": _stream,
    "valkey": _redis,
    "valkeys": _redis,
    "zmq": _zmq,
    "zmq+ipc": _zmq,
}
_DISCOVERIES: Mapping[str, Callable[[str, Place], Discovery]] = {
    "dns": _seeds,
    "static": _seeds,
    "udp": _udp,
    "unix": _folder,
}
