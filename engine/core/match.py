"""To which email, person and enrollment a message belongs: by the ids that it names, whoever sent it; then by who sent it. Never by
subject alone, never by Reply-To. What can only be guessed is said to be a guess, and the rep is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from engine.core.address import prospect_key
from engine.core.machine import RUNNING
from engine.core.model import Contact, Enrollment, Event, Message, OutboxMessage, Person, Reading, State

NAMED_IDS_MAX = 60
#: So many characters of ours in a row are no accident.
QUOTE_LENGTH = 40
_ID = re.compile(r"<[^<>\s@]{8,120}@[^<>\s@]{1,200}>")
_PREFIX = re.compile(r"^\s*((re|aw|sv|vs|antw|odp|rif|res|fw|fwd|wg|tr|回复|答复|返信)\s*(\[\d+\])?\s*[::]\s*)+", re.I)
REPORTS = frozenset({Event.BOUNCED, Event.SOFT_BOUNCED, Event.DELAYED, Event.COMPLAINED})


@dataclass(frozen=True)
class Match:
    """`rule` says how it was found ("reference", "own_id", "report", "sender", "quote", "copy", "maybe", or "" for not at all),
    `email` is the one that is answered, if known, `contact` the person whose story it belongs to."""

    rule: str = ""
    email: OutboxMessage | None = None
    contact: Contact | None = None


@dataclass(frozen=True)
class Known:
    """What the matcher may ask: `sent` finds an email of ours by any of some ids, `contact` by id, `at` by address, `colleagues`
    are the contacts at an address's company, `last` the last email to a contact."""

    sent: Callable[[Iterable[str]], OutboxMessage | None]
    contact: Callable[[str], Contact | None]
    at: Callable[[str], Contact | None]
    colleagues: Callable[[str], list[Contact]]
    last: Callable[[str], OutboxMessage | None]


def by_reference(message: Message, known: Known) -> Match:
    """What In-Reply-To and References name (RFC 5322 §3.6.4), the nearest first; then our ids anywhere in the text. Whoever had
    a copy answers for themselves: it is no answer of the one to whom the email went."""
    ids = (*message.in_reply_to, *reversed(message.references))[:NAMED_IDS_MAX]
    if email := known.sent(dict.fromkeys(ids)):
        return _copied_to(message.sender.email, email, known) or Match("reference", email, known.contact(email.contact))
    inside = _ID.findall(message.text[:200_000]) + _ID.findall(message.html[:200_000])
    if email := known.sent(list(dict.fromkeys(inside))[:NAMED_IDS_MAX]):
        return _copied_to(message.sender.email, email, known) or Match("own_id", email, known.contact(email.contact))
    return Match()


def _copied_to(sender: str, email: OutboxMessage, known: Known) -> Match | None:
    contact = known.at(sender)
    return Match("copy", None, contact) if contact and contact.email in email.bcc else None


def by_report(reading: Reading, known: Known) -> Match:
    """A bounce is believed only when it names a message of ours, and a recipient of that message or none at all. One of somebody
    in Bcc is about them; one that does not say whom of several it means is a guess."""
    email = known.sent(reading.originals)
    if email is None:
        return Match()
    failed = {r.lower() for r in reading.recipients}
    if not failed and email.bcc:
        return Match("maybe", email, known.contact(email.contact))
    if failed and email.recipient not in failed:
        copied = next((known.at(address) for address in email.bcc if address in failed), None)
        return Match("copy", None, copied) if copied else Match()
    return Match("report", email, known.contact(email.contact))


def by_sender(message: Message, known: Known) -> Match:
    """From a contact or an alias; else from their company with words of ours in it; else, with our subject, a guess."""
    if contact := known.at(message.sender.email):
        return Match("sender", known.last(contact.id), contact)
    for contact in known.colleagues(message.sender.email):
        email = known.last(contact.id)
        if email is None:
            continue
        if quotes(message.text or message.html, email.text):
            return Match("quote", email, contact)
        if bare_subject(message.subject) == bare_subject(email.subject) != bare_subject(""):
            return Match("maybe", email, contact)
    return Match()


def bare_subject(subject: str) -> str:
    """Without "Re:" and its like, for comparing."""
    return _PREFIX.sub("", subject).strip().lower()


