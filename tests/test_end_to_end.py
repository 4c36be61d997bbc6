"""The main job over real sockets: enroll, send through Postfix, read from Dovecot, advance or stop. The daemon is the real one;
only its clock jumps over the time in which nothing happens."""

from __future__ import annotations

import json
import re
import sys
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import servers
from world import World, world

from engine.core.model import Enrollment, OutboxState, Person, State, Task
from engine.enrollments import finish_task

pytestmark = pytest.mark.real


def review(there: World) -> dict[str, object]:
    """A value review whose call is on the second Thursday from now, at 10:00."""
    today = there.clock.now().date()
    call = today + timedelta(days=(3 - today.weekday()) % 7 + 7)
    return {
        "review_call": f"{call.isoformat()} 10:00",
        "problems": ["Closing the books took ten days"],
        "results": ["Books closed in five days: now three"],
    }


def find(there: World, sequence: str) -> Enrollment | None:
    """The enrollment in that sequence that was begun last."""
    return next((e for e in reversed(there.inst.store.all_enrollments()) if e.sequence == sequence), None)


def ended(there: World, sequence: str) -> str:
    enrollment = find(there, sequence)
    return enrollment.outcome if enrollment else ""


def steps(there: World, sequence: str) -> list[str]:
    """The steps of a sequence whose emails were sent, in order."""
    sent = there.inst.store.outbox_in(OutboxState.SENT)
    ids = {e.id for e in there.inst.store.all_enrollments() if e.sequence == sequence}
    return [m.step for m in sorted(sent, key=lambda m: m.sent_at or there.clock.now()) if m.enrollment in ids]


def mailto(message: EmailMessage) -> str:
    """The one-click link of an HTML part, as a browser hands it to the mail program."""
    part = message.get_body(("html",))
    assert part
    found = re.search(r'href="(mailto:[^"]+)"', part.get_content())
    assert found, part.get_content()
    return found[1].replace("&amp;", "&")


def one_conversation(messages: list[EmailMessage]) -> None:
    """Every follow-up answers something that stands in its References, and its subject is the first one's with Re:."""
    first = messages[0]
    for message in messages[1:]:
        assert message["In-Reply-To"] in message["References"].split()
        assert message["Subject"] == f"Re: {first['Subject']}"
        assert first["Message-ID"] in message["References"].split()


