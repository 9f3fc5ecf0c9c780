from __future__ import annotations

from pathlib import Path

import pytest

from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.settings import ResourceSettings, ServiceSettings, Settings
from hanse.kernel.settings_files import load
from hanse.kernel.settings_resources import with_url
from hanse.node.stores import open_store, url_for
from hanse.node.transports import open_transport, place_of

FILE = """
resources.db.kind = "postgresql"
resources.bus.kind = "nats"

[node]
store = "resource:db"
transport = "resource:bus"

[services.web]
command = "serve {port}"
environment = { DATABASE_URL = "resource:db?sslmode=disable", MODE = "resource" }
"""
DB, BUS = "postgresql://me@db/shop", "nats://bus"


def settings_of(folder: Path, text: str = FILE, **environ: str) -> Settings:
    (folder / "hanse.toml").write_text(text)
    return load(folder, environ)[0]


def test_a_resource_that_nobody_declared_is_refused_with_what_was_probably_meant(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        settings_of(tmp_path, f"{FILE}\n[services.a]\nstore = 'resource:dbs'")
    assert str(caught.value) == "services.a.store: there is no resource 'dbs'; did you mean db?"


def test_all_resources_that_are_not_there_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        settings_of(tmp_path, "node.store = 'resource:'\nnode.transport = 'resource:bus'")
    assert str(caught.value).splitlines() == [
        """node.store: there is no resource ''; declare it: [resources.db] kind = "postgresql\"""",
        """  node.transport: there is no resource 'bus'; declare it: [resources.bus] kind = "postgresql\"""",
    ]


def test_others_are_told_which_resources_there_are(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="there is no resource 'cache'; there are db, bus"):
        settings_of(tmp_path, FILE.replace('"resource:db"', '"resource:cache"'))


def test_whoever_needs_a_resource_is_told_where_it_is_by_the_environment(tmp_path: Path) -> None:
    found = settings_of(tmp_path, HANSE_RESOURCES__DB__URL=DB, HANSE_RESOURCES__BUS__URL=BUS)
    assert (found.node.store, found.node.transport) == (DB, BUS)
    assert found.services["web"].environment == {"DATABASE_URL": f"{DB}?sslmode=disable", "MODE": "resource"}


def test_without_that_its_name_stays_and_whoever_opens_it_says_what_to_do(tmp_path: Path) -> None:
    found = settings_of(tmp_path)
    assert found.node.store == "resource:db"
    with pytest.raises(Misconfigured, match=r"is a server that `hanse up` starts: .*HANSE_RESOURCES__DB__URL$"):
        open_store(found.node.store)
    with pytest.raises(Misconfigured, match=r"is a server that `hanse up` starts: .*HANSE_RESOURCES__BUS__URL$"):
        open_transport(found.node.transport, place_of("shop", found.node, Host.fixed(wall=0.0, seed=1)))


def test_each_service_has_a_part_of_its_own_of_a_resource() -> None:
    resources = {"db": ResourceSettings(url=DB)}
    services = {"orders": ServiceSettings(store="resource:db"), "stock": ServiceSettings(store="resource:db?schema=s")}
    found = Settings(resources=resources, services=services)
    assert (url_for(found, "orders"), url_for(found, "stock")) == (f"{DB}?schema=orders", f"{DB}?schema=s_stock")


def test_options_go_behind_those_that_a_url_has() -> None:
    assert with_url("resource:db?b=2", {"db": ResourceSettings(url=f"{DB}?a=1")}) == f"{DB}?a=1&b=2"
