"""Two daemons on one PostgreSQL, or a command beside one: what the other does between a question and what follows from it. Each test
stops the one there, lets the other go as far as it can, and looks at what came of both."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import office
import psycopg
import pytest
from mailboxes import PATIENCE_SECONDS
from office import BARRY_PERSON, DANA, LEE, MONDAY, SAM, Office, fresh_schema

from engine import copies, database, decisions, edits, enrollments, inbox
from engine.clock import JumpClock
from engine.core.model import Enrollment, Person, State
from engine.daemon import LEASE, Daemon
from engine.database import Crossed
from engine.installation import Installation
from engine.library import pack
from engine.store import open_store

pytestmark = pytest.mark.real
#: More often than the driver asks before it prepares a statement.
PREPARED = 8


@dataclass
class Two:
    """An office on PostgreSQL, and another daemon beside it."""

    here: Office
    url: str
    threads: list[threading.Thread] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)

    def meanwhile(self, act: Callable[[Office], Any]) -> None:
        """The other does something: returns when it has, or when it waits for what is locked here."""

        def go() -> None:
            store = open_store(self.url)
            other = object.__new__(Office)
            other.__dict__.update(self.here.__dict__)
            other.store, other.inst = store, replace(self.here.inst, store=store)
            try:
                self.said.append(act(other))
            except Exception as error:
                self.said.append(error)
            finally:
                store.close()

        self.threads.append(threading.Thread(target=go))
        self.threads[-1].start()
        end = time.monotonic() + PATIENCE_SECONDS
        with psycopg.connect(self.url, autocommit=True) as admin:
            while self.threads[-1].is_alive() and not self._waits(admin):
                assert time.monotonic() < end
                time.sleep(0.02)

    def _waits(self, admin: Any) -> bool:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return bool(admin.execute(waiting).fetchone()[0])

    def once(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[Office], Any]) -> None:
        """Here, behind the first call of a function, the other acts."""
        original, done = getattr(module, name), []

        def wrapped(*args: Any, **more: Any) -> Any:
            found = original(*args, **more)
            if not done:
                done.append(name)
                self.meanwhile(act)
            return found

        monkeypatch.setattr(module, name, wrapped)

    def both(self) -> list[Any]:
        """What the other has said, once it is through."""
        for thread in self.threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()
        return self.said


@pytest.fixture
def two(postgres_url: str, tmp_path: Path) -> Iterator[Two]:
    with fresh_schema(postgres_url) as url:
        store = open_store(url)
        yield Two(Office(store, tmp_path), url)
        store.close()


def test_an_answer_that_comes_while_another_is_settled_is_not_settled_with_it(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = two.here
    nudge = here.enroll()
    (first,) = here.work()
    here.hear("Who are you again?", to=first)
    two.once(monkeypatch, inbox, "_waiting", lambda other: other.hear("And please call me first.", to=first))
    inbox.settle(here.inst, DANA, "continue", {}, here.now)
    two.both()
    assert [row.text for row in here.store.open_inbound()] == ["And please call me first."]
    assert here.state(nudge) is State.PAUSED


def test_of_two_colleagues_who_are_asked_in_one_instant_one_is(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    here = two.here
    for client in (DANA, LEE):
        here.confirmed(client)
    two.once(monkeypatch, enrollments, "standing", lambda other: other.wish(LEE, "ask"))
    assert isinstance(here.wish(DANA, "ask"), Enrollment)
    (refused,) = two.both()
    assert [refusal.rule for refusal in refused] == ["asked"]


def test_what_two_learn_of_a_referral_is_kept(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    here = two.here
    intro = here.of(here.enroll(DANA, "intro", prospect=BARRY_PERSON))
    barry = Person(**BARRY_PERSON)
    with here.store.transaction():
        decisions.set_referral(here.inst, intro, barry, "named", "", here.now)

    def introduced(other: Office) -> None:
        with other.store.transaction():
            decisions.set_referral(other.inst, intro, barry, "introduced", "", other.now)

    two.once(monkeypatch, decisions, "_completed", introduced)
    with here.store.transaction():
        decisions.set_referral(here.inst, intro, barry, "contacted", "", here.now)
    two.both()
    (referral,) = here.store.referrals()
    assert (referral.contacted_at, referral.introduced_at, referral.state) == (MONDAY, MONDAY, "contacted")


def test_an_answer_to_what_ends_in_that_instant_stays_on_the_list(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    here = two.here
    nudge = here.enroll()
    (first,) = here.work()
    stop = decisions.Stopped("by hand")
    two.once(
        monkeypatch, inbox, "_keep_on_referrals", lambda other: decisions.happen(other.inst, nudge.id, stop, MONDAY)
    )
    here.hear("Let us talk.", to=first)
    assert two.both() and here.state(nudge) is State.STOPPED
    assert [row.text for row in here.store.open_inbound()] == ["Let us talk."]


@pytest.fixture
def daemon(two: Two) -> Iterator[Daemon]:
    """Another daemon's ways with the store; none of its loops runs."""
    inst = two.here.inst
    beside = Daemon(replace(inst.config, store=two.url), JumpClock(MONDAY), inst.key, inst.library)
    yield beside
    for store in beside._stores:
        store.close()


