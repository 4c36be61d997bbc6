"""One Markdown source to a text that reads as if it had been typed, and to HTML that every mail client shows. The values
are not in the source, only numbered marks for them: the page is made once for each shape of a message and then only filled,
so a value can become neither structure nor link, and filling costs microseconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from engine.core.sandbox import CLOSE, OPEN

BLANK = "\ufdd2"  # the mark of a value without anything to see
SCHEMES = ("https", "http", "mailto")
_MARK = re.compile(f"{OPEN}([0-9]+){CLOSE}|{BLANK}[0-9]+{CLOSE}")
_URL_SAFE = ";/?:@&=+$,#%!*()~[]"
_TYPED_URL = re.compile(r"<((?:https?|mailto):[^<>\s]+)>|https?://[^\s<>\"]*[^\s<>\".,;:!?')\]]")
_LOST_PERCENT = re.compile("%25([0-9A-Fa-f]{2})")

_GAP = "margin:0 0 1em"
_STYLES = {
    "paragraph": ("p", _GAP),
    "bullet_list": ("ul", f"{_GAP};padding-left:1.5em"),
    "ordered_list": ("ol", f"{_GAP};padding-left:1.5em"),
    "list_item": ("li", "margin:0 0 .3em"),
    "blockquote": ("blockquote", f"{_GAP};padding-left:1em;border-left:3px solid #ccc"),
    "strong": ("strong", ""),
    "em": ("em", ""),
}
_HEADINGS = {"h1": "1.3em", "h2": "1.15em"}
_BODY = "font-family:Arial,Helvetica,sans-serif;font-size:15px;line-height:1.5;color:#222;margin:0"
_FOOT = "</body>\n</html>\n"


class BadLink(ValueError):
    """A link that must not be sent."""


@dataclass(frozen=True)
class Slot:
    """A value's place in the text; its further lines begin with `indent`."""

    index: int
    indent: str

    def fill(self, values: Sequence[str]) -> str:
        indented = values[self.index].replace("\n", f"\n{self.indent}")
        return indented.replace(f"\n{self.indent}\n", f"\n{self.indent.rstrip()}\n") if self.indent else indented


@dataclass(frozen=True)
class HtmlSlot:
    """A value's place in the HTML."""

    index: int

    def fill(self, values: Sequence[str]) -> str:
        return escape(values[self.index]).replace("\n", "<br>\n")


@dataclass(frozen=True)
class Href:
    """Where a link leads, in the HTML."""

    parts: tuple[str | int, ...]

    def fill(self, values: Sequence[str]) -> str:
        return escape(address(self.parts, values))


@dataclass(frozen=True)
class Trail:
    """What follows a link's words in the text: where it leads, unless the words said so."""

    label: tuple[str | int, ...]
    parts: tuple[str | int, ...]

    def fill(self, values: Sequence[str]) -> str:
        url = address(self.parts, values)
        label = "".join(values[part] if isinstance(part, int) else part for part in self.label)
        return "" if label in (url, url.removeprefix("mailto:")) else f" <{url}>" if label else url


Piece = str | Slot | HtmlSlot | Href | Trail


@dataclass(frozen=True)
class Page:
    """One shape of a message."""

    text: tuple[Piece, ...]
    html: tuple[Piece, ...]

    def fill(self, values: Sequence[str]) -> tuple[str, str]:
        """Text and HTML with the values in their places. Raises BadLink for a link that leads neither to the web nor
        to a mailbox."""
        return _filled(self.text, values), _filled(self.html, values)


def _filled(pieces: Iterable[Piece], values: Sequence[str]) -> str:
    return "".join([piece if isinstance(piece, str) else piece.fill(values) for piece in pieces])


# --- links -------------------------------------------------------------------------------------------------------------


def address(parts: Sequence[str | int], values: Sequence[str]) -> str:
    """The link of these parts. A value at its head is a link itself; a value further on can only be a piece of one and
    is encoded so (RFC 3986 §2.4). Encoded characters stay as they are: a mailto's %0A and & arrive as written."""
    url = ""
    for place, part in enumerate(parts):
        if isinstance(part, str):
            url += _encoded(part, _URL_SAFE)
        elif place == 0:
            url += _encoded(values[part].strip(), _URL_SAFE)
        else:
            url += _encoded(values[part], "@" if url.lower().startswith("mailto:") else "")
    if scheme(url) not in SCHEMES:
        raise BadLink(f'the link "{url[:60]}" leads neither to https nor to mailto')
    return url


