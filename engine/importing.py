"""Many people into one sequence, from a table: each row is what `whoelse enroll` would have been told. A row is enrolled whole or
not at all, a refused one holds up no other, and a table that is fed again doubles nobody."""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from engine import enrollments
from engine.core.address import prospect_key
from engine.core.calendar import Place, place_problem
from engine.core.model import Enrollment
from engine.core.needs import PARTS, Refusal, person
from engine.core.problem import Problem
from engine.core.sequence import Sequence as Steps
from engine.database import Conflict, Unusable
from engine.enrollments import Wish
from engine.errors import UserError
from engine.installation import Installation
from engine.intake import CONTACT
from engine.sheets import OURS, Row, Sheet, simple, tidy, unreadable
from engine.simulate import Simulation

#: Rows that are committed together: to commit costs as much for twenty as for one.
TOGETHER = 20
#: ... and how long the store is free between them, for whoever waits.
TURN_SECONDS = 0.001
Fate = Literal["enrolled", "already", "refused"]


@dataclass(frozen=True)
class Fed:
    """What became of a row: enrolled, in it already (or in the past), or refused with every reason."""

    row: Row
    email: str
    fate: Fate
    enrollment: Enrollment | None = None
    refusals: tuple[Refusal, ...] = ()
    note: str = ""

    @property
    def reason(self) -> str:
        return "; ".join(map(str, self.refusals)) or self.note


def columns_of(sequence: Steps) -> dict[str, str]:
    """What a column may be called, simplified, and which variable it is: a person's parts are `prospect.name` and so on."""
    needs = [f"{name}.{part}" for name, need in sequence.needs.items() if need.type == "person" for part in PARTS]
    more = ["client"] if sequence.to == "prospect" else []
    return {simple(name): name for name in ("email", *CONTACT, "rep", *more, *sequence.needs, *needs, *OURS)}


def refuse_columns(path: Path, sheet: Sheet, sequence: Steps, ignore: bool) -> None:
    """Raises UserError with every column that means nothing; with `ignore` only where there is no email."""
    known = columns_of(sequence)
    names = {simple(name) for name in sheet.columns}
    unknown = [name for name in sheet.columns if simple(name) not in known]
    problems = [] if ignore else [_unknown(path, sheet, name, known) for name in unknown]
    if "email" not in names:
        problems.append(Problem(str(path), 1, 1, "column", "has no column email", "name the column of addresses email"))
    for need in {known[n].partition(".")[0] for n in names & known.keys() if "." in known[n]}:
        if simple(need) in names:
            hint = f"keep {need}, or {need}.name and {need}.email"
            problems.append(Problem(str(path), 1, 1, "column", f"has {need} and parts of it", hint))
    if problems:
        raise UserError(f"the table does not fit {sequence.key}", str(path), problems=problems)


def _unknown(path: Path, sheet: Sheet, name: str, known: Mapping[str, str]) -> Problem:
    near = difflib.get_close_matches(simple(name), known, n=1)
    possible = ", ".join(n for n in known.values() if n not in OURS)
    hint = f"did you mean {known[near[0]]}?" if near else f"take it out, or --ignore-columns; it may have {possible}"
    return Problem(str(path), 1, sheet.columns.index(name) + 1, "column", f"the column {name!r} means nothing", hint)


# --- rows to wishes --------------------------------------------------------------------------------------------------


def wish_of(row: Row, known: Mapping[str, str], sequence: Steps, default: Wish) -> Wish | Refusal:
    """The wish that a row holds in columns that are `known`; what it leaves empty is as in `default`."""
    cells = {known[simple(n)]: tidy(cell) for n, cell in row.cells.items() if simple(n) in known}
    given = {name: cell for name, cell in cells.items() if cell not in ("", None, []) and name not in OURS}
    if refusal := unreadable(row, given):
        return refusal
    if not given.get("email"):
        return Refusal("row", "has no email", "fill it in")
    contact = {name: str(given[name]) for name in CONTACT if name in given}
    contact |= {"country": contact["country"].upper()} if "country" in contact else {}
    said, _, remedy = place_problem(
        Place(contact.get("zone") or "UTC", contact.get("country", ""), contact.get("subdivision", ""))
    ).partition("; ")
    if said:
        return Refusal("place", said, remedy)
    values = dict(default.values)
    for name, need in sequence.needs.items():
        parts = {part: given[f"{name}.{part}"] for part in PARTS if f"{name}.{part}" in given}
        if parts or name in given:
            values[name] = parts or (_listed(given[name]) if need.type == "list" else given[name])
    if "client" in given and sequence.to == "prospect":
        values["client"] = given["client"]
    email, rep = str(given.get("email", "")), str(given.get("rep", default.rep))
    return Wish(email, sequence.key, values, rep, default.override, {**default.contact, **contact})


