"""The store's verbs, each on both databases: what they keep, what they refuse, and who wins when several come at once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import office
import pytest
from office import BARRY, DANA, KIM, LEE, MONDAY, SAM, Office

from engine import enrollments, outbox
from engine.core.model import (
    Alert,
    Contact,
    Enrollment,
    InboundMessage,
    Item,
    Moment,
    OutboxMessage,
    OutboxState,
    Person,
    Referral,
    ReferralLine,
    State,
    Task,
)
from engine.database import Conflict
from engine.enrollments import Wish, enroll
from engine.outbox import Claim
from engine.store import Store, Told, find_sent, open_store

either_url = office.either_database
store = office.either_store
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
WORKERS = 4


def contact(store: Store, email: str = DANA, **more: Any) -> Contact:
    return store.add_contact(Contact("", email, owner=SAM, **more))


def enrollment(store: Store, whose: Contact, id: str = "e1", **more: Any) -> Enrollment:
    made = Enrollment(
        id=id, sequence="nudge", version="v", contact=whose.id, client=whose.id, rep=SAM, root=id,
        begun_at=MONDAY, start_at=MONDAY, **more,
    )  # fmt: skip
    assert store.add_enrollment(made)
    return made


def email(store: Store, of: Enrollment, id: str = "m1", **more: Any) -> OutboxMessage:
    given = {
        "step": "first",
        "visit": 1,
        "attempt": 0,
        "follow_up": False,
        "due_at": MONDAY,
        "not_before": MONDAY,
        **more,
    }
    made = OutboxMessage(
        id=id, enrollment=of.id, mailbox=SAM, contact=of.contact, recipient=DANA, state=OutboxState.QUEUED, **given
    )
    assert store.add_outbox(made)
    return made


def inbound(id: str = "i1", **more: Any) -> InboundMessage:
    given = {
        "mailbox": SAM, "folder": "INBOX", "uidvalidity": 1, "uid": 1, "message_id": f"<{id}@acme.test>", "digest": id,
        "received_at": MONDAY, "sender": DANA, "subject": "Re: Hello", "event": "reply", "rule": "reply", **more,
    }  # fmt: skip
    return InboundMessage(id=id, **given)


def leased(store: Store, owner: str = "one", address: str = SAM) -> int:
    store.add_mailbox(address)
    epoch = store.lease(address, owner, MONDAY, MONDAY + DAY)
    assert epoch is not None
    return epoch


def frozen(store: Store, of: Enrollment, message: OutboxMessage) -> OutboxMessage:
    ready = replace(
        message, message_id=f"<{message.id}@demo.test>", own_id=f"<own.{message.id}@demo.test>", thread="t1",
        subject="Hello", text="Hello Dana", raw=b"bytes \x00\xff", deadline=MONDAY + MINUTE, revision=of.revision,
    )  # fmt: skip
    done = store.freeze(ready)
    assert done is not None
    return done


@pytest.fixture
def queued(store: Store) -> tuple[Enrollment, OutboxMessage, int]:
    """An enrollment with one email in the outbox, and the epoch under which it may be sent."""
    epoch = leased(store)
    of = enrollment(store, contact(store))
    return of, email(store, of), epoch


# --- people ----------------------------------------------------------------------------------------------------------


def test_a_contact_is_known_by_all_its_addresses(store: Store) -> None:
    dana = contact(
        store,
        "Dana@Acme.test",
        name="Dana",
        aliases=("d.w@acme.test",),
        fields={"contract_date": "2026-05-01", "näh": 1},
    )
    assert dana.email == DANA
    assert store.contact(dana.id) == dana
    assert store.contact_at(" DANA@acme.test ") == store.contact_at("d.w@acme.test") == dana
    store.confirm(dana.id, MONDAY)
    store.save_contact(replace(dana, aliases=("d.w@acme.test", "dana@home.test")))
    found = store.contact_at("dana@home.test")
    assert found and found.confirmed_at == MONDAY, "who edits a contact knows nothing of what came meanwhile"
    assert store.contact_at("nobody@acme.test") is None


def test_an_address_belongs_to_one_contact(store: Store) -> None:
    contact(store)
    with pytest.raises(Conflict):
        contact(store)
    lee = contact(store, LEE, aliases=(DANA,))
    owner = store.contact_at(DANA)
    assert owner and owner.id != lee.id, "an alias takes no address away"
    assert [c.email for c in store.contacts()] == [DANA, LEE]


def test_colleagues_share_a_domain_and_freemail_is_none(store: Store) -> None:
    for address in (DANA, LEE, "a@gmail.com", "b@gmail.com"):
        contact(store, address)
    assert [c.email for c in store.colleagues("someone@acme.test")] == [DANA, LEE]
    assert store.colleagues("c@gmail.com") == []


def test_a_person_is_held_until_a_time(store: Store) -> None:
    dana = contact(store)
    assert store.contact_hold(dana.id, MONDAY) is None
    store.hold_contact(dana.id, MONDAY + DAY, "away")
    assert store.contact_hold(dana.id, MONDAY) == (MONDAY + DAY, "away")
    assert store.contact_hold(dana.id, MONDAY + DAY) is None
    store.hold_contact(dana.id, None, "")
    assert store.contact_hold(dana.id, MONDAY) is None


def test_somebody_moves_to_another_address_and_the_old_one_is_nobodys(store: Store) -> None:
    dana = contact(store, aliases=("dana@newplace.test",))
    store.move_contact(dana.id, "dana@newplace.test")
    moved = store.contact(dana.id)
    assert moved and moved.email == "dana@newplace.test"
    assert [c.id for c in store.colleagues("anybody@newplace.test")] == [dana.id]
    store.drop_address(dana.id, DANA)
    assert store.contact_at(DANA) is None
    assert store.contact_at("dana@newplace.test") == moved


def test_a_suppression_is_kept_once_and_found_by_the_address_however_written(store: Store) -> None:
    assert store.suppress(DANA, "unsubscribed", MONDAY, "i1")
    assert not store.suppress(" DANA@ACME.test", "bounced", MONDAY + DAY)
    found = store.suppressed("Dana@acme.test")
    assert found and (found.address, found.reason, found.at, found.message) == (DANA, "unsubscribed", MONDAY, "i1")
    assert [s.address for s in store.suppressions()] == [DANA]
    assert store.suppressed(LEE) is None


# --- enrollments -----------------------------------------------------------------------------------------------------


def test_an_enrollment_comes_back_as_it_was(store: Store) -> None:
    dana = contact(store)
    full = enrollment(
        store, dana, state=State.HELD, variables={"prospect": {"name": "Bärry", "email": BARRY}, "list": ["a", "b"], "n": 1.5},
        step="first", due_at=MONDAY, next_at=MONDAY + DAY, suspended_at=MONDAY, in_hand="task", answered="zero",
        visits={"first": 2}, tries=1, parent="p", cause="c", referral="r", reason="why", outcome="how", revision=7,
        done_at=MONDAY, thread="t",
    )  # fmt: skip
    assert store.enrollment("e1") == store.enrollment("e1", lock=True) == full
    assert store.enrollments_about(Person(email=BARRY)) == [full]
    for found in (
        store.enrollments_of(dana.id),
        store.enrollments_for_client(dana.id),
        store.family("e1"),
        store.all_enrollments(),
    ):
        assert found == [full]
    assert store.enrollment("e2") is None


def test_nobody_is_twice_in_a_sequence_for_the_same_prospect(store: Store) -> None:
    dana = contact(store)
    about = {"variables": {"prospect": {"name": "Barry", "email": BARRY}}}
    first = enrollment(store, dana, **about)
    assert not store.add_enrollment(replace(first, id="e2"))
    assert store.add_enrollment(replace(first, id="e3", variables={"prospect": {"email": "sue@x.test"}}))
    assert store.running_twin(dana.id, "nudge", BARRY) == first
    assert store.save_enrollment(replace(first, state=State.STOPPED, revision=1), 0)
    assert store.running_twin(dana.id, "nudge", BARRY) is None
    assert store.add_enrollment(replace(first, id="e4"))


def test_a_decision_is_saved_only_over_the_revision_that_it_was_made_from(store: Store) -> None:
    before = enrollment(store, contact(store))
    assert store.save_enrollment(replace(before, state=State.PAUSED, revision=1), 0)
    assert not store.save_enrollment(replace(before, state=State.ACTIVE, revision=1), 0)
    after = store.enrollment("e1")
    assert after and (after.state, after.revision) == (State.PAUSED, 1)


def test_a_changed_prospect_is_found_under_the_new_address(store: Store) -> None:
    before = enrollment(store, contact(store), variables={"prospect": {"name": "Barry", "email": "old@north.test"}})
    store.save_enrollment(replace(before, variables={"prospect": {"name": "Barry", "email": BARRY}}, revision=1), 0)
    assert [e.id for e in store.enrollments_about(Person(email=BARRY))] == ["e1"]
    assert store.enrollments_about(Person(email="old@north.test")) == []


def test_what_is_due_comes_in_the_order_of_its_time(store: Store) -> None:
    dana = contact(store)
    for number, at in enumerate((MONDAY + DAY, MONDAY, MONDAY + 3 * DAY)):
        enrollment(store, dana, f"e{number}", next_at=at, variables={"prospect": {"name": str(number)}})
    enrollment(store, dana, "e9")
    assert store.due_enrollments(MONDAY + DAY, 10) == ["e1", "e0"]
    assert store.due_enrollments(MONDAY + DAY, 1) == ["e1"]
    assert store.due_enrollments(MONDAY - MINUTE, 10) == []
    assert store.next_enrollment_at() == MONDAY
    assert store.count_enrollments() == [("nudge", "active", 4)]


def test_a_company_was_asked_when_anyone_in_it_was(store: Store) -> None:
    dana, lee = contact(store), contact(store, LEE)
    boss = contact(store, "boss@gmail.com", company="ACME ")
    asked = enrollment(store, dana, answered="who_else")
    since = MONDAY - DAY
    for whom in (lee, replace(boss, company="acme"), dana):
        expected = [] if whom == replace(boss, company="acme") else [("nudge", MONDAY, DANA)]
        assert store.begun_at_company(whom, "", since) == expected
    assert store.begun_at_company(lee, asked.root, since) == [], "its own family does not count"
    assert store.begun_at_company(lee, "", MONDAY) == []


# --- the outbox ------------------------------------------------------------------------------------------------------


def test_a_step_is_in_the_outbox_once_for_each_visit_and_try(store: Store, queued: Any) -> None:
    of, first, _ = queued
    assert not store.add_outbox(replace(first, id="m2"))
    assert store.add_outbox(replace(first, id="m3", attempt=1))
    assert store.add_outbox(replace(first, id="m4", visit=2))
    assert store.withdraw_one(first, "why")
    assert store.add_outbox(replace(first, id="m5")), "a withdrawn one stands in nobody's way"
    assert [m.id for m in store.outbox_of(of.id)] == ["m1", "m3", "m4", "m5"]


def test_follow_ups_leave_before_first_contacts(store: Store) -> None:
    of = enrollment(store, contact(store))
    email(store, of, "m1", attempt=1, due_at=MONDAY - DAY)
    email(store, of, "m2", attempt=2, follow_up=True)
    email(store, of, "m3", attempt=3, follow_up=True, due_at=MONDAY - MINUTE)
    order = []
    while row := store.queued(SAM, MONDAY):
        order.append(row.id)
        store.withdraw_one(row, "next")
    assert order == ["m3", "m2", "m1"]


def test_first_contacts_may_pass_what_follows_up(store: Store, queued: Any) -> None:
    of, first, _ = queued
    email(store, of, "m2", step="second", follow_up=True, due_at=MONDAY - DAY)
    assert store.queued(SAM, MONDAY, follow_ups=False) == first
    store.follows_up(first)
    assert store.queued(SAM, MONDAY, follow_ups=False) is None
    with store.transaction():
        store.lock_company(store.contact(first.contact))


def test_the_claim_freezes_the_bytes_and_only_one_gets_it(store: Store, queued: Any) -> None:
    of, message, _ = queued
    mine = frozen(store, of, message)
    assert mine.token == 1
    assert store.freeze(replace(message, raw=b"other", deadline=MONDAY)) is None
    kept = store.outbox_message("m1")
    assert kept == mine and kept.raw == b"bytes \x00\xff" and kept.state is OutboxState.CLAIMED


def test_the_body_begins_once_and_under_the_claims_own_token(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    assert not store.start_data(replace(mine, token=0), epoch, MONDAY, MONDAY)
    assert store.start_data(mine, epoch, MONDAY, MONDAY)
    assert not store.start_data(mine, epoch, MONDAY, MONDAY)


def test_the_body_does_not_begin_after_the_deadline(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    assert not store.start_data(mine, epoch, MONDAY + MINUTE, MONDAY)
    assert store.start_data(mine, epoch, MONDAY + MINUTE - timedelta(microseconds=1), MONDAY)


def test_the_body_does_not_begin_once_the_enrollment_has_changed(store: Store, queued: Any) -> None:
    """Here nothing withdraws the row: the revision alone must hold it."""
    of, message, epoch = queued
    mine = frozen(store, of, message)
    assert store.save_enrollment(replace(of, revision=1), 0)
    assert not store.start_data(mine, epoch, MONDAY, MONDAY)


def test_the_body_does_not_begin_once_the_row_was_withdrawn(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    assert store.withdraw(of.id, "an answer") == 1
    assert not store.start_data(mine, epoch, MONDAY, MONDAY)
    assert store.withdraw(of.id, "again") == 0


def test_an_old_epoch_writes_no_body(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    later = MONDAY + DAY
    newer = store.lease(SAM, "two", later, later + DAY)
    assert newer == epoch + 1
    late = replace(mine, deadline=later + DAY)
    assert not store.start_data(late, epoch, MONDAY, MONDAY)


def test_a_lease_that_ran_out_writes_no_body(store: Store) -> None:
    store.add_mailbox(SAM)
    epoch = store.lease(SAM, "one", MONDAY, MONDAY + timedelta(seconds=15))
    assert epoch is not None
    of = enrollment(store, contact(store))
    mine = frozen(store, of, email(store, of))
    assert not store.start_data(mine, epoch, MONDAY + timedelta(seconds=15), MONDAY)
    assert store.lease(SAM, "one", MONDAY + timedelta(seconds=10), MONDAY + timedelta(seconds=25)) == epoch
    assert store.start_data(mine, epoch, MONDAY + timedelta(seconds=15), MONDAY)


def test_the_brake_is_obeyed_before_the_next_body(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    store.set_setting("brake", "on")
    assert not store.start_data(mine, epoch, MONDAY, MONDAY)
    store.drop_setting("brake")
    assert store.start_data(mine, epoch, MONDAY, MONDAY)


def test_a_paused_account_writes_no_body(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    store.pause_mailbox(SAM, MONDAY + MINUTE, "a limit")
    assert not store.start_data(mine, epoch, MONDAY, MONDAY)


@pytest.mark.parametrize(
    ("read_before", "due_before", "may"),
    [
        (timedelta(0), timedelta(0), True),
        (timedelta(seconds=60), timedelta(seconds=60), True),
        (timedelta(seconds=61), timedelta(seconds=90), False),  # read too long ago
        (timedelta(seconds=31), timedelta(seconds=30), False),  # read before it became due
        (None, timedelta(seconds=30), False),  # never read
    ],
)
def test_the_gate_asks_for_a_read_after_the_due_time_and_within_a_minute(
    store: Store, read_before: timedelta | None, due_before: timedelta, may: bool
) -> None:
    epoch = leased(store)
    of = enrollment(store, contact(store))
    mine = frozen(store, of, email(store, of, follow_up=True, due_at=MONDAY - due_before))
    if read_before is not None:
        store.read_to_end(SAM, MONDAY - read_before, MONDAY)
    assert store.start_data(mine, epoch, MONDAY, MONDAY - outbox.READ_FRESH) is may


def test_a_first_contact_passes_the_gate_unread(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    assert store.start_data(mine, epoch, MONDAY, MONDAY)


def test_a_released_claim_can_be_had_again_and_the_old_token_no_longer_counts(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    old = frozen(store, of, message)
    assert not store.reclaim(old, old.deadline, "lost"), "it is not over yet"
    assert store.release_claim(old, MONDAY, 1, "4xx")
    again = store.queued(SAM, MONDAY)
    assert again and (again.state, again.deferrals, again.note, again.raw) == (OutboxState.QUEUED, 1, "4xx", old.raw)
    new = frozen(store, of, again)
    assert new.token == 2
    assert not store.start_data(old, epoch, MONDAY, MONDAY)
    for late in (
        store.record_doubt(old, "x"),
        store.release_claim(old, MONDAY, 2, "x"),
        store.record_refused(old, "x"),
    ):
        assert not late
    assert store.start_data(new, epoch, MONDAY, MONDAY)
    assert not store.record_sent(old, MONDAY, "x")
    assert store.record_sent(new, MONDAY, "ok")


def test_nothing_is_sent_before_its_body_began(store: Store, queued: Any) -> None:
    of, message, _ = queued
    mine = frozen(store, of, message)
    assert not store.record_sent(mine, MONDAY, "ok")
    assert not store.record_doubt(mine, "?")


def test_what_was_sent_stays_sent(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    store.start_data(mine, epoch, MONDAY, MONDAY)
    assert store.record_sent(mine, MONDAY, "ok")
    for undo in (
        store.record_sent(mine, MONDAY, "ok"),
        store.release_claim(mine, MONDAY, 1, "x"),
        store.record_doubt(mine, "x"),
        store.again(mine, MONDAY, "x"),
        store.withdraw_one(mine, "x"),
        store.withdraw(of.id, "x"),
        store.approve(mine, MONDAY),
    ):
        assert not undo
    kept = store.outbox_message("m1")
    assert kept and (kept.state, kept.sent_at, kept.note) == (OutboxState.SENT, MONDAY, "ok")
    assert store.record_refused(mine, "bounced"), "only a bounce says that it was refused after all"


def test_a_doubt_is_never_queued_again_but_by_proof(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    store.start_data(mine, epoch, MONDAY, MONDAY)
    assert store.record_doubt(mine, "lost")
    assert store.queued(SAM, MONDAY + DAY) is None
    assert store.withdraw(of.id, "x") == 0
    assert store.outbox_in(OutboxState.IN_DOUBT)[0].id == "m1"
    assert store.again(mine, MONDAY, "absent")
    back = store.queued(SAM, MONDAY)
    assert back and (back.token, back.raw, back.message_id) == (2, mine.raw, mine.message_id)
    assert not store.record_sent(mine, MONDAY, "a late answer of the first attempt")


def test_an_attempt_is_lost_only_when_nobody_can_still_speak_for_it(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    assert store.lost_claims(SAM, MONDAY + MINUTE) == []
    assert [m.id for m in store.lost_claims(SAM, MONDAY + MINUTE + timedelta(microseconds=1))] == ["m1"]
    store.start_data(mine, epoch, MONDAY, MONDAY)
    assert store.lost_claims(SAM, MONDAY + DAY) == []
    assert store.lost_attempts(SAM, MONDAY + MINUTE) == []
    assert [m.id for m in store.lost_attempts(SAM, MONDAY + DAY)] == ["m1"]
    assert store.lost_attempts(KIM, MONDAY + DAY) == []


def test_a_draft_waits_for_the_word_of_the_rep(store: Store, queued: Any) -> None:
    of, message, _ = queued
    store.to_draft(message, "overdue")
    assert store.queued(SAM, MONDAY) is None
    (draft,) = store.outbox_in(OutboxState.DRAFT)
    assert store.approve(draft, MONDAY + DAY, "Subject", "Words")
    assert not store.approve(draft, MONDAY + DAY)
    row = store.queued(SAM, MONDAY + DAY)
    assert row and (row.subject, row.text, row.approved_at) == ("Subject", "Words", MONDAY + DAY)


def test_an_approved_draft_never_leaves_in_the_bytes_that_it_had_before(store: Store, queued: Any) -> None:
    of, message, _ = queued
    mine = frozen(store, of, message)
    store.release_claim(mine, MONDAY, 1, "4xx")
    store.to_draft(mine, "overdue")
    (draft,) = store.outbox_in(OutboxState.DRAFT)
    assert store.approve(draft, MONDAY, "Subject", "The rep's own words")
    row = store.outbox_message("m1")
    assert row and row.raw == b"" and row.text == "The rep's own words"


def test_times_and_notes_of_what_waits(store: Store, queued: Any) -> None:
    _, message, _ = queued
    assert store.next_queued_at(SAM) == store.next_due() == MONDAY
    store.postpone(message, MONDAY + DAY, "the cap")
    assert store.next_queued_at(SAM) == store.next_due() == MONDAY + DAY
    assert store.mailboxes_due(MONDAY) == []
    assert store.mailboxes_due(MONDAY + DAY) == [SAM]
    assert store.note_outbox(message, "held")
    assert not store.note_outbox(message, "held")
    assert store.next_queued_at(KIM) is None


def test_an_email_is_found_by_either_of_its_ids_and_never_by_an_empty_one(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    assert find_sent(store, [""]) is None
    mine = frozen(store, of, message)
    store.start_data(mine, epoch, MONDAY, MONDAY)
    store.record_sent(mine, MONDAY, "ok")
    for ids in ([mine.message_id], ["<x@y>", mine.own_id], [mine.own_id, mine.message_id]):
        found = find_sent(store, ids)
        assert found and found.id == "m1"
    assert find_sent(store, ["<x@y>", ""]) is None
    assert store.sent_by_id(mine.own_id) is store.sent_by_own_id(mine.message_id) is None
    sent = store.last_sent_to(of.contact)
    assert sent and sent.id == "m1"
    assert store.first_sent_at(SAM) == MONDAY
    assert store.first_sent_at(KIM) is None
    assert [m.id for m in store.outbox_to(of.contact)] == ["m1"]


def test_a_thread_is_what_went_either_way_in_its_order(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    assert store.in_thread("t1") == []
    store.start_data(mine, epoch, MONDAY, MONDAY)
    store.record_sent(mine, MONDAY, "ok")
    store.add_inbound(inbound(thread="t1", received_at=MONDAY + MINUTE, refs="<a@b>"))
    assert [(m.id, m.own_id, m.refs) for m in store.in_thread("t1")] == [("m1", mine.own_id, ""), ("i1", "", "<a@b>")]
    assert store.in_thread("") == []


def test_a_person_is_known_once_mail_has_gone_either_way(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    assert not store.knows(of.contact, SAM)
    mine = frozen(store, of, message)
    assert not store.knows(of.contact, SAM)
    store.start_data(mine, epoch, MONDAY, MONDAY)
    assert store.knows(of.contact, SAM)
    assert not store.knows(of.contact, KIM)
    store.add_inbound(inbound(mailbox=KIM, contact=of.contact))
    assert store.knows(of.contact, KIM)


def test_the_last_mail_of_another_family_is_what_the_cap_counts_from(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    assert store.last_unrelated(of.contact, "another") == (mine.deadline, "nudge", OutboxState.CLAIMED)
    store.start_data(mine, epoch, MONDAY, MONDAY)
    assert store.last_unrelated(of.contact, of.root) is None
    found = store.last_unrelated(of.contact, "another")
    assert found and found[1] == "nudge", "one that is on its way, or in doubt, counts too"
    store.record_sent(mine, MONDAY, "ok")
    assert store.last_unrelated(of.contact, "another") == (MONDAY, "nudge", OutboxState.SENT)


def test_a_copy_is_filed_once(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    store.start_data(mine, epoch, MONDAY, MONDAY)
    assert store.unfiled(SAM) == []
    store.record_sent(mine, MONDAY, "ok")
    assert [m.id for m in store.unfiled(SAM)] == ["m1"]
    store.filed(mine, MONDAY)
    assert store.unfiled(SAM) == []


# --- inbound ---------------------------------------------------------------------------------------------------------


def test_a_message_is_kept_once_in_whatever_folder(store: Store) -> None:
    assert store.add_inbound(inbound())
    assert not store.add_inbound(inbound("i2", folder="All Mail", uid=9, message_id="<i1@acme.test>", digest="i1"))
    assert not store.add_inbound(inbound("i3", mailbox=KIM, message_id="<i1@acme.test>", digest="i1")), "acted on once"
    assert store.add_inbound(inbound("i4", mailbox=KIM, message_id="<i1@acme.test>", digest="i1", rule="copy"))
    assert [m.id for m in store.copies("<i1@acme.test>", "i1")] == ["i1", "i4"]
    assert store.copies("<i1@acme.test>", "other words under a known id") == []
    assert store.inbound_message("i1") == inbound()


def test_an_answer_is_open_until_it_is_settled(store: Store) -> None:
    dana = contact(store)
    store.add_inbound(inbound(contact=dana.id, enrollment="e1"))
    store.add_inbound(inbound("i2", contact=dana.id, enrollment="e2", received_at=MONDAY + MINUTE))
    assert [m.id for m in store.open_inbound()] == [m.id for m in store.open_inbound_of(dana.id)] == ["i1", "i2"]
    assert store.settle_inbound(dana.id, "e1", MONDAY) == 1
    assert [m.id for m in store.open_inbound()] == ["i2"]
    store.decide_inbound(inbound("i2", event="named", rule="by hand", decision="done", settled_at=MONDAY))
    assert store.open_inbound_of(dana.id) == []
    kept = store.inbound_message("i2")
    assert kept and (kept.event, kept.rule, kept.decision) == ("named", "by hand", "done")
    assert [m.id for m in store.inbound_of(dana.id)] == ["i1", "i2"]
    assert [m.id for m in store.recent_inbound(1)] == ["i2"]


def test_only_what_a_person_wrote_keeps_a_conversation_alive(store: Store) -> None:
    store.add_inbound(inbound("i1", contact="c", event="out_of_office"))
    assert store.last_human_mail("c", MONDAY - DAY) is None
    store.add_inbound(inbound("i2", contact="c", event="rep_wrote", received_at=MONDAY + MINUTE))
    found = store.last_human_mail("c", MONDAY)
    assert found and found.id == "i2"
    assert store.last_human_mail("c", MONDAY + MINUTE) is None


def test_words_are_dropped_when_their_time_is_over_and_what_was_decided_stays(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    store.start_data(mine, epoch, MONDAY, MONDAY)
    store.record_sent(mine, MONDAY, "ok")
    store.add_inbound(inbound(text="Dear Sam", decision="paused"))
    assert store.drop_bodies(MONDAY + DAY) == 1, "a copy that is not filed yet is still needed"
    store.filed(mine, MONDAY)
    assert store.drop_bodies(MONDAY) == 0
    assert store.drop_bodies(MONDAY + DAY) == 1
    kept, sent = store.inbound_message("i1"), store.outbox_message("m1")
    assert kept and sent and (kept.text, kept.decision, sent.text, sent.raw) == ("", "paused", "", b"")
    assert sent.message_id


def test_a_folder_remembers_how_far_it_was_read_and_since_when(store: Store) -> None:
    assert store.position(SAM, "INBOX") is None
    assert store.save_position(SAM, "INBOX", 7, 3, MONDAY) == MONDAY
    assert store.save_position(SAM, "INBOX", 8, 1, MONDAY + DAY) == MONDAY
    assert store.position(SAM, "INBOX") == (8, 1)
    assert store.position(SAM, "Junk") is None


# --- mailboxes -------------------------------------------------------------------------------------------------------


def test_a_mailbox_belongs_to_one_owner_at_a_time(store: Store) -> None:
    store.add_mailbox(SAM)
    store.add_mailbox(SAM)
    until = MONDAY + timedelta(seconds=15)
    assert store.lease(SAM, "one", MONDAY, until) == 1
    assert store.lease(SAM, "two", MONDAY, until) is None
    assert store.lease(SAM, "one", MONDAY + timedelta(seconds=5), until + MINUTE) == 1
    assert store.lease(SAM, "two", until, until + DAY) is None
    assert store.lease(SAM, "two", until + MINUTE, until + DAY) == 2
    assert store.lease(SAM, "one", until + MINUTE, until + DAY) is None
    store.end_lease(SAM, "one")
    assert store.lease(SAM, "one", until + MINUTE, until + DAY) is None, "nobody ends another's lease"
    store.end_lease(SAM, "two")
    assert store.lease(SAM, "one", until + MINUTE, until + DAY) == 3


def test_an_owner_whose_lease_ran_out_comes_back_under_a_new_epoch(store: Store) -> None:
    """In between somebody else may have had it, and given it back."""
    store.add_mailbox(SAM)
    assert store.lease(SAM, "one", MONDAY, MONDAY + MINUTE) == 1
    assert store.lease(SAM, "one", MONDAY + DAY, MONDAY + DAY + MINUTE) == 2


def test_the_rate_is_shared_and_counted_by_the_day(store: Store) -> None:
    epoch = leased(store)
    take = lambda now, day="Mon", per_day=2, epoch=epoch: store.consume_rate(
        SAM, epoch, now, now + MINUTE, day, per_day
    )
    assert take(MONDAY)
    assert not take(MONDAY + MINUTE / 2), "the gap"
    assert not take(MONDAY + MINUTE, epoch=epoch + 1), "another epoch"
    assert take(MONDAY + MINUTE)
    assert not take(MONDAY + 5 * MINUTE), "the day's count"
    assert take(MONDAY + 5 * MINUTE, day="Tue")
    store.return_rate(SAM, epoch, MONDAY + 6 * MINUTE)
    state = store.mailbox(SAM)
    assert state and (state.sent_today, state.next_send_at) == (0, MONDAY + 6 * MINUTE)
    store.pause_mailbox(SAM, MONDAY + DAY / 2, "limit")
    assert not take(MONDAY + 10 * MINUTE, day="Wed")


def test_a_read_mailbox_is_never_less_read(store: Store) -> None:
    store.add_mailbox(SAM)
    store.read_failed(SAM, MONDAY, "no route")
    store.read_failed(SAM, MONDAY + DAY, "still none")
    state = store.mailbox(SAM)
    assert state and (state.read_error, state.read_failed_at) == ("still none", MONDAY)
    store.read_to_end(SAM, MONDAY + DAY, MONDAY + DAY)
    store.read_to_end(SAM, MONDAY, MONDAY + DAY)
    state = store.mailbox(SAM)
    assert state and (state.read_at, state.read_error, state.read_failed_at) == (MONDAY + DAY, "", None)
    store.read_to_end(SAM, MONDAY, MONDAY + MINUTE)
    state = store.mailbox(SAM)
    assert state and state.read_at == MONDAY, "unless the clock was set back"
    store.distrust_reads(MONDAY - MINUTE)
    state = store.mailbox(SAM)
    assert state and state.read_at == MONDAY - MINUTE
    store.learn_mailbox(SAM, "yes", "no")
    assert [(m.address, m.files_sent, m.keeps_id) for m in store.mailboxes()] == [(SAM, "yes", "no")]


# --- history, tasks, referrals, settings -----------------------------------------------------------------------------


def test_the_history_is_handed_on_only_once_it_is_committed(store: Store) -> None:
    heard: list[Told] = []
    store.listener = heard.append
    with pytest.raises(RuntimeError), store.transaction():
        store.tell(MONDAY, "sent", "never was", "c")
        raise RuntimeError
    with store.transaction():
        store.tell(MONDAY, "sent", "was", "c")
        assert heard == []
    store.tell(MONDAY + MINUTE, "sent", "alone", "d")
    assert [line.text for line in heard] == ["was", "alone"]
    assert [line.text for line in store.story("c")] == ["was"]
    assert [line.text for line in store.history_since(MONDAY)] == ["alone"]


def test_a_task_is_open_until_it_is_finished_once(store: Store) -> None:
    made = store.add_task(Task("", "triage", SAM, "c", "e1", "Look", "…", MONDAY))
    urgent = store.add_task(Task("", "draft_overdue", SAM, "c", "e1", "Now", "…", MONDAY + DAY, urgent=True))
    assert [t.id for t in store.open_tasks()] == [urgent.id, made.id]
    assert store.task(made.id) == made
    assert store.finish_task(made.id, MONDAY, "done")
    assert not store.finish_task(made.id, MONDAY, "done")
    assert store.finish_tasks("e1", "draft_overdue", MONDAY, "decided") == 1
    store.add_task(Task("", "triage", SAM, "c", "e1", "Look", "…", MONDAY))
    assert store.finish_person_tasks("c", "triage", MONDAY, "settled") == 1
    assert store.open_tasks() == []
    assert len(store.tasks_of("c")) == 3


def test_a_referral_is_kept_once_for_a_client_and_a_prospect(store: Store) -> None:
    dana, lee = contact(store), contact(store, LEE)
    named = Referral("", dana.id, SAM, Person("Barry Jones", BARRY), "named", MONDAY)
    first = store.add_referral(named)
    assert store.add_referral(replace(named, prospect=Person("B. Jones", BARRY.upper()))) == first
    other = store.add_referral(replace(named, client=lee.id))
    assert [r.id for r in store.referrals_to(Person(email=BARRY))] == sorted((first.id, other.id))
    store.save_referral(replace(first, state="won", won_at=MONDAY))
    kept = store.referral(first.id)
    assert kept and (kept.state, kept.won_at) == ("won", MONDAY)
    assert store.referrals_by(lee.id) == [other]
    assert len(store.referrals()) == 2


def test_the_library_that_was_applied_last_is_the_one_that_runs(store: Store) -> None:
    assert store.applied_library() is None
    store.apply_library("v1", MONDAY, "one")
    store.apply_library("v2", MONDAY + DAY, "two")
    assert store.applied_library() == ("v2", "two")
    assert store.library_applied_at("v2") == MONDAY + DAY
    store.apply_library("v1", MONDAY, "one")
    assert store.applied_library() == ("v1", "one"), "the clock was set back in between"
    assert store.library_applied_at("v3") is None


def test_a_moment_is_kept_once_and_one_may_act_on_it(store: Store, crowd: Any) -> None:
    dana = contact(store)
    first = store.add_moment(Moment("", dana.id, "nps", {"score": 10}, MONDAY, "nps 1"))
    assert first
    assert store.add_moment(Moment("", dana.id, "nps", {"score": 9}, MONDAY + DAY, "nps 1")) is None
    assert store.waiting_moments(10) == store.moments_of(dana.id) == [first]
    assert sum(crowd(lambda own, _: own.fire_moment(first.id, MONDAY))) == 1
    assert store.waiting_moments(10) == []


def test_a_schedule_fires_once_for_each_person_and_time(store: Store, crowd: Any) -> None:
    assert sum(crowd(lambda own, _: own.fire_slot("keep in touch", "2026-03", "c", MONDAY))) == 1
    assert store.fire_slot("keep in touch", "2026-06", "c", MONDAY)
    assert store.fire_slot("keep in touch", "2026-03", "d", MONDAY)


def test_who_is_known_only_as_a_prospect_is_no_client_until_won(store: Store) -> None:
    dana, barry = contact(store), contact(store, BARRY)
    assert [c.email for c in store.clients()] == [DANA, BARRY]
    referral = store.add_referral(Referral("", dana.id, SAM, Person("Barry", BARRY), "named", MONDAY))
    assert list(store.clients()) == store.referrers() == [dana]
    store.save_referral(replace(referral, state="won", won_at=MONDAY))
    assert list(store.clients()) == [dana, barry]


def test_many_clients_are_read_some_at_a_time_and_by_a_field(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.store.AT_ONCE", 2)
    made = [
        contact(store, f"dana{n}@acme.test", fields={"renewal_date": "2026-05-02"} if n % 2 else {}) for n in range(5)
    ]
    assert [c.email for c in store.clients()] == [c.email for c in made]
    assert [c.email for c in store.clients("renewal_date")] == ["dana1@acme.test", "dana3@acme.test"]


def test_settings_are_set_changed_and_dropped(store: Store) -> None:
    store.set_setting("a", "1")
    store.set_setting("a", "2")
    assert not store.add_setting("a", "3")
    assert store.add_setting("b", "1") and not store.add_setting("b", "2")
    assert store.setting("a") == "2"
    store.drop_setting("a")
    assert store.setting("a") is None


def test_odd_text_is_kept_alike(store: Store) -> None:
    """What a mail may hold once it was read: everything but NUL and lone surrogates, which the reading takes out."""
    text = "Ünïcødé 🎉 ' \" % %s :x \\ \r\n\t \x07 \u202e \ufeff"
    store.add_inbound(inbound(text=text, subject=text))
    kept = store.inbound_message("i1")
    assert kept and (kept.text, kept.subject) == (text, text)


def test_ids_of_two_stores_never_meet(either_url: str) -> None:
    stores = [open_store(either_url) for _ in range(2)]
    ids = [s.new_id() for s in stores for _ in range(500)]
    assert len(set(ids)) == 1000
    for one in stores:
        one.close()


# --- several at once -------------------------------------------------------------------------------------------------


@pytest.fixture
def crowd(either_url: str, store: Store) -> Callable[..., list[Any]]:
    """Runs a verb in four threads at the same moment, each with a store of its own; returns what each gave."""
    barrier = Barrier(WORKERS)

    def run(verb: Callable[[Store, int], Any]) -> list[Any]:
        def work(number: int) -> Any:
            own = open_store(either_url)
            try:
                barrier.wait(30)
                return verb(own, number)
            finally:
                own.close()

        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(work, range(WORKERS)))

    return run


def claims(inst: Any, epoch: int) -> list[str]:
    """Everything that one worker can get at this moment."""
    got = []
    while isinstance(found := outbox.claim(inst, SAM, epoch, MONDAY), Claim):
        got.append(found.message.id)
    return got


def crowded(store: Store, tmp_path: Path, config: str = office.CONFIG, people: int = 30) -> Office:
    there = Office(store, tmp_path, config)
    for number in range(people):
        there.enroll(f"client{number}@company{number}.test")
    return there


def test_four_workers_never_claim_the_same_row(store: Store, tmp_path: Path, crowd: Any) -> None:
    there = crowded(store, tmp_path)
    crowd(lambda own, _: enrollments.advance(replace(there.inst, store=own), MONDAY))
    of_each = crowd(lambda own, _: claims(replace(there.inst, store=own), there.epochs[SAM]))
    got = [id for ids in of_each for id in ids]
    rows = store.outbox_in(OutboxState.CLAIMED)
    assert sorted(got) == sorted(row.id for row in rows)
    assert len(rows) == 30
    assert {row.token for row in rows} == {1}


def test_four_workers_together_keep_to_the_days_count(store: Store, tmp_path: Path, crowd: Any) -> None:
    there = crowded(store, tmp_path, office.CONFIG.replace("per_day: 100", "per_day: 11"))
    enrollments.advance(there.inst, MONDAY)
    got = crowd(lambda own, _: claims(replace(there.inst, store=own), there.epochs[SAM]))
    assert sum(map(len, got)) == 11


def test_four_workers_together_keep_the_gap(store: Store, tmp_path: Path, crowd: Any) -> None:
    there = crowded(store, tmp_path, office.CONFIG.replace("gap: 0-0", "gap: 60-90"), people=6)
    enrollments.advance(there.inst, MONDAY)
    got = crowd(lambda own, _: claims(replace(there.inst, store=own), there.epochs[SAM]))
    assert sum(map(len, got)) == 1


@pytest.mark.parametrize("where", ["one person", "one company"])
def test_of_four_who_write_to_one_person_or_company_for_different_reps_one_claims(
    where: str, store: Store, tmp_path: Path, crowd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All have asked whether the person may hear from them, and may, before any of them claims."""
    whom = [DANA] * WORKERS if where == "one person" else [f"client{n}@acme.test" for n in range(WORKERS)]
    boxes = [f"rep{n}@demo.test" for n in range(WORKERS)]
    listed = "".join(f"  - {{address: {box}, name: Rep, per_day: 100, gap: 0-0 seconds}}\n" for box in boxes)
    config = office.CONFIG.replace("windows:", f"{listed}windows:").replace("company_cap: 0 days", "company_cap: 1 day")
    there = Office(store, tmp_path, config)
    for box, sequence, client in zip(boxes, ("nudge", "other", "apart", "split"), whom, strict=True):
        there.enroll(client, sequence, rep=box)
    enrollments.advance(there.inst, MONDAY)
    worded, asked = outbox._worded, Barrier(WORKERS)
    monkeypatch.setattr(outbox, "_worded", lambda *given: worded(*given) if asked.wait(60) >= 0 else None)

    def one_claim(own: Store, number: int) -> Any:
        return outbox.claim(replace(there.inst, store=own), boxes[number], there.epochs[boxes[number]], MONDAY)

    got = crowd(one_claim)
    assert sum(isinstance(found, Claim) for found in got) == 1
    assert len(store.outbox_in(OutboxState.CLAIMED)) == 1
    monkeypatch.undo()
    (claimed,) = (found for found in got if isinstance(found, Claim))
    others = [box for box in boxes if box != claimed.message.mailbox]
    soon = claimed.message.deadline if where == "one person" else MONDAY + DAY
    assert {there.claim(box).until for box in others} == {soon}  # type: ignore[union-attr]
    there.read(claimed.message.mailbox)
    there.deliver(claimed)
    there.later(minutes=3)
    assert there.work() == []
    cap = 3 * DAY if where == "one person" else DAY
    assert {there.claim(box).until for box in others} == {MONDAY + cap}  # type: ignore[union-attr]


