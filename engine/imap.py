"""One IMAP connection of one rep: which folders there are, what is new in them, whether a message is there, a copy into Sent.

It only reads (EXAMINE, BODY.PEEK): no flag of the rep's ever changes. A position is (UIDVALIDITY, UID); what it means is
the caller's. One thread at a time may use a Link; which one is `watcher.py`'s affair."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Literal

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

from engine.account import Account, SecretError, ask_secret, explain, objection, redact, tls_context

CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 30.0
WHOLE_MESSAGE_MAX, PART_OF_A_HUGE_MESSAGE = 25_000_000, 262_144
UIDS_PER_COMMAND = 500
BYTES_PER_FETCH, MESSAGES_PER_FETCH = 2_000_000, 50
CANDIDATES_MAX = 200

# IMAPClient would log every line that goes over the wire, and each connection that it closes.
logging.getLogger("imapclient").setLevel(logging.WARNING)

Kind = Literal["inbox", "junk", "sent", "archive", "all"]


@dataclass(frozen=True)
class Position:
    """How far a folder has been read: every message up to and with `uid`, as long as UIDVALIDITY stays."""

    uidvalidity: int
    uid: int


@dataclass(frozen=True)
class Fetched:
    """One message of one folder. `raw` is the whole of it, or its first 256 KB when `size` (bytes) passes 25 MB.
    `received_at` is the server's INTERNALDATE in UTC."""

    mailbox: str
    folder: str
    kind: Kind
    uidvalidity: int
    uid: int
    raw: bytes
    size: int
    received_at: datetime

    @property
    def position(self) -> Position:
        return Position(self.uidvalidity, self.uid)


@dataclass(frozen=True)
class Unfetchable:
    """A message that the server holds and does not give."""

    uid: int
    reason: str


class Unreadable(Exception):
    """The mailbox cannot be read or searched; the text is a sentence for the rep. `login`: the server refuses the login."""

    def __init__(self, text: str, *, login: bool = False) -> None:
        super().__init__(text)
        self.login = login


