"""From a message in a rep's mailbox to what follows from it. Every message leaves one row that says what was made of it
and by which rules; mail that concerns nobody here leaves no text. One message is one transaction, its place in the
mailbox included."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.parser import BytesHeaderParser
from email.utils import parseaddr
from typing import Any

from engine.core import match
from engine.core.address import domain_of
from engine.core.happening import Failed, Heard, Paused, Released, Stopped
from engine.core.machine import FINAL, RUNNING, handler_for
from engine.core.match import Known, Match
from engine.core.model import (
    HUMAN,
    Contact,
    Enrollment,
    Event,
    InboundMessage,
    Message,
    OutboxMessage,
    OutboxState,
    Person,
    Reader,
    Reading,
    Referral,
    State,
    Task,
)
from engine.core.needs import person
from engine.decisions import (
    MET_TASKS,
    answered,
    free,
    happen,
    hold_for_answers,
    lock_person,
    log_referral,
    others,
    referral_changed,
    set_referral,
    suppress,
    tick_off,
)
from engine.errors import UserError
from engine.imap import Fetched
from engine.installation import Installation
from engine.letters import desk_token, unsubscribe_token
from engine.outbox import settle as settle_doubt
from engine.reading import Opener, open_here
from engine.standing import known_or_new
from engine.store import find_sent
from engine.triggers import fire_waiting

TEXT_KEPT_MAX = 20_000
#: Of an answer that is kept on a referral.
ANSWER_KEPT_MAX = 2_000
#: What asks a client for the introduction; it waits once the prospect has written by themselves.
NUDGES = frozenset({"intro", "follow_up"})
#: What has nothing left to ask once the rep and the prospect have met, or it is decided.
SETTLED_BY_MEETING = NUDGES | {"ask", "outreach"}
BEGUN = frozenset({OutboxState.DATA_STARTED, OutboxState.IN_DOUBT, OutboxState.SENT})
#: A rep's answer to a letter of ours.
ORDERS = "orders"
MARKS = ("introduced", "named", "confirmed", "declined", "met", "won", "lost")
#: Of a message that is not opened.
HEADERS_MAX = 100_000
_BODY = re.compile(rb"\r?\n\r?\n")
_TOKEN = re.compile(r"unsubscribe (([0-9a-f]+)-[0-9a-f]{20})\b", re.I)


@dataclass(frozen=True)
class Received:
    """What became of one message: its row and a line for the log. No row: it was known already, is our own copy, or decides
    nothing."""

    row: InboundMessage | None
    line: str


def receive(inst: Installation, fetched: Fetched, now: datetime, opener: Opener = open_here) -> Received:
    """Reads one message, decides and keeps; `now` in UTC. The folder's position moves in the same transaction, which begins
    when the message is read. Raises Indigestible where the `opener` cannot read it."""
    if _is_known_copy(inst, fetched):
        inst.store.save_position(fetched.mailbox, fetched.folder, fetched.uidvalidity, fetched.uid, now)
        return Received(None, "")
    with opener(fetched.raw) as opened:
        message = opened.message
        digest = _digest(fetched.raw, message)
        is_own = inst.config.mailbox(message.sender.email) is not None
        is_new = not is_own and not inst.store.copies(message.message_id, digest)
        named = _letter_to_rep(inst, message) if is_own else None
        reading = opened.classify(_reader(inst, fetched.mailbox, message)) if is_new or named else None
    with inst.store.transaction():
        since = inst.store.save_position(fetched.mailbox, fetched.folder, fetched.uidvalidity, fetched.uid, now)
        old = fetched.received_at < since.replace(microsecond=0)  # INTERNALDATE knows only seconds
        known = inst.store.copies(message.message_id, digest)
        if any(copy.mailbox == fetched.mailbox for copy in known):
            return Received(None, "")
        row = InboundMessage(
            id=inst.store.new_id(),
            mailbox=fetched.mailbox,
            folder=fetched.folder,
            uidvalidity=fetched.uidvalidity,
            uid=fetched.uid,
            message_id=message.message_id,
            digest=digest,
            received_at=now,
            sender=message.sender.email,
            subject=message.subject,
            event="",
            rule="",
            refs=" ".join((*message.references, *message.in_reply_to)),
            settled_at=now,
            arrived_at=None if old else min(fetched.received_at, now),
        )
        if known:
            return _keep_copy(inst, row, known[0])
        if is_own:
            if reading is not None and named and not _copied(inst, message):
                return _orders(inst, row, message, reading, named, fetched, now)
            return _own(inst, row, message, fetched, old, now)
        assert reading is not None, "what was known before the transaction is known inside of it"
        return _theirs(inst, row, message, reading, old, now)


def _is_known_copy(inst: Installation, fetched: Fetched) -> bool:
    """Most of what comes into Sent is what was just sent: by its id it is known unopened. What it may settle is settled already."""
    if fetched.kind != "sent":
        return False
    ours = inst.store.sent_by_id(_header(fetched, "Message-ID").strip())
    return ours is not None and ours.state is OutboxState.SENT


def _header(fetched: Fetched, name: str) -> str:
    """Of a message that is not opened; empty where it has none. Without NUL, which PostgreSQL takes for no text."""
    return str(BytesHeaderParser().parsebytes(fetched.raw[:HEADERS_MAX]).get(name, "")).replace("\0", "")


def _digest(raw: bytes, message: Message) -> str:
    """What is the same in every copy of a message, whatever its servers wrote above it on the way (RFC 5321 §4.4)."""
    body = _BODY.split(raw, maxsplit=1)[-1].replace(b"\r\n", b"\n").strip()
    said = "\n".join((message.sender.email, message.subject, str(message.date), ""))
    return hashlib.sha256(said.encode("utf-8", "replace") + body).hexdigest()[:32]


def _keep_copy(inst: Installation, row: InboundMessage, first: InboundMessage) -> Received:
    """The same message to another rep: it was heard when the first copy was read."""
    kept = replace(
        row, event=first.event, rule="copy", matched=first.matched, contact=first.contact, enrollment=first.enrollment,
        decision=f"the same message as in {first.mailbox}",
    )  # fmt: skip
    inst.store.add_inbound(kept)
    return Received(kept, "")


def set_aside(inst: Installation, fetched: Fetched, why: str, now: datetime) -> None:
    """A message that could not be read three times: its row says so, and the rep is asked. Nothing behind it waits; but it may be
    an answer, so whatever runs for its sender, as far as that can be read, is paused."""
    sender = parseaddr(_header(fetched, "From"))[1]
    contact = inst.store.contact_at(sender) if sender else None
    digest = hashlib.sha256(fetched.raw).hexdigest()[:32]
    with inst.store.transaction():
        inst.store.save_position(fetched.mailbox, fetched.folder, fetched.uidvalidity, fetched.uid, now)
        row = InboundMessage(
            id=inst.store.new_id(), mailbox=fetched.mailbox, folder=fetched.folder, uidvalidity=fetched.uidvalidity,
            uid=fetched.uid, message_id="", digest=digest, received_at=now, sender="", subject="", event="set_aside",
            rule="unreadable", decision=why,
        )  # fmt: skip
        if inst.store.add_inbound(row):
            whose = f" of {contact.email}" if contact else ""
            title = f"A message{whose} in {fetched.folder} could not be read: look at it yourself"
            inst.store.add_task(
                Task("", "set_aside", fetched.mailbox, "", "", title, why, now, urgent=True, message=row.id)
            )
            for running in others(inst, contact.id) if contact else ():
                if running.state in RUNNING - {State.PAUSED}:
                    happen(inst, running.id, Paused("a message could not be read"), now)


# --- the rep's own hand ----------------------------------------------------------------------------------------------


def _own(
    inst: Installation, row: InboundMessage, message: Message, fetched: Fetched, old: bool, now: datetime
) -> Received:
    """Our own copy in Sent is evidence; what a rep wrote by hand makes the automation stand back, in whosever mailbox it lies."""
    ours = _copied(inst, message)
    if ours and ours.state is OutboxState.IN_DOUBT:
        settle_doubt(inst, ours, True, now, f"found in {fetched.folder}")
        return Received(None, f"{ours.recipient}: a doubt is settled: found in {fetched.folder}")
    if ours:
        return Received(None, "")
    found = match.by_reference(message, _known(inst))
    _settled_by(inst, found, now)
    if old or fetched.kind == "junk":  # nobody's own mail is junk: it is forged
        return Received(None, "")
    contacts = [c for p in (*message.to, *message.cc) if (c := inst.store.contact_at(p.email))]
    if found.contact and found.contact not in contacts:
        contacts.append(found.contact)
    kept = replace(
        row,
        event=str(Event.REP_WROTE if contacts else Event.IGNORED),
        rule=f"own:{fetched.kind}",
        matched=found.rule,
        contact=contacts[0].id if contacts else "",
        thread=found.email.thread if found.email else "",
    )
    if not inst.store.add_inbound(kept):  # another daemon was faster
        return Received(None, "")
    for reader in (*message.to, *message.cc):
        answered(inst, reader.email, now, kept.id)
    for contact in contacts:
        for enrollment in inst.store.enrollments_of(contact.id):
            if enrollment.state in RUNNING:
                happen(inst, enrollment.id, Heard((Event.REP_WROTE,), message=kept.id), now, kept.id)
    names = ", ".join(c.email for c in contacts)
    return Received(kept, f"{message.sender.email} wrote to {names} by hand" if names else "")


def _letter_to_rep(inst: Installation, message: Message) -> OutboxMessage | None:
    """The letter to a rep that a message answers. One that goes to others is an email of the rep's, forwarded or not."""
    found = find_sent(inst.store, dict.fromkeys((*message.in_reply_to, *message.references)))
    to_reps = all(inst.config.mailbox(person.email) for person in (*message.to, *message.cc))
    return found if found and not found.enrollment and to_reps else None


