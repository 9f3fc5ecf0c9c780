from __future__ import annotations

import pytest

from hanse.control.carried import carried, carrying
from hanse.control.desired import Command, Desired, Probe
from hanse.control.edge_choice import Asking, Choices
from hanse.control.edge_passing import passage
from hanse.control.edge_table import Egress, checked
from hanse.control.instances import Serving
from hanse.control.neighbours import goes_by_proxy, inner_table, is_wanted, proxy_variables, url_of
from hanse.control.released import BASE, Overlay
from hanse.kernel.settings import EdgeSettings, ResourceSettings, ServiceSettings, Settings

SETTINGS = Settings(
    services={
        "users": ServiceSettings(command="x", route="/api/users", strip_prefix=True),
        "mail": ServiceSettings(command="x", egress=True),
        "quotes": ServiceSettings(command="x", protocol="h2c"),
        "worker": ServiceSettings(command="x", protocol="none", egress=False),
    },
    resources={"db": ResourceSettings(kind="redis")},
    edge=EdgeSettings(egress_hosts=("*.example",)),
)
DESIRED = {name: Desired(name, Command((name,)), probe=Probe("/")) for name in (*SETTINGS.services, "db")}
EGRESS, STRAIGHT = "http://127.0.0.1:20100", "http://127.0.0.1:20001"


def test_whoever_answers_http_is_found_by_name_as_a_host_and_as_a_path() -> None:
    table = checked(inner_table(SETTINGS, DESIRED, {}, [Serving("mail-1", "mail", BASE, 20_001)], 7))
    assert {(route.service, route.host, route.path, route.strip_prefix) for route in table.routes} == {
        ("users", "users", "/", False),
        ("users", "127.0.0.1", "/users", True),
        ("mail", "mail", "/", False),
        ("mail", "127.0.0.1", "/mail", True),
    }
    assert table.egress == Egress(passing=("*.example",))


def test_names_that_differ_in_capital_letters_alone_are_told_apart_by_path() -> None:
    desired = {name: Desired(name, Command((name,))) for name in ("Mail", "mail")}
    choices = Choices(checked(inner_table(Settings(), desired, {}, [], 1)))
    found = {choices.route(host, path) for host, path in (("MAIL:80", "/"), ("127.0.0.1", "/mail/7"))}
    assert {one.service for one in found if one} == {"Mail", "mail"}


@pytest.mark.parametrize(
    ("name", "url"),
    [("users", f"{EGRESS}/users"), ("mail", f"{EGRESS}/mail"), ("quotes", STRAIGHT), ("worker", STRAIGHT)],
)
def test_a_neighbour_has_a_url_through_the_egress_unless_it_speaks_no_http(name: str, url: str) -> None:
    assert url_of(name, SETTINGS, DESIRED, EGRESS, STRAIGHT) == url
    assert url_of(name, SETTINGS, DESIRED, "", STRAIGHT) == STRAIGHT


def test_who_goes_by_a_proxy_is_said_for_all_and_for_each() -> None:
    assert [goes_by_proxy(SETTINGS, name) for name in ("users", "mail", "worker")] == [False, True, False]
    wished = Settings(services=SETTINGS.services, edge=EdgeSettings(egress=True))
    assert [goes_by_proxy(wished, name) for name in ("users", "mail", "worker")] == [True, True, False]


def test_an_egress_is_there_for_neighbours_and_for_whoever_wishes_for_it() -> None:
    one = {"users": DESIRED["users"]}
    assert not is_wanted(SETTINGS, one)
    assert is_wanted(SETTINGS, {"mail": DESIRED["mail"]})
    assert is_wanted(Settings(services=SETTINGS.services), {**one, "quotes": DESIRED["quotes"]})
    assert not is_wanted(Settings(edge=EdgeSettings(engine="none")), {**one, "quotes": DESIRED["quotes"]})
    assert not is_wanted(SETTINGS, {"worker": DESIRED["worker"], "quotes": DESIRED["quotes"]})


def test_who_was_asked_straight_still_is() -> None:
    found = proxy_variables(EGRESS, {"no_proxy": "db.example,localhost", "NO_PROXY": "other"})
    assert found["NO_PROXY"] == found["no_proxy"] == "db.example,localhost,127.0.0.1,::1"
    assert not any(name.lower() == "https_proxy" for name in found)


@pytest.mark.parametrize(
    ("host", "patterns", "place"),
    [
        ("api.example", ("api.example",), ("api.example", 80)),
        ("API.example:8080", ("*.example",), ("api.example", 8080)),
        ("[2001:db8::1]:81", ("*",), ("2001:db8::1", 81)),
        ("example", ("*.example",), None),
        ("badexample", ("*.example",), None),
        ("api.example:x", ("*",), None),
        ("api.example:65536", ("*",), None),
        ("api.example:0", ("*",), None),
        ("", ("*",), None),
        ("api.example", (), None),
    ],
)
def test_requests_are_passed_on_to_hosts_that_are_named_and_to_no_others(
    host: str, patterns: tuple[str, ...], place: tuple[str, int] | None
) -> None:
    found = passage(host, Egress(passing=patterns))
    assert (found and (found[2].host, found[2].port)) == place


def test_a_request_tree_keeps_its_release_where_a_service_has_it() -> None:
    overlay = Overlay(release="1.4", new="1.5", share=0)
    table = inner_table(SETTINGS, DESIRED, {"users": overlay}, [Serving("users-2", "users", "1.5", 20_002)], 1)
    choices = Choices(checked(table))

    def got(release: str) -> str:
        asking = Asking(lambda _: "", {}, "127.0.0.1", release=release)
        return choices.release(choices.targets["users"], asking, lambda: 0.5).release

    assert [got(release) for release in ("1.5", "1.4", "other", "")] == ["1.5", "1.4", "1.4", "1.4"]


@pytest.mark.parametrize(
    ("baggage", "release"),
    [
        ("", ""),
        ("user=7", ""),
        ("hanse-release", ""),
        ("hanse-releases=1", ""),
        ("a=1, hanse-release = shop%3A1.5 ;x=1", "shop:1.5"),
    ],
)
def test_the_release_of_a_request_tree_is_read_from_its_baggage(baggage: str, release: str) -> None:
    assert carried(baggage) == release


def test_baggage_of_others_is_handed_on_as_it_came() -> None:
    assert carrying(["a=1;x=2, b=%20", "hanse-release=1.4"], "shop/web:1.5") == (
        "hanse-release=shop%2Fweb%3A1.5,a=1;x=2,b=%20"
    )
    assert carried(carrying(["a=1"], "shop/web:1.5")) == "shop/web:1.5"
    assert carrying(["a=1,hanse-release=1.4"], "") == "a=1"
