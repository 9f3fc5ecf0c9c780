"""What the stores on servers share, with no server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import pytest

from hanse.kernel.faults import Malformed, PreconditionFailed, Unavailable
from hanse.kernel.host import Host
from hanse.store.base import Batch, Emit
from hanse.store.group import Outcome
from hanse.store.remote.commits import DECIDE_SECONDS, Errors, applied, found_out
from hanse.store.remote.crew import Crew
from hanse.store.remote.hearing import LOOK_SECONDS_DEAF, Hearing
from hanse.store.remote.reach import PAUSE_SECONDS_MAX, Reach
from hanse.store.remote.url import url_of_service

LOG = logging.getLogger("hanse.test.remote")


def _is_of_value(error: BaseException) -> bool:
    return isinstance(error, UnicodeError)


def _meaning(error: Exception, place: str) -> Exception:
    return Malformed(f"{place}: {error}") if _is_of_value(error) else error


ERRORS = Errors(_is_of_value, _meaning)
BAD = Batch(1.0, (Emit("placed", "bad", b"{}", "m"),))
GOOD = Batch(1.0, (Emit("placed", "good", b"{}", "m"),))


@pytest.mark.parametrize(
    ("url", "option", "wanted"),
    [
        ("postgresql://db/a?sslmode=require", "schema", "postgresql://db/a?sslmode=require&schema=orders"),
        ("postgresql://db/a?schema=x&connections=2", "schema", "postgresql://db/a?connections=2&schema=x_orders"),
        ("mongodb://db/app?tls=true", "prefix", "mongodb://db/app?tls=true&prefix=orders"),
        ("redis://db?synchronous=off", "prefix", "redis://db?synchronous=off&prefix=orders"),
    ],
)
def test_each_service_has_a_part_of_its_own(url: str, option: str, wanted: str) -> None:
    assert url_of_service(url, "orders", option) == wanted


@pytest.mark.virtual_time
class TestReach:
    async def test_while_a_server_is_away_it_is_looked_for_now_and_then(self, host: Host) -> None:
        reach = Reach("db", host)
        reach.check()
        for _ in range(20):
            reach.failed("it is away")
        assert PAUSE_SECONDS_MAX / 2 <= reach.pause() <= PAUSE_SECONDS_MAX
        with pytest.raises(Unavailable, match="it is away"):
            reach.check()
        await asyncio.sleep(PAUSE_SECONDS_MAX)
        reach.check()

    async def test_once_it_is_found_nobody_waits(self, host: Host) -> None:
        reach = Reach("db", host)
        reach.failed("it is away")
        reach.found()
        reach.check()
        assert reach.pause() == 0.0


async def test_a_value_that_is_refused_takes_no_neighbours_along() -> None:
    async def write(batches: Sequence[Batch]) -> Sequence[Outcome]:
        if BAD in batches:
            raise UnicodeError("half a character")
        return [(7,) for _ in batches]

    first, second, third = await applied((GOOD, BAD, GOOD), write, ERRORS, "db")
    assert (first, third) == ((7,), (7,))
    assert isinstance(second, Malformed)
    assert second.detail == "db: half a character"


async def test_whatever_else_fails_is_told_to_all_of_a_group() -> None:
    tries: list[int] = []

    async def write(batches: Sequence[Batch]) -> Sequence[Outcome]:
        tries.append(len(batches))
        raise KeyError("a mistake")

    outcomes = await applied((GOOD, BAD), write, ERRORS, "db")
    assert [type(one) for one in outcomes] == [KeyError, KeyError]
    assert tries == [2]


def answering(*answers: object) -> Callable[[], Awaitable[object]]:
    """Asked in order; the last answer is given for ever, errors are raised."""
    left = list(answers)

    async def ask() -> object:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


@pytest.mark.virtual_time
class TestFoundOut:
    async def test_the_server_is_asked_until_it_answers(self, host: Host) -> None:
        ask = answering(Unavailable("away"), OSError("reset"), RuntimeError("no statement"), "done")
        assert await found_out(ask, Reach("db", host), OSError("cut")) == "done"

    async def test_of_one_that_stays_away_nobody_knows(self, host: Host) -> None:
        begin = host.monotonic()
        with pytest.raises(Unavailable, match=r"went away amid a commit \(cut\), and it is not known whether"):
            await found_out(answering(OSError("reset")), Reach("db", host), OSError("cut"))
        assert DECIDE_SECONDS <= host.monotonic() - begin < DECIDE_SECONDS + 1

    async def test_one_that_says_nothing_is_not_waited_for_longer(self, host: Host) -> None:
        async def ask() -> None:
            await asyncio.get_running_loop().create_future()

        with pytest.raises(Unavailable, match="not known"):
            await found_out(ask, Reach("db", host), OSError("cut"))
        assert host.monotonic() < DECIDE_SECONDS + 1


@pytest.mark.virtual_time
class TestHearing:
    async def test_what_breaks_is_told_once_until_news_come_through_again(
        self, host: Host, caplog: pytest.LogCaptureFixture
    ) -> None:
        woken: list[int] = []
        hearing = Hearing(Reach("db", host), LOG, lambda: woken.append(hearing.head))
        turns: list[float] = []

        async def follow() -> None:
            turns.append(host.monotonic())
            if len(turns) == 3:
                hearing.well()
                hearing.see(4)
            raise OSError("reset")

        with caplog.at_level(logging.WARNING):
            running = asyncio.gather(hearing.run(follow))
            await asyncio.sleep(LOOK_SECONDS_DEAF * 5.5)
            running.cancel()
        assert len(turns) == 6
        assert [record.getMessage() for record in caplog.records] == [
            "no news of the store db: reset; looking again"
        ] * 2
        assert woken == [4]

    async def test_what_this_process_has_committed_is_no_news(self, host: Host) -> None:
        woken: list[int] = []
        hearing = Hearing(Reach("db", host), LOG, lambda: woken.append(hearing.head))
        hearing.told(7)
        for head in (3, 7, 8, 8, 5):
            hearing.see(head)
        assert woken == [8]


class Silence:
    """No news."""

    def __init__(self) -> None:
        self.told: list[int] = []

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    def tell(self, head: int) -> None:
        self.told.append(head)


class TestCrew:
    async def test_commits_are_counted_over_all_openings(self) -> None:
        async def apply(batches: Sequence[Batch]) -> Sequence[Outcome]:
            return [(1,) for _ in batches]

        crew = Crew(LOG)
        with pytest.raises(Unavailable, match="open it first"):
            await crew.commit(GOOD)
        for commits in (1, 2):
            crew.start(apply, Silence())
            assert await crew.commit(GOOD) == (1,)
            await crew.close()
            assert (crew.commits, crew.late) == (commits, 0)
            with pytest.raises(Unavailable, match="open it first"):
                await crew.commit(GOOD)

    async def test_what_came_too_late_is_counted_also_where_nobody_waits_for_it_any_more(self) -> None:
        goes_on = asyncio.Event()

        async def apply(batches: Sequence[Batch]) -> Sequence[Outcome]:
            await goes_on.wait()
            return [PreconditionFailed("position", "lease", "1", "3") for _ in batches]

        crew = Crew(LOG)
        crew.start(apply, Silence())
        async with asyncio.TaskGroup() as tasks:
            committing = tasks.create_task(crew.commit(GOOD))
            await asyncio.sleep(0)
            _ = committing.cancel()
        goes_on.set()
        with pytest.raises(PreconditionFailed):
            await crew.commit(GOOD)
        await crew.close()
        assert crew.late == 2

    async def test_whoever_closes_waits_for_what_is_under_way(self) -> None:
        begun, goes_on = asyncio.Event(), asyncio.Event()

        async def apply(batches: Sequence[Batch]) -> Sequence[Outcome]:
            begun.set()
            await goes_on.wait()
            return [(1,) for _ in batches]

        crew = Crew(LOG)
        crew.start(apply, Silence())
        async with asyncio.TaskGroup() as tasks:
            committing = tasks.create_task(crew.commit(GOOD))
            await begun.wait()
            closing = tasks.create_task(crew.close())
            await asyncio.sleep(0)
            assert not closing.done()
            goes_on.set()
        assert committing.result() == (1,)

    async def test_who_listens_and_other_processes_are_told_of_commits(self) -> None:
        async def apply(batches: Sequence[Batch]) -> Sequence[Outcome]:
            crew.committed(batches, 7)
            return [(7,) for _ in batches]

        crew, news, woken = Crew(LOG), Silence(), list[str]()
        _ = crew.listen(lambda: woken.append("others"), ["others"])
        _ = crew.listen(lambda: woken.append("placed"), ["placed"])
        crew.start(apply, news)
        await crew.commit(GOOD)
        await crew.close()
        assert (news.told, woken) == ([7], ["placed"])

    async def test_a_task_that_ends_is_told_of(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(Silence):
            async def run(self) -> None:
                raise KeyError("a mistake")

        async def apply(batches: Sequence[Batch]) -> Sequence[Outcome]:
            return [() for _ in batches]

        crew = Crew(LOG)
        with caplog.at_level(logging.ERROR):
            crew.start(apply, Broken())
            assert await crew.commit(GOOD) == ()
            await crew.close()
        assert [record.getMessage() for record in caplog.records] == ["a task of the store ended"]
