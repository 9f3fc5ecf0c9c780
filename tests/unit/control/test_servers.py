from __future__ import annotations

import signal

import pytest
from hypothesis import given, strategies as st

from hanse.control.desired import Probe
from hanse.control.servers import (
    Kind,
    Place,
    Program,
    Version,
    can_read,
    chosen,
    configuration,
    database_of,
    desired_command,
    desired_server,
    url_of,
)
from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.kernel.settings import ResourceSettings

PLACE = Place("db", "/srv/.hanse/resources/db", 20_001, "pw")
OLD = Program("/usr/bin/postgres", Version("PostgreSQL", (15, 18)))
NEW = Program("/wheel/postgres", Version("PostgreSQL", (18, 6)))
NUMBERS = st.lists(st.integers(0, 99), min_size=1, max_size=3).map(tuple)
VERSIONS = st.builds(Version, st.sampled_from(["PostgreSQL", "NATS", "Valkey", "Redis"]), NUMBERS)


def test_without_a_program_it_is_told_what_to_install() -> None:
    with pytest.raises(CouldNotStart, match=r"resources\.db: found no PostgreSQL; pip install 'hanse\[resources\]'"):
        chosen("db", "postgresql", [], None)


def test_what_no_program_can_read_is_left_alone_and_it_is_told_what_to_do() -> None:
    with pytest.raises(CouldNotStart) as caught:
        chosen("db", "postgresql", [NEW], Version("PostgreSQL", (15,)))
    assert str(caught.value) == (
        "resources.db: what it keeps was written by PostgreSQL 15, which these cannot read: PostgreSQL 18.6 "
        "(/wheel/postgres); install the old one and start again, or save what is kept with it and move the folder "
        "away, so that a new one is made"
    )


def test_the_best_that_can_read_what_is_kept_is_chosen() -> None:
    assert chosen("db", "postgresql", [NEW, OLD], None) is NEW
    assert chosen("db", "postgresql", [NEW, OLD], Version("PostgreSQL", (15,))) is OLD


@pytest.mark.parametrize(
    ("program", "kept", "can"),
    [
        (("PostgreSQL", 15, 2), ("PostgreSQL", 15, 18), True),
        (("PostgreSQL", 18, 6), ("PostgreSQL", 15), False),
        (("NATS", 2, 15, 1), ("NATS", 2, 14), True),
        (("NATS", 2, 14), ("NATS", 2, 15), False),
        (("NATS", 2, 15, 0), ("NATS", 2, 15, 1), True),
        (("Valkey", 9, 1), ("Redis", 7, 2, 4), True),
        (("Valkey", 9, 1), ("Redis", 7, 4), False),
        (("Redis", 7, 0), ("Valkey", 9, 1), False),
    ],
)
def test_who_can_read_what(program: tuple[str, int], kept: tuple[str, int], can: bool) -> None:
    assert can_read(Version(program[0], program[1:]), Version(kept[0], kept[1:])) is can


@given(VERSIONS)
def test_everybody_reads_what_they_wrote(version: Version) -> None:
    assert can_read(version, version)


@given(VERSIONS, VERSIONS)
def test_nobody_goes_forth_and_back_but_within_a_version(one: Version, other: Version) -> None:
    if can_read(one, other) and can_read(other, one):
        assert one.name == other.name
        assert one.numbers[:1] == other.numbers[:1]


@pytest.mark.parametrize("kind", ["nats", "redis"])
def test_passwords_stand_in_files_and_not_in_commands(kind: Kind) -> None:
    found = desired_server(kind, PLACE, NEW)
    assert "pw" not in " ".join(found.command.line)
    file, text = configuration(kind, PLACE)
    assert found.command.line[-1] == f"{PLACE.folder}/{file}"
    assert "127.0.0.1" in text
    assert "pw" in text


def test_names_of_folders_are_quoted() -> None:
    place = Place("db", '/srv/my "own" data', 20_001, "pw")
    assert r'dir "/srv/my \"own\" data/data"' in configuration("redis", place)[1]
    assert r'store_dir: "/srv/my \"own\" data/data"' in configuration("nats", place)[1]


def test_postgresql_listens_to_this_machine_alone_and_is_told_to_end_at_once() -> None:
    found = desired_server("postgresql", PLACE, NEW)
    assert found.command.line[:3] == ("/wheel/postgres", "-D", "/srv/.hanse/resources/db/data")
    assert "listen_addresses=127.0.0.1" in found.command.line
    assert (found.stop_signal, found.port) == (signal.SIGINT, 20_001)
    assert found.probe == Probe("postgresql://hanse:pw@127.0.0.1:20001/db")


def test_another_user_runs_it_where_it_has_to_and_it_ends_with_its_parent() -> None:
    place = Place("db", "/srv", 20_001, "pw", "postgres")
    assert desired_server("postgresql", place, NEW).command.line[:2] == ("setpriv", "--reuid=postgres")
    assert "--pdeathsig=KILL" in desired_server("postgresql", place, NEW).command.line


def test_what_postgresql_has_for_itself_is_no_database_of_ours() -> None:
    assert [database_of(name) for name in ("db", "postgres", "template1")] == ["db", "postgres", "postgres"]
    assert url_of("postgresql", Place("template1", "/srv", 1, "pw")).endswith("/postgres")


def test_another_server_is_its_command_and_is_where_its_url_says() -> None:
    mail = ResourceSettings(command="mail --at {host}:{port}", url="smtp://{host}:{port}")
    found = desired_command(mail, PLACE)
    assert found.command.line == ("mail", "--at", "{host}:{port}")
    assert (found.command.directory, found.port) == (PLACE.folder, 20_001)
    assert found.probe.path == "smtp://127.0.0.1:20001"
    with pytest.raises(Misconfigured, match=r"resources\.db\.command: No closing quotation"):
        desired_command(ResourceSettings(command="mail '", url="smtp://x"), PLACE)
