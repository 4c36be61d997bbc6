"""Lengths of time and anchors as people write them: `3 business days`, `start + 1 week`. What they come to on a wall clock is
the calendar's matter."""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME = "[a-z][a-z0-9_]*"
UNITS = "minutes, hours, days, weeks, months or business days"
LENGTH = "[0-9]{1,7} +(?:minute|hour|day|week|month|business day)s?"

_LENGTH = re.compile(r"([0-9]{1,7}) (minute|hour|day|week|month|business day)s?")
_AT = re.compile(rf"({NAME})(?: ?([+-]) ?(.+))?")
_DAYS = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1, "week": 7, "month": 30, "business day": 1}
_DAYS_MAX = 3660


@dataclass(frozen=True)
class Duration:
    """A length of time as a person means it. `months` and `days` keep the wall clock, `minutes` are elapsed time,
    `business_days` skip weekends and holidays. `text` is what was written."""

    months: int = 0
    days: int = 0
    minutes: int = 0
    business_days: int = 0
    text: str = ""

    @property
    def is_nothing(self) -> bool:
        """`0 days`: no time at all."""
        return not (self.months or self.days or self.minutes or self.business_days)


@dataclass(frozen=True)
class At:
    """`start + 1 week`, `review_call - 2 business days`: `sign` is +1 or -1, an anchor alone has an empty offset."""

    anchor: str
    sign: int = 1
    offset: Duration = Duration()
    text: str = ""


def parse_duration(text: str, verb: str = "waits") -> Duration:
    """Read `3 days` or `2 business days`. Raises ValueError with a sentence: what it does, and after "; " what to write."""
    found = _LENGTH.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(f'{verb} "{text}"; use {UNITS}')
    amount, unit = int(found[1]), found[2]
    if amount * _DAYS[unit] > _DAYS_MAX:
        raise ValueError(f'{verb} "{text}"; ten years are the most')
    match unit:
        case "minute":
            return Duration(minutes=amount, text=text)
        case "hour":
            return Duration(minutes=60 * amount, text=text)
        case "day":
            return Duration(days=amount, text=text)
        case "week":
            return Duration(days=7 * amount, text=text)
        case "month":
            return Duration(months=amount, text=text)
    return Duration(business_days=amount, text=text)


def parse_at(text: str) -> At:
    """Read `start + 1 week` or `review_call`. Raises ValueError like `parse_duration`."""
    found = _AT.fullmatch(" ".join(text.split()))
    if found is None:
        raise ValueError(f'comes at "{text}"; write an anchor and an offset, like: start + 1 week')
    anchor, sign, offset = found.groups()
    length = parse_duration(offset, f"comes at {anchor} {sign}") if offset else Duration()
    return At(anchor, -1 if sign == "-" else 1, length, text)
