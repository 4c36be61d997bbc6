"""Address books: vCards in (RFC 6350, RFC 2426, and the 2.1 of old phones) and out (version 3.0, which every program reads).
A card that cannot be read refuses itself alone. What a cell means is said in the words of a table's columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.needs import first_name
from engine.errors import UserError
from engine.sheets import Row, Sheet, decoded, refused_names

_BEGIN = re.compile(r"^BEGIN:VCARD[ \t]*\r?$", re.I | re.M)
#: What we have no property of the standard for, and what a refused card says of itself.
OURS, REASON = "x-whoelse-", "X-WHOELSE-REASON"
_PLACED = ("country", "subdivision", "owner")
#: Kinds of cards that are nobody (RFC 6350 §6.1.4).
NOBODY = ("group", "org", "location", "application", "device")


@dataclass(frozen=True)
class Cards(Sheet):
    """A file of cards as a table: a row a card, its place the line of its BEGIN. `texts` are the cards as they stand, `faults` what
    is wrong with those that could not be read."""

    texts: Mapping[int, str]
    faults: Mapping[int, str]

    @property
    def unit(self) -> str:
        return "line"


def are_cards(path: Path) -> bool:
    """Whether a file holds vCards, by its first line. Raises UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return decoded(file.read(100))[0].lstrip()[:11].upper() == "BEGIN:VCARD"
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path), "name a file of contacts") from None


def read_cards(path: Path) -> Cards:
    text, encoding = decoded(path.read_bytes())
    begins = [found.start() for found in _BEGIN.finditer(text)]
    texts = {text.count("\n", 0, a) + 1: text[a:b] for a, b in zip(begins, [*begins[1:], len(text)], strict=True)}
    rows, faults = [], {}
    for line, card in texts.items():
        try:
            cells = _cells(card)
        except ValueError as error:
            cells, faults[line] = {}, str(error)
        rows.append(Row(line, cells))
    columns = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    return Cards(columns, tuple(rows), encoding, "", texts, faults)


def _cells(text: str) -> dict[str, Any]:
    """What a card says. Raises ValueError where it is none."""
    import vobject  # 40 ms to import

    try:
        card = vobject.readOne(text, allowQP="QUOTED-PRINTABLE" in text.upper())
        said = {name: [line.value for line in lines] for name, lines in card.contents.items()}
        emails = sorted(card.contents.get("email", ()), key=lambda line: not _preferred(line))
    except Exception as error:  # the library raises whatever it stumbles over
        said_by_it = re.sub(r"^At line \d+: ", "", str(error)) or type(error).__name__
        raise ValueError(f"is no vCard: {said_by_it}") from None
    if _first(said, "kind").lower() in NOBODY:
        raise ValueError(f"is the card of a {_first(said, 'kind').lower()}, of nobody")
    parts = said["n"][0] if "n" in said else None
    given, family = (_text(getattr(parts, part, "")) for part in ("given", "family"))
    name, zone = _first(said, "fn") or f"{given} {family}".strip(), _first(said, "tz")
    cells = {
        "email": [str(line.value) for line in emails],
        "name": name,
        "first_name": given if given != first_name(name) else "",
        "company": _first(said, "org"),
        "title": _first(said, "title"),
        "language": _first(said, "lang"),
        "zone": zone if "/" in zone else "",  # an offset from UTC is no zone
    }
    own = {name.removeprefix(OURS): values[0] for name, values in said.items() if name.startswith(OURS)}
    own.pop("reason", None)
    cells |= {name if name in _PLACED else f"field.{name.replace('-', '_')}": value for name, value in own.items()}
    return {name: value for name, value in cells.items() if value}


def _preferred(line: Any) -> bool:
    types = [*line.params.get("TYPE", ()), *line.singletonparams]
    return "pref" in map(str.lower, types) or "1" in line.params.get("PREF", ())


def _first(said: Mapping[str, Sequence[Any]], name: str) -> str:
    return _text(said[name][0]) if said.get(name) else ""


def _text(value: Any) -> str:
    return _text(value[0]) if isinstance(value, list) and value else str(value or "").strip()


# --- writing ---------------------------------------------------------------------------------------------------------


def cards_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """A card for each row of a table of contacts."""
    return "".join(map(_card, rows))


def _card(row: Mapping[str, Any]) -> str:
    import vobject
    from vobject.vcard import Name

    card = vobject.vCard()
    name = row["name"] or row["email"]
    given = row["first_name"] or first_name(name)
    card.add("fn").value = name
    card.add("n").value = Name(family=name.removeprefix(given).strip(), given=given)
    for place, address in enumerate((row["email"], *row["aliases"])):
        email = card.add("email")
        email.value, email.params["TYPE"] = address, ["INTERNET", *(["PREF"] if place == 0 else [])]
    if row["company"]:
        card.add("org").value = [row["company"]]
    for ours, theirs in (("title", "title"), ("language", "lang"), ("zone", "tz")):
        if row[ours]:
            card.add(theirs).value = row[ours]
    for column, value in row.items():
        own = column in _PLACED or column.startswith("field.")
        if own and value not in ("", None):
            card.add(OURS + column.removeprefix("field.").replace("_", "-")).value = str(value)
    return str(card.serialize())


def refused_cards(path: Path, cards: Cards, refused: Sequence[tuple[Row, str]]) -> Path:
    """Writes the refused cards beside the file as they stand, each with its reason, to be mended and fed again; returns where."""
    text = "".join(_with_reason(cards.texts[row.line], reason) for row, reason in refused)
    for beside in refused_names(path):
        try:
            with beside.open("x", encoding="utf-8", newline="") as file:
                file.write(text)
        except FileExistsError:
            continue
        return beside
    raise UserError("has too many files of refused cards beside it", str(path), "delete those that were mended")


def _with_reason(card: str, reason: str) -> str:
    bare = re.sub(rf"^{REASON}:.*\r?\n", "", card, flags=re.I | re.M).rstrip("\r\n")
    head, _, rest = bare.partition("\n")
    told = " ".join(reason.split()).replace("\\", "\\\\").replace(",", "\\,").replace(";", "\\;")
    return f"{head.rstrip()}\n{REASON}:{told}\n{rest}\n"
