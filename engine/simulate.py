"""The same verbs on a virtual clock: what would be sent, started and asked of the rep, and when. The store is a real one in
memory, every email is accepted and every mailbox always read; nothing here decides anything, so a timeline can be believed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from engine import decisions, enrollments, letters, outbox
from engine.core import match
from engine.core.calendar import to_utc
from engine.core.duration import Duration
from engine.core.happening import Heard
from engine.core.language import MARKS
from engine.core.machine import RUNNING, find
from engine.core.model import (
    HUMAN,
    Contact,
    Enrollment,
    Event,
    InboundMessage,
    OutboxMessage,
    OutboxState,
    Person,
    State,
)
from engine.core.needs import Refusal, person
from engine.core.render import RenderError
from engine.enrollments import Wish
from engine.errors import UserError
from engine.installation import Installation
from engine.notebook import Moment, Notebook, open_notebook
from engine.outbox import Claim, NeedsRead, Nothing
from engine.smtp import Accepted
from engine.store import Store

_ADDRESS = re.compile(r"[^\s<>,]+@[^\s<>,]+")
ACCEPTED = Accepted("simulated")
OWNER = "simulation"
LEASE = timedelta(days=100 * 365)
UNTIL_DAYS = 400
#: So often may one instant bring something more; beyond it, a sequence runs in a circle.
ROUNDS_MAX = 2_000
STEP_ANSWERS = ("done", "approved", "rejected")
ANSWERS = (*(e.value for e in Event), *STEP_ANSWERS, *MARKS, "change")


@dataclass(frozen=True)
class Answer:
    """What happens from outside: an event's name, `done`, `approved`, `rejected` (with `step`), what became of the prospect
    (`met`, `won`, `lost`) or `change`.

    `at` is an instant in UTC, or how long after the beginning; `data` may hold `people` or `prospect`, `until`, `step`, `note`, or
    the values that change."""

    at: datetime | timedelta | Duration
    event: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Timeline:
    """What would happen, in order. `outcome` is how the enrollment ended, or the state in which it was left."""

    moments: tuple[Moment, ...]
    outcome: str
    refusals: tuple[Refusal, ...] = ()


def timeline(
    inst: Installation,
    wish: Wish,
    begin: datetime,
    answers: Sequence[Answer] = (),
    follow: bool = True,
    until_days: int = UNTIL_DAYS,
) -> Timeline:
    """What enrolling at `begin` (UTC) would bring. `follow`: what it starts goes on, too; else it is only shown as started.

    Nothing is written to the installation's store. Raises UserError for an answer that means nothing."""
    simulation = Simulation(inst, begin, follow)
    for address in _addresses(wish):
        simulation.bring(inst.store, address)
    return simulation.tell(wish, answers, until_days)


def rehearse(inst: Installation, wish: Wish, now: datetime) -> Timeline:
    """Every email to come when nobody answers, of the sequence and of what it starts by itself; or the refusals."""
    return timeline(inst, wish, now)


def sample_wish(inst: Installation, sequence: str, begin: datetime | None = None) -> Wish:
    """Somebody invented for a sequence, with a value of the right type for each need that the config does not fill.

    Dates lie two weeks after `begin` (UTC; now, where it is None). Raises UserError when there is no such sequence."""
    known = inst.library.sequences.get(sequence)
    if known is None:
        raise UserError(
            f"there is no sequence {sequence!r}", remedy=f"there are {', '.join(sorted(inst.library.sequences))}"
        )
    rep = inst.config.mailboxes[0]
    ahead = (begin or datetime.now(UTC)) + timedelta(days=14)
    samples = {
        "text": "something that matters",
        "number": 10,
        "list": ["the first thing", "the second thing"],
        "date": ahead.date().isoformat(),
        "datetime": f"{ahead:%Y-%m-%d} 10:00",
        "person": SAMPLE_PROSPECT,
    }
    needed = {n: need for n, need in known.needs.items() if not need.optional and n not in rep.variables}
    values: dict[str, Any] = {name: samples[need.type] for name, need in needed.items()}
    email, contact = SAMPLE_CLIENT["email"], {k: v for k, v in SAMPLE_CLIENT.items() if k != "email"}
    if known.to == "prospect":
        values["client"] = email
        email, contact = SAMPLE_PROSPECT["email"], {k: v for k, v in SAMPLE_PROSPECT.items() if k != "email"}
    return Wish(email, sequence, values, rep.address, override="a sample", contact=contact)


