"""The conformance suite of transports: every promise of `hanse.transport.base`, as tests.

An adapter is finished when it passes with no test skipped that its `Features` do not explain:

    class TestMyTransport(TransportSuite):
        title = "mine://"

        async def join(self) -> Transport:
            return MyTransport(...)

Run it with pytest and pytest-asyncio, against the real thing. Where nodes take a moment to learn what others serve,
say in `settle` how to wait for it; where something can break, say in `sever`, `kill` and `restart` how to break it.
"""

from __future__ import annotations

from hanse.testing.transport_broken import InstanceTests, KillTests, RestartTests, SeverTests
from hanse.testing.transport_calls import AnswerTests, EndTests, FaultTests, SideBySideTests
from hanse.testing.transport_carried import AddressTests, BodyTests, HeadersTests
from hanse.testing.transport_kept import BacklogTests, KeptTests, KeptThroughTests
from hanse.testing.transport_life import LifeTests, ListenTests
from hanse.testing.transport_streams import PaceTests, StreamTests


class TransportSuite(
    AnswerTests,
    FaultTests,
    SideBySideTests,
    EndTests,
    HeadersTests,
    BodyTests,
    AddressTests,
    StreamTests,
    PaceTests,
    LifeTests,
    ListenTests,
    InstanceTests,
    KillTests,
    SeverTests,
    RestartTests,
    KeptTests,
    BacklogTests,
    KeptThroughTests,
):
    """All promises of a transport. Subclass it and give it a `join`."""
