"""All files at once, as the rules look at them: who sends what, what starts what, and where in which file that is written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from engine.core.calendar import Window
from engine.core.problem import Problem
from engine.core.render import Templates
from engine.core.sequence import Handler, Sequence, Start, Step, Trigger
from engine.core.yaml_strict import Loc, Positions, load, locate

TRIGGERS = "sequences/triggers.yaml"


@dataclass(frozen=True)
class Place:
    """A part of a sequence: the whole, a step of it, or a handler of either."""

    sequence: Sequence
    loc: Loc = ()
    step: Step | None = None
    event: str = ""

    @property
    def who(self) -> str:
        step = f'step "{self.step.id}"' if self.step else ""
        if not self.event:
            return step or "the sequence"
        return f'handler "{self.event}"' + (f" of {step}" if step else "")

    def at(self, *more: str | int) -> Loc:
        return (*self.loc, *more)


@dataclass(frozen=True)
class Written:
    """A template that is named somewhere: as an email, or as a task for the rep."""

    place: Place
    loc: Loc
    template: str
    email: bool


@dataclass(frozen=True)
class Project:
    sequences: Mapping[str, Sequence]
    templates: Templates
    windows: Mapping[str, Window]
    triggers: tuple[Trigger, ...]
    sources: Mapping[str, str]
    variables: frozenset[str]

    @cached_property
    def positions(self) -> dict[str, Positions]:
        return {file: load(file, text)[1] for file, text in self.sources.items() if file.endswith(".yaml")}

    def problem(
        self,
        place: Place,
        loc: Loc,
        code: str,
        message: str,
        hint: str = "",
        severity: Literal["error", "warning"] = "error",
        key: bool = False,
    ) -> Problem:
        """`place message; hint` at a path of the sequence's file, or at its line where the file is not given."""
        file = place.sequence.file
        line, column = (place.step.line if place.step else 1), 1
        if file in self.positions:
            line, column = locate(self.positions[file], loc, key)
        return Problem(file, line, column, code, f"{place.who} {message}", hint, severity)

    def there(self, sequence: str) -> bool:
        """Whether there is one of that name; what is wrong with a file that cannot be read is told of it alone."""
        return sequence in self.sequences or f"sequences/{sequence}.yaml" in self.sources

    def steps(self, sequence: Sequence) -> Iterator[tuple[Place, Step]]:
        for index, step in enumerate(sequence.steps):
            yield Place(sequence, ("steps", index), step), step

    def handlers(self, sequence: Sequence) -> Iterator[tuple[Place, Handler]]:
        for event, handler in sequence.when.items():
            yield Place(sequence, ("when", event), None, event), handler
        for place, step in self.steps(sequence):
            for event, handler in step.when.items():
                yield Place(sequence, place.at("when", event), step, event), handler

    def starts(self, sequence: Sequence) -> Iterator[tuple[Place, Loc, Start]]:
        """Every start, with the path of the sequence's name."""
        owners: list[tuple[Place, Step | Handler]] = [*self.steps(sequence), *self.handlers(sequence)]
        for place, owner in owners:
            for number, start in enumerate(owner.starts):
                yield place, place.at("start", number, "start"), start

    def written(self, sequence: Sequence) -> Iterator[Written]:
        """Every template that the sequence names."""
        for place, step in self.steps(sequence):
            yield from (Written(place, loc, name, True) for loc, name in emails_of(place, step))
            if step.task:
                yield Written(place, place.at("task"), step.task, False)
        for place, handler in self.handlers(sequence):
            if handler.task:
                yield Written(place, place.at("task"), handler.task, False)

    def in_languages(self, template: str) -> list[str]:
        """The template and its translations, `ask/who_else.de`."""
        return [name for name in self.templates.sources if name == template or name.startswith(f"{template}.")]


def emails_of(place: Place, step: Step) -> list[tuple[Loc, str]]:
    """The templates of a step's email, with their paths: one, or one for each variant, or none."""
    if step.email:
        return [(place.at("email"), step.email)]
    return [(place.at("variants", name), template) for name, template in step.variants.items()]


def sends(step: Step) -> bool:
    return bool(step.email or step.variants)


def asked(step: Step | None, path: str) -> bool:
    """Whether the step's own `if` has made sure of it: `if: prospect`, `if: prospect and prospect.email`."""
    parts = re.split(r"\s+and\s+", step.condition) if step and step.condition else []
    return any(path == part.strip() or path.startswith(f"{part.strip()}.") for part in parts)
