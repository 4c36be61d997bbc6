"""When something may happen: windows, business days, holidays and blackouts, each in the zone of the people it concerns.

Instants go in and come out in UTC; rules run on the wall clock of a place. Nothing is ever moved back, and nothing falls
outside its window, also on the nights when clocks change. It knows no clock of its own and nothing of sequences."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from engine.core.duration import Duration
from engine.core.problem import did_you_mean

NEVER_DAYS = 400
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MIDNIGHT = time(0, 0)
_DAY = timedelta(days=1)
_TIME = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")

Openings = tuple[tuple[time, time], ...]


class NeverOpens(Exception):
    """A window that does not open within `NEVER_DAYS` days for the people it concerns."""

    def __init__(self, window: str) -> None:
        super().__init__(f"window {window} does not open within {NEVER_DAYS} days")
        self.window = window


@dataclass(frozen=True)
class Window:
    """Opening hours by weekday (0 is Monday), each from and until (not including) a wall-clock time; until 00:00 is the
    end of the day."""

    name: str
    hours: Mapping[int, Openings]


ALWAYS = Window("always", dict.fromkeys(range(7), ((MIDNIGHT, MIDNIGHT),)))


@dataclass(frozen=True)
class Place:
    """Where a person is: an IANA zone, and for holidays a country (ISO 3166-1 alpha-2) with its subdivision."""

    zone: str
    country: str = ""
    subdivision: str = ""


@dataclass(frozen=True)
class Moved:
    """The instant (UTC) at which something may happen, and why not before, in the order of the moves."""

    at: datetime
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calendar:
    """The windows and the days off of one installation. `blackouts` are its own days off, everywhere."""

    windows: Mapping[str, Window]
    blackouts: Mapping[date, str] = field(default_factory=dict)
    holidays: bool = True

    def opening(self, window: str, places: Sequence[Place], at: datetime) -> Moved:
        """The first instant from `at` (UTC) on at which the window is open in all places, the recipient's first, on a
        day that is off in none of them. Raises NeverOpens, and KeyError for an unknown window."""
        hours = self._hours(window)
        reasons: list[str] = []
        moment = at
        while moment - at <= NEVER_DAYS * _DAY:
            before = moment
            for number, place in enumerate(places):
                where = f" in {place.zone}" if number else ""
                moment = self._next(hours, place, moment, where, reasons)
            if moment == before:
                return Moved(moment, tuple(dict.fromkeys(reasons)))
        raise NeverOpens(window)

    def is_open(self, window: str, places: Sequence[Place], at: datetime) -> bool:
        """Whether the window is open in all places at `at` (UTC)."""
        hours = self._hours(window)
        return all(self._is_open_in(hours, place, at) for place in places)

    def add(self, at: datetime, duration: Duration, place: Place, sign: int = 1) -> datetime:
        """`at` (UTC) and a duration after it, or before it with `sign` -1, in UTC.

        Days and longer keep the wall clock of the place, also across a change of the clocks; a month ends at its last day."""
        elapsed = sign * timedelta(minutes=duration.minutes)
        if not (duration.months or duration.days or duration.business_days):
            return at + elapsed
        local = at.astimezone(_zone(place.zone)).replace(tzinfo=None)
        moved = _add_months(local, sign * duration.months) + sign * duration.days * _DAY
        for _ in range(duration.business_days):
            moved = self._neighbour(moved, place, sign)
        return to_utc(moved, place.zone) + elapsed

    def working_day(self, day: date, place: Place) -> bool:
        """Whether people at the place work on that day: no weekend there, no holiday there, no blackout."""
        if day in self.blackouts:
            return False
        country = place.country if self.holidays else ""
        return _works(country, place.subdivision, day) if country else day.weekday() < 5

    def next_working_day(self, day: date, place: Place) -> date:
        """That day, or the first working day after it."""
        while not self.working_day(day, place):
            day += _DAY
        return day

    def opens_on(self, window: str, place: Place, day: date) -> datetime:
        """The instant (UTC) of the window's opening on that day or, if it stays closed, on the next open one."""
        midnight = to_utc(datetime.combine(day, MIDNIGHT), place.zone)
        return self.opening(window, (place,), midnight).at

    def _hours(self, window: str) -> Window:
        return ALWAYS if window == ALWAYS.name and window not in self.windows else self.windows[window]

    def _is_open_in(self, window: Window, place: Place, at: datetime) -> bool:
        day = at.astimezone(_zone(place.zone)).date()
        spans = _spans(place.zone, day, window.hours.get(day.weekday(), ()))
        return any(opens <= at < closes for opens, closes in spans) and not self._off(place, day)

    def _next(self, window: Window, place: Place, at: datetime, where: str, reasons: list[str]) -> datetime:
        """The first open instant in one place. Says in `reasons` what stands in the way until then."""
        local = at.astimezone(_zone(place.zone))
        today = local.date()
        for day in (today + ahead * _DAY for ahead in range(NEVER_DAYS + 1)):
            spans = _spans(place.zone, day, window.hours.get(day.weekday(), ()))
            opens = next((max(at, opens) for opens, closes in spans if at < closes), None)
            off = self._off(place, day) if opens else ""
            if opens == at and not off:
                return at
            if day == today and not off:
                reasons.append(f"{DAYS[local.weekday()].title()} {local:%H:%M}{where}: window {window.name} closed")
            if off:
                reasons.append(off)
            elif opens:
                return opens
        raise NeverOpens(window.name)

    def _off(self, place: Place, day: date) -> str:
        """Why nothing happens on a day, or nothing."""
        if self.blackouts and day in self.blackouts:
            return f"blackout: {self.blackouts[day]}"
        if not (self.holidays and place.country):
            return ""
        name = _holidays(place.country, place.subdivision, day.year).get(day)
        return f"holiday: {name}" if name else ""

    def _neighbour(self, moment: datetime, place: Place, sign: int) -> datetime:
        """The same wall clock on the next working day, or on the one before."""
        moment += sign * _DAY
        while not self.working_day(moment.date(), place):
            moment += sign * _DAY
        return moment