async def test_the_five_sequences_from_the_review_to_the_thanks(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        store = there.inst.store
        there.enroll(there.dana, "value_review", **review(there))
        await there.later(lambda: steps(there, "value_review") == ["document", "confirm"], "the question")
        there.answer(
            there.dana, there.mail(there.dana)[-1], "Yes, you did exactly what you promised. We are very happy."
        )
        await there.later(lambda: steps(there, "ask") == ["who_else"], "the ask")
        assert ended(there, "value_review") == "confirmed"

        named = f"You should talk to Barry Jones <{there.barry}>, he runs Prospect Ltd and has the same problem."
        there.answer(there.dana, there.mail(there.dana)[-1], named)
        await there.later(lambda: steps(there, "follow_up_1_1_1") == ["day_1"], "the follow-up")
        assert steps(there, "intro_template") == ["introduction"]
        assert steps(there, "ask") == ["who_else", "anyone_else"]
        referral = store.referrals_to(Person(email=there.barry))
        assert [(r.state, r.introduced_at) for r in referral] == [("named", None)]

        one_conversation(there.mail(there.dana))
        introduce(there, mailto(there.mail(there.dana)[-1]))
        await there.later(lambda: steps(there, "thank_you") == ["thanks"], "the thanks")
        assert ended(there, "follow_up_1_1_1") == "introduced"
        assert store.referrals_to(Person(email=there.barry))[0].introduced_at
        nudges = steps(there, "follow_up_1_1_1")
        there.jump(days=40)
        await there.settle()
        assert steps(there, "follow_up_1_1_1") == nudges

        sent = there.mail(there.rep, "Sent")
        assert {m["Message-ID"] for m in sent} == {m["Message-ID"] for m in there.mail(there.dana)}
        assert len(sent) == len(store.outbox_in(OutboxState.SENT))


def introduce(there: World, link: str) -> None:
    """What Dana's mail program sends when she clicks."""
    url = urlsplit(link)
    parts = parse_qs(url.query)
    assert unquote(url.path) == there.barry
    assert parts["cc"] == [there.rep]
    there.write(there.dana, there.barry, parts["subject"][0], parts["body"][0], Cc=there.rep)


async def test_a_reply_that_arrives_while_its_follow_up_is_due_wins(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        there.enroll(there.dana, "value_review", **review(there))
        await there.later(lambda: steps(there, "value_review") == ["document", "confirm"], "the question")
        question = there.mail(there.dana)[-1]
        await there.stop()  # so that the answer is in the mailbox before anyone reads it, and the reminder is due
        there.answer(there.dana, question, "Sorry for the delay. Let me think about it and come back to you.")
        there.jump(days=5)
        await there.start()
        await there.later(lambda: paused(there, "value_review"), "the pause")
        there.jump(days=20)
        await there.settle()
        assert steps(there, "value_review") == ["document", "confirm"]


def paused(there: World, sequence: str) -> bool:
    enrollment = find(there, sequence)
    return bool(enrollment and enrollment.state is State.PAUSED)


async def test_an_absence_holds_and_does_not_stop(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        there.enroll(there.dana, "value_review", **review(there))
        await there.later(lambda: steps(there, "value_review") == ["document", "confirm"], "the question")
        back = (there.clock.now() + timedelta(days=20)).date()
        note = f"I am out of the office and will be back on {back:%d %B %Y}."
        question = there.mail(there.dana)[-1]
        # the server stamps real time, the daemon's clock is ahead: the note is dated as the daemon sees it
        there.write(
            there.dana, there.rep, f"Automatic reply: {question['Subject']}", note,
            In_Reply_To=question["Message-ID"], Auto_Submitted="auto-replied",
        )  # fmt: skip
        held = await there.later(lambda: find_held(there), "the hold")
        assert held.next_at and held.next_at.date() >= back
        await there.later(lambda: "reminder" in steps(there, "value_review"), "the reminder after the return")
        reminded = there.inst.store.outbox_of(held.id)[-1]
        assert reminded.sent_at and reminded.sent_at.date() >= back


def find_held(there: World) -> Enrollment | None:
    return next((e for e in there.inst.store.all_enrollments() if e.state is State.HELD), None)


async def test_a_restart_in_the_middle_loses_and_doubles_nothing(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        there.enroll(there.dana, "value_review", **review(there))
        await there.later(lambda: steps(there, "value_review") == ["document"], "the first email")
        await there.stop()
        there.answer(there.dana, there.mail(there.dana)[-1], "Thank you, I have read it.")
        await there.start()
        await there.later(lambda: paused(there, "value_review"), "the answer that came while nobody ran")
        assert len(there.mail(there.dana)) == 1
        assert len(there.mail(there.rep, "Sent")) == 1


async def test_a_dropped_connection_is_taken_up_again(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        there.enroll(there.dana, "value_review", **review(there))
        await there.later(lambda: steps(there, "value_review") == ["document"], "the first email")
        assert dovecot.kill_sessions()
        there.answer(there.dana, there.mail(there.dana)[-1], "Which of the two rooms is it?")
        await there.until(lambda: paused(there, "value_review"), "the answer behind the dropped connection")


async def test_a_refused_recipient_stops_and_is_never_tried_again(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        nobody = "nobody.at.all@acme.test"
        there.enroll(nobody, "value_review", **review(there))
        await there.later(lambda: ended(there, "value_review") == "bounced", "the refusal")
        assert there.inst.store.suppressed(nobody)
        assert there.inst.store.next_due() is None


async def test_a_bounce_that_comes_back_by_mail_stops_too(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        there.enroll("gone@acme.test", "value_review", **review(there))
        await there.later(lambda: ended(there, "value_review") == "bounced", "the bounce")
        assert there.inst.store.suppressed("gone@acme.test")


async def test_greylisting_sends_the_same_bytes_later_and_once(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        postfix.greylist(there.dana, times=2)
        enrolled = there.enroll(there.dana, "value_review", **review(there))
        await there.later(lambda: any("not now" in line for line in there.told), "the first no")
        frozen = there.inst.store.outbox_of(enrolled.id)[0]
        assert frozen.state is OutboxState.QUEUED and frozen.raw
        await there.later(lambda: steps(there, "value_review") == ["document"], "the email")
        (received,) = there.mail(there.dana)
        assert received["Message-ID"] == frozen.message_id
        assert there.inst.store.outbox_of(enrolled.id)[0].raw == frozen.raw
        assert there.inst.store.outbox_of(enrolled.id)[0].deferrals == 2


async def test_an_opt_out_is_final_for_the_address(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        there.enroll(there.dana, "value_review", **review(there))
        await there.later(lambda: steps(there, "value_review") == ["document"], "the first email")
        link = there.mail(there.dana)[0]["List-Unsubscribe"].strip("<>")
        subject = parse_qs(urlsplit(link).query)["subject"][0]
        there.write(there.dana, there.rep, subject, "")
        await there.later(lambda: ended(there, "value_review") == "unsubscribed", "the stop")
        assert there.inst.store.suppressed(there.dana)


async def test_the_rep_writing_by_hand_makes_the_automation_stand_back(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        there.enroll(there.dana, "value_review", **review(there))
        await there.later(lambda: steps(there, "value_review") == ["document", "confirm"], "the question")
        by_hand = f"From: {there.rep}\r\nTo: {there.dana}\r\nSubject: Lunch?\r\nMessage-ID: <lunch@demo.test>\r\n\r\nOn Friday?\r\n"
        dovecot.append(there.rep, "Sent", by_hand.encode())
        await there.settle()
        held = find_held(there)
        assert held and held.reason == "the rep wrote by hand"


async def test_the_brake_stops_everything_before_the_next_body(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        there.inst.store.set_setting("brake", "on")
        there.enroll(there.dana, "value_review", **review(there))
        assert there.daemon
        due = await there.daemon.next_due()
        assert due
        there.clock.jump_to(due)
        there.daemon.poke()
        await there.until(lambda: there.inst.store.outbox_in(OutboxState.QUEUED), "the queued email")
        assert not there.mail(there.dana)


async def test_a_task_for_the_rep_names_the_client_and_is_ticked_off(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as there:
        there.enroll(there.dana, "value_review", **review(there))
        await there.later(lambda: there.inst.store.open_tasks(), "the task before the call")
        task = there.inst.store.open_tasks()[0]
        assert there.dana in task.text or "Dana" in task.title + task.text
        finish_task(there.inst, task.id, there.clock.now())
        assert task.id not in [t.id for t in there.inst.store.open_tasks()]


async def test_an_introduction_is_answered_from_the_reps_phone(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    """The alert comes, its draft is approved by answering it, the prospect and the client in Bcc get it; then the digest."""
    script = tmp_path / "told.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())")
    command = f"{sys.executable} {script} {tmp_path / 'told.json'}"
    more = f'digest: "30 7 * * *"\nalert: {{email: true, command: "{command}"}}\n'
    async with world(tmp_path, dovecot, postfix, more) as there:
        prospect = {"name": "Barry Jones", "email": there.barry}
        there.enroll(there.dana, "intro_template", prospect=prospect)
        await there.later(lambda: steps(there, "intro_template"), "the introduction's text")
        introduce(there, mailto(there.mail(there.dana)[-1]))
        alert = await there.until(lambda: letter(there, "has introduced you"), "the alert")
        assert alert["Auto-Submitted"] == "auto-generated"
        assert f"Bcc: {there.dana}" in plain(alert)
        facts = await there.until(lambda: read(tmp_path / "told.json"), "the program")
        assert facts["prospect"]["email"] == there.barry and facts["rep"] == there.rep

        there.write(there.rep, there.rep, "approve it", "1 approve")  # anybody can write that: it proves nothing
        there.answer(there.rep, alert, "approve")
        answer = await there.until(lambda: [m for m in there.mail(there.barry) if "Bcc" in plain(m)], "the answer")
        copy = await there.until(lambda: [m for m in there.mail(there.dana) if "Bcc" in plain(m)], "the copy")
        assert answer[-1].as_bytes() and "Bcc" not in answer[-1] and "Bcc" not in copy[-1]
        assert answer[-1]["Message-ID"] == copy[-1]["Message-ID"] and answer[-1]["To"].endswith(f"<{there.barry}>")
        word = await there.until(lambda: letter(there, "Re: Dana"), "the word on it")
        assert ": approve" in plain(word)
        await there.until(
            lambda: [m for m in there.mail(there.rep, "Sent") if m["Bcc"] == there.dana], "the rep's copy"
        )
        referral = there.inst.store.referrals()[0]
        assert referral.answered_at and not referral.waits
        there.inst.store.add_task(
            Task("", "rep", there.rep, referral.client, "", "Call Dana", "Thank her.", there.clock.now())
        )
        await there.stop()
        await there.start()
        assert there.daemon and await there.daemon.read_all()
        before = tuple(
            m["Subject"] for m in there.mail(there.rep) if m["Auto-Submitted"]
        )  # also of a morning on the way
        assert len(before) == len(set(before))
        tomorrow = (there.clock.now() + timedelta(days=1)).replace(hour=7, minute=31)
        there.clock.jump_to(tomorrow)
        there.daemon.poke()
        digest = await there.until(lambda: letter(there, "[", but=before), "the digest")
        assert "task" in digest["Subject"]
        number = re.search(r"^(\d+)\. Task", plain(digest), re.M)
        assert number
        there.answer(there.rep, digest, f"{number[1]} done")
        await there.until(lambda: letter(there, f"Re: {digest['Subject']}"), "the word on the digest")
        assert len([m for m in there.mail(there.rep) if m["Auto-Submitted"]]) == len(before) + 2
        assert len(there.mail(there.barry)) == 1 + 1  # Dana's introduction, and one answer to it


def letter(there: World, part: str, but: tuple[str, ...] = ()) -> EmailMessage | None:
    """A letter in the rep's Inbox with this in its subject."""
    found = [m for m in there.mail(there.rep) if part in m["Subject"] and m["Auto-Submitted"]]
    return next((m for m in found if m["Subject"] not in but), None)


def plain(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    return str(part.get_content()) if part else ""


def read(file: Path) -> Any:
    text = file.read_text() if file.exists() else ""
    return json.loads(text) if text.endswith("}") else None
