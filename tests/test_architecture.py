"""What the architecture promises, read off the source: the core touches nothing, imports run one way, states change in one
place, statements are called in one place. Each rule is shown to bite on a copy of the tree with a violation planted in it."""

from __future__ import annotations

import ast
import functools
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ENGINE = Path(__file__).parent.parent / "engine"

#: Each may import what stands above it. A member that is not named here may be imported by the last group alone (run and below).
LAYERS = (
    ("core",),
    ("errors", "account", "clock", "database"),
    ("config", "library", "rows", "pictures", "reading", "sheets"),
    ("secrets", "store", "smtp", "imap"),
    ("notify",),
    ("installation", "notebook", "poller", "copies"),
    ("letters", "watcher", "standing", "doubts"),
    ("decisions",),
    ("enrollments",),
    ("outbox", "triggers", "edits"),
    ("inbox", "referrals", "project", "intake"),
    ("folder", "endpoint", "desk", "troubles"),
    ("simulate",),
    ("preview", "scenarios", "daemon"),
    ("run",),
    ("demo", "web", "bench"),
    ("cli",),
    ("__main__",),
)
#: The members of the second group are strangers to each other.
STRANGERS = {
    "database": set[str](),
    "store": {"core", "database", "rows"},
    "library": {"core"},
    "account": set[str](),
    "smtp": {"core", "account"},
    "imap": {"account"},
    "poller": {"account", "imap"},
    "watcher": {"account", "imap", "poller"},
}
#: Only these may know what time it is; everybody else is told.
CLOCKS = {"clock", "cli", "demo", "web", "bench", "run", "simulate", "__main__"}

WORLD = frozenset(
    [
        "aiosmtplib",
        "asyncio",
        "concurrent",
        "glob",
        "http",
        "imapclient",
        "imaplib",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "psycopg",
        "random",
        "secrets",
        "select",
        "shutil",
        "smtplib",
        "socket",
        "sqlite3",
        "sqlite_utils",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "uuid",
    ]
)
#: The documented exceptions: phrases are data beside the module, read once; a library is told not to write to the log.
EXCEPTIONS = {"engine.core.phrases": {"importlib.resources"}, "engine.core.classify.bounce": {"logging"}}
FILES = frozenset({"importlib", "importlib.resources", "urllib.request", "pathlib.Path"})
TOUCHES = frozenset({"open", "input", "print", "breakpoint", "exec", "eval", "__import__"})
CLOCK_CALLS = frozenset({"now", "utcnow", "today"})

