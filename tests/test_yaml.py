"""What a person writes in YAML is what is read, or a problem with its place: never a surprise, never a bomb."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.yaml_strict import NESTING_MAX, TEXT_MAX, decode, load, locate


def problems_of(text: str) -> list[str]:
    return [str(problem) for problem in load("a.yaml", text)[2]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("y", "y"),
        ("0123", "0123"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("09:30", "09:30"),
        ("1:30:00", "1:30:00"),
        ("1_000", "1_000"),
        ("2026-03-02", "2026-03-02"),
        ("2026-03-02 09:30", "2026-03-02 09:30"),
        ("+491234", "+491234"),
        (".inf", ".inf"),
        ("9" * 40, "9" * 40),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("~", None),
        ("", None),
        ('"12"', "12"),
        ("'true'", "true"),
        ("<<", "<<"),
    ],
)
def test_a_scalar_is_read_as_people_mean_it(text: str, value: object) -> None:
    read, _, problems = load("a.yaml", f"key: {text}")
    assert (read, problems) == ({"key": value}, [])
    assert type(read["key"]) is type(value)


def test_keys_are_always_text() -> None:
    assert load("a.yaml", "{on: 1, 2026-12-24: 2, 5: 3, true: 4, ~: 5}")[0] == {
        "on": 1,
        "2026-12-24": 2,
        "5": 3,
        "true": 4,
        "~": 5,
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", 'a.yaml:3:1: the key "a" stands twice; the first is in line 1'),
        ("a: {x: 1, x: [2]}", 'a.yaml:1:11: the key "x" stands twice; the first is in line 1'),
        ("a: &b 1", "a.yaml:1:4: an anchor (&); write it out, or quote text that starts with &"),
        ("a: *b", "a.yaml:1:4: an alias (*b); write it out, or quote text that starts with *"),
        ("a: !!python/object:os.system x", "a.yaml:1:4: a tag (!); write the plain value, or quote text that starts with !"),
        ("a:\n\tb: 1", "a.yaml:2:1: YAML: found character that cannot start any token; indent with spaces, not with a tab"),
        ("a: @x", "a.yaml:1:4: YAML: found character that cannot start any token; text that starts with @ must stand in quotes"),
        ("a: %x", "a.yaml:1:4: YAML: found character that cannot start any token; text that starts with % must stand in quotes"),
        (
            "name: Ask: who else",
            'a.yaml:1:10: YAML: mapping values are not allowed in this context; put the text in quotes if it has ": " in it, '
            "or check the indent",
        ),
        ("a: [1\nb: 2", "a.yaml:2:2: YAML: did not find expected ',' or ']'; a list in [ ] is not closed, or a comma is missing"),
        ("a: 'x\nb: 1", "a.yaml:1:4: YAML: found unexpected end of stream; a quote is not closed"),
        ("a: {{ x }}", 'a.yaml:1:5: a key that is not text; text with "{{" in it must stand in quotes'),
        ("a: 1\n---\nb: 2", 'a.yaml:2:1: a second document ("---"); one file holds one document'),
        ("a: x\x00y", "a.yaml:1:5: a character U+0000 that cannot be seen; delete it"),
        ("a: 1\r\nb: x\x07", "a.yaml:2:5: a character U+0007 that cannot be seen; delete it"),
        ("a: x\u2028b: 1", "a.yaml:1:5: a character U+2028 that cannot be seen; delete it"),
        ("a: \ud800", "a.yaml:1:4: a character U+D800 that cannot be seen; delete it"),
    ],
)  # fmt: skip
def test_a_faulty_file_is_explained_with_its_place(text: str, problem: str) -> None:
    assert problems_of(text) == [problem]


def test_all_duplicate_keys_are_told_at_once_and_the_first_value_stays() -> None:
    value, _, problems = load("a.yaml", "a: 1\na: 2\nb: 3\nb: 4")
    assert value == {"a": 1, "b": 3}
    assert [problem.line for problem in problems] == [2, 4]


@pytest.mark.parametrize("bomb", ["[" * 500, "{a: " * 500, "- " * 500, "a: " + "[" * 100_000, "[" * 500 + "]" * 500])
def test_five_hundred_brackets_are_a_problem_and_not_a_crash(bomb: str) -> None:
    value, _, problems = load("a.yaml", bomb)
    assert value is None
    assert problems[0].code in ("nesting", "key")


def test_billion_laughs_are_refused_at_the_first_anchor() -> None:
    lines = ["a: &a [x, x]"] + [f"b{i}: &b{i} [*a, *a, *a]" for i in range(50)]
    value, _, problems = load("a.yaml", "\n".join(lines))
    assert {problem.code for problem in problems} == {"alias"}
    assert value is None


def test_a_file_beyond_all_size_is_not_even_parsed() -> None:
    assert problems_of("a" * (TEXT_MAX + 1)) == ["a.yaml:1:1: the file is larger than 1,000,000 characters; split it"]


def test_nesting_up_to_the_limit_is_read() -> None:
    assert problems_of("[" * NESTING_MAX + "]" * NESTING_MAX) == []


def test_bytes_that_are_not_utf8_are_placed() -> None:
    text, problems = decode("a.yaml", "über: 1\nnäme: ".encode() + b"J\xfcrgen")
    assert text == ""
    assert str(problems[0]) == "a.yaml:2:8: this is not UTF-8; save the file as UTF-8"
    assert decode("a.yaml", b"\xef\xbb\xbfa: 1") == ("a: 1", [])


def test_what_is_not_closed_is_placed_within_the_file() -> None:
    assert problems_of("a: [1,\n") == [
        "a.yaml:1:7: YAML: did not find expected node content; a bracket is not closed, or a comma is one too many"
    ]


def test_a_byte_order_mark_moves_nothing() -> None:
    value, positions, problems = load("a.yaml", "\ufeffa: 1")
    assert (value, problems) == ({"a": 1}, [])
    assert locate(positions, ("a",), key=True) == (1, 1)


def test_every_value_and_key_has_its_place() -> None:
    positions = load("a.yaml", "steps:\n  - id: x\n    wait: {days: 3}\n  - y\n")[1]
    assert locate(positions, ("steps", 0, "wait")) == (3, 11)
    assert locate(positions, ("steps", 0, "wait"), key=True) == (3, 5)
    assert locate(positions, ("steps", 0, "wait", "days")) == (3, 18)
    assert locate(positions, ("steps", 1)) == (4, 5)
    assert locate(positions, ("steps", 0)) == (2, 5)


def test_what_is_not_there_is_placed_at_what_holds_it() -> None:
    positions = load("a.yaml", "steps:\n  - id: x\n")[1]
    assert locate(positions, ("steps", 0, "email")) == (2, 5)
    assert locate(positions, ("steps", 0, "Send", "id")) == (2, 9)  # a union's tag, as pydantic reports it
    assert locate(load("a.yaml", "")[1], ("name",)) == (1, 1)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab:-[]{}\"'#&*!|>%@`\n\t ,?~0.\r\u00fc\x00"), max_size=60))
def test_no_text_ever_raises(text: str) -> None:
    for problem in load("a.yaml", text)[2]:
        assert problem.line >= 1 and problem.column >= 1
        assert problem.line <= text.count("\n") + text.count("\r") + 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_no_bytes_ever_raise(raw: bytes) -> None:
    text, problems = decode("a.yaml", raw)
    if not problems:
        load("a.yaml", text)
