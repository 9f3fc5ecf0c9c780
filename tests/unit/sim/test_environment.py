"""What a machine's own variables make of the settings that all machines share."""

from collections.abc import Mapping

import pytest
from hypothesis import given, strategies as st

from hanse import Misconfigured, Settings
from hanse.kernel.route import Condition, Route, Rule
from hanse.kernel.settings import NodeSettings, ServiceSettings, flatten, resolve
from hanse.kernel.settings_files import variable_layer
from hanse.sim.environment import SHARED, settings_under

STAGING: dict[str, dict[str, object]] = {
    "staging": {"node": {"grace": 3.0, "release": "2"}, "services": {"orders": {"settings": {}}}}
}


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"HANSE_NODE__CALLS_MAX": "many"}, r"node.calls_max \(HANSE_NODE__CALLS_MAX\): expected a whole number"),
        ({"HANSE_LIMITS__CALLS": "5"}, r"limits.calls \(HANSE_LIMITS__CALLS\): unknown"),
        ({"HANSE_NODE_GRACE": "5"}, "HANSE_NODE_GRACE: did you mean HANSE_NODE__GRACE"),
        ({"HANSE_ENV": "nowhere"}, r"environment: expected one that Setup\(settings=...\) has \(staging\)"),
        ({"HANSE_NODE__SERVICES": "orders"}, r"HANSE_NODE__SERVICES: in a world, Setup\(machines=...\) says that"),
        ({"HANSE_CONFIG": "other.toml"}, r"HANSE_CONFIG: in a world, Setup\(settings=...\) says that"),
        ({"DATABASE_URL_FILE": "secret"}, "DATABASE_URL_FILE: no file is read in a world; set DATABASE_URL"),
        ({"HANSE_NODE__STORE_FILE": "secret"}, "HANSE_NODE__STORE_FILE: no file is read in a world"),
        ({"TAX": "5"}, "TAX: expected a setting"),
        ({"HANSE_URL": "http://a"}, "HANSE_URL: expected a setting"),
        ({"TAX": "5", "HANSE_NODE__GRACE": "x"}, r"2 settings cannot be used:\n  TAX.*\n.*node.grace"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_with_its_machine(variables: Mapping[str, str], why: str) -> None:
    with pytest.raises(Misconfigured, match=f"^machine one: {why}"):
        _ = settings_under(Settings(environments=STAGING), variables, "one")


def test_variables_go_over_what_is_shared_and_leave_the_rest() -> None:
    shared = Settings(node=NodeSettings(grace=7.0), services={"orders": ServiceSettings(settings={"a": 1, "b": "{x"})})
    variables = {
        "DATABASE_URL": "sqlite:///a.db",
        "HANSE_NODE__STORE": "sqlite:///b.db",
        "HANSE_LOG_LEVEL": "error",
        "HANSE_RELEASE": "2026-1",
        "HANSE_SERVICES__ORDERS__SETTINGS__A": "2",
        "HANSE_SERVICES__MAILER__STORE": "memory:",
    }
    found = settings_under(shared, variables, "one")
    assert (found.node.store, found.node.grace, found.node.release) == ("sqlite:///b.db", 7.0, "2026-1")
    assert found.log.level == "error"
    assert found.services["orders"].settings == {"a": "2", "b": "{x"}
    assert found.services["mailer"].store == "memory:"
    assert shared.services["orders"].settings == {"a": 1, "b": "{x"}


def test_routes_are_shared_and_a_variable_changes_one() -> None:
    rule = Rule(releases={"2": 1}, when=(Condition(of="tenant", value="a"),))
    shared = Settings(routes={"orders": Route(rules=(rule,), releases={"1": 1}), "mailer": Route(zones="any")})
    found = settings_under(shared, {"HANSE_ROUTES__ORDERS__STICKS_TO": "subject"}, "one")
    assert found.routes == {
        "orders": Route(
            rules=(rule,), sticks_to="subject", releases={"1": 1}, source=f"{SHARED}, HANSE_ROUTES__ORDERS__STICKS_TO"
        ),
        "mailer": Route(zones="any", source=SHARED),
    }


def test_a_value_takes_the_place_of_a_table_and_a_table_that_of_a_value() -> None:
    shared = Settings(services={"orders": ServiceSettings(settings={"a": 1, "b": {"c": 1, "d": 1}})})
    whole = settings_under(shared, {"HANSE_SERVICES__ORDERS__SETTINGS": '{"e": 2}'}, "one")
    deeper = settings_under(shared, {"HANSE_SERVICES__ORDERS__SETTINGS__A__F": "2"}, "one")
    assert whole.services["orders"].settings == {"e": 2}
    assert deeper.services["orders"].settings == {"a": {"f": "2"}, "b": {"c": 1, "d": 1}}


def test_the_table_of_an_environment_lies_between() -> None:
    shared = Settings(
        node=NodeSettings(grace=7.0),
        services={"orders": ServiceSettings(settings={"a": 1})},
        environments=STAGING,
    )
    found = settings_under(shared, {"HANSE_ENV": "staging", "HANSE_RELEASE": "3"}, "one")
    assert (found.environment, found.node.grace, found.node.release) == ("staging", 3.0, "3")
    assert found.services["orders"].settings == {"a": 1}


@pytest.mark.parametrize("value", ['{"a": 1}', "[1]", '"x"', "{", (1, "2"), {"deep": "[1]"}, 2.5, None, [{"a": "{}"}]])
def test_what_is_shared_stays_what_it_is(value: object) -> None:
    shared = Settings(
        node=NodeSettings(services=("orders",)), services={"orders": ServiceSettings(settings={"a": value})}
    )
    found = settings_under(shared, {"PORT": "1"}, "one")
    assert found.services == shared.services
    assert (found.node, found.gateway.port) == (shared.node, 1)


def test_no_variables_change_nothing() -> None:
    assert settings_under(Settings(), {}, "one") == Settings()


texts = st.sampled_from(["1", "2.5", "x", '{"k": 1}', "[1]", "plain text"])
names = st.sampled_from(["A", "B", "A__C", "B__C__D"])
tables = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.one_of(st.integers(), st.dictionaries(st.sampled_from(["c", "d"]), st.integers(), min_size=1)),
)


@given(
    table=tables,
    variables=st.dictionaries(names.map("HANSE_SERVICES__ORDERS__SETTINGS__{}".format), texts),
    grace=st.sampled_from(["5", "2m"]),
)
def test_a_machine_has_the_settings_that_a_process_would(
    table: dict[str, object], variables: dict[str, str], grace: str
) -> None:
    variables = {**variables, "HANSE_NODE__GRACE": grace}
    file = list(flatten({"services": {"orders": {"settings": table}}, "node": {"timeout": 3.0}}, "hanse.toml"))
    process, _ = resolve([file, variable_layer(variables)[0]])
    shared, _ = resolve([file])
    assert settings_under(shared, variables, "one") == process
