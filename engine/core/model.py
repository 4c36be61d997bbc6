"""The values that everything else speaks of: people, enrollments, messages, referrals, tasks, and the states they pass through.

Every value is frozen and every instant in it is an aware datetime in UTC. Nothing here decides anything: states are
assigned in `machine.py` alone, and only the store knows that rows exist."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """Where an enrollment is. `machine.py` holds the table of what may follow what."""

    WAITING = "waiting"  # started by another sequence with `after:`; begins at `next_at`
    ACTIVE = "active"  # a step is due at `due_at`, or is in someone's hand (outbox, draft, blocking task)
    HELD = "held"  # its clock stands still until `next_at` (an absence), or until an answer elsewhere is settled
    PAUSED = "paused"  # its clock stands still until the rep says how to go on
    LISTENING = "listening"  # the steps ran out; it still hears answers until `next_at`
    STOPPED = "stopped"  # over; `outcome` says how


class Event(StrEnum):
    """What a message can mean (see `sequence-language`): ordered from the most specific to the least where several hold."""

    UNSUBSCRIBED = "unsubscribed"
    COMPLAINED = "complained"
    BOUNCED = "bounced"
    SOFT_BOUNCED = "soft_bounced"
    DELAYED = "delayed"
    OUT_OF_OFFICE = "out_of_office"
    AUTO_REPLY = "auto_reply"
    IGNORED = "ignored"
    INTRODUCED = "introduced"
    NAMED = "named"
    DECLINED = "declined"
    CONFIRMED = "confirmed"
    REPLY = "reply"
    REP_WROTE = "rep_wrote"
    FINISHED = "finished"


#: A person wrote it, by hand: it stops a follow-up that is about to leave.
HUMAN = frozenset({Event.REPLY, Event.CONFIRMED, Event.DECLINED, Event.NAMED, Event.INTRODUCED, Event.UNSUBSCRIBED})


@dataclass(frozen=True)
class Person:
    """Somebody as a message or a variable names them. An empty string means unknown."""

    name: str = ""
    email: str = ""
    company: str = ""
    title: str = ""
    first_name: str = ""


@dataclass(frozen=True)
class Part:
    """One leaf of a message's MIME tree that a machine may read: its lower-case type, its Content-Disposition, its text.

    For `message/rfc822` and `text/rfc822-headers` the text is what was returned, header first. Attachments have no text."""

    content_type: str
    disposition: str
    text: str


@dataclass(frozen=True)
class Message:
    """One parsed e-mail. Addresses are lower case, ids keep their angle brackets, text is the decoded body as it came.

    `date` is the Date header in UTC, or None where it is missing or unreadable. `size` counts the raw bytes.
    `headers` maps lower-case names to all their decoded values in order."""

    raw: bytes
    message_id: str
    in_reply_to: tuple[str, ...]
    references: tuple[str, ...]
    sender: Person
    to: tuple[Person, ...]
    cc: tuple[Person, ...]
    subject: str
    date: datetime | None
    headers: Mapping[str, tuple[str, ...]]
    text: str
    html: str
    size: int
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Reader:
    """Whose mailbox a message came to, and what is known around it. All optional but the rep's own addresses.

    `colleagues` are domains of the rep's company, `client` the person whose answer is awaited (None: the sender),
    `prospects` the people of running referrals, so that a mail to one of them is an introduction."""

    rep: frozenset[str]
    colleagues: frozenset[str] = frozenset()
    client: Person | None = None
    client_domains: frozenset[str] = frozenset()
    prospects: tuple[Person, ...] = ()


@dataclass(frozen=True)
class Reading:
    """What `classify` makes of one message.

    `events` goes from the most specific to the least (`named`, `confirmed`, `reply`); `event` is the first. `rule` is the name
    of the rule that decided. `text` is the new text without quotes and signature. `until` is the first day back, None when the note
    gives none, an ambiguous one, one past or more than 90 days away. `people` are those given by `named` or `introduced`.
    `recipients` and `status` are a bounce's failed addresses and enhanced status code; `originals` the Message-IDs (and own
    ids) that it says it is about. `note` is a sentence for the rep ("has left", "new address: …", "asks for …"), or empty."""

    events: tuple[Event, ...]
    rule: str
    text: str = ""
    until: date | None = None
    people: tuple[Person, ...] = ()
    recipients: tuple[str, ...] = ()
    status: str | None = None
    originals: tuple[str, ...] = ()
    note: str = ""

    @property
    def event(self) -> Event:
        return self.events[0]


@dataclass(frozen=True)
class Contact:
    """Someone whom the engine knows by an address. `zone`, `country`, `subdivision`, `language` are empty when unknown:
    the rep's then apply. `confirmed_at` is when they last confirmed the value that they had."""

    id: str
    email: str
    name: str = ""
    first_name: str = ""
    company: str = ""
    title: str = ""
    zone: str = ""
    country: str = ""
    subdivision: str = ""
    language: str = ""
    owner: str = ""
    aliases: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    confirmed_at: datetime | None = None


