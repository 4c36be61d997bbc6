"""Sequences as values, and the reading of them from YAML. Every problem carries file, line and column, and all problems
of a file are found in one reading; a sequence with a problem is never returned half-read. The tables of keys below are
the language: the reading, the JSON Schema and the reference page are made from them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from engine.core import shapes
from engine.core.model import Event
from engine.core.problem import Problem as Problem
from engine.core.problem import did_you_mean
from engine.core.shapes import Key, Shape, Spot
from engine.core.yaml_strict import load

KINDS = ("review", "ask", "intro", "follow_up", "thanks", "update", "outreach", "favour", "touch")
Role = Literal["client", "prospect", "rep"]
Thread = Literal["one", "new", "inherit", "answer"]


@dataclass(frozen=True)
class Duration:
    """A length of time as a person means it. `months` and `days` keep the wall clock, `minutes` are elapsed time,
    `business_days` skip weekends and holidays. `text` is what was written."""

    months: int = 0
    days: int = 0
    minutes: int = 0
    business_days: int = 0
    text: str = ""


@dataclass(frozen=True)
class At:
    """`start + 1 week`, `review_call - 2 business days`: `sign` is +1 or -1, an anchor alone has an empty offset."""

    anchor: str
    sign: int = 1
    offset: Duration = Duration()
    text: str = ""


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
    """`key` is the file's stem and the name by which everything refers to it; `name` is for people. `version` is a digest
    of the text (and of its templates, added by the library)."""

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


ANCHOR = "start"
REFERRAL_STATES = ("named", "introduced", "contacted", "met", "won", "lost")
UNHEARD = frozenset({Event.AUTO_REPLY, Event.DELAYED, Event.IGNORED})  # they reach no handler
HANDLED = tuple(event.value for event in Event if event not in UNHEARD)
CONTEXT = ("client", "rep", "company", "referral", "enrollment", "today", "intro_link", "unsubscribe")

_NAME = "[a-z][a-z0-9_]*"
_UNITS = "minutes, hours, days, weeks, months or business days"
_DURATION = re.compile(r"([0-9]{1,7}) +(minute|hour|day|week|month|business day)s?")
_DURATION_SCHEMA = {"type": "string", "pattern": r"^[0-9]+ +(minute|hour|day|week|month|business day)s?$"}
_DAYS_MAX = 3660
_AT = re.compile(rf"({_NAME})(?:\s*([+-])\s*(.+))?")
_AT_SCHEMA = {
    "type": "string",
    "pattern": rf"^{_NAME}(\s*[+-]\s*[0-9]+ +(minute|hour|day|week|month|business day)s?)?$",
}


def parse_duration(text: str, verb: str = "waits") -> Duration:
    """Read `3 days` or `2 business days`. Raises ValueError with a sentence that says what is wrong and what to write."""
    found = _DURATION.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(f'{verb} "{text}"; use {_UNITS}')
    amount, unit = int(found[1]), found[2]
    days = amount * {"minute": 1 / 1440, "hour": 1 / 24, "week": 7, "month": 30}.get(unit, 1)
    if days > _DAYS_MAX:
        raise ValueError(f'{verb} "{text}"; ten years are the most')
    return {
        "minute": Duration(minutes=amount, text=text),
        "hour": Duration(minutes=60 * amount, text=text),
        "day": Duration(days=amount, text=text),
        "week": Duration(days=7 * amount, text=text),
        "month": Duration(months=amount, text=text),
        "business day": Duration(business_days=amount, text=text),
    }[unit]


def parse_at(text: str) -> At:
    """Read `start + 1 week` or `review_call`. Raises ValueError like `parse_duration`."""
    found = _AT.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(f'comes at "{text}"; write an anchor and an offset, like: start + 1 week')
    offset = parse_duration(found[3], f"comes {found[1]} {found[2]}") if found[3] else Duration()
    return At(found[1], -1 if found[2] == "-" else 1, offset, text)


def parse_sequence(file: str, text: str) -> tuple[Sequence | None, list[Problem]]:
    """Read one sequence file. Returns the sequence, or None where a problem is an error, and all problems in their order.

    What needs other files (templates, windows, other sequences) is left to `lint`."""
    value, positions, problems = load(file, text)
    if problems and value is None:
        return None, problems
    spot = Spot(file, value, positions, problems, "the sequence")
    if value is None:
        spot.report("empty", "is empty", "begin with name, kind, to and steps")
        return None, problems
    sequence = _sequence(spot, hashlib.sha256(text.encode()).hexdigest()[:12])
    problems.sort(key=lambda problem: (problem.line, problem.column))
    return (None if any(problem.severity == "error" for problem in problems) else sequence), problems


def parse_triggers(file: str, text: str) -> tuple[list[Trigger], list[Problem]]:
    """Read `sequences/triggers.yaml`: a list of what starts sequences. An empty file is an empty list."""
    value, positions, problems = load(file, text)
    if value is None:
        return [], problems
    spot = Spot(file, value, positions, problems, "the file")
    if not isinstance(value, list):
        spot.report("type", f"takes a list of triggers, not {shapes.shown(value)}", 'begin every trigger with "- "')
        return [], problems
    found = [_trigger(replace(item, who=f"trigger {number}")) for number, item in enumerate(spot.items(), 1)]
    problems.sort(key=lambda problem: (problem.line, problem.column))
    return ([] if any(problem.severity == "error" for problem in problems) else found), problems


def _sentence(verb: str) -> Any:
    def read(spot: Spot) -> Duration | None:
        if not isinstance(spot.value, str):
            spot.report("duration", f"{verb} {shapes.shown(spot.value)}", 'say how many of what, like "3 days"')
            return None
        return _parsed(spot, lambda text: parse_duration(text, verb), "duration")

    return read


def _parsed(spot: Spot, parse: Any, code: str) -> Any:
    try:
        return parse(spot.value)
    except ValueError as error:
        message, _, hint = str(error).partition("; ")
        spot.report(code, message, hint)
        return None


def _duration(verb: str) -> Shape[Duration]:
    return Shape(_sentence(verb), _DURATION_SCHEMA)


def _read_at(spot: Spot) -> At | None:
    if not isinstance(spot.value, str):
        shapes.wrong(spot, "an anchor and an offset", "like: start + 1 week")
        return None
    found: At | None = _parsed(spot, parse_at, "time")
    return found


def _read_after(spot: Spot) -> Duration | str | None:
    return "rest" if spot.value == "rest" else _duration("starts after").read(spot)


def _read_starts(spot: Spot) -> tuple[Start, ...] | None:
    items = spot.items() if isinstance(spot.value, list) and spot.value else [spot]
    found = []
    for item in items:
        if isinstance(item.value, dict):
            found += _starts(item, shapes.read_keys(item, START))
        elif (name := SEQUENCE_NAME.read(item)) is not None:
            found.append(Start(name, line=item.line))
    return tuple(found)


def _starts(spot: Spot, found: Mapping[str, Any]) -> tuple[Start, ...]:
    """The starts of a step, a handler or a trigger, with the `after` and `with` that stand beside `start`."""
    after, shared = found.get("after"), found.get("with", {})
    for key in ("after", "with"):
        if key in spot.value and "start" not in spot.value:
            spot.report("no-effect", f'has "{key}" without "start"', f'"{key}" belongs to a start', at=key)
    own = (Start(s.sequence, s.after, s.rest, {**shared, **s.values}, s.line) for s in found.get("start", ()))
    return tuple(
        replace(s, after=None if after == "rest" else after, rest=after == "rest")
        if after and s.after is None and not s.rest
        else s
        for s in own
    )


def _read_need(spot: Spot) -> Need | None:
    words = spot.value.split() if isinstance(spot.value, str) else []
    kind, optional = (words[-1], words[:-1] == ["optional"]) if words else ("", False)
    if kind not in NEED_TYPES or (words[:-1] and not optional):
        shapes.wrong(spot, f"a type ({', '.join(NEED_TYPES)}, or optional and a type)", _near(kind, NEED_TYPES))
        return None
    name = str(spot.loc[-1])
    if name in (*CONTEXT, ANCHOR) or (name == "prospect" and kind != "person"):
        spot.report(
            "need", f'cannot need "{name}"', "prospect is a person" if name == "prospect" else "it is always there"
        )
        return None
    return Need(name, kind, optional)  # type: ignore[arg-type]  # the words of NEED_TYPES


def _near(word: str, known: Iterable[str]) -> str:
    hint = did_you_mean(word, known)
    return hint if hint.startswith("did") else ""


def _read_event(spot: Spot) -> str | None:
    if spot.value in HANDLED:
        return str(spot.value)
    hint = did_you_mean(str(spot.value), HANDLED)
    if spot.value in UNHEARD:
        hint = "it reaches no handler; it is shown, and nothing else"
    elif spot.value in REFERRAL_STATES:
        hint = f"a referral's change is a trigger: {{referral: {spot.value}, start: …}} in triggers.yaml"
    spot.report("event", f'has a handler for "{spot.value}", which is no event', hint)
    return None


def _read_handler(spot: Spot) -> Handler | None:
    event = spot.loc[-1]
    spot = replace(spot, who=f'handler "{event}"' + ("" if spot.who == "the sequence" else f" of {spot.who}"))
    found = shapes.read_keys(spot, HANDLER)
    if not isinstance(spot.value, dict):
        return None
    written = [key for key in ENDINGS if key in spot.value]
    if len(written) > 1:
        spot.report("handler", f"has both {written[0]} and {written[1]}", "one of them", at=written[1])
    if not spot.value.keys() & (*ENDINGS, "start", "task", "set"):
        spot.report("handler", "does nothing", f"give it {', '.join(ENDINGS)}, start, task or set")
    if spot.value.get("continue") is False:
        spot.report("handler", 'has "continue: false"', "leave it out", at="continue")
    return Handler(
        found.get("stop"),
        found.get("pause"),
        found.get("hold"),
        found.get("goto"),
        found.get("continue", False),
        _starts(spot, found),
        found.get("task"),
        found.get("set", {}),
        spot.line,
    )


def _read_step(spot: Spot) -> Step:
    number = int(spot.loc[-1]) + 1
    name = spot.value.get("id") if isinstance(spot.value, dict) else None
    spot = replace(spot, who=f'step "{name}"' if isinstance(name, str) else f"step {number}")
    found = shapes.read_keys(spot, STEP)
    if isinstance(spot.value, dict):
        _check_step(spot)
        found["starts"] = _starts(spot, found)
    renamed = {"if": "condition"}
    known = {renamed.get(key, key): value for key, value in found.items() if key not in ("start", "after", "with")}
    return Step(**{"id": "", **known}, line=spot.line)


def _check_step(spot: Spot) -> None:
    keys = spot.value.keys()
    actions = [key for key in ACTIONS if key in keys]
    if not actions:
        spot.report("action", "does nothing", f"give it one of {', '.join(ACTIONS)}")
    for other in actions[1:]:
        spot.report("action", f"has both {actions[0]} and {other}", "one action a step: make it two steps", at=other)
    if {"wait", "at"} <= keys:
        spot.report("time", "has both wait and at", "wait counts from the step before, at from an anchor", at="at")
    for key, needed in ONLY_WITH.items():
        if key in keys and actions and not keys & set(needed):
            spot.report("no-effect", f'has "{key}" without {" or ".join(needed)}', "it would have no effect", at=key)


def _read_scenario(spot: Spot) -> Scenario | None:
    name = spot.value.get("name") if isinstance(spot.value, dict) else None
    spot = replace(spot, who=f'scenario "{name}"' if isinstance(name, str) else f"scenario {int(spot.loc[-1]) + 1}")
    found = shapes.read_keys(spot, SCENARIO)
    return Scenario(
        found.get("name", ""),
        found.get("begins", ""),
        found.get("with", {}),
        found.get("given", ()),
        found.get("expect", ()),
        spot.line,
    )


def _one_of(keys: Mapping[str, Key], main: Iterable[str]) -> Shape[dict[str, Any]]:
    """A mapping with exactly one of its `main` keys: an item of `given` or `expect`. It stays as plain values."""
    main = tuple(main)

    def read(spot: Spot) -> dict[str, Any] | None:
        shapes.read_keys(spot, keys)
        if not isinstance(spot.value, dict):
            return None
        if len(spot.value.keys() & set(main)) != 1:
            spot.report("scenario", f'needs exactly one of {", ".join(main)} in an item of "{spot.loc[-2]}"')
        return spot.value

    return Shape(read, shapes.mapping_schema(keys))


def _moment(parse: Any, example: str) -> Shape[str]:
    def read(spot: Spot) -> str | None:
        try:
            parse(spot.value)
        except (TypeError, ValueError):
            shapes.wrong(spot, f"a time like {example}")
            return None
        return str(spot.value)

    return Shape(read, {"type": "string", "examples": [example]})


def _read_file(spot: Spot) -> str | None:
    value = spot.value
    if isinstance(value, str) and value and not PurePosixPath(value).is_absolute() and ".." not in value.split("/"):
        return value
    shapes.wrong(spot, "files beside the sequence", "a relative path without ..")
    return None


def _read_expression(spot: Spot) -> str | None:
    if isinstance(spot.value, str) and "{{" in spot.value:
        spot.report("expression", f'has {{{{ }}}} in "{spot.loc[-1]}"', "an expression stands without them")
        return None
    return shapes.text("an expression").read(spot)


def _read_cron(spot: Spot) -> str | None:
    from croniter import croniter  # 25 ms to import, and only triggers need it

    value = spot.value
    if value == "year" or (
        isinstance(value, str)
        and len(value.split()) == 5
        and "r" not in value.lower().replace("mar", "").replace("apr", "").replace("fri", "").replace("thur", "")
        and croniter.is_valid(value, strict=True)
    ):
        return str(value)
    shapes.wrong(spot, "year or a cron schedule", 'five fields: minute hour day month weekday, like "0 9 1 */3 *"')
    return None


def _trigger(spot: Spot) -> Trigger:
    found = shapes.read_keys(spot, TRIGGER)
    keys = spot.value.keys() if isinstance(spot.value, dict) else set()
    causes = [key for key in CAUSES if key in keys]
    if isinstance(spot.value, dict) and len(causes) != 1:
        spot.report("trigger", f"has {' and '.join(causes) or 'no cause'}", f"it takes one of {', '.join(CAUSES)}")
    yearly = found.get("every") == "year"
    if yearly and "from" not in keys:
        spot.report(
            "trigger", 'has "every: year" without "from"', "name a date: from: client.contract_date", at="every"
        )
    if "every" in found and not yearly and "for" not in keys:
        spot.report("trigger", 'has a schedule without "for"', "clients, referrers or an expression", at="every")
    for key in ("from", "before"):
        if key in keys and not yearly:
            spot.report("no-effect", f'has "{key}" without "every: year"', "it would have no effect", at=key)
    return Trigger(
        starts=_starts(spot, found) if isinstance(spot.value, dict) else (),
        moment=found.get("moment", ""),
        referral=found.get("referral", ""),
        cron="" if yearly else found.get("every", ""),
        yearly=found.get("from", "").removeprefix("client."),
        before=found.get("before", Duration()),
        condition=found.get("if"),
        audience=found.get("for", ""),
        confirms=found.get("confirms", False),
        line=spot.line,
    )


def _sequence(spot: Spot, version: str) -> Sequence:
    found = shapes.read_keys(spot, SEQUENCE)
    stem = PurePosixPath(spot.file).stem
    if not re.fullmatch(_NAME, stem):
        spot.report("file-name", f'has the file name "{stem}"', "small letters, digits and _, beginning with a letter")
    known = {key: value for key, value in found.items() if key not in ("steps",)}
    base = {"key": stem, "name": stem, "kind": "", "to": "client", "version": version, "file": spot.file}
    sequence = Sequence(**{**base, **known, "steps": found.get("steps", ())})
    if sequence.kind == "ask" and not sequence.requires:
        sequence = replace(sequence, requires="confirmed")
    if "steps" in found and len(sequence.steps) == len(spot.value["steps"]):
        _check_references(spot, sequence)
    return sequence


def _check_references(spot: Spot, sequence: Sequence) -> None:
    """What one part of the file says of another: ids, anchors, goto targets, the steps that scenarios speak of."""
    ids: dict[str, int] = {}
    handlers = [(spot, sequence.when)]
    for item, step in zip(spot.child("steps").items(), sequence.steps, strict=True):
        named = replace(item, who=f'step "{step.id}"')
        if step.id and step.id in ids:
            named.report("duplicate-id", "stands twice", f"the first is in line {ids[step.id]}", at="id")
        ids.setdefault(step.id, step.line)
        for key, at in (("at", step.at), ("until", step.until)):
            if at is not None:
                _check_anchor(named.child(key), at, sequence.needs)
        handlers.append((named, step.when))
    for owner, when in handlers:
        for event, handler in when.items():
            if handler.goto is not None and handler.goto not in ids:
                target = owner.child("when").child(event, f'handler "{event}"').child("goto")
                target.report("goto", f'goes to "{handler.goto}", which is no step', did_you_mean(handler.goto, ids))
    for item, scenario in zip(_scenario_spots(spot), sequence.scenarios, strict=False):
        _check_scenario(item, scenario, ids)


def _scenario_spots(spot: Spot) -> list[Spot]:
    found = spot.value.get("scenarios")
    return spot.child("scenarios").items() if isinstance(found, list) else []


def _check_scenario(spot: Spot, scenario: Scenario, ids: Mapping[str, int]) -> None:
    for part, keys in (("given", ("done", "approved", "rejected")), ("expect", ("sent", "skipped"))):
        for item in spot.child(part).items() if isinstance(spot.value.get(part), list) else ():
            for key in keys:
                step = item.value.get(key) if isinstance(item.value, dict) else None
                if isinstance(step, str) and step not in ids:
                    named = replace(item.child(key), who=f'scenario "{scenario.name}"')
                    named.report("scenario", f'speaks of "{step}", which is no step', did_you_mean(step, ids))


def _check_anchor(spot: Spot, at: At, needs: Mapping[str, Need]) -> None:
    if at.anchor == ANCHOR:
        return
    need = needs.get(at.anchor)
    dates = [name for name, known in needs.items() if known.type in ("date", "datetime")]
    if need is None:
        hint = did_you_mean(at.anchor, [ANCHOR, *dates])
        spot.report("anchor", f'counts from "{at.anchor}", which "needs" does not declare', hint)
    elif need.type not in ("date", "datetime"):
        spot.report("anchor", f'counts from "{at.anchor}", a {need.type}', "an anchor is a date or a datetime")
    elif need.optional:
        spot.report("anchor", f'counts from "{at.anchor}", which may be absent', 'an anchor cannot be "optional"')


NEED_TYPES = ("text", "number", "list", "date", "datetime", "person")
ACTIONS = ("email", "task", "start", "variants")
ENDINGS = ("stop", "pause", "hold", "goto", "continue")
CAUSES = ("moment", "referral", "every")
_MAIL = ("email", "variants")
ONLY_WITH = {"block": ("task",), **dict.fromkeys(("approve", "attach", "thread", "to", "when", "late"), _MAIL)}

SEQUENCE_NAME = shapes.text("the name of a sequence", _NAME, "its file's name without .yaml")
STEP_NAME = shapes.text("the id of a step", "[a-z0-9][a-z0-9_-]*", "small letters, digits, - and _")
NEED_NAME = shapes.text("names", _NAME, "small letters, digits and _, beginning with a letter")
TEMPLATE = shapes.text("the name of a template", r"[\w-]+(?:/[\w-]+)*", 'its path under templates/ without ".md"')
OUTCOME = shapes.text("a word for the report", r"[\w -]+", "like: introduced")
EXPRESSION = Shape(_read_expression, {"type": "string", "minLength": 1})
AT = Shape(_read_at, _AT_SCHEMA)
AFTER = Shape(_read_after, {"anyOf": [{"const": "rest"}, _DURATION_SCHEMA]})
EVENT = Shape(_read_event, {"enum": list(HANDLED)})
TIME = _moment(datetime.fromisoformat, "2026-03-02 09:30")

START = {
    "start": Key(SEQUENCE_NAME, "the sequence to start", required=True),
    "after": Key(AFTER, "how long it waits first: a duration, or rest (see the config)"),
    "with": Key(shapes.values, "what it needs beside what is passed on by role and name"),
}
STARTS = Shape(
    _read_starts,
    {
        "anyOf": [
            SEQUENCE_NAME.schema,
            {"type": "array", "minItems": 1, "items": {"anyOf": [SEQUENCE_NAME.schema, shapes.mapping_schema(START)]}},
        ]
    },
)
CHILDREN = {**START, "start": Key(STARTS, "another sequence to start, or a list of them")}
SET = {
    "referral": Key(shapes.choice(*REFERRAL_STATES), "the referral's new state"),
    "value": Key(shapes.choice("confirmed"), "the client has confirmed the value; kept for a year"),
}
HANDLER = {
    "stop": Key(OUTCOME, "ends it; a word for how it ended"),
    "pause": Key(OUTCOME, "stops its clock until the rep says how to go on; a word for why"),
    "hold": Key(_duration("holds for"), "stops its clock for so long"),
    "goto": Key(STEP_NAME, "goes on at that step"),
    "continue": Key(shapes.flag, "goes on as if nothing had happened"),
    **CHILDREN,
    "task": Key(TEMPLATE, "a to-do for the rep, from this template"),
    "set": Key(Shape(lambda spot: shapes.read_keys(spot, SET), shapes.mapping_schema(SET)), "what is kept of it"),
}
WHEN = shapes.mapping_of(
    Shape(_read_handler, shapes.mapping_schema(HANDLER)), "a mapping of events to what they do", EVENT
)
STEP = {
    "id": Key(STEP_NAME, "its name, unique in the file and stable for life", required=True),
    "wait": Key(_duration("waits"), "how long after the previous step was done"),
    "at": Key(AT, "when, counted from an anchor: start + 1 week, review_call - 2 business days"),
    "email": Key(TEMPLATE, "the template of the email that is sent"),
    "task": Key(TEMPLATE, "the template of a to-do for the rep"),
    **CHILDREN,
    "if": Key(EXPRESSION, "an expression over the variables; false skips the step"),
    "until": Key(AT, "if it would leave later than this, it is skipped and shown"),
    "late": Key(shapes.choice("ask", "send", "skip"), "what to do when it is overdue by more than late_after"),
    "aside": Key(shapes.flag, "reached by goto only, never in the normal order"),
    "when": Key(WHEN, "handlers that beat the sequence's from this email until the next"),
    "to": Key(shapes.choice("client", "prospect", "rep"), "whose inbox this email goes to"),
    "thread": Key(shapes.choice("one", "new", "inherit", "answer"), "which thread this email goes on in"),
    "window": Key(shapes.text("the name of a window"), "when it may be sent"),
    "approve": Key(shapes.flag, "a draft waits for the rep's word"),
    "block": Key(shapes.flag, "waits until the task is done"),
    "attach": Key(
        shapes.list_of(Shape(_read_file, {"type": "string"}), or_one=True), "files, relative to the sequence's folder"
    ),
    "variants": Key(
        shapes.mapping_of(TEMPLATE, "at least two names with a template each", NEED_NAME, at_least=2),
        "in place of email: templates that are compared",
    ),
}
GIVEN = {
    "after": Key(_duration("happens after"), "how long after the beginning", required=True),
    **{event.value: Key(Shape(lambda spot: True, {}), f"the event {event.value}, with its data") for event in Event},
    "done": Key(STEP_NAME, "the task of that step is done"),
    "approved": Key(STEP_NAME, "the draft of that step is approved"),
    "rejected": Key(STEP_NAME, "the draft of that step is rejected"),
    "change": Key(shapes.values, "variables that change"),
}
OUTCOMES = {
    "sent": Key(STEP_NAME, "the email of that step is sent"),
    "task": Key(shapes.text("a task"), "a to-do for the rep appears"),
    "skipped": Key(STEP_NAME, "that step is skipped"),
    "started": Key(SEQUENCE_NAME, "that sequence is started"),
    "not_started": Key(SEQUENCE_NAME, "that sequence is not started"),
    "paused": Key(shapes.text("a reason"), "it pauses for that reason"),
    "held": Key(shapes.text("a reason"), "its clock stands still for that reason"),
    "stopped": Key(OUTCOME, "it ends with that outcome"),
}
EXPECT = {
    **OUTCOMES,
    "date": Key(_moment(date.fromisoformat, "2026-03-03"), "on that day"),
    "at": Key(TIME, "at that time"),
}
SCENARIO = {
    "name": Key(shapes.text(), "what happens, as a sentence", required=True),
    "begins": Key(TIME, "when the enrollment begins, in the client's zone", required=True),
    "with": Key(shapes.values, "what the sequence needs"),
    "given": Key(shapes.list_of(_one_of(GIVEN, GIVEN.keys() - {"after"}), empty=True), "what happens from outside"),
    "expect": Key(shapes.list_of(_one_of(EXPECT, OUTCOMES)), "what must follow, in this order", required=True),
}
SEQUENCE = {
    "name": Key(shapes.text(), "its name for people", required=True),
    "about": Key(shapes.text(), "what it is for, in a sentence"),
    "kind": Key(shapes.choice(*KINDS), "what it is in reports and for the rules of conduct", required=True),
    "to": Key(shapes.choice("client", "prospect", "rep"), "whose inbox the emails go to", required=True),
    "needs": Key(
        shapes.mapping_of(
            Shape(_read_need, {"type": "string", "pattern": f"^(optional )?({'|'.join(NEED_TYPES)})$"}),
            "a mapping of names to types",
            NEED_NAME,
            at_least=0,
        ),
        "what an enrollment must bring",
    ),
    "window": Key(shapes.text("the name of a window"), "when its emails may be sent (named in the config)"),
    "thread": Key(shapes.choice("one", "new", "inherit", "answer"), "which thread its emails go on in"),
    "listen": Key(_duration("listens for"), "how long it still hears answers after its last step"),
    "requires": Key(shapes.choice("confirmed"), "value that the client has confirmed within the last year"),
    "steps": Key(
        shapes.list_of(Shape(_read_step, shapes.mapping_schema(STEP))), "what it does, in order", required=True
    ),
    "when": Key(WHEN, "what it does when something happens"),
    "scenarios": Key(
        shapes.list_of(Shape(_read_scenario, shapes.mapping_schema(SCENARIO))), "tests, run by whoelse test"
    ),
}
TRIGGER = {
    "moment": Key(shapes.text("a moment", _NAME), "a moment that a rep, a file or another system reports"),
    "referral": Key(shapes.choice(*REFERRAL_STATES), "a referral's new state"),
    "every": Key(
        Shape(_read_cron, {"type": "string"}), "a cron schedule in the company's zone, or year together with from"
    ),
    "if": Key(EXPRESSION, "an expression over the moment's data and the contact's fields"),
    **CHILDREN,
    "confirms": Key(shapes.flag, "the moment counts as confirmed value"),
    "for": Key(EXPRESSION, "clients, referrers or an expression over the contact's fields"),
    "from": Key(
        shapes.text("a date of the client", rf"client\.{_NAME}", "like client.contract_date"), "the yearly date"
    ),
    "before": Key(_duration("comes before by"), "how long before the yearly date"),
}
TRIGGER["start"] = Key(STARTS, "the sequence to start, or a list of them", required=True)
