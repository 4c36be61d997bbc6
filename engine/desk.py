"""Letters to the rep themselves: the alert when somebody is introduced, the digest of the morning, the word on what they have
settled by answering one. Each goes out once, by the outbox, behind a row that is unique for its cause; none counts against a
limit that is there for clients. What an answer settles is what the commands settle, by the same verbs, and only for an answer
that is proven to be the rep's (`inbox` proves it)."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from textwrap import wrap
from typing import Any
from zoneinfo import ZoneInfo

from engine import inbox, outbox
from engine.config import Mailbox
from engine.core import compose
from engine.core.calendar import NeverOpens
from engine.core.machine import find, sends
from engine.core.model import Alert, Contact, InboundMessage, Item, OutboxMessage, OutboxState, Person, Referral, Task
from engine.core.orders import MARKER, WORDS, Order, objection, read_orders
from engine.core.render import Rendered, RenderError, Templates
from engine.core.sandbox import clean
from engine.core.schedule import Slot, last_slot, next_slot
from engine.core.words import day_text, handles, length_text
from engine.core.words import language as words_of
from engine.database import Unusable
from engine.decisions import lock_person
from engine.enrollments import finish_task
from engine.errors import UserError
from engine.installation import Installation
from engine.letters import desk_token, write

log = logging.getLogger("whoelse")

#: Of a morning that was slept through there is no digest.
DIGEST_LATE = timedelta(hours=6)
#: An introduction that came so long ago is no news, however late it was read; the digest still has it.
ALERT_LATE = timedelta(days=7)
#: So long an alert waits for the draft that is being made for it.
DRAFT_PATIENCE = timedelta(minutes=1)
ITEMS_MAX, TODAY_MAX = 40, 30
QUOTE_LINES_MAX, QUOTE_COLUMNS = 12, 64
REACHED = "digest"

TEMPLATES = Templates(
    {
        "alert": """---
subject: "{{ client }} has introduced you to {{ prospect }} [{{ token }}]"
---
{{ marker }}: the number and the word.

{{ client }} has introduced you to {{ prospect }}, {{ at }}. After 30 minutes the moment cools.

{% if words %}
{{ words }}

{% endif %}
{% for entry in entries %}
{{ entry.head }}  
{{ entry.text }}

{% endfor %}
{% if entries %}
`approve` lets it go as it is. To put times into it: `whoelse drafts edit {{ entries[0].handle }}`.

If you write yourself, to all and with {{ client }} in Bcc, it goes away.
{% else %}
No draft waits for it. Answer to all from your own mailbox, and move {{ client }} to Bcc.
{% endif %}
""",
        "digest": """---
subject: "{{ day }}: {{ counts }} [{{ token }}]"
---
{{ marker }}, a line for each: the number and the word.

{% for section in sections %}
**{{ section.title }}**

{% for entry in section.entries %}
{{ entry.head }}{% if entry.text %}  
{{ entry.text }}{% endif %}


{% endfor %}
{% if section.how %}
{{ section.how }}

{% endif %}
{% endfor %}
""",
        "settled": """---
subject: "{{ subject }}"
---
{{ marker }} to say more.

{% for line in done %}
{{ line }}

{% endfor %}
{% for line in strange %}
{{ line }}

