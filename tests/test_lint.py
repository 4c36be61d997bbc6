"""What is wrong in any file is found before anybody is enrolled: every broken file of broken/ with its place and sentence,
and every slip in what ships."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from broken_cases import WINDOWS, around, cases, expected_in, found_in

from engine.core.lint import lint
from engine.core.lint.project import Project
from engine.core.problem import Problem, has_errors
from engine.core.render import Templates
from engine.core.sequence import Sequence, parse_sequence, parse_triggers

ROOT = Path(__file__).parent.parent
SHIPPED = {f"sequences/{p.name}": p.read_text() for p in (ROOT / "sequences").glob("*.yaml")}
TEMPLATES = {
    p.relative_to(ROOT / "templates").as_posix().removesuffix(".md"): p.read_text()
    for p in (ROOT / "templates").rglob("*.md")
}


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.stem)
def test_a_broken_file_is_told_with_its_place_and_a_remedy(path: Path) -> None:
    text = path.read_text()
    assert found_in(path.stem, text) == expected_in(text) != []


def test_there_are_more_than_sixty_ways_to_break_a_file() -> None:
    assert len(cases()) > 60


def test_what_stands_around_the_broken_files_is_sound() -> None:
    sequences, templates, sources = around()
    assert lint(sequences, Templates(templates), WINDOWS, sources=sources) == []


def test_without_the_source_a_problem_stands_at_its_step() -> None:
    sequences, templates, sources = around()
    gone = {name: text for name, text in templates.items() if name != "plain"}
    found = [problem for problem in lint(sequences, Templates(gone), WINDOWS) if "thanks" in problem.file]
    assert [(problem.line, problem.column, problem.code) for problem in found] == [(7, 1, "missing-template")]


# --- triggers


MORE = {
    "touch": "name: T\nkind: touch\nto: client\nsteps: [{id: a, email: plain}]\n",
    "needy": "name: N\nkind: touch\nto: client\nneeds: {topic: text}\nsteps: [{id: a, email: plain}]\n",
}


def trigger_problems(text: str, more: Mapping[str, str] | None = None) -> list[str]:
    sequences, templates, sources = around()
    for key, written in (more or {}).items():
        sequence, _ = parse_sequence(f"sequences/{key}.yaml", written)
        assert sequence is not None
        sequences = {**sequences, key: sequence}
        sources = {**sources, sequence.file: written}
    file = "sequences/triggers.yaml"
    triggers, problems = parse_triggers(file, text)
    assert problems == []
    found = lint(sequences, Templates(templates), WINDOWS, triggers, {**sources, file: text})
    return [str(problem).removeprefix(f"{file}:") for problem in found]


def test_a_trigger_starts_what_is_there() -> None:
    assert trigger_problems("- {moment: nps, start: [touch, outreech]}", MORE) == [
        '1:32: trigger 1 starts "outreech", which is not there; did you mean "outreach"?'
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- {referral: won, start: thanks, with: {prospekt: x}}", '1:41: trigger 1 gives thanks "prospekt", which it does not need; did you mean "prospect"?'),
        ("- {every: year, from: client.since, confirms: true, start: touch}", "1:47: trigger 1 takes a date for the client's word; take it away: the value is confirmed by a moment or an answer"),
        ('- {every: "0 9 1 * *", for: clients, start: touch, after: rest}', "1:59: trigger 1 rests, but nobody has said no; a rest follows a no; choose another schedule, or a length"),
        ('- {every: "0 9 1 * *", for: clients, start: outreach}', "1:45: trigger 1 starts outreach, which is about a prospect; a schedule names nobody: start it by a referral or a moment"),
        ('- {every: "0 9 1 * *", for: clients, start: thanks}', "1:45: trigger 1 starts thanks, which is about a prospect; a schedule names nobody: start it by a referral or a moment"),
        ('- {every: "0 9 1 * *", for: everybody, start: touch}', '1:29: trigger 1 is for those who have a field "everybody"; clients are all, referrers those who have referred'),
        ('- {every: "0 9 1 * *", for: client, start: touch}', '1:29: trigger 1 is for those who have a field "client"; did you mean "clients"?'),
        ("- {moment: met, start: [thanks]}", '1:25: trigger 1 starts thanks, which is about a prospect; report it with -v prospect="Barry Jones <barry@acme.example>", or every start becomes the task "complete"'),
        ('- {every: "0 9 1 * *", for: clients, start: needy}', '1:45: trigger 1 starts needy, which needs topic; every start becomes the task "complete": give it by with, or for each rep in the config'),
        ("- {referral: won, start: needy}", '1:26: trigger 1 starts needy, which needs topic; every start becomes the task "complete": give it by with, or for each rep in the config'),
        ("- {moment: a, start: touch}\n- {moment: a, start: [touch, needy]}", "2:23: trigger 2 starts touch again, as trigger 1 does; whoever is in it already is skipped: take one of them away"),
    ],
    ids=["with", "confirms", "rest", "to a prospect", "needs a prospect", "for everybody", "for client", "a moment's prospect", "needs", "a referral's needs", "twice"],
)  # fmt: skip
def test_what_a_trigger_cannot_mean_is_told(text: str, told: str) -> None:
    assert trigger_problems(text + "\n", MORE) == [told]


@pytest.mark.parametrize(
    "text",
    [
        "- {referral: won, start: [thanks, outreach]}",
        '- {every: "0 9 1 * *", for: clients, start: needy, with: {topic: "spring"}}',
        "- {every: year, from: client.since, before: 2 weeks, start: needy}",
        '- {every: "0 9 1 * *", for: clients, start: touch}\n- {every: "0 9 1 * *", for: referrers, start: touch}',
        "- {moment: a, start: needy, after: rest}",
    ],
)
def test_a_sound_trigger_is_left_alone(text: str) -> None:
    assert trigger_problems(text + "\n", MORE) == []


def test_a_trigger_asks_what_can_be_read() -> None:
    assert trigger_problems('- {moment: nps, if: "score >=", start: touch}', MORE) == [
        "1:21: trigger 1 has an unreadable \"if\": unexpected 'end of template'; something is missing at its end"
    ]
    assert trigger_problems('- {moment: nps, if: "score >= 9", start: touch}', MORE) == []


def test_values_that_the_config_gives_are_not_missed() -> None:
    text = "name: X\nkind: touch\nto: client\nsteps: [{id: a, start: asks}]\n"
    asks = "name: A\nkind: ask\nto: client\nneeds: {ideal_client: text}\nsteps: [{id: a, email: ideal}]\n"
    sequences, templates, _ = around()
    read = {"x": parse_sequence("sequences/x.yaml", text)[0], "asks": parse_sequence("sequences/asks.yaml", asks)[0]}
    both = {**sequences, **{key: found for key, found in read.items() if found}}
    assert [p.code for p in lint(both, Templates(templates), WINDOWS)] == ["incomplete"]
    assert lint(both, Templates(templates), WINDOWS, variables=["ideal_client"]) == []


def test_an_optional_value_may_be_used_where_the_step_asks_for_it() -> None:
    text = (
        "name: X\nkind: touch\nto: client\nneeds: {prospect: optional person}\n"
        "steps: [{id: a, if: prospect, email: introduction}]\n"
    )
    sequences, templates, _ = around()
    sequence = parse_sequence("sequences/x.yaml", text)[0]
    assert sequence is not None
    assert lint({**sequences, "x": sequence}, Templates(templates), WINDOWS) == []


HEAD = "name: X\nkind: touch\nto: client\n"
SOUND = {
    "a handler of the sequence leads to what is set aside": HEAD
    + "steps: [{id: a, email: plain}, {id: b, aside: true, email: plain}]\nwhen: {reply: {goto: b}}\n",
    "the end goes on once and then stops": HEAD
    + "steps: [{id: a, email: plain}, {id: b, aside: true, email: plain, when: {finished: {stop: done}}}]\n"
    "when: {finished: {goto: b}}\n",
    "an answer may start the same again": HEAD + "steps: [{id: a, email: plain}]\nwhen: {reply: {stop: x, start: x}}\n",
    "a named person is the prospect of what is started": HEAD
    + "steps: [{id: a, email: plain}]\nwhen: {named: {stop: x, start: [thanks, outreach]}}\n",
    "only the first word to a prospect waits": HEAD.replace("client", "prospect")
    + "steps: [{id: a, email: plain, approve: true}, {id: b, wait: 1 week, email: plain}]\n",
    "an early end counts where the next email may be left out": HEAD
    + "needs: {prospect: optional person}\nsteps: [{id: a, email: plain, when: {finished: {stop: x}}},"
    " {id: b, if: prospect, email: plain}]\n",
    "a month after 30 days is in order": HEAD
    + "steps: [{id: a, at: start + 30 days, email: plain}, {id: b, at: start + 1 month, email: plain}]\n",
    "an optional date may be an anchor": HEAD
    + "needs: {day: optional date}\nsteps: [{id: a, email: plain}, {id: b, at: day - 1 day, email: plain}]\n",
    "what is asked for first is there for what starts": HEAD
    + "needs: {prospect: optional person}\nsteps: [{id: a, if: prospect, start: thanks}]\n",
    "the referral is there where one asks first": HEAD
    + "steps: [{id: a, email: plain, if: referral and referral.state == 'won'}]\n",
}


@pytest.mark.parametrize("text", SOUND.values(), ids=SOUND.keys())
def test_what_is_sound_is_left_alone(text: str) -> None:
    sequences, templates, sources = around()
    sequence, problems = parse_sequence("sequences/x.yaml", text)
    assert sequence is not None, problems
    found = lint(
        {**sequences, "x": sequence}, Templates(templates), WINDOWS, sources={**sources, "sequences/x.yaml": text}
    )
    assert [str(problem) for problem in found] == []


def test_a_translation_is_judged_like_the_original() -> None:
    sequences, templates, _ = around()
    german = templates["plain"].replace("client.first_name", "client.frist_name")
    found = lint(sequences, Templates({**templates, "plain.de": german}), WINDOWS)
    assert {(problem.file, problem.line, problem.code) for problem in found} == {
        ("templates/plain.de.md", 4, "unknown-variable")
    }


def test_everything_is_told_once_and_in_order() -> None:
    sequences, templates, sources = around()
    found = lint(
        sequences, Templates({**templates, "plain": "Hi {{ cleint }} and {{ cleint }}"}), WINDOWS, sources=sources
    )
    assert len(found) == len(set(found))
    assert found == sorted(found, key=lambda problem: (problem.file, problem.line, problem.column))


# --- what ships


BOOKS = Templates(TEMPLATES)  # what is compiled stays with them


def check(sources: dict[str, str], templates: Templates = BOOKS) -> list[Problem]:
    sequences: dict[str, Sequence] = {}
    problems: list[Problem] = []
    triggers = []
    for file, text in sources.items():
        if file.endswith("/triggers.yaml"):
            triggers, found = parse_triggers(file, text)
        else:
            sequence, found = parse_sequence(file, text)
            if sequence:
                sequences[sequence.key] = sequence
        problems += found
    return [*problems, *lint(sequences, templates, WINDOWS, triggers, sources)]


def test_what_ships_is_without_a_fault() -> None:
    assert [str(problem) for problem in check(SHIPPED)] == []


def rounds(texts: dict[str, str], pattern: str) -> Iterator[tuple[int, dict[str, tuple[str, str]]]]:
    """One slip in every text at once: in round N the Nth word that matches gets an x. Gives what was found and the
    changed text, by name, for the texts that have so many."""
    places = {name: list(re.finditer(pattern, text, re.MULTILINE)) for name, text in texts.items()}
    for number in range(max(map(len, places.values()))):
        changed = {}
        for name, found in places.items():
            if number < len(found):
                place = found[number]
                changed[name] = place[0], f"{texts[name][: place.end(1)]}x{texts[name][place.end(1) :]}"
        yield number, changed


def used_templates() -> dict[str, str]:
    """Those that a sequence names: the engine's own tasks are not filled by sequences."""
    read = [parse_sequence(file, text)[0] for file, text in SHIPPED.items() if "triggers" not in file]
    sequences = {sequence.key: sequence for sequence in read if sequence}
    project = Project(sequences, BOOKS, WINDOWS, (), {}, frozenset())
    return {w.template: TEMPLATES[w.template] for s in sequences.values() for w in project.written(s)}


