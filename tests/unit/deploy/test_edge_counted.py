"""What engines that tell of requests in lines count, by key and by who asked."""

from __future__ import annotations

from hanse.control.edge_figures import Key
from hanse.deploy.edge.counted import KEYS_MAX, SOMEBODY, Counted

KEY = Key("users", "2", "users-2", "/")


def counted(*who: str, key: Key = KEY, failed: bool = True) -> tuple[int, int, int]:
    tally = Counted()
    for number, one in enumerate(who):
        tally.asked(key, one, float(number), failed=failed)
    counts = tally.of(key)
    return counts.whose, counts.people, counts.people_failed


def test_who_fails_again_and_again_counts_once() -> None:
    assert counted("557e", "557e", "557e") == (3, 1, 1)


def test_whom_nobody_knows_counts_each_time() -> None:
    assert counted(SOMEBODY, SOMEBODY, "557e") == (3, 3, 3)


def test_where_nobody_looked_who_asked_nothing_is_counted() -> None:
    assert counted("", "") == (0, 0, 0)
    assert counted("557e", key=Key("users", "2", "", "/")) == (0, 0, 0), "nobody was there to be asked"


def test_of_keys_that_are_too_many_the_oldest_is_forgotten() -> None:
    tally = Counted()
    for number in range(KEYS_MAX + 1):
        tally.of(Key("users", "2", f"users-{number}", "/")).requests += 1
    servers = [line.key.server for line in tally.lines()]
    assert (len(servers), servers[0], servers[-1]) == (KEYS_MAX, "users-1", f"users-{KEYS_MAX}")