def _orders(
    inst: Installation,
    row: InboundMessage,
    message: Message,
    reading: Reading,
    letter: OutboxMessage,
    fetched: Fetched,
    now: datetime,
) -> Received:
    """The rep's word on a letter to them, carried out by the desk. From names whoever wrote it, and anybody can write that: it is
    the rep's where it came to the mailbox that the letter was for, names the letter, and carries its token."""
    mailbox = inst.config.mailbox(message.sender.email)
    home = inst.config.mailbox(letter.mailbox)
    letter_readers = home.addresses if home else frozenset()
    token = desk_token(inst.key, letter.thread)
    faults = {
        "it came to another mailbox": letter.mailbox != fetched.mailbox,
        "it is another rep's": mailbox is None or mailbox.address != letter.mailbox,
        "it is written to another": any(p.email not in letter_readers for p in (*message.to, *message.cc)),
        "it lies in Junk": fetched.kind == "junk",
        "it lacks the letter's token": token not in f"{message.subject}\n{message.text}\n{message.html}",
        "a machine wrote it": reading.event not in HUMAN,
    }
    fault = next((why for why, holds in faults.items() if holds), "")
    if fault:
        said = f"an answer to {letter.subject!r} settles nothing: {fault}"
        kept = replace(row, event=str(Event.IGNORED), rule="desk:refused", decision=said)
        if inst.store.add_inbound(kept):
            inst.store.tell(now, "refused", f"{fetched.mailbox}: {said}", message=kept.id)
        return Received(kept, "")
    kept = replace(row, event=ORDERS, rule="desk:token", matched="reference", text=reading.text[:TEXT_KEPT_MAX],
                   thread=letter.thread)  # fmt: skip
    return (
        Received(kept, f"{letter.mailbox} answers {letter.subject!r}")
        if inst.store.add_inbound(kept)
        else Received(None, "")
    )