def quotes(text: str, ours: str) -> bool:
    """Whether a long enough line of ours stands in their text, however it was wrapped or marked."""
    there = bare(text)
    return any(len(line) >= QUOTE_LENGTH and line[: QUOTE_LENGTH * 2] in there for line in map(bare, ours.splitlines()))


def bare(text: str) -> str:
    """Letters and figures alone, for comparing what was wrapped and marked on its way."""
    return re.sub(r"[\W_]+", "", re.sub(r"(?m)^[>\s]+", "", text)).lower()


def hearer(
    enrollments: list[Enrollment], answered: str, events: tuple[Event, ...], people: tuple[Person, ...]
) -> Enrollment | None:
    """The one enrollment of a person that handles an event.

    For an introduction the one for that prospect; else the one whose email is answered (`answered` is its id), or, where that one
    only listens, the same that was begun anew since; if it has ended, its youngest descendant that still runs; else the youngest
    that runs, listens, or ended, in this order."""
    if Event.INTRODUCED in events:
        about = [e for e in enrollments if _is_about(e, _keys(people)) and e.state is not State.STOPPED]
        if about:
            return _youngest(about)
    own = next((e for e in enrollments if e.id == answered), None)
    if own is None:
        return _youngest(enrollments)
    if own.state in RUNNING:
        return own
    if own.state is State.LISTENING:
        return next((e for e in enrollments if e.state in RUNNING and _is_same(e, own)), own)
    younger = [e for e in _descendants(enrollments, own) if e.state in RUNNING]
    if younger:
        return _youngest(younger)
    listening = [e for e in _descendants(enrollments, own) if e.state is State.LISTENING]
    return _youngest(listening) or own


def hearers(
    enrollments: list[Enrollment], answered: str, events: tuple[Event, ...], people: tuple[Person, ...]
) -> list[tuple[Enrollment, tuple[Person, ...]]]:
    """Everyone who handles an event, with the people that concern them: one enrollment, but an introduction of several people
    is heard by the enrollment of each. Whoever none is about goes with the first."""
    chosen = hearer(enrollments, answered, events, people)
    if chosen is None:
        return []
    groups: dict[str, tuple[Enrollment, tuple[Person, ...]]] = {}
    for person in people if Event.INTRODUCED in events else ():
        about = hearer(enrollments, "", events, (person,))
        if about and _is_about(about, _keys((person,))) and about.state is not State.STOPPED:
            groups[about.id] = (about, (*groups.get(about.id, (about, ()))[1], person))
    heard = {p for _, those in groups.values() for p in those}
    rest = tuple(p for p in people if p not in heard)
    if not groups:
        return [(chosen, people)]
    (first, those), *others = groups.values()
    return [(first, (*those, *rest)), *others]


def _keys(people: tuple[Person, ...]) -> set[str]:
    return {prospect_key(p) for p in people} | {p.name.lower() for p in people if p.name}


def _is_about(enrollment: Enrollment, keys: set[str]) -> bool:
    prospect = enrollment.variables.get("prospect")
    return prospect is not None and bool({prospect_key(prospect), str(prospect.get("name", "")).lower()} & keys)


def _is_same(one: Enrollment, other: Enrollment) -> bool:
    """Two for one person, sequence and prospect: only one of them may run."""
    keys = [(e.contact, e.sequence, prospect_key(e.variables.get("prospect"))) for e in (one, other)]
    return keys[0] == keys[1]


def _youngest(enrollments: list[Enrollment]) -> Enrollment | None:
    """Running before listening before ended; then the one begun last."""
    order = {State.LISTENING: 1, State.STOPPED: 0}
    best: tuple[int, datetime] | None = None
    found = None
    for enrollment in enrollments:
        rank = (order.get(enrollment.state, 2), enrollment.begun_at)
        if best is None or rank >= best:
            best, found = rank, enrollment
    return found


def _descendants(enrollments: list[Enrollment], ancestor: Enrollment) -> list[Enrollment]:
    found, ids = [], {ancestor.id}
    for enrollment in sorted(enrollments, key=lambda e: (e.begun_at, e.id)):
        if enrollment.parent in ids:
            ids.add(enrollment.id)
            found.append(enrollment)
    return found
