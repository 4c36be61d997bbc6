"""Whether a sequence goes anywhere: steps that nothing reaches, times that have passed, handlers for what cannot happen,
ends that never end, windows that never open."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.core.duration import At, Duration
from engine.core.lint.project import Place, Project, sends
from engine.core.problem import Problem, did_you_mean
from engine.core.sequence import Sequence, Step

_FINAL = ("unsubscribed", "complained", "bounced")
#: Only the fate of our own message brings these; the others a rep can report too.
_OF_OUR_MAIL = ("bounced", "soft_bounced", "complained")
_NEVER = re.compile(r"\s*(false|none|0)\s*", re.IGNORECASE)


def windows(project: Project) -> Iterator[Problem]:
    """A window that the config does not name, or that never opens."""
    known = {*project.windows, "always"}
    for sequence in project.sequences.values():
        places = [(Place(sequence), sequence.window), *((p, s.window) for p, s in project.steps(sequence) if s.window)]
        for place, name in places:
            loc, window = place.at("window"), project.windows.get(name or "")
            if name not in known:
                hint = did_you_mean(name or "", known)
                yield project.problem(place, loc, "window", f'has the window "{name}", which the config lacks', hint)
            elif window is not None and not any(window.hours.values()):
                hint = "give it hours in the config"
                yield project.problem(place, loc, "window", f'has the window "{name}", which never opens', hint)


def unreachable(project: Project) -> Iterator[Problem]:
    """Steps that are set aside and never gone to, or whose condition is never true."""
    for sequence in project.sequences.values():
        reached = _reached(sequence)
        for place, step in project.steps(sequence):
            if step.id not in reached:
                yield project.problem(
                    place, place.at("aside"), "unreachable", "is set aside, and no goto leads to it",
                    f"write goto: {step.id} in a handler, or take aside away", key=True,
                )  # fmt: skip
            elif step.condition and _NEVER.fullmatch(step.condition):
                yield project.problem(place, place.at("if"), "unreachable", "has an if that is never true", "remove it")


def _reached(sequence: Sequence) -> set[str]:
    steps = {step.id: step for step in sequence.steps}
    waiting = [step.id for step in sequence.steps if not step.aside]
    if waiting or not sequence.steps:
        waiting += [handler.goto for handler in sequence.when.values() if handler.goto]
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in reached or name not in steps:
            continue
        reached.add(name)
        waiting += [handler.goto for handler in steps[name].when.values() if handler.goto]
    return reached


def passed(project: Project) -> Iterator[Problem]:
    """Times that lie before what they come after: an `until` that is over before its `at`, an `at` before the last one."""
    for sequence in project.sequences.values():
        before: dict[str, Step] = {}
        for place, step in project.steps(sequence):
            if step.at is None:
                continue
            if step.until and step.until.anchor == step.at.anchor and _surely_before(step.until, step.at):
                message = f"comes at {step.at.text} but only until {step.until.text}"
                yield project.problem(place, place.at("until"), "never", message, "it would always be skipped")
            earlier = before.get(step.at.anchor)
            if earlier and earlier.at and not step.aside and _surely_before(step.at, earlier.at):
                message = f'comes at {step.at.text}, before step "{earlier.id}" at {earlier.at.text}'
                hint = "put the steps in the order of their times"
                yield project.problem(place, place.at("at"), "order", message, hint, "warning")
            if not step.aside:
                before[step.at.anchor] = step


def before_the_beginning(project: Project) -> Iterator[Problem]:
    """Times that have passed when the enrollment begins, and an `until` that is over before the waits that lead to it."""
    for sequence in project.sequences.values():
        jumps = any(handler.goto for _, handler in project.handlers(sequence))
        earliest = 0.0  # days from the start: the least that the steps so far take
        for place, step in project.steps(sequence):
            if step.at and step.at.anchor == "start" and max(_days(step.at)) < 0:
                hint = "nothing is sent before the start: it would leave at once"
                message = f"comes at {step.at.text}, before the sequence begins"
                yield project.problem(place, place.at("at"), "order", message, hint, "warning")
            if step.aside:
                continue
            if step.wait:
                here = earliest + min(_length(step.wait))
            else:
                here = max(earliest, min(_days(step.at))) if step.at and step.at.anchor == "start" else earliest
            if step.until is None and not jumps:
                earliest = here
            if step.until and step.wait and step.until.anchor == "start" and max(_days(step.until)) < here:
                message = f"waits {step.wait.text} but comes only until {step.until.text}"
                yield project.problem(place, place.at("until"), "never", message, "it would always be skipped")


def _surely_before(one: At, other: At) -> bool:
    """Whether `one` lies before `other` whatever the month and the holidays."""
    return max(_days(one)) < min(_days(other))


def _days(at: At) -> tuple[float, float]:
    low, high = _length(at.offset)
    return (low, high) if at.sign > 0 else (-high, -low)


def _length(duration: Duration) -> tuple[float, float]:
    """The shortest and the longest that it can be, in days; business days stretch over weekends and holidays."""
    exact = duration.days + duration.minutes / 1440
    business = duration.business_days
    return exact + duration.months * 28 + business, exact + duration.months * 31 + business * 2 + min(business, 1) * 4


def impossible(project: Project) -> Iterator[Problem]:
    """Handlers for what cannot happen there, or that ask for what cannot follow."""
    for sequence in project.sequences.values():
        mails = any(sends(step) for step in sequence.steps)
        for place, handler in project.handlers(sequence):
            event = place.event
            going_on = handler.goto or handler.go_on or handler.hold or handler.pause
            if event in _OF_OUR_MAIL and not mails:
                message = "can never run: this sequence sends no email"
                yield project.problem(place, place.loc, "impossible", message, "remove it", key=True)
            elif event == "finished" and place.step and _email_follows(sequence, place.step):
                message = "can never run: another email follows before the steps run out"
                hint = "put it under the last email, or under the sequence"
                yield project.problem(place, place.loc, "impossible", message, hint, key=True)
            elif event in _FINAL and going_on:
                message = "asks to go on, but the address is dead or must not be mailed again"
                yield project.problem(place, place.loc, "impossible", message, "use stop", key=True)
            elif event == "finished" and (handler.go_on or handler.hold):
                message = "asks to go on, but the steps have run out"
                yield project.problem(place, place.loc, "impossible", message, "use stop, pause or goto", key=True)
            elif event == "out_of_office" and (handler.stop or handler.goto):
                message = "takes an absence for an answer"
                hint = "leave it out: the person is held until they are back"
                yield project.problem(place, place.loc, "absence", message, hint, "warning", key=True)


def _email_follows(sequence: Sequence, step: Step) -> bool:
    """Whether after this step's email another one is sure to go out in the normal order."""
    rest = sequence.steps[sequence.steps.index(step) + 1 :]
    return any(_certain(other) for other in rest)


