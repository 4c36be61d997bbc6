"""Words by which filters and people take a letter for advertising. One of them condemns no mail, so all are warnings; the
list is short on purpose and holds only what has no place in a letter from one person to another. A blank that nobody filled
in is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.core.lint.project import Project
from engine.core.lint.texts import INTRODUCTION
from engine.core.problem import Problem

SUBJECT_MAX = 78  # RFC 5322 §2.1.1: what a line should not exceed; phones show about half of it
_PHRASES = (
    "100% free", "absolutely free", "act now", "additional income", "amazing offer", "as seen on", "best price",
    "buy now", "call now", "cash bonus", "cheap", "click below", "click here", "congratulations", "dear friend",
    "do it today", "don't delete", "double your", "earn extra", "exclusive deal", "extra income", "for free", "free gift",
    "free trial", "get it now", "great offer", "guaranteed", "increase sales", "increase your", "incredible deal",
    "limited time", "lowest price", "make money", "money back", "money-back", "no catch", "no cost", "no obligation",
    "no strings attached", "not spam", "once in a lifetime", "order now", "risk free", "risk-free", "satisfaction guaranteed",
    "special promotion", "special offer", "this isn't spam", "this is not spam", "urgent", "what are you waiting for",
    "while supplies last", "winner", "you have been selected",
    "garantiert", "gratis", "hier klicken", "jetzt kaufen", "jetzt zugreifen", "kostenlos", "nur heute", "sofort zuschlagen",
)  # fmt: skip
_SAID = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, _PHRASES)) + r")(?!\w)", re.IGNORECASE)
_SHOUTED = re.compile(r"(?<!\w)[A-ZÄÖÜ]{4,}(?:[ !]+[A-ZÄÖÜ]{2,})+(?!\w)")
_MARKS = re.compile(r"!{2,}|\?{2,}|\${2,}|€{2,}")
_SHORTENED = re.compile(
    r"(?<!\w)(?:bit\.ly|buff\.ly|goo\.gl|is\.gd|ow\.ly|rebrand\.ly|t\.co|tinyurl\.com)/", re.IGNORECASE
)
_FAKE_REPLY = re.compile(r"\s*(?:re|aw|fwd?|wg)\s*:", re.IGNORECASE)
_JINJA = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_NAMED = re.compile(r"""\{%-?\s*(?:include|extends|import|from)\s*["']([^"']+)["']""")
#: Blanks as other programs and hurried people write them; to us they are text like any other.
_LEFT_OPEN = re.compile(
    r"(?<!\{)\{ ?[a-z_]+(?:[. ][a-z_]+)* ?\}(?!\})|%[a-z]+(?:_[a-z]+)*%|\*\|[a-z_:]+\|\*|\[\[[^\]\n]+\]\]"
    r"|\[(?:insert|full|first|last|your|name|client|customer|company|prospect|vorname|nachname|firma)\b[^\]\n]*\](?![\[(:])"
    r"|(?<!\w)(?:TODO|TBD|FIXME|XXX+|lorem ipsum)(?!\w)",
    re.IGNORECASE,
)
_LOOKS = (
    (_SAID, "reads like advertising", "say it as you would to a friend"),
    (_SHOUTED, "shouts", "write it in small letters"),
    (_MARKS, "shouts", "one mark is enough"),
    (_SHORTENED, "hides where the link leads, and filters distrust it", "write the whole address"),
)


def wording(project: Project) -> Iterator[Problem]:
    """Phrases, shouting and hidden links in everything that an email may say."""
    for name in _said_in_emails(project):
        text = _without_jinja(project.templates.sources[name])
        for pattern, what, hint in _LOOKS:
            for found in pattern.finditer(text):
                yield Problem(*_place(name, text, found.start()), "wording", f'"{found[0]}" {what}', hint, "warning")


def left_open(project: Project) -> Iterator[Problem]:
    """Blanks that nobody filled in: they would be sent as they stand."""
    for name in (*_said_in_emails(project), *project.in_languages(INTRODUCTION)):
        text = _without_jinja(project.templates.sources[name])
        for found in _LEFT_OPEN.finditer(text):
            message = f'"{found[0]}" would be sent as it stands'
            blank = 'a variable is written {{ client.first_name }}; what is meant so, {{ "so" }}'
            hint = blank if re.match(r"\W", found[0]) else "finish it, or take it away"
            yield Problem(*_place(name, text, found.start()), "placeholder", message, hint)


def _without_jinja(text: str) -> str:
    """The author's own words, each where it stands."""
    return _JINJA.sub(lambda found: re.sub(r"[^\n]", "\0", found[0]), text)


def _place(name: str, text: str, offset: int) -> tuple[str, int, int]:
    return f"templates/{name}.md", text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _said_in_emails(project: Project) -> list[str]:
    """The templates of all emails, with their translations and whatever these include."""
    written = (w.template for s in project.sequences.values() for w in project.written(s) if w.email)
    waiting = [name for template in written for name in project.in_languages(template)]
    found: dict[str, None] = {}
    while waiting:
        name = waiting.pop()
        if name in project.templates.sources and name not in found:
            found[name] = None
            named = _NAMED.findall(project.templates.sources[name])
            waiting += [other for block in named for other in project.in_languages(block.removesuffix(".md"))]
    return list(found)


def subject_lines(project: Project) -> Iterator[Problem]:
    """Subjects that pretend to be answers, or that nobody can read to their end."""
    for name in _said_in_emails(project):
        known = project.templates.template(name)
        subject = known.subject or ""
        place = (f"templates/{name}.md", known.subject_line, 1)
        if _FAKE_REPLY.match(subject):
            message = "the subject pretends to be an answer"
            yield Problem(*place, "wording", message, "an answer gets its Re: by itself", "warning")
        elif len(_JINJA.sub("", subject)) > SUBJECT_MAX:
            message = f"the subject is longer than {SUBJECT_MAX} characters"
            yield Problem(*place, "wording", message, "say it in six words", "warning")


RULES = (wording, left_open, subject_lines)
