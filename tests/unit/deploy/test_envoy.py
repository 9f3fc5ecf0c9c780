"""What Envoy is told and tells, decided; no Envoy is started here."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from hanse.control.edge_figures import Counts
from hanse.control.edge_table import EdgeRoute, Pool, Server, Share, Split, Table, Target
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.envoy.bootstrap import bootstrap
from hanse.deploy.edge.envoy.counting import LINE_SECONDS, Counting
from hanse.deploy.edge.envoy.cutting import cut_off
from hanse.deploy.edge.envoy.lines import Told, count, read
from hanse.deploy.edge.envoy.pools import Endpoint, Shape, assignments, clusters, joined, left, shapes_of
from hanse.deploy.edge.envoy.program import ENVOY, found
from hanse.deploy.edge.envoy.routes import check, routes
from hanse.deploy.edge.envoy.worker import Standing, asked
from hanse.kernel.faults import CouldNotStart, Misconfigured, Unavailable

A, B = Endpoint("a", "127.0.0.1", 1, 100), Endpoint("b", "127.0.0.1", 2, 100)


def table(*pools: Pool, shares: dict[str, int] | None = None, path: str = "/") -> Table:
    each = tuple(Share(release=name, points=points) for name, points in (shares or {"1": 10_000}).items())
    return Table(
        routes=(EdgeRoute(service="users", path=path),),
        targets=(Target(service="users", split=Split(shares=each)),),
        pools=pools,
    )


def pool(*servers: Server, release: str = "1", sticky: str = "") -> Pool:
    return Pool(service="users", release=release, servers=servers, sticky=sticky)


def data_of(one: Table) -> dict[str, object]:
    told = routes(one, shapes_of(one), scheme="http", access=False)
    last = told[0]["virtual_hosts"][0]["routes"][-1]
    data: dict[str, object] = last["metadata"]["filter_metadata"]["envoy.filters.http.lua"]["data"]
    return data


def test_who_comes_is_there_before_anybody_has_gone() -> None:
    assert joined((A,), (B,)) == (B, A)
    assert [(one.id, one.status) for one in left((A,), (B,))] == [("b", "HEALTHY"), ("a", "DRAINING")]


def test_a_pool_whose_timeouts_change_is_another_cluster() -> None:
    one = Shape("users", "1", "round_robin", 1.0, 30.0, "http")
    other = Shape("users", "1", "round_robin", 2.0, 30.0, "http")
    assert one.name != other.name
    assert [each["name"] for each in clusters({one.name: one})] == [one.name]
    assert one.name in assignments(one.name, (A,))[0]["cluster_name"]


def test_a_share_of_a_release_that_has_nobody_goes_to_the_largest_that_has() -> None:
    there, away = Server(id="a", port=1), Server(id="b", port=2, state="down")
    one = table(pool(there), pool(away, release="2"), shares={"2": 9_000, "1": 1_000})
    names = {shape.release: name for shape in shapes_of(one).values() for name in [shape.name]}
    services = data_of(one)["services"]
    assert isinstance(services, list)
    assert services[0]["shares"] == [[10_000, names["1"]]]
    assert services[0]["forced"] == names


def test_nothing_of_a_table_is_more_than_a_text_in_data() -> None:
    path = '/"]] os.exit() --[["\\'
    told = json.dumps(routes(one := table(pool(), path=path), shapes_of(one), scheme="http", access=False))
    assert json.loads(told)[0]["virtual_hosts"][0]["routes"][-1]["metadata"]
    assert path not in json.dumps(bootstrap(Place(folder=Path("/nowhere")), 80))


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (table(pool(sticky="a b")), "the cookie of users 'a b'"),
        (table(pool(Server(id="a", host="localhost", port=1))), "expected an IP address, got 'localhost'"),
        (table(pool(), path="/\udcff"), "expected a text of Unicode"),
    ],
)
def test_what_cannot_be_said_to_envoy_is_refused(one: Table, told: str) -> None:
    with pytest.raises(Misconfigured, match=told):
        check(one)


def counted(**fields: object) -> Counts:
    counts = Counts()
    told = read(json.dumps(fields).encode())
    assert told is not None
    count(counts, told)
    return counts


def test_what_came_of_a_request_is_told_by_its_line() -> None:
    assert counted(status=200, head=3, server="a", attempts=2).retried == 1
    assert counted(status=0, flags="DC").gone == 1
    unknown = counted(status=502, flags="UC", server="a")
    assert (unknown.errors, unknown.unknown) == (1, 1)
    halfway = counted(status=200, flags="UC", head=3, server="a")
    assert (halfway.errors, halfway.failed, halfway.unknown) == (1, 1, 0)
    tunnel = counted(status=101, flags="UC", head=3, server="a")
    assert (tunnel.errors, tunnel.failed) == (0, 0)
    assert read(b"not a line") is None


def test_errors_of_an_application_are_no_failed_attempts_whichever_is_told_first() -> None:
    shape = Shape("users", "1", "round_robin", 1.0, 30.0, "http")
    where = "c", "127.0.0.1", 1
    told = Told(service="users", pool="c", server="a", status=503, head=1)

    def looked(counting: Counting, errors: int) -> set[str]:
        return counting.looked({where: Standing(0, errors, 0)}, {"c": shape}, {where: "a"}, 0.0)

    counting = Counting()
    counting.over(told, "1", 1.0)
    assert looked(counting, 0) == set()
    assert looked(counting, 1) == set()
    assert looked(counting, 3) == {"a"}
    # A server that went and came back is counted anew.
    assert looked(counting, 0) == set()
    assert looked(counting, 1) == {"a"}
    assert sum(line.counts.failed for line in counting.lines()) == 3


def test_what_a_grpc_service_answers_is_no_failed_attempt() -> None:
    shape = Shape("users", "1", "round_robin", 1.0, 30.0, "h2c")
    where = "c", "127.0.0.1", 1
    assert Counting().looked({where: Standing(0, 5, 0)}, {"c": shape}, {where: "a"}, 0.0) == set()
    assert Counting().looked({where: Standing(0, 5, 1)}, {"c": shape}, {where: "a"}, 0.0) == {"a"}


def test_an_answer_that_has_begun_is_no_failed_attempt_unless_it_never_has_its_line() -> None:
    shape = Shape("users", "1", "round_robin", 1.0, 30.0, "http")
    where = "c", "127.0.0.1", 1
    told = Told(service="users", pool="c", server="a", status=503, head=1)
    counting = Counting()

    def failed(standing: Standing, now: float) -> int:
        _ = counting.looked({where: standing}, {"c": shape}, {where: "a"}, now)
        return sum(line.counts.failed for line in counting.lines())

    assert failed(Standing(1, 1, 0), 0.0) == 0
    counting.over(told, "1", 1.0)
    assert failed(Standing(0, 1, 0), 1.0) == 0
    # Connections that were refused are known at once; of others, as many as can have been no answers.
    assert failed(Standing(2, 3, 1), 2.0) == 1
    assert failed(Standing(2, 6, 1), 3.0) == 3
    counting.over(told, "1", 1.0)
    # The older one of both was explained.
    assert failed(Standing(2, 6, 1), 6.9) == 3
    assert failed(Standing(2, 6, 1), 6.9 + LINE_SECONDS) == 4
    # Answers that begin and end all the time are none, for as long as it takes.
    for second in range(100, 200):
        counting.over(told, "1", 1.0)
        assert failed(Standing(1, second - 92, 1), float(second)) == 4


async def test_a_program_that_is_none_is_told(tmp_path: Path) -> None:
    assert ENVOY.version_of("HAProxy version 2.6.12") is None
    with pytest.raises(CouldNotStart, match="cannot be run"):
        _ = await ENVOY.usable(str(tmp_path / "envoy"))
    if "envoy" not in sys.modules:
        assert found(lambda _: "/opt/envoy")


async def test_who_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        _ = await asked(tmp_path / "admin.sock", "/")

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _ = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_unix_server(refuses, tmp_path / "own.sock"):
        with pytest.raises(Unavailable, match="answered / with 500"):
            _ = await asked(tmp_path / "own.sock", "/")


async def test_only_connections_to_a_place_are_shut_down() -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux lets a parent end the connections of its children")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()
        with socket.create_connection(place) as ours:
            met, _ = listener.accept()
            with met:
                assert cut_off(os.getpid(), {("127.0.0.1", 1)}) == 0
                if not cut_off(os.getpid(), {place}):
                    pytest.skip("this machine does not let a process be asked for its sockets")
                assert ours.recv(1) == b""
                assert met.recv(1) == b""
