"""What the commands print: calm text that is readable at 80 columns, dates with their weekday in the zone of the person
concerned, JSON where it is asked for. Whatever a message brought is printed without its control characters."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from engine.config import Config
    from engine.core.model import Contact

COLUMNS = 80
#: A terminal obeys these; also those that turn the direction of what follows.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def now() -> datetime:
    """The time, in UTC: the commands are the outermost layer and hold the clock."""
    return datetime.now(UTC)


def clean(text: str) -> str:
    """Text that nobody can steer a terminal with."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def say(text: str = "") -> None:
    """A line, or several, on standard output."""
    print(clean(text))


def remark(text: str) -> None:
    """A line beside the answer, on standard error."""
    print(clean(text), file=sys.stderr)


def print_json(value: Any) -> None:
    """One document; instants in ISO 8601 with their offset."""
    import json

    print(json.dumps(value, ensure_ascii=False, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, set | frozenset | tuple) else str(value)


# --- dates -----------------------------------------------------------------------------------------------------------


def when(at: datetime | None, zone: str) -> str:
    """`Tue 3 Mar 2026 09:00` in that zone."""
    if at is None:
        return ""
    local = at.astimezone(ZoneInfo(zone))
    return f"{local:%a} {local.day} {local:%b %Y %H:%M}"


def stamp(at: datetime | None, zone: str) -> str | None:
    """The same for programs: ISO 8601 with offset."""
    return at.astimezone(ZoneInfo(zone)).isoformat(timespec="seconds") if at else None


def zone_of(config: Config, contact: Contact | None, rep: str = "") -> str:
    """The person's zone, else that of their rep, else the company's."""
    if contact and contact.zone:
        return contact.zone
    mailbox = config.mailbox(rep or (contact.owner if contact else ""))
    return config.place(mailbox).zone if mailbox else config.company.zone


# --- layout ----------------------------------------------------------------------------------------------------------


def columns() -> int:
    """How wide a line may be; None of the pipes and files is ever cut."""
    at_terminal = sys.stdout is not None and sys.stdout.isatty()  # none at all after `>&-`
    return max(60, shutil.get_terminal_size((COLUMNS, 24)).columns) if at_terminal else COLUMNS


def table(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Rows in columns; the last column is folded under itself where the line grows too long."""
    texts = [[" ".join(clean(cell).split()) for cell in row] for row in rows]
    widths = [max(map(len, column), default=0) for column in zip(*texts, strict=True)][:-1]
    lines = []
    for *cells, last in texts:
        head = indent + "".join(cell.ljust(width) + "  " for cell, width in zip(cells, widths, strict=True))
        lines += folded(last, head)
    return lines


def folded(text: str, head: str = "") -> list[str]:
    """A text behind `head`, its further lines indented to the same place."""
    import textwrap

    room = max(columns(), len(head) + 30)
    lines = textwrap.wrap(text, room, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False)
    return lines or [head.rstrip()]


def quoted(text: str, indent: str, lines_max: int = 0) -> list[str]:
    """The words of a message, folded and marked as such; `lines_max` shortens them (0: all)."""
    parts = [part.strip() for part in clean(text).strip().split("\n")]
    if lines_max:
        parts = list(filter(None, parts))
    mark = f"{indent}| "
    lines = [line.replace(mark.replace("|", " "), mark, 1) for part in parts for line in folded(part, mark)]
    if lines_max and len(lines) > lines_max:
        return [*lines[:lines_max], f"{indent}| …"]
    return lines


def count(number: int, thing: str, things: str = "") -> str:
    """`1 answer`, `2 answers`."""
    return f"{number} {thing if number == 1 else things or thing + 's'}"


# --- handles -----------------------------------------------------------------------------------------------------------


def chosen(handle: str, ids: Iterable[str], thing: str, where: str) -> str:
    """The one id that a handle means: the whole, its end or its beginning. Raises UserError when it is none or several."""
    from engine.errors import UserError

    every = list(ids)
    if handle in every:
        return handle
    found = [id for id in every if handle and (id.endswith(handle) or id.startswith(handle))]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{handle!r} means {len(found)} {thing}s", remedy="type more of it")
    raise UserError(f"there is no open {thing} {handle!r}", remedy=f"`{where}` lists them")


def opens_browser() -> bool:
    """Only where a person sits at a terminal."""
    return sys.stdout.isatty() and bool(os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32"))
