"""On the nights when clocks change, through the whole engine: nothing twice, nothing outside its window, nothing before its time,
in every zone that is tried. What is on no clock, and what is on it twice, is in here: half hours, whole days, a fast."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import parse_config
from engine.core.calendar import Calendar, Place
from engine.enrollments import Wish
from engine.installation import Installation
from engine.library import parse
from engine.notebook import Moment
from engine.simulate import Answer, timeline
from engine.store import open_store

ZONES = (
    "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "Africa/Casablanca",
)  # fmt: skip
#: Two years of each zone, and the days when Samoa went over to the other side of the date line and gave summer time up.
SPANS = {"Pacific/Apia": ((2011, 2012), (2020, 2021))}
CONFIG = """
company: {name: Brightside, zone: UTC}
mailboxes: [{address: rep@brightside.example, name: Robin Sands, gap: 60 seconds}]
windows:
  business_hours: {days: mon-fri, from: "09:00", to: "17:00"}
  night: {days: mon-sun, from: "01:30", to: "03:30"}
  late: {days: mon-sun, from: "22:00", to: "23:59"}
"""
HOURS = {"business_hours": ("09:00", "17:00"), "night": ("01:30", "03:30"), "late": ("22:00", "23:59")}
CLIENT = {"name": "Dana Whitfield", "company": "Acme"}
WAITS = {
    "30 minutes": timedelta(minutes=30), "90 minutes": timedelta(minutes=90), "1 hour": timedelta(hours=1),
    "5 hours": timedelta(hours=5), "1 day": timedelta(hours=21), "2 days": timedelta(hours=45), "1 week": timedelta(days=6),
    "1 business day": timedelta(0), "3 business days": timedelta(days=1),
}  # fmt: skip  # how much must have passed at the least: a day may be a few hours short, and in Samoa one is left out


@cache
def changes(zone: str) -> list[datetime]:
    """The hours (UTC) in which the clocks of a zone change; for one that never does, the last Sunday of March."""
    found, known = [], ZoneInfo(zone)
    for first, last in SPANS.get(zone, ((2026, 2027),)):
        at, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)
        while at < end:
            after = at + timedelta(hours=1)
            if at.astimezone(known).utcoffset() != after.astimezone(known).utcoffset():
                found.append(at)
            at = after
    return found or [datetime(2026, 3, 29, tzinfo=UTC)]


STEPS = st.lists(st.tuples(st.sampled_from(sorted(WAITS)), st.sampled_from(sorted(HOURS))), min_size=1, max_size=5)
AROUND = st.tuples(st.sampled_from(ZONES), st.integers(0, 99), st.integers(-72 * 60, 24 * 60))
HAPPENS = st.lists(st.tuples(st.sampled_from(["rep_wrote", "out_of_office"]), st.integers(0, 120)), max_size=2)


def installation(steps: list[tuple[str, str]], own: str = "") -> Installation:
    lines = [f"  - {{id: s{n}, wait: {wait}, window: {window}, email: t}}\n" for n, (wait, window) in enumerate(steps)]
    text = "name: N\nkind: touch\nto: client\nneeds: {call: optional datetime}\nsteps:\n" + (own or "".join(lines))
    files = {"sequences/n.yaml": text, "templates/t.md": "---\nsubject: A\n---\nHi {{ client.first_name }}\n"}
    library, problems = parse(files)
    config = parse_config(Path("config.yaml"), CONFIG, {}, problems)
    assert config is not None and not problems, problems
    return Installation(config, open_store(":memory:"), library, b"key")


def told(inst: Installation, zone: str, begin: datetime, answers: list[Answer], **values: str) -> list[Moment]:
    wish = Wish("dana@acme.example", "n", values, contact={**CLIENT, "zone": zone})
    found = timeline(inst, wish, begin, answers)
    inst.store.close()
    return [moment for moment in found.moments if moment.what == "sent"]


def open_then(moment: Moment, window: str) -> bool:
    local = moment.at.astimezone(ZoneInfo(moment.zone))
    opens, closes = HOURS[window]
    working = window != "business_hours" or local.weekday() < 5
    return working and opens <= f"{local:%H:%M}" <= closes


@settings(max_examples=200, deadline=None)
@given(AROUND, STEPS, HAPPENS)
def test_nothing_is_sent_twice_or_outside_its_window_or_before_its_time_when_the_clocks_change(
    around: tuple[str, int, int], steps: list[tuple[str, str]], happens: list[tuple[str, int]]
) -> None:
    zone, number, minutes = around
    begin = changes(zone)[number % len(changes(zone))] + timedelta(minutes=minutes)
    sent = told(installation(steps), zone, begin, [Answer(timedelta(hours=at), event) for event, at in happens])
    assert [moment.word for moment in sent] == [f"s{n}" for n in range(len(steps))], "each once, and in their order"
    before = begin
    for moment, (wait, window) in zip(sent, steps, strict=True):
        assert moment.zone == zone
        assert open_then(moment, window), f"{moment.at.astimezone(ZoneInfo(zone))} is not in {window}"
        assert moment.at - before >= WAITS[wait], f"{wait} after {before} is not {moment.at}"
        before = moment.at


@settings(max_examples=100, deadline=None)
@given(AROUND, st.integers(-3, 3), st.sampled_from(["00:00", "01:30", "02:00", "02:15", "02:30", "03:00", "23:59"]))
def test_what_goes_by_a_clock_of_that_night_leaves_once(around: tuple[str, int, int], offset: int, at: str) -> None:
    """A call at a time that is on no clock that night, or on it twice, and emails two days before and after it."""
    zone, number, _ = around
    change = changes(zone)[number % len(changes(zone))]
    call = f"{change.astimezone(ZoneInfo(zone)).date() + timedelta(days=offset)} {at}"
    own = (
        "  - {id: before, at: call - 2 days, window: always, email: t}\n"
        "  - {id: during, at: call, window: night, email: t}\n"
        "  - {id: after, at: call + 2 days, window: always, email: t}\n"
    )
    text = CONFIG.replace("zone: UTC", f"zone: {zone}")
    inst = installation([], own)
    config = parse_config(Path("config.yaml"), text, {}, [])
    assert config is not None
    inst = Installation(config, inst.store, inst.library, inst.key)
    sent = told(inst, zone, change - timedelta(days=9), [], call=call)
    assert [moment.word for moment in sent] == ["before", "during", "after"]
    assert open_then(sent[1], "night")
    assert [m.at for m in sent] == sorted(m.at for m in sent)


@pytest.mark.parametrize("zone", ZONES)
def test_the_changes_that_are_tried_are_there(zone: str) -> None:
    assert len(changes(zone)) >= (1 if zone == "Asia/Kolkata" else 4)


def test_it_is_seen_when_the_engine_takes_no_notice_of_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    winter, right = (Place("Etc/GMT-1"),), Calendar.opening
    monkeypatch.setattr(Calendar, "opening", lambda self, window, _, at: right(self, window, winter, at))
    waits = ("1 day", "5 hours", "90 minutes", "30 minutes", "30 minutes")
    inst = installation([(wait, "business_hours") for wait in waits])
    sent = told(inst, "Europe/Berlin", datetime(2026, 3, 29, 0, 30, tzinfo=UTC), [])
    assert not all(open_then(moment, "business_hours") for moment in sent)
