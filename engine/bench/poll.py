"""Reading a mailbox of a hundred thousand messages to its end when nothing is new, against one of a thousand; and against the
naive way, which fetches whatever is unseen."""

from __future__ import annotations

import contextlib
import imaplib
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from engine.account import Account
from engine.bench.harness import Ground, Row, compare, not_measured, seconds
from engine.bench.servers import Dovecot, Missing, dovecot
from engine.imap import Fetched, Position
from engine.watcher import Watcher

PATIENCE_SECONDS = 600.0
PASSWORD = "secret"
LARGE, SMALL = "large@bench.example", "small@bench.example"
MESSAGE = (
    "From: Dana <dana@client{n}.example>\nTo: rep\nSubject: Message {n}\nMessage-ID: <{n}@poll.example>\n\n{body}\n"
)
UNSEEN_OF = 100


def measure(ground: Ground) -> Iterator[Row]:
    many, few = ground.pick(20, 100_000), ground.pick(10, 1_000)
    try:
        with dovecot(ground.fresh("dovecot"), {LARGE: PASSWORD, SMALL: PASSWORD}) as server:
            fill(server, LARGE, many)
            fill(server, SMALL, few)
            with watching(server) as watcher:
                yield from rows(ground, server, watcher, many, few)
    except Missing as lacking:
        yield not_measured("poll/100k", "<=", 1.5, "ms", str(lacking))
        yield not_measured("poll/unseen", "<=", 0.05, "ms", str(lacking))


def rows(ground: Ground, server: Dovecot, watcher: Watcher, many: int, few: int) -> Iterator[Row]:
    turns = ground.pick(1, 20)

    def read(name: str) -> float:
        return 1000 * seconds(lambda: read_to_end(watcher, name), turns)

    if ground.wants("poll/100k"):
        note = f"{many:,} messages against {few:,}; every folder read to its end"
        yield compare(
            "poll/100k", "<=", 1.5, lambda: read(LARGE), lambda: read(SMALL), "ms", pairs=ground.pairs, note=note
        )
    if ground.wants("poll/unseen"):
        note = f"against SELECT, SEARCH UNSEEN and FETCH of the {len(range(0, many, UNSEEN_OF)):,} that the rep has not opened"
        yield compare(
            "poll/unseen", "<=", 0.05, lambda: read(LARGE), lambda: 1000 * seconds(lambda: naive(server, many)), "ms",
            pairs=ground.pick(1, 3), note=note,
        )  # fmt: skip


def fill(server: Dovecot, user: str, messages: int) -> None:
    """Straight into the Maildir, as if they had always been there; one in a hundred is unseen."""
    box = server.home / "mail" / user / "Maildir"
    for part in ("new", "tmp", "cur"):
        (box / part).mkdir(parents=True)
    body = "So it goes on. " * 40
    for n in range(messages):
        # Dovecot finds names by their last characters: where those are alike it looks through all of them each time.
        name = f"{1_700_000_000 + n}.bench.{n:06}:2,{'' if n % UNSEEN_OF == 0 else 'S'}"
        (box / "cur" / name).write_text(MESSAGE.format(n=n, body=body))
    for path in (box.parent, *box.parent.rglob("*")):
        shutil.chown(path, "nobody", "nogroup")


@contextlib.contextmanager
def watching(server: Dovecot) -> Iterator[Watcher]:
    positions: dict[tuple[str, str], Position] = {}

    def unexpected(fetched: Fetched) -> None:
        raise AssertionError(f"{fetched.uid} is not new")

    watcher = Watcher(
        position=lambda mailbox, folder: positions.get((mailbox, folder)), on_mail=unexpected,
        on_position=lambda mailbox, folder, position: positions.update({(mailbox, folder): position}),
        on_read=lambda mailbox, at: None, on_down=lambda mailbox, sentence, login: None,
        rescan=lambda mailbox, folder: None, now=lambda: datetime.now(UTC),
    )  # fmt: skip
    try:
        for user in (LARGE, SMALL):
            account = Account("127.0.0.1", server.imap_port, "none", user, lambda: PASSWORD)
            watcher.add(user, account)
            read_to_end(watcher, user)
        assert {folder for _, folder in positions} >= {"INBOX", "Junk", "Sent"}
        yield watcher
    finally:
        watcher.stop()


def read_to_end(watcher: Watcher, name: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not watcher.read_now(name).result(PATIENCE_SECONDS):
        assert time.monotonic() < deadline, f"{name} cannot be read"
        time.sleep(0.05)


def naive(server: Dovecot, messages: int) -> None:
    with imaplib.IMAP4("127.0.0.1", server.imap_port, timeout=PATIENCE_SECONDS) as imap:
        imap.login(LARGE, PASSWORD)
        imap.select("INBOX", readonly=True)
        (found,) = imap.search(None, "UNSEEN")[1]
        numbers = found.split()
        assert len(numbers) == len(range(0, messages, UNSEEN_OF))
        for number in numbers:
            assert imap.fetch(number.decode(), "(BODY.PEEK[])")[0] == "OK"
