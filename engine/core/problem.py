"""What is wrong in a file that a person wrote, and where. A problem is a value: the core never prints and never stops at
the first one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Problem:
    """Something wrong in a file that a person wrote. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}" + (f"; {self.hint}" if self.hint else "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The hint for a misspelt name: the nearest known one, or all of them where none is near."""
    import difflib  # only for who has misspelt something

    choices = {name.lower(): name for name in sorted(known)}
    close = difflib.get_close_matches(word.lower(), choices, n=3, cutoff=0.6)
    if close:
        swapped = [
            name for name in close if sorted(name) == sorted(word.lower())
        ]  # "wiat" is "wait" before it is "with"
        return f'did you mean "{choices[(swapped or close)[0]]}"?'
    return f"known are {', '.join(choices.values())}" if choices else ""


def has_errors(problems: Iterable[Problem]) -> bool:
    """Whether one of them is more than a warning."""
    return any(problem.severity == "error" for problem in problems)


def near(word: str, known: Iterable[str]) -> str:
    """The hint for a misspelt name where the known ones are listed already: only a near one."""
    hint = did_you_mean(word, known)
    return hint if hint.startswith("did") else ""
