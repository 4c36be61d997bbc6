"""What a step says at this moment: its variables, its place in the thread, its exact bytes. The same code writes what is
previewed, what is frozen and what a task tells the rep, so that nothing can differ between them."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from html import escape
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from engine.core import compose
from engine.core.address import prospect_key
from engine.core.language import CONTEXT
from engine.core.machine import find
from engine.core.model import Contact, Enrollment, OutboxMessage, Person, Referral
from engine.core.needs import person, typed
from engine.core.render import Rendered
from engine.core.sequence import Role, Sequence, Step, is_document
from engine.installation import Installation
from engine.store import ThreadMail

INTRODUCTION, INTRO_LINK = "introduction", "intro_link"
UNSUBSCRIBE_TOKEN_DIGITS = 20


@dataclass(frozen=True)
class Frozen:
    """An email as it goes out. `raw` are its bytes, `thread` the thread that it belongs to, `bcc` who gets them unseen."""

    recipient: Person
    contact: str
    subject: str
    text: str
    html: str
    raw: bytes
    message_id: str
    own_id: str
    thread: str
    template: str
    bcc: tuple[str, ...] = ()


def sequence_of(inst: Installation, enrollment: Enrollment) -> Sequence:
    """The sequence as it was applied last. Raises KeyError when it was deleted."""
    return inst.library.sequences[enrollment.sequence]


def contact_values(contact: Contact | None) -> dict[str, Any] | None:
    """A contact as templates see it: the fields of a person, and ops' own fields beside them."""
    if contact is None:
        return None
    own = {**contact.fields, "zone": contact.zone, "language": contact.language, "country": contact.country}
    return {**own, **person({k: getattr(contact, k) for k in ("name", "first_name", "email", "company", "title")})}


def referral_of(inst: Installation, enrollment: Enrollment, prospect: Mapping[str, Any] | None) -> Referral | None:
    """The referral that this is about: the one that began it, else the client's of the same prospect."""
    if enrollment.referral:
        return inst.store.referral(enrollment.referral)
    key = prospect_key(prospect)
    theirs = inst.store.referrals_by(enrollment.client) if key else []
    return next((r for r in theirs if prospect_key(r.prospect) == key), None)


def referral_values(inst: Installation, referral: Referral | None) -> dict[str, Any] | None:
    if referral is None:
        return None
    client = contact_values(inst.store.contact(referral.client))
    dates = ("named_at", "introduced_at", "contacted_at", "met_at", "won_at", "lost_at")
    values = {name: getattr(referral, name) for name in dates}
    return {"state": referral.state, "client": client, "prospect": asdict(referral.prospect), **values}


def holds(inst: Installation, enrollment: Enrollment, condition: str, now: datetime) -> bool:
    """Whether an `if:` is true at `now` (UTC). Raises RenderError where it cannot be told."""
    return bool(inst.library.templates.expression(condition, scene(inst, enrollment, now)))


def words(
    inst: Installation, enrollment: Enrollment, template: str, now: datetime, more: Mapping[str, Any] | None = None
) -> Rendered:
    """What a template says for this enrollment at `now` (UTC). Raises RenderError where it cannot be filled in."""
    return inst.library.templates.render(template, scene(inst, enrollment, now, more), *tongue(inst, enrollment))