def test_who_waits_in_a_circle_is_told_so_and_goes_round_again(two: Two, daemon: Daemon) -> None:
    """Two enrollments, locked in the two orders: PostgreSQL ends one of the transactions."""
    ids = [two.here.enroll(client).id for client in (DANA, LEE)]
    ended: list[Crossed] = []

    def lock(inst: Installation, ids: list[str], between: Callable[[], None]) -> str:
        with inst.store.transaction():
            inst.store.enrollment(ids[0], lock=True)
            between()
            inst.store.enrollment(ids[1], lock=True)
        return "both"

    def the_other_way(other: Office) -> str:
        try:
            return lock(other.inst, ids[::-1], lambda: None)
        except Crossed as error:
            ended.append(error)
            return "both"

    def crossing(inst: Installation) -> str:
        tries.append("try")
        return lock(inst, ids, lambda: two.meanwhile(the_other_way) if len(tries) == 1 else None)

    tries: list[str] = []
    assert daemon._patiently(crossing) == "both"
    assert two.both() == ["both"]
    assert len(tries) + len(ended) == 2, "one of the two had to begin anew"


def test_a_daemon_takes_up_what_was_applied_before_it_decides(two: Two, daemon: Daemon) -> None:
    here, old = two.here, two.here.inst.library
    here.store.apply_library(old.version, here.now, pack(old))
    fresh = "name: Fresh\nkind: touch\nto: client\nsteps:\n  - {id: first, email: hello}\n"
    here.inst = edits.apply(here.inst, office.library({"fresh": fresh}), here.now)
    begun = here.enroll(DANA, "fresh")
    daemon._patiently(lambda inst: enrollments.advance(inst, here.now))
    assert [row.step for row in here.rows(begun)] == ["first"], "and it is not stopped as removed"


def test_a_daemon_works_on_while_a_newer_version_migrates(two: Two, daemon: Daemon) -> None:
    """What it has asked so often that the driver keeps it prepared is asked of tables that have changed."""
    here = two.here
    nudge = here.enroll(DANA)

    def look(inst: Installation) -> list[str]:
        inst.store.queued(SAM, MONDAY)
        found = inst.store.enrollment(nudge.id)
        return [found.sequence if found else "", *(row.step for row in inst.store.outbox_of(nudge.id))]

    for _ in range(PREPARED):
        daemon._patiently(look)
    with psycopg.connect(two.url, autocommit=True) as newer:
        for table in copies.tables(here.store.database):
            newer.execute(f"ALTER TABLE {table} ADD COLUMN from_later TEXT")
    assert daemon._patiently(look) == ["nudge"]
    assert daemon._patiently(lambda inst: enrollments.advance(inst, MONDAY)) == 1
    assert daemon._patiently(look) == ["nudge", "first"]


def test_one_that_stands_still_inside_a_transaction_holds_up_nobody(
    two: Two, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = re.search(r"session_timeout = '(\d+)s'", database.SESSION)
    assert asked and timedelta(seconds=int(asked[1])) < LEASE
    monkeypatch.setattr(database, "SESSION", database.SESSION.replace(f"{asked[1]}s", "200ms"))
    nudge, frozen = two.here.enroll(DANA), open_store(two.url)
    with pytest.raises(Crossed), frozen.transaction():
        frozen.enrollment(nudge.id, lock=True)
        assert daemon._patiently(lambda inst: enrollments.advance(inst, MONDAY)) == 1
        frozen.enrollment(nudge.id, lock=True)
    frozen.close()
