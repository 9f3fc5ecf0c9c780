"""The store takes a mark that is there already.
Two deliveries of one event that are under way at once take effect both."""

from hanse import World, simulation
from hanse.store.group import Group
from hanse.store.sqlite import writer

from . import instead, ledger


@instead(Group)
def has_mark(self: Group, scope: str, key: str, /) -> bool:
    return False


writer._MARK = writer._MARK.replace("INSERT", "INSERT OR IGNORE")


@simulation(ledger.setup, seconds=ledger.SECONDS)
async def marks_taken_twice(world: World) -> None:
    await ledger.story(world)
