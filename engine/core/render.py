"""From a template and values to the words of one email: subject, plain text and HTML from one Markdown source. It knows no
files (sources are given) and no clock; nothing is ever sent half-filled, because whatever is missing is a RenderError with its
file and line."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import CodeType
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import BaseLoader, Environment, Template, TemplateNotFound, TemplateSyntaxError, Undefined, nodes
from jinja2.environment import TemplateExpression
from jinja2.exceptions import UndefinedError
from jinja2.parser import Parser
from markdown_it.tree import SyntaxTreeNode

from engine.core import variables, yaml_strict
from engine.core.page import BLANK, SCHEMES, BadLink, Page, make_page, scheme, tree, typed_html
from engine.core.problem import Problem, did_you_mean
from engine.core.sandbox import CLOSE, OPEN, OUTPUT_MAX, Sandbox, TooMuch, clean, metered, plain
from engine.core.variables import Parsed, Use
from engine.core.words import language as words_of

__all__ = ["RenderError", "Rendered", "Templates", "Use"]

FOLDER = "templates"
SHAPES_MAX = 2_000  # of each kind of what is made from a text; far more than any library has
_MARKS = re.compile(f"{OPEN}([^{CLOSE}]*){CLOSE}")
_SUBJECT = "#subject"
_JINJA = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
# A line with nothing on it but tags: its end goes into the last tag, so that it leaves no blank line and lines keep their
# numbers. (Jinja's trim_blocks would also glue "{% endif %}" at the end of a sentence to the next line.)
_TAG_LINE = re.compile(r"^(?:[ \t]*(?:\{%(?:(?!%\}).)*%\}|\{#(?:(?!#\}).)*#\}))+[ \t]*\n", re.MULTILINE)
_FILLED_LINK = re.compile(r"\]\(\s*<?\s*\{\{")
_TAG_END = re.compile(r"([-+]?[%#]\})[ \t]*\n$")
_TAG = re.compile(r"</?[A-Za-z][^>\n]*>")


@dataclass(frozen=True)
class Rendered:
    """One email's words. `subject` is one line, empty where the template has none; `html` is a whole page."""

    subject: str
    text: str
    html: str


