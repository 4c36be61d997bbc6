"""Very many people of whom nothing is due: each a contact, an enrollment whose next step is weeks away, and one email that was
sent. They are written past the store, in one statement a table, because nobody waits until a million are enrolled."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from engine.bench import project
from engine.bench.harness import Ground
from engine.config import Config
from engine.rows import micros
from engine.store import open_store

NEXT = timedelta(days=20)
CONTACTS = """
INSERT INTO contact (id, email, domain, name, first_name, company, title, zone, country, subdivision, language, owner,
  aliases, fields)
SELECT printf('c%010d', i), printf('dana%d@client%d.example', i, i), printf('client%d.example', i), 'Dana Whitfield', 'Dana',
  printf('Client %d', i), '', '', '', '', '', :rep, '[]', '{}' FROM crowd"""
ADDRESSES = "INSERT INTO address (address, contact) SELECT email, id FROM contact"
ENROLLMENTS = """
INSERT INTO enrollment (id, sequence, version, contact, client, rep, root, prospect, begun_at, start_at, state, variables, step,
  due_at, next_at, in_hand, answered, visits, passed, tries, parent, cause, thread, referral, reason, outcome, revision)
SELECT printf('e%010d', i), 'one_email', 'bench', printf('c%010d', i), printf('c%010d', i), :rep, printf('e%010d', i), '', :begun,
  :begun, 'active', :variables, 'hello', :next + i, :next + i, '', '', '{}', '[]', 0, '', '', printf('e%010d', i), '', '', '', 3
FROM crowd"""
SENT = """
INSERT INTO outbox (id, enrollment, step, visit, attempt, mailbox, contact, recipient, state, due_at, not_before, follow_up,
  message_id, own_id, thread, subject, text, raw, template, version, token, deadline, deferrals, revision, sent_at, filed_at, note)
SELECT printf('o%010d', i), printf('e%010d', i), 'before', 1, 0, :rep, printf('c%010d', i), printf('dana%d@client%d.example', i, i),
  'sent', :begun, :begun, 1, '<' || lower(hex(randomblob(16))) || '@bench.example>', '<' || lower(hex(randomblob(16))) ||
  '@bench.example>', printf('e%010d', i), 'An introduction, if you are willing', '', x'', 'ask/who_else', 'bench', 1, :begun, 0, 1,
  :begun + i, :begun + i, '' FROM crowd"""
INDEXES = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
VARIABLES = '{"problem": "tenders that take weeks", "ideal_client": "a company of 20 to 200 people"}'


def with_crowd(ground: Ground, people: int, now: datetime) -> Config:
    """A project whose store holds so many; made once and shared."""
    return ground.once(f"crowd {people}", lambda: _made(ground, people, now))


def _made(ground: Ground, people: int, now: datetime) -> Config:
    config = project.make(ground.fresh(f"crowd-{people}"), project.UNUSED_PORT)
    with closing(open_store(config.store)) as store:
        store.add_mailbox(config.mailboxes[0].address)
    fill(Path(config.store), config.mailboxes[0].address, people, now)
    return config


def fill(store: Path, rep: str, people: int, now: datetime) -> None:
    values = {
        "rep": rep,
        "people": people,
        "begun": micros(now - NEXT),
        "next": micros(now + NEXT),
        "variables": VARIABLES,
    }
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000", "foreign_keys=OFF"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        indexes = connection.execute(INDEXES).fetchall()  # made at the end, each at once
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        connection.execute("CREATE TEMP TABLE crowd (i INTEGER PRIMARY KEY)")
        connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :people) INSERT INTO crowd SELECT i FROM n",
            {"people": people},
        )
        connection.execute("BEGIN")
        for statement in (CONTACTS, ADDRESSES, ENROLLMENTS, SENT):
            connection.execute(statement, values)
        connection.execute("COMMIT")
        for _, index in indexes:
            connection.execute(index)
        connection.execute("PRAGMA journal_mode=WAL").fetchall()


def sent_ids(store: Path, count: int) -> list[str]:
    """Message-IDs of emails that were sent, from all over the store."""
    with closing(sqlite3.connect(store)) as connection:
        (people,) = connection.execute("SELECT max(rowid) FROM outbox").fetchone()
        step = max(1, people // count)
        rows = connection.execute(
            "SELECT message_id FROM outbox WHERE rowid % :step = 0 LIMIT :count", {"step": step, "count": count}
        )
        return [id for (id,) in rows]
