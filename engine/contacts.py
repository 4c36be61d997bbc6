"""Who is known, from tables, cards and by hand. One person is one contact, however many addresses they have: what is filled in
replaces what was known, what is left out stays, and no two contacts are ever made one. Nobody is enrolled here, and whoever was
suppressed or forgotten stays so."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from engine.core.calendar import Place, place_problem
from engine.core.model import Contact, OutboxState
from engine.core.needs import Refusal
from engine.core.problem import Problem
from engine.enrollments import checked_address, forgotten, unspeakable
from engine.errors import UserError
from engine.installation import Installation
from engine.intake import CONTACT
from engine.sheets import OURS, Row, Sheet, simple, tidy, unreadable
from engine.store import Store, open_store
from engine.vcards import Cards

#: What is known of everybody, beside their addresses and ops' own fields.
PARTS = (*CONTACT, "owner")
COLUMNS = ("email", "aliases", *PARTS)
#: A field of ops' own is a column `field.tier`; templates say `client.tier`.
FIELD = "field."
FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")
#: Names that a template or a trigger gives another meaning.
TAKEN = frozenset({*COLUMNS, "id", "rep", "client", "prospect", "referral", "confirmed_at"})
LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*")
FIELD_CHARACTERS_MAX = 2_000
_BETWEEN = re.compile(r"(?:[\s|;,]|:::)+")  # Google writes ":::" between several addresses
_LAST_NAME = "last_name"
#: How address books and spreadsheets call our columns, simplified: those of Google, Outlook and German ones.
SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(("emailaddress", "mail", "email1value", "email1address", "emailadresse"), "email"),
    **dict.fromkeys(("alias", "emails", "email2value", "email3value", "email2address", "email3address"), "aliases"),
    **dict.fromkeys(("email2adresse", "email3adresse"), "aliases"),
    **dict.fromkeys(("fullname", "displayname"), "name"),
    **dict.fromkeys(("givenname", "vorname"), "first_name"),
    **dict.fromkeys(("lastname", "familyname", "surname", "nachname"), _LAST_NAME),
    **dict.fromkeys(("organization", "organisation", "organizationname", "companyname", "firma"), "company"),
    **dict.fromkeys(("jobtitle", "organizationtitle", "position"), "title"),
    "timezone": "zone",
    "locale": "language",
    "sprache": "language",
    "rep": "owner",
}

Fate = Literal["new", "changed", "unchanged", "refused"]


@dataclass(frozen=True)
class Entry:
    """What a row, a card or a command says of one person; what it leaves out is not touched. The first of `addresses` is where
    somebody new is written to. An empty text takes away what was known, and so does `without`, of addresses."""

    addresses: tuple[str, ...]
    parts: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """What became of an entry: the contact as it is now, and as it was (None: somebody new)."""

    now: Contact
    before: Contact | None

    @property
    def fate(self) -> Fate:
        return "new" if self.before is None else "unchanged" if self.before == self.now else "changed"

    @property
    def changes(self) -> tuple[str, ...]:
        """`company Acme`, `also dana@home.example`: what is different, in words."""
        before = self.before or Contact("", self.now.email)
        parts = [(part, getattr(before, part), getattr(self.now, part)) for part in PARTS]
        names = sorted({*before.fields, *self.now.fields})
        fields = [(name, before.fields.get(name, ""), self.now.fields.get(name, "")) for name in names]
        said = [f"{name} {new}" if new else f"no {name}" for name, old, new in (*parts, *fields) if old != new]
        said += [f"also {a}" for a in self.now.aliases if a not in (before.email, *before.aliases)]
        said += [f"no longer {a}" for a in before.aliases if a not in (self.now.email, *self.now.aliases)]
        return (*((f"email {self.now.email}",) if self.now.email != before.email else ()), *said)


@dataclass(frozen=True)
class Fed:
    """What became of a row."""

    row: Row
    email: str
    kept: Kept | None = None
    refusal: Refusal | None = None

    @property
    def fate(self) -> Fate:
        return self.kept.fate if self.kept else "refused"


# --- what columns mean -----------------------------------------------------------------------------------------------


def own_fields(inst: Installation) -> frozenset[str]:
    """The fields of ops' own that somebody has, or that a template, a sequence or a trigger asks for as `client.NAME`."""
    asked = {n for text in inst.library.sources.values() for n in re.findall(r"\bclient\.([a-z]\w*)", text)}
    return frozenset({*asked, *(name for contact in inst.store.contacts() for name in contact.fields)} - TAKEN)