class RenderError(Exception):
    """A template that cannot be filled with these values; `problem` says where and what to do."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class _Template:
    """One file, taken apart. `above` counts the lines before the body."""

    file: str
    lines: tuple[str, ...]
    body: str
    above: int
    subject: str | None
    subject_line: int
    problems: tuple[Problem, ...]


# What a text says depends on nothing else. An installation is read again after each edit, and most of its texts are as they were.


@functools.lru_cache(SHAPES_MAX)
def _bare(tag: str) -> Sandbox:
    return Sandbox(words_of(tag))


def _parsed(tag: str, known: str, file: str, source: str, above: int) -> nodes.Template:
    """The tree of a text, its lines counted as in the file."""
    try:
        parsed = _bare(tag).parse(source, known, file)
    except TemplateSyntaxError as error:
        error.lineno += above
        raise
    for node in (parsed, *parsed.find_all(nodes.Node)):
        node.lineno = (node.lineno or 1) + above  # some nodes have none
    return parsed


_tree = functools.lru_cache(SHAPES_MAX)(functools.partial(_parsed, ""))


@functools.lru_cache(SHAPES_MAX)
def _compiled(tag: str, name: str, known: str, file: str, source: str, above: int) -> CodeType:
    return _bare(tag).compile(_parsed(tag, known, file, source, above), name, file)


class _Loader(BaseLoader):
    """Gives Jinja the files of one language: `blocks/sign_off.de.md` in place of `blocks/sign_off.md` where it is there."""

    def __init__(self, templates: Templates, language: str) -> None:
        self.templates = templates
        self.language = language

    def load(self, environment: Environment, name: str, globals: Any = None) -> Template:
        stem = name.removesuffix(_SUBJECT)
        known = self.templates.in_language(stem, self.language)
        if known is None:
            raise TemplateNotFound(name, message=f'there is no template "{stem}"')
        code = _compiled(self.language, name, *self.templates.part(known, subject=name.endswith(_SUBJECT)))
        return environment.template_class.from_code(environment, code, environment.globals)


class Templates:
    """All templates of an installation, each compiled once and kept. Safe to share between threads."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        """`sources` maps `follow_up_1_1_1/day_1` (with or without `.md`) to the text of the file; kept without."""
        self.sources = {name.removesuffix(".md"): text for name, text in sources.items()}
        self._templates: dict[str, _Template] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._pages: dict[tuple[str, str], Page] = {}
        self._expressions: dict[str, tuple[TemplateExpression, frozenset[str]]] = {}
        self._names: dict[str, frozenset[str]] = {}

    # --- filling

    def has(self, name: str) -> bool:
        """Whether there is a template of that name."""
        return name.removesuffix(".md") in self.sources

    def render(self, name: str, values: Mapping[str, Any], language: str = "", zone: str = "UTC") -> Rendered:
        """The email that NAME, or NAME.de for the language "de" where there is one, makes of these values, of which only those
        are asked for that it names.

        Times in the values appear in `zone` (an IANA name). Raises RenderError for anything missing or too much."""
        stem = name.removesuffix(".md")
        tag = next((tag for tag in _tags(language) if f"{stem}.{tag}" in self.sources), "")
        known = self.in_language(stem, tag)
        if known is None:
            hint = did_you_mean(stem, self.sources)
            raise RenderError(
                Problem(f"{FOLDER}/{stem}.md", 1, 1, "missing-template", "there is no such template", hint)
            )
        for problem in self.template(known).problems:
            raise RenderError(problem)
        given = _given(values, self.names(stem), ZoneInfo(zone))
        with metered():
            try:
                return self._filled(stem, tag, given, self.template(known).subject is not None)
            except Exception as error:  # a template can raise whatever its expressions can
                raise RenderError(self._explained(error, known, values)) from error

    def _filled(self, stem: str, tag: str, given: dict[str, Any], has_subject: bool) -> Rendered:
        sandbox = self._sandbox(tag)
        subject = sandbox.get_template(stem + _SUBJECT).render(given) if has_subject else ""
        parts = _MARKS.split(sandbox.get_template(stem).render(given))
        values = parts[1::2]
        parts[1::2] = [OPEN if value.strip() else BLANK for value in values]
        text, html = self._page("".join(parts), tag).fill(values)
        if max(len(text), len(html)) > OUTPUT_MAX:
            raise TooMuch(f"the email is longer than {OUTPUT_MAX:,} characters")
        return Rendered(" ".join(_MARKS.sub(r"\1", subject).split()), text, html)

    def page(self, subject: str, text: str) -> Rendered:
        """The email whose words a person typed or edited: its text is exactly theirs, its HTML is made from it."""
        typed = clean(text).strip("\n") + "\n"
        return Rendered(" ".join(clean(subject).split()), typed, typed_html(typed, "en"))

    def _page(self, skeleton: str, tag: str) -> Page:
        page = self._pages.get((skeleton, tag))
        if page is None:
            if len(self._pages) >= SHAPES_MAX:
                self._pages.clear()
            page = self._pages[skeleton, tag] = make_page(skeleton, words_of(tag).code)
        return page

    def expression(self, source: str, values: Mapping[str, Any]) -> Any:
        """What an expression (`if: score >= 9`) gives for these values. Raises RenderError, its problem without a place."""
        try:
            compiled, names = self._expression(source)
        except TemplateSyntaxError as error:
            raise RenderError(self._explained(error, "", values)) from error
        given = _given(values, names, None)
        with metered():
            try:
                result = compiled(given)
            except Exception as error:  # as in render
                raise RenderError(self._explained(error, "", values)) from error
        if isinstance(result, Undefined):
            raise RenderError(self._explained(UndefinedError(result._undefined_message), "", values))
        return result

    def _expression(self, source: str) -> tuple[TemplateExpression, frozenset[str]]:
        """It, compiled, with every name that stands in it."""
        found = self._expressions.get(source)
        if found is None:
            if len(self._expressions) >= SHAPES_MAX:
                self._expressions.clear()
            compiled = self._sandbox("").compile_expression(source, undefined_to_none=False)
            tree = Parser(self._sandbox(""), source, state="variable").parse_expression()
            found = self._expressions[source] = compiled, variables.names(tree)
        return found

    # --- files

    def in_language(self, stem: str, tag: str) -> str | None:
        """The name under which a template's text is known: the one in that language where there is one."""
        stem = stem.removesuffix(".md")
        if tag and f"{stem}.{tag}" in self.sources:
            return f"{stem}.{tag}"
        return stem if stem in self.sources else None

    def template(self, known: str) -> _Template:
        """The template taken apart."""
        found = self._templates.get(known)
        if found is None:
            found = self._templates[known] = _taken_apart(f"{FOLDER}/{known}.md", self.sources[known])
        return found

    def part(self, known: str, subject: bool = False) -> tuple[str, str, str, int]:
        """A template's body or subject: its name, its file, its text, and the lines above it."""
        found = self.template(known)
        source, above = (found.subject or "", found.subject_line - 1) if subject else (found.body, found.above)
        return known, found.file, source, above

    def _tree(self, known: str, subject: bool = False) -> nodes.Template:
        """The tree of a template's body or subject, to look at: compiling changes a tree."""
        return _tree(*self.part(known, subject))

    def _sandbox(self, tag: str) -> Sandbox:
        sandbox = self._sandboxes.get(tag)
        if sandbox is None:
            sandbox = self._sandboxes[tag] = Sandbox(words_of(tag), _Loader(self, tag))
        return sandbox

    # --- what is wrong

    def problems(self, name: str) -> list[Problem]:
        """Everything wrong with one file that can be known without values: front matter, syntax, unknown filters, templates
        that it names and that are missing, links, HTML."""
        known = name.removesuffix(".md")
        found = self.template(known)
        problems = list(found.problems)
        for subject in (True, False) if found.subject else (False,):
            try:
                parsed = self._tree(known, subject)
                unknown = [*self._unknown_filters(parsed, found)]
                problems += [*unknown, *self._bad_references(parsed, known)]
                if not unknown:  # compiling would only find them again
                    self._sandbox("").get_template(known + (_SUBJECT if subject else ""))
            except (TemplateSyntaxError, SyntaxError, RecursionError) as error:
                problems.append(self._explained(error, known, {}))
        return [*problems, *_bad_markdown(found)]

    def _unknown_filters(self, parsed: nodes.Template, found: _Template) -> Iterable[Problem]:
        sandbox = self._sandbox("")
        known: Mapping[str, Any]
        for node in parsed.find_all((nodes.Filter, nodes.Test)):
            kind, known = ("filter", sandbox.filters) if isinstance(node, nodes.Filter) else ("test", sandbox.tests)
            named = str(node.name)
            if named not in known:
                column = _column(found.lines, node.lineno, named)
                hint = did_you_mean(named, known)
                yield Problem(found.file, node.lineno, column, f"unknown-{kind}", f'no {kind} named "{named}"', hint)

    def _bad_references(self, parsed: nodes.Template, known: str) -> Iterable[Problem]:
        found = self.template(known)
        for named, line, optional in variables.references(parsed):
            place = (found.file, line, _column(found.lines, line, named or "include"))
            if named is None:
                hint = 'write {% include "blocks/…" %} in an {% if %}'
                yield Problem(*place, "dynamic-include", "the name of an included template must be a plain text", hint)
            elif not self.has(named) and not optional:
                hint = did_you_mean(named.removesuffix(".md"), self.sources)
                yield Problem(*place, "missing-template", f'there is no template "{named}"', hint)
            elif self._reaches(named.removesuffix(".md"), known):
                yield Problem(
                    *place, "include-loop", f'"{named}" includes this template again', "remove one of the two"
                )

    def _reaches(self, start: str, target: str) -> bool:
        waiting, seen = [start], set()
        while waiting:
            known = waiting.pop()
            if known == target:
                return True
            if known not in seen and known in self.sources:
                seen.add(known)
                parsed = self._readable(known)
                names = variables.references(parsed.body) if parsed else []
                waiting += [name.removesuffix(".md") for name, _, _ in names if name]
        return False

    def uses(self, name: str) -> list[Use]:
        """Every variable path that a template uses, in its subject, its body and whatever it includes; empty where it cannot
        be read (`problems` says why)."""
        parsed = self._readable(name)
        return variables.uses(parsed, self._readable) if parsed else []

    def names(self, name: str) -> frozenset[str]:
        """Every name that stands in a template, in any language, or in whatever it includes: a variable, or one of its own."""
        found = self._names.get(name)
        if found is None:
            read = filter(None, map(self._readable, self.around(name)))
            trees = [tree for parsed in read for tree in (parsed.body, parsed.subject) if tree]
            found = self._names[name] = frozenset().union(*map(variables.names, trees))
        return found

    def around(self, name: str) -> Iterable[str]:
        """The names of a template, its translations and all that they include."""
        waiting, seen = [name.removesuffix(".md")], set()
        while waiting:
            stem = waiting.pop()
            for known in self.sources:
                if known in seen or not (known == stem or known.startswith(f"{stem}.")):
                    continue
                seen.add(known)
                yield known
                parsed = self._readable(known)
                trees = (parsed.body, parsed.subject) if parsed else ()
                names = [name for tree in trees if tree for name, _, _ in variables.references(tree)]
                waiting += [name.removesuffix(".md") for name in names if name]

    def _readable(self, name: str) -> Parsed | None:
        known = name.removesuffix(".md")
        if known not in self.sources:
            return None
        found = self.template(known)
        try:
            body = self._tree(known)
            subject = self._tree(known, subject=True) if found.subject else None
        except (TemplateSyntaxError, RecursionError):
            return None
        return Parsed(found.file, found.lines, body, subject)

    def expression_uses(self, source: str) -> dict[str, bool]:
        """Every variable path that an expression uses, and whether it may be unknown there; empty where it cannot be read."""
        try:
            return variables.expression_uses(Parser(self._sandbox(""), source, state="variable").parse_expression())
        except TemplateSyntaxError:
            return {}

    # --- errors

    def _explained(self, error: Exception, known: str, given: Mapping[str, Any]) -> Problem:
        """The problem that an exception is, at the innermost line of a template that it came through."""
        files = {self.template(name).file: self.template(name).lines for name in self.sources}
        file, line = _place(error, files)
        if not file and known:
            found = self.template(known)
            bad_links = (number for number, text in enumerate(found.lines, 1) if _FILLED_LINK.search(text))
            file, line = found.file, next(bad_links, 1) if isinstance(error, BadLink) else 1
        message, hint = _said(error, given)
        name = re.search(r'"([^"]+)"|\'([^\']+)\'', message)
        column = _column(files.get(file, ()), line, (name[1] or name[2]) if name else "")
        return Problem(file, line, column, _code(error), message, hint)


