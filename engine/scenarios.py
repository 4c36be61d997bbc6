"""The tests that ops write beside a sequence, run on the virtual clock. A scenario that fails says what it expected, what
happened, and shows the timeline; what no scenario reaches is listed, because nobody has ever seen it work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from engine.config import Config, parse_config
from engine.core.duration import parse_duration
from engine.core.machine import find
from engine.core.model import Contact
from engine.core.sequence import Scenario
from engine.core.sequence import Sequence as Steps
from engine.core.words import stands
from engine.enrollments import Wish
from engine.errors import UserError
from engine.installation import Installation
from engine.library import Library
from engine.notebook import Moment
from engine.simulate import SAMPLE_CLIENT, SAMPLE_PROSPECT, STEP_ANSWERS, Answer, Simulation, local
from engine.store import Store

OUTCOMES = ("sent", "task", "skipped", "started", "not_started", "paused", "held", "stopped")
#: What a step leaves when it has done what it is for.
REACHED = frozenset({"sent", "task", "started", "draft"})
CLIENT = Contact("", SAMPLE_CLIENT["email"], SAMPLE_CLIENT["name"], company=SAMPLE_CLIENT["company"])
KEY = b"no scenario leaves this process"
NEUTRAL = """
company: {name: Example Consulting, zone: UTC}
mailboxes: [{address: sam.carter@consulting.example, name: Sam Carter, title: Partner}]
"""


@dataclass(frozen=True)
class Result:
    """How one scenario went. `message` is empty when it passed.

    `steps` and `handlers` are what it reached in its sequence; a handler is its step (empty: the sequence) and its event."""

    sequence: str
    scenario: str
    passed: bool
    message: str = ""
    line: int = 0
    steps: frozenset[str] = frozenset()
    handlers: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Unreached:
    """A step or a handler that no scenario reaches."""

    sequence: str
    what: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: no scenario reaches {self.what}"


def run_scenarios(library: Library, config: Config | None = None, only: str = "") -> list[Result]:
    """All scenarios, those of the sequence `only`, or those whose name contains it. Without a config in UTC, with a sample rep."""
    sequences = [library.sequences[only]] if only in library.sequences else list(library.sequences.values())
    wanted = "" if only in library.sequences else only
    chosen = [
        (sequence, s)
        for sequence in sorted(sequences, key=lambda s: s.key)
        for s in sequence.scenarios
        if wanted in s.name
    ]
    known = config or neutral_config()
    return [_run(library, known, sequence, scenario) for sequence, scenario in chosen]


def coverage(library: Library, results: Iterable[Result], only: str = "") -> list[Unreached]:
    """The steps and handlers of all sequences, or of `only`, that none of these results reached, in the order of the files."""
    steps: set[tuple[str, str]] = set()
    handlers: set[tuple[str, str, str]] = set()
    for result in results:
        steps |= {(result.sequence, step) for step in result.steps}
        handlers |= {(result.sequence, *handler) for handler in result.handlers}
    found = []
    for key, sequence in sorted((k, s) for k, s in library.sequences.items() if only in ("", k)):
        missed = [(f'step "{s.id}"', s.line) for s in sequence.steps if (key, s.id) not in steps]
        for owner, event, line in _handlers(sequence):
            if (key, owner, event) not in handlers:
                missed.append((f'handler "{event}"' + (f' of step "{owner}"' if owner else ""), line))
        found += [Unreached(key, what, sequence.file, line) for what, line in sorted(missed, key=lambda m: m[1])]
    return found


def _handlers(sequence: Steps) -> Iterable[tuple[str, str, int]]:
    for event, handler in sequence.when.items():
        yield "", event, handler.line
    for step in sequence.steps:
        for event, handler in step.when.items():
            yield step.id, event, handler.line


@cache
def neutral_config() -> Config:
    """A company in UTC that keeps no holidays, with one rep."""
    config = parse_config(Path("config.yaml"), NEUTRAL, {}, [])
    assert config is not None
    return config


# --- one scenario ----------------------------------------------------------------------------------------------------


def _run(library: Library, config: Config, sequence: Steps, scenario: Scenario) -> Result:
    rep = config.mailboxes[0]
    zone = config.place(rep).zone
    begin = local(scenario.begins, zone)
    # The store that lends nothing: everything that a scenario knows is in it.
    simulation = Simulation(Installation(config, _no_store(), library, KEY), begin, follow=False)
    simulation.book.add_contact(replace(CLIENT, owner=rep.address, confirmed_at=begin))
    wish = _wish(sequence, scenario, rep.address)
    try:
        told = simulation.tell(wish, [_answer(given) for given in scenario.given])
    except UserError as error:
        return Result(sequence.key, scenario.name, False, f"{_where(sequence, scenario)}\n  {error}", scenario.line)
    if told.refusals:
        reasons = "".join(f"\n  {refusal}" for refusal in told.refusals)
        message = f"{_where(sequence, scenario)}\n  could not begin:{reasons}"
        return Result(sequence.key, scenario.name, False, message, scenario.line)
    own = [moment for moment in told.moments if moment.enrollment == simulation.main]
    fault = verdict(scenario.expect, own)
    message = f"{_where(sequence, scenario)}\n{fault}\n{_table(own)}" if fault else ""
    steps = frozenset(m.step for m in own if m.what in REACHED and m.step)
    acted = frozenset(
        _owner(sequence, step, event) for key, step, event in simulation.book.handled if key == sequence.key
    )
    return Result(sequence.key, scenario.name, not fault, message, scenario.line, steps, acted)


def _no_store() -> Store:
    unused: Any = None
    return Store(unused)


def _owner(sequence: Steps, answered: str, event: str) -> tuple[str, str]:
    step = find(sequence, answered)
    return (answered if step and event in step.when else "", event)


def _wish(sequence: Steps, scenario: Scenario, rep: str) -> Wish:
    values = dict(scenario.values)
    if sequence.to != "prospect":
        return Wish(SAMPLE_CLIENT["email"], sequence.key, values, rep)
    prospect = values.get("prospect") or SAMPLE_PROSPECT
    given: Mapping[str, Any] = prospect if isinstance(prospect, Mapping) else {"email": str(prospect)}
    contact = {k: str(v) for k, v in given.items() if k != "email"}
    return Wish(
        str(given.get("email", "")), sequence.key, {**values, "client": SAMPLE_CLIENT["email"]}, rep, contact=contact
    )


def _answer(given: Mapping[str, Any]) -> Answer:
    event = next(key for key in given if key != "after")
    data = given[event]
    if event in STEP_ANSWERS:
        data = {"step": data}
    elif event == "mark":
        event = str(data)
    return Answer(parse_duration(str(given["after"])), event, data if isinstance(data, Mapping) else {})


# --- what was expected, and what happened ----------------------------------------------------------------------------


def verdict(expect: Sequence[Mapping[str, Any]], moments: Sequence[Moment]) -> str:
    """What is wrong with the moments of an enrollment, or nothing.

    The expectations must be met in their order; every email that was sent must be among them, and a step's task that is
    among them must not come more often."""
    met: set[int] = set()
    position = 0
    for item in expect:
        what = next(key for key in item if key in OUTCOMES)
        if what == "not_started":
            if early := next((m for m in moments if m.what == "started" and m.word == item[what]), None):
                return f"  expected: {_wanted(item)}\n  happened: {_line(early)}"
            continue
        found = next((n for n in range(position, len(moments)) if _fits(moments[n], item)), None)
        if found is None:
            return f"  expected: {_wanted(item)}\n  happened: {_instead(item, what, moments, position)}"
        met.add(found)
        position = found + 1
    for number, moment in enumerate(moments):
        if number in met:
            continue
        if moment.what == "sent":
            return f"  expected: no other email than those listed\n  happened: {_line(moment)}"
        if moment.what == "task" and moment.step and any(_is(moment, item) for item in expect):
            return f"  expected: task {moment.step} only as often as it is listed\n  happened: {_line(moment)}"
    return ""


def _fits(moment: Moment, item: Mapping[str, Any]) -> bool:
    if not _is(moment, item):
        return False
    if "date" in item and _local(moment).date().isoformat() != str(item["date"]):
        return False
    return "at" not in item or local(str(item["at"]), moment.zone) == moment.at.replace(second=0, microsecond=0)


def _is(moment: Moment, item: Mapping[str, Any]) -> bool:
    """Whether it is that thing, whenever it was. A task goes by its step or by its template."""
    word = item.get(moment.what)
    return word is not None and (word == moment.word or (moment.what == "task" and word == moment.step))


def _wanted(item: Mapping[str, Any]) -> str:
    what = next(key for key in item if key in OUTCOMES)
    when = f" on {item['date']}" if "date" in item else f" at {item['at']}" if "at" in item else ""
    return f"{what} {item[what]}{when}"


def _instead(item: Mapping[str, Any], what: str, moments: Sequence[Moment], position: int) -> str:
    """The nearest to what was wanted: the same at another time, earlier in the order, or another of its kind."""
    later, before = moments[position:], moments[:position]
    if other := next((m for m in later if _is(m, item)), None):
        return _line(other)
    if other := next((m for m in before if _fits(m, item)), None):
        return f"{_line(other)}, which is earlier than the line before"
    if other := next((m for m in (*later, *before) if _is(m, item) or m.what == what), None):
        return f"{_line(other)}, and nothing like it"
    return f"nothing was {what}" if what != "task" else "no task"


def _local(moment: Moment) -> datetime:
    return moment.at.astimezone(ZoneInfo(moment.zone))


def _line(moment: Moment) -> str:
    words = f"{moment.what} {moment.word}".strip() if moment.what != "event" else "event"
    task = f" ({moment.step})" if moment.what == "task" and moment.step else ""
    quoted = f' "{moment.subject}"' if moment.subject and moment.what != "started" else ""
    cause = _cause(moment)
    note = f": {cause}" if cause else ""
    return f"{_local(moment):%a %Y-%m-%d %H:%M} {words}{task}{quoted}{note}"


def _cause(moment: Moment) -> str:
    """The note without what is said by the word already: `declined: stopped: not confirmed` is about a `declined`."""
    if moment.note == moment.word:
        return ""
    return (
        moment.note.removesuffix(stands(moment.what, moment.word)).removesuffix(": ").removeprefix(f"{moment.what}: ")
    )


def _table(moments: Sequence[Moment]) -> str:
    return "\n".join(["  the timeline:", *(f"    {_line(m)}" for m in moments)])


def _where(sequence: Steps, scenario: Scenario) -> str:
    return f'{sequence.file}:{scenario.line}: scenario "{scenario.name}"'