class Scene(Mapping[str, Any]):
    """Variables by name, each made when somebody asks for it: most conditions ask for one, and what does not use the
    introduction must not fail by it."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self.makers = makers

    def __getitem__(self, name: str) -> Any:
        return self.makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __contains__(self, name: object) -> bool:
        return name in self.makers

    def __len__(self) -> int:
        return len(self.makers)


def scene(
    inst: Installation, enrollment: Enrollment, now: datetime, more: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """All variables that templates and conditions may use for this enrollment at `now` (UTC)."""
    sequence = sequence_of(inst, enrollment)
    client = inst.store.contact(enrollment.client)
    holder = inst.store.contact(enrollment.contact)
    prospect = enrollment.variables.get("prospect")
    if prospect is None and sequence.to == "prospect":
        prospect = contact_values(holder)
    variables, given = typed(sequence, enrollment.variables), {"prospect": prospect, **(more or {})}
    makers: dict[str, Callable[[], Any]] = {
        **{name: partial(variables.get, name) for name in variables},
        "client": lambda: contact_values(client),
        "rep": lambda: inst.rep(enrollment.rep).values,
        "company": lambda: {
            "name": client.company if client else "",
            "domain": client.email.rpartition("@")[2] if client else "",
        },
        "referral": lambda: referral_values(inst, referral_of(inst, enrollment, prospect)),
        "enrollment": lambda: {
            "sequence": sequence.name, "begun_at": enrollment.begun_at, "step": enrollment.step or ""
        },
        "today": lambda: now.astimezone(ZoneInfo(inst.place(holder, enrollment.rep).zone)).date(),
        "unsubscribe": lambda: unsubscribe_link(inst, enrollment, holder.email if holder else ""),
        **{name: partial(given.get, name) for name in given},
    }  # fmt: skip
    introduction = Scene({**makers, INTRO_LINK: str})
    return Scene({**makers, INTRO_LINK: lambda: intro_link(inst, enrollment, introduction)})


def intro_link(inst: Installation, enrollment: Enrollment, values: Mapping[str, Any]) -> str:
    """The one click: a mailto to the prospect with the rep in Cc and the words of templates/introduction.md; empty without
    a prospect."""
    if not values["prospect"] or not inst.library.templates.has(INTRODUCTION):
        return ""
    said = inst.library.templates.render(INTRODUCTION, values, *tongue(inst, enrollment))
    return compose.mailto(values["prospect"]["email"], enrollment.rep, said.subject, said.text)


def unsubscribe_token(inst: Installation, enrollment: Enrollment, address: str) -> str:
    """Names the enrollment to us and nobody else can make it."""
    signed = hmac.new(inst.key, f"unsubscribe {enrollment.id} {address}".encode(), hashlib.sha256)
    return f"{enrollment.id}-{signed.hexdigest()[:UNSUBSCRIBE_TOKEN_DIGITS]}"


def desk_token(key: bytes, thread: str) -> str:
    """What an answer to a letter to the rep must carry. It stands in the subject, where every mail program keeps it."""
    return b32encode(hmac.digest(key, f"desk {thread}".encode(), "sha256")[:10]).decode().lower()


def unsubscribe_link(inst: Installation, enrollment: Enrollment, address: str) -> str:
    """RFC 2369 §3.2: a mailto is enough, and it comes back to where every answer comes."""
    subject = quote(f"unsubscribe {unsubscribe_token(inst, enrollment, address)}")
    return f"mailto:{quote(enrollment.rep, safe='@')}?subject={subject}"


def tongue(inst: Installation, enrollment: Enrollment) -> tuple[str, str]:
    """Language and zone in which this person is written to."""
    holder = inst.store.contact(enrollment.contact)
    return (holder.language if holder else ""), inst.place(holder, enrollment.rep).zone


def template_of(step: Step, contact: str) -> str:
    """The step's template; of variants one by the contact, evenly and always the same."""
    if not step.variants:
        return step.email or step.task or ""
    names = sorted(step.variants)
    digest = hashlib.sha256(f"{step.id} {contact}".encode()).digest()
    return step.variants[names[int.from_bytes(digest[:8], "big") % len(names)]]


def recipient_of(inst: Installation, enrollment: Enrollment, sequence: Sequence, step: Step) -> Contact | None:
    """The contact to whom this step's email goes, None when it is the rep."""
    return _in_role(inst, enrollment, step.to or sequence.to)


def _in_role(inst: Installation, enrollment: Enrollment, role: Role) -> Contact | None:
    if role == "rep":
        return None
    if role == "client":
        return inst.store.contact(enrollment.client)
    known = enrollment.variables.get("prospect") or {}
    found = inst.store.contact_at(known["email"]) if known.get("email") else None
    return found or inst.store.contact(enrollment.contact)