def _given(values: Mapping[str, Any], names: frozenset[str], zone: ZoneInfo | None) -> dict[str, Any]:
    """Those of the values that are named, as a template may see them."""
    return {name: plain(values[name], name, zone) for name in values if name in names}


def _tags(language: str) -> tuple[str, ...]:
    """`de-at` and `de` for "de_AT"."""
    whole = language.lower().replace("_", "-")
    return (whole, whole.split("-")[0]) if whole else ()


@functools.lru_cache(SHAPES_MAX)
def _taken_apart(file: str, source: str) -> _Template:
    """Front matter, if the file begins with `---`, and the body below it."""
    source = source.removeprefix("\ufeff").replace("\r\n", "\n").replace(OPEN, "").replace(CLOSE, "").replace(BLANK, "")
    lines = tuple(source.split("\n"))
    bare = _Template(file, lines, _without_tag_lines(source), 0, None, 1, ())
    if lines[0].rstrip() != "---":
        return bare
    end = next((index for index, line in enumerate(lines[1:], 1) if line.rstrip() == "---"), None)
    if end is None:
        problem = Problem(file, 1, 1, "front-matter", 'the "---" above is not closed', 'put "---" below the subject')
        return replace(bare, problems=(problem,))
    subject, line, problems = _front_matter(file, "\n".join(("", *lines[1:end])))
    body = _without_tag_lines("\n".join(lines[end + 1 :]))
    return _Template(file, lines, body, end + 1, subject, line, tuple(problems))


