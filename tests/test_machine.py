"""Sentences over `decide`: what every happening does to an enrollment, and properties that hold whatever happens to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.calendar import Calendar, Place, parse_window
from engine.core.happening import (
    AddTask,
    Approved,
    Begun,
    Changed,
    Decision,
    Done,
    Draft,
    Due,
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
from engine.core.machine import MOVES, decide
from engine.core.model import Enrollment, Event, Person, State
from engine.core.sequence import Sequence, parse_sequence

CALENDAR = Calendar(
    {"business_hours": parse_window({"days": "mon-fri", "from": "09:00", "to": "17:00"}, "business_hours")}
)
MONDAY = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
BARRY = Person("Barry Jones", "barry@northwind.example", "Northwind")


def days(number: float) -> timedelta:
    return timedelta(days=number)


def parsed(text: str) -> Sequence:
    sequence, problems = parse_sequence("sequences/s.yaml", "name: S\nkind: touch\nto: client\n" + text)
    assert sequence is not None, problems
    return sequence


class Walk:
    """One enrollment and what is decided about it: `effects` and `why` are those of the last decision."""

    def __init__(self, text: str, begin: datetime = MONDAY, **facts: Any) -> None:
        self.sequence = parsed(text)
        self.known = Facts(CALENDAR, Place("UTC"), lambda source: source == "yes", **facts)
        self.now = begin
        self.it = Enrollment("e1", "s", "v1", "c1", "c1", "rep@x.example", "e1", begin, begin)
        self.last = Decision(self.it)
        self.then(Begun())

    def then(self, happening: Happening, at: datetime | None = None) -> Walk:
        self.now = at or self.now
        self.last = decide(self.sequence, self.it, happening, self.now, self.known)
        self.it = self.last.enrollment
        return self

    def due(self) -> Walk:
        """Its time comes."""
        assert self.it.next_at is not None, f"nothing will be due: {self.it}"
        return self.then(Due(), max(self.now, self.it.next_at))

    def sent(self) -> Walk:
        """The step's email is due, and goes out."""
        self.due()
        assert self.first(Queue), self.last
        return self.then(Done(self.it.step or "", self.now, emailed=True))

    def hears(self, *events: Event, after: timedelta = timedelta(0), **more: Any) -> Walk:
        return self.then(Heard(events, **more), self.now + after)

    def all(self, kind: type[Any]) -> list[Any]:
        return [effect for effect in self.last.effects if isinstance(effect, kind)]

    def first(self, kind: type[Any]) -> Any:
        return next(iter(self.all(kind)), None)

    @property
    def place(self) -> tuple[State, str | None]:
        return self.it.state, self.it.step


ONE = "steps:\n  - {id: a, email: t}\n"
TWO = "steps:\n  - {id: a, email: t}\n  - {id: b, wait: 3 days, email: t}\n"
COUNTED = "steps:\n  - {id: a, email: t}\n  - {id: b, at: start + 1 week, email: t}\n"


# --- beginning, and the times of steps -------------------------------------------------------------------------------


def test_it_begins_at_its_first_step_and_that_is_due_at_once() -> None:
    walk = Walk(ONE)
    assert walk.place == (State.ACTIVE, "a")
    assert walk.it.next_at == MONDAY
    assert walk.due().first(Queue) == Queue("a", 1, 0, MONDAY)
    assert (walk.it.in_hand, walk.it.next_at) == ("outbox", None)


def test_an_email_outside_its_window_waits_for_the_opening_and_says_from_where_it_was_moved() -> None:
    saturday = datetime(2026, 3, 7, 10, tzinfo=UTC)
    walk = Walk(ONE, saturday)
    assert walk.it.next_at == datetime(2026, 3, 9, 9, tzinfo=UTC)
    assert walk.it.reason == "Sat 10:00: window business_hours closed"


def test_a_task_without_a_time_is_given_at_any_hour() -> None:
    saturday = datetime(2026, 3, 7, 10, tzinfo=UTC)
    walk = Walk("steps:\n  - {id: a, task: t}\n  - {id: b, email: t}\n", saturday).due()
    assert walk.now == saturday
    assert walk.first(AddTask) == AddTask("t")
    assert walk.place == (State.ACTIVE, "b")


def test_a_wait_counts_from_when_the_step_before_was_done() -> None:
    walk = Walk(TWO).due().then(Done("a", MONDAY + days(1), emailed=True), MONDAY + days(1))
    assert walk.place == (State.ACTIVE, "b")
    assert walk.it.next_at == datetime(2026, 3, 6, 9, 30, tzinfo=UTC)
    assert walk.it.answered == "a"


