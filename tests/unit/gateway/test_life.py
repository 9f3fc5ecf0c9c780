"""What a server tells of itself: what runs where, what a drain waits for, what a stop has cut; and no passwords."""

import logging

import pytest

from hanse.gateway.life import Work, tell_draining, tell_started, tell_stopped
from hanse.kernel.settings import NodeSettings, ServiceSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.service import Service


class Shop(Service):
    pass


class Till(Service):
    pass


def node_of(**node: object) -> Node:
    own = ServiceSettings(store="sqlite:///till.db")
    return Node(App("shop", Shop, Till), Settings(node=NodeSettings(**node), services={"till": own}))  # type: ignore[arg-type]


def test_a_start_tells_what_runs_where_and_hides_passwords(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hanse.life")
    tell_started(node_of(store="postgresql://me:secret@db/shop"), "http://[::1]:8000", 0.25)
    told = vars(caplog.records[0])

    assert told["hanse.services"] == ["shop", "till"]
    assert told["hanse.stores"] == {"shop": "postgresql://me:********@db/shop?schema=shop", "till": "sqlite:///till.db"}
    assert (told["server.address"], told["server.port"], told["hanse.start.duration"]) == ("::1", 8000, 0.25)
    assert "shop, till at http://[::1]:8000" in caplog.text
    assert "secret" not in caplog.text


def test_a_drain_tells_what_is_waited_for_and_how_long(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hanse.life")
    tell_draining(node_of(drain_delay=5.0, grace=10.0), "SIGTERM", Work(requests=1, bodies=2))

    assert "SIGTERM: draining, for 5 s and then at most 10 s; under way: 1 request, 2 bodies" in caplog.text
    assert vars(caplog.records[0])["hanse.work.bodies"] == 2


@pytest.mark.parametrize(("cut", "level", "said"), [(0, "INFO", "nothing"), (3, "WARNING", "3")])
def test_a_stop_that_cut_anything_off_is_a_warning(
    caplog: pytest.LogCaptureFixture, cut: int, level: str, said: str
) -> None:
    caplog.set_level(logging.INFO, "hanse.life")
    tell_stopped("SIGTERM", 1.5, cut)

    assert [one.levelname for one in caplog.records] == [level]
    assert caplog.messages == [f"SIGTERM: stopped after 1.50 s; cut off: {said}"]
