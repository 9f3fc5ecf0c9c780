"""Where webhooks may be sent: the verdict about a URL, and about each address that its name stands for.

A subscriber chooses the URL, and we are the ones who ask there, from inside: without a guard anybody could have us
read the metadata of a cloud or write to a database. So a URL is taken apart strictly, its name is resolved once, every
address that comes is judged, and the connection is made to the address that was judged, not to the name again.

An address is let through because it is known to be public, not because it is in no list of bad ones. `ipaddress` alone
is not enough: what it calls global has changed from one Python to the next, and it does not look into the addresses of
IPv4 that IPv6 can carry.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

import msgspec

from hanse.kernel.faults import Fault, Misconfigured

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

URL_CHARACTERS_MAX = 2_048
"""Longest URL of a subscription."""

HOST_CHARACTERS_MAX = 253
"""Longest name of a host, as the DNS has it."""

PORTS_KNOWN = {"https": 443, "http": 80}
"""The usual port of each scheme."""

PORT_OPEN_MIN = 1_024
"""Below it only the usual port is sent to: there are mail, SSH, and what else was never meant to be spoken to so."""

_REFUSED_4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by the customers of a carrier"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's own, for its machines"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "of a relay of 6to4"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_UNSAFE = frozenset('\\\x7f"<>^`{|}')

_GLOBAL_6 = IPv6Network("2000::/3")
"""All that is public in IPv6; of it, what `_REFUSED_6` names is not."""

_NAT64 = IPv6Network("64:ff9b::/96")
_MAPPED = IPv6Network("::ffff:0:0/96")

_REFUSED_6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "an address of IPv4 in a form that is no longer used"),
        ("64:ff9b:1::/48", "NAT64 of a local network"),
        ("100::/64", "discarded"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)


_LOOPBACK = ("127.0.0.1", "::1")

_INSIDE = ("local", "localdomain", "internal", "home.arpa", "lan")
"""Ends of names that no public server has: of mDNS, of routers, and of private networks."""


class AddressRefused(Fault, status=422, detail="webhooks are not sent to {where}: {why}"):
    """A webhook is not sent to a place: it is inside, or is said in a way that could mean another."""

    where: str
    why: str


class Target(msgspec.Struct, frozen=True):
    """Where a URL leads.

    Attributes:
        scheme: `https` or `http`.
        host: Name or address, in ASCII and lower case; an address of IPv6 without brackets.
        port: Its port.
        path: Path and query, as they are asked for.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """What the `Host` header says.

        Example:
            >>> Target("https", "2606:4700::1", 443, "/").authority, Target("http", "a.example", 8080, "/").authority
            ('[2606:4700::1]', 'a.example:8080')
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS_KNOWN[self.scheme] else f"{host}:{self.port}"


class Reach(msgspec.Struct, frozen=True):
    """How far webhooks may be sent.

    Attributes:
        allow: Networks that may be sent to although they are not public.
        http: Whether plain HTTP will do; else only HTTPS.
    """

    allow: tuple[Network, ...] = ()
    http: bool = False

    def allows(self, address: Address) -> bool:
        """Whether an address is in a network that is let through."""
        return any(address.version == network.version and address in network for network in self.allow)


def reach_of(allow: Iterable[str], *, http: bool = False) -> Reach:
    """How far webhooks may be sent, as the settings say it.

    Args:
        allow: Networks such as `10.0.0.0/8`, or addresses.
        http: Whether plain HTTP will do.

    Raises:
        Misconfigured: One of them is no network.

    Example:
        >>> refusal(ip_address("10.1.2.3"), reach_of(["10.0.0.0/8"]))
        ''
    """
    networks: list[Network] = []
    for text in allow:
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise Misconfigured(
                f"expected a network such as 10.0.0.0/8 that webhooks may be sent to: {error}"
            ) from None
    return Reach(tuple(networks), http)


def refusal(address: Address, reach: Reach) -> str:
    """Why an address is not sent to; empty where it is.

    Example:
        >>> nowhere = Reach()
        >>> refusal(ip_address("169.254.169.254"), nowhere), refusal(ip_address("64:ff9b::a9fe:a9fe"), nowhere)
        ('link-local', 'link-local')
        >>> refusal(ip_address("1.1.1.1"), nowhere), refusal(ip_address("2606:4700::1111"), nowhere)
        ('', '')
    """
    if reach.allows(address):
        return ""
    carried = _carried(address)
    if carried is not None:
        return refusal(carried, reach)
    if isinstance(address, IPv4Address):
        return next((why for network, why in _REFUSED_4 if address in network), "")
    if address.scope_id is not None:
        return "link-local"
    known = next((why for network, why in _REFUSED_6 if address in network), "")
    return known or ("" if address in _GLOBAL_6 else "reserved")


def target_of(url: str, reach: Reach) -> Target:
    """Take a URL apart, and refuse what could mean another place, or is one inside at first sight.

    Args:
        url: Such as `https://shop.example/hooks?for=orders`.
        reach: How far webhooks may be sent.

    Raises:
        AddressRefused: It is none that is sent to.

    Example:
        >>> target_of("https://Shop.example/hooks", Reach())
        Target(scheme='https', host='shop.example', port=443, path='/hooks')
    """
    _check_text(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise AddressRefused(url, f"it is no URL: {error}") from None
    if "@" in parts.netloc:
        raise AddressRefused(host or "a URL", "a URL with credentials; they would be in every log")
    schemes = ("https", "http") if reach.http else ("https",)
    if parts.scheme not in schemes:
        raise AddressRefused(url, f"expected {' or '.join(schemes)}, got {parts.scheme or 'no scheme'}")
    if parts.fragment:
        raise AddressRefused(url, "it has a fragment, which nobody would be sent")
    if "[" in parts.netloc and ":" not in host:
        raise AddressRefused(host, "expected an address of IPv6 in the brackets")
    host = _host(host)
    known = PORTS_KNOWN[parts.scheme]
    port = known if port is None else port
    if port != known and port < PORT_OPEN_MIN:
        raise AddressRefused(url, f"expected the port {known}, or one from {PORT_OPEN_MIN} on, got {port}")
    literal = literal_of(host)
    if literal is not None and (why := refusal(literal, reach)):
        raise AddressRefused(host, f"the address is {why}")
    if literal is None and (why := _name_refusal(host, reach)):
        raise AddressRefused(host, why)
    path = parts.path or "/"
    return Target(parts.scheme, host, port, f"{path}?{parts.query}" if parts.query else path)


def checked(host: str, addresses: Iterable[str], reach: Reach) -> list[Address]:
    """The addresses that a name stands for, if every one of them may be sent to.

    One that may not is enough to refuse all: a name that leads inside now and then is no mistake.

    Args:
        host: The name, for the error.
        addresses: What it was resolved to.
        reach: How far webhooks may be sent.

    Raises:
        AddressRefused: One of them is refused, or there is none.
    """
    found: list[Address] = []
    for text in addresses:
        address = ip_address(text)
        if why := refusal(address, reach):
            raise AddressRefused(host, f"it stands for {address}, which is {why}")
        found.append(address)
    if not found:
        raise AddressRefused(host, "it stands for no address")
    return found


def literal_of(host: str) -> Address | None:
    """The address that a host is by itself; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _carried(address: Address) -> IPv4Address | None:
    """The address of IPv4 that one of IPv6 leads to, in the forms that are in use."""
    if isinstance(address, IPv6Address) and (address in _NAT64 or address in _MAPPED):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _check_text(url: str) -> None:
    if len(url) > URL_CHARACTERS_MAX:
        raise AddressRefused(f"{url[:60]}...", f"expected a URL of at most {URL_CHARACTERS_MAX} characters")
    # What one reader skips, another takes for the end of the host; `urlsplit` drops tabs and line breaks.
    if not url.isascii() or any(character <= " " or character in _UNSAFE for character in url):
        raise AddressRefused(repr(url)[1:-1], "expected visible ASCII alone; write names in Punycode, the rest as %xx")


