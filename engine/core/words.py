"""How days, times and lists read in the languages that templates are written in, and our own words to the rep. A language
without a table of its own reads as English."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta


@dataclass(frozen=True)
class Language:
    """`day` is the order of a date's parts; `listing` joins the last two of a list."""

    code: str
    weekdays: tuple[str, ...]
    months: tuple[str, ...]
    day: str
    listing: str


def word_list(words: str) -> tuple[str, ...]:
    """The words of a sentence, one after the other."""
    return tuple(words.split())


ENGLISH = Language(
    "en",
    word_list("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    word_list("January February March April May June July August September October November December"),
    "{weekday} {day} {month}",
    "{} and {}",
)
_LANGUAGES = {
    "en": ENGLISH,
    "de": Language(
        "de",
        word_list("Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag"),
        word_list("Januar Februar März April Mai Juni Juli August September Oktober November Dezember"),
        "{weekday}, {day}. {month}",
        "{} und {}",
    ),
    "fr": Language(
        "fr",
        word_list("lundi mardi mercredi jeudi vendredi samedi dimanche"),
        word_list("janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
        "{weekday} {day} {month}",
        "{} et {}",
    ),
    "es": Language(
        "es",
        word_list("lunes martes miércoles jueves viernes sábado domingo"),
        word_list("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"),
        "{weekday} {day} de {month}",
        "{} y {}",
    ),
}


def language(tag: str) -> Language:
    """The words for a language tag: `de`, `de-AT`, `de_CH`."""
    return _LANGUAGES.get(tag.lower().replace("_", "-").split("-")[0], ENGLISH)


def day_text(day: date, words: Language) -> str:
    """`Tuesday 3 March`; the day of a datetime is the one in its own zone."""
    if not isinstance(day, date):
        raise TypeError(f"|day needs a date, not {type(day).__name__}")
    return words.day.format(weekday=words.weekdays[day.weekday()], day=day.day, month=words.months[day.month - 1])


def time_text(moment: datetime | time) -> str:
    """`14:30`, in the moment's own zone."""
    if not isinstance(moment, datetime | time):
        raise TypeError(f"|time needs a date with a time, not {type(moment).__name__}")
    return f"{moment.hour:02}:{moment.minute:02}"


def length_text(length: timedelta) -> str:
    """`12 minutes`, `3 hours`, `2 days`: as much of it as a person would say."""
    minutes = max(int(length.total_seconds() // 60), 0)
    for unit, size, most in (("minute", 1, 120), ("hour", 60, 48 * 60), ("day", 24 * 60, 0)):
        if minutes < most or not most:
            number = minutes // size
            return f"{number} {unit}" + ("" if number == 1 else "s")
    raise AssertionError("days have no end")


def list_text(items: Sequence[str], words: Language) -> str:
    """`A, B and C`."""
    if len(items) < 2:
        return "".join(items)
    return words.listing.format(", ".join(items[:-1]), items[-1])


def spoken(word: str) -> str:
    """`waiting_for_rep` as a person says it."""
    return word.replace("_", " ")


def stands(state: str, reason: str) -> str:
    """`paused: waiting for rep`; a reason that says the state by itself is enough: `paused by rep`."""
    words = spoken(reason)
    return words if words.startswith(state) else f"{state}: {words}"


#: The shortest handle that is typed.
HANDLE_MIN = 4


def handles(ids: Iterable[str]) -> dict[str, str]:
    """The shortest ends of ids that tell them apart: what a rep types."""
    every = list(ids)
    return {id: _handle(id, every) for id in every}


def _handle(id: str, every: Sequence[str]) -> str:
    for length in range(HANDLE_MIN, len(id)):
        if sum(other.endswith(id[-length:]) for other in every) == 1:
            return id[-length:]
    return id
