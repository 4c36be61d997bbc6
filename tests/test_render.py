"""From template and values to words: nothing half-filled, nothing injected, nothing without end."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.compose import mailto
from engine.core.model import Person
from engine.core.render import Rendered, RenderError, Templates

LINK = mailto("barry@acme.example", "sam@consulting.example", "Barry, meet Sam", "Hi Barry,\n\nA & B: 100 % <ok>?\n")
VALUES: dict[str, Any] = {
    "client": Person(name="Dana Fox", first_name="Dana", email="dana@acme.example"),
    "prospect": {"first_name": "Barry", "name": "Barry Jones"},
    "rep": {"name": "Sam Carter", "first_name": "Sam", "title": "", "email": "sam@consulting.example"},
    "company": {"name": "Acme"},
    "results": ["first", "second", "third"],
    "review_call": datetime(2026, 3, 3, 13, 30, tzinfo=UTC),
    "today": date(2026, 3, 2),
    "intro_link": LINK,
    "extra": None,
}


def render(body: str, values: dict[str, Any] | None = None, more: dict[str, str] | None = None, **how: str) -> Rendered:
    return Templates({"mail": body, **(more or {})}).render("mail", {**VALUES, **(values or {})}, **how)


def problem_of(body: str, values: dict[str, Any] | None = None, more: dict[str, str] | None = None):
    with pytest.raises(RenderError) as caught:
        render(body, values, more)
    return caught.value.problem


class Seen(HTMLParser):
    """What a mail client would make of a page: its tags, links and words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.words += data


# --- one source, two parts -------------------------------------------------------------------------------------------


def test_one_markdown_source_becomes_plain_words_and_html():
    mail = render(
        '---\nsubject: "Barry and {{ company.name }}"\n---\n'
        "## What we did\n\nHi **{{ client.first_name }}**,\nsee [our notes](https://notes.example/x?a=1&b=2).\n\n"
        "{% for result in results %}\n- {{ result }}\n{% endfor %}\n\n1. one\n2. two\n   - deep\n\n"
        "> quoted\n\nBest,\\\n{{ rep.name }}\n"
    )
    assert mail.subject == "Barry and Acme"
    assert mail.text == (
        "What we did\n\nHi Dana, see our notes <https://notes.example/x?a=1&b=2>.\n\n"
        "- first\n- second\n- third\n\n1. one\n2. two\n   - deep\n\n> quoted\n\nBest,\nSam Carter\n"
    )
    assert "<h2" in mail.html and "<strong>Dana</strong>" in mail.html and mail.html.count("<li") == 6
    assert Seen(mail.html).links == ["https://notes.example/x?a=1&b=2"]


def test_a_link_whose_words_are_its_address_stands_once():
    mail = render("<https://a.example/> [b@c.example](mailto:b@c.example) [https://d.example](https://d.example)")
    assert mail.text == "https://a.example/ b@c.example https://d.example\n"


def test_the_introduction_link_survives_both_parts_intact():
    mail = render("one click:\n[introduce us]({{ intro_link }})")
    assert mail.text == f"one click: introduce us <{LINK}>\n"
    assert Seen(mail.html).links == [LINK]
    query = parse_qs(urlsplit(Seen(mail.html).links[0]).query)
    assert query["body"] == ["Hi Barry,\r\n\r\nA & B: 100 % <ok>?\r\n"]


def test_a_tag_alone_on_its_line_leaves_no_trace_and_one_at_a_sentences_end_glues_nothing():
    body = (
        "Hi{% if true %} Dana{% endif %}\nnext\n{% if true %}\nand\n{% endif %}\nlast {# a note #}\n{# another #}\nend"
    )
    assert render(body).text == "Hi Dana next and last end\n"


def test_an_indented_line_is_no_code():
    assert render("Hi\n\n{% if true %}\n    We also did *more*.\n{% endif %}\n").text == "Hi\n\nWe also did more.\n"


