"""What is to come for somebody: the emails as they would go out now, to the byte, and the dates of those ahead. Both are made by
the code that sends, in a scratch store, so that nothing is sent, kept or locked. What an enrollment would lack is invented,
and said to be."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email import message_from_bytes
from typing import Any

from engine.core import compose
from engine.core.machine import RUNNING, sends
from engine.core.model import Contact, Enrollment, OutboxMessage, OutboxState, Person
from engine.core.needs import gather
from engine.core.sequence import Sequence, Step
from engine.enrollments import prepare
from engine.errors import UserError
from engine.installation import Installation
from engine.letters import UNSUBSCRIBE_TOKEN_DIGITS, holds, write
from engine.notebook import Moment
from engine.simulate import UNTIL_DAYS, Simulation, sample_wish

TEST_MARK = "[Test]"
#: What names an enrollment to us (letters.unsubscribe_token).
_TOKEN = re.compile(rf"(unsubscribe(?:%20|\s))[0-9a-f]+-[0-9a-f]{{{UNSUBSCRIBE_TOKEN_DIGITS}}}\b")
#: Rules of conduct do not stand against looking.
WHY = "a preview"


@dataclass(frozen=True)
class Previewed:
    """One email: `to` and `sender` as their headers have them, `bcc` as none has it, `raw` the bytes that would leave the mailbox
    of `rep`."""

    step: str
    rep: str
    sender: str
    to: str
    subject: str
    text: str
    html: str
    raw: bytes
    bcc: str = ""


def letters_of(
    inst: Installation, sequence: str, email: str, step: str, given: Mapping[str, Any], rep: str, now: datetime
) -> tuple[list[Previewed], list[str]]:
    """The emails of a sequence, or of its one `step`, to `email` at `now` (UTC), and which variables were invented.

    Somebody enrolled is taken with what they were enrolled with. Raises UserError, and RenderError where a template fails."""
    known = inst.library.sequences.get(sequence)
    simulation = Simulation(inst, now)
    for address in (email, str(given.get("client", ""))):
        simulation.bring(inst.store, address)
    enrollment, invented = _enrollment(simulation.inst, inst, sequence, email, given, rep, now)
    if client := inst.store.contact(enrollment.client):  # who stands behind a prospect
        simulation.bring(inst.store, client.email)
    assert known is not None, "an unknown sequence was refused"
    steps = [s for s in known.steps if sends(s)]
    if step and step not in [s.id for s in steps]:
        raise UserError(f"{sequence} has no email step {step!r}", remedy=f"it has {', '.join(s.id for s in steps)}")
    found = []
    for number, each in enumerate(steps):
        if each.id == step or _wanted(simulation.inst, enrollment, each, now):
            found.append(_written(simulation.inst, enrollment, known, each, now + timedelta(microseconds=number)))
    return [letter for letter in found if step in ("", letter.step)], invented


def _enrollment(
    scratch: Installation,
    inst: Installation,
    sequence: str,
    email: str,
    given: Mapping[str, Any],
    rep: str,
    now: datetime,
) -> tuple[Enrollment, list[str]]:
    """Somebody's own enrollment with what was given over it; else one that is made up for the look."""
    sample = sample_wish(inst, sequence, now)
    contact = inst.store.contact_at(email)
    theirs = [e for e in inst.store.enrollments_of(contact.id) if e.sequence == sequence] if contact else []
    if theirs:
        zone = inst.config.place(inst.rep(theirs[-1].rep)).zone
        kept, faults = gather(inst.library.sequences[sequence], {**theirs[-1].variables, **given}, {}, zone)
        if faults:
            raise UserError("; ".join(map(str, faults)))
        return replace(theirs[-1], variables=kept), []
    names = {} if contact else dict(sample.contact)
    owner = rep or (contact.owner if contact else "") or sample.rep
    values = {**sample.values, **given}
    made = prepare(scratch, replace(sample, email=email, values=values, rep=owner, override=WHY, contact=names), now)
    if not isinstance(made, Enrollment):
        raise UserError("; ".join(map(str, made)))
    return made, [
        *(f"{name} (-v {name}=…)" for name in sample.values if name not in given),
        *(["their name and company (not known yet)"] if names else []),
    ]


def _wanted(inst: Installation, enrollment: Enrollment, step: Step, now: datetime) -> bool:
    if step.aside or not step.condition:
        return not step.aside
    return holds(inst, enrollment, step.condition, now)


