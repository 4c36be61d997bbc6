"""Watch many mailboxes from one process: one thread waits on all of them (`poller.py`), a few workers speak IMAP.

A dropped connection, a read that is due, a question and new mail are one thing: a visit, by one worker. What was read is
handed on in order of UID, and nothing is skipped unless it was handed to `on_set_aside`."""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from email.parser import BytesHeaderParser
from functools import partial
from typing import TypeVar

from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from engine.account import Account, SecretError, ask_secret
from engine.imap import (
    ANSWER_SECONDS,
    CONNECT_SECONDS,
    Fetched,
    Kind,
    Link,
    Position,
    Unfetchable,
    Unreadable,
    unreadable,
)
from engine.poller import VISITS_MAX, Poller, Question, Watch, Why

IDLE_SECONDS, FULL_READ_SECONDS, POLL_SECONDS = 300.0, 600.0, 60.0
RETRY_SECONDS_MAX, LOGIN_RETRY_SECONDS = 300.0, 300.0
SPEAKERS = 8
HOST_LOGIN_GAP_SECONDS = 0.02
TRY_AGAIN_SECONDS = (0.2, 2.0)  # between the three tries to hand a message on
FILES_WANTED = 65_536
#: A server that announces something each time that IDLE begins, and nothing is there, is believed so often, then polled.
LOOKS_IN_VAIN_MAX = 5
#: Inbox first and last: a message that is moved during the read is met in one place or in the other.
READING_ORDER: tuple[Kind, ...] = ("inbox", "junk", "archive", "all", "sent", "inbox")

log = logging.getLogger(__name__)
uniform = random.SystemRandom().uniform
T = TypeVar("T")


class Stopping(Exception):
    """The watcher ends: leave the visit."""


