"""Looks on while a system is steered: by what happens to processes, tables and requests, and by nothing that decides.

It knows what was wished for, as whoever wished it does, and what broke by itself. What is excused is excused by name:
by a thing that broke, and for as long as it takes to bring that back while nothing else is in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from hanse.control.edge_table import WHOLE, Server, Table

from .door import Door
from .excuses import Excuses
from .premises import PROMPT, Looking, Premises, Process, Request
from .shared_out import SharedOut

SEEN_SECONDS = 5.0
"""How long a stop waits for an edge that says nothing."""

HARMED_MAX = 60
"""Visitors that one bad release answers with errors, at most, before it is gone."""

ENDS_MAX, ENDS_SECONDS = 5, 60.0
"""Ends of one instance after which it is given up, and within how long."""

BACKOFF_SECONDS_MIN = 0.5
"""The least that an instance waits between an end and the next start."""

NOTICED_SECONDS = 26.0
"""From what breaks to the last stop that was decided before that was known: news are late, and a drain takes time."""

SETTLED_SECONDS = 15.0
"""From the end of a rollout until what it ended is started no more."""


class Onlooker(Looking):
    """See the module."""

    def __init__(self, violate: Callable[[str, str], None]) -> None:
        self._violate = violate
        self.over = False
        self.premises: Premises
        self.door: Door
        self.excuses = Excuses()
        self.shares = SharedOut(self)
        self.wanted: dict[str, int] = {}
        self.reached: dict[str, bool] = {}
        self.needs: dict[str, tuple[str, ...]] = {}
        self.stopping = False
        self.steered_anew = self.slept_at = -1e9
        self.releases: Callable[[str], set[str]] = lambda service: set()
        self.clock: Callable[[], float] = lambda: 0.0
        self.judged: set[str] = set()
        self.ready_before: set[str] = set()
        self.hooks: dict[str, int] = {}
        self._asked_at: dict[str, float] = {}
        self._wished: dict[str, tuple[float, int]] = {}
        self._starts: dict[str, list[float]] = {}
        self._ends: dict[str, list[float]] = {}
        self._unasked: dict[str, list[tuple[float, float]]] = {}
        self._harmed: dict[str, int] = {}

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.premises.now

    def violate(self, what: str, detail: str) -> None:
        """Something does not hold; the first of it is enough."""
        if not self.over:
            self.over = True
            self._violate(what, f"{self.now:.2f} s: {detail}")

    # What was wished

    def wish(self, service: str, count: int) -> None:
        """Somebody wants so many of a service; before there are so many, nobody can miss them."""
        if (known := self.wanted.get(service)) != count:
            self.reached[service] = known is not None and self.reached[service] and count < known
            self.wanted[service] = count
            self._wished[service] = (self.now, count if known is None else known)

    def asked(self, service: str) -> None:
        """Somebody has said what is to become of a service: what was given up is started again."""
        self._asked_at[service] = self.now
        self.excuses.forgive(service, self.now)

    def slept(self) -> None:
        """The machine has slept: all that anybody waited for has been waited for."""
        self.slept_at = self.now
        self.reached = dict.fromkeys(self.reached, False)

    def rebooted(self) -> None:
        """The machine has begun anew: nobody was there before."""
        self.steered_anew = self.now
        self.reached = dict.fromkeys(self.reached, False)
        self.ready_before = set()
        self.hooks, self._ends, self._unasked = {}, {}, {}

    # How many are there

    def look(self, seconds: float, obstacles: Iterable[str]) -> None:
        """Count who is there.

        Args:
            seconds: Since it was looked before.
            obstacles: What keeps anything from being brought back: whoever steers is away, or hears late.
        """
        in_the_way = list(obstacles)
        for service, wanted in self.wanted.items():
            missing = [need for need in self._all_needs(service) if self.excuses.of(need) or not self._is_there(need)]
            self.excuses.pass_by(service, seconds, [*in_the_way, *missing])
            there = [one for one in self.premises.alive if one.service == service and self.serves(one)]
            if there:
                self.ready_before.add(service)
            if sum(one.port not in self.shares.ports("draining") for one in there) >= wanted:
                self.reached[service] = True
            elif len(there) >= wanted:
                continue  # some of them are on their way out
            elif self.rests_on_flawed(service):
                self.reached[service] = False
            elif self.reached[service] and not self.stopping and not (there and self.shares.is_going_back(service)):
                self._missing(service, wanted - len(there))

    def _all_needs(self, service: str) -> Iterator[str]:
        for need in self.needs.get(service, ()):
            yield need
            yield from self._all_needs(need)

    def _is_there(self, service: str) -> bool:
        return any(one.service == service and self.serves(one) for one in self.premises.alive)

    def _missing(self, service: str, missing: int) -> None:
        excuses = self.excuses.of(service)
        if missing > len(excuses):
            why = ", ".join(one.what for one in excuses) or "nothing broke"
            self.violate("capacity", f"{missing} of {self.wanted[service]} {service} are missing: {why}")

    def rests_on_flawed(self, service: str) -> bool:
        """Whether all rests on a release, as nobody noticed in time, that does not run for long, or at all."""
        return any(self.premises.flaws.get(one) in {"crashes", "deaf"} for one in self.shares.bearing(service))

    def serves(self, one: Process) -> bool:
        """Whether it answers, and is to go on."""
        return one.is_well(self.now) and not one.told_at

    # Processes

    def launched(self, process: Process, among: list[Process]) -> None:
        if any(one.port == process.port for one in among):
            self.violate("ports", f"two processes on port {process.port}: {process.name} is the second")
        if any(one.instance == process.instance for one in among):
            self.violate("ports", f"{process.instance} is started while it runs")
        self._check_starts(process)
        for need in self.needs.get(process.service, ()):
            if need not in self.ready_before and not self._was_ready(need):
                self.violate("order", f"{process.name} is started, and no {need} has ever been ready")
        wanted = self.releases(process.service)
        if process.release not in wanted:
            self.violate("releases", f"{process.name} of release {process.release} is started, not of {sorted(wanted)}")

    def _was_ready(self, service: str) -> bool:
        return any(one.service == service and one.up_at <= self.now for one in self.premises.processes.values())

    def _check_starts(self, process: Process) -> None:
        """Whoever ends again and again waits before each start, and is given up."""
        key, at = f"{process.instance} {process.release}", self.clock()
        asked = self._asked_at.get(process.service, -1e9)
        ends = [end for born, end in self._unasked.get(key, []) if born > asked]
        if ends and at - ends[-1] < BACKOFF_SECONDS_MIN - 1e-6:
            self.violate("starts", f"{process.name} is started {at - ends[-1]:.3f} s after its end")
        excused = self.excuses.any_lately(self.needs.get(process.service, ()), self.now - 2 * ENDS_SECONDS)
        lately = [one for one in ends if at - one < ENDS_SECONDS]
        if len(lately) >= ENDS_MAX + 2 and not excused:
            self.violate("starts", f"{process.name} is started after {len(lately)} ends in {ENDS_SECONDS:g} s")

    def told_to_end(self, process: Process, number: int) -> None:
        if number == 9 and not process.told_at and process.born > self.steered_anew:
            self.violate("stops", f"{process.name} is killed before it was told to end")
        if self.stopping and not process.told_at:
            users = [name for name, needs in self.needs.items() if process.service in needs]
            left = [one.name for one in self.premises.alive if one.service in users and not one.told_at]
            if left:
                self.violate("order", f"{process.name} is to end before {left[0]}, which needs it")
        if number == 9 or process.told_at:
            return
        self._check_left(process)
        if not self._served_lately(process):
            return
        if process.port in self.shares.ports():
            self.violate("stops", f"{process.name} is told to end while it gets requests")
        if process.work:
            self.violate("stops", f"{process.name} is told to end in the middle of {len(process.work)} requests")

    def _check_left(self, process: Process) -> None:
        """Whoever is well goes only where enough others are well, as far as anybody can know."""
        service = process.service
        if self.stopping or not self.reached[service] or not self._is_steadily_well(process):
            return
        if self.now < self.slept_at + NOTICED_SECONDS:
            return  # while it slept, the time of whoever was about to come up was over
        if self.shares.is_going_back(service) or self.rests_on_flawed(service):
            return  # to those of the old release that are there, be it many for few
        left = sum(self.serves(one) for one in self.premises.alive if one.service == service and one is not process)
        lately = [one for one in self.excuses.of(service) if one.at > self.now - NOTICED_SECONDS]
        # Where more were asked for just now, those who are on their way out are not kept for them.
        at, before = self._wished[service]
        wanted = min(before, self.wanted[service]) if self.now < at + SETTLED_SECONDS else self.wanted[service]
        if left < wanted - len(lately):
            why = ", ".join(one.what for one in lately) or "nothing broke lately"
            self.violate("capacity", f"{process.name} is told to end, and {left} {service} are left: {why}")

    def _is_steadily_well(self, process: Process) -> bool:
        return process.is_well(self.now) and self.now - max(process.hung_at, process.hung_until) >= 60.0

    def _served_lately(self, process: Process) -> bool:
        """Whether it was well, and so was the edge, for as long as a stop takes heed of them."""
        return self._is_steadily_well(process) and not self.door.was_away(self.now - SEEN_SECONDS - PROMPT)

    def broke(self, process: Process, how: str) -> None:
        if process.service in self.wanted and self.serves(process):
            key = f"{process.instance} {process.release}"
            ends = sum(self.clock() - at < ENDS_SECONDS for at in self._ends.get(key, []))
            self.excuses.broke(
                process, f"{process.name} {how} at {self.now:.1f} s", self.now, ends, hangs=how == "hangs"
            )

    def gone(self, process: Process) -> None:
        key = f"{process.instance} {process.release}"
        self._ends.setdefault(key, []).append(self.clock())
        if not process.told_at and all(map(self._is_there, self.needs.get(process.service, ()))):
            self._unasked.setdefault(key, []).append((process.born, self.clock()))

    def hooked(self, name: str) -> None:
        self.hooks[name] = self.hooks.get(name, 0) + 1
        if self.hooks[name] > 1:
            self.violate("hooks", f"{name} is run for the {self.hooks[name]}. time")

    # The edge

    def shown(self, table: Table, before: Table) -> None:
        self.shares.shown(table)

    def sent(self, request: Request, server: Server, release: str, process: Process | None) -> None:
        if server.state != "up":
            self.violate("traffic", f"{server.id} is {server.state}, and is sent a request")
        is_new = process is not None and self.now < process.up_at and self.now - process.born > PROMPT
        if process is not None and is_new and not self.door.was_away(process.born):
            self.violate("traffic", f"{process.name} is sent a request before it was ready")
        if server.id in request.tried and self._others(request):
            self.violate("traffic", f"{request.number} is sent to {server.id} again, where it failed")
        self.shares.sent(request, release, server)

    def _others(self, request: Request) -> bool:
        """Whether there is somebody of the one release that has all requests who was not asked yet."""
        borne = self.shares.bearing(request.service)
        up = [one.id for one in self.shares.servers(request.service, *borne) if one.state == "up"]
        return any(one not in request.tried and not self.door.is_out(one) for one in up)

    def seated(self, request: Request, server: Server, release: str) -> None:
        self.shares.seated(request, server, release)

    def ended(self, request: Request, how: str, release: str, instance: str) -> None:
        if request.handled > 1 and request.method == "POST":
            self.violate("requests", f"a POST of {request.user} was handled {request.handled} times")
        if how == "error" and release in self.judged:
            harmed = self._harmed[release] = self._harmed.get(release, 0) + 1
            if harmed > HARMED_MAX:
                self.violate("harm", f"{harmed} visitors were answered with errors by {request.service} {release}")

    def ejected(self, server: str, pool: list[str], out: set[str]) -> None:
        if 2 * sum(one in out for one in pool) > len(pool):
            self.violate("traffic", f"{server} is left alone, as are most of {pool}")

    def share_of(self, service: str, release: str) -> float:
        """What a release gets of all requests, from 0 to 1."""
        return self.shares.points(service, release) / WHOLE
