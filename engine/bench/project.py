"""The project that is measured: the sequences and templates that ship, one more sequence of a single email, and as many
mailboxes as a figure wants. Whoever is enrolled has written before, so every email is a follow-up and passes the gate."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.bench.harness import Ground
from engine.config import Config, load_config
from engine.core.model import Enrollment, InboundMessage, OutboxMessage, OutboxState
from engine.enrollments import Wish, advance, enroll
from engine.installation import Installation
from engine.letters import write
from engine.library import shipped_folder
from engine.outbox import BRAKE
from engine.project import edited_library
from engine.secrets import create_key, installation_key
from engine.store import open_store

SEQUENCE = "one_email"
ONE_EMAIL = """\
name: One email
about: What is measured.
kind: touch
to: client
needs: {problem: text, ideal_client: text}
window: always
steps:
  - {id: hello, email: ask/who_else}
when:
  finished: {stop: no_answer}
"""
LATER = "later"
#: Nothing is due for a month, and any answer ends it.
IN_A_MONTH = ONE_EMAIL.replace("One email", "Later").replace("{id: hello,", "{id: hello, at: start + 1 month,")
IN_A_MONTH += "  reply: {stop: answered}\n"
CONFIG = """\
store: whoelse.db
company: {name: Bench Consulting, domains: [bench.example], zone: Europe/Berlin, country: DE}
mailboxes:
"""
MAILBOX = """\
  - address: rep{n}@bench.example
    name: Sam Carter
    title: Partner
    smtp: {{host: 127.0.0.1, port: {smtp}, security: none}}
    imap: {{host: 127.0.0.1, port: {imap}, security: none}}
    password: {{file: password}}
    per_day: 2000
    gap: 0-0 seconds
    sent: server
    variables:
      problem: tenders that take weeks to put together
      ideal_client: a company of 20 to 200 people whose owner wants to spend fewer evenings on month-end closing
"""
UNUSED_PORT = 9


def make(folder: Path, smtp: int, mailboxes: int = 1, imap: int = UNUSED_PORT, password: str = "secret") -> Config:
    """Writes the project into an empty folder and reads its config."""
    for name in ("sequences", "templates"):
        shutil.copytree(shipped_folder() / name, folder / name)
    (folder / "sequences" / f"{SEQUENCE}.yaml").write_text(ONE_EMAIL)
    (folder / "sequences" / f"{LATER}.yaml").write_text(IN_A_MONTH)
    create_key(folder / "secret.key")
    secret = folder / "password"
    secret.touch(0o600)
    secret.write_text(f"{password}\n")
    (folder / "config.yaml").write_text(config_text(smtp, mailboxes, imap))
    return read(folder)


def config_text(smtp: int, mailboxes: int = 1, imap: int = UNUSED_PORT) -> str:
    return CONFIG + "".join(MAILBOX.format(n=n, smtp=smtp, imap=imap) for n in range(mailboxes))


def read(folder: Path) -> Config:
    """The config of a project that was made."""
    return load_config(folder / "config.yaml", {})


def opened(config: Config, ground: Ground | None = None) -> Installation:
    """The installation with its files applied; on one ground they are read and checked once."""
    library = ground.once("library", lambda: edited_library(config)) if ground else edited_library(config)
    return Installation(config, open_store(config.store), library, installation_key(config, {}))


def queue(inst: Installation, emails: int, now: datetime) -> None:
    """Enrolls as many people, spread over the mailboxes, until each has an email in the outbox; all at once."""
    queued = len(inst.store.outbox_in(OutboxState.QUEUED))
    for mailbox in inst.config.mailboxes:
        inst.store.add_mailbox(mailbox.address)
    with inst.store.transaction():
        for number in range(emails):
            rep = inst.config.mailboxes[number % len(inst.config.mailboxes)].address
            entered = enroll(inst, _wish(number, rep), now)
            assert isinstance(entered, Enrollment), entered
            inst.store.add_inbound(_wrote(inst, entered, rep, now))
        advance(inst, now)
    assert len(inst.store.outbox_in(OutboxState.QUEUED)) == queued + emails


def _wish(number: int, rep: str) -> Wish:
    person = {"name": f"Dana Whitfield {number}", "company": f"Client {number}"}
    return Wish(f"dana@client{number}-{secrets.token_hex(4)}.example", SEQUENCE, {}, rep, contact=person)


def _wrote(inst: Installation, entered: Enrollment, rep: str, now: datetime) -> InboundMessage:
    id = inst.store.new_id()
    return InboundMessage(
        id=id, mailbox=rep, folder="INBOX", uidvalidity=1, uid=1, message_id=f"<{id}@client.example>", digest=id,
        received_at=now, sender="", subject="Before", event="reply", rule="", contact=entered.contact, settled_at=now,
    )  # fmt: skip


def letters(inst: Installation, now: datetime) -> list[tuple[str, str, bytes]]:
    """(sender, recipient, ready bytes) of all that is queued, as it would leave."""
    return [(m.mailbox, m.recipient, _bytes(inst, m, now)) for m in inst.store.outbox_in(OutboxState.QUEUED)]


def _bytes(inst: Installation, message: OutboxMessage, now: datetime) -> bytes:
    enrollment = inst.store.enrollment(message.enrollment)
    assert enrollment is not None
    return write(inst, enrollment, message, now).raw


@contextmanager
def unsent(config: Config) -> Iterator[int]:
    """The brake is on, as by `whoelse pause --all`, so that a daemon can start and be at rest; gives how many emails wait."""
    with closing(open_store(config.store)) as store:
        store.set_setting(BRAKE, "bench")
        yield len(store.outbox_in(OutboxState.QUEUED))
        store.drop_setting(BRAKE)


class AlwaysRead:
    """In the watcher's place: a mailbox that is read to its end whenever somebody asks, in which nothing new lies."""

    def __init__(self, *, on_read: Callable[[str, datetime], None], **others: Any) -> None:
        self._on_read = on_read

    def add(self, name: str, account: Any) -> None: ...

    def stop(self) -> None: ...

    def read_now(self, name: str) -> Future[bool]:
        self._on_read(name, datetime.now(UTC))
        done: Future[bool] = Future()
        done.set_result(True)
        return done

    def find(self, *_: Any) -> Future[str | None]:
        done: Future[str | None] = Future()
        done.set_result(None)
        return done
