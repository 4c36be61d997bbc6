"""One SMTP connection of one rep, and what became of each message, as one of seven results.

It decides whether a message was accepted, may be tried again, was refused, or is in doubt. It never guesses: before the
body nothing can have been sent, after it only the server's own word counts (RFC 5321 §4.2.5). It knows neither the store
nor what a message is about."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Literal

import aiosmtplib
from aiosmtplib import SMTPResponse
from aiosmtplib.email import quote_address
from aiosmtplib.errors import SMTPAuthenticationError, SMTPException, SMTPResponseException, SMTPServerDisconnected

from engine.account import Account, SecretError, ask_secret, explain, objection, redact, tls_context

#: RFC 5321 §4.5.3.2.6. A shorter wait manufactures doubts.
SMTP_ANSWER_TIMEOUT_SECONDS = 600.0
#: A kept connection that was used so lately is not asked whether it is still there.
FRESH_SECONDS = 5.0
TEXT_MAX = 500
#: RFC 5321 §4.5.3.1.5 allows 512 octets a line.
REPLY_LINE_MAX, REPLY_LINES_MAX = 8_192, 100


@dataclass(frozen=True)
class Missed:
    """Somebody in Bcc whom the server did not take. `dead`: the address does not exist."""

    address: str
    text: str
    dead: bool


@dataclass(frozen=True)
class Accepted:
    """The server has taken the responsibility for the message, but for the copies that it `missed`."""

    text: str
    missed: tuple[Missed, ...] = ()


@dataclass(frozen=True)
class Deferred:
    """Not now (4xx): the same bytes again later. `account`: a limit of the provider, so the whole account must rest."""

    code: int
    text: str
    account: bool = False


@dataclass(frozen=True)
class Refused:
    """Never (5xx). `enhanced` is the status of RFC 3463 or empty. Scope `address`: it is dead, whatever the message."""

    code: int
    text: str
    enhanced: str
    scope: Literal["address", "message"]


@dataclass(frozen=True)
class InDoubt:
    """The body was written and no clear answer came: it may have been sent."""

    text: str


@dataclass(frozen=True)
class Unreachable:
    """There was no way to the server, or it was lost before the body: nothing was sent."""

    text: str


@dataclass(frozen=True)
class LoginRefused:
    """The server does not let this account in: every further try makes it worse."""

    text: str


@dataclass(frozen=True)
class Cancelled:
    """`before_body` said no: nothing was sent."""


Result = Accepted | Deferred | Refused | InDoubt | Unreachable | LoginRefused | Cancelled


@dataclass(frozen=True)
class Timeouts:
    """Real seconds to wait: to connect and log in, for a command, for the answer to the body, for a sign of life."""

    connect: float = 30.0
    command: float = 120.0
    answer: float = SMTP_ANSWER_TIMEOUT_SECONDS
    probe: float = 10.0


class Phase(Enum):
    LOGIN = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    BODY = auto()


class Session:
    """One kept connection of one account; it connects when first needed and again whenever the server has gone."""

    def __init__(self, account: Account, *, local_hostname: str = "", timeouts: Timeouts | None = None) -> None:
        """`local_hostname` is what EHLO says; empty: the domain of the login, never the name of this machine."""
        self._account = account
        self._hostname = local_hostname or account.user.partition("@")[2] or "[127.0.0.1]"
        self._timeouts = timeouts or Timeouts()
        self._smtp: aiosmtplib.SMTP | None = None
        self._fresh_until = 0.0
        self._turn = asyncio.Lock()

    async def deliver(
        self,
        sender: str,
        recipient: str,
        raw: bytes,
        *,
        before_body: Callable[[], Awaitable[bool]],
        bcc: Sequence[str] = (),
    ) -> Result:
        """Send these bytes to one recipient, and to whoever is in `bcc`, in one transaction (RFC 5321 §3.3).

        What becomes of the message is what becomes of it for the recipient: where they are refused no copy is sent either, and
        a copy that is refused stops nothing. `before_body` is awaited after the server's 354 and before the first byte of the body;
        when it gives False or raises, the connection is closed and nothing was sent. Every failure of server or network is a
        Result."""
        async with self._turn:
            if (forbidden := objection(self._account)) is not None:
                return Unreachable(forbidden)
            result = await self._attempt(sender, recipient, raw, before_body, bcc)
            self._fresh_until = time.monotonic() + FRESH_SECONDS if isinstance(result, Accepted) else 0.0
            return result

    async def log_in(self) -> Result | None:
        """Connect and log in now; None when that went well, else what went wrong."""
        if (forbidden := objection(self._account)) is not None:
            return Unreachable(forbidden)
        try:
            await self._connected()
        except (SMTPException, OSError, SecretError) as error:
            return self._failure(Phase.LOGIN, error)
        return None

    async def close(self) -> None:
        """Take leave of the server, if it is still there."""
        if self._smtp is not None:
            with contextlib.suppress(SMTPException, OSError):
                await self._smtp.quit(timeout=self._timeouts.probe)
        self._drop()

    async def _attempt(
        self,
        sender: str,
        recipient: str,
        raw: bytes,
        before_body: Callable[[], Awaitable[bool]],
        bcc: Sequence[str],
    ) -> Result:
        several = False  # recipients
        phase, in_step = Phase.LOGIN, False  # in step: the server waits for a command, so the connection may be kept
        waits = True  # ... also after a refusal
        try:
            smtp = await self._connected()
            if (unable := cannot_address(smtp, sender, recipient)) is not None:
                in_step = True
                return unable
            phase = Phase.MAIL
            encoding = "ascii" if "".join((sender, recipient, *bcc)).isascii() else "utf-8"
            if encoding == "utf-8" and not smtp.supports_extension("smtputf8"):
                encoding = "ascii"  # it is one in Bcc: without them
            missed: tuple[Missed, ...] = ()
            if smtp.supports_extension("pipelining") and not bcc:
                waits = False
                answers = await all_at_once(smtp, envelope(smtp, sender, recipient, encoding), self._timeouts.command)
                waits = len(answers) == len(ENVELOPE) and answers[-1].code != 354
                for (said, good), answer in zip(ENVELOPE, answers, strict=False):
                    phase = said
                    if answer.code not in good:
                        raise SMTPResponseException(answer.code, answer.message)
                if len(answers) < len(ENVELOPE):
                    raise SMTPServerDisconnected("Connection lost")
            else:
                await smtp.mail(sender, options=mail_options(smtp, encoding), encoding=encoding)
                phase = Phase.RCPT
                await smtp.rcpt(recipient, encoding=encoding)
                missed = await missed_copies(smtp, bcc, encoding)
                several = len(missed) < len(bcc)
                phase = Phase.DATA
                start = await smtp.execute_command(b"DATA")
                if start.code != 354:
                    raise SMTPResponseException(start.code, start.message)
            if not await before_body():
                return Cancelled()
            if smtp.protocol is None:
                raise SMTPServerDisconnected("lost before the body")
            smtp.protocol.write(on_the_wire(raw))  # raises only when nothing at all was written
            phase = Phase.BODY
            answer = await smtp.protocol.read_response(timeout=self._timeouts.answer)
            in_step = answer.code != 421
            return for_all(verdict(phase, answer.code, answer.message), several, missed)
        except (SMTPException, OSError, SecretError) as error:
            # An answer in good order (a refused recipient) leaves the connection usable; anything else does not.
            code = error.code if isinstance(error, SMTPResponseException) else 0
            in_step = waits and phase is not Phase.LOGIN and 400 <= code < 600 and code != 421
            return for_all(self._failure(phase, error), several)
        finally:
            if not in_step:
                self._drop()  # also when cancelled: aiosmtplib would keep a connection that is out of step

    async def _connected(self) -> aiosmtplib.SMTP:
        if self._smtp is None or not await self._alive(self._smtp):
            self._drop()
            self._smtp = await connect(self._account, self._hostname, self._timeouts)
        return self._smtp

    async def _alive(self, smtp: aiosmtplib.SMTP) -> bool:
        """Is a kept connection still there, and ready for a new message? RSET asks both."""
        if smtp.is_connected and time.monotonic() < self._fresh_until:
            return True
        try:
            await smtp.rset(timeout=self._timeouts.probe)
        except (SMTPException, OSError):
            return False
        return True

    def _drop(self) -> None:
        if self._smtp is not None:
            if isinstance(transport := self._smtp.transport, asyncio.WriteTransport):
                transport.abort()  # close() would still push out what waits to be written
            self._smtp.close()
            self._smtp = None

    def _failure(self, phase: Phase, error: Exception) -> Result:
        match error:
            case SecretError():
                return LoginRefused(str(error))
            case SMTPAuthenticationError() if not 400 <= error.code < 500:
                return LoginRefused(refused_login(self._account, f"{error.code} {clean(error.message)}"))
            case SMTPResponseException() if 400 <= error.code < 600:
                return verdict(phase, error.code, error.message)
            case _ if phase is Phase.BODY:
                return InDoubt(f"the body was sent and no clear answer came ({clean(str(error))})")
            case _:
                return Unreachable(clean(explain(self._account, error)))


async def check(account: Account, *, timeouts: Timeouts | None = None) -> str | None:
    """Log in and out again. None when that works, else a sentence: what is wrong and what to do."""
    session = Session(account, timeouts=timeouts)
    try:
        match await session.log_in():
            case None:
                return None
            case Deferred(code, text):
                return f"{account.where} does not let {account.user} in now: {code} {text}; try again later"
            case failed:
                return str(getattr(failed, "text", failed))
    finally:
        await session.close()


async def connect(account: Account, hostname: str, timeouts: Timeouts) -> aiosmtplib.SMTP:
    """A connection that is logged in. Raises aiosmtplib's errors, OSError (TLS) and SecretError."""
    smtp = aiosmtplib.SMTP(
        hostname=account.host,
        port=account.port,
        use_tls=account.security == "tls",
        start_tls=account.security == "starttls",
        tls_context=None if account.security == "none" else tls_context(account.cafile),
        local_hostname=hostname,
        timeout=timeouts.command,
    )
    await smtp.connect(timeout=timeouts.connect)
    try:
        await smtp.ehlo(timeout=timeouts.connect)
        if account.user:
            await authenticate(smtp, account, timeouts)
    except BaseException:
        smtp.close()
        raise
    return smtp