def test_dates_and_times_stand_in_the_readers_zone_and_language():
    body = "{{ review_call|day }} at {{ review_call|time }}; {{ review_call }}; {{ today|day }}; {{ results|listing }}"
    english = render(body, zone="Asia/Kolkata").text
    assert english == "Tuesday 3 March at 19:00; Tuesday 3 March, 19:00; Monday 2 March; first, second and third\n"
    german = Templates({"mail": "-", "mail.de": body}).render("mail", VALUES, language="de-AT", zone="Europe/Vienna")
    assert (
        german.text
        == "Dienstag, 3. März at 14:30; Dienstag, 3. März, 14:30; Montag, 2. März; first, second und third\n"
    )
    assert '<html lang="de">' in german.html


def test_a_template_without_a_translation_keeps_its_language_in_all_parts():
    more = {
        "blocks/end.md": "Best",
        "blocks/end.de.md": "Gruß",
        "other.de": "{{ today|day }} {% include 'blocks/end.md' %}",
    }
    templates = Templates({"mail": "{{ today|day }} {% include 'blocks/end.md' %}", "other": "-", **more})
    assert templates.render("mail", VALUES, language="de").text == "Monday 2 March Best\n"
    assert templates.render("other", VALUES, language="de").text == "Montag, 2. März Gruß\n"


def test_what_a_person_typed_goes_out_as_typed():
    typed = "Hi Dana,\n\n* not a list\n<b>no tag</b> <mailto:b@acme.example?subject=x> and https://a.example/x.\n"
    mail = Templates({}).page("Hello\n there", typed)
    assert (mail.subject, mail.text) == ("Hello there", typed)
    assert Seen(mail.html).links == ["mailto:b@acme.example?subject=x", "https://a.example/x"]
    assert "b" not in Seen(mail.html).tags


# --- values are words, never structure ---------------------------------------------------------------------------------

HOSTILE = [
    "[click](https://evil.example)",
    "<https://evil.example>",
    "<b>bold</b><script>alert(1)</script>",
    "# heading\n- item\n> quote\n\n    code\n\n---",
    "**bold** _em_ `code` ~~x~~",
    "]( https://evil.example )[",
    "\\*not escaped\\* &amp; &#60;",
    '" onmouseover="alert(1)',
    "![x](https://evil.example/p.png)",
    "[ref]: https://evil.example",
    "{{ rep.name }}{% raw %}",
    "a\r\nBcc: x@evil.example",
    "\ufdd01\ufdd1 \ufdd0\ufdd2",
    "Ωμέγα 田中 😀 \u05d0\u05d1",
]
PLACES = [
    "{{ v }}",
    "# {{ v }}",
    "- {{ v }}\n- x",
    "**{{ v }}** and _{{ v }}_",
    "> {{ v }}",
    "`{{ v }}`",
    "[{{ v }}](https://a.example)",
    "x {{ v }}. y",
    "{% macro m(x) %}**{{ x }}**{% endmacro %}{{ m(v) }}",
    "{% macro m(x) %}**{{ x }}**{% endmacro %}{{ m(v) ~ v }}",
    "{% set s %}{{ v }}{% endset %}{{ s }}",
    "{{ v|upper }} {{ [v, v]|join(', ') }} {{ v|replace('a', 'b') }} {{ '%s' % v }}",
    "{{ 'Hi ' + v }} {{ v if v else '-' }} {{ v|default('-') }} {{ v|trim|title }}",
    "{{ v[::-1] }} {{ v.split()|join('*') }} {{ v|truncate(9) }} {{ v|wordwrap(5) }} {{ v|indent }}",
]


@pytest.mark.parametrize("place", PLACES)
def test_a_value_can_be_neither_link_nor_structure(place: str):
    templates = Templates({"mail": place})
    harmless, *hostile = (Seen(templates.render("mail", {"v": v}).html) for v in ("harmless", *HOSTILE))
    for value, seen in zip(HOSTILE, hostile, strict=True):
        assert [tag for tag in seen.tags if tag != "br"] == [tag for tag in harmless.tags if tag != "br"], value
        assert seen.links == harmless.links, value


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=1).filter(str.strip), st.sampled_from(PLACES[:8]))
def test_no_text_at_all_becomes_structure(value: str, place: str):
    harmless, hostile = (Seen(render(place, {"v": v}).html) for v in ("harmless", f"x{value}x"))
    assert [tag for tag in hostile.tags if tag != "br"] == [tag for tag in harmless.tags if tag != "br"]


