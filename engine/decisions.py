"""A decision and all that follows from it, in one transaction: they are there together or not at all. Whatever happens to an
enrollment comes through `happen`; what spreads to others of that person, or begins because of it, does so here."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from engine.core import conduct
from engine.core.address import person_of, prospect_key, same_prospect
from engine.core.calendar import ALWAYS, NeverOpens
from engine.core.happening import (
    AddTask,
    Begun,
    Decision,
    Done,
    Draft,
    Due,
    Effect,
    Facts,
    Failed,
    Forbidden,
    FreePerson,
    Go,
    Happening,
    Heard,
    Held,
    HoldPerson,
    Launch,
    Paused,
    Queue,
    Released,
    SetValue,
    Stopped,
    Suppress,
    Wait,
    Withdraw,
)
from engine.core.machine import ANSWER_WAITS, RUNNING, decide, find, is_due
from engine.core.model import (
    Contact,
    Enrollment,
    Event,
    Moment,
    OutboxMessage,
    OutboxState,
    Person,
    Referral,
    ReferralLine,
    State,
    Task,
)
from engine.core.needs import Refusal, anchors, gather
from engine.core.render import RenderError
from engine.core.sequence import Sequence, Start
from engine.core.words import length_text
from engine.errors import UserError
from engine.installation import Installation
from engine.letters import holds, recipient_of, words
from engine.standing import capped, known_or_new, standing

ID_DIGITS = 24
FORBIDDEN_TRIES = timedelta(days=30)
NEXT_DAY = timedelta(days=1)
LATE = timedelta(days=1)
#: So many enrollments may come of one; beyond it, sequences start each other in a circle.
FAMILY_MAX = 100
PLAIN_TASKS = {
    "triage": "An answer from {who} needs a look",
    "complete": "{sequence} for {who} lacks something",
    "failed": "{sequence} for {who} has stopped: something is wrong in it",
    "draft_overdue": "A draft to {who} has waited for a day",
    "start_refused": "{sequence} for {who} could not start for 30 days",
}


def begin(inst: Installation, enrollment: Enrollment, now: datetime, cause: str) -> None:
    """Somebody who is away is not written to before they are back, whatever begins for them."""
    happen(inst, enrollment.id, Begun(), now, cause)
    if hold := inst.store.contact_hold(enrollment.contact, now):
        until, why = hold
        happen(inst, enrollment.id, Held(why, until), now)


# --- what happens ----------------------------------------------------------------------------------------------------


def facts(inst: Installation, enrollment: Enrollment, sequence: Sequence, now: datetime) -> Facts:
    """What the machine must know beside the enrollment."""
    step = find(sequence, enrollment.step)
    contact = recipient_of(inst, enrollment, sequence, step) if step else inst.store.contact(enrollment.contact)
    config = inst.config
    place = inst.place(contact, enrollment.rep)

    def refused(step: str, visit: int) -> int:
        states = [(m.step, m.visit, m.state) for m in inst.store.outbox_of(enrollment.id)]
        return states.count((step, visit, OutboxState.REFUSED))

    return Facts(
        calendar=config.calendar,
        place=place,
        true=lambda source: holds(inst, enrollment, source, now),
        anchors=anchors(sequence, enrollment.variables),
        late_after=config.late_after,
        refused=refused,
        quiet=lambda: quiet_until(inst, enrollment, contact, now),
    )


def quiet_until(
    inst: Installation, enrollment: Enrollment, contact: Contact | None, now: datetime
) -> tuple[datetime, str] | None:
    """The frequency cap: between unrelated sequences, and never before an answer to the person's own message. Of several late
    emails one leaves a day."""
    if contact is None or enrollment.cause or enrollment.in_hand not in ("outbox", "draft"):
        return None
    if enrollment.due_at and now - enrollment.due_at > LATE:
        before = inst.store.last_sent_to(contact.id)
        if before and before.sent_at and now - before.sent_at < LATE:
            return before.sent_at + LATE, "of several late emails one leaves a day"
    return capped(inst, contact, enrollment.root, now)


def happen(inst: Installation, id: str, happening: Happening, now: datetime, message: str = "") -> Decision | None:
    """Decides and carries out, in one transaction. None when there is no such enrollment. `message` is the inbound message.

    Raises OldLibrary where another process has applied an edit that this one does not know yet, and it matters."""
    with inst.store.transaction():
        enrollment = inst.store.enrollment(id, lock=True)
        if enrollment is None:
            return None
        decision = _decide(inst, enrollment, happening, now)
        if twin := _twin(inst, enrollment, decision):
            return (
                happen(inst, twin, replace(happening, step=""), now, message) if isinstance(happening, Heard) else None
            )
        carry_out(inst, enrollment, decision, now, message)
        return decision


class OldLibrary(Exception):
    """What an enrollment needs is not in the library that is at hand, and that is not the one that was applied last."""


def _twin(inst: Installation, before: Enrollment, decision: Decision) -> str:
    """One that only listens must not run again beside the same that was begun anew: that one hears it in its place."""
    if before.state is not State.LISTENING or decision.enrollment.state not in RUNNING:
        return ""
    twin = inst.store.running_twin(before.contact, before.sequence, prospect_key(before.variables.get("prospect")))
    return twin.id if twin else ""


def _is_old(inst: Installation) -> bool:
    """Whether what is at hand was applied, and something else since."""
    applied = inst.store.applied_library()
    other = applied is not None and applied[0] != inst.library.version
    return other and inst.store.library_applied_at(inst.library.version) is not None


def _decide(inst: Installation, enrollment: Enrollment, happening: Happening, now: datetime) -> Decision:
    sequence = inst.library.sequences.get(enrollment.sequence)
    if (sequence is None or (enrollment.step and not find(sequence, enrollment.step))) and _is_old(inst):
        raise OldLibrary(inst.library.version)
    if sequence is None:
        why = f"the sequence {enrollment.sequence} was removed"
        if enrollment.state is State.STOPPED:
            return Decision(enrollment, (), why)
        return decide(EMPTY, enrollment, Stopped("removed"), now, NO_FACTS)
    if isinstance(happening, Stopped | Paused | Failed):
        return decide(sequence, enrollment, happening, now, NO_FACTS)
    if why := _homeless(inst, enrollment, sequence):
        return decide(sequence, enrollment, Failed(why), now, NO_FACTS)
    begins = isinstance(happening, Begun) or (isinstance(happening, Due) and is_due(enrollment, now))
    if begins and enrollment.state is State.WAITING:
        happening = _may_begin(inst, enrollment, sequence, now) or happening
    try:
        return decide(sequence, enrollment, happening, now, facts(inst, enrollment, sequence, now))
    except (RenderError, NeverOpens) as error:
        failed = Failed(str(error.problem if isinstance(error, RenderError) else error))
        return decide(sequence, enrollment, failed, now, NO_FACTS)


def _homeless(inst: Installation, enrollment: Enrollment, sequence: Sequence) -> str:
    """What the config has no longer that this enrollment needs: a faulty edit pauses whom it concerns and holds up nobody else."""
    if inst.config.mailbox(enrollment.rep) is None:
        return f"{enrollment.rep} is no mailbox of the config any more"
    windows = {sequence.window, *(step.window for step in sequence.steps if step.window)}
    unknown = sorted(windows - inst.config.calendar.windows.keys() - {ALWAYS.name})
    return f"the config has no window {unknown[0]} any more" if unknown else ""


#: Stopping, pausing and failing need no facts, and stopping no steps.
EMPTY = Sequence("", "", "touch", "client", ())
NO_FACTS: Any = None


def _may_begin(inst: Installation, enrollment: Enrollment, sequence: Sequence, now: datetime) -> Happening | None:
    """A start that a rule forbids for now is tried again every morning for 30 days, then it is the rep's task."""
    contact = inst.store.contact(enrollment.contact)
    assert contact is not None
    inst.store.lock_company(contact)  # of two colleagues who are asked in the same instant, one is
    prospect = enrollment.variables.get("prospect")
    about = standing(inst, sequence, contact, prospect, now, own=enrollment.id, root=enrollment.root)
    refusal = conduct.refusal(sequence, about, now)
    if refusal is None:
        return None
    if not refusal.override or now - enrollment.begun_at > FORBIDDEN_TRIES:
        if refusal.override:
            _add_task(inst, enrollment, AddTask("start_refused", note=str(refusal)), now, "")
        return Stopped(refusal.rule)
    return Forbidden(refusal.reason, _next_morning(inst, enrollment, sequence, contact, now))


