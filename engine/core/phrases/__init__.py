"""The words by which mail is understood, by language, as data that ops can extend: one TOML file a language beside this module.
This is the single place in the core that reads files, once, at first use. A phrase is plain words; `(a|b)` is a choice, `(a)?`
may be absent, `(a|b)*` may also be repeated, `…` stands for up to forty characters of the same sentence, `word*` for any ending
(where a phrase begins with it, of three letters or more), `word(ed|ing)?` for these, `*` alone for any one word.

Matching folds case, accents, apostrophes and commas away, and looks phrases up by their first word: its cost follows the length
of the text, not the number of phrases."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files

GAP = "…"
GAP_MAX = 40
REPEATS_MAX = 6
STEM = 3


def _fold_table() -> dict[int, str | None]:
    table: dict[int, str | None] = {}
    for code in [*range(0xC0, 0x250), *range(0x1E00, 0x1F00)]:
        base = unicodedata.normalize("NFD", chr(code))[0].lower()
        table[code] = base if base.isascii() else chr(code).lower()[:1]
    table |= {ord(a): b for a, b in zip("øØłŁđĐıœŒæÆßþÞ", "oollddiooaastt", strict=True)}
    table |= {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    table |= {ord(c): "'" for c in "’‘´`ʼ′"} | {ord(c): '"' for c in "“”„«»‟″"}
    table |= {0xA0: " ", 0x202F: " ", 0x3000: " ", 0x2009: " ", 0xAD: None, 0x200B: None, 0x200D: None, 0xFEFF: None}
    return table


_FOLD = _fold_table()
_DROPPED = str.maketrans({"'": None, ",": " ", "、": None, "，": None, "~": None, "*": None, "_": " "})


def folded(text: str) -> str:
    """Lower case without accents, straight quotes, one space between words: the form in which words are compared."""
    return " ".join(text.translate(_FOLD).lower().split())


@lru_cache(maxsize=32)
def plain(text: str) -> str:
    """`folded`, without apostrophes and commas: the form in which phrases are looked for."""
    return " ".join(folded(text).translate(_DROPPED).split())


def is_cjk(text: str) -> bool:
    """Whether kana or Han characters occur."""
    return not text.isascii() and _CJK.search(text) is not None


_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_WORD = re.compile(r"\w+")


class Words:
    """The words of a text with which phrases can begin, by their kind, and where each stands: one text is looked through for many
    kinds in turn."""

    def __init__(self, text: str, index: Mapping[str, list[tuple[str, Alike]]]) -> None:
        self.text = text
        self._starts: dict[str, list[int]] = {}
        self._beginning: dict[str, list[tuple[Alike, str]]] = {}
        for word in set(_WORD.findall(text)):
            for key in _keys(word):
                for kind, alike in index.get(key, ()):
                    self._beginning.setdefault(kind, []).append((alike, word))

    def standing(self, kind: str) -> Iterator[tuple[Alike, int]]:
        """Phrases of one kind that begin alike, with each place where one of them stands."""
        for alike, word in self._beginning.get(kind, ()):
            match = alike.pattern.match
            for start in self.starts(word):
                if match(self.text, start):
                    yield alike, start

    def starts(self, word: str) -> list[int]:
        """Where a word stands, and not as a part of another one."""
        found = self._starts.get(word)
        if found is None:
            found, text = [], self.text
            at = text.find(word)
            while at >= 0:
                end = at + len(word)
                if not (_goes_on(text[at - 1 : at]) or _goes_on(text[end : end + 1])):
                    found.append(at)
                at = text.find(word, end)
            self._starts[word] = found
        return found


def _keys(word: str) -> tuple[str, str]:
    """Under which phrases are kept that begin with this word: itself, and its stem."""
    return word, word[:STEM] + "*"


def _goes_on(char: str) -> bool:
    return char.isalnum() or char == "_"


@dataclass(frozen=True)
class Hit:
    """A phrase found in a text in `plain` form, from `start` to `end`."""

    start: int
    end: int
    phrase: str
    language: str


class Alike(list[tuple[str, str]]):
    """Phrases, each with its language, that begin with the same word or stem. Complete when it is first looked for."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Any of them: most places where one could begin are none."""
        only = len(self) == 1
        return _compiled(self[0][0]) if only else re.compile("|".join(_PIECE.sub(_source, one) for one, _ in self))

    def hits(self, text: str, start: int) -> Iterator[Hit]:
        """Those that stand at `start`."""
        for phrase, language in self:
            match = _compiled(phrase).match(text, start)
            if match:
                yield Hit(start, match.end(), phrase, language)


