from __future__ import annotations

from typing import Annotated

import pytest
from hypothesis import given, strategies as st
from msgspec import Meta

from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import HealthSettings, Seconds, Setting, Settings, flatten, resolve
from hanse.kernel.settings_hide import SHOWN, hidden, is_secret
from hanse.kernel.settings_schema import Unusable, convert, expectation, type_at

NAMES = st.text("abcxyz_", min_size=1, max_size=4)
# A text that is JSON of a list, a table or a text stands for that where no type says otherwise.
TREES = st.recursive(
    st.integers() | st.text(st.characters(exclude_characters='{["'), max_size=3),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def one(path: str, value: object, source: str = "hanse.toml") -> Setting:
    return Setting(tuple(path.split(".")), value, source)


def refused(*settings: Setting) -> str:
    with pytest.raises(Misconfigured) as caught:
        resolve([settings])
    return str(caught.value)


def test_an_unknown_key_is_refused_with_what_was_probably_meant() -> None:
    assert refused(one("gatway.port", 1)) == "gatway.port (hanse.toml): unknown; did you mean gateway?"
    assert refused(one("services.orders.stor", "x")).endswith("did you mean services.orders.store?")
    assert refused(one("zzz", 1)) == "zzz (hanse.toml): unknown"


def test_every_problem_is_told_at_once_with_key_source_and_expectation() -> None:
    told = refused(one("gateway.port", "high", "PORT"), one("node.grace", "soon"), one("log.level", "loud"))
    assert told.splitlines() == [
        "3 settings cannot be used:",
        "  gateway.port (PORT): expected a whole number from 0 to 65535, got 'high'",
        "  node.grace (hanse.toml): expected a duration such as '30s' or a number of seconds, got 'soon'",
        "  log.level (hanse.toml): expected one of debug, info, warning, error, critical, got 'loud'",
    ]


RULES = [{"releases": {"1.5": 1}, "when": [{"of": "tenant", "value": "acme"}]}]


def test_a_route_knows_where_it_was_set() -> None:
    settings, _ = resolve(
        [
            [one("routes.orders.rules", RULES)],
            [Setting(("routes", "orders", "releases", "1.4"), "95", "HANSE_ROUTES")],
            [one("routes.mail.zones", "any")],
        ]
    )
    orders, mail = settings.routes["orders"], settings.routes["mail"]
    assert orders.rules[0].when[0].of == "tenant"
    assert (dict(orders.releases), orders.source) == ({"1.4": 95}, "hanse.toml, HANSE_ROUTES")
    assert (mail.zones, mail.source) == ("any", "hanse.toml")


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("releases.v2", -1, "releases.v2 (hanse.toml): expected a whole number from 0, as a weight, got -1"),
        (
            "sticks_to",
            "tenat",
            "sticks_to (hanse.toml): expected subject, tenant, tag.NAME or header.NAME, got 'tenat'",
        ),
        ("zones", "far", "zones (hanse.toml): expected one of near, any, got 'far'"),
        ("weights", {}, "weights (hanse.toml): unknown"),
        ("rules", 5, "rules (hanse.toml): expected a list, got 5"),
        ("rules", [{"wen": []}], "rules (hanse.toml): in [0]: Object contains unknown field `wen`"),
        ("rules", [{"releases": {"v2": "x"}}], "rules (hanse.toml): in [0].releases[...]: Expected `int`, got `str`"),
    ],
)
def test_a_route_that_cannot_be_used_is_told_by_its_key(path: str, value: object, told: str) -> None:
    assert refused(one(f"routes.orders.{path}", value)) == f"routes.orders.{told}"


def test_a_refused_secret_is_not_told() -> None:
    assert "hunter2" not in refused(one("services.mail.environment.PASSWORD", ["hunter2"]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gateway", 5),
        ("gateway.port", 70000),
        ("gateway.port", "-1"),
        ("gateway.port.more", 1),
        ("gateway.body_max", 0),
        ("gateway.body_max", "2 miles"),
        ("node.grace", -1),
        ("services.orders.sticky", "perhaps"),
        ("services.orders.settings", "{bad"),
        ("services.orders.instances", 1.5),
        ("node.services", 3),
        ("edge", 3),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused(path: str, value: object) -> None:
    assert path in refused(one(path, value))


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("gateway.port", "80", 80),
        ("gateway.body_max", "2MiB", 2 * 1024 * 1024),
        ("gateway.body_max", "1.5k", 1500),
        ("gateway.body_max", "12", 12),
        ("node.grace", "1m30s", 90.0),
        ("node.grace", "0", 0.0),
        ("node.store", "{x", "{x"),
        ("node.services", "orders, mailer", ("orders", "mailer")),
        ("node.services", '["orders"]', ("orders",)),
        ("services.orders.sticky", "true", True),
        ("services.orders.settings", '{"limit": 3}', {"limit": 3}),
        ("services.orders.settings.limits", "[1, 2]", [1, 2]),
        ("services.orders.settings.name", "tea", "tea"),
        ("services.orders.health", "/up", "/up"),
        ("services.orders.health.interval", "3s", HealthSettings(interval=3.0)),
    ],
)
def test_text_becomes_what_its_key_needs(path: str, text: str, value: object) -> None:
    settings, _ = resolve([[one(path, text, "flag")]])
    found: object = settings
    for name in path.removesuffix(".interval").split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    assert found == value


