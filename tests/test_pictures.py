"""A sequence as a picture: everything that it says is there, in 80 columns and in SVG, and nothing that a file holds can break out."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from engine.core.sequence import Sequence, parse_sequence
from engine.library import parse, read_sources, shipped_folder
from engine.pictures import COLUMNS, WIDTH, as_svg, as_text, fitted, picture, text_width

SHIPPED = parse(read_sources(shipped_folder())[0])[0].sequences
HEAD = "name: S\nkind: touch\nto: client\nneeds: {call: datetime}\n"


def parsed(text: str) -> Sequence:
    sequence, problems = parse_sequence("sequences/s.yaml", HEAD + text)
    assert sequence is not None, problems
    return sequence


def row(step: str, first: str = "{id: a, email: t}") -> str:
    """The text of a second step, on one line."""
    sequence = parsed(f"steps:\n  - {first}\n  - {step}\n")
    seen = picture(sequence).rows[1]
    return " | ".join((seen.time, seen.does, *seen.notes))


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("{id: b, email: t}", "right after | email to the client"),
        ("{id: b, wait: 3 days, email: t}", "3 days later | email to the client"),
        ("{id: b, at: start + 1 week, email: t}", "1 week after the start | email to the client"),
        ("{id: b, at: call - 2 business days, task: t}", "2 business days before the call | task for the rep"),
        ("{id: b, at: call, email: t, to: rep}", "at the call | email to the rep"),
        (
            "{id: b, email: t, approve: true}",
            "right after | email to the client | leaves only when the rep approves it",
        ),
        ("{id: b, task: t, block: true}", "right after | task for the rep | the next step waits until it is done"),
        ("{id: b, email: t, late: skip}", "right after | email to the client | left out when it is overdue"),
        ("{id: b, email: t, thread: new}", "right after | email to the client | in a thread of its own"),
        ("{id: b, email: t, if: call}", "right after | email to the client | only if: call"),
        ("{id: b, variants: {x: t, y: u}}", "right after | email to the client | compares x and y"),
        ("{id: b, start: other, after: rest}", "right after | starts other after a rest"),
        (
            "{id: b, email: t, until: call - 1 hours}",
            "right after | email to the client | left out if it would be later than 1 hours before the call",
        ),
    ],
)
def test_a_step_says_when_what_and_under_which_conditions(step: str, says: str) -> None:
    assert row(step) == says


def test_events_that_lead_to_the_same_are_one_way() -> None:
    seen = picture(
        parsed("steps: [{id: a, email: t}]\nwhen: {reply: {pause: look}, named: {pause: look}, declined: {stop: no}}")
    )
    assert [(way.events, way.what, way.tone) for way in seen.ways] == [
        (("reply", "named"), "pauses: look", "wait"),
        (("declined",), "ends: no", "stop"),
    ]


def test_what_happens_without_a_handler_is_said_only_where_there_is_none() -> None:
    steps = "steps: [{id: a, email: t}]\n"
    assert "absence" in picture(parsed(steps)).defaults
    assert "absence" not in picture(parsed(steps + "when: {out_of_office: {hold: 1 weeks}}")).defaults


def test_an_aside_says_which_answer_leads_to_it() -> None:
    steps = "steps:\n  - {id: a, email: t}\n  - {id: b, aside: true, email: t}\n"
    (aside,) = picture(parsed(steps + "when: {named: {goto: b}, confirmed: {goto: b}}")).asides
    assert aside.time == "on named or confirmed"


@pytest.mark.parametrize("sequence", SHIPPED.values(), ids=lambda sequence: sequence.key)
def test_what_ships_fits_a_terminal_and_names_every_step_and_event(sequence: Sequence) -> None:
    lines = as_text(sequence)
    assert max(map(len, lines)) <= COLUMNS
    text, drawn = "\n".join(lines), "".join(ElementTree.fromstring(as_svg(sequence)).itertext())
    for word in (*(f"{step.id}" for step in sequence.steps), *(event.replace("_", " ") for event in sequence.when)):
        assert word in text and word in drawn


@pytest.mark.parametrize("sequence", SHIPPED.values(), ids=lambda sequence: sequence.key)
def test_no_text_of_what_ships_runs_over_the_edge(sequence: Sequence) -> None:
    for text in ElementTree.fromstring(as_svg(sequence)).iter("{http://www.w3.org/2000/svg}text"):
        if not text.get("text-anchor"):
            spans = list(text) or [text]
            width = sum(text_width(s.text or "", float(s.get("font-size", 14))) + 10 for s in spans)
            assert float(text.get("x", 0)) + width <= WIDTH + 10, "".join(text.itertext())


def test_nothing_in_a_file_breaks_out_of_the_picture() -> None:
    hostile = '</text><script>alert(1)</script>&"'
    sequence = parsed(f"about: '{hostile}'\nsteps: [{{id: a, email: t, if: '1 < 2 and \"&\"'}}]\n")
    tree = ElementTree.fromstring(as_svg(sequence))
    assert not [e for e in tree.iter() if e.tag.endswith("script")]
    assert "<script>alert(1)</script>" in "".join(tree.itertext())


def test_a_text_that_is_too_long_for_a_line_goes_on_below() -> None:
    lines = fitted("one two three four five", text_width("one two three", 12), 12)
    assert lines == ["one two three", "four five"]
