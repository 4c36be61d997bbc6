"""Both databases behave the same to those who use them: transactions, errors, statements, migrations by many at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import sqlite3
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import office
import pytest

from engine import database as database_module
from engine.database import SQL, Conflict, Database, Unusable, open_database, postgresql, sqlite, statements

either_url = office.either_database
PROCESSES = 4
NAME = re.compile(r"^-- name: (\w+)\((.*?)\)$", re.M)


@pytest.fixture
def opened(either_url: str) -> Any:
    database = open_database(either_url)
    yield database
    database.close()


def settings(database: Database) -> list[str]:
    return [row[0] for row in database.connection.execute("SELECT name FROM setting ORDER BY name").fetchall()]


# --- transactions ----------------------------------------------------------------------------------------------------


def test_everything_in_a_transaction_is_there_or_nothing_is(opened: Database) -> None:
    with pytest.raises(RuntimeError), opened.transaction():
        opened.change("set_setting", name="a", value="1")
        raise RuntimeError
    assert settings(opened) == []
    with opened.transaction():
        opened.change("set_setting", name="a", value="1")
    assert settings(opened) == ["a"]


def test_a_nested_transaction_is_part_of_the_outermost(opened: Database) -> None:
    with pytest.raises(RuntimeError), opened.transaction():
        with opened.transaction():
            opened.change("set_setting", name="inner", value="1")
        assert opened.in_transaction
        raise RuntimeError
    assert settings(opened) == []
    assert not opened.in_transaction


def value(database: Database, name: str) -> str | None:
    row = database.row("setting", name=name)
    return row and row["value"]


def test_what_a_transaction_has_asked_it_asks_anew_once_it_has_written(opened: Database) -> None:
    with opened.transaction():
        assert [value(opened, "a"), value(opened, "a")] == [None, None]
        opened.change("set_setting", name="a", value="1")
        assert value(opened, "a") == "1"
    with pytest.raises(RuntimeError), opened.transaction():
        opened.change("set_setting", name="a", value="2")
        assert value(opened, "a") == "2"
        raise RuntimeError
    with opened.transaction():
        assert value(opened, "a") == "1"


@pytest.mark.real
def test_what_another_has_committed_is_seen_behind_a_lock_and_in_the_next_transaction(postgres_url: str) -> None:
    with office.fresh_schema(postgres_url) as url:
        ours, theirs = open_database(url), open_database(url)
        with ours.transaction():
            assert value(ours, "a") is None
            theirs.change("set_setting", name="a", value="1")
            ours.rows("lock_enrollment", id="nobody")
            assert value(ours, "a") == "1"
            theirs.change("set_setting", name="a", value="2")
        with ours.transaction():
            assert value(ours, "a") == "2"
        ours.close()
        theirs.close()


def test_a_nested_failure_that_somebody_swallows_still_undoes_everything(opened: Database) -> None:
    with pytest.raises(AssertionError, match="swallowed"), opened.transaction():
        opened.change("set_setting", name="outer", value="1")
        try:
            with opened.transaction():
                opened.change("set_setting", name="inner", value="1")
                raise RuntimeError
        except RuntimeError:
            pass
    assert settings(opened) == []
    with opened.transaction():  # and the next one is a new one
        opened.change("set_setting", name="next", value="1")
    assert settings(opened) == ["next"]


def test_a_refused_row_is_a_conflict_and_undoes_the_transaction(opened: Database) -> None:
    suppression = {"hash": "h", "address": "a", "reason": "r", "at": 1, "message": ""}
    with pytest.raises(Conflict), opened.transaction():
        opened.change("set_setting", name="a", value="1")
        opened.connection.execute("INSERT INTO migration (name) VALUES ('0001_start')")
    assert settings(opened) == []
    with opened.transaction():
        opened.change("suppress", **suppression)
        assert opened.change("suppress", **suppression) == 0, "an expected conflict raises nothing"


def test_a_conflict_that_somebody_swallows_is_not_committed_around(opened: Database) -> None:
    task = dict.fromkeys(
        ["id", "kind", "rep", "contact", "enrollment", "title", "text", "step", "message", "note"], "x"
    )
    row = {**task, "created_at": 1, "urgent": 0, "done_at": None}
    with pytest.raises((AssertionError, Unusable)), opened.transaction():
        opened.change("add_task", **row)
        try:
            opened.change("add_task", **row)
        except Exception:
            opened.dialect  # noqa: B018
    assert opened.rows("open_tasks") == []


def test_a_conflict_outside_any_transaction_is_a_conflict_too(opened: Database) -> None:
    task = dict.fromkeys(
        ["id", "kind", "rep", "contact", "enrollment", "title", "text", "step", "message", "note"], "x"
    )
    row = {**task, "created_at": 1, "urgent": 0, "done_at": None}
    opened.change("add_task", **row)
    with pytest.raises(Conflict):
        opened.change("add_task", **row)
    assert len(opened.rows("open_tasks")) == 1


def test_a_database_that_breaks_under_a_reading_is_unusable(opened: Database) -> None:
    opened.connection.execute("DROP TABLE setting")
    with pytest.raises(Unusable, match="setting"):
        opened.rows("setting", name="brake")
    with pytest.raises(Unusable, match="setting"), opened.transaction():
        opened.rows("setting", name="brake")


def test_a_connection_that_was_closed_is_unusable_and_no_traceback_of_a_driver(opened: Database) -> None:
    if opened.dialect is postgresql():
        opened._connect = None  # otherwise it is made anew
    opened.close()
    for use in (use_alone, use_in_transaction):
        with pytest.raises(Unusable):
            use(opened)


@pytest.mark.real
def test_a_connection_that_the_server_has_ended_is_made_anew_for_the_next_use(postgres_url: str) -> None:
    with office.fresh_schema(postgres_url) as url:
        database, admin = open_database(url), open_database(url)
        for use in (use_alone, use_in_transaction):
            pid = database.connection.info.backend_pid
            admin.connection.execute(f"SELECT pg_terminate_backend({pid}, 10000)")
            with pytest.raises(Unusable):
                use(database)
            use(database)
        assert settings(database) == ["a"]
        database.close()
        admin.close()


def use_alone(database: Database) -> None:
    database.change("set_setting", name="a", value="1")


def use_in_transaction(database: Database) -> None:
    with database.transaction():
        use_alone(database)


def test_a_full_database_is_unusable_and_keeps_what_was_committed(tmp_path: Path) -> None:
    database = open_database(str(tmp_path / "w.db"))
    pages = database.connection.execute("PRAGMA page_count").fetchone()[0]
    database.connection.execute(f"PRAGMA max_page_count={pages + 2}")
    database.change("set_setting", name="small", value="1")
    with pytest.raises(Unusable, match="full"), database.transaction():
        database.change("set_setting", name="large", value="x" * 1_000_000)
    assert settings(database) == ["small"]
    database.close()


# --- opening ---------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "w.db").write_text("this is a letter, and it goes on for a while " * 10)
    with pytest.raises(Unusable, match="not a database"):
        open_database(str(tmp_path / "w.db"))
    with pytest.raises(Unusable, match="unable to open"):
        open_database(str(tmp_path / "nowhere" / "w.db"))


@pytest.mark.real
def test_a_server_that_is_not_there_or_lets_nobody_in_is_unusable(postgres_url: str) -> None:
    with pytest.raises(Unusable, match="refused"):
        open_database("postgresql://postgres@127.0.0.1:1/postgres")
    with pytest.raises(Unusable, match="nobody"):
        open_database(postgres_url.replace("postgres@", "nobody@"))


def test_sqlite_is_opened_so_that_a_commit_survives_the_loss_of_power(tmp_path: Path) -> None:
    database = open_database(str(tmp_path / "w.db"))
    ask = lambda pragma: database.connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    assert (ask("journal_mode"), ask("synchronous"), ask("foreign_keys")) == ("wal", 2, 1)
    database.close()


def _look(path: str) -> None:
    """What every command beside a daemon does."""
    database = open_database(path)
    database.rows("next_enrollment_at")
    database.close()


def test_who_looks_and_leaves_takes_no_log_away_from_one_who_writes(tmp_path: Path) -> None:
    """POSIX drops a process's locks on a file when it closes any descriptor of it (https://sqlite.org/howtocorrupt.html §2.2).
    Without its lock a daemon of several threads is not seen: whoever closes next takes himself for the last one and deletes
    the log that the daemon goes on writing to."""
    path = str(tmp_path / "w.db")
    threads = [open_database(path) for _ in range(3)]
    written = "INSERT INTO setting (name, value) VALUES (?, 'said')"
    for turn, database in enumerate(threads):
        database.connection.execute(written, (str(turn),))
        looking = multiprocessing.get_context("spawn").Process(target=_look, args=(path,))
        looking.start()
        looking.join()
        assert looking.exitcode == 0
        assert Path(path + "-wal").exists(), "the log of a daemon that runs was deleted"
    with contextlib.closing(sqlite3.connect(path)) as elsewhere:
        assert elsewhere.execute("SELECT count(*) FROM setting").fetchone() == (3,)
    for database in threads:
        database.close()


def test_who_waits_for_a_writer_looks_often_and_in_the_end_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself would look more and more rarely, and miss the pauses of a program that writes much."""
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_SECONDS", 5 * database_module.BUSY_LOOK_SECONDS)
    writer, waiter = (open_database(str(tmp_path / "w.db")) for _ in range(2))
    looked: list[str] = []
    waiter.connection.set_trace_callback(looked.append)
    with writer.transaction(), pytest.raises(Unusable, match="locked"), waiter.transaction():
        pass
    assert looked.count("BEGIN IMMEDIATE") == 5
    with waiter.transaction():
        waiter.change("set_setting", name="a", value="1")
    for database in (writer, waiter):
        database.close()


