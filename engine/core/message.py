"""Bytes to a `Message`, whatever the bytes are. It knows MIME (RFC 2045-2047, 2231) as it is really sent, not as it should be;
it refuses to know what a message means. No bytes may make it raise, stall or grow: headers, parts, depth and text are capped,
the tree is cut by searching for boundaries (linear), and only the parts that somebody reads are decoded."""

from __future__ import annotations

import base64
import binascii
import codecs
import quopri
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.header import decode_header
from email.message import Message as Headers
from email.parser import BytesHeaderParser
from email.utils import getaddresses, parsedate_to_datetime

from engine.core import quoting
from engine.core.model import Message, Part, Person

SIZE_MAX = 25 * 1024 * 1024
HEADER_BLOCK_MAX = 128 * 1024
HEADER_LINES_MAX = 1000
HEADER_VALUE_MAX = 8 * 1024
PARTS_MAX = 100
DEPTH_MAX = 20
TEXT_MAX = 128 * 1024
RETURNED_MAX = 64 * 1024
ADDRESSES_MAX = 200
IDS_MAX = 200

#: Parts whose text a machine reads; others are listed without text.
READABLE = frozenset(
    {
        "text/plain",
        "text/html",
        "text/calendar",
        "text/rfc822-headers",
        "text/x-amp-html",
        "message/rfc822",
        "message/rfc822-headers",
        "message/partial",
        "message/delivery-status",
        "message/global-delivery-status",
        "message/disposition-notification",
        "message/feedback-report",
        "message/global",
        "message/global-headers",
        "text/vnd.google.email-reaction+json",
    }
)
#: Codecs that Python lists but no mail should reach: slow (punycode) or not a charset at all.
REFUSED_CODECS = frozenset({"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"})
#: What senders mean when they name the smaller set (WHATWG Encoding §4.2).
WIDER_CODECS = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-9": "cp1254",
    "iso2022_jp": "iso2022_jp_ext",
}

_NO_BYTE = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n|\r\r")
#: A domain (RFC 5321 §4.1.2) decides: a name in encoded words that holds an @ is no address of anybody.
_ADDRESS = re.compile(r"[^@]+@(?:[\w.-]+|\[[\w.:]+\])")
_LINE_END = re.compile(rb"[\r\n]")
_DELIMITER_END = re.compile(rb"(--)?[ \t]*(?:\r\n|\n|\r|\Z)")
_ID = re.compile(r"<[^<>\s\x00-\x1f\x7f]{1,998}>")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NO_CONTROL = {code: None for code in range(128) if _CONTROL.match(chr(code))}
#: In a header also what turns around or breaks the text beside it, wherever it is shown or written again.
_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")  # UTF-7 can say one alone; no database and no terminal takes it


def parse(raw: bytes) -> Message:
    """One message from its raw bytes (RFC 5322). Never raises: what cannot be read is empty, what is too much is left out."""
    top, body = _split_headers(_Piece(raw, 0, min(len(raw), SIZE_MAX)))
    headers = _decoded(top)
    leaves = _leaves(top, body)
    return Message(
        raw=raw,
        message_id=_first_id(headers.get("message-id", ())),
        in_reply_to=_ids(headers.get("in-reply-to", ())),
        references=_ids(headers.get("references", ())),
        sender=_sender(top),
        to=people_in(_raw_values(top, "to")),
        cc=people_in(_raw_values(top, "cc")),
        subject=_one_line(next(iter(headers.get("subject", ())), "")),
        date=_date(next(iter(headers.get("date", ())), "")),
        headers=headers,
        text=_body(leaves, "text/plain"),
        html=_body(leaves, "text/html"),
        size=len(raw),
        parts=tuple(Part(leaf.content_type, leaf.disposition, leaf.text) for leaf in leaves),
    )


def new_text(message: Message) -> str:
    """What the sender wrote in this message: no quotes, attribution lines, signature, disclaimer or mobile footer."""
    return quoting.cut(quoting.body_of(message), message.sender.name).text


