"""The deliberately broken sequence files of tests/broken, read and linted among sound ones.

Each file says in its first lines what must be found: `# LINE:COLUMN SEVERITY CODE`, or with `FILE:` before it where a
template is at fault, and below it the message with its hint. Templates under `faulty` are there only for the file that names
them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from engine.core.calendar import Window, parse_window
from engine.core.lint import lint
from engine.core.problem import Problem
from engine.core.render import Templates
from engine.core.sequence import Sequence, parse_sequence

BROKEN = Path(__file__).parent / "broken"
WINDOWS = {
    "business_hours": parse_window({"days": "mon-fri", "from": "09:00", "to": "17:00"}, "business_hours"),
    "never": Window("never", {}),
}


def cases() -> list[Path]:
    return sorted(BROKEN.glob("*.yaml"))


def expected_in(text: str) -> list[str]:
    """What the head of a file says, as pairs of lines."""
    head = re.match(r"(?:# \S+ (?:error|warning) \S+\n#   .+\n)*", text)
    lines = head[0].splitlines() if head else []
    return [
        f"{place.removeprefix('# ')} {said.removeprefix('#   ')}"
        for place, said in zip(lines[::2], lines[1::2], strict=True)
    ]


def found_in(name: str, text: str) -> list[str]:
    """What reading and linting say, in the same form."""
    return [shown(problem, f"sequences/{name}.yaml") for problem in problems_of(name, text)]


def shown(problem: Problem, file: str) -> str:
    where = f"{problem.line}:{problem.column}"
    place = where if problem.file == file else f"{problem.file}:{where}"
    return f"{place} {problem.severity} {problem.code} {problem.message}" + (
        f"; {problem.hint}" if problem.hint else ""
    )


def problems_of(name: str, text: str) -> list[Problem]:
    file = f"sequences/{name}.yaml"
    sequence, problems = parse_sequence(file, text)
    if sequence is None:
        return problems
    sequences, templates, sources = around()
    templates = {**templates, **_faulty(text)}
    return [
        *problems,
        *lint({**sequences, sequence.key: sequence}, Templates(templates), WINDOWS, sources={**sources, file: text}),
    ]


@cache
def around() -> tuple[dict[str, Sequence], dict[str, str], dict[str, str]]:
    """Sound sequences, templates by name, and the texts of the sequence files."""
    sources = {f"sequences/{p.name}": p.read_text() for p in (BROKEN / "around/sequences").glob("*.yaml")}
    read = [parse_sequence(file, text) for file, text in sources.items()]
    templates = {p.stem: p.read_text() for p in (BROKEN / "around/templates").glob("*.md")}
    return {sequence.key: sequence for sequence, _ in read if sequence}, templates, sources


def _faulty(text: str) -> dict[str, str]:
    """The faulty templates that a text names, and those that they name."""
    found: dict[str, str] = {}
    waiting = re.findall(r"faulty/(\w+)", re.sub("(?m)^#.*$", "", text))
    while waiting:
        name = waiting.pop()
        if f"faulty/{name}" not in found:
            found[f"faulty/{name}"] = (BROKEN / f"faulty/{name}.md").read_text()
            waiting += re.findall(r"faulty/(\w+)", found[f"faulty/{name}"])
    return found
