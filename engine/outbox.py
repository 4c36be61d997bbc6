"""From the outbox to the server: the gate, the claim, the record. Each verb is one transaction and no socket is open in it. A
message is sent once, or it is held and the row says why: before `data_started` everything can be taken back, after it
only evidence decides."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

from engine.config import Mailbox
from engine.core.calendar import to_utc
from engine.core.happening import Done, Draft, Failed, Go, Heard, Leaving, Stopped, Wait
from engine.core.model import Event, OutboxMessage, OutboxState
from engine.core.render import RenderError
from engine.decisions import answered, happen, quiet_until, set_referral, suppress
from engine.enrollments import finish_drafts
from engine.installation import Installation
from engine.letters import Frozen, write
from engine.rows import instant, micros
from engine.smtp import Accepted, Cancelled, Deferred, InDoubt, LoginRefused, Missed, Refused, Result, Unreachable

#: A follow-up leaves only if the mailbox was read to its end so shortly before its body is written.
READ_FRESH = timedelta(seconds=60)
#: ... and so much of that may pass between the last look at the store and the body's first byte.
BODY_TIME = timedelta(seconds=10)
#: From the claim until the body must have begun; a frozen process that wakes later sends nothing.
ATTEMPT_TIME = timedelta(seconds=120)
#: How long after its deadline an attempt may still be speaking: the answer to the body, and clocks that differ.
ANSWER_TIME = timedelta(seconds=600)
#: Backoff of one message (4xx), and when it becomes a refusal.
RETRY_FIRST, RETRY_MAX, RETRY_GIVE_UP = timedelta(minutes=5), timedelta(hours=4), timedelta(days=3)
#: How long the whole account rests.
LIMIT_REST, UNREACHABLE_REST, LOGIN_REST = timedelta(hours=1), timedelta(minutes=1), timedelta(minutes=15)
#: A trouble that comes back so soon after its rest is the same one.
STILL = timedelta(hours=1)
ABSENT_TWICE = timedelta(minutes=15)
#: A letter to the rep that could not leave for so long is withdrawn.
TO_REP_LASTS = timedelta(hours=12)
BRAKE = "brake"
SKIPS_MAX = 100
SEEN_DIGITS = 16


@dataclass(frozen=True)
class Claim:
    """One message that is ours to send, under this epoch of the mailbox's lease."""

    message: OutboxMessage
    epoch: int


@dataclass(frozen=True)
class NeedsRead:
    """The first in the outbox is a follow-up, and the mailbox must be read to its end before it."""

    message: OutboxMessage


@dataclass(frozen=True)
class Nothing:
    """Nothing may leave this mailbox before `until` (None: until something happens), for this reason."""

    until: datetime | None
    why: str = ""


def claim(
    inst: Installation, address: str, epoch: int, now: datetime, follow_ups: bool = True
) -> Claim | NeedsRead | Nothing:
    """The next message of this mailbox that may leave at `now` (UTC), frozen and ours; or why there is none. Without `follow_ups`
    first contacts pass them: the mailbox cannot be read."""
    if inst.store.setting(BRAKE) is not None:
        return Nothing(None, "everything is paused (whoelse resume --all goes on)")
    state = inst.store.mailbox(address)
    if state is None:
        return Nothing(None, "the mailbox is not known to the store")
    if state.paused_until > now:
        return Nothing(state.paused_until, state.paused_why)
    if to_rep := _to_the_rep(inst, address, epoch, now):
        return to_rep
    if state.next_send_at > now:
        return Nothing(state.next_send_at, "the gap between two emails")
    mailbox = inst.rep(address)
    day = now.astimezone(ZoneInfo(inst.config.place(mailbox).zone)).date()
    if state.day == day.isoformat() and state.sent_today >= mailbox.per_day:
        return Nothing(_midnight(inst, mailbox, day), f"the daily limit of {mailbox.per_day} is reached")
    for _ in range(SKIPS_MAX):
        message = inst.store.queued(address, now, follow_ups)
        if message is None:
            return Nothing(inst.store.next_queued_at(address))
        ready = _ready(inst, message, now)
        if ready is None:
            continue
        if ready.follow_up and not follow_ups:
            inst.store.follows_up(message)
            continue
        if ready.follow_up and not (max(ready.due_at, now - (READ_FRESH - BODY_TIME)) <= state.read_at <= now):
            return NeedsRead(ready)
        worded = _worded(inst, ready, now)
        if worded is None:
            continue
        if copy := inst.store.own_copy(worded.message_id):
            _was_sent(inst, worded, copy, now)
            continue
        if _may_have_gone(inst, worded):
            _doubt(inst, worded, now)
            continue
        return _take(inst, worded, mailbox, epoch, now, day.isoformat()) or Nothing(now, "taken by another")
    return Nothing(now)


