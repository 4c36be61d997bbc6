"""Editing while people are in flight: what was sent stays sent, whatever ops do to a sequence and whenever; a plan says what
follows before it does; and the files may be looked at in the middle of any editor's save."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import office
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from office import DANA, OK, Office, library

from engine import edits, enrollments, outbox
from engine.core.happening import Paused, Released
from engine.core.model import OutboxMessage, OutboxState, State
from engine.core.problem import has_errors
from engine.library import Library, changed_at
from engine.project import SETTLED, read_library, take_up, unfinished
from engine.store import open_store

new_office = office.new_office


@pytest.fixture
def here(new_office: Callable[..., Office]) -> Office:
    return new_office()


# --- what is in flight follows by step id ----------------------------------------------------------------------------

HEAD = "name: Nudge\nkind: touch\nto: client\nsteps:\n"
IDS = ("a", "b", "c", "d", "e")
TIMES = ("", ", wait: 2 days", ", wait: 1 week", ", at: start + 3 days", ", at: start + 10 days")
DOES = (
    "email: hello", "email: again", "email: last", "email: again, approve: true", "task: note", "task: note, block: true",
)  # fmt: skip

Steps = list[tuple[str, str, str]]  # id, time, action


def written(steps: Steps) -> str:
    lines = [f"  - {{id: {name}{time}, {does}}}\n" for name, time, does in steps]
    return HEAD + "".join(lines or ["  - {id: nothing_left, wait: 1 month, task: note}\n"])


def edited(here: Office, text: str) -> edits.Plan:
    """As the daemon does it: planned, then applied."""
    books = library({"nudge": text})
    found = edits.plan(here.inst, books, here.now)
    here.inst = edits.apply(here.inst, books, here.now)
    return found


STEPS = st.tuples(
    st.permutations(IDS),
    st.lists(st.tuples(st.sampled_from(TIMES), st.sampled_from(DOES)), min_size=1, max_size=len(IDS)),
).map(lambda drawn: [(name, *step) for name, step in zip(*drawn, strict=False)])
DEED = st.one_of(
    st.tuples(st.just("days"), st.integers(1, 9)),
    st.tuples(st.just("edit"), STEPS),
    st.tuples(st.just("edit in the middle of a send"), STEPS),
    st.tuples(st.just("days"), st.integers(1, 9)),
    st.tuples(st.just("approve"), st.none()),
    st.tuples(st.just("task done"), st.none()),
    st.tuples(st.just("pause"), st.integers(0, 5)),
)


@contextmanager
def an_office() -> Iterator[Office]:
    with TemporaryDirectory() as folder:
        store = open_store(":memory:")
        yield Office(store, Path(folder))
        store.close()


def carry_out(here: Office, deed: str, more: Any) -> None:
    match deed:
        case "edit":
            edited(here, written(more))
        case "edit in the middle of a send":
            enrollments.advance(here.inst, here.now)
            here.read()
            claim = here.claim()
            began = isinstance(claim, outbox.Claim) and here.start(claim)
            edited(here, written(more))
            if isinstance(claim, outbox.Claim) and began:
                here.record(claim, OK)
        case "days":
            here.run(days=more)
        case "approve":
            for draft in outbox.drafts(here.inst):
                outbox.approve(here.inst, draft, here.now)
        case "task done":
            for task in here.store.open_tasks():
                enrollments.finish_task(here.inst, task.id, here.now)
        case "pause":
            enrollments.steer(here.inst, DANA, "nudge", Paused("by hand"), here.now)
            here.run(days=more)
            enrollments.steer(here.inst, DANA, "nudge", Released("goes on"), here.now)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.lists(DEED, min_size=4, max_size=12))
def test_whatever_is_edited_and_whenever_no_step_is_sent_twice(first: Steps, deeds: list[tuple[str, Any]]) -> None:
    with an_office() as here:
        edited(here, written(first))
        enrollment = here.enroll(DANA, "nudge")
        for deed, more in deeds:
            if here.state(enrollment) is State.STOPPED:
                break
            carry_out(here, deed, more)
        here.run(days=60)
        times = Counter(here.sent(enrollment))
        assert all(number == 1 for number in times.values()), times


def three(*steps: str) -> str:
    return HEAD + "".join(f"  - {{{step}}}\n" for step in steps)


A, B, C = "id: a, email: hello", "id: b, wait: 3 days, email: again", "id: c, wait: 3 days, email: last"


@pytest.fixture
def there(here: Office) -> Office:
    """Dana has had `a`, and `b` is due in three days."""
    edited(here, three(A, B, C))
    here.enroll(DANA, "nudge")
    here.work()
    assert here.sent() == ["a"]
    return here


@pytest.mark.parametrize(
    ("steps", "sent"),
    [
        ((A, C), ["a", "c"]),
        ((A, "id: x, email: hello", B, C), ["a", "b", "c"]),
        (("id: x, email: hello", A, B, C), ["a", "b", "c"]),
        ((A, B, "id: x, email: hello", C), ["a", "b", "x", "c"]),
        ((B, A, C), ["a", "b", "c"]),
        ((C, B, A), ["a", "b"]),
        ((B, C), ["a", "b", "c"]),
        ((A,), ["a"]),
        (("id: x, email: hello",), ["a", "x"]),
        ((A, "id: b, wait: 3 days, task: note", C), ["a", "c"]),
    ],
    ids=[
        "the present one removed", "one inserted before the present one", "one inserted at the top", "one inserted ahead",
        "turned round", "all turned round", "what was sent removed", "all ahead removed", "all replaced", "made a task",
    ],
)  # fmt: skip
def test_an_edit_in_flight(there: Office, steps: tuple[str, ...], sent: list[str]) -> None:
    edited(there, three(*steps))
    there.run(days=40)
    assert there.sent() == sent


def test_a_goto_still_sends_anew_after_an_edit(here: Office) -> None:
    handled = "when: {confirmed: {goto: a}}\n"
    edited(here, three(A, B, C) + handled)
    here.enroll(DANA, "nudge")
    here.run(days=4)
    edited(here, three(A, B, "id: x, wait: 1 day, email: last", C) + handled)
    (last,) = [m for m in here.rows("nudge") if m.step == "b"]
    here.hear("Yes, confirmed.", to=last)
    here.run(days=30)
    assert here.sent() == ["a", "b", "a", "b", "x", "c"]


def test_a_task_that_was_removed_is_waited_for_no_longer(here: Office) -> None:
    edited(here, three(A, "id: call, task: note, block: true", C))
    here.enroll(DANA, "nudge")
    here.work()
    edited(here, three(A, C))
    here.run(days=10)
    assert here.sent() == ["a", "c"]


def test_a_draft_of_a_removed_step_leaves_the_list(here: Office) -> None:
    edited(here, three(f"{A}, approve: true", C))
    here.enroll(DANA, "nudge")
    here.work()
    assert [d.step for d in outbox.drafts(here.inst)] == ["a"]
    edited(here, three(C))
    assert outbox.drafts(here.inst) == []
    here.run(days=10)
    assert here.sent() == ["c"]


def test_what_ops_put_under_approval_does_not_leave_without_it(there: Office) -> None:
    there.later(days=3)
    enrollments.advance(there.inst, there.now)
    edited(there, three(A, f"{B}, approve: true", C))
    there.run(days=2)
    assert there.sent() == ["a"]
    (draft,) = outbox.drafts(there.inst)
    assert outbox.approve(there.inst, draft, there.now)
    there.run(days=3)
    assert there.sent() == ["a", "b"]


def rows(here: Office, state: OutboxState) -> Sequence[OutboxMessage]:
    return [m for m in here.rows("nudge") if m.state is state]


def test_every_email_names_the_version_it_came_from(there: Office) -> None:
    before = there.inst.library.version
    edited(there, three(A, "id: b, wait: 1 day, email: again", C))
    there.run(days=2)
    assert [(m.step, m.version) for m in rows(there, OutboxState.SENT)] == [
        ("a", before),
        ("b", there.inst.library.version),
    ]


# --- the files, in the middle of any editor's save -------------------------------------------------------------------

OLD = three(A, B, C)
NEW = (
    three(A, "id: b, wait: 5 days, email: again", "id: x, wait: 1 day, email: hello", C)
    + "when:\n  reply: {stop: answered}\n"
)
WORDS = ("hello", "again", "last")
MOMENT, LATER = timedelta(milliseconds=50), timedelta(minutes=5)


class Desk:
    """A project folder with one sequence, an editor that saves in it, and a daemon that looks."""

    def __init__(self, here: Office, folder: Path) -> None:
        self.folder, self.file, self.said = folder, folder / "sequences/nudge.yaml", list[str]()
        known = library({"nudge": OLD}).sources
        for name in ("sequences/nudge.yaml", "sequences/other.yaml", *(f"templates/{word}.md" for word in WORDS)):
            text = known[name]
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        config = replace(here.inst.config, folder=folder)
        books, problems = read_library(config)
        assert not has_errors(problems), problems
        self.inst = edits.apply(replace(here.inst, config=config), books, here.now)

    def look(self, after: timedelta = MOMENT) -> str:
        """What runs once the daemon has looked so long after the last change: old, new or else the text of the sequence."""
        self.inst = take_up(self.inst, changed_at(self.folder) + after, self.said.append)
        text = self.inst.library.sources["sequences/nudge.yaml"]
        return {OLD: "old", NEW: "new"}.get(text, text)


@pytest.fixture
def desk(here: Office, tmp_path: Path) -> Desk:
    here.enroll(DANA, "nudge")
    return Desk(here, tmp_path / "project")


def test_a_machine_whose_files_are_older_does_not_undo_what_was_applied_on_another(desk: Desk) -> None:
    desk.inst = edits.apply(desk.inst, library({"nudge": NEW}), datetime.now(UTC))
    assert desk.look() == desk.look(LATER) == "new"
    assert set(desk.said) == {
        "sequences/ and templates/ here are older than what was applied elsewhere: bring them up to date"
    }
    desk.file.write_text(OLD)
    assert desk.look(LATER) == "old", "saved since, it is meant"


def in_place(desk: Desk) -> Iterator[None]:
    """nano: truncated, then written, and every byte may be the last one for a while."""
    for size in range(len(NEW) + 1):
        desk.file.write_text(NEW[:size])
        yield


def overwritten(desk: Desk) -> Iterator[None]:
    """Written over the old text, which shows behind the new one until the file is cut."""
    for size in range(len(NEW)):
        desk.file.write_text(NEW[:size] + OLD[size:])
        yield
    desk.file.write_text(NEW)
    yield


def vim(desk: Desk) -> Iterator[None]:
    """A backup by rename, then a new file of the old name."""
    backup = desk.file.with_name("nudge.yaml~")
    (desk.file.parent / "4913").touch()
    yield
    (desk.file.parent / "4913").unlink()
    desk.file.rename(backup)
    yield
    yield from in_place(desk)
    backup.unlink()
    yield


def atomic(desk: Desk) -> Iterator[None]:
    """VS Code and many others: a new file beside it, renamed over the old one."""
    beside = desk.file.with_name("nudge.yaml.tmp-1")
    for size in range(0, len(NEW) + 1, 40):
        beside.write_text(NEW[:size])
        yield
    beside.write_text(NEW)
    beside.replace(desk.file)
    yield


def made_anew(desk: Desk) -> Iterator[None]:
    desk.file.unlink()
    yield
    desk.file.write_text(NEW)
    yield


def moved_away(desk: Desk) -> Iterator[None]:
    """The whole folder, as a sync or a checkout may do it."""
    for name in ("sequences", "templates"):
        (desk.folder / name).rename(desk.folder / f"{name}.old")
        yield
    for name in ("templates", "sequences"):
        (desk.folder / f"{name}.old").rename(desk.folder / name)
        yield
    desk.file.write_text(NEW)
    yield


@pytest.mark.parametrize("save", [in_place, overwritten, vim, atomic, made_anew, moved_away])
def test_nothing_is_taken_up_in_the_middle_of_a_save(desk: Desk, save: Callable[[Desk], Iterator[None]]) -> None:
    for _ in save(desk):
        assert desk.look() == "old"
    assert desk.said == []
    assert desk.look(LATER) == "new"


def test_a_save_that_was_cut_off_is_refused_or_at_least_a_whole_number_of_lines(desk: Desk) -> None:
    for size in range(0, len(NEW), 3):
        desk.file.write_text(NEW[:size])
        before = desk.inst.library.version
        if desk.look(SETTLED + MOMENT) not in ("old", "new"):
            assert NEW[:size].endswith("\n"), NEW[:size]
        desk.inst = replace(desk.inst, library=read_again(desk, before))


def read_again(desk: Desk, version: str) -> Library:
    """Back to the old version, for the next cut."""
    desk.file.write_text(OLD)
    books, _ = read_library(desk.inst.config)
    assert books.version == version
    return books


def test_a_letter_that_ends_in_the_middle_of_a_line_waits_for_longer(desk: Desk) -> None:
    words = desk.folder / "templates/hello.md"
    words.write_text(words.read_text()[:-20])
    before = desk.inst.library.version
    desk.look(SETTLED + MOMENT)
    assert desk.inst.library.version == before
    assert unfinished(desk.inst, changed_at(desk.folder) + SETTLED) > timedelta(seconds=50)
    desk.look(LATER)
    assert desk.inst.library.version != before


def test_the_last_line_of_a_file_needs_no_end(desk: Desk) -> None:
    desk.file.write_text(NEW.rstrip("\n"))
    assert desk.look(SETTLED + MOMENT) == "old"
    assert desk.look(LATER) == NEW.rstrip("\n")


def test_a_sequence_with_people_in_it_does_not_go_by_itself(desk: Desk) -> None:
    desk.file.unlink()
    assert desk.look(LATER) == "old"
    assert "sequences/nudge.yaml is gone, and somebody is in it" in desk.said[-1]
    (desk.folder / "sequences/other.yaml").unlink()
    desk.file.write_text(OLD)
    desk.look(LATER)
    assert "other" not in desk.inst.library.sequences, "nobody is in it"


def test_what_an_editor_keeps_beside_a_file_is_no_edit(desk: Desk) -> None:
    before = desk.inst.library.version
    for name in (".nudge.yaml.swp", "nudge.yaml~", "#nudge.yaml#", "._nudge.yaml"):
        (desk.file.parent / name).write_text("half")
    (desk.file.parent / ".#nudge.yaml").symlink_to("ops@laptop.1234")  # an Emacs lock points nowhere
    desk.look(LATER)
    assert (desk.inst.library.version, desk.said) == (before, [])


def test_while_one_writes_and_the_other_looks_only_whole_versions_run(desk: Desk) -> None:
    """Both for real, beside each other: an editor that saves again and again, and looks by the system's clock."""
    done = threading.Event()

    def saving() -> None:
        for save in (in_place, vim, atomic, overwritten) * 2:
            for _ in save(desk):
                pass
            desk.file.write_text(OLD)
        desk.file.write_text(NEW)
        done.set()

    editor = threading.Thread(target=saving)
    editor.start()
    while not done.is_set():
        desk.inst = take_up(desk.inst, datetime.now(UTC), desk.said.append)
        assert desk.inst.library.sources["sequences/nudge.yaml"] == OLD
    editor.join()
    assert desk.look(LATER) == "new"


