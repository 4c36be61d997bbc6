"""A real store in memory that also writes down, in order, what is put into it: the moments of a timeline. It decides
nothing. What a simulation does not follow stands still in it, because it never becomes due."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from engine.core.machine import LISTED, RUNNING
from engine.core.model import Contact, Enrollment, Event, OutboxMessage, State, Task
from engine.database import Database, open_database
from engine.store import Store, Suppression, counted_ids

T = TypeVar("T")
Action = Literal["email", "task", "start", "event"]
#: Lines of the history that are moments by themselves; what a decision says is written down with the change that it made.
SPOKEN = frozenset({"not_started", "referral", "value", "approved", "rejected", "deferred", "note"})
STANDING = frozenset({State.HELD, State.PAUSED, State.STOPPED})
EVENTS = frozenset(str(e) for e in Event)
TOLD = EVENTS | {"not yet"}
_WALL_CLOCK = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d\d:\d\d")


@dataclass(frozen=True)
class Moment:
    """One thing that happens. `at` in UTC, `zone` of the person whom it concerns; `step` may be empty. `subject` is that of an
    email or a task, or the sequence that is started; `note` says why, or why not before.

    `what` names it for scenarios (sent, task, skipped, started, not_started, paused, held, stopped, draft, goes_on, event),
    `word` is what is compared there: a step, template, sequence, reason or outcome."""

    at: datetime
    zone: str
    sequence: str
    step: str
    action: Action
    subject: str
    note: str
    to: str = ""
    what: str = "event"
    word: str = ""
    enrollment: str = ""


@dataclass(frozen=True)
class _Delay:
    """A time in which a mailbox let nothing out."""

    at: datetime
    until: datetime | None
    why: str

    @property
    def is_long(self) -> bool:
        """Worth telling also of an email that was held by something else after it."""
        return self.until is None or self.until - self.at >= timedelta(hours=1)


class Notebook(Store):
    """The store of one simulation. Only what the verbs put into it is written down, not what was brought before.

    `handled` are the handlers that acted: (sequence, the step whose email they answered, event)."""

    def __init__(self, database: Database, new_id: Callable[[], str], follow: bool) -> None:
        super().__init__(database, new_id)
        self.moments: list[Moment] = []
        self.known: dict[str, Enrollment] = {}
        self.handled: set[tuple[str, str, str]] = set()
        self._follow = follow
        self._before: dict[str, Enrollment] = {}
        self._doing: dict[str, str] = {}
        self._whys: dict[str, list[str]] = {}
        self._ready: dict[str, datetime] = {}
        self._delays: dict[str, list[_Delay]] = {}
        self._unnamed: list[int] = []
        self._remembered: dict[tuple[str, str], Any] = {}

    def follows(self, enrollment: str) -> bool:
        """Whether time passes for it here."""
        known = self.known.get(enrollment)
        return known is not None and (self._follow or not known.parent)

    def bring(self, enrollment: Enrollment) -> None:
        """One from another store: the rules see it, and it never moves."""
        self._remembered.pop(("enrollment", enrollment.id), None)
        still = replace(enrollment, next_at=None)
        if enrollment.state in RUNNING:
            state = State.WAITING if enrollment.state is State.WAITING else State.HELD
            still = replace(still, state=state, step=None, due_at=None, in_hand="", visits={}, suspended_at=None)
        super().add_enrollment(still)

    def note(self, at: datetime, of: Enrollment, step: str, text: str) -> None:
        """Something that no verb tells."""
        self._write(of, at, "event", note=text, step=step)

    def delay(self, mailbox: str, now: datetime, until: datetime | None, why: str) -> None:
        """The mailbox lets nothing out from `now` on until `until`, although something waits in it."""
        delays = self._delays.setdefault(mailbox, [])
        if delays and delays[-1].why == why:
            delays.pop()
        delays.append(_Delay(now, until, why))

    def _delayed(self, message: OutboxMessage) -> Iterator[_Delay]:
        """What held the whole mailbox since this message was ready to go, the latest first."""
        since = self._ready.get(message.id)
        for delay in reversed(self._delays.get(message.mailbox, ())):
            if since is None or delay.at < since:
                return
            yield delay

    def name_drafts(self, subject: Callable[[Moment], str]) -> None:
        """Gives the drafts that came since the last time the subject that they would have now."""
        for number in self._unnamed:
            self.moments[number] = replace(self.moments[number], subject=subject(self.moments[number]))
        self._unnamed.clear()

    # --- what is asked for again and again, and nobody else can change -----------------------------------------------

    def _taken_back(self) -> None:
        super()._taken_back()
        self._remembered.clear()

    def _once(self, what: str, key: str, read: Callable[[str], T]) -> T:
        if (what, key) not in self._remembered:
            self._remembered[what, key] = read(key)
        return self._remembered[what, key]  # type: ignore[no-any-return]

    def enrollment(self, id: str, lock: bool = False) -> Enrollment | None:
        return self._once("enrollment", id, super().enrollment)

    def contact(self, id: str) -> Contact | None:
        return self._once("contact", id, super().contact)

    def add_contact(self, contact: Contact) -> Contact:
        kept = super().add_contact(contact)
        self._remembered.pop(("contact", kept.id), None)
        return kept

    def save_contact(self, contact: Contact) -> None:
        super().save_contact(contact)
        self._remembered.pop(("contact", contact.id), None)

    def confirm(self, contact: str, now: datetime) -> None:
        super().confirm(contact, now)
        self._remembered.pop(("contact", contact), None)

    def suppressed(self, address: str) -> Suppression | None:
        return self._once("suppression", address, super().suppressed)

    def suppress(self, address: str, reason: str, at: datetime, message: str = "") -> bool:
        self._remembered.clear()  # it may be written in another way
        return super().suppress(address, reason, at, message)

    # --- the verbs of the store that leave something to tell ---------------------------------------------------------

    def add_enrollment(self, enrollment: Enrollment) -> bool:
        self.known[enrollment.id] = enrollment
        self._remembered.pop(("enrollment", enrollment.id), None)
        added = super().add_enrollment(self._still(enrollment))
        if not added:
            del self.known[enrollment.id]
        return added

    def save_enrollment(self, enrollment: Enrollment, was: int) -> bool:
        if before := self.known.get(enrollment.id):
            self._before[enrollment.id], self.known[enrollment.id] = before, enrollment
        self._remembered["enrollment", enrollment.id] = still = self._still(enrollment)
        return super().save_enrollment(still, was)

    def add_outbox(self, message: OutboxMessage) -> bool:
        if known := self.known.get(message.enrollment):
            self._whys[message.id] = [*([_moved(known.reason)] if known.reason else []), *filter(None, [message.note])]
            self._ready[message.id] = message.not_before
        return super().add_outbox(message)

    def postpone(self, message: OutboxMessage, until: datetime, why: str) -> None:
        before = [delay.why for delay in self._delayed(message) if delay.is_long]
        self._whys[message.id] += [*reversed(before), _moved(why)]
        self._ready[message.id] = until
        super().postpone(message, until, why)

    def add_task(self, task: Task) -> Task:
        kept = super().add_task(task)
        if known := self.known.get(task.enrollment):
            step = task.step or self._doing.get(task.enrollment, "")
            self._write(known, task.created_at, "task", "task", task.kind, task.note, step=step, subject=task.title)
        return kept

    def tell(
        self, at: datetime, kind: str, text: str, contact: str = "", enrollment: str = "", message: str = ""
    ) -> None:
        super().tell(at, kind, text, contact, enrollment, message)
        known = self.known.get(enrollment)
        if known is None:
            return
        said = text.removeprefix(f"{known.sequence}: ")
        before = self._before.pop(enrollment, None)
        if kind == "sent":
            self._sent(known, at, message)
        elif kind == "started":
            self._started(known, at)
        elif before:
            self._changed(before, known, at, said)
        elif kind in SPOKEN:
            self._write(known, at, "event", kind if kind == "not_started" else "event", note=said)
            self._handled_by(known, said)

    def _still(self, enrollment: Enrollment) -> Enrollment:
        if enrollment.id not in self.known or self.follows(enrollment.id):
            return enrollment
        return replace(enrollment, next_at=None)

    # --- writing down ------------------------------------------------------------------------------------------------

    def _write(
        self,
        of: Enrollment,
        at: datetime,
        action: Action,
        what: str = "event",
        word: str = "",
        note: str = "",
        step: str = "",
        subject: str = "",
        to: str = "",
    ) -> None:
        self.moments.append(Moment(at, "", of.sequence, step, action, subject, note, to, what, word, of.id))

    def _sent(self, of: Enrollment, at: datetime, id: str) -> None:
        message = self.outbox_message(id)
        assert message is not None
        waits = [delay.why for delay in self._delayed(message)]
        note = "; ".join(dict.fromkeys((*self._whys.pop(id, ()), *reversed(waits))))
        step, subject = message.step, message.subject
        self._write(of, at, "email", "sent", step, note, step=step, subject=subject, to=message.recipient)

    def _started(self, child: Enrollment, at: datetime) -> None:
        parent = self.known.get(child.parent)
        if parent is None:
            return
        step = self._doing.get(parent.id, "")
        note = f"begins {child.begun_at:%Y-%m-%d}" if child.begun_at > at else ""
        self._write(parent, at, "start", "started", child.sequence, note, step=step, subject=child.sequence)

    def _changed(self, before: Enrollment, after: Enrollment, at: datetime, said: str) -> None:
        step = before.step or ""
        self._doing[after.id] = step if said in (f"{step}: done", f"{step}: {LISTED}") else ""
        self._handled_by(after, said)
        if said.startswith(f"{step}: skipped"):
            self._write(after, at, "event", "skipped", step, said.removeprefix(f"{step}: "), step=step)
        elif after.state in STANDING and (after.state, after.reason) != (before.state, before.reason):
            self._write(after, at, "event", after.state, after.outcome or after.reason, said, step=after.step or "")
        elif after.in_hand == "draft" != before.in_hand:
            self._unnamed.append(len(self.moments))
            self._write(after, at, "event", "draft", step, said.removeprefix(f"{step}: "), step=step)
        elif before.suspended_at and not after.suspended_at:
            self._write(after, at, "event", "goes_on", "", said, step=after.step or "")
        elif said.partition(":")[0] in TOLD or after.variables != before.variables:
            self._write(after, at, "event", note=said, step=after.step or "")

    def _handled_by(self, of: Enrollment, said: str) -> None:
        event = said.partition(":")[0]
        if event in EVENTS:
            self.handled.add((of.sequence, of.answered, event))


def _moved(reason: str) -> str:
    """`Fri 18:20: window business_hours closed` says from where it was moved."""
    return f"moved from {reason}" if _WALL_CLOCK.match(reason) else reason


def open_notebook(follow: bool) -> Notebook:
    """An empty one, with ids that are the same in every run and like nobody else's."""
    ids = counted_ids()
    return Notebook(open_database(":memory:"), lambda: f"0000{ids()}", follow)
