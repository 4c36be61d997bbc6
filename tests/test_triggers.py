"""What starts sequences by itself: moments, referrals, schedules, yearly dates. Each acts once, whatever comes twice, stops in between
or runs beside it, on any night on which clocks change."""
# ruff: noqa: F811  (fixtures of other files)

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any
from zoneinfo import ZoneInfo

import office
import pytest
import servers
from office import BARRY, CONFIG, DANA, KIM, LEE, MONDAY, SAM, Office
from test_cli import project  # noqa: F401
from world import world

from engine import inbox, triggers
from engine.__main__ import main
from engine.core.calendar import Calendar, Place
from engine.core.duration import Duration, parse_duration
from engine.core.model import Contact, Enrollment, Person, State
from engine.core.needs import Refusal
from engine.core.schedule import anniversary, last_slot, next_slot
from engine.decisions import referral_changed
from engine.installation import Installation
from engine.library import parse
from engine.store import Store, Told, open_store
from engine.triggers import Outcome, Report

new_office = office.new_office
either_url = office.either_database
Offices = Callable[..., Office]
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)

ASK = "- {moment: nps, if: 'score >= 9', confirms: true, start: ask, after: 1 day}\n"
#: Starts with something to be known first.
CALL = """
name: Call
kind: review
to: client
needs: {call: datetime, topic: optional text}
steps:
  - {id: before, at: call - 1 day, email: hello}
"""
UPDATE = """
name: Update
kind: update
to: client
needs: {prospect: person}
steps:
  - {id: news, email: thanks}
"""


#: Over as soon as it is done, so that it can begin again.
ONCE = """
name: Once
kind: touch
to: client
steps: [{id: only, task: note}]
"""


def with_triggers(text: str) -> Any:
    return office.library({"triggers": text, "call": CALL, "update": UPDATE, "once": ONCE})


@pytest.fixture
def there(new_office: Offices) -> Callable[..., Office]:
    """An office with these triggers, in which Dana is a client of Sam's."""

    def build(text: str, zone: str = "UTC") -> Office:
        made = new_office(books=with_triggers(text), config=CONFIG.replace("zone: UTC", f"zone: {zone}"))
        known(made.store, DANA)
        return made

    return build


def known(store: Store, email: str, **more: Any) -> Contact:
    return store.add_contact(Contact("", email, **{"owner": SAM, **office.named(email), **more}))


def report(there: Office, moment: str = "nps", email: str = DANA, on: date | None = None, **data: Any) -> Outcome:
    outcome = triggers.report(there.inst, Report(email, moment, data, on), there.now)
    assert isinstance(outcome, Outcome), outcome
    return outcome


def refused(there: Office, told: Report) -> str:
    outcome = triggers.report(there.inst, told, there.now)
    assert isinstance(outcome, Refusal), outcome
    return str(outcome)


def sequences(there: Office, email: str = DANA) -> list[tuple[str, State]]:
    contact = there.store.contact_at(email)
    assert contact is not None
    return [(e.sequence, e.state) for e in there.store.enrollments_of(contact.id)]


def story(there: Office, email: str = DANA) -> list[str]:
    contact = there.store.contact_at(email)
    assert contact is not None
    return [line.text for line in there.store.story(contact.id)]


# --- moments ---------------------------------------------------------------------------------------------------------


def test_a_good_score_starts_the_ask_after_its_delay(there: Any) -> None:
    here = there(ASK)
    outcome = report(here, score="10")
    assert [(e.sequence, e.state, e.next_at) for e in outcome.started] == [("ask", State.WAITING, MONDAY + DAY)]
    assert outcome.lines == ("value confirmed: nps", "ask: started by nps, after 1 day")
    here.run(days=1)
    assert here.sent() == ["who_else"]


@pytest.mark.parametrize("score", ["8", "8.9", "8,9", "-10"])
def test_a_low_score_starts_nothing_and_says_why(there: Any, score: str) -> None:
    outcome = report(there(ASK), score=score)
    assert (outcome.news, outcome.started) == (True, ())
    assert outcome.lines == ("nps: ask was not started: if: score >= 9 is false",)


@pytest.mark.parametrize("score", ["9", "9.5", "9,5", 10])
def test_scores_compare_as_numbers_however_they_were_typed(there: Any, score: Any) -> None:
    assert report(there(ASK), score=score).started


def test_a_question_that_cannot_be_answered_is_no_yes(there: Any) -> None:
    outcome = report(there(ASK))
    assert outcome.started == ()
    assert outcome.lines == (
        'nps: ask was not started: if: score >= 9 cannot be answered: there is no variable "score"',
    )


@pytest.mark.parametrize("trick", ["''.__class__.__mro__", "client.__init__", "'a' * 10**10", "score.real.__class__"])
def test_an_if_can_touch_nothing(there: Any, trick: str) -> None:
    here = there(f'- {{moment: nps, if: "{trick}", start: nudge}}\n')
    assert report(here, score="9").started == ()
    assert "cannot be answered" in story(here)[-1]


def test_an_if_may_ask_for_the_contacts_fields(there: Any) -> None:
    here = there("- {moment: delivered, if: \"tier == 'gold' and client.company == 'Acme'\", start: nudge}\n")
    known(here.store, LEE, fields={"tier": "gold"})
    assert report(here, "delivered", LEE).started
    assert not report(here, "delivered", DANA).started