async def authenticate(smtp: aiosmtplib.SMTP, account: Account, timeouts: Timeouts) -> None:
    """Log in once, by one mechanism: after a wrong password a second one would only count as another failed login."""
    secret = await asyncio.to_thread(ask_secret, account)
    logins = {"plain": smtp.auth_plain, "login": smtp.auth_login, "cram-md5": smtp.auth_crammd5}
    wanted = {"xoauth2": smtp.auth_xoauth2} if account.oauth else logins
    offered = [name for name in wanted if name in [method.lower() for method in smtp.server_auth_methods]]
    if not offered:
        raise SMTPException(
            f"the server offers no login by {' or '.join(wanted).upper()} here; check port and security"
        )
    try:
        await wanted[offered[0]](account.user, secret, timeout=timeouts.connect)
    except SMTPResponseException as error:
        raise type(error)(error.code, redact(error.message, secret)) from None


def refused_login(account: Account, answer: str) -> str:
    remedy = (
        "renew the access token" if account.oauth else "check user and password (many providers want an app password)"
    )
    return f"{account.where} refused the login of {account.user}: {answer}; {remedy}"


# --- what a server's answer means ---

ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})\b")
NOT_LOGGED_IN = frozenset({530, 534, 535, 538})  # RFC 4954 §6
#: Limits of Gmail and Microsoft 365. They say nothing about the message: 5.4.5 and 5.1.90 are no hard bounce.
LIMITS = frozenset(
    {(421, "4.7.0"), (421, "4.7.28"), (454, "4.7.0"), (432, "4.3.2"), (550, "5.4.5"), (550, "5.1.90"), (554, "5.1.90")}
)
LIMIT_PHRASES = re.compile(
    r"peak smtp relay limit|submission ?quota ?exceeded|throttling failure|daily user sending", re.I
)


