"""A folder that others write into: taken when it is finished, told once, whatever stops in between, and mended where it was refused."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import office
import pytest
from office import BOTH, DANA, LEE, Office, library

from engine import folder
from engine.config import Moments
from engine.core.model import Contact
from engine.installation import Installation
from engine.privacy import export, forget
from engine.store import open_store

TRIGGERS = "- {moment: nps, if: 'score >= 9', start: nudge}\n"
HEAD = "email,moment,score\n"
ROWS = f"{DANA},nps,10\n{LEE},nps,9\n"
WAITED = timedelta(seconds=6)
LONG = timedelta(minutes=2)
database = office.one_database


@pytest.fixture
def inst(tmp_path: Path, database: str) -> Iterator[Installation]:
    store = open_store(database)
    there = Office(store, tmp_path)
    for email, name in ((DANA, "Dana Whitfield"), (LEE, "Lee Moran")):
        store.add_contact(Contact("", email, name=name, owner="sam@demo.test"))
    config = replace(there.inst.config, moments=Moments(folder=str(tmp_path / "in")))
    (tmp_path / "in").mkdir()
    yield replace(there.inst, library=library({"triggers": TRIGGERS}), config=config)
    store.close()


@pytest.fixture
def put(inst: Installation):  # type: ignore[no-untyped-def]
    def write(content: str | bytes, name: str = "scores.csv") -> Path:
        file = Path(inst.config.moments.folder) / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


def after(length: timedelta) -> datetime:
    """The clock of files is the system's; only looking is later."""
    return datetime.now(UTC) + length


def take(inst: Installation, length: timedelta = LONG) -> None:
    folder.take_in(inst, after(length))


def started(inst: Installation) -> list[str]:
    return sorted(inst.store.contact(e.contact).email for e in inst.store.all_enrollments())  # type: ignore[union-attr]


def names(inst: Installation, below: str = "") -> list[str]:
    return sorted(
        f.name.partition("-")[2].partition("-")[2] or f.name
        for f in Path(inst.config.moments.folder, below).iterdir()
        if f.is_file()
    )


@BOTH
def test_a_table_is_taken_told_and_laid_aside(inst, put) -> None:  # type: ignore[no-untyped-def]
    put(HEAD + ROWS)
    take(inst)
    assert started(inst) == [DANA, LEE]
    assert names(inst) == [] and names(inst, "taking") == [] and names(inst, "done") == ["scores.csv"]
    assert any("2 rows taken" in line.text for line in inst.store.history_since(datetime(2020, 1, 1, tzinfo=UTC)))


@pytest.mark.parametrize("name", [".scores.csv", "scores.csv.part", "scores.csv.tmp", "scores.csv~", "#scores.csv#"])
def test_what_is_being_written_under_another_name_is_left_alone(inst, put, name: str) -> None:  # type: ignore[no-untyped-def]
    file = put(HEAD + ROWS, name)
    take(inst)
    assert started(inst) == [] and file.exists()
    file.rename(file.with_name("scores.csv"))
    folder.take_in(inst, after(timedelta(seconds=1)))
    assert started(inst) == [], "it counts from when it was renamed"
    take(inst, WAITED)
    assert started(inst) == [DANA, LEE]


def test_at_any_byte_of_the_write_nothing_is_told_twice_or_lost(inst, put) -> None:  # type: ignore[no-untyped-def]
    """The daemon looks after every byte, and believes each time that the writer has long been done."""
    whole = (HEAD + ROWS).encode()
    file = put(b"")
    with file.open("ab", buffering=0) as writer:
        for byte in whole:
            writer.write(bytes([byte]))
            folder.take_in(inst, after(WAITED))
    for _ in range(2):
        folder.take_in(inst, after(LONG))
    assert started(inst) == [DANA, LEE]
    told = [m for contact in inst.store.contacts() for m in inst.store.moments_of(contact.id)]
    assert sorted((m.name, str(m.data["score"])) for m in told) == [("nps", "10"), ("nps", "9")]
    assert (Path(inst.config.moments.folder) / "done").is_dir() and names(inst, "taking") == []


def test_who_goes_on_writing_after_it_was_taken_is_still_heard(inst, put) -> None:  # type: ignore[no-untyped-def]
    file = put(HEAD + ROWS.splitlines()[0] + "\n")
    with file.open("ab", buffering=0) as writer:
        take(inst, WAITED)
        assert started(inst) == [DANA] and names(inst, "taking") == ["scores.csv"]
        writer.write((ROWS.splitlines()[1] + "\n").encode())
        take(inst, WAITED)
        assert started(inst) == [DANA, LEE] and names(inst, "done") == []
    take(inst)
    assert names(inst, "done") == ["scores.csv"] and len(inst.store.all_enrollments()) == 2