@dataclass
class Phrases:
    """The phrases of one kind in all languages, by the words with which they can begin; a stem of a word has a `*` behind it."""

    alike: dict[str, Alike] = field(default_factory=dict)
    stem_words: set[str] = field(default_factory=set)
    cjk: list[tuple[str, str]] = field(default_factory=list)

    def add(self, phrase: str, language: str) -> None:
        text = normal(phrase)
        if is_cjk(text):
            self.cjk += [(one, language) for one in expanded(text)]
            return
        text = unglued(text)
        for first in first_words(text):
            if first.endswith("*"):
                if len(first) <= STEM:
                    raise ValueError(f"phrase {phrase!r} begins with a stem of less than {STEM} letters")
                self.stem_words.add(first[:-1])
                first = first[:STEM] + "*"
            self.alike.setdefault(first, Alike()).append((text, language))

    def first_at_start(self, text: str) -> Hit | None:
        """The longest hit that begins where the text begins."""
        word = _WORD.match(text)
        keys = _keys(word[0]) if word else ()
        hits = [hit for key in keys if key in self.alike for hit in self.alike[key].hits(text, 0)]
        hits += [hit for hit in self.cjk_hits(text) if hit.start == 0]
        return max(hits, key=lambda hit: hit.end) if hits else None

    def cjk_hits(self, text: str) -> list[Hit]:
        """Those of languages that put no space between words."""
        if not self.cjk or not is_cjk(text):
            return []
        matches = ((_compiled(phrase).search(text), phrase, language) for phrase, language in self.cjk)
        return [Hit(match.start(), match.end(), phrase, language) for match, phrase, language in matches if match]


def normal(phrase: str) -> str:
    """A phrase in `plain` form; its own signs (choice, gap, any ending) stay."""
    kept = folded(phrase.replace("*", "\x02")).translate(_DROPPED).replace("\x02", "*")
    return " ".join(kept.split())


def unglued(phrase: str) -> str:
    """A phrase in which a choice that is a part of a word is a choice of whole words: `word(ed|ing)?` is `(worded|wording|word)`.
    Between a word and a choice of words that bring their own space ("yes( indeed)?", "(big )?yes") nothing is glued."""
    before = ""
    while phrase != before:
        before, phrase = phrase, _HEAD_OF_A_WORD.sub(_whole_words, _TAIL_OF_A_WORD.sub(_whole_words, phrase))
    return phrase


def _whole_words(glued: re.Match[str]) -> str:
    options = [*glued["options"].split("|"), *([""] if glued["absent"] else [])]
    head, tail = (glued.groupdict().get(name) or "" for name in ("head", "tail"))
    apart = all(one.startswith(" ") if head else one.endswith(" ") for one in options if one)
    return glued[0] if apart else f"({'|'.join(head + one + tail for one in options)})"


def first_words(phrase: str) -> set[str]:
    """The words with which a phrase can begin: `(a|b)? c` can begin with a, b and c. A stem keeps its `*`."""
    phrase = phrase.lstrip()
    if not phrase.startswith("("):
        word = _FIRST.match(phrase)
        return {word[0]} if word else set()
    close = _closing(phrase)
    found = set().union(*(first_words(option) for option in _options(phrase[1:close])))
    rest = phrase[close + 1 :]
    return found | first_words(rest[1:].lstrip(" ?")) if rest[:1] in ("?", "*") else found


def _closing(phrase: str) -> int:
    depth = 0
    for index, char in enumerate(phrase):
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return index
    raise ValueError(f"phrase {phrase!r} lacks a closing parenthesis")


def _options(inner: str) -> list[str]:
    options, depth = [""], 0
    for char in inner:
        depth += (char == "(") - (char == ")")
        if char == "|" and depth == 0:
            options.append("")
        else:
            options[-1] += char
    return options


def expanded(phrase: str) -> list[str]:
    """A phrase with choices as all the phrases that it stands for: `(a|b) c` is `a c` and `b c`."""
    close = phrase.find(")")
    start = phrase.rfind("(", 0, close) if close >= 0 else -1
    if start < 0:
        return [phrase]
    options = phrase[start + 1 : close].split("|")
    rest = phrase[close + 1 :]
    if rest.startswith("?"):
        options, rest = [*options, ""], rest[1:]
    return [one for option in options for one in expanded(phrase[:start] + option + rest)]


@lru_cache(maxsize=20_000)
def _compiled(phrase: str) -> re.Pattern[str]:
    """A phrase as a bounded pattern, made when it is first needed. Between words a space is optional but a boundary is not."""
    if is_cjk(phrase):
        return re.compile("[^.!?。！？|]{0,20}?".join(re.escape(piece.strip()) for piece in phrase.split(GAP)))
    return re.compile(_PIECE.sub(_source, phrase))


_FIRST = re.compile(r"\w+\*?")
_TAIL_OF_A_WORD = re.compile(r"(?P<head>\w+)\((?P<options>[^()]*)\)(?P<absent>\?)?(?![*+])")
_HEAD_OF_A_WORD = re.compile(r"\((?P<options>[^()]*)\)(?P<absent>\?)?(?P<tail>\w+\*?)")
_PIECE = re.compile(
    r"(?P<word>\w+)(?P<star>\*)?|(?P<gap>…)|(?P<any>(?<![\w)])\*)|"
    r"(?P<open>\()|(?P<close>\)[?*+]?)|(?P<bar>\|)|(?P<space> \??)|(?P<other>.)"
)


