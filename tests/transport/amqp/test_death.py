"""Processes that are killed and that stand still, over a real server."""

from tests.transport.death_suite import DeathSuite

from hanse.transport.amqp.intake import AHEAD_MAX


class TestDeath(DeathSuite):
    held_up_max = AHEAD_MAX  # it is given so many, and no more before it has taken them
