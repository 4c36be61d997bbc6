"""The figures: how right the classifier is on the project's own messages, always, and on the public corpus where it is present."""

from __future__ import annotations

import time
from statistics import median

import mutations
import pytest
from labelled import CORPUS, CORPUS_READER, OWN_READER, Labelled, answers, drawn, own, public, rows, texts, written

from engine.core.classify import read
from engine.core.classify.report import Confusion, confusion
from engine.core.model import HUMAN, Event, Reader

PRECISE = ("confirmed", "declined", "named", "introduced")
MUTATIONS = 1000
SECONDS_MAX = 2.0
MILLISECONDS_MEDIAN_MAX = 5.0

corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the public corpus is not beside the project (../shared/corpus)"
)


def figures(found: Confusion, precision: float, recall: float, *labels: str) -> None:
    score = found.score(*labels)
    assert score.precision >= precision, (score, [one for one in found.wrong if one[2] in labels])
    assert score.recall >= recall, (score, [one for one in found.wrong if one[1] in labels])


def hold_on_answers(messages: list[Labelled], reader: Reader) -> None:
    found = confusion(rows(messages, reader))
    figures(found, 0.97, 0.95, "out_of_office", "auto_reply")
    figures(found, 0.97, 0.92, "unsubscribed")
    for label in PRECISE:
        figures(found, 0.97, 0.75, label)


def hold_on_days(messages: list[Labelled], reader: Reader) -> None:
    dated = [one for one in messages if one.until and one.label == "out_of_office"]
    right = [one for one in dated if str(one.read(reader).until or "none").lower() == one.until]
    assert len(right) >= 0.9 * len(dated)


def hold_on_people(messages: list[Labelled], reader: Reader) -> None:
    right = given = there = 0
    for one in messages:
        wanted, got = {person.lower() for person in one.people}, {written(person) for person in one.read(reader).people}
        right, given, there = right + len(wanted & got), given + len(got), there + len(wanted)
    assert right >= 0.85 * given
    assert right >= 0.85 * there


def hold_on_humans(messages: list[Labelled], reader: Reader) -> None:
    """A person's own answer is never dismissed: not as automatic, not as a bounce, not as list mail."""
    human = [one for one in messages if one.label in {event.value for event in HUMAN}]
    assert [one.name for one in human if one.read(reader).event not in HUMAN] == []


def hold_all(messages: list[Labelled], reader: Reader) -> None:
    """In one test: each message is read once."""
    hold_on_answers(messages, reader)
    hold_on_days(messages, reader)
    hold_on_humans(messages, reader)
    if any(one.people for one in messages):
        hold_on_people(messages, reader)


def test_figures_on_our_own_messages() -> None:
    hold_all(list(own()), OWN_READER)


def test_figures_on_words_alone() -> None:
    hold_all(list(texts()), OWN_READER)


@pytest.mark.parametrize("name", [f"texts{number}" for number in [*range(2, 30), 31, 32, 33]])
def test_figures_on_answers_from_real_clients(name: str) -> None:
    hold_all(list(drawn(name)), OWN_READER)


def test_most_look_alikes_of_a_yes_are_left_to_the_rep() -> None:
    figures(confusion(rows(list(drawn("texts30")), OWN_READER)), 0.89, 0.65, "confirmed")


def test_figures_on_what_mail_servers_say() -> None:
    found = confusion(rows([*drawn("bounces"), *drawn("bounces2")], OWN_READER))
    figures(found, 0.99, 0.99, "bounced", "soft_bounced", "delayed")
    figures(found, 0.95, 0.90, "bounced")
    figures(found, 0.90, 0.92, "soft_bounced", "delayed")


@corpus
def test_figures_on_the_answers() -> None:
    hold_all(list(answers()), CORPUS_READER)


@corpus
def test_figures_on_public_mail() -> None:
    found = confusion(rows(list(public()), CORPUS_READER))
    figures(found, 0.99, 0.99, "bounce_hard", "bounce_soft")
    figures(found, 0.95, 0.90, "bounce_hard")
    figures(found, 0.90, 0.92, "bounce_soft")
    figures(found, 0.97, 0.95, "auto_reply")
    figures(found, 0.97, 0.92, "unsubscribe")
    figures(found, 0.0, 0.99, "reply")


@corpus
def test_nobody_who_wrote_in_person_is_dismissed() -> None:
    personal = [one for one in public() if one.label == "reply" and not one.listed]
    dismissed = {Event.AUTO_REPLY, Event.OUT_OF_OFFICE, Event.BOUNCED, Event.SOFT_BOUNCED, Event.DELAYED, Event.IGNORED}
    assert [one.name for one in personal if one.read(CORPUS_READER).event in dismissed] == []


def test_no_mutation_of_a_message_crashes_or_stalls() -> None:
    originals = mutations.originals()
    for raw in originals:
        read(raw, OWN_READER)
    assert [fault for seed in range(MUTATIONS) if (fault := mutations.fault(seed, originals))] == []


MONSTERS = {
    "nested": b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(5000)),
    "parts": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nhi\n" * 100_000,
    "headers": b"X: y\n" * 300_000 + b"\nhi",
    "words": b"Subject: " + b"=?utf-8?q?a" * 100_000 + b"\n\nhi",
    "recipients": b"To: " + b'"a" <a@b.example>, ' * 100_000 + b"\n\nhi",
    "tags": b"Content-Type: text/html\n\n" + b'<a b="' * 300_000,
    "comments": b"Content-Type: text/html\n\n" + b"<!--" * 300_000,
    "attributions": b"\n\n" + b"On 1 wrote\n" * 300_000,
    "addresses": b"\n\n" + b"a@" * 500_000,
    "quotes": b"\n\n" + b"> " * 1_000_000,
    "capitals": b"\n\n" + b"Aa " * 500_000,
    "dates": b"Auto-Submitted: auto-replied\n\n" + b"1.1.2026 - " * 200_000,
    "spaces": b"\n\n" + b" " * 2_000_000,
    "yeses": "Subject: Re: {}\nIn-Reply-To: <1@x>\nContent-Type: text/plain; charset=utf-8\n\n是的。{}".format(
        "to work " * 100, "甲乙是的甲乙。" * 195
    ).encode(),
    "reports": b"Content-Type: message/delivery-status\n\n" + b"Final-Recipient: rfc822; a@b.c\n \n" * 100_000,
}


@pytest.mark.parametrize("name", MONSTERS)
def test_a_monster_costs_less_than_two_seconds(name: str) -> None:
    began = time.process_time()
    read(MONSTERS[name], OWN_READER)
    assert time.process_time() - began < SECONDS_MAX


def test_a_message_of_20_kb_costs_a_few_milliseconds() -> None:
    spent: list[float] = []
    messages = [one.raw + b"\n" + b"> and so on, line after line of what was quoted before\n" * 350 for one in own()]
    for raw in messages:
        began = time.process_time()
        read(raw, OWN_READER)
        spent.append((time.process_time() - began) * 1000)
    assert median(spent) <= MILLISECONDS_MEDIAN_MAX
