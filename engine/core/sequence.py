"""Sequences as values, and the reading of them from YAML. Every problem carries file, line and column, and all problems
of a file are found in one reading; a sequence with a problem is never returned half-read. What may be written where is
in `language`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from engine.core import language, references
from engine.core.duration import At as At
from engine.core.duration import Duration as Duration
from engine.core.duration import parse_at as parse_at
from engine.core.duration import parse_duration as parse_duration
from engine.core.language import KINDS as KINDS
from engine.core.problem import Problem as Problem
from engine.core.problem import has_errors
from engine.core.shapes import Spot, read_keys, shown
from engine.core.yaml_strict import load

Role = Literal["client", "prospect", "rep"]
Thread = Literal["one", "new", "inherit", "answer"]


@dataclass(frozen=True)
class Need:
    name: str
    type: Literal["text", "number", "list", "date", "datetime", "person"]
    optional: bool = False


@dataclass(frozen=True)
class Start:
    """Another sequence to start. `rest` stands for `after: rest` (the length is in the config)."""

    sequence: str
    after: Duration | None = None
    rest: bool = False
    values: Mapping[str, Any] = field(default_factory=dict)  # `with:`
    line: int = 0


@dataclass(frozen=True)
class Handler:
    """What an event does: at most one of stop, pause, hold, goto, go_on (`continue: true`), with any of the others."""

    stop: str | None = None
    pause: str | None = None
    hold: Duration | None = None
    goto: str | None = None
    go_on: bool = False
    starts: tuple[Start, ...] = ()
    task: str | None = None
    set: Mapping[str, str] = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True)
class Step:
    id: str
    wait: Duration | None = None
    at: At | None = None
    email: str | None = None
    task: str | None = None
    starts: tuple[Start, ...] = ()
    condition: str | None = None  # `if:`
    until: At | None = None
    late: Literal["ask", "send", "skip"] = "ask"
    aside: bool = False
    when: Mapping[str, Handler] = field(default_factory=dict)
    to: Role | None = None
    bcc: Role | None = None
    thread: Thread | None = None
    window: str | None = None
    approve: bool = False
    block: bool = False
    attach: tuple[str, ...] = ()
    variants: Mapping[str, str] = field(default_factory=dict)
    line: int = 0


@dataclass(frozen=True)
class Scenario:
    """A test that ops wrote: kept as plain values, run by `simulate`."""

    name: str
    begins: str
    values: Mapping[str, Any] = field(default_factory=dict)
    given: tuple[Mapping[str, Any], ...] = ()
    expect: tuple[Mapping[str, Any], ...] = ()
    line: int = 0


@dataclass(frozen=True)
class Sequence:
    """`key` is the file's stem and the name by which everything refers to it; `name` is for people. `version` is a
    digest of the text (and of its templates, added by the library)."""

    key: str
    name: str
    kind: str
    to: Role
    steps: tuple[Step, ...]
    about: str = ""
    needs: Mapping[str, Need] = field(default_factory=dict)
    window: str = "business_hours"
    thread: Thread = "one"
    when: Mapping[str, Handler] = field(default_factory=dict)
    listen: Duration = Duration(days=30, text="30 days")
    requires: str = ""
    scenarios: tuple[Scenario, ...] = ()
    version: str = ""
    file: str = ""


@dataclass(frozen=True)
class Trigger:
    """What starts sequences by itself: exactly one of `moment`, `referral` (a state), `cron` or `yearly` (a field of the
    client, like `contract_date`). `audience` is `clients`, `referrers` or an expression over the contact's fields."""

    starts: tuple[Start, ...]
    moment: str = ""
    referral: str = ""
    cron: str = ""
    yearly: str = ""
    before: Duration = Duration()
    condition: str | None = None
    audience: str = ""
    confirms: bool = False
    line: int = 0


def is_document(name: str) -> bool:
    """Whether `attach` names a document template and no file: a file has a suffix."""
    return "." not in PurePosixPath(name).name


def parse_sequence(file: str, text: str) -> tuple[Sequence | None, list[Problem]]:
    """Read one sequence file. Returns the sequence, or None where a problem is an error, and all problems in their
    order. What needs other files (templates, windows, other sequences) is left to `lint`."""
    value, positions, problems = load(file, text)
    spot = Spot(file, value, positions, problems, "the sequence")
    if value is None:
        if not problems:
            spot.report("empty", "is empty", "begin with name, kind, to and steps")
        return None, problems
    found = read_keys(spot, language.SEQUENCE)
    if isinstance(value, dict):
        references.check(spot)
    problems.sort(key=lambda problem: (problem.line, problem.column))
    return (None if has_errors(problems) else _sequence(file, text, found)), problems


def parse_triggers(file: str, text: str) -> tuple[list[Trigger], list[Problem]]:
    """Read `sequences/triggers.yaml`: a list of what starts sequences. An empty file is an empty list, and so is one with
    an error in it."""
    value, positions, problems = load(file, text)
    spot = Spot(file, value, positions, problems, "the file")
    if not isinstance(value, list):
        if value is not None:
            spot.report("type", f"takes a list of triggers, not {shown(value)}", 'begin every trigger with "- "')
        return [], problems
    found = [language.TRIGGER_SHAPE.read(item) for item in spot.items()]
    problems.sort(key=lambda problem: (problem.line, problem.column))
    return ([] if has_errors(problems) else [_trigger(item) for item in found if item]), problems


def _sequence(file: str, text: str, found: Mapping[str, Any]) -> Sequence:
    known = {
        **found,
        "needs": {name: Need(name, *need) for name, need in found.get("needs", {}).items()},
        "steps": tuple(_step(step) for step in found["steps"]),
        "when": _handlers(found),
        "scenarios": tuple(_scenario(scenario) for scenario in found.get("scenarios", ())),
    }
    if found["kind"] == "ask":
        known.setdefault("requires", "confirmed")
    version = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Sequence(key=PurePosixPath(file).stem, file=file, version=version, **known)


def _step(found: Mapping[str, Any]) -> Step:
    renamed = {"condition" if key == "if" else key: value for key, value in found.items()}
    return Step(**{**renamed, "starts": _starts(found), "when": _handlers(found)})


def _handlers(found: Mapping[str, Any]) -> dict[str, Handler]:
    return {event: _handler(handler) for event, handler in found.get("when", {}).items()}


def _handler(found: Mapping[str, Any]) -> Handler:
    renamed = {"go_on" if key == "continue" else key: value for key, value in found.items()}
    return Handler(**{**renamed, "starts": _starts(found)})


def _starts(found: Mapping[str, Any]) -> tuple[Start, ...]:
    return tuple(Start(**start) for start in found["starts"])


def _scenario(found: Mapping[str, Any]) -> Scenario:
    return Scenario(**{"values" if key == "with" else key: value for key, value in found.items()})


def _trigger(found: Mapping[str, Any]) -> Trigger:
    yearly = found.get("every") == "year"
    names = {"if": "condition", "for": "audience", "every": "cron", "from": "yearly"}
    renamed = {names.get(key, key): value for key, value in found.items() if not (yearly and key == "every")}
    if yearly:
        renamed["yearly"] = renamed["yearly"].removeprefix("client.")
    return Trigger(**{**renamed, "starts": _starts(found)})
