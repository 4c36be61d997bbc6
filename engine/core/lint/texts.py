"""Whether every email and task can be filled in, for everybody: templates that are missing or faulty, names that nothing
provides, values that may be absent, subjects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from engine.core.language import CONTEXT
from engine.core.lint.project import TRIGGERS, Place, Project, Written, asked, emails_of, sends
from engine.core.lint.starts import certain_prospect
from engine.core.problem import Problem, did_you_mean
from engine.core.render import RenderError
from engine.core.sequence import Sequence, is_document
from engine.core.yaml_strict import Loc, locate

INTRODUCTION = "introduction"
_PERSON = frozenset({"name", "first_name", "email", "company", "title"})
_DATES = frozenset({"named_at", "introduced_at", "contacted_at", "met_at", "won_at", "lost_at"})
#: What the names of every template have; None stands for a plain value. See `letters.scene`.
_PARTS: Mapping[str, frozenset[str] | None] = {
    "client": _PERSON | {"zone", "language", "country"},
    "prospect": _PERSON,
    "rep": _PERSON | {"phone"},
    "company": frozenset({"name", "domain"}),
    "referral": frozenset({"state", "client", "prospect"}) | _DATES,
    "enrollment": frozenset({"sequence", "begun_at", "step"}),
    "intro_link": frozenset(),
    "unsubscribe": frozenset(),
    "text": frozenset(),
    "number": frozenset(),
    "person": _PERSON,
}
_OWN_FIELD = "a field of your own may be absent: {{% if {0} is defined %}}…{{% endif %}}"


def missing(project: Project) -> Iterator[Problem]:
    """Templates that a sequence names and that are not there."""
    for sequence in project.sequences.values():
        for written in project.written(sequence):
            if not project.templates.has(written.template):
                message = f'names the template "{written.template}", which is not there'
                near = did_you_mean(written.template, project.templates.sources)
                hint = near if near.startswith("did") else f"write templates/{written.template}.md"
                yield project.problem(written.place, written.loc, "missing-template", message, hint)


def _documents(project: Project, sequence: Sequence) -> Iterator[tuple[Place, Loc, str]]:
    for place, step in project.steps(sequence):
        for number, name in enumerate(step.attach):
            if is_document(name):
                yield place, place.at("attach", number), name


def documents(project: Project) -> Iterator[Problem]:
    """Document templates that a step attaches and that are not there, or that have no name for the file."""
    for sequence in project.sequences.values():
        for place, loc, name in _documents(project, sequence):
            if not project.templates.has(name):
                message = f'attaches the document "{name}", for which there is no template'
                near = did_you_mean(name, project.templates.sources)
                hint = near if near.startswith("did") else f"write templates/{name}.md; a file is named with its suffix"
                yield project.problem(place, loc, "missing-template", message, hint)
            elif not _subject(project, name):
                hint = 'begin the file with ---, subject: "…", ---'
                yield Problem(f"templates/{name}.md", 1, 1, "no-subject", "the document has no title", hint)


def attachments(project: Project) -> Iterator[Problem]:
    """Files that a step attaches and that do not lie beside the sequences."""
    files = [name.partition("sequences/") for name in project.sources if not name.endswith(".yaml")]
    beside = [name for above, _, name in files if name and not above]
    for sequence in project.sequences.values():
        for place, step in project.steps(sequence) if project.sources else ():
            for number, name in enumerate(step.attach):
                if not is_document(name) and name not in beside:
                    message = f'attaches "{name}", which is not there'
                    near = did_you_mean(name, beside)
                    hint = near if near.startswith("did") else f"put it at sequences/{name}"
                    hint = "a sequence is nothing to attach" if name.endswith(".yaml") else hint
                    yield project.problem(place, place.at("attach", number), "missing-file", message, hint)


def introduction(project: Project) -> Iterator[Problem]:
    """An `intro_link` without the words that it carries."""
    if project.templates.has(INTRODUCTION):
        return
    for name in project.templates.sources:
        for use in project.templates.uses(name):
            if use.path == "intro_link":
                message = f'the link needs the template "{INTRODUCTION}", which is not there'
                hint = f"write templates/{INTRODUCTION}.md: the words with which the client introduces"
                yield Problem(use.file, use.line, use.column, "missing-template", message, hint)


def faulty(project: Project) -> Iterator[Problem]:
    """What is wrong with a template by itself."""
    for name in project.templates.sources:
        yield from project.templates.problems(name)


def names(project: Project) -> Iterator[Problem]:
    """Variables in templates that nothing provides, or that may be absent where nobody asked."""
    for sequence in project.sequences.values():
        for written in project.written(sequence):
            for template in project.in_languages(written.template):
                yield from _template_names(project, written.place, template)
        for place, _, document in _documents(project, sequence):
            for template in project.in_languages(document):
                yield from _template_names(project, place, template)


def _template_names(project: Project, place: Place, template: str) -> Iterator[Problem]:
    uses = project.templates.uses(template)
    if any(use.path == "intro_link" for use in uses) and certain_prospect(place):
        for known in project.in_languages(INTRODUCTION):
            uses += project.templates.uses(known)
    for use in uses:
        found = _judge(place, use.path, use.guarded or asked(place.step, use.path), use.defined)
        if found:
            code, message, hint = found
            in_it = f"{message} (in {place.sequence.key}, {place.who})"
            yield Problem(use.file, use.line, use.column, code, in_it, hint)


def _judge(place: Place, path: str, guarded: bool, defined: bool) -> tuple[str, str, str] | None:
    """What is wrong with one use of a name: code, message and hint, or nothing."""
    root, *parts = path.split(".")
    needs = place.sequence.needs
    if root not in needs and root not in CONTEXT:
        if defined:
            return None
        return "unknown-variable", f'there is no variable "{root}"', did_you_mean(root, {*needs, *CONTEXT})
    known = _PARTS.get(needs[root].type if root in needs else root)
    if parts and known is not None and parts[0] not in known and not defined:
        if not known:
            return "unknown-variable", f'"{root}" is a plain value and has no "{parts[0]}"', f"write {root} alone"
        hint = did_you_mean(parts[0], known)
        if root == "client":
            near = f"{hint} " if hint.startswith("did") else ""
            hint = near + _OWN_FIELD.format(path)
        return "unknown-variable", f'"{root}" has no "{parts[0]}"', hint
    if guarded or defined or not _may_be_absent(place, root):
        return None
    return "may-be-absent", f'"{root}" may be absent here', f"write {{% if {root} %}}…{{% endif %}} around it"


def _may_be_absent(place: Place, root: str) -> bool:
    if root in ("prospect", "intro_link"):
        return not certain_prospect(place)
    need = place.sequence.needs.get(root)
    return root == "referral" or (need is not None and need.optional)


def expressions(project: Project) -> Iterator[Problem]:
    """`if:` and `for:` that cannot be read, or that ask for names that nothing provides."""
    for sequence in project.sequences.values():
        for place, step in project.steps(sequence):
            if step.condition:
                yield from _expression(project, place, step.condition)
    for number, trigger in enumerate(project.triggers):
        for key, source in (("if", trigger.condition), ("for", trigger.audience)):
            found = _unreadable(project, source) if source else None
            if found:
                line, column = trigger.line, 1
                if TRIGGERS in project.positions:
                    line, column = locate(project.positions[TRIGGERS], (number, key))
                message = f'trigger {number + 1} has an unreadable "{key}": {found.message}'
                yield Problem(TRIGGERS, line, column, "expression", message, found.hint)


def _expression(project: Project, place: Place, source: str) -> Iterator[Problem]:
    loc: Loc = place.at("if")
    broken = _unreadable(project, source)
    if broken:
        yield project.problem(place, loc, "expression", f"has an unreadable if: {broken.message}", broken.hint)
        return
    uses = project.templates.expression_uses(source)
    for path, defined in uses.items():
        asked = path in ("prospect", "referral") or "." not in path or path.split(".")[0] in uses
        found = _judge(place, path, asked, defined)
        if found:
            code, message, hint = found
            yield project.problem(place, loc, code, f"asks in its if: {message}", _asks(hint))


def _asks(hint: str) -> str:
    """A hint for a template, as an expression says it."""
    return re.sub(r"(write )?\{% if (.+?) %\}.*", r"ask first: \2 and …", hint)


def _unreadable(project: Project, source: str) -> Problem | None:
    try:
        project.templates.expression(source, {})
    except RenderError as error:
        return error.problem if error.problem.code in ("template-syntax", "template") else None
    return None


def subjects(project: Project) -> Iterator[Problem]:
    """Emails without a word, or that open a thread without a subject; subjects that nobody will see; tasks without a title."""
    for sequence in project.sequences.values():
        openers = _openers(sequence)
        first = {_subject(project, name) for place, step in project.steps(sequence) if step.id in openers
                 for _, name in emails_of(place, step)}  # fmt: skip
        for written in project.written(sequence):
            known = written.template
            if project.templates.has(known) and not project.templates.template(known).problems:
                yield from _subject_problem(project, written, openers, first)


def _subject_problem(project: Project, written: Written, openers: set[str], first: set[str]) -> Iterator[Problem]:
    subject, step = _subject(project, written.template), written.place.step
    if written.email and not project.templates.template(written.template).body.strip():
        message = f"the email says nothing (in {written.place.sequence.key}, {written.place.who})"
        yield Problem(f"templates/{written.template}.md", 1, 1, "no-text", message, "write it below the subject")
    file = f"templates/{written.template}.md"
    if not written.email:
        if not subject:
            message = f"the task has no title (in {written.place.sequence.key}, {written.place.who})"
            yield Problem(file, 1, 1, "no-subject", message, 'begin the file with ---, subject: "…", ---')
    elif step is not None and step.id in openers:
        if not subject:
            message = (
                f"the email opens a thread and has no subject (in {written.place.sequence.key}, {written.place.who})"
            )
            yield Problem(file, 1, 1, "no-subject", message, 'begin the file with ---, subject: "…", ---')
    elif subject and subject not in first:
        line = project.templates.template(written.template).subject_line
        message = f"this subject will not be seen: the email goes on in a thread ({written.place.sequence.key})"
        hint = "take it away, or set thread: new for the step"
        yield Problem(file, line, 1, "subject-unseen", message, hint, "warning")


def _subject(project: Project, template: str) -> str:
    if not project.templates.has(template):
        return ""
    return project.templates.template(template).subject or ""


def _openers(sequence: Sequence) -> set[str]:
    """The steps whose email may open a thread: each with `thread: new`, and all that may be the first one."""
    found: set[str] = set()
    surely_open = False
    for step in sequence.steps:
        if not sends(step):
            continue
        if (step.thread or sequence.thread) in ("new", "answer"):
            found.add(step.id)
        elif not surely_open and not step.aside:
            found.add(step.id)
            surely_open = not (step.condition or step.until or step.at is not None and step.at.anchor != "start")
    return found


RULES = (missing, documents, attachments, introduction, faulty, names, expressions, subjects)