def test_a_moment_told_twice_does_nothing_twice(there: Any) -> None:
    here = there("- {moment: nps, start: [nudge, other]}\n")
    assert len(report(here, score="10").started) == 2
    before = story(here)
    assert report(here, score="10") == Outcome(False)
    assert story(here) == before


def test_other_words_or_another_day_are_another_moment_and_the_one_who_is_in_it_stays_so(there: Any) -> None:
    here = there("- {moment: nps, start: nudge}\n")
    report(here, score="9")
    other = report(here, score="10")
    assert other.news and other.lines == ("nps: nudge was not started: it runs already for that",)
    here.later(days=1)
    assert report(here, score="10").news
    assert sequences(here) == [("nudge", State.ACTIVE)]


def test_a_moment_with_its_day_is_the_same_whenever_it_is_told(there: Any) -> None:
    here = there("- {moment: nps, start: nudge}\n")
    assert report(here, on=date(2026, 2, 20), score="9").news
    here.later(days=30)
    assert not report(here, on=date(2026, 2, 20), score="9").news
    assert story(here)[0] == "nps on 2026-02-20: score 9"


def test_the_day_is_that_of_the_companys_zone(there: Any) -> None:
    here = there("- {moment: nps, start: nudge}\n", zone="Pacific/Auckland")
    here.now = datetime(2026, 3, 2, 10, 59, tzinfo=UTC)  # 23:59 there
    assert report(here, score="9").news
    here.later(minutes=1)
    assert report(here, score="9").news


def test_a_day_to_come_is_refused_and_one_long_past_starts_nothing(there: Any) -> None:
    here = there(ASK)
    assert "2026-03-03 has not come yet" in refused(here, Report(DANA, "nps", {"score": "9"}, date(2026, 3, 3)))
    outcome = report(here, on=date(2025, 11, 1), score="9")
    assert outcome.news and not outcome.started and "more than 90 days ago" in outcome.lines[0]
    assert here.store.contact_at(DANA).confirmed_at is None


def test_only_confirms_counts_as_confirmed_value(there: Any) -> None:
    here = there("- {moment: nps, start: ask}\n")
    report(here)
    assert sequences(here) == [("ask", State.WAITING)]
    assert any("not yet: dana@acme.test has not confirmed" in line for line in story(here))
    here.run(days=5)
    assert here.sent() == []


def test_a_start_that_lacks_something_becomes_the_reps_task(there: Any) -> None:
    here = there("- {moment: delivered, start: call, after: 2 weeks}\n")
    assert report(here, "delivered").started == ()
    assert [(t.kind, t.rep) for t in here.store.open_tasks()] == [("complete", SAM)]
    assert "call needs call (datetime)" in here.store.open_tasks()[0].note
    assert "delivered: call was not started: call needs call" in story(here)[-1]


def test_what_came_with_the_moment_fills_the_needs_by_name(there: Any) -> None:
    here = there("- {moment: delivered, start: call, with: {topic: from the file}}\n")
    (started,) = report(here, "delivered", call="2026-03-20 10:00", topic="theirs", colour="red").started
    assert started.variables == {"call": "2026-03-20T10:00:00+00:00", "topic": "from the file"}


def test_what_came_with_the_moment_and_is_wrong_becomes_the_reps_task_too(there: Any) -> None:
    here = there("- {moment: delivered, start: call}\n")
    assert report(here, "delivered", call="next Tuesday").started == ()
    assert "must be a date and time" in here.store.open_tasks()[0].note


def test_a_prospect_may_come_with_the_moment(there: Any) -> None:
    here = there("- {moment: praised, start: outreach}\n")
    (started,) = report(here, "praised", prospect=f"Barry Jones <{BARRY}>").started
    assert (started.contact, started.client) == (here.store.contact_at(BARRY).id, here.store.contact_at(DANA).id)
    assert "names nobody" in refused(here, Report(DANA, "praised", {"prospect": ""}))


def test_somebody_unknown_is_refused_with_the_remedy_or_made_known_with_a_name(there: Any) -> None:
    here = there("- {moment: nps, start: nudge}\n")
    told = Report(LEE, "nps", {"score": "9"})
    assert refused(here, told) == (
        'nobody has the address lee@acme.test; enroll them, or add --name "Dana Whitfield" to make them known'
    )
    named = Report(LEE, "nps", {"score": "9"}, contact={"name": "Lee Moran", "company": "Acme"})
    assert "add --rep" in refused(here, named)
    assert here.store.contact_at(LEE) is None
    outcome = triggers.report(here.inst, Report(LEE, "nps", {}, None, KIM, named.contact), here.now)
    assert isinstance(outcome, Outcome) and outcome.started[0].rep == KIM
    assert (here.store.contact_at(LEE).name, here.store.contact_at(LEE).owner) == ("Lee Moran", KIM)


def test_a_moment_that_nobody_listens_for_is_refused_so_that_it_can_be_told_again(there: Any) -> None:
    here = there("- {moment: nps, start: nudge}\n")
    assert refused(here, Report(DANA, "nsp")) == (
        "no trigger listens for the moment 'nsp'; sequences/triggers.yaml names nps"
    )
    here.inst = Installation(here.inst.config, here.store, with_triggers("- {moment: nsp, start: nudge}\n"), b"k")
    assert report(here, "nsp").started


