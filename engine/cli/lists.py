"""The rep's lists: answers that need a look, what is to do, what waits for approval, what nobody knows. Each item has a short
handle, and a word that settles it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import (
    config_option,
    configuration,
    example,
    json_option,
    named_values,
    only_rep_option,
    store_of,
    values_option,
    whose,
    working,
)
from engine.cli.output import (
    chosen,
    count,
    folded,
    now,
    print_json,
    quoted,
    say,
    stamp,
    table,
    when,
    zone_of,
)
from engine.core.words import handles, spoken

if TYPE_CHECKING:
    from engine.config import Config
    from engine.core.model import Contact, InboundMessage, OutboxMessage, Task
    from engine.installation import Installation
    from engine.letters import Frozen
    from engine.store import Store

commands = click.Group()

LINES_MAX = 6
#: The words that settle an answer.
SETTLING = (
    ("confirmed", "they said yes"),
    ("declined", "they said no"),
    ("named", "they gave somebody: add -v prospect='Barry Jones <barry@northwind.example>'"),
    ("introduced", "they have introduced you to somebody; add the same where it is not clear to whom"),
    ("continue", "it changes nothing: go on"),
    ("stop", "nothing more goes out; you take it from here"),
)
handle_argument = click.argument("handle", metavar="ID")


def _who(contact: Contact | None) -> str:
    if contact is None:
        return "somebody"
    return f"{contact.name} <{contact.email}>" if contact.name else contact.email


# --- replies ---------------------------------------------------------------------------------------------------------


@commands.command(
    "replies",
    short_help="Answers that need a look.",
    epilog=example(
        "whoelse replies",
        "whoelse replies dana@acme.example",
        "whoelse replies dana@acme.example named -v prospect='Barry Jones <barry@northwind.example>'",
        "whoelse replies dana@acme.example continue",
    ),
)
@click.argument("email", default="")
@click.argument("word", default="")
@values_option
@only_rep_option
@config_option
@json_option
def replies(email: str, word: str, values: tuple[str, ...], rep: str, config: Path, as_json: bool) -> None:
    """Answers that need a look; with EMAIL one person's in full, with WORD settles it."""
    from engine.errors import UserError

    loaded = configuration(config)
    if word:
        from engine.inbox import settle

        inst = working(loaded)
        for line in settle(inst, email, word, named_values(values), now()):
            say(f"{email}: {line}")
        _say_where_now(inst, email)
        return
    store = store_of(loaded)
    theirs = whose(loaded, rep)
    found = [(m, store.contact(m.contact)) for m in store.open_inbound() if theirs(m.mailbox)]
    if email:
        contact = store.contact_at(email)
        found = [(m, c) for m, c in found if contact and c and c.id == contact.id]
        if not found and not as_json:
            raise UserError(f"no answer of {email} waits for a look", remedy="whoelse replies lists those that do")
    if as_json:
        print_json([_reply_json(loaded, message, contact) for message, contact in found])
    else:
        _say_replies(loaded, found, full=bool(email))


def _say_where_now(inst: Installation, email: str) -> None:
    """What comes next of it for somebody."""
    from engine.cli.status import about, runs, where

    contact = inst.store.contact_at(email)
    running = [e for e in inst.store.enrollments_of(contact.id) if runs(e)] if contact else []
    for line in table([(about(e), where(inst.config, e, contact)) for e in running], "  "):
        say(line)


def _reply_json(config: Config, message: InboundMessage, contact: Contact | None) -> dict[str, Any]:
    return {
        "id": message.id,
        "email": contact.email if contact else message.sender,
        "from": message.sender,
        "at": stamp(message.received_at, zone_of(config, contact, message.mailbox)),
        "subject": message.subject,
        "event": message.event,
        "rule": message.rule,
        "decision": message.decision,
        "text": message.text,
    }


