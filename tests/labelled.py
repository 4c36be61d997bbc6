"""Labelled messages for tests: the project's own, and the corpus of public ones where it is present."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.core.classify import read
from engine.core.classify.report import COARSE, Row
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
        return read(self.raw, reader)[1]


def own() -> Iterator[Labelled]:
    for name, what in tomllib.loads((OWN / "expected.toml").read_text(encoding="utf-8")).items():
        people = tuple(what.get("people", ()))
        yield Labelled(
            name, (OWN / name).read_bytes(), what["event"], tuple(what.get("also", ())), people, what.get("until", "")
        )


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


__all__ = [
    "COARSE",
    "CORPUS",
    "CORPUS_READER",
    "OWN",
    "OWN_READER",
    "Labelled",
    "answers",
    "odd",
    "own",
    "public",
    "rows",
    "written",
]
