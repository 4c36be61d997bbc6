"""The clocks: the one that runs, and one that runs at the same pace but jumps over the time in which nothing happens. Only the
outermost layer holds a clock; everything else is told the time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

#: A sleep is never longer, so that a laptop that was asleep notices within this time that it is late.
SLEEP_SECONDS_MAX = 60.0


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, aware and in UTC."""
        ...

    async def wait(self, until: datetime | None, wake: asyncio.Event) -> None:
        """Returns once `until` (UTC; None: never) has come or `wake` is set; clears `wake`."""
        ...


class RealClock:
    """The machine's own."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def wait(self, until: datetime | None, wake: asyncio.Event) -> None:
        seconds = SLEEP_SECONDS_MAX if until is None else (until - self.now()).total_seconds()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), max(0.0, min(seconds, SLEEP_SECONDS_MAX)))
        wake.clear()


class JumpClock:
    """Begins at `start` (UTC), runs as fast as any clock, and jumps when it is told to."""

    def __init__(self, start: datetime) -> None:
        self._start, self._began = start, time.monotonic()
        self._jumped = timedelta(0)
        self._moved = asyncio.Event()
        self._awaited: dict[object, datetime] = {}

    def now(self) -> datetime:
        return self._start + self._jumped + timedelta(seconds=time.monotonic() - self._began)

    def jump_to(self, at: datetime) -> None:
        """Forward only."""
        self._jumped += max(timedelta(0), at - self.now())
        self._moved.set()
        self._moved = asyncio.Event()

    def waiting_until(self) -> datetime | None:
        """The earliest time for which anything waits."""
        return min(self._awaited.values(), default=None)

    async def wait(self, until: datetime | None, wake: asyncio.Event) -> None:
        token = object()
        if until is not None:
            self._awaited[token] = until
        try:
            while not wake.is_set() and (until is None or self.now() < until):
                seconds = SLEEP_SECONDS_MAX if until is None else (until - self.now()).total_seconds()
                await _first(min(seconds, SLEEP_SECONDS_MAX), wake, self._moved)
        finally:
            self._awaited.pop(token, None)
        wake.clear()


async def _first(seconds: float, *events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
