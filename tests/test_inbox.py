"""From a message in a rep's mailbox to what follows from it: who hears it, what it stops, what is only said, and what does nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import office
import pytest
from office import BARRY, BARRY_PERSON, DANA, KIM, LEE, MONDAY, SAM, SUE, SUE_PERSON, Office

from engine import enrollments, inbox, outbox
from engine.core.happening import Paused
from engine.core.model import OutboxMessage, OutboxState, Person, State
from engine.errors import UserError
from engine.imap import Fetched
from engine.letters import unsubscribe_token
from engine.smtp import InDoubt, Refused

stores = office.either_stores
there = office.either_office
new_office = office.either_new_office

LOST = InDoubt("the connection was lost after the body")


@pytest.fixture
def asked(there: Office) -> tuple[Office, Any, OutboxMessage]:
    """Dana has the first email of a nudge."""
    nudge = there.enroll()
    (first,) = there.work()
    return there, nudge, first


def kinds(there: Office) -> list[str]:
    return [task.kind for task in there.store.open_tasks()]


# --- answers ---------------------------------------------------------------------------------------------------------


def test_an_answer_pauses_and_waits_for_the_rep(asked: Any) -> None:
    there, nudge, first = asked
    got = there.hear("I need to think about that.", to=first)
    assert got.row and (got.row.matched, got.row.rule, got.row.thread) == ("reference", "reply", first.thread)
    assert there.of(nudge).reason == "waiting_for_rep"
    assert kinds(there) == ["triage"]
    assert [m.id for m in there.store.open_inbound()] == [got.row.id]
    assert there.run(days=90) == []


def test_an_answer_from_another_address_is_found_by_what_it_names(asked: Any) -> None:
    there, nudge, first = asked
    got = there.hear("Dana asked me to answer: she needs more time.", sender="assistant@elsewhere.test", to=first)
    assert got.row and got.row.matched == "reference"
    assert there.state(nudge) is State.PAUSED


def test_an_answer_to_an_older_email_of_the_thread_counts_too(asked: Any) -> None:
    there, nudge, first = asked
    there.run(days=3)
    there.hear("Only now I see this.", to=first)
    assert there.state(nudge) is State.PAUSED


def test_an_answer_of_a_program_that_names_nothing_is_found_by_its_sender(asked: Any) -> None:
    there, nudge, first = asked
    got = there.hear("Let us talk next week.", subject=f"RE: {first.subject}")
    assert got.row and (got.row.matched, got.row.thread) == ("sender", first.thread)
    assert there.state(nudge) is State.PAUSED


def test_a_mail_of_its_own_stops_too_and_is_a_thread_of_its_own(asked: Any) -> None:
    there, nudge, first = asked
    got = there.hear("Do you have a minute?", subject="Something else")
    assert got.row and got.row.thread not in ("", first.thread)
    assert there.state(nudge) is State.PAUSED


def test_our_id_in_the_quoted_text_is_enough(asked: Any) -> None:
    there, nudge, first = asked
    got = there.hear(f"See below.\n\n> Message-ID: {first.message_id}\n", sender="boss@elsewhere.test", subject="Fwd")
    assert got.row and got.row.matched == "own_id"
    assert there.state(nudge) is State.PAUSED


def test_a_colleague_who_quotes_us_is_an_answer(asked: Any) -> None:
    there, nudge, first = asked
    quoted = "\n".join("> " + line for line in first.text.splitlines())
    got = there.hear(f"I take this over from Dana.\n\n{quoted}", sender=LEE, subject="Closing")
    assert got.row and got.row.matched == "quote"
    assert there.state(nudge) is State.PAUSED


def test_a_colleague_with_our_subject_may_be_one_and_the_rep_is_asked(asked: Any) -> None:
    there, nudge, first = asked
    got = there.hear("Yes, absolutely, you kept your promise.", sender=LEE, subject=f"Re: {first.subject}")
    assert got.row and (got.row.matched, got.row.event) == ("maybe", "reply"), "nothing is acted on upon a guess"
    assert there.state(nudge) is State.PAUSED
    assert there.of(nudge).outcome == ""


def test_a_stranger_with_our_subject_is_nobody(asked: Any) -> None:
    there, nudge, first = asked
    got = there.hear("Buy now!", sender="spam@spam.test", subject=f"Re: {first.subject}", Reply_To=DANA)
    assert got.row and (got.row.contact, got.row.text, got.row.decision) == ("", "", "concerns nobody here")
    assert there.state(nudge) is State.ACTIVE


def test_an_answer_to_one_sequence_holds_the_others_of_the_person_until_it_is_settled(asked: Any) -> None:
    there, nudge, first = asked
    other = there.enroll(DANA, "other")
    there.hear("I need to think about that.", to=first)
    assert (there.state(nudge), there.state(other)) == (State.PAUSED, State.HELD)
    assert there.run(days=60) == []
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    assert (there.state(nudge), there.state(other)) == (State.ACTIVE, State.ACTIVE)
    assert kinds(there) == [] and there.store.open_inbound() == []


def test_while_another_answer_waits_what_is_held_stays_held(asked: Any) -> None:
    there, nudge, first = asked
    there.run(days=5)
    other, third = there.enroll(DANA, "other"), there.enroll(DANA, "apart")
    there.run(days=5)
    second = there.rows(other)[0]
    assert second.state is OutboxState.SENT
    there.hear("About the first: let me see.", to=first)
    there.hear("About the other: no idea yet.", to=second)
    assert (there.state(nudge), there.state(other), there.state(third)) == (State.PAUSED, State.PAUSED, State.HELD)
    inbox.settle(there.inst, DANA, "confirmed", {}, there.now)
    assert there.of(nudge).outcome == "confirmed", "the word is about the first answer on the list"
    assert (there.state(other), there.state(third)) == (State.PAUSED, State.HELD)
    assert len(there.store.open_inbound()) == 1
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    assert (there.state(other), there.state(third)) == (State.ACTIVE, State.ACTIVE)


def test_an_answer_to_what_only_listens_stops_the_same_that_was_begun_anew(there: Office) -> None:
    before = there.enroll()
    there.run(days=10)
    assert there.state(before) is State.LISTENING
    anew = there.enroll()
    there.hear("I need to think about that.", to=there.rows(before)[0])
    assert (there.state(before), there.state(anew)) == (State.LISTENING, State.PAUSED)
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    assert (there.state(anew), there.store.open_inbound()) == (State.ACTIVE, [])


@pytest.mark.parametrize("away", ["an absence", "a refusal"])
def test_what_only_listens_does_not_run_again_beside_the_same_that_was_begun_anew(there: Office, away: str) -> None:
    before = there.enroll()
    there.run(days=10)
    anew = there.enroll()
    (first,) = there.work()
    if away == "an absence":
        there.hear("I am out of the office until 30 March 2026.", to=first, Auto_Submitted="auto-replied")
    else:
        there.receive(there.report(there.rows(before)[-1], "5.2.2"))
    assert there.state(before) is State.LISTENING
    assert there.state(anew) in (State.HELD, State.ACTIVE)
    assert [row.event for row in there.store.recent_inbound(5)] == [
        "out_of_office" if away == "an absence" else "soft_bounced"
    ]


def test_settling_one_answer_lets_nothing_go_on_while_another_waits(new_office: Callable[..., Office]) -> None:
    there = new_office(config=office.CONFIG.replace("frequency_cap: 3 days", "frequency_cap: 0 days"))
    nudge, other = there.enroll(), there.enroll(DANA, "other")
    there.work()
    for enrollment in (nudge, other):
        there.hear("Who are you again?", to=there.rows(enrollment)[0])
    one, two = there.store.open_inbound()
    inbox.settle(there.inst, DANA, "auto_reply", {}, there.now, of=one.id)
    assert [row.id for row in there.store.open_inbound()] == [two.id]
    assert (there.state(nudge), there.state(other)) == (State.HELD, State.PAUSED)
    inbox.settle(there.inst, DANA, "auto_reply", {}, there.now, of=two.id)
    assert State.HELD not in (there.state(nudge), there.state(other))
    assert there.store.open_inbound() == []


def test_an_answer_to_what_has_ended_holds_what_runs_and_asks_the_rep(asked: Any) -> None:
    there, nudge, first = asked
    there.hear("No, thank you.", to=first)
    assert there.of(nudge).outcome == "declined"
    other = there.enroll(DANA, "other")
    there.hear("Sorry, what I meant was something else.", to=first)
    assert there.state(other) is State.HELD
    assert kinds(there) == ["triage"]
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    assert there.state(other) is State.ACTIVE


def test_who_writes_and_is_in_nothing_becomes_a_task(there: Office) -> None:
    there.confirmed(DANA)
    got = there.hear("Could you call me?")
    assert got.row and got.row.settled_at
    assert kinds(there) == ["triage"]


ANSWERED_BESIDE = "Sam, I do not want this at all, please talk to me first."


def test_an_answer_to_a_step_that_went_to_another_role_stops_its_sequence(there: Office) -> None:
    """Dana is written to by a sequence whose person is Barry."""
    both = there.enroll(BARRY, "both", prospect=BARRY_PERSON, client=DANA)
    there.work()
    told = next(m for m in there.rows(both) if m.step == "told")
    other = there.enroll(DANA, "other")
    there.hear(ANSWERED_BESIDE, to=told)
    assert there.state(both) is State.PAUSED
    assert there.state(other) is State.HELD, "it is Dana who is held, not Barry"
    assert there.run(days=30) == []
    inbox.settle(there.inst, DANA, "stop", {}, there.now)
    assert there.of(both).outcome == "stopped_by_rep"
    assert there.state(other) is State.ACTIVE


def test_an_opt_out_answered_to_a_step_for_another_role_is_that_persons_own(there: Office) -> None:
    both = there.enroll(BARRY, "both", prospect=BARRY_PERSON, client=DANA)
    there.work()
    told = next(m for m in there.rows(both) if m.step == "told")
    there.hear("unsubscribe", to=told, subject="unsubscribe")
    assert there.store.suppressed(DANA)
    assert not there.store.suppressed(BARRY)
    assert there.run(days=30) == []
    assert "told_again" not in there.sent(both)


# --- the same message twice ------------------------------------------------------------------------------------------

NAMED = "You should talk to Sue Okoro <sue@harbour.test>, she has the same problem."


def test_a_message_in_inbox_and_all_mail_is_one(asked: Any) -> None:
    there, nudge, first = asked
    raw = there.mail("I need to think about that.", to=first)
    assert there.receive(raw).row
    assert there.receive(raw, folder="[Gmail]/All Mail", kind="all").row is None
    assert kinds(there) == ["triage"]
    assert there.receive(raw, uidvalidity=2).row is None, "UIDVALIDITY changed, and all is read anew"


def test_a_message_that_was_delivered_twice_is_one(there: Office) -> None:
    """To the rep and to an alias: the same message, with other Received lines."""
    there.confirmed()
    ask = there.enroll(DANA, "ask")
    (first,) = there.work()
    raw = there.mail(NAMED, to=first)
    assert there.receive(b"Received: from a by b; one\r\nDelivered-To: sam@demo.test\r\n" + raw).row
    assert there.receive(b"Received: from c by d; two\r\nDelivered-To: s.carter@demo.test\r\n" + raw).row is None
    there.run(days=7)
    assert there.sent(ask) == ["who_else", "anyone"]


def test_an_answer_to_two_reps_is_heard_once(there: Office) -> None:
    """Both mailboxes are watched. Heard twice, the name would be thanked for twice."""
    there.confirmed()
    ask = there.enroll(DANA, "ask")
    (first,) = there.work()
    raw = there.mail(NAMED, to=first, Cc=KIM)
    heard = there.receive(b"Received: from a by b; one\r\n" + raw).row
    copy = there.receive(b"Received: from a by c; two\r\n" + raw, mailbox=KIM).row
    assert heard and heard.event == "named"
    assert copy is None or copy.rule == "copy"
    there.run(days=7)
    assert there.sent(ask) == ["who_else", "anyone"]
    assert len([e for e in there.store.all_enrollments() if e.sequence == "intro"]) == 1


def test_another_message_under_a_known_id_is_read(asked: Any) -> None:
    there, nudge, first = asked
    there.hear("I am out of the office.", to=first, Message_ID="<same@acme.test>", Auto_Submitted="auto-replied")
    there.hear("No, thank you.", to=first, Message_ID="<same@acme.test>")
    assert there.of(nudge).outcome == "declined"


# --- the first read of a mailbox -------------------------------------------------------------------------------------


def test_older_mail_is_neither_acted_on_nor_kept(asked: Any) -> None:
    there, nudge, _ = asked
    got = there.hear("Do you have a minute?", received_at=MONDAY - timedelta(days=30))
    assert got.row is None
    assert there.state(nudge) is State.ACTIVE
    assert there.store.recent_inbound(10) == []


def test_older_mail_that_names_our_ids_is_acted_on(asked: Any) -> None:
    there, nudge, first = asked
    assert there.hear("I need to think about that.", to=first, received_at=MONDAY - timedelta(days=30)).row
    assert there.state(nudge) is State.PAUSED


def test_an_older_opt_out_by_our_link_counts(asked: Any) -> None:
    """It lay in a folder that was found only now."""
    there, nudge, _ = asked
    token = unsubscribe_token(there.inst, there.of(nudge), DANA)
    there.hear("", subject=f"unsubscribe {token}", folder="Junk", kind="junk", received_at=MONDAY - timedelta(days=30))
    assert there.store.suppressed(DANA)


def test_older_mail_of_the_reps_own_hand_does_nothing(asked: Any) -> None:
    there, nudge, _ = asked
    there.hear("Lunch?", sender=SAM, To=DANA, folder="Sent", kind="sent", received_at=MONDAY - timedelta(days=30))
    assert there.state(nudge) is State.ACTIVE


# --- the rep's own hand ----------------------------------------------------------------------------------------------


def test_what_the_rep_writes_by_hand_holds_everything_of_that_person(asked: Any) -> None:
    there, nudge, _ = asked
    other = there.enroll(DANA, "other")
    got = there.hear("Lunch?", sender=SAM, To=DANA, folder="Sent", kind="sent")
    assert got.row and got.row.event == "rep_wrote"
    assert {there.state(e) for e in (nudge, other)} == {State.HELD}
    held = there.of(nudge)
    assert held.next_at and held.next_at >= MONDAY + timedelta(days=3)


def test_the_rep_writing_from_an_alias_or_another_rep_is_the_reps_hand_too(asked: Any) -> None:
    there, nudge, first = asked
    there.hear("Lunch?", sender="s.carter@demo.test", To=DANA, folder="Sent", kind="sent")
    assert there.state(nudge) is State.HELD
    other = there.enroll(LEE)
    (mail,) = there.work()
    there.hear("I take this over, Lee.", sender=KIM, To=LEE, Cc=SAM, to=mail)
    assert there.state(other) is State.HELD, "no answer of a client: a colleague's hand"


def test_the_rep_who_copies_themself_is_heard_whichever_copy_is_read_first(asked: Any) -> None:
    there, nudge, _ = asked
    raw = there.mail("Lunch?", sender=SAM, To=DANA, Cc=SAM)
    there.receive(b"Received: from a by b; x\r\n" + raw)
    there.receive(raw, folder="Sent", kind="sent")
    assert there.state(nudge) is State.HELD
    assert len([r for r in there.store.recent_inbound(10) if r.event == "rep_wrote"]) == 1


def test_a_note_of_the_rep_to_themself_does_nothing(asked: Any) -> None:
    there, nudge, _ = asked
    there.hear("Buy milk.", sender=SAM, To=SAM)
    assert there.state(nudge) is State.ACTIVE


def test_our_own_copy_in_sent_is_not_the_reps_hand(asked: Any) -> None:
    there, nudge, first = asked
    assert there.receive(first.raw, folder="Sent", kind="sent").row is None
    assert there.receive(first.raw, folder="[Gmail]/All Mail", kind="all").row is None
    assert there.state(nudge) is State.ACTIVE


def test_what_was_sent_a_moment_ago_is_known_in_sent_unopened_and_nowhere_else(
    asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, _, first = asked
    opened: list[bytes] = []
    monkeypatch.setattr(inbox, "_digest", lambda raw, message: opened.append(raw) or "digest")
    there.receive(first.raw, folder="Sent", kind="sent")
    assert not opened and there.store.position(SAM, "Sent")
    there.receive(b"Message-ID: <by.hand@demo.test>\r\n\r\n" + first.raw, folder="Sent", kind="sent")
    there.receive(first.raw)
    assert len(opened) == 2, "it may be an answer that carries our id in its text, or is forged"


def test_a_header_that_no_database_takes_holds_up_no_mailbox(there: Office) -> None:
    raw = b"Message-ID: <nul\x00@demo.test>\r\nFrom: dana\x00@acme.test\r\n\r\nHi\r\n"
    there.receive(raw, folder="Sent", kind="sent")
    assert there.store.position(SAM, "Sent")
    inbox.set_aside(there.inst, Fetched(SAM, "INBOX", "inbox", 1, 99, raw, len(raw), there.now), "damaged", there.now)
    assert kinds(there) == ["set_aside"]


@pytest.mark.parametrize("step", [0, 1])
def test_a_copy_to_which_the_server_gave_another_id_is_not_the_reps_hand(there: Office, step: int) -> None:
    nudge = there.enroll()
    there.run(days=3)
    ours = there.rows(nudge)[step]
    changed = ours.raw.replace(ours.message_id.encode(), b"<rewritten@outlook.test>", 1)
    assert there.receive(changed, folder="Sent", kind="sent").row is None
    assert there.state(nudge) is State.ACTIVE


def test_a_copy_under_another_id_settles_a_doubt_about_a_follow_up(there: Office) -> None:
    nudge = there.enroll()
    there.work()
    there.later(days=3)
    there.work(LOST)
    (doubt,) = there.store.outbox_in(OutboxState.IN_DOUBT)
    changed = doubt.raw.replace(doubt.message_id.encode(), b"<rewritten@outlook.test>", 1)
    there.receive(changed, folder="Sent", kind="sent")
    assert there.sent(nudge) == ["first", "second"]


@pytest.mark.parametrize("fate", [LOST, Refused(554, "spam", "5.7.1", "message")])
def test_the_reps_answer_in_our_thread_is_heard_whatever_became_of_our_email(there: Office, fate: Any) -> None:
    nudge = there.enroll()
    there.work(fate)
    ours = there.rows(nudge)[0]
    there.hear("Dana, one more thing.", sender=SAM, To=DANA, to=ours, folder="Sent", kind="sent")
    assert there.state(nudge) is State.HELD
    if fate is LOST:
        assert there.sent(nudge) == ["first"], "and it shows that ours had arrived"


def test_a_forged_mail_of_the_rep_in_junk_does_nothing(asked: Any) -> None:
    there, nudge, _ = asked
    there.hear("Pay me in coins.", sender=SAM, To=DANA, Cc=SAM, folder="Junk", kind="junk")
    assert there.state(nudge) is State.ACTIVE


# --- machines --------------------------------------------------------------------------------------------------------


def test_an_absence_holds_all_sequences_of_the_person_and_what_begins_meanwhile(asked: Any) -> None:
    there, nudge, first = asked
    other = there.enroll(DANA, "other")
    there.hear("I am out of the office and will be back on 23 March 2026.", to=first, Auto_Submitted="auto-replied")
    later = there.enroll(DANA, "apart")
    assert {there.state(e) for e in (nudge, other, later)} == {State.HELD}
    sent = there.run(days=40)
    assert sent and all(m.due_at >= MONDAY for m in sent)
    times = [m.sent_at for m in there.store.outbox_in(OutboxState.SENT) if m.id != first.id]
    assert min(t for t in times if t) >= MONDAY.replace(day=23)


def test_an_absence_does_not_release_what_an_answer_holds(asked: Any) -> None:
    there, nudge, first = asked
    there.hear("I need to think about that.", to=first)
    there.hear("I am out of the office until 10 March 2026.", to=first, Auto_Submitted="auto-replied")
    assert there.run(days=60) == []
    assert there.state(nudge) is State.PAUSED


def test_a_hard_bounce_is_final_for_the_address(asked: Any) -> None:
    there, nudge, first = asked
    there.receive(there.report(first, "5.1.1"))
    assert there.of(nudge).outcome == "bounced"
    assert there.store.suppressed(DANA)
    assert there.rows(nudge)[0].state is OutboxState.REFUSED


@pytest.mark.parametrize(
    "forged",
    [
        {"message_id": "<never.sent@demo.test>"},
        {"recipient": "somebody.else@acme.test"},
        {"message_id": "<never.sent@demo.test>", "recipient": "somebody.else@acme.test"},
    ],
)
def test_a_bounce_that_is_not_about_an_email_of_ours_does_nothing(asked: Any, forged: Any) -> None:
    there, nudge, first = asked
    there.receive(there.report(first, "5.1.1", **forged))
    assert there.state(nudge) is State.ACTIVE
    assert there.store.suppressions() == []


def test_a_bounce_that_a_client_forges_for_a_colleague_suppresses_nobody(there: Office) -> None:
    """Lee knows the id of Lee's own email, not that of Dana's."""
    there.enroll(DANA)
    there.enroll(LEE)
    _, to_lee = sorted(there.work(), key=lambda m: m.recipient)
    there.receive(there.report(to_lee, "5.1.1", recipient=DANA))
    assert there.store.suppressions() == []


def test_a_delay_changes_nothing(asked: Any) -> None:
    there, nudge, first = asked
    before = there.of(nudge)
    there.receive(there.report(first, "4.4.1"))
    assert there.of(nudge) == before
    assert there.rows(nudge)[0].state is OutboxState.SENT


def test_soft_bounces_by_mail_are_tried_twice_more_and_then_the_rep_is_asked(there: Office) -> None:
    nudge = there.enroll()
    ids = []
    for _ in range(3):
        sent = next(some for _ in range(30) if (some := there.run(hours=6)))
        assert [m.step for m in sent] == ["first"]
        ids.append(sent[0].message_id)
        there.receive(there.report(sent[0], "5.2.2"))
    assert len(set(ids)) == 3
    assert there.state(nudge) is State.PAUSED
    assert there.run(days=30) == []
    assert kinds(there) == ["triage"]
    assert not there.store.suppressed(DANA)


def test_a_bounce_days_after_an_answer_does_not_undo_the_answer(asked: Any) -> None:
    there, nudge, first = asked
    there.hear("I need to think about that.", to=first)
    there.receive(there.report(first, "5.2.2"))
    assert there.state(nudge) is State.PAUSED
    assert there.run(days=30) == []


# --- opting out ------------------------------------------------------------------------------------------------------


def test_the_link_to_unsubscribe_is_final_for_the_person_whoever_sends_it(asked: Any) -> None:
    there, nudge, _ = asked
    other = there.enroll(DANA, "other")
    token = unsubscribe_token(there.inst, there.of(nudge), DANA)
    got = there.hear("", sender="someone@gmail.com", subject=f"unsubscribe {token}")
    assert got.row and got.row.rule == "unsubscribe:token"
    assert {there.of(e).outcome for e in (nudge, other)} == {"unsubscribed"}
    assert there.store.suppressed(DANA)
    assert there.run(days=90) == []
    refused = there.wish(DANA, "nudge", override="but I want to")
    assert isinstance(refused, list) and [r.rule for r in refused] == ["suppressed"]


def test_a_forged_token_does_nothing(asked: Any) -> None:
    there, nudge, _ = asked
    enrollment = there.of(nudge)
    right = unsubscribe_token(there.inst, enrollment, DANA)
    wrong = [right[:-1] + ("0" if right[-1] != "0" else "1"), f"{enrollment.id}-{'0' * 20}", f"ffff-{right[-20:]}"]
    stranger = unsubscribe_token(there.inst, enrollment, LEE)
    for token in (*wrong, stranger):
        there.hear("", sender="someone@gmail.com", subject=f"unsubscribe {token}")
    assert there.state(nudge) is State.ACTIVE
    assert there.store.suppressions() == []


def test_an_opt_out_in_words_suppresses_and_stops_everything(asked: Any) -> None:
    there, nudge, first = asked
    there.confirmed(LEE)
    lee = there.enroll(LEE, "other")
    there.hear("Please unsubscribe me and never write to me again.", to=first)
    assert there.of(nudge).outcome == "unsubscribed"
    assert there.store.suppressed(DANA) and not there.store.suppressed(LEE)
    assert there.state(lee) is State.ACTIVE
    assert there.store.open_inbound() == []


# --- introductions ---------------------------------------------------------------------------------------------------

MEET = "Barry, meet Sam, who helped us a lot. I leave you to it."


def test_an_introduction_in_no_thread_stops_the_nudging_and_is_thanked_for(there: Office) -> None:
    intro = there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    there.run(days=1)
    got = there.hear(MEET, To=BARRY, Cc=SAM, subject="Barry / Sam")
    assert got.row and (got.row.event, got.row.matched) == ("introduced", "sender")
    assert there.of(intro).outcome == "introduced"
    assert [m.step for m in there.run(days=20)] == ["thanks"]
    (referral,) = there.store.referrals_to(Person(email=BARRY))
    assert referral.introduced_at == MONDAY + timedelta(days=1) and referral.proof == got.row.id


def test_an_introduction_is_heard_by_the_sequence_of_that_prospect(there: Office) -> None:
    barry = there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    sue = there.enroll(DANA, "intro", prospect=SUE_PERSON)
    there.run(days=1)
    there.hear(MEET, To=BARRY, Cc=SAM, subject="Barry / Sam")
    assert there.of(barry).outcome == "introduced"
    assert there.state(sue) is State.ACTIVE


def test_an_introduction_of_two_people_stops_the_nudging_about_both(there: Office) -> None:
    barry = there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    sue = there.enroll(DANA, "intro", prospect=SUE_PERSON)
    there.run(days=1)
    there.hear("Barry, Sue, meet Sam.", To=f"{BARRY}, {SUE}", Cc=SAM, subject="Introductions")
    assert {there.of(e).outcome for e in (barry, sue)} == {"introduced"}
    nudges = [m.step for m in there.run(days=30) if m.step != "thanks"]
    assert nudges == []
    thanked = [e.variables["prospect"]["email"] for e in there.store.all_enrollments() if e.sequence == "thanks"]
    assert sorted(thanked) == sorted([BARRY, SUE])


def test_an_introduction_ends_the_cold_word_to_the_prospect(there: Office) -> None:
    there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    outreach = there.enroll(BARRY, "outreach", prospect=BARRY_PERSON, client=DANA)
    there.run(days=1)
    (draft,) = outbox.drafts(there.inst)
    there.hear(MEET, To=BARRY, Cc=SAM, subject="Barry / Sam")
    assert there.of(outreach).outcome == "introduced"
    assert not outbox.approve(there.inst, draft, there.now)


def test_an_introduction_that_nobody_waited_for_is_on_record(there: Office) -> None:
    there.confirmed(DANA)
    there.hear(MEET, To=BARRY, Cc=SAM, subject="Barry / Sam")
    (referral,) = there.store.referrals_to(Person(email=BARRY))
    assert referral.introduced_at
    assert kinds(there) == ["triage"]


# --- names -----------------------------------------------------------------------------------------------------------


def test_two_names_in_one_answer_open_two_introductions_and_one_thanks(there: Office) -> None:
    there.confirmed()
    ask = there.enroll(DANA, "ask")
    (first,) = there.work()
    there.hear("Barry Jones <barry@north.test> and Sue Okoro <sue@harbour.test> both have it.", to=first)
    intros = [e for e in there.store.all_enrollments() if e.sequence == "intro"]
    assert sorted(e.variables["prospect"]["email"] for e in intros) == [BARRY, SUE]
    assert {e.contact for e in intros} == {there.of(ask).contact}
    assert {e.parent for e in intros} == {ask.id}
    there.work()
    assert there.sent(ask) == ["who_else", "anyone"]


# --- doubts ----------------------------------------------------------------------------------------------------------


def test_an_answer_shows_that_a_doubtful_email_has_arrived(there: Office) -> None:
    nudge = there.enroll()
    there.work(LOST)
    (doubt,) = there.store.outbox_in(OutboxState.IN_DOUBT)
    there.hear("I need to think about that.", to=doubt)
    assert there.sent(nudge) == ["first"]
    assert there.state(nudge) is State.PAUSED
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    there.run(days=30)
    assert there.sent(nudge) == ["first", "second", "third"], "and it is not sent again"


def test_an_answer_that_is_faster_than_the_servers_shows_it_too(there: Office) -> None:
    """The answer to the body was never read, because the process died; the client's answer was."""
    nudge = there.enroll()
    enrollments.advance(there.inst, there.now)
    claim = there.claimed()
    assert there.start(claim)
    there.hear("I need to think about that.", to=claim.message)
    there.later(minutes=20)
    assert outbox.reclaim(there.inst, SAM, there.now) == []
    assert there.sent(nudge) == ["first"]
    there.record(claim)
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    there.run(days=30)
    assert there.sent(nudge) == ["first", "second", "third"]