def _to_the_rep(inst: Installation, address: str, epoch: int, now: datetime) -> Claim | None:
    """A letter to the rep themselves needs no read, and neither waits for the gap and the day's limit nor uses them up: those
    are there for the sake of others. One that comes too late is no news."""
    while message := inst.store.queued_to_rep(address, now):
        if now - message.due_at > TO_REP_LASTS:
            inst.store.withdraw_one(message, "too late to be news")
            continue
        ready = replace(message, deadline=now + ATTEMPT_TIME)
        if _may_have_gone(inst, ready):
            _doubt(inst, ready, now)
            continue
        with inst.store.transaction():
            frozen = inst.store.freeze(ready)
        return Claim(frozen, epoch) if frozen else None
    return None


def _may_have_gone(inst: Installation, message: OutboxMessage) -> bool:
    """The store was restored from a backup: what was due before may have been sent by the one that was lost. A message that was
    looked for already has a token."""
    restored = inst.store.setting("restored_at")
    return restored is not None and message.token == 0 and message.due_at <= instant(int(restored))


def _was_sent(inst: Installation, message: OutboxMessage, copy: tuple[str, datetime], now: datetime) -> None:
    """It lies in the mailbox already: sent by another copy of this store, or by this one before it was restored."""
    folder, at = copy
    with inst.store.transaction():
        if frozen := inst.store.freeze(message):
            _sent_by_another(inst, frozen, folder, now, at)


def _doubt(inst: Installation, message: OutboxMessage, now: datetime) -> None:
    with inst.store.transaction():
        frozen = inst.store.freeze(message)
        if frozen and inst.store.doubt_claim(frozen, "the store was restored: it may have gone out before"):
            _tell(inst, frozen, now, "in_doubt", f"{frozen.step}: the store was restored: it may have gone out before")


def _midnight(inst: Installation, mailbox: Mailbox, day: date) -> datetime:
    return to_utc(datetime.combine(day + timedelta(days=1), time.min), inst.config.place(mailbox).zone)


def _ready(inst: Installation, message: OutboxMessage, now: datetime) -> OutboxMessage | None:
    """The message if it may go now; else what must become of it is done, and None."""
    if message.contact and (suppression := inst.store.suppressed(message.recipient)):
        happen(inst, message.enrollment, Stopped(suppression.reason), now)
        inst.store.withdraw_one(message, f"the address is suppressed: {suppression.reason}")
        return None
    decision = happen(inst, message.enrollment, Leaving(approved=message.approved_at is not None), now)
    for effect in decision.effects if decision else ():
        match effect:
            case Go():
                return _in_its_place(inst, message, now)
            case Wait(until, why):
                inst.store.postpone(message, until, why)
                return None
            case Draft(why):
                inst.store.to_draft(message, why)
                return None
    inst.store.withdraw_one(message, decision.why if decision else "its enrollment is gone")
    return None