def _copies(inst: Installation, enrollment: Enrollment, step: Step, to: Person) -> tuple[str, ...]:
    """Who is in Bcc: nobody who asked for no more mail, whose address is dead or forgotten, or who gets it anyway."""
    if not step.bcc:
        return ()
    contact = _in_role(inst, enrollment, step.bcc)
    address = contact.email if contact else enrollment.rep
    wanted = "@" in address and address != to.email and not inst.store.suppressed(address)
    return (address,) if wanted else ()


def render(inst: Installation, enrollment: Enrollment, step: Step, now: datetime) -> Rendered:
    """The step's words. Raises RenderError where they cannot be filled in."""
    return words(inst, enrollment, template_of(step, enrollment.contact), now)


# --- documents -------------------------------------------------------------------------------------------------------

#: For a printer and for the eye: a sheet of paper, black on white.
PRINT = (
    "<style>@page{size:A4;margin:25mm 22mm}body{max-width:42em;margin:2em auto;padding:0 1em;color:#000;background:#fff;"
    "font:11pt/1.5 Georgia,serif}h1,h2{line-height:1.2;break-after:avoid}h1{font-size:1.6em}h2{font-size:1.1em;margin-top:1.6em}"
    "hr{border:0;margin:2em 0}hr~p{margin-top:3em;border-top:1px solid #000;padding-top:.3em}</style>"
)
_NOT_IN_A_NAME = re.compile(r"[^\w ()&+,.-]+")
NAME_CHARACTERS_MAX = 100


def documents(inst: Installation, enrollment: Enrollment, step: Step, now: datetime) -> tuple[tuple[str, bytes], ...]:
    """(file name, page) of each document template that a step attaches, filled in at `now` (UTC). Raises RenderError."""
    return tuple(sheet_of(words(inst, enrollment, name, now)) for name in step.attach if is_document(name))


def document(
    inst: Installation, template: str, contact: Contact, rep: str, given: Mapping[str, Any], now: datetime
) -> Rendered:
    """A document for somebody who is in no sequence: what is `given`, and what is known of both. Raises RenderError."""
    zone = inst.place(contact, rep).zone
    values = {
        **inst.rep(rep).variables,
        **given,
        "client": contact_values(contact),
        "prospect": None,
        "rep": inst.rep(rep).values,
        "company": {"name": contact.company, "domain": contact.email.rpartition("@")[2]},
        "referral": None,
        "today": now.astimezone(ZoneInfo(zone)).date(),
    }
    asked = {use.path.split(".")[0] for use in inst.library.templates.uses(template) if use.guarded}
    return inst.library.templates.render(template, {**dict.fromkeys(asked), **values}, contact.language, zone)


def lacking(inst: Installation, template: str, contact: Contact, given: Mapping[str, Any]) -> list[str]:
    """What a document for somebody needs and was not given, in the order in which it says it."""
    templates = inst.library.templates
    translated = f"{template}.{contact.language[:2]}"
    known = translated if templates.has(translated) else template
    roots = (use.path.split(".")[0] for use in templates.uses(known) if not use.guarded)
    return list(dict.fromkeys(root for root in roots if root not in given and root not in CONTEXT))


def sheet_of(rendered: Rendered) -> tuple[str, bytes]:
    """A document as a file: named after its subject, a page that prints well."""
    name = " ".join(_NOT_IN_A_NAME.sub(" ", rendered.subject).split())[:NAME_CHARACTERS_MAX].strip(" .")
    page = rendered.html.replace("</head>", f"<title>{escape(rendered.subject)}</title>{PRINT}</head>", 1)
    return f"{name or 'document'}.html", page.encode()


# --- an email ---------------------------------------------------------------------------------------------------------


