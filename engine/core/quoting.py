"""What a person typed into this one message: text and HTML are brought into one form, then the quotes, the lines that announce
them, mobile footers, signature and disclaimer are cut away line by line. Lines are looked at one by one with bounded patterns,
so that the cost is linear in the text. What is doubtful stays in: a word too much makes a message unclear, which is safe."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from engine.core.model import Message
from engine.core.phrases import phrasebook, plain

LINES_MAX = 4000
LINE_MAX = 2000
HTML_MAX = 256 * 1024
SIGNATURE_LINES_MAX = 14
ATTRIBUTION_LINES_MAX = 4


@dataclass(frozen=True)
class Cut:
    """`text` is what is new, `signature` what stood below its sign-off, `quoted` what it answers (both for people and context)."""

    text: str
    signature: str
    quoted: str


def body_of(message: Message) -> str:
    """The text part, or the HTML as text where there is no text part worth the name."""
    if _says_something(message.text) or not message.html:
        return message.text
    return html_to_text(message.html)


def _says_something(text: str) -> bool:
    stripped = text.strip()
    return bool(stripped) and not ("<html" in stripped[:300].lower() or "<div" in stripped[:100].lower())


# ---- HTML

_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:]{0,20})((?:[^<>\"']|\"[^\"]{0,4000}\"|'[^']{0,4000}'){0,400})/?>")
_COMMENT = re.compile(r"<!--.*?-->|<!\[[^>]*>|<![a-zA-Z][^>]{0,2000}>", re.S)
_HIDDEN = re.compile(r"<(script|style|head|title|template)\b[^>]*>.*?</\1\s*>", re.S | re.I)
_BLOCK = frozenset(
    [
        "p",
        "div",
        "br",
        "tr",
        "li",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "ul",
        "ol",
        "table",
        "hr",
        "section",
        "article",
        "header",
        "footer",
        "address",
        "pre",
        "dd",
        "dt",
        "center",
    ]
)
_QUOTE_MARKS = re.compile(
    r"gmail_quote|yahoo_quoted|divrplyfwdmsg|appendonsend|moz-cite-prefix|protonmail_quote|type=[\"']?cite|zmail_extra|"
    r"border-top:\s?solid\s?#(?:e1e1e1|b5c4df)",
    re.I,
)
_QUOTE_LINE = re.compile(r"gmail_quote|yahoo_quoted|divrplyfwdmsg|protonmail_quote", re.I)
#: A line that stands for "from here on it is quoted", put in for marks that only HTML has.
QUOTE_BEGINS = "\u2063quote begins\u2063"


def html_to_text(source: str) -> str:
    """HTML as lines of text; quoted blocks get the `>` of text mail. Unclosed and nested rubbish costs no more than its length."""
    source = source[:HTML_MAX]
    source = _drop(source)
    pieces: list[str] = []
    depth = 0
    position = 0
    for match in _TAG.finditer(source):
        pieces.append(_words(source[position : match.start()]))
        position = match.end()
        closing, name, attributes = bool(match[1]), match[2].lower(), match[3] or ""
        if name == "blockquote":
            depth = max(0, min(depth + (-1 if closing else 1), 9))
            pieces.append("\n" + "\x01" * depth)
        elif name == "br":
            pieces.append("\x02" + "\x01" * depth)
        elif name in _BLOCK:
            pieces.append("\n" + "\x01" * depth)
            if name == "li" and not closing:
                pieces.append("* ")
        elif name in ("td", "th"):
            pieces.append(" ")
        if not closing and attributes and name != "blockquote" and _QUOTE_MARKS.search(attributes[:2000]):
            pieces.append(f"\n{QUOTE_BEGINS}\n" if _is_whole_quote(attributes) else "")
    pieces.append(_words(source[position:]))
    blocks = re.sub(
        r"\n(?:\x01*\n)+", "\n", "".join(pieces)
    )  # tags that end and begin blocks in a row make one new line
    lines = [_marked(line) for line in blocks.replace("\x02", "\n").split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _is_whole_quote(attributes: str) -> bool:
    lowered = attributes.lower()
    return any(mark in lowered for mark in ("divrplyfwdmsg", "appendonsend"))


def _drop(source: str) -> str:
    """Comments, styles and scripts away, by searching for each end once."""
    for opening, closing in (
        ("<!--", "-->"),
        ("<style", "</style"),
        ("<script", "</script"),
        ("<head", "</head"),
        ("<title", "</title"),
    ):
        source = _drop_between(source, opening, closing)
    return source


def _drop_between(source: str, opening: str, closing: str) -> str:
    lowered = source.lower()
    if len(lowered) != len(source):  # a letter that grows when lowered would shift every position
        return source
    pieces: list[str] = []
    position = 0
    while True:
        start = lowered.find(opening, position)
        if start >= 0 and opening == "<head" and lowered[start : start + 7] == "<header":
            pieces.append(source[position : start + 7])
            position = start + 7
            continue
        end = lowered.find(closing, start) if start >= 0 else -1
        if end < 0:
            pieces.append(source[position:])
            return "".join(pieces)
        pieces.append(source[position:start])
        after = lowered.find(">", end)
        position = after + 1 if after >= 0 else len(source)


def _words(text: str) -> str:
    return html.unescape(re.sub(r"[ \t\r\n\f]+", " ", text))


def _marked(line: str) -> str:
    depth = line.count("\x01")
    words = " ".join(line.replace("\x01", " ").split())
    return (">" * depth + " " + words).rstrip() if depth else words


# ---- cutting

_QUOTED = re.compile(r"^[ \t]{0,3}>|^\|\s")
_RULE = re.compile(r"^\s*[_\-=*~—–─]{5,}\s*$")
_DASHED_HEAD = re.compile(r"^\s*[-_*—–]{2,}\s*(.{3,60}?)\s*[-_*—–:]{2,}\s*$")
_SIGNATURE_DASHES = re.compile(r"^\s{0,2}(--|—|__)\s?$")
_SPACES = {0xA0: " ", 0x202F: " ", 0x200B: None}
_HAS_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w.-]{1,200}|<[^<>]{1,200}>")
_HAS_TIME = re.compile(r"\d{1,2}[:.h]\s?\d{2}|\b20\d\d\b|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|年")


def cut(body: str, sender_name: str = "") -> Cut:
    """The new text of a body, whatever the order: top-posted, bottom-posted or between the quoted lines."""
    if not body.isascii():
        body = body.translate(_SPACES)
    lines = [line[:LINE_MAX].rstrip() for line in body.split("\n", LINES_MAX)[:LINES_MAX]]
    kept, quoted = _without_quotes(lines)
    text, signature = _without_signature(kept, sender_name)
    return Cut("\n".join(text).strip(), "\n".join(signature).strip(), "\n".join(quoted).strip())


def _without_quotes(lines: list[str]) -> tuple[list[str], list[str]]:
    kept: list[str] = []
    quoted: list[str] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        if line[:1] == ">" or _QUOTED.match(line):
            quoted.append(line.lstrip(" \t>|"))
            index += 1
            continue
        if not line:
            kept.append(line)
            index += 1
            continue
        if line.strip() == QUOTE_BEGINS or _heads_a_quote(lines, index):
            _drop_rule(kept)
            quoted.extend(lines[index:])
            break
        length = _attribution(lines, index)
        if length:
            quoted.extend(lines[index : index + length])
            index += length
            if not _quoted_follows(lines, index):
                quoted.extend(lines[index:])
                break
            continue
        kept.append(line)
        index += 1
    return kept, quoted


def _drop_rule(kept: list[str]) -> None:
    while kept and (not kept[-1].strip() or _RULE.match(kept[-1])):
        kept.pop()


def _quoted_follows(lines: list[str], index: int) -> bool:
    """Whether the quote that is announced is marked line by line, so that new text may stand between and below."""
    following = [line for line in lines[index : index + 6] if line.strip()]
    return bool(following) and bool(_QUOTED.match(following[0]))


def _heads_a_quote(lines: list[str], index: int) -> bool:
    """A forwarded or original message begins here: a dashed heading, or two header lines of Outlook's kind."""
    line = lines[index]
    book = phrasebook()
    dashed = _DASHED_HEAD.match(line)
    if dashed and book.has("quote_heads", plain(dashed[1])):
        return True
    if len(line) < 80 and book.equals("quote_heads", plain(line.strip(" :-*_>"))):
        return True
    if not _header_label(line, "from"):
        return False
    window = [other for other in lines[index + 1 : index + 8] if other.strip()][:5]
    return sum(1 for other in window if _header_label(other, "")) >= 1 and any(
        _header_label(other, "") for other in window[:2]
    )


