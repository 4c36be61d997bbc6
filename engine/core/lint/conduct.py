"""The rules of conduct, as far as a file can break them: nobody new gets a machine's first word, and an ask says whom it
looks for."""

from __future__ import annotations

from collections.abc import Iterator

from engine.core.lint.project import Place, Project, emails_of, sends
from engine.core.problem import Problem

IDEAL_CLIENT = "ideal_client"


def first_words(project: Project) -> Iterator[Problem]:
    """The first email to a prospect waits for the rep."""
    for sequence in project.sequences.values():
        for place, step in project.steps(sequence):
            if not sends(step) or (step.to or sequence.to) != "prospect":
                continue
            if not step.approve:
                message = "is the first email to a prospect and does not wait for the rep"
                yield project.problem(place, place.loc, "approval", message, "add approve: true")
            if step.approve and not (step.aside or step.condition):
                break


def ideal_client(project: Project) -> Iterator[Problem]:
    """An ask describes the ideal client in a line."""
    for sequence in project.sequences.values():
        if sequence.kind != "ask":
            continue
        place, need = Place(sequence), sequence.needs.get(IDEAL_CLIENT)
        if need is None or need.optional:
            message = "asks without saying whom it looks for"
            hint = f"add {IDEAL_CLIENT}: text to needs, and say it in the email"
            yield project.problem(place, ("needs",), "ideal-client", message, hint)
        elif not _says(project, place):
            message = f"needs {IDEAL_CLIENT}, but none of its emails says it"
            hint = f"write {{{{ {IDEAL_CLIENT} }}}} in the email that asks"
            yield project.problem(place, ("needs", IDEAL_CLIENT), "ideal-client", message, hint, key=True)


def _says(project: Project, place: Place) -> bool:
    names = [name for at, step in project.steps(place.sequence) for _, name in emails_of(at, step)]
    if not all(map(project.templates.has, names)):  # what is missing may say it
        return True
    return any(use.path == IDEAL_CLIENT for name in names for use in project.templates.uses(name))


RULES = (first_words, ideal_client)