class Link:
    """One connection. Its methods raise IMAPClientError and OSError; after IMAPClientAbortError or OSError it is of no
    more use."""

    def __init__(self, account: Account, connect_seconds: float, answer_seconds: float) -> None:
        """Reach the server; `log_in` comes next."""
        self._client = reach(account, connect_seconds, answer_seconds)
        self._account = account
        self._answer_seconds = answer_seconds
        self._idling = False
        self._selected = ""
        self._numbers = (0, 0)
        self.can_idle = False
        self.folders: dict[Kind, str] = {}

    def log_in(self, secret: str) -> None:
        """Log in and see which folders there are. Raises LoginError only when the server refuses the login."""
        try:
            log_in(self._client, self._account, secret)
        except LoginError as error:
            # IMAPClient calls a connection that is lost during the login a LoginError too.
            cause = error.__context__ if isinstance(error.__context__, IMAPClientAbortError) else error
            raise type(cause)(redact(str(cause), secret)) from None
        self.can_idle = self._client.has_capability("IDLE")
        self.list_folders()

    def fileno(self) -> int:
        return int(self._client.socket().fileno())

    def list_folders(self) -> None:
        self.folders = by_role(self._client.list_folders())

    # --- resting: what the poller watches -----------------------------------------------------------------------------

    def rest(self) -> bool:
        """Begin to IDLE (RFC 2177), so that the server speaks up by itself. False when it has already said something that
        no poll would show: look again."""
        if not self.can_idle:
            return True
        imap = self._client._imap
        self.told()
        tag = imap._command("IDLE")
        while imap._get_response() is not None:  # IMAPClient.idle() takes any word before the "+" for a failure
            if imap.tagged_commands.get(tag):
                raise IMAPClientError("the server refused IDLE")
        self._client._idle_tag, self._idling = tag, True
        return self.told() is None and not self._buffered()

    def wake(self) -> None:
        """Leave IDLE, or without it ask for news: either brings the view of the folder up to date. Raises when the peer is
        gone: reads here block up to the answer time-out."""
        if self._idling:
            self._idling = False
            self._client.idle_done()
        else:
            self._client.noop()

    def told(self) -> bytes | None:
        """How many messages the server last said there are, since this was asked before. imaplib keeps what comes along with
        the answer to another command, and IDLE will not say it again."""
        answer: list[bytes | None] = self._client._imap.response("EXISTS")[1]
        return answer[-1]

    def _buffered(self) -> bool:
        """Did anything come in the same segment as "+ idling"? Then it sits in imaplib's buffer or in OpenSSL's."""
        sock, imap = self._client.socket(), self._client._imap
        if hasattr(imap, "_readbuf"):  # imaplib buffers by itself since Python 3.14
            return bool(imap._readbuf) or bool(isinstance(sock, ssl.SSLSocket) and sock.pending())
        sock.settimeout(0)
        try:
            return bool(imap.file.peek(1))
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        finally:
            sock.settimeout(self._answer_seconds)

    # --- reading ------------------------------------------------------------------------------------------------------

    def examine(self, folder: str) -> tuple[int, int]:
        """Open a folder for reading only, with a fresh view of it: (UIDVALIDITY, the UID that the next message will get)."""
        self._selected = ""
        answer = self._client.select_folder(folder, readonly=True)
        after_last = answer.get(b"UIDNEXT") or max(self._client.search(["UID", "*"]), default=0) + 1
        self._selected, self._numbers = folder, (int(answer[b"UIDVALIDITY"]), int(after_last))
        return self._numbers

    def look_at(self, folder: str) -> tuple[int, int]:
        """The same numbers, from memory when the folder is open already: `wake` keeps its view up to date."""
        return self._numbers if self._selected == folder else self.examine(folder)

    def look_again_at(self, folder: str) -> tuple[int, int]:
        """The same, brought up to date: the view of a folder that is open needs no more than a word of the server."""
        if self._selected != folder:
            return self.examine(folder)
        self._client.noop()
        return self._numbers

    def ends_with(self, folder: str, position: Position) -> bool:
        """Whether the server says, without opening a folder, that it holds nothing behind this position (RFC 3501 §6.3.10; of a
        folder that is open the answer may be stale). To open one of a hundred thousand messages costs some servers forty times as
        much."""
        if self._selected == folder:
            return False
        try:
            answer = self._client.folder_status(folder, ["UIDVALIDITY", "UIDNEXT"])
        except IMAPClientAbortError:
            raise
        except (IMAPClientError, IndexError):
            return False  # it is gone, or the server cannot say: who opens it will see
        said = answer.get(b"UIDVALIDITY"), answer.get(b"UIDNEXT")
        return said == (position.uidvalidity, position.uid + 1)

    def uids_after(self, uid: int) -> list[int]:
        """What is new in the open folder. `n:*` gives the last message even when it is older (RFC 3501 §6.4.8)."""
        return sorted(found for found in self._client.search(["UID", f"{uid + 1}:*"]) if found > uid)

    def uids_since(self, moment: datetime) -> list[int]:
        """Messages of the open folder that came on that day or later; a day is taken off for the server's time zone."""
        return sorted(self._client.search(["SINCE", (moment - timedelta(days=1)).date()]))

    def fetch(
        self, mailbox: str, kind: Kind, uids: Sequence[int]
    ) -> Iterator[tuple[int, Fetched | Unfetchable | None]]:
        """The messages with these UIDs of the open folder, in their order. None: it is gone meanwhile, or only a draft."""
        for chunk in chunks(uids, UIDS_PER_COMMAND):
            facts = self._client.fetch(chunk, ["RFC822.SIZE", "INTERNALDATE", "FLAGS"])
            wanted = {uid: fact for uid, fact in facts.items() if not is_draft(fact)}
            bodies: dict[int, bytes | str] = {}
            for uid in chunk:
                if uid not in wanted:
                    yield uid, None
                    continue
                if uid not in bodies:
                    bodies = self._bodies(next_batch(chunk[chunk.index(uid) :], wanted), wanted)
                match bodies.get(uid):
                    case bytes(raw):
                        size, at = size_of(wanted[uid]) or len(raw), utc(wanted[uid].get(b"INTERNALDATE"))
                        folder, uidvalidity = self._selected, self._numbers[0]
                        yield uid, Fetched(mailbox, folder, kind, uidvalidity, uid, raw, size, at)
                    case str(reason):
                        yield uid, Unfetchable(uid, reason)
                    case _:
                        yield uid, None

    def _bodies(self, uids: list[int], facts: Mapping[int, Mapping[bytes, Any]]) -> dict[int, bytes | str]:
        """Bytes for each UID, or why the server does not give them."""
        huge = len(uids) == 1 and size_of(facts[uids[0]]) > WHOLE_MESSAGE_MAX
        try:
            answer = self._client.fetch(uids, [f"BODY.PEEK[]<0.{PART_OF_A_HUGE_MESSAGE}>" if huge else "BODY.PEEK[]"])
        except IMAPClientAbortError:
            raise
        except (IMAPClientError, ValueError) as error:
            if len(uids) == 1:
                return {uids[0]: f"the server does not give it: {error}"}
            return {uid: body for one in uids for uid, body in self._bodies([one], facts).items()}
        return {
            uid: value
            for uid, items in answer.items()
            for key, value in items.items()
            if key.startswith(b"BODY[]") and value is not None
        }

    # --- Sent ---------------------------------------------------------------------------------------------------------

    def find(self, message_id: str, own_id: str = "", recipient: str = "", since: datetime | None = None) -> str | None:
        """The folder (Sent, then All Mail) that holds a message of ours: by its Message-ID, then by our own id in References
        (servers rewrite Message-ID), then by reading the headers of what went to this recipient since. None: it is in neither.

        Raises Unreadable when the account has no such folder: then nothing is proven."""
        folders = [self.folders[kind] for kind in ("sent", "all") if kind in self.folders]
        if not folders:
            raise Unreadable("the mailbox has no Sent folder, so whether the message went out cannot be seen")
        for folder in folders:
            self.examine(folder)
            if self._holds(message_id, own_id) or self._holds_to(recipient, since, message_id, own_id):
                return folder
        return None

    def _holds(self, message_id: str, own_id: str) -> bool:
        criteria = [("Message-ID", message_id)] + ([("References", own_id)] if own_id else [])
        return any(self._client.search(["HEADER", name, value]) for name, value in criteria)

    def _holds_to(self, recipient: str, since: datetime | None, *ids: str) -> bool:
        """Some servers search headers badly: read them."""
        if not recipient or since is None:
            return False
        uids = sorted(self._client.search(["SINCE", (since - timedelta(days=1)).date(), "TO", recipient]))
        answer = self._client.fetch(uids[-CANDIDATES_MAX:], ["BODY.PEEK[HEADER]"])
        headers = (re.sub(rb"\s+", b" ", items.get(b"BODY[HEADER]") or b"") for items in answer.values())
        return any(one.encode() in header for header in headers for one in ids if one)

    def append_sent(self, raw: bytes, message_id: str, at: datetime) -> None:
        """Put a copy into Sent, read, unless it is there already; Sent is made where it is missing."""
        if "sent" not in self.folders:
            self.list_folders()
        if "sent" not in self.folders:
            self._client.create_folder(self._personal_prefix() + "Sent")
            self.folders["sent"] = self._personal_prefix() + "Sent"
        self.examine(self.folders["sent"])
        if not self._holds(message_id, ""):
            self._client.append(self.folders["sent"], raw, flags=[b"\\Seen"], msg_time=at)

    def _personal_prefix(self) -> str:
        if not self._client.has_capability("NAMESPACE"):
            return ""
        personal = self._client.namespace().personal
        return str(personal[0][0]) if personal else ""

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take leave if the server still listens."""
        with contextlib.suppress(IMAPClientError, OSError, ValueError):
            if self._idling:
                self.wake()
            self._client.logout()
        self.drop()

    def drop(self) -> None:
        """Close without a word."""
        with contextlib.suppress(IMAPClientError, OSError):
            self._client.shutdown()

    def cut(self) -> None:
        """End every wait on this connection, from any thread: whoever reads it gets an error at once."""
        with contextlib.suppress(OSError):
            # Not SSLSocket.shutdown: that one takes the TLS object away under the reading thread.
            socket.socket.shutdown(self._client.socket(), socket.SHUT_RDWR)


# --- logging in ---


def reach(account: Account, connect_seconds: float, answer_seconds: float) -> IMAPClient:
    """A connection as safe as the account wants it. Raises Unreadable when it must not be made at all."""
    if (forbidden := objection(account)) is not None:
        raise Unreadable(forbidden)
    context = None if account.security == "none" else tls_context(account.cafile)
    client = IMAPClient(
        account.host,
        port=account.port,
        ssl=account.security == "tls",
        ssl_context=context,
        timeout=SocketTimeout(connect_seconds, answer_seconds),
    )
    client._imap.debug = 0  # IMAPClient turns it on, and every line is formatted for a logger, passwords too
    client.normalise_times = False
    try:
        steady(client.socket(), answer_seconds)
        if account.security == "starttls":
            client.starttls(context)
    except BaseException:
        client.shutdown()
        raise
    return client


def steady(sock: socket.socket, answer_seconds: float) -> None:
    """No 40 ms pauses (imaplib sends a line and its end apart), and a dead peer is noticed while we only listen."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 60),
        ("TCP_KEEPINTVL", 15),
        ("TCP_USER_TIMEOUT", int(answer_seconds * 1000)),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def log_in(client: IMAPClient, account: Account, secret: str) -> None:
    if account.oauth:
        answers = iter((f"user={account.user}\1auth=Bearer {secret}\1\1".encode(),))
        client.sasl_login("XOAUTH2", lambda _: next(answers, b""))  # a refusal comes as a challenge; b"" accepts it
    elif secret.isascii() and account.user.isascii() and not client.has_capability("LOGINDISABLED"):
        client.login(account.user, secret)
    else:
        client.plain_login(account.user, secret)