def _copied(inst: Installation, message: Message) -> OutboxMessage | None:
    """The email of ours of which this is a copy. A server may have given it another Message-ID: then our own id stands first in
    its References, or the recipient, the subject and the words are the same."""
    if ours := inst.store.sent_by_id(message.message_id):
        return ours
    first = inst.store.sent_by_own_id(message.references[0]) if message.references else None
    contacts = [c for p in message.to if (c := inst.store.contact_at(p.email))]
    rows = [first] if first else []
    rows += [row for c in contacts for row in reversed(inst.store.outbox_to(c.id)) if row.state in BEGUN and row.text]
    alike = (row for row in rows if row is first or match.bare(row.text) == match.bare(message.text))
    return next((row for row in alike if _is_copy(row, message)), None)


def _is_copy(ours: OutboxMessage, message: Message) -> bool:
    return ours.subject == message.subject and any(p.email == ours.recipient for p in message.to)


# --- everybody else's ------------------------------------------------------------------------------------------------


def _known(inst: Installation) -> Known:
    store = inst.store
    return Known(
        sent=lambda ids: found if (found := find_sent(store, ids)) and found.enrollment else None,
        contact=store.contact,
        at=store.contact_at,
        colleagues=store.colleagues,
        last=store.last_sent_to,
    )


