"""Servers that are prepared, and real ones that were started so."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from hanse.control.servers import HOST, Kind, Place, Program, Version
from hanse.deploy.resources.look import look
from hanse.deploy.resources.postgresql import account_for, closed_to, make, reachable
from hanse.deploy.resources.prepare import Ready, prepare
from hanse.deploy.resources.programs import installed
from hanse.kernel.faults import CouldNotStart
from hanse.kernel.host import Host
from hanse.kernel.settings import ResourceSettings
from hanse.node.stores import stored_in

from .conftest import Server

HERE = Host.system()
MAIL = ResourceSettings(command="mail {port}", url="smtp://{host}:{port}")


def prepared(folder: Path, resource: ResourceSettings = MAIL, *running: str) -> Ready:
    return prepare({"mail": resource}, folder, HERE, running=running)[0]


def program(folder: Path, name: str, script: str) -> Path:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


# What cannot be


def test_what_is_kept_and_cannot_be_read_is_told_with_its_file(tmp_path: Path) -> None:
    prepared(tmp_path)
    file = tmp_path / ".hanse/resources/mail/kept.json"
    file.write_text("{")
    with pytest.raises(CouldNotStart, match=rf"resources\.mail: cannot read {file}: .*; bring it back"):
        prepared(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / ".hanse").write_text("")
    with pytest.raises(CouldNotStart, match=r"cannot (make|read) .*mail.*: .*directory"):
        prepared(tmp_path)


def test_a_port_that_is_insisted_on_and_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = int(taken.getsockname()[1])
        resource = ResourceSettings(command="mail", url="smtp://{host}:{port}", port=port)
        with pytest.raises(CouldNotStart, match=rf"resources\.mail\.port: somebody listens on {port} already"):
            prepared(tmp_path, resource)
        assert prepared(tmp_path, resource, "mail").desired.port == port


def test_data_without_their_password_are_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "db/data"
    data.mkdir(parents=True)
    with pytest.raises(CouldNotStart, match=r"there is .*/db/data, but not kept\.json"):
        prepared(tmp_path, ResourceSettings(kind="postgresql", directory="db"))
    assert data.exists()


def test_what_a_program_could_not_make_is_told_in_its_words_and_nothing_is_left_in_the_place(tmp_path: Path) -> None:
    postgres = program(tmp_path, "postgres", "exit 0")
    program(tmp_path, "initdb", "echo the disk is full >&2; exit 1")
    place = Place("db", str(tmp_path), 1, "pw")
    with pytest.raises(CouldNotStart, match=r"resources\.db: initdb could not make .*/data: the disk is full"):
        make(place, Program(str(postgres), Version("PostgreSQL", (18,))))
    assert not Path(place.data).exists()
    (tmp_path / "initdb").unlink()
    with pytest.raises(CouldNotStart, match=r"initdb could not make .*/data: No such file"):
        make(place, Program(str(postgres), Version("PostgreSQL", (18,))))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")
def test_root_is_told_which_folder_is_closed_to_the_user_of_postgresql(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(CouldNotStart, match=r"does not run as root, and (user postgres cannot reach|there is no|this)"):
        prepared(tmp_path, ResourceSettings(kind="postgresql"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")
def test_root_is_told_whom_to_make(tmp_path: Path) -> None:
    with pytest.raises(CouldNotStart, match=r"has no user nobody-at-all: useradd --system nobody-at-all, or|setpriv"):
        account_for("db", tmp_path, "nobody-at-all")


def test_a_folder_is_closed_to_others_and_not_to_its_own_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert closed_to("", tmp_path) == ""
    assert closed_to("nobody", tmp_path) != ""
    assert closed_to("nobody", Path("/")) == ""


def test_a_program_that_the_user_cannot_reach_is_not_taken_for_none(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    mine = Program(str(program(tmp_path, "postgres", "exit 0")), Version("PostgreSQL", (18,)))
    with pytest.raises(CouldNotStart, match=rf"resources\.db: user nobody cannot reach {mine.path}, as .* is closed"):
        reachable("db", "nobody", [mine])
    ours = Program(sys.executable, Version("PostgreSQL", (15,)))
    assert reachable("db", "", [mine, ours]) == [mine, ours]
    assert reachable("db", "nobody", []) == []


# What is kept


def test_port_and_password_stay_as_they_are_and_are_for_this_user_alone(tmp_path: Path) -> None:
    first = prepared(tmp_path)
    assert prepared(tmp_path) == first
    file = tmp_path / ".hanse/resources/mail/kept.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (tmp_path / ".hanse/.gitignore").read_text() == "*\n"


def test_a_port_that_somebody_else_took_meanwhile_is_given_up_unless_it_runs(tmp_path: Path) -> None:
    first = prepared(tmp_path)
    with socket.create_server((HOST, first.desired.port)):
        assert prepared(tmp_path, MAIL, "mail") == first
        second = prepared(tmp_path)
    assert second.desired.port != first.desired.port
    assert second.url == f"smtp://{HOST}:{second.desired.port}"


def test_a_folder_may_be_elsewhere(tmp_path: Path) -> None:
    found = prepared(tmp_path / "project", ResourceSettings(command="mail", url="x://{host}", directory="../mail"))
    assert Path(found.desired.command.directory).resolve() == tmp_path / "mail"


# Programs


def test_programs_of_the_path_are_found_and_those_that_say_no_version_passed_over(tmp_path: Path) -> None:
    program(tmp_path, "valkey-server", "exit 1")
    mine = program(tmp_path, "redis-server", "echo 'Redis server v=7.0.15 sha=0'")
    program(tmp_path, "nats-server", "kill -9 $$")
    (tmp_path / "postgres").write_text("no program")
    (tmp_path / "postgres").chmod(0o755)
    kinds: list[Kind] = ["redis", "nats", "postgresql"]
    found = [one for kind in kinds for one in installed(kind, str(tmp_path)) if one.path.startswith(str(tmp_path))]
    assert found == [Program(str(mine), Version("Redis", (7, 0, 15)))]


def test_a_program_that_goes_by_its_name_is_called_by_that(tmp_path: Path) -> None:
    """Debian's redis-server is a link to what checks files, and serves only under this name."""
    script = 'case "$0" in *redis-server) echo "Redis server v=7.0.15";; *) echo "redis-check-rdb 7.0.15";; esac'
    (tmp_path / "redis-server").symlink_to(program(tmp_path, "redis-check-rdb", script))
    assert str(tmp_path / "redis-server") in [one.path for one in installed("redis", str(tmp_path))]


