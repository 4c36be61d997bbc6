"""The two pictures that only the docs have: the states of an enrollment, drawn from the table that runs, and the programme,
drawn from what the sequences start. Where the table stops being what the drawing shows, drawing it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from moves import Moves

from engine.core.machine import MOVES
from engine.core.model import State
from engine.core.sequence import Handler, Sequence, Start
from engine.core.words import spoken
from engine.pictures import FRAME, INK, MARGIN, PALE, WIDTH, Sheet, fitted

ARROW = (
    '<marker id="{0}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0.5l7 3.5-7 3.5z" fill="{1}"/></marker>'
)
GREEN, AMBER, GREY, BLUE = "#2c7a4b", "#b06f00", "#7b8794", "#2563c9"
RUNNING, STANDING = (State.WAITING, State.ACTIVE, State.LISTENING), (State.HELD, State.PAUSED)
SAYS: Mapping[State, str] = {
    State.WAITING: "begins later",
    State.ACTIVE: "a step is due, or in hand",
    State.LISTENING: "all steps done; still hears",
    State.HELD: "until a day, or an answer elsewhere is settled",
    State.PAUSED: "until the rep decides",
    State.STOPPED: "over; its outcome says how",
}
SMALL = 12.0


def box(sheet: Sheet, x: float, y: float, width: float, height: float, ink: str, ground: str = "#ffffff") -> None:
    sheet.add(
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="9" fill="{ground}" stroke="{ink}"'
        ' stroke-width="1.4"/>'
    )


def line(sheet: Sheet, path: str, ink: str = GREY) -> None:
    """An arrow along an SVG path."""
    sheet.add(f'<path d="{path}" fill="none" stroke="{ink}" stroke-width="1.4" marker-end="url(#{ink[1:]})"/>')


def words(sheet: Sheet, text: str, x: float, y: float, room: float, anchor: str = "start", ink: str = PALE) -> None:
    """A small text in as many lines as it takes, the first on baseline y."""
    for number, part in enumerate(fitted(text, room, SMALL)):
        sheet.y = y + 15 * number
        sheet.say(part, x, SMALL, ink, text_anchor=anchor)


def finished(sheet: Sheet, height: float, title: str) -> str:
    sheet.y = height
    markers = "".join(ARROW.format(ink[1:], ink) for ink in (GREEN, AMBER, GREY, BLUE))
    sheet.parts.insert(0, f"<defs>{markers}</defs>")
    return sheet.done(title)


# --- the states ------------------------------------------------------------------------------------------------------


def states_svg(found: Moves) -> str:
    """The states and what moves an enrollment between them. Raises AssertionError where that is not what MOVES says."""
    _check()
    sheet = Sheet()
    _ground(sheet, 24, 150, "Its clock runs")
    for number, state in enumerate(RUNNING):
        _state(sheet, state, 48 + 240 * number, 66, BLUE)
    line(sheet, "M232 96H286", BLUE)
    words(sheet, _first(found, State.WAITING, State.ACTIVE), 259, 58, 90, "middle")
    line(sheet, "M472 86H526", BLUE)
    words(sheet, "steps done", 499, 58, 90, "middle")
    line(sheet, "M526 108H472", BLUE)
    words(sheet, "goto, or a refused email", 499, 148, 190, "middle")
    _ground(sheet, 318, 130, "Its clock stands still")
    _state(sheet, State.HELD, 112, 352, AMBER)
    _state(sheet, State.PAUSED, 464, 352, AMBER)
    line(sheet, "M296 382H462", AMBER)
    words(sheet, "an answer, whoelse pause", 379, 371, 190, "middle")
    line(sheet, "M136 174V316", AMBER)
    words(sheet, _listed(found[State.ACTIVE, State.HELD]), 146, 205, 170)
    line(sheet, "M488 174V316", AMBER)
    words(sheet, _listed(found[State.ACTIVE, State.PAUSED]), 498, 205, 210)
    line(sheet, "M350 318V176", BLUE)
    words(sheet, "goes on where it was: " + _listed(found[State.HELD, State.ACTIVE]), 360, 205, 118)
    box(sheet, 24, 524, WIDTH - 48, 52, GREY, "#f3f5f7")
    sheet.y = 547
    sheet.say(State.STOPPED, WIDTH / 2, 14, INK, font_weight="600", text_anchor="middle")
    words(sheet, SAYS[State.STOPPED], WIDTH / 2, 565, 400, "middle")
    line(sheet, "M64 448V522")
    line(sheet, "M736 100H748V550H738")
    from_all = [cause for cause in found[State.ACTIVE, State.STOPPED] if cause in found[State.PAUSED, State.STOPPED]]
    words(sheet, f"from every state: {_listed(from_all)}; from listening also when its time is over", 78, 476, 640)
    return finished(sheet, 600, "The states of an enrollment and what moves it between them")


def _check() -> None:
    """What the frames say of all states in them must be true of each."""
    for state in (*RUNNING, *STANDING):
        assert State.STOPPED in MOVES[state], f"{state} never ends"
    for runs in RUNNING:
        for stands in STANDING:
            assert stands in MOVES[runs] and runs in MOVES[stands], f"{runs} and {stands} do not lead to each other"
    assert MOVES[State.STOPPED] == frozenset(), "something follows the end"
    within = {(a, b) for a in RUNNING for b in MOVES[a] if b in RUNNING and a is not b}
    drawn = {(State.WAITING, State.ACTIVE), (State.ACTIVE, State.LISTENING), (State.LISTENING, State.ACTIVE)}
    assert within == drawn, f"the drawing lacks {within - drawn} or has too much: {drawn - within}"


def _ground(sheet: Sheet, y: float, height: float, title: str) -> None:
    sheet.add(f'<rect x="24" y="{y}" width="{WIDTH - 48}" height="{height}" rx="12" fill="#f7f9fb" stroke="{FRAME}"/>')
    sheet.y = y + 22
    sheet.say(title, 40, 13, PALE, font_weight="600")


def _state(sheet: Sheet, state: State, x: float, y: float, ink: str) -> None:
    box(sheet, x, y, 184, 66, ink)
    sheet.y = y + 24
    sheet.say(state, x + 92, 14, INK, font_weight="600", text_anchor="middle")
    words(sheet, SAYS[state], x + 92, y + 42, 172, "middle")


def _first(found: Moves, a: State, b: State) -> str:
    return found[a, b][0]


def _listed(causes: list[str]) -> str:
    return ", ".join(cause.removeprefix("an event that says ") for cause in causes)


def states_text(found: Moves) -> str:
    """The same as a table: from, to, and everything that brings it about."""
    rows = ["| from | to | when |", "| --- | --- | --- |"]
    for start in State:
        for end in State:
            if causes := found.get((start, end)):
                said = "; ".join(re.sub(r"whoelse \w+|^[a-z_]+$|(?<=says )\w+", r"`\g<0>`", cause) for cause in causes)
                rows.append(f"| {start} | {end} | {said} |")
    return "\n".join(rows)


# --- the programme ---------------------------------------------------------------------------------------------------


def links(sequence: Sequence) -> Iterator[tuple[str, str]]:
    """(sequence that is started, in which case) for everything that a sequence starts, each pair once."""
    handlers: list[tuple[str, Handler]] = [*sequence.when.items()]
    handlers += [item for step in sequence.steps for item in step.when.items()]
    found: list[tuple[Start, str]] = [(start, event) for event, handler in handlers for start in handler.starts]
    found += [(start, "then") for step in sequence.steps for start in step.starts]
    yield from dict.fromkeys((start.sequence, f"{case}, after a rest" if start.rest else case) for start, case in found)


def path(sequences: Mapping[str, Sequence]) -> list[str]:
    """The longest way through the programme: each sequence starts the next."""
    children = {key: list(dict.fromkeys(child for child, _ in links(s))) for key, s in sequences.items()}

    def longest(key: str, seen: tuple[str, ...]) -> tuple[str, ...]:
        ways = [longest(child, (*seen, child)) for child in children.get(key, ()) if child not in seen]
        return max(ways, key=len, default=seen)

    return list(max((longest(key, (key,)) for key in sequences), key=len))


def programme_svg(sequences: Mapping[str, Sequence], good: str = "thank_you") -> str:
    """The programme on one line, what a made introduction starts above it, what a refusal starts below."""
    main = [key for key in path(sequences) if key != good]
    others = dict.fromkeys(child for key in main for child, _ in links(sequences[key]) if child not in main)
    sheet, width = Sheet(), 86.0
    gap = (WIDTH - 2 * MARGIN - width * len(main)) / (len(main) - 1)
    left = {key: MARGIN + number * (width + gap) for number, key in enumerate(main)}
    for key in main:
        _stop(sheet, sequences[key].name, left[key], 166, width)
    for before, after in zip(main, main[1:], strict=False):
        line(sheet, f"M{left[before] + width:g} 192H{left[after] - 2:g}", GREEN)
        cases = [case for child, case in links(sequences[before]) if child == after]
        for number, case in enumerate(reversed(cases)):
            words(sheet, spoken(case), left[before] + width + gap / 2, 184 - 14 * number, gap, "middle", GREEN)
    for other in others:
        above = other == good
        sources = [key for key in main if other in dict(links(sequences[key]))]
        _bar(sheet, sequences[other], sources, left, width, above, sequences)
    return finished(sheet, 360, "The programme: which sequence starts which, and when")


def _stop(sheet: Sheet, name: str, x: float, y: float, width: float) -> None:
    box(sheet, x, y, width, 52, BLUE, "#f3f7fd")
    lines = fitted(name, width - 16, 13)
    for number, part in enumerate(lines):
        sheet.y = y + 31 - 8 * (len(lines) - 1) + 16 * number
        sheet.say(part, x + width / 2, 13, INK, font_weight="600", text_anchor="middle")


def _bar(
    sheet: Sheet,
    target: Sequence,
    sources: list[str],
    left: Mapping[str, float],
    width: float,
    above: bool,
    sequences: Mapping[str, Sequence],
) -> None:
    """A sequence that several start: a bar over or under all of them, with an arrow from each."""
    ink, y = (GREEN, 40) if above else (GREY, 282)
    begin, end = left[sources[0]], left[sources[-1]] + width
    box(sheet, begin, y, end - begin, 40, ink, "#f1f8f3" if above else "#f5f6f8")
    sheet.y = y + 25
    sheet.say(target.name, (begin + end) / 2, 13, INK, font_weight="600", text_anchor="middle")
    for key in sources:
        x = left[key] + width / 2
        line(sheet, f"M{x:g} {'166V82' if above else '218V280'}", ink)
        cases = dict.fromkeys(case for child, case in links(sequences[key]) if child == target.key)
        words(sheet, ", ".join(map(spoken, cases)), x - 8, 128 if above else 246, 100, "end", ink)
