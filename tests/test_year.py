"""A year of a team, and the rules of conduct held on every message that left: whatever the sequences, the reps and the clients did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
import year
from year import ZONE, Year

from engine.core.model import Contact, Enrollment, OutboxMessage
from engine.store import Told

CLIENTS = 40
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Year:
    return year.play(tmp_path_factory.mktemp("year"), CLIENTS)


def left(played: Year) -> Iterator[tuple[OutboxMessage, datetime, Enrollment, Contact, str]]:
    """Every message that left, when, for which enrollment and person, and of which kind of sequence, in order."""
    for message in played.sent:
        row, enrollment = played.store.outbox_message(message.id), played.store.enrollment(message.enrollment)
        assert row and row.sent_at and enrollment
        contact = played.store.contact(row.contact)
        assert contact
        yield row, row.sent_at, enrollment, contact, played.inst.library.sequences[enrollment.sequence].kind


def story(played: Year, contact: Contact, kind: str) -> list[Told]:
    return [line for line in played.store.story(contact.id) if line.kind == kind]


def company_of(contact: Contact) -> str:
    return contact.company or contact.email.rpartition("@")[2]


def test_the_year_has_everything_that_happens(played: Year) -> None:
    events = {row.event for row in played.store.recent_inbound(100_000)}
    assert {
        "confirmed",
        "declined",
        "named",
        "introduced",
        "reply",
        "out_of_office",
        "bounced",
        "unsubscribed",
    } <= events
    states = {referral.state for referral in played.store.referrals()}
    assert {"met", "won"} & states and len(played.sent) > 200
    assert {refusal.rule for _, _, refusal in played.refused} >= {"confirmed"}


def test_each_step_left_once(played: Year) -> None:
    keys = [(m.enrollment, m.step, m.visit, m.attempt) for m in played.sent]
    assert len(keys) == len(set(keys))


def test_nobody_was_written_to_after_an_opt_out_or_a_dead_address(played: Year) -> None:
    for _, at, _, contact, _ in left(played):
        suppression = played.store.suppressed(contact.email)
        assert suppression is None or at <= suppression.at, contact.email


def test_nobody_was_asked_without_confirmed_value_or_a_recorded_reason(played: Year) -> None:
    for _, at, enrollment, contact, kind in left(played):
        if kind != "ask":
            continue
        confirmed = [line.at for line in story(played, contact, "value") if line.at <= at]
        overridden = any(line.enrollment == enrollment.id for line in story(played, contact, "override"))
        assert overridden or (confirmed and enrollment.begun_at - max(confirmed) <= 365 * DAY), contact.email


def test_one_ask_for_a_company_in_a_quarter(played: Year) -> None:
    first: dict[str, dict[str, datetime]] = defaultdict(dict)
    overridden = set()
    for _, _, enrollment, contact, kind in left(played):
        if kind == "ask":
            first[company_of(contact)].setdefault(enrollment.root, enrollment.begun_at)
        if any(line.enrollment == enrollment.id for line in story(played, contact, "override")):
            overridden.add(enrollment.root)
    assert first
    for asks in first.values():
        earned = sorted(at for root, at in asks.items() if root not in overridden)
        assert all(later - earlier > 90 * DAY - HOUR for earlier, later in pairwise(earned))


def test_nobody_and_no_company_heard_from_unrelated_sequences_too_often(played: Year) -> None:
    people: dict[str, list[tuple[datetime, Enrollment]]] = defaultdict(list)
    companies: dict[str, list[tuple[datetime, Enrollment, str]]] = defaultdict(list)
    for _, at, enrollment, contact, _ in left(played):
        people[contact.id].append((at, enrollment))
        companies[company_of(contact)].append((at, enrollment, contact.id))
    for got in people.values():
        for (earlier, one), (later, other) in pairwise(got):
            # An answer to the person's own message is no interruption.
            assert one.root == other.root or other.cause or later - earlier >= 3 * DAY - HOUR
    for heard in companies.values():
        for (earlier, one, who), (later, other, whom) in pairwise(heard):
            assert who == whom or one.root == other.root or other.cause or later - earlier >= DAY - HOUR


def test_nothing_left_for_somebody_who_was_away(played: Year) -> None:
    away: dict[str, list[datetime]] = defaultdict(list)
    for row in played.store.recent_inbound(100_000):
        if row.event == "out_of_office":
            away[row.contact].append(row.received_at)
    for row, at, _, contact, _ in left(played):
        for since in away[contact.id]:
            assert not since < at < since + 8 * DAY, f"{row.step} to {contact.email}"


def test_nothing_left_from_what_had_ended(played: Year) -> None:
    for row, at, enrollment, contact, _ in left(played):
        ends = [line.at for line in story(played, contact, "stopped") if line.enrollment == enrollment.id]
        assert not ends or at <= min(ends) or enrollment.state != "stopped", f"{row.step} to {contact.email}"


def test_after_a_no_nobody_was_asked_again_within_the_rest_and_got_one_smaller_favour(played: Year) -> None:
    for _, at, enrollment, contact, kind in left(played):
        noes = [
            line.at
            for line in story(played, contact, "stopped")
            if line.text.endswith("declined") and line.at < enrollment.begun_at and line.enrollment != enrollment.id
        ]
        overridden = any(line.enrollment == enrollment.id for line in story(played, contact, "override"))
        if kind in ("ask", "favour") and noes and not overridden:
            assert enrollment.begun_at - max(noes) >= 90 * DAY - HOUR, contact.email
        assert at >= enrollment.begun_at


def test_no_stranger_got_a_first_word_that_no_rep_had_read(played: Year) -> None:
    firsts = [row for row, _, e, _, kind in left(played) if kind == "outreach"]
    assert firsts and all(row.approved_at for row in firsts)


def test_nothing_left_at_night_or_on_a_weekend(played: Year) -> None:
    for row, at, enrollment, _, _ in left(played):
        local = at.astimezone(ZONE)
        always = any(
            s.id == row.step and s.window == "always" for s in played.inst.library.sequences[enrollment.sequence].steps
        )
        assert always or (local.weekday() < 5 and 9 <= local.hour < 17), f"{row.step} at {local}"


def test_every_refusal_stands_in_the_person_s_story(played: Year) -> None:
    for at, email, refusal in played.refused:
        contact = played.store.contact_at(email)
        if contact and refusal.rule in ("confirmed", "resting", "asked", "conversation", "suppressed", "running"):
            assert any(line.at == at and refusal.reason in line.text for line in story(played, contact, "refused"))


def test_the_same_seed_is_the_same_year(played: Year, tmp_path_factory: pytest.TempPathFactory) -> None:
    short = [year.play(tmp_path_factory.mktemp("again"), 4, days=60) for _ in range(2)]
    assert [(m.recipient, m.subject) for m in short[0].sent] == [(m.recipient, m.subject) for m in short[1].sent]