{% endfor %}
""",
    }
)


def advance(inst: Installation, now: datetime) -> datetime | None:
    """What reps have answered is settled, and what is to be told them at `now` (UTC) goes into the outbox, each once.

    Returns when the next digest comes (UTC), None when there is none."""
    for row in inst.store.waiting_orders():
        with _alone(inst, row.mailbox, f"your answer to {row.subject!r} was not settled to its end", row.id, now):
            settle(inst, row, now)
        inst.store.end_orders(row, "not settled to its end: a fault of whoelse")  # nothing, where it is settled
    if inst.store.setting(outbox.BRAKE) is None:
        for referral in inst.store.unalerted(now - ALERT_LATE):
            what = f"no letter tells you of the introduction of {referral.prospect.name or referral.prospect.email}"
            with _alone(inst, referral.rep, what, referral.id, now):
                _alert(inst, referral, now)
        _digests(inst, now)
    times = {(m.digest, inst.config.place(m).zone) for m in inst.config.mailboxes if m.digest}
    return min((slot.at for cron, zone in times if (slot := next_slot(cron, zone, now))), default=None)


@contextlib.contextmanager
def _alone(inst: Installation, rep: str, what: str, cause: str, now: datetime) -> Iterator[None]:
    """A fault of ours in one letter holds up no other: it is logged, and becomes a task of the rep's, once for each `cause`. A
    store that fails is no fault of the letter."""
    try:
        yield
    except Unusable:
        raise
    except Exception as error:
        with inst.store.transaction():
            if not inst.store.fire_slot("desk fault", cause, "", now):
                return
            title = f"A fault of whoelse: {what}"
            note = f"{type(error).__name__}: {error}. The log has more. See what waits: whoelse status"
            inst.store.add_task(Task("", "fault", rep, "", "", title, note, now, urgent=True, note=note))
        log.exception("%s: %s", rep, what)


# --- items -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One item as the rep reads it. `shown` binds a word to what they saw."""

    kind: str
    target: str
    label: str
    text: str = ""
    shown: str = ""
    handle: str = ""


def _quote(text: str) -> str:
    """Lines that no mail program can turn into an order, however it quotes them."""
    lines = [piece for line in clean(text).strip().splitlines() for piece in (wrap(line, QUOTE_COLUMNS) or [""])]
    return "\n".join(f"| {line}" for line in lines)


def _start_of(text: str) -> str:
    lines = _quote("\n".join(filter(str.strip, text.splitlines()))).splitlines()
    return "\n".join(lines[:QUOTE_LINES_MAX] + (["| …"] if len(lines) > QUOTE_LINES_MAX else []))


def _who(contact: Contact | None) -> str:
    return (contact.name or contact.email) if contact and "@" in contact.email else "somebody"


def _answers(inst: Installation, rep: str) -> Iterator[Entry]:
    for row in inst.store.open_inbound():
        contact = inst.store.contact(row.contact) if row.contact else None
        if row.mailbox != rep or contact is None:
            continue
        known = " ".join(other.id for other in inst.store.open_inbound_of(contact.id))
        text = _start_of(row.text) or "| (the text is not kept any more)"
        yield Entry("answer", row.id, f"Answer of {_who(contact)} <{row.sender}>: {row.subject}", text, known)


def _drafts(inst: Installation, rep: str, now: datetime) -> Iterator[Entry]:
    waiting = [draft for draft in outbox.drafts(inst) if draft.mailbox == rep]
    short = handles(draft.id for draft in waiting)
    for draft in waiting:
        yield _draft(inst, draft, short[draft.id], now)


def _draft(inst: Installation, draft: OutboxMessage, handle: str, now: datetime) -> Entry:
    """In its whole words: what is approved is what stands here. One that cannot be written is approved by nobody."""
    label = f"Draft to {draft.recipient} ({handle})"
    enrollment = inst.store.enrollment(draft.enrollment)
    try:
        assert enrollment is not None, "a draft has its enrollment"
        letter = write(inst, enrollment, replace(draft, subject="", text=""), now)
    except (RenderError, ValueError, UserError) as error:
        return Entry("", draft.id, label, _quote(f"It cannot be written: {error}"), handle=handle)
    head = [f"To: {draft.recipient}", *(f"Bcc: {address}" for address in letter.bcc), f"Subject: {letter.subject}"]
    text = _quote("\n".join([*head, "", letter.text]))
    return Entry("draft", draft.id, label, text, outbox.seen(letter), handle)


def _tasks(inst: Installation, rep: str, covered: set[str]) -> Iterator[Entry]:
    """Without those that only say that an answer or a draft waits: that stands here already."""
    every = [task for task in inst.store.open_tasks() if task.rep == rep]
    short = handles(task.id for task in every)
    for task in every:
        if task.kind in ("triage", "draft_overdue") and task.enrollment in covered:
            continue
        yield Entry("task", task.id, f"Task{' (urgent)' if task.urgent else ''}: {task.title}", handle=short[task.id])


def _doubts(inst: Installation, rep: str) -> Iterator[Entry]:
    for message in inst.store.outbox_in(OutboxState.IN_DOUBT):
        if message.mailbox == rep and message.enrollment:
            label = f"In doubt, to {message.recipient}: {message.subject}. Is it in your Sent folder?"
            yield Entry("doubt", message.id, label, _quote(message.note))