@dataclass(frozen=True)
class Enrollment:
    """One contact's way through one sequence.

    `step` is the step that is due or in hand (None: the steps ran out, or it has not begun). `due_at` is that step's
    time, kept while the clock stands still; `next_at` is when the engine must look again, None when only an event can
    move it. `start_at` is the anchor `start`, moved by every hold and pause. `suspended_at` is when its clock stopped.
    `in_hand` says who has the step: "outbox", "draft" or "task". `answered` is the step whose email was sent last:
    handlers go by it. `visits` counts how often each step was reached by now, `tries` the emails of the present visit
    that were refused. `passed` are the steps that do not come again by themselves, in the order in which they were
    reached: a goto takes its target and what lies behind it out. `done_at` is when the step before it was done: waits
    count from it, and holds move it. `thread` is the thread that its emails go on in. `root` is the id of the first
    enrollment of its family; `cause` the inbound message that it answers. `revision` rises with every change and is
    what lets an answer win against a send."""

    id: str
    sequence: str
    version: str
    contact: str
    client: str
    rep: str
    root: str
    begun_at: datetime
    start_at: datetime
    state: State = State.ACTIVE
    variables: Mapping[str, Any] = field(default_factory=dict)
    step: str | None = None
    due_at: datetime | None = None
    next_at: datetime | None = None
    suspended_at: datetime | None = None
    in_hand: str = ""
    answered: str = ""
    visits: Mapping[str, int] = field(default_factory=dict)
    tries: int = 0
    parent: str = ""
    cause: str = ""
    referral: str = ""
    reason: str = ""
    outcome: str = ""
    revision: int = 0
    done_at: datetime | None = None
    thread: str = ""
    passed: tuple[str, ...] = ()


class OutboxState(StrEnum):
    """The life of one email. Nothing is recomposed after DATA_STARTED."""

    DRAFT = "draft"  # waits for the rep's word
    QUEUED = "queued"
    CLAIMED = "claimed"
    DATA_STARTED = "data_started"
    SENT = "sent"
    REFUSED = "refused"
    IN_DOUBT = "in_doubt"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class OutboxMessage:
    """One email of one step: unique over (enrollment, step, visit, try) among live ones. Text and bytes are empty until frozen.

    `not_before` moves with back-off and limits, `due_at` never does: the gate asks for a read of the mailbox after it. `seen`
    are the digests of what the rep approved; empty where nobody was asked, or where the rep wrote the words. `bcc` are addresses
    that get the same bytes and stand in no header."""

    id: str
    enrollment: str
    step: str
    visit: int
    attempt: int
    mailbox: str
    contact: str
    recipient: str
    state: OutboxState
    due_at: datetime
    not_before: datetime
    follow_up: bool
    message_id: str = ""
    subject: str = ""
    text: str = ""
    raw: bytes = b""
    template: str = ""
    version: str = ""
    token: int = 0
    deadline: datetime | None = None
    deferrals: int = 0
    sent_at: datetime | None = None
    note: str = ""
    thread: str = ""
    own_id: str = ""
    revision: int = 0
    approved_at: datetime | None = None
    filed_at: datetime | None = None
    seen: str = ""
    bcc: tuple[str, ...] = ()


