"""Plays a script against the daemon. Nothing here goes by how long anything takes: when all mail that was delivered has been read
and nothing is due, the clock jumps to whatever comes first, an email of the engine's or an answer of somebody's."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from engine import inbox, outbox, triggers
from engine.clock import JumpClock
from engine.core.model import Contact, Enrollment, Task
from engine.core.needs import Refusal
from engine.core.words import handles
from engine.daemon import Daemon
from engine.demo.people import bounce, opened, send
from engine.demo.story import REP, RepTurn, Role, Script, Turn
from engine.demo.world import INBOX, Delivery, MailWorld
from engine.enrollments import Wish, enroll
from engine.errors import UserError
from engine.installation import Installation

LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class RepDid:
    """The rep did something by hand, in the words of the command line; `why` says more where it needs more."""

    at: datetime
    command: str
    why: str = ""


class Conductor:
    """One performance. `told` hears what the rep does; `rested` is awaited whenever all is quiet, before time goes on."""

    def __init__(
        self,
        script: Script,
        world: MailWorld,
        daemon: Daemon,
        inst: Installation,
        clock: JumpClock,
        password: str,
        told: Callable[[RepDid], None],
    ) -> None:
        self._script, self._world, self._daemon, self._inst, self._clock = script, world, daemon, inst, clock
        self._password, self._told = password, told
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._taken = 0
        self._received: dict[str, int] = {}
        self._uid = 0
        self._tasks: set[str] = set()

    async def play(self, rested: Callable[[], Awaitable[None]]) -> None:
        """From the first enrollment to the script's end. Raises UserError when the daemon does not come to rest."""
        await self._rest()
        for role in self._script.cast:
            if role.sequence:
                self._enroll(role)
        while True:
            self._daemon.poke()
            due = await self._rest()
            await rested()
            at = min(filter(None, (due, self._agenda[0][0] if self._agenda else None)), default=self._script.end)
            if at >= self._script.end:
                return
            self._clock.jump_to(at)
            await self._act()

    # --- time --------------------------------------------------------------------------------------------------------

    async def _rest(self) -> datetime | None:
        """Waits until nothing is left to do now; gives the time at which the daemon goes on by itself."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < patience:
            self._look_around()
            if self._daemon.quiet() and self._all_read():
                due = await self._daemon.next_due()
                if (due is None or due > self._clock.now()) and not self._world.deliveries(self._taken):
                    return due
            await asyncio.sleep(LOOK_SECONDS)
        raise UserError(f"the daemon did not come to rest within {PATIENCE_SECONDS:.0f} seconds")

    def _all_read(self) -> bool:
        """Whether the daemon has read the rep's inbox as far as mail was delivered there."""
        position = self._inst.store.position(REP.email, INBOX)
        return position is not None and position[1] >= self._uid

    async def _act(self) -> None:
        """Whatever somebody has put on the agenda for this time."""
        while self._agenda and self._agenda[0][0] <= self._clock.now():
            _, _, action = heapq.heappop(self._agenda)
            action()

    def _plan(self, at: datetime, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), action))

    # --- what everybody does -----------------------------------------------------------------------------------------

    def _enroll(self, role: Role) -> None:
        """The rep enrolls a client, with the verbs of the command line."""
        now, client = self._clock.now(), role.client
        known = Contact("", client.email, client.name, company=role.company, owner=REP.email)
        self._inst.store.add_contact(known)
        if role.confirmed:
            inbox.mark(self._inst, client.email, "confirmed", {}, now)
            self._told(RepDid(now, f"whoelse mark {client.email} confirmed", role.confirmed))
        if role.moment:
            self._report(role, *role.moment)
            return
        enrolled = enroll(self._inst, Wish(client.email, role.sequence, role.values, rep=REP.email), now)
        if not isinstance(enrolled, Enrollment):
            raise UserError(f"{client.email} could not be enrolled: {'; '.join(map(str, enrolled))}")
        self._told(RepDid(now, f"whoelse enroll {client.email} {role.sequence} …"))

    def _report(self, role: Role, moment: str, data: Mapping[str, str]) -> None:
        """Another system, or the rep, reports what happened to a client; the triggers do the rest."""
        now = self._clock.now()
        outcome = triggers.report(self._inst, triggers.Report(role.client.email, moment, data), now)
        if isinstance(outcome, Refusal) or not outcome.started:
            raise UserError(f"{moment} of {role.client.email} started nothing: {outcome}")
        score = f"-v score={data['score']}"
        why = f"a score of {data['score']}: happy, and asked the day after. Only happy clients are asked"
        self._told(RepDid(now, f"whoelse moment {role.client.email} {moment} {score}", why))

    def _look_around(self) -> None:
        """New mail and new tasks wake those who have something to do about them."""
        for delivery in self._world.deliveries(self._taken):
            self._taken += 1
            if delivery.recipient == REP.email:
                self._uid = delivery.uid
            for role in self._script.cast:
                if role.client.email == delivery.recipient:
                    self._hand_to(role, delivery)
        for task in self._inst.store.open_tasks():
            if task.id not in self._tasks:
                self._tasks.add(task.id)
                self._put_to_rep(task)

    def _hand_to(self, role: Role, delivery: Delivery) -> None:
        count = self._received[delivery.recipient] = self._received.get(delivery.recipient, 0) + 1
        for turn in role.turns:
            if turn.email == count:
                self._plan(self._clock.now() + turn.after, self._answer(role, turn, delivery))

    def _answer(self, role: Role, turn: Turn, delivery: Delivery) -> Callable[[], None]:
        def write() -> None:
            email, now = opened(delivery.raw), self._clock.now()
            if turn.write is None:
                self._world.deliver(delivery.sender, bounce(delivery.recipient, email, now))
            else:
                send(role.client, self._password, self._world.smtp_port, turn.write(role.client, email, now))

        return write

    def _put_to_rep(self, task: Task) -> None:
        for turn in self._script.rep_turns:
            if turn.task == task.kind:
                self._plan(self._clock.now() + turn.after, self._says(task, turn))

    def _says(self, task: Task, turn: RepTurn) -> Callable[[], None]:
        def say() -> None:
            enrollment, now = self._inst.store.enrollment(task.enrollment), self._clock.now()
            assert enrollment is not None
            prospect = enrollment.variables["prospect"]["email"]
            if turn.word == "approve":
                drafts = outbox.drafts(self._inst)
                draft = next(draft for draft in drafts if draft.recipient == prospect)
                outbox.approve(self._inst, draft, now)
                command = f"whoelse drafts approve {handles(d.id for d in drafts)[draft.id]}"
            else:
                inbox.mark(self._inst, prospect, turn.word, {}, now)
                command = f"whoelse mark {prospect} {turn.word}"
            self._told(RepDid(now, command, turn.why))

        return say
