"""The only place where an enrollment's state changes. `decide` takes a sequence, an enrollment and what happened, and answers
with the enrollment as it is from then on and what must be done about it; it touches nothing and reads no clock. Whatever
it cannot be sure of it gives to the rep: it never sends on a guess."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

from engine.core.calendar import Moved, skipped
from engine.core.happening import (
    AddTask,
    Approved,
    Begun,
    Changed,
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
    Leaving,
    Paused,
    Queue,
    Released,
    SetValue,
    Stopped,
    Suppress,
    Wait,
    Withdraw,
)
from engine.core.model import HUMAN, Enrollment, Event, State
from engine.core.sequence import At, Duration, Handler, Sequence, Step
from engine.core.words import stands

#: What may follow what. The picture in the docs is drawn from this table.
MOVES: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.WAITING, State.ACTIVE, State.HELD, State.PAUSED, State.STOPPED}),
    State.ACTIVE: frozenset({State.ACTIVE, State.HELD, State.PAUSED, State.LISTENING, State.STOPPED}),
    State.HELD: frozenset(State),
    State.PAUSED: frozenset(State),
    State.LISTENING: frozenset({State.LISTENING, State.ACTIVE, State.HELD, State.PAUSED, State.STOPPED}),
    State.STOPPED: frozenset(),
}
RUNNING = frozenset({State.WAITING, State.ACTIVE, State.HELD, State.PAUSED})

DRAFT_PATIENCE = timedelta(hours=24)
SOFT_BOUNCE_TRIES = 2
SOFT_BOUNCE_WAIT = Duration(days=1, text="1 day")
ABSENCE_WITHOUT_DATE = Duration(business_days=3, text="3 business days")
REP_WROTE_HOLD = Duration(business_days=3, text="3 business days")
#: So often may one step be reached; beyond it, a handler answers a machine, or the end leads back to the beginning.
VISITS_MAX = 20
WAITING_FOR_REP = "waiting_for_rep"
ANSWER_WAITS = "an answer waits for a look"

#: Without a handler these act as a `reply`.
ACTS_AS_REPLY = frozenset({Event.INTRODUCED, Event.NAMED, Event.CONFIRMED, Event.DECLINED})
FINAL = frozenset({Event.UNSUBSCRIBED, Event.COMPLAINED, Event.BOUNCED})
UNHEARD = frozenset({Event.AUTO_REPLY, Event.DELAYED, Event.IGNORED})


def decide(sequence: Sequence, enrollment: Enrollment, happening: Happening, now: datetime, facts: Facts) -> Decision:
    """What follows from `happening` at `now` (UTC).

    Returns the enrollment with a higher revision where anything changed, the effects in the order in which they must be
    carried out, and the reason. Raises nothing for any enrollment that it returned itself."""
    if enrollment.state is State.STOPPED:
        return _after_the_end(sequence, enrollment, happening, now, facts)
    match happening:
        case Begun():
            begun = _to(enrollment, State.ACTIVE, start_at=now, done_at=now, reason="")
            return _next(sequence, begun, None, now, facts, "begins")
        case Due():
            return _due(sequence, enrollment, now, facts)
        case Leaving():
            return _leaving(sequence, enrollment, happening, now, facts)
        case Approved():
            ours = enrollment.state is State.ACTIVE and enrollment.in_hand == "draft"
            gone = _to(enrollment, State.ACTIVE, in_hand="outbox", next_at=None) if ours else enrollment
            return Decision(gone, (), "")
        case Done():
            return _done(sequence, enrollment, happening, now, facts)
        case Heard():
            return _heard(sequence, enrollment, happening, now, facts)
        case Held(why, until):
            return _hold(enrollment, why, until, now)
        case Forbidden(why, until):
            said = "" if why == enrollment.reason else f"not yet: {why}"
            return Decision(_to(enrollment, enrollment.state, due_at=until, next_at=until, reason=why), (), said)
        case Released(why):
            return _release(sequence, enrollment, why, now, facts)
        case Paused(why):
            return Decision(_suspend(enrollment, State.PAUSED, why, None, now), (Withdraw(why),), why)
        case Failed(why):
            paused = _suspend(enrollment, State.PAUSED, why, None, now)
            return Decision(paused, (Withdraw(why), AddTask("failed", note=why)), why)
        case Stopped(outcome):
            return Decision(
                _stop(enrollment, outcome), (Withdraw(outcome), *_freed(enrollment)), stands("stopped", outcome)
            )
        case Changed(values, why):
            return _changed(sequence, enrollment, values, why, now, facts)


# --- states ----------------------------------------------------------------------------------------------------------


def _to(enrollment: Enrollment, state: State, **changes: Any) -> Enrollment:
    if state not in MOVES[enrollment.state]:
        raise AssertionError(f"enrollment {enrollment.id}: {enrollment.state} cannot become {state}")
    return replace(enrollment, state=state, revision=enrollment.revision + 1, **changes)


def _stop(enrollment: Enrollment, outcome: str) -> Enrollment:
    return _to(enrollment, State.STOPPED, outcome=outcome, next_at=None, suspended_at=None, in_hand="", reason="")


def _suspend(enrollment: Enrollment, state: State, why: str, until: datetime | None, now: datetime) -> Enrollment:
    """Its clock stands still; an email that has not begun to leave is withdrawn by the caller, a blocking task stays."""
    return _to(
        enrollment,
        state,
        suspended_at=enrollment.suspended_at or now,
        next_at=until,
        in_hand="task" if enrollment.in_hand == "task" else "",
        reason=why,
    )


def _hold(enrollment: Enrollment, why: str, until: datetime | None, now: datetime) -> Decision:
    if enrollment.state is State.PAUSED:
        return Decision(enrollment, (), f"{why}; it is paused already")
    if enrollment.state is State.HELD and not _longer(until, enrollment.next_at):
        return Decision(enrollment, (), f"{why}; it is held for longer already")
    return Decision(_suspend(enrollment, State.HELD, why, until, now), (Withdraw(why),), why)


def _longer(until: datetime | None, held_until: datetime | None) -> bool:
    return held_until is not None and (until is None or until > held_until)


def _release(sequence: Sequence, enrollment: Enrollment, why: str, now: datetime, facts: Facts) -> Decision:
    """The clock goes on: `start` and waits move by the length of the hold, other anchors stay."""
    if enrollment.suspended_at is None:
        return Decision(enrollment, (), "it is not held or paused")
    moved = _caught_up(enrollment, now)
    if not moved.step:
        state = State.LISTENING if moved.visits else State.WAITING
        return Decision(_to(moved, state, next_at=moved.due_at), _freed(enrollment), why)
    step = find(sequence, moved.step)
    if step is None:  # an edit removed it, and nobody waits for its task any more
        moved = replace(moved, in_hand="")
    if moved.in_hand == "task" or step is None or moved.tries:
        return Decision(
            _to(moved, State.ACTIVE, next_at=None if moved.in_hand else moved.due_at), _freed(enrollment), why
        )
    return Decision(_place(_to(moved, State.ACTIVE), sequence, step, now, facts), _freed(enrollment), why)


def _caught_up(enrollment: Enrollment, now: datetime) -> Enrollment:
    """Its clock goes on: what it counts from is moved by as long as it stood."""
    length = max(now - enrollment.suspended_at, timedelta(0)) if enrollment.suspended_at else timedelta(0)
    return replace(
        enrollment,
        suspended_at=None,
        start_at=enrollment.start_at + length,
        done_at=enrollment.done_at + length if enrollment.done_at else None,
        due_at=enrollment.due_at + length if enrollment.due_at else None,
        reason="",
    )


def _freed(enrollment: Enrollment) -> tuple[Effect, ...]:
    return (FreePerson(),) if enrollment.state is State.PAUSED else ()


# --- steps and their times -------------------------------------------------------------------------------------------


def find(sequence: Sequence, step: str | None) -> Step | None:
    """The step of that id, None when the sequence has none (it was removed by an edit)."""
    return next((s for s in sequence.steps if s.id == step), None)


def sends(step: Step) -> bool:
    return bool(step.email or step.variants)


def _following(sequence: Sequence, enrollment: Enrollment, step: str | None) -> Step | None:
    ids = [s.id for s in sequence.steps]
    if step in ids:
        rest = sequence.steps[ids.index(step) + 1 :]
    elif step is None:
        rest = sequence.steps
    else:  # removed by an edit: go on behind the last step that was reached and still exists
        reached = [i for i, s in enumerate(ids) if enrollment.visits.get(s)]
        rest = sequence.steps[max(reached, default=-1) + 1 :]
    # What was passed may stand ahead: an edit turned the order round, or an email went out again after a refusal.
    return next((s for s in rest if not s.aside and s.id not in enrollment.passed), None)


def _led_to(sequence: Sequence, enrollment: Enrollment, target: str) -> Enrollment:
    """A goto leads to `target`: it and what lies behind it comes anew; what lies before it stays passed."""
    ids = [s.id for s in sequence.steps]
    anew = ids[ids.index(target) :] if target in ids else ids
    return replace(enrollment, passed=tuple(s for s in enrollment.passed if s not in anew))


def _next(
    sequence: Sequence,
    enrollment: Enrollment,
    step: str | None,
    now: datetime,
    facts: Facts,
    why: str,
    *effects: Effect,
) -> Decision:
    """Goes on to the step behind `step` (None: the first), or listens when there is none."""
    return _arrive(sequence, enrollment, _following(sequence, enrollment, step), now, facts, why, *effects)


def _arrive(
    sequence: Sequence,
    enrollment: Enrollment,
    step: Step | None,
    now: datetime,
    facts: Facts,
    why: str,
    *effects: Effect,
) -> Decision:
    cleared = replace(enrollment, suspended_at=None, in_hand="", tries=0, reason="")
    if step is None:
        end = facts.calendar.add(now, sequence.listen, facts.place)
        return Decision(_to(cleared, State.LISTENING, step=None, due_at=end, next_at=end), effects, why)
    visits = {**cleared.visits, step.id: cleared.visits.get(step.id, 0) + 1}
    there = _to(cleared, State.ACTIVE, step=step.id, visits=visits, passed=(*cleared.passed, step.id))
    if visits[step.id] > VISITS_MAX:
        circle = f"{step.id} was reached {VISITS_MAX} times: it runs in a circle"
        return Decision(
            _suspend(there, State.PAUSED, circle, None, now), (*effects, AddTask("failed", note=circle)), circle
        )
    return Decision(_place(there, sequence, step, now, facts), effects, why)


def _place(enrollment: Enrollment, sequence: Sequence, step: Step, now: datetime, facts: Facts) -> Enrollment:
    """Sets the step's time. One that could only leave after its `until` is looked at now, so that nothing waits for it."""
    moved = _time(enrollment, sequence, step, now, facts)
    late = _latest(enrollment, sequence, step, facts)
    look = now if late and moved.at > late else moved.at
    return replace(enrollment, due_at=moved.at, next_at=max(look, now), reason="; ".join(moved.reasons))