def test_nothing_starts_for_a_suppressed_address(there: Any) -> None:
    here = there("- {moment: nps, start: nudge}\n- {every: '0 9 * * *', for: clients, start: nudge}\n")
    here.store.suppress(DANA, "unsubscribed", here.now)
    assert report(here).lines == ("nps: nudge was not started: dana@acme.test is suppressed (unsubscribed)",)
    triggers.advance(here.inst, here.now)
    before = story(here)
    here.later(days=2)
    triggers.advance(here.inst, here.now)
    assert (sequences(here), story(here)) == ([], before)


def test_a_client_of_nobody_is_told_and_not_guessed(there: Any) -> None:
    here = there("- {moment: nps, start: nudge}\n")
    known(here.store, LEE, owner="gone@demo.test")
    assert report(here, email=LEE).lines == (
        "nps: nudge was not started: whose client lee@acme.test is cannot be known",
    )


def test_a_sequence_that_was_removed_is_told(there: Any) -> None:
    here = there("- {moment: nps, start: [gone, nudge]}\n")
    outcome = report(here)
    assert outcome.lines[0] == "nps: gone was not started: there is no such sequence"
    assert [e.sequence for e in outcome.started] == ["nudge"]


def test_what_a_trigger_starts_is_a_family_of_its_own(there: Any) -> None:
    here = there("- {moment: nps, start: [nudge, other]}\n")
    one, two = report(here).started
    assert (one.root, two.root, one.thread, one.parent) == (one.id, two.id, one.id, "")


def test_a_report_that_dies_before_its_commit_leaves_nothing(there: Any) -> None:
    here = there(ASK)
    with pytest.raises(ZeroDivisionError), here.store.transaction():
        report(here, score="9")
        raise ZeroDivisionError
    assert (sequences(here), story(here)) == ([], [])
    assert report(here, score="9").started


# --- referrals -------------------------------------------------------------------------------------------------------


def test_the_reps_word_on_a_referral_starts_what_listens_for_it_once(there: Any) -> None:
    here = there("- {referral: won, start: update}\n")
    inbox.mark(here.inst, DANA, "named", {"prospect": f"Barry Jones <{BARRY}>"}, here.now)
    said = inbox.mark(here.inst, BARRY, "won", {}, here.now)
    assert said == [f"{BARRY}: won", "update: started by the referral's won", "update: begins"]
    (update,) = [e for e in here.store.all_enrollments() if e.sequence == "update"]
    referral = here.store.referrals()[0]
    assert (update.client, update.variables["prospect"]["email"], update.referral) == (
        here.store.contact_at(DANA).id, BARRY, referral.id,
    )  # fmt: skip
    here.run(days=60)
    inbox.mark(here.inst, BARRY, "lost", {}, here.now)
    assert inbox.mark(here.inst, BARRY, "won", {}, here.now) == [f"{BARRY}: won"]
    assert here.sent("update") == ["news"]


def test_a_referrals_if_may_ask_for_the_referral(there: Any) -> None:
    here = there(
        "- {referral: named, if: \"prospect.company == 'North' and referral.state == 'named'\", start: update}\n"
    )
    for email, company in ((BARRY, "North"), ("sue@harbour.test", "Harbour")):
        inbox.mark(here.inst, DANA, "named", {"prospect": f"Some Body <{email}>, {company}"}, here.now)
    assert [e.variables["prospect"]["email"] for e in here.store.all_enrollments()] == [BARRY]


def test_a_change_that_a_sequence_makes_acts_when_the_triggers_are_asked_next(there: Any) -> None:
    here = there("- {referral: named, start: other, after: 1 week}\n")
    here.confirmed()
    asked = here.enroll(DANA, "ask")
    here.work()
    here.hear(f"You should talk to Barry Jones <{BARRY}>, he has the same problem.", to=here.rows(asked)[-1])
    assert here.store.referrals_to(Person(email=BARRY))
    assert "other" not in [key for key, _ in sequences(here)]
    triggers.advance(here.inst, here.now)
    triggers.advance(here.inst, here.now)
    assert ("other", State.WAITING) in sequences(here)
    assert here.of("other").next_at == here.now + 7 * DAY


def introduce(here: Office) -> None:
    words = "Barry, meet Sam: they closed our books in three days and could do the same for you. Sam, meet Barry."
    here.hear(words, to=None, subject="Introduction: Barry, meet Sam", To=BARRY, Cc=SAM)


@pytest.mark.parametrize("before", ["in no sequence", "in one that has ended"])
def test_an_introduction_that_no_enrollment_hears_is_on_record_and_thanked_for(there: Any, before: str) -> None:
    here = there("- {referral: introduced, start: thanks}\n")
    if before == "in one that has ended":
        nudge = here.enroll(DANA, "nudge")
        here.run(days=60)
        assert here.state(nudge) is State.STOPPED
    introduce(here)
    (referral,) = here.store.referrals_to(Person(email=BARRY))
    assert (referral.introduced_at, referral.rep, referral.source) == (here.now, SAM, "introduction")
    triggers.advance(here.inst, here.now)
    thanks = here.of("thanks")
    assert thanks.variables["prospect"]["email"] == BARRY
    mail = here.store.inbound_message(thanks.cause)
    assert mail is not None and thanks.thread == mail.thread == mail.id
    here.work()
    assert here.sent("thanks") == ["thanks"]


