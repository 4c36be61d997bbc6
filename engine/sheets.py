"""Tables that people keep in spreadsheets: read with whatever encoding and delimiter they were saved in, and written so that no
spreadsheet runs what stands in a cell. A file is read whole or refused with its line; what a column means is not known here.
Rows that were refused go into a file beside it, to be mended and fed again."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.needs import Refusal
from engine.errors import UserError

DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r"sep=(.)\r?\n", re.I)
#: A spreadsheet takes these for the beginning of a formula; a quote before them makes it a text.
_RUNS = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
EXTRA = "\0extra"
SAVE_AS = 'save it as "CSV UTF-8"'
#: What `refused_file` adds; a mended file is fed with them in it.
OURS = ("line", "item", "reason")
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
REFUSED_FILES_MAX = 10_000


@dataclass(frozen=True)
class Row:
    """One row with its place in the file, from 1: a line of CSV, an item of JSON."""

    line: int
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Sheet:
    """A table as it was read. `encoding` and `delimiter` are what was recognised; JSON has no delimiter."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    encoding: str
    delimiter: str

    @property
    def unit(self) -> str:
        """What a row's place counts."""
        return "line" if self.delimiter else "item"


def read_sheet(path: Path) -> Sheet:
    """A table from a CSV, TSV or JSON file. Raises UserError with the line where it is none."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path), "name a file after --csv") from None
    if raw.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UserError("is a workbook, no table", str(path), SAVE_AS)
    text, encoding = decoded(raw)
    if "\0" in text:
        raise UserError("is no text", str(path), SAVE_AS)
    if text.lstrip()[:1] in ("[", "{"):
        return _from_json(path, text, encoding)
    return _from_csv(path, text, encoding)


def decoded(raw: bytes) -> tuple[str, str]:
    """By its byte order mark, else UTF-8, else what spreadsheets on Windows write."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16", "replace"), "UTF-16"
    try:
        return raw.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace"), "Windows-1252"


def _from_json(path: Path, text: str, encoding: str) -> Sheet:
    """A list of objects, or an object a line."""
    from sqlite_utils.utils import Format, rows_from_file  # 220 ms to import

    found: list[Any] = []
    for form in (Format.JSON, Format.NL):
        try:
            found = list(rows_from_file(io.BytesIO(text.encode()), form)[0])
            break
        except ValueError as error:
            if form is Format.NL:
                raise UserError(f"is no JSON: {error}", str(path), "save it anew, or as CSV") from None
    if not all(isinstance(item, dict) for item in found):
        raise UserError("is no table", str(path), "write a list of objects, each a row")
    rows = tuple(Row(place, item) for place, item in enumerate(found, 1) if any(_filled(v) for v in item.values()))
    return Sheet(tuple(dict.fromkeys(name for row in rows for name in row.cells)), rows, encoding, "")


def _from_csv(path: Path, text: str, encoding: str) -> Sheet:
    from sqlite_utils.utils import Format, rows_from_file

    offset = 0
    if said := _SEPARATOR.match(text):  # the line by which Excel tells itself the delimiter
        text, offset = text[said.end() :], 1
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = said[1] if said else max(DELIMITERS, key=lambda d: len(next(csv.reader([header], delimiter=d), [])))
    dialect = type("Found", (csv.excel,), {"delimiter": delimiter})
    lines = list(_lines(path, text, delimiter, offset))
    names = next(csv.reader(io.StringIO(text[len(text) - len(text.lstrip("\r\n")) :]), dialect), [])
    _refuse_doubles(path, [name.strip() for name in names if name.strip()])
    rows, _ = rows_from_file(io.BytesIO(text.lstrip("\r\n").encode()), Format.CSV, dialect, extras_key=EXTRA)
    found = [
        Row(
            line,
            {name.strip(): unguarded(cell) if isinstance(cell, str) else cell for name, cell in row.items() if name},
        )
        for line, row in zip(lines[1:], rows, strict=True)
    ]
    kept = tuple(row for row in found if any(_filled(cell) for cell in row.cells.values()))
    return Sheet(tuple(name.strip() for name in names if name.strip()), kept, encoding, delimiter)


def _filled(cell: Any) -> bool:
    return cell is not None and cell != [] and (not isinstance(cell, str) or bool(cell.strip()))


