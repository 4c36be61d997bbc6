"""From the outbox to the server: what may leave, what stops it at the last moment, and what becomes of it. A message is sent once,
or it is held and something says why."""

from __future__ import annotations

import email
import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import default
from typing import Any

import office
import pytest
from office import BARRY, BARRY_PERSON, CONFIG, DANA, KIM, LEE, MONDAY, SAM, Office

from engine import decisions, enrollments, outbox
from engine.core.happening import Stopped
from engine.core.model import OutboxMessage, OutboxState, State
from engine.decisions import suppress
from engine.letters import write
from engine.outbox import Claim, NeedsRead, Nothing
from engine.smtp import (
    Accepted,
    Cancelled,
    Deferred,
    InDoubt,
    LoginRefused,
    Refused,
    Unreachable,
)

stores = office.either_stores
there = office.either_office
new_office = office.either_new_office

GREYLISTED = Deferred(450, "4.2.0 greylisted, come again")
LIMIT = Deferred(421, "4.7.28 too many messages", account=True)
LOST = InDoubt("the connection was lost after the body")
NO_SUCH_USER = Refused(550, "no such user", "5.1.1", "address")
SPAMMY = Refused(554, "this looks like spam", "5.7.1", "message")


def parsed(message: OutboxMessage) -> EmailMessage:
    found = email.message_from_bytes(message.raw, policy=default)
    assert isinstance(found, EmailMessage)
    return found


def row(there: Office, enrollment: Any, step: str) -> OutboxMessage:
    return [m for m in there.rows(enrollment) if m.step == step][-1]


def nudged(there: Office) -> Any:
    """Dana got the first email, and the second is in the outbox now."""
    nudge = there.enroll()
    there.work()
    there.later(days=3)
    enrollments.advance(there.inst, there.now)
    assert row(there, nudge, "second").state is OutboxState.QUEUED
    return nudge


# --- the plain way ---------------------------------------------------------------------------------------------------


def test_what_is_due_leaves_once_and_the_next_step_is_counted_from_it(there: Office) -> None:
    nudge = there.enroll()
    assert [m.step for m in there.work()] == ["first"]
    assert there.work() == []
    assert there.of(nudge).due_at == MONDAY + timedelta(days=3)
    assert [(m.step, m.sent_at or 0) for m in there.run(days=3)] == [("second", 0)]
    assert there.run(days=60) and there.sent(nudge) == ["first", "second", "third"]
    assert there.of(nudge).outcome == "finished"
    assert there.store.next_due() is None


def test_a_day_that_is_run_through_again_sends_nothing_again(there: Office) -> None:
    nudge = there.enroll()
    there.run(days=10)
    sent = [m.message_id for m in there.rows(nudge)]
    assert len(set(sent)) == 3
    for _ in range(3):
        enrollments.advance(there.inst, MONDAY)
        assert there.work() == []
    assert [m.message_id for m in there.rows(nudge)] == sent


def test_nothing_leaves_outside_its_window(there: Office) -> None:
    there.now = MONDAY + timedelta(days=4, hours=9)  # Friday, 18:00
    there.enroll()
    assert there.work() == []
    there.run(days=3)
    (sent,) = there.store.outbox_in(OutboxState.SENT)
    assert sent.sent_at == datetime(2026, 3, 9, 9, 0, tzinfo=UTC)


def test_an_email_that_waited_in_the_outbox_past_its_window_waits_until_the_next(there: Office) -> None:
    there.enroll()
    enrollments.advance(there.inst, there.now)
    there.later(hours=8)  # 17:00: closed
    assert there.claim() == Nothing(MONDAY + timedelta(days=1))
    there.later(hours=16)
    assert isinstance(there.claim(), Claim)


def test_follow_ups_leave_before_first_contacts(there: Office) -> None:
    there.enroll(DANA)
    there.work()
    there.later(days=3)
    there.enroll("new@other.test")
    assert [(m.recipient, m.step) for m in there.work()] == [(DANA, "second"), ("new@other.test", "first")]


def test_the_gap_between_two_emails_is_kept_and_the_same_for_the_same_email(new_office: Callable[..., Office]) -> None:
    there = new_office(config=CONFIG.replace("gap: 0-0 seconds", "gap: 60-90 seconds"))
    for number in range(3):
        there.enroll(f"a{number}@b{number}.test")
    assert len(there.work()) == 1
    waits = there.claim()
    assert isinstance(waits, Nothing) and waits.until
    assert timedelta(seconds=60) <= waits.until - MONDAY <= timedelta(seconds=90)
    there.run(minutes=5)
    assert len(there.sent()) == 3


def test_the_daily_limit_holds_until_midnight_of_the_rep(new_office: Callable[..., Office]) -> None:
    there = new_office(config=CONFIG.replace("per_day: 100", "per_day: 2"))
    for number in range(3):
        there.enroll(f"a{number}@b{number}.test")
    assert len(there.work()) == 2
    waits = there.claim()
    assert waits == Nothing(datetime(2026, 3, 3, tzinfo=UTC), "the daily limit of 2 is reached")


# --- the gate --------------------------------------------------------------------------------------------------------


def test_a_follow_up_asks_for_a_read_first(there: Office) -> None:
    nudged(there)
    assert isinstance(there.claim(), NeedsRead)
    there.read()
    there.later(seconds=61)
    assert isinstance(there.claim(), NeedsRead), "a read of a minute ago is too old"
    there.read()
    assert isinstance(there.claim(), Claim)


