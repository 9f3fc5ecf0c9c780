"""Many ask an oracle until it answers: all of them learn it in the end, and trouble does not multiply their calls."""

import asyncio
from typing import final

from hanse import App, Fault, Service, World, rpc, simulation
from hanse.kernel.message import Kind, Message
from hanse.sim.check import Observer
from hanse.sim.setup import Setup

from .common import TRIES

SECONDS = 20.0
RATE = 12.0
RETRIES_SAVED = 10
"""Retries that a quiet caller may make at once."""

RETRIES_SHARE = 0.1
"""Retries that each first try pays for."""


class Oracle(Service):
    @rpc(idempotent=True)
    async def answer(self, question: int) -> int:
        return 42 * question


setup = Setup(app=App("oracle", Oracle))


@final
class Calls(Observer):
    """Counts the calls on the wire: those that are new, and those that are tried again."""

    name: str = "calls"

    def __init__(self) -> None:
        self.first: int = 0
        self.again: int = 0

    def said(self, source: str, target: str, message: Message, asked: Message | None) -> None:
        if message.kind is Kind.CALL:
            self.first += message.headers.attempt == 1
            self.again += message.headers.attempt > 1


async def story(world: World) -> None:
    calls, waiting = Calls(), set[int]()
    world.observers.append(calls)
    world.always("retries keep to their budget", lambda: retries_are_few(calls))
    world.eventually("whoever asks is answered", lambda: not waiting)
    oracle = world.client(Oracle)
    async with asyncio.TaskGroup() as group:
        async for number in world.arrivals(rate=RATE):
            waiting.add(number)
            group.create_task(ask(world, oracle, waiting, number))


async def ask(world: World, oracle: Oracle, waiting: set[int], question: int) -> None:
    for _ in range(TRIES):
        try:
            await oracle.answer(question)
        except Fault:
            world.sometimes("asked again")
            await asyncio.sleep(world.chance.uniform(0.2, 1.0))
        else:
            waiting.discard(question)
            return


def retries_are_few(calls: Calls) -> None:
    most = RETRIES_SAVED + RETRIES_SHARE * calls.first
    assert calls.again <= most, f"{calls.again} retries of {calls.first} calls, {most:.0f} at most"


@simulation(setup, seconds=SECONDS, sometimes=("asked again",))
async def oracle(world: World) -> None:
    await story(world)