def _lines(path: Path, text: str, delimiter: str, offset: int) -> Iterator[int]:
    """Where each record begins: cells may hold line breaks, and blank lines are no records."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        begins = reader.line_num + 1 + offset
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            open_quote = "unexpected end" in str(error) or "field limit" in str(error)
            what = "opens a quote that is never closed" if open_quote else f"is no row: {error}"
            raise UserError(what, f"{path}:{begins}", 'write a quote inside a cell twice ("")') from None
        if record:
            yield begins


def _refuse_doubles(path: Path, names: Sequence[str]) -> None:
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            raise UserError(f"has the column {name!r} twice", f"{path}:1", "leave one out, or rename it")


# --- cells -----------------------------------------------------------------------------------------------------------


def simple(name: str) -> str:
    """`E-Mail`, `First name` and `first_name` are spelt in many ways."""
    return re.sub(r"[^\w.]|_", "", name.casefold())


def tidy(cell: Any) -> Any:
    """The cell without what surrounds it, unseen, in spreadsheets."""
    return cell.replace("\N{NO-BREAK SPACE}", " ").strip() if isinstance(cell, str) else cell


def unreadable(row: Row, given: Mapping[str, Any]) -> Refusal | None:
    """What is wrong with a row as it was read, whatever its cells mean."""
    if row.cells.get(EXTRA):
        return Refusal("row", "has more cells than the header", "quote a cell that holds the delimiter")
    for name, cell in given.items():
        if UNREADABLE in str(cell):
            return Refusal("row", f"{name} holds a letter that cannot be read", "save the table as UTF-8")
        if isinstance(cell, str) and _CONTROL.search(cell):
            return Refusal("row", f"{name} holds a control character", "take it out")
    return None


# --- writing ---------------------------------------------------------------------------------------------------------


def guarded(cell: Any) -> Any:
    """The cell as no spreadsheet runs it: `=1+1` gets a quote before it. Numbers stay numbers."""
    text = "" if cell is None else cell
    if isinstance(text, str) and _RUNS.match(text) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def unguarded(cell: str) -> str:
    """What `guarded` made of a cell, as it was."""
    return cell[1:] if cell.startswith("'") and _RUNS.match(cell[1:]) else cell


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], delimiter: str = ",") -> str:
    """A table as CSV (RFC 4180); a list is joined by "|"."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow([guarded(name) for name in columns])
    for row in rows:
        cells = (row.get(name) for name in columns)
        writer.writerow([guarded("|".join(map(str, c)) if isinstance(c, list | tuple) else c) for c in cells])
    return out.getvalue()


def write_sheet(path: Path, sheet: Sheet, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Rows in the form in which `sheet` was read, as UTF-8 that spreadsheets recognise. Raises FileExistsError."""
    if not sheet.delimiter:
        text = json.dumps([dict(row) for row in rows], ensure_ascii=False, indent=2, default=str) + "\n"
    else:
        text = "\N{BYTE ORDER MARK}" + csv_text(columns, rows, sheet.delimiter)
    with path.open("x", encoding="utf-8", newline="") as file:
        file.write(text)


def refused_file(path: Path, sheet: Sheet, refused: Sequence[tuple[Row, str]]) -> Path:
    """Writes the refused rows beside the table, with their line and reason, to be mended and fed again; returns where.

    A file that is there is never replaced: somebody may be mending it."""
    for beside in refused_names(path):
        try:
            write_refused(beside, sheet, refused)
        except FileExistsError:
            continue
        return beside
    raise UserError("has too many files of refused rows beside it", str(path), "delete those that were mended")


def write_refused(path: Path, sheet: Sheet, refused: Sequence[tuple[Row, str]]) -> None:
    """Writes refused rows into a new file, with their line and reason. Raises FileExistsError."""
    columns = [name for name in sheet.columns if simple(name) not in OURS]
    rows = [
        {**{name: row.cells.get(name) for name in columns}, sheet.unit: row.line, "reason": reason}
        for row, reason in refused
    ]
    write_sheet(path, sheet, rows, [*columns, sheet.unit, "reason"])


def refused_names(path: Path) -> Iterator[Path]:
    """The names that a file of refused rows may have, in their order."""
    stem, suffix = re.sub(r"\.refused(\.\d+)?$", "", path.stem), path.suffix or ".csv"
    for number in range(1, REFUSED_FILES_MAX):
        yield path.with_name(f"{stem}.refused{suffix}" if number == 1 else f"{stem}.refused.{number}{suffix}")