def _theirs(
    inst: Installation, row: InboundMessage, message: Message, reading: Reading, old: bool, now: datetime
) -> Received:
    known = _known(inst)
    found = match.by_reference(message, known)
    if not found.rule and not old:
        found = match.by_sender(message, known)
    _settled_by(inst, found, now)
    if reading.event in match.REPORTS:
        found = match.by_report(reading, known)
        _settled_by(inst, found, now)
    token = _unsubscribed(inst, message)
    if old and not (found.rule or token):
        return Received(None, "")
    if token:
        found, reading = (
            Match("token", None, token),
            replace(reading, events=(Event.UNSUBSCRIBED,), rule="unsubscribe:token"),
        )
    if found.rule == "copy" and reading.event in match.REPORTS:
        return _copy_reported(inst, row, reading, found, now)
    if found.rule == "maybe" and reading.event in HUMAN | match.REPORTS:
        reading = replace(reading, events=(Event.REPLY,), rule=f"maybe:{reading.rule}", people=())
    return _decided(inst, row, reading, found, now)


def _copy_reported(inst: Installation, row: InboundMessage, reading: Reading, found: Match, now: datetime) -> Received:
    """About a copy in Bcc: the address may be dead for good, and the email itself went where it should."""
    contact, final = found.contact, reading.event in FINAL
    assert contact is not None, "a copy is matched by whose it was"
    why = "a copy in Bcc did not arrive" + (": the address is suppressed" if final else "")
    kept = replace(
        row, event=str(reading.event), rule=reading.rule, matched=found.rule, contact=contact.id, decision=why
    )
    if not inst.store.add_inbound(kept):  # another daemon was faster
        return Received(None, "")
    inst.store.tell(now, "heard", f"{reading.event} ({reading.rule}): {why}", contact.id, "", kept.id)
    if final:
        suppress(inst, contact.id, str(reading.event), now, kept.id)
    return Received(kept, f"{contact.email}: {reading.event} ({reading.rule}): {why}")


def _settled_by(inst: Installation, found: Match, now: datetime) -> None:
    """Who names an email of ours has got it: that ends a doubt about it."""
    proves = found.rule in ("reference", "own_id", "quote", "report")
    if found.email and proves and found.email.state in (OutboxState.DATA_STARTED, OutboxState.IN_DOUBT):
        settle_doubt(inst, found.email, True, now, "a message that came back names it")


def _reader(inst: Installation, mailbox: str, message: Message) -> Reader:
    known = _known(inst)
    contact = match.by_reference(message, known).contact or match.by_sender(message, known).contact
    rep = inst.rep(mailbox)
    client = Person(contact.name, contact.email, contact.company) if contact else None
    domains = frozenset(filter(None, {domain_of(p) for p in (contact.email if contact else "", message.sender.email)}))
    prospects: tuple[Person, ...] = ()
    if contact:
        running = [e for e in inst.store.enrollments_of(contact.id) if e.state is not State.STOPPED]
        prospects = tuple(Person(**p) for e in running if (p := e.variables.get("prospect")))
    ours = frozenset(filter(None, {*inst.config.company.domains, domain_of(rep.address)}))
    return Reader(rep.addresses, ours, client, domains, prospects)


def _unsubscribed(inst: Installation, message: Message) -> Contact | None:
    """The List-Unsubscribe link of one of our emails was used: its token names the person, whoever's program sent it. The client
    who had a copy of it in Bcc asks for themselves."""
    found = _TOKEN.search(message.subject)
    enrollment = inst.store.enrollment(found[2]) if found else None
    contact = inst.store.contact(enrollment.contact) if enrollment else None
    if not found or not enrollment or not contact:
        return None
    client = inst.store.contact(enrollment.client)
    people = [contact, *([client] if client else [])]
    sender = inst.store.contact_at(message.sender.email)
    for asker in people:
        if unsubscribe_token(inst, enrollment, asker.email) == found[1].lower():
            return sender if sender in people else asker
    return None


