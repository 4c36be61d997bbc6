"""A daemon that is killed, again and again, against a server that writes down whatever it accepts: that daemon (times shortened,
a death planned), the story around it, and the account of what must hold.

Nothing of this is known to the product: the deaths are patched in from outside. Each life is a process of its own, forked from
one that has loaded the program and never run it: loading it anew took most of a life."""

from __future__ import annotations

import contextlib
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import servers

from engine.config import load_config
from engine.core.model import OutboxMessage, OutboxState, State
from engine.enrollments import Wish, enroll
from engine.installation import Installation
from engine.project import open_installation
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
#: Where several daemons share two processors each gets so little that its limits must be wider; how often it looks stays as it is.
LIMITS = {"ATTEMPT_TIME", "ANSWER_TIME", "READ_FRESH", "BODY_TIME", "LEASE", "LOOK_AROUND"}
CROWD_PACE = 5.0
SERVER_POINTS = ("greeting", "ehlo", "mail", "rcpt", "data", "accepted", "answered")
STEPS = ("first", "second", "third")
LIFE_SECONDS = 2.5
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


def live(config: Path, planned: str, pace: float, environ: Mapping[str, str]) -> None:
    """The daemon, with a death that is planned: "commit N", "committed N", "after SECONDS", or "never"; its limits are `pace`
    times as wide."""
    from engine import daemon, outbox, run

    os.environ.clear()
    os.environ.update(environ)
    with (config.parent / "daemon.log").open("ab") as log:
        speak_into(log.fileno())
    modules = {"outbox": outbox, "daemon": daemon}
    for name, seconds in SHORT.items():
        module, constant = name.split(".")
        setattr(modules[module], constant, timedelta(seconds=seconds * (pace if constant in LIMITS else 1)))
    # The process that opens messages starts with the first of them: many a life meets none.
    daemon.Workers.warm = lambda self: None  # type: ignore[method-assign]
    plan_death(*planned.split())
    sys.exit(run.run(load_config(config, os.environ)))


def plan_death(kind: str, when: str = "0") -> None:
    from engine.database import Database

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if kind == "after":
        threading.Timer(float(when), die).start()
    if kind not in ("commit", "committed"):
        return
    whole, commits = Database.transaction, itertools.count(1)

    @contextlib.contextmanager
    def transaction(self: Database) -> Iterator[None]:
        outermost = not self.in_transaction
        with whole(self):
            yield
            number = next(commits) if outermost else 0
            if kind == "commit" and number == int(when):
                die()
        if kind == "committed" and number == int(when):
            die()

    Database.transaction = transaction  # type: ignore[method-assign]


# --- the server that accepts -----------------------------------------------------------------------------------------


@dataclass
class Accepting:
    """An SMTP server that writes down every message for which it took the responsibility, and when it had said 354 to it: the
    body began no sooner, however late it came."""

    port: int = 0
    accepted: list[tuple[float, str, str, bytes]] = field(default_factory=list)
    file: Callable[[bytes], None] | None = None
    at: Callable[[str], None] = lambda point: None

    def ids(self) -> list[str]:
        return [message_id for _, message_id, _, _ in self.accepted]


@contextlib.contextmanager
def accepting() -> Iterator[Accepting]:
    server = Accepting()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError, ConnectionError):
                converse(server, self.rfile.readline, self.wfile.write)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as listening:
        server.port = listening.server_address[1]
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield server
        listening.shutdown()


