"""The real verbs under a seeded storm: two workers that interleave at every boundary, a server and a mailbox that fail in every way
that we know, and a clock that only this storm moves. One seed is one schedule; what must hold is asked at the end.

No socket is opened and nothing sleeps, so thousands of schedules fit into a minute. The store is a real one in memory."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine import enrollments, inbox, outbox
from engine.config import Config, parse_config
from engine.core.model import OutboxMessage, OutboxState, State
from engine.database import Unusable
from engine.enrollments import Wish
from engine.imap import Fetched
from engine.installation import Installation
from engine.library import Library, parse
from engine.outbox import Claim, NeedsRead
from engine.smtp import Accepted, Cancelled, Deferred, InDoubt, LoginRefused, Refused, Result, Unreachable
from engine.store import counted_ids, open_store

REP, CONTACTS, STEPS = "sam@demo.example", 3, ("first", "second", "third")
BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LEASE, READABLE = timedelta(seconds=15), timedelta(seconds=60)
TURNS, LAST_TURNS, QUIET_ROUNDS_MAX = 200, 12, 3_000

CONFIG = """
company: {name: Demo, domains: [demo.example], zone: UTC}
company_cap: 0 days
mailboxes:
  - address: sam@demo.example
    name: Sam Carter
    smtp: {host: 127.0.0.1, port: 25, security: none}
    imap: {host: 127.0.0.1, port: 143, security: none}
    per_day: 1000
    gap: 0-5 seconds
    sent: SENT
"""
SOURCES = {
    "sequences/three.yaml": """
name: Three
kind: touch
to: client
window: always
steps:
  - {id: first, email: three/mail, late: send}
  - {id: second, wait: 1 hours, email: three/mail, late: send}
  - {id: third, wait: 1 days, email: three/mail, late: send}
""",
    "templates/three/mail.md": "---\nsubject: Hello\n---\nHi {{ client.first_name }}, this is {{ enrollment.step }}.\n",
}


def _config(sent: str) -> Config:
    problems: list[object] = []
    config = parse_config(Path("config.yaml"), CONFIG.replace("SENT", sent), {}, problems)  # type: ignore[arg-type]
    assert config, problems
    return config


CONFIGS = {sent: _config(sent) for sent in ("server", "append")}
LIBRARY: Library = parse(SOURCES)[0]


def begun(sent: str, contacts: int) -> Installation:
    """A store of its own in which so many clients have begun: a copy of one that was made once."""
    content, ids = _made(sent, contacts)
    inst = _installation(sent)
    inst.store.database.connection.deserialize(content)
    for _ in range(ids):
        inst.store.new_id()
    return inst


@functools.cache
def _made(sent: str, contacts: int) -> tuple[bytes, int]:
    """What is in such a store, and how many ids it gave."""
    inst = _installation(sent)
    inst.store.add_mailbox(REP)
    inst.store.save_position(REP, "INBOX", 1, 0, BEGIN)
    for number in range(contacts):
        wish = Wish(f"client{number}@acme.example", "three", {}, contact={"name": "Dana Weber"})
        assert not isinstance(enrollments.enroll(inst, wish, BEGIN), list)
    return inst.store.database.connection.serialize(), int(inst.store.new_id(), 16) - 1


def _installation(sent: str) -> Installation:
    return Installation(CONFIGS[sent], open_store(":memory:", counted_ids()), LIBRARY, b"k" * 32)


@dataclass
class Taken:
    """A message for which the server took the responsibility: when its body began, and whose it is."""

    message_id: str
    recipient: str
    began: datetime
    raw: bytes


@dataclass
class Outside:
    """The server and the rep's mailbox, as they really are."""

    taken: list[Taken] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    mail: list[Fetched] = field(default_factory=list)
    readable: bool = True
    answered: dict[str, datetime] = field(default_factory=dict)