def _time(enrollment: Enrollment, sequence: Sequence, step: Step, now: datetime, facts: Facts) -> Moved:
    done = enrollment.done_at or now
    if step.at:
        at = _instant(step.at, enrollment, sequence, step, facts) or now
        at = max(at, enrollment.begun_at) if step.at.anchor == "start" else at
    elif step.wait:
        at = facts.calendar.add(done, step.wait, facts.place)
    else:
        at = done
    if not sends(step) and (step.starts or not (step.at or step.wait)):
        return Moved(at, ())
    moved = facts.calendar.opening(_window(sequence, step), (facts.place,), at)
    gap = skipped(done, at, step.wait, facts.place.zone) if step.wait else ""
    return replace(moved, reasons=(*moved.reasons, gap)) if gap else moved


def _window(sequence: Sequence, step: Step) -> str:
    return step.window or sequence.window


def _instant(at: At, enrollment: Enrollment, sequence: Sequence, step: Step, facts: Facts) -> datetime | None:
    """An anchor with its offset; None when an optional anchor was not given."""
    anchor: date | datetime | None = enrollment.start_at if at.anchor == "start" else facts.anchors.get(at.anchor)
    if anchor is None:
        return None
    if not isinstance(anchor, datetime):
        anchor = facts.calendar.opens_on(_window(sequence, step), facts.place, anchor)
    return facts.calendar.add(anchor, at.offset, facts.place, at.sign)


