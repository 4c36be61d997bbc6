"""The loops of the daemon over real sockets, with a server that accepts and a mailbox that misbehaves: what waits, what passes, in which
order it leaves. Only the clock jumps; a test waits for something to be so, never for a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import crash
import office
import pytest
from mailboxes import PATIENCE_SECONDS
from office import DANA, LEE, MONDAY, SAM, SUE, Office
from scripted import Line, Stub, stub

from engine import doubts, troubles
from engine.clock import JumpClock
from engine.config import load_config
from engine.core.duration import parse_duration
from engine.core.model import Enrollment, OutboxMessage, OutboxState
from engine.daemon import LEASE_RENEWAL, Daemon
from engine.database import Database
from engine.enrollments import Wish, enroll
from engine.outbox import Nothing
from engine.project import open_installation
from engine.secrets import create_key
from engine.watcher import Watcher

there = office.one_office
GAP = timedelta(seconds=60)
TWO = """
name: Two
kind: touch
to: client
window: always
steps:
  - {id: first, email: three/mail}
  - {id: second, wait: 24 hours, email: three/mail}
"""
TOMORROW = (
    "name: T\nkind: touch\nto: client\nwindow: always\nsteps:\n  - {id: first, wait: 24 hours, email: three/mail}\n"
)


class Desk:
    """A running daemon, the server it sends to and the mailbox it reads."""

    def __init__(self, folder: Path, server: crash.Accepting, mailbox: Stub, more: str = "") -> None:
        box = crash.MAILBOX.format(rep=SAM, smtp=server.port, imap=mailbox.port, sent="server")
        (folder / "config.yaml").write_text(
            crash.CONFIG.format(store="whoelse.db") + box.replace("gap: 0-0 seconds", "gap: 60-90 seconds") + more
        )
        for name, text in (("sequences/two", TWO), ("sequences/tomorrow", TOMORROW)):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / f"{name}.yaml").write_text(text)
        (folder / "templates/three").mkdir(parents=True)
        (folder / "templates/three/mail.md").write_text(crash.TEMPLATE)
        create_key(folder / "secret.key")
        self.server, self.mailbox, self.clock = server, mailbox, JumpClock(datetime.now(UTC))
        config = load_config(folder / "config.yaml", os.environ)
        self.inst = open_installation(config, os.environ, self.clock.now(), print)
        self.daemon = Daemon(
            config, self.clock, self.inst.key, self.inst.library, watch=partial(Watcher, retry_seconds_max=0.2)
        )

    def enroll(self, address: str, sequence: str = "two") -> None:
        wish = Wish(address, sequence, {}, contact={"name": "Dana Whitfield"})
        assert isinstance(enroll(self.inst, wish, self.clock.now()), Enrollment)
        self.daemon.poke()

    def jump(self, **length: float) -> None:
        self.clock.jump_to(self.clock.now() + timedelta(**length))
        self.daemon.poke()

    async def until(self, so: Callable[[], Any], step: timedelta = GAP) -> None:
        """The clock goes on in small steps until something is so."""
        end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not so():
            assert asyncio.get_running_loop().time() < end, [row.note for row in self.rows()]
            self.jump(seconds=step.total_seconds())
            await asyncio.sleep(0.1)

    def answer_searches(self, answer: Callable[[list[str], str], str]) -> list[str]:
        """Says to each search for a Message-ID what `answer` makes of all that were sought, and the tag; returns those."""
        sought: list[str] = []

        def search(line: Line, tag: str) -> bool:
            if "Message-ID" not in self.mailbox.heard[-1]:
                return False
            sought.append(self.mailbox.heard[-1])
            line.say(answer(sought, tag))
            return True

        self.mailbox.hooks["SEARCH"] = search
        return sought

    def got(self) -> list[str]:
        """Whom the server has accepted an email for, in order."""
        return [recipient for _, _, recipient, _ in self.server.accepted]

    def rows(self) -> list[OutboxMessage]:
        return [row for state in OutboxState for row in self.inst.store.outbox_in(state)]

    def reads(self) -> int:
        return sum(command.startswith("UID SEARCH") for command in self.mailbox.heard)

    def keeps_its_pace(self) -> bool:
        at = sorted(row.sent_at for row in self.rows() if row.sent_at)
        return all(after - before >= GAP for before, after in zip(at, at[1:], strict=False))


@contextlib.asynccontextmanager
async def desk(folder: Path, monkeypatch: pytest.MonkeyPatch, *folders: str, more: str = "") -> AsyncIterator[Desk]:
    """`folders` are there beside the Inbox before the daemon looks; `more` are lines of the mailbox in the config."""
    monkeypatch.setenv("REP_PASSWORD", "secret")
    with crash.accepting() as server, stub() as mailbox:
        mailbox.folders += folders
        one = Desk(folder, server, mailbox, more)
        await one.daemon.start()
        try:
            yield one
        finally:
            await one.daemon.stop()
            one.inst.store.close()


def answer_to(accepted: tuple[float, str, str, bytes]) -> bytes:
    _, message_id, who, _ = accepted
    return (
        f"From: {who}\r\nTo: {SAM}\r\nSubject: Re: Hello\r\nMessage-ID: <a@acme.test>\r\nIn-Reply-To: {message_id}\r\n\r\n"
        "Interesting. When could we talk?\r\n"
    ).encode()


def refuse(line: Line, tag: str) -> bool:
    line.say(f"{tag} NO [UNAVAILABLE] out of order")
    return True


async def test_while_a_mailbox_cannot_be_read_follow_ups_wait_and_first_contacts_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... and once it can, they leave late, in their order, and no faster than ever."""
    async with desk(tmp_path, monkeypatch) as at:
        at.enroll(DANA)
        await at.until(lambda: at.got() == [DANA])
        at.enroll(LEE)
        await at.until(lambda: at.got() == [DANA, LEE])
        at.mailbox.hooks["SEARCH"] = refuse
        at.jump(days=1, hours=1)
        await at.until(lambda: any("cannot be read" in row.note for row in at.rows()))
        at.enroll(SUE)
        await at.until(lambda: SUE in at.got())
        assert at.got() == [DANA, LEE, SUE]
        said = [line.text for line in at.inst.store.history_since(MONDAY - timedelta(days=9)) if line.kind == "held"]
        assert said and all("out of order" in text for text in said)
        state = at.inst.store.mailbox(SAM)
        assert state and state.read_error and state.read_failed_at
        at.mailbox.hooks.clear()
        await at.until(lambda: len(at.got()) == 5)
        assert at.got() == [DANA, LEE, SUE, DANA, LEE]
        assert at.keeps_its_pace()