def meaning(column: str, own: Collection[str]) -> str:
    """What a column holds: one of ours, `field.NAME`, or nothing that we know."""
    bare = simple(column)
    if bare.startswith(FIELD):
        name = re.sub(r"\W+", "_", column.strip().partition(".")[2].strip().lower())
        return FIELD + name if FIELD_NAME.fullmatch(name) and name not in TAKEN else ""
    known = {simple(name): name for name in (*COLUMNS, *OURS, _LAST_NAME)}
    fields = {simple(name): FIELD + name for name in own}
    return known.get(bare) or SYNONYMS.get(bare) or fields.get(bare, "")


def meanings(path: Path, sheet: Sheet, own: Collection[str], ignore: bool) -> dict[str, str]:
    """Each column's meaning. Raises UserError with every one that has none, unless they are to be ignored; and where there is no
    address at all."""
    found = {column: meaning(column, own) for column in sheet.columns}
    problems = [] if ignore else [unknown(path, sheet, column, own) for column, name in found.items() if not name]
    if "email" not in found.values():
        problems.append(Problem(str(path), 1, 1, "column", "has no column email", "name the column of addresses email"))
    if problems:
        raise UserError("is no table of contacts", str(path), problems=problems)
    return found


def unknown(path: Path, sheet: Sheet, column: str, own: Collection[str]) -> Problem:
    name = re.sub(r"\W+", "_", column.strip().lower()).strip("_")
    near = difflib.get_close_matches(name, {*COLUMNS, *own}, n=1)
    hint = f"did you mean {near[0]}?" if near else "take it out, or --ignore-columns"
    hint += f"; {FIELD}{name} makes it a field of your own" if FIELD_NAME.fullmatch(name) and name not in TAKEN else ""
    place = sheet.columns.index(column) + 1
    return Problem(str(path), 1, place, "column", f"the column {column!r} means nothing", hint)


def entry_of(row: Row, names: Mapping[str, str]) -> Entry | Refusal:
    """The entry that a row holds; an empty cell says nothing."""
    cells: dict[str, list[Any]] = {}
    for column, cell in row.cells.items():
        tidied, name = tidy(cell), names.get(column, "")
        if name and name not in OURS and tidied not in ("", None, []):
            cells.setdefault(name, []).append(tidied)
    if refusal := unreadable(row, {name: cell for name, found in cells.items() for cell in found}):
        return refusal
    given = [*cells.pop("email", []), *cells.pop("aliases", [])]
    if odd := next((n for n, found in cells.items() if isinstance(found[0], list | dict)), ""):
        return Refusal("row", f"{odd} is no text", "write one text or number")
    texts = {name: str(found[0]) for name, found in cells.items()}
    whole = f"{texts.get('first_name', '')} {texts.pop(_LAST_NAME, '')}".strip()
    parts = {name: texts[name] for name in PARTS if name in texts}
    parts |= {"name": whole} if whole and "name" not in parts else {}
    fields = {name.removeprefix(FIELD): text for name, text in texts.items() if name.startswith(FIELD)}
    return Entry(tuple(_spread(given)), parts, fields)


def _spread(given: Iterable[Any]) -> Iterator[str]:
    """The addresses in cells: several may stand in one, or be a list."""
    for cell in given:
        if isinstance(cell, list | tuple):
            yield from _spread(cell)
        else:
            yield from filter(None, _BETWEEN.split(str(cell)))


