"""Moments as tables and other systems tell them: from the columns of a row, or the keys of an object, to what `whoelse moment`
would have been told. A row that is refused holds up no other. Where they come from is not known here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from engine.core.needs import Refusal, refuse_controls
from engine.errors import UserError
from engine.installation import Installation
from engine.sheets import OURS, Row, Sheet, tidy, unreadable
from engine.triggers import Outcome, Report, report

CONTACT = ("name", "first_name", "company", "title", "zone", "country", "subdivision", "language")
NEEDED = ("email", "moment")
VALUE_CHARACTERS_MAX = 2_000


@dataclass(frozen=True)
class Fed:
    """What became of a row: what it told, and what came of that."""

    row: Row
    told: Report
    said: Outcome | Refusal


def refuse_columns(path: Path, sheet: Sheet) -> None:
    """Raises UserError for a table that tells of nobody or of nothing."""
    if not {name.strip().lower() for name in sheet.columns}.issuperset(NEEDED):
        raise UserError("has no columns email and moment", str(path), "let its first line be like: email,moment,score")


def told_by(row: Row, rep: str = "") -> Report | Refusal:
    """The report that a row holds: email, moment, and where wanted date, rep and what makes somebody new known; every other
    cell is a value. An empty cell says nothing."""
    cells = {name.strip().lower(): tidy(cell) for name, cell in row.cells.items()}
    given = {name: cell for name, cell in cells.items() if cell not in (None, "", []) and name not in OURS}
    if refusal := unreadable(row, given):
        return refusal
    if not all(given.get(name) for name in NEEDED):
        return Refusal("row", "has no email or no moment", "a row needs both")
    email, moment, day = (str(given.pop(name, "")) for name in (*NEEDED, "date"))
    owner = str(given.pop("rep", rep))
    contact = {part: str(given.pop(part)) for part in CONTACT if part in given}
    for name, value in given.items():
        if why := _unfit(value):
            return Refusal("value", f"{name} {why}")
    try:
        return Report(email, moment, given, date.fromisoformat(day) if day else None, owner, contact)
    except ValueError:
        return Refusal("date", f"{day!r} is no date", "write it like 2026-03-02")


def _unfit(value: Any) -> str:
    """Why something is no value: a text, a number, yes or no, a list of these, or a person's parts."""
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
    try:
        refuse_controls(value)
    except ValueError as error:
        return str(error)
    if not all(isinstance(item, str | int | float | bool) for item in items):
        return "is neither a text nor a number"
    return f"has more than {VALUE_CHARACTERS_MAX:,} characters" if len(str(value)) > VALUE_CHARACTERS_MAX else ""


def take(inst: Installation, row: Row, now: datetime, rep: str = "", key: str = "") -> Fed:
    """Tells what one row says, at `now` (UTC); under a `key` never twice."""
    told = told_by(row, rep)
    if isinstance(told, Refusal):
        cells = {name.strip().lower(): cell for name, cell in row.cells.items()}
        email, moment = (str(tidy(cells.get(name)) or "") for name in NEEDED)
        return Fed(row, Report(email, moment), told)
    named = replace(told, key=key)
    return Fed(row, named, report(inst, named, now))


def feed(
    inst: Installation, sheet: Sheet, now: datetime, rep: str = "", key_of: Callable[[Row], str] = lambda row: ""
) -> Iterator[Fed]:
    """Row by row, each in a transaction of its own."""
    for row in sheet.rows:
        yield take(inst, row, now, rep, key_of(row))


# --- what another system hears ---------------------------------------------------------------------------------------


def answer(inst: Installation, said: Mapping[str, Any], key: str, now: datetime) -> tuple[int, Mapping[str, Any]]:
    """A moment that was posted, told at `now` (UTC) under the key that came with it; and the status of HTTP with what to say:
    201 it is news, 200 it was told before, 422 it is refused."""
    fed = take(inst, Row(1, said), now, key=f"http {key}" if key else "")
    if isinstance(fed.said, Refusal):
        return 422, {"kept": False, "error": fed.said.reason, "remedy": fed.said.remedy}
    started = [enrollment.sequence for enrollment in fed.said.started]
    told = {"started": started, "lines": list(fed.said.lines)}
    return 201 if fed.said.news else 200, {"kept": True, "news": fed.said.news, **told}
