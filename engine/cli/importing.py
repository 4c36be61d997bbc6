"""`whoelse enroll --csv`: a table of people into a sequence, with a dry run, progress, and a file of what was refused."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.output import count, now, print_json, remark, say, stamp, table, when, zone_of

if TYPE_CHECKING:
    from engine.enrollments import Wish
    from engine.importing import Fed
    from engine.installation import Installation
    from engine.sheets import Sheet

PROGRESS_ROWS = 20


def feed_file(
    inst: Installation, file: Path, default: Wish, again: bool, dry_run: bool, ignore: bool, as_json: bool
) -> int:
    """Feeds a table and says what became of it; returns the exit code."""
    from engine.errors import UserError
    from engine.importing import feed, refuse_columns
    from engine.sheets import read_sheet, refused_file

    sequence = inst.library.sequences.get(default.sequence)
    if sequence is None:
        known = ", ".join(sorted(inst.library.sequences))
        raise UserError(f"there is no sequence {default.sequence!r}", remedy=f"there are {known}")
    sheet = read_sheet(file)
    refuse_columns(file, sheet, sequence, ignore)
    done = list(_with_progress(feed(inst, sheet, default, now(), again, dry_run), len(sheet.rows)))
    refused = [fed for fed in done if fed.fate == "refused"]
    reasons = [(fed.row, fed.reason) for fed in refused]
    mended = refused_file(file, sheet, reasons) if refused and not dry_run else None
    if as_json:
        print_json(_document(inst, done, dry_run, mended))
    else:
        _say_fed(inst, sheet, done, dry_run, mended)
    return 1 if refused else 0


def _with_progress(done: Iterable[Fed], rows: int) -> Iterator[Fed]:
    """On a terminal one line counts; elsewhere nothing is said on the way."""
    shown = sys.stderr.isatty()
    for number, fed in enumerate(done, 1):
        if shown and (number % PROGRESS_ROWS == 0 or number == rows):
            print(f"\r{number} of {rows} rows", end="", file=sys.stderr, flush=True)
        yield fed
    if shown and rows:
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)


def _document(inst: Installation, done: list[Fed], dry_run: bool, mended: Path | None) -> dict[str, Any]:
    fates = [fed.fate for fed in done]
    return {
        "dry_run": dry_run,
        "rows": len(done),
        **{fate: fates.count(fate) for fate in ("enrolled", "already", "refused")},
        "refused_file": str(mended) if mended else None,
        "results": [
            {"line": fed.row.line, "email": fed.email, "result": fed.fate, "reason": fed.reason, **_next(inst, fed)}
            for fed in done
        ],
    }


def _next(inst: Installation, fed: Fed) -> dict[str, Any]:
    if fed.enrollment is None or fed.fate != "enrolled":
        return {"step": None, "at": None}
    return {"step": fed.enrollment.step, "at": stamp(fed.enrollment.due_at, _zone(inst, fed))}


def _zone(inst: Installation, fed: Fed) -> str:
    """Theirs where it is known: in a dry run somebody new is not."""
    given = str(fed.row.cells.get("zone") or "")
    contact = inst.store.contact(fed.enrollment.contact) if fed.enrollment else None
    return given or zone_of(inst.config, contact, fed.enrollment.rep if fed.enrollment else "")


def _say_fed(inst: Installation, sheet: Sheet, done: list[Fed], dry_run: bool, mended: Path | None) -> None:
    if sheet.encoding != "UTF-8":
        remark(f"Read as {sheet.encoding}.")
    rows = [(f"{sheet.unit} {fed.row.line}", fed.email, _fate(inst, fed)) for fed in done]
    for line in table([row for row, fed in zip(rows, done, strict=True) if dry_run or fed.fate == "refused"]):
        say(line)
    number = {fate: sum(fed.fate == fate for fed in done) for fate in ("enrolled", "already", "refused")}
    would = "would be " if dry_run else ""
    already = f"{number['already']} in it already or before" if number["already"] else ""
    said = [f"{number['enrolled']} {would}enrolled", already, f"{number['refused']} {would}refused"]
    say(f"{count(len(done), 'row')}: {', '.join(filter(None, said))}.")
    if mended:
        say(f"The refused rows are in {mended}: mend them there, and feed that file.")
    for line in _paces(inst, done):
        say(line)
    if dry_run:
        say("Nobody was enrolled: this was a dry run.")


def _paces(inst: Installation, done: list[Fed]) -> Iterator[str]:
    """What the dates do not say: more come due than a mailbox lets out in a day."""
    many = Counter(fed.enrollment.rep for fed in done if fed.fate == "enrolled" and fed.enrollment)
    for rep, number in many.items():
        per_day = inst.rep(rep).per_day
        if number > per_day:
            yield f"{rep} sends at most {per_day} a day: the first emails take {ceil(number / per_day)} days of sending."


def _fate(inst: Installation, fed: Fed) -> str:
    if fed.fate != "enrolled" or fed.enrollment is None:
        return ("refused: " if fed.fate == "refused" else "") + fed.reason
    if fed.enrollment.due_at is None:
        return "enters it"
    return f"enters it: {fed.enrollment.step} on {when(fed.enrollment.due_at, _zone(inst, fed))}"
