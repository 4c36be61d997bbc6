"""Seeing where everything stands: the morning's overview, one person's whole story, one sequence, who came from whom, and what the
engine makes of a message."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import config_option, configuration, edited, example, json_option, store_of, working
from engine.cli.output import (
    count,
    folded,
    now,
    print_json,
    quoted,
    remark,
    say,
    spoken,
    stamp,
    table,
    when,
    zone_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.config import Config, Mailbox
    from engine.core.model import Contact, Enrollment, Reading, Referral
    from engine.notebook import Moment
    from engine.store import MailboxState, Store, Told

commands = click.Group()

LISTED_MAX = 50
ANSWER_LINES_MAX = 6
#: After this a mailbox that should be read is a matter for the rep.
UNREAD_ALARM_SECONDS = 30 * 60


# --- status ----------------------------------------------------------------------------------------------------------


@commands.command(
    "status",
    short_help="Who is where, and what waits for you.",
    epilog=example("whoelse status", "whoelse status --all"),
)
@click.option("--all", "everyone", is_flag=True, help="Also those who are through.")
@config_option
@json_option
def status(everyone: bool, config: Path, as_json: bool) -> None:
    """Who is where, what waits for you, and whether the mailboxes are well."""
    loaded = configuration(config)
    store = store_of(loaded)
    people = {contact.id: contact for contact in store.contacts()}
    chosen = [e for e in store.all_enrollments() if everyone or _runs(e)]
    waiting = _waiting(store)
    if as_json:
        print_json(
            {
                "brake": store.setting("brake") is not None,
                "waiting": waiting,
                "mailboxes": [_mailbox_json(mailbox, store.mailbox(mailbox.address)) for mailbox in loaded.mailboxes],
                "enrollments": [_enrollment_json(loaded, e, people.get(e.contact)) for e in chosen],
            }
        )
        return
    for line in (*_brake(store), *_waiting_lines(waiting), *_mailbox_lines(loaded, store)):
        say(line)
    _say_where(loaded, store, chosen, people)


def _runs(enrollment: Enrollment) -> bool:
    return enrollment.state not in ("stopped", "listening")


def _brake(store: Store) -> list[str]:
    held = store.setting("brake") is not None
    return ["Everything is paused: nothing is sent. `whoelse resume --all` goes on.", ""] if held else []


WAITING = {
    "replies": ("answer", "answers", "whoelse replies"),
    "drafts": ("draft", "drafts", "whoelse drafts"),
    "doubts": ("message in doubt", "messages in doubt", "whoelse doubts"),
    "tasks": ("task", "tasks", "whoelse tasks"),
}


def _waiting(store: Store) -> dict[str, int]:
    from engine.core.model import OutboxState

    return {
        "replies": len(store.open_inbound()),
        "drafts": len(store.outbox_in(OutboxState.DRAFT)),
        "doubts": len(store.outbox_in(OutboxState.IN_DOUBT)),
        "tasks": len(store.open_tasks()),
    }


def _waiting_lines(waiting: Mapping[str, int]) -> list[str]:
    rows = [(count(n, *WAITING[name][:2]), WAITING[name][2]) for name, n in waiting.items() if n]
    return ["Waiting for you:", *table(rows, "  "), ""] if rows else ["Nothing waits for you.", ""]


def _mailbox_json(mailbox: Mailbox, known: MailboxState | None) -> dict[str, Any]:
    read = known and known.read_at.year > 1970 and known.read_at
    return {
        "address": mailbox.address,
        "read_at": stamp(read or None, "UTC"),
        "read_error": known.read_error if known else "",
        "paused_until": stamp(known.paused_until, "UTC") if known and known.paused_until > now() else None,
        "paused_why": known.paused_why if known and known.paused_until > now() else "",
        "sent_today": known.sent_today if known else 0,
        "per_day": mailbox.per_day,
    }


def _mailbox_lines(config: Config, store: Store) -> list[str]:
    """A mailbox that is well is one line; what is wrong with one says what to do."""
    lines = [
        line
        for m in config.mailboxes
        for line in folded(f"{m.address}: {_health(config, m, store.mailbox(m.address))}")
    ]
    return [*lines, ""]


def _health(config: Config, mailbox: Mailbox, known: MailboxState | None) -> str:
    zone, at = config.place(mailbox).zone, now()
    if known is None or (known.read_at.year <= 1970 and not known.read_error):
        return "not read yet (`whoelse run` reads and sends)"
    if known.read_error and known.read_failed_at and known.read_failed_at >= known.read_at:
        return f"cannot be read since {when(known.read_failed_at, zone)}: {known.read_error}"
    if known.paused_until > at:
        return f"sends nothing until {when(known.paused_until, zone)}: {known.paused_why}"
    today = known.sent_today if known.day == at.astimezone(_zone(zone)).date().isoformat() else 0
    read = f"read {when(known.read_at, zone)}, {today} of {mailbox.per_day} sent today"
    old = (at - known.read_at).total_seconds() > UNREAD_ALARM_SECONDS
    return read + (": is `whoelse run` running?" if old else "")


def _zone(name: str) -> Any:
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def _enrollment_json(config: Config, e: Enrollment, contact: Contact | None) -> dict[str, Any]:
    zone = zone_of(config, contact, e.rep)
    return {
        "email": contact.email if contact else "",
        "name": contact.name if contact else "",
        "sequence": e.sequence,
        "prospect": _prospect(e),
        "rep": e.rep,
        "state": str(e.state),
        "step": e.step,
        "next_at": stamp(e.next_at, zone),
        "due_at": stamp(e.due_at, zone),
        "reason": e.reason,
        "outcome": e.outcome,
        "begun_at": stamp(e.begun_at, zone),
    }


def _say_where(config: Config, store: Store, chosen: Sequence[Enrollment], people: Mapping[str, Contact]) -> None:
    rows = []
    for e in sorted(chosen, key=_urgency)[:LISTED_MAX]:
        contact = people.get(e.contact)
        rows.append((contact.email if contact else "?", _about(e), _where(config, e, contact)))
    for line in table(rows):
        say(line)
    if len(chosen) > LISTED_MAX:
        say(f"... and {len(chosen) - LISTED_MAX} more (--json lists all)")
    through = sum(n for _, state, n in store.count_enrollments() if state in ("stopped", "listening"))
    if not chosen:
        say("Nobody is in a sequence. `whoelse enroll EMAIL SEQUENCE` begins one.")
    if through:
        say(f"\n{count(through, 'enrollment')} through (--all shows them).")


def _urgency(e: Enrollment) -> tuple[int, datetime]:
    """Who waits for the rep comes first, then who is next."""
    from datetime import UTC

    return (
        0 if e.state == "paused" or e.in_hand == "draft" else 1,
        e.next_at or e.due_at or datetime.max.replace(tzinfo=UTC),
    )


def _prospect(e: Enrollment) -> str:
    given = e.variables.get("prospect")
    return str(given.get("name") or given.get("email") or "") if isinstance(given, dict) else ""


def _about(e: Enrollment) -> str:
    prospect = _prospect(e)
    return f"{e.sequence} ({prospect})" if prospect else e.sequence


def _where(config: Config, e: Enrollment, contact: Contact | None) -> str:
    """Where an enrollment is, and what comes next, in a few words."""
    zone = zone_of(config, contact, e.rep)
    step = e.step or ""
    match e.state:
        case "waiting":
            return f"begins {when(e.next_at, zone)}"
        case "held":
            until = f" until {when(e.next_at, zone)}" if e.next_at else ""
            return f"held{until}: {spoken(e.reason)}"
        case "paused":
            return f"paused: {spoken(e.reason)}"
        case "listening":
            return f"through; listens until {when(e.next_at, zone)}"
        case "stopped":
            return f"ended: {spoken(e.outcome)}"
    if e.in_hand == "draft":
        return f"{step} waits for your approval"
    if e.in_hand == "task":
        return f"{step} waits until its task is done"
    if e.in_hand == "outbox":
        return f"{step} is in the outbox"
    return f"{step} {when(e.due_at, zone)}"


# --- show ------------------------------------------------------------------------------------------------------------


@commands.command(
    "show",
    short_help="One person's whole story, or one sequence.",
    epilog=example("whoelse show dana@acme.example", "whoelse show ask"),
)
@click.argument("who", metavar="EMAIL|SEQUENCE")
@click.option("--full", is_flag=True, help="Also the whole text of every email and answer.")
@config_option
@json_option
def show(who: str, full: bool, config: Path, as_json: bool) -> None:
    """One person's whole story: every email, answer and decision with its rule. Or one sequence: its steps, and who is in it."""
    loaded = configuration(config)
    if "@" in who:
        _show_person(loaded, who, full, as_json)
    else:
        _show_sequence(loaded, who, as_json)