# ---- the MIME tree


@dataclass(frozen=True)
class _Leaf:
    content_type: str
    disposition: str
    text: str


@dataclass(frozen=True)
class _Piece:
    """Some of the bytes, by their edges: twenty multiparts around 25 MB are twenty pairs of numbers and no copy."""

    raw: bytes
    start: int
    end: int

    def first(self, size: int) -> bytes:
        return self.raw[self.start : min(self.end, self.start + size)]


def _split_headers(piece: _Piece) -> tuple[Headers, _Piece]:
    """The header block as compat32 reads it, and the rest. An mbox line in front is not a header."""
    if piece.first(1) in b"\r\n":
        return Headers(), piece
    match = _BLANK_LINE.search(piece.raw, piece.start, piece.end)
    head_end, body_start = match.span() if match else (piece.end, piece.end)
    head, body = (
        piece.raw[piece.start : min(head_end, piece.start + HEADER_BLOCK_MAX)],
        replace(piece, start=body_start),
    )
    lines = head.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:HEADER_LINES_MAX]
    while lines and lines[0].startswith((b"From ", b">From ")):
        lines.pop(0)
    kept = b"\n".join(lines)
    try:
        parsed = BytesHeaderParser().parsebytes(kept + b"\n\n")
        rest = parsed.get_payload()
    except (
        Exception
    ):  # the email package raises on some header bytes and charsets; a message without headers is still one
        return Headers(), piece
    if isinstance(rest, str) and rest.strip():  # compat32 stopped at a line that is no header: the body begins there
        glued = _as_bytes(rest) + b"\n\n" + body.first(TEXT_MAX * 4)
        body = _Piece(glued, 0, len(glued))
    return parsed, body


def _as_bytes(text: str) -> bytes:
    """What the email package made text of, as the bytes that it was; surrogates that stand for no byte are lost."""
    return _NO_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def _leaves(top: Headers, body: _Piece) -> list[_Leaf]:
    leaves: list[_Leaf] = []
    budget = [TEXT_MAX * 4]
    for headers, content in _walk(top, body, 0, [PARTS_MAX]):
        leaves.append(_leaf(headers, content, budget))
    return leaves


def _walk(headers: Headers, body: _Piece, depth: int, left: list[int]) -> Iterator[tuple[Headers, _Piece]]:
    """Leaves in order; a multipart beyond the limits is a leaf without text, one without delimiters is plain text."""
    if left[0] <= 0:
        return
    content_type = _content_type(headers)
    boundary = (_param(headers, "boundary") or _first_delimiter(body)) if content_type.startswith("multipart/") else ""
    if not boundary or depth >= DEPTH_MAX:
        left[0] -= 1
        yield headers, body
        return
    pieces = _pieces(body, _as_bytes(boundary), left[0])
    if not pieces:
        left[0] -= 1
        yield Headers(), body
    for piece in pieces:
        inner, content = _split_headers(piece)
        if not inner.keys() and content_type == "multipart/digest":
            inner["Content-Type"] = "message/rfc822"
        yield from _walk(inner, content, depth + 1, left)


def _first_delimiter(body: _Piece) -> str:
    """The boundary of a multipart whose header lost it: what the first line that looks like a delimiter says."""
    match = re.search(rb"(?:^|\n)--([^\s-][^\r\n]{0,68}?|-{2,20}[^\r\n]{3,68}?)[ \t]*\r?\n", body.first(RETURNED_MAX))
    return match[1].decode("latin-1") if match else ""


def _pieces(body: _Piece, boundary: bytes, limit: int) -> list[_Piece]:
    """What stands between the delimiter lines (RFC 2046 §5.1.1)."""
    pieces: list[_Piece] = []
    start = -1
    for before, after, last in _delimiters(body, b"--" + boundary):
        if start >= 0:
            pieces.append(replace(body, start=start, end=max(start, before)))
        start = after
        if last or len(pieces) >= limit:
            return pieces
    return [*pieces, replace(body, start=start)] if start >= 0 else []