def _next_morning(
    inst: Installation, enrollment: Enrollment, sequence: Sequence, contact: Contact, now: datetime
) -> datetime:
    """When the sequence's window opens next on another day where the person is."""
    place = inst.place(contact, enrollment.rep)
    tomorrow = now.astimezone(ZoneInfo(place.zone)).date() + NEXT_DAY
    return inst.config.calendar.opens_on(sequence.window, place, tomorrow)


def carry_out(inst: Installation, before: Enrollment, decision: Decision, now: datetime, message: str) -> None:
    after = decision.enrollment
    if after is not before and not inst.store.save_enrollment(after, before.revision):
        raise AssertionError(f"enrollment {before.id} changed under its own lock")
    if decision.why and not any(isinstance(e, Go | Wait) for e in decision.effects):
        tell(inst, after, now, after.state if after is not before else "note", decision.why, message)
    for effect in decision.effects:
        _effect(inst, after, effect, now, message)


def _effect(inst: Installation, enrollment: Enrollment, effect: Effect, now: datetime, message: str) -> None:
    store = inst.store
    match effect:
        case Queue():
            _queue(inst, enrollment, effect, now)
        case Withdraw(why):
            store.withdraw(enrollment.id, why)
        case AddTask():
            _add_task(inst, enrollment, effect, now, message)
        case Launch(start, people, cause):
            for person in people or (None,):
                launch(inst, enrollment, start, person, cause, now)
        case Suppress(reason):
            suppress(inst, enrollment.contact, reason, now, message)
        case HoldPerson(why, until):
            _hold_others(inst, _writer(inst, enrollment, message), enrollment.id, why, until, now)
        case FreePerson():
            for writer in _writers(inst, enrollment):
                free(inst, writer, enrollment.id, now)
        case SetValue():
            _set(inst, enrollment, effect, now)
        case Go() | Wait() | Draft():
            pass  # the outbox asked, and carries these out on its own row


