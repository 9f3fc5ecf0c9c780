"""Many ask an oracle until it answers: all of them learn it in the end, and trouble does not multiply their calls."""

import asyncio
from typing import final

from hanse import App, Fault, Service, World, current, policy, rpc, simulation
from hanse.kernel.message import Kind, Message
from hanse.sim.check import Observer
from hanse.sim.setup import Setup

from .common import TRIES

SECONDS = 20.0
RATE = 12.0
TIMEOUT = 2.0
RETRIES_SAVED = 10
"""Retries that a quiet caller may make at once."""

RETRIES_SHARE = 0.1
"""Retries that each first try pays for."""

ROUNDING = 0.001


class Oracle(Service):
    @rpc(idempotent=True)
    async def answer(self, question: int) -> int:
        await asyncio.sleep(current().host.chance.uniform(0.0, 1.0))
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
    calls, waiting, late = Calls(), set[int](), list[float]()
    world.observers.append(calls)
    world.always("retries keep to their budget", lambda: retries_are_few(calls))
    world.always("a call ends in its time", lambda: not late or f"calls of {TIMEOUT:g} s took {late}")
    world.eventually("whoever asks is answered", lambda: not waiting or f"{len(waiting)} still ask")
    oracle = policy(world.client(Oracle), timeout=TIMEOUT)
    async with asyncio.TaskGroup() as group:
        async for number in world.arrivals(rate=RATE):
            waiting.add(number)
            group.create_task(ask(world, oracle, waiting, late, number))


async def ask(world: World, oracle: Oracle, waiting: set[int], late: list[float], question: int) -> None:
    for _ in range(TRIES):
        began = world.time
        try:
            await oracle.answer(question)
            waiting.discard(question)
        except Fault:
            world.sometimes("asked again")
        if (took := world.time - began) > TIMEOUT + ROUNDING:
            late.append(took)
        if question not in waiting:
            return
        await asyncio.sleep(world.chance.uniform(0.2, 1.0))


def retries_are_few(calls: Calls) -> None:
    most = RETRIES_SAVED + RETRIES_SHARE * calls.first
    assert calls.again <= most, f"{calls.again} retries of {calls.first} calls, {most:.0f} at most"


@simulation(setup, seconds=SECONDS, sometimes=("asked again",))
async def oracle(world: World) -> None:
    await story(world)
