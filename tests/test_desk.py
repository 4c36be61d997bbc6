"""Letters to the rep: told once, settled by answering, and by nobody but the rep."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import office
import pytest
from office import BARRY, BARRY_PERSON, DANA, KIM, LEE, SAM, Office, library

from engine import desk, enrollments, inbox, outbox, privacy, triggers, troubles
from engine.core.model import OutboxMessage, OutboxState, Person, State
from engine.decisions import set_referral
from engine.inbox import ORDERS
from engine.outbox import Claim, NeedsRead
from engine.smtp import InDoubt
from engine.store import open_store

ANSWER = """
name: Answer
kind: outreach
to: prospect
needs: {prospect: person}
thread: answer
window: always
steps:
  - {id: answer, email: outreach, bcc: client, approve: true}
when:
  rep_wrote: {stop: by_hand}
"""
TRIGGERS = "- {referral: introduced, start: answer}\n"
new_office, either_database = office.new_office, office.either_database


def books(**templates: str) -> Any:
    return library({"answer": ANSWER, "triggers": TRIGGERS}, templates)


@pytest.fixture
def there(new_office: Callable[..., Office]) -> Office:
    return new_office(books=books())


def tick(there: Office) -> list[OutboxMessage]:
    """As the daemon's loops do it; returns the letters to reps that left."""
    desk.advance(there.inst, there.now)
    triggers.advance(there.inst, there.now)
    enrollments.advance(there.inst, there.now)
    desk.advance(there.inst, there.now)
    return [m for m in there.work() if not m.enrollment]


def introduced(there: Office) -> OutboxMessage:
    """Dana introduces Barry, and Sam gets the alert."""
    there.enroll(DANA, "ask", override="she told me so")
    ask = there.work()[0]
    words = f"Barry, meet Sam, who helped us with the closing. Sam, meet Barry Jones <{BARRY}>."
    there.hear(words, to=ask, To=f"Barry Jones <{BARRY}>", Cc=SAM, subject="Barry and Sam")
    (alert,) = tick(there)
    return alert


def morning(there: Office) -> OutboxMessage:
    """The digest of the next morning."""
    tick(there)
    there.now = there.now.replace(hour=7, minute=31) + timedelta(days=1)
    (digest,) = (m for m in tick(there) if m.mailbox == SAM)
    return digest


def waiting(there: Office) -> OutboxMessage:
    """A digest with an answer of Dana (1) and a draft to Barry (2)."""
    there.enroll(DANA, "nudge")
    first = there.work()[0]
    there.hear("Let me think about it.", to=first)
    there.enroll(BARRY, "outreach", client=DANA, prospect=BARRY_PERSON)
    there.work()
    return morning(there)


def approved(there: Office) -> bool:
    return there.rows("outreach")[0].approved_at is not None


def said(there: Office, letter: OutboxMessage, text: str, **more: Any) -> str:
    """Sam answers a letter; returns the word on it, empty where there is none."""
    there.hear(text, **{"sender": SAM, "to": letter, **more})
    return "".join(m.text for m in tick(there) if m.template == "settled")


# --- the alert -------------------------------------------------------------------------------------------------------


def test_the_rep_is_told_once_of_an_introduction_with_the_draft_that_answers_it(there: Office) -> None:
    alert = introduced(there)
    assert alert.recipient == SAM and "Dana Whitfield has introduced you to Barry Jones" in alert.subject
    assert "| Hello Barry, Dana Whitfield said that we should talk." in alert.text
    assert f"| Bcc: {DANA}" in alert.text and "| Barry, meet Sam" in alert.text
    head = message_from_bytes(alert.raw)
    assert head["From"].endswith(f"<{SAM}>") and head["To"].endswith(f"<{SAM}>")
    assert head["Auto-Submitted"] == "auto-generated"
    there.later(hours=1)
    assert tick(there) == []


