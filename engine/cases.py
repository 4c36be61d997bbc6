"""Messages that somebody has labelled with what they mean, in a folder: read to measure the classifier, and kept one by one as test
cases of a project. A label is an event, or one of the coarse classes of public test mail."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.core.classify.report import COARSE
from engine.core.model import Event
from engine.errors import UserError

EXPECTED = "expected.toml"
LABELS = frozenset({*(str(event) for event in Event), *COARSE})
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,80}")


@dataclass(frozen=True)
class Case:
    """One message file with its label; `also` are labels that are just as right."""

    file: Path
    label: str
    also: tuple[str, ...] = ()


def read_cases(folder: Path) -> list[Case]:
    """The labelled messages of a folder: by its expected.toml (`["name.eml"]`, `event = "reply"`), or by folders named for what is
    in them (`declined/…`). Raises UserError where there are none, or a label is unknown."""
    if not folder.is_dir():
        raise UserError("is no folder", str(folder), "name a folder of labelled messages")
    cases = list(_listed(folder) if (folder / EXPECTED).is_file() else _sorted(folder))
    if not cases:
        remedy = f"label them in {EXPECTED}, or sort them into folders named by their event (declined/, reply/ …)"
        raise UserError("holds no labelled messages", str(folder), remedy)
    return cases


def _listed(folder: Path) -> Iterator[Case]:
    file = folder / EXPECTED
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot be read: {error}", str(file), 'write ["name.eml"] and below it event = "reply"'
        ) from None
    for name, what in found.items():
        also = what.get("also", []) if isinstance(what, dict) else []
        label = what.get("event", "") if isinstance(what, dict) else ""
        for each in (label, *also):
            _known(each, f"{file}: {name}")
        if not (folder / name).is_file():
            raise UserError(f"names {name}, which is not there", str(file), "take it out, or put the message there")
        yield Case(folder / name, label, tuple(also))


def _sorted(folder: Path) -> Iterator[Case]:
    for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(file for file in sub.rglob("*") if file.is_file() and not file.name.startswith("."))
        if files:
            _known(sub.name, str(sub))
        yield from (Case(file, sub.name) for file in files)


def _known(label: object, where: str) -> None:
    if label not in LABELS:
        raise UserError(f"is labelled {label!r}, which is no event", where, f"there are {', '.join(sorted(LABELS))}")


def save_case(folder: Path, name: str, raw: bytes, event: str) -> Path:
    """Keeps a message as `name`.eml with its event; returns where. Raises UserError where that name is taken or the event
    unknown."""
    _known(event, name)
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name for a test case", remedy="use small letters, digits, _ and -")
    folder.mkdir(parents=True, exist_ok=True)
    file, expected = folder / f"{name}.eml", folder / EXPECTED
    try:
        with file.open("xb") as out:
            out.write(raw)
    except FileExistsError:
        raise UserError("is there already", str(file), "choose another name") from None
    before = expected.read_text(encoding="utf-8") if expected.is_file() else ""
    head = before.rstrip("\n") + "\n\n" if before.strip() else ""
    expected.write_text(f"{head}[{json.dumps(file.name)}]\nevent = {json.dumps(event)}\n", encoding="utf-8")
    return file
