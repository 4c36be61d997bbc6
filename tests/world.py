"""A whole installation against real servers: a project folder, the real daemon, Dovecot and Postfix, and a clock that jumps.

The clock starts at the real time, because the servers stamp mail with it, and only ever jumps forward. Nothing here waits
for a length of time to pass: it waits for something to be so, and gives up loudly."""

from __future__ import annotations

import asyncio
import contextlib
import email
import itertools
import os
import smtplib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage, Message
from email.policy import default
from pathlib import Path
from typing import Any

import servers

from engine.clock import JumpClock
from engine.config import load_config
from engine.core.model import Enrollment
from engine.daemon import Daemon
from engine.enrollments import Wish, enroll
from engine.installation import Installation
from engine.library import shipped_folder
from engine.project import open_installation
from engine.secrets import create_key

PATIENCE_SECONDS = 60.0
NUMBERS, WORLDS = itertools.count(1), itertools.count(1)

CONFIG = """
store: whoelse.db
secret: secret.key
company: {{name: Demo Consulting, domains: [demo.test], zone: UTC}}
mailboxes:
  - address: {rep}
    name: Sam Carter
    smtp: {{host: localhost, port: {submission}, security: starttls}}
    imap: {{host: localhost, port: {imaps}, security: tls}}
    cafile: {cafile}
    password: {{env: REP_PASSWORD}}
    per_day: 100
    gap: 0-0 seconds
    sent: append
    variables: {{ideal_client: "a firm of 20 to 200 people", problem: "month-end closing"}}
windows:
  business_hours: {{days: mon-fri, from: "09:00", to: "17:00"}}
frequency_cap: 3 days
company_cap: 0 days
"""
NO_LETTERS = "digest: off\nalert: {email: false}\n"


