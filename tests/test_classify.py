"""What came back: every message of `mail/` means what its name says, and structure comes before words."""

from __future__ import annotations

import pytest
from labelled import OWN, OWN_READER, Labelled, own

from engine.core.classify import DETECTORS, classify, read
from engine.core.classify.report import Row, confusion, table
from engine.core.message import parse
from engine.core.model import HUMAN, Event, Reader, Reading
from engine.core.phrases import Phrasebook, phrasebook, plain

MESSAGES = list(own())
REPORT = "Content-Type: multipart/report; report-type=delivery-status; boundary=b"


def reading(*headers: str, body: str = "", reader: Reader = OWN_READER) -> Reading:
    return classify(parse(("\n".join(headers) + "\n\n" + body).encode()), reader)


@pytest.mark.io
@pytest.mark.parametrize("message", MESSAGES, ids=[one.name for one in MESSAGES])
def test_a_message_means_what_its_name_says(message: Labelled) -> None:
    """Where it is not clear enough to act on, `reply` is right too: the rep decides."""
    found = message.read(OWN_READER)
    unclear = {"reply"} if message.label in ("confirmed", "declined", "named", "introduced") else set()
    assert found.event.value in {message.label, *unclear}


def test_every_message_has_its_line() -> None:
    assert {path.name for path in OWN.glob("*.eml")} == {one.name for one in MESSAGES}


def test_the_last_detector_always_answers_and_the_order_is_fixed() -> None:
    assert [detector.__name__ for detector in DETECTORS][0] == "abuse"
    assert [detector.__name__ for detector in DETECTORS][-1] == "answer"
    assert reading("From: a@b.example").events == (Event.REPLY,)


@pytest.mark.io
def test_human_events_end_with_reply() -> None:
    for message in MESSAGES:
        events = message.read(OWN_READER).events
        if events[0] in HUMAN:
            assert events[-1] is Event.REPLY


def test_a_bounce_says_what_it_is_about() -> None:
    found = (OWN / "bounce_user_unknown.eml").read_bytes()
    _, bounced = read(found, OWN_READER)
    assert bounced.recipients == ("gone@marlowpress.example",)
    assert bounced.status == "5.1.1"
    assert bounced.originals == ("<o-77@brightfield.example>",)
    assert bounced.rule == "dsn:5.1.1"


def test_a_delivered_report_is_no_bounce() -> None:
    body = "--b\nContent-Type: message/delivery-status\n\nFinal-Recipient: rfc822;a@b.example\nAction: delivered\nStatus: 2.0.0\n\n--b--"
    assert reading("From: mailer-daemon@x.example", REPORT, body=body).event is Event.IGNORED


@pytest.mark.parametrize(
    "header", ["X-Auto-Response-Suppress: All", "Precedence: list", "X-Auto-Response-Suppress: OOF\nPrecedence: bulk"]
)
def test_headers_that_prove_nothing_dismiss_nobody(header: str) -> None:
    found = reading(
        "From: dana@acme.example",
        "To: kim@brightfield.example",
        "In-Reply-To: <1@brightfield.example>",
        header,
        body="Who is this?",
    )
    assert found.event is Event.REPLY


@pytest.mark.parametrize(
    "body",
    [
        "This is an automatic reply. My email address has changed, please use dana@new.example.",
        "Ceci est une réponse automatique. J'ai changé d'adresse électronique : dana@new.example.",
        "Odpowiedź automatyczna: zmieniłem adres e-mail. Proszę pisać na nowy adres: dana@new.example.",
    ],
)
def test_a_note_that_says_itself_that_a_machine_wrote_it_names_nobody(body: str) -> None:
    found = reading("From: dana@acme.example", "To: kim@brightfield.example", "Subject: Re: Hi", body=body)
    assert (found.event, found.people) == (Event.AUTO_REPLY, ())


def test_a_person_who_tells_of_such_a_note_has_answered() -> None:
    body = "I got an automatic reply from Ned Carver: he has left the company."
    found = reading("From: dana@acme.example", "To: kim@brightfield.example", "In-Reply-To: <1@x>", body=body)
    assert found.event in HUMAN


def test_a_list_header_that_a_company_adds_does_not_make_an_answer_list_mail() -> None:
    found = reading(
        "From: dana@acme.example",
        "To: kim@brightfield.example",
        "In-Reply-To: <1@brightfield.example>",
        "List-Unsubscribe: <https://acme.example/u>",
        body="Not this one, please do not ask me again.",
    )
    assert found.event in HUMAN


def test_words_of_an_opt_out_in_the_quoted_mail_do_nothing() -> None:
    body = "Sounds interesting, who asks?\n\nOn 3/2/26 9:00 AM, Kim wrote:\n> Unsubscribe: reply unsubscribe\n"
    assert reading("From: dana@acme.example", "To: kim@brightfield.example", body=body).event is Event.REPLY


def test_several_events_of_one_message_are_all_told() -> None:
    body = "Promise kept, all three done.\nTalk to Ned Carver, ned@carver.example.\n"
    found = reading("From: dana@acme.example", "To: kim@brightfield.example", "In-Reply-To: <1@x>", body=body)
    assert found.events == (Event.NAMED, Event.CONFIRMED, Event.REPLY)


REVIEW = "\n\nOn 3/2/26 9:00 AM, Kim wrote:\n> Did we keep our promise? Reply YES to confirm.\n"


def answered(words: str, asked: str = REVIEW) -> Event:
    return reading(
        "From: dana@acme.example", "To: kim@brightfield.example", "In-Reply-To: <1@x>", body=words + asked
    ).event


