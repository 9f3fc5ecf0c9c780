"""Whether the machine went down under the store, and what follows from it.

With `synchronous="normal"` a power cut may take the commits of the last moments along. Their positions must not be
used again: a reader that had seen one of them would take the new entry for the old one, and a revision would stand
for two values. So each open store is noted in the file together with the boot of the machine, durably, and its note is
removed when it is closed. A note of an earlier boot says that a store was not closed before the machine went down:
then positions skip ahead, and the log gets a new id, by which readers learn that they have to start anew.

A process that is killed, however hard, loses nothing and changes nothing here: its boot goes on. Where the system
tells no boot (it is Linux that does), nothing is noted.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

HEAD = "SELECT max(coalesce((SELECT max(seq) FROM log), 0), (SELECT value FROM meta WHERE name = 'base'))"
"""The newest position given to anything that may still be known somewhere."""

LOST_MAX = 2**24
"""Positions that are skipped: far more than fit between two flushes of the write-ahead log."""

NOTES_MAX = 1_000
"""Notes of one boot at most; more, left by as many killed processes, become one that no closing removes."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def this_boot(told_in: Path = _BOOT) -> str:
    """Names the time since the machine was started; empty where the system does not tell."""
    try:
        return told_in.read_text().strip()
    except OSError:
        return ""


def note(connection: sqlite3.Connection, new_id: str, boot: str, *, durable: bool) -> None:
    """Note that a store is open, in a transaction that opens it; and draw the consequences of older notes.

    Args:
        connection: In a transaction, which has to be flushed to the disk.
        new_id: Names the note, and the log from now on if commits may be lost.
        boot: The machine's present boot, or empty.
        durable: Whether each commit of this store is flushed, so that nothing can be lost.
    """
    if not boot:
        return
    if connection.execute("DELETE FROM openings WHERE boot <> ?", (boot,)).rowcount:
        connection.execute(f"UPDATE meta SET value = ({HEAD}) + {LOST_MAX} WHERE name = 'base'")
        connection.execute("UPDATE meta SET value = ? WHERE name = 'log_id'", (new_id,))
    if durable:
        return
    (notes,) = connection.execute("SELECT count(*) FROM openings").fetchone()
    if notes >= NOTES_MAX:
        connection.execute("DELETE FROM openings")
        connection.execute("INSERT INTO openings VALUES ('many', ?)", (boot,))
    connection.execute("INSERT INTO openings VALUES (?, ?)", (new_id, boot))


def unnote(connection: sqlite3.Connection, id: str) -> None:
    """Take the note back, and flush it to the disk with every commit before it."""
    try:
        connection.execute("PRAGMA synchronous = full")
        connection.execute("DELETE FROM openings WHERE id = ?", (id,))
    except sqlite3.Error:
        # The note stays, as if the process had been killed: at worst, readers start anew after a reboot.
        return