class World:
    """One rep with a mailbox of their own, their daemon, and clients who read and write real mail."""

    def __init__(
        self, folder: Path, dovecot: servers.Dovecot, postfix: servers.Postfix, config: str = NO_LETTERS
    ) -> None:
        number = next(WORLDS)
        self.folder, self.dovecot, self.postfix = folder, dovecot, postfix
        self.rep, self.dana, self.barry = (
            f"rep{number}@demo.test",
            f"dana{number}@acme.test",
            f"barry{number}@prospect.test",
        )
        os.environ["REP_PASSWORD"] = dovecot.users[self.rep]
        (folder / "config.yaml").write_text(
            CONFIG.format(
                rep=self.rep, submission=postfix.submission_port, imaps=dovecot.imaps_port, cafile=dovecot.cafile
            )
            + config
        )
        for kind in ("sequences", "templates"):
            (folder / kind).symlink_to(shipped_folder() / kind)
        create_key(folder / "secret.key")
        self.config = load_config(folder / "config.yaml", os.environ)
        self.clock = JumpClock(datetime.now(UTC) - timedelta(seconds=1))
        self.daemon: Daemon | None = None
        self.inst: Installation = open_installation(self.config, os.environ, self.clock.now(), print)
        self.told: list[str] = []

    # --- the daemon --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self.daemon = Daemon(
            self.config, self.clock, self.inst.key, self.inst.library, on_told=lambda t: self.told.append(t.text)
        )
        await self.daemon.start()

    async def stop(self) -> None:
        if self.daemon:
            await self.daemon.stop()
            self.daemon = None

    def enroll(self, address: str, sequence: str, **values: Any) -> Enrollment:
        """As `whoelse enroll` does, beside the running daemon."""
        done = enroll(self.inst, Wish(address, sequence, values, contact=NAMES), self.clock.now())
        assert isinstance(done, Enrollment), [str(refusal) for refusal in done]
        if self.daemon:
            self.daemon.poke()
        return done

    async def until(self, so: Callable[[], Any], what: str) -> Any:
        """Waits for something to be so at this time of the clock."""
        end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not (found := so()):
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(f"never came: {what}\n" + "\n".join(self.told))
            await asyncio.sleep(0.05)
        return found

    async def later(self, so: Callable[[], Any], what: str, jumps: int = 60) -> Any:
        """Waits for something to be so, jumping to whatever is due next whenever all is quiet."""
        assert self.daemon
        for _ in range(jumps):
            await self.settle()
            if found := so():
                return found
            due = await self.daemon.next_due()
            assert due is not None, f"nothing is due any more, and never came: {what}\n" + "\n".join(self.told)
            self.clock.jump_to(due)
            self.daemon.poke()
        raise AssertionError(f"never came: {what}\n" + "\n".join(self.told))

    async def settle(self) -> None:
        """Until the mailbox is read, nothing is due and nothing is in hand."""
        assert self.daemon
        await self.daemon.read_all()
        calm = 0
        end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while calm < 3:
            due = await self.daemon.next_due()
            calm = calm + 1 if self.daemon.quiet() and (due is None or due > self.clock.now()) else 0
            assert asyncio.get_running_loop().time() < end, "never quiet\n" + "\n".join(self.told)
            await asyncio.sleep(0.02)

    def jump(self, **length: float) -> None:
        self.clock.jump_to(self.clock.now() + timedelta(**length))
        if self.daemon:
            self.daemon.poke()

    # --- mail --------------------------------------------------------------------------------------------------------

    def mail(self, address: str, folder: str = "INBOX") -> list[EmailMessage]:
        """What lies in a mailbox, in the order in which it came."""
        found = [email.message_from_bytes(raw, policy=default) for raw in self.dovecot.messages(address, folder)]
        return [m for m in found if isinstance(m, EmailMessage)]

    def write(self, sender: str, to: str, subject: str, text: str, **headers: str) -> EmailMessage:
        """Mail from outside, through Postfix."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = sender, to, subject
        message["Message-ID"] = f"<{next(NUMBERS)}.{os.getpid()}@{sender.partition('@')[2].rstrip('>')}>"
        message["Date"] = datetime.now(UTC)
        for name, value in headers.items():
            message[name.replace("_", "-")] = value
        message.set_content(text)
        recipients = [to, *([headers["Cc"]] if "Cc" in headers else [])]
        self.send(message, sender, recipients)
        return message

    def send(self, message: Message, sender: str, recipients: list[str]) -> None:
        with smtplib.SMTP("127.0.0.1", self.postfix.smtp_port) as smtp:
            smtp.send_message(message, from_addr=sender, to_addrs=recipients)

    def answer(self, who: str, to: EmailMessage, text: str, **headers: str) -> EmailMessage:
        """A reply as a mail program writes it: threaded, with the original quoted below."""
        body = to.get_body(("plain",))
        quoted = "\n".join("> " + line for line in (body.get_content() if body else "").splitlines())
        text = f"{text}\n\nOn {to['Date']}, Sam Carter <{self.rep}> wrote:\n{quoted}\n"
        subject = to["Subject"] if to["Subject"].lower().startswith("re:") else f"Re: {to['Subject']}"
        known = f"{to['References'] or ''} {to['Message-ID']}".strip()
        more = {"In_Reply_To": to["Message-ID"], "References": known, **headers}
        return self.write(who, self.rep, subject, text, **more)


NAMES: Mapping[str, str] = {"name": "Dana Whitfield", "company": "Acme"}


@contextlib.asynccontextmanager
async def world(
    folder: Path, dovecot: servers.Dovecot, postfix: servers.Postfix, config: str = NO_LETTERS
) -> AsyncIterator[World]:
    """A world whose daemon runs; `config` is added to its configuration."""
    there = World(folder, dovecot, postfix, config)
    await there.start()
    try:
        await there.until(lambda: there.inst.store.position(there.rep, "INBOX"), "the first read of the mailbox")
        yield there
    finally:
        await there.stop()
        there.inst.store.close()
