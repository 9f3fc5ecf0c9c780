"""A house whose devices are switched while machines die, clocks jump and packets vanish:

hanse sim examples/power/worlds.py:house --seeds 100
"""

from power import Device, app

from hanse import World, simulation


@simulation(app, seconds=40.0, sometimes=("switched often",))
async def house(world: World) -> None:
    world.always("no switch is lost or doubled", lambda: switches_are_right(world))
    world.eventually("nothing is pending", lambda: not any(device.pending for device in world.rows(Device)))
    await world.advance(world.seconds)
    if sum(device.switched for device in world.rows(Device)) >= world.seconds / 4:
        world.sometimes("switched often")


def switches_are_right(world: World) -> None:
    for device in world.rows(Device):
        on = device.power == "on"
        assert device.switched % 2 == on, f"{device.id} is {device.power} after {device.switched} switches"
        differs = device.power != device.wanted
        assert device.pending == differs, f"{device.id} is {device.power}, wanted {device.wanted}: {device.pending=}"