def _show_person(config: Config, email: str, full: bool, as_json: bool) -> None:
    from engine.errors import UserError

    store = store_of(config)
    contact = store.contact_at(email)
    if contact is None:
        raise UserError(f"nobody has the address {email}", remedy="whoelse status lists everyone")
    zone = zone_of(config, contact)
    story = store.story(contact.id)
    enrollments = store.enrollments_of(contact.id)
    if as_json:
        print_json(_person_json(config, store, contact, story, enrollments))
        return
    for line in _head(store, contact, zone):
        say(line)
    running = [(_about(e), _where(config, e, contact)) for e in enrollments if e.state != "stopped"]
    say("\nNow:")
    for line in table(running, "  ") or ["  in no sequence"]:
        say(line)
    if coming := [(when(m.at, m.zone), m.action, _coming(m)) for m in _ahead(config, contact, enrollments)]:
        say("\nTo come, if nobody answers:")
        for line in table(coming, "  "):
            say(line)
    if waiting := [(when(t.created_at, zone), t.title) for t in store.tasks_of(contact.id) if t.done_at is None]:
        say("\nTasks for you:")
        for line in table(waiting, "  "):
            say(line)
    say(f"\nStory (times in {zone}):")
    for told in story:
        _say_told(store, told, zone, full)