@pytest.mark.parametrize(
    "told",
    [
        "My boss, who never smiles, smiled.",
        "I was asked to do the same for my brother, who has not slept since March.",
        "Nobody works late any more and the dog has stopped recognising me.",
    ],
)
def test_beside_a_full_yes_a_denial_in_what_is_told_is_no_doubt(told: str) -> None:
    assert answered(f"Promise kept, all three. {told}") is Event.CONFIRMED
    assert answered(f"{told} So yes, promise kept.") is Event.CONFIRMED
    assert answered(f"The close is quicker, yes. {told}") is Event.REPLY


@pytest.mark.parametrize(
    "reservation",
    [
        "The orders view is still missing in Leeds.",
        "However, the second invoice is wrong.",
        "You never told us about the second licence.",
        "I would like to talk about the price.",
        "Not quite.",
        "Almost.",
        "The support on the phone, no.",
        "Ask me again in March.",
    ],
)
def test_a_reservation_takes_a_full_yes_back(reservation: str) -> None:
    assert answered(f"Promise kept, all three. {reservation}") is Event.REPLY


def test_a_name_with_an_at_before_it_is_no_address() -> None:
    assert answered("@Kim Yes, all three. Thanks!") is Event.CONFIRMED


def test_a_number_of_what_was_promised_that_falls_short_takes_a_yes_back() -> None:
    asked = "\n\nOn 3/2/26 9:00 AM, Kim wrote:\n> Month-end close in five days. Did we keep our promise? Reply YES to confirm.\n"
    for told, event in [
        ("It took us seven days in March.", Event.REPLY),
        ("It took us four days in March.", Event.CONFIRMED),
    ]:
        assert answered(f"Promise kept. {told}", asked) is event, told


def test_a_yes_beside_an_address_of_which_nobody_knows_why_is_for_the_rep() -> None:
    assert (
        answered("Yes, all three. Sent from the train by way of ops@elsewhere.example since mine is down.")
        is Event.REPLY
    )


def test_who_has_left_gets_a_note_with_the_successor() -> None:
    found = next(one for one in MESSAGES if one.name == "left_company_en.eml").read(OWN_READER)
    assert found.note == "has left: carol.mains@marlowpress.example"


def book_of(*phrases: str) -> Phrasebook:
    book = Phrasebook()
    book.add("xx", {"phrases": {"some": list(phrases)}})
    return book


def test_phrases_are_plain_words_with_choices_and_gaps() -> None:
    book = book_of("(do not|dont) call (me|us)", "never … again", "bestatig*", "送らないで")
    assert [hit.phrase for hit in book.find("some", plain("Please don't call us."))] == ["(do not|dont) call (me|us)"]
    assert book.find("some", plain("Never write to me again"))
    assert book.find("some", plain("Ich bestätige das"))
    assert book.find("some", plain("もう送らないでください"))
    assert not book.find("some", plain("nothing of the kind"))
    found = book_of("(kept|keep*)").find("some", "keep keeping upkeep kept")
    assert [hit.start for hit in found] == [0, 5, 20], "each once, and no part of a word"
    with pytest.raises(ValueError, match="stem of less than 3 letters"):
        book_of("ha* spoken")


@pytest.mark.parametrize(
    ("phrase", "found", "not_found"),
    [
        ("mark(ed|ing)? this", ["mark this", "marked this", "marking this"], ["marks this", "mark ed this"]),
        ("un(able|willing) to", ["unable to", "i am unwilling to"], ["un able to", "able to"]),
        ("hope you(ll| will)? see", ["hope you see", "hope youll see", "hope you will see"], ["hope youths see"]),
        ("a (business |v)card", ["a business card", "a vcard"], ["a card", "a businesscard"]),
        ("pass( on this)? (a |)please", ["pass please", "pass on this a please"], ["passon this please"]),
    ],
)
def test_a_choice_without_a_space_is_a_part_of_the_word(phrase: str, found: list[str], not_found: list[str]) -> None:
    book = book_of(phrase)
    assert [text for text in found + not_found if book.has("some", text)] == found


def test_ops_can_bring_phrases_of_their_own() -> None:
    book = Phrasebook()
    book.add("xx", {"stop": ["zum"], "phrases": {"optout": ["lass das"]}})
    assert book.has("optout", plain("Lass das!"))


def test_all_fourteen_languages_have_the_kinds_that_decide() -> None:
    kinds = phrasebook().kinds
    for language in ("en", "de", "fr", "es", "it", "nl", "pt", "pl", "sv", "da", "fi", "cs", "ja", "zh"):
        for kind in ("absence_text", "optout", "yes", "no", "doubt", "lead", "intro"):
            phrases = kinds[kind]
            every = [one for group in (*phrases.alike.values(), phrases.cjk) for one in group]
            assert any(spoken == language for _, spoken in every), (language, kind)


def test_the_report_counts_by_label() -> None:
    right, wrong = Reading((Event.BOUNCED,), "dsn:5.1.1"), Reading((Event.SOFT_BOUNCED,), "dsn:4.2.2")
    found = confusion(
        [
            Row("a", "bounce_hard", right),
            Row("b", "bounce_hard", wrong),
            Row("c", "bounce_soft", right, ("bounce_hard",)),
        ]
    )
    assert found.score("bounce_hard").recall == pytest.approx(2 / 3)
    assert found.wrong == (("b", "bounce_hard", "bounce_soft", "dsn:4.2.2"),)
    assert table(found)[0] == ["", "bounce_hard", "bounce_soft", "there", "precision", "recall"]