def test_a_value_is_shown_as_it_is():
    value = "O'Brien & <b>Söhne</b> [x](y) *z*"
    mail = render("Hi {{ v }}!", {"v": value})
    assert mail.text == f"Hi {value}!\n"
    assert Seen(mail.html).words.strip() == f"Hi {value}!"


def test_the_lines_of_a_value_stay_inside_its_item():
    assert render("- {{ v }}\n- x\n\n> {{ v }}", {"v": "a\n\nb"}).text == "- a\n\n  b\n- x\n\n> a\n>\n> b\n"


def test_control_characters_and_bidi_tricks_are_dropped_and_line_ends_are_one():
    assert render("{{ v }}", {"v": "a\x00b\u202eevil\u2066\x1b[0m\r\nc\u2028d"}).text == "abevil[0m\nc\nd\n"


def test_a_subject_is_one_line_whatever_its_values_say():
    assert render('---\nsubject: "Hi {{ v }}"\n---\nx', {"v": "a\r\nBcc: x@y\n\tb"}).subject == "Hi a Bcc: x@y b"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:x",
        "data:text/html,x",
        "file:///etc/passwd",
        "/relative",
        "evil.example",
        "//x",
        " ",
    ],
)
def test_a_link_that_a_value_leads_astray_is_never_sent(url: str):
    problem = problem_of("Hi\n\n[x]({{ v ~ '' }})", {"v": url})
    assert (problem.code, problem.line) == ("link", 3)


def test_a_value_inside_a_link_is_only_a_piece_of_it():
    body = "[x](https://a.example/{{ v }}?q={{ v }}#{{ v }}) [y](mailto:{{ rep.email }}?subject={{ v }})"
    web, mail = Seen(render(body, {"v": 'a/../b?c=d&e#f g"<é%41'}).html).links
    assert web == "https://a.example/" + "%s?q=%s#%s" % (("a%2F..%2Fb%3Fc%3Dd%26e%23f%20g%22%3C%C3%A9%41",) * 3)
    assert mail.startswith("mailto:sam@consulting.example?subject=a%2F..")


def test_a_value_cannot_become_the_host_of_a_link():
    assert Seen(render("[x](https://{{ v }})", {"v": "good@evil.example/"}).html).links == [
        "https://good%40evil.example%2F"
    ]


# --- nothing half-filled -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "code", "words"),
    [
        ("prospekt.first_name", "undefined", 'there is no variable "prospekt"; did you mean "prospect"?'),
        ("client.firstname", "undefined", '"client" has no "firstname"; it has name, email, company'),
        ("client['nothing']", "undefined", '"client" has no "nothing"'),
        ("extra", "template", '"extra" is empty; fill it in, or provide for its absence: {% if extra %}'),
        ("rep.title", "template", '"rep.title" is empty'),
        ("rep.title or extra", "template", '"rep.title or extra" is empty'),
        ("client", "template", '"client" is a record: write client.name'),
        ("results", "template", "|listing"),
        ("results[7]", "undefined", "7"),
        ("true", "template", "a yes or no"),
        ("rep.name|day", "template", "|day needs a date"),
        ("1 // 0", "template", "division"),
    ],
)
def test_what_is_missing_is_an_error_with_its_line(expression: str, code: str, words: str):
    problem = problem_of("---\nsubject: x\n---\nHi\n\n  and {{ " + expression + " }}\n")
    assert (problem.file, problem.line, problem.code) == ("templates/mail.md", 6, code)
    assert words in f"{problem.message}; {problem.hint}"


