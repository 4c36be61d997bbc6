"""Editing while people are in flight: what was sent stays sent, whatever ops do to a sequence and whenever; a plan says what
follows before it does; and the files may be looked at in the middle of any editor's save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
