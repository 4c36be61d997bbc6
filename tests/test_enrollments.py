"""Who may enter and who may not, what a start brings with it, what spreads to the person's other sequences, and the rep's hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import office
import pytest
from office import BARRY, BARRY_PERSON, DANA, KIM, LEE, MONDAY, SAM, SUE_PERSON, Office

from engine import decisions, enrollments, inbox, outbox
from engine.core.happening import Due, Held, Paused, Released, Stopped
from engine.core.model import Enrollment, OutboxState, Person, State
from engine.core.needs import Refusal
from engine.enrollments import Wish, enroll
from engine.errors import UserError
from engine.store import Told

stores = office.either_stores
there = office.either_office
new_office = office.either_new_office


def refused(there: Office, email: str = DANA, sequence: str = "nudge", **values: Any) -> list[str]:
    found = there.wish(email, sequence, **values)
    assert isinstance(found, list), found
    assert all(isinstance(r, Refusal) and r.reason and r.remedy for r in found), found
    return [r.rule for r in found]


# --- who may enter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["", "dana", "dana@", "@acme.test", "dana@acme.test\nBcc: all@acme.test", "a b@acme.test"]
)
def test_an_invalid_address_is_refused(there: Office, address: str) -> None:
    assert refused(there, address) == ["address"]


def test_an_unknown_sequence_is_refused_with_those_that_there_are(there: Office) -> None:
    found = there.wish(DANA, "nugde")
    assert isinstance(found, list) and found[0].rule == "sequence" and "nudge" in found[0].remedy


def test_missing_wrong_and_unknown_variables_are_refused_all_at_once(there: Office) -> None:
    assert refused(there, DANA, "until") == ["missing"]
    assert refused(there, DANA, "until", call="tomorrow", colour="blue") == ["unknown", "wrong"]
    assert refused(there, DANA, "intro", prospect="Barry <barry@>") == ["wrong"]


def test_somebody_without_a_rep_is_refused_until_one_is_named(there: Office) -> None:
    assert refused(there, "new@acme.test", rep="") == ["rep"]
    assert refused(there, "new@acme.test", rep="stranger@demo.test") == ["rep"]
    there.confirmed(DANA)
    assert isinstance(there.wish(DANA, "nudge", rep=""), Enrollment), "a client has one already"


def test_a_prospect_needs_the_client_who_stands_behind_it(there: Office) -> None:
    assert refused(there, BARRY, "outreach", prospect=BARRY_PERSON) == ["missing"]


def test_nobody_is_twice_in_a_sequence_for_the_same_prospect(there: Office) -> None:
    there.enroll(DANA, "nudge")
    assert refused(there, DANA, "nudge", override="please") == ["running"]
    there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    assert refused(there, DANA, "intro", prospect={**BARRY_PERSON, "name": "B. Jones"}) == ["running"]
    there.enroll(DANA, "intro", prospect=SUE_PERSON)


def test_who_has_ended_may_enter_again(there: Office) -> None:
    there.enroll(DANA, "split")
    there.run(days=60)
    assert there.of("split").state is State.STOPPED
    there.enroll(DANA, "split")


def test_an_ask_needs_confirmed_value_of_the_last_year_or_a_recorded_reason(there: Office) -> None:
    assert refused(there, DANA, "ask") == ["confirmed"]
    there.confirmed(DANA)
    there.later(days=366)
    assert refused(there, DANA, "ask") == ["confirmed"]
    ask = there.enroll(DANA, "ask", override="told me on the phone")
    assert any("told me on the phone" in line.text for line in there.store.story(ask.contact))


def test_one_ask_a_company_and_quarter(there: Office) -> None:
    there.confirmed(DANA)
    there.confirmed(LEE)
    there.enroll(DANA, "ask")
    assert refused(there, LEE, "ask") == ["asked"]
    there.later(days=95)
    there.enroll(LEE, "ask")


def test_no_ask_while_a_conversation_is_alive(there: Office) -> None:
    there.confirmed(DANA)
    there.hear("Could you send me the invoice again?")
    assert refused(there, DANA, "ask") == ["conversation"]
    there.later(days=3)
    there.enroll(DANA, "ask")


def test_who_declined_rests(there: Office) -> None:
    there.confirmed(DANA)
    there.enroll(DANA, "ask")
    (first,) = there.work()
    there.hear("No, thank you.", to=first)
    assert there.of("ask").outcome == "declined"
    there.later(days=89)
    assert "resting" in refused(there, DANA, "ask")
    there.later(days=6)
    there.enroll(DANA, "ask")


def test_a_suppressed_person_is_refused_whatever_the_reason_to_override(there: Office) -> None:
    there.store.suppress(DANA, "unsubscribed", there.now)
    assert refused(there, DANA, "nudge", override="they asked me to") == ["suppressed"]


def test_a_template_that_cannot_be_filled_in_is_refused_before_anything_begins(
    new_office: Callable[..., Office],
) -> None:
    there = new_office(
        books=office.library({}, {"last": "---\nsubject: L\n---\n{{ prospect.name }} and {{ nothing }}\n"})
    )
    assert refused(there, DANA, "nudge") == ["template"]


@pytest.mark.parametrize(
    "wish",
    [
        Wish("new@acme.test", "until", {}, SAM, contact={"name": "New"}),
        Wish("new@acme.test", "ask", {}, SAM, contact={"name": "New"}),
        Wish("new@acme.test", "outreach", {"prospect": BARRY_PERSON}, SAM, contact={"name": "New"}),
    ],
)
def test_a_refusal_leaves_nothing_behind(there: Office, wish: Wish) -> None:
    heard: list[Told] = []
    there.store.listener = heard.append
    assert isinstance(enroll(there.inst, wish, there.now), list)
    assert there.store.contacts() == [] and there.store.all_enrollments() == [] and heard == []


# --- starts ----------------------------------------------------------------------------------------------------------


def test_a_start_goes_to_the_person_who_holds_the_role(new_office: Callable[..., Office]) -> None:
    starts = """
