"""Tasks: made, changed and listed over REST, done by an operation with a route, put away by a rule."""

from hanse import App, Collection, Fault, Gateway, Held, Resource, Service, rpc, rule


class Task(Resource):
    title: str
    status: str = "open"


class AlreadyDone(Fault, status=409, detail="{title} is {state} already"):
    """The task cannot be done once more."""

    title: str
    state: str


class Tasks(Service):
    """Keeps tasks until they are done."""

    tasks: Collection[Task]

    @rpc(route="POST /tasks/{id}/done", faults=(AlreadyDone,))
    async def done(self, id: str) -> Task:
        """Say that a task is done."""
        task = await self.tasks.get(id)
        if task.status != "open":
            raise AlreadyDone(title=task.title, state=task.status)
        return await self.tasks.patch(id, if_match=task.rev, status="done")

    @rule(Task, where=lambda task: task.status == "done", every="10m")
    async def put_away(self, task: Held[Task]) -> None:
        """Put away what is done."""
        await task.patch(status="away")


gateway = Gateway()
gateway.resources(Task, path="/tasks")
gateway.rpc(Tasks)

app = App("project-name", Tasks, gateway=gateway)
