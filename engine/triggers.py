"""What starts sequences by itself: moments that are reported, changes of referrals, schedules and yearly dates. A moment is kept
first and acts afterwards, in one transaction with all that it starts, and a schedule's time acts behind a row that is unique for
each contact: whatever stops, comes again or runs twice in between, nobody is started twice. Rules of conduct are not looked at
here but by whatever begins."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from engine.core.address import prospect_key
from engine.core.calendar import Place, to_utc
from engine.core.model import Contact, Enrollment, Moment, Person, Referral
from engine.core.needs import Refusal, person
from engine.core.render import RenderError
from engine.core.schedule import anniversary, last_slot, next_slot
from engine.core.sequence import Start, Trigger
from engine.decisions import launch
from engine.enrollments import Wish, acquaint
from engine.installation import Installation
from engine.letters import contact_values, referral_values

MOMENTS_BATCH_MAX = 200
#: What happened longer ago is kept, and starts nothing: nobody is asked because of last year's survey.
MOMENT_LASTS = timedelta(days=90)
#: Up to which time each schedule of the library was looked at.
REACHED = "schedules"
HOURLY = "0 * * * *"
SECOND = timedelta(seconds=1)
FALSE = " is false"
_NUMBER = re.compile(r"-?(0|[1-9]\d*)([.,]\d+)?")


@dataclass(frozen=True)
class Report:
    """That `moment` happened to whoever has the address `email`, and what came with it. `on` is the day (None: today);
    `contact` (with their `name`) and `rep` make somebody known who is not yet. `key` says what counts as told before, also on
    another day; without one it is the whole of it."""

    email: str
    moment: str
    data: Mapping[str, Any] = field(default_factory=dict)
    on: date | None = None
    rep: str = ""
    contact: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a moment: whether it was news, what it started, and what the history says of it."""

    news: bool
    started: tuple[Enrollment, ...] = ()
    lines: tuple[str, ...] = ()


# --- moments ---------------------------------------------------------------------------------------------------------


def report(inst: Installation, told: Report, now: datetime) -> Outcome | Refusal:
    """Keeps a moment and starts what it starts at `now` (UTC). The same moment of the same contact with the same data on
    the same day (in the company's zone) is no news. A refusal leaves nothing behind: also one for which no trigger listens,
    so that it can be told again once there is one."""
    listened = sorted({trigger.moment for trigger in inst.library.triggers if trigger.moment})
    if told.moment not in listened:
        remedy = f"sequences/triggers.yaml names {', '.join(listened) or 'none'}"
        return Refusal("moment", f"no trigger listens for the moment {told.moment!r}", remedy)
    zone = ZoneInfo(inst.config.company.zone)
    today = now.astimezone(zone).date()
    day = told.on or today
    if day > today:
        return Refusal("date", f"{day} has not come yet", "report a moment once it has happened")
    try:
        _prospect(told.data)
    except ValueError as error:
        return Refusal("wrong", f"prospect {error}")
    with inst.store.transaction():
        digest = _digest(inst, told) if told.key else ""
        if told.key and (before := inst.store.request(told.key)):
            other = Refusal("key", "something else was told under this key", "say it under a key of its own")
            return Outcome(False) if before == digest else other
        contact = _whose(inst, told)
        if isinstance(contact, Refusal):
            return contact
        if told.key and not inst.store.add_request(told.key, digest, now):
            return Outcome(False)
        at = now if day == today else to_utc(datetime.combine(day, time()), zone.key)
        key = json.dumps([contact.id, told.moment, dict(told.data), str(day)], sort_keys=True)
        moment = inst.store.add_moment(Moment("", contact.id, told.moment, told.data, at, key))
        if moment is None:
            return Outcome(False)
        came = ", ".join(f"{name} {_spoken(value)}" for name, value in told.data.items())
        past = f" on {day}" if day != today else ""
        inst.store.tell(now, "moment", f"{told.moment}{past}" + (f": {came}" if came else ""), contact.id)
        return fire(inst, moment, now)


