"""Enrolling people from a table, each whole with its first decision, against writing the bare rows, one transaction a row. Both go
on with their table in every turn, so that the store grows as in one piece."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from engine.bench import project
from engine.bench.harness import Ground, Row, compare, seconds
from engine.enrollments import Wish
from engine.importing import Fed, feed
from engine.sheets import read_sheet

COLUMNS = ("email", "name", "company", "problem")


def measure(ground: Ground) -> Iterator[Row]:
    turn = ground.pick(5, 500, 4_000)
    rows = turn * ground.pairs
    file = ground.fresh("table") / "people.csv"
    write(file, rows)
    sheet = read_sheet(file)
    inst = project.opened(project.make(ground.fresh("import"), project.UNUSED_PORT), ground)
    bare = sqlite3.connect(file.with_name("bare.db"), isolation_level=None)
    with closing(inst.store), closing(bare), file.open(newline="") as lines:
        prepare(bare)
        fed = feed(inst, sheet, Wish("", project.SEQUENCE, {}), datetime.now(UTC))
        read = islice(csv.reader(lines), 1, None)
        yield compare(
            "import", ">=", 0.1, lambda: turn / seconds(lambda: enrolled(fed, turn)),
            lambda: turn / seconds(lambda: inserted(bare, read, turn)), "rows/s", pairs=ground.pairs, note=f"{rows:,} rows",
        )  # fmt: skip
        assert len(inst.store.all_enrollments()) == rows
        assert bare.execute("SELECT count(*) FROM person").fetchall() == [(rows,)]


def write(file: Path, rows: int) -> None:
    with file.open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(COLUMNS)
        for n in range(rows):
            table.writerow((f"dana@client{n}.example", f"Dana Whitfield {n}", f"Client {n}", "tenders that take weeks"))


def enrolled(fed: Iterator[Fed], rows: int) -> None:
    done = list(islice(fed, rows))
    assert [each.fate for each in done] == ["enrolled"] * rows, done[0]


def prepare(bare: sqlite3.Connection) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        bare.execute(f"PRAGMA {pragma}").fetchall()
    bare.execute("CREATE TABLE person (email TEXT PRIMARY KEY, name TEXT, company TEXT, problem TEXT)")


def inserted(bare: sqlite3.Connection, lines: Iterator[list[str]], rows: int) -> None:
    for row in islice(lines, rows):
        bare.execute("INSERT INTO person VALUES (?, ?, ?, ?)", row)
