"""The words that ship: every sequence reads, every template comes out whole with all values and with only the needed ones, in
each language, and each email keeps to the style note (docs/writing.md). What the sequences do is told by their own scenarios."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from engine.core.compose import mailto
from engine.core.needs import gather
from engine.core.render import Rendered, Templates
from engine.core.schedule import next_slot
from engine.core.sequence import Sequence, Trigger, parse_sequence, parse_triggers
from engine.demo import story
from engine.demo.people import mailto_in

ROOT = Path(__file__).parent.parent
TEMPLATES = Templates(
    {p.relative_to(ROOT / "templates").as_posix(): p.read_text() for p in (ROOT / "templates").rglob("*.md")}
)
SOURCES = sorted(p.relative_to(ROOT / "templates").as_posix()[:-3] for p in (ROOT / "templates").rglob("*.md"))
NAMES = [name for name in SOURCES if "." not in name]
#: English, which is everybody's, and the languages in which clients and prospects are written to besides.
LANGUAGES = ("", "de")
FILES = sorted(p for p in (ROOT / "sequences").glob("*.yaml") if p.name != "triggers.yaml")

#: Raised by the engine itself, so that no sequence names them.
OF_THE_ENGINE = {"complete", "draft_overdue", "failed", "introduction", "start_refused"}
#: Papers that are filled in and handed over, and no email.
DOCUMENTS = {"agreement"}
WORDS_MAX = 120
LONG_ON_PURPOSE = {"value_review/document", "annual_review/document"}
#: The prospect was introduced by somebody they know: no stranger writes, and none offers to go away.
AMONG_FRIENDS = {"introduction_answer/answer", "introduction_answer/again"}
WORN_OUT = re.compile(
    r"!|just checking in|checking in|touch(ing)? base|circle back|hope this (email )?finds you|game.?chang|synerg"
    r"|no.?brainer|act now|limited time|guarantee|exclusive|as per my last|quick question|pick your brain"
    r"|nachhaken|nachfassen|nur (mal )?kurz|kurze (frage|rückfrage)|ich hoffe,? (es geht|diese)|win.?win|synergie|zeitnah"
    r"|garantier|exklusiv|unverbindlich|einmalig|mehrwert|in kontakt treten|freundlichen grüßen|rund um",
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
    "referral": {"state": "met", "client": {}, "prospect": BARRY, "won_at": None, "lost_at": None},
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
    "case_study": "how your tenders went out in two days instead of three weeks",
    "bought": "The tender tool for twelve seats, and two days of training",
    "goals": "Bid for twice as many public tenders with the same people",
    "departments": "logistics, where every site plans its own lorries",
    "useful": "The deadlines for public tenders have changed; the new ones are on a page at https://brightside.example/new",
    "event": "our summer table on 18 June in Leeds",
    "partner": "Acme",
    "qualified_lead": "A building firm with 20 to 200 people that has agreed to a call.",
    "reward": "Ten per cent of the first invoice.",
    "payout_term": "Within 30 days after the customer has paid.",
    "repeat_purchases": "Orders of the same customer within twelve months count likewise.",
    "exclusivity": "Neither side is bound to the other alone.",
    "confidentiality": "Neither side passes on what it learns about the other's customers.",
    "begins": "2 March 2026",
    "notice": "four weeks",
    "law": "The law of England and Wales.",
}
#: What a variable turns on: one at a time, and none by itself.
EXTRAS = {
    "incentive": "a day of consulting",
    "two_for_one": "a workshop at half the price",
    "donation": "50 euros to the lifeboats",
    "ps": "use the same help",
    "ask_approach": "yes",
    "ask_why": "yes",
    "ask_handled": "yes",
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
    **dict.fromkeys(("extra", "next_quarter", "problem", "review_link", "departments", "event", "law")),
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
BLOCKS = [name for name in NAMES if name.startswith("blocks/")]
#: What clients and prospects read, and what they pass on.
FACING = sorted({*EMAILS, *BLOCKS, *DOCUMENTS, "introduction"})
IN_EACH = [(name, language) for name in FACING if name not in BLOCKS for language in LANGUAGES]


def rendered(name: str, values: dict[str, Any], language: str = "") -> Rendered:
    """The template as the engine fills it. The ask cannot be without its problem, nor an agreement without the companies."""
    given = {**values, "problem": FULL["problem"]} if name.startswith("ask/") else values
    given = {**given, "rep": FULL["rep"]} if name in DOCUMENTS else given
    words = TEMPLATES.render("introduction", given, language)
    link = mailto(given["prospect"]["email"], given["rep"]["email"], words.subject, words.text)
    return TEMPLATES.render(name, {**given, "intro_link": link}, language)


def own_words(text: str) -> str:
    """What the rep says in an email: without links' targets, and without the words written for the client to pass on."""
    return re.sub(r" <(https|mailto):[^>]*>", "", text.partition("——")[0])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_sequence_reads_without_a_problem(file: Path) -> None:
    assert parse_sequence(file.name, file.read_text())[1] == []