def test_an_introduction_that_was_heard_starts_nothing_a_second_time(there: Any) -> None:
    here = there("- {referral: introduced, start: thanks}\n")
    here.confirmed()
    asked = here.enroll(DANA, "ask")
    here.work()
    introduce(here)
    assert here.of(asked).outcome == "introduced"
    before = story(here)
    triggers.advance(here.inst, here.now)
    assert [key for key, _ in sequences(here)].count("thanks") == 1
    assert story(here) == before


def test_that_a_trigger_is_for_other_referrals_is_no_news(there: Any) -> None:
    here = there("- {referral: named, if: '1 > 2', start: update}\n")
    told = inbox.mark(here.inst, DANA, "named", {"prospect": f"Barry Jones <{BARRY}>"}, here.now)
    assert len(told) == 1 and not any("1 > 2" in line for line in story(here))


def test_a_moment_that_has_acted_never_acts_again(there: Any) -> None:
    here = there("- {referral: named, if: '1 > 2', start: update}\n")
    inbox.mark(here.inst, DANA, "named", {"prospect": f"Barry Jones <{BARRY}>"}, here.now)
    (moment,) = here.store.moments_of(here.store.contact_at(DANA).id)
    before = story(here)
    assert triggers.fire(here.inst, moment, here.now) == Outcome(False)
    assert story(here) == before


# --- when schedules come round ---------------------------------------------------------------------------------------

#: Every kind of change: an hour, half an hour, a whole day, at midnight, in both directions.
NIGHTS = [
    ("Europe/Berlin", "2026-03-28T20:00", "2026-03-29T08:00"),
    ("Europe/Berlin", "2026-10-24T20:00", "2026-10-25T08:00"),
    ("America/New_York", "2026-03-07T20:00", "2026-03-08T08:00"),
    ("America/New_York", "2026-10-31T20:00", "2026-11-01T08:00"),
    ("Australia/Lord_Howe", "2026-04-04T20:00", "2026-04-05T08:00"),
    ("Australia/Lord_Howe", "2026-10-03T20:00", "2026-10-04T08:00"),
    ("Africa/Casablanca", "2026-02-14T20:00", "2026-02-15T08:00"),
    ("Africa/Casablanca", "2026-03-21T20:00", "2026-03-22T08:00"),
    ("America/Santiago", "2026-04-04T20:00", "2026-04-05T08:00"),
    ("Asia/Kolkata", "2026-03-28T20:00", "2026-03-29T08:00"),
    ("Pacific/Apia", "2011-12-29T20:00", "2011-12-31T08:00"),
]
CRONS = ["30 2 * * *", "15 2 * * *", "0 0 * * *", "*/15 1-3 * * *", "0 * * * *"]


def walk(zone: str, begins: str, ends: str, step: timedelta) -> Iterator[datetime]:
    at, end = (datetime.fromisoformat(d).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for d in (begins, ends))
    while at < end:
        yield at
        at += step


@pytest.mark.parametrize(("zone", "begins", "ends"), NIGHTS, ids=lambda value: str(value))
@pytest.mark.parametrize("cron", CRONS)
def test_each_time_of_a_schedule_comes_once_and_never_early_whatever_the_clocks_do(
    zone: str, begins: str, ends: str, cron: str
) -> None:
    came: dict[str, datetime] = {}
    for now in walk(zone, begins, ends, 15 * MINUTE):
        slot = last_slot(cron, zone, now)
        assert slot is not None
        assert slot.name >= max(came, default=""), "a time that is over came back"
        came.setdefault(slot.name, now)
        assert slot.at <= now
    came.pop(min(came))  # from before the night
    for name, now in came.items():
        wall = now.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        assert wall >= datetime.fromisoformat(name)
        assert now == first_instant(name, zone), "late"
    # On paper, where no clock ever changes. Several times of one gap come as one, at its end.
    paper = {slot.name for at in walk("UTC", begins, ends, 15 * MINUTE) if (slot := last_slot(cron, "UTC", at))}
    missed = {first_instant(name, zone) for name in paper - came.keys() if name > begins}
    assert missed <= {now for name, now in came.items() if first_instant(name, zone) == now}


def first_instant(name: str, zone: str) -> datetime:
    """When the wall clock shows that time first, or is past it; minute by minute, as a person would look."""
    wanted = datetime.fromisoformat(name)
    at = wanted.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) - 26 * 60 * MINUTE
    while at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) < wanted:
        at += MINUTE
    return at


@pytest.mark.parametrize(("zone", "begins", "ends"), NIGHTS, ids=lambda value: str(value))
def test_the_next_time_is_the_one_that_comes_next(zone: str, begins: str, ends: str) -> None:
    for cron in CRONS:
        for now in walk(zone, begins, ends, 35 * MINUTE):
            ahead = next_slot(cron, zone, now)
            assert ahead is not None and ahead.at > now
            reached = last_slot(cron, zone, ahead.at)
            assert reached is not None and reached.at == ahead.at
            just_before = last_slot(cron, zone, ahead.at - timedelta(seconds=1))
            assert just_before is not None and just_before.at <= now