def test_an_anchor_counts_from_the_start_whenever_the_step_before_was_done() -> None:
    walk = Walk(COUNTED).due().then(Done("a", MONDAY + days(1), emailed=True), MONDAY + days(1))
    assert walk.it.next_at == MONDAY + days(7)


def test_a_date_counts_from_the_opening_of_the_window() -> None:
    text = "needs: {day: date}\nsteps:\n  - {id: a, at: day - 1 day, email: t}\n"
    walk = Walk(text, anchors={"day": date(2026, 3, 12)})
    assert walk.it.next_at == datetime(2026, 3, 11, 9, tzinfo=UTC)


def test_an_anchor_that_was_not_given_skips_the_step() -> None:
    walk = Walk("needs: {day: optional date}\nsteps:\n  - {id: a, at: day, email: t}\n  - {id: b, email: t}\n").due()
    assert walk.place == (State.ACTIVE, "b")
    assert walk.last.why == "a: skipped: day was not given"


def test_a_false_condition_skips_and_a_true_one_does_not() -> None:
    walk = Walk('steps:\n  - {id: a, if: "no", email: t}\n  - {id: b, if: "yes", email: t}\n').due()
    assert walk.last.why == "a: skipped: if: no is false"
    assert walk.due().first(Queue).step == "b"


def test_what_would_leave_later_than_its_until_is_skipped_at_once() -> None:
    call = MONDAY + timedelta(hours=1)
    text = "needs: {call: datetime}\nsteps:\n  - {id: a, wait: 3 days, until: call, email: t}\n  - {id: b, email: t}\n"
    walk = Walk(text, anchors={"call": call})
    assert walk.it.next_at == MONDAY
    assert walk.due().last.why == "a: skipped: it would leave later than call"
    assert walk.place == (State.ACTIVE, "b")


def test_a_start_passes_on_and_goes_on() -> None:
    walk = Walk("steps:\n  - {id: a, start: other}\n  - {id: b, email: t}\n").due()
    assert walk.first(Launch).start.sequence == "other"
    assert walk.place == (State.ACTIVE, "b")


def test_an_aside_step_is_never_reached_in_order() -> None:
    walk = Walk("steps:\n  - {id: a, email: t}\n  - {id: x, aside: true, email: t}\n").sent()
    assert walk.place == (State.LISTENING, None)


def test_when_the_steps_ran_out_it_listens_and_then_finishes() -> None:
    walk = Walk(ONE).sent()
    assert walk.place == (State.LISTENING, None)
    assert walk.it.next_at == MONDAY + days(30)
    assert walk.due().it.outcome == "finished"


def test_finished_has_a_handler_like_any_event() -> None:
    walk = Walk(ONE + "listen: 2 days\nwhen: {finished: {stop: no_answer, start: other}}\n").sent().due()
    assert walk.now == MONDAY + days(2)
    assert (walk.it.outcome, walk.first(Launch).start.sequence) == ("no_answer", "other")


def test_a_step_that_was_removed_is_skipped_and_what_was_sent_is_not_sent_again() -> None:
    walk = Walk(COUNTED).sent()
    walk.sequence = parsed("steps:\n  - {id: new, email: t}\n  - {id: a, email: t}\n  - {id: c, email: t}\n")
    walk.due()
    assert walk.last.why == "b: skipped: was removed from the sequence"
    assert walk.place == (State.ACTIVE, "c")


# --- tasks and drafts ------------------------------------------------------------------------------------------------


def test_a_blocking_task_waits_until_it_is_done() -> None:
    walk = Walk("steps:\n  - {id: a, task: t, block: true}\n  - {id: b, wait: 1 day, email: t}\n").due()
    assert walk.first(AddTask) == AddTask("t", step="a")
    assert (walk.it.in_hand, walk.it.next_at) == ("task", None)
    walk.then(Done("a", MONDAY + days(2)), MONDAY + days(2))
    assert walk.it.next_at == MONDAY + days(3)


def test_an_approved_step_is_a_draft_and_after_a_day_an_urgent_task_once() -> None:
    walk = Walk("steps:\n  - {id: a, email: t, approve: true}\n").due()
    assert walk.first(Queue).draft
    assert walk.due().first(AddTask) == AddTask("draft_overdue", urgent=True)
    assert walk.now == MONDAY + days(1)
    assert walk.it.next_at is None