@pytest.mark.parametrize(
    "pattern",
    [
        r"\{\{ ?([a-z_]+)(?:\.[a-z_]+)?[ |]",
        r"\{\{ ?[a-z_]+\.([a-z_]+)",
        r"\{% include \"([a-z_/]+)",
        r"\{\{[^}]*\|([a-z]+)",
        r"^(subject):",
    ],
    ids=["variable", "part", "block", "filter", "subject"],
)
def test_a_typo_in_any_name_of_a_template_is_caught(pattern: str) -> None:
    slips = [
        (f"templates/{name}.md", text.count("\n", 0, found.start(1)) + 1, f"{found[1]}x")
        for name, text in used_templates().items()
        for found in re.finditer(pattern, text, re.MULTILINE)
    ]
    slipped = {
        name: re.sub(pattern, lambda found: found[0].replace(found[1], f"{found[1]}x", 1), text, flags=re.MULTILINE)
        for name, text in used_templates().items()
    }
    errors = [p for p in check(SHIPPED, Templates({**TEMPLATES, **slipped})) if p.severity == "error"]
    told = {(p.file, p.line, word) for p in errors for word in re.findall(r"[a-z_/]+x\b", p.message)}
    assert slips and set(slips) <= told, set(slips) - told


def test_any_template_that_is_taken_away_is_missed() -> None:
    missed = {
        problem.message for problem in check(SHIPPED, Templates({"none": ""})) if problem.code == "missing-template"
    }
    for name in used_templates():
        assert any(f'"{name}"' in message for message in missed), name