#: RFC 5530: the login is not wrong, the server is busy. The phrase is Gmail's and Dovecot's.
BUSY = re.compile(r"\[(UNAVAILABLE|INUSE|LIMIT|SERVERBUG)\]|too many|maximum number of connections", re.I)


def unreadable(account: Account, error: Exception) -> Unreadable:
    """Any failure as a sentence; `login` only when trying again at once makes it worse."""
    match error:
        case Unreadable():
            return error
        case SecretError():
            return Unreadable(str(error), login=True)
        case LoginError() if not BUSY.search(str(error)):
            remedy = "renew the access token" if account.oauth else "check user and password"
            return Unreadable(
                f"{account.where} refused the login of {account.user}: {words(error)}; {remedy}", login=True
            )
        case IMAPClientAbortError() if "EOF" in str(error):
            return Unreadable(f"{account.where} closed the connection")
        case IMAPClientError():
            return Unreadable(f"{account.where} answered: {words(error)}")
        case _:
            return Unreadable(explain(account, error))


def words(error: Exception) -> str:
    """What the server said; imaplib hands it on as bytes, or as their repr."""
    said = error.args[0] if error.args else error
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return re.sub(r"^b(['\"])(.*)\1$", r"\2", text)


def check(account: Account, connect_seconds: float = CONNECT_SECONDS) -> str | Mapping[Kind, str]:
    """Log in and list the folders by role. A sentence when that fails: what is wrong and what to do."""
    link = None
    try:
        secret = ask_secret(account)
        link = Link(account, connect_seconds, ANSWER_SECONDS)
        link.log_in(secret)
    except (IMAPClientError, OSError, SecretError, Unreadable) as error:
        if link is not None:
            link.drop()
        return str(unreadable(account, error))
    link.close()
    return link.folders


