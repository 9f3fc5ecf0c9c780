"""Run by `test_saga_kill.py`, as two processes: `killed_saga.py STORE hang|end`.

The first begins a saga of each kind, and says so when each is amid what it is to be killed in. The second ends them
all, and says what has come of it.
"""

import asyncio
import json
import sys

from hanse import App, Collection, Event, Fault, Node, Resource, Saga, Service, Settings, rpc, saga
from hanse.kernel.settings import NodeSettings
from hanse.mesh.client import send
from hanse.node.saga_desk import SagaDesk

KINDS = ("method", "call", "sleep", "event", "undo")
AMID = {"method/_slowly", "call/desk.serve", "sleep/sleep", "event/landed", "undo/back"}


class Broke(Fault): ...


class Landed(Event): ...


class Note(Resource):
    text: str


class Paper(Resource):
    text: str


hangs = sys.argv[2] == "hang"
amid: set[str] = set()


async def amidst(what: str) -> None:
    if hangs:
        amid.add(what)
        _ = await asyncio.Event().wait()


class Desk(Service, events=(Landed,)):
    papers: Collection[Paper]

    @rpc
    async def serve(self, text: str) -> str:
        paper = await self.papers.create(Paper(text=text))
        await amidst("call/desk.serve")
        return paper.id

    @rpc
    async def land(self) -> None:
        await self.emit(Landed())


class Trips(Service):
    desk: Desk
    notes: Collection[Note]

    @rpc
    @saga(events=(Landed,))
    async def go(self, s: Saga, kind: str) -> str:
        await s.step(self._note, f"{kind} begins").undo(self._note, f"{kind} is undone")
        match kind:
            case "method":
                await s.step(self._slowly, "method is done", "method/_slowly")
            case "call":
                _ = await s.step(self.desk.serve, "call is done")
            case "sleep":
                await s.sleep("1s")
            case "event":
                _ = await s.event(Landed)
            case _:
                await s.step(self._note, "undo goes on").undo(self._slowly, "undo goes back", "undo/back")
                raise Broke
        return kind

    async def _note(self, text: str) -> None:
        _ = await self.notes.create(Note(text=text))

    async def _slowly(self, text: str, where: str) -> None:
        await self._note(text)
        await amidst(where)


async def main(store: str) -> None:
    async with Node(App("trips", Desk, Trips), Settings(node=NodeSettings(store=store))) as node:
        desk = SagaDesk({one.part.name: one.store for one in node.hosted if one.sagas is not None}, node.host)
        if hangs:
            for kind in KINDS:
                await send(node.client(Trips).go, kind)
            while amid != AMID:
                for row in await desk.rows():
                    kind = json.loads(row.arguments)["kind"]
                    amid.update(f"{kind}/{step.name}" for step in await desk.steps(row.id) if not step.closed)
                await asyncio.sleep(0.01)
            print("amid all", flush=True)  # noqa: T201 - the test waits for it
            _ = await asyncio.Event().wait()
        await node.client(Desk).land()
        while {row.state for row in await desk.rows()} & {"running", "undoing"}:  # noqa: ASYNC110 - a store's rows
            await asyncio.sleep(0.01)
        notes = [note.text for note in (await node.collection(Note).find(limit=100)).items]
        papers = [paper.text for paper in (await node.collection(Paper).find(limit=100)).items]
        states = {json.loads(row.arguments)["kind"]: row.state for row in await desk.rows()}
        print(json.dumps({"states": states, "notes": sorted(notes), "papers": papers}), flush=True)  # noqa: T201 - as the test reads it


asyncio.run(main(sys.argv[1]))