def test_a_condition_without_an_else_writes_nothing():
    assert render("Hi{{ ' there' if extra }}!").text == "Hi!\n"


def test_an_error_in_an_included_block_or_a_subject_has_its_own_place():
    inside = problem_of("Hi\n{% include 'blocks/end.md' %}", more={"blocks/end": "Best,\n\n{{ nobody }}"})
    assert (inside.file, inside.line, inside.column) == ("templates/blocks/end.md", 3, 4)
    subject = problem_of('---\n# a note\nsubject: "Hi {{ nobody }}"\n---\nHi')
    assert (subject.line, subject.column) == (3, 17)


def test_a_missing_include_says_which():
    problem = problem_of("{% include 'blocks/gone.md' %}")
    assert problem.code == "missing-template" and "blocks/gone" in problem.message


def test_a_template_that_is_not_there_is_an_error_too():
    with pytest.raises(
        RenderError, match=r"templates/ask/who.md:1:1: there is no such template; did you mean .ask/who_else"
    ):
        Templates({"ask/who_else": "x"}).render("ask/who", {})


def test_broken_front_matter_is_never_rendered():
    assert "is not closed" in problem_of("---\nsubject: x\nHi").message


def test_a_paragraph_of_nothing_leaves_no_gap():
    mail = render("a\n\n{{ extra|default('', true) }}\n\n- {{ '' }}\n\nb")
    assert mail.text == "a\n\nb\n"
    assert Seen(mail.html).tags.count("p") == 2


# --- nothing out of bounds ---------------------------------------------------------------------------------------------

ESCAPES = [
    "''.__class__.__mro__",
    "client.__init__.__globals__",
    "self.__init__.__globals__",
    "cycler.__init__.__globals__.os",
    "joiner.__init__['__globals__']",
    "''|attr('__class__')",
    "'{0.__class__}'.format(1)",
    "'%s'.format_map(client)",
    "results.append(1)",
    "results.clear()",
    "client.update(name='x')",
    "client.pop('name')",
    "results.__len__()",
    "(1).__class__",
    "(1).to_bytes(10)",
    "review_call.__reduce__()",
    "review_call.tzinfo.key",
    "range.__self__",
    "namespace.__init__",
    "lipsum()",
    "config",
    "environment",
    "[].__class__.__base__.__subclasses__()",
    "''|map(attribute='__class__')|list",
    "[client]|map(attribute='__class__')|first",
    "[client]|sum(attribute='__dict__')",
    "[client]|groupby('__class__')|listing",
    "client|safe",
    "client.name|e",
    "client.name|tojson",
    "client.name|xmlattr",
    "client.name.encode()",
    "client.name.zfill(99999)",
]


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_template_reads_plain_values_and_nothing_else(escape: str):
    before = json.dumps(VALUES, default=str)
    assert problem_of("{{ " + escape + " }}").message
    assert json.dumps(VALUES, default=str) == before


def test_only_plain_values_may_be_given():
    for value in (object(), open, {1, 2}, Templates):
        with pytest.raises(TypeError):
            render("{{ v is defined }}", {"v": value})