def _without_tag_lines(body: str) -> str:
    return _TAG_LINE.sub(lambda line: _TAG_END.sub(r"\n\1", line[0]), body)


def _front_matter(file: str, text: str) -> tuple[str | None, int, list[Problem]]:
    data, positions, problems = yaml_strict.load(file, text)
    if data is None or problems:
        return None, 1, problems
    if not isinstance(data, dict):
        return None, 1, [Problem(file, 2, 1, "front-matter", "this must be keys", 'such as subject: "…"')]
    for key in data.keys() - {"subject"}:
        line, column = yaml_strict.locate(positions, (key,), key=True)
        hint = did_you_mean(key, ["subject"])
        problems.append(Problem(file, line, column, "unknown-key", f'unknown key "{key}"', hint))
    line, column = yaml_strict.locate(positions, ("subject",))
    subject = data.get("subject")
    if subject is not None and (not isinstance(subject, str) or not subject.strip()):
        problems.append(Problem(file, line, column, "subject", "the subject must be a text", 'put it in "quotes"'))
        subject = None
    return subject, line, problems


# --- links and HTML ------------------------------------------------------------------------------------------------------


@functools.lru_cache(SHAPES_MAX)
def _bad_markdown(found: _Template) -> tuple[Problem, ...]:
    """Links that lead nowhere good, pictures, and HTML that would show as it is written."""
    body = "\n" * found.above + _JINJA.sub(_blotted, found.body)
    problems: list[Problem] = []
    for node in tree(body).walk():
        if node.type == "inline" and node.map:
            problems += _bad_inline(node, found, node.map[0] + 1)
    return tuple(problems)