# --- what is said before and after -----------------------------------------------------------------------------------

COUNTED = three(
    "id: a, email: hello", "id: b, at: start + 3 days, email: again", "id: c, at: start + 1 week, email: last"
)


def test_a_plan_names_every_date_that_moves_and_every_step_that_drops_out_and_every_text_that_changes(
    here: Office,
) -> None:
    edited(here, COUNTED)
    here.enroll(DANA, "nudge")
    here.work()
    text = three(
        "id: a, email: hello", "id: b, at: start + 4 days, email: again", "id: d, at: start + 8 days, email: last"
    )
    books = library(
        {"nudge": text}, {"again": "---\nsubject: Again\n---\nOther words.\n", "hello": "---\nsubject: H\n---\nNew.\n"}
    )
    assert edits.plan(here.inst, books, here.now).lines() == [
        "sequence nudge: changed (steps added d; changed b; removed c)",
        "template again: changed",
        "template hello: changed",
        f"{DANA} in nudge: b is due Fri 6 Mar 2026 09:00 (was Thu 5 Mar 2026 09:00)",
        f"{DANA} in nudge: c drops out",
        f"{DANA} in nudge: d is due Tue 10 Mar 2026 09:00",
        f"{DANA} in nudge: other words in b",
    ]
    assert here.sent() == ["a"] and here.inst.library.version != books.version, "nothing has happened"