def test_a_report_that_it_is_delayed_shows_that_a_doubtful_email_has_left(there: Office) -> None:
    nudge = there.enroll()
    there.work(LOST)
    (doubt,) = there.store.outbox_in(OutboxState.IN_DOUBT)
    there.receive(there.report(doubt, "4.4.1"))
    assert there.sent(nudge) == ["first"]


# --- the rep's word --------------------------------------------------------------------------------------------------


def waiting(there: Office) -> Any:
    nudge = there.enroll()
    (first,) = there.work()
    there.hear("Hm, what do you mean by that?", to=first)
    assert there.state(nudge) is State.PAUSED
    return nudge


@pytest.mark.parametrize(
    ("word", "state", "outcome"),
    [
        ("continue", State.ACTIVE, ""),
        ("stop", State.STOPPED, "stopped_by_rep"),
        ("confirmed", State.STOPPED, "confirmed"),
        ("declined", State.STOPPED, "declined"),
        ("unsubscribed", State.STOPPED, "unsubscribed"),
        ("complained", State.STOPPED, "complained"),
        ("bounced", State.STOPPED, "bounced"),
        ("auto_reply", State.ACTIVE, ""),
        ("ignored", State.ACTIVE, ""),
    ],
)
def test_every_word_settles_an_answer(there: Office, word: str, state: State, outcome: str) -> None:
    nudge = waiting(there)
    inbox.settle(there.inst, DANA, word, {}, there.now)
    assert (there.state(nudge), there.of(nudge).outcome) == (state, outcome)
    assert there.store.open_inbound() == [] and kinds(there) == []
    with pytest.raises(UserError, match="nothing of"):
        inbox.settle(there.inst, DANA, word, {}, there.now)