def _queue(inst: Installation, enrollment: Enrollment, effect: Queue, now: datetime) -> None:
    sequence = inst.library.sequences[enrollment.sequence]
    step = find(sequence, effect.step)
    assert step is not None
    contact = recipient_of(inst, enrollment, sequence, step)
    added = inst.store.add_outbox(
        OutboxMessage(
            id=inst.store.new_id(),
            enrollment=enrollment.id,
            step=effect.step,
            visit=effect.visit,
            attempt=effect.attempt,
            mailbox=enrollment.rep,
            contact=contact.id if contact else "",
            recipient=contact.email if contact else enrollment.rep,
            state=OutboxState.DRAFT if effect.draft else OutboxState.QUEUED,
            due_at=min(effect.due_at, now),
            not_before=now,
            follow_up=bool(contact and inst.store.knows(contact.id, enrollment.rep)),
        )
    )
    if not added:
        _crossed(inst, enrollment, effect, now)


def _crossed(inst: Installation, enrollment: Enrollment, email: Queue, now: datetime) -> None:
    """That very email had begun to leave before something led back to it: what became of it since is its result. One that is
    still on its way, or in doubt, tells it later."""
    wanted = (email.step, email.visit, email.attempt)
    rows = [m for m in inst.store.outbox_of(enrollment.id) if (m.step, m.visit, m.attempt) == wanted]
    states = {m.state for m in rows}
    if OutboxState.SENT in states:
        happen(inst, enrollment.id, Done(email.step, now, emailed=True), now)
    elif OutboxState.REFUSED in states:
        happen(inst, enrollment.id, Heard((Event.SOFT_BOUNCED,), step=email.step), now)