def _decided(inst: Installation, row: InboundMessage, reading: Reading, found: Match, now: datetime) -> Received:
    contact = found.contact or _referred(inst, row, reading)
    if contact is None:
        kept = replace(row, event=str(reading.event), rule=reading.rule, decision="concerns nobody here")
        if not inst.store.add_inbound(kept):  # another daemon was faster
            return Received(None, "")
        return Received(kept, "")
    answered = found.email.enrollment if found.email else ""
    hearers = match.hearers(_concerned(inst, contact, found), answered, reading.events, reading.people)
    chosen = hearers[0][0] if hearers else None
    thread = found.email.thread if found.email and _is_answer(row, found.email, found.rule) else ""
    kept = replace(
        row,
        event=str(reading.event),
        rule=reading.rule,
        matched=found.rule or "referral",
        contact=contact.id,
        enrollment=chosen.id if chosen else "",
        text=reading.text[:TEXT_KEPT_MAX],
        # What a machine wrote is no part of the conversation: nothing goes on from it.
        thread=(thread or row.id) if reading.event in HUMAN else "",
    )
    if not inst.store.add_inbound(kept):  # another daemon was faster
        return Received(None, "")
    line = f"{reading.event} from {row.sender} ({reading.rule}, found by {kept.matched})"
    inst.store.tell(now, "heard", line, contact.id, kept.enrollment, kept.id)
    if reading.event in HUMAN:
        _keep_on_referrals(inst, kept, contact, [hearer for hearer, _ in hearers], now)
    said = [
        _hear(inst, kept, replace(reading, people=people), contact, hearer, found, now) for hearer, people in hearers
    ] or [_heard_by_nobody(inst, kept, reading, contact, now)]
    return Received(kept, f"{contact.email}: {reading.event} ({reading.rule}): {'; '.join(said)}")


def _referred(inst: Installation, row: InboundMessage, reading: Reading) -> Contact | None:
    """A prospect who writes before anybody has written to them: until then they are known by their referral alone."""
    referrals = inst.store.referrals_to(Person(email=row.sender.lower()))
    if not referrals or reading.event not in HUMAN:
        return None
    who = referrals[0].prospect
    given = {name: value for name in ("name", "first_name", "company", "title") if (value := getattr(who, name))}
    return known_or_new(inst, row.sender.lower(), referrals[0].rep, given)


def _keep_on_referrals(
    inst: Installation, row: InboundMessage, contact: Contact, hearers: list[Enrollment], now: datetime
) -> None:
    """What a prospect answers, and what the client says about a referral, is kept on it. Once the prospect has written, nobody asks
    the client any more for an introduction that may have been made in another way: the rep says."""
    text = row.text[:ANSWER_KEPT_MAX]
    to_them = [
        r for address in (contact.email, *contact.aliases) for r in inst.store.referrals_to(Person(email=address))
    ]
    for referral in to_them:
        log_referral(inst, referral, "answered", now, text, row.id)
        client = inst.store.contact(referral.client)
        by = client.name or client.email if client else "a client"
        said = f"{referral.prospect.name or contact.email}, whom {by} referred, has written"
        inst.store.tell(now, "referral", said, referral.client, message=row.id)
        for nudge in _nudges(inst, referral):
            happen(inst, nudge.id, Heard((Event.REPLY,), message=row.id, note=said), now, row.id)
    if row.event in (Event.NAMED, Event.INTRODUCED):
        return  # that is a step of a referral, and proves it
    for id in dict.fromkeys(e.referral for e in hearers if e.referral and e.client == contact.id):
        if about := inst.store.referral(id):
            log_referral(inst, about, "said", now, text, row.id)


def _nudges(inst: Installation, referral: Referral) -> list[Enrollment]:
    """What still asks the client to introduce this prospect, where it has not been done and we have not written to them."""
    if referral.introduced_at or referral.contacted_at:
        return []
    found = inst.store.enrollments_about(referral.prospect)
    asking = [e for e in found if e.client == referral.client == e.contact and e.state in RUNNING]
    return [e for e in asking if (s := inst.library.sequences.get(e.sequence)) and s.kind in NUDGES]


def _concerned(inst: Installation, contact: Contact, found: Match) -> list[Enrollment]:
    """A person's own enrollments, and the one whose email they answer: a step may write to another than whose it is."""
    own = inst.store.enrollments_of(contact.id)
    answered = inst.store.enrollment(found.email.enrollment) if found.email else None
    return own if answered is None or any(e.id == answered.id for e in own) else [*own, answered]


def _is_answer(row: InboundMessage, email: OutboxMessage, rule: str) -> bool:
    """Programs that name nothing keep the subject at least; a mail with another subject begins a thread of its own."""
    return rule != "sender" or match.bare_subject(row.subject) == match.bare_subject(email.subject)


