"""`hanse store dump` and `hanse store load`: the stores of an app as files, and files as its stores."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click
import msgspec

from hanse.cli.complete import targets
from hanse.cli.dump_files import PLAIN, ZIPPED, Place, Source, file_in, reading
from hanse.cli.options import Chosen, as_json, common, configured, working_folder
from hanse.cli.output import Output, print_json
from hanse.cli.progress import Progress, is_told
from hanse.cli.target import load_app, wanted_target
from hanse.kernel.faults import Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.settings import Settings
from hanse.node.app import App, parts_named
from hanse.node.dumps import dumping, loading
from hanse.store.dump_text import Counts


class Done(msgspec.Struct, frozen=True):
    """What became of one store.

    Attributes:
        service: Whose.
        store: Its URL; passwords are hidden.
        file: The dump.
        counts: What was in it.
    """

    service: str
    store: str
    file: str
    counts: Counts


@click.command("dump")
@click.argument("target", required=False, shell_complete=targets)
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="Folder for the files.")
@click.option("--gzip", "zipped", is_flag=True, help="Compress the files.")
@configured("store", "services")
@as_json
@common
def dump(*, target: str | None, folder: Path, zipped: bool, chosen: Chosen, json_wanted: bool, output: Output) -> None:
    """Write all that the stores of TARGET (a file or module) keep into files, one for each service.

    The app may run meanwhile: each file is of one moment. A file that is there already is left, and refused.
    """
    app, settings = _app(target, chosen)
    with Progress("hanse", output) as progress:
        done = asyncio.run(_dump(app, settings, Place(folder, ZIPPED if zipped else PLAIN), progress))
    _tell(done, output, "dumped", json_wanted=json_wanted)


@click.command("load")
@click.argument("target", required=False, shell_complete=targets)
@click.option("--from", "folder", type=click.Path(path_type=Path), required=True, help="Folder of the files.")
@configured("store", "services")
@as_json
@common
def load(*, target: str | None, folder: Path, chosen: Chosen, json_wanted: bool, output: Output) -> None:
    """Fill the stores of TARGET (a file or module) from files that `hanse store dump` has written.

    A store has to be empty. It holds all of its file afterwards, or nothing; whoever follows it starts anew.
    """
    app, settings = _app(target, chosen)
    with Progress("hanse", output) as progress:
        done = asyncio.run(_load(app, settings, folder, progress))
    _tell(done, output, "loaded", json_wanted=json_wanted)


def _app(target: str | None, chosen: Chosen) -> tuple[App, Settings]:
    settings, _ = chosen.read()
    app = load_app(wanted_target(target, settings, "store"), working_folder())
    app.check()
    return app, settings


async def _dump(app: App, settings: Settings, place: Place, progress: Progress) -> list[Done]:
    host, done = Host.system(), list[Done]()
    async with dumping(app, settings, host) as stores:
        # All are looked at before the first is read: whatever is in the way is told at once.
        for one in stores:
            place.require_free(one.service)
        for one in stores:
            told = Teller(progress, one.service, host)
            with place.writing(one.service) as file:
                counts = await one.write(file.write, partial(told.of_things, one.things))
            done.append(Done(one.service, one.store, str(place.path(one.service)), counts))
    return done


async def _load(app: App, settings: Settings, folder: Path, progress: Progress) -> list[Done]:
    host, done = Host.system(), list[Done]()
    with ExitStack() as opened:
        files = {part.name: file_in(folder, part.name) for part in parts_named(app, settings.node.services)}
        found = {name: opened.enter_context(reading(path)) for name, path in files.items() if path is not None}
        if not found:
            raise Misconfigured(f"expected dumps such as {folder / next(iter(files), 'orders')}{PLAIN}, found none")
        for name, one in found.items():
            one.require(name)
        async with loading(app, settings, [one.reader for one in found.values()]) as stores:
            for store in stores:
                source, told = found[store.service], Teller(progress, store.service, host)
                counts = await store.load(partial(told.of_file, source))
                done.append(Done(store.service, store.store, str(source.path), counts))
    return done


def _tell(done: list[Done], output: Output, verb: str, *, json_wanted: bool) -> None:
    if json_wanted:
        print_json({"stores": done})
    for one in done if not json_wanted else ():
        click.echo(f"{one.service}  {one.store}  {one.file}")
        click.echo(f"  {told_counts(one.counts)}")
    output.note(f"hanse: {len(done)} {verb}" if done else "hanse: nothing is stored yet")


def told_counts(counts: Counts) -> str:
    """How much there is, in words.

    Example:
        >>> told_counts(Counts(rows=1234567, entries=3))
        '1,234,567 rows, 3 entries, 0 marks, 0 positions'
    """
    return ", ".join(f"{number:,} {what}" for what, number in msgspec.structs.asdict(counts).items())


class Teller:
    """Tells how far one store is, a hundred times at most."""

    def __init__(self, progress: Progress, service: str, host: Host) -> None:
        self._progress = progress
        self._service = service
        self._host = host
        self._began = host.monotonic()
        self._percent = 0

    def of_things(self, total: int, counts: Counts) -> None:
        """So many of the store's things are written."""
        self._tell(counts, counts.things / max(total, counts.things, 1))

    def of_file(self, source: Source, counts: Counts) -> None:
        """So much of the file is read."""
        # Of a pipe nobody knows how long it is.
        at = source.raw.tell() if source.raw.seekable() else 0
        self._tell(counts, at / max(source.size, 1))

    def _tell(self, counts: Counts, part: float) -> None:
        now = min(int(part * 100), 100)
        standing = f"{self._service}: {now} %, {told_counts(counts)}"
        if now > self._percent:
            # Of all that has come since, what is worth a line where nobody watches.
            passed = next((one for one in range(now, self._percent, -1) if is_told(one, 100)), now)
            self._progress.tell(standing, passed, 100, seconds=self._host.monotonic() - self._began)
        self._percent = max(self._percent, now)