def to_utc(local: datetime, zone: str) -> datetime:
    """The instant of a naive wall-clock time in a zone. One that does not exist becomes the first valid minute after the
    gap; one that happens twice is taken once, the first time."""
    known = _zone(zone)
    instant = local.replace(tzinfo=known, fold=0).astimezone(UTC)
    if instant.astimezone(known).replace(tzinfo=None) == local:
        return instant
    after = local.replace(tzinfo=known, fold=1).astimezone(UTC)  # PEP 495: in a gap, fold=1 lies before it
    return _transition(known, after, instant)


def skipped(begin: datetime, end: datetime, length: Duration, zone: str) -> str:
    """What to say where the clocks went past the time of day that `length` after `begin` (both in UTC) should have kept."""
    wanted, found = begin.astimezone(_zone(zone)), end.astimezone(_zone(zone))
    if length.minutes or (wanted.hour, wanted.minute) == (found.hour, found.minute):
        return ""
    return f"{wanted:%H:%M} is on no clock that day"


def place_problem(place: Place) -> str:
    """What is wrong with a place that a person wrote, as a sentence; empty when it is known."""
    try:
        _zone(place.zone)
    except (KeyError, ValueError, OSError):  # what ZoneInfo raises for unknown, malformed and directory names
        return f'"{place.zone}" is no time zone; use a name like Europe/Berlin'
    if not place.country:
        return "a subdivision needs its country" if place.subdivision else ""
    import holidays

    known = holidays.list_supported_countries()
    if place.country.upper() not in known:
        return f'no holidays are known for country "{place.country}"; use two letters, like DE'
    parts = known[place.country.upper()]
    if place.subdivision and _subdivision(place.country, place.subdivision) not in parts:
        return f'"{place.subdivision}" is no subdivision of {place.country}; {did_you_mean(place.subdivision, parts)}'
    return ""


def parse_window(value: object, name: str = "") -> Window:
    """Read a window of the config: `always`, `{days: mon-fri, from: "09:00", to: "17:00"}`, or hours by days,
    `{mon-thu: "08:00-12:00, 13:00-17:00", fri: "08:00-12:00"}`. Raises ValueError with a sentence."""
    if value == "always":
        return Window(name or ALWAYS.name, ALWAYS.hours)
    if not isinstance(value, Mapping) or not value:
        raise ValueError('is no window; write always, or {days: mon-fri, from: "09:00", to: "17:00"}')
    rows = [(str(days), hours) for days, hours in value.items()]
    if value.keys() & {"days", "from", "to"}:
        if value.keys() != {"days", "from", "to"}:
            raise ValueError(f"has {', '.join(map(str, value))}; a window takes days, from and to")
        rows = [(_joined(value["days"]), f"{value['from']}-{value['to']}")]
    hours: dict[int, list[tuple[time, time]]] = {}
    for days, spans in rows:
        for day in _weekdays(days):
            hours.setdefault(day, []).extend(_opening_hours(_joined(spans)))
    return Window(name, {day: _in_order(hours[day]) for day in sorted(hours)})


