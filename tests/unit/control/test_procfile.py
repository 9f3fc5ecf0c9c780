from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, strategies as st

from hanse.control.desired import Parts, Runs, Seat, desired_of, filled
from hanse.control.procfile import Line, as_toml, formation_of, layer_of, parse_procfile
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import Settings, flatten, resolve

SHOP = """
# What runs
web: gunicorn -b 0.0.0.0:$PORT app:app

release: python manage.py migrate
worker:python worker.py --queue mail
api: uvicorn api:app --port ${PORT:-5000}
"""
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=8).filter(lambda name: name != "all" and name[0] not in "_-")
COMMANDS = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs", "Cc"]), min_size=1).map(
    lambda text: text.strip() or "x"
)


def settings_of(text: str) -> Settings:
    return resolve([layer_of(parse_procfile(text))])[0]


def refused(text: str) -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        parse_procfile(text, "Procfile.dev")
    return [line.strip() for line in str(caught.value).splitlines()]


def test_every_line_that_cannot_be_used_is_told_with_its_number() -> None:
    text = "web: serve\nwhat is this\n# fine\nmy app: x\nweb: again\nworker:\n: y\nall: z\nbell: ring \x07"
    assert refused(text) == [
        "Procfile.dev line 2: expected `name: command`, got 'what is this'",
        "Procfile.dev line 4: expected a name other than 'all' (letters, digits, - and _), got 'my app'",
        "Procfile.dev line 5: web is there already, on line 1",
        "Procfile.dev line 6: worker has no command",
        "Procfile.dev line 7: expected a name other than 'all' (letters, digits, - and _), got ''",
        "Procfile.dev line 8: expected a name other than 'all' (letters, digits, - and _), got 'all'",
        r"Procfile.dev line 9: expected a command of printable characters, got 'ring \x07'",
    ]


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "release: migrate"])
def test_a_file_without_services_is_refused(text: str) -> None:
    assert refused(text) == ["Procfile.dev: expected at least one line such as `web: python app.py`"]


def test_each_line_is_a_service_and_web_gets_the_requests() -> None:
    services = settings_of(SHOP).services
    assert list(services) == ["web", "worker", "api"]
    assert (services["web"].command, services["web"].route) == ("gunicorn -b 0.0.0.0:$PORT app:app", "/")
    assert (services["worker"].route, services["api"].route) == ("", "")


def test_whoever_listens_nowhere_is_asked_nothing() -> None:
    services = settings_of(SHOP + "braces: serve {port}\nother: serve $PORTAL").services
    asked = {name: one.protocol for name, one in services.items()}
    assert asked == {"web": "http", "worker": "none", "api": "http", "braces": "http", "other": "none"}


def test_release_runs_once_per_rollout_of_web_or_else_of_the_first() -> None:
    assert settings_of(SHOP).services["web"].release_hook == "python manage.py migrate"
    assert settings_of("release: migrate\nb: x\na: y").services["b"].release_hook == "migrate"


def test_a_mark_at_the_beginning_and_ends_of_lines_of_others_are_nothing() -> None:
    assert parse_procfile("\ufeffweb: serve\r\nclock: tick\r\n") == (Line("web", "serve", 1), Line("clock", "tick", 2))


@pytest.mark.parametrize(
    ("command", "shell"),
    [
        ("serve -p $PORT", False),
        ("serve -p ${PORT}", False),
        ("serve -p ${PORT:-5000}", True),
        ("DEBUG=1 serve", True),
        ("serve # the best", True),
        ("serve --colour=#fff", False),
        ("serve && other", True),
    ],
)
def test_what_a_shell_would_understand_is_given_to_one(command: str, shell: bool) -> None:
    found = desired_of(settings_of(f"web: {command}"), Parts(""), Runs((), "unix:run", "/srv"))["web"]
    assert found.command.shell is shell
    if not shell:
        words = filled(found.command, Seat("web-1", "127.0.0.1", 5000, "", {})).arguments
        assert "$" not in " ".join(words)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("web", "expected counts such as `web=2,worker=1`, got 'web'"),
        ("web=", "expected counts such as"),
        ("web=-1", "expected counts such as"),
        ("=1", "expected counts such as"),
        ("", "expected counts such as"),
        ("web=1,wrker=2", "there is no service 'wrker'; did you mean worker?"),
        ("mail=1", "there is no service 'mail'; there are web, worker"),
        ("web=1,web=2", "expected web once, got it twice"),
        ("web=1001", "expected at most 1000 of web, got 1001"),
    ],
)
def test_a_formation_that_cannot_be_is_refused(text: str, told: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        formation_of(text, ["web", "worker"])
    assert str(caught.value).startswith(f"--formation: {told}")


def test_a_formation_says_how_many_of_each() -> None:
    names = ["web", "worker", "clock"]
    assert formation_of("web=2, worker = 0", names) == {"web": 2, "worker": 0}
    assert formation_of("all=3,worker=0", names) == {"web": 3, "worker": 0, "clock": 3}


@given(st.dictionaries(NAMES, COMMANDS, min_size=1, max_size=4))
def test_as_a_settings_file_it_means_the_same(commands: dict[str, str]) -> None:
    text = "".join(f"{name}: {command}\n" for name, command in commands.items())
    try:
        lines = parse_procfile(text)
    except Misconfigured:
        # A command may begin a line of its own, or be nothing but the release.
        assert len(text.splitlines()) > len(commands) or set(commands) == {"release"}
        return
    layer = layer_of(lines)
    read = flatten(tomllib.loads(as_toml(layer)), "hanse.toml")
    assert resolve([read])[0] == resolve([layer])[0]


@given(st.text())
def test_any_text_is_lines_or_a_refusal(text: str) -> None:
    try:
        lines = parse_procfile(text)
    except Misconfigured:
        return
    assert all(f"{line.command}" in text for line in lines)
    resolve([layer_of(lines)])
