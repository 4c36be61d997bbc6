"""The project folder: made, checked, tried out, and its edits put to work."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.options import config_option, configuration, example, json_option
from engine.cli.output import count, print_json, say

if TYPE_CHECKING:
    from engine.config import Config, Mailbox
    from engine.core.problem import Problem
    from engine.probe import Learned

commands = click.Group()

#: The folder of a project in which its editors find the schemas.
SCHEMAS = ".schemas"
#: What `check` may use: many times what a hundred sequences cost.
CHECK_SECONDS_MAX, CHECK_BYTES_MAX = 60, 2 << 30
IGNORED = ("secret.key", "*.db", "*.db-*", ".env")
NEXT = ("whoelse check", "whoelse simulate value_review", "whoelse enroll dana@acme.example value_review --help")


@commands.command(
    "demo",
    short_help="See the whole of it, with nothing set up.",
    epilog=example("whoelse demo", "whoelse demo --keep demo-project"),
)
@click.option(
    "--keep", metavar="DIR", type=click.Path(path_type=Path), help="Keep the project that it ran, for a look."
)
def demo(keep: Path | None) -> None:
    """Show the whole of it with nothing set up: servers on this machine, clients that answer, weeks in a minute."""
    from engine.demo import run

    sys.exit(run(keep))


# --- init ------------------------------------------------------------------------------------------------------------


@commands.command("init", short_help="Make a project folder.", epilog=example("whoelse init", "whoelse init referrals"))
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Make a project: config.yaml with comments, sequences, templates, a key, and schemas by which an editor completes and
    underlines. Nothing is ever overwritten."""
    from engine.library import shipped_folder
    from engine.secrets import create_key

    files = dict(_to_make(shipped_folder()))
    _refuse_to_overwrite(folder, ["secret.key", *map(str, files)])
    _make(folder, files)
    create_key(folder / "secret.key")
    _ignore(folder / ".gitignore")
    say(f"A project is in {folder.resolve()}: config.yaml, sequences/, templates/, secret.key.")
    say("Keep a copy of secret.key in a safe place: answers are recognised by it.\n")
    say("Next:")
    for command in ([f"cd {folder}"] if folder != Path() else []) + list(NEXT):
        say(f"  {command}")
    say("\nThen fill in your mailbox in config.yaml, and: whoelse check --connect")


def _to_make(shipped: Path) -> Iterator[tuple[Path, bytes]]:
    """(name below the project, content) of everything that a project begins with."""
    yield Path("config.yaml"), _bound("config", SCHEMAS) + (shipped / "config.example.yaml").read_bytes()
    for part in ("sequences", "templates"):
        for file in sorted(f for f in (shipped / part).rglob("*") if f.is_file()):
            name = file.relative_to(shipped)
            yield name, (_bound(_kind(name), f"../{SCHEMAS}") if _kind(name) else b"") + file.read_bytes()
    yield from _schemas()


def _kind(name: Path) -> str:
    """By which schema a file of the project is written, if by any."""
    if name.parent != Path("sequences") or name.suffix != ".yaml":
        return ""
    return "triggers" if name.stem == "triggers" else "sequence"


def _bound(kind: str, folder: str) -> bytes:
    """The comment by which editors with a YAML language server find the schema."""
    return f"# yaml-language-server: $schema={folder}/{kind}.json\n".encode()


def _schemas() -> Iterator[tuple[Path, bytes]]:
    for kind, found in _schema_of().items():
        yield Path(SCHEMAS) / f"{kind}.json", (json.dumps(found, ensure_ascii=False, indent=1) + "\n").encode()


def _schema_of() -> dict[str, dict[str, Any]]:
    from engine.config import config_schema
    from engine.core.schema import sequence_schema, triggers_schema

    return {"sequence": sequence_schema(), "triggers": triggers_schema(), "config": config_schema()}


def _make(folder: Path, files: Mapping[Path, bytes]) -> None:
    """All of them, or none: what was half made would stand in the way of the next try."""
    from engine.errors import UserError

    made: list[Path] = []
    for name, content in files.items():
        target = folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.append(target)
            target.write_bytes(content)
        except OSError as error:
            for file in made:
                file.unlink(missing_ok=True)
            remedy = "make room or choose another place; nothing was made"
            raise UserError(f"cannot be written: {error.strerror}", str(target), remedy) from None


def _refuse_to_overwrite(folder: Path, names: Sequence[str]) -> None:
    from engine.errors import UserError

    if folder.exists() and not folder.is_dir():
        raise UserError("is a file", str(folder), "name a folder")
    there = [name for name in names if os.path.lexists(folder / name)]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(
            f"{there[0]}{more} is there already", str(folder), "name another folder: nothing is overwritten"
        )


