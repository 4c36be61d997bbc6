"""A sequence as a picture: read once into rows and words, then set as text for the terminal or as SVG for a page. Whoever looks
must understand it without knowing the language; nothing is drawn that the sequence does not say."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from itertools import zip_longest
from typing import Literal

from engine.core.model import Event
from engine.core.sequence import At, Handler, Sequence, Start, Step
from engine.core.words import spoken

Kind = Literal["email", "task", "start", "end"]
Tone = Literal["go", "wait", "stop"]

MARKS: Mapping[Kind, str] = {"email": "●", "task": "□", "start": "▶", "end": "○"}
COLUMNS, TIME_COLUMNS = 80, 22

GOOD_NEWS = (Event.CONFIRMED, Event.NAMED, Event.INTRODUCED)

#: What happens by itself where a sequence has no handler of its own.
DEFAULTS: Mapping[Event, str] = {
    Event.REPLY: "any other answer pauses it until the rep has looked",
    Event.OUT_OF_OFFICE: "an absence holds it until the person is back",
    Event.REP_WROTE: "an email by the rep's own hand holds it for 3 business days",
    Event.SOFT_BOUNCED: "a refused email is tried twice more",
    Event.BOUNCED: "a dead address ends it",
    Event.UNSUBSCRIBED: "an opt-out ends it for good",
}


# --- what is drawn ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """Where some events lead. Events that lead to the same are one way."""

    events: tuple[str, ...]
    what: str
    tone: Tone


@dataclass(frozen=True)
class Row:
    """One step, or the end: when, what, under which conditions, and what an answer to this email does."""

    kind: Kind
    name: str
    time: str
    does: str
    notes: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()


@dataclass(frozen=True)
class Picture:
    """All words of a picture. `asides` are the steps that only an answer leads to."""

    name: str
    about: str
    needs: str
    rows: tuple[Row, ...]
    asides: tuple[Row, ...]
    ways: tuple[Way, ...]
    defaults: str


def picture(sequence: Sequence) -> Picture:
    """What there is to be seen of a sequence, in words."""
    steps = [step for step in sequence.steps if not step.aside]
    others = [event for event in sequence.when if event != Event.FINISHED]
    left = [said for event, said in DEFAULTS.items() if event not in sequence.when]
    return Picture(
        name=sequence.name,
        about=sequence.about,
        needs=_needs(sequence),
        rows=(*(_row(sequence, step, first=step is steps[0]) for step in steps), _end(sequence)),
        asides=tuple(_row(sequence, step) for step in sequence.steps if step.aside),
        ways=_ways({event: sequence.when[event] for event in others}),
        defaults=_sentence(left),
    )


def _needs(sequence: Sequence) -> str:
    asked = [spoken(need.name) for need in sequence.needs.values() if not need.optional]
    may = [spoken(need.name) for need in sequence.needs.values() if need.optional]
    parts = [f"needs {', '.join(asked)}"] if asked else []
    parts += [f"may have {', '.join(may)}"] if may else []
    parts += [f"requires {sequence.requires} value"] if sequence.requires else []
    return "; ".join([f"to the {sequence.to}", *parts])


def _sentence(parts: list[str]) -> str:
    return f"By itself: {'; '.join(parts)}." if parts else ""


# --- steps -----------------------------------------------------------------------------------------------------------


def _row(sequence: Sequence, step: Step, first: bool = False) -> Row:
    kind: Kind = "task" if step.task else "start" if step.starts else "email"
    time = _led_to(sequence, step) if step.aside else _time(step, first)
    return Row(kind, step.id, time, _does(sequence, step), tuple(_notes(step)), _ways(step.when))


def _time(step: Step, first: bool) -> str:
    if step.at:
        return _at(step.at)
    if step.wait:
        return f"{step.wait.text} {'after the start' if first else 'later'}"
    return "at once" if first else "right after"


def _at(at: At) -> str:
    anchor = f"the {spoken(at.anchor)}"
    if not at.offset.text:
        return f"at {anchor}"
    return f"{at.offset.text} {'after' if at.sign > 0 else 'before'} {anchor}"


def _led_to(sequence: Sequence, step: Step) -> str:
    """The events that lead to an aside step."""
    every = [sequence.when, *(s.when for s in sequence.steps)]
    events = dict.fromkeys(spoken(event) for when in every for event, does in when.items() if does.goto == step.id)
    return f"on {' or '.join(events)}" if events else "never"


def _does(sequence: Sequence, step: Step) -> str:
    if step.task:
        return "task for the rep"
    if step.starts:
        return ", ".join(map(_start, step.starts))
    return f"email to the {step.to or sequence.to}"


def _start(start: Start) -> str:
    after = " after a rest" if start.rest else f" after {start.after.text}" if start.after else ""
    return f"starts {start.sequence}{after}"


def _notes(step: Step) -> Iterator[str]:
    if step.condition:
        yield f"only if: {step.condition}"
    if step.until:
        yield f"left out if it would be later than {_at(step.until).removeprefix('at ')}"
    if step.approve:
        yield "leaves only when the rep approves it"
    if step.block:
        yield "the next step waits until it is done"
    if step.variants:
        yield f"compares {' and '.join(step.variants)}"
    if step.late != "ask":
        yield "sent however late it is" if step.late == "send" else "left out when it is overdue"
    if step.bcc:
        yield f"the {step.bcc} gets it in Bcc"
    if step.thread:
        yield {"new": "in a thread of its own", "answer": "in the thread of the answer"}.get(step.thread, step.thread)
    if step.window:
        yield f"sent in {spoken(step.window)}"
    if step.attach:
        yield f"with {', '.join(step.attach)}"


def _end(sequence: Sequence) -> Row:
    handler = sequence.when.get(Event.FINISHED, Handler(stop="finished"))
    length = sequence.listen.text
    time = "right after" if length.startswith("0 ") else f"{length} after the last step"
    return Row("end", Event.FINISHED, time, _what(handler))


# --- events ----------------------------------------------------------------------------------------------------------


def _ways(when: Mapping[str, Handler]) -> tuple[Way, ...]:
    found: dict[str, list[tuple[str, Handler]]] = {}
    for event, handler in when.items():
        found.setdefault(_what(handler), []).append((event, handler))
    return tuple(Way(tuple(spoken(e) for e, _ in group), what, _tone(*group[0])) for what, group in found.items())


def _what(handler: Handler) -> str:
    said = [_kept(name, value) for name, value in handler.set.items()]
    said += [f"ends: {spoken(handler.stop)}"] if handler.stop else []
    said += [f"pauses: {spoken(handler.pause)}"] if handler.pause else []
    said += [f"waits {handler.hold.text}"] if handler.hold else []
    said += [f"goes to {handler.goto}"] if handler.goto else []
    said += ["goes on"] if handler.go_on else []
    said += map(_start, handler.starts)
    said += [f"task {handler.task}"] if handler.task else []
    return ", ".join(said)


def _kept(name: str, value: str) -> str:
    return "the value is confirmed" if name == "value" else f"the referral is {value}"


def _tone(event: str, handler: Handler) -> Tone:
    if handler.pause or handler.hold:
        return "wait"
    return "stop" if handler.stop and event not in GOOD_NEWS else "go"


# --- as text ---------------------------------------------------------------------------------------------------------


def as_text(sequence: Sequence) -> list[str]:
    """The picture in lines of at most 80 columns, for a terminal."""
    seen = picture(sequence)
    lines = [seen.name, *_wrapped(seen.about, ""), *_wrapped(seen.needs, ""), ""]
    for row in seen.rows:
        lines += _text_row(row, "│" if row.kind != "end" else " ")
    for row in seen.asides:
        lines += ["", *_text_row(row, " ")]
    if seen.ways:
        lines += ["", "An answer, at any time:", *_text_ways(seen.ways, "  ")]
    if seen.defaults:
        lines += ["", *_wrapped(seen.defaults, "")]
    return lines


def _text_row(row: Row, rail: str) -> list[str]:
    """The time on the left, the rail, and the words on the right."""
    room = COLUMNS - TIME_COLUMNS - 5
    times = textwrap.wrap(row.time, TIME_COLUMNS - 2)
    words = [
        *textwrap.wrap(f"{row.name}: {row.does}", room),
        *(part for n in row.notes for part in _wrapped(n, "  ", room)),
    ]
    words += _text_ways(row.ways, "  ", room)
    rows = zip_longest(times, words, fillvalue="")
    marks = (MARKS[row.kind], *([rail] * max(len(times), len(words))))
    return [f"{time:>{TIME_COLUMNS}}  {mark} {said}".rstrip() for mark, (time, said) in zip(marks, rows, strict=False)]


def _text_ways(ways: Iterable[Way], indent: str, room: int = COLUMNS) -> list[str]:
    return [line for way in ways for line in _wrapped(f"{', '.join(way.events)} → {way.what}", indent, room)]


def _wrapped(text: str, indent: str, room: int = COLUMNS) -> list[str]:
    return textwrap.wrap(text, room, initial_indent=indent, subsequent_indent=f"{indent}  " if indent else "")


# --- as SVG ----------------------------------------------------------------------------------------------------------

WIDTH, MARGIN = 760, 28
RAIL, BODY = 214, 240
LINE, SMALL = 18, 12.5
INK, PALE, FRAME = "#1f2933", "#5f6c7b", "#d5dbe3"
COLOURS: Mapping[Kind, str] = {"email": "#2563c9", "task": "#b06f00", "start": "#2c7a4b", "end": "#7b8794"}
#: Ground and ink of what an event leads to.
TONES: Mapping[Tone, tuple[str, str]] = {
    "go": ("#e3f3e8", "#1e5c37"),
    "wait": ("#fcf0d3", "#704c00"),
    "stop": ("#e9edf1", "#3b4754"),
}
ICONS: Mapping[Kind, str] = {
    "email": "M-6-4h12v8h-12z M-6-4l6 5 6-5",
    "task": "M-5 0l3.5 4 6.5-8",
    "start": "M-3-5l7 5-7 5z",
    "end": "M-4-4h8v8h-8z",
}
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, 'DejaVu Sans', sans-serif"


@dataclass
class Sheet:
    """SVG that grows downwards: `y` is the baseline of the next line."""

    y: float = 0.0
    width: int = WIDTH
    parts: list[str] = field(default_factory=list)

    def add(self, element: str) -> None:
        self.parts.append(element)

    def say(self, text: str, x: float, size: float = SMALL, ink: str = PALE, **more: str) -> None:
        """One line of text on the present baseline."""
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
        self.add(f'<text x="{x:g}" y="{self.y:g}" font-size="{size:g}" fill="{ink}"{extra}>{escape(text)}</text>')

    def paragraph(self, text: str, x: float, room: float, size: float = SMALL, ink: str = PALE) -> None:
        """As many lines as it takes, each below the last."""
        for line in fitted(text, room, size):
            self.say(line, x, size, ink)
            self.y += LINE

    def done(self, title: str) -> str:
        """The whole file. It names no other: no font, no style sheet, no script."""
        height = self.y
        return "\n".join(
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {height:g}" width="{self.width}"'
                f' height="{height:g}" role="img" font-family="{FONT}">',
                f"<title>{escape(title)}</title>",
                f'<rect x="0.5" y="0.5" width="{self.width - 1}" height="{height - 1:g}" rx="10" fill="#ffffff"'
                f' stroke="{FRAME}"/>',
                *self.parts,
                "</svg>",
                "",
            )
        )


def text_width(text: str, size: float) -> float:
    """About how wide a text is in a sans-serif font, in the units of the picture; rather too wide than too narrow."""
    thin, wide = "iljtfr.,:;'|!()[] ", "mwMW@—→"
    return size * sum(0.36 if c in thin else 0.92 if c in wide else 0.7 if c.isupper() else 0.59 for c in text)


def pill_width(text: str) -> float:
    return text_width(text, 12) + 14


def fitted(text: str, room: float, size: float) -> list[str]:
    """The text in lines that fit into the room."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def as_svg(sequence: Sequence) -> str:
    """The picture as one self-contained SVG file, light on any ground."""
    seen, sheet = picture(sequence), Sheet(y=44)
    room = WIDTH - 2 * MARGIN
    sheet.say(seen.name, MARGIN, 21, INK, font_weight="600")
    sheet.say(sequence.key, WIDTH - MARGIN, SMALL, PALE, text_anchor="end")
    sheet.y += 26
    sheet.paragraph(seen.about, MARGIN, room, 14, INK)
    sheet.y += 2
    sheet.paragraph(seen.needs[:1].upper() + seen.needs[1:], MARGIN, room)
    sheet.y += 22
    _draw_rows(sheet, seen.rows, dashed=False)
    if seen.asides:
        sheet.y += 6
        _heading(sheet, "Reached by an answer only")
        _draw_rows(sheet, seen.asides, dashed=True)
    if seen.ways:
        sheet.y += 6
        _heading(sheet, "An answer, at any time")
        column = max(sum(pill_width(event) + 6 for event in way.events) for way in seen.ways) + 12
        for way in seen.ways:
            _draw_way(sheet, way, MARGIN, column)
            sheet.y += 6
    sheet.y += 6
    sheet.paragraph(seen.defaults, MARGIN, room, 12)
    sheet.y += 6
    return sheet.done(f"{seen.name}: {seen.about}")


