"""A daemon that is killed or frozen, again and again, against a server that writes down whatever it accepts: that daemon (times
shortened, a death planned), the story around it, and the account of what must hold.

Nothing of this is known to the product: the deaths are patched in from outside. Each life is a process of its own, forked from
one that has loaded the program and never run it: loading it anew took most of a life."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import random
import re
import resource
import signal
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import servers

from engine.config import load_config
from engine.core.model import OutboxMessage, OutboxState, State
from engine.enrollments import Wish, enroll
from engine.installation import Installation
from engine.project import open_installation
from engine.rows import micros
from engine.secrets import create_key

#: In place of the product's own: the same protocol in seconds, not minutes.
SHORT = {
    "outbox.ATTEMPT_TIME": 3.0,
    "outbox.ANSWER_TIME": 1.0,
    "outbox.ABSENT_TWICE": 0.5,
    "outbox.READ_FRESH": 2.0,
    "outbox.BODY_TIME": 0.7,
    "outbox.UNREACHABLE_REST": 0.2,
    "daemon.LEASE": 1.0,
    "daemon.LEASE_RENEWAL": 0.3,
    "daemon.LOOK_AGAIN": 0.3,
    "daemon.LOOK_AROUND": 0.2,
    "daemon.READ_AGAIN": 0.2,
}
READ_FRESH_SECONDS = SHORT["outbox.READ_FRESH"]
#: Where several daemons share two processors each gets so little that it must have more time, and must not use it up by looking.
CROWD_PACE = 5.0
#: Nobody answers in a crowd, and to read anew before each email is most of what a slow machine does there.
CROWD_PACES = {"READ_FRESH": 30.0}
#: Where a daemon is struck: at each answer of the server ("answered": after its 250), before and after the commit of what claims
#: an email, of what lets its body begin, of what records it, and of any; at any instant.
SERVER_POINTS = [
    ("server", name) for name in ("greeting", "ehlo", "auth", "mail", "rcpt", "data", "accepted", "answered", "quit")
]
OWN_POINTS = [
    ("commit", "freeze"),
    ("committed", "freeze"),
    ("after", "start"),
    ("commit", "start_data"),
    ("committed", "start_data"),
    ("commit", "any"),
    ("committed", "any"),
    ("commit", "record_sent"),
    ("committed", "record_sent"),
]
POINTS = SERVER_POINTS + OWN_POINTS
#: A life meets these once, each email of it the others; and so many commits.
ONCE_A_LIFE = ("greeting", "ehlo", "auth", "quit")
EMAILS, COMMITS, INSTANT_SECONDS = 3, 80, 2.5
#: How long a daemon is frozen, in lengths of an attempt: where another can take over, also beyond the time after which that one
#: calls the attempt lost.
FROZEN_ALONE, FROZEN_BESIDE = (1.05, 1.3), (1.05, 2.3)
#: So long it goes on once it is thawed, then it is killed.
THAWED_SECONDS = (0.5, 1.5)
STEPS = ("first", "second", "third")
#: Nothing is judged by these: a story that is not over by then has failed, on however slow a machine.
END_SECONDS, CROWD_SECONDS = 600.0, 900.0
#: A server that files Sent takes a body only so soon after its 354: later than that, a shortened search may have found nothing.
FILES_WITHIN_SECONDS = SHORT["outbox.ANSWER_TIME"]

CONFIG = """
store: "{store}"
secret: secret.key
company: {{name: Demo, domains: [demo.test], zone: UTC}}
company_cap: 0 days
digest: off
alert: {{email: false}}
mailboxes:
"""
MAILBOX = """
  - address: {rep}
    name: Sam Carter
    smtp: {{host: 127.0.0.1, port: {smtp}, security: none}}
    imap: {{host: 127.0.0.1, port: {imap}, security: none}}
    password: {{env: REP_PASSWORD}}
    per_day: 2000
    gap: 0-0 seconds
    sent: {sent}
"""
SEQUENCE = """
name: Three
kind: touch
to: client
window: always
steps:
  - {id: first, email: three/mail}
  - {id: second, email: three/mail}
  - {id: third, email: three/mail}
