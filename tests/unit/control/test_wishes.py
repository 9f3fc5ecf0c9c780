from __future__ import annotations

import pytest

from hanse.control.desired import Command, Desired
from hanse.control.released import BASE
from hanse.control.wishes import Wishes, needed, restarted, scaled, wished
from hanse.kernel.faults import Misconfigured


def one(name: str, *needs: str, port: int = 0) -> Desired:
    return Desired(name, Command((name,)), needs=needs, port=port)


THERE = {name: one(name, *needs) for name, needs in {"db": (), "api": ("db",), "web": ("api",), "mail": ()}.items()}


def counts(wishes: Wishes) -> dict[str, int]:
    return {key[0]: found.instances for key, found in wished(THERE, wishes).items()}


def test_a_service_that_is_not_there_is_refused_with_what_was_probably_meant() -> None:
    with pytest.raises(Misconfigured, match="there is no service 'mails'; did you mean mail"):
        restarted(Wishes(), THERE, ["mails"])
    with pytest.raises(Misconfigured, match="there is no service 'x'; there are db, api, web, mail"):
        needed(THERE, ["x"])


def test_more_than_can_run_is_refused() -> None:
    with pytest.raises(Misconfigured, match="expected from 0 to 1000 instances of web, got 1001"):
        scaled(Wishes(), THERE, {"web": 1001})
    with pytest.raises(Misconfigured, match="from 0 to 1 instances of web, as it insists on port 80, got 2"):
        scaled(Wishes(), {"web": one("web", port=80)}, {"web": 2})


def test_those_who_were_named_run_with_whom_they_need() -> None:
    assert counts(Wishes(only=("api",))) == {"db": 1, "api": 1, "web": 0, "mail": 0}
    assert counts(scaled(Wishes(only=("api",)), THERE, {"mail": 2})) == {"db": 1, "api": 1, "web": 0, "mail": 2}


def test_with_all_of_them_down_nothing_is_wanted() -> None:
    assert set(counts(Wishes(down=True, instances={"web": 3})).values()) == {0}


def test_a_restart_changes_what_it_is_started_from_and_starts_what_was_stopped() -> None:
    stopped = scaled(Wishes(), THERE, {"web": 0, "mail": 3})
    again = restarted(stopped, THERE, ["web", "mail"])
    assert counts(again) == {"db": 1, "api": 1, "web": 1, "mail": 3}
    builds = [wished(THERE, wishes)["web", BASE].build for wishes in (stopped, again, restarted(again, THERE, []))]
    assert len(set(builds)) == 3
    assert wished(THERE, stopped)["db", BASE].build == wished(THERE, again)["db", BASE].build