def test_an_introduction_link_without_its_words_is_missed() -> None:
    rest = {name: text for name, text in TEMPLATES.items() if name != "introduction"}
    assert {problem.code for problem in check(SHIPPED, Templates(rest))} == {"missing-template"}


def test_any_sequence_that_is_taken_away_is_missed_where_it_is_started() -> None:
    for name in set(re.findall(r"start: (\w+)", "".join(text.partition("scenarios:")[0] for text in SHIPPED.values()))):
        rest = {file: text for file, text in SHIPPED.items() if file != f"sequences/{name}.yaml"}
        assert any(problem.code == "sequence" for problem in check(rest)), name


@pytest.mark.parametrize(
    "pattern",
    [
        r"^  (\w+): \{",  # a handler's event, also of a scenario
        r"^      (\w+): \{",  # one of a step
        r"^    (email|task|at|wait|when|approve|aside|if|start|until|thread|begins|given|expect): ?",
        r"^(name|kind|to|steps|when|needs|window|thread|scenarios): ?",
        r"\b(stop|pause|goto|set|start|task|after|sent|stopped|started): ",
        r"^(?:kind|to|thread|window): (\w+)",
        r"^  \w+: (?:optional )?(text|person|list|datetime)\b",
        r"goto: (\w+)",
        r"set: \{\w+: (\w+)",
        r"(?:sent|approved|rejected|skipped): (\w+)",
        r"(?:wait|after|listen): \d+ ([a-z ]+)",
        r"at: (\w+) [+-]",
        r"^    start: (\w+)",
        r"(?:email|task): ([a-z_]+/\w+)$",
    ],
)
def test_a_typo_in_any_word_of_the_language_is_caught(pattern: str) -> None:
    sequences = {file: text for file, text in SHIPPED.items() if "triggers" not in file}
    for _, changed in rounds(sequences, pattern):
        texts = {file: text for file, (_, text) in changed.items() if not has_errors(parse_sequence(file, text)[1])}
        caught = {problem.file for problem in check({**SHIPPED, **texts})} if texts else set()
        for file in texts.keys() - caught:  # it may be told where another file meets it
            assert has_errors(check({**SHIPPED, file: texts[file]})), f"{file}: {changed[file][0]}"
