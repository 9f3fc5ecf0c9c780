"""A handler sees its collection as a dictionary that only it writes; the commit makes the store the same."""

import asyncio

from hypothesis import given, settings as tuned, strategies as st

from hanse.contract.model import Resource
from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import Conflict, NotFound
from hanse.kernel.host import Host
from hanse.service.collection import Collection
from hanse.service.local import LocalCollection
from hanse.service.query import desc
from hanse.store.memory import MemoryStore


class Item(Resource):
    size: int = 0


IDS = st.sampled_from("abcdef")
SIZES = st.integers(0, 3)
STEPS = st.lists(
    st.tuples(st.sampled_from(["create", "put", "patch", "delete"]), IDS, SIZES),
    max_size=15,
)
Model = dict[str, int]


@given(before=st.dictionaries(IDS, SIZES), steps=STEPS)
@tuned(max_examples=200)
def test_a_handler_reads_what_it_wrote_and_commits_what_it_read(
    before: Model, steps: list[tuple[str, str, int]]
) -> None:
    asyncio.run(check(before, steps))


async def check(before: Model, steps: list[tuple[str, str, int]]) -> None:
    host = Host.fixed(wall=0.0, seed=1)
    store = MemoryStore(host=host)
    items = LocalCollection(Item, store)
    await store.open([items.schema])
    for id, size in before.items():
        await items.create(Item(id=id, size=size))
    model = dict(before)
    context = Context(host)
    context.store = store
    token = ambient.set(context)
    try:
        for verb, id, size in steps:
            assert await write(items, verb, Item(id=id, size=size)) == write_model(model, verb, id, size)
            await same(items, model)
        if context.work is not None:
            await context.work.commit()
    finally:
        ambient.reset(token)
    await same(items, model)


async def write(items: Collection[Item], verb: str, item: Item) -> str:
    try:
        match verb:
            case "create":
                await items.create(item)
            case "put":
                await items.put(item)
            case "patch":
                await items.patch(item.id, size=item.size)
            case _:
                await items.delete(item.id)
    except (Conflict, NotFound) as fault:
        return fault.code
    return "done"


def write_model(model: Model, verb: str, id: str, size: int) -> str:
    if verb in ("patch", "delete") and id not in model:
        return "not_found"
    if verb == "create" and id in model:
        return "conflict"
    if verb == "delete":
        del model[id]
    else:
        model[id] = size
    return "done"


async def same(items: LocalCollection[Item], model: Model) -> None:
    assert {item.id: item.size async for item in items.scan()} == model
    assert await items.count(lambda item: item.size > 1) == sum(size > 1 for size in model.values())
    expected = sorted(model, key=lambda id: (-model[id], id))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await items.find(sort=lambda item: desc(item.size), limit=2, cursor=cursor)
        seen += (item.id for item in page.items)
        cursor = page.next
        if cursor is None:
            break
    assert seen == expected
