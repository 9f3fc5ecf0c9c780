"""Work that outlives its process: steps of sagas, and handlers of what waits, against those of others."""

from __future__ import annotations

from plan import Case, Column, Group
from process import python_case

FLUSHED = "SQLite, WAL, each commit flushed to the disk"
ROLLBACK = "SQLite as it comes: a rollback journal, each commit flushed to the disk"
LAZY = "SQLite, WAL, flushed now and then: a power cut may cost the last moments"
SERVER = "PostgreSQL, each commit flushed"
TEMPORAL = "the development server on a file of SQLite; all of it is in one process of Go"


def _cases(at_once: int) -> tuple[Case, ...]:
    many = f", {at_once} at once" if at_once > 1 else ""

    def pair(name: str, where: str, ours: str, theirs: str) -> tuple[Case, Case]:
        base = f"DBOS, {name}{many}"
        return (
            Case(base, python_case("sagas.py", "dbos", where, str(at_once)), theirs, base),
            Case(f"Hanse, {name}{many}", python_case("sagas.py", "hanse", where, str(at_once)), ours, base),
        )

    def temporal(name: str, how: str) -> Case:
        script = python_case("sagas_temporal.py", how, str(at_once))
        return Case(f"Temporal, {name}{many}", script, TEMPORAL, f"DBOS, SQLite{many}")

    return (
        *pair("SQLite", "sqlite", FLUSHED, ROLLBACK),
        *pair("SQLite lazily", "sqlite-lazy", LAZY, LAZY),
        *pair("PostgreSQL", "postgresql", SERVER, SERVER),
        temporal("activities", "activity"),
        temporal("local activities", "local"),
    )


SAGAS = Group(
    "sagas",
    "Steps of sagas, ten in each",
    "",
    (
        Column("cpu_us", "CPU µs of a step", 0),
        Column("ours_us", "of the process", 0),
        Column("server_us", "of the server", 0),
        Column("per_second", "steps a second", 0),
    ),
    (*_cases(1), *_cases(64)),
)

IN_ONE = "row, event and the mark that it was handled in one commit; once in effect"
OF_DBOS = "a workflow from a queue: the row is one transaction with its note, the event is the next workflow, enqueued"
OF_CELERY = "acks_late; the row is committed, then the next task is sent to Valkey (appendfsync always): at least once"
OF_FASTSTREAM = "row and event in one transaction, the message is removed in another, 100 at once: at least once"


def _work(name: str, script: str, *arguments: str, about: str, base: str = "") -> Case:
    return Case(name, python_case(script, *arguments), about, base or name)


DURABLE = Group(
    "durable",
    "A handler of what waits: a row, an event, all committed",
    "",
    (
        Column("cpu_us", "CPU µs", 0),
        Column("ours_us", "of the process", 0),
        Column("server_us", "of the servers", 0),
        Column("per_second", "a second", 0),
    ),
    (
        _work("DBOS, SQLite", "durable_work.py", "dbos", "sqlite", about=f"{OF_DBOS}; {ROLLBACK}"),
        _work(
            *("Hanse, SQLite", "durable_work.py", "hanse", "sqlite"),
            about=f"{IN_ONE}; {FLUSHED}",
            base="DBOS, SQLite",
        ),
        _work(
            *("Hanse, SQLite lazily", "durable_work.py", "hanse", "sqlite-lazy"),
            about=f"{IN_ONE}; {LAZY}",
            base="DBOS, SQLite",
        ),
        _work("DBOS, PostgreSQL", "durable_work.py", "dbos", "postgresql", about=f"{OF_DBOS}; {SERVER}"),
        _work(
            *("Hanse, PostgreSQL", "durable_work.py", "hanse", "postgresql"),
            about=f"{IN_ONE}; {SERVER}",
            base="DBOS, PostgreSQL",
        ),
        _work(
            *("faststream-outbox, PostgreSQL", "durable_work.py", "faststream", "postgresql"),
            about=f"{OF_FASTSTREAM}; 16 workers; {SERVER}",
            base="DBOS, PostgreSQL",
        ),
        _work(
            *("Celery, 16 threads, PostgreSQL", "durable_celery.py", "threads"),
            about=f"{OF_CELERY}; {SERVER}",
            base="DBOS, PostgreSQL",
        ),
        _work(
            *("Celery, 16 processes, PostgreSQL", "durable_celery.py", "prefork"),
            about=f"{OF_CELERY}; {SERVER}",
            base="DBOS, PostgreSQL",
        ),
    ),
)

LAG = Group(
    "lag",
    "How late a follower sees a change: 200 writes a second, in an open loop",
    "",
    (
        Column("median_ms", "median, ms"),
        Column("p99_ms", "99 %, ms"),
        Column("most_ms", "most, ms"),
        Column("write_ms", "the write alone, median, ms"),
    ),
    tuple(
        Case(f"{name}, {how}", python_case("lag.py", script, where), about, f"{name}, {how}")
        for name, where, store in (("SQLite", "sqlite", LAZY), ("PostgreSQL", "postgresql", SERVER))
        for how, script, about in (
            ("one process", "here", f"from before the write to the follower in the same process; {store}"),
            ("another process", "remote", f"the same to a follower in another process, over unix; {store}"),
        )
    ),
)

OVERLOAD = Group(
    "overload",
    "Ten times the load that a node can sustain",
    "",
    (
        Column("before_mb", "MB before"),
        Column("early_mb", "MB after a fifth of it"),
        Column("after_mb", "MB at the end"),
        Column("done", "done a second", 0),
        Column("refused", "refused a second", 0),
        Column("other", "other a second", 1),
        Column("usual_ms", "median usually, ms"),
        Column("late_ms", "median of what is done, ms"),
    ),
    (
        Case(
            "Hanse, 1,000 a second where 100 can be done",
            python_case("overload.py"),
            "POST that waits for 100 ms and writes a row; 10 at once; up to 600 connections; the rest is told 503",
        ),
    ),
)

ASKED = {"per_second": 2000.0}

DRAIN = Group(
    "drain",
    "What waited in the outbox, when its broker is back",
    "",
    (
        Column("per_second", "events a second", 0),
        Column("took_s", "s until all are there"),
        Column("commit_ms", "ms for a commit of 100 while it is away"),
    ),
    tuple(
        Case(
            name,
            python_case("drain.py", where),
            f"Valkey, appendfsync always; {store}",
            name,
            least=ASKED,
        )
        for name, where, store in (("SQLite", "sqlite", LAZY), ("PostgreSQL", "postgresql", SERVER))
    ),
)

GROUPS = (SAGAS, DURABLE, LAG, OVERLOAD, DRAIN)