def tell(inst: Installation, enrollment: Enrollment, now: datetime, kind: str, text: str, message: str = "") -> None:
    inst.store.tell(now, kind, f"{enrollment.sequence}: {text}", enrollment.contact, enrollment.id, message)


def _add_task(inst: Installation, enrollment: Enrollment, effect: AddTask, now: datetime, message: str) -> None:
    for person in effect.people or (None,):
        more = {"note": effect.note, **({"prospect": asdict(person)} if person else {})}
        title, text = _task_words(inst, enrollment, effect.template, more, now)
        inst.store.add_task(
            Task(
                id="",
                kind=effect.template,
                rep=enrollment.rep,
                contact=enrollment.contact,
                enrollment=enrollment.id,
                title=title,
                text=text,
                created_at=now,
                urgent=effect.urgent,
                step=effect.step,
                message=message,
                note=effect.note,
            )
        )


def _task_words(
    inst: Installation, enrollment: Enrollment, template: str, more: Mapping[str, Any], now: datetime
) -> tuple[str, str]:
    """A task is never lost over its wording: where its template fails, it says what it is in plain words."""
    if inst.library.templates.has(template):
        try:
            said = words(inst, enrollment, template, now, more)
        except (RenderError, UserError):
            pass
        else:
            return said.subject, said.text
    contact = inst.store.contact(enrollment.contact)
    who = contact.name or contact.email if contact else "somebody"
    return PLAIN_TASKS.get(template, "{sequence}: " + template + " for {who}").format(
        who=who, sequence=enrollment.sequence
    ), str(more.get("note", ""))


# --- what spreads ----------------------------------------------------------------------------------------------------


def launch(
    inst: Installation,
    parent: Enrollment,
    start: Start,
    prospect: Person | None,
    cause: str,
    now: datetime,
    by: str = "",
) -> Enrollment | None:
    """A sequence started by another, or by a trigger (`by` names it, and `parent` says only for whom: it is never kept).

    What it lacks becomes the task `complete`; one that runs already is left alone."""
    sequence = inst.library.sequences.get(start.sequence)
    if sequence is None:
        _add_task(inst, parent, AddTask("complete", note=f"there is no sequence {start.sequence}"), now, cause)
        return None
    rep = inst.rep(parent.rep)
    given = {k: v for k, v in {**parent.variables, **start.values}.items() if k in sequence.needs}
    person = asdict(prospect) if prospect else parent.variables.get("prospect")
    if person and "prospect" in sequence.needs:
        given["prospect"] = person
    kept, faults = gather(sequence, given, rep.variables, inst.config.place(rep).zone)
    contact = _holder(inst, parent, sequence, person)
    if contact is None:
        faults.append(Refusal("missing", f"{sequence.key} needs an address", "add the prospect's address"))
    if len(inst.store.family(parent.root)) >= FAMILY_MAX:
        faults.append(Refusal("circle", f"{FAMILY_MAX} were started one by another", "mend what leads back"))
    if faults or contact is None:
        note = f"{sequence.key} was not started: " + "; ".join(map(str, faults))
        _add_task(inst, parent, AddTask("complete", people=(prospect,) if prospect else (), note=note), now, cause)
        _not_started(inst, parent, by, note, cause, now)
        return None
    return _begin_child(inst, parent, sequence, start, contact, kept, cause, now, by)