def _header_label(line: str, kind: str) -> bool:
    """Whether a line reads like `From: …` in any of the languages. `kind` "from" asks for the first of such lines."""
    head = line.strip(" *>\t")[:40]
    colon = min((at for at in (head.find(":"), head.find("：")) if at > 0), default=-1)
    if colon < 0:
        return False
    label = plain(head[:colon].strip(" *"))
    return phrasebook().equals("header_from" if kind == "from" else "header_labels", label)


def _attribution(lines: list[str], index: int) -> int:
    """How many lines from here announce a quote ("On … wrote:"); 0 when none do. Mail clients break them anywhere."""
    first = lines[index].strip()
    if not first or len(first) > 400:
        return 0
    joined = ""
    for count in range(1, ATTRIBUTION_LINES_MAX + 1):
        if index + count > len(lines):
            return 0
        line = lines[index + count - 1].strip()
        if not line and count > 1:
            return 0
        joined = f"{joined} {line}".strip()
        if len(joined) > 500:
            return 0
        if line.endswith((":", "：")):
            sure = _announces(joined)
            return count if sure or (_looks_like_one(joined) and _quoted_follows(lines, index + count)) else 0
    return 0


def _announces(line: str) -> bool:
    """A verb of writing in one of the languages, with a date, a time or an address."""
    wrote = phrasebook().has("wrote", plain(line))
    dated = bool(_HAS_TIME.search(line))
    addressed = bool(_HAS_ADDRESS.search(line))
    return wrote and (dated or addressed)