def _source(piece: re.Match[str]) -> str:
    if piece["word"]:
        return rf"\b{piece['word']}" + (r"\w*" if piece["star"] else r"\b")
    if piece["any"]:
        return r"[\w-]+"
    if piece["gap"]:
        return rf"[^.!?|]{{0,{GAP_MAX}}}?"
    if piece["open"]:
        return "(?:"
    if piece["space"]:
        return " *"
    if piece["close"]:
        return {")*": f"){{0,{REPEATS_MAX}}}", ")+": f"){{1,{REPEATS_MAX}}}"}.get(piece["close"], piece["close"])
    return piece["bar"] or re.escape(piece[0])


@dataclass
class Phrasebook:
    """All kinds of phrases, and the names of months, weekdays and small numbers, of all languages."""

    kinds: dict[str, Phrases] = field(default_factory=dict)
    stop_words: dict[str, list[str]] = field(default_factory=dict)
    months: dict[str, int] = field(default_factory=dict)
    weekdays: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    languages: set[str] = field(default_factory=set)
    surnames: str = ""

    def add(self, language: str, data: Mapping[str, object]) -> None:
        """The content of one language's file. Adds to what is there, so that ops can bring more of their own."""
        self.languages.add(language)
        for name in ("months", "weekdays", "numbers"):
            table: dict[str, int] = getattr(self, name)
            for number, names in enumerate(_strings(data.get(name)), 1):
                table.update(dict.fromkeys((folded(one) for one in names.split("|") if one), number))
        for word in _strings(data.get("stop")):
            self.stop_words.setdefault(folded(word), []).append(language)
        self.surnames += str(data.get("surnames", ""))
        phrases = data.get("phrases")
        for kind, values in (phrases if isinstance(phrases, Mapping) else {}).items():
            for phrase in _strings(values):
                self.kinds.setdefault(str(kind), Phrases()).add(phrase, language)

    def find(self, kind: str, text: str) -> list[Hit]:
        """All hits in a text in `plain` form, in order."""
        phrases = self.kinds.get(kind)
        if phrases is None:
            return []
        hits = phrases.cjk_hits(text)
        for alike, start in self._words(text).standing(kind):
            hits += alike.hits(text, start)
        return sorted(hits, key=lambda hit: (hit.start, -hit.end)) if hits else hits

    def has(self, kind: str, text: str) -> bool:
        """Whether there is any hit: `find` that stops at the first."""
        phrases = self.kinds.get(kind)
        return phrases is not None and (
            any(True for _ in self._words(text).standing(kind)) or bool(phrases.cjk_hits(text))
        )

    @cached_property
    def _words(self) -> Callable[[str], Words]:
        """Made when it is first asked for; the phrases are complete then."""
        index: dict[str, list[tuple[str, Alike]]] = {}
        for kind, phrases in self.kinds.items():
            for key, alike in phrases.alike.items():
                index.setdefault(key, []).append((kind, alike))
        return lru_cache(maxsize=64)(lambda text: Words(text, index))

    def starts(self, kind: str, text: str) -> Hit | None:
        phrases = self.kinds.get(kind)
        return phrases.first_at_start(plain(text)) if phrases else None

    def begins(self, kind: str, word: str, languages: frozenset[str]) -> bool:
        """Whether a phrase of this kind, in one of the languages (none: in any), can begin with this word."""
        phrases = self.kinds.get(kind)
        if phrases is None:
            return False
        fitting = any(not languages or language in languages for _, language in phrases.alike.get(word, ()))
        return fitting or any(word.startswith(stem) for stem in phrases.stem_words)

    def equals(self, kind: str, text: str) -> bool:
        said, phrases = plain(text), self.kinds.get(kind)
        hit = phrases.first_at_start(said) if phrases else None
        return hit is not None and hit.end == len(said)

    def guess(self, text: str) -> frozenset[str]:
        """The languages that a text in `plain` form may be in, by its commonest words; empty when it gives no hint."""
        if _KANA.search(text):
            return frozenset({"ja"})
        if _CJK.search(text):
            return frozenset({"zh"})
        points = self.scores(text)
        best = max(points.values(), default=0)
        return frozenset(language for language, count in points.items() if count * 4 >= best * 3)

    def scores(self, text: str) -> dict[str, int]:
        """How many of the commonest words of each language a text in `plain` form has."""
        counts: dict[str, int] = {}
        for word in _WORD.findall(text[:3000]):
            for language in self.stop_words.get(word, ()):
                counts[language] = counts.get(language, 0) + 1
        return counts


def _strings(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


@lru_cache(maxsize=1)
def phrasebook() -> Phrasebook:
    """The phrases that ship, read once from the files beside this module."""
    book = Phrasebook()
    for entry in sorted(files(__name__).iterdir(), key=lambda one: one.name):
        if entry.name.endswith(".toml"):
            book.add(entry.name.removesuffix(".toml"), tomllib.loads(entry.read_text(encoding="utf-8")))
    return book