def _ignore(file: Path) -> None:
    """What must never be committed; lines that somebody wrote stay."""
    known = file.read_text(encoding="utf-8") if file.exists() else ""
    missing = [line for line in IGNORED if line not in known.splitlines()]
    end = "" if not known or known.endswith("\n") else "\n"
    file.write_text(known + end + "".join(f"{line}\n" for line in missing), encoding="utf-8")


# --- check -----------------------------------------------------------------------------------------------------------


@commands.command(
    "check",
    short_help="Find what is wrong in config, sequences and templates.",
    epilog=example("whoelse check", "whoelse check --connect", "whoelse check --connect --probe"),
)
@click.option("--connect", is_flag=True, help="Also log in to every mailbox's SMTP and IMAP server.")
@click.option(
    "--probe",
    is_flag=True,
    help="With --connect: send each rep a message to themselves, to learn how the account behaves.",
)
@config_option
@json_option
def check(connect: bool, probe: bool, config: Path, as_json: bool) -> None:
    """Find what is wrong in the config, the sequences and the templates, before anybody is enrolled."""
    from engine.core.problem import has_errors

    if probe and not connect:
        raise click.BadParameter("goes with --connect", param_hint="--probe")
    with _limited():
        loaded, problems = _checked(config)
    ok = not has_errors(problems)
    if not as_json:
        _say_problems(problems, "in the files" if connect else "")
    logins = _connect(loaded, say if not as_json else None) if connect and loaded and ok else []
    ok = ok and all(login["ok"] for login in logins)
    probes = _probe(loaded, say if not as_json else None) if probe and loaded and ok else []
    ok = ok and not any(found["trouble"] for found in probes)
    if as_json:
        found = {"ok": ok, "problems": [_as_json(problem) for problem in problems]}
        more = {**({"connections": logins} if connect else {}), **({"probes": probes} if probe else {})}
        print_json({**found, **more})
    sys.exit(0 if ok else 1)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Reading and filling in may cost so much and no more, whatever somebody wrote (setrlimit(2)); each template has bounds of its
    own besides. Raises UserError beyond them."""
    from engine.errors import UserError

    try:
        import resource
        import signal
    except ImportError:  # Windows has no such limits
        yield
        return
    remedy = "something in the sequences or templates has no end: take out what was edited last"

    def stop(*_: object) -> None:
        raise UserError(f"checking takes more than {CHECK_SECONDS_MAX} s of processor time", remedy=remedy)

    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    wanted = {resource.RLIMIT_CPU: int(used) + CHECK_SECONDS_MAX, resource.RLIMIT_AS: CHECK_BYTES_MAX}
    before = {limit: resource.getrlimit(limit) for limit in wanted}
    handler = signal.signal(signal.SIGXCPU, stop)
    try:
        for limit, (soft, hard) in before.items():
            known = [bound for bound in (soft, hard, wanted[limit]) if bound != resource.RLIM_INFINITY]
            resource.setrlimit(limit, (min(known), hard))
        yield
    except MemoryError:
        raise UserError(f"checking takes more than {CHECK_BYTES_MAX >> 20} MB", remedy=remedy) from None
    finally:
        for limit, bounds in before.items():
            resource.setrlimit(limit, bounds)
        signal.signal(signal.SIGXCPU, handler)


def _checked(path: Path) -> tuple[Config | None, list[Problem]]:
    """The config, where it can be read, and everything that is wrong. A config with errors is an answer of `check`."""
    from engine.config import load_config
    from engine.errors import UserError
    from engine.project import read_library

    try:
        config = load_config(path, os.environ, thorough=True)
    except UserError as error:
        if not error.problems:
            raise
        return None, list(error.problems)
    return config, read_library(config)[1]


def _as_json(problem: Problem) -> dict[str, Any]:
    fields = ("severity", "file", "line", "column", "code", "message", "hint")
    return {name: getattr(problem, name) for name in fields}


def _say_problems(problems: Sequence[Problem], where: str) -> None:
    for problem in problems:
        mark = "warning: " if problem.severity == "warning" else ""
        say(f"{problem.file}:{problem.line}:{problem.column}: {mark}{problem.message}")
        if problem.hint:
            say(f"    {problem.hint}")
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    if problems:
        say()
    said = [
        count(errors, "error") if errors else "Nothing is wrong",
        *([count(warnings, "warning")] if warnings else []),
    ]
    say(" ".join(filter(None, (", ".join(said), where))) + ".")


def _connect(config: Config, tell: Callable[[str], None] | None) -> list[dict[str, Any]]:
    """Logs in everywhere and tells each as it is known; what goes wrong with one server does not hide the others."""
    logins = []
    for mailbox in config.mailboxes:
        for kind in ("SMTP", "IMAP"):
            problem, folders = _log_in(mailbox, kind)
            logins.append(
                {"mailbox": mailbox.address, "server": kind, "ok": not problem, "problem": problem, "folders": folders}
            )
            if tell:
                listed = ", ".join(f"{role} is {name!r}" for role, name in sorted(folders.items()))
                tell(f"{mailbox.address}: {kind} {problem or 'works'}" + (f": {listed}" if listed else ""))
    return logins


def _log_in(mailbox: Mailbox, kind: str) -> tuple[str, dict[str, str]]:
    """What is wrong (or nothing), and the folders by their roles."""
    import asyncio

    from engine import imap, smtp
    from engine.daemon import account
    from engine.errors import UserError

    try:
        reached = account(mailbox, kind.lower())
        found = asyncio.run(smtp.check(reached)) if kind == "SMTP" else imap.check(reached)
    except UserError as error:
        return str(error), {}
    if isinstance(found, Mapping):
        return "", {str(role): name for role, name in found.items()}
    return found or "", {}


def _probe(config: Config, tell: Callable[[str], None] | None) -> list[dict[str, Any]]:
    """Sends each rep a message to themselves; what it shows is kept, and used where the config says `sent: auto`."""
    from engine.cli.output import now
    from engine.daemon import account
    from engine.probe import probe
    from engine.project import open_store

    store, found = open_store(config), []
    for mailbox in config.mailboxes:
        learned = probe(mailbox, account(mailbox, "smtp"), account(mailbox, "imap"), now())
        if learned.files_sent:
            store.add_mailbox(mailbox.address)
            store.learn_mailbox(mailbox.address, learned.files_sent, learned.keeps_id)
        if tell:
            tell(f"{mailbox.address}: {learned.trouble or _behaviour(mailbox, learned)}")
        fields = ("files_sent", "keeps_id", "trouble")
        found.append({"mailbox": mailbox.address, **{name: getattr(learned, name) for name in fields}})
    return found


def _behaviour(mailbox: Mailbox, learned: Learned) -> str:
    files = learned.files_sent == "yes"
    said = "the server files sent mail by itself" if files else "the server files nothing: we put a copy into Sent"
    if learned.keeps_id == "no":
        said += "; it rewrites Message-IDs, answers are recognised by our own id"
    if mailbox.sent != "auto" and (mailbox.sent == "server") is not files:
        said += f"; the config says `sent: {mailbox.sent}`, which does not fit: write `sent: auto`"
    return said


# --- test, schema ----------------------------------------------------------------------------------------------------


@commands.command(
    "test", short_help="Run the scenarios of the sequences.", epilog=example("whoelse test", "whoelse test ask")
)
@click.argument("sequence", default="")
@config_option
@json_option
def scenarios(sequence: str, config: Path, as_json: bool) -> None:
    """Run the scenarios of all sequences on a virtual clock, and say what no scenario reaches."""
    from engine.errors import UserError
    from engine.project import edited_library
    from engine.scenarios import coverage, run_scenarios

    loaded = configuration(config)
    library = edited_library(loaded)
    if sequence and sequence not in library.sequences:
        known = ", ".join(sorted(library.sequences))
        raise UserError(f"there is no sequence {sequence!r}", remedy=f"there are {known}")
    results = run_scenarios(library, loaded, sequence)
    failed = [result for result in results if not result.passed]
    unreached = coverage(library, results, sequence)
    if as_json:
        fields = ("sequence", "scenario", "passed", "message")
        print_json(
            {
                "passed": not failed,
                "results": [{name: getattr(result, name) for name in fields} for result in results],
                "unreached": [str(line) for line in unreached],
            }
        )
    else:
        _say_results(results, failed, unreached)
    sys.exit(1 if failed else 0)


def _say_results(results: Sequence[Any], failed: Sequence[Any], unreached: Any) -> None:
    for result in failed:
        say(f"{result.sequence}: {result.scenario}: failed")
        say("\n".join(f"    {line}" for line in result.message.splitlines()))
    for line in unreached:
        say(str(line))
    say(f"{count(len(results) - len(failed), 'scenario')} passed, {len(failed)} failed.")


@commands.command(
    "schema",
    short_help="Print a JSON Schema for your editor.",
    epilog=example("whoelse schema sequence > sequence.schema.json", "whoelse schema --write"),
)
@click.argument("kind", metavar="[sequence|triggers|config]", default="sequence")
@click.option("--write", is_flag=True, help="Write all of them anew where the project's files look for them: .schemas/")
@config_option
def schema(kind: str, write: bool, config: Path) -> None:
    """Print the JSON Schema of a kind of file, for editors that complete and check while one writes. `whoelse init` has bound
    it to the files by a comment in their first line."""
    schemas = _schema_of()
    if kind not in schemas:
        raise click.BadParameter(f"{kind!r} is none of {', '.join(schemas)}")
    if not write:
        print_json(schemas[kind])
        return
    folder = config.parent
    _make(folder, dict(_schemas()))
    say(f"Written: {', '.join(str(folder / name) for name, _ in _schemas())}.")
