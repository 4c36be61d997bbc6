"""A year of a team, and the rules of conduct held on every message that left: whatever the sequences, the reps and the clients did."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from datetime import datetime, timedelta
from email import message_from_bytes
from itertools import pairwise

import pytest
import year
from year import ZONE, Year

from engine.core.machine import find
from engine.core.model import HUMAN, Contact, Enrollment, InboundMessage, OutboxMessage
from engine.store import Told

#: A small year in every run; YEAR_CLIENTS=400 holds the rules on the one that the docs show.
WHOLE = os.environ.get("YEAR_CLIENTS")
CLIENTS, SEED = (int(WHOLE), year.SEED) if WHOLE else (40, 2)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Year:
    return year.play(tmp_path_factory.mktemp("year"), CLIENTS, SEED)


@functools.cache
def left(played: Year) -> list[tuple[OutboxMessage, datetime, Enrollment, Contact, str]]:
    """Every message that left, when, for which enrollment and person, and of which kind of sequence, in order."""
    return [_left(played, message) for message in played.sent]


def _left(played: Year, message: OutboxMessage) -> tuple[OutboxMessage, datetime, Enrollment, Contact, str]:
    row, enrollment = played.store.outbox_message(message.id), played.store.enrollment(message.enrollment)
    assert row and row.sent_at and enrollment
    contact = played.store.contact(row.contact)
    assert contact
    return row, row.sent_at, enrollment, contact, played.inst.library.sequences[enrollment.sequence].kind


@functools.cache
def told(played: Year, contact: str) -> list[Told]:
    return played.store.story(contact)


def story(played: Year, contact: Contact, kind: str) -> list[Told]:
    return [line for line in told(played, contact.id) if line.kind == kind]


@functools.cache
def received(played: Year) -> dict[str, datetime]:
    """When each message that came back was read, by its Message-ID."""
    return {row.message_id: row.received_at for row in played.store.recent_inbound(100_000)}


def answers_since(played: Year, row: OutboxMessage, earlier: datetime) -> bool:
    """Whether an email answers a message that came after the email before it: that is a conversation, and no interruption."""
    raw = next(message.raw for message in played.sent if message.id == row.id)
    answered = received(played).get(str(message_from_bytes(raw)["In-Reply-To"]))
    return answered is not None and answered >= earlier


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
    referrals = played.store.referrals()
    assert any(r.met_at for r in referrals) and any(r.answered_at for r in referrals) and len(played.sent) > 200
    assert {e.sequence for _, _, e, _, _ in left(played)} == played.inst.library.sequences.keys()
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
    for _, at, enrollment, contact, kind in left(played):
        if kind == "ask":
            first[company_of(contact)].setdefault(enrollment.root, at)
        if any(line.enrollment == enrollment.id for line in story(played, contact, "override")):
            overridden.add(enrollment.root)
    assert first
    for asks in first.values():
        earned = sorted(at for root, at in asks.items() if root not in overridden)
        assert all(later - earlier > 90 * DAY - HOUR for earlier, later in pairwise(earned))


def test_nobody_and_no_company_heard_from_unrelated_sequences_too_often(played: Year) -> None:
    people: dict[str, list[tuple[datetime, OutboxMessage, str]]] = defaultdict(list)
    companies: dict[str, list[tuple[datetime, OutboxMessage, str]]] = defaultdict(list)
    for row, at, enrollment, contact, _ in left(played):
        people[contact.id].append((at, row, enrollment.root))
        companies[company_of(contact)].append((at, row, enrollment.root))
    for heard, cap in ((people, 3 * DAY - HOUR), (companies, DAY - HOUR)):
        for who, emails in heard.items():
            for (earlier, one, root), (later, other, other_root) in pairwise(emails):
                close = (
                    later - earlier < cap and root != other_root and (heard is people or one.contact != other.contact)
                )
                assert not close or answers_since(played, other, earlier), f"{who}: {one.step}, then {other.step}"


def test_nothing_left_for_somebody_who_was_away(played: Year) -> None:
    away: dict[str, list[datetime]] = defaultdict(list)
    for row in played.store.recent_inbound(100_000):
        if row.event == "out_of_office":
            away[row.contact].append(row.received_at)
    for row, at, _, contact, _ in left(played):
        for since in away[contact.id]:
            assert not since < at < since + 8 * DAY, f"{row.step} to {contact.email}"


def heard(played: Year, *events: str) -> list[InboundMessage]:
    """What came back and was one of these, and concerns an enrollment or a person."""
    return [row for row in played.store.recent_inbound(100_000) if row.event in events]


def test_no_follow_up_left_after_an_answer(played: Year) -> None:
    """What the sequence says to that very answer stands aside of its order; else the rep has said that it goes on."""
    answers = defaultdict(list)
    for row in heard(played, *HUMAN):
        answers[row.enrollment].append(row)
    for row, at, enrollment, contact, _ in left(played):
        step = find(played.inst.library.sequences[enrollment.sequence], row.step)
        for answer in answers[enrollment.id]:
            goes_on = "continue" in answer.decision or (step and step.aside)
            assert goes_on or answer.received_at >= at, f"{row.step} to {contact.email}: {answer.decision}"


def test_the_rep_s_own_hand_holds_what_is_no_answer(played: Year) -> None:
    by_hand = defaultdict(list)
    for row in heard(played, "rep_wrote"):
        by_hand[row.contact].append(row.received_at)
    assert by_hand
    for row, at, _, contact, kind in left(played):
        if kind not in ("thanks", "outreach"):  # the rep's word to the client is no reason to spare the thanks
            assert not [t for t in by_hand[contact.id] if t < at < t + 2 * DAY], f"{row.step} to {contact.email}"


def test_no_ask_began_in_the_middle_of_a_conversation(played: Year) -> None:
    talks = defaultdict(list)
    for row in heard(played, *HUMAN, "rep_wrote"):
        talks[row.contact].append(row)
    for row, at, enrollment, contact, kind in left(played):
        if kind == "ask" and row.step in ("who_else", "specific") and not story(played, contact, "override"):
            family = {e.id for e in played.store.family(enrollment.root)}
            alive = [t for t in talks[contact.id] if t.enrollment not in family and at - 2 * DAY < t.received_at < at]
            assert not alive, f"{contact.email} at {at}"


def test_one_running_enrollment_for_a_person_sequence_and_prospect(played: Year) -> None:
    runs = defaultdict(list)
    for enrollment in played.store.all_enrollments():
        ends = [
            line.at
            for line in told(played, enrollment.contact)
            if line.enrollment == enrollment.id and line.kind in ("listening", "stopped")
        ]
        key = (enrollment.contact, enrollment.sequence, str(enrollment.variables.get("prospect")))
        runs[key].append((enrollment.begun_at, min(ends, default=played.now)))
    for key, times in runs.items():
        assert all(end <= begin for (_, end), (begin, _) in pairwise(sorted(times))), key


def test_nothing_left_from_what_had_ended(played: Year) -> None:
    for row, at, enrollment, contact, _ in left(played):
        ends = [line.at for line in story(played, contact, "stopped") if line.enrollment == enrollment.id]
        assert not ends or at <= min(ends) or enrollment.state != "stopped", f"{row.step} to {contact.email}"


def test_after_a_no_nobody_was_asked_again_within_the_rest_and_got_one_smaller_favour(played: Year) -> None:
    favours: dict[str, dict[str, datetime]] = defaultdict(dict)
    for _, at, enrollment, contact, kind in left(played):
        if kind not in ("ask", "favour") or any(
            line.enrollment == enrollment.id for line in story(played, contact, "override")
        ):
            continue
        noes = [
            line.at
            for line in story(played, contact, "stopped")
            if line.text.endswith("declined") and line.at < at and line.enrollment != enrollment.id
        ]
        assert not noes or at - max(noes) >= 90 * DAY - HOUR, contact.email
        if kind == "favour":
            offered = favours[contact.id]
            since = [no for no in noes if no > max(offered.values(), default=no - DAY)]
            assert enrollment.id in offered or since, f"{contact.email} was offered a second favour after one no"
            offered[enrollment.id] = at


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
