"""Names as people write them in running text: runs of capitalised words, taken apart into title, name and company. An address's
local part is the best witness of a name: it tells the name from the company beside it and shows its form without inflection."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from engine.core.phrases import folded, phrasebook, plain

NAME_WORDS_MAX = 5
COMMON_PREFIX_MIN = 3
LONG_PREFIX = 5

_UP = "A-ZÀ-ÖØ-ÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮİĴĶĹĻĽĿŁŃŅŇŊŌŎŐŒŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽȘȚ"
_BEFORE_NAMES = "Dr|Mr|Mrs|Ms|Prof|Ing|Dipl|Mag|Dott|Sig|Sr|Sra|Srta|Hr|Fr|St|Mme|Mlle|Dhr|Mevr|Mw|Eng|Inż|Inz|Mgr|Bc"
_SHORT_NAMES = "Jr|Sen|Th|Ph|Chr"
_ABBREVIATED = rf"(?:[{_UP}]|{_BEFORE_NAMES}|{_SHORT_NAMES})"
_TOKEN = rf"(?:{_ABBREVIATED}\.(?=\s?[{_UP}])|[{_UP}][\w'’]*(?:-[\w'’]+)*)"
_PARTICLE = (
    r"(?:van der|van den|van de|van|von der|von|zu|de la|de los|de|del|della|di|da|dos|das|do|du|der|den|ter|ten|bin|al|el|le|la|"
    r"af|av|&|y|e|og|och|und|and|ja)"
)
_RUN = re.compile(rf"{_TOKEN}(?:[ \t]+(?:{_PARTICLE}[ \t]+)?{_TOKEN}){{0,7}}")
_WORD = re.compile(r"\S+")
_SPLITS = frozenset(
    [
        "van",
        "von",
        "de",
        "del",
        "della",
        "di",
        "da",
        "dos",
        "das",
        "do",
        "du",
        "der",
        "la",
        "&",
        "y",
        "e",
        "og",
        "och",
        "und",
        "and",
        "ja",
    ]
)

TITLES = frozenset(
    [
        "dr",
        "mr",
        "mrs",
        "ms",
        "miss",
        "prof",
        "professor",
        "herr",
        "herrn",
        "frau",
        "hr",
        "fr",
        "ing",
        "dipl",
        "mag",
        "dott",
        "dottssa",
        "dottoressa",
        "sig",
        "sigra",
        "signor",
        "signora",
        "sr",
        "sra",
        "srta",
        "don",
        "dona",
        "doktor",
        "mme",
        "mlle",
        "monsieur",
        "madame",
        "pan",
        "pani",
        "panem",
        "pania",
        "panu",
        "pana",
        "panie",
        "dhr",
        "mevr",
        "mw",
        "meneer",
        "mevrouw",
        "fru",
        "eng",
        "engenheiro",
        "engenheira",
        "sir",
        "lady",
        "ir",
        "drs",
        "inz",
        "mgr",
        "bc",
        "pane",
        "dª",
        "dna",
        "dña",
        "d",
        "mister",
        "sigg",
        "msc",
        "phd",
        "mba",
        "ms",
    ]
)
#: German writes these with a capital anywhere.
POLITE = frozenset(["sie", "ihr", "ihre", "ihnen", "ihren", "ihrem", "ihrer"])
LEGAL = re.compile(
    r"\b(?:GmbH|AG|KG|OHG|SE|Ltd|Limited|Inc|LLC|LLP|BV|B\.V|NV|SA|SAS|SARL|SL|S\.L|Srl|S\.r\.l|SpA|S\.p\.A|Oy|Oyj|AB|A/S|ApS|AS|"
    r"s\.r\.o|a\.s|Sp\. z o\.o|Co|Corp|plc|Lda|Ltda|Group|Holding)\b"
)


@dataclass(frozen=True)
class Run:
    """A run of capitalised words without its titles, at its place in the text as it was written."""

    start: int
    end: int
    words: tuple[str, ...]
    titled: bool

    @property
    def text(self) -> str:
        return re.sub(r"['’]s$", "", " ".join(self.words).strip(" .,'’"))


def runs(text: str, start: int, end: int) -> list[Run]:
    """Runs between two positions. "Femke Jansen van Jansen Zuivel" is two: after a full name a particle leads to a company."""
    found: list[Run] = []
    for match in _RUN.finditer(text, start, end):
        words = [(one[0], match.start() + one.start(), match.start() + one.end()) for one in _WORD.finditer(match[0])]
        found += _split(words, text)
    return found


def _split(words: list[tuple[str, int, int]], text: str) -> list[Run]:
    pieces: list[Run] = []
    current: list[tuple[str, int, int]] = []
    titled = False
    for word, at, end in words:
        bare = plain(word.strip("."))
        monsieur = word == "M." and "fr" in _languages(text)
        if monsieur or bare in TITLES or (word.endswith(".") and len(bare) <= 4 and len(bare) > 1):
            _close(current, titled, pieces)
            current, titled = [], True
        elif not current and _is_noise(word, at, text, last=word == words[-1][0]):
            continue
        elif word in _SPLITS and sum(one not in _SPLITS for one, _, _ in current) >= 2:
            _close(current, titled, pieces)
            current, titled = [], False
        elif current or word not in _SPLITS:
            current.append((word, at, end))
    _close(current, titled, pieces)
    return pieces


def _close(current: list[tuple[str, int, int]], titled: bool, pieces: list[Run]) -> None:
    while current and (current[-1][0] in _SPLITS or plain(current[-1][0]) in TITLES):
        current = current[:-1]
    if current and any(len(word) > 1 for word, _, _ in current):
        pieces.append(Run(current[0][1], current[-1][2], tuple(word for word, _, _ in current), titled))


def _is_noise(word: str, at: int, text: str, last: bool) -> bool:
    """Words that are capitals only because a sentence begins with them, or because their language writes them so."""
    bare = plain(word)
    book = phrasebook()
    begins = (
        at == 0
        or text[:at].rstrip(" \t*-•·\"'“(").endswith((".", "!", "?", ":", "\n", ";", ","))
        or not text[:at].strip()
    )
    spoken = _languages(text)
    little = not book.equals("also_a_name", bare) and any(
        not spoken or one in spoken for one in book.stop_words.get(bare, ())
    )
    if little and (begins or last or len(bare) < 3 or bare in POLITE):  # "ken" is Dutch, and Ken Lowry no Dutchman
        return True
    if (
        (bare in book.months and last) or bare in book.weekdays or book.equals("not_a_name", bare)
    ):  # Jan and Marco are names
        return True
    # A name with "van" in it makes an English line look Dutch.
    return begins and book.begins("lead", bare, spoken and spoken | {"en"})


@lru_cache(maxsize=4)
def _languages(text: str) -> frozenset[str]:
    return phrasebook().guess(plain(text))


# ---- what an address says of a name


def _pieces(address: str) -> list[str]:
    return [piece for piece in re.split(r"[._+\d]+", folded(address.partition("@")[0])) if piece]


def score(name: str, address: str) -> int:
    """How much of the local part a name accounts for: `r.holm` is two of Rasmus Holm and one of Holm Plast."""
    parts = [part for part in re.split(r"[^a-z]+", folded(name).replace("'", "")) if part]
    pieces = [inner for piece in _pieces(address) for inner in piece.split("-") if inner]
    joined = "".join(pieces)
    initials = "".join(part[0] for part in parts)
    if len(parts) > 1 and joined in _short_forms(parts, initials):
        return 3
    points = sum(_counts(piece, parts) for piece in pieces)
    if not points and any(len(part) > 3 and part in joined for part in parts):
        return 1
    spelled_out = any(len(piece) > 1 and _counts(piece, parts) for piece in pieces)
    return points if spelled_out or points > 1 else min(points, 1)


def _counts(piece: str, parts: list[str]) -> bool:
    """Whether a piece of a local part stands for one of the names: an initial for the first only."""
    if len(piece) == 1:
        return parts[:1] != [] and parts[0][0] == piece
    short = len(piece) >= COMMON_PREFIX_MIN and parts[:1] != [] and parts[0].startswith(piece)  # Max is Maximilian
    return short or any(_alike(part, piece) for part in parts)


def is_company(name: str, address: str) -> bool:
    """Whether a run of capitals is the company that the address's domain is named after: "Stone Bros Packaging", @stonebros."""
    joined = re.sub(r"[^a-z0-9]", "", folded(name))
    label = re.sub(r"[^a-z0-9]", "", address.rpartition("@")[2].partition(".")[0])
    return len(label) > 3 and bool(joined) and (joined.startswith(label) or label.startswith(joined))


