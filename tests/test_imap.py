"""Reading mailboxes over real sockets: Dovecot for what servers do, a scripted server for what they do at the worst moment.

IDLE is renewed and folders are read in full only after minutes here, unless a test says otherwise: what arrives within the
test arrived because the server announced it or because somebody asked. A Diary is the receiver: it keeps positions as the
store does, and a test waits for an entry, never for a time."""

from __future__ import annotations

import base64
import contextlib
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import servers

from engine import imap
from engine.account import Account
from engine.demo.world import MailWorld
from engine.imap import Fetched, Link, Position, Unreadable, by_role
from engine.watcher import Watcher

PATIENCE_SECONDS = 20.0  # a test that waits so long has failed
NAMES = itertools.count(1)


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


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def user(dovecot: servers.Dovecot) -> str:
    """A fresh mailbox for each test."""
    address = f"box{next(NAMES)}@demo.test"
    dovecot.add_user(address)
    return address


def account(dovecot: servers.Dovecot, user: str, **changes: object) -> Account:
    usual = Account("localhost", dovecot.imaps_port, "tls", user, lambda: dovecot.users[user], cafile=dovecot.cafile)
    return replace(usual, **changes)  # type: ignore[arg-type]


@pytest.fixture
def watched(dovecot: servers.Dovecot, user: str, diary: Diary) -> Iterator[Watcher]:
    """The fresh mailbox, watched as "rep" and read for the first time."""
    with watching(diary) as watcher:
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
        yield watcher


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


# --- reading ---


def test_the_first_read_only_records_how_far_the_mailbox_goes(
    dovecot: servers.Dovecot, user: str, diary: Diary
) -> None:
    dovecot.deliver(user, letter("old"))
    with watching(diary) as watcher:
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
        assert diary.mail == []
        assert diary.positions["rep", "INBOX"].uid == 1
        assert {folder for _, folder in diary.positions} == {"INBOX", "Junk", "Sent", "Archive"}
        dovecot.deliver(user, letter("new"))
        diary.until_mail("new")
    assert diary.names() == ["new"]


def test_the_first_read_hands_on_what_came_since_a_given_day(dovecot: servers.Dovecot, user: str, diary: Diary) -> None:
    now = datetime.now(UTC)
    dovecot.append(user, "INBOX", letter("old"), at=now - timedelta(days=30))
    dovecot.append(user, "INBOX", letter("lately"), at=now - timedelta(days=1))
    dovecot.append(user, "INBOX", letter("old-too"), at=now - timedelta(days=20))
    diary.since = now - timedelta(days=5)
    with watching(diary) as watcher:
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
    assert diary.names() == ["lately"]
    assert diary.positions["rep", "INBOX"].uid == 3