def write(inst: Installation, enrollment: Enrollment, message: OutboxMessage, now: datetime) -> Frozen:
    """The email of an outbox row as it would leave at `now` (UTC), to the byte.

    What the rep wrote into the draft stands in place of the template's words. Raises RenderError, ValueError for what no header
    takes, and UserError when the mailbox is gone."""
    sequence = sequence_of(inst, enrollment)
    step = find(sequence, message.step)
    assert step is not None, "decide(Leaving) skips a step that was removed"
    rendered = render(inst, enrollment, step, now)
    if message.text:
        rendered = inst.library.templates.page(message.subject or rendered.subject, message.text)
    rep = inst.rep(enrollment.rep)
    contact = recipient_of(inst, enrollment, sequence, step)
    to = Person(contact.name, contact.email) if contact else Person(rep.name, rep.address)
    thread = thread_of(inst, enrollment, sequence, step, message.id)
    before = _seen(inst, enrollment, contact, thread)
    names = (enrollment.id, step.id, message.visit, message.attempt)
    domain = rep.address.rpartition("@")[2]
    message_id = compose.message_id(inst.key, *names, domain)
    own_id = compose.own_id(inst.key, *names, domain)
    subject = compose.reply_subject(before[0].subject) if before else rendered.subject
    raw = compose.compose(
        compose.Letter(
            sender=Person(rep.name, rep.address),
            recipient=to,
            subject=subject,
            text=rendered.text,
            html=rendered.html,
            message_id=message_id,
            date=now,
            zone=inst.config.place(rep).zone,
            references=references(before) or (own_id,),
            in_reply_to=before[-1].message_id if before else "",
            unsubscribe=unsubscribe_link(inst, enrollment, to.email) if contact else "",
            attachments=(*inst.library.attachments(step), *documents(inst, enrollment, step, now))
            if step.attach
            else (),
        )
    )
    return Frozen(
        to,
        contact.id if contact else "",
        subject,
        rendered.text,
        rendered.html,
        raw,
        message_id,
        own_id,
        thread,
        template_of(step, enrollment.contact),
        _copies(inst, enrollment, step, to),
    )


def thread_of(inst: Installation, enrollment: Enrollment, sequence: Sequence, step: Step, fresh: str) -> str:
    """The thread that this step's email goes on in; `fresh` is one that holds nothing yet. A step beats its sequence; where
    there is no such thread, its own is the enrollment's."""
    match step.thread or sequence.thread:
        case "new":
            return fresh
        case own if own == sequence.thread:
            return enrollment.thread
        case "inherit":
            parent = inst.store.enrollment(enrollment.parent) if enrollment.parent else None
            return parent.thread if parent else enrollment.thread
        case "answer":
            message = inst.store.inbound_message(enrollment.cause or _cause(inst, enrollment))
            return (message.thread if message else "") or enrollment.thread
    return enrollment.id


def _seen(inst: Installation, enrollment: Enrollment, contact: Contact | None, thread: str) -> list[ThreadMail]:
    """What the recipient has of a thread: what they got or wrote, and what began this enrollment. An introduction is answered
    to two people, and neither has what the other was told."""
    mails = inst.store.in_thread(thread)
    if contact is None or all(mail.contact == contact.id for mail in mails):
        return mails
    began = enrollment.cause or _cause(inst, enrollment)
    return [mail for mail in mails if mail.contact == contact.id or mail.id == began]


def _cause(inst: Installation, enrollment: Enrollment) -> str:
    """The message by which an enrollment was started; `cause` forgets it with the first email."""
    told = inst.store.story(enrollment.contact)
    return next((line.message for line in told if line.enrollment == enrollment.id and line.kind == "started"), "")


def references(before: list[ThreadMail]) -> tuple[str, ...]:
    """RFC 5322 §3.6.4: the ids of the thread, oldest first; our own id stands before the first mail of ours."""
    ids: list[str] = []
    for mail in before:
        own = [mail.own_id] if mail.own_id and not ids else []
        ids += [i for i in (*mail.refs.split(), *own, mail.message_id) if i]
    return tuple(dict.fromkeys(ids))