# Real servers


async def test_a_server_is_ready_for_whoever_has_its_password_and_for_nobody_else(server: Server) -> None:
    url = server.ready.url
    assert await look(url, 5.0) == ""
    word = url.rpartition("@")[0].rpartition(":")[2]
    if url.startswith("postgresql:"):
        pytest.importorskip("asyncpg")
        assert stored_in(f"{url}?schema=none_yet") in ({}, None)
        with pytest.raises(Exception, match="password"):
            stored_in(url.replace(word, "wrong"))
    else:
        assert await look(url.replace(word, "wrong"), 5.0) in (
            "Authorization Violation",
            "WRONGPASS invalid username-password pair or user is disabled.",
        )


def test_while_it_runs_it_is_prepared_as_it_was(server: Server) -> None:
    name = next(iter(server.resources))
    again = server.prepare(name)
    assert (again.url, again.desired, again.told) == (server.ready.url, server.ready.desired, "")
    assert server.ready.url.startswith(f"{server.resources[name].kind}://")


async def test_it_comes_back_at_its_place(server: Server) -> None:
    before = server.ready.desired
    await server.restart()
    assert server.ready.desired == before


def test_what_another_version_wrote_is_left_alone(server: Server) -> None:
    name, resource = next(iter(server.resources.items()))
    folder = Path(server.ready.desired.command.directory)
    file = folder / ("data/PG_VERSION" if resource.kind == "postgresql" else "kept.json")
    kept = file.read_text()
    file.write_text("9" if resource.kind == "postgresql" else kept.replace('"numbers":[', '"numbers":[9'))
    try:
        with pytest.raises(CouldNotStart, match=rf"resources\.{name}: what it keeps was written by .* 9"):
            server.prepare(name)
    finally:
        file.write_text(kept)