def _hear(
    inst: Installation,
    row: InboundMessage,
    reading: Reading,
    contact: Contact,
    chosen: Enrollment,
    found: Match,
    now: datetime,
) -> str:
    """Lets one enrollment hear it, and keeps what was decided."""
    chosen = inst.store.enrollment(chosen.id, lock=True) or chosen  # another daemon may have moved it on
    step = found.email.step if found.email and found.email.enrollment == chosen.id and found.rule != "sender" else ""
    if reading.event in (Event.BOUNCED, Event.SOFT_BOUNCED) and found.email:
        inst.store.record_refused(found.email, f"bounced: {reading.status or reading.rule}")
    if reading.event in FINAL and chosen.contact != contact.id:
        return _final_beside(inst, row, str(reading.event), contact, chosen, now)
    heard = Heard(reading.events, step, row.id, reading.people, reading.until, reading.note)
    decision = happen(inst, chosen.id, heard, now, row.id)
    if decision is None:
        return ""
    if reading.event is Event.INTRODUCED:
        _tell_outreach(inst, chosen, heard, now)
        if chosen.state is State.STOPPED:
            _note_referrals(inst, contact, chosen.rep, str(reading.event), reading.people, row.id, now)
    waits = decision.enrollment.state is State.PAUSED or chosen.state is State.STOPPED
    open_ = reading.event in HUMAN and waits and reading.event is not Event.UNSUBSCRIBED
    inst.store.decide_inbound(replace(row, decision=decision.why, settled_at=None if open_ else now))
    return decision.why


def _final_beside(
    inst: Installation, row: InboundMessage, event: str, contact: Contact, chosen: Enrollment, now: datetime
) -> str:
    """Somebody to whom a step of another's sequence wrote is gone for good; the other is not."""
    suppress(inst, contact.id, event, now, row.id)
    happen(inst, chosen.id, Failed(f"{contact.email}: {event}"), now, row.id)
    why = f"{event}: the address is suppressed; {chosen.sequence} is paused"
    inst.store.decide_inbound(replace(row, decision=why))
    return why


def _tell_outreach(inst: Installation, chosen: Enrollment, heard: Heard, now: datetime) -> None:
    """What already goes to the prospect on its own hears of the introduction too; what has just been started by it knows it."""
    for prospect in heard.people:
        for other in inst.store.enrollments_about(prospect):
            beside = other.client == chosen.client and other.contact != chosen.contact and other.cause != heard.message
            if beside and other.state in RUNNING:
                happen(inst, other.id, replace(heard, step=""), now, heard.message)


def _heard_by_nobody(inst: Installation, row: InboundMessage, reading: Reading, contact: Contact, now: datetime) -> str:
    if reading.event in (Event.UNSUBSCRIBED, Event.COMPLAINED, Event.BOUNCED):
        suppress(inst, contact.id, str(reading.event), now, row.id)
        why = "the address is suppressed"
    elif reading.event in HUMAN:
        if reading.event is Event.INTRODUCED:
            rep = contact.owner or row.mailbox
            _note_referrals(inst, contact, rep, str(reading.event), reading.people, row.id, now)
        title = f"{contact.name or contact.email} wrote, and is in no sequence" + _referred_by(inst, contact)
        task = Task(
            "", "triage", contact.owner or row.mailbox, contact.id, "", title, reading.text, now, message=row.id
        )
        inst.store.add_task(task)
        why = "in no sequence: the rep is asked"
    else:
        why = "in no sequence: nothing changes"
    inst.store.decide_inbound(replace(row, decision=why))
    return why


def _referred_by(inst: Installation, contact: Contact) -> str:
    """`: Dana Reyes referred them`, where somebody did."""
    clients = [inst.store.contact(r.client) for r in inst.store.referrals_to(Person(email=contact.email))]
    names = " and ".join(client.name or client.email for client in clients if client)
    return f": {names} referred them" if names else ""


def _note_referrals(
    inst: Installation, client: Contact, rep: str, word: str, people: tuple[Person, ...], proof: str, now: datetime
) -> None:
    """A name or an introduction that no enrollment hears is on record, and a moment for the triggers."""
    seat = Enrollment(
        id="", sequence="mail" if proof else "mark", version="", contact=client.id, client=client.id, rep=rep, root="",
        begun_at=now, start_at=now,
    )  # fmt: skip
    for prospect in people:
        set_referral(inst, seat, prospect, word, proof, now)


# --- the rep's word --------------------------------------------------------------------------------------------------