def _latest(enrollment: Enrollment, sequence: Sequence, step: Step, facts: Facts) -> datetime | None:
    return _instant(step.until, enrollment, sequence, step, facts) if step.until else None


def _overdue(enrollment: Enrollment, now: datetime, facts: Facts) -> bool:
    return enrollment.due_at is not None and now > facts.calendar.add(enrollment.due_at, facts.late_after, facts.place)


# --- what time brings ------------------------------------------------------------------------------------------------


def is_due(enrollment: Enrollment, now: datetime) -> bool:
    return enrollment.next_at is not None and enrollment.next_at <= now


def _due(sequence: Sequence, enrollment: Enrollment, now: datetime, facts: Facts) -> Decision:
    if not is_due(enrollment, now):
        return Decision(enrollment, (), "")  # another daemon was faster, and it has another time by now, or none
    match enrollment.state:
        case State.WAITING:
            return decide(sequence, enrollment, Begun(), now, facts)
        case State.HELD:
            until = enrollment.next_at or now
            return _release(sequence, enrollment, f"goes on: {enrollment.reason} is over", until, facts)
        case State.LISTENING:
            return _heard(sequence, enrollment, Heard((Event.FINISHED,)), now, facts)
        case State.ACTIVE if enrollment.in_hand == "draft":
            waiting = _to(enrollment, State.ACTIVE, next_at=None)
            return Decision(waiting, (AddTask("draft_overdue", urgent=True),), "the draft has waited for 24 hours")
        case State.ACTIVE if not enrollment.in_hand:
            return _act(sequence, enrollment, now, facts)
    return Decision(enrollment, (), "")


