"""SQLite and PostgreSQL behind one small interface. Statements are written for PostgreSQL in the subset that SQLite speaks
too, each under its name in `sql/`; a `Dialect` is all that differs. One `Database` is one connection and belongs to one thread."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
#: By the columns of a statement: what makes a value of each row.
RowReader = Callable[[tuple[str, ...]], Callable[[Any], T]]
SQL = Path(__file__).parent / "sql"
#: How long a writer waits for another one in the same SQLite file, and how often at least it looks.
BUSY_TIMEOUT_SECONDS, BUSY_LOOK_SECONDS = 30, 0.01
WAL_TRIES_MAX, WAL_WAIT_SECONDS = 500, 0.02
MIGRATION_LOCK = 7748
#: More than there are named statements, each of which the driver keeps compiled.
STATEMENTS_KEPT = 400
#: Answers that one transaction remembers.
READ_MAX = 200
#: Between the making of a file and its first connection no other thread may connect to it.
_OPENING = threading.Lock()

_NAME = re.compile(r"^-- name: (\w+)\((.*?)\)$", re.M)
_COMMENT = re.compile(r"^--.*\n", re.M)
# Literals and comments keep their colons and percent signs.
_TOKEN = re.compile(r"""('(?:''|[^'])*'|"[^"]*"|--[^\n]*)|(?<![:\w]):([a-z_]\w*)""")


class Conflict(Exception):
    """A UNIQUE, CHECK or FOREIGN KEY rule refused a row; the transaction is rolled back."""


class Unusable(Exception):
    """The database cannot be opened, read or written: full disk, wrong file, no server. The transaction is rolled back."""


class Crossed(Unusable):
    """PostgreSQL ended this transaction because of what others did meanwhile; it is rolled back, and goes through when it is
    carried out anew."""


#: SQLSTATE of a deadlock, a serialization failure, a lock that was not to be had, and a session that stood still inside a
#: transaction (PostgreSQL 17, appendix A).
CROSSED = ("40P01", "40001", "55P03", "25P03")
#: ... and of a statement whose table was changed since it was prepared, by a newer version: a new connection knows it as it is.
OUTDATED = "0A000"
#: A machine that vanishes or stands still inside a transaction holds up the others for no longer than a lease lasts
#: (https://www.postgresql.org/docs/17/runtime-config-client.html, https://www.postgresql.org/docs/17/libpq-connect.html).
SESSION = "SET idle_in_transaction_session_timeout = '8s'; SET lock_timeout = '15s'"
SOCKET: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


@dataclass(frozen=True)
class Dialect:
    begin: str
    lock_migrations: str
    refused: type[Exception]
    broken: type[Exception]
    statement: Callable[[str], str]
    schema: Callable[[str], str]
    columns: Callable[[Any], tuple[str, ...]]


@functools.cache
def sqlite() -> Dialect:
    """BEGIN IMMEDIATE takes the write lock, so the lock clause can go; STRICT tables know INTEGER and BLOB only."""

    def schema(text: str) -> str:
        return re.sub(r"^\);", ") STRICT;", text.replace("BIGINT", "INTEGER").replace("BYTEA", "BLOB"), flags=re.M)

    def statement(text: str) -> str:
        return text.replace("FOR UPDATE SKIP LOCKED", "").replace("FOR UPDATE", "")

    def columns(cursor: sqlite3.Cursor) -> tuple[str, ...]:
        return tuple(map(itemgetter(0), cursor.description))

    return Dialect("BEGIN IMMEDIATE", "SELECT 1", sqlite3.IntegrityError, sqlite3.Error, statement, schema, columns)


@functools.cache
def postgresql() -> Dialect:
    import psycopg

    def statement(text: str) -> str:
        return _TOKEN.sub(lambda m: m[1] or f"%({m[2]})s", text.replace("%", "%%"))

    def columns(cursor: psycopg.Cursor[Any]) -> tuple[str, ...]:
        """`description` makes an object of each, which costs as much as the question."""
        result = cursor.pgresult
        assert result is not None
        return tuple((result.fname(place) or b"").decode() for place in range(result.nfields))

    lock = f"SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"
    return Dialect("BEGIN", lock, psycopg.IntegrityError, psycopg.Error, statement, str, columns)


@functools.cache
def statements(dialect: Dialect, folder: Path = SQL) -> dict[str, str]:
    """All named statements of `sql/*.sql`. Raises ValueError for a name that is there twice or a parameter that is not declared."""
    found: dict[str, str] = {}
    for file in sorted(folder.glob("*.sql")):
        parts = _NAME.split(file.read_text(encoding="utf-8"))[1:]
        for name, declared, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            used = {m[2] for m in _TOKEN.finditer(body) if m[2]}
            if name in found or used != set(re.findall(r"\w+", declared)):
                raise ValueError(f"{file}: {name} is there twice, or declares ({declared}) and uses {sorted(used)}")
            found[name] = dialect.statement(_COMMENT.sub("", body)).strip().rstrip("; ")
    return found