def converse(server: Accepting, readline: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
    def say(point: str, text: str) -> None:
        server.at(point)
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
            body = until_the_dot(readline)
            if body is None or (server.file and time.time() - asked_at > FILES_WITHIN_SECONDS):
                return
            take(server, recipient, body, asked_at)
            say("accepted", "250 2.0.0 queued")
            server.at("answered")
        elif verb == b"QUIT":
            say("quit", "221 bye")
            return
        else:
            say("mail", "250 2.0.0 ok")


def until_the_dot(readline: Callable[[], bytes]) -> bytes | None:
    """The body; None when it broke off: then nothing was accepted."""
    lines = []
    while (line := readline()) != b".\r\n":
        if not line:
            return None
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
    """Three emails to each of some contacts, and a daemon that is killed again and again while they answer."""

    def __init__(
        self,
        folder: Path,
        dovecot: servers.Dovecot,
        reps: list[str],
        server: Accepting,
        store: str,
        sent: str,
        seed: int,
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
        self.inst: Installation = open_installation(
            load_config(folder / "config.yaml", self.environ), self.environ, datetime.now(UTC), print
        )

    def tell(self, deaths: int) -> None:
        """The whole story; afterwards `faults` says what did not hold."""
        self.live("never", until=self.has_read, patience=END_SECONDS)
        for number in range(deaths):
            self.enroll(number)
            self.live(self.next_death())
            if self.chance.random() < 0.3:
                self.answer()
        self.come_to_an_end()

    def come_to_an_end(self) -> None:
        """One daemon more, until nothing is on its way."""
        self.live("never", until=self.is_over, patience=END_SECONDS)
        assert self.is_over(), f"not over after {END_SECONDS:.0f} s\n{self.log()[-3000:]}"

    def enroll(self, number: int) -> None:
        rep = self.reps[number % len(self.reps)]
        wish = Wish(f"client{number}@acme.test", "three", {}, rep, contact={"name": f"Dana {number}"})
        assert not isinstance(enroll(self.inst, wish, datetime.now(UTC)), list)

    def next_death(self) -> str:
        kind = self.chance.choice(("commit", "committed", "after", "server", "server"))
        if kind == "server":
            return f"server {self.chance.choice(SERVER_POINTS)} {self.chance.randint(1, 3)}"
        if kind == "after":
            return f"after {self.chance.uniform(0.3, 2.5):.3f}"
        return f"{kind} {self.chance.randint(3, 40)}"

    def live(self, point: str, until: Callable[[], bool] = lambda: False, patience: float = LIFE_SECONDS) -> None:
        """One life of the daemon: until it dies as planned, `until` is so, or its time is over (killed then, too)."""
        process = self.daemon("never" if point.startswith("server") else point)
        self.server.at = killer(process.pid, point) if point.startswith("server") else lambda at: None
        end = time.monotonic() + patience
        while not process.is_over() and time.monotonic() < end and not until():
            time.sleep(0.02)
        if point == "never" and not process.is_over():
            process.terminate()
            ended = process.wait(END_SECONDS)  # a life may be over before it could hear the signal
            assert ended in (0, -signal.SIGTERM), self.log()[-3000:]
        else:
            process.kill()
            process.wait()
            self.deaths.append(point)

    def daemon(self, planned: str = "never", pace: float = 1.0) -> Life:
        return Life(live, self.folder / "config.yaml", planned, pace, self.environ)

    def crowd(self, daemons: int, contacts: int, blows: int) -> None:
        """Several daemons share the work; again and again one of them is killed, or frozen for longer than an attempt may last."""
        for number in range(contacts):
            self.enroll(number)
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
        self.enroll(0)
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
        self.enroll(0)
        self.until(lambda: len(self.server.accepted) > 0)
        (holder,) = self.inst.store.database.connection.execute("SELECT owner FROM mailbox").fetchone()
        killed = pair.pop(int(holder.split(":")[1]))
        killed.kill()
        killed.wait()
        self.enroll(1)
        self.until(self.is_over)
        (heir,) = pair.values()
        heir.terminate()
        assert heir.wait(END_SECONDS) == 0, self.log()[-3000:]

    def until(self, so: Callable[[], bool]) -> None:
        end = time.monotonic() + END_SECONDS
        while not so():
            assert time.monotonic() < end, self.log()[-3000:]
            time.sleep(0.02)

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
        store = self.inst.store
        busy = (OutboxState.QUEUED, OutboxState.CLAIMED, OutboxState.DATA_STARTED)
        if (
            (self.sent == "server" and self.doubts())
            or any(store.outbox_in(state) for state in busy)
            or len(self.read()) < len(self.answers)
        ):
            return False
        due = store.next_due()
        return due is None or due > datetime.now(UTC) + timedelta(days=1)

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


def killer(pid: int, point: str) -> Callable[[str], None]:
    """Kills the daemon when the server comes to a point for the nth time."""
    _, name, nth = point.split()
    count = itertools.count(1)

    def at(here: str) -> None:
        if here == name and next(count) == int(nth):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    return at
