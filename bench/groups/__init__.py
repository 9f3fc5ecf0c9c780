"""The groups of cases, by name."""

from plan import Group

from groups import inprocess, live, rest, sim, startup, store

GROUPS: dict[str, Group] = {
    group.name: group for group in (inprocess.GROUP, startup.GROUP, store.GROUP, rest.GROUP, live.GROUP, *sim.GROUPS)
}
