"""The rules of conduct, one sentence each: what stands between a wish to enroll somebody and doing it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import office
import pytest
from hypothesis import given
from hypothesis import strategies as st
from office import DANA, KIM, LEE, SAM, Office

from engine.core.conduct import RULES, Standing, refusal, refusals
from engine.core.model import State
from engine.core.sequence import Sequence
from engine.standing import rules

there = office.one_office
new_office = office.new_office
KINDS = ("review", "ask", "intro", "follow_up", "thanks", "update", "outreach", "favour", "touch")

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ASK = Sequence("ask", "Ask", "ask", "client", ())
TOUCH = Sequence("touch", "Touch", "touch", "client", ())
GOOD = Standing("dana@acme.test", confirmed_at=NOW - DAY)


def rule(sequence: Sequence, standing: Standing) -> str:
    found = refusal(sequence, standing, NOW)
    if found:
        assert "dana@acme.test" in found.reason + found.remedy and found.remedy
    return found.rule if found else ""


def test_nothing_stands_against_a_client_who_has_confirmed_and_was_not_asked() -> None:
    assert rule(ASK, GOOD) == rule(TOUCH, Standing("dana@acme.test")) == ""


@pytest.mark.parametrize(
    "kind", ["review", "ask", "intro", "follow_up", "thanks", "update", "outreach", "favour", "touch"]
)
def test_a_suppressed_address_and_a_running_twin_are_final_for_every_kind(kind: str) -> None:
    sequence = replace(TOUCH, kind=kind)
    for standing, expected in (
        (replace(GOOD, suppressed="bounced"), "suppressed"),
        (replace(GOOD, running="held"), "running"),
    ):
        found = refusal(sequence, standing, NOW)
        assert found and found.rule == expected and not found.override


def test_an_ask_needs_value_confirmed_within_a_year_and_so_does_whatever_requires_it() -> None:
    for at, expected in ((None, "confirmed"), (NOW - 366 * DAY, "confirmed"), (NOW - 365 * DAY, ""), (NOW, "")):
        standing = replace(GOOD, confirmed_at=at)
        assert rule(ASK, standing) == rule(replace(TOUCH, requires="confirmed"), standing) == expected
        assert rule(TOUCH, standing) == ""


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (replace(GOOD, rest_until=NOW + DAY), "resting"),
        (replace(GOOD, rest_until=NOW), ""),
        (replace(GOOD, asked=(NOW - DAY, "dana@acme.test")), "asked"),
        (replace(GOOD, conversation=NOW - DAY), "conversation"),
    ],
)
def test_the_rules_for_an_ask_alone_may_be_overridden_with_a_reason(standing: Standing, expected: str) -> None:
    assert rule(ASK, standing) == expected
    assert rule(TOUCH, standing) == ""
    found = refusal(ASK, standing, NOW)
    assert found is None or found.override


def test_the_gravest_rule_is_the_one_that_is_named() -> None:
    every = Standing("dana@acme.test", "bounced", "held", None, (NOW, "dana@acme.test"), NOW, NOW + DAY)
    order = []
    for changed in (
        {}, {"suppressed": ""}, {"running": ""}, {"confirmed_at": NOW}, {"rest_until": None}, {"asked": None}, {"conversation": None},
    ):  # fmt: skip
        every = replace(every, **changed)  # type: ignore[arg-type]
        order.append(rule(ASK, every))
    assert order == ["suppressed", "running", "confirmed", "resting", "asked", "conversation", ""]


# --- as properties ---------------------------------------------------------------------------------------------------

instants = st.none() | st.integers(-400, 100).map(lambda days: NOW + days * DAY)
standings = st.builds(
    Standing,
    email=st.just("dana@acme.test"),
    suppressed=st.sampled_from(["", "bounced", "unsubscribed"]),
    running=st.sampled_from(["", "held"]),
    confirmed_at=instants,
    asked=st.none() | instants.filter(bool).map(lambda at: (at, "lee@acme.test")),
    conversation=instants,
    rest_until=instants,
    refused_until=instants,
    favoured=instants,
)
sequences = st.sampled_from([replace(TOUCH, kind=kind) for kind in KINDS])


@given(sequences, standings)
def test_what_no_reason_overrides_always_comes_first_and_every_refusal_says_what_to_do(
    sequence: Sequence, standing: Standing
) -> None:
    found = list(refusals(sequence, standing, NOW))
    finals = [each.override for each in found]
    assert finals == sorted(finals), "an override that looks at the first alone must never pass a final one"
    assert refusal(sequence, standing, NOW) == (found[0] if found else None)
    assert all(each.rule in RULES and each.reason and each.remedy for each in found)
    assert bool(standing.suppressed or standing.running) == (not all(finals))


@given(standings)
def test_nobody_is_asked_who_has_not_confirmed_or_rests_or_was_asked_or_is_talking(standing: Standing) -> None:
    earned = standing.confirmed_at is not None and NOW - standing.confirmed_at <= 365 * DAY
    free = not (standing.suppressed or standing.running or standing.asked or standing.conversation)
    rested = standing.rest_until is None or standing.rest_until <= NOW
    assert (refusal(ASK, standing, NOW) is None) == (earned and free and rested)


@given(sequences, standings)
def test_whatever_is_known_more_of_somebody_never_lifts_a_rule(sequence: Sequence, standing: Standing) -> None:
    """What was refused stays refused when one more rule stands against it; only a later confirmation opens the ask."""
    before = {each.rule for each in refusals(sequence, standing, NOW)}
    for more in ({"suppressed": "bounced"}, {"running": "held"}, {"rest_until": NOW + DAY}, {"favoured": NOW}):
        after = {each.rule for each in refusals(sequence, replace(standing, **more), NOW)}  # type: ignore[arg-type]
        assert before <= after


# --- in the office ---------------------------------------------------------------------------------------------------

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
