"""What keeps a mailbox from its work until somebody acts: a login that is refused, a mailbox that cannot be read past a limit. Each
trouble is told once: to the rep by an urgent task, which ends with it, and to ops by the program and the address of that mailbox's
alerts, which also hear when it is over. For monitoring all that is wrong at a moment is found by looking at the store alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from engine.core.model import Alert, OutboxState, Task
from engine.rows import instant

if TYPE_CHECKING:  # `status --check` needs no library
    from engine.config import Mailbox
    from engine.installation import Installation
    from engine.store import Store

UNREAD_LIMIT = timedelta(minutes=15)
#: A daemon, or a pass every few minutes, has read each mailbox by then.
SILENT_LIMIT = timedelta(minutes=30)
DOUBT_LIMIT = timedelta(days=1)
#: The two sides of a mailbox, each with its trouble; the task is of the same kind.
READ, SEND = "mailbox_read", "mailbox_send"
TITLES = {READ: "{} cannot be read", SEND: "nothing can be sent from {}: the login is refused"}
MEANS = {
    READ: "Until it can, no follow-up leaves this mailbox: an answer would not be seen.",
    SEND: "Until it is let in, nothing leaves this mailbox.",
}
OVER = "it works again"
#: How ops are told.
WAYS = ("command", "webhook")
REMEDY = "`whoelse check --connect` tries both servers. This task ends by itself when the mailbox works again."


def unread(inst: Installation, address: str, why: str, login: bool, now: datetime) -> None:
    """A mailbox could not be read at `now` (UTC), because its `login` was refused or otherwise."""
    state = inst.store.mailbox(address)
    since = state.read_failed_at if state and state.read_failed_at else now
    if login or now - since >= UNREAD_LIMIT:
        begin(inst, address, READ, "login_refused" if login else "unreadable", why, now, since)


def begin(
    inst: Installation, address: str, side: str, kind: str, why: str, now: datetime, since: datetime | None = None
) -> None:
    """Tells of it at `now` (UTC), once until it has ended; it is so `since` then, or earlier."""
    if inst.config.mailbox(address) is None:
        return
    id = inst.store.new_id()
    facts = _facts("trouble", id, since or now, kind=kind, rep=address, text=why)
    with inst.store.transaction():
        if not inst.store.add_setting(f"{side} {address}", facts):
            return
        title, text = TITLES[side].format(address), f"{why}\n\n{MEANS[side]} {REMEDY}"
        inst.store.add_task(Task("", side, address, "", "", title, text, now, urgent=True))
        _tell_ops(inst, address, id, facts, now)


def end(inst: Installation, address: str, side: str, now: datetime) -> None:
    """This side of the mailbox works."""
    setting = f"{side} {address}"
    if inst.store.setting(setting) is None:
        return
    with inst.store.transaction():
        facts = inst.store.setting(setting)
        if facts is None or not inst.store.drop_setting(setting):
            return
        told = json.loads(facts)
        for way in WAYS:  # what could not be told so far would come behind its end
            inst.store.drop_alert(f"{told['id']} {way}")
        for task in inst.store.open_tasks():
            if (task.kind, task.rep) == (side, address):
                inst.store.finish_task(task.id, now, OVER)
        id = inst.store.new_id()
        over = _facts("trouble_over", id, now, trouble=told["id"], kind=told["kind"], rep=address, text=OVER)
        _tell_ops(inst, address, id, over, now)


def _facts(event: str, id: str, at: datetime, **more: str) -> str:
    facts = {"event": event, "id": id, "at": at.isoformat(timespec="seconds"), **more}
    return json.dumps(facts, ensure_ascii=False)


def _tell_ops(inst: Installation, address: str, id: str, facts: str, now: datetime) -> None:
    mailbox = inst.config.mailbox(address)
    for way in WAYS:
        if mailbox and getattr(mailbox.alert, way):
            inst.store.add_alert(Alert(f"{id} {way}", address, way, facts, now))


# --- for monitoring --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trouble:
    """`kind` is login_refused, unreadable, not_running or doubt; `since` (UTC) is None for a mailbox that was never read."""

    mailbox: str
    kind: str
    since: datetime | None
    text: str


def found(store: Store, mailboxes: Iterable[Mailbox], now: datetime) -> list[Trouble]:
    """All that is wrong with these mailboxes at `now` (UTC), and the doubts that are open for more than a day."""
    every = [trouble for mailbox in mailboxes for trouble in (*_told(store, mailbox), *_read(store, mailbox, now))]
    names = {mailbox.address for mailbox in mailboxes}
    doubts = [
        Trouble(m.mailbox, "doubt", m.deadline, f"did {m.step} to {m.recipient} go out? whoelse doubts")
        for m in store.outbox_in(OutboxState.IN_DOUBT)
        if m.mailbox in names and m.deadline and now - m.deadline > DOUBT_LIMIT
    ]
    return every + doubts


def _told(store: Store, mailbox: Mailbox) -> list[Trouble]:
    settings = (store.setting(f"{side} {mailbox.address}") for side in (READ, SEND))
    facts = [json.loads(setting) for setting in settings if setting]
    return [Trouble(mailbox.address, f["kind"], datetime.fromisoformat(f["at"]), f["text"]) for f in facts]


def _read(store: Store, mailbox: Mailbox, now: datetime) -> list[Trouble]:
    """What no daemon has told of: it may not be running."""
    known = store.mailbox(mailbox.address)
    if store.setting(f"{READ} {mailbox.address}"):
        return []
    if known and known.read_error and known.read_failed_at:
        late = now - known.read_failed_at >= UNREAD_LIMIT
        return [Trouble(mailbox.address, "unreadable", known.read_failed_at, known.read_error)] if late else []
    read_at = known.read_at if known and known.read_at > instant(0) else None
    if read_at and now - read_at <= SILENT_LIMIT:
        return []
    return [Trouble(mailbox.address, "not_running", read_at, "is `whoelse run` running?")]