def _delimiters(body: _Piece, delimiter: bytes) -> Iterator[tuple[int, int, bool]]:
    """Of each delimiter line: where what stands before it ends, where the next line begins, whether it is the last."""
    raw = body.raw
    at = raw.find(delimiter, body.start, body.end)
    while at >= 0:
        going_on = at + len(delimiter)
        if at > body.start and raw[at - 1] not in b"\r\n":
            line_end = _LINE_END.search(raw, going_on, body.end)
            if line_end is None:
                return
            going_on = line_end.start()
        elif match := _DELIMITER_END.match(raw, going_on, body.end):
            line_end_before = 2 if raw[max(body.start, at - 2) : at] == b"\r\n" else 1
            yield at - line_end_before, match.end(), bool(match[1])
            going_on = match.end()
        at = raw.find(delimiter, going_on, body.end)


def _leaf(headers: Headers, content: _Piece, budget: list[int]) -> _Leaf:
    content_type = _content_type(headers)
    disposition = str(headers.get("Content-Disposition", "")).split(";")[0].strip().lower()[:40]
    named = bool(_param(headers, "filename", "Content-Disposition") or _param(headers, "name"))
    wanted = content_type in READABLE and not (
        content_type.startswith("text/") and disposition == "attachment" and named
    )
    if content_type == "text/calendar":
        wanted = True
    if not wanted or budget[0] <= 0:
        return _Leaf(content_type, disposition, "")
    cap = RETURNED_MAX if content_type.startswith("message/") else TEXT_MAX
    text = _text(headers, content, min(cap, budget[0]))
    budget[0] -= len(text)
    return _Leaf(content_type, disposition or ("attachment" if named else ""), text)


def _text(headers: Headers, content: _Piece, cap: int) -> str:
    decoded = _transfer_decoded(
        content.first(cap * 4), str(headers.get("Content-Transfer-Encoding", "")).strip().lower()
    )
    text = to_text(decoded[: cap * 4], _param(headers, "charset"))[:cap]
    return _without_controls(text.replace("\r\n", "\n").replace("\r", "\n"))


