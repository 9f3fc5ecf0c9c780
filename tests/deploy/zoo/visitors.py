"""Who asks each kind of service through the edge, all the time, and notes what came of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException
from typing import Self
from urllib.parse import urlsplit

from .kinds import KINDS

PAUSE_SECONDS = 0.05
ANSWER_SECONDS = 100.0
"""After which it is taken that nothing will come."""


class Visitors:
    """One for each kind, over a connection that is kept.

    Args of the constructor:
        url: The edge.
        kinds: Which are asked.
        posts: Whether every other request is one that may not be repeated.
    """

    def __init__(self, url: str, kinds: Iterable[str] = KINDS, *, posts: bool = False) -> None:
        self._address = urlsplit(url).netloc
        self._posts = posts
        self._over = threading.Event()
        self._news = threading.Condition()
        self.seen: dict[str, Counter[tuple[int, str]]] = {name: Counter() for name in kinds}
        self.broken: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(name,)) for name in self.seen]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, times: int) -> None:
        """Wait until each kind was asked so often more."""
        with self._news:
            wanted = {name: seen.total() + times for name, seen in self.seen.items()}
            found = self._news.wait_for(
                lambda: self.broken or all(self.seen[name].total() >= number for name, number in wanted.items()),
                ANSWER_SECONDS,
            )
        assert found, self.seen

    def failed(self) -> dict[str, object]:
        """What was not answered as it should be, by kind; nothing where all was."""
        wrong: dict[str, object] = {
            name: {key: times for key, times in seen.items() if key[0] != status_of(name)}
            for name, seen in self.seen.items()
        }
        return {name: what for name, what in {**wrong, "broken": self.broken}.items() if what}

    def _ask(self, name: str) -> None:
        link = HTTPConnection(self._address, timeout=ANSWER_SECONDS)
        try:
            while not self._over.wait(PAUSE_SECONDS):
                for method in ("GET", "POST") if self._posts and KINDS[name].posts else ("GET",):
                    link.request(method, f"/{name}/who")
                    answer = link.getresponse()
                    self._note(name, answer.status, answer.read().decode())
        except (OSError, HTTPException) as error:
            with self._news:
                self.broken.append(f"{name}: {error!r}")
                self._news.notify_all()
        finally:
            link.close()

    def _note(self, name: str, status: int, who: str) -> None:
        with self._news:
            self.seen[name][status, who] += 1
            self._news.notify_all()


def status_of(kind: str) -> int:
    """What a kind answers where nothing is wrong with the platform."""
    return 500 if kind == "sick" else 200