def _host(host: str) -> str:
    """The host, if everybody reads it as we do."""
    if not host:
        raise AddressRefused("a URL without a host", "expected one such as https://shop.example/hooks")
    if ":" in host:
        if "%" in host or not isinstance(literal_of(host), IPv6Address):
            raise AddressRefused(host, "expected an address of IPv6 without a zone")
        return host
    host = host.removesuffix(".")
    labels = host.split(".")
    if len(host) > HOST_CHARACTERS_MAX or not all(_is_label(label) for label in labels):
        raise AddressRefused(host or ".", "expected labels of letters, digits and hyphens")
    if _is_number(labels[-1]) and not isinstance(literal_of(host), IPv4Address):
        # Resolvers take 2130706433, 0x7f.1 and 0177.0.0.1 for 127.0.0.1.
        raise AddressRefused(host, "expected an address of IPv4 as four decimal numbers, such as 192.0.2.1")
    return host


def _name_refusal(host: str, reach: Reach) -> str:
    """Why a name is refused before anybody resolves it, as it never leads to a public server; empty where it may.

    Where networks are let through, names of them are: what they stand for is judged on connecting.
    """
    if host == "localhost" or host.endswith(".localhost"):
        # As RFC 6761 has it, whatever a resolver says.
        refused = [why for address in _LOOPBACK if (why := refusal(ip_address(address), reach))]
        return f"it stands for this machine, which is {refused[0]}" if len(refused) == len(_LOOPBACK) else ""
    if reach.allow:
        return ""
    if "." not in host:
        return "expected the whole name of a public server, such as shop.example; this one is known inside alone"
    return next((f"names under .{end} are private" for end in _INSIDE if host.endswith(f".{end}")), "")


def _is_label(label: str) -> bool:
    plain = label.replace("-", "a").replace("_", "a")
    return 0 < len(label) <= 63 and plain.isalnum() and not label.startswith("-") and not label.endswith("-")  # noqa: PLR2004 - the DNS says 63


def _is_number(label: str) -> bool:
    return label.isdigit() or (label.startswith("0x") and all(digit in "0123456789abcdef" for digit in label[2:]))
