"""A sequence reads like a sentence, and what cannot be read is told all at once, each with its place and a remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import language
from engine.core.model import Event
from engine.core.problem import Problem
from engine.core.schema import sequence_schema, triggers_schema
from engine.core.sequence import (
    At,
    Duration,
    Handler,
    Need,
    Sequence,
    Start,
    Step,
    Trigger,
    parse_at,
    parse_duration,
    parse_sequence,
    parse_triggers,
)
from engine.core.yaml_strict import load

SHIPPED = sorted((Path(__file__).parent.parent / "sequences").glob("*.yaml"))
SMALL = """\
name: Small
kind: touch
to: client
steps:
  - id: hello
    email: small/hello
"""


def read(text: str, file: str = "sequences/small.yaml") -> Sequence:
    sequence, problems = parse_sequence(file, text)
    assert sequence is not None, problems
    return sequence


def problems_of(text: str, file: str = "sequences/small.yaml") -> list[str]:
    sequence, problems = parse_sequence(file, text)
    assert sequence is None
    return [str(problem).removeprefix(f"{file}:") for problem in problems]


def step(text: str) -> Step:
    """The second step of a sequence with a date, with these keys."""
    return read(f"{SMALL}  - {{id: second, {text}}}\nneeds: {{review_call: datetime, day: date}}").steps[1]


def handler(text: str) -> Handler:
    return read(f"{SMALL}when:\n  reply: {text}").when["reply"]


# --- what is read


def test_the_smallest_sequence_has_everything_else_by_default() -> None:
    sequence = read(SMALL)
    assert sequence == Sequence(
        key="small",
        name="Small",
        kind="touch",
        to="client",
        steps=(Step(id="hello", email="small/hello", line=5),),
        version=sequence.version,
        file="sequences/small.yaml",
    )
    assert (sequence.window, sequence.thread, sequence.listen.days) == ("business_hours", "one", 30)


def test_the_version_changes_with_the_text() -> None:
    assert read(SMALL).version != read(SMALL + "# a comment\n").version


def test_an_ask_requires_confirmed_value_by_itself() -> None:
    assert read(SMALL.replace("touch", "ask")).requires == "confirmed"
    assert read(SMALL).requires == ""


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90 minutes", Duration(minutes=90)),
        ("1 hour", Duration(minutes=60)),
        ("3 days", Duration(days=3)),
        ("1 day", Duration(days=1)),
        ("2 weeks", Duration(days=14)),
        ("1 month", Duration(months=1)),
        ("2 business days", Duration(business_days=2)),
        ("0 days", Duration()),
        ("  2   business days ", Duration(business_days=2)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration: Duration) -> None:
    found = parse_duration(text)
    assert (found.months, found.days, found.minutes, found.business_days) == (
        duration.months,
        duration.days,
        duration.minutes,
        duration.business_days,
    )
    assert found.text == text


@pytest.mark.parametrize(
    "text", ["1 fortnight", "3", "3d", "days", "a day", "1.5 hours", "-1 day", "3 dayss", "1 day 2 hours", "", "٣ days"]
)
def test_any_other_length_is_refused_with_the_units(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        parse_duration(text)
    assert str(error.value) == f'waits "{text}"; use minutes, hours, days, weeks, months or business days'


def test_nobody_waits_ten_years() -> None:
    for text in ("5000 days", "200 months", "9999999 minutes", "4000 business days"):
        with pytest.raises(ValueError, match="ten years are the most"):
            parse_duration(text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("start", At("start", 1, Duration())),
        ("start + 1 week", At("start", 1, Duration(days=7, text="1 week"))),
        ("review_call - 2 business days", At("review_call", -1, Duration(business_days=2, text="2 business days"))),
        ("start+1 day", At("start", 1, Duration(days=1, text="1 day"))),
    ],
)
def test_a_time_is_an_anchor_and_an_offset(text: str, at: At) -> None:
    found = parse_at(text)
    assert (found.anchor, found.sign, found.offset, found.text) == (at.anchor, at.sign, at.offset, text)


def test_every_key_of_a_step_is_read() -> None:
    found = step(
        "wait: 3 days, variants: {a: x/a, b: x/b}, if: review_call, until: review_call - 2 hours, late: skip, aside: true,"
        " when: {reply: {stop: done}}, to: rep, thread: new, window: always, approve: true, attach: [a.pdf]"
    )
    assert found == Step(
        id="second",
        wait=Duration(days=3, text="3 days"),
        variants={"a": "x/a", "b": "x/b"},
        condition="review_call",
        until=At("review_call", -1, Duration(minutes=120, text="2 hours"), "review_call - 2 hours"),
        late="skip",
        aside=True,
        when={"reply": Handler(stop="done", line=7)},
        to="rep",
        thread="new",
        window="always",
        approve=True,
        attach=("a.pdf",),
        line=7,
    )
    assert step("task: x/call, block: true") == Step(id="second", task="x/call", block=True, line=7)


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("start: ask", [Start("ask")]),
        ("start: [ask, advocacy]", [Start("ask"), Start("advocacy")]),
        ("start: ask, after: rest", [Start("ask", rest=True)]),
        ("start: ask, after: 1 day", [Start("ask", Duration(days=1, text="1 day"))]),
        ("start: [ask, {start: advocacy, after: rest}], after: 1 day, with: {x: 1}",
         [Start("ask", Duration(days=1, text="1 day"), values={"x": 1}), Start("advocacy", rest=True, values={"x": 1})]),
        ("start: {start: ask, with: {x: 2}}, with: {x: 1, y: 1}", [Start("ask", values={"x": 2, "y": 1})]),
    ],
)  # fmt: skip
def test_starts_take_what_stands_beside_them(text: str, starts: list[Start]) -> None:
    assert [Start(s.sequence, s.after, s.rest, s.values) for s in step(text).starts] == starts
    assert [s.line for s in step(text).starts] == [7] * len(starts)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{stop: declined}", Handler(stop="declined")),
        ("{pause: waiting for rep, task: triage}", Handler(pause="waiting for rep", task="triage")),
        ("{hold: 2 weeks}", Handler(hold=Duration(days=14, text="2 weeks"))),
        ("{goto: hello}", Handler(goto="hello")),
        ("{continue: true}", Handler(go_on=True)),
        (
            "{set: {referral: introduced, value: confirmed}}",
            Handler(set={"referral": "introduced", "value": "confirmed"}),
        ),
    ],
)
def test_a_handler_has_one_ending_and_more_beside_it(text: str, found: Handler) -> None:
    read_one = handler(text)
    assert read_one == Handler(**{**vars(found), "line": 8})


def test_every_event_that_reaches_a_handler_can_have_one() -> None:
    events = [event for event in Event if event not in (Event.AUTO_REPLY, Event.DELAYED, Event.IGNORED)]
    text = SMALL + "when:\n" + "".join(f"  {event}: {{stop: x}}\n" for event in events)
    assert list(read(text).when) == [event.value for event in events]


def test_needs_have_a_type_and_may_be_optional() -> None:
    assert read(SMALL + "needs: {prospect: person, note: optional text}").needs == {
        "prospect": Need("prospect", "person"),
        "note": Need("note", "text", optional=True),
    }


def test_scenarios_stay_as_they_were_written() -> None:
    text = SMALL + (
        "needs: {x: number}\nscenarios:\n  - name: a reply ends it\n    begins: 2026-03-02 09:30\n    with: {x: 1}\n"
        "    given: [{after: 3 days, reply: {text: hi}}, {after: 4 days, done: hello}]\n"
        "    expect: [{sent: hello, date: 2026-03-02}, {stopped: answered, at: 2026-03-05 09:30}]\n"
    )
    found = read(text).scenarios[0]
    assert (found.name, found.begins, found.values, found.line) == ("a reply ends it", "2026-03-02 09:30", {"x": 1}, 9)
    assert found.given == ({"after": "3 days", "reply": {"text": "hi"}}, {"after": "4 days", "done": "hello"})
    assert found.expect[1] == {"stopped": "answered", "at": "2026-03-05 09:30"}


def test_every_kind_of_trigger_is_read() -> None:
    triggers, problems = parse_triggers(
        "sequences/triggers.yaml",
        '- {moment: nps, if: "score >= 9", start: ask, after: 1 day}\n'
        "- {moment: delivered, start: value_review, after: 2 weeks, confirms: true}\n"
        "- {referral: won, start: referral_update}\n"
        '- {every: "0 9 1 */3 *", for: referrers, start: keep_in_touch}\n'
        "- {every: year, from: client.contract_date, before: 6 weeks, start: annual_review}\n",
    )
    assert problems == []
    day, weeks, six = (parse_duration(text) for text in ("1 day", "2 weeks", "6 weeks"))
    assert triggers == [
        Trigger((Start("ask", day, line=1),), moment="nps", condition="score >= 9", line=1),
        Trigger((Start("value_review", weeks, line=2),), moment="delivered", confirms=True, line=2),
        Trigger((Start("referral_update", line=3),), referral="won", line=3),
        Trigger((Start("keep_in_touch", line=4),), cron="0 9 1 */3 *", audience="referrers", line=4),
        Trigger((Start("annual_review", line=5),), yearly="contract_date", before=six, line=5),
    ]


def test_no_triggers_are_no_problem() -> None:
    assert parse_triggers("sequences/triggers.yaml", "# none yet\n") == ([], [])
    assert parse_triggers("sequences/triggers.yaml", "[]") == ([], [])


@pytest.mark.io
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_ships_is_read_without_a_problem(path: Path) -> None:
    found: tuple[object, list[Problem]]
    parse: Any = parse_triggers if path.stem == "triggers" else parse_sequence
    found = parse(f"sequences/{path.name}", path.read_text())
    assert found[1] == []
    assert found[0]


# --- what is refused (the single cases are in broken/)


def test_all_problems_of_a_file_are_told_at_once_in_their_order() -> None:
    text = """\
