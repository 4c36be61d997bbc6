"""Copies of a whole store: a backup while everything runs, its restoring, and the move from SQLite to PostgreSQL. A copy is one
consistent moment. What was restored does not know what happened since: until it is looked up, all that could have gone out
in that time is in doubt."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.database import Database, Unusable, open_database
from engine.errors import UserError
from engine.rows import micros
from engine.store import Store

ROWS_AT_ONCE = 1_000
#: The others refer to these.
FIRST = ("contact", "enrollment")
RESTORED, MOVED = "restored_at", "moved_to"
#: In the new store, until the old one is marked: where what it holds comes from. It is nobody's store until then.
ARRIVING = "arriving_from"


def is_file(url: str) -> bool:
    return not url.startswith(("postgresql:", "postgres:"))


def back_up(url: str, target: Path, now: datetime) -> int:
    """A consistent copy of the store at `url` in a new SQLite file, beside a running daemon; returns its rows.

    Raises UserError where the target exists, Unusable where it cannot be written."""
    if target.exists():
        raise UserError(f"{target} is there already", remedy="name a new file; a backup replaces nothing")
    unfinished = target.with_name(target.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    source, copy = open_database(url), open_database(str(unfinished))
    try:
        refuse_moved(Store(source))
        rows = copy_all(source, copy)
        Store(copy).set_setting("backed_up_at", str(micros(now)))
        copy.connection.execute("PRAGMA journal_mode=DELETE")
    finally:
        source.close()
        copy.close()
    unfinished.chmod(0o600)
    os.replace(unfinished, target)
    return rows


def restore(backup: Path, url: str, now: datetime) -> Path | None:
    """Puts a backup in place of the store; the caller holds its lock. Returns where the old SQLite file lies now.

    Everything that may have gone out since is searched for before it is sent. Raises UserError where the backup is none, or
    the target, a PostgreSQL database, is not empty."""
    verify(backup)
    if not is_file(url):
        source, target = open_database(str(backup)), open_database(url)
        try:
            _refuse_full(target, url)
            copy_all(source, target)
            _doubt(Store(target), now)
        finally:
            source.close()
            target.close()
        return None
    fresh = Path(url + ".restored")
    fresh.write_bytes(backup.read_bytes())
    fresh.chmod(0o600)
    store = Store(open_database(str(fresh)))
    _doubt(store, now)
    store.database.connection.execute("PRAGMA journal_mode=DELETE")
    store.close()
    old = _set_aside(Path(url), now)
    os.replace(fresh, url)
    return old


def _doubt(store: Store, now: datetime) -> None:
    """What was tried before the backup is in doubt at once, and what is due by now when it is its turn (`outbox.claim`)."""
    with store.transaction():
        store.set_setting(RESTORED, str(micros(now)))
        store.doubt_tried("the store was restored: it may have gone out since the backup")


def _set_aside(file: Path, now: datetime) -> Path | None:
    """The old file with its write-ahead log: it is never deleted."""
    if not file.exists():
        return None
    aside = file.with_name(f"{file.name}.before-restore-{now:%Y%m%d-%H%M%S}")
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{file}{suffix}", f"{aside}{suffix}")
    return aside


def verify(backup: Path) -> None:
    """Raises UserError where a file is no whole backup of ours, or a store that was moved elsewhere."""
    if not backup.is_file():
        raise UserError(f"there is no file {backup}", remedy="name a file that whoelse backup wrote")
    try:
        with contextlib.closing(_look_into(backup)) as connection:
            (said,) = connection.execute("PRAGMA quick_check").fetchone()
            known = connection.execute("SELECT count(*) FROM migration").fetchone()
    except sqlite3.Error as error:
        raise UserError(f"{backup} is no backup: {error}", remedy="name a file that whoelse backup wrote") from error
    if said != "ok" or not known:
        raise UserError(f"{backup} is damaged: {said}", remedy="take an older backup")
    refuse_moved_file(backup)


def migrate_store(url: str, target: str, now: datetime) -> int:
    """Carries a SQLite store over to an empty PostgreSQL database; the caller holds its lock. Returns the rows copied.

    Nobody writes to the old file while it is copied, and it takes no more writes afterwards, not even of who has it open already.
    Never are both stores live: the new one is none until the old one is marked. What stopped in between is finished by the same
    call again. Raises UserError where it is not possible."""
    if not is_file(url) or is_file(target):
        raise UserError("a store moves from a SQLite file to postgresql://…", remedy="whoelse migrate-store --help")
    source, copy = open_database(url), open_database(target)
    here = str(Path(url).resolve())
    try:
        if Store(copy).setting(ARRIVING) != here:
            refuse_moved(Store(source))
            _refuse_full(copy, target)
        if Store(source).setting(MOVED) is None:
            _carry_over(source, copy, here, now)
        Store(copy).drop_setting(ARRIVING)
        return sum(_count(copy, table) for table in tables(copy))
    finally:
        source.close()
        copy.close()


def _carry_over(source: Database, copy: Database, here: str, now: datetime) -> None:
    """The copy is committed first, as nobody's store, then the mark."""
    where = f"a PostgreSQL database on {now:%Y-%m-%d}"
    with source.transaction():
        with copy.transaction():
            for table in reversed(tables(copy)):  # of an attempt that stopped before the mark
                copy.connection.execute(f"DELETE FROM {table}")
            _copy_tables(source, copy)
            Store(copy).set_setting(ARRIVING, here)
        Store(source).set_setting(MOVED, where)
        for table in tables(source):
            for verb in ("INSERT", "UPDATE", "DELETE"):
                refusal = f"SELECT RAISE(ABORT, '{moved(where)}')"
                source.connection.execute(
                    f"CREATE TRIGGER moved_{table}_{verb} BEFORE {verb} ON {table} BEGIN {refusal}; END"
                )


