"""Devices that are asked to switch on and off, a worker that switches them, and somebody who keeps asking.

hanse run examples/power/power.py --store sqlite:///data

Open the page that it names, kill the server, start it again, and watch: the page goes on where it was. Or in a shell:

curl http://127.0.0.1:8000/devices
curl -N -H "Accept: text/event-stream" http://127.0.0.1:8000/devices      # every change, as it happens
hanse call devices.ask id=lamp wanted=on

The three run in one process, as here, or apart, each on a machine of its own: nobody notices.

hanse run examples/power/power.py --services devices --transport unix:run --store sqlite:///data     # and so on

There may be two workers on one store: one of them has the duty, and the other takes over when it dies.
Whoever dies on the way, whatever gets lost, comes late or comes twice:

- A device was switched an odd number of times if it is on, and an even one if it is off: no switch is lost or doubled.
- A device is pending exactly while its power is not what is wanted, and in the end none is.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

from hanse import (
    App,
    Collection,
    Contract,
    Gateway,
    Held,
    PreconditionFailed,
    Resource,
    Service,
    current,
    every,
    rpc,
    rule,
)

Power = Literal["on", "off"]


class Device(Resource):
    """Something with a switch: what was asked for, what it is, and how often it was switched."""

    wanted: Power = "off"
    power: Power = "off"
    pending: bool = False
    switched: int = 0


class Devices(Contract, Protocol, version="1.0", resources=(Device,)):
    """The devices of the house."""

    @rpc(idempotent=True)
    async def ask(self, id: str, wanted: Power) -> Device:
        """Ask for a device to be on or off; it will be, in a moment."""
        ...


class DeviceService(Service, Devices, owns=(Device,)):
    devices: Collection[Device]
    names: tuple[str, ...] = ("lamp", "kettle", "radio", "oven", "fan", "bell", "pump", "gate")

    async def started(self) -> None:
        if not await self.devices.count():
            for name in self.names:
                await self.devices.create(Device(id=name))

    async def ask(self, id: str, wanted: Power) -> Device:
        # Patched first, then looked at: `pending` is about this very row, or what was asked is a Conflict, and nothing.
        device = await self.devices.patch(id, wanted=wanted)
        return await self.devices.patch(id, pending=device.power != wanted)


class Worker(Service):
    seconds: float = 0.5
    """How long it takes to switch a device."""

    @rule(Device, where=lambda device: device.pending, every="10s", concurrency=4)
    async def switch(self, device: Held[Device]) -> None:
        await asyncio.sleep(self.seconds)
        # Somebody may have asked for something else meanwhile: the device has changed, so the rule looks at it again.
        with suppress(PreconditionFailed):
            await device.patch(power=device.value.wanted, pending=False, switched=device.value.switched + 1)


class Randomizer(Service):
    house: Devices
    devices: Collection[Device]

    @every("1s")
    async def play(self) -> None:
        page = await self.devices.find(limit=1000)
        if page.items:
            # Chance comes from the host, so that a simulated world can play the same game twice.
            device = current().host.chance.choice(page.items)
            await self.house.ask(device.id, "off" if device.wanted == "on" else "on")


gateway = Gateway()
gateway.resources(Device, path="/devices", write=False)
gateway.rpc(Devices)
gateway.static("/", Path(__file__).parent / "page")

app = App("power", DeviceService, Worker, Randomizer, gateway=gateway)
