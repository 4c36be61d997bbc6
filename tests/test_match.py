"""To which email, person and enrollment a message belongs: by what it names, then by who wrote it, never by a subject alone."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.core import match
from engine.core.match import Known
from engine.core.message import parse
from engine.core.model import Contact, Enrollment, Event, OutboxMessage, OutboxState, Person, Reading, State

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DANA = Contact("dana", "dana@acme.test")
TEXT = "How is the month-end closing at yours these days, and what takes longest?\n\nSam"
OURS = OutboxMessage(
    "m1", "e1", "first", 1, 0, "sam@demo.test", "dana", "dana@acme.test", OutboxState.SENT, NOW, NOW, False,
    message_id="<abcdefgh@demo.test>", own_id="<ownownown@demo.test>", subject="Hello Dana", text=TEXT,
)  # fmt: skip


def sent(ids: Iterable[str]) -> OutboxMessage | None:
    return OURS if {OURS.message_id, OURS.own_id} & set(ids) else None


KNOWN = Known(
    sent=sent,
    contact=lambda id: DANA if id == "dana" else None,
    at=lambda address: DANA if address in ("dana@acme.test", "d.w@home.test") else None,
    colleagues=lambda address: [DANA] if address.endswith("@acme.test") else [],
    last=lambda contact: OURS if contact == "dana" else None,
)


def mail(text: str = "Yes.", sender: str = "dana@acme.test", subject: str = "Re: Hello Dana", **headers: str) -> Any:
    lines = [f"From: {sender}", f"Subject: {subject}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return parse("\r\n".join([*lines, "", text]).encode())


# --- by what it names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"In_Reply_To": OURS.message_id},
        {"References": f"<a@b.test> {OURS.message_id} <c@d.test>"},
        {"References": OURS.own_id},
        {"In_Reply_To": f"some words {OURS.message_id}"},
    ],
)
def test_an_id_in_the_headers_is_enough_whoever_wrote_it(headers: dict[str, str]) -> None:
    found = match.by_reference(mail(sender="who@ever.test", **headers), KNOWN)
    assert (found.rule, found.email, found.contact) == ("reference", OURS, DANA)


def test_an_id_in_the_text_is_enough_too() -> None:
    found = match.by_reference(mail(f"> Message-ID: {OURS.message_id}\n> Subject: x", sender="who@ever.test"), KNOWN)
    assert found.rule == "own_id"


def test_strange_ids_are_nobodys_and_no_number_of_them_hurts() -> None:
    many = " ".join(f"<{n:08}@else.test>" for n in range(5_000))
    assert match.by_reference(mail(References=many), KNOWN).rule == ""
    assert match.by_reference(mail("<" * 100_000 + "@" * 100_000), KNOWN).rule == ""


# --- by a report -----------------------------------------------------------------------------------------------------


def report(originals: tuple[str, ...], recipients: tuple[str, ...]) -> Reading:
    return Reading((Event.BOUNCED,), "dsn", originals=originals, recipients=recipients)


def test_a_report_names_an_email_of_ours_and_its_recipient() -> None:
    assert match.by_report(report((OURS.message_id,), ("DANA@acme.test",)), KNOWN).rule == "report"
    assert match.by_report(report((OURS.message_id,), ("lee@acme.test",)), KNOWN).rule == ""
    assert match.by_report(report(("<x@y.test>",), ("dana@acme.test",)), KNOWN).rule == ""
    assert match.by_report(report((), ("dana@acme.test",)), KNOWN).rule == ""


# --- by its sender ---------------------------------------------------------------------------------------------------


def test_a_contact_is_known_by_any_of_their_addresses() -> None:
    for address in ("dana@acme.test", "D.W@home.test"):
        found = match.by_sender(mail(sender=address, subject="Anything"), KNOWN)
        assert (found.rule, found.contact) == ("sender", DANA)


def test_a_colleague_who_quotes_us_is_an_answer_however_it_was_wrapped() -> None:
    wrapped = "Lee here.\n> How is the month-end closing at yours\n> these days, and what takes\n> longest?\n"
    assert match.by_sender(mail(wrapped, sender="lee@acme.test", subject="x"), KNOWN).rule == "quote"


def test_a_colleague_with_our_subject_is_only_a_guess() -> None:
    assert match.by_sender(mail(sender="lee@acme.test"), KNOWN).rule == "maybe"
    assert match.by_sender(mail(sender="lee@acme.test", subject="AW: RE: hello dana"), KNOWN).rule == "maybe"
    assert match.by_sender(mail(sender="lee@acme.test", subject="Lunch"), KNOWN).rule == ""
    assert match.by_sender(mail(sender="lee@acme.test", subject=""), KNOWN).rule == ""


def test_never_by_subject_or_reply_to_alone() -> None:
    stranger = mail(sender="x@spam.test", Reply_To="dana@acme.test")
    assert match.by_reference(stranger, KNOWN).rule == match.by_sender(stranger, KNOWN).rule == ""


@pytest.mark.parametrize("ours", ["", "Hi", "Thank you so much", "\n\n"])
def test_short_lines_of_ours_in_a_text_are_an_accident(ours: str) -> None:
    assert not match.quotes("Hi! Thank you so much for this. " * 5, ours)


# --- who hears it ----------------------------------------------------------------------------------------------------


def enrollment(id: str, state: State = State.ACTIVE, day: int = 0, parent: str = "", prospect: str = "") -> Enrollment:
    variables = {"prospect": {"name": prospect.title(), "email": f"{prospect}@north.test"}} if prospect else {}
    at = NOW + timedelta(days=day)
    return Enrollment(id, "s", "v", "dana", "dana", "sam", id, at, at, state=state, variables=variables, parent=parent)


def heard(enrollments: list[Enrollment], answered: str = "", event: Event = Event.REPLY, *people: Person) -> str:
    found = match.hearer(enrollments, answered, (event,), people)
    return found.id if found else ""


def test_the_one_whose_email_is_answered_hears_it() -> None:
    for state in (State.ACTIVE, State.HELD, State.PAUSED, State.WAITING, State.LISTENING):
        assert heard([enrollment("a", state), enrollment("b", day=5, prospect="sue")], "a") == "a"


def test_the_same_that_was_begun_anew_hears_what_the_one_that_only_listens_would() -> None:
    assert heard([enrollment("a", State.LISTENING), enrollment("again", day=5)], "a") == "again"
    assert heard([enrollment("a", State.LISTENING), enrollment("ended", State.STOPPED, 5)], "a") == "a"


def test_when_that_one_has_ended_its_youngest_running_descendant_hears_it() -> None:
    family = [
        enrollment("a", State.STOPPED),
        enrollment("child", State.STOPPED, 1, parent="a"),
        enrollment("grandchild", day=2, parent="child"),
        enrollment("younger", day=3, parent="a"),
        enrollment("stranger", day=9),
    ]
    assert heard(family, "a") == "younger"
    assert heard(family[:3], "a") == "grandchild"
    assert heard(family[:2], "a") == "a", "and if nothing of it runs, the ended one: the rep is asked"


def test_without_an_answered_email_the_youngest_that_runs_hears_it() -> None:
    every = [
        enrollment("ended", State.STOPPED, 9),
        enrollment("listens", State.LISTENING, 8),
        enrollment("runs"),
        enrollment("new", day=1),
    ]
    assert heard(every) == "new"
    assert heard(every[:2]) == "listens"
    assert heard(every[:1]) == "ended"
    assert heard([]) == ""


def test_an_introduction_is_heard_by_the_one_about_that_prospect() -> None:
    about = [enrollment("barry", prospect="barry"), enrollment("sue", day=5, prospect="sue"), enrollment("ask", day=9)]
    assert heard(about, "ask", Event.INTRODUCED, Person(email="barry@north.test")) == "barry"
    assert heard(about, "ask", Event.INTRODUCED, Person(name="SUE", email="other@address.test")) == "sue"
    assert heard(about, "ask", Event.INTRODUCED, Person(email="new@x.test")) == "ask"
    ended = [enrollment("barry", State.STOPPED, prospect="barry"), enrollment("ask")]
    assert heard(ended, "ask", Event.INTRODUCED, Person(email="barry@north.test")) == "ask"


def test_an_introduction_of_several_is_heard_by_the_one_about_each() -> None:
    about = [enrollment("barry", prospect="barry"), enrollment("sue", day=5, prospect="sue"), enrollment("ask", day=9)]
    barry, sue, new = (Person(n.title(), f"{n}@north.test") for n in ("barry", "sue", "new"))
    introduced = (Event.INTRODUCED, Event.REPLY)
    ids = lambda people: [(e.id, those) for e, those in match.hearers(about, "ask", introduced, people)]
    assert ids((barry, sue)) == [("barry", (barry,)), ("sue", (sue,))]
    assert ids((new, sue)) == [("sue", (sue, new))], "whom nobody waits for goes with the first"
    assert ids((new,)) == [("ask", (new,))]
    assert ids(()) == [("ask", ())]
    named = match.hearers(about, "ask", (Event.NAMED, Event.REPLY), (barry, sue))
    assert [(e.id, those) for e, those in named] == [("ask", (barry, sue))]
    assert match.hearers([], "", introduced, (barry,)) == []