def test_what_nobody_set_is_the_default() -> None:
    assert resolve([]) == (Settings(), {})


def test_the_last_layer_wins_and_is_the_source() -> None:
    layers = [[one("gateway.port", 1, "file"), one("node.grace", 2, "file")], [one("gateway.port", "3", "PORT")]]
    settings, sources = resolve(layers)
    assert (settings.gateway.port, settings.node.grace) == (3, 2)
    assert sources == {"gateway.port": "PORT", "node.grace": "file"}


def test_a_value_that_loses_is_not_judged() -> None:
    assert resolve([[one("gateway.port", "high")], [one("gateway.port", 1)]])[0].gateway.port == 1


def test_a_table_gives_way_to_a_value_and_a_value_to_a_table() -> None:
    table, value = one("services.o.health.path", "/up"), one("services.o.health", "/ok")
    assert resolve([[table], [value]])[0].services["o"].health == "/ok"
    assert resolve([[value], [table]])[0].services["o"].health == HealthSettings(path="/up")


def test_an_empty_table_names_a_service_without_erasing_what_others_say() -> None:
    empty, filled = one("services.orders", {}), one("services.orders.store", "sqlite:///o.db")
    for layers in ([[empty], [filled]], [[filled], [empty]]):
        assert resolve(layers)[0].services["orders"].store == "sqlite:///o.db"
    assert "orders" in resolve([[empty]])[0].services


def in_orders(table: dict[str, object]) -> dict[str, object]:
    return {"services": {"orders": {"settings": table}}}


@given(TREES)
def test_leaves_put_together_again_are_the_table_they_came_from(tree: object) -> None:
    settings, sources = resolve([flatten(in_orders(tree if isinstance(tree, dict) else {"leaf": tree}), "file")])
    assert settings.services["orders"].settings == (tree if isinstance(tree, dict) else {"leaf": tree})
    assert set(sources.values()) == {"file"}


PATHS = [f"services.orders.settings{below}" for below in ("", ".a", ".a.b", ".b")]


@given(st.lists(st.tuples(st.sampled_from(PATHS), st.integers() | st.just({}))))
def test_layers_that_disagree_about_shape_never_break(pairs: list[tuple[str, object]]) -> None:
    try:
        resolve([[one(path, value)] for path, value in pairs])
    except Misconfigured as error:
        assert "expected a table" in str(error)  # noqa: PT017  # most draws raise nothing


def test_secrets_are_hidden_in_every_print() -> None:
    settings, _ = resolve(
        [
            [
                one("node.store", "postgresql://me:hunter2@db/shop?sslpassword=hunter2"),
                one("services.mail.settings.api_key", "hunter2"),
                one("services.mail.settings.nested.token", ["hunter2"]),
                one("services.mail.environment.DATABASE_URL", "redis://:hunter2@cache"),
                one("services.mail.settings.password", "hunter2"),
            ]
        ]
    )
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in repr(settings.services["mail"])
    assert f"postgresql://me:{SHOWN}@db" in repr(settings)


@pytest.mark.parametrize("name", ["secret", "API_KEY", "smtp-password", "passwd", "auth_token", "SENTRY_DSN", "apikey"])
def test_secrets_are_known_by_name(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["keyboard", "port", "keys_max", "monkeys", "passes"])
def test_other_names_are_no_secrets(name: str) -> None:
    assert not is_secret(name)


@given(st.text("abc:/@?&=token", max_size=30))
def test_hiding_twice_hides_no_more(text: str) -> None:
    assert hidden(hidden(text)) == hidden(text)


@given(st.text(st.characters(exclude_characters="/?#@:* \t\n", categories=("L", "N", "P", "S")), min_size=6))
def test_no_password_of_a_url_is_shown(password: str) -> None:
    assert hidden(f"https://a:{password}@b.example") == f"https://a:{SHOWN}@b.example"


def test_secrets_in_lists_are_hidden() -> None:
    assert hidden([{"token": "t"}, "https://a:pw@b.example"]) == [{"token": SHOWN}, f"https://a:{SHOWN}@b.example"]


def test_empty_secrets_are_shown_as_empty() -> None:
    assert hidden({"password": "", "token": None}) == {"password": "", "token": None}


@given(st.floats(0, 1e9))
def test_a_number_of_seconds_is_taken_as_it_is(length: float) -> None:
    assert convert(Seconds, length) == length == convert(Seconds, str(length))


def test_types_are_told_in_words() -> None:
    assert expectation(Annotated[float, Meta(gt=0)]) == "a number"
    assert expectation(str | dict[str, object]) == "a text or a table"
    assert expectation(bytes) == "a value"


def test_a_value_has_nothing_below_it() -> None:
    with pytest.raises(Unusable) as caught:
        type_at(Settings, ("gateway", "port", "low"))
    assert caught.value.suggestion == "gateway.port without more after it"
