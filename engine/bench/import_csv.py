"""Enrolling people from a table, each whole with its first decision, against writing the bare rows: one transaction a row here and
there."""

from __future__ import annotations

import csv
import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from engine.bench import project
from engine.bench.harness import Ground, Row, compare, seconds
from engine.enrollments import Wish
from engine.importing import feed
from engine.sheets import Sheet, read_sheet

COLUMNS = ("email", "name", "company", "problem")


def measure(ground: Ground) -> Iterator[Row]:
    rows = ground.pick(5, 500, 20_000)
    numbers = itertools.count()
    file = ground.fresh("table") / "people.csv"
    write(file, rows)
    sheet = read_sheet(file)
    yield compare(
        "import", ">=", 0.1, lambda: rows / seconds(lambda: fed(ground, sheet)),
        lambda: rows / seconds(lambda: inserted(file, file.with_name(f"{next(numbers)}.db"))), "rows/s",
        pairs=ground.pick(1, 3, 1), note=f"{rows:,} rows",
    )  # fmt: skip


def write(file: Path, rows: int) -> None:
    with file.open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(COLUMNS)
        for n in range(rows):
            table.writerow((f"dana@client{n}.example", f"Dana Whitfield {n}", f"Client {n}", "tenders that take weeks"))


def fed(ground: Ground, sheet: Sheet) -> None:
    inst = project.opened(project.make(ground.fresh("import"), project.UNUSED_PORT), ground)
    with closing(inst.store):
        done = list(feed(inst, sheet, Wish("", project.SEQUENCE, {}), datetime.now(UTC)))
        assert [each.fate for each in done] == ["enrolled"] * len(sheet.rows), done[0]
        assert len(inst.store.all_enrollments()) == len(sheet.rows)


def inserted(file: Path, store: Path) -> None:
    with closing(sqlite3.connect(store, isolation_level=None)) as connection, file.open(newline="") as lines:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("CREATE TABLE person (email TEXT PRIMARY KEY, name TEXT, company TEXT, problem TEXT)")
        for row in itertools.islice(csv.reader(lines), 1, None):
            connection.execute("INSERT INTO person VALUES (?, ?, ?, ?)", row)
