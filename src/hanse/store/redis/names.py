"""Keys: what of a store is where on a Redis.

All begin with `hanse:{<prefix>}:`, whose braces make them one slot of a Redis Cluster.

- `meta`, a hash: `format`, `log_id`, `head` (the newest position), `trimmed` (the newest that was forgotten), `shape`
  (how often the collections changed), `run` (the run of the server in which all of this was last known to be whole).
- `schemas`, a hash: each collection, as JSON, by its name. `indexes`, a hash: each index, as JSON, by its key.
- `rows:<collection>`, a hash: revision, a space and the value, by id. `ids:<collection>`, a sorted set of the ids.
- `index:<digest>`, a sorted set: a key and the id of its row, in the order of both.
- `log`, a stream: an entry for each position, whose id is that position.
- `marks`, a hash: digest and result, by scope and key; `marks.at`, a sorted set of when they were made.
- `positions`, a hash: where named readers are.
- `writer:<id>`: the last commit of a process, for a day. `turn`: whose turn it is to commit, for a moment.
- `dump`, a hash: while a dump is taken, its id under nothing, and the marks that were made since. Nothing is trimmed.
- `load`, a set of the keys that a dump is loaded into, all of which begin with `load:<id>:` and are renamed at the end.
- `news`, a channel with the number of the database in it, as channels know of none: who has committed up to where.
"""

from __future__ import annotations

from typing import final


@final
class Names:
    """The keys of one store.

    Attributes:
        meta, schemas, indexes, log, marks, marks_at, positions, turn, dump, load, channel: See above.

    Example:
        >>> Names("shop", 0).rows("orders")
        b'hanse:{shop}:rows:orders'
    """

    def __init__(self, prefix: str, database: int) -> None:
        """Name what belongs to a store.

        Args:
            prefix: Of its keys.
            database: Number of the database on the server.
        """
        self._base = f"hanse:{{{prefix}}}:".encode()
        self.meta: bytes = self.key("meta")
        self.schemas: bytes = self.key("schemas")
        self.indexes: bytes = self.key("indexes")
        self.log: bytes = self.key("log")
        self.marks: bytes = self.key("marks")
        self.marks_at: bytes = self.key("marks.at")
        self.positions: bytes = self.key("positions")
        self.turn: bytes = self.key("turn")
        self.dump: bytes = self.key("dump")
        self.load: bytes = self.key("load")
        self.channel: bytes = self.key(f"news.{database}")

    def key(self, name: str) -> bytes:
        """Any of them."""
        return self._base + name.encode()

    def loaded(self, key: bytes, id: str) -> bytes:
        """What one of them is called until all of a dump is there.

        Args:
            key: One of them.
            id: Of the load.
        """
        return self.key(f"load:{id}:") + key.removeprefix(self._base)

    def rows(self, collection: str) -> bytes:
        """The rows of a collection."""
        return self.key(f"rows:{collection}")

    def ids(self, collection: str) -> bytes:
        """The ids of a collection."""
        return self.key(f"ids:{collection}")

    def writer(self, id: str) -> bytes:
        """What is known of a process that writes."""
        return self.key(f"writer:{id}")
