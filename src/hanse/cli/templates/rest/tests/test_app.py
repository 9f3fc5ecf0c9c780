import pytest
from hanse import Node, Updated

from project_name.app import AlreadyDone, Task, Tasks, app


async def test_a_task_is_done_once() -> None:
    async with Node(app) as node:
        task = await node.collection(Task).create(Task(title="buy some tea"))
        await node.client(Tasks).done(task.id)
        with pytest.raises(AlreadyDone):
            await node.client(Tasks).done(task.id)


async def test_a_task_that_is_done_is_put_away() -> None:
    async with Node(app) as node:
        tasks = node.collection(Task)
        task = await tasks.create(Task(title="buy some tea"))
        start = await tasks.cursor()
        await node.client(Tasks).done(task.id)
        async for change in tasks.changes(after=start):
            if isinstance(change, Updated) and change.after.status == "away":
                break
