"""What is wrong across files before anybody is enrolled: each module holds the rules of one subject, and every rule reports all
that it finds. A rule reports an error only where something would fail, mislead or break a rule of conduct; what merely
looks odd is a warning."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from engine.core.calendar import Window
from engine.core.lint import conduct, paths, starts, texts, wording
from engine.core.lint import triggers as causes
from engine.core.lint.project import Project
from engine.core.problem import Problem
from engine.core.render import Templates
from engine.core.sequence import Sequence, Trigger

RULES = (*paths.RULES, *starts.RULES, *causes.RULES, *texts.RULES, *conduct.RULES, *wording.RULES)


def lint(
    sequences: Mapping[str, Sequence],
    templates: Templates,
    windows: Mapping[str, Window],
    triggers: Iterable[Trigger] = (),
    sources: Mapping[str, str] | None = None,
    variables: Collection[str] = (),
) -> list[Problem]:
    """Everything that is wrong between sequences that were read, by file and place.

    `windows` are the config's, `sources` the texts of the sequence files by path (without them a problem stands at its step),
    `variables` the names that the config gives every enrollment. What parsing finds is not repeated, and what is compiled
    on the way stays with the templates."""
    project = Project(sequences, templates, windows, tuple(triggers), sources or {}, frozenset(variables))
    found = {problem: None for rule in RULES for problem in rule(project)}
    return sorted(found, key=lambda problem: (problem.file, problem.line, problem.column))
