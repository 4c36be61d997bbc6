"""When schedules come round: cron times on the wall clock of a zone, and the yearly return of a date. A time that the clocks
skip comes at the first minute after the gap, and one that they pass twice comes once: its name is what the wall clock says."""

from __future__ import annotations

from calendar import isleap
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from engine.core.calendar import Calendar, Place, to_utc
from engine.core.duration import Duration

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A yearly date without `before` is still kept for so long after its day.
YEARLY_GRACE = timedelta(days=7)
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Slot:
    """One time of a schedule. `name` is the wall clock's, like `2026-04-01T09:00`: names sort as the times do; `at` in UTC."""

    name: str
    at: datetime


def last_slot(cron: str, zone: str, now: datetime) -> Slot | None:
    """The time of a cron schedule that came last until `now` (UTC), itself included; None when none ever came."""
    wall = _wall(zone, now)
    found = _slot(next(_walls(cron, wall + _SECOND, back=True), None), zone)
    # Where the clocks have just gone back, later times of this hour have come already.
    for later in _walls(cron, wall):
        slot = _slot(later, zone)
        if slot is None or slot.at > now:
            break
        found = slot
    return found


def next_slot(cron: str, zone: str, now: datetime) -> Slot | None:
    """The first time of a cron schedule after `now` (UTC); None when none ever comes."""
    slots = (_slot(wall, zone) for wall in _walls(cron, _wall(zone, now)))
    return next((slot for slot in slots if slot and slot.at > now), None)


def anniversary(day: date, before: Duration, place: Place, calendar: Calendar, now: datetime) -> int | None:
    """The year whose return of `day` is at hand at `now` (UTC): from `before` it (counted back from its midnight in the
    place's zone) until it comes, and at least for a week. The day itself is no return of it. 29 February returns on the 28th
    where there is no 29th."""
    this_year = now.astimezone(ZoneInfo(place.zone)).year
    ahead = (before.months * 31 + before.days) // 365 + 2
    at_hand = None
    for year in range(max(this_year - 1, day.year + 1), this_year + ahead):
        returns = to_utc(datetime.combine(_in_year(day, year), time()), place.zone)
        begins = calendar.add(returns, before, place, -1)
        if begins <= now < max(returns, begins + YEARLY_GRACE):
            at_hand = year
    return at_hand


def _in_year(day: date, year: int) -> date:
    leap_day = day.month == 2 and day.day == 29 and not isleap(year)
    return day.replace(year=year, day=28 if leap_day else day.day)


def _wall(zone: str, now: datetime) -> datetime:
    return now.astimezone(ZoneInfo(zone)).replace(tzinfo=None, microsecond=0)


def _slot(wall: datetime | None, zone: str) -> Slot | None:
    return Slot(wall.isoformat(timespec="minutes"), to_utc(wall, zone)) if wall else None


def _walls(cron: str, start: datetime, back: bool = False) -> Iterator[datetime]:
    """The schedule's times after `start`, or before it: naive, since croniter would count a night's hours in its own way."""
    from croniter import CroniterBadDateError, croniter  # 25 ms to import, and only schedules need it

    times = croniter(cron, start)
    try:
        while True:
            yield times.get_prev(datetime) if back else times.get_next(datetime)
    except CroniterBadDateError:  # like 30 February
        return