class Storm:
    """One schedule. `happened` counts the faults that it met."""

    def __init__(self, seed: int, without: str = "", contacts: int = CONTACTS) -> None:
        self.chance = random.Random(seed)
        self.seed, self.now, self.owners = seed, BEGIN, 0
        self.files = self.chance.random() < 0.5
        self.inst = begun("server" if self.files else "append", contacts)
        self.outside, self.happened, self.story = Outside(), Counter[str](), list[str]()
        self.calm = False
        self.hands: dict[int, str] = {}
        self.broken: list[str] = []
        self.heard: set[str] = set()
        if without:
            WITHOUT[without](self)

    # --- running -----------------------------------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Faults, then calm until nothing moves any more; returns what did not hold."""
        workers = [self.worker(), self.worker(), self.watcher()]
        frozen_until = [BEGIN] * len(workers)
        for _ in range(TURNS):
            self.weather()
            turn = self.chance.choices((0, 1, 2), (4, 4, 1))[0]
            if frozen_until[turn] > self.now:
                continue
            if self.fault("frozen", 0.006):
                frozen_until[turn] = self.now + timedelta(seconds=self.chance.uniform(5, 4000))
                continue
            if self.fault("crash", 0.01):
                workers[turn] = self.worker() if turn < 2 else self.watcher()
                continue
            next(workers[turn])
        self.calm, self.outside.readable = True, True
        self.inst.store.drop_setting("brake")
        self.settle_down(workers)
        return self.faults()

    def fault(self, name: str, share: float) -> bool:
        if self.calm or self.chance.random() >= share:
            return False
        self.note(name)
        return True

    def note(self, name: str) -> None:
        self.happened[name] += 1
        self.story.append(f"{self.now:%d %H:%M:%S} {name}")

    def settle_down(self, workers: list[Iterator[None]]) -> None:
        """No more faults: who is still there ends what they had begun, then one worker goes on until all is sent, or held."""
        for _ in range(LAST_TURNS):
            for worker in workers:
                next(worker)
            self.now += timedelta(seconds=self.chance.choice((0.1, 5, 100)))
        self.owners += 1
        for _ in range(QUIET_ROUNDS_MAX):
            for _ in self.round(f"worker {self.owners}"):
                self.now += timedelta(seconds=0.01)
            if self.is_over():
                return
            self.now = self.next_moment()
        rows = [
            f"{row.step} to {row.recipient}: {row.state} {row.note}"
            for s in OutboxState
            for row in self.inst.store.outbox_in(s)
        ]
        raise AssertionError(f"seed {self.seed}: never quiet\n" + "\n".join([*self.story[-40:], *rows]))

    def next_moment(self) -> datetime:
        """When something is due, or the account's rest or the attempt of somebody who is gone has run out."""
        due, state = self.inst.store.next_due(), self.inst.store.mailbox(REP)
        assert state is not None
        if state.paused_until > self.now:
            return state.paused_until
        if due is not None and due <= self.now:
            return self.now + timedelta(seconds=5)
        if due is None or self.states() & {OutboxState.CLAIMED, OutboxState.DATA_STARTED, OutboxState.IN_DOUBT}:
            patience = self.now + timedelta(minutes=16)
            return patience if due is None else min(due, patience)
        return due

    def is_over(self) -> bool:
        store = self.inst.store
        moving = {OutboxState.QUEUED, OutboxState.CLAIMED, OutboxState.DATA_STARTED}
        moving |= {OutboxState.IN_DOUBT} if self.files else set()
        due = store.next_due()
        return not self.unread() and not self.states() & moving and (due is None or due > self.now + timedelta(days=9))

    def states(self) -> set[OutboxState]:
        """Which there are in the outbox; one statement that is planned once, because it is asked after every turn."""
        rows = self.inst.store.database.connection.execute("SELECT DISTINCT state FROM outbox").fetchall()
        return {OutboxState(state) for (state,) in rows}

    def unread(self) -> list[Fetched]:
        position = self.inst.store.position(REP, "INBOX")
        return self.outside.mail[position[1] if position else 0 :]

    def weather(self) -> None:
        """What happens outside between two turns."""
        self.now += timedelta(seconds=self.chance.choice((0.05, 0.5, 1, 8)))
        if self.fault("clock jump", 0.04):
            self.now += timedelta(seconds=self.chance.choice((400, 4_000, 90_000)))
        if self.fault("mailbox unreadable", 0.02):
            self.outside.readable = False
        elif self.chance.random() < 0.15:
            self.outside.readable = True
        if self.fault("brake", 0.01):
            self.inst.store.set_setting("brake", "on")
        elif self.chance.random() < 0.5:
            self.inst.store.drop_setting("brake")
        if self.outside.taken and self.chance.random() < 0.03:
            self.comes_back(self.chance.choice(self.outside.taken))

    def comes_back(self, taken: Taken, kind: str = "") -> None:
        kind = kind or self.chance.choice(("answer", "answer", "answer", "absence", "report", "answer twice"))
        self.note(kind)
        lines = [f"In-Reply-To: {taken.message_id}", f"References: {taken.message_id}"]
        if kind == "absence":
            lines += ["Subject: Automatic reply: Hello", "Auto-Submitted: auto-replied", "", "I am out of the office."]
        elif kind == "report":
            return self.arrive("MAILER-DAEMON@mx.example", report(taken))
        else:
            self.outside.answered.setdefault(taken.recipient, self.now)
            lines += ["Subject: Re: Hello", "", "Interesting. When could we talk about it?"]
        raw = "\r\n".join(
            [f"From: {taken.recipient}", f"To: {REP}", f"Message-ID: <{len(self.outside.mail)}@a.example>", *lines]
        )
        self.arrive(taken.recipient, raw)
        if kind == "answer twice":
            self.arrive(taken.recipient, raw)
        return None

    def arrive(self, _: str, raw: str) -> None:
        uid = len(self.outside.mail) + 1
        self.outside.mail.append(Fetched(REP, "INBOX", "inbox", 1, uid, raw.encode(), len(raw), self.now))

    # --- a worker ----------------------------------------------------------------------------------------------------

    def worker(self) -> Iterator[None]:
        """The daemon's loops as one thread of turns: whatever may come between two transactions comes at a `yield`."""
        self.owners += 1
        owner = f"worker {self.owners}"
        while True:
            try:
                yield from self.round(owner)
            except Unusable:
                yield

    def watcher(self) -> Iterator[None]:
        """The mailbox is read beside everything else, by whoever watches it."""
        while True:
            yield from self.read()
            yield

    def round(self, owner: str) -> Iterator[None]:
        inst = self.inst
        enrollments.advance(inst, self.now)
        yield
        outbox.reclaim(inst, REP, self.now)
        doubts = inst.store.outbox_in(OutboxState.IN_DOUBT) if OutboxState.IN_DOUBT in self.states() else []
        for message in doubts:
            folder = "Sent" if message.message_id in self.outside.sent else None
            yield
            outbox.look(inst, message, folder, self.files, self.now)
        yield
        epoch = inst.store.lease(REP, owner, self.now, self.now + LEASE)
        if epoch is None:
            return
        yield
        with inst.store.transaction():  # as the daemon claims
            step = outbox.claim(inst, REP, epoch, self.now)
        yield
        if isinstance(step, NeedsRead):
            yield from self.read()
        elif isinstance(step, Claim):
            if self.hands.setdefault(step.epoch, owner) != owner:
                self.broken.append(f"{owner} and {self.hands[step.epoch]} both sent under epoch {step.epoch}")
            result = yield from self.deliver(step)
            if self.fault("disk error", 0.05):
                raise Unusable("disk I/O error")
            outbox.record(inst, step, result, self.now)
        elif self.chance.random() < 0.3:
            yield from self.read()

    def read(self) -> Iterator[None]:
        started = self.now
        if not self.outside.readable:
            return
        for fetched in self.unread():
            yield
            inbox.receive(self.inst, fetched, self.now)
            self.heard |= {who for who in self.outside.answered if f"From: {who}\r\n".encode() in fetched.raw}
        yield
        if self.outside.readable and not [m for m in self.unread() if m.received_at <= started]:
            self.inst.store.read_to_end(REP, started, self.now)

    def deliver(self, claim: Claim) -> Iterator[None]:  # type: ignore[return]
        if self.fault("unreachable", 0.03):
            return Unreachable("no route to host")
        if self.fault("login refused", 0.015):
            return LoginRefused("535 5.7.8 no")
        yield
        early = self.refusal()
        if early:
            return early
        before = [t for t in self.outside.taken if t.recipient == claim.message.recipient]
        if before and self.fault("answer at the last moment", 0.15):
            self.comes_back(before[-1], "answer")
        yield
        began = self.now
        if not outbox.start(self.inst, claim, began):
            return Cancelled()
        if claim.message.recipient in self.heard_before(claim):
            self.broken.append(f"{claim.message.step} to {claim.message.recipient} began after their answer was read")
        yield
        if not outbox.in_time(claim, began, self.now):
            return Cancelled()
        return (yield from self.body(claim.message))

    def heard_before(self, claim: Claim) -> set[str]:
        """Whose answer was read and made the enrollment stand still, before this body was allowed to begin."""
        enrollment = self.inst.store.enrollment(claim.message.enrollment)
        return self.heard if enrollment and enrollment.state is State.PAUSED else set()

    def body(self, message: OutboxMessage) -> Iterator[None]:  # type: ignore[return]
        began = self.now
        if self.fault("lost before the server had it", 0.06):
            return InDoubt("the connection was lost")
        refused = self.refusal()
        if refused:
            return refused
        self.outside.taken.append(Taken(message.message_id, message.recipient, began, message.raw))
        if self.files:
            self.outside.sent.add(message.message_id)
        yield
        if self.fault("lost answer", 0.1):
            return InDoubt("the answer was lost")
        return Accepted("250 queued")

    def refusal(self) -> Result | None:
        if self.fault("greylisted", 0.03):
            return Deferred(451, "4.7.1 later")
        if self.fault("limit of the provider", 0.02):
            return Deferred(454, "4.7.0 too many", account=True)
        if self.fault("message refused", 0.02):
            return Refused(554, "5.7.1 no", "5.7.1", "message")
        if self.fault("address dead", 0.01):
            return Refused(550, "5.1.1 unknown", "5.1.1", "address")
        return None

    # --- what must hold ----------------------------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """Everything that was promised and did not hold."""
        found = list(self.broken)
        found += [
            f"accepted {n} times: {i}" for i, n in Counter(t.message_id for t in self.outside.taken).items() if n > 1
        ]
        found += self.written_after_an_answer()
        read = {m.sender for m in self.inst.store.recent_inbound(10_000) if m.event == "reply"}
        found += [f"the answer of {who} was never read" for who in self.outside.answered if who not in read]
        return found + [f for e in self.inst.store.all_enrollments() if (f := self.lost(e.id, e.state))]

    def written_after_an_answer(self) -> list[str]:
        """Which had been readable for 60 seconds."""
        answered = self.outside.answered
        return [
            f"{t.recipient} was written to at {t.began:%d %H:%M:%S}, answered at {answered[t.recipient]:%d %H:%M:%S}"
            for t in self.outside.taken
            if t.recipient in answered and t.began > answered[t.recipient] + READABLE
        ]

    def lost(self, enrollment: str, state: State) -> str:
        """Every step's email reached the server, or is held or stopped with a reason."""
        rows = self.inst.store.outbox_of(enrollment)
        sent = sorted({row.step for row in rows if row.state in (OutboxState.SENT, OutboxState.REFUSED)})
        there = {t.message_id for t in self.outside.taken}
        if wrong := [row.step for row in rows if row.state is OutboxState.SENT and row.message_id not in there]:
            return f"{enrollment}: called sent, and never accepted: {wrong}"
        if state is State.LISTENING and sent != sorted(STEPS):
            return f"{enrollment}: has run out, and sent only {sent}"
        held = state in (State.PAUSED, State.STOPPED, State.LISTENING)
        doubtful = any(row.state is OutboxState.IN_DOUBT for row in rows)
        return "" if held or doubtful else f"{enrollment}: is {state}, neither done nor held"


