"""Visitors are drawn anew with each step of a rollout.
Who has seen the new release gets the old one again."""

from msgspec.structs import replace

from hanse import World, simulation
from hanse.control import edge_shown, released
from hanse.control.edge_table import Split
from hanse.control.released import Overlay

from . import instead, supervised

split_in_order = released.split_of


@instead(edge_shown)
def split_of(overlay: Overlay) -> Split:
    return replace(split_in_order(overlay), salt=f"{overlay.salt} {overlay.share}")


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def visitors_change_releases(world: World) -> None:
    await supervised.story(world)