def test_the_wait_behind_a_draft_counts_from_its_sending() -> None:
    text = "steps:\n  - {id: a, email: t, approve: true}\n  - {id: b, wait: 3 days, email: t}\n"
    walk = Walk(text).due().then(Approved(), MONDAY + days(1)).then(Leaving(approved=True))
    assert walk.first(Go)
    walk.then(Done("a", walk.now, emailed=True))
    assert walk.it.next_at == MONDAY + days(4)


def test_a_rejected_draft_is_a_skipped_step_whose_handlers_never_count() -> None:
    walk = Walk("steps:\n  - {id: a, email: t, approve: true}\n  - {id: b, wait: 1 day, email: t}\n").due()
    walk.then(Done("a", MONDAY, skipped=True))
    assert walk.last.why == "a: skipped"
    assert (walk.it.step, walk.it.answered) == ("b", "")


def test_an_event_withdraws_a_draft() -> None:
    walk = Walk("steps:\n  - {id: a, email: t, approve: true}\n").due().hears(Event.REPLY)
    assert walk.first(Withdraw)
    assert walk.it.state is State.PAUSED
    assert walk.then(Approved()).it.state is State.PAUSED


# --- leaving ---------------------------------------------------------------------------------------------------------


def test_it_may_go_while_the_window_is_open() -> None:
    assert Walk(ONE).due().then(Leaving()).first(Go)


def test_it_waits_when_the_window_has_closed_meanwhile() -> None:
    walk = Walk(ONE).due().then(Leaving(), MONDAY.replace(hour=18))
    assert walk.first(Wait).until == datetime(2026, 3, 3, 9, tzinfo=UTC)


def test_it_waits_for_the_frequency_cap_and_then_for_the_window() -> None:
    walk = Walk(ONE, quiet=lambda: (datetime(2026, 3, 7, 12, tzinfo=UTC), "heard from us")).due().then(Leaving())
    wait = walk.first(Wait)
    assert wait.until == datetime(2026, 3, 9, 9, tzinfo=UTC)
    assert wait.why == "heard from us; Sat 12:00: window business_hours closed"


def test_it_is_withdrawn_when_the_enrollment_has_moved_on() -> None:
    walk = Walk(ONE).due().then(Held("away", None)).then(Leaving())
    assert walk.first(Withdraw).why == "the enrollment is held"


@pytest.mark.parametrize(("late", "kind"), [("ask", Draft), ("send", Go), ("skip", Withdraw)])
def test_what_is_overdue_asks_is_sent_or_is_skipped(late: str, kind: type[Any]) -> None:
    walk = Walk(f"steps:\n  - {{id: a, email: t, late: {late}}}\n").due().then(Leaving(), MONDAY + days(3.1))
    assert walk.first(kind)
    assert walk.it.in_hand == ("draft" if late == "ask" else "outbox" if late == "send" else "")


def test_what_the_rep_approved_is_never_too_late() -> None:
    assert Walk(ONE).due().then(Leaving(approved=True), MONDAY + days(8)).first(Go)


@pytest.mark.parametrize(("late", "draft"), [("ask", True), ("send", False)])
def test_what_comes_due_too_late_is_a_draft_unless_it_says_send(late: str, draft: bool) -> None:
    walk = Walk(f"steps:\n  - {{id: a, email: t, late: {late}}}\n").then(Due(), MONDAY + days(4))
    assert walk.first(Queue).draft is draft


def test_late_skip_leaves_it_out() -> None:
    walk = Walk("steps:\n  - {id: a, email: t, late: skip}\n").then(Due(), MONDAY + days(4))
    assert walk.last.why == "a: skipped: it is overdue by more than 3 days"


def test_an_until_that_passes_in_the_outbox_skips_it() -> None:
    text = "needs: {call: datetime}\nsteps:\n  - {id: a, until: call, email: t}\n"
    walk = Walk(text, anchors={"call": MONDAY + timedelta(hours=1)}).due()
    walk.then(Leaving(), MONDAY + timedelta(hours=2))
    assert walk.first(Withdraw)
    assert walk.place == (State.LISTENING, None)


# --- answers without a handler ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [Event.REPLY, Event.CONFIRMED, Event.DECLINED, Event.NAMED, Event.INTRODUCED])
def test_a_human_answer_pauses_and_asks_the_rep_and_holds_the_person(event: Event) -> None:
    walk = Walk(TWO).sent().due().hears(event)
    assert (walk.it.state, walk.it.reason, walk.it.next_at) == (State.PAUSED, "waiting_for_rep", None)
    assert [type(e) for e in walk.last.effects] == [Withdraw, AddTask, HoldPerson]
    assert walk.first(AddTask).template == "triage"
    assert walk.first(HoldPerson).until is None


