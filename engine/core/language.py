"""What may be written where: the tables of keys of sequence and trigger files. The reading, the JSON Schema and the reference
page are made from these tables, so they cannot disagree. A shape yields plain dicts that `sequence` makes its values of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import PurePosixPath
from typing import Any

from engine.core import shapes
from engine.core.duration import LENGTH, NAME, Duration, parse_at, parse_duration
from engine.core.model import Event
from engine.core.problem import did_you_mean, near
from engine.core.shapes import Key, Shape, Spot, mapping_schema, read_keys

KINDS = ("review", "ask", "intro", "follow_up", "thanks", "update", "outreach", "favour", "touch")
ROLES = ("client", "prospect", "rep")
THREADS = ("one", "new", "inherit", "answer")
NEED_TYPES = ("text", "number", "list", "date", "datetime", "person")
MARKS = ("met", "won", "lost")
REFERRAL_STATES = ("named", "introduced", "contacted", "met", "won", "lost")
ACTIONS = ("email", "task", "start", "variants")
ENDINGS = ("stop", "pause", "hold", "goto", "continue")
CAUSES = ("moment", "referral", "every")
#: Names that every template and expression has beside what `needs` declares; `prospect` is none where there is none.
CONTEXT = ("client", "prospect", "rep", "company", "referral", "enrollment", "today", "intro_link", "unsubscribe")
ANCHOR = "start"
PERSON_PARTS = {
    "name": "their whole name",
    "first_name": "if it is not the first word of the name",
    "email": "their address",
    "company": "where they work",
    "title": "what they are there",
}
UNHEARD = (Event.AUTO_REPLY, Event.DELAYED, Event.IGNORED)
HANDLED = tuple(event.value for event in Event if event not in UNHEARD)

_MAIL = ("email", "variants")
_ONLY_WITH = {"block": ("task",), **dict.fromkeys(("approve", "attach", "bcc", "thread", "to", "when", "late"), _MAIL)}
_LENGTH_SCHEMA = {"type": "string", "pattern": f"^{LENGTH}$"}
_AT_SCHEMA = {"type": "string", "pattern": rf"^{NAME}(?:\s*[+-]\s*{LENGTH})?$"}


def _parsed(spot: Spot, parse: Callable[[str], Any], code: str, hint: str) -> Any:
    """What `parse` makes of a text, or None after its ValueError has become a problem."""
    if not isinstance(spot.value, str):
        shapes.wrong(spot, "text", hint)
        return None
    try:
        return parse(spot.value)
    except ValueError as error:
        message, _, remedy = str(error).partition("; ")
        spot.report(code, message, remedy)
        return None


def _length(verb: str) -> Shape[Duration]:
    def read(spot: Spot) -> Any:
        if isinstance(spot.value, int | float):
            spot.report("duration", f"{verb} {shapes.shown(spot.value)}", 'say of what, like "3 days"')
            return None
        return _parsed(spot, lambda text: parse_duration(text, verb), "duration", 'like "3 days"')

    return Shape(read, _LENGTH_SCHEMA)


def _read_at(spot: Spot) -> Any:
    return _parsed(spot, parse_at, "time", "an anchor and an offset, like: start + 1 week")


def _read_after(spot: Spot) -> Duration | str | None:
    return "rest" if spot.value == "rest" else AFTER_LENGTH.read(spot)


def _read_starts(spot: Spot) -> list[dict[str, Any]] | None:
    if spot.value == []:
        spot.report("type", 'has nothing in "start"', "it takes a sequence, or a list of them")
        return None
    found = []
    for item in spot.items() if isinstance(spot.value, list) else [spot]:
        if isinstance(item.value, dict):
            found += _starts(item, read_keys(item, START))
        elif SEQUENCE_NAME.read(item) is not None:
            found.append({"sequence": item.value, "line": item.line})
    return found


def _starts(spot: Spot, found: dict[str, Any]) -> list[dict[str, Any]]:
    """The starts of a step, a handler or a trigger, with the `after` and `with` that stand beside `start`."""
    starts = found.pop("start", ())
    if isinstance(starts, str):
        starts = [{"sequence": starts, "line": spot.line}]
    after, shared = found.pop("after", None), found.pop("with", {})
    for key in ("after", "with"):
        if key in spot.value and "start" not in spot.value:
            spot.report("no-effect", f'has "{key}" without start', "it would have no effect", at=key)
    waits = {} if after is None else {"rest": True} if after == "rest" else {"after": after}
    return [
        {
            **({} if {"after", "rest"} & start.keys() else waits),
            **start,
            "values": {**shared, **start.get("values", {})},
        }
        for start in starts
    ]


def _read_need(spot: Spot) -> tuple[str, bool] | None:
    words = str(spot.value).split() if spot.value else [""]
    name, kind, optional = str(spot.loc[-1]), words[-1], words[:-1] == ["optional"]
    if kind not in NEED_TYPES or (words[:-1] and not optional):
        shapes.wrong(spot, f"{', '.join(NEED_TYPES)} (or optional and one of them)", near(kind, NEED_TYPES))
        return None
    if name == "prospect" and kind != "person":
        spot.report("need", f'needs "prospect" as a {kind}', "a prospect is a person")
    elif name == ANCHOR or (name in CONTEXT and name != "prospect"):
        spot.report("need", f'needs "{name}", which is always there', "leave it out, or take another name")
    return kind, optional


def _read_event(spot: Spot) -> str | None:
    if spot.value in HANDLED:
        return str(spot.value)
    hint = did_you_mean(str(spot.value), HANDLED)
    if spot.value in UNHEARD:
        hint = "it reaches no handler: it is shown, and nothing else happens"
    elif spot.value in REFERRAL_STATES:
        hint = f"a referral's change is a trigger: {{referral: {spot.value}, start: …}} in triggers.yaml"
    spot.report("event", f'has a handler for "{spot.value}", which is no event', hint)
    return None


def _read_handler(spot: Spot) -> dict[str, Any] | None:
    event, owner = spot.loc[-1], "" if spot.who == "the sequence" else f" of {spot.who}"
    spot = replace(spot, who=f'handler "{event}"{owner}')
    found = read_keys(spot, HANDLER)
    if not isinstance(spot.value, dict):
        return None
    endings = [key for key in spot.value if key in ENDINGS]
    if len(endings) > 1:
        hint = f"one of {', '.join(ENDINGS)}"
        spot.report("handler", f"has both {endings[0]} and {endings[1]}", hint, at=endings[1])
    if not spot.value.keys() - {"after", "with"}:
        spot.report("handler", "does nothing", f"give it {', '.join(ENDINGS)}, start, task or set")
    if found.get("continue") is False:
        spot.report("handler", 'has "continue: false"', "leave it out", at="continue")
    starts = _starts(spot, found)
    return {**found, "starts": starts, "line": spot.line}


def _read_set(spot: Spot) -> dict[str, Any]:
    return read_keys(replace(spot, who=f"the set of {spot.who}"), SET)


def _read_step(spot: Spot) -> dict[str, Any] | None:
    name = spot.value.get("id") if isinstance(spot.value, dict) else None
    spot = replace(spot, who=f'step "{name}"' if isinstance(name, str) else f"step {int(spot.loc[-1]) + 1}")
    found = read_keys(spot, STEP)
    if not isinstance(spot.value, dict):
        return None
    _check_step(spot)
    starts = _starts(spot, found)
    return {**found, "starts": starts, "line": spot.line}


def _check_step(spot: Spot) -> None:
    keys = spot.value.keys()
    actions = [key for key in spot.value if key in ACTIONS]
    if not actions and keys <= STEP.keys():
        spot.report("action", "does nothing", f"give it one of {', '.join(ACTIONS)}")
    for other in actions[1:]:
        spot.report("action", f"has both {actions[0]} and {other}", "one action a step: make it two steps", at=other)
    if {"wait", "at"} <= keys:
        spot.report("time", "has both wait and at", "wait counts from the step before, at from an anchor", at="at")
    for key, needed in _ONLY_WITH.items():
        if key in keys and actions and not keys & set(needed):
            spot.report("no-effect", f'has "{key}" without {" or ".join(needed)}', "it would have no effect", at=key)


def _read_scenario(spot: Spot) -> dict[str, Any]:
    name = spot.value.get("name") if isinstance(spot.value, dict) else None
    spot = replace(spot, who=f'scenario "{name}"' if isinstance(name, str) else f"scenario {int(spot.loc[-1]) + 1}")
    return {**read_keys(spot, SCENARIO), "line": spot.line}


def _one_of(keys: Mapping[str, Key], main: Iterable[str], what: str) -> Shape[dict[str, Any]]:
    """A mapping with exactly one of its `main` keys: an item of `given` or `expect`. It stays as plain values."""
    main = tuple(main)

    def read(spot: Spot) -> dict[str, Any] | None:
        read_keys(spot, keys)
        if not isinstance(spot.value, dict):
            return None
        found = [key for key in spot.value if key in main]
        if len(found) != 1 and spot.value.keys() <= keys.keys():
            spot.report("scenario", f"has {' and '.join(found) or f'no {what}'} in one item", f"one {what} an item")
        return spot.value

    return Shape(read, mapping_schema(keys, oneOf=_exactly_one(main)))


def _exactly_one(keys: Iterable[str]) -> list[dict[str, Any]]:
    return [{"required": [key]} for key in keys]


def _time(parse: Callable[[str], object], example: str) -> Shape[str]:
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
    if isinstance(value, str) and value and not value.startswith(("/", "~")) and ".." not in value.split("/"):
        return str(PurePosixPath(value))
    shapes.wrong(spot, "files beside the sequence", "a relative path without ..")
    return None


def _read_expression(spot: Spot) -> str | None:
    if isinstance(spot.value, str) and "{{" in spot.value:
        spot.report("expression", f'has {{{{ }}}} in "{spot.loc[-1]}"', "an expression stands without them")
        return None
    return shapes.text("an expression").read(spot)


def is_cron(value: object) -> bool:
    """Whether this is a cron schedule of five fields."""
    from croniter import croniter  # 25 ms to import, and only schedules need it

    # croniter also takes seconds, nicknames and random fields, which nobody expects here
    fields = value.split() if isinstance(value, str) else []
    plain = len(fields) == 5 and not any(field.lower().startswith("r") for field in fields)
    return plain and bool(croniter.is_valid(value, strict=True))


def _read_every(spot: Spot) -> str | None:
    value = spot.value
    if value == "year" or is_cron(value):
        return str(value)
    shapes.wrong(spot, "year or a cron schedule", 'minute hour day month weekday, like "0 9 1 */3 *"')
    return None


def _read_trigger(spot: Spot) -> dict[str, Any] | None:
    spot = replace(spot, who=f"trigger {int(spot.loc[-1]) + 1}")
    found = read_keys(spot, TRIGGER)
    if not isinstance(spot.value, dict):
        return None
    causes = [key for key in spot.value if key in CAUSES]
    if len(causes) != 1:
        spot.report("trigger", f"has {' and '.join(causes) or 'no cause'}", f"it takes one of {', '.join(CAUSES)}")
    yearly = found.get("every") == "year"
    if yearly and "from" not in spot.value:
        spot.report("trigger", 'has "every: year" without from', "name a date: from: client.contract_date", at="every")
    if "every" in found and not yearly and "for" not in spot.value:
        spot.report("trigger", 'has a schedule without "for"', "clients, referrers or an expression", at="every")
    for key in ("from", "before"):
        if key in spot.value and not yearly:
            spot.report("no-effect", f'has "{key}" without "every: year"', "it would have no effect", at=key)
    starts = _starts(spot, found)
    return {**found, "starts": starts, "line": spot.line}


SEQUENCE_NAME = shapes.text("the name of a sequence", NAME, "its file's name without .yaml")
STEP_NAME = shapes.text("the id of a step", "[a-z0-9][a-z0-9_-]*", "small letters, digits, - and _")
NEED_NAME = shapes.text("a name", NAME, "small letters, digits and _, a letter first")
TEMPLATE = shapes.text("the name of a template", r"[\w-]+(?:/[\w-]+)*", 'its path under templates/ without ".md"')
OUTCOME = shapes.text("a word for the report", r"[\w -]+", "like: introduced")
EXPRESSION = Shape(_read_expression, {"type": "string", "minLength": 1})
AT = Shape(_read_at, _AT_SCHEMA)
AFTER_LENGTH = _length("starts after")
AFTER = Shape(_read_after, {"anyOf": [{"const": "rest"}, _LENGTH_SCHEMA]})
EVENT = Shape(_read_event, {"enum": list(HANDLED)})
MOMENT = _time(datetime.fromisoformat, "2026-03-02 09:30")
WINDOW = shapes.text("the name of a window")

START = {
    "start": Key(SEQUENCE_NAME, "the sequence to start", required=True),
    "after": Key(AFTER, "how long it waits first: a duration, or rest (see the config)"),
    "with": Key(shapes.values, "what it needs beside what is passed on by role and name"),
}
_ONE_START = {"anyOf": [SEQUENCE_NAME.schema, mapping_schema(START)]}
STARTS = Shape(_read_starts, {"anyOf": [SEQUENCE_NAME.schema, {"type": "array", "minItems": 1, "items": _ONE_START}]})
CHILDREN = {**START, "start": Key(STARTS, "another sequence to start, or a list of them")}

SET = {
    "referral": Key(shapes.choice(*REFERRAL_STATES), "the referral's new state"),
    "value": Key(shapes.choice("confirmed"), "the client has confirmed the value; kept for a year"),
}
HANDLER = {
    "stop": Key(OUTCOME, "ends it; a word for how it ended"),
    "pause": Key(OUTCOME, "stops its clock until the rep says how to go on; a word for why"),
    "hold": Key(_length("holds for"), "stops its clock for so long"),
    "goto": Key(STEP_NAME, "goes on at that step"),
    "continue": Key(shapes.flag, "goes on as if nothing had happened"),
    **CHILDREN,
    "task": Key(TEMPLATE, "the template of a to-do for the rep"),
    "set": Key(Shape(_read_set, mapping_schema(SET)), "what is kept of it"),
}
WHEN = shapes.mapping_of(Shape(_read_handler, mapping_schema(HANDLER)), "a mapping of events to what they do", EVENT)

STEP = {
    "id": Key(STEP_NAME, "its name, unique in the file and stable for life", required=True),
    "wait": Key(_length("waits"), "how long after the previous step was done"),
    "at": Key(AT, "when, counted from an anchor: start + 1 week, review_call - 2 business days"),
    "email": Key(TEMPLATE, "the template of the email that is sent"),
    "variants": Key(
        shapes.mapping_of(TEMPLATE, "at least two names with a template each", NEED_NAME, at_least=2),
        "in place of email: templates that are compared",
    ),
    "task": Key(TEMPLATE, "the template of a to-do for the rep"),
    **CHILDREN,
    "if": Key(EXPRESSION, "an expression over the variables; false skips the step"),
    "until": Key(AT, "if it would leave later than this, it is skipped and shown"),
    "late": Key(shapes.choice("ask", "send", "skip"), "what to do when it is overdue by more than late_after"),
    "aside": Key(shapes.flag, "reached by goto only, never in the normal order"),
    "when": Key(WHEN, "handlers that beat the sequence's from this email until the next"),
    "to": Key(shapes.choice(*ROLES), "whose inbox this email goes to"),
    "bcc": Key(shapes.choice(*ROLES), "who gets a copy that the others do not see"),
    "thread": Key(shapes.choice(*THREADS), "which thread this email goes on in"),
    "window": Key(WINDOW, "when it may be sent (named in the config)"),
    "approve": Key(shapes.flag, "a draft waits for the rep's word"),
    "block": Key(shapes.flag, "waits until the task is done"),
    "attach": Key(
        shapes.list_of(Shape(_read_file, {"type": "string", "minLength": 1}), or_one=True),
        "files, relative to the sequence's folder; a name without a suffix is a document template, filled in",
    ),
}


def _read_people(spot: Spot) -> object:
    """People as scenarios bring them: one or a list, each a mapping or `Barry Jones <barry@acme.example>`."""
    for one in spot.items() if isinstance(spot.value, list) else [spot]:
        if isinstance(one.value, dict):
            read_keys(one, {part: Key(Shape(lambda part: True, {}), about) for part, about in PERSON_PARTS.items()})
        elif not isinstance(one.value, str):
            shapes.wrong(one, "people", "like {name: Barry Jones, email: barry@acme.example}")
    return spot.value


#: Said in short: it stands once for every event.
PEOPLE = Shape(_read_people, {"type": ["string", "object", "array"]})
EVENT_DATA = {
    "people": Key(PEOPLE, "whom it is about: a person, or a list of them"),
    "prospect": Key(PEOPLE, "the same, for one"),
    "until": Key(_time(date.fromisoformat, "2026-03-16"), "the first day back"),
    "step": Key(STEP_NAME, "the step whose email it answers, where that is not the last"),
    "note": Key(shapes.text(), "what the rep should know"),
    "text": Key(shapes.text(), "the words, for whoever reads the scenario"),
}


def _read_event_data(spot: Spot) -> object:
    """What comes with an event: a mapping; nothing at all is the same as `{}`."""
    return True if spot.value is None else read_keys(spot, EVENT_DATA) or True


_EVENT = Shape(_read_event_data, {"anyOf": [{"type": "null"}, mapping_schema(EVENT_DATA)]})

GIVEN = {
    "after": Key(_length("happens after"), "how long after the beginning", required=True),
    **{event.value: Key(_EVENT, f"the event {event.value}, with its data") for event in Event},
    "done": Key(STEP_NAME, "the task of that step is done"),
    "approved": Key(STEP_NAME, "the draft of that step is approved"),
    "rejected": Key(STEP_NAME, "the draft of that step is rejected"),
    "mark": Key(shapes.choice(*MARKS), "the rep marks what became of the prospect"),
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
    "date": Key(_time(date.fromisoformat, "2026-03-03"), "on that day"),
    "at": Key(MOMENT, "at that time"),
}
SCENARIO = {
    "name": Key(shapes.text(), "what happens, as a sentence", required=True),
    "begins": Key(MOMENT, "when the enrollment begins, in the client's zone", required=True),
    "with": Key(shapes.values, "what the sequence needs"),
    "given": Key(
        shapes.list_of(_one_of(GIVEN, [key for key in GIVEN if key != "after"], "event"), empty=True),
        "what happens from outside",
    ),
    "expect": Key(
        shapes.list_of(_one_of(EXPECT, OUTCOMES, "outcome")), "what must follow, in this order", required=True
    ),
}

_NEED = Shape(_read_need, {"type": "string", "pattern": f"^(optional )?({'|'.join(NEED_TYPES)})$"})
SEQUENCE = {
    "name": Key(shapes.text(), "its name for people", required=True),
    "about": Key(shapes.text(), "what it is for, in a sentence"),
    "kind": Key(shapes.choice(*KINDS), "what it is, for the rules of conduct and the reports", required=True),
    "to": Key(shapes.choice(*ROLES), "whose inbox the emails go to", required=True),
    "needs": Key(
        shapes.mapping_of(_NEED, "a mapping of names to types", NEED_NAME, at_least=0),
        "what an enrollment must bring, with its type",
    ),
    "window": Key(WINDOW, "when its emails may be sent (named in the config)"),
    "thread": Key(shapes.choice(*THREADS), "which thread its emails go on in"),
    "listen": Key(_length("listens for"), "how long it still hears answers after its last step"),
    "requires": Key(shapes.choice("confirmed"), "value that the client confirmed within the last year"),
    "steps": Key(
        shapes.list_of(Shape(_read_step, mapping_schema(STEP, oneOf=_exactly_one(ACTIONS)))),
        "what it does, in order",
        required=True,
    ),
    "when": Key(WHEN, "what it does when something happens"),
    "scenarios": Key(
        shapes.list_of(Shape(_read_scenario, mapping_schema(SCENARIO)), empty=True), "tests, run by whoelse test"
    ),
}

TRIGGER = {
    "moment": Key(shapes.text("a moment", NAME), "a moment that a rep, a file or another system reports"),
    "referral": Key(shapes.choice(*REFERRAL_STATES), "a referral's new state"),
    "every": Key(
        Shape(_read_every, {"type": "string", "examples": ["year", "0 9 1 */3 *"]}),
        "a cron schedule in the company's zone, or year together with from",
    ),
    "if": Key(EXPRESSION, "an expression over the moment's data and the contact's fields"),
    **CHILDREN,
    "start": Key(STARTS, "the sequence to start, or a list of them", required=True),
    "confirms": Key(shapes.flag, "the moment counts as confirmed value"),
    "for": Key(EXPRESSION, "clients, referrers or an expression over the contact's fields"),
    "from": Key(
        shapes.text("a date of the client", rf"client\.{NAME}", "like client.contract_date"), "the yearly date"
    ),
    "before": Key(_length("comes before by"), "how long before the yearly date"),
}
TRIGGER_SHAPE = Shape(_read_trigger, mapping_schema(TRIGGER, oneOf=_exactly_one(CAUSES)))