def _introductions(inst: Installation, rep: str, now: datetime) -> Iterator[Entry]:
    for referral in inst.store.unanswered():
        if referral.rep == rep and referral.introduced_at:
            ago = length_text(now - referral.introduced_at)
            name = referral.prospect.name or referral.prospect.email
            label = f"Introduction of {name} by {_who(inst.store.contact(referral.client))}: {ago} ago, not answered"
            yield Entry("introduction", referral.id, label)


HOW = {
    "introduction": "A draft below answers it, or you do, to all. If you have met already: `met`.",
    "answer": "Words: confirmed, declined, continue, stop, or `named` with somebody: named Barry Jones <barry@northwind.example>. "
    "By hand: `whoelse replies`.",
    "draft": "Words: `approve` as it stands here, or `reject`. By hand: `whoelse drafts`.",
    "task": "Word: `done`, with a note behind it if you like. By hand: `whoelse tasks`.",
    "doubt": "Words: `sent`, or `not-sent`, which sends it again. By hand: `whoelse doubts`.",
}
TITLES = {
    "introduction": ("introduction waits", "introductions wait"),
    "answer": ("answer needs a look", "answers need a look"),
    "draft": ("draft to approve", "drafts to approve"),
    "task": ("task", "tasks"),
    "doubt": ("message in doubt", "messages in doubt"),
}


# --- the digest ------------------------------------------------------------------------------------------------------


def _digests(inst: Installation, now: datetime) -> None:
    """The last time of each rep's schedule that came, once. A schedule begins with its first time after it was seen."""
    before: dict[str, str] = json.loads(inst.store.setting(REACHED) or "{}")
    slots: dict[tuple[str, str], Slot | None] = {}
    reached = {}
    for mailbox in inst.config.mailboxes:
        if mailbox.digest:
            time = (mailbox.digest, inst.config.place(mailbox).zone)
            if time not in slots:
                slots[time] = last_slot(*time, now)
            reached[mailbox.address] = before.get(mailbox.address, "")
            with _alone(
                inst, mailbox.address, "there is no digest this morning", f"{mailbox.address} {slots[time]}", now
            ):
                reached[mailbox.address] = _digest_due(inst, mailbox, slots[time], before.get(mailbox.address), now)
    if reached != before:
        inst.store.set_setting(REACHED, json.dumps(reached))


def _digest_due(inst: Installation, mailbox: Mailbox, slot: Slot | None, before: str | None, now: datetime) -> str:
    """The name of the time up to which this rep's schedule was looked at."""
    if slot is None or (before is not None and slot.name <= before):
        return before or ""
    if before is not None and now - slot.at <= DIGEST_LATE:
        with inst.store.transaction():
            if inst.store.fire_slot(f"{REACHED} {mailbox.address}", slot.name, "", now):
                _digest(inst, mailbox, slot.name, now)
    return slot.name


def _digest(inst: Installation, mailbox: Mailbox, slot: str, now: datetime) -> None:
    rep, zone = mailbox.address, inst.config.place(mailbox).zone
    answers, drafts = list(_answers(inst, rep)), list(_drafts(inst, rep, now))
    rows = [inst.store.inbound_message(entry.target) for entry in answers]
    letters = [inst.store.outbox_message(entry.target) for entry in drafts]
    covered = {row.enrollment for row in (*rows, *letters) if row and row.enrollment}
    entries = {
        "introduction": list(_introductions(inst, rep, now)),
        "answer": answers,
        "draft": drafts,
        "task": list(_tasks(inst, rep, covered)),
        "doubt": list(_doubts(inst, rep)),
    }
    today = _today(inst, rep, zone, now)
    if not any(entries.values()) and not today:
        return
    counts = [_count(kind, len(found)) for kind, found in entries.items() if found]
    numbered = _numbered(entry for found in entries.values() for entry in found)
    sections = [
        {
            "title": _count(kind, len(found)),
            "entries": [numbered[entry.target] for entry in found if entry.target in numbered],
            "how": HOW[kind],
        }
        for kind, found in entries.items()
        if found
    ]
    if today:
        plan = {"head": "\n".join(today), "text": ""}
        sections.append({"title": "Going out today, if nothing comes first", "entries": [plan], "how": ""})
    day = day_text(now.astimezone(ZoneInfo(zone)).date(), words_of("en"))
    values = {"day": day, "counts": ", ".join(counts) or f"{len(today)} going out today", "sections": sections}
    _send(inst, mailbox, "digest", slot, values, [e for found in entries.values() for e in found], now)


