"""What can happen to an enrollment, and what a decision about it asks of the world. Both are plain values, so that the
machine can be shown any moment and its answer can be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from engine.core.calendar import Calendar, Place
from engine.core.model import Enrollment, Event, Person
from engine.core.sequence import Duration, Start

# --- what can happen -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Begun:
    """It was enrolled, or its `after:` has passed."""


@dataclass(frozen=True)
class Due:
    """`next_at` has come."""


@dataclass(frozen=True)
class Leaving:
    """Its email stands first in the outbox. `approved` is set when the rep has said that it may go; `reworded` says what of it
    is not any more as the rep approved it."""

    approved: bool = False
    reworded: str = ""


@dataclass(frozen=True)
class Approved:
    """The rep lets its draft go: it is in the outbox now."""


@dataclass(frozen=True)
class Done:
    """A step was done: sent at `at`, a blocking task ticked off, or (`skipped`) a draft rejected."""

    step: str
    at: datetime
    emailed: bool = False
    skipped: bool = False


@dataclass(frozen=True)
class Failed:
    """A step cannot be done (its template does not render): the rep must look."""

    why: str


@dataclass(frozen=True)
class Heard:
    """An answer or a report that concerns this enrollment. `events` go from the most specific to the least; `step` is the step
    whose email it is about, if known; `message` the inbound message; `until` the first day back."""

    events: tuple[Event, ...]
    step: str = ""
    message: str = ""
    people: tuple[Person, ...] = ()
    until: date | None = None
    note: str = ""


@dataclass(frozen=True)
class Held:
    """Its clock must stand still until `until`, or (None) until it is released."""

    why: str
    until: datetime | None = None


@dataclass(frozen=True)
class Forbidden:
    """A rule of conduct stands against its beginning for now; it is tried again at `until`."""

    why: str
    until: datetime


@dataclass(frozen=True)
class Released:
    """What held it is settled, or the rep resumes it. `wait` is what is still to be waited."""

    why: str


@dataclass(frozen=True)
class Paused:
    why: str


@dataclass(frozen=True)
class Stopped:
    outcome: str


@dataclass(frozen=True)
class Changed:
    """Variables, or the sequence itself, changed: times are computed anew for what has not happened yet."""

    values: Mapping[str, Any]
    why: str


Happening = (
    Begun | Due | Leaving | Approved | Done | Failed | Heard | Held | Forbidden | Released | Paused | Stopped | Changed
)

# --- what a decision asks for ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queue:
    """An email of `step` into the outbox; `draft`: it waits for the rep's word first."""

    step: str
    visit: int
    attempt: int
    due_at: datetime
    draft: bool = False


@dataclass(frozen=True)
class Go:
    """The email may leave now."""


@dataclass(frozen=True)
class Wait:
    """The email must not leave before `until`."""

    until: datetime
    why: str


@dataclass(frozen=True)
class Withdraw:
    """Whatever is queued or drafted for this enrollment and has not begun to leave is cancelled."""

    why: str


@dataclass(frozen=True)
class Draft:
    """The queued email becomes a draft: it is overdue and the rep must say whether it still goes."""

    why: str


@dataclass(frozen=True)
class AddTask:
    """A task from a template; `step` is set when the enrollment waits for it; one for each of `people`, if there are."""

    template: str
    step: str = ""
    urgent: bool = False
    people: tuple[Person, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Launch:
    """Another sequence is started, once for each of `people` as its prospect, if there are."""

    start: Start
    people: tuple[Person, ...] = ()
    message: str = ""


@dataclass(frozen=True)
class Suppress:
    """The address is never mailed again, by anyone, and everything that runs for it stops."""

    reason: str


@dataclass(frozen=True)
class HoldPerson:
    """All else that runs for this person is held: until a time (an absence), or until this answer is settled (None)."""

    why: str
    until: datetime | None = None


@dataclass(frozen=True)
class FreePerson:
    """The answer for which the person's other enrollments were held is settled."""


@dataclass(frozen=True)
class SetValue:
    """`set: {value: confirmed}` or `{referral: introduced}`, for each of `people`, if there are."""

    name: str
    value: str
    people: tuple[Person, ...] = ()
    message: str = ""


Effect = (
    Queue | Go | Wait | Withdraw | Draft | AddTask | Launch | Suppress | HoldPerson | FreePerson | SetValue
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What the machine must know beside the enrollment. `place` is the recipient's.

    `true` evaluates an `if:`, `refused` counts the refusals of a step's email at one visit, `quiet` says until when the
    frequency cap lets nothing out, and why. Anchors are the dates among the variables, in UTC where they have a time."""

    calendar: Calendar
    place: Place
    true: Callable[[str], bool]
    anchors: Mapping[str, date | datetime] = field(default_factory=dict)
    late_after: Duration = Duration(days=3, text="3 days")
    refused: Callable[[str, int], int] = lambda step, visit: 0
    quiet: Callable[[], tuple[datetime, str] | None] = lambda: None


@dataclass(frozen=True)
class Decision:
    """The enrollment as it is from now on, what the world must do, and the reason in words for the person's story."""

    enrollment: Enrollment
    effects: tuple[Effect, ...] = ()
    why: str = ""