def _heading(sheet: Sheet, text: str) -> None:
    sheet.add(
        f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{sheet.y - 16:g}" y2="{sheet.y - 16:g}" stroke="{FRAME}"/>'
    )
    sheet.y += 10
    sheet.say(text, MARGIN, 14, INK, font_weight="600")
    sheet.y += 28


def _draw_rows(sheet: Sheet, rows: Iterable[Row], dashed: bool) -> None:
    """The rail goes behind the marks, so it is drawn first but known last."""
    place, tops = len(sheet.parts), []
    for row in rows:
        tops.append(sheet.y - 5)
        _draw_row(sheet, row)
    line = f'<line x1="{RAIL}" x2="{RAIL}" y1="{tops[0]:g}" y2="{tops[-1]:g}" stroke="{FRAME}" stroke-width="2"'
    sheet.parts.insert(place, line + (' stroke-dasharray="3 5"/>' if dashed else "/>"))


def _draw_row(sheet: Sheet, row: Row) -> None:
    top, colour = sheet.y, COLOURS[row.kind]
    sheet.add(f'<circle cx="{RAIL}" cy="{top - 5:g}" r="12" fill="#ffffff" stroke="{colour}" stroke-width="1.5"/>')
    fill = colour if row.kind in ("start", "end") else "none"
    sheet.add(
        f'<path transform="translate({RAIL} {top - 5:g})" d="{ICONS[row.kind]}" fill="{fill}" stroke="{colour}"'
        ' stroke-width="1.4" stroke-linejoin="round" stroke-linecap="round"/>'
    )
    for line in fitted(row.time, RAIL - MARGIN - 22, SMALL):
        sheet.say(line, RAIL - 22, SMALL, PALE, text_anchor="end")
        sheet.y += 16
    below, sheet.y = sheet.y, top
    # One text with two spans, so that the second follows the first in whatever font the reader has.
    sheet.add(
        f'<text x="{BODY}" y="{sheet.y:g}"><tspan font-size="14" font-weight="600" fill="{INK}">{escape(row.name)}</tspan>'
        f'<tspan dx="10" font-size="{SMALL:g}" fill="{colour}">{escape(row.does)}</tspan></text>'
    )
    sheet.y += LINE
    for note in row.notes:
        sheet.paragraph(note, BODY, WIDTH - MARGIN - BODY)
    sheet.y += 5 if row.ways else 0
    for way in row.ways:
        _draw_way(sheet, way, BODY, 0)
    sheet.y = max(sheet.y, below) + 18


def _draw_way(sheet: Sheet, way: Way, x: float, column: float) -> None:
    """Events as pills, then where they lead; the words begin at `column` from x, or right behind the pills."""
    ground, ink = TONES[way.tone]
    right = x
    for event in way.events:
        width = pill_width(event)
        sheet.add(f'<rect x="{right:g}" y="{sheet.y - 13:g}" width="{width:g}" height="18" rx="9" fill="{ground}"/>')
        sheet.say(event, right + width / 2, 12, ink, text_anchor="middle")
        right += width + 6
    begin = max(right + 4, x + column)
    sheet.paragraph(way.what, begin, WIDTH - MARGIN - begin, SMALL, INK)
    sheet.y += 4
