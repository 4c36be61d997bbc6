"""Labelled messages for tests: the project's own, and the corpus of public ones where it is present."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mails

from engine.core.classify import read
from engine.core.classify.report import Row
from engine.core.model import Person, Reader, Reading

OWN = Path(__file__).parent / "mail"
CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
OWN_READER = Reader(rep=frozenset({"kim@brightfield.example"}), colleagues=frozenset({"brightfield.example"}))
CORPUS_READER = Reader(rep=frozenset({"sam@northwind.example"}), colleagues=frozenset({"northwind.example"}))


@dataclass(frozen=True)
class Labelled:
    """A message with what a person says it means. `until` is empty where none was asked for, "none" where there is none."""

    name: str
    raw: bytes
    label: str
    also: tuple[str, ...] = ()
    people: tuple[str, ...] = ()
    until: str = ""
    listed: bool = False

    def read(self, reader: Reader) -> Reading:
        return _read(self.raw, reader)


@cache
def _read(raw: bytes, reader: Reader) -> Reading:
    """Several tests ask of the same messages what they mean."""
    return read(raw, reader)[1]


def own() -> Iterator[Labelled]:
    for name, what in tomllib.loads((OWN / "expected.toml").read_text(encoding="utf-8")).items():
        people = tuple(what.get("people", ()))
        yield Labelled(
            name, (OWN / name).read_bytes(), what["event"], tuple(what.get("also", ())), people, what.get("until", "")
        )


#: What was asked, in the words that stand quoted below an answer.
ASKED = {
    "review": ("Did we keep our promise?", "did we keep that promise? Reply YES to confirm. A plain no is fine too."),
    "ask": ("One question", "who else do you know? A name and a company, or jane@company.example. If not, say so."),
    "intro": (
        "Introduction to Barry Jones at Acme",
        "could you introduce me to Barry Jones at Acme? barry@acme.example",
    ),
}


def texts() -> Iterator[Labelled]:
    """Answers and absence notes of which only the words matter, each in a plain message."""
    tables = tomllib.loads((OWN / "texts.toml").read_text(encoding="utf-8"))
    for number, (label, asked, words) in enumerate(tables["answers"]):
        subject, quoted = ASKED[asked]
        head = f"Subject: Re: {subject}\nIn-Reply-To: <1@brightfield.example>\nDate: Tue, 3 Mar 2026 10:00:00 +0000"
        body = f"{words}\n\nAlex\n\nOn Mon, Mar 2, 2026 at 9:00 AM Kim <kim@brightfield.example> wrote:\n\n> {quoted}\n> Unsubscribe\n"
        yield Labelled(f"answer {number}: {words}", _plain(head, body), label)
    for number, (day, words, until) in enumerate(tables["absences"]):
        head = f"Subject: Auto: One question\nAuto-Submitted: auto-replied\nDate: {day} 09:00:00 +0200"
        yield Labelled(f"absence {number}: {words}", _plain(head, words), "out_of_office", until=until)


def drawn(name: str) -> Iterator[Labelled]:
    """Answers, machines' notes and servers' refusals of `tests/mail/NAME.toml`, in the formats that their senders' software writes."""
    tables = tomllib.loads((OWN / f"{name}.toml").read_text(encoding="utf-8"))
    for kind, draw in (("answers", mails.answer), ("machines", mails.machine), ("bounce", mails.bounce)):
        for number, what in enumerate(tables.get(kind, ())):
            called = f"{name} {kind} {number}: {what.get('system', what['words'])}"
            label, people = what.get("label") or what["event"], tuple(what.get("people", ()))
            yield Labelled(called, draw(what), label, (), people, what.get("until", ""))


def _plain(head: str, body: str) -> bytes:
    return f"From: Alex Moor <alex.moor@moorworks.example>\nTo: kim@brightfield.example\n{head}\n\n{body}\n".encode()


def answers() -> Iterator[Labelled]:
    for row in _rows("answers.csv"):
        people = tuple(one.strip() for one in row["people"].split(";") if one.strip())
        yield Labelled(
            row["file"], (CORPUS / "answers" / row["file"]).read_bytes(), row["event"], (), people, row["until"]
        )


def public() -> Iterator[Labelled]:
    for row in _rows("mail.csv"):
        also = (row["also"],) if row["also"] else ()
        yield Labelled(
            row["file"], (CORPUS / row["file"]).read_bytes(), row["label"], also, listed=row["list_mail"] == "1"
        )


def odd() -> list[bytes]:
    return [(CORPUS / row["file"]).read_bytes() for row in _rows("odd.csv")]


def _rows(name: str) -> list[dict[str, str]]:
    with (CORPUS / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def rows(messages: list[Labelled], reader: Reader) -> list[Row]:
    return [Row(one.name, one.label, one.read(reader), one.also) for one in messages]


def written(person: Person) -> str:
    """A person as the labels write them, compared without regard to case."""
    return (f"{person.name} <{person.email}>" if person.email else f"{person.name}, {person.company}").lower()
