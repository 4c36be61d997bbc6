"""The scenario runner: what ops read when an expectation is not met, and that it is not fooled. All shipped scenarios pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config import load_config
from engine.core.machine import ACTS_AS_REPLY
from engine.core.model import Event
from engine.core.problem import has_errors
from engine.core.sequence import Handler, Sequence
from engine.library import Library, parse, read_sources
from engine.project import lint_library
from engine.scenarios import Result, coverage, run_scenarios

ROOT = Path(__file__).parent.parent
SHIPPED = parse(read_sources(ROOT)[0])[0]
EXAMPLE = load_config(ROOT / "config.example.yaml", {})

NUDGE = """
name: Nudge
kind: follow_up
to: client
steps:
  - {id: first, email: t}
  - {id: second, wait: 3 days, email: t, when: {declined: {stop: late_no}}}
  - {id: call, wait: 1 week, task: t}
when:
  named: {stop: named, start: other}
  declined: {stop: no}
scenarios:
  - name: it goes as we say
    begins: 2026-03-02 09:30
"""
OTHER = "name: Other\nkind: touch\nto: client\nsteps:\n  - {id: hello, email: t}\n"
TEMPLATE = "---\nsubject: Hello\n---\nHi {{ client.first_name }}\n"


def library(rest: str) -> Library:
    sources = {"sequences/nudge.yaml": NUDGE + rest, "sequences/other.yaml": OTHER, "templates/t.md": TEMPLATE}
    made, problems = parse(sources)
    assert not problems, problems
    return made


def run(expect: list[str], given: tuple[str, ...] = ()) -> Result:
    lines = [f"    given: [{', '.join(given)}]", "    expect:", *(f"      - {item}" for item in expect)]
    (result,) = run_scenarios(library("\n".join(lines) + "\n"))
    return result


ALL = ["{sent: first, date: 2026-03-02}", "{sent: second, date: 2026-03-05}", "{task: call, date: 2026-03-12}"]
NAMED = "{after: 1 day, named: {people: [{name: Barry Jones, email: barry@northwind.example}]}}"


# --- what passes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [None, EXAMPLE], ids=["neutral", "example"])
def test_every_shipped_scenario_passes(config: Any) -> None:
    failed = [r.message for r in run_scenarios(SHIPPED, config) if not r.passed]
    assert not failed, "\n\n".join(failed)


def test_every_shipped_step_and_every_shipped_handler_is_reached_by_a_scenario() -> None:
    assert [str(u) for u in coverage(SHIPPED, run_scenarios(SHIPPED))] == []


#: What an answer does where nobody wrote a handler.
DEFAULT = Handler(pause="waiting_for_rep", task="triage")


def without(sequence: Sequence) -> Iterator[tuple[str, Sequence]]:
    """The sequence without each of its steps, and without each handler in whose place another would not do the same."""
    for step in sequence.steps:
        yield f"step {step.id}", replace(sequence, steps=tuple(s for s in sequence.steps if s is not step))
        for event, handler in step.when.items():
            less = {e: h for e, h in step.when.items() if e != event}
            if not same(handler, instead(event, less, sequence.when)):
                steps = tuple(replace(step, when=less) if s is step else s for s in sequence.steps)
                yield f"handler {event} of {step.id}", replace(sequence, steps=steps)
    for event, handler in sequence.when.items():
        rest = {e: h for e, h in sequence.when.items() if e != event}
        if not same(handler, instead(event, {}, rest)):
            yield f"handler {event}", replace(sequence, when=rest)


def renamed(sequence: Sequence) -> Iterator[tuple[str, Sequence]]:
    """The sequence with each handler whose absence changes nothing put under another event."""
    for event, handler in sequence.when.items():
        rest = {e: h for e, h in sequence.when.items() if e != event}
        if same(handler, instead(event, {}, rest)):
            yield f"handler {event}", replace(sequence, when={**rest, "rep_wrote": handler})


def instead(event: str, step: Mapping[str, Handler], sequence: Mapping[str, Handler]) -> Handler | None:
    """The handler that acts where the event has none of its own."""
    if event in sequence or event not in ACTS_AS_REPLY | {Event.REPLY}:
        return sequence.get(event)
    return step.get("reply") or sequence.get("reply") or DEFAULT


def same(one: Handler, other: Handler | None) -> bool:
    return other is not None and replace(one, line=0) == replace(other, line=0)


@pytest.mark.parametrize("key", sorted(SHIPPED.sequences))
def test_whatever_is_taken_out_of_a_shipped_sequence_fails_a_scenario_or_the_check(key: str) -> None:
    for taken, less in without(SHIPPED.sequences[key]):
        library = replace(SHIPPED, sequences={**SHIPPED.sequences, key: less})
        each = (run_scenarios(library, only=scenario.name) for scenario in less.scenarios)
        failed = not less.steps or any(not result.passed for results in each for result in results)
        assert failed or has_errors(lint_library(EXAMPLE, library, [])), f"{key}: nobody misses {taken}"


@pytest.mark.parametrize("key", sorted(SHIPPED.sequences))
def test_a_handler_under_another_event_fails_a_scenario_or_is_reached_by_none(key: str) -> None:
    for moved, other in renamed(SHIPPED.sequences[key]):
        library = replace(SHIPPED, sequences={**SHIPPED.sequences, key: other})
        results = run_scenarios(library, only=key)
        unreached = coverage(library, results, key)
        assert any(not r.passed for r in results) or unreached, f"{key}: nobody misses {moved}"


def test_one_sequence_or_one_scenario_can_be_chosen() -> None:
    assert {r.sequence for r in run_scenarios(SHIPPED, only="ask")} == {"ask"}
    assert [r.scenario for r in run_scenarios(SHIPPED, only="nobody else comes")] == [
        "nobody else comes to mind, which is no pushback"
    ]


@pytest.mark.parametrize(
    ("expect", "given"),
    [
        (ALL, ()),
        ([*ALL, "{stopped: finished}"], ()),
        (["{sent: first, at: 2026-03-02 09:30}", "{sent: second}"], ()),
        (["{sent: first}", "{sent: second}", "{task: t}"], ()),
        (["{sent: first}", "{stopped: named}", "{started: other, date: 2026-03-03}"], (NAMED,)),
        (
            ["{sent: first}", "{paused: waiting_for_rep}", "{task: triage}", "{not_started: other}"],
            ("{after: 1 day, reply: {}}",),
        ),
        (["{sent: first}", "{held: the rep wrote by hand}", "{sent: second}"], ("{after: 1 day, rep_wrote: {}}",)),
        (["{not_started: other}", *ALL], ()),
    ],
    ids=["in order", "the end", "a time", "a task by its template", "started", "paused", "held", "not started"],
)
def test_what_happens_as_expected_passes(expect: list[str], given: tuple[str, ...]) -> None:
    result = run(expect, given)
    assert result.passed, result.message


# --- what fails, and what it says ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "given", "expected", "happened"),
    [
        (["{sent: first, date: 2026-03-03}"], (), "sent first on 2026-03-03", "Mon 2026-03-02 09:30 sent first"),
        (["{sent: first, at: 2026-03-02 09:31}"], (), "sent first at 2026-03-02 09:31", "Mon 2026-03-02 09:30 sent first"),
        (["{sent: second}", "{sent: first}"], (), "sent first", "which is earlier than the line before"),
        (["{sent: first}"], (), "no other email than those listed", "Thu 2026-03-05 09:30 sent second"),
        ([*ALL, "{stopped: no}"], (), "stopped no", "stopped finished, and nothing like it"),
        ([*ALL, "{paused: waiting_for_rep}"], (), "paused waiting_for_rep", "nothing was paused"),
        (["{task: look}", *ALL], (), "task look", "task t (call)"),
        (["{sent: first}", "{not_started: other}"], (NAMED,), "not_started other", "Tue 2026-03-03 09:30 started other"),
        (["{sent: first}", "{sent: first}", "{sent: second}"], (), "sent first", "which is earlier than the line before"),
        (["{skipped: first}", *ALL], (), "skipped first", "nothing was skipped"),
    ],
    ids=["date", "time", "order", "unlisted email", "outcome", "no pause", "task", "started", "twice", "skipped"],
)  # fmt: skip
def test_a_failure_says_what_was_expected_and_what_happened(
    expect: list[str], given: tuple[str, ...], expected: str, happened: str
) -> None:
    result = run(expect, given)
    assert not result.passed
    where, wanted, got, *rest = result.message.splitlines()
    assert where == 'sequences/nudge.yaml:13: scenario "it goes as we say"'
    assert wanted == f"  expected: {expected}"
    assert happened in got
    assert rest[0] == "  the timeline:"
    assert rest[1] == '    Mon 2026-03-02 09:30 sent first "Hello"'


def test_somebody_who_could_not_be_enrolled_fails_with_the_reason() -> None:
    made = library("    expect:\n      - {sent: first}\n")
    needy = parse(
        {
            **made.sources,
            "sequences/nudge.yaml": made.sources["sequences/nudge.yaml"].replace(
                "\nsteps:", "\nneeds: {problem: text}\nsteps:"
            ),
        }
    )[0]
    (result,) = run_scenarios(needy)
    assert "could not begin:\n  nudge needs problem (text); add -v problem=" in result.message


def test_a_task_that_is_listed_once_must_not_come_twice() -> None:
    again = NUDGE.replace("when:\n  named:", "when:\n  confirmed: {goto: call}\n  named:")
    assert again != NUDGE
    rest = "    given: [{after: 11 days, confirmed: {}}]\n    expect: [" + ", ".join(ALL) + "]\n"
    made = parse({**library("    expect: [{sent: first}]\n").sources, "sequences/nudge.yaml": again + rest})[0]
    (result,) = run_scenarios(made)
    assert result.message.splitlines()[1:3] == [
        "  expected: task call only as often as it is listed",
        '  happened: Fri 2026-03-20 09:30 task t (call) "Hello"',
    ]


def test_an_event_that_makes_no_sense_fails_with_the_reason() -> None:
    result = run(["{sent: first}"], ("{after: 1 day, named: {people: [{email: barry}]}}",))
    assert "has the invalid address 'barry'" in result.message


# --- what nobody has tried -------------------------------------------------------------------------------------------


def test_what_no_scenario_reaches_is_listed_with_its_line() -> None:
    tried = library("    given: [{after: 1 day, declined: {}}]\n    expect:\n      - {sent: first}\n")
    assert [str(u) for u in coverage(tried, run_scenarios(tried, only="nudge"))] == [
        'sequences/nudge.yaml:7: no scenario reaches step "second"',
        'sequences/nudge.yaml:7: no scenario reaches handler "declined" of step "second"',
        'sequences/nudge.yaml:8: no scenario reaches step "call"',
        'sequences/nudge.yaml:10: no scenario reaches handler "named"',
        'sequences/other.yaml:5: no scenario reaches step "hello"',
    ]
    asked_for = coverage(tried, run_scenarios(tried, only="nudge"), only="nudge")
    assert {u.sequence for u in asked_for} == {"nudge"}, "who tries one sequence hears of that one"


def test_a_steps_handler_counts_for_the_step_and_not_for_the_sequence() -> None:
    tried = library(
        "    given: [{after: 4 days, declined: {}}]\n    expect:\n      - {sent: first}\n      - {sent: second}\n"
    )
    unreached = {u.what for u in coverage(tried, run_scenarios(tried))}
    assert 'handler "declined"' in unreached
    assert 'handler "declined" of step "second"' not in unreached