def _say_replies(config: Config, found: list[tuple[InboundMessage, Contact | None]], full: bool) -> None:
    for message, contact in found:
        at = when(message.received_at, zone_of(config, contact, message.mailbox))
        say(f"{contact.email if contact else message.sender}  {at}")
        for line in folded(message.subject, "  "):
            say(line)
        for line in quoted(message.text or "(the text is not kept any more)", "  ", 0 if full else LINES_MAX):
            say(line)
        for line in folded(_taken_for(message), "  "):
            say(line)
        say()
    if not found:
        say("No answer waits for a look.")
        return
    say("Settle one: whoelse replies EMAIL WORD")
    for line in table(SETTLING, "  "):
        say(line)


def _taken_for(message: InboundMessage) -> str:
    """`read as named (named:address), paused: waiting for rep`: what it was taken for, by which rule, and what that did."""
    did = message.decision.removeprefix(f"{message.event}: ")
    return f"read as {spoken(message.event)} ({message.rule})" + (f", {did}" if did else "")


# --- tasks -----------------------------------------------------------------------------------------------------------


@commands.group(
    "tasks",
    short_help="What is to do.",
    invoke_without_command=True,
    epilog=example("whoelse tasks", "whoelse tasks show 1f3a", "whoelse tasks done 1f3a"),
)
@only_rep_option
@config_option
@json_option
@click.pass_context
def list_tasks(context: click.Context, rep: str, config: Path, as_json: bool) -> None:
    """What is to do, the urgent first; `done` ticks one off."""
    if context.invoked_subcommand:
        return
    loaded = configuration(config)
    store = store_of(loaded)
    theirs = whose(loaded, rep)
    found = sorted(
        (t for t in store.open_tasks() if theirs(t.rep)), key=lambda task: (not task.urgent, task.created_at)
    )
    people = {task.contact: store.contact(task.contact) for task in found}
    if as_json:
        print_json([_task_json(loaded, task, people[task.contact]) for task in found])
        return
    short = handles(task.id for task in found)
    rows = [
        (short[t.id], when(t.created_at, zone_of(loaded, None, t.rep)), ("urgent: " if t.urgent else "") + t.title)
        for t in found
    ]
    for line in table(rows) or ["Nothing is to do."]:
        say(line)
    if found:
        say("\nwhoelse tasks show ID says more, whoelse tasks done ID ticks it off.")


def _task_json(config: Config, task: Task, contact: Contact | None) -> dict[str, Any]:
    return {
        "id": task.id,
        "kind": task.kind,
        "email": contact.email if contact else "",
        "rep": task.rep,
        "title": task.title,
        "text": task.text,
        "urgent": task.urgent,
        "created_at": stamp(task.created_at, zone_of(config, None, task.rep)),
        "note": task.note,
    }


def _task(store: Store, handle: str) -> str:
    return chosen(handle, [task.id for task in store.open_tasks()], "task", "whoelse tasks")


@list_tasks.command("show", epilog=example("whoelse tasks show 1f3a"))
@handle_argument
@config_option
def show_task(handle: str, config: Path) -> None:
    """One task in full."""
    loaded = configuration(config)
    store = store_of(loaded)
    task = store.task(_task(store, handle))
    assert task is not None, "chosen from the list"
    say(task.title)
    about = [_who(store.contact(task.contact)), when(task.created_at, zone_of(loaded, None, task.rep))]
    say(", ".join(about) + "\n")
    for part in task.text.strip().split("\n"):
        text = part.lstrip()
        for line in folded(text, part[: len(part) - len(text)]):
            say(line)
    if task.note:
        say(f"\n{task.note}")


@list_tasks.command(
    "done", epilog=example("whoelse tasks done 1f3a", "whoelse tasks done 1f3a --note 'called, all well'")
)
@handle_argument
@click.option("--note", default="done", help="What came of it; it is kept in the story.")
@config_option
def finish_task(handle: str, note: str, config: Path) -> None:
    """Tick a task off; a sequence that waited for it goes on."""
    from engine.enrollments import finish_task

    inst = working(configuration(config))
    task = finish_task(inst, _task(inst.store, handle), now(), note)
    say(f"Done: {task.title}")


# --- drafts ----------------------------------------------------------------------------------------------------------


