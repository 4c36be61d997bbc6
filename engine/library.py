"""Sequences and templates: from the project folder to values, and the versions that were applied. What runs is always the
version that was applied last and is kept whole in the store; a half-written or faulty edit on disk changes nothing."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from engine.core.render import Templates
from engine.core.sequence import Problem, Sequence, Step, Trigger, is_document, parse_sequence, parse_triggers
from engine.core.yaml_strict import decode

TRIGGERS = "sequences/triggers.yaml"
ATTACHMENT_BYTES_MAX = 10_000_000


@dataclass(frozen=True)
class Library:
    """One version of all sequences and templates. `sources` are the files by their path below
    the project folder, those to attach in base64."""

    version: str
    sequences: Mapping[str, Sequence]
    templates: Templates
    triggers: tuple[Trigger, ...]
    sources: Mapping[str, str]

    def attachments(self, step: Step) -> tuple[tuple[str, bytes], ...]:
        """(name, bytes) of the files that a step attaches, as they were when this version was applied.

        Raises ValueError for one that is not there: `check` refuses that, but an older version may have been applied."""
        names = [name for name in step.attach if not is_document(name)]
        missing = [name for name in names if f"sequences/{name}" not in self.sources]
        if missing:
            raise ValueError(f"there is no file sequences/{missing[0]} to attach")
        files = [(PurePosixPath(name).name, self.sources[f"sequences/{name}"]) for name in names]
        return tuple((name, base64.b64decode(content)) for name, content in files)


def shipped_folder() -> Path:
    """Where the sequences and templates lie that come with the program: in the wheel, or in its source tree."""
    packaged = Path(__file__).parent / "shipped"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent


def read_sources(folder: Path) -> tuple[dict[str, str], list[Problem]]:
    """All sequence and template files below `folder`, with a problem for each that cannot be read."""
    sources: dict[str, str] = {}
    problems: list[Problem] = []
    beside = {f for f in _below(folder / "sequences", "*") if f.is_file() and f.suffix != ".yaml"}
    files = [*(folder / "sequences").glob("*.yaml"), *_below(folder / "templates", "*.md"), *beside]
    for file in sorted(f for f in files if not _of_an_editor(f)):
        name = file.relative_to(folder).as_posix()
        try:
            if file in beside and file.stat().st_size > ATTACHMENT_BYTES_MAX:
                problems.append(
                    Problem(name, 1, 1, "too_large", "is larger than 10 MB, too much to attach", "make it smaller")
                )
                continue
            raw = file.read_bytes()
        except OSError as error:
            problems.append(Problem(name, 1, 1, "unreadable", f"cannot be read: {error.strerror}"))
            continue
        if file in beside:
            if file.suffix == ".yml":
                hint = f"name it {file.with_suffix('.yaml').name}"
                problems.append(Problem(name, 1, 1, "suffix", "is read as no sequence", hint, "warning"))
            sources[name] = base64.b64encode(raw).decode()
            continue
        text, found = decode(name, raw)
        problems += found
        sources[name] = text
    return sources, problems


def _below(root: Path, pattern: str) -> list[Path]:
    """The files below a folder; none, where a folder goes away while one looks: whoever moves it is not done."""
    try:
        return [*root.rglob(pattern)]
    except FileNotFoundError:
        return []


def _of_an_editor(file: Path) -> bool:
    """What editors and systems keep beside a file: hidden ones, locks and backups."""
    return file.name.startswith((".", "#")) or file.name.endswith(("~", "#"))


def changed_at(folder: Path) -> datetime:
    """When anything about the sequences and templates below `folder` changed last (UTC): content, names, what is there.

    By the time that the system keeps of every change of a file (ctime), which no program can set back."""
    roots = [root for root in (folder / "sequences", folder / "templates") if root.exists()]
    latest = folder.stat().st_ctime if len(roots) < len(("sequences", "templates")) else 0.0
    for path in (place for root in roots for place in (root, *_below(root, "*"))):
        with contextlib.suppress(FileNotFoundError):  # gone while we looked: its folder has changed
            latest = max(latest, path.stat().st_ctime)
    return datetime.fromtimestamp(latest, UTC)


def version_of(sources: Mapping[str, str]) -> str:
    """Twelve digits that change with any byte of any file."""
    return hashlib.sha256(json.dumps(sorted(sources.items())).encode()).hexdigest()[:12]


def template_sources(sources: Mapping[str, str]) -> dict[str, str]:
    """The templates by the names that sequences use: `ask/who_else` for templates/ask/who_else.md."""
    prefix, suffix = "templates/", ".md"
    return {n[len(prefix) : -len(suffix)]: text for n, text in sources.items() if n.startswith(prefix)}


def parse(sources: Mapping[str, str]) -> tuple[Library, list[Problem]]:
    """A library of what could be read, and everything that is wrong with the rest."""
    version = version_of(sources)
    sequences: dict[str, Sequence] = {}
    triggers: list[Trigger] = []
    problems: list[Problem] = []
    for name, text in sources.items():
        if name == TRIGGERS:
            triggers, found = parse_triggers(name, text)
            problems += found
        elif name.startswith("sequences/") and name.endswith(".yaml"):
            sequence, found = parse_sequence(name, text)
            problems += found
            if sequence:
                sequences[sequence.key] = replace(sequence, version=version)
    templates = Templates(template_sources(sources))
    return Library(version, sequences, templates, tuple(triggers), dict(sources)), problems


def pack(library: Library) -> str:
    """The sources as the store keeps them."""
    return json.dumps(dict(library.sources), ensure_ascii=False)


@functools.lru_cache(maxsize=2)
def unpack(packed: str) -> Library:
    """A library that the store kept: it was free of errors when it was applied. Who unpacks it again gets the same one."""
    return parse(json.loads(packed))[0]
