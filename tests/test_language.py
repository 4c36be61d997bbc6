"""The language as ops see it written: the example that explains it runs as it stands, and what fails for everybody is said by
the check of the whole project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.config import load_config
from engine.core import render
from engine.core.problem import Problem, has_errors
from engine.core.sandbox import Sandbox
from engine.core.sequence import parse_sequence, parse_triggers
from engine.library import parse, read_sources
from engine.project import lint_library
from engine.scenarios import run_scenarios

ROOT = Path(__file__).parent.parent
EXAMPLE = load_config(ROOT / "config.example.yaml", {})
FOLLOW_UP = """\
# sequences/follow_up_1_1_1.yaml
name: 1-1-1 follow-up
about: Nudge the client until the introduction is made, then take over.
kind: follow_up                  # review | ask | intro | follow_up | thanks | update | outreach | favour | touch: rules of conduct and reports go by it
to: client                       # whose inbox the emails go to: client | prospect | rep
needs:                           # what an enrollment must bring; types: text, number, list, date, datetime, person; `optional person` may be absent (then none)
  prospect: person               # a person has name, first_name, email, company, title
window: business_hours           # named in config.yaml; the recipient's time zone
thread: inherit                  # one (default): one thread per enrollment · new: a thread per email · inherit: go on in the parent's thread · answer: reply to the message that caused this enrollment

steps:
  - id: day_1
    at: start + 1 day
    email: follow_up_1_1_1/day_1
  - id: week_1
    at: start + 1 week
    email: follow_up_1_1_1/week_1
  - id: linkedin
    task: follow_up_1_1_1/linkedin      # a to-do for the rep, rendered like an email
  - id: month_1
    at: start + 1 month
    email: follow_up_1_1_1/month_1
  - id: take_over
    start: prospect_outreach            # another sequence, for the prospect

when:
  introduced: {stop: introduced, start: thank_you}
  declined:   {stop: declined, start: advocacy, after: rest}
  reply:      {pause: waiting_for_rep, task: triage}
  finished:   {stop: no_introduction}

scenarios:                              # tests that ops write; `whoelse test` runs them on a virtual clock
  - name: the client introduces on day 3
    begins: 2026-03-02 09:30
    with: {prospect: {name: Barry Jones, email: barry@acme.example}}
    given:
      - {after: 3 days, introduced: {}}
    expect:
      - {sent: day_1, date: 2026-03-03}
      - {stopped: introduced}
      - {started: thank_you}
"""
EMAIL = """\
---
subject: "Barry and {{ company.name }}"    # used only where this email opens a thread; otherwise "Re: …" comes by itself
---
Hi {{ client.first_name }},

did you get a chance to send {{ prospect.first_name }} that note? Here it is again, one click:
[introduce us]({{ intro_link }})

{% include "blocks/sign_off.md" %}
"""
TRIGGERS = """\
# sequences/triggers.yaml
- {moment: nps, if: "score >= 9", start: ask, after: 1 day}
- {moment: delivered, start: value_review, after: 2 weeks}            # a need still open (review_call) becomes the rep's task `complete`
- {referral: won, start: referral_update}                              # every change of a referral is a moment too
- {every: "0 9 1 */3 *", for: referrers, start: keep_in_touch}         # cron, in the company's zone; someone already in it is skipped and shown
- {every: year, from: client.contract_date, before: 6 weeks, start: annual_review}
"""
#: Every key of the table of steps, as it is written there.
EVERY_KEY = """\
name: Every key
kind: touch
to: client
needs: {review_call: datetime, prospect: optional person, signed: date}
listen: 30 days
requires: confirmed
steps:
  - {id: a, wait: 3 days, email: blocks/x}
  - {id: b, at: start + 1 week, email: blocks/x, late: send, thread: new, window: always, to: rep}
  - {id: c, at: review_call - 2 business days, until: review_call - 2 hours, email: blocks/x, late: skip, thread: answer}
  - {id: d, at: signed, task: blocks/x, block: true}
  - {id: e, start: ask, with: {prospect: {name: Barry Jones}}}
  - {id: f, start: [ask, {start: advocacy, after: rest}], after: 90 minutes}
  - {id: g, if: prospect and prospect.email, email: blocks/x, approve: true, thread: inherit, late: ask}
  - {id: h, aside: true, variants: {a: blocks/x, b: blocks/y}, attach: [leaflet.pdf], thread: one}
when:
  named: {set: {referral: introduced}, goto: h, task: blocks/x}
  confirmed: {set: {value: confirmed}, continue: true}
  rep_wrote: {hold: 5 business days}
  out_of_office: {hold: 2 months}
