"""The rules of conduct where they are kept: what a no, a rest, an ask, a conversation and a colleague do to the next email."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import office
from office import DANA, KIM, LEE, SAM, Office

from engine.core.model import State
from engine.standing import rules

there = office.one_office
new_office = office.new_office
DAY = timedelta(days=1)

FAVOUR = {"favour": "name: Favour\nkind: favour\nto: client\nsteps:\n  - {id: first, email: hello}\n"}
STARTER = {
    "starter": """
name: Starter
kind: review
to: client
steps:
  - {id: first, email: hello}
when:
  confirmed: {set: {value: confirmed}, stop: confirmed, start: ask}
"""
}


def refused(there: Office, *who: str, **more: Any) -> list[str]:
    done = there.wish(*who, **more)
    return [each.rule for each in done] if isinstance(done, list) else []


def test_a_rest_counts_from_the_no_and_then_one_smaller_favour_is_offered(new_office: Any) -> None:
    there: Office = new_office(books=office.library(FAVOUR))
    there.confirmed()
    ask = there.enroll(DANA, "ask")
    (mail,) = there.work()
    there.later(days=5)
    there.hear("Thank you for asking, but I would rather not.", to=mail)
    assert there.of(ask).outcome == "declined"
    there.later(days=89)
    assert refused(there, DANA, "ask") == refused(there, DANA, "favour") == ["resting"]
    there.later(days=1)
    there.confirmed()
    assert refused(there, DANA, "favour") == []
    there.work()
    there.later(days=40)
    assert refused(there, DANA, "favour")[-1:] in (["favoured"], ["running"])
    there.run(days=60)
    assert refused(there, DANA, "favour") == ["favoured"], "once"


def test_who_would_not_introduce_one_prospect_is_not_pushed_for_the_same_one(there: Office) -> None:
    there.enroll(DANA, "intro", prospect=office.BARRY_PERSON)
    (mail,) = there.run(days=1)
    there.hear("I would rather not introduce you to him.", to=mail)
    assert there.of("intro").outcome == "declined"
    assert refused(there, DANA, "intro", prospect=office.BARRY_PERSON) == ["resting"]
    assert refused(there, DANA, "intro", prospect=office.SUE_PERSON) == []


def test_a_start_waits_for_any_conversation_but_the_one_that_it_answers(new_office: Any) -> None:
    for talks in (False, True):
        there: Office = new_office(books=office.library(STARTER))
        there.enroll(DANA, "starter")
        (mail,) = there.work()
        there.later(hours=1)
        if talks:
            there.hear("Shall we have lunch?", sender=SAM, To=DANA, subject="Lunch", folder="Sent", kind="sent")
        there.hear("Yes, confirmed. You kept your promise.", to=mail)
        there.work()
        assert (there.of("ask").state is not State.WAITING) == (not talks)
        if talks:
            assert "a conversation with dana@acme.test is alive" in there.of("ask").reason
            there.run(days=7)
            assert there.sent("ask") == ["who_else"]


def test_an_ask_that_had_to_wait_counts_from_its_email_and_not_from_its_wish(new_office: Any) -> None:
    there: Office = new_office(books=office.library(STARTER))
    there.confirmed(LEE)
    there.enroll(LEE, "ask")
    there.work()
    there.later(days=70)
    there.enroll(DANA, "starter")
    (mail,) = there.work()
    there.hear("Yes, confirmed. You kept your promise.", to=mail)
    assert "lee@acme.test was asked" in there.of("ask").reason
    there.run(days=25)
    assert there.sent("ask")[0] == "who_else"
    there.confirmed("sue@acme.test")
    there.later(days=70)
    assert refused(there, "sue@acme.test", "ask") == ["asked"], "92 days after the wish, 72 after the email"
    there.later(days=21)
    assert refused(there, "sue@acme.test", "ask") == []


def test_two_people_at_a_company_do_not_hear_from_two_reps_on_one_day(new_office: Any) -> None:
    there: Office = new_office(config=office.CONFIG.replace("company_cap: 0 days", "company_cap: 1 day"))
    there.enroll(DANA)
    there.work()
    there.enroll(LEE, "other", rep=KIM)
    assert there.work() == []
    contact = there.store.contact_at(LEE)
    assert contact and "of the same company, heard from nudge" in " ".join(rules(there.inst, contact, there.now))
    sent = there.run(days=1)
    assert [m.recipient for m in sent] == [LEE]


def test_a_refusal_and_an_override_with_all_that_it_overrode_stand_in_the_story(there: Office) -> None:
    there.enroll(DANA)
    assert refused(there, DANA, "ask") == ["confirmed"]
    contact = there.store.contact_at(DANA)
    assert contact
    assert any(
        line.kind == "refused" and "has not confirmed the value" in line.text for line in there.store.story(contact.id)
    )
    there.enroll(DANA, "ask", override="she told me on the phone")
    (line,) = [line for line in there.store.story(contact.id) if line.kind == "override"]
    assert "has not confirmed the value" in line.text and "she told me on the phone" in line.text


def test_show_says_what_the_rules_say_today(there: Office) -> None:
    there.confirmed()
    contact = there.store.contact_at(DANA)
    assert contact
    assert rules(there.inst, contact, there.now) == ["may be asked: nothing stands against it"]
    there.enroll(DANA, "ask")
    there.work()
    said = rules(there.inst, there.store.contact(contact.id) or contact, there.now)
    assert any("heard from ask less than 3 days ago" in line for line in said)
    assert any("dana@acme.test is in ask already; dana@acme.test was asked on 2026-03-02" in line for line in said)
    there.store.suppress(DANA, "unsubscribed", there.now)
    assert rules(there.inst, contact, there.now) == ["nothing is sent to them any more, whatever starts: this is final"]