def test_a_first_start_that_collides_waits_for_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switching to WAL fails at once while another writes, whatever the busy timeout says."""
    other = sqlite3.connect(tmp_path / "w.db", isolation_level=None)
    other.execute("CREATE TABLE unrelated (a)")
    other.execute("BEGIN IMMEDIATE")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            other.execute("COMMIT")

    monkeypatch.setattr(database_module.time, "sleep", sleep)
    open_database(str(tmp_path / "w.db")).close()
    assert len(waits) == 3


# --- migrations ------------------------------------------------------------------------------------------------------


def open_at_once(urls: list[str], barrier: Barrier, failures: Any) -> None:
    for url in urls:
        barrier.wait(60)
        try:
            database = open_database(url)
            database.change("add_mailbox", address=f"{multiprocessing.current_process().pid}@demo.test")
            database.close()
        except Exception as error:
            failures.put(f"{type(error).__name__}: {error}")


def start_together(urls: list[str]) -> list[str]:
    """Four processes open each database at the same moment; returns what went wrong."""
    context = multiprocessing.get_context("spawn")
    barrier, failures = context.Barrier(PROCESSES), context.Queue()
    runners = [context.Process(target=open_at_once, args=(urls, barrier, failures)) for _ in range(PROCESSES)]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join(120)
    found = []
    while not failures.empty():
        found.append(failures.get())
    assert [runner.exitcode for runner in runners] == [0] * PROCESSES
    return found


def test_four_processes_that_start_at_once_make_one_sqlite_schema(tmp_path: Path) -> None:
    urls = [str(tmp_path / f"{n}.db") for n in range(15)]
    assert start_together(urls) == []
    for url in urls:
        whole(open_database(url))


@pytest.mark.real
def test_four_processes_that_start_at_once_make_one_postgresql_schema(postgres_url: str) -> None:
    with office.fresh_schema(postgres_url) as one, office.fresh_schema(postgres_url) as two:
        assert start_together([one, two]) == []
        whole(open_database(one))
        whole(open_database(two))


def whole(database: Database) -> None:
    names = [row[0] for row in database.connection.execute("SELECT name FROM migration ORDER BY name").fetchall()]
    assert names == sorted(file.stem for file in (SQL / "migrations").glob("*.sql"))
    assert len(database.rows("mailboxes")) == PROCESSES
    database.close()


def test_a_migration_that_fails_leaves_nothing_of_itself(opened: Database, tmp_path: Path) -> None:
    (tmp_path / "0001_start.sql").write_text("")
    (tmp_path / "0002_good.sql").write_text("CREATE TABLE good (a TEXT);\n")
    (tmp_path / "0003_bad.sql").write_text("CREATE TABLE bad (a TEXT);\nCREATE TABLE bad (a TEXT);\n")
    with pytest.raises(Unusable):
        opened.migrate(tmp_path)
    for table in ("good", "bad"):
        with pytest.raises(Exception, match=table):
            opened.connection.execute(f"SELECT * FROM {table}")


# --- statements ------------------------------------------------------------------------------------------------------


def kinds() -> dict[str, str]:
    """The type of every parameter: of the column that has its name, else by what such a name stands for."""
    text = "".join(f.read_text() for f in sorted((SQL / "migrations").glob("*.sql")))
    columns = dict(re.findall(r"\b([a-z_]+) (BIGINT|TEXT|BYTEA)\b", text))
    numbers = ["now", "limit", "before", "was", "since", "until", "fresh", "per_day", "follow_ups"]
    return {**columns, **dict.fromkeys(numbers, "BIGINT"), "error": "TEXT", "nothing": "BYTEA"}


SAMPLES: dict[str, object] = {"BIGINT": 1, "TEXT": "x", "BYTEA": b"x"}


def declared() -> dict[str, list[str]]:
    text = "".join(file.read_text() + "\n" for file in sorted(SQL.glob("*.sql")))
    return {name: re.findall(r"\w+", names) for name, names in NAME.findall(text)}


def test_every_named_statement_is_understood_by_both_databases(opened: Database) -> None:
    """EXPLAIN finds a misspelt column, a type that does not fit, and what only one of the two can read."""
    found = declared()
    assert set(found) == set(statements(opened.dialect))
    known = kinds()
    for name, parameters in found.items():
        values = {p: SAMPLES[known.get(p, "TEXT")] for p in parameters}
        opened.connection.execute(f"EXPLAIN {statements(opened.dialect)[name]}", values)


def test_a_statement_with_a_misspelt_column_is_found_by_that(opened: Database, tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_text("-- name: wrong(name)\nSELECT valeu FROM setting WHERE name = :name;\n")
    with pytest.raises(Exception, match="valeu"):
        opened.connection.execute(f"EXPLAIN {statements(opened.dialect, tmp_path)['wrong']}", {"name": "x"})


@pytest.mark.parametrize("dialect", [sqlite(), postgresql()], ids=["sqlite", "postgresql"])
@pytest.mark.parametrize(
    "text",
    [
        "-- name: a(x)\nSELECT :x;\n-- name: a(x)\nSELECT :x;\n",
        "-- name: a(x)\nSELECT :x + :y;\n",
        "-- name: a(x, y)\nSELECT :x;\n",
    ],
    ids=["twice", "undeclared", "unused"],
)
def test_a_statement_that_is_there_twice_or_declares_wrongly_is_refused(
    dialect: Any, text: str, tmp_path: Path
) -> None:
    (tmp_path / "x.sql").write_text(text)
    with pytest.raises(ValueError, match="x.sql: a is there twice, or declares"):
        statements(dialect, tmp_path)


def test_colons_and_percent_signs_in_literals_and_comments_stay_what_they_are(opened: Database, tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_text(
        "-- name: a(x)\n-- at 10:30, it's :y\nSELECT '100 % :z it''s' AS a, 7 % 4 AS b, CAST(:x AS TEXT) AS c;\n"
    )
    rows = opened.connection.execute(statements(opened.dialect, tmp_path)["a"], {"x": "given"}).fetchall()
    assert [tuple(row) for row in rows] == [("100 % :z it's", 3, "given")]


def test_who_only_looks_does_not_wait_behind_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`whoelse status` opens the store while the daemon is in the middle of a transaction."""
    monkeypatch.setattr("engine.database.BUSY_TIMEOUT_SECONDS", 0.1)
    url = str(tmp_path / "w.db")
    writer = open_database(url)
    with writer.transaction():
        writer.change("set_setting", name="a", value="1")
        looker = open_database(url)
        assert looker.rows("mailboxes") == []
        looker.close()
    writer.close()


