"""One person's whole story, message by message, with where they are and what comes next; and one sequence with who is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.looking import referral_json, referral_row
from engine.cli.options import config_option, configuration, edited, example, json_option, store_of, working
from engine.cli.output import folded, now, print_json, quoted, remark, say, stamp, table, when, zone_of
from engine.cli.status import LISTED_MAX, about, enrollment_json, runs, where
from engine.core.words import spoken

if TYPE_CHECKING:
    from engine.config import Config
    from engine.core.model import Contact, Enrollment, Referral
    from engine.errors import UserError
    from engine.installation import Installation
    from engine.notebook import Moment
    from engine.store import Store, Told

commands = click.Group()

ANSWER_LINES_MAX = 6


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
    from engine.core.model import Person
    from engine.errors import UserError

    store = store_of(config)
    contact = store.contact_at(email)
    if contact is None and (named := store.referrals_to(Person(email=email))):
        rows = [referral_row(config, referral, store.contact(referral.client)) for referral in named]
        if as_json:
            log = [referral_json(config, referral, store.contact(referral.client)) for referral in named]
            print_json({"email": email.lower(), "enrollments": [], "story": [], "referrals": log})
        else:
            _say_section(f"{email} was never written to. A referral:", rows)
        return
    if contact is None:
        raise UserError(f"nobody has the address {email}", remedy="whoelse status lists everyone")
    zone = zone_of(config, contact)
    inst = _opened(config)
    story = store.story(contact.id)
    enrollments = store.enrollments_of(contact.id)
    if as_json:
        print_json(_person_json(config, store, contact, story, enrollments, inst))
        return
    for line in _head(store, contact, zone):
        say(line)
    say(f"\nStory (times in {zone}):")
    for told in story if full else _telling(story):
        _say_told(store, told, zone, full)
    _say_section("Rules of conduct:", [(line,) for line in _rules(inst, contact)])
    _say_section("Referrals:", [referral_row(config, *each) for each in _referrals(store, contact)])
    waiting = [(when(t.created_at, zone), t.title) for t in store.tasks_of(contact.id) if t.done_at is None]
    _say_section("Tasks for you:", waiting)
    running = [(about(e), where(config, e, contact)) for e in enrollments if e.state != "stopped"]
    _say_section("Now:", running or [("in no sequence",)])
    coming = [(when(m.at, m.zone), m.action, _coming(m)) for m in _ahead(inst, contact, enrollments)]
    _say_section("To come, if nobody answers:", coming)


def _referrals(store: Store, contact: Contact) -> list[tuple[Referral, Contact | None]]:
    """Those whom they referred, and who referred them; each with its client."""
    from engine.core.model import Person

    found = [*store.referrals_by(contact.id), *store.referrals_to(Person(email=contact.email))]
    return [(referral, store.contact(referral.client)) for referral in found]


def _say_section(title: str, rows: Sequence[Sequence[str]]) -> None:
    if rows:
        say(f"\n{title}")
    for line in table(rows, "  "):
        say(line)


def _telling(story: Sequence[Told]) -> Iterator[Told]:
    """Without the lines that say again what the one before them says: an email is queued, is sent, and its step is done."""
    before = ""
    for told in story:
        again = told.text.endswith(": into the outbox") or (before == "sent" and told.text.endswith(": sent"))
        if not again:
            yield told
        before = told.kind


def _coming(moment: Moment) -> str:
    """An email by its step, since all of a thread have one subject; a task and a start by what they are."""
    if moment.action == "email":
        return f"{moment.sequence}: {moment.step}"
    return f"{moment.subject} ({moment.note})" if moment.note else moment.subject


def _opened(config: Config) -> Installation | UserError:
    """Before the story is read, for an edit that is applied on the way is part of it; which is shown even where the sequences are
    not in order."""
    from engine.errors import UserError

    try:
        return working(config)
    except UserError as error:
        return error


def _ahead(inst: Installation | UserError, contact: Contact, enrollments: Sequence[Enrollment]) -> list[Moment]:
    """What comes, as far as it can be told."""
    from engine.errors import UserError
    from engine.preview import ahead

    if not any(map(runs, enrollments)):
        return []
    try:
        if isinstance(inst, UserError):
            raise inst
        return [moment for moment in ahead(inst, contact, now()) if moment.action != "event"]
    except UserError as error:
        remark(f"whoelse: what is to come cannot be told: {error}")
        return []


def _rules(inst: Installation | UserError, contact: Contact) -> list[str]:
    """What they say today, as far as that can be told."""
    from engine.errors import UserError
    from engine.standing import rules

    return [] if isinstance(inst, UserError) else rules(inst, contact, now())


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
        say(f"{' ' * len(head)}[{sent.template}, version {sent.version}]")
        for line in quoted(sent.text, " " * len(head)):
            say(line)


def _words(store: Store, told: Told) -> str:
    """What the person wrote, where this line of the story is their answer."""
    heard = store.inbound_message(told.message) if told.kind == "heard" and told.message else None
    return heard.text if heard else ""


def _person_json(
    config: Config,
    store: Store,
    contact: Contact,
    story: Sequence[Told],
    enrollments: Sequence[Enrollment],
    inst: Installation | UserError,
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
        "enrollments": [enrollment_json(config, e, contact) for e in enrollments],
        "ahead": [
            {
                "at": stamp(m.at, m.zone),
                "sequence": m.sequence,
                "step": m.step,
                "action": m.action,
                "subject": m.subject,
            }
            for m in _ahead(inst, contact, enrollments)
        ],
        "referrals": [referral_json(config, *each) for each in _referrals(store, contact)],
        "rules": _rules(inst, contact),
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
                "enrollments": [enrollment_json(config, e, people[e.id]) for e in inside if e.id in people],
            }
        )
        return
    for line in as_text(sequence):
        say(line)
    say("\nIn it:")
    rows = [(c.email, where(config, e, c)) for e in inside if (c := people.get(e.id))]
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