def _blotted(construct: re.Match[str]) -> str:
    """A mark for a value; nothing for a tag, but its line ends, so that lines keep their numbers."""
    return f"{OPEN}0{CLOSE}" if construct[0].startswith("{{") else "\n" * construct[0].count("\n")


def _bad_inline(inline: SyntaxTreeNode, found: _Template, line: int) -> Iterable[Problem]:
    for node in inline.walk():
        if node.type == "link":
            yield from _bad_link(str(node.attrs.get("href", "")), found, line)
        if node.type == "image":
            place = _seek(found.lines, line, "![")
            yield Problem(found.file, *place, "image", "an email carries no pictures", "attach the file or link to it")
        if node.type == "text" and (tag := _TAG.search(node.content)):
            place = _seek(found.lines, line, tag[0])
            yield Problem(found.file, *place, "html", f"{tag[0]} will show as it stands", "write Markdown", "warning")


def _bad_link(href: str, found: _Template, line: int) -> Iterable[Problem]:
    if href.startswith(OPEN):
        return  # a variable: judged when it is filled
    kind = scheme(href)
    place = _seek(found.lines, line, href.split(OPEN)[0])
    if kind == "http":
        yield Problem(found.file, *place, "link", "a link to http: is not private", "write https:", "warning")
    elif kind not in SCHEMES:
        message = f'the link "{href.split(OPEN)[0][:60]}" leads neither to https nor to mailto'
        yield Problem(found.file, *place, "link", message, "write the whole address: https://…")


def _seek(lines: tuple[str, ...], line: int, words: str) -> tuple[int, int]:
    """Line and column of the first place from `line` on where these words stand."""
    for number in range(line, len(lines) + 1):
        column = lines[number - 1].find(words)
        if column >= 0:
            return number, column + 1
    return line, 1


# --- explaining ------------------------------------------------------------------------------------------------------


def _place(error: Exception, files: Mapping[str, tuple[str, ...]]) -> tuple[str, int]:
    if isinstance(error, TemplateSyntaxError) and error.filename in files:
        return str(error.filename), error.lineno
    place, trace = ("", 1), error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file in files:
            place = file, trace.tb_lineno
        trace = trace.tb_next
    return place


_CODES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (TemplateSyntaxError, "template-syntax"),
    (TemplateNotFound, "missing-template"),
    (UndefinedError, "undefined"),
    (BadLink, "link"),
    ((TooMuch, RecursionError, MemoryError), "too-much"),
)


def _code(error: Exception) -> str:
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), "template")


def _said(error: Exception, given: Mapping[str, Any]) -> tuple[str, str]:
    """What went wrong and what to do, in a sentence each."""
    if isinstance(error, RecursionError):
        return "this template includes or calls itself without end", "remove the circle"
    message = str(error.message if isinstance(error, TemplateSyntaxError) else error) or type(error).__name__
    unknown = re.fullmatch("'(.+)' is undefined", message)
    if unknown:
        return f'there is no variable "{unknown[1]}"', did_you_mean(unknown[1], given)
    if message.endswith("is empty"):
        path = message.split('"')[1]
        return message, f"fill it in, or provide for its absence: {{% if {path} %}}…{{% endif %}}"
    return message, next((hint for pattern, hint in _JINJA_HINTS if re.match(pattern, message)), "")


#: What people meant where Jinja could not read it.
_JINJA_HINTS = (
    (
        r"unexpected '}'|expected token '(?::|end of print statement)'",
        "a variable is one name in two braces: {{ client.first_name }}",
    ),
    (r"unexpected char '[#/]'", "a condition is written {% if client.company %}…{% endif %}"),
    (r"unexpected char '[“”„‘’«»]'", 'use straight quotes: "…"'),
    (r"chunk after expression", "compare with ==, and join with and, or, not"),
    (r"unexpected 'end of template'", "something is missing at its end"),
    (r"Unexpected end of template", "close what is open: {% endif %}, {% endfor %} or {% endblock %}"),
    (r"Encountered unknown tag", "the tags are if, for, set, include and their ends, like endif"),
)


def _column(lines: tuple[str, ...], line: int, words: str) -> int:
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    for found in (text.find(words) if words else -1, text.find("{{"), text.find("{%")):
        if found >= 0:
            return found + 1
    return 1
