"""How the emails themselves fare: of each step and variant, how many were answered, came back or brought an opt-out. An answer
counts for the last email that the person had got before it, and no rate is told without the interval that its number carries."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from engine.core.model import HUMAN, Event, OutboxState
from engine.core.proportion import Share
from engine.installation import Installation
from engine.store import Emailed

OPT_OUTS = frozenset({Event.UNSUBSCRIBED, Event.COMPLAINED})


@dataclass(frozen=True)
class Rate:
    """The emails of one step, or of one arm of it (`variant`). `replied` is of those that arrived, by a human and other than
    to opt out; the two others are of all that were sent."""

    sequence: str
    step: str
    variant: str
    replied: Share
    bounced: Share
    opted_out: Share

    @property
    def sent(self) -> int:
        return self.bounced.of


def rates(inst: Installation, first: datetime, after: datetime, rep: str = "") -> list[Rate]:
    """Of the emails that left from `first` until before `after` (UTC), to clients and prospects, by sequence, step and variant.
    `rep` keeps one rep's."""
    answered = _answered(inst)
    groups: dict[tuple[str, str, str], list[Emailed]] = defaultdict(list)
    for email in inst.store.emailed():
        if first <= email.at < after and (not rep or email.rep == rep):
            groups[email.sequence, email.step, variant_of(inst, email.sequence, email.step, email.template)].append(
                email
            )
    return [_rate(key, emails, answered) for key, emails in sorted(groups.items())]


def variant_of(inst: Installation, sequence: str, step: str, template: str) -> str:
    """The arm of a step that wrote with this template; empty where the step has none."""
    known = inst.library.sequences.get(sequence)
    found = next((s for s in known.steps if s.id == step), None) if known else None
    return next((arm for arm, name in found.variants.items() if name == template), "") if found else ""


def _answered(inst: Installation) -> dict[str, set[str]]:
    """What came back to each email, by its id."""
    got: dict[str, list[Emailed]] = defaultdict(list)
    for email in inst.store.emailed():
        got[email.contact].append(email)
    found: dict[str, set[str]] = defaultdict(set)
    for contact, event, at in inst.store.answers_by_contact():
        emails = got.get(contact, [])
        place = bisect_left(emails, at, key=lambda email: email.at)
        if place:
            found[emails[place - 1].id].add(event)
    return found


def _rate(key: tuple[str, str, str], emails: list[Emailed], answered: dict[str, set[str]]) -> Rate:
    sent, back = len(emails), sum(email.state == OutboxState.REFUSED for email in emails)
    heard = [answered.get(email.id, set()) for email in emails]
    out = sum(bool(events & OPT_OUTS) for events in heard)
    replied = sum(bool(events & (HUMAN - OPT_OUTS)) for events in heard)
    return Rate(*key, Share(min(replied, sent - back), sent - back), Share(back, sent), Share(out, sent))
