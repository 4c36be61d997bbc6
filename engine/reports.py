"""What came of it all, counted in clients: the funnel from the asking to the won prospect, the arms of a variant side by side, the
clients who were never asked and why, and how soon a prospect heard from the rep. It only reads, and claims nothing that the
numbers do not carry."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from engine.core import conduct
from engine.core.calendar import to_utc
from engine.core.model import Contact, Referral
from engine.core.proportion import Claim, Share, claim
from engine.installation import Installation
from engine.rates import variant_of
from engine.standing import standing
from engine.store import Written

STAGES = ("asked", "confirmed", "named", "introduced", "met", "won")
GROUPS = ("rep", "sequence", "step", "variant", "period", "segment")
#: A group by a field of the client's, of the contact or of one's own: `client.country`. `segment` is short for `client.segment`.
CLIENT_FIELD = "client."
OWN_FIELDS = ("company", "country", "language", "zone", "title", "owner")
PERIODS = ("week", "month", "quarter", "year")
#: The kinds of sequences that lead to an introduction; the total and the reps are counted over these.
PATH = frozenset({"review", "ask", "intro", "follow_up"})
#: What a kind of sequence is for; the arms of its variants are compared by it.
GOALS: Mapping[str, tuple[str, ...]] = {
    "review": ("confirmed",),
    "ask": ("named", "introduced"),
    "intro": ("introduced",),
    "follow_up": ("introduced",),
}
#: Speed to the prospect: the aim, and when a lead is as good as cold.
SOON, COLD = timedelta(minutes=30), timedelta(hours=48)
BEGINNING, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


# --- what happened ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """One email to a client, with the names of the groups that it belongs to. The period is that in which its family of enrollments
    wrote first: what comes of it belongs there, and nowhere twice."""

    mail: Written
    kind: str
    variant: str
    period: str
    client: Contact | None = None


#: When each stage was reached in a family of enrollments, once for each person who was referred.
Reached = Mapping[str, Mapping[str, list[datetime]]]


@dataclass(frozen=True)
class Past:
    """Everything that is counted, read once."""

    sent: tuple[Sent, ...]
    reached: Reached


def past(
    inst: Installation, period: str = "month", since: date | None = None, until: date | None = None, rep: str = ""
) -> Past:
    """What was sent to clients from `since` to `until` (days in the company's zone, both included; None: all), and what came of
    it at any time after. `rep` keeps one rep's."""
    zone = ZoneInfo(inst.config.company.zone)
    mails = [m for m in inst.store.sent_to_clients(*span(inst, since, until)) if not rep or m.rep == rep]
    clients = {contact.id: contact for contact in inst.store.contacts()}
    begun: dict[str, datetime] = {}
    for mail in mails:
        begun.setdefault(mail.root, mail.at)
    sent = tuple(_sent(inst, m, clients.get(m.client), period_of(begun[m.root], period, zone)) for m in mails)
    return Past(sent, _reached(inst))


def span(inst: Installation, since: date | None = None, until: date | None = None) -> tuple[datetime, datetime]:
    """From the beginning of one day until before the end of another, in UTC; the days are in the company's zone."""
    zone = inst.config.company.zone
    first = to_utc(datetime.combine(since, time.min), zone) if since else BEGINNING
    return first, to_utc(datetime.combine(until + timedelta(days=1), time.min), zone) if until else END


def _sent(inst: Installation, mail: Written, client: Contact | None, period: str) -> Sent:
    sequence = inst.library.sequences.get(mail.sequence)
    variant = variant_of(inst, mail.sequence, mail.step, mail.template)
    return Sent(mail, sequence.kind if sequence else "", variant, period, client)


def period_of(at: datetime, period: str, zone: ZoneInfo) -> str:
    """`2026-W10`, `2026-03`, `2026-Q1` or `2026`."""
    day = at.astimezone(zone).date()
    match period:
        case "week":
            year, week, _ = day.isocalendar()
            return f"{year}-W{week:02}"
        case "quarter":
            return f"{day.year}-Q{(day.month + 2) // 3}"
        case "year":
            return f"{day.year}"
    return f"{day:%Y-%m}"


def _reached(inst: Installation) -> Reached:
    """By family, or by client where nobody knows from which family a referral came."""
    found: dict[str, dict[str, list[datetime]]] = defaultdict(lambda: defaultdict(list))
    for answer in inst.store.answers_of_clients():
        found[answer.root]["answered"].append(answer.at)
        if answer.event == "confirmed":
            found[answer.root]["confirmed"].append(answer.at)
    families = inst.store.families_of_referrals()
    for referral in inst.store.referrals():
        for stage, at in dates(referral).items():
            found[families.get(referral.id, referral.client)][stage].append(at)
    return found


def dates(referral: Referral) -> dict[str, datetime]:
    """When a referral reached each stage; who was introduced was named by it."""
    given = {stage: getattr(referral, f"{stage}_at") for stage in ("named", "introduced", "met", "won")}
    return {stage: at for stage, at in given.items() if at}


# --- the funnel ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Funnel:
    """How many clients of one group were asked, and how many of them reached each stage after that."""

    group: Mapping[str, str]
    counts: Mapping[str, int]

    def share(self, *stages: str) -> Share:
        """Of those asked, who reached the stage."""
        return Share(self.counts[stages[0]], self.counts["asked"])


def funnel(found: Past, by: Iterable[str] = (), total: bool = False) -> list[Funnel]:
    """One funnel for each group, in the order of their names; without `by` a single one. `total`: only sequences that lead to an
    introduction.

    A client counts once in each group: from the first email of it, by what came after that in the same family of enrollments."""
    names = tuple(by)
    first: dict[tuple[str, ...], dict[str, list[Written]]] = defaultdict(lambda: defaultdict(list))
    for sent in found.sent:
        if not total or sent.kind in PATH:
            key = tuple(_group(sent, name) for name in names)
            first[key][sent.mail.client].append(sent.mail)
    return [
        Funnel(dict(zip(names, key, strict=True)), _counts(found.reached, clients))
        for key, clients in sorted(first.items(), key=lambda item: item[0])
    ]


def _group(sent: Sent, name: str) -> str:
    if name == "segment" or name.startswith(CLIENT_FIELD):
        return field_of(sent.client, name.removeprefix(CLIENT_FIELD))
    own = {"variant": sent.variant, "period": sent.period}
    return own[name] if name in own else str(getattr(sent.mail, name))


def field_of(client: Contact | None, name: str) -> str:
    """What is kept under that name of a client; empty where nothing is."""
    if client is None:
        return ""
    return str(getattr(client, name) if name in OWN_FIELDS else client.fields.get(name, "") or "")


def _counts(reached: Reached, clients: Mapping[str, list[Written]]) -> dict[str, int]:
    stages = ("answered", *STAGES[1:])
    return {
        "asked": len(clients),
        **{stage: sum(_has(reached, mails, (stage,)) for mails in clients.values()) for stage in stages},
    }


def _has(reached: Reached, mails: Iterable[Written], stages: Iterable[str]) -> bool:
    """Whether any stage was reached in the family of one of these emails, or of its client, after it."""
    return any(
        at > mail.at
        for mail in mails
        for owner in (mail.root, mail.client)
        for stage in stages
        for at in reached.get(owner, {}).get(stage, ())
    )


# --- variants --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """The arms of one step, by the goal of its sequence: how many clients got each, and how many of them reached it."""

    sequence: str
    step: str
    goal: str
    arms: Mapping[str, Share]
    claim: Claim

    @property
    def conclusion(self) -> str:
        """What may be said of the arms in words; never more than chance allows."""
        p = f"p = {self.claim.p:.2g}"
        if len(self.arms) < 2:
            return "only one arm has been sent yet: no difference can be claimed"
        if not self.claim.better:
            return f"no difference can be claimed ({p})"
        return f"{self.claim.better} does better than {self.claim.worse} ({p})"


def comparisons(found: Past) -> list[Comparison]:
    """Every step with variants that has sent anything. A client belongs to the arm that was sent to them first."""
    steps: dict[tuple[str, str], dict[str, Sent]] = defaultdict(dict)
    for sent in found.sent:
        if sent.variant:
            steps[sent.mail.sequence, sent.mail.step].setdefault(sent.mail.client, sent)
    return [_comparison(found, key, clients) for key, clients in sorted(steps.items())]


def _comparison(found: Past, key: tuple[str, str], clients: Mapping[str, Sent]) -> Comparison:
    goals = GOALS.get(next(iter(clients.values())).kind, ("answered",))
    people: dict[str, list[Sent]] = defaultdict(list)
    for sent in clients.values():
        people[sent.variant].append(sent)
    arms = {
        arm: Share(sum(_has(found.reached, (sent.mail,), goals) for sent in theirs), len(theirs))
        for arm, theirs in sorted(people.items())
    }
    return Comparison(*key, " or ".join(goals), arms, claim(arms))


# --- coverage --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unasked:
    """A client who was never asked. `why` is the rule in a word, `reason` a sentence."""

    client: Contact
    why: str
    reason: str


@dataclass(frozen=True)
class Coverage:
    """How many clients there are, how many of them were ever asked, and the others."""

    clients: int
    asked: int
    unasked: tuple[Unasked, ...] = field(default=())


WHYS = {
    "suppressed": "never to be mailed",
    "running": "the ask is on its way",
    "confirmed": "value not confirmed",
    "resting": "resting after a no",
    "asked": "somebody at the company was asked",
    "conversation": "a conversation is alive",
    "no moment": "no moment yet",
}


def coverage(inst: Installation, now: datetime, rep: str = "") -> Coverage:
    """Who was never asked, and why not at `now` (UTC), by the rules that would refuse them today."""
    asks = {key for key, sequence in inst.library.sequences.items() if sequence.kind == "ask"}
    asked = {client for client, sequence in inst.store.asked_clients() if sequence in asks}
    clients = [client for client in inst.store.clients() if not rep or client.owner == rep]
    unasked = tuple(_unasked(inst, client, asks, now) for client in clients if client.id not in asked)
    order = list(WHYS)
    ordered = sorted(unasked, key=lambda u: (order.index(u.why), u.client.email))
    return Coverage(len(clients), len(clients) - len(unasked), tuple(ordered))


def _unasked(inst: Installation, client: Contact, asks: Iterable[str], now: datetime) -> Unasked:
    """Of several asks the one that is nearest to being possible."""
    order = list(WHYS)
    found = Unasked(client, "no moment", "nothing stands against it: enroll them, or report a moment")
    refused = []
    for key in sorted(asks):
        sequence = inst.library.sequences[key]
        refusal = conduct.refusal(sequence, standing(inst, sequence, client, None, now), now)
        if refusal is None:
            return found
        refused.append(Unasked(client, refusal.rule if refusal.rule in WHYS else "no moment", str(refusal)))
    return min(refused, key=lambda u: order.index(u.why), default=found)


# --- speed -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speed:
    """How often a prospect was answered within 30 minutes and 48 hours of the introduction, by an email of ours or by the rep's own
    hand. One whose time is still running counts in neither; `waiting` are the introduced whom nobody has answered yet."""

    rep: str
    soon: Share
    warm: Share
    waiting: tuple[Referral, ...]


def speeds(inst: Installation, now: datetime, rep: str = "", since: date | None = None) -> list[Speed]:
    """One for each rep who was introduced to somebody, since a day (in the company's zone), at `now` (UTC)."""
    zone = ZoneInfo(inst.config.company.zone)
    by_rep: dict[str, list[Referral]] = defaultdict(list)
    for referral in inst.store.referrals():
        at = referral.introduced_at
        if at and (not rep or referral.rep == rep) and (not since or at.astimezone(zone).date() >= since):
            by_rep[referral.rep].append(referral)
    return [_speed(name, theirs, now) for name, theirs in sorted(by_rep.items())]


def _speed(rep: str, referrals: list[Referral], now: datetime) -> Speed:
    waiting = tuple(r for r in referrals if r.waits)
    within: Callable[[timedelta], Share] = partial(_within, referrals, now)
    return Speed(rep, within(SOON), within(COLD), waiting)


def _within(referrals: list[Referral], now: datetime, span: timedelta) -> Share:
    taken = [
        (heard or now) - (referral.introduced_at or now) <= span
        for referral in referrals
        if (heard := referral.heard_at) or (referral.introduced_at and now - referral.introduced_at > span)
    ]
    return Share(sum(taken), len(taken))
