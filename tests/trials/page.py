"""The page of trials, from what is known by now, and what is missing of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tests.trials.outcomes import Aborted, Bad, Deployed, Killed, Mirrored
from tests.trials.results import Results
from tests.trials.trials import PARTS, PER_SECOND

INTRODUCTION = f"""<!-- Written by `make trials` from what it did; change tests/trials. -->

# The platform on trial

`hanse up` runs a foreign service, real processes and all, while {PER_SECOND:g} requests a second come from outside, \
of 2,000 visitors, each at its own time, whether or not those before were answered.
`make trials` does it again; each part has a system of its own.
"""
DEPLOYED = """
## Releases

One release after the other, of three instances each.

| strategy | releases | requests meanwhile | failed | one takes | slowest answer |
|---|---:|---:|---:|---:|---:|
"""
KILLED = f"""
## Instances that are killed

`kill -9`, one of {PARTS["kills"].instances} instances at a time; two of five requests are `POST`, \
half of these with an `Idempotency-Key`.

| kills | requests that may be repeated | failed | others | failed, and said so | failed, and did not |
|---:|---:|---:|---:|---:|---:|
"""
OUT = """
From the kill until the edge sends nothing there any more: {out_ms:g} ms (median), {out_ms_p99:g} ms (99 of 100), \
{out_ms_most:g} ms (the most); asked of the edge every 2 ms.
"""
ABORTED = """
## Releases that are aborted

Half of the visitors have the new release, and `hanse rollout abort` is said.

| aborts | requests meanwhile | failed | sent to it after the command's answer | the last of them |
|---:|---:|---:|---:|---:|
"""
BAD = """
## Bad releases

At 5 % of the visitors, which are ten requests a second; taken back by themselves.
Harmed is who got an error, or waited for more than 0.4 s.

| a release that | releases | went back | after | at most | requests harmed, at most | visitors | for |
|---|---:|---:|---:|---:|---:|---:|---|
"""
MIRRORED = """
## Releases that answer something else

No judge knows what a foreign service should answer.
A release that is asked copies only (`--strategy mirror`) is compared with the old one, field by field; nobody \
sees its answers, and it is taken back by itself.

| a release that | releases | went back | after | at most | requests meanwhile | harmed | for |
|---|---:|---:|---:|---:|---:|---:|---|
"""
UNDER = """
## On which machine

Load is how many processes wanted a core, on the average of the last minute of a part; whoever asks was one of them.

| part | load | cores |
|---|---:|---:|
"""
LEFT = """
## Not tried in full yet

"""


def page(results: Results) -> str:
    """The whole page."""
    left = [f"- {name}: {PARTS[name].times} times\n" for name in missing(results)]
    return "".join((INTRODUCTION, *_parts(results), *_under(results), *([LEFT, *left] if left else [])))


def missing(results: Results) -> Iterator[str]:
    """Parts that were not done in full."""
    for name, part in PARTS.items():
        done = results.get(name)
        if done is None or done.outcome.times < part.times:
            yield name


def differences(text: str, results: Results) -> Iterator[str]:
    """What the page has, and should not have; what it lacks, it says itself."""
    if text != page(results):
        yield "is not what its results say"
    yield from (f"still has {name}" for name in results if name not in PARTS)


def _parts(results: Results) -> Iterator[str]:
    found = {name: results[name].outcome for name in PARTS if name in results}
    deployed = [(name, one) for name, one in found.items() if isinstance(one, Deployed)]
    yield from _table(
        DEPLOYED,
        (
            (name, one.times, f"{one.requests:,}", one.failed, f"{one.seconds:g} s", f"{one.worst_ms:,.0f} ms")
            for name, one in deployed
        ),
    )
    for one in found.values():
        if isinstance(one, Killed):
            told = one.others_failed - one.untold
            row = (one.times, f"{one.safe:,}", one.safe_failed, f"{one.others:,}", told, one.untold)
            yield from (
                *_table(KILLED, [row]),
                OUT.format(out_ms=one.out_ms, out_ms_p99=one.out_ms_p99, out_ms_most=one.out_ms_most),
            )
        elif isinstance(one, Aborted):
            yield from _table(ABORTED, [(one.times, f"{one.requests:,}", one.failed, one.late, f"{one.late_ms:g} ms")])
    bad = [(name, one) for name, one in found.items() if isinstance(one, Bad)]
    yield from _table(BAD, (_bad(name, one) for name, one in bad))
    yield from _table(
        MIRRORED,
        (
            (
                *(name, one.times, one.back, f"{one.seconds:g} s", f"{one.seconds_most:g} s"),
                *(f"{one.requests:,}", one.harmed, one.why.replace("|", "/")),
            )
            for name, one in found.items()
            if isinstance(one, Mirrored)
        ),
    )


def _bad(name: str, one: Bad) -> Sequence[object]:
    after = (f"{one.seconds:g} s", f"{one.seconds_most:g} s")
    return (name, one.times, one.back, *after, one.failed, one.users, one.why.replace("|", "/"))


def _under(results: Results) -> Iterator[str]:
    yield from _table(
        UNDER, ((name, f"{results[name].load:g}", results[name].cores) for name in PARTS if name in results)
    )


def _table(head: str, rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A table; nothing, where it has no rows."""
    lines = [f"| {' | '.join(map(str, row))} |\n" for row in rows]
    if lines:
        yield from (head, *lines)
