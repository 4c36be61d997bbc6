"""The referral log, and what the engine makes of a message."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import config_option, configuration, example, json_option, only_rep_option, store_of, whose
from engine.cli.output import print_json, quoted, remark, say, stamp, table, when, zone_of

if TYPE_CHECKING:
    from engine.config import Config
    from engine.core.model import Contact, Reading, Referral

commands = click.Group()

ANSWER_LINES_MAX = 6


# --- referrals -------------------------------------------------------------------------------------------------------


@commands.command("referrals", short_help="Who named or introduced whom.", epilog=example("whoelse referrals"))
@only_rep_option
@config_option
@json_option
def referrals(rep: str, config: Path, as_json: bool) -> None:
    """The referral log: who named or introduced whom, and what became of it."""
    loaded = configuration(config)
    theirs = whose(loaded, rep)
    store = store_of(loaded)
    found = [referral for referral in store.referrals() if theirs(referral.rep)]
    clients = {r.client: store.contact(r.client) for r in found}
    if as_json:
        print_json([referral_json(loaded, r, clients[r.client]) for r in found])
        return
    rows = [referral_row(loaded, r, clients[r.client]) for r in found]
    for line in table(rows) or ["Nobody was named yet."]:
        say(line)


DATES = ("named", "introduced", "contacted", "met", "won", "lost")


def referral_json(config: Config, referral: Referral, client: Contact | None) -> dict[str, Any]:
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


def referral_row(config: Config, referral: Referral, client: Contact | None) -> tuple[str, str, str]:
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