#: `state=` of something that is no enrollment, or of one that another store has decided about.
OTHER_STATES = {
    ("decisions", "set_referral"): "a referral's",
    ("inbox", "_mark_referral"): "a referral's",
    ("notebook", "bring"): "a copy that stands still in a simulation",
}
#: Where an enrollment comes into being with another state than its default.
BIRTHS = {("decisions", "_begin_child")}
#: The statements that may write an enrollment's state.
STATE_WRITERS = {"add_enrollment", "save_enrollment"}
#: What of `database.py` others may use; its verbs are the store's alone.
DATABASE_NAMES = {"Conflict", "Crossed", "Unusable"}
OPENERS = {"notebook": {"Database", "open_database"}, "copies": {"Database", "open_database"}}
#: It copies whole tables, whatever is in them, from one database into another.
COPIES = "copies"
#: Its references are what others would write, without a store, and its crowds are too large to be enrolled.
BENCH = "bench"
DRIVERS = {"sqlite3", "psycopg"}


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, the member of the engine to which it belongs, and its tree."""

    name: str
    member: str
    tree: ast.Module


@functools.cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def modules(engine: Path) -> list[Module]:
    found = []
    for file in sorted(engine.rglob("*.py")):
        parts = ["engine", *file.relative_to(engine).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, name.split(".")[1] if "." in name else "", parsed(file.read_text(encoding="utf-8"))))
    return found


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) of everything imported anywhere in the file; the name is empty for `import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.module or "", alias.name) for alias in node.names)


def inner_imports(module: Module) -> Iterator[tuple[str, str]]:
    """(member, name) of what a file imports from the engine."""
    for source, name in imports(module.tree):
        if source == "engine":
            yield name, ""
        elif source.startswith("engine."):
            yield source.split(".")[1], name


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call, str]]:
    """(owner, called name, call, the function around it); the owner is empty for a plain name."""

    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, around = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            around = node.name
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield "", node.func.id, node, around
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func.value), node.func.attr, node, around
        waiting += [(child, around) for child in ast.iter_child_nodes(node)]


# --- the rules -------------------------------------------------------------------------------------------------------


def touched(module: Module) -> Iterator[str]:
    """What of the world a file of the core touches."""
    allowed = EXCEPTIONS.get(module.name, set())
    for source, name in imports(module.tree):
        wanted = {source, f"{source}.{name}"} if name else {source}
        if (source.split(".")[0] in WORLD and source not in allowed) or (wanted & FILES) - allowed:
            yield f"{module.name} imports {source}{'.' + name if name else ''}"
        if source == "engine" or (source.startswith("engine.") and not source.startswith("engine.core")):
            yield f"{module.name} imports {source}, which is outside of the core"
    for owner, name, call, _ in calls(module.tree):
        if not owner and name in TOUCHES:
            yield f"{module.name}:{call.lineno} calls {name}()"
        if reads_clock(owner, name):
            yield f"{module.name}:{call.lineno} reads the clock: {owner}.{name}()"


def reads_clock(owner: str, name: str) -> bool:
    return (owner.split(".")[-1] in ("datetime", "date") and name in CLOCK_CALLS) or (owner, name) == ("time", "time")


def rank(member: str) -> float:
    return next((place for place, layer in enumerate(LAYERS) if member in layer), UNNAMED)


UNNAMED = LAYERS.index(("run",)) - 0.5


def upward(module: Module) -> Iterator[str]:
    """Imports that run the wrong way."""
    for member, _ in inner_imports(module):
        if member == module.member:
            continue
        if rank(member) >= rank(module.member) and (rank(member), rank(module.member)) != (UNNAMED, UNNAMED):
            yield f"{module.name} imports {member}, which stands above or beside it"
        elif member not in STRANGERS.get(module.member, {member}):
            yield f"{module.name} imports {member}, a stranger to it"


def clocks(module: Module) -> Iterator[str]:
    for owner, name, call, _ in calls(module.tree):
        if reads_clock(owner, name) and module.member not in CLOCKS:
            yield f"{module.name}:{call.lineno} reads the clock: {owner}.{name}()"


def states(module: Module) -> Iterator[str]:
    """Where an enrollment's state might change outside of the machine."""
    if module.name == "engine.core.machine":
        return
    for _, name, call, around in calls(module.tree):
        given = next((k.value for k in call.keywords if k.arg == "state"), None)
        if given is None or ast.unparse(given).startswith("OutboxState."):
            continue
        here = (module.member, around)
        if name == "replace" and here not in OTHER_STATES:
            yield f"{module.name}:{call.lineno} replaces a state"
        if name == "Enrollment" and here not in BIRTHS:
            yield f"{module.name}:{call.lineno} makes an enrollment with a state"
    for node in ast.walk(module.tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
        )
        if any(isinstance(t, ast.Attribute) and t.attr == "state" for t in targets):
            yield f"{module.name}:{node.lineno} assigns a state"  # type: ignore[attr-defined]
        if isinstance(node, ast.Attribute) and node.attr == "__setattr__":
            yield f"{module.name}:{node.lineno} gets around a frozen value"


def state_statements(engine: Path) -> Iterator[str]:
    for file in sorted((engine / "sql").glob("*.sql")):
        for part in re.split(r"^-- name: ", file.read_text(encoding="utf-8"), flags=re.M)[1:]:
            name = part.partition("(")[0]
            writes = (
                re.search(r"UPDATE enrollment SET.*?\bstate\b", part.split("WHERE")[0], re.S)
                or "INTO enrollment" in part
            )
            if writes and name not in STATE_WRITERS:
                yield f"sql: {name} writes an enrollment's state"


def statement_callers(module: Module) -> Iterator[str]:
    """Who reaches past the store."""
    if module.member in ("store", "database", BENCH):
        return
    for source, name in imports(module.tree):
        if source.split(".")[0] in DRIVERS and module.member != COPIES:
            yield f"{module.name} imports {source}"
        if source == "engine.database" and name not in DATABASE_NAMES | OPENERS.get(module.member, set()):
            yield f"{module.name} imports {name or 'all'} of the database"
    for node in ast.walk(module.tree) if module.member != COPIES else ():
        if isinstance(node, ast.Attribute) and node.attr == "database":
            yield f"{module.name}:{node.lineno} reaches for a store's database"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_TEXT.match(node.value):
            yield f"{module.name}:{node.lineno} writes SQL"


SQL_TEXT = re.compile(r"\s*(SELECT\s.+\sFROM\s|INSERT INTO\s|UPDATE\s\w+\sSET\s|DELETE FROM\s)", re.S)


@functools.cache
def broken_by(module: Module) -> tuple[str, ...]:
    core = touched(module) if module.member == "core" else ()
    return (*core, *upward(module), *clocks(module), *states(module), *statement_callers(module))


