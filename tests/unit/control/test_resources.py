from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hanse.control.desired import Part, Parts, Runs, desired_of
from hanse.control.resources import checked, variable_of, with_resources
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import NodeSettings, ResourceSettings, ServiceSettings, Settings
from hanse.kernel.settings_files import path_of
from hanse.kernel.settings_resources import with_urls

DB, BUS = ResourceSettings(kind="postgresql"), ResourceSettings(kind="nats")
RESOURCES = {"db": DB, "bus": BUS}
URLS = {"db": "postgresql://127.0.0.1:1/db", "bus": "nats://127.0.0.1:2"}
SHOP = Parts("shop:app", (Part("orders"), Part("stock")), gateway=True)
NONE = Parts("")
NAMES = st.from_regex(r"[a-z](_?[a-z0-9]){0,8}", fullmatch=True)


def found(settings: Settings, parts: Parts = NONE) -> dict[str, ServiceSettings]:
    return with_resources(settings, parts, URLS).services


@pytest.mark.parametrize(
    ("name", "resource", "told"),
    [
        ("my-db", DB, "resources.my-db: expected a name of small letters, digits and single _"),
        ("a__b", DB, "resources.a__b: expected a name of small letters"),
        ("mail", ResourceSettings(command="mail {port}"), "resources.mail.url: expected where its command serves"),
        ("mail", ResourceSettings(), "resources.mail.kind: expected one of nats, postgresql, redis, or a `url`"),
    ],
)
def test_a_resource_that_cannot_be_is_refused(name: str, resource: ResourceSettings, told: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        checked({name: resource})
    assert str(caught.value).startswith(told)


def test_all_that_cannot_be_are_told_at_once() -> None:
    with pytest.raises(Misconfigured, match=r"(?s)resources\.A: .*resources\.b\.kind: "):
        checked({"A": DB, "b": ResourceSettings()})


def test_a_service_and_a_resource_of_one_name_are_refused() -> None:
    with pytest.raises(Misconfigured, match=r"resources\.orders: a service has that name"):
        found(Settings(resources={"orders": DB}), SHOP)
    with pytest.raises(Misconfigured, match=r"resources\.web: a service has that name"):
        found(Settings(resources={"web": DB}, services={"web": ServiceSettings(command="x")}))


def test_what_is_elsewhere_is_not_started() -> None:
    mail = ResourceSettings(command="mail {port}", url="smtp://{host}:{port}")
    assert checked({"db": ResourceSettings(kind="postgresql", url="postgresql://db"), "bus": BUS, "mail": mail}) == {
        "bus": BUS,
        "mail": mail,
    }


def test_whoever_is_not_of_the_app_needs_what_it_mentions() -> None:
    web = ServiceSettings(command="serve", needs=("api",), environment={"DATABASE_URL": "resource:db", "MODE": "x"})
    api = ServiceSettings(command="serve")
    services = found(Settings(resources=RESOURCES, services={"web": web, "api": api}))
    assert services["web"].needs == ("api", "db")
    assert services["web"].environment == {
        "HANSE_RESOURCES__DB__URL": URLS["db"],
        "DATABASE_URL": URLS["db"],
        "MODE": "x",
    }
    assert services["api"] == api


def test_whoever_says_that_it_needs_a_resource_is_told_where_it_is() -> None:
    services = found(Settings(resources=RESOURCES, services={"web": ServiceSettings(command="x", needs=("bus",))}))
    assert services["web"].needs == ("bus",)
    assert services["web"].environment == {"HANSE_RESOURCES__BUS__URL": URLS["bus"]}


def test_services_of_the_app_need_what_all_of_them_use_and_their_own_store() -> None:
    node = NodeSettings(store="resource:db", transport="resource:bus")
    own = {"stock": ServiceSettings(store="memory:")}
    services = found(Settings(resources=RESOURCES, node=node, services=own), SHOP)
    assert {name: one.needs for name, one in services.items()} == {
        "orders": ("bus", "db"),
        "stock": ("bus",),
        "gateway": ("bus", "db"),
    }


def test_what_is_elsewhere_is_waited_for_by_nobody() -> None:
    resources = {"db": ResourceSettings(kind="postgresql", url="postgresql://db")}
    settings = Settings(resources=resources, services={"web": ServiceSettings(command="x", needs=("db",))})
    services = with_resources(settings, Parts(""), {}).services
    assert services["web"].needs == ()


def test_the_settings_that_come_out_are_what_should_run() -> None:
    node = NodeSettings(store="resource:db")
    wanted = with_resources(Settings(app="shop:app", resources=RESOURCES, node=node), SHOP, URLS)
    with pytest.raises(Misconfigured, match=r"needs: unknown 'db'"):
        desired_of(wanted, SHOP, Runs(("hanse",), "unix:run", "."))


@given(NAMES)
def test_the_variable_of_a_resource_sets_its_url(name: str) -> None:
    assert path_of(variable_of(name)) == ("resources", name, "url")


@given(st.dictionaries(NAMES, st.sampled_from(["resource:db", "resource:bus", "else"]), max_size=5), st.booleans())
def test_whoever_gets_the_variables_finds_what_it_needs(mentions: dict[str, str], own: bool) -> None:
    """A process that reads the file again, with the variables that it was given, knows all URLs that it mentions."""
    node = NodeSettings(store="resource:db") if own else NodeSettings()
    web = ServiceSettings(command="" if own else "x", environment=mentions)
    read = Settings(resources=RESOURCES, node=node, services={"web": web})
    given_ = found(read, Parts("a:b", (Part("web"),)) if own else Parts(""))["web"]
    again = {
        name: ResourceSettings(kind=one.kind, url=given_.environment.get(variable_of(name), ""))
        for name, one in RESOURCES.items()
    }
    seen = with_urls(Settings(resources=again, node=node, services={"web": web}))
    assert "resource:" not in "".join([seen.node.store, *seen.services["web"].environment.values()])
    assert {name for name in URLS if variable_of(name) in given_.environment} == set(given_.needs)