def _not_started(inst: Installation, parent: Enrollment, by: str, note: str, cause: str, now: datetime) -> None:
    inst.store.tell(now, "not_started", f"{by or parent.sequence}: {note}", parent.contact, parent.id, cause)


def _holder(inst: Installation, parent: Enrollment, sequence: Sequence, prospect: Any) -> Contact | None:
    """The person who holds the sequence's `to:` role."""
    if sequence.to != "prospect":
        return inst.store.contact(parent.client)
    if not prospect or not prospect.get("email"):
        return None
    names = {k: prospect.get(k, "") for k in ("name", "first_name", "company", "title")}
    known = inst.store.contact_at(prospect["email"])
    return known or known_or_new(inst, prospect["email"].lower(), parent.rep, names)


def _begin_child(
    inst: Installation,
    parent: Enrollment,
    sequence: Sequence,
    start: Start,
    contact: Contact,
    kept: Mapping[str, Any],
    cause: str,
    now: datetime,
    by: str,
) -> Enrollment | None:
    place = inst.place(contact, parent.rep)
    after = inst.config.rest if start.rest else start.after
    at = inst.config.calendar.add(now, after, place) if after else now
    id = _child_id(inst, parent, sequence, contact, kept.get("prospect"))
    message = inst.store.inbound_message(cause) if cause else None
    threads = {"inherit": parent.thread, "answer": message.thread if message else ""}
    child = Enrollment(
        id=id,
        sequence=sequence.key,
        version=inst.library.version,
        contact=contact.id,
        client=parent.client,
        rep=parent.rep,
        root=parent.root or id,
        begun_at=at,
        start_at=at,
        state=State.WAITING,
        variables=kept,
        due_at=at,
        next_at=at,
        parent=parent.id,
        cause="" if after else cause,
        referral=referral_id(inst, parent, kept.get("prospect")),
        thread=threads.get(sequence.thread) or id,
        reason=f"starts after {after.text}" if after else "",
    )
    if not inst.store.add_enrollment(child):
        _not_started(inst, parent, by, f"{sequence.key} was not started: it runs already for that", cause, now)
        return None
    said = f"started by {by or parent.sequence}" + (f", after {after.text}" if after else "")
    tell(inst, child, now, "started", said, cause)
    if not after:
        begin(inst, child, now, cause)
    return child


def _child_id(inst: Installation, parent: Enrollment, sequence: Sequence, contact: Contact, prospect: Any) -> str:
    """A function of what it is and how many there were before it: where a backup was restored and an answer is heard again, what
    it starts has the same id, and its emails the same Message-IDs as those that went out."""
    key = prospect_key(prospect)
    before = [
        e
        for e in inst.store.enrollments_of(contact.id)
        if e.sequence == sequence.key and prospect_key(e.variables.get("prospect")) == key
    ]
    what = [parent.root, contact.email, sequence.key, key, len(before)]
    return hmac.digest(inst.key, json.dumps(["enrollment", *what]).encode(), "sha256").hex()[:ID_DIGITS]


def referral_id(inst: Installation, parent: Enrollment, prospect: Any) -> str:
    person = person_of(prospect)
    own = [r.id for r in inst.store.referrals_by(parent.client) if same_prospect(r.prospect, person)]
    return own[0] if own else parent.referral


def others(inst: Installation, contact: str, but: str = "") -> list[Enrollment]:
    return [e for e in inst.store.enrollments_of(contact) if e.id != but and e.state is not State.STOPPED]


def lock_person(inst: Installation, contact: str) -> None:
    """Until the transaction ends, an answer of this person that is being read elsewhere waits; or it is here already."""
    waiting = {row.enrollment for row in inst.store.open_inbound_of(contact)}
    for id in sorted({e.id for e in others(inst, contact)} | waiting):
        inst.store.enrollment(id, lock=True)


