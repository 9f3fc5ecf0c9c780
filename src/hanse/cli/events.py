"""`hanse events`: what happens in a running system, as it happens: changes of rows, and events.

Each feed is read by a thread of its own, since the standard library's HTTP blocks; all put what they hear into one
queue, of which the main thread prints. A feed that breaks is resumed at its cursor, so nothing is missed or told twice.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import click
import msgspec

from hanse.cli.call import leave
from hanse.cli.complete import feeds
from hanse.cli.events_text import Told, line_of, told_by
from hanse.cli.options import as_json, common
from hanse.cli.output import Output
from hanse.cli.remote import Remote, remote
from hanse.cli.running import Document, document_of
from hanse.cli.sse import Follower, ProblemCame
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.settings_schema import nearest

WAITING_MAX = 100
"""What was heard and is not printed yet; feeds wait beyond."""


class Feed(msgspec.Struct, frozen=True):
    """One feed to follow: a collection or a topic, where it is, and where to go on."""

    name: str
    path: str
    topic: bool = False
    after: str = ""


class Ended(msgspec.Struct, frozen=True):
    """A feed that cannot go on."""

    error: Fault | ProblemCame


@click.command()
@click.argument("names", nargs=-1, metavar="[COLLECTION | TOPIC]...", shell_complete=feeds)
@click.option("--where", "where", multiple=True, metavar="FIELD=VALUE", help="Only what matches; may be repeated.")
@click.option("--after", "after", multiple=True, metavar="CURSOR", help="Go on from here: CURSOR, or NAME=CURSOR.")
@click.option("--snapshot", is_flag=True, help="Begin with the rows that are there.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after so many.")
@remote
@as_json
@common
def events(
    *,
    names: tuple[str, ...],
    where: tuple[str, ...],
    after: tuple[str, ...],
    remote: Remote,
    output: Output,
    **rest: object,
) -> None:
    """Follow the changes of collections and the events of topics; without a name, all that are exposed.

    With --json it is one object a line. FIELD=VALUE filters as in a URL: status=paid, total[gte]=10; every feed that is
    followed has to know the field. A connection that breaks is taken up again where it was.
    """
    feeds = feeds_of(document_of(remote), names, after)
    pairs = [pair_of(text) for text in where]
    asked = Asked(pairs, snapshot=bool(rest["snapshot"]), json_wanted=bool(rest["json_wanted"]))
    limit = rest["limit"]
    assert limit is None or isinstance(limit, int)
    try:
        follow(feeds, remote, asked, output, limit)
    except ProblemCame as fault:
        leave(fault.problem, output, json_wanted=asked.json_wanted)
    except BrokenPipeError:
        # Who reads has enough. What is left in the buffer would complain once more at the end of the interpreter.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Asked(msgspec.Struct, frozen=True):
    """What is wanted of each feed: conditions, the rows that are there, and the form."""

    where: list[tuple[str, str]] = []
    snapshot: bool = False
    json_wanted: bool = False


def pair_of(text: str) -> tuple[str, str]:
    """A condition as it is typed.

    Raises:
        click.UsageError: It is none.

    Example:
        >>> pair_of("total[gte]=10")
        ('total[gte]', '10')
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"expected --where FIELD=VALUE, such as status=paid, got {text!r}")
    return name, value


def feeds_of(document: Document, names: Sequence[str], after: Sequence[str]) -> list[Feed]:
    """The feeds that are meant: those of the names, or all.

    Raises:
        UnknownOperation: Nothing of such a name is exposed, or nothing at all.
        click.UsageError: A cursor is of no feed that is followed.
    """
    known = {name: Feed(name, one.path) for name, one in document.collections.items() if one.live}
    for name, one in document.topics.items():
        if one.live:
            # A collection of the same name wins; the topic has its own with a prefix.
            known[f"event:{name}" if name in known else name] = Feed(name, one.path, topic=True)
    if not known:
        raise UnknownOperation("expected something that may be followed, but nothing is exposed with live=True")
    for name in names:
        if name not in known:
            near = nearest(name, list(known))
            hint = f"; did you mean {near}?" if near else f"; there are {', '.join(known)}"
            raise UnknownOperation(f"expected a collection or a topic that may be followed, got {name!r}{hint}")
    chosen = [known[name] for name in dict.fromkeys(names)] if names else list(known.values())
    cursors = _cursors(chosen, after)
    return [msgspec.structs.replace(feed, after=cursors.get(feed.name, "")) for feed in chosen]


def _cursors(feeds: Sequence[Feed], after: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in after:
        name, equals, cursor = text.rpartition("=")
        if not equals and len(feeds) > 1:
            raise click.UsageError("expected --after NAME=CURSOR, since several feeds are followed")
        name = name if equals else feeds[0].name
        if name not in {feed.name for feed in feeds}:
            raise click.UsageError(f"expected --after for one of the feeds that are followed, got {name!r}")
        found[name] = cursor
    return found


def follow(feeds: Sequence[Feed], remote: Remote, asked: Asked, output: Output, limit: int | None) -> None:
    """Print what feeds tell, until so many things were told.

    Raises:
        ProblemCame, Unavailable: A feed cannot be followed.
        BrokenPipeError: Nobody reads any more.
    """
    heard: queue.Queue[Told | Ended] = queue.Queue(WAITING_MAX)
    stop = threading.Event()
    for feed in feeds:
        work = _listener(feed, remote, asked, output, heard, stop)
        threading.Thread(target=work, name=f"hanse-feed-{feed.name}", daemon=True).start()
    output.note(f"hanse: following {', '.join(feed.name for feed in feeds)} at {remote.base}   stop: Ctrl-C")
    try:
        _print(heard, asked, output, limit)
    finally:
        stop.set()


def _print(heard: queue.Queue[Told | Ended], asked: Asked, output: Output, limit: int | None) -> None:
    host, told = Host.system(), 0
    while limit is None or told < limit:
        one = heard.get()
        if isinstance(one, Ended):
            raise one.error
        if asked.json_wanted:
            click.echo(encode_json(one.plain()).decode())
        elif one.event != "ready":
            click.echo(line_of(one, host.now(), colour=output.colour), color=output.colour)
        told += one.event not in {"ready", "reset"}


def _listener(
    feed: Feed, remote: Remote, asked: Asked, output: Output, heard: queue.Queue[Told | Ended], stop: threading.Event
) -> Callable[[], None]:
    def note(text: str) -> None:
        if not stop.is_set():
            output.note(f"hanse: {feed.name}: {text}")

    def work() -> None:
        snapshot = [] if feed.topic else [("snapshot", "true" if asked.snapshot else "false")]
        query = [*asked.where, *snapshot]
        follower = Follower(remote, feed.path, query, wait=lambda seconds: not stop.wait(seconds), note=note)
        try:
            for told in _told(follower, feed):
                heard.put(told)
        except (Fault, ProblemCame) as error:
            heard.put(Ended(error))

    return work


def _told(follower: Follower, feed: Feed) -> Iterator[Told]:
    """What is to be printed: a snapshot that broke off begins again, but each row of it is told once."""
    known: dict[str, int] = {}
    for event in follower.follow(feed.after):
        told = told_by(feed.name, event, topic=feed.topic)
        if told.event in {"ready", "reset"}:
            known.clear()
        elif not event.cursor and not feed.topic:
            if told.event != "deleted" and known.get(told.key) == told.rev:
                continue
            known[told.key] = told.rev
        yield told