def settle(
    inst: Installation, email: str, word: str, values: Mapping[str, Any], now: datetime, of: str = ""
) -> list[str]:
    """What the rep says about an answer that waits: an event's name (its handler runs), `continue` or `stop`. `of` is the id of the
    one that it is said of, where that is known.

    Returns what was decided. Raises UserError when nothing waits or the word is none."""
    contact = inst.store.contact_at(email)
    people = _people(values)
    with inst.store.transaction():
        if contact:
            lock_person(inst, contact.id)
        answers = _to_settle(inst, contact, word, of) if contact else []
        waiting = _waiting(inst, contact, answers) if contact else []
        if contact is None or not (waiting or answers):
            raise UserError(f"nothing of {email} waits for a look", remedy="whoelse replies lists what does")
        message = answers[-1].id if answers else ""
        said: list[str] = []
        for enrollment in waiting:
            said += _settle_one(inst, enrollment, word, people, message, now)
        still = {e.id for e in waiting if (after := inst.store.enrollment(e.id)) and after.state is State.PAUSED}
        for answer in answers:
            if answer.enrollment not in still:
                inst.store.decide_inbound(replace(answer, decision=f"settled by the rep: {word}", settled_at=now))
                free(inst, contact.id, answer.enrollment, now)
        for enrollment in waiting:
            if enrollment.id not in still:
                inst.store.finish_tasks(enrollment.id, "triage", now, f"settled: {word}")
        hold_for_answers(inst, contact.id, now)
    return said or [f"{word}: settled"]


def _to_settle(inst: Installation, contact: Contact, word: str, of: str) -> list[InboundMessage]:
    """An event is said of one answer, the first on the list, and of those to the same enrollment; the other words of all."""
    answers = inst.store.open_inbound_of(contact.id)
    if of:
        about = {each.enrollment for each in answers if each.id == of}
        return [each for each in answers if each.enrollment in about]
    if word in ("continue", "stop"):
        return answers
    return [answer for answer in answers if answer.enrollment == answers[0].enrollment]


def _waiting(inst: Installation, contact: Contact, answers: list[InboundMessage]) -> list[Enrollment]:
    """Those that wait with these answers; without any, whatever of the person stands still. What the rep paused by hand is not
    set going by settling an answer to something else."""
    if answers:
        found = [inst.store.enrollment(id) for id in dict.fromkeys(answer.enrollment for answer in answers)]
    else:
        found = list(inst.store.enrollments_of(contact.id))
    return [e for e in found if e and e.state is State.PAUSED]


def _settle_one(
    inst: Installation, enrollment: Enrollment, word: str, people: tuple[Person, ...], message: str, now: datetime
) -> list[str]:
    if word == "stop":
        decisions = [happen(inst, enrollment.id, Stopped("stopped_by_rep"), now, message)]
    elif word == "continue":
        decisions = [happen(inst, enrollment.id, Released("the rep says: continue"), now, message)]
    else:
        event = _event(word)
        decisions = [
            happen(inst, enrollment.id, Heard((event, Event.REPLY), message=message, people=people), now, message)
        ]
        after = inst.store.enrollment(enrollment.id)
        if after and after.state is State.PAUSED and event is not Event.REPLY:
            decisions.append(happen(inst, enrollment.id, Released(f"settled as {word}"), now, message))
    return [d.why for d in decisions if d]


def _event(word: str) -> Event:
    settled_by = [e for e in Event if e not in (Event.FINISHED, Event.REP_WROTE, Event.DELAYED, Event.SOFT_BOUNCED)]
    if word not in settled_by:
        raise UserError(f"{word!r} settles nothing", remedy=f"say continue, stop, or one of {', '.join(settled_by)}")
    return Event(word)


def _people(values: Mapping[str, Any]) -> tuple[Person, ...]:
    given = values.get("prospect", ())
    try:
        return tuple(Person(**person(p)) for p in ([given] if isinstance(given, str | Mapping) else given))
    except ValueError as error:
        raise UserError(f"prospect {error}") from error


def mark(inst: Installation, email: str, word: str, values: Mapping[str, Any], now: datetime) -> list[str]:
    """What the engine could not know: `introduced`, `named`, `confirmed`, `declined` of a client, `met`, `won`, `lost` of
    a prospect. What triggers start at that is started.

    `email` is the client's (with `prospect` among the values where it takes one) or the prospect's. Returns what was
    decided. Raises UserError when the word or the person is unknown."""
    if word not in MARKS:
        raise UserError(f"{word!r} is no mark", remedy=f"say one of {', '.join(MARKS)}")
    people = _people(values)
    contact = inst.store.contact_at(email)
    referrals = inst.store.referrals_to(Person(email=email.lower()))
    if contact is None and not referrals:
        raise UserError(
            f"nobody has the address {email}", remedy='for somebody new add --name "Dana Whitfield", and --company'
        )
    with inst.store.transaction():
        note = str(values.get("note", ""))
        said = _marked(inst, email, word, people, contact, referrals, note, now)
    return [*said, *(line for outcome in fire_waiting(inst, now) for line in outcome.lines)]