def test_every_template_that_is_named_is_there_and_every_other_is_one_of_the_engine() -> None:
    named = {name for name in TASKS if name} | set(EMAILS)
    assert named <= set(NAMES)
    assert set(NAMES) - named - set(BLOCKS) == OF_THE_ENGINE | DOCUMENTS


def test_every_sequence_that_is_started_is_there() -> None:
    handlers = [h for s in SEQUENCES for when in (s.when, *(step.when for step in s.steps)) for h in when.values()]
    starts = [start for owner in (*handlers, *(step for s in SEQUENCES for step in s.steps)) for start in owner.starts]
    assert {start.sequence for start in starts} <= {s.key for s in SEQUENCES}


@pytest.mark.parametrize("name", SOURCES)
def test_every_template_is_free_of_faults(name: str) -> None:
    assert TEMPLATES.problems(name) == []


@pytest.mark.parametrize("values", [FULL, BARE], ids=["full", "bare"])
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [n for n in NAMES if n not in BLOCKS])
def test_every_template_comes_out_whole(name: str, language: str, values: dict[str, Any]) -> None:
    words = rendered(name, values, language)
    assert words.subject
    for text in (words.subject, own_words(words.text)):
        assert not re.search(r"(?<=\S)  | [,.;:?]|\.\.(?!\.)|,,|None|[{}]|\(\)|\b(at|bei|von)[.,?]", text), text


@pytest.mark.parametrize("state", ["named", "contacted", "met", "won", "lost"])
def test_the_update_tells_what_the_referral_says(state: str) -> None:
    told = {"won": "working together now", "met": "have talked", "lost": "not going to work together"}
    text = rendered("thank_you/update", {**FULL, "referral": {"state": state}}).text
    assert told.get(state, "There is no news yet") in text


@pytest.mark.parametrize("extra", ["", *EXTRAS])
@pytest.mark.parametrize("language", LANGUAGES)
def test_an_email_asks_at_most_one_question_in_few_words(language: str, extra: str) -> None:
    for name in EMAILS:
        text = own_words(rendered(name, {**FULL, extra: EXTRAS.get(extra)}, language).text)
        assert text.count("?") <= 1, text
        assert len(text.split()) <= WORDS_MAX or name in LONG_ON_PURPOSE, text


@pytest.mark.parametrize(("name", "language"), [*IN_EACH, *((name, "") for name in NAMES if name not in FACING)])
def test_nothing_is_worn_out_or_shouted(name: str, language: str) -> None:
    words = rendered(name, FULL, language)
    assert name in DOCUMENTS or not WORN_OUT.search(f"{words.subject}\n{words.text}")


