"""SQL functions for what SQL cannot say: typed keys of JSON values, text tests as Python has them, lists.

They are the reference's own functions, so SQLite agrees with it on Decimals, offsets of datetimes, floats to the last
bit, folded case and strings with a NUL in them. All are deterministic: indexes are built on them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import msgspec

from hanse.store.evaluate import holds_key, text_test
from hanse.store.keys import KEYS, Key, plain_key

_decode = msgspec.json.Decoder().decode


def key_function(kind: str) -> str:
    """The name of the SQL function that gives the key of a JSON text, read as a type of `CollectionSchema`."""
    return "hanse_key" if KEYS[kind] is plain_key else f"hanse_key_{kind}"


def register(connection: sqlite3.Connection) -> None:
    """Make them known to a connection: a `hanse_key` for each type, `hanse_text`, `hanse_like` and `hanse_holds`."""
    for kind, key in KEYS.items():
        connection.create_function(key_function(kind), 1, _of_json(key), deterministic=True)
    connection.create_function("hanse_text", 4, _text, deterministic=True)
    connection.create_function("hanse_like", 4, _like, deterministic=True)
    connection.create_function("hanse_holds", 3, _holds, deterministic=True)


def _of_json(key: Callable[[object], Key]) -> Callable[[str | None], Key]:
    def function(json: str | None) -> Key:
        return None if json is None else key(_decode(json))

    return function


def _text(json: str | None, op: str, needle: str, fold: int) -> bool:
    return json is not None and text_test(op, _decode(json), needle, fold=bool(fold))


def _like(text: str, op: str, needle: str, fold: int) -> bool:
    return text_test(op, text, needle, fold=bool(fold))


def _holds(json: str | None, key: Key, kind: str) -> bool:
    return json is not None and holds_key(_decode(json), key, KEYS[kind])
