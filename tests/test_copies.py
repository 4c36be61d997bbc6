"""Copies of a store: made while others write, put back without sending anything twice, carried over to PostgreSQL whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from office import DANA, LEE, MONDAY, Office, fresh_schema, library

from engine import copies, outbox
from engine.__main__ import main
from engine.core.model import OutboxMessage, OutboxState
from engine.database import Conflict, Unusable, open_database
from engine.errors import UserError
from engine.smtp import Deferred
from engine.store import Store, open_store


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An office on a file, with something in every stage."""
    store = open_store(str(tmp_path / "whoelse.db"))
    there = Office(store, tmp_path)
    there.enroll(DANA)
    there.work()
    there.hear("Interesting. When could we talk?", to=there.rows("nudge")[0])
    there.enroll(LEE)
    yield there
    store.close()


def contents(database_url: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, but for what a copy notes about itself."""
    database = open_database(database_url)
    found = {
        table: sorted(map(tuple, database.connection.execute(f"SELECT * FROM {table}").fetchall()), key=repr)
        for table in copies.tables(database)
        if table != "setting"
    }
    database.close()
    return found


def test_a_backup_holds_every_row(office: Office, tmp_path: Path) -> None:
    rows = copies.back_up(str(tmp_path / "whoelse.db"), tmp_path / "copy.db", office.now)
    assert contents(str(tmp_path / "copy.db")) == contents(str(tmp_path / "whoelse.db"))
    assert rows > 10
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_a_backup_is_one_moment_while_another_process_writes(office: Office, tmp_path: Path) -> None:
    program = (
        "import sys, itertools\n"
        "from engine.store import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "for n in itertools.count():\n"
        "    with store.transaction():\n"
        "        store.set_setting('left', str(n)); store.set_setting('right', str(n))\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "whoelse.db")])
    try:
        while office.store.setting("right") is None:
            assert writer.poll() is None
            time.sleep(0.02)
        for number in range(5):
            target = tmp_path / f"copy{number}.db"
            copies.back_up(str(tmp_path / "whoelse.db"), target, office.now)
            copy = open_store(str(target))
            assert copy.setting("left") == copy.setting("right") is not None
            copy.close()
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()


def test_a_backup_replaces_nothing(office: Office, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(UserError, match="is there already"):
        copies.back_up(str(tmp_path / "whoelse.db"), tmp_path / "copy.db", office.now)
    assert (tmp_path / "copy.db").read_text() == "precious"


def restored(office: Office, tmp_path: Path) -> Office:
    """A backup was made, then Lee's first email went out, then the disk was lost."""
    url = str(tmp_path / "whoelse.db")
    copies.back_up(url, tmp_path / "copy.db", office.now)
    office.later(minutes=5)
    office.work()
    assert [m.recipient for m in office.store.outbox_in(OutboxState.SENT)] == [DANA, LEE]
    office.store.close()
    old = copies.restore(tmp_path / "copy.db", url, office.now + timedelta(hours=1))
    assert old and old.exists()
    again = Office(open_store(url), tmp_path)
    again.now = office.now + timedelta(hours=2)
    for address in again.epochs:
        epoch = again.store.lease(address, "test", again.now, again.now + timedelta(days=99))
        assert epoch
        again.epochs[address] = epoch
    return again


def test_after_a_restore_what_may_have_gone_out_is_held_and_looked_for(office: Office, tmp_path: Path) -> None:
    again = restored(office, tmp_path)
    assert again.work() == []
    (doubt,) = again.store.outbox_in(OutboxState.IN_DOUBT)
    assert doubt.recipient == LEE and "restored" in doubt.note
    outbox.look(again.inst, doubt, "Sent", False, again.now)
    assert {m.recipient for m in again.store.outbox_in(OutboxState.SENT)} == {DANA, LEE}
    again.store.close()


def test_after_a_restore_what_is_proven_absent_is_sent_once(office: Office, tmp_path: Path) -> None:
    again = restored(office, tmp_path)
    again.work()
    (doubt,) = again.store.outbox_in(OutboxState.IN_DOUBT)
    outbox.look(again.inst, doubt, None, True, again.now)
    again.later(minutes=20)
    outbox.look(again.inst, doubt, None, True, again.now)
    assert [m.recipient for m in again.work()] == [LEE]
    assert again.work() == []
    again.store.close()


def test_what_is_due_after_a_restore_goes_out_as_ever(office: Office, tmp_path: Path) -> None:
    again = restored(office, tmp_path)
    again.enroll("kay@harbour.test")
    assert [m.recipient for m in again.work()] == ["kay@harbour.test"]
    again.store.close()


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\x00 cut short"])
def test_a_file_that_is_no_backup_is_refused_and_the_store_stays(
    office: Office, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "bad.db").write_bytes(content)
    before = (tmp_path / "whoelse.db").read_bytes()
    with pytest.raises(UserError, match="no backup|damaged"):
        copies.restore(tmp_path / "bad.db", str(tmp_path / "whoelse.db"), office.now)
    assert (tmp_path / "whoelse.db").read_bytes() == before


@pytest.fixture
def new_home(postgres_url: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    with fresh_schema(postgres_url) as url:
        yield url


def is_live(url: str) -> bool:
    """Whether a command or a daemon would work on it."""
    store = Store(open_database(url))
    try:
        copies.refuse_moved(store)
    except UserError:
        return False
    finally:
        store.close()
    return True


@pytest.mark.real
def test_a_running_installation_is_carried_over_to_postgresql_whole(
    office: Office, tmp_path: Path, new_home: str
) -> None:
    file = str(tmp_path / "whoelse.db")
    copies.migrate_store(file, new_home, office.now)
    assert contents(new_home) == contents(file)
    assert is_live(new_home) and not is_live(file)


@pytest.mark.real
def test_what_is_written_while_a_store_moves_is_in_the_new_one_or_refused(
    office: Office, tmp_path: Path, new_home: str
) -> None:
    """Another command has the file open already; whatever it was told is kept, is in the new store."""
    file, kept = str(tmp_path / "whoelse.db"), list[str]()
    begun = threading.Event()

    def opt_out() -> None:
        store = open_store(file)
        with pytest.raises(Conflict, match="was moved to"):
            for number in range(1_000_000):
                store.suppress(f"p{number}@acme.test", "by hand", office.now)
                kept.append(f"p{number}@acme.test")
                begun.set()
        store.close()

    command = threading.Thread(target=opt_out, daemon=True)
    command.start()
    assert begun.wait(60)
    copies.migrate_store(file, new_home, office.now)
    command.join(60)
    assert not command.is_alive()
    store = Store(open_database(new_home))
    assert [address for address in kept if not store.suppressed(address)] == []
    store.close()


@pytest.mark.real
@pytest.mark.parametrize("died", ["in the copy", "before the mark", "behind the mark"])
def test_a_move_that_died_is_finished_by_the_same_command_and_never_are_both_live(
    office: Office, tmp_path: Path, new_home: str, monkeypatch: pytest.MonkeyPatch, died: str
) -> None:
    file = str(tmp_path / "whoelse.db")

    def dies(point: str, verb: Callable[..., Any]) -> Callable[..., Any]:
        def either(self: Any, name: str, *values: Any) -> Any:
            if name == point:
                raise Unusable("the machine stopped")
            return verb(self, name, *values)

        return either

    with monkeypatch.context() as patched:
        point = {"in the copy": copies.ARRIVING, "before the mark": copies.MOVED, "behind the mark": copies.ARRIVING}
        verb = "drop_setting" if died == "behind the mark" else "set_setting"
        patched.setattr(Store, verb, dies(point[died], getattr(Store, verb)))
        with pytest.raises(Unusable):
            copies.migrate_store(file, new_home, office.now)
    assert [is_live(file), is_live(new_home)] == [died != "behind the mark", died == "in the copy"]
    if died != "behind the mark":
        office.store.suppress(LEE, "by hand", office.now)  # the old one is still the store
    copies.migrate_store(file, new_home, office.now)
    assert contents(new_home) == contents(file)
    assert is_live(new_home) and not is_live(file)


@pytest.mark.real
def test_a_store_that_was_moved_is_neither_moved_again_nor_backed_up_nor_restored(
    office: Office, tmp_path: Path, new_home: str, postgres_url: str
) -> None:
    file = tmp_path / "whoelse.db"
    copies.back_up(str(file), tmp_path / "earlier.db", office.now)
    copies.migrate_store(str(file), new_home, office.now)
    with fresh_schema(postgres_url) as other, pytest.raises(UserError, match="was moved to"):
        copies.migrate_store(str(file), other, office.now)
    with pytest.raises(UserError, match="was moved to"):
        copies.back_up(str(file), tmp_path / "copy.db", office.now)
    with pytest.raises(UserError, match="was moved to"):
        copies.restore(file, str(tmp_path / "elsewhere.db"), office.now)
    with pytest.raises(UserError, match="not empty"):
        copies.migrate_store(str(tmp_path / "earlier.db"), new_home, office.now)


@pytest.mark.real
@pytest.mark.parametrize(
    "command",
    [
        "suppress x@acme.example", "status", "tasks", "run --once", "pause --all", "export dana@acme.test",
        "backup copy.db", "restore earlier.db",
    ],
)  # fmt: skip
def test_no_command_works_on_a_store_that_was_moved(
    moved_project: Path, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(moved_project)
    before = contents("whoelse.db")
    assert main(command.split()) == 1
    assert re.search("was moved to a PostgreSQL database .*; name the new one under `store:`", capsys.readouterr().err)
    assert contents("whoelse.db") == before


@pytest.fixture(scope="module")
def moved_project(first_project: Path, tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Path]:
    """A project whose store was carried over, while its config still names the old file."""
    folder = tmp_path_factory.mktemp("moved") / "project"
    shutil.copytree(first_project, folder)
    copies.back_up(str(folder / "whoelse.db"), folder / "earlier.db", MONDAY)
    with fresh_schema(postgres_url) as url:
        copies.migrate_store(str(folder / "whoelse.db"), url, MONDAY)
        yield folder


@pytest.mark.real
def test_a_postgresql_store_is_backed_up_into_a_file(office: Office, tmp_path: Path, postgres_url: str) -> None:
    with fresh_schema(postgres_url) as url:
        copies.migrate_store(str(tmp_path / "whoelse.db"), url, office.now)
        copies.back_up(url, tmp_path / "copy.db", office.now)
        assert contents(url) == contents(str(tmp_path / "copy.db"))


# --- what happened between the backup and the loss -------------------------------------------------------------------

QUICK = """
name: Quick
kind: touch
to: client
window: always
steps:
  - {id: first, email: hello, late: send}
  - {id: second, wait: 1 day, email: again, late: send}
  - {id: third, wait: 1 day, email: last, late: send}
when:
  named: {start: intro, goto: third}
"""


class Lost:
    """An office whose store is lost some time after its backup, and restored."""

    def __init__(self, folder: Path) -> None:
        self.url, self.folder = str(folder / "whoelse.db"), folder
        self.books = library({"quick": QUICK})
        self.here = Office(open_store(self.url), folder, books=self.books)

    def back_up(self) -> None:
        copies.back_up(self.url, self.folder / "copy.db", self.here.now)

    def restored(self) -> Office:
        self.sent = self.here.store.outbox_in(OutboxState.SENT)
        self.here.store.close()
        copies.restore(self.folder / "copy.db", self.url, self.here.now)
        now = self.here.now + timedelta(minutes=5)
        self.here = Office(open_store(self.url), self.folder, books=self.books)
        self.here.now = now
        for address in self.here.epochs:
            epoch = self.here.store.lease(address, "test", now, now + timedelta(days=99))
            assert epoch is not None
            self.here.epochs[address] = epoch
        return self.here

    def read_sent(self) -> None:
        """The copies in Sent that the restored store does not know are read again."""
        known = {m.message_id for m in self.here.store.outbox_in(OutboxState.SENT)}
        for message in self.sent:
            if message.message_id not in known:
                self.here.receive(message.raw, folder="Sent", kind="sent", received_at=message.sent_at)

    def twice(self, again: list[OutboxMessage]) -> set[str]:
        return {m.message_id for m in self.sent} & {m.message_id for m in again}


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[Lost]:
    there = Lost(tmp_path)
    yield there
    there.here.store.close()


def test_what_was_put_off_before_a_backup_is_in_doubt_once_it_is_restored(lost: Lost) -> None:
    lost.here.enroll(DANA, "quick")
    lost.here.work(Deferred(451, "4.7.1 greylisted"))
    lost.back_up()
    lost.here.later(minutes=10)
    assert [m.step for m in lost.here.work()] == ["first"]
    there = lost.restored()
    assert there.work() == []
    assert [m.step for m in there.store.outbox_in(OutboxState.IN_DOUBT)] == ["first"]


@pytest.mark.parametrize("sent_is_read", [True, False])
def test_of_several_emails_that_went_out_since_a_backup_none_goes_out_again(lost: Lost, sent_is_read: bool) -> None:
    lost.here.enroll(DANA, "quick")
    lost.here.work()
    lost.back_up()
    lost.here.run(days=3)
    assert [m.step for m in lost.here.store.outbox_in(OutboxState.SENT)] == ["first", "second", "third"]
    there = lost.restored()
    if sent_is_read:
        lost.read_sent()
    tried = there.work()
    for _ in range(30):
        lost.read_sent()
        for doubt in there.store.outbox_in(OutboxState.IN_DOUBT):
            outbox.look(there.inst, doubt, "Sent", True, there.now)
        tried += there.run(hours=12)
    assert lost.twice(tried) == set()
    sent = {m.step: m.sent_at for m in there.store.outbox_in(OutboxState.SENT)}
    assert sent.keys() == {"first", "second", "third"}
    assert not sent_is_read or sent == {m.step: m.sent_at for m in lost.sent}


def test_an_answer_that_is_heard_again_sends_nothing_again(lost: Lost) -> None:
    lost.here.enroll(DANA, "quick")
    (first,) = lost.here.work()
    lost.back_up()
    answer = lost.here.mail("Talk to Barry Jones at North, barry@north.test.", to=first)
    lost.here.receive(answer)
    lost.here.run(days=3)
    assert len(lost.here.store.outbox_in(OutboxState.SENT)) > 2
    there = lost.restored()
    lost.read_sent()
    there.receive(answer)
    tried = there.work()
    for _ in range(30):
        tried += there.run(hours=12)
    assert lost.twice(tried) == set()
    assert {(m.enrollment, m.step) for m in tried} & {(m.enrollment, m.step) for m in lost.sent} == set()
    assert {(m.recipient, m.text) for m in tried} & {(m.recipient, m.text) for m in lost.sent} == set()
