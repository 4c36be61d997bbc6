"""What an edit of sequences and templates means for what is in flight, and making it so. Enrollments follow by step id: what was
sent is never sent again, and a plan changes nothing until it is applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from engine.core.happening import Changed
from engine.core.machine import RUNNING, decide
from engine.core.model import Enrollment
from engine.core.needs import gather
from engine.core.sequence import Sequence, Step
from engine.decisions import facts, happen
from engine.errors import UserError
from engine.installation import Installation
from engine.letters import INTRO_LINK, INTRODUCTION
from engine.library import Library, pack, template_sources

Kind = Literal["added", "changed", "removed"]
BECAUSE = "the sequence was edited (version {})"
REWORDED = "{}: other words in {} (version {})"


@dataclass(frozen=True)
class Edit:
    """How a sequence or a template differs from the one applied; the steps by their ids, in the order of the file."""

    name: str
    kind: Kind
    steps_added: tuple[str, ...] = ()
    steps_changed: tuple[str, ...] = ()
    steps_removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Move:
    """What becomes of one enrollment in flight: `step` is due at `due_at` (UTC) in place of `was`; None: it drops out."""

    email: str
    sequence: str
    step: str
    zone: str
    was: datetime | None
    due_at: datetime | None


@dataclass(frozen=True)
class Reworded:
    """The steps ahead of one enrollment in flight whose words are others."""

    email: str
    sequence: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that applying an edit would mean."""

    sequences: tuple[Edit, ...]
    templates: tuple[Edit, ...]
    moves: tuple[Move, ...]
    reworded: tuple[Reworded, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.sequences or self.templates)

    def lines(self) -> list[str]:
        """The plan for people, one thing a line."""
        said = [f"sequence {edit.name}: {edit.kind}{_steps(edit)}" for edit in self.sequences]
        said += [f"template {edit.name}: {edit.kind}" for edit in self.templates]
        said += [_moved(move) for move in self.moves]
        return said + [f"{r.email} in {r.sequence}: other words in {', '.join(r.steps)}" for r in self.reworded]


def _steps(edit: Edit) -> str:
    parts = (("added", edit.steps_added), ("changed", edit.steps_changed), ("removed", edit.steps_removed))
    said = [f"{word} {', '.join(steps)}" for word, steps in parts if steps]
    return f" (steps {'; '.join(said)})" if said and edit.kind == "changed" else ""


def _moved(move: Move) -> str:
    who = f"{move.email} in {move.sequence}: {move.step}"
    if move.due_at is None:
        return f"{who} drops out"
    was = f" (was {_local(move.was, move.zone)})" if move.was else ""
    return f"{who} is due {_local(move.due_at, move.zone)}{was}"


def _local(at: datetime, zone: str) -> str:
    local = at.astimezone(ZoneInfo(zone))
    return f"{local:%a} {local.day} {local:%b %Y %H:%M}"


# --- what differs ----------------------------------------------------------------------------------------------------


def plan(inst: Installation, library: Library, now: datetime) -> Plan:
    """What applying `library` at `now` (UTC) would mean; nothing is changed."""
    sequences = _sequence_edits(inst.library, library)
    templates = _text_edits(template_sources(inst.library.sources), template_sources(library.sources))
    new = replace(inst, library=library)
    moves = [move for e in _in_flight(inst, sequences) for move in _moves(inst, new, e, now)]
    reworded = [
        Reworded(contact.email if (contact := inst.store.contact(e.contact)) else "", e.sequence, steps)
        for e, steps in _reworded(inst, library, templates)
    ]
    return Plan(sequences, templates, tuple(moves), tuple(reworded))


def _sequence_edits(old: Library, new: Library) -> tuple[Edit, ...]:
    found = []
    for edit in _text_edits(_texts(old), _texts(new)):
        if edit.kind == "changed":
            edit = _steps_compared(old.sequences[edit.name], new.sequences[edit.name])
        found.append(edit)
    return tuple(found)


def _texts(library: Library) -> dict[str, str]:
    return {key: library.sources[sequence.file] for key, sequence in library.sequences.items()}