MONSTERS = [
    "{{ 'a' * 10**10 }}",
    "{{ 10**10 * 'a' }}",
    "{{ ['a'] * 10**9 }}",
    "{{ range(10**9)|list|length }}",
    "{{ range(0, 10**18, 1)|sum }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a\\n'|indent(10**9) }}",
    "{{ ('a\\n' * 1000)|indent('b' * 200000) }}",
    "{{ ('a' * 200000)|replace('a', 'b' * 200000) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ 9 ** 99999999 }}",
    "{{ 2 ** 100000 }}",
    "{% set ns = namespace(n=9) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}{{ ns.n }}",
    "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "{% set ns = namespace(s='a') %}{% for i in range(99) %}{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
    "{% set ns = namespace(s=['a']) %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s|string }}",
    "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s]|join(ns.s) %}{% endfor %}",
    "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in range(1000) %}{% for b in range(1000) %}aaaaaaaaaa{% endfor %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% include 'monster' %}",
    "{% include 'doubling/0' %}",
    "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{{ range(1000)|map('center', 9000)|list|length }}",
    "{{ [range(1000)|list] * 1000|map('sum')|sum }}",
    "{{ ([range(1000)|list] * 5000)|map('sum')|sum }}",
    "{{ 'abc'|batch(10**9, 'x')|list }}",
    "{{ 'abc'|slice(10**9)|list }}",
    "{{ [[1] * 9999] * 9999 ~ '' }}",
    "{{ ('a' * 200000)|list|join('b' * 200000) }}",
    "{{ ('a ' * 100000)|wordwrap(1, wrapstring='b' * 9999) }}",
    "{{ [[1]]|sum(start=[]) * 99999999 }}",
    "{{ review_call.strftime('%999999999d') }}",
    "{{ ('a' * 250000) ~ ('b' * 250000) }}",
    "{{ 'x'.ljust(10**10) }}",
    "{% for a in 'a' * 200000 %}{% for b in 'b' * 200000 %}{% endfor %}{% endfor %}",
    "{% set s = 'a' * 200000 %}{% for i in range(1000) %}{{ s|upper|lower|title }}{% endfor %}",
    "{% call(x) undefined_thing() %}{% endcall %}",
]
CHILD = """
import json, resource, sys
from datetime import UTC, datetime
from engine.core.render import RenderError, Templates
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
doubling = {f"doubling/{n}": f"{{% include 'doubling/{n + 1}' %}}{{% include 'doubling/{n + 1}' %}}" for n in range(40)}
for monster in json.load(sys.stdin):
    templates = Templates({"monster": monster, "doubling/40": "", **doubling})
    try:
        templates.render("monster", {"review_call": datetime(2026, 3, 3, tzinfo=UTC)})
        print("rendered", flush=True)
    except RenderError as error:
        print(error.problem.code, error.problem.message, flush=True)
"""


@pytest.mark.io
def test_no_template_eats_the_memory_or_the_day():
    cpu = lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    child = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(MONSTERS), capture_output=True, text=True, preexec_fn=cpu
    )
    answers = child.stdout.splitlines()
    assert len(answers) == len(MONSTERS), f"{MONSTERS[len(answers)]}: {child.stderr[-500:]}"
    rendered = [monster for monster, answer in zip(MONSTERS, answers, strict=True) if answer.startswith("rendered")]
    assert rendered == []
    assert not [monster for monster, answer in zip(MONSTERS, answers, strict=True) if "MemoryError" in answer]


def test_an_email_of_more_than_256_kilobytes_is_refused():
    assert "262,144" in problem_of("{{ v }}\n\n{{ v }}", {"v": "a" * 200_000}).message
    assert problem_of("{{ v }}", {"v": "&" * 100_000}).code == "too-much"  # five times as long in HTML


def test_ordinary_loops_and_filters_are_far_from_the_limits():
    body = "{% for i in range(500) %}\n- {{ i }} {{ results|listing|upper }}\n{% endfor %}"
    assert render(body).text.count("FIRST, SECOND AND THIRD") == 500


# --- expressions -------------------------------------------------------------------------------------------------------


def test_a_condition_gives_its_value():
    templates = Templates({})
    assert templates.expression("score >= 9 and client.first_name == 'Dana'", {**VALUES, "score": 10}) is True
    assert templates.expression("extra", VALUES) is None
    assert templates.expression("results|length > 3 or today.year == 2026", VALUES) is True


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("score >= 9", "undefined"),
        ("client.scor", "undefined"),
        ("1 +", "template-syntax"),
        ("x }} {{ y", "template-syntax"),
        ("9 ** 99999999", "too-much"),
    ],
)
def test_a_broken_condition_is_an_error(source: str, code: str):
    with pytest.raises(RenderError) as caught:
        Templates({}).expression(source, VALUES)
    assert caught.value.problem.code == code


