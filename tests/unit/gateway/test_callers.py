"""Connections are counted by address: nobody takes all, and whoever has gone is forgotten."""

import pytest

from hanse.gateway.callers import Callers
from hanse.gateway.limits import Limits

LIMITS = Limits(connections=2, connections_local=4)


@pytest.mark.parametrize(
    ("address", "let_in"),
    [
        ("192.0.2.1", 2),
        ("2001:db8::1", 2),
        ("127.0.0.1", 4),
        ("::1", 4),
        ("", 4),
        ("/run/unix.sock", 4),
        ("10.0.0.1", 4),
    ],
)
def test_an_address_has_so_many_and_this_machine_and_proxies_have_more(address: str, let_in: int) -> None:
    callers = Callers(LIMITS, lambda address: address == "10.0.0.1")
    assert sum(callers.admits(address, lambda: True) for _ in range(10)) == let_in


def test_one_address_takes_nothing_from_another() -> None:
    callers = Callers(LIMITS)
    while callers.admits("192.0.2.1", lambda: True):
        pass
    assert callers.admits("192.0.2.2", lambda: True)


def test_whoever_has_gone_makes_room_and_is_forgotten() -> None:
    callers, open_now = Callers(LIMITS), {"first"}
    assert callers.admits("192.0.2.1", lambda: "first" in open_now)
    assert callers.admits("192.0.2.1", lambda: True)
    assert not callers.admits("192.0.2.1", lambda: True)
    open_now.clear()
    assert callers.admits("192.0.2.1", lambda: "first" in open_now)
    assert callers.admits("192.0.2.9", lambda: False)
    callers.sweep()
    assert len(callers) == 1
