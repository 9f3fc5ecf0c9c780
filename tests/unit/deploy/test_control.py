from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from hanse.control.desired import Command, Desired
from hanse.control.promises import Promises
from hanse.deploy.checks import Checks
from hanse.deploy.control_client import NotDone, asked
from hanse.deploy.control_server import ControlServer
from hanse.deploy.control_words import Answer, Ask, Refused, Row, Status, Wish, given_up, is_settled
from hanse.deploy.home import Home
from hanse.deploy.project import Plan, Project
from hanse.deploy.releasing import Releasing
from hanse.deploy.supervisor import Supervisor
from hanse.deploy.yard import SupervisorYard
from hanse.kernel.faults import CouldNotStart, Malformed, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.settings import Settings

WEB = Desired("web", Command(("serve",)))


async def nothing(_source: str) -> Promises:
    return {}


async def answered(folder: Path, *asks: bytes) -> list[Answer]:
    """What a server answers, of a system that has not started anything."""
    project, host = Project(folder), Host.fixed(wall=1_700_000_000.0, seed=1)
    supervisor = Supervisor(project, host, print)
    yard = SupervisorYard(supervisor, Checks(nothing), host)
    async with Releasing(yard, folder, host) as releasing:
        server = ControlServer(supervisor, project, host, releasing)
        before = await server.answer(b'{"verb":"status"}')
        assert before.status is not None
        assert before.status.services == ()
        supervisor.replan(Plan(Settings(), {"web": WEB}, {}))
        return [await server.answer(ask) for ask in asks]


async def test_what_is_no_ask_is_refused(tmp_path: Path) -> None:
    no_verb, no_json, unknown = await answered(
        tmp_path, b'{"verb":"dance"}', b"\xff", b'{"verb":"stop","services":["wep"]}'
    )
    assert no_verb.refused is not None
    assert no_verb.refused.code == "malformed"
    assert no_json.refused is not None
    assert unknown.refused == Refused("misconfigured", "there is no service 'wep'; there are web")


async def test_what_is_wished_for_is_told(tmp_path: Path) -> None:
    scaled, stopped, again, down = await answered(
        tmp_path,
        b'{"verb":"scale","instances":{"web":3}}',
        b'{"verb":"stop"}',
        b'{"verb":"restart","services":["web"]}',
        b'{"verb":"down"}',
    )
    wanted = [one.status.services for one in (scaled, stopped, again, down) if one.status is not None]
    assert wanted == [(Wish("web", 3),), (Wish("web", 0),), (Wish("web", 1),), (Wish("web", 0),)]
    assert down.status is not None
    assert down.status.ending


@contextmanager
def saying(home: Home, said: bytes) -> Generator[None]:
    """A system that says so to whoever asks, and hangs up."""
    home.make()
    with home.listen() as listening:

        def talk() -> None:
            link, _ = listening.accept()
            with link:
                _ = link.recv(4096)
                link.sendall(said)

        thread = threading.Thread(target=talk)
        thread.start()
        yield
        thread.join()


@pytest.mark.parametrize(
    ("said", "fault", "why"),
    [
        (b"", Unavailable, "does not answer: it hung up"),
        (b"nonsense\n", Malformed, "expected how the system in"),
        (msgspec.json.encode(Answer(refused=Refused("x", "not now"))) + b"\n", NotDone, "not now"),
    ],
)
def test_a_command_says_what_is_wrong_with_a_system(
    tmp_path: Path, said: bytes, fault: type[Exception], why: str
) -> None:
    with saying(Home(tmp_path), said), pytest.raises(fault, match=why):
        _ = asked(Home(tmp_path), Ask("status"))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / ".hanse").write_text("a file")
    with pytest.raises(CouldNotStart, match=r"cannot make .*\.hanse: "):
        Home(tmp_path).make()
    with pytest.raises(CouldNotStart, match="cannot listen at"):
        _ = Home(tmp_path).listen()


def test_what_another_system_left_behind_is_replaced(tmp_path: Path) -> None:
    home = Home(tmp_path / ("deep" * 30))
    home.project.mkdir()
    home.make()
    with home.listen(), home.listen() as second:
        assert home.control.is_socket()
        assert second.family is socket.AF_UNIX
    assert (home.folder / ".gitignore").read_text() == "*\n"


def status(*rows: tuple[str, str], wanted: int = 1, job: bool = False) -> Status:
    there = tuple(
        msgspec.convert(
            {
                **dict.fromkeys(("release", "why"), ""),
                **dict.fromkeys(("since", "pid", "port", "restarts"), 0),
                "instance": f"{service}-1",
                "service": service,
                "phase": phase,
            },
            Row,
        )
        for service, phase in rows
    )
    return Status("", "", 1, 2, (Wish("web", wanted, job),), there)


def test_a_system_is_settled_when_all_that_should_run_is_ready_and_nothing_else_is_there() -> None:
    assert is_settled(status(("web", "ready")))
    assert is_settled(status(("web", "done"), job=True))
    assert is_settled(status(wanted=0))
    for rows in ([], [("web", "starting")], [("web", "ready"), ("web", "draining")]):
        assert not is_settled(status(*rows))
    told = replace(status(("web", "ready")), shown=7, seen=6)
    assert not is_settled(told), "the edge does not go by it yet"
    assert is_settled(replace(told, seen=7))
    assert [row.instance for row in given_up(status(("web", "crash loop")))] == ["web-1"]
