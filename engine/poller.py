"""Who rests, who is due, who may be visited: the one thread that waits on every idle IMAP connection.

A Watch belongs to exactly one thread at a time: to the poller while it rests, to one worker during a visit. Nothing may block
the poller; it alone touches its own tables, and everyone else gives it orders. A mailbox that waits for a worker still
rests, so it is never deaf."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import selectors
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from engine.account import Account
from engine.imap import Link

#: Why a mailbox is visited: its peer spoke; somebody asked; it is time to connect, to renew IDLE, or to read it in full.
Why = Literal["spoke", "asked", "due"]

#: How many visits there may be at the same time, of the kinds that may meet a dead peer and wait for it: of all mailboxes,
#: and of those at one server (a dead one must not take up every worker).
VISITS_MAX: dict[Why, int] = {"asked": 32, "due": 16}
VISITS_AT_ONE_HOST_MAX: dict[Why, int] = {"asked": 8, "due": 4}

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Watch:
    """One watched mailbox. Questions may come from any thread; all else belongs to the thread that has the Watch."""

    name: str
    account: Account
    link: Link | None = None
    failures: int = 0
    trouble: str = ""
    full_read_due: float = 0.0
    removed: bool = False
    withheld: Counter[tuple[str, int]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    reads: list[Future[bool]] = field(default_factory=list)
    questions: deque[Question] = field(default_factory=deque)

    def asked(self) -> bool:
        return bool(self.reads or self.questions)

    def drop(self) -> None:
        link, self.link = self.link, None
        if link is not None:
            link.drop()

    def give_up(self, error: Exception) -> None:
        """Nobody waits any longer."""
        with self.lock:
            reads, self.reads = self.reads, []
            questions, self.questions = self.questions, deque()
        for future in reads:
            future.set_result(False)
        for question in questions:
            question.fail(error)


@dataclass(frozen=True, slots=True)
class Question:
    """Something to do on the mailbox's connection for someone who waits: `answer` settles it, `fail` gives it up."""

    answer: Callable[[Link], None]
    fail: Callable[[Exception], None]


@dataclass(slots=True)
class Lane:
    """The visits of one kind at one server: those under way, and the mailboxes that wait for their turn (and rest)."""

    under_way: set[Watch] = field(default_factory=set)
    waiting: deque[Watch] = field(default_factory=deque)


class Poller:
    """Waits for all and sends visits by `send(watch, why)`, which must not block; `park` gives a mailbox back."""

    def __init__(self, send: Callable[[Watch, Why], None]) -> None:
        self._send = send
        self._orders: deque[Callable[[], None]] = deque()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._resting: dict[Watch, tuple[int, float]] = {}  # descriptor (-1: none), when it is due
        self._due: list[tuple[float, int, Watch]] = []
        self._order = itertools.count()
        self._lanes: defaultdict[tuple[Why, str], Lane] = defaultdict(Lane)
        self._lane_of: dict[Watch, tuple[Why, str]] = {}
        self._under_way: Counter[Why] = Counter()
        self._halted = False
        self._thread = threading.Thread(target=self._run, name="imap-poll", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.tell(self._halt)
        self._thread.join()
        self._selector.close()
        self._wake_r.close()
        self._wake_w.close()

    def tell(self, order: Callable[[], None]) -> None:
        """From any thread: carry this out in the poller's."""
        self._orders.append(order)
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: it has ended
            self._wake_w.send(b"x")

    def _halt(self) -> None:
        self._halted = True

    def _run(self) -> None:
        while not self._halted:
            for key, _ in self._selector.select(self._seconds_to_wait()):
                if key.data is not None:
                    self._visit(key.data, "spoke")
            with contextlib.suppress(BlockingIOError):
                self._wake_r.recv(4096)
            while self._orders:
                try:
                    self._orders.popleft()()
                except Exception:  # a bug, and still no reason to stop reading every mailbox
                    log.exception("the poller could not carry out an order")
            self._visit_due()

    def _seconds_to_wait(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def _visit_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            until, _, watch = heapq.heappop(self._due)
            if watch in self._resting and self._resting[watch][1] == until:  # else it was visited since
                self._queue(watch, "due")

    def _queue(self, watch: Watch, why: Why) -> None:
        """Visit it when its turn comes; until then it rests on and hears what its peer says."""
        self._lanes[why, watch.account.host].waiting.append(watch)
        self._advance(why, watch.account.host)

    def _advance(self, why: Why, host: str) -> None:
        lane = self._lanes[why, host]
        while lane.waiting and len(lane.under_way) < VISITS_AT_ONE_HOST_MAX[why] and not self._full(why):
            watch = lane.waiting.popleft()
            if self._wants(watch, why):
                lane.under_way.add(watch)
                self._lane_of[watch] = why, host
                self._under_way[why] += 1
                self._visit(watch, why)

    def _full(self, why: Why) -> bool:
        return self._under_way[why] >= VISITS_MAX[why]

    def _wants(self, watch: Watch, why: Why) -> bool:
        """It may have been visited for another reason while it waited."""
        if watch not in self._resting:
            return False
        if why == "asked":
            return watch.removed or (watch.link is not None and watch.asked())
        return self._resting[watch][1] <= time.monotonic()

    def _visit(self, watch: Watch, why: Why) -> None:
        fd, _ = self._resting.pop(watch)
        if fd >= 0:
            self._selector.unregister(fd)  # before anyone can close it: numbers are used again
        self._send(watch, why)

    # --- orders ---

    def park(self, watch: Watch, seconds: float) -> None:
        """A visit is over (or the first is to come): rest until the peer speaks or this time has passed."""
        self.release(watch)
        fd = watch.link.fileno() if watch.link is not None else -1
        if fd >= 0:
            try:
                self._selector.register(fd, selectors.EVENT_READ, watch)
            except (OSError, ValueError, KeyError):  # it was closed under us: a visit will find out
                log.warning("mailbox %s: its connection cannot be waited on", watch.name, exc_info=True)
                fd, seconds = -1, 0.0
        until = time.monotonic() + seconds
        self._resting[watch] = fd, until
        heapq.heappush(self._due, (until, next(self._order), watch))
        self.heed(watch)

    def heed(self, watch: Watch) -> None:
        """Somebody asked something of it, or removed it. Whoever visits it now comes by here afterwards."""
        if self._wants(watch, "asked"):
            self._queue(watch, "asked")
        elif watch in self._resting and watch.failures and watch.asked():
            self._send(watch, "asked")  # it rests on: to ask does not shorten the wait after a failure

    def release(self, watch: Watch) -> None:
        """Its visit is over, so another may begin."""
        key = self._lane_of.pop(watch, None)
        if key is None:
            return
        why, host = key
        was_full = self._full(why)
        self._lanes[key].under_way.discard(watch)
        self._under_way[why] -= 1
        self._advance(why, host)
        if was_full:
            for other in [place for place, lane in self._lanes.items() if place[0] == why and lane.waiting]:
                self._advance(*other)
