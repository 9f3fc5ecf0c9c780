"""What observers of rows decide by: what a call asks and is answered, and what a row was at which moment."""

import msgspec
import pytest

from hanse.kernel.faults import DeadlineExceeded, Fault, NotFound, PreconditionFailed
from hanse.kernel.message import Headers, Kind, Message
from hanse.mesh.fault import fault_message
from hanse.sim.linear import UNKNOWN
from hanse.sim.linear_row import Create, Delete, Deleted, Get, Patch, Put, Read, Refused, RowCall, RowResult, Written
from hanse.sim.observe.row_calls import Answer, Asked, answer_in, asked_in, fields_of
from hanse.sim.observe.row_judge import answered, differing, spoilt, written
from hanse.sim.observe.timeline import MOMENTS_MAX, NEVER, WAIT_SECONDS, Moment, Timeline

UNSEEN = Moment(3.0, 0, None, known=False)


def call(verb: str, **arguments: object) -> Asked | None:
    body = msgspec.msgpack.encode(arguments)
    return asked_in(Message(Kind.CALL, "m", f"rows/notes.{verb}", headers=Headers(idempotency_key="k"), body=body))


@pytest.mark.parametrize(
    ("verb", "arguments", "row", "asked"),
    [
        ("get", {"id": "a"}, "a", Get()),
        ("create", {"value": b'{"id":"b"}', "id": "a"}, "a", Create({})),
        ("create", {"value": b'{"id":"b"}', "id": ""}, "b", Create({})),
        ("create", {"value": b"{}"}, "", Create({})),
        ("put", {"id": "a", "value": b"{}", "if_match": 0}, "a", Put({}, 0)),
        ("patch", {"id": "a", "changes": b"{}"}, "a", Patch({})),
        ("delete", {"id": "a", "if_match": 7}, "a", Delete(7)),
    ],
)
def test_a_call_asks_for_something_of_a_row(verb: str, arguments: dict[str, object], row: str, asked: RowCall) -> None:
    found = call(verb, **arguments)
    assert found is not None
    assert (found.row, found.call, found.story) == (row, asked, (f"rows/notes.{verb}", "k"))


@pytest.mark.parametrize(
    ("verb", "arguments"), [("get", {"id": 7}), ("put", {"id": "a", "if_match": "7"}), ("find", {"id": "a"})]
)
def test_a_call_that_nobody_understands_asks_for_nothing(verb: str, arguments: dict[str, object]) -> None:
    assert call(verb, **arguments) is None
    assert asked_in(Message(Kind.CALL, "m", "rows/notes.get", body=msgspec.msgpack.encode("a"))) is None


def asked(kind: RowCall) -> Asked:
    return Asked("rows/notes.put", "m", "a", kind)


@pytest.mark.parametrize(
    ("kind", "body", "answer"),
    [
        (Get(), {"id": "a", "rev": 7, "value": b"{}"}, Answer(Read({}, 7), "a", b"{}")),
        (Put({}), {"id": "a", "rev": 7, "value": b"{}"}, Answer(Written(7), "a", b"{}")),
        (Delete(), None, Answer(Deleted())),
        (Get(), {"id": "a", "rev": "7", "value": b"{}"}, Answer(UNKNOWN)),
        (Get(), None, Answer(UNKNOWN)),
    ],
)
def test_an_answer_tells_of_a_row(kind: RowCall, body: object, answer: Answer) -> None:
    reply = Message(Kind.REPLY, "m", "", body=msgspec.msgpack.encode(body))
    assert answer_in(asked(kind), reply) == answer


def test_an_answer_without_a_body_tells_that_a_row_is_gone() -> None:
    assert answer_in(asked(Delete()), Message(Kind.REPLY, "m", "")).result == Deleted()


@pytest.mark.parametrize(
    ("fault", "result"),
    [
        (NotFound("note", "a"), Refused("not_found")),
        (PreconditionFailed("note", "a", "7", "8"), Refused("precondition_failed", 8)),
        (PreconditionFailed("note", "a", "7", "none"), Refused("precondition_failed", 0)),
        (DeadlineExceeded("rows/notes.put"), UNKNOWN),
    ],
)
def test_a_fault_tells_what_was_not_done_if_anything(fault: Fault, result: object) -> None:
    assert answer_in(asked(Put({})), fault_message(fault, "m")).result == result


@pytest.mark.parametrize("value", [b"no JSON", b"[]", None, "{}"])
def test_what_is_no_object_has_no_fields(value: object) -> None:
    assert fields_of(value) == {}


