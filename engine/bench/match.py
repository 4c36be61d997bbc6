"""To which email, person and enrollment a reply belongs, among a million emails that were sent against a thousand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from engine.bench.crowd import sent_ids, with_crowd
from engine.bench.harness import Ground, Row, compare_in_slices
from engine.core import match
from engine.core.match import Known
from engine.core.message import parse
from engine.core.model import Event, Message
from engine.store import Store, find_sent, open_store

REPLIES = 200
REPLY = """\
From: Dana <someone@elsewhere.example>
To: rep0@bench.example
Subject: Re: An introduction
Message-ID: <{n}@elsewhere.example>
In-Reply-To: {id}
References: <first@elsewhere.example> {id}

Yes, gladly.
"""


def measure(ground: Ground) -> Iterator[Row]:
    now = datetime.now(UTC)
    many, few = ground.pick(100, 1_000_000), ground.pick(10, 1_000)
    stores = [(store := with_crowd(ground, people, now).store, replies(Path(store))) for people in (many, few)]
    with closing(open_store(stores[0][0])) as large, closing(open_store(stores[1][0])) as small:
        slices, times = ground.pick((1, 2), (50, REPLIES // 10))
        note = f"{many:,} sent ids against {few:,}"
        yield compare_in_slices(
            "match", 1.2, matching(large, stores[0][1]), matching(small, stores[1][1]), slices=slices, times=times,
            pairs=ground.pairs, note=note,
        )  # fmt: skip


def replies(store: Path) -> list[Message]:
    return [parse(REPLY.format(n=n, id=id).encode()) for n, id in enumerate(sent_ids(store, REPLIES))]


def matching(store: Store, messages: list[Message]) -> Callable[[], None]:
    """Matches one of the messages, the next one each time."""
    known = Known(
        sent=lambda ids: find_sent(store, ids), contact=store.contact, at=store.contact_at, colleagues=store.colleagues,
        last=store.last_sent_to,
    )  # fmt: skip
    endless = itertools.cycle(messages)

    def one() -> None:
        message = next(endless)
        found = match.by_reference(message, known)
        assert found.rule == "reference" and found.email and found.email.message_id in message.in_reply_to
        assert found.contact
        hearer = match.hearer(store.enrollments_of(found.contact.id), found.email.enrollment, (Event.REPLY,), ())
        assert hearer and hearer.id == found.email.enrollment

    return one
