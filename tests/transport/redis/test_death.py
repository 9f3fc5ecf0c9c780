"""Processes that are killed and that stand still, over a real server."""

from tests.transport.death_suite import DeathSuite


class TestDeath(DeathSuite):
    held_up_max = 1  # it was waiting for requests, and is given the first that comes; it does not ask for more