@pytest.mark.parametrize(
    ("result", "moments", "wrong"),
    [
        (Read({}, 8), [Moment(1.0, 7, b"{}"), Moment(2.0, 8, b"{}")], ""),
        (Read({}, 7), [Moment(1.0, 7, b"{}"), UNSEEN], ""),
        (Read({}, 8), [Moment(1.0, 7, b"{}"), UNSEEN], UNKNOWN),
        (Read({}, 8), [NEVER], "told revision 8, but it was not there since 0"),
        (Refused("not_found"), [NEVER], ""),
        (Refused("not_found"), [Moment(1.0, 7, b"{}")], "told not_found, but it was at 7 since 1"),
        (Refused("invalid"), [NEVER], ""),
        (Deleted(), [NEVER], "told that it is gone, but it was not there since 0"),
    ],
)
def test_an_answer_has_to_fit_a_moment(result: RowResult, moments: list[Moment], wrong: object) -> None:
    assert answered(Get(), result, moments) == wrong


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (8, ""),
        (None, ""),
        (9, "told precondition_failed and revision 9, but it was at 8 since 1"),
        (0, "told precondition_failed and revision none, but it was at 8 since 1"),
    ],
)
def test_a_refusal_has_to_fit_the_revision(told: int | None, wrong: str) -> None:
    refused, moments = Refused("precondition_failed", told), [Moment(1.0, 8, b"{}")]
    assert answered(Put({}, 7), refused, moments) == wrong


def test_nobody_is_refused_at_the_revision_that_was_asked_for() -> None:
    refused, moments = Refused("precondition_failed"), [Moment(1.0, 7, b"{}")]
    assert answered(Patch({}, 7), refused, moments) == "told precondition_failed, but it was at 7 since 1"


@pytest.mark.parametrize(
    ("kind", "before", "value", "wrong"),
    [
        (Create({}), NEVER, b"{}", ""),
        (Create({}), Moment(1.0, 7, b"{}"), b"{}", "to be made anew, and written at 9 when it was at 7 since 1"),
        (Put({}, 0), Moment(1.0, 7, b"{}"), b"{}", "to be made anew, and written at 9 when it was at 7 since 1"),
        (Put({}), Moment(1.0, 7), b"{}", ""),
        (Put({}), Moment(1.0, 7), None, "to be written, and deleted at 9 when it was not there since 1 (deleted at 7)"),
        (Patch({}), NEVER, b"{}", "to be written where it is, and written at 9 when it was not there since 0"),
        (Delete(), Moment(1.0, 7, b"{}"), None, ""),
        (Delete(6), Moment(1.0, 7, b"{}"), None, "to be written at 6 only, and deleted at 9 when it was at 7 since 1"),
        (Delete(6), UNSEEN, None, ""),
    ],
)
def test_a_write_has_to_fit_the_moment_before_it(
    kind: RowCall, before: Moment, value: bytes | None, wrong: str
) -> None:
    assert written(kind, before, Moment(4.0, 9, value)) == wrong


def test_a_field_that_only_one_version_of_a_row_knows_makes_no_difference() -> None:
    assert differing({"left": 3, "added": 1}, {"left": 3, "dropped": 2}) == []
    assert spoilt({}, {"left": 3}, {"left": 3, "added": 1}) == []


def test_who_has_waited_for_too_long_is_given_up() -> None:
    row = Timeline()
    row.begin(("a", 1), 1.0)
    row.begin(("b", 1), 50.0)
    assert row.add(Moment(60.0, 7, b"{}")) == 0
    assert row.add(Moment(2.0 + WAIT_SECONDS, 8, b"{}")) == 1
    assert (row.end(("a", 1)), row.end(("b", 1))) == (None, 50.0)


def test_of_a_row_so_much_is_kept_at_most() -> None:
    row = Timeline()
    row.begin(("a", 1), 1.0)
    given_up = sum(row.add(Moment(2.0, rev, b"{}")) for rev in range(1, MOMENTS_MAX + 10))
    assert given_up == 1
    assert row.moments == [row.last]


def test_what_was_over_before_the_oldest_question_is_forgotten() -> None:
    row = Timeline()
    row.begin(("a", 1), 1.0)
    row.add(Moment(2.0, 7, b"{}"))
    row.begin(("b", 1), 3.0)
    row.add(Moment(4.0, 8, b"{}"))
    assert row.at(7) is not None
    assert row.end(("a", 1)) == 1.0
    row.tidy()
    assert [moment.rev for moment in row.moments] == [7, 8]
    assert row.at(6) is None