def _act(sequence: Sequence, enrollment: Enrollment, now: datetime, facts: Facts) -> Decision:
    step = find(sequence, enrollment.step)
    if step is None:
        return _skip(sequence, enrollment, enrollment.step or "", now, facts, "was removed from the sequence")
    if why := _unwanted(sequence, enrollment, step, now, facts):
        return _skip(sequence, enrollment, step.id, now, facts, why)
    if sends(step):
        return _queue(enrollment, step, now, facts)
    if step.starts:
        return _step_done(sequence, enrollment, step, now, facts, *(Launch(s) for s in step.starts))
    assert step.task is not None
    if step.block:
        waiting = _to(enrollment, State.ACTIVE, in_hand="task", next_at=None)
        return Decision(waiting, (AddTask(step.task, step=step.id),), f"task {step.id}: waits until it is done")
    return _step_done(sequence, enrollment, step, now, facts, AddTask(step.task))


def _unwanted(sequence: Sequence, enrollment: Enrollment, step: Step, now: datetime, facts: Facts) -> str:
    """Why this step must be skipped, or nothing."""
    if step.condition and not facts.true(step.condition):
        return f"if: {step.condition} is false"
    if step.at and step.at.anchor not in facts.anchors and step.at.anchor != "start":
        return f"{step.at.anchor} was not given"
    latest = _latest(enrollment, sequence, step, facts)
    if latest and max(now, enrollment.due_at or now) > latest:
        return f"it would leave later than {step.until.text if step.until else ''}"
    if step.late == "skip" and _overdue(enrollment, now, facts):
        return f"it is overdue by more than {facts.late_after.text}"
    return ""


