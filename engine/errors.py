"""What a user can cause and can mend. The command line prints such an error without a traceback; every other exception is a
bug of ours."""

from __future__ import annotations

from collections.abc import Sequence

from engine.core.problem import Problem


class UserError(Exception):
    """Says what is wrong, where (`file:line:column`, or nothing) and what to do about it.

    `exit_code` is 1 where the answer is no and 2 where the question was wrong (usage, no readable config). `problems` are
    given where a file has several."""

    def __init__(
        self, message: str, where: str = "", remedy: str = "", exit_code: int = 1, problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy
        self.exit_code = exit_code
        self.problems = tuple(problems)

    def __str__(self) -> str:
        line = (f"{self.where}: " if self.where else "") + self.message + (f"; {self.remedy}" if self.remedy else "")
        return "\n".join([line, *(str(problem) for problem in self.problems)])