@commands.group(
    "drafts",
    short_help="Emails that wait for your approval.",
    invoke_without_command=True,
    epilog=example(
        "whoelse drafts", "whoelse drafts show 1f3a", "whoelse drafts approve 1f3a", "whoelse drafts edit 1f3a"
    ),
)
@only_rep_option
@config_option
@json_option
@click.pass_context
def list_drafts(context: click.Context, rep: str, config: Path, as_json: bool) -> None:
    """Emails that wait for your word: show, approve, edit or reject one."""
    from engine.core.model import OutboxState

    if context.invoked_subcommand:
        return
    loaded = configuration(config)
    theirs = whose(loaded, rep)
    if as_json:
        inst = working(loaded)
        waiting = [draft for draft in inst.store.outbox_in(OutboxState.DRAFT) if theirs(draft.mailbox)]
        print_json([_draft_json(inst, draft) for draft in waiting])
        return
    store = store_of(loaded)
    found = [draft for draft in store.outbox_in(OutboxState.DRAFT) if theirs(draft.mailbox)]
    short = handles(draft.id for draft in found)
    rows = [(short[d.id], d.recipient, _draft_about(store, d), _draft_since(loaded, store, d)) for d in found]
    for line in table(rows) or ["No draft waits for you."]:
        say(line)
    if found:
        say("\nwhoelse drafts show ID prints one; approve, edit or reject ID decides.")


def _draft_about(store: Store, draft: OutboxMessage) -> str:
    enrollment = store.enrollment(draft.enrollment)
    return f"{enrollment.sequence if enrollment else '?'}: {draft.step}"


def _draft_since(config: Config, store: Store, draft: OutboxMessage) -> str:
    since = f"since {when(draft.not_before, zone_of(config, None, draft.mailbox))}"
    return f"{since}: {draft.note}" if draft.note else since


def _draft_json(inst: Installation, draft: OutboxMessage) -> dict[str, Any]:
    letter = _draft_letter(inst, draft)
    return {
        "id": draft.id,
        "to": draft.recipient,
        "bcc": list(letter.bcc),
        "about": _draft_about(inst.store, draft),
        "since": stamp(draft.not_before, zone_of(inst.config, None, draft.mailbox)),
        "note": draft.note,
        "subject": letter.subject,
        "text": letter.text,
    }


def _draft(inst: Installation, handle: str) -> OutboxMessage:
    from engine.core.model import OutboxState

    found = {draft.id: draft for draft in inst.store.outbox_in(OutboxState.DRAFT)}
    return found[chosen(handle, found, "draft", "whoelse drafts")]


def _draft_letter(inst: Installation, draft: OutboxMessage) -> Frozen:
    """The email as it would leave at this moment, from its template while nobody has edited it."""
    from dataclasses import replace

    from engine.letters import write

    if draft.state == "draft":  # what it holds was frozen before an earlier try
        draft = replace(draft, subject="", text="")
    enrollment = inst.store.enrollment(draft.enrollment)
    assert enrollment is not None, "a draft has its enrollment"
    return write(inst, enrollment, draft, now())


def _draft_words(inst: Installation, draft: OutboxMessage) -> tuple[str, str]:
    """Its subject and text."""
    letter = _draft_letter(inst, draft)
    return letter.subject, letter.text


@list_drafts.command("show", epilog=example("whoelse drafts show 1f3a"))
@handle_argument
@config_option
def show_draft(handle: str, config: Path) -> None:
    """One draft, as it would leave now."""
    inst = working(configuration(config))
    draft = _draft(inst, handle)
    _say_draft(draft, _draft_letter(inst, draft))


def _say_draft(draft: OutboxMessage, letter: Frozen) -> None:
    say(f"From: {draft.mailbox}\nTo: {draft.recipient}")
    if letter.bcc:
        say(f"Bcc: {', '.join(letter.bcc)}")
    say(f"Subject: {letter.subject}\n")
    say(letter.text.rstrip())