def _digest(inst: Installation, told: Report) -> str:
    """By what a report is known again, and by which nobody without the key can find out whom it was about."""
    said = json.dumps(asdict(told), sort_keys=True, default=str)
    return hmac.digest(inst.key, said.encode(), "sha256").hex()


def _whose(inst: Installation, told: Report) -> Contact | Refusal:
    known = inst.store.contact_at(told.email)
    if known:
        return known
    if not told.contact.get("name"):
        remedy = 'enroll them, or add --name "Dana Whitfield" to make them known'
        return Refusal("unknown", f"nobody has the address {told.email}", remedy)
    return acquaint(inst, Wish(told.email, "", {}, told.rep, contact=told.contact))


def _prospect(data: Mapping[str, Any]) -> Person | None:
    """Raises ValueError with what is wrong, to be read behind the name."""
    return Person(**person(data["prospect"])) if "prospect" in data else None


def _spoken(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def fire_waiting(inst: Installation, now: datetime) -> list[Outcome]:
    """Every moment that was kept and has not acted yet, like a referral's change, acts at `now` (UTC)."""
    outcomes: list[Outcome] = []
    while waiting := inst.store.waiting_moments(MOMENTS_BATCH_MAX):
        outcomes += [fire(inst, moment, now) for moment in waiting]
    return outcomes


def fire(inst: Installation, moment: Moment, now: datetime) -> Outcome:
    """The moment acts, once: every trigger that listens for it and whose `if:` holds starts its sequences."""
    with inst.store.transaction():
        contact = inst.store.contact(moment.contact)
        if not inst.store.fire_moment(moment.id, now) or contact is None:
            return Outcome(False)
        before = {line.id for line in inst.store.story(contact.id)}
        if now - moment.at > MOMENT_LASTS:
            old = f"{moment.name}: nothing is started: it is more than {MOMENT_LASTS.days} days ago"
            inst.store.tell(now, "not_started", old, contact.id)
            return Outcome(True, (), (old,))
        started = [e for trigger in _listening(inst, moment) for e in _act(inst, trigger, moment, contact, now)]
        lines = tuple(line.text for line in inst.store.story(contact.id) if line.id not in before)
        return Outcome(True, tuple(started), lines)


def _listening(inst: Installation, moment: Moment) -> list[Trigger]:
    return [t for t in inst.library.triggers if moment.name == (t.referral if moment.referral else t.moment)]


def _act(inst: Installation, trigger: Trigger, moment: Moment, contact: Contact, now: datetime) -> list[Enrollment]:
    referral = inst.store.referral(moment.referral) if moment.referral else None
    by = f"the referral's {moment.name}" if referral else moment.name
    values = _values(inst, contact, moment.data, referral)
    if why := _unwanted(inst, trigger, values):
        if referral and why.endswith(FALSE):  # every referral passes by triggers that are for others: that is no news
            return []
        inst.store.tell(now, "not_started", f"{by}: {_names(trigger)} was not started: {why}", contact.id)
        return []
    if trigger.confirms:
        inst.store.confirm(contact.id, now)
        inst.store.tell(now, "value", f"value confirmed: {moment.name}", contact.id)
    seat = Seat(contact, referral, referral.prospect if referral else _prospect(moment.data), moment.message)
    starts = (replace(s, values={**_fitting(inst, s, moment.data), **s.values}) for s in trigger.starts)
    return [e for start in starts if (e := _start(inst, seat, start, by, now))]


def _fitting(inst: Installation, start: Start, data: Mapping[str, Any]) -> dict[str, Any]:
    """Of a moment's data what the sequence needs, by name."""
    sequence = inst.library.sequences.get(start.sequence)
    return {name: value for name, value in data.items() if sequence and name in sequence.needs and name != "prospect"}


def _names(trigger: Trigger) -> str:
    return ", ".join(start.sequence for start in trigger.starts)


def _values(
    inst: Installation, contact: Contact, data: Mapping[str, Any], referral: Referral | None = None
) -> dict[str, Any]:
    """What `if:` and `for:` may ask: the data, the contact's fields by themselves and as `client`, and the referral."""
    known = contact_values(contact) or {}
    numbers = {name: _number(value) for name, value in data.items()}
    prospect = person(asdict(referral.prospect)) if referral else None
    return {"prospect": prospect, **known, **numbers, "client": known, "referral": referral_values(inst, referral)}


def _number(value: Any) -> Any:
    """`10`, `8.5` and `8,5` as they were typed are numbers, so that they compare as such; `0123` is not one."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return int(value) if value.lstrip("-").isdigit() else float(value.replace(",", "."))


def _unwanted(inst: Installation, trigger: Trigger, values: Mapping[str, Any]) -> str:
    """Why a trigger's `if:` keeps it from acting, or nothing. A question that cannot be answered is no yes."""
    if not trigger.condition:
        return ""
    try:
        holds = inst.library.templates.expression(trigger.condition, values)
    except RenderError as error:
        return f"if: {trigger.condition} cannot be answered: {error.problem.message}"
    return "" if holds else f"if: {trigger.condition}{FALSE}"


# --- starting --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seat:
    """For whom something is started: the client, perhaps about a referral or a prospect, perhaps by an inbound message."""

    contact: Contact
    referral: Referral | None = None
    prospect: Person | None = None
    message: str = ""


def _start(inst: Installation, seat: Seat, start: Start, by: str, now: datetime) -> Enrollment | None:
    """One sequence for one person; why it was not started is told in their history."""
    contact, rep = seat.contact, _rep(inst, seat)
    if seat.referral and inst.store.running_twin(contact.id, start.sequence, prospect_key(seat.prospect)):
        return None  # the handler that heard of it has started it: that is told already
    if why := _hindrance(inst, contact, start, rep):
        inst.store.tell(now, "not_started", f"{by}: {start.sequence} was not started: {why}", contact.id)
        return None
    nobody = Enrollment(
        id="",
        sequence=start.sequence,
        version="",
        contact=contact.id,
        client=contact.id,
        rep=rep,
        root="",
        begun_at=now,
        start_at=now,
        referral=seat.referral.id if seat.referral else "",
    )
    entered = launch(inst, nobody, start, seat.prospect, seat.message, now, by)
    return entered and inst.store.enrollment(entered.id)


def _rep(inst: Installation, seat: Seat) -> str:
    """Whose client this is; nobody's where the config has no such mailbox."""
    reps = [mailbox.address for mailbox in inst.config.mailboxes]
    known = [seat.referral.rep if seat.referral else "", seat.contact.owner, *(reps if len(reps) == 1 else ())]
    return next((rep for rep in known if rep in reps), "")


def _hindrance(inst: Installation, contact: Contact, start: Start, rep: str) -> str:
    if start.sequence not in inst.library.sequences:
        return "there is no such sequence"
    if suppression := inst.store.suppressed(contact.email):
        return f"{contact.email} is suppressed ({suppression.reason})"
    return "" if rep else f"whose client {contact.email} is cannot be known"


# --- schedules -------------------------------------------------------------------------------------------------------


def advance(inst: Installation, now: datetime) -> datetime | None:
    """All that moments and schedules start at `now` (UTC), once. Of the times of a schedule that passed while nothing ran
    only the last is made up for, and a schedule begins with its first time after it was seen.

    Returns when the next time of a schedule comes (UTC), None when there is none."""
    fire_waiting(inst, now)
    scheduled = {_identity(t): t for t in inst.library.triggers if t.cron or t.yearly}
    before: dict[str, str] = json.loads(inst.store.setting(REACHED) or "{}")
    reached = {}
    for identity, trigger in scheduled.items():
        reached[identity] = _catch_up(inst, trigger, before.get(identity, ""), now)
    if reached != before:
        inst.store.set_setting(REACHED, json.dumps(reached))
    zone = inst.config.company.zone
    following = [next_slot(_cron(trigger), zone, now) for trigger in scheduled.values()]
    return min((slot.at for slot in following if slot), default=None)


def _identity(trigger: Trigger) -> str:
    """One that was edited is a new one; where it stands in the file is no part of it."""
    bare = replace(trigger, line=0, starts=tuple(replace(start, line=0) for start in trigger.starts))
    return hashlib.sha256(repr(bare).encode()).hexdigest()[:12]


def _cron(trigger: Trigger) -> str:
    """Yearly dates are looked for every hour: their days begin when it is midnight where the client is."""
    return trigger.cron or HOURLY


def _catch_up(inst: Installation, trigger: Trigger, before: str, now: datetime) -> str:
    """The schedule acts if a time of it has come since `before`; returns up to which time it was looked at."""
    slot = last_slot(_cron(trigger), inst.config.company.zone, now)
    if slot is None or slot.name <= before:
        return before
    if trigger.yearly:
        _yearly(inst, trigger, now)
    elif before:
        earlier = last_slot(trigger.cron, inst.config.company.zone, slot.at - SECOND)
        if earlier and earlier.name > before:
            missed = f"the schedule {trigger.cron} was missed up to {earlier.name}: only {slot.name} is made up for"
            inst.store.tell(now, "schedule", missed)
        _round(inst, trigger, slot.name, now)
    return slot.name


def _round(inst: Installation, trigger: Trigger, slot: str, now: datetime) -> None:
    by = f"the schedule {trigger.cron}"
    for contact in _audience(inst, trigger, now):
        if not inst.store.suppressed(contact.email):
            with inst.store.transaction():
                _start_once(inst, trigger, contact, trigger.cron, slot, by, now)


def _yearly(inst: Installation, trigger: Trigger, now: datetime) -> None:
    """The store is asked only about the few whose year is at hand: every hour all who have the date are looked at."""
    by = f"the yearly {trigger.yearly}"
    for contact in _audience(inst, trigger, now):
        year = _year_at_hand(inst, trigger, contact, str(contact.fields[trigger.yearly]), now)
        if year and not inst.store.suppressed(contact.email):
            with inst.store.transaction():
                _start_once(inst, trigger, contact, f"year {trigger.yearly}", str(year), by, now)


def _year_at_hand(inst: Installation, trigger: Trigger, contact: Contact, given: str, now: datetime) -> int | None:
    try:
        day = date.fromisoformat(given[: len("2026-03-02")])
    except ValueError:
        said = f"{trigger.yearly} is no date: {given!r}; write it like 2026-03-02"
        with inst.store.transaction():
            if inst.store.fire_slot(f"year {trigger.yearly}", f"unreadable {given}", contact.id, now):  # said once
                inst.store.tell(now, "not_started", f"{_names(trigger)} was not started: {said}", contact.id)
        return None
    rep = _rep(inst, Seat(contact))
    place = inst.place(contact, rep) if rep else Place(contact.zone or inst.config.company.zone)
    return anniversary(day, trigger.before, place, inst.config.calendar, now)


def _start_once(
    inst: Installation, trigger: Trigger, contact: Contact, schedule: str, slot: str, by: str, now: datetime
) -> None:
    for start in trigger.starts:
        if inst.store.fire_slot(f"{schedule}: {start.sequence}", slot, contact.id, now):
            _start(inst, Seat(contact), start, by, now)


def _audience(inst: Installation, trigger: Trigger, now: datetime) -> Iterator[Contact]:
    """Whom a schedule is for: clients, those of them who referred, or those for whom `for:` and `if:` hold. A question that
    cannot be answered is no yes; where nobody could be asked it is told."""
    everybody = inst.store.referrers() if trigger.audience == "referrers" else inst.store.clients(trigger.yearly)
    asked = [e for e in (trigger.audience, trigger.condition) if e and e not in ("clients", "referrers")]
    unanswered, answered = "", False
    for contact in everybody:
        if trigger.yearly and not contact.fields.get(trigger.yearly):
            continue
        try:
            holds = all(inst.library.templates.expression(e, _values(inst, contact, {})) for e in asked)
        except RenderError as error:
            unanswered = unanswered or error.problem.message
            continue
        answered = True
        if holds:
            yield contact
    if unanswered and not answered and inst.store.fire_slot(_identity(trigger), "unanswered", "", now):  # said once
        said = f"{_names(trigger)} was started for nobody: {' and '.join(asked)} cannot be answered: {unanswered}"
        inst.store.tell(now, "not_started", said)