def violations(engine: Path) -> list[str]:
    """Everything in a source tree that breaks a rule."""
    return [*state_statements(engine), *(found for module in modules(engine) for found in broken_by(module))]


# --- the tests -------------------------------------------------------------------------------------------------------


def test_the_architecture_holds() -> None:
    assert violations(ENGINE) == []


def test_every_member_has_its_place() -> None:
    """One that has none is nobody's but the last group's: write it into LAYERS when somebody else must import it."""
    named = [member for layer in LAYERS for member in layer]
    assert len(named) == len(set(named))
    assert set(STRANGERS) | CLOCKS <= set(named)


def test_every_exception_is_still_needed() -> None:
    known = {m.member: m.tree for m in modules(ENGINE) if m.name.count(".") == 1}
    functions = {
        (member, node.name)
        for member, tree in known.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    assert set(OTHER_STATES) | BIRTHS <= functions
    by_name = {m.name: {source for source, _ in imports(m.tree)} for m in modules(ENGINE)}
    assert all(sources <= by_name[name] for name, sources in EXCEPTIONS.items())


PLANTED = {
    "a socket in the core": ("core/match.py", "import socket", "imports socket"),
    "an environment in the core": ("core/needs.py", "from os import environ", "imports os.environ"),
    "a file in the core": ("core/needs.py", "TEXT = open('x').read()", "calls open()"),
    "a path in the core": ("core/needs.py", "from pathlib import Path", "imports pathlib.Path"),
    "a database in the core": ("core/machine.py", "import sqlite3", "imports sqlite3"),
    "chance in the core": ("core/letters.py", "import random", "imports random"),
    "a clock in the core": ("core/machine.py", "WHEN = datetime.now(UTC)", "reads the clock: datetime.now()"),
    "another clock in the core": ("core/calendar.py", "from time import time", "imports time.time"),
    "today in the core": ("core/needs.py", "DAY = date.today()", "reads the clock: date.today()"),
    "a file read late in the core": ("core/compose.py", "def f():\n    import shutil", "imports shutil"),
    "data read elsewhere in the core": ("core/words.py", "from importlib.resources import files", "imports importlib"),
    "the shell in the core": ("core/match.py", "from engine.store import Store", "outside of the core"),
    "the daemon in a verb": ("outbox.py", "from engine.daemon import Daemon", "imports daemon, which stands above"),
    "a verb in the store": ("store.py", "from engine import enrollments", "imports enrollments, which stands above"),
    "a neighbour": ("edits.py", "from engine import outbox", "imports outbox, which stands above or beside"),
    "the inbox in the outbox": ("outbox.py", "def f():\n    from engine.inbox import receive", "imports inbox"),
    "the store in the wires": ("watcher.py", "from engine.store import Store", "imports store, a stranger"),
    "the wires in the store": ("store.py", "from engine.account import Account", "imports account, a stranger"),
    "an unnamed member in a verb": (
        "inbox.py",
        "from engine.novelty import thing",
        "imports novelty, which stands above",
    ),
    "a clock in a verb": ("outbox.py", "NOW = datetime.now(UTC)", "engine.outbox"),
    "a state by replace": ("inbox.py", "def f(e):\n    return replace(e, state=State.STOPPED)", "replaces a state"),
    "a state by a variable": ("enrollments.py", "def f(e, s):\n    return replace(e, state=s)", "replaces a state"),
    "a state at birth": (
        "inbox.py",
        "def f():\n    return Enrollment(id='', state=State.PAUSED)",
        "makes an enrollment",
    ),
    "a state assigned": ("inbox.py", "def f(e):\n    e.state = 'stopped'", "assigns a state"),
    "a frozen value thawed": ("outbox.py", "def f(e):\n    object.__setattr__(e, 'state', 'x')", "gets around"),
    "a state by statement": (
        "sql/people.sql",
        "-- name: end(id)\nUPDATE enrollment SET state = 'stopped' WHERE id = :id;",
        "sql: end",
    ),
    "a statement called elsewhere": ("inbox.py", "def f(s):\n    s.database.change('suppress')", "reaches for"),
    "SQL elsewhere": ("cli/lists.py", "QUERY = 'SELECT a FROM b'", "writes SQL"),
    "a driver elsewhere": ("daemon.py", "import sqlite3", "imports sqlite3"),
    "a database opened elsewhere": ("daemon.py", "from engine.database import open_database", "of the database"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_it_bites_on(planted: str, tmp_path: Path) -> None:
    where, code, said = PLANTED[planted]
    copy = tmp_path / "engine"
    shutil.copytree(ENGINE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.toml"))
    with (copy / where).open("a") as file:
        file.write(f"\n{code}\n")
    found = violations(copy)
    assert any(said in violation for violation in found), found