@pytest.mark.parametrize("event", [Event.AUTO_REPLY, Event.DELAYED, Event.IGNORED])
def test_a_machine_that_says_nothing_changes_nothing(event: Event) -> None:
    walk = Walk(TWO).sent()
    before = walk.it
    assert walk.hears(event).it is before
    assert walk.last.effects == ()
    assert walk.hears(event, note="has left the company").first(AddTask).note == "has left the company"


@pytest.mark.parametrize("event", [Event.UNSUBSCRIBED, Event.COMPLAINED, Event.BOUNCED])
def test_a_final_event_suppresses_and_stops_also_beside_a_handler(event: Event) -> None:
    walk = Walk(TWO).sent().hears(event)
    assert (walk.it.state, walk.it.outcome) == (State.STOPPED, event)
    assert walk.first(Suppress) == Suppress(event)
    walk = Walk(TWO + f"when: {{{event}: {{stop: gone, task: look}}}}\n").sent().hears(event)
    assert (walk.it.outcome, walk.first(Suppress), walk.first(AddTask).template) == ("gone", Suppress(event), "look")
    walk = Walk(TWO + f"when: {{{event}: {{continue: true}}}}\n").sent().hears(event)
    assert walk.it.state is State.STOPPED


def test_an_absence_holds_until_the_window_opens_on_the_first_working_day_back() -> None:
    walk = Walk(TWO).sent().hears(Event.OUT_OF_OFFICE, until=date(2026, 3, 14))
    assert walk.it.state is State.HELD
    assert walk.it.next_at == datetime(2026, 3, 16, 9, tzinfo=UTC)
    assert walk.first(HoldPerson).until == walk.it.next_at


def test_an_absence_without_a_date_holds_three_business_days() -> None:
    walk = Walk(TWO).sent().hears(Event.OUT_OF_OFFICE, after=days(3))
    assert walk.it.next_at == datetime(2026, 3, 10, 9, 30, tzinfo=UTC)


def test_a_second_absence_note_only_ever_lengthens_the_hold() -> None:
    walk = Walk(TWO).sent().hears(Event.OUT_OF_OFFICE, until=date(2026, 3, 16))
    assert walk.hears(Event.OUT_OF_OFFICE, until=date(2026, 3, 10)).it.next_at == datetime(2026, 3, 16, 9, tzinfo=UTC)
    assert walk.hears(Event.OUT_OF_OFFICE, until=date(2026, 3, 18)).it.next_at == datetime(2026, 3, 18, 9, tzinfo=UTC)


def test_the_reps_own_hand_holds_three_business_days() -> None:
    walk = Walk(TWO).sent().hears(Event.REP_WROTE, after=days(1))
    assert (walk.it.state, walk.it.next_at) == (State.HELD, datetime(2026, 3, 6, 9, 30, tzinfo=UTC))


def test_a_refusal_is_tried_again_after_a_day_twice_and_then_the_rep_is_asked() -> None:
    walk = Walk(TWO).sent()
    for attempt in (1, 2):
        walk.known = replace(walk.known, refused=lambda step, visit, n=attempt: n)
        walk.hears(Event.SOFT_BOUNCED, after=timedelta(hours=1))
        assert walk.place == (State.ACTIVE, "a")
        assert walk.it.next_at == walk.now + days(1)
        assert walk.due().first(Queue) == Queue("a", 1, attempt, walk.now)
        walk.then(Done("a", walk.now, emailed=True))
        assert walk.place == (State.ACTIVE, "b")
    walk.known = replace(walk.known, refused=lambda step, visit: 3)
    walk.hears(Event.SOFT_BOUNCED, after=timedelta(hours=1))
    assert (walk.it.state, walk.first(AddTask).note) == (State.PAUSED, "a was refused 3 times")


def test_what_follows_a_refused_email_moves_with_it() -> None:
    walk = Walk(COUNTED).sent().hears(Event.SOFT_BOUNCED, after=days(2))
    walk.sent()
    assert (walk.now, walk.it.next_at) == (MONDAY + days(3), MONDAY + days(10))


def test_what_was_done_behind_a_refused_email_is_not_done_twice() -> None:
    text = "steps:\n  - {id: a, email: t}\n  - {id: x, task: t}\n  - {id: b, wait: 3 days, email: t}\n"
    walk = Walk(text).sent().due()
    assert walk.place == (State.ACTIVE, "b")
    walk.hears(Event.SOFT_BOUNCED, after=timedelta(hours=1)).sent()
    assert walk.place == (State.ACTIVE, "b")
    assert walk.it.visits == {"a": 1, "x": 1, "b": 1}


