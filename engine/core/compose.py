"""One letter to the exact bytes that go over the wire, and the ids and links that are made with it. The same letter gives the
same bytes on every machine and on every day, so that a frozen message can be compared with what a server kept. Whatever could
break out of a header is refused here, although it should never have come so far."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import re
from base64 import b32encode, b64encode
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

from engine.core.model import Person

LINE_MAX = 76  # RFC 5322 §2.1.1 asks for 78, RFC 2047 §2 for 76
HEADER_LINE_MAX = 998  # RFC 5322 §2.1.1
NAME_MAX = 60  # a longer name is written in encoded words, which can be folded
WORD_BYTES = 45  # of text in one encoded word: 60 characters of base64, 75 with what stands around them

# Control characters, line and paragraph separators, bidi overrides and isolates, lone surrogates.
_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_REFUSED_IN_BODY = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")  # RFC 5322 §3.2.3
_MESSAGE_ID = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]{1,900}>")
_NOT_IN_ADDRESS = re.compile(r"[\s()<>\[\]:;,\\\"]")
_NOT_IN_URL = re.compile(r"[^\x21-\x7e]|[<>]")
_REPLY = re.compile(
    r"(?:\s*(?:re|aw|antw|antwort|sv|vs|ref|rif|r|odp|ynt|res|rép|rép\.|回复|回覆|答复|答覆|返信|답장|ответ)"
    r"\s*(?:\[\d+\]|\(\d+\)|\^\d+|\*\d+)?\s*[:：])+\s*",
    re.IGNORECASE,
)
# By name, not by what a machine's mime.types says: the same bytes everywhere.
_TYPES = {
    "csv": "text/csv",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "html": 'text/html; charset="utf-8"',
    "ics": "text/calendar",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "odt": "application/vnd.oasis.opendocument.text",
    "pdf": "application/pdf",
    "png": "image/png",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "txt": "text/plain",
    "vcf": "text/vcard",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "zip": "application/zip",
}


@dataclass(frozen=True)
class Letter:
    """One email before it is bytes. `date` is aware and written in `zone` (an IANA name). `message_id`, `in_reply_to` and
    `references` keep their angle brackets; `unsubscribe` is a mailto: link; an attachment is (file name, content)."""

    sender: Person
    recipient: Person
    subject: str
    text: str
    html: str
    message_id: str
    date: datetime
    references: tuple[str, ...] = ()
    in_reply_to: str = ""
    cc: tuple[Person, ...] = ()
    unsubscribe: str = ""
    attachments: tuple[tuple[str, bytes], ...] = ()
    zone: str = "UTC"
    automatic: bool = False


# --- ids ---------------------------------------------------------------------------------------------------------------


def message_id(key: bytes, enrollment: str, step: str, visit: int, attempt: int, domain: str) -> str:
    """The Message-ID of one try of one email: the same for the same email, and nobody without `key` can guess it."""
    return _keyed_id(key, "message", (enrollment, step, visit, attempt), domain)


def own_id(key: bytes, enrollment: str, step: str, visit: int, attempt: int, domain: str) -> str:
    """Our second id for the same email. It stands in the References of a first mail, where it survives the servers that
    write a Message-ID of their own."""
    return _keyed_id(key, "own", (enrollment, step, visit, attempt), domain)


def _keyed_id(key: bytes, purpose: str, parts: tuple[str | int, ...], domain: str) -> str:
    digest = hmac.digest(key, json.dumps([purpose, *parts]).encode(), "sha256")
    return f"<{b32encode(digest[:20]).decode().lower()}@{ascii_domain(domain)}>"


def ascii_domain(domain: str) -> str:
    """The domain as DNS knows it (RFC 5890). Raises ValueError for one that cannot be written so."""
    if domain.isascii():
        return domain.lower()
    import idna  # only for the few that need its tables

    return idna.encode(domain, uts46=True).decode()


# --- links and subjects --------------------------------------------------------------------------------------------------


def mailto(to: str, cc: str, subject: str, body: str) -> str:
    """A link that opens a new email with everything filled in (RFC 6068)."""
    lines = body.replace("\r\n", "\n").replace("\n", "\r\n")  # RFC 6068 §5: %0D%0A
    one_line = " ".join(subject.split())
    fields = {"cc": quote(cc, safe="@"), "subject": quote(one_line, safe=""), "body": quote(lines, safe="")}
    query = "&".join(f"{name}={value}" for name, value in fields.items() if value)
    return f"mailto:{quote(to, safe='@')}" + (f"?{query}" if query else "")


def reply_subject(subject: str) -> str:
    """The subject of an answer: "Re: " once, whatever other programs had put there ("AW:", "SV: Re[2]:")."""
    return f"Re: {_REPLY.sub('', subject, count=1) if _REPLY.match(subject) else subject.strip()}".rstrip()


# --- the message ---------------------------------------------------------------------------------------------------------


def compose(letter: Letter) -> bytes:
    """The letter as it goes over the wire: CRLF, text and HTML, every header in 7-bit characters (but for an address whose
    local part is not, which asks for SMTPUTF8). Raises ValueError for anything that could break a header."""
    boundary = "=_" + hashlib.sha256(letter.message_id.encode()).hexdigest()[:32]
    body = _alternative(letter, boundary)
    if letter.attachments:
        body = _mixed(letter, body, f"{boundary}.m")
    return "".join([f"{name}: {value}\r\n" for name, value in _headers(letter) if value]).encode() + body


def own_copy(raw: bytes, bcc: tuple[str, ...]) -> bytes:
    """The sender's copy of a letter, which alone says who got it in Bcc (RFC 5322 §3.6.3)."""
    addresses = ", ".join(_address(Person("", address)) for address in bcc)
    return f"Bcc: {addresses}\r\n".encode() + raw if bcc else raw


