import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec
import pytest

from hanse.kernel.faults import CouldNotStart
from hanse.transport.discovery import Announcement
from hanse.transport.folder import ANNOUNCE, PING, PONG, FolderDiscovery

from .nodes import WAIT_SECONDS, Bare, Place


class Member:
    """A node as discovery sees it, and what it was told."""

    def __init__(self, folder: Path, instance: str, app: str = "shop") -> None:
        self.discovery: FolderDiscovery = FolderDiscovery(folder)
        self.here: Announcement = Announcement(instance, f"unix:{instance}", app=app)
        self.told: list[tuple[str, tuple[str, ...], int]] = []
        self.gone: list[str] = []
        self._changed = asyncio.Event()

    async def open(self) -> None:
        await self.discovery.open(self.here, self._told, self._gone)

    def serve(self, *names: str) -> None:
        self.here = msgspec.structs.replace(self.here, names=names, version=self.here.version + 1)
        self.discovery.announce(self.here)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not true():
                self._changed.clear()
                await self._changed.wait()

    async def knows(self, number: int) -> None:
        """Wait until so much was told."""
        await self.until(lambda: len(self.told) == number)

    async def heard(self, instance: str, version: int) -> None:
        """Wait until an instance was told of in a version."""
        await self.until(lambda: any((name, at) == (instance, version) for name, _, at in self.told))

    def _told(self, announcement: Announcement) -> None:
        self.told.append((announcement.instance, announcement.names, announcement.version))
        self._changed.set()

    def _gone(self, instance: str) -> None:
        self.gone.append(instance)
        self._changed.set()


@contextlib.asynccontextmanager
async def members(folder: Path, *instances: str, app: str = "shop") -> AsyncGenerator[list[Member]]:
    found = [Member(folder, instance, app) for instance in instances]
    for member in found:
        await member.open()
    try:
        yield found
    finally:
        for member in found:
            await member.discovery.close()


async def test_a_newcomer_knows_all_when_it_has_opened_and_is_known(unix: Place) -> None:
    async with members(unix.folder, "a", "b", "c") as (a, b, c):
        assert [name for name, _, _ in c.told] == ["a", "b"]
        await a.until(lambda: len(a.told) == 2)
        await b.until(lambda: len(b.told) == 2)
        assert not any(member.here.instance in dict.fromkeys(n for n, _, _ in member.told) for member in (a, b, c))


async def test_what_changes_is_told_to_all_once_and_in_order(unix: Place) -> None:
    async with members(unix.folder, "a", "b", "c") as (a, b, c):
        a.serve("orders")
        a.serve("orders", "rows/orders")
        for other in (b, c):
            await other.heard("a", 3)
            assert [version for name, _, version in other.told if name == "a"] == [1, 2, 3]


async def test_all_who_start_at_once_find_each_other(unix: Place) -> None:
    found = [Member(unix.folder, f"n{number}") for number in range(12)]
    await asyncio.gather(*(member.open() for member in found))
    for member in found:
        await member.knows(11)
    for member in found[1:]:
        await member.discovery.close()
    await found[0].until(lambda: len(found[0].gone) == 11)
    await found[0].discovery.close()


async def test_who_leaves_has_gone_and_its_file_too(unix: Place) -> None:
    async with members(unix.folder, "a", "b") as (a, b):
        await b.discovery.close()
        await a.until(lambda: a.gone == ["b"])
        assert [path.name for path in unix.folder.iterdir()] == ["a.node"]
        assert b.gone == []


async def test_who_leaves_and_comes_back_is_told_again(unix: Place) -> None:
    async with members(unix.folder, "a", "b") as (a, b):
        await b.discovery.close()
        await a.until(lambda: a.gone == ["b"])
        await b.open()
        await a.until(lambda: [name for name, _, _ in a.told] == ["b", "b"])


async def test_nodes_of_another_app_are_not_told_of(unix: Place) -> None:
    async with members(unix.folder, "a"), members(unix.folder, "x", app="other") as (x,):
        async with members(unix.folder, "b") as (b,):
            assert [name for name, _, _ in b.told] == ["a"]
        assert (x.told, x.gone) == ([], [])


