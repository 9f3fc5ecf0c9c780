"""A message takes effect once; what cannot be handled is parked, and its key stays in order."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from hanse.delivery.brake import FAILING_MAX, PROBE_SECONDS, PROBE_SECONDS_MAX, Braked
from hanse.delivery.deadletter import DEAD_LETTERS, DeadLetter, letter_in
from hanse.delivery.drawers import drawer_of, place_of_drawer
from hanse.delivery.inbox import STACK_SECONDS, Inbox
from hanse.delivery.outbox import FAILING_SINCE
from hanse.delivery.retry import HandlerFailed
from hanse.kernel.faults import Conflict, Fault, Malformed, NotFound, Overloaded, TooLarge, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Headers, Kind, Message
from hanse.store.base import AlreadyHandled, Batch, Delete, Mark, Position, Put
from hanse.store.memory import MemoryStore
from hanse.store.query import Query

pytestmark = pytest.mark.virtual_time

Run = Callable[[Message], Awaitable[None]]


def event(id: str = "m1", *, key: str = "", attempt: int = 1, timeout: float = 0.0) -> Message:
    headers = Headers(type="placed", key=key, attempt=attempt, tags={"booking": "ABC"}, extra={FAILING_SINCE: "3.5"})
    return Message(Kind.EVENT, id, "on/mailer", timeout, headers, b"body")


@pytest.fixture
async def inbox(store: MemoryStore, host: Host) -> Inbox:
    inbox = Inbox(store, "mailer", host=host)
    await inbox.open()
    return inbox


class Handler:
    """A handler with an effect: it counts; or it fails with what it is given."""

    def __init__(self, store: MemoryStore, inbox: Inbox, error: Exception | None = None) -> None:
        self.runs = 0
        self._store = store
        self._inbox = inbox
        self._error = error

    async def __call__(self, message: Message) -> None:
        self.runs += 1
        if self._error is not None:
            raise self._error
        row = Put("orders", "count", b'{"n":%d}' % self.runs, f"{message.id}.{self.runs}")
        marks, expects = (self._inbox.mark(message),), self._inbox.rests_on(message)
        await self._store.commit(Batch(0.0, writes=(row,), marks=marks, expects=expects))


async def letters(store: MemoryStore) -> list[DeadLetter]:
    return [letter_in(row) for row in (await store.find(DEAD_LETTERS, Query())).rows]


async def test_a_message_that_comes_twice_runs_once(store: MemoryStore, inbox: Inbox) -> None:
    handler = Handler(store, inbox)
    await inbox.consume(event(), handler)
    await inbox.consume(event(), handler)
    assert handler.runs == 1


async def test_two_deliveries_at_once_take_effect_once(store: MemoryStore, inbox: Inbox) -> None:
    together = asyncio.Barrier(2)
    handler = Handler(store, inbox)

    async def run(message: Message) -> None:
        await together.wait()
        await handler(message)

    await asyncio.gather(inbox.consume(event(), run), inbox.consume(event(), run))
    row = await store.load("orders", "count")
    assert (handler.runs, row and row.value) == (2, b'{"n":1}')


async def test_another_mark_that_is_taken_is_a_failure_of_the_handler(store: MemoryStore, inbox: Inbox) -> None:
    handler = Handler(store, inbox, AlreadyHandled("x", "key/pay", "m1"))
    with pytest.raises(HandlerFailed):
        await inbox.consume(event(), handler)


async def test_a_failure_is_told_as_the_handlers_own(store: MemoryStore, inbox: Inbox) -> None:
    with pytest.raises(HandlerFailed) as failure:
        await inbox.consume(event(), Handler(store, inbox, NotFound("order", "42")))
    assert (failure.value.cause, failure.value.problem) == ("not_found", "there is no order '42'")


async def test_what_an_unexpected_error_says_stays_in_the_log(
    store: MemoryStore, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(HandlerFailed) as failure:
        await inbox.consume(event(), Handler(store, inbox, ValueError("secret")))
    assert "secret" not in str(failure.value)
    assert "secret" in caplog.text


async def test_the_rest_that_a_fault_asks_for_is_handed_on(store: MemoryStore, inbox: Inbox) -> None:
    class ComeLater(Fault):
        @property
        def retry_after(self) -> float:
            return 7.0

    with pytest.raises(HandlerFailed) as failure:
        await inbox.consume(event(), Handler(store, inbox, ComeLater()))
    assert failure.value.retry_after == 7.0


async def test_the_last_attempt_parks_the_message_whole(store: MemoryStore, inbox: Inbox, host: Host) -> None:
    message = event(key="k", attempt=5)
    await inbox.consume(message, Handler(store, inbox, ValueError("no")))
    [letter] = await letters(store)
    assert msgspec.msgpack.decode(letter.message, type=Message) == message
    assert (letter.group, letter.message_id, letter.topic, letter.key) == ("mailer", "m1", "placed", "k")
    assert (letter.code, letter.text, letter.attempts, letter.waits_for) == ("ValueError", "no", 5, "")
    assert (letter.first_at, letter.last_at, letter.tags) == (3.5, host.now(), {"booking": "ABC"})


async def test_those_that_fail_in_one_way_have_one_stack_a_minute_in_the_log(
    store: MemoryStore, inbox: Inbox, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    for n, error in enumerate((ValueError("1"), ValueError("2"), KeyError("3"))):
        await inbox.consume(event(f"m{n}", attempt=5), Handler(store, inbox, error))
    await asyncio.sleep(STACK_SECONDS)
    await inbox.consume(event("m3", attempt=5), Handler(store, inbox, ValueError("4")))
    told = [(line.getMessage(), line.exc_info is not None) for line in caplog.records]
    assert told == [
        ("mailer parks placed m0: ValueError: 1", True),
        ("mailer parks placed m1: ValueError: 2", False),
        ("mailer parks placed m2: KeyError: '3'", True),
        ("mailer parks placed m3: ValueError: 4", True),
    ]


async def test_a_subscription_may_allow_fewer_attempts(store: MemoryStore, inbox: Inbox) -> None:
    await inbox.consume(event(attempt=2), Handler(store, inbox, ValueError("no")), attempts_max=2)
    assert len(await letters(store)) == 1


async def test_what_cannot_be_decoded_is_parked_at_once(store: MemoryStore, inbox: Inbox) -> None:
    await inbox.consume(event(), Handler(store, inbox, Malformed("no MessagePack")))
    [letter] = await letters(store)
    assert (letter.code, letter.attempts) == ("malformed", 1)


async def test_a_parked_message_that_comes_again_is_not_run(store: MemoryStore, inbox: Inbox) -> None:
    await inbox.consume(event(), Handler(store, inbox, Malformed("no")))
    handler = Handler(store, inbox)
    await inbox.consume(event(), handler)
    assert (handler.runs, len(await letters(store))) == (0, 1)


async def test_messages_of_a_parked_key_wait_behind_it(store: MemoryStore, inbox: Inbox) -> None:
    await inbox.consume(event("m1", key="k"), Handler(store, inbox, Malformed("no")))
    handler = Handler(store, inbox)
    await inbox.consume(event("m2", key="k"), handler)
    await inbox.consume(event("m3", key="other"), handler)
    await inbox.consume(event("m4"), handler)
    first, second = await letters(store)
    assert (handler.runs, second.message_id, second.waits_for) == (2, "m2", first.id)


async def test_parked_keys_are_known_after_a_restart(store: MemoryStore, inbox: Inbox, host: Host) -> None:
    await inbox.consume(event("m1", key="k"), Handler(store, inbox, Malformed("no")))
    restarted, other = Inbox(store, "mailer", host=host), Inbox(store, "other", host=host)
    await restarted.open()
    await other.open()
    for again, runs in ((restarted, 0), (other, 1)):
        handler = Handler(store, again)
        await again.consume(event("m2", key="k"), handler)
        assert handler.runs == runs


@pytest.mark.usefixtures("untraced")
async def test_many_dead_letters_of_one_drawer_are_read_page_by_page(
    store: MemoryStore, inbox: Inbox, host: Host
) -> None:
    poison = Handler(store, inbox, Malformed("no"))
    keys = [f"k{n}" for n in range(40_000) if drawer_of(f"k{n}") == 7][:20]
    for n in range(1_001):
        await inbox.consume(event(f"m{n}", key="k"), poison)
    for key in keys:
        await inbox.consume(event(f"n{key}", key=key), poison)
    restarted = Inbox(store, "mailer", host=host)
    await restarted.open()
    handler = Handler(store, restarted)
    for n, key in enumerate([*keys, "k"]):
        await restarted.consume(event(f"l{n}", key=key), handler)
    assert handler.runs == 0


async def test_what_another_instance_has_parked_keeps_its_key_here_too(
    store: MemoryStore, inbox: Inbox, host: Host
) -> None:
    other = Inbox(store, "mailer", host=host)
    await other.open()
    await other.consume(event("m0", key="k"), Handler(store, other))
    await inbox.consume(event("m1", key="k"), Handler(store, inbox, Malformed("no")))
    handler = Handler(store, other)
    await other.consume(event("m2", key="k"), handler)
    [_, second] = await letters(store)
    assert (handler.runs, second.message_id) == (1, "m2"), "it ran, and its effects were refused"
    row = await store.load("orders", "count")
    assert row is not None
    assert row.value == b'{"n":1}', "those of m0"


async def test_what_is_parked_while_a_handler_works_keeps_it_from_overtaking(
    store: MemoryStore, inbox: Inbox, host: Host
) -> None:
    other = Inbox(store, "mailer", host=host)
    handler = Handler(store, inbox)

    async def meanwhile(message: Message) -> None:
        rests_on = inbox.rests_on(message)
        await other.consume(event("m1", key="k"), Handler(store, other, Malformed("no")))
        await store.commit(Batch(0.0, marks=(inbox.mark(message),), expects=rests_on))

    await inbox.consume(event("m2", key="k"), meanwhile)
    first, second = await letters(store)
    assert (first.message_id, second.message_id, second.waits_for) == ("m1", "m2", first.id)
    await inbox.consume(event("m3", key="other"), handler)
    assert handler.runs == 1


async def test_dead_letters_that_change_too_fast_let_the_message_come_again(
    store: MemoryStore, inbox: Inbox, host: Host
) -> None:
    place = place_of_drawer("mailer", "k")

    async def moved(message: Message) -> None:
        rests_on = inbox.rests_on(message)
        at = await store.position(place)
        await store.commit(Batch(0.0, positions=(Position(place, at + 1),)))
        await store.commit(Batch(0.0, marks=(inbox.mark(message),), expects=rests_on))

    with pytest.raises(Unavailable, match="change too fast"):
        await inbox.consume(event("m1", key="k"), moved)
    assert await letters(store) == []


async def test_a_group_without_order_lets_later_messages_of_a_parked_key_pass(store: MemoryStore, host: Host) -> None:
    inbox = Inbox(store, "mailer", host=host, ordered=False)
    await inbox.consume(event("m1", key="k"), Handler(store, inbox, Malformed("no")))
    handler = Handler(store, inbox)
    await inbox.consume(event("m2", key="k"), handler)
    [letter] = await letters(store)
    assert (handler.runs, letter.message_id, letter.drawer) == (1, "m1", -1)


async def test_dead_letters_of_a_key_know_their_order_whatever_clocks_do(store: MemoryStore) -> None:
    for n, wall in enumerate((9_000.0, 5_000.0, 1_000.0)):
        host = Host.fixed(wall=wall, seed=n)
        inbox = Inbox(store, "mailer", host=host)
        await inbox.consume(event(f"m{n}", key="k"), Handler(store, inbox, Malformed("no")))
    by_order = sorted(await letters(store), key=lambda letter: letter.order)
    assert [letter.message_id for letter in by_order] == ["m0", "m1", "m2"]
    assert {letter.waits_for for letter in by_order[1:]} == {by_order[0].id}
    assert {letter.fingerprint for letter in by_order} == {by_order[0].fingerprint}


async def test_a_key_goes_on_when_its_last_dead_letter_is_gone(store: MemoryStore, inbox: Inbox) -> None:
    await inbox.consume(event("m1", key="k"), Handler(store, inbox, Malformed("no")))
    [letter] = await letters(store)
    await store.commit(Batch(0.0, writes=(Delete(DEAD_LETTERS, letter.id, "d1"),)))
    handler = Handler(store, inbox)
    await inbox.consume(event("m2", key="k"), handler)
    assert handler.runs == 1


async def test_a_commit_that_outlives_its_handler_is_not_parked(store: MemoryStore, inbox: Inbox) -> None:
    handler = Handler(store, inbox)

    async def commit_and_fail(message: Message) -> None:
        await handler(message)
        raise ValueError("after the commit")

    await inbox.consume(event(key="k", attempt=5), commit_and_fail)
    assert await letters(store) == []


async def test_a_handler_is_given_up_before_its_sender_does(store: MemoryStore, inbox: Inbox) -> None:
    async def hang(message: Message) -> None:
        await asyncio.Event().wait()

    with pytest.raises(HandlerFailed) as failure:
        await inbox.consume(event(timeout=10.0), hang)
    assert failure.value.cause == "deadline_exceeded"
    assert asyncio.get_running_loop().time() == 9.0


async def test_a_timeout_of_the_handlers_own_is_a_failure(store: MemoryStore, inbox: Inbox) -> None:
    with pytest.raises(HandlerFailed) as failure:
        await inbox.consume(event(timeout=10.0), Handler(store, inbox, TimeoutError("the printer")))
    assert failure.value.cause == "TimeoutError"


async def test_cancelling_is_no_failure(store: MemoryStore, inbox: Inbox) -> None:
    async def cancelled(message: Message) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await inbox.consume(event(attempt=5), cancelled)
    assert await letters(store) == []


async def test_a_store_that_is_away_parks_nothing_and_says_so(store: MemoryStore, inbox: Inbox) -> None:
    await store.close()
    with pytest.raises(Unavailable):
        await inbox.consume(event(attempt=99), Handler(store, inbox))


@pytest.mark.parametrize("error", [Unavailable("payments are away"), Overloaded("too many calls")])
async def test_an_outage_of_what_the_handler_needs_counts_as_no_attempt(
    store: MemoryStore, inbox: Inbox, error: Exception
) -> None:
    with pytest.raises(type(error)):
        await inbox.consume(event(attempt=5), Handler(store, inbox, error))
    assert not await letters(store)
    await inbox.consume(event(attempt=5), Handler(store, inbox))
    assert await store.marked("mailer", "m1") is not None


async def test_messages_wait_in_their_log_when_too_many_are_parked(store: MemoryStore, host: Host) -> None:
    inbox = Inbox(store, "mailer", host=host, parked_max=1)
    poison = Handler(store, inbox, Malformed("no"))
    await inbox.consume(event("m1", key="a"), poison)
    with pytest.raises(Overloaded):
        await inbox.consume(event("m2", key="b"), poison)
    [letter] = await letters(store)
    await store.commit(Batch(0.0, writes=(Delete(DEAD_LETTERS, letter.id, "d1"),)))
    await inbox.consume(event("m2", key="b"), poison)
    assert len(await letters(store)) == 1


async def fail_at(inbox: Inbox, store: MemoryStore, messages: int, error: Exception) -> None:
    for n in range(messages):
        with pytest.raises(type(error) if isinstance(error, Unavailable) else HandlerFailed):
            await inbox.consume(event(f"f{n}"), Handler(store, inbox, error))


@pytest.mark.parametrize("error", [ValueError("a new release"), Unavailable("payments are away")])
async def test_a_group_that_fails_at_everything_tries_one_message_at_a_time(
    store: MemoryStore, inbox: Inbox, error: Exception
) -> None:
    await fail_at(inbox, store, FAILING_MAX, error)
    handler = Handler(store, inbox)
    with pytest.raises(Braked) as braked:
        await inbox.consume(event("m1", attempt=5), handler)
    assert (handler.runs, inbox.held, braked.value.retry_after) == (0, True, PROBE_SECONDS)
    assert await letters(store) == []


async def test_while_one_is_tried_no_other_is(store: MemoryStore, inbox: Inbox, host: Host) -> None:
    await fail_at(inbox, store, FAILING_MAX, ValueError("a new release"))
    await asyncio.sleep(PROBE_SECONDS)
    let_go = asyncio.Event()
    handler = Handler(store, inbox)

    async def slow(message: Message) -> None:
        await let_go.wait()
        await handler(message)

    async with asyncio.TaskGroup() as group:
        tried = group.create_task(inbox.consume(event("m1"), slow))
        await asyncio.sleep(0)
        with pytest.raises(Braked):
            await inbox.consume(event("m2"), handler)
        let_go.set()
        await tried
    await inbox.consume(event("m2"), handler)
    assert (handler.runs, inbox.held) == (2, False)


async def test_a_try_that_is_broken_off_makes_room_for_another(store: MemoryStore, inbox: Inbox) -> None:
    await fail_at(inbox, store, FAILING_MAX, ValueError("a new release"))
    await asyncio.sleep(PROBE_SECONDS)
    with pytest.raises(asyncio.TimeoutError):
        async with asyncio.timeout(1.0):
            await inbox.consume(event("m1"), lambda _: asyncio.Event().wait())  # type: ignore[arg-type,return-value]
    handler = Handler(store, inbox)
    await inbox.consume(event("m2"), handler)
    assert handler.runs == 1


async def test_tries_that_fail_are_further_and_further_apart(store: MemoryStore, inbox: Inbox) -> None:
    await fail_at(inbox, store, FAILING_MAX, ValueError("a new release"))
    waits: list[float] = []
    for n in range(6):
        with pytest.raises(Braked) as braked:
            await inbox.consume(event(f"w{n}"), Handler(store, inbox))
        waits.append(braked.value.after)
        await asyncio.sleep(braked.value.after)
        with pytest.raises(HandlerFailed):
            await inbox.consume(event(f"t{n}"), Handler(store, inbox, ValueError("still")))
    assert waits == [1.0, 2.0, 4.0, 8.0, PROBE_SECONDS_MAX, PROBE_SECONDS_MAX]


async def test_messages_that_are_hopeless_by_themselves_hold_up_nobody(store: MemoryStore, inbox: Inbox) -> None:
    for n in range(3 * FAILING_MAX):
        await inbox.consume(event(f"m{n}"), Handler(store, inbox, Malformed("no")))
    assert (len(await letters(store)), inbox.held) == (3 * FAILING_MAX, False)


async def test_one_message_that_keeps_failing_holds_up_nobody(store: MemoryStore, inbox: Inbox) -> None:
    for attempt in range(1, 2 * FAILING_MAX):
        with pytest.raises(HandlerFailed):
            await inbox.consume(event(attempt=attempt), Handler(store, inbox, ValueError("no")), attempts_max=99)
    assert not inbox.held


async def test_effects_that_conflict_with_a_parked_message_are_refused(store: MemoryStore, inbox: Inbox) -> None:
    await inbox.consume(event(), Handler(store, inbox, Malformed("no")))
    with pytest.raises(Conflict):
        await store.commit(Batch(0.0, marks=(Mark("mailer", "m1"),)))


async def test_what_no_handler_can_be_given_is_parked_once_however_often_it_comes(
    store: MemoryStore, inbox: Inbox
) -> None:
    for _ in range(2):
        await inbox.refuse(event("m1", key="k"), TooLarge("an event", "1 byte"))
    [letter] = await letters(store)
    assert (letter.code, inbox.parked) == ("too_large", 1)
    assert not await inbox.waits(event("m2", key="")), "what has no key waits behind nothing"


async def test_what_is_refused_waits_behind_what_another_instance_has_just_parked(
    store: MemoryStore, inbox: Inbox, host: Host
) -> None:
    assert not await inbox.waits(event("m0", key="k")), "it has looked, and found nothing"
    other = Inbox(store, "mailer", host=host)
    await other.consume(event("m1", key="k"), Handler(store, other, Malformed("no")))
    await inbox.refuse(event("m2", key="k"), TooLarge("an event", "1 byte"))
    first, second = sorted(await letters(store), key=lambda letter: letter.order)
    assert (first.message_id, second.message_id, second.waits_for) == ("m1", "m2", first.id)


async def test_what_is_refused_and_was_handled_meanwhile_is_not_parked(store: MemoryStore, inbox: Inbox) -> None:
    await inbox.consume(event("m1", key="k"), Handler(store, inbox))
    await inbox.refuse(event("m1", key="k"), TooLarge("an event", "1 byte"))
    assert await letters(store) == []


async def test_what_would_wait_sees_that_the_dead_letters_of_its_drawer_have_changed(
    store: MemoryStore, inbox: Inbox, host: Host
) -> None:
    neighbour = next(f"k{n}" for n in range(40_000) if drawer_of(f"k{n}") == drawer_of("k"))
    await inbox.consume(event("m1", key="k"), Handler(store, inbox, Malformed("no")))
    assert await inbox.waits(event("m2", key="k"))
    other = Inbox(store, "mailer", host=host)
    await other.consume(event("m3", key=neighbour), Handler(store, other, Malformed("no")))
    assert await inbox.waits(event("m4", key="k"))
    assert {one.message_id for one in await letters(store) if one.key == "k"} == {"m1", "m2", "m4"}