def hold_for_answers(inst: Installation, contact: str, now: datetime) -> None:
    """While another answer of this person waits for a look, nothing goes on."""
    if inst.store.open_inbound_of(contact):
        for other in others(inst, contact):
            if other.state in (State.WAITING, State.ACTIVE):
                happen(inst, other.id, Held(ANSWER_WAITS), now)


def _writer(inst: Installation, enrollment: Enrollment, message: str) -> str:
    """Whose answer it is that an enrollment hears: a step may have written to another than the person whose enrollment it is."""
    row = inst.store.inbound_message(message) if message else None
    return row.contact if row and row.contact and row.enrollment == enrollment.id else enrollment.contact


def _writers(inst: Installation, enrollment: Enrollment) -> set[str]:
    waiting = {row.contact for row in inst.store.open_inbound() if row.enrollment == enrollment.id}
    return waiting | {enrollment.contact}


def _hold_others(
    inst: Installation, person: str, enrollment: str, why: str, until: datetime | None, now: datetime
) -> None:
    if until is not None:
        inst.store.hold_contact(person, until, why)
    for other in others(inst, person, but=enrollment):
        if other.state is not State.LISTENING or until is not None:
            happen(inst, other.id, Held(why, until), now)


def free(inst: Installation, contact: str, enrollment: str, now: datetime) -> None:
    """An answer that an enrollment waited with is settled: it leaves the lists, and what was held for it goes on, unless
    another answer of this person still waits."""
    inst.store.settle_inbound(contact, enrollment, now)
    inst.store.finish_tasks(enrollment, "triage", now, "settled")
    if inst.store.open_inbound_of(contact):
        return
    for listed in others(inst, contact):
        # An answer that another daemon has read may have paused it by now.
        other = inst.store.enrollment(listed.id, lock=True)
        if other and other.state is State.HELD and other.next_at is None:
            happen(inst, other.id, Released("the answer is settled: goes on"), now)


def suppress(inst: Installation, contact: str, reason: str, now: datetime, message: str = "") -> None:
    """Final: the person's addresses are never mailed again and everything that runs for them stops."""
    person = inst.store.contact(contact)
    if person is None:
        return
    for address in (person.email, *person.aliases):
        inst.store.suppress(address, reason, now, message)
    inst.store.tell(now, "suppressed", f"{person.email} is suppressed: {reason}", contact, message=message)
    for other in others(inst, contact):
        happen(inst, other.id, Stopped(reason), now, message)


def _set(inst: Installation, enrollment: Enrollment, effect: SetValue, now: datetime) -> None:
    if effect.name == "value":
        client = inst.store.contact(enrollment.client)
        if client and effect.value == "confirmed":
            inst.store.confirm(client.id, now)
            tell(inst, enrollment, now, "value", "value confirmed", effect.message)
        return
    people = effect.people or tuple(Person(**p) for p in [enrollment.variables.get("prospect")] if p)
    for person in people:
        set_referral(inst, enrollment, person, effect.value, effect.message, now)


def set_referral(
    inst: Installation, enrollment: Enrollment, prospect: Person, state: str, proof: str, now: datetime
) -> Referral:
    """The referral record of that prospect, made if it is new; every date is set once, with what proves it. `introduced` is a
    date, not a state."""
    learned = ("introduction" if state == "introduced" else "reply") if proof else "rep"
    at = _arrived(inst, proof, now)
    fresh = Referral(
        id=inst.store.new_id(), client=enrollment.client, rep=enrollment.rep, prospect=prospect, state="named",
        named_at=at, source=learned, proof=proof,
    )  # fmt: skip
    same = next((r for r in inst.store.referrals_by(fresh.client) if same_prospect(r.prospect, prospect)), None)
    known = inst.store.referral(same.id, lock=True) if same else None
    referral = _completed(inst, known, prospect) if known else inst.store.add_referral(fresh)
    date = f"{state}_at"
    if state != "named" and getattr(referral, date) is None:
        state_now = referral.state if state == "introduced" else state
        dated: dict[str, Any] = {date: at}
        referral = replace(referral, state=state_now, **dated)
        inst.store.save_referral(referral)
        log_referral(inst, referral, state, at, message=proof)
    elif known is None:
        log_referral(inst, referral, "named", at, message=proof)
    tell(inst, enrollment, now, "referral", f"{prospect.name or prospect.email}: {state}", proof)
    # What we sent ourselves caused nothing: whatever is started by it answers nobody.
    referral_changed(inst, referral, state, "" if state == "contacted" else proof, now)
    return referral


