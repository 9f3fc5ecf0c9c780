"""A local call of moleculerpy with validated parameters: `moleculerpy_call.py SECONDS`, in its own environment."""

from __future__ import annotations

import os
import sys

import meter
from moleculerpy import Context, Service, ServiceBroker, Settings, action

PLAIN = {"number": 123_456, "customer": "Ada Lovelace, London", "tags": ["tea", "gift", "fragile"], "amount": 1234.56}
PARAMETERS = {
    "number": "number",
    "customer": "string",
    "tags": {"type": "array", "items": "string"},
    "amount": "number",
}


class Desk(Service):
    name = "desk"

    def __init__(self) -> None:
        super().__init__("desk")

    @action(params=PARAMETERS)
    async def check(self, ctx: Context) -> object:
        return ctx.params


async def main() -> None:
    broker = ServiceBroker("bench", settings=Settings(transporter="memory://", log_level="ERROR"))
    await broker.register(Desk())
    await broker.start()
    assert await broker.call("desk.check", PLAIN) == PLAIN
    await meter.one_by_one(lambda: broker.call("desk.check", PLAIN), float(sys.argv[1]))
    os._exit(0)  # its tasks do not end by themselves


meter.run(main())
