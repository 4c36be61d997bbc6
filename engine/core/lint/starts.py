"""What one sequence hands to another: whether it exists, gets what it needs, and whether the two ever stop starting each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.core.lint.project import Place, Project, asked
from engine.core.problem import Problem, did_you_mean
from engine.core.sequence import Need, Sequence, Start

#: Events that bring the person whom they are about.
BRING_PROSPECT = ("named", "introduced")
#: Parts of a sequence that run without anybody's doing.
_BY_ITSELF = ("", "finished")


def unknown(project: Project) -> Iterator[Problem]:
    """Starts of sequences that are not there."""
    for sequence in project.sequences.values():
        for place, loc, start in project.starts(sequence):
            if not project.there(start.sequence):
                hint = did_you_mean(start.sequence, project.sequences)
                yield project.problem(place, loc, "sequence", f'starts "{start.sequence}", which is not there', hint)


def scenarios(project: Project) -> Iterator[Problem]:
    """Scenarios that speak of sequences that are not there: one that must not start is never missed."""
    for sequence in project.sequences.values():
        for number, scenario in enumerate(sequence.scenarios):
            for index, item in enumerate(scenario.expect):
                for key in ("started", "not_started"):
                    name = item.get(key)
                    if name is not None and not project.there(name):
                        message = f'speaks in scenario "{scenario.name}" of the sequence "{name}", which is not there'
                        loc = ("scenarios", number, "expect", index, key)
                        hint = did_you_mean(str(name), project.sequences)
                        yield project.problem(Place(sequence), loc, "sequence", message, hint)


def handed_over(project: Project) -> Iterator[Problem]:
    """`with:` that the started sequence does not know, values of the wrong type, needs that nothing fills."""
    for sequence in project.sequences.values():
        for place, loc, start in project.starts(sequence):
            target = project.sequences.get(start.sequence)
            if target is not None:
                yield from _unknown_values(project, place, start, target)
                yield from _unfilled(project, place, loc, start, target)


def _unknown_values(project: Project, place: Place, start: Start, target: Sequence) -> Iterator[Problem]:
    for name in start.values:
        if name not in target.needs:
            message = f'gives {target.key} "{name}", which it does not need'
            hint = did_you_mean(name, target.needs)
            yield project.problem(place, place.at("with", name), "with", message, hint, key=True)


def _unfilled(
    project: Project, place: Place, loc: tuple[str | int, ...], start: Start, target: Sequence
) -> Iterator[Problem]:
    given = place.sequence.needs
    for name, need in target.needs.items():
        if name in start.values or (name == "prospect" and place.event in BRING_PROSPECT):
            continue
        own = given.get(name)
        if own is not None and own.type != need.type:
            message = f"starts {target.key} with {name} as a {own.type}, but it takes a {need.type}"
            yield project.problem(place, loc, "type", message, "use the same type in both needs")
        elif need.optional or _from_elsewhere(project, place, name):
            continue
        elif own is None:
            message = f"starts {target.key}, which needs {name}"
            hint = f'each start becomes the task "complete": declare {name} here too, or give it by with'
            yield project.problem(place, loc, "incomplete", message, hint, "warning")
        elif own.optional and not asked(place.step, name):
            message = f"starts {target.key}, which needs {name}; here it is optional"
            hint = f'without it the start becomes the task "complete": need {name} here too, or give it by with'
            yield project.problem(place, loc, "incomplete", message, hint, "warning")


def _from_elsewhere(project: Project, place: Place, name: str) -> bool:
    return name in project.variables or (name == "prospect" and place.sequence.to == "prospect")


def loops(project: Project) -> Iterator[Problem]:
    """Sequences that start each other without anybody's doing, so that it never ends."""
    edges: dict[str, list[tuple[Place, tuple[str | int, ...], str]]] = {}
    for sequence in project.sequences.values():
        edges[sequence.key] = [
            (place, loc, start.sequence)
            for place, loc, start in project.starts(sequence)
            if place.event in _BY_ITSELF and start.sequence in project.sequences
        ]
    targets = {key: [target for _, _, target in found] for key, found in edges.items()}
    for key, found in edges.items():
        for place, loc, target in found:
            way = _way(targets, target, key)
            if way:
                message = f"starts {target} by itself, and that leads back: {' → '.join((key, *way))}"
                hint = "let an answer start it, or a trigger with a schedule"
                yield project.problem(place, loc, "endless-loop", message, hint)


def _way(targets: Mapping[str, list[str]], start: str, goal: str) -> tuple[str, ...]:
    """The shortest way from a sequence to another by starts, both included, or nothing."""
    waiting: list[tuple[str, ...]] = [(start,)]
    seen = {start}
    while waiting:
        way = waiting.pop(0)
        if way[-1] == goal:
            return way
        for target in targets[way[-1]]:
            if target not in seen:
                seen.add(target)
                waiting.append((*way, target))
    return ()


RULES = (unknown, scenarios, handed_over, loops)


def certain_prospect(place: Place) -> bool:
    """Whether there is a prospect wherever this part of a sequence runs."""
    need: Need | None = place.sequence.needs.get("prospect")
    needed = need is not None and not need.optional
    return needed or place.sequence.to == "prospect" or place.event in BRING_PROSPECT