def report(taken: Taken) -> str:
    """A DSN (RFC 3464) that says that the message could not be delivered for now."""
    return f"""From: MAILER-DAEMON@mx.example
To: {REP}
Subject: Undelivered Mail Returned to Sender
Message-ID: <dsn.{taken.message_id.strip("<>")}>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It could not be delivered.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; {taken.recipient}
Action: failed
Status: 5.2.2

--b
Content-Type: text/rfc822-headers

Message-ID: {taken.message_id}
To: {taken.recipient}

--b--
""".replace("\n", "\r\n")


# --- the gate alone --------------------------------------------------------------------------------------------------


def crossing(seed: int, without: str = "") -> tuple[list[str], str]:
    """One answer at any moment around one due follow-up; in every third run the mailbox cannot be read for a while. Returns what did
    not hold, and who was first: `answer`, or `email` where the body had begun, or began within 60 seconds of the answer."""
    storm = Storm(seed, without, contacts=1)
    storm.calm = True
    turns = (storm.worker(), storm.watcher())
    while (due := storm.inst.store.next_due()) is None or due <= storm.now + READABLE:
        next(turns[0])
        storm.now += timedelta(seconds=0.1)
    answer_at = due + timedelta(seconds=storm.chance.uniform(-90, 60))
    away_from = answer_at + timedelta(seconds=storm.chance.uniform(-30, 30))
    back_at = away_from + timedelta(seconds=storm.chance.uniform(60, 240) if storm.chance.random() < 1 / 3 else 0)
    storm.now = due - timedelta(seconds=120)
    while storm.now < max(due, back_at) + timedelta(seconds=100):
        storm.now += timedelta(seconds=storm.chance.choice((0.05, 0.5, 1, 4)))
        storm.outside.readable = not away_from <= storm.now < back_at
        if not storm.outside.answered and storm.now >= answer_at:
            storm.comes_back(storm.outside.taken[0], "answer")
        next(storm.chance.choices(turns, (4, 1))[0])
    first = "email" if len(storm.outside.taken) > 1 else "answer"
    found = [f"seed {seed}: {fault}" for fault in (*storm.broken, *storm.written_after_an_answer())]
    if first == "answer" and not storm.inst.store.recent_inbound(1):
        found.append(f"seed {seed}: neither sent nor answered")
    storm.inst.store.close()
    return found, first


