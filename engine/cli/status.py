"""The morning's overview: what waits for the rep, whether the mailboxes are well, and who is where. It opens the store alone, so
that it comes at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import config_option, configuration, example, json_option, only_rep_option, store_of, whose
from engine.cli.output import count, folded, now, print_json, say, stamp, table, when, zone_of
from engine.core.words import spoken, stands

if TYPE_CHECKING:
    from engine.config import Config, Mailbox
    from engine.core.model import Contact, Enrollment
    from engine.store import MailboxState, Store

commands = click.Group()

LISTED_MAX = 50
THROUGH = ("listening", "stopped")


@commands.command(
    "status",
    short_help="Who is where, and what waits for you.",
    epilog=example("whoelse status", "whoelse status --all", "whoelse status --check"),
)
@click.option("--check", is_flag=True, help="For monitoring: a line for each trouble, and exit code 1 if there is one.")
@click.option("--all", "everyone", is_flag=True, help="Also those who are through.")
@only_rep_option
@config_option
@json_option
def status(check: bool, everyone: bool, rep: str, config: Path, as_json: bool) -> None:
    """Who is where, what waits for you, and whether the mailboxes are well."""
    loaded = configuration(config)
    theirs = whose(loaded, rep)
    store = store_of(loaded)
    mailboxes = [mailbox for mailbox in loaded.mailboxes if theirs(mailbox.address)]
    if check:
        sys.exit(_check(loaded, mailboxes, store, as_json))
    waiting = _waiting(store, theirs)
    if as_json:
        people = {contact.id: contact for contact in store.contacts()}
        chosen = [e for e in store.all_enrollments() if theirs(e.rep) and (everyone or runs(e))]
        print_json(
            {
                "brake": store.setting("brake") is not None,
                "waiting": waiting,
                "mailboxes": [_mailbox_json(loaded, mailbox, store.mailbox(mailbox.address)) for mailbox in mailboxes],
                "enrollments": [enrollment_json(loaded, e, people.get(e.contact)) for e in chosen],
            }
        )
        return
    for line in (
        *_brake(store),
        *_waiting_lines(waiting),
        *_introductions(store, theirs),
        *_mailbox_lines(loaded, mailboxes, store),
    ):
        say(line)
    mailbox = loaded.mailbox(rep)
    _say_where(loaded, store, mailbox.address if mailbox else "", everyone)


TROUBLES = {
    "login_refused": "the login is refused since {since}: {text}",
    "unreadable": "cannot be read since {since}: {text}",
    "not_running": "last read {since}: {text}",
    "doubt": "in doubt since {since}: {text}",
}


def _check(config: Config, mailboxes: Sequence[Mailbox], store: Store, as_json: bool) -> int:
    """One line for each trouble; returns the exit code."""
    from engine import troubles

    found = troubles.found(store, mailboxes, now())
    if as_json:
        zoned = [{**asdict(each), "since": stamp(each.since, zone_of(config, None, each.mailbox))} for each in found]
        print_json({"ok": not found, "troubles": zoned})
    else:
        for each in found:
            since = when(each.since, zone_of(config, None, each.mailbox)) or "never"
            say(f"{each.mailbox}: {TROUBLES[each.kind].format(since=since, text=' '.join(each.text.split()))}")
        if not found:
            say("All is well.")
    return 1 if found else 0


def runs(enrollment: Enrollment) -> bool:
    return enrollment.state not in THROUGH


def _brake(store: Store) -> list[str]:
    held = store.setting("brake") is not None
    return ["Everything is paused: nothing is sent. `whoelse resume --all` goes on.", ""] if held else []


WAITING = {
    "introductions": ("introduction to answer", "introductions to answer", "whoelse referrals"),
    "replies": ("answer", "answers", "whoelse replies"),
    "drafts": ("draft", "drafts", "whoelse drafts"),
    "doubts": ("message in doubt", "messages in doubt", "whoelse doubts"),
    "tasks": ("task", "tasks", "whoelse tasks"),
}


def _waiting(store: Store, theirs: Callable[[str], bool]) -> dict[str, int]:
    from engine.core.model import OutboxState

    return {
        "introductions": sum(theirs(referral.rep) for referral in store.unanswered()),
        "replies": sum(theirs(message.mailbox) for message in store.open_inbound()),
        "drafts": sum(theirs(message.mailbox) for message in store.outbox_in(OutboxState.DRAFT)),
        "doubts": sum(theirs(message.mailbox) for message in store.outbox_in(OutboxState.IN_DOUBT)),
        "tasks": sum(theirs(task.rep) for task in store.open_tasks()),
    }


def _waiting_lines(waiting: Mapping[str, int]) -> list[str]:
    rows = [(count(n, *WAITING[name][:2]), WAITING[name][2]) for name, n in waiting.items() if n]
    return ["Waiting for you:", *table(rows, "  "), ""] if rows else ["Nothing waits for you.", ""]


def _introductions(store: Store, theirs: Callable[[str], bool]) -> list[str]:
    """The prospects who wait, each with its clock."""
    from engine.cli.looking import speed

    waiting = [referral for referral in store.unanswered() if theirs(referral.rep)][:LISTED_MAX]
    rows = [(r.prospect.name or r.prospect.email or "(erased)", speed(r)) for r in waiting]
    return [*table(rows), ""] if rows else []


def _mailbox_json(config: Config, mailbox: Mailbox, known: MailboxState | None) -> dict[str, Any]:
    zone = config.place(mailbox).zone
    read = known and known.read_at.year > 1970 and known.read_at
    return {
        "address": mailbox.address,
        "read_at": stamp(read or None, zone),
        "read_error": known.read_error if known else "",
        "paused_until": stamp(known.paused_until, zone) if known and known.paused_until > now() else None,
        "paused_why": known.paused_why if known and known.paused_until > now() else "",
        "sent_today": _sent_today(known, zone),
        "per_day": mailbox.per_day,
    }


def _mailbox_lines(config: Config, mailboxes: Sequence[Mailbox], store: Store) -> list[str]:
    """A mailbox that is well is one line; what is wrong with one says what to do."""
    lines = [line for m in mailboxes for line in folded(f"{m.address}: {_health(config, m, store.mailbox(m.address))}")]
    return [*lines, ""]


def _health(config: Config, mailbox: Mailbox, known: MailboxState | None) -> str:
    from engine.troubles import SILENT_LIMIT

    zone, at = config.place(mailbox).zone, now()
    if known is None or (known.read_at.year <= 1970 and not known.read_error):
        return "not read yet (`whoelse run` reads and sends)"
    if known.read_error and known.read_failed_at and known.read_failed_at >= known.read_at:
        return f"cannot be read since {when(known.read_failed_at, zone)}: {known.read_error}"
    if known.paused_until > at:
        return f"sends nothing until {when(known.paused_until, zone)}: {known.paused_why}"
    read = f"read {when(known.read_at, zone)}, {_sent_today(known, zone)} of {mailbox.per_day} sent today"
    old = at - known.read_at > SILENT_LIMIT
    return read + (": is `whoelse run` running?" if old else "")


def _sent_today(known: MailboxState | None, zone: str) -> int:
    """The store counts by the rep's day, and the count stays until the next email."""
    from zoneinfo import ZoneInfo

    same_day = known is not None and known.day == now().astimezone(ZoneInfo(zone)).date().isoformat()
    return known.sent_today if known and same_day else 0


