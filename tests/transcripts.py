"""The shell sessions that stand in the docs, read and compared: commands behind `$ `, and below each what it prints.

In what is printed, `…` stands for anything, on a line of its own for any lines. A handle like `3f1a` stands for whatever was
printed there, and is known from then on. Comments before a block say more about it (see `Block.marks`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

COMMENT = re.compile(r"<!-- (.+) -->")
HANDLE = re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{4}\b")
DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{1,2} [A-Z][a-z]{2} \d{4}(?: \d\d:\d\d)?|\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?"
)

Run = Callable[[str], tuple[int, str]]


@dataclass(frozen=True)
class Block:
    """One fenced block of a page. `marks` are the comments right before it: `not run: why`, `with a server`, `exit code N`,
    `file: PATH` (it is written there), `NAME answers: TEXT` (a client does, before its first command)."""

    page: Path
    line: int
    language: str
    text: str
    marks: tuple[str, ...]

    def mark(self, name: str) -> str | None:
        """What a mark says; an empty text when it says only its name, None when it is not there."""
        for mark in self.marks:
            head, _, rest = mark.partition(": ")
            if head == name:
                return rest
        return None

    @property
    def where(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass(frozen=True)
class Command:
    where: str
    text: str
    expected: str


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in order."""
    lines, marks = page.read_text(encoding="utf-8").split("\n"), []
    number = 0
    while number < len(lines):
        line = lines[number]
        if fence := re.fullmatch(r"```(\w*)", line):
            end = lines.index("```", number + 1)
            yield Block(page, number + 1, fence[1], "\n".join(lines[number + 1 : end]) + "\n", tuple(marks))
            number, marks = end, []
        elif comment := COMMENT.fullmatch(line):
            marks.append(comment[1])
        elif line.strip():
            marks = []
        number += 1


def commands(block: Block) -> Iterator[Command]:
    """The commands of a session, each with what it prints."""
    lines = block.text.rstrip("\n").split("\n")
    assert lines[0].startswith("$ "), f"{block.where}: a session begins with a command"
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        below = start + 1
        while lines[below - 1].endswith("\\"):
            below += 1
        typed = "\n".join(line.removeprefix("$ ").removeprefix("> ") for line in lines[start:below])
        yield Command(f"{block.page.name}:{block.line + 1 + start}", typed, "\n".join(lines[below:end]))


@dataclass
class Session:
    """Runs commands and compares. With `loose`, dates and the folding of lines do not count."""

    run: Run
    loose: bool = False
    handles: dict[str, str] = field(default_factory=dict)

    def play(self, block: Block) -> None:
        """Raises AssertionError where a command ends otherwise, or prints something else, than the page says."""
        codes = [int(mark.removeprefix("exit code ")) for mark in block.marks if mark.startswith("exit code ")] or [0]
        for command in commands(block):
            typed = HANDLE.sub(lambda found: self.handles.get(found[0], found[0]), command.text)
            code, said = self.run(typed)
            assert code == codes[0], f"{command.where}: $ {typed}\nended with exit code {code}:\n{said}"
            self.compare(command, said)

    def compare(self, command: Command, said: str) -> None:
        if self.loose:
            expected, said = pattern_of_words(command.expected), flattened(said)
        else:
            expected, said = pattern_of_lines(command.expected), said.rstrip() + "\n"
        found = re.fullmatch(expected, said, re.DOTALL)
        assert found, f"{command.where}: $ {command.text}\nprints\n{said}\n--- and the page says\n{command.expected}"
        self.handles |= {name.removeprefix("handle_"): value for name, value in found.groupdict().items()}


def flattened(text: str) -> str:
    return " ".join(DATE.sub("DATE", text).split())


def pattern_of_words(expected: str) -> str:
    return re.sub(r"(\\ )?…(\\ )?", ".*", _escaped(flattened(expected)))


def pattern_of_lines(expected: str) -> str:
    lines = [line.rstrip() for line in expected.rstrip().split("\n")]
    any_lines, ended = "(?:.*\n)?", "\n"
    parts = _escaped("\n".join(lines)).split("\\\n")
    return "".join(any_lines if part == "…" else part.replace("…", ".*") + ended for part in parts)


def _escaped(text: str) -> str:
    """A text as a regular expression; a handle is a group of its name, the second time a reference to it."""
    seen: set[str] = set()

    def handle(found: re.Match[str]) -> str:
        name = f"handle_{found[0]}"
        again = name in seen
        seen.add(name)
        return f"(?P={name})" if again else f"(?P<{name}>[0-9a-f]{{4,}})"

    return HANDLE.sub(handle, re.escape(text))