def test_an_older_emails_refusal_changes_nothing() -> None:
    walk = Walk(TWO).sent().sent()
    before = walk.it
    assert walk.hears(Event.SOFT_BOUNCED, step="a").it is before


def test_a_refusal_of_the_last_email_withdraws_the_next_one_from_the_outbox() -> None:
    walk = Walk(TWO).sent().due().hears(Event.SOFT_BOUNCED, step="a")
    assert walk.first(Withdraw)
    assert walk.place == (State.ACTIVE, "a")
    assert walk.sent().due().first(Queue) == Queue("b", 1, 0, walk.now)


# --- handlers --------------------------------------------------------------------------------------------------------


def test_a_handler_stops_and_sets_and_starts_and_gives_tasks() -> None:
    handler = "{stop: introduced, set: {referral: introduced, value: confirmed}, task: look, start: other}"
    walk = Walk(TWO + f"when: {{introduced: {handler}}}\n").sent()
    walk.hears(Event.INTRODUCED, Event.REPLY, people=(BARRY,), message="m1")
    assert (walk.it.state, walk.it.outcome, walk.it.next_at) == (State.STOPPED, "introduced", None)
    assert walk.all(SetValue) == [
        SetValue("referral", "introduced", (BARRY,), "m1"),
        SetValue("value", "confirmed", (BARRY,), "m1"),
    ]
    assert (walk.first(AddTask).people, walk.first(Launch).people, walk.first(Launch).message) == (
        (BARRY,),
        (BARRY,),
        "m1",
    )


def test_the_most_specific_event_with_a_handler_acts() -> None:
    when = "when: {confirmed: {stop: yes}, reply: {stop: other}}\n"
    assert Walk(TWO + when).sent().hears(Event.NAMED, Event.CONFIRMED, Event.REPLY).it.outcome == "yes"
    assert Walk(TWO + when).sent().hears(Event.NAMED, Event.REPLY).it.outcome == "other"


def test_an_event_without_a_handler_acts_as_a_reply_also_when_it_stands_alone() -> None:
    assert Walk(TWO + "when: {reply: {stop: other}}\n").sent().hears(Event.DECLINED).it.outcome == "other"


def test_a_steps_handlers_beat_the_sequences_from_its_email_until_the_next() -> None:
    text = "steps:\n  - {id: a, email: t, when: {declined: {stop: early}}}\n  - {id: b, wait: 1 day, email: t}\n"
    text += "when: {declined: {stop: late}}\n"
    assert Walk(text).hears(Event.DECLINED).it.outcome == "late"
    assert Walk(text).sent().hears(Event.DECLINED).it.outcome == "early"
    assert Walk(text).sent().due().hears(Event.DECLINED).it.outcome == "early"
    assert Walk(text).sent().sent().hears(Event.DECLINED).it.outcome == "late"


def test_a_pause_waits_for_the_rep_and_still_handles_events() -> None:
    walk = Walk(TWO + "when: {reply: {pause: look}, declined: {stop: no}}\n").sent().hears(Event.REPLY)
    assert (walk.it.state, walk.it.reason, walk.it.next_at) == (State.PAUSED, "look", None)
    walk.hears(Event.DECLINED, Event.REPLY)
    assert (walk.it.outcome, walk.first(FreePerson)) == ("no", FreePerson())


def test_a_hold_goes_on_by_itself() -> None:
    walk = Walk(TWO + "when: {reply: {hold: 2 days}}\n").sent().hears(Event.REPLY, after=days(1))
    assert (walk.it.state, walk.it.next_at) == (State.HELD, MONDAY + days(3))
    walk.due()
    assert walk.place == (State.ACTIVE, "b")
    assert walk.it.next_at == datetime(2026, 3, 9, 9, tzinfo=UTC), "5 + 2 days from Monday 9:30 is a Saturday"


def test_goto_counts_as_the_step_before_done_and_each_visit_sends_anew() -> None:
    text = "steps:\n  - {id: a, email: t}\n  - {id: x, aside: true, wait: 1 day, email: t}\n"
    walk = Walk(text + "when: {named: {goto: x, start: other}}\n").sent()
    for visit in (1, 2):
        walk.hears(Event.NAMED, Event.REPLY, after=timedelta(hours=1), people=(BARRY,))
        assert walk.it.next_at == walk.now + days(1)
        assert walk.due().first(Queue) == Queue("x", visit, 0, walk.now)
        walk.then(Done("x", walk.now, emailed=True))
        assert walk.place == (State.LISTENING, None)


