"""`@cpu` functions run in other processes, and whatever happens there is told here."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hanse.kernel.faults import Fault, Misdeclared, NotFound, Overloaded, Unavailable
from hanse.service.cpu import cpu, using_pool
from hanse.service.pool import InlinePool, ProcessPool
from hanse.service.processes import work


class TwoArguments(Exception):
    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


class Shape:
    @staticmethod
    @cpu
    def area(side: int) -> int:
        return side * side


@cpu
def process_id() -> int:
    return os.getpid()


@cpu
def add(left: int, *, right: int = 0) -> int:
    return left + right


@cpu
def fail(kind: str) -> None:
    if kind == "fault":
        raise NotFound("order", "42")
    if kind == "error":
        raise ValueError("no")
    if kind == "odd":
        raise TwoArguments("one", "other")
    if kind == "exit":
        sys.exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


@cpu
def wait_for(path: str) -> str:
    """Opens a pipe that a test holds: how it knows that the job runs, and how it lets it end."""
    with Path(path).open() as pipe:
        return pipe.read()


@cpu
def unsendable() -> object:
    return threading.Lock()


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    pool = ProcessPool(1)
    yield pool
    asyncio.run(pool.close())


class Pipe:
    """A named pipe that a job reads."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "pipe")
        os.mkfifo(self.path)

    def begun(self) -> int:
        """Wait until a job reads it; its other end."""
        return os.open(self.path, os.O_WRONLY)


@pytest.fixture
def pipe(tmp_path: Path) -> Pipe:
    return Pipe(tmp_path)


async def test_a_function_runs_in_another_process(pool: ProcessPool) -> None:
    with using_pool(pool):
        assert await process_id() != os.getpid()
        assert await add(1, right=2) == 3
        assert await Shape.area(3) == 9


@pytest.mark.parametrize(("kind", "error"), [("fault", NotFound), ("error", ValueError)])
async def test_what_it_raises_arrives_as_it_is(pool: ProcessPool, kind: str, error: type[Exception]) -> None:
    with using_pool(pool), pytest.raises(error):
        await fail(kind)


async def test_an_error_tells_where_it_was_raised(pool: ProcessPool) -> None:
    with using_pool(pool), pytest.raises(ValueError, match="no") as raised:
        await fail("error")
    assert 'raise ValueError("no")' in raised.value.__notes__[0]


@pytest.mark.parametrize(("kind", "text"), [("odd", "TwoArguments: oneother"), ("exit", "SystemExit: 3")])
async def test_an_error_that_cannot_be_sent_arrives_as_what_it_said(pool: ProcessPool, kind: str, text: str) -> None:
    with using_pool(pool), pytest.raises(RuntimeError, match=text):
        await fail(kind)


async def test_data_that_cannot_be_sent_is_refused_with_the_reason(pool: ProcessPool) -> None:
    with using_pool(pool):
        with pytest.raises(Misdeclared, match="cannot cross processes"):
            await unsendable()
        with pytest.raises(Misdeclared, match="cannot cross processes"):
            await add(threading.Lock())  # type: ignore[arg-type]


async def test_a_process_that_dies_is_told_and_replaced(pool: ProcessPool) -> None:
    with using_pool(pool):
        with pytest.raises(Unavailable, match="died while fail was run"):
            await fail("crash")
        assert await add(1) == 1


async def test_past_the_limit_of_jobs_callers_are_told(pipe: Pipe) -> None:
    pool = ProcessPool(1, jobs_max=1)
    async with asyncio.TaskGroup() as group:
        with using_pool(pool):
            job = group.create_task(wait_for(pipe.path))
            end = await asyncio.to_thread(pipe.begun)
            with pytest.raises(Overloaded):
                await add(1)
            os.close(end)
            assert (await job, len(pool)) == ("", 0)
    await pool.close()


async def test_a_caller_that_is_cancelled_gives_up_the_wait_at_once(pipe: Pipe) -> None:
    pool = ProcessPool(1)
    with using_pool(pool):
        async with asyncio.TaskGroup() as group:
            job = group.create_task(wait_for(pipe.path))
            end = await asyncio.to_thread(pipe.begun)
            job.cancel()
        assert (job.cancelled(), len(pool)) == (True, 1)
    os.close(end)
    await pool.close()


