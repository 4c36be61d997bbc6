"""What is known of a person before anything is done about them: who they are, and what the rules of conduct must know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from engine.core import conduct
from engine.core.address import person_of, prospect_key, same_prospect
from engine.core.calendar import Place
from engine.core.model import Contact, Enrollment, OutboxState, State
from engine.core.sequence import Sequence
from engine.installation import Installation


def known_or_new(inst: Installation, address: str, rep: str, given: Mapping[str, Any]) -> Contact:
    known = inst.store.contact_at(address)
    if known is None:
        return inst.store.add_contact(Contact(id="", email=address, owner=rep, **given))
    if given and (changed := replace(known, **given)) != known:
        inst.store.save_contact(changed)
        return changed
    return known


def standing(
    inst: Installation,
    sequence: Sequence,
    contact: Contact,
    prospect: Any,
    now: datetime,
    own: str = "",
    root: str = "",
) -> conduct.Standing:
    """What the rules of conduct must know. `own` is the enrollment that asks, `root` its family, which does not count."""
    store, config = inst.store, inst.config
    suppression = store.suppressed(contact.email)
    twin = store.running_twin(contact.id, sequence.key, prospect_key(prospect))
    back = partial(config.calendar.add, place=_place(inst, contact), sign=-1)
    asked = [
        (at, email)
        for key, at, email in store.begun_at_company(contact, root, back(now, config.ask_every))
        if _kind(inst, key) == "ask"
    ]
    mail = store.last_human_mail(contact.id, back(now, config.conversation), root)
    noes = pushbacks(inst, contact)
    about = [
        no.at
        for no in noes
        if prospect and same_prospect(person_of(no.enrollment.variables.get("prospect")), person_of(prospect))
    ]
    return conduct.Standing(
        email=contact.email,
        suppressed=suppression.reason if suppression else "",
        running=twin.state if twin and twin.id != own else "",
        confirmed_at=contact.confirmed_at,
        asked=asked[0] if asked else None,
        conversation=mail.received_at if mail else None,
        rest_until=_rested(inst, contact, (no.at for no in noes)),
        refused_until=_rested(inst, contact, about),
        favoured=_favoured(inst, contact, max((no.at for no in noes), default=None), own),
    )


@dataclass(frozen=True)
class Pushback:
    """A clear no of a person's: when, and to what."""

    at: datetime
    enrollment: Enrollment


def pushbacks(inst: Installation, contact: Contact) -> list[Pushback]:
    """Every enrollment of theirs that ended with a no, with when it was said."""
    declined = {e.id: e for e in inst.store.enrollments_of(contact.id) if e.outcome == "declined"}
    if not declined:
        return []
    said = {line.enrollment: line.at for line in inst.store.story(contact.id) if line.kind == "stopped"}
    return [Pushback(said.get(id, e.done_at or e.begun_at), e) for id, e in declined.items()]


def _rested(inst: Installation, contact: Contact, noes: Iterable[datetime]) -> datetime | None:
    last = max(noes, default=None)
    return inst.config.calendar.add(last, inst.config.rest, _place(inst, contact)) if last else None


def _favoured(inst: Installation, contact: Contact, since: datetime | None, own: str) -> datetime | None:
    """When a smaller favour was offered after the no, or is about to be."""
    if since is None:
        return None
    favours = [e for e in inst.store.enrollments_of(contact.id) if _kind(inst, e.sequence) == "favour" and e.id != own]
    begun = [e.begun_at for e in favours if e.begun_at > since and (e.answered or e.state in OFFERING)]
    return max(begun, default=None)


OFFERING = frozenset({State.ACTIVE, State.HELD, State.PAUSED})


def _kind(inst: Installation, sequence: str) -> str:
    known = inst.library.sequences.get(sequence)
    return known.kind if known else ""


def _place(inst: Installation, contact: Contact) -> Place:
    """Where the person is, as far as that is known."""
    if inst.config.mailbox(contact.owner):
        return inst.place(contact, contact.owner)
    return inst.config.place(inst.config.mailboxes[0])


# --- in words --------------------------------------------------------------------------------------------------------


def rules(inst: Installation, contact: Contact, now: datetime) -> list[str]:
    """What the rules of conduct say about this person at `now` (UTC): what is held for them and until when, and whether they may
    be asked. Empty for somebody who is known as a prospect alone."""
    if inst.store.suppressed(contact.email):
        return ["nothing is sent to them any more, whatever starts: this is final"]
    zone = ZoneInfo(_place(inst, contact).zone)
    said = []
    if hold := inst.store.contact_hold(contact.id, now):
        said.append(f"everything is held until {_day(hold[0], zone)}: {hold[1]}")
    if quiet := capped(inst, contact, "", now):
        said.append(f"other sequences wait until {_day(quiet[0], zone)}: {quiet[1]}")
    asks = [sequence for sequence in inst.library.sequences.values() if sequence.kind == "ask"]
    against = [[*conduct.refusals(ask, standing(inst, ask, contact, None, now), now)] for ask in asks]
    if against and all(against):
        said.append("not to be asked now: " + "; ".join(each.reason for each in min(against, key=len)))
    elif against:
        said.append("may be asked: nothing stands against it")
    return said


def _day(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).strftime("%a %-d %b %Y %H:%M")


def capped(inst: Installation, contact: Contact, root: str, now: datetime) -> tuple[datetime, str] | None:
    """The frequency cap: until when an email outside of the family of enrollments `root` must wait, and why, where that is
    after `now` (UTC). One cap is for the person, another for everybody at their company, whichever rep writes."""
    store, config, place = inst.store, inst.config, _place(inst, contact)
    found = []
    if last := store.last_unrelated(contact.id, root):
        at, sequence, state = last
        if state is OutboxState.CLAIMED:  # it is sent by then, or never was
            found.append((at, f"{contact.email} is just being written to by {sequence}"))
        else:
            why = f"{contact.email} heard from {sequence} less than {config.frequency_cap.text} ago"
            found.append((config.calendar.add(at, config.frequency_cap, place), why))
    other = None if config.company_cap.is_nothing else store.last_at_company(contact, root)
    if other:
        why = f"{other[2]}, of the same company, heard from {other[1]} less than {config.company_cap.text} ago"
        heard = min(other[0], now)  # one that is under way has its deadline for a time, and arrives now
        found.append((config.calendar.add(heard, config.company_cap, place), why))
    return max((each for each in found if each[0] > now), default=None)