def test_a_time_that_the_clocks_skip_comes_after_the_gap() -> None:
    slot = last_slot("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 29, 1, 0, tzinfo=UTC))
    assert slot and (slot.name, slot.at) == ("2026-03-29T02:30", datetime(2026, 3, 29, 1, 0, tzinfo=UTC))
    lord_howe = last_slot("15 2 * * *", "Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC))
    assert lord_howe and lord_howe.name == "2026-10-04T02:15"


def test_a_leap_day_and_a_day_that_never_comes() -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    leap, ahead = last_slot("0 9 29 2 *", "UTC", now), next_slot("0 9 29 2 *", "UTC", now)
    assert leap and ahead and (leap.name, ahead.name) == ("2024-02-29T09:00", "2028-02-29T09:00")
    assert next_slot("0 9 31 2,4 *", "UTC", now) is None
    assert last_slot("0 9 31 2,4 *", "UTC", now) is None


def begins(day: str, before: str = "", zone: str = "UTC", year: int = 2026) -> list[date]:
    """The days of a year, seen from the zone, on which a yearly date is at hand."""
    length = parse_duration(before) if before else Duration()
    days = walk(zone, f"{year}-01-01", f"{year + 1}-01-01", DAY)
    place = Place(zone)
    found = [at for at in days if anniversary(date.fromisoformat(day), length, place, Calendar({}), at)]
    return [at.astimezone(ZoneInfo(zone)).date() for at in found]


def test_a_yearly_date_is_at_hand_from_its_time_before_until_it_comes() -> None:
    days = begins("2024-05-20", "6 weeks")
    assert (days[0], days[-1], len(days)) == (date(2026, 4, 8), date(2026, 5, 19), 42)
    assert begins("2026-05-20", "6 weeks") == []  # the first year is not over
    assert begins("2025-05-20", "6 weeks")[0] == date(2026, 4, 8)


def test_a_yearly_date_without_a_time_before_is_at_hand_for_a_week() -> None:
    assert begins("2020-12-30")[-2:] == [date(2026, 12, 30), date(2026, 12, 31)]
    assert begins("2020-07-01") == [date(2026, 7, day) for day in range(1, 8)]


def test_the_time_before_may_reach_into_the_year_before() -> None:
    assert begins("2020-01-10", "6 weeks")[-1] == date(2026, 12, 31)
    now = datetime(2026, 12, 1, tzinfo=UTC)
    assert anniversary(date(2020, 1, 10), parse_duration("6 weeks"), Place("UTC"), Calendar({}), now) == 2027


@pytest.mark.parametrize(("year", "first"), [(2026, date(2026, 2, 28)), (2028, date(2028, 2, 29))])
def test_29_february_returns_on_the_28th_where_there_is_no_29th(year: int, first: date) -> None:
    assert begins("2024-02-29", year=year)[0] == first


def test_a_yearly_date_begins_at_midnight_where_the_client_is() -> None:
    for zone in ("Pacific/Auckland", "America/New_York", "Europe/Berlin"):
        midnight = datetime(2026, 7, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        assert anniversary(date(2020, 7, 1), Duration(), Place(zone), Calendar({}), midnight) == 2026
        assert anniversary(date(2020, 7, 1), Duration(), Place(zone), Calendar({}), midnight - MINUTE) is None


# --- schedules start -------------------------------------------------------------------------------------------------

QUARTERLY = "- {every: '0 9 1 */3 *', for: clients, start: nudge}\n"


def quarters(here: Office, *days: str, restarts: int = 3) -> None:
    """The triggers are asked at these times, again and again, as after so many restarts."""
    for day in days:
        here.now = datetime.fromisoformat(day).replace(tzinfo=UTC)
        for _ in range(restarts):
            triggers.advance(here.inst, here.now)


def begun(here: Office, email: str = DANA) -> list[datetime]:
    contact = here.store.contact_at(email)
    assert contact is not None
    return [e.begun_at for e in here.store.enrollments_of(contact.id)]


def test_a_schedule_starts_each_client_once_and_only_from_its_first_time_on(there: Any) -> None:
    here = there(QUARTERLY)
    quarters(here, "2026-03-02T09:00", "2026-04-01T08:59:59")
    assert begun(here) == []
    quarters(here, "2026-04-01T09:00", "2026-04-01T09:01", "2026-06-30")
    assert begun(here) == [datetime(2026, 4, 1, 9, tzinfo=UTC)]
    assert "nudge: started by the schedule 0 9 1 */3 *" in story(here)


def test_the_schedule_runs_in_the_companys_zone(there: Any) -> None:
    here = there(QUARTERLY, zone="America/New_York")
    assert triggers.advance(here.inst, MONDAY) == datetime(2026, 4, 1, 13, tzinfo=UTC)
    quarters(here, "2026-04-01T12:59")
    assert begun(here) == []
    quarters(here, "2026-04-01T13:00")
    assert len(begun(here)) == 1


def test_who_is_in_it_already_is_skipped_and_told(there: Any) -> None:
    here = there(QUARTERLY)
    quarters(here, "2026-03-30T12:00")
    here.enroll(DANA, "nudge")
    quarters(here, "2026-04-01T09:00")
    assert len(begun(here)) == 1
    said = "the schedule 0 9 1 */3 *: nudge was not started: it runs already for that"
    assert story(here).count(said) == 1


def test_a_daemon_that_was_down_makes_up_for_one_time_and_says_what_it_missed(there: Any) -> None:
    here = there(QUARTERLY)
    quarters(here, "2026-03-02", "2027-02-10")
    assert begun(here) == [datetime(2027, 2, 10, tzinfo=UTC)]
    missed = [line.text for line in here.store.history_since(MONDAY - 365 * DAY) if line.kind == "schedule"]
    assert missed == [
        "the schedule 0 9 1 */3 * was missed up to 2026-10-01T09:00: only 2027-01-01T09:00 is made up for"
    ]


def test_a_schedule_that_is_edited_begins_anew_with_its_next_time(there: Any) -> None:
    monthly = "- {every: '0 9 1 * *', for: clients, start: once}\n"
    here = there(monthly)
    quarters(here, "2026-03-30", "2026-04-01T09:00")
    for edited in (monthly.replace("clients", "\"company == 'Acme'\""), monthly, "# moved down\n" + ASK + monthly):
        here.inst = Installation(here.inst.config, here.store, with_triggers(edited), b"k")
        quarters(here, "2026-04-02", "2026-04-20")
    assert len(begun(here)) == 1
    here.work()
    quarters(here, "2026-05-01T09:00")
    assert len(begun(here)) == 2


def test_a_schedule_that_only_moves_in_the_file_misses_nothing(there: Any) -> None:
    here = there(QUARTERLY)
    quarters(here, "2026-03-30")
    here.inst = Installation(here.inst.config, here.store, with_triggers("# on top\n" + ASK + QUARTERLY), b"k")
    quarters(here, "2026-04-01T09:00")
    assert len(begun(here)) == 1


def test_a_clock_that_goes_back_starts_nobody_again(there: Any) -> None:
    here = there("- {every: '0 9 * * *', for: clients, start: other}\n")
    quarters(here, "2026-03-02T08:00", "2026-03-03T09:00")
    here.run(days=20)
    assert here.state("other") is not State.ACTIVE
    quarters(here, "2026-03-02T08:00", "2026-03-03T09:00", "2026-03-03T23:00")
    assert len(begun(here)) == 1


@pytest.mark.parametrize(
    ("zone", "cron", "begins", "ends", "nights"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-27", "2026-04-01", 5),
        ("Europe/Berlin", "30 2 * * *", "2026-10-23", "2026-10-28", 5),
        ("America/New_York", "30 1 * * *", "2026-10-30", "2026-11-04", 5),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-02", "2026-10-07", 5),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-03", "2026-04-08", 5),
    ],
)
def test_on_the_nights_when_clocks_change_everybody_is_started_once(
    there: Any, zone: str, cron: str, begins: str, ends: str, nights: int
) -> None:
    here = there(f"- {{every: '{cron}', for: clients, start: once}}\n", zone=zone)
    first, *times = walk(zone, begins, ends, 15 * MINUTE)
    triggers.advance(here.inst, first)
    for here.now in times:
        triggers.advance(here.inst, here.now)
        triggers.advance(here.inst, here.now)
        here.work()
    assert len(begun(here)) == nights


def test_a_daemon_that_dies_in_the_middle_of_a_round_starts_the_others_later_and_nobody_twice(there: Any) -> None:
    here = there(QUARTERLY)
    for number in range(6):
        known(here.store, f"c{number}@acme{number}.test", name="Some Body")
    quarters(here, "2026-03-30")
    heard: list[str] = []

    def dies(line: Told) -> None:
        heard.append(line.kind)
        if heard.count("started") == 3:
            raise KeyboardInterrupt

    here.store.listener = dies
    with pytest.raises(KeyboardInterrupt):
        quarters(here, "2026-04-01T09:00")
    here.store.listener = None
    assert len(here.store.all_enrollments()) == 3
    quarters(here, "2026-04-01T09:05", "2026-04-02")
    assert len({e.contact for e in here.store.all_enrollments()}) == len(here.store.all_enrollments()) == 7


def test_referrers_are_those_who_have_referred(there: Any) -> None:
    here = there(QUARTERLY.replace("clients", "referrers"))
    known(here.store, LEE)
    inbox.mark(here.inst, LEE, "named", {"prospect": f"Barry Jones <{BARRY}>"}, here.now)
    quarters(here, "2026-03-30", "2026-04-01T09:00")
    assert (len(begun(here, LEE)), begun(here)) == (1, [])


def test_a_prospect_is_no_client_until_they_are_won(there: Any) -> None:
    here = there(QUARTERLY)
    inbox.mark(here.inst, DANA, "named", {"prospect": f"Barry Jones <{BARRY}>"}, here.now)
    known(here.store, BARRY)
    quarters(here, "2026-03-30", "2026-04-01T09:00")
    assert begun(here, BARRY) == []
    here.run(days=60)
    inbox.mark(here.inst, BARRY, "won", {}, here.now)
    quarters(here, "2026-07-01T09:00")
    assert len(begun(here, BARRY)) == 1


def test_for_may_be_an_expression_over_the_contacts_fields(there: Any) -> None:
    here = there(QUARTERLY.replace("clients", "\"tier == 'gold'\""))
    known(here.store, LEE, fields={"tier": "gold"})
    quarters(here, "2026-03-30", "2026-04-01T09:00")
    assert (len(begun(here, LEE)), begun(here)) == (1, [])


def test_a_for_that_nobody_can_answer_is_told_once(there: Any) -> None:
    here = there("- {every: '0 9 * * *', for: \"teir == 'gold'\", start: nudge}\n")
    quarters(here, "2026-03-02", "2026-03-03T09:00", "2026-03-04T09:00")
    told = [line.text for line in here.store.history_since(MONDAY - DAY) if line.kind == "not_started"]
    assert told == ["nudge was started for nobody: teir == 'gold' cannot be answered: there is no variable \"teir\""]


YEARLY = "- {every: year, from: client.contract_date, before: 6 weeks, start: once}\n"


def test_a_yearly_date_starts_once_a_year(there: Any) -> None:
    here = there(YEARLY)
    known(here.store, LEE, fields={"contract_date": "2024-05-20"})
    quarters(here, "2026-04-07T23:59")
    assert begun(here, LEE) == []
    quarters(here, "2026-04-08T00:00", "2026-04-08T01:00", "2026-05-19", "2026-05-21")
    assert begun(here, LEE) == [datetime(2026, 4, 8, tzinfo=UTC)]
    here.work()
    quarters(here, "2027-04-07T23:00", "2027-04-08T00:00", "2027-04-09")
    assert len(begun(here, LEE)) == 2
    assert begun(here) == []


def test_an_edit_of_a_yearly_trigger_starts_nobody_again(there: Any) -> None:
    here = there(YEARLY)
    known(here.store, LEE, fields={"contract_date": "2024-05-20"})
    quarters(here, "2026-04-08T00:00")
    here.work()
    edited = with_triggers(YEARLY.replace("6 weeks", "2 months"))
    here.inst = Installation(here.inst.config, here.store, edited, b"k")
    quarters(here, "2026-05-10", "2026-05-11")
    assert len(begun(here, LEE)) == 1


def test_a_contact_who_comes_late_still_has_their_year(there: Any) -> None:
    here = there(YEARLY)
    quarters(here, "2026-05-01T10:00")
    known(here.store, LEE, fields={"contract_date": "2024-05-20"})
    known(here.store, "ann@late.test", fields={"contract_date": "2024-04-20"})
    quarters(here, "2026-05-01T11:00")
    assert (len(begun(here, LEE)), begun(here, "ann@late.test")) == (1, [])


def test_a_yearly_date_that_is_none_is_told_once(there: Any) -> None:
    here = there(YEARLY)
    known(here.store, LEE, fields={"contract_date": "20.5.2024"})
    quarters(here, "2026-04-08T00:00", "2026-04-08T05:00", "2026-04-09")
    assert story(here, LEE) == ["once was not started: contract_date is no date: '20.5.2024'; write it like 2026-03-02"]


def test_where_no_schedule_is_nothing_is_waited_for(there: Any) -> None:
    assert triggers.advance(there(ASK).inst, MONDAY) is None
    assert triggers.advance(there("# none\n").inst, MONDAY) is None


# --- several at once, on both databases ------------------------------------------------------------------------------

DAEMONS = 4


def together(url: str, there: Office, act: Callable[[Installation], Any]) -> list[Any]:
    """The same verb in several daemons at the same moment, each with a connection of its own."""
    start = Barrier(DAEMONS)

    def daemon(_: int) -> Any:
        own = open_store(url)
        try:
            start.wait()
            return act(Installation(there.inst.config, own, there.inst.library, b"k"))
        finally:
            own.close()

    with ThreadPoolExecutor(DAEMONS) as pool:
        return list(pool.map(daemon, range(DAEMONS)))


@pytest.fixture
def shared(either_url: str, tmp_path: Path) -> Iterator[Office]:
    store = open_store(either_url)
    books = with_triggers("- {moment: nps, start: nudge}\n- {referral: won, start: update}\n" + QUARTERLY)
    yield Office(store, tmp_path, books=books)
    store.close()


def test_a_moment_that_four_report_at_once_happens_once(shared: Office, either_url: str) -> None:
    known(shared.store, DANA)
    told = together(either_url, shared, lambda inst: triggers.report(inst, Report(DANA, "nps"), MONDAY))
    assert sorted(outcome.news for outcome in told) == [False, False, False, True]
    assert sequences(shared) == [("nudge", State.ACTIVE)]


def test_four_daemons_start_everybody_once(shared: Office, either_url: str) -> None:
    for number in range(5):
        known(shared.store, f"c{number}@acme{number}.test", name="Some Body")
    quarters(shared, "2026-03-30")
    at = datetime(2026, 4, 1, 9, tzinfo=UTC)
    together(either_url, shared, lambda inst: triggers.advance(inst, at))
    assert len(shared.store.all_enrollments()) == 5
    assert len([line for line in shared.store.history_since(at - DAY) if line.kind == "started"]) == 5
    assert not [line for line in shared.store.history_since(at - DAY) if line.kind == "not_started"]


def test_a_referral_acts_once_for_four_daemons(shared: Office, either_url: str) -> None:
    known(shared.store, DANA)
    inbox.mark(shared.inst, DANA, "named", {"prospect": f"Barry Jones <{BARRY}>"}, MONDAY)
    referral = shared.store.referrals()[0]
    with shared.store.transaction():
        referral_changed(shared.inst, referral, "won", "", MONDAY)
    together(either_url, shared, lambda inst: triggers.advance(inst, MONDAY))
    assert [e.sequence for e in shared.store.all_enrollments()] == ["update"]


# --- the command -----------------------------------------------------------------------------------------------------


DANA_NEW = (
    "moment",
    "dana@acme.example",
    "nps",
    "-v",
    "score=10",
    "-v",
    "problem=slow tenders",
    "--name",
    "Dana Whitfield",
)


def test_the_command_says_what_begins_and_when(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(DANA_NEW) == 0
    said = capsys.readouterr().out
    assert "dana@acme.example: ask: started by nps, after 1 day" in said
    assert "dana@acme.example: ask begins " in said
    assert main(["show", "dana@acme.example"]) == 0
    assert "ask  begins " in capsys.readouterr().out
    assert main(DANA_NEW) == 0
    assert "nothing happens twice" in capsys.readouterr().out


def test_the_command_prints_one_document(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*DANA_NEW, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kept"], found["news"], [s["sequence"] for s in found["started"]]) == (True, True, ["ask"])
    assert main(["moment", "lee@acme.example", "nps", "--json"]) == 1
    assert "nobody has the address" in json.loads(capsys.readouterr().out)["refusal"]["reason"]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("dana@acme.example",),
        ("dana@acme.example", "nps", "--csv", "x.csv"),
        ("dana@acme.example", "nps", "--on", "soon"),
    ],
)
def test_the_command_says_how_it_is_used(project: Path, words: tuple[str, ...]) -> None:
    assert main(["moment", *words]) == 2


TABLE = [
    "Email;Moment;Score;Date;Name;Problem",
    "lee@acme.example;nps;9,5;{day};Lee Müller;slow tenders",
    "kim@b.example;nps;10;;Kim Novak;slow tenders",
    "kim@b.example;nps;10;;Kim Novak;slow tenders",
    ";nps;9;;;",
    "x@y.example;nps;10;;;",
    "kim@b.example;nps;9;soon;;",
    "kim@b.example;nps;9;;;;too;many",
    "kim@b.example;what;;;;",
]


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("utf-8", ";"), ("utf-8-sig", ","), ("cp1252", ";"), ("utf-8", "\t")]
)
def test_a_file_of_moments_refuses_row_by_row_and_can_be_fed_again(
    project: Path, capsys: pytest.CaptureFixture[str], encoding: str, delimiter: str
) -> None:
    day = (datetime.now(UTC).date() - 3 * DAY).isoformat()
    rows = [row.format(day=day).replace(",", ".").replace(";", delimiter) for row in TABLE]
    (project / "s.csv").write_bytes("\r\n".join(rows).encode(encoding))
    assert main(["moment", "--csv", "s.csv"]) == 1
    said = capsys.readouterr()
    assert said.out == "8 moments: 2 new, 1 known already, 5 refused; 2 sequences started.\n"
    assert [line.split(":")[1].strip() for line in said.err.strip().splitlines()] == [
        "line 5", "line 6 (x@y.example)", "line 7 (kim@b.example)", "line 8 (kim@b.example)", "line 9 (kim@b.example)",
    ]  # fmt: skip
    assert main(["moment", "--csv", "s.csv"]) == 1
    assert capsys.readouterr().out == "8 moments: 0 new, 3 known already, 5 refused; 0 sequences started.\n"
    assert main(["show", "lee@acme.example"]) == 0
    assert "Lee Müller" in capsys.readouterr().out


