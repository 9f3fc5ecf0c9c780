"""What all tests share: property tests judge behaviour, never how fast this machine is."""

import gc
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from coverage import Coverage
from hypothesis import settings

from .dealing import dealt

settings.register_profile("hanse", deadline=None, print_blob=True)
settings.load_profile("hanse")

# A shell that has the tests run in its background has them ignore Ctrl-C, and so all commands that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    _ = signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def untraced() -> Iterator[None]:
    """Lets coverage look away from a test that does alike things many thousand times: each takes a third of the time.

    What it runs, other tests run as well, a few times and under coverage's eyes.
    """
    with _looking_away():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Lets coverage look at a simulation under its first seed only: the others go the same ways in another order."""
    with _looking_away() if _is_one_more_seed(item) else nullcontext():
        yield


def _is_one_more_seed(item: pytest.Item) -> bool:
    seed = item.callspec.params.get("seed") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    return isinstance(seed, int) and seed > 0


@contextmanager
def _looking_away() -> Generator[None]:
    measuring = Coverage.current()
    if measuring is None:
        yield
        return
    measuring.stop()
    try:
        yield
    finally:
        measuring.start()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Lets several workers begin with what takes long, after all others have had their say about the order."""
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given is not None:
        items[:] = dealt(items, given["workercount"], lambda item: item.nodeid)


def pytest_collection() -> None:
    """Does not search for garbage while all that comes stays to the end."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Takes what stays to the end, ten thousand tests and their modules, out of what is searched for garbage."""
    _ = gc.collect()
    gc.freeze()
    gc.enable()