@functools.cache
def questions(dialect: Dialect) -> frozenset[str]:
    """The names of those that neither write nor lock."""
    found = statements(dialect).items()
    return frozenset(name for name, text in found if text.startswith("SELECT") and "FOR UPDATE" not in text)


class Database:
    """One connection. `transaction` nests: the outermost commits. A connection that was lost is made anew by `connect` before
    the next transaction or lone statement; what was under way when it was lost is lost with it."""

    def __init__(self, connection: Any, dialect: Dialect, connect: Callable[[], Any] | None = None) -> None:
        self.connection, self.dialect, self._sql = connection, dialect, statements(dialect)
        self._questions = questions(dialect)
        self._connect = connect
        self._depth = 0
        self._failed = False
        self._read: dict[Any, list[Any]] = {}

    @property
    def is_sqlite(self) -> bool:
        return self.dialect is sqlite()

    @property
    def in_transaction(self) -> bool:
        return self._depth > 0

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is committed together or not at all, also where a failure inside was swallowed on its way out.

        Raises Conflict when a rule of the schema refused a row, Unusable when the database failed."""
        return self._failing() if self._depth else self._outermost()

    @contextlib.contextmanager
    def _outermost(self) -> Iterator[None]:
        try:
            self._take_up()
            self.connection.execute(self.dialect.begin)
            self._depth, self._failed = 1, False
            yield
            # PostgreSQL would turn this COMMIT into a silent ROLLBACK, and SQLite would keep one half.
            assert not self._failed, "a failure inside the transaction was swallowed"
            self.connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(Exception):  # a dead connection must not hide the first error
                self.connection.execute("ROLLBACK")
            if (explained := self._explained(error)) is error:
                raise
            raise explained from error
        finally:
            self._depth = 0
            self._read.clear()

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._failed = True
            raise

    def _take_up(self) -> None:
        if self._connect and self.connection.closed:
            self.connection = self._connect()

    def _explained(self, error: BaseException) -> BaseException:
        """A driver's error as ours; any other as it is."""
        if isinstance(error, self.dialect.refused):
            return Conflict(str(error))
        if not isinstance(error, self.dialect.broken):
            return error
        state = getattr(error, "sqlstate", None)
        if state == OUTDATED:
            self.connection.close()
        kind = Crossed if state in (*CROSSED, OUTDATED) else Unusable
        return kind(str(error).strip())

    def _execute(self, statement: str, values: Mapping[str, object], take: Callable[[Any], T]) -> T:
        """What `take` makes of the cursor: SQLite does the work of a RETURNING only while it is read. Inside a transaction an error
        of the driver is explained at its edge, outside of one at once."""
        try:
            if not self._depth:
                self._take_up()
            return take(self.connection.execute(statement, values))
        except BaseException as error:
            self._failed = True
            if self._depth or (explained := self._explained(error)) is error:
                raise
            raise explained from error

    def values(self, reader: RowReader[T], name: str, /, **values: object) -> list[T]:
        """What the reader makes of each row of a named statement. Raises Conflict and Unusable, like all that follow.

        Inside a transaction a question is asked once until something is written or locked: nothing else can change its answer
        in SQLite, and in PostgreSQL nothing that was not locked may be relied upon. What is made must not be changed."""
        statement = self._sql[name]
        if not self._depth or name not in self._questions:
            self._read.clear()
            return self._execute(statement, values, partial(self._made, reader))
        asked = (reader, statement, *values.items())  # in SQLite one that locks is the same as one that does not
        known = self._read.get(asked)
        if known is None:
            if len(self._read) >= READ_MAX:
                self._read.clear()
            known = self._read[asked] = self._execute(statement, values, partial(self._made, reader))
        return list(known)

    def _made(self, reader: RowReader[T], cursor: Any) -> list[T]:
        rows = cursor.fetchall()
        return list(map(reader(self.dialect.columns(cursor)), rows)) if rows else []

    def rows(self, name: str, /, **values: object) -> list[dict[str, Any]]:
        """The rows of a named statement, by column name."""
        return self.values(_itself, name, **values)

    def row(self, name: str, /, **values: object) -> dict[str, Any] | None:
        """The one row of a named statement, None when there is none."""
        return self.value(_itself, name, **values)

    def value(self, reader: RowReader[T], name: str, /, **values: object) -> T | None:
        """What the reader makes of the one row of a named statement, None when there is none."""
        found = self.values(reader, name, **values)
        assert len(found) <= 1, f"{name} returned {len(found)} rows"
        return found[0] if found else None

    def change(self, name: str, /, **values: object) -> int:
        """Runs a named statement and returns how many rows it changed."""
        self._read.clear()
        return self._execute(self._sql[name], values, _changed)

    def migrate(self, folder: Path = SQL / "migrations") -> None:
        """Brings the schema up to date; of several that start at once, one does it and the others wait.

        Where nothing is to be done, nothing is locked: who only looks does not wait behind a writer."""
        execute = self.connection.execute
        if {file.stem for file in folder.glob("*.sql")} <= self._migrated():
            return
        with self.transaction():
            execute(self.dialect.lock_migrations)
            execute("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY)")
            done = {name for (name,) in execute("SELECT name FROM migration").fetchall()}
            for file in sorted(f for f in folder.glob("*.sql") if f.stem not in done):
                for part in filter(str.strip, self.dialect.schema(file.read_text(encoding="utf-8")).split(";\n")):
                    execute(part)
                execute(f"INSERT INTO migration (name) VALUES ('{file.stem}')")

    def rewrite(self) -> None:
        """Writes a SQLite file anew, so that nothing deleted is left in its free pages or its log; outside of transactions.
        While somebody reads, the log keeps its old pages until the next time it is used up. PostgreSQL vacuums by itself."""
        if self.is_sqlite:
            try:
                self.connection.execute("VACUUM")
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except self.dialect.broken as error:
                raise self._explained(error) from error

    def _migrated(self) -> set[str]:
        """What was done before; nothing where there is no schema yet."""
        try:
            return {name for (name,) in self.connection.execute("SELECT name FROM migration").fetchall()}
        except self.dialect.broken:
            return set()

    def close(self) -> None:
        self.connection.close()