def test_what_a_goto_sends_answers_the_persons_own_message_and_what_follows_does_not() -> None:
    text = "steps:\n  - {id: a, email: t}\n  - {id: x, aside: true, email: t}\nwhen: {named: {goto: x}}\n"
    walk = Walk(text).sent().hears(Event.NAMED, message="m1")
    assert walk.it.cause == "m1"
    assert walk.sent().it.cause == ""


def test_a_goto_out_of_a_pause_moves_the_start_by_its_length() -> None:
    text = COUNTED + "when: {reply: {pause: look}, named: {goto: b}}\n"
    walk = Walk(text).sent().hears(Event.REPLY, after=days(1)).hears(Event.NAMED, after=days(2))
    assert walk.it.next_at == MONDAY + days(9)


def test_a_step_that_leads_back_to_itself_ends_with_the_rep() -> None:
    walk = Walk("listen: 0 days\nsteps:\n  - {id: a, task: t}\nwhen: {finished: {goto: a}}\n")
    while walk.it.next_at is not None:
        walk.due()
        assert walk.it.visits["a"] <= 21
    assert (walk.now, walk.it.state) == (MONDAY, State.PAUSED)
    assert walk.last.why == "a was reached 20 times: it runs in a circle"


def test_continue_changes_nothing_but_does_what_stands_beside_it() -> None:
    walk = Walk(TWO + "when: {confirmed: {continue: true, task: look}}\n").sent().due()
    before = walk.it
    walk.hears(Event.CONFIRMED, Event.REPLY)
    assert walk.it is before
    assert not walk.first(Withdraw)
    assert walk.first(AddTask).template == "look"


# --- holds, pauses and what they move --------------------------------------------------------------------------------


def test_a_pause_moves_the_start_and_waits_by_its_length() -> None:
    for text, due in ((COUNTED, days(7)), (TWO, days(3))):
        walk = Walk(text).sent().then(Paused("by hand"), MONDAY + days(1)).then(Released("on"), MONDAY + days(8))
        assert walk.place == (State.ACTIVE, "b")
        assert walk.it.next_at == MONDAY + due + days(7), text


def test_another_anchor_stays_where_it_is() -> None:
    text = "needs: {call: datetime}\nsteps:\n  - {id: a, at: call, email: t}\n"
    call = MONDAY + days(10)
    walk = Walk(text, anchors={"call": call}).then(Paused("by hand")).then(Released("on"), MONDAY + days(3))
    assert walk.it.next_at == call.replace(hour=9, minute=30)


def test_a_pause_withdraws_what_has_not_left_and_the_email_comes_again_after_it() -> None:
    walk = Walk(ONE).due().then(Paused("by hand"))
    assert walk.first(Withdraw)
    walk.then(Released("on"), MONDAY + days(1)).due()
    assert walk.first(Queue) == Queue("a", 1, 0, MONDAY + days(1))


def test_a_hold_during_a_pause_changes_nothing_and_a_pause_during_a_hold_wins() -> None:
    walk = Walk(TWO).sent().then(Paused("by hand")).then(Held("away", MONDAY + days(5)))
    assert (walk.it.state, walk.it.next_at) == (State.PAUSED, None)
    walk = Walk(TWO).sent().then(Held("away", MONDAY + days(5))).then(Paused("by hand"), MONDAY + days(1))
    assert (walk.it.state, walk.it.suspended_at) == (State.PAUSED, MONDAY)


def test_a_listening_one_listens_longer_by_the_length_of_a_hold() -> None:
    walk = Walk(ONE).sent().then(Held("away", MONDAY + days(10))).due()
    assert (walk.it.state, walk.it.next_at) == (State.LISTENING, MONDAY + days(40))


def test_a_task_that_blocks_survives_a_hold() -> None:
    walk = Walk("steps:\n  - {id: a, task: t, block: true}\n  - {id: b, email: t}\n").due()
    walk.then(Held("away", MONDAY + days(2))).due()
    assert (walk.it.in_hand, walk.it.next_at) == ("task", None)
    assert walk.then(Done("a", walk.now)).place == (State.ACTIVE, "b")


def test_a_task_done_during_a_hold_counts_and_the_hold_goes_on() -> None:
    walk = Walk("steps:\n  - {id: a, task: t, block: true}\n  - {id: b, email: t}\n").due()
    walk.then(Held("away", MONDAY + days(2))).then(Done("a", MONDAY + days(1)), MONDAY + days(1))
    assert walk.place == (State.HELD, "b")
    assert walk.it.next_at == MONDAY + days(2)


