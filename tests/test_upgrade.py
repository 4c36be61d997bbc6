"""Two versions side by side: what a newer version adds to the schema disturbs an older one that still runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from office import DANA, MONDAY, Office, either_database

from engine import copies
from engine.core.model import State
from engine.store import open_store

either = either_database


@pytest.fixture
def upgraded(either: str, tmp_path: Path) -> Iterator[Office]:
    """An office whose store a newer version has migrated: every table has a column more."""
    store = open_store(either)
    for table in copies.tables(store.database):
        store.database.connection.execute(f"ALTER TABLE {table} ADD COLUMN from_later TEXT")
    store.database.connection.execute("INSERT INTO migration (name) VALUES ('9999_later')")
    yield Office(store, tmp_path)
    store.close()


def test_an_older_version_works_on_beside_a_newer_one(upgraded: Office) -> None:
    enrolled = upgraded.enroll(DANA)
    (first,) = upgraded.work()
    upgraded.hear("Interesting. When could we talk?", to=first)
    assert upgraded.state(enrolled) is State.PAUSED
    assert upgraded.now == MONDAY


def test_an_older_version_that_starts_after_a_newer_one_changes_no_schema(either: str, tmp_path: Path) -> None:
    store = open_store(either)
    store.database.connection.execute("INSERT INTO migration (name) VALUES ('9999_later')")
    store.close()
    again = open_store(either)
    assert ("9999_later",) in [
        tuple(r) for r in again.database.connection.execute("SELECT name FROM migration").fetchall()
    ]
    again.close()