@list_drafts.command("approve", epilog=example("whoelse drafts approve 1f3a"))
@handle_argument
@config_option
def approve_draft(handle: str, config: Path) -> None:
    """Let a draft go, in exactly the words that are printed: if they would not be the same when it leaves, you are asked again."""
    from engine.outbox import seen

    inst = working(configuration(config))
    draft = _draft(inst, handle)
    letter = _draft_letter(inst, draft)
    _say_draft(draft, letter)
    _let_go(inst, draft, shown=seen(letter))


def _let_go(inst: Installation, draft: OutboxMessage, subject: str = "", text: str = "", shown: str = "") -> None:
    from engine.errors import UserError
    from engine.outbox import approve

    if not approve(inst, draft, now(), subject, text, shown):
        raise UserError(
            "the draft was withdrawn or decided meanwhile", remedy=f"whoelse show {draft.recipient} says why"
        )
    say(f"\nApproved: it leaves with the next window (whoelse show {draft.recipient}).")


@list_drafts.command("edit", epilog=example("whoelse drafts edit 1f3a"))
@handle_argument
@config_option
def edit_draft(handle: str, config: Path) -> None:
    """Open a draft in $EDITOR; what is saved goes out word for word, an empty file changes nothing."""
    from engine.errors import UserError

    inst = working(configuration(config))
    draft = _draft(inst, handle)
    subject, text = _draft_words(inst, draft)
    written = _edited(subject, text)
    if written is None:
        say("Nothing was changed; the draft still waits.")
        return
    head, _, body = written.partition("\n")
    if not head.lower().startswith("subject:") or not body.strip():
        raise UserError(
            "the draft lost its first line `Subject: …` or its text", remedy="edit it again; it still waits"
        )
    chosen_subject = head.partition(":")[2].strip()
    _let_go(inst, draft, chosen_subject, body.strip() + "\n")
    if chosen_subject != subject and _goes_on(inst, draft):
        say(f"It goes on in a conversation, so its subject stays {subject!r}.")


def _goes_on(inst: Installation, draft: OutboxMessage) -> bool:
    """Whether it is an answer in a thread, whose subject nobody changes in the middle."""
    now_row = inst.store.outbox_message(draft.id)
    return bool(now_row and _draft_words(inst, now_row)[0] != now_row.subject)


def _edited(subject: str, text: str) -> str | None:
    """What the rep's editor leaves of it; None when nothing was changed or all was deleted."""
    import os
    import shlex
    import subprocess
    import tempfile
    from pathlib import Path

    from engine.errors import UserError

    before = f"Subject: {subject}\n\n{text.rstrip()}\n"
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="whoelse-") as folder:
        file = Path(folder) / "draft.txt"
        file.write_text(before, encoding="utf-8")
        try:
            code = subprocess.run([*shlex.split(editor), str(file)]).returncode  # noqa: S603  the rep's own editor
        except OSError as error:
            raise UserError(f"the editor {editor!r} cannot be started: {error.strerror}", remedy="set EDITOR") from None
        if code:
            raise UserError(f"the editor {editor!r} ended with exit code {code}", remedy="the draft still waits")
        after = file.read_text(encoding="utf-8", errors="replace")
    return None if not after.strip() or after == before else after


@list_drafts.command("reject", epilog=example("whoelse drafts reject 1f3a"))
@handle_argument
@config_option
def reject_draft(handle: str, config: Path) -> None:
    """Drop a draft: its step is skipped and the sequence goes on."""
    from engine.errors import UserError
    from engine.outbox import reject

    inst = working(configuration(config))
    draft = _draft(inst, handle)
    if not reject(inst, draft, now()):
        raise UserError(
            "the draft was withdrawn or decided meanwhile", remedy=f"whoelse show {draft.recipient} says why"
        )
    say(f"Rejected: {draft.step} to {draft.recipient} is skipped.")


# --- doubts ----------------------------------------------------------------------------------------------------------


