"""When somebody is back. A stated return beats the end of an absence; the last day away is followed by the first working day;
a date that is past, further than 90 days off, or that could be two days, is none at all: then the engine asks or waits its time."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from engine.core.classify.dates import Found, dates_in
from engine.core.classify.evidence import unwrapped
from engine.core.phrases import Hit, is_cjk, phrasebook, plain

AHEAD_MAX_DAYS = 90
BEFORE_CHARS = 42
AFTER_CHARS = 46
NEXT_DATE_REACH = 22
SEPARATOR = " | "
_BESIDE_CJK = re.compile(r"\s?(?:\([月火水木金土日一二三四五六]\))?\s?")
#: A dot after a real word ends a sentence; one after `t.o.m` or `18` does not.
_SENTENCE_WORD = re.compile(r"[^\W\d_]{4,}$|\)$")


def until(texts: tuple[str, ...], sent: datetime | None) -> date | None:
    """The first day back by the first of `texts` that names one (subject or new text); `sent` is the Date header, aware."""
    if sent is None:
        return None
    for text in texts:
        found = _return_date(_lines(text), _local_day(sent))
        if found is not None:
            return found
    return None


def _local_day(sent: datetime) -> date:
    return (sent if sent.tzinfo else sent.replace(tzinfo=UTC)).date()


def _lines(text: str) -> str:
    return SEPARATOR.join(line for line in (plain(one) for one in unwrapped(text).split("\n")) if line)


def _return_date(text: str, sent: date) -> date | None:
    found = _with_full_dates(dates_in(text, sent), text)
    back: list[date] = []
    ends: list[date] = []
    for index, one in enumerate(found):
        role = _role(text, found, index)
        if role == "back":
            back.append(one.day)
        elif role == "last":
            ends.append(_working_day_after(one.day))
        elif role == "until":
            ends.append(one.day if one.day.weekday() < 4 else _working_day_after(one.day))
    for options in (back, ends):
        usable = sorted(day for day in options if sent < day <= sent + timedelta(days=AHEAD_MAX_DAYS))
        if usable:
            return usable[0]
    return None


def _with_full_dates(found: list[Found], text: str) -> list[Found]:
    """A weekday that stands beside its date ("Monday, 24 August") is that date, not another one."""
    kept: list[Found] = []
    for index, one in enumerate(found):
        following = found[index + 1] if index + 1 < len(found) else None
        beside = following is not None and following.start - one.end <= 8 and _beside(text[one.end : following.start])
        if (
            one.weekly
            and not one.week_start
            and following is not None
            and beside
            and not _joins(text[one.end : following.start])
        ):
            found[index + 1] = replace(following, start=one.start)
            continue
        if (
            one.weekly
            and kept
            and one.start - kept[-1].end <= 3
            and text[kept[-1].end : one.start].strip() in ("", "(")
        ):
            continue
        kept.append(one)
    return kept


def _beside(between: str) -> bool:
    """ "Monday, 24 August" is one day, "today and tomorrow, back Thursday" are two."""
    return "|" not in between and not phrasebook().has("back", between)


def _joins(between: str) -> bool:
    """ "1 to 9 May", not "from 1 May and back on the 9th"."""
    book = phrasebook()
    return between.strip() in ("-", "–", "—") or (book.has("range_to", between) and not book.has("back", between))


def _joins_cjk(text: str, one: Found, between: str) -> bool:
    """ "6月1日（月）～12日": the wave is no letter of the plain form, and a weekday may stand beside the day."""
    return is_cjk(text[one.start : one.end]) and not one.weekly and _BESIDE_CJK.fullmatch(between) is not None


def _role(text: str, found: list[Found], index: int) -> str:
    """What a date means: `back`, `last` (day away), `until` (either), or nothing."""
    one = found[index]
    previous_end = found[index - 1].end if index else 0
    next_start = found[index + 1].start if index + 1 < len(found) else len(text)
    before = _clause(text[max(previous_end, one.start - BEFORE_CHARS) : one.start])
    after = _head(text[one.end : min(next_start, one.end + AFTER_CHARS)])
    if index + 1 < len(found) and next_start < one.end + AFTER_CHARS and "|" not in after:
        after = after[: max(0, len(after) - NEXT_DATE_REACH)]  # "… and back on" belongs to the date that follows
    book = phrasebook()
    if book.starts("inclusive", after.lstrip(" .)(")):
        return "last"
    nearest = _nearest(before)
    between = text[previous_end : one.start]
    joined = index > 0 and one.start - previous_end <= 14 and (_joins(between) or _joins_cjk(text, one, between))
    if nearest == "through":
        return "last"
    if is_cjk(text[one.start : one.end]) and book.starts("back_after", after):
        return "back"  # "8月3日から休暇、8月24日に復帰": the verb stands right behind its day
    if one.first is not None or joined:
        span = text[one.start : one.end] if one.first else between
        return "until" if book.has("range_until", span) else "last"
    if nearest == "back" or (nearest == "" and _back_follows(after)):
        return "back"
    if nearest == "until":
        return "until" if not _range_begins(text[:previous_end], before) else "last"
    if nearest == "from" and _back_follows(after):
        return "back"
    return ""


def _range_begins(earlier: str, before: str) -> bool:
    return bool(earlier) and len(before) < 12


def _nearest(before: str) -> str:
    """The kind of the phrase that stands closest before a date."""
    best: tuple[int, int, str] = (-1, -1, "")
    for kind, role in (("back", "back"), ("until", "until"), ("through", "through"), ("range_from", "from")):
        for hit in phrasebook().find(kind, before):
            best = max(best, (hit.end, hit.end - hit.start, role))
    return best[2]


def _back_follows(after: str) -> bool:
    hits: list[Hit] = phrasebook().find("back_after", after)
    return bool(hits)


def _clause(before: str) -> str:
    for mark in ("|", "! ", "? ", "; "):
        before = before.rpartition(mark)[2]
    head, dot, tail = before.rpartition(". ")
    return tail if dot and _SENTENCE_WORD.search(head) else before


def _head(after: str) -> str:
    for mark in ("|", "! ", "? ", "; ", "。"):
        after = after.partition(mark)[0]
    head, dot, tail = after.partition(". ")
    return head if dot and _SENTENCE_WORD.search(head) else after


def _working_day_after(day: date) -> date:
    following = day + timedelta(days=1)
    while following.weekday() > 4:
        following += timedelta(days=1)
    return following
