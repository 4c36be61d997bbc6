"""Who is given by an answer, and who is only mentioned."""

from __future__ import annotations

import pytest

from engine.core.classify import classify, names
from engine.core.message import parse
from engine.core.model import Person, Reader

READER = Reader(rep=frozenset({"kim@brightfield.example"}), colleagues=frozenset({"brightfield.example"}))


def given(text: str, reader: Reader = READER, *headers: str) -> list[tuple[str, str, str]]:
    head = (
        "From: Beth Okafor <beth@marlow.example>",
        "To: kim@brightfield.example",
        "In-Reply-To: <1@brightfield.example>",
        *headers,
    )
    reading = classify(parse("\n".join((*head, "", text)).encode()), reader)
    return [(person.name, person.email, person.company) for person in reading.people]


@pytest.mark.parametrize(
    ("text", "person"),
    [
        ("Talk to Harriet Lowe, harriet@penny.example.", ("Harriet Lowe", "harriet@penny.example", "")),
        ("owen.baxter@brew.example", ("Owen Baxter", "owen.baxter@brew.example", "")),
        (
            "Try Pia van Dam van Dam Zuivel, pia.vandam@damzuivel.example",
            ("Pia van Dam", "pia.vandam@damzuivel.example", ""),
        ),
        ("Kontaktieren Sie Herrn Dr. Max Ulm (m.ulm@ulm.example).", ("Max Ulm", "m.ulm@ulm.example", "")),
        ("Ota yhteyttä Juha Niemeen, juha.niemi@saha.example", ("Juha Niemi", "juha.niemi@saha.example", "")),
        ("Call Rosa Díaz-Hunt, rdh@feed.example", ("Rosa Díaz-Hunt", "rdh@feed.example", "")),
        ("Speak to Marguerite Bell at Sandstone Ceramics.", ("Marguerite Bell", "", "Sandstone Ceramics")),
    ],
)
def test_a_person_is_given(text: str, person: tuple[str, str, str]) -> None:
    assert given(text) == [person]


@pytest.mark.parametrize(
    "text",
    [
        "Please do not contact Harriet Lowe (harriet@penny.example) yet.",
        "Talk to my colleague Gwen, gwen@marlow.example.",
        "Talk to Kim, kim@brightfield.example.",
        "Please call the switchboard: info@penny.example",
        "Try my private address, beth.okafor@mail.example.",
        "Harriet Lowe is at Penny Farms but they are too small.",
        "Hi Kim,\n\nwe went to London with Tom Marsh at Easter. Lovely.",
        "Our accountant Jo Fenn, jo@fenn.example, will pay the invoice. Contact me with questions.",
    ],
)
def test_who_is_only_mentioned_is_not_given(text: str) -> None:
    assert given(text) == []


def test_a_known_prospect_is_not_given_again() -> None:
    reader = Reader(rep=READER.rep, prospects=(Person(name="Barry Jones", email="barry@acme.example"),))
    assert given("Talk to Barry Jones, barry@acme.example.", reader) == []


def test_whom_the_quoted_mail_names_is_not_given() -> None:
    assert (
        given("Ask Barry Jones at Acme Tools.\n\nOn 3/2/26 9:00 AM, Kim wrote:\n> could you introduce Barry Jones?")
        == []
    )


def test_an_introduction_gives_the_stranger_and_nobody_of_either_company() -> None:
    raw = (
        "From: Beth <beth@marlow.example>\nTo: Robin Falk <robin@falk.example>, Lee <lee@marlow.example>\n"
        "Cc: kim@brightfield.example, pat@brightfield.example\nSubject: hi\n\nRobin, meet Kim.\n"
    )
    reading = classify(parse(raw.encode()), READER)
    assert reading.event.value == "introduced"
    assert [person.email for person in reading.people] == ["robin@falk.example"]


def test_a_prospect_who_answers_all_introduces_nobody() -> None:
    raw = (
        "From: Robin <robin@falk.example>\nTo: kim@brightfield.example\nCc: Beth Okafor <beth@marlow.example>\n"
        "In-Reply-To: <1@marlow.example>\nSubject: Re: hi\n\nThanks Beth! Kim, shall we talk on Monday?\n"
    )
    client = Person(name="Beth Okafor", email="beth@marlow.example")
    reader = Reader(rep=READER.rep, client=client, prospects=(Person(email="robin@falk.example"),))
    assert classify(parse(raw.encode()), reader).event.value == "reply"


def test_names_come_apart_from_companies() -> None:
    text = "Femke Jansen van Jansen Zuivel und Frau Dr. Katrin Vollmer von der Hansewerk GmbH"
    assert [run.text for run in names.runs(text, 0, len(text))] == [
        "Femke Jansen",
        "Jansen Zuivel",
        "Katrin Vollmer",
        "Hansewerk GmbH",
    ]


def test_the_address_shows_the_form_of_a_name() -> None:
    assert names.base_form("Marka Zielińskiego", "marek.zielinski@x.example") == "Marek Zieliński"
    assert names.base_form("Petra Dvořáka", "petr.dvorak@x.example") == "Petr Dvořák"