def test_the_draft_is_approved_by_answering_the_alert(there: Office) -> None:
    alert = introduced(there)
    word = said(there, alert, "approve\n\nSam")
    assert f"1. Draft to {BARRY}" in word and ": approve" in word
    answer = next(m for m in there.rows("answer"))
    assert (answer.state, answer.bcc) == (OutboxState.SENT, (DANA,))
    referral = there.store.referrals()[0]
    assert referral.answered_at == referral.contacted_at == there.now and not referral.waits


def test_the_answer_to_an_introduction_names_nothing_that_its_reader_has_not(there: Office) -> None:
    """Dana is thanked in the same thread, and Barry must not be answered to an email that he never got."""
    alert = introduced(there)
    there.work()
    introduction = next(row for row in there.store.recent_inbound(9) if row.event == "introduced")
    thanks = there.rows("thanks")[0]
    assert thanks.state is OutboxState.SENT and thanks.thread == introduction.thread
    there.later(minutes=5)
    said(there, alert, "approve")
    head = message_from_bytes(there.rows("answer")[0].raw)
    assert head["In-Reply-To"] == introduction.message_id and thanks.message_id not in head["References"]


def test_the_reps_own_hand_stops_the_clock_too_and_the_draft_goes_away(there: Office) -> None:
    introduced(there)
    there.later(minutes=10)
    there.receive(there.mail("Good to meet you, Barry.", SAM, To=BARRY), folder="Sent", kind="sent")
    assert there.state("answer") is State.STOPPED
    referral = there.store.referrals()[0]
    assert (referral.state, referral.answered_at) == ("contacted", there.now)


def test_the_clock_runs_from_when_the_introduction_came_and_until_the_answer_left(there: Office) -> None:
    ask = there.enroll(DANA, "ask", override="she told me so")
    (mail,) = there.work()
    came = there.now + timedelta(hours=1)
    there.later(days=3)  # the daemon stood still over a long weekend
    words = f"Barry, meet Sam, who helped us with the closing. Sam, meet Barry Jones <{BARRY}>."
    whom = {"To": f"Barry Jones <{BARRY}>", "Cc": SAM, "subject": "Barry and Sam"}
    there.hear(words, to=mail, received_at=came, **whom)
    (alert,) = tick(there)
    assert there.of(ask).outcome == "introduced" and "on 02 March, 10:00" in alert.text
    referral = there.store.referrals()[0]
    assert referral.introduced_at == came
    earlier = there.mail("Shall we talk, Barry?", SAM, To=BARRY, subject="Hello")
    there.receive(earlier, folder="Sent", kind="sent", received_at=came - timedelta(minutes=5))
    assert there.store.referrals()[0].waits, "what was written before is no answer to it"
    there.receive(there.mail("Good to meet you, Barry.", SAM, To=BARRY), folder="Sent", kind="sent",
                  received_at=came + timedelta(minutes=20))  # fmt: skip
    assert there.store.referrals()[0].answered_at == came + timedelta(minutes=20)


@pytest.mark.parametrize("word", ["approve", "1 won"])
def test_what_the_rep_has_done_leaves_their_list(new_office: Callable[..., Office], word: str) -> None:
    thanks = """
name: Thanks
kind: thanks
to: client
needs: {prospect: person}
steps:
  - {id: answer, task: thank_you/answer_prospect}
  - {id: token, task: note}
"""
    note = "---\nsubject: Answer {{ prospect.name }}\n---\nNow.\n"
    sequences = {"answer": ANSWER, "triggers": TRIGGERS, "thanks": thanks}
    there = new_office(books=library(sequences, {"thank_you/answer_prospect": note}))
    alert = introduced(there)
    titles = [task.title for task in there.store.open_tasks()]
    assert titles == ["Answer Barry Jones", "Note"]
    said(there, morning(there) if word != "approve" else alert, word)
    assert [task.title for task in there.store.open_tasks() if task.kind != "draft_overdue"] == ["Note"]