# --- the teeth: what must be noticed when a guard is missing ---------------------------------------------------------


def _change(storm: Storm, name: str, old: str, new: str) -> None:
    statements = storm.inst.store.database._sql = dict(storm.inst.store.database._sql)
    assert old in statements[name], name
    statements[name] = statements[name].replace(old, new)


def _without_data_started(storm: Storm) -> None:
    """What had begun is taken for what had not, and simply sent again."""
    for statement in ("lost_claims", "reclaim"):
        _change(storm, statement, "state = 'claimed'", "state IN ('claimed', 'data_started')")


def _without_lease(storm: Storm) -> None:
    storm.inst.store.lease(REP, "everybody", storm.now, storm.now + timedelta(days=9999))
    storm.inst.store.lease = lambda *_: 1  # type: ignore[method-assign]


def _without_revision(storm: Storm) -> None:
    _change(storm, "start_data", "e.revision = outbox.revision", "1 = 1")
    _change(storm, "withdraw", "('draft', 'queued', 'claimed')", "('draft', 'queued')")


def _without_gate(storm: Storm) -> None:
    """Every mailbox counts as read, always."""
    known = storm.inst.store.mailbox
    storm.inst.store.mailbox = lambda address: replace(known(address), read_at=storm.now)  # type: ignore[method-assign]
    _change(storm, "start_data", "outbox.follow_up = 0 OR", "1 = 1 OR")


WITHOUT: dict[str, Callable[[Storm], None]] = {
    "data_started": _without_data_started,
    "the lease": _without_lease,
    "the revision check": _without_revision,
    "the gate": _without_gate,
}


def storms(seeds: Iterable[int], without: str = "") -> tuple[list[str], Counter[str]]:
    """Runs every seed; returns what did not hold, each with its seed and story, and in how many runs each fault was met."""
    broken, met = list[str](), Counter[str]()
    for seed in seeds:
        storm = Storm(seed, without)
        faults = storm.run()
        met.update(storm.happened.keys())
        if faults:
            broken.append(f"seed {seed}: {faults}\n" + "\n".join(storm.story))
        storm.inst.store.close()
    return broken, met
