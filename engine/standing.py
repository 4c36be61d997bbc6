"""What is known of a person before anything is done about them: who they are, and what the rules of conduct must know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from engine.core import conduct
from engine.core.address import prospect_key
from engine.core.model import Contact
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
    place = inst.place(contact, contact.owner) if inst.config.mailbox(contact.owner) else None
    suppression = store.suppressed(contact.email)
    twin = store.running_twin(contact.id, sequence.key, prospect_key(prospect))
    add = partial(config.calendar.add, place=place or config.place(config.mailboxes[0]), sign=-1)
    kinds = {key: s.kind for key, s in inst.library.sequences.items()}
    asked = [
        (at, email)
        for key, at, email in store.begun_at_company(contact, root, add(now, config.ask_every))
        if kinds.get(key) == "ask"
    ]
    mail = store.last_human_mail(contact.id, add(now, config.conversation)) if not root else None
    declined = [e for e in store.enrollments_of(contact.id) if e.outcome == "declined" and e.done_at]
    rests = [config.calendar.add(e.done_at, config.rest, add.keywords["place"]) for e in declined if e.done_at]
    return conduct.Standing(
        email=contact.email,
        suppressed=suppression.reason if suppression else "",
        running=twin.state if twin and twin.id != own else "",
        confirmed_at=contact.confirmed_at,
        asked=asked[0] if asked else None,
        conversation=mail.received_at if mail else None,
        rest_until=max(rests, default=None),
    )