def test_what_crossed_an_answer_counts_as_sent_and_the_pause_stays() -> None:
    walk = Walk(TWO).due().hears(Event.REPLY).then(Done("a", MONDAY, emailed=True))
    assert walk.place == (State.PAUSED, "b")
    assert walk.it.answered == "a"
    assert walk.last.why == "a: sent (crossed)"


def test_nothing_is_released_that_does_not_stand() -> None:
    walk = Walk(TWO).sent()
    before = walk.it
    assert walk.then(Released("on")).it is before


def test_a_step_that_cannot_be_done_pauses_with_a_task() -> None:
    walk = Walk(TWO).due().then(Failed("the template is broken"))
    assert (walk.it.state, walk.it.reason) == (State.PAUSED, "the template is broken")
    assert walk.first(AddTask).template == "failed"


def test_a_beginning_that_a_rule_forbids_is_tried_again_and_said_once() -> None:
    walk = Walk(ONE)
    walk.it = replace(walk.it, state=State.WAITING, step=None, visits={}, next_at=MONDAY)
    assert walk.then(Forbidden("rests", MONDAY + days(1))).last.why == "not yet: rests"
    assert (walk.it.state, walk.it.next_at) == (State.WAITING, MONDAY + days(1))
    assert walk.then(Forbidden("rests", MONDAY + days(2))).last.why == ""


# --- changes ---------------------------------------------------------------------------------------------------------

CALL = "needs: {call: datetime}\nsteps:\n  - {id: a, at: call - 1 day, email: t}\n"


def change(walk: Walk, call: datetime, values: Mapping[str, Any] | None = None) -> Walk:
    walk.known = replace(walk.known, anchors={"call": call})
    return walk.then(Changed({"call": call.isoformat()} if values is None else values, "changed"))


def test_a_moved_anchor_moves_what_has_not_happened() -> None:
    walk = Walk(CALL, anchors={"call": MONDAY + days(10)})
    assert change(walk, MONDAY + days(3)).it.next_at == MONDAY + days(2)


def test_a_moved_anchor_takes_an_email_back_from_the_outbox() -> None:
    walk = change(Walk(CALL, anchors={"call": MONDAY + days(1)}).due(), MONDAY + days(3))
    assert walk.first(Withdraw)
    assert (walk.it.in_hand, walk.it.next_at) == ("", MONDAY + days(2))


def test_an_edit_that_moves_nothing_leaves_the_outbox_alone() -> None:
    walk = change(Walk(CALL, anchors={"call": MONDAY + days(1)}).due(), MONDAY + days(1), {})
    assert not walk.last.effects
    assert walk.it.in_hand == "outbox"


def test_a_change_during_a_pause_counts_when_it_goes_on() -> None:
    walk = Walk(CALL, anchors={"call": MONDAY + days(10)}).then(Paused("by hand"))
    change(walk, MONDAY + days(3)).then(Released("on"))
    assert walk.it.next_at == MONDAY + days(2)


# --- after the end ---------------------------------------------------------------------------------------------------


def test_an_answer_to_an_ended_one_holds_the_rest_and_asks_the_rep_and_sends_nothing() -> None:
    walk = Walk(TWO + "when: {named: {start: other}}\n").then(Stopped("by_hand"))
    before = walk.it
    walk.hears(Event.NAMED, Event.REPLY)
    assert walk.it is before
    assert [type(e) for e in walk.last.effects] == [AddTask, HoldPerson]


def test_an_opt_out_counts_also_after_the_end() -> None:
    walk = Walk(ONE).then(Stopped("by_hand"))
    assert walk.hears(Event.UNSUBSCRIBED).first(Suppress) == Suppress("unsubscribed")
    assert walk.hears(Event.BOUNCED).first(Suppress) == Suppress("bounced")


def test_an_absence_note_to_an_ended_one_still_holds_the_person() -> None:
    walk = Walk(ONE).then(Stopped("by_hand")).hears(Event.OUT_OF_OFFICE, until=date(2026, 3, 16))
    assert walk.first(HoldPerson) == HoldPerson("away until 2026-03-16", datetime(2026, 3, 16, 9, tzinfo=UTC))


def test_what_was_queued_before_the_end_is_withdrawn() -> None:
    walk = Walk(ONE).due().then(Stopped("by_hand"))
    assert walk.first(Withdraw)
    assert walk.then(Leaving()).first(Withdraw)
    assert walk.then(Done("a", MONDAY, emailed=True)).last.why == "a: sent after the enrollment had ended (crossed)"