def _in_its_place(inst: Installation, message: OutboxMessage, now: datetime) -> OutboxMessage | None:
    """One that came back into the queue after an answer had led its enrollment elsewhere is withdrawn: `Leaving` asks about the
    enrollment, and here the email is compared with it. The revision that is frozen is the one that was compared."""
    enrollment = inst.store.enrollment(message.enrollment)
    assert enrollment is not None
    at = (enrollment.step, enrollment.visits.get(message.step), enrollment.tries)
    if at != (message.step, message.visit, message.attempt):
        inst.store.withdraw_one(message, "the enrollment has moved on")
        return None
    known = message.follow_up or bool(message.contact and inst.store.knows(message.contact, message.mailbox))
    known = known or bool(enrollment.cause)  # whoever is in the thread that it answers may have said more since
    return replace(message, follow_up=known, revision=enrollment.revision, deadline=now + ATTEMPT_TIME)


def _worded(inst: Installation, message: OutboxMessage, now: datetime) -> OutboxMessage | None:
    """Composed for this moment, when nothing else stands against it; one that was frozen before (a 4xx) keeps its bytes."""
    if message.raw:
        return replace(message, bcc=tuple(address for address in message.bcc if not inst.store.suppressed(address)))
    enrollment = inst.store.enrollment(message.enrollment)
    assert enrollment is not None
    try:
        letter = write(inst, enrollment, message, now)
    except RenderError as error:
        happen(inst, message.enrollment, Failed(str(error.problem)), now)
        return None
    except ValueError as error:  # a name or a subject that no header takes stops its own enrollment, never the mailbox
        happen(inst, message.enrollment, Failed(f"it cannot be written: {error}"), now)
        return None
    if changed := _changed_since(message.seen, letter):
        happen(inst, message.enrollment, Leaving(reworded=changed), now)
        inst.store.to_draft(message, changed)
        return None
    return replace(
        message,
        message_id=letter.message_id,
        own_id=letter.own_id,
        thread=letter.thread,
        subject=letter.subject,
        text=letter.text,
        raw=letter.raw,
        template=letter.template,
        bcc=letter.bcc,
        version=inst.library.version,
    )


def seen(letter: Frozen) -> str:
    """What the rep sees of an email, as digests by its parts: an approval is for these and no others."""
    parts = (letter.recipient.email, letter.subject, letter.text, letter.html, " ".join(letter.bcc))
    return " ".join(hashlib.sha256(part.encode()).hexdigest()[:SEEN_DIGITS] for part in parts)


def _changed_since(approved: str, letter: Frozen) -> str:
    """Which part is not any more as the rep approved it; nothing where all is, or nobody was asked."""
    pairs = zip(("recipient", "subject", "text", "layout", "Bcc"), approved.split(), seen(letter).split(), strict=False)
    changed = next((name for name, was, now in pairs if was != now), "")
    return f"its {changed} has changed since it was approved" if changed else ""


def _take(
    inst: Installation, ready: OutboxMessage, mailbox: Mailbox, epoch: int, now: datetime, day: str
) -> Claim | None:
    """The claim itself: the person is left in peace, the mailbox's rate, then the row; all or nothing."""
    with inst.store.transaction():
        if _is_heard_from(inst, ready, now):
            return None
        gap = gap_after(ready, mailbox)
        if not inst.store.consume_rate(mailbox.address, epoch, now, now + gap, day, mailbox.per_day):
            return None
        frozen = inst.store.freeze(ready)
        if frozen is None:
            inst.store.return_rate(mailbox.address, epoch, now)
            return None
    return Claim(frozen, epoch)


def _is_heard_from(inst: Installation, message: OutboxMessage, now: datetime) -> bool:
    """The frequency caps once more, under a lock: two reps' mailboxes may claim for one person, or for two colleagues, in the
    same instant."""
    enrollment, contact = inst.store.enrollment(message.enrollment), inst.store.contact(message.contact)
    if enrollment is None or contact is None:
        return False
    inst.store.lock_company(contact, colleagues=not inst.config.company_cap.is_nothing)
    quiet = quiet_until(inst, enrollment, contact, now)
    return quiet is not None and quiet[0] > now