def _coming(moment: Moment) -> str:
    """An email by its step, since all of a thread have one subject; a task and a start by what they are."""
    if moment.action == "email":
        return f"{moment.sequence}: {moment.step}"
    return f"{moment.subject} ({moment.note})" if moment.note else moment.subject


def _ahead(config: Config, contact: Contact, enrollments: Sequence[Enrollment]) -> list[Moment]:
    """What comes, as far as it can be told: the story is shown even where the sequences are not in order."""
    from engine.errors import UserError
    from engine.preview import ahead

    if not any(map(_runs, enrollments)):
        return []
    try:
        return [moment for moment in ahead(working(config), contact, now()) if moment.action != "event"]
    except UserError as error:
        remark(f"whoelse: what is to come cannot be told: {error}")
        return []


def _head(store: Store, contact: Contact, zone: str) -> list[str]:
    who = f"{contact.name} <{contact.email}>" if contact.name else contact.email
    lines = [", ".join(filter(None, (who, contact.title, contact.company)))]
    lines.append(f"{contact.owner}'s client" if contact.owner else "nobody's client yet")
    if contact.confirmed_at:
        lines.append(f"value confirmed {when(contact.confirmed_at, zone)}")
    if suppression := store.suppressed(contact.email):
        lines.append(f"never mailed again: {spoken(suppression.reason)}, {when(suppression.at, zone)}")
    return lines


def _say_told(store: Store, told: Told, zone: str, full: bool) -> None:
    head = f"  {when(told.at, zone)}  "
    for line in folded(told.text, head):
        say(line)
    if text := _words(store, told):
        for line in quoted(text, " " * len(head), 0 if full else ANSWER_LINES_MAX):
            say(line)
    elif full and told.kind == "sent" and (sent := store.outbox_message(told.message)):
        for line in quoted(sent.text, " " * len(head)):
            say(line)