def _headers(letter: Letter) -> list[tuple[str, str]]:
    return [
        ("From", _address(letter.sender)),
        ("To", _address(letter.recipient)),
        ("Cc", ",\r\n ".join([_address(person) for person in letter.cc])),
        ("Subject", _unstructured(letter.subject, len("Subject: "))),
        ("Date", format_datetime(letter.date.astimezone(ZoneInfo(letter.zone)))),
        ("Message-ID", _own_message_id(letter.message_id)),
        ("In-Reply-To", "\r\n ".join(_ids((letter.in_reply_to,)))),
        ("References", "\r\n ".join(_ids(letter.references))),
        ("List-Unsubscribe", _link(letter.unsubscribe)),
        ("Auto-Submitted", "auto-generated" if letter.automatic else ""),  # RFC 3834 §5: no absence note answers it
        ("MIME-Version", "1.0"),
    ]


def _refuse(text: str, what: str) -> None:
    bad = _REFUSED.search(text)
    if bad:
        raise ValueError(f"{what} has a control character (U+{ord(bad[0]):04X})")


def _own_message_id(text: str) -> str:
    if not _MESSAGE_ID.fullmatch(text):
        raise ValueError(f"not a Message-ID: {text!r}")
    return text


def _ids(ids: tuple[str, ...]) -> list[str]:
    """Ids that can stand in a header. Others came from somebody's odd program: the thread holds without them."""
    return [text for text in ids if _MESSAGE_ID.fullmatch(text)]


def _link(url: str) -> str:
    if len(url) > HEADER_LINE_MAX - 10 or _NOT_IN_URL.search(url):
        raise ValueError("the unsubscribe link cannot stand in a header")
    return f"<{url}>" if url else ""


def _address(person: Person) -> str:
    local, at, domain = person.email.rpartition("@")
    _refuse(person.email, "an address")
    if not local or not domain or "@" in local or _NOT_IN_ADDRESS.search(person.email) or len(person.email) > 320:
        raise ValueError(f"not an address: {person.email!r}")
    address = f"{local}{at}{ascii_domain(domain)}"
    if not person.name:
        return address
    phrase = _phrase(person.name)
    return f"{phrase}\r\n <{address}>" if len(phrase) + len(address) > LINE_MAX - 12 else f"{phrase} <{address}>"