def test_a_follow_up_whose_mailbox_cannot_be_read_stays(there: Office) -> None:
    nudge = nudged(there)
    for _ in range(20):
        assert there.work(reads=False) == []
        there.later(minutes=5)
    assert there.sent(nudge) == ["first"]


def test_a_read_that_gets_old_between_claim_and_body_holds_the_body(there: Office) -> None:
    nudge = nudged(there)
    claim = there.claimed()
    there.later(seconds=61)
    assert not there.start(claim)
    there.record(claim, Cancelled())
    assert row(there, nudge, "second").state is OutboxState.QUEUED
    assert [m.step for m in there.work()] == ["second"]


def test_a_read_from_before_the_clock_was_set_back_does_not_count(there: Office) -> None:
    nudged(there)
    there.later(hours=2)
    there.read()
    there.later(hours=-1)
    assert isinstance(there.claim(), NeedsRead)
    claim = there.claimed()
    there.later(seconds=-1)
    assert not there.start(claim)


def test_a_first_contact_leaves_from_a_mailbox_that_cannot_be_read(there: Office) -> None:
    there.enroll()
    assert [m.step for m in there.work(reads=False)] == ["first"]


def test_a_first_contact_passes_a_follow_up_that_is_held(there: Office) -> None:
    nudge, other = there.enroll(), there.enroll(BARRY, "other")
    both = there.enroll(BARRY, "apart")
    there.work()
    there.later(days=3)
    there.enroll(LEE)
    enrollments.advance(there.inst, there.now)
    assert isinstance(there.claim(), NeedsRead)

    def passes() -> Claim | NeedsRead | Nothing:
        return outbox.claim(there.inst, SAM, there.epochs[SAM], there.now, follow_ups=False)

    passed = passes()
    assert isinstance(passed, Claim) and passed.message.recipient == LEE
    there.deliver(passed)
    assert isinstance(passes(), Nothing), "who had mail since it was queued is no first contact"
    assert (there.sent(nudge), there.sent(other), there.sent(both)) == (["first"], ["first"], [])
    there.work()
    assert there.sent(nudge) == ["first", "second"]


def test_who_wrote_before_is_no_first_contact(there: Office) -> None:
    there.confirmed(DANA)
    there.hear("Could you call me some time?")
    there.enroll()
    enrollments.advance(there.inst, there.now)
    assert isinstance(there.claim(), NeedsRead)


def test_a_first_email_whose_fate_is_in_doubt_makes_the_next_one_a_follow_up(there: Office) -> None:
    there.enroll(DANA, "nudge")
    there.work(LOST)
    there.later(days=4)
    there.enroll(DANA, "other")
    enrollments.advance(there.inst, there.now)
    assert isinstance(there.claim(), NeedsRead)


# --- an answer wins --------------------------------------------------------------------------------------------------


def test_an_answer_between_claim_and_body_wins(there: Office) -> None:
    nudge = nudged(there)
    claim = there.claimed()
    there.hear("I am on it, give me a week.", to=row(there, nudge, "first"))
    assert not there.start(claim)
    there.record(claim, Cancelled())
    assert row(there, nudge, "second").state is OutboxState.CANCELLED
    there.run(days=60)
    assert there.sent(nudge) == ["first"]


def test_an_answer_that_crosses_the_body_is_said_to_have_crossed_and_stops_what_follows(there: Office) -> None:
    nudge = nudged(there)
    claim = there.claimed()
    assert there.start(claim)
    there.hear("I am on it, give me a week.", to=row(there, nudge, "first"))
    there.record(claim)
    assert there.state(nudge) is State.PAUSED
    there.run(days=60)
    assert there.sent(nudge) == ["first", "second"]


def test_a_refusal_for_now_after_an_answer_is_no_reason_to_send_it_later(there: Office) -> None:
    """The body had begun, an answer came, and then the server said: not now."""
    nudge = nudged(there)
    claim = there.claimed()
    assert there.start(claim)
    there.hear("I am on it, give me a week.", to=row(there, nudge, "first"))
    there.record(claim, GREYLISTED)
    there.run(days=60)
    assert there.sent(nudge) == ["first"]


GOES_ELSEWHERE = """
name: Goes elsewhere
kind: touch
to: client
steps:
  - {id: first, email: hello}
  - {id: second, wait: 3 days, email: again}
  - {id: thanks, aside: true, email: last}
when:
  reply: {goto: thanks}
"""


@pytest.mark.parametrize("came_back", [GREYLISTED, Unreachable("lost before the body")])
def test_an_email_of_a_step_that_was_left_never_leaves_later(new_office: Callable[..., Office], came_back: Any) -> None:
    """The answer led to another step while the nudge was on its way; then the nudge comes back into the outbox."""
    there = new_office(books=office.library({"elsewhere": GOES_ELSEWHERE}))
    going = there.enroll(DANA, "elsewhere")
    there.work()
    there.later(days=3)
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    assert there.start(claim)
    there.hear("Which of the two do you mean?", to=row(there, going, "first"))
    assert there.of(going).step == "thanks"
    there.record(claim, came_back)
    there.run(days=60)
    assert there.sent(going) == ["first", "thanks"]
    assert row(there, going, "second").state is OutboxState.CANCELLED


def test_an_email_proven_absent_is_not_sent_when_the_person_has_answered_meanwhile(
    new_office: Callable[..., Office],
) -> None:
    there = new_office(books=office.library({"elsewhere": GOES_ELSEWHERE}))
    going = there.enroll(DANA, "elsewhere")
    there.work()
    there.later(days=3)
    there.work(LOST)
    there.hear("Which of the two do you mean?", to=row(there, going, "first"))
    (doubt,) = there.store.outbox_in(OutboxState.IN_DOUBT)
    assert outbox.settle(there.inst, doubt, False, there.now, "absent")
    there.run(days=60)
    assert there.sent(going) == ["first", "thanks"]


