"""Whether every story ended as scripted. The store says what the engine believes, the clients' mailboxes what happened: both must
agree. Whatever does not is a sentence, and one sentence is enough to fail the demo."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from email.message import EmailMessage

from imapclient import IMAPClient

from engine.core.machine import find
from engine.core.model import HUMAN, Enrollment, OutboxMessage, OutboxState
from engine.demo.people import Client, opened
from engine.demo.story import REP, Role, Script
from engine.demo.world import HOST, INBOX, MailWorld
from engine.installation import Installation

IMAP_SECONDS = 30.0


@dataclass(frozen=True)
class Rule:
    """Something that must hold whatever the story is, and everything that speaks against it."""

    text: str
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """`stories` has, by the client's address, what went differently from the script; `rules` what must always hold."""

    stories: dict[str, tuple[str, ...]]
    rules: tuple[Rule, ...]

    @property
    def ok(self) -> bool:
        return not any(self.stories.values()) and not any(rule.problems for rule in self.rules)


def judge(script: Script, inst: Installation, world: MailWorld, password: str) -> Verdict:
    """Looks into the store and, over IMAP, into every client's mailbox."""
    found = {role.client.email: mailbox(role.client, world, password) for role in script.cast if not role.dead}
    stories = {r.client.email: tuple(_story(r, inst, world, found.get(r.client.email))) for r in script.cast}
    others = [(other, mailbox(other, world, password)) for other in script.others]
    rules = (
        Rule("Every email arrived exactly once.", tuple(_once(script, inst, found))),
        Rule("No follow-up left after an answer had come.", tuple(_after_answers(script, inst))),
        Rule("Every conversation is one thread in the client's mail program.", tuple(_threads(script, world, found))),
        Rule(
            f"Nobody new heard from the engine before {REP.first_name} had read the email.",
            tuple(_strangers(others, inst)),
        ),
    )
    return Verdict(stories, rules)


def mailbox(client: Client, world: MailWorld, password: str) -> list[EmailMessage]:
    """Everything in somebody's inbox, as their mail program fetches it, the oldest first."""
    with IMAPClient(HOST, port=world.imap_port, ssl=False, timeout=IMAP_SECONDS) as session:
        session.login(client.email, password)
        session.select_folder(INBOX, readonly=True)
        uids = sorted(session.search(["ALL"]))
        fetched = session.fetch(uids, ["BODY.PEEK[]"]) if uids else {}
        return [opened(fetched[uid][b"BODY[]"]) for uid in uids]


def emails_to(inst: Installation, email: str) -> list[tuple[Enrollment, OutboxMessage]]:
    """What the engine sent to this address, in order, whatever became of it."""
    contact = inst.store.contact_at(email)
    rows = [row for row in inst.store.outbox_to(contact.id) if row.sent_at] if contact else []
    of = {e.id: e for e in inst.store.all_enrollments()}
    return [(of[row.enrollment], row) for row in sorted(rows, key=lambda row: (row.sent_at, row.id))]


def copies_to(inst: Installation, email: str) -> list[OutboxMessage]:
    """What somebody got a copy of, in Bcc."""
    return [row for row in inst.store.outbox_in(OutboxState.SENT) if email in row.bcc]


def enrollments(inst: Installation, email: str) -> list[Enrollment]:
    """Every enrollment of this person, in the order in which they began."""
    contact = inst.store.contact_at(email)
    return sorted(inst.store.enrollments_of(contact.id), key=lambda e: (e.begun_at, e.id)) if contact else []


# --- the stories -----------------------------------------------------------------------------------------------------


def _story(role: Role, inst: Installation, world: MailWorld, inbox: list[EmailMessage] | None) -> Iterable[str]:
    name, ending = role.client.first_name, role.ending
    sent = tuple(f"{enrollment.sequence}/{row.step}" for enrollment, row in emails_to(inst, role.client.email))
    if sent != ending.emails:
        yield f"{name} should have got {_list(ending.emails)}, and got {_list(sent)}"
    outcomes = {e.sequence: e.outcome for e in enrollments(inst, role.client.email)}
    for sequence in sorted(outcomes.keys() | ending.outcomes.keys()):
        if outcomes.get(sequence) != ending.outcomes.get(sequence):
            wanted, was = (_ended(d, sequence) for d in (ending.outcomes, outcomes))
            yield f"{name}'s {sequence} should have {wanted}, and has {was}"
    suppression = inst.store.suppressed(role.client.email)
    reason = suppression.reason if suppression else ""
    if reason != ending.suppressed:
        wanted, was = (f"suppressed ({one})" if one else "free" for one in (ending.suppressed, reason))
        yield f"{name}'s address should be {wanted}, and is {was}"
    if inbox is not None and (count := conversations(role.client, inbox, world)) != ending.conversations:
        yield f"{name}'s mail program should show {ending.conversations} conversations, and shows {count}"


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "nothing"