def test_what_a_condition_uses_is_known_without_values():
    assert Templates({}).expression_uses("score >= 9 and (client.fields.tier == 'a' or not prospect)") == {
        "score": False,
        "client.fields.tier": False,
        "prospect": False,
    }
    assert Templates({}).expression_uses("client.tier is defined and client.tier == 'gold'") == {"client.tier": True}


# --- what is wrong, without values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "line", "column", "code"),
    [
        ("Hi {{ x", 1, 4, "template-syntax"),
        ("---\nsubject: x\n---\n\n{% if x %}", 5, 1, "template-syntax"),
        ('---\nsubject: "{{ x"\n---\nHi', 2, 11, "template-syntax"),
        ("Hi\n\n{{ x|uper }}", 3, 6, "unknown-filter"),
        ("{% if y %}{{ x|uper }}{% endif %}", 1, 16, "unknown-filter"),
        ("{{ x|safe }}", 1, 6, "unknown-filter"),
        ("{% if x is evn %}a{% endif %}", 1, 12, "unknown-test"),
        ("{% filter upper %}x{% endfilter %}", 1, 1, "template-syntax"),
        ("a\n{% include 'blocks/gone.md' %}", 2, 13, "missing-template"),
        ("a\n{% include which %}", 2, 4, "dynamic-include"),
        ("{% include 'mail' %}", 1, 13, "include-loop"),
        ("{% include 'back' %}", 1, 13, "include-loop"),
        ("a\n\nb [x](ftp://a.example) c", 3, 7, "link"),
        ("[x](www.a.example)", 1, 5, "link"),
        ("[x](javascript:alert(1))", 1, 5, "link"),
        ("[x](http://a.example)", 1, 5, "link"),
        ("- [x](#there)", 1, 7, "link"),
        ("![x](https://a.example/x.png)", 1, 1, "image"),
        ("a <b>bold</b>", 1, 3, "html"),
        ("---\nsubjct: x\n---\nHi", 2, 1, "unknown-key"),
        ("---\nsubject: x\nsubject: y\n---\nHi", 3, 1, "duplicate-key"),
        ("---\nsubject: [x]\n---\nHi", 2, 10, "subject"),
        ("---\njust text\n---\nHi", 2, 1, "front-matter"),
        ("---\nsubject: x", 1, 1, "front-matter"),
    ],
)
def test_problems_have_their_place(body: str, line: int, column: int, code: str):
    found = Templates({"mail": body, "back": "{% include 'mail' %}"}).problems("mail")
    assert (code, line, column) in [(p.code, p.line, p.column) for p in found], [str(p) for p in found]
    assert all(p.file == "templates/mail.md" for p in found)


def test_a_sound_template_has_no_problems():
    body = '---\nsubject: "Hi {{ a.b }}"\n---\n[x]({{ link }}) <https://a.example> [m](mailto:x@y.example) {{ a|day }} 1 < 2\n'
    assert Templates({"mail": body}).problems("mail") == []


def test_a_link_to_http_is_a_warning_only():
    assert [p.severity for p in Templates({"mail": "[x](http://a.example)"}).problems("mail")] == ["warning"]


# --- what a template uses ------------------------------------------------------------------------------------------------


def uses(body: str, **more: str) -> set[tuple[str, bool, bool]]:
    return {(use.path, use.guarded, use.defined) for use in Templates({"mail": body, **more}).uses("mail")}


