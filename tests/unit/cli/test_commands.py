"""The command line as a whole: what it refuses, how it says so, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import cast

import click
import pytest
from click.testing import CliRunner, Result

from hanse.cli.config import rows
from hanse.cli.group import VERBS, hanse
from hanse.cli.options import pair_setting
from hanse.cli.output import fault_text, wants_colour
from hanse.kernel.faults import Flaw, Invalid
from hanse.kernel.settings import Settings


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with chdir(tmp_path):
        yield tmp_path


def invoke(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(hanse, list(arguments), env=environ)


def test_an_unknown_verb_is_refused_with_what_was_probably_meant() -> None:
    refused = invoke("rnu")
    assert refused.exit_code == 2
    assert "Did you mean 'run'?" in refused.stderr


def test_an_unknown_option_is_refused() -> None:
    assert invoke("--nope").exit_code == 2


@pytest.mark.parametrize("pair", ["x", "=1", "a..b=1"])
def test_a_set_option_without_key_or_value_is_refused(pair: str) -> None:
    with pytest.raises(click.UsageError):
        pair_setting(pair)


def test_bad_configuration_is_told_on_standard_error_with_its_exit_code(folder: Path) -> None:
    refused = invoke("config", "show", "--set", "gateway.prt=1")
    assert (refused.exit_code, refused.stdout) == (78, "")
    assert refused.stderr == "hanse: gateway.prt (--set gateway.prt): unknown; did you mean gateway.port?\n"


def test_a_current_folder_that_has_gone_is_told() -> None:
    code = "import os, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d); import hanse.cli as c; c.main()"
    done = subprocess.run([sys.executable, "-c", code, "config", "show"], capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "expected a current folder, but it has been removed" in done.stderr


def test_nothing_to_run_is_a_matter_of_usage(folder: Path) -> None:
    refused = invoke("run")
    assert refused.exit_code == 2
    assert "expected what to run" in refused.stderr


def test_help_lists_every_verb() -> None:
    told = invoke("--help").stdout
    assert all(f"{name} " in told and verb.help in told for name, verb in VERBS.items())


def test_help_imports_neither_server_nor_event_loop() -> None:
    code = """
import sys
before = set(sys.modules)
from click.testing import CliRunner
from hanse.cli.group import hanse
print(CliRunner().invoke(hanse, ["--help"]).exit_code)
heavy = {"asyncio", "uvicorn", "starlette", "sqlite3", "opentelemetry", "hanse.node"}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n[]\n"


def test_every_verb_has_help() -> None:
    assert all(invoke(name, "--help").exit_code == 0 for name in VERBS)


def test_versions_are_told_for_people_and_for_programs() -> None:
    assert invoke("version").stdout.startswith("hanse ")
    assert json.loads(invoke("version", "--json").stdout)["hanse"] == invoke("version", "-q").stdout.strip()
    assert invoke("--version").stdout.startswith("hanse ")


def test_the_configuration_is_shown_with_sources_and_without_secrets(folder: Path) -> None:
    (folder / "hanse.toml").write_text("[services.mail.settings]\napi_key = 'hunter2'\n[gateway]\nport = 1")
    shown = invoke("config", "show", "--json", DATABASE_URL="postgresql://a:hunter2@b/c", PORT="2")
    values = {row["key"]: row for row in cast("list[dict[str, object]]", json.loads(shown.stdout))}
    assert "hunter2" not in shown.stdout
    assert values["gateway.port"] == {"key": "gateway.port", "value": 2, "source": "PORT"}
    assert values["services.mail.settings.api_key"]["source"] == "hanse.toml"
    assert values["node.grace"]["source"] == "default"


def test_the_configuration_is_a_table_for_people(folder: Path) -> None:
    shown = invoke("config", "show", "--set", 'services.a.settings={"b": {"c": 1}}').stdout.splitlines()
    assert shown[0].split() == ["key", "value", "source"]
    assert ["services.a.settings.b.c", "1", "--set", "services.a.settings"] in [line.split() for line in shown]
    assert invoke("config", "show", "-q").stdout.splitlines()[0].split() == ["app", '""', "default"]


def test_headings_are_bold_where_colours_are_wanted(folder: Path) -> None:
    assert "\033[1m" in invoke("config", "show", FORCE_COLOR="1").stdout
    assert "\033[" not in invoke("config", "show", "--no-color", FORCE_COLOR="1").stdout


def test_every_default_is_shown() -> None:
    assert {row.source for row in rows(Settings(), {})} == {"default"}


@pytest.mark.parametrize(
    ("environ", "forbidden", "terminal", "wanted"),
    [
        ({}, False, True, True),
        ({}, False, False, False),
        ({}, True, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, True, False),
        ({"NO_COLOR": ""}, False, True, True),
        ({"FORCE_COLOR": "1"}, False, False, True),
        ({"FORCE_COLOR": "0"}, False, False, False),
        ({"FORCE_COLOR": "1"}, True, True, False),
    ],
)
def test_colours_are_used_where_they_are_wanted(
    environ: dict[str, str], forbidden: bool, terminal: bool, wanted: bool
) -> None:
    assert wants_colour(environ, forbidden=forbidden, terminal=terminal) is wanted


def test_every_verb_can_be_found() -> None:
    context = click.Context(hanse)
    assert all(isinstance(hanse.get_command(context, name), click.Command) for name in VERBS)
    assert hanse.get_command(context, "nope") is None
    assert hanse.list_commands(context) == list(VERBS)


def test_every_flaw_of_an_input_is_told() -> None:
    fault = Invalid("two", [Flaw("/a", "type", "expected int"), Flaw("/b", "missing", "required")])
    assert fault_text(fault) == "expected other input:\n  /a: expected int\n  /b: required"
    assert fault_text(Invalid("none", [])) == "none"