nme: Small
kind: asks
to: client
needs: {call: datetim}
steps:
  - id: hello
    wait: 1 fortnight
    email: small/hello
    approve: no
  - id: hello
    at: cal + 1 day
    task: call
when:
  repyl: {stop: x}
listen: 30
"""
    assert [line.partition(" ")[0] for line in problems_of(text)] == [
        "1:1:", "1:1:", "2:7:", "4:15:", "7:11:", "9:14:", "10:5:", "11:9:", "14:3:", "15:9:",
    ]  # fmt: skip


def test_a_faulty_trigger_lets_none_through() -> None:
    triggers, problems = parse_triggers("t.yaml", "- {moment: nps, start: ask}\n- {moment: nps, strat: ask}\n")
    assert triggers == []
    assert [str(problem) for problem in problems] == [
        't.yaml:2:3: trigger 2 lacks "start"; the sequence to start, or a list of them',
        't.yaml:2:17: trigger 2 has no key "strat"; did you mean "start"?',
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1", "1:1: the file takes a list of triggers, not a mapping; begin every trigger with \"- \""),
        ("- nps", '1:3: trigger 1 takes a mapping of moment, referral, every, if, start, after, with, confirms, for, from, before, not "nps"'),
        ("- {start: ask}", "1:3: trigger 1 has no cause; it takes one of moment, referral, every"),
        ("- {moment: nps, referral: won, start: ask}", "1:3: trigger 1 has moment and referral; it takes one of moment, referral, every"),
        ("- {referral: lots, start: ask}", '1:14: trigger 1 takes one of named, introduced, contacted, met, won, lost for "referral", not "lots"; did you mean "lost"?'),
        ("- {every: day, for: clients, start: ask}", '1:11: trigger 1 takes year or a cron schedule for "every", not "day"; minute hour day month weekday, like "0 9 1 */3 *"'),
        ('- {every: "0 9 31 2 *", for: clients, start: ask}', '1:11: trigger 1 takes year or a cron schedule for "every", not "0 9 31 2 *"; minute hour day month weekday, like "0 9 1 */3 *"'),
        ('- {every: "0 0 9 1 * *", for: clients, start: ask}', '1:11: trigger 1 takes year or a cron schedule for "every", not "0 0 9 1 * *"; minute hour day month weekday, like "0 9 1 */3 *"'),
        ('- {every: "R 9 1 * *", for: clients, start: ask}', '1:11: trigger 1 takes year or a cron schedule for "every", not "R 9 1 * *"; minute hour day month weekday, like "0 9 1 */3 *"'),
        ('- {every: "0 9 1 * *", start: ask}', '1:4: trigger 1 has a schedule without "for"; clients, referrers or an expression'),
        ("- {every: year, start: ask}", '1:4: trigger 1 has "every: year" without from; name a date: from: client.contract_date'),
        ("- {every: year, from: contract_date, start: ask}", '1:23: trigger 1 takes a date of the client for "from", not "contract_date"; like client.contract_date'),
        ("- {moment: nps, before: 1 week, start: ask}", '1:17: trigger 1 has "before" without "every: year"; it would have no effect'),
        ("- {moment: nps, start: ask, after: soon}", '1:36: trigger 1 starts after "soon"; use minutes, hours, days, weeks, months or business days'),
    ],
)  # fmt: skip
def test_a_faulty_trigger_is_explained(text: str, problem: str) -> None:
    assert [str(p) for p in parse_triggers("t.yaml", text)[1]] == [f"t.yaml:{problem}"]


def test_a_sequence_with_a_problem_is_never_returned() -> None:
    assert parse_sequence("sequences/small.yaml", SMALL + "listen: soon")[0] is None


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["start", "hello", "1 day", "reply", "{{ x }}", ""])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*language.SEQUENCE, *language.STEP, *language.HANDLER, *language.HANDLED]), inner, max_size=4),
    ),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.io
@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(list(language.SEQUENCE)), VALUES, max_size=6), VALUES)
def test_no_shape_of_a_file_ever_raises(changes: Mapping[str, Any], step_value: Any) -> None:
    base = {"name": "x", "kind": "touch", "to": "client", "steps": [{"id": "hello", "email": "x"}, step_value]}
    for value in ({**base, **changes}, changes, step_value, [step_value]):
        sequence, problems = parse_sequence("sequences/small.yaml", json.dumps(value))
        assert (sequence is None) == any(problem.severity == "error" for problem in problems)
        parse_triggers("sequences/triggers.yaml", json.dumps([value]))


# --- the schema for editors


def test_the_schema_knows_every_key_of_the_language() -> None:
    schema = sequence_schema()
    assert set(schema["properties"]) == set(language.SEQUENCE)
    assert set(schema["properties"]["steps"]["items"]["properties"]) == set(language.STEP)
    assert set(schema["properties"]["when"]["additionalProperties"]["properties"]) == set(language.HANDLER)
    assert set(triggers_schema()["items"]["properties"]) == set(language.TRIGGER)


def test_every_key_explains_itself_to_the_editor() -> None:
    for keys in (language.SEQUENCE, language.STEP, language.HANDLER, language.TRIGGER, language.SCENARIO):
        assert all(key.about and not key.about.endswith(".") for key in keys.values())


@pytest.mark.io
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_ships_agrees_with_the_schema(path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = triggers_schema() if path.stem == "triggers" else sequence_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    value = load(path.name, path.read_text())[0]
    assert [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(value)] == []


@pytest.mark.io
@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(list(language.SEQUENCE)), VALUES, max_size=3), VALUES)
def test_an_editor_never_underlines_what_is_read(changes: Mapping[str, Any], step_value: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    base = {"name": "x", "kind": "touch", "to": "client", "steps": [{"id": "hello", "email": "x"}]}
    value = {**base, **changes}
    if parse_sequence("sequences/small.yaml", json.dumps(value))[0] is not None:
        assert [error.message for error in jsonschema.Draft7Validator(sequence_schema()).iter_errors(value)] == []
