"""`whoelse contacts`: who is known, from an address book or a table and back into one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import (
    config_option,
    configuration,
    email_argument,
    example,
    json_option,
    only_rep_option,
    rep_option,
    store_of,
    whose,
    working,
)
from engine.cli.output import count, folded, now, print_json, remark, say, table, when, zone_of

if TYPE_CHECKING:
    from engine.config import Config
    from engine.contacts import Entry, Fed, Kept
    from engine.core.model import Contact
    from engine.core.needs import Refusal
    from engine.sheets import Sheet
    from engine.store import Store

commands = click.Group()
WORDS_MAX = 100


@commands.group(
    "contacts",
    short_help="Who is known: list, show, import, export, set.",
    epilog=example("whoelse contacts list", "whoelse contacts show dana@acme.example"),
)
def contacts() -> None:
    """Who is known, with all their addresses and fields; from an address book or a table, and back into one."""


# --- looking ---------------------------------------------------------------------------------------------------------


@contacts.command("list", epilog=example("whoelse contacts list", "whoelse contacts list acme"))
@click.argument("word", default="")
@only_rep_option
@config_option
@json_option
def list_contacts(word: str, rep: str, config: Path, as_json: bool) -> None:
    """Everybody who is known; with WORD those who have it in a name, an address, a company or a field."""
    loaded = configuration(config)
    theirs, store = whose(loaded, rep), store_of(loaded)
    found = [c for c in store.contacts() if theirs(c.owner) and word.lower() in _searched(c)]
    if as_json:
        print_json([_document(loaded, store, contact) for contact in found])
        return
    rows = [(c.name or "(no name)", c.email, c.company, _state(store, c)) for c in found]
    for line in table(rows) or ["Nobody is known" + (f" with {word!r}." if word else " yet.")]:
        say(line)


def _searched(contact: Contact) -> str:
    words = (contact.name, contact.email, contact.company, *contact.aliases, *map(str, contact.fields.values()))
    return " ".join(words).lower()


def _state(store: Store, contact: Contact) -> str:
    suppression = store.suppressed(contact.email)
    return f"suppressed ({suppression.reason})" if suppression else ""


@contacts.command("show", epilog=example("whoelse contacts show dana@acme.example"))
@email_argument
@config_option
@json_option
def show_contact(email: str, config: Path, as_json: bool) -> None:
    """All that is known of one person; `whoelse show` tells what happened."""
    loaded = configuration(config)
    store = store_of(loaded)
    contact = _known(store, email)
    if as_json:
        print_json(_document(loaded, store, contact))
        return
    for line in table(_facts(loaded, store, contact)):
        say(line)


def _known(store: Store, email: str) -> Contact:
    from engine.errors import UserError

    contact = store.contact_at(email)
    if contact is None:
        raise UserError(f"nobody has the address {email}", remedy="whoelse contacts import makes people known")
    return contact


def _facts(config: Config, store: Store, contact: Contact) -> list[tuple[str, str]]:
    from engine.contacts import PARTS

    confirmed = when(contact.confirmed_at, zone_of(config, contact))
    facts = [("email", contact.email), *(("also", alias) for alias in contact.aliases)]
    facts += [(part.replace("_", " "), getattr(contact, part)) for part in PARTS]
    facts += [(name, str(value)) for name, value in sorted(contact.fields.items())]
    facts += [("value", f"confirmed {confirmed}" if confirmed else ""), ("state", _state(store, contact))]
    return [(name, text) for name, text in facts if text]


def _document(config: Config, store: Store, contact: Contact) -> dict[str, Any]:
    from engine.cli.output import stamp
    from engine.contacts import PARTS

    suppression = store.suppressed(contact.email)
    return {
        "email": contact.email,
        "aliases": list(contact.aliases),
        **{part: getattr(contact, part) for part in PARTS},
        "fields": dict(contact.fields),
        "confirmed_at": stamp(contact.confirmed_at, zone_of(config, contact)),
        "suppressed": suppression.reason if suppression else None,
    }


# --- importing -------------------------------------------------------------------------------------------------------


@contacts.command(
    "import",
    epilog=example("whoelse contacts import people.csv --dry-run", "whoelse contacts import addressbook.vcf")
    + "\n\n\b\nA table has a column email and, where wanted, aliases, name, first_name, company, title, zone,\n"
    "country, subdivision, language, owner and field.NAME for every field of your own.",
)
@click.argument("file", type=click.Path(path_type=Path))
@rep_option
@click.option("--dry-run", is_flag=True, help="Say what would become of every row, and keep nothing.")
@click.option("--ignore-columns", is_flag=True, help="Leave out the columns that mean nothing here.")
@config_option
@json_option
def import_contacts(file: Path, rep: str, dry_run: bool, ignore_columns: bool, config: Path, as_json: bool) -> None:
    """Make people known from CSV, TSV, JSON or vCards. What a row fills in replaces what was known, what it leaves empty stays;
    feeding it again changes nothing. Nobody is enrolled by it."""
    from engine.contacts import feed, meanings, own_fields
    from engine.sheets import read_sheet, refused_file
    from engine.vcards import Cards, are_cards, read_cards, refused_cards

    inst = working(configuration(config))
    whose(inst.config, rep)
    sheet = read_cards(file) if are_cards(file) else read_sheet(file)
    names = meanings(file, sheet, own_fields(inst), ignore_columns)
    done = list(feed(inst, sheet, names, now(), rep, dry_run))
    refused = [(fed.row, str(fed.refusal)) for fed in done if fed.refusal]
    mended = None
    if refused and not dry_run:
        mended = refused_cards(file, sheet, refused) if isinstance(sheet, Cards) else refused_file(file, sheet, refused)
    if as_json:
        print_json(_fed_document(done, dry_run, mended))
    else:
        _say_fed(sheet, done, dry_run, mended)
    sys.exit(1 if refused else 0)


FATES = ("new", "changed", "unchanged", "refused")


def _reason(fed: Fed) -> str:
    return str(fed.refusal) if fed.refusal else ", ".join(fed.kept.changes) if fed.kept else ""


def _fed_document(done: Sequence[Fed], dry_run: bool, mended: Path | None) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "rows": len(done),
        **{fate: sum(fed.fate == fate for fed in done) for fate in FATES},
        "refused_file": str(mended) if mended else None,
        "results": [{"line": f.row.line, "email": f.email, "result": f.fate, "reason": _reason(f)} for f in done],
    }


def _say_fed(sheet: Sheet, done: Sequence[Fed], dry_run: bool, mended: Path | None) -> None:
    if sheet.encoding != "UTF-8":
        remark(f"Read as {sheet.encoding}.")
    told = [fed for fed in done if fed.fate == "refused" or dry_run]
    for line in table([(f"{sheet.unit} {f.row.line}", f.email, f"{f.fate}: {_reason(f)}".rstrip(": ")) for f in told]):
        say(line)
    numbers = {fate: sum(fed.fate == fate for fed in done) for fate in FATES}
    said = [f"{numbers[fate]} {fate}" for fate in FATES if numbers[fate] or fate in ("new", "refused")]
    say(f"{count(len(done), 'row')}: {', '.join(said)}.")
    if mended:
        say(f"The refused rows are in {mended}: mend them there, and import that file.")
    if dry_run:
        say("Nothing was kept: this was a dry run.")


# --- exporting -------------------------------------------------------------------------------------------------------


@contacts.command(
    "export", epilog=example("whoelse contacts export people.csv", "whoelse contacts export --vcard > all.vcf")
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--vcard", is_flag=True, help="vCards in place of CSV; a FILE that ends in .vcf has them by itself.")
@only_rep_option
@config_option
@json_option
def export_contacts(file: Path | None, vcard: bool, rep: str, config: Path, as_json: bool) -> None:
    """Everybody who is known, as a table that `contacts import` takes: into FILE (.csv, .vcf, .json), else to standard output."""
    from engine.contacts import as_row

    loaded = configuration(config)
    theirs = whose(loaded, rep)
    rows = [as_row(contact) for contact in store_of(loaded).contacts() if theirs(contact.owner)]
    form = file.suffix.lower() if file else ".vcf" if vcard else ".json" if as_json else ".csv"
    text = _exported(rows, form)
    if file is None:
        sys.stdout.write(text)
        return
    _write_private(file, text, "utf-8-sig" if form == ".csv" else "utf-8")
    say(f"{count(len(rows), 'contact')} are in {file}.")


def _exported(rows: list[dict[str, Any]], form: str) -> str:
    import json

    from engine.contacts import columns_of
    from engine.errors import UserError
    from engine.sheets import csv_text
    from engine.vcards import cards_text

    match form:
        case ".csv":
            return csv_text(columns_of(rows), rows)
        case ".vcf":
            return cards_text(rows)
        case ".json":
            return json.dumps(rows, ensure_ascii=False, indent=2, default=str) + "\n"
    raise UserError(f"no table is written into a file that ends in {form!r}", remedy="name it .csv, .vcf or .json")


def _write_private(file: Path, text: str, encoding: str) -> None:
    """Into a new file that nobody else can read: it is full of addresses. Raises UserError where one is there."""
    from engine.errors import UserError

    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UserError("is there already", str(file), "name another file, or delete it first") from None
    with os.fdopen(descriptor, "w", encoding=encoding, newline="") as out:
        out.write(text)


# --- by hand ---------------------------------------------------------------------------------------------------------


@contacts.command(
    "set",
    epilog=example(
        "whoelse contacts set dana@acme.example language=de title=COO",
        "whoelse contacts set dana@acme.example field.tier=gold contract_date=2026-09-01",
        "whoelse contacts set dana@acme.example --alias dana@home.example",
        "whoelse contacts set dana@acme.example --email dana@newjob.example",
    ),
)
@email_argument
@click.argument("values", nargs=-1, metavar="NAME=VALUE...")
@click.option(
    "--alias", "added", metavar="ADDRESS", multiple=True, help="Another address of theirs; repeat it for more."
)
@click.option(
    "--remove-alias", "removed", metavar="ADDRESS", multiple=True, help="An address that is theirs no longer."
)
@click.option("--email", "moved", metavar="ADDRESS", default="", help="Where they are written to from now on.")
@config_option
def set_contact(
    email: str, values: tuple[str, ...], added: tuple[str, ...], removed: tuple[str, ...], moved: str, config: Path
) -> None:
    """Change what is known of somebody. `NAME=` alone takes it away; a field of your own that nobody has yet is `field.NAME`."""
    from engine.contacts import keep, move, own_fields
    from engine.core.needs import Refusal

    if not (values or added or removed or moved):
        raise click.UsageError("say what to change, like language=de")
    inst = working(configuration(config))
    contact = _known(inst.store, email)
    entry = _entry(contact, values, (contact.email, *added), removed, own_fields(inst))
    with inst.store.transaction():
        kept = keep(inst, entry, now())
        if moved and not isinstance(kept, Refusal):
            kept = _both(kept, move(inst, kept.now, moved, now()))
        _answer(kept)


def _both(first: Kept, second: Kept | Refusal) -> Kept | Refusal:
    from dataclasses import replace

    from engine.core.needs import Refusal

    return second if isinstance(second, Refusal) else replace(second, before=first.before)


def _answer(kept: Kept | Refusal) -> None:
    """Says what was changed. Raises UserError, by which nothing of it is kept, for a refusal."""
    from engine.core.needs import Refusal
    from engine.errors import UserError

    if isinstance(kept, Refusal):
        raise UserError(kept.reason, remedy=kept.remedy)
    for line in folded(", ".join(kept.changes) or "nothing is different", f"{kept.now.email}: "):
        say(line)


def _entry(
    contact: Contact, values: Sequence[str], addresses: Sequence[str], removed: Sequence[str], own: frozenset[str]
) -> Entry:
    from engine.contacts import FIELD, Entry
    from engine.errors import UserError

    given = {_named(item, own): item.partition("=")[2].strip() for item in values}
    if strange := next((a for a in removed if a.strip().lower() not in contact.aliases), ""):
        raise UserError(f"{strange} is no alias of {contact.email}", remedy="whoelse contacts show lists them")
    fields = {name.removeprefix(FIELD): text for name, text in given.items() if name.startswith(FIELD)}
    parts = {name: text for name, text in given.items() if not name.startswith(FIELD)}
    return Entry(tuple(addresses), parts, fields, tuple(a.strip().lower() for a in removed))


def _named(item: str, own: frozenset[str]) -> str:
    from engine.contacts import PARTS, meaning
    from engine.core.problem import did_you_mean
    from engine.errors import UserError

    name, equals, _ = item.partition("=")
    found = meaning(name, own)
    if equals and (found in PARTS or found.startswith("field.")):
        return found
    if equals and found:
        raise UserError(f"{name} is changed by --email, --alias and --remove-alias")
    hint = did_you_mean(name.strip(), {*PARTS, *own}) if equals else "write NAME=VALUE"
    raise UserError(f"{item!r} is nothing that is known of a person", remedy=f"{hint}; or field.NAME for your own")