# --- what is turned on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("extra", EXTRAS)
def test_an_optional_block_says_nothing_until_its_variable_is_given(extra: str, language: str) -> None:
    block = "blocks/" + {"ask_approach": "how_to_approach", "ask_handled": "handled_well", "ask_why": "why_us"}.get(
        extra, extra
    )
    for off in (FULL, {**FULL, extra: None}):
        assert not TEMPLATES.render(block, off, language).text.strip()
    said = TEMPLATES.render(block, {**FULL, extra: EXTRAS[extra]}, language).text
    assert EXTRAS[extra] in said or said.count("?") == 1


def test_each_optional_block_is_ready_in_an_email_whose_sequence_takes_its_variable() -> None:
    needed = {name for s in SEQUENCES for name in s.needs} | {
        "ask_why",
        "ask_handled",
    }  # these two stand on where they are
    assert EXTRAS.keys() <= needed
    for extra, value in EXTRAS.items():
        on = [n for n in EMAILS if rendered(n, {**FULL, "referral": {"state": "won"}, extra: value}).text != rendered(
            n, {**FULL, "referral": {"state": "won"}}).text]  # fmt: skip
        assert on or extra.startswith("ask_"), extra


def test_the_agreement_says_all_that_was_agreed() -> None:
    agreed = (
        "partner",
        "qualified_lead",
        "reward",
        "payout_term",
        "repeat_purchases",
        "exclusivity",
        "confidentiality",
    )
    for language in LANGUAGES:
        text = rendered("agreement", FULL, language).text
        assert [name for name in (*agreed, "begins", "notice", "law") if FULL[name] not in text] == []


# --- in another language ---------------------------------------------------------------------------------------------


def said_of(name: str) -> set[str]:
    """The variables of a template. Whom German calls by the full name, English calls by the first."""
    return {use.path.replace(".first_name", ".name") for use in TEMPLATES.uses(name)}


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language])
@pytest.mark.parametrize("name", FACING)
def test_every_template_for_clients_has_a_sister_with_the_same_variables(name: str, language: str) -> None:
    assert TEMPLATES.in_language(name, language) == f"{name}.{language}"
    assert said_of(f"{name}.{language}") == said_of(name)


def test_nothing_is_translated_that_is_not_there_or_is_for_the_rep() -> None:
    assert {name.partition(".")[0] for name in SOURCES if "." in name} == set(FACING)


@pytest.mark.parametrize("values", [FULL, BARE], ids=["full", "bare"])
@pytest.mark.parametrize("name", [name for name in FACING if name not in BLOCKS])
def test_every_sister_asks_as_often_links_as_much_and_shows_as_many_parts(name: str, values: dict[str, Any]) -> None:
    link = {"intro_link": "https://one.example/click"}
    one, other = (
        TEMPLATES.render(name, {**values, "problem": FULL["problem"], **link, "rep": FULL["rep"]}, language)
        for language in LANGUAGES
    )
    assert one.text.count("?") == other.text.count("?")
    for part in (r'href="[^"]*"', r"<h\d", r"<li", r"<hr"):
        assert re.findall(part, one.html) == re.findall(part, other.html)


@pytest.mark.parametrize("name", [name for name in FACING if name not in BLOCKS])
def test_german_is_formal_and_german(name: str) -> None:
    text = rendered(name, FULL, "de").text
    source = " ".join((ROOT / f"templates/{part}.de.md").read_text() for part in (name, "blocks/sign_off"))
    words = re.sub(r"\{[%{].*?[%}]\}|^---.*?^---$", " ", source, flags=re.S | re.M)
    assert not re.search(r"\b(du|dich|dir|deine?[rmns]?|euch|euer)\b", text, re.IGNORECASE)
    assert not re.search(r"\b(the|and|you|your|with|for|of|to|Hi|regards)\b", words)
    assert name in DOCUMENTS or re.match(
        r"(Dana Weber, danke .+\n\n)?Guten Tag (Dana Weber|Barry Jones),\n\n([a-zäöü]|Sie |Ihr )", text
    )