def scheme(url: str) -> str:
    """`https` of https://…; an empty text where there is none."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", url)
    return found[1].lower() if found else ""


def _encoded(text: str, safe: str) -> str:
    return _LOST_PERCENT.sub(r"%\1", quote(text, safe=safe.replace("%", "")))


# --- Markdown ------------------------------------------------------------------------------------------------------------


class _Parser(MarkdownIt):
    """CommonMark without HTML and without indented code, which in an email is always an accident. Links are judged when they
    are filled, so none is refused or rewritten here."""

    def __init__(self) -> None:
        super().__init__("commonmark", {"html": False})
        self.disable("code")

    def validateLink(self, url: str) -> bool:
        return True

    def normalizeLink(self, url: str) -> str:
        return url

    def normalizeLinkText(self, link: str) -> str:
        return link


_PARSER = _Parser()


def tree(source: str) -> SyntaxTreeNode:
    """The Markdown source as a tree."""
    return SyntaxTreeNode(_PARSER.parse(source))


def numbered(skeleton: str) -> str:
    """The source with its marks numbered in the order in which they stand."""
    counter = iter(range(len(skeleton)))
    return re.sub(f"[{OPEN}{BLANK}]", lambda mark: f"{mark[0]}{next(counter)}{CLOSE}", skeleton)


def make_page(skeleton: str, language: str) -> Page:
    """The page for a source with a mark (OPEN or BLANK) where each value stands."""
    root = tree(numbered(skeleton))
    text = [*_stacked(root.children, ""), "\n"]
    html = [_head(language), *_html_blocks(root.children), _FOOT]
    return Page(tuple(_merged(text)), tuple(_merged(html)))


def typed_html(text: str, language: str) -> str:
    """The HTML of a text that a person typed: its paragraphs, its line ends, and its addresses as links."""
    paragraphs = [_linked(block) for block in re.split(r"\n{2,}", text.strip("\n"))]
    return "".join([_head(language), *[f'<p style="{_GAP}">{block}</p>\n' for block in paragraphs], _FOOT])


def _head(language: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="{escape(language)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n</head>\n'
        f'<body style="{_BODY}" dir="auto">\n'
    )


def _linked(text: str) -> str:
    pieces, end = [], 0
    for found in _TYPED_URL.finditer(text):
        url = found[1] or found[0]
        shown = url.removeprefix("mailto:").partition("?")[0] if url.startswith("mailto:") else url
        pieces += [escape(text[end : found.start()]), f'<a href="{escape(url)}">{escape(shown)}</a>']
        end = found.end()
    return "".join([*pieces, escape(text[end:])]).replace("\n", "<br>\n")


def _merged(pieces: Iterable[Piece]) -> Iterator[Piece]:
    run = ""
    for piece in pieces:
        if isinstance(piece, str):
            run += piece
            continue
        if run:
            yield run
        run = ""
        yield piece
    if run:
        yield run


def _parts(text: str) -> tuple[str | int, ...]:
    """The text cut at its marks; marks of blank values are gone."""
    parts: list[str | int] = []
    end = 0
    for mark in _MARK.finditer(text):
        parts += [text[end : mark.start()]] if mark.start() > end else []
        parts += [int(mark[1])] if mark[1] else []
        end = mark.end()
    return (*parts, text[end:]) if end < len(text) else tuple(parts)


def _label(node: SyntaxTreeNode) -> tuple[str | int, ...]:
    """The words of a link."""
    if node.type in ("text", "code_inline"):
        return _parts(node.content)
    if node.type in ("softbreak", "hardbreak"):
        return (" ",)
    return tuple(part for child in node.children for part in _label(child))


def _is_blank(pieces: Sequence[Piece]) -> bool:
    return all(isinstance(piece, str) and not piece.strip() for piece in pieces)


def _href(node: SyntaxTreeNode) -> tuple[str | int, ...]:
    return _parts(str(node.attrs.get("href", "")))


# --- text --------------------------------------------------------------------------------------------------------------


def _stacked(nodes: Iterable[SyntaxTreeNode], indent: str) -> list[Piece]:
    """Blocks below each other, blank ones left out; a list inside a tight item follows without a blank line."""
    pieces: list[Piece] = []
    tight = False
    for node in nodes:
        block = _block(node, indent)
        if _is_blank(block):
            continue
        pieces += [_break(indent, tight), *block] if pieces else block
        tight = node.hidden
    return pieces


def _break(indent: str, tight: bool) -> str:
    return f"\n{indent}" if tight else f"\n{indent.rstrip()}\n{indent}"


def _block(node: SyntaxTreeNode, indent: str) -> list[Piece]:
    match node.type:
        case "bullet_list" | "ordered_list":
            return _list(node, indent)
        case "blockquote":
            return ["> ", *_stacked(node.children, f"{indent}> ")]
        case "fence":
            return _spoken(node.content.rstrip("\n"), indent)
        case "hr":
            return ["—" * 10]
        case _:
            return _inline(node.children, indent)


def _list(node: SyntaxTreeNode, indent: str) -> list[Piece]:
    tight = all(child.hidden for item in node.children for child in item.children if child.type == "paragraph")
    number = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else None
    pieces: list[Piece] = []
    for item in node.children:
        mark = "- " if number is None else f"{number}. "
        body = _stacked(item.children, indent + " " * len(mark))
        if _is_blank(body):
            continue
        pieces += [_break(indent, tight)] if pieces else []
        pieces += [mark, *body]
        number = None if number is None else number + 1
    return pieces


def _inline(nodes: Iterable[SyntaxTreeNode], indent: str) -> list[Piece]:
    pieces: list[Piece] = []
    for node in nodes:
        match node.type:
            case "text" | "code_inline":
                pieces += _spoken(node.content, indent)
            case "softbreak":
                pieces.append(" ")
            case "hardbreak":
                pieces.append(f"\n{indent}")
            case "link":
                label = _inline(node.children, indent)
                pieces += [*label, Trail(_label(node), _href(node))]
            case _:
                pieces += _inline(node.children, indent)
    return pieces


def _spoken(text: str, indent: str) -> list[Piece]:
    return [Slot(part, indent) if isinstance(part, int) else part.replace("\n", f"\n{indent}") for part in _parts(text)]


# --- HTML --------------------------------------------------------------------------------------------------------------


def _html_blocks(nodes: Iterable[SyntaxTreeNode]) -> list[Piece]:
    return [piece for node in nodes for piece in _html(node)]


def _html(node: SyntaxTreeNode) -> list[Piece]:
    match node.type:
        case "inline":
            return _html_blocks(node.children)
        case "text" | "code_inline":
            return _html_text(node.content)
        case "fence":
            return [f'<pre style="{_GAP};white-space:pre-wrap">', *_html_text(node.content), "</pre>\n"]
        case "softbreak":
            return ["\n"]
        case "hardbreak":
            return ["<br>\n"]
        case "hr":
            return ['<hr style="border:0;border-top:1px solid #ccc;margin:1em 0">\n']
        case "link":
            return ['<a href="', Href(_href(node)), '">', *_html_blocks(node.children), "</a>"]
        case "image":
            raise BadLink("an email carries no pictures from elsewhere; attach the file or link to it")
        case "heading":
            style = f"{_GAP};font-size:{_HEADINGS.get(node.tag, '1em')}"
            return _element(node.tag, style, node)
        case _:
            return _element(*_STYLES[node.type], node)


def _element(tag: str, style: str, node: SyntaxTreeNode) -> list[Piece]:
    inside = _html_blocks(node.children)
    if _is_blank([piece for piece in inside if not (isinstance(piece, str) and piece.startswith("<"))]):
        return []
    if node.hidden:
        return [*inside, "\n"]
    start = f' start="{node.attrs["start"]}"' if "start" in node.attrs else ""
    opening = f'<{tag}{start} style="{style}">' if style else f"<{tag}>"
    return [opening, *inside, f"</{tag}>" if node.type in ("strong", "em") else f"</{tag}>\n"]


def _html_text(text: str) -> list[Piece]:
    return [HtmlSlot(part) if isinstance(part, int) else escape(part) for part in _parts(text)]