def test_a_stop_by_hand_between_claim_and_body_wins(there: Office) -> None:
    nudged(there)
    claim = there.claimed()
    enrollments.steer(there.inst, DANA, "", Stopped("stopped_by_rep"), there.now)
    assert not there.start(claim)


def test_the_brake_is_obeyed_by_the_claim_and_by_the_body(there: Office) -> None:
    nudge = nudged(there)
    claim = there.claimed()
    there.store.set_setting(outbox.BRAKE, "on")
    assert not there.start(claim)
    there.record(claim, Cancelled())
    assert isinstance(there.claim(), Nothing)
    there.store.drop_setting(outbox.BRAKE)
    assert [m.step for m in there.work()] == ["second"]
    assert there.sent(nudge) == ["first", "second"]


def test_a_suppressed_address_gets_nothing_and_everything_for_it_stops(there: Office) -> None:
    nudge, other = there.enroll(DANA, "nudge"), there.enroll(DANA, "other")
    enrollments.advance(there.inst, there.now)
    there.store.suppress(DANA, "by hand", there.now)
    assert there.work() == []
    assert {there.of(e).outcome for e in (nudge, other)} == {"by hand"}
    assert {m.state for e in (nudge, other) for m in there.rows(e)} == {OutboxState.CANCELLED}


def test_a_client_who_opts_out_gets_no_email_of_a_prospects_sequence_that_is_claimed(there: Office) -> None:
    outreach = there.enroll(BARRY, "both", client=DANA, prospect=BARRY_PERSON)
    enrollments.advance(there.inst, there.now)
    there.deliver(there.claimed())
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    assert claim.message.recipient == DANA
    suppress(there.inst, there.of(outreach).client, "unsubscribed", there.now)
    assert not there.start(claim)
    there.record(claim, Cancelled())
    assert [m.recipient for m in there.run(days=30)] == []


def test_who_opts_out_gets_no_copy_of_an_email_that_was_frozen_before(new_office: Callable[..., Office]) -> None:
    copied = office._SEQUENCES["outreach"].replace("approve: true", "bcc: client")
    there = new_office(books=office.library({"outreach": copied}))
    outreach = there.enroll(BARRY, "outreach", client=DANA, prospect=BARRY_PERSON)
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    assert claim.message.bcc == (DANA,)
    suppress(there.inst, there.of(outreach).client, "unsubscribed", there.now)
    assert not there.start(claim)
    there.record(claim, Cancelled())
    again = there.claimed()
    assert (again.message.raw, again.message.bcc) == (claim.message.raw, ())
    assert there.start(again)


def test_an_address_suppressed_between_claim_and_body_gets_nothing(there: Office) -> None:
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    contact = there.store.contact_at(DANA)
    assert contact
    decisions.suppress(there.inst, contact.id, "by hand", there.now)
    assert not there.start(claim)
    assert there.of(nudge).outcome == "by hand"


# --- who may send ----------------------------------------------------------------------------------------------------


def test_another_owner_of_the_mailbox_is_the_only_one_who_may_claim(there: Office) -> None:
    there.enroll()
    enrollments.advance(there.inst, there.now)
    there.store.end_lease(SAM, "test")
    newer = there.store.lease(SAM, "another", there.now, there.now + timedelta(days=1))
    assert isinstance(there.claim(), Nothing)
    assert newer
    there.epochs[SAM] = newer
    assert isinstance(there.claim(), Claim)


def test_a_claim_of_an_old_epoch_writes_no_body(there: Office) -> None:
    nudged(there)
    claim = there.claimed()
    there.store.end_lease(SAM, "test")
    there.store.lease(SAM, "another", there.now, there.now + timedelta(days=1))
    assert not there.start(claim)


def test_a_process_that_was_frozen_writes_no_body_when_it_wakes(there: Office) -> None:
    nudged(there)
    claim = there.claimed()
    there.later(seconds=121)
    there.read()
    assert not there.start(claim)


def test_what_has_begun_by_a_clock_that_is_behind_is_not_queued_again(there: Office) -> None:
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    assert there.start(claim)
    assert not there.store.reclaim(claim.message, there.now + timedelta(hours=1), "lost")
    assert there.rows(nudge)[0].state is OutboxState.DATA_STARTED


def test_what_a_dead_worker_had_claimed_is_sent_by_the_next_and_once(there: Office) -> None:
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    dead = there.claimed()
    assert outbox.reclaim(there.inst, SAM, there.now) == []
    assert isinstance(there.claim(), Nothing), "it may still be at it"
    there.later(seconds=121)
    outbox.reclaim(there.inst, SAM, there.now)
    assert [m.step for m in there.work()] == ["first"]
    assert not there.start(dead)
    there.record(dead, Cancelled())
    assert there.sent(nudge) == ["first"]
    state = there.store.mailbox(SAM)
    assert state and there.work() == []


# --- doubts ----------------------------------------------------------------------------------------------------------


def in_doubt(there: Office) -> tuple[Any, OutboxMessage]:
    nudge = there.enroll()
    there.work(LOST)
    (doubt,) = there.store.outbox_in(OutboxState.IN_DOUBT)
    return nudge, doubt


