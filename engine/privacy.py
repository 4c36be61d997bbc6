"""What is kept on a person, and its end: two helpers for the rights of access and erasure (GDPR Art. 15 and 17). Everything that is
theirs goes, and every line about somebody else that names them loses its words; what stays are ids, counts, and the hash of
their addresses, so that nobody writes to them again. Mail in the reps' mailboxes, backups and logs are not ours to reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.core.happening import Stopped
from engine.core.model import Contact, Enrollment, InboundMessage, Person, Referral, State
from engine.decisions import happen
from engine.errors import UserError
from engine.folder import erase, naming
from engine.installation import Installation
from engine.store import Mention, Store

FORGOTTEN = "forgotten"
#: Of an outbox row: what is said of the email, beside its text.
_NOT_EXPORTED = frozenset({"raw", "token", "deadline", "revision", "deferrals", "seen"})


@dataclass(frozen=True)
class Traces:
    """Where a person is found. `own` are enrollments of theirs, `about` those of others that name them, as their prospect or in
    another variable, `behind` those of prospects whom they know as a client."""

    contact: Contact | None
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    own: tuple[Enrollment, ...]
    about: tuple[Enrollment, ...]
    behind: tuple[Enrollment, ...]
    answers: tuple[InboundMessage, ...]
    given: tuple[Referral, ...]
    received: tuple[Referral, ...]
    mentions: tuple[Mention, ...]

    @property
    def nothing(self) -> bool:
        found = (self.own, self.about, self.behind, self.answers, self.given, self.received, self.mentions)
        return self.contact is None and not any(found)


def traces(store: Store, email: str) -> Traces:
    """Everything in the store that is about this person, found by their addresses, their full name, and who named them."""
    contact = store.contact_at(email)
    addresses = tuple(dict.fromkeys([email.strip().lower(), *(store.addresses_of(contact.id) if contact else ())]))
    spoken = _spoken(store, contact, addresses)
    names = tuple(dict.fromkeys(p.name for p in spoken if len(p.name.split()) > 1))
    words = (*addresses, *names)
    people = [Person(email=address) for address in addresses] + [
        Person(p.name, "", p.company) for p in spoken if p.name
    ]
    about = _unique(
        e for found in (*map(store.enrollments_about, people), *map(store.mentioning_enrollments, words)) for e in found
    )
    answers = [m for address in addresses for m in store.inbound_from(address)]
    own = store.enrollments_of(contact.id) if contact else []
    theirs = {e.id for e in own}
    behind = [e for e in store.enrollments_for_client(contact.id) if e.id not in theirs] if contact else []
    answers += store.inbound_of(contact.id) if contact else []
    known = {m.id for m in answers}
    return Traces(
        contact=contact,
        addresses=addresses,
        names=names,
        own=tuple(own),
        about=tuple(e for e in about if e.id not in theirs),
        behind=tuple(behind),
        answers=tuple(_unique(answers)),
        given=tuple(store.referrals_by(contact.id)) if contact else (),
        received=tuple(_unique(r for p in people for r in store.referrals_to(p))),
        mentions=tuple(_unique(m for word in words for m in store.mentions(word) if m.id not in known)),
    )


def _spoken(store: Store, contact: Contact | None, addresses: Iterable[str]) -> list[Person]:
    """How they were called: as a contact, and by those who named them."""
    own = [Person(contact.name, contact.email, contact.company)] if contact and contact.name else []
    named = [r.prospect for address in addresses for r in store.referrals_to(Person(email=address))]
    given = [
        Person(name=str(prospect.get("name", "")), company=str(prospect.get("company", "")))
        for address in addresses
        for e in store.enrollments_about(Person(email=address))
        if isinstance(prospect := e.variables.get("prospect"), Mapping)
    ]
    return [*own, *named, *given]


def _unique(found: Iterable[Any]) -> list[Any]:
    return list({each.id: each for each in found}.values())


# --- access ----------------------------------------------------------------------------------------------------------


def export(store: Store, email: str, taken: str = "") -> dict[str, Any]:
    """Everything stored on a person, fit for JSON; of the watched folder `taken` the files that name them. Raises UserError when
    nothing is."""
    found = traces(store, email)
    suppressions = [s for address in found.addresses if (s := store.suppressed(address))]
    if found.nothing and not suppressions:
        raise UserError(f"nothing is stored on {email}", remedy="whoelse status lists everyone")
    contact = found.contact.id if found.contact else ""
    emails = [m for e in found.own for m in store.outbox_of(e.id)]
    emails += [m for m in store.outbox_to(contact) if m.enrollment not in {e.id for e in found.own}] if contact else []
    return {
        "addresses": list(found.addresses),
        "contact": asdict(found.contact) if found.contact else None,
        "suppressions": [{"reason": s.reason, "at": s.at} for s in suppressions],
        "enrollments": [asdict(e) for e in found.own],
        "emails_to_them": [_without(asdict(m)) for m in emails],
        "answers_of_theirs": [asdict(m) for m in found.answers],
        "history": [asdict(line) for line in store.story(contact)] if contact else [],
        "tasks": [asdict(task) for task in store.tasks_of(contact)] if contact else [],
        "moments": [asdict(moment) for moment in store.moments_of(contact)] if contact else [],
        "schedules": [list(firing) for firing in store.firings_of(contact)] if contact else [],
        "referrals_by_them": [_referral(store, r) for r in found.given],
        "referrals_of_them": [_referral(store, r) for r in found.received],
        "enrollments_about_them": [_about(store, e) for e in (*found.about, *found.behind)],
        "files_of_moments": [str(f) for f in naming(Path(taken), (*found.addresses, *found.names))] if taken else [],
        "mentioned_in": [asdict(m) for m in found.mentions],
    }


def _without(email: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in email.items() if name not in _NOT_EXPORTED}


def _referral(store: Store, referral: Referral) -> dict[str, Any]:
    return {**asdict(referral), "log": [asdict(line) for line in store.referral_lines(referral.id)]}


def _about(store: Store, enrollment: Enrollment) -> dict[str, Any]:
    """Only that it is there: the rest is about somebody else."""
    return {
        "sequence": enrollment.sequence,
        "begun_at": enrollment.begun_at,
        "state": enrollment.state,
        "variables": dict(enrollment.variables),
    }


# --- erasure ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forgotten:
    """What was done: how many enrollments were stopped first, and how many rows were erased or emptied."""

    stopped: int
    enrollments: int
    answers: int
    mentions: int
    referrals: int
    files: int = 0


def forget(inst: Installation, email: str, now: datetime) -> Forgotten:
    """Erases a person everywhere in the store at `now` (UTC), in one transaction. What runs for them or names them is stopped
    first; their addresses stay suppressed, as hashes. Raises UserError when nothing is stored on them."""
    store = inst.store
    with store.transaction():
        before = traces(store, email)
        if before.nothing and not any(map(store.suppressed, before.addresses)):
            raise UserError(f"nothing is stored on {email}", remedy="whoelse status lists everyone")
        running = [e for e in (*before.own, *before.about, *before.behind) if e.state is not State.STOPPED]
        for enrollment in running:
            happen(inst, enrollment.id, Stopped(FORGOTTEN), now)
        found = traces(store, email)  # with what the stopping has written
        _erase(store, found, now)
        for address in found.addresses:
            store.suppress_hash(address, FORGOTTEN, now)
    store.overwrite_erased()
    referrals = len(found.given) + len(found.received)
    taken = inst.config.moments.folder
    files = erase(Path(taken), (*found.addresses, *found.names)) if taken else 0
    return Forgotten(len(running), len(found.own), len(found.answers), len(before.mentions), referrals, files)


def _erase(store: Store, found: Traces, now: datetime) -> None:
    for enrollment in found.own:
        store.erase_story_of(enrollment=enrollment.id)
    for enrollment in (*found.about, *found.behind):
        _empty(store, enrollment, found, now)
    for message in found.answers:
        store.erase_inbound(message, now)
    for mention in found.mentions:
        store.erase_mention(mention, now)
    for word in (*found.addresses, *found.names):
        store.erase_reasons(word)
    for referral in found.received:
        if proof := store.inbound_message(referral.proof) if referral.proof else None:
            store.erase_mention(Mention("answer", proof.id, proof.subject, proof.text), now)
        store.erase_prospect(referral)
    if found.contact:
        store.erase_story_of(contact=found.contact.id)
        store.erase_contact(found.contact.id)


def _empty(store: Store, enrollment: Enrollment, found: Traces, now: datetime) -> None:
    """Somebody else's enrollment that was about them: that it was there stays, not what it said."""
    store.erase_story_of(enrollment=enrollment.id)
    for message in store.outbox_of(enrollment.id):
        store.erase_mention(Mention("email", message.id, message.subject, message.text), now)
    if enrollment in found.about:
        emptied = replace(enrollment, variables={}, revision=enrollment.revision + 1)
        store.save_enrollment(emptied, enrollment.revision)