class Ops:
    """A program that is told of what goes wrong."""

    def __init__(self, folder: Path) -> None:
        self.heard = folder / "told"
        program = folder / "tell"
        program.write_text(f"#!/bin/sh\ncat >> {self.heard}\necho >> {self.heard}\n")
        program.chmod(0o755)
        self.config = f"    alert: {{command: {program}}}\n"

    def told(self) -> list[str]:
        """The kinds of the troubles, in order."""
        return [said["kind"] for said in self.said("trouble")]

    def said(self, event: str) -> list[dict[str, str]]:
        lines = self.heard.read_text().splitlines() if self.heard.exists() else []
        return [said for line in lines if (said := json.loads(line))["event"] == event]


def mailbox_tasks(at: Desk) -> list[str]:
    return [task.kind for task in at.inst.store.open_tasks() if task.urgent and task.rep == SAM]


async def test_a_mailbox_that_stays_unreadable_is_told_once_to_the_rep_and_to_ops_until_it_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops = Ops(tmp_path)
    async with desk(tmp_path, monkeypatch, more=ops.config) as at:
        at.mailbox.hooks["SEARCH"] = refuse
        await at.until(lambda: (state := at.inst.store.mailbox(SAM)) and state.read_failed_at)
        assert not mailbox_tasks(at)  # a minute is no trouble
        await at.until(ops.told)
        assert mailbox_tasks(at) == [troubles.READ] and ops.told() == ["unreadable"]
        (trouble,) = troubles.found(at.inst.store, at.inst.config.mailboxes, at.clock.now())
        assert trouble.since and at.clock.now() - trouble.since >= troubles.UNREAD_LIMIT
        failures = at.reads()
        await at.until(lambda: at.reads() > failures + 3)
        assert mailbox_tasks(at) == [troubles.READ]
        at.mailbox.hooks.clear()
        await at.until(lambda: not mailbox_tasks(at) and ops.said("trouble_over"))
        assert [over["trouble"] for over in ops.said("trouble_over")] == [
            trouble["id"] for trouble in ops.said("trouble")
        ]
        at.mailbox.hooks["SEARCH"] = refuse  # the next time is another trouble
        await at.until(lambda: len(ops.told()) == 2)


async def test_a_refused_login_at_either_server_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.watcher.LOGIN_RETRY_SECONDS", 0.2)
    ops = Ops(tmp_path)
    async with desk(tmp_path, monkeypatch, more=ops.config) as at:
        await at.until(at.reads, timedelta(0))
        monkeypatch.delenv("REP_PASSWORD")
        at.enroll(DANA)
        await at.until(ops.told, timedelta(0))
        assert mailbox_tasks(at) == [troubles.SEND] and ops.told() == ["login_refused"]
        at.mailbox.hooks["SEARCH"] = refuse  # it connects anew, and is not let in
        at.jump(seconds=10)
        await at.until(lambda: len(ops.told()) == 2, timedelta(0))
        assert sorted(mailbox_tasks(at)) == [troubles.READ, troubles.SEND] and set(ops.told()) == {"login_refused"}
        at.mailbox.hooks.clear()
        monkeypatch.setenv("REP_PASSWORD", "secret")
        await at.until(lambda: at.got() == [DANA] and not mailbox_tasks(at))