def _marked(
    inst: Installation,
    email: str,
    word: str,
    people: tuple[Person, ...],
    contact: Contact | None,
    referrals: list[Referral],
    note: str,
    now: datetime,
) -> list[str]:
    if word in ("met", "won", "lost"):
        return _mark_referral(inst, email, word, people, contact, note, now)
    client = _client_of(inst, contact, people, referrals)
    prospects = people or tuple(r.prospect for r in referrals)
    if word == "confirmed":
        inst.store.confirm(client.id, now)
        inst.store.tell(now, "value", "value confirmed: the rep says so", client.id)
    events = (Event(word), Event.REPLY) if word in ("named", "introduced") else (Event(word),)
    theirs = inst.store.enrollments_of(client.id)
    if word == "confirmed":  # good news stops nobody who does not wait for it
        theirs = [e for e in theirs if _handles(inst, e, Event.CONFIRMED)]
    chosen = match.hearer(theirs, "", events, prospects)
    if chosen is None or chosen.state is State.STOPPED:
        return _marked_alone(inst, client, word, prospects, now)
    decision = happen(inst, chosen.id, Heard(events, people=prospects), now)
    return [f"{chosen.sequence}: {decision.why}"] if decision else []


def _handles(inst: Installation, enrollment: Enrollment, event: Event) -> bool:
    sequence = inst.library.sequences.get(enrollment.sequence)
    return sequence is not None and handler_for(sequence, enrollment, event) is not None


def _client_of(
    inst: Installation, contact: Contact | None, people: tuple[Person, ...], referrals: list[Any]
) -> Contact:
    """Whose word it is: where somebody else is given as the prospect, it is that of whoever has the address, also of one who was
    a prospect once."""
    of_another = people and contact and contact.email not in {p.email.lower() for p in people}
    if referrals and not of_another and (contact is None or not inst.store.referrals_by(contact.id)):
        client = inst.store.contact(referrals[-1].client)
        assert client is not None
        return client
    assert contact is not None
    return contact


def _marked_alone(
    inst: Installation, client: Contact, word: str, people: tuple[Person, ...], now: datetime
) -> list[str]:
    if word in ("named", "introduced") and not people:
        raise UserError(f"whom was {word}?", remedy='add -v prospect="Barry Jones <barry@acme.example>"')
    if word in ("named", "introduced"):
        _note_referrals(inst, client, client.owner, word, people, "", now)
    inst.store.tell(now, "mark", f"marked {word} by the rep", client.id)
    return [f"{client.email}: {word}: recorded; no sequence was waiting for it"]


def _mark_referral(
    inst: Installation,
    email: str,
    word: str,
    people: tuple[Person, ...],
    contact: Contact | None,
    note: str,
    now: datetime,
) -> list[str]:
    found = inst.store.referrals_to(Person(email=email.lower()))
    if not found and contact and people:
        found = [r for p in people for r in inst.store.referrals_to(p) if r.client == contact.id]
    if not found:
        raise UserError(f"there is no referral of {email}", remedy="whoelse referrals lists them")
    for listed in found:
        referral = inst.store.referral(listed.id, lock=True) or listed
        dated: dict[str, Any] = {f"{word}_at": getattr(referral, f"{word}_at") or now}
        changed = replace(referral, state=word, **dated)
        if note or changed != referral:
            log_referral(inst, changed, word, now, note)
        inst.store.save_referral(changed)
        inst.store.tell(now, "referral", f"{referral.prospect.name or email}: {word}", referral.client)
        referral_changed(inst, changed, word, "", now)
        tick_off(inst, changed, MET_TASKS, f"the rep says: {word}", now)
    return [f"{email}: {word}" for _ in found] + _overtaken(inst, found, word, now)


def _overtaken(inst: Installation, referrals: list[Referral], word: str, now: datetime) -> list[str]:
    """What still asks for an introduction to somebody whom the rep has met, or for a first talk with them, ends; its draft too."""
    running = {e.id: e for r in referrals for e in inst.store.enrollments_about(r.prospect) if e.state in RUNNING}
    said = []
    for enrollment in running.values():
        sequence = inst.library.sequences.get(enrollment.sequence)
        if sequence and sequence.kind in SETTLED_BY_MEETING and happen(inst, enrollment.id, Stopped(word), now):
            said.append(f"{enrollment.sequence}: stopped: {word}")
    return said