@pytest.mark.parametrize("word", ["reply", "named", "introduced"])
def test_a_word_for_which_the_sequence_has_nothing_leaves_the_answer_on_the_list(there: Office, word: str) -> None:
    """Otherwise it would stand still for ever, and nobody would know."""
    nudge = waiting(there)
    inbox.settle(there.inst, DANA, word, {"prospect": "Barry Jones <barry@north.test>"}, there.now)
    if there.state(nudge) is State.PAUSED:
        assert len(there.store.open_inbound()) == 1
    else:
        assert there.state(nudge) is State.ACTIVE


@pytest.mark.parametrize("word", ["finished", "rep_wrote", "delayed", "soft_bounced", "nonsense"])
def test_other_words_settle_nothing_and_the_error_names_those_that_do(there: Office, word: str) -> None:
    nudge = waiting(there)
    with pytest.raises(UserError, match="settles nothing") as refused:
        inbox.settle(there.inst, DANA, word, {}, there.now)
    assert "continue" in refused.value.remedy
    assert there.state(nudge) is State.PAUSED


def test_settling_as_away_holds_until_the_return(there: Office) -> None:
    nudge = waiting(there)
    inbox.settle(there.inst, DANA, "out_of_office", {}, there.now)
    there.run(days=40)
    second = next(m for m in there.rows(nudge) if m.step == "second")
    assert second.sent_at and second.sent_at >= MONDAY + timedelta(days=3)