async def test_a_server_that_is_away_for_a_day_is_told_of_once_and_nothing_that_came_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was held meanwhile leaves late, in its order, at the usual pace; but not to Sue, who has answered."""
    ops = Ops(tmp_path)
    async with desk(tmp_path, monkeypatch, more=ops.config) as at:
        for number, address in enumerate((DANA, LEE, SUE), 1):
            at.enroll(address)
            await at.until(lambda wanted=number: len(at.got()) == wanted)  # type: ignore[misc]
        at.mailbox.go_away()
        for _ in range(25):
            before = at.mailbox.connections
            at.jump(hours=1)
            await at.until(lambda tries=before: at.mailbox.connections > tries)  # type: ignore[misc]
        await at.until(lambda: sum("cannot be read" in row.note for row in at.rows()) > 0)
        await at.until(ops.told)
        assert at.got() == [DANA, LEE, SUE]
        at.mailbox.mail[1] = answer_to(at.server.accepted[2])
        at.mailbox.is_away = False
        await at.until(lambda: len(at.got()) == 5)
        assert at.got() == [DANA, LEE, SUE, DANA, LEE]
        assert [row.recipient for row in at.rows() if row.state is OutboxState.QUEUED] == []
        assert [message.sender for message in at.inst.store.recent_inbound(9)] == [SUE]
        assert at.keeps_its_pace()
        await at.until(lambda: not mailbox_tasks(at))
        assert ops.told() == ["unreadable"]
        said = [line.text for line in at.inst.store.history_since(MONDAY - timedelta(days=9)) if line.kind == "held"]
        assert len(said) == len(set(said)) <= 3
        logged = [record.getMessage() for record in caplog.records if f"{SAM}: cannot be read" in record.getMessage()]
        assert len(logged) == len(set(logged)) <= 2, logged


async def test_idle_is_renewed_within_5_minutes_and_every_folder_read_as_often_as_the_config_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every 10 minutes by default. The other tests shorten it."""
    intervals = []
    async with desk(tmp_path, monkeypatch) as at:
        for config in (at.daemon.config, replace(at.daemon.config, full_read=parse_duration("3 minutes"))):
            daemon = Daemon(config, at.clock, at.inst.key, at.inst.library)
            await daemon.start(loops=False)
            intervals.append((daemon._watcher._idle_seconds, daemon._watcher._full_read_seconds))
            await daemon.stop()
    assert intervals == [(300, 600), (300, 180)]


async def test_after_a_jump_of_the_clock_mail_is_read_before_any_is_sent_and_nothing_leaves_in_a_burst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop slept for two days: what became due meanwhile are first contacts, which need no read on any other day, and an
    email to somebody who has answered."""
    async with desk(tmp_path, monkeypatch) as at:
        at.enroll(DANA)
        await at.until(lambda: at.got() == [DANA])
        for address in (LEE, SUE):
            at.enroll(address, "tomorrow")
        at.mailbox.mail[1] = answer_to(at.server.accepted[0])
        before, read_by_then = at.reads(), list[int]()
        at.server.at = lambda point: read_by_then.append(at.reads()) if point == "data" else None
        at.jump(days=2)
        await at.until(lambda: len(at.got()) == 3, GAP / 4)
        assert set(at.got()[1:]) == {LEE, SUE}
        assert read_by_then[0] > before
        assert at.keeps_its_pace()
        at.jump(days=2)
        await at.until(lambda: at.reads() > read_by_then[-1])
        assert len(at.got()) == 3


async def test_two_copies_of_one_store_send_an_email_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file was copied by hand after Dana was enrolled, and both copies run: no lock can tell, Sent can."""
    async with desk(tmp_path, monkeypatch, "Sent") as at:
        at.answer_searches(lambda sought, tag: f"* SEARCH{' 1' if sought[-1] == sought[0] else ''}\r\n{tag} OK done")
        at.enroll(DANA)
        await at.until(lambda: any(row.state is OutboxState.SENT for row in at.rows()))
        assert at.got() == []
        assert any("another copy of this store" in line.text for line in at.inst.store.history_since(MONDAY))
        at.enroll(LEE)
        await at.until(lambda: at.got() == [LEE])