def test_a_doubt_is_never_sent_again_by_itself(there: Office) -> None:
    nudge, doubt = in_doubt(there)
    assert there.run(days=90) == []
    assert there.of(nudge).in_hand == "outbox"
    assert doubt.note == LOST.text


def test_a_crash_after_the_body_began_is_a_doubt_once_nobody_can_be_speaking(there: Office) -> None:
    there.enroll()
    enrollments.advance(there.inst, there.now)
    assert there.start(there.claimed())
    there.later(seconds=120 + 600)
    assert outbox.reclaim(there.inst, SAM, there.now) == []
    there.later(seconds=1)
    assert [m.step for m in outbox.reclaim(there.inst, SAM, there.now)] == ["first"]
    assert there.run(days=90) == []


def test_an_answer_of_the_server_that_comes_after_all_ends_the_doubt(there: Office) -> None:
    """The reconciler had given it up, and then the slow server answered."""
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    there.start(claim)
    there.later(seconds=721)
    outbox.reclaim(there.inst, SAM, there.now)
    there.record(claim)
    assert there.sent(nudge) == ["first"]


@pytest.mark.parametrize("answer", [GREYLISTED, LIMIT])
def test_a_late_no_ends_the_doubt_too(there: Office, answer: Any) -> None:
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    there.start(claim)
    there.later(seconds=721)
    outbox.reclaim(there.inst, SAM, there.now)
    there.record(claim, answer)
    assert row(there, nudge, "first").state is OutboxState.QUEUED
    there.run(hours=3)
    assert there.sent(nudge) == ["first"]


def test_a_doubt_settled_as_sent_goes_on_with_the_next_step(there: Office) -> None:
    nudge, doubt = in_doubt(there)
    assert outbox.settle(there.inst, doubt, True, there.now, "the rep says so")
    assert not outbox.settle(there.inst, doubt, True, there.now, "again")
    assert not outbox.settle(there.inst, doubt, False, there.now, "after all")
    there.run(days=3)
    assert there.sent(nudge) == ["first", "second"]


def test_a_doubt_settled_as_not_sent_leaves_again_in_the_same_bytes(there: Office) -> None:
    nudge, doubt = in_doubt(there)
    there.later(hours=1)
    assert outbox.settle(there.inst, doubt, False, there.now, "the rep says so")
    assert not outbox.settle(there.inst, doubt, True, there.now, "after all")
    (sent,) = there.work()
    assert sent.raw == doubt.raw
    assert there.sent(nudge) == ["first"]


def test_the_copy_in_sent_settles_a_doubt(there: Office) -> None:
    nudge, doubt = in_doubt(there)
    there.receive(doubt.raw, folder="Sent", kind="sent")
    assert there.sent(nudge) == ["first"]
    assert there.of(nudge).step == "second"


def test_what_another_copy_of_the_store_has_sent_counts_as_sent(there: Office) -> None:
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    outbox.found_before(there.inst, claim, "Sent", there.now)
    assert not there.start(claim)
    assert there.sent(nudge) == ["first"] and there.of(nudge).step == "second"


def test_absence_proves_something_only_twice_and_only_where_the_server_files(there: Office) -> None:
    nudge, doubt = in_doubt(there)
    look = lambda folder, files: outbox.look(there.inst, doubt, folder, files, there.now)
    for _ in range(5):
        there.later(minutes=20)
        look(None, False)
    assert row(there, nudge, "first").state is OutboxState.IN_DOUBT
    look(None, True)
    there.later(minutes=14)
    look(None, True)
    assert row(there, nudge, "first").state is OutboxState.IN_DOUBT
    there.later(minutes=1)
    look(None, True)
    assert row(there, nudge, "first").state is OutboxState.QUEUED


def test_what_was_absent_before_an_attempt_proves_nothing_about_it(there: Office) -> None:
    enrollment, doubt = in_doubt(there)
    outbox.look(there.inst, doubt, None, True, there.now)
    outbox.settle(there.inst, doubt, False, there.now, "the rep says so")
    again = there.claimed()
    assert there.start(again)
    there.record(again, InDoubt("lost"))
    there.later(minutes=20)
    outbox.look(there.inst, again.message, None, True, there.now)
    assert there.rows(enrollment)[0].state is OutboxState.IN_DOUBT, "it was looked for once"


def test_a_search_that_finds_it_settles_it_as_sent(there: Office) -> None:
    nudge, doubt = in_doubt(there)
    outbox.look(there.inst, doubt, "Sent", True, there.now)
    assert there.sent(nudge) == ["first"]


# --- what the server says --------------------------------------------------------------------------------------------


def test_greylisting_brings_the_same_bytes_again_after_a_growing_wait(there: Office) -> None:
    nudge = there.enroll()
    (first,) = there.work(GREYLISTED)
    waits = []
    for _ in range(4):
        now = there.now
        waits.append(there.run(GREYLISTED, minutes=0) or row(there, nudge, "first").not_before - now)
        there.now = row(there, nudge, "first").not_before
        (again,) = there.work(GREYLISTED)
        assert (again.raw, again.message_id) == (first.raw, first.message_id)
    assert waits == [timedelta(minutes=m) for m in (5, 10, 20, 40)]
    there.now = row(there, nudge, "first").not_before
    there.work()
    assert there.sent(nudge) == ["first"]
    state = there.store.mailbox(SAM)
    assert state and state.sent_today == 1, "what was not taken does not count"


