"""A receiver for what the watcher hands on, and the letters that it gets: what the tests of reading share.

IDLE is renewed and folders are read in full only after minutes, unless a test says otherwise: what arrives within a test
arrived because the server announced it or because somebody asked. A test waits for an entry in the Diary, never for a time."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import servers

from engine import imap
from engine.account import Account
from engine.imap import Fetched, Link, Position
from engine.watcher import Watcher

NUMBERS = itertools.count(1)
PATIENCE_SECONDS = 60.0  # a test that waits so long has failed, on however slow a machine


def letter(name: str, body: str = "Hello", headers: str = "") -> bytes:
    return f"From: dana@acme.test\r\nMessage-ID: <{name}@acme.test>\r\n{headers}\r\n{body}\r\n".encode()


@dataclass
class Diary:
    """Receives what the watcher hands on, and keeps positions as a store would."""

    mail: list[Fetched] = field(default_factory=list)
    positions: dict[tuple[str, str], Position] = field(default_factory=dict)
    reads: list[tuple[str, datetime]] = field(default_factory=list)
    downs: list[tuple[str, str, bool]] = field(default_factory=list)
    aside: list[tuple[Fetched, str]] = field(default_factory=list)
    since: datetime | None = None
    receive: Callable[[Fetched], None] = lambda _: None
    changed: threading.Condition = field(default_factory=threading.Condition)

    def on_mail(self, message: Fetched) -> None:
        self.receive(message)
        with self.changed:
            self.mail.append(message)
            self.positions[message.mailbox, message.folder] = message.position
            self.changed.notify_all()

    def on_position(self, mailbox: str, folder: str, position: Position) -> None:
        self._note(lambda: self.positions.update({(mailbox, folder): position}))

    def on_read(self, mailbox: str, started_at: datetime) -> None:
        self._note(lambda: self.reads.append((mailbox, started_at)))

    def on_down(self, mailbox: str, sentence: str, login: bool) -> None:
        self._note(lambda: self.downs.append((mailbox, sentence, login)))

    def on_set_aside(self, message: Fetched, sentence: str) -> None:
        self._note(lambda: self.aside.append((message, sentence)))

    def _note(self, entry: Callable[[], object]) -> None:
        with self.changed:
            entry()
            self.changed.notify_all()

    def until(self, condition: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_SECONDS), self

    def until_mail(self, *names: str) -> None:
        self.until(lambda: set(names) <= set(self.names()))

    def names(self, folder: str = "") -> list[str]:
        """The messages handed on, by the name that `letter` gave them."""
        return [name_of(message.raw) for message in self.mail if folder in ("", message.folder)]


def name_of(raw: bytes) -> str:
    found = re.search(rb"Message-ID: <(.*?)@", raw)
    return found[1].decode() if found else ""


@contextlib.contextmanager
def watching(diary: Diary, **options: Any) -> Iterator[Watcher]:
    watcher = Watcher(
        position=lambda mailbox, folder: diary.positions.get((mailbox, folder)),
        on_mail=diary.on_mail,
        on_position=diary.on_position,
        on_read=diary.on_read,
        on_down=diary.on_down,
        on_set_aside=diary.on_set_aside,
        rescan=lambda mailbox, folder: diary.since,
        now=lambda: datetime.now(UTC),
        **options,
    )
    try:
        yield watcher
    finally:
        watcher.stop()


def account(dovecot: servers.Dovecot, user: str, **changes: object) -> Account:
    usual = Account("localhost", dovecot.imaps_port, "tls", user, lambda: dovecot.users[user], cafile=dovecot.cafile)
    return replace(usual, **changes)  # type: ignore[arg-type]


def fresh(dovecot: servers.Dovecot, password: str = "secret") -> str:
    """A mailbox that no other test knows."""
    address = f"box{next(NUMBERS)}@demo.test"
    dovecot.add_user(address, password)
    return address


def log_in(account: Account) -> Link:
    link = Link(account, 5, 30)
    try:
        link.log_in(account.secret())
    except Exception as error:
        link.drop()
        raise imap.unreadable(account, error) from error
    return link


def settled(future: Future[Any]) -> Any:
    return future.result(PATIENCE_SECONDS)
