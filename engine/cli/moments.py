"""Telling the engine that something happened to somebody: a survey score, a delivery, a thank-you, one at a time or from a file.
What follows from it is written in `sequences/triggers.yaml`; the same moment told twice does nothing twice."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import (
    config_option,
    configuration,
    example,
    json_option,
    named_values,
    rep_option,
    values_option,
    working,
)
from engine.cli.output import count, now, print_json, remark, say, stamp, when, zone_of

if TYPE_CHECKING:
    from engine.core.model import Enrollment
    from engine.core.needs import Refusal
    from engine.installation import Installation
    from engine.triggers import Outcome, Report

commands = click.Group()

CONTACT = ("name", "first_name", "company", "title", "zone", "country", "subdivision", "language")
NEEDED = ("email", "moment")
#: The name of what stands behind the last column of the header.
TOO_MANY = "\0"


@commands.command(
    epilog=example(
        "whoelse moment dana@acme.example nps -v score=10",
        "whoelse moment lee@acme.example delivered --name 'Lee Park' --company Acme",
        "whoelse moment --csv scores.csv",
    )
    + "\n\n\b\nA file has the columns email and moment, and where wanted date (2026-03-02), name, company\n"
    "and rep. Every other column is a value, like score."
)
@click.argument("email", default="")
@click.argument("moment", default="")
@values_option
@click.option("--csv", "file", metavar="FILE", type=click.Path(path_type=Path), help="Many, from CSV, TSV or JSON.")
@click.option("--on", "day", metavar="DATE", default="", help="When it happened, if not today.")
@click.option("--name", default="", help="Their name, if they are new.")
@click.option("--company", default="", help="Their company, if they are new.")
@rep_option
@config_option
@json_option
def moment(
    email: str,
    moment: str,
    values: tuple[str, ...],
    file: Path | None,
    day: str,
    name: str,
    company: str,
    rep: str,
    config: Path,
    as_json: bool,
) -> None:
    """Tell that something happened to somebody, and start what that moment starts."""
    from engine.triggers import Report

    if file and (email or moment or values or day or name or company):
        raise click.BadParameter("a file says by itself who and what; leave the rest out", param_hint="--csv")
    if not file and not (email and moment):
        raise click.BadParameter("name somebody and what happened, or a file with --csv", param_hint="EMAIL MOMENT")
    try:
        on = date.fromisoformat(day) if day else None
    except ValueError:
        raise click.BadParameter(f"{day!r} is no date; write it like 2026-03-02", param_hint="--on") from None
    inst = working(configuration(config))
    if file:
        sys.exit(_many(inst, file, rep, as_json))
    known = {key: value for key, value in (("name", name), ("company", company)) if value}
    sys.exit(_one(inst, Report(email, moment, named_values(values), on, rep, known), as_json))


def _one(inst: Installation, told: Report, as_json: bool) -> int:
    from engine.core.needs import Refusal
    from engine.triggers import report

    outcome = report(inst, told, now())
    if as_json:
        print_json(_document(inst, told, outcome))
    elif isinstance(outcome, Refusal):
        remark(f"whoelse: {outcome}")
    else:
        _say(inst, told, outcome)
    return 1 if isinstance(outcome, Refusal) else 0


def _say(inst: Installation, told: Report, outcome: Outcome) -> None:
    if not outcome.news:
        say(f"{told.email}: {told.moment} was reported before with the same words; nothing happens twice.")
        return
    for line in outcome.lines:
        say(f"{told.email}: {line}")
    for enrollment in outcome.started:
        say(f"{told.email}: {enrollment.sequence} {_ahead(inst, enrollment)}")


def _ahead(inst: Installation, enrollment: Enrollment) -> str:
    from engine.core.model import State

    if not enrollment.next_at:
        return f"is {enrollment.state}"
    at = when(enrollment.next_at, _zone(inst, enrollment))
    return f"begins {at}" if enrollment.state is State.WAITING else f"goes on {at}"


def _zone(inst: Installation, enrollment: Enrollment) -> str:
    return zone_of(inst.config, inst.store.contact(enrollment.contact), enrollment.rep)


def _document(inst: Installation, told: Report, outcome: Outcome | Refusal) -> dict[str, Any]:
    from engine.core.needs import Refusal

    head = {"email": told.email, "moment": told.moment}
    if isinstance(outcome, Refusal):
        return {**head, "kept": False, "refusal": {"reason": outcome.reason, "remedy": outcome.remedy}}
    started = [
        {"sequence": e.sequence, "state": str(e.state), "next": stamp(e.next_at, _zone(inst, e))}
        for e in outcome.started
    ]
    return {**head, "kept": True, "news": outcome.news, "started": started, "lines": list(outcome.lines)}


# --- from a file -----------------------------------------------------------------------------------------------------


def _many(inst: Installation, file: Path, rep: str, as_json: bool) -> int:
    """Each row by itself: one that is refused holds up no other, and the file can be fed again."""
    from engine.core.needs import Refusal

    done = [(place, *_row(inst, row, rep)) for place, row in _rows(file)]
    refused = [(place, told, said) for place, told, said in done if isinstance(said, Refusal)]
    if as_json:
        print_json([{"place": place, **_document(inst, told, outcome)} for place, told, outcome in done])
        return 1 if refused else 0
    for place, told, refusal in refused:
        remark(f"{file}: {place}{f' ({told.email})' if told.email else ''}: {refusal}")
    kept = [(told, outcome) for _, told, outcome in done if not isinstance(outcome, Refusal)]
    news = sum(outcome.news for _, outcome in kept)
    started = sum(len(outcome.started) for _, outcome in kept)
    say(
        f"{count(len(done), 'moment')}: {news} new, {len(kept) - news} known already, {len(refused)} refused;"
        f" {count(started, 'sequence')} started."
    )
    return 1 if refused else 0


def _row(inst: Installation, row: Mapping[str, Any], rep: str) -> tuple[Report, Outcome | Refusal]:
    """One row, as `whoelse moment` would have said it; an empty cell says nothing."""
    from engine.core.needs import Refusal
    from engine.triggers import Report, report

    cells = {name.strip().lower(): v.strip() if isinstance(v, str) else v for name, v in row.items()}
    given = {name: value for name, value in cells.items() if value not in (None, "")}
    email, moment, day = (str(given.pop(name, "")) for name in (*NEEDED, "date"))
    owner = str(given.pop("rep", rep))
    contact = {part: str(given.pop(part)) for part in CONTACT if part in given}
    told = Report(email, moment, given, rep=owner, contact=contact)
    if TOO_MANY in given:
        return told, Refusal("row", "has more cells than the header", "quote a cell that holds the delimiter")
    if not (email and moment):
        return told, Refusal("row", "has no email or no moment", "a row needs both")
    try:
        told = replace(told, on=date.fromisoformat(day) if day else None)
    except ValueError:
        return told, Refusal("date", f"{day!r} is no date", "write it like 2026-03-02")
    return told, report(inst, told, now())


def _rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """The rows with their places. Raises UserError where they are no table of moments."""
    from engine.errors import UserError

    try:
        text = _decoded(file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(file), "name a file after --csv") from None
    is_json = text.lstrip()[:1] in ("[", "{")
    try:
        rows = list(_parsed(text, is_json))
    except ValueError as error:
        raise UserError(f"is no JSON: {error}", str(file), "save it anew, or as CSV") from None
    names = {str(name).strip().lower() for name in rows[0]} if rows and isinstance(rows[0], dict) else set()
    if not names.issuperset(NEEDED) or not all(isinstance(row, dict) for row in rows):
        raise UserError("has no columns email and moment", str(file), "let its first line be like: email,moment,score")
    return [(f"item {number}" if is_json else f"row {number + 1}", row) for number, row in enumerate(rows, 1)]


def _decoded(raw: bytes) -> str:
    """UTF-8, or else what spreadsheets on Windows write."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")


def _parsed(text: str, is_json: bool) -> Iterable[dict[str, Any]]:
    """Raises ValueError for what is no JSON. The delimiter is the one that the header has most of."""
    import csv
    import io

    from sqlite_utils.utils import Format, rows_from_file  # 220 ms to import

    header = text.lstrip().partition("\n")[0]
    dialect = type("Found", (csv.excel,), {"delimiter": max(",;\t", key=header.count)})
    form = Format.JSON if is_json else Format.CSV
    rows, _ = rows_from_file(io.BytesIO(text.encode()), form, dialect, extras_key=TOO_MANY)
    return rows