async def test_closing_drops_jobs_that_wait_and_kills_what_outlasts_the_grace(pipe: Pipe) -> None:
    pool = ProcessPool(1)
    with using_pool(pool):
        calls = asyncio.gather(wait_for(pipe.path), *(add(n) for n in range(5)), return_exceptions=True)
        end = await asyncio.to_thread(pipe.begun)
        await pool.close(grace=0.0)
        errors = await calls
    os.close(end)
    assert all(isinstance(error, Unavailable) for error in errors)


async def test_a_closed_pool_takes_no_job() -> None:
    pool = ProcessPool(1)
    await pool.close()
    with using_pool(pool), pytest.raises(Unavailable, match="closed"):
        await add(1)


async def test_the_inner_of_two_pools_is_used_and_the_outer_again_after_it() -> None:
    outer, inner = InlinePool(), ProcessPool(1)
    await inner.close()
    with using_pool(outer):
        with using_pool(inner), pytest.raises(Unavailable):
            await add(1)
        assert await process_id() == os.getpid()


async def test_a_fallback_gives_way_to_any_other() -> None:
    node, inner = ProcessPool(1), InlinePool()
    await node.close()
    with using_pool(inner), using_pool(node, fallback=True):
        assert await process_id() == os.getpid()
    with using_pool(node, fallback=True):
        with using_pool(inner):
            assert await process_id() == os.getpid()
        with pytest.raises(Unavailable, match="closed"):
            await process_id()


def test_a_pool_that_is_named_outside_any_loop_serves_all() -> None:
    with using_pool(InlinePool()):
        assert asyncio.run(process_id()) == os.getpid()


def test_the_function_itself_is_there_for_tests() -> None:
    function: Callable[..., int] = add.__wrapped__  # type: ignore[attr-defined]
    assert function(1, right=2) == 3


async def coroutine() -> None: ...


def generator() -> Iterator[int]:
    yield 1


def nested() -> Callable[[], None]:
    def inner() -> None: ...

    return inner


class Service:
    def method(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (coroutine, "async def"),
        (generator, "return a list"),
        (nested(), "top of a module"),
        (lambda: None, "top of a module"),
        (Service.method, "function of its data"),
        (Service, "goes over a function"),
    ],
)
def test_what_another_process_could_not_run_is_refused_where_it_is_written(
    function: Callable[[], object], advice: str
) -> None:
    with pytest.raises(Misdeclared, match=advice):
        cpu(function)


def test_a_job_whose_function_is_gone_is_refused_in_its_process(tmp_path: Path) -> None:
    returned, error = work((__name__, os.path.realpath(__file__), "nowhere"), (), {})
    assert (returned, isinstance(error, Fault)) == (False, True)
    returned, error = work(("gone", str(tmp_path / "gone.py"), "f"), (), {})
    assert "cannot be imported" in str(error)


def test_a_module_that_the_path_hides_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "json.py"
    file.write_text("from hanse.service.cpu import cpu\n@cpu\ndef f() -> int:\n    return 7\n")
    assert sys.modules["json"].__file__ != str(file)
    known = sys.modules["json"]
    try:
        assert work(("json", os.path.realpath(file), "f"), (), {}) == (True, 7)
    finally:
        sys.modules["json"] = known


def test_a_module_of_no_package_that_the_path_knows_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "greet.py"
    file.write_text(GREET)
    try:
        assert work(("no.such.greet", os.path.realpath(file), "hello"), ("Ada",), {}) == (True, "Hello, Ada!")
    finally:
        del sys.modules["no.such.greet"]


PROGRAM = """
import asyncio, importlib, sys
from pathlib import Path
{before}
if __name__ == "__main__":
    {start}
    print(asyncio.run(greet.hello("Ada")))
"""
GREET = "from hanse.service.cpu import cpu\n@cpu\ndef hello(name: str) -> str:\n    return f'Hello, {name}!'\n"


@pytest.mark.parametrize("folder", ["services", "."])
def test_a_program_runs_functions_of_files_beside_it_and_of_folders_that_it_adds(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "greet.py").write_text(GREET)
    start = f"sys.path.insert(0, str(Path(__file__).parent / {folder!r})); greet = importlib.import_module('greet')"
    (tmp_path / "program.py").write_text(PROGRAM.format(before="", start=start))
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Hello, Ada!\n", "")


def test_a_program_runs_its_own_functions(tmp_path: Path) -> None:
    before = GREET + "greet = sys.modules[__name__]"
    (tmp_path / "program.py").write_text(PROGRAM.format(before=before, start="pass"))
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Hello, Ada!\n", "")
