"""The words that ship: every sequence reads, every template comes out whole with all values and with only the needed ones, and
each email keeps to the style note (docs/writing.md). What the sequences do is told by their own scenarios."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.core.compose import mailto
from engine.core.needs import gather
from engine.core.render import Rendered, Templates
from engine.core.sequence import Sequence, parse_sequence

ROOT = Path(__file__).parent.parent
TEMPLATES = Templates(
    {p.relative_to(ROOT / "templates").as_posix(): p.read_text() for p in (ROOT / "templates").rglob("*.md")}
)
NAMES = sorted(p.relative_to(ROOT / "templates").as_posix()[:-3] for p in (ROOT / "templates").rglob("*.md"))
FILES = sorted(p for p in (ROOT / "sequences").glob("*.yaml") if p.name != "triggers.yaml")

#: Raised by the engine itself, so that no sequence names them.
OF_THE_ENGINE = {"complete", "draft_overdue", "failed", "introduction", "start_refused"}
WORDS_MAX = 120
LONG_ON_PURPOSE = {"value_review/document"}
WORN_OUT = re.compile(
    r"!|just checking in|checking in|touch(ing)? base|circle back|hope this (email )?finds you|game.?chang|synerg"
    r"|no.?brainer|act now|limited time|guarantee|exclusive|as per my last|quick question|pick your brain",
    re.IGNORECASE,
)
BARRY = {"name": "Barry Jones", "first_name": "Barry", "email": "barry@northwind.example"}
FULL: dict[str, Any] = {
    "client": {
        "name": "Dana Weber",
        "first_name": "Dana",
        "email": "dana@acme.example",
        "company": "Acme",
        "title": "COO",
    },
    "company": {"name": "Acme"},
    "rep": {
        "name": "Robin Sands",
        "first_name": "Robin",
        "email": "robin@brightside.example",
        "company": "Brightside",
        "title": "Account Manager",
        "phone": "+44 20 7946 0100",
    },
    "prospect": {**BARRY, "company": "Northwind", "title": "Head of Bids"},
    "referral": {"state": "met", "client": {}, "prospect": BARRY},
    "enrollment": {"sequence": "Value review", "step": ""},
    "today": datetime(2026, 3, 2, tzinfo=UTC).date(),
    "unsubscribe": "mailto:robin@brightside.example?subject=unsubscribe",
    "review_call": datetime(2026, 3, 12, 10, tzinfo=UTC),
    "problems": ["Tenders took three weeks to put together", "Every site kept its own price list"],
    "results": ["Tenders out in two days: now one and a half", "One price list for all sites: done"],
    "extra": "We trained two of your people to keep the templates up to date.",
    "next_quarter": ["Bring the subcontractors into the same tool"],
    "problem": "tenders that take weeks to put together",
    "ideal_client": "building firms with 20 to 200 people",
    "review_link": "https://reviews.example/brightside",
}
BARE: dict[str, Any] = {
    **FULL,
    "client": {**FULL["client"], "name": "Dana", "company": "", "title": ""},
    "company": {"name": ""},
    "rep": {**FULL["rep"], "first_name": "", "company": "", "title": "", "phone": ""},
    "prospect": {**BARRY, "company": "", "title": ""},
    "referral": None,
    "problems": ["Tenders took three weeks to put together"],
    "results": ["Tenders out in two days: done"],
    **dict.fromkeys(("extra", "next_quarter", "problem", "review_link")),
}


def sequences() -> Iterator[Sequence]:
    for file in FILES:
        sequence, problems = parse_sequence(file.relative_to(ROOT).as_posix(), file.read_text())
        assert sequence is not None, [str(problem) for problem in problems]
        yield sequence


SEQUENCES = list(sequences())
EMAILS = sorted({name for s in SEQUENCES for step in s.steps for name in (step.email, *step.variants.values()) if name})
TASKS = {h.task for s in SEQUENCES for when in (s.when, *(step.when for step in s.steps)) for h in when.values()}
TASKS |= {step.task for s in SEQUENCES for step in s.steps}


def rendered(name: str, values: dict[str, Any]) -> Rendered:
    """The template as the engine fills it. The ask cannot be without its problem."""
    given = {**values, "problem": FULL["problem"]} if name.startswith("ask/") else values
    words = TEMPLATES.render("introduction", given)
    link = mailto(given["prospect"]["email"], given["rep"]["email"], words.subject, words.text)
    return TEMPLATES.render(name, {**given, "intro_link": link})


def own_words(text: str) -> str:
    """What the rep says in an email: without links' targets, and without the words written for the client to pass on."""
    return re.sub(r" <(https|mailto):[^>]*>", "", text.partition("——")[0])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_sequence_reads_without_a_problem(file: Path) -> None:
    assert parse_sequence(file.name, file.read_text())[1] == []


