"""Enrollments from the wish to the end: who may enter, what is due, and what the rep does by hand. What follows from it all is
carried out in `decisions`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from email_validator import EmailNotValidError, validate_email

from engine.core import conduct
from engine.core.happening import (
    Approved,
    Changed,
    Decision,
    Done,
    Due,
    Failed,
    Happening,
)
from engine.core.machine import decide, sends
from engine.core.model import Contact, Enrollment, Task
from engine.core.needs import Refusal, anchors, gather, refuse_controls
from engine.core.render import RenderError
from engine.core.sequence import Sequence
from engine.decisions import begin, carry_out, facts, happen, others, referral_id, tell
from engine.errors import UserError
from engine.installation import Installation
from engine.letters import documents, holds, render
from engine.standing import known_or_new, standing

DUE_BATCH_MAX = 200
DUE_AGAIN_MAX = 1_000
NAME_LIKE = re.compile(r"[^\W\d_]{2,}(?:[.-][^\W\d_]+)*")
ROLES = frozenset(
    {"info", "office", "sales", "hello", "hi", "contact", "admin", "team", "mail", "support", "service", "kontakt", "buero",
     "accounts", "billing", "marketing", "post", "enquiries", "help", "jobs", "hr", "it", "ceo", "noreply", "no-reply"}
)  # fmt: skip
# --- entering --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """That `email` enters `sequence`: with which variables, for which rep, and why a rule may be overridden."""

    email: str
    sequence: str
    values: Mapping[str, Any]
    rep: str = ""
    override: str = ""
    contact: Mapping[str, Any] = field(default_factory=dict)  # name, first_name, company, zone, … of somebody new


def enroll(inst: Installation, wish: Wish, now: datetime) -> Enrollment | list[Refusal]:
    """Enrolls, or says everything that stands against it; a refusal leaves nothing behind. `now` in UTC. Creates the contact
    if they are new."""
    try:
        with inst.store.transaction():
            prepared = prepare(inst, wish, now)
            if not isinstance(prepared, Enrollment):
                raise _Refused(prepared)
            broken = "; ".join(each.reason for each in _against(inst, prepared, now)) if wish.override else ""
            if not inst.store.add_enrollment(prepared):
                raise _Refused([Refusal("running", f"{wish.email} is in {wish.sequence} already")])
            if wish.override:
                said = f"overridden: {broken}" if broken else "an override was given, and no rule stood against it"
                tell(inst, prepared, now, "override", f"{said}; the reason: {wish.override}")
            begin(inst, prepared, now, "")
            return inst.store.enrollment(prepared.id) or prepared
    except _Refused as refused:
        _tell_refused(inst, wish, refused.refusals, now)
        return refused.refusals


def _against(inst: Installation, enrollment: Enrollment, now: datetime) -> list[Refusal]:
    """Every rule of conduct that stands against it."""
    sequence, contact = inst.library.sequences[enrollment.sequence], inst.store.contact(enrollment.contact)
    assert contact is not None
    about = standing(inst, sequence, contact, enrollment.variables.get("prospect"), now)
    return list(conduct.refusals(sequence, about, now))


def _tell_refused(inst: Installation, wish: Wish, refusals: list[Refusal], now: datetime) -> None:
    """What a rule of conduct refused stands in the person's story too; of a slip in the typing nobody needs to read there."""
    address = checked_address(wish.email)
    contact = inst.store.contact_at(address) if isinstance(address, str) else None
    for refusal in refusals if contact else ():
        if refusal.rule in conduct.RULES and contact:
            said = f"{wish.sequence}: {wish.rep or contact.owner or 'the rep'} was refused: {refusal.reason}"
            inst.store.tell(now, "refused", said, contact.id)


class _Refused(Exception):
    def __init__(self, refusals: list[Refusal]) -> None:
        self.refusals = refusals