@pytest.mark.parametrize("word", ["met", "won", "lost"])
def test_a_mark_of_the_rep_withdraws_the_draft_that_answers_the_introduction(there: Office, word: str) -> None:
    introduced(there)
    assert [d.recipient for d in outbox.drafts(there.inst)] == [BARRY]
    assert f"answer: stopped: {word}" in inbox.mark(there.inst, BARRY, word, {}, there.now)
    assert outbox.drafts(there.inst) == [] and there.of("answer").outcome == word
    assert not [task for task in there.store.open_tasks() if task.enrollment == there.of("answer").id]


def test_nobody_is_asked_any_more_for_an_introduction_to_somebody_who_was_met(there: Office) -> None:
    there.enroll(DANA, "intro", prospect=BARRY_PERSON)
    there.enroll(DANA, "nudge")
    there.run(days=1)
    set_referral(there.inst, there.of("intro"), Person("Barry Jones", BARRY), "named", "", there.now)
    inbox.mark(there.inst, BARRY, "met", {}, there.now)
    assert there.of("intro").outcome == "met" and there.state("nudge") is State.ACTIVE


def test_what_the_rep_knows_by_themselves_is_no_alert(there: Office) -> None:
    there.confirmed(DANA)
    inbox.mark(there.inst, DANA, "introduced", {"prospect": f"Barry Jones <{BARRY}>"}, there.now)
    assert tick(there) == []


def test_old_mail_at_the_first_read_is_no_alert(there: Office) -> None:
    there.confirmed(DANA)
    words = f"Barry, meet Sam. Sam, meet Barry Jones <{BARRY}>."
    mail = there.mail(words, To=f"Barry Jones <{BARRY}>", Cc=SAM, subject="Barry and Sam")
    there.receive(mail, received_at=there.now - timedelta(days=40))
    assert tick(there) == [] and there.store.referrals() == []


def test_an_alert_goes_without_a_draft_where_none_comes(new_office: Callable[..., Office]) -> None:
    there = new_office()
    alert = introduced(there)
    assert "No draft waits for it" in alert.text


def test_the_copies_that_come_back_are_neither_the_reps_hand_nor_an_answer(there: Office) -> None:
    alert = introduced(there)
    for folder, kind in (("INBOX", "inbox"), ("Sent", "sent")):
        there.receive(alert.raw, folder=folder, kind=kind)  # type: ignore[arg-type]
    rewritten = alert.raw.replace(alert.message_id.encode(), b"<rewritten@server.test>")
    there.receive(rewritten)
    there.later(minutes=1)
    assert tick(there) == []
    assert there.state("answer") is State.ACTIVE
    assert not [line for line in there.store.history_since(there.now - timedelta(days=2)) if line.kind == "refused"]


def test_a_word_that_comes_back_under_another_id_is_no_answer(there: Office) -> None:
    """Some servers change the Message-ID: then a word on an answer could be taken for an answer, and so on for ever."""
    digest = waiting(there)
    said(there, digest, "1 declined")
    (word,) = (m for m in there.store.outbox_in(OutboxState.SENT) if m.template == "settled")
    there.receive(word.raw.replace(word.message_id.encode(), b"<rewritten@server.test>"))
    assert tick(there) == [] and there.store.waiting_orders() == []


# --- the digest ------------------------------------------------------------------------------------------------------


def test_the_digest_says_what_waits_and_comes_once(there: Office) -> None:
    there.enroll(LEE, "asks_the_rep")
    digest = waiting(there)
    assert digest.subject.startswith("Tuesday 3 March: 1 answer needs a look, 1 draft to approve [")
    assert "| Let me think about it." in digest.text and "2. Draft to barry@north.test" in digest.text
    assert "09:00 asks_the_rep: first, to Lee Moran" in digest.text
    assert "<strong>1 answer needs a look</strong>" in digest.raw.decode()
    there.later(minutes=10)
    assert tick(there) == []