def verdict(phase: Phase, code: int, message: str) -> Result:
    """What a reply means that came in this phase (RFC 5321 §4.2.1, RFC 3463)."""
    text, status = clean(message), ENHANCED.match(message)
    enhanced = status[1] if status else ""
    if phase is Phase.BODY and not (200 <= code < 300 or 400 <= code < 600):
        return InDoubt(f"the body was sent and the answer is none: {code} {text}")
    if 200 <= code < 300:
        return Accepted(text)
    if code in NOT_LOGGED_IN and phase is not Phase.BODY:
        return LoginRefused(f"{code} {text}")
    if (code, enhanced) in LIMITS or LIMIT_PHRASES.search(text):
        return Deferred(code, text, account=True)
    if 400 <= code < 500:
        return Deferred(code, text, account=phase is Phase.LOGIN)
    if phase is Phase.LOGIN:
        return Unreachable(f"the server turned us away: {code} {text}")
    return Refused(code, text, enhanced, "address" if is_dead(phase, enhanced, text) else "message")


def is_dead(phase: Phase, enhanced: str, text: str) -> bool:
    """Does this refusal say that the recipient does not exist, by the rule for what comes back by mail? Where there is one
    recipient the answer to the body may say it as well, but there only a code counts: words may be those of the message."""
    from engine.core.classify import severity  # half of the program's start, for what hardly ever happens

    if phase is Phase.MAIL:
        return False
    by_code = severity.of_code([enhanced], None) if enhanced else None
    by_words = severity.of_words(text) if phase is Phase.RCPT or by_code is severity.Severity.HARD else None
    return (by_words or by_code) is severity.Severity.HARD


def clean(text: str) -> str:
    """One line that any database and terminal can take."""
    readable = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return " ".join("".join(c if c.isprintable() else " " for c in readable).split())[:TEXT_MAX]


# --- the message on the wire ---

