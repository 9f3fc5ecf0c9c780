"""The groups of cases, by name."""

from plan import Group

from groups import inprocess, rest, sim, startup, store

GROUPS: dict[str, Group] = {
    group.name: group for group in (inprocess.GROUP, startup.GROUP, store.GROUP, rest.GROUP, *sim.GROUPS)
}