def enrollment_json(config: Config, e: Enrollment, contact: Contact | None) -> dict[str, Any]:
    zone = zone_of(config, contact, e.rep)
    return {
        "email": contact.email if contact else "",
        "name": contact.name if contact else "",
        "sequence": e.sequence,
        "prospect": prospect_of(e),
        "rep": e.rep,
        "state": str(e.state),
        "step": e.step,
        "next_at": stamp(e.next_at, zone),
        "due_at": stamp(e.due_at, zone),
        "reason": e.reason,
        "outcome": e.outcome,
        "begun_at": stamp(e.begun_at, zone),
    }


def _say_where(config: Config, store: Store, rep: str, everyone: bool) -> None:
    """The first of them: the store may hold hundreds of thousands."""
    states = store.count_states(rep)
    through = sum(n for state, n in states.items() if state in THROUGH)
    listed = store.running(rep, LISTED_MAX)
    if everyone:
        listed += store.through(rep, LISTED_MAX - len(listed))
    people = {id: store.contact(id) for id in {e.contact for e in listed}}
    rows = [
        (contact.email if (contact := people[e.contact]) else "?", about(e), where(config, e, contact)) for e in listed
    ]
    for line in table(rows):
        say(line)
    more = sum(states.values()) - len(listed) - (0 if everyone else through)
    if more:
        say(f"... and {more} more (--json lists all)")
    if not listed:
        say("Nobody is in a sequence. `whoelse enroll EMAIL SEQUENCE` begins one.")
    if through:
        say(f"\n{count(through, 'enrollment')} through (--all shows them).")


def prospect_of(e: Enrollment) -> str:
    given = e.variables.get("prospect")
    return str(given.get("name") or given.get("email") or "") if isinstance(given, dict) else ""


def about(e: Enrollment) -> str:
    prospect = prospect_of(e)
    return f"{e.sequence} ({prospect})" if prospect else e.sequence


def where(config: Config, e: Enrollment, contact: Contact | None) -> str:
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
            return stands("paused", e.reason)
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
    return f"{step} on {when(e.due_at, zone)}"
