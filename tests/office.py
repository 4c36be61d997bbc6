"""A rep's office without wires: a real store, the real verbs, a small library, and a clock that stands until it is moved.

What the server answers and what comes in is said by the test; everything between is the code that runs. The fixtures at the
end open the store on either database, a fresh one for each test."""

from __future__ import annotations

import functools
import hashlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import servers

from engine import enrollments, inbox, outbox
from engine.config import load_config
from engine.core.model import Contact, Enrollment, OutboxMessage, OutboxState, State
from engine.core.needs import Refusal
from engine.database import Database, open_database
from engine.enrollments import Wish
from engine.imap import Fetched, Kind
from engine.inbox import Received
from engine.installation import Installation
from engine.library import Library, parse
from engine.outbox import Claim, NeedsRead, Nothing
from engine.smtp import Accepted, Cancelled, Result
from engine.store import Store, open_store

MONDAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SAM, KIM = "sam@demo.test", "kim@demo.test"
DANA, LEE, BARRY, SUE = "dana@acme.test", "lee@acme.test", "barry@north.test", "sue@harbour.test"
BARRY_PERSON = {"name": "Barry Jones", "email": BARRY}
SUE_PERSON = {"name": "Sue Okoro", "email": SUE}
OK = Accepted("250 ok")

CONFIG = f"""
store: ":memory:"
company: {{name: Demo, domains: [demo.test], zone: UTC}}
mailboxes:
  - {{address: {SAM}, name: Sam Carter, aliases: [s.carter@demo.test], per_day: 100, gap: 0-0 seconds}}
  - {{address: {KIM}, name: Kim Novak, per_day: 100, gap: 0-0 seconds}}
windows:
  business_hours: {{days: mon-fri, from: "09:00", to: "17:00"}}
frequency_cap: 3 days
company_cap: 0 days
"""

_WORDS = {
    "hello": "---\nsubject: Hello {{ client.first_name }}\n---\nHello {{ client.first_name }}, how is the month-end closing at yours these days?\n",
    "again": "---\nsubject: Again\n---\nDid you get a chance to look at what I wrote about the closing?\n",
    "last": "---\nsubject: Last\n---\nThis is the last time that I write about the closing, I promise.\n",
    "who_else": "---\nsubject: Who else?\n---\nWho else do you know with the problem that we solved for you?\n",
    "thanks": "---\nsubject: Thank you\n---\nThank you so much for introducing {{ prospect.name }}.\n",
    "outreach": "---\nsubject: A word\n---\nHello {{ prospect.first_name }}, {{ client.name }} said that we should talk.\n",
    "note": "---\nsubject: Note\n---\nA note for the rep about {{ client.name }}.\n",
    "one": "---\nsubject: One\n---\nThe one.\n",
    "two": "---\nsubject: Two\n---\nThe other.\n",
}

_SEQUENCES = {
    # Three emails and every plain answer: what most tests need.
    "nudge": """
name: Nudge
kind: touch
to: client
steps:
  - {id: first, email: hello}
  - {id: second, wait: 3 days, email: again}
  - {id: third, wait: 3 days, email: last}
when:
  confirmed: {set: {value: confirmed}, stop: confirmed}
  declined: {stop: declined}
""",
    "other": """
name: Other
kind: touch
to: client
steps:
  - {id: first, email: hello}
  - {id: second, wait: 3 days, email: again}
""",
    "ask": """
name: Ask
kind: ask
to: client
steps:
  - {id: who_else, email: who_else}
  - {id: reminder, wait: 1 week, email: again}
  - {id: anyone, aside: true, email: last}
when:
  named: {set: {referral: named}, start: intro, goto: anyone}
  introduced: {set: {referral: introduced}, stop: introduced, start: thanks}
  declined: {stop: declined}
""",
    "intro": """
name: Intro
kind: intro
to: client
needs: {prospect: person}
thread: inherit
steps:
  - {id: introduction, at: start + 1 day, email: again}
  - {id: nudge, wait: 1 day, email: last}
when:
  introduced: {set: {referral: introduced}, stop: introduced, start: thanks}
  declined: {stop: declined}
""",
    "thanks": """
name: Thanks
kind: thanks
to: client
needs: {prospect: person}
thread: answer
steps:
  - {id: thanks, email: thanks}
""",
    "outreach": """
name: Outreach
kind: outreach
to: prospect
needs: {prospect: person}
steps:
  - {id: first, email: outreach, approve: true}
  - {id: second, wait: 3 days, email: again}
when:
  introduced: {stop: introduced}
""",
    # Beside the prospect, the client is written to.
    "both": """
name: Both
kind: outreach
to: prospect
needs: {prospect: person}
steps:
  - {id: first, email: outreach}
  - {id: told, email: hello, to: client}
  - {id: told_again, wait: 3 days, email: again, to: client}
""",
    "parent": """
name: Parent
kind: touch
to: client
needs: {prospect: optional person}
steps:
  - {id: first, email: hello}
  - {id: child, start: intro}
""",
    "apart": """
name: A thread for each
kind: touch
to: client
thread: new
steps:
  - {id: first, email: hello}
  - {id: second, wait: 3 days, email: again}
""",
    "split": """
name: Split
kind: touch
to: client
steps:
  - {id: first, variants: {a: one, b: two}}
""",
    "until": """
name: Until
kind: touch
to: client
needs: {call: datetime}
steps:
  - {id: before, at: call - 2 days, until: call - 2 hours, email: hello}
  - {id: after, at: call + 1 day, email: again}
""",
    "asks_the_rep": """
name: Overdue asks
kind: touch
to: client
steps:
  - {id: first, wait: 1 hour, email: hello}
  - {id: second, wait: 1 day, email: again, late: skip}
  - {id: third, wait: 1 day, email: last, late: send}
""",
    "rests": """
name: Rests
kind: touch
to: client
steps:
  - {id: first, email: hello}
when:
  declined: {stop: declined, start: nudge, after: 2 weeks}
""",
}