def _count(kind: str, number: int) -> str:
    return f"{number} {TITLES[kind][number != 1]}"


def _numbered(entries: Iterable[Entry]) -> dict[str, dict[str, str]]:
    """By target: what the templates print. The words of no stranger stand at the head of a line."""
    return {
        entry.target: {
            "head": f"{number}. {' '.join(clean(entry.label).split())}",
            "text": entry.text,
            "handle": entry.handle,
        }
        for number, entry in enumerate(entries, 1)
        if number <= ITEMS_MAX
    }


def _today(inst: Installation, rep: str, zone: str, now: datetime) -> list[str]:
    """What leaves before the rep's midnight, if nobody answers."""
    here = ZoneInfo(zone)
    lines = []
    for e in inst.store.running(rep, ITEMS_MAX * 10):
        sequence = inst.library.sequences.get(e.sequence)
        step = find(sequence, e.step) if sequence else None
        if (
            not sequence
            or not step
            or not sends(step)
            or not e.due_at
            or e.state != "active"
            or e.in_hand not in ("", "outbox")
        ):
            continue
        contact = inst.store.contact(e.contact)
        place = inst.place(contact, rep)
        with contextlib.suppress(NeverOpens):
            opens = inst.config.calendar.opening(step.window or sequence.window, (place,), max(e.due_at, now)).at
            if (due := opens.astimezone(here)).date() == now.astimezone(here).date():
                lines.append(f"{due:%H:%M} {e.sequence}: {e.step}, to {_who(contact)}")
    more = [f"… and {len(lines) - TODAY_MAX} more"] if len(lines) > TODAY_MAX else []
    return [*sorted(lines)[:TODAY_MAX], *more]


# --- the alert -------------------------------------------------------------------------------------------------------


def _alert(inst: Installation, referral: Referral, now: datetime) -> None:
    """By email, and by the program or address that the rep has named. It waits a moment for the draft that answers it."""
    mailbox = inst.config.mailbox(referral.rep)
    draft = _answering(inst, referral)
    introduced = referral.introduced_at or now
    proof = next((m for m in inst.store.moments_of(referral.client) if _began(m, referral)), None)
    known_for = now - (proof.at if proof else introduced)  # the email itself may be hours older
    if draft is None and known_for < DRAFT_PATIENCE and _is_coming(inst, referral, now):
        return
    with inst.store.transaction():
        if not inst.store.fire_slot("alert", referral.id, "", now) or mailbox is None or not referral.waits:
            return
        row = inst.store.inbound_message(proof.message) if proof else None
        client = inst.store.contact(referral.client)
        for kind in ("command", "webhook"):
            if getattr(mailbox.alert, kind):
                facts = json.dumps(_facts(referral, client, row, draft), ensure_ascii=False)
                inst.store.add_alert(Alert(f"{referral.id} {kind}", mailbox.address, kind, facts, now))
        if mailbox.alert.email:
            entries = [_draft(inst, draft, handles([draft.id])[draft.id], now)] if draft else []
            at = introduced.astimezone(ZoneInfo(inst.config.place(mailbox).zone))
            values = {
                "client": _who(client),
                "prospect": referral.prospect.name or referral.prospect.email,
                "at": f"at {at:%H:%M}" if now - introduced < timedelta(hours=12) else f"on {at:%d %B, %H:%M}",
                "words": _start_of(row.text) if row else "",
                "entries": list(_numbered(entries).values()),
            }
            _send(inst, mailbox, "alert", referral.id, values, entries, now)


def _began(moment: Any, referral: Referral) -> bool:
    return bool(moment.referral == referral.id and moment.name == "introduced")


def _answering(inst: Installation, referral: Referral) -> OutboxMessage | None:
    mine = [d for d in outbox.drafts(inst) if d.recipient == referral.prospect.email.lower()]
    return next((d for d in mine if d.mailbox == referral.rep), None)


