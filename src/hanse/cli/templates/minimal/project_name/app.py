"""Notes, and how many words they have."""

from hanse import App, Change, Collection, Created, Gateway, Resource, Service, on, rpc


class Note(Resource):
    text: str
    words: int = 0


class Notes(Service):
    """Keeps notes."""

    notes: Collection[Note]

    @rpc
    async def write(self, text: str) -> Note:
        """Keep a note."""
        return await self.notes.create(Note(text=text))

    @on(Note)
    async def count(self, change: Change[Note]) -> None:
        """Count the words of a note that is new."""
        if isinstance(change, Created):
            await self.notes.patch(change.after.id, words=len(change.after.text.split()))


gateway = Gateway()
gateway.resources(Note, path="/notes")
gateway.rpc(Notes)

app = App("project-name", Notes, gateway=gateway)
