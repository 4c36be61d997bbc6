"""How an account behaves, found out by one message from a rep to themselves: does the server file what is sent in Sent by itself,
and does it leave the Message-ID alone. What it cannot see it does not guess."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.utils import parseaddr

from imapclient.exceptions import IMAPClientError

from engine.account import Account, SecretError, ask_secret
from engine.config import Mailbox
from engine.core import compose
from engine.core.model import Person
from engine.imap import ANSWER_SECONDS, CONNECT_SECONDS, Fetched, Kind, Link, Unreadable, unreadable
from engine.smtp import Accepted, Result, Session

ARRIVES_SECONDS = 90.0
#: A server that files Sent by itself does so with the sending, or soon after.
FILED_SECONDS = 20.0
LOOK_AGAIN_SECONDS = 1.0
WORDS = (
    "This message was sent by `whoelse check --connect --probe`, from you to you. It finds out whether your mail server keeps"
    " a copy of sent mail by itself. You may delete it.\n"
)


@dataclass(frozen=True)
class Learned:
    """`yes`, `no`, or empty where it could not be seen; `trouble` is a sentence where something went wrong."""

    files_sent: str = ""
    keeps_id: str = ""
    trouble: str = ""


def probe(
    mailbox: Mailbox, smtp: Account, imap: Account, now: datetime, filed_seconds: float = FILED_SECONDS
) -> Learned:
    """Sends one message at `now` (UTC) and looks for it, for up to ARRIVES_SECONDS and then FILED_SECONDS more in Sent."""
    token = secrets.token_hex(8)
    message_id = f"<probe.{token}@{compose.ascii_domain(mailbox.address.rpartition('@')[2])}>"
    link = None
    try:
        link = Link(imap, CONNECT_SECONDS, ANSWER_SECONDS)
        link.log_in(ask_secret(imap))
        before = {kind: link.examine(folder)[1] for kind, folder in link.folders.items()}
        sent = asyncio.run(_send(mailbox, smtp, _message(mailbox, token, message_id, now)))
        if not isinstance(sent, Accepted):
            return Learned(trouble=f"the test message was not sent: {getattr(sent, 'text', sent)}")
        found = _watched(link, mailbox.address, before, token)
    except (IMAPClientError, OSError, SecretError, Unreadable) as error:
        return Learned(trouble=str(unreadable(imap, error)))
    finally:
        if link is not None:
            link.close()
    return _learned(found, message_id)


def _message(mailbox: Mailbox, token: str, message_id: str, now: datetime) -> bytes:
    me = Person(mailbox.name, mailbox.address)
    return compose.compose(
        compose.Letter(me, me, f"A test of your account ({token})", WORDS, f"<p>{WORDS}</p>", message_id, now)
    )


async def _send(mailbox: Mailbox, smtp: Account, raw: bytes) -> Result:
    async def yes() -> bool:
        return True

    session = Session(smtp)
    try:
        return await session.deliver(mailbox.address, mailbox.address, raw, before_body=yes)
    finally:
        await session.close()


def _watched(link: Link, address: str, before: dict[Kind, int], token: str) -> dict[Kind, Fetched]:
    """In which kinds of folders it is seen; the watch ends once it has arrived and had its time to be filed."""
    found: dict[Kind, Fetched] = {}
    give_up = time.monotonic() + ARRIVES_SECONDS
    while time.monotonic() < give_up and not ("sent" in found and _arrived(found)):
        for kind, folder in link.folders.items():
            if kind not in found and (copy := _copy(link, address, kind, folder, before.get(kind, 1), token)):
                if not _arrived(found) and kind != "sent":
                    give_up = time.monotonic() + FILED_SECONDS
                found[kind] = copy
        time.sleep(LOOK_AGAIN_SECONDS)
    return found


def _arrived(found: dict[Kind, Fetched]) -> bool:
    return any(kind != "sent" for kind in found)


def _copy(link: Link, address: str, kind: Kind, folder: str, first: int, token: str) -> Fetched | None:
    link.examine(folder)
    for _, message in link.fetch(address, kind, link.uids_after(first - 1)):
        if isinstance(message, Fetched) and token.encode() in message.raw.partition(b"\r\n\r\n")[0]:
            return message
    return None


def _learned(found: dict[Kind, Fetched], message_id: str) -> Learned:
    if not _arrived(found):
        filed = "yes" if "sent" in found else ""
        return Learned(
            filed, "", f"the test message did not arrive within {ARRIVES_SECONDS:.0f} seconds; try again later"
        )
    ids = {parseaddr(str(message_from_bytes(copy.raw)["Message-ID"]))[1] for copy in found.values()}
    return Learned("yes" if "sent" in found else "no", "yes" if ids == {message_id.strip("<>")} else "no")