def _phrase(name: str) -> str:
    """A display name (RFC 5322 §3.2.5): as it is, in quotes, or in encoded words."""
    _refuse(name, "a name")
    if len(name) > NAME_MAX or not name.isascii() or "=?" in name or name != " ".join(name.split(" ")).strip():
        return _encoded_words(name, len("From: "))
    if _ATOMS.fullmatch(name):
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unstructured(text: str, used: int) -> str:
    """A header's free text, folded; `used` characters stand before it on its line."""
    _refuse(text, "the subject")
    if not text.isascii() or "=?" in text or "  " in text or text != text.strip() or _has_long_word(text):
        return _encoded_words(text, used)
    if len(text) + used <= LINE_MAX:
        return text
    lines, line = [], ""
    for word in text.split(" "):
        if line and used + len(line) + 1 + len(word) > LINE_MAX:
            lines.append(line)
            line, used = word, 1
        else:
            line = f"{line} {word}" if line else word
    return "\r\n ".join([*lines, line])


def _has_long_word(text: str) -> bool:
    return len(text) > LINE_MAX and any(len(word) > LINE_MAX for word in text.split(" "))


def _encoded_words(text: str, used: int) -> str:
    """RFC 2047 §2: words of at most 75 characters, each a whole number of characters, joined by folds."""
    words: list[str] = []
    chunk = b""
    room = WORD_BYTES - used * 3 // 4 - 1
    for character in text:
        encoded = character.encode()
        if len(chunk) + len(encoded) > room:
            words.append(_word(chunk))
            chunk, room = b"", WORD_BYTES
        chunk += encoded
    return "\r\n ".join([*words, _word(chunk)]) if text else ""


def _word(chunk: bytes) -> str:
    return f"=?utf-8?b?{b64encode(chunk).decode()}?="


# --- the body ----------------------------------------------------------------------------------------------------------


def _alternative(letter: Letter, boundary: str) -> bytes:
    return b"".join(
        [
            f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n--{boundary}\r\n'.encode(),
            _part("plain", letter.text),
            f"\r\n--{boundary}\r\n".encode(),
            _part("html", letter.html),
            f"\r\n--{boundary}--\r\n".encode(),
        ]
    )


def _part(kind: str, text: str) -> bytes:
    if _REFUSED_IN_BODY.search(text):
        raise ValueError(f"the {kind} part has a control character")
    data = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n").encode()
    encoding, body = _transfer(data)
    head = f'Content-Type: text/{kind}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    return head.encode() + body


def _transfer(data: bytes) -> tuple[str, bytes]:
    """The shortest of the encodings that every server leaves alone (RFC 2045 §6)."""
    if data.isascii() and max(map(len, data.split(b"\r\n"))) <= LINE_MAX:
        return "7bit", data
    quoted = binascii.b2a_qp(data, istext=True)
    if len(quoted) * 3 > len(data) * 4:
        return "base64", _base64(data)
    return "quoted-printable", quoted


def _base64(data: bytes) -> bytes:
    encoded = b64encode(data)
    return b"\r\n".join([encoded[start : start + LINE_MAX] for start in range(0, len(encoded), LINE_MAX)])


def _mixed(letter: Letter, alternative: bytes, boundary: str) -> bytes:
    parts = [f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n--{boundary}\r\n'.encode(), alternative]
    for name, content in letter.attachments:
        parts += [f"\r\n--{boundary}\r\n{_attachment_head(name)}".encode(), _base64(content)]
    return b"".join([*parts, f"\r\n--{boundary}--\r\n".encode()])


def _attachment_head(name: str) -> str:
    _refuse(name, "the name of an attachment")
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    plain = name.isascii() and len(name) <= NAME_MAX
    named = f'filename="{escaped}"' if plain else f"filename*=utf-8''{quote(name, safe='')}"  # RFC 2231 §4
    if len(named) > HEADER_LINE_MAX - 2:
        raise ValueError("the name of an attachment is too long")
    kind = _TYPES.get(name.rpartition(".")[2].lower(), "application/octet-stream")
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n {named}\r\n\r\n"