# --- whatever happens ------------------------------------------------------------------------------------------------

RICH = """
needs: {call: datetime}
steps:
  - {id: a, email: t, when: {named: {goto: x, start: other}}}
  - {id: b, at: start + 1 week, email: t, until: call}
  - {id: t, task: t, block: true}
  - {id: x, aside: true, email: t}
  - {id: d, wait: 2 business days, email: t, approve: true}
  - {id: s, start: other}
  - {id: l, at: call - 1 day, email: t, late: skip}
when:
  declined: {stop: no}
  confirmed: {continue: true, task: t}
  reply: {pause: look}
  rep_wrote: {hold: 1 day}
  introduced: {goto: x, set: {referral: introduced}}
"""
STEPS = st.sampled_from(["a", "b", "t", "x", "d", "s", "l", "gone", ""])
HAPPENINGS: st.SearchStrategy[Happening] = st.one_of(
    st.just(Begun()),
    st.just(Due()),
    st.just(Due()),
    st.just(Due()),
    st.builds(Leaving, st.booleans()),
    st.just(Approved()),
    st.builds(lambda step, emailed, skipped: Done(step, MONDAY, emailed, skipped), STEPS, st.booleans(), st.booleans()),
    st.just(Done("present", MONDAY, emailed=True)),
    st.builds(lambda event, step: Heard((event, Event.REPLY), step), st.sampled_from(list(Event)), STEPS),
    st.builds(Heard, st.sampled_from([(e,) for e in Event])),
    st.builds(lambda n: Held("away", None if n is None else MONDAY + days(n)), st.none() | st.integers(1, 60)),
    st.just(Released("on")),
    st.just(Paused("by hand")),
    st.just(Failed("broken")),
    st.just(Changed({"call": (MONDAY + days(20)).isoformat()}, "changed")),
    st.just(Stopped("by hand")),
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([RICH, TWO, COUNTED, CALL]), st.lists(st.tuples(HAPPENINGS, st.integers(0, 100)), max_size=25))
def test_whatever_happens_the_table_holds_and_an_ended_one_stays_ended(
    text: str, happenings: list[tuple[Happening, int]]
) -> None:
    walk = Walk(text, anchors={"call": MONDAY + days(12)}, refused=lambda step, visit: 1)
    for happening, hours in happenings:
        before = walk.it
        if isinstance(happening, Done):
            step = before.step or "" if happening.step == "present" else happening.step
            happening = replace(happening, step=step, at=walk.now)
        if isinstance(happening, Begun) and before.state is not State.WAITING:
            continue
        walk.then(happening, walk.now + timedelta(hours=hours))
        keeps_the_rules(walk, before)
        if isinstance(happening, Due) and not (before.next_at and before.next_at <= walk.now):
            assert walk.it is before, "its time had not come: another daemon was faster"


def keeps_the_rules(walk: Walk, before: Enrollment) -> None:
    after, effects = walk.it, walk.last.effects
    assert after == before or after.revision > before.revision
    assert after == before or after.state in MOVES[before.state]
    queued = [e for e in effects if isinstance(e, Queue)]
    if before.state is State.STOPPED:
        assert after is before
        assert not any(isinstance(e, Queue | Launch | SetValue) for e in effects)
    if queued:
        assert (after.state, after.in_hand in ("outbox", "draft"), after.step) == (State.ACTIVE, True, queued[0].step)
    assert after.next_at is None or after.state is not State.PAUSED
    assert (after.suspended_at is not None) == (after.state in (State.HELD, State.PAUSED))
    if after.state is State.STOPPED:
        assert (after.next_at, after.in_hand) == (None, "")
        assert after.outcome
    if after.state is State.ACTIVE:
        assert after.step is not None
        assert after.next_at or after.in_hand, "an active one waits for a time or for somebody"
    assert all(count >= 0 for count in after.visits.values())


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([RICH, TWO, COUNTED, CALL]), st.lists(HAPPENINGS, max_size=12), st.integers(0, 500))
def test_time_alone_brings_everything_to_rest(text: str, happenings: list[Happening], hours: int) -> None:
    walk = Walk(text, anchors={"call": MONDAY + days(12)})
    for happening in happenings:
        if not isinstance(happening, Begun | Done):
            walk.then(happening, walk.now + timedelta(hours=1))
    walk.now += timedelta(hours=hours)
    for _ in range(40):
        if walk.it.next_at is None or walk.it.next_at > walk.now:
            return
        walk.then(Due())
    pytest.fail(f"it comes due again and again at {walk.now}: {walk.it}")