def _itself(columns: tuple[str, ...]) -> Callable[[Any], dict[str, Any]]:
    return lambda row: dict(zip(columns, row, strict=True))


def _changed(cursor: Any) -> int:
    return int(cursor.rowcount)


def open_database(url: str) -> Database:
    """Opens `postgresql://…`, a SQLite file, or `:memory:`, and brings its schema up to date.

    Raises Unusable with what the driver says."""
    if url == ":memory:":
        database = _open_sqlite(url)
        database.connection.deserialize(_empty())
        return database
    try:
        database = _open_postgresql(url) if url.startswith(("postgresql:", "postgres:")) else _open_sqlite(url)
    except OSError as error:
        raise Unusable(f"{url}: unable to open: {error.strerror}") from error
    except sqlite3.Error as error:
        raise Unusable(f"{url}: {error}") from error
    database.migrate()
    return database


@functools.cache
def _empty() -> bytes:
    """A database with its schema and nothing in it: rehearsals open thousands in memory, and to copy one is far cheaper than to
    make it."""
    made = _open_sqlite(":memory:")
    made.migrate()
    return bytes(made.connection.serialize())


def _open_postgresql(url: str) -> Database:
    import psycopg

    def connect() -> Any:
        connection = psycopg.connect(url, autocommit=True, **SOCKET)
        connection.execute(SESSION)
        return connection

    try:
        return Database(connect(), postgresql(), connect)
    except psycopg.Error as error:
        raise Unusable(str(error).strip()) from error


class _Patient(sqlite3.Connection):
    """Waits for its turn. SQLite by itself looks ever more rarely, in the end ten times a second, and so misses the short pauses of
    a program that writes much; here it begins again every BUSY_LOOK_SECONDS (https://sqlite.org/c3ref/busy_timeout.html)."""

    def execute(self, *statement: Any) -> sqlite3.Cursor:
        for _ in range(int(BUSY_TIMEOUT_SECONDS / BUSY_LOOK_SECONDS) - 1):
            try:
                return super().execute(*statement)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY):
                    raise
        return super().execute(*statement)


def _open_sqlite(path: str) -> Database:
    with _OPENING:
        if path != ":memory:":
            _make(path)
        connection = sqlite3.connect(
            path, BUSY_LOOK_SECONDS, isolation_level=None, factory=_Patient, cached_statements=STATEMENTS_KEPT
        )
    for attempt in range(WAL_TRIES_MAX):  # the switch to WAL ignores the busy timeout: first starts collide
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == WAL_TRIES_MAX - 1:
                raise
            time.sleep(WAL_WAIT_SECONDS)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return Database(connection, sqlite())


def _make(path: str) -> None:
    """Ours alone to read from its first moment; its -wal and -shm take the same mode.

    A file that is there is not opened by any hand but SQLite's: closing a descriptor of it would drop the locks of every
    connection in this process (https://sqlite.org/howtocorrupt.html §2.2), and another program would delete our log."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
