"""What an enrollment brings: from what a person typed to what keeps in JSON, and from that to what templates and anchors see."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from engine.core.needs import anchors, first_name, gather, keep, person, typed
from engine.core.sequence import Need, Sequence


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("Dana Whitfield", "Dana"),
        ("Dr. Dana Whitfield", "Dana"),
        ("Prof. Dr. Dana Whitfield", "Dana"),
        ("Whitfield, Dana", "Dana"),
        ("Whitfield,", "Whitfield,"),
        ("Dana", "Dana"),
        ("Frau Müller", "Müller"),
        ("Jean-Luc Picard", "Jean-Luc"),
        ("", ""),
    ],
)
def test_the_first_name_of_a_full_one(name: str, first: str) -> None:
    assert first_name(name) == first


@pytest.mark.parametrize(
    ("given", "name", "email", "company"),
    [
        ("Barry Jones <barry@acme.example>", "Barry Jones", "barry@acme.example", ""),
        ("Barry Jones <Barry@Acme.example>, Acme Ltd", "Barry Jones", "barry@acme.example", "Acme Ltd"),
        ('"Jones, Barry" <barry@acme.example>', "Jones, Barry", "barry@acme.example", ""),
        ("Barry Jones, Acme Ltd", "Barry Jones", "", "Acme Ltd"),
        ("Barry Jones", "Barry Jones", "", ""),
        ("barry.jones@acme.example", "Barry Jones", "barry.jones@acme.example", ""),
        (
            {"name": " Barry Jones ", "email": "BARRY@acme.example", "title": None},
            "Barry Jones",
            "barry@acme.example",
            "",
        ),
    ],
)
def test_a_person_as_people_write_one(given: Any, name: str, email: str, company: str) -> None:
    found = person(given)
    assert (found["name"], found["email"], found["company"]) == (name, email, company)
    assert found["first_name"] in name


@pytest.mark.parametrize(
    "given",
    [
        "",
        "  ",
        "<>",
        "Barry <barry@>",
        "Barry <barry at acme>",
        {"nam": "Barry"},
        {"company": "Acme"},
        "Barry <a b@acme.test>",
    ],
)
def test_what_names_nobody_or_has_no_address_that_works_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="names nobody|invalid address|no part"):
        person(given)


NEEDS = {n: Need(n, n) for n in ("text", "number", "list", "date", "datetime", "person")}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("need", "given", "kept"),
    [
        ("text", " a line ", "a line"),
        ("text", 7, "7"),
        ("number", "10", 10),
        ("number", "2,5", 2.5),
        ("number", 3.0, 3),
        ("list", "one", ["one"]),
        ("list", [" one ", 2], ["one", "2"]),
        ("date", "2026-03-02", "2026-03-02"),
        ("datetime", "2026-03-02 14:30", "2026-03-02T13:30:00+00:00"),
        ("datetime", "2026-07-02 14:30", "2026-07-02T12:30:00+00:00"),
        ("datetime", "2026-03-02T14:30:00Z", "2026-03-02T14:30:00+00:00"),
        ("datetime", "2026-03-02 14:30-05:00", "2026-03-02T19:30:00+00:00"),
    ],
)
def test_what_is_kept_is_plain_and_a_time_gets_the_reps_zone_once(need: str, given: Any, kept: Any) -> None:
    found = keep(NEEDS[need], given, "Europe/Berlin")
    assert found == kept
    assert json.loads(json.dumps(found)) == kept


@pytest.mark.parametrize(
    ("need", "given"),
    [
        ("text", ""),
        ("text", "  "),
        ("text", ["a"]),
        ("text", "a\x00b"),
        ("text", "a\rBcc: x"),
        ("text", "a\u202eb"),
        ("number", "ten"),
        ("number", ""),
        ("list", []),
        ("list", ["a", ""]),
        ("list", [["a"]]),
        ("list", ["a\x1b"]),
        ("date", "02.03.2026"),
        ("date", "2026-02-30"),
        ("datetime", "2026-03-02"),
        ("datetime", "tomorrow"),
        ("person", "Barry\x07 <barry@acme.test>"),
        ("person", {"name": "Bar\x00ry"}),
    ],
)
def test_what_cannot_be_kept_is_refused_with_what_is_wrong(need: str, given: Any) -> None:
    with pytest.raises(ValueError, match="."):
        keep(NEEDS[need], given, "UTC")


@pytest.mark.parametrize("given", ["nan", "inf", "-inf", "1e400"])
def test_what_is_no_number_that_json_knows_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        keep(NEEDS["number"], given, "UTC")


SEQUENCE = Sequence(
    "s", "S", "touch", "client", (),
    needs={
        "call": Need("call", "datetime"), "day": Need("day", "date", True), "problem": Need("problem", "text"),
        "prospect": Need("prospect", "person", True),
    },
)  # fmt: skip


def test_every_fault_is_found_at_once_and_says_what_to_write() -> None:
    kept, faults = gather(SEQUENCE, {"call": "soon", "problme": "x"}, {}, "UTC")
    assert kept == {}
    assert sorted(f.rule for f in faults) == ["missing", "unknown", "wrong"]
    said = " ".join(map(str, faults))
    for part in ("did you mean problem?", 'add -v problem="a line of text"', "call must be a date and time"):
        assert part in said


def test_the_reps_variables_stand_in_for_what_was_not_given() -> None:
    given = {"call": "2026-03-02 10:00"}
    kept, faults = gather(SEQUENCE, given, {"problem": "closing", "elsewhere": "x"}, "UTC")
    assert faults == [] and kept["problem"] == "closing" and "elsewhere" not in kept
    kept, _ = gather(SEQUENCE, {**given, "problem": "tenders"}, {"problem": "closing"}, "UTC")
    assert kept["problem"] == "tenders"


def test_templates_see_dates_and_an_absent_optional_need_as_none() -> None:
    kept, _ = gather(SEQUENCE, {"call": "2026-03-02 10:00", "problem": "x"}, {}, "UTC")
    assert typed(SEQUENCE, kept) == {
        "call": datetime(2026, 3, 2, 10, tzinfo=UTC),
        "day": None,
        "problem": "x",
        "prospect": None,
    }
    assert anchors(SEQUENCE, kept) == {"call": datetime(2026, 3, 2, 10, tzinfo=UTC)}
    assert anchors(SEQUENCE, {**kept, "day": "2026-03-05"})["day"] == date(2026, 3, 5)


def test_a_value_whose_need_was_removed_by_an_edit_is_a_text_and_no_anchor() -> None:
    kept = {"call": "2026-03-02T10:00:00+00:00", "gone": "2026-03-02"}
    assert typed(SEQUENCE, kept)["gone"] == "2026-03-02"
    assert "gone" not in anchors(SEQUENCE, kept)
