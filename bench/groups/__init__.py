"""The groups of cases, by name."""

from plan import Group

from groups import (
    calls,
    durable,
    edge,
    events,
    fleet,
    gateway,
    inprocess,
    listing,
    live,
    post,
    reload,
    rest,
    sim,
    startup,
    store,
    supervise,
)

_ALL = (
    *(
        inprocess.GROUP,
        calls.GROUP,
        calls.RABBIT,
        gateway.GROUP,
        edge.GROUP,
        supervise.GROUP,
        events.GROUP,
        startup.GROUP,
        fleet.GROUP,
    ),
    *(reload.GROUP, store.GROUP, store.POSTGRESQL, store.MONGODB, store.REDIS),
    *(rest.GROUP, post.GROUP, listing.GROUP, live.GROUP),
    *durable.GROUPS,
    *sim.GROUPS,
)

GROUPS: dict[str, Group] = {group.name: group for group in _ALL}