def _written(inst: Installation, enrollment: Enrollment, sequence: Sequence, step: Step, now: datetime) -> Previewed:
    """Written, and then taken as sent, so that the next goes on in its thread."""
    row = OutboxMessage(
        id=inst.store.new_id(),
        enrollment=enrollment.id,
        step=step.id,
        visit=enrollment.visits.get(step.id, 1),
        attempt=0,
        mailbox=enrollment.rep,
        contact=enrollment.contact,
        recipient="",
        state=OutboxState.SENT,
        due_at=now,
        not_before=now,
        follow_up=False,
        sent_at=now,
    )
    letter = write(inst, enrollment, row, now)
    if (step.thread or sequence.thread) != "new":
        sent = replace(row, message_id=letter.message_id, own_id=letter.own_id)
        if inst.store.enrollment(enrollment.id) is None:
            inst.store.add_enrollment(enrollment)
        inst.store.add_outbox(replace(sent, thread=letter.thread, subject=letter.subject))
    rep = inst.rep(enrollment.rep)
    return Previewed(
        step.id,
        rep.address,
        _named(Person(rep.name, rep.address)),
        _named(letter.recipient),
        letter.subject,
        letter.text,
        letter.html,
        letter.raw,
        ", ".join(letter.bcc),
    )


def _named(person: Person) -> str:
    return f"{person.name} <{person.email}>" if person.name else person.email


# --- a test mail -----------------------------------------------------------------------------------------------------


def test_mail(inst: Installation, letter: Previewed, address: str, now: datetime) -> bytes:
    """The email as a test for `address` alone, at `now` (UTC): the same words, layout and attachments, and nothing by which an
    answer to it could be taken for the client's: no id of ours, no thread, no unsubscribe token."""
    rep = inst.rep(letter.rep)
    whole = message_from_bytes(letter.raw)
    digest = hashlib.sha256(letter.raw + address.encode() + now.isoformat().encode()).hexdigest()[:32]
    return compose.compose(
        compose.Letter(
            sender=Person(rep.name, rep.address),
            recipient=Person("", address),
            subject=f"{TEST_MARK} {letter.subject}",
            text=_TOKEN.sub(r"\1test", letter.text),
            html=_TOKEN.sub(r"\1test", letter.html),
            message_id=f"<test.{digest}@{compose.ascii_domain(rep.address.rpartition('@')[2])}>",
            date=now,
            zone=inst.config.place(rep).zone,
            attachments=tuple(
                (part.get_filename() or "", bytes(part.get_payload(decode=True) or b""))
                for part in whole.walk()
                if part.get_content_disposition() == "attachment"
            ),
        )
    )


# --- ahead -----------------------------------------------------------------------------------------------------------


def ahead(inst: Installation, contact: Contact, now: datetime) -> list[Moment]:
    """What comes for somebody from `now` (UTC) on, in all that runs for them, if nobody answers or decides anything."""
    simulation = Simulation(inst, now)
    running = [e for e in inst.store.enrollments_of(contact.id) if e.state in RUNNING]
    clients = [found.email for e in running if (found := inst.store.contact(e.client))]
    for address in dict.fromkeys([contact.email, *clients]):
        simulation.bring(inst.store, address)
    for enrollment in running:
        _set_going(simulation, inst, enrollment)
    simulation.run(now + timedelta(days=UNTIL_DAYS))
    return list(simulation.moments())


def _set_going(simulation: Simulation, inst: Installation, enrollment: Enrollment) -> None:
    """What was brought stands still; this one goes on from where it is, with what waits in the outbox for it."""
    book = simulation.book
    book.save_enrollment(enrollment, enrollment.revision)
    book.known[enrollment.id] = enrollment
    for message in inst.store.outbox_of(enrollment.id):
        if message.state in (OutboxState.QUEUED, OutboxState.DRAFT):
            book.add_outbox(message)


def page(sequence: str, letters: list[Previewed]) -> str:
    """All of them as one page for a browser, each in a frame that can run and load nothing."""
    frames = "".join(
        f"<h2>{html.escape(letter.step)}</h2><p>To: {html.escape(letter.to)}<br>Subject: {html.escape(letter.subject)}</p>"
        f'<iframe sandbox srcdoc="{html.escape(letter.html)}" style="width:100%;height:28em;border:1px solid #ccc"></iframe>'
        for letter in letters
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<title>{html.escape(sequence)}</title><body style="font:16px sans-serif;max-width:46em;margin:2em auto">'
        f"<h1>{html.escape(sequence)}</h1>{frames}"
    )