# --- folders ---

SPECIAL_USE: dict[bytes, Kind] = {b"\\junk": "junk", b"\\sent": "sent", b"\\archive": "archive", b"\\all": "all"}
#: For servers without SPECIAL-USE (RFC 6154): the names that mail programs give, in the languages of most of our reps.
KNOWN_NAMES: dict[Kind, frozenset[str]] = {
    "junk": frozenset({
        "junk", "spam", "junk e-mail", "junk email", "junk mail", "bulk mail", "bulk", "spamverdacht", "unerwünscht",
        "unerwünschte e-mails", "courrier indésirable", "indésirables", "pourriel", "correo no deseado", "no deseado",
        "posta indesiderata", "indesiderata", "lixo eletrônico", "lixo eletrónico", "ongewenste e-mail", "ongewenst",
        "skräppost", "søppelpost", "uønsket post", "uønsket e-mail", "roskaposti", "wiadomości-śmieci", "niechciane",
        "nevyžádaná pošta", "спам", "нежелательная почта", "迷惑メール", "垃圾邮件", "垃圾郵件", "스팸",
    }),
    "sent": frozenset({
        "sent", "sent items", "sent mail", "sent messages", "sent-mail", "gesendet", "gesendete objekte",
        "gesendete elemente", "gesendete nachrichten", "envoyés", "éléments envoyés", "messages envoyés", "enviados",
        "elementos enviados", "mensajes enviados", "inviati", "posta inviata", "elementi inviati", "itens enviados",
        "mensagens enviadas", "verzonden", "verzonden items", "verzonden berichten", "skickat", "skickade", "sendt",
        "sendte elementer", "sendt post", "lähetetyt", "wysłane", "elementy wysłane", "odeslané", "odeslaná pošta",
        "отправленные", "送信済み", "送信済みアイテム", "已发送", "已发送邮件", "寄件備份", "보낸편지함",
    }),
    "archive": frozenset({
        "archive", "archives", "archiv", "archivo", "archivio", "arquivo", "arquivo morto", "archief", "arkiv", "arkisto",
        "archiwum", "архив", "アーカイブ", "归档", "存档", "보관함",
    }),
    "all": frozenset({"all mail", "alle nachrichten", "tous les messages", "todos", "tutti i messaggi", "alle e-mails"}),
}  # fmt: skip
PARENTS = frozenset({"inbox", "[gmail]", "[google mail]"})