def _arrived(inst: Installation, proof: str, now: datetime) -> datetime:
    """When a message reached the mailbox; now, where nobody knows, or it is no message that came in."""
    row = inst.store.inbound_message(proof) if proof else None
    return (row and row.arrived_at) or now


def answered(inst: Installation, address: str, now: datetime, proof: str = "") -> None:
    """Whoever has this address has heard from the rep: the clock of every introduction to them stops. `proof` is the message.
    What was written before the introduction came is no answer to it, whenever it is read."""
    at = _arrived(inst, proof, now)
    for listed in inst.store.referrals_to(Person(email=address)):
        referral = inst.store.referral(listed.id, lock=True)
        if referral is None or not referral.waits:
            continue
        assert referral.introduced_at is not None, "it waits"
        if at < referral.introduced_at:
            continue
        if referral.contacted_at is None and referral.state == "named":
            seat = Enrollment(
                id="", sequence="mail", version="", contact=referral.client, client=referral.client, rep=referral.rep,
                root="", begun_at=now, start_at=now,
            )  # fmt: skip
            referral = set_referral(inst, seat, referral.prospect, "contacted", proof, now)
        inst.store.save_referral(replace(referral, answered_at=at))
        tick_off(inst, referral, ANSWERED_TASKS, "answered", now)
        who, after = referral.prospect.name or address, length_text(at - (referral.introduced_at or at))
        inst.store.tell(now, "referral", f"{who}: answered, {after} after the introduction", referral.client)


#: Tasks of the sequences that ship which have no point any more once the prospect was answered, or was met, won or lost.
ANSWERED_TASKS = ("thank_you/answer_prospect",)
MET_TASKS = (*ANSWERED_TASKS, "thank_you/progress", "prospect_outreach/answered", "prospect_outreach/book_call")


def tick_off(inst: Installation, referral: Referral, tasks: Iterable[str], note: str, now: datetime) -> None:
    """What the rep has done without ticking it off leaves the list."""
    for enrollment in inst.store.enrollments_about(referral.prospect):
        for task in tasks if enrollment.client == referral.client else ():
            inst.store.finish_tasks(enrollment.id, task, now, note)


def _completed(inst: Installation, known: Referral, prospect: Person) -> Referral:
    """Whoever was named without an address or a company is the same when they are introduced with one."""
    given = asdict(prospect)
    whole = replace(known.prospect, **{name: given[name] for name, was in asdict(known.prospect).items() if not was})
    if whole == known.prospect:
        return known
    completed = replace(known, prospect=whole)
    inst.store.save_referral(completed)
    return completed


def log_referral(
    inst: Installation, referral: Referral, what: str, now: datetime, text: str = "", message: str = ""
) -> None:
    """One more line of what happened to it."""
    inst.store.add_referral_line(ReferralLine("", referral.id, now, what, text, message))


def referral_changed(inst: Installation, referral: Referral, state: str, proof: str, now: datetime) -> None:
    """Every change of a referral is a moment, once for each state; the triggers that listen for it act on it afterwards."""
    inst.store.add_moment(
        Moment(
            "", referral.client, state, {}, now, f"referral {referral.id} {state}", referral=referral.id, message=proof
        )
    )
