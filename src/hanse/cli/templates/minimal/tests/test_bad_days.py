from hanse import Fault, World, simulation

from project_name.app import Note, Notes, app


@simulation(app, seeds=5, seconds=20, sometimes=("written",))
async def test_every_note_that_was_kept_is_counted(world: World) -> None:
    kept: set[str] = set()
    world.eventually("what was kept is there", lambda: kept <= {note.id for note in world.rows(Note)})
    world.eventually("words are counted", lambda: all(note.words == 3 for note in world.rows(Note)))
    async for _ in world.arrivals(rate=2.0):
        try:
            kept.add((await world.client(Notes).write("buy some tea")).id)
            world.sometimes("written")
        except Fault:
            pass  # who gets no answer cannot know whether it was kept