def test_behind_a_step_that_was_removed_it_goes_on_when_the_plan_says(here: Office) -> None:
    """It used to wait for the time of the step that was gone, and then to send all that had come due meanwhile."""
    edited(here, COUNTED)
    dana = here.enroll(DANA, "nudge")
    here.work()
    text = three(
        "id: a, email: hello", "id: x, at: start + 1 day, email: again", "id: c, at: start + 1 week, email: last"
    )
    said = edits.plan(here.inst, library({"nudge": text}), here.now).lines()
    assert f"{DANA} in nudge: x is due Tue 3 Mar 2026 09:00" in said
    edited(here, text)
    assert (here.of(dana).step, here.of(dana).next_at) == ("x", here.now + timedelta(days=1))
    here.run(days=1)
    assert here.sent() == ["a", "x"]


def test_the_story_says_when_an_edit_changed_what_somebody_is_in(here: Office) -> None:
    edited(here, COUNTED)
    dana = here.enroll(DANA, "nudge")
    here.work()
    books = library({"nudge": COUNTED.replace("3 days", "4 days")}, {"last": "---\nsubject: L\n---\nOther words.\n"})
    here.inst = edits.apply(here.inst, books, here.now)
    told = [line.text for line in here.store.story(dana.contact)]
    assert told[-2:] == [
        f"nudge: the sequence was edited (version {books.version})",
        f"nudge: other words in c (version {books.version})",
    ]