def prepare(inst: Installation, wish: Wish, now: datetime) -> Enrollment | list[Refusal]:
    """The enrollment as it would be kept, with its contact known to the store; or all refusals."""
    sequence = inst.library.sequences.get(wish.sequence)
    if sequence is None:
        return [_unknown_sequence(inst, wish.sequence)]
    address = checked_address(wish.email)
    if isinstance(address, Refusal):
        return [address]
    rep = _rep_for(inst, wish, address)
    if isinstance(rep, Refusal):
        return [rep]
    if refusal := unspeakable(wish.contact):
        return [refusal]
    given = dict(wish.values)
    client = str(given.pop("client", "")) if sequence.to == "prospect" else ""
    zone = inst.config.place(inst.rep(rep)).zone
    kept, faults = gather(sequence, given, inst.rep(rep).variables, zone)
    contact = known_or_new(inst, address, rep, wish.contact)
    faults += _nameless(contact) + _standing_faults(inst, sequence, contact, kept, now, wish.override)
    if sequence.to == "prospect" and not client:
        why = f"{sequence.key} needs the client who stands behind it"
        faults.append(Refusal("missing", why, "add -v client=dana@acme.example"))
    sponsor = _sponsor(inst, client, rep) if client else contact
    enrollment = Enrollment(
        id=inst.store.new_id(),
        sequence=sequence.key,
        version=inst.library.version,
        contact=contact.id,
        client=sponsor.id,
        rep=rep,
        root="",
        begun_at=now,
        start_at=now,
        variables=kept,
    )
    person = kept.get("prospect") or ({"email": address} if sequence.to == "prospect" else None)
    referral = referral_id(inst, enrollment, person)
    enrollment = replace(enrollment, root=enrollment.id, thread=enrollment.id, referral=referral)
    return faults or _render_faults(inst, sequence, enrollment, now) or enrollment


def acquaint(inst: Installation, wish: Wish) -> Contact | Refusal:
    """The contact of a wish, known to the store from now on; or why they cannot be."""
    address = checked_address(wish.email)
    if isinstance(address, Refusal):
        return address
    if refusal := forgotten(inst, address):
        return refusal
    rep = _rep_for(inst, wish, address)
    if isinstance(rep, Refusal):
        return rep
    return unspeakable(wish.contact) or known_or_new(inst, address, rep, wish.contact)


def forgotten(inst: Installation, address: str) -> Refusal | None:
    """Of whom nothing is known but the hash of an address, all else was erased: nothing is kept on them again."""
    suppression = inst.store.suppressed(address)
    if suppression is None or suppression.address:
        return None
    return Refusal("forgotten", f"{address} was forgotten, and nothing is kept on them again", "take them out")


def _unknown_sequence(inst: Installation, name: str) -> Refusal:
    return Refusal(
        "sequence", f"there is no sequence {name!r}", f"there are {', '.join(sorted(inst.library.sequences))}"
    )