def _ended(outcomes: object, sequence: str) -> str:
    assert isinstance(outcomes, dict)
    if sequence not in outcomes:
        return "never begun"
    return f"ended as {outcomes[sequence]}" if outcomes[sequence] else "gone on running"


# --- the rules -------------------------------------------------------------------------------------------------------


def _once(script: Script, inst: Installation, found: dict[str, list[EmailMessage]]) -> Iterable[str]:
    for role in script.cast:
        rows = [row for _, row in emails_to(inst, role.client.email)] + copies_to(inst, role.client.email)
        sent, inbox = [row.message_id for row in rows], found.get(role.client.email)
        arrived = sent if inbox is None else [str(mail["Message-ID"]) for mail in inbox if _from(mail, inst)]
        if sorted(arrived) != sorted(sent) or len(set(sent)) != len(sent):
            yield f"{role.client.first_name}'s mailbox holds {len(arrived)} emails, and {len(sent)} were sent"


def _after_answers(script: Script, inst: Installation) -> Iterable[str]:
    """An answer is followed by an email of the same enrollment only where the sequence answers it (a step that stands aside)."""
    for role in script.cast:
        contact = inst.store.contact_at(role.client.email)
        answers = [r for r in inst.store.inbound_of(contact.id) if r.event in HUMAN | {"bounced"}] if contact else []
        for enrollment, row in emails_to(inst, role.client.email):
            step = find(inst.library.sequences[enrollment.sequence], row.step)
            late = any(a.enrollment == enrollment.id and row.sent_at and row.sent_at > a.received_at for a in answers)
            if late and not (step and step.aside):
                yield f"{enrollment.sequence}/{row.step} left for {role.client.first_name} after an answer"


def _threads(script: Script, world: MailWorld, found: dict[str, list[EmailMessage]]) -> Iterable[str]:
    for role in script.cast:
        for mail in found.get(role.client.email, ()):
            known = {str(m["Message-ID"]) for m in (*found[role.client.email], *written(role.client, world))}
            answered = mail["In-Reply-To"]
            if str(mail["Subject"]).startswith("Re: ") and str(answered) not in known:
                yield f"“{mail['Subject']}” to {role.client.first_name} answers an email that is not there"


def _from(mail: EmailMessage, inst: Installation) -> bool:
    """Whether it is a rep's, by hand or by the engine."""
    reps = {m.address for m in inst.config.mailboxes}
    return any(sender.addr_spec in reps for sender in mail["From"].addresses)


def _strangers(others: list[tuple[Client, list[EmailMessage]]], inst: Installation) -> Iterable[str]:
    for other, inbox in others:
        read = {row.message_id for _, row in emails_to(inst, other.email) if row.approved_at}
        for mail in inbox:
            if _from(mail, inst) and str(mail["Message-ID"]) not in read:
                yield f"{other.name} has got “{mail['Subject']}”, which nobody had read"


def written(client: Client, world: MailWorld) -> list[EmailMessage]:
    """What a client has written, each message once."""
    mails = [opened(delivery.raw) for delivery in world.deliveries(0)]
    own = {str(m["Message-ID"]): m for m in mails if client.email in {a.addr_spec for a in m["From"].addresses}}
    return list(own.values())


def conversations(client: Client, inbox: list[EmailMessage], world: MailWorld) -> int:
    """How many conversations a mail program makes of a mailbox: messages that name one another belong together (RFC 5256)."""
    groups: list[set[str]] = []
    for mail in (*inbox, *written(client, world)):
        ids = {str(mail["Message-ID"]), *str(mail["References"] or "").split(), *str(mail["In-Reply-To"] or "").split()}
        joined = [group for group in groups if group & ids]
        groups = [group for group in groups if not group & ids] + [ids.union(*joined)]
    return len(groups)
