"""The referral log: who named or introduced whom and what became of it, one referral's story with what proves each step, and
the graph over generations."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import (
    config_option,
    configuration,
    example,
    json_option,
    only_rep_option,
    store_of,
    whose,
    working,
)
from engine.cli.output import folded, now, print_json, quoted, say, stamp, table, when, zone_of
from engine.core.words import length_text

if TYPE_CHECKING:
    from engine.config import Config
    from engine.core.model import Contact, Referral, ReferralLine
    from engine.store import Store

commands = click.Group()

STATES = ("named", "introduced", "contacted", "met", "won", "lost", "open")
SOURCES = ("reply", "introduction", "rep")
DATES = ("named", "introduced", "contacted", "met", "won", "lost")
ANSWER_LINES_MAX = 6
COLUMNS = (
    "prospect",
    "email",
    "company",
    "client",
    "rep",
    "state",
    "source",
    *(f"{name}_at" for name in (*DATES, "answered")),
)


@commands.command(
    "referrals",
    short_help="Who named or introduced whom, and what became of it.",
    epilog=example(
        "whoelse referrals",
        "whoelse referrals --state open --rep sam@consulting.example",
        "whoelse referrals barry@northwind.example",
        "whoelse referrals barry@northwind.example --note 'knows Dana from the trade fair'",
        "whoelse referrals --graph",
        "whoelse referrals --svg introductions.svg",
    ),
)
@click.argument("email", default="")
@click.option("--state", type=click.Choice(STATES), help="Only those in that state; `open` are neither won nor lost.")
@click.option("--source", type=click.Choice(SOURCES), help="Only those that were learned in that way.")
@click.option("--since", metavar="DATE", default="", help="Only those named since that day, like 2026-01-01.")
@click.option("--until", metavar="DATE", default="", help="Only those named up to that day.")
@only_rep_option
@click.option("--note", default="", help="Keep a note on the referral of EMAIL.")
@click.option("--graph", is_flag=True, help="Who introduced whom, over generations.")
@click.option("--svg", metavar="FILE", type=click.Path(path_type=Path), help="Draw the graph into a file.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for a spreadsheet.")
@config_option
@json_option
def referrals(
    email: str,
    state: str | None,
    source: str | None,
    since: str,
    until: str,
    rep: str,
    note: str,
    graph: bool,
    svg: Path | None,
    as_csv: bool,
    config: Path,
    as_json: bool,
) -> None:
    """The referral log. With EMAIL (the prospect's, or the client's) the whole story of each, with the message that proves each
    step, what was answered, and your notes."""
    loaded = configuration(config)
    if note:
        _note(loaded, email, note)
        return
    if graph or svg:
        _graph(loaded, rep, svg)
        return
    store = store_of(loaded)
    chosen = _chosen(loaded, store, email, state, source, _day(since, "--since"), _day(until, "--until"), rep)
    clients = {r.client: store.contact(r.client) for r in chosen}
    if as_csv:
        from engine.sheets import csv_text

        sys.stdout.write(csv_text(COLUMNS, [_csv_row(loaded, r, clients[r.client]) for r in chosen]))
    elif as_json:
        found = [referral_json(loaded, r, clients[r.client]) for r in chosen]
        logs = [{"log": [_line_json(loaded, store, r, line) for line in store.referral_lines(r.id)]} for r in chosen]
        print_json([{**row, **log} for row, log in zip(found, logs, strict=True)] if email else found)
    elif email:
        for referral in chosen:
            _say_story(loaded, store, referral, clients[referral.client])
    else:
        rows = [referral_row(loaded, r, clients[r.client]) for r in chosen]
        for line in table(rows) or ["Nobody was named yet." if not (state or source or since or until) else "None."]:
            say(line)


def _day(text: str, option: str) -> date | None:
    from engine.cli.reports import day

    return day(text, option)


def _chosen(
    config: Config,
    store: Store,
    email: str,
    state: str | None,
    source: str | None,
    since: date | None,
    until: date | None,
    rep: str,
) -> list[Referral]:
    """Those that every given filter lets through. Raises UserError when somebody is named who is on no referral."""
    from zoneinfo import ZoneInfo

    zone, theirs = ZoneInfo(config.company.zone), whose(config, rep)

    def fits(referral: Referral) -> bool:
        day = referral.named_at.astimezone(zone).date()
        return (
            theirs(referral.rep)
            and (not state or _is_in(referral, state))
            and (not source or referral.source == source)
            and (since is None or day >= since)
            and (until is None or day <= until)
        )

    return [r for r in (_of(store, email) if email else store.referrals()) if fits(r)]


def _of(store: Store, email: str) -> list[Referral]:
    """Of a prospect, by any of their addresses, or of a client. Raises UserError when there is none."""
    from engine.core.model import Person
    from engine.errors import UserError

    contact = store.contact_at(email)
    addresses = {email.lower(), *((contact.email, *contact.aliases) if contact else ())}
    found = [r for address in sorted(addresses) for r in store.referrals_to(Person(email=address))]
    found += [r for r in (store.referrals_by(contact.id) if contact else ()) if r not in found]
    if not found:
        raise UserError(f"there is no referral of {email}", remedy="whoelse referrals lists them")
    return found


def _is_in(referral: Referral, state: str) -> bool:
    """`introduced` is a date, whatever the state is."""
    if state == "introduced":
        return referral.introduced_at is not None
    return referral.state not in ("won", "lost") if state == "open" else referral.state == state


def _note(config: Config, email: str, note: str) -> None:
    from engine.decisions import log_referral
    from engine.errors import UserError

    inst = working(config)
    found = _of(inst.store, email)
    if len({r.prospect.email for r in found}) > 1:
        raise UserError(f"{email} has {len(found)} referrals", remedy="name the prospect's address")
    with inst.store.transaction():
        for referral in found:
            log_referral(inst, referral, "note", now(), note)
    say(f"Noted: whoelse referrals {found[0].prospect.email or email} shows it.")


# --- one referral's story --------------------------------------------------------------------------------------------


def _say_story(config: Config, store: Store, referral: Referral, client: Contact | None) -> None:
    who, zone = referral.prospect, zone_of(config, client, referral.rep)
    head = ", ".join(filter(None, (who.name or who.email or "(erased)", who.title, who.company)))
    say(head + (f" <{who.email}>" if who.email and who.name else ""))
    learned = {"reply": "from a reply", "introduction": "from an introduction by email", "rep": "from the rep's word"}
    by = _client_words(client)
    say(
        f"  referred by {by}, {referral.rep}'s; learned {learned.get(referral.source, referral.source)}; {referral.state}"
    )
    for line in store.referral_lines(referral.id):
        _say_line(store, line, zone)
    say()


def _client_words(client: Contact | None) -> str:
    if client is None or "@" not in client.email:
        return "(erased)"
    return f"{client.name} <{client.email}>" if client.name else client.email


def _say_line(store: Store, line: ReferralLine, zone: str) -> None:
    head = f"  {when(line.at, zone)}  "
    words = {"said": "the client wrote", "answered": "the prospect answered"}.get(line.what, line.what)
    own = line.text if line.what not in ("said", "answered") else ""
    for text in folded(words + (f": {own}" if own else "") + _proof(store, line), head):
        say(text)
    if line.text and not own:
        for text in quoted(line.text, " " * len(head), ANSWER_LINES_MAX):
            say(text)


def _proof(store: Store, line: ReferralLine) -> str:
    """` (by a message of dana@acme.example: An introduction)`: what proves a step."""
    if not line.message:
        return "" if line.what == "note" else " (the rep's word)"
    if inbound := store.inbound_message(line.message):
        return f" (by a message of {inbound.sender or '(erased)'}: {inbound.subject})"
    sent = store.outbox_message(line.message)
    return f" (by our email: {sent.subject})" if sent else ""


def _line_json(config: Config, store: Store, referral: Referral, line: ReferralLine) -> dict[str, Any]:
    inbound = store.inbound_message(line.message) if line.message else None
    sent = store.outbox_message(line.message) if line.message and inbound is None else None
    proof = inbound or sent
    return {
        "at": stamp(line.at, zone_of(config, store.contact(referral.client), referral.rep)),
        "what": line.what,
        "text": line.text,
        "message_id": proof.message_id if proof else None,
        "subject": proof.subject if proof else None,
    }


# --- the graph -------------------------------------------------------------------------------------------------------


def _graph(config: Config, rep: str, svg: Path | None) -> None:
    from engine.origins import branch_lines, tree

    inst = working(config)
    whose(config, rep)
    mailbox = config.mailbox(rep)
    found = tree(inst, mailbox.address if mailbox else "")
    if svg:
        from engine.charts import family, standalone
        from engine.errors import UserError

        try:
            svg.write_text(standalone(family(found)), encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot be written: {error.strerror}", str(svg), "name another file") from None
        say(f"The graph is in {svg}.")
        return
    for line in [line for branch in found for line in branch_lines(branch)] or ["Nobody was named yet."]:
        say(line)


# --- the log ---------------------------------------------------------------------------------------------------------


def referral_json(config: Config, referral: Referral, client: Contact | None) -> dict[str, Any]:
    from dataclasses import asdict

    zone = zone_of(config, client, referral.rep)
    return {
        "prospect": asdict(referral.prospect),
        "client": client.email if client and "@" in client.email else "",
        "rep": referral.rep,
        "state": referral.state,
        "source": referral.source,
        **{f"{name}_at": stamp(getattr(referral, f"{name}_at"), zone) for name in (*DATES, "answered")},
    }


def _csv_row(config: Config, referral: Referral, client: Contact | None) -> dict[str, Any]:
    who = referral.prospect
    row = referral_json(config, referral, client)
    return {**row, "prospect": who.name, "email": who.email, "company": who.company}


def referral_row(config: Config, referral: Referral, client: Contact | None) -> tuple[str, str, str]:
    zone = zone_of(config, client, referral.rep)
    who = referral.prospect
    dates = [(name, getattr(referral, f"{name}_at")) for name in DATES]
    said = ", ".join(f"{name} {when(at, zone)}" for name, at in dates if at)
    clock = speed(referral)
    return (
        who.name or who.email or "(erased)",
        f"by {client.email if client and '@' in client.email else '(erased)'}",
        f"{said}; {clock}" if clock else said,
    )


def speed(referral: Referral) -> str:
    """How long an introduction has waited for its answer, or how soon that came."""
    if referral.introduced_at is None:
        return ""
    if referral.waits:
        return f"introduced {length_text(now() - referral.introduced_at)} ago, not answered"
    at = referral.answered_at
    return f"answered after {length_text(at - referral.introduced_at)}" if at else ""
