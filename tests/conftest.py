"""What all tests share: property tests judge behaviour, never how fast this machine is."""

import signal
from collections.abc import Iterator

import pytest
from coverage import Coverage
from hypothesis import settings

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
    measuring = Coverage.current()
    if measuring is None:
        yield
        return
    measuring.stop()
    try:
        yield
    finally:
        measuring.start()
