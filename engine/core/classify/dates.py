"""Dates as people write them in an absence note, relative to the day on which it was sent. A date is only given when it can be
nothing else: 3/4 without a second date that proves the order is no date, and a day without a year is the nearest such day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from engine.core.phrases import phrasebook

DATES_MAX = 40
TEXT_MAX = 4000


@dataclass(frozen=True)
class Found:
    """A date in a text in `plain` form. `weekly` marks a weekday or a week number alone, which any fuller date outranks;
    `first` is the beginning of a range that is written in one ("8 - 12 June")."""

    start: int
    end: int
    day: date
    first: date | None = None
    weekly: bool = False
    week_start: bool = False


_ORD = r"(?:\s?(?:st|nd|rd|th|er|º|°|ª|\.|:?a|:?e|de|ste|-(?:ro|go|e|i))\b\.?|\.)?"
_DAY = rf"(?P<day>[0-3]?\d){_ORD}"
_RANGE_DAY = (
    rf"(?:(?P<first>[0-3]?\d){_ORD}\s?"
    r"(?:-|–|—|to|bis|au|al|a|ao|t/m|tot|till|til|do|az|and|und|e|et|y|en|through|thru)\s?)?"
)
_YEAR = r"(?:\s?(?:de|del|do|of)?\s?(?P<year>20\d\d))?"
_NUMERIC = re.compile(
    r"(?<![\d./:-])(?:(?P<first>[0-3]?\d)\.\s?(?:-|–|—|bis|do|til|till)\s?)?(?P<a>\d{1,2})\s?(?P<sep>[./-])\s?(?P<b>\d{1,2})(?:(?P=sep)\s?(?P<year>20\d\d|\d\d)(?![\d:])|\.?)(?![\d/:%]|\s?(?:uhr|am\b|pm\b|h\b|€|%|eur|usd))"
)
_ISO = re.compile(r"(?<!\d)(?P<year>20\d\d)\s?[-/.]\s?(?P<month>\d{1,2})\s?[-/.]\s?(?P<day>\d{1,2})(?!\d)")
_CJK = re.compile(r"(?:(?P<year>20\d\d)\s?年\s?)?(?P<month>\d{1,2})\s?月\s?(?P<day>\d{1,2})\s?[日号號]")
_CJK_DAY = re.compile(r"(?<![\d月])(?P<day>\d{1,2})\s?[日号號](?!\d)")
_CJK_WEEKDAY = re.compile(
    r"(?P<next>下个?|来週の?|翌週の?)?(?:(?P<ja>[月火水木金土日])曜日?|(?:周|週|星期|礼拜)(?P<zh>[一二三四五六日天]))"
)
_WEEK = r"(?:\s?(?:(?P<first>\d{1,2})\s?(?:-|–|to|bis|och|og|and|und|t/m|tot)\s?)?(?P<week>\d{1,2}))(?!\d|[./:]\d)"
_DAY_ALONE = re.compile(
    r"(?:\b(?:the|le|el|il|den|am|dia|dnia|d)\s)(?P<day>[0-3]?\d)(?:st|nd|rd|th|\.|:?e|er)?(?!\s?[\d/:%]|\.\d|\s(?:days|tagen|jours|dias|uhr|am|pm))"
)

_WEEKDAY_DAY = re.compile(
    r"(?P<weekday>[^\W\d_]{2,14}(?:-feira)?)\.?,?\s(?:the |den |le |el |de |il |d\.\s?|dia )?"
    r"(?P<day>[0-3]?\d)(?:st|nd|rd|th|\.|:?e|er)?"
    r"(?!\s?[\d/:%]|\.\d|\s(?:days|tagen|jours|dias|uhr|am|pm))"
)


def dates_in(text: str, sent: date) -> list[Found]:
    """All dates in a text in `plain` form, in order, none overlapping; fuller forms win."""
    text = text[:TEXT_MAX]
    found: list[Found] = []
    for finder in (_iso, _cjk, _named_months, _numeric, _weeks, _alone, _cjk_weekdays, _rest_of_week, _weekdays):
        for one in finder(text, sent):
            if all(one.end <= other.start or one.start >= other.end for other in found):
                found.append(one)
    return sorted(found, key=lambda one: one.start)[:DATES_MAX]


def nearest(month: int, day: int, sent: date) -> date | None:
    """The day without a year: the one closest to the day on which it was written."""
    options = [one for year in (sent.year - 1, sent.year, sent.year + 1) if (one := _date(year, month, day))]
    return min(options, key=lambda one: abs((one - sent).days), default=None)


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _given(year: str | None, month: int, day: int, sent: date) -> date | None:
    if not year:
        return nearest(month, day, sent)
    return _date(int(year) + (2000 if len(year) == 2 else 0), month, day)


def _iso(text: str, sent: date) -> list[Found]:
    hits = ((m, _date(int(m["year"]), int(m["month"]), int(m["day"]))) for m in _ISO.finditer(text))
    return [Found(m.start(), m.end(), day) for m, day in hits if day]


def _cjk(text: str, sent: date) -> list[Found]:
    hits = ((m, _given(m["year"], int(m["month"]), int(m["day"]), sent)) for m in _CJK.finditer(text))
    full = [Found(m.start(), m.end(), day) for m, day in hits if day]
    alone: list[Found] = []
    for match in _CJK_DAY.finditer(text):
        before = [one for one in full if one.end <= match.start()]
        day = (
            _date(before[-1].day.year, before[-1].day.month, int(match["day"]))
            if before
            else _next_day(int(match["day"]), sent)
        )
        if day:
            alone.append(Found(match.start(), match.end(), day))
    return full + alone


def _month_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    months = "|".join(sorted((re.escape(name) for name in phrasebook().months if name), key=len, reverse=True))
    day_first = re.compile(
        rf"(?<![\d./:]){_RANGE_DAY}{_DAY}\s?(?:of|de|d|di|du|do|v)?\s?\b(?P<month>{months})\b\.?{_YEAR}"
    )
    month_first = re.compile(
        rf"\b(?P<month>{months})\b\.?\s(?:the\s)?(?:(?P<first>[0-3]?\d){_ORD}\s?(?:-|–|to|through|thru|and)\s?)?{_DAY}(?![\d:]|\s?[ap]m\b){_YEAR}"
    )
    return day_first, month_first


_patterns: list[tuple[re.Pattern[str], re.Pattern[str]]] = []


def _named_months(text: str, sent: date) -> list[Found]:
    if not _patterns:
        _patterns.append(_month_patterns())
    return [one for pattern in _patterns[0] for match in pattern.finditer(text) if (one := _named_month(match, sent))]


def _named_month(match: re.Match[str], sent: date) -> Found | None:
    month = phrasebook().months[match["month"]]
    day = _given(match["year"], month, int(match["day"]), sent)
    if day is None:
        return None
    first = _date(day.year, month, int(match["first"])) if match["first"] else None
    return Found(match.start(), match.end(), day, first)


def _numeric(text: str, sent: date) -> list[Found]:
    matches = [m for m in _NUMERIC.finditer(text) if _is_a_date(m)]
    order = _order(matches)
    hits: list[Found] = []
    for match in matches:
        a, b = int(match["a"]), int(match["b"])
        day_first = match["sep"] == "." or a > 12 or (order == "day" and b <= 12) or a == b
        if not day_first and b <= 12 and order != "month":
            continue  # 3/4: nobody can know
        day = _given(match["year"], b if day_first else a, a if day_first else b, sent)
        if day:
            first = _date(day.year, day.month, int(match["first"])) if match["first"] else None
            hits.append(Found(match.start(), match.end(), day, first))
    return hits


def _is_a_date(match: re.Match[str]) -> bool:
    a, b = int(match["a"]), int(match["b"])
    if match["sep"] == "-" and not match["year"]:
        return False  # 8-12 is a span of days or hours
    return 0 < a <= 31 and 0 < b <= 31 and min(a, b) <= 12


def _order(matches: list[re.Match[str]]) -> str:
    """Whether another date in the same text proves which number is the day."""
    firsts = any(int(m["a"]) > 12 for m in matches)
    seconds = any(int(m["b"]) > 12 for m in matches)
    dashed = any(m["sep"] == "-" and m["year"] for m in matches)  # 03-03-2026: only written day first
    return "day" if (firsts or dashed) and not seconds else "month" if seconds and not firsts else ""


def _week_pattern() -> re.Pattern[str]:
    names = sorted(
        {
            phrase
            for phrases in [phrasebook().kinds.get("weeks")]
            if phrases
            for group in phrases.alike.values()
            for phrase, _ in group
        },
        key=len,
        reverse=True,
    )
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\.?{_WEEK}")


_week_patterns: list[re.Pattern[str]] = []


def _weeks(text: str, sent: date) -> list[Found]:
    """Week numbers (ISO 8601) as their Mondays; "weeks 28-31" is away in all of them."""
    if not _week_patterns:
        _week_patterns.append(_week_pattern())
    hits: list[Found] = []
    for match in _week_patterns[0].finditer(text):
        monday = _monday(int(match["week"]), sent)
        if monday is None:
            continue
        first = _monday(int(match["first"]), sent) if match["first"] else None
        hits.append(
            Found(
                match.start(),
                match.end(),
                monday + timedelta(days=6) if first else monday,
                first,
                weekly=True,
                week_start=True,
            )
        )
    return hits


def _monday(week: int, sent: date) -> date | None:
    options: list[date] = []
    for year in (sent.year - 1, sent.year, sent.year + 1):
        try:
            options.append(date.fromisocalendar(year, week, 1))
        except ValueError:
            continue
    return min(options, key=lambda one: abs((one - sent).days), default=None)


def _alone(text: str, sent: date) -> list[Found]:
    hits = ((m, _next_day(int(m["day"]), sent)) for m in _DAY_ALONE.finditer(text))
    return [Found(m.start(), m.end(), day, weekly=True) for m, day in hits if day] + _weekday_and_day(text, sent)


def _weekday_and_day(text: str, sent: date) -> list[Found]:
    """ "lunes 24", "Monday 24th": a day of this or the next month, and the weekday must agree."""
    hits: list[Found] = []
    for match in _WEEKDAY_DAY.finditer(text):
        number = phrasebook().weekdays.get(match["weekday"])
        day = _next_day(int(match["day"]), sent)
        if number and day and day.isoweekday() == number:
            hits.append(Found(match.start(), match.end(), day))
    return hits


def _next_day(day: int, sent: date) -> date | None:
    this = _date(sent.year, sent.month, day)
    if this and this >= sent:
        return this
    return _date(sent.year + sent.month // 12, sent.month % 12 + 1, day)


def _cjk_weekdays(text: str, sent: date) -> list[Found]:
    """ "木曜日", "周四", the next one; "来週木曜日", "下周四": that of next week."""
    hits: list[Found] = []
    for match in _CJK_WEEKDAY.finditer(text):
        number = "月火水木金土日".find(match["ja"]) if match["ja"] else min("一二三四五六日天".find(match["zh"]), 6)
        ahead = 7 - sent.weekday() + number if match["next"] else (number - sent.weekday() - 1) % 7 + 1
        hits.append(Found(match.start(), match.end(), sent + timedelta(days=ahead), weekly=True))
    return hits


def _weekdays(text: str, sent: date) -> list[Found]:
    book = phrasebook()
    hits: list[Found] = []
    for match in re.finditer(r"[^\W\d_]+", text):
        number = book.weekdays.get(match[0])
        if number and len(match[0]) > 3:
            ahead = (number - 1 - sent.weekday() - 1) % 7 + 1
            hits.append(Found(match.start(), match.end(), sent + timedelta(days=ahead), weekly=True))
    for kind, ahead in (("tomorrow", 1), ("next_week", 7 - sent.weekday())):
        hits += [Found(hit.start, hit.end, sent + timedelta(days=ahead), weekly=True) for hit in book.find(kind, text)]
    return hits


def _rest_of_week(text: str, sent: date) -> list[Found]:
    """ "Until the end of the week": away from today to Sunday. Written on a weekend it may be either week."""
    if sent.weekday() > 4:
        return []
    sunday = sent + timedelta(days=6 - sent.weekday())
    return [Found(hit.start, hit.end, sunday, first=sent, weekly=True) for hit in phrasebook().find("week_out", text)]