LINE_END = re.compile(rb"\r\n|\r|\n")
LEADING_DOT = re.compile(rb"(?m)^\.")


def on_the_wire(raw: bytes) -> bytes:
    """CRLF line ends, doubled leading dots, the final dot (RFC 5321 §2.3.8, §4.5.2)."""
    lines = LINE_END.sub(b"\r\n", raw)
    return LEADING_DOT.sub(b"..", lines) + (b"" if lines.endswith(b"\r\n") else b"\r\n") + b".\r\n"


#: What is said at once to a server that allows it (RFC 2920), and the answers that go on.
ENVELOPE = ((Phase.MAIL, {250}), (Phase.RCPT, {250, 251}), (Phase.DATA, {354}))


def envelope(smtp: aiosmtplib.SMTP, sender: str, recipient: str, encoding: str) -> list[bytes]:
    """Raises ValueError for an address that could be more than one."""
    mail = " ".join([f"MAIL FROM:{quote_address(sender)}", *mail_options(smtp, encoding)])
    return [mail.encode(encoding), f"RCPT TO:{quote_address(recipient)}".encode(encoding), b"DATA"]


async def all_at_once(smtp: aiosmtplib.SMTP, commands: Sequence[bytes], timeout_seconds: float) -> list[SMTPResponse]:
    """Says several commands in one round trip and gives their answers, fewer where the server left before the last.

    aiosmtplib knows one answer at a time, so a reader of our own takes the connection for as long. Raises SMTPException and
    OSError when no answer came at all, or none in time."""
    protocol, transport = smtp.protocol, smtp.transport
    if protocol is None or not isinstance(transport, asyncio.Transport) or transport.is_closing():
        raise SMTPServerDisconnected("Connection lost")
    reader = asyncio.StreamReader(limit=REPLY_LINE_MAX)
    answers: list[SMTPResponse] = []
    transport.set_protocol(asyncio.StreamReaderProtocol(reader))
    try:
        transport.write(b"".join(command + b"\r\n" for command in commands))
        async with asyncio.timeout(timeout_seconds):
            while len(answers) < len(commands):
                answers.append(await one_answer(reader))
    except ConnectionError:
        if not answers:
            raise
    finally:
        transport.set_protocol(protocol)
    return answers


async def one_answer(reader: asyncio.StreamReader) -> SMTPResponse:
    """RFC 5321 §4.2.1: a hyphen behind the code says that another line follows."""
    lines: list[bytes] = []
    for _ in range(REPLY_LINES_MAX):
        try:
            line = await reader.readline()
        except ValueError:
            break
        if not line.endswith(b"\n"):
            raise SMTPServerDisconnected("Connection lost")
        if not line[:3].isdigit():
            break
        lines.append(line[4:].strip())
        if line[3:4] != b"-":
            return SMTPResponse(int(line[:3]), b"\n".join(lines).decode("utf-8", "surrogateescape"))
    raise SMTPServerDisconnected("the server answered what is no answer of SMTP")


async def missed_copies(smtp: aiosmtplib.SMTP, bcc: Sequence[str], encoding: str) -> tuple[Missed, ...]:
    """Names those in Bcc to the server; returns whom it does not take. Raises SMTPResponseException when it takes leave (421)."""
    missed = []
    for address in bcc:
        try:
            if encoding == "ascii" and not address.isascii():
                raise SMTPResponseException(553, "5.6.7 the server takes no addresses beyond ASCII")
            await smtp.rcpt(address, encoding=encoding)
        except SMTPResponseException as error:
            if not 400 <= error.code < 600 or error.code == 421:
                raise
            said = verdict(Phase.RCPT, error.code, error.message)
            dead = isinstance(said, Refused) and said.scope == "address"
            missed.append(Missed(address, f"{error.code} {clean(error.message)}", dead))
    return tuple(missed)


def for_all(result: Result, several: bool, missed: tuple[Missed, ...] = ()) -> Result:
    """An answer to the whole message is about all recipients at once: of several it cannot say which is dead."""
    match result:
        case Accepted():
            return replace(result, missed=missed)
        case Refused() if several:
            return replace(result, scope="message")
    return result


def cannot_address(smtp: aiosmtplib.SMTP, sender: str, recipient: str) -> Refused | None:
    if (sender + recipient).isascii() or smtp.supports_extension("smtputf8"):
        return None
    return Refused(553, "the server takes no addresses beyond ASCII (no SMTPUTF8)", "5.6.7", "message")


def mail_options(smtp: aiosmtplib.SMTP, encoding: str) -> list[str]:
    eight_bit = ["BODY=8BITMIME"] if smtp.supports_extension("8bitmime") else []
    return eight_bit + (["SMTPUTF8"] if encoding == "utf-8" else [])