"""


def told(sequence: str, template: str = "---\nsubject: Hello\n---\nHi.\n") -> list[Problem]:
    """What the check says of a project with one sequence and one template."""
    library, problems = parse({"sequences/x.yaml": sequence, "templates/x.md": template})
    return lint_library(EXAMPLE, library, problems)


def test_the_example_that_explains_the_language_runs_as_it_stands() -> None:
    files = {
        "sequences/follow_up_1_1_1.yaml": FOLLOW_UP,
        "sequences/triggers.yaml": TRIGGERS,
        "templates/follow_up_1_1_1/day_1.md": EMAIL,
    }
    library, problems = parse({**read_sources(ROOT)[0], **files})
    assert not has_errors(lint_library(EXAMPLE, library, problems))
    (result,) = run_scenarios(library, only="the client introduces on day 3")
    assert result.passed, result.message
    assert [trigger.starts[0].sequence for trigger in library.triggers] == [
        "ask", "value_review", "referral_update", "keep_in_touch", "annual_review",
    ]  # fmt: skip


def test_every_key_is_read_as_the_language_names_it() -> None:
    sequence, problems = parse_sequence("sequences/every_key.yaml", EVERY_KEY)
    assert problems == [] and sequence is not None
    assert parse_triggers("sequences/triggers.yaml", TRIGGERS)[1] == []


# --- what fails for everybody ----------------------------------------------------------------------------------------

TOUCH = "name: X\nkind: touch\nto: client\nneeds: {n: number}\nsteps: [{id: a, email: x}]\n"
SUBJECT = "---\nsubject: Hello\n---\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{% macro greet(who) %}Hi {{ who.name }}{% endmacro %}{{ greet() }}", "4:16: warning: with sample values: parameter 'who' was not provided"),
        ("{{ n / 0 }}", "4:1: warning: with sample values: division by zero"),
        ("{{ client() }}", "4:1: warning: with sample values: "),
        ('{{ n + " seats" }}', "4:1: warning: with sample values: unsupported operand"),
    ],
    ids=["a macro without its argument", "division by zero", "a person is no function", "a number is no text"],
)  # fmt: skip
def test_what_fails_with_any_value_is_told_before_anybody_is_enrolled(body: str, said: str) -> None:
    (problem,) = told(TOUCH, f"{SUBJECT}{body}\n")
    assert f"{problem.line}:{problem.column}: {problem.severity}: {problem.message}".startswith(said)
    assert problem.message.endswith('(in x, step "a")')


def test_a_condition_that_nobody_could_answer_is_told() -> None:
    (problem,) = told(TOUCH.replace("email: x", 'if: n > "5", email: x'))
    assert problem.message.startswith('step "a" asks in its if, with sample values: ')


@pytest.mark.parametrize(
    "body",
    [
        "See [your page](https://a.example) and [your page][1].\n\n[1]: https://a.example",
        "It costs 50% less, or 20% to 30%.",
        '{{ "{id}" }} stands in braces.',
        "[x] done, {} open, [1] and (insert).",
    ],
)
def test_what_only_looks_like_a_blank_is_left_alone(body: str) -> None:
    assert told(TOUCH, f"{SUBJECT}{body}\n") == []


def test_of_a_template_that_is_missing_that_alone_is_told() -> None:
    ask = TOUCH.replace("kind: touch", "kind: ask").replace("n: number", "ideal_client: text")
    library, problems = parse({"sequences/x.yaml": ask})
    assert [problem.code for problem in lint_library(EXAMPLE, library, problems)] == ["missing-template"]


def test_a_sequence_that_cannot_be_read_is_not_missed_where_it_is_started() -> None:
    files = {
        "sequences/x.yaml": TOUCH.replace("email: x}", "email: x}, {id: b, start: y}"),
        "sequences/y.yaml": TOUCH.replace("email: x", "emial: x"),
        "sequences/triggers.yaml": "- {moment: won, start: y}\n",
        "templates/x.md": f"{SUBJECT}Hi.\n",
    }
    library, problems = parse(files)
    assert {problem.file for problem in lint_library(EXAMPLE, library, problems)} == {"sequences/y.yaml"}


@pytest.mark.parametrize(
    "body", ["{{ " + "(" * 3000 + "n" + ")" * 3000 + " }}", "{% for a in [n] %}" * 30 + "x" + "{% endfor %}" * 30]
)
def test_what_is_nested_too_deeply_is_an_error_of_its_template(body: str) -> None:
    found = told(TOUCH, f"{SUBJECT}{body}\n")
    assert [(p.file, p.severity) for p in found] == [("templates/x.md", "error")], found


def test_whatever_is_checked_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile = Sandbox.compile

    def counted(sandbox: Sandbox, source: Any, name: Any = None, *args: Any, **named: Any) -> Any:
        compiled.append(name)
        return compile(sandbox, source, name, *args, **named)

    monkeypatch.setattr(Sandbox, "compile", counted)
    render._compiled.cache_clear()
    for _ in range(2):  # also where all is read again, because one file was edited
        library, problems = parse(read_sources(ROOT)[0])
        assert not has_errors(lint_library(EXAMPLE, library, problems))
    templates = [name for name in compiled if name and name != "<template>"]
    assert len(templates) == len(set(templates)) > 100


def test_of_a_file_that_is_not_utf_8_that_alone_is_told(tmp_path: Path) -> None:
    for folder in ("sequences", "templates"):
        (tmp_path / folder).mkdir()
    (tmp_path / "sequences/x.yaml").write_bytes("name: Grüße\n".encode("latin-1"))
    (tmp_path / "sequences/y.yaml").write_text(TOUCH)
    (tmp_path / "templates/x.md").write_bytes(f"{SUBJECT}Grüße\n".encode("utf-16"))
    sources, unreadable = read_sources(tmp_path)
    library, problems = parse(sources)
    found = lint_library(EXAMPLE, library, [*unreadable, *problems])
    assert [(p.file, p.line, p.column, p.code) for p in found] == [
        ("sequences/x.yaml", 1, 9, "encoding"),
        ("templates/x.md", 1, 1, "encoding"),
    ]


def test_a_file_to_attach_may_be_named_the_long_way_and_must_be_there() -> None:
    sequence, _ = parse_sequence("sequences/x.yaml", TOUCH.replace("email: x", "email: x, attach: ./prices//2026.pdf"))
    assert sequence is not None and sequence.steps[0].attach == ("prices/2026.pdf",)
    library = parse({})[0]
    with pytest.raises(ValueError, match="no file sequences/prices/2026.pdf"):
        library.attachments(sequence.steps[0])
