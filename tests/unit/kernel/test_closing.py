from collections.abc import AsyncIterator

from hanse.kernel.closing import closing


class Plain:
    """An iterator that cannot be closed."""

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        return 1


async def test_an_iterator_that_cannot_be_closed_is_left_alone() -> None:
    async with closing(Plain()) as items:
        assert await anext(items) == 1


async def test_a_generator_is_closed_where_its_reader_leaves() -> None:
    async def count() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append("at once")

    closed: list[str] = []
    async with closing(count()) as items:
        await anext(items)
    assert closed == ["at once"]
