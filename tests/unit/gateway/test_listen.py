"""The socket that a server listens on."""

import asyncio
import signal
import socket
import sys

import pytest

from hanse.gateway.listen import admit_no_more, bound, url_of
from hanse.gateway.stops import Stops
from hanse.kernel.faults import CouldNotStart


@pytest.mark.parametrize("host", ["192.0.2.1", "no..host"])
def test_an_address_that_is_not_ours_is_refused_with_what_to_do(host: str) -> None:
    with (
        pytest.raises(CouldNotStart, match=rf"cannot listen on http://{host}:0: .*; .* choose another address"),
        bound(host, 0),
    ):
        pass


def test_a_taken_port_is_refused() -> None:
    with bound("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(CouldNotStart, match="Address already in use"), bound("127.0.0.1", first.getsockname()[1]):
            pass


def test_what_listens_everywhere_is_reached_here() -> None:
    with bound("0.0.0.0", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot be told")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_has_come_in_is_let_in_and_nobody_new_is_heard(host: str) -> None:
    with bound(host, 0) as listener:
        listener.listen()
        address = listener.getsockname()[:2]
        with socket.create_connection(address, timeout=10) as early:
            admit_no_more(listener)
            with pytest.raises(TimeoutError):
                _ = socket.create_connection(address, timeout=0.2)
            accepted, _ = listener.accept()
            with accepted:
                early.sendall(b"hello")
                accepted.settimeout(10)
                assert accepted.recv(10) == b"hello"
            with pytest.raises(BlockingIOError):
                _ = listener.accept()


def test_a_socket_that_cannot_be_told_is_left_as_it_is() -> None:
    with socket.socket(socket.AF_UNIX) as local, socket.socket() as closed:
        admit_no_more(local)
        closed.close()
        admit_no_more(closed)


async def test_the_first_signal_asks_and_the_second_forces() -> None:
    stops = Stops()
    stops.came(signal.SIGTERM)
    assert (stops.asked.is_set(), stops.forced.is_set()) == (True, False)

    stops.came(signal.SIGINT)
    assert await stops.unless_forced(asyncio.Event().wait()) == 130


async def test_work_that_ends_is_not_forced() -> None:
    assert await Stops().unless_forced(asyncio.sleep(0)) == 0


async def test_what_stops_the_work_is_raised_as_it_is() -> None:
    async def fails() -> None:
        raise CouldNotStart("the store refuses")

    async def within() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())

    for work in (fails(), within()):
        with pytest.raises(CouldNotStart, match="the store refuses"):
            await Stops().unless_forced(work)