def _words(store: Store, told: Told) -> str:
    """What the person wrote, where this line of the story is their answer."""
    heard = store.inbound_message(told.message) if told.kind == "heard" and told.message else None
    return heard.text if heard else ""


def _person_json(
    config: Config, store: Store, contact: Contact, story: Sequence[Told], enrollments: Sequence[Enrollment]
) -> dict[str, Any]:
    zone = zone_of(config, contact)
    suppression = store.suppressed(contact.email)
    return {
        "email": contact.email,
        "name": contact.name,
        "company": contact.company,
        "rep": contact.owner,
        "zone": zone,
        "confirmed_at": stamp(contact.confirmed_at, zone),
        "suppressed": suppression.reason if suppression else None,
        "enrollments": [_enrollment_json(config, e, contact) for e in enrollments],
        "ahead": [
            {
                "at": stamp(m.at, m.zone),
                "sequence": m.sequence,
                "step": m.step,
                "action": m.action,
                "subject": m.subject,
            }
            for m in _ahead(config, contact, enrollments)
        ],
        "tasks": [{"id": t.id, "title": t.title} for t in store.tasks_of(contact.id) if t.done_at is None],
        "story": [{"at": stamp(t.at, zone), "kind": t.kind, "text": t.text, "words": _words(store, t)} for t in story],
    }


def _show_sequence(config: Config, key: str, as_json: bool) -> None:
    from engine.errors import UserError
    from engine.pictures import as_text

    inst = edited(config)
    sequence = inst.library.sequences.get(key)
    if sequence is None:
        known = ", ".join(sorted(inst.library.sequences))
        raise UserError(
            f"there is no sequence {key!r}", remedy=f"there are {known}; a person is named by their address"
        )
    inside = [e for e in inst.store.all_enrollments() if e.sequence == key]
    people = {e.id: inst.store.contact(e.contact) for e in inside if e.state != "stopped"}
    if as_json:
        print_json(
            {
                "sequence": key,
                "name": sequence.name,
                "about": sequence.about,
                "needs": {n.name: f"optional {n.type}" if n.optional else n.type for n in sequence.needs.values()},
                "steps": [{"id": s.id, "when": _time(s), "does": _does(s)} for s in sequence.steps],
                "enrollments": [_enrollment_json(config, e, people[e.id]) for e in inside if e.id in people],
            }
        )
        return
    for line in as_text(sequence):
        say(line)
    say("\nIn it:")
    rows = [(c.email, _where(config, e, c)) for e in inside if (c := people.get(e.id))]
    for line in table(rows[:LISTED_MAX], "  ") or ["  nobody"]:
        say(line)


def _time(step: Any) -> str:
    if step.aside:
        return "when told to"
    if step.at:
        return str(step.at.text)
    return f"after {step.wait.text}" if step.wait else "at once"


def _does(step: Any) -> str:
    said = [f"email {name}" for name in filter(None, (step.email, *step.variants.values()))]
    said += [f"task {step.task}"] if step.task else []
    said += [f"starts {start.sequence}" for start in step.starts]
    said += ["after your approval"] if step.approve else []
    said += [f"if {step.condition}"] if step.condition else []
    return ", ".join(said)


# --- referrals -------------------------------------------------------------------------------------------------------


@commands.command("referrals", short_help="Who named or introduced whom.", epilog=example("whoelse referrals"))
@config_option
@json_option
def referrals(config: Path, as_json: bool) -> None:
    """The referral log: who named or introduced whom, and what became of it."""
    loaded = configuration(config)
    store = store_of(loaded)
    found = store.referrals()
    clients = {r.client: store.contact(r.client) for r in found}
    if as_json:
        print_json([_referral_json(loaded, r, clients[r.client]) for r in found])
        return
    rows = [_referral_row(loaded, r, clients[r.client]) for r in found]
    for line in table(rows) or ["Nobody was named yet."]:
        say(line)


DATES = ("named", "introduced", "contacted", "met", "won", "lost")


