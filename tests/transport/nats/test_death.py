"""Processes that are killed and that stand still, over a real server."""

from tests.transport.death_suite import DeathSuite


class TestDeath(DeathSuite):
    pass