async def test_where_sent_could_not_be_looked_into_it_is_asked_before_the_next_email(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(tmp_path, monkeypatch, "Sent") as at:
        sought = at.answer_searches(lambda _, tag: f"* SEARCH\r\n{tag} OK done" if at.got() else f"{tag} NO later")
        at.enroll(DANA)
        await at.until(lambda: at.got() == [DANA])
        in_vain = len(sought)
        at.enroll(LEE)
        await at.until(lambda: at.got() == [DANA, LEE])
        assert 0 < in_vain < len(sought), sought


#: What may wait for a disk, a name or another program, by its audit event. Modules are loaded where they are needed.
WAITS = ("open", "sqlite3.connect", "socket.getaddrinfo", "subprocess.Popen", "os.listdir", "os.scandir", "time.sleep")
MODULES = (".py", ".pyc", ".so", "__pycache__")


@contextlib.contextmanager
def watched_thread(but: Database) -> Iterator[list[str]]:
    """What is done meanwhile on this thread that may wait, and every question to a store, except by `but`."""
    found: list[str] = []
    here, is_on = threading.get_ident(), True

    def note(event: str, args: tuple[Any, ...]) -> None:
        if (
            is_on
            and event in WAITS
            and threading.get_ident() == here
            and not str(args[:1]).rstrip("',)").endswith(MODULES)
        ):
            found.append(f"{event} {args[:1]} {traceback.format_stack(limit=6)}")

    def told(whole: Callable[..., Any]) -> Callable[..., Any]:
        def asked(self: Database, *given: Any, **more: Any) -> Any:
            if self is not but and threading.get_ident() == here:
                found.append(f"the store {traceback.format_stack(limit=6)}")
            return whole(self, *given, **more)

        return asked

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_execute", "transaction", "migrate"):
            patch.setattr(Database, name, told(getattr(Database, name)))
        sys.addaudithook(note)  # stays for good, and is deaf in the end
        try:
            yield found
        finally:
            is_on = False


async def test_nothing_waits_for_a_disk_a_store_or_a_name_on_the_thread_of_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... while it sends, reads, hears an answer and settles a doubt."""
    async with desk(tmp_path, monkeypatch, "Sent") as at:
        with watched_thread(but=at.inst.store.database) as found:
            at.answer_searches(lambda sought, tag: f"* SEARCH{' 1' if len(sought) > 1 else ''}\r\n{tag} OK done")
            at.server.at = lambda point: hang_up() if point == "accepted" else None
            at.enroll(DANA)
            await at.until(lambda: any(row.state is OutboxState.SENT for row in at.rows()))
            at.server.at = lambda point: None
            at.mailbox.mail[1] = answer_to(at.server.accepted[0])
            await at.until(lambda: at.inst.store.recent_inbound(9))
            at.enroll(LEE)
            await at.until(lambda: at.got() == [DANA, LEE])
    assert found == []


def hang_up() -> None:
    raise ConnectionResetError


async def test_what_a_search_for_a_doubt_has_shown_is_kept_until_the_doubt_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(tmp_path, monkeypatch, "Sent") as at:
        filed = list[bool]()
        at.answer_searches(lambda _, tag: f"* SEARCH{' 1' if filed else ''}\r\n{tag} OK done")
        at.server.at = lambda point: hang_up() if point == "accepted" else None
        at.enroll(DANA)
        await at.until(lambda: doubts.kept(at.inst.store), timedelta(0))
        (doubt,) = at.inst.store.outbox_in(OutboxState.IN_DOUBT)
        assert doubts.kept(at.inst.store)[doubt.id].found == "not found"
        filed.append(True)
        await at.until(lambda: not doubts.kept(at.inst.store), timedelta(0))
        assert [row.state for row in at.rows() if row.id == doubt.id] == [OutboxState.SENT]
        assert at.got() == [DANA]


class Hand:
    """A clock that is moved by hand."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    async def wait(self, until: datetime | None, wake: asyncio.Event) -> None:
        raise AssertionError("nobody waits here")


def test_another_daemon_takes_over_within_20_seconds(there: Office) -> None:
    """The first has just renewed its lease, and dies."""
    there.store.end_lease(SAM, "test")
    clock = Hand(MONDAY)
    first, second = (Daemon(there.inst.config, clock, b"k" * 32, there.inst.library) for _ in range(2))
    first._claim(there.inst, SAM)
    elsewhere = Nothing(MONDAY + LEASE_RENEWAL, "another daemon has this mailbox")
    assert second._claim(there.inst, SAM) == elsewhere
    while isinstance(found := second._claim(there.inst, SAM), Nothing) and found.why == elsewhere.why:
        assert found.until
        clock.at = found.until
    assert clock.at - MONDAY <= timedelta(seconds=20)
    lost = first._claim(there.inst, SAM)
    assert isinstance(lost, Nothing) and lost.why == elsewhere.why