@pytest.mark.parametrize("at", ["rename", "write_refused", "tell", "the second row"])
def test_a_stop_anywhere_repeats_nothing_after_a_restart(inst, put, monkeypatch, at: str) -> None:  # type: ignore[no-untyped-def]
    put(HEAD + ROWS + "nobody,nps,9\n")

    class Killed(BaseException):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if at == "rename":
            patch.setattr(Path, "rename", stop)
        elif at == "write_refused":
            patch.setattr(folder, "write_refused", stop)
        elif at == "tell":
            patch.setattr(inst.store, "tell", stop)
        else:
            rows = iter([1])
            real = folder._key
            patch.setattr(folder, "_key", lambda name, row: real(name, row) if next(rows, 0) else stop())
        with pytest.raises(Killed):
            take(inst)
    for days in (0, 1, 2):
        folder.take_in(inst, after(LONG + timedelta(days=days)))
    assert started(inst) == [DANA, LEE]
    assert sum(len(inst.store.moments_of(c.id)) for c in inst.store.contacts()) == 2, (
        "also when it is another day by then"
    )
    assert [n for n in names(inst, "done") if "refused" in n] == ["scores.refused.csv"]


@BOTH
def test_two_daemons_on_one_folder_tell_it_once(inst, put, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    put(HEAD + ROWS)
    real = folder._fed

    def both(*words: object) -> None:
        real(*words)  # type: ignore[arg-type]
        real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(folder, "_fed", both)
    take(inst)
    assert started(inst) == [DANA, LEE] and names(inst, "done") == ["scores.csv"]


@BOTH
def test_refused_rows_are_mended_and_fed_again(inst, put) -> None:  # type: ignore[no-untyped-def]
    put(HEAD + f"{DANA},nps,10\nlee@acme,nps,9\n{LEE},moved,\n")
    take(inst)
    (file,) = Path(inst.config.moments.folder, "done").glob("*.refused.csv")
    rows = list(csv.DictReader(file.open(encoding="utf-8-sig")))
    assert [row["line"] for row in rows] == ["3", "4"] and "nobody has the address lee@acme" in rows[0]["reason"]
    mended = file.read_text(encoding="utf-8-sig").replace("lee@acme,", f"{LEE},").replace("moved", "nps")
    put(mended, file.name)
    take(inst)
    assert started(inst) == [DANA, LEE]


def test_the_same_rows_in_another_file_are_told_by_their_own_words(inst, put) -> None:  # type: ignore[no-untyped-def]
    put(HEAD + ROWS, "march.csv")
    put(HEAD + ROWS, "again.csv")
    take(inst)
    assert len(inst.store.all_enrollments()) == 2, "the same moment on the same day is no news"
    assert names(inst, "done") == ["again.csv", "march.csv"]


@pytest.mark.parametrize(
    ("content", "name", "why"),
    [
        (b"PK\x03\x04workbook", "scores.xlsx", "is a workbook"),
        (b"name,score\nDana,9\n", "scores.csv", "has no columns email and moment"),
        (b'[{"email": ', "scores.json", "is no JSON"),
        (b'email,moment\n"a,b\n', "scores.csv", "opens a quote"),
        (b"\x00\x01\x02", "scores.bin", "is no text"),
    ],
)
def test_what_is_no_table_is_laid_aside_with_the_reason(inst, put, content: bytes, name: str, why: str) -> None:  # type: ignore[no-untyped-def]
    put(content, name)
    take(inst)
    assert names(inst) == [] and names(inst, "done") == [name, f"{name}.why.txt"]
    (file,) = Path(inst.config.moments.folder, "done").glob("*.why.txt")
    assert why in file.read_text()


def test_json_is_waited_for_until_it_is_whole(inst, put) -> None:  # type: ignore[no-untyped-def]
    text = json.dumps([{"email": DANA, "moment": "nps", "score": 10}], indent=1) + "\n"
    put(text[:-3] + "\n", "a.json")
    take(inst, WAITED)
    assert names(inst) == ["a.json"]
    put(text, "a.json")
    take(inst)
    assert started(inst) == [DANA]


def test_links_pipes_and_folders_are_no_files(inst, put, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    secret = tmp_path / "secret.csv"
    secret.write_text(HEAD + ROWS)
    inside = Path(inst.config.moments.folder)
    (inside / "link.csv").symlink_to(secret)
    (inside / "folder.csv").mkdir()
    os.mkfifo(inside / "pipe.csv")
    take(inst)
    assert started(inst) == [] and secret.exists() and not any((inside / "done").iterdir())


def test_a_file_without_end_is_not_read(inst, put, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(folder, "FILE_BYTES_MAX", 50)
    put(HEAD + ROWS * 3)
    take(inst)
    assert started(inst) == [] and "scores.csv.why.txt" in names(inst, "done")


@BOTH
def test_the_files_name_a_person_no_longer_once_they_are_forgotten(inst, put) -> None:  # type: ignore[no-untyped-def]
    put(HEAD + ROWS)
    put(b"PK\x03\x04" + DANA.encode(), "odd.xlsx")
    take(inst)
    taken = inst.config.moments.folder
    assert len(export(inst.store, DANA, taken)["files_of_moments"]) == 2
    done = forget(inst, DANA, after(LONG))
    assert done.files == 2
    left = b"".join(f.read_bytes() for f in Path(taken, "done").iterdir())
    assert DANA.encode() not in left and LEE.encode() in left
    assert names(inst, "done") == ["odd.xlsx.why.txt", "scores.csv"]