def _is_coming(inst: Installation, referral: Referral, now: datetime) -> bool:
    """Whether a trigger has still to act, or what it started has still to make its draft."""
    if any(m.fired_at is None for m in inst.store.moments_of(referral.client) if m.referral == referral.id):
        return True
    running = inst.store.enrollments_about(referral.prospect)
    return any(e.client == referral.client and e.next_at is not None and e.next_at <= now for e in running)


def _facts(
    referral: Referral, client: Contact | None, row: InboundMessage | None, draft: OutboxMessage | None
) -> dict[str, Any]:
    """What a program is told; `id` is the same in every try."""
    return {
        "event": "introduced",
        "id": referral.id,
        "at": referral.introduced_at.isoformat(timespec="seconds") if referral.introduced_at else None,
        "rep": referral.rep,
        "client": {"name": client.name, "email": client.email, "company": client.company} if client else None,
        "prospect": {"name": referral.prospect.name, "email": referral.prospect.email},
        "text": row.text if row else "",
        "draft": draft.id if draft else None,
    }


# --- into the outbox -------------------------------------------------------------------------------------------------


def _send(
    inst: Installation,
    mailbox: Mailbox,
    kind: str,
    cause: str,
    values: dict[str, Any],
    entries: Sequence[Entry],
    now: datetime,
    answers: InboundMessage | None = None,
) -> None:
    """One letter, frozen as it is now, once for each cause. `answers` is what it goes on behind."""
    id = inst.store.new_id()
    step = f"{kind} {mailbox.address} {cause}"
    thread = answers.thread if answers else id
    token = desk_token(inst.key, thread)
    zone = inst.config.place(mailbox).zone
    domain = mailbox.address.rpartition("@")[2]
    names = (f"desk {mailbox.address}", step, 1, 0, domain)
    message_id, own_id = compose.message_id(inst.key, *names), compose.own_id(inst.key, *names)
    me = Person(mailbox.name, mailbox.address)
    refs = (*answers.refs.split(), answers.message_id) if answers else ()
    try:
        words = TEMPLATES.render(kind, {**values, "token": token, "marker": MARKER}, "", zone)
        raw = compose.compose(_letter(me, words, (message_id, own_id), refs, zone, now))
    except (RenderError, ValueError) as error:  # one that cannot be written holds up no other
        inst.store.tell(now, "failed", f"the {kind} to {mailbox.address} cannot be written: {error}")
        return
    added = inst.store.add_outbox(
        OutboxMessage(
            id=id, enrollment="", step=step, visit=1, attempt=0, mailbox=mailbox.address, contact="",
            recipient=mailbox.address, state=OutboxState.QUEUED, due_at=now, not_before=now, follow_up=False,
            message_id=message_id, own_id=own_id, thread=thread, subject=words.subject, text=words.text, raw=raw,
            template=kind,
        )
    )  # fmt: skip
    for number, entry in enumerate(entries if added else (), 1):
        if entry.kind and number <= ITEMS_MAX:
            item = Item(thread, number, entry.handle, entry.kind, entry.target, entry.label, entry.shown)
            inst.store.add_item(item)


def _letter(
    me: Person, words: Rendered, ids: tuple[str, str], refs: tuple[str, ...], zone: str, now: datetime
) -> compose.Letter:
    """Our own id stands first in References: where a server changes the Message-ID, the copy that comes back is known by it."""
    message_id, own_id = ids
    return compose.Letter(
        sender=me, recipient=me, subject=words.subject, text=words.text, html=words.html, message_id=message_id, date=now,
        zone=zone, references=(own_id, *refs), in_reply_to=refs[-1] if refs else "", automatic=True,
    )  # fmt: skip


# --- what the rep answers --------------------------------------------------------------------------------------------


def settle(inst: Installation, row: InboundMessage, now: datetime) -> None:
    """A proven answer of the rep: each order in a transaction of its own with the note that it was carried out, then the word on
    all of them. What stops in between goes on where it stopped, and nothing is done twice."""
    orders, strange = read_orders(row.text)
    items = inst.store.items(row.thread)
    done = [_carried_out(inst, row, order, items, now) for order in orders]
    with inst.store.transaction():
        said = "; ".join(done) or "nothing was understood"
        mailbox = inst.config.mailbox(row.mailbox)
        if not inst.store.end_orders(row, said) or mailbox is None:
            return
        inst.store.tell(now, "settled", f"{row.mailbox} answered: {said}", message=row.id)
        unread = [f"Not understood: {line}" for line in strange]
        subject = compose.reply_subject(row.subject)
        values = {"subject": subject, "done": done, "strange": unread or ([] if done else ["Nothing was understood."])}
        _send(inst, mailbox, "settled", row.id, values, (), now, answers=row)