def by_role(listed: Sequence[tuple[Sequence[bytes], bytes | None, str]]) -> dict[Kind, str]:
    """Which folder is which, by SPECIAL-USE else by its name. Where there is All Mail, Archive is part of it."""
    selectable = [row for row in listed if not {flag.lower() for flag in row[0]} & {b"\\noselect", b"\\nonexistent"}]
    roles: dict[Kind, str] = {"inbox": "INBOX"}
    for flags, _, name in selectable:
        for kind in (SPECIAL_USE[flag.lower()] for flag in flags if flag.lower() in SPECIAL_USE):
            roles.setdefault(kind, name)
    for _, delimiter, name in selectable:
        for kind in (kind for kind, names in KNOWN_NAMES.items() if own_name(name, delimiter) in names):
            roles.setdefault(kind, name)
    if "all" in roles:
        roles.pop("archive", None)
    return roles


def own_name(name: str, delimiter: bytes | None) -> str:
    """The last part of a folder's name in lower case; empty for one deep in the rep's own tree ("Clients/Sent")."""
    parts = name.casefold().split(delimiter.decode()) if delimiter else [name.casefold()]
    return parts[-1] if len(parts) == 1 or (len(parts) == 2 and parts[0] in PARENTS) else ""


# --- small things ---


def is_draft(facts: Mapping[bytes, Any]) -> bool:
    return b"\\draft" in {flag.lower() for flag in facts.get(b"FLAGS") or ()}


def size_of(facts: Mapping[bytes, Any]) -> int:
    return int(facts.get(b"RFC822.SIZE") or 0)


def utc(moment: datetime | None) -> datetime:
    """INTERNALDATE is mandatory (RFC 3501 §2.3.3); a server that leaves it out gets the oldest date there is."""
    return moment.astimezone(UTC) if moment is not None else datetime(1970, 1, 1, tzinfo=UTC)


def chunks(uids: Sequence[int], size: int) -> Iterator[list[int]]:
    rest = iter(uids)
    while chunk := list(islice(rest, size)):
        yield chunk


def next_batch(uids: Sequence[int], facts: Mapping[int, Mapping[bytes, Any]]) -> list[int]:
    """As many of the next messages as one command may bring; a huge one comes alone."""
    batch: list[int] = []
    room = BYTES_PER_FETCH
    for uid in (uid for uid in uids if uid in facts):
        room -= size_of(facts[uid])
        if batch and (room < 0 or len(batch) == MESSAGES_PER_FETCH):
            break
        batch.append(uid)
    return batch