# --- keeping ---------------------------------------------------------------------------------------------------------


def keep(inst: Installation, entry: Entry, now: datetime, rep: str = "") -> Kept | Refusal:
    """The contact of an entry, made or changed at `now` (UTC). `rep` owns somebody new who has no other owner."""
    checked = _checked(inst, entry)
    if isinstance(checked, Refusal):
        return checked
    with inst.store.transaction():
        return _merged(inst, checked, now, rep)


def _checked(inst: Installation, entry: Entry) -> Entry | Refusal:
    """The entry as it may be kept, or the first thing that is wrong with it."""
    if not entry.addresses:
        return Refusal("row", "has no email", "fill it in")
    addresses: dict[str, None] = {}
    for given in entry.addresses:
        address = checked_address(given)
        if isinstance(address, Refusal):
            return address
        if inst.config.mailbox(address):
            return Refusal("rep", f"{address} is a rep's own address", "take it out")
        if refusal := forgotten(inst, address):
            return refusal
        addresses[address] = None
    if refusal := unspeakable(entry.parts):
        return refusal
    if long := next((n for n, text in entry.fields.items() if len(str(text)) > FIELD_CHARACTERS_MAX), ""):
        return Refusal("field", f"{long} has more than {FIELD_CHARACTERS_MAX:,} characters", "shorten it")
    parts = dict(entry.parts)
    if language := parts.get("language"):
        if not LANGUAGE.fullmatch(language):
            return Refusal("language", f"{language!r} is no language", "write it like de or en-GB")
        parts["language"] = language.replace("_", "-").lower()
    parts |= {"country": parts["country"].upper()} if "country" in parts else {}
    if owner := parts.get("owner"):
        mailbox = inst.config.mailbox(owner)
        if mailbox is None:
            return _no_rep(inst, f"{owner} is no mailbox of the config")
        parts["owner"] = mailbox.address
    return replace(entry, addresses=tuple(addresses), parts=parts)


def _no_rep(inst: Installation, reason: str) -> Refusal:
    return Refusal("rep", reason, f"the owner is one of {', '.join(m.address for m in inst.config.mailboxes)}")


def _merged(inst: Installation, entry: Entry, now: datetime, rep: str) -> Kept | Refusal:
    found = {a: c for a in entry.addresses if (c := inst.store.contact_at(a))}
    if len({contact.id for contact in found.values()}) > 1:
        whose = " and ".join(f"{address} is {c.name or c.email}'s" for address, c in found.items())
        return Refusal("two", f"two contacts would become one: {whose}", "leave only one person's addresses in it")
    known = next(iter(found.values()), None)
    base = known or Contact("", entry.addresses[0])
    fields = {name: text for name, text in {**base.fields, **entry.fields}.items() if text != ""}
    every = dict.fromkeys((*base.aliases, *entry.addresses))
    aliases = tuple(a for a in every if a not in (base.email, *entry.without))
    contact = replace(base, **entry.parts, fields=fields, aliases=aliases)
    if refusal := _misplaced(contact):
        return refusal
    if known is None and not contact.owner:
        reps = [m.address for m in inst.config.mailboxes]
        contact = replace(contact, owner=rep or (reps[0] if len(reps) == 1 else ""))
        if not contact.owner:
            return _no_rep(inst, f"whose client {contact.email} is cannot be known")
    kept = Kept(_saved(inst.store, known, contact), known)
    if kept.fate != "unchanged":
        verb = "made known" if known is None else "changed"
        inst.store.tell(now, "contact", f"{verb}: {', '.join(kept.changes)}", kept.now.id)
    return kept


def _misplaced(contact: Contact) -> Refusal | None:
    place = Place(contact.zone or "UTC", contact.country, contact.subdivision)
    said, _, remedy = place_problem(place).partition("; ")
    return Refusal("place", said, remedy) if said else None