def test_settling_as_named_opens_what_a_name_opens(there: Office) -> None:
    there.confirmed()
    ask = there.enroll(DANA, "ask")
    (first,) = there.work()
    there.hear("Hm, what do you mean by that?", to=first)
    inbox.settle(there.inst, DANA, "named", {"prospect": "Barry Jones <barry@north.test>"}, there.now)
    there.work()
    assert there.sent(ask) == ["who_else", "anyone"]
    assert there.of("intro").variables["prospect"]["email"] == BARRY


def test_what_the_rep_paused_by_hand_is_not_set_going_by_settling_an_answer(there: Office) -> None:
    nudge = waiting(there)
    other = there.enroll(DANA, "other")
    enrollments.steer(there.inst, DANA, "other", Paused("paused by the rep"), there.now)
    inbox.settle(there.inst, DANA, "continue", {}, there.now)
    assert there.state(nudge) is State.ACTIVE
    assert there.state(other) is State.PAUSED


def test_settling_one_person_says_nothing_about_another(there: Office) -> None:
    nudge = waiting(there)
    lee = there.enroll(LEE)
    (first,) = there.work()
    there.hear("Hm, what do you mean by that?", sender=LEE, to=first)
    inbox.settle(there.inst, LEE, "continue", {}, there.now)
    assert (there.state(nudge), there.state(lee)) == (State.PAUSED, State.ACTIVE)


