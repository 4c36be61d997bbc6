"""Telling the engine that something happened to somebody: a survey score, a delivery, a thank-you, one at a time or from a file.
What follows from it is written in `sequences/triggers.yaml`; the same moment told twice does nothing twice."""

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


@commands.command(
    short_help="Tell that something happened to somebody.",
    epilog=example(
        "whoelse moment dana@acme.example nps -v score=10",
        "whoelse moment lee@acme.example delivered --name 'Lee Park' --company Acme",
        "whoelse moment --csv scores.csv",
    )
    + "\n\n\b\nA file has the columns email and moment, and where wanted date (2026-03-02), name, company\n"
    "and rep. Every other column is a value, like score.",
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
    from engine.intake import feed, refuse_columns
    from engine.sheets import read_sheet

    sheet = read_sheet(file)
    refuse_columns(file, sheet)
    done = list(feed(inst, sheet, now(), rep))
    refused = [fed for fed in done if isinstance(fed.said, Refusal)]
    if as_json:
        print_json([{"place": f"{sheet.unit} {f.row.line}", **_document(inst, f.told, f.said)} for f in done])
        return 1 if refused else 0
    for fed in refused:
        who = f" ({fed.told.email})" if fed.told.email else ""
        remark(f"{file}: {sheet.unit} {fed.row.line}{who}: {fed.said}")
    kept = [fed.said for fed in done if not isinstance(fed.said, Refusal)]
    news, started = sum(outcome.news for outcome in kept), sum(len(outcome.started) for outcome in kept)
    say(
        f"{count(len(done), 'moment')}: {news} new, {len(kept) - news} known already, {len(refused)} refused;"
        f" {count(started, 'sequence')} started."
    )
    return 1 if refused else 0
