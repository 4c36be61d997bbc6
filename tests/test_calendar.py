"""Nothing leaves outside its window, before its time, or twice on the night the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.calendar import (
    ALWAYS,
    Calendar,
    NeverOpens,
    Place,
    Window,
    parse_window,
    place_problem,
    to_utc,
)
from engine.core.sequence import Duration, parse_duration

BUSINESS_HOURS = parse_window({"days": "mon-fri", "from": "09:00", "to": "17:00"}, "business_hours")
NIGHT = parse_window({"mon-sun": "00:30-03:30"}, "night")
OFFICE = parse_window({"mon-thu": "08:00-12:00, 13:00-17:00", "fri": "08:00-12:00"}, "office")
CALENDAR = Calendar({"business_hours": BUSINESS_HOURS, "night": NIGHT, "office": OFFICE})

BERLIN = Place("Europe/Berlin", "DE", "BE")
MUNICH = Place("Europe/Berlin", "DE", "BY")
NEW_YORK = Place("America/New_York", "US", "NY")
LORD_HOWE = Place("Australia/Lord_Howe", "AU", "NSW")
KOLKATA = Place("Asia/Kolkata", "IN", "WB")
APIA = Place("Pacific/Apia", "WS")
CASABLANCA = Place("Africa/Casablanca", "MA")
PLACES = (BERLIN, MUNICH, NEW_YORK, LORD_HOWE, KOLKATA, APIA, CASABLANCA)


def utc(text: str, zone: str = "Europe/Berlin") -> datetime:
    return to_utc(datetime.fromisoformat(text), zone)


def wall(at: datetime, place: Place) -> str:
    return f"{at.astimezone(ZoneInfo(place.zone)):%a %Y-%m-%d %H:%M}"


def opened(at: str, window: str = "business_hours", *places: Place) -> str:
    places = places or (BERLIN,)
    return wall(CALENDAR.opening(window, places, utc(at, places[0].zone)).at, places[0])


def later(at: str, duration: str, place: Place = BERLIN, sign: int = 1) -> str:
    return wall(CALENDAR.add(utc(at, place.zone), parse_duration(duration), place, sign), place)


# --- windows


def test_an_open_window_moves_nothing() -> None:
    at = utc("2026-03-02 09:00")
    moved = CALENDAR.opening("business_hours", [BERLIN], at)
    assert (moved.at, moved.reasons) == (at, ())


def test_what_comes_too_early_waits_for_the_opening() -> None:
    assert opened("2026-03-02 06:30") == "Mon 2026-03-02 09:00"


def test_the_closing_minute_is_closed_and_friday_evening_waits_for_monday() -> None:
    assert opened("2026-03-06 16:59") == "Fri 2026-03-06 16:59"
    assert opened("2026-03-06 17:00") == "Mon 2026-03-09 09:00"
    assert not CALENDAR.is_open("business_hours", [BERLIN], utc("2026-03-06 17:00"))


def test_a_lunch_break_is_closed() -> None:
    assert opened("2026-03-02 12:00", "office") == "Mon 2026-03-02 13:00"
    assert opened("2026-03-06 12:00", "office") == "Mon 2026-03-09 08:00"


def test_every_move_says_why() -> None:
    moved = CALENDAR.opening("business_hours", [MUNICH], utc("2026-04-02 18:20"))
    assert wall(moved.at, MUNICH) == "Tue 2026-04-07 09:00"
    assert moved.reasons == (
        "Thu 18:20: window business_hours closed",
        "holiday: Karfreitag",
        "holiday: Ostermontag",
    )


def test_a_holiday_of_one_subdivision_is_none_in_the_next() -> None:
    assert opened("2026-01-06 10:00", "business_hours", MUNICH) == "Wed 2026-01-07 09:00"
    assert opened("2026-01-06 10:00", "business_hours", BERLIN) == "Tue 2026-01-06 10:00"


def test_holidays_can_be_left_out_and_blackouts_added() -> None:
    free = Calendar({"business_hours": BUSINESS_HOURS}, {date(2026, 12, 23): "inventory"}, holidays=False)
    at = utc("2026-12-23 10:00")
    assert wall(free.opening("business_hours", [BERLIN], at).at, BERLIN) == "Thu 2026-12-24 09:00"
    assert free.opening("business_hours", [BERLIN], at).reasons == ("blackout: inventory",)
    assert free.is_open("business_hours", [BERLIN], utc("2026-12-25 10:00"))


def test_even_the_window_that_is_always_open_keeps_holidays() -> None:
    assert opened("2026-12-25 03:00", "always") == "Sun 2026-12-27 00:00"
    assert opened("2026-12-27 03:00", "always") == "Sun 2026-12-27 03:00"


def test_the_window_must_be_open_for_both() -> None:
    moved = CALENDAR.opening("business_hours", [BERLIN, NEW_YORK], utc("2026-03-02 09:30"))
    assert wall(moved.at, BERLIN) == "Mon 2026-03-02 15:00"
    assert moved.reasons == ("Mon 03:30 in America/New_York: window business_hours closed",)


def test_thanksgiving_in_new_york_holds_a_berlin_afternoon() -> None:
    moved = CALENDAR.opening("business_hours", [BERLIN, NEW_YORK], utc("2026-11-26 16:00"))
    assert wall(moved.at, BERLIN) == "Fri 2026-11-27 15:00"
    assert "holiday: Thanksgiving Day" in moved.reasons


def test_windows_that_never_meet_are_an_error_and_not_a_loop() -> None:
    early = Calendar({"early": parse_window({"mon-fri": "09:00-10:00"}, "early")})
    with pytest.raises(NeverOpens, match="window early does not open within 400 days"):
        early.opening("early", [BERLIN, NEW_YORK], utc("2026-03-02 09:30"))
    with pytest.raises(NeverOpens):
        Calendar({"none": Window("none", {})}).opening("none", [BERLIN], utc("2026-03-02 09:30"))


def test_an_unknown_window_is_a_bug_of_the_caller() -> None:
    with pytest.raises(KeyError):
        CALENDAR.opening("busines_hours", [BERLIN], utc("2026-03-02 09:30"))


def test_a_date_counts_from_the_windows_opening_that_day_or_the_next() -> None:
    assert wall(CALENDAR.opens_on("business_hours", BERLIN, date(2026, 3, 4)), BERLIN) == "Wed 2026-03-04 09:00"
    assert wall(CALENDAR.opens_on("business_hours", BERLIN, date(2026, 3, 7)), BERLIN) == "Mon 2026-03-09 09:00"
    assert wall(CALENDAR.opens_on("business_hours", NEW_YORK, date(2026, 7, 3)), NEW_YORK) == "Mon 2026-07-06 09:00"


# --- adding


def test_a_month_from_the_last_of_january_is_the_last_of_february() -> None:
    assert later("2026-01-31 10:00", "1 month") == "Sat 2026-02-28 10:00"
    assert later("2028-01-31 10:00", "1 month") == "Tue 2028-02-29 10:00"
    assert later("2026-03-31 10:00", "1 month", sign=-1) == "Sat 2026-02-28 10:00"
    assert later("2026-11-30 10:00", "3 months") == "Sun 2027-02-28 10:00"


def test_business_days_skip_weekends_and_holidays() -> None:
    assert later("2026-04-02 10:00", "1 business day") == "Tue 2026-04-07 10:00"
    assert later("2026-04-07 10:00", "2 business days", sign=-1) == "Wed 2026-04-01 10:00"
    assert later("2026-03-07 10:00", "1 business day") == "Mon 2026-03-09 10:00"


def test_business_days_follow_the_weekend_of_the_country() -> None:
    cairo = Place("Africa/Cairo", "EG")
    assert later("2026-03-05 10:00", "1 business day", cairo) == "Sun 2026-03-08 10:00"


def test_blackouts_are_no_business_days() -> None:
    closed = Calendar({}, {date(2026, 3, 3): "moving house"})
    assert not closed.working_day(date(2026, 3, 3), BERLIN)
    assert closed.next_working_day(date(2026, 3, 3), BERLIN) == date(2026, 3, 4)


def test_the_next_working_day_is_today_when_people_work_today() -> None:
    assert CALENDAR.next_working_day(date(2026, 3, 2), BERLIN) == date(2026, 3, 2)
    assert CALENDAR.next_working_day(date(2026, 4, 3), BERLIN) == date(2026, 4, 7)


def test_days_keep_the_wall_clock_and_hours_do_not() -> None:
    assert later("2026-03-28 10:00", "1 day") == "Sun 2026-03-29 10:00"
    assert later("2026-03-28 10:00", "24 hours") == "Sun 2026-03-29 11:00"
    assert later("2026-10-24 10:00", "1 day") == "Sun 2026-10-25 10:00"
    assert later("2026-10-24 10:00", "24 hours") == "Sun 2026-10-25 09:00"


@pytest.mark.parametrize(
    ("place", "start", "expected"),
    [
        (BERLIN, "2026-03-28 02:30", "Sun 2026-03-29 03:00"),
        (NEW_YORK, "2026-03-07 02:30", "Sun 2026-03-08 03:00"),
        (LORD_HOWE, "2026-10-03 02:15", "Sun 2026-10-04 02:30"),
        (CASABLANCA, "2026-03-21 02:30", "Sun 2026-03-22 03:00"),
        (KOLKATA, "2026-03-28 02:30", "Sun 2026-03-29 02:30"),
        (APIA, "2011-12-29 10:00", "Sat 2011-12-31 00:00"),
    ],
)
def test_a_time_that_does_not_exist_moves_to_the_first_valid_minute(place: Place, start: str, expected: str) -> None:
    assert later(start, "1 day", place) == expected


@pytest.mark.parametrize(
    ("place", "start", "first"),
    [
        (BERLIN, "2026-10-24 02:30", "2026-10-25T00:30:00+00:00"),
        (NEW_YORK, "2026-10-31 01:30", "2026-11-01T05:30:00+00:00"),
        (LORD_HOWE, "2026-04-04 01:45", "2026-04-04T14:45:00+00:00"),
        (CASABLANCA, "2026-02-14 02:30", "2026-02-15T01:30:00+00:00"),
    ],
)
def test_a_time_that_happens_twice_is_taken_the_first_time(place: Place, start: str, first: str) -> None:
    assert CALENDAR.add(utc(start, place.zone), Duration(days=1), place).isoformat() == first


def test_an_hour_that_does_not_exist_opens_no_window() -> None:
    assert opened("2026-03-29 00:00", "night") == "Sun 2026-03-29 00:30"
    assert CALENDAR.is_open("night", [BERLIN], utc("2026-03-29 01:59"))
    gap = parse_window({"sun": "02:00-03:00"}, "gap")
    moved = Calendar({"gap": gap}).opening("gap", [BERLIN], utc("2026-03-28 12:00"))
    assert wall(moved.at, BERLIN) == "Sun 2026-04-05 02:00"  # on the 29th that hour does not exist


# --- properties

minutes = st.integers(min_value=0, max_value=3 * 365 * 24 * 60)
instants = minutes.map(lambda count: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=count))
#: The hours around a change of the clocks in any of the places.
changes = st.sampled_from(
    [
        datetime(2026, 3, 29, 1, tzinfo=UTC),
        datetime(2026, 10, 25, 1, tzinfo=UTC),
        datetime(2026, 3, 8, 7, tzinfo=UTC),
        datetime(2026, 11, 1, 6, tzinfo=UTC),
        datetime(2026, 4, 4, 15, tzinfo=UTC),
        datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
        datetime(2026, 2, 15, 2, tzinfo=UTC),
        datetime(2026, 3, 22, 2, tzinfo=UTC),
    ]
)
near_changes = st.builds(lambda at, off: at + timedelta(minutes=off), changes, st.integers(-1600, 1600))
moments = st.one_of(instants, near_changes)
places = st.lists(st.sampled_from(PLACES), min_size=1, max_size=2)
windows = st.sampled_from(["business_hours", "night", "office", "always"])
lengths = st.builds(
    Duration,
    months=st.integers(0, 4),
    days=st.integers(0, 40),
    minutes=st.integers(0, 3000),
    business_days=st.integers(0, 10),
)


def on_the_wall(window: str, place: Place, at: datetime) -> bool:
    """What a person with a calendar and a clock on the wall would say."""
    local = at.astimezone(ZoneInfo(place.zone))
    hours = {"always": ALWAYS}.get(window, CALENDAR.windows.get(window))
    assert hours is not None
    spans = hours.hours.get(local.weekday(), ())
    return any(opens <= local.time() and (local.time() < closes or closes == time(0)) for opens, closes in spans)


@settings(max_examples=400, deadline=None)
@given(moments, windows, places)
def test_nothing_is_outside_its_window_or_before_its_time(at: datetime, window: str, where: list[Place]) -> None:
    try:
        moved = CALENDAR.opening(window, where, at)
    except NeverOpens:
        return
    assert moved.at >= at
    assert moved.at.tzinfo is UTC
    assert CALENDAR.is_open(window, where, moved.at)
    assert all(on_the_wall(window, place, moved.at) for place in where)
    assert bool(moved.reasons) == (moved.at != at)


@settings(max_examples=300, deadline=None)
@given(moments, windows, places)
def test_open_means_what_the_wall_clock_says(at: datetime, window: str, where: list[Place]) -> None:
    holiday = any(CALENDAR._off(place, at.astimezone(ZoneInfo(place.zone)).date()) for place in where)
    assert CALENDAR.is_open(window, where, at) == (all(on_the_wall(window, p, at) for p in where) and not holiday)


@settings(max_examples=200, deadline=None)
@given(moments, windows, places, st.integers(0, 5000))
def test_the_order_is_kept(at: datetime, window: str, where: list[Place], ahead: int) -> None:
    try:
        first = CALENDAR.opening(window, where, at).at
        second = CALENDAR.opening(window, where, at + timedelta(minutes=ahead)).at
    except NeverOpens:
        return
    assert first <= second


@settings(max_examples=200, deadline=None)
@given(moments, windows, places, st.integers(0, 100))
def test_it_comes_out_the_same_when_it_is_computed_later(
    at: datetime, window: str, where: list[Place], share: int
) -> None:
    try:
        opens = CALENDAR.opening(window, where, at).at
    except NeverOpens:
        return
    between = at + (opens - at) * share / 100
    assert CALENDAR.opening(window, where, between).at == opens


@settings(max_examples=400, deadline=None)
@given(moments, windows, st.sampled_from(PLACES))
def test_no_open_minute_is_passed_over(at: datetime, window: str, place: Place) -> None:
    opens = CALENDAR.opening(window, [place], at).at
    minute = at
    while minute < min(opens, at + timedelta(hours=30)):
        assert not CALENDAR.is_open(window, [place], minute)
        minute += timedelta(minutes=7)


@settings(max_examples=300, deadline=None)
@given(moments, lengths, st.integers(0, 30), st.sampled_from(PLACES))
def test_a_longer_wait_never_ends_earlier(at: datetime, length: Duration, more: int, place: Place) -> None:
    longer = Duration(length.months, length.days + more, length.minutes, length.business_days)
    assert CALENDAR.add(at, longer, place) >= CALENDAR.add(at, length, place)


@settings(max_examples=300, deadline=None)
@given(moments, st.integers(1, 60), st.sampled_from(PLACES))
def test_days_keep_the_wall_clock_where_it_exists(at: datetime, days: int, place: Place) -> None:
    zone = ZoneInfo(place.zone)
    before = at.astimezone(zone).replace(tzinfo=None, fold=0) + timedelta(days=days)
    after = CALENDAR.add(at, Duration(days=days), place).astimezone(zone)
    assert after.fold == 0
    assert after.replace(tzinfo=None) >= before
    assert after.replace(tzinfo=None) - before <= timedelta(hours=1)
    exists = before.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == before
    assert (after.replace(tzinfo=None) == before) == exists


@settings(max_examples=200, deadline=None)
@given(moments, st.integers(1, 12), st.sampled_from(PLACES))
def test_business_days_end_on_one_and_count_each(at: datetime, days: int, place: Place) -> None:
    zone = ZoneInfo(place.zone)
    after = CALENDAR.add(at, Duration(business_days=days), place).astimezone(zone).date()
    day, worked = at.astimezone(zone).date(), 0
    while day < after:
        day += timedelta(days=1)
        worked += CALENDAR.working_day(day, place)
    assert CALENDAR.working_day(after, place)
    assert worked == days


@settings(max_examples=300, deadline=None)
@given(moments, st.sampled_from(PLACES))
def test_a_wall_clock_time_that_was_read_off_comes_back(at: datetime, place: Place) -> None:
    local = at.astimezone(ZoneInfo(place.zone))
    back = to_utc(local.replace(tzinfo=None, fold=0), place.zone)
    assert back == at if local.fold == 0 else at - back <= timedelta(hours=1)


# --- what ops write


@pytest.mark.parametrize(
    ("value", "hours"),
    [
        ({"days": "mon-fri", "from": "9:00", "to": "17:00"}, {d: ((time(9), time(17)),) for d in range(5)}),
        ({"days": ["mon", "wed"], "from": "09:00", "to": "24:00"}, {d: ((time(9), time(0)),) for d in (0, 2)}),
        ({"days": "fri-mon", "from": "09:00", "to": "10:00"}, {d: ((time(9), time(10)),) for d in (0, 4, 5, 6)}),
        ({"Monday, tue": "13:00-17:00, 08:00-12:00"}, {d: ((time(8), time(12)), (time(13), time(17))) for d in (0, 1)}),
        ({"sun": ["08:00-09:00", "10:00-11:00"]}, {6: ((time(8), time(9)), (time(10), time(11)))}),
        ("always", dict(ALWAYS.hours)),
    ],
)
def test_windows_are_written_in_three_ways(value: object, hours: dict[int, object]) -> None:
    assert parse_window(value, "w") == Window("w", hours)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("sometimes", "is no window; write always, or {days: mon-fri, from: \"09:00\", to: \"17:00\"}"),
        ({}, "is no window; write always, or {days: mon-fri, from: \"09:00\", to: \"17:00\"}"),
        ({"days": "mon-fri", "from": "09:00"}, "has days, from; a window takes days, from and to"),
        ({"days": "mon-fir", "from": "09:00", "to": "17:00"}, 'has the day "fir"; did you mean "fri"?'),
        ({"monkey": "09:00-17:00"}, 'has the day "monkey"; '),
        ({"mon": "09:00-08:00"}, 'has the hours "09:00-08:00"; write from-to within a day, like 09:00-17:00'),
        ({"mon": "09:00"}, 'has the hours "09:00"; write from-to within a day, like 09:00-17:00'),
        ({"mon": "9-17"}, 'has the time "9"; write it like 09:00'),
        ({"mon": "09:00-24:30"}, 'has the time "24:30"; write it like 09:00'),
        ({"mon": "09:00-12:00, 11:00-13:00"}, "has hours that overlap at 11:00; each hour stands once"),
        ({"mon-fri": "09:00-12:00", "fri": "08:00-10:00"}, "has hours that overlap at 09:00; each hour stands once"),
    ],
)  # fmt: skip
def test_a_faulty_window_is_explained(value: object, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        parse_window(value)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (BERLIN, ""),
        (Place("UTC"), ""),
        (Place("Europe/Berlin", "de", "DE-BY"), ""),
        (Place("Europe/Berln"), '"Europe/Berln" is no time zone; use a name like Europe/Berlin'),
        (Place("Europe"), '"Europe" is no time zone; use a name like Europe/Berlin'),
        (Place("../../etc/passwd"), '"../../etc/passwd" is no time zone; use a name like Europe/Berlin'),
        (Place(""), '"" is no time zone; use a name like Europe/Berlin'),
        (Place("UTC", "XX"), 'no holidays are known for country "XX"; use two letters, like DE'),
        (Place("UTC", "", "BY"), "a subdivision needs its country"),
        (Place("UTC", "US", "NYC"), '"NYC" is no subdivision of US; did you mean "NY"?'),
    ],
)
def test_a_place_is_checked_before_it_is_believed(place: Place, message: str) -> None:
    assert place_problem(place) == message


def test_a_place_that_nobody_checked_still_has_days() -> None:
    assert CALENDAR.working_day(date(2026, 5, 1), Place("Europe/Berlin", "DE", "nowhere")) is False  # the country's
    assert CALENDAR.working_day(date(2026, 5, 1), Place("Europe/Berlin", "XX")) is True
    assert CALENDAR.working_day(date(2026, 5, 2), Place("Europe/Berlin", "XX")) is False
