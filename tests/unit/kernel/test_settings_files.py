from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import Setting, Settings
from hanse.kernel.settings_files import FILE_BYTES_MAX, is_setting, load, parse_dotenv, path_of, variable_layer

WORDS = st.text("abcdefg", min_size=1, max_size=5)


def problem(directory: Path, **environ: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        load(directory, environ)
    return str(caught.value)


def settings_of(directory: Path, **environ: str) -> Settings:
    return load(directory, environ)[0]


def test_a_file_that_is_no_toml_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "hanse.toml").write_text("app = ")
    assert problem(tmp_path).startswith("hanse.toml: expected TOML")


def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    assert problem(tmp_path, HANSE_CONFIG="other.toml").startswith("HANSE_CONFIG: expected a file, but there is no")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hanse.toml").mkdir()
    assert "hanse.toml: cannot be read" in problem(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    assert ".env: cannot be read" in problem(tmp_path)


def test_a_file_over_its_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("#" * (FILE_BYTES_MAX + 1))
    assert problem(tmp_path) == f".env: expected at most {FILE_BYTES_MAX} bytes"


def test_problems_of_files_and_of_values_are_told_together(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("what is this")
    told = problem(tmp_path, PORT="high", HANSE_NODE__GRAC="1s")
    assert ".env line 1: expected NAME=value" in told
    assert "gateway.port (PORT)" in told
    assert "node.grac (HANSE_NODE__GRAC): unknown; did you mean node.grace?" in told


def test_a_typo_in_the_table_of_another_environment_is_found(tmp_path: Path) -> None:
    (tmp_path / "hanse.toml").write_text("[environments.uat.gateway]\nprot = 1")
    assert problem(tmp_path) == ("gateway.prot (hanse.toml [environments.uat]): unknown; did you mean gateway.port?")


def test_an_environment_that_the_file_does_not_have_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hanse.toml").write_text("[environments.uat]\n[environments.production]")
    assert problem(tmp_path, HANSE_ENV="prod") == (
        "environment: expected one that hanse.toml has (production, uat), got 'prod'"
    )


def test_each_layer_overrides_the_one_below(tmp_path: Path) -> None:
    (tmp_path / "hanse.toml").write_text(
        'app = "shop:app"\ngateway = { port = 1, host = "a", body_max = 1 }\n'
        'node = { store = "s", release = "r" }\n[environments.uat]\ngateway = { host = "b", body_max = 2 }\n'
        'node = { store = "t", release = "r" }'
    )
    (tmp_path / ".env").write_text("HANSE_ENV=uat\nHANSE_GATEWAY__BODY_MAX=3\nDATABASE_URL=u\nHANSE_RELEASE=q")
    environ = {"DATABASE_URL": "v", "HANSE_NODE__RELEASE": "p"}
    settings, sources = load(tmp_path, environ, flags=[Setting(("node", "release"), "o", "--release")])
    assert (settings.gateway.port, settings.gateway.host, settings.gateway.body_max) == (1, "b", 3)
    assert (settings.node.store, settings.node.release, settings.environment) == ("v", "o", "uat")
    assert sources == {
        "app": "hanse.toml",
        "environment": ".env: HANSE_ENV",
        "environments.uat.gateway.body_max": "hanse.toml",
        "environments.uat.gateway.host": "hanse.toml",
        "environments.uat.node.release": "hanse.toml",
        "environments.uat.node.store": "hanse.toml",
        "gateway.body_max": ".env: HANSE_GATEWAY__BODY_MAX",
        "gateway.host": "hanse.toml [environments.uat]",
        "gateway.port": "hanse.toml",
        "node.release": "--release",
        "node.store": "DATABASE_URL",
    }


def test_the_flag_chooses_the_environment_before_the_variable_does(tmp_path: Path) -> None:
    (tmp_path / "hanse.toml").write_text('[environments.a]\napp = "a:a"\n[environments.b]\napp = "b:b"')
    settings, sources = load(tmp_path, {"HANSE_ENV": "a"}, environment="b")
    assert (settings.app, settings.environment, sources["environment"]) == ("b:b", "b", "--env")


def test_the_usual_variables_give_way_to_our_own(tmp_path: Path) -> None:
    assert settings_of(tmp_path, PORT="1", HANSE_GATEWAY__PORT="2", HOST="::").gateway.port == 2


def test_in_kubernetes_a_stop_waits_for_its_balancers(tmp_path: Path) -> None:
    place = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    settings, sources = load(tmp_path, place)
    assert (settings.node.drain_delay, sources["node.drain_delay"]) == (5.0, "KUBERNETES_SERVICE_HOST")

    (tmp_path / "hanse.toml").write_text("[node]\ndrain_delay = 1")
    assert load(tmp_path, place)[0].node.drain_delay == 1.0
    assert load(tmp_path, {})[0].node.drain_delay == 1.0


def test_an_empty_usual_variable_sets_nothing(tmp_path: Path) -> None:
    assert settings_of(tmp_path, PORT="", HANSE_ENV="", HANSE_CONFIG="") == Settings()


def test_a_secret_is_read_from_the_file_that_a_variable_names(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://me:pw@db\n")
    settings, sources = load(tmp_path, {"DATABASE_URL_FILE": "url", "DATABASE_URL": "other"})
    assert settings.node.store == "postgresql://me:pw@db"
    assert sources["node.store"] == "DATABASE_URL"
    assert "pw" not in repr(settings)


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    assert "HANSE_NODE__STORE_FILE: expected a file" in problem(tmp_path, HANSE_NODE__STORE_FILE="gone")


def test_variables_of_others_are_left_alone(tmp_path: Path) -> None:
    environ = {"HANSE_URL": "x", "HANSE_URL_USERS": "y", "HANSE_TOWN_HALL_FILE": "z", "HOME": "/", "USER_FILE": "q"}
    assert settings_of(tmp_path, **environ) == Settings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [("HANSE_GATEWAY_PORT", "HANSE_GATEWAY__PORT"), ("HANSE_LOGLEVEL", "HANSE_LOG_LEVEL"), ("HANSE_EN", "HANSE_ENV")],
)
def test_a_variable_that_looks_misspelt_is_told(tmp_path: Path, name: str, meant: str) -> None:
    assert problem(tmp_path, **{name: "1"}) == f"{name}: did you mean {meant}?"


def test_services_are_configured_by_variables(tmp_path: Path) -> None:
    service = settings_of(tmp_path, HANSE_SERVICES__ORDERS__SETTINGS__LIMIT="3").services["orders"]
    assert service.settings == {"limit": "3"}


@given(st.dictionaries(WORDS, st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="'"))))
def test_quoted_values_of_a_dotenv_file_arrive_as_written(values: dict[str, str]) -> None:
    text = "\n".join(f"{name}='{value}' # note" for name, value in values.items())
    assert parse_dotenv(text, []) == values


def test_a_dotenv_file_is_read_as_shells_do() -> None:
    text = 'A="x\\n\\"y\\" \\\\ $z"\nB=it\'s # note\nexport C = c#d\nD=\n\n  # E=1\nF="a" # "b"'
    assert parse_dotenv(text, []) == {"A": 'x\n"y" \\ $z', "B": "it's", "C": "c#d", "D": "", "F": "a"}


@given(st.lists(WORDS, min_size=2, max_size=4))
def test_a_variable_names_the_path_it_sets(path: list[str]) -> None:
    assert path_of("HANSE_" + "__".join(path).upper()) == tuple(path)


@given(st.dictionaries(st.text("HANSE_PORTLG", max_size=12), st.text(max_size=3)))
def test_any_environment_can_be_read(environ: dict[str, str]) -> None:
    settings, problems = variable_layer(environ)
    assert {setting.source for setting in settings} <= environ.keys()
    assert all(isinstance(problem, str) for problem in problems)


def test_paths_of_settings_are_known() -> None:
    assert is_setting(("services", "any", "settings", "thing"))
    assert not is_setting(("node", "nothing"))