def test_a_mailbox_in_trouble_stands_in_the_digest_until_it_works(there: Office) -> None:
    for _ in range(2):
        troubles.begin(
            there.inst, SAM, troubles.READ, "login_refused", "imap.demo.test:993 refused the login", there.now
        )
    assert morning(there).text.count(f"Task (urgent): {SAM} cannot be read") == 1
    troubles.end(there.inst, SAM, troubles.READ, there.now)
    there.now = there.now.replace(hour=7, minute=31) + timedelta(days=1)
    assert tick(there) == []


def test_a_trouble_that_could_not_be_told_is_not_told_behind_its_end(new_office: Callable[..., Office]) -> None:
    config = office.CONFIG.replace("per_day: 100", "alert: {command: /bin/true}, per_day: 100", 1)
    there = new_office(config=config, books=books())
    troubles.begin(there.inst, SAM, troubles.READ, "unreadable", "the network is down", there.now)
    untold = there.store.take_alert(there.now, timedelta(minutes=2))
    assert untold and json.loads(untold.facts)["event"] == "trouble"
    there.store.end_alert(untold, there.now + timedelta(minutes=5))
    troubles.end(there.inst, SAM, troubles.READ, there.now + timedelta(minutes=2))
    over = there.store.take_alert(there.now + timedelta(minutes=6), timedelta(minutes=2))
    assert over and json.loads(over.facts) | {"id": ""} == {
        "event": "trouble_over", "id": "", "at": f"{there.now + timedelta(minutes=2):%Y-%m-%dT%H:%M:%S+00:00}",
        "trouble": json.loads(untold.facts)["id"], "kind": "unreadable", "rep": SAM, "text": troubles.OVER,
    }  # fmt: skip
    there.store.end_alert(over)
    assert there.store.take_alert(there.now + timedelta(hours=3), timedelta(minutes=2)) is None


def test_where_nothing_waits_nothing_comes(there: Office) -> None:
    tick(there)
    there.later(days=2)
    assert tick(there) == []


@pytest.mark.parametrize(("hour", "letters"), [(12, 1), (18, 0)])
def test_a_morning_that_was_slept_through_is_made_up_for_only_until_noon(
    there: Office, hour: int, letters: int
) -> None:
    there.enroll(DANA, "nudge")
    there.hear("Let me think about it.", to=there.work()[0])
    tick(there)
    there.now = there.now.replace(hour=hour) + timedelta(days=1)
    assert len(tick(there)) == letters


def test_a_digest_needs_no_place_in_the_days_limit_and_takes_none(new_office: Callable[..., Office]) -> None:
    config = office.CONFIG.replace("per_day: 100, gap: 0-0", "per_day: 1, gap: 7200-7200")
    there = new_office(config=config, books=books())
    digest = waiting(there)
    assert digest.state is OutboxState.CLAIMED
    state = there.store.mailbox(SAM)
    assert state and state.day != "2026-03-03"  # nothing was counted on this day


def test_the_brake_holds_letters_to_the_rep_too(there: Office) -> None:
    there.enroll(DANA, "nudge")
    there.hear("Let me think about it.", to=there.work()[0])
    tick(there)
    there.store.set_setting(outbox.BRAKE, "on")
    there.now = there.now.replace(hour=7, minute=31) + timedelta(days=1)
    assert tick(there) == []
    there.store.drop_setting(outbox.BRAKE)
    assert len(tick(there)) == 1


def test_off_is_off_and_every_rep_has_their_own(new_office: Callable[..., Office]) -> None:
    config = office.CONFIG.replace("name: Kim Novak,", "name: Kim Novak, digest: off,")
    there = new_office(config=config, books=books())
    for rep, who in ((SAM, DANA), (KIM, "sue@harbour.test")):
        there.enroll(who, "nudge", rep=rep)
    for row in there.work():
        there.hear("Let me think about it.", sender=row.recipient, to=row, mailbox=row.mailbox)
    tick(there)
    there.now = there.now.replace(hour=7, minute=31) + timedelta(days=1)
    assert [m.mailbox for m in tick(there)] == [SAM]