def test_moments_may_come_as_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"email": "lee@acme.example", "moment": "nps", "score": 10, "name": "Lee Moran", "problem": "slow tenders"}
    (project / "s.json").write_text(json.dumps([row, {**row, "email": "dana@acme.example", "score": 3}]))
    assert main(["moment", "--csv", "s.json", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(f["place"], len(f["started"])) for f in found] == [("item 1", 1), ("item 2", 0)]


@pytest.mark.parametrize("text", ["", "nope", "name,score\nDana,9\n", "[1, 2]", "[{", "{}", '{"email": "a"}'])
def test_a_file_that_is_no_table_of_moments_is_refused_as_a_whole(
    project: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (project / "s.csv").write_text(text)
    assert main(["moment", "--csv", "s.csv"]) == 1
    assert capsys.readouterr().err.startswith("whoelse: s.csv: ")


# --- what ships, and the real daemon ---------------------------------------------------------------------------------


def test_what_ships_leaves_the_false_dawn_off() -> None:
    text = (Path(__file__).parent.parent / "sequences" / "triggers.yaml").read_text()
    shipped, problems = parse({"sequences/triggers.yaml": text})
    assert not problems
    moments = {t.moment for t in shipped.triggers}
    assert moments >= {"nps", "thanked", "delivered", "renewed"} and "signed" not in moments
    for trigger in shipped.triggers:
        asks = any(start.sequence == "ask" for start in trigger.starts)
        assert trigger.confirms == asks


@pytest.mark.real
async def test_an_introduction_out_of_the_blue_is_thanked_for_by_the_daemon(
    tmp_path: Path, dovecot: servers.Dovecot, postfix: servers.Postfix
) -> None:
    async with world(tmp_path, dovecot, postfix) as real:
        real.inst.store.add_contact(Contact("", real.dana, name="Dana Whitfield", owner=real.rep))
        words = "Barry, meet Sam: they closed our books in three days. Sam, meet Barry."
        real.write(real.dana, real.barry, "Barry, meet Sam", words, Cc=real.rep)
        thanks: Callable[[], list[Enrollment]] = lambda: [
            e for e in real.inst.store.all_enrollments() if e.sequence == "thank_you"
        ]
        await real.until(thanks, "the thank-you")
        assert thanks()[0].variables["prospect"]["email"] == real.barry
        await real.later(lambda: real.mail(real.dana), "the thanks in Dana's mailbox")
        assert real.mail(real.dana)[0]["Subject"] == "Re: Barry, meet Sam"