# --- marks -----------------------------------------------------------------------------------------------------------


def test_marking_the_introduction_stops_the_nudging(there: Office) -> None:
    intro = there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    there.run(days=1)
    inbox.mark(there.inst, DANA, "introduced", {"prospect": "Barry Jones <barry@north.test>"}, there.now)
    assert there.of(intro).outcome == "introduced"
    (referral,) = there.store.referrals_to(Person(email=BARRY))
    assert referral.introduced_at == there.now


def test_marking_by_the_prospects_address_finds_the_client(there: Office) -> None:
    there.confirmed()
    there.enroll(DANA, "ask")
    (first,) = there.work()
    there.hear("Barry Jones <barry@north.test> has it too.", to=first)
    there.run(days=1)
    inbox.mark(there.inst, BARRY, "introduced", {}, there.now)
    assert there.of("intro").outcome == "introduced"


def test_marking_confirmed_earns_the_right_to_ask(there: Office) -> None:
    refused = there.wish(DANA, "ask")
    assert isinstance(refused, list) and [r.rule for r in refused] == ["confirmed"]
    there.enroll(DANA, "split")
    inbox.mark(there.inst, DANA, "confirmed", {}, there.now)
    contact = there.store.contact_at(DANA)
    assert contact and contact.confirmed_at == there.now


