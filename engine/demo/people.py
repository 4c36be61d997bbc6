"""What the demo's people write: real mail, made of nothing but the email that they answer, as a mail program makes it. They know
their own mailbox and no more; what the engine is does not concern them."""

from __future__ import annotations

import html
import smtplib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import format_datetime
from html.parser import HTMLParser
from urllib.parse import unquote

from engine.demo.world import HOST

SMTP_SECONDS = 30.0
MAIL_SERVER = "Mail Delivery System <mailer-daemon@mail.demo.example>"


@dataclass(frozen=True)
class Client:
    """Somebody with a mail program. `signature` is what it puts below their words, a line each."""

    name: str
    email: str
    signature: tuple[str, ...]

    @property
    def first_name(self) -> str:
        return self.name.split()[0]

    @property
    def written(self) -> str:
        """As it stands in From and To."""
        return f"{self.name} <{self.email}>"


Write = Callable[[Client, EmailMessage, datetime], EmailMessage]
"""An answer of a client to an email that they have received, written at that time."""


def opened(raw: bytes) -> EmailMessage:
    """An email as a mail program sees it."""
    found = message_from_bytes(raw, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def words_of(email: EmailMessage, kind: str = "plain") -> str:
    """The text (or with `html` the HTML) of an email; empty where it has none."""
    part = email.get_body((kind,))
    return str(part.get_content()) if part else ""


# --- answers ---------------------------------------------------------------------------------------------------------


def reply(*paragraphs: str) -> Write:
    """An answer by hand above the quoted email, in text and HTML, with the client's signature."""

    def write(client: Client, email: EmailMessage, at: datetime) -> EmailMessage:
        answer = _answer(client, email, at)
        text = "\n\n".join((*paragraphs, client.first_name))
        quoted = "\n".join(f"> {line}".rstrip() for line in words_of(email).splitlines())
        said = f"On {email['Date'].datetime:%a, %d %b %Y at %H:%M}, {email['From']} wrote:"
        answer.set_content(f"{text}\n\n-- \n{chr(10).join(client.signature)}\n\n{said}\n{quoted}\n")
        answer.add_alternative(_reply_html(text, client.signature, said, words_of(email, "html")), subtype="html")
        return answer

    return write


def _reply_html(text: str, signature: tuple[str, ...], said: str, quoted: str) -> str:
    """The marks of a widespread mail program around what is quoted."""
    new = "".join(f"<div>{html.escape(line) or '<br>'}</div>" for line in text.split("\n"))
    signed = f'<div class="gmail_signature">-- <br>{"<br>".join(map(html.escape, signature))}</div>'
    mark = f'<div class="gmail_quote"><div class="gmail_attr">{html.escape(said)}<br></div>'
    return f'<div dir="ltr">{new}</div>{signed}<br>{mark}<blockquote class="gmail_quote">{quoted}</blockquote></div>'


def absence(text: str) -> Write:
    """The note that a mail server sends for somebody who is away (RFC 3834)."""

    def write(client: Client, email: EmailMessage, at: datetime) -> EmailMessage:
        note = _answer(client, email, at)
        del note["Subject"]
        note["Subject"] = f"Automatic reply: {email['Subject']}"
        note["Auto-Submitted"] = "auto-replied"
        note.set_content(f"{text}\n\n{chr(10).join((client.name, *client.signature))}\n")
        return note

    return write


def _answer(client: Client, email: EmailMessage, at: datetime) -> EmailMessage:
    """RFC 5322 §3.6.4: what every mail program fills in when somebody presses Reply."""
    subject = str(email["Subject"])
    answer = _new(client, at)
    answer["To"] = email["Reply-To"] or email["From"]
    answer["Subject"] = subject if subject.lower().startswith("re:") else f"Re: {subject}"
    answer["In-Reply-To"] = email["Message-ID"]
    answer["References"] = f"{email['References'] or ''} {email['Message-ID']}".strip()
    return answer


def _new(client: Client, at: datetime) -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = client.written
    message["Date"] = format_datetime(at)
    mailbox, _, domain = client.email.partition("@")
    message["Message-ID"] = f"<{mailbox}.{at:%Y%m%d%H%M%S%f}@{domain}>"
    return message


# --- the one click ---------------------------------------------------------------------------------------------------


def introduction(client: Client, email: EmailMessage, at: datetime) -> EmailMessage:
    """The client clicks on the introduction that was written for them: their mail program opens the link (RFC 6068, where
    a plus is a plus), they press Send. Raises LookupError when the email has no such link."""
    link = mailto_in(words_of(email, "html"))
    address, _, query = link.removeprefix("mailto:").partition("?")
    fields = {name.lower(): unquote(value) for name, _, value in (pair.partition("=") for pair in query.split("&"))}
    message = _new(client, at)
    message["To"], message["Cc"], message["Subject"] = unquote(address), fields["cc"], fields["subject"]
    words = fields["body"].replace("\r\n", "\n").rstrip()
    message.set_content(f"{words}\n\n-- \n{chr(10).join(client.signature)}\n")
    return message


def mailto_in(page: str) -> str:
    """The first link in an HTML page that opens an email with its words filled in. Raises LookupError when there is none."""
    finder = _Links()
    finder.feed(page)
    return next((link for link in finder.found if link.startswith("mailto:") and "body=" in link), "") or _no_link()


def _no_link() -> str:
    raise LookupError("this email has no link that opens an introduction")


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


# --- on the way ------------------------------------------------------------------------------------------------------


def bounce(recipient: str, email: EmailMessage, at: datetime) -> bytes:
    """What a mail server sends back when the address does not exist (RFC 3464)."""
    said = f"550 5.1.1 <{recipient}>: there is no such mailbox"
    report = MIMEMultipart("report", policy=policy.SMTP, report_type="delivery-status")
    report["From"], report["To"] = MAIL_SERVER, str(email["From"])
    report["Subject"] = "Undelivered Mail Returned to Sender"
    report["Date"] = format_datetime(at)
    report["Message-ID"] = f"<{at:%Y%m%d%H%M%S%f}@mail.demo.example>"
    report["Auto-Submitted"] = "auto-replied"
    report.attach(MIMEText(f"Your message could not be delivered.\n\n<{recipient}>: {said}\n"))
    status = EmailMessage()
    status["Reporting-MTA"] = "dns; mail.demo.example"
    failed = EmailMessage()
    failed["Final-Recipient"] = f"rfc822; {recipient}"
    failed["Action"], failed["Status"], failed["Diagnostic-Code"] = "failed", "5.1.1", f"smtp; {said}"
    fields = MIMEMultipart("delivery-status")
    fields.set_payload([status, failed])
    fields.replace_header("Content-Type", "message/delivery-status")
    report.attach(fields)
    report.attach(MIMEMessage(email))
    return report.as_bytes()


def send(client: Client, password: str, port: int, message: EmailMessage) -> None:
    """Over the client's own SMTP session. An absence note has a null return path, so that nobody answers it (RFC 3834 §3.3)."""
    automatic = message["Auto-Submitted"] is not None
    to = [address.addr_spec for name in ("To", "Cc") if message[name] for address in message[name].addresses]
    with smtplib.SMTP(HOST, port, local_hostname="client.demo.example", timeout=SMTP_SECONDS) as session:
        session.login(client.email, password)
        session.send_message(message, from_addr="" if automatic else client.email, to_addrs=to)