def test_uses_are_found_in_subject_body_includes_macros_imports_and_parents():
    templates = Templates(
        {
            "mail": '---\nsubject: "{{ a.one }}"\n---\n{% extends "base" %}{% block main %}{{ b.two }}{{ super() }}{% endblock %}',
            "base": "{{ c }}{% block main %}{% include 'part' %}{% endblock %}{% block rest %}{{ f }}{% endblock %}",
            "part": "{% import 'tools' as t %}{% from 'tools' import greet as g %}{{ t.greet(d) }}{{ g(person=e.boss) }}",
            "tools": "{% macro greet(person, word='Hi') %}{{ word }} {{ person.name }} {{ rep.name }}{% endmacro %}",
        }
    )
    found = {(use.path, use.file.removeprefix("templates/"), use.line) for use in templates.uses("mail")}
    assert found == {
        ("a.one", "mail.md", 2),
        ("b.two", "mail.md", 4),
        ("c", "base.md", 1),
        ("f", "base.md", 1),
        ("d.name", "tools.md", 1),
        ("e.boss.name", "tools.md", 1),
        ("rep.name", "tools.md", 1),
    }
    assert templates.render(
        "mail",
        {k: {"one": 1, "two": 2, "name": "n", "boss": {"name": "m"}} for k in ["a", "b", "d", "e", "rep"]}
        | {"c": 1, "f": 2},
    )


def test_a_use_has_its_line_and_column():
    (use,) = Templates({"mail": "---\nsubject: x\n---\n\nHi client {{  client.first_name }}"}).uses("mail")
    assert (use.path, use.file, use.line, use.column) == ("client.first_name", "templates/mail.md", 5, 15)


def test_names_that_the_template_made_itself_are_no_uses():
    body = "{% set p = prospect %}{{ p.first_name }}{% for r in results %}{{ r.x }}{{ loop.index }}{% endfor %}"
    body += "{% set n = 1 %}{{ n }}{% with q = p.company %}{{ q.name }}{% endwith %}{{ range(3)|listing }}"
    assert {path for path, _, _ in uses(body)} == {
        "prospect",
        "prospect.first_name",
        "results",
        "prospect.company",
        "prospect.company.name",
    }


def test_a_question_before_a_use_guards_it():
    assert uses("{% if prospect %}{{ prospect.name }}{% else %}{{ prospect.email }}{% endif %}") == {
        ("prospect", True, False),
        ("prospect.name", True, False),
        ("prospect.email", False, False),
    }
    assert ("extra", False, False) not in uses("{% if not extra %}-{% elif true %}{{ extra }}{% endif %}")
    assert ("extra", False, False) not in uses("{{ extra.x if extra and extra.x else '-' }}")
    assert ("extra.x", False, False) not in uses("{% if extra is not none %}{{ extra.x }}{% endif %}")
    assert ("extra.x", True, False) in uses(
        "{% if extra != none or x %}{{ extra.x }}{% endif %}{% if extra %}{{ extra.x }}{% endif %}"
    )
    assert ("extra.x", False, False) in uses("{% if extra != none or x %}{{ extra.x }}{% endif %}")
    assert ("extra.x", False, False) in uses("{% if extra.x %}-{% endif %}")
    assert ("extra", False, False) in uses("{% if extra > 3 %}-{% endif %}")


def test_default_and_is_defined_allow_for_names_that_nobody_gives():
    assert uses("{{ extra|default('-') }}") == {("extra", True, True)}
    assert uses("{% if extra is defined and extra %}{{ extra.x }}{% endif %}") == {
        ("extra", True, True),
        ("extra.x", True, True),
    }


def test_uses_of_a_broken_or_circular_template_end():
    assert Templates({"mail": "{{ a"}).uses("mail") == []
    assert uses("{{ a }}{% include 'mail' %}{% macro m(x) %}{{ x }}{{ m(x) }}{% endmacro %}{{ m(b) }}") == {
        ("a", False, False),
        ("b", False, False),
    }


def test_whatever_a_render_misses_was_among_the_uses():
    body = "{{ a.b }} {% if c %}{{ c.d }}{% endif %} {% for e in f %}{{ e }}{% endfor %} {{ g|upper }} {{ h.strip() }}"
    values = {"a": {"b": "1"}, "c": {"d": "2"}, "f": ["3"], "g": "4", "h": "5"}
    paths = {path for path, _, _ in uses(body)}
    assert paths == {"a.b", "c", "c.d", "f", "g", "h"}
    for name in values:
        assert problem_of(body, {k: v for k, v in values.items() if k != name}).code == "undefined"
        assert any(path.split(".")[0] == name for path in paths)
