"""Services of which two releases run beside each other: what should run then, and how the edge shares requests.

What releases want of a service is an `Overlay` over what the settings say. It is a value, so that whoever keeps it can
be killed, and goes on from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from hanse.control.desired import Command, Desired, Key
from hanse.control.edge_table import WHOLE, Mirror, Share, Split
from hanse.control.ground import Wanted

BASE = "base"
"""The release of a service that was never released: that of the settings, in its folder."""

VISITOR = "hanse-visitor"
"""The cookie by which who has no other mark keeps a release."""

STICKS_TO = ("header.x-user-id", f"cookie.{VISITOR}")
"""By what a visitor is known, so that they keep a release."""


PLACEBO = 2_500
"""Of the copies for a new release, in basis points, those that the old one answers once more instead."""


class Overlay(msgspec.Struct, frozen=True):
    """What releases want of one service.

    Attributes:
        release: The one that has what the new one has not.
        directory: Where its files are; empty for where the settings say. See `started_from`.
        count: Instances of it; -1 for as many as the settings say.
        new: The release that comes, if one does.
        new_directory: Where its files are.
        new_count: Instances of it.
        share, mirrored: Of the requests, and of copies, for the new release, in basis points.
        salt: What hashes of visitors are made with.
        position: Of the commit that wants it; what an earlier one wanted is passed over.
    """

    release: str = BASE
    directory: str = ""
    count: int = -1
    new: str = ""
    new_directory: str = ""
    new_count: int = 0
    share: int = 0
    mirrored: int = 0
    salt: str = ""
    position: int = 0


def overlaid(desired: Mapping[str, Desired], overlays: Mapping[str, Overlay]) -> dict[Key, Desired]:
    """What should run, by service and release.

    Args:
        desired: What the settings say, by name.
        overlays: What releases want, by name.

    Example:
        >>> from hanse.control.desired import Command
        >>> web = Desired("web", Command(("serve",)), instances=3)
        >>> found = overlaid({"web": web}, {"web": Overlay(new="2", new_count=1, new_directory="/releases/2")})
        >>> {key: one.instances for key, one in found.items()}
        {('web', 'base'): 3, ('web', '2'): 1}
    """
    return {one.key: one for wanted in desired.values() for one in _sides(wanted, overlays.get(wanted.service))}


def split_of(overlay: Overlay) -> Split:
    """How requests are shared.

    Example:
        >>> [(one.release, one.points) for one in split_of(Overlay(new="2", share=500)).shares]
        [('2', 500), ('base', 9500)]
    """
    old = Share(release=overlay.release, points=WHOLE - overlay.share)
    if not overlay.new:
        return Split(shares=(old,))
    # The one that grows comes first: so whoever got it keeps it.
    shares = (Share(release=overlay.new, points=overlay.share), old)
    return Split(shares=shares, salt=overlay.salt, sticks_to=STICKS_TO, cookie=VISITOR)


def mirror_of(overlay: Overlay) -> Mirror | None:
    """Who gets copies."""
    if not (overlay.new and overlay.mirrored):
        return None
    return Mirror(release=overlay.new, points=overlay.mirrored, placebo=PLACEBO)


def overlay_for(wanted: Wanted) -> Overlay:
    """What a rollout wants: nothing, while it is only looked whether the new release fits."""
    return Overlay(
        release=wanted.old or BASE,
        directory=wanted.old_source,
        count=-1 if wanted.state == "checking" else wanted.old_count,
        new=wanted.new,
        new_directory=wanted.new_source,
        new_count=wanted.new_count,
        share=wanted.share,
        mirrored=wanted.mirrored,
        salt=wanted.rollout,
        position=wanted.position,
    )


def _sides(wanted: Desired, overlay: Overlay | None) -> Iterator[Desired]:
    if overlay is None:
        yield replace(wanted, release=BASE)
        return
    count = wanted.instances if overlay.count < 0 else overlay.count
    yield _of(wanted, overlay.release, overlay.directory, count)
    if overlay.new:
        yield _of(wanted, overlay.new, overlay.new_directory, overlay.new_count)


def started_from(wanted: Desired, directory: str) -> Command:
    """What starts a service whose files are in a folder of their own.

    A foreign service is started there. One of the app is started where it always is, as paths of transports and stores
    are found from there, and told where its code is. One in a container has its files in its image.

    Args:
        wanted: The service.
        directory: The folder, or the image; empty for what the settings say.

    Example:
        >>> till = Desired("till", Command(("hanse", "run", "cafe.py"), directory="/srv/cafe"), own=True)
        >>> command = started_from(till, "/srv/cafe-2")
        >>> command.directory, command.line
        ('/srv/cafe', ('hanse', 'run', 'cafe.py', '--source', '/srv/cafe-2'))
    """
    command = wanted.command
    if not _is_folder(directory) or wanted.container is not None:
        return command
    if wanted.own:
        return replace(command, line=(*command.line, "--source", directory))
    return replace(command, directory=directory)


def _is_folder(place: str) -> bool:
    """Whether it is none of an image: a service that was released from one may be run by the other since."""
    return place.startswith("/")


def _of(wanted: Desired, release: str, directory: str, count: int) -> Desired:
    container = wanted.container
    if container is not None and directory and not _is_folder(directory):
        container = replace(container, image=directory)
    command = started_from(wanted, directory)
    return replace(wanted, command=command, container=container, release=release, instances=count)
