"""What starts sequences by itself: whether what it starts is there, can be filled and is not started twice. Whatever a moment's
report may bring is trusted to come; what no schedule can bring is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from engine.core.lint.project import TRIGGERS, Project
from engine.core.problem import Problem, did_you_mean, near
from engine.core.sequence import Sequence, Start, Trigger
from engine.core.yaml_strict import Loc, locate

AUDIENCES = ("clients", "referrers")
_TASK = 'every start becomes the task "complete"'


def unknown(project: Project) -> Iterator[Problem]:
    """Starts of sequences that are not there, and values that they do not know."""
    for number, trigger in enumerate(project.triggers):
        for index, start in enumerate(trigger.starts):
            target = project.sequences.get(start.sequence)
            if target is None:
                if not project.there(start.sequence):
                    message = f'starts "{start.sequence}", which is not there'
                    hint = did_you_mean(start.sequence, project.sequences)
                    yield _problem(project, number, ("start", index, "start"), "sequence", message, hint)
                continue
            for name in start.values:
                if name not in target.needs:
                    message = f'gives {target.key} "{name}", which it does not need'
                    hint = did_you_mean(name, target.needs)
                    yield _problem(project, number, ("with", name), "with", message, hint, key=True)


def schedules(project: Project) -> Iterator[Problem]:
    """What only a person's word or answer can mean, at a time of the calendar."""
    for number, trigger in enumerate(project.triggers):
        if not (trigger.cron or trigger.yearly):
            continue
        if trigger.confirms:
            hint = "take it away: the value is confirmed by a moment or an answer"
            yield _problem(project, number, ("confirms",), "confirms", "takes a date for the client's word", hint)
        if any(start.rest for start in trigger.starts):
            hint = "a rest follows a no; choose another schedule, or a length"
            yield _problem(project, number, ("after",), "rest", "rests, but nobody has said no", hint, "warning")


def audiences(project: Project) -> Iterator[Problem]:
    """A single word asks for a field of that name, which is seldom what was meant."""
    for number, trigger in enumerate(project.triggers):
        word = trigger.audience.strip()
        if word.isidentifier() and word not in AUDIENCES:
            message = f'is for those who have a field "{word}"'
            known = near(word, AUDIENCES) or "clients are all, referrers those who have referred"
            yield _problem(project, number, ("for",), "audience", message, known, "warning")


def unfilled(project: Project) -> Iterator[Problem]:
    """Sequences that nobody can be in by this trigger, or only after the rep has filled in what they need."""
    for number, trigger in enumerate(project.triggers):
        for index, start in enumerate(trigger.starts):
            target = project.sequences.get(start.sequence)
            if target is not None:
                loc: Loc = ("start", index, "start")
                yield from _prospect(project, number, trigger, start, target, loc)
                yield from _needs(project, number, trigger, start, target, loc)


def _prospect(
    project: Project, number: int, trigger: Trigger, start: Start, target: Sequence, loc: Loc
) -> Iterator[Problem]:
    """Only a referral is about a prospect by itself; the report of a moment may name one."""
    need = target.needs.get("prospect")
    if trigger.referral or "prospect" in start.values or not (target.to == "prospect" or (need and not need.optional)):
        return
    about = f"starts {target.key}, which is about a prospect"
    if trigger.moment:
        hint = f'report it with -v prospect="Barry Jones <barry@acme.example>", or {_TASK}'
        yield _problem(project, number, loc, "incomplete", about, hint, "warning")
    else:
        hint = "a schedule names nobody: start it by a referral or a moment"
        yield _problem(project, number, loc, "incomplete", about, hint)


def _needs(
    project: Project, number: int, trigger: Trigger, start: Start, target: Sequence, loc: Loc
) -> Iterator[Problem]:
    """A yearly date and a moment may be there to have the rep fill in the rest; a schedule for many and a referral are not."""
    if trigger.moment or trigger.yearly:
        return
    given = {*start.values, *project.variables, "prospect"}
    open_ = [name for name, need in target.needs.items() if not need.optional and name not in given]
    if open_:
        message = f"starts {target.key}, which needs {', '.join(open_)}"
        hint = f"{_TASK}: give it by with, or for each rep in the config"
        yield _problem(project, number, loc, "incomplete", message, hint, "warning")


def twice(project: Project) -> Iterator[Problem]:
    """Two triggers that start the same for the same people at the same time."""
    seen: dict[tuple[object, ...], int] = {}
    for number, trigger in enumerate(project.triggers):
        cause = (trigger.moment, trigger.referral, trigger.cron, trigger.yearly, trigger.before)
        for index, start in enumerate(trigger.starts):
            pair = (*cause, trigger.condition, trigger.audience, start.sequence)
            if pair in seen:
                message = f"starts {start.sequence} again, as trigger {seen[pair] + 1} does"
                hint = "whoever is in it already is skipped: take one of them away"
                yield _problem(project, number, ("start", index, "start"), "twice", message, hint, "warning")
            seen.setdefault(pair, number)


def _problem(
    project: Project,
    number: int,
    loc: Loc,
    code: str,
    message: str,
    hint: str,
    severity: Literal["error", "warning"] = "error",
    key: bool = False,
) -> Problem:
    line, column = project.triggers[number].line, 1
    if TRIGGERS in project.positions:
        line, column = locate(project.positions[TRIGGERS], (number, *loc), key)
    return Problem(TRIGGERS, line, column, code, f"trigger {number + 1} {message}", hint, severity)


RULES = (unknown, schedules, audiences, unfilled, twice)
