"""The loops around the verbs: what is due goes into the outbox, what may leave leaves, what comes in is read. One asyncio
loop speaks SMTP and keeps time; the store is touched in worker threads, one connection each; the watcher's threads read the
mailboxes. A mailbox that fails is alone in failing, and nothing here decides anything."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

from engine import desk, doubts, enrollments, folder, inbox, intake, notify, outbox, triggers, troubles
from engine.account import Account
from engine.clock import Clock
from engine.config import Config, Mailbox
from engine.core import compose
from engine.core.model import Alert, OutboxMessage, OutboxState
from engine.database import Crossed, Unusable
from engine.decisions import OldLibrary
from engine.endpoint import Answer, Endpoint
from engine.errors import UserError
from engine.imap import Fetched, Position, Unreadable
from engine.installation import Installation
from engine.library import Library, unpack
from engine.outbox import Claim, NeedsRead, Nothing
from engine.project import take_up
from engine.reading import Workers
from engine.secrets import endpoint_token, secret
from engine.smtp import Accepted, LoginRefused, Refused, Session
from engine.store import Store, Told, open_store
from engine.watcher import Watcher

log = logging.getLogger("whoelse")
T = TypeVar("T")
#: What a mailbox does next.
Step = Claim | NeedsRead | Nothing

LEASE, LEASE_RENEWAL = timedelta(seconds=15), timedelta(seconds=5)
STORE_THREADS = 4
#: What a follow-up waits for is told once, also where the reason changes.
HELD = "held: the mailbox cannot be read"
#: So often a verb is carried out anew.
TRIES_MAX = 3
STOP_PATIENCE_SECONDS = 30.0
READ_PATIENCE_SECONDS = 90.0
READ_AGAIN = timedelta(seconds=30)
LOOK_AGAIN = timedelta(minutes=1)
KEEPING_HOUSE = timedelta(hours=1)
#: A step of the clock beyond the machine's own time; a smaller one is lost in what the gate leaves (`outbox.BODY_TIME`).
CLOCK_STEP, NO_TIME = timedelta(seconds=5), timedelta(0)
#: Other commands work on the same store and files: so soon the daemon notices.
LOOK_AROUND = timedelta(seconds=5)
#: So long it is known that another system has said something under a key.
REQUESTS_KEPT = timedelta(days=30)


class Daemon:
    """Many mailboxes in one process, until it is stopped."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        key: bytes,
        library: Library,
        *,
        on_told: Callable[[Told], None] | None = None,
        watch: Callable[..., Watcher] = Watcher,
    ) -> None:
        """`on_told` hears every line of the history, in the thread that committed it."""
        self.config, self.clock = config, clock
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._key, self._library, self._on_told, self._watch = key, library, on_told, watch
        self._local = threading.local()
        self._stores: list[Store] = []
        self._executor = ThreadPoolExecutor(STORE_THREADS, "store")
        #: What is carried out together keeps to one connection: SQLite forgets what it knows of a file that another wrote to.
        self._sender = ThreadPoolExecutor(1, "store-send")
        self._readers = Workers()
        self._sessions: dict[str, Session] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._wanted: list[tuple[str, Callable[[Installation], Any], asyncio.Future[Any]]] = []
        self._carrying: asyncio.Task[None] | None = None
        self._busy = 0
        self._down: dict[str, str] = {}
        self._looked = clock.now(), time.monotonic()
        self._unread: set[str] = set()
        #: Mailboxes of which is known that no other copy of the store sends from them.
        self._alone: set[str] = set()
        self._said: list[str] = []
        #: Where other systems tell of moments, once it listens.
        self.endpoint: Endpoint | None = None

    # --- for whoever runs it -----------------------------------------------------------------------------------------

    async def start(self, loops: bool = True) -> None:
        """Opens everything and returns; the `loops` run on. Raises Unusable when the store cannot be opened."""
        self._loop = asyncio.get_running_loop()
        await self._in_store(self._prepare)
        self._watcher = self._watch(
            position=self._position,
            on_mail=self._mail,
            on_position=self._moved,
            on_read=self._read,
            on_down=self._unreadable,
            rescan=self._read_again_since,
            on_set_aside=self._set_aside,
            now=self.clock.now,
            full_read_seconds=timedelta(minutes=self.config.full_read.minutes).total_seconds(),
        )
        for mailbox in self.config.mailboxes:
            self._sessions[mailbox.address] = Session(account(mailbox, "smtp"))
            self._watcher.add(mailbox.address, account(mailbox, "imap"))
            if loops:
                self._run(mailbox.address, partial(self._send, mailbox))
        if loops:
            self._readers.warm()
            self._run("triggers", self._ask_triggers)
            self._run("advance", self._advance)
            self._run("house", self._keep_house)
            self._run("library", self._refresh)
            self._run("doubts", self._settle_doubts)
            self._run("desk", self._keep_desk)
            self._run("alerts", self._alert)
            await self._hear_others()

    async def stop(self) -> None:
        """Finishes the message in hand, for at most 30 seconds, and gives the mailboxes back."""
        self._stopping.set()
        if self.endpoint is not None:
            await self.endpoint.close()
        self.poke()
        _, late = await asyncio.wait(self._tasks, timeout=STOP_PATIENCE_SECONDS) if self._tasks else ((), ())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await asyncio.to_thread(self._watcher.stop)
        self._readers.close()
        for session in self._sessions.values():
            await session.close()
        await self._in_store(self._give_back)
        self._executor.shutdown()
        self._sender.shutdown()
        for store in self._stores:
            with contextlib.suppress(Exception):
                store.close()

    async def once(self) -> bool:
        """One pass: every mailbox is read, what is due is decided, what may leave leaves. False when one could not be read."""
        read = await self.read_all()
        await self._settle_doubts()
        if self.config.moments.folder:
            await self._take_in()
        await self._in_store(lambda inst: triggers.advance(inst, self.clock.now()))
        await self._in_store(lambda inst: enrollments.advance(inst, self.clock.now()))
        await self._in_store(lambda inst: desk.advance(inst, self.clock.now()))
        await self._alert()
        for mailbox in self.config.mailboxes:
            step = None
            while not isinstance(step, Nothing):
                step = await self._next(mailbox, step)
        for mailbox in self.config.mailboxes:
            await self._file(mailbox)
        await self._alert()
        return read

    async def read_all(self) -> bool:
        """Every mailbox read to its end now; False when one could not be."""
        reads = [asyncio.wrap_future(self._watcher.read_now(m.address)) for m in self.config.mailboxes]
        return all(await asyncio.gather(*reads))

    async def next_due(self) -> datetime | None:
        """When anything happens next of its own accord (UTC)."""
        return await self._in_store(lambda inst: inst.store.next_due())

    def quiet(self) -> bool:
        """Every loop waits for a time or an event."""
        return self._busy == 0

    def poke(self) -> None:
        """Something changed: all loops look again. From the loop's thread."""
        for wake in self._wakes.values():
            wake.set()

    def _poke_from_thread(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self.poke)

    # --- the store, in its threads -----------------------------------------------------------------------------------

    def _here(self) -> Installation:
        """This thread's installation, with a connection of its own and the library of this moment."""
        store: Store | None = getattr(self._local, "store", None)
        if store is None:
            store = self._local.store = open_store(self.config.store)
            store.listener = self._told
            self._stores.append(store)
        return Installation(self.config, store, self._library, self._key)

    async def _in_store(self, verb: Callable[[Installation], T]) -> T:
        return await self._loop.run_in_executor(self._executor, self._patiently, verb)

    def _patiently(self, verb: Callable[[Installation], T]) -> T:
        """Carries out a verb, and anew where it and another waited for each other, or where it needs what another process has just
        applied."""
        for _ in range(TRIES_MAX):
            try:
                return verb(self._here())
            except Crossed as error:
                log.info("the store is asked again: %s", error)
            except OldLibrary:
                self._library = applied_last(self._here())
        return verb(self._here())

    def _together(self, address: str, verb: Callable[[Installation], T]) -> asyncio.Future[T]:
        """As `_in_store`, for a mailbox, in one transaction with what else is wanted at the same time, in the order in which this
        mailbox wants it: to commit costs as much for eight as for one. It is committed when the future is done."""
        result: asyncio.Future[T] = self._loop.create_future()
        self._wanted.append((address, verb, result))
        if not self._carrying:
            self._carrying = asyncio.create_task(self._carry_out(), name="together")
        return result

    async def _carry_out(self) -> None:
        try:
            while self._wanted:
                # By address: two daemons on one store take the rows of their mailboxes in the same order.
                wanted, self._wanted = sorted(self._wanted, key=itemgetter(0)), []
                verbs = [verb for _, verb, _ in wanted]
                try:
                    done = await self._loop.run_in_executor(self._sender, self._all, verbs)
                except Exception as error:  # the store itself: nobody's verb was tried
                    done = [error for _ in wanted]
                for (_, _, result), value in zip(wanted, done, strict=True):
                    if result.cancelled():
                        continue
                    if isinstance(value, Exception):
                        result.set_exception(value)
                    else:
                        result.set_result(value)
        finally:
            self._carrying = None

    def _all(self, verbs: Sequence[Callable[[Installation], Any]]) -> list[Any]:
        """What each verb returns, or the error that it raised; all in one transaction. Where one fails, nothing of them was kept,
        and each is carried out anew in a transaction of its own, so that nobody suffers by another's fault."""
        inst = self._here()
        if len(verbs) > 1:
            with contextlib.suppress(Exception), inst.store.transaction():
                return [verb(inst) for verb in verbs]
        done: list[Any] = []
        for verb in verbs:
            try:
                value = self._patiently(partial(whole, verb))
            except Exception as error:  # also of the commit
                value = error
            done.append(value)
        return done

    def _prepare(self, inst: Installation) -> None:
        for mailbox in self.config.mailboxes:
            inst.store.add_mailbox(mailbox.address)

    def _give_back(self, inst: Installation) -> None:
        for mailbox in self.config.mailboxes:
            inst.store.end_lease(mailbox.address, self.owner)

    def _lease(self, inst: Installation, address: str) -> int | None:
        now = self.clock.now()
        return inst.store.lease(address, self.owner, now, now + LEASE)

    def _told(self, line: Told) -> None:
        if log.isEnabledFor(logging.INFO):
            contact = self._here().store.contact(line.contact) if line.contact else None
            log.info(
                "%s%s", f"{contact.email}: " if contact else "", line.text, extra={"kind": line.kind, "at": line.at}
            )
        if self._on_told:
            self._on_told(line)

    # --- the loops ---------------------------------------------------------------------------------------------------

    def _run(self, name: str, work: Callable[[], Awaitable[datetime | None]]) -> None:
        """Repeats `work`, which says until when there is nothing to do (None: until something happens). A failure is logged and
        tried again after a minute: no loop ends before the daemon does."""
        wake = self._wakes[name] = asyncio.Event()
        wake.set()

        async def loop() -> None:
            while not self._stopping.is_set():
                wake.clear()
                with self._working():
                    try:
                        until = await work()
                    except Unusable as error:
                        log.error("%s: the store cannot be used: %s; tried again within a minute", name, error)
                        until = self.clock.now() + LOOK_AGAIN
                    except Exception:
                        log.exception("%s: failed; tried again within a minute", name)
                        until = self.clock.now() + LOOK_AGAIN
                await self.clock.wait(until, wake)

        self._tasks.append(asyncio.create_task(loop(), name=name))

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    async def _advance(self) -> datetime | None:
        """Decides what is due, and wakes the mailboxes that have something to send, whoever put it there."""

        def due(inst: Installation) -> tuple[list[str], datetime | None]:
            now = self.clock.now()
            enrollments.advance(inst, now)
            return inst.store.mailboxes_due(now), inst.store.next_enrollment_at()

        mailboxes, until = await self._in_store(due)
        for address in mailboxes:
            if address in self._wakes:
                self._wakes[address].set()
        soon = self.clock.now() + LOOK_AROUND
        return min(until, soon) if until else soon

    async def _ask_triggers(self) -> datetime | None:
        """Starts what moments, schedules and yearly dates start, also those that another command has just reported."""
        until = await self._in_store(lambda inst: triggers.advance(inst, self.clock.now()))
        self._wakes["advance"].set()
        soon = self.clock.now() + LOOK_AROUND
        return min(until, soon) if until else soon

    async def _hear_others(self) -> None:
        """Begins to watch the folder and to listen, where the config says so. Raises UserError where that cannot be."""
        moments = self.config.moments
        if moments.folder:
            self._run("folder", self._take_in)
        if moments.listen is None:
            return
        host, port = moments.listen
        names = frozenset({"localhost", "127.0.0.1", "::1", host.lower(), *map(str.lower, moments.hosts)})
        endpoint = Endpoint(endpoint_token(self.config, os.environ), names, self._hear)
        try:
            await endpoint.listen(host, port)
        except OSError as error:
            where, remedy = f"{host}:{port}", "choose another port under moments: in the config"
            raise UserError(f"cannot listen on {where}: {error.strerror or error}", remedy=remedy) from None
        self.endpoint = endpoint
        log.info("moments are heard on %s:%s", host, endpoint.port)

    async def _hear(self, said: Mapping[str, Any], key: str) -> Answer:
        answer = await self._in_store(lambda inst: intake.answer(inst, said, key, self.clock.now()))
        self.poke()
        return answer

    async def _take_in(self) -> datetime | None:
        """What other systems have written into the watched folder."""
        try:
            await self._in_store(lambda inst: folder.take_in(inst, self.clock.now()))
        except OSError as error:
            log.error("the folder of moments cannot be used: %s: %s", error.filename, error.strerror)
            return self.clock.now() + LOOK_AGAIN
        return self.clock.now() + LOOK_AROUND

    async def _keep_desk(self) -> datetime | None:
        """What reps have answered is settled, and what is to be told them goes out."""
        until = await self._in_store(lambda inst: desk.advance(inst, self.clock.now()))
        self._wakes["advance"].set()
        soon = self.clock.now() + LOOK_AROUND
        return min(until, soon) if until else soon

    async def _alert(self) -> datetime | None:
        """Programs and addresses that reps have named are told of introductions and troubles; what fails is tried again."""
        while not self._stopping.is_set():
            alert = await self._in_store(lambda inst: inst.store.take_alert(self.clock.now(), notify.LEASE))
            if alert is None:
                return self.clock.now() + LOOK_AROUND
            await self._tell(alert)
        return None

    async def _tell(self, alert: Alert) -> None:
        mailbox = self.config.mailbox(alert.rep)
        why = await notify.tell(mailbox.alert, alert, self.clock.now(), os.environ) if mailbox else None
        pause = notify.PAUSES[alert.tries - 1] if why and alert.tries <= len(notify.PAUSES) else None
        if why:
            then = f"again in {pause}" if pause else "given up"
            log.warning("%s: telling by %s failed: %s; %s", alert.rep, alert.kind, why, then)
        again = self.clock.now() + pause if pause else None
        await self._in_store(lambda inst: inst.store.end_alert(alert, again))

    async def _keep_house(self) -> datetime | None:
        """Bodies whose time is over are dropped."""
        now = self.clock.now()

        def drop(inst: Installation) -> None:
            place = self.config.place(self.config.mailboxes[0])
            inst.store.drop_requests(now - REQUESTS_KEPT)
            inst.store.drop_bodies(self.config.calendar.add(now, self.config.keep_bodies, place, -1))

        await self._in_store(drop)
        return now + KEEPING_HOUSE

    async def _refresh(self) -> datetime | None:
        """What another process applied is taken up, and a valid edit is applied; a faulty one is refused, and said once."""
        said: list[str] = []

        def look(inst: Installation) -> Library:
            current = replace(inst, library=applied_last(inst))
            return take_up(current, self.clock.now(), said.append).library

        self._library = await self._in_store(look)
        if said != self._said:
            for line in said:
                log.info("%s", line)
            self._said = said
        return self.clock.now() + LOOK_AROUND

    async def _send(self, mailbox: Mailbox) -> datetime | None:
        """One mailbox: sends until nothing may leave, then files the copies."""
        step: Step | None = None
        while isinstance(step, Claim) or not self._stopping.is_set():
            step = await self._next(mailbox, step)
            if isinstance(step, Nothing):
                await self._file(mailbox)
                return step.until
        return None

    async def _next(self, mailbox: Mailbox, step: Step | None = None) -> Step | None:
        """Takes the next step, which may be known, and gives the one behind it where that is known then. One that is Nothing says
        until when there is nothing to send."""
        if step is None:
            await self._mind_the_clock()
            if mailbox.address in self._unread:
                self._unread.discard(mailbox.address)
                await self._is_read(mailbox.address)
            step = await self._together(mailbox.address, lambda inst: self._claim(inst, mailbox.address))
        match step:
            case NeedsRead(message):
                return await self._read_first(mailbox, message.id)
            case Claim() as claimed if mailbox.address in self._alone or not await self._is_out_already(claimed):
                return await self._deliver(claimed)
            case Claim():
                return None
        return step

    async def _is_out_already(self, claimed: Claim) -> bool:
        """Two copies of one store know nothing of each other, but both write what they send into Sent, under the same id. Asked
        before the first email of a run leaves a mailbox, and again until it could be looked for and is not there."""
        message = claimed.message
        try:
            folder = await asyncio.wait_for(self._search(message), READ_PATIENCE_SECONDS)
        except Exception as error:  # who cannot look knows nothing; follow-ups do not come so far
            log.warning("%s: cannot look in Sent before the first email: %s", message.mailbox, error)
            return False
        if folder is None:
            self._alone.add(message.mailbox)
            return False
        log.error("%s: %s was sent by another copy of this store: stop one", message.mailbox, message.step)
        await self._in_store(lambda inst: outbox.found_before(inst, claimed, folder, self.clock.now()))
        return True

    def _search(self, message: OutboxMessage) -> asyncio.Future[str | None]:
        since = (message.deadline or self.clock.now()) - timedelta(days=1)
        return asyncio.wrap_future(
            self._watcher.find(message.mailbox, message.message_id, message.own_id, message.recipient, since)
        )

    async def _mind_the_clock(self) -> None:
        """A clock that was set, or a laptop that slept: no read counts any more, and what waits leaves only behind a new one, at
        the pace of every day."""
        now, ticks = self.clock.now(), time.monotonic()
        step = now - self._looked[0] - timedelta(seconds=ticks - self._looked[1])
        self._looked = now, ticks
        if abs(step) > CLOCK_STEP:
            log.info(
                "the clock went %s by %s: mail is read before any is sent",
                "on" if step > NO_TIME else "back",
                abs(step),
            )
            self._unread = {mailbox.address for mailbox in self.config.mailboxes}
            await self._in_store(lambda inst: inst.store.distrust_reads(now - outbox.READ_FRESH))

    async def _is_read(self, address: str) -> bool:
        read = asyncio.wrap_future(self._watcher.read_now(address))
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(read, READ_PATIENCE_SECONDS)
        return False

    def _claim(self, inst: Installation, address: str, follow_ups: bool = True) -> Claim | NeedsRead | Nothing:
        now = self.clock.now()
        epoch = self._lease(inst, address)
        if epoch is None:
            return Nothing(now + LEASE_RENEWAL, "another daemon has this mailbox")
        return outbox.claim(inst, address, epoch, now, follow_ups)

    async def _read_first(self, mailbox: Mailbox, message: str) -> Step | None:
        """The gate: no follow-up leaves before the mailbox was read to its end. First contacts pass those that are held."""
        if await self._is_read(mailbox.address):
            return None
        why = self._down.get(mailbox.address, "it does not answer")

        def hold(inst: Installation) -> None:
            row = inst.store.outbox_message(message)
            if row and inst.store.note_outbox(row, f"{HELD}: {why}") and not row.note.startswith(HELD):
                text = f"{row.step} to {row.recipient}: {HELD}: {why}"
                inst.store.tell(self.clock.now(), "held", text, row.contact, row.enrollment, row.id)

        await self._in_store(hold)
        first = await self._in_store(lambda inst: self._claim(inst, mailbox.address, follow_ups=False))
        if isinstance(first, Claim):
            return await self._deliver(first)
        return Nothing(self.clock.now() + READ_AGAIN, why)

    async def _deliver(self, claimed: Claim) -> Step | None:
        """Sends what is claimed, and gives the step behind it: it is claimed where the result is recorded, by the same commit."""
        message = claimed.message

        async def before_body() -> bool:
            began = self.clock.now()
            may = await self._together(message.mailbox, lambda inst: outbox.start(inst, claimed, began))
            return may and outbox.in_time(claimed, began, self.clock.now())

        async with self._leased(message.mailbox):
            result = await self._sessions[message.mailbox].deliver(
                message.mailbox, message.recipient, message.raw, before_body=before_body, bcc=message.bcc
            )

        def record(inst: Installation) -> bool:
            """Whether something is due now, by this result or whatever else."""
            outbox.record(inst, claimed, result, self.clock.now())
            match result:
                case LoginRefused(text):
                    troubles.begin(inst, message.mailbox, troubles.SEND, "login_refused", text, self.clock.now())
                case Accepted() | Refused():
                    troubles.end(inst, message.mailbox, troubles.SEND, self.clock.now())
            due = inst.store.next_enrollment_at()
            return due is not None and due <= self.clock.now()

        recorded, step = self._together(message.mailbox, record), None
        await self._mind_the_clock()
        if not self._stopping.is_set() and message.mailbox not in self._unread:
            step = self._together(message.mailbox, lambda inst: self._claim(inst, message.mailbox))
        if await recorded and "advance" in self._wakes:
            self._wakes["advance"].set()
        if not isinstance(result, Accepted):
            log.warning("%s to %s: %s", message.step, message.recipient, result)
        return await step if step else None

    @contextlib.asynccontextmanager
    async def _leased(self, address: str):  # type: ignore[no-untyped-def]
        """Renews the lease of a mailbox while one of its messages is on the way."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(LEASE_RENEWAL.total_seconds())
                await self._in_store(lambda inst: self._lease(inst, address))

        renewal = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewal.cancel()

    async def _file(self, mailbox: Mailbox) -> None:
        """A copy of what was sent into the Sent folder, where the server does not file one itself."""
        address = mailbox.address
        unfiled = await self._in_store(lambda inst: inst.store.unfiled(address))
        for message in unfiled:
            to_rep = not message.enrollment  # lies in the Inbox
            if not to_rep and not await self._in_store(lambda inst: doubts.files_sent(inst.store, mailbox)):
                at = message.sent_at or self.clock.now()
                append = self._watcher.append_sent(address, compose.own_copy(message.raw, message.bcc), at)
                try:
                    if not await asyncio.wrap_future(append):
                        return
                except Exception as error:
                    log.warning("%s: no copy in Sent yet: %s", address, error)
                    return
            await self._in_store(lambda inst, m=message: inst.store.filed(m, self.clock.now()))  # type: ignore[misc]

    async def _settle_doubts(self) -> datetime | None:
        """What a crash left is queued again or in doubt; then looks for what may have gone out. Found in Sent: sent. Absent
        twice where the server files Sent itself: not sent, and the same bytes go again. All else waits for the rep, a reply or
        a report."""

        def left(inst: Installation) -> list[OutboxMessage]:
            for mailbox in self.config.mailboxes:
                outbox.reclaim(inst, mailbox.address, self.clock.now())
            return inst.store.outbox_in(OutboxState.IN_DOUBT)

        looked = {}
        for message in await self._in_store(left):
            mailbox = self.config.mailbox(message.mailbox)
            if mailbox and (found := await self._look_for(message, mailbox)):
                looked[message.id] = doubts.Looked(self.clock.now(), found)
        await self._in_store(lambda inst: doubts.keep(inst.store, looked))
        return self.clock.now() + LOOK_AGAIN

    async def _look_for(self, message: OutboxMessage, mailbox: Mailbox) -> str:
        """What the search has shown, in a few words; nothing where it was found."""
        try:
            folder = await self._search(message)
        except Exception as error:
            log.warning("%s: cannot look for a message in doubt: %s", mailbox.address, error)
            return f"could not be searched: {error}"
        if folder is None and not await self._is_read(mailbox.address):
            # A copy under another id is known by its words, when Sent is read.
            return "not found by its ids; could not be read to its end"
        now = self.clock.now()
        await self._in_store(
            lambda inst: outbox.look(inst, message, folder, doubts.files_sent(inst.store, mailbox), now)
        )
        return "" if folder else "not found"

    # --- what the watcher tells, in its threads ----------------------------------------------------------------------

    def _position(self, mailbox: str, folder: str) -> Position | None:
        found = self._here().store.position(mailbox, folder)
        return Position(*found) if found else None

    def _read_again_since(self, mailbox: str, folder: str) -> datetime | None:
        """From when a folder that is new to us, or numbered anew, is read: since all was read last; since the mailbox was first
        seen, for a folder that was made later; since our first email, for a mailbox that we have never read."""
        store = self._here().store
        known, state = store.mailbox_since(mailbox), store.mailbox(mailbox)
        if store.position(mailbox, folder) and state and known:
            return max(state.read_at, known)
        return known or store.first_sent_at(mailbox)

    def _mail(self, fetched: Fetched) -> None:
        try:
            received = self._patiently(lambda inst: inbox.receive(inst, fetched, self.clock.now(), self._readers.open))
        except Unusable as error:  # no fault of the message: it is read again when the store is there again
            raise Unreadable(f"what was read cannot be kept: {error}") from error
        # Most of Sent are our own copies, and every loop would look again after each of them.
        if received.row or received.line:
            self._poke_from_thread()

    def _moved(self, mailbox: str, folder: str, position: Position) -> None:
        self._here().store.save_position(mailbox, folder, position.uidvalidity, position.uid, self.clock.now())

    def _read(self, mailbox: str, started_at: datetime) -> None:
        def done(inst: Installation) -> None:
            inst.store.read_to_end(mailbox, started_at, self.clock.now())
            troubles.end(inst, mailbox, troubles.READ, self.clock.now())

        self._patiently(done)
        if self._down.pop(mailbox, None):
            log.info("%s: can be read again", mailbox)
            self._poke_from_thread()

    def _unreadable(self, mailbox: str, sentence: str, login: bool) -> None:
        if self._down.get(mailbox) != sentence:
            log.warning("%s: cannot be read: %s", mailbox, sentence)
        self._down[mailbox] = sentence

        def failed(inst: Installation) -> None:
            inst.store.read_failed(mailbox, self.clock.now(), sentence)
            troubles.unread(inst, mailbox, sentence, login, self.clock.now())

        try:
            self._patiently(failed)
        except Unusable as error:
            log.error("%s: the store cannot be used: %s", mailbox, error)

    def _set_aside(self, fetched: Fetched, sentence: str) -> None:
        inbox.set_aside(self._here(), fetched, sentence, self.clock.now())
        log.error("%s: a message was set aside: %s", fetched.mailbox, sentence)


def whole(verb: Callable[[Installation], T], inst: Installation) -> T:
    """A verb in a transaction of its own."""
    with inst.store.transaction():
        return verb(inst)


def applied_last(inst: Installation) -> Library:
    """The library that runs, whoever applied it."""
    applied = inst.store.applied_library()
    return unpack(applied[1]) if applied and applied[0] != inst.library.version else inst.library


def account(mailbox: Mailbox, kind: str) -> Account:
    """How to reach one of a rep's two servers. Raises UserError when the config names none."""
    server = mailbox.server("smtp" if kind == "smtp" else "imap")
    return Account(
        server.host,
        server.port,
        server.security,
        mailbox.user,
        secret(mailbox, os.environ),
        oauth=bool(mailbox.token_command),
        cafile=mailbox.cafile,
    )