def library(sequences: Mapping[str, str] | None = None, templates: Mapping[str, str] | None = None) -> Library:
    """The office's sequences and templates, with more or others in their places."""
    files = {f"sequences/{name}.yaml": text for name, text in {**_SEQUENCES, **(sequences or {})}.items()}
    files |= {f"templates/{name}.md": text for name, text in {**_WORDS, **(templates or {})}.items()}
    found, problems = parse(files)
    assert not problems, [str(p) for p in problems]
    return found


class Office:
    """One installation with two reps, at one moment. `now` moves only by `later` and `run`."""

    def __init__(self, store: Store, folder: Path, config: str = CONFIG, books: Library | None = None) -> None:
        (folder / "config.yaml").write_text(config)
        loaded = load_config(folder / "config.yaml", {})
        self.store, self.now = store, MONDAY
        self.inst = Installation(loaded, store, books or library(), b"k" * 32)
        self.epochs: dict[str, int] = {}
        self._uids = itertools.count(1)
        for mailbox in loaded.mailboxes:
            store.add_mailbox(mailbox.address)
            epoch = store.lease(mailbox.address, "test", self.now, self.now + timedelta(days=3650))
            assert epoch is not None
            self.epochs[mailbox.address] = epoch
            store.save_position(mailbox.address, "INBOX", 1, 0, self.now - timedelta(days=1))
            store.save_position(mailbox.address, "Sent", 1, 0, self.now - timedelta(days=1))

    # --- time and the outbox -----------------------------------------------------------------------------------------

    def later(self, **length: float) -> None:
        self.now += timedelta(**length)

    def read(self, address: str = SAM) -> None:
        """The mailbox was read to its end, just now."""
        self.store.read_to_end(address, self.now, self.now)

    def claim(self, address: str = SAM) -> Claim | NeedsRead | Nothing:
        return outbox.claim(self.inst, address, self.epochs[address], self.now)

    def claimed(self, address: str = SAM) -> Claim:
        """The next message, claimed; the mailbox is read first."""
        self.read(address)
        found = self.claim(address)
        assert isinstance(found, Claim), found
        return found

    def start(self, claim: Claim) -> bool:
        return outbox.start(self.inst, claim, self.now)

    def record(self, claim: Claim, result: Result = OK) -> None:
        outbox.record(self.inst, claim, result, self.now)

    def deliver(self, claim: Claim, result: Result = OK) -> None:
        """As the daemon does it: the body begins only when the gate says so."""
        self.record(claim, result if self.start(claim) else Cancelled())

    def work(self, result: Result = OK, reads: bool = True) -> list[OutboxMessage]:
        """Everything that is due and may leave now leaves, with this result; returns what was tried."""
        tried: list[OutboxMessage] = []
        moved = True
        while moved:
            before = len(tried)
            moved = enrollments.advance(self.inst, self.now) > 0
            due = self.store.mailboxes_due(self.now)
            for address in filter(due.__contains__, self.epochs):
                if reads:
                    self.read(address)
                while isinstance(found := self.claim(address), Claim):
                    self.deliver(found, result)
                    tried.append(found.message)
            moved = moved or len(tried) > before
        return tried

    def run(self, result: Result = OK, **length: float) -> list[OutboxMessage]:
        """Lets time pass, stopping wherever something is due."""
        end, tried = self.now + timedelta(**length), []
        while (due := self.store.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            before = self.store.next_due()
            tried += self.work(result)
            if self.store.next_due() == before:
                self.now += timedelta(minutes=1)
        self.now = max(self.now, end)
        return tried

    # --- enrollments -------------------------------------------------------------------------------------------------

    def wish(
        self, email: str, sequence: str, rep: str = SAM, override: str = "", **values: Any
    ) -> Enrollment | list[Refusal]:
        return enrollments.enroll(
            self.inst, Wish(email, sequence, values, rep, override, contact=named(email)), self.now
        )

    def enroll(self, email: str = DANA, sequence: str = "nudge", **values: Any) -> Enrollment:
        done = self.wish(email, sequence, **values)
        assert isinstance(done, Enrollment), [str(refusal) for refusal in done]
        return done

    def confirmed(self, email: str = DANA) -> None:
        """A client who has confirmed the value they had."""
        contact = self.store.contact_at(email)
        kept = contact or self.store.add_contact(Contact("", email, owner=SAM, **named(email)))
        self.store.confirm(kept.id, self.now)

    def of(self, enrollment: Enrollment | str) -> Enrollment:
        """As it is now; by a sequence's name, the one that was begun last."""
        if isinstance(enrollment, Enrollment):
            found = self.store.enrollment(enrollment.id)
        else:
            found = next((e for e in reversed(self.store.all_enrollments()) if e.sequence == enrollment), None)
        assert found is not None, enrollment
        return found

    def state(self, enrollment: Enrollment | str) -> State:
        return self.of(enrollment).state

    def sent(self, enrollment: Enrollment | str | None = None) -> list[str]:
        """The steps that were sent, in their order."""
        rows = self.store.outbox_in(OutboxState.SENT)
        if enrollment is not None:
            rows = [m for m in rows if m.enrollment == self.of(enrollment).id]
        return [m.step for m in sorted(rows, key=lambda m: m.sent_at or self.now)]

    def rows(self, enrollment: Enrollment | str) -> list[OutboxMessage]:
        return self.store.outbox_of(self.of(enrollment).id)

    # --- mail --------------------------------------------------------------------------------------------------------

    def receive(
        self,
        raw: bytes,
        mailbox: str = SAM,
        folder: str = "INBOX",
        kind: Kind = "inbox",
        received_at: datetime | None = None,
        uidvalidity: int = 1,
    ) -> Received:
        at = received_at or self.now
        fetched = Fetched(mailbox, folder, kind, uidvalidity, next(self._uids), raw, len(raw), at)
        return inbox.receive(self.inst, fetched, self.now)

    def hear(self, text: str, sender: str = DANA, to: OutboxMessage | None = None, **more: Any) -> Received:
        """An answer to one of our emails (None: a mail of its own) arrives in Sam's mailbox."""
        where = {k: more.pop(k) for k in ("mailbox", "folder", "kind", "received_at", "uidvalidity") if k in more}
        return self.receive(self.mail(text, sender, to, **more), **where)

    def mail(
        self, text: str, sender: str = DANA, to: OutboxMessage | None = None, subject: str = "", **headers: str
    ) -> bytes:
        """The bytes of a mail; an answer names what it answers, as mail programs do."""
        message = EmailMessage()
        message["From"], message["To"] = sender, headers.pop("To", SAM)
        message["Subject"] = subject or (f"Re: {to.subject}" if to else "A word")
        message["Message-ID"] = headers.pop(
            "Message_ID", f"<{next(self._uids)}.{len(text)}@{sender.rpartition('@')[2]}>"
        )
        message["Date"] = self.now
        if to:
            message["In-Reply-To"] = to.message_id
            message["References"] = f"{to.own_id} {to.message_id}"
        for name, value in headers.items():
            message[name.replace("_", "-")] = value
        message.set_content(text)
        return message.as_bytes()

    def report(self, about: OutboxMessage, status: str, recipient: str = "", message_id: str = "") -> bytes:
        """A delivery status notification (RFC 3464) about one of our emails, or about somebody else's."""
        boundary = hashlib.sha256(status.encode()).hexdigest()[:16]
        wrong = recipient or about.recipient
        action = "failed" if status[0] == "5" else "delayed"
        return (
            f"From: MAILER-DAEMON@mx.test\r\nTo: {SAM}\r\nSubject: Undelivered Mail Returned to Sender\r\n"
            f"Message-ID: <dsn{next(self._uids)}@mx.test>\r\nMIME-Version: 1.0\r\nAuto-Submitted: auto-replied\r\n"
            f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"\r\n\r\n'
            f"--{boundary}\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n"
            f"--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\n"
            f"Final-Recipient: rfc822; {wrong}\r\nAction: {action}\r\nStatus: {status}\r\n"
            f"Diagnostic-Code: smtp; {status.replace('.', '')} {status} no\r\n\r\n"
            f"--{boundary}\r\nContent-Type: text/rfc822-headers\r\n\r\n"
            f"From: {SAM}\r\nTo: {wrong}\r\nMessage-ID: {message_id or about.message_id}\r\n\r\n--{boundary}--\r\n"
        ).encode()


NAMES: Mapping[str, Mapping[str, str]] = {
    DANA: {"name": "Dana Whitfield", "company": "Acme"},
    LEE: {"name": "Lee Moran", "company": "Acme"},
    BARRY: {"name": "Barry Jones"},
}


def named(email: str) -> Mapping[str, str]:
    return NAMES.get(email) or {"name": f"Client {email.partition('@')[0].title()}"}


# --- stores ----------------------------------------------------------------------------------------------------------


_SCHEMAS = itertools.count(1)


@contextmanager
def fresh_schema(url: str) -> Iterator[str]:
    """The URL of an empty schema of a PostgreSQL, dropped afterwards."""
    import psycopg

    name = f"test_{next(_SCHEMAS)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {name}")
        try:
            yield f"{url}?options=-csearch_path%3D{name}"
        finally:
            admin.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def either_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database: a SQLite file, then a schema of PostgreSQL."""
    if request.param == "sqlite":
        yield str(tmp_path / "whoelse.db")
        return
    with fresh_schema(request.getfixturevalue("postgres_url")) as url:
        yield url


@pytest.fixture
def one_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """A SQLite in memory; for a test that is marked with BOTH, then a schema of PostgreSQL, too."""
    if getattr(request, "param", "") != "postgresql":
        yield ":memory:"
        return
    with fresh_schema(request.getfixturevalue("postgres_url")) as url:
        yield url


BOTH = pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.real)], indirect=True
)


@pytest.fixture
def either_store(either_url: str) -> Iterator[Store]:
    store = open_store(either_url)
    yield store
    store.close()


@contextmanager
def in_memory() -> Iterator[Callable[[], Store]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(open_store(":memory:")))


@functools.cache
def kept(url: str, number: int) -> Database:
    """A database of this PostgreSQL with its schema, open for the whole run: to make one takes longer than most tests."""
    return open_database(servers.new_database(url))


def emptied(database: Database) -> Store:
    """A store in it, with nothing in it. Rows are few, so DELETE is far cheaper than TRUNCATE."""
    told = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migration'"
    tables = [name for (name,) in database.connection.execute(told).fetchall()]
    deletes = "".join(f"DELETE FROM {table};" for table in tables)
    database.connection.execute(f"SET session_replication_role = replica; {deletes} RESET session_replication_role")
    return Store(database)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def either_stores(request: pytest.FixtureRequest) -> Iterator[Callable[[], Store]]:
    """Opens empty stores that share nothing: SQLite in memory, then PostgreSQL."""
    if request.param == "sqlite":
        with in_memory() as stores:
            yield stores
        return
    url, numbers = request.getfixturevalue("postgres_url"), itertools.count()
    yield lambda: emptied(kept(url, next(numbers)))


@pytest.fixture
def either_office(stores: Callable[[], Store], tmp_path: Path) -> Office:
    return Office(stores(), tmp_path)


@pytest.fixture
def one_office(tmp_path: Path) -> Iterator[Office]:
    store = open_store(":memory:")
    yield Office(store, tmp_path)
    store.close()


@pytest.fixture
def new_office(tmp_path: Path) -> Iterator[Callable[..., Office]]:
    """Offices with a config or a library of their own."""
    with in_memory() as stores:
        yield functools.partial(build, stores, tmp_path)


@pytest.fixture
def either_new_office(stores: Callable[[], Store], tmp_path: Path) -> Callable[..., Office]:
    return functools.partial(build, stores, tmp_path)


def build(stores: Callable[[], Store], tmp_path: Path, **more: Any) -> Office:
    return Office(stores(), Path(tempfile.mkdtemp(dir=tmp_path)), **more)
