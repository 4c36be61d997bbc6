"""Opening what strangers wrote, where it can do no harm: in a process that holds no password, no database and no socket, whose
memory and time are limited by the kernel. A message that kills its reader has killed nothing else. What a message means
is decided by the core; whether it is read here or there changes nothing in the answer."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Protocol, cast

from engine.core.classify import classify
from engine.core.message import parse
from engine.core.model import Message, Reader, Reading

PROCESSOR_SECONDS_MAX = 2.0
#: On a machine that does much else; the processor time is what a message is measured by.
REAL_SECONDS_MAX = 30.0
MEMORY_MAX = 400 * 1024 * 1024
WORKERS_MAX = 3
MESSAGES_PER_WORKER = 1_000
#: All that a reader learns of its surroundings: where its libraries are. Passwords are in the environment, too.
KEPT_OF_THE_ENVIRONMENT = ("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Opened(Protocol):
    """One message that was opened: what stands in it, and what that means to somebody."""

    @property
    def message(self) -> Message: ...

    def classify(self, reader: Reader) -> Reading: ...


#: Raw bytes to the opened message. Inside the `with` it may be classified; raises Indigestible.
Opener = Callable[[bytes], AbstractContextManager[Opened]]


class Indigestible(Exception):
    """Reading a message came to no end; the text says how, and holds nothing of the message."""


@dataclass(frozen=True)
class _OpenedHere:
    message: Message

    def classify(self, reader: Reader) -> Reading:
        return classify(self.message, reader)


@contextmanager
def open_here(raw: bytes) -> Iterator[Opened]:
    """Opens a message in this very process: for simulations, and for files that the rep gave us."""
    yield _OpenedHere(parse(raw))


# --- the reader's own process ----------------------------------------------------------------------------------------


def serve(connection: Connection) -> None:
    """Reads what comes until nothing more comes: bytes give the Message, a Reader its Reading of the last one.

    A message has PROCESSOR_SECONDS_MAX from its arrival on, then the kernel ends the process, whatever it is at."""
    read_one = _One()
    read_one(b"From: a@b.example\n\nSo that whatever is loaded at first use is loaded.")
    read_one(Reader(frozenset()))
    gc.freeze()  # the phrases of fourteen languages stay: no collection need look through them
    confine()
    while True:
        try:
            given = connection.recv()
        except (EOFError, OSError):  # whoever asked has gone
            return
        if isinstance(given, bytes):
            signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS_MAX)
        try:
            answer = read_one(given)
        except Exception as error:
            connection.send(_sentence(error))
            return
        connection.send(answer)


class _One:
    """The message that is open."""

    def __init__(self) -> None:
        self._message = parse(b"")

    def __call__(self, given: bytes | Reader) -> Message | Reading:
        if isinstance(given, Reader):
            return classify(self._message, given)
        self._message = parse(given)
        return replace(self._message, raw=b"")  # whoever asked has them


def confine() -> None:
    """Little memory, no file, no core dump from here on; Ctrl-C and the end of a service are the asker's affair."""
    import resource  # absent on Windows

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    for limit, value in ((resource.RLIMIT_AS, MEMORY_MAX), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # some systems know the name only
            resource.setrlimit(limit, (value, value))


def _sentence(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"to read it takes more than {MEMORY_MAX // 1024 // 1024} MB of memory"
    return f"it breaks the program that reads it ({type(error).__name__})"


# --- those who ask ---------------------------------------------------------------------------------------------------


class Worker:
    """One reader process. It belongs to one thread at a time."""

    def __init__(self) -> None:
        """Starts it and does not wait: it reads as soon as it is ready."""
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter, and no shell
                [sys.executable, "-P", "-m", "engine.reading", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_surroundings(),
            )
        self.served = 0
        self.failed = False

    def open(self, raw: bytes) -> Opened:
        """Raises Indigestible, here or at `classify`."""
        self.served += 1
        return _OpenedThere(cast(Message, self.ask(raw)), self)

    def ask(self, given: bytes | Reader) -> Any:
        try:
            self._connection.send(given)
            if not self._connection.poll(REAL_SECONDS_MAX):
                raise self._failure(f"it was not read within {REAL_SECONDS_MAX:.0f} seconds")
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._failure(self._last_words()) from None
        if isinstance(answer, str):
            raise self._failure(answer)
        return answer

    def _failure(self, sentence: str) -> Indigestible:
        self.failed = True
        return Indigestible(sentence)

    def _last_words(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGPROF:
            return f"to read it takes more than {PROCESSOR_SECONDS_MAX:g} seconds of processor time"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the process that read it ended ({how})"

    def end(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class _OpenedThere:
    message: Message
    worker: Worker

    def classify(self, reader: Reader) -> Reading:
        return cast(Reading, self.worker.ask(reader))


class Workers:
    """At most WORKERS_MAX of them for all mailboxes, started when they are needed and replaced when they are worn out."""

    def __init__(self) -> None:
        self._turns = threading.BoundedSemaphore(WORKERS_MAX)
        self._resting: list[Worker] = []
        self._closed = False

    def warm(self) -> None:
        """Lets one start now, so that the first message does not wait for it."""
        self._resting.append(Worker())

    @contextmanager
    def open(self, raw: bytes) -> Iterator[Opened]:
        """Opens a message in a process of its own; an `Opener`, from any thread. Waits for its turn."""
        with self._turns:
            worker = self._rested()
            try:
                yield worker.open(raw)
            finally:
                self._rest(worker)

    def close(self) -> None:
        """Ends them, those at work as soon as they are done."""
        self._closed = True
        while self._resting:
            self._rested().end()

    def _rested(self) -> Worker:
        try:
            return self._resting.pop()
        except IndexError:
            return Worker()

    def _rest(self, worker: Worker) -> None:
        if worker.failed or worker.served >= MESSAGES_PER_WORKER or self._closed:
            worker.end()
            if not self._closed:
                self.warm()
        else:
            self._resting.append(worker)


def _surroundings() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_OF_THE_ENVIRONMENT if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path)}


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