def gap_after(message: OutboxMessage, mailbox: Mailbox) -> timedelta:
    """The pause behind a message: between the bounds of the config, always the same for the same message."""
    low, high = mailbox.gap
    share = int.from_bytes(hashlib.sha256(message.id.encode()).digest()[:4], "big") / 2**32
    return timedelta(seconds=low + share * (high - low))


def start(inst: Installation, claim: Claim, now: datetime) -> bool:
    """Committed between the server's 354 and the body: False means that the body must not be written."""
    with inst.store.transaction():
        if any(inst.store.suppressed(address) for address in claim.message.bcc):
            return False  # it is claimed anew, without them
        return inst.store.start_data(claim.message, claim.epoch, now, now - (READ_FRESH - BODY_TIME))


def in_time(claim: Claim, began: datetime, now: datetime) -> bool:
    """Asked once more right before the body, when nothing can come between, with when `start` was called: a process that was
    frozen since writes nothing."""
    deadline = claim.message.deadline
    return deadline is not None and now < deadline and now - began < BODY_TIME


def record(inst: Installation, claim: Claim, result: Result, now: datetime) -> None:
    """What became of it, and what follows for the enrollment and the account."""
    message, store = claim.message, inst.store
    with store.transaction():
        match result:
            case Accepted(text, missed):
                _sent(inst, message, now, text, missed)
            case Refused(text=text, enhanced=enhanced, scope=scope):
                _refused(inst, message, f"{enhanced} {text}".strip(), scope == "address", now)
            case InDoubt(text):
                if store.record_doubt(message, text):
                    _tell(inst, message, now, "in_doubt", f"nobody knows whether {message.step} went out: {text}")
            case Deferred(text=text, account=True):
                _back(inst, claim, now, now, message.deferrals, text)
                _rest(inst, message.mailbox, now, LIMIT_REST, text)
            case Deferred(text=text):
                _deferred(inst, claim, text, now)
            case Unreachable(text):
                _back(inst, claim, now, now, message.deferrals, text)
                _rest(inst, message.mailbox, now, UNREACHABLE_REST, text)
            case LoginRefused(text):
                _back(inst, claim, now, now, message.deferrals, text)
                _rest(inst, message.mailbox, now, LOGIN_REST, text)
            case Cancelled():
                _back(inst, claim, now, now, message.deferrals, "something came first")


def _sent(inst: Installation, message: OutboxMessage, now: datetime, note: str, missed: tuple[Missed, ...]) -> None:
    """Sent is sent, also where a copy was refused: the recipient has it, and gets it no second time for the copy's sake."""
    without = "".join(f"; no copy to {each.address}: {each.text}" for each in missed)
    if not inst.store.record_sent(message, now, note + without):
        return
    _tell(inst, message, now, "sent", f"sent {message.step} to {message.recipient}: {message.subject}{without}")
    for each in missed:
        contact = inst.store.contact_at(each.address)
        if each.dead and contact:
            suppress(inst, contact.id, str(Event.BOUNCED), now, message.id)
    happen(inst, message.enrollment, Done(message.step, now, emailed=True), now)
    contacted(inst, message, now)


def contacted(inst: Installation, message: OutboxMessage, now: datetime) -> None:
    """The first outreach to a prospect is a date of the referral, and any email to one who was introduced answers them."""
    enrollment = inst.store.enrollment(message.enrollment)
    sequence = inst.library.sequences.get(enrollment.sequence) if enrollment else None
    referral = inst.store.referral(enrollment.referral) if enrollment and enrollment.referral else None
    if enrollment and referral and sequence and sequence.kind == "outreach" and referral.contacted_at is None:
        set_referral(inst, enrollment, referral.prospect, "contacted", message.id, now)
    if message.contact:
        answered(inst, message.recipient, now)


