"""Everything that is kept, by the domain's verbs: each statement of `sql/` is called here and nowhere else. A Store is one
connection and belongs to one thread; verbs that belong together are put into one `transaction` by their caller."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from engine.core.address import domain_of, prospect_key
from engine.core.model import (
    Alert,
    Contact,
    Enrollment,
    InboundMessage,
    Item,
    Moment,
    OutboxMessage,
    OutboxState,
    Person,
    Referral,
    ReferralLine,
    Task,
)
from engine.database import Database, open_database
from engine.rows import instant, micros, reader, row_of

#: So many are read at a time of what may be very many.
AT_ONCE = 1_000
#: The states in which few messages are, and for whose sake the daemon looks again and again.
OPEN = frozenset({OutboxState.DRAFT, OutboxState.CLAIMED, OutboxState.DATA_STARTED, OutboxState.IN_DOUBT})


@dataclass(frozen=True)
class MailboxState:
    """What is known of a rep's mailbox. `read_at` is when the last read to its end began; an empty `files_sent` means unknown."""

    address: str
    owner: str
    epoch: int
    lease_until: datetime
    next_send_at: datetime
    day: str
    sent_today: int
    read_at: datetime
    read_error: str
    read_failed_at: datetime | None
    paused_until: datetime
    paused_why: str
    files_sent: str
    keeps_id: str


@dataclass(frozen=True)
class Told:
    """One line of the history, which only grows."""

    at: datetime
    contact: str
    enrollment: str
    kind: str
    text: str
    message: str
    id: str = ""


@dataclass(frozen=True)
class ThreadMail:
    """One message of a thread, ours or theirs; `contact` is who got or wrote it, `refs` their References header."""

    at: datetime
    id: str
    contact: str
    message_id: str
    own_id: str
    subject: str
    refs: str


@dataclass(frozen=True)
class Written:
    """An email that a client got: of which step, from which template and rep, in which family of enrollments."""

    client: str
    root: str
    sequence: str
    step: str
    template: str
    rep: str
    at: datetime


@dataclass(frozen=True)
class Emailed:
    """An email that left for somebody: of which step, template and rep, and whether it came back (`state`)."""

    id: str
    contact: str
    sequence: str
    step: str
    template: str
    rep: str
    state: str
    at: datetime


@dataclass(frozen=True)
class Answered:
    """What a client said, or the rep knew that they had said, in this family of enrollments."""

    client: str
    root: str
    event: str
    at: datetime


@dataclass(frozen=True)
class Mention:
    """A line about somebody else that names a person: `what` is email, answer, task, history, referral, item, alert or moment."""

    what: str
    id: str
    subject: str
    text: str


@dataclass(frozen=True)
class Suppression:
    hash: str
    address: str
    reason: str
    at: datetime
    message: str


def address_hash(address: str) -> str:
    """What survives of a suppressed address after `forget`."""
    return hashlib.sha256(address.strip().lower().encode()).hexdigest()


def random_ids() -> Callable[[], str]:
    """Ids that no other process gives, in the order of their making within this one."""
    count = itertools.count()
    return lambda: f"{next(count):08x}{secrets.token_hex(8)}"


def counted_ids() -> Callable[[], str]:
    """Ids for a store that lives only as long as a simulation: the same in every run."""
    count = itertools.count(1)
    return lambda: f"{next(count):08x}"


