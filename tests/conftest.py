"""The fixtures that need a real server: one of each for the whole test run.

On a machine that lacks one, its tests are skipped with a sentence; on the build server (CI=true) they fail instead, so that
nothing can pass there by not being run."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import TypeVar

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import mutt
import servers

from engine.__main__ import main
from engine.config import load_config
from engine.project import open_installation

T = TypeVar("T")
REP, CLIENT = "rep@demo.test", "dana@acme.test"
PEOPLE = {"rep": "demo.test", "dana": "acme.test", "barry": "prospect.test"}
USERS = {
    REP: "rep-secret",
    "sam@demo.test": "sam-secret",
    CLIENT: "dana-secret",
    "lee@acme.test": "lee-secret",
    "barry@prospect.test": "barry-secret",
    # For tests that want mailboxes of their own (tests/world.py).
    **{f"{name}{n}@{domain}": "secret" for n in range(1, 41) for name, domain in PEOPLE.items()},
}
LONG = ("test_crash.py", "test_faults.py")
#: One worker has all of these, early, where no other takes some of them over: each would play its year anew.
TOGETHER = "test_year.py"
#: Reps whom no other test has used yet.
REPS = [f"rep{n}@demo.test" for n in range(41, 121)]
USERS |= dict.fromkeys(REPS, "secret")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, and every worker has its share of it: nobody waits for one of them alone in the end. (Each
    worker is given a part of the list, in its order.) Every second one begins at the other end: a kill waits, a storm computes."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = sorted((item for item in items if item.path.name in LONG), key=lambda item: LONG.index(item.path.name))
    rest = [item for item in items if item.path.name not in LONG]
    rest.sort(key=lambda item: item.path.name != TOGETHER)
    ordered: list[pytest.Item] = []
    for worker in range(workers):
        share = long[worker::workers][:: -1 if worker % 2 else 1]
        end = len(items) * (worker + 1) // workers - len(ordered) - len(share)
        ordered, rest = [*ordered, *share, *rest[: max(end, 0)]], rest[max(end, 0) :]
    items[:] = ordered + rest


def pytest_collection_finish() -> None:
    """Thousands of tests stay in memory to the end, and most of what a test makes is gone without a collector: that looks rarely."""
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.fixture(scope="session")
def server_dir() -> Iterator[Path]:
    """A short path that other users may enter: the servers' processes run as several."""
    folder = Path(tempfile.mkdtemp(prefix="whoelse-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def started(stack: contextlib.ExitStack, server: contextlib.AbstractContextManager[T]) -> T:
    try:
        return stack.enter_context(server)
    except servers.Missing as lacking:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{lacking} (under CI=true nothing may be skipped)")
        pytest.skip(str(lacking))


@pytest.fixture(scope="session")
def dovecot(server_dir: Path) -> Iterator[servers.Dovecot]:
    """Dovecot with the mailboxes in USERS, those of reps and of clients alike."""
    with contextlib.ExitStack() as stack:
        yield started(stack, servers.dovecot(server_dir / "dovecot", USERS))


@pytest.fixture(scope="session")
def postfix(server_dir: Path, dovecot: servers.Dovecot) -> Iterator[servers.Postfix]:
    """Postfix that delivers into `dovecot`."""
    with contextlib.ExitStack() as stack:
        yield started(stack, servers.postfix(server_dir / "postfix", dovecot))


@pytest.fixture(scope="session")
def postgres_url(server_dir: Path) -> Iterator[str]:
    """The URL of a running PostgreSQL, the same for the whole run: a test makes its own schema or database in it."""
    with contextlib.ExitStack() as stack:
        yield started(stack, servers.postgres(server_dir / "postgres"))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the environment of whoever runs the tests changes nothing."""
    for name in ("WHOELSE_CONFIG", "WHOELSE_SECRET", "WHOELSE_STORE", "WHOELSE_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project straight after `init`, to be copied."""
    folder = tmp_path_factory.mktemp("pristine") / "project"
    assert main(["init", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def first_project(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One in which the first command has applied the library, to be copied: to look for faults in all of it takes longer than
    most tests."""
    folder = tmp_path_factory.mktemp("first") / "project"
    shutil.copytree(pristine, folder)
    begin = datetime(2026, 3, 2, tzinfo=UTC)
    open_installation(load_config(folder / "config.yaml", {}), {}, begin, print).store.close()
    return folder


@pytest.fixture
def clicked(tmp_path: Path) -> Iterator[Callable[[str], EmailMessage]]:
    """Opens a link in a mail program, and gives the draft."""
    with contextlib.ExitStack() as stack:
        yield started(stack, mutt.mutt(tmp_path))