def _refused(inst: Installation, message: OutboxMessage, text: str, dead: bool, now: datetime) -> None:
    if not inst.store.record_refused(message, text):
        return
    event = Event.BOUNCED if dead else Event.SOFT_BOUNCED
    _tell(inst, message, now, str(event), f"{message.recipient} was refused: {text}")
    enrollment = inst.store.enrollment(message.enrollment)
    if dead and enrollment and message.contact != enrollment.contact:  # a step to another role: that address is dead
        if message.contact:
            suppress(inst, message.contact, str(event), now, message.id)
        happen(inst, message.enrollment, Failed(f"{message.recipient} is dead: {text}"), now)
        return
    happen(inst, message.enrollment, Heard((event,), step=message.step), now)


def _deferred(inst: Installation, claim: Claim, text: str, now: datetime) -> None:
    message = claim.message
    if now - _frozen_at(message) > RETRY_GIVE_UP:
        _refused(inst, message, f"not accepted for {RETRY_GIVE_UP.days} days: {text}", False, now)
        return
    wait = min(RETRY_FIRST * 2 ** min(message.deferrals, 10), RETRY_MAX)
    _back(inst, claim, now, now + wait, message.deferrals + 1, text)
    _tell(inst, message, now, "deferred", f"{message.step}: not now: {text}; again at {now + wait:%Y-%m-%d %H:%M} UTC")


def _frozen_at(message: OutboxMessage) -> datetime:
    """When its bytes were written; what it waited for before that is no fault of the server."""
    return parsedate_to_datetime(message_from_bytes(message.raw)["Date"])


def _back(inst: Installation, claim: Claim, now: datetime, not_before: datetime, deferrals: int, note: str) -> None:
    """Nothing was sent: back into the queue, and the place in the day's count is given back."""
    if claim.message.enrollment:
        inst.store.return_rate(claim.message.mailbox, claim.epoch, now)
    inst.store.release_claim(claim.message, not_before, deferrals, note)


def _rest(inst: Installation, mailbox: str, now: datetime, rest: timedelta, why: str) -> None:
    """A trouble that lasts is told once, however often it is met."""
    before = inst.store.mailbox(mailbox)
    inst.store.pause_mailbox(mailbox, now + rest, why)
    if not (before and before.paused_why == why and now - before.paused_until < STILL):
        inst.store.tell(now, "mailbox", f"{mailbox}: nothing is sent until {now + rest:%Y-%m-%d %H:%M} UTC: {why}")


def _tell(inst: Installation, message: OutboxMessage, now: datetime, kind: str, text: str) -> None:
    inst.store.tell(now, kind, text, message.contact, message.enrollment, message.id)


# --- what a crash left -----------------------------------------------------------------------------------------------


def reclaim(inst: Installation, address: str, now: datetime) -> list[OutboxMessage]:
    """After a crash: what had not begun is queued again, what had begun is in doubt once nobody can be speaking for it any more.

    Returns the messages that are newly in doubt."""
    silent = now - ANSWER_TIME
    if not inst.store.lost_claims(address, now) and not inst.store.lost_attempts(address, silent):
        return []  # most often: nobody waits for a lock for that
    with inst.store.transaction():
        for message in inst.store.lost_claims(address, now):
            inst.store.reclaim(message, now, "the attempt was lost before the body")
        lost = inst.store.lost_attempts(address, silent)
        for message in lost:
            inst.store.record_doubt(message, "the answer to its body was lost")
            _tell(inst, message, now, "in_doubt", f"nobody knows whether {message.step} went out: the answer was lost")
    return lost