def test_marking_confirmed_stops_nobody_who_does_not_wait_for_it(there: Office) -> None:
    """The rep would be asked to look at their own word."""
    there.enroll(DANA, "other")
    (said,) = inbox.mark(there.inst, DANA, "confirmed", {}, there.now)
    assert "recorded" in said
    assert there.state("other") is State.ACTIVE and not there.store.open_tasks()
    there.enroll(DANA, "nudge")
    there.enroll(DANA, "split")
    inbox.mark(there.inst, DANA, "confirmed", {}, there.now)
    assert there.of("nudge").outcome == "confirmed", "it is the one that waits for that, though not the youngest"


@pytest.mark.parametrize("word", ["met", "won", "lost"])
def test_marking_a_prospect_dates_the_referral(there: Office, word: str) -> None:
    there.confirmed(DANA)
    inbox.mark(there.inst, DANA, "named", {"prospect": "Barry Jones <barry@north.test>"}, there.now)
    there.later(days=1)
    inbox.mark(there.inst, BARRY, word, {}, there.now)
    (referral,) = there.store.referrals_to(Person(email=BARRY))
    assert referral.state == word and getattr(referral, f"{word}_at") == there.now
    there.later(days=1)
    inbox.mark(there.inst, DANA, word, {"prospect": BARRY}, there.now)
    (again,) = there.store.referrals_to(Person(email=BARRY))
    assert getattr(again, f"{word}_at") == MONDAY + timedelta(days=1), "every date is set once"


