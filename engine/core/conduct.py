"""The rules of conduct that stand between a wish to enroll somebody and doing it. They go by a sequence's kind and beat every
sequence; each refusal says which rule, why and what to do, and whether a recorded reason may override it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.core.needs import Refusal
from engine.core.sequence import Sequence

CONFIRMATION_LASTS = timedelta(days=365)
FINAL = frozenset({"unsubscribed", "complained", "bounced"})


@dataclass(frozen=True)
class Standing:
    """What is known of a person when somebody wants to enroll them. All instants in UTC, None when it never was.

    `running` is the state of the same sequence for the same prospect, empty when there is none. `asked` is the last ask of
    their company within its quarter with the address asked, `conversation` the last mail by hand within the rule's days,
    `declined_at` their last pushback, `rest_until` when its rest ends."""

    email: str
    suppressed: str = ""
    running: str = ""
    confirmed_at: datetime | None = None
    asked: tuple[datetime, str] | None = None
    conversation: datetime | None = None
    rest_until: datetime | None = None


def refusal(sequence: Sequence, standing: Standing, now: datetime) -> Refusal | None:
    """Why this person must not enter this sequence at `now` (UTC), or None."""
    who = standing.email
    if standing.suppressed:
        remedy = "this is final; nothing is ever sent to that address"
        return Refusal("suppressed", f"{who} is suppressed ({standing.suppressed})", remedy)
    if standing.running:
        remedy = f"see whoelse show {who}"
        return Refusal("running", f"{who} is in {sequence.key} already", remedy)
    if (sequence.requires == "confirmed" or sequence.kind == "ask") and not _confirmed(standing, now):
        remedy = f"enroll them in value_review first, or whoelse mark {who} confirmed when they told you so"
        return Refusal("confirmed", f"{who} has not confirmed the value they had within the last year", remedy, True)
    if sequence.kind != "ask":
        return None
    if standing.rest_until and standing.rest_until > now:
        reason = f"{who} declined and rests until {standing.rest_until:%Y-%m-%d}"
        return Refusal("resting", reason, "ask again after that", True)
    if standing.asked:
        at, whom = standing.asked
        return Refusal("asked", f"{whom} was asked on {at:%Y-%m-%d}", "one ask per company and quarter", True)
    if standing.conversation:
        reason = f"a conversation with {who} is alive (mail of {standing.conversation:%Y-%m-%d})"
        return Refusal("conversation", reason, "let it come to rest for 2 business days first", True)
    return None


def _confirmed(standing: Standing, now: datetime) -> bool:
    return standing.confirmed_at is not None and now - standing.confirmed_at <= CONFIRMATION_LASTS