def _refuse_full(target: Database, url: str) -> None:
    if any(_count(target, table) for table in tables(target)):
        raise UserError("that database is not empty", remedy="create a new one (createdb NAME) and name it")


def moved(where: str) -> UserError:
    """What everybody is told who would use a store that is one no more."""
    return UserError(f"this store was moved to {where}", remedy="name the new one under `store:` in the config")


def refuse_moved(store: Store) -> None:
    """Raises UserError where the store was carried over elsewhere, or is not yet here: two copies must never both send."""
    if where := store.setting(MOVED):
        raise moved(where)
    if file := store.setting(ARRIVING):
        raise UserError(
            f"the move of {file} into this store was not finished", remedy="whoelse migrate-store once more"
        )


def refuse_moved_file(file: Path) -> None:
    """The same of a file that is not to be touched; one that cannot be read was not moved. Raises UserError."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_look_into(file)) as connection:
        for (where,) in connection.execute("SELECT value FROM setting WHERE name = ?", (MOVED,)):
            raise moved(where)


def _look_into(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{file}?mode=ro", uri=True)


def refuse_damaged(store: Store) -> None:
    """Raises UserError where a SQLite file is not whole (https://sqlite.org/pragma.html#pragma_quick_check)."""
    if not store.database.is_sqlite:
        return
    (said,) = store.database.connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise UserError(f"the store is damaged: {said}", remedy="whoelse restore FILE puts a backup in its place")


def copy_all(source: Database, target: Database) -> int:
    """Every row of every table, read in one moment and written in one transaction. Raises Unusable."""
    with _one_moment(source), target.transaction():
        return _copy_tables(source, target)


def _copy_tables(source: Database, target: Database) -> int:
    rows = 0
    for table in tables(source):
        rows += _copy_table(source, target, table)
        assert _count(source, table) == _count(target, table), table
    return rows


@contextlib.contextmanager
def _one_moment(source: Database) -> Iterator[None]:
    """Reads inside see one consistent state, and block no writer."""
    begin = "BEGIN" if source.is_sqlite else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    source.connection.execute(begin)
    try:
        yield
    finally:
        source.connection.execute("ROLLBACK")


def tables(database: Database) -> list[str]:
    """Ours, those first to which others refer."""
    found = database.connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        if database.is_sqlite
        else "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
    ).fetchall()
    names = sorted(name for (name,) in found if name != "migration")
    return sorted(names, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))


def _copy_table(source: Database, target: Database, table: str) -> int:
    reader = source.connection.execute(f"SELECT * FROM {table}")
    names = [column[0] for column in reader.description]
    marks = ", ".join(["?" if target.is_sqlite else "%s"] * len(names))
    into = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
    writer: Any = target.connection.cursor()
    rows = 0
    try:
        while batch := reader.fetchmany(ROWS_AT_ONCE):
            writer.executemany(into, batch)
            rows += len(batch)
    except target.dialect.broken as error:
        raise Unusable(f"{table}: {error}") from error
    return rows


def _count(database: Database, table: str) -> int:
    return int(database.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