@dataclass(frozen=True)
class InboundMessage:
    """One message that was read in a rep's mailbox, with what was decided and by which rules. It was read at `received_at`, and
    the mailbox had it at `arrived_at`, where the server says so. `text` is empty once its time
    (`keep_bodies`) is over, and for mail that concerns no enrollment."""

    id: str
    mailbox: str
    folder: str
    uidvalidity: int
    uid: int
    message_id: str
    digest: str
    received_at: datetime
    sender: str
    subject: str
    event: str
    rule: str
    matched: str = ""
    enrollment: str = ""
    contact: str = ""
    text: str = ""
    decision: str = ""
    settled_at: datetime | None = None
    thread: str = ""
    refs: str = ""
    arrived_at: datetime | None = None


@dataclass(frozen=True)
class Referral:
    """A prospect whom a client named or introduced: `named -> contacted -> met -> won | lost`, a date for each. `source` is how it
    was learned: a `reply`, an `introduction` by email, or the word of the `rep`; `proof` the message that did it. `answered_at` is
    when they first heard from the rep after the introduction, by an email of ours or by the rep's own hand."""

    id: str
    client: str
    rep: str
    prospect: Person
    state: str
    named_at: datetime
    source: str = ""
    proof: str = ""
    introduced_at: datetime | None = None
    contacted_at: datetime | None = None
    met_at: datetime | None = None
    won_at: datetime | None = None
    lost_at: datetime | None = None
    answered_at: datetime | None = None

    @property
    def heard_at(self) -> datetime | None:
        """When the clock of an introduction stopped: with the answer or, at the latest, when they met."""
        return min((at for at in (self.answered_at, self.met_at, self.won_at, self.lost_at) if at), default=None)

    @property
    def waits(self) -> bool:
        """They were introduced, and nobody has answered."""
        return self.introduced_at is not None and self.heard_at is None


@dataclass(frozen=True)
class ReferralLine:
    """One line of what happened to a referral. `what` is the stage that was reached (`introduced`), what somebody wrote (`said` the
    client, `answered` the prospect) or a `note` of the rep's; `message` the email, theirs or ours, that proves it."""

    id: str
    referral: str
    at: datetime
    what: str
    text: str = ""
    message: str = ""


@dataclass(frozen=True)
class Task:
    """Something for the rep to do. `step` is set when an enrollment waits for it."""

    id: str
    kind: str
    rep: str
    contact: str
    enrollment: str
    title: str
    text: str
    created_at: datetime
    urgent: bool = False
    step: str = ""
    message: str = ""
    done_at: datetime | None = None
    note: str = ""


@dataclass(frozen=True)
class Item:
    """One thing that a letter to the rep lists, by the `number` with which they settle it; `thread` is the letter's.

    `kind` and `target` (an id) say what it is, `shown` what of it they saw: a word is for that and nothing else. `said` is what
    settled it, by the inbound `message`; both are empty while it is open."""

    thread: str
    number: int
    handle: str
    kind: str
    target: str
    label: str
    shown: str
    said: str = ""
    message: str = ""


@dataclass(frozen=True)
class Alert:
    """What a program (`kind` command) or an address (webhook) of the `rep` is still to be told. `facts` is JSON."""

    id: str
    rep: str
    kind: str
    facts: str
    not_before: datetime
    tries: int = 0


@dataclass(frozen=True)
class Moment:
    """Something that happened to a contact and that triggers listen for.

    `name` is what a rep, a file or another system reports (`nps`, `delivered`), or the new state of the `referral` (an id)
    whose change it is; `data` is what came with it, as it was given. `key` says what counts as the same moment. `message`
    is the inbound message that brought it. `fired_at` is when its triggers acted, None while it waits for that."""

    id: str
    contact: str
    name: str
    data: Mapping[str, Any]
    at: datetime
    key: str
    referral: str = ""
    message: str = ""
    fired_at: datetime | None = None