SAMPLE_CLIENT = {"name": "Dana Weber", "email": "dana.weber@client.example", "company": "Client Ltd"}
SAMPLE_PROSPECT = {"name": "Barry Jones", "email": "barry.jones@prospect.example", "company": "Prospect Ltd"}


def _addresses(wish: Wish) -> list[str]:
    """Everyone of whom the simulation must know what is known."""
    people = [v for v in wish.values.values() if isinstance(v, Mapping)]
    spoken = [v for v in wish.values.values() if isinstance(v, str)]
    found = [
        wish.email,
        *(p.get("email") or "" for p in people),
        *(m for v in spoken for m in _ADDRESS.findall(v)),
    ]
    return list(dict.fromkeys(a.strip().lower() for a in found if a))


class Simulation:
    """A scratch installation with a clock of its own. Enrollments that are put into it share its mailboxes' limits.

    `main` is the id of the one that `tell` enrolled, whose person it is that answers."""

    def __init__(self, inst: Installation, begin: datetime, follow: bool = True) -> None:
        """`inst` lends its config, library and key, not its store; `begin` in UTC."""
        self.book: Notebook = open_notebook(follow)
        self.inst = replace(inst, store=self.book)
        self.begin = self.now = begin
        self._epochs = {mailbox.address: self._lease(mailbox.address) for mailbox in inst.config.mailboxes}
        self._wakes: dict[str, datetime | None] = {}
        self.main = ""

    def _lease(self, address: str) -> int:
        self.book.add_mailbox(address)
        epoch = self.book.lease(address, OWNER, self.begin, self.begin + LEASE)
        assert epoch is not None, "nobody else knows this store"
        return epoch

    # --- what is known before ----------------------------------------------------------------------------------------

    def bring(self, source: Store, address: str) -> None:
        """What `source` knows of a person and bears on them: sends, answers, referrals, suppression, the company's asks.

        Their other enrollments are there, and stand still."""
        if suppression := source.suppressed(address):
            self.book.suppress(address, suppression.reason, suppression.at)
        contact = source.contact_at(address)
        if contact is None:
            return
        self._bring_contact(source, contact)
        since = self.inst.config.calendar.add(self.begin, self.inst.config.ask_every, self._home(), -1)
        for _, _, email in source.begun_at_company(contact, "", since):
            if colleague := source.contact_at(email):
                self._bring_contact(source, colleague)

    def _bring_contact(self, source: Store, contact: Contact) -> None:
        if self.book.contact(contact.id):
            return
        self.book.add_contact(contact)
        for enrollment in source.enrollments_of(contact.id):
            self.book.bring(enrollment)
        for message in source.outbox_to(contact.id):
            before = source.enrollment(message.enrollment)
            if message.state is OutboxState.SENT and before:
                self._bring_owner(source, before)
                self.book.add_outbox(message)
        for answer in source.inbound_of(contact.id):
            self.book.add_inbound(answer)
        for referral in source.referrals_by(contact.id):
            self.book.add_referral(referral)

    def _bring_owner(self, source: Store, enrollment: Enrollment) -> None:
        if self.book.enrollment(enrollment.id) is None and (owner := source.contact(enrollment.contact)):
            if self.book.contact(owner.id) is None:
                self.book.add_contact(owner)
            self.book.bring(enrollment)

    def _home(self) -> Any:
        return self.inst.config.place(self.inst.config.mailboxes[0])

    # --- running -----------------------------------------------------------------------------------------------------

    def tell(self, wish: Wish, answers: Sequence[Answer] = (), until_days: int = UNTIL_DAYS) -> Timeline:
        """Enrolls, lets time pass, and tells what happened."""
        entered = self.enroll(wish)
        if not isinstance(entered, Enrollment):
            return Timeline((), "refused", tuple(entered))
        self.main = entered.id
        self.run(self.begin + timedelta(days=until_days), answers)
        after = self.book.enrollment(entered.id)
        assert after is not None
        return Timeline(self.moments(), after.outcome or str(after.state))

    def enroll(self, wish: Wish) -> Enrollment | list[Refusal]:
        """Enrolls somebody now."""
        return enrollments.enroll(self.inst, wish, self.now)

    def run(self, until: datetime, answers: Sequence[Answer] = ()) -> None:
        """Lets time pass until `until` (UTC), or until nothing more can happen."""
        with self.book.transaction():  # nobody else looks into it
            self._run(until, sorted(((self._when(a), n, a) for n, a in enumerate(answers)), key=lambda item: item[:2]))

    def _run(self, until: datetime, pending: list[tuple[datetime, int, Answer]]) -> None:
        rounds = 0
        self._wakes = {address: self.book.next_queued_at(address) for address in self._epochs}
        while (at := self._next([w for w, _, _ in pending[:1]])) is not None and at <= until:
            rounds = rounds + 1 if at <= self.now else 0
            if rounds > ROUNDS_MAX:
                raise UserError(
                    f"at {self.now:%Y-%m-%d %H:%M} UTC something happens again and again",
                    remedy="whoelse check names loops",
                )
            self.now = max(self.now, at)
            while pending and pending[0][0] <= self.now:
                self._happens(pending.pop(0)[2])
            enrollments.advance(self.inst, self.now)
            self._wakes = {address: self._send(address) for address in self._epochs}
            self.book.name_drafts(self._subject)

    def moments(self) -> tuple[Moment, ...]:
        """What was written down until now, each in the zone of the person whom it concerns."""
        return tuple(replace(m, zone=self._zone(m)) for m in self.book.moments)

    def _zone(self, moment: Moment) -> str:
        enrollment = self.book.known[moment.enrollment]
        return self.inst.place(self.book.contact(enrollment.contact), enrollment.rep).zone

    def _when(self, answer: Answer) -> datetime:
        if isinstance(answer.at, datetime):
            return answer.at
        if isinstance(answer.at, timedelta):
            return self.begin + answer.at
        main = self.book.enrollment(self.main)
        place = self.inst.place(self.book.contact(main.contact), main.rep) if main else self._home()
        return self.inst.config.calendar.add(self.begin, answer.at, place)

    def _next(self, answers: Iterable[datetime]) -> datetime | None:
        times = [self.book.next_enrollment_at(), *self._wakes.values(), *answers]
        return min((t for t in times if t is not None), default=None)

    def _send(self, address: str) -> datetime | None:
        """Everything that may leave this mailbox now; returns when to look again."""
        self.book.read_to_end(address, self.now, self.now)
        while True:
            match outbox.claim(self.inst, address, self._epochs[address], self.now):
                case NeedsRead():
                    raise AssertionError("the mailbox was read at this very moment")
                case Claim() as claim:
                    began = outbox.start(self.inst, claim, self.now)
                    assert began, "nothing can come between the claim and the body here"
                    outbox.record(self.inst, claim, ACCEPTED, self.now)
                case Nothing(until, why):
                    queued = self.book.next_queued_at(address)
                    if queued is None:
                        return None
                    if why and queued <= self.now:
                        self.book.delay(address, self.now, until, why)
                    return until

    def _subject(self, moment: Moment) -> str:
        enrollment = self.book.known[moment.enrollment]
        step = find(self.inst.library.sequences[enrollment.sequence], moment.step)
        try:
            return letters.render(self.inst, enrollment, step, self.now).subject if step else ""
        except RenderError:
            return ""

    # --- what happens from outside -----------------------------------------------------------------------------------

    def _happens(self, answer: Answer) -> None:
        main = self.book.enrollment(self.main)
        if main is None:
            raise UserError("an answer needs somebody who was enrolled")
        if answer.event == "change" and main.state is State.STOPPED:
            self.book.note(self.now, main, "", "change: it has ended")
        elif answer.event == "change":
            contact = self.book.contact(main.contact)
            assert contact is not None
            enrollments.change(self.inst, contact.email, main.sequence, answer.data, self.now)
        elif answer.event in STEP_ANSWERS:
            self._step_answer(main, answer.event, str(answer.data.get("step", "")))
        elif answer.event in MARKS:
            self._marked(main, answer.event)
        elif answer.event in ANSWERS:
            self._heard(main, answer)
        else:
            raise UserError(f"{answer.event!r} cannot happen", remedy=f"there are {', '.join(ANSWERS)}")

    def _step_answer(self, main: Enrollment, word: str, step: str) -> None:
        """The rep ticks off a task, or decides on a draft. One that is not there any more is said to be so."""
        if word == "done":
            tasks = [t for t in self.book.open_tasks() if t.step == step and self.book.follows(t.enrollment)]
            for task in tasks[:1]:
                enrollments.finish_task(self.inst, task.id, self.now)
        else:
            drafts = [d for d in outbox.drafts(self.inst) if d.step == step and self.book.follows(d.enrollment)]
            for draft in drafts[:1]:
                decide = outbox.approve if word == "approved" else outbox.reject
                decide(self.inst, draft, self.now)
            tasks = drafts  # type: ignore[assignment]
        if not tasks:
            self.book.note(self.now, main, step, f"{word} {step}: there is nothing to decide any more")

    def _marked(self, main: Enrollment, word: str) -> None:
        """The rep says what became of the prospect; whoever was enrolled by hand has no record of it before that."""
        prospect = main.variables.get("prospect")
        if prospect is None and main.contact != main.client and (holder := self.book.contact(main.contact)):
            prospect = {"name": holder.name, "email": holder.email, "company": holder.company}
        if prospect is None:
            self.book.note(self.now, main, "", f"{word}: there is no prospect")
            return
        decisions.set_referral(self.inst, main, Person(**prospect), word, "", self.now)

    def _heard(self, main: Enrollment, answer: Answer) -> None:
        event = Event(answer.event)
        people = _people(answer.data)
        theirs = [e for e in self.book.enrollments_of(main.contact) if self.book.follows(e.id)]
        last = self.book.last_sent_to(main.contact)
        events = (event,)
        chosen = match.hearer(theirs, last.enrollment if last else main.id, events, people) or main
        row = self._inbound(chosen, event)
        if event in (Event.BOUNCED, Event.SOFT_BOUNCED) and last:
            self.book.record_refused(last, f"bounced: {event}")
        heard = Heard(
            events, _step(answer, chosen, last), row, people, _until(answer.data), str(answer.data.get("note", ""))
        )
        hearers = [e for e in theirs if e.state in RUNNING] if event is Event.REP_WROTE else [chosen]
        for hearer in hearers:
            decisions.happen(self.inst, hearer.id, heard, self.now, row)

    def _inbound(self, chosen: Enrollment, event: Event) -> str:
        """The message by which it is heard: what is answered later goes on in its thread."""
        contact = self.book.contact(chosen.contact)
        assert contact is not None
        id = self.book.new_id()
        self.book.add_inbound(
            InboundMessage(
                id=id,
                mailbox=chosen.rep,
                folder="INBOX",
                uidvalidity=1,
                uid=0,
                message_id=f"<{id}@{OWNER}>",
                digest=id,
                received_at=self.now,
                sender=chosen.rep if event is Event.REP_WROTE else contact.email,
                subject="",
                event=str(event),
                rule=OWNER,
                enrollment=chosen.id,
                contact=contact.id,
                settled_at=self.now,
                # Before the first email there is no thread to answer in: the rep has heard it in another way.
                thread=chosen.thread if event in HUMAN and self.book.in_thread(chosen.thread) else "",
            )
        )
        return id


def _step(answer: Answer, chosen: Enrollment, last: OutboxMessage | None) -> str:
    return str(answer.data.get("step") or (last.step if last and last.enrollment == chosen.id else ""))


def _people(data: Mapping[str, Any]) -> tuple[Person, ...]:
    given = data.get("people") or data.get("prospect") or ()
    try:
        return tuple(Person(**person(p)) for p in ([given] if isinstance(given, str | Mapping) else given))
    except ValueError as error:
        raise UserError(f"people {error}") from error


def _until(data: Mapping[str, Any]) -> date | None:
    given = data.get("until")
    try:
        return date.fromisoformat(str(given)[:10]) if given else None
    except ValueError as error:
        raise UserError(f"until must be a date like 2026-03-16, not {given!r}") from error


def local(text: str, zone: str) -> datetime:
    """The instant (UTC) of a time that was written down in a zone, `2026-03-02 09:30`, or with an offset of its own."""
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else to_utc(at, zone)


__all__ = ["Answer", "Moment", "Simulation", "Timeline", "local", "rehearse", "sample_wish", "timeline"]