def _carried_out(inst: Installation, row: InboundMessage, order: Order, items: Sequence[Item], now: datetime) -> str:
    """One order, and what it did or why it did nothing, in a line."""
    found = _meant(order, items)
    if isinstance(found, str):
        return f"{order.line}: {found}"
    if why := objection(order, found.kind):
        return f"{order.line}: not done: {why}"
    try:
        with inst.store.transaction():
            said = f"{found.number}. {found.label}: {order.word}"
            if not inst.store.settle_item(replace(found, said=said, message=row.id)):
                before = next(i for i in inst.store.items(row.thread) if i.number == found.number)
                return (
                    before.said
                    if before.message == row.id
                    else f"{order.line}: not done: settled before: {before.said}"
                )
            VERBS[found.kind](inst, found, order, now)
            return said
    except UserError as error:
        return f"{order.line}: not done: {error}"
    except Unusable:
        raise
    except Exception as error:  # a fault of ours in one order holds up no other
        log.exception("%s: the order %r failed", row.mailbox, order.line)
        return f"{order.line}: not done: a fault of whoelse ({type(error).__name__}: {error}); do it by hand"


def _meant(order: Order, items: Sequence[Item]) -> Item | str:
    if order.key:
        found = [i for i in items if order.key in (str(i.number), i.handle)]
        return found[0] if found else "not done: nothing in that letter has this number"
    fitting = [i for i in items if order.word in WORDS[i.kind]]
    return fitting[0] if len(fitting) == 1 else "not done: say the number of what you mean"


def _settle_answer(inst: Installation, item: Item, order: Order, now: datetime) -> None:
    row = inst.store.inbound_message(item.target)
    contact = inst.store.contact(row.contact) if row else None
    if contact:
        lock_person(inst, contact.id)
        row = inst.store.inbound_message(item.target)
    if row is None or contact is None or row.settled_at:
        raise UserError(f"settled already: {row.decision}" if row else "it is kept no longer")
    if any(other.id not in item.shown.split() for other in inst.store.open_inbound_of(contact.id)):
        raise UserError(f"{_who(contact)} has written again since", remedy="whoelse replies shows it")
    values = {"prospect": order.rest} if order.rest else {}
    inbox.settle(inst, contact.email, order.word, values, now, of=row.id)


def _settle_draft(inst: Installation, item: Item, order: Order, now: datetime) -> None:
    draft = inst.store.outbox_message(item.target)
    if draft is None or draft.state is not OutboxState.DRAFT:
        raise UserError("the draft was withdrawn or decided meanwhile")
    decided = (
        outbox.approve(inst, draft, now, shown=item.shown)
        if order.word == "approve"
        else outbox.reject(inst, draft, now)
    )
    if not decided:
        raise UserError("the draft was withdrawn or decided meanwhile")


def _settle_task(inst: Installation, item: Item, order: Order, now: datetime) -> None:
    finish_task(inst, item.target, now, order.rest or "done")


def _settle_doubt(inst: Installation, item: Item, order: Order, now: datetime) -> None:
    message = inst.store.outbox_message(item.target)
    if message is None or not outbox.settle(inst, message, order.word == "sent", now, "the rep says so"):
        raise UserError("the doubt was settled meanwhile")


def _settle_introduction(inst: Installation, item: Item, order: Order, now: datetime) -> None:
    referral = inst.store.referral(item.target)
    if referral is None or not referral.prospect.email:
        raise UserError("it is kept no longer", remedy="whoelse referrals lists what is")
    inbox.mark(inst, referral.prospect.email, order.word, {}, now)


VERBS: dict[str, Callable[[Installation, Item, Order, datetime], None]] = {
    "answer": _settle_answer,
    "draft": _settle_draft,
    "task": _settle_task,
    "doubt": _settle_doubt,
    "introduction": _settle_introduction,
}