class Watcher:
    """Reads every mailbox that was added, and goes on doing so whatever happens to one of them."""

    def __init__(
        self,
        *,
        position: Callable[[str, str], Position | None],
        on_mail: Callable[[Fetched], None],
        on_position: Callable[[str, str, Position], None],
        on_read: Callable[[str, datetime], None],
        on_down: Callable[[str, str, bool], None],
        rescan: Callable[[str, str], datetime | None],
        now: Callable[[], datetime],
        on_set_aside: Callable[[Fetched, str], None] | None = None,
        idle_seconds: float = IDLE_SECONDS,
        full_read_seconds: float = FULL_READ_SECONDS,
        poll_seconds: float = POLL_SECONDS,
        connect_seconds: float = CONNECT_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        retry_seconds_max: float = RETRY_SECONDS_MAX,
    ) -> None:
        """All callbacks run in worker threads, for one mailbox never two at once; `now` may be any clock, durations are real.

        position(mailbox, folder): how far that folder was read, None at first sight. on_mail(fetched): a new message; when
        it returns, the position is (uidvalidity, uid); when it raises Unreadable, nothing can be taken now, whatever it is.
        on_position(mailbox, folder, position): it moved without mail.
        on_read(mailbox, started_at): every folder was read to its end; all that was there at started_at has been handed on.
        on_down(mailbox, sentence, login): not readable now. rescan(mailbox, folder): for a folder seen for the first time
        or numbered anew, the time since when its messages are handed on as if new; None: none of them.
        on_set_aside(fetched, sentence): on_mail failed three times; the message is skipped (by default: logged)."""
        self._position, self._on_mail, self._on_position, self._on_read = position, on_mail, on_position, on_read
        self._on_down, self._rescan, self._now = on_down, rescan, now
        self._on_set_aside = on_set_aside or log_set_aside
        self._idle_seconds, self._full_read_seconds, self._poll_seconds = idle_seconds, full_read_seconds, poll_seconds
        self._connect_seconds, self._answer_seconds = connect_seconds, answer_seconds
        self._retry_seconds_max = retry_seconds_max
        self._speakers = ThreadPoolExecutor(SPEAKERS, "imap-speak")  # the peer has just spoken: a visit is short
        self._askers = ThreadPoolExecutor(VISITS_MAX["asked"], "imap-ask")  # somebody waits for the answer
        self._doubters = ThreadPoolExecutor(VISITS_MAX["due"], "imap-doubt")  # the dead cost their time here
        self._watches: dict[str, Watch] = {}
        self._names = threading.Lock()
        self._stopping = threading.Event()
        self._turnstile = Turnstile(self._stopping)
        allow_many_files()
        self._poller = Poller(self._send)
        self._poller.start()

    # --- what others ask; from any thread ---

    def add(self, name: str, account: Account) -> None:
        """Watch one more mailbox under this name; it is connected in the background."""
        with self._names:
            if name in self._watches:
                raise ValueError(f"mailbox {name} is watched already")
            watch = self._watches[name] = Watch(name, account)
        self._poller.tell(partial(self._poller.park, watch, 0.0))

    def remove(self, name: str) -> None:
        """Watch it no more; whoever waits for an answer from it gets False or an error."""
        with self._names:
            watch = self._watches.pop(name)
        watch.removed = True
        self._poller.tell(partial(self._poller.heed, watch))

    def read_now(self, name: str) -> Future[bool]:
        """Read every folder to its end, from now on. True once all that was found was handed on and on_read was called;
        False when the mailbox cannot be read. Calls that wait for the same read share it."""
        future: Future[bool] = uncancellable()
        watch = self._watches.get(name)
        if watch is None or self._stopping.is_set():
            future.set_result(False)
            return future
        with watch.lock:
            watch.reads.append(future)
        self._poller.tell(partial(self._poller.heed, watch))
        return future

    def find(
        self, name: str, message_id: str, own_id: str = "", recipient: str = "", since: datetime | None = None
    ) -> Future[str | None]:
        """The folder where a message of ours is (Sent, then All Mail); None when both were read and it is in neither.
        The future raises Unreadable when that could not be found out."""
        return self._ask(name, lambda link: link.find(message_id, own_id, recipient, since))

    def append_sent(self, name: str, raw: bytes, at: datetime) -> Future[bool]:
        """Put a copy into Sent unless its Message-ID is there. True when it is there now, False when it could not be done."""
        message_id = str(BytesHeaderParser().parsebytes(raw)["Message-ID"] or "").strip()
        appended = self._ask(name, lambda link: link.append_sent(raw, message_id, at))
        answer: Future[bool] = uncancellable()
        appended.add_done_callback(lambda done: answer.set_result(done.exception() is None))
        return answer

    def stop(self) -> None:
        """End everything. A message that is being handed on is finished; whoever waits gets False or an error."""
        self._stopping.set()
        self._poller.stop()
        with self._names:
            watches = list(self._watches.values())
        for watch in watches:
            if (link := watch.link) is not None:
                link.cut()
        for pool in (self._speakers, self._askers, self._doubters):
            pool.shutdown(cancel_futures=True)
        for watch in watches:
            watch.give_up(Unreadable("the watcher was stopped"))
            watch.drop()

    def _ask(self, name: str, work: Callable[[Link], T]) -> Future[T]:
        future: Future[T] = uncancellable()
        watch = self._watches.get(name)
        if watch is None or self._stopping.is_set():
            future.set_exception(Unreadable(f"mailbox {name} is not watched"))
            return future
        with watch.lock:
            watch.questions.append(Question(lambda link: future.set_result(work(link)), future.set_exception))
        self._poller.tell(partial(self._poller.heed, watch))
        return future

    # --- visits; in a worker ---

    def _send(self, watch: Watch, why: Why) -> None:
        """For the poller: let a worker visit. Who has just spoken never waits behind those who may be dead."""
        pool = {"spoke": self._speakers, "asked": self._askers, "due": self._doubters}[why]
        with contextlib.suppress(RuntimeError):  # the pools are shut: we are stopping
            pool.submit(self._part if watch.removed else self._refuse if is_refused(watch, why) else self._visit, watch)

    def _visit(self, watch: Watch) -> None:
        seconds = LOGIN_RETRY_SECONDS
        try:
            seconds = self._serve(watch)
            watch.failures, watch.trouble = 0, ""
        except Exception as error:  # also a bug: a mailbox is never lost
            seconds = self._failed(watch, error)
        finally:
            self._poller.tell(partial(self._poller.park, watch, seconds))

    def _refuse(self, watch: Watch) -> None:
        """Somebody asked while the mailbox waits to be tried again."""
        watch.give_up(Unreadable(watch.trouble))

    def _part(self, watch: Watch) -> None:
        watch.give_up(Unreadable(f"mailbox {watch.name} is not watched any more"))
        link, watch.link = watch.link, None
        if link is not None:
            link.close()
        self._poller.tell(partial(self._poller.release, watch))

    def _serve(self, watch: Watch) -> float:
        """One visit; gives the seconds until the next one is due."""
        link = self._reached(watch)
        seconds = self._poll_seconds
        in_vain = 0
        while in_vain < LOOKS_IN_VAIN_MAX:
            self._read_if_wanted(watch, link)
            self._answer_questions(watch, link)
            in_vain = 0 if self._read_inbox(watch, link) else in_vain + 1
            if not watch.asked() and link.rest():
                if link.can_idle:
                    seconds = self._idle_seconds * uniform(0.8, 1)  # not all at the same time
                break
            link.wake()
        return max(0.0, min(seconds, watch.full_read_due - time.monotonic()))

    def _reached(self, watch: Watch) -> Link:
        """The kept connection if it still answers, else a new one. Who asked shall not pay for a connection that died idle."""
        if watch.link is not None:
            try:
                watch.link.wake()
                return watch.link
            except (IMAPClientError, OSError):
                watch.drop()
                if not watch.asked():
                    raise
        secret = ask_secret(watch.account)
        self._turnstile.enter(watch.account.host)
        watch.link = Link(watch.account, self._connect_seconds, self._answer_seconds)
        if self._stopping.is_set():
            raise Stopping  # else `stop` has seen the link, and cuts it
        watch.link.log_in(secret)
        watch.full_read_due = 0.0
        return watch.link

    def _answer_questions(self, watch: Watch, link: Link) -> None:
        while watch.questions:
            question = watch.questions.popleft()
            try:
                question.answer(link)
            except Exception as error:
                question.fail(unreadable(watch.account, error))
                if isinstance(error, IMAPClientAbortError) or not isinstance(error, (IMAPClientError, Unreadable)):
                    raise

    def _failed(self, watch: Watch, error: Exception) -> float:
        """What a failed visit means for the mailbox; gives the seconds until it is tried again."""
        watch.drop()
        watch.failures += 1
        if self._stopping.is_set():
            return self._retry_seconds_max
        trouble = describe(watch.account, error)
        watch.trouble = str(trouble)
        try:
            self._on_down(watch.name, watch.trouble, trouble.login)
        except Exception:
            log.exception("mailbox %s: on_down failed", watch.name)
        watch.give_up(trouble)  # whoever waits for it can say why
        if trouble.login:
            return LOGIN_RETRY_SECONDS * uniform(1, 1.1)
        return min(self._retry_seconds_max, 2.0 ** min(watch.failures - 1, 30)) * uniform(0.5, 1)

    # --- reading; in a worker ---

    def _read_if_wanted(self, watch: Watch, link: Link) -> None:
        with watch.lock:
            waiting = list(watch.reads)
        due = time.monotonic() >= watch.full_read_due
        if not waiting and not due:
            return
        started_at = self._now()
        if due:
            link.list_folders()  # a folder may have been made meanwhile
        for kind in READING_ORDER:
            self._read_folder(watch, link, kind, trusting=not due)
        self._on_read(watch.name, started_at)
        watch.full_read_due = time.monotonic() + self._full_read_seconds
        with watch.lock:
            del watch.reads[: len(waiting)]  # whoever asked since wants a later read
        for future in waiting:
            future.set_result(True)

    def _read_folder(self, watch: Watch, link: Link, kind: Kind, trusting: bool) -> None:
        """`trusting`: a folder of which the server says that it holds nothing new is not opened."""
        folder = link.folders.get(kind)
        if folder is None:
            return
        if trusting and (position := self._position(watch.name, folder)) and link.ends_with(folder, position):
            return
        try:
            (link.look_again_at if trusting else link.examine)(folder)
        except IMAPClientAbortError:
            raise
        except IMAPClientError:
            link.list_folders()
            if link.folders.get(kind) == folder:
                raise  # it is there and cannot be opened
            self._read_folder(watch, link, kind, trusting)  # it is gone, or has another name now
        else:
            self._read_open_folder(watch, link, kind)

    def _read_inbox(self, watch: Watch, link: Link) -> bool:
        """Read the inbox until the server announces nothing more; was there anything? It announces mail together with the
        answer to SEARCH or FETCH, though not in that answer, and IDLE does not repeat it."""
        found, told = False, None
        while True:
            link.look_at("INBOX")
            link.told()
            found = self._read_open_folder(watch, link, "inbox") or found
            before, told = told, link.told()
            if told is None or told == before:
                return found

    def _read_open_folder(self, watch: Watch, link: Link, kind: Kind) -> bool:
        """Hand on what is new in it; was there anything?"""
        folder = link.folders[kind]
        uidvalidity, next_uid = link.look_at(folder)
        position = self._position(watch.name, folder)
        if position is not None and position.uidvalidity == uidvalidity:
            uids = link.uids_after(position.uid)
            self._hand_on(watch, link, kind, uids)
            return bool(uids)
        since = self._rescan(watch.name, folder)
        uids = link.uids_since(since) if since is not None else []
        self._hand_on(watch, link, kind, uids)
        last = max([next_uid - 1, *uids])
        if uids[-1:] != [last]:
            self._on_position(watch.name, folder, Position(uidvalidity, last))
        return bool(uids)

    def _hand_on(self, watch: Watch, link: Link, kind: Kind, uids: list[int]) -> None:
        folder = link.folders[kind]
        uidvalidity, _ = link.look_at(folder)
        for uid, found in link.fetch(watch.name, kind, uids):
            if self._stopping.is_set():
                raise Stopping
            match found:
                case Fetched():
                    self._hand_on_one(found)
                case Unfetchable(reason=reason):
                    watch.withheld[folder, uid] += 1
                    if watch.withheld[folder, uid] <= len(TRY_AGAIN_SECONDS):
                        raise Unreadable(f"{watch.account.where}: message {uid} of {folder}: {reason}")
                    empty = Fetched(watch.name, folder, kind, uidvalidity, uid, b"", 0, self._now())
                    self._set_aside(empty, reason)
                case None:
                    self._on_position(watch.name, folder, Position(uidvalidity, uid))

    def _hand_on_one(self, message: Fetched) -> None:
        for pause in (*TRY_AGAIN_SECONDS, None):
            try:
                self._on_mail(message)
                return
            except Unreadable:
                raise  # the receiver says that it is no fault of the message
            except Exception as error:
                log.exception("mailbox %s: message %s of %s failed", message.mailbox, message.uid, message.folder)
                fault = error
            if pause is not None and self._stopping.wait(pause):
                raise Stopping
        self._set_aside(message, f"it failed three times ({type(fault).__name__}: {fault})")

    def _set_aside(self, message: Fetched, reason: str) -> None:
        self._on_set_aside(message, reason)
        self._on_position(message.mailbox, message.folder, message.position)