def test_the_wait_never_passes_four_hours_and_after_three_days_the_rep_is_asked(there: Office) -> None:
    nudge = there.enroll()
    tried = there.run(GREYLISTED, days=3)
    assert 8 < len(tried) < 20
    waits = [line for line in there.store.story(there.of(nudge).contact) if line.kind == "deferred"]
    assert all("again at" in line.text for line in waits)
    assert row(there, nudge, "first").not_before - there.now <= timedelta(hours=4)
    assert there.run(GREYLISTED, days=2) == []
    assert row(there, nudge, "first").state is OutboxState.DRAFT


def test_where_nobody_is_asked_three_days_of_not_now_are_a_refusal(new_office: Callable[..., Office]) -> None:
    sends = "name: S\nkind: touch\nto: client\nsteps:\n  - {id: first, email: hello, late: send}\n"
    there = new_office(books=office.library({"sends": sends}))
    there.enroll(DANA, "sends")
    there.run(GREYLISTED, days=4)
    assert there.rows("sends")[0].state is OutboxState.REFUSED
    assert there.of("sends").tries == 1


def test_an_email_that_had_waited_for_long_still_has_its_three_days_of_tries(there: Office) -> None:
    """What it waited for before the server first said no is no fault of the server."""
    there.enroll(LEE, "asks_the_rep")
    there.run(minutes=59)
    there.later(days=10)
    enrollments.advance(there.inst, there.now)
    (draft,) = outbox.drafts(there.inst)
    assert outbox.approve(there.inst, draft, there.now)
    there.work(GREYLISTED)
    there.run(GREYLISTED, hours=5)
    assert row(there, "asks_the_rep", "first").state is OutboxState.QUEUED


def test_a_limit_of_the_provider_pauses_the_account_and_not_the_message(there: Office) -> None:
    there.enroll(DANA)
    there.enroll(BARRY)
    assert len(there.work(LIMIT)) == 1
    waits = there.claim()
    assert isinstance(waits, Nothing) and waits.until == there.now + outbox.LIMIT_REST and waits.why == LIMIT.text
    there.run(hours=2)
    assert len(there.sent()) == 2
    assert {m.deferrals for m in there.store.outbox_in(OutboxState.SENT)} == {0}


def test_a_pause_of_one_account_leaves_the_others_alone(there: Office) -> None:
    there.enroll(DANA)
    there.work(LIMIT)
    there.enroll(BARRY, rep=KIM)
    assert [m.mailbox for m in there.work()] == [KIM]


def test_a_refused_login_is_not_tried_again_at_once(there: Office) -> None:
    there.enroll()
    assert len(there.work(LoginRefused("535 5.7.8 wrong password"))) == 1
    assert there.work() == []
    there.later(minutes=14)
    assert there.work() == []
    there.later(minutes=1)
    assert len(there.work()) == 1


def test_a_server_that_is_down_for_a_day_is_told_of_once(there: Office) -> None:
    there.enroll()
    for _ in range(60):
        there.work(Unreachable("no route to mail.demo.test"))
        there.later(minutes=1)
    told = [line for line in there.store.history_since(MONDAY - timedelta(days=1)) if line.kind == "mailbox"]
    assert len(told) == 1
    there.work()
    assert len(there.sent()) == 1


def test_a_dead_address_stops_everything_for_it(there: Office) -> None:
    nudge, other = there.enroll(DANA, "nudge"), there.enroll(DANA, "other")
    there.work(NO_SUCH_USER)
    assert {there.of(e).outcome for e in (nudge, other)} == {"bounced"}
    assert there.store.suppressed(DANA)
    assert there.run(days=30) == []


def test_a_refused_message_is_tried_twice_more_under_new_ids_and_then_the_rep_is_asked(there: Office) -> None:
    nudge = there.enroll()
    tried = there.run(SPAMMY, days=30)
    assert len(tried) == 3
    assert len({m.message_id for m in tried}) == 3
    assert [m.attempt for m in tried] == [0, 1, 2]
    assert there.state(nudge) is State.PAUSED
    assert [t.kind for t in there.store.open_tasks()] == ["triage"]
    assert not there.store.suppressed(DANA)


def test_after_the_rep_has_said_continue_a_refused_message_has_a_new_try(there: Office) -> None:
    from engine import inbox

    nudge = there.enroll()
    there.run(SPAMMY, days=30)
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    there.run(days=7)
    assert "first" in there.sent(nudge)
    assert row(there, nudge, "first").attempt == 3


def test_a_template_that_fails_later_pauses_that_enrollment_alone(new_office: Callable[..., Office]) -> None:
    broken = {"again": "---\nsubject: Again\n---\nAbout {{ client.fields_that_are_not }}\n"}
    there = new_office()
    nudge, split = there.enroll(DANA, "nudge"), there.enroll(BARRY, "apart")
    there.work()
    there.inst = type(there.inst)(there.inst.config, there.store, office.library({}, broken), there.inst.key)
    there.later(days=3)
    assert there.work() == []
    assert {there.state(e) for e in (nudge, split)} == {State.PAUSED}
    assert [t.kind for t in there.store.open_tasks()] == ["failed", "failed"]
    there.enroll(LEE, "split")
    assert len(there.work()) == 1


# --- late ------------------------------------------------------------------------------------------------------------


def test_what_is_overdue_by_more_than_three_days_asks_the_rep(there: Office) -> None:
    late = there.enroll(DANA, "asks_the_rep")
    there.later(days=4)
    assert there.work() == []
    (draft,) = outbox.drafts(there.inst)
    assert (draft.step, there.of(late).in_hand) == ("first", "draft")


def test_late_skip_skips_and_late_send_sends(there: Office) -> None:
    late = there.enroll(DANA, "asks_the_rep")
    there.later(hours=1)
    there.work()
    there.later(days=10)
    there.work()
    there.run(days=1)
    there.later(days=10)
    there.work()
    assert there.sent(late) == ["first", "third"]


