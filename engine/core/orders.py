"""What a rep writes back to a letter of ours, line by line: the number of an item and the word that settles it. Only what is
plainly so is an order; a word with something behind it that it does not take is none, because it may take back what was said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: Everything from this line on is our own letter, quoted.
MARKER = "Answer above this line"
#: The words that settle an item, by its kind.
WORDS: Mapping[str, tuple[str, ...]] = {
    "answer": ("confirmed", "declined", "named", "introduced", "continue", "stop"),
    "draft": ("approve", "reject"),
    "task": ("done",),
    "doubt": ("sent", "not-sent"),
    "introduction": ("met", "won", "lost"),
}
SAME = {"approved": "approve", "rejected": "reject"}
#: These take something behind them: a note, or somebody with their address.
TAKES_MORE = frozenset({"done", "named", "introduced"})
LINES_MAX, ORDERS_MAX, STRANGE_MAX = 200, 50, 5

_EVERY = frozenset(word for words in WORDS.values() for word in words) | SAME.keys()
_KIND = r"(?:(?:answer|reply|draft|task|doubt|introduction|item|number|no|nr)\.?\s+)?"
_KEY = r"[#(]?(?P<key>\d{1,3}|[0-9a-f]{4,24})[).:,]?"
_WORD = r"(?P<word>[a-z]+(?:-[a-z]+)?)"
_KEY_FIRST = re.compile(rf"{_KIND}{_KEY}[\s:-]+{_WORD}(?![\w-])[.:,!]*\s*(?P<rest>.*)", re.I)
_WORD_FIRST = re.compile(rf"{_WORD}\s+{_KIND}{_KEY}[.!]?(?P<rest>)", re.I)
_WORD_ALONE = re.compile(rf"(?P<key>){_WORD}[.!]?(?P<rest>)", re.I)


@dataclass(frozen=True)
class Order:
    """`key` is the number or the handle of an item, empty where there is only one to speak of; `rest` what stands behind the
    word."""

    key: str
    word: str
    rest: str
    line: str


def read_orders(text: str) -> tuple[tuple[Order, ...], tuple[str, ...]]:
    """The orders in the new words of a mail, and the lines that may have been meant for one and are none."""
    found: list[Order] = []
    strange: list[str] = []
    lines = list(_written(text))
    for line in lines:
        order = _order(line)
        if order and len(found) < ORDERS_MAX:
            found.append(order)
        elif order or _meant(line):
            strange.append(line)
    if not found and not strange:
        strange = lines
    return tuple(found), tuple(strange[:STRANGE_MAX])


def _written(text: str) -> list[str]:
    lines = [" ".join(line.split()) for line in text.splitlines()[:LINES_MAX]]
    end = next((number for number, line in enumerate(lines) if line.lstrip("*_ ").startswith(MARKER)), len(lines))
    return [line for line in lines[:end] if line and not line.startswith((">", "|"))]


def _order(line: str) -> Order | None:
    for form in (_KEY_FIRST, _WORD_FIRST, _WORD_ALONE):
        match = form.fullmatch(line)
        if match and match["word"].lower() in _EVERY:
            word = match["word"].lower()
            return Order(match["key"].lower(), SAME.get(word, word), match["rest"].strip(), line)
    return None


def _meant(line: str) -> bool:
    """A line that begins like an order; greetings and signatures do not."""
    first = line.split()[0].strip("#().:,").lower()
    return first in _EVERY or bool(re.fullmatch(rf"{_KIND}#?\d{{1,3}}\b.*", line, re.I) and len(line) < 80)


def objection(order: Order, kind: str) -> str:
    """Why this order does not settle an item of that kind, or nothing."""
    if order.word not in WORDS[kind]:
        return f"that is settled by {', '.join(WORDS[kind])}"
    if order.rest and order.word not in TAKES_MORE:
        more = "; to change a draft: whoelse drafts edit" if kind == "draft" else ""
        return f"{order.word} stands alone: what is behind it might take it back{more}"
    if order.word == "named" and not order.rest:
        return "say whom, like: named Barry Jones <barry@northwind.example>"
    return ""
