"""Addresses: which are this machine's own; and names of nodes: which are commands'."""

from __future__ import annotations

from ipaddress import ip_address

COMMAND = "command-"
"""Begins the names of nodes that are commands, and go with them; lists of nodes leave them out."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("10.0.0.1")
        (True, True, False)
    """
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(host: str, port: int) -> str:
    """Where something that listens on an address is called from this machine.

    Example:
        >>> url_of("0.0.0.0", 80), url_of("::1", 8000)
        ('http://127.0.0.1:80', 'http://[::1]:8000')
    """
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return f"http://{host}:{port}"
    local = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(address), str(address))  # noqa: S104  # compared, not bound
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"