def settle(
    inst: Installation,
    message: OutboxMessage,
    went_out: bool,
    now: datetime,
    evidence: str,
    sent_at: datetime | None = None,
) -> bool:
    """A doubt ends: by evidence or by the rep's word. `sent_at` (UTC) is when it went out, where that is known: what follows is
    counted from it. False when it was settled before."""
    with inst.store.transaction():
        if went_out:
            at = sent_at or message.deadline or now
            if not inst.store.record_sent(message, min(at, now), evidence):
                return False
            _tell(inst, message, now, "sent", f"{message.step} to {message.recipient} went out: {evidence}")
            happen(inst, message.enrollment, Done(message.step, min(sent_at or now, now), emailed=True), now)
            contacted(inst, message, now)
            return True
        if not inst.store.again(message, now, evidence):
            return False
        _tell(inst, message, now, "queued", f"{message.step} to {message.recipient} did not go out: {evidence}")
        return True


def found_before(inst: Installation, claim: Claim, folder: str, now: datetime) -> None:
    """What was claimed lies in `folder` already: another copy of this store has sent it."""
    with inst.store.transaction():
        _sent_by_another(inst, claim.message, folder, now)


def _sent_by_another(
    inst: Installation, claimed: OutboxMessage, folder: str, now: datetime, sent_at: datetime | None = None
) -> None:
    if inst.store.doubt_claim(claimed, f"it is in {folder} already"):
        settle(inst, claimed, True, now, f"found in {folder}: another copy of this store has sent it", sent_at)


def look(inst: Installation, message: OutboxMessage, folder: str | None, files_sent: bool, now: datetime) -> None:
    """What a search for a doubtful message in Sent and All Mail has shown at `now` (UTC). Absence proves something only where the
    server files Sent by itself (`files_sent`), and only twice with 15 minutes between."""
    if folder:
        copy = inst.store.own_copy(message.message_id)
        settle(inst, message, True, now, f"found in {folder}", copy[1] if copy else None)
        return
    seen = f"absent {message.id} {message.token}"  # of this attempt: what was absent before it proves nothing
    with inst.store.transaction():
        first = inst.store.setting(seen)
        if not files_sent:
            return
        if first is None:
            inst.store.set_setting(seen, str(micros(now)))
        elif now - instant(int(first)) >= ABSENT_TWICE:
            inst.store.drop_setting(seen)
            settle(inst, message, False, now, "absent from Sent in two searches, and the server files Sent by itself")


# --- drafts ----------------------------------------------------------------------------------------------------------


def drafts(inst: Installation) -> list[OutboxMessage]:
    """What waits for the rep's word, the oldest first."""
    return inst.store.outbox_in(OutboxState.DRAFT)


def approve(
    inst: Installation, draft: OutboxMessage, now: datetime, subject: str = "", text: str = "", shown: str = ""
) -> bool:
    """The rep's word. With `text` exactly that goes out. Without it the template is filled in again when it leaves, and what would
    not be as it was `shown` (see `seen`; empty: as it would be now) becomes a draft again.

    False when the draft was withdrawn or decided before. Raises RenderError when there is nothing that could be shown."""
    with inst.store.transaction():
        enrollment = inst.store.enrollment(draft.enrollment)
        if enrollment and not text and not shown:
            shown = seen(write(inst, enrollment, replace(draft, subject="", text=""), now))
        if not inst.store.approve(draft, now, subject, text, "" if text else shown):
            return False
        _tell(inst, draft, now, "approved", f"{draft.step}: approved" + (", edited" if text else ""))
        finish_drafts(inst, draft.enrollment, now, queued=True)
        return True


def reject(inst: Installation, draft: OutboxMessage, now: datetime) -> bool:
    """The step is skipped. False when the draft was withdrawn or decided before."""
    with inst.store.transaction():
        if draft.state is not OutboxState.DRAFT or not inst.store.withdraw_one(draft, "rejected by the rep"):
            return False
        _tell(inst, draft, now, "rejected", f"{draft.step}: rejected")
        finish_drafts(inst, draft.enrollment, now, queued=False)
        happen(inst, draft.enrollment, Done(draft.step, now, skipped=True), now)
        return True
