"""A project folder opened for work: its config, its store, its key and the library that was applied last. An edit on disk is
taken up on the way where the config says so and nothing is wrong with it; a faulty one is told of and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from engine.config import Config
from engine.core.problem import Problem, has_errors
from engine.database import Unusable
from engine.errors import UserError
from engine.store import Store

if TYPE_CHECKING:  # they cost a quarter of a second, and `status` needs neither
    from engine.installation import Installation
    from engine.library import Library

#: An edit is finished when nothing was touched for so long; the longer one is for a file that ends in the middle of a line.
SETTLED, HALF_A_LINE = timedelta(seconds=2), timedelta(seconds=60)
#: What a database says, and what can be done about it.
REMEDIES = {
    "locked": "another program holds it: wait, or end that program",
    "full": "free some space where it is kept",
    "disk i/o": "see whether the disk is full or damaged",
    "readonly": "make the file and its folder writable for you",
    "unable to open": "see whether its folder is there and writable for you",
    "not a database": "the file is something else: name another under `store:` in the config",
    "malformed": "it is damaged: whoelse restore FILE puts a backup in its place",
    "connection": "see whether the database server runs and lets you in (password in PGPASSWORD)",
}


def explained(error: Unusable) -> UserError:
    """A database that cannot be used, in a sentence with its remedy."""
    said = str(error)
    remedy = next(
        (remedy for word, remedy in REMEDIES.items() if word in said.lower()), "look at `store:` in the config"
    )
    return UserError(f"the store cannot be used: {said}", remedy=remedy)


def open_store(config: Config) -> Store:
    """The store of the config, made when it is not there yet. Raises UserError where it cannot be used, or was moved elsewhere."""
    from engine.copies import refuse_moved
    from engine.store import open_store as opened

    try:
        store = opened(config.store)
        refuse_moved(store)
    except Unusable as error:
        raise explained(error) from error
    return store


def lint_library(config: Config, library: Library, problems: list[Problem]) -> list[Problem]:
    """Everything that is wrong with a library: what parsing found, and what shows only across files."""
    from engine.core.lint import lint, samples

    given = [set(mailbox.variables) for mailbox in config.mailboxes]
    across = lint(
        library.sequences,
        library.templates,
        config.calendar.windows,
        library.triggers,
        library.sources,
        set.intersection(*given) if given else (),
    )
    unreadable = {
        problem.file for problem in problems if problem.code == "encoding"
    }  # all else in them follows from it
    unfilled = samples.unfillable(library.sequences, library.templates, [*problems, *across])
    every = {p for p in (*problems, *across, *unfilled) if p.code == "encoding" or p.file not in unreadable}
    return sorted(every, key=lambda p: (p.file, p.line, p.column, p.message))


def read_library(config: Config) -> tuple[Library, list[Problem]]:
    """What lies in the project folder now, applied or not, with everything that is wrong with it."""
    from engine.library import parse, read_sources

    sources, unreadable = read_sources(config.folder)
    library, problems = parse(sources)
    if not library.sequences and not problems and not unreadable:
        unreadable = [
            Problem("sequences", 1, 1, "empty", "holds no sequence", "`whoelse init` makes a project with all")
        ]
    return library, lint_library(config, library, [*unreadable, *problems])


def edited_library(config: Config) -> Library:
    """What lies in the project folder now. Raises UserError with all problems where one of them is an error."""
    library, problems = read_library(config)
    _refuse(problems)
    return library


def _refuse(problems: list[Problem]) -> None:
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise UserError(f"{_count(errors)} in sequences and templates:", problems=errors)


def _count(errors: list[Problem]) -> str:
    return "an error" if len(errors) == 1 else f"{len(errors)} errors"


def open_edited(config: Config, environ: Mapping[str, str]) -> Installation:
    """The installation as the files on disk would have it, with nothing applied: to look and to rehearse.

    Raises UserError."""
    from engine.installation import Installation
    from engine.secrets import installation_key

    library = edited_library(config)
    return Installation(config, open_store(config), library, installation_key(config, environ))


def open_installation(
    config: Config, environ: Mapping[str, str], now: datetime, say: Callable[[str], None]
) -> Installation:
    """The installation to work with; valid edits are applied first at `now` (UTC) if the config has `apply: automatic`.

    `say` hears in lines what was applied, or why it was not. Raises UserError."""
    from engine.installation import Installation
    from engine.library import unpack
    from engine.secrets import installation_key

    key = installation_key(config, environ)
    store = open_store(config)
    try:
        applied = store.applied_library()
    except Unusable as error:
        raise explained(error) from error
    if applied is None:
        return _first_library(Installation(config, store, edited_library(config), key), now)
    return take_up(Installation(config, store, unpack(applied[1]), key), now, say)


def _first_library(inst: Installation, now: datetime) -> Installation:
    """Nothing runs yet, so there is nothing to plan."""
    from engine.library import pack

    with inst.store.transaction():
        inst.store.apply_library(inst.library.version, now, pack(inst.library))
    return inst


def take_up(inst: Installation, now: datetime, say: Callable[[str], None]) -> Installation:
    """The installation with what was edited on disk since, where that is finished, valid and to be applied by itself."""
    from engine.edits import apply, deserted, plan

    edited = _edited(inst)
    if edited is None or _unfinished(inst, edited, now):
        return inst
    if _is_behind(inst, edited):
        say("sequences/ and templates/ here are older than what was applied elsewhere: bring them up to date")
        return inst
    library, problems = read_library(inst.config)
    if library.sources != edited:  # it goes on being written
        return inst
    if has_errors(problems):
        say("the edits in sequences/ and templates/ are not applied, the last good version goes on:")
        for problem in problems:
            if problem.severity == "error":
                say(f"  {problem}")
        return inst
    if left := deserted(inst, library):
        say("the edits in sequences/ and templates/ are not applied, the last good version goes on:")
        for name, people in left.items():
            said = "somebody is" if people == 1 else f"{people} people are"
            say(
                f"  sequences/{name}.yaml is gone, and {said} in it: put it back, or `whoelse apply` to stop it for them"
            )
        return inst
    for line in plan(inst, library, now).lines():
        say(f"applied: {line}")
    return apply(inst, library, now)


def unfinished(inst: Installation, now: datetime) -> timedelta:
    """For how long an edit on disk must still lie untouched until it is taken up; nothing where there is none to wait for."""
    edited = _edited(inst)
    return _unfinished(inst, edited, now) if edited is not None else timedelta(0)


def _edited(inst: Installation) -> dict[str, str] | None:
    """The files on disk, where they are not those that run and would be applied by themselves."""
    from engine.library import read_sources, version_of

    if inst.config.apply == "manual":
        return None
    sources, _ = read_sources(inst.config.folder)
    return None if version_of(sources) == inst.library.version else sources


def _is_behind(inst: Installation, edited: Mapping[str, str]) -> bool:
    """Several machines on one store, and an edit reached another one first: what lies here was applied before it and was not
    touched since. Each would undo the other's edit, again and again."""
    from engine.library import changed_at, version_of

    running = inst.store.library_applied_at(inst.library.version)
    was_applied = inst.store.library_applied_at(version_of(edited)) is not None
    return was_applied and running is not None and changed_at(inst.config.folder) < running


def _unfinished(inst: Installation, edited: Mapping[str, str], now: datetime) -> timedelta:
    """Half of a file can be valid, and the half of a letter always is. Nobody tells when an editor has done, so an edit counts as
    finished when nothing was touched for a while; for longer, where a file ends in the middle of a line.

    A clock that was set back makes a change seem to come; it counts as long ago."""
    from engine.library import changed_at

    half = any(
        not text.endswith("\n") and inst.library.sources.get(name) != text
        for name, text in edited.items()
        if name.endswith((".yaml", ".md"))
    )
    needed = HALF_A_LINE if half else SETTLED
    rested = abs(now - changed_at(inst.config.folder))
    return max(needed - rested, timedelta(0))
