"""The rules of conduct that stand between a wish to enroll somebody and doing it. They go by a sequence's kind and beat every
sequence; each refusal says which rule, why and what to do, and whether a recorded reason may override it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.core.needs import Refusal
from engine.core.sequence import Sequence

CONFIRMATION_LASTS = timedelta(days=365)
#: Every rule, by the word that a refusal has.
RULES = frozenset({"suppressed", "running", "confirmed", "resting", "favoured", "asked", "conversation"})
#: What is not tried while somebody rests, and what asks for one prospect's introduction.
RESTS, INTRODUCTIONS = frozenset({"ask", "favour"}), frozenset({"intro", "follow_up"})


@dataclass(frozen=True)
class Standing:
    """What is known of a person when somebody wants to enroll them. All instants in UTC, None when it never was.

    `running` is the state of the same sequence for the same prospect, empty when there is none. `asked` is the last ask of
    their company within its quarter with the address asked, `conversation` the last mail by hand within the rule's days other
    than what this start answers. `rest_until` is when the rest after their last pushback ends, `refused_until` the same where they
    would not introduce this very prospect, and `favoured` when a smaller favour was offered since that pushback."""

    email: str
    suppressed: str = ""
    running: str = ""
    confirmed_at: datetime | None = None
    asked: tuple[datetime, str] | None = None
    conversation: datetime | None = None
    rest_until: datetime | None = None
    refused_until: datetime | None = None
    favoured: datetime | None = None


def refusal(sequence: Sequence, standing: Standing, now: datetime) -> Refusal | None:
    """Why this person must not enter this sequence at `now` (UTC), the gravest reason, or None."""
    return next(iter(refusals(sequence, standing, now)), None)


def refusals(sequence: Sequence, standing: Standing, now: datetime) -> Iterator[Refusal]:
    """Every rule that stands against it, the gravest first; those that no reason overrides come before the others."""
    who = standing.email
    if standing.suppressed:
        remedy = "this is final; nothing is ever sent to that address"
        yield Refusal("suppressed", f"{who} is suppressed ({standing.suppressed})", remedy)
    if standing.running:
        remedy = f"see whoelse show {who}"
        yield Refusal("running", f"{who} is in {sequence.key} already", remedy)
    if (sequence.requires == "confirmed" or sequence.kind == "ask") and not _confirmed(standing, now):
        remedy = f"enroll them in value_review first, or whoelse mark {who} confirmed when they told you so"
        yield Refusal("confirmed", f"{who} has not confirmed the value they had within the last year", remedy, True)
    yield from _after_a_no(sequence, standing, now)
    if sequence.kind == "ask":
        yield from _ask(standing)


def _after_a_no(sequence: Sequence, standing: Standing, now: datetime) -> Iterator[Refusal]:
    """Pushback means stop: no second push on the same, and after the rest one smaller favour, once."""
    who, until = standing.email, standing.rest_until
    if sequence.kind in RESTS and until and until > now:
        reason = f"{who} declined and rests until {until:%Y-%m-%d}"
        yield Refusal("resting", reason, "ask again after that", True)
    until = standing.refused_until
    if sequence.kind in INTRODUCTIONS and until and until > now:
        reason = f"{who} would rather not introduce this prospect, and is left in peace with it until {until:%Y-%m-%d}"
        yield Refusal("resting", reason, "write to the prospect without the client's name", True)
    if sequence.kind == "favour" and standing.favoured:
        reason = f"{who} was offered a smaller favour on {standing.favoured:%Y-%m-%d}, after their last no"
        yield Refusal("favoured", reason, "it is offered once", True)


def _ask(standing: Standing) -> Iterator[Refusal]:
    if standing.asked:
        at, whom = standing.asked
        yield Refusal("asked", f"{whom} was asked on {at:%Y-%m-%d}", "one ask per company and quarter", True)
    if standing.conversation:
        reason = f"a conversation with {standing.email} is alive (mail of {standing.conversation:%Y-%m-%d})"
        yield Refusal("conversation", reason, "let it come to rest for 2 business days first", True)


def _confirmed(standing: Standing, now: datetime) -> bool:
    return standing.confirmed_at is not None and now - standing.confirmed_at <= CONFIRMATION_LASTS