def _certain(step: Step) -> bool:
    anchored = step.at is not None and step.at.anchor != "start"
    return sends(step) and not (step.aside or step.condition or step.until or step.late == "skip" or anchored)


def endless(project: Project) -> Iterator[Problem]:
    """A `finished` that goes to a step from which the steps run out to the same `finished` again."""
    for sequence in project.sequences.values():
        for place, handler in project.handlers(sequence):
            if place.event == "finished" and handler.goto and _comes_round(sequence, handler.goto):
                message = f"goes to {handler.goto}, and from there the steps run out into it again, without end"
                hint = "stop instead; what repeats belongs in triggers.yaml"
                yield project.problem(place, place.at("goto"), "endless-loop", message, hint)


def _comes_round(sequence: Sequence, target: str) -> bool:
    seen: set[str] = set()
    while target not in seen:
        seen.add(target)
        ids = [step.id for step in sequence.steps]
        first = ids.index(target)
        run = [sequence.steps[first], *(step for step in sequence.steps[first + 1 :] if not step.aside)]
        last = next((step for step in reversed(run) if sends(step)), None)
        handler = (last.when.get("finished") if last else None) or sequence.when.get("finished")
        if handler is None or not handler.goto:
            return False
        target = handler.goto
    return True


RULES = (windows, unreachable, passed, before_the_beginning, impossible, endless)
