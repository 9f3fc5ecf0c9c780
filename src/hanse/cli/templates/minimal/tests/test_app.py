from hanse import Node

from project_name.app import Note, Notes, app


async def test_the_words_of_a_note_are_counted() -> None:
    async with Node(app) as node:
        note = await node.client(Notes).write("buy some tea")
        await node.settle()
        assert (await node.collection(Note).get(note.id)).words == 3
