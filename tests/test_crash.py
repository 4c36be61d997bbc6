"""Killed at any point, the daemon sends nothing twice, loses nothing, and overlooks no answer: over real sockets, against Dovecot
and a server that writes down every acceptance, on both databases."""

from __future__ import annotations

import uuid
from pathlib import Path

import crash
import pytest
import servers
from conftest import REPS

STORIES, DEATHS = 5, 6
pytestmark = pytest.mark.real


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    """The store of a story: a file of its own, or a database of its own."""
    if request.param == "sqlite":
        return "whoelse.db"
    import psycopg

    base = request.getfixturevalue("postgres_url")
    name = f"crash_{uuid.uuid4().hex}"
    with psycopg.connect(base, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return servers.other_database(base, name)


@pytest.mark.parametrize("seed", range(STORIES))
@pytest.mark.parametrize("sent", ["server", "append"])
def test_killed_at_any_point_it_sends_once_and_overlooks_nothing(
    sent: str, seed: int, store: str, tmp_path: Path, dovecot: servers.Dovecot
) -> None:
    with crash.accepting() as server:
        story = crash.Story(tmp_path, dovecot, REPS.pop(), server, store, sent, seed)
        story.tell(DEATHS)
        told = f"seed {seed}, deaths: {story.deaths}"
        assert story.faults() == [], told
        assert len(story.deaths) == DEATHS
        story.inst.store.close()