def _joined(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _weekdays(text: str) -> list[int]:
    """`mon-fri`, `mon, wed`, `fri-mon` as numbers from 0."""
    found: list[int] = []
    for part in text.lower().split(","):
        ends = [_weekday(word.strip()) for word in part.split("-", 1)]
        found += [(ends[0] + ahead) % 7 for ahead in range((ends[-1] - ends[0]) % 7 + 1)]
    return found


def _weekday(word: str) -> int:
    if word[:3] in DAYS and word in (word[:3], _LONG_DAYS[DAYS.index(word[:3])]):
        return DAYS.index(word[:3])
    raise ValueError(f'has the day "{word}"; {did_you_mean(word, DAYS)}')


def _opening_hours(text: str) -> list[tuple[time, time]]:
    found = []
    for part in text.split(","):
        opens, dash, closes = (piece.strip() for piece in part.partition("-"))
        span = (_clock(opens), _clock(closes)) if dash else None
        if span is None or not (span[0] < span[1] or span[1] == MIDNIGHT):
            raise ValueError(f'has the hours "{part.strip()}"; write from-to within a day, like 09:00-17:00')
        found.append(span)
    return found


def _clock(text: str) -> time:
    found = _TIME.fullmatch(text)
    hour, minute = (int(found[1]), int(found[2])) if found else (25, 0)
    if hour > 24 or (hour == 24 and minute):
        raise ValueError(f'has the time "{text}"; write it like 09:00')
    return time(hour % 24, minute)


def _in_order(spans: list[tuple[time, time]]) -> Openings:
    ordered = sorted(spans)
    for (_, closes), (opens, _) in zip(ordered, ordered[1:], strict=False):
        if closes > opens or closes == MIDNIGHT:
            raise ValueError(f"has hours that overlap at {opens:%H:%M}; each hour stands once")
    return tuple(ordered)


def _add_months(moment: datetime, months: int) -> datetime:
    years, month = divmod(moment.month - 1 + months, 12)
    year = moment.year + years
    return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _transition(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first second at which the zone's offset is that of `after`."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        before, after = (before, middle) if middle.astimezone(zone).utcoffset() == offset else (middle, after)
    return after.replace(microsecond=0)


@lru_cache(maxsize=65536)
def _spans(zone: str, day: date, openings: Openings) -> tuple[tuple[datetime, datetime], ...]:
    """The instants at which the wall clock of a zone stands within openings on a day: where the clocks change on that
    day, an opening is cut at the change, so that an hour that does not exist opens nothing."""
    found = []
    for begins, ends, offset in _stretches(_zone(zone), day):
        for opens, closes in openings:
            last_day = day + _DAY if closes == MIDNIGHT else day
            start = max(begins, datetime.combine(day, opens, UTC) - offset)
            end = min(ends, datetime.combine(last_day, closes, UTC) - offset)
            if start < end:
                found.append((start, end))
    return tuple(sorted(found))


def _stretches(zone: ZoneInfo, day: date) -> list[tuple[datetime, datetime, timedelta]]:
    """The parts of a day, in UTC, between changes of the clocks, with the offset of each."""
    begins, ends = (to_utc(datetime.combine(d, MIDNIGHT), zone.key) for d in (day, day + _DAY))
    first = begins.astimezone(zone).utcoffset() or timedelta()
    last = (ends - timedelta(microseconds=1)).astimezone(zone).utcoffset() or timedelta()
    if first == last or begins == ends:
        return [(begins, ends, first)]
    change = _transition(zone, begins, ends - timedelta(microseconds=1))
    return [(begins, change, first), (change, ends, last)]


def _subdivision(country: str, subdivision: str) -> str:
    return subdivision.upper().removeprefix(f"{country.upper()}-")


@lru_cache(maxsize=4096)
def _year(country: str, subdivision: str, year: int) -> Any:
    """What `holidays` knows of a year; where the subdivision is unknown the country's, where that is unknown None."""
    import holidays  # 65 ms to import: only once someone's country is known

    for part in dict.fromkeys((_subdivision(country, subdivision) or None, None)):
        try:
            language = holidays.country_holidays(country.upper(), subdiv=part).default_language
            return holidays.country_holidays(country.upper(), subdiv=part, years=year, expand=False, language=language)
        except NotImplementedError:
            continue
    return None


@lru_cache(maxsize=4096)
def _holidays(country: str, subdivision: str, year: int) -> dict[date, str]:
    return dict(_year(country, subdivision, year) or {})


@lru_cache(maxsize=65536)
def _works(country: str, subdivision: str, day: date) -> bool:
    known = _year(country, subdivision, day.year)
    return day.weekday() < 5 if known is None else bool(known.is_working_day(day))