def _queue(enrollment: Enrollment, step: Step, now: datetime, facts: Facts) -> Decision:
    overdue = step.late == "ask" and _overdue(enrollment, now, facts)
    draft = step.approve or overdue
    queued = _to(
        enrollment,
        State.ACTIVE,
        in_hand="draft" if draft else "outbox",
        next_at=now + DRAFT_PATIENCE if draft else None,
    )
    email = Queue(step.id, enrollment.visits[step.id], enrollment.tries, enrollment.due_at or now, draft)
    why = "waits for approval" if step.approve else "overdue: the rep is asked" if overdue else "into the outbox"
    return Decision(queued, (email,), f"{step.id}: {why}")


#: What is told of a task that nobody waits for.
LISTED = "on the rep's list"


def _step_done(
    sequence: Sequence, enrollment: Enrollment, step: Step, now: datetime, facts: Facts, *effects: Effect
) -> Decision:
    why = f"{step.id}: " + (LISTED if step.task else "done")
    return _next(sequence, replace(enrollment, done_at=now), step.id, now, facts, why, *effects)


def _skip(
    sequence: Sequence, enrollment: Enrollment, step: str, now: datetime, facts: Facts, why: str, *effects: Effect
) -> Decision:
    return _next(sequence, replace(enrollment, done_at=now), step, now, facts, f"{step}: skipped: {why}", *effects)


def _leaving(sequence: Sequence, enrollment: Enrollment, leaving: Leaving, now: datetime, facts: Facts) -> Decision:
    step = find(sequence, enrollment.step)
    if enrollment.state is not State.ACTIVE or enrollment.in_hand not in ("outbox", "draft"):
        return Decision(enrollment, (Withdraw(f"the enrollment is {enrollment.state}"),), f"is {enrollment.state}")
    if step is None:
        gone = "was removed from the sequence"
        return _skip(sequence, enrollment, enrollment.step or "", now, facts, gone, Withdraw(gone))
    quiet_until, quiet_why = facts.quiet() or (now, "")
    moved = facts.calendar.opening(_window(sequence, step), (facts.place,), max(now, quiet_until))
    latest = _latest(enrollment, sequence, step, facts)
    if latest and moved.at > latest:
        why = f"it would leave later than {step.until.text if step.until else ''}"
        return _skip(sequence, enrollment, step.id, now, facts, why, Withdraw(why))
    if leaving.reworded:
        asked = _to(enrollment, State.ACTIVE, in_hand="draft", next_at=now + DRAFT_PATIENCE)
        return Decision(asked, (Draft(leaving.reworded),), f"{step.id}: {leaving.reworded}: the rep is asked again")
    if not leaving.approved and (step.approve or (step.late != "send" and _overdue(enrollment, now, facts))):
        why = "waits for approval" if step.approve else f"overdue by more than {facts.late_after.text}"
        if step.late == "skip" and not step.approve:
            return _skip(sequence, enrollment, step.id, now, facts, why, Withdraw(why))
        asked = _to(enrollment, State.ACTIVE, in_hand="draft", next_at=now + DRAFT_PATIENCE)
        return Decision(asked, (Draft(why),), f"{step.id}: {why}: the rep is asked")
    if moved.at > now:
        why = "; ".join(filter(None, (quiet_why if quiet_until > now else "", *moved.reasons)))
        return Decision(enrollment, (Wait(moved.at, why),), why)
    return Decision(enrollment, (Go(),), "may go")