def test_an_email_that_became_overdue_in_the_outbox_asks_the_rep_too(there: Office) -> None:
    late = there.enroll(DANA, "nudge")
    enrollments.advance(there.inst, there.now)
    there.later(days=4)
    assert there.work() == []
    assert row(there, late, "first").state is OutboxState.DRAFT


def test_until_skips_what_would_come_too_late(there: Office) -> None:
    known = there.enroll(DANA, "until", call="2026-03-04 10:00")
    enrollments.advance(there.inst, there.now)
    there.now = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
    assert there.work() == []
    there.run(days=3)
    assert there.sent(known) == ["after"]
    assert any("before: skipped: it would leave later" in line.text for line in there.store.story(known.contact))


def test_until_holds_for_an_email_that_waits_in_the_outbox(there: Office) -> None:
    known = there.enroll(DANA, "until", call="2026-03-04 10:00")
    there.later(hours=1)
    enrollments.advance(there.inst, there.now)
    assert row(there, known, "before").state is OutboxState.QUEUED
    there.now = datetime(2026, 3, 4, 8, 30, tzinfo=UTC)
    there.work()
    assert row(there, known, "before").state is OutboxState.CANCELLED


def test_of_several_late_emails_to_one_person_one_leaves_a_day(there: Office) -> None:
    there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    there.enroll(DANA, "intro", prospect=office.SUE_PERSON)
    there.later(days=2, hours=3)  # nothing ran while both became due
    assert len(there.work()) == 1
    there.later(hours=2)
    assert there.work() == []
    there.run(days=1)
    assert len(there.sent()) == 2


# --- the frequency cap -----------------------------------------------------------------------------------------------


def test_unrelated_sequences_keep_three_days_between_them(there: Office) -> None:
    there.enroll(DANA, "nudge")
    there.enroll(DANA, "split")
    there.work()
    assert len(there.sent()) == 1
    there.run(days=2, hours=23)
    assert len(there.sent()) == 1
    there.run(days=20)
    sent = sorted((m.sent_at, m.enrollment) for m in there.store.outbox_in(OutboxState.SENT) if m.sent_at)
    assert len(sent) == 3
    assert [d.enrollment for d in outbox.drafts(there.inst)] == [there.of("split").id], (
        "what waits for too long is asked"
    )
    for (before, one), (after, other) in itertools.pairwise(sent):
        assert one == other or after - before >= timedelta(days=3)


def test_the_cap_holds_across_reps(there: Office) -> None:
    there.enroll(DANA, "nudge")
    there.work()
    there.enroll(DANA, "split", rep=KIM)
    assert there.work() == []
    waits = there.claim(KIM)
    assert isinstance(waits, Nothing) and waits.until and waits.until >= MONDAY + timedelta(days=3)


def test_the_cap_counts_an_email_in_doubt(there: Office) -> None:
    there.enroll(DANA, "nudge")
    there.work(LOST)
    there.later(hours=1)
    there.enroll(DANA, "split", rep=KIM)
    assert there.work() == []


def test_a_child_goes_on_in_its_parents_line_whatever_the_cap_says(there: Office) -> None:
    there.enroll(DANA, "parent", prospect=BARRY_PERSON)
    there.run(days=1)
    assert there.sent("parent") == ["first"]
    assert there.sent("intro") == ["introduction"]


# --- drafts ----------------------------------------------------------------------------------------------------------


def drafted(there: Office) -> tuple[Any, OutboxMessage]:
    known = there.enroll(BARRY, "outreach", prospect=BARRY_PERSON, client=DANA)
    enrollments.advance(there.inst, there.now)
    (draft,) = outbox.drafts(there.inst)
    return known, draft


def test_a_draft_leaves_only_after_the_reps_word(there: Office) -> None:
    known, draft = drafted(there)
    assert there.work() == []
    there.later(hours=2)
    assert outbox.approve(there.inst, draft, there.now)
    assert not outbox.approve(there.inst, draft, there.now)
    (sent,) = there.work()
    assert "Hello Barry" in sent.text
    there.run(days=3)
    assert there.sent(known) == ["first", "second"], "the wait counts from the sending"


def renamed(there: Office, email: str, name: str) -> None:
    contact = there.store.contact_at(email)
    assert contact
    there.store.save_contact(replace(contact, name=name))


def test_what_would_leave_in_other_words_than_were_approved_is_asked_again(there: Office) -> None:
    known, draft = drafted(there)
    renamed(there, DANA, "Dana Whitfield")
    assert outbox.approve(there.inst, draft, there.now)
    renamed(there, DANA, "Dana Miller")
    assert there.work() == []
    (again,) = outbox.drafts(there.inst)
    assert again.id == draft.id and again.note == "its text has changed since it was approved"
    assert there.of(known).in_hand == "draft" and there.state(known) is State.ACTIVE
    assert (
        "its text has changed since it was approved: the rep is asked again"
        in there.store.story(again.contact)[-1].text
    )
    there.run(days=1)
    assert [t.kind for t in there.store.open_tasks()] == ["draft_overdue"], "it is reminded of like any draft"
    assert outbox.approve(there.inst, again, there.now)
    (sent,) = there.work()
    assert "Dana Miller said" in sent.text and there.sent(known) == ["first"]
    assert there.store.open_tasks() == []


