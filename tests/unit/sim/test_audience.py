"""Who looks on in a world hears of what it has asked to hear, and of nothing else."""

from hanse.kernel.message import Kind, Message
from hanse.sim.audience import Audience
from hanse.sim.check import Observer
from hanse.store.base import Batch

CALL = Message(Kind.CALL, "1", "orders.place")


class Everything(Observer):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def committed(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        self.heard.append(f"committed {machine} {path} {positions}")

    def acknowledged(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        self.heard.append(f"acknowledged {machine} {path} {positions}")

    def said(self, source: str, target: str, message: Message, asked: Message | None) -> None:
        self.heard.append(f"said {source} {target} {message.id} {asked}")

    def passed(self, machine: str, point: str) -> None:
        self.heard.append(f"passed {machine} {point}")


class Nothing(Observer):
    pass


def test_each_hears_all_that_it_overrides() -> None:
    audience, one, other = Audience(), Everything(), Everything()
    audience.extend([one, Nothing()])
    audience.append(other)
    audience.committed("orders", "orders.db", Batch(0.0), (1,))
    audience.acknowledged("orders", "orders.db", Batch(0.0), (1,))
    audience.said("orders", "mailer", CALL, None)
    audience.passed("orders", "unit.before_commit")
    assert one.heard == [
        "committed orders orders.db (1,)",
        "acknowledged orders orders.db (1,)",
        "said orders mailer 1 None",
        "passed orders unit.before_commit",
    ]
    assert other.heard == one.heard
    assert len(audience) == 3


def test_who_wants_to_hear_nothing_does_nothing() -> None:
    observer = Nothing()
    observer.begin()
    observer.committed("orders", "orders.db", Batch(0.0), (1,))
    observer.acknowledged("orders", "orders.db", Batch(0.0), (1,))
    observer.said("orders", "mailer", CALL, None)
    observer.passed("orders", "unit.before_commit")
    observer.died("orders", dark=True)
    observer.healed()
    observer.finish()
    assert observer.idle()