def _looks_like_one(line: str) -> bool:
    """A date and an address alone, as Gmail writes in Japanese: only where a marked quote follows."""
    return len(line) < 200 and bool(_HAS_TIME.search(line)) and bool(_HAS_ADDRESS.search(line))


# ---- the signature


def _without_signature(lines: list[str], sender_name: str) -> tuple[list[str], list[str]]:
    lines = _without_footers(lines)
    for index, line in enumerate(lines):
        if _SIGNATURE_DASHES.match(line) and (index > 0 or len(lines) < SIGNATURE_LINES_MAX):
            return lines[:index], lines[index + 1 :]
    end = _disclaimer(lines)
    lines, disclaimer = lines[:end], lines[end:]
    start = _sign_off(lines, sender_name)
    return lines[:start], lines[start:] + disclaimer


def _without_footers(lines: list[str]) -> list[str]:
    book = phrasebook()
    return [
        line
        for line in lines
        if not (len(line) < 120 and line.strip() and book.starts("mobile_footers", plain(line.strip(" *_-<>[]"))))
    ]


def _disclaimer(lines: list[str]) -> int:
    """The first line of a disclaimer, never the first line of all: everything from it on is boiler plate."""
    book = phrasebook()
    said = False
    for index, line in enumerate(lines):
        if not line.strip():
            continue
        if said and book.starts("disclaimers", plain(line.strip(" *_-"))):
            return index
        said = True
    return len(lines)


def _sign_off(lines: list[str], sender_name: str) -> int:
    """Where the closing formula or the sender's name on a line of its own begins the signature."""
    filled = [index for index, line in enumerate(lines) if line.strip()]
    name = plain(sender_name)
    for position, index in enumerate(filled):
        line = plain(lines[index].strip(" ,.!*_-–—/"))
        below = len(filled) - position - 1
        if position and _is_sign_off(line, name):
            return index
        if position and len(name) > 3 and below <= SIGNATURE_LINES_MAX and _is_name_line(line, name):
            return index
    return len(lines)


def _is_sign_off(line: str, name: str) -> bool:
    """A closing formula alone on its line, or with the sender's own name behind it ("Best, Corinne")."""
    hit = phrasebook().starts("sign_offs", line)
    if hit is None:
        return False
    rest = line[hit.end :].strip(" .!-–/")
    own = [*name.split(), *(part[0] for part in name.split())]
    return not rest or (len(rest) < 40 and all(word.strip(".") in own for word in rest.split()))


def _is_name_line(line: str, name: str) -> bool:
    if line == name:
        return True
    rest = line.removeprefix(name)
    return rest != line and " " in name and rest.lstrip()[:1] in ("|", ",", "-", "·", "–", "—", "/", "(", "•")