name: Starts
kind: touch
to: client
needs: {prospect: person}
steps:
  - {id: first, email: hello}
  - {id: both, start: [outreach, intro]}
"""
    there = new_office(books=office.library({"starts": starts}))
    parent = there.enroll(DANA, "starts", prospect=BARRY_PERSON)
    there.work()
    outreach, intro = there.of("outreach"), there.of("intro")
    client, prospect = there.store.contact_at(DANA), there.store.contact_at(BARRY)
    assert client and prospect
    assert (intro.contact, intro.client) == (client.id, client.id)
    assert (outreach.contact, outreach.client) == (prospect.id, client.id)
    assert {outreach.rep, intro.rep} == {SAM}
    assert {outreach.root, intro.root} == {parent.id}


def test_a_name_without_an_address_is_enough_to_ask_the_client_for_an_introduction(there: Office) -> None:
    there.confirmed()
    ask = there.enroll(DANA, "ask")
    (first,) = there.work()
    there.hear("Hm, let me think about who that could be.", to=first)
    inbox.settle(there.inst, DANA, "named", {"prospect": "Barry Jones, Northwind"}, there.now)
    assert there.of("intro").variables["prospect"]["email"] == ""
    assert there.of(ask).step == "anyone"


def test_who_has_no_address_is_not_written_to_and_becomes_the_task_complete(new_office: Callable[..., Office]) -> None:
    starts = "name: S\nkind: touch\nto: client\nneeds: {prospect: person}\nsteps:\n  - {id: out, start: outreach}\n"
    there = new_office(books=office.library({"starts": starts}))
    there.enroll(DANA, "starts", prospect="Barry Jones, Northwind")
    there.work()
    assert [t.kind for t in there.store.open_tasks()] == ["complete"]
    assert [e.sequence for e in there.store.all_enrollments()] == ["starts"]


def test_a_start_that_lacks_a_need_becomes_the_task_complete(there: Office) -> None:
    there.enroll(DANA, "parent")
    there.work()
    (task,) = there.store.open_tasks()
    assert task.kind == "complete" and "prospect" in task.note
    assert [e.sequence for e in there.store.all_enrollments()] == ["parent"]


def test_a_start_with_a_delay_waits_and_begins(there: Office) -> None:
    there.enroll(DANA, "rests")
    (first,) = there.work()
    there.hear("No, thank you.", to=first)
    child = there.of("nudge")
    assert (child.state, child.next_at) == (State.WAITING, MONDAY + timedelta(weeks=2))
    there.run(days=13)
    assert there.sent(child) == []
    there.run(days=2)
    assert there.sent(child) == ["first"]


def test_a_waiting_start_of_somebody_who_opted_out_meanwhile_never_begins(there: Office) -> None:
    there.enroll(DANA, "rests")
    (first,) = there.work()
    there.hear("No, thank you.", to=first)
    there.hear("Please unsubscribe me.", to=first)
    assert there.of("nudge").outcome == "unsubscribed"
    assert there.run(days=90) == []


def test_what_another_daemon_has_decided_since_it_came_due_is_not_decided_again(there: Office) -> None:
    ends = there.enroll(DANA, "thanks", prospect=BARRY_PERSON)
    goes_on = there.enroll(LEE, "nudge")
    seen_as_due = there.store.due_enrollments(there.now, 10)
    there.work()
    before = [there.of(ends), there.of(goes_on)]
    assert [e.state for e in before] == [State.LISTENING, State.ACTIVE]
    for id in seen_as_due:
        decisions.happen(there.inst, id, Due(), there.now)
    assert [there.of(ends), there.of(goes_on)] == before, "nothing ends and nothing leaves before its time"


def test_what_an_answer_has_paused_meanwhile_is_not_released_with_what_was_held(
    there: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = there.enroll(DANA, "nudge")
    decisions.happen(there.inst, held.id, Held("an answer waits for a look"), there.now)
    seen = decisions.others(there.inst, held.contact)
    decisions.happen(there.inst, held.id, Paused("waiting_for_rep"), there.now)
    monkeypatch.setattr(decisions, "others", lambda *_: seen)
    with there.store.transaction():
        decisions.free(there.inst, held.contact, "", there.now)
    assert there.state(held) is State.PAUSED


def test_a_start_that_a_rule_forbids_is_tried_every_morning_and_then_a_task(new_office: Callable[..., Office]) -> None:
    asks = "name: Asks\nkind: touch\nto: client\nsteps:\n  - {id: first, email: hello}\n  - {id: ask, start: ask}\n"
    there = new_office(books=office.library({"asks": asks}))
    there.enroll(DANA, "asks")
    there.work()
    child = there.of("ask")
    assert child.state is State.WAITING and "confirmed" in child.reason
    there.run(days=10)
    told = [line for line in there.store.story(child.contact) if "not yet" in line.text]
    assert len(told) == 1, "the same reason is told once"
    there.run(days=25)
    assert there.of(child).outcome == "confirmed"
    assert [t.kind for t in there.store.open_tasks()] == ["start_refused"]


def test_a_forbidden_start_begins_on_the_morning_after_the_rule_is_met(new_office: Callable[..., Office]) -> None:
    asks = "name: Asks\nkind: touch\nto: client\nsteps:\n  - {id: first, email: hello}\n  - {id: ask, start: ask}\n"
    there = new_office(books=office.library({"asks": asks}))
    there.enroll(DANA, "asks")
    there.run(days=2)
    there.confirmed(DANA)
    there.run(days=2)
    assert there.sent("ask") == ["who_else"]


def test_a_start_that_is_forbidden_in_the_evening_is_tried_when_the_window_opens(
    new_office: Callable[..., Office],
) -> None:
    asks = "name: Asks\nkind: touch\nto: client\nsteps:\n  - {id: ask, wait: 9 hours, start: ask}\n"
    there = new_office(books=office.library({"asks": asks}))
    there.later(days=4)
    there.enroll(DANA, "asks")
    there.run(hours=10)
    assert there.of("ask").next_at == MONDAY + timedelta(days=7), "it is Friday, 18:00"


def test_a_child_that_runs_already_is_left_alone(there: Office) -> None:
    first = there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    there.enroll(DANA, "parent", prospect=BARRY_PERSON)
    there.run(days=5)
    assert [e.id for e in there.store.all_enrollments() if e.sequence == "intro"] == [first.id]
    assert any(line.kind == "not_started" for line in there.store.story(first.contact))


# --- what spreads ----------------------------------------------------------------------------------------------------


def test_suppressing_stops_everything_withdraws_everything_and_is_final_for_all_addresses(there: Office) -> None:
    nudge, other = there.enroll(DANA, "nudge"), there.enroll(DANA, "other")
    contact = there.store.contact_at(DANA)
    assert contact
    there.store.save_contact(replace(contact, aliases=("d.w@acme.test",)))
    enrollments.advance(there.inst, there.now)
    decisions.suppress(there.inst, contact.id, "complained", there.now)
    assert {there.of(e).outcome for e in (nudge, other)} == {"complained"}
    assert there.store.outbox_in(OutboxState.QUEUED) == []
    assert there.store.suppressed("d.w@acme.test")


def test_an_email_that_is_out_when_its_person_is_suppressed_is_recorded_as_sent(there: Office) -> None:
    there.enroll()
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    assert there.start(claim)
    contact = there.store.contact_at(DANA)
    assert contact
    decisions.suppress(there.inst, contact.id, "complained", there.now)
    there.record(claim)
    assert there.sent("nudge") == ["first"]
    assert there.of("nudge").outcome == "complained"


# --- the rep's hand --------------------------------------------------------------------------------------------------


def test_a_pause_stops_the_clock_and_a_resume_lets_it_go_on(there: Office) -> None:
    nudge = there.enroll()
    there.work()
    there.later(days=1)
    enrollments.steer(there.inst, DANA, "", Paused("by hand"), there.now)
    assert there.run(days=10) == []
    enrollments.steer(there.inst, DANA, "", Released("by hand"), there.now)
    assert there.of(nudge).due_at == MONDAY + timedelta(days=14), (
        "ten days later than it would have been, on a working day"
    )
    assert [m.step for m in there.run(days=4)] == ["second"]


def test_a_pause_withdraws_what_waits_in_the_outbox_and_a_resume_brings_it_back_once(there: Office) -> None:
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    enrollments.steer(there.inst, DANA, "", Paused("by hand"), there.now)
    assert there.work() == []
    enrollments.steer(there.inst, DANA, "", Released("by hand"), there.now)
    there.run(days=1)
    assert there.sent(nudge) == ["first"]
    assert [m.state for m in there.rows(nudge) if m.step == "first"] == [OutboxState.CANCELLED, OutboxState.SENT]


def test_a_pause_and_resume_around_a_body_sends_it_once(there: Office) -> None:
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    assert there.start(claim)
    enrollments.steer(there.inst, DANA, "", Paused("by hand"), there.now)
    enrollments.steer(there.inst, DANA, "", Released("by hand"), there.now)
    enrollments.advance(there.inst, there.now)
    assert isinstance(there.claim(), outbox.Nothing)
    there.record(claim)
    there.run(hours=1)
    assert there.sent(nudge) == ["first"]


def test_stop_is_for_one_sequence_or_for_all(there: Office) -> None:
    nudge, other = there.enroll(DANA, "nudge"), there.enroll(DANA, "other")
    enrollments.steer(there.inst, DANA, "nudge", Stopped("stopped_by_rep"), there.now)
    assert (there.state(nudge), there.state(other)) == (State.STOPPED, State.ACTIVE)
    enrollments.steer(there.inst, DANA, "", Stopped("stopped_by_rep"), there.now)
    assert there.state(other) is State.STOPPED
    for email, sequence in ((DANA, ""), (DANA, "nudge"), ("nobody@acme.test", "")):
        with pytest.raises(UserError):
            enrollments.steer(there.inst, email, sequence, Stopped("stopped_by_rep"), there.now)


def test_a_moved_call_moves_what_is_counted_from_it_and_sends_nothing_twice(there: Office) -> None:
    known = there.enroll(DANA, "until", call="2026-03-12 10:00")
    enrollments.change(there.inst, DANA, "until", {"call": "2026-03-19 10:00"}, there.now)
    assert there.of(known).due_at == MONDAY.replace(day=17, hour=10)
    there.run(days=16)
    assert there.sent(known) == ["before"]
    enrollments.change(there.inst, DANA, "until", {"call": "2026-03-26 10:00"}, there.now)
    there.run(days=20)
    assert there.sent(known) == ["before", "after"]


def test_a_change_between_claim_and_body_holds_the_body(there: Office) -> None:
    known = there.enroll(DANA, "until", call="2026-03-04 10:00")
    there.later(hours=1)
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    enrollments.change(there.inst, DANA, "until", {"call": "2026-03-26 10:00"}, there.now)
    assert not there.start(claim)
    there.deliver(claim)
    there.run(days=26)
    assert there.sent(known) == ["before", "after"]


def test_a_wrong_change_changes_nothing(there: Office) -> None:
    known = there.enroll(DANA, "until", call="2026-03-12 10:00")
    for values in ({"call": "soon"}, {"coll": "2026-03-12 10:00"}):
        with pytest.raises(UserError):
            enrollments.change(there.inst, DANA, "until", values, there.now)
    assert there.of(known) == known
    with pytest.raises(UserError, match="no sequence"):
        enrollments.change(there.inst, DANA, "nosuch", {}, there.now)
    with pytest.raises(UserError, match="is not in"):
        enrollments.change(there.inst, DANA, "nudge", {}, there.now)


def test_a_blocking_task_holds_the_step_until_it_is_done(new_office: Callable[..., Office]) -> None:
    blocks = "name: B\nkind: touch\nto: client\nsteps:\n  - {id: call, task: note, block: true}\n  - {id: first, email: hello}\n"
    there = new_office(books=office.library({"blocks": blocks}))
    known = there.enroll(DANA, "blocks")
    assert there.run(days=30) == []
    (task,) = there.store.open_tasks()
    enrollments.finish_task(there.inst, task.id, there.now)
    there.run(days=3)
    assert there.sent(known) == ["first"]
    with pytest.raises(UserError, match="no open task"):
        enrollments.finish_task(there.inst, task.id, there.now)


def test_the_story_of_a_person_says_why_for_everything(there: Office) -> None:
    nudge = there.enroll()
    there.run(days=3)
    there.hear("No, thank you.", to=there.rows(nudge)[0])
    texts = [line.text for line in there.store.story(there.of(nudge).contact)]
    for said in ("begins", "into the outbox", "sent first to dana@acme.test", "declined: stopped: declined"):
        assert any(said in text for text in texts), said


def test_a_sequence_that_was_removed_stops_with_a_reason(there: Office) -> None:
    nudge = there.enroll()
    there.work()
    left = {key: s for key, s in there.inst.library.sequences.items() if key != "nudge"}
    there.inst = replace(there.inst, library=replace(there.inst.library, sequences=left))
    assert there.run(days=10) == []
    assert there.of(nudge).outcome == "removed"


def test_a_second_rep_enrolls_their_own_clients_from_their_own_mailbox(there: Office) -> None:
    there.enroll(LEE, "nudge", rep=KIM)
    (sent,) = there.work()
    assert sent.mailbox == KIM and f"<{KIM}>".encode() in sent.raw


def test_a_referral_is_dated_by_the_first_outreach(there: Office) -> None:
    there.confirmed(DANA)
    inbox.mark(there.inst, DANA, "named", {"prospect": "Barry Jones <barry@north.test>"}, there.now)
    (referral,) = there.store.referrals_to(Person(email=BARRY))
    outreach = there.enroll(BARRY, "outreach", prospect=BARRY_PERSON, client=DANA)
    enrollments.advance(there.inst, there.now)
    (draft,) = outbox.drafts(there.inst)
    outbox.approve(there.inst, draft, there.now)
    there.work()
    assert there.of(outreach).referral == referral.id
    (after,) = there.store.referrals_to(Person(email=BARRY))
    assert (after.state, after.contacted_at) == ("contacted", there.now)