def _transfer_decoded(content: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        clean = re.sub(rb"[^A-Za-z0-9+/]", b"", content.split(b"=\n", 1)[0] if content.endswith(b"=\n") else content)
        try:
            return base64.b64decode(clean[: len(clean) // 4 * 4] + _padded(clean[len(clean) // 4 * 4 :]))
        except (binascii.Error, ValueError):
            return content
    if encoding == "quoted-printable":
        return quopri.decodestring(content)
    return content


def _padded(rest: bytes) -> bytes:
    return rest + b"=" * (4 - len(rest)) if len(rest) in (2, 3) else b""


def to_text(raw: bytes, charset: str) -> str:
    """Bytes as text: the charset that is named, wider where senders mean wider, else UTF-8, else Windows-1252."""
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    named = WIDER_CODECS.get(_codec(charset), _codec(charset))
    tries = [named] if named not in ("", "utf-8") else []
    tries += ["iso2022_jp_ext"] if b"\x1b$" in raw else []
    for name in [*tries, "utf-8"]:
        try:
            return _without_surrogates(raw.decode(name))
        except (UnicodeError, LookupError, ValueError):
            continue
    return _without_surrogates(raw.decode(named or "cp1252", "replace"))


def _without_controls(text: str) -> str:
    """`translate` is quick where all is ASCII, and slow beyond."""
    return text.translate(_NO_CONTROL) if text.isascii() else _CONTROL.sub("", text)


def _without_surrogates(text: str) -> str:
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _codec(charset: str) -> str:
    try:
        name = codecs.lookup(charset.strip().strip("'\"")[:40]).name if charset else ""
        b" ".decode(name or "utf-8", "replace")  # `zip` and `rot13` are codecs, and no charsets
    except (LookupError, ValueError, UnicodeError):
        return ""
    return "" if name in REFUSED_CODECS else name


def _body(leaves: list[_Leaf], content_type: str) -> str:
    """The inline parts of one type, joined: a footer that a list server adds is a part of its own."""
    kept = [leaf.text for leaf in leaves if leaf.content_type == content_type and leaf.disposition != "attachment"]
    return "\n".join(kept)[:TEXT_MAX]


# ---- headers


def _content_type(headers: Headers) -> str:
    value = str(headers.get("Content-Type", ""))[:HEADER_VALUE_MAX].split(";")[0].strip().lower()
    return value if value.count("/") == 1 else "text/plain"


def _param(headers: Headers, name: str, header: str = "Content-Type") -> str:
    value = str(headers.get(header, ""))[: HEADER_VALUE_MAX // 4]
    if name not in value.lower():
        return ""
    probe = Headers()
    probe["Content-Type"] = value
    try:
        found = probe.get_param(name)
    except Exception:  # compat32 raises on some malformed RFC 2231 parameters
        return ""
    if isinstance(found, tuple):
        return str(found[2] or "")
    return str(found or "").strip()


def _decoded(headers: Headers) -> Mapping[str, tuple[str, ...]]:
    collected: dict[str, list[str]] = {}
    for name, value in headers.raw_items():
        collected.setdefault(name.strip().lower(), []).append(decode_words(str(value)[:HEADER_VALUE_MAX]))
    return {name: tuple(values) for name, values in collected.items()}


def _raw_values(headers: Headers, wanted: str) -> list[str]:
    return [str(value)[: HEADER_VALUE_MAX * 4] for name, value in headers.raw_items() if name.lower() == wanted]


def decode_words(value: str) -> str:
    """A header's value with its encoded words read (RFC 2047); bytes that are no ASCII are read as UTF-8 or Windows-1252."""
    plain = to_text(_as_bytes(value), "") if not value.isascii() else value
    plain = re.sub(r"[\r\n]+[ \t]*", " ", plain)
    if "=?" not in plain:
        return plain.strip()
    try:
        pieces = decode_header(plain)
    except Exception:  # binascii errors of malformed encoded words
        return plain.strip()
    return "".join(p if isinstance(p, str) else to_text(p, charset or "") for p, charset in pieces).strip()


def _one_line(value: str) -> str:
    return " ".join(_UNSPEAKABLE.sub(" ", value).split())[:1000]


def _ids(values: tuple[str, ...]) -> tuple[str, ...]:
    found = [one for value in values for one in _ID.findall(value)]
    return tuple(dict.fromkeys(found))[:IDS_MAX]


def _first_id(values: tuple[str, ...]) -> str:
    return next(iter(_ids(values)), "")


def people_in(values: list[str]) -> tuple[Person, ...]:
    """The addresses of raw header values. Encoded words are read after the list is taken apart: a name may hold a comma."""
    try:
        pairs = getaddresses([re.sub(r"[\r\n]+", " ", value) for value in values][:ADDRESSES_MAX])
    except Exception:  # the email package raises on some forms
        return ()
    people = [Person(name=_one_line(decode_words(name))[:200], email=_address(address)) for name, address in pairs]
    return tuple(dict.fromkeys(person for person in people if _ADDRESS.fullmatch(person.email)))[:ADDRESSES_MAX]


def _address(address: str) -> str:
    return _one_line(decode_words(address)).lower()[:320]


def _sender(headers: Headers) -> Person:
    for name in ("from", "sender"):
        found = people_in(_raw_values(headers, name))
        if found:
            return found[0]
    return Person(name=_one_line(decode_words(next(iter(_raw_values(headers, "from")), "")))[:200])


def _date(value: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(value[:200])
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except Exception:  # ValueError, TypeError, OverflowError, IndexError: all of them have been seen
        return None