@pytest.mark.parametrize(
    ("email", "word", "said"),
    [
        (DANA, "married", "is no mark"),
        ("nobody@acme.test", "confirmed", "nobody has the address"),
        (DANA, "named", "whom was named"),
        (DANA, "won", "there is no referral"),
    ],
)
def test_a_mark_that_means_nothing_is_refused_with_what_to_do(there: Office, email: str, word: str, said: str) -> None:
    there.confirmed(DANA)
    with pytest.raises(UserError, match=said) as refused:
        inbox.mark(there.inst, email, word, {}, there.now)
    assert refused.value.remedy


# --- odd mail --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [b"", b"\x00\xff" * 100, b"From: " + b"a" * 5000, b"Subject: \xff\xfe\r\n\r\n\x00"])
def test_whatever_lies_in_a_mailbox_leaves_a_row_and_stops_nothing(asked: Any, raw: bytes) -> None:
    there, nudge, _ = asked
    got = there.receive(raw)
    assert got.row and got.row.decision == "concerns nobody here"
    assert there.state(nudge) is State.ACTIVE


def test_an_answer_with_bytes_that_a_database_cannot_hold_is_kept(asked: Any) -> None:
    there, nudge, first = asked
    raw = there.mail("Yes\x00 and no.", to=first, subject="Re: nul")
    there.receive(raw.replace(b"Re: nul", b"Re: \x00 \xed\xa0\x80 =?utf-8?q?=00=ED=A0=80?="))
    assert there.state(nudge) is not State.ACTIVE