def _done(sequence: Sequence, enrollment: Enrollment, done: Done, now: datetime, facts: Facts) -> Decision:
    if enrollment.step != done.step:
        return Decision(enrollment, (), f"{done.step}: done after the enrollment had moved on (crossed)")
    heard_by = replace(enrollment, done_at=done.at)
    if done.emailed:
        heard_by = replace(heard_by, answered=done.step, cause="")
    why = f"{done.step}: " + ("skipped" if done.skipped else "sent" if done.emailed else "done")
    if enrollment.suspended_at is None:
        return _next(sequence, heard_by, done.step, now, facts, why)
    # It crossed an answer, or a task was done during a hold: the clock goes on standing, at the next step.
    ahead = _next(sequence, _to(heard_by, State.ACTIVE), done.step, now, facts, f"{why} (crossed)")
    still = _to(
        ahead.enrollment,
        enrollment.state,
        suspended_at=now,
        next_at=enrollment.next_at,
        reason=enrollment.reason,
    )
    return replace(ahead, enrollment=still)


def _changed(
    sequence: Sequence, enrollment: Enrollment, values: Mapping[str, Any], why: str, now: datetime, facts: Facts
) -> Decision:
    """New variables (`facts` holds the anchors that follow from them) or an edited sequence."""
    changed = _to(enrollment, enrollment.state, variables={**enrollment.variables, **values})
    step = find(sequence, enrollment.step)
    if enrollment.state is not State.ACTIVE:
        return Decision(changed, (), why)
    if step is None:
        if enrollment.in_hand == "outbox":  # it asks before it lets anything leave
            return Decision(changed, (), why)
        gone = "was removed from the sequence"
        return _skip(sequence, changed, enrollment.step or "", now, facts, gone, Withdraw(gone))
    fits = _fits(enrollment, step)
    if fits and (enrollment.in_hand == "task" or enrollment.tries):
        return Decision(changed, (), why)
    placed = _place(changed, sequence, step, now, facts)
    if not enrollment.in_hand:
        return Decision(placed, (), why)
    if fits and placed.due_at == enrollment.due_at and not values:
        return Decision(changed, (), why)
    return Decision(replace(placed, in_hand=""), (Withdraw(why),), why)


def _fits(enrollment: Enrollment, step: Step) -> bool:
    """Whether what is in hand is what the step, as it is now, puts there."""
    match enrollment.in_hand:
        case "task":
            return step.task is not None and step.block
        case "outbox" | "draft":
            return sends(step)
    return True


# --- what comes back -------------------------------------------------------------------------------------------------


def _heard(sequence: Sequence, enrollment: Enrollment, heard: Heard, now: datetime, facts: Facts) -> Decision:
    """The most specific event that has a handler or a default acts; the final ones suppress beside any handler."""
    told = _told(heard)
    event, handler = _handler(sequence, enrollment, heard.events)
    if event in UNHEARD:
        return Decision(enrollment, told, f"{event}: nothing changes")
    if event in FINAL:
        return _final(sequence, enrollment, event, handler, heard, now, facts)
    if handler is not None:
        return _handle(sequence, enrollment, event, handler, heard, now, facts)
    match event:
        case Event.OUT_OF_OFFICE:
            until = _back(sequence, heard.until, now, facts)
            why = _away(heard.until)
            own = _hold(enrollment, why, until, now)
            return replace(own, effects=(*own.effects, HoldPerson(why, until), *told))
        case Event.REP_WROTE:
            until = facts.calendar.add(now, REP_WROTE_HOLD, facts.place)
            return _hold(enrollment, "the rep wrote by hand", until, now)
        case Event.SOFT_BOUNCED:
            return _soft_bounced(sequence, enrollment, heard, now, facts)
        case Event.FINISHED:
            return Decision(_stop(enrollment, "finished"), (), "stopped: finished")
    paused = _suspend(enrollment, State.PAUSED, WAITING_FOR_REP, None, now)
    effects = (
        Withdraw(f"{event} arrived"),
        AddTask("triage", note=heard.note),
        HoldPerson(ANSWER_WAITS),
    )
    return Decision(paused, effects, f"{event}: {stands('paused', WAITING_FOR_REP)}")