def _text_edits(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Edit, ...]:
    kinds: dict[str, Kind] = {name: "removed" for name in old if name not in new}
    kinds |= {name: "added" for name in new if name not in old}
    kinds |= {name: "changed" for name in new if name in old and old[name] != new[name]}
    return tuple(Edit(name, kinds[name]) for name in sorted(kinds))


def _steps_compared(old: Sequence, new: Sequence) -> Edit:
    before = {step.id: _without_lines(step) for step in old.steps}
    after = {step.id: _without_lines(step) for step in new.steps}
    return Edit(
        new.key,
        "changed",
        tuple(id for id in after if id not in before),
        tuple(id for id in after if id in before and after[id] != before[id]),
        tuple(id for id in before if id not in after),
    )


def _without_lines(value: Any) -> Any:
    """A step moved to another line is the same step."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _without_lines(getattr(value, f.name)) for f in fields(value) if f.name != "line"}
    if isinstance(value, Mapping):
        return {key: _without_lines(item) for key, item in value.items()}
    return tuple(map(_without_lines, value)) if isinstance(value, tuple) else value


# --- who is in flight ------------------------------------------------------------------------------------------------


def _in_flight(inst: Installation, edits: tuple[Edit, ...]) -> list[Enrollment]:
    concerned = {edit.name for edit in edits if edit.kind != "added"}
    if not concerned:
        return []
    return [e for e in inst.store.all_enrollments() if e.sequence in concerned and e.state in RUNNING]


def deserted(inst: Installation, library: Library) -> dict[str, int]:
    """The sequences that `library` has no longer although people are in them, with how many. Applying it stops them for good,
    and a folder that is moved away for a moment looks just the same."""
    gone = inst.library.sequences.keys() - library.sequences.keys()
    return dict(Counter(e.sequence for e in inst.store.all_enrollments() if e.sequence in gone and e.state in RUNNING))


def _reworded(
    inst: Installation, library: Library, templates: tuple[Edit, ...]
) -> Iterator[tuple[Enrollment, tuple[str, ...]]]:
    """Who is in flight before steps whose words, or whatever these include, were edited."""
    edited = {edit.name for edit in templates if edit.kind != "added"}
    if not edited:
        return
    concerned = {key: _edited_steps(library, sequence, edited) for key, sequence in library.sequences.items()}
    for enrollment in inst.store.all_enrollments():
        if enrollment.state in RUNNING and concerned.get(enrollment.sequence):
            ahead = _ahead(library.sequences[enrollment.sequence], enrollment)
            if steps := tuple(step.id for step in ahead if step.id in concerned[enrollment.sequence]):
                yield enrollment, steps


def _edited_steps(library: Library, sequence: Sequence, edited: set[str]) -> set[str]:
    """The steps of a sequence in which an edited template appears."""
    named = {step.id: [*filter(None, (step.email, step.task)), *step.variants.values()] for step in sequence.steps}
    return {id for id, names in named.items() if any(edited & _written(library, name) for name in names)}


def _written(library: Library, template: str) -> set[str]:
    """Everything that a template is made of; what its link says is part of it."""
    more = library.templates.around(INTRODUCTION) if INTRO_LINK in library.templates.names(template) else ()
    return {*library.templates.around(template), *more}


def _ahead(sequence: Sequence, enrollment: Enrollment) -> list[Step]:
    """The steps that may still come in the normal order, the present one among them."""
    ids = [step.id for step in sequence.steps]
    here = ids.index(enrollment.step) if enrollment.step in ids else -1
    passed = set(enrollment.passed) - {enrollment.step}
    rest = sequence.steps[here:] if here >= 0 else sequence.steps
    return [step for step in rest if step.id not in passed and (not step.aside or step.id == enrollment.step)]


def _moves(inst: Installation, new: Installation, enrollment: Enrollment, now: datetime) -> Iterator[Move]:
    """What an edit does to one enrollment: to the present step, and to the later ones as far as their time is known."""
    present = _move(new, enrollment, now)
    if present:
        yield present
    before, after = inst.library.sequences[enrollment.sequence], new.library.sequences.get(enrollment.sequence)
    if after is None or enrollment.step is None:
        return
    contact = inst.store.contact(enrollment.contact)
    email, zone = contact.email if contact else "", inst.place(contact, enrollment.rep).zone
    was, due = _anchored(inst, before, enrollment, now), _anchored(new, after, enrollment, now)
    kept = {step.id for step in after.steps}
    for id in dict.fromkeys(step.id for step in (*_ahead(before, enrollment), *_ahead(after, enrollment))):
        moved = id not in kept or (id in due and due[id] != was.get(id))
        if moved and id != enrollment.step:
            yield Move(email, enrollment.sequence, id, zone, was.get(id), due.get(id))


def _move(inst: Installation, enrollment: Enrollment, now: datetime) -> Move | None:
    contact = inst.store.contact(enrollment.contact)
    zone = inst.place(contact, enrollment.rep).zone
    sequence = inst.library.sequences.get(enrollment.sequence)
    due_at = None
    if sequence and (enrollment.step is None or any(step.id == enrollment.step for step in sequence.steps)):
        decision = decide(
            sequence,
            enrollment,
            Changed({}, BECAUSE.format(inst.library.version)),
            now,
            facts(inst, enrollment, sequence, now),
        )
        due_at = decision.enrollment.due_at
        if due_at == enrollment.due_at:
            return None
    email = contact.email if contact else ""
    return Move(email, enrollment.sequence, enrollment.step or "everything", zone, enrollment.due_at, due_at)


def dates_moved(inst: Installation, email: str, sequence: str, values: Mapping[str, Any], now: datetime) -> list[Move]:
    """Which steps ahead of someone enrolled would get another time by new values of variables; nothing is changed.

    Raises UserError when they are not in it or a value is wrong."""
    contact = inst.store.contact_at(email)
    running = inst.store.enrollments_of(contact.id) if contact else []
    chosen = [e for e in running if e.sequence == sequence and e.state in RUNNING]
    known = inst.library.sequences.get(sequence)
    if not contact or not chosen or not known:
        raise UserError(f"{email} is not in {sequence}", remedy="whoelse status shows who is where")
    zone = inst.place(contact, chosen[0].rep).zone
    moves = []
    for enrollment in chosen:
        rep_zone = inst.config.place(inst.rep(enrollment.rep)).zone
        kept, faults = gather(known, {**enrollment.variables, **values}, {}, rep_zone)
        if faults:
            raise UserError("; ".join(map(str, faults)))
        before = _anchored(inst, known, enrollment, now)
        after = _anchored(inst, known, replace(enrollment, variables=kept), now)
        moves += [Move(email, sequence, s, zone, before.get(s), at) for s, at in after.items() if before.get(s) != at]
    return moves


def _anchored(inst: Installation, sequence: Sequence, enrollment: Enrollment, now: datetime) -> dict[str, datetime]:
    """When the steps that are still ahead and go by a date are due, by the `start` or a variable: (step, instant in UTC)."""
    known = facts(inst, enrollment, sequence, now)
    anchors = {**known.anchors, "start": enrollment.start_at}
    ids = [step.id for step in sequence.steps]
    ahead = sequence.steps[ids.index(enrollment.step) :] if enrollment.step in ids else sequence.steps
    found = {}
    for step in ahead:
        anchor = anchors.get(step.at.anchor) if step.at else None
        if step.at is None or anchor is None:
            continue
        window = step.window or sequence.window
        if not isinstance(anchor, datetime):
            anchor = known.calendar.opens_on(window, known.place, anchor)
        at = known.calendar.add(anchor, step.at.offset, known.place, step.at.sign)
        found[step.id] = max(now, known.calendar.opening(window, (known.place,), at).at)
    return found


def apply(inst: Installation, library: Library, now: datetime) -> Installation:
    """Keeps `library` as the version that runs, and moves what is in flight; `now` in UTC. One transaction."""
    concerned = _in_flight(inst, _sequence_edits(inst.library, library))
    templates = _text_edits(template_sources(inst.library.sources), template_sources(library.sources))
    reworded = list(_reworded(inst, library, templates))
    new = replace(inst, library=library)
    with inst.store.transaction():
        inst.store.apply_library(library.version, now, pack(library))
        for enrollment in concerned:
            happen(new, enrollment.id, Changed({}, BECAUSE.format(library.version)), now)
        for enrollment, steps in reworded:
            said = REWORDED.format(enrollment.sequence, ", ".join(steps), library.version)
            inst.store.tell(now, "edited", said, enrollment.contact, enrollment.id)
    return new
