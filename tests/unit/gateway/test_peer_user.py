"""Which user of this machine asks, as the lists of Linux have it."""

import os
import socket
import sys

import pytest

from hanse.gateway.peer_user import user_in, user_of

HEAD = "0: {0} 0100007F:1F40 01 00000000:00000000 00:00000000 00000000 1000 0 7 1"


@pytest.mark.skipif(sys.platform != "linux" or sys.byteorder != "little", reason="Linux lists words as memory has them")
@pytest.mark.parametrize(
    ("listed", "host"),
    [
        ("0100007F:C350", "127.0.0.1"),
        ("0000000000000000FFFF00000100007F:C350", "127.0.0.1"),
        ("00000000000000000000000001000000:C350", "::1"),
        ("0100007F:C350", "::ffff:127.0.0.1"),
    ],
)
def test_an_address_is_found_as_it_is_listed(listed: str, host: str) -> None:
    assert user_in([HEAD.format("0200007F:C350"), HEAD.format(listed)], host, 50_000) == 1000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists connections so")
@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_connection_of_this_process_is_by_its_user(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listening:
        try:
            listening.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        listening.listen()
        with socket.create_connection(listening.getsockname()[:2]) as asking:
            assert user_of(asking.getsockname()[:2]) == os.getuid()


@pytest.mark.parametrize("client", [None, ("127.0.0.1", 0), ("no address", 1), ("", None), "x"])
def test_of_what_nobody_lists_nothing_is_known(client: object) -> None:
    assert user_of(client) is None