def _told(heard: Heard) -> tuple[Effect, ...]:
    """ "Has left", "new address", a return date out of range: a note of the reading becomes a task."""
    return (AddTask("triage", note=heard.note),) if heard.note else ()


def _handler(sequence: Sequence, enrollment: Enrollment, events: tuple[Event, ...]) -> tuple[Event, Handler | None]:
    for event in events:
        handler = handler_for(sequence, enrollment, event)
        if handler or event not in ACTS_AS_REPLY:
            return event, handler
    return Event.REPLY, handler_for(sequence, enrollment, Event.REPLY)


def handler_for(sequence: Sequence, enrollment: Enrollment, event: Event) -> Handler | None:
    """The handler of this very event: that of the step whose email it answers, else the sequence's."""
    step = find(sequence, enrollment.answered)
    return (step.when.get(event) if step else None) or sequence.when.get(event)


def _away(until: date | None) -> str:
    return f"away until {until.isoformat()}" if until else "away, no date given: 3 business days"


def _back(sequence: Sequence, until: date | None, now: datetime, facts: Facts) -> datetime:
    """The window's opening on the first working day back, in the recipient's zone."""
    if until is None:
        return facts.calendar.add(now, ABSENCE_WITHOUT_DATE, facts.place)
    day = facts.calendar.next_working_day(until, facts.place)
    return max(now, facts.calendar.opens_on(sequence.window, facts.place, day))


def _final(
    sequence: Sequence,
    enrollment: Enrollment,
    event: Event,
    handler: Handler | None,
    heard: Heard,
    now: datetime,
    facts: Facts,
) -> Decision:
    outcome = handler.stop if handler and handler.stop else str(event)
    effects = _beside(handler, heard) if handler else ()
    stopped = _stop(enrollment, outcome)
    every: tuple[Effect, ...] = (Withdraw(str(event)), Suppress(str(event)), *effects, *_freed(enrollment))
    return Decision(stopped, every, f"{event}: {stands('stopped', outcome)}; the address is suppressed")


def _beside(handler: Handler, heard: Heard) -> tuple[Effect, ...]:
    values = tuple(SetValue(name, value, heard.people, heard.message) for name, value in handler.set.items())
    tasks = (AddTask(handler.task, people=heard.people, note=heard.note),) if handler.task else ()
    return (*values, *tasks, *(Launch(start, heard.people, heard.message) for start in handler.starts))


def _handle(
    sequence: Sequence,
    enrollment: Enrollment,
    event: Event,
    handler: Handler,
    heard: Heard,
    now: datetime,
    facts: Facts,
) -> Decision:
    beside = _beside(handler, heard)
    if handler.stop:
        effects = (Withdraw(f"{event} arrived"), *beside, *_freed(enrollment))
        return Decision(_stop(enrollment, handler.stop), effects, f"{event}: {stands('stopped', handler.stop)}")
    if handler.pause:
        paused = _suspend(enrollment, State.PAUSED, handler.pause, None, now)
        held = (HoldPerson(ANSWER_WAITS),) if event in HUMAN else ()
        return Decision(
            paused, (Withdraw(f"{event} arrived"), *beside, *held), f"{event}: {stands('paused', handler.pause)}"
        )
    if handler.hold:
        own = _hold(enrollment, str(event), facts.calendar.add(now, handler.hold, facts.place), now)
        return replace(own, effects=(*own.effects, *beside), why=f"{event}: held for {handler.hold.text}")
    if handler.goto:
        target = find(sequence, handler.goto)
        effects = (Withdraw(f"{event} arrived"), *beside, *_freed(enrollment))
        caught_up = replace(_caught_up(enrollment, now), done_at=now, cause=heard.message)
        here = _led_to(sequence, caught_up, handler.goto)
        return _arrive(sequence, here, target, now, facts, f"{event}: goes to {handler.goto}", *effects)
    # An answer withdraws what had been queued before it, but a sequence that is told to go on has handled it: it stays.
    return Decision(enrollment, beside, f"{event}: continues")


