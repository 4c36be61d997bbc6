"""Every email, task and condition filled in once with invented values: what fails then fails for everybody, like a macro that
is called without its argument. It says so as a warning, because the real values may be others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from engine.core.language import CONTEXT
from engine.core.lint.project import Place, Project
from engine.core.problem import Problem
from engine.core.render import RenderError, Templates
from engine.core.sequence import Sequence

_WHEN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
_PERSON = {
    "name": "Dana Weber",
    "first_name": "Dana",
    "email": "dana.weber@client.example",
    "company": "Client Ltd",
    "title": "Head of Finance",
}
_REFERRAL = {
    "state": "won",
    "client": _PERSON,
    "prospect": _PERSON,
    **{f"{state}_at": _WHEN for state in ("named", "introduced", "contacted", "met", "won", "lost")},
}
_LINK = "https://client.example/page"  # a text may be meant as a link
#: More of each than an example would need.
_BY_TYPE: Mapping[str, Any] = {
    "text": _LINK,
    "number": 10,
    "list": [f"the {word} thing" for word in ("first", "second", "third", "fourth", "fifth")],
    "date": _WHEN.date(),
    "datetime": _WHEN,
    "person": _PERSON,
}
_ALWAYS: Mapping[str, Any] = {
    "client": {**_PERSON, "zone": "Europe/Berlin", "language": "en", "country": "DE"},
    "prospect": _PERSON,
    "rep": {**_PERSON, "phone": "+49 30 1234567"},
    "company": {"name": "Client Ltd", "domain": "client.example"},
    "referral": _REFERRAL,
    "enrollment": {"sequence": "Sample", "begun_at": _WHEN, "step": "sample"},
    "today": date(2026, 3, 2),
    "intro_link": "mailto:barry@prospect.example",
    "unsubscribe": "mailto:rep@consulting.example",
    "note": "a note",  # tasks of the engine have one
}
assert set(CONTEXT) <= set(_ALWAYS)


def unfillable(
    sequences: Mapping[str, Sequence], templates: Templates, problems: Iterable[Problem]
) -> Iterator[Problem]:
    """What cannot be filled in or answered, of the templates in which (and in what they include) nothing else is wrong."""
    project = Project(sequences, templates, {}, (), {}, frozenset())
    faulty = {problem.file for problem in problems if problem.severity == "error"}
    for sequence in sequences.values():
        values = {**_ALWAYS, **{name: _BY_TYPE[need.type] for name, need in sequence.needs.items()}}
        for written in project.written(sequence):
            files = {f"templates/{known}.md" for known in templates.around(written.template)}
            if templates.has(written.template) and not files & faulty:
                yield from _filled(templates, written.place, written.template, values)
        if sequence.file not in faulty:
            yield from _answered(templates, sequence, values)


def _filled(templates: Templates, place: Place, template: str, values: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        templates.render(template, values)
    except RenderError as error:
        found = error.problem
        message = f"with sample values: {found.message} (in {place.sequence.key}, {place.who})"
        yield Problem(found.file, found.line, found.column, "unfillable", message, found.hint, "warning")


def _answered(templates: Templates, sequence: Sequence, values: Mapping[str, Any]) -> Iterator[Problem]:
    for step in sequence.steps:
        try:
            if step.condition:
                templates.expression(step.condition, values)
        except RenderError as error:
            message = f'step "{step.id}" asks in its if, with sample values: {error.problem.message}'
            yield Problem(sequence.file, step.line, 1, "unfillable", message, error.problem.hint, "warning")