@pytest.mark.parametrize(("name", "index"), [("queued", "outbox_next"), ("queued_to_rep", "outbox_to_rep")])
def test_the_next_email_is_found_by_the_index_that_has_their_order(name: str, index: str) -> None:
    """However many wait in the same mailbox."""
    database = open_database(":memory:")
    values = {"mailbox": "sam@bench.example", "now": 1, "follow_ups": 1}
    (first, *_) = database.connection.execute(f"EXPLAIN QUERY PLAN {statements(sqlite())[name]}", values)
    assert f"USING INDEX {index} " in first[3]


#: Reports, lists, `export` and `forget` are about everything, and asked by a person and not for every email.
FILES_OF_A_PERSON = ("reports.sql", "privacy.sql")
MAY_READ_A_TABLE = {
    "doubt_tried",
    "all_enrollments", "count_enrollments", "contacts", "clients", "referrers", "referrals", "recent_inbound", "outbox_in",
    "suppressions",
}  # fmt: skip
LARGE = re.compile(
    r"SCAN (?!.*USING INDEX \w+_(open|waiting|queued)$)(outbox|enrollment|contact|address|inbound|history|task|moment|[a-z])\b"
)


def test_no_statement_of_the_daemon_reads_a_whole_table() -> None:
    """What is asked for every email and every answer costs the same whatever the store holds."""
    database = open_database(":memory:")
    slow = {}
    asked_by_a_person = {m[1] for file in FILES_OF_A_PERSON for m in NAME.finditer((SQL / file).read_text())}
    for name, text in statements(sqlite()).items():
        values = {match[2]: 1 for match in re.finditer(r"('[^']*'|--[^\n]*)|(?<![:\w]):([a-z_]\w*)", text) if match[2]}
        plan = [row[3] for row in database.connection.execute(f"EXPLAIN QUERY PLAN {text}", values)]
        if name not in MAY_READ_A_TABLE | asked_by_a_person and any(LARGE.match(step) for step in plan):
            slow[name] = plan
    assert slow == {}