@commands.command(
    "doubts",
    short_help="Messages that may or may not have gone out.",
    epilog=example("whoelse doubts", "whoelse doubts 1f3a sent", "whoelse doubts 1f3a not-sent"),
)
@click.argument("handle", metavar="[ID]", default="")
@click.argument("word", metavar="[sent|not-sent]", default="")
@only_rep_option
@config_option
@json_option
def doubts(handle: str, word: str, rep: str, config: Path, as_json: bool) -> None:
    """Messages of which nobody knows whether they went out, with the evidence; `sent` or `not-sent` settles one."""
    from engine.core.model import OutboxState

    loaded = configuration(config)
    if handle or word:
        _settle_doubt(loaded, handle, word)
        return
    theirs = whose(loaded, rep)
    store = store_of(loaded)
    found = [message for message in store.outbox_in(OutboxState.IN_DOUBT) if theirs(message.mailbox)]
    facts = _doubts(loaded, store, found)
    if as_json:
        zoned = [zone_of(loaded, None, each["mailbox"]) for each in facts]
        print_json(
            [
                {name: stamp(value, zone) if isinstance(value, datetime) else value for name, value in each.items()}
                for each, zone in zip(facts, zoned, strict=True)
            ]
        )
        return
    short = handles(message.id for message in found)
    for each in facts:
        _say_doubt(each, short[each["id"]], zone_of(loaded, None, each["mailbox"]))
    how = f"{count(len(found), 'message')} in doubt. Settle one: whoelse doubts ID sent|not-sent (not-sent sends it again)"
    say("\n".join(folded(how if found else "Nothing is in doubt.")))


def _doubts(config: Config, store: Store, found: Sequence[OutboxMessage]) -> list[dict[str, Any]]:
    """All that is known of each message, to say whether it went out."""
    from engine.doubts import kept, settles
    from engine.outbox import ATTEMPT_TIME

    fields = ("id", "recipient", "mailbox", "subject", "message_id", "step", "note")
    looked = kept(store)
    facts = []
    for message in found:
        enrollment, search = store.enrollment(message.enrollment), looked.get(message.id)
        facts.append(
            {
                **{name: getattr(message, name) for name in fields},
                "sequence": enrollment.sequence if enrollment else "",
                "due_at": message.due_at,
                "tried_at": message.deadline - ATTEMPT_TIME if message.deadline else None,
                "tried_until": message.deadline,
                "searched_at": search.at if search else None,
                "search": search.found if search else "",
                "settles": settles(store, config.mailbox(message.mailbox)),
            }
        )
    return facts


def _say_doubt(doubt: Mapping[str, Any], handle: str, zone: str) -> None:
    step = f"{doubt['sequence']}: {doubt['step']}" if doubt["sequence"] else doubt["step"]
    search = (
        f"Sent was searched {when(doubt['searched_at'], zone)}: {doubt['search']}."
        if doubt["searched_at"]
        else "Sent was not searched yet (`whoelse run` does)."
    )
    for text, head in (
        (f"{doubt['recipient']}: {doubt['subject']}", f"{handle}  "),
        (f"{step}, from {doubt['mailbox']}", "  "),
        (f"Due {when(doubt['due_at'], zone)}, attempt of {when(doubt['tried_at'], zone)}", "  "),
        (f"Why it is in doubt: {doubt['note']}", "  "),
        (search, "  "),
        (doubt["settles"], "  "),
    ):
        say("\n".join(folded(text, head)))
    say(f"  Is it in your Sent folder? Its Message-ID is\n  {doubt['message_id']}\n")


def _settle_doubt(config: Config, handle: str, word: str) -> None:
    from engine.core.model import OutboxState
    from engine.errors import UserError
    from engine.outbox import settle

    if word not in ("sent", "not-sent"):
        raise click.BadParameter("say `sent` or `not-sent` behind the ID", param_hint="sent|not-sent")
    inst = working(config)
    found = {message.id: message for message in inst.store.outbox_in(OutboxState.IN_DOUBT)}
    message = found[chosen(handle, found, "doubt", "whoelse doubts")]
    if not settle(inst, message, word == "sent", now(), "the rep says so"):
        raise UserError("the doubt was settled meanwhile", remedy=f"whoelse show {message.recipient} says how")
    then = "the sequence goes on" if word == "sent" else "the same email is sent again"
    say(f"{message.recipient}: {message.subject}: {word}; {then}.")