def test_every_template_that_is_named_is_there_and_every_other_is_one_of_the_engine() -> None:
    named = {name for name in TASKS if name} | set(EMAILS)
    assert named <= set(NAMES)
    assert set(NAMES) - named - {n for n in NAMES if n.startswith("blocks/")} == OF_THE_ENGINE


def test_every_sequence_that_is_started_is_there() -> None:
    handlers = [h for s in SEQUENCES for when in (s.when, *(step.when for step in s.steps)) for h in when.values()]
    starts = [start for owner in (*handlers, *(step for s in SEQUENCES for step in s.steps)) for start in owner.starts]
    assert {start.sequence for start in starts} <= {s.key for s in SEQUENCES}


@pytest.mark.parametrize("name", NAMES)
def test_every_template_is_free_of_faults(name: str) -> None:
    assert TEMPLATES.problems(name) == []


@pytest.mark.parametrize("values", [FULL, BARE], ids=["full", "bare"])
@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("blocks/")])
def test_every_template_comes_out_whole(name: str, values: dict[str, Any]) -> None:
    words = rendered(name, values)
    assert words.subject
    for text in (words.subject, own_words(words.text)):
        assert not re.search(r"(?<=\S)  | [,.;:?]|\.\.(?!\.)|,,|None|[{}]|\(\)|\bat[.,?]", text), text


@pytest.mark.parametrize("state", ["named", "contacted", "met", "won", "lost"])
def test_the_update_tells_what_the_referral_says(state: str) -> None:
    told = {"won": "working together now", "met": "have talked", "lost": "not going to work together"}
    text = rendered("thank_you/update", {**FULL, "referral": {"state": state}}).text
    assert told.get(state, "There is no news yet") in text


@pytest.mark.parametrize("name", EMAILS)
def test_an_email_asks_at_most_one_question_in_few_words(name: str) -> None:
    text = own_words(rendered(name, FULL).text)
    assert text.count("?") <= 1
    assert len(text.split()) <= WORDS_MAX or name in LONG_ON_PURPOSE


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("blocks/")])
def test_nothing_is_worn_out_or_shouted(name: str) -> None:
    words = rendered(name, FULL)
    assert not WORN_OUT.search(f"{words.subject}\n{words.text}")


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.key)
def test_a_thread_keeps_its_subject(sequence: Sequence) -> None:
    in_one = [step.email for step in sequence.steps if step.email and step.thread != "new"]
    assert len({rendered(name, FULL).subject for name in in_one}) == 1


def test_the_link_says_what_the_email_shows() -> None:
    shown = rendered("intro_template/introduction", FULL).text.partition("——")[2]
    assert shown.lstrip("— \n") == TEMPLATES.render("introduction", FULL).text


def test_a_prospect_is_told_how_to_hear_no_more_and_a_client_is_not_lectured() -> None:
    for sequence in SEQUENCES:
        for step in sequence.steps:
            if step.email:
                told = "rather not hear from me" in rendered(step.email, FULL).text
                assert told == (sequence.to == "prospect"), step.email


def test_the_first_word_to_a_prospect_waits_for_the_rep() -> None:
    assert all(step.approve for s in SEQUENCES if s.to == "prospect" for step in s.steps if step.email)


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.key)
def test_every_scenario_brings_what_its_sequence_needs(sequence: Sequence) -> None:
    assert sequence.scenarios
    for scenario in sequence.scenarios:
        assert gather(sequence, scenario.values, {}, "Europe/London")[1] == [], scenario.name


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.key)
def test_every_event_with_a_handler_happens_in_a_scenario(sequence: Sequence) -> None:
    handled = {str(event) for when in (sequence.when, *(step.when for step in sequence.steps)) for event in when}
    happened = {key for scenario in sequence.scenarios for item in scenario.given for key in item}
    assert handled - {"finished"} <= happened