def test_of_four_who_begin_the_body_of_one_claim_one_does(store: Store, queued: Any, crowd: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    assert sorted(crowd(lambda own, _: outbox_start(own, mine, epoch))) == [False, False, False, True]


def outbox_start(store: Store, mine: OutboxMessage, epoch: int) -> bool:
    with store.transaction():
        return store.start_data(mine, epoch, MONDAY, MONDAY)


def test_of_four_who_want_a_mailbox_one_gets_it(store: Store, crowd: Any) -> None:
    store.add_mailbox(SAM)
    got = crowd(lambda own, n: own.lease(SAM, f"worker {n}", MONDAY, MONDAY + MINUTE))
    assert sorted(got, key=str) == [1, None, None, None]


def test_of_four_decisions_made_from_one_revision_one_is_saved(store: Store, crowd: Any) -> None:
    of = enrollment(store, contact(store))
    assert sum(crowd(lambda own, n: own.save_enrollment(replace(of, reason=str(n), revision=1), 0))) == 1


def test_of_four_who_enroll_the_same_person_one_does(store: Store, tmp_path: Path, crowd: Any) -> None:
    there = Office(store, tmp_path)
    there.store.add_contact(Contact("", DANA, name="Dana", owner=SAM))
    got = crowd(lambda own, _: enroll(replace(there.inst, store=own), Wish(DANA, "nudge", {}, SAM), MONDAY))
    assert sum(isinstance(g, Enrollment) for g in got) == 1
    assert len(store.all_enrollments()) == 1


def test_of_four_who_read_the_same_answer_one_keeps_it(store: Store, crowd: Any) -> None:
    got = crowd(lambda own, n: own.add_inbound(inbound(f"i{n}", message_id="<same@acme.test>", digest="same")))
    assert sum(got) == 1


# --- reports and erasing ---------------------------------------------------------------------------------------------


def test_who_waits_for_the_rep_is_listed_first_and_no_more_than_is_wanted(store: Store) -> None:
    people = [contact(store, f"a{n}@b.test") for n in range(4)]
    later = enrollment(store, people[0], "later", next_at=MONDAY + DAY)
    soon = enrollment(store, people[1], "soon", next_at=MONDAY)
    asked = enrollment(store, people[2], "asked", state=State.PAUSED)
    over = enrollment(store, people[3], "over", state=State.STOPPED, outcome="finished")
    assert store.running("", 10) == store.running(SAM, 10) == [asked, soon, later]
    assert store.running("", 1) == [asked] and store.running(KIM, 10) == []
    assert store.through("", 10) == [over] and store.through(KIM, 10) == []
    assert store.count_states() == store.count_states(SAM) == {"active": 2, "paused": 1, "stopped": 1}
    assert store.count_states(KIM) == {}


def test_what_clients_got_and_answered_is_told_by_its_family(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    sent = frozen(store, of, message)
    assert store.start_data(sent, epoch, MONDAY, MONDAY) and store.record_sent(sent, MONDAY, "ok")
    store.add_inbound(inbound("i1", event="named", contact=of.contact, enrollment=of.id))
    store.add_inbound(inbound("i2", event="out_of_office", contact=of.contact, enrollment=of.id))
    store.tell(MONDAY + DAY, "value", "value confirmed", of.contact, of.id)
    (written,) = store.sent_to_clients(MONDAY, MONDAY + DAY)
    assert (written.client, written.root, written.step, written.rep) == (of.contact, of.id, "first", SAM)
    assert store.sent_to_clients(MONDAY + DAY, MONDAY + DAY * 2) == []
    assert [(a.root, a.event) for a in store.answers_of_clients()] == [(of.id, "named"), (of.id, "confirmed")]
    assert store.asked_clients() == [(of.contact, "nudge")]
    by_proof = store.add_referral(Referral("", of.contact, SAM, Person("Barry", BARRY), "named", MONDAY, proof="i1"))
    by_word = store.add_referral(Referral("", of.contact, SAM, Person("Sue", "sue@c.test"), "named", MONDAY))
    enrollment(store, contact(store, LEE), "e2", referral=by_word.id)
    unknown = store.add_referral(Referral("", of.contact, SAM, Person("Max", "max@c.test"), "named", MONDAY))
    assert store.families_of_referrals() == {by_proof.id: of.id, by_word.id: "e2"}
    assert unknown.id not in store.families_of_referrals()


def test_who_got_which_email_and_who_wrote_is_told_in_order(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    claimed = frozen(store, of, message)
    assert store.start_data(claimed, epoch, MONDAY, MONDAY)
    assert store.emailed() == []
    assert store.record_sent(claimed, MONDAY + MINUTE, "250 ok")
    assert [(e.contact, e.step, e.at) for e in store.emailed()] == [(of.contact, "first", MONDAY + MINUTE)]
    for number, event in enumerate(("confirmed", "out_of_office", "reply")):
        row = inbound(f"i{number}", uid=number + 1, event=event, contact=of.contact, received_at=MONDAY + number * DAY)
        assert store.add_inbound(row)
    assert store.answers_by_contact() == [(of.contact, "confirmed", MONDAY), (of.contact, "reply", MONDAY + 2 * DAY)]


def test_a_name_is_found_wherever_it_was_written_and_taken_out(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    sent = frozen(store, of, replace(message))
    assert store.start_data(sent, epoch, MONDAY, MONDAY) and store.record_sent(sent, MONDAY, "ok")
    about = enrollment(store, contact(store, LEE), "e2", variables={"prospect": {"name": "Özlem Dana"}, "n": ["x"]})
    store.add_inbound(inbound("i1", text="Ask HELLO DANA, please", sender="Dana@ACME.test"))
    task = store.add_task(Task("", "triage", SAM, "", "", "Hello Dana", "x", MONDAY, note="n"))
    store.tell(MONDAY, "note", "said hello dana")
    moment = store.add_moment(Moment("", about.contact, "nps", {"by": "Hello Dana"}, MONDAY, "k"))
    store.add_item(Item("t1", 1, "", "answer", "i1", "Answer of Hello Dana", "i1"))
    store.add_alert(Alert("r1 command", SAM, "command", '{"client": "Hello Dana"}', MONDAY))
    found = store.mentions("Hello Dana")
    assert sorted(m.what for m in found) == ["alert", "answer", "email", "history", "item", "moment", "task"]
    assert [e.id for e in store.mentioning_enrollments("Özlem Dana")] == ["e2"]
    assert [m.id for m in store.inbound_from("dana@acme.test")] == ["i1"]
    waits = enrollment(store, contact(store, KIM), "e3", reason="HELLO DANA was asked")
    store.erase_reasons("Hello Dana")
    assert [e.reason for e in store.enrollments_of(waits.contact)] == [""]
    for mention in found:
        store.erase_mention(mention, MONDAY)
    assert store.mentions("Hello Dana") == []
    kept = store.outbox_message(sent.id)
    assert kept and (kept.state, kept.message_id, kept.raw) == (OutboxState.SENT, sent.message_id, b"")
    assert kept.filed_at == MONDAY, "nothing is left to file"
    erased = store.task(task.id)
    assert erased and erased.title == "(erased)" and erased.done_at is None
    assert moment and store.moments_of(about.contact)[0].data == {}


def test_a_person_is_erased_and_what_they_referred_still_counts(store: Store, queued: Any) -> None:
    of, _, _ = queued
    store.fire_slot("yearly", "2026", of.contact, MONDAY)
    assert store.firings_of(of.contact) == [("yearly", "2026")]
    assert store.addresses_of(of.contact) == [DANA]
    store.add_inbound(inbound("i1", contact=of.contact, enrollment=of.id))
    store.tell(MONDAY, "note", "a line", of.contact, of.id)
    store.add_task(Task("", "triage", SAM, of.contact, of.id, "Look", "x", MONDAY))
    referral = store.add_referral(Referral("", of.contact, SAM, Person("Barry", BARRY), "won", MONDAY, proof="i1"))
    (message,) = store.inbound_of(of.contact)
    store.erase_inbound(message, MONDAY)
    store.erase_story_of(contact=of.contact)
    store.erase_prospect(referral)
    store.erase_contact(of.contact)
    again = inbound("i2", message_id="<i1@acme.test>", digest="i1")
    assert not store.add_inbound(again), "it would be read anew otherwise"
    assert store.contact_at(DANA) is None and store.all_enrollments() == [] and store.recent_inbound(9)[0].sender == ""
    assert store.story(of.contact) == store.tasks_of(of.contact) == store.firings_of(of.contact) == []
    (kept,) = store.referrals()
    assert (kept.state, kept.prospect, kept.proof) == ("won", Person(), "")
    assert store.contacts() == list(store.clients()) == store.referrers() == []
    hollow = store.contact(of.contact)
    assert hollow and hollow.name == "" and "@" not in hollow.email
    lee = contact(store, LEE)
    store.erase_contact(lee.id)
    assert store.contact(lee.id) is None


def test_of_a_suppression_the_hash_stays(store: Store) -> None:
    store.suppress(DANA, "unsubscribed", MONDAY, "m1")
    store.suppress_hash(DANA, "forgotten", MONDAY + DAY)
    store.suppress_hash(LEE, "forgotten", MONDAY)
    assert [(s.reason, s.address, s.message) for s in map(store.suppressed, (DANA, LEE)) if s] == [
        ("unsubscribed", "", ""), ("forgotten", "", ""),
    ]  # fmt: skip


def test_what_was_erased_is_gone_from_the_file(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "w.db"))
    for number in range(200):
        store.add_contact(Contact("", f"seldom.heard.{number}@acme.test", name="Seldom Heard", fields={"x": "y" * 500}))
    for person in store.contacts():
        store.erase_contact(person.id)
    assert b"Seldom" in (tmp_path / "w.db").read_bytes() + (tmp_path / "w.db-wal").read_bytes()
    store.overwrite_erased()
    assert b"Seldom" not in (tmp_path / "w.db").read_bytes() + (tmp_path / "w.db-wal").read_bytes()
    store.close()


# --- the rep's desk --------------------------------------------------------------------------------------------------


def test_an_item_is_settled_once_and_by_its_letter(store: Store) -> None:
    for number in (1, 2):
        store.add_item(Item("t1", number, "", "task", f"k{number}", "Task: call", ""))
    (first, second) = store.items("t1")
    assert store.settle_item(replace(first, said="done", message="i1"))
    assert not store.settle_item(replace(first, said="done again", message="i2"))
    assert [(i.said, i.message) for i in store.items("t1")] == [("done", "i1"), ("", "")]
    assert store.items("t2") == [] and second.number == 2


def test_orders_wait_until_they_are_ended_once(store: Store) -> None:
    store.add_inbound(replace(inbound("i1"), event="orders", decision="", settled_at=MONDAY))
    (row,) = store.waiting_orders()
    assert store.end_orders(row, "done") and not store.end_orders(row, "done again")
    assert store.waiting_orders() == [] and store.open_inbound() == []


def test_an_alert_is_taken_by_one_until_it_is_told(store: Store) -> None:
    store.add_alert(Alert("r1 webhook", SAM, "webhook", "{}", MONDAY))
    store.add_alert(Alert("r1 webhook", SAM, "webhook", "{}", MONDAY))
    taken = store.take_alert(MONDAY, timedelta(minutes=2))
    assert taken and taken.tries == 1
    assert store.take_alert(MONDAY, timedelta(minutes=2)) is None
    again = store.take_alert(MONDAY + timedelta(minutes=3), timedelta(minutes=2))
    assert again and again.tries == 2
    store.end_alert(taken, MONDAY)  # late: somebody else has it
    store.end_alert(again, MONDAY + timedelta(hours=1))
    assert store.take_alert(MONDAY + timedelta(minutes=30), timedelta(minutes=2)) is None
    store.end_alert(again)
    assert store.take_alert(MONDAY + DAY, timedelta(minutes=2)) is None
    for id in ("r2 webhook", "r3 webhook"):
        store.add_alert(Alert(id, SAM, "webhook", "{}", MONDAY))
    store.drop_alert("r2 webhook")
    left = store.take_alert(MONDAY, timedelta(minutes=2))
    assert left and left.id == "r3 webhook" and store.take_alert(MONDAY, timedelta(minutes=2)) is None


def test_an_introduction_is_unanswered_until_somebody_has_answered_and_unalerted_until_told(store: Store) -> None:
    client = contact(store, DANA)
    named = store.add_referral(Referral("", client.id, SAM, Person("Sue", "sue@c.test"), "named", MONDAY))
    met = store.add_referral(
        Referral("", client.id, SAM, Person("Max", "max@c.test"), "met", MONDAY, introduced_at=MONDAY, met_at=MONDAY)
    )
    waits = store.add_referral(
        Referral("", client.id, SAM, Person("Barry", BARRY), "named", MONDAY, introduced_at=MONDAY)
    )
    assert [r.id for r in store.unanswered()] == [waits.id] and not named.waits and not met.waits
    assert store.unalerted(MONDAY - DAY) == [], "nobody wrote it: the rep knows"
    for state in ("named", "introduced"):
        store.add_moment(Moment("", client.id, state, {}, MONDAY, f"k {state}", referral=waits.id, message="i1"))
    assert [r.id for r in store.unalerted(MONDAY - DAY)] == [waits.id] and store.unalerted(MONDAY + DAY) == []
    store.fire_slot("alert", waits.id, "", MONDAY)
    assert store.unalerted(MONDAY - DAY) == []
    store.save_referral(replace(waits, answered_at=MONDAY + DAY))
    assert store.unanswered() == [] and waits.waits


def test_a_letter_to_the_rep_is_queued_apart_from_what_goes_to_others(store: Store, queued: Any) -> None:
    of, message, _ = queued
    letter = replace(message, id="l1", enrollment="", step="digest sam", contact="", recipient=SAM, bcc=())
    assert store.add_outbox(letter) and not store.add_outbox(replace(letter, id="l2")), "once for its cause"
    first, other = store.queued_to_rep(SAM, MONDAY), store.queued(SAM, MONDAY)
    assert first and other and (first.id, other.id) == ("l1", message.id)


def test_what_was_said_under_a_key_is_kept_once_and_for_a_time(store: Store) -> None:
    assert store.request("k1") == ""
    assert store.add_request("k1", "digest", MONDAY)
    assert not store.add_request("k1", "another", MONDAY)
    assert store.request("k1") == "digest"
    store.drop_requests(MONDAY)
    assert store.request("k1") == "digest"
    store.drop_requests(MONDAY + MINUTE)
    assert store.request("k1") == ""


def test_what_left_and_what_came_back_is_counted_by_person(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    mine = frozen(store, of, message)
    store.start_data(mine, epoch, MONDAY, MONDAY)
    assert store.emailed() == []
    store.record_sent(mine, MONDAY, "ok")
    store.add_inbound(inbound(contact=of.contact, received_at=MONDAY + DAY))
    assert [(e.id, e.contact, e.sequence, e.state, e.at) for e in store.emailed()] == [
        (message.id, of.contact, "nudge", "sent", MONDAY)
    ]
    assert store.answers_by_contact() == [(of.contact, "reply", MONDAY + DAY)]


def test_a_company_heard_from_another_family_by_its_domain_or_its_name(store: Store, queued: Any) -> None:
    of, message, epoch = queued
    dana = store.contact(of.contact)
    assert dana
    store.save_contact(replace(dana, company="Acme"))
    by_domain, by_name = contact(store, LEE), contact(store, "max@elsewhere.test", company="ACME")
    assert store.last_at_company(by_domain, "") is None
    mine = frozen(store, of, message)
    store.start_data(mine, epoch, MONDAY, MONDAY)
    store.record_sent(mine, MONDAY, "ok")
    assert store.last_at_company(by_domain, "") == store.last_at_company(by_name, "") == (MONDAY, "nudge", DANA)
    assert store.last_at_company(by_domain, of.root) is store.last_at_company(dana, "") is None


def test_what_happened_to_a_referral_is_told_in_order(store: Store) -> None:
    dana = contact(store)
    kept = store.add_referral(Referral("", dana.id, SAM, Person("Barry", BARRY), "named", MONDAY))
    for day, what in ((1, "note"), (0, "named")):
        store.add_referral_line(ReferralLine("", kept.id, MONDAY + day * DAY, what, "x", "i1"))
    assert [line.what for line in store.referral_lines(kept.id)] == ["named", "note"]


# --- nothing is left out ---------------------------------------------------------------------------------------------


def test_every_verb_of_the_store_is_tried_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    verbs = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    untried = {verb for verb in verbs if not re.search(rf"\.{verb}\(", here)}
    assert untried == set()


def test_after_a_restore_what_was_frozen_is_in_doubt_before_it_was_sent(store: Store, queued: Any) -> None:
    of, message, _ = queued
    claimed = frozen(store, of, message)
    assert store.doubt_claim(claimed, "the store was restored")
    assert not store.doubt_claim(claimed, "the store was restored")
    assert [m.state for m in store.outbox_of(of.id)] == [OutboxState.IN_DOUBT]


def test_after_a_restore_what_was_tried_before_the_backup_is_in_doubt(store: Store, queued: Any) -> None:
    of, message, _ = queued
    assert store.doubt_tried("the store was restored") == 0
    store.release_claim(frozen(store, of, message), MONDAY, 1, "4xx")
    assert store.doubt_tried("the store was restored") == 1
    assert [m.state for m in store.outbox_of(of.id)] == [OutboxState.IN_DOUBT]


def test_a_copy_that_was_read_when_nothing_was_known_of_it_is_found_by_its_id(store: Store) -> None:
    for rule in ("own:sent", "reply"):
        assert store.add_inbound(inbound(rule, message_id=f"<{rule}@demo.test>", rule=rule, arrived_at=MONDAY - DAY))
    assert store.own_copy("<own:sent@demo.test>") == ("INBOX", MONDAY - DAY)
    assert store.own_copy("<reply@demo.test>") is None
    assert store.own_copy("") is None


def test_a_folder_that_is_made_later_counts_from_when_the_mailbox_was_first_seen(store: Store) -> None:
    assert store.mailbox_since(SAM) is None
    store.save_position(SAM, "INBOX", 1, 5, MONDAY)
    assert store.save_position(SAM, "Sent", 1, 0, MONDAY + timedelta(days=9)) == MONDAY
    assert store.mailbox_since(SAM) == MONDAY