def _soft_bounced(sequence: Sequence, enrollment: Enrollment, heard: Heard, now: datetime, facts: Facts) -> Decision:
    """That email again after a day, twice; then the rep. A refusal of an older email than the last changes nothing."""
    ours = enrollment.in_hand == "outbox" and heard.step in ("", enrollment.step)
    last = enrollment.step if ours or enrollment.tries else enrollment.answered
    step = find(sequence, last)
    if step is None or (heard.step and heard.step != last):
        return Decision(enrollment, (), "soft_bounced: an older email; nothing changes")
    tries = max(facts.refused(step.id, enrollment.visits.get(step.id, 0)), enrollment.tries, 1)
    if enrollment.suspended_at is not None or tries > SOFT_BOUNCE_TRIES:
        paused = _suspend(enrollment, State.PAUSED, "soft_bounced", None, now)
        paused = replace(paused, tries=tries if paused.step == step.id else paused.tries)
        effects = (Withdraw("soft_bounced"), AddTask("triage", note=f"{last} was refused {tries} times"))
        return Decision(paused, effects, f"soft_bounced: paused after {tries} refusals")
    tomorrow = facts.calendar.add(now, SOFT_BOUNCE_WAIT, facts.place)
    again = facts.calendar.opening(_window(sequence, step), (facts.place,), tomorrow).at
    back = _back_to(enrollment, step.id, again, now)
    retried = _to(back, State.ACTIVE, tries=tries, in_hand="", due_at=again, next_at=again, reason="soft_bounced")
    return Decision(retried, (Withdraw("soft_bounced"),), f"soft_bounced: {last} is tried again in a day")


def _back_to(enrollment: Enrollment, step: str, again: datetime, now: datetime) -> Enrollment:
    """At an email that is tried again: what was reached since counts as not reached, and `start` moves by the time lost."""
    onward = enrollment.step not in (None, step)
    lost = again - ((enrollment.done_at if enrollment.step != step else enrollment.due_at) or now)
    visits = {s: n - (onward and s == enrollment.step) for s, n in enrollment.visits.items()}
    passed = tuple(s for s in enrollment.passed if not (onward and s == enrollment.step))
    return replace(
        enrollment, step=step, visits=visits, passed=passed, start_at=enrollment.start_at + max(lost, timedelta(0))
    )


def _after_the_end(
    sequence: Sequence, enrollment: Enrollment, happening: Happening, now: datetime, facts: Facts
) -> Decision:
    """An event for an ended one sends nothing: it is recorded, holds what else runs for the person, and asks the rep."""
    match happening:
        case Heard(events=(Event.OUT_OF_OFFICE, *_), until=until):
            why = _away(until)
            return Decision(enrollment, (HoldPerson(why, _back(sequence, until, now, facts)),), why)
        case Heard(events=events, note=note) if HUMAN & set(events):
            final = tuple(Suppress(str(e)) for e in events if e in FINAL)
            held = () if final else (HoldPerson(ANSWER_WAITS),)
            task = AddTask("triage", note=note)
            return Decision(enrollment, (*final, task, *held), f"{events[0]}: the enrollment had ended")
        case Heard(events=events) if FINAL & set(events):
            return Decision(enrollment, (Suppress(str(events[0])),), f"{events[0]}: the enrollment had ended")
        case Leaving():
            return Decision(enrollment, (Withdraw("the enrollment has ended"),), "the enrollment has ended")
        case Done(step=step):
            return Decision(enrollment, (), f"{step}: sent after the enrollment had ended (crossed)")
    return Decision(enrollment, (), "the enrollment has ended")