# --- threads, prospects, scenarios -----------------------------------------------------------------------------------


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda s: s.key)
def test_a_thread_keeps_its_subject(sequence: Sequence) -> None:
    in_one = [step.email for step in sequence.steps if step.email and step.thread != "new"]
    if sequence.key == "advocacy":  # one of the two goes out, never both
        in_one.remove("advocacy/case_study")
    for language in LANGUAGES:
        assert len({rendered(name, FULL, language).subject for name in in_one}) == 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_link_says_what_the_email_shows(language: str) -> None:
    shown = rendered("intro_template/introduction", FULL, language).text.partition("——")[2]
    assert shown.lstrip("— \n") == TEMPLATES.render("introduction", FULL, language).text


@pytest.mark.real
@pytest.mark.parametrize("language", LANGUAGES)
def test_one_click_opens_the_introduction_in_a_mail_program(
    language: str, clicked: Callable[[str], EmailMessage]
) -> None:
    values = {
        **FULL,
        "prospect": {**FULL["prospect"], "name": "Bärry & Sons? 100 % #1 – 田中", "company": "Öl + Gas = 1"},
    }
    words = TEMPLATES.render("introduction", values, language)
    draft = clicked(mailto_in(rendered("intro_template/introduction", values, language).html))
    assert (draft["To"], draft["Cc"]) == (BARRY["email"], FULL["rep"]["email"])
    assert not draft["Bcc"]
    assert draft["Subject"] == words.subject
    assert draft.get_payload(decode=True).decode().splitlines() == words.text.splitlines()  # RFC 6068 §5: CRLF


@pytest.mark.parametrize(
    ("language", "told"), [("", "rather not hear from me"), ("de", r"lieber nichts( mehr)? von mir")]
)
def test_a_stranger_is_told_how_to_hear_no_more_and_nobody_else_is_lectured(language: str, told: str) -> None:
    for sequence in SEQUENCES:
        for step in sequence.steps:
            if step.email:
                stranger = sequence.to == "prospect" and step.email not in AMONG_FRIENDS
                assert bool(re.search(told, rendered(step.email, FULL, language).text)) == stranger, step.email


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


# --- what starts by itself -------------------------------------------------------------------------------------------


def triggers() -> list[Trigger]:
    found, problems = parse_triggers("sequences/triggers.yaml", (ROOT / "sequences/triggers.yaml").read_text())
    assert not problems
    return found


def test_no_schedule_falls_into_the_weeks_of_the_demo() -> None:
    crons = [trigger.cron for trigger in triggers() if trigger.cron]
    assert crons
    for cron in crons:
        slot = next_slot(cron, story.ZONE, story.BEGIN)
        assert slot and slot.at > story.END, cron


NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def holds(condition: str | None, **dates: datetime | None) -> bool:
    known = dict.fromkeys(("introduced_at", "contacted_at", "met_at", "won_at", "lost_at"))
    referral = {"state": "named", **known, **dates}
    return bool(TEMPLATES.expression(condition or "true", {"referral": referral, "enrollment": {"begun_at": NOON}}))


@pytest.mark.parametrize("days", [0, 3, 13, 14, 15, 40])
@pytest.mark.parametrize("state", ["met", "won", "lost"])
def test_of_each_news_the_client_hears_once(state: str, days: int) -> None:
    """The thank-you's update and the referral update share it: what the one tells, the other leaves out."""
    (told,) = (trigger for trigger in triggers() if trigger.referral == state)
    thanks = next(step for s in SEQUENCES if s.key == "thank_you" for step in s.steps if step.id == "update")
    dates = {"introduced_at": NOON, f"{state}_at": NOON + timedelta(days=days)}
    assert holds(told.condition, **dates) != holds(thanks.condition, **dates)


@pytest.mark.parametrize("state", ["met", "won", "lost"])
def test_a_client_who_made_no_introduction_hears_only_of_a_prospect_who_has_answered(state: str) -> None:
    (told,) = (trigger for trigger in triggers() if trigger.referral == state)
    assert not holds(told.condition, **{f"{state}_at": NOON})
    assert holds(told.condition, **{"contacted_at": NOON, f"{state}_at": NOON})