class Turnstile:
    """Lets logins at one server through one by one: two hundred in a second are more than a provider likes."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}

    def enter(self, host: str) -> None:
        """Wait for one's turn. Raises Stopping."""
        with self._lock:
            turn = max(time.monotonic(), self._next.get(host, 0.0))
            self._next[host] = turn + HOST_LOGIN_GAP_SECONDS
        if self._stopping.wait(max(0.0, turn - time.monotonic())):
            raise Stopping


def is_refused(watch: Watch, why: Why) -> bool:
    return why == "asked" and watch.link is None


def describe(account: Account, error: Exception) -> Unreadable:
    """A failed visit as a sentence. What is not the wire's is the receiver's, or a bug: the log has it whole."""
    if isinstance(error, (IMAPClientError, OSError, SecretError, Unreadable)):
        return unreadable(account, error)
    log.error("mailbox of %s at %s: what was read could not be handed on", account.user, account.where, exc_info=error)
    return Unreadable(f"what was read could not be handed on ({type(error).__name__}: {error})")


def log_set_aside(message: Fetched, reason: str) -> None:
    log.error("mailbox %s: message %s of %s is set aside: %s", message.mailbox, message.uid, message.folder, reason)


def uncancellable() -> Future[T]:
    """A future whose waiter may give up without taking the answer from others (asyncio cancels what it wraps)."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    return future


def allow_many_files() -> None:
    """A thousand connections need more descriptors than the usual 1,024."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # absent on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
