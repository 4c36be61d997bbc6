"""Putting somebody into a sequence, and seeing beforehand what that means: dates, words, the whole timeline."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import (
    config_option,
    configuration,
    edited,
    email_argument,
    example,
    json_option,
    named_values,
    rep_option,
    sequence_argument,
    values_option,
    working,
)
from engine.cli.output import now, print_json, remark, say, stamp, table, when, zone_of
from engine.core.words import spoken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.core.needs import Refusal
    from engine.enrollments import Wish
    from engine.installation import Installation
    from engine.notebook import Moment
    from engine.simulate import Answer, Timeline

commands = click.Group()

DANA = "whoelse enroll dana@acme.example"


# --- enroll ----------------------------------------------------------------------------------------------------------


@commands.command(
    "enroll",
    short_help="Put somebody into a sequence.",
    epilog=example(
        f"{DANA} value_review --name 'Dana Whitfield' --company Acme \\",
        "    -v review_call='2026-03-12 10:00' -v problems='Tenders took weeks' \\",
        "    -v results='Tenders out in two days' -v problem='tenders that take weeks'",
        f"{DANA} follow_up_1_1_1 -v prospect='Barry Jones <barry@northwind.example>' --dry-run",
        f"{DANA} value_review --from dana.yaml",
        "whoelse enroll --csv clients.csv value_review --dry-run",
    ),
)
@click.argument("words", metavar="EMAIL SEQUENCE", nargs=-1)
@values_option
@click.option(
    "--csv",
    "sheet",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Many at once, from a CSV, TSV or JSON file, in place of EMAIL; its columns are email, name, company and what the"
    " sequence needs (prospect.name …).",
)
@click.option("--again", is_flag=True, help="With --csv: also who has been through it before.")
@click.option("--ignore-columns", is_flag=True, help="With --csv: pass over columns that mean nothing here.")
@click.option(
    "--from", "file", metavar="FILE.yaml", type=click.Path(path_type=Path), help="Variables from a file; -v beats them."
)
@rep_option
@click.option("--name", default="", help="Their name, if they are new.")
@click.option("--first-name", default="", help="If it is not the first word of the name.")
@click.option("--company", default="", help="Their company.")
@click.option("--title", default="", help="Their title.")
@click.option("--zone", default="", help="Their time zone, like Europe/Berlin.")
@click.option("--country", default="", help="Whose holidays they keep, like DE.")
@click.option("--subdivision", default="", help="The part of the country, like BY.")
@click.option("--language", default="", help="In which they are written to, like de.")
@click.option("--override", metavar="REASON", default="", help="Why a rule may be broken this once; it is recorded.")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent, and when.")
@config_option
@json_option
def enroll(
    words: tuple[str, ...],
    sheet: Path | None,
    again: bool,
    ignore_columns: bool,
    values: tuple[str, ...],
    file: Path | None,
    rep: str,
    override: str,
    dry_run: bool,
    config: Path,
    as_json: bool,
    **contact: str,
) -> None:
    """Enroll somebody, and print the date and subject of every email to come; with --csv a whole table of people."""
    from engine.enrollments import Wish, enroll
    from engine.simulate import rehearse

    email, sequence = _whom(words, sheet, again or ignore_columns)
    contact["country"] = contact["country"].upper()
    given = {**from_file(file), **named_values(values)}
    inst = working(configuration(config))
    _check_place(contact["zone"], contact["country"], contact["subdivision"])
    wish = Wish(email, sequence, given, rep, override, {key: value for key, value in contact.items() if value})
    if sheet:
        from engine.cli.importing import feed_file

        sys.exit(feed_file(inst, sheet, wish, again, dry_run, ignore_columns, as_json))
    at = now()
    ahead = rehearse(inst, wish, at)
    refusals = ahead.refusals
    if not refusals and not dry_run:
        entered = enroll(inst, wish, at)
        refusals = tuple(entered) if isinstance(entered, list) else ()
    if as_json:
        print_json(
            {"enrolled": not (refusals or dry_run), "refusals": _refusals(refusals), **_timeline(sequence, ahead)}
        )
    else:
        _say_entered(wish, ahead, refusals, dry_run)
    sys.exit(1 if refusals else 0)


def _whom(words: Sequence[str], sheet: Path | None, of_sheets: bool) -> tuple[str, str]:
    """(email, sequence), the email empty where a table names many."""
    if sheet is None and of_sheets:
        raise click.BadParameter("goes with a file", param_hint="--csv")
    wanted = ("SEQUENCE",) if sheet else ("EMAIL", "SEQUENCE")
    if len(words) < len(wanted):
        raise click.UsageError(f"Missing argument '{wanted[len(words)]}'.")
    if len(words) > len(wanted):
        raise click.UsageError(f"Got unexpected extra argument ({words[len(wanted)]})")
    return ("", words[0]) if sheet else (words[0], words[1])


def _check_place(zone: str, country: str, subdivision: str) -> None:
    from engine.core.calendar import Place, place_problem
    from engine.errors import UserError

    said, _, remedy = place_problem(Place(zone or "UTC", country, subdivision)).partition("; ")
    if said:
        raise UserError(said, remedy=remedy)


def from_file(file: Path | None) -> dict[str, Any]:
    """The variables in a YAML file. Raises UserError with everything that is wrong with it."""
    from engine.core.problem import Problem
    from engine.core.yaml_strict import decode, load
    from engine.errors import UserError

    if file is None:
        return {}
    try:
        text, problems = decode(str(file), file.read_bytes())
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(file), "name a file after --from") from None
    value, _, found = load(str(file), text)
    problems = [*problems, *found]
    if not problems and not isinstance(value, dict):
        problems = [Problem(str(file), 1, 1, "type", "holds no variables", "write them as name: value")]
    if problems:
        raise UserError("the variables cannot be read", str(file), problems=problems)
    return dict(value)


def _refusals(refusals: Sequence[Refusal]) -> list[dict[str, str]]:
    return [{"rule": r.rule, "reason": r.reason, "remedy": r.remedy} for r in refusals]


def _say_entered(wish: Wish, ahead: Timeline, refusals: Sequence[Refusal], dry_run: bool) -> None:
    from engine.simulate import UNTIL_DAYS

    if refusals:
        remark(f"whoelse: {wish.email} was not enrolled in {wish.sequence}:")
        for refusal in refusals:
            remark(f"  {refusal.reason}" + (f"; {refusal.remedy}" if refusal.remedy else ""))
        return
    say(f"{wish.email} would enter {wish.sequence}." if dry_run else f"{wish.email} is in {wish.sequence}.")
    rows = [_row(moment, wish.sequence) for moment in ahead.moments if _to_come(moment)]
    say("If nobody answers:" if rows else f"Nothing is due within {UNTIL_DAYS} days.")
    for line in table(rows, "  "):
        say(line)
    if rows:
        say(f"Times are in {ahead.moments[0].zone}. An answer stops it at once.")
    if dry_run:
        say("Nobody was enrolled: this was a dry run.")


def _to_come(moment: Moment) -> bool:
    """What `enroll` prints: emails, tasks, what is started, what waits for the rep and what comes too late; the timeline of
    `simulate` says the rest."""
    too_late = moment.what == "skipped" and not moment.note.startswith("skipped: if:")
    return moment.action != "event" or moment.what == "draft" or too_late


def _row(moment: Moment, main: str) -> tuple[str, str, str, str]:
    where = moment.step if moment.sequence == main else f"{moment.sequence}: {moment.step}".rstrip(": ")
    kind = moment.what if moment.what in ("draft", "skipped") else moment.action
    note = moment.note.removeprefix(f"{kind}: ")
    said = moment.subject + (f" ({note})" if note else "")
    return when(moment.at, moment.zone), kind, where, said.strip()


# --- change ----------------------------------------------------------------------------------------------------------


@commands.command(
    "change",
    short_help="Change a variable of someone enrolled.",
    epilog=example("whoelse change dana@acme.example value_review -v review_call='2026-03-19 10:00'"),
)
@email_argument
@sequence_argument
@values_option
@click.option("--dry-run", is_flag=True, help="Only show the dates that would move.")
@config_option
def change(email: str, sequence: str, values: tuple[str, ...], dry_run: bool, config: Path) -> None:
    """Change a variable of someone enrolled, like a call that moved: shows the dates that move, then moves them."""
    from engine.edits import dates_moved
    from engine.enrollments import change

    given = named_values(values)
    if not given:
        raise click.BadParameter("say what changes, like -v review_call='2026-03-19 10:00'", param_hint="-v")
    inst = working(configuration(config))
    at = now()
    moves = dates_moved(inst, email, sequence, given, at)
    rows = [(m.step, when(m.was, m.zone), "->", when(m.due_at, m.zone)) for m in moves]
    for line in table(rows) or ["No date moves."]:
        say(line)
    if dry_run:
        say("Nothing was changed: this was a dry run.")
        return
    change(inst, email, sequence, given, at)
    say(f"Changed: {', '.join(given)}.")


# --- simulate --------------------------------------------------------------------------------------------------------


@commands.command(
    "simulate",
    short_help="Play a sequence through on a virtual clock.",
    epilog=example(
        "whoelse simulate value_review",
        "whoelse simulate ask --begin '2026-03-02 09:30' --when named@+3d",
        "whoelse simulate ask dana@acme.example --when out_of_office:2026-03-20@2026-03-05T10:00",
        "whoelse simulate prospect_outreach --when approved:first@+1d",
    ),
)
@sequence_argument
@click.argument("email", default="")
@click.option("--begin", metavar="TIME", default="", help="When it begins; now if not given.")
@click.option(
    "--when", "events", metavar="EVENT@TIME", multiple=True, help="What happens, at `+3d` or at a time; repeat it."
)
@values_option
@rep_option
@config_option
@json_option
def simulate(
    sequence: str,
    email: str,
    begin: str,
    events: tuple[str, ...],
    values: tuple[str, ...],
    rep: str,
    config: Path,
    as_json: bool,
) -> None:
    """Play a sequence through on a virtual clock, over weekends, holidays and clock changes. Nothing is sent or kept."""
    from engine.simulate import SAMPLE_PROSPECT, timeline

    inst = edited(configuration(config))
    wish, zone, start = _wish(inst, sequence, email, named_values(values), rep, begin)
    answers = [_answer(text, zone, wish.values.get("prospect") or SAMPLE_PROSPECT) for text in events]
    played = timeline(inst, wish, start, answers)
    if as_json:
        print_json(_timeline(sequence, played))
    elif played.refusals:
        _say_entered(wish, played, played.refusals, dry_run=True)
    else:
        say(f"{sequence} for {wish.email}, beginning {when(start, zone)} ({zone}):")
        for line in table([_row(moment, sequence) for moment in played.moments], "  "):
            say(line)
        say(f"In the end: {spoken(played.outcome)}.")
    sys.exit(1 if played.refusals else 0)


def _wish(
    inst: Installation, sequence: str, email: str, given: Mapping[str, Any], rep: str, begin: str
) -> tuple[Wish, str, datetime]:
    """What to play, in which zone times without offset are, and when it begins. Somebody known is taken as they are."""
    from dataclasses import replace

    from engine.simulate import sample_wish

    known = inst.store.contact_at(email) if email else None
    rep = rep or (known.owner if known else "") or inst.config.mailboxes[0].address
    zone = zone_of(inst.config, known, rep)
    start = _instant(begin, zone, "--begin") if begin else now()
    wish = sample_wish(inst, sequence, start)
    wish = replace(wish, values={**wish.values, **given}, rep=rep)
    return (replace(wish, email=email, contact={}) if email else wish), zone, start


def _timeline(sequence: str, played: Timeline) -> dict[str, Any]:
    """The documented shape."""
    return {
        "sequence": sequence,
        "timeline": [
            {"at": stamp(m.at, m.zone), "step": m.step, "action": m.action, "subject": m.subject, "note": m.note}
            for m in played.moments
        ],
        "outcome": played.outcome,
        **({"refusals": _refusals(played.refusals)} if played.refusals else {}),
    }


UNITS = {
    "m": "minutes", "h": "hours", "d": "days", "w": "weeks", "mo": "months", "bd": "business days",
    "min": "minutes",
}  # fmt: skip
_SHORT = re.compile(r"\+\s*(\d{1,5})\s*(mo|bd|min|[mhdw])")


def _answer(text: str, zone: str, person: Any) -> Answer:
    """`named@+3d`, `reply@+2 business days`, `declined@2026-03-05T10:00`, and with a detail `approved:first@+1d`."""
    from engine.core.duration import parse_duration
    from engine.simulate import Answer

    said, _, at = text.partition("@")
    event, _, detail = said.partition(":")
    if not at:
        raise click.BadParameter(f"{text!r} says no time; write {event}@+3d or @2026-03-05T10:00", param_hint="--when")
    data = _detail(event, detail, person)
    if not at.startswith("+"):
        return Answer(_instant(at, zone, "--when"), event, data)
    short = _SHORT.fullmatch(at)
    try:
        after = parse_duration(f"{short[1]} {UNITS[short[2]]}" if short else at[1:].strip(), "comes after")
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: {error}", param_hint="--when") from None
    return Answer(after, event, data)


def _detail(event: str, detail: str, person: Any) -> dict[str, Any]:
    """What an event brings: the step of the rep's decision, the first day back, or who was named."""
    from engine.simulate import ANSWERS, STEP_ANSWERS

    if event not in ANSWERS or event == "change":
        known = ", ".join(answer for answer in ANSWERS if answer != "change")
        raise click.BadParameter(f"{event!r} is no event; there are {known}", param_hint="--when")
    if event in STEP_ANSWERS:
        if not detail:
            raise click.BadParameter(f"say which step is {event}, like {event}:first@+1d", param_hint="--when")
        return {"step": detail}
    if event in ("named", "introduced"):
        return {"people": [detail or person]}
    if event == "out_of_office" and detail:
        return {"until": _day(detail)}
    return {}


def _day(text: str) -> str:
    from datetime import date

    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise click.BadParameter(f"{text!r} is no date; write it like 2026-03-20", param_hint="--when") from None


def _instant(text: str, zone: str, option: str) -> datetime:
    """The instant in UTC of a time in that zone, or with an offset of its own."""
    from datetime import UTC

    from engine.core.calendar import to_utc

    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else to_utc(at, zone)
    except (ValueError, OverflowError):
        hint = "write it like 2026-03-02T09:30"
        raise click.BadParameter(f"{text!r} is no time; {hint}", param_hint=option) from None