def _listed(cell: Any) -> Any:
    """Items stand between "|", else ";"."""
    if not isinstance(cell, str):
        return cell
    return [item.strip() for item in cell.split("|" if "|" in cell else ";") if item.strip()]


# --- feeding ---------------------------------------------------------------------------------------------------------


def feed(
    inst: Installation, sheet: Sheet, default: Wish, now: datetime, again: bool = False, dry: bool = False
) -> Iterator[Fed]:
    """Enrolls row by row at `now` (UTC) into `default.sequence`, and yields what became of each once it is committed.

    `again`: who has been through it goes through it anew. `dry`: the same verbs in a scratch store, which sees what the rows before
    would have changed; nothing is kept or locked."""
    sequence = inst.library.sequences[default.sequence]
    known, together = columns_of(sequence), TOGETHER
    bring: Callable[[str], None] = lambda address: None
    if dry:
        simulation = Simulation(inst, now)
        source, inst, together = inst.store, simulation.inst, 1
        bring = lambda address: simulation.bring(source, address)
    for start in range(0, len(sheet.rows), together):
        some = [(row, wish_of(row, known, sequence, default)) for row in sheet.rows[start : start + together]]
        for wish in (wish for _, wish in some if isinstance(wish, Wish)):
            for address in filter(None, (wish.email, str(wish.values.get("client", "")))):
                bring(address.strip().lower())
        if start and not dry:
            time.sleep(TURN_SECONDS)
        yield from _entered(inst, some, now, again)


class _Apart(Exception):
    """One of several rows is not enrolled, which undoes what they had begun."""


def _entered(inst: Installation, some: list[tuple[Row, Wish | Refusal]], now: datetime, again: bool) -> list[Fed]:
    """What became of some rows: all of them in one transaction, or each in its own where one of them is refused."""
    if len(some) > 1:
        with contextlib.suppress(_Apart, Conflict, Unusable), inst.store.transaction():
            return [_or_apart(_enter(inst, row, wish, now, again)) for row, wish in some]
    return [_enter(inst, row, wish, now, again) for row, wish in some]


def _or_apart(fed: Fed) -> Fed:
    if fed.enrollment is None:
        raise _Apart
    return fed


def _enter(inst: Installation, row: Row, wish: Wish | Refusal, now: datetime, again: bool) -> Fed:
    if isinstance(wish, Refusal):
        return Fed(row, str(tidy(row.cells.get("email")) or ""), "refused", refusals=(wish,))
    if before := _earlier(inst, wish, again):
        return Fed(row, wish.email, "already", before, note=_since(before))
    entered = enrollments.enroll(inst, wish, now)
    if isinstance(entered, Enrollment):
        return Fed(row, wish.email, "enrolled", entered)
    if [refusal.rule for refusal in entered] == ["running"]:
        return Fed(row, wish.email, "already", note=entered[0].reason)
    return Fed(row, wish.email, "refused", refusals=tuple(entered))


def _earlier(inst: Installation, wish: Wish, again: bool) -> Enrollment | None:
    """The enrollment of this person in this sequence for this prospect; one that has ended counts unless it is to be `again`."""
    contact = inst.store.contact_at(wish.email)
    if contact is None:
        return None
    key = _key(wish.values.get("prospect"))
    theirs = [
        e
        for e in inst.store.enrollments_of(contact.id)
        if e.sequence == wish.sequence and prospect_key(e.variables.get("prospect")) == key
    ]
    return next((e for e in reversed(theirs) if not again or e.state not in ("stopped", "listening")), None)


def _key(given: Any) -> str:
    try:
        return prospect_key(person(given)) if given else ""
    except ValueError:  # it is refused with its reason when it is enrolled
        return ""


def _since(enrollment: Enrollment) -> str:
    begun = f"{enrollment.begun_at:%Y-%m-%d}"
    if enrollment.state == "stopped":
        return f"was in it before (from {begun}, ended: {enrollment.outcome.replace('_', ' ')})"
    return f"is in it already (since {begun})"