class Store:
    """The verbs over one Database. Raises Conflict and Unusable of `engine.database`."""

    def __init__(self, database: Database, new_id: Callable[[], str] | None = None) -> None:
        self.database = database
        self.new_id = new_id or random_ids()
        #: Hears every line of the history once it is committed.
        self.listener: Callable[[Told], None] | None = None
        self._told: list[Told] = []

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, nested ones are part of the outermost. Raises Conflict and Unusable."""
        return self.database.transaction() if self.database.in_transaction else self._outermost()

    @contextmanager
    def _outermost(self) -> Iterator[None]:
        try:
            with self.database.transaction():
                yield
        except BaseException:
            self._taken_back()
            raise
        self._hand_on()

    def _taken_back(self) -> None:
        self._told.clear()

    def _hand_on(self) -> None:
        if self.database.in_transaction:
            return
        told, self._told = self._told, []
        for line in told if self.listener else ():
            assert self.listener is not None
            self.listener(line)

    def close(self) -> None:
        self.database.close()

    def _one(self, cls: type[Any], name: str, **values: object) -> Any:
        return self.database.value(reader(cls), name, **values)

    def _all(self, cls: type[Any], name: str, **values: object) -> list[Any]:
        return self.database.values(reader(cls), name, **values)

    # --- people ------------------------------------------------------------------------------------------------------

    def add_contact(self, contact: Contact) -> Contact:
        """Keeps a new contact under an id of its own, with all its addresses."""
        kept = replace(contact, id=contact.id or self.new_id(), email=contact.email.lower())
        with self.transaction():
            row = row_of(kept)
            self.database.change("add_contact", **row, domain=domain_of(kept.email))
            for address in (kept.email, *kept.aliases):
                self.database.change("add_address", address=address.lower(), contact=kept.id)
        return kept

    def confirm(self, contact: str, now: datetime) -> None:
        """They have confirmed the value that they had."""
        self.database.change("confirm", contact=contact, now=micros(now))

    def save_contact(self, contact: Contact) -> None:
        """What is known of somebody, but for their address and when they confirmed."""
        with self.transaction():
            row = row_of(contact)
            del row["email"], row["confirmed_at"]
            self.database.change("save_contact", **row)
            for alias in contact.aliases:
                self.database.change("add_address", address=alias.lower(), contact=contact.id)

    def drop_address(self, contact: str, address: str) -> None:
        """What comes from there is nobody's from now on."""
        self.database.change("drop_address", contact=contact, address=address)

    def move_contact(self, contact: str, email: str) -> None:
        """Emails go to that address from now on; it is one of theirs already."""
        self.database.change("move_contact", id=contact, email=email, domain=domain_of(email))

    def contact(self, id: str) -> Contact | None:
        return self._one(Contact, "contact", id=id)  # type: ignore[no-any-return]

    def contact_at(self, address: str) -> Contact | None:
        """By any of their addresses."""
        return self._one(Contact, "contact_at", address=address.strip().lower())  # type: ignore[no-any-return]

    def lock_company(self, contact: Contact, colleagues: bool = True) -> None:
        """Until the end of the transaction nobody else gets this lock for them or, with `colleagues`, for one of theirs."""
        if self.database.is_sqlite:
            return  # a transaction has the store for itself
        company = _company(contact) if colleagues else dict.fromkeys(("domain", "company"), "")
        self.database.rows("lock_company", contact=contact.id, **company)

    def contacts(self) -> list[Contact]:
        return self._all(Contact, "contacts")

    def colleagues(self, address: str) -> list[Contact]:
        """Contacts at the same company's domain."""
        return self._all(Contact, "colleagues", domain=domain_of(address))

    def hold_contact(self, contact: str, until: datetime | None, why: str) -> None:
        self.database.change("hold_contact", id=contact, held_until=until and micros(until), held_why=why)

    def contact_hold(self, contact: str, now: datetime) -> tuple[datetime, str] | None:
        """Until when, and why, this person is away or held."""
        row = self.database.row("contact_hold", id=contact)
        if row is None or row["held_until"] is None or row["held_until"] <= micros(now):
            return None
        return instant(row["held_until"]), str(row["held_why"])

    def suppress(self, address: str, reason: str, at: datetime, message: str = "") -> bool:
        """True when the address was not suppressed before."""
        done = self.database.change(
            "suppress",
            hash=address_hash(address),
            address=address.strip().lower(),
            reason=reason,
            at=micros(at),
            message=message,
        )
        return done > 0

    def suppressed(self, address: str) -> Suppression | None:
        return self._one(Suppression, "suppression", hash=address_hash(address))  # type: ignore[no-any-return]

    def suppressions(self) -> list[Suppression]:
        return self._all(Suppression, "suppressions")

    # --- enrollments -------------------------------------------------------------------------------------------------

    def add_enrollment(self, enrollment: Enrollment) -> bool:
        """False when the person is in that sequence for that prospect already."""
        prospect = prospect_key(enrollment.variables.get("prospect"))
        return bool(self.database.rows("add_enrollment", **row_of(enrollment), prospect=prospect))

    def save_enrollment(self, enrollment: Enrollment, was: int) -> bool:
        """False when it has changed since revision `was`: the decision must be made anew."""
        row = row_of(enrollment)
        for fixed in ("contact", "root", "parent", "begun_at", "rep", "client"):
            del row[fixed]
        prospect = prospect_key(enrollment.variables.get("prospect"))
        return self.database.change("save_enrollment", **row, was=was, prospect=prospect) > 0

    def enrollment(self, id: str, lock: bool = False) -> Enrollment | None:
        return self._one(Enrollment, "lock_enrollment" if lock else "enrollment", id=id)  # type: ignore[no-any-return]

    def due_enrollments(self, now: datetime, limit: int) -> list[str]:
        return [row["id"] for row in self.database.rows("due_enrollments", now=micros(now), limit=limit)]

    def next_enrollment_at(self) -> datetime | None:
        row = self.database.row("next_enrollment_at")
        return instant(row["at"]) if row and row["at"] is not None else None

    def enrollments_of(self, contact: str) -> list[Enrollment]:
        return self._all(Enrollment, "enrollments_of", contact=contact)

    def enrollments_for_client(self, client: str) -> list[Enrollment]:
        return self._all(Enrollment, "enrollments_for_client", client=client)

    def family(self, root: str) -> list[Enrollment]:
        return self._all(Enrollment, "family", root=root)

    def enrollments_about(self, prospect: Person) -> list[Enrollment]:
        return self._all(Enrollment, "enrollments_about", prospect=prospect_key(prospect))

    def all_enrollments(self) -> list[Enrollment]:
        return self._all(Enrollment, "all_enrollments")

    def running(self, rep: str, limit: int) -> list[Enrollment]:
        """What has not ended: who waits for the rep first, then who is next. An empty `rep`: everybody's."""
        return self._all(Enrollment, "running", rep=rep, limit=limit)

    def through(self, rep: str, limit: int) -> list[Enrollment]:
        """What has ended or only listens, the latest first."""
        return self._all(Enrollment, "through", rep=rep, limit=limit)

    def count_states(self, rep: str = "") -> dict[str, int]:
        """How many enrollments are in each state."""
        rows = self.database.rows("count_states_of", rep=rep) if rep else self.database.rows("count_states")
        return {row["state"]: row["n"] for row in rows}

    def running_twin(self, contact: str, sequence: str, prospect: str) -> Enrollment | None:
        return self._one(  # type: ignore[no-any-return]
            Enrollment, "running_twin", contact=contact, sequence=sequence, prospect=prospect
        )

    def count_enrollments(self) -> list[tuple[str, str, int]]:
        return [(r["sequence"], r["state"], r["n"]) for r in self.database.rows("count_enrollments")]

    def begun_at_company(self, contact: Contact, root: str, since: datetime) -> list[tuple[str, datetime, str]]:
        """(sequence, when, email) of everyone at this contact's company who was first written to since, or is about to be, the
        latest first, without the family of enrollments `root`."""
        rows = self.database.rows(
            "begun_at_company", email=contact.email, root=root, since=micros(since), **_company(contact)
        )
        return [(r["sequence"], instant(r["at"]), r["email"]) for r in rows]

    # --- outbox ------------------------------------------------------------------------------------------------------

    def add_outbox(self, message: OutboxMessage) -> bool:
        """False when a live row for that enrollment, step, visit and attempt is there already."""
        return bool(self.database.rows("add_outbox", **row_of(message)))

    def outbox_message(self, id: str) -> OutboxMessage | None:
        return self._one(OutboxMessage, "outbox_message", id=id)  # type: ignore[no-any-return]

    def queued(self, mailbox: str, now: datetime, follow_ups: bool = True) -> OutboxMessage | None:
        """The first that may leave this mailbox: `follow_ups` before first contacts, or first contacts alone."""
        return self._one(  # type: ignore[no-any-return]
            OutboxMessage, "queued", mailbox=mailbox, now=micros(now), follow_ups=int(follow_ups)
        )

    def follows_up(self, message: OutboxMessage) -> None:
        """Mail has gone between the two since it was queued."""
        self.database.change("follows_up", id=message.id)

    def queued_to_rep(self, mailbox: str, now: datetime) -> OutboxMessage | None:
        """The first letter to the rep themselves."""
        return self._one(OutboxMessage, "queued_to_rep", mailbox=mailbox, now=micros(now))  # type: ignore[no-any-return]

    def next_queued_at(self, mailbox: str) -> datetime | None:
        row = self.database.row("next_queued_at", mailbox=mailbox)
        return instant(row["at"]) if row and row["at"] is not None else None

    def mailboxes_due(self, now: datetime) -> list[str]:
        """Where something is queued that may leave by its own time."""
        return [row["mailbox"] for row in self.database.rows("mailboxes_due", now=micros(now))]

    def next_due(self) -> datetime | None:
        """The next instant for which an enrollment or a queued email waits."""
        row = self.database.row("next_due")
        return instant(row["at"]) if row and row["at"] is not None else None

    def outbox_in(self, state: OutboxState) -> list[OutboxMessage]:
        return self._all(OutboxMessage, "open_outbox_in" if state in OPEN else "outbox_in", state=str(state))

    def outbox_of(self, enrollment: str) -> list[OutboxMessage]:
        return self._all(OutboxMessage, "outbox_of", enrollment=enrollment)

    def outbox_to(self, contact: str) -> list[OutboxMessage]:
        return self._all(OutboxMessage, "outbox_to", contact=contact)

    def lost_attempts(self, mailbox: str, before: datetime) -> list[OutboxMessage]:
        return self._all(OutboxMessage, "lost_attempts", mailbox=mailbox, before=micros(before))

    def lost_claims(self, mailbox: str, before: datetime) -> list[OutboxMessage]:
        return self._all(OutboxMessage, "lost_claims", mailbox=mailbox, before=micros(before))

    def freeze(self, message: OutboxMessage) -> OutboxMessage | None:
        """The claim. None when somebody else has it, or it was withdrawn."""
        row = row_of(message)
        frozen = "message_id own_id thread subject text raw template version follow_up bcc"
        names = ("id", "token", "revision", "deadline", *frozen.split())
        got = self.database.row("freeze", **{name: row[name] for name in names})
        return None if got is None else replace(message, state=OutboxState.CLAIMED, token=got["token"])

    def start_data(self, message: OutboxMessage, epoch: int, now: datetime, fresh: datetime) -> bool:
        """True when the body may be written now; from then on nobody else will ever send this row blindly."""
        got = self.database.row(
            "start_data",
            id=message.id,
            token=message.token,
            now=micros(now),
            mailbox=message.mailbox,
            epoch=epoch,
            fresh=micros(fresh),
            hash=address_hash(message.recipient),
        )
        return got is not None

    def release_claim(self, message: OutboxMessage, not_before: datetime, deferrals: int, note: str) -> bool:
        return bool(
            self.database.rows(
                "release_claim",
                id=message.id,
                token=message.token,
                not_before=micros(not_before),
                deferrals=deferrals,
                note=note,
            )
        )

    def doubt_tried(self, note: str) -> int:
        """What was tried before a backup that was restored may have gone out since; returns how many."""
        return self.database.change("doubt_tried", note=note)

    def reclaim(self, message: OutboxMessage, now: datetime, note: str) -> bool:
        """False when its body has begun meanwhile."""
        at = micros(now)
        return bool(self.database.rows("reclaim", id=message.id, token=message.token, now=at, note=note))

    def record_sent(self, message: OutboxMessage, at: datetime, note: str) -> bool:
        return bool(
            self.database.rows("record_sent", id=message.id, token=message.token, sent_at=micros(at), note=note)
        )

    def record_refused(self, message: OutboxMessage, note: str) -> bool:
        return bool(self.database.rows("record_refused", id=message.id, token=message.token, note=note))

    def record_doubt(self, message: OutboxMessage, note: str) -> bool:
        return bool(self.database.rows("record_doubt", id=message.id, token=message.token, note=note))

    def doubt_claim(self, message: OutboxMessage, note: str) -> bool:
        """After a restore: what was just frozen is looked for before it is sent."""
        return bool(self.database.rows("doubt_claim", id=message.id, token=message.token, note=note))

    def again(self, message: OutboxMessage, not_before: datetime, note: str) -> bool:
        return bool(
            self.database.rows("again", id=message.id, token=message.token, not_before=micros(not_before), note=note)
        )

    def postpone(self, message: OutboxMessage, until: datetime, why: str) -> None:
        self.database.change("postpone", id=message.id, not_before=micros(until), note=why)

    def note_outbox(self, message: OutboxMessage, note: str) -> bool:
        """True when the note is a new one."""
        return self.database.change("note_outbox", id=message.id, note=note) > 0

    def to_draft(self, message: OutboxMessage, why: str) -> None:
        self.database.change("to_draft", id=message.id, note=why)

    def approve(self, message: OutboxMessage, now: datetime, subject: str = "", text: str = "", seen: str = "") -> bool:
        """The rep's word; `subject` and `text` are what the rep made of it, empty when unchanged; `seen` what was approved."""
        return bool(
            self.database.rows(
                "approve", id=message.id, now=micros(now), subject=subject, text=text, seen=seen, nothing=b""
            )
        )

    def withdraw(self, enrollment: str, why: str) -> int:
        return len(self.database.rows("withdraw", enrollment=enrollment, note=why))

    def withdraw_one(self, message: OutboxMessage, why: str) -> bool:
        return bool(self.database.rows("withdraw_one", id=message.id, note=why))

    def unfiled(self, mailbox: str) -> list[OutboxMessage]:
        """Sent, and no copy is known to be in the Sent folder yet; the oldest first, some at a time."""
        return self._all(OutboxMessage, "unfiled", mailbox=mailbox)

    def filed(self, message: OutboxMessage, now: datetime) -> None:
        self.database.change("filed", id=message.id, now=micros(now))

    def in_thread(self, thread: str) -> list[ThreadMail]:
        return self._all(ThreadMail, "in_thread", thread=thread)

    def sent_by_id(self, message_id: str) -> OutboxMessage | None:
        found = self._all(OutboxMessage, "sent_by_id", message_id=message_id)
        return found[0] if found else None

    def sent_by_own_id(self, own_id: str) -> OutboxMessage | None:
        return self._one(OutboxMessage, "sent_by_own_id", own_id=own_id)  # type: ignore[no-any-return]

    def last_sent_to(self, contact: str) -> OutboxMessage | None:
        return self._one(OutboxMessage, "last_sent_to", contact=contact)  # type: ignore[no-any-return]

    def last_unrelated(self, contact: str, root: str) -> tuple[datetime, str, OutboxState] | None:
        """When, and by which sequence, this person last heard from another family of enrollments; `claimed`: will have heard."""
        row = self.database.row("last_unrelated", contact=contact, root=root)
        return (instant(row["at"]), row["sequence"], OutboxState(row["state"])) if row else None

    def last_at_company(self, contact: Contact, root: str) -> tuple[datetime, str, str] | None:
        """When, by which sequence and at which address somebody else at this person's company last heard from another family of
        enrollments."""
        row = self.database.row("last_at_company", contact=contact.id, root=root, **_company(contact))
        return (instant(row["at"]), row["sequence"], row["email"]) if row else None

    def knows(self, contact: str, mailbox: str) -> bool:
        """Whether any mail has gone between this person and this rep, either way."""
        row = self.database.row("knows", contact=contact, mailbox=mailbox)
        return bool(row and row["n"])

    def first_sent_at(self, mailbox: str) -> datetime | None:
        row = self.database.row("first_sent_at", mailbox=mailbox)
        return instant(row["at"]) if row and row["at"] is not None else None

    # --- inbound -----------------------------------------------------------------------------------------------------

    def add_inbound(self, message: InboundMessage) -> bool:
        """False when this message was read before, in whatever folder; in another mailbox, unless its rule is `copy`."""
        return bool(self.database.rows("add_inbound", **row_of(message)))

    def copies(self, message_id: str, digest: str) -> list[InboundMessage]:
        """What was read of this message before, in whatever mailbox and folder."""
        return self._all(InboundMessage, "copies", message_id=message_id, digest=digest)

    def inbound_message(self, id: str) -> InboundMessage | None:
        return self._one(InboundMessage, "inbound_message", id=id)  # type: ignore[no-any-return]

    def decide_inbound(self, message: InboundMessage) -> None:
        self.database.change(
            "decide_inbound",
            id=message.id,
            event=message.event,
            rule=message.rule,
            decision=message.decision,
            settled_at=message.settled_at and micros(message.settled_at),
        )

    def own_copy(self, message_id: str) -> tuple[str, datetime] | None:
        """(folder, when) of a copy with that Message-ID in a rep's mailbox, of which nothing was known when it was read."""
        row = self.database.row("own_copy", message_id=message_id)
        return (row["folder"], instant(row["at"])) if row else None

    def settle_inbound(self, contact: str, enrollment: str, now: datetime) -> int:
        return self.database.change("settle_inbound", contact=contact, enrollment=enrollment, now=micros(now))

    def open_inbound_of(self, contact: str) -> list[InboundMessage]:
        """Answers of this person that wait for a look, the oldest first."""
        return self._all(InboundMessage, "open_inbound_of", contact=contact)

    def open_inbound(self) -> list[InboundMessage]:
        return self._all(InboundMessage, "open_inbound")

    def inbound_of(self, contact: str) -> list[InboundMessage]:
        return self._all(InboundMessage, "inbound_of", contact=contact)

    def recent_inbound(self, limit: int) -> list[InboundMessage]:
        return self._all(InboundMessage, "recent_inbound", limit=limit)

    def last_human_mail(self, contact: str, since: datetime, root: str = "") -> InboundMessage | None:
        """The last mail by hand between this person and a rep, other than what the family of enrollments `root` has heard."""
        return self._one(  # type: ignore[no-any-return]
            InboundMessage, "last_human_mail", contact=contact, since=micros(since), root=root
        )

    def drop_bodies(self, before: datetime) -> int:
        """The words of all mail before then, both ways; what was decided stays."""
        with self.transaction():
            theirs = self.database.change("drop_bodies", before=micros(before))
            return theirs + self.database.change("drop_sent_bodies", before=micros(before), nothing=b"")

    def position(self, mailbox: str, folder: str) -> tuple[int, int] | None:
        """(UIDVALIDITY, UID) up to which a folder was read."""
        row = self.database.row("position", mailbox=mailbox, folder=folder)
        return (row["uidvalidity"], row["uid"]) if row else None

    def mailbox_since(self, mailbox: str) -> datetime | None:
        """When any of its folders was first seen."""
        row = self.database.row("mailbox_since", mailbox=mailbox)
        return instant(row["since"]) if row and row["since"] is not None else None

    def save_position(self, mailbox: str, folder: str, uidvalidity: int, uid: int, now: datetime) -> datetime:
        """Returns when the folder was first seen."""
        row = self.database.row(
            "save_position", mailbox=mailbox, folder=folder, uidvalidity=uidvalidity, uid=uid, since=micros(now)
        )
        assert row is not None
        return instant(row["since"])

    # --- mailboxes ---------------------------------------------------------------------------------------------------

    def add_mailbox(self, address: str) -> None:
        self.database.change("add_mailbox", address=address)

    def mailbox(self, address: str) -> MailboxState | None:
        return self._one(MailboxState, "mailbox", address=address)  # type: ignore[no-any-return]

    def mailboxes(self) -> list[MailboxState]:
        return self._all(MailboxState, "mailboxes")

    def lease(self, address: str, owner: str, now: datetime, until: datetime) -> int | None:
        """The epoch under which `owner` may use the mailbox until `until`, None while another has it."""
        row = self.database.row("lease", address=address, owner=owner, now=micros(now), until=micros(until))
        return int(row["epoch"]) if row else None

    def end_lease(self, address: str, owner: str) -> None:
        self.database.change("end_lease", address=address, owner=owner)

    def consume_rate(
        self, address: str, epoch: int, now: datetime, next_send_at: datetime, day: str, per_day: int
    ) -> bool:
        got = self.database.row(
            "consume_rate",
            address=address,
            epoch=epoch,
            now=micros(now),
            next_send_at=micros(next_send_at),
            day=day,
            per_day=per_day,
        )
        return got is not None

    def return_rate(self, address: str, epoch: int, now: datetime) -> None:
        self.database.change("return_rate", address=address, epoch=epoch, now=micros(now))

    def read_to_end(self, address: str, read_at: datetime, now: datetime) -> None:
        """A read that began at `read_at` has come to the mailbox's end at `now`."""
        self.database.change("read_to_end", address=address, read_at=micros(read_at), now=micros(now))

    def distrust_reads(self, before: datetime) -> None:
        """No mailbox counts as read later than that: the clock that says so was wrong, or stood still."""
        self.database.change("distrust_reads", before=micros(before))

    def read_failed(self, address: str, at: datetime, error: str) -> None:
        self.database.change("read_failed", address=address, at=micros(at), error=error)

    def pause_mailbox(self, address: str, until: datetime, why: str) -> None:
        self.database.change("pause_mailbox", address=address, until=micros(until), why=why)

    def learn_mailbox(self, address: str, files_sent: str, keeps_id: str) -> None:
        self.database.change("learn_mailbox", address=address, files_sent=files_sent, keeps_id=keeps_id)

    # --- history, tasks, referrals -----------------------------------------------------------------------------------

    def tell(
        self, at: datetime, kind: str, text: str, contact: str = "", enrollment: str = "", message: str = ""
    ) -> None:
        """One line into the history; nothing is ever changed or taken out of it."""
        line = Told(at, contact, enrollment, kind, text, message, id=self.new_id())
        self.database.change("tell", **row_of(line))
        if self.listener:
            self._told.append(line)
        self._hand_on()

    def story(self, contact: str) -> list[Told]:
        return self._all(Told, "story", contact=contact)

    def history_since(self, at: datetime) -> list[Told]:
        return self._all(Told, "history_since", at=micros(at))

    def add_task(self, task: Task) -> Task:
        kept = replace(task, id=task.id or self.new_id())
        self.database.change("add_task", **row_of(kept))
        return kept

    def task(self, id: str) -> Task | None:
        return self._one(Task, "task", id=id)  # type: ignore[no-any-return]

    def open_tasks(self) -> list[Task]:
        return self._all(Task, "open_tasks")

    def tasks_of(self, contact: str) -> list[Task]:
        return self._all(Task, "tasks_of", contact=contact)

    def finish_task(self, id: str, now: datetime, note: str) -> bool:
        return bool(self.database.rows("finish_task", id=id, now=micros(now), note=note))

    def finish_tasks(self, enrollment: str, kind: str, now: datetime, note: str) -> int:
        return self.database.change("finish_tasks", enrollment=enrollment, kind=kind, now=micros(now), note=note)

    def finish_person_tasks(self, contact: str, kind: str, now: datetime, note: str) -> int:
        return self.database.change("finish_person_tasks", contact=contact, kind=kind, now=micros(now), note=note)

    def add_referral(self, referral: Referral) -> Referral:
        """The kept referral: the one that was there, when this client has named that prospect before."""
        kept = replace(referral, id=referral.id or self.new_id())
        key = prospect_key(kept.prospect)
        self.database.rows("add_referral", **row_of(kept), prospect_key=key)
        found = self._one(Referral, "referral_of", client=kept.client, prospect_key=key)
        assert isinstance(found, Referral)
        return found

    def save_referral(self, referral: Referral) -> None:
        row = row_of(referral)
        del row["client"]
        self.database.change("save_referral", **row, prospect_key=prospect_key(referral.prospect))

    def add_referral_line(self, line: ReferralLine) -> None:
        self.database.change("add_referral_line", **row_of(replace(line, id=line.id or self.new_id())))

    def referral_lines(self, referral: str) -> list[ReferralLine]:
        """What happened to a referral, in order."""
        return self._all(ReferralLine, "referral_lines", referral=referral)

    def referral(self, id: str, lock: bool = False) -> Referral | None:
        return self._one(Referral, "lock_referral" if lock else "referral", id=id)  # type: ignore[no-any-return]

    def referrals(self) -> list[Referral]:
        return self._all(Referral, "referrals")

    def unanswered(self) -> list[Referral]:
        """Introductions of prospects whom nobody has answered yet, the oldest first."""
        return self._all(Referral, "unanswered")

    def referrals_by(self, client: str) -> list[Referral]:
        return self._all(Referral, "referrals_by", client=client)

    def referrals_to(self, prospect: Person) -> list[Referral]:
        return self._all(Referral, "referrals_to", prospect_key=prospect_key(prospect))

    # --- moments and schedules ---------------------------------------------------------------------------------------

    def add_moment(self, moment: Moment) -> Moment | None:
        """The kept moment, None when it is known already."""
        kept = replace(moment, id=moment.id or self.new_id())
        return kept if self.database.rows("add_moment", **row_of(kept)) else None

    def add_request(self, key: str, digest: str, now: datetime) -> bool:
        """Keeps that somebody has said this under a key; False when something was said under it already."""
        return bool(self.database.rows("add_request", key=key, digest=digest, at=micros(now)))

    def request(self, key: str) -> str:
        """The digest of what was said under a key; empty where nothing was."""
        row = self.database.row("request", key=key)
        return str(row["digest"]) if row else ""

    def drop_requests(self, before: datetime) -> None:
        self.database.change("drop_requests", before=micros(before))

    def fire_moment(self, id: str, now: datetime) -> bool:
        """True for the one who may act on it; put all that follows into the same transaction."""
        return bool(self.database.rows("fire_moment", id=id, now=micros(now)))

    def waiting_moments(self, limit: int) -> list[Moment]:
        return self._all(Moment, "waiting_moments", limit=limit)

    def moments_of(self, contact: str) -> list[Moment]:
        return self._all(Moment, "moments_of", contact=contact)

    def fire_slot(self, schedule: str, slot: str, contact: str, now: datetime) -> bool:
        """True once for each contact, schedule and time of it."""
        return bool(self.database.rows("fire_slot", schedule=schedule, slot=slot, contact=contact, at=micros(now)))

    def clients(self, field: str = "") -> Iterator[Contact]:
        """Without those who are known only as somebody's prospect, where a `field` is named those who have it. There may be
        a million: they are read as they are asked for, by what never changes."""
        fields, after = f'%"{field}":%' if field else "%", ""
        while some := self._all(Contact, "clients", after=after, fields=fields, limit=AT_ONCE):
            yield from some
            after = some[-1].id

    def referrers(self) -> list[Contact]:
        """Everyone who has ever referred somebody."""
        return self._all(Contact, "referrers")

    # --- reports -----------------------------------------------------------------------------------------------------

    def sent_to_clients(self, since: datetime, until: datetime) -> list[Written]:
        """Every email that a client got from `since` until before `until`, in order."""
        return self._all(Written, "sent_to_clients", since=micros(since), until=micros(until))

    def answers_of_clients(self) -> list[Answered]:
        return self._all(Answered, "answers_of_clients")

    def emailed(self) -> list[Emailed]:
        """Every email that left for a client or a prospect, in order."""
        return self._all(Emailed, "emailed")

    def answers_by_contact(self) -> list[tuple[str, str, datetime]]:
        """(contact, event, when) of everything that a person wrote, in order."""
        return [(r["contact"], r["event"], instant(r["at"])) for r in self.database.rows("answers_by_contact")]

    def families_of_referrals(self) -> dict[str, str]:
        """From which family of enrollments each referral came, where that is known."""
        return {row["referral"]: row["root"] for row in self.database.rows("families_of_referrals")}

    def asked_clients(self) -> list[tuple[str, str]]:
        """(client, sequence) of every sequence by which a client was written to."""
        return [(row["client"], row["sequence"]) for row in self.database.rows("asked_clients")]

    # --- the rep's desk ----------------------------------------------------------------------------------------------

    def unalerted(self, since: datetime) -> list[Referral]:
        """Introductions by mail since then of which the rep was not told."""
        return self._all(Referral, "unalerted", since=micros(since))

    def add_alert(self, alert: Alert) -> None:
        self.database.rows("add_alert", **row_of(alert))

    def take_alert(self, now: datetime, lease: timedelta) -> Alert | None:
        """The next that is due, for this one to tell; it is due again after the `lease` unless it is ended before."""
        alert: Alert | None = self._one(Alert, "due_alert", now=micros(now))
        if alert is None:
            return None
        taken = self.database.rows("take_alert", id=alert.id, tries=alert.tries, not_before=micros(now + lease))
        return replace(alert, tries=alert.tries + 1) if taken else None

    def drop_alert(self, id: str) -> None:
        self.database.change("drop_alert", id=id)

    def end_alert(self, alert: Alert, again: datetime | None = None) -> None:
        """It was told, or is given up; or it is tried `again`."""
        if again:
            self.database.change("put_off_alert", id=alert.id, tries=alert.tries, not_before=micros(again))
        else:
            self.database.change("end_alert", id=alert.id, tries=alert.tries)

    def add_item(self, item: Item) -> None:
        self.database.change("add_item", **row_of(item))

    def items(self, thread: str) -> list[Item]:
        return self._all(Item, "items", thread=thread)

    def settle_item(self, item: Item) -> bool:
        """False when it was settled before; put what it does into the same transaction."""
        names = ("thread", "number", "said", "message")
        return bool(self.database.rows("settle_item", **{name: getattr(item, name) for name in names}))

    def waiting_orders(self) -> list[InboundMessage]:
        """Proven answers of reps to a letter, not carried out yet."""
        return self._all(InboundMessage, "waiting_orders")

    def end_orders(self, row: InboundMessage, decision: str) -> bool:
        """False when another was faster."""
        return bool(self.database.rows("end_orders", id=row.id, decision=decision))

    # --- what is kept on a person, and its end -----------------------------------------------------------------------

    def addresses_of(self, contact: str) -> list[str]:
        return [row["address"] for row in self.database.rows("addresses_of", contact=contact)]

    def firings_of(self, contact: str) -> list[tuple[str, str]]:
        """(schedule, time of it) that started something for them."""
        return [(row["schedule"], row["slot"]) for row in self.database.rows("firings_of", contact=contact)]

    def inbound_from(self, address: str) -> list[InboundMessage]:
        return self._all(InboundMessage, "inbound_from", address=address.lower())

    def mentioning_enrollments(self, word: str) -> list[Enrollment]:
        """Those whose variables hold this name or address."""
        return self._all(Enrollment, "mentioning_enrollments", exact=word, word=word.lower())

    def mentions(self, word: str) -> list[Mention]:
        """Every email, answer, task, line of the history and moment that holds this name or address."""
        return self._all(Mention, "mentions", exact=word, word=word.lower())

    def erase_mention(self, mention: Mention, now: datetime) -> None:
        """The words go; of what other people got, said and have to do, the row stays."""
        match mention.what:
            case "email":
                self.database.change("erase_outbox", id=mention.id, now=micros(now), nothing=b"")
            case "answer":
                self.database.change("erase_inbound_words", id=mention.id)
            case "task":
                self.database.change("erase_task", id=mention.id)
            case "history":
                self.database.change("erase_history", id=mention.id)
            case "referral":
                self.database.change("erase_referral_line", id=mention.id)
            case "moment":
                self.database.change("erase_moment", id=mention.id)
            case "item":
                self.database.change("erase_item", id=mention.id)
            case "alert":
                self.drop_alert(mention.id)

    def erase_reasons(self, word: str) -> None:
        """Why somebody else waits, where that names a person ("lee@acme.example was asked on …")."""
        self.database.change("erase_reasons", exact=word, word=word.lower())

    def erase_inbound(self, message: InboundMessage, now: datetime) -> None:
        self.database.change("erase_inbound", id=message.id, now=micros(now))

    def erase_story_of(self, contact: str = "", enrollment: str = "") -> None:
        """The history and the tasks of a person, or of one enrollment."""
        self.database.change("erase_history_of", contact=contact, enrollment=enrollment)
        self.database.change("erase_tasks_of", contact=contact, enrollment=enrollment)

    def erase_prospect(self, referral: Referral) -> None:
        """The referral still counts; who was referred is known no longer."""
        self.database.change("erase_referral_lines", referral=referral.id)
        self.database.change(
            "erase_prospect", id=referral.id, prospect=row_of(replace(referral, prospect=Person()))["prospect"]
        )

    def erase_contact(self, contact: str) -> None:
        """All that is theirs: enrollments with their emails, moments, addresses. Where they have referred somebody, the referral
        stays with a contact of whom nothing is known."""
        with self.transaction():
            for name in ("outbox", "enrollments", "moments", "firings", "addresses"):
                self.database.change(f"erase_{name}_of", contact=contact)
            self.database.change("erase_proofs_by", client=contact)
            for referral in self.referrals_by(contact):
                self.database.change("erase_referral_lines", referral=referral.id)
            if not self.database.change("erase_contact", id=contact):
                self.database.change("hollow_contact", id=contact)

    def suppress_hash(self, address: str, reason: str, at: datetime) -> None:
        """Suppresses an address of which nothing but its hash is kept; an earlier reason stays."""
        with self.transaction():
            self.suppress(address, reason, at)
            self.database.change("erase_suppression_address", hash=address_hash(address))

    def overwrite_erased(self) -> None:
        """What was erased is gone from the file, too. PostgreSQL does it by itself, with time (autovacuum)."""
        self.database.rewrite()

    # --- the library and settings ------------------------------------------------------------------------------------

    def apply_library(self, version: str, at: datetime, sources: str) -> None:
        """It runs from now on, also where a clock was set back since another was applied."""
        last = self.database.row("applied_library")
        applied_at = max(micros(at), last["applied_at"] + 1 if last else 0)
        self.database.change("apply_library", version=version, applied_at=applied_at, sources=sources)

    def applied_library(self) -> tuple[str, str] | None:
        """(version, sources) of what was applied last."""
        row = self.database.row("applied_library")
        return (row["version"], row["sources"]) if row else None

    def library_applied_at(self, version: str) -> datetime | None:
        """When that version was applied last; None for one that never was."""
        row = self.database.row("library_version", version=version)
        return instant(row["applied_at"]) if row else None

    def setting(self, name: str) -> str | None:
        row = self.database.row("setting", name=name)
        return row["value"] if row else None

    def set_setting(self, name: str, value: str) -> None:
        self.database.change("set_setting", name=name, value=value)

    def add_setting(self, name: str, value: str) -> bool:
        """False when it is there already, whoever was faster."""
        return bool(self.database.rows("add_setting", name=name, value=value))

    def drop_setting(self, name: str) -> bool:
        """False when it is not there, or somebody was faster."""
        return bool(self.database.change("drop_setting", name=name))


def open_store(url: str, new_id: Callable[[], str] | None = None) -> Store:
    """Opens the database at `url` (a SQLite file, `:memory:` or `postgresql://…`). Raises Unusable."""
    return Store(open_database(url), new_id)


def find_sent(store: Store, ids: Iterable[str]) -> OutboxMessage | None:
    """The sent message that any of these ids names, by Message-ID first, then by our own id."""
    every = list(ids)
    for message_id in every:
        if found := store.sent_by_id(message_id):
            return found
    for own_id in every:
        if found := store.sent_by_own_id(own_id):
            return found
    return None


def _company(contact: Contact) -> dict[str, str]:
    """By what somebody's colleagues are known."""
    return {"domain": domain_of(contact.email), "company": contact.company.strip().lower()}