def test_what_was_shown_before_the_words_changed_is_not_approved_by_it(there: Office) -> None:
    """The rep looks, the name changes, the rep says yes to what they saw."""
    known, draft = drafted(there)
    shown = outbox.seen(write(there.inst, there.of(known), draft, there.now))
    renamed(there, DANA, "Dana Miller")
    assert outbox.approve(there.inst, draft, there.now, shown=shown)
    assert there.work() == [] and len(outbox.drafts(there.inst)) == 1


def test_an_approved_draft_is_filled_in_again_and_leaves_where_nothing_has_changed(there: Office) -> None:
    _, draft = drafted(there)
    there.now = MONDAY + timedelta(hours=9)  # the window is closed
    assert outbox.approve(there.inst, draft, there.now)
    (sent,) = there.run(days=1)
    assert parsed(sent)["Date"].datetime == MONDAY + timedelta(days=1), "its date is that of its leaving"


def test_what_the_rep_wrote_into_a_draft_goes_out_exactly(there: Office) -> None:
    _, draft = drafted(there)
    outbox.approve(there.inst, draft, there.now, "From Sam", "Barry,\n\nin my *own* words: {{ client.name }}.\n\nSam")
    (sent,) = there.work()
    message = parsed(sent)
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain and html
    assert message["Subject"] == "From Sam"
    assert "{{ client.name }}" in plain.get_content(), "no template any more"
    assert "in my" in plain.get_content() and "own" in html.get_content()


def test_an_edit_wins_over_bytes_that_were_frozen_before(there: Office) -> None:
    """Deferred by the server until it was overdue, asked of the rep, edited: the old bytes must not leave."""
    late = there.enroll(DANA, "nudge")
    there.work(GREYLISTED)
    there.later(days=4)
    assert there.work() == []
    (draft,) = outbox.drafts(there.inst)
    outbox.approve(there.inst, draft, there.now, "Sorry", "Sorry for the delay, Dana.")
    (sent,) = there.work()
    plain = parsed(sent).get_body(("plain",))
    assert plain and "Sorry for the delay, Dana." in plain.get_content()
    assert parsed(sent)["Date"].datetime == there.now
    assert there.sent(late) == ["first"]


def test_a_rejected_draft_is_skipped_and_the_sequence_goes_on(there: Office) -> None:
    known, draft = drafted(there)
    assert outbox.reject(there.inst, draft, there.now)
    assert not outbox.reject(there.inst, draft, there.now)
    assert not outbox.approve(there.inst, draft, there.now)
    assert there.of(known).step == "second"
    there.run(days=3)
    assert there.sent(known) == ["second"]


def test_an_answer_withdraws_a_draft(there: Office) -> None:
    known, draft = drafted(there)
    there.hear("Dana told me about you. Can we talk?", sender=BARRY)
    assert not outbox.approve(there.inst, draft, there.now)
    assert there.state(known) is State.PAUSED
    assert there.work() == []


def test_a_draft_that_waits_for_a_day_is_an_urgent_task_and_the_word_ends_it(there: Office) -> None:
    _, draft = drafted(there)
    there.run(days=1)
    assert [(t.kind, t.urgent) for t in there.store.open_tasks()] == [("draft_overdue", True)]
    outbox.approve(there.inst, draft, there.now)
    assert there.store.open_tasks() == []


def test_an_approved_draft_still_waits_for_its_window_and_the_brake(there: Office) -> None:
    _, draft = drafted(there)
    there.now = MONDAY.replace(hour=20)
    outbox.approve(there.inst, draft, there.now)
    assert there.work() == []
    there.run(hours=13)
    assert len(there.sent()) == 1


# --- threads ---------------------------------------------------------------------------------------------------------


def test_follow_ups_go_on_in_one_thread(there: Office) -> None:
    nudge = there.enroll()
    there.run(days=7)
    first, second, third = (parsed(m) for m in there.rows(nudge))
    own = there.rows(nudge)[0].own_id
    assert first["In-Reply-To"] is None and first["References"].split() == [own]
    assert first["Subject"] == "Hello Dana"
    assert second["In-Reply-To"] == first["Message-ID"]
    assert second["References"].split() == [own, first["Message-ID"]]
    assert second["Subject"] == third["Subject"] == "Re: Hello Dana"
    assert third["References"].split() == [own, first["Message-ID"], second["Message-ID"]]


def test_thread_new_begins_a_thread_with_each_email(there: Office) -> None:
    apart = there.enroll(DANA, "apart")
    there.run(days=7)
    first, second = (parsed(m) for m in there.rows(apart))
    assert second["In-Reply-To"] is None
    assert second["References"].split() == [there.rows(apart)[1].own_id]
    assert (first["Subject"], second["Subject"]) == ("Hello Dana", "Again")


def test_thread_inherit_goes_on_in_the_parents(there: Office) -> None:
    parent = there.enroll(DANA, "parent", prospect=BARRY_PERSON)
    there.run(days=1)
    first, child = parsed(there.rows(parent)[0]), parsed(there.rows("intro")[0])
    assert child["In-Reply-To"] == first["Message-ID"]
    assert child["Subject"] == "Re: Hello Dana"


def test_thread_answer_replies_to_the_message_that_caused_it(there: Office) -> None:
    intro = there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    there.run(days=1)
    there.hear("Barry, meet Sam!", To=BARRY, Cc=SAM, subject="Introduction", Message_ID="<intro@acme.test>")
    assert there.of(intro).outcome == "introduced"
    there.work()
    thanks = parsed(there.rows("thanks")[0])
    assert thanks["In-Reply-To"] == "<intro@acme.test>"
    assert thanks["References"].split() == ["<intro@acme.test>"]
    assert thanks["Subject"] == "Re: Introduction"