def checked_address(email: str) -> str | Refusal:
    """The address as it is kept, in small letters; or what is wrong with it."""
    try:
        checked = validate_email(email.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        return Refusal(
            "address", f"{email!r} is no valid address: {str(error).rstrip('.')}", "write it like dana@acme.example"
        )
    return checked.normalized.lower()


def _rep_for(inst: Installation, wish: Wish, address: str) -> str | Refusal:
    known = inst.store.contact_at(address)
    reps = [m.address for m in inst.config.mailboxes]
    rep = wish.rep or (known.owner if known else "") or (reps[0] if len(reps) == 1 else "")
    if rep in reps:
        return rep
    reason = f"{rep} is no mailbox of the config" if rep else f"whose client {address} is cannot be known"
    return Refusal("rep", reason, f"add --rep with one of {', '.join(reps)}")


def unspeakable(given: Mapping[str, Any]) -> Refusal | None:
    """What is wrong with the parts of a contact. Names stand in headers, where a line break begins another one."""
    for part, value in given.items():
        try:
            refuse_controls(value)
            if isinstance(value, str) and "\n" in value:
                raise ValueError("holds a line break; write it in one line")
        except ValueError as error:
            return Refusal("contact", f"{part} {error}")
    return None


def _nameless(contact: Contact) -> list[Refusal]:
    """A first name may be read from `dana.whitfield@…`, never from `info@…` or `dw77@…`: nobody is greeted as "Hi Info"."""
    local = contact.email.partition("@")[0]
    if contact.name or contact.first_name or (NAME_LIKE.fullmatch(local) and local not in ROLES):
        return []
    return [Refusal("name", f"nobody knows the name of {contact.email}", 'add --name "Dana Whitfield"')]


def _sponsor(inst: Installation, address: str, rep: str) -> Contact:
    return known_or_new(inst, address.strip().lower(), rep, {})


def _standing_faults(
    inst: Installation, sequence: Sequence, contact: Contact, kept: Mapping[str, Any], now: datetime, override: str
) -> list[Refusal]:
    inst.store.lock_company(contact)  # of two colleagues who are asked in the same instant, one is
    refusal = conduct.refusal(sequence, standing(inst, sequence, contact, kept.get("prospect"), now), now)
    if refusal is None or (override and refusal.override):
        return []
    remedy = f"{refusal.remedy}, or --override REASON" if refusal.override else refusal.remedy
    return [replace(refusal, remedy=remedy)]


def _render_faults(inst: Installation, sequence: Sequence, enrollment: Enrollment, now: datetime) -> list[Refusal]:
    """Every email and task that can come is filled in once before anything begins: nothing half-filled is ever sent."""
    faults = []
    given = anchors(sequence, enrollment.variables)
    for step in sequence.steps:
        if not (sends(step) or step.task) or (step.at and step.at.anchor not in {"start", *given}):
            continue
        try:
            if step.condition and not holds(inst, enrollment, step.condition, now):
                continue
            there = replace(enrollment, step=step.id)
            render(inst, there, step, now)
            documents(inst, there, step, now)
        except RenderError as error:
            faults.append(
                Refusal("template", str(error.problem), f"step {step.id} cannot be filled in; mend the template")
            )
    return faults


# --- by time and by hand ---------------------------------------------------------------------------------------------


def advance(inst: Installation, now: datetime) -> int:
    """Everything whose time has come at `now` (UTC); returns how many decisions were made.

    One that comes due again and again within one instant goes to the rep, so that it cannot keep the others waiting."""
    made: Counter[str] = Counter()
    while due := inst.store.due_enrollments(now, DUE_BATCH_MAX):
        made.update(due)
        for id in due:
            again = Failed("it comes due again and again") if made[id] > DUE_AGAIN_MAX else Due()
            happen(inst, id, again, now)
    return made.total()


def finish_drafts(inst: Installation, enrollment: str, now: datetime, queued: bool) -> None:
    """The rep has decided on a draft: nobody needs to be reminded of it any more."""
    inst.store.finish_tasks(enrollment, "draft_overdue", now, "decided")
    if queued:
        happen(inst, enrollment, Approved(), now)


def steer(inst: Installation, email: str, sequence: str, happening: Happening, now: datetime) -> list[Decision]:
    """Pause, resume or stop by hand: one sequence of a person, or all. Raises UserError when nothing matches."""
    contact = inst.store.contact_at(email)
    if contact is None:
        raise UserError(f"nobody has the address {email}", remedy="whoelse status lists everyone")
    chosen = [e for e in others(inst, contact.id) if not sequence or e.sequence == sequence]
    if not chosen:
        raise UserError(f"{email} is in no running sequence" + (f" {sequence}" if sequence else ""))
    decisions = [happen(inst, e.id, happening, now) for e in chosen]
    return [d for d in decisions if d]


def change(inst: Installation, email: str, sequence: str, values: Mapping[str, Any], now: datetime) -> list[Decision]:
    """New values for someone enrolled. Raises UserError with everything that is wrong with them."""
    known = inst.library.sequences.get(sequence)
    if known is None:
        raise UserError(str(_unknown_sequence(inst, sequence)))
    contact = inst.store.contact_at(email)
    chosen = [e for e in others(inst, contact.id) if e.sequence == sequence] if contact else []
    if not chosen:
        raise UserError(f"{email} is not in {sequence}")
    decisions = []
    for enrollment in chosen:
        zone = inst.config.place(inst.rep(enrollment.rep)).zone
        kept, faults = gather(known, {**enrollment.variables, **values}, {}, zone)
        if faults:
            raise UserError("; ".join(map(str, faults)))
        said = ", ".join(f"{k} = {values[k]}" for k in values)
        with inst.store.transaction():
            before = inst.store.enrollment(enrollment.id, lock=True)
            assert before is not None
            new = replace(before, variables=kept)
            decision = decide(known, before, Changed(kept, f"changed: {said}"), now, facts(inst, new, known, now))
            carry_out(inst, before, decision, now, "")
        decisions.append(decision)
    return decisions


def finish_task(inst: Installation, id: str, now: datetime, note: str = "done") -> Task:
    """Ticks a task off; an enrollment that waited for it goes on. Raises UserError when there is no such open task."""
    task = inst.store.task(id)
    with inst.store.transaction():
        if task is None or not inst.store.finish_task(id, now, note):
            raise UserError(f"there is no open task {id}", remedy="whoelse tasks lists them")
        inst.store.tell(now, "task", f"task done: {task.title}", task.contact, task.enrollment)
        if task.step:
            happen(inst, task.enrollment, Done(task.step, now), now)
    return task