def test_a_message_that_was_set_aside_is_a_task_and_its_place_is_behind_us(there: Office) -> None:
    fetched = Fetched(SAM, "INBOX", "inbox", 1, 77, b"odd", 3, there.now)
    inbox.set_aside(there.inst, fetched, "it could not be read", there.now)
    inbox.set_aside(there.inst, fetched, "it could not be read", there.now)
    assert kinds(there) == ["set_aside"]
    assert there.store.position(SAM, "INBOX") == (1, 77)


def test_what_could_not_be_read_may_be_an_answer_and_pauses_what_runs_for_its_sender(asked: Any) -> None:
    there, nudge, first = asked
    raw = there.mail("I need to think about that.", to=first)
    inbox.set_aside(there.inst, Fetched(SAM, "INBOX", "inbox", 1, 77, raw, len(raw), there.now), "it failed", there.now)
    assert there.state(nudge) is State.PAUSED
    assert [DANA in task.title for task in there.store.open_tasks()] == [True]
    assert there.run(days=90) == []


def test_nothing_of_a_message_is_kept_when_deciding_about_it_fails(asked: Any) -> None:
    """One transaction: the row, the decision and the place in the folder."""
    there, nudge, first = asked
    before = there.store.position(SAM, "INBOX")
    there.inst = replace(there.inst, config=replace(there.inst.config, mailboxes=()))
    with pytest.raises(UserError):
        there.hear("I need to think about that.", to=first)
    assert there.store.position(SAM, "INBOX") == before
    assert there.store.recent_inbound(10) == []
    assert there.state(nudge) is State.ACTIVE


def test_the_offices_of_a_test_share_nothing(new_office: Callable[..., Office]) -> None:
    one, two = new_office(), new_office()
    one.enroll()
    assert two.store.all_enrollments() == []