def _saved(store: Store, known: Contact | None, contact: Contact) -> Contact:
    if known is None:
        return store.add_contact(contact)
    if contact != known:
        store.save_contact(contact)
        for address in known.aliases:
            if address not in contact.aliases:
                store.drop_address(contact.id, address)
    return contact


def move(inst: Installation, contact: Contact, email: str, now: datetime) -> Kept | Refusal:
    """From `now` on (UTC) emails go to another address of theirs; the old one stays known as theirs.

    Not while an email to the old one is on its way, and never around an opt-out."""
    refused = inst.store.suppressed(contact.email)
    if refused and refused.reason != "bounced":
        why = f"{contact.email} is suppressed ({refused.reason}), and that is theirs, not the address's"
        return Refusal("suppressed", why, "nobody is written to at another address after an opt-out")
    with inst.store.transaction():
        added = keep(inst, Entry((contact.email, email)), now)
        if isinstance(added, Refusal):
            return added
        done = (OutboxState.SENT, OutboxState.REFUSED, OutboxState.CANCELLED)
        if any(m.state not in done and m.recipient == contact.email for m in inst.store.outbox_to(contact.id)):
            why = f"an email to {contact.email} is on its way, or a draft waits"
            return Refusal("outbox", why, "try again once it is decided (whoelse drafts, whoelse doubts)")
        new = next(a for a in (added.now.email, *added.now.aliases) if a == email.strip().lower())
        old = (*added.now.aliases, added.now.email)
        moved = replace(added.now, email=new, aliases=tuple(a for a in old if a != new))
        inst.store.save_contact(moved)
        inst.store.move_contact(moved.id, moved.email)
        inst.store.tell(now, "contact", f"emails go to {moved.email} from now on", moved.id)
        return Kept(moved, contact)


# --- many ------------------------------------------------------------------------------------------------------------


def feed(
    inst: Installation, sheet: Sheet, names: Mapping[str, str], now: datetime, rep: str = "", dry: bool = False
) -> Iterator[Fed]:
    """Keeps row by row at `now` (UTC), each in a transaction of its own, and yields what became of it.

    `dry`: the same verbs in a scratch store, which sees what the rows before would have changed; nothing is kept or locked."""
    scratch = open_store(":memory:") if dry else None
    faults = sheet.faults if isinstance(sheet, Cards) else {}
    there = replace(inst, store=scratch) if scratch else inst
    for row in sheet.rows:
        if fault := faults.get(row.line):
            yield Fed(row, "", refusal=Refusal("card", fault, "mend it, or take it out"))
            continue
        entry = entry_of(row, names)
        if isinstance(entry, Refusal):
            yield Fed(row, "", refusal=entry)
            continue
        if scratch:
            _bring(inst.store, scratch, entry)
        kept, email = keep(there, entry, now, rep), next(iter(entry.addresses), "")
        yield Fed(row, email, refusal=kept) if isinstance(kept, Refusal) else Fed(row, email, kept)
    if scratch:
        scratch.close()


def _bring(source: Store, scratch: Store, entry: Entry) -> None:
    for address in map(str.lower, entry.addresses):
        known, suppression = source.contact_at(address), source.suppressed(address)
        if known and not scratch.contact(known.id):
            scratch.add_contact(known)
        if suppression and not suppression.address:
            scratch.suppress_hash(address, suppression.reason, suppression.at)


def as_row(contact: Contact) -> dict[str, Any]:
    """A contact as a row of the table that `feed` takes."""
    own = {FIELD + name: value for name, value in contact.fields.items()}
    parts = {part: getattr(contact, part) for part in PARTS}
    return {"email": contact.email, "aliases": list(contact.aliases), **parts, **own}


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Ours, and then every field that somebody has."""
    return [*COLUMNS, *sorted({name for row in rows for name in row} - set(COLUMNS))]