async def test_names_may_hold_what_files_may_not(unix: Place) -> None:
    async with members(unix.folder, "orders/1.5/ä", "b") as (_, b):
        assert [name for name, _, _ in b.told] == ["orders/1.5/ä"]


async def test_files_of_the_dead_are_removed(unix: Place) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(unix.folder / "dead.node"))
    (unix.folder / "notes.node").write_text("no socket")
    async with members(unix.folder, "a") as (a,):
        assert a.told == []
        assert sorted(path.name for path in unix.folder.iterdir()) == ["a.node", "notes.node"]


async def test_an_instance_of_the_same_name_is_refused(unix: Place) -> None:
    async with members(unix.folder, "a"):
        with pytest.raises(CouldNotStart, match="another process listens at"):
            await Member(unix.folder, "a").open()


async def test_who_does_not_answer_when_suspected_has_gone(unix: Place) -> None:
    async with members(unix.folder, "a", "b") as (a, b):
        bare = await Bare.to(f"unix:{unix.folder}/a.node")
        bare.greet_as(Announcement("mute", "", app="shop"))
        await a.until(lambda: len(a.told) == 2)
        for instance in ("mute", "mute", "b", "nobody"):
            a.discovery.suspect(instance)
        await bare.frame(PING)
        await a.until(lambda: a.gone == ["mute"])
        await bare.ended()
        await bare.close()
        b.serve("orders")
        await a.until(lambda: a.told[-1] == ("b", ("orders",), 2))
        assert a.gone == ["mute"]


async def test_a_ping_is_answered(unix: Place) -> None:
    async with members(unix.folder, "a"):
        bare = await Bare.to(f"unix:{unix.folder}/a.node")
        bare.greet_as(Announcement("x", "", app="shop"))
        bare.send(PING, 0)
        await bare.frame(PONG)
        await bare.close()


@pytest.mark.parametrize("kind", [99, ANNOUNCE])
async def test_who_speaks_otherwise_is_not_listened_to(
    unix: Place, kind: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with members(unix.folder, "a") as (a,):
        bare = await Bare.to(f"unix:{unix.folder}/a.node")
        bare.greet_as(Announcement("x", "", app="shop"))
        bare.send(kind, 0, Announcement("somebody-else", "", app="shop"))
        await bare.ended()
        await bare.close()
        await a.until(lambda: a.gone == ["x"])
        assert [name for name, _, _ in a.told] == ["x"]
    assert "discovery does not listen to x" in caplog.text


async def test_who_sends_garbage_is_not_listened_to(unix: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with members(unix.folder, "a"):
        bare = await Bare.to(f"unix:{unix.folder}/a.node")
        bare.writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await bare.ended()
        await bare.close()
    assert "a node that did not say who" in caplog.text


async def test_a_look_mends_what_was_missed(unix: Place) -> None:
    async with members(unix.folder, "a", "b") as (a, b):
        await a.until(lambda: len(a.told) == 1)
        for peer in list(a.discovery._peers):
            peer.abort()
        await a.until(lambda: a.gone == ["b"])
        await a.until(lambda: [name for name, _, _ in a.told] == ["b", "b"])
        await b.until(lambda: len(b.told) == 2)


async def test_a_folder_that_cannot_be_used_is_told(unix: Place) -> None:
    (unix.folder / "file").write_text("")
    with pytest.raises(CouldNotStart, match="cannot listen at"):
        await Member(unix.folder / "file", "a").open()


async def test_what_was_never_opened_can_be_closed(unix: Place) -> None:
    member = Member(unix.folder, "a")
    member.discovery.suspect("b")
    await member.discovery.close()


async def test_more_nodes_than_the_limit_are_not_listened_to(unix: Place, caplog: pytest.LogCaptureFixture) -> None:
    async with members(unix.folder, "a") as (a,):
        full = FolderDiscovery(unix.folder, nodes_max=0)
        await full.open(Announcement("full", "", app="shop"), lambda _: None, lambda _: None)
        await full.close()
        assert [name for name, _, _ in a.told] == []
    assert "is not listened to: 0 are, which is the limit" in caplog.text
