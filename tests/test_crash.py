"""Killed or frozen at any point, the daemon sends nothing twice, loses nothing, and overlooks no answer: over real sockets, against Dovecot
and a server that writes down every acceptance, on both databases."""

from __future__ import annotations

import random
from pathlib import Path

import crash
import pytest
import servers
from conftest import REPS

STORIES, DEATHS = 5, 6
DAEMONS, MAILBOXES, CONTACTS, BLOWS = 4, 6, 600, 16
PAIRS, PARTS = 30, 6
pytestmark = pytest.mark.real


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    """The store of a story: a file of its own, or a database of its own."""
    if request.param == "sqlite":
        return "whoelse.db"
    return servers.new_database(request.getfixturevalue("postgres_url"))


def test_many_daemons_share_the_work_and_double_nothing(
    tmp_path: Path, dovecot: servers.Dovecot, postgres_url: str
) -> None:
    with crash.accepting() as server:
        reps = [REPS.pop() for _ in range(MAILBOXES)]
        story = crash.Story(tmp_path, dovecot, reps, server, servers.new_database(postgres_url), "append", seed=1)
        story.crowd(DAEMONS, CONTACTS, BLOWS)
        assert story.faults() == []
        assert len(server.ids()) >= (CONTACTS - len(story.doubts())) * len(crash.STEPS)
        assert len(story.doubts()) <= story.deaths.count("kill") * MAILBOXES
        story.inst.store.close()


def plan(database: str, sent: str) -> list[crash.Death]:
    """The deaths of its stories: a kill and a freeze at each point of the server, and at most of the others."""
    others = crash.OWN_POINTS[:6] if sent == "server" else crash.OWN_POINTS[3:]
    return crash.blows(crash.SERVER_POINTS + others, random.Random(f"{database} {sent}"))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_stories_meet_every_point_with_a_kill_and_with_a_freeze(database: str) -> None:
    """What a story plans has happened in the end."""
    plans = [plan(database, sent) for sent in ("server", "append")]
    met = {(death.kind, death.point, death.freezes) for planned in plans for death in planned}
    assert met == {(*point, freezes) for point in crash.POINTS for freezes in (False, True)}
    assert [len(planned) for planned in plans] == [STORIES * DEATHS] * 2


@pytest.mark.parametrize("number", range(STORIES))
@pytest.mark.parametrize("sent", ["server", "append"])
def test_killed_at_any_point_it_sends_once_and_overlooks_nothing(
    sent: str, number: int, store: str, tmp_path: Path, dovecot: servers.Dovecot, request: pytest.FixtureRequest
) -> None:
    """Also where it was frozen, wakes after its attempt is over, and goes on beside the one that has taken its place."""
    database = request.node.callspec.params["store"]
    planned = plan(database, sent)[number * DEATHS :][:DEATHS]
    with crash.accepting() as server:
        story = crash.Story(tmp_path, dovecot, [REPS.pop()], server, store, sent, f"{database} {sent} {number}")
        story.tell(planned)
        assert story.faults() == [], story.deaths
        assert story.deaths == [str(death) for death in planned]
        assert server.met <= {point for _, point in crash.SERVER_POINTS}
        story.inst.store.close()


def test_where_one_of_two_daemons_is_killed_the_other_goes_on(
    tmp_path: Path, dovecot: servers.Dovecot, postgres_url: str
) -> None:
    with crash.accepting() as server:
        story = crash.Story(tmp_path, dovecot, [REPS.pop()], server, servers.new_database(postgres_url), "server", 1)
        story.bequeath()
        assert story.faults() == []
        assert len(server.ids()) == 2 * len(crash.STEPS)
        story.inst.store.close()


def test_the_account_sees_a_duplicate_and_a_body_that_began_too_late(tmp_path: Path, dovecot: servers.Dovecot) -> None:
    with crash.accepting() as server:
        story = crash.Story(tmp_path, dovecot, [REPS.pop()], server, "whoelse.db", "append", seed=1)
        for _ in range(2):
            crash.take(server, "dana@acme.test", b"Message-ID: <twice@demo.test>\r\n\r\nHello\r\n", 0.0)
        server.bodies, story.thaws = [("127.0.0.2", 1.0, 6.0), ("127.0.0.3", 1.0, 6.0)], [("127.0.0.2", 5.0)]
        late = "a body began 1.0 s after its daemon had slept over its attempt"
        assert story.faults() == ["accepted 2 times: <twice@demo.test>", late]
        story.inst.store.close()


@pytest.mark.parametrize("part", range(PARTS))
def test_of_two_daemons_on_one_file_one_runs_and_the_other_says_who_holds_it(
    part: int, tmp_path: Path, dovecot: servers.Dovecot
) -> None:
    """Who is killed in the middle of a body leaves a doubt. Where the server files Sent it is settled, and all three emails leave;
    elsewhere it is held, and the rest waits behind it."""
    for number in range(part, PAIRS, PARTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        sent = ("server", "append")[number // PARTS % 2]
        with crash.accepting() as server:
            story = crash.Story(folder, dovecot, [REPS.pop()], server, "whoelse.db", sent, seed=number)
            story.pair()
            assert story.faults() == [], f"seed {number}: {story.deaths}"
            story.inst.store.close()
