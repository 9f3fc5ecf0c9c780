from __future__ import annotations

from hanse.control.desired import GRPC_HEALTH, Command, Desired, Probe
from hanse.control.edge_shown import needs_http2, routes_of, table_of
from hanse.control.edge_table import checked
from hanse.control.instances import Serving
from hanse.control.released import BASE
from hanse.kernel.settings import ServiceSettings, Settings

SETTINGS = Settings(
    services={
        "users": ServiceSettings(command="x", route="api/users/", strip_prefix=True, sticky=True, balance="source"),
        "blog": ServiceSettings(command="x", host="blog.example"),
        "worker": ServiceSettings(command="x"),
    }
)
DESIRED = {name: Desired(name, Command((name,)), own=name == "gateway") for name in (*SETTINGS.services, "gateway")}


def test_who_has_a_route_or_a_host_is_shown_and_the_gateway_of_the_app_has_the_rest() -> None:
    found = {route.service: (route.host, route.path, route.strip_prefix) for route in routes_of(SETTINGS, DESIRED)}
    assert found == {
        "users": ("", "/api/users", True),
        "blog": ("blog.example", "/", False),
        "gateway": ("", "/", False),
    }


def test_a_foreign_service_of_that_name_is_not_the_gateway() -> None:
    assert list(routes_of(Settings(), {"gateway": Desired("gateway", Command(("x",)))})) == []


def test_a_service_of_grpc_is_shown_as_one_and_asked_for_connections_alone() -> None:
    settings = Settings(services={"stock": ServiceSettings(command="x", route="/", protocol="h2c")})
    desired = {"stock": Desired("stock", Command(("x",)), probe=Probe(GRPC_HEALTH))}
    table = checked(table_of(settings, desired, {}, [], 1))
    assert (table.targets[0].protocol, table.pools[0].health) == ("h2c", "")
    assert needs_http2(settings, desired) == "stock"
    assert needs_http2(SETTINGS, DESIRED) == ""


def test_who_is_young_weighs_less() -> None:
    table = table_of(SETTINGS, DESIRED, {}, [Serving("users-1", "users", BASE, 20_001, weight=28)], 1)
    users = next(pool for pool in table.pools if pool.service == "users")
    assert [server.weight for server in users.servers] == [28]


def test_a_table_fits_together_and_shows_who_serves() -> None:
    serving = [Serving("users-1", "users", BASE, 20_001), Serving("users-2", "users", BASE, 20_002, draining=True)]
    table = checked(table_of(SETTINGS, DESIRED, {}, [*serving, Serving("worker-1", "worker", BASE, 20_003)], 7))
    assert table.revision == 7
    users = next(pool for pool in table.pools if pool.service == "users")
    assert [(server.id, server.port, server.state) for server in users.servers] == [
        ("users-1", 20_001, "up"),
        ("users-2", 20_002, "draining"),
    ]
    assert (users.sticky, users.balance) == ("hanse-instance-users", "source")
    assert {pool.service for pool in table.pools} == {"users", "blog", "gateway"}