def _short_forms(parts: list[str], initials: str) -> frozenset[str]:
    first, last = parts[0], parts[-1]
    return frozenset({initials, initials[:3], first + last, first[0] + last, last + first, first + last[0]})


def _alike(part: str, piece: str) -> bool:
    common = _common(part, piece)
    near = common >= min(len(part), len(piece)) - 2 or common >= LONG_PREFIX
    return common >= COMMON_PREFIX_MIN and near and abs(len(part) - len(piece)) <= 5


def _common(one: str, other: str) -> int:
    return next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def base_form(name: str, address: str) -> str:
    """A name in the form that the address shows: "Marka Zielińskiego" with `marek.zielinski@` is Marek Zieliński."""
    pieces = [piece for piece in _pieces(address) if len(piece) > 2]
    words = name.split()
    inflected = any(word[-1] in "ąę" for word in words)  # "Magdaleną": an ending that folding hides
    if "".join(folded(word) for word in words) == "".join(_pieces(address)) and not inflected:
        return name
    matched = [index for index, word in enumerate(words) if any(_alike(folded(word), piece) for piece in pieces)]
    if len(pieces) >= 2 and len(matched) >= 2 and len(words) > len(pieces):
        words = words[matched[0] : matched[0] + max(len(pieces), matched[1] - matched[0] + 1)]
    based = [_base_word(word, pieces) for word in words]
    genitive = len(words) == 2 and words[1].endswith("ego") and based[1] != words[1] and based[0] == words[0]
    if genitive and words[0].endswith("a"):
        based[0] = words[0][:-1]  # Tomasza Nowickiego, t.nowicki@
    return " ".join(based)


def _base_word(word: str, pieces: list[str]) -> str:
    low = folded(word)
    if low in pieces and word[-1] in "ąę":
        return word[:-1] + low[-1]
    if low.endswith(("ovou", "ove")) and any(piece.endswith("ova") and _alike(low, piece) for piece in pieces):
        return word[: low.rindex("ov")] + "ová"  # Lenku Horákovou
    if len(low) != len(word) or low in pieces or any(low in piece for piece in pieces):
        return word
    for piece in pieces:
        if len(low) > 2 and low[:-1] == piece[:-1] and len(low) == len(piece):
            return word[:-1] + piece[-1]  # do Ewy Nowak, ewa.nowak@
        if "-" not in piece and _alike(low, piece):
            common = _common(low, piece)
            return word[:common] + piece[common:]
    return word


def from_address(address: str) -> str:
    """`marcus.oyelaran@x` is Marcus Oyelaran; initials and short strings stay unknown."""
    parts = [re.sub(r"\d+", "", part) for part in re.split(r"[._+]", address.partition("@")[0])]
    if len(parts) < 2 and len(parts[0]) < 3:
        return ""
    return " ".join("-".join(piece.capitalize() for piece in part.split("-")) for part in parts if part)
