"""Four mailboxes at a server that is 20 ms away, against one connection to it: what waits for an answer must not keep the others
waiting."""

from __future__ import annotations

from collections.abc import Iterator

from engine.bench.harness import Ground, Row
from engine.bench.send import row
from engine.bench.sink import sink

ROUND_TRIP_SECONDS = 0.02
MAILBOXES = 4


def measure(ground: Ground) -> Iterator[Row]:
    with sink(ROUND_TRIP_SECONDS) as server:
        yield row(ground, server, "rtt", MAILBOXES, 3.8, emails=ground.pick(8, 100))
