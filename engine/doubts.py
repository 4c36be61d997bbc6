"""What is known of a message of which nobody knows whether it went out: whether it was looked for, what was found, and what would
settle it. It decides nothing (`outbox.look` does)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `whoelse doubts` needs no library
    from engine.config import Mailbox
    from engine.store import Store

#: The setting with the last search for each message that is in doubt.
LOOKED = "looked_for"


@dataclass(frozen=True)
class Looked:
    """The last search in Sent and All Mail, at `at` (UTC), and what it showed in a few words."""

    at: datetime
    found: str


def keep(store: Store, looked: Mapping[str, Looked]) -> None:
    """Keeps these searches, by the message's id, in place of all before."""
    text = json.dumps({id: [each.at.isoformat(), each.found] for id, each in looked.items()})
    if looked:
        store.set_setting(LOOKED, text)
    elif store.setting(LOOKED) is not None:
        store.drop_setting(LOOKED)


def kept(store: Store) -> dict[str, Looked]:
    """The last search for each message, as far as there was one."""
    every = json.loads(store.setting(LOOKED) or "{}")
    return {id: Looked(datetime.fromisoformat(at), found) for id, (at, found) in every.items()}


def files_sent(store: Store, mailbox: Mailbox) -> bool:
    """Whether the server files Sent by itself: as the config says, with `auto` as `check --probe` has found out; else it is taken
    not to, because a copy too many harms less than a doubt that is resolved wrongly."""
    if mailbox.sent != "auto":
        return mailbox.sent == "server"
    known = store.mailbox(mailbox.address)
    return bool(known and known.files_sent == "yes")


def settles(store: Store, mailbox: Mailbox | None) -> str:
    """What settles a doubt of this mailbox beside the rep's word; None: one that the config names no more."""
    if mailbox is None:
        return "Its mailbox is not in the config any more, so nobody looks for it: say the word."
    if files_sent(store, mailbox):
        return (
            "It settles by itself: found in Sent it was sent; absent in two searches at least 15 minutes apart it is"
            " sent again."
        )
    known = store.mailbox(mailbox.address)
    proves = "that it is not in Sent proves nothing. A copy there, an answer or a report settles it, or your word"
    if mailbox.sent == "auto" and not (known and known.files_sent):
        return (
            f"Nobody knows whether the server files Sent by itself, so {proves}."
            " `whoelse check --connect --probe` finds out how the server does it."
        )
    return f"The server does not file Sent by itself, so {proves}."