def _referral_json(config: Config, referral: Referral, client: Contact | None) -> dict[str, Any]:
    from dataclasses import asdict

    zone = zone_of(config, client, referral.rep)
    return {
        "prospect": asdict(referral.prospect),
        "client": client.email if client else "",
        "rep": referral.rep,
        "state": referral.state,
        "source": referral.source,
        **{f"{name}_at": stamp(getattr(referral, f"{name}_at"), zone) for name in DATES},
    }


def _referral_row(config: Config, referral: Referral, client: Contact | None) -> tuple[str, str, str]:
    zone = zone_of(config, client, referral.rep)
    who = referral.prospect
    dates = [(name, getattr(referral, f"{name}_at")) for name in DATES]
    said = ", ".join(f"{name} {when(at, zone)}" for name, at in dates if at)
    return who.name or who.email, f"by {client.email if client else '?'}", said


# --- classify --------------------------------------------------------------------------------------------------------


@commands.command(
    "classify",
    short_help="What the engine makes of a message.",
    epilog=example("whoelse classify answer.eml", "whoelse classify --json --rep sam@consulting.example mail/*.eml"),
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--rep", metavar="ADDRESS", default="", help="Whose mailbox they came to.")
@config_option
@json_option
def classify(files: tuple[Path, ...], rep: str, config: Path, as_json: bool) -> None:
    """What the engine makes of a message, and by which rule. Works without a config."""
    reps = _reps(rep, config)
    results, missing = [], False
    for file in files:
        try:
            raw = file.read_bytes()
        except OSError as error:
            remark(f"whoelse: {file}: cannot be read: {error.strerror}; name a file with one message")
            missing = True
            continue
        results.append((file, _read(raw, reps, config)))
    if as_json:
        print_json([_reading_json(file, reading) for file, reading in results])
    else:
        for file, reading in results:
            _say_reading(file, reading)
    sys.exit(1 if missing else 0)


def _reps(rep: str, path: Path) -> frozenset[str]:
    """Whose mailbox: as said, else every mailbox of the config, else (empty) what the message itself says."""
    if rep:
        return frozenset({rep.lower()})
    if not path.is_file():
        return frozenset()
    return frozenset(address for mailbox in configuration(path).mailboxes for address in mailbox.addresses)


def _read(raw: bytes, reps: frozenset[str], path: Path) -> Reading:
    from engine.core.classify import classify
    from engine.core.message import parse
    from engine.core.model import Reader

    message = parse(raw)
    if not reps:
        delivered = [a.strip(" <>").lower() for a in message.headers.get("delivered-to", ())]
        reps = frozenset(delivered[:1] or [p.email for p in message.to[:1]])
    return classify(message, Reader(reps, _colleagues(reps, path)))


def _colleagues(reps: frozenset[str], path: Path) -> frozenset[str]:
    """The domains of the rep's own company."""
    from engine.core.address import domain_of

    known = configuration(path).company.domains if path.is_file() else ()
    return frozenset(filter(None, (*known, *map(domain_of, reps))))


def _reading_json(file: Path, reading: Reading) -> dict[str, Any]:
    """The documented shape."""
    return {
        "file": str(file),
        "event": str(reading.event),
        "rule": reading.rule,
        "text": reading.text,
        "until": reading.until.isoformat() if reading.until else None,
        "people": [{"name": p.name, "email": p.email, "company": p.company} for p in reading.people],
        "recipients": list(reading.recipients),
        "status": reading.status,
    }


def _say_reading(file: Path, reading: Reading) -> None:
    say(f"{file}: {reading.event} ({reading.rule})")
    people = ", ".join(
        " ".join(filter(None, (p.name, f"<{p.email}>" if p.email else "", p.company))) for p in reading.people
    )
    facts = {
        "back": reading.until.isoformat() if reading.until else "",
        "people": people,
        "failed": ", ".join(reading.recipients),
        "status": reading.status or "",
        "note": reading.note,
    }
    for line in table([(name, text) for name, text in facts.items() if text], "  "):
        say(line)
    for line in quoted(reading.text, "  ", ANSWER_LINES_MAX):
        say(line)
