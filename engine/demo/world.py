"""The mail servers of the demo's small world: one SMTP and one IMAP server on loopback, in a thread of their own, so that
nobody who waits for an answer can keep them from giving it. Every mailbox lives in memory; what was delivered is written
down, in order, before the sender hears that it was accepted."""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from engine.errors import UserError

if TYPE_CHECKING:
    from engine.demo.mailboxes import Mailboxes

HOST = "127.0.0.1"
INBOX, SENT = "INBOX", "Sent"
READY_SECONDS = 30.0
T = TypeVar("T")


@dataclass(frozen=True)
class Delivery:
    """One message that the server took. `uid` is its place in the recipient's inbox, 0 where there is no such mailbox."""

    sender: str
    recipient: str
    raw: bytes
    uid: int


def missing_extra() -> UserError | None:
    """What to say when the demo's servers are not installed; None when they are."""
    try:
        for name in ("aiosmtpd.smtp", "pymap.backend.dict"):
            import_module(name)
    except ImportError as error:
        message = f"the demo's mail servers are not installed ({error.name})"
        return UserError(message, remedy="pip install 'whoelse[demo]'")
    return None


class MailWorld:
    """Both servers, for these people (address to password). Addresses in `dead` are accepted and lead nowhere, as on servers that
    find out later; any other unknown address is refused.

    A context manager: the servers answer from entering to leaving. Raises UserError when the extra is not installed."""

    def __init__(self, people: Mapping[str, str], dead: frozenset[str], now: Callable[[], datetime]) -> None:
        if (missing := missing_extra()) is not None:
            raise missing
        self._people, self._dead, self._now = dict(people), dead, now
        self._deliveries: list[Delivery] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._trouble: BaseException | None = None
        self._stop = asyncio.Event()
        self._mailboxes: Mailboxes
        self.smtp_port = self.imap_port = 0

    def __enter__(self) -> MailWorld:
        self._thread = threading.Thread(target=self._run, name="demo-mail", daemon=True)
        self._thread.start()
        if not self._ready.wait(READY_SECONDS) or self._trouble:
            raise UserError(f"the demo's mail servers could not start: {self._trouble or 'they take too long'}")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def deliveries(self, after: int) -> list[Delivery]:
        """What was delivered behind the first `after`, from any thread."""
        return self._deliveries[after:]

    def deliver(self, recipient: str, raw: bytes, sender: str = "") -> None:
        """The server's own mail (a bounce), into a mailbox that exists. An empty `sender` is the null return path."""
        self._call(self._deliver(sender, recipient, raw))

    # --- in the servers' thread ---

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(READY_SECONDS)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # handed to whoever waits for the start
            self._trouble = error
        finally:
            self._ready.set()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _serve(self) -> None:
        from engine.demo.mailboxes import Mailboxes

        self._mailboxes = await Mailboxes.open(self._people, (SENT,))
        servers = await self._mailboxes.listen(HOST), await self._smtp_server()
        self.imap_port, self.smtp_port = (server.sockets[0].getsockname()[1] for server in servers)
        self._ready.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        sessions = asyncio.all_tasks() - {asyncio.current_task()}  # of clients that have not taken leave
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    async def _smtp_server(self) -> asyncio.Server:
        from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

        # A server without TLS is what we want on loopback, and aiosmtpd would say so at every connection.
        warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")
        logging.getLogger("mail.log").setLevel(logging.ERROR)

        def may_enter(server: object, session: object, envelope: object, mechanism: str, login: object) -> AuthResult:
            known = (
                isinstance(login, LoginPassword) and self._people.get(login.login.decode()) == login.password.decode()
            )
            return AuthResult(
                success=known, handled=False
            )  # handled=True would leave a refused client without an answer

        def session() -> SMTP:
            return SMTP(
                self,
                hostname="mail.demo.example",
                ident="ESMTP demo",
                enable_SMTPUTF8=True,
                authenticator=may_enter,
                auth_required=True,
                auth_require_tls=False,
                loop=self._loop,
            )

        return await self._loop.create_server(session, HOST, 0)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if address.lower() not in self._people.keys() | self._dead:
            return f"550 5.1.1 <{address}>: there is no such mailbox"
        envelope.rcpt_tos.append(address.lower())
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        for recipient in envelope.rcpt_tos:
            await self._deliver(envelope.mail_from.strip("<>"), recipient, envelope.content)
        return "250 2.0.0 Ok: delivered"

    async def _deliver(self, sender: str, recipient: str, raw: bytes) -> None:
        """RFC 5321 §4.4: the last server writes down who the sender was, and when."""
        now = self._now()
        trace = (
            f"Return-Path: <{sender}>\r\nReceived: by mail.demo.example for <{recipient}>; {format_datetime(now)}\r\n"
        )
        stamped = trace.encode() + raw
        known = recipient in self._people
        uid = await self._mailboxes.append(recipient, INBOX, stamped, now) if known else 0
        self._deliveries.append(Delivery(sender, recipient, stamped, uid))
