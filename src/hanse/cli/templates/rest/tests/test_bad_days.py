from hanse import Fault, World, simulation

from project_name.app import Task, Tasks, app


@simulation(app, seeds=5, seconds=20, sometimes=("done",))
async def test_what_is_done_is_put_away(world: World) -> None:
    done: set[str] = set()
    world.eventually("what is done is put away", lambda: all_away(world, done))
    async for number in world.arrivals(rate=2.0):
        try:
            task = await world.collection(Task).create(Task(title=f"task {number}"))
            await world.client(Tasks).done(task.id)
        except Fault:
            continue  # who gets no answer cannot know what came of it
        done.add(task.id)
        world.sometimes("done")


def all_away(world: World, done: set[str]) -> bool:
    tasks = {task.id: task.status for task in world.rows(Task)}
    return all(tasks.get(key) == "away" for key in done) and "done" not in tasks.values()
