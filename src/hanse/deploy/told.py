"""What is said of a system while it runs: the difference between what it was and what it is, in words."""

from __future__ import annotations

from collections.abc import Iterator

from hanse.control.instances import Instance, System


def told(before: System, after: System, now: float) -> Iterator[str]:
    """What has happened between two moments, for people.

    Args:
        before: The system as it was.
        after: As it is.
        now: Second of the machine's clock.
    """
    then = {one.name: one for one in before.instances}
    for one in after.instances:
        was = then.pop(one.name, None)
        if was is None or was.phase != one.phase or (one.phase == "waiting" and was.why != one.why):
            yield from _about(was, one, now)
    yield from (f"{one.name} has gone" for one in then.values() if one.run and one.phase != "done")


def _about(was: Instance | None, one: Instance, now: float) -> Iterator[str]:
    match one.phase:
        case "waiting" if one.why:
            yield f"{one.name} waits {one.why}"
        case "starting":
            yield f"{one.name} starts"
        case "ready":
            took = f" ({now - was.since:.1f} s)" if was is not None and was.phase in ("starting", "unhealthy") else ""
            yield f"{one.name} is ready at port {one.port}{took}"
        case "unhealthy":
            yield f"{one.name} is unhealthy, and gets no requests: {one.why}"
        case "draining":
            yield f"{one.name} drains"
        case "stopping":
            yield f"{one.name} is told to end" + (f": {one.why}" if one.why else "")
        case "backing off":
            yield f"{one.name} has ended ({one.why}); it starts again in {one.until - now:.1f} s"
        case "crash loop":
            again = f"; it is tried once more in {(one.until - now) / 60:.0f} minutes" if one.until else ""
            yield f"{one.name} is given up: {one.why}{again}"
            yield from (f"  {one.name} | {line}" for line in one.tail)
        case "done":
            yield f"{one.name} has ended ({one.why})"
        case _:
            pass