def test_two_daemons_make_one_digest(either_database: str, tmp_path: Path) -> None:
    store = open_store(either_database)
    there = Office(store, tmp_path, books=books())
    there.enroll(DANA, "nudge")
    there.hear("Let me think about it.", to=there.work()[0])
    tick(there)
    morning = there.now.replace(hour=7, minute=31) + timedelta(days=1)

    def daemon() -> None:
        own = open_store(either_database)
        desk.advance(replace(there.inst, store=own), morning)
        own.close()

    threads = [threading.Thread(target=daemon) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([m for m in store.outbox_in(OutboxState.QUEUED) if not m.enrollment]) == 1
    store.close()


def test_a_doubt_about_a_letter_ends_with_the_copy_in_the_inbox(there: Office) -> None:
    there.enroll(DANA, "nudge")
    there.hear("Let me think about it.", to=there.work()[0])
    tick(there)
    there.now = there.now.replace(hour=7, minute=31) + timedelta(days=1)
    desk.advance(there.inst, there.now)
    claim = there.claim()
    assert isinstance(claim, Claim)
    there.deliver(claim, InDoubt("the answer was lost"))
    there.later(hours=1)
    assert not isinstance(there.claim(), Claim | NeedsRead), "in doubt is not sent again"
    there.receive(claim.message.raw)
    row = there.store.outbox_message(claim.message.id)
    assert row and row.state is OutboxState.SENT


def test_one_that_could_not_leave_for_half_a_day_is_no_news(there: Office) -> None:
    there.enroll(DANA, "nudge")
    there.hear("Let me think about it.", to=there.work()[0])
    tick(there)
    there.now = there.now.replace(hour=7, minute=31) + timedelta(days=1)
    desk.advance(there.inst, there.now)
    there.store.pause_mailbox(SAM, there.now + timedelta(hours=13), "the server is away")
    there.later(hours=14)
    assert [m for m in there.work() if not m.enrollment] == []


# --- settling by answering -------------------------------------------------------------------------------------------


def test_a_word_does_what_the_command_does(there: Office) -> None:
    digest = waiting(there)
    word = said(there, digest, "1 declined\n2 approve\n\nBest, Sam")
    assert there.of("nudge").outcome == "declined" and approved(there)
    assert "1. Answer of Dana Whitfield" in word and ": declined" in word and "Not understood" not in word
    assert not there.store.open_inbound()


def test_what_was_not_understood_is_said_and_the_rest_is_done(there: Office) -> None:
    digest = waiting(there)
    word = said(there, digest, "1 approve\n2 approve but change the date\n7 done\n1 declined, I think\n1 stop")
    assert not approved(there) and there.of("nudge").outcome == "stopped_by_rep"
    for part in ("that is settled by confirmed", "whoelse drafts edit", "has this number", "stands alone"):
        assert part in word


def test_a_name_and_a_note_go_with_their_words(there: Office) -> None:
    there.enroll(DANA, "ask", override="she told me so")
    there.hear("Maybe. Let me think.", to=there.work()[0])
    word = said(there, morning(there), f"1 named Barry Jones <{BARRY}>")
    assert "named" in word and there.of("intro").variables["prospect"]["email"] == BARRY
    digest = there.store.outbox_in(OutboxState.SENT)
    assert [m.template for m in digest if not m.enrollment] == ["digest", "settled"]


def test_the_word_on_it_can_be_answered_in_turn(there: Office) -> None:
    digest = waiting(there)
    said(there, digest, "1 declined")
    (word,) = (m for m in there.store.outbox_in(OutboxState.SENT) if m.template == "settled")
    assert word.subject == f"Re: {digest.subject}"
    assert ": approve" in said(there, word, "2 approve")
    assert approved(there)
    there.later(hours=2)
    there.work()
    assert there.sent("outreach") == ["first"]


def test_an_answer_in_two_folders_acts_once(there: Office) -> None:
    digest = waiting(there)
    mail = there.mail("1 declined", SAM, digest)
    there.receive(mail, folder="Sent", kind="sent")
    there.receive(mail)
    assert len(tick(there)) == 1
    there.receive(mail, folder="All Mail", kind="all", uidvalidity=2)
    assert tick(there) == []


def test_an_order_that_was_carried_out_is_not_carried_out_again(there: Office) -> None:
    digest = waiting(there)
    there.hear("1 declined\n2 approve", sender=SAM, to=digest)
    (row,) = there.store.waiting_orders()
    items = there.store.items(row.thread)
    order = desk.read_orders("1 declined")[0][0]
    before = desk._carried_out(there.inst, row, order, items, there.now)  # and then the daemon dies
    (word,) = tick(there)
    assert before in word.text and "not done" not in word.text
    assert "settled before" in said(there, digest, "1 confirmed")


def test_a_fault_in_one_order_is_told_and_holds_up_no_other(there: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("a bug")

    digest = waiting(there)
    monkeypatch.setitem(desk.VERBS, "answer", breaks)
    word = said(there, digest, "1 declined\n2 approve")
    assert "1 declined: not done: a fault of whoelse (RuntimeError: a bug)" in word and ": approve" in word
    assert approved(there) and len(there.store.open_inbound()) == 1, "and what failed still waits"


def test_a_fault_in_one_answer_holds_up_none_behind_it(there: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(text: str) -> Any:
        if "declined" in text:
            raise RuntimeError("a bug")
        return read(text)

    digest, read = waiting(there), desk.read_orders
    monkeypatch.setattr(desk, "read_orders", breaks)
    there.hear("1 declined", sender=SAM, to=digest)
    there.hear("2 approve", sender=SAM, to=digest)
    (word,) = tick(there)
    assert ": approve" in word.text and approved(there) and not there.store.waiting_orders()
    (task,) = [task for task in there.store.open_tasks() if task.kind == "fault"]
    assert task.rep == SAM and task.urgent and "was not settled to its end" in task.title and "a bug" in task.text
    assert tick(there) == [] and "A fault of whoelse" in morning(there).text


def test_a_fault_in_one_rep_s_letter_is_told_once_and_the_other_gets_theirs(
    there: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(inst: Any, mailbox: Any, *rest: Any) -> None:
        if mailbox.address == SAM:
            raise RuntimeError("a bug")
        digest(inst, mailbox, *rest)

    digest = desk._digest
    monkeypatch.setattr(desk, "_digest", breaks)
    for rep, whom in ((SAM, DANA), (KIM, "sue@harbour.test")):
        first = there.enroll(whom, "nudge", rep=rep)
        there.work()
        there.hear("Let me think about it.", sender=whom, to=there.rows(first)[0], mailbox=rep, To=rep)
    tick(there)
    there.now = there.now.replace(hour=7, minute=31) + timedelta(days=1)
    letters = [*tick(there), *tick(there)]
    assert [m.mailbox for m in letters if m.template == "digest"] == [KIM]
    assert [task.rep for task in there.store.open_tasks() if task.kind == "fault"] == [SAM]


def test_an_approval_is_for_the_words_that_were_shown(there: Office) -> None:
    digest = waiting(there)
    there.inst = replace(there.inst, library=books(outreach="---\nsubject: A word\n---\nSomething else altogether.\n"))
    assert ": approve" in said(there, digest, "2 approve")
    there.later(hours=2)
    there.work()
    assert there.sent("outreach") == []
    assert outbox.drafts(there.inst)[0].note == "its text has changed since it was approved"


def test_a_word_is_not_said_of_what_came_after_the_letter(there: Office) -> None:
    digest = waiting(there)
    first = there.rows("nudge")[0]
    there.hear("Actually, yes, and I have somebody in mind for you.", to=first)
    assert "has written again since" in said(there, digest, "1 declined")
    assert there.state("nudge") is State.PAUSED


# --- and by nobody else ----------------------------------------------------------------------------------------------


def attack(there: Office, digest: OutboxMessage, how: str) -> None:
    more: dict[str, Any] = {"sender": SAM, "to": digest, "subject": f"Re: {digest.subject}"}
    match how:
        case "no token":
            more["subject"] = "Re: Tuesday 3 March"
        case "another token":
            more["subject"] = "Re: Tuesday 3 March [aaaaaaaaaaaaaaaa]"
        case "no id":
            more["to"] = None
        case "in Junk":
            more |= {"folder": "Junk", "kind": "junk"}
        case "in another rep's mailbox":
            more["mailbox"] = KIM
        case "from another rep":
            more["sender"] = KIM
        case "from a client":
            more["sender"] = DANA
        case "by a machine":
            more["Auto_Submitted"] = "auto-replied"
        case "a forged name":
            more["sender"] = f'"{SAM}" <evil@attacker.test>'
        case "another rep's letter":
            there.now = there.now.replace(hour=10)
            there.enroll("sue@harbour.test", "nudge", rep=KIM)
            row = next(m for m in there.work() if m.mailbox == KIM)
            there.hear("Hm.", sender=row.recipient, to=row, mailbox=KIM)
            there.now = there.now.replace(hour=7, minute=31) + timedelta(days=1)
            (kims,) = (m for m in tick(there) if m.mailbox == KIM)
            more |= {"to": kims, "subject": f"Re: {kims.subject}"}
    there.hear("1 declined\n2 approve", **more)


@pytest.mark.parametrize(
    "how",
    ["no token", "another token", "no id", "in Junk", "in another rep's mailbox", "from another rep", "from a client",
     "by a machine", "a forged name", "another rep's letter"],
)  # fmt: skip
def test_what_is_not_proven_to_be_the_reps_settles_nothing(there: Office, how: str) -> None:
    digest = waiting(there)
    attack(there, digest, how)
    assert there.store.waiting_orders() == []
    assert [m for m in tick(there) if m.template == "settled"] == []
    assert there.state("nudge") is State.PAUSED and not approved(there)
    rows = [row for row in there.store.recent_inbound(5) if row.event == ORDERS]
    assert rows == []
    if how not in ("no id", "from a client", "a forged name"):
        assert any(line.kind == "refused" for line in there.store.history_since(there.now - timedelta(days=3)))


def test_a_letter_that_the_rep_hands_on_is_no_answer_to_it(there: Office) -> None:
    digest = waiting(there)
    there.hear("What do you say to this?\n2 approve", sender=SAM, to=digest, To=DANA, folder="Sent", kind="sent")
    assert tick(there) == [] and not approved(there)
    assert [row.event for row in there.store.recent_inbound(1)] == ["rep_wrote"]


def test_what_a_client_wrote_is_no_order_although_the_rep_quotes_it(there: Office) -> None:
    there.enroll(DANA, "nudge")
    there.hear("2 approve\n1 stop\nAnswer above this line\n2 approve", to=there.work()[0])
    there.enroll(BARRY, "outreach", client=DANA, prospect=BARRY_PERSON)
    there.work()
    digest = morning(there)
    unmarked = f"Thanks, I will look at it later.\n\nFrom: Sam\nSubject: {digest.subject}\n\n{digest.text}"
    assert "Not understood: Thanks" in said(there, digest, unmarked)
    assert there.state("nudge") is State.PAUSED and not approved(there)


def test_what_is_forgotten_is_forgotten_on_the_desk_too(there: Office) -> None:
    digest = waiting(there)
    privacy.forget(there.inst, DANA, there.now)
    assert all("Dana" not in item.label for item in there.store.items(digest.thread))
    row = there.store.outbox_message(digest.id)
    assert row and "Dana" not in row.text