CROSSING = """
name: Crossing
kind: touch
to: client
thread: {thread}
steps:
  - {{id: apart, email: hello, thread: new}}
  - {{id: own, email: hello, thread: one}}
  - {{id: parents, email: again, thread: inherit}}
  - {{id: answer, email: again, thread: answer}}
  - {{id: plain, email: last}}
"""


@pytest.mark.parametrize(("thread", "plain"), [("one", "own"), ("inherit", "parents"), ("answer", "answer")])
def test_a_steps_thread_beats_its_sequences(new_office: Callable[..., Office], thread: str, plain: str) -> None:
    parent = "name: P\nkind: touch\nto: client\nsteps: [{id: first, email: one}]\nwhen: {declined: {stop: no, start: crossing}}\n"
    there = new_office(books=office.library({"crossing": CROSSING.format(thread=thread), "parents": parent}))
    started_by = there.enroll(DANA, "parents")
    there.run(days=1)
    (first,) = there.rows(started_by)
    there.hear("No, thank you.", subject="Your question", Message_ID="<no@acme.test>")
    assert there.of(started_by).outcome == "no"
    there.run(days=5)
    steps = {m.step: m for m in there.rows("crossing")}
    assert list(steps) == ["apart", "own", "parents", "answer", "plain"]
    enrollment = there.of("crossing")
    assert steps["apart"].thread not in (enrollment.id, first.thread)
    assert steps["own"].thread == enrollment.id
    assert steps["parents"].thread == first.thread
    (answer,) = there.store.inbound_of(enrollment.contact)
    assert steps["answer"].thread == answer.thread != first.thread
    assert steps["plain"].thread == steps[plain].thread


def test_an_answer_stands_in_the_references_of_what_follows_it(there: Office) -> None:
    from engine import inbox

    nudge = there.enroll()
    there.work()
    there.hear("Let me look into it.", to=row(there, nudge, "first"), Message_ID="<answer@acme.test>")
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    there.run(days=4)
    second = parsed(row(there, nudge, "second"))
    first = row(there, nudge, "first")
    assert second["In-Reply-To"] == "<answer@acme.test>"
    assert second["References"].split() == [first.own_id, first.message_id, "<answer@acme.test>"]


def test_a_machines_note_is_not_what_a_follow_up_answers(there: Office) -> None:
    nudge = there.enroll()
    there.work()
    first = row(there, nudge, "first")
    there.hear(
        "I am out of the office until 2026-03-09.",
        to=first,
        Auto_Submitted="auto-replied",
        Message_ID="<ooo@acme.test>",
    )
    assert there.state(nudge) is State.HELD
    there.run(days=20)
    second = parsed(row(there, nudge, "second"))
    assert second["In-Reply-To"] == first.message_id
    assert "<ooo@acme.test>" not in second["References"]


# --- variants --------------------------------------------------------------------------------------------------------


def test_variants_are_split_evenly_and_the_same_for_the_same_person(there: Office) -> None:
    subjects = []
    for number in range(60):
        there.enroll(f"p{number}@c{number}.test", "split")
    for message in there.work():
        subjects.append(message.subject)
    assert len(subjects) == 60
    assert 15 <= subjects.count("One") <= 45
    again = {m.recipient: m.template for m in there.store.outbox_in(OutboxState.SENT)}
    from engine.letters import template_of

    step = there.inst.library.sequences["split"].steps[0]
    for recipient, template in again.items():
        contact = there.store.contact_at(recipient)
        assert contact and template_of(step, contact.id) == template


def test_every_sent_email_remembers_the_version_and_template_it_came_from(there: Office) -> None:
    there.enroll()
    (sent,) = there.work()
    assert (sent.version, sent.template) == (there.inst.library.version, "hello")
    assert isinstance(office.OK, Accepted)


# --- what is filled in, and when -------------------------------------------------------------------------------------


def test_a_follow_up_is_written_only_once_the_mailbox_was_read(there: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(outbox, "write", lambda inst, e, m, now: written.append(m.step) or write(inst, e, m, now))
    there.enroll(DANA, "nudge")
    there.work()
    there.later(days=3)
    enrollments.advance(there.inst, there.now)
    assert isinstance(there.claim(), NeedsRead)
    assert written == ["first"]
    there.read()
    assert isinstance(there.claim(), Claim)
    assert written == ["first", "second"]


INTRODUCED = "---\nsubject: Meet {{ rep.name }}\n---\nHello {{ prospect.first_name }} of {{ nobody }}, meet Sam.\n"


def test_an_introduction_that_cannot_be_filled_in_stops_only_what_carries_it(new_office: Any) -> None:
    head = "name: X\nkind: touch\nto: client\nneeds: {prospect: person}\nsteps:\n"
    plain = head + "  - {id: a, email: hello}\n  - {id: b, if: prospect.email, email: again}\n"
    books = office.library(
        {"plain": plain, "carries": head + "  - {id: a, email: carrying}\n"},
        {
            "introduction": INTRODUCED,
            "carrying": '---\nsubject: A\n---\n{% include "linked" %}\n',
            "linked": "[introduce us]({{ intro_link }})\n",
        },
    )
    here = new_office(books=books)
    refused = here.wish(DANA, "carries", prospect=BARRY_PERSON)
    assert [str(refusal) for refusal in refused] and "nobody" in str(refused[0])
    here.enroll(DANA, "plain", prospect=BARRY_PERSON)
    here.work()
    assert here.sent() == ["a", "b"]
