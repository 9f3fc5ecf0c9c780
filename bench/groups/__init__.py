"""The groups of cases, by name."""

from plan import Group

from groups import inprocess, live, reload, rest, sim, startup, store

GROUPS: dict[str, Group] = {
    group.name: group
    for group in (inprocess.GROUP, startup.GROUP, reload.GROUP, store.GROUP, rest.GROUP, live.GROUP, *sim.GROUPS)
}