"""
TEMPLATE = (
    "---\nsubject: Hello {{ client.first_name }}\n---\nHi {{ client.first_name }}, this is {{ enrollment.step }}.\n"
)


# --- the daemon that dies --------------------------------------------------------------------------------------------


LIVES = multiprocessing.get_context("forkserver")
LIVES.set_forkserver_preload(["engine.run", "engine.enrollments", "psycopg", "holidays"])


class Life(LIVES.Process):  # type: ignore[name-defined,misc]
    """One life of a program, as a process that can be asked, told and killed."""

    def __init__(self, program: Callable[..., None], *given: object) -> None:
        super().__init__(target=program, args=given, daemon=True)
        self.start()

    def is_over(self) -> bool:
        return self.exitcode is not None

    def wait(self, seconds: float = 60.0) -> int:
        """How it ended."""
        self.join(seconds)
        assert self.exitcode is not None, f"lives on after {seconds:.0f} s"
        return int(self.exitcode)

    def is_frozen(self) -> bool:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def said(program: Callable[..., None], *given: object) -> str:
    """What a program prints until it ends. It gets the end of a pipe, where no limit for files holds, as its last argument."""
    ours, theirs = LIVES.Pipe(duplex=False)
    life = Life(program, *given, theirs)
    theirs.close()
    with open(ours.fileno(), closefd=False, encoding="utf-8") as lines:
        words = lines.read()
    life.wait()
    return words


def one_pass(folder: Path, bytes_max: int, out: Connection) -> None:
    """`whoelse run --once`, none of whose files may grow beyond `bytes_max`: a disk that fills up at that very place."""
    from engine.__main__ import main

    speak_into(out.fileno())
    os.environ["REP_PASSWORD"] = "x" * 12
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))
    os.chdir(folder)
    sys.exit(main(["run", "--once"]))


def speak_into(file: int) -> None:
    for number in (1, 2):
        os.dup2(file, number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, closefd=False) for number in (1, 2))


@dataclass(frozen=True)
class Death:
    """A blow that is planned: the nth time that a point is met, or so many seconds after the start."""

    freezes: bool
    kind: str
    point: str
    nth: float

    def __str__(self) -> str:
        return f"{'freeze ' * self.freezes}{self.kind} {self.point} {self.nth:g}"

    @property
    def signal(self) -> int:
        return signal.SIGSTOP if self.freezes else signal.SIGKILL


def blows(points: Sequence[tuple[str, str]], chance: random.Random) -> list[Death]:
    """At each of the points a kill and a freeze, shuffled."""
    planned = []
    for kind, point in points:
        for freezes in (False, True):
            nth: float = 1 if point in ONCE_A_LIFE else chance.randint(1, COMMITS if point == "any" else EMAILS)
            if kind == "after":
                nth = round(chance.uniform(0.1, INSTANT_SECONDS), 3)
            planned.append(Death(freezes, kind, point, nth))
    chance.shuffle(planned)
    return planned


def live(config: Path, death: Death | None, pace: float, environ: Mapping[str, str], source: str) -> None:
    """The daemon, with the blow that it deals itself; its times are `pace` times as long. `source` is the address by which the
    server tells it from others."""
    import aiosmtplib

    from engine import daemon, outbox, run
    from engine.reading import open_here

    os.environ.clear()
    os.environ.update(environ)
    with (config.parent / "daemon.log").open("ab") as log:
        speak_into(log.fileno())
    modules = {"outbox": outbox, "daemon": daemon}
    for name, seconds in SHORT.items():
        module, constant = name.split(".")
        times = CROWD_PACES.get(constant, pace) if pace > 1 else 1.0
        setattr(modules[module], constant, timedelta(seconds=seconds * times))
    aiosmtplib.SMTP = functools.partial(aiosmtplib.SMTP, source_address=(source, 0))  # type: ignore[misc,assignment]
    # Every message here is ours, and to start the process that opens those of strangers costs more than the rest of most lives.
    daemon.Workers.warm = lambda self: None  # type: ignore[method-assign]
    daemon.Workers.open = lambda self, raw: open_here(raw)  # type: ignore[method-assign]
    if death:
        plan(death)
    sys.exit(run.run(load_config(config, os.environ)))


def plan(death: Death) -> None:
    """Patches the blow in, unless it is the server that deals it."""
    from engine.database import Database

    def strike() -> None:
        os.kill(os.getpid(), death.signal)

    if death.kind == "after":
        threading.Timer(death.nth, strike).start()
    if death.kind not in ("commit", "committed"):
        return
    whole, values, count = Database.transaction, Database.values, itertools.count(1)
    said: dict[Database, set[str]] = {}

    def noted(self: Database, make: Callable[[dict[str, Any]], Any], name: str, /, **given: object) -> list[Any]:
        said.setdefault(self, set()).add(name)
        return values(self, make, name, **given)

    @contextlib.contextmanager
    def transaction(self: Database) -> Iterator[None]:
        outermost, is_it = not self.in_transaction, False
        if outermost:
            said[self] = {"any"}
        with whole(self):
            yield
            is_it = outermost and death.point in said[self] and next(count) == death.nth
            if is_it and death.kind == "commit":
                strike()
        if is_it and death.kind == "committed":
            strike()

    Database.transaction, Database.values = transaction, noted  # type: ignore[method-assign,assignment]


# --- the server that accepts -----------------------------------------------------------------------------------------


@dataclass
class Accepting:
    """An SMTP server that writes down every message for which it took the responsibility, and when it had said 354 to it: the
    body began no sooner, however late it came."""

    port: int = 0
    accepted: list[tuple[float, str, str, bytes]] = field(default_factory=list)
    #: Whose body began when, also of those that were not accepted: the address, when 354 was said, when the first line came.
    bodies: list[tuple[str, float, float]] = field(default_factory=list)
    file: Callable[[bytes], None] | None = None
    at: Callable[[str], None] = lambda point: None
    #: The points that were met so far.
    met: set[str] = field(default_factory=set)
    #: What is done at a point to the daemon that speaks from an address.
    strikers: dict[str, Callable[[str], None]] = field(default_factory=dict)

    def begun(self, peer: str, asked_at: float) -> None:
        self.bodies.append((peer, asked_at, time.time()))

    def ids(self) -> list[str]:
        return [message_id for _, message_id, _, _ in self.accepted]


@contextlib.contextmanager
def accepting() -> Iterator[Accepting]:
    server = Accepting()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError, ConnectionError):
                converse(server, self.client_address[0], self.rfile.readline, self.wfile.write)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as listening:
        server.port = listening.server_address[1]
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield server
        listening.shutdown()


def converse(server: Accepting, peer: str, readline: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
    def at(point: str) -> None:
        server.met.add(point)
        server.at(point)
        server.strikers.get(peer, server.at)(point)

    def say(point: str, text: str) -> None:
        at(point)
        write(text.encode() + b"\r\n")

    recipient = ""
    say("greeting", "220 accepting.test ESMTP")
    while line := readline():
        verb = line[:4].upper()
        if verb == b"EHLO":
            say("ehlo", "250-accepting.test\r\n250-8BITMIME\r\n250 AUTH PLAIN")
        elif verb == b"AUTH":
            say("auth", "235 2.7.0 welcome")
        elif verb == b"RCPT":
            recipient = line.decode().partition("<")[2].partition(">")[0]
            say("rcpt", "250 2.1.5 ok")
        elif verb == b"DATA":
            asked_at = time.time()
            say("data", "354 go on")
            body = until_the_dot(readline, functools.partial(server.begun, peer, asked_at))
            if body is None or (server.file and time.time() - asked_at > FILES_WITHIN_SECONDS):
                return
            take(server, recipient, body, asked_at)
            say("accepted", "250 2.0.0 queued")
            at("answered")
        elif verb == b"QUIT":
            say("quit", "221 bye")
            return
        else:
            say("mail", "250 2.0.0 ok")


def until_the_dot(readline: Callable[[], bytes], begun: Callable[[], None]) -> bytes | None:
    """The body; None when it broke off: then nothing was accepted."""
    lines: list[bytes] = []
    while (line := readline()) != b".\r\n":
        if not line:
            return None
        if not lines:
            begun()
        lines.append(line)
    return b"".join(lines)


def take(server: Accepting, recipient: str, raw: bytes, asked_at: float) -> None:
    found = re.search(rb"(?im)^Message-ID:\s*(<[^>]+>)", raw)
    assert found, raw[:300]
    server.accepted.append((asked_at, found[1].decode(), recipient, raw))
    if server.file:
        server.file(raw)


# --- the story -------------------------------------------------------------------------------------------------------


class Story:
    """Three emails to each of some contacts, and a daemon that is killed or frozen again and again while they answer."""

    def __init__(
        self,
        folder: Path,
        dovecot: servers.Dovecot,
        reps: list[str],
        server: Accepting,
        store: str,
        sent: str,
        seed: int | str,
    ) -> None:
        self.folder, self.dovecot, self.reps, self.server, self.sent = folder, dovecot, reps, server, sent
        self.chance = random.Random(seed)
        self.environ = {**os.environ, "REP_PASSWORD": dovecot.users[reps[0]]}
        boxes = [MAILBOX.format(rep=rep, smtp=server.port, imap=dovecot.imap_port, sent=sent) for rep in reps]
        (folder / "config.yaml").write_text(CONFIG.format(store=store) + "".join(boxes))
        for name, text in (("sequences/three.yaml", SEQUENCE), ("templates/three/mail.md", TEMPLATE)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        create_key(folder / "secret.key")
        if sent == "server":
            dovecot.make(reps[0], "Sent")
            server.file = lambda raw: dovecot.file(reps[0], "Sent", raw)
        self.answers: dict[str, float] = {}
        self.deaths: list[str] = []
        self.shared = store.startswith("postgresql")
        self.clients, self.sources = itertools.count(), itertools.count(2)
        self.frozen: list[Life] = []
        self.thaws: list[tuple[str, float]] = []
        self.inst: Installation = open_installation(
            load_config(folder / "config.yaml", self.environ), self.environ, datetime.now(UTC), print
        )

    def tell(self, planned: Sequence[Death]) -> None:
        """The whole story; afterwards `faults` says what did not hold."""
        self.live_on(self.has_read)
        for death in planned:
            self.enroll()
            self.live(death)
            if self.chance.random() < 0.3:
                self.answer()
        for life in self.frozen:
            life.wait(END_SECONDS)
        self.come_to_an_end()

    def come_to_an_end(self) -> None:
        """One daemon more, until nothing is on its way."""
        self.live_on(self.is_over)

    def enroll(self) -> None:
        number = next(self.clients)
        rep = self.reps[number % len(self.reps)]
        wish = Wish(f"client{number}@acme.test", "three", {}, rep, contact={"name": f"Dana {number}"})
        assert not isinstance(enroll(self.inst, wish, datetime.now(UTC)), list)

    def live_on(self, so: Callable[[], bool]) -> None:
        """A life that nothing strikes, until something is so."""
        life = self.daemon()
        self.until(so)
        life.terminate()
        ended = life.wait(END_SECONDS)  # a life may be over before it could hear the signal
        assert ended in (0, -signal.SIGTERM), self.log()[-3000:]

    def live(self, death: Death) -> None:
        """One life of the daemon, until it is struck as planned; there is always something to send. On a file it is dead by the
        end; on a database that others may use it may be frozen, and wakes while another does its work."""
        life = self.daemon(death)

        def is_struck() -> bool:
            if life.is_over() or life.is_frozen():  # frozen in a transaction, it would keep who enrolls waiting
                return True
            if self.is_over():
                self.enroll()
            return False

        self.until(is_struck, 0.05)
        if death.point == "quit" and life.is_over() and life.wait() in (0, -signal.SIGTERM):
            self.live(death)  # told to end, it had no connection left to take leave of
            return
        assert life.is_frozen() if death.freezes else life.wait() == -signal.SIGKILL, f"{death}\n{self.log()[-3000:]}"
        self.deaths.append(str(death))
        if death.freezes:
            self.thaw_later(life)
            if not self.shared:
                life.wait(END_SECONDS)

    def thaw_later(self, life: Life) -> None:
        """It wakes when its attempt is over, goes on for a while as if nothing had been, and is killed."""
        seconds = SHORT["outbox.ATTEMPT_TIME"] * self.chance.uniform(*(FROZEN_BESIDE if self.shared else FROZEN_ALONE))
        self.frozen.append(life)

        def thaw() -> None:
            self.thaws.append((life.source, time.time()))
            life.send_signal(signal.SIGCONT)

        threading.Timer(seconds, thaw).start()
        threading.Timer(seconds + self.chance.uniform(*THAWED_SECONDS), life.send_signal, (signal.SIGKILL,)).start()

    def daemon(self, death: Death | None = None, pace: float = 1.0) -> Life:
        source = f"127.0.0.{next(self.sources)}"
        life = Life(live, self.folder / "config.yaml", death, pace, self.environ, source)
        life.source = source
        if death and death.kind == "server":
            self.server.strikers[source] = striker(life, death)
        return life

    def crowd(self, daemons: int, contacts: int, blows: int) -> None:
        """Several daemons share the work; again and again one of them is killed, or frozen for longer than an attempt may last."""
        for _ in range(contacts):
            self.enroll()
        crowd = [self.daemon(pace=CROWD_PACE) for _ in range(daemons)]
        end = time.monotonic() + CROWD_SECONDS
        try:
            for _ in range(blows):
                time.sleep(self.chance.uniform(0.5, 2.0))
                self.strike(crowd, self.chance.randrange(daemons))
            while not self.is_over():
                assert time.monotonic() < end, self.log()[-3000:]
                time.sleep(0.3)
        finally:
            for process in crowd:
                process.send_signal(signal.SIGCONT)
                process.terminate()
            for process in crowd:
                process.wait(END_SECONDS)

    def pair(self) -> None:
        """Two daemons are started at once on one file; the one that gets it is frozen or killed, and a third comes."""
        self.enroll()
        pair = [self.daemon(), self.daemon()]
        loser = self.first_to_end(pair)
        assert loser.wait() == 1 and "is held by whoelse run, process" in self.log()
        (holder,) = (process for process in pair if process is not loser)
        time.sleep(self.chance.uniform(0, 1))
        if self.chance.random() < 0.5:
            self.deaths.append("freeze")
            holder.send_signal(signal.SIGSTOP)
            third = self.daemon()
            assert third.wait(END_SECONDS) == 1
            holder.send_signal(signal.SIGCONT)
            time.sleep(self.chance.uniform(*THAWED_SECONDS))
        else:
            self.deaths.append("kill")
            holder.kill()
            holder.wait()
        holder.kill()
        holder.wait()
        self.come_to_an_end()
        sent = len(self.server.ids())
        assert sent == len(STEPS) or (self.sent == "append" and self.doubts()), f"{sent} sent\n{self.log()[-3000:]}"

    def bequeath(self) -> None:
        """Two daemons share one mailbox; the one that has it is killed while an email is due, and nobody starts it again."""
        pair = {life.pid: life for life in (self.daemon(), self.daemon())}
        self.enroll()
        self.until(lambda: len(self.server.accepted) > 0)
        (holder,) = self.inst.store.database.connection.execute("SELECT owner FROM mailbox").fetchone()
        killed = pair.pop(int(holder.split(":")[1]))
        killed.kill()
        killed.wait()
        self.enroll()
        self.until(self.is_over)
        (heir,) = pair.values()
        heir.terminate()
        assert heir.wait(END_SECONDS) == 0, self.log()[-3000:]

    def until(self, so: Callable[[], bool], pause_seconds: float = 0.02) -> None:
        end = time.monotonic() + END_SECONDS
        while not so():
            assert time.monotonic() < end, f"not so after {END_SECONDS:.0f} s\n{self.log()[-3000:]}"
            time.sleep(pause_seconds)

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text()

    def first_to_end(self, lives: list[Life]) -> Life:
        self.until(lambda: any(life.is_over() for life in lives))
        return next(life for life in lives if life.is_over())

    def strike(self, crowd: list[Life], who: int) -> None:
        if self.chance.random() < 0.5:
            crowd[who].kill()
            crowd[who].wait()
            crowd[who] = self.daemon(pace=CROWD_PACE)
            self.deaths.append("kill")
            return
        crowd[who].send_signal(signal.SIGSTOP)
        threading.Timer(self.chance.uniform(1, 6) * CROWD_PACE, crowd[who].send_signal, (signal.SIGCONT,)).start()
        self.deaths.append("freeze")

    def has_read(self) -> bool:
        return self.inst.store.position(self.reps[-1], "INBOX") is not None

    def is_over(self) -> bool:
        """Nothing is on its way any more, and every answer has been read."""
        return not self.on_its_way() and len(self.read()) >= len(self.answers)

    def on_its_way(self) -> int:
        """How many emails are under way and enrollments due, in one statement: between two of them one could pass by unseen."""
        states = [OutboxState.QUEUED, OutboxState.CLAIMED, OutboxState.DATA_STARTED]
        if self.sent == "server":
            states.append(OutboxState.IN_DOUBT)
        named, soon = ", ".join(f"'{state}'" for state in states), micros(datetime.now(UTC) + timedelta(days=1))
        (count,) = self.inst.store.database.connection.execute(
            f"SELECT (SELECT count(*) FROM outbox WHERE state IN ({named}))"
            f" + (SELECT count(*) FROM enrollment WHERE next_at <= {soon})"
        ).fetchone()
        return int(count)

    def doubts(self) -> list[OutboxMessage]:
        return self.inst.store.outbox_in(OutboxState.IN_DOUBT)

    def answer(self) -> None:
        """One of those who got an email, and have not answered yet, does."""
        waiting = [entry for entry in self.server.accepted if entry[2] not in self.answers]
        if not waiting:
            return
        _, message_id, who, _ = self.chance.choice(waiting)
        lines = (
            f"From: {who}", f"To: {self.reps[0]}", "Subject: Re: Hello", f"In-Reply-To: {message_id}",
            f"References: {message_id}", f"Message-ID: <answer.{who}>", "", "Interesting. When could we talk?", "",
        )  # fmt: skip
        self.dovecot.deliver(self.reps[0], "\r\n".join(lines).encode(), who)
        self.answers[who] = time.time()

    def read(self) -> list[str]:
        return [m.sender for m in self.inst.store.recent_inbound(1000) if m.event == "reply"]

    # --- what must hold ----------------------------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """Everything that was promised and did not hold."""
        found = [f"accepted {n} times: {i}" for i, n in Counter(self.server.ids()).items() if n > 1]
        found += [f"the answer of {who} was never read" for who in self.answers if who not in self.read()]
        found += [
            f"{who} was written to {at - self.answers[who]:.1f} s after their answer"
            for at, _, who, _ in self.server.accepted
            if who in self.answers and at > self.answers[who] + READ_FRESH_SECONDS
        ]
        found += [
            f"a body began {began_at - thawed_at:.1f} s after its daemon had slept over its attempt"
            for peer, asked_at, began_at in self.server.bodies
            for source, thawed_at in self.thaws
            if peer == source and asked_at < thawed_at <= began_at
        ]
        return found + [fault for e in self.inst.store.all_enrollments() if (fault := self.lost(e.id, e.state))]

    def lost(self, enrollment: str, state: State) -> str:
        """Every step's email reached the server, or is held with a reason."""
        rows = self.inst.store.outbox_of(enrollment)
        sent = [row.step for row in rows if row.state is OutboxState.SENT]
        accepted = set(self.server.ids())
        if wrong := [row.step for row in rows if row.state is OutboxState.SENT and row.message_id not in accepted]:
            return f"{enrollment}: called sent, and never accepted: {wrong}"
        if state is State.LISTENING and sorted(sent) != sorted(STEPS):
            return f"{enrollment}: has run out, and sent only {sent}"
        held = state is State.PAUSED or any(row.state is OutboxState.IN_DOUBT for row in rows)
        return "" if held or state is State.LISTENING else f"{enrollment}: is {state}, neither done nor held"


def striker(life: Life, death: Death) -> Callable[[str], None]:
    """Strikes the daemon when the server comes to a point for the nth time. It takes leave of the server only when it is told to
    end: so it is, as soon as it has sent something."""
    count = itertools.count(1)

    def at(here: str) -> None:
        if death.point == "quit" and here == "answered":
            life.send_signal(signal.SIGTERM)
        if here == death.point and next(count) == death.nth:
            life.send_signal(death.signal)

    return at