def test_mail_is_handed_on_when_the_server_announces_it(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    raw = letter("announced", "Grüße")
    dovecot.deliver(user, raw)
    diary.until_mail("announced")
    message = diary.mail[0]
    assert (message.mailbox, message.folder, message.kind, message.uid) == ("rep", "INBOX", "inbox", 1)
    assert message.raw.endswith(raw) and message.size == len(message.raw)
    assert message.received_at.tzinfo is UTC and abs(message.received_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_reading_leaves_no_mark_on_the_reps_mail(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    dovecot.deliver(user, letter("unseen"))
    diary.until_mail("unseen")
    assert settled(watched.read_now("rep"))
    assert dovecot.flags(user) == [b"1 (FLAGS (\\Recent))"]


def test_a_read_on_demand_has_handed_on_everything_before_it_says_so(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    """The gate. SEARCH alone answers from an old view; eight times it must not."""
    for turn in range(8):
        dovecot.deliver(user, letter(f"inbox-{turn}"))
        for folder in ("Junk", "Archive", "Sent"):
            dovecot.append(user, folder, letter(f"{folder}-{turn}"))
        asked_at = datetime.now(UTC)
        assert settled(watched.read_now("rep"))
        expected = {f"{folder}-{turn}" for folder in ("inbox", "Junk", "Archive", "Sent")}
        assert expected <= set(diary.names()), (turn, diary.names())
        assert diary.reads[-1][0] == "rep" and diary.reads[-1][1] >= asked_at
    assert {message.kind for message in diary.mail} == {"inbox", "junk", "archive", "sent"}
    assert len(diary.names()) == len(set(diary.names())) == 32


def test_reads_asked_for_at_the_same_time_are_one_read(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    busy, go_on = threading.Event(), threading.Event()

    def receive(_: Fetched) -> None:
        busy.set()
        assert go_on.wait(PATIENCE_SECONDS)

    diary.receive = receive
    dovecot.deliver(user, letter("slow"))
    assert busy.wait(PATIENCE_SECONDS)
    reads = len(diary.reads)
    asked = [watched.read_now("rep") for _ in range(20)]
    go_on.set()
    assert all(map(settled, asked))
    assert len(diary.reads) == reads + 1


def test_mail_that_comes_while_another_is_handed_on_is_not_missed(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    def receive(message: Fetched) -> None:
        name = name_of(message.raw)
        if name.startswith("first"):
            dovecot.deliver(user, letter(name.replace("first", "second")))

    diary.receive = receive
    for turn in range(5):
        dovecot.deliver(user, letter(f"first-{turn}"))
        diary.until_mail(f"first-{turn}", f"second-{turn}")
    assert len(diary.mail) == 10


def test_many_messages_come_once_each_and_in_order(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    names = [f"m{i}" for i in range(120)]
    for name in names:
        dovecot.deliver(user, letter(name))
    diary.until_mail(*names)
    assert settled(watched.read_now("rep"))
    assert sorted(diary.names()) == sorted(names)
    assert [message.uid for message in diary.mail] == list(range(1, 121))


def test_a_huge_message_is_read_in_part(dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher) -> None:
    dovecot.append(user, "INBOX", letter("small-1"))
    dovecot.append(user, "INBOX", letter("huge", "x" * 70 + ("\r\n" + "y" * 998) * 26_000))
    dovecot.append(user, "INBOX", letter("small-2"))
    assert settled(watched.read_now("rep"))
    assert diary.names() == ["small-1", "huge", "small-2"]
    huge = diary.mail[1]
    assert huge.size > 25_000_000 and len(huge.raw) == 262_144


def test_a_draft_is_not_mail(dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher) -> None:
    """All Mail at Gmail holds drafts: half a letter is not the rep's hand."""
    dovecot.append(user, "Archive", letter("draft"), flags="\\Draft")
    dovecot.append(user, "Archive", letter("letter"))
    dovecot.append(user, "Archive", letter("last-draft"), flags="\\Draft")
    assert settled(watched.read_now("rep"))
    assert diary.names() == ["letter"]
    assert diary.positions["rep", "Archive"].uid == 3


def test_a_server_is_asked_for_one_thing_at_a_time_by_one_thread(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    """Every kind of question at once, from many threads, while mail comes: all are answered, nothing twice."""
    questions: list[Future[Any]] = []
    ask = [
        lambda i: watched.read_now("rep"),
        lambda i: watched.append_sent("rep", letter(f"sent-{i}"), datetime.now(UTC)),
        lambda i: watched.find("rep", f"<never-{i}@acme.test>"),
    ]
    threads = [
        threading.Thread(target=lambda i=i: questions.append(ask[i % 3](i)))  # type: ignore[misc]
        for i in range(30)
    ]
    for i, thread in enumerate(threads):
        thread.start()
        if i % 6 == 0:
            dovecot.deliver(user, letter(f"m{i}"))
    for thread in threads:
        thread.join()
    assert not wait(questions, PATIENCE_SECONDS).not_done
    assert [q.exception() for q in questions] == [None] * 30
    assert settled(watched.read_now("rep"))
    assert sorted(diary.names("INBOX")) == sorted(f"m{i}" for i in range(0, 30, 6))
    assert sorted(diary.names("Sent")) == sorted(f"sent-{i}" for i in range(1, 30, 3))


# --- what goes wrong ---


def test_a_dropped_connection_loses_nothing_and_repeats_nothing(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    for turn in range(3):
        dovecot.deliver(user, letter(f"before-{turn}"))
        diary.until_mail(f"before-{turn}")
        downs = len(diary.downs)
        assert dovecot.kill_sessions()
        diary.until(lambda downs=downs: len(diary.downs) > downs)
        dovecot.deliver(user, letter(f"meanwhile-{turn}"))
        diary.until_mail(f"meanwhile-{turn}")
    assert len(diary.names()) == len(set(diary.names())) == 6
    assert all("closed the connection" in sentence and not login for _, sentence, login in diary.downs)


def test_a_restart_of_the_server_loses_nothing(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    dovecot.stop()
    diary.until(lambda: diary.downs)
    assert settled(watched.read_now("rep")) is False  # not readable is not read
    dovecot.start()
    dovecot.deliver(user, letter("after"))
    diary.until_mail("after")
    assert diary.names() == ["after"]


@pytest.mark.parametrize("days", [None, 3])
def test_a_folder_that_is_numbered_anew_is_read_again_by_date(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher, days: int | None
) -> None:
    dovecot.deliver(user, letter("known"))
    diary.until_mail("known")
    first = diary.positions["rep", "INBOX"]
    diary.since = datetime.now(UTC) - timedelta(days=days) if days else None
    dovecot.renumber(user)
    diary.until(lambda: diary.positions["rep", "INBOX"].uidvalidity != first.uidvalidity)
    assert settled(watched.read_now("rep"))
    assert diary.names() == ["known"] * (2 if days else 1)  # the receiver knows it by its Message-ID
    dovecot.deliver(user, letter("new"))
    diary.until_mail("new")


def test_a_folder_that_vanishes_does_not_stop_the_others(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    with dovecot.client(user) as client:
        client.create("Spam")
        client.delete("Junk")
    dovecot.deliver(user, letter("inbox"))
    assert settled(watched.read_now("rep"))
    assert diary.names() == ["inbox"] and diary.downs == []


def test_a_message_that_cannot_be_handed_on_is_set_aside_and_the_next_goes_on(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    tries: list[str] = []

    def receive(message: Fetched) -> None:
        tries.append(name_of(message.raw))
        if tries[-1] == "poison" or tries == ["shaky"]:
            raise ValueError("what is this?")

    diary.receive = receive
    for name in ("shaky", "poison", "good"):
        dovecot.append(user, "Archive", letter(name))
    assert settled(watched.read_now("rep"))
    assert tries == ["shaky", "shaky", "poison", "poison", "poison", "good"]
    assert diary.names() == ["shaky", "good"] and diary.downs == []
    [(message, sentence)] = diary.aside
    assert name_of(message.raw) == "poison" and "what is this?" in sentence


def test_a_message_is_set_aside_once(dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher) -> None:
    def receive(_: Fetched) -> None:
        raise ValueError("what is this?")

    diary.receive = receive
    dovecot.append(user, "Archive", letter("poison"))
    assert settled(watched.read_now("rep"))
    assert settled(watched.read_now("rep"))
    assert len(diary.aside) == 1 and diary.positions["rep", "Archive"].uid == 1


def test_a_receiver_that_is_out_of_order_for_a_while_loses_nothing(
    dovecot: servers.Dovecot, user: str, diary: Diary
) -> None:
    """The store is gone: nothing can be set aside either, so the position stays and the mail comes again."""
    gone = threading.Event()

    def refuse(*_: object) -> None:
        if gone.is_set():
            raise RuntimeError("the store is gone")

    diary.receive = refuse
    diary.on_set_aside = refuse  # type: ignore[method-assign]
    with watching(diary, retry_seconds_max=0.1) as watcher:
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
        gone.set()
        dovecot.deliver(user, letter("one"))
        dovecot.deliver(user, letter("two"))
        diary.until(lambda: diary.downs)
        assert "could not be handed on" in diary.downs[0][1]
        gone.clear()
        diary.until_mail("one", "two")
    assert diary.names() == ["one", "two"]


def test_a_refused_login_is_told_once_and_not_tried_again_for_minutes(
    dovecot: servers.Dovecot, user: str, diary: Diary
) -> None:
    with watching(diary) as watcher:
        watcher.add("rep", account(dovecot, user, secret=lambda: "wrong"))
        assert settled(watcher.read_now("rep")) is False
        assert [settled(watcher.read_now("rep")) for _ in range(5)] == [False] * 5
        with pytest.raises(Unreadable, match="refused the login"):
            settled(watcher.find("rep", "<x@demo.test>"))
        assert settled(watcher.append_sent("rep", letter("x"), datetime.now(UTC))) is False
    [(name, sentence, login)] = diary.downs
    assert name == "rep" and login and "check user and password" in sentence and "wrong" not in sentence


def test_one_failing_mailbox_does_not_stop_the_others(dovecot: servers.Dovecot, user: str, diary: Diary) -> None:
    with watching(diary) as watcher:
        watcher.add("broken", Account("127.0.0.1", 1, "tls", "x", lambda: "y"))
        watcher.add("locked", account(dovecot, user, secret=lambda: "wrong"))
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
        dovecot.deliver(user, letter("fine"))
        diary.until_mail("fine")
    assert {name for name, _, _ in diary.downs} == {"broken", "locked"}


def test_a_mailbox_that_is_not_watched_any_more_gives_no_answers(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    watched.remove("rep")
    assert settled(watched.read_now("rep")) is False
    with pytest.raises(Unreadable):
        settled(watched.find("rep", "<x@demo.test>"))
    watched.add("rep", account(dovecot, user))
    assert settled(watched.read_now("rep"))


# --- Sent ---


def test_a_sent_message_is_found_by_its_id_or_by_our_own(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    headers = "To: Barry <barry@prospect.test>\r\nReferences: <first@x.test>\r\n <own-1@demo.test>\r\n"
    dovecot.append(user, "Sent", letter("rewritten-by-the-server", headers=headers))
    now = datetime.now(UTC)
    assert settled(watched.find("rep", "<rewritten-by-the-server@acme.test>")) == "Sent"
    assert settled(watched.find("rep", "<ours@demo.test>", "<own-1@demo.test>")) == "Sent"
    assert settled(watched.find("rep", "<ours@demo.test>", "<own-2@demo.test>", "barry@prospect.test", now)) is None
    assert settled(watched.find("rep", "<ours@demo.test>")) is None
    dovecot.append(user, "Sent", letter("tagged", headers="To: barry@prospect.test\r\nX-Trace: <own-2@demo.test>\r\n"))
    assert settled(watched.find("rep", "<ours@demo.test>", "<own-2@demo.test>", "barry@prospect.test", now)) == "Sent"
    later = now + timedelta(days=5)
    assert settled(watched.find("rep", "<ours@demo.test>", "<own-2@demo.test>", "barry@prospect.test", later)) is None


def test_a_message_that_was_sent_a_moment_ago_is_found(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    for turn in range(5):
        assert settled(watched.find("rep", f"<s{turn}@acme.test>")) is None
        dovecot.append(user, "Sent", letter(f"s{turn}"))
        assert settled(watched.find("rep", f"<s{turn}@acme.test>")) == "Sent"


def test_a_copy_is_filed_once_and_read(dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher) -> None:
    at = datetime(2026, 3, 5, 10, 0, tzinfo=UTC)
    for _ in range(2):
        assert settled(watched.append_sent("rep", letter("copy").replace(b"\r\n", b"\n"), at)) is True
    assert dovecot.messages(user, "Sent") == [letter("copy")]
    assert b"\\Seen" in dovecot.flags(user, "Sent")[0]
    assert settled(watched.read_now("rep"))
    assert [message.received_at for message in diary.mail] == [at]


def test_what_is_asked_of_a_server_that_is_gone_is_no_answer(
    dovecot: servers.Dovecot, user: str, diary: Diary, watched: Watcher
) -> None:
    dovecot.stop()
    try:
        with pytest.raises(Unreadable):
            settled(watched.find("rep", "<x@demo.test>"))  # an absence would have to be proven
        assert settled(watched.append_sent("rep", letter("copy"), datetime.now(UTC))) is False
    finally:
        dovecot.start()


# --- logging in ---


@pytest.mark.parametrize("security", ["tls", "starttls", "none"])
@pytest.mark.parametrize("password", ["secret", 'a "quoted" \\ one', "pässwörd€"])
def test_every_kind_of_connection_and_password_logs_in(dovecot: servers.Dovecot, security: str, password: str) -> None:
    user = f"box{next(NAMES)}@demo.test"
    dovecot.add_user(user, password)
    port = dovecot.imaps_port if security == "tls" else dovecot.imap_port
    found = imap.check(account(dovecot, user, port=port, security=security))
    assert found == {"inbox": "INBOX", "junk": "Junk", "sent": "Sent", "archive": "Archive"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret": lambda: "wrong"}, "refused the login of rep@demo.test: [AUTHENTICATIONFAILED]"),
        ({"secret": lambda: "wröng"}, "refused the login of rep@demo.test: [AUTHENTICATIONFAILED]"),
        ({"secret": lambda: ""}, "is empty"),
        ({"oauth": True}, "renew the access token"),
        ({"cafile": ""}, "certificate that cannot be trusted"),
        ({"cafile": "/nowhere/ca.pem"}, "`cafile: /nowhere/ca.pem` cannot be read"),
        ({"port": 1}, "nothing listens there"),
        ({"host": "no-such-host.invalid"}, "check the host name"),
        ({"host": "192.0.2.1", "security": "none"}, "in the clear"),
        ({"security": "starttls"}, "did not answer in time"),
    ],
)
def test_a_wrong_account_is_explained(dovecot: servers.Dovecot, changes: dict[str, object], words: str) -> None:
    said = imap.check(account(dovecot, "rep@demo.test", **changes), connect_seconds=2)
    assert isinstance(said, str) and words in said, said


def test_tls_on_a_port_without_it_is_explained(dovecot: servers.Dovecot) -> None:
    said = imap.check(account(dovecot, "rep@demo.test", port=dovecot.imap_port))
    assert isinstance(said, str) and "use `security: starttls`" in said


# --- which folder is which ---


@pytest.mark.parametrize(
    ("listed", "roles"),
    [
        ([("INBOX",)], {"inbox": "INBOX"}),
        ([("Sent Items", "\\Sent"), ("Sent",)], {"sent": "Sent Items"}),
        ([("[Gmail]", "\\Noselect"), ("[Gmail]/Alle Nachrichten", "\\All"), ("[Gmail]/Spam", "\\Junk"),
          ("[Gmail]/Gesendet", "\\Sent"), ("Archiv",)],
         {"all": "[Gmail]/Alle Nachrichten", "junk": "[Gmail]/Spam", "sent": "[Gmail]/Gesendet"}),
        ([("INBOX/Sent",), ("INBOX/Spam",), ("INBOX/Archive",)],
         {"sent": "INBOX/Sent", "junk": "INBOX/Spam", "archive": "INBOX/Archive"}),
        ([("Gesendete Objekte",), ("Spamverdacht",)], {"sent": "Gesendete Objekte", "junk": "Spamverdacht"}),
        ([("Éléments envoyés",), ("Courrier indésirable",)], {"sent": "Éléments envoyés", "junk": "Courrier indésirable"}),
        ([("Отправленные",), ("Спам",)], {"sent": "Отправленные", "junk": "Спам"}),
        ([("Clients/Acme/Sent",), ("Clients/Junk",)], {}),
        ([("Sent", "\\NonExistent"), ("Archive", "\\NOSELECT")], {}),
    ],
)  # fmt: skip
def test_folders_are_known_by_their_use_or_else_by_their_name(
    listed: list[tuple[str, ...]], roles: dict[str, str]
) -> None:
    rows = [([flag.encode() for flag in flags], b"/", name) for name, *flags in listed]
    assert by_role(rows) == {"inbox": "INBOX"} | roles


# --- a scripted server: the worst moments ---


@dataclass
class Stub:
    """A small IMAP server with an INBOX. `hooks` are called before a command is carried out, and may say something first."""

    mail: dict[int, bytes] = field(default_factory=dict)
    capabilities: str = "IMAP4rev1 IDLE"
    folders: tuple[str, ...] = ("INBOX",)
    hooks: dict[str, Callable[[servers.Line, str], bool | None]] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    heard: list[str] = field(default_factory=list)
    connections: int = 0

    def account(self, **changes: object) -> Account:
        usual = Account(self.host, self.port, "none", "rep", lambda: "secret")
        return replace(usual, **changes)  # type: ignore[arg-type]

    def talk(self, line: servers.Line) -> None:
        self.connections += 1
        line.say("* OK a stub")
        while True:
            tag, _, command = line.hear().decode().partition(" ")
            verb = command.removeprefix("UID ").partition(" ")[0]
            self.heard.append(command)
            hook = self.hooks.get(verb)
            if hook is None or not hook(line, tag):
                getattr(self, f"_{verb.lower()}", self._anything)(line, tag, command)

    def _anything(self, line: servers.Line, tag: str, command: str) -> None:
        line.say(f"{tag} OK done")

    def _capability(self, line: servers.Line, tag: str, command: str) -> None:
        line.say(f"* CAPABILITY {self.capabilities}\r\n{tag} OK done")

    def _list(self, line: servers.Line, tag: str, command: str) -> None:
        line.say("".join(f'* LIST () "/" "{name}"\r\n' for name in self.folders) + f"{tag} OK done")

    def _examine(self, line: servers.Line, tag: str, command: str) -> None:
        line.say(
            f"* {len(self.mail)} EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n"
            f"* OK [UIDNEXT {max(self.mail, default=0) + 1}] .\r\n{tag} OK [READ-ONLY] done"
        )

    def _search(self, line: servers.Line, tag: str, command: str) -> None:
        first = int(command.split()[3].partition(":")[0])
        uids = [uid for uid in self.mail if uid >= first] or list(self.mail)[-1:]
        line.say(f"* SEARCH {' '.join(map(str, uids))}\r\n{tag} OK done")

    def _fetch(self, line: servers.Line, tag: str, command: str) -> None:
        for uid in map(int, command.split()[2].split(",")):
            raw = self.mail[uid]
            if "BODY" in command:
                line.say(f"* {uid} FETCH (UID {uid} BODY[] {{{len(raw)}}}\r\n".encode() + raw + b")\r\n")
            else:
                line.say(
                    f"* {uid} FETCH (UID {uid} RFC822.SIZE {len(raw)} FLAGS () "
                    'INTERNALDATE "05-Mar-2026 10:00:00 +0100")'
                )
        line.say(f"{tag} OK done")

    def _idle(self, line: servers.Line, tag: str, command: str) -> None:
        line.say("+ idling")
        line.hear()
        line.say(f"{tag} OK done")

    def _logout(self, line: servers.Line, tag: str, command: str) -> None:
        line.say(f"* BYE\r\n{tag} OK done")
        raise ConnectionResetError


@contextlib.contextmanager
def stub(**settings: Any) -> Iterator[Stub]:
    one = Stub(**settings)
    with servers.scripted(one.talk, host=one.host) as one.port:
        yield one


def once(act: Callable[[servers.Line, str], bool | None]) -> Callable[[servers.Line, str], bool | None]:
    """A hook that acts the first time only."""
    left = [act]
    return lambda line, tag: left.pop()(line, tag) if left else None


def announced_with_idling(server: Stub, line: servers.Line, tag: str) -> bool:
    server.mail[1] = letter("hidden")
    line.say(b"+ idling\r\n* 1 EXISTS\r\n")
    line.hear()
    line.say(f"{tag} OK done")
    return True


def announced_before_idling(server: Stub, line: servers.Line, tag: str) -> bool:
    server.mail[1] = letter("hidden")
    line.say(b"* OK still here\r\n* 1 EXISTS\r\n+ idling\r\n")
    line.hear()
    line.say(f"{tag} OK done")
    return True


def announced_with_the_search(server: Stub, line: servers.Line, tag: str) -> bool:
    """The answer is from before, the news comes along with it, and IDLE will not say it again: so does Dovecot."""
    server.mail[1] = letter("hidden")
    line.say(f"* SEARCH\r\n* 1 EXISTS\r\n{tag} OK done")
    return True


@pytest.mark.parametrize(
    ("verb", "moment"),
    [
        ("IDLE", announced_with_idling),
        ("IDLE", announced_before_idling),
        ("SEARCH", announced_with_the_search),
    ],
)
def test_mail_that_is_announced_at_the_worst_moment_is_read(
    diary: Diary, verb: str, moment: Callable[[Stub, servers.Line, str], bool]
) -> None:
    with stub() as server, watching(diary) as watcher:
        diary.positions["rep", "INBOX"] = Position(7, 0)
        server.hooks[verb] = once(lambda line, tag: moment(server, line, tag))
        watcher.add("rep", server.account())
        diary.until_mail("hidden")
    assert diary.names() == ["hidden"] and diary.downs == []


def test_mail_announced_with_the_last_search_before_idling_is_read(diary: Diary) -> None:
    """Every SEARCH of the first visit answers from before; the news comes with the last of them."""
    with stub() as server, watching(diary) as watcher:
        diary.positions["rep", "INBOX"] = Position(7, 0)
        searches = itertools.count(1)

        def late(line: servers.Line, tag: str) -> bool:
            if next(searches) < 3:  # the inbox is read first, last, and once more before IDLE
                line.say(f"* SEARCH\r\n{tag} OK done")
                return True
            server.hooks.clear()
            return announced_with_the_search(server, line, tag)

        server.hooks["SEARCH"] = late
        watcher.add("rep", server.account())
        diary.until_mail("hidden")


def test_mail_that_keeps_coming_at_the_worst_moment_is_all_read(diary: Diary) -> None:
    def one_more(line: servers.Line, tag: str) -> bool:
        more = len(server.mail) < len(names)
        if more:
            server.mail[len(server.mail) + 1] = letter(names[len(server.mail)])
        line.say(f"+ idling\r\n* {len(server.mail)} EXISTS\r\n".encode() if more else b"+ idling\r\n")
        line.hear()
        line.say(f"{tag} OK done")
        return True

    names = [f"m{i}" for i in range(30)]
    with stub(hooks={"IDLE": one_more}) as server, watching(diary) as watcher:
        diary.positions["rep", "INBOX"] = Position(7, 0)
        watcher.add("rep", server.account())
        diary.until_mail(*names)
    assert diary.names() == names


def test_a_server_that_speaks_each_time_that_idle_begins_is_polled_and_not_pestered(diary: Diary) -> None:
    def repeat(line: servers.Line, tag: str) -> bool:
        line.say(f"+ idling\r\n* {len(server.mail)} EXISTS\r\n".encode())
        line.hear()
        line.say(f"{tag} OK done")
        return True

    with stub(hooks={"IDLE": repeat}) as server, watching(diary, poll_seconds=0.1) as watcher:
        watcher.add("rep", server.account())
        diary.until(lambda: diary.reads)
        server.mail[1] = letter("polled")
        diary.until_mail("polled")
    assert diary.downs == []
    assert server.heard.count("IDLE") < 100  # without a limit, thousands


def test_a_line_that_comes_in_pieces_is_read_whole(diary: Diary) -> None:
    def pieces(line: servers.Line, tag: str) -> bool:
        line.say("+ idling")
        for piece in (b"* 1 EX", b"IS", b"TS\r", b"\n"):
            line.say(piece)
            time.sleep(0.02)
        line.hear()
        line.say(f"{tag} OK done")
        return True

    with stub() as server, watching(diary) as watcher:
        watcher.add("rep", server.account())
        assert settled(watcher.read_now("rep"))
        server.hooks["IDLE"] = once(pieces)
        server.mail[1] = letter("pieces")
        assert settled(watcher.read_now("rep"))
        server.mail[2] = letter("more")
        assert settled(watcher.read_now("rep"))
    assert diary.names() == ["pieces", "more"] and diary.downs == []


def test_a_connection_that_died_unnoticed_is_replaced_for_whoever_asks(diary: Diary) -> None:
    """As after a laptop's sleep: nobody told us, and the gate still gets its answer at the first try."""

    idling = threading.Event()

    def die_in_idle(line: servers.Line, tag: str) -> bool:
        line.say("+ idling")
        idling.set()
        line.hear()
        raise ConnectionResetError

    with stub(hooks={"IDLE": once(die_in_idle)}) as server, watching(diary) as watcher:
        watcher.add("rep", server.account())
        assert settled(watcher.read_now("rep"))
        assert idling.wait(PATIENCE_SECONDS)
        server.mail[1] = letter("asleep")
        assert settled(watcher.read_now("rep"))
    assert diary.names() == ["asleep"] and diary.downs == [] and server.connections == 2


def test_a_server_without_idle_is_asked_again_and_again(diary: Diary) -> None:
    with stub(capabilities="IMAP4rev1") as server, watching(diary, poll_seconds=0.02) as watcher:
        watcher.add("rep", server.account())
        assert settled(watcher.read_now("rep"))
        server.mail[1] = letter("polled")
        diary.until_mail("polled")
        reads = len(diary.reads)
        server.mail[2] = letter("polled-again")
        diary.until_mail("polled-again")
        assert len(diary.reads) == reads  # the inbox alone
    assert "IDLE" not in server.heard and "NOOP" in server.heard


def test_every_folder_is_read_again_and_again_whatever_idle_says(diary: Diary) -> None:
    with stub(folders=("INBOX", "Junk")) as server, watching(diary, full_read_seconds=0.05) as watcher:
        watcher.add("rep", server.account())
        diary.until(lambda: len(diary.reads) >= 4)
    opened = [command.split()[1] for command in server.heard if command.startswith("EXAMINE")]
    assert opened[:6] == ['"INBOX"', '"Junk"', '"INBOX"', '"INBOX"', '"Junk"', '"INBOX"']
    assert diary.downs == []


def test_idle_is_renewed(diary: Diary) -> None:
    with stub() as server, watching(diary, idle_seconds=0.05) as watcher:
        watcher.add("rep", server.account())
        diary.until(lambda: diary.reads)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while server.heard.count("IDLE") < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert server.heard.count("IDLE") >= 4 and len(diary.reads) == 1 and diary.downs == []


def test_a_message_that_the_server_does_not_give_is_set_aside_and_the_next_is_read(diary: Diary) -> None:
    def withhold(line: servers.Line, tag: str) -> bool:
        command = server.heard[-1]
        if "BODY" not in command or "1" not in command.split()[2].split(","):
            return False
        line.say(f"{tag} NO [SERVERBUG] it is damaged")
        return True

    with stub(mail={1: letter("damaged"), 2: letter("fine")}) as server, watching(diary) as watcher:
        diary.positions["rep", "INBOX"] = Position(7, 0)
        server.hooks["FETCH"] = withhold
        watcher.add("rep", server.account())
        diary.until_mail("fine")
    assert diary.names() == ["fine"]
    [(message, sentence)] = diary.aside
    assert (message.uid, message.raw) == (1, b"") and "it is damaged" in sentence
    assert len(diary.downs) == 2  # it was given three chances


def test_a_message_that_is_gone_when_it_is_fetched_is_passed_over(diary: Diary) -> None:
    def forget(line: servers.Line, tag: str) -> bool:
        if "BODY" in server.heard[-1]:
            line.say(f"* 1 FETCH (UID 1 FLAGS (\\Deleted))\r\n{tag} OK done")
        else:
            line.say(f"* 1 FETCH (UID 1 FLAGS ())\r\n{tag} OK done")  # nor does it say how large it was
        return "1" in server.heard[-1].split()[2].split(",")

    with stub(mail={1: letter("gone")}) as server, watching(diary) as watcher:
        diary.positions["rep", "INBOX"] = Position(7, 0)
        server.hooks["FETCH"] = forget
        watcher.add("rep", server.account())
        diary.until(lambda: diary.reads)
        del server.hooks["FETCH"]
        server.mail[2] = letter("next")
        assert settled(watcher.read_now("rep"))
    assert diary.names() == ["next"] and diary.positions["rep", "INBOX"] == Position(7, 2)


def test_a_token_is_sent_as_xoauth2(diary: Diary) -> None:
    def log_in(line: servers.Line, tag: str) -> bool:
        line.say("+ ")
        tokens.append(base64.b64decode(line.hear()))
        line.say(f"{tag} OK welcome")
        return True

    tokens: list[bytes] = []
    with stub(capabilities="IMAP4rev1 AUTH=XOAUTH2", hooks={"AUTHENTICATE": log_in}) as server:
        assert imap.check(server.account(oauth=True, secret=lambda: "a-token")) == {"inbox": "INBOX"}
    assert tokens == [b"user=rep\1auth=Bearer a-token\1\1"]


def test_a_refused_token_is_a_refused_login(diary: Diary) -> None:
    def refuse(line: servers.Line, tag: str) -> bool:
        line.say("+ ")
        line.hear()
        line.say("+ eyJzdGF0dXMiOiI0MDAifQ==")
        assert line.hear() == b""  # the client accepts the refusal
        line.say(f"{tag} NO [AUTHENTICATIONFAILED] expired")
        return True

    with (
        stub(capabilities="IMAP4rev1 AUTH=XOAUTH2", hooks={"AUTHENTICATE": refuse}) as server,
        pytest.raises(Unreadable, match="renew the access token") as raised,
    ):
        log_in(server.account(oauth=True))
    assert raised.value.login


@pytest.mark.parametrize(
    ("answer", "login"),
    [
        ("NO [AUTHENTICATIONFAILED] wrong", True),
        ("NO [ALERT] Application-specific password required", True),
        ("NO [UNAVAILABLE] try later", False),
        ("NO [ALERT] Too many simultaneous connections. (Failure)", False),
        ("", False),
    ],
)
def test_only_a_refused_login_is_called_one(answer: str, login: bool) -> None:
    def reply(line: servers.Line, tag: str) -> bool:
        if not answer:
            raise ConnectionResetError  # lost during the login
        line.say(f"{tag} {answer}")
        return True

    with stub(hooks={"LOGIN": reply}) as server, pytest.raises(Unreadable) as raised:
        log_in(server.account())
    assert raised.value.login is login, raised.value


def test_the_password_is_in_no_text_even_if_the_server_repeats_it() -> None:
    def repeat(line: servers.Line, tag: str) -> bool:
        line.say(f"{tag} NO secret is wrong")
        return True

    with stub(hooks={"LOGIN": repeat}) as server, pytest.raises(Unreadable) as raised:
        log_in(server.account())
    shown = [raised.value, raised.value.__cause__, raised.value.__cause__ and raised.value.__cause__.__cause__]
    assert not any("secret" in str(error) for error in shown), shown


def test_without_a_sent_folder_nothing_is_proven_and_a_copy_makes_one(diary: Diary) -> None:
    def create(line: servers.Line, tag: str) -> bool:
        server.folders += ("Sent",)
        return False

    def append(line: servers.Line, tag: str) -> bool:
        size = int(server.heard[-1].rpartition("{")[2].rstrip("}"))
        line.say("+ go on")
        copies.append(line.read(size))
        line.hear()
        return False

    copies: list[bytes] = []
    with stub(hooks={"CREATE": create, "APPEND": append, "SEARCH": find_nothing}) as server, watching(diary) as watcher:
        watcher.add("rep", server.account())
        with pytest.raises(Unreadable, match="no Sent folder"):
            settled(watcher.find("rep", "<x@demo.test>"))
        assert settled(watcher.append_sent("rep", letter("copy"), datetime.now(UTC))) is True
        assert settled(watcher.find("rep", "<x@demo.test>")) is None
    assert copies == [letter("copy")] and "CREATE Sent" in " ".join(server.heard).replace('"', "")
    assert server.connections == 1


def find_nothing(line: servers.Line, tag: str) -> bool:
    line.say(f"* SEARCH\r\n{tag} OK done")
    return True


# --- the server of the demo ---


def test_the_embedded_server_is_read_like_any_other(diary: Diary) -> None:
    """pymap has no SPECIAL-USE and writes its lines in pieces."""
    with (
        MailWorld({"rep@demo.test": "secret"}, frozenset(), lambda: datetime.now(UTC)) as world,
        watching(diary) as watcher,
    ):
        watcher.add("rep", Account("127.0.0.1", world.imap_port, "none", "rep@demo.test", lambda: "secret"))
        assert settled(watcher.read_now("rep"))
        names = [f"m{i}" for i in range(30)]
        for name in names:
            world.deliver("rep@demo.test", letter(name))
        diary.until_mail(*names)
        world.deliver("rep@demo.test", letter("asked"))
        assert settled(watcher.read_now("rep"))
        assert diary.names("INBOX") == [*names, "asked"]
        sent = letter("sent", headers="References: <own@demo.test>\r\n")
        assert settled(watcher.append_sent("rep", sent, datetime.now(UTC)))
        assert settled(watcher.append_sent("rep", sent, datetime.now(UTC)))
        assert settled(watcher.find("rep", "<sent@acme.test>")) == "Sent"
        assert settled(watcher.find("rep", "<other@demo.test>", "<own@demo.test>")) == "Sent"
        assert settled(watcher.find("rep", "<other@demo.test>")) is None
        assert settled(watcher.read_now("rep"))
        assert diary.names("Sent") == ["sent"] and diary.downs == []


# --- the dead and the many ---


def test_half_open_peers_hold_up_nobody_else(dovecot: servers.Dovecot, user: str, diary: Diary) -> None:
    """Six servers with six mailboxes each went away without a word, and their IDLE is due: more than there are workers. The
    healthy mailbox, due as well, is heard and asked meanwhile: in one queue for all it would wait for their time-outs,
    which are longer than this test's patience."""
    silent = threading.Event()
    stuck = threading.Semaphore(0)

    def fall_silent(line: servers.Line, tag: str) -> bool:
        if silent.is_set():
            stuck.release()
            threading.Event().wait(PATIENCE_SECONDS * 3)
        return False

    def idle_and_fall_silent(line: servers.Line, tag: str) -> bool:
        line.say("+ idling")
        line.hear()
        fall_silent(line, tag)
        line.say(f"{tag} OK done")
        return True

    with contextlib.ExitStack() as stack:
        watcher = stack.enter_context(watching(diary, idle_seconds=0.3, answer_seconds=PATIENCE_SECONDS * 3))
        for host in range(2, 8):
            server = stack.enter_context(stub(host=f"127.0.0.{host}", hooks={"IDLE": idle_and_fall_silent}))
            for i in range(6):
                watcher.add(f"dead-{host}-{i}", server.account())
        watcher.add("rep", account(dovecot, user))
        diary.until(lambda: len({name for name, _ in diary.reads}) == 37)
        silent.set()
        for _ in range(16):
            assert stuck.acquire(timeout=PATIENCE_SECONDS)  # every worker for what is due waits for a dead peer
        for turn in range(5):
            dovecot.deliver(user, letter(f"heard-{turn}"))
            diary.until_mail(f"heard-{turn}")
            dovecot.append(user, "Junk", letter(f"asked-{turn}"))
            assert settled(watcher.read_now("rep"))
            assert f"asked-{turn}" in diary.names()
        assert diary.downs == []


def test_a_server_that_never_greets_keeps_nobody_from_connecting_elsewhere(
    dovecot: servers.Dovecot, user: str, diary: Diary
) -> None:
    """It has forty mailboxes, more than there are workers to connect."""
    calls, over = threading.Semaphore(0), threading.Event()

    def never_greet(line: servers.Line) -> None:
        calls.release()
        over.wait(PATIENCE_SECONDS * 3)

    with servers.scripted(never_greet) as port, watching(diary, connect_seconds=PATIENCE_SECONDS * 2) as watcher:
        for i in range(40):
            watcher.add(f"dead-{i}", Account("127.0.0.1", port, "none", "x", lambda: "y"))
        for _ in range(4):
            assert calls.acquire(timeout=PATIENCE_SECONDS)
        watcher.add("rep", account(dovecot, user))
        assert settled(watcher.read_now("rep"))
        assert diary.downs == []
        over.set()


def test_stopping_does_not_wait_for_the_dead(diary: Diary) -> None:
    silent = threading.Event()

    def fall_silent(line: servers.Line, tag: str) -> bool:
        silent.set()
        threading.Event().wait(PATIENCE_SECONDS * 3)
        return True

    with stub() as server, watching(diary, answer_seconds=PATIENCE_SECONDS * 3) as watcher:
        watcher.add("rep", server.account())
        assert settled(watcher.read_now("rep"))
        server.hooks["EXAMINE"] = fall_silent
        asked = watcher.read_now("rep")
        assert silent.wait(PATIENCE_SECONDS)
        stopping = threading.Thread(target=watcher.stop)
        stopping.start()
        stopping.join(PATIENCE_SECONDS)
        assert not stopping.is_alive()  # long before the time-out
        assert asked.result(0) is False


def test_a_hundred_mailboxes_are_watched_at_once(dovecot: servers.Dovecot, diary: Diary) -> None:
    users = [f"many{i}@demo.test" for i in range(100)]
    for address in users:
        dovecot.add_user(address)
    with watching(diary) as watcher:
        for address in users:
            watcher.add(address, account(dovecot, address))
        assert all(map(settled, [watcher.read_now(address) for address in users]))
        threads = threading.active_count()
        for address in users:
            dovecot.deliver(address, letter(address.partition("@")[0]))
        diary.until_mail(*(address.partition("@")[0] for address in users))
        assert threads < 60  # a thread for each would not do for a thousand
    assert len(diary.mail) == 100 and diary.downs == []
    assert all(message.mailbox.startswith(name_of(message.raw)) for message in diary.mail)


def test_more_descriptors_than_the_usual_limit_are_allowed() -> None:
    import resource

    with watching(Diary()):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= min(hard, 65_536)


def test_a_connection_sends_without_delay_and_notices_a_dead_peer(dovecot: servers.Dovecot, user: str) -> None:
    link = log_in(account(dovecot, user))
    try:
        sock = link._client.socket()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    finally:
        link.close()
